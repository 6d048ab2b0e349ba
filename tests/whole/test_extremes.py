"""From finite input follow finite results, or one error that says what was out of range."""

import numpy as np
import pytest

import fastcl
from fastcl.priors.metric import WhitenedMetric

NORMAL = fastcl.Gaussian([0.0], [[1.0]])
MEASURES = {
    "normal": NORMAL,
    "mixture": fastcl.GaussianMixture([1, 1], [[-1], [1]], [[[1]], [[1]]]),
    "scale mixture": fastcl.GaussianScaleMixture([[1]], [1, 2], [1, 1]),
    "cross": fastcl.MixtureOfScaleMixtures([[[1]], [[2]]], [1, 2], np.ones((2, 2))),
}
SKETCH = fastcl.sketch([[1.0]], [[1.0], [2.0]])
UNIT = "change the unit of the data"


class Steep(fastcl.Prior):
    dim = 1

    def __init__(self, slope):
        self.slope = slope

    def energy_and_grad(self, x):
        return self.slope * np.abs(x[:, 0]), self.slope * np.sign(x)


def assert_finite(results):
    for result in results if isinstance(results, (list, tuple)) else [results]:
        assert np.isfinite(result).all()


@pytest.mark.parametrize("structure", [None, "harmonic", "hadamard", "seeded"])
@pytest.mark.parametrize("scale", [1e-320, 1e-200, 1e-40, 1e-17, 1e17, 1e40, 1e200, 1e308])
def test_frequencies_are_finite_and_not_zero_or_refused(structure, scale):
    limit = 1e18 if structure == "seeded" else 1e150
    if 1 / limit <= scale <= limit:
        omega = np.asarray(fastcl.draw_frequencies(8, 2, scale, rng=0, structure=structure))
        assert np.isfinite(omega).all()
        assert omega.any(axis=1).all()
        return
    with pytest.raises(ValueError, match=f"scale must be from .* {UNIT}"):
        fastcl.draw_frequencies(8, 2, scale, rng=0, structure=structure)


@pytest.mark.parametrize("of", ["finest", "clusters"])
@pytest.mark.parametrize("unit", [2.0**-1000, 2.0**-70, 2.0**70, 2.0**1000])
def test_the_estimated_scale_has_the_unit_of_the_data(unit, of):
    x = 0.1 * np.random.default_rng(0).standard_normal((2000, 2))
    expected = unit * fastcl.estimate_scale(x, rng=0, of=of)
    assert fastcl.estimate_scale(unit * x, rng=0, of=of) == expected


@pytest.mark.parametrize("x", [[[1.0]], [[1.0], [1.0]], [[1e308], [1e308]]])
def test_points_without_spread_have_no_scale(x):
    with pytest.raises(ValueError, match="x has no spread"):
        fastcl.estimate_scale(x, rng=0)


@pytest.mark.parametrize(
    ("low", "high", "message"),
    [
        ([-1e308], [1e308], "high - low must be"),
        ([0.0], [1e-320], "high - low must be"),
        ([1e200], [2e200], "high - low must be"),
    ],
)
def test_boxes_that_overflow_are_refused(low, high, message):
    with pytest.raises(ValueError, match=f"{message} .* {UNIT}"):
        fastcl.Box(low, high)


@pytest.mark.parametrize("side", [1e-2, 1e5])
def test_a_box_whose_volume_overflows_has_a_density(side):
    box = fastcl.Box(np.zeros(400), np.full(400, side))
    np.testing.assert_allclose(box.log_density(box.centre), -400 * np.log(side))
    with pytest.raises(ValueError, match=f"volume of the box .* {UNIT}"):
        box.volume  # noqa: B018


@pytest.mark.parametrize(("low", "high"), [(1e8, 1e8 + 1), (0.0, 1e-60), (0.0, 1e60)])
def test_a_box_that_vanishes_or_overflows_in_single_precision_gives_no_points(low, high):
    box = fastcl.Box([low], [high])
    assert len(np.unique(box.sample(9, 0))) == 9
    with pytest.raises(ValueError, match="corners of the box coincide or overflow in float32"):
        box.sample(9, 0, np.float32)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1.0], [[0.0]], [[[1e-320]]]), "standard deviations must be"),
        (([1.0], [[0.0]], [[[1e308]]]), "standard deviations must be"),
        (([1.0], [[1e308]], [[[1.0]]]), "magnitudes of means must be"),
        (([1e308, 1e308], [[0.0], [1.0]], [[[1.0]]] * 2), "the sum of weights overflows"),
    ],
)
def test_mixtures_that_overflow_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        fastcl.GaussianMixture(*arguments)


@pytest.mark.parametrize("scales", [[1e-200], [1e200], [1.0, 1e160]])
def test_scales_that_overflow_are_refused(scales):
    with pytest.raises(ValueError, match="scales must be from"):
        fastcl.GaussianScaleMixture([[1.0]], scales, np.ones(len(scales)))


