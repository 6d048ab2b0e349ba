"""The command line: the package's own functions on files. Bad input gives one line and exit status 2."""

import argparse
import sys
from pathlib import Path

import numpy as np

from .. import __version__, files
from ..data.readers import IMAGE_SUFFIXES, read_array, read_image
from ..data.sources import Rows
from ..denoising.patch_model import IMAGE_METHODS, ImageModel, learn_patches
from ..denoising.patch_sketch import PatchSketch, sketch_images
from ..denoising.restoration import denoise_image, estimate_noise
from ..denoising.vectors import ESTIMATORS, denoise
from ..fourier.frequencies import draw_frequencies, estimate_scale
from ..learning.loop import learn
from ..learning.objective import METHODS
from ..measures.base import ReferenceMeasure
from ..measures.box import Box
from ..measures.mixtures import Gaussian
from ..priors.mlp import MLPPrior
from ..sketching.checkpoint import resume, run_pass
from ..sketching.sketch import Sketch
from ..storage import load_prior
from ..validation import as_positive

MAX_BOX = (
    3  # dimensions in which uniform points of a box are of use; beyond, a Gaussian is the reference
)


def main(arguments=None):
    """Run one command; the exit status."""
    options = build_parser().parse_args(arguments)
    try:
        with np.errstate(all="ignore"):  # what is not finite is an error of its own, in one line
            options.run(options)
    except KeyboardInterrupt as interruption:
        print(": ".join(["fastcl: interrupted", *map(str, interruption.args)]), file=sys.stderr)
        return 130
    except (ValueError, TypeError, OSError, ImportError, FloatingPointError, MemoryError) as error:
        print(f"fastcl {options.command}: error: {_one_line(error)}", file=sys.stderr)
        return 2
    return 0


def _one_line(error):
    if isinstance(error, ImportError) and "pip install" not in str(error):
        return f'{error}; install the extra with: pip install "fastcl[demo]"'
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.strerror}: {str(error.filename)!r}"
    return " ".join(str(error).split()) or type(error).__name__


