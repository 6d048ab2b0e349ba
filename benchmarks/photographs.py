"""Grey photographs: fastcl against other denoisers, on the images of any folder, at equal noise.

    python benchmarks/photographs.py TRAIN_DIR TEST_DIR [--model MODEL.npz] [--rivals NLM BM3D ...]
                                     [--out DIR] [--sigmas 15 25 50] [--chains] [--quick]

Sketches TRAIN_DIR and learns a prior from nothing but the file of the sketch; prints sizes and
seconds. With --model, that prior is taken instead, and nothing is sketched. With --chains, a
network learns from the same sketch by the method "chains", and denoises, too: by posterior means
and MAP estimates in the first stage, and in both stages.

Then, for every sigma (on the 0..255 scale), the PSNR of every image of TEST_DIR by every method,
and mean PSNR, mean SSIM (of scikit-image) and seconds per megapixel of every method. The noise is
Gaussian and seeded, all is in double precision, and but for OpenCV neither noise nor estimates are
clipped or rounded. Every method first denoises a corner of the first image, untimed; then all take
turns, image by image. Seconds do not contain learning. DIR gets a picture of the sigma closest to
25. The methods are all given the noise level:

NLM       non-local means of scikit-image (Buades et al. 2005), at the best of six settings
wavelets  BayesShrink of scikit-image; needs PyWavelets
TV        total variation (Chambolle 2004), at the best of nine weights
OpenCV    fastNlMeansDenoising, non-local means on 8 bits: the noisy image is rounded and clipped;
          at the best of six settings
BM3D      the package bm3d, whose licence is non-commercial
EPLL      Zoran and Weiss 2011: a mixture of zero-mean Gaussians fitted to patches of TRAIN_DIR by
          expectation-maximisation; 100 components, where the paper has 200
network   a residual convolutional network, trained on TRAIN_DIR for --network-seconds: its figures
          depend on the machine and on what else runs on it; needs torch
fastcl    denoise_image: its first stage alone, then its three efforts, of which "fastcl" is the
          default, "balanced"

The best of several settings is chosen for each image with the clean one, which no user has. The
seconds are then those of one setting, the mean of all. Rivals whose package is missing are left
out.

Last, what each effort takes at sigma 25 for 512 x 512 pixels and for 12 megapixels, in single
precision, which the first test image fills with its mirror images: seconds (the median of five
runs, or one run for 12 megapixels), peak memory above what was there before, the result included,
and dB below the best effort. Each is measured in a new process, after a corner was denoised. And
the rate of the posterior means of the mixture, for all patches of the 512 x 512 pixels:
multiply-adds per second (two matrix products per component, and two sums over the coordinates per
component and scale), and their share of the peak, the larger of one before and one after.

A new environment compiles the kernels during its first run: take the seconds of learning from the
second. Needs the extra "benchmark".
"""

import tempfile
import time
from functools import partial
from pathlib import Path

from timing import PAUSE, machine  # before NumPy

# isort: split
import numpy as np
from command import new_parser, require, stop
from denoisers import (
    NLM_FACTORS,
    OPENCV_FACTORS,
    TV_FACTORS,
    add_noise,
    best_nlm,
    best_tv,
    find_bm3d,
    find_opencv,
    find_package,
    psnr,
    wavelets,
)
from efforts import filled, report_kernel, report_sizes
from trained import denoise_epll, denoise_network, fit_mixture, train_network

import fastcl
from fastcl.data.readers import image_files, read_image
from fastcl.plots import new_figure, save_figure, show_image

RIVALS = ("NLM", "wavelets", "TV", "OpenCV", "BM3D", "EPLL", "network")
# Settings that are tried with the clean image; the seconds are divided by their number.
TRIES = {"NLM": len(NLM_FACTORS), "TV": len(TV_FACTORS), "OpenCV": len(OPENCV_FACTORS)}
NOTES = {name: f"best of {count} settings" for name, count in TRIES.items()}
NOTES["BM3D"] = "licence: non-commercial"
FASTCL = {  # settings of denoise_image
    "fastcl, first stage": {"second_stage": False},
    "fastcl, fast": {"effort": "fast"},
    "fastcl": {},
    "fastcl, best": {"effort": "best"},
}
NETWORK = {  # the same, with a network
    "chains, mean": {"second_stage": False, "n_samples": 8},
    "chains, MAP": {"second_stage": False, "estimator": "map", "n_iter": 15},
    "chains": {"n_samples": 8},
}
CORNER = 64  # pixels along each side of what is denoised before anything is timed
SIGMA = 25  # of the picture, the sizes and the kernel
SIZES = {(512, 512): 5, (3000, 4000): 1}  # -> runs
PICTURED = ("noisy", "BM3D", "EPLL", "NLM", "fastcl")
PICTURE_SIDE = 128
QUICK = {
    "train": 8,  # photographs
    "test": 2,
    "part": slice(80, 176),  # of the test images, along each side
    "sizes": {(96, 96): 5, (200, 200): 1},
    "network_seconds": 4,
    "mixture": {"components": 20, "sample": 20_000, "n_iter": 8},
    "sketch": {"patch": 3, "m": 100},
    "learn": {"n_iter": 20, "n_components": 4},
    "chains": {"n_iter": 20, "n_points": 200},
}


