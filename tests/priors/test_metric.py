"""The whitened metric: covariances against Monte Carlo, the inverse against dense algebra."""

import numpy as np
import pytest
from bounds import assert_within
from problems import COVARIANCE, features

import fastcl
from fastcl.priors.metric import _covariances, _inverse

EPS = np.finfo(float).eps
# Standard errors: a normal mean is farther off with probability 6e-7, one of 1500 with 1e-3.
N_ERRORS = 5
MEANS = [[-0.8, 0.3], [0.6, -0.2]]

SYMMETRIC = {
    "box off centre": fastcl.Box([-0.5, 1.0], [1.5, 1.75]),
    "box on a line": fastcl.Box([2.0], [3.5]),
    "gaussian off centre": fastcl.Gaussian([0.7, -1.5], COVARIANCE),
    "scales": fastcl.GaussianScaleMixture(COVARIANCE, [0.4, 1.0, 1.6], [0.5, 0.3, 0.2]),
    "crossed scales": fastcl.MixtureOfScaleMixtures(
        [COVARIANCE, np.diag([0.1, 0.9])], [0.5, 1.5], [[1.0, 2.0], [3.0, 1.0]]
    ),
    "one mean": fastcl.GaussianMixture(
        [1.0, 2.0], [[0.3, 0.9]] * 2, [COVARIANCE, np.diag([0.1, 0.4])]
    ),
}
ASYMMETRIC = {
    "mixture": fastcl.GaussianMixture([2.0, 1.0], MEANS, [COVARIANCE, np.diag([0.1, 0.4])]),
    "mixture on a line": fastcl.GaussianMixture([1.0, 3.0], [[-1.0], [1.4]], [[[0.2]], [[0.5]]]),
}
DOMAINS = SYMMETRIC | ASYMMETRIC


def frequencies(domain, m=15):
    """m frequencies of about a radian per unit, none the opposite of another."""
    return np.random.default_rng([m, domain.dim]).standard_normal((m, domain.dim)) * 1.5


def closed_form(name, omega):
    """The covariance (2m, 2m) of (real, imaginary) parts of the centred features."""
    domain = DOMAINS[name]
    here = domain.sketch(omega) * np.exp(1j * omega @ domain.centre)
    parts = _covariances(omega, domain, here)
    if len(parts) == 1:
        return parts[0]
    zero = np.zeros_like(parts[0])
    return np.block([[parts[0], zero], [zero, parts[1]]])


def dense_covariance(domain, omega):
    """The covariance (2m, 2m) of the (real, imaginary) parts of exp(-i <omega, x>).

    The domain is not centred; every pair of features comes from sketches at two frequencies.
    """
    m = len(omega)
    out = np.empty((2 * m, 2 * m))
    z = domain.sketch(omega)
    for l in range(m):  # noqa: E741
        # E[e_l e_k] and E[conj(e_l) e_k]
        plain = domain.sketch(omega + omega[l])
        mixed = domain.sketch(omega - omega[l])
        out[l, :m] = (mixed + plain).real / 2 - z[l].real * z.real
        out[l, m:] = (mixed + plain).imag / 2 - z[l].real * z.imag
        out[m + l, :m] = (plain - mixed).imag / 2 - z[l].imag * z.real
        out[m + l, m:] = (mixed - plain).real / 2 - z[l].imag * z.imag
    return out


def spectrum(m, condition, seed=0):
    """(A symmetric matrix (m, m) with eigenvalues from 1 / condition to 1, its inverse).

    Both are diagonal matrices under the same two reflections.
    """
    values = np.geomspace(1 / condition, 1, m) if m > 1 else np.full(1, 1 / condition)
    a, inverse = np.diag(values), np.diag(1 / values)
    for v in np.random.default_rng(seed).standard_normal((2, m)):
        v /= np.linalg.norm(v)
        for b in (a, inverse):
            b -= 2 * np.outer(v, v @ b)
            b -= 2 * np.outer(b @ v, v)
    return (a + a.T) / 2, (inverse + inverse.T) / 2


