"""Chains against the laws that their steps leave alone, against closed forms, and the mass of a density by quadrature."""

import numpy as np
import pytest
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


class Tilt:
    """The density ``q exp(<b, x> - |x|^2 curvature / 2)``, with what `log_normaliser` and `draw_samples` ask of a prior."""

    def __init__(self, b, curvature=0.0, log_scale=0.0):
        self.b, self.curvature, self.log_scale = np.asarray(b, float), curvature, log_scale
        self.reference = fastcl.Gaussian(np.zeros(len(self.b)), np.eye(len(self.b)))

    def energy(self, x):
        return self.curvature * (x**2).sum(axis=1) / 2 - x @ self.b.astype(x.dtype)

    def energy_and_grad(self, x):
        return self.energy(x), (self.curvature * x - self.b).astype(x.dtype)


class Quadratic:
    """The energy ``<x, P x> / 2 - <b, x>`` with its gradient, which counts its calls."""

    def __init__(self, precision, b):
        self.precision, self.b, self.calls = np.array(precision), np.array(b), 0

    def energy_and_grad(self, x):
        self.calls += 1
        pulls = x @ self.precision
        return ((pulls * x).sum(axis=1) / 2 - x @ self.b).astype(x.dtype), (pulls - self.b).astype(
            x.dtype
        )

    def energy(self, x):
        return self.energy_and_grad(x)[0]


def nothing(x):
    return np.zeros(len(x), x.dtype)


def assert_moments(points, expected, independent=1.0):
    """First and second moments of `points` (n, d) within N_ERRORS of those of the fresh points `expected` (k, d)."""
    for power in (lambda x: x, lambda x: x**2, lambda x: x[:, :1] * x):
        one, other = power(points.astype(float)), power(expected.astype(float))
        error = np.sqrt(one.var(axis=0) / (independent * len(one)) + other.var(axis=0) / len(other))
        assert (np.abs(one.mean(axis=0) - other.mean(axis=0)) <= N_ERRORS * error).all()


# ---- the steps ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", DOMAINS)
def test_without_energy_the_law_stays_that_of_the_domain(name, dtype):
    chains = fastcl.Chains(DOMAINS[name], 4000, rng=0, dtype=dtype)
    start = chains.points
    for _ in range(60):
        chains.metropolis_step(nothing)
    assert chains.points.dtype == dtype
    assert np.abs(np.corrcoef(start[:, 0], chains.points[:, 0])[0, 1]) < 0.2  # they have moved far
    assert_moments(chains.points, DOMAINS[name].sample(200_000, rng=1))


@pytest.mark.parametrize("name", DOMAINS)
def test_chains_from_a_wrong_place_forget_it(name):
    # Invariance alone would also hold for chains that stand still.
    chains = fastcl.Chains(DOMAINS[name], 2000, rng=0)
    chains.points[:] = DOMAINS[name].sample(1, rng=3)
    for _ in range(100):
        chains.metropolis_step(nothing)
    assert_moments(chains.points, DOMAINS[name].sample(200_000, rng=1))


@pytest.mark.parametrize("step", [0.05, 0.7, 1.0])
@pytest.mark.parametrize("name", DOMAINS)
def test_one_proposal_from_the_law_has_balanced_flows(name, step):
    # Detailed balance: weighted by what is accepted, (x, y) and (y, x) have one law; tested on E[f(x) - f(y)], f odd.
    domain, rng = DOMAINS[name], np.random.default_rng(0)
    x = domain.sample(40_000, rng)
    y, log_ratio = domain.propose(x, step, rng)
    assert y.shape == x.shape
    assert y.dtype == x.dtype
    taken = np.minimum(1, np.exp(np.broadcast_to(log_ratio, len(x))))[:, None]
    for f in (lambda x: x, lambda x: x**2, lambda x: np.sin(5 * x)):
        flow = taken * (f(x) - f(y))
        assert (np.abs(flow.mean(axis=0)) <= N_ERRORS * flow.std(axis=0) / np.sqrt(len(x))).all()


@pytest.mark.parametrize("name", ["gaussian", "mixture"])
def test_the_ratio_of_a_proposal_is_that_of_the_densities_that_the_step_does_not_keep(name):
    domain, rng = DOMAINS[name], np.random.default_rng(0)
    x = domain.sample(500, rng)
    y, log_ratio = domain.propose(x, 0.5, rng)
    expected = domain.log_density(y) - domain.log_density(x) if name == "mixture" else 0
    np.testing.assert_allclose(log_ratio, expected, rtol=0, atol=1e-12)