def parse_options():
    parser = new_parser(__doc__)
    parser.add_argument("train", type=Path, metavar="TRAIN_DIR")
    parser.add_argument("test", type=Path, metavar="TEST_DIR")
    parser.add_argument("--model", type=Path, help="a prior, instead of learning one")
    parser.add_argument("--rivals", nargs="*", choices=RIVALS, default=RIVALS, help="(all)")
    parser.add_argument(
        "--network-seconds", type=float, default=240, help="of training (%(default)s)"
    )
    parser.add_argument("--sigmas", type=float, nargs="+", default=[15, 25, 50])
    parser.add_argument("--chains", action="store_true", help="denoise by a network, too")
    parser.add_argument("--out", type=Path, default="fastcl-bench", help="folder (%(default)s)")
    options = parser.parse_args()
    if options.model and options.chains:
        stop("--chains learns from the sketch, of which --model has none: leave one out")
    return options


def main():
    options = parse_options()
    require("skimage")
    print(machine())
    train, test = image_files(options.train), image_files(options.test)
    mixture, sketching, learning, chains, sizes = {}, {}, {}, {}, SIZES
    if options.quick:
        train, test = train[: QUICK["train"]], test[: QUICK["test"]]
        options.sigmas, options.network_seconds = [SIGMA], QUICK["network_seconds"]
        mixture, sketching, learning = (QUICK[key] for key in ("mixture", "sketch", "learn"))
        chains, sizes = QUICK["chains"], QUICK["sizes"]
    photographs = [read_image(path, grey=True) for path in train]
    clean = {path.name: read_image(path, grey=True) for path in test}
    if options.quick:
        clean = {name: image[QUICK["part"], QUICK["part"]] for name, image in clean.items()}
    network = None
    if options.model:
        model = fastcl.load_prior(options.model)
    else:
        file_bytes = sum(path.stat().st_size for path in train)
        patch_sketch = sketch_fastcl(photographs, file_bytes, sketching)
        model = learn_fastcl(patch_sketch, "max_entropy", learning)
        if options.chains:
            network = learn_fastcl(patch_sketch, "chains", chains)
    print(model)
    methods = {"noisy": lambda noisy, sigma: noisy}
    methods |= find_rivals(options.rivals, photographs, mixture, options.network_seconds)
    for name, settings in FASTCL.items():
        methods[name] = partial(fastcl.denoise_image, model, **settings)
    for name, settings in NETWORK.items() if network else ():
        methods[name] = partial(fastcl.denoise_image, network, **settings)
    options.out.mkdir(parents=True, exist_ok=True)
    pictured = min(options.sigmas, key=lambda sigma: abs(sigma - SIGMA))
    image = next(iter(clean.values()))
    for sigma in options.sigmas:
        estimates = compare(clean, methods, sigma)
        if sigma == pictured:
            draw(image, estimates, sigma, options.out / "photographs.png")
    report_sizes(model, image, SIGMA / 255, sizes)
    report_kernel(model, filled(image, *min(sizes)), SIGMA / 255)


def sketch_fastcl(photographs, file_bytes, settings):
    """The sketch of the photographs, as its file has it; prints sizes and seconds."""
    start = time.perf_counter()
    patch_sketch = fastcl.sketch_images(photographs, rng=0, **settings)
    seconds = time.perf_counter() - start
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sketch.npz"
        patch_sketch.save(path)
        sketch_bytes, patch_sketch = path.stat().st_size, fastcl.load(path)
    pixels = sum(photograph.size for photograph in photographs)
    moment_bytes = patch_sketch.sketch.values.nbytes
    print(
        f"{len(photographs)} photographs: {file_bytes / 2**20:.2f} MiB of files, "
        f"{pixels / 2**20:.2f} MiB as 8-bit pixels\n"
        f"their sketch: {sketch_bytes / 2**20:.2f} MiB as a file, of which moments "
        f"{moment_bytes / 2**20:.2f} MiB, in {seconds:.1f} s"
    )
    return patch_sketch


