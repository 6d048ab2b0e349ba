"""Sound: learned from recordings of any length, level and number of channels, and denoised."""

from types import SimpleNamespace

import numpy as np
import pytest
from pictures import MIN_SEARCH
from problems import threads

import fastcl
from fastcl.denoising import audio, restoration

RATE = 8000
QUICK = {"m": 40, "n_points": 500, "n_iter": 20, "n_components": 6, "n_samples": 4000}
QUICK |= {"subsample": 4000, "effort": MIN_SEARCH}


FEW = {"m": 20, "rng": 0, "subsample": 2000, "effort": MIN_SEARCH}  # of sketch_audio


def tones(seed, n=6000, rate=RATE):
    """A melody: a few decaying tones with overtones, the largest sample about 1."""
    rng = np.random.default_rng(seed)
    time, melody = np.arange(n) / rate, np.zeros(n)
    for start in np.arange(0, n, n // 4):
        pitch = rng.uniform(150, 500)
        sounding = np.maximum(time - start / rate, 0)
        envelope = (sounding > 0) * np.exp(-8 * sounding)
        melody += envelope * sum(
            np.sin(2 * np.pi * k * pitch * sounding + k) / k for k in range(1, 5)
        )
    return melody / np.abs(melody).max()


def with_noise(signal, sigma, seed=0):
    return signal + sigma * np.random.default_rng(seed).standard_normal(signal.shape)


def ratio(clean, estimate):
    return 10 * np.log10((clean**2).sum() / ((clean - estimate) ** 2).sum())


@pytest.fixture(scope="module")
def learned():
    """A model of mono sounds and one of stereo, from recordings of different lengths."""
    recordings = [tones(1), 0.3 * tones(2, 5001), tones(3, 800)]
    with threads(1):
        mono = fastcl.learn_audio_prior(recordings, RATE, rng=0, **QUICK)
        stereo = [np.stack([sound, 0.5 * sound], axis=-1) for sound in recordings]
        both = fastcl.learn_audio_prior(stereo, RATE, rng=0, channel_axis=-1, **QUICK)
    return SimpleNamespace(mono=mono, stereo=both, recordings=recordings)


@pytest.mark.parametrize("sigma", [0.05, 0.2])
def test_a_melody_of_other_tones_becomes_clean(learned, sigma):
    clean = tones(9)
    noisy = with_noise(clean, sigma)
    found = fastcl.denoise_audio(learned.mono, noisy, sigma, rate=RATE)
    assert (found.dtype, found.shape) == (np.float64, clean.shape)
    assert ratio(clean, found) > ratio(clean, noisy) + 6
    by_estimate = fastcl.denoise_audio(learned.mono, noisy)
    assert ratio(clean, by_estimate) > ratio(clean, found) - 0.5


def test_stereo_is_denoised_with_both_channels_together(learned):
    clean = np.stack([tones(9), 0.5 * tones(9)], axis=-1)
    noisy = with_noise(clean, 0.1)
    together = fastcl.denoise_audio(learned.stereo, noisy, 0.1, rate=RATE)
    assert together.shape == clean.shape
    channels = fastcl.denoise_audio(learned.mono, noisy.T, 0.1)
    # The noise is the same: what the channels share has 10 log10(1.25) = 0.97 dB less of it.
    assert ratio(clean, together) > ratio(clean, channels.T) + 0.6
    same = fastcl.denoise_audio(learned.stereo, noisy, [0.1, 0.1])
    np.testing.assert_array_equal(same, together)
    # Less noise in one of them helps both.
    mixed = with_noise(clean, np.array([0.02, 0.2]))
    found = fastcl.denoise_audio(learned.stereo, mixed, [0.02, 0.2])
    assert (((found - clean) ** 2).sum(axis=0) < 0.5 * ((mixed - clean) ** 2).sum(axis=0)).all()


def test_channels_in_front_are_those_behind(learned):
    stereo = [np.stack([sound, 0.5 * sound]) for sound in learned.recordings]
    both = [fastcl.sketch_audio(stereo, RATE, channel_axis=0, **FEW)]
    both += [fastcl.sketch_audio([each.T for each in stereo], RATE, channel_axis=-1, **FEW)]
    np.testing.assert_array_equal(both[0].sketch.values, both[1].sketch.values)
    assert (both[0].channel_axis, both[1].channel_axis) == (0, -1)
    parts = learned.stereo.transform, learned.stereo.prior
    in_front = fastcl.SignalModel(*parts, channel_axis=0, rate=RATE)
    noisy = with_noise(stereo[0], 0.1)
    np.testing.assert_array_equal(
        fastcl.denoise_audio(in_front, noisy, 0.1),
        fastcl.denoise_audio(learned.stereo, noisy.T, 0.1).T,
    )


def test_a_batch_is_denoised_signal_by_signal(learned):
    batch = with_noise(np.stack([tones(8, 900), tones(9, 900)]), 0.1)
    found = fastcl.denoise_audio(learned.mono, batch, 0.1)
    for one, noisy in zip(found, batch, strict=True):
        np.testing.assert_array_equal(one, fastcl.denoise_audio(learned.mono, noisy, 0.1))


def test_units_and_offsets_do_not_matter(learned):
    noisy = with_noise(tones(9), 0.1)
    expected = fastcl.denoise_audio(learned.mono, noisy, 0.1)
    found = fastcl.denoise_audio(learned.mono, 300 * noisy + 7000, 30)
    # The first stage works in single precision.
    np.testing.assert_allclose((found - 7000) / 300, expected, rtol=0, atol=1e-4)
    shifted = [500 * sound + 20 for sound in learned.recordings]
    one, other = (fastcl.sketch_audio(each, RATE, **FEW) for each in (learned.recordings, shifted))
    np.testing.assert_allclose(one.transform.stds, other.transform.stds, rtol=1e-5)


def test_integers_are_divided_by_the_full_scale(learned):
    whole = np.round(8000 * with_noise(tones(9), 0.1)).astype(np.int16)
    found = fastcl.denoise_audio(learned.mono, whole, 800 / 32768)
    expected = fastcl.denoise_audio(learned.mono, whole / 32768, 800 / 32768)
    np.testing.assert_array_equal(found, expected)
    estimate = fastcl.estimate_audio_noise(whole, RATE)
    assert estimate == fastcl.estimate_audio_noise(whole / 32768, RATE)


def test_single_precision_stays_single(learned):
    noisy = with_noise(tones(9), 0.1)
    found = fastcl.denoise_audio(learned.mono, noisy.astype(np.float32), 0.1)
    assert found.dtype == np.float32
    expected = fastcl.denoise_audio(learned.mono, noisy, 0.1)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("length", [1, 2, 31, 64, 129, 600])
def test_short_sounds_are_denoised(learned, length):
    noisy = with_noise(tones(9)[:length], 0.1)
    found = fastcl.denoise_audio(learned.mono, noisy, 0.1)
    assert found.shape == (length,)
    assert np.isfinite(found).all()


def test_noise_alone_nearly_vanishes(learned):
    noise = with_noise(np.zeros(4000), 0.1)
    assert fastcl.denoise_audio(learned.mono, noise, 0.1).std() < 0.02


@pytest.mark.parametrize("sigma", [1e-2, 1e-4, 1e-7])
def test_weak_noise_never_grows(learned, sigma):
    clean = tones(9)
    clean[clean.size // 3 : clean.size // 2] = 0
    found = fastcl.denoise_audio(learned.mono, with_noise(clean, sigma), sigma)
    assert np.square(found - clean).mean() < 1.05 * sigma**2


def test_every_patch_counts_the_same_at_every_stride(learned):
    noisy = with_noise(tones(9), 0.1)
    every, some = (
        fastcl.denoise_audio(learned.mono, noisy, 0.1, stride=stride) for stride in (1, 2)
    )
    assert abs(ratio(tones(9), every) - ratio(tones(9), some)) < 0.3


def test_the_settings_of_denoise_signal_hold_for_sound(learned, monkeypatch):
    monkeypatch.setattr(restoration, "_in_stages", lambda *given: pytest.fail("as a photograph"))
    clean = np.stack([tones(9), 0.5 * tones(9)], axis=-1)
    noisy = with_noise(clean, 0.1)
    for model, x, y in ((learned.mono, clean[:, 0], noisy[:, 0]), (learned.stereo, clean, noisy)):
        default, both, first, strides = (
            fastcl.denoise_signal(model, y, 0.1, **settings)
            for settings in ({}, {"second_stage": True}, {"second_stage": False}, {"stride": 1})
        )
        np.testing.assert_array_equal(default, both)
        np.testing.assert_array_equal(default, fastcl.denoise_audio(model, y, 0.1, stride=2))
        np.testing.assert_array_equal(strides, fastcl.denoise_audio(model, y, 0.1, stride=1))
        assert ratio(x, y) + 5 < ratio(x, first) < ratio(x, default)


def test_one_recording_needs_no_list(learned):
    with threads(1):
        one, listed = (fastcl.sketch_audio(given, RATE, **FEW) for given in (tones(1), [tones(1)]))
    np.testing.assert_array_equal(one.sketch.values, listed.sketch.values)
    assert one.rate == RATE
    # Two transforms of ceil((6000 + 64) / 128) + 3 = 51 frames of 128 bins.
    assert one.sketch.count == 2 * 48 * 125


def test_an_interrupted_sketch_resumes(learned, tmp_path, monkeypatch):
    path = tmp_path / "partial.npz"
    with threads(1):
        expected = fastcl.sketch_audio(learned.recordings, RATE, **FEW)
        plain = audio.lapped
        calls = []

        def interrupted(*given):
            calls.append(given)
            if len(calls) == 10:
                raise KeyboardInterrupt
            return plain(*given)

        monkeypatch.setattr(audio, "lapped", interrupted)
        settings = FEW | {"checkpoint": path, "checkpoint_every": 1}
        with pytest.raises(KeyboardInterrupt):
            fastcl.sketch_audio(learned.recordings, RATE, **settings)
        found = fastcl.sketch_audio(learned.recordings, RATE, **settings)
    np.testing.assert_allclose(found.sketch.values, expected.sketch.values, rtol=1e-12, atol=1e-12)
    with pytest.raises(ValueError, match="belongs to other"):
        fastcl.sketch_audio(learned.recordings[:2], RATE, **settings)


def test_a_model_comes_back_from_its_file(learned, tmp_path):
    noisy = with_noise(np.stack([tones(9), tones(8)], axis=-1), 0.1)
    for model, signal in [(learned.mono, noisy[:, 0]), (learned.stereo, noisy)]:
        model.save(tmp_path / "model.npz")
        back = fastcl.SignalModel.load(tmp_path / "model.npz")
        assert (back.rate, back.channel_axis) == (model.rate, model.channel_axis)
        np.testing.assert_array_equal(
            fastcl.denoise_audio(back, signal, 0.1), fastcl.denoise_audio(model, signal, 0.1)
        )


@pytest.mark.parametrize("sigma", [0.02, 0.1, 0.5])
def test_the_level_of_the_noise_is_estimated_to_a_tenth(sigma):
    noisy = with_noise(tones(9), sigma)
    assert abs(fastcl.estimate_audio_noise(noisy, RATE) / sigma - 1) < 0.1
    silence = np.concatenate([np.zeros(8000), noisy, np.zeros(8000)])
    assert abs(fastcl.estimate_audio_noise(silence, RATE) / sigma - 1) < 0.1
    stereo = with_noise(np.stack([tones(9), tones(8)]), np.array([[sigma], [2 * sigma]]))
    expected = sigma * np.sqrt(2.5)
    found = fastcl.estimate_audio_noise(stereo, RATE, channel_axis=0)
    assert abs(found / expected - 1) < 0.1


def test_the_level_of_pure_noise_is_unbiased():
    # Some 180 blocks of 64 coefficients: the quantile has a standard error of about 1.5 %.
    found = [
        fastcl.estimate_audio_noise(np.random.default_rng(seed).standard_normal(6000), RATE)
        for seed in range(20)
    ]
    assert abs(np.mean(found) - 1) < 0.02


MODEL = fastcl.SignalModel(
    fastcl.PatchTransform((4, 4), np.eye(16), np.ones(16)),
    fastcl.GaussianScaleMixture(np.eye(16), [0.1, 1.0], [0.5, 0.5]),
    rate=RATE,
)
PICTURES = fastcl.SignalModel(MODEL.transform, MODEL.prior)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"model": None}, TypeError, "model must be one from learn_audio_prior"),
        ({"model": PICTURES}, ValueError, "model is not one of sound"),
        ({"rate": 16000}, ValueError, "rate of 16000 Hz is not that of the model, 8000 Hz"),
        ({"rate": 0}, ValueError, "rate must be above zero"),
        ({"noisy": np.zeros((9, 9, 1))}, ValueError, r"noisy must be a mono sound \(T,\)"),
        ({"noisy": [0.0, np.nan]}, ValueError, "noisy holds NaN"),
        ({"noisy": []}, ValueError, "noisy of 0 samples"),
        ({"noisy": "a"}, TypeError, "noisy must hold numbers"),
        ({"noisy": np.zeros(900), "sigma": None}, ValueError, "no noise to estimate: pass sigma"),
        ({"sigma": 0}, ValueError, "sigma must be above zero"),
        ({"sigma": 1e-200}, ValueError, "sigma must be from 1e-150 to"),
        ({"noisy": np.full(900, 1e200)}, ValueError, r"noisy holds values up to 1e\+200"),
        ({"sigma": np.ones(10)}, ValueError, "sigma of sound must be a number"),
        ({"strength": 0}, ValueError, "strength"),
        ({"estimator": "median"}, ValueError, "estimator"),
        ({"stride": 9}, ValueError, "stride"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else None,
)
def test_bad_arguments_of_denoising_are_named(change, error, message):
    good = {"model": MODEL, "noisy": np.zeros(10), "sigma": 0.1, "rate": RATE}
    with pytest.raises(error, match=message):
        fastcl.denoise_audio(**good | change)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"recordings": []}, ValueError, "recordings is empty"),
        ({"recordings": [np.zeros((9, 2))]}, ValueError, r"recordings\[0\] must be a mono sound"),
        ({"recordings": np.zeros((9, 2))}, ValueError, r"recordings\[0\] is constant"),
        ({"recordings": [tones(1), np.ones(9)]}, ValueError, r"recordings\[1\] is constant"),
        ({"recordings": [tones(1)], "channel_axis": -1}, ValueError, r"recordings\[0\] must be"),
        ({"rate": 100}, ValueError, "rate must be at least 250 Hz, got 100"),
        ({"rate": "8000"}, TypeError, "rate must be a number"),
        ({"m": 0}, ValueError, "m must be"),
        ({"n_iters": 1}, TypeError, "n_iters"),
        ({"method": "grid"}, ValueError, "method"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else None,
)
def test_bad_arguments_of_learning_are_named(change, error, message):
    with pytest.raises(error, match=message):
        fastcl.learn_audio_prior(**{"recordings": [tones(1)], "rate": RATE} | change)


