"""A progress bar for anything longer than two seconds, where tqdm is installed."""

import contextlib


class _Silent:
    def update(self, count):
        """Nothing to show."""


def progress_bar(show, total, title, unit, initial=0):
    """A context with `update(count)`: tqdm's bar after two seconds where `show` is true, silence otherwise."""
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
        unit_scale=True,
        dynamic_ncols=True,
    )
