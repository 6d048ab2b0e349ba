"""Reading back whatever a `save` of this package wrote.

Importing this module enters every class of the package in the registry of `files`.
"""

from __future__ import annotations

from typing import Any

from . import files
from .denoising.patch_model import SignalModel
from .files import PathLike, Storable
from .measures.base import ReferenceMeasure
from .priors.base import Prior


def load(path: PathLike) -> Storable:
    """Read back any saved object: a sketch, a prior, a measure, a signal model.

    Objects of your own classes are read too, once the module that defines them is imported.

    Parameters
    ----------
    path : path

    Returns
    -------
    Sketch, PatchSketch, Prior, SignalModel, ReferenceMeasure or Box

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
    return files.load(path, Storable)


def load_prior(path: PathLike) -> Prior | ReferenceMeasure | SignalModel:
    """Read back what can denoise: a prior, a reference measure or an `SignalModel`.

    Parameters
    ----------
    path : path

    Returns
    -------
    Prior, ReferenceMeasure or SignalModel

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
    found: Any = files.load(path, Prior, ReferenceMeasure, SignalModel)
    return found
