"""The sketch of a data set: closed forms, merging, chunks, memory."""

import resource
import sys
import tracemalloc

import naive
import numpy as np
import pytest
from bounds import assert_within
from passes import run_script

import fastcl
from fastcl.fourier import operator

EPS = np.finfo(np.float64).eps


@pytest.fixture
def omega():
    return fastcl.draw_frequencies(40, dim=2, scale=0.7, rng=1)


@pytest.fixture
def x(rng):
    return rng.standard_normal((501, 2))


def assert_close(values, expected, x, omega):
    """Equal up to the rounding of two sums over x in float64."""
    assert_within(values, expected, 4 * naive.feature_error(x, omega, EPS).mean(axis=0))


def assert_within_standard_error(values, expected, n):
    """A mean of n unit vectors around `expected` has E|error|^2 = (1 - |expected|^2) / n.

    The mean of |error|^2 n / (1 - |expected|^2) over frequencies is then 1. Its terms are
    correlated and have exponential tails: a correct sketch stays below 5, and one that is off by 3
    standard errors everywhere does not.
    """
    ratio = np.abs(values - expected) ** 2 * n / (1 - np.abs(expected) ** 2)
    assert 1 / 5 < ratio.mean() < 5
    assert ratio.max() < 25


def test_sketch_of_a_gaussian_is_its_characteristic_function(rng, omega):
    mean = np.array([0.5, -0.3])
    root = np.array([[1.0, 0.0], [0.6, 0.5]])
    n = 20_000
    x = mean + rng.standard_normal((n, 2)) @ root.T
    expected = np.exp(-1j * omega @ mean - ((omega @ root) ** 2).sum(axis=1) / 2)
    assert_within_standard_error(fastcl.sketch(x, omega).values, expected, n)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sketch_of_uniform_points_is_a_product_of_sincs(rng, omega, dtype):
    x = rng.uniform(-1, 1, (20_000, 2)).astype(dtype)
    expected = (np.sin(omega) / omega).prod(axis=1)
    assert_within_standard_error(fastcl.sketch(x, omega).values, expected, len(x))


def test_sketch_is_the_mean_of_the_features(x, omega):
    sk = fastcl.sketch(x, omega)
    assert_close(sk.values, naive.feature_sum(x, omega) / 501, x, omega)
    assert (sk.count, sk.dim, sk.values.dtype) == (501, 2, np.complex128)
    assert np.array_equal(sk.omega, omega)


def test_update_and_merge_give_the_sketch_of_all_points(x, omega):
    whole = fastcl.sketch(x, omega)
    updated = fastcl.Sketch(omega)
    assert updated.update(x[:100]) is updated
    updated.update(x[100:101]).update(x[101:])
    first, second = fastcl.sketch(x[:100], omega), fastcl.sketch(x[100:], omega)
    before = first.values, second.values
    merged = first + second
    for sk in (updated, merged):
        assert sk.count == 501
        assert_close(sk.values, whole.values, x, omega)
    merged.update(x)  # the parts keep what they had
    assert np.array_equal(before, (first.values, second.values))
    assert (first.count, second.count) == (100, 401)


def test_an_empty_sketch_is_neutral_in_a_merge(x, omega):
    sk = fastcl.sketch(x, omega)
    assert np.array_equal((fastcl.Sketch(omega) + sk).values, sk.values)


def test_sums_made_elsewhere_are_an_update(x, omega):
    sums = fastcl.Sketch(omega).sum_rows(x, 100, 300)
    sk = fastcl.sketch(x[:100], omega)
    expected = fastcl.sketch(x[:100], omega).update(x[100:300])
    assert sk.add_sums(sums, 200) is sk
    assert np.array_equal(sk.total, expected.total)
    assert sk.count == 300
    assert sk.spent == (0, 0)
    with pytest.raises(ValueError, match="read-only"):
        sk.total[0] = 0


@pytest.mark.parametrize(
    ("total", "count", "error"),
    [
        (np.zeros(39), 1, ValueError),
        (0, 1, ValueError),
        (np.full(40, np.nan), 1, ValueError),
        (np.zeros(40), 0, ValueError),
        (np.zeros(40), 1.5, TypeError),
    ],
)
def test_sums_that_do_not_fit_are_refused(x, omega, total, count, error):
    sk = fastcl.sketch(x, omega)
    before = sk.values
    with pytest.raises(error, match=r"total must be 40 finite sums|count must be"):
        sk.add_sums(total, count)
    assert np.array_equal(sk.values, before)
    with pytest.raises(ValueError, match="a released sketch takes no raw points"):
        fastcl.release(sk, 1.0).add_sums(np.zeros(40), 1)