def test_settings_are_checked_before_the_recordings_are_read(monkeypatch):
    monkeypatch.setattr(audio, "sketch_patches", lambda *given: pytest.fail("sketched"))
    with pytest.raises(TypeError, match="n_iters"):
        fastcl.learn_audio_prior([tones(1)], RATE, n_iters=1)


# ---- learned from noisy recordings ---------------------------------------------------------------


def noisy_melodies():
    """Three noisy recordings in different units, and the standard deviations of their noise."""
    sigmas = np.array([0.05, 0.015, 0.2])
    sounds = [tones(1), 0.3 * tones(2, 5001), 4 * tones(3)]
    return [with_noise(*pair, seed=9) for pair in zip(sounds, sigmas, strict=True)], sigmas


def test_a_prior_of_noisy_recordings_is_that_of_clean_ones():
    noisy, sigmas = noisy_melodies()
    settings = QUICK | {"n_components": 6, "rng": 0}
    models = {
        name: fastcl.learn_audio_prior(noisy, RATE, noise=noise, **settings)
        for name, noise in (("known", sigmas), ("estimated", "estimate"), ("as they are", 0.0))
    }
    clean = tones(9)
    sigma = 0.02
    scores = {
        name: ratio(clean, model(with_noise(clean, sigma), sigma, second_stage=False))
        for name, model in models.items()
    }
    assert scores["known"] > scores["as they are"] + 0.3
    assert scores["estimated"] > scores["as they are"] + 0.3


