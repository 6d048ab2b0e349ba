"""What is drawn: the data, limits and labels of the artists, against values computed here."""

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("matplotlib")
from matplotlib.colors import LogNorm, to_hex
from problems import midpoints

import fastcl
from fastcl.plots import (
    new_figure,
    plot_density,
    plot_energy,
    plot_frequencies,
    plot_history,
    save_figure,
)

K = 40  # cells an axis


def gaussian(dim):
    return fastcl.Gaussian(np.arange(dim) / 4.0, np.eye(dim) + 0.2)


def make_mlp(dim, reference=None):
    prior = fastcl.MLPPrior(dim, (8,), rng=1, reference=reference)
    prior.log_scale = 3.0  # of no account for a picture
    return prior


def make_max_entropy(dim):
    rng = np.random.default_rng(2)
    return fastcl.MaxEntropyPrior(
        rng.standard_normal((5, dim)), rng.standard_normal(5), gaussian(dim)
    )


def make_gaussianised(dim):
    q = fastcl.GaussianScaleMixture(np.eye(dim) + 0.1, [0.5, 2.0], [0.5, 0.5])
    inner = fastcl.MaxEntropyPrior(
        np.eye(1, dim), [0.3], fastcl.Gaussian(np.zeros(dim), np.eye(dim))
    )
    return fastcl.GaussianisedPrior(inner, q)


def make_duck(dim):
    """Somebody else's density, without a dimension."""
    return SimpleNamespace(log_density=lambda x: -np.abs(x).sum(axis=1))


PRIORS = {
    "mlp": make_mlp,
    "mlp on a reference": lambda dim: make_mlp(dim, gaussian(dim)),
    "maximum entropy": make_max_entropy,
    "gaussianised": make_gaussianised,
    "gaussian": gaussian,
    "mixture": lambda dim: fastcl.GaussianMixture(
        [0.4, 0.6], [np.zeros(dim), np.ones(dim)], [np.eye(dim) / 9] * 2
    ),
    "scale mixtures": lambda dim: fastcl.MixtureOfScaleMixtures(
        [np.eye(dim)], [1.0, 2.0], [[1.0, 2.0]]
    ),
    "box": lambda dim: fastcl.Box(
        -np.ones(dim), np.full(dim, 0.5)
    ),  # zero in a part of the picture
    "duck": make_duck,
}


def make_box(dim):
    return fastcl.Box(-1.5 - np.arange(dim), 1.0 + np.arange(dim))


def energy_of(prior, x):
    return prior.energy(x) if hasattr(prior, "energy") else -prior.log_density(x)


def labels(axes):
    return axes.get_xlabel(), axes.get_ylabel()


def colour_bar(axes):
    (bar,) = (panel for panel in axes.figure.axes if panel.get_label() == "<colorbar>")
    return bar


# ---- densities and energies -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PRIORS)
def test_a_density_in_the_plane_has_mass_one(name):
    prior, box = PRIORS[name](2), make_box(2)
    axes = plot_density(prior, box, points_per_axis=K, title="t", unit="mm")
    (image,) = axes.images
    x, cell = midpoints(box.low, box.high, K)
    density = np.exp(prior.log_density(x))
    np.testing.assert_allclose(
        image.get_array(), (density / (density.sum() * cell)).reshape(K, K).T, rtol=1e-10
    )
    assert (image.origin, image.get_extent()) == ("lower", [-1.5, 1.0, -2.5, 2.0])
    assert (axes.get_xlim(), axes.get_ylim(), axes.get_title()) == ((-1.5, 1.0), (-2.5, 2.0), "t")
    assert labels(axes) == ("$x_{1}$, mm", "$x_{2}$, mm")
    assert colour_bar(axes).get_ylabel() == "density, 1 / mm²"
    assert (image.norm.vmin, image.norm.vmax) == (0, image.get_array().max())
    assert len(axes.get_xticks()) > 2


