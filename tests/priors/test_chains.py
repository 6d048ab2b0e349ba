"""Chains against the distributions that their steps preserve and closed forms; log-normalisers."""

import numpy as np
import pytest
from bounds import assert_within
from problems import COVARIANCE, line, midpoints
from scipy import stats

import fastcl
from fastcl.priors import chains as chains_module
from fastcl.priors.chains import draw_samples

N_ERRORS = 5  # standard errors
DOMAINS = {
    "box": fastcl.Box([-1.0, 0.5], [1.0, 1.25]),
    "gaussian": fastcl.Gaussian([0.3, -0.5], COVARIANCE),
    "mixture": fastcl.GaussianMixture(
        [2.0, 1.0], [[-0.8, 0.3], [0.6, -0.2]], [COVARIANCE, np.diag([0.1, 0.4])]
    ),
}


class Tilt(fastcl.Prior):
    """The density ``q exp(a + <b, x> - |x|^2 curvature / 2)`` with q standard normal.

    It has the attributes of a prior that `log_normaliser` and `draw_samples` use.
    """

    def __init__(self, b, curvature=0.0, log_scale=0.0):
        self.b = np.asarray(b, np.float64)
        self.curvature = curvature
        self.log_scale = log_scale
        self.reference = fastcl.Gaussian(np.zeros(len(self.b)), np.eye(len(self.b)))

    @property
    def dim(self):
        return self.b.size

    def energy(self, x):
        return self.curvature * (x**2).sum(axis=1) / 2 - x @ self.b.astype(x.dtype)

    def energy_and_grad(self, x):
        return self.energy(x), (self.curvature * x - self.b).astype(x.dtype)


class Quadratic:
    """The energy ``<x, P x> / 2 - <b, x>`` with its gradient; counts its calls."""

    def __init__(self, precision, b):
        self.precision = np.array(precision)
        self.b = np.array(b)
        self.calls = 0

    def energy_and_grad(self, x):
        self.calls += 1
        product = x @ self.precision
        energy = (product * x).sum(axis=1) / 2 - x @ self.b
        return energy.astype(x.dtype), (product - self.b).astype(x.dtype)

    def energy(self, x):
        return self.energy_and_grad(x)[0]


def no_energy(x):
    return np.zeros(len(x), x.dtype)


def assert_moments(points, expected, independent=1.0):
    """First and second moments agree up to N_ERRORS standard errors.

    `points` (n, d) count as `independent` n independent ones; `expected` (k, d) are independent.
    """
    for power in (lambda x: x, lambda x: x**2, lambda x: x[:, :1] * x):
        found = power(points.astype(np.float64))
        fresh = power(expected.astype(np.float64))
        variance = found.var(axis=0) / (independent * len(found)) + fresh.var(axis=0) / len(fresh)
        difference = found.mean(axis=0) - fresh.mean(axis=0)
        assert_within(difference, 0, N_ERRORS * np.sqrt(variance))


def correlation_with(start, chains):
    """Correlation of the first coordinates of the chains with those they started from."""
    return np.corrcoef(start[:, 0], chains.points[:, 0])[0, 1]


# ---- the steps -----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", DOMAINS)
def test_without_energy_the_points_keep_the_distribution_of_the_domain(name, dtype):
    chains = fastcl.Chains(DOMAINS[name], 4000, rng=0, dtype=dtype)
    start = chains.points
    for _ in range(60):
        chains.metropolis_step(no_energy)
    assert chains.points.dtype == dtype
    assert np.abs(correlation_with(start, chains)) < 0.2  # the points have moved far
    assert_moments(chains.points, DOMAINS[name].sample(200_000, rng=1))


@pytest.mark.parametrize("name", DOMAINS)
def test_chains_forget_a_wrong_start(name):
    # Chains that never move would pass the test above but for its correlation.
    chains = fastcl.Chains(DOMAINS[name], 2000, rng=0)
    chains.points[:] = DOMAINS[name].sample(1, rng=3)
    for _ in range(100):
        chains.metropolis_step(no_energy)
    assert_moments(chains.points, DOMAINS[name].sample(200_000, rng=1))


