"""The optimisers against their textbook recursions."""

import numpy as np
import pytest
from bounds import assert_within

import fastcl

N_STEPS = 40
DTYPES = [np.float32, np.float64]


def schedule(k):
    return 1 / (1 + 0.1 * k)


def gradients(dtype, size=11):
    """Gradients of very different sizes, one row per step."""
    rng = np.random.default_rng(0)
    return (rng.standard_normal((N_STEPS, size)) * 10.0 ** rng.uniform(-3, 2, size)).astype(dtype)


def run(optimizer, theta, steps):
    """Theta after each of `steps`."""
    path = []
    for gradient in steps:
        optimizer.update(theta, gradient)
        path.append(theta.copy())
    return path


def textbook_sgd(theta, steps, step, momentum, nesterov):
    # Polyak: v <- b v + g, theta <- theta - h v. Nesterov, in the shifted variables of Sutskever et
    # al. 2013: theta <- theta - h (g + b v).
    velocity, path = np.zeros_like(theta), []
    for k, gradient in enumerate(steps):
        velocity = momentum * velocity + gradient
        theta = theta - step * schedule(k) * (
            gradient + momentum * velocity if nesterov else velocity
        )
        path.append(theta)
    return np.array(path)


def textbook_adam(theta, steps, step, beta1, beta2, epsilon):
    # Kingma and Ba, algorithm 1, with its t = k + 1.
    first, second, path = np.zeros_like(theta), np.zeros_like(theta), []
    for k, gradient in enumerate(steps):
        first = beta1 * first + (1 - beta1) * gradient
        second = beta2 * second + (1 - beta2) * gradient**2
        unbiased_first, unbiased_second = (
            first / (1 - beta1 ** (k + 1)),
            second / (1 - beta2 ** (k + 1)),
        )
        theta = theta - step * schedule(k) * unbiased_first / (np.sqrt(unbiased_second) + epsilon)
        path.append(theta)
    return np.array(path)


def assert_same_path(path, expected):
    # Every step rounds theta and a sum over the steps before it: at most N_STEPS^2 roundings of the
    # largest value that the coordinate has taken.
    tolerance = N_STEPS**2 * np.finfo(path.dtype).eps * np.abs(expected).max(axis=0)
    assert_within(path, expected, tolerance)


# ---- the recursions -----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("momentum", "nesterov"), [(0.0, False), (0.9, False), (0.9, True), (0.0, True)]
)
def test_sgd_takes_the_textbook_steps(backend, momentum, nesterov, dtype):
    optimizer = fastcl.SGD(0.3, momentum, nesterov, schedule)
    start, steps = np.linspace(-1, 1, 11), gradients(dtype)
    expected = textbook_sgd(start, steps.astype(np.float64), 0.3, momentum, nesterov)
    theta = backend.array(start.astype(dtype))
    path = np.array(
        [backend.host(array) for array in run(optimizer, theta, map(backend.array, steps))]
    )
    assert path.dtype == dtype
    assert_same_path(path, expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("beta1", "beta2", "epsilon"), [(0.9, 0.999, 1e-8), (0.5, 0.9, 1e-2), (0.0, 0.99, 1e-8)]
)
def test_adam_takes_the_textbook_steps(backend, beta1, beta2, epsilon, dtype):
    optimizer = fastcl.Adam(0.03, beta1, beta2, epsilon, schedule)
    start, steps = np.linspace(-1, 1, 11), gradients(dtype)
    expected = textbook_adam(start, steps.astype(np.float64), 0.03, beta1, beta2, epsilon)
    theta = backend.array(start.astype(dtype))
    path = np.array(
        [backend.host(array) for array in run(optimizer, theta, map(backend.array, steps))]
    )
    assert path.dtype == dtype
    assert_same_path(path, expected)


def test_nesterov_looks_ahead_of_heavy_ball():
    # In Nesterov's own form the gradient is taken at theta - h b v, which is the variable that the
    # code holds.
    hessian, step, momentum = np.diag([1.0, 10.0]), 0.05, 0.8
    held, optimizer = np.array([1.0, 1.0]), fastcl.SGD(step, momentum, nesterov=True)
    theta, velocity = held.copy(), np.zeros(2)
    for _ in range(N_STEPS):
        ahead = theta - step * momentum * velocity
        np.testing.assert_allclose(held, ahead, rtol=0, atol=N_STEPS**2 * np.finfo(float).eps)
        velocity = momentum * velocity + hessian @ ahead
        theta = theta - step * velocity
        optimizer.update(held, hessian @ held)


