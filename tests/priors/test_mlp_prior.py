"""The prior as an object: its parameters, densities, files, copies, and what it refuses."""

import copy
import pickle

import naive
import numpy as np
import pytest

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
    """The prior moved to the backend."""
    prior.theta = backend.array(prior.theta)
    return prior


def load(path):
    return fastcl.MLPPrior.load(path)


def test_theta_holds_he_initialised_matrices_zero_biases_and_the_log_scale():
    prior = fastcl.MLPPrior(dim=20, widths=(300, 200), rng=0)
    assert (prior.dim, prior.widths, prior.dtype, prior.log_scale) == (
        20,
        (300, 200),
        np.float32,
        0,
    )
    assert prior.theta.shape == (20 * 300 + 300 + 300 * 200 + 200 + 200 * 20 + 20 + 1,)
    for matrix, bias in naive.mlp_layers(prior.theta, prior.sizes):
        # a mean of squares of N Gaussians of variance v has standard error v sqrt(2 / N)
        assert abs((matrix**2).mean() * len(matrix) / 2 - 1) < 5 * np.sqrt(2 / matrix.size)
        assert (bias == 0).all()


def test_seed_draws_the_same_prior():
    first, second = (fastcl.MLPPrior(2, (8,), rng=rng) for rng in (3, np.random.default_rng(3)))
    assert np.array_equal(first.theta, second.theta)
    assert not np.array_equal(first.theta, fastcl.MLPPrior(2, (8,), rng=4).theta)


def test_every_call_sees_the_parameters_as_they_are(backend, rng):
    prior, x = on_backend(backend, make_prior()), rng.standard_normal((31, 2))
    for _ in range(2):
        theta = rng.standard_normal(prior.theta.size)
        prior.theta[:] = backend.array(theta)
        error = naive.mlp_error(theta, prior.sizes, x, np.ones(31), np.finfo(np.float64).eps)[0]
        for points in (
            x,
            backend.array(x),
        ):  # copies of theta beside the points are no older either
            energy = to_host(prior.energy(points))
            assert (np.abs(energy - naive.mlp_energy(theta, prior.sizes, x)) <= error).all()


def test_theta_moves_the_prior_and_x_says_where_results_are(backend, rng, gaussian):
    x, theta = rng.standard_normal((31, 2)), rng.standard_normal(make_prior().theta.size)
    for reference in (None, gaussian):
        prior = make_prior(reference=reference)
        for there in (backend.array(theta), theta):  # to the backend, and back to the host
            prior.theta = there
            assert type(prior.theta) is type(there)
            assert np.array_equal(to_host(prior.theta), theta)
            for points in (x, backend.array(x)):
                error = naive.mlp_error(
                    theta, prior.sizes, x, np.ones(31), np.finfo(np.float64).eps
                )
                results = (
                    prior.energy(points),
                    prior.energy_grad(points),
                    prior.log_density(points),
                )
                assert all(type(result) is type(points) for result in results)
                energy, gradient, log_density = map(to_host, results)
                assert (np.abs(energy - naive.mlp_energy(theta, prior.sizes, x)) <= error[0]).all()
                exact = naive.mlp_gradients(theta, prior.sizes, x, np.ones(31))[1]
                assert (np.abs(gradient - exact) <= error[2])[error[3]].all()
                log_q = 0 if reference is None else reference.log_density(x)
                assert np.array_equal(log_density, prior.log_scale - energy + log_q)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_results_have_the_type_of_x(rng, dtype):
    x = rng.standard_normal((31, 2)).astype(dtype)
    for theta_dtype in (np.float32, np.float64):
        prior = make_prior(theta_dtype)
        # parameters are rounded to the type of x first
        rounded = prior.theta.astype(dtype)
        energy_error, _, x_error, clear = naive.mlp_error(
            rounded, prior.sizes, x, np.ones(31), np.finfo(dtype).eps
        )
        assert (prior.energy(x).dtype, prior.energy_grad(x).dtype, prior.log_density(x).dtype) == (
            dtype,
        ) * 3
        assert (
            np.abs(prior.energy(x) - naive.mlp_energy(rounded, prior.sizes, x)) <= energy_error
        ).all()
        exact = naive.mlp_gradients(rounded, prior.sizes, x, np.ones(31))[1]
        assert (np.abs(prior.energy_grad(x) - exact) <= x_error)[clear].all()


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
    assert np.array_equal(
        prior.energy(plain.astype(np.float16)), prior.energy(plain.astype(np.float32))
    )


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
    log_q = -0.5 * ((difference @ precision) * difference).sum(axis=1) - 0.5 * np.log(
        (2 * np.pi) ** 2 * (2.0 * 1.0 - 0.09)
    )
    expected = -0.5 - prior.energy(x) + log_q
    # a handful of operations on terms of these sizes; the condition of the covariance is below 3
    bound = (
        30
        * np.finfo(np.float64).eps
        * (0.5 + prior.energy(x) + np.abs(log_q) + (difference**2).sum(axis=1))
    )
    assert (np.abs(prior.log_density(x) - expected) <= bound).all()