@pytest.mark.parametrize("step", [0.05, 0.7, 1.0])
@pytest.mark.parametrize("name", DOMAINS)
def test_proposals_are_in_detailed_balance(name, step):
    # Weighted by the probability of acceptance, (x, y) and (y, x) have the same distribution, so
    # f(x) - f(y) has mean zero.
    domain, rng = DOMAINS[name], np.random.default_rng(0)
    x = domain.sample(40_000, rng)
    y, log_ratio = domain.propose(x, step, rng)
    assert y.shape == x.shape
    assert y.dtype == x.dtype
    acceptance = np.minimum(1, np.exp(np.broadcast_to(log_ratio, len(x))))[:, None]
    for f in (lambda x: x, lambda x: x**2, lambda x: np.sin(5 * x)):
        flow = acceptance * (f(x) - f(y))
        assert_within(flow.mean(axis=0), 0, N_ERRORS * flow.std(axis=0) / np.sqrt(len(x)))


@pytest.mark.parametrize("name", ["gaussian", "mixture"])
def test_log_ratio_of_a_proposal_is_that_of_the_densities_or_zero_if_the_step_keeps_them(name):
    domain, rng = DOMAINS[name], np.random.default_rng(0)
    x = domain.sample(500, rng)
    y, log_ratio = domain.propose(x, 0.5, rng)
    # The proposal under a Gaussian is reversible with respect to it.
    expected = domain.log_density(y) - domain.log_density(x) if name == "mixture" else 0
    np.testing.assert_allclose(log_ratio, expected, rtol=0, atol=1e-12)


def test_a_full_step_under_a_gaussian_is_a_fresh_point():
    domain, rng = DOMAINS["gaussian"], np.random.default_rng(0)
    x = domain.sample(50, rng)
    state = rng.bit_generator.state
    y, _ = domain.propose(x, 1.0, rng)
    rng.bit_generator.state = state
    fresh = domain.means[0] + rng.standard_normal(x.shape) @ np.linalg.cholesky(COVARIANCE).T
    np.testing.assert_allclose(y, fresh, rtol=0, atol=1e-14)  # products of two terms near one


# ---- reflection ----------------------------------------------------------------------------------


class Jumps:
    """A random generator whose normal numbers are given."""

    def __init__(self, jumps):
        self.jumps = np.asarray(jumps, float)

    def standard_normal(self, shape, dtype):
        return self.jumps.reshape(shape).astype(dtype)


@pytest.mark.parametrize(
    ("start", "jump", "end"),
    [
        (0.5, 0.5, 1.0),
        (0.5, 1.5, 2.0),
        (0.5, 2.0, 1.5),
        (0.5, -2.0, -0.5),
        (0.5, -4.0, 1.5),
        (-1.0, -1.0, 0.0),
        (2.0, 1.0, 1.0),
        (2.0, 6.0, 2.0),
        (2.0, 3.0, -1.0),
        (-1.0, 0.0, -1.0),
        (2.0, 0.0, 2.0),
        (0.5, 60.0, 0.5),
    ],
)
def test_a_walk_in_a_box_is_reflected(start, jump, end):
    low, high = -1.0, 2.0
    box = fastcl.Box([low], [high])
    half_side = (high - low) / 2  # the standard deviation of a jump at step = 1
    y, log_ratio = box.propose(np.array([[start]]), 1.0, Jumps([jump / half_side]))
    expected = start + jump
    while not low - 1e-12 <= expected <= high + 1e-12:  # reflected at one wall after another
        expected = 2 * high - expected if expected > high else 2 * low - expected
    assert y[0, 0] == pytest.approx(expected, abs=1e-12)
    assert y[0, 0] == pytest.approx(end, abs=1e-12)
    assert log_ratio == 0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_points_of_a_box_stay_inside(dtype):
    box = fastcl.Box([-0.1, 0.7, 1e3], [0.3, 0.9, 1e3 + 1])  # corners that are no exact floats
    rng = np.random.default_rng(0)
    x = box.sample(20_000, rng, dtype)
    x[0], x[1] = box.low, box.high
    for step in (0.02, 1.0, 7.0):
        y = box.propose(x, step, rng)[0]
        assert y.dtype == dtype
        assert (y >= box.low.astype(dtype)).all()
        assert (y <= box.high.astype(dtype)).all()


# ---- energies with a closed form -----------------------------------------------------------------


