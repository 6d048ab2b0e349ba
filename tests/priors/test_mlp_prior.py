"""MLPPrior as an object: parameters, densities, files, copies and bad input."""

import copy
import pickle

import naive
import numpy as np
import pytest
from bounds import assert_within

import fastcl
from fastcl import files
from fastcl.backend import to_host


@pytest.fixture
def gaussian():
    return fastcl.Gaussian([0.5, -1.0], [[2.0, 0.3], [0.3, 1.0]])


def make_prior(dtype=np.float64, **options):
    prior = fastcl.MLPPrior(2, (3, 31), rng=5, dtype=dtype, **options)
    prior.theta += 0.1
    return prior


def on_backend(backend, prior):
    """The prior with its parameters moved to the backend."""
    prior.theta = backend.array(prior.theta)
    return prior


def load(path):
    return fastcl.MLPPrior.load(path)


def test_theta_holds_he_initialised_matrices_zero_biases_and_the_log_scale():
    prior = fastcl.MLPPrior(dim=20, widths=(300, 200), rng=0)
    assert prior.dim == 20
    assert prior.widths == (300, 200)
    assert prior.dtype == np.float32
    assert prior.log_scale == 0
    assert prior.theta.shape == (20 * 300 + 300 + 300 * 200 + 200 + 200 * 20 + 20 + 1,)
    for matrix, bias in naive.mlp_layers(prior.theta, prior.sizes):
        # The mean square of N normal numbers of variance v has standard error v sqrt(2 / N).
        assert abs((matrix**2).mean() * len(matrix) / 2 - 1) < 5 * np.sqrt(2 / matrix.size)
        assert (bias == 0).all()


def test_parameters_follow_the_seed():
    first, second = (fastcl.MLPPrior(2, (8,), rng=rng) for rng in (3, np.random.default_rng(3)))
    assert np.array_equal(first.theta, second.theta)
    assert not np.array_equal(first.theta, fastcl.MLPPrior(2, (8,), rng=4).theta)


def test_every_call_uses_the_current_parameters(backend, rng):
    prior = on_backend(backend, make_prior())
    x = rng.standard_normal((31, 2))
    for _ in range(2):
        theta = rng.standard_normal(prior.theta.size)
        prior.theta[:] = backend.array(theta)
        error = naive.mlp_error(theta, prior.sizes, x, np.ones(31), np.finfo(np.float64).eps)[0]
        # Nor are cached copies of theta, on the device of the points, out of date.
        for points in (x, backend.array(x)):
            energy = to_host(prior.energy(points))
            assert_within(energy, naive.mlp_energy(theta, prior.sizes, x), error)


def test_theta_decides_where_the_prior_lives_and_x_where_results_do(backend, rng, gaussian):
    x = rng.standard_normal((31, 2))
    sizes = make_prior().sizes
    theta = rng.standard_normal(make_prior().theta.size)
    exact_energy = naive.mlp_energy(theta, sizes, x)
    exact_gradient = naive.mlp_gradients(theta, sizes, x, np.ones(31))[1]
    eps = np.finfo(np.float64).eps
    energy_error, _, x_error, clear = naive.mlp_error(theta, sizes, x, np.ones(31), eps)
    for reference in (None, gaussian):
        prior = make_prior(reference=reference)
        log_q = 0 if reference is None else reference.log_density(x)
        for moved in (backend.array(theta), theta):  # to the backend, and back to the host
            prior.theta = moved
            assert type(prior.theta) is type(moved)
            assert np.array_equal(to_host(prior.theta), theta)
            for points in (x, backend.array(x)):
                calls = prior.energy, prior.energy_grad, prior.log_density
                results = [call(points) for call in calls]
                assert all(type(result) is type(points) for result in results)
                energy, gradient, log_density = map(to_host, results)
                assert_within(energy, exact_energy, energy_error)
                assert_within(gradient[clear], exact_gradient[clear], x_error[clear])
                assert np.array_equal(log_density, prior.log_scale - energy + log_q)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_results_have_the_type_of_x(rng, dtype):
    x = rng.standard_normal((31, 2)).astype(dtype)
    for theta_dtype in (np.float32, np.float64):
        prior = make_prior(theta_dtype)
        # The parameters are first rounded to the type of x.
        rounded = prior.theta.astype(dtype)
        energy_error, _, x_error, clear = naive.mlp_error(
            rounded, prior.sizes, x, np.ones(31), np.finfo(dtype).eps
        )
        energy, gradient = prior.energy(x), prior.energy_grad(x)
        for result in (energy, gradient, prior.log_density(x)):
            assert result.dtype == dtype
        exact = naive.mlp_energy(rounded, prior.sizes, x)
        assert_within(energy, exact, energy_error)
        exact = naive.mlp_gradients(rounded, prior.sizes, x, np.ones(31))[1]
        assert_within(gradient[clear], exact[clear], x_error[clear])


