"""Reading back whatever a `save` of this package wrote."""

import numpy as np

from . import files
from .denoising.patch_model import ImageModel
from .denoising.patch_sketch import PatchSketch
from .priors.gaussianised import GaussianisedPrior
from .priors.max_entropy import MaxEntropyPrior
from .priors.mlp import MLPPrior
from .sketching.sketch import Sketch

_PRIORS = {
    "prior": MLPPrior,
    "max-entropy-prior": MaxEntropyPrior,
    "gaussianised-prior": GaussianisedPrior,
    "image-model": ImageModel,
}
_CLASSES = {"sketch": Sketch, "patch-sketch": PatchSketch} | _PRIORS


def load(path, kinds=tuple(_CLASSES)):
    """Read back what a `save` of this package wrote.

    Parameters
    ----------
    path : path
    kinds : sequence of str, optional
        What the file may hold: "sketch", "patch-sketch", "prior", "max-entropy-prior", "gaussianised-prior", "image-model".

    Returns
    -------
    Sketch, PatchSketch, MLPPrior, MaxEntropyPrior, GaussianisedPrior or ImageModel

    Raises
    ------
    FileNotFoundError, OSError
        No such file, or one that cannot be read.
    ValueError
        A file that is truncated, damaged, foreign, newer than the package, or holds something else.

    Examples
    --------
    >>> import fastcl, os, tempfile
    >>> sk = fastcl.sketch([[0.0], [1.0]], [[2.0]])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     sk.save(os.path.join(folder, "sketch.npz"))
    ...     fastcl.load(os.path.join(folder, "sketch.npz"))
    Sketch(m=1, dim=1, count=2)
    """
    kind, arrays = files.read_npz(path, kinds)
    try:
        with np.errstate(
            all="ignore"
        ):  # damaged numbers overflow, and are refused as what they become
            return _CLASSES[kind].from_arrays(arrays)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{str(path)!r} is damaged: {error}") from None


def load_prior(path):
    """Read back a prior or an `ImageModel`.

    Parameters
    ----------
    path : path

    Returns
    -------
    MLPPrior, MaxEntropyPrior, GaussianisedPrior or ImageModel

    Raises
    ------
    FileNotFoundError, OSError, ValueError
        As `load`; a file that holds a sketch.

    Examples
    --------
    >>> import fastcl, os, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     fastcl.MLPPrior(2, (8,), rng=0).save(os.path.join(folder, "prior.npz"))
    ...     fastcl.load_prior(os.path.join(folder, "prior.npz"))
    MLPPrior(dim=2, widths=(8,), dtype=float32, reference=None)
    """
    return load(path, tuple(_PRIORS))
