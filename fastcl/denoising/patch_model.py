"""A prior of the patches of photographs, learned from their sketch: by largest entropy, or a network."""

from __future__ import annotations

import numpy as np

from .. import files
from ..data.patches import PatchTransform
from ..learning.loop import learn
from ..learning.objective import METHODS
from ..learning.optimizers import Adam, Cosine
from ..measures.base import ReferenceMeasure
from ..measures.mixtures import standard_normal
from ..measures.scale_mixtures import GaussianScaleMixture, MixtureOfScaleMixtures
from ..priors.base import Prior
from ..priors.gaussianised import GaussianisedPrior
from ..priors.max_entropy import max_entropy
from ..priors.mlp import MLPPrior
from ..validation import as_choice, as_count, as_generator, as_positive, as_vector
from .patch_sketch import PatchSketch, sketch_images

SAMPLES = 200_000  # drawn from the density of largest entropy to fit the mixture that denoises
N_ITER, NETWORK_N_ITER = 300, 600  # steps by default
N_COMPONENTS = 40  # of the mixture
# Half-quadratic splitting with posterior means: precision of the patches over that of the noise, growing.  Every pass
# smooths, so few are wanted; chosen on photographs that neither learn nor test.
PRECISIONS = (1.5, 4.0)
IMAGE_METHODS = ("max_entropy", *(method for method in METHODS if method != "grid"))


class ImageModel(files.Storable, kind="image-model"):
    """A prior of image patches: the transform to white coordinates and the density of these.

    Attributes
    ----------
    transform : PatchTransform
    prior : reference measure, MLPPrior, MaxEntropyPrior or GaussianisedPrior
        What patches are denoised with, of dimension patch^2 - 1.
    density : GaussianisedPrior or None
        The density of largest entropy that `prior` was fitted to, where it was.
    precisions : tuple of float
        Of the passes of half-quadratic splitting with posterior means: that of the patches over that of the noise.
    interrupted : bool
        Whether a KeyboardInterrupt ended the learning early.

    Raises
    ------
    TypeError, ValueError
        A prior of another dimension than the transform; precisions that are empty or not above zero.

    """

    def __init__(self, transform, prior, density=None, precisions=PRECISIONS):
        if prior.dim != transform.dim:
            raise ValueError(
                f"prior must have dimension {transform.dim}, that of the patches, got {prior.dim}"
            )
        self.transform, self.prior, self.density, self.interrupted = (
            transform,
            prior,
            density,
            False,
        )
        self.precisions = tuple(
            as_positive(value, "precisions")
            for value in as_vector(precisions, "precisions").tolist()
        )
        if not self.precisions:
            raise ValueError("precisions is empty: at least one pass is needed")

    def __repr__(self):
        return f"ImageModel(patch={self.transform.patch}, prior={self.prior})"

    def to_arrays(self) -> files.Arrays:
        """The parts that a file keeps: name -> array."""
        arrays = files.parts_of("transform", self.transform) | files.parts_of("prior", self.prior)
        if self.density is not None:
            arrays |= files.parts_of("density", self.density)
        return arrays | {"precisions": np.array(self.precisions)}

    @classmethod
    def from_arrays(cls, arrays: files.Arrays) -> ImageModel:
        """The model whose `to_arrays` gave `arrays`."""
        has_density = any(name.startswith("density.") for name in arrays)
        return cls(
            files.part_from("transform", arrays, PatchTransform),
            files.part_from("prior", arrays, (Prior, ReferenceMeasure)),
            files.part_from("density", arrays, Prior) if has_density else None,
            arrays.get("precisions", PRECISIONS),
        )


