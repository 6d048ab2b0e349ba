"""Signals of any shape: one pass written out in loops, batches, levels and maps of the noise."""

import itertools
import tracemalloc

import numpy as np
import pytest
from bounds import assert_within

import fastcl
from fastcl import PatchTransform, SignalModel
from fastcl.data import patches
from fastcl.denoising.anscombe import anscombe, inverse_anscombe

# (shape, channel_axis, patch, channels)
SHAPES = [
    ((40,), None, (7,), 1), ((40, 2), -1, (5,), 2), ((9, 11), None, (3, 4), 1),
    ((8, 9, 3), -1, (3, 3), 3), ((2, 8, 9), 0, (2, 3), 2), ((5, 6, 7), None, (2, 3, 2), 1),
    ((5, 2, 6, 4), 1, (2, 2, 3), 2),
]  # fmt: skip


def model_for(patch, channels, axis, dim=None, keep_means=True, beta=2.5):
    """A model with a mixture of two shapes and two scales, on random principal axes."""
    rng = np.random.default_rng(1)
    size = channels * int(np.prod(patch))
    x = rng.standard_normal((900, size)) @ rng.standard_normal((size, size)) / size
    transform = PatchTransform.fit(x, patch, dim, channels, keep_means)
    roots = np.eye(transform.dim) + 0.3 * rng.standard_normal((2, transform.dim, transform.dim))
    prior = fastcl.MixtureOfScaleMixtures(
        roots @ roots.swapaxes(1, 2), [0.5, 1.5], [[0.1, 0.4], [0.3, 0.2]]
    )
    return SignalModel(transform, prior, precisions=[beta], channel_axis=axis)