# ---- covariances ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DOMAINS)
def test_covariance_agrees_with_that_of_a_sample(name):
    domain, n = DOMAINS[name], 20_000
    omega = frequencies(domain)
    x = domain.sample(n, rng=1) - domain.centre
    sample = features(x, omega)
    parts = np.concatenate([sample.real, sample.imag], axis=1)
    centred = parts - parts.mean(axis=0)
    estimate = centred.T @ centred / n
    error = np.sqrt(np.maximum((centred**2).T @ centred**2 / n - estimate**2, 0) / n)
    # Centring at the sample mean shifts a covariance by the product of two standard errors, at most
    # 1 / n.
    assert_within(closed_form(name, omega), estimate, N_ERRORS * error + 1 / n)
    assert error.max() < 0.01


@pytest.mark.parametrize("name", DOMAINS)
def test_symmetric_domains_have_two_blocks_and_others_one(name):
    domain = DOMAINS[name]
    blocks = _covariances(frequencies(domain), domain, domain.sketch(frequencies(domain)))
    assert [len(block) for block in blocks] == ([15, 15] if name in SYMMETRIC else [30])


@pytest.mark.parametrize("name", DOMAINS)
def test_pair_sketches_are_sketches_at_differences_and_sums(name):
    domain = DOMAINS[name]
    omega = frequencies(domain)
    minus, plus = domain.pair_sketches(omega)
    for found, pairs in [(minus, omega[:, None] - omega), (plus, omega[:, None] + omega)]:
        flat = pairs.reshape(-1, domain.dim)
        expected = domain.sketch(flat) * np.exp(1j * flat @ domain.centre)
        # A few terms with phases up to a hundred; they nearly cancel if the frequencies are close.
        np.testing.assert_allclose(found.ravel(), expected, rtol=0, atol=1000 * EPS)


def test_component_means_that_differ_by_little_are_not_taken_as_equal():
    # The cross-covariance of means 1e-3 standard deviations apart is far above rounding.
    near = fastcl.GaussianMixture([1.0, 2.0], [[0.0], [1e-3]], [[[1.0]], [[0.5]]])
    assert np.iscomplexobj(near.pair_sketches(np.array([[1.0], [2.0], [0.5]]))[0])


# ---- the inverse ---------------------------------------------------------------------------------


@pytest.mark.parametrize("m", [1, 63, 64, 65, 200, 700])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_inverse_agrees_with_numpy(m, dtype):
    condition = 1e4
    a, known = spectrum(m, condition)
    found = _inverse(a.copy(), dtype)
    assert found.dtype == dtype
    # Errors relative to the norm of the inverse: condition times m float64 roundings for the
    # factorisation and two triangular products, and at most m eps for the factors rounded to dtype
    # and their product over m terms.
    relative = m * (3 * condition * EPS + np.finfo(dtype).eps)
    for expected in (np.linalg.inv(a), known):
        assert np.linalg.norm(found - expected) <= relative * condition
    # The product with a shows the errors along the small eigenvalues as well.
    assert np.linalg.norm(a @ found - np.eye(m)) <= relative * condition


# ---- the metric ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DOMAINS)
@pytest.mark.parametrize("ridge", [0.01, 1.0])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_apply_agrees_with_a_dense_solve(name, ridge, dtype):
    domain = DOMAINS[name]
    omega = frequencies(domain)
    metric = fastcl.WhitenedMetric(omega, domain, ridge, dtype)
    rng = np.random.default_rng(2)
    residual = rng.standard_normal(15) + 1j * rng.standard_normal(15)
    dense = dense_covariance(domain, omega) + ridge * np.eye(30)
    expected = np.linalg.solve(dense, np.concatenate([residual.real, residual.imag]))
    found = metric.apply(residual)
    assert found.dtype == np.complex128
    assert found.shape == (15,)
    # The inverse has an error of 30 eps times its norm, at most 1 / ridge; so does the product. The
    # covariance is accurate to 1000 EPS.
    tolerance = np.linalg.norm(residual) / ridge * (60 * np.finfo(dtype).eps + 1000 * EPS / ridge)
    assert np.abs(np.concatenate([found.real, found.imag]) - expected).max() <= tolerance
    assert tolerance < 1e-3 * np.linalg.norm(expected)


