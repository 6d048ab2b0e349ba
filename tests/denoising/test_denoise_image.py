"""Whole photographs denoised with learned models."""

import numpy as np
import pytest
from pictures import PATCH, SIGMA, photograph, psnr, with_noise

import fastcl
from fastcl.data import patches

pytestmark = pytest.mark.usefixtures("one_thread")

ESTIMATORS = ["mean", "map"]
NAMES = ["reference", "mixture", "network"]


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("name", NAMES)
def test_denoising_gains_decibels_on_a_held_out_photograph(trained, name, estimator):
    clean = photograph(100, (48, 40))
    noisy = with_noise(clean)
    denoised = fastcl.denoise_image(trained.models[name], noisy, SIGMA, estimator=estimator)
    assert denoised.shape == clean.shape
    assert psnr(clean, denoised) > psnr(clean, noisy) + 5  # the tests were written at 7 dB


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("shape", [(4, 4), (4, 30), (30, 4), (5, 4), (17, 23), (33, 6)])
def test_any_size_down_to_one_patch_is_denoised(trained, shape, estimator):
    clean = np.tile(photograph(101), (2, 2))[: shape[0], : shape[1]]
    noisy = with_noise(clean)
    denoised = fastcl.denoise_image(
        trained.models["reference"], noisy, SIGMA, estimator=estimator, n_iter=10
    )
    assert denoised.shape == shape
    assert psnr(clean, denoised) > psnr(clean, noisy)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_turned_photograph_of_a_turned_model_is_turned(trained, estimator):
    # Rows and columns are treated alike on the way from the image to its patches and back.
    transform = trained.sketch.transform
    turned = np.arange(PATCH**2).reshape(PATCH, PATCH).T.ravel()
    other = fastcl.SignalModel(
        fastcl.PatchTransform(PATCH, transform.axes[turned], transform.stds),
        trained.sketch.reference,
    )
    noisy = with_noise(photograph(102, (9, 13)))
    settings = {"estimator": estimator, "n_iter": 3, "second_stage": False}
    one = fastcl.denoise_image(trained.models["reference"], noisy, SIGMA, **settings)
    np.testing.assert_allclose(
        fastcl.denoise_image(other, noisy.T, SIGMA, **settings).T, one, rtol=0, atol=1e-11
    )


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("name", NAMES)
def test_a_constant_is_taken_out_and_put_back(trained, name, estimator):
    noisy = with_noise(photograph(103, (12, 13)))
    settings = {"estimator": estimator, "n_iter": 3, "second_stage": False}
    one, other = (
        fastcl.denoise_image(trained.models[name], noisy + shift, SIGMA, **settings)
        for shift in (0, 0.5)
    )
    np.testing.assert_allclose(other - 0.5, one, rtol=0, atol=1e-9)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_little_noise_leaves_the_photograph_alone(trained, estimator):
    image = photograph(104, (20, 20))
    for model in trained.models.values():
        np.testing.assert_allclose(
            fastcl.denoise_image(model, image, 1e-6, estimator=estimator), image, atol=1e-6
        )


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("name", NAMES)
def test_bands_do_not_show(trained, monkeypatch, name, estimator):
    noisy = with_noise(photograph(105, (20, 24)))
    settings = {"estimator": estimator, "n_iter": 5, "second_stage": False}
    whole = fastcl.denoise_image(trained.models[name], noisy, SIGMA, **settings)
    monkeypatch.setattr(patches, "CHUNK_PATCHES", 50)
    banded = fastcl.denoise_image(trained.models[name], noisy, SIGMA, **settings)
    # Products with another number of rows may round differently, by about 1e3 EPS, and the descent
    # magnifies that by its condition number.
    np.testing.assert_allclose(banded, whole, rtol=0, atol=1e-10)


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("name", NAMES)
def test_single_precision_stays_single_precision(trained, name, estimator):
    noisy, settings = with_noise(photograph(106, (16, 17))), {"estimator": estimator, "n_iter": 5}
    exact = fastcl.denoise_image(trained.models[name], noisy, SIGMA, **settings)
    rounded = fastcl.denoise_image(
        trained.models[name], noisy.astype(np.float32), SIGMA, **settings
    )
    assert (exact.dtype, rounded.dtype) == (np.float64, np.float32)
    np.testing.assert_allclose(rounded, exact, rtol=0, atol=0.1 / 255)  # a tenth of a grey level


def test_integers_are_denoised_as_grey_levels(trained):
    levels = np.round(255 * np.clip(with_noise(photograph(107)), 0, 1)).astype(np.uint8)
    denoised = fastcl.denoise_image(trained.models["reference"], levels, SIGMA)
    np.testing.assert_array_equal(
        denoised, fastcl.denoise_image(trained.models["reference"], levels / 255, SIGMA)
    )


def test_more_strength_is_smoother(trained):
    noisy = with_noise(photograph(108))
    rough = [
        np.abs(
            np.diff(
                fastcl.denoise_image(trained.models["reference"], noisy, SIGMA, strength, "map"),
                axis=0,
            )
        ).sum()
        for strength in (0.3, 1.0, 3.0)
    ]
    assert rough[0] > rough[1] > rough[2]


def test_denoising_follows_the_seed(trained):
    noisy = with_noise(photograph(109, (16, 17)))

    def denoise(rng):
        return fastcl.denoise_image(trained.models["network"], noisy, SIGMA, rng=rng)

    np.testing.assert_array_equal(denoise(3), denoise(3))
    assert (denoise(3) != denoise(4)).any()


def test_input_is_left_alone(trained):
    noisy = with_noise(photograph(110, (16, 17)))
    given = noisy.copy()
    fastcl.denoise_image(trained.models["network"], noisy, SIGMA)
    np.testing.assert_array_equal(noisy, given)
