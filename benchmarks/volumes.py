"""Volumes and video: patches of three axes against slices, total variation and non-local means.

    python benchmarks/volumes.py [--sigmas 15 25 50] [--quick]

The volumes are smoothed blobs (scikit-image's binary_blobs), and the videos are windows that move
across photographs of scikit-image, by 1.3 and 0.7 pixels a frame; the photograph of the test is not
among those of the training. Prints PSNR and seconds of every method; the noise is Gaussian and
seeded, sigma on the 0..255 scale, and nothing is clipped. The methods:

slices  fastcl, patches (5, 5) of every slice or frame on its own
fastcl  patches (4, 4, 4), denoise_signal at its defaults
TV      total variation in three dimensions, at the best of nine weights
NLM     non-local means of scikit-image in three dimensions, given the noise level

A new environment compiles the kernels during its first run: take the times of the second. Needs the
extra "benchmark".
"""

import time

import numpy as np
from command import new_parser, require
from scipy.ndimage import gaussian_filter, map_coordinates
from timing import machine

import fastcl

TV_FACTORS = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2)  # weights divided by sigma
SHAPE = (24, 128, 128)
STEP = (1.3, 0.7)  # pixels a frame
TRAINING = 3  # volumes, and photographs for videos
LEARNING = {"m": 2000, "rng": 0}
QUICK = {"m": 100, "n_iter": 10, "n_components": 4, "n_samples": 5000}
QUICK_SHAPE = (8, 24, 24)


def blobs(seed, shape):
    """A volume in [0, 1] of smooth blobs of two sizes."""
    data = require("skimage.data")
    side = max(shape)
    depth, height, width = shape
    parts = []
    for share, size in ((0.3, 0.15), (0.2, 0.08)):
        whole = data.binary_blobs(side, size, n_dim=3, volume_fraction=share, rng=seed)
        parts.append(whole[:depth, :height, :width].astype(float))
    return gaussian_filter(0.1 + 0.5 * parts[0] + 0.3 * parts[1], 1.0)


def video(name, shape):
    """Frames (T, H, W) of a window that moves across a photograph, in grey."""
    data, color = require("skimage.data"), require("skimage.color")
    photograph = getattr(data, name)()
    grey = color.rgb2gray(photograph) if photograph.ndim == 3 else photograph / 255
    rows, columns = np.mgrid[: shape[1], : shape[2]].astype(float)
    start = [(size - side) // 3 for size, side in zip(grey.shape, shape[1:], strict=True)]
    frames = [
        map_coordinates(
            grey, [start[0] + rows + STEP[0] * t, start[1] + columns + STEP[1] * t], order=1
        )
        for t in range(shape[0])
    ]
    return np.array(frames)


def methods(volumes, quick):
    """Name -> function of (noisy, sigma, clean), with priors learned from these volumes."""
    restoration = require("skimage.restoration")
    settings = QUICK if quick else LEARNING
    model = fastcl.learn_signal_prior(volumes, patch=4, dither=1 / 255, **settings)
    frames = [frame for volume in volumes for frame in volume]
    by_slices = fastcl.learn_signal_prior(frames, patch=5, dither=1 / 255, **settings)

    def tv(noisy, sigma, clean):
        found = (
            restoration.denoise_tv_chambolle(noisy, weight=factor * sigma) for factor in TV_FACTORS
        )
        return min(found, key=lambda volume: np.square(volume - clean).mean())

    return {
        "slices": lambda noisy, sigma, clean: fastcl.denoise_signal(by_slices, noisy, sigma),
        "fastcl": lambda noisy, sigma, clean: fastcl.denoise_signal(model, noisy, sigma),
        "TV": tv,
        "NLM": lambda noisy, sigma, clean: restoration.denoise_nl_means(
            noisy, patch_size=3, patch_distance=4, h=0.6 * sigma, sigma=sigma
        ),
    }


def main():
    parser = new_parser(__doc__)
    parser.add_argument("--sigmas", type=float, nargs="+", default=[15, 25, 50])
    options = parser.parse_args()
    print(machine())
    shape = QUICK_SHAPE if options.quick else SHAPE
    photographs = ("coffee", "chelsea", "rocket")[:TRAINING]
    problems = {
        "volume": ([blobs(seed, shape) for seed in range(1, TRAINING + 1)], blobs(0, shape)),
        "video": ([video(name, shape) for name in photographs], video("astronaut", shape)),
    }
    for kind, (volumes, clean) in problems.items():
        start = time.perf_counter()
        rivals = methods(volumes, options.quick)
        print(f"\n{kind} {clean.shape}, learned in {time.perf_counter() - start:.0f} s")
        print("sigma   noisy" + "".join(f"{name:>19}" for name in rivals))
        for sigma in options.sigmas:
            noisy = clean + sigma / 255 * np.random.default_rng(7).standard_normal(clean.shape)
            line = f"{sigma:5g}{psnr(noisy, clean):8.2f}"
            for denoise in rivals.values():
                start = time.perf_counter()
                found = denoise(noisy, sigma / 255, clean)
                line += f"{psnr(found, clean):9.2f} dB{time.perf_counter() - start:5.1f} s"
            print(line)


def psnr(volume, clean):
    """Peak signal-to-noise ratio in dB."""
    return -10 * np.log10(np.square(volume - clean).mean())


if __name__ == "__main__":
    main()
