"""feature_sum and feature_adjoint against loops, over types, odd shapes and memory layouts."""

import naive
import numba
import numpy as np
import pytest
from bounds import assert_within

import fastcl
from fastcl.fourier import operator
from fastcl.kernels.lanes import CONTRACT
from fastcl.kernels.sincos import sincos_turns

EPS = {dtype: np.finfo(dtype).eps for dtype in (np.float32, np.float64)}
bounds_checked = pytest.mark.again("bounds_checked", backend="numba", dtype=np.float32)
narrow_vectors = pytest.mark.again("narrow_vectors", backend="numba", dtype=np.float32)
races = pytest.mark.again("races", backend="cuda-host", dtype=np.float32)
missing_barrier = pytest.mark.again("missing_barrier", backend="cuda-host", dtype=np.float32)

# Every size of n and m, dimensions around the tiles of 4 rows, wide tiles both full and not.
TABLE = [
    (np.float32, 1, 1, 1), (np.float32, 257, 31, 1), (np.float32, 3, 257, 3),
    (np.float32, 1021, 31, 3), (np.float32, 31, 1021, 8), (np.float32, 257, 3, 8),
    (np.float32, 1021, 257, 9), (np.float32, 31, 3, 16), (np.float32, 3, 1, 35),
    (np.float32, 257, 1021, 64), (np.float64, 1, 257, 2), (np.float64, 1021, 1021, 2),
    (np.float32, 31, 257, 4), (np.float32, 257, 31, 5), (np.float32, 31, 31, 6),
    (np.float32, 1021, 3, 7), (np.float64, 31, 257, 4), (np.float64, 257, 31, 5),
    (np.float64, 31, 31, 6), (np.float64, 257, 3, 8), (np.float64, 31, 1, 9),
    (np.float64, 257, 257, 16), (np.float64, 1, 31, 35), (np.float64, 1021, 3, 64),
]  # fmt: skip
over_table = pytest.mark.parametrize(("dtype", "n", "m", "d"), TABLE)


def make_problem(dtype, n, m, d):
    """Points, frequencies, weights of both signs and zero, coefficients; phases of a few turns."""
    rng = np.random.default_rng([n, m, d])
    x = rng.standard_normal((n, d)).astype(dtype)
    omega = 4 * rng.standard_normal((m, d))
    w = rng.standard_normal(n).astype(dtype)
    w[1::5] = 0
    c = rng.standard_normal(m) + 1j * rng.standard_normal(m)
    return x, omega, w, c.astype(np.complex64)  # exact in either precision


@bounds_checked(n=31, m=1021, d=8)
@bounds_checked(n=257, m=3, d=8)
@bounds_checked(n=31, m=3, d=16)
@bounds_checked(n=3, m=1, d=35)
@narrow_vectors(n=1021, m=257, d=9)
@races(n=1021, m=31, d=3)
@races(n=1021, m=257, d=9)
@missing_barrier(n=1021, m=31, d=3)
@over_table
def test_feature_sum_is_the_sum(backend, dtype, n, m, d):
    x, omega, w, _ = make_problem(dtype, n, m, d)
    error = naive.feature_error(x, omega, EPS[dtype])
    for weights in (None, w):
        s = backend.host(fastcl.feature_sum(backend.array(x), omega, backend.array(weights)))
        assert (s.shape, s.dtype) == ((m,), np.complex128)
        bound = np.abs(np.ones(n) if weights is None else weights) @ error
        difference = s - naive.feature_sum(x, omega, weights)
        assert_within(difference.real, 0, bound)
        assert_within(difference.imag, 0, bound)


@bounds_checked(n=31, m=1021, d=8)
@bounds_checked(n=257, m=3, d=8)
@bounds_checked(n=31, m=3, d=16)
@bounds_checked(n=3, m=1, d=35)
@narrow_vectors(n=1021, m=257, d=9)
@races(n=257, m=31, d=1)
@races(n=1021, m=257, d=9)
@over_table
def test_feature_adjoint_is_the_real_part_of_the_sum(backend, dtype, n, m, d):
    x, omega, _, c = make_problem(dtype, n, m, d)
    a = backend.host(fastcl.feature_adjoint(backend.array(x), omega, backend.array(c)))
    assert (a.shape, a.dtype) == ((n,), dtype)
    exact = naive.feature_adjoint(x, omega, c)
    # Real and imaginary part each have their own error, and the result is rounded to the type of x.
    bound = naive.feature_error(x, omega, EPS[dtype]) @ (np.abs(c.real) + np.abs(c.imag)) + EPS[
        dtype
    ] * np.abs(exact)
    assert_within(a, exact, bound)