def build_parser():
    """The argument parser of the `fastcl` command."""
    parser = argparse.ArgumentParser(
        prog="fastcl", description="Compressive learning: sketch, learn a prior, denoise."
    )
    parser.add_argument("--version", action="version", version=f"fastcl {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name, function, summary):
        sub = commands.add_parser(name, help=summary, description=summary)
        sub.set_defaults(run=function)
        return sub

    sub = command(
        "demo",
        run_demo,
        "Learn from real photographs and denoise another one; about five minutes on two cores.",
    )
    sub.add_argument(
        "--out", default="fastcl-demo", metavar="DIR", help="folder for the pictures (%(default)s)"
    )
    sub.add_argument(
        "--iterations", type=int, default=3000, help="steps on the spiral (%(default)s)"
    )

    sub = command(
        "sketch",
        run_sketch,
        "Sketch the patches of a folder of images, or the rows of a .npy array.",
    )
    sub.add_argument("source", metavar="IMAGES_DIR|DATA.npy")
    sub.add_argument("-o", "--out", required=True, metavar="S.npz")
    sub.add_argument(
        "--patch", type=int, default=6, help="side of the patches of images (%(default)s)"
    )
    sub.add_argument("-m", type=int, default=4000, help="number of frequencies (%(default)s)")
    sub.add_argument(
        "--scale",
        type=float,
        help="scale of the frequencies for an array, in its units (estimated)",
    )
    sub.add_argument("--seed", type=int, default=0)

    sub = command("learn", run_learn, "Learn a prior from a sketch alone.")
    sub.add_argument("sketch", metavar="S.npz")
    sub.add_argument("-o", "--out", required=True, metavar="PRIOR.npz")
    sub.add_argument(
        "--method",
        choices=tuple(dict.fromkeys(METHODS + IMAGE_METHODS)),
        help="(max_entropy for a sketch of images, unbiased for one of an array)",
    )
    sub.add_argument(
        "--iterations",
        type=int,
        help="steps (3000 for arrays; for images 300, or 600 of a network)",
    )
    sub.add_argument(
        "--points",
        type=int,
        help="points a step (4096 for arrays; for images 8192, or 2048 of a network)",
    )
    sub.add_argument("--checkpoint", metavar="FILE", help="resume from and write to this file")
    sub.add_argument("--seed", type=int, default=0)

    sub = command(
        "denoise",
        run_denoise,
        "Denoise an image, or the rows of a .npy array, with a learned prior.",
    )
    sub.add_argument("prior", metavar="PRIOR.npz")
    sub.add_argument("noisy", metavar="NOISY.png|.npy")
    sub.add_argument("-o", "--out", required=True, metavar="CLEAN.png|.npy")
    sub.add_argument(
        "--sigma",
        type=float,
        help="noise: on the 0..255 scale for images (estimated), in the units of the data for rows",
    )
    sub.add_argument(
        "--strength", type=float, default=1.0, help="factor of the prior (%(default)s)"
    )
    sub.add_argument("--estimator", choices=ESTIMATORS, default="mean", help="(%(default)s)")

    sub = command("bench", run_bench, "The methods of learning on one sketch: time, memory, and G.")
    sub.add_argument(
        "sketch", nargs="?", metavar="S.npz", help="a sketch (by default that of an example)"
    )
    sub.add_argument("--dim", type=int, default=2, help="dimension of the example (%(default)s)")
    sub.add_argument(
        "--out", default="fastcl-bench", metavar="DIR", help="folder for JSON and PNG (%(default)s)"
    )
    sub.add_argument(
        "--seconds", type=float, default=10.0, help="learning time of every method (%(default)s)"
    )
    return parser


def run_demo(options):
    """`fastcl demo`."""
    from . import demo

    demo.run(options.out, options.iterations)


def run_sketch(options):
    """`fastcl sketch`."""
    files.check_writable(options.out, [options.source])
    source = Path(options.source)
    if not source.exists():
        raise FileNotFoundError(f"no such file or folder: {str(source)!r}")
    checkpoint = partial_path(
        options.out
    )  # of a pass that was cut off: the same command goes on with it
    files.check_writable(checkpoint, [source])
    if source.is_dir():
        result = sketch_images(
            source, options.patch, options.m, options.seed, progress=True, checkpoint=checkpoint
        )
        sk = result.sketch
    else:
        sk = result = sketch_rows(
            read_array(source), options.m, options.scale, options.seed, checkpoint
        )
    sk.pass_state = None
    result.save(options.out)
    checkpoint.unlink(missing_ok=True)
    print(f"{options.out}: {sk.count} points of dimension {sk.dim} in {len(sk.omega)} moments")


def partial_path(out):
    """Where a command that is interrupted keeps what it has, beside the file that it was to write."""
    return Path(out).with_suffix(".partial.npz")


def sketch_rows(x, m, scale, seed, checkpoint):
    """The sketch of the rows of x (n, d), with the domain that learning will draw points from."""
    rng = np.random.default_rng(seed)
    sample = np.sort(rng.choice(len(x), min(len(x), 20_000), replace=False))
    scale = estimate_scale(x[sample], rng) if scale is None else scale
    source = Rows(x, x.shape[1])
    result = resume(checkpoint, Sketch(draw_frequencies(m, x.shape[1], scale, rng=rng)), source)
    low, high = np.full(x.shape[1], np.inf), np.full(x.shape[1], -np.inf)
    if result.domain is not None:  # of the rows that were read before
        low, high = result.domain.low.copy(), np.nextafter(result.domain.high, -np.inf)

    def observer(rows, first, last):
        np.minimum(low, rows[first:last].min(axis=0), out=low)
        np.maximum(high, rows[first:last].max(axis=0), out=high)
        if np.isfinite(high - low).all():
            result.domain = Box(
                low, np.nextafter(high, np.inf)
            )  # has a volume where all rows are equal, too

    run_pass(
        result,
        source,
        progress=True,
        checkpoint=checkpoint,
        observer=observer if x.shape[1] <= MAX_BOX else None,
    )
    if x.shape[1] <= MAX_BOX:
        margin = np.maximum(0.1 * (high - low), scale)
        result.domain = Box(low - margin, high + margin)
    else:
        rows = np.asarray(x[sample], np.float64)
        result.domain = Gaussian(
            rows.mean(axis=0), np.cov(rows.T) + 1e-6 * rows.var() * np.eye(x.shape[1])
        )
    return result


def run_learn(options):
    """`fastcl learn`."""
    files.check_writable(options.out, [options.sketch, options.checkpoint])
    source = files.load(options.sketch, Sketch, PatchSketch)
    given = {
        "method": options.method,
        "n_iter": options.iterations,
        "n_points": options.points,
        "checkpoint": options.checkpoint,
    }
    chosen = {name: value for name, value in given.items() if value is not None} | {
        "rng": options.seed,
        "progress": True,
    }
    method = chosen.get("method", "max_entropy" if isinstance(source, PatchSketch) else "unbiased")
    if method == "max_entropy" and options.checkpoint is not None:
        raise ValueError("--checkpoint is for networks: the method max_entropy keeps none")
    if isinstance(source, PatchSketch):
        learned = learn_patches(source, **chosen)
        interrupted = learned.interrupted
    else:
        if source.domain is None:
            raise ValueError(
                f"{options.sketch!r} has no domain to draw points from: make it with `fastcl sketch`"
            )
        reference = source.domain if isinstance(source.domain, ReferenceMeasure) else None
        prior = MLPPrior(source.dim, rng=options.seed, reference=reference)
        prior.initialise_on(source.domain, rng=options.seed)
        result = learn(prior, source, source.domain, **chosen)
        learned, interrupted = result.prior, result.interrupted
    if interrupted:  # what the user had under this name stays; what was learned is kept beside it
        partial = partial_path(options.out)
        learned.save(partial)
        raise KeyboardInterrupt(f"what was learned until then is in {str(partial)!r}")
    learned.save(options.out)
    print(f"{options.out}: learned by the method {method}")


def run_denoise(options):
    """`fastcl denoise`."""
    files.check_writable(options.out)
    sigma = None if options.sigma is None else as_positive(options.sigma, "sigma")
    model = load_prior(options.prior)
    noisy_path, out = Path(options.noisy), Path(options.out)
    settings = {"strength": options.strength, "estimator": options.estimator}
    suffix = out.suffix.lower()
    if suffix not in (".npy", *IMAGE_SUFFIXES):
        raise ValueError(
            f"the output must end in .npy or {', '.join(IMAGE_SUFFIXES)}, got {options.out!r}"
        )
    noisy = (
        read_array(noisy_path) if noisy_path.suffix.lower() == ".npy" else read_image(noisy_path)
    )
    if isinstance(model, ImageModel):
        channels = np.moveaxis(noisy, -1, 0) if noisy.ndim == 3 else [noisy]
        if sigma is None:
            sigma = 255 * float(np.mean([estimate_noise(channel) for channel in channels]))
        clean = [
            denoise_image(model, channel, sigma / 255, progress=True, **settings)
            for channel in channels
        ]
        clean = np.stack(clean, axis=-1) if noisy.ndim == 3 else clean[0]
    elif noisy_path.suffix.lower() != ".npy" or suffix != ".npy":
        raise ValueError(f"{options.prior!r} is a prior of vectors: it denoises .npy to .npy")
    elif sigma is None:
        raise ValueError("--sigma is needed for a prior of vectors")
    else:
        clean = denoise(model, noisy, sigma, progress=True, **settings)
    if not np.isfinite(clean).all():
        raise FloatingPointError(
            f"the result is not finite: {options.prior!r} is damaged, or sigma or the strength is extreme"
        )
    with files.replacing(out) as file:
        if suffix == ".npy":
            np.save(file, clean)
        else:
            import imageio.v3 as iio

            iio.imwrite(
                file,
                np.round(255 * np.clip(clean, 0, 1)).astype(np.uint8),
                plugin="pillow",
                extension=suffix,
            )
    print(f"{options.out}: denoised at sigma {sigma:g}")


def run_bench(options):
    """`fastcl bench`."""
    from . import bench

    as_positive(options.seconds, "seconds")
    sk = (
        bench.example_sketch(options.dim)
        if options.sketch is None
        else files.load(options.sketch, Sketch, PatchSketch)
    )
    if isinstance(sk, PatchSketch):
        sk = sk.sketch
    if sk.domain is None or sk.count == 0:
        raise ValueError(
            f"{options.sketch!r} has no domain to draw points from: make it with `fastcl sketch`"
        )
    Path(options.out).mkdir(parents=True, exist_ok=True)
    files.check_writable(Path(options.out) / "bench.json")
    results = bench.run(sk, options.seconds)
    bench.write(results, options.out)
    print(f"written to {options.out}")
