"""Photographs: fastcl against other denoisers, from the same folder and at the same noise.

    python benchmarks/photographs.py TRAIN_DIR TEST_DIR [--out DIR] [--sigmas 15 25 50] [--quick]

Prints the size of the sketch of TRAIN_DIR and the seconds to sketch, learn and denoise. Then, for
every sigma (on the 0..255 scale), the PSNR of every image of TEST_DIR, and mean PSNR, mean SSIM and
seconds per megapixel of every method. Writes one picture into DIR. The noise is Gaussian and
seeded, and neither noise nor estimates are clipped or rounded. The methods:

TV       total variation (Chambolle 2004), at the weight that is best on the test images themselves
NLM      non-local means (Buades et al. 2005) given the noise level, set as in the gallery of
         scikit-image
EPLL     Zoran and Weiss 2011: a mixture of zero-mean Gaussians fitted to clean patches by
         expectation-maximisation, the Wiener filter of the most likely component, half-quadratic
         splitting; 100 components, where the paper has 200
network  a residual convolutional network that is given the noise level, trained on pairs with noise
         of every level for --network-seconds: its figures depend on the machine and on what else
         runs on it; it needs torch
fastcl   sketch_images, learn_patches, denoise_image at their defaults

A new environment compiles the kernels during its first run: take the times of the second. Needs the
extra "benchmark".
"""

import itertools
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
from command import new_parser, require
from scipy.special import softmax
from timing import machine

import fastcl
from fastcl.data.patches import add_patches, extract_patches, patch_counts, patch_tiles
from fastcl.data.readers import image_files, read_image
from fastcl.plots import new_figure, save_figure, show_image

TV_FACTORS = (0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4)  # weights divided by sigma

# EPLL
PATCH = 8  # side
SIDES = (PATCH, PATCH)
BETAS = (1, 2, 4, 8, 16, 32)  # precision of the patches over that of the noise; the paper has no 2
FLOOR = 1 / 255**2 / 12  # variance of the rounding to 8 bits, the least that a covariance has
# Smaller responsibilities count as none: most are, and they would cost most of the time.
MIN_RESPONSIBILITY = 1e-3
MIXTURE = {"components": 100, "sample": 200_000, "n_iter": 40}
QUICK_MIXTURE = {"components": 20, "sample": 20_000, "n_iter": 8}

# the network
LAYERS = 5
CHANNELS = 32
NOISE_LEVELS = (5 / 255, 55 / 255)
BATCH = 32
CROP = 40
LEARNING_RATE = 2e-3

PICTURE_SIGMA = 25
PICTURE_SIDE = 128
RIVALS = ("NLM", "EPLL", "network")
QUICK = {
    "train": 8,  # photographs
    "test": 2,
    "network_seconds": 4,
    "sketch": {"patch": 3, "m": 100},
    "learn": {"n_iter": 20, "n_components": 4},
}


def parse_options():
    parser = new_parser(__doc__)
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
        "--rivals", nargs="*", choices=RIVALS, default=RIVALS, help="besides total variation (all)"
    )
    return parser.parse_args()


def main():
    options = parse_options()
    require("skimage")
    if "network" in options.rivals:
        torch = require("torch", 'pip install -e ".[benchmark]", or --rivals NLM EPLL')
        print(
            machine(), f"torch {torch.__version__} on {torch.get_num_threads()} threads", sep="; "
        )
    else:
        print(machine())
    train, test = image_files(options.train), image_files(options.test)
    mixture, sketching, learning = MIXTURE, {}, {}
    if options.quick:
        train, test = train[: QUICK["train"]], test[: QUICK["test"]]
        options.sigmas, options.network_seconds = [PICTURE_SIGMA], QUICK["network_seconds"]
        mixture, sketching, learning = QUICK_MIXTURE, QUICK["sketch"], QUICK["learn"]
    photographs = [read_image(path, grey=True) for path in train]
    clean = {path.name: read_image(path, grey=True) for path in test}
    file_bytes = sum(path.stat().st_size for path in train)
    model = learn_fastcl(photographs, file_bytes, sketching, learning)
    report_seconds(model, next(iter(clean.values())))
    denoisers = {"fastcl": partial(fastcl.denoise_image, model)}
    if "NLM" in options.rivals:
        denoisers["NLM"] = denoise_nlm
    if "EPLL" in options.rivals:
        denoisers["EPLL"] = partial(denoise_epll, fit_mixture(photographs, **mixture))
    if "network" in options.rivals:
        network = train_network(photographs, options.network_seconds)
        denoisers["network"] = partial(denoise_network, network)
    options.out.mkdir(parents=True, exist_ok=True)
    pictured = min(options.sigmas, key=lambda sigma: abs(sigma - PICTURE_SIGMA))
    for sigma in options.sigmas:
        estimates = compare(clean, denoisers, sigma)
        if sigma == pictured:
            draw(clean, estimates, sigma, options.out / "photographs.png")