# ---- files and copies -------------------------------------------------------------------------------------------


def assert_same(one, other, x):
    assert (one.sizes.tolist(), one.dtype) == (other.sizes.tolist(), other.dtype)
    assert np.array_equal(to_host(one.theta), to_host(other.theta))
    assert np.array_equal(one.log_density(x), other.log_density(x))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("with_reference", [False, True])
def test_saved_prior_is_the_prior(backend, tmp_path, rng, gaussian, dtype, with_reference):
    prior = on_backend(backend, make_prior(dtype, reference=gaussian if with_reference else None))
    prior.log_scale, x = 2, backend.array(rng.standard_normal((31, 2)))
    prior.save(tmp_path / "prior.npz")
    assert_same(load(tmp_path / "prior.npz"), prior, x)  # a file says nothing about the device
    assert [file.name for file in tmp_path.iterdir()] == ["prior.npz"]


@pytest.mark.parametrize(
    "duplicate", [lambda prior: pickle.loads(pickle.dumps(prior)), copy.deepcopy]
)
def test_copies_are_equal_and_apart(backend, rng, gaussian, duplicate):
    prior, x = (
        on_backend(backend, make_prior(reference=gaussian)),
        backend.array(rng.standard_normal((31, 2))),
    )
    before = prior.log_density(x)
    other = duplicate(prior)
    assert type(other.theta) is type(prior.theta)
    assert_same(other, prior, x)
    other.theta += 1
    other.log_density(x)
    assert np.array_equal(prior.log_density(x), before)


def test_pickle_leaves_the_scratch_memory_out(rng):
    prior = make_prior()
    small = len(pickle.dumps(prior))
    prior.forward(rng.standard_normal((1021, 2)))
    assert len(pickle.dumps(prior)) == small


def good_arrays():
    return make_prior().to_arrays()


@pytest.mark.parametrize(
    "change",
    [
        {"theta": None}, {"sizes": None},
        {"theta": np.zeros(5)}, {"theta": np.zeros((2, 3))}, {"theta": np.full_like(good_arrays()["theta"], np.nan)},
        {"theta": good_arrays()["theta"].astype(complex)}, {"theta": good_arrays()["theta"].astype(int)},
        {"sizes": np.array([2, 3, 31, 3])}, {"sizes": np.array([2, 2])}, {"sizes": np.array(2)},
        {"sizes": np.array([2, -3, 31, 2])}, {"sizes": np.array([2, np.inf, 31, 2])}, {"sizes": np.array(["2", "3", "31", "2"])},
        {"sizes": np.array([2.5, 3, 31, 2.5])}, {"sizes": np.array([2, 2**39, 31, 2])}, {"sizes": np.array([2, 2**62, 2**62, 2])},
        {"reference.kind": np.array("unknown")}, {"reference.means": np.zeros((1, 2))},
    ],
    ids=lambda change: " ".join(f"{name} {np.shape(value)}" for name, value in change.items()),
)  # fmt: skip
def test_arrays_that_are_no_prior_are_refused(change):
    arrays = {name: array for name, array in (good_arrays() | change).items() if array is not None}
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