@pytest.mark.parametrize("name", DOMAINS)
def test_metric_is_self_adjoint_and_positive(name):
    domain = DOMAINS[name]
    metric = fastcl.WhitenedMetric(frequencies(domain), domain, ridge=0.05, dtype=np.float64)
    rng = np.random.default_rng(3)
    a, b = rng.standard_normal((2, 15)) + 1j * rng.standard_normal((2, 15))
    left = np.vdot(a, metric.apply(b)).real
    right = np.vdot(metric.apply(a), b).real
    size = np.linalg.norm(a) * np.linalg.norm(b) / metric.ridge
    assert abs(left - right) <= 100 * EPS * size
    assert abs(left) > 1e6 * EPS * size
    # The covariance of 30 parts of variance at most 1 has eigenvalues between 0 and 30.
    for r in (a, b, 1j * a):
        square = (np.abs(r) ** 2).sum()
        value = np.vdot(r, metric.apply(r)).real
        assert square / (30 + metric.ridge) <= value <= square / metric.ridge


@pytest.mark.parametrize("name", DOMAINS)
def test_metric_is_linear_over_the_reals(name):
    domain = DOMAINS[name]
    metric = fastcl.WhitenedMetric(frequencies(domain), domain, dtype=np.float64)
    rng = np.random.default_rng(4)
    a, b = rng.standard_normal((2, 15)) + 1j * rng.standard_normal((2, 15))
    found = metric.apply(2 * a - 3 * b)
    expected = 2 * metric.apply(a) - 3 * metric.apply(b)
    tolerance = 100 * EPS * 5 * np.linalg.norm(a + b) / metric.ridge
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)


def test_large_ridge_gives_the_plain_metric():
    domain = ASYMMETRIC["mixture"]
    metric = fastcl.WhitenedMetric(frequencies(domain), domain, ridge=1e8, dtype=np.float64)
    residual = np.arange(15) + 1j * np.arange(15)[::-1]
    # (Sigma + ridge I)^-1 = (1 - Sigma / ridge + ...) / ridge, and Sigma is below 30.
    tolerance = 30e-8 * np.linalg.norm(residual)
    np.testing.assert_allclose(1e8 * metric.apply(residual), residual, rtol=0, atol=tolerance)


def test_a_shift_of_the_domain_rotates_the_metric():
    # exp(-i <omega, x + shift>) is a rotation of every feature.
    domain = ASYMMETRIC["mixture"]
    omega = frequencies(domain)
    shift = np.array([3.0, -7.0])
    covariances = [COVARIANCE, np.diag([0.1, 0.4])]
    shifted = fastcl.GaussianMixture([2.0, 1.0], np.array(MEANS) + shift, covariances)
    metric, shifted_metric = (
        fastcl.WhitenedMetric(omega, each, 0.1, np.float64) for each in (domain, shifted)
    )
    residual = np.arange(15) - 4j
    rotation = np.exp(-1j * omega @ shift)
    found = shifted_metric.apply(rotation * residual)
    expected = rotation * metric.apply(residual)
    # Phases of tens of radians: a few hundred eps of numbers of size |residual| / ridge, times
    # 1 / ridge for those of the covariance.
    tolerance = 1e3 * EPS * np.linalg.norm(residual) / 0.1**2
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)


# ---- reproducibility -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["scales", "mixture"])
def test_same_arguments_give_bitwise_identical_results(name):
    domain = DOMAINS[name]
    omega = frequencies(domain, 129)
    residual = np.arange(129) * (1 + 0.5j)
    first, second = (fastcl.WhitenedMetric(omega, domain).apply(residual) for _ in range(2))
    np.testing.assert_array_equal(first, second)


# ---- bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize("ridge", [0, -0.1, np.nan, np.inf])
def test_ridge_must_be_above_zero(ridge):
    with pytest.raises(ValueError, match=r"^ridge "):
        fastcl.WhitenedMetric([[1.0]], fastcl.Gaussian([0.0], [[1.0]]), ridge=ridge)


@pytest.mark.parametrize("ridge", ["0.1", None, True])
def test_ridge_must_be_a_number(ridge):
    with pytest.raises(TypeError, match=r"^ridge "):
        fastcl.WhitenedMetric([[1.0]], fastcl.Gaussian([0.0], [[1.0]]), ridge=ridge)


@pytest.mark.parametrize("omega", [[[1.0, 2.0, 3.0]], [1.0], [[np.nan, 0.0]], np.zeros((0, 2))])
@pytest.mark.parametrize("name", ["box off centre", "scales", "mixture"])
def test_bad_frequencies_are_named(name, omega):
    with pytest.raises(ValueError, match=r"^omega "):
        fastcl.WhitenedMetric(omega, DOMAINS[name])