OPTIMIZERS = {
    "plain": lambda **settings: fastcl.SGD(0.05, **settings),
    "heavy ball": lambda **settings: fastcl.SGD(0.05, momentum=0.8, **settings),
    "nesterov": lambda **settings: fastcl.SGD(0.05, momentum=0.8, nesterov=True, **settings),
    "adam": lambda **settings: fastcl.Adam(0.05, **settings),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_update_works_in_place_and_leaves_the_gradient(name):
    optimizer = OPTIMIZERS[name]()
    theta, gradient = np.zeros(3), np.array([1.0, -2.0, 0.0])
    view = theta[:]
    for _ in range(3):
        optimizer.update(theta, gradient)
    np.testing.assert_array_equal(gradient, [1.0, -2.0, 0.0])
    assert view[0] < 0 < view[1]
    assert view[2] == 0
    assert optimizer.iteration == 3


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_update_does_not_keep_the_callers_gradient(name):
    # The loop reuses one array for all its gradients.
    steps, start = gradients(np.float64), np.zeros(11)
    shared, path, theta = np.empty(11), [], start.copy()
    optimizer = OPTIMIZERS[name]()
    for gradient in steps:
        shared[:] = gradient
        optimizer.update(theta, shared)
        path.append(theta.copy())
    np.testing.assert_array_equal(path, run(OPTIMIZERS[name](), start.copy(), steps))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_finds_the_minimum_of_a_quadratic(name):
    hessian, best = np.array([[2.0, 0.5], [0.5, 1.0]]), np.array([0.3, -0.7])
    theta, optimizer = np.array([2.0, 2.0]), OPTIMIZERS[name](schedule=fastcl.Cosine(1000))
    for _ in range(1000):
        optimizer.update(theta, hessian @ (theta - best))
    # Gradient descent with step size h shrinks the error by 1 - 0.8 h or better; the mean step size
    # of a cosine is half as large: exp(-0.02 1000) = 2e-9.
    np.testing.assert_allclose(theta, best, rtol=0, atol=1e-7)


# ---- schedules ----------------------------------------------------------------------------------


def test_constant_schedule_is_one():
    assert [fastcl.Constant()(k) for k in (0, 1, 10**6)] == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("offset", [1.0, 50.0])
@pytest.mark.parametrize("power", [0.51, 0.75, 1.0])
def test_diminishing_steps_have_an_infinite_sum_and_a_finite_sum_of_squares(offset, power):
    steps = fastcl.Diminishing(offset, power)
    assert steps(0) == 1.0
    np.testing.assert_allclose(steps(3 * offset), 4**-power, rtol=1e-14)
    # Sums over k = 2^j .. 2^(j+1) grow like 2^(j (1 - power)), those of squares like
    # 2^(j (1 - 2 power)). The first series diverges if its ratio is at least 1, the second
    # converges if its ratio is below 1.
    blocks = [np.array([steps(k) for k in range(2**j, 2 ** (j + 1))]) for j in (14, 15)]
    # At k = 2^14 the offset changes the ratio by power offset / k, 0.3 %, and the ends of the sums
    # change it by less.
    ratio, square_ratio = (
        blocks[1].sum() / blocks[0].sum(),
        (blocks[1] ** 2).sum() / (blocks[0] ** 2).sum(),
    )
    np.testing.assert_allclose(ratio, 2 ** (1 - power), rtol=1e-2)
    np.testing.assert_allclose(square_ratio, 2 ** (1 - 2 * power), rtol=1e-2)


def test_cosine_falls_from_one_to_the_final_factor_and_stays():
    steps = fastcl.Cosine(100, final=0.2)
    np.testing.assert_allclose(
        [steps(0), steps(50), steps(100), steps(1000)], [1, 0.6, 0.2, 0.2], rtol=1e-14
    )
    assert all(steps(k) > steps(k + 1) for k in range(100))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_schedule_multiplies_the_step(name):
    optimizer, still = OPTIMIZERS[name](schedule=lambda k: float(k != 1)), np.ones(2)
    theta = np.zeros(2)
    first, second, third = run(optimizer, theta, [still, still, still])
    assert (first != 0).all()
    np.testing.assert_array_equal(first, second)
    assert (third != second).all()


def test_diminishing_steps_converge_under_noise_where_constant_ones_do_not():
    rng = np.random.default_rng(1)
    noise = rng.standard_normal((4000, 500))  # 500 independent coordinates of 1/2 x^2
    tail = {}
    for schedule in (fastcl.Constant(), fastcl.Diminishing(offset=20, power=0.9)):
        theta, optimizer = np.ones(500), fastcl.SGD(0.2, schedule=schedule)
        for row in noise:
            optimizer.update(theta, theta + row)
        tail[type(schedule)] = (theta**2).mean()
    # A constant step size h keeps a variance of h / (2 - h) = 0.111; 500 squares estimate it within
    # 5 standard errors of 6 %.
    assert abs(tail[fastcl.Constant] - 0.2 / 1.8) < 5 * 0.0632 * 0.2 / 1.8
    assert tail[fastcl.Diminishing] < 0.2 * tail[fastcl.Constant]


# ---- state --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("stop", [0, 1, 17])
def test_loaded_state_continues_bitwise_identically(name, stop, dtype):
    steps = gradients(dtype)
    unbroken = run(OPTIMIZERS[name](schedule=schedule), np.zeros(11, dtype), steps)
    theta, first, second = (
        np.zeros(11, dtype),
        OPTIMIZERS[name](schedule=schedule),
        OPTIMIZERS[name](schedule=schedule),
    )
    run(first, theta, steps[:stop])
    second.update(np.ones(11, dtype), steps[3])  # what it did before must not matter
    second.load_state(first.state())
    np.testing.assert_array_equal(run(second, theta, steps[stop:]), unbroken[stop:])
    assert second.iteration == N_STEPS


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_state_does_not_move_with_later_steps(name):
    steps, optimizer = gradients(np.float64), OPTIMIZERS[name]()
    run(optimizer, np.zeros(11), steps[:5])
    state = optimizer.state()
    kept = {key: np.array(value) for key, value in state.items()}
    run(optimizer, np.zeros(11), steps[5:9])
    for key, value in kept.items():
        np.testing.assert_array_equal(state[key], value)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_loading_a_state_copies_it(name):
    steps, first, second = gradients(np.float64), OPTIMIZERS[name](), OPTIMIZERS[name]()
    run(first, np.zeros(11), steps[:5])
    state = {key: np.array(value) for key, value in first.state().items()}
    kept = {key: value.copy() for key, value in state.items()}
    second.load_state(state)
    run(second, np.zeros(11), steps[5:9])
    for key, value in kept.items():
        np.testing.assert_array_equal(state[key], value)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_reset_forgets_everything_but_the_settings(name):
    steps, optimizer = gradients(np.float64), OPTIMIZERS[name]()
    first = run(optimizer, np.zeros(11), steps)
    optimizer.reset()
    np.testing.assert_array_equal(run(optimizer, np.zeros(11), steps), first)


# ---- bad settings -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: fastcl.SGD(0), "step"),
        (lambda: fastcl.SGD(-1.0), "step"),
        (lambda: fastcl.SGD(np.nan), "step"),
        (lambda: fastcl.Adam(np.inf), "step"),
        (lambda: fastcl.SGD(0.1, momentum=1.0), "momentum"),
        (lambda: fastcl.SGD(0.1, momentum=-0.1), "momentum"),
        (lambda: fastcl.SGD(0.1, momentum=np.nan), "momentum"),
        (lambda: fastcl.Adam(beta1=1.0), "beta1"),
        (lambda: fastcl.Adam(beta2=-0.5), "beta2"),
        (lambda: fastcl.Adam(epsilon=-1e-8), "epsilon"),
        (lambda: fastcl.Adam(epsilon=np.nan), "epsilon"),
        (lambda: fastcl.Diminishing(offset=0), "offset"),
        (lambda: fastcl.Diminishing(power=0), "power"),
        (lambda: fastcl.Diminishing(power=1.1), "power"),
        (lambda: fastcl.Cosine(0), "n_iter"),
    ],
)
def test_bad_setting_is_named(make, name):
    with pytest.raises(ValueError, match=name):
        make()


@pytest.mark.parametrize("make", [fastcl.SGD, fastcl.Adam])
def test_schedule_that_cannot_be_called_is_refused_at_once(make):
    with pytest.raises(TypeError, match="schedule"):
        make(0.1, schedule=0.5)


def test_cosine_of_half_an_iteration_is_refused():
    with pytest.raises(TypeError, match="n_iter"):
        fastcl.Cosine(10.5)


def test_a_schedule_is_no_step_size():
    with pytest.raises(TypeError, match=r"step_size must be a number, got Cosine.*schedule"):
        fastcl.Adam(fastcl.Cosine(10))
    with pytest.raises(TypeError, match="step_size must be a number"):
        fastcl.SGD("fast")
