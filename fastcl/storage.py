"""Reading back whatever a `save` of this package wrote."""

import numpy as np

from . import files
from .gaussianised import GaussianisedPrior
from .images import ImageModel
from .max_entropy import MaxEntropyPrior
from .patch_sketch import PatchSketch
from .prior import MLPPrior
from .sketch import Sketch

_PRIORS = {
    "prior": MLPPrior,
    "max-entropy-prior": MaxEntropyPrior,
    "gaussianised-prior": GaussianisedPrior,
    "image-model": ImageModel,
}
_CLASSES = {"sketch": Sketch, "patch-sketch": PatchSketch} | _PRIORS


def load(path, kinds=tuple(_CLASSES)):
    """The sketch, prior or model in a file; FileNotFoundError, or ValueError for a truncated or foreign file."""
    kind, arrays = files.read_npz(path, kinds)
    try:
        with np.errstate(all="ignore"):  # damaged numbers overflow, and are refused as what they become
            return _CLASSES[kind].from_arrays(arrays)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{str(path)!r} is damaged: {error}") from None


def load_prior(path):
    """The prior or `ImageModel` in a file; FileNotFoundError, or ValueError for a truncated or foreign file."""
    return load(path, tuple(_PRIORS))
