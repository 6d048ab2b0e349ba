"""Missing samples, blur and linear operators, restored with a denoiser as the prior."""

import numpy as np
import pytest
from bounds import assert_within
from pictures import photograph, psnr
from scipy import ndimage, signal
from scipy.sparse.linalg import LinearOperator, aslinearoperator

import fastcl
from fastcl.data.patches import extract_patches
from fastcl.denoising import data_terms, inverse
from fastcl.denoising.data_terms import data_term

PHOTOGRAPH = photograph(11, (56, 60))
BOX = np.full((5, 5), 1 / 25)


@pytest.fixture(scope="module")
def model(trained):
    return trained.models["reference"]


def smooth(noisy, sigma):
    """A denoiser for signals of any shape."""
    return ndimage.gaussian_filter(noisy, min(4 * sigma, 1.0), mode="nearest")


def with_noise(clean, sigma):
    return clean + sigma * np.random.default_rng(5).standard_normal(clean.shape)


def problem(kind):
    """(y, operator, sigma, options, what restores y at its simplest)."""
    if kind == "mask":
        known = np.random.default_rng(3).random(PHOTOGRAPH.shape) < 0.5
        y = np.where(known, PHOTOGRAPH, np.nan)
        return y, known, 0, {}, data_term(y, known, "periodic", None, None).start
    if kind == "matrix":  # every 2 x 2 pixels as one
        height, width = PHOTOGRAPH.shape
        rows = np.kron(np.eye(height // 2), [0.5, 0.5])
        columns = np.kron(np.eye(width // 2), [0.5, 0.5])
        matrix = aslinearoperator(np.kron(rows, columns))
        y = with_noise(rows @ PHOTOGRAPH @ columns.T, 0.01)
        options = {"shape": PHOTOGRAPH.shape}
        return y, matrix, 0.01, options, np.kron(y, np.ones((2, 2)))
    if kind == "periodic":
        y = with_noise(ndimage.convolve(PHOTOGRAPH, BOX, mode="wrap"), 0.01)
        return y, BOX, 0.01, {}, y
    y = with_noise(signal.convolve(PHOTOGRAPH, BOX, "valid"), 0.01)
    return y, BOX, 0.01, {"boundary": "valid"}, np.pad(y, 2, mode="edge")


GAINS = {"mask": 5, "periodic": 5, "valid": 2, "matrix": 2}  # dB over the simplest


@pytest.mark.parametrize("kind", GAINS)
def test_a_photograph_is_restored(model, kind):
    y, operator, sigma, options, simple = problem(kind)
    found = fastcl.restore(model, y, operator, sigma, **options)
    assert found.shape == PHOTOGRAPH.shape
    assert found.dtype == np.float64
    assert psnr(PHOTOGRAPH, found) > psnr(PHOTOGRAPH, simple) + GAINS[kind]


def test_the_passes_are_written_out(rng):
    x = rng.random((6, 5))
    matrix = rng.standard_normal((20, 30))
    y = with_noise(matrix @ x.ravel(), 0.1)
    levels = [0.5, 0.3, 0.2]
    v = data_term(y, matrix, "periodic", x.shape, None).start
    u, before = 0, 0.5
    for level in levels:
        weight = (0.1 / level) ** inverse.WEIGHT_POWER
        u = u * level / before
        normal = matrix.T @ matrix + weight * np.eye(30)
        z = np.linalg.solve(normal, matrix.T @ y + weight * (v - u).ravel()).reshape(x.shape)
        v = smooth(z + u, level)
        u, before = u + z - v, level
    found = fastcl.restore(smooth, y, matrix, 0.1, shape=x.shape, levels=levels)
    assert_within(found, v, 0.02)


@pytest.mark.parametrize("sigma", [0, 1e-9])
def test_known_pixels_without_noise_are_kept(model, sigma):
    y, known, _, _, _ = problem("mask")
    found = fastcl.restore(model, y, known, sigma, levels=[0.1, 0.05])
    assert_within(found[known], y[known], 1e-5)


def test_low_noise_is_no_worse_than_high_noise(model):
    """The weight of the prior gets small, and the blur is far from invertible."""
    clean = ndimage.convolve(PHOTOGRAPH, BOX, mode="wrap")
    found = [
        psnr(PHOTOGRAPH, fastcl.restore(model, with_noise(clean, sigma), BOX, sigma))
        for sigma in (0, 1e-4, 1e-3, 1e-2)
    ]
    assert sorted(found, reverse=True) == found


def test_settings_are_for_the_denoiser(model):
    y, known, _, _, _ = problem("mask")
    found = fastcl.restore(model, y, known, 0, levels=[0.1], stride=2)
    start = data_term(y, known, "periodic", None, None).start
    clean = fastcl.denoise_signal(model, start, 0.1, stride=2)
    assert_within(found, np.where(known, y, clean), 1e-5)


def test_what_is_unknown_does_not_matter(model):
    y, known, _, _, _ = problem("mask")
    a, b = (
        fastcl.restore(model, np.where(known, y, value), known, 0.01, levels=[0.1, 0.05])
        for value in (np.inf, 7.0)
    )
    np.testing.assert_array_equal(a, b)


def test_with_every_pixel_known_it_denoises(model):
    noisy = with_noise(PHOTOGRAPH, 0.1)
    found = fastcl.restore(model, noisy, np.ones(noisy.shape, bool), 0.1, second_stage=False)
    plain = fastcl.denoise_image(model, noisy, 0.1, second_stage=False)
    assert psnr(PHOTOGRAPH, found) > psnr(PHOTOGRAPH, plain) - 0.3


def test_types_of_numbers(model):
    y, kernel, sigma, _, _ = problem("periodic")
    settings = {"sigma": sigma, "levels": [0.1, 0.02]}
    double = fastcl.restore(model, y, kernel, **settings)
    single = fastcl.restore(model, y.astype(np.float32), kernel.astype(np.float32), **settings)
    assert single.dtype == np.float32
    assert_within(single, double, 1e-3)
    whole = np.round(255 * np.clip(y, 0, 1)).astype(np.uint8)
    found = fastcl.restore(model, whole, kernel, **settings)
    np.testing.assert_array_equal(found, fastcl.restore(model, whole / 255, kernel, **settings))


@pytest.mark.parametrize("shape", [(60,), (30, 2), (9, 10, 8)], ids=str)
def test_signals_of_any_shape(shape):
    axis = -1 if shape == (30, 2) else None
    smoothing = [0.0 if n == 2 else 2.0 for n in shape]
    x = ndimage.gaussian_filter(np.random.default_rng(1).standard_normal(shape), smoothing)
    known = np.random.default_rng(2).random(shape) < 0.6
    y = np.where(known, x, np.nan)

    def denoiser(noisy, sigma):
        return ndimage.gaussian_filter(noisy, [0.5 * width for width in smoothing])

    found = fastcl.restore(denoiser, y, known, 0, channel_axis=axis)
    start = data_term(y, known, "periodic", None, axis).start
    assert ((found - x) ** 2).sum() < 0.8 * ((start - x) ** 2).sum()


def test_colour_takes_one_mask_and_one_kernel_for_all_channels(rng):
    colour = np.stack([PHOTOGRAPH[:20, :22], PHOTOGRAPH[20:40, :22]])
    transform = fastcl.PatchTransform.fit(rng.standard_normal((400, 18)), (3, 3), channels=2)
    prior = fastcl.Gaussian(np.zeros(transform.dim), np.eye(transform.dim))
    model = fastcl.SignalModel(transform, prior, channel_axis=0)
    known = rng.random(colour.shape[1:]) < 0.7
    found = fastcl.restore(model, np.where(known, colour, np.nan), known, 0, levels=[0.1])
    assert_within(found[:, known], colour[:, known], 1e-5)
    assert fastcl.restore(model, colour, BOX, 0.1, levels=[0.1]).shape == colour.shape


def smooth_fields(shape, channels=1, seed=0):
    """A smooth signal (C, *axes) whose channels have much in common."""
    rng = np.random.default_rng(seed)
    fields = ndimage.gaussian_filter(
        rng.standard_normal((channels, *shape)), (0, *[2] * len(shape))
    )
    fields = 0.3 * fields / fields.std() + np.arange(channels).reshape(-1, *[1] * len(shape))
    return fields if channels == 1 else 0.9 * fields[:1] + 0.2 * fields


def gaussian_model(patch, channels, axis):
    """A model with a Gaussian prior of the patches of such signals."""
    sizes = {1: [3000], 2: [50, 50], 3: [14, 15, 16]}[len(patch)]
    rows = extract_patches(smooth_fields(sizes, channels, seed=1), patch)
    transform = fastcl.PatchTransform.fit(rows, patch, channels=channels)
    prior = fastcl.Gaussian(np.zeros(transform.dim), np.eye(transform.dim))
    return fastcl.SignalModel(transform, prior, channel_axis=axis)


def decibels(x, found):
    return -10 * np.log10(np.mean((found - x) ** 2))


# Patches, channels, axis of the channels, dB that are gained over the start.
KINDS = [((7,), 1, None, 3), ((3, 3), 3, -1, 8), ((4, 4), 2, 0, 8), ((3, 3, 3), 1, None, 8)]


@pytest.mark.parametrize(("patch", "channels", "axis", "gain"), KINDS)
@pytest.mark.parametrize("sigma", [0.0, 0.05])
def test_models_of_other_signals_fill_in_what_is_missing(patch, channels, axis, gain, sigma, rng):
    model = gaussian_model(patch, channels, axis)
    x = smooth_fields({1: [200], 2: [24, 27], 3: [11, 12, 13]}[len(patch)], channels)
    x = x[0] if axis is None else np.moveaxis(x, 0, axis)
    known = rng.random(x.shape) < 0.5
    masks = [(known, known)]
    if axis is not None:  # the same for all channels
        one = known.take([0], axis)
        masks += [(mask, np.broadcast_to(one, x.shape)) for mask in (one, one.squeeze(axis))]
    for mask, whole in masks:
        y = np.where(whole, with_noise(x, sigma), np.nan)
        found = fastcl.restore(model, y, mask, sigma, second_stage=False)
        start = data_term(y, mask, "periodic", None, axis).start
        assert decibels(x, found) > decibels(x, start) + gain
        np.testing.assert_array_equal(
            found, fastcl.restore(model, y, whole, sigma, second_stage=False)
        )


def test_a_model_of_sound_fills_in_what_is_missing(rng):
    transform = fastcl.PatchTransform((4, 4), np.eye(16), np.ones(16))
    scales = fastcl.GaussianScaleMixture(np.eye(16), [0.02, 0.2, 2.0], [0.8, 0.1, 0.1])
    model = fastcl.SignalModel(transform, scales, rate=8000)
    time = np.arange(3000)
    x = np.sin(0.3 * time) + 0.5 * np.sin(0.71 * time)
    known = rng.random(x.shape) < 0.6
    known[1000:1020] = False
    found = fastcl.restore(model, np.where(known, x, np.nan), known, 0)
    straight = np.interp(time, time[known], x[known])
    assert decibels(x, found) > decibels(x, straight) + 15


@pytest.mark.parametrize("kind", ["mask", "periodic", "valid"])
@pytest.mark.parametrize("axis", [0, -1])
def test_each_channel_has_a_noise_of_its_own(kind, axis, rng, monkeypatch):
    """With a denoiser that works channel by channel, so does all the rest."""
    monkeypatch.setattr(data_terms, "TOLERANCE", 1e-9)
    monkeypatch.setattr(data_terms, "N_STEPS", 1000)
    y, sigmas = rng.random((3, 6, 7)), [0.02, 0.1, 0.5]
    operator = y[0] < 0.6 if kind == "mask" else y[1, :2, :3]
    settings = {"levels": [0.5, 0.3, 0.2], "boundary": "valid" if kind == "valid" else "periodic"}

    def each(noisy, sigma):
        return np.moveaxis([smooth(one, sigma) for one in np.moveaxis(noisy, axis, 0)], 0, axis)

    given = np.moveaxis(y, 0, axis)
    found = fastcl.restore(each, given, operator, sigmas, channel_axis=axis, **settings)
    for channel, sigma in enumerate(sigmas):
        expected = fastcl.restore(smooth, y[channel], operator, sigma, **settings)
        assert_within(found.take(channel, axis), expected, 1e-6)
    same = [
        fastcl.restore(each, given, operator, sigma, channel_axis=axis, **settings)
        for sigma in (0.1, [0.1], [0.1] * 3)
    ]
    for other in same[1:]:
        assert_within(other, same[0], 1e-6)


def test_on_a_device(backend, model):
    for kind in ("mask", "valid"):
        y, operator, sigma, options, _ = problem(kind)
        small = y[:14, :15].astype(np.float32)
        operator = operator[:14, :15]
        settings = options | {"levels": [0.1, 0.05]}
        expected = fastcl.restore(model, small, operator, sigma, **settings)
        found = fastcl.restore(
            model, backend.array(small), backend.array(operator), sigma, **settings
        )
        assert_within(backend.host(found), expected, 1e-4)


def test_a_model_serves_the_plug_and_play_of_others(model):
    """Proximal gradient descent as deepinv runs it: a step along the data, then the denoiser."""
    batch = np.stack([PHOTOGRAPH[:30, :32], PHOTOGRAPH[10:40, 20:52]])[:, None]
    known = np.random.default_rng(3).random(batch.shape) < 0.6
    y = known * batch
    x = y
    for sigma in np.geomspace(0.3, 0.03, 8):
        x = model(x - known * (known * x - y), np.full(2, sigma))
    assert psnr(batch, x) > psnr(batch, y) + 6
    again = fastcl.restore(model.__call__, y, known, 0, levels=[0.1, 0.05])
    assert again.shape == y.shape


def test_the_data_are_checked_before_any_work(model):
    y = np.full((6, 7), 0.5)
    known = np.ones(y.shape, bool)
    for arguments, message in [
        ((model, y, known, -0.1), "sigma must be zero or above"),
        ((model, y, known[:5], 0.1), "does not fit y"),
        ((model, y[:3], known[:3], 0.1), "y of 3 x 7 pixels is smaller than a patch"),
        ((model, y[None], known[None], 0.1), "y must be a grey image"),
        ((model, y, known, [0.1, 0.2]), "sigma must be a number, or one for each of 1 channels"),
        ((smooth, y, known, [-0.1]), "sigma must be zero or above"),
        ((lambda x, s: x[1:], y, known, 0.1), "model returned shape"),
        ((lambda x, s: x * np.nan, y, known, 0.1), "model returned NaN or infinity"),
    ]:
        with pytest.raises(ValueError, match=message):
            fastcl.restore(*arguments)
    for options, message in [
        ({"boundary": "zero"}, "boundary must be one of 'periodic', 'valid'"),
        ({"levels": []}, "levels is empty"),
        ({"levels": [0.1, 0]}, "levels must be above zero"),
        ({"channel_axis": 0}, "channel_axis must be that of the model, None"),
    ]:
        with pytest.raises(ValueError, match=message):
            fastcl.restore(model, y, known, 0.1, **options)
    for arguments, message in [
        ((model.prior, y, known, 0.1), "model must be a signal model"),
        ((model, y, known, "0.1"), "sigma must be a number"),
        ((model, y + 0j, known, 0.1), "y must be real"),
        ((model, y, LinearOperator((42, 42), matvec=lambda x: x), 0.1), "must define rmatvec"),
    ]:
        with pytest.raises(TypeError, match=message):
            fastcl.restore(*arguments)