@pytest.mark.parametrize("name", PRIORS)
def test_an_energy_in_the_plane_is_drawn_as_it_is(name):
    prior, box = PRIORS[name](2), make_box(2)
    axes = plot_energy(prior, box, points_per_axis=K, span=3.0)
    (image,) = axes.images
    energy = energy_of(prior, midpoints(box.low, box.high, K)[0]).reshape(K, K).T
    finite = np.isfinite(energy)
    np.testing.assert_allclose(image.get_array()[finite], energy[finite], rtol=1e-12)
    least, highest = image.norm.vmin, image.norm.vmax
    assert least == energy.min()
    spread = energy[finite].max() - least
    assert highest == pytest.approx(least + (min(spread, 3.0) or 1.0))
    if np.isinf(energy).any():  # off the scale, so of its last colour
        assert to_hex(image.cmap(image.norm(image.get_array()))[~finite][0]) == to_hex(
            image.cmap(1.0)
        )
    words = "energy $R(x)$, nats" if hasattr(prior, "energy") else "minus log-density, nats"
    assert colour_bar(axes).get_ylabel() == words


@pytest.mark.parametrize("name", PRIORS)
def test_a_line_is_a_curve(name):
    prior, box = PRIORS[name](1), make_box(1)
    x, cell = midpoints(box.low, box.high, K)
    axes = plot_density(prior, box, points_per_axis=K)
    (curve,) = axes.lines
    density = np.exp(prior.log_density(x))
    np.testing.assert_allclose(curve.get_xdata(), x[:, 0])
    np.testing.assert_allclose(curve.get_ydata(), density / (density.sum() * cell), rtol=1e-10)
    assert (axes.get_xlim(), axes.get_ylim()[0], labels(axes)) == (
        (-1.5, 1.0),
        0,
        ("$x_{1}$", "density"),
    )
    (curve,) = plot_energy(prior, box, points_per_axis=K).lines
    np.testing.assert_array_equal(curve.get_ydata(), energy_of(prior, x))


def test_level_lines_lie_where_the_energy_has_their_levels():
    q = fastcl.Gaussian([0.0, 0.0], np.eye(2))
    axes = plot_energy(q, fastcl.Box([-3, -2], [3, 2]), points_per_axis=200)
    (lines,) = axes.collections
    assert len(lines.levels) > 3
    for level, path in zip(lines.levels, lines.get_paths(), strict=True):
        # Linear interpolation over a cell of 0.03 where the second derivative is 1: off by a few 1e-4 at most.
        np.testing.assert_allclose(-q.log_density(path.vertices), level, atol=1e-3)


def test_an_axis_of_energy_ends_a_span_above_the_least():
    axes = plot_energy(gaussian(1), fastcl.Box([-50], [50]), span=10.0)
    least = axes.lines[0].get_ydata().min()
    assert axes.get_ylim() == pytest.approx((least - 0.5, least + 10.5))


@pytest.mark.parametrize("dim", [3, 5])
@pytest.mark.parametrize("coordinates", [(2, 0), (1,), None])
def test_a_cut_leaves_the_other_coordinates_at_the_centre(dim, coordinates):
    prior, box = make_mlp(dim), make_box(dim)
    points = np.random.default_rng(0).uniform(-1, 1, (20, dim))
    chosen = list(coordinates or (0, 1))
    face, cell = midpoints(box.low[chosen], box.high[chosen], K)
    x = np.tile((box.low + box.high) / 2, (len(face), 1))
    x[:, chosen] = face
    density = np.exp(prior.log_density(x) - prior.log_density(x).max())
    density = (density / (density.sum() * cell)).reshape((K,) * len(chosen))
    axes = plot_density(prior, box, points, coordinates=coordinates, points_per_axis=K)
    energies = plot_energy(prior, box, coordinates=coordinates, points_per_axis=K)
    if len(chosen) == 1:
        curve, marks = axes.lines
        np.testing.assert_allclose(curve.get_ydata(), density, rtol=1e-10)
        np.testing.assert_array_equal(energies.lines[0].get_ydata(), prior.energy(x))
        np.testing.assert_array_equal(marks.get_xdata(), points[:, 1])
        assert axes.get_ylabel() == "conditional density"
        assert not axes.patches  # a histogram of all points is no conditional density
    else:
        np.testing.assert_allclose(axes.images[0].get_array(), density.T, rtol=1e-10)
        np.testing.assert_array_equal(
            energies.images[0].get_array(), prior.energy(x).reshape(K, K).T
        )
        np.testing.assert_array_equal(axes.lines[0].get_xydata(), points[:, chosen])
        assert colour_bar(axes).get_ylabel() == "conditional density"
        assert labels(axes) == tuple(f"$x_{{{i + 1}}}$" for i in chosen)