def learn_fastcl(photographs, file_bytes, sketching, learning):
    """The image model, learned from nothing but the file of the sketch; prints sizes and seconds.

    `sketching` and `learning` are settings of the two calls, empty for the defaults.
    """
    start = time.perf_counter()
    patch_sketch = fastcl.sketch_images(photographs, rng=0, **sketching)
    sketched = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sketch.npz"
        patch_sketch.save(path)
        sketch_bytes, patch_sketch = path.stat().st_size, fastcl.load(path)
    loaded = time.perf_counter()
    model = fastcl.learn_patches(patch_sketch, rng=0, **learning)
    learned = time.perf_counter()
    mib_files = file_bytes / 2**20
    mib_pixels = sum(photograph.size for photograph in photographs) / 2**20
    mib_sketch = sketch_bytes / 2**20
    mib_moments = patch_sketch.sketch.values.nbytes / 2**20
    print(
        f"{len(photographs)} photographs: {mib_files:.2f} MiB of files, "
        f"{mib_pixels:.2f} MiB as 8-bit pixels"
    )
    print(f"their sketch: {mib_sketch:.2f} MiB as a file, of which moments {mib_moments:.2f} MiB")
    print(f"fastcl: sketch {sketched - start:.1f} s, learn {learned - loaded:.1f} s")
    return model


def report_seconds(model, image):
    """Print the seconds to denoise squares of two sizes made from one image, after a warm-up."""
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
    """Print how every method does on every image at one sigma; returns method -> estimates."""
    from skimage.metrics import structural_similarity
    from skimage.restoration import denoise_tv_chambolle

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
    print(f"\n{f'sigma {sigma:g}':14}{'PSNR dB':>9}{'SSIM':>8}{'s per megapixel':>17}")
    megapixels = sum(image.size for image in images) / 1e6
    for name, results in estimates.items():
        pairs = zip(images, results, strict=True)
        ssim = np.mean([structural_similarity(*pair, data_range=1) for pair in pairs])
        comment = f"   weight {weight:.3f}" if name == "TV" else ""
        print(
            f"{name:14}{psnr[name].mean():>9.2f}{ssim:>8.3f}"
            f"{seconds[name] / megapixels:>17.2f}{comment}",
            flush=True,
        )
    return estimates


def psnr_of(images, estimates):
    from skimage.metrics import peak_signal_noise_ratio

    pairs = zip(images, estimates, strict=True)
    return np.array(
        [peak_signal_noise_ratio(image, estimate, data_range=1) for image, estimate in pairs]
    )


def best_tv_weight(images, noisy, sigma):
    """The weight with the best mean PSNR on the test images: more than a user can know."""
    from skimage.restoration import denoise_tv_chambolle

    def mean_psnr(weight):
        estimates = [denoise_tv_chambolle(image, weight=weight) for image in noisy]
        return psnr_of(images, estimates).mean()

    return max((factor * sigma for factor in TV_FACTORS), key=mean_psnr)


def denoise_nlm(noisy, sigma):
    from skimage.restoration import denoise_nl_means

    return denoise_nl_means(
        noisy, h=0.6 * sigma, sigma=sigma, fast_mode=True, patch_size=5, patch_distance=6
    )


