"""Frequencies: magnitudes, radii and colours, against values computed here."""

import numpy as np
import pytest

pytest.importorskip("matplotlib")
from matplotlib.colors import LogNorm, to_hex

import fastcl
from fastcl.plots import new_figure, plot_frequencies


def labels(axes):
    return axes.get_xlabel(), axes.get_ylabel()


def make_frequencies(dim, structure):
    return fastcl.draw_frequencies(64, dim, 1.0, rng=0, structure=structure)


@pytest.mark.parametrize(
    ("dim", "structure"),
    [(1, None), (2, None), (2, "harmonic"), (3, "harmonic"), (20, None), (40, "hadamard")],
)
def test_magnitudes_are_drawn_against_radii(dim, structure):
    omega = make_frequencies(dim, structure)
    sk = fastcl.sketch(np.random.default_rng(1).standard_normal((400, dim)), omega)
    axes = plot_frequencies(sk, unit="px")
    assert len(axes) == (2 if dim == 2 else 1)
    dots, floor = axes[0].lines
    radii, magnitudes = np.sqrt((np.asarray(omega) ** 2).sum(axis=1)), np.abs(sk.values)
    np.testing.assert_allclose(dots.get_xydata(), np.stack([radii, magnitudes], axis=1))
    assert set(floor.get_ydata()) == {1 / 20}
    assert (axes[0].get_yscale(), axes[0].get_xlim()[0]) == ("log", 0)
    low, high = axes[0].get_ylim()
    assert low < min(1 / 20, max(magnitudes.min(), 1 / 2000))
    assert high > 1
    assert labels(axes[0]) == ("radius of the frequency, rad / px", "magnitude $|z|$")


@pytest.mark.parametrize("structure", [None, "harmonic", "seeded"])
def test_planar_frequencies_are_coloured_by_their_magnitudes(structure):
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
