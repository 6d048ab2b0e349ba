"""The network kernels against NumPy, layer by layer: energies, gradients, derivatives, threads."""

import naive
import numpy as np
import pytest
from bounds import assert_within
from cuda_host import kernels as stand_in

import fastcl
from fastcl.kernels import cuda
from fastcl.kernels.launchers import mlp as launcher

# Widths on either side of a vector (16) and of a tile of columns (256), and layers of one unit;
# rows on either side of a block.
TABLE = [
    (np.float32, 1, (1,), 1),
    (np.float32, 2, (3, 31), 257),
    (np.float32, 16, (17, 64, 5), 1021),
    (np.float32, 20, (64, 16), 3),
    (np.float64, 1, (3, 31), 1021),
    (np.float64, 2, (17, 64, 5), 3),
    (np.float64, 16, (1,), 257),
    (np.float64, 20, (31,), 1),
    (np.float64, 2, (64, 128, 256), 65),
    (np.float32, 3, (130, 300), 31),
    (np.float64, 9, (257, 12), 33),
]
over_table = pytest.mark.parametrize(
    ("dtype", "dim", "widths", "n"), TABLE, ids=lambda value: getattr(value, "__name__", None)
)
EPS = {dtype: np.finfo(dtype).eps for dtype in (np.float32, np.float64)}
bounds_checked = pytest.mark.again("bounds_checked", backend="numba", dtype=np.float32)
races = pytest.mark.again("races", backend="cuda-host", dtype=np.float32)


def make_problem(dtype, dim, widths, n):
    """A prior with biases, n points, and grad_energy of both signs, zero for rows near a kink."""
    rng = np.random.default_rng([dim, n, *widths])
    prior = fastcl.MLPPrior(dim, widths, rng=rng, dtype=dtype)
    prior.theta += 0.1 * rng.standard_normal(prior.theta.size).astype(dtype)
    x = rng.standard_normal((n, dim)).astype(dtype)
    grad_energy = rng.standard_normal(n).astype(dtype)
    clear = naive.mlp_error(prior.theta, prior.sizes, x, grad_energy, EPS[dtype])[-1]
    assert clear.mean() > 0.9
    return prior, x, grad_energy * clear


def on_backend(backend, prior):
    """The prior moved to the backend."""
    prior.theta = backend.array(prior.theta)
    return prior


@bounds_checked(dim=2, widths=(3, 31), n=257)
@bounds_checked(dim=20, widths=(64, 16), n=3)
@over_table
def test_energy_is_the_squared_norm_of_the_network(backend, dtype, dim, widths, n):
    prior, x, grad_energy = make_problem(dtype, dim, widths, n)
    error = naive.mlp_error(prior.theta, prior.sizes, x, grad_energy, EPS[dtype])[0]
    exact = naive.mlp_energy(prior.theta, prior.sizes, x)
    energy = backend.host(on_backend(backend, prior).energy(backend.array(x)))
    assert (energy.shape, energy.dtype) == ((n,), dtype)
    assert_within(energy, exact, error)


@bounds_checked(dim=2, widths=(3, 31), n=257)
@bounds_checked(dim=20, widths=(64, 16), n=3)
@races(dim=16, widths=(17, 64, 5))
@over_table
def test_gradient_in_theta_is_the_oracles(backend, dtype, dim, widths, n):
    prior, x, grad_energy = make_problem(dtype, dim, widths, n)
    exact = naive.mlp_gradients(prior.theta, prior.sizes, x, grad_energy)[0]
    error = naive.mlp_error(prior.theta, prior.sizes, x, grad_energy, EPS[dtype])[1]
    x, prior = backend.array(x), on_backend(backend, prior)
    energy, state = prior.forward(x)
    assert np.array_equal(backend.host(energy), backend.host(prior.energy(x)))
    gradient = backend.host(prior.backward(backend.array(grad_energy), state))
    assert (gradient.shape, gradient.dtype) == (prior.theta.shape, dtype)
    assert_within(gradient[:-1], exact, error)
    assert gradient[-1] == 0
    assert np.abs(exact).max() > 100 * error.max()  # the bound would show an error


