"""Denoising at several scales: what is smooth is denoised best where a patch covers more of it.

A signal is halved by keeping the lower half of its discrete cosine transform along each axis, under
which white noise stays white. The lowest frequencies of the result are those of the half signal,
denoised in the same way, and the others those of the signal itself.

Facciolo, Pierazzo and Morel, "Conservative scale recomposition for multiscale denoising", SIAM
Journal on Imaging Sciences 2017.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

from ..backend import to_device_of, to_host

SHARE = 0.5  # of the frequencies of the half signal that are taken from it, along each axis


def denoise_scales(
    denoise: Callable[[NDArray, Any], NDArray],
    signal: NDArray,
    sigma: Any,
    scales: int,
    least: int,
) -> NDArray:
    """`denoise(signal, sigma)` for a signal (C, *axes), at `scales` scales.

    sigma is a number or one per channel. A half signal with a side below `least` is left out.
    """
    fine = denoise(signal, sigma)
    half = tuple(size // 2 for size in signal.shape[1:])
    if scales == 1 or min(half) < least:
        return fine
    axes = tuple(range(1, signal.ndim))
    factor = math.sqrt(math.prod(half) / math.prod(signal.shape[1:]))
    low = (slice(None), *(slice(0, size) for size in half))
    # The values keep their range, and the noise shrinks by the factor.
    lower = factor * scipy.fft.dctn(to_host(signal), axes=axes, norm="ortho")[low]
    coarse = scipy.fft.idctn(lower, axes=axes, norm="ortho").astype(signal.dtype)
    coarse = denoise_scales(
        denoise, to_device_of(coarse, signal), factor * sigma, scales - 1, least
    )
    spectrum = scipy.fft.dctn(to_host(fine), axes=axes, norm="ortho")
    lowest = (slice(None), *(slice(0, int(SHARE * size)) for size in half))
    coarse_spectrum = scipy.fft.dctn(to_host(coarse), axes=axes, norm="ortho")
    spectrum[lowest] = coarse_spectrum[lowest] / factor
    result = scipy.fft.idctn(spectrum, axes=axes, norm="ortho").astype(signal.dtype)
    return to_device_of(np.ascontiguousarray(result), signal)
