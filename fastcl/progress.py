"""What is shown of long work: a bar on a terminal, elsewhere a plain line now and then."""

from __future__ import annotations

import contextlib
import sys
import time
from contextlib import AbstractContextManager
from typing import Any

LINE_EVERY = 30.0  # seconds between two plain lines


class _Silent:
    def update(self, count: int) -> None:
        """Nothing to show."""


class _Lines:
    """Writes how far the work is to standard error, as one line every half minute."""

    def __init__(self, total: int | None, title: str, unit: str, initial: int) -> None:
        self.total = total
        self.title = title
        self.unit = unit
        self.done = initial
        self.start = self.shown = time.monotonic()

    def __enter__(self) -> _Lines:
        return self

    def __exit__(self, *error: object) -> None:
        """Nothing to close."""

    def update(self, count: int) -> None:
        """Count work that was done."""
        self.done += count
        now = time.monotonic()
        if now - self.shown < LINE_EVERY:
            return
        self.shown = now
        minutes, seconds = divmod(round(now - self.start), 60)
        of = "" if self.total is None else f" of {self.total}"
        line = f"{self.title}: {self.unit} {self.done}{of} after {minutes}:{seconds:02d} min\n"
        with contextlib.suppress(OSError):  # whoever read it may have gone
            sys.stderr.write(line)
            sys.stderr.flush()


def progress_bar(
    show: bool, total: int | None, title: str, unit: str, initial: int = 0
) -> AbstractContextManager[Any]:
    """A context with `update(count)`, which shows progress if `show`, and else nothing.

    On a terminal and in a notebook that is tqdm's bar, after two seconds, if tqdm is installed.
    Elsewhere, as in a log, it is a line every half minute.
    """
    if not show or sys.stderr is None:
        return contextlib.nullcontext(_Silent())
    if not sys.stderr.isatty() and "ipykernel" not in sys.modules:
        return _Lines(total, title, unit, initial)
    try:
        from tqdm.auto import tqdm
    except ImportError:
        return contextlib.nullcontext(_Silent())
    return tqdm(
        total=total,
        desc=title,
        unit=unit,
        initial=initial,
        delay=2,
        unit_scale=total is None or total >= 10_000,  # small totals are shown as whole numbers
        dynamic_ncols=True,
    )
