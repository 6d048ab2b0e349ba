"""Signals with channels, denoised by a model of one channel."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data.signals import check_photograph
from .patch_model import SignalModel
from .photographs import check_image_noise
from .restoration import denoise_signal

# Luminance, and two planes of chroma: orthonormal.
OPPONENT = np.array([[1, 1, 1], [1, 0, -1], [1, -2, 1]]) / np.sqrt([[3], [2], [6]])
GAINS = np.array([3**-0.5, 3, 3])  # of the planes: to the mean of the channels, and its contrast


def denoise_channels(model: SignalModel, noisy: NDArray, sigma: float, **settings: Any) -> NDArray:
    """A signal (*axes, C), its channels denoised one by one; those of photographs in [0, 1].

    A photograph in red, green and blue is denoised as luminance and two planes of chroma. These
    are orthonormal mixtures of the channels, so that their noise is white as well. Each is brought
    to about the contrast of a grey photograph.
    """
    if model.n_axes == 2:
        check_photograph(noisy, "noisy")
        check_image_noise(sigma)
    if model.n_axes != 2 or noisy.shape[-1] != 3:
        clean = denoise_signal(model, np.moveaxis(noisy, -1, 0), sigma, **settings)
        return np.moveaxis(clean, 0, -1)
    opponent = OPPONENT.astype(noisy.dtype)
    gains = GAINS.astype(noisy.dtype)[:, None, None]
    planes = gains * np.moveaxis(noisy @ opponent.T, -1, 0)
    clean = denoise_signal(model, planes, GAINS * sigma, **settings) / gains
    return np.moveaxis(clean, 0, -1) @ opponent