def tilted_gaussian(domain, quadratic, factor=1.0):
    """Fresh points of the Gaussian that is a Gaussian domain times exp(-factor quadratic)."""
    precision = np.linalg.inv(COVARIANCE)
    covariance = np.linalg.inv(precision + factor * quadratic.precision)
    mean = covariance @ (precision @ domain.means[0] + factor * quadratic.b)
    return np.random.default_rng(1).multivariate_normal(mean, covariance, 200_000)


def test_a_quadratic_energy_over_a_gaussian_gives_a_known_gaussian():
    domain = DOMAINS["gaussian"]
    quadratic = Quadratic([[3.0, -1.0], [-1.0, 2.0]], [1.0, -2.0])
    chains = fastcl.Chains(domain, 8000, rng=0)
    for _ in range(60):
        chains.metropolis_step(quadratic.energy)
    assert_moments(chains.points, tilted_gaussian(domain, quadratic))


def test_a_linear_energy_in_a_box_gives_the_truncated_exponential():
    chains = fastcl.Chains(fastcl.Box([-1.0], [2.0]), 4000, rng=0)
    for _ in range(60):
        chains.metropolis_step(lambda x: 3 * x[:, 0])
    expected = stats.truncexpon(b=9, loc=-1, scale=1 / 3)
    assert stats.kstest(chains.points[:, 0], expected.cdf).pvalue > 1e-6


def test_a_linear_energy_over_a_mixture_moves_its_components():
    mixture = fastcl.GaussianMixture([1.0, 1.0], [[-1.5], [1.5]], [[[0.3]], [[0.3]]])
    chains = fastcl.Chains(mixture, 4000, rng=0)
    for _ in range(100):
        chains.metropolis_step(lambda x: -x[:, 0])
    # The same components moved by 0.3, with weights proportional to exp(-1.5) and exp(1.5).
    rng = np.random.default_rng(1)
    means = np.where(rng.random(200_000) < 1 / (1 + np.exp(-3.0)), 1.8, -1.2)
    expected = means + np.sqrt(0.3) * rng.standard_normal(means.size)
    assert_moments(chains.points, expected[:, None])


def test_factor_scales_the_energy():
    def points(energy, factor):
        chains = fastcl.Chains(fastcl.Gaussian([0.0], [[1.0]]), 500, rng=0)
        for _ in range(20):
            chains.metropolis_step(energy, factor=factor)
        return chains.points

    whole = points(lambda x: 2 * x[:, 0] ** 2, 1.0)
    half = points(lambda x: 4 * x[:, 0] ** 2, 0.5)
    np.testing.assert_array_equal(whole, half)  # a factor of two rounds nothing


def test_a_step_returns_the_energies_of_its_points_and_reuses_the_last_ones():
    calls = []

    def energy(x):
        calls.append(len(x))
        return x[:, 0] ** 2

    one, other = (fastcl.Chains(fastcl.Gaussian([0.0], [[1.0]]), 300, rng=0) for _ in range(2))
    energies = None
    for _ in range(10):
        energies = one.metropolis_step(energy, energies)
        np.testing.assert_array_equal(energies, one.points[:, 0] ** 2)
    assert len(calls) == 11  # one per step, and one for the start
    for _ in range(10):
        other.metropolis_step(energy)
    np.testing.assert_array_equal(one.points, other.points)


def test_step_size_adapts_to_the_target_acceptance():
    chains = fastcl.Chains(fastcl.Gaussian(np.zeros(2), np.eye(2)), 2000, rng=0)
    acceptance = []
    for _ in range(80):
        before = chains.points
        chains.metropolis_step(lambda x: 200 * (x**2).sum(axis=1))
        acceptance.append((chains.points != before).any(axis=1).mean())
    assert abs(np.mean(acceptance[-20:]) - chains_module.ACCEPTANCE) < 0.05
    for _ in range(30):
        chains.metropolis_step(no_energy)
    assert chains.step == 1  # every proposal is accepted
    steepness = 1e9 * np.random.default_rng(0).random(2000)
    for _ in range(200):
        chains.metropolis_step(lambda x: steepness * (x**2).sum(axis=1))
    assert chains.step >= chains_module.MIN_STEP


