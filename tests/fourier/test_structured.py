"""Structured frequencies: their maps and distributions, and that they keep their structure."""

import naive
import numpy as np
import pytest
from backends import Backend
from bounds import assert_within
from scipy.stats import kstest

import fastcl
from fastcl.fourier import operator
from fastcl.fourier.operator import DirectOperator, HadamardOperator, PackedOperator
from fastcl.fourier.radii import DISTRIBUTIONS
from fastcl.fourier.structured import HadamardFrequencies, HarmonicFrequencies

EPS = {dtype: np.finfo(dtype).eps for dtype in (np.float32, np.float64)}
bounds_checked = pytest.mark.again("bounds_checked", backend="numba")


@pytest.fixture(autouse=True)
def _kernels_at_every_size(monkeypatch):
    """Hadamard blocks use their own kernels even if they are too small for that to pay."""
    monkeypatch.setattr(operator, "HADAMARD_COST", 0)


def make_points(dtype, n, d):
    """Points, and weights of both signs and zero."""
    rng = np.random.default_rng([n, d])
    w = rng.standard_normal(n).astype(dtype)
    w[1::5] = 0
    return rng.standard_normal((n, d)).astype(dtype), w


def make_coefficients(m):
    rng = np.random.default_rng(m)
    c = rng.standard_normal(m) + 1j * rng.standard_normal(m)
    return c.astype(np.complex64)  # exact in either precision


def assert_maps_are_those_of_the_array(backend, x, w, omega, error):
    """Sum and adjoint agree with loops over the dense array and are adjoint to each other.

    `error` (n, m) bounds the error of each pair.
    """
    eps, c, points = EPS[x.dtype.type], make_coefficients(len(omega)), backend.array(x)
    for weights in (None, w):
        s = backend.host(fastcl.feature_sum(points, omega, backend.array(weights)))
        assert (s.shape, s.dtype) == ((len(omega),), np.complex128)
        difference = s - naive.feature_sum(x, omega, weights)
        bound = np.abs(np.ones(len(x)) if weights is None else weights) @ error
        assert_within(difference.real, 0, bound)
        assert_within(difference.imag, 0, bound)
    a, exact = (
        backend.host(fastcl.feature_adjoint(points, omega, c)),
        naive.feature_adjoint(x, omega, c),
    )
    assert (a.shape, a.dtype) == ((len(x),), x.dtype)
    sizes = np.abs(c.real) + np.abs(c.imag)
    assert_within(a, exact, error @ sizes + eps * np.abs(exact))
    left, right = np.vdot(c, s).real, np.dot(a.astype(np.float64), w)
    assert abs(left - right) <= 2 * np.abs(w) @ error @ sizes


# ---- harmonic -----------------------------------------------------------------------------------

# (dtype, n, bases, d, K): n around tiles and parts of 256 rows, bases around vectors and blocks of
# 256, every kind of K.
HARMONIC = [
    (np.float32, 1, 1, 1, 2), (np.float32, 257, 31, 1, 3), (np.float32, 3, 257, 3, 4),
    (np.float32, 1021, 31, 2, 8), (np.float32, 31, 300, 8, 2), (np.float32, 257, 3, 9, 16),
    (np.float32, 31, 3, 35, 4), (np.float32, 2500, 17, 2, 3), (np.float64, 1, 257, 2, 4),
    (np.float64, 1021, 257, 2, 2), (np.float64, 31, 1, 9, 3), (np.float64, 257, 31, 1, 16),
    (np.float64, 1, 31, 35, 3), (np.float64, 257, 1, 3, 8), (np.float32, 31, 300, 9, 4),
    (np.float64, 31, 700, 2, 2),
]  # fmt: skip


