"""Pictures of sketches, of learning and of what was learned; needs matplotlib (the extra "demo").

Every `plot_...` draws one thing into axes that it is given, or into a figure of its own that belongs to no window: no state of
pyplot is touched. Colours are uniform to the eye (viridis), lines those that the colour-blind tell apart (Okabe and Ito).
"""

from collections.abc import Mapping

import numpy as np

from .. import files
from ..sketching.sketch import Sketch
from ..validation import as_choice, as_count, as_frequencies, as_positive, as_vector
from .slices import Cut

BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#767676"
TIMES = {"iteration": "iteration", "seconds": "seconds of learning"}
COURSES = {"value": "estimate of $G$", "gradient_norm": "norm of the gradient"}
SQUARE = 4  # most by which the sides of a picture with equal units on both axes may differ


def new_figure(rows, columns, width=3.2, height=3.2):
    """(figure, array of axes) that belong to no window; ImportError without matplotlib."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError('pictures need matplotlib: pip install "fastcl[demo]"') from None
    figure = Figure(figsize=(width * columns, height * rows), layout="compressed")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False)


def save_figure(figure, path):
    """Write a figure as PNG, atomically."""
    with files.replacing(path) as file:
        figure.savefig(file, format="png", dpi=120)


def show_image(axes, image, title=""):
    """Draw a grey image with values in [0, 1], one pixel a pixel."""
    axes.imshow(image, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set(title=title, xticks=[], yticks=[])


def show_density(axes, density, box, points=None, title="", **style):
    """Draw values on a grid (k, k), first axis x, over a 2-D box, with some points (n, 2) on top, without ticks; the image."""
    (left, bottom), (right, top) = box.low, box.high
    width, height = box.high - box.low
    aspect = "equal" if max(width, height) <= SQUARE * min(width, height) else "auto"
    style = {
        "cmap": "viridis",
        "origin": "lower",
        "extent": (left, right, bottom, top),
        "aspect": aspect,
    } | style
    image = axes.imshow(density.T, **style)
    if points is not None:
        axes.plot(
            points[:, 0],
            points[:, 1],
            ".",
            color="white",
            markersize=2.5,
            markeredgecolor="black",
            markeredgewidth=0.25,
        )
    axes.set(title=title, xlim=(left, right), ylim=(bottom, top), xticks=[], yticks=[])
    return image


# ---- densities --------------------------------------------------------------------------------------------------


def plot_density(
    prior,
    box=None,
    points=None,
    axes=None,
    coordinates=None,
    points_per_axis=300,
    title="",
    unit="",
):
    """Draw a density over a box: a curve along one coordinate, an image of two.

    The density is brought to mass one over what is drawn. Beyond two dimensions this is the conditional density of the
    `coordinates`, all others being at the centre of the box.

    Parameters
    ----------
    prior : MLPPrior, MaxEntropyPrior, GaussianisedPrior, reference measure, Box, or any object with `log_density(x)`
    box : Box, optional
        Of the dimension d of the prior. By default just around the points, where there are any; else 4 standard deviations
        about the centre of the reference measure.
    points : array (n, d), optional
        Data to show on top, projected onto the coordinates; a histogram of mass one where d = 1.
    axes : matplotlib axes, optional
        Of a new figure by default.
    coordinates : sequence of one or two ints, optional
        The first two, or the only one, by default.
    points_per_axis : int
        Cells of the grid along each coordinate; the density is that at their centres.
    title : str
    unit : str
        Name of the unit of x, for the labels.

    Returns
    -------
    matplotlib axes

    Raises
    ------
    TypeError, ValueError
        Arguments that do not fit together; no box, points or reference; a density that is zero, or NaN, all over the box.
    ImportError
        matplotlib is missing.

    Notes
    -----
    Peak memory: the grid, d + 3 numbers a point, and what `log_density` takes.

    Examples
    --------
    >>> import numpy as np, fastcl
    >>> from fastcl.plots import plot_density
    >>> law = fastcl.GaussianMixture([0.5, 0.5], [[-1.0], [1.0]], np.full((2, 1, 1), 0.04))
    >>> plot_density(law, fastcl.Box([-2], [2]), unit="mm").get_ylabel()
    'density, 1 / mm'
    """
    cut = Cut.make(prior, box, points, coordinates, points_per_axis)
    (axes,) = _as_axes(axes, 1, 4.2, 3.4)
    log_density = cut.evaluate(prior.log_density, "log_density")
    largest = log_density.max()
    if largest == -np.inf:
        raise ValueError("the density of prior is zero all over the box")
    density = np.exp(log_density - largest)
    density /= density.mean() * cut.face.volume
    name = "density" if cut.is_whole else "conditional density"
    label = f"{name}, 1 / {unit}{'²' if cut.face.dim == 2 else ''}" if unit else name
    _draw_cut(axes, cut, density, label, title, unit, vmin=0)
    if cut.face.dim == 1:
        if cut.points is not None and cut.is_whole:
            axes.hist(
                cut.points[:, 0],
                _bins(cut.points),
                range=axes.get_xlim(),
                density=True,
                color=GREY,
                alpha=0.4,
            )
        elif cut.points is not None:
            _mark_points(axes, cut.points[:, 0])
        axes.set_ylim(bottom=0)
    return axes


def plot_energy(
    prior,
    box=None,
    points=None,
    axes=None,
    coordinates=None,
    points_per_axis=300,
    title="",
    unit="",
    span=20.0,
):
    """Draw the energy of a prior over a box: a curve along one coordinate, an image with level lines of two.

    The energy is `prior.energy(x)`, which leaves out the log-scale and the reference measure, if any; minus the log-density of
    what has no energy, such as a reference measure.

    Parameters
    ----------
    prior, box, points, axes, coordinates, points_per_axis, title, unit
        As of `plot_density`.
    span : float
        Colours, or the vertical axis, end this many nats above the least energy: what is higher has no mass.

    Returns
    -------
    matplotlib axes

    Raises
    ------
    TypeError, ValueError, ImportError
        As of `plot_density`.

    Examples
    --------
    >>> import fastcl
    >>> from fastcl.plots import plot_energy
    >>> axes = plot_energy(fastcl.MLPPrior(dim=1, widths=(8,), rng=0), fastcl.Box([-1], [1]))
    >>> axes.get_ylabel()
    'energy $R(x)$, nats'
    """
    span = as_positive(span, "span")
    cut = Cut.make(prior, box, points, coordinates, points_per_axis)
    (axes,) = _as_axes(axes, 1, 4.2, 3.4)
    if hasattr(prior, "energy"):
        energy, label = cut.evaluate(prior.energy, "energy"), "energy $R(x)$, nats"
    else:
        energy, label = -cut.evaluate(prior.log_density, "log_density"), "minus log-density, nats"
    least = energy.min()
    if not np.isfinite(least):
        raise ValueError("the energy of prior is infinite all over the box")
    highest = min(energy[np.isfinite(energy)].max(), least + span)
    highest = least + 1 if highest == least else highest  # a constant still needs an axis
    if cut.face.dim == 1:
        _draw_cut(axes, cut, energy, label, title, unit)
        if cut.points is not None:
            _mark_points(axes, cut.points[:, 0])
        margin = 0.05 * (highest - least)
        axes.set_ylim(least - margin, highest + margin)
        return axes
    from matplotlib import colormaps
    from matplotlib.ticker import MaxNLocator

    levels = MaxNLocator(8).tick_values(least, highest)
    levels = levels[(least < levels) & (levels < min(highest, energy.max()))]
    colours = colormaps[
        "viridis_r"
    ]  # reversed, so that bright is where the mass is, as in a density
    colours = colours.with_extremes(bad=colours(1.0))  # infinite energies
    _draw_cut(axes, cut, energy, label, title, unit, levels, cmap=colours, vmin=least, vmax=highest)
    return axes


def _draw_cut(axes, cut, values, label, title, unit, levels=(), **style):
    """Draw the curve or the image of `values` on a cut; on the image also the points, and lines at the levels."""
    names = [f"$x_{{{i + 1}}}${', ' if unit else ''}{unit}" for i in cut.coordinates]
    if cut.face.dim == 1:
        axes.plot(cut.x[:, cut.coordinates[0]], values, color=BLUE, zorder=3)
        axes.set(
            title=title, xlim=(cut.face.low[0], cut.face.high[0]), xlabel=names[0], ylabel=label
        )
        return
    from matplotlib.ticker import MaxNLocator

    image = show_density(axes, values, cut.face, cut.points, title, **style)
    bar = axes.figure.colorbar(
        image, ax=axes, label=label, extend="max" if values.max() > image.norm.vmax else "neither"
    )
    if len(levels):
        lines = {"colors": "white", "linewidths": 0.5, "linestyles": "solid"}
        bar.add_lines(
            axes.contour(values.T, levels, extent=image.get_extent(), origin="lower", **lines)
        )
    axes.set(xlabel=names[0], ylabel=names[1])
    for axis in (axes.xaxis, axes.yaxis):  # `show_density` leaves the ticks out
        axis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))


def _bins(values):
    """How many bins a histogram of n values has."""
    return min(100, max(10, int(np.sqrt(len(values)))))


def _mark_points(axes, x):
    """Points (n,) of a line, as marks along the horizontal axis."""
    axes.plot(
        x, np.full(len(x), 0.02), "|", color=GREY, alpha=0.6, transform=axes.get_xaxis_transform()
    )


# ---- learning, and frequencies ----------------------------------------------------------------------------------


def plot_history(history, axes=None, against="iteration", window=None):
    """Draw how learning went: the estimate of G and the norm of the gradient, and a running median of each.

    Axes are logarithmic where no value is negative. The unbiased estimate of G may be: its axis is then linear up to about the
    median size of the negative values, either way from zero, and logarithmic beyond.

    Parameters
    ----------
    history : LearnResult, or dict of arrays (k,)
        With "value" and "gradient_norm", and "iteration" or "seconds".
    axes : matplotlib axes, or sequence of two, optional
        One is for the estimate of G alone, two are for both; those of a new figure by default.
    against : {"iteration", "seconds"}
    window : int, optional
        Steps of the running median, made odd; a thirtieth of all by default. Fewer at both ends.

    Returns
    -------
    array (1,) or (2,) of matplotlib axes

    Raises
    ------
    TypeError, ValueError
        A history that is empty, lacks an array or holds NaN; arrays of different lengths; too many axes.
    ImportError
        matplotlib is missing.

    Examples
    --------
    >>> from fastcl.plots import plot_history
    >>> axes = plot_history({"iteration": [0, 1, 2], "value": [2.0, 1.0, -0.5], "gradient_norm": [3.0, 2.0, 1.0]})
    >>> [panel.get_yscale() for panel in axes]
    ['symlog', 'log']
    """
    history = getattr(history, "history", history)
    if not isinstance(history, Mapping):
        raise TypeError(
            f"history must be a LearnResult or a dict of arrays, got {type(history).__name__}"
        )
    as_choice(against, "against", tuple(TIMES))
    missing = [name for name in (against, *COURSES) if name not in history]
    if missing:
        raise ValueError(f"history lacks {', '.join(missing)}")
    times = as_vector(history[against], f"history[{against!r}]")
    courses = {name: as_vector(history[name], f"history[{name!r}]", times.size) for name in COURSES}
    if times.size == 0:
        raise ValueError("history is empty: no step was taken")
    window = (max(1, times.size // 30) if window is None else as_count(window, "window")) | 1
    axes = _as_axes(axes, 2, 4.2, 3.0)
    for panel, (name, label) in zip(axes, COURSES.items(), strict=False):
        values = courses[name]
        if (values < 0).any():
            threshold = 10.0 ** round(
                np.log10(np.median(-values[values < 0]))
            )  # a power of ten is where there are ticks
            panel.set_yscale("symlog", linthresh=threshold)
            panel.axhline(0, color=GREY, linewidth=0.8, linestyle=":")
        elif (values > 0).any():
            panel.set_yscale("log")
        panel.plot(times, values, color=GREY, linewidth=0.6, alpha=0.6, label="each step")
        panel.plot(times, _running_median(values, window), color=BLUE, label=f"median of {window}")
        panel.set(xlabel=TIMES[against], ylabel=label)
        _add_legend(panel)
    return axes


def _running_median(values, window):
    """Medians of `window` values, an odd number, about each; at the end of those that are left.

    At the start as many as there are on both sides: learning falls fast there, and a longer window would hide it.
    """
    from scipy.ndimage import median_filter

    medians, n, half = median_filter(values, window, mode="nearest"), len(values), window // 2
    for i in {*range(min(half, n)), *range(max(0, n - half), n)}:
        reach = min(i, half)
        medians[i] = np.median(values[i - reach : i + reach + 1])
    return medians


def _add_legend(panel):
    """A legend above the axes, where it hides nothing."""
    panel.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0)


def plot_frequencies(sketch, axes=None, unit=""):
    """Draw what a sketch sees: the modulus at each frequency against its radius, and in two dimensions the frequencies.

    A modulus of the order of 1 / sqrt(n), the noise floor of n points, tells nothing: it is what a frequency shows at which
    the law of the data has no moment at all.

    Parameters
    ----------
    sketch : Sketch, or frequencies
        Of frequencies (m, d) alone, an array or structured, the first panel is a histogram of their radii.
    axes : matplotlib axes, or sequence of two, optional
        One is for the radii alone, two are for d = 2; those of a new figure by default.
    unit : str
        Name of the unit of x, for the labels.

    Returns
    -------
    array (1,) or (2,) of matplotlib axes

    Raises
    ------
    TypeError, ValueError
        Frequencies that are not such; an empty sketch; more axes than panels.
    ImportError
        matplotlib is missing.

    Notes
    -----
    The mean of n independent phases of uniform law has the root mean square modulus 1 / sqrt(n). Peak memory: some vectors of m
    numbers, and structured frequencies as an array.

    Examples
    --------
    >>> import numpy as np, fastcl
    >>> from fastcl.plots import plot_frequencies
    >>> sk = fastcl.sketch(np.random.default_rng(0).standard_normal((1000, 2)), fastcl.draw_frequencies(50, 2, 1.0, rng=0))
    >>> [panel.get_xlabel() for panel in plot_frequencies(sk, unit="mm")]
    ['radius of the frequency, rad / mm', '$\\\\omega_1$, rad / mm']
    """
    is_sketch = isinstance(sketch, Sketch)
    moduli = np.abs(sketch.values) if is_sketch else None
    omega = np.asarray(as_frequencies(sketch.omega if is_sketch else sketch))
    radii, rad = np.linalg.norm(omega, axis=1), f"rad / {unit or 'unit of x'}"
    axes = _as_axes(axes, 2 if omega.shape[1] == 2 else 1, 4.2, 3.2)
    panel = axes[0]
    if is_sketch:
        floor = 1 / np.sqrt(sketch.count)
        panel.semilogy(radii, moduli, ".", color=BLUE, markersize=3, alpha=0.5, label="frequencies")
        panel.axhline(floor, color=ORANGE, linestyle="--", label=r"noise floor $1/\sqrt{n}$")
        panel.set(
            ylabel=r"modulus $|z|$", ylim=(max(min(floor, moduli.min()) / 2, floor / 100), 1.5)
        )
        _add_legend(panel)
    else:
        panel.hist(radii, _bins(radii), color=BLUE)
        panel.set(ylabel="frequencies a bin")
    panel.set(xlim=(0, None), xlabel=f"radius of the frequency, {rad}")
    if len(axes) == 2:
        _draw_plane(axes[1], omega, moduli, floor if is_sketch else None, rad)
    return axes


def _draw_plane(panel, omega, moduli, floor, rad):
    """Frequencies (m, 2) as points, coloured by their moduli; those below the noise floor are grey."""
    if moduli is None:
        panel.plot(omega[:, 0], omega[:, 1], ".", color=BLUE, markersize=3)
    else:
        from matplotlib import colormaps
        from matplotlib.colors import LogNorm

        order = np.argsort(moduli)  # large ones on top
        colours = colormaps["viridis"].with_extremes(under="lightgrey")
        norm = LogNorm(min(floor, 0.5), 1)
        dots = panel.scatter(
            *omega[order].T, c=moduli[order], s=9, linewidths=0, cmap=colours, norm=norm
        )
        panel.figure.colorbar(dots, ax=panel, label=r"modulus $|z|$", extend="min")
    panel.set(xlabel=rf"$\omega_1$, {rad}", ylabel=rf"$\omega_2$, {rad}")
    reach = 1.05 * np.abs(omega).max() or 1.0
    panel.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")


def _as_axes(axes, most, width, height):
    """`axes` as an array of at most `most` matplotlib axes; new ones, all of them, for None."""
    if axes is None:
        return new_figure(1, most, width, height)[1][0]
    axes = np.atleast_1d(np.asarray(axes, object))
    if axes.ndim != 1 or not all(hasattr(panel, "get_xaxis_transform") for panel in axes):
        raise TypeError("axes must be matplotlib axes, or a sequence of them")
    if not 1 <= axes.size <= most:
        raise ValueError(
            f"axes must be {'one' if most == 1 else 'one or two'} here, got {axes.size}"
        )
    return axes
