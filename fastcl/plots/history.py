"""Pictures of learning runs: the objective and the size of its gradient, step by step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..validation import as_choice, as_count, as_vector
from .figures import BLUE, GREY, add_legend, as_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ..learning.loop import LearnResult

TIMES = {"iteration": "iteration", "seconds": "seconds of learning"}
CURVES = {"value": "estimate of $G$", "gradient_norm": "norm of the gradient"}
PANEL = (4.2, 3.0)  # inches


def plot_history(
    history: LearnResult | Mapping[str, Any],
    axes: Any = None,
    against: str = "iteration",
    window: int | None = None,
) -> NDArray:
    """Draw the estimate of G and the norm of the gradient, each with a running median.

    Vertical axes are logarithmic unless there are negative values, which the unbiased estimate of G
    can have: the axis is then linear around zero, up to about the median size of the negative
    values, and logarithmic beyond.

    Parameters
    ----------
    history : LearnResult, or dict of arrays (k,)
        With "value" and "gradient_norm", and "iteration" or "seconds".
    axes : matplotlib axes, or sequence of two, optional
        One for the estimate of G alone, two for both; by default those of a new figure.
    against : {"iteration", "seconds"}
    window : int, optional
        Steps of the running median, rounded up to an odd number; by default a thirtieth of all
        steps. Windows are shorter at both ends.

    Returns
    -------
    array (1,) or (2,) of matplotlib axes

    Raises
    ------
    TypeError, ValueError
        A history that is empty, lacks an array or holds NaN; arrays of different lengths; too many
        axes.
    ImportError
        matplotlib is missing.

    Examples
    --------
    >>> from fastcl.plots import plot_history
    >>> run = {"iteration": [0, 1], "value": [2.0, -0.5], "gradient_norm": [3.0, 1.0]}
    >>> axes = plot_history(run)
    >>> [panel.get_yscale() for panel in axes]
    ['symlog', 'log']
    """
    times, curves = _as_curves(getattr(history, "history", history), against)
    window = (max(1, times.size // 30) if window is None else as_count(window, "window")) | 1
    axes = as_axes(axes, len(CURVES), *PANEL)
    for panel, (name, label) in zip(axes, CURVES.items(), strict=False):
        values = curves[name]
        _choose_scale(panel, values)
        panel.plot(times, values, color=GREY, linewidth=0.6, alpha=0.6, label="each step")
        panel.plot(times, _running_median(values, window), color=BLUE, label=f"median of {window}")
        panel.set(xlabel=TIMES[against], ylabel=label)
        add_legend(panel)
    return axes


def _as_curves(history: Any, against: str) -> tuple[NDArray, dict[str, NDArray]]:
    """(times (k,), name -> values (k,)) of a history, all checked."""
    if not isinstance(history, Mapping):
        raise TypeError(
            f"history must be a LearnResult or a dict of arrays, got {type(history).__name__}"
        )
    as_choice(against, "against", tuple(TIMES))
    missing = [name for name in (against, *CURVES) if name not in history]
    if missing:
        raise ValueError(f"history lacks {', '.join(missing)}")
    times = as_vector(history[against], f"history[{against!r}]")
    curves = {name: as_vector(history[name], f"history[{name!r}]", times.size) for name in CURVES}
    if times.size == 0:
        raise ValueError("history is empty: no step was taken")
    return times, curves


def _choose_scale(panel: Axes, values: NDArray) -> None:
    if (values < 0).any():
        # Ticks stand at powers of ten, so the linear part ends at one.
        threshold = 10.0 ** round(np.log10(np.median(-values[values < 0])))
        panel.set_yscale("symlog", linthresh=threshold)
        panel.axhline(0, color=GREY, linewidth=0.8, linestyle=":")
    elif (values > 0).any():
        panel.set_yscale("log")


def _running_median(values: NDArray, window: int) -> NDArray:
    """Medians of `window` values, an odd number, around each value.

    At the start the window holds as many values on both sides as there are on the left: learning
    descends fast there, and a longer window would hide it. At the end it holds those that are left.
    """
    from scipy.ndimage import median_filter

    n = len(values)
    half = window // 2
    medians = median_filter(values, window, mode="nearest")
    for i in {*range(min(half, n)), *range(max(0, n - half), n)}:
        reach = min(i, half)
        medians[i] = np.median(values[i - reach : i + reach + 1])
    return medians
