"""Host arrays on a device: chunk by chunk, in memory that does not depend on their length."""

import naive
import numpy as np
import pytest
from bounds import assert_within
from cuda_host import Memory

import fastcl
from fastcl.fourier import transfer
from fastcl.fourier.operator import PackedOperator

N, M, D = 1021, 31, 3
EPS = np.finfo(np.float32).eps


@pytest.fixture
def problem():
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((N, D)).astype(np.float32), rng.standard_normal(N).astype(np.float32)
    return x, 4 * rng.standard_normal((M, D)), w


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    # Eleven chunks, the last one of 21 rows.
    monkeypatch.setattr(transfer, "CHUNK_BYTES", 100 * D * 4)


def test_streamed_sums_are_the_sums(device, problem):
    x, omega, w = problem
    error = naive.feature_error(x, omega, EPS)
    for weights in (None, w):
        s = fastcl.feature_sum(x, device.array(omega), weights)
        assert isinstance(s, np.ndarray)
        difference = s - naive.feature_sum(x, omega, weights)
        bound = np.abs(np.ones(N) if weights is None else weights) @ error
        assert_within(difference.real, 0, bound)
        assert_within(difference.imag, 0, bound)


def test_streamed_adjoint_is_that_of_the_points_on_the_device(device, problem):
    x, omega, _ = problem
    c = np.random.default_rng(1).standard_normal(M) * (1 + 1j)
    out = np.empty(N, np.float32)
    assert fastcl.feature_adjoint(x, device.array(omega), c, out=out) is out
    assert np.array_equal(out, device.host(fastcl.feature_adjoint(device.array(x), omega, c)))


@pytest.mark.parametrize(
    "convert", [lambda x: x.astype(np.float16), lambda x: x[::-1], lambda x: x.astype(np.int8)]
)
def test_rows_of_any_type_and_stride_are_converted_on_the_way(device, problem, convert):
    x, omega = convert(problem[0]), problem[1]
    streamed, direct = (
        fastcl.sketch(x, frequencies).values for frequencies in (device.array(omega), omega)
    )
    assert np.abs(streamed - direct).max() <= 2 * naive.feature_error(x, omega, EPS).max()


def test_a_sketch_of_streamed_points_merges_with_one_of_the_host(device, problem):
    x, omega, _ = problem
    merged = fastcl.sketch(x[:300], device.array(omega)) + fastcl.sketch(x[300:], omega)
    assert merged.count == N
    assert (
        np.abs(merged.values - fastcl.sketch(x, omega).values).max()
        <= 2 * naive.feature_error(x, omega, EPS).max()
    )


def test_points_on_the_device_are_cut_only_if_they_are_copied(device, problem):
    x, omega, _ = problem
    there = device.array(x)
    harmonic = fastcl.draw_frequencies(32, D, 1.0, rng=0, structure="harmonic", harmonics=2)

    def lengths(points, frequencies):
        operator = PackedOperator.pack(frequencies, np.float32, there)
        return [len(chunk) for _, chunk in operator.chunks(points, 0, N)]

    assert lengths(there, omega) == [N]
    # These are converted, made contiguous, and transposed by the kernels.
    for points, frequencies in (
        (device.array(x.astype(np.float16)), omega),
        (there[::-1], omega),
        (there, harmonic),
    ):
        assert lengths(points, frequencies) == 10 * [100] + [21]


@pytest.mark.parametrize("streamed", [True, False])
def test_points_that_are_not_finite_are_an_error_that_says_where(device, problem, streamed):
    x, omega, _ = problem
    x[950, 1] = np.nan
    with pytest.raises(ValueError, match=r"x holds NaN or infinity in row 950$"):
        fastcl.feature_sum(x if streamed else device.array(x), device.array(omega))


@pytest.mark.parametrize("function", ["sum", "adjoint"])
def test_device_memory_does_not_depend_on_the_number_of_points(device, problem, function):
    if device.name != "cuda-host":
        pytest.skip("counted by the stand-in")
    x, omega, _ = problem
    omega, peaks = device.array(omega), []
    for points in (x[:300], x):
        before = Memory.live
        Memory.reset()
        if function == "sum":
            fastcl.feature_sum(points, omega)
        else:
            fastcl.feature_adjoint(points, omega, np.ones(M))
        peaks.append(Memory.peak - before)
    assert peaks[0] == peaks[1] > 2 * transfer.CHUNK_BYTES


@pytest.mark.parametrize(
    "convert", [lambda x: x.astype(np.float16), lambda x: x[::-1], lambda x: x[:, ::-1]]
)
def test_device_points_of_any_type_and_stride_are_converted_in_chunks(device, problem, convert):
    x, omega = convert(problem[0]), problem[1]
    s = device.host(fastcl.feature_sum(convert(device.array(problem[0])), omega))
    assert_within(
        s, naive.feature_sum(x, omega), 2 * naive.feature_error(x, omega, EPS).sum(axis=0)
    )


def test_out_is_where_the_points_are(device, problem):
    x, omega, _ = problem
    points, c = device.array(x), np.ones(M)
    sums = device.array(np.empty(M, np.complex128))
    values = device.array(np.empty(N, np.float32))
    assert fastcl.feature_sum(points, omega, out=sums) is sums
    assert fastcl.feature_adjoint(points, omega, c, out=values) is values
    assert np.array_equal(device.host(sums), device.host(fastcl.feature_sum(points, omega)))
    assert np.array_equal(
        device.host(values), device.host(fastcl.feature_adjoint(points, omega, c))
    )
    for given, out in ((points, np.empty(M, np.complex128)), (x, sums)):
        with pytest.raises(ValueError, match="out must be a contiguous complex128"):
            fastcl.feature_sum(given, omega, out=out)


def test_finufft_is_refused_on_a_device(device, problem):
    x, omega, _ = problem
    for points, frequencies in ((device.array(x), omega), (x, device.array(omega))):
        for call in (fastcl.sketch, fastcl.feature_sum):
            with pytest.raises(ValueError, match='method="nufft" serves NumPy arrays'):
                call(points, frequencies, method="nufft")