@pytest.fixture(params=SHAPES, ids=str)
def problem(request, rng):
    shape, axis, patch, channels = request.param
    size = channels * int(np.prod(patch))
    model = model_for(patch, channels, axis, dim=max(2, size // 2))
    return model, rng.standard_normal(shape)


def in_loops(model, noisy, sigma_of, stride=1):
    """One pass: `sigma_of(corner)` is the noise of the patch that starts there."""
    axis, patch = model.channel_axis, model.transform.patch
    signal = noisy[None] if axis is None else np.moveaxis(noisy, axis, 0)
    beta = model.precisions[0]
    total, weights = np.zeros(signal.shape), np.zeros(signal.shape)
    lasts = [size - side for size, side in zip(signal.shape[1:], patch, strict=True)]
    for corner in itertools.product(*(sorted({*range(0, n + 1, stride), n}) for n in lasts)):
        place = tuple(slice(at, at + side) for at, side in zip(corner, patch, strict=True))
        window = signal[(slice(None), *place)]
        sigma = sigma_of(corner)
        white, rest = model.transform.forward(window.reshape(1, -1), sigma / np.sqrt(beta))
        clean = model.prior.posterior_mean(white, sigma / np.sqrt(beta) / model.transform.stds)
        total[(slice(None), *place)] += (
            model.transform.inverse(clean, rest).reshape(window.shape) / sigma**2
        )
        weights[(slice(None), *place)] += 1 / sigma**2
    return signal, beta * total, beta * weights


def in_callers_layout(model, signal):
    return signal[0] if model.channel_axis is None else np.moveaxis(signal, 0, model.channel_axis)


@pytest.mark.parametrize("stride", [1, 2])
def test_one_pass_is_written_out(problem, monkeypatch, stride):
    monkeypatch.setattr(patches, "CHUNK_PATCHES", 11)
    model, noisy = problem
    signal, total, weights = in_loops(model, noisy, lambda corner: 0.3, stride)
    expected = (signal / 0.09 + total) / (1 / 0.09 + weights)
    found = fastcl.denoise_signal(model, noisy, 0.3, stride=stride, second_stage=False)
    assert found.shape == noisy.shape
    np.testing.assert_allclose(found, in_callers_layout(model, expected), rtol=0, atol=1e-10)
    assert np.abs(found - noisy).max() > 0.01
    np.testing.assert_array_equal(model(noisy, 0.3, stride=stride, second_stage=False), found)


def test_a_map_gives_each_patch_the_root_mean_square_of_its_own(problem, rng, monkeypatch):
    monkeypatch.setattr(patches, "CHUNK_PATCHES", 11)
    model, noisy = problem
    sigma = np.exp(rng.uniform(-2, 0, noisy.shape))
    variances = sigma**2
    variances = (
        variances[None]
        if model.channel_axis is None
        else np.moveaxis(variances, model.channel_axis, 0)
    )

    def rms(corner):
        place = tuple(
            slice(at, at + side) for at, side in zip(corner, model.transform.patch, strict=True)
        )
        exact = np.sqrt(variances[(slice(None), *place)].mean())
        return 2 ** (np.round(8 * np.log2(exact)) / 8)  # levels are rounded to eighths of an octave

    signal, total, weights = in_loops(model, noisy, rms)
    expected = (signal / variances + total) / (1 / variances + weights)
    found = fastcl.denoise_signal(model, noisy, sigma)
    np.testing.assert_allclose(found, in_callers_layout(model, expected), rtol=0, atol=1e-10)


def test_a_constant_map_is_the_number(problem):
    model, noisy = problem
    level = 2.0**-1.25  # one of the levels to which a map is rounded
    expected = fastcl.denoise_signal(model, noisy, level, second_stage=False)
    found = fastcl.denoise_signal(model, noisy, np.full(noisy.shape, level))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
    if model.channel_axis is not None:
        axes = np.delete(noisy.shape, model.channel_axis)
        found = fastcl.denoise_signal(model, noisy, np.full(axes, level))
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
        channels = np.full(model.transform.channels, level)
        found = fastcl.denoise_signal(model, noisy, channels, second_stage=False)
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("beta", [1.0, 4.0])
def test_levels_of_channels_give_the_posterior_mean_under_their_covariance(rng, beta):
    """One patch that covers the signal, under a Gaussian prior: the posterior mean by matrices."""
    model = model_for((2, 2), 3, -1, beta=beta)
    covariance = 1.7 * np.eye(model.transform.dim)
    prior = fastcl.GaussianScaleMixture(covariance, [1.0], [1.0])
    model = SignalModel(model.transform, prior, precisions=[beta], channel_axis=-1)
    noisy, sigma = rng.standard_normal((2, 2, 3)), np.array([0.1, 0.4, 1.5])
    flat = np.moveaxis(noisy, -1, 0).reshape(1, -1)
    white, rest = model.transform.forward(flat)
    noise = model.transform.white_noise(sigma / np.sqrt(beta))
    clean = white @ np.linalg.solve(covariance + noise, covariance)
    patch = model.transform.inverse(clean, rest).reshape(3, 2, 2).transpose(1, 2, 0)
    expected = (noisy + beta * patch) / (1 + beta)
    found = fastcl.denoise_signal(model, noisy, sigma, second_stage=False)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("estimator", ["mean", "map"])
def test_a_network_takes_levels_of_channels(rng, estimator):
    model = model_for((2, 2), 3, -1)
    dim = model.transform.dim
    normal = fastcl.Gaussian(np.zeros(dim), np.eye(dim))
    network = fastcl.MLPPrior(dim, (8, 8), rng=0, reference=normal)
    model = SignalModel(model.transform, network, channel_axis=-1)
    noisy = rng.standard_normal((6, 7, 3))
    settings = {"estimator": estimator, "n_iter": 2}
    one, other = (
        fastcl.denoise_signal(model, noisy, sigma, **settings)
        for sigma in ([0.1, 0.2, 0.3], [0.3, 0.2, 0.1])
    )
    assert np.isfinite(one).all()
    assert (one != other).any()


def test_a_batch_is_its_signals_one_by_one(problem, rng):
    model, noisy = problem
    batch = np.stack([noisy, rng.standard_normal(noisy.shape)])
    for sigma in (0.3, None):
        found = fastcl.denoise_signal(model, batch, sigma)
        assert found.shape == batch.shape
        for one, clean in zip(batch, found, strict=True):
            np.testing.assert_array_equal(clean, fastcl.denoise_signal(model, one, sigma))


def test_the_noise_of_channels_is_estimated_together(rng):
    noisy = 0.5 + rng.standard_normal((80, 90, 3)) * [0.1, 0.1, 0.2]
    expected = np.sqrt((0.01 + 0.01 + 0.04) / 3)
    assert fastcl.estimate_noise(noisy, channel_axis=-1) == pytest.approx(expected, rel=0.05)
    with pytest.raises(ValueError, match="looks like colour: pass channel_axis=-1"):
        fastcl.estimate_noise(noisy)


@pytest.mark.parametrize("shape", [(20_000,), (20, 30, 40)])
def test_the_noise_of_sounds_and_volumes_is_estimated(rng, shape):
    signal = np.sin(0.05 * np.arange(shape[-1])) + 0.1 * rng.standard_normal(shape)
    # A median of 20000 or more values: within five standard errors, 5 * 1.17 / sqrt(20000 / 3).
    assert fastcl.estimate_noise(signal) == pytest.approx(0.1, rel=0.08)


@pytest.mark.parametrize("patch", [(1, 4, 4), (2, 3, 3)])
def test_fast_covers_every_sample(rng, patch):
    volumes = rng.standard_normal((2, 9, 12, 14)).cumsum(axis=1) / 10
    quick = {"n_iter": 2, "n_components": 4, "n_samples": 2000}
    model = fastcl.learn_signal_prior(volumes, patch=patch, m=50, rng=0, **quick)
    found = model(volumes[0], 0.1, effort="fast")
    stride = min(2, *patch)
    np.testing.assert_array_equal(found, model(volumes[0], 0.1, stride=stride))
    assert (found != volumes[0]).all()


def test_few_photons_have_one_stage_by_default(rng):
    clean = 0.5 + 0.4 * np.sin(np.indices((40, 40)).sum(axis=0) / 6)
    model = fastcl.ready_model("grey")
    for peak, stages in ((1, False), (20, True)):
        counts = rng.poisson(peak * clean)
        found, expected = (
            model(counts, noise="poisson", second_stage=second_stage)
            for second_stage in (None, stages)
        )
        np.testing.assert_array_equal(found, expected)


def test_float32_is_kept(problem):
    model, noisy = problem
    found = fastcl.denoise_signal(model, noisy.astype(np.float32), 0.3)
    assert found.dtype == np.float32
    assert_within(found, fastcl.denoise_signal(model, noisy, 0.3), 1e-4)


@pytest.mark.parametrize("sigma", [0.3, "channels", "map"])
def test_a_signal_on_a_device_is_denoised_there(backend, problem, rng, sigma):
    model, noisy = problem
    if sigma == "channels":
        channels = model.transform.channels
        sigma = rng.uniform(0.2, 0.4, channels) if channels > 1 else 0.3
    elif sigma == "map":
        sigma = rng.uniform(0.2, 0.4, noisy.shape)
    for second_stage, atol in ((False, 1e-9), (True, 1e-4)):  # which is in single precision
        settings = {"sigma": sigma, "second_stage": second_stage}
        found = backend.host(fastcl.denoise_signal(model, backend.array(noisy), **settings))
        expected = fastcl.denoise_signal(model, noisy, **settings)
        np.testing.assert_allclose(found, expected, rtol=0, atol=atol)


def test_the_layout_survives_a_file(problem, tmp_path):
    model, noisy = problem
    model.save(tmp_path / "model.npz")
    loaded = fastcl.load_prior(tmp_path / "model.npz")
    assert (loaded.channel_axis, loaded.rate) == (model.channel_axis, None)
    assert loaded.transform.patch == model.transform.patch
    # Eigenvectors may differ in their last bits with the alignment of a matrix in memory.
    np.testing.assert_allclose(loaded(noisy, 0.3), model(noisy, 0.3), rtol=0, atol=1e-12)


SOUND_PRIOR = fastcl.GaussianScaleMixture(np.eye(15), [1.0], [1.0])
COLOUR = model_for((3, 3), 3, -1)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"noisy": np.zeros((9, 9))}, ValueError, "noisy must be a colour image"),
        ({"noisy": np.zeros((9, 9, 4))}, ValueError, "noisy must have 3 channels.*got 4"),
        ({"noisy": np.zeros((9, 2, 3))}, ValueError, "noisy of 9 x 2 pixels is smaller"),
        ({"noisy": np.zeros((0, 9, 9, 3))}, ValueError, "noisy is an empty batch"),
        ({"noisy": np.zeros((2, 9, 9, 4))}, ValueError, r"noisy\[0\] must have 3 channels"),
        ({"noisy": np.full((9, 9, 3), np.nan)}, ValueError, "noisy holds NaN"),
        ({"sigma": 0}, ValueError, "sigma"),
        ({"sigma": [0.1, 0.2]}, ValueError, "sigma must be a number, one for each of 3 channels"),
        ({"sigma": [0.1, 0.2, 0.0]}, ValueError, "sigma must be finite and above zero"),
        ({"sigma": np.full((9, 9), np.nan)}, ValueError, "sigma must be finite and above zero"),
        ({"sigma": np.ones((9, 8))}, ValueError, "sigma must be a number"),
        ({"sigma": "loud"}, TypeError, "sigma"),
        ({"sigma": []}, ValueError, "sigma must be a number"),
        ({"sigma": 1e-200}, ValueError, "sigma must be from 1e-150 to"),
        ({"sigma": [0.1, 0.1, 1e200]}, ValueError, "sigma must be from 1e-150 to"),
        ({"sigma": np.full((9, 9), 1e200)}, ValueError, "sigma must be from 1e-150 to"),
        ({"noisy": np.full((9, 9, 3), 1e300)}, ValueError, r"noisy holds values up to 1e\+300"),
        ({"noise": "salt"}, ValueError, "noise must be one of"),
        ({"noise": "poisson"}, ValueError, "sigma has no meaning"),
        ({"noise": "poisson", "sigma": None, "noisy": -np.ones((9, 9, 3))}, ValueError, "counts"),
        ({"stride": 4}, ValueError, "stride must be at most 3"),
        ({"stride": 0}, ValueError, "stride must be at least 1"),
        ({"effort": "much"}, ValueError, "effort"),
        ({"model": COLOUR.prior}, TypeError, "model must be a signal model.*use denoise"),
    ],
)
def test_bad_input_is_named(given, error, message):
    arguments = {"model": COLOUR, "noisy": np.zeros((9, 9, 3)), "sigma": 0.1} | given
    with pytest.raises(error, match=message):
        fastcl.denoise_signal(**arguments)