def test_points_on_a_line_are_a_histogram_of_mass_one():
    x = np.random.default_rng(0).standard_normal((5000, 1)).astype(np.float32)
    bars = plot_density(fastcl.Gaussian([0.0], [[1.0]]), points=x).patches
    mass = [bar.get_width() * bar.get_height() for bar in bars]
    assert sum(mass) == pytest.approx(1)
    counts = [((x >= bar.get_x()) & (x < bar.get_x() + bar.get_width())).mean() for bar in bars]
    np.testing.assert_allclose(mass, counts, atol=1e-3)  # a point on an edge may fall either way
    assert len(plot_energy(fastcl.Gaussian([0.0], [[1.0]]), points=x).lines[1].get_xdata()) == 5000


def test_the_default_box_surrounds_the_points_or_the_reference():
    points = np.array([[0.0, 1.0], [10.0, 3.0], [5.0, 3.0]])
    axes = plot_density(make_mlp(2), points=points, points_per_axis=K)
    assert (axes.get_xlim(), axes.get_ylim()) == ((-0.5, 10.5), pytest.approx((0.9, 3.1)))
    assert axes.get_aspect() == "auto"  # a strip of equal units would be too thin
    assert plot_density(make_mlp(1), points=np.full((3, 1), 2.0)).get_xlim() == (1.0, 3.0)
    for prior in (gaussian(2), make_mlp(2, gaussian(2))):
        axes = plot_density(prior, points_per_axis=K)
        reach = 4 * np.sqrt(1.2)
        # The deviation of 4096 points has a relative standard error of 1 / sqrt(8192).
        np.testing.assert_allclose(axes.get_xlim(), (-reach, reach), rtol=0.05)
        np.testing.assert_allclose(axes.get_ylim(), (0.25 - reach, 0.25 + reach), rtol=0.07)
        assert axes.get_aspect() == 1
    assert plot_density(fastcl.Box([-1.0], [2.0])).get_xlim() == (-1.0, 2.0)


def test_a_density_of_any_size_is_drawn():
    for log_scale in (-1e4, 1e4):  # beyond what exp() can hold
        prior, box = make_mlp(1), make_box(1)
        prior.log_scale = log_scale
        curve = plot_density(prior, box, points_per_axis=K).lines[0].get_ydata()
        assert curve.mean() * box.volume == pytest.approx(1)


def test_given_axes_are_drawn_into():
    figure, ((left, right),) = new_figure(1, 2)
    assert plot_density(gaussian(2), axes=left, points_per_axis=K) is left
    assert plot_energy(gaussian(1), axes=right, points_per_axis=K) is right
    assert left.figure is right.figure is figure


