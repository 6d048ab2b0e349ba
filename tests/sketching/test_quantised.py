"""Quantised features with a dither: the kernel against loops, what sums estimate, sketches."""

import naive
import numpy as np
import pytest
from bounds import assert_within

import fastcl
from fastcl.sketching.quantised import Quantiser

BITS = (1, 2, 3, 8)


def make(dtype, n, m, d):
    rng = np.random.default_rng([n, m, d])
    return (
        rng.standard_normal((n, d)).astype(dtype),
        rng.standard_normal((m, d)),
        2 * np.pi * rng.random(m),
    )


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize(
    ("dtype", "n", "m", "d"),
    [
        (np.float32, 1, 1, 1), (np.float32, 257, 31, 2), (np.float32, 1021, 257, 3),
        (np.float64, 3, 1021, 9), (np.float64, 1021, 31, 2), (np.float64, 31, 300, 35),
        (np.float32, 5000, 17, 2),
    ],
)  # fmt: skip
def test_sums_are_those_of_quantised_cosines(backend, dtype, n, m, d, bits):
    x, omega, dither = make(dtype, n, m, d)
    total = fastcl.Sketch(omega, bits=bits, dither=dither).update(backend.array(x)).total
    exact, doubtful = naive.quantised_sum(
        x, omega, dither, bits, margin=(d + 4) * 16 * np.finfo(dtype).eps
    )
    # A rounded phase may fall on the other side of a threshold only if it is near one. The level
    # then changes by two.
    for part, expected in ((total.real, exact.real), (total.imag, exact.imag)):
        assert (part == np.rint(part)).all()
        assert_within(part, expected, 2 * doubtful)
    assert doubtful.mean() < 0.1 * n + 1


def test_arrays_with_any_strides_give_the_same_sums():
    x, omega, dither = make(np.float64, 300, 40, 4)
    base = fastcl.Sketch(omega, bits=2, dither=dither).update(x).total
    for other in (
        np.asfortranarray(x),
        np.repeat(x, 2, axis=0)[::2],
        np.ascontiguousarray(x[::-1])[::-1],
    ):
        np.testing.assert_array_equal(
            fastcl.Sketch(omega, bits=2, dither=dither).update(other).total, base
        )


@pytest.mark.parametrize("bits", BITS)
def test_the_mean_over_dithers_is_the_plain_sketch(bits):
    x, omega, _ = make(np.float64, 3, 5, 2)
    plain = fastcl.sketch(x, omega).values
    draws = np.stack([fastcl.sketch(x, omega, bits=bits, rng=seed).values for seed in range(400)])
    standard_error = np.sqrt((np.abs(draws - plain) ** 2).mean(axis=0) / len(draws))
    assert_within(draws.mean(axis=0), plain, 4 * standard_error)
    assert standard_error.max() < 0.1


@pytest.mark.slow
def test_the_harmonics_that_remain_are_those_of_the_derivation():
    """For one point and one dither, the sum of F_h / F_1 exp(i (1 - h) xi - i h phi)."""
    for bits in (1, 3):
        phi, xi = 0.7, 1.9
        quantiser = Quantiser(bits, [xi], 1)
        h = np.array([(-1) ** k * (2 * k + 1) for k in range(200_000)])
        terms = [quantiser.coefficient(abs(k)) for k in h]
        series = (
            np.array(terms) * np.exp(1j * (1 - h) * xi - 1j * h * phi)
        ).sum() / quantiser.coefficient(1)
        value = fastcl.Sketch([[1.0]], bits=bits, dither=[xi]).update([[phi]]).values[0]
        assert abs(value - series) < 1e-4  # its terms alternate, and the last are about 1e-6


