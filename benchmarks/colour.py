"""Photographs in colour: fastcl against other denoisers, on photographs that scikit-image has.

    python benchmarks/colour.py COLOUR_DIR [--model MODEL.npz] [--sigmas 15 25 50] [--quick]

Learns a prior of colour and one of grey from the photographs of COLOUR_DIR, through their sketches
alone, or loads the prior of colour. Then, for every sigma (on the 0..255 scale), the PSNR of every
test photograph, and mean PSNR and seconds per photograph of every method. The noise is Gaussian and
seeded; neither noise nor estimates are clipped or rounded. The methods:

channels     fastcl, every channel on its own by the prior of grey
first stage  fastcl, the prior of colour at one scale
fast         fastcl with effort="fast"
fastcl       denoise_image with the prior of colour, at its defaults
best         fastcl with effort="best"
NLM          non-local means of scikit-image, given the noise level
TV           total variation (Chambolle 2004), at the best of nine weights
wavelets     BayesShrink of scikit-image, in YCbCr
BM3D         the package bm3d, colour profile, if it is installed (its licence is non-commercial)

A new environment compiles the kernels during its first run: take the times of the second. Needs the
extra "benchmark".
"""

import time
from pathlib import Path

import numpy as np
from command import new_parser, require
from denoisers import best_tv, find_bm3d, nlm, psnr, wavelets
from timing import machine

import fastcl
from fastcl.data.readers import ImageFolder

NAMES = ("astronaut", "chelsea", "coffee", "rocket")
COMPONENTS = {"colour": 60, "grey": 40}  # of the mixtures
QUICK = {"m": 100, "patch": 3, "n_iter": 10, "n_components": 4, "n_samples": 5000}
QUICK_SIDE = 64  # pixels


def parse_options():
    parser = new_parser(__doc__)
    parser.add_argument("train", type=Path, metavar="COLOUR_DIR")
    parser.add_argument("--model", type=Path, help="a prior of colour, instead of learning one")
    parser.add_argument("--sigmas", type=float, nargs="+", default=[15, 25, 50])
    return parser.parse_args()


def learned(folder, colour, quick):
    """A prior of the photographs of a folder, of which a quick run takes the first four."""
    start = time.perf_counter()
    kind = "colour" if colour else "grey"
    photographs, settings = folder, {"n_components": COMPONENTS[kind]}
    if quick:
        opened = ImageFolder(folder, colour=colour)
        photographs, settings = [opened[k] for k in range(4)], QUICK
    axis = -1 if colour else None
    model = fastcl.learn_image_prior(photographs, channel_axis=axis, rng=0, **settings)
    print(f"learned {kind} in {time.perf_counter() - start:.0f} s: {model}")
    return model


def methods(model, grey):
    """Name -> function of (noisy, sigma, clean)."""

    def by_channels(noisy, sigma, clean):
        channels = [
            fastcl.denoise_image(grey, channel, sigma) for channel in noisy.transpose(2, 0, 1)
        ]
        return np.stack(channels, axis=-1)

    found = {
        "channels": by_channels,
        "first stage": lambda noisy, sigma, clean: fastcl.denoise_image(
            model, noisy, sigma, second_stage=False
        ),
        "fast": lambda noisy, sigma, clean: fastcl.denoise_image(
            model, noisy, sigma, effort="fast"
        ),
        "fastcl": lambda noisy, sigma, clean: fastcl.denoise_image(model, noisy, sigma),
        "best": lambda noisy, sigma, clean: fastcl.denoise_image(
            model, noisy, sigma, effort="best"
        ),
        "NLM": lambda noisy, sigma, clean: nlm(noisy, sigma),
        "TV": best_tv,
        "wavelets": lambda noisy, sigma, clean: wavelets(noisy, sigma),
    }
    bm3d = find_bm3d()
    if bm3d is not None:
        found["BM3D"] = lambda noisy, sigma, clean: bm3d(noisy, sigma)
    return found


def main():
    options = parse_options()
    data = require("skimage.data")
    print(machine())
    model = fastcl.load_prior(options.model) if options.model else None
    model = model or learned(options.train, True, options.quick)
    rivals = methods(model, learned(options.train, False, options.quick))
    photographs = {name: getattr(data, name)() / 255 for name in NAMES}
    if options.quick:
        photographs = {name: image[:QUICK_SIDE, :QUICK_SIDE] for name, image in photographs.items()}
    for sigma in options.sigmas:
        print(
            f"\nsigma {sigma:g}{'':14}" + "".join(f"{name:>11}" for name in photographs) + "   mean"
        )
        results = {}
        for seed, clean in enumerate(photographs.values()):
            noise = np.random.default_rng(seed).standard_normal(clean.shape)
            noisy = clean + sigma / 255 * noise
            results.setdefault("noisy", []).append((psnr(noisy, clean), 0.0))
            for method, denoise in rivals.items():
                start = time.perf_counter()
                found = denoise(noisy, sigma / 255, clean)
                results.setdefault(method, []).append(
                    (psnr(found, clean), time.perf_counter() - start)
                )
        for method, rows in results.items():
            values, seconds = np.array(rows).T
            figures = "".join(f"{value:11.2f}" for value in values)
            print(f"{method:21}{figures}{values.mean():7.2f} dB{seconds.mean():8.2f} s")


if __name__ == "__main__":
    main()