@pytest.mark.parametrize("plot", [plot_density, plot_energy])
@pytest.mark.parametrize(
    ("error", "words", "prior", "settings"),
    [
        (TypeError, "prior must have a method log_density", object(), {}),
        (ValueError, "box is needed", make_mlp(2), {}),
        (TypeError, r"box must be a fastcl\.Box", make_mlp(2), {"box": [-1, 1]}),
        (ValueError, "box has dimension 3, the prior 2", make_mlp(2), {"box": make_box(3)}),
        (ValueError, "points must have 2 columns", make_mlp(2), {"points": np.zeros((4, 3))}),
        (ValueError, "points holds NaN", make_mlp(2), {"points": np.full((4, 2), np.nan)}),
        (ValueError, "coordinates must be one or two", gaussian(3), {"coordinates": (0, 1, 2)}),
        (ValueError, "coordinates must be one or two", gaussian(3), {"coordinates": 1}),
        (
            ValueError,
            "coordinates must be different and below 3",
            gaussian(3),
            {"coordinates": (1, 1)},
        ),
        (
            ValueError,
            "coordinates must be different and below 3",
            gaussian(3),
            {"coordinates": (0, 3)},
        ),
        (ValueError, "coordinates must be at least 0", gaussian(3), {"coordinates": (-1, 0)}),
        (TypeError, "points_per_axis must be an integer", gaussian(2), {"points_per_axis": 2.5}),
        (
            ValueError,
            "all over the box",
            fastcl.Box([0.0], [1.0]),
            {"box": fastcl.Box([2.0], [3.0])},
        ),
        (
            ValueError,
            "none of them NaN",
            SimpleNamespace(log_density=lambda x: x[:, 0] * np.nan),
            {"box": make_box(1)},
        ),
        (
            ValueError,
            "one number a point",
            SimpleNamespace(log_density=lambda x: x),
            {"box": make_box(2)},
        ),
        (TypeError, "axes must be matplotlib axes", gaussian(1), {"axes": "here"}),
        (ValueError, "axes must be one here, got 2", gaussian(1), {"axes": new_figure(1, 2)[1][0]}),
    ],
)
def test_what_cannot_be_drawn_is_refused(plot, error, words, prior, settings):
    with pytest.raises(error, match=words):
        plot(prior, **settings)


def test_bad_axes_are_refused_before_any_work():
    def log_density(x):
        raise AssertionError("evaluated")

    for plot in (plot_density, plot_energy):
        with pytest.raises(TypeError, match="axes must be matplotlib axes"):
            plot(SimpleNamespace(log_density=log_density), make_box(2), axes=3)


def test_a_constant_energy_has_no_level_lines():
    axes = plot_energy(fastcl.Box([0.0, 0.0], [1.0, 1.0]), points_per_axis=K)
    assert not axes.collections
    assert (axes.images[0].norm.vmin, axes.images[0].norm.vmax) == (0, 1)


def test_a_prior_on_a_device_is_drawn(device):
    prior, box, points = make_mlp(2), make_box(2), np.ones((3, 2))
    before = plot_energy(prior, box, points_per_axis=5).images[0].get_array()
    prior.theta = device.array(prior.theta)
    axes = plot_energy(prior, box, device.array(points), points_per_axis=5)
    np.testing.assert_array_equal(
        axes.images[0].get_array(), before
    )  # points on the host are the host's work
    np.testing.assert_array_equal(axes.lines[0].get_xydata(), points)


def test_span_is_above_zero():
    with pytest.raises(ValueError, match="span must be above zero"):
        plot_energy(gaussian(1), span=0.0)


# ---- histories --------------------------------------------------------------------------------------------------


def make_history(n=300, offset=0.0):
    rng = np.random.default_rng(0)
    value = np.exp(-np.arange(n) / 50) + offset + 0.1 * rng.standard_normal(n)
    return {
        "iteration": np.arange(n),
        "value": value,
        "gradient_norm": rng.uniform(1, 2, n),
        "seconds": np.linspace(0, 3, n) ** 2,
    }