def test_resampling_keeps_points_in_proportion_to_their_weights():
    chains = fastcl.Chains(fastcl.Gaussian([0.0], [[1.0]]), 1000, rng=0)
    points = chains.points.copy()
    weights = np.random.default_rng(1).exponential(size=1000)
    kept = chains.resample(weights)
    np.testing.assert_array_equal(chains.points, points[kept])
    # Systematic resampling: the count of a point is its expectation rounded down or up.
    assert (np.abs(np.bincount(kept, minlength=1000) - 1000 * weights / weights.sum()) < 1).all()
    single = np.zeros(1000)
    single[7] = 3
    np.testing.assert_array_equal(chains.resample(single), np.full(1000, 7))


@pytest.mark.parametrize("name", DOMAINS)
def test_points_follow_the_seed(name):
    def points(rng):
        chains = fastcl.Chains(DOMAINS[name], 200, rng)
        for _ in range(5):
            chains.metropolis_step(lambda x: x[:, 0] ** 2)
        return chains.points

    np.testing.assert_array_equal(points(3), points(3))
    np.testing.assert_array_equal(points(3), points(np.random.default_rng(3)))
    assert (points(3) != points(4)).any()


@pytest.mark.parametrize(
    ("n", "error"), [(0, ValueError), (-1, ValueError), (2.0, TypeError), (None, TypeError)]
)
def test_a_bad_number_of_chains_is_named(n, error):
    with pytest.raises(error, match="n_points"):
        fastcl.Chains(DOMAINS["box"], n)


# ---- Hamiltonian steps ---------------------------------------------------------------------------

STEEP = Quadratic([[30.0, -10.0], [-10.0, 20.0]], [10.0, -20.0])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_without_energy_hmc_keeps_the_distribution_and_accepts_everything(dtype):
    chains = fastcl.Chains(DOMAINS["gaussian"], 4000, rng=0, dtype=dtype)
    flat = Quadratic(np.zeros((2, 2)), [0.0, 0.0])
    start = chains.points
    chains.hmc_step(flat)
    # The step is a rotation, which keeps the energy up to rounding.
    assert (chains.points != start).any(axis=1).mean() > 0.999
    for _ in range(20):
        chains.hmc_step(flat)
    assert chains.points.dtype == dtype
    assert np.abs(correlation_with(start, chains)) < 0.1
    assert_moments(chains.points, DOMAINS["gaussian"].sample(200_000, rng=1))


@pytest.mark.parametrize("factor", [1.0, 0.25])
def test_hmc_gives_a_known_gaussian(factor):
    domain = DOMAINS["gaussian"]
    chains = fastcl.Chains(domain, 8000, rng=0)
    for _ in range(60):
        chains.hmc_step(STEEP, factor=factor)
    assert_moments(chains.points, tilted_gaussian(domain, STEEP, factor))


def test_hmc_is_exact_even_with_a_coarse_step():
    # From the target distribution, at a step size that rejects about half of the proposals.
    rng = np.random.default_rng(0)
    chains = fastcl.Chains(fastcl.Gaussian([0.0], [[1.0]]), 40_000, rng)
    energy = Quadratic([[8.0]], [0.0])
    chains.points = (chains.points / 3).astype(np.float32)  # N(0, 1 / 9)
    acceptance = []
    for _ in range(10):
        before = chains.points
        chains.step = 0.55
        chains.hmc_step(energy)
        acceptance.append((chains.points != before).mean())
    assert 0.2 < np.mean(acceptance) < 0.9
    assert_moments(chains.points, rng.standard_normal((400_000, 1)) / 3)


