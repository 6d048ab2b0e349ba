"""Pictures of the frequencies of a sketch, and of its moments at them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..fourier.structured import as_frequencies
from ..sketching.sketch import Sketch
from .figures import BLUE, ORANGE, add_legend, as_axes, bin_count

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PANEL = (4.2, 3.2)  # inches


def plot_frequencies(sketch: Sketch | ArrayLike, axes: Any = None, unit: str = "") -> NDArray:
    """Draw what a sketch measures: magnitudes of moments against radii of frequencies.

    In two dimensions a second panel shows the frequencies themselves. A magnitude of the order of
    1 / sqrt(n), the noise floor for n points, carries no information: a frequency at which the
    distribution of the data has no moment at all shows as much. If noise was taken out of the
    sketch, the floor is the standard errors of the moments, which rise with the radius.

    Parameters
    ----------
    sketch : Sketch, or frequencies
        For frequencies (m, d) alone, an array or structured, the first panel is a histogram of
        their radii.
    axes : matplotlib axes, or sequence of two, optional
        One for the radii alone, two if d = 2; by default those of a new figure.
    unit : str
        Unit of x, for the labels.

    Returns
    -------
    array (1,) or (2,) of matplotlib axes

    Raises
    ------
    TypeError, ValueError
        Something that is neither a sketch nor frequencies; an empty sketch; more axes than panels.
    ImportError
        matplotlib is missing.

    Notes
    -----
    The mean of n independent, uniformly distributed phases has root mean square magnitude
    1 / sqrt(n). Peak memory: a few vectors of m numbers, and structured frequencies as an array.

    Examples
    --------
    >>> import numpy as np, fastcl
    >>> from fastcl.plots import plot_frequencies
    >>> x = np.random.default_rng(0).standard_normal((1000, 2))
    >>> sk = fastcl.sketch(x, fastcl.draw_frequencies(50, 2, 1.0, rng=0))
    >>> [panel.get_xlabel() for panel in plot_frequencies(sk, unit="mm")]
    ['radius of the frequency, rad / mm', '$\\\\omega_1$, rad / mm']
    """
    magnitudes = floor = None
    if isinstance(sketch, Sketch):
        magnitudes = np.abs(sketch.values)
        floor = np.full(len(magnitudes), 1 / np.sqrt(sketch.count))
        if sketch.noise is not None:
            floor = sketch.errors
        sketch = sketch.omega
    omega = np.asarray(as_frequencies(sketch))
    unit = f"rad / {unit or 'unit of x'}"
    axes = as_axes(axes, 2 if omega.shape[1] == 2 else 1, *PANEL)
    _draw_radii(axes[0], np.linalg.norm(omega, axis=1), magnitudes, floor, unit)
    if len(axes) == 2:
        _draw_plane(axes[1], omega, magnitudes, floor, unit)
    return axes


def _draw_radii(
    panel: Axes, radii: NDArray, magnitudes: NDArray | None, floor: NDArray | None, unit: str
) -> None:
    """Draw magnitudes (m,) against radii (m,) and the noise floor; alone, radii as a histogram."""
    if magnitudes is None or floor is None:
        panel.hist(radii, bin_count(radii), color=BLUE)
        panel.set(ylabel="frequencies per bin")
    else:
        style: dict[str, Any] = {"color": BLUE, "markersize": 3, "alpha": 0.5}
        panel.semilogy(radii, magnitudes, ".", label="frequencies", **style)
        order, label = np.argsort(radii), r"noise floor $1/\sqrt{n}$"
        if floor.min() < floor.max():
            label = "standard errors"
        reach = np.concatenate([[0], radii[order], [1.05 * radii.max()]])
        level = np.concatenate([floor[order[:1]], floor[order], floor[order[-1:]]])
        panel.plot(reach, level, color=ORANGE, linestyle="--", label=label)
        lowest = max(min(floor.min(), magnitudes.min()) / 2, floor.min() / 100)
        panel.set(ylabel=r"magnitude $|z|$", ylim=(lowest, 1.5))
        add_legend(panel)
    panel.set(xlim=(0, None), xlabel=f"radius of the frequency, {unit}")


def _draw_plane(
    panel: Axes, omega: NDArray, magnitudes: NDArray | None, floor: NDArray | None, unit: str
) -> None:
    """Draw frequencies (m, 2), coloured by magnitude, grey if it is below the noise floor."""
    if magnitudes is None or floor is None:
        panel.plot(omega[:, 0], omega[:, 1], ".", color=BLUE, markersize=3)
    else:
        from matplotlib import colormaps
        from matplotlib.colors import LogNorm

        lowest = min(floor.min(), 0.5)
        hidden = (magnitudes < floor) & (floor > lowest)
        magnitudes = np.where(hidden, lowest / 2, magnitudes)
        order = np.argsort(magnitudes)  # the largest on top
        colours = colormaps["viridis"].with_extremes(under="lightgrey")
        norm = LogNorm(lowest, 1)
        style: dict[str, Any] = {"s": 9, "linewidths": 0, "cmap": colours, "norm": norm}
        dots = panel.scatter(omega[order, 0], omega[order, 1], c=magnitudes[order], **style)
        panel.figure.colorbar(dots, ax=panel, label=r"magnitude $|z|$", extend="min")
    panel.set(xlabel=rf"$\omega_1$, {unit}", ylabel=rf"$\omega_2$, {unit}")
    reach = 1.05 * np.abs(omega).max() or 1.0
    panel.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