@pytest.mark.parametrize(
    ("against", "words"), [("iteration", "iteration"), ("seconds", "seconds of learning")]
)
def test_a_history_is_drawn_with_its_running_median(against, words):
    history = make_history(offset=2.0)
    axes = plot_history(history, against=against, window=20)
    for panel, name, label in zip(
        axes, ("value", "gradient_norm"), ("estimate of $G$", "norm of the gradient"), strict=True
    ):
        raw, median = panel.lines
        np.testing.assert_array_equal(
            raw.get_xydata(), np.stack([history[against], history[name]], axis=1)
        )
        np.testing.assert_array_equal(median.get_xdata(), history[against])
        windows = np.lib.stride_tricks.sliding_window_view(history[name], 21)
        np.testing.assert_array_equal(median.get_ydata()[10:-10], np.median(windows, axis=1))
        for k in range(10):
            assert median.get_ydata()[k] == np.median(history[name][: 2 * k + 1])
            assert median.get_ydata()[-1 - k] == np.median(history[name][-11 - k :])
        assert (panel.get_yscale(), labels(panel)) == ("log", (words, label))
        assert [text.get_text() for text in panel.get_legend().get_texts()] == [
            "each step",
            "median of 21",
        ]


def test_negative_estimates_are_all_on_the_axis():
    history = make_history()
    negative = history["value"][history["value"] < 0]
    assert negative.size > 20
    value, norm = plot_history(history)
    assert (value.get_yscale(), norm.get_yscale()) == ("symlog", "log")
    value.figure.canvas.draw()
    low, high = value.get_ylim()
    assert low < history["value"].min() < history["value"].max() < high
    threshold = value.yaxis.get_transform().linthresh
    assert 1 / 4 < threshold / np.median(-negative) < 4  # the power of ten next to it
    assert np.log10(threshold) == pytest.approx(round(np.log10(threshold)))


def test_a_history_of_zeros_or_of_one_step_is_drawn():
    assert [
        panel.get_yscale()
        for panel in plot_history({"iteration": [0, 1], "value": [0, 0], "gradient_norm": [0, 0]})
    ] == [
        "linear",
        "linear",
    ]
    save = plot_history({"iteration": [0], "value": [-1.0], "gradient_norm": [1.0]})
    save[0].figure.canvas.draw()


