"""Points that come in batches, sketched in units of their own for the decoders.

The units and the frequencies are chosen from the first points; where to search is known from all of
them: their bounding box, and a sample in which every point is as likely as any other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from ..fourier.frequencies import draw_frequencies, estimate_scale
from ..locks import STATE_LOCK
from ..sketching.sketch import Sketch

SUBSAMPLE = 5000  # points from which the units and the scale are taken, and where searches start
CHUNK_ROWS = 1 << 16  # rows that are centred at a time


class BatchSketch:
    """The sketch of batches of points, centred and divided by a unit.

    Parameters
    ----------
    find_unit : function of centred rows (n, d)
        Returns the unit of every coordinate, (d,).
    m : int
        Number of frequencies.
    scale : float, optional
        Of the frequencies, in these units; by default `estimate_scale` finds that of clusters.
    seed : int

    Attributes
    ----------
    sketch : Sketch or None
        None until there are SUBSAMPLE points, or until `begin` is called.
    offset, unit : float64 arrays (d,)
        The mean of the first points, and what centred points are divided by.
    low, high : arrays (d,)
        The bounding box of all points, in these units.
    starts : float64 array (s, d)
        At most SUBSAMPLE of all points, chosen at random, in these units.
    """

    def __init__(
        self, find_unit: Callable[[NDArray], NDArray], m: int, scale: float | None, seed: int
    ) -> None:
        self.find_unit = find_unit
        self.m = m
        self.scale = scale
        self.rng = np.random.default_rng(seed)
        self.sketch: Sketch | None = None
        self._waiting: list[NDArray] = []

    @property
    def is_empty(self) -> bool:
        """Whether there are no points at all."""
        return self.sketch is None and not self._waiting

    def add(self, x: NDArray) -> None:
        """Add the points x (n, d), float32 or float64; several threads may do so at once."""
        if len(x) == 0:
            return
        with STATE_LOCK:
            is_first = self.sketch is None
            if is_first and sum(map(len, self._waiting)) + len(x) < SUBSAMPLE:
                self._waiting.append(x.copy())
                return
            batches = self._start([*self._waiting, x]) if is_first else [x]
        self._add(batches, is_first)

    def begin(self) -> Sketch:
        """The sketch of all points, which are at least one: no more are waited for."""
        with STATE_LOCK:
            batches = self._start(self._waiting) if self.sketch is None else []
        self._add(batches, is_first=True)
        assert self.sketch is not None
        return self.sketch

    def centred(self, x: NDArray) -> Iterator[NDArray]:
        """The points x (n, d) minus the offset, in float64, by chunks of rows."""
        for first in range(0, len(x), CHUNK_ROWS):
            yield x[first : first + CHUNK_ROWS].astype(np.float64) - self.offset

    def _start(self, batches: list[NDArray]) -> list[NDArray]:
        """Choose units and frequencies from `batches`, which are returned to be added."""
        rows = _some_rows(batches, self.rng)
        self.offset = rows.mean(axis=0)
        rows -= self.offset
        self.unit = self.find_unit(rows)
        rows /= self.unit
        scale = self.scale
        if scale is None:
            is_spread = np.ptp(rows, axis=0).any()
            scale = estimate_scale(rows, self.rng, of="clusters") if is_spread else 1.0
        dim = rows.shape[1]
        omega = draw_frequencies(self.m, dim, scale, "adapted_radius", self.rng)
        self.low = np.full(dim, np.inf)
        self.high = np.full(dim, -np.inf)
        self.starts = rows
        self._seen = sum(map(len, batches))  # points that had their chance to be among the starts
        self._waiting = []
        self.sketch = Sketch(omega)
        return batches

    def _add(self, batches: list[NDArray], is_first: bool) -> None:
        for x in batches:
            for rows in self.centred(x):
                rows /= self.unit
                assert self.sketch is not None
                self.sketch.update(rows.astype(x.dtype))
                with STATE_LOCK:
                    self.low = np.minimum(self.low, rows.min(axis=0))
                    self.high = np.maximum(self.high, rows.max(axis=0))
                    if not is_first:
                        self._sample(rows)

    def _sample(self, rows: NDArray) -> None:
        """Let `rows` replace starts so that all points are equally likely there (algorithm R)."""
        starts = np.concatenate([self.starts, rows[: SUBSAMPLE - len(self.starts)]])
        rest = rows[len(starts) - len(self.starts) :]
        self._seen += len(rows)
        places = self.rng.integers(self._seen - np.arange(len(rest))[::-1])
        chosen = places < len(starts)
        starts[places[chosen]] = rest[chosen]
        self.starts = starts


def _some_rows(batches: list[NDArray], rng: np.random.Generator) -> NDArray:
    """At most SUBSAMPLE rows of all batches together, in float64."""
    total = sum(map(len, batches))
    if total > SUBSAMPLE:
        chosen = np.sort(rng.choice(total, SUBSAMPLE, replace=False))
        first = 0
        parts = []
        for batch in batches:
            mine = chosen[(chosen >= first) & (chosen < first + len(batch))]
            parts.append(batch[mine - first])
            first += len(batch)
        batches = parts
    return np.concatenate(batches).astype(np.float64)