@over_table
def test_sum_and_adjoint_are_adjoint(backend, dtype, n, m, d):
    x, omega, w, c = make_problem(dtype, n, m, d)
    points = backend.array(x)
    left = np.vdot(c, backend.host(fastcl.feature_sum(points, omega, backend.array(w)))).real
    right = np.dot(backend.host(fastcl.feature_adjoint(points, omega, c)).astype(np.float64), w)
    # Both maps err by at most feature_error per pair, with weight |w_i| (|Re c_l| + |Im c_l|).
    pairs = (
        np.abs(w) @ naive.feature_error(x, omega, EPS[dtype]) @ (np.abs(c.real) + np.abs(c.imag))
    )
    assert abs(left - right) <= 2 * pairs


@numba.njit(fastmath=CONTRACT)
def sincos_all(turns, sine, cosine):
    for i in range(turns.size):
        sine[i], cosine[i] = sincos_turns(turns[i])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("offset", [0, 1, -1000, 2**20])
def test_sincos_turns_is_good_to_a_few_units_in_the_last_place(dtype, offset):
    half = np.array(
        [
            0,
            1e-30,
            -1e-30,
            0.25,
            -0.25,
            np.nextafter(dtype(0.5), dtype(0)),
            0.5,
            -0.5,
            0.75,
            1.5,
            2.0,
        ]
    )
    turns = (offset + np.concatenate([np.linspace(-0.5, 0.5, 100_001), half])).astype(dtype)
    sine, cosine = np.empty_like(turns), np.empty_like(turns)
    sincos_all(turns, sine, cosine)
    exact = 2 * np.pi * (turns - np.rint(turns)).astype(np.float64)
    assert np.abs(sine - np.sin(exact)).max() <= naive.SINCOS_EPS * EPS[dtype]
    assert np.abs(cosine - np.cos(exact)).max() <= naive.SINCOS_EPS * EPS[dtype]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sincos_turns_of_whole_turns_is_exact(dtype):
    largest = 2**20 if dtype == np.float32 else 2**49  # beyond the phases that feature_sum accepts
    turns = np.array([0, 1, -3, largest + 1, -largest], dtype)
    sine, cosine = np.empty_like(turns), np.empty_like(turns)
    sincos_all(turns, sine, cosine)
    assert (sine == 0).all()
    assert (cosine == 1).all()


def layouts():
    """(points, the same, contiguous and in the working type) of dimension 9."""
    base = np.random.default_rng(1).integers(-4, 5, (62, 18)).astype(np.float64) / 2
    read_only = base[:31, :9].copy()
    read_only.flags.writeable = False
    views = {
        "every second row": base[::2, :9],
        "every second column": base[:31, ::2],
        "backwards": base[30::-1, 8::-1],
        "Fortran order": np.asfortranarray(base[:31, :9]),
        "one row repeated": np.broadcast_to(base[0, :9], (31, 9)),
        "read-only": read_only,
        "big-endian": base[:31, :9].astype(">f8"),
        "int64": base[:31, :9].astype(np.int64),
        "uint8": np.abs(base[:31, :9]).astype(np.uint8),
        "bool": base[:31, :9] > 0,
        "list": base[:31, :9].tolist(),
        "float16": base[:31, :9].astype(np.float16),
        "float32, big-endian": base[:31, :9].astype(">f4"),
        "float32, Fortran order": np.asfortranarray(base[:31, :9], np.float32),
    }
    for name, view in views.items():
        yield pytest.param(
            view, np.array(view, np.float32 if "float" in name else np.float64, order="C"), id=name
        )


@pytest.mark.parametrize(("view", "plain"), list(layouts()))
def test_layout_and_type_of_x_do_not_change_a_bit(view, plain):
    omega = np.random.default_rng(2).standard_normal((31, 9))
    strided_omega = np.asfortranarray(omega)
    w, c = np.linspace(-1, 1, 31), np.linspace(1, 2, 31) + 1j
    assert np.array_equal(
        fastcl.feature_sum(view, strided_omega, w), fastcl.feature_sum(plain, omega, w)
    )
    a = fastcl.feature_adjoint(view, strided_omega, c)
    assert a.dtype == plain.dtype
    assert np.array_equal(a, fastcl.feature_adjoint(plain, omega, c))


def test_strided_weights_and_coefficients_are_read_in_order():
    x, omega, w, c = make_problem(np.float64, 31, 31, 2)
    assert np.array_equal(
        fastcl.feature_sum(x, omega, np.repeat(w, 2)[::2]), fastcl.feature_sum(x, omega, w)
    )
    assert np.array_equal(
        fastcl.feature_adjoint(x, omega, np.repeat(c, 2)[::2]), fastcl.feature_adjoint(x, omega, c)
    )