@bounds_checked(dtype=np.float32, n=257, bases=31, d=1)
@bounds_checked(dtype=np.float64, n=1021, bases=257, d=2)
@pytest.mark.parametrize(("dtype", "n", "bases", "d", "harmonics"), HARMONIC)
def test_harmonic_maps_are_those_of_the_array(backend, dtype, n, bases, d, harmonics):
    x, w = make_points(dtype, n, d)
    omega = HarmonicFrequencies(
        2 * np.random.default_rng(bases).standard_normal((bases, d)), harmonics
    )
    assert_maps_are_those_of_the_array(
        backend, x, w, omega, naive.harmonic_error(x, omega, harmonics, EPS[dtype])
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("harmonics", [4, 16])
def test_the_recurrence_keeps_its_bound_where_it_is_worst(backend, dtype, harmonics):
    # Phases of the base are within 1e-9 to 1 of whole and half turns, where errors grow like k^2.
    # The points are exact in float32.
    offsets = np.concatenate([[0], 2.0 ** -np.arange(30)])
    x = (
        np.concatenate([offsets, 1 + offsets, 7 - offsets])
        .astype(np.float32)
        .astype(dtype)[:, None]
    )
    omega = HarmonicFrequencies([[np.pi], [2 * np.pi], [np.pi / 2], [3.0]], harmonics)
    w = np.linspace(-1, 1, len(x)).astype(dtype)
    assert_maps_are_those_of_the_array(
        backend, x, w, omega, naive.harmonic_error(x, omega, harmonics, EPS[dtype])
    )


def test_frequency_k_of_group_j_is_k_times_base_j():
    base = np.array([[1.0, -2.0], [0.3, 7.0], [0.0, 0.0]])
    omega = HarmonicFrequencies(base, 3)
    assert (len(omega), omega.shape, omega.ndim, omega.dtype) == (9, (9, 2), 2, np.float64)
    for j in range(3):
        for k in (1, 2, 3):
            assert np.array_equal(np.asarray(omega)[3 * j + k - 1], k * base[j])
            assert np.array_equal(omega[3 * j + k - 1], k * base[j])
    assert np.asarray(omega, np.float32).dtype == np.float32


@pytest.mark.parametrize("law", DISTRIBUTIONS)
@pytest.mark.parametrize("harmonics", [2, 8])
def test_harmonic_frequencies_have_the_mean_radius_of_the_distribution(law, harmonics):
    scale, count = 0.5, 5000
    omega = fastcl.draw_frequencies(
        count * harmonics, 3, scale, law, rng=1, structure="harmonic", harmonics=harmonics
    )
    radii = np.linalg.norm(np.asarray(omega), axis=1)
    means = radii.reshape(count, harmonics).mean(axis=1)  # one per independent group
    free = np.linalg.norm(fastcl.draw_frequencies(200_000, 3, scale, law, rng=2), axis=1)
    errors = means.std() / np.sqrt(count) + free.std() / np.sqrt(len(free))
    assert abs(means.mean() - free.mean()) <= 5 * errors
    directions = omega.base / np.linalg.norm(omega.base, axis=1, keepdims=True)
    assert_within(directions.mean(axis=0), 0, 5 / np.sqrt(3 * count))


# ---- Hadamard -----------------------------------------------------------------------------------

# (dtype, n, m, d): every number of passes; blocks used in part and in full, and more than one task
# takes; padded and full rows.
HADAMARD = [
    (np.float32, 1, 1, 1), (np.float32, 257, 31, 3), (np.float32, 1021, 16, 16),
    (np.float32, 3, 257, 35), (np.float32, 31, 300, 64), (np.float32, 31, 2100, 9),
    (np.float32, 257, 130, 128), (np.float32, 31, 300, 192), (np.float64, 1, 31, 2),
    (np.float64, 1021, 3, 9), (np.float64, 31, 257, 20), (np.float64, 3, 1, 300),
    (np.float64, 31, 1021, 3), (np.float64, 3, 1021, 600),
]  # fmt: skip


@pytest.mark.slow
@bounds_checked(dtype=np.float32, n=257, m=130, d=128)
@bounds_checked(dtype=np.float64, n=31, m=1021, d=3)
@pytest.mark.again("narrow_vectors", backend="numba", dtype=np.float32, n=257, m=130, d=128)
@pytest.mark.parametrize(("dtype", "n", "m", "d"), HADAMARD)
def test_hadamard_maps_are_those_of_the_array(backend, dtype, n, m, d):
    x, w = make_points(dtype, n, d)
    omega = fastcl.draw_frequencies(m, d, 0.3, rng=0, structure="hadamard")
    assert_maps_are_those_of_the_array(backend, x, w, omega, pair_error(x, omega, EPS[dtype]))


def test_lanes_are_emptied_before_256_terms(monkeypatch):
    x, w = make_points(np.float64, 9000, 3)  # one part of 9000 points: 1125 terms per lane of 8
    omega = fastcl.draw_frequencies(20, 3, 0.3, rng=0, structure="hadamard")
    monkeypatch.setattr(operator.features, "MAX_PARTS", 1)
    assert_maps_are_those_of_the_array(
        Backend("numba"), x, w, omega, pair_error(x, omega, EPS[np.float64])
    )


def transform(size):
    """The orthonormal Walsh-Hadamard matrix, by its definition."""
    bits = np.array([[bin(i & j).count("1") for j in range(size)] for i in range(size)])
    return (-1.0) ** bits / np.sqrt(size)


@pytest.mark.parametrize(("m", "d"), [(40, 16), (70, 35), (5, 3)])
def test_blocks_are_scaled_rows_of_three_signed_transforms(m, d):
    omega = fastcl.draw_frequencies(m, d, 0.3, rng=0, structure="hadamard")
    size = omega.signs.shape[2]
    h = transform(size)
    rows = np.concatenate(
        [(h * a @ (h * b) @ (h * c))[:, :d] for a, b, c in omega.signs.astype(float)]
    )[:m]
    expected = rows * (omega.radii / np.linalg.norm(rows, axis=1))[:, None]
    np.testing.assert_allclose(np.asarray(omega), expected, rtol=0, atol=1e-14 * omega.radii.max())


@pytest.mark.parametrize("law", DISTRIBUTIONS)
def test_hadamard_radii_follow_the_distribution(law):
    scale, m, d = 0.5, 20_000, 20
    omega = np.asarray(fastcl.draw_frequencies(m, d, scale, law, rng=1, structure="hadamard"))
    radii = np.linalg.norm(omega, axis=1)
    free = np.linalg.norm(fastcl.draw_frequencies(m, d, scale, law, rng=2), axis=1)
    assert kstest(radii, free).pvalue > 1e-4
    directions = omega / radii[:, None]
    # Uniform to second order. Rows of a block are not independent, so the means of the 625 blocks
    # are compared, within 5 standard errors.
    for moments, expected in [
        (directions, 0),
        (directions**2, 1 / d),
        (directions[:, 1:] * directions[:, :-1], 0),
    ]:
        blocks = moments.reshape(625, 32, -1).mean(axis=1)
        assert_within(blocks.mean(axis=0), expected, 5 * blocks.std(axis=0) / 25)


def test_frequencies_of_a_whole_block_are_orthogonal():
    # Independent directions would give 1 / sqrt(d).
    for d, bound in [(64, 1e-14), (48, 0.75 * np.sqrt(1 / 48))]:
        omega = np.asarray(
            fastcl.draw_frequencies(128, d, 1.0, "gaussian", rng=0, structure="hadamard")
        )
        directions = omega / np.linalg.norm(omega, axis=1, keepdims=True)
        for block in (directions[:64], directions[64:]):
            products = (block @ block.T)[~np.eye(64, dtype=bool)]
            assert np.sqrt((products**2).mean()) <= bound


def test_small_blocks_leave_the_work_to_the_direct_kernels(monkeypatch):
    monkeypatch.undo()
    x, w = make_points(np.float32, 100, 9)
    omega = fastcl.draw_frequencies(64, 9, 1.0, rng=0, structure="hadamard")
    assert type(PackedOperator.pack(omega, np.float32)) is DirectOperator
    assert np.array_equal(
        fastcl.feature_sum(x, omega, w), fastcl.feature_sum(x, np.asarray(omega), w)
    )
    # m = 20 uses one frequency in 12 of its block.
    for m, own in [(256, True), (2000, True), (20, False)]:
        omega = fastcl.draw_frequencies(m, 192, 1.0, rng=0, structure="hadamard")
        expected = HadamardOperator if own else DirectOperator
        assert type(PackedOperator.pack(omega, np.float32)) is expected


# ---- either structure ---------------------------------------------------------------------------


def draw(name, dim=2, rng=0, scale=0.5):
    return fastcl.draw_frequencies(64, dim, scale, rng=rng, structure=name)


STRUCTURES = {
    "harmonic": (2, lambda rng=0: draw("harmonic", rng=rng)),
    "hadamard": (20, lambda rng=0: draw("hadamard", dim=20, rng=rng)),
}
over_structures = pytest.mark.parametrize(("dim", "make"), STRUCTURES.values(), ids=STRUCTURES)


def pair_error(x, omega, eps):
    """Bound (n, m) on the error of each pair, for either structure."""
    if isinstance(omega, HadamardFrequencies):
        return naive.hadamard_error(x, omega.scales, omega.signs.shape[2], eps)
    return naive.harmonic_error(x, omega, omega.harmonics, eps)


@over_structures
def test_a_seed_and_its_generator_draw_the_same(dim, make):
    generator = np.random.default_rng(7)
    first = make(7)
    assert first == make(generator)
    assert first != make(generator)
    assert first != make(8)
    assert np.array_equal(first, make(7))


@over_structures
def test_the_scale_is_that_of_the_radii(dim, make):
    name = next(name for name in STRUCTURES if STRUCTURES[name][1] is make)
    one, quarter = (np.asarray(draw(name, dim=dim, scale=scale)) for scale in (1, 0.25))
    np.testing.assert_allclose(quarter, 4 * one, rtol=1e-14)


@over_structures
def test_the_array_is_made_once_and_not_changed(dim, make):
    omega = make()
    first = np.asarray(omega)
    assert np.asarray(omega) is first
    with pytest.raises(ValueError, match="read-only"):
        first[0, 0] = 1
    copied = np.array(omega)
    copied[0, 0] += 1
    assert not np.array_equal(copied, omega)
    assert omega.copy() is omega


@over_structures
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_number_of_threads_does_not_change_a_bit(on_threads, dim, make, dtype):
    x, w = make_points(dtype, 9000, dim)
    omega, c = make(), make_coefficients(64)
    one, two = on_threads(lambda: fastcl.feature_sum(x, omega, w))
    assert np.array_equal(one, two)
    one, two = on_threads(lambda: fastcl.feature_adjoint(x, omega, c))
    assert np.array_equal(one, two)


@over_structures
def test_every_structure_has_its_own_kernels(monkeypatch, dim, make):
    x, _ = make_points(np.float32, 31, dim)
    omega, used = make(), []
    kind = type(PackedOperator.pack(omega, np.float32))
    assert kind is not DirectOperator

    def record(name):
        original = getattr(kind, name)
        monkeypatch.setattr(
            kind, name, lambda self, *arguments: used.append(name) or original(self, *arguments)
        )

    record("sum")
    record("adjoint")
    fastcl.sketch(x, omega)
    fastcl.feature_adjoint(x, omega, np.ones(64))
    assert used == ["sum", "adjoint"]


@over_structures
def test_a_sketch_keeps_the_structure(tmp_path, dim, make):
    x, _ = make_points(np.float64, 301, dim)
    omega, path = make(), tmp_path / "s.npz"
    first, second = fastcl.sketch(x[:100], omega), fastcl.sketch(x[100:], make())
    assert first.omega is omega
    merged = first + second
    assert merged.omega == omega
    assert merged.count == 301
    bound = 2 * pair_error(x, omega, EPS[np.float64]).mean(axis=0)
    assert_within(merged.values, naive.feature_sum(x, omega) / 301, 2 * bound)
    merged.save(path)
    loaded = fastcl.Sketch.load(path)
    assert type(loaded.omega) is type(omega)
    assert loaded.omega == omega
    assert np.array_equal(loaded.omega, omega)
    assert np.array_equal(loaded.values, merged.values)
    assert np.array_equal((loaded + first).update(x).values, (merged + first).update(x).values)
    with np.load(path) as archive:  # what defines the structure, not its array
        assert all(archive[name].shape != omega.shape for name in archive.files)


@over_structures
def test_merging_asks_for_the_same_structure(dim, make):
    x, _ = make_points(np.float64, 10, dim)
    sk = fastcl.sketch(x, make())
    for other in (make(1), np.asarray(make())):
        for pair in [(sk, fastcl.sketch(x, other)), (fastcl.sketch(x, other), sk)]:
            with pytest.raises(ValueError, match="different frequencies"):
                pair[0] + pair[1]


@over_structures
def test_a_file_of_free_frequencies_keeps_its_form(tmp_path, dim, make):
    sk = fastcl.sketch(np.ones((3, dim)), np.asarray(make()))
    names = {name for name in sk.to_arrays() if not name.startswith("privacy.")}
    assert names == {"omega", "total", "count", "fingerprint"}
    sk.save(tmp_path / "s.npz")
    assert type(fastcl.Sketch.load(tmp_path / "s.npz").omega) is np.ndarray


@over_structures
def test_damaged_structures_are_refused(tmp_path, dim, make):
    arrays = fastcl.sketch(np.ones((3, dim)), make()).to_arrays()
    names = [name for name in arrays if name.startswith("omega.")]
    for name in names:
        missing = {key: array for key, array in arrays.items() if key != name}
        for damaged in (
            missing,
            arrays | {name: np.array("foreign")},
            arrays | {name: np.full((3, 1, 2), np.nan)},
        ):
            with pytest.raises(ValueError, match="not a sketch"):
                fastcl.Sketch.from_arrays(damaged)


@over_structures
def test_a_step_of_learning_has_the_value_of_the_array(dim, make):
    x, _ = make_points(np.float64, 500, dim)
    omega, n = make(), 64
    domain = fastcl.Box(-np.ones(dim) / 2, np.ones(dim) / 2)  # of volume 1
    values = []
    for frequencies in (omega, np.asarray(omega)):
        prior = fastcl.MLPPrior(dim, (8,), rng=0, dtype=np.float64)
        sk = fastcl.sketch(0.3 * x, frequencies)
        settings = {"log_scale": "learned", "n_points": n, "n_iter": 1, "rng": 0}
        result = fastcl.learn(prior, sk, domain, **settings)
        values.append(result.history["value"][0])
    # G = Re <r, r'>. Each of the 64 moments is off by at most the error of a pair, once in z and
    # once, times the mass, in S mu; in magnitude z is at most 1 and S mu at most the mass.
    prior = fastcl.MLPPrior(dim, (8,), rng=0, dtype=np.float64)
    points = np.full((n, dim), 0.5)
    mass = domain.volume * np.exp(float(prior.log_scale))  # at most: the energy is not negative
    error = pair_error(points, omega, EPS[np.float64]).max() * (1 + mass)
    error += pair_error(x, omega, EPS[np.float64]).max()
    assert abs(values[0] - values[1]) <= 64 * 4 * (1 + mass) * error


@over_structures
def test_learning_resumes_from_a_checkpoint(tmp_path, dim, make):
    x, _ = make_points(np.float32, 500, dim)
    sk, domain = fastcl.sketch(0.3 * x, make()), fastcl.Box(-np.ones(dim), np.ones(dim))

    def run(**settings):
        prior = fastcl.MLPPrior(dim, (8,), rng=0)
        result = fastcl.learn(prior, sk, domain, n_points=32, n_iter=6, rng=0, **settings)
        return prior.theta, len(result.history["value"])

    checkpoint = tmp_path / "c.npz"
    assert run(checkpoint=checkpoint, callback=lambda iteration, *_: iteration == 2)[1] == 3
    resumed, whole = run(checkpoint=checkpoint), run()
    assert resumed[1] == whole[1] == 6
    assert np.array_equal(resumed[0], whole[0])


@over_structures
def test_metric_and_maximum_entropy_take_structures(tmp_path, dim, make):
    x, _ = make_points(np.float32, 500, dim)
    normal, omega = fastcl.Gaussian(np.zeros(dim), np.eye(dim)), make()
    metric, plain = (
        fastcl.WhitenedMetric(frequencies, normal) for frequencies in (omega, np.asarray(omega))
    )
    residual = make_coefficients(64)
    assert np.array_equal(metric.apply(residual), plain.apply(residual))
    prior = fastcl.max_entropy(fastcl.sketch(x, omega), normal, n_points=64, n_iter=3, rng=0)
    assert prior.omega == omega
    prior.save(tmp_path / "p.npz")
    loaded = fastcl.load_prior(tmp_path / "p.npz")
    assert loaded.omega == omega
    assert np.array_equal(loaded.energy(x), prior.energy(x))
    assert loaded.energy_grad(x).shape == x.shape


def signs_without_direction():
    """Signs of a block whose first column has a zero, as half of all blocks have."""
    rng = np.random.default_rng(0)
    while True:
        signs = 2 * rng.integers(2, size=(1, 3, 16)) - 1
        a, b, c = signs[0]
        if not np.rint(
            64 * (transform(16) * a @ (transform(16) * b) @ (transform(16) * c))[:, 0]
        ).all():
            return signs


BAD = {
    "m must be a multiple": lambda: fastcl.draw_frequencies(
        10, 2, 1.0, structure="harmonic", harmonics=4
    ),
    "harmonics must be at least 2": lambda: fastcl.draw_frequencies(
        10, 2, 1.0, structure="harmonic", harmonics=1
    ),
    "harmonics must be at most 16": lambda: fastcl.draw_frequencies(
        34, 2, 1.0, structure="harmonic", harmonics=17
    ),
    "harmonics must be an integer": lambda: fastcl.draw_frequencies(
        10, 2, 1.0, structure="harmonic", harmonics=2.0
    ),
    "structure must be one of": lambda: fastcl.draw_frequencies(10, 2, 1.0, structure="fourier"),
    "base holds NaN": lambda: HarmonicFrequencies([[np.nan]], 2),
    "base holds NaN, infinity, or": lambda: HarmonicFrequencies([[1e308]], 4),
    "base is empty": lambda: HarmonicFrequencies(np.zeros((0, 2)), 2),
    "base must be 2-D": lambda: HarmonicFrequencies(np.zeros(3), 2),
    "base must be real": lambda: HarmonicFrequencies(np.zeros((3, 2), complex), 2),
    "signs must be -1 and 1": lambda: HadamardFrequencies(np.zeros((1, 3, 16)), np.ones(3), 3),
    "signs must be -1 and 1 in shape": lambda: HadamardFrequencies(
        np.ones((1, 3, 24)), np.ones(3), 3
    ),
    "signs must .* dim = 17": lambda: HadamardFrequencies(np.ones((1, 3, 16)), np.ones(3), 17),
    "signs must hold numbers": lambda: HadamardFrequencies([["a"]], np.ones(3), 3),
    "signs leave a frequency": lambda: HadamardFrequencies(
        signs_without_direction(), np.ones(16), 1
    ),
    "radii must be 16 numbers per block": lambda: HadamardFrequencies(
        np.ones((1, 3, 16)), np.ones(17), 16
    ),
    "radii must be 16 numbers": lambda: HadamardFrequencies(np.ones((1, 3, 16)), -np.ones(3), 16),
    "radii holds NaN": lambda: HadamardFrequencies(np.ones((1, 3, 16)), [np.nan], 16),
    "dim must be an integer": lambda: HadamardFrequencies(np.ones((1, 3, 16)), np.ones(3), 2.0),
    "x has 3 columns and omega 2": lambda: fastcl.feature_sum(np.zeros((4, 3)), draw("harmonic")),
    "c must have shape": lambda: fastcl.feature_adjoint(
        np.zeros((4, 2)), draw("harmonic"), np.ones(16)
    ),
    "omega is too large for x in float32": lambda: fastcl.feature_sum(
        np.full((4, 2), 1e7, np.float32), draw("harmonic")
    ),
}


@pytest.mark.parametrize(("message", "call"), BAD.items(), ids=BAD)
def test_bad_arguments_are_an_error_that_names_them(message, call):
    with pytest.raises((ValueError, TypeError), match=message):
        call()
