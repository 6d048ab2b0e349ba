"""The `fastcl` command: its arguments and its exit status.

Bad input gives one line on standard error and exit status 2, never a traceback.
"""

from __future__ import annotations

import argparse
import difflib
import logging
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import __version__
from ..denoising.noisy_signals import ESTIMATE
from ..denoising.patch_model import IMAGE_METHODS
from ..denoising.restoration import EFFORTS
from ..denoising.vectors import ESTIMATORS
from ..learning.loop import LEARN_METHODS
from .commands import (
    run_bench,
    run_demo,
    run_denoise,
    run_info,
    run_learn,
    run_sketch,
    run_warm,
)
from .signals import PATCHES
from .streams import streams

ERRORS = (ValueError, TypeError, OSError, ImportError, FloatingPointError, MemoryError)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status."""
    options, unknown = build_parser().parse_known_args(arguments)
    if unknown and not _take_late_file(options, unknown):
        hint = _did_you_mean(unknown, options.parser)
        options.parser.error(f"unknown: {' '.join(unknown)}{hint}")
    logging.getLogger("tifffile").disabled = True  # it has its say in exceptions
    # Results that are not finite have a message of their own.
    with streams(options.command, options.quiet), np.errstate(all="ignore"):
        try:
            options.run(options)
        except KeyboardInterrupt as interruption:
            print(": ".join(["fastcl: interrupted", *map(str, interruption.args)]), file=sys.stderr)
            return 130
        except ERRORS as error:
            print(f"fastcl {options.command}: error: {_one_line(error)}", file=sys.stderr)
            return 2
    return 0


def _take_late_file(options: argparse.Namespace, unknown: list[str]) -> bool:
    """Whether what is left is the noisy file: in `fastcl denoise PRIOR --sigma 25 NOISY`, argparse
    takes the prior for it, as the prior may be left out."""
    if options.command != "denoise" or options.prior is not None or len(unknown) > 1:
        return False
    if unknown[0].startswith("-"):
        return False
    options.prior, options.noisy = options.noisy, unknown[0]
    return True


def _did_you_mean(unknown: list[str], parser: argparse.ArgumentParser) -> str:
    for word in unknown:
        near = difflib.get_close_matches(word.partition("=")[0], parser._option_string_actions, n=1)
        if near:
            return f" (did you mean {near[0]}?)"
    return ""


def _one_line(error: BaseException) -> str:
    if isinstance(error, MemoryError):
        return "not enough memory"
    if isinstance(error, ImportError) and "pip install" not in str(error):
        return f'{error}; install the extra with: pip install "fastcl[demo]"'
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.strerror}: {str(error.filename)!r}"
    return " ".join(str(error).split()) or type(error).__name__


def build_parser() -> argparse.ArgumentParser:
    """The argument parser of the `fastcl` command."""
    parser = argparse.ArgumentParser(
        prog="fastcl",
        description="Compressive learning: sketch data, learn a prior from the sketch, denoise.",
    )
    parser.add_argument("--version", action="version", version=f"fastcl {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, run, add_arguments, summary in (
        (
            "demo",
            run_demo,
            _add_demo_arguments,
            "Learn from a spiral and from a song; denoise points, a photograph and another song.",
        ),
        (
            "sketch",
            run_sketch,
            _add_sketch_arguments,
            "Sketch the patches of a folder of photographs, sounds or volumes, or the rows of an "
            "array.",
        ),
        ("learn", run_learn, _add_learn_arguments, "Learn a prior from a sketch alone."),
        (
            "denoise",
            run_denoise,
            _add_denoise_arguments,
            "Denoise a photograph; with a prior, a sound or a volume, or the rows of an array.",
        ),
        ("info", run_info, _add_info_arguments, "Say what a file holds, in a few lines."),
        (
            "bench",
            run_bench,
            _add_bench_arguments,
            "Compare the methods of learning on one sketch: time, memory, and G.",
        ),
        (
            "warm",
            run_warm,
            lambda command: None,
            "Compile all kernels ahead, into the folder NUMBA_CACHE_DIR if that is set.",
        ),
    ):
        command = commands.add_parser(name, help=summary, description=summary)
        command.set_defaults(run=run, parser=command)
        add_arguments(command)
        command.add_argument(
            "-q", "--quiet", action="store_true", help="print nothing but warnings and errors"
        )
    return parser


def _add_demo_arguments(command: Any) -> None:
    command.add_argument(
        "--out",
        default="fastcl-demo",
        metavar="DIR",
        help="folder for pictures and sounds (default: %(default)s)",
    )
    command.add_argument(
        "--iterations",
        type=int,
        default=3000,
        metavar="N",
        help="steps on the spiral (default: %(default)s)",
    )


def _add_sketch_arguments(command: Any) -> None:
    command.add_argument("source", metavar="FOLDER|DATA.npy")
    command.add_argument("-o", "--out", required=True, metavar="S.npz")
    command.add_argument(
        "--patch",
        type=_sides,
        metavar="SIDES",
        help="sides of the patches, in samples: one number, or one for each axis as in 3,6,6 "
        f"(default: {PATCHES[2]} for photographs, {PATCHES[3]} for volumes); not for sounds",
    )
    command.add_argument(
        "--colour",
        action="store_true",
        help="take photographs and TIFF stacks with their channels, and the last axis of .npy "
        "arrays for channels (default: in grey)",
    )
    command.add_argument(
        "-m", type=int, help="number of frequencies (default: 4000; 1000 for sounds)"
    )
    command.add_argument(
        "--scale",
        type=float,
        help="size of the finest structure of an array, in its units: the width of a cluster or "
        "the thickness of a curve (default: estimated)",
    )
    command.add_argument(
        "--noise",
        type=_noise,
        metavar="SIGMA",
        help="standard deviation of white noise in the data, to be taken out of what is learned; "
        "for photographs on the 0..255 scale, for sounds and volumes full scale is 1; or estimate, "
        "for signals (default: none)",
    )
    command.add_argument(
        "--skip-bad",
        action="store_true",
        help="leave out the files that cannot be used, with a warning for each",
    )
    _add_seed(command)


def _add_learn_arguments(command: Any) -> None:
    command.add_argument("sketch", metavar="S.npz")
    command.add_argument("-o", "--out", required=True, metavar="PRIOR.npz")
    command.add_argument(
        "--method",
        metavar="METHOD",
        help=f"for signals {_in_words(IMAGE_METHODS)} (default: max_entropy); for an array "
        f"{_in_words(LEARN_METHODS)} (default: chains for more than three columns, otherwise "
        "unbiased)",
    )
    command.add_argument(
        "--iterations",
        type=int,
        metavar="N",
        help="number of steps (default: 3000 for an array; 200 for signals, 5000 for their network "
        "by chains, 600 by the other methods)",
    )
    command.add_argument(
        "--points",
        type=int,
        metavar="N",
        help="points per step (default: 4096; 2048 for a network of signals by sketch matching)",
    )
    for name, which in (("low", "lower"), ("high", "upper")):
        command.add_argument(
            f"--{name}",
            type=float,
            nargs="+",
            metavar="X",
            help=f"{which} corner of a box that holds all data: for a sketch of an array that was "
            "made in Python, without a domain",
        )
    command.add_argument(
        "--checkpoint",
        metavar="FILE",
        help="file that keeps the state of a network; the run resumes from it if it exists",
    )
    _add_seed(command)


def _noise(text: str) -> float | str:
    """A standard deviation, or the word for an estimated one."""
    try:
        return text if text == ESTIMATE else float(text)
    except ValueError:
        words = f"{text!r} is neither a number nor {ESTIMATE!r}"
        raise argparse.ArgumentTypeError(words) from None


def _sides(text: str) -> int | tuple[int, ...]:
    """The sides of a patch, from "6" or "3,6,6"."""
    try:
        sides = tuple(int(side) for side in text.replace("x", ",").split(","))
        return sides if len(sides) > 1 else sides[0]
    except ValueError:
        words = f"{text!r} is neither a number nor one for each axis, as 3,6,6 is"
        raise argparse.ArgumentTypeError(words) from None


def _in_words(methods: Sequence[str]) -> str:
    return f"{', '.join(methods[:-1])} or {methods[-1]}"


def _add_info_arguments(command: Any) -> None:
    command.add_argument("file", metavar="FILE")


def _add_denoise_arguments(command: Any) -> None:
    command.add_argument(
        "prior",
        nargs="?",
        metavar="PRIOR.npz",
        help="for photographs, fastcl has priors of its own",
    )
    command.add_argument(
        "noisy", metavar="NOISY.png|.wav|.tif|.npy", help="without a prior, a photograph"
    )
    command.add_argument(
        "-o", "--out", required=True, metavar="CLEAN", help="a file of the same kind, or .npy"
    )
    command.add_argument(
        "--sigma",
        type=float,
        help="standard deviation of the noise (default: estimated): on the 0..255 scale for "
        "photographs; on the scale of the signal for sounds and volumes, whose integers have full "
        "scale 1; in the units of the data for rows, where it is needed",
    )
    command.add_argument(
        "--strength", type=float, default=1.0, help="factor of the prior (default: %(default)s)"
    )
    command.add_argument(
        "--estimator",
        choices=ESTIMATORS,
        default="mean",
        help="mean: the posterior mean; map: the maximum a posteriori (default: %(default)s)",
    )
    command.add_argument(
        "--effort",
        choices=EFFORTS,
        default="balanced",
        help="how much time to spend on a signal (default: %(default)s)",
    )


def _add_bench_arguments(command: Any) -> None:
    command.add_argument(
        "sketch", nargs="?", metavar="S.npz", help="a sketch (default: that of an example)"
    )
    command.add_argument(
        "--dim",
        type=int,
        default=2,
        metavar="D",
        help="dimension of the example (default: %(default)s)",
    )
    command.add_argument(
        "--out",
        default="fastcl-bench",
        metavar="DIR",
        help="folder for JSON and PNG (default: %(default)s)",
    )
    command.add_argument(
        "--seconds",
        type=float,
        default=10.0,
        metavar="S",
        help="learning time per method (default: %(default)s)",
    )


def _add_seed(command: Any) -> None:
    command.add_argument(
        "--seed", type=int, default=0, help="seed of the random numbers (default: %(default)s)"
    )
