"""`fastcl demo`: a 2-D spiral, a photograph in colour and a song, denoised and drawn."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import spectrogram

from .. import files
from ..data.datasets import make_song, make_spiral
from ..data.sound_formats import write_sound
from ..denoising.audio import denoise_audio, sketch_audio
from ..denoising.patch_model import learn_patches
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
SIGMA = 25 / 255  # of the photograph
TV_WEIGHTS = (0.06, 0.08, 0.1, 0.12, 0.14)
WINDOW = (slice(60, 316), slice(160, 416))  # the part of the photograph that is denoised
RATE = 16000  # samples per second of the song
SONG_M = 500  # frequencies of the sketch of the song
SONG_LEARNING: dict[str, Any] = {"n_iter": 100, "n_components": 20, "n_samples": 50_000}
SONG_NOISE = 0.1  # standard deviation; the song has largest magnitude 1
FLOOR = 70  # dB that a spectrogram shows


def run(
    folder: files.PathLike = "fastcl-demo",
    n_iter: int = 3000,
    progress: bool = True,
    report: Report = print,
) -> dict[str, Any]:
    """Run all demonstrations, write pictures into `folder`, and return every figure by name."""
    n_iter = as_count(n_iter, "n_iter")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    files.check_writable(folder / "spiral.png")
    start = time.perf_counter()
    spiral = spiral_demo(folder, n_iter, progress=progress, report=report)
    photograph = photograph_demo(folder, progress=progress, report=report)
    song = song_demo(folder, progress=progress, report=report)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    report(f"\n{seconds:.0f} s, peak memory {peak:.0f} MiB; pictures and sounds are in {folder}")
    parts = {"spiral": spiral, "photograph": photograph, "song": song}
    return parts | {"seconds": seconds, "peak_mib": peak}


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


# ---- a photograph and a song ------------------------------------------------------------------


def photograph_demo(
    folder: Path,
    clean: NDArray | None = None,
    *,
    progress: bool = True,
    report: Report = print,
) -> dict[str, dict[str, float]]:
    """Denoise a photograph in colour with the ready model, next to total variation."""
    from skimage import data
    from skimage.util import img_as_float

    clean = img_as_float(data.coffee()[WINDOW] if clean is None else clean)
    noisy = clean + SIGMA * np.random.default_rng(0).standard_normal(clean.shape)
    start = time.perf_counter()
    denoised = denoise_image(noisy, progress=progress)
    seconds = time.perf_counter() - start
    report(
        f"\nPhotograph: {clean.shape[0]} x {clean.shape[1]} in colour, by the ready model, "
        f"in {seconds:.1f} s; its noise is estimated"
    )
    images = {"noisy": noisy, "TV": _total_variation(clean, noisy), "fastcl": denoised}
    scores = _score(clean, images, report)
    figure, axes = new_figure(2, 2)
    for panel, (name, image) in zip(axes.flat, (images | {"clean": clean}).items(), strict=True):
        title = f"{name}: {scores[name]['psnr']:.2f} dB" if name in scores else name
        show_image(panel, np.clip(image, 0, 1), title)
    save_figure(figure, folder / "photograph.png")
    return scores


def _total_variation(clean: NDArray, noisy: NDArray) -> NDArray:
    """The best that total variation does over a few weights, chosen with the clean image."""
    from skimage.restoration import denoise_tv_chambolle

    candidates = [denoise_tv_chambolle(noisy, weight, channel_axis=-1) for weight in TV_WEIGHTS]
    return min(candidates, key=lambda image: np.square(image - clean).mean())


def _score(
    clean: NDArray, images: dict[str, NDArray], report: Report
) -> dict[str, dict[str, float]]:
    from skimage.metrics import peak_signal_noise_ratio, structural_similarity

    report(f"  {'sigma 25':10}{'PSNR dB':>10}{'SSIM':>8}")
    scores = {}
    for name, image in images.items():
        psnr = float(peak_signal_noise_ratio(clean, image, data_range=1))
        ssim = float(structural_similarity(clean, image, data_range=1, channel_axis=-1))
        scores[name] = {"psnr": psnr, "ssim": ssim}
        report(f"  {name:10}{psnr:>10.2f}{ssim:>8.3f}")
    return scores


def song_demo(
    folder: Path,
    seconds: float = 20,
    *,
    progress: bool = True,
    report: Report = print,
) -> dict[str, float]:
    """Learn from one synthetic song, and denoise another, a third as long."""
    clean = make_song(seconds / 3, RATE, rng=1)
    noisy = clean + SONG_NOISE * np.random.default_rng(0).standard_normal(clean.shape)
    start = time.perf_counter()
    song = make_song(seconds, RATE, rng=0)
    song_sketch = sketch_audio(song, RATE, SONG_M, rng=0, progress=progress)
    sketched = time.perf_counter()
    model = learn_patches(song_sketch, rng=0, progress=progress, **SONG_LEARNING)
    learned = time.perf_counter()
    denoised = denoise_audio(model, noisy)
    report(
        f"\nSong: {seconds:g} s of a synthetic voice in a sketch of "
        f"{song_sketch.sketch.values.nbytes / 1024:.0f} KiB\n"
        f"  sketch {sketched - start:.1f} s, learn {learned - sketched:.1f} s, "
        f"denoise {clean.size / RATE:.1f} s of another song {time.perf_counter() - learned:.1f} s"
    )
    songs = {"noisy": noisy, "fastcl": denoised, "clean": clean}
    scores = {name: signal_to_noise(clean, songs[name]) for name in ("noisy", "fastcl")}
    report("".join(f"  {name} {value:.1f} dB" for name, value in scores.items()))
    full = np.abs(noisy).max()
    for name, song in songs.items():
        with files.replacing(folder / f"song-{name}.wav") as stream:
            write_sound(stream, song / full, RATE, "int16")
    _draw_spectrograms(folder / "song.png", songs, scores)
    return scores


def _draw_spectrograms(path: Path, songs: dict[str, NDArray], scores: dict[str, float]) -> None:
    figure, axes = new_figure(len(songs), 1, width=7, height=2)
    loudest = None
    for panel, (name, song) in zip(axes[:, 0], songs.items(), strict=True):
        frequencies, times, power = spectrogram(song, RATE, "hann", 512, 384)
        loudest = power.max() if loudest is None else loudest
        levels = 10 * np.log10(np.maximum(power / loudest, 1e-12))
        box = (times[0], times[-1], frequencies[0] / 1000, frequencies[-1] / 1000)
        style: dict[str, Any] = {"origin": "lower", "aspect": "auto", "extent": box}
        image = panel.imshow(levels, vmin=-FLOOR, vmax=0, cmap="magma", **style)
        title = f"{name}: {scores[name]:.1f} dB" if name in scores else name
        panel.set(title=title, ylabel="frequency (kHz)")
    panel.set_xlabel("time (s)")
    figure.colorbar(image, ax=list(axes[:, 0]), label="power relative to the largest (dB)")
    save_figure(figure, path)
