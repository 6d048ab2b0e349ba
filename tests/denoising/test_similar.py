"""The second stage: groups of similar patches against loops, and several scales."""

import itertools
import tracemalloc

import numpy as np
import pytest
from bounds import assert_within
from scipy.ndimage import gaussian_filter

import fastcl
from fastcl.denoising import restoration, similar
from fastcl.denoising.scales import denoise_scales
from fastcl.denoising.similar import Search, image_search, refine, refine_once, with_spare

races = pytest.mark.again("races", device="cuda-host", dtype=np.float32)
ROUNDS = Search((6, 6, 7, 7), (3, 4, 3, 4), half=14)


def in_loops(noisy, pilot, side, group, half, stride, shift):
    """The group of every reference patch, denoised by the formula with a covariance matrix."""
    shape = noisy.shape[1:]
    patch = [min(side, size) for size in shape]
    counts = [size - p + 1 for size, p in zip(shape, patch, strict=True)]
    total, weights = np.zeros(noisy.shape), np.zeros(shape)

    def window(signal, corner):
        return signal[(..., *(slice(at, at + p) for at, p in zip(corner, patch, strict=True)))]

    starts = [sorted({0, *range(shift % stride, count, stride), count - 1}) for count in counts]
    for corner in itertools.product(*starts):
        ranges = [
            range(max(at - half, 0), min(at + half, count - 1) + 1)
            for at, count in zip(corner, counts, strict=True)
        ]
        near = list(itertools.product(*ranges))
        reference = window(pilot, corner)
        distances = [np.square(window(pilot, place) - reference).sum() for place in near]
        chosen = [near[k] for k in np.argsort(distances, kind="stable")[:group]]
        p = np.array([window(pilot, place).ravel() for place in chosen])
        y = np.array([window(noisy, place).ravel() for place in chosen])
        mean = p.mean(axis=0)
        covariance = (p - mean).T @ (p - mean) / max(len(p) - 1, 1)
        gain = np.linalg.solve(covariance + np.eye(len(mean)), covariance)
        clean = (y - mean) @ gain
        rest = y - mean - clean
        of_noise = len(p) * np.square(np.eye(len(mean)) - gain).sum()
        clean += max(1 - of_noise / np.square(rest).sum(), 0) * rest
        for place, row in zip(chosen, clean + mean, strict=True):
            window(total, place)[...] += row.reshape(reference.shape)
            window(weights, place)[...] += 1
    return total / weights


@pytest.mark.parametrize(
    "shape",
    [(1, 17, 23), (3, 12, 14), (1, 40), (2, 25), (1, 7, 8, 9), (1, 4, 5), (1, 1, 30), (2, 2)],
    ids=str,
)
@pytest.mark.parametrize(("slab", "stride", "shift"), [(1, 3, 0), (3, 2, 1), (16, 3, 5)])
def test_groups_equal_those_of_loops(backend, rng, monkeypatch, shape, slab, stride, shift):
    monkeypatch.setattr(similar, "SLAB", slab)
    monkeypatch.setattr(similar, "SLABS", 2)
    monkeypatch.setattr(similar, "GROUP", 9)
    pilot = 5 * gaussian_filter(rng.standard_normal(shape), (0, *[1.5] * (len(shape) - 1)))
    noisy = pilot + rng.standard_normal(shape)
    given = [backend.array(array) for array in (noisy, with_spare(pilot))]
    found = refine_once(*given, 3, stride, 4, shift)
    # Solving systems with condition numbers up to a thousand.
    assert_within(backend.host(found), in_loops(noisy, pilot, 3, 9, 4, stride, shift), 1e-9)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("shape", "side", "half"),
    [
        pytest.param((1, 26, 31), 6, 9, marks=races),
        ((3, 19, 25), 5, 7),  # numbers of a patch in three chunks
        ((1, 80, 70), 6, 40),  # windows that do not fit in shared memory
        ((1, 9, 10, 11), 4, 5),
    ],
    ids=str,
)
def test_a_device_chooses_the_same_patches(device, rng, shape, side, half, dtype):
    pilot = 5 * gaussian_filter(rng.standard_normal(shape), (0, *[1.5] * (len(shape) - 1)))
    noisy = (pilot + rng.standard_normal(shape)).astype(dtype)
    pilot = with_spare(pilot.astype(dtype))
    expected = refine_once(noisy, pilot, side, side, half)
    found = refine_once(device.array(noisy), device.array(pilot), side, side, half)
    # Condition numbers of a thousand: another patch would make a difference of 0.01.
    assert_within(device.host(found), expected, 2000 * np.finfo(dtype).eps)


