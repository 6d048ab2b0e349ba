"""Synthetic photographs with edges, and cheap settings for learning from them."""

import numpy as np
from scipy.ndimage import gaussian_filter

import fastcl
from fastcl.cli import commands, demo, signals

PATCH = 4
SIGMA = 25 / 255
MIN_SEARCH = fastcl.SearchEffort(
    chains=500, scored=4000, batch=500, ascent_steps=2, fit_steps=3, refine_steps=5
)
LEARNING = {  # settings with which a model of photographs is learned quickly
    "mixture": {"n_points": 500, "n_iter": 30, "n_components": 3},
    "network": {
        "method": "unbiased",
        "log_scale": "normalised",
        "widths": (16, 16),
        "n_points": 256,
        "n_iter": 20,
    },
}


def photograph(seed, shape=(40, 48)):
    """A smooth random field cut by a few straight edges, in [0.1, 0.9]."""
    rng = np.random.default_rng(seed)
    image = 4 * gaussian_filter(rng.standard_normal(shape), 4, mode="reflect")
    rows, columns = np.indices(shape) / max(shape)
    for _ in range(3):
        angle = rng.uniform(0, 2 * np.pi)
        image += np.where(
            np.cos(angle) * (rows - rng.random()) + np.sin(angle) * (columns - rng.random()) > 0,
            0.4,
            0,
        )
    return 0.1 + 0.8 * (image - image.min()) / np.ptp(image)


def with_noise(image, seed=0):
    return image + SIGMA * np.random.default_rng(seed).standard_normal(image.shape)


def psnr(clean, estimate):
    return -10 * np.log10(((clean - estimate) ** 2).mean())


def do_little(patch):
    """Make all that learns from images use small subsamples and a short search."""
    sketch_images, sketch_signals = fastcl.sketch_images, fastcl.sketch_signals
    learn_patches, sketch_audio = fastcl.learn_patches, fastcl.sketch_audio
    learn_image_prior = fastcl.learn_image_prior
    few_patches = {"subsample": 4000, "effort": MIN_SEARCH}

    def few_samples(method="max_entropy", **settings):
        # A network has no samples to which a mixture is fitted.
        return {"n_samples": 4000} if method == "max_entropy" else {}

    def sketch_little(images, *args, **settings):
        return sketch_images(images, *args, **few_patches | settings)

    def sketch_audio_little(recordings, *args, **settings):
        return sketch_audio(recordings, *args, **few_patches | settings)

    def sketch_signals_little(signals, *args, **settings):
        return sketch_signals(signals, *args, **few_patches | settings)

    def learn_little(patch_sketch, *args, **settings):
        return learn_patches(patch_sketch, *args, **few_samples(*args[:1], **settings) | settings)

    def learn_images_little(images, *args, **settings):
        few = few_patches | few_samples(**settings)
        return learn_image_prior(images, *args, **few | settings)

    for module in (fastcl, signals):
        patch.setattr(module, "sketch_images", sketch_little)
        patch.setattr(module, "sketch_signals", sketch_signals_little)
    for module in (fastcl, signals, demo):
        patch.setattr(module, "sketch_audio", sketch_audio_little)
    for module in (fastcl, commands, demo):
        patch.setattr(module, "learn_patches", learn_little)
    patch.setattr(fastcl, "learn_image_prior", learn_images_little)