def test_recordings_are_scaled_by_their_level_without_the_noise():
    noisy, sigmas = noisy_melodies()
    sketch = fastcl.sketch_audio(noisy, RATE, noise=sigmas, **FEW)
    clean = [np.sqrt(np.var(y) - s**2) for y, s in zip(noisy, sigmas, strict=True)]
    # That of the noisiest, relative to its level.
    assert sketch.noise == pytest.approx(max(sigmas / clean), rel=1e-6)
    for factors in ([5.0, 0.1, 1.0], [1.0, 1.0, 100.0]):
        scaled = [factor * y for factor, y in zip(factors, noisy, strict=True)]
        again = fastcl.sketch_audio(scaled, RATE, noise=sigmas * factors, **FEW)
        np.testing.assert_allclose(again.sketch.values, sketch.sketch.values, atol=1e-3)


def test_noise_of_stereo_recordings_is_estimated(rng):
    stereo = np.stack([tones(1), 0.5 * tones(1)], axis=-1)
    noisy = stereo + 0.05 * rng.standard_normal(stereo.shape)
    sketch = fastcl.sketch_audio([noisy], RATE, noise="estimate", channel_axis=-1, **FEW)
    assert sketch.noise == pytest.approx(0.05 / np.sqrt(np.mean(stereo**2)), rel=0.1)
    clicks = np.zeros(6000)
    clicks[1000::2000] = 1
    assert fastcl.sketch_audio([clicks, tones(1)], RATE, noise="estimate", **FEW).noise < 0.01
    half_silent = np.stack([noisy[:, 0], np.zeros(len(noisy))], axis=-1)
    sketch = fastcl.sketch_audio([half_silent], RATE, noise="estimate", channel_axis=-1, **FEW)
    assert sketch.noise > 0.05


@pytest.mark.parametrize(
    ("noise", "message"),
    [
        ([0.1] * 3, "noise must be a number, or one for each of 2 recordings, got 3"),
        (-1.0, "noise must be zero or above"),
        ([0.1, 0.5], r"recordings\[1\] is nearly all noise: its root mean square is 0.2"),
    ],
)
def test_bad_noise_of_recordings_is_named(noise, message):
    with pytest.raises(ValueError, match=message):
        fastcl.sketch_audio([tones(1), tones(2)], RATE, noise=noise, **FEW)
    hiss = np.random.default_rng(0).standard_normal(6000)
    with pytest.raises(ValueError, match=r"recordings\[1\] is nearly all noise"):
        fastcl.sketch_audio([tones(1), hiss], RATE, noise="estimate", **FEW)
    with pytest.raises(ValueError, match="method must be 'max_entropy' for noisy signals"):
        fastcl.learn_audio_prior([tones(1)], RATE, noise=0.1, method="unbiased")