def test_layout_and_type_of_x_do_not_change_a_bit(rng):
    prior = make_prior()
    base = rng.integers(-4, 5, (62, 4)).astype(np.float64)
    plain = base[::2, ::2].copy()
    read_only = plain.copy()
    read_only.flags.writeable = False
    for x in (
        base[::2, ::2],
        np.asfortranarray(plain),
        read_only,
        plain.astype(int),
        plain.astype(">f8"),
        plain.tolist(),
    ):
        assert np.array_equal(prior.energy(x), prior.energy(plain))
        assert np.array_equal(prior.energy_grad(x), prior.energy_grad(plain))
    half, single = plain.astype(np.float16), plain.astype(np.float32)
    assert np.array_equal(prior.energy(half), prior.energy(single))


def test_log_density_is_log_scale_minus_energy(rng):
    prior, x = make_prior(), rng.standard_normal((31, 2))
    prior.log_scale = 1.5
    assert prior.theta[-1] == 1.5
    assert np.array_equal(prior.log_density(x), 1.5 - prior.energy(x))


def test_log_density_adds_that_of_the_reference(rng, gaussian):
    prior, x = make_prior(reference=gaussian), rng.standard_normal((31, 2))
    prior.log_scale = -0.5
    difference = x - [0.5, -1.0]
    precision = np.linalg.inv([[2.0, 0.3], [0.3, 1.0]])
    determinant = 2.0 * 1.0 - 0.3**2
    log_q = -((difference @ precision) * difference).sum(axis=1) / 2
    log_q -= np.log((2 * np.pi) ** 2 * determinant) / 2
    expected = -0.5 - prior.energy(x) + log_q
    # A few operations on terms of these sizes; the condition of the covariance is below 3.
    size = 0.5 + prior.energy(x) + np.abs(log_q) + (difference**2).sum(axis=1)
    bound = 30 * np.finfo(np.float64).eps * size
    assert_within(prior.log_density(x), expected, bound)


# ---- files and copies ----------------------------------------------------------------------------


def assert_same(one, other, x):
    assert (one.sizes.tolist(), one.dtype) == (other.sizes.tolist(), other.dtype)
    assert np.array_equal(to_host(one.theta), to_host(other.theta))
    assert np.array_equal(one.log_density(x), other.log_density(x))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("with_reference", [False, True])
def test_saved_prior_is_the_same(backend, tmp_path, rng, gaussian, dtype, with_reference):
    prior = on_backend(backend, make_prior(dtype, reference=gaussian if with_reference else None))
    prior.log_scale = 2
    x = backend.array(rng.standard_normal((31, 2)))
    prior.save(tmp_path / "prior.npz")
    # A prior is read to the host, whatever device it was on.
    assert_same(load(tmp_path / "prior.npz"), prior, x)
    assert [file.name for file in tmp_path.iterdir()] == ["prior.npz"]


