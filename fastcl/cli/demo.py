"""`fastcl demo`: a 2-D spiral and real photographs, sketched, learned, denoised and drawn."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import files
from ..data.datasets import make_spiral
from ..denoising.patch_model import learn_patches
from ..denoising.patch_sketch import sketch_images
from ..denoising.photographs import denoise_image
from ..denoising.vectors import denoise
from ..fourier.frequencies import draw_frequencies
from ..learning.gradients import grid_gradient
from ..learning.loop import learn
from ..learning.optimizers import Adam, Cosine
from ..measures.box import Box
from ..plots.figures import new_figure, save_figure, show_density, show_image
from ..priors.mlp import MLPPrior
from ..sketching.data_set import sketch
from ..validation import as_count

Report = Callable[[str], object]

# Compared on the spiral. The grid has 20 x 20 points.
METHODS: dict[str, dict[str, Any]] = {
    "grid": {"method": "grid", "log_scale": "learned", "n_points": 400},
    "unbiased": {"method": "unbiased", "log_scale": "learned", "n_points": 4000},
    "normalised": {"method": "unbiased", "log_scale": "normalised", "n_points": 4000},
}
WIDTHS = (64, 128, 256)
SPIRAL_NOISE = 0.15  # standard deviation of the noise on the spiral
N_HELD_OUT = 5000  # points of the spiral that are denoised
M_PATCHES = 2000  # frequencies of the sketch of photographs
SIGMA = 25 / 255
TV_WEIGHTS = (0.06, 0.08, 0.1, 0.12, 0.14)
WINDOW = (slice(60, 316), slice(120, 376))  # the part of the photograph that is shown


def run(
    folder: files.PathLike = "fastcl-demo",
    n_iter: int = 3000,
    progress: bool = True,
    report: Report = print,
) -> dict[str, Any]:
    """Run both demonstrations, write pictures into `folder`, and return every figure by name."""
    n_iter = as_count(n_iter, "n_iter")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    files.check_writable(folder / "spiral.png")
    start = time.perf_counter()
    spiral = spiral_demo(folder, n_iter, progress=progress, report=report)
    photographs = photograph_demo(folder, progress=progress, report=report)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    report(f"\n{seconds:.0f} s, peak memory {peak:.0f} MiB; the pictures are in {folder}")
    return {"spiral": spiral, "photographs": photographs, "seconds": seconds, "peak_mib": peak}


# ---- the spiral -------------------------------------------------------------------------------


def normalised_log_likelihood(
    prior: MLPPrior, box: Box, x: NDArray, points_per_axis: int = 400
) -> float:
    """Mean log-density of x (n, d) in nats per point, normalised over the box by quadrature."""
    log_density = prior.log_density(box.grid(points_per_axis)).astype(np.float64)
    log_normaliser = np.log(np.exp(log_density).mean() * box.volume)
    return float(prior.log_density(x).mean() - log_normaliser)


def signal_to_noise(clean: NDArray, estimate: NDArray) -> float:
    """Signal-to-noise ratio of an estimate of points, in dB."""
    return float(10 * np.log10((clean**2).sum() / ((clean - estimate) ** 2).sum()))


def spiral_demo(
    folder: Path,
    n_iter: int = 3000,
    *,
    n_points: int = 20_000,
    widths: Sequence[int] = WIDTHS,
    progress: bool = True,
    report: Report = print,
) -> dict[str, Any]:
    """Compare three methods on the same sketch of a spiral, at the same number of steps."""
    data = make_spiral(n_points, rng=0).astype(np.float32)
    held_out = make_spiral(min(n_points, N_HELD_OUT), rng=1)
    noisy = held_out + SPIRAL_NOISE * np.random.default_rng(2).standard_normal(held_out.shape)
    box = Box([-1, -1], [1, 1])
    sk = sketch(data, draw_frequencies(500, dim=2, scale=0.03, rng=0))
    report(
        f"Spiral: {len(data)} points ({data.nbytes / 1024:.0f} KiB) "
        f"in a sketch of {sk.values.nbytes / 1024:.0f} KiB"
    )
    start = time.perf_counter()
    for settings in METHODS.values():
        learn(MLPPrior(2, widths, rng=0), sk, box, n_iter=1, rng=0, **settings)
    report(f"  compiled in {time.perf_counter() - start:.0f} s (once; later runs read the cache)")
    report(f"  {n_iter} steps of Adam; noisy points have {signal_to_noise(held_out, noisy):.1f} dB")
    report(
        f"  {'method':10}{'G':>8}{'nats/point':>14}{'MAP dB':>9}{'mean dB':>9}"
        f"{'seconds':>9}{'ms/step':>11}"
    )
    figure, axes = new_figure(1, len(METHODS))
    results = {}
    for panel, (name, settings) in zip(axes[0], METHODS.items(), strict=True):
        prior = MLPPrior(2, widths, rng=0)
        settings = settings | {"optimizer": Adam(2e-3, schedule=Cosine(n_iter))}
        start = time.perf_counter()
        learn(prior, sk, box, n_iter=n_iter, rng=0, progress=progress, **settings)
        seconds = time.perf_counter() - start
        value = grid_gradient(prior, sk, box, points_per_axis=400)[0]
        row = {"value": value, **_judge(prior, box, held_out, noisy), "seconds": seconds}
        results[name] = row
        report(
            f"  {name:10}{value:>8.2f}{row['log_likelihood']:>14.3f}{row['map_snr']:>9.1f}"
            f"{row['mean_snr']:>9.1f}{seconds:>9.1f}{1e3 * seconds / n_iter:>11.2f}"
        )
        density = np.exp(prior.log_density(box.grid(200))).reshape(200, 200)
        title = f"{name}: {row['log_likelihood']:.2f} nats"
        show_density(panel, density, box, held_out[:400], title)
    save_figure(figure, folder / "spiral.png")
    return results


def _judge(prior: MLPPrior, box: Box, held_out: NDArray, noisy: NDArray) -> dict[str, float]:
    """Likelihood of held-out points (n, 2), and how well they are recovered from noisy ones."""
    mean = denoise(prior, noisy, SPIRAL_NOISE, estimator="mean")
    return {
        "log_likelihood": normalised_log_likelihood(prior, box, held_out),
        "map_snr": signal_to_noise(held_out, denoise(prior, noisy, SPIRAL_NOISE)),
        "mean_snr": signal_to_noise(held_out, mean),
    }


# ---- photographs ------------------------------------------------------------------------------


def training_photographs() -> list[NDArray]:
    """Grey photographs in [0, 1] that come with scikit-image, without the one to denoise."""
    from skimage import color, data

    photographs = [
        data.astronaut(),
        data.chelsea(),
        data.coffee(),
        data.rocket(),
        data.stereo_motorcycle()[0],
    ]
    return [color.rgb2gray(photograph) for photograph in photographs]


def photograph_demo(
    folder: Path,
    photographs: Sequence[NDArray] | None = None,
    clean: NDArray | None = None,
    *,
    m: int = M_PATCHES,
    window: tuple[slice, slice] = WINDOW,
    progress: bool = True,
    report: Report = print,
) -> dict[str, Any]:
    """Learn from the patches of photographs and denoise another one, next to total variation."""
    from skimage import data
    from skimage.util import img_as_float

    photographs = training_photographs() if photographs is None else photographs
    clean = img_as_float(data.camera() if clean is None else clean)
    noisy = clean + SIGMA * np.random.default_rng(0).standard_normal(clean.shape)
    start = time.perf_counter()
    patch_sketch = sketch_images(photographs, m=m, rng=0, progress=progress)
    sketched = time.perf_counter()
    model = learn_patches(patch_sketch, rng=0, progress=progress)
    learned = time.perf_counter()
    denoised = denoise_image(model, noisy, SIGMA, progress=progress)
    seconds = {
        "sketch": sketched - start,
        "learn": learned - sketched,
        "denoise": time.perf_counter() - learned,
    }
    pixels = sum(photograph.size for photograph in photographs)
    patches = patch_sketch.sketch.count
    sides = " x ".join(map(str, patch_sketch.transform.patch))
    report(
        f"\nPhotographs: {len(photographs)} with {pixels / 1e6:.1f} million pixels "
        f"({pixels / 2**20:.1f} MiB in 8 bits)"
    )
    report(
        f"  {patches / 1e6:.1f} million patches of {sides} "
        f"in a sketch of {patch_sketch.sketch.values.nbytes / 1024:.0f} KiB"
    )
    report(
        f"  sketch {seconds['sketch']:.1f} s, learn {seconds['learn']:.1f} s, "
        f"denoise {clean.shape[0]} x {clean.shape[1]} {seconds['denoise']:.1f} s"
    )
    images = {"noisy": noisy, "TV": _total_variation(clean, noisy), "fastcl": denoised}
    scores = _score(clean, images, report)
    figure, axes = new_figure(1, 4)
    for panel, (name, image) in zip(axes[0], (images | {"clean": clean}).items(), strict=True):
        title = f"{name}: {scores[name]['psnr']:.2f} dB" if name in scores else name
        show_image(panel, np.clip(image, 0, 1)[window], title)
    save_figure(figure, folder / "photographs.png")
    return {"seconds": seconds, **scores}


def _total_variation(clean: NDArray, noisy: NDArray) -> NDArray:
    """The best that total variation does over a few weights, chosen with the clean image."""
    from skimage.metrics import peak_signal_noise_ratio
    from skimage.restoration import denoise_tv_chambolle

    candidates = [denoise_tv_chambolle(noisy, weight=weight) for weight in TV_WEIGHTS]
    return max(candidates, key=lambda image: peak_signal_noise_ratio(clean, image, data_range=1))


def _score(
    clean: NDArray, images: dict[str, NDArray], report: Report
) -> dict[str, dict[str, float]]:
    from skimage.metrics import peak_signal_noise_ratio, structural_similarity

    report(f"  {'sigma 25':10}{'PSNR dB':>10}{'SSIM':>8}")
    scores = {}
    for name, image in images.items():
        psnr = float(peak_signal_noise_ratio(clean, image, data_range=1))
        ssim = float(structural_similarity(clean, image, data_range=1))
        scores[name] = {"psnr": psnr, "ssim": ssim}
        report(f"  {name:10}{psnr:>10.2f}{ssim:>8.3f}")
    return scores