def fit_mixture(photographs, components, sample, n_iter):
    """Zero-mean Gaussians of the patches minus their means: weights (k,), covariances (k, d, d)."""
    start = time.perf_counter()
    rng = np.random.default_rng(0)
    each = -(-sample // len(photographs))
    patches = np.concatenate(
        [rng.choice(extract_patches(photograph[None], SIDES), each) for photograph in photographs]
    )
    patches = (patches - patches.mean(axis=1, keepdims=True)).astype(np.float32)
    seeds = rng.choice(patches, components, replace=False)
    # Every patch starts with the seed that is nearest up to sign.
    nearest = (2 * abs(patches @ seeds.T) - (seeds**2).sum(axis=1)).argmax(axis=1)
    responsibilities = (nearest == np.arange(components)[:, None]).astype(np.float32)
    for _ in range(n_iter):
        mixture = maximise(patches, responsibilities)
        responsibilities = softmax(log_terms(patches, *mixture), axis=0)
    seconds = time.perf_counter() - start
    print(
        f"EPLL: {components} components from {len(patches)} patches, "
        f"{n_iter} iterations in {seconds:.0f} s",
        flush=True,
    )
    return mixture


def maximise(patches, responsibilities):
    """The mixture that is most likely given the responsibilities (k, n)."""
    components, dim = len(responsibilities), patches.shape[1]
    weights = (responsibilities.sum(axis=1) + 1) / (len(patches) + components)
    covariances = np.empty((components, dim, dim))
    for covariance, row in zip(covariances, responsibilities, strict=True):
        kept = row > MIN_RESPONSIBILITY
        rows, factors = patches[kept], row[kept, None]
        covariance[...] = (factors * rows).T @ rows / max(factors.sum(), 1) + FLOOR * np.eye(dim)
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
    """Half-quadratic splitting: each patch by its likeliest component's filter, then the image."""
    weights, covariances = mixture
    image, counts = noisy, patch_counts(noisy.shape, SIDES)
    for beta in BETAS:
        noise = covariances + sigma**2 / beta * np.eye(PATCH**2)
        filters = np.linalg.solve(noise, covariances).astype(np.float32)
        total = np.zeros_like(noisy)
        for tile in patch_tiles(noisy.shape, SIDES):
            patches = extract_patches(image[None], SIDES, tile).astype(np.float32)
            means = patches.mean(axis=1, keepdims=True)
            patches -= means
            component = log_terms(patches, weights, noise).argmax(axis=0)
            for k in np.unique(component):
                mine = component == k
                patches[mine] = patches[mine] @ filters[k]
            add_patches(patches + means, total[None], SIDES, tile)
        image = (PATCH**2 * noisy + beta * total) / (PATCH**2 + beta * counts)
    return image


def new_network(torch):
    """A network from noisy images and noise levels per pixel, (n, 1, H, W), to clean images."""

    class ResidualNetwork(torch.nn.Module):
        def __init__(self):
            super().__init__()
            widths = [2, *[CHANNELS] * (LAYERS - 1), 1]
            layers = []
            for width, following in itertools.pairwise(widths):
                layers += [torch.nn.Conv2d(width, following, 3, padding=1), torch.nn.ReLU()]
            self.layers = torch.nn.Sequential(*layers[:-1])

        def forward(self, noisy, level):
            return noisy - level * self.layers(torch.cat([noisy, level], dim=1))

    return ResidualNetwork()


def train_network(photographs, seconds):
    """A residual network trained for some seconds on crops with noise of random levels."""
    torch = require("torch")
    rng = np.random.default_rng(0)
    photographs = [photograph.astype(np.float32) for photograph in photographs]
    torch.manual_seed(0)
    network = new_network(torch).to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(network.parameters(), LEARNING_RATE)
    start, steps, past = time.perf_counter(), 0, 0.0
    while past < 1:
        optimizer.param_groups[0]["lr"] = LEARNING_RATE * (1 + np.cos(np.pi * past)) / 2
        crops = torch.from_numpy(random_crops(photographs, rng))
        level = torch.empty(BATCH, 1, 1, 1).uniform_(*NOISE_LEVELS).expand(crops.shape)
        estimate = network(crops + level * torch.randn(crops.shape), level)
        loss = torch.nn.functional.mse_loss(estimate, crops)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        steps += 1
        past = (time.perf_counter() - start) / seconds
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
        square = photograph[row : row + CROP, column : column + CROP]
        crop[...] = np.rot90(square, rng.integers(4))[:: rng.choice([-1, 1])]
    return crops


def denoise_network(network, noisy, sigma):
    torch = require("torch")
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
        psnr = psnr_of([image], results[:1])[0]
        show_image(panel, np.clip(results[0], 0, 1)[crop], f"{name}: {psnr:.2f} dB")
    show_image(axes[0, -1], image[crop], "clean")
    figure.suptitle(f"sigma {sigma:g}")
    save_figure(figure, path)
    print(f"written to {path}")


if __name__ == "__main__":
    main()