@races(dim=16, widths=(17, 64, 5))
@over_table
def test_gradient_in_x_is_the_oracles(backend, dtype, dim, widths, n):
    prior, x, grad_energy = make_problem(dtype, dim, widths, n)
    ones, clear = np.ones(n), grad_energy != 0
    exact = naive.mlp_gradients(prior.theta, prior.sizes, x, ones)[1]
    error = naive.mlp_error(prior.theta, prior.sizes, x, ones, EPS[dtype])[2]
    x, prior = backend.array(x), on_backend(backend, prior)
    energy, gradient = prior.energy_and_grad(x)
    assert np.array_equal(backend.host(energy), backend.host(prior.energy(x)))
    gradient = backend.host(gradient)
    assert np.array_equal(gradient, backend.host(prior.energy_grad(x)))
    assert (gradient.shape, gradient.dtype) == (x.shape, dtype)
    assert_within(gradient[clear], exact[clear], error[clear])


def masks(theta, sizes, x):
    return np.concatenate(
        [values > 0 for values in naive.mlp_activations(theta, sizes, x)[1:-1]], axis=1
    )


def assert_central_difference(energy_along, slope, error, step):
    """The central difference of an energy that is quadratic along a line is its slope."""
    difference = (energy_along(step) - energy_along(-step)) / (2 * step)
    assert np.abs(difference - slope) <= error / step
    assert abs(slope) > 100 * error / step  # so that a wrong slope shows


@pytest.mark.parametrize(("dim", "widths"), [(1, (3, 31)), (2, (17, 64, 5)), (20, (16,))])
def test_gradient_in_theta_is_the_derivative_along_each_layer(rng, dim, widths):
    prior, x, grad_energy = make_problem(np.float64, dim, widths, 31)
    error = (
        np.abs(grad_energy)
        @ naive.mlp_error(prior.theta, prior.sizes, x, grad_energy, EPS[np.float64])[0]
    )
    gradient = prior.backward(grad_energy, prior.forward(x)[1])
    start, offset, step = prior.theta.copy(), 0, 1e-7
    for matrix, bias in naive.mlp_layers(
        start, prior.sizes
    ):  # quadratic in one layer as long as no unit switches
        direction, end = np.zeros_like(start), offset + matrix.size + bias.size
        direction[offset:end] = rng.standard_normal(end - offset)
        offset = end

        def energy_along(t, direction=direction):
            prior.theta[:] = start + t * direction
            assert np.array_equal(masks(prior.theta, prior.sizes, x), masks(start, prior.sizes, x))
            return grad_energy @ prior.energy(x)

        assert_central_difference(energy_along, gradient @ direction, error, step)


@pytest.mark.parametrize(("dim", "widths"), [(1, (3, 31)), (2, (17, 64, 5)), (20, (16,))])
def test_gradient_in_x_is_the_derivative_of_the_energy(rng, dim, widths):
    prior, x, grad_energy = make_problem(np.float64, dim, widths, 31)
    error = (
        np.abs(grad_energy)
        @ naive.mlp_error(prior.theta, prior.sizes, x, grad_energy, EPS[np.float64])[0]
    )
    direction = rng.standard_normal(x.shape)

    def energy_along(t):
        assert np.array_equal(
            masks(prior.theta, prior.sizes, x + t * direction), masks(prior.theta, prior.sizes, x)
        )
        return grad_energy @ prior.energy(x + t * direction)

    slope = grad_energy @ (prior.energy_grad(x) * direction).sum(axis=1)
    assert_central_difference(energy_along, slope, error, 1e-7)


@pytest.mark.parametrize(
    ("dtype", "dim", "widths", "n"),
    [(np.float32, 2, (17, 64, 5), 5000), (np.float64, 16, (3, 31), 1021)],
)
def test_number_of_threads_does_not_change_a_bit(on_threads, dtype, dim, widths, n):
    prior, x, grad_energy = make_problem(dtype, dim, widths, n)

    def everything():
        energy, state = prior.forward(x)
        return energy.copy(), prior.backward(grad_energy, state), *prior.energy_and_grad(x)

    for one, two in zip(*on_threads(everything), strict=True):
        assert np.array_equal(one, two)


