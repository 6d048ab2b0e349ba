"""A progress bar for work that takes more than two seconds, if tqdm is installed."""

from __future__ import annotations

import contextlib
from contextlib import AbstractContextManager
from typing import Any


class _Silent:
    def update(self, count: int) -> None:
        """Nothing to show."""


def progress_bar(
    show: bool, total: int | None, title: str, unit: str, initial: int = 0
) -> AbstractContextManager[Any]:
    """A context with `update(count)`: tqdm's bar after two seconds if `show`, else nothing."""
    if not show:
        return contextlib.nullcontext(_Silent())
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