def test_a_sketch_with_other_sums_is_one_of_its_own(x, omega):
    sk = fastcl.sketch(x, omega)
    sk.domain = fastcl.Box([-9, -9], [9, 9])
    before = sk.values
    other = sk.with_sums(2 * sk.total, sk.count, sk.accountant.copy())
    assert np.array_equal(other.values, 2 * before)
    assert (other.domain, other.pass_state) == (None, None)
    other.update(x)
    assert np.array_equal(sk.values, before)
    assert sk.count == 501


def test_merge_refuses_other_frequencies_and_other_things(x, omega):
    sk = fastcl.sketch(x, omega)
    for other in (np.nextafter(omega, 9), omega[:-1], np.c_[omega, omega]):
        with pytest.raises(ValueError, match="different frequencies"):
            sk + fastcl.Sketch(other)
    with pytest.raises(TypeError):
        sk + 1


def test_later_changes_of_omega_leave_the_sketch_alone(x, omega):
    sk, given = fastcl.Sketch(omega), omega.copy()
    omega[:] = 0
    assert np.array_equal(sk.omega, given)
    assert_close(sk.update(x).values, naive.feature_sum(x, given) / 501, x, given)


CHUNKED = {
    "list": list,
    "tuple": tuple,
    "generator": lambda chunks: (chunk for chunk in chunks),
    "lists of lists": lambda chunks: [chunk.tolist() for chunk in chunks],
    "iterator": iter,
}


@pytest.mark.parametrize("kind", CHUNKED)
def test_iterables_of_chunks_are_one_data_set(x, omega, kind):
    chunks = CHUNKED[kind]([x[:1], x[1:300], x[300:]])
    sk = fastcl.sketch(chunks, omega)
    assert sk.count == 501
    assert_close(sk.values, fastcl.sketch(x, omega).values, x, omega)


@pytest.mark.parametrize("bits", [None, 1])
def test_parts_without_points_are_skipped(x, omega, bits):
    given = {} if bits is None else {"bits": bits, "rng": 0}
    chunks = [x[:0], x[:300], np.empty((0, 2), np.float32), [], x[300:], x[:0].tolist()]
    sk = fastcl.sketch(chunks, omega, **given)
    expected = fastcl.sketch([x[:300], x[300:]], omega, **given)
    np.testing.assert_array_equal(sk.values, expected.values)
    assert sk.update(x[:0]) is sk
    assert sk.update([]).count == 501
    np.testing.assert_array_equal(sk.values, expected.values)
    with pytest.raises(ValueError, match="x is empty"):
        fastcl.sketch(iter([x[:0], x[:0]]), omega, **given)
    with pytest.raises(ValueError, match="x is empty"):
        sk.update(np.empty((0, 3)))  # not even of the right dimension


def test_a_list_of_points_is_one_array(x, omega):
    assert np.array_equal(fastcl.sketch(x.tolist(), omega).values, fastcl.sketch(x, omega).values)


def test_chunks_are_released_before_the_next_is_asked_for(omega):
    live = [0, 0]  # chunks that exist now, and the most there have been

    class Chunk(np.ndarray):
        def __del__(self):
            live[0] -= 1

    def chunks():
        for _ in range(5):
            chunk = np.zeros((3, 2)).view(Chunk)
            live[0] += 1
            live[1] = max(live)
            yield chunk
            del chunk

    fastcl.sketch(chunks(), omega)
    assert live[1] <= 2  # the loop variable is released once the next chunk exists


def test_memory_map_is_read_as_an_array(tmp_path, x, omega):
    np.save(tmp_path / "x.npy", x)
    for order in ("C", "F"):
        np.save(tmp_path / "x.npy", np.asarray(x, order=order))
        mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
        assert np.array_equal(fastcl.sketch(mapped, omega).values, fastcl.sketch(x, omega).values)


def test_values_of_an_empty_sketch_are_an_error(omega):
    sk = fastcl.Sketch(omega)
    assert sk.count == 0
    with pytest.raises(ValueError, match="empty"):
        _ = sk.values


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        ([], ValueError),
        (iter([]), ValueError),
        ([np.zeros((3, 2)), np.zeros((3, 3))], ValueError),
        ([np.zeros((3, 2)), np.full((3, 2), np.nan)], ValueError),
        ([np.zeros((0, 2)), np.zeros((0, 2))], ValueError),
        ([np.zeros((3, 2)), "points"], TypeError),
        (None, TypeError),
        (3.0, ValueError),
        (np.zeros((3, 3)), ValueError),
        (np.zeros(3), ValueError),
    ],
)
def test_bad_data_are_refused_by_name(omega, bad, error):
    with pytest.raises(error, match=r"(^|\W)x\W"):
        fastcl.sketch(bad, omega)


