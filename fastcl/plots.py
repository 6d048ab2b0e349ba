"""Pictures of what was learned; needs matplotlib (the extra "demo")."""

from . import files


def new_figure(rows, columns, width=3.2, height=3.2):
    """(figure, array of axes) that belong to no window."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False)


def save_figure(figure, path):
    """Write a figure as PNG, atomically."""
    with files.replacing(path) as file:
        figure.savefig(file, format="png", dpi=120)


def show_density(axes, density, box, points=None, title=""):
    """Draw a density on a grid (k, k), first axis x, over a 2-D box, with some data points on top."""
    extent = (box.low[0], box.high[0], box.low[1], box.high[1])
    axes.imshow(density.T, origin="lower", extent=extent, cmap="viridis")
    if points is not None:
        axes.plot(points[:, 0], points[:, 1], ".", color="white", markersize=1, alpha=0.6)
    axes.set(title=title, xlim=extent[:2], ylim=extent[2:], xticks=[], yticks=[])


def show_image(axes, image, title=""):
    """Draw a grey image with values in [0, 1], one pixel a pixel."""
    axes.imshow(image, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set(title=title, xticks=[], yticks=[])
