"""`fastcl demo`: a 2-D spiral and real photographs, from sketch to denoised result, with pictures."""

import resource
import time
from pathlib import Path

import numpy as np

from .. import files
from ..data.datasets import make_spiral
from ..denoising.patch_model import learn_patches
from ..denoising.patch_sketch import sketch_images
from ..denoising.restoration import denoise_image
from ..denoising.vectors import denoise
from ..fourier.frequencies import draw_frequencies
from ..learning.loop import learn
from ..learning.objective import grid_gradient
from ..learning.optimizers import Adam, Cosine
from ..measures.box import Box
from ..plots.figures import new_figure, save_figure, show_density, show_image
from ..priors.mlp import MLPPrior
from ..sketching.sketch import sketch
from ..validation import as_count

GRID = 400  # points of the grid that is learned on: 20 x 20
METHODS = {  # compared on the spiral
    "grid": {"method": "grid", "log_scale": "learned", "n_points": GRID},
    "unbiased": {"method": "unbiased", "log_scale": "learned", "n_points": 4000},
    "normalised": {"method": "unbiased", "n_points": 4000},
}
M_PATCHES = 2000  # frequencies of the sketch of photographs
WIDTHS = (64, 128, 256)
SPIRAL_NOISE = 0.15  # standard deviation of the noise that the spiral is denoised from
SIGMA = 25 / 255
TV_WEIGHTS = (0.06, 0.08, 0.1, 0.12, 0.14)


def run(folder="fastcl-demo", n_iter=3000, progress=True, report=print):
    """Run both demonstrations, write pictures into `folder`, and return every figure by name."""
    n_iter = as_count(n_iter, "n_iter")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    files.check_writable(folder / "spiral.png")
    start = time.perf_counter()
    spiral = spiral_demo(folder, n_iter, progress, report)
    photographs = photograph_demo(folder, progress, report)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    report(
        f"\n{seconds:.0f} s in all, peak memory of the process {peak:.0f} MiB; pictures are in {folder}"
    )
    return {"spiral": spiral, "photographs": photographs, "seconds": seconds, "peak_mib": peak}


def normalised_log_likelihood(prior, box, x, points_per_axis=400):
    """Mean log-density of x (n, d), the mass over the box taken by quadrature: nats a point."""
    log_density = prior.log_density(box.grid(points_per_axis)).astype(np.float64)
    log_normaliser = np.log(np.exp(log_density).mean() * box.volume)
    return float(prior.log_density(x).mean() - log_normaliser)


def signal_to_noise(clean, estimate):
    """Signal-to-noise ratio of an estimate of points, in dB."""
    return float(10 * np.log10((clean**2).sum() / ((clean - estimate) ** 2).sum()))


def spiral_demo(folder, n_iter=3000, progress=True, report=print):
    """Three methods on the same sketch of a spiral, at the same number of steps."""
    data, held_out = make_spiral(20_000, rng=0).astype(np.float32), make_spiral(5_000, rng=1)
    noisy = held_out + SPIRAL_NOISE * np.random.default_rng(2).standard_normal(held_out.shape)
    box = Box([-1, -1], [1, 1])
    sk = sketch(data, draw_frequencies(500, dim=2, scale=0.03, rng=0))
    report(
        f"Spiral: {len(data)} points ({data.nbytes / 1024:.0f} KiB) in a sketch of {sk.values.nbytes / 1024:.0f} KiB"
    )
    start = time.perf_counter()
    for settings in METHODS.values():
        learn(MLPPrior(dim=2, widths=WIDTHS, rng=0), sk, box, n_iter=1, rng=0, **settings)
    report(f"  compiled in {time.perf_counter() - start:.0f} s (once; later runs read the cache)")
    report(f"  {n_iter} steps of Adam; noisy points have {signal_to_noise(held_out, noisy):.1f} dB")
    report(
        f"  {'method':10}{'G':>8}{'nats a point':>14}{'MAP dB':>9}{'mean dB':>9}{'seconds':>9}{'ms a step':>11}"
    )
    figure, axes = new_figure(1, 3)
    results = {}
    for panel, (method, settings) in zip(axes[0], METHODS.items(), strict=True):
        prior = MLPPrior(dim=2, widths=WIDTHS, rng=0)
        optimizer = Adam(2e-3, schedule=Cosine(n_iter))
        start = time.perf_counter()
        learn(
            prior,
            sk,
            box,
            n_iter=n_iter,
            optimizer=optimizer,
            rng=0,
            progress=progress,
            **settings,
        )
        seconds = time.perf_counter() - start
        row = results[method] = {
            "value": grid_gradient(prior, sk, box, points_per_axis=400)[0],
            "log_likelihood": normalised_log_likelihood(prior, box, held_out),
            "map_snr": signal_to_noise(held_out, denoise(prior, noisy, SPIRAL_NOISE)),
            "mean_snr": signal_to_noise(
                held_out, denoise(prior, noisy, SPIRAL_NOISE, estimator="mean")
            ),
            "seconds": seconds,
        }
        report(
            f"  {method:10}{row['value']:>8.2f}{row['log_likelihood']:>14.3f}{row['map_snr']:>9.1f}{row['mean_snr']:>9.1f}"
            f"{seconds:>9.1f}{1e3 * seconds / n_iter:>11.2f}"
        )
        density = np.exp(prior.log_density(box.grid(200))).reshape(200, 200)
        show_density(
            panel, density, box, held_out[:400], f"{method}: {row['log_likelihood']:.2f} nats"
        )
    save_figure(figure, folder / "spiral.png")
    return results