@over_table
def test_forward_without_keeping_gives_the_same_bits(backend, dtype, dim, widths, n):
    prior, x, _ = make_problem(dtype, dim, widths, n)
    prior, x = on_backend(backend, prior), backend.array(x)
    kept = backend.host(prior.forward(x)[0]).copy()
    energy, (_, _, activations) = prior.forward(x, keep=False)
    assert np.array_equal(backend.host(energy), kept)
    assert activations.size == 0


def test_backward_writes_into_out_and_leaves_the_state_for_another(backend):
    prior, x, grad_energy = make_problem(np.float32, 2, (3, 31), 257)
    prior, grad_energy = on_backend(backend, prior), backend.array(grad_energy)
    _, state = prior.forward(backend.array(x))
    first = prior.backward(grad_energy, state)
    out = first * np.nan
    assert prior.backward(grad_energy, state, out) is out
    first = backend.host(first)
    assert np.array_equal(backend.host(out), first)
    assert np.array_equal(
        backend.host(prior.backward(-2 * grad_energy, state)), -2 * first
    )  # a sign and a power of two


def test_gradients_of_more_parts_than_one_pass_takes_are_the_oracles(backend):
    prior, x, grad_energy = make_problem(np.float64, 2, (5,), 6000)
    exact = naive.mlp_gradients(prior.theta, prior.sizes, x, grad_energy)[0]
    error = naive.mlp_error(prior.theta, prior.sizes, x, grad_energy, EPS[np.float64])[1]
    prior = on_backend(backend, prior)
    gradient = backend.host(
        prior.backward(backend.array(grad_energy), prior.forward(backend.array(x))[1])
    )
    assert_within(gradient[:-1], exact, error)


def test_nothing_beyond_the_last_row_is_read(backend):
    prior, x, grad_energy = make_problem(np.float64, 2, (3, 31), 33)
    prior = on_backend(backend, prior)

    def gradient(x, grad_energy):
        return backend.host(prior.backward(grad_energy, prior.forward(x)[1]))

    expected = gradient(backend.array(x), backend.array(grad_energy))
    longer = (
        backend.array(np.vstack([x, np.full((3, 2), np.nan)])),
        backend.array(np.append(grad_energy, [np.nan] * 3)),
    )
    assert np.array_equal(gradient(longer[0][:33], longer[1][:33]), expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_that_do_not_fit_in_shared_memory_give_the_same_bits(backend, monkeypatch, dtype):
    prior, x, grad_energy = make_problem(dtype, 2, (17, 64, 5), 100)
    prior, x, grad_energy = on_backend(backend, prior), backend.array(x), backend.array(grad_energy)

    def everything():
        energy, state = prior.forward(x)
        results = (
            energy,
            prior.backward(grad_energy, state),
            *prior.energy_and_grad(x),
            prior.energy(x),
        )
        return [backend.host(result).copy() for result in results]

    fits = everything()
    monkeypatch.setattr(launcher, "shared_bytes", lambda: 0)
    for one, other in zip(fits, everything(), strict=True):
        assert np.array_equal(one, other)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_blocks_of_64_kib_are_enough(device, monkeypatch, dtype):
    if device.name != "cuda-host":
        pytest.skip("the stand-in can be such a device")
    monkeypatch.setattr(stand_in, "SHARED_BYTES", 64 << 10)  # Turing
    cuda.shared_bytes.cache_clear()
    prior, x, grad_energy = make_problem(dtype, 2, (17, 128, 5), 65)
    exact = naive.mlp_gradients(prior.theta, prior.sizes, x, grad_energy)[0]
    error = naive.mlp_error(prior.theta, prior.sizes, x, grad_energy, EPS[dtype])[1]
    x, prior = device.array(x), on_backend(device, prior)
    gradient = device.host(prior.backward(device.array(grad_energy), prior.forward(x)[1]))
    assert_within(gradient[:-1], exact, error)
    assert np.isfinite(device.host(prior.energy_grad(x))).all()
    cuda.shared_bytes.cache_clear()
