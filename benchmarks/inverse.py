"""Photographs with missing pixels, blurred, or counted: fastcl against scikit-image.

    python benchmarks/inverse.py (--model FILE | --learn DIR) [PHOTOGRAPH ...] [--side 256]

Prints PSNR in dB and seconds for each photograph, by default for camera, coins and moon of
scikit-image: their middle, of --side pixels. The model is read from FILE, or learned from the
photographs in DIR at the defaults of learn_image_prior. The problems:

missing   half or four fifths of the pixels, without noise; inpaint_biharmonic
blur      9 x 9 box, and Gaussian of standard deviation 1.6, around the ends, and noise of sigma 2
          (of 255); unsupervised_wiener, and richardson_lucy stopped at the best of 5, 10, 20, 40
          iterations, which only this script can know
counts    Poisson, of a mean of at most 10 or 50; non-local means between the same transforms

Nothing is rounded or clipped, except what Richardson and Lucy need. Seconds of fastcl are those of
compiled kernels. Needs the extra "benchmark".
"""

import time
from functools import partial
from pathlib import Path

import numpy as np
from command import new_parser, require
from scipy import ndimage
from timing import machine

import fastcl
from fastcl.data.readers import image_files, read_image
from fastcl.denoising.anscombe import denoise_poisson

PHOTOGRAPHS = ("camera", "coins", "moon")
SIGMA = 2 / 255
BOX = np.full((9, 9), 1 / 81)
GAUSSIAN = ndimage.gaussian_filter(np.pad([[1.0]], 6), 1.6, mode="constant")
MARGIN = 40  # pixels around a photograph for Richardson and Lucy
STOPS = (5, 10, 20, 40)  # iterations of Richardson and Lucy
QUICK = {"patch": 3, "m": 100, "n_iter": 20, "n_components": 4}


def parse_options():
    parser = new_parser(__doc__)
    parser.add_argument("photographs", type=Path, nargs="*", metavar="PHOTOGRAPH")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--model", type=Path, metavar="FILE", help="from fastcl learn")
    source.add_argument("--learn", type=Path, metavar="DIR", help="a folder of photographs")
    parser.add_argument("--side", type=int, default=256, help="of the middle (%(default)s)")
    return parser.parse_args()


def main():
    options = parse_options()
    require("skimage")
    names = options.photographs or PHOTOGRAPHS
    if options.quick:
        names, options.side = names[:1], 48
    clean = {str(getattr(name, "name", name)): middle(read(name), options.side) for name in names}
    model = get_model(options)
    print(machine())
    fastcl.denoise_image(model, np.full((32, 32), 0.5), 0.1)  # compiles
    for share in (0.5, 0.8):
        compare(f"{share:.0%} missing", clean, *missing(model, share))
    for name, kernel in (("9 x 9 box, sigma 2", BOX), ("Gaussian 1.6, sigma 2", GAUSSIAN)):
        compare(name, clean, *blur(model, kernel))
    for peak in (10, 50):
        compare(f"counts up to {peak}", clean, *counts(model, peak))


def read(name):
    if isinstance(name, Path):
        return read_image(name, grey=True)
    from skimage import data

    return getattr(data, name)() / 255


def middle(image, side):
    return image[tuple(slice(max(0, (n - side) // 2), (n + side) // 2) for n in image.shape)]


def get_model(options):
    if options.model:
        return fastcl.load(options.model)
    settings = {}
    if options.quick:
        folder = image_files(options.learn)[:8]
        images, settings = [read_image(path, grey=True) for path in folder], QUICK
    else:
        images = options.learn
    return fastcl.learn_image_prior(images, rng=0, **settings)


def compare(title, clean, degrade, methods):
    """Print PSNR and seconds of every method; `degrade(image, rng)` gives their arguments."""
    print(f"\n{title + ', dB':26}" + "".join(f"{name:>18}" for name in methods))
    seconds = dict.fromkeys(methods, 0.0)
    gains = []
    for k, (name, image) in enumerate(clean.items()):
        arguments = degrade(image, np.random.default_rng(k))
        values = []
        for method, function in methods.items():
            start = time.perf_counter()
            estimate = function(*arguments)
            seconds[method] += time.perf_counter() - start
            candidates = estimate if isinstance(estimate, list) else [estimate]
            values.append(max(psnr(image, one) for one in candidates))
        gains.append(values)
        print(f"{name[-24:]:26}" + "".join(f"{value:>18.2f}" for value in values), flush=True)
    print(f"{'mean':26}" + "".join(f"{value:>18.2f}" for value in np.mean(gains, axis=0)))
    print(f"{'seconds each':26}" + "".join(f"{s / len(clean):>18.2f}" for s in seconds.values()))


def psnr(clean, estimate):
    return -10 * np.log10(((clean - estimate) ** 2).mean())


def missing(model, share):
    from skimage.restoration import inpaint_biharmonic

    def degrade(image, rng):
        known = rng.random(image.shape) >= share
        return np.where(known, image, 0), known

    return degrade, {
        "biharmonic": lambda y, known: inpaint_biharmonic(y, ~known),
        "fastcl": lambda y, known: fastcl.restore(model, y, known, 0),
    }


def blur(model, kernel):
    from skimage.restoration import richardson_lucy, unsupervised_wiener

    def degrade(image, rng):
        y = ndimage.convolve(image, kernel, mode="wrap")
        return (y + SIGMA * rng.standard_normal(image.shape),)

    def stopped(y):
        # It takes what lies beyond the ends for black: go around them, as the blur does.
        around = np.pad(np.clip(y, 0, 1), MARGIN, mode="wrap")
        part = (slice(MARGIN, -MARGIN),) * 2
        return [richardson_lucy(around, kernel, num_iter=n)[part] for n in STOPS]

    return degrade, {
        "blurred": lambda y: y,
        "Wiener": lambda y: unsupervised_wiener(y, kernel, clip=False, rng=0)[0],
        "Richardson-Lucy": stopped,
        "fastcl": lambda y: fastcl.restore(model, y, kernel, SIGMA),
    }


def counts(model, peak):
    from skimage.restoration import denoise_nl_means

    def degrade(image, rng):
        return (rng.poisson(peak * image),)

    def nlm(noisy, sigma):
        return denoise_nl_means(
            noisy, h=0.6 * sigma, sigma=sigma, fast_mode=True, patch_size=5, patch_distance=6
        )

    def scaled(denoiser, y):
        return denoise_poisson(denoiser, y) / peak

    return degrade, {
        "counts": lambda y: y / peak,
        "non-local means": partial(scaled, nlm),
        "fastcl": partial(scaled, model),
    }


if __name__ == "__main__":
    main()