def test_a_model_of_sounds_does_not_denoise_images():
    model = model_for((5,), 1, None)
    with pytest.raises(ValueError, match="model is one of signals with 1 axes, not of images"):
        fastcl.denoise_image(model, np.zeros((9, 9)), 0.1)
    sound = SignalModel(model_for((4, 4), 1, None).transform, SOUND_PRIOR, rate=8000)
    with pytest.raises(ValueError, match="model is one of sound, not of images"):
        fastcl.denoise_image(sound, np.zeros((9, 9)), 0.1)


@pytest.mark.parametrize("kind", [np.uint16, np.float32, np.float64])
@pytest.mark.parametrize("second_stage", [False, True])
def test_images_in_other_units_are_divided_by_their_range(rng, kind, second_stage):
    model = model_for((3, 3), 1, None)
    counts = np.round(4095 * np.clip(0.5 + 0.1 * rng.standard_normal((20, 22)), 0, 1)).astype(kind)
    found = fastcl.denoise_image(model, counts, 400, data_range=4095, second_stage=second_stage)
    unit = counts / (np.float32(4095) if kind == np.float32 else 4095.0)
    expected = 4095 * fastcl.denoise_image(model, unit, 400 / 4095, second_stage=second_stage)
    assert found.dtype == (np.float32 if kind == np.float32 else np.float64)
    np.testing.assert_allclose(found, expected, rtol=1e-4 if kind == np.float32 else 1e-12)
    for bad in (0, -1, np.nan):
        with pytest.raises(ValueError, match="data_range"):
            fastcl.denoise_image(model, counts, 400, data_range=bad)