@pytest.mark.parametrize(
    "duplicate", [lambda prior: pickle.loads(pickle.dumps(prior)), copy.deepcopy]
)
def test_copies_are_equal_and_independent(backend, rng, gaussian, duplicate):
    prior = on_backend(backend, make_prior(reference=gaussian))
    x = backend.array(rng.standard_normal((31, 2)))
    before = prior.log_density(x)
    other = duplicate(prior)
    assert type(other.theta) is type(prior.theta)
    assert_same(other, prior, x)
    other.theta += 1
    other.log_density(x)
    assert np.array_equal(prior.log_density(x), before)


def test_pickle_leaves_out_scratch_memory(rng):
    prior = make_prior()
    small = len(pickle.dumps(prior))
    prior.forward(rng.standard_normal((1021, 2)))
    assert len(pickle.dumps(prior)) == small


ARRAYS = make_prior().to_arrays()


@pytest.mark.parametrize(
    "change",
    [
        {"theta": None},
        {"sizes": None},
        {"theta": np.zeros(5)},
        {"theta": np.zeros((2, 3))},
        {"theta": np.full_like(ARRAYS["theta"], np.nan)},
        {"theta": ARRAYS["theta"].astype(complex)},
        {"theta": ARRAYS["theta"].astype(int)},
        {"sizes": np.array([2, 3, 31, 3])},
        {"sizes": np.array([2, 2])},
        {"sizes": np.array(2)},
        {"sizes": np.array([2, -3, 31, 2])},
        {"sizes": np.array([2, np.inf, 31, 2])},
        {"sizes": np.array(["2", "3", "31", "2"])},
        {"sizes": np.array([2.5, 3, 31, 2.5])},
        {"sizes": np.array([2, 2**39, 31, 2])},
        {"sizes": np.array([2, 2**62, 2**62, 2])},
        {"reference.kind": np.array("unknown")},
        {"reference.means": np.zeros((1, 2))},
    ],
    ids=lambda change: " ".join(f"{name} {np.shape(value)}" for name, value in change.items()),
)
def test_arrays_that_make_no_prior_are_refused(change):
    arrays = {name: array for name, array in (ARRAYS | change).items() if array is not None}
    with pytest.raises(
        (ValueError, TypeError), match=r"prior|theta|sizes|widths|dtype|reference|domain"
    ):
        files.restore("prior", arrays)


def test_a_file_of_another_kind_or_cut_short_is_refused(tmp_path):
    path = tmp_path / "prior.npz"
    fastcl.Sketch(np.ones((3, 2))).save(path)
    with pytest.raises(ValueError, match="holds a sketch, expected MLPPrior"):
        load(path)
    make_prior().save(path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match="truncated"):
        load(path)


# ---- bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "arguments", "error"),
    [
        ("dim", {"dim": 0}, ValueError),
        ("dim", {"dim": 2.0}, TypeError),
        ("dim", {"dim": None}, TypeError),
        ("widths", {"widths": ()}, ValueError),
        ("widths", {"widths": (3, 0)}, ValueError),
        ("widths", {"widths": (3.0,)}, TypeError),
        ("widths", {"widths": 64}, TypeError),
        ("widths", {"widths": "64"}, TypeError),
        ("dtype", {"dtype": np.int32}, ValueError),
        ("dtype", {"dtype": np.float16}, ValueError),
        ("dtype", {"dtype": "real"}, TypeError),
        ("rng", {"rng": "0"}, TypeError),
        ("reference", {"reference": fastcl.Box([-1, -1], [1, 1])}, TypeError),
        ("reference", {"reference": 1}, TypeError),
        ("reference", {"reference": fastcl.Gaussian([0.0], [[1.0]])}, ValueError),
    ],
    ids=lambda value: "-".join(map(str, value.values())) if isinstance(value, dict) else None,
)
def test_bad_arguments_are_named(name, arguments, error):
    with pytest.raises(error, match=rf"(^|\W){name}\W"):
        fastcl.MLPPrior(**{"dim": 2, "widths": (4,), "rng": 0} | arguments)