@pytest.mark.parametrize("bits", [1, 4])
def test_values_are_the_moments_at_odd_multiples_of_the_frequency(bits):
    x, xi = (
        np.random.default_rng(0).standard_normal((5000, 2)),
        2 * np.pi * np.random.default_rng(1).random(40),
    )
    angle, radius = np.random.default_rng(2).uniform(0, [2 * np.pi, 1], (40, 2)).T
    omega = ((0.3 + radius) * [np.cos(angle), np.sin(angle)]).T
    quantiser = Quantiser(bits, xi, 40)
    predicted = np.zeros(40, complex)
    for k in range(50):
        h = (-1) ** k * (2 * k + 1)
        share = quantiser.coefficient(abs(h)) / quantiser.coefficient(1)
        predicted += share * np.exp(1j * (1 - h) * xi) * fastcl.sketch(x, h * omega).values
    values = fastcl.sketch(x, omega, bits=bits, rng=np.random.default_rng(1)).values
    # Beyond the 50th term the moments are noise of 1 / sqrt(n), with shares of at most
    # 4 / (pi h): 1e-3 in all.
    assert np.abs(values - predicted).max() < 6e-3
    # The other terms do matter.
    assert np.abs(values - fastcl.sketch(x, omega).values).max() > 0.009


def test_parts_merge_and_files_keep_bits_and_dither(tmp_path):
    x, omega, _ = make(np.float32, 500, 40, 2)
    whole = fastcl.sketch(x, omega, bits=1, rng=3)
    merged = fastcl.sketch(x[:200], omega, bits=1, rng=3) + fastcl.sketch(
        x[200:], omega, bits=1, rng=3
    )
    np.testing.assert_array_equal(merged.values, whole.values)  # whole numbers, in any order
    merged.save(tmp_path / "s.npz")
    loaded = fastcl.load(tmp_path / "s.npz")
    assert (loaded.bits, loaded.fingerprint) == (1, whole.fingerprint)
    np.testing.assert_array_equal(loaded.dither, whole.dither)
    np.testing.assert_array_equal(loaded.update(x).values, (whole + whole).values)
    for other in ({"bits": 2, "rng": 3}, {"bits": 1, "rng": 4}, {}):
        sk = fastcl.sketch(x, omega, **other)
        assert sk.fingerprint != whole.fingerprint
        for a, b in ((sk, whole), (whole, sk)):
            with pytest.raises(ValueError, match="other bits or dither"):
                a + b


def test_a_pass_resumes_with_the_same_seed(tmp_path):
    x, omega, _ = make(np.float32, 500, 40, 2)
    path = tmp_path / "state.npz"
    first = fastcl.sketch(x, omega, bits=1, rng=3, checkpoint=path)
    np.testing.assert_array_equal(
        fastcl.sketch(x, omega, bits=1, rng=3, checkpoint=path).values, first.values
    )
    with pytest.raises(ValueError, match="other frequencies"):
        fastcl.sketch(x, omega, bits=1, rng=4, checkpoint=path)


def test_structured_frequencies_are_used_one_by_one():
    x = np.random.default_rng(0).standard_normal((300, 2))
    omega = fastcl.draw_frequencies(40, 2, 1.0, rng=0, structure="harmonic")
    one, other = (
        fastcl.sketch(x, given, bits=2, rng=1).values for given in (omega, np.asarray(omega))
    )
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("bits", [1, 3])
def test_the_result_is_bitwise_identical_on_any_number_of_threads(on_threads, bits):
    x, omega, _ = make(np.float32, 20_000, 300, 2)
    one, two = on_threads(lambda: fastcl.sketch(x, omega, bits=bits, rng=0).values)
    np.testing.assert_array_equal(one, two)


def test_a_prior_is_learned_from_one_bit():
    x = np.random.default_rng(0).normal(0.3, 0.2, (20_000, 2))
    omega, box = fastcl.draw_frequencies(200, 2, 0.2, rng=0), fastcl.Box([-1, -1], [1, 1])
    prior, plain = fastcl.MLPPrior(2, (16, 16), rng=0), fastcl.sketch(x, omega)
    before = fastcl.grid_gradient(prior, plain, box)[0]
    fastcl.learn(
        prior,
        fastcl.sketch(x, omega, bits=1, rng=1),
        box,
        n_points=500,
        n_iter=200,
        optimizer=fastcl.Adam(3e-3),
        rng=0,
    )
    assert fastcl.grid_gradient(prior, plain, box)[0] < before / 10


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"bits": 0}, ValueError, "bits must be at least 1"),
        ({"bits": 9}, ValueError, "bits must be from 1 to 8"),
        ({"bits": 1.5}, TypeError, "bits must be an integer"),
        ({"bits": 1, "method": "nufft"}, ValueError, "nufft"),
        ({"rng": 1}, ValueError, "give bits"),
    ],
)
def test_bad_arguments_are_named(given, error, message):
    with pytest.raises(error, match=message):
        fastcl.sketch(np.zeros((3, 2)), np.ones((4, 2)), **given)


