"""Reading back whatever a `save` of this package wrote."""

from . import files
from .images import ImageModel, PatchSketch
from .prior import MLPPrior
from .sketch import Sketch

_CLASSES = {"sketch": Sketch, "patch-sketch": PatchSketch, "prior": MLPPrior, "image-model": ImageModel}


def load(path, kinds=tuple(_CLASSES)):
    """The sketch, prior or model in a file; FileNotFoundError, or ValueError for a truncated or foreign file."""
    kind, arrays = files.read_npz(path, kinds)
    try:
        return _CLASSES[kind].from_arrays(arrays)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{str(path)!r} is damaged: {error}") from None


def load_prior(path):
    """The `MLPPrior` or `ImageModel` in a file; FileNotFoundError, or ValueError for a truncated or foreign file."""
    return load(path, ("prior", "image-model"))
