"""Densities and energies: data, limits and labels of the artists, against values computed here."""

from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("matplotlib")
from matplotlib.colors import to_hex
from problems import midpoints

import fastcl
from fastcl.plots import new_figure, plot_density, plot_energy

K = 40  # cells per axis


def gaussian(dim):
    return fastcl.Gaussian(np.arange(dim) / 4.0, np.eye(dim) + 0.2)


def make_mlp(dim, reference=None):
    prior = fastcl.MLPPrior(dim, (8,), rng=1, reference=reference)
    prior.log_scale = 3.0  # must not show in a picture
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
    """A density from elsewhere, without a dimension."""
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
    "box": lambda dim: fastcl.Box(-np.ones(dim), np.full(dim, 0.5)),  # zero in part of the picture
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
        # Linear interpolation over cells of 0.03, second derivative 1: off by a few 1e-4 at most.
        np.testing.assert_allclose(-q.log_density(path.vertices), level, atol=1e-3)


def test_an_axis_of_energy_ends_a_span_above_the_least():
    axes = plot_energy(gaussian(1), fastcl.Box([-50], [50]), span=10.0)
    least = axes.lines[0].get_ydata().min()
    assert axes.get_ylim() == pytest.approx((least - 0.5, least + 10.5))


@pytest.mark.parametrize("dim", [3, 5])
@pytest.mark.parametrize("coordinates", [(2, 0), (1,), None])
def test_a_slice_leaves_the_other_coordinates_at_the_centre(dim, coordinates):
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
        assert not axes.patches  # a histogram of all points is not a conditional density
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
        # The standard deviation of 4096 points has relative standard error 1 / sqrt(8192).
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
            "one number per point",
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