def learn_fastcl(patch_sketch, method, settings):
    """The image model, learned from nothing but the sketch; prints the seconds."""
    start = time.perf_counter()
    model = fastcl.learn_patches(patch_sketch, method, rng=0, **settings)
    print(f"fastcl by {method}: {time.perf_counter() - start:.1f} s")
    return model


def find_rivals(chosen, photographs, mixture, network_seconds):
    """Name -> function of (noisy, sigma), or (noisy, sigma, clean) for those in TRIES.

    `mixture` has settings of EPLL, empty for the defaults.
    """

    def find_epll():
        return partial(denoise_epll, fit_mixture(photographs, **mixture))

    def find_network():
        if find_package("network", "torch") is None:
            return None
        return partial(denoise_network, train_network(photographs, network_seconds))

    find = {
        "NLM": lambda: best_nlm,
        "wavelets": lambda: find_package("wavelets", "pywt") and wavelets,
        "TV": lambda: best_tv,
        "OpenCV": find_opencv,
        "BM3D": find_bm3d,
        "EPLL": find_epll,
        "network": find_network,
    }
    found = {name: find[name]() for name in RIVALS if name in chosen}
    return {name: denoise for name, denoise in found.items() if denoise is not None}


def compare(clean, methods, sigma):
    """Print how every method does on every image at one sigma; method -> its first estimate."""
    from skimage.metrics import structural_similarity

    rows, firsts = {name: [] for name in methods}, {}
    for seed, image in enumerate(clean.values()):
        noisy = add_noise(image, sigma / 255, seed)
        for name, denoise in methods.items():
            if seed == 0:
                run(name, denoise, noisy[:CORNER, :CORNER], sigma, image[:CORNER, :CORNER])
            time.sleep(PAUSE)
            estimate, seconds = run(name, denoise, noisy, sigma, image)
            ssim = structural_similarity(image, estimate, data_range=1)
            rows[name].append((psnr(estimate, image), ssim, seconds))
            firsts.setdefault(name, estimate)
    megapixels = sum(image.size for image in clean.values()) / 1e6
    show({name: np.array(figures).T for name, figures in rows.items()}, clean, megapixels, sigma)
    return firsts


def show(figures, names, megapixels, sigma):
    """Print the tables of method -> (PSNR, SSIM, seconds) of every image."""
    widths = {method: max(len(method) + 2, 9) for method in figures}
    heads = "".join(f"{method:>{width}}" for method, width in widths.items())
    print(f"\n{f'sigma {sigma:g}, PSNR in dB':26}{heads}")
    for i, name in enumerate(names):
        line = "".join(f"{figures[method][0][i]:>{width}.2f}" for method, width in widths.items())
        print(f"{name[-24:]:26}{line}")
    print(f"\n{f'sigma {sigma:g}':21}{'PSNR dB':>9}{'SSIM':>8}{'s per megapixel':>17}")
    for method, (values, ssims, seconds) in figures.items():
        line = (
            f"{method:21}{values.mean():>9.2f}{ssims.mean():>8.3f}"
            f"{seconds.sum() / megapixels:>17.2f}   {NOTES.get(method, '')}"
        )
        print(line.rstrip(), flush=True)


def run(name, denoise, noisy, sigma, clean):
    """(estimate, seconds of one setting) of a method for one image."""
    given = (noisy, sigma / 255, clean) if name in TRIES else (noisy, sigma / 255)
    start = time.perf_counter()
    estimate = denoise(*given)
    return estimate, (time.perf_counter() - start) / TRIES.get(name, 1)


def draw(clean, estimates, sigma, path):
    """The middle of an image by some methods, with the PSNR of the whole image."""
    crop = tuple(
        slice(max(0, (size - PICTURE_SIDE) // 2), (size + PICTURE_SIDE) // 2)
        for size in clean.shape
    )
    panels = {
        f"{name}: {psnr(estimates[name], clean):.2f} dB": estimates[name]
        for name in PICTURED
        if name in estimates
    }
    panels["clean"] = clean
    figure, axes = new_figure(1, len(panels), width=2.2, height=2.5)
    for panel, (title, image) in zip(axes[0], panels.items(), strict=True):
        show_image(panel, np.clip(image, 0, 1)[crop], title)
    figure.suptitle(f"sigma {sigma:g}")
    save_figure(figure, path)
    print(f"\nwritten to {path}")


if __name__ == "__main__":
    main()