def test_a_dither_has_to_fit():
    with pytest.raises(ValueError, match="need a dither"):
        fastcl.Sketch(np.ones((4, 2)), bits=1)
    with pytest.raises(ValueError, match=r"dither must have shape \(4,\)"):
        fastcl.Sketch(np.ones((4, 2)), bits=1, dither=np.zeros(3))
    with pytest.raises(ValueError, match="give bits"):
        fastcl.Sketch(np.ones((4, 2)), dither=np.zeros(4))


@pytest.mark.again("races", device="cuda-host", dtype=np.float32, n=301, m=5, d=35, bits=3)
@pytest.mark.parametrize("bits", [1, 3])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("n", "m", "d"), [(1021, 33, 2), (301, 5, 35), (21, 5, 600)])
def test_a_part_of_many_stages_is_the_sum_of_them(device, monkeypatch, dtype, n, m, d, bits):
    # On a device with one block, one part has all points: more than are staged at once.
    monkeypatch.setattr("fastcl.kernels.launchers.features.BLOCKS", 1)
    x, omega, dither = make(dtype, n, m, d)
    total = fastcl.Sketch(omega, bits=bits, dither=dither).update(device.array(x)).total
    # Rounding errors of a phase are a random walk, far below the worst case of d times this.
    exact, doubtful = naive.quantised_sum(x, omega, dither, bits, margin=16 * np.finfo(dtype).eps)
    for part, expected in ((total.real, exact.real), (total.imag, exact.imag)):
        assert_within(part, expected, 2 * doubtful)
    assert doubtful.mean() < 0.1 * n


@pytest.mark.parametrize("structure", [None, "harmonic"])
def test_rows_that_no_block_can_stage_are_refused(device, structure):
    x, options = device.array(np.zeros((3, 20_000))), {} if structure else {"bits": 1, "rng": 0}
    omega = fastcl.draw_frequencies(8, 20_000, 100.0, rng=0, structure=structure)
    with pytest.raises(
        ValueError,
        match="no CUDA kernel for these frequencies in dimension 20000: pass NumPy arrays",
    ):
        fastcl.sketch(x, omega, **options)


@pytest.mark.parametrize("bits", [1, 5])
def test_a_host_array_is_streamed_through_a_device(device, monkeypatch, bits):
    monkeypatch.setattr("fastcl.fourier.transfer.CHUNK_BYTES", 4000)  # 250 points
    x, omega, dither = make(np.float64, 901, 33, 2)
    streamed = fastcl.Sketch(device.array(omega), bits=bits, dither=dither).update(x)
    whole = fastcl.Sketch(omega, bits=bits, dither=dither).update(device.array(x))
    np.testing.assert_array_equal(streamed.values, whole.values)
    assert streamed.fingerprint == whole.fingerprint


@pytest.mark.parametrize("bits", [1, 2, 8])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_cosine_of_one_has_the_highest_level(backend, dtype, bits):
    """For points at zero and quarter-turn dithers: cosine ±1 and sine near 0, or the other way."""
    sk = fastcl.Sketch(np.ones((4, 1)), bits=bits, dither=np.arange(4) * np.pi / 2)
    total, highest = sk.update(backend.array(np.zeros((300, 1), dtype))).total, 300 * (2**bits - 1)
    assert total.real[[0, 2]].tolist() == [highest, -highest]
    assert total.imag[[1, 3]].tolist() == [-highest, highest]
    assert np.abs([total.imag[[0, 2]], total.real[[1, 3]]]).tolist() == [[300, 300], [300, 300]]
