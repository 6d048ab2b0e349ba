"""Photographs: fastcl beside other denoisers, all learned from the same folder and tested on the same noise.

    python benchmarks/photographs.py TRAIN_DIR TEST_DIR [--out DIR] [--sigmas 15 25 50] [--quick]

Prints the size of the sketch of TRAIN_DIR and the seconds to sketch, learn and denoise; then, for every sigma (on the 0..255
scale), PSNR of every image of TEST_DIR, and mean PSNR, mean SSIM and seconds a megapixel of every method. Writes one picture
into DIR. Noise is Gaussian, seeded, neither clipped nor rounded; the estimates are not clipped either. The methods:

TV       total variation (Chambolle 2004), at the weight that is best on the test images themselves
NLM      non-local means (Buades et al. 2005) with the noise level given, set as in the gallery of scikit-image
EPLL     Zoran and Weiss 2011: a mixture of zero-mean Gaussians fitted to clean patches by expectation-maximisation, the
         most likely component's Wiener filter, half-quadratic splitting; 100 components, where the paper has 200
network  a residual convolutional network that is told the noise level, trained on pairs with noise of every level for
         --network-seconds: its figures depend on the machine and on what else runs on it
fastcl   sketch_images, learn_patches, denoise_image at their defaults

A new environment compiles the kernels during its first run: take the times of the second. Needs the extra "benchmark".
"""

import argparse
import itertools
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch
from scipy.special import softmax
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from skimage.restoration import denoise_nl_means, denoise_tv_chambolle
from timing import machine

import fastcl
from fastcl.data.patches import add_patches, extract_patches, patch_bands, patch_counts
from fastcl.data.readers import image_files, read_image
from fastcl.plots import new_figure, save_figure, show_image

TV_FACTORS = (
    0.6,
    0.7,
    0.8,
    0.9,
    1.0,
    1.1,
    1.2,
    1.3,
    1.4,
)  # weights of total variation, in units of sigma

PATCH = 8  # of EPLL, as are the next lines
BETAS = (1, 2, 4, 8, 16, 32)  # precision of the patches over that of the noise; the paper has no 2
FLOOR = 1 / 255**2 / 12  # variance of the rounding to 8 bits: what a covariance has at least
SHARE = 1e-3  # smaller responsibilities count as none: most are, and they cost most of the time
MIXTURE = {"components": 100, "sample": 200_000, "n_iter": 40}
QUICK_MIXTURE = {"components": 20, "sample": 20_000, "n_iter": 8}

LAYERS, CHANNELS = 5, 32  # of the network, as are the next lines
NOISE_LEVELS = (5 / 255, 55 / 255)
BATCH, CROP = 32, 40
LEARNING_RATE = 2e-3

PICTURE_SIGMA, PICTURE_SIDE = 25, 128
RIVALS = ("NLM", "EPLL", "network")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("train", type=Path, metavar="TRAIN_DIR")
    parser.add_argument("test", type=Path, metavar="TEST_DIR")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("fastcl-bench"),
        metavar="DIR",
        help="for the picture (%(default)s)",
    )
    parser.add_argument(
        "--sigmas", type=float, nargs="+", default=[15, 25, 50], help="on the 0..255 scale"
    )
    parser.add_argument(
        "--network-seconds",
        type=float,
        default=240,
        help="training time of the network (%(default)s)",
    )
    parser.add_argument(
        "--rivals", nargs="*", choices=RIVALS, default=RIVALS, help="beside total variation (all)"
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="few images, one sigma, rivals hardly trained: a check, no result",
    )
    options = parser.parse_args()
    print(machine(), f"torch {torch.__version__} on {torch.get_num_threads()} threads", sep="; ")
    train, test = image_files(options.train), image_files(options.test)
    mixture, m, n_iter = MIXTURE, {}, {}
    if options.quick:
        train, test, options.sigmas = train[:20], test[:2], [PICTURE_SIGMA]
        mixture, options.network_seconds = QUICK_MIXTURE, 8
        m, n_iter = {"m": 500}, {"n_iter": 20}
    photographs = [read_image(path, grey=True) for path in train]
    clean = {path.name: read_image(path, grey=True) for path in test}
    model = learn_fastcl(photographs, sum(path.stat().st_size for path in train), m, n_iter)
    report_seconds(model, next(iter(clean.values())))
    denoisers = {"fastcl": partial(fastcl.denoise_image, model)}
    if "NLM" in options.rivals:
        denoisers["NLM"] = denoise_nlm
    if "EPLL" in options.rivals:
        denoisers["EPLL"] = partial(denoise_epll, fit_mixture(photographs, **mixture))
    if "network" in options.rivals:
        denoisers["network"] = partial(
            denoise_network, train_network(photographs, options.network_seconds)
        )
    options.out.mkdir(parents=True, exist_ok=True)
    pictured = min(options.sigmas, key=lambda sigma: abs(sigma - PICTURE_SIGMA))
    for sigma in options.sigmas:
        estimates = compare(clean, denoisers, sigma)
        if sigma == pictured:
            draw(clean, estimates, sigma, options.out / "photographs.png")