def test_an_hmc_step_returns_the_energies_of_its_points_and_reuses_the_last_ones():
    one, other = (fastcl.Chains(DOMAINS["gaussian"], 300, rng=0) for _ in range(2))
    first, second = (Quadratic(STEEP.precision, STEEP.b) for _ in range(2))
    parts = None
    for _ in range(5):
        parts = one.hmc_step(first, parts)
        other.hmc_step(second)
        for part, expected in zip(parts, STEEP.energy_and_grad(one.points), strict=True):
            # BLAS may round a row differently in another place.
            np.testing.assert_allclose(part, expected, rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(one.points, other.points, rtol=0, atol=1e-4)
    assert first.calls == 5 * chains_module.N_LEAPFROG + 1
    assert second.calls == 5 * (chains_module.N_LEAPFROG + 1)


def test_step_size_of_hmc_adapts_to_its_target_acceptance():
    chains = fastcl.Chains(DOMAINS["gaussian"], 2000, rng=0)
    acceptance = []
    for _ in range(80):
        before = chains.points
        chains.hmc_step(Quadratic(100 * STEEP.precision, STEEP.b))
        acceptance.append((chains.points != before).any(axis=1).mean())
    assert abs(np.mean(acceptance[-20:]) - chains_module.HMC_ACCEPTANCE) < 0.05


def test_proposals_up_a_cliff_are_rejected_and_all_stays_finite():
    chains = fastcl.Chains(DOMAINS["gaussian"], 200, rng=0)
    start = chains.points
    with np.errstate(over="ignore"):
        energy, gradient = chains.hmc_step(Quadratic(1e20 * np.eye(2), [0.0, 0.0]))
    np.testing.assert_array_equal(chains.points, start)
    assert np.isfinite(energy).all()
    assert np.isfinite(gradient).all()


def test_chains_advance_by_hmc_if_the_reference_is_gaussian():
    chains, same = (fastcl.Chains(DOMAINS["gaussian"], 50, rng=0) for _ in range(2))
    assert [part.shape for part in chains.advance(STEEP)] == [(50,), (50, 2)]
    same.hmc_step(STEEP)
    np.testing.assert_array_equal(chains.points, same.points)
    for name in ("box", "mixture"):
        chains, same = (fastcl.Chains(DOMAINS[name], 50, rng=0) for _ in range(2))
        (energies,) = chains.advance(STEEP, factor=0.5)
        chains.advance(STEEP, (energies,))
        energies = same.metropolis_step(STEEP.energy, factor=0.5)
        same.metropolis_step(STEEP.energy, energies)
        np.testing.assert_array_equal(chains.points, same.points)


def test_hmc_reaches_a_narrow_distribution_in_many_dimensions():
    # Random walks, without the gradient, are still far from it after as many evaluations.
    dim = 40
    energy = Quadratic(np.diag(np.geomspace(1, 1000, dim)), np.zeros(dim))
    hmc, walk = (
        fastcl.Chains(fastcl.Gaussian(np.zeros(dim), np.eye(dim)), 500, rng=0) for _ in range(2)
    )
    energies = None
    for _ in range(100):
        hmc.hmc_step(energy)
        for _ in range(chains_module.N_LEAPFROG + 1):
            energies = walk.metropolis_step(energy.energy, energies)
    expected = 1 / (1 + np.diag(energy.precision))

    def worst_log_ratio(chains):
        variances = (chains.points.astype(np.float64) ** 2).mean(axis=0)
        return np.abs(np.log(variances / expected)).max()

    assert worst_log_ratio(hmc) < 0.5
    assert worst_log_ratio(walk) > 1


# ---- log-normalisers -----------------------------------------------------------------------------

SEEDS = range(6)


def assert_log_normaliser(prior, expected, domain=None, n_points=2048):
    """The mean over seeds agrees with `expected` up to its standard error, which is small."""
    values = np.array([fastcl.log_normaliser(prior, domain, n_points, rng=seed) for seed in SEEDS])
    error = abs(values.mean() - expected)
    assert values.std() < 0.1
    # The standard error is estimated from six values: Student's t, at the quantile that is as rare
    # as N_ERRORS standard errors of a normal distribution.
    quantile = stats.t.isf(stats.norm.sf(N_ERRORS), len(values) - 1)
    assert error <= quantile * values.std(ddof=1) / np.sqrt(len(values)) + 1e-6
    assert error < 0.1


@pytest.mark.parametrize("b", [[0.3], [2.0], [1.0, -1.0, 1.0]])
def test_log_normaliser_of_a_tilted_gaussian(b):
    assert_log_normaliser(Tilt(b), np.sum(np.square(b)) / 2)


@pytest.mark.slow
def test_log_normaliser_far_from_the_reference_in_many_dimensions():
    assert_log_normaliser(Tilt(np.full(30, 1.0)), 15.0)


@pytest.mark.slow
def test_log_normaliser_of_a_narrowed_gaussian():
    assert_log_normaliser(Tilt([1.0, 0.0], curvature=99.0), -np.log(100) + 1 / 200)


def test_log_normaliser_includes_the_log_scale():
    low, high = (fastcl.log_normaliser(Tilt([1.0], log_scale=a), n_points=512) for a in (0.0, 7.25))
    assert high - low == pytest.approx(7.25, abs=1e-12)


def test_log_normaliser_without_energy_is_that_of_the_domain():
    assert fastcl.log_normaliser(Tilt([0.0]), n_points=100) == pytest.approx(0, abs=1e-12)
    flat = fastcl.MLPPrior(2, (4,), rng=0)
    flat.theta[:] = 0
    flat.log_scale = 1.5
    found = fastcl.log_normaliser(flat, DOMAINS["box"], 100)
    assert found == pytest.approx(1.5 + np.log(DOMAINS["box"].volume), abs=1e-6)


@pytest.mark.parametrize("factor", [1.0, 3.0])
def test_log_normaliser_of_a_network_in_a_box_agrees_with_quadrature(factor):
    problem = line()
    problem.prior.theta *= factor
    nodes, cell = midpoints(problem.domain.low, problem.domain.high, 4000)
    expected = np.log(np.exp(problem.prior.log_density(nodes)).sum() * cell)
    assert_log_normaliser(problem.prior, expected, problem.domain)


def test_log_normaliser_of_distant_modes():
    # exp(30 cos(2 x)) N(0, 1) has modes near the multiples of pi; that at 0 has most of the mass.
    prior = fastcl.MaxEntropyPrior([[2.0]], [30.0], fastcl.Gaussian([0.0], [[1.0]]))
    nodes, cell = midpoints([-8.0], [8.0], 20_000)
    expected = np.log(np.exp(prior.log_density(nodes) - 30).sum() * cell) + 30
    assert_log_normaliser(prior, expected)


def test_log_normaliser_follows_the_seed():
    def value(rng):
        return fastcl.log_normaliser(Tilt([2.0]), n_points=256, rng=rng)

    assert value(3) == value(np.random.default_rng(3))
    assert value(3) != value(4)


def test_a_prior_without_reference_needs_a_domain():
    with pytest.raises(ValueError, match=r"^domain must be a Box"):
        fastcl.log_normaliser(fastcl.MLPPrior(2, (4,), rng=0))


# ---- samples -------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 7, 500, 1001])
def test_the_requested_number_of_samples_is_drawn(n):
    points = draw_samples(Tilt([1.0, 0.0]), n, rng=0, n_chains=500)
    assert points.shape == (n, 2)
    assert points.dtype == np.float32
    # Chains that do not move between two draws repeat a point.
    assert len(np.unique(points[:, 0])) > 0.8 * n


def test_samples_follow_the_density():
    points = draw_samples(Tilt([2.0, 0.0], curvature=3.0), 20_000, rng=0, n_chains=4000)
    expected = np.random.default_rng(1).multivariate_normal([0.5, 0.0], np.eye(2) / 4, 200_000)
    # Every chain is drawn from five times: at worst five copies of one point.
    assert_moments(points, expected, independent=0.2)


def test_samples_follow_the_seed():
    one, other, third = (draw_samples(Tilt([1.0]), 50, rng=seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(one, other)
    assert (one != third).any()


def test_samples_in_a_box_share_out_modes_of_any_width():
    modes = fastcl.GaussianMixture(
        [0.9, 0.1], [[1.0, 1.0], [-1.0, -1.0]], [0.01 * np.eye(2), 0.0025 * np.eye(2)]
    )

    class Modes(fastcl.Prior):
        dim = 2

        def energy_and_grad(self, x):
            return -modes.log_density(x), -modes.log_density_grad(x)

    points = Modes().sample(4096, rng=0, dtype=np.float64, domain=fastcl.Box([-3, -3], [3, 3]))
    assert points.dtype == np.float64
    first = points[:, 0] > 0
    assert abs(first.mean() - 0.9) < 0.02
    for mine, std in ((first, 0.1), (~first, 0.05)):
        assert (abs(points[mine].std(axis=0) / std - 1) < 0.2).all()


@pytest.mark.parametrize(
    ("prior", "domain", "message"),
    [
        (fastcl.MLPPrior(1, (4,), rng=0), None, "domain must be a Box"),
        (Tilt([1.0]), fastcl.Box([0.0], [1.0]), "domain is for a prior without a reference"),
        (Tilt([1.0]), DOMAINS["gaussian"], "domain is for a prior without a reference"),
    ],
)
def test_samples_start_from_one_domain(prior, domain, message):
    with pytest.raises(ValueError, match=message):
        prior.sample(3, rng=0, domain=domain)
    with pytest.raises(ValueError, match=message):
        fastcl.log_normaliser(prior, domain)