@pytest.mark.parametrize(
    ("size", "dtype"),
    [
        (1e17, np.float32),
        (1e30, np.float32),
        (1e17, np.float64),
        (1e30, np.float64),
        (1e160, np.float64),
        (1.7e308, np.float64),
    ],
)
@pytest.mark.parametrize("name", MEASURES)
def test_points_far_out_give_finite_values_or_an_error(name, size, dtype):
    q, y = MEASURES[name], np.array([[size], [1.0]], dtype)
    calls = [
        q.log_density,
        q.log_density_grad,
        q.energy_parts,
        lambda y: q.posterior_mean(y, np.ones(1)),
        lambda y: fastcl.denoise(q, y, 1.0),
        lambda y: fastcl.denoise(q, y, 1.0, estimator="mean"),
    ]
    if name == "scale mixture":
        calls += [q.gaussianise, q.degaussianise, lambda y: q.pull_back(y, y)]
    for call in calls:
        try:
            result = call(y)
        except ValueError as error:
            assert UNIT in str(error) or "too far" in str(error)  # noqa: PT017
        else:
            assert_finite(result)


@pytest.mark.parametrize("sigma", [1e-320, 1e-160, 1e160, 1e308])
@pytest.mark.parametrize("name", MEASURES)
def test_noise_whose_square_overflows_is_refused(name, sigma):
    for estimator in ("map", "mean"):
        with pytest.raises(ValueError, match=f"sigma must be from .* {UNIT}"):
            fastcl.denoise(MEASURES[name], [[1.0]], sigma, estimator=estimator)
    with pytest.raises(ValueError, match="sigma must be from 1e-18 to 1e"):
        fastcl.denoise(MEASURES[name], np.ones((1, 1), np.float32), 1e-20)


@pytest.mark.parametrize("size", [1e160, 1e308])
@pytest.mark.parametrize("name", MEASURES)
def test_frequencies_whose_phases_overflow_are_refused(name, size):
    q, omega = MEASURES[name], np.array([[size], [-size]])
    for call in (
        q.sketch,
        q.pair_sketches,
        lambda omega: WhitenedMetric(omega, q).apply(np.ones(2)),
    ):
        try:
            result = call(omega)
        except ValueError as error:
            assert "omega is too large" in str(error)  # noqa: PT017
        else:
            assert_finite(result)


def test_single_precision_chains_need_lengths_that_it_can_square():
    for std in (1e-30, 1e30):
        q = fastcl.Gaussian([0.0], [[std**2]])
        sk = fastcl.sketch(q.sample(9, 0), [[1 / std]])
        with pytest.raises(ValueError, match="the spread of the Gaussian must be from 1e-18"):
            fastcl.max_entropy(sk, q, n_points=5, n_iter=1, rng=0)
        assert_finite(fastcl.Chains(q, 5, 0, np.float64).points)


@pytest.mark.parametrize("x", [np.full((3, 1), 1e-200), np.array([[1e200], [1.0]])])
def test_fits_of_points_that_overflow_are_refused(x):
    for make in (fastcl.GaussianScaleMixture, fastcl.MixtureOfScaleMixtures):
        with pytest.raises(ValueError, match=f"largest magnitude in x must be .* {UNIT}"):
            make.fit(x)


@pytest.mark.parametrize("x", [[[1.0]], [[1.0], [1.0]], [[1e-100], [3e-100]]])
def test_fits_of_few_points_are_finite(x):
    for q in (fastcl.GaussianScaleMixture.fit(x), fastcl.MixtureOfScaleMixtures.fit(x, 3, 2, 2)):
        assert_finite([q.weights, q.scales, q.log_density(x), q.sample(3, 0)])


def test_a_step_that_is_too_long_diverges_in_these_words():
    with pytest.raises(FloatingPointError, match="the coefficients diverged at step 0"):
        fastcl.max_entropy(SKETCH, NORMAL, step_size=1e300, n_points=9, n_iter=2, rng=0)
    with pytest.raises(ValueError, match="ridge is too small"):
        WhitenedMetric(np.ones((3, 1)), NORMAL, 1e-300)


@pytest.mark.parametrize("slope", [1e-300, 1.0, 1e15, 1e30])
def test_a_log_normaliser_of_any_slope_is_finite(slope):
    found = fastcl.log_normaliser(Steep(slope), fastcl.Box([-1.0], [1.0]), 256)
    assert_finite(found)
    assert found < np.log(2) + 0.01


def test_an_energy_that_is_not_finite_is_named_when_it_denoises():
    with pytest.raises(ValueError, match="the energy of the prior is not finite"):
        fastcl.denoise(Steep(np.nan), [[1.0]], 1.0, estimator="mean")


@pytest.mark.parametrize("n", [-1, 1.5, 2**70, "3", None])
def test_the_number_of_points_is_named(n):
    for q in (NORMAL, fastcl.Box([0.0], [1.0])):
        with pytest.raises((TypeError, ValueError), match=r"^n must be"):
            q.sample(n)