def test_a_full_step_of_a_gaussian_is_a_fresh_point():
    domain, rng = DOMAINS["gaussian"], np.random.default_rng(0)
    x = domain.sample(50, rng)
    state = rng.bit_generator.state
    y, _ = domain.propose(x, 1.0, rng)
    rng.bit_generator.state = state
    fresh = domain.means[0] + rng.standard_normal(x.shape) @ np.linalg.cholesky(COVARIANCE).T
    np.testing.assert_allclose(y, fresh, rtol=0, atol=1e-14)  # products of two terms near one


# ---- reflection --------------------------------------------------------------------------------------------------


class Jumps:
    """A generator of given normal numbers."""

    def __init__(self, jumps):
        self.jumps = np.asarray(jumps, float)

    def standard_normal(self, shape, dtype):
        return self.jumps.reshape(shape).astype(dtype)


@pytest.mark.parametrize(
    ("start", "jump", "end"),
    [
        (0.5, 0.25, 1.0), (0.5, 0.75, 2.0), (0.5, 1.0, 1.5), (0.5, -1.0, -0.5), (0.5, -2.0, 0.5 + 1.0), (-1.0, -0.5, 0.0),
        (2.0, 0.5, 1.0), (2.0, 3.0, 2.0), (2.0, 1.5, -1.0), (-1.0, 0.0, -1.0), (2.0, 0.0, 2.0), (0.5, 30.0, 0.5),
    ],
)  # fmt: skip
def test_a_walk_in_a_box_is_reflected(start, jump, end):
    """In the box [-1, 2], half a side times step = 1 is 1.5 wide; `jump` is here in units of 2."""
    box = fastcl.Box([-1.0], [2.0])
    y, log_ratio = box.propose(np.array([[start]]), 1.0, Jumps([2 * jump / 1.5]))
    low, high, free = -1.0, 2.0, start + 2 * jump
    while not low - 1e-12 <= free <= high + 1e-12:  # folded wall by wall
        free = 2 * high - free if free > high else 2 * low - free
    assert y[0, 0] == pytest.approx(free, abs=1e-12)
    assert y[0, 0] == pytest.approx(end, abs=1e-12)
    assert log_ratio == 0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_points_of_a_box_stay_inside(dtype):
    box = fastcl.Box([-0.1, 0.7, 1e3], [0.3, 0.9, 1e3 + 1])  # corners that floats do not hold
    rng = np.random.default_rng(0)
    x = box.sample(20_000, rng, dtype)
    x[0], x[1] = box.low, box.high
    for step in (0.02, 1.0, 7.0):
        y = box.propose(x, step, rng)[0]
        assert y.dtype == dtype
        assert (y >= box.low.astype(dtype)).all()
        assert (y <= box.high.astype(dtype)).all()


# ---- energies of closed form -------------------------------------------------------------------------------------


def test_a_quadratic_energy_on_a_gaussian_gives_the_gaussian_of_closed_form():
    domain, precision, pull = (
        DOMAINS["gaussian"],
        np.array([[3.0, -1.0], [-1.0, 2.0]]),
        np.array([1.0, -2.0]),
    )
    chains = fastcl.Chains(domain, 8000, rng=0)
    for _ in range(60):
        chains.metropolis_step(
            lambda x: (np.einsum("ni,ij,nj->n", x, precision, x) / 2 - x @ pull).astype(x.dtype)
        )
    covariance = np.linalg.inv(np.linalg.inv(COVARIANCE) + precision)
    mean = covariance @ (np.linalg.solve(COVARIANCE, domain.means[0]) + pull)
    assert_moments(
        chains.points, np.random.default_rng(1).multivariate_normal(mean, covariance, 200_000)
    )


def test_a_linear_energy_in_a_box_gives_the_truncated_exponential():
    chains = fastcl.Chains(fastcl.Box([-1.0], [2.0]), 4000, rng=0)
    for _ in range(60):
        chains.metropolis_step(lambda x: 3 * x[:, 0])
    law = stats.truncexpon(b=9, loc=-1, scale=1 / 3)
    assert stats.kstest(chains.points[:, 0], law.cdf).pvalue > 1e-6


def test_a_mixture_reference_takes_an_energy():
    chains = fastcl.Chains(
        fastcl.GaussianMixture([1.0, 1.0], [[-1.5], [1.5]], [[[0.3]], [[0.3]]]), 4000, rng=0
    )
    for _ in range(100):
        chains.metropolis_step(
            lambda x: -x[:, 0]
        )  # tilted: the same components, moved by 0.3, weights in proportion to exp(-+1.5)
    share = 1 / (1 + np.exp(-3.0))
    rng = np.random.default_rng(1)
    side = np.where(rng.random(200_000) < share, 1.8, -1.2)
    assert_moments(chains.points, (side + np.sqrt(0.3) * rng.standard_normal(side.size))[:, None])


