"""Sums of exponentials in up to three dimensions by finufft's non-uniform fast Fourier transform.

The direct kernels cost points x frequencies; finufft's transform of type 3 costs points +
frequencies + a grid: it spreads the sources onto a grid, applies an FFT to it, and interpolates at
the targets. The method is by Barnett, Magland and af Klinteberg, "A parallel non-uniform fast
Fourier transform library based on an exponential of semicircle kernel", SIAM J. Sci. Comput. 41(5),
2019.

`methods` decides when finufft is called, this module how: with a tolerance that keeps the accuracy
asked for, and in pieces, each on one thread. The number of pieces follows from the sizes alone, so
the result does not depend on the number of threads.

Memory: the grids, which grow with the product over the axes of (range of x) (range of omega); for
each frequency and each point of a group, 200 bytes, or 16 bytes per piece if that is more.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from ..kernels.threads import get_num_threads
from .operator import PackedOperator

MAX_DIM = 3
MIN_VERSION = (2, 5, 1)  # of finufft; in 2.5.0, threads that plan at once raced
MAX_PIECES = 16  # per transform: bounds the memory, and the threads that can work on it
# finufft's tolerance is not a bound on its error: relative to the sum of the magnitudes, errors
# were up to 9 times larger over d = 1, 2, 3, grids of 10 to 5000 points per axis, and points at the
# ends of their range. Each row has the upsampling of the grid, the factor by which the tolerance
# must be below the accuracy, and the smallest tolerance for which that factor was found to be
# enough. Less upsampling means smaller grids and wider kernels.
UPSAMPLING = ((2.0, 12, 8e-15), (1.75, 12, 8e-14), (1.5, 12, 1e-11), (1.25, 40, 2e-8))
MAX_TOLERANCE = 1e-2
# Seconds per unit of `work` on one thread of an AMD EPYC (Zen 4), by dimension.
PRICES = {
    1: np.array([4e-4, 2e-9, 7e-8, 1e-8, 1e-8, 6e-8, 1e-9, 2e-9]),
    2: np.array([5e-4, 8e-10, 3e-7, 1e-9, 2e-10, 4e-8, 6e-10, 2e-10]),
    3: np.array([5e-4, 8e-10, 5e-7, 5e-10, 2e-10, 2e-8, 5e-10, 2e-10]),
}
# Entries of `work` for the grid; three for the targets and three for the sources follow.
N_FIXED = 2
WAKE_SECONDS = 2e-3  # start-up time of the threads of several pieces: sleeping cores wake slowly


def import_finufft() -> ModuleType:
    """The module finufft; ImportError in one line if it is missing or too old."""
    try:
        import finufft
    except ImportError:
        raise ImportError('method="nufft" needs finufft: pip install "fastcl[nufft]"') from None
    version = tuple(int(number) for number in re.findall(r"\d+", finufft.__version__)[:3])
    if version < MIN_VERSION:
        least = ".".join(map(str, MIN_VERSION))
        raise ImportError(
            f"finufft {finufft.__version__} may crash when several threads call it: "
            f'pip install "finufft>={least}"'
        )
    return finufft


def is_installed() -> bool:
    """Whether there is a finufft that works."""
    try:
        import_finufft()
    except ImportError:
        return False
    return True


@dataclass(frozen=True)
class Grid:
    """The grids of one transform of type 3."""

    upsampling: float
    tolerance: float
    width: int  # width of the spreading kernel, in grid points
    spread: float  # number of points in the grid that the sources are spread onto
    fine: float  # number of points in the grid that is Fourier transformed

    @property
    def bytes(self) -> float:
        """Memory of both grids, complex128, and of the pieces of the first that finufft adds up."""
        return 16 * (2 * self.spread + self.fine)


def half_widths(columns: NDArray) -> NDArray:
    """Half the range (d,) of each row of `columns` (d, n), after finufft has centred it.

    Like finufft, this takes a centre close to zero to be zero.
    """
    low, high = columns.min(axis=1), columns.max(axis=1)
    half = high / 2 - low / 2
    centre = np.abs(high / 2 + low / 2)
    return np.where(centre < 0.1 * half, half + centre, half)


def candidate_grids(products: NDArray, accuracy: float) -> Iterator[Grid]:
    """Grids that keep `accuracy`; `products` (d,) are half-widths of sources times of targets."""
    for upsampling, factor, min_tolerance in UPSAMPLING:
        tolerance = min(accuracy / factor, MAX_TOLERANCE)
        if tolerance < min_tolerance:
            continue
        width = 1 + int(math.log(1 / tolerance) / (math.pi * math.sqrt(1 - 1 / upsampling)))
        axes = np.maximum(
            2 * upsampling * np.maximum(products, 1.0) / math.pi + width + 1, 2 * width
        )
        fine = np.maximum(upsampling * axes, 2 * width)
        yield Grid(upsampling, tolerance, width, float(np.prod(axes)), float(np.prod(fine)))


def work(dim: int, n_sources: float, n_targets: float, grid: Grid) -> NDArray:
    """Amounts of work in one transform, (8,), in the units of `PRICES`.

    A point costs more if less of the grid is in cache: it has one price for small grids and an
    extra price for large ones, which is phased in with the logarithm of the size.
    """
    cells = grid.width**dim
    large = min(max(math.log2(grid.fine) - 14, 0) / 7, 1.5)
    source = [n_sources, n_sources * cells, n_sources * cells * large]
    target = [n_targets, n_targets * cells, n_targets * cells * large]
    return np.array([1.0, grid.fine * math.log2(grid.fine), *target, *source])


@dataclass(frozen=True)
class Plan:
    """A transform cut into pieces, by sources (their results are added) or by targets."""

    grid: Grid
    pieces: int
    of_sources: bool


def make_plan(
    dim: int,
    n_sources: int,
    n_targets: int,
    products: NDArray,
    accuracy: float,
    grid_bytes: float,
) -> Plan | None:
    """The `Plan` that should be fastest, or None if no grid fits in `grid_bytes`.

    It follows from `PRICES` alone, so it is the same on every machine. Every piece repeats the work
    on the grid, so there are few pieces if that is most of the work.
    """
    best, fewest_seconds = None, math.inf
    for grid in candidate_grids(products, accuracy):
        if grid.bytes > grid_bytes:
            continue
        seconds_of = PRICES[dim] * work(dim, n_sources, n_targets, grid)
        targets, sources = seconds_of[N_FIXED : N_FIXED + 3].sum(), seconds_of[N_FIXED + 3 :].sum()
        shared = max(targets, sources)
        rest = seconds_of.sum() - shared
        pieces = 1 if shared < rest else min(2 * max(1, int(shared / (16 * rest))), MAX_PIECES)
        pieces = max(1, min(pieces, int(grid_bytes // grid.bytes), max(n_sources, n_targets)))
        seconds = rest + shared / min(pieces, 2) + WAKE_SECONDS
        if pieces == 1 or seconds > rest + shared:
            pieces, seconds = 1, rest + shared
        if seconds < fewest_seconds:
            best, fewest_seconds = Plan(grid, pieces, bool(sources > targets)), seconds
    return best


def plan_seconds(dim: int, n_sources: float, n_targets: float, plan: Plan, threads: int) -> float:
    """Seconds that a transform should take on `threads` threads, by `PRICES`."""
    if plan.of_sources:
        n_sources = n_sources / plan.pieces
    else:
        n_targets = n_targets / plan.pieces
    rounds = -(-plan.pieces // threads)
    piece = float(PRICES[dim] @ work(dim, n_sources, n_targets, plan.grid))
    return WAKE_SECONDS * (plan.pieces > 1) + rounds * piece


def run_piece(
    sources: NDArray, strengths: NDArray, targets: NDArray, sign: int, grid: Grid
) -> NDArray:
    """``sum_s strengths_s exp(sign i <sources_s, targets_t>)``, (t,) complex128.

    It runs on one thread, because finufft's last bits depend on its number of threads.
    """
    transform = getattr(import_finufft(), f"nufft{len(sources)}d3")
    options = {
        "isign": sign,
        "eps": grid.tolerance,
        "upsampfac": grid.upsampling,
        "nthreads": 1,
        "showwarn": 0,
    }
    return transform(*sources, strengths, *targets, **options)


def run_plan(
    plan: Plan, sources: NDArray, strengths: NDArray, targets: NDArray, sign: int, threads: int
) -> NDArray:
    """The transform of sources (d, s) with strengths (s,) to targets (d, t): (t,) complex128."""
    if plan.pieces == 1:
        return run_piece(sources, strengths, targets, sign, plan.grid)
    size = sources.shape[1] if plan.of_sources else targets.shape[1]
    ends = np.linspace(0, size, plan.pieces + 1).astype(int)
    spans = [slice(*ends[k : k + 2]) for k in range(plan.pieces)]

    def run(span: slice) -> NDArray:
        if plan.of_sources:
            return run_piece(sources[:, span], strengths[span], targets, sign, plan.grid)
        return run_piece(sources, strengths, targets[:, span], sign, plan.grid)

    out = np.zeros(targets.shape[1], np.complex128)
    # finufft releases the GIL.
    with ThreadPoolExecutor(min(threads, plan.pieces)) as pool:
        for span, result in zip(spans, pool.map(run, spans), strict=True):
            if plan.of_sources:
                out += result  # in order, whichever piece is ready first
            else:
                out[span] = result
    return out


class NufftOperator(PackedOperator):
    """finufft's transform between some frequencies and one group of points; on the host only.

    Parameters
    ----------
    operator : PackedOperator
        Operator for the same frequencies, on the host.
    columns : float64 array (d, m)
        The frequencies, transposed.
    plan : Plan
    """

    def __init__(self, operator: PackedOperator, columns: NDArray, plan: Plan) -> None:
        self.omega, self.freqs = operator.omega, operator.freqs
        self.columns = self.like = columns
        self.plan = plan

    def sum(self, x: NDArray, weights: NDArray) -> NDArray:
        """See `PackedOperator.sum`; x may have any layout, and a transposed one is not copied."""
        strengths = weights if len(weights) else np.ones(len(x))
        return self._run(_columns(x), strengths, self.columns, -1)

    def adjoint(self, x: NDArray, c: NDArray, out: NDArray) -> NDArray:
        """See `PackedOperator.adjoint`; x may have any layout."""
        out[:] = self._run(self.columns, c, _columns(x), 1).real
        return out

    def _run(self, sources: NDArray, strengths: NDArray, targets: NDArray, sign: int) -> NDArray:
        strengths = strengths.astype(np.complex128)
        return run_plan(self.plan, sources, strengths, targets, sign, get_num_threads())


def _columns(x: NDArray) -> NDArray:
    return np.ascontiguousarray(x.T, np.float64)
