"""How a sum or an adjoint is computed: by the direct kernels, or by finufft if that looks faster.

The choice follows from the sizes, the ranges of points and frequencies, and the accuracy, through
costs that are constants of this package. It is therefore the same on every machine that has
finufft, and for any number of threads. The costs were measured on two threads of an AMD EPYC
(Zen 4); on other machines both methods change by similar factors. benchmarks/nufft.py shows how
much time the choice loses.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..validation import as_choice, as_positive
from .nufft import (
    MAX_DIM,
    NufftOperator,
    Plan,
    candidate_grids,
    half_widths,
    import_finufft,
    is_installed,
    make_plan,
    plan_seconds,
)
from .operator import PackedOperator

Map = Literal["sum", "adjoint"]
SINGLE, DOUBLE = np.dtype(np.float32), np.dtype(np.float64)
METHODS = ("auto", "direct", "nufft")
ACCURACY = {SINGLE: 1e-6, DOUBLE: 1e-12}  # the default for points of either type
MIN_ACCURACY = {SINGLE: 2e-7, DOUBLE: 1e-13}  # rounding allows no better
MAX_GRID_BYTES = {"nufft": 1 << 30, "auto": 1 << 28}  # for all grids of a call, by method
GROUP_ROWS = 1 << 18  # points in one transform; the method is chosen anew for each group
MIN_PAIRS = 2_000_000  # with fewer, the direct kernels are done before finufft has started
# What the direct kernels cost: seconds per pair for d = 1, 2, 3, and seconds per call. Times for
# float32 are from benchmarks/RESULTS.md; float64 took 2.7 times as long for the sum and 2.4 times
# as long for the adjoint.
THREADS = 2
PAIR_SECONDS = {
    ("sum", SINGLE): (1.54e-10, 1.57e-10, 1.71e-10),
    ("sum", DOUBLE): (4.2e-10, 4.3e-10, 4.7e-10),
    ("adjoint", SINGLE): (0.78e-10, 0.87e-10, 0.97e-10),
    ("adjoint", DOUBLE): (1.9e-10, 2.1e-10, 2.3e-10),
}
CALL_SECONDS = 5e-5


def is_cheaper(name: Map, dtype: np.dtype, dim: int, n: int, m: int, plan: Plan) -> bool:
    """Whether finufft should be faster than the direct kernels for n points, m frequencies."""
    n_sources, n_targets = (n, m) if name == "sum" else (m, n)
    direct = CALL_SECONDS + n * m * PAIR_SECONDS[name, dtype][dim - 1]
    return plan_seconds(dim, n_sources, n_targets, plan, THREADS) < direct


class MethodChoice:
    """The method and the accuracy that a caller asked for.

    Parameters
    ----------
    method : {"auto", "direct", "nufft"}
        "direct" evaluates every pair, "nufft" uses finufft, "auto" picks the faster one.
    accuracy : float, optional
        Largest error of finufft, relative to the sum of the magnitudes; ACCURACY by default.
    """

    def __init__(self, method: str = "auto", accuracy: float | None = None) -> None:
        self.method = as_choice(method, "method", METHODS)
        self.accuracy = None if accuracy is None else as_positive(accuracy, "accuracy")

    def accuracy_for(self, dtype: np.dtype) -> float:
        """The accuracy for points of `dtype`; ValueError if that type cannot reach it."""
        if self.accuracy is None:
            return ACCURACY[dtype]
        if self.accuracy < MIN_ACCURACY[dtype]:
            raise ValueError(
                f"accuracy must be at least {MIN_ACCURACY[dtype]:g} for points in {dtype}, "
                f"got {self.accuracy:g}"
            )
        return self.accuracy

    def check(self, dim: int, dtype: np.dtype, on_device: bool = False) -> None:
        """Raise ValueError or ImportError, before any work, if the method does not suit x."""
        self.accuracy_for(dtype)
        if self.method != "nufft":
            return
        if on_device:
            raise ValueError(
                'method="nufft" serves NumPy arrays: use method="direct" for CuPy arrays'
            )
        if dim > MAX_DIM:
            raise ValueError(
                f'method="nufft" serves up to {MAX_DIM} dimensions, x has {dim}: '
                'use method="direct"'
            )
        import_finufft()

    def choose(
        self, name: Map, operator: PackedOperator, x: NDArray, first: int, last: int
    ) -> tuple[PackedOperator, Iterable[tuple[int, NDArray]]]:
        """(operator, chunks): what computes a map for rows first..last of x, and what to feed it.

        Either `operator` itself and chunks that are read one by one, or finufft and a single chunk
        of all rows.
        """
        n, dim = last - first, operator.omega.shape[1]
        if operator.on_device or not self._may_take_nufft(name, operator, n):
            return operator, operator.chunks(x, first, last)
        points = np.empty((dim, n))
        for start, chunk in operator.chunks(x, first, last):
            points[:, start - first : start - first + len(chunk)] = chunk.T
        frequencies = np.ascontiguousarray(np.asarray(operator.omega).T)
        plan = self._plan(name, operator, n, half_widths(points) * half_widths(frequencies))
        if plan is None:
            return operator, operator.chunks(x, first, last)
        return NufftOperator(operator, frequencies, plan), [(first, points.T)]

    def _may_take_nufft(self, name: Map, operator: PackedOperator, n: int) -> bool:
        """False if the sizes alone rule finufft out: it would not pay even on the smallest grid."""
        if self.method != "auto":
            return self.method == "nufft"
        m, dim = operator.omega.shape
        if dim > MAX_DIM or n * m <= MIN_PAIRS or not is_installed():
            return False
        return self._plan(name, operator, n, np.zeros(dim)) is not None

    def _plan(self, name: Map, operator: PackedOperator, n: int, products: NDArray) -> Plan | None:
        """The plan of finufft's transform; None for "auto" if it does not fit or does not pay.

        If it does not fit, "nufft" raises ValueError.
        """
        (m, dim), dtype = operator.omega.shape, operator.freqs.dtype
        n_sources, n_targets = (n, m) if name == "sum" else (m, n)
        accuracy = self.accuracy_for(dtype)
        max_bytes = MAX_GRID_BYTES[self.method]
        plan = make_plan(dim, n_sources, n_targets, products, accuracy, max_bytes)
        if self.method == "auto":
            pays = plan is not None and is_cheaper(name, dtype, dim, n, m, plan)
            return plan if pays else None
        if plan is None:
            needed = min(grid.bytes for grid in candidate_grids(products, accuracy))
            raise ValueError(
                f'method="nufft" would need a grid of {needed / 2**30:.3g} GiB, but may only take '
                f"{max_bytes / 2**30:g} GiB: the ranges of x and omega are too large; "
                'use method="direct"'
            )
        return plan