def learn_patches(
    patch_sketch, method="max_entropy", n_iter=None, rng=None, progress=False, **settings
):
    """Learn an `ImageModel` from a `PatchSketch`.

    Parameters
    ----------
    patch_sketch : PatchSketch
    method : {"max_entropy", "normalised", "tracked", "unbiased", "naive"}
        "max_entropy": the density of largest entropy with the moments of the sketch, and a mixture of Gaussian scale
        mixtures fitted to 200,000 points drawn from it, whose posterior mean has a closed form and denoises. The others
        learn a network by `learn`, with the same reference.
    n_iter : int, optional
        Steps: 300 for "max_entropy" and 600 for a network by default.
    rng, progress
        As in `learn`.
    **settings
        "max_entropy": those of `max_entropy`, and `n_components` of the mixture (40). Otherwise those of `learn`, but that
        `n_points` is 2048 and the optimiser ``Adam(1e-3, schedule=Cosine(n_iter))`` by default, and `widths` of the hidden
        layers (64, 128).

    Returns
    -------
    ImageModel

    Raises
    ------
    TypeError, ValueError, FloatingPointError
        As `learn` and `max_entropy`.
    """
    as_choice(method, "method", IMAGE_METHODS)
    if not isinstance(patch_sketch, PatchSketch):
        raise TypeError(
            f"patch_sketch must be a fastcl.PatchSketch, got {type(patch_sketch).__name__}"
        )
    if not isinstance(patch_sketch.reference, GaussianScaleMixture):
        raise ValueError(
            "patch_sketch has no Gaussian scale mixture as its reference: make it anew with sketch_images"
        )
    learn_density, usual = (
        (_learn_mixture, N_ITER) if method == "max_entropy" else (_learn_network, NETWORK_N_ITER)
    )
    n_iter = usual if n_iter is None else as_count(n_iter, "n_iter")
    return learn_density(patch_sketch, method, n_iter, as_generator(rng), progress, **settings)


def _learn_mixture(
    patch_sketch, method, n_iter, rng, progress, n_components=N_COMPONENTS, **settings
):
    sk, reference = patch_sketch.sketch, patch_sketch.reference
    inner = max_entropy(
        sk, standard_normal(sk.dim), n_iter=n_iter, rng=rng, progress=progress, **settings
    )
    density = GaussianisedPrior(inner, reference)
    mixture = MixtureOfScaleMixtures.fit(density.sample(SAMPLES, rng), n_components, rng=rng)
    model = ImageModel(patch_sketch.transform, mixture, density)
    model.interrupted = inner.interrupted
    return model


def _learn_network(
    patch_sketch, method, n_iter, rng, progress, widths=(64, 128), n_points=2048, **settings
):
    normal = standard_normal(patch_sketch.transform.dim)
    prior = MLPPrior(normal.dim, widths, rng=rng, reference=normal)
    prior.initialise_on(normal, rng=rng)
    settings.setdefault("optimizer", Adam(1e-3, schedule=Cosine(n_iter)))
    result = learn(
        prior,
        patch_sketch.sketch,
        normal,
        method,
        n_points,
        n_iter,
        rng=rng,
        progress=progress,
        **settings,
    )
    model = ImageModel(patch_sketch.transform, GaussianisedPrior(prior, patch_sketch.reference))
    model.interrupted = result.interrupted
    return model


def learn_image_prior(images, patch=6, m=4000, rng=None, progress=False, **settings):
    """Learn a patch prior from photographs through a sketch of all their patches.

    Parameters
    ----------
    images, patch, m, progress
        As in `sketch_images`.
    rng : int or numpy.random.Generator, optional
    **settings
        As in `learn_patches`.

    Returns
    -------
    ImageModel

    Raises
    ------
    TypeError, ValueError, OSError, ImportError, FloatingPointError
        As `sketch_images` and `learn_patches`.

    Examples
    --------
    >>> import numpy as np, fastcl
    >>> photograph = np.random.default_rng(0).random((32, 48)).cumsum(axis=0).cumsum(axis=1) % 1
    >>> model = fastcl.learn_image_prior([photograph], patch=3, m=50, n_iter=2, rng=0)
    >>> model.prior.dim
    8
    >>> fastcl.denoise_image(model, photograph, sigma=0.1).shape
    (32, 48)
    """
    rng = as_generator(rng)
    return learn_patches(
        sketch_images(images, patch, m, rng, progress), rng=rng, progress=progress, **settings
    )