@pytest.mark.parametrize("method", ["energy", "energy_grad", "energy_and_grad", "log_density"])
@pytest.mark.parametrize(
    ("bad", "error"),
    [
        (np.zeros(3), ValueError),
        (np.zeros((3, 3)), ValueError),
        (np.zeros((0, 2)), ValueError),
        (1.0, ValueError),
        (np.array([[0.0, np.nan]]), ValueError),
        (np.array([[-np.inf, 0.0]]), ValueError),
        ([[1.0, 2.0], [3.0]], ValueError),
        (np.zeros((3, 2), complex), TypeError),
        (np.full((3, 2), None), TypeError),
        (np.full((3, 2), "1"), TypeError),
        (None, TypeError),
        (type("Array", (), {"__module__": "dask.array.core"})(), TypeError),
    ],
)
def test_bad_points_raise_an_error_that_names_x(method, bad, error):
    with pytest.raises(error, match=r"(^|\W)x\W") as caught:
        getattr(make_prior(), method)(bad)
    assert type(caught.value) is error


@pytest.mark.parametrize("offset", [0.0, 128.0])
def test_initialise_on_gives_the_documented_energy_and_mass(backend, offset):
    box = fastcl.Box([offset - 60, -0.1], [offset + 60, 0.1])
    normal = fastcl.Gaussian([offset, 1.0], [[900.0, 0.0], [0.0, 0.01]])
    for domain, reference, volume, energy in (
        (box, None, box.volume, 1.0),
        (normal, normal, 1.0, 0.1),
    ):
        prior = fastcl.MLPPrior(2, (32,), rng=0, reference=reference, dtype=np.float64)
        on_backend(backend, prior).initialise_on(domain, rng=0)
        found = prior.energy(domain.sample(100_000, rng=1))
        mass = volume * np.exp(prior.log_scale - found)
        # Both were set on 4096 other points: five standard errors of a mean over 4096.
        assert abs(found.mean() - energy) < 5 * found.std() / 64
        assert abs(mass.mean() - 1) < 5 * mass.std() / 64


def test_assignment_to_theta_copies_and_checks():
    prior = fastcl.MLPPrior(1, (4,), rng=0)
    before = prior.theta
    prior.theta = np.arange(prior.theta.size)
    assert prior.theta is before
    assert prior.log_scale == prior.theta.size - 1
    for bad, error in (
        (np.zeros(3), ValueError),
        (np.full(prior.theta.size, np.nan), ValueError),
        ("theta", TypeError),
    ):
        with pytest.raises(error, match="theta"):
            prior.theta = bad


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_a_network_is_adapted_to_a_domain_of_any_unit(scale):
    box = fastcl.Box([-scale] * 2, [scale] * 2)
    prior = fastcl.MLPPrior(2, (8,), rng=0)
    prior.initialise_on(box, rng=0)
    assert np.isfinite(prior.theta).all()
    assert np.isfinite(prior.log_density(box.sample(9, 1, np.float32))).all()


def test_a_domain_that_the_type_cannot_hold_is_refused():
    prior = fastcl.MLPPrior(2, (8,), rng=0)
    before = prior.theta.copy()
    with pytest.raises(ValueError, match="domain is too small for float32"):
        prior.initialise_on(fastcl.Box([-1e-42] * 2, [1e-42] * 2))
    with pytest.raises(TypeError, match="domain must be a Box or a reference measure"):
        prior.initialise_on("box")
    np.testing.assert_array_equal(prior.theta, before)


def test_an_energy_that_overflows_is_an_error():
    prior = fastcl.MLPPrior(2, (8,), rng=0)
    with pytest.raises(ValueError, match="x is so large that energy overflows in float32"):
        prior.energy(np.full((1, 2), 1e30, np.float32))