def test_real_coefficients_are_complex_ones_without_imaginary_part():
    x, omega, _, _ = make_problem(np.float64, 31, 31, 2)
    for c in (np.arange(31), np.arange(31) % 2 == 0, np.linspace(-1, 1, 31)):
        assert np.array_equal(
            fastcl.feature_adjoint(x, omega, c), fastcl.feature_adjoint(x, omega, c + 0j)
        )


@pytest.mark.parametrize("d", [2, 9])
def test_out_takes_the_result(d):
    x, omega, w, c = make_problem(np.float64, 257, 31, d)
    for function, given, out in [
        (fastcl.feature_sum, w, np.full(31, np.nan, np.complex128)),
        (fastcl.feature_adjoint, c, np.full(257, np.nan)),
    ]:
        assert function(x, omega, given, out=out) is out
        assert np.array_equal(out, function(x, omega, given))


def test_maps_are_linear():
    x, omega, w, c = make_problem(np.float64, 257, 31, 2)
    c = c.astype(np.complex128)
    for function, first, second in [
        (fastcl.feature_sum, w, w[::-1] ** 3),
        (fastcl.feature_adjoint, c, 1j * c[::-1]),
    ]:
        sum_of_images = function(x, omega, first) + function(x, omega, second)
        # Three results, each off by at most the largest feature_error times the sum of magnitudes.
        bound = (
            4
            * naive.feature_error(x, omega, EPS[np.float64]).max()
            * (np.abs(first) + np.abs(second)).sum()
        )
        assert np.abs(function(x, omega, first + second) - sum_of_images).max() <= bound
        # Exact, because 4 is a power of two.
        assert np.array_equal(function(x, omega, 4 * first), 4 * function(x, omega, first))
        assert (function(x, omega, 0 * first) == 0).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_chunks_meet_without_a_gap(monkeypatch, dtype):
    x, omega, w, c = make_problem(dtype, 257, 31, 9)
    whole = fastcl.feature_adjoint(x, omega, c)
    monkeypatch.setattr(operator, "CHUNK_ROWS", 100)
    difference = fastcl.feature_sum(x[:, ::1], omega, w) - naive.feature_sum(x, omega, w)
    assert_within(difference, 0, 2 * np.abs(w) @ naive.feature_error(x, omega, EPS[dtype]))
    # The result for a row does not depend on its chunk.
    assert np.array_equal(fastcl.feature_adjoint(x, omega, c), whole)


@pytest.mark.parametrize(
    ("dtype", "n", "m", "d"), [(np.float32, 20_000, 300, 3), (np.float64, 5000, 31, 9)]
)
def test_number_of_threads_does_not_change_a_bit(on_threads, dtype, n, m, d):
    x, omega, w, c = make_problem(dtype, n, m, d)
    one, two = on_threads(lambda: fastcl.feature_sum(x, omega, w))
    assert np.array_equal(one, two)
    one, two = on_threads(lambda: fastcl.feature_adjoint(x, omega, c))
    assert np.array_equal(one, two)


def test_float32_phases_without_digits_work_in_float64():
    x, omega = np.array([[3e5, 0.5], [1.0, 2.0]]), np.array([[1.0, 0.0], [7.0, 1.0]])
    with pytest.raises(ValueError, match=r"omega is too large for x in float32.*pass x as float64"):
        fastcl.feature_sum(x.astype(np.float32), omega)
    difference = fastcl.feature_sum(x, omega) - naive.feature_sum(x, omega)
    assert_within(difference, 0, 2 * naive.feature_error(x, omega, EPS[np.float64]).sum(axis=0))
    with pytest.raises(ValueError, match="omega is too large for x in float64"):
        fastcl.feature_sum(1e12 * x, omega)


def foreign(module, shape):
    """Something whose class says that it is an array of another library."""
    return type(
        "ndarray",
        (),
        {"__module__": module, "__array__": lambda self, *args, **options: np.zeros(shape)},
    )()


def changed(value, index=(-1, -1)):
    """Points that are good except for one value."""
    x = np.zeros((3, 2))
    x[index] = value
    return x


GOOD = np.zeros((3, 2))
BAD_POINTS = {
    "NaN": changed(np.nan),
    "inf": changed(np.inf, (0, 0)),
    "-inf": changed(-np.inf, (1, 0)),
    "1-D": np.zeros(2),
    "3-D": np.zeros((3, 2, 2)),
    "scalar": 1.0,
    "None": None,
    "no rows": np.zeros((0, 2)),
    "no columns": np.zeros((3, 0)),
    "object": np.full((3, 2), None),
    "complex": np.zeros((3, 2), complex),
    "string": "points",
    "strings": np.full((3, 2), "1"),
    "dates": np.zeros((3, 2), "M8[s]"),
    "ragged": [[1.0, 2.0], [3.0]],
    "dask": foreign("dask.array.core", (3, 2)),
}
BAD_COEFFICIENTS = {
    "NaN": [1.0, 2.0, np.nan],
    "inf": [1.0, -np.inf, 2.0],
    "one too few": np.zeros(2),
    "2-D": np.zeros((3, 1)),
    "scalar": 1.0,
    "object": np.full(3, None),
    "strings": ["1", "2", "3"],
    "ragged": [1.0, [2.0], 3.0],
    "dask": foreign("dask.array.core", 3),
}