def test_sums_on_a_device_keep_what_is_small_next_to_the_largest_value(device, rng):
    clean = np.zeros((1, 20, 30))
    clean[..., 15:] = 1e7
    noisy = clean + rng.standard_normal(clean.shape)
    found = device.host(refine(device.array(noisy), device.array(noisy), 1.0, ROUNDS))
    assert np.square(found - clean).mean() < 2


def test_nan_stays_nan_on_a_device(device, rng):
    noisy = rng.standard_normal((1, 20, 20))
    noisy[0, 3, 4] = np.nan
    found = refine_once(device.array(noisy), device.array(with_spare(0 * noisy)), 4, 4, 6)
    assert np.isnan(device.host(found)).any()


def test_float32_is_close(rng):
    pilot = 5 * gaussian_filter(rng.standard_normal((1, 40, 30)), (0, 2, 2))
    noisy = pilot + rng.standard_normal(pilot.shape)
    found = refine(noisy.astype(np.float32), pilot.astype(np.float32), 1.0, ROUNDS)
    assert found.dtype == np.float32
    # Rounding may choose other patches where distances are nearly equal.
    assert np.median(np.abs(found - refine(noisy, pilot, 1.0, ROUNDS))) < 1e-3


@pytest.mark.parametrize("shape", [(2, 60, 33), (2, 700)], ids=str)
def test_threads_do_not_change_a_bit(rng, shape):
    pilot = rng.standard_normal(shape)
    noisy = pilot + rng.standard_normal(pilot.shape)
    before = fastcl.get_num_threads()
    try:
        results = []
        for threads in (1, 2, 3):
            fastcl.set_num_threads(threads)
            results.append(refine(noisy, pilot, 1.0, ROUNDS))
    finally:
        fastcl.set_num_threads(before)
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])


def test_memory_is_a_few_signals(rng):
    noisy = rng.standard_normal((1, 1500, 400)).astype(np.float32)
    pilot = gaussian_filter(noisy, (0, 1, 1))
    search = Search((6, 6), (6, 6), half=4)
    refine(noisy[:, :30], pilot[:, :30], 1.0, search)  # compiles
    tracemalloc.start()
    try:
        refine(noisy, pilot, 1.0, search)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    rows = 3 * 6 + 2 * 4 + 6
    slabs = similar.SLABS * 2 * rows * noisy.shape[2] * noisy.itemsize
    assert peak < 6 * noisy.nbytes + slabs


def test_flat_pilots_and_equal_distances_are_no_trouble(rng):
    noisy = rng.standard_normal((1, 30, 30))
    found = refine(noisy, np.zeros_like(noisy), 1.0, ROUNDS)
    # A group of equal patches has no covariance: what is left is its mean, and a little by chance.
    assert np.square(found).mean() < 0.02


def test_levels_of_channels_are_their_units(rng):
    pilot = gaussian_filter(rng.standard_normal((3, 24, 24)), (0, 2, 2))
    noisy = pilot + 0.1 * rng.standard_normal(pilot.shape)
    units = np.array([1.0, 2.0, 4.0])
    scaled = units[:, None, None]
    expected = refine(noisy, pilot, 0.1, ROUNDS) * scaled
    np.testing.assert_allclose(
        refine(noisy * scaled, pilot * scaled, 0.1 * units, ROUNDS), expected, rtol=1e-9
    )


