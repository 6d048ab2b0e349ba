"""A prior of one's own is learned like the package's, and points are drawn from any measure."""

import numpy as np
import pytest
from laplace import Laplace
from problems import gaussian_line, line, plane, threads

import fastcl

METHODS = ["unbiased", "naive", "grid"]


class Bumps(fastcl.Prior):
    """R(x) = sum_k w_k exp(-|x - c_k|^2 / (2 width^2)); theta holds w, c and the log-scale."""

    def __init__(self, centres, width, reference=None, dtype=np.float64):
        n, self._dim = np.shape(centres)
        self.width = width
        self.reference = reference
        self.theta = np.concatenate([np.ones(n), np.ravel(centres), [0.0]]).astype(dtype)

    @property
    def dim(self):
        return self._dim

    def _parts(self, x):
        n = len(self.theta) // (self.dim + 1)
        weights, centres = self.theta[:n], self.theta[n:-1].reshape(n, self.dim)
        offsets = (x[:, None, :] - centres) / self.width
        return weights, offsets, np.exp(-(offsets**2).sum(axis=2) / 2)

    def energy(self, x):
        weights, _, bumps = self._parts(x)
        return bumps @ weights

    def energy_and_grad(self, x):
        weights, offsets, bumps = self._parts(x)
        slopes = -(weights * bumps)[:, :, None] * offsets / self.width
        return bumps @ weights, slopes.sum(axis=1)

    def backward(self, grad_energy, x):
        weights, offsets, bumps = self._parts(x)
        slopes = (grad_energy[:, None] * bumps)[:, :, None] * offsets / self.width
        in_centres = weights[:, None] * slopes.sum(axis=0)
        return np.concatenate([grad_energy @ bumps, in_centres.ravel(), [0.0]])


def bumps_on(problem, dtype=np.float64):
    """Twelve bumps spread over the domain of a problem."""
    centres = problem.domain.sample(12, np.random.default_rng(0))
    reference = None if isinstance(problem.domain, fastcl.Box) else problem.domain
    return Bumps(centres, 0.3, reference, dtype)


@pytest.fixture(autouse=True)
def one_thread():
    with threads(1):
        yield


# ---- a prior ------------------------------------------------------------------------------------


@pytest.mark.parametrize("log_scale", ["learned", "normalised", "fixed"])
@pytest.mark.parametrize("make", [line, plane])
def test_its_gradient_is_the_central_difference(make, log_scale):
    problem = make()
    prior, step = bumps_on(problem), 1e-6
    arguments = (prior, problem.sketch, problem.domain, 15, log_scale)
    value, gradient = fastcl.grid_gradient(*arguments)
    theta = prior.theta.copy()
    direction = np.random.default_rng(1).standard_normal(theta.size)
    if log_scale == "fixed":
        direction[-1] = 0
    sides = []
    for sign in (1, -1):
        prior.theta[:] = theta + sign * step * direction
        sides.append(fastcl.grid_gradient(*arguments)[0])
    # The rounding of G over the step, about 1e-9, and step^2 times a third derivative.
    assert (sides[0] - sides[1]) / (2 * step) == pytest.approx(gradient @ direction, rel=1e-6)
    assert abs(gradient @ direction) > 1e-3 * value


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("make", [line, plane])
def test_it_is_learned_by_every_method(make, method, dtype):
    problem = make()
    prior = bumps_on(problem, dtype)
    settings = {"method": method, "n_points": 225, "n_iter": 300, "rng": 0}

    def objective():
        return fastcl.grid_gradient(prior, problem.sketch, problem.domain, 40, "normalised")[0]

    before = objective()
    result = fastcl.learn(
        prior, problem.sketch, problem.domain, optimizer=fastcl.Adam(3e-2), **settings
    )
    assert result.prior is prior
    assert prior.theta.dtype == dtype
    assert objective() < 0.2 * before
    nodes = problem.nodes
    mass = problem.weights @ np.exp(prior.log_density(nodes))
    assert abs(np.log(mass)) < 0.05


def test_it_is_learned_with_a_reference_and_resumes(tmp_path):
    problem = gaussian_line()
    settings = {"n_points": 100, "n_iter": 30, "rng": 0}
    priors = [bumps_on(problem) for _ in range(3)]
    unbroken = fastcl.learn(priors[0], problem.sketch, **settings)
    settings["checkpoint"] = tmp_path / "run.npz"
    fastcl.learn(priors[1], problem.sketch, callback=lambda k, *_: k == 11, **settings)
    resumed = fastcl.learn(priors[2], problem.sketch, **settings)
    np.testing.assert_array_equal(resumed.history["value"], unbroken.history["value"])
    np.testing.assert_array_equal(priors[2].theta, priors[0].theta)
    other = Bumps(np.zeros((13, 1)), 0.3, problem.domain)
    with pytest.raises(ValueError, match="belongs to a run with other settings"):
        fastcl.learn(other, problem.sketch, **settings)


def test_what_was_learned_denoises():
    problem = line()
    prior = bumps_on(problem)
    settings = {"n_points": 500, "n_iter": 300, "rng": 0, "optimizer": fastcl.Adam(3e-2)}
    fastcl.learn(prior, problem.sketch, problem.domain, **settings)
    x = np.repeat([[-0.4], [0.7]], 200, axis=0)
    y = x + 0.3 * np.random.default_rng(0).standard_normal(x.shape)
    clean = fastcl.denoise(prior, y, sigma=0.3, estimator="mean")
    assert ((clean - x) ** 2).mean() < 0.8 * ((y - x) ** 2).mean()


class ReadOnly(Bumps):
    def backward(self, grad_energy, x):
        gradient = super().backward(grad_energy, x)
        gradient.setflags(write=False)
        return gradient


