"""Pictures of densities and energies along one or two coordinates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..measures.box import Box
from ..validation import as_positive
from .figures import BLUE, GREY, as_axes, bin_count, show_density
from .slices import Slice

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PANEL = (4.2, 3.4)  # inches


def plot_density(
    prior: Any,
    box: Box | None = None,
    points: ArrayLike | None = None,
    axes: Axes | None = None,
    coordinates: Sequence[int] | None = None,
    points_per_axis: int = 300,
    title: str = "",
    unit: str = "",
) -> Axes:
    """Draw a density over a box: a curve along one coordinate, an image over two.

    The density is normalised to mass one over what is drawn. In more than two dimensions it is the
    conditional density of the `coordinates`, with all others at the centre of the box.

    Parameters
    ----------
    prior : Prior, ReferenceMeasure, Box, or any object with a method `log_density`
    box : Box, optional
        Of the dimension d of the prior. By default just around the points if there are any,
        otherwise 4 standard deviations around the centre of the reference measure.
    points : array (n, d), optional
        Data to show on top, projected onto the coordinates; for d = 1 a histogram of mass one.
    axes : matplotlib axes, optional
        Axes to draw into; by default those of a new figure.
    coordinates : sequence of one or two ints, optional
        By default the first two, or the only one.
    points_per_axis : int
        Cells of the grid along each coordinate; the density is evaluated at their centres.
    title : str
    unit : str
        Unit of x, for the labels.

    Returns
    -------
    matplotlib axes

    Raises
    ------
    TypeError, ValueError
        Arguments that do not fit together; neither box nor points nor reference; a density that is
        zero everywhere in the box, or NaN somewhere.
    ImportError
        matplotlib is missing.

    Notes
    -----
    Peak memory: the grid, d + 3 numbers per grid point, and what `log_density` takes.

    Examples
    --------
    >>> import numpy as np, fastcl
    >>> from fastcl.plots import plot_density
    >>> mixture = fastcl.GaussianMixture([0.5, 0.5], [[-1.0], [1.0]], np.full((2, 1, 1), 0.04))
    >>> plot_density(mixture, fastcl.Box([-2], [2]), unit="mm").get_ylabel()
    'density, 1 / mm'
    """
    shown = Slice.make(prior, box, points, coordinates, points_per_axis)
    (axes,) = as_axes(axes, 1, *PANEL)
    log_density = shown.evaluate(prior.log_density, "log_density")
    largest = log_density.max()
    if largest == -np.inf:
        raise ValueError("the density of prior is zero all over the box")
    density = np.exp(log_density - largest)
    density /= density.mean() * shown.face.volume
    name = "density" if shown.is_whole else "conditional density"
    label = f"{name}, 1 / {unit}{'²' if shown.face.dim == 2 else ''}" if unit else name
    if shown.face.dim == 2:
        _draw_image(axes, shown, density, label, title, unit, vmin=0)
        return axes
    _draw_curve(axes, shown, density, label, title, unit)
    if shown.points is not None and shown.is_whole:
        x = shown.points[:, 0]
        bars: dict[str, Any] = {
            "range": axes.get_xlim(),
            "density": True,
            "color": GREY,
            "alpha": 0.4,
        }
        axes.hist(x, bin_count(x), **bars)
    elif shown.points is not None:
        _mark_points(axes, shown.points[:, 0])
    axes.set_ylim(bottom=0)
    return axes


def plot_energy(
    prior: Any,
    box: Box | None = None,
    points: ArrayLike | None = None,
    axes: Axes | None = None,
    coordinates: Sequence[int] | None = None,
    points_per_axis: int = 300,
    title: str = "",
    unit: str = "",
    span: float = 20.0,
) -> Axes:
    """Draw an energy over a box: a curve along one coordinate, an image with contours over two.

    For a prior this is `prior.energy(x)`, without the log-scale and the reference measure; for
    anything that has no energy, such as a reference measure, it is minus the log-density.

    Parameters
    ----------
    prior, box, points, axes, coordinates, points_per_axis, title, unit
        As in `plot_density`.
    span : float
        The colour scale, or the vertical axis, ends this many nats above the lowest energy: the
        density is negligible where the energy is higher.

    Returns
    -------
    matplotlib axes

    Raises
    ------
    TypeError, ValueError, ImportError
        As in `plot_density`.

    Examples
    --------
    >>> import fastcl
    >>> from fastcl.plots import plot_energy
    >>> axes = plot_energy(fastcl.MLPPrior(dim=1, widths=(8,), rng=0), fastcl.Box([-1], [1]))
    >>> axes.get_ylabel()
    'energy $R(x)$, nats'
    """
    span = as_positive(span, "span")
    shown = Slice.make(prior, box, points, coordinates, points_per_axis)
    (axes,) = as_axes(axes, 1, *PANEL)
    if hasattr(prior, "energy"):
        energy = shown.evaluate(prior.energy, "energy")
        label = "energy $R(x)$, nats"
    else:
        energy = -shown.evaluate(prior.log_density, "log_density")
        label = "minus log-density, nats"
    lowest = energy.min()
    if not np.isfinite(lowest):
        raise ValueError("the energy of prior is infinite all over the box")
    highest = min(energy[np.isfinite(energy)].max(), lowest + span)
    highest = lowest + 1 if highest == lowest else highest  # a constant still needs an axis
    if shown.face.dim == 1:
        _draw_curve(axes, shown, energy, label, title, unit)
        if shown.points is not None:
            _mark_points(axes, shown.points[:, 0])
        margin = 0.05 * (highest - lowest)
        axes.set_ylim(lowest - margin, highest + margin)
        return axes
    from matplotlib import colormaps
    from matplotlib.ticker import MaxNLocator

    levels = np.asarray(MaxNLocator(8).tick_values(lowest, highest))
    levels = levels[(lowest < levels) & (levels < min(highest, energy.max()))]
    colours = colormaps["viridis_r"]  # reversed: bright where the mass is, as in a density
    colours = colours.with_extremes(bad=colours(1.0))  # for infinite energies
    style: dict[str, Any] = {"cmap": colours, "vmin": lowest, "vmax": highest}
    _draw_image(axes, shown, energy, label, title, unit, levels, **style)
    return axes


def _axis_labels(shown: Slice, unit: str) -> list[str]:
    suffix = f", {unit}" if unit else ""
    return [f"$x_{{{i + 1}}}${suffix}" for i in shown.coordinates]


def _draw_curve(
    axes: Axes, shown: Slice, values: NDArray, label: str, title: str, unit: str
) -> None:
    """Draw values (k,) along the one coordinate of a slice."""
    axes.plot(shown.x[:, shown.coordinates[0]], values, color=BLUE, zorder=3)
    limits = (shown.face.low[0], shown.face.high[0])
    axes.set(title=title, xlim=limits, xlabel=_axis_labels(shown, unit)[0], ylabel=label)


def _draw_image(
    axes: Axes,
    shown: Slice,
    values: NDArray,
    label: str,
    title: str,
    unit: str,
    levels: Sequence[float] | NDArray = (),
    **style: Any,
) -> None:
    """Draw values (k, k) on a slice with a colour bar, contours at `levels`, and the points."""
    from matplotlib.ticker import MaxNLocator

    image = show_density(axes, values, shown.face, shown.points, title, **style)
    extend = "max" if values.max() > image.norm.vmax else "neither"
    bar = axes.figure.colorbar(image, ax=axes, label=label, extend=extend)
    if len(levels):
        lines: dict[str, Any] = {"colors": "white", "linewidths": 0.5, "linestyles": "solid"}
        extent = image.get_extent()
        bar.add_lines(axes.contour(values.T, levels, extent=extent, origin="lower", **lines))
    axes.set(**dict(zip(("xlabel", "ylabel"), _axis_labels(shown, unit), strict=True)))
    for axis in (axes.xaxis, axes.yaxis):  # `show_density` leaves the ticks out
        axis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))


def _mark_points(axes: Axes, x: NDArray) -> None:
    """Mark points (n,) along the horizontal axis."""
    style: dict[str, Any] = {"color": GREY, "alpha": 0.6, "transform": axes.get_xaxis_transform()}
    axes.plot(x, np.full(len(x), 0.02), "|", **style)
