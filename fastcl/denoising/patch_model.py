"""Learning a prior of patches from their sketch: maximum-entropy, or a network."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import files
from ..data.patch_transform import PatchTransform
from ..learning.adaptive import SearchEffort
from ..learning.loop import LEARN_METHODS, check_chains, learn, learn_network
from ..measures.base import ReferenceMeasure
from ..measures.mixtures import standard_normal
from ..measures.scale_mixtures import MixtureOfScaleMixtures
from ..priors.base import Prior
from ..priors.chains import draw_samples
from ..priors.gaussianised import GaussianisedPrior
from ..priors.max_entropy import max_entropy
from ..validation import (
    as_choice,
    as_count,
    as_generator,
    as_positive,
    as_vector,
    check_settings,
)
from .noisy_signals import as_noise, is_noisy
from .patch_sketch import (
    MAX_DIM,
    SUBSAMPLE,
    PatchSketch,
    layout_from_arrays,
    layout_to_arrays,
    sketch_images,
    sketch_signals,
)

N_SAMPLES = 100_000
N_ITER = 200  # steps of "max_entropy" by default
# Steps of a network, and points in each, by default.
NETWORK_N_ITER = {"chains": 5000, "unbiased": 600, "naive": 600}
NETWORK_N_POINTS = {"chains": 4096, "unbiased": 2048, "naive": 2048}
NETWORK_WIDTHS = (128, 128, 128)
N_COMPONENTS = 40
# Half-quadratic splitting with posterior means: the precision of the patches over that of the
# noise, pass by pass. Every pass smooths, so there are few. Chosen on photographs that are used
# neither for learning nor for testing.
PRECISIONS = (1.5, 4.0)
IMAGE_METHODS = ("max_entropy", *(method for method in LEARN_METHODS if method != "grid"))


class SignalModel(files.Storable, kind="image-model"):
    """A prior of the patches of signals: the transform to white coordinates, and their density.

    ``model(noisy, sigma)`` is ``denoise_signal(model, noisy, sigma)``, as plug-and-play methods
    call a denoiser. noisy may be a batch (B, 1, H, W) on a grey model, or (B, 3, H, W) on one in
    colour after ``model.channel_axis = 0``; sigma is a number, or an array (B,) or (B, 1, 1, 1).
    Tensors of PyTorch are read, too, and the result is a NumPy array. As a denoiser of tensors::

        def denoiser(noisy, sigma):
            clean = model(noisy.detach().cpu(), torch.as_tensor(sigma).cpu())
            return torch.from_numpy(clean).to(noisy)

    Attributes
    ----------
    transform : PatchTransform
    prior : Prior or ReferenceMeasure
        The density of the white coordinates, which denoises patches.
    density : Prior or None
        The maximum-entropy density to which `prior` was fitted, if it was; of the axes that were
        sketched, and of signals with the noise that they had.
    precisions : tuple of float
        For half-quadratic splitting with posterior means: the precision of the patches over that of
        the noise, pass by pass.
    channel_axis : int or None
        The axis of the signals that has the channels.
    rate : float or None
        Of sounds, in samples per second.
    interrupted : bool
        Whether a KeyboardInterrupt ended the learning early.

    Raises
    ------
    TypeError, ValueError
        A prior of another dimension than the transform, or of another type; precisions that are
        empty or not above zero.
    """

    def __init__(
        self,
        transform: PatchTransform,
        prior: Prior | ReferenceMeasure,
        density: Prior | None = None,
        precisions: Iterable[float] = PRECISIONS,
        channel_axis: int | None = None,
        rate: float | None = None,
    ) -> None:
        if not isinstance(prior, (Prior, ReferenceMeasure)):
            raise TypeError(
                f"prior must be a fastcl.Prior or a reference measure, got {type(prior).__name__}"
            )
        if prior.dim != transform.dim:
            raise ValueError(
                f"prior must have dimension {transform.dim}, that of the patches, got {prior.dim}"
            )
        values = as_vector(precisions, "precisions").tolist()
        if not values:
            raise ValueError("precisions is empty: at least one pass is needed")
        self.transform = transform
        self.prior = prior
        self.density = density
        self.precisions = tuple(as_positive(value, "precisions") for value in values)
        self.channel_axis = channel_axis
        self.rate = rate
        self.interrupted = False

    @property
    def n_axes(self) -> int:
        """Number of axes of a signal, without that of the channels."""
        return 1 if self.rate is not None else len(self.transform.patch)

    def __repr__(self) -> str:
        return f"SignalModel({self.transform}, prior={self.prior})"

    def __call__(self, noisy: ArrayLike, sigma: Any = None, **settings: Any) -> NDArray:
        """`denoise_signal`, with its settings."""
        from .restoration import denoise_signal

        return denoise_signal(self, noisy, sigma, **settings)

    def to_arrays(self) -> files.Arrays:
        """The parts that a file keeps: name -> array."""
        arrays = files.parts_of("transform", self.transform) | files.parts_of("prior", self.prior)
        if self.density is not None:
            arrays |= files.parts_of("density", self.density)
        arrays |= {"precisions": np.array(self.precisions)}
        return arrays | layout_to_arrays(self.channel_axis, self.rate)

    @classmethod
    def from_arrays(cls, arrays: files.Arrays) -> SignalModel:
        """The model whose `to_arrays` gave `arrays`."""
        has_density = any(name.startswith("density.") for name in arrays)
        return cls(
            files.part_from("transform", arrays, PatchTransform),
            files.part_from("prior", arrays, (Prior, ReferenceMeasure)),
            files.part_from("density", arrays, Prior) if has_density else None,
            arrays.get("precisions", PRECISIONS),
            *layout_from_arrays(arrays),
        )


def learn_patches(
    patch_sketch: PatchSketch,
    method: str = "max_entropy",
    n_iter: int | None = None,
    rng: Any = None,
    progress: bool = False,
    **settings: Any,
) -> SignalModel:
    """Learn a `SignalModel` from a `PatchSketch`.

    Parameters
    ----------
    patch_sketch : PatchSketch
    method : {"max_entropy", "chains", "unbiased", "naive"}
        "max_entropy": find the maximum-entropy density with the moments of the sketch, then fit a
        mixture of Gaussian scale mixtures to points drawn from it. The mixture denoises, as its
        posterior mean has a closed form. The fit accounts for the noise in the signals, so that the
        mixture is that of signals without it. The other methods are those of `learn`: they learn a
        network with the same reference, from signals without noise only.
    n_iter : int, optional
        Number of steps; by default 200 for "max_entropy", 5000 for a network by chains, and 600 by
        the other methods.
    rng, progress
        As in `learn`.
    **settings
        For "max_entropy" those of `max_entropy`, `n_components` of the mixture (40), and
        `n_samples`, the number of points to which it is fitted (100,000). Otherwise those of
        `learn`, with `n_points` 2048 (4096 chains) and the optimiser of `learn_network` by default,
        and `widths` of the hidden layers (128, 128, 128).

    Returns
    -------
    SignalModel

    Raises
    ------
    TypeError, ValueError, FloatingPointError
        As in `learn` and `max_entropy`; a network from a sketch of noisy signals.
    """
    check_learning(method, settings)
    if not isinstance(patch_sketch, PatchSketch):
        raise TypeError(
            f"patch_sketch must be a fastcl.PatchSketch, got {type(patch_sketch).__name__}"
        )
    check_learning(method, settings, patch_sketch.noise)
    default = N_ITER if method == "max_entropy" else NETWORK_N_ITER[method]
    n_iter = default if n_iter is None else as_count(n_iter, "n_iter")
    rng = as_generator(rng)
    if method == "max_entropy":
        return _learn_mixture(patch_sketch, n_iter, rng, progress, **settings)
    return _learn_network(patch_sketch, method, n_iter, rng, progress, **settings)


def check_learning(method: str, settings: dict[str, Any], noise: Any = 0.0) -> None:
    """ValueError or TypeError for a method, or a setting of it, that there is none of."""
    as_choice(method, "method", IMAGE_METHODS)
    if method == "max_entropy":
        check_settings(settings, _learn_mixture, max_entropy)
    else:
        check_settings(settings, _learn_network, learn_network, learn)
        if is_noisy(as_noise(noise)):
            raise ValueError(f"method must be 'max_entropy' for noisy signals, got {method!r}")
        if method == "chains":
            check_chains(settings.get("log_scale", "normalised"))


def _learn_mixture(
    patch_sketch: PatchSketch,
    n_iter: int,
    rng: np.random.Generator,
    progress: bool,
    n_components: int = N_COMPONENTS,
    n_samples: int = N_SAMPLES,
    **settings: Any,
) -> SignalModel:
    sketch = patch_sketch.sketch
    scale_mixture = patch_sketch.scale_mixture
    n_samples = as_count(n_samples, "n_samples")
    settings |= {"n_iter": n_iter, "rng": rng, "progress": progress}
    inner = max_entropy(sketch, standard_normal(sketch.dim), **settings)
    density = GaussianisedPrior(inner, scale_mixture)
    normal_points = draw_samples(inner, n_samples, rng, progress=progress)
    points, pilot = scale_mixture.degaussianise(normal_points), patch_sketch.pilot
    n_tail = 0
    if pilot is not None:
        points, n_tail = pilot.complete(points, rng), pilot.dim - pilot.head_dim
    transform = patch_sketch.transform.with_dim(points.shape[1])
    noise = transform.white_noise(patch_sketch.noise) if patch_sketch.noise else None
    mixture = MixtureOfScaleMixtures.fit(
        points, n_components, rng=rng, progress=progress, n_tail=n_tail, noise=noise
    )
    model = _model_of(patch_sketch, mixture, density)
    model.interrupted = inner.interrupted
    return model


def _learn_network(
    patch_sketch: PatchSketch,
    method: str,
    n_iter: int,
    rng: np.random.Generator,
    progress: bool,
    widths: Sequence[int] = NETWORK_WIDTHS,
    n_points: int | None = None,
    **settings: Any,
) -> SignalModel:
    scale_mixture = patch_sketch.scale_mixture
    normal = standard_normal(patch_sketch.transform.dim)
    n_points = NETWORK_N_POINTS[method] if n_points is None else n_points
    settings |= {"method": method, "widths": widths, "n_points": n_points, "n_iter": n_iter}
    settings |= {"rng": rng, "progress": progress}
    result = learn_network(patch_sketch.sketch, normal, **settings)
    prior = GaussianisedPrior(result.prior, scale_mixture)
    model = _model_of(patch_sketch, prior)
    model.interrupted = result.interrupted
    return model


def _model_of(
    patch_sketch: PatchSketch, prior: Prior | ReferenceMeasure, density: Prior | None = None
) -> SignalModel:
    layout: dict[str, Any] = {"channel_axis": patch_sketch.channel_axis, "rate": patch_sketch.rate}
    return SignalModel(patch_sketch.transform.with_dim(prior.dim), prior, density, **layout)


def learn_signal_prior(
    signals: Sequence[ArrayLike],
    patch: int | Sequence[int] = 6,
    m: int = 4000,
    rng: Any = None,
    progress: bool = False,
    *,
    channel_axis: int | None = None,
    dim: int = MAX_DIM,
    keep_means: bool = True,
    dither: float = 0.0,
    noise: float | Sequence[float] | str = 0.0,
    method: str = "max_entropy",
    subsample: int = SUBSAMPLE,
    effort: SearchEffort | None = None,
    **settings: Any,
) -> SignalModel:
    """Learn a prior of the patches of signals of any shape, through a sketch of all of them.

    Parameters
    ----------
    signals, patch, m, progress, channel_axis, dim, keep_means, dither, noise, subsample, effort
        As in `sketch_signals`.
    rng : int or numpy.random.Generator, optional
    method, **settings
        As in `learn_patches`.

    Returns
    -------
    SignalModel

    Raises
    ------
    TypeError, ValueError, FloatingPointError
        As in `sketch_signals` and `learn_patches`.

    Examples
    --------
    >>> import numpy as np, fastcl
    >>> volumes = np.random.default_rng(0).random((2, 8, 12, 14)).cumsum(axis=1)
    >>> quick = {"n_iter": 2, "n_components": 4, "n_samples": 2000}
    >>> model = fastcl.learn_signal_prior(volumes, patch=(2, 2, 2), m=50, rng=0, **quick)
    >>> model(volumes[0], 0.1).shape
    (8, 12, 14)
    """
    check_learning(method, settings, noise)
    rng = as_generator(rng)
    patch_sketch = sketch_signals(
        signals,
        patch,
        m,
        rng,
        progress,
        channel_axis=channel_axis,
        dim=dim,
        keep_means=keep_means,
        dither=dither,
        noise=noise,
        subsample=subsample,
        effort=effort,
    )
    return learn_patches(patch_sketch, method, rng=rng, progress=progress, **settings)


def learn_image_prior(
    images: Sequence[ArrayLike] | files.PathLike,
    patch: int | Sequence[int] = 6,
    m: int = 4000,
    rng: Any = None,
    progress: bool = False,
    *,
    channel_axis: int | None = None,
    dim: int = MAX_DIM,
    noise: float | Sequence[float] | str = 0.0,
    method: str = "max_entropy",
    subsample: int = SUBSAMPLE,
    effort: SearchEffort | None = None,
    skip_bad: bool = False,
    **settings: Any,
) -> SignalModel:
    """Learn a patch prior from photographs, through a sketch of all their patches.

    Parameters
    ----------
    images, patch, m, progress, channel_axis, dim, noise, subsample, effort, skip_bad
        As in `sketch_images`.
    rng : int or numpy.random.Generator, optional
    method, **settings
        As in `learn_patches`.

    Returns
    -------
    SignalModel

    Raises
    ------
    TypeError, ValueError, OSError, ImportError, FloatingPointError
        As in `sketch_images` and `learn_patches`.

    Examples
    --------
    >>> import numpy as np, fastcl
    >>> photograph = np.random.default_rng(0).random((32, 48)).cumsum(axis=0).cumsum(axis=1) % 1
    >>> quick = {"n_iter": 2, "n_components": 4, "n_samples": 2000}
    >>> model = fastcl.learn_image_prior([photograph], patch=3, m=50, rng=0, **quick)
    >>> model.prior.dim
    8
    >>> fastcl.denoise_image(model, photograph, sigma=0.1).shape
    (32, 48)
    """
    check_learning(method, settings, noise)
    rng = as_generator(rng)
    patch_sketch = sketch_images(
        images,
        patch,
        m,
        rng,
        progress,
        channel_axis=channel_axis,
        dim=dim,
        noise=noise,
        subsample=subsample,
        effort=effort,
        skip_bad=skip_bad,
    )
    return learn_patches(patch_sketch, method, rng=rng, progress=progress, **settings)
