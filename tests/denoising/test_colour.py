"""Signals with channels, denoised by a model of one."""

import numpy as np
import pytest
from test_denoise_signal import model_for

from fastcl.denoising.colour import denoise_channels

GREY = model_for((3, 3), 1, None)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_photograph_is_denoised_as_luminance_and_chroma(rng, dtype):
    noisy = rng.random((9, 11, 3)).astype(dtype)
    red, green, blue = np.moveaxis(noisy, -1, 0)
    # (weights of the channels, gain): the mean of the channels, and three times each contrast.
    planes = [([1, 1, 1], 3**-0.5), ([1, 0, -1], 3), ([1, -2, 1], 3)]
    expected = np.zeros(noisy.shape)
    for weights, gain in planes:
        unit = np.array(weights) / np.linalg.norm(weights)
        plane = gain * (unit[0] * red + unit[1] * green + unit[2] * blue)
        expected += (GREY(plane, 0.1 * gain) / gain)[..., None] * unit
    found = denoise_channels(GREY, noisy, 0.1)
    assert found.dtype == dtype
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e4 * np.finfo(dtype).eps)


@pytest.mark.parametrize(
    ("model", "shape"),
    [(GREY, (9, 11, 2)), (model_for((2, 2, 2), 1, None), (4, 5, 6, 3))],
    ids=["photograph", "volume"],
)
def test_other_channels_are_denoised_one_by_one(rng, model, shape):
    noisy = rng.random(shape)
    found = denoise_channels(model, noisy, 0.1, stride=2)
    for channel in range(shape[-1]):
        expected = model(noisy[..., channel], 0.1, stride=2)
        np.testing.assert_array_equal(found[..., channel], expected)


def test_photographs_are_in_units_of_one(rng):
    noisy = rng.random((9, 11, 3))
    with pytest.raises(ValueError, match="noisy must hold floats in"):
        denoise_channels(GREY, 255 * noisy, 0.1)
    with pytest.raises(ValueError, match="sigma must be on the scale of the image"):
        denoise_channels(GREY, noisy, 25)