def test_factor_scales_the_energy():
    energy = {"whole": lambda x: 2 * x[:, 0] ** 2, "half": lambda x: 4 * x[:, 0] ** 2}
    runs = {}
    for name, factor in [("whole", 1.0), ("half", 0.5)]:
        chains = fastcl.Chains(fastcl.Gaussian([0.0], [[1.0]]), 500, rng=0)
        for _ in range(20):
            chains.metropolis_step(energy[name], factor=factor)
        runs[name] = chains.points
    np.testing.assert_array_equal(
        runs["whole"], runs["half"]
    )  # by a power of two, which rounds nothing


def test_a_move_gives_the_energies_of_its_points_and_takes_those_before():
    calls = []

    def energy(x):
        calls.append(len(x))
        return x[:, 0] ** 2

    one, other = (fastcl.Chains(fastcl.Gaussian([0.0], [[1.0]]), 300, rng=0) for _ in range(2))
    here = None
    for _ in range(10):
        here = one.metropolis_step(energy, here)
        np.testing.assert_array_equal(here, one.points[:, 0] ** 2)
    assert len(calls) == 11  # one a move, and one for the first
    for _ in range(10):
        other.metropolis_step(energy)
    np.testing.assert_array_equal(one.points, other.points)


def test_the_step_is_steered_towards_the_acceptance():
    chains, steps = fastcl.Chains(fastcl.Gaussian(np.zeros(2), np.eye(2)), 2000, rng=0), []
    for _ in range(80):
        before = chains.points
        chains.metropolis_step(lambda x: 200 * (x**2).sum(axis=1))
        steps.append((chains.points != before).any(axis=1).mean())
    assert abs(np.mean(steps[-20:]) - chains_module.ACCEPTANCE) < 0.05
    for _ in range(30):
        chains.metropolis_step(nothing)
    assert chains.step == 1  # all is accepted
    for _ in range(200):
        chains.metropolis_step(
            lambda x: 1e9 * np.random.default_rng(0).random(len(x)) * (x**2).sum(axis=1)
        )
    assert chains.step >= chains_module.MIN_STEP


def test_resampling_keeps_points_in_proportion():
    chains = fastcl.Chains(fastcl.Gaussian([0.0], [[1.0]]), 1000, rng=0)
    points, weights = chains.points.copy(), np.random.default_rng(1).exponential(size=1000)
    kept = chains.resample(weights)
    np.testing.assert_array_equal(chains.points, points[kept])
    # Systematic: a point is kept the whole number of times below or above its share.
    assert (np.abs(np.bincount(kept, minlength=1000) - 1000 * weights / weights.sum()) < 1).all()
    one = np.zeros(1000)
    one[7] = 3
    np.testing.assert_array_equal(chains.resample(one), np.full(1000, 7))


@pytest.mark.parametrize("name", DOMAINS)
def test_the_seed_gives_the_bits(name):
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


# ---- flows -------------------------------------------------------------------------------------------------------

STEEP = Quadratic([[30.0, -10.0], [-10.0, 20.0]], [10.0, -20.0])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_without_energy_a_flow_keeps_the_law_and_accepts_all(dtype):
    chains, flat = (
        fastcl.Chains(DOMAINS["gaussian"], 4000, rng=0, dtype=dtype),
        Quadratic(np.zeros((2, 2)), [0.0, 0.0]),
    )
    start = chains.points
    chains.hmc_step(flat)
    assert (chains.points != start).any(
        axis=1
    ).mean() > 0.999  # a rotation keeps the energy but for rounding
    for _ in range(20):
        chains.hmc_step(flat)
    assert chains.points.dtype == dtype
    assert np.abs(np.corrcoef(start[:, 0], chains.points[:, 0])[0, 1]) < 0.1
    assert_moments(chains.points, DOMAINS["gaussian"].sample(200_000, rng=1))


@pytest.mark.parametrize("factor", [1.0, 0.25])
def test_flows_give_the_gaussian_of_closed_form(factor):
    domain, chains = DOMAINS["gaussian"], fastcl.Chains(DOMAINS["gaussian"], 8000, rng=0)
    for _ in range(60):
        chains.hmc_step(STEEP, factor=factor)
    precision = np.linalg.inv(COVARIANCE)
    covariance = np.linalg.inv(precision + factor * STEEP.precision)
    mean = covariance @ (precision @ domain.means[0] + factor * STEEP.b)
    assert_moments(
        chains.points, np.random.default_rng(1).multivariate_normal(mean, covariance, 200_000)
    )