def learn_fastcl(photographs, file_bytes, m, n_iter):
    """The image model, learned from nothing but the file of the sketch; prints sizes and seconds.

    m and n_iter are the settings to sketch and to learn with, both empty for the defaults.
    """
    start = time.perf_counter()
    patch_sketch = fastcl.sketch_images(photographs, rng=0, **m)
    sketched = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sketch.npz"
        patch_sketch.save(path)
        sketch_bytes, patch_sketch = path.stat().st_size, fastcl.load(path)
    loaded = time.perf_counter()
    model = fastcl.learn_patches(patch_sketch, rng=0, **n_iter)
    learned = time.perf_counter()
    pixels = sum(photograph.size for photograph in photographs)
    print(
        f"{len(photographs)} photographs: {file_bytes / 2**20:.2f} MiB of files, {pixels / 2**20:.2f} MiB as 8-bit pixels"
    )
    moments = patch_sketch.sketch.values.nbytes
    print(
        f"their sketch: {sketch_bytes / 2**20:.2f} MiB as a file, of which moments {moments / 2**20:.2f} MiB"
    )
    print(f"fastcl: sketch {sketched - start:.1f} s, learn {learned - loaded:.1f} s")
    return model


def report_seconds(model, image):
    """Seconds to denoise squares of two sizes made from one image, after a warm-up."""
    times = []
    for side in (64, 256, 512):
        square = np.pad(image, ((0, side), (0, side)), mode="symmetric")[:side, :side]
        noisy = add_noise(square, PICTURE_SIGMA, seed=0)
        start = time.perf_counter()
        fastcl.denoise_image(model, noisy, sigma=PICTURE_SIGMA / 255)
        times.append(time.perf_counter() - start)
    print(f"fastcl: denoise 256 x 256 {times[1]:.2f} s, 512 x 512 {times[2]:.2f} s", flush=True)


def add_noise(image, sigma, seed):
    return image + sigma / 255 * np.random.default_rng(seed).standard_normal(image.shape)


def compare(clean, denoisers, sigma):
    """Print how every method does on every image at one sigma; the estimates, method -> list of images."""
    images, level = list(clean.values()), sigma / 255
    noisy = [add_noise(image, sigma, seed) for seed, image in enumerate(images)]
    weight = best_tv_weight(images, noisy, level)
    methods = {"noisy": lambda image: image, "TV": partial(denoise_tv_chambolle, weight=weight)}
    methods |= {name: partial(denoiser, sigma=level) for name, denoiser in denoisers.items()}
    estimates, seconds = {}, {}
    for name, method in methods.items():
        start = time.perf_counter()
        estimates[name] = [method(image) for image in noisy]
        seconds[name] = time.perf_counter() - start
    psnr = {name: psnr_of(images, results) for name, results in estimates.items()}
    print(f"\nsigma {sigma:g}, PSNR in dB{'':<8}" + "".join(f"{name:>9}" for name in methods))
    for i, name in enumerate(clean):
        print(f"{name[-24:]:26}" + "".join(f"{values[i]:>9.2f}" for values in psnr.values()))
    print(f"\n{f'sigma {sigma:g}':14}{'PSNR dB':>9}{'SSIM':>8}{'s a megapixel':>15}")
    megapixels = sum(image.size for image in images) / 1e6
    for name, results in estimates.items():
        ssim = np.mean(
            [
                structural_similarity(*pair, data_range=1)
                for pair in zip(images, results, strict=True)
            ]
        )
        comment = f"   weight {weight:.3f}" if name == "TV" else ""
        print(
            f"{name:14}{psnr[name].mean():>9.2f}{ssim:>8.3f}{seconds[name] / megapixels:>15.2f}{comment}",
            flush=True,
        )
    return estimates


