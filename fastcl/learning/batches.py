"""Points that come in batches, sketched in units of their own for the decoders.

The units and the frequencies are chosen from the first points. Where to search is known from all of
them: their bounding box, and a sample in which every point is as likely as any other. If the units
of this sample turn out to be others, as they do when the first batches hold one narrow cluster, a
new sketch begins, in which the sample stands for the points so far.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..fourier.frequencies import draw_frequencies, estimate_scale
from ..locks import STATE_LOCK
from ..sketching.sketch import Sketch

SUBSAMPLE = 5000  # points from which the units and the scale are taken, and where searches start
CHUNK_ROWS = 1 << 16  # rows that are centred at a time
MAX_CHANGE = 3.0  # factor between the lengths of the frequencies and those that now suit the points


class Frame(NamedTuple):
    """Points x are sketched as (x - offset) / unit, at frequencies of some scale in these units."""

    offset: NDArray  # (d,), like unit
    unit: NDArray
    scale: float
    sketch: Sketch


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
    frame : Frame or None
        None until there are SUBSAMPLE points, or until `begin` is called.
    low, high : float64 arrays (d,)
        The bounding box of all points.
    starts : float64 array (s, d)
        At most SUBSAMPLE of all points, chosen at random.
    """

    def __init__(
        self, find_unit: Callable[[NDArray], NDArray], m: int, scale: float | None, seed: int
    ) -> None:
        self.find_unit = find_unit
        self.m = m
        self.scale = scale
        self.rng = np.random.default_rng(seed)
        self.frame: Frame | None = None
        self._waiting: list[NDArray] = []

    @property
    def is_empty(self) -> bool:
        """Whether there are no points at all."""
        return self.frame is None and not self._waiting

    def add(self, x: NDArray) -> None:
        """Add the points x (n, d), float32 or float64; several threads may do so at once."""
        if len(x) == 0:
            return
        with STATE_LOCK:
            is_first = self.frame is None
            if is_first and sum(map(len, self._waiting)) + len(x) < SUBSAMPLE:
                self._waiting.append(x.copy())
                return
            batches = self._start([*self._waiting, x]) if is_first else [x]
        self._add(batches, is_first)

    def begin(self) -> Frame:
        """The frame with the sketch of all points, at least one: no more are waited for."""
        with STATE_LOCK:
            batches = self._start(self._waiting) if self.frame is None else []
        self._add(batches, is_first=True)
        assert self.frame is not None
        return self.frame

    def _start(self, batches: list[NDArray]) -> list[NDArray]:
        """Begin with points chosen from `batches`, which are returned to be added."""
        self.starts = _some_rows(batches, self.rng)
        self.low = np.full(self.starts.shape[1], np.inf)
        self.high = np.full(self.starts.shape[1], -np.inf)
        self._seen = sum(map(len, batches))  # points that had their chance to be among the starts
        self._next_check = 2 * self._seen
        self._waiting = []
        self.frame = self._suitable_frame()
        return batches

    def _suitable_frame(self) -> Frame:
        """A frame without points that suits the starts."""
        offset = self.starts.mean(axis=0)
        rows = self.starts - offset
        unit = self.find_unit(rows)
        rows /= unit
        scale = self.scale
        if scale is None:
            is_spread = np.ptp(rows, axis=0).any()
            scale = estimate_scale(rows, self.rng, of="clusters") if is_spread else 1.0
        omega = draw_frequencies(self.m, rows.shape[1], scale, "adapted_radius", self.rng)
        return Frame(offset, unit, scale, Sketch(omega))

    def _add(self, batches: list[NDArray], is_first: bool) -> None:
        for x in batches:
            for rows in chunks(x):
                while not self._add_rows(rows, x.dtype):
                    pass
                with STATE_LOCK:
                    self.low = np.minimum(self.low, rows.min(axis=0))
                    self.high = np.maximum(self.high, rows.max(axis=0))
                    if not is_first:
                        self._sample(rows)

    def _add_rows(self, rows: NDArray, dtype: np.dtype) -> bool:
        """Add rows (n, d) to the sketch; False if another thread has begun a new one meanwhile."""
        frame = self.frame
        assert frame is not None
        sums = frame.sketch.sum_rows(((rows - frame.offset) / frame.unit).astype(dtype))
        with STATE_LOCK:
            if self.frame is not frame:
                return False
            frame.sketch.add_sums(sums, len(rows))
            return True

    def _sample(self, rows: NDArray) -> None:
        """Let `rows` replace starts so that all points are equally likely there (algorithm R)."""
        starts = np.concatenate([self.starts, rows[: SUBSAMPLE - len(self.starts)]])
        rest = rows[len(starts) - len(self.starts) :]
        self._seen += len(rows)
        places = self.rng.integers(self._seen - np.arange(len(rest))[::-1])
        chosen = places < len(starts)
        starts[places[chosen]] = rest[chosen]
        self.starts = starts
        if self._seen >= self._next_check:
            self._next_check = 2 * self._seen
            self._check_frame()

    def _check_frame(self) -> None:
        """Begin a new sketch, of the starts, if other frequencies now suit the points."""
        old, new = self.frame, self._suitable_frame()
        assert old is not None
        change = np.log(new.unit * new.scale) - np.log(old.unit * old.scale)
        if np.abs(change).max() > np.log(MAX_CHANGE):
            total = new.sketch.sum_rows((self.starts - new.offset) / new.unit)
            count = old.sketch.count
            new.sketch.add_sums(total * (count / len(self.starts)), count)
            self.frame = new


def chunks(x: NDArray) -> Iterator[NDArray]:
    """The rows of x (n, d) in float64, by chunks of CHUNK_ROWS."""
    for first in range(0, len(x), CHUNK_ROWS):
        yield x[first : first + CHUNK_ROWS].astype(np.float64)


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
