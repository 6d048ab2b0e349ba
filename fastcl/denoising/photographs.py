"""Denoising photographs, in units of [0, 1], with a model of one's own or with a ready one.

The ready models come with the package: `benchmarks/ready_models.py` learned them, and models/NOTICE
says from which photographs.
"""

from __future__ import annotations

import copy
from functools import lru_cache
from pathlib import Path
from typing import Any, overload

from numpy.typing import ArrayLike, NDArray

from .. import files
from ..data.signals import as_signal, check_photograph
from ..validation import as_array, as_choice, as_positive
from .patch_model import SignalModel
from .restoration import denoise_signal

READY = ("grey", "colour")
FOLDER = Path(__file__).parent / "models"


def ready_model(kind: str = "grey") -> SignalModel:
    """A model of photographs that comes with the package.

    Parameters
    ----------
    kind : {"grey", "colour"}
        Of photographs (H, W), or of red, green and blue (H, W, 3).

    Returns
    -------
    SignalModel
        A new object at every call, so that its `channel_axis` may be set.

    Raises
    ------
    ValueError
        Another kind.

    Examples
    --------
    >>> import fastcl
    >>> fastcl.ready_model("grey").transform.patch
    (6, 6)
    """
    return copy.copy(_read(ready_path(kind)))


def ready_path(kind: str) -> Path:
    """The file of a ready model."""
    return FOLDER / f"{as_choice(kind, 'kind', READY)}.npz"


@lru_cache
def _read(path: Path) -> SignalModel:
    return files.load(path, SignalModel)


@overload
def denoise_image(
    model: SignalModel,
    noisy: ArrayLike,
    sigma: float | ArrayLike | None = None,
    strength: float = 1.0,
    estimator: str = "mean",
    *,
    data_range: float | None = None,
    **settings: Any,
) -> NDArray: ...


@overload
def denoise_image(
    noisy: ArrayLike,
    sigma: float | ArrayLike | None = None,
    strength: float = 1.0,
    estimator: str = "mean",
    *,
    data_range: float | None = None,
    **settings: Any,
) -> NDArray: ...


def denoise_image(*given: Any, **settings: Any) -> NDArray:
    """Denoise a photograph: ``denoise_image(noisy)``, or ``denoise_image(model, noisy, sigma)``.

    It is `denoise_signal` in units of [0, 1].

    Parameters
    ----------
    model : SignalModel, optional
        Of images, from `learn_image_prior`. If the first argument is an array, that is `noisy`, and
        the model is `ready_model`: the grey one for (H, W), that of colour for (H, W, 3).
    noisy : array
        (H, W), or with the channels of the model. Values in [0, 1] before the noise; 8 and 16-bit
        integers are divided by their largest value.
    sigma : float or array, optional
        Standard deviation of the noise, on the same scale: 25 / 255, say. As in `denoise_signal`.
    strength, estimator
        As in `denoise_signal`.
    data_range : float, optional
        White, in units of `noisy`, for images in any others than [0, 1]: noisy and sigma are
        divided by it, integers too, and the result is multiplied by it. Not for counts of photons.
    **settings
        As in `denoise_signal`.

    Returns
    -------
    float array of the shape of `noisy`, not clipped, in its type and on its device.

    Raises
    ------
    TypeError, ValueError
        As in `denoise_signal`; a model of other signals; an image not in [0, 1], or with colour or
        alpha that the model does not have; sigma above 1.

    Examples
    --------
    >>> import numpy as np, fastcl
    >>> noisy = 0.5 + 0.1 * np.random.default_rng(0).standard_normal((32, 48))
    >>> bool(fastcl.denoise_image(noisy, sigma=0.1).std() < 0.03)
    True
    """
    if "model" not in settings and (not given or _is_array(given[0])):
        if not given and "noisy" not in settings:
            raise TypeError("noisy is missing: denoise_image needs an image")
        noisy = as_array(given[0] if given else settings.pop("noisy"), "noisy")
        given = (_ready_for(noisy), noisy, *given[1:])
    if len(given) > 5:
        raise TypeError(
            "denoise_image takes noisy, sigma, strength and estimator by position, after the model "
            "if there is one, and the rest by name"
        )
    return _denoise_image(*given, **settings)


def _is_array(argument: Any) -> bool:
    """Whether an argument can be an image, and is no model."""
    protocols = ("__array__", "__array_interface__", "__dlpack__")
    return isinstance(argument, (list, tuple)) or any(hasattr(argument, it) for it in protocols)


def _ready_for(noisy: NDArray) -> SignalModel:
    """The ready model for an image."""
    if noisy.ndim == 2:
        return ready_model("grey")
    if noisy.ndim == 3 and noisy.shape[-1] == 3:
        return ready_model("colour")
    raise ValueError(
        f"noisy must be (H, W), or (H, W, 3) in colour, got shape {noisy.shape}: leave out alpha, "
        "pass the images of a batch one by one, or a model of such images first"
    )


def _denoise_image(
    model: SignalModel,
    noisy: ArrayLike,
    sigma: float | ArrayLike | None = None,
    strength: float = 1.0,
    estimator: str = "mean",
    *,
    data_range: float | None = None,
    **settings: Any,
) -> NDArray:
    """`denoise_image` with a model."""
    if isinstance(model, SignalModel) and (model.n_axes != 2 or model.rate is not None):
        kind = "sound" if model.rate is not None else f"signals with {model.n_axes} axes"
        raise ValueError(f"model is one of {kind}, not of images: use denoise_signal")
    counts = settings.get("noise") == "poisson"
    if data_range is not None and counts:
        raise ValueError('data_range has no meaning with noise="poisson": leave it out')
    if data_range is not None:
        white = as_positive(data_range, "data_range")
        noisy = as_array(noisy, "noisy") / white
        sigma = None if sigma is None else as_array(sigma, "sigma") / white
        return white * _denoise_image(model, noisy, sigma, strength, estimator, **settings)
    if isinstance(model, SignalModel) and not counts:
        signal = as_signal(noisy, "noisy", 2, model.channel_axis, model.transform.patch)
        check_photograph(signal, "noisy")
    if sigma is not None:
        check_image_noise(sigma)
    return denoise_signal(model, noisy, sigma, strength, estimator, **settings)


def check_image_noise(sigma: Any) -> None:
    """ValueError for a noise of an image in [0, 1] that is above 1."""
    sigma = as_array(sigma, "sigma")
    largest = sigma.max() if sigma.size else 0
    if largest > 1:
        raise ValueError(
            f"sigma must be on the scale of the image, [0, 1], got {largest:g}: "
            "for 25 levels of 255 pass 25 / 255"
        )
