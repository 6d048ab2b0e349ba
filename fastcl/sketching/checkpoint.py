"""One pass over a data set, which may be interrupted anywhere and goes on from its checkpoint: every point is counted once."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from .. import files
from ..progress import progress_bar

POINTS_BETWEEN = 10_000_000  # points from one checkpoint to the next


@dataclass(frozen=True)
class PassState:
    """Where a pass over data stands whose sketch it belongs to: `count` of the sketch is the number of points behind it."""

    data: str  # tells the data from others
    complete: bool = False  # whether every point has been counted
    seed: int = 0  # of what is drawn on the way

    @classmethod
    def from_arrays(cls, arrays):
        """The state whose attributes are `arrays`; ValueError where they are not such."""
        data, complete, seed = (
            np.asarray(arrays.get(name)) for name in ("data", "complete", "seed")
        )
        if (data.dtype.kind, complete.dtype.kind, seed.dtype.kind) != (
            "U",
            "b",
            "i",
        ) or data.ndim + complete.ndim + seed.ndim:
            raise ValueError("not a sketch: the state of its pass is damaged")
        return cls(str(data), bool(complete), int(seed))


def resume(checkpoint, result, source):
    """The sketch of `checkpoint`, where that file exists, to go on with in the place of the empty `result`; else that."""
    files.check_writable(checkpoint)
    if not Path(checkpoint).exists():
        return result
    started = type(result).load(checkpoint)
    if started.pass_state is None or started.pass_state.data != source.describe():
        raise ValueError(
            f"checkpoint {str(checkpoint)!r} belongs to other data: remove it to start anew"
        )
    if started.fingerprint != result.fingerprint:
        raise ValueError(
            f"checkpoint {str(checkpoint)!r} belongs to other frequencies: remove it to start anew"
        )
    result._total, result.count, result.domain, result.pass_state = (
        started._total,
        started.count,
        started.domain,
        started.pass_state,
    )
    result._ledger = started._ledger
    return result


def run_pass(
    result,
    source,
    progress=False,
    checkpoint=None,
    checkpoint_every=POINTS_BETWEEN,
    save=None,
    observer=None,
):
    """Add to `result` the points of `source` that it has not counted yet.

    `save(path)` writes the state, by default that of the sketch; `observer(rows, first, last)` is shown every part before it counts.
    """
    if result.pass_state is not None and result.pass_state.complete:
        return
    save = result.save if save is None else save
    if checkpoint is not None and result.pass_state is None:
        result.pass_state = PassState(source.describe())
    state, saved = (result._total, result.count), result.count
    try:
        with progress_bar(progress, source.total, "sketch", source.unit, initial=saved) as bar:
            for rows, first, last in source.parts(saved):
                if observer is not None:
                    observer(rows, first, last)
                result._add(rows, first, last)
                del rows
                state = result._total, result.count  # in one assignment: no interruption parts them
                bar.update(last - first)
                if checkpoint is not None and result.count - saved >= checkpoint_every:
                    save(checkpoint)
                    saved = result.count
        if checkpoint is not None:
            result.pass_state = replace(result.pass_state, complete=True)
    except BaseException as error:
        result._total, result.count = state
        if checkpoint is None or result.count == 0:
            raise
        save(checkpoint)
        if isinstance(error, KeyboardInterrupt):
            raise KeyboardInterrupt(
                f"the first {result.count} {source.units} are kept in {str(checkpoint)!r}"
            ) from None
        raise
    if checkpoint is not None and result.count:
        save(checkpoint)