def test_a_flow_with_a_coarse_step_is_exact_all_the_same():
    # From the law itself, at a step that rejects about half: what is accepted must keep the law.
    domain, rng = fastcl.Gaussian([0.0], [[1.0]]), np.random.default_rng(0)
    chains, energy, taken = fastcl.Chains(domain, 40_000, rng), Quadratic([[8.0]], [0.0]), []
    chains.points = (chains.points / 3).astype(np.float32)  # N(0, 1 / 9)
    for _ in range(10):
        chains.step, before = 0.55, chains.points
        chains.hmc_step(energy)
        taken.append((chains.points != before).mean())
    assert 0.2 < np.mean(taken) < 0.9
    assert_moments(chains.points, rng.standard_normal((400_000, 1)) / 3)


def test_a_flow_gives_the_energies_of_its_points_and_takes_those_before():
    one, other = (fastcl.Chains(DOMAINS["gaussian"], 300, rng=0) for _ in range(2))
    first, second, here = (
        Quadratic(STEEP.precision, STEEP.b),
        Quadratic(STEEP.precision, STEEP.b),
        None,
    )
    for _ in range(5):
        here = one.hmc_step(first, here)
        other.hmc_step(second)
        for part, expected in zip(here, STEEP.energy_and_grad(one.points), strict=True):
            np.testing.assert_allclose(
                part, expected, rtol=1e-5, atol=1e-4
            )  # BLAS may round a row by its place
    np.testing.assert_allclose(one.points, other.points, rtol=0, atol=1e-4)
    assert first.calls == 5 * chains_module.N_LEAPFROG + 1
    assert second.calls == 5 * (chains_module.N_LEAPFROG + 1)


def test_the_step_of_a_flow_is_steered_towards_its_acceptance():
    chains, taken = fastcl.Chains(DOMAINS["gaussian"], 2000, rng=0), []
    for _ in range(80):
        before = chains.points
        chains.hmc_step(Quadratic(100 * STEEP.precision, STEEP.b))
        taken.append((chains.points != before).any(axis=1).mean())
    assert abs(np.mean(taken[-20:]) - chains_module.HMC_ACCEPTANCE) < 0.05


def test_a_cliff_rejects_and_stays_finite():
    chains = fastcl.Chains(DOMAINS["gaussian"], 200, rng=0)
    start = chains.points
    with np.errstate(over="ignore"):
        energy, gradient = chains.hmc_step(Quadratic(1e20 * np.eye(2), [0.0, 0.0]))
    np.testing.assert_array_equal(chains.points, start)
    assert np.isfinite(energy).all()
    assert np.isfinite(gradient).all()


def test_chains_advance_by_flows_where_the_reference_is_gaussian():
    flowing, same = (fastcl.Chains(DOMAINS["gaussian"], 50, rng=0) for _ in range(2))
    assert [part.shape for part in flowing.advance(STEEP)] == [(50,), (50, 2)]
    same.hmc_step(STEEP)
    np.testing.assert_array_equal(flowing.points, same.points)
    for name in ("box", "mixture"):
        moving, same = (fastcl.Chains(DOMAINS[name], 50, rng=0) for _ in range(2))
        (here,) = moving.advance(STEEP, factor=0.5)
        moving.advance(STEEP, (here,))
        same.metropolis_step(STEEP.energy, same.metropolis_step(STEEP.energy, factor=0.5))
        np.testing.assert_array_equal(moving.points, same.points)


def test_flows_reach_a_narrow_law_in_many_dimensions():
    # Walks that do not see the gradient are still far from it after as many evaluations.
    dim, energy = 40, Quadratic(np.diag(np.geomspace(1, 1000, 40)), np.zeros(40))
    flowing, walking = (
        fastcl.Chains(fastcl.Gaussian(np.zeros(dim), np.eye(dim)), 500, rng=0) for _ in range(2)
    )
    here = None
    for _ in range(100):
        flowing.hmc_step(energy)
        for _ in range(chains_module.N_LEAPFROG + 1):
            here = walking.metropolis_step(energy.energy, here)
    expected = 1 / (1 + np.diag(energy.precision))
    ratios = [
        np.log((chains.points.astype(float) ** 2).mean(axis=0) / expected)
        for chains in (flowing, walking)
    ]
    assert np.abs(ratios[0]).max() < 0.5
    assert np.abs(ratios[1]).max() > 1


# ---- the mass ----------------------------------------------------------------------------------------------------

