"""One pass over a data set that resumes from its checkpoint: every point is counted once."""

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

POINTS_BETWEEN = 10_000_000  # points from one checkpoint to the next


@dataclass(frozen=True)
class PassState:
    """State of an interrupted pass; the sketch's count says how many points are done.

    Attributes
    ----------
    data : str
        The description of the data, by which a checkpoint is matched to them.
    complete : bool
        Whether every point has been counted.
    seed : int
        Seed of whatever the pass draws on the way.
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


def resume(checkpoint: PathLike, empty: Sketch, source: Source) -> Sketch:
    """The sketch to run the pass with: `empty`, or one with the points of an existing checkpoint.

    Raises ValueError for a checkpoint of other data or of other frequencies, OSError for one that
    cannot be read or written.
    """
    files.check_writable(checkpoint)
    if not Path(checkpoint).exists():
        return empty
    started = type(empty).load(checkpoint)
    if started.pass_state is None or started.pass_state.data != source.describe():
        raise ValueError(
            f"checkpoint {str(checkpoint)!r} belongs to other data: remove it to start anew"
        )
    if started.fingerprint != empty.fingerprint:
        raise ValueError(
            f"checkpoint {str(checkpoint)!r} belongs to other frequencies: remove it to start anew"
        )
    # The file knows neither the method nor the device: these come from the caller's sketch.
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
    """Add to `sketch` the points of `source` that it has not counted yet.

    Parameters
    ----------
    sketch : Sketch
        With the points of `source` that were counted before.
    source : Source
    progress : bool
    checkpoint : path, optional
        File that keeps the state every `checkpoint_every` points, at the end, and on any error or
        interruption.
    checkpoint_every : int
    save : function of a path, optional
        Writes the checkpoint; by default ``sketch.save``.
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
                if observer is not None:
                    observer(rows, first, last)
                sketch.add_sums(sketch.sum_rows(rows, first, last), last - first)
                del rows  # or it would be in memory together with the next part
                bar.update(last - first)
                if sketch.count - saved >= checkpoint_every:
                    write_checkpoint()
                    saved = sketch.count
        write_checkpoint(complete=True)
    except BaseException as error:
        write_checkpoint()
        if isinstance(error, KeyboardInterrupt) and checkpoint is not None and sketch.count:
            raise KeyboardInterrupt(
                f"the first {sketch.count} {source.units} are kept in {str(checkpoint)!r}"
            ) from None
        raise
