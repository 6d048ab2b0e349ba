"""Sums of exponentials in up to three dimensions by the non-uniform fast Fourier transform of finufft.

The direct kernels cost points x frequencies; finufft's transform of type 3 costs points + frequencies + a grid: the
sources are spread on a grid, which is Fourier transformed and read at the targets.  The method is of Barnett, Magland and
af Klinteberg, "A parallel non-uniform fast Fourier transform library based on an exponential of semicircle kernel", SIAM
J. Sci. Comput. 41(5), 2019.  Here: which of the two a call takes, how finufft is called so that the accuracy asked for is
kept and the bits do not follow the number of threads, and how much memory it may take.
"""

import math
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numba
import numpy as np

from ..validation import as_choice, as_positive
from . import costs

METHODS = ("auto", "direct", "nufft")
ACCURACY = {
    np.dtype(np.float32): 1e-6,
    np.dtype(np.float64): 1e-12,
}  # by default, for points of the type
MIN_ACCURACY = {
    np.dtype(np.float32): 2e-7,
    np.dtype(np.float64): 1e-13,
}  # rounding does not allow for better
MAX_DIM = 3
GRID_BYTES = {
    "nufft": 1 << 30,
    "auto": 1 << 28,
}  # most that the grids of one call may take together, by the method asked for
GROUP_ROWS = (
    1 << 18
)  # points that are gathered for one transform, and for which the method is chosen
MAX_PIECES = (
    16  # most pieces of one transform: bounds the memory, and the threads that can work on it
)
WAKING = 2e-3  # seconds until the threads of several pieces run: a core that sleeps takes as long
SMALL_PAIRS = 2_000_000  # fewer pairs take the direct kernels less than finufft takes to start
# What finufft is asked for is not a bound on its errors: relative to the sum of the moduli they were up to 9 times larger
# over d = 1, 2, 3, grids of 10 to 5000 an axis and points at the ends of their range.  (Upsampling of the grid, factor to
# ask for less by, least tolerance at which that was found enough): less upsampling, smaller grids, wider kernels.
UPSAMPLING = ((2.0, 12, 8e-15), (1.75, 12, 8e-14), (1.5, 12, 1e-11), (1.25, 40, 2e-8))
MAX_TOLERANCE = 1e-2


def import_finufft():
    """The module; ImportError in one line where it is missing."""
    try:
        import finufft
    except ImportError:
        raise ImportError('method="nufft" needs finufft: pip install "fastcl[nufft]"') from None
    return finufft


def is_installed():
    """Whether finufft can be imported."""
    try:
        import_finufft()
    except ImportError:
        return False
    return True


@dataclass(frozen=True)
class Grid:
    """How one transform of type 3 is done."""

    upsampling: float
    tolerance: float
    width: int  # of the kernel, in grid points
    spread: float  # points of the grid that the sources are spread on
    fine: float  # points of the grid that is Fourier transformed

    @property
    def bytes(self):
        """Memory of both grids, complex128, and of the parts of the first that finufft spreads on before it adds them."""
        return 16 * (2 * self.spread + self.fine)


def half_widths(columns):
    """Half the range of every column (d, n), centred as finufft does: where the centre is all but zero, at zero."""
    low, high = columns.min(axis=1), columns.max(axis=1)
    half, centre = high / 2 - low / 2, np.abs(high / 2 + low / 2)
    return np.where(centre < 0.1 * half, half + centre, half)


def candidate_grids(products, accuracy):
    """The grids that keep `accuracy`, for `products` (d,) of the half-widths of sources and targets."""
    for upsampling, factor, least in UPSAMPLING:
        tolerance = min(accuracy / factor, MAX_TOLERANCE)
        if tolerance < least:
            continue
        width = 1 + int(math.log(1 / tolerance) / (math.pi * math.sqrt(1 - 1 / upsampling)))
        axes = np.maximum(
            2 * upsampling * np.maximum(products, 1.0) / math.pi + width + 1, 2 * width
        )
        fine = np.maximum(upsampling * axes, 2 * width)
        yield Grid(upsampling, tolerance, width, float(np.prod(axes)), float(np.prod(fine)))