def test_what_the_pilot_has_lost_comes_back_by_wieners_factor(rng):
    noisy = 3 * rng.standard_normal((1, 60, 60))  # of which the noise is a ninth
    found = refine_once(noisy, with_spare(0 * noisy), 6, 3, 14)
    np.testing.assert_allclose(found, noisy * 8 / 9, rtol=0, atol=0.05 * np.abs(noisy).max())
    noise = rng.standard_normal((1, 60, 60))
    assert np.square(refine_once(noise, with_spare(0 * noise), 6, 3, 14)).mean() < 0.02


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(1, 3000), (1, 40, 40), (3, 40, 40)], ids=str)
def test_far_stronger_signals_than_the_noise_stay_finite(rng, shape, dtype):
    clean = np.zeros(shape)
    clean[..., shape[-1] // 3 :] = 1e7  # between which distances differ by 1e15
    noisy = (clean + rng.standard_normal(shape)).astype(dtype)
    found = refine(noisy, noisy, 1.0, ROUNDS)
    assert np.square(found - clean).mean() < 2 if dtype == np.float64 else np.isfinite(found).all()


@pytest.mark.parametrize("sigma", [0.3 / 255, 1 / 255, 3 / 255, 5 / 255])
@pytest.mark.parametrize("kind", ["grey", "colour"])
def test_weak_noise_on_black_and_white_stays_weak(rng, sigma, kind):
    clean = np.kron(rng.integers(0, 2, (12, 12)), np.ones((8, 8)))
    if kind == "colour":
        clean = np.stack([clean, 1 - clean, clean[::-1]], axis=-1)
    noisy = clean + sigma * rng.standard_normal(clean.shape)
    for dtype in (np.float32, np.float64):
        found = fastcl.denoise_image(noisy.astype(dtype), sigma)
        assert found.dtype == dtype
        assert np.square(found - clean).mean() < 0.6 * sigma**2
        assert np.abs(found - clean).max() < 8 * sigma


@pytest.mark.parametrize("unit", [1e-60, 1e-25, 1e25, 1e60])
def test_extreme_units_keep_double_precision(rng, unit):
    clean = texture(rng)[..., 0]
    noisy = clean + 0.1 * rng.standard_normal(clean.shape)
    model = fastcl.ready_model("grey")
    expected = model(noisy, 0.1)
    transform = model.transform
    scaled = fastcl.PatchTransform(transform.patch, transform.axes, unit * transform.stds)
    found = fastcl.SignalModel(scaled, model.prior)(unit * noisy, 0.1 * unit) / unit
    np.testing.assert_allclose(found, expected, atol=1e-3)


def texture(rng):
    rows, columns = np.mgrid[:96, :96]
    pattern = 0.5 + 0.2 * np.sin(rows / 3.0) * np.cos(columns / 4.0)
    return np.stack([pattern, pattern**2, 1 - pattern], axis=-1)


def test_a_second_stage_gains_where_patterns_repeat(rng):
    clean = texture(rng)
    noisy = clean + 0.1 * rng.standard_normal(clean.shape)
    quick = {"n_iter": 20, "n_components": 4, "n_samples": 5000}
    model = fastcl.learn_image_prior([clean], patch=3, m=100, channel_axis=-1, rng=0, **quick)
    error = {
        stage: np.square(fastcl.denoise_image(model, noisy, 0.1, second_stage=stage) - clean).mean()
        for stage in (False, True, None)
    }
    assert error[True] < 0.7 * error[False] < 0.7 * 0.01
    assert error[None] == error[True]  # images have it by default
    grey = fastcl.learn_image_prior([clean[..., 0]], patch=3, m=100, rng=0, **quick)
    given = noisy[..., 0]
    one, other = (fastcl.denoise_image(grey, given, 0.1, second_stage=s) for s in (None, False))
    assert np.square(one - clean[..., 0]).mean() < 0.7 * np.square(other - clean[..., 0]).mean()


def test_more_effort_leaves_less_noise(rng):
    clean = texture(rng)[..., 0]
    noisy = clean + 0.1 * rng.standard_normal(clean.shape)
    error = [
        np.square(fastcl.denoise_image(noisy, 0.1, effort=effort) - clean).mean()
        for effort in restoration.EFFORTS
    ]
    assert error[2] < error[1] < error[0]
    default = np.square(fastcl.denoise_image(noisy, 0.1) - clean).mean()
    assert default == error[1]


@pytest.mark.parametrize("effort", restoration.EFFORTS)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("strong", [False, True])
def test_patches_cover_every_sample(effort, channels, strong):
    search = image_search(effort, channels, strong)
    assert all(stride <= side for side, stride in zip(search.sides, search.strides, strict=True))


@pytest.mark.parametrize("shape", [(64, 64), (63, 50), (31, 80, 3), (200,)])
@pytest.mark.parametrize("scales", [1, 2, 3])
def test_scales_of_the_identity_are_the_identity(rng, shape, scales):
    signal = rng.standard_normal((1, *shape))
    sigmas = []

    def keep(part, sigma):
        sigmas.append((part.shape[1:], sigma))
        return part

    found = denoise_scales(keep, signal, 0.3, scales, 4)
    np.testing.assert_allclose(found, signal, atol=1e-12)
    for size, sigma in sigmas:
        assert sigma == pytest.approx(0.3 * np.sqrt(np.prod(size) / np.prod(shape)))


def test_noise_of_half_signals_is_white_and_means_stay(rng):
    parts = []
    signal = 5 + rng.standard_normal((1, 80, 90))
    denoise_scales(lambda part, sigma: parts.append((part, sigma)) or part, signal, 1.0, 3, 4)
    for part, sigma in parts:
        assert part.mean() == pytest.approx(signal.mean(), abs=1e-12)
        # Standard deviations of 440 or more values: five standard errors.
        assert part.std() == pytest.approx(sigma, rel=5 / np.sqrt(2 * part.size))


def test_small_signals_have_one_scale():
    calls = []
    signal = np.zeros((1, 10, 40))
    denoise_scales(lambda part, sigma: calls.append(part.shape) or part, signal, 1.0, 3, 6)
    assert calls == [(1, 10, 40)]
    assert restoration.SCALES == 2