def bad_outs(dtype):
    read_only = np.zeros(3, dtype)
    read_only.flags.writeable = False
    return {
        "too short": np.zeros(2, dtype),
        "2-D": np.zeros((3, 1), dtype),
        "other type": np.zeros(3, np.complex64),
        "strided": np.zeros(6, dtype)[::2],
        "read-only": read_only,
        "list": [0.0, 0.0, 0.0],
    }


def bad_calls():
    for label, bad in BAD_POINTS.items():
        for name, x, omega in [("x", bad, GOOD), ("omega", GOOD, bad)]:
            yield pytest.param(
                name, lambda x=x, o=omega: fastcl.feature_sum(x, o), id=f"sum-{name}-{label}"
            )
            yield pytest.param(
                name,
                lambda x=x, o=omega: fastcl.feature_adjoint(x, o, np.ones(3)),
                id=f"adjoint-{name}-{label}",
            )
    for name in ("x", "omega"):  # the message names both
        yield pytest.param(
            name, lambda: fastcl.feature_sum(GOOD, np.zeros((3, 3))), id=f"sum-columns-{name}"
        )
        yield pytest.param(
            name,
            lambda: fastcl.feature_adjoint(GOOD, np.zeros((3, 3)), np.ones(3)),
            id=f"adjoint-columns-{name}",
        )
    for label, bad in {**BAD_COEFFICIENTS, "complex": np.zeros(3, complex)}.items():
        yield pytest.param(
            "weights", lambda w=bad: fastcl.feature_sum(GOOD, GOOD, w), id=f"weights-{label}"
        )
    for label, bad in BAD_COEFFICIENTS.items():
        yield pytest.param(
            "c", lambda c=bad: fastcl.feature_adjoint(GOOD, GOOD, c), id=f"c-{label}"
        )
    for label, out in bad_outs(np.complex128).items():
        yield pytest.param(
            "out", lambda out=out: fastcl.feature_sum(GOOD, GOOD, out=out), id=f"sum-out-{label}"
        )
    for label, out in bad_outs(np.float64).items():
        yield pytest.param(
            "out",
            lambda out=out: fastcl.feature_adjoint(GOOD, GOOD, np.ones(3), out),
            id=f"adjoint-out-{label}",
        )
    # What is finite in float64 only is not finite in the type of the work.
    single = GOOD.astype(np.float32)
    yield pytest.param(
        "weights",
        lambda: fastcl.feature_sum(single, GOOD, np.full(3, 1e300)),
        id="weights-overflow",
    )
    yield pytest.param(
        "c", lambda: fastcl.feature_adjoint(single, GOOD, np.full(3, 1e300)), id="c-overflow"
    )


@pytest.mark.parametrize(("name", "call"), list(bad_calls()))
def test_bad_input_is_an_error_that_names_the_argument(name, call):
    with pytest.raises((ValueError, TypeError), match=rf"(^|\W){name}\W") as caught:
        call()
    assert type(caught.value) in (ValueError, TypeError)


@pytest.mark.parametrize("x", [np.zeros((3, 1), np.float32), np.ones((3, 1), np.float32)])
def test_frequencies_beyond_float32_are_refused_without_a_warning(x):
    with pytest.raises(ValueError, match="omega is too large for x in float32"):
        fastcl.feature_sum(x, [[1e300]])


@pytest.mark.skipif(
    np.finfo(np.longdouble).max == np.finfo(np.float64).max, reason="long double is double here"
)
def test_numbers_beyond_float64_are_refused_without_a_warning():
    large = np.full((3, 1), np.finfo(np.longdouble).max)
    for x, omega, name in ((large, [[1.0]], "x"), ([[1.0]], large, "omega")):
        with pytest.raises(ValueError, match=f"{name} holds NaN or infinity"):
            fastcl.feature_sum(x, omega)


def test_bad_rows_are_named(monkeypatch):
    monkeypatch.setattr(operator, "CHUNK_ROWS", 2)
    with pytest.raises(ValueError, match=r"x holds NaN or infinity in row 2$"):
        fastcl.feature_sum(changed(np.nan), GOOD)
