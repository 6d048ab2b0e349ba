"""What keeps the state of an object whole when several threads use it."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

# Held while such a state changes, never during a long computation. As one lock serves all objects,
# none has a lock of its own that copies and pickles would have to leave out.
STATE_LOCK = threading.RLock()

_in_use: dict[int, object] = {}  # by id: what some thread is writing to now


@contextmanager
def exclusive(**arguments: object) -> Iterator[None]:
    """Hold objects that are written to meanwhile; RuntimeError if another thread holds one."""
    with STATE_LOCK:
        for name, value in arguments.items():
            if id(value) in _in_use:
                raise RuntimeError(
                    f"{name} is in use in another thread or callback: give each one of its own"
                )
        mine = {id(value): value for value in arguments.values()}
        _in_use.update(mine)
    try:
        yield
    finally:
        with STATE_LOCK:
            for key in mine:
                _in_use.pop(key, None)


def _start_child() -> None:
    _in_use.clear()  # a child has none of the threads that were writing
    STATE_LOCK.release()


if hasattr(os, "register_at_fork"):  # a child must not inherit a lock whose holder it does not have
    os.register_at_fork(
        before=STATE_LOCK.acquire,
        after_in_parent=STATE_LOCK.release,
        after_in_child=_start_child,
    )
