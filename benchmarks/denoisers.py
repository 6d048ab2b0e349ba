"""Denoisers of photographs by others, for the comparisons. It runs nothing by itself.

Photographs are (H, W), or (H, W, 3) in colour, in [0, 1]; sigma is on that scale.
"""

import numpy as np
from command import require

TV_FACTORS = (0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4)  # weights divided by sigma
NLM_FACTORS = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)  # h divided by sigma


def psnr(image, clean):
    """Peak signal-to-noise ratio in dB."""
    return -10 * np.log10(np.square(image - clean).mean())


def nlm(noisy, sigma, factor=0.6):
    """Non-local means of scikit-image, given the noise level, by default set as in its gallery."""
    settings = {"patch_size": 5, "patch_distance": 6, "channel_axis": channels_of(noisy)}
    restoration = require("skimage.restoration")
    return restoration.denoise_nl_means(noisy, h=factor * sigma, sigma=sigma, **settings)


def best_nlm(noisy, sigma, clean):
    """Non-local means at the best of its NLM_FACTORS, chosen with the clean photograph."""
    return closest(clean, (nlm(noisy, sigma, factor) for factor in NLM_FACTORS))


def best_tv(noisy, sigma, clean):
    """Total variation (Chambolle 2004) at the best of its TV_FACTORS, chosen like that."""
    restoration = require("skimage.restoration")
    axis = channels_of(noisy)
    tv = restoration.denoise_tv_chambolle
    found = (tv(noisy, weight=factor * sigma, channel_axis=axis) for factor in TV_FACTORS)
    return closest(clean, found)


def wavelets(noisy, sigma):
    """BayesShrink of scikit-image, colour in YCbCr."""
    axis = channels_of(noisy)
    settings = {"convert2ycbcr": axis is not None, "channel_axis": axis}
    return require("skimage.restoration").denoise_wavelet(noisy, sigma=sigma, **settings)


def find_bm3d():
    """The function (noisy, sigma) of the package bm3d, or None, with a word, without it.

    Its licence is non-commercial.
    """
    try:
        import bm3d
    except ImportError:
        print("BM3D is left out: the package bm3d is not installed")
        return None
    return lambda noisy, sigma: (bm3d.bm3d if noisy.ndim == 2 else bm3d.bm3d_rgb)(noisy, sigma)


def channels_of(image):
    """The axis of the channels of a photograph, or None."""
    return -1 if image.ndim == 3 else None


def closest(clean, images):
    """Of several images that which is closest to the clean one."""
    return min(images, key=lambda image: np.square(image - clean).mean())
