"""What the commands do: read files, call the package, write files."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import files
from ..data.image_formats import IMAGE_SUFFIXES
from ..data.npy_files import NpyFile
from ..data.readers import read_array
from ..data.sound_formats import SOUND_SUFFIXES
from ..data.sources import Rows
from ..denoising.noisy_signals import ESTIMATE
from ..denoising.patch_model import IMAGE_METHODS, SignalModel, learn_patches
from ..denoising.patch_sketch import PatchSketch
from ..denoising.vectors import denoise
from ..fourier.frequencies import draw_frequencies, estimate_scale
from ..learning.loop import LEARN_METHODS, learn_network
from ..learning.optimizers import Adam
from ..measures.base import ReferenceMeasure
from ..measures.box import Box, Domain
from ..measures.mixtures import Gaussian
from ..measures.scale_mixture_noise import common_without_noise
from ..priors.base import Prior
from ..sketching.checkpoint import OtherData, resume, run_pass
from ..sketching.sketch import Sketch
from ..validation import as_positive
from . import signals
from .streams import warn

MAX_BOX = 3  # dimensions in which uniform points in a box find the data; beyond, a Gaussian does
MAX_RATIO = 10  # of the standard deviations of columns that are taken to be in the same units
ROWS_M = 4000  # frequencies for rows by default, as for photographs
MAX_CHAINS_M = 20_000  # frequencies beyond which the metric of chains takes too much memory
MIN_SHARP = 0.3  # finest structure that is sought in noise, in its standard deviations
SAMPLE_ROWS = 20_000  # rows from which the scale and the Gaussian are estimated


def check_out(out: str, apart_from: Iterable[files.PathLike | None] = ()) -> None:
    """OSError or ValueError now if the output cannot be written, see `files.check_writable`."""
    if out == "-":
        raise ValueError("the output must be a file, not '-': it cannot go to standard output")
    files.check_writable(out, apart_from)


def partial_path(out: files.PathLike) -> Path:
    """Where an interrupted command keeps its work: next to its output file."""
    return Path(out).with_suffix(".partial.npz")


def run_demo(options: Namespace) -> None:
    """`fastcl demo`."""
    from . import demo

    demo.run(options.out, options.iterations, not options.quiet)


# ---- sketch -----------------------------------------------------------------------------------


def run_sketch(options: Namespace) -> None:
    """`fastcl sketch`: an interrupted pass resumes when the same command is run again."""
    check_out(options.out, [options.source])
    source = Path(options.source)
    if not source.exists():
        raise FileNotFoundError(f"no such file or folder: {str(source)!r}")
    checkpoint = partial_path(options.out)
    files.check_writable(checkpoint, [source])
    try:
        if _of_another_kind(checkpoint, source):
            raise OtherData
        result = _sketch(options, source, checkpoint)
    except OtherData:
        warn("sketch", f"{str(checkpoint)!r} belongs to other data, so the sketch starts anew")
        checkpoint.unlink()
        result = _sketch(options, source, checkpoint)
    sketch = result.sketch if isinstance(result, PatchSketch) else result
    sketch.pass_state = None
    result.save(options.out)
    checkpoint.unlink(missing_ok=True)
    size = f"{len(sketch.omega)} moments"
    print(f"{options.out}: {sketch.count} points of dimension {sketch.dim} in {size}")


def _of_another_kind(checkpoint: Path, source: Path) -> bool:
    """Whether a checkpoint is of signals and the source an array, or the other way round."""
    try:
        found = _load_sketch(str(checkpoint))
    except (ValueError, OSError):  # none, or one that is refused later
        return False
    return isinstance(found, PatchSketch) != source.is_dir()


def _sketch(options: Namespace, source: Path, checkpoint: Path) -> PatchSketch | Sketch:
    """The sketch of a folder of signals or of an array, which resumes from the checkpoint."""
    if options.noise not in (None, ESTIMATE):
        as_positive(options.noise, "--noise")
    if source.is_dir():
        if options.scale is not None:
            raise ValueError("--scale is for an array: signals have their frequencies adapted")
        return signals.sketch_folder(options, source, checkpoint)
    for name in ("patch", "skip_bad", "colour"):
        if getattr(options, name) not in (None, False):
            raise ValueError(f"--{name.replace('_', '-')} is for a folder of signals")
    if options.noise == ESTIMATE:
        raise ValueError("--noise estimate is for a folder of signals: give a number")
    m = ROWS_M if options.m is None else options.m
    noise = options.noise
    settings: dict[str, Any] = {"checkpoint": checkpoint, "progress": not options.quiet}
    return sketch_rows(read_array(source), m, options.scale, options.seed, noise, **settings)


def sketch_rows(
    x: NDArray | NpyFile,
    m: int,
    scale: float | None,
    seed: int,
    noise: float | None,
    checkpoint: files.PathLike,
    progress: bool,
) -> Sketch:
    """The sketch of the rows of x (n, d), with the domain from which learning draws points.

    White noise, if its standard deviation is given, is taken out of it.
    """
    n, dim = x.shape
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.choice(n, min(n, SAMPLE_ROWS), replace=False))
    source = Rows(x, dim)
    sample = source.take(chosen)
    finite = np.isfinite(sample).all(axis=1)
    if not finite.all():
        raise ValueError(f"x holds NaN or infinity in row {chosen[finite.argmin()]}")
    units = np.ones(dim)
    if scale is None:
        units = _column_units(sample)
        scale = estimate_scale(sample / units, rng)
        if noise is not None:  # which the estimate contains
            blur = noise / float(units.max())
            scale = max(np.sqrt(max(scale**2 - blur**2, 0)), MIN_SHARP * blur)
        differ = (units != 1).any()
        print(f"estimated scale: {scale:.3g}{' standard deviations of a column' if differ else ''}")
    resolved: dict[str, Any] = {} if noise is None else {"noise": noise / units, "n_points": n}
    omega = np.asarray(draw_frequencies(m, dim, scale, rng=rng, **resolved)) / units
    sketch = resume(checkpoint, Sketch(omega), source)
    bounds = _Bounds(sketch) if dim <= MAX_BOX else None
    run_pass(sketch, source, progress=progress, checkpoint=checkpoint, observer=bounds)
    if bounds is not None:
        margin = np.maximum(0.1 * (bounds.high - bounds.low), scale * units)
        sketch.domain = Box(bounds.low - margin, bounds.high + margin)
    else:
        sketch.domain = _gaussian_near(sample, scale * units, noise or 0.0)
    return sketch if noise is None else sketch.deconvolve(noise)


@np.errstate(over="ignore")
def _column_units(sample: NDArray) -> NDArray:
    """Units (d,) of the columns of a sample: 1, or their stds if these are far from alike."""
    stds = np.asarray(sample, np.float64).std(axis=0)
    known = stds[stds > 0]
    if len(known) == 0 or not known.max() <= np.finfo(np.float64).max:
        return np.ones(len(stds))
    if known.max() <= MAX_RATIO * known.min():
        return np.ones(len(stds))
    return np.where(stds > 0, stds, known.max())


def _gaussian_near(sample: NDArray, scales: NDArray, noise: float) -> Gaussian:
    """The Gaussian with the moments of a sample (n, d) less those of white noise.

    In constant columns its standard deviation is a scale.
    """
    rows = np.asarray(sample, np.float64)
    ridge = np.where(np.ptp(rows, axis=0) > 0, 1e-6 * rows.var(axis=0), scales**2)
    covariance = np.cov(rows.T) + np.diag(ridge)
    if noise:
        covariance = common_without_noise(covariance, np.full(len(ridge), noise))
    return Gaussian(rows.mean(axis=0), covariance)


class _Bounds:
    """Observer of a pass: makes the bounding box of its rows the domain of the sketch."""

    def __init__(self, sketch: Sketch) -> None:
        self.sketch = sketch
        self.low = np.full(sketch.dim, np.inf)
        self.high = np.full(sketch.dim, -np.inf)
        if isinstance(sketch.domain, Box):  # the pass resumes: these rows were read before
            self.low = sketch.domain.low.copy()
            self.high = np.nextafter(sketch.domain.high, -np.inf)

    def __call__(self, rows: NDArray, first: int, last: int) -> None:
        np.minimum(self.low, rows[first:last].min(axis=0), out=self.low)
        np.maximum(self.high, rows[first:last].max(axis=0), out=self.high)
        if np.isfinite(self.high - self.low).all():
            # One step wider, so that the box has a volume even if all rows are equal.
            self.sketch.domain = Box(self.low, np.nextafter(self.high, np.inf))


# ---- learn ------------------------------------------------------------------------------------


def run_learn(options: Namespace) -> None:
    """`fastcl learn`: an interrupted run keeps what was learned next to the output file."""
    check_out(options.out, [options.sketch, options.checkpoint])
    sketch = _load_sketch(options.sketch)
    of_signals = isinstance(sketch, PatchSketch)
    methods, method = (IMAGE_METHODS if of_signals else LEARN_METHODS), options.method
    if method not in (None, *methods):
        what = "signals" if of_signals else "an array"
        raise ValueError(f"--method for a sketch of {what} must be one of {', '.join(methods)}")
    if isinstance(sketch, PatchSketch):
        if options.low is not None or options.high is not None:
            raise ValueError("--low and --high are for a sketch of an array")
        method = method or methods[0]
    else:
        domain = _check_domain(sketch, options.sketch, options.low, options.high)
        carried = isinstance(domain, ReferenceMeasure) and len(sketch.omega) <= MAX_CHAINS_M
        method = method or ("chains" if carried else methods[0])
    if method == "max_entropy" and options.checkpoint is not None:
        raise ValueError(f"--checkpoint is not for the method {method}, which keeps none")
    given = {
        "n_iter": options.iterations,
        "n_points": options.points,
        "checkpoint": options.checkpoint,
    }
    settings: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    settings |= {"method": method, "rng": options.seed, "progress": not options.quiet}
    learned: Any
    if isinstance(sketch, PatchSketch):
        learned = learn_patches(sketch, **settings)
        interrupted = learned.interrupted
    else:
        # A schedule ties the checkpoint to the number of steps, and chains need one.
        optimizer = None if method == "chains" else Adam(1e-3)
        result = learn_network(sketch, optimizer=optimizer, **settings)
        learned = result.prior
        interrupted = result.interrupted
    if interrupted:
        partial = partial_path(options.out)
        learned.save(partial)
        raise KeyboardInterrupt(f"what was learned until then is in {str(partial)!r}")
    learned.save(options.out)
    print(f"{options.out}: learned by the method {method}")


def _load_sketch(path: str) -> PatchSketch | Sketch:
    if Path(path).is_dir() or Path(path).suffix.lower() in (
        ".npy",
        *IMAGE_SUFFIXES,
        *SOUND_SUFFIXES,
    ):
        raise ValueError(f"{path!r} is no sketch: make one from the data with `fastcl sketch`")
    loaded: Any = files.load(path, Sketch, PatchSketch)
    return loaded


def _check_domain(
    sketch: Sketch, path: str, low: list[float] | None = None, high: list[float] | None = None
) -> Domain:
    """Give a sketch the box of these corners; ValueError unless it has points and a domain."""
    if sketch.count == 0:
        raise ValueError(f"{path!r} holds no points: it is an empty sketch")
    if (low is None) != (high is None):
        raise ValueError("--low and --high go together: they are the corners of a box")
    if low is not None and high is not None:
        corners = [corner * sketch.dim if len(corner) == 1 else corner for corner in (low, high)]
        if any(len(corner) != sketch.dim for corner in corners):
            raise ValueError(f"--low and --high must have one number, or {sketch.dim}")
        sketch.domain = Box(*corners)
    if sketch.domain is None:
        raise ValueError(
            f"{path!r} has no domain to draw points from: make it with `fastcl sketch`, "
            "or give --low and --high to `fastcl learn`"
        )
    return sketch.domain


# ---- denoise ----------------------------------------------------------------------------------


def run_denoise(options: Namespace) -> None:
    """`fastcl denoise`."""
    check_out(options.out)
    sigma = None if options.sigma is None else as_positive(options.sigma, "sigma")
    if options.prior is None:
        options.prior = signals.ready_for(Path(options.noisy))
    model: Any = files.load(
        options.prior, Prior, ReferenceMeasure, SignalModel, Sketch, PatchSketch
    )
    if isinstance(model, (Sketch, PatchSketch)):
        raise ValueError(
            f"{options.prior!r} holds a sketch, expected a prior: run `fastcl learn` on it first"
        )
    if isinstance(model, SignalModel):
        done = signals.denoise_file(model, options, sigma)
    else:
        done = _denoise_rows(model, options, sigma)
    print(f"{options.out}: {done}")


def _denoise_rows(prior: Any, options: Namespace, sigma: float | None) -> str:
    """Denoise the rows of an array, and write them in its type; returns what has been done."""
    out, noisy = Path(options.out), Path(options.noisy)
    if noisy.suffix.lower() != ".npy" or out.suffix.lower() != ".npy":
        raise ValueError(f"{options.prior!r} is a prior of vectors: it denoises .npy to .npy")
    if sigma is None:
        raise ValueError("--sigma is needed for a prior of vectors")
    settings = {"strength": options.strength, "estimator": options.estimator}
    rows = read_array(noisy)[:]
    clean = denoise(prior, rows, sigma, progress=not options.quiet, **settings)
    signals.check_finite(clean, options.prior)
    with files.replacing(out) as file:
        np.save(file, clean)
    return f"denoised at sigma {sigma:g}"


# ---- info, bench, warm ---------------------------------------------------------------------------


def run_info(options: Namespace) -> None:
    """`fastcl info`."""
    from . import info

    print("\n".join(info.describe(options.file)))


def run_bench(options: Namespace) -> None:
    """`fastcl bench`."""
    from . import bench

    as_positive(options.seconds, "seconds")
    if options.sketch is None:
        sketch = bench.example_sketch(options.dim)
    else:
        loaded = _load_sketch(options.sketch)
        sketch = loaded.sketch if isinstance(loaded, PatchSketch) else loaded
    _check_domain(sketch, str(options.sketch))
    Path(options.out).mkdir(parents=True, exist_ok=True)
    files.check_writable(Path(options.out) / "bench.json")
    results = bench.run(sketch, options.seconds, progress=not options.quiet)
    bench.write(results, options.out)
    print(f"written to {options.out}")


# ---- warm -------------------------------------------------------------------------------------


def run_warm(options: Namespace) -> None:
    """`fastcl warm`."""
    from . import warm

    warm.run()