# ---- what is refused --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "arguments", "error"),
    [
        ("dim", {"dim": 0}, ValueError), ("dim", {"dim": 2.0}, TypeError), ("dim", {"dim": None}, TypeError),
        ("widths", {"widths": ()}, ValueError), ("widths", {"widths": (3, 0)}, ValueError),
        ("widths", {"widths": (3.0,)}, TypeError), ("widths", {"widths": 64}, TypeError), ("widths", {"widths": "64"}, TypeError),
        ("dtype", {"dtype": np.int32}, ValueError), ("dtype", {"dtype": np.float16}, ValueError),
        ("dtype", {"dtype": "real"}, TypeError),
        ("rng", {"rng": "0"}, TypeError),
        ("reference", {"reference": fastcl.Box([-1, -1], [1, 1])}, ValueError), ("reference", {"reference": 1}, ValueError),
        ("reference", {"reference": fastcl.Gaussian([0.0], [[1.0]])}, ValueError),
    ],
    ids=lambda value: "-".join(map(str, value.values())) if isinstance(value, dict) else None,
)  # fmt: skip
def test_bad_arguments_are_named(name, arguments, error):
    with pytest.raises(error, match=rf"(^|\W){name}\W"):
        fastcl.MLPPrior(**{"dim": 2, "widths": (4,), "rng": 0} | arguments)


@pytest.mark.parametrize("method", ["energy", "energy_grad", "energy_and_grad", "log_density"])
@pytest.mark.parametrize(
    ("bad", "error"),
    [
        (np.zeros(2), ValueError), (np.zeros((3, 3)), ValueError), (np.zeros((0, 2)), ValueError), (1.0, ValueError),
        (np.array([[0.0, np.nan]]), ValueError), (np.array([[-np.inf, 0.0]]), ValueError), ([[1.0, 2.0], [3.0]], ValueError),
        (np.zeros((3, 2), complex), TypeError), (np.full((3, 2), None), TypeError), (np.full((3, 2), "1"), TypeError),
        (None, TypeError),
        (type("Array", (), {"__module__": "dask.array.core"})(), TypeError),
    ],
)  # fmt: skip
def test_bad_points_are_an_error_that_names_x(method, bad, error):
    with pytest.raises(error, match=r"(^|\W)x\W") as caught:
        getattr(make_prior(), method)(bad)
    assert type(caught.value) is error


@pytest.mark.parametrize("offset", [0.0, 128.0])
def test_start_near_gives_the_energy_and_the_mass_that_it_promises(backend, offset):
    box = fastcl.Box([offset - 60, -0.1], [offset + 60, 0.1])
    normal = fastcl.Gaussian([offset, 1.0], [[900.0, 0.0], [0.0, 0.01]])
    for domain, volume, energy in ((box, box.volume, 5.0), (normal, 1.0, 0.1)):
        prior = fastcl.MLPPrior(
            2, (32,), rng=0, reference=normal if domain is normal else None, dtype=np.float64
        )
        on_backend(backend, prior).initialise_on(domain, rng=0)
        found = prior.energy(domain.sample(100_000, rng=1))
        mass = volume * np.exp(prior.log_scale - found)
        # both are set on 4096 points and looked at on others: five standard errors of the mean of 4096
        assert abs(found.mean() - energy) < 5 * found.std() / 64
        assert abs(mass.mean() - 1) < 5 * mass.std() / 64


def test_assigning_theta_copies_and_checks():
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