SEEDS = range(6)


def assert_mass(prior, expected, domain=None, n_points=2048):
    """The mean over seeds within N_ERRORS of its own standard error, from the spread; and that spread is small."""
    values = np.array([fastcl.log_normaliser(prior, domain, n_points, rng=seed) for seed in SEEDS])
    assert values.std() < 0.1
    # A spread estimated from six values: a quantile of Student's t as rare as N_ERRORS of a normal law.
    rare = stats.t.isf(stats.norm.sf(N_ERRORS), len(values) - 1)
    assert abs(values.mean() - expected) <= rare * values.std(ddof=1) / np.sqrt(len(values)) + 1e-6
    assert abs(values.mean() - expected) < 0.1


@pytest.mark.parametrize("b", [[0.3], [2.0], [1.0, -1.0, 1.0]])
def test_the_mass_of_a_tilted_gaussian(b):
    assert_mass(Tilt(b), np.sum(np.square(b)) / 2)


def test_the_mass_far_from_the_reference_in_many_dimensions():
    assert_mass(Tilt(np.full(30, 1.0)), 15.0)


def test_the_mass_of_a_narrowed_gaussian():
    assert_mass(Tilt([1.0, 0.0], curvature=99.0), -np.log(100) + 1 / 200)


def test_the_log_scale_is_in_the_mass():
    low, high = (fastcl.log_normaliser(Tilt([1.0], log_scale=a), n_points=512) for a in (0.0, 7.25))
    assert high - low == pytest.approx(7.25, abs=1e-12)


def test_no_energy_has_no_mass_but_that_of_the_domain():
    assert fastcl.log_normaliser(Tilt([0.0]), n_points=100) == pytest.approx(0, abs=1e-12)
    flat = fastcl.MLPPrior(2, (4,), rng=0)
    flat.theta[:] = 0
    flat.log_scale = 1.5
    assert fastcl.log_normaliser(flat, DOMAINS["box"], 100) == pytest.approx(
        1.5 + np.log(1.5), abs=1e-6
    )


@pytest.mark.parametrize("factor", [1.0, 3.0])
def test_the_mass_of_a_network_in_a_box_is_that_of_quadrature(factor):
    problem = line()
    problem.prior.theta *= factor
    nodes, cell = midpoints(problem.domain.low, problem.domain.high, 4000)
    expected = np.log(np.exp(problem.prior.log_density(nodes)).sum() * cell)
    assert_mass(problem.prior, expected, problem.domain)


def test_two_far_modes_share_the_mass():
    # exp(30 cos(2 x)) on N(0, 1): the modes of the tilt are at multiples of pi, that at 0 holds most of the mass.
    prior = fastcl.MaxEntropyPrior([[2.0]], [30.0], fastcl.Gaussian([0.0], [[1.0]]))
    nodes, cell = midpoints([-8.0], [8.0], 20_000)
    expected = np.log(np.exp(prior.log_density(nodes) - 30).sum() * cell) + 30
    assert_mass(prior, expected)


def test_the_mass_follows_the_seed():
    prior = Tilt([2.0])
    assert fastcl.log_normaliser(prior, n_points=256, rng=3) == fastcl.log_normaliser(
        prior, n_points=256, rng=np.random.default_rng(3)
    )
    assert fastcl.log_normaliser(prior, n_points=256, rng=3) != fastcl.log_normaliser(
        prior, n_points=256, rng=4
    )


def test_a_prior_without_reference_needs_a_domain():
    with pytest.raises(ValueError, match=r"^domain is needed"):
        fastcl.log_normaliser(fastcl.MLPPrior(2, (4,), rng=0))


# ---- samples -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 7, 500, 1001])
def test_as_many_samples_as_were_asked_for(n):
    points = draw_samples(Tilt([1.0, 0.0]), n, rng=0, n_chains=500)
    assert points.shape == (n, 2)
    assert points.dtype == np.float32
    assert (
        len(np.unique(points[:, 0])) > 0.8 * n
    )  # chains that did not move between two takes repeat a point


def test_samples_follow_the_density():
    points = draw_samples(Tilt([2.0, 0.0], curvature=3.0), 20_000, rng=0, n_chains=4000)
    expected = np.random.default_rng(1).multivariate_normal([0.5, 0.0], np.eye(2) / 4, 200_000)
    assert_moments(
        points, expected, independent=0.2
    )  # five takes of each chain, at worst five copies


def test_samples_follow_the_seed():
    one, other, third = (draw_samples(Tilt([1.0]), 50, rng=seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(one, other)
    assert (one != third).any()