@pytest.mark.parametrize("kind", [np.int64, np.float64])
def test_counts_are_denoised_through_anscombes_transform(rng, kind):
    model = model_for((3, 3), 1, None)
    clean = 20 + 10 * np.sin(np.arange(40) / 5)[:, None] * np.ones(50)
    counts = rng.poisson(clean).astype(kind)
    stable = anscombe(counts)
    span = np.ptp(stable)
    unit = fastcl.denoise_signal(model, (stable - stable.min()) / span, 1 / span)
    expected = inverse_anscombe(unit * span + stable.min())
    for denoise in (fastcl.denoise_signal, fastcl.denoise_image):
        found = denoise(model, counts, noise="poisson")
        np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_levels_of_channels_go_with_every_strength(rng):
    model = model_for((2, 2), 3, 0)
    noisy = rng.standard_normal((3, 8, 9))
    one, other = (
        fastcl.denoise_signal(model, noisy, levels, 0.7, n_samples=50, second_stage=False)
        for levels in (0.5, [0.5, 0.5, 0.5])
    )
    np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-9)
    uneven = fastcl.denoise_signal(model, noisy, [0.1, 0.5, 1.0], 0.7, second_stage=False)
    assert np.isfinite(uneven).all()


@pytest.mark.slow
def test_memory_of_many_terms_is_bounded_at_any_strength(rng):
    covariances = np.eye(24) * np.linspace(0.5, 2, 40)[:, None, None]
    prior = fastcl.MixtureOfScaleMixtures(covariances, np.geomspace(0.3, 3, 10), np.ones((40, 10)))
    transform = PatchTransform((5, 5), np.eye(25)[:, :24], np.ones(24))
    model = SignalModel(transform, prior, precisions=[1.0])
    noisy = rng.standard_normal((100, 100))
    tracemalloc.start()
    try:
        fastcl.denoise_signal(model, noisy, 0.5, strength=0.9, n_samples=2)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # The means of 8192 patches under 400 terms alone would take 630 MiB.
    assert peak < 600 << 20
