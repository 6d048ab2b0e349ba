"""Photographs without a model: which ready model is taken, and what the ready models hold."""

import numpy as np
import pytest
import skimage.data
from pictures import SIGMA, photograph, psnr, with_noise

import fastcl
from fastcl.denoising import photographs
from fastcl.measures.scale_mixtures import MixtureOfScaleMixtures

QUICK = {"second_stage": False, "stride": 3}
GREY = with_noise(photograph(100))
COLOUR = np.stack([GREY, GREY[::-1], GREY[:, ::-1]], axis=-1)


def small_model(channels):
    shape = (500, 9 * channels)
    patches = np.random.default_rng(channels).standard_normal(shape).cumsum(axis=1)
    transform = fastcl.PatchTransform.fit(patches, 3, channels=channels)
    prior = fastcl.GaussianScaleMixture(np.eye(transform.dim), [0.01, 0.1], [0.5, 0.5])
    return fastcl.SignalModel(transform, prior, channel_axis=-1 if channels > 1 else None)


@pytest.fixture
def small(monkeypatch, tmp_path):
    """Small models in place of the ready ones, by name."""
    monkeypatch.setattr(photographs, "FOLDER", tmp_path)
    models = {"grey": small_model(1), "colour": small_model(3)}
    for name, model in models.items():
        model.save(tmp_path / f"{name}.npz")
    return models


@pytest.mark.parametrize("kind", ["grey", "colour"])
def test_the_model_may_be_left_out(small, kind):
    model, noisy = small[kind], GREY if kind == "grey" else COLOUR
    expected = fastcl.denoise_image(model, noisy, 0.1, 0.9, **QUICK)
    for found in (
        fastcl.denoise_image(noisy, 0.1, 0.9, **QUICK),
        fastcl.denoise_image(noisy, sigma=0.1, strength=0.9, **QUICK),
        fastcl.denoise_image(noisy=noisy, sigma=0.1, strength=0.9, **QUICK),
        fastcl.denoise_image(model, noisy=noisy, sigma=0.1, strength=0.9, **QUICK),
        fastcl.denoise_image(model=model, noisy=noisy, sigma=0.1, strength=0.9, **QUICK),
        fastcl.denoise_image(noisy.tolist(), 0.1, 0.9, **QUICK),
        200 * fastcl.denoise_image(noisy * 200, 20, 0.9, data_range=200, **QUICK) / 200**2,
    ):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(
        fastcl.denoise_image(noisy, **QUICK), fastcl.denoise_image(model, noisy, **QUICK)
    )
    counts = np.random.default_rng(0).poisson(50 * np.clip(noisy, 0, 1))
    np.testing.assert_array_equal(
        fastcl.denoise_image(counts, noise="poisson", **QUICK),
        fastcl.denoise_image(model, counts, noise="poisson", **QUICK),
    )


@pytest.mark.parametrize(
    ("given", "settings", "error", "words"),
    [
        ((), {}, TypeError, "noisy is missing"),
        ((), {"sigma": 0.1}, TypeError, "noisy is missing"),
        ((COLOUR[..., [0, 1, 2, 2]],), {}, ValueError, r"noisy must be .* \(40, 48, 4\): leave"),
        ((np.moveaxis(COLOUR, -1, 0), 0.1), {}, ValueError, "or a model of such images"),
        ((GREY[0],), {}, ValueError, r"noisy must be \(H, W\), or"),
        ((GREY, 25), {}, ValueError, "sigma must be on the scale of the image"),
        ((GREY.astype(str),), {}, TypeError, "noisy must hold numbers"),
        ((None, GREY, 0.1), {}, TypeError, "model must be a signal model"),
        (("model.npz", GREY, 0.1), {}, TypeError, "model must be a signal model"),
        ((GREY,), {"noisy": GREY}, TypeError, "multiple values for argument 'noisy'"),
        ((GREY, 0.1), {"sigma": 0.1}, TypeError, "multiple values for argument 'sigma'"),
        ((GREY, 0.1), {"sigmas": 0.1}, TypeError, "sigmas"),
        ((GREY, 0.1, 1.0, "mean", 5), {}, TypeError, "the rest by name"),
        ((GREY,), {"noise": "poisson", "data_range": 255}, ValueError, "data_range has no meaning"),
    ],
)
def test_other_arguments_are_refused(small, given, settings, error, words):
    with pytest.raises(error, match=words):
        fastcl.denoise_image(*given, **settings)


def test_a_ready_model_is_read_once_and_when_it_is_needed(small, tmp_path):
    (tmp_path / "colour.npz").unlink()
    assert fastcl.ready_model().prior is fastcl.ready_model("grey").prior
    fastcl.ready_model("grey").channel_axis = 0  # of a copy
    assert fastcl.ready_model("grey").channel_axis is None
    assert fastcl.ready_model("grey").transform.channels == 1
    for bad in ("gray", "Colour", None, 1):
        with pytest.raises(ValueError, match="kind must be one of 'grey', 'colour'"):
            fastcl.ready_model(bad)


# ---- the models themselves -----------------------------------------------------------------------

CLEAN = {  # parts of the photographs that were held out, and what is left of noise of 25 levels
    "grey": (skimage.data.camera()[100:164, 180:276] / 255, 28.5),
    "colour": (skimage.data.coffee()[100:164, 180:276] / 255, 33.5),
}


@pytest.mark.parametrize("kind", CLEAN)
def test_a_ready_model_denoises_a_photograph_that_it_has_not_seen(kind):
    clean, least = CLEAN[kind]
    noisy = clean + SIGMA * np.random.default_rng(0).standard_normal(clean.shape)
    assert psnr(clean, fastcl.denoise_image(noisy, SIGMA, stride=2)) > least


@pytest.mark.parametrize("kind", CLEAN)
def test_a_ready_model_holds_no_more_than_denoising_needs(kind):
    path = photographs.ready_path(kind)
    assert path.stat().st_size < 2**20
    model = fastcl.load(path)
    assert model.density is None
    assert isinstance(model.prior, MixtureOfScaleMixtures)
    assert model.transform.patch == (6, 6)
    assert model.channel_axis == (-1 if kind == "colour" else None)


def test_the_notice_names_every_photograph():
    notice = (photographs.FOLDER / "NOTICE").read_text()
    for name in ("astronaut", "chelsea", "rocket", "china.jpg", "flower.jpg", "CC BY 2.0"):
        assert name in notice
