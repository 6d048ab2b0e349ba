"""A pass over a data set that can resume from a checkpoint and counts every point once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import files
from ..data.sources import Source
from ..files import Arrays, PathLike
from ..progress import progress_bar

if TYPE_CHECKING:
    from .sketch import Sketch

POINTS_BETWEEN = 10_000_000  # points between two checkpoints, by default


@dataclass(frozen=True)
class PassState:
    """State of an interrupted pass; the sketch's count says how many points are done.

    Attributes
    ----------
    data : str
        Description of the data, which tells whether a checkpoint belongs to them.
    complete : bool
        Whether every point has been counted.
    seed : int
        Seed of the random numbers that the pass draws, if any.
    """

    data: str
    complete: bool = False
    seed: int = 0

    def to_arrays(self) -> Arrays:
        """The parts that a file keeps: name -> array."""
        return {"data": self.data, "complete": self.complete, "seed": self.seed}

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> PassState:
        """The state whose `to_arrays` gave `arrays`; ValueError if they are damaged."""
        data = np.asarray(arrays.get("data"))
        complete = np.asarray(arrays.get("complete"))
        seed = np.asarray(arrays.get("seed"))
        kinds = data.dtype.kind + complete.dtype.kind + seed.dtype.kind
        if kinds != "Ubi" or data.ndim + complete.ndim + seed.ndim != 0:
            raise ValueError("not a sketch: the state of its pass is damaged")
        return cls(str(data), bool(complete), int(seed))


class OtherData(ValueError):
    """A checkpoint belongs to other data than those of the pass."""


def resume(checkpoint: PathLike, empty: Sketch, source: Source) -> Sketch:
    """The sketch to start the pass from: `empty`, or the points of `checkpoint` if it exists.

    Raises ValueError for a checkpoint of other data or of other frequencies, and OSError for one
    that cannot be read or written.
    """
    files.check_writable(checkpoint)
    if not Path(checkpoint).exists():
        return empty
    started = type(empty).load(checkpoint)
    if started.pass_state is None or started.pass_state.data != source.describe():
        raise OtherData(
            f"checkpoint {str(checkpoint)!r} belongs to other data: remove it to start anew"
        )
    if started.fingerprint != empty.fingerprint:
        raise ValueError(
            f"checkpoint {str(checkpoint)!r} belongs to other frequencies: remove it to start anew"
        )
    # Files keep neither the method nor the device: both come from the caller's sketch.
    resumed = empty.with_sums(started.total, started.count, started.accountant)
    resumed.domain = started.domain
    resumed.pass_state = started.pass_state
    return resumed


def run_pass(
    sketch: Sketch,
    source: Source,
    *,
    progress: bool = False,
    checkpoint: PathLike | None = None,
    checkpoint_every: int = POINTS_BETWEEN,
    save: Callable[[PathLike], object] | None = None,
    observer: Callable[[Any, int, int], object] | None = None,
) -> None:
    """Add the points of `source` that `sketch` has not counted yet.

    Parameters
    ----------
    sketch : Sketch
        Empty, or with the first points of `source`, which are then skipped.
    source : Source
        The data.
    progress : bool
        Whether to show a progress bar, if tqdm is installed.
    checkpoint : path, optional
        File in which the state is saved every `checkpoint_every` points, at the end, and on any
        error or interruption.
    checkpoint_every : int
        Number of points between two checkpoints.
    save : function of a path, optional
        Writes the checkpoint; ``sketch.save`` by default.
    observer : function of (rows, first, last), optional
        Called with every part before it is counted.
    """
    state = sketch.pass_state
    if state is not None and state.complete:
        return
    if state is None and checkpoint is not None:
        state = PassState(source.describe())

    def write_checkpoint(complete: bool = False) -> None:
        if checkpoint is None or state is None or sketch.count == 0:
            return
        sketch.pass_state = replace(state, complete=complete)
        (sketch.save if save is None else save)(checkpoint)

    saved = sketch.count
    try:
        with progress_bar(progress, source.total, "sketch", source.unit, initial=saved) as bar:
            for rows, first, last in source.parts(saved):
                sums = sketch.sum_rows(rows, first, last)
                if observer is not None:  # only now: rows that are refused must leave no trace
                    observer(rows, first, last)
                sketch.add_sums(sums, last - first)
                del rows  # otherwise it would still be in memory when the next part is read
                bar.update(last - first)
                if sketch.count - saved >= checkpoint_every:
                    write_checkpoint()
                    saved = sketch.count
        write_checkpoint(complete=True)
    except BaseException as error:
        write_checkpoint()
        if checkpoint is None or sketch.count == 0:
            raise
        kept = f"the first {sketch.count} {source.units} are kept in {str(checkpoint)!r}"
        if isinstance(error, KeyboardInterrupt):
            raise KeyboardInterrupt(kept) from None
        if type(error) is ValueError:  # bad rows: the pass resumes when they are mended
            raise ValueError(f"{error}; {kept}") from None
        raise