def features(dim, n_sources, n_targets, grid):
    """(work of the grid and the targets, work of the sources): what `costs` knows the prices of, for one transform.

    Points cost more, the less of the grid is in the caches; a price each for small and for large grids, and between
    them the logarithm decides.
    """
    cells, large = grid.width**dim, min(max(math.log2(grid.fine) - 14, 0) / 7, 1.5)
    source = [n_sources, n_sources * cells, n_sources * cells * large]
    target = [n_targets, n_targets * cells, n_targets * cells * large]
    return np.array([1.0, grid.fine * math.log2(grid.fine), *target, *source])


N_FIXED = 2  # features of the grid, then three of the targets and three of the sources


@dataclass(frozen=True)
class Plan:
    """A transform cut into pieces: of the sources, whose results are added, or of the targets.  From sizes alone."""

    grid: Grid
    pieces: int
    of_sources: bool


def make_plan(dim, n_sources, n_targets, products, accuracy, grid_bytes):
    """The `Plan` that should be fastest, by prices that are the same on every machine; None where memory forbids all.

    A piece repeats the work on the grid, so that few pieces are made where that is most of the work.
    """
    best, least = None, math.inf
    for grid in candidate_grids(products, accuracy):
        if grid.bytes > grid_bytes:
            continue
        parts = costs.NOMINAL[dim] * features(dim, n_sources, n_targets, grid)
        targets, sources = parts[N_FIXED : N_FIXED + 3].sum(), parts[N_FIXED + 3 :].sum()
        shared, rest = max(targets, sources), parts.sum() - max(targets, sources)
        pieces = 1 if shared < rest else min(2 * max(1, int(shared / (16 * rest))), MAX_PIECES)
        pieces = max(1, min(pieces, int(grid_bytes // grid.bytes), max(n_sources, n_targets)))
        seconds = rest + shared / min(pieces, 2) + WAKING
        if pieces == 1 or seconds > rest + shared:
            pieces, seconds = 1, rest + shared
        if seconds < least:
            best, least = Plan(grid, pieces, bool(sources > targets)), seconds
    return best


def nufft_seconds(prices, dim, n_sources, n_targets, plan, threads):
    """What the transform should take on so many threads, from the `prices` of `features` on one."""
    if plan.of_sources:
        n_sources = n_sources / plan.pieces
    else:
        n_targets = n_targets / plan.pieces
    rounds = -(-plan.pieces // threads)
    return WAKING * (plan.pieces > 1) + rounds * float(
        prices @ features(dim, n_sources, n_targets, plan.grid)
    )


def run_piece(sources, strengths, targets, sign, grid):
    """(t,) complex128: sum_s strengths_s exp(sign i <sources_s, target>), on one thread: finufft's bits follow its threads."""
    transform = getattr(import_finufft(), f"nufft{len(sources)}d3")
    options = {
        "isign": sign,
        "eps": grid.tolerance,
        "upsampfac": grid.upsampling,
        "nthreads": 1,
        "showwarn": 0,
    }
    return transform(*sources, strengths, *targets, **options)


def run_plan(plan, sources, strengths, targets, sign, out, threads):
    """out (t,) complex128: the transform of columns (d, s) with strengths (s,) to columns (d, t)."""
    cut = sources.shape[1] if plan.of_sources else targets.shape[1]
    ends = np.linspace(0, cut, plan.pieces + 1).astype(int)
    spans = [slice(*ends[k : k + 2]) for k in range(plan.pieces)]

    def run(span):
        if plan.of_sources:
            return run_piece(sources[:, span], strengths[span], targets, sign, plan.grid)
        return run_piece(sources, strengths, targets[:, span], sign, plan.grid)

    if plan.pieces == 1:
        out[:] = run(spans[0])
        return out
    with ThreadPoolExecutor(
        min(threads, plan.pieces)
    ) as pool:  # finufft works outside Python's lock
        results = pool.map(run, spans)
        if plan.of_sources:
            out[:] = 0
            for result in results:  # in order, whichever is ready first
                out += result
        else:
            for span, result in zip(spans, results, strict=True):
                out[span] = result
    return out


class Nufft:
    """The method and the accuracy that the caller asked for; what `feature_sum` and `feature_adjoint` ask in turn.

    Parameters
    ----------
    method : "auto", "direct" or "nufft"
    accuracy : float, optional
    """

    def __init__(self, method="auto", accuracy=None):
        self.method = as_choice(method, "method", METHODS)
        self.accuracy = None if accuracy is None else as_positive(accuracy, "accuracy")

    def accuracy_for(self, dtype):
        """The accuracy for points of `dtype`; ValueError where that cannot hold it."""
        if self.accuracy is None:
            return ACCURACY[dtype]
        if self.accuracy < MIN_ACCURACY[dtype]:
            raise ValueError(
                f"accuracy must be at least {MIN_ACCURACY[dtype]:g} for points in {dtype}, got {self.accuracy:g}"
            )
        return self.accuracy

    def check(self, dim, dtype, on_device=False):
        """ValueError or ImportError, before any work, where points of `dim` and `dtype` cannot be served."""
        self.accuracy_for(dtype)
        if self.method == "nufft":
            if on_device:
                raise ValueError(
                    'method="nufft" serves NumPy arrays: use method="direct" for CuPy arrays'
                )
            if dim > MAX_DIM:
                raise ValueError(
                    f'method="nufft" serves up to {MAX_DIM} dimensions, x has {dim}: use method="direct"'
                )
            import_finufft()

    def may_serve(self, name, n, m, dim, dtype):
        """Whether finufft may be taken, as far as sizes tell: for "auto", whether it would be with the smallest of grids."""
        if self.method != "auto":
            return self.method == "nufft"
        if dim > MAX_DIM or n * m <= SMALL_PAIRS or not is_installed():
            return False
        sizes = (n, m) if name == "sum" else (m, n)
        plan = make_plan(dim, *sizes, np.zeros(dim), self.accuracy_for(dtype), GRID_BYTES["auto"])
        return is_cheaper(name, dtype, dim, n, m, plan)

    def sum(self, chunks, n, dtype, omega, weights):
        """(m,) complex128 for `chunks`, pairs of a first row and an array (r, d), n rows in all; None: go the direct way."""
        return self._run(
            "sum", chunks, n, dtype, omega, weights, np.empty(len(omega), np.complex128)
        )

    def adjoint(self, chunks, n, omega, c, out):
        """out (n,) for `chunks`, as above, and c (m,) complex; None: go the direct way."""
        result = self._run("adjoint", chunks, n, out.dtype, omega, c, np.empty(n, np.complex128))
        if result is None:
            return None
        out[:] = result.real
        return out

    def _run(self, name, chunks, n, dtype, omega, strengths, result):
        m, dim = omega.shape
        if not self.may_serve(name, n, m, dim, dtype):
            return None
        points, row = np.empty((dim, n)), 0
        for _, chunk in chunks:
            points[:, row : row + len(chunk)] = chunk.T
            row += len(chunk)
        frequencies = np.ascontiguousarray(np.asarray(omega).T)
        products = half_widths(points) * half_widths(frequencies)
        sizes = (n, m) if name == "sum" else (m, n)
        plan = make_plan(dim, *sizes, products, self.accuracy_for(dtype), GRID_BYTES[self.method])
        if plan is None and self.method == "nufft":
            needed = (
                min(grid.bytes for grid in candidate_grids(products, self.accuracy_for(dtype)))
                / 2**30
            )
            raise ValueError(
                f'method="nufft" would need a grid of {needed:.3g} GiB, and may take {GRID_BYTES[self.method] / 2**30:g}: '
                'the ranges of x and omega are too large; use method="direct"'
            )
        if plan is None or (self.method == "auto" and not is_cheaper(name, dtype, dim, n, m, plan)):
            return None
        threads = numba.get_num_threads()
        if name == "adjoint":
            return run_plan(
                plan, frequencies, strengths.astype(np.complex128), points, 1, result, threads
            )
        strengths = (
            np.ones(n, np.complex128) if strengths is None else strengths.astype(np.complex128)
        )
        return run_plan(plan, points, strengths, frequencies, -1, result, threads)


def is_cheaper(name, dtype, dim, n, m, plan):
    """Whether finufft should be faster than the direct kernel on all CPUs of this machine.

    Never the number of threads of this process: it must not change the result.
    """
    threads = os.cpu_count() or 1
    sizes = (n, m) if name == "sum" else (m, n)
    fixed, a_pair = costs.direct_prices(name, dtype, dim)
    nufft = nufft_seconds(costs.nufft_prices(dim), dim, *sizes, plan, threads)
    return nufft < fixed + n * m * a_pair / threads