def training_photographs():
    """Grey photographs in [0, 1] that ship inside scikit-image, the denoised one not among them."""
    from skimage import color, data

    photographs = [
        data.astronaut(),
        data.chelsea(),
        data.coffee(),
        data.rocket(),
        data.stereo_motorcycle()[0],
    ]
    return [color.rgb2gray(photograph) for photograph in photographs]


def photograph_demo(folder, progress=True, report=print):
    """Learn from the patches of some photographs, denoise another one, beside total variation."""
    from skimage import data, img_as_float
    from skimage.metrics import peak_signal_noise_ratio, structural_similarity
    from skimage.restoration import denoise_tv_chambolle

    photographs = training_photographs()
    clean = img_as_float(data.camera())
    noisy = clean + SIGMA * np.random.default_rng(0).standard_normal(clean.shape)
    start = time.perf_counter()
    patch_sketch = sketch_images(photographs, m=M_PATCHES, rng=0, progress=progress)
    sketched = time.perf_counter()
    model = learn_patches(patch_sketch, rng=0, progress=progress)
    learned = time.perf_counter()
    denoised = denoise_image(model, noisy, SIGMA, progress=progress)
    done = time.perf_counter()

    candidates = [denoise_tv_chambolle(noisy, weight=weight) for weight in TV_WEIGHTS]
    tv = max(candidates, key=lambda image: peak_signal_noise_ratio(clean, image, data_range=1))
    pixels, sk = sum(photograph.size for photograph in photographs), patch_sketch.sketch
    report(
        f"\nPhotographs: {len(photographs)} with {pixels / 1e6:.1f} million pixels ({pixels / 2**20:.1f} MiB as 8-bit), "
    )
    report(
        f"  {sk.count / 1e6:.1f} million patches of 6 x 6 in a sketch of {sk.values.nbytes / 1024:.0f} KiB"
    )
    report(
        f"  sketch {sketched - start:.1f} s, learn {learned - sketched:.1f} s, "
        f"denoise {clean.shape[0]} x {clean.shape[1]} {done - learned:.1f} s"
    )
    report(f"  {'sigma 25':10}{'PSNR dB':>10}{'SSIM':>8}")
    results = {
        "seconds": {
            "sketch": sketched - start,
            "learn": learned - sketched,
            "denoise": done - learned,
        }
    }
    figure, axes = new_figure(1, 4)
    for panel, (name, image) in zip(
        axes[0], {"noisy": noisy, "TV": tv, "fastcl": denoised, "clean": clean}.items(), strict=True
    ):
        title = name
        if name != "clean":
            psnr = peak_signal_noise_ratio(clean, image, data_range=1)
            ssim = structural_similarity(clean, image, data_range=1)
            results[name] = {"psnr": float(psnr), "ssim": float(ssim)}
            report(f"  {name:10}{psnr:>10.2f}{ssim:>8.3f}")
            title = f"{name}: {psnr:.2f} dB"
        show_image(panel, np.clip(image, 0, 1)[60:316, 120:376], title)
    save_figure(figure, folder / "photographs.png")
    return results