def psnr_of(images, estimates):
    pairs = zip(images, estimates, strict=True)
    return np.array(
        [peak_signal_noise_ratio(image, estimate, data_range=1) for image, estimate in pairs]
    )


def best_tv_weight(images, noisy, sigma):
    """The weight with the best mean PSNR on the test images: more than a user can know."""

    def mean_psnr(weight):
        return psnr_of(
            images, [denoise_tv_chambolle(image, weight=weight) for image in noisy]
        ).mean()

    return max((factor * sigma for factor in TV_FACTORS), key=mean_psnr)


def denoise_nlm(noisy, sigma):
    return denoise_nl_means(
        noisy, h=0.6 * sigma, sigma=sigma, fast_mode=True, patch_size=5, patch_distance=6
    )


def fit_mixture(photographs, components, sample, n_iter):
    """Zero-mean Gaussians of the patches without their means: (weights (k,), covariances (k, d, d))."""
    start = time.perf_counter()
    rng = np.random.default_rng(0)
    each = -(-sample // len(photographs))
    patches = np.concatenate(
        [rng.choice(extract_patches(photograph, PATCH), each) for photograph in photographs]
    )
    patches = (patches - patches.mean(axis=1, keepdims=True)).astype(np.float32)
    seeds = rng.choice(patches, components, replace=False)
    nearest = (2 * abs(patches @ seeds.T) - (seeds**2).sum(axis=1)).argmax(
        axis=1
    )  # of the seeds, up to sign
    shares = (nearest == np.arange(components)[:, None]).astype(np.float32)
    for _ in range(n_iter):
        mixture = maximise(patches, shares)
        shares = softmax(log_terms(patches, *mixture), axis=0)
    seconds = time.perf_counter() - start
    print(
        f"EPLL: {components} components from {len(patches)} patches, {n_iter} iterations in {seconds:.0f} s",
        flush=True,
    )
    return mixture


def maximise(patches, shares):
    """The mixture that is most likely given the responsibilities, shares (k, n)."""
    weights = (shares.sum(axis=1) + 1) / (len(patches) + len(shares))
    covariances = np.empty((len(shares), *patches.shape[1:] * 2))
    for covariance, share in zip(covariances, shares, strict=True):
        kept = share > SHARE
        rows, factors = patches[kept], share[kept, None]
        covariance[...] = (factors * rows).T @ rows / max(factors.sum(), 1) + FLOOR * np.eye(
            rows.shape[1]
        )
    return weights, covariances


def log_terms(patches, weights, covariances):
    """log(weight_k N(patch; 0, covariance_k)) up to a constant, (k, n)."""
    roots = np.linalg.cholesky(covariances)
    log_weights = np.log(weights) - np.log(np.diagonal(roots, axis1=1, axis2=2)).sum(axis=1)
    terms = np.empty((len(weights), len(patches)), np.float32)
    for term, log_weight, root in zip(terms, log_weights, roots, strict=True):
        white = patches @ np.linalg.inv(root).T.astype(np.float32)
        term[:] = log_weight - np.einsum("nd,nd->n", white, white) / 2
    return terms


def denoise_epll(mixture, noisy, sigma):
    """Half-quadratic splitting: every patch by its most likely component's Wiener filter, then the image."""
    weights, covariances = mixture
    image, counts = noisy, patch_counts(noisy.shape, PATCH)
    for beta in BETAS:
        noise = covariances + sigma**2 / beta * np.eye(PATCH**2)
        filters = np.linalg.solve(noise, covariances).astype(np.float32)
        total = np.zeros_like(noisy)
        for band in patch_bands(noisy.shape, PATCH):
            patches = extract_patches(image, PATCH, band).astype(np.float32)
            means = patches.mean(axis=1, keepdims=True)
            patches -= means
            component = log_terms(patches, weights, noise).argmax(axis=0)
            for k in np.unique(component):
                mine = component == k
                patches[mine] = patches[mine] @ filters[k]
            add_patches(patches + means, total, PATCH, band)
        image = (PATCH**2 * noisy + beta * total) / (PATCH**2 + beta * counts)
    return image


class ResidualNetwork(torch.nn.Module):
    """Noisy images and the noise levels of their pixels, (n, 1, H, W) each, to clean images."""

    def __init__(self):
        super().__init__()
        widths = [2, *[CHANNELS] * (LAYERS - 1), 1]
        layers = []
        for width, following in itertools.pairwise(widths):
            layers += [torch.nn.Conv2d(width, following, 3, padding=1), torch.nn.ReLU()]
        self.layers = torch.nn.Sequential(*layers[:-1])

    def forward(self, noisy, level):
        return noisy - level * self.layers(torch.cat([noisy, level], dim=1))


def train_network(photographs, seconds):
    """A residual network trained for some seconds on crops with noise of random levels."""
    rng, photographs = (
        np.random.default_rng(0),
        [photograph.astype(np.float32) for photograph in photographs],
    )
    torch.manual_seed(0)
    network = ResidualNetwork().to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(network.parameters(), LEARNING_RATE)
    start, steps, past = time.perf_counter(), 0, 0.0
    while past < 1:
        optimizer.param_groups[0]["lr"] = LEARNING_RATE * (1 + np.cos(np.pi * past)) / 2
        crops = torch.from_numpy(random_crops(photographs, rng))
        level = torch.empty(BATCH, 1, 1, 1).uniform_(*NOISE_LEVELS).expand(crops.shape)
        loss = torch.nn.functional.mse_loss(
            network(crops + level * torch.randn(crops.shape), level), crops
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        steps, past = steps + 1, (time.perf_counter() - start) / seconds
    parameters = sum(parameter.numel() for parameter in network.parameters())
    print(
        f"network: {parameters} parameters, {steps} steps of {BATCH} crops in {seconds:g} s",
        flush=True,
    )
    return network


def random_crops(photographs, rng):
    """BATCH squares from anywhere, turned and flipped, (BATCH, 1, CROP, CROP)."""
    crops = np.empty((BATCH, 1, CROP, CROP), np.float32)
    for crop in crops[:, 0]:
        photograph = photographs[rng.integers(len(photographs))]
        row, column = (rng.integers(size - CROP + 1) for size in photograph.shape)
        crop[...] = np.rot90(photograph[row : row + CROP, column : column + CROP], rng.integers(4))[
            :: rng.choice([-1, 1])
        ]
    return crops


def denoise_network(network, noisy, sigma):
    image = torch.from_numpy(noisy.astype(np.float32))[None, None]
    with torch.no_grad():
        return network(image, torch.full_like(image, sigma))[0, 0].numpy().astype(np.float64)


def draw(clean, estimates, sigma, path):
    """The middle of the first test image by every method, with the PSNR of the whole image."""
    image = next(iter(clean.values()))
    crop = tuple(
        slice(max(0, (size - PICTURE_SIDE) // 2), (size + PICTURE_SIDE) // 2)
        for size in image.shape
    )
    figure, axes = new_figure(1, len(estimates) + 1, width=2.2, height=2.5)
    for panel, (name, results) in zip(axes[0], estimates.items(), strict=False):
        show_image(
            panel,
            np.clip(results[0], 0, 1)[crop],
            f"{name}: {psnr_of([image], results[:1])[0]:.2f} dB",
        )
    show_image(axes[0, -1], image[crop], "clean")
    figure.suptitle(f"sigma {sigma:g}")
    save_figure(figure, path)
    print(f"written to {path}")


if __name__ == "__main__":
    main()
