"""What the tests of images share: photographs, made here of smooth fields and edges, and searches cut short."""

import numpy as np
from scipy.ndimage import gaussian_filter

from fastcl.denoising import patch_model as images
from fastcl.denoising import patch_sketch
from fastcl.learning import adaptive

SIGMA = 25 / 255
MIN_SEARCH = {"CHAINS": 500, "SCORED": 4000, "BATCH": 500, "ASCENT": 2, "FIT": 3, "REFINE": 5}


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
    """Subsamples and searches of a second: the defaults take many."""
    patch.setattr(patch_sketch, "SUBSAMPLE", 4000)
    patch.setattr(images, "SAMPLES", 4000)
    for name, value in MIN_SEARCH.items():
        patch.setattr(adaptive, name, value)