def test_dask_arrays_are_refused_by_name(omega):
    options = {
        "__module__": "dask.array.core",
        "__array__": lambda self, *args, **kwargs: np.zeros((3, 2)),
    }
    for x in (type("Array", (), options)(), [type("Array", (), options)()]):
        with pytest.raises(TypeError, match=r"x(\[0\])? is a dask"):
            fastcl.sketch(x, omega)


def test_a_bad_chunk_leaves_the_sketch_as_it_was(monkeypatch, x, omega):
    monkeypatch.setattr(operator, "CHUNK_ROWS", 100)
    sk = fastcl.sketch(x, omega)
    values = sk.values
    bad = np.ones((301, 2))
    bad[-1, -1] = np.nan  # found in the fourth chunk, after three good ones
    with pytest.raises(ValueError, match="x holds NaN"):
        sk.update(bad)
    assert np.array_equal(sk.values, values)
    assert sk.count == 501


# ---- memory --------------------------------------------------------------------------------------


def traced_peak(x, omega):
    """Bytes that Python and NumPy allocate at most while x is sketched; kernels are warm."""
    fastcl.sketch(x[:1], omega[:1])
    tracemalloc.start()
    try:
        fastcl.sketch(x, omega, method="direct")
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_extra_memory_does_not_grow_with_points_times_frequencies(rng):
    # There are 64 partial sums if the number of points is a multiple of 16384.
    x, omega = rng.standard_normal((65_536, 2), np.float32), rng.standard_normal((2000, 2))
    few, many = traced_peak(x[:32_768], omega), traced_peak(x, omega)
    assert abs(many - few) < 50_000  # one byte per pair would be 65 MB more
    # Each partial sum takes 16 bytes per frequency. A packed frequency takes 5 numbers per
    # coordinate, and 3 moments.
    assert many < (64 * 16 + 2 * 5 * 8 + 3 * 16 + 100) * 2000 + 50_000


STRIDED = """
import tracemalloc
import numpy as np, fastcl
from fastcl.fourier import operator
operator.CHUNK_ROWS = 1000
x, omega = np.random.default_rng(0).standard_normal((100_000, 4))[:, ::2], np.ones((3, 2))
fastcl.sketch(x[:1], omega)
tracemalloc.start()
fastcl.sketch(x, omega, method="direct")
print(tracemalloc.get_traced_memory()[1])
"""


def test_strided_points_are_converted_by_chunks():
    # In a process of its own, because threads that other tests have left behind allocate too.
    peak = int(run_script(["-c", STRIDED]).stdout)
    # Two chunks (the one in use, the next one) of the 1.6 MB that a whole copy would take.
    assert peak < 2 * 1000 * 2 * 8 + 100_000


def test_compiled_code_forms_no_matrix_of_points_and_frequencies(rng):
    x, omega = rng.standard_normal((50_000, 2), np.float32), rng.standard_normal((2000, 2))
    fastcl.sketch(x[:1], omega)
    unit = 1 if sys.platform == "darwin" else 1024
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    fastcl.sketch(x, omega, method="direct")
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    assert after - before < 50e6  # the matrix would be 400 MB


def test_merged_sketches_know_the_domain_of_both():
    def part(domain):
        sketch = fastcl.sketch(np.zeros((1, 1)), [[1.0]])
        sketch.domain = domain
        return sketch

    merged = (part(fastcl.Box([-1], [0.5])) + part(fastcl.Box([0], [2]))).domain
    assert (merged.low.tolist(), merged.high.tolist()) == ([-1], [2])
    normal = fastcl.Gaussian([0.0], [[1.0]])
    assert (part(normal) + part(None)).domain is normal
    assert (part(normal) + part(fastcl.Gaussian([0.0], [[1.0]]))).domain is normal
    assert (part(normal) + part(fastcl.Gaussian([1.0], [[1.0]]))).domain is None


@pytest.mark.parametrize("bits", [None, 1])
@pytest.mark.parametrize("shape", [(5,), (5, 1), (5, 3), (5, 2, 1)])
def test_rows_of_another_dimension_are_refused_by_name(omega, shape, bits):
    sk = fastcl.Sketch(omega, bits=bits, dither=None if bits is None else np.zeros(40))
    with pytest.raises(ValueError, match="x must have 2 columns"):
        sk.sum_rows(np.zeros(shape))
