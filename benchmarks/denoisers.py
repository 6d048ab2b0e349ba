"""Denoisers of photographs by others, for the comparisons. It runs nothing by itself.

Photographs are (H, W), or (H, W, 3) in colour, in [0, 1]; sigma is on that scale.
"""

import importlib

import numpy as np
from command import require

TV_FACTORS = (0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4)  # weights divided by sigma
NLM_FACTORS = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)  # h divided by sigma
OPENCV_FACTORS = (0.7, 0.8, 0.9, 1.0, 1.1, 1.2)  # the same


def psnr(image, clean):
    """Peak signal-to-noise ratio in dB."""
    return -10 * np.log10(np.square(image - clean).mean())


def add_noise(image, sigma, seed):
    """A photograph plus Gaussian noise, not clipped."""
    return image + sigma * np.random.default_rng(seed).standard_normal(image.shape)


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


def find_package(rival, package):
    """The imported package of a rival, or None, with a word, without it."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        print(f"{rival} is left out: it needs {package} ({error})")
        return None


def find_bm3d():
    """The function (noisy, sigma) of the package bm3d, or None, with a word, without it.

    Its licence is non-commercial.
    """
    bm3d = find_package("BM3D", "bm3d")
    if bm3d is None:
        return None
    return lambda noisy, sigma: (bm3d.bm3d if noisy.ndim == 2 else bm3d.bm3d_rgb)(noisy, sigma)


def find_opencv():
    """The function (noisy, sigma, clean) of OpenCV for grey, or None, with a word, without it.

    It is non-local means on 8 bits: the noisy photograph is rounded and clipped for it. Its h is
    the best of OPENCV_FACTORS times sigma, chosen with the clean photograph.
    """
    cv2 = find_package("OpenCV", "cv2")
    if cv2 is None:
        return None

    def best_opencv(noisy, sigma, clean):
        rounded = np.clip(np.rint(255 * noisy), 0, 255).astype(np.uint8)
        levels = (255 * factor * sigma for factor in OPENCV_FACTORS)
        found = (cv2.fastNlMeansDenoising(rounded, None, h) / 255 for h in levels)
        return closest(clean, found)

    return best_opencv


def channels_of(image):
    """The axis of the channels of a photograph, or None."""
    return -1 if image.ndim == 3 else None


def closest(clean, images):
    """Of several images that which is closest to the clean one."""
    return min(images, key=lambda image: np.square(image - clean).mean())
