"""What all pictures share: figures and files, images on axes, colours and legends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..files import PathLike, replacing
from ..measures.box import Box

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

BLUE = "#0072B2"
ORANGE = "#D55E00"
GREY = "#767676"
MAX_ASPECT = 4  # of the sides of a picture that keeps equal units on both axes


def new_figure(
    rows: int, columns: int, width: float = 3.2, height: float = 3.2
) -> tuple[Figure, NDArray]:
    """(figure, array of axes) that belong to no window; ImportError without matplotlib.

    `width` and `height` of each panel are in inches.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError('pictures need matplotlib: pip install "fastcl[demo]"') from None
    figure = Figure(figsize=(width * columns, height * rows), layout="compressed")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False)


def as_axes(axes: Any, most: int, width: float, height: float) -> NDArray:
    """`axes` as an array of 1 to `most` matplotlib axes; if None, `most` panels of a new figure."""
    if axes is None:
        return new_figure(1, most, width, height)[1][0]
    axes = np.atleast_1d(np.asarray(axes, object))
    if axes.ndim != 1 or not all(hasattr(panel, "get_xaxis_transform") for panel in axes):
        raise TypeError("axes must be matplotlib axes, or a sequence of them")
    if not 1 <= axes.size <= most:
        expected = "one" if most == 1 else "one or two"
        raise ValueError(f"axes must be {expected} here, got {axes.size}")
    return axes


def save_figure(figure: Figure, path: PathLike) -> None:
    """Write a figure as PNG, atomically.

    Examples
    --------
    >>> import fastcl, os, tempfile
    >>> from fastcl.plots import plot_energy, save_figure
    >>> axes = plot_energy(fastcl.MLPPrior(dim=1, widths=(8,), rng=0), fastcl.Box([-1], [1]))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_figure(axes.figure, os.path.join(folder, "energy.png"))
    """
    with replacing(path) as file:
        figure.savefig(file, format="png", dpi=120)


def show_image(axes: Axes, image: NDArray, title: str = "") -> None:
    """Draw an image, grey or in colour, with values in [0, 1], pixel by pixel."""
    axes.imshow(image, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set(title=title, xticks=[], yticks=[])


def show_density(
    axes: Axes,
    density: NDArray,
    box: Box,
    points: NDArray | None = None,
    title: str = "",
    **style: Any,
) -> AxesImage:
    """Draw values on a grid (k, k), first axis x, over a 2-D box, and points (n, 2) on top.

    There are no ticks. `style` goes to `imshow`, whose image is returned.
    """
    (left, bottom), (right, top) = box.low, box.high
    width, height = box.high - box.low
    has_equal_units = max(width, height) <= MAX_ASPECT * min(width, height)
    style = {
        "cmap": "viridis",
        "origin": "lower",
        "extent": (left, right, bottom, top),
        "aspect": "equal" if has_equal_units else "auto",
    } | style
    image = axes.imshow(density.T, **style)
    if points is not None:
        edges: dict[str, Any] = {"markeredgecolor": "black", "markeredgewidth": 0.25}
        axes.plot(points[:, 0], points[:, 1], ".", color="white", markersize=2.5, **edges)
    axes.set(title=title, xlim=(left, right), ylim=(bottom, top), xticks=[], yticks=[])
    return image


def add_legend(panel: Axes) -> None:
    """Add a legend above the axes, where it hides nothing."""
    panel.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0)


def bin_count(values: NDArray) -> int:
    """Number of bins for a histogram of `values` (n,)."""
    return min(100, max(10, int(np.sqrt(len(values)))))