def test_a_gradient_that_cannot_be_written_to_is_copied():
    problem, gradients = line(), []
    for make in (Bumps, ReadOnly):
        prior = make(np.array([[-0.4], [0.7]]), 0.3)
        gradients.append(fastcl.grid_gradient(prior, problem.sketch, problem.domain)[1])
    assert gradients[0][-1] != 0
    np.testing.assert_array_equal(*gradients)


class Scalar(Bumps):
    def energy(self, x):
        return super().energy(x).sum()


class Short(Bumps):
    def backward(self, grad_energy, x):
        return super().backward(grad_energy, x)[:-1]


class Half(Bumps):
    def __init__(self, *args):
        super().__init__(*args, dtype=np.float16)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (Scalar, r"Scalar\.energy must return an array of shape \(\d+,\)"),
        (Short, r"prior.backward must give a gradient of shape \(3,\), got \(2,\)"),
        (Half, "prior must have a float32 or float64 vector theta"),
    ],
)
def test_results_that_do_not_fit_are_named(make, message):
    problem = line()
    prior = make(np.zeros((1, 1)), 0.3)
    before = prior.theta.copy()
    with pytest.raises(ValueError, match=message):
        fastcl.learn(prior, problem.sketch, problem.domain, n_iter=1)
    np.testing.assert_array_equal(prior.theta, before)


def test_a_prior_without_parameters_cannot_be_learned():
    class Parabola(fastcl.Prior):
        dim = 1

    problem = line()
    for call in (fastcl.learn, fastcl.grid_gradient, fastcl.naive_gradient):
        with pytest.raises(TypeError, match=r"with parameters theta.* got Parabola"):
            call(Parabola(), problem.sketch, problem.domain)


# ---- a measure ----------------------------------------------------------------------------------


class ScaledLaplace(Laplace, kind="test-laplace"):
    """One that files can hold."""

    def __init__(self, dim, scale):
        super().__init__(dim)
        self.scale = scale

    def sample(self, n, rng=None, dtype=np.float64):
        return (self.scale * super().sample(n, rng)).astype(dtype)

    def log_density(self, x):
        return super().log_density(np.asarray(x) / self.scale) - self.dim * np.log(self.scale)

    def sketch(self, omega):
        return super().sketch(np.asarray(omega) * self.scale)

    def to_arrays(self):
        return {"dim": self.dim, "scale": self.scale}


def sketch_of_steps(dim):
    x = np.sign(np.random.default_rng(0).standard_normal((2000, dim)))
    x += 0.3 * np.random.default_rng(1).standard_normal(x.shape)
    return fastcl.sketch(x, fastcl.draw_frequencies(30, dim, 0.5, rng=2))


def network(q):
    prior = fastcl.MLPPrior(q.dim, (8, 8), rng=0, reference=q)
    prior.initialise_on(q, rng=0)
    return prior


@pytest.mark.parametrize("q", [Laplace(1), Laplace(2), ScaledLaplace(2, 0.8)])
@pytest.mark.parametrize("method", ["unbiased", "naive"])
def test_points_are_drawn_from_it(q, method):
    sketch, prior = sketch_of_steps(q.dim), network(q)
    settings = {"method": method, "n_points": 300, "rng": 0, "optimizer": fastcl.Adam(1e-2)}
    values = fastcl.learn(prior, sketch, n_iter=300, **settings).history["value"]
    assert values[-50:].mean() < 0.5 * values[:10].mean()
    assert abs(fastcl.log_normaliser(prior)) < 0.1


def test_a_step_is_that_of_the_same_measure_of_the_package():
    """A `Gaussian` of which only the four methods are shown."""

    class Plain(fastcl.ReferenceMeasure):
        dim = 1

        def sample(self, n, rng=None, dtype=np.float64):
            return fastcl.Gaussian([0.2], [[0.25]]).sample(n, rng, dtype)

        def log_density(self, x):
            return fastcl.Gaussian([0.2], [[0.25]]).log_density(x)

        def sketch(self, omega):
            return fastcl.Gaussian([0.2], [[0.25]]).sketch(omega)

    problem, results = gaussian_line(), []
    for q in (problem.domain, Plain()):
        results.append(fastcl.learn(network(q), problem.sketch, n_points=50, n_iter=9, rng=0))
    np.testing.assert_array_equal(results[0].history["value"], results[1].history["value"])


@pytest.mark.parametrize("q", [Laplace(2), ScaledLaplace(2, 0.8)])
def test_a_run_with_it_resumes_from_a_checkpoint(tmp_path, q):
    sketch = sketch_of_steps(2)
    settings = {"n_points": 100, "n_iter": 20, "rng": 0}
    unbroken = fastcl.learn(network(q), sketch, **settings)
    settings["checkpoint"] = tmp_path / "run.npz"
    fastcl.learn(network(q), sketch, callback=lambda k, *_: k == 7, **settings)
    resumed = fastcl.learn(network(q), sketch, **settings)
    np.testing.assert_array_equal(resumed.history["value"], unbroken.history["value"])
    with pytest.raises(ValueError, match="belongs to a run with other settings"):
        fastcl.learn(network(ScaledLaplace(2, 0.7)), sketch, **settings)


@pytest.mark.parametrize("points", [np.zeros(4), np.zeros((4, 2)), np.zeros((3, 1))])
def test_points_of_another_shape_are_named(points):
    class Bad(Laplace):
        def sample(self, n, rng=None, dtype=np.float64):
            return points.astype(dtype)

    q = Bad(1)
    prior = fastcl.MLPPrior(1, (4,), rng=0, reference=q)
    with pytest.raises(ValueError, match=r"domain must draw points of shape \(4, 1\), got"):
        fastcl.naive_gradient(prior, sketch_of_steps(1), q, n_points=4)