@pytest.mark.parametrize(
    ("n", "window"), [(1, 1), (1, 9), (4, 9), (5, 9), (9, 9), (10, 9), (11, 9)]
)
def test_the_running_median_of_few_steps_takes_what_there_is(n, window):
    values = np.random.default_rng(n).uniform(1, 2, n)
    (panel,) = plot_history(
        {"iteration": range(n), "value": values, "gradient_norm": values},
        new_figure(1, 1)[1][0],
        window=window,
    )
    reach = [min(k, window // 2) for k in range(n)]  # backwards; as far forwards, or to the end
    expected = [
        np.median([values[i] for i in range(k - r, min(k + r, n - 1) + 1)])
        for k, r in enumerate(reach)
    ]
    np.testing.assert_array_equal(panel.lines[1].get_ydata(), expected)


def test_what_learn_returns_is_drawn():
    x = np.random.default_rng(0).uniform(-0.5, 0.5, (1000, 1))
    sk = fastcl.sketch(x, fastcl.draw_frequencies(20, dim=1, scale=0.3, rng=0))
    result = fastcl.learn(
        fastcl.MLPPrior(dim=1, widths=(4,), rng=0),
        sk,
        fastcl.Box([-1], [1]),
        n_points=32,
        n_iter=5,
        rng=0,
    )
    _, ((panel,),) = new_figure(1, 1)
    (drawn,) = plot_history(result, panel, "seconds")
    assert drawn is panel
    np.testing.assert_array_equal(panel.lines[0].get_ydata(), result.history["value"])


@pytest.mark.parametrize(
    ("error", "words", "change", "settings"),
    [
        (ValueError, "history lacks value", {"value": None}, {}),
        (ValueError, "history lacks seconds", {"seconds": None}, {"against": "seconds"}),
        (ValueError, r"history\['value'\] must have shape \(300,\)", {"value": np.ones(299)}, {}),
        (
            ValueError,
            r"history\['gradient_norm'\] holds NaN",
            {"gradient_norm": np.full(300, np.nan)},
            {},
        ),
        (
            ValueError,
            "history is empty",
            {name: [] for name in ("iteration", "value", "gradient_norm")},
            {},
        ),
        (ValueError, "against must be one of", {}, {"against": "epoch"}),
        (ValueError, "window must be at least 1", {}, {"window": 0}),
        (ValueError, "axes must be one or two here, got 3", {}, {"axes": new_figure(1, 3)[1][0]}),
    ],
)
def test_a_bad_history_is_refused(error, words, change, settings):
    history = {
        name: column for name, column in (make_history() | change).items() if column is not None
    }
    with pytest.raises(error, match=words):
        plot_history(history, **settings)


def test_a_history_is_a_dict():
    with pytest.raises(TypeError, match="history must be a LearnResult or a dict"):
        plot_history([1.0, 2.0])


# ---- frequencies ------------------------------------------------------------------------------------------------


def make_frequencies(dim, structure):
    return fastcl.draw_frequencies(64, dim, 1.0, rng=0, structure=structure)


@pytest.mark.parametrize(
    ("dim", "structure"),
    [(1, None), (2, None), (2, "harmonic"), (3, "harmonic"), (20, None), (40, "hadamard")],
)
def test_moduli_are_drawn_against_radii(dim, structure):
    omega = make_frequencies(dim, structure)
    sk = fastcl.sketch(np.random.default_rng(1).standard_normal((400, dim)), omega)
    axes = plot_frequencies(sk, unit="px")
    assert len(axes) == (2 if dim == 2 else 1)
    dots, floor = axes[0].lines
    radii, moduli = np.sqrt((np.asarray(omega) ** 2).sum(axis=1)), np.abs(sk.values)
    np.testing.assert_allclose(dots.get_xydata(), np.stack([radii, moduli], axis=1))
    assert set(floor.get_ydata()) == {1 / 20}
    assert (axes[0].get_yscale(), axes[0].get_xlim()[0]) == ("log", 0)
    low, high = axes[0].get_ylim()
    assert low < min(1 / 20, max(moduli.min(), 1 / 2000))
    assert high > 1
    assert labels(axes[0]) == ("radius of the frequency, rad / px", "modulus $|z|$")


@pytest.mark.parametrize("structure", [None, "harmonic", "seeded"])
def test_planar_frequencies_are_coloured_by_their_moduli(structure):
    omega = make_frequencies(2, structure)
    sk = fastcl.sketch(2 * np.random.default_rng(1).standard_normal((400, 2)), omega)
    _, plane = plot_frequencies(sk)
    (dots,) = plane.collections
    drawn = np.column_stack([dots.get_offsets(), dots.get_array()])
    expected = np.column_stack([np.asarray(omega), np.abs(sk.values)])
    np.testing.assert_allclose(drawn, expected[np.argsort(expected[:, 2])])
    assert isinstance(dots.norm, LogNorm)
    assert (dots.norm.vmin, dots.norm.vmax) == (pytest.approx(1 / 20), 1)
    below = dots.get_array() < 1 / 20
    assert 0 < below.sum() < below.size
    colours = dots.cmap(dots.norm(dots.get_array()))
    assert {to_hex(colour) for colour in colours[below]} == {to_hex("lightgrey")}
    assert plane.get_aspect() == 1
    reach = np.abs(np.asarray(omega)).max()
    assert plane.get_xlim()[1] > reach
    assert plane.get_ylim()[0] < -reach
    assert labels(plane) == (r"$\omega_1$, rad / unit of x", r"$\omega_2$, rad / unit of x")


@pytest.mark.parametrize(
    ("dim", "structure"), [(1, None), (2, "harmonic"), (2, None), (40, "hadamard")]
)
def test_frequencies_alone_are_counted_by_radius(dim, structure):
    omega = make_frequencies(dim, structure)
    axes = plot_frequencies(omega)
    radii = np.linalg.norm(np.asarray(omega), axis=1)
    bars = axes[0].patches
    edges = [bar.get_x() for bar in bars] + [bars[-1].get_x() + bars[-1].get_width()]
    assert (min(edges), max(edges)) == pytest.approx((radii.min(), radii.max()))
    np.testing.assert_array_equal(
        [bar.get_height() for bar in bars], np.histogram(radii, len(bars))[0]
    )
    if dim == 2:
        np.testing.assert_array_equal(axes[1].lines[0].get_xydata(), np.asarray(omega))


def test_a_sketch_of_one_point_or_of_frequency_zero_is_drawn():
    # Of one point the floor is 1, as is every modulus.
    for sk in (
        fastcl.sketch(np.zeros((1, 2)), np.ones((3, 2))),
        fastcl.sketch(np.ones((4, 2)), np.zeros((1, 2))),
    ):
        plot_frequencies(sk)[0].figure.canvas.draw()


def test_one_axes_takes_the_radii_alone():
    _, ((panel,),) = new_figure(1, 1)
    (drawn,) = plot_frequencies(fastcl.sketch(np.zeros((1, 2)), np.ones((3, 2))), panel)
    assert drawn is panel


@pytest.mark.parametrize(
    ("error", "words", "sketch", "count"),
    [
        (ValueError, "the sketch is empty", fastcl.Sketch(np.ones((3, 2))), None),
        (ValueError, "omega must be 2-D", np.ones(3), None),
        (TypeError, "omega must hold numbers", "spiral.npz", None),
        (ValueError, "omega holds NaN", np.full((3, 2), np.nan), None),
        (ValueError, "axes must be one here, got 2", np.ones((3, 4)), 2),
        (ValueError, "axes must be one or two here, got 3", np.ones((3, 2)), 3),
    ],
)
def test_bad_frequencies_are_refused(error, words, sketch, count):
    with pytest.raises(error, match=words):
        plot_frequencies(sketch, None if count is None else new_figure(1, count)[1][0])


# ---- what all share ---------------------------------------------------------------------------------------------


def test_no_label_leaves_the_picture():
    sk = fastcl.sketch(gaussian(2).sample(100, 0), make_frequencies(2, None))
    wide = fastcl.Box([-6.0, -2.0], [6.0, 2.0])
    pictures = [
        plot_density(gaussian(2), box=wide, points_per_axis=K, unit="mm"),
        plot_energy(gaussian(2), points_per_axis=K),
    ]
    for axes in [*pictures, plot_history(make_history())[0], plot_frequencies(sk)[0]]:
        canvas = axes.figure.canvas
        canvas.draw()
        width, height = axes.figure.bbox.size
        for panel in axes.figure.axes:
            box = panel.get_tightbbox(canvas.get_renderer())
            assert min(box.x0, box.y0, width - box.x1, height - box.y1) >= -1  # pixels


def test_pictures_are_written(tmp_path):
    save_figure(plot_energy(gaussian(2), points_per_axis=K).figure, tmp_path / "energy.png")
    assert (tmp_path / "energy.png").read_bytes()[:4] == b"\x89PNG"
    assert [file.name for file in tmp_path.iterdir()] == ["energy.png"]


CHILD = """
import sys
import numpy as np, fastcl
from fastcl.plots import plot_density, plot_frequencies
plot_density(fastcl.Gaussian([0.0, 0.0], np.eye(2)), points_per_axis=20)
plot_frequencies(np.ones((3, 2)))
print("matplotlib.pyplot" in sys.modules)
for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
    del sys.modules[name]
sys.modules["matplotlib"] = None
for call in (lambda: plot_density(fastcl.Gaussian([0.0], [[1.0]])), lambda: plot_frequencies(np.ones((3, 2)))):
    try:
        call()
    except ImportError as error:
        print(error)
"""


def test_pyplot_is_left_alone_and_a_missing_matplotlib_is_named():
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", CHILD], capture_output=True, text=True, timeout=120
    )
    assert (done.stdout, done.stderr) == (
        "False\n" + 2 * 'pictures need matplotlib: pip install "fastcl[demo]"\n',
        "",
    )
