"""One gradient of the sketch-matching objective, for use in somebody else's optimiser."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..measures.box import Box, Domain
from ..priors.base import Prior
from ..priors.mlp import MLPPrior
from ..sketching.sketch import Sketch
from ..validation import as_generator
from .objective import SketchMatching, check_trainable


@np.errstate(under="ignore")
def grid_gradient(
    prior: Prior,
    sketch: Sketch,
    domain: Box,
    points_per_axis: int = 20,
    log_scale: str = "learned",
) -> tuple[float, NDArray]:
    """Value and gradient of G discretised on a regular grid of points_per_axis^d points.

    Parameters
    ----------
    prior : Prior
        With parameters, such as `MLPPrior`, and no reference measure. It is left as it is.
    sketch : Sketch
    domain : Box
        The points are the centres of its cells.
    points_per_axis : int
    log_scale : {"learned", "normalised", "fixed"}
        "learned": the log-scale is a parameter with a gradient like any other. "normalised": the
        density is scaled to mass one over the points, whatever `prior.log_scale` is; to scale the
        prior itself, ``prior.log_scale -= fastcl.log_normaliser(prior, domain)``. "fixed": the
        log-scale stays as it is (0 in a new prior: the model of the paper).

    Returns
    -------
    value : float
        G on the grid.
    gradient : array (P,)
        With respect to ``prior.theta``, which also decides where the work is done: on the device
        for a CuPy array.

    Raises
    ------
    TypeError, ValueError
        Arguments that do not fit together; phases that would lose all their digits in the precision
        of the prior.

    Notes
    -----
    The discretisation that arXiv 2310.03085 starts from. Memory, here and in the two stochastic
    gradients: for every point, as many numbers as the network has units, and 16 partial gradients.

    Examples
    --------
    >>> import numpy as np, fastcl
    >>> sk = fastcl.sketch(np.zeros((1, 1)), [[1.0], [2.0]])
    >>> prior = fastcl.MLPPrior(dim=1, widths=(8,), rng=0, dtype=np.float64)
    >>> prior.theta[:] = 0  # the density is 1 everywhere
    >>> box = fastcl.Box([-np.pi], [np.pi])
    >>> value, gradient = fastcl.grid_gradient(prior, sk, box, points_per_axis=64)
    >>> round(value, 6)  # both moments of the uniform distribution vanish, those of the data are 1
    2.0
    """
    return _gradient(prior, sketch, domain, "grid", points_per_axis, None, log_scale)


@np.errstate(under="ignore")
def naive_gradient(
    prior: Prior,
    sketch: Sketch,
    domain: Domain,
    n_points: int = 4096,
    rng: Any = None,
    log_scale: str = "learned",
) -> tuple[float, NDArray]:
    """Value and gradient of G at random points, the same ones for the residual and the gradient.

    Its mean is the gradient of E||S_X mu - z||^2: that of G plus that of the variance of S_X mu.

    Parameters
    ----------
    prior : Prior
        With parameters, such as `MLPPrior`. It is left as it is.
    sketch : Sketch
    domain : Box or reference measure
        Where points are drawn. If the prior has a reference measure, that one.
    n_points : int
    rng : int or numpy.random.Generator, optional
    log_scale : {"learned", "normalised", "fixed"}
        "learned": the log-scale is a parameter with a gradient like any other. "normalised": the
        density is scaled to mass one over the points, whatever `prior.log_scale` is; to scale the
        prior itself, ``prior.log_scale -= fastcl.log_normaliser(prior, domain)``. "fixed": the
        log-scale stays as it is (0 in a new prior: the model of the paper).

    Returns
    -------
    value : float
    gradient : array (P,)
        With respect to ``prior.theta``, on its device.

    Raises
    ------
    TypeError, ValueError
        As in `grid_gradient`; n_points below 1.

    Notes
    -----
    Naive CL-SGD, arXiv 2310.03085.

    Examples
    --------
    >>> import numpy as np, fastcl
    >>> omega = fastcl.draw_frequencies(20, dim=2, scale=1.0, rng=0)
    >>> sk = fastcl.sketch(np.zeros((1, 2)), omega)
    >>> prior = fastcl.MLPPrior(dim=2, widths=(8,), rng=0)
    >>> box = fastcl.Box([-1, -1], [1, 1])
    >>> value, gradient = fastcl.naive_gradient(prior, sk, box, n_points=100, rng=0)
    >>> value >= 0, gradient.dtype
    (True, dtype('float32'))
    """
    return _gradient(prior, sketch, domain, "naive", n_points, rng, log_scale)


@np.errstate(under="ignore")
def unbiased_gradient(
    prior: Prior,
    sketch: Sketch,
    domain: Domain,
    n_points: int = 4096,
    rng: Any = None,
    log_scale: str = "learned",
) -> tuple[float, NDArray]:
    """Unbiased value and gradient of G: a point meets the residual of other points.

    Parameters
    ----------
    prior : Prior
        With parameters, such as `MLPPrior`. It is left as it is.
    sketch : Sketch
    domain : Box or reference measure
        Where points are drawn. If the prior has a reference measure, that one.
    n_points : int
        At least 2, or 4 of a normalised density.
    rng : int or numpy.random.Generator, optional
    log_scale : {"learned", "normalised", "fixed"}
        "learned": the log-scale is a parameter with a gradient like any other. "normalised": the
        density is scaled to mass one over either half of the points, whatever `prior.log_scale` is,
        which leaves a bias of the order of 1 / n_points; when you have learned,
        ``prior.log_scale -= fastcl.log_normaliser(prior, domain)`` scales the prior itself (leave
        out the domain if the prior has a reference). "fixed": the log-scale stays as it is (0 in a
        new prior: the model of the paper). `learn` has "normalised" as its default.

    Returns
    -------
    value : float
        An estimate of G, which may be negative.
    gradient : array (P,)
        With respect to ``prior.theta``, on its device.

    Raises
    ------
    TypeError, ValueError
        As in `grid_gradient`; too few points.

    Notes
    -----
    Unbiased CL-SGD, arXiv 2310.03085, which takes two sets of points, one for the residual. Here
    all points serve as both, at the price of the naive gradient. G is a sum over pairs of different
    points, or U-statistic (Hoeffding, "A class of statistics with asymptotically normal
    distribution", 1948); of a normalised density, the inner product of the residuals of two halves.

    Examples
    --------
    >>> import numpy as np, fastcl
    >>> omega = fastcl.draw_frequencies(50, dim=1, scale=0.5, rng=0)
    >>> sk = fastcl.sketch(np.random.default_rng(0).uniform(-1, 1, (1000, 1)), omega)
    >>> prior, box = fastcl.MLPPrior(dim=1, widths=(16,), rng=0), fastcl.Box([-1], [1])
    >>> value, gradient = fastcl.unbiased_gradient(prior, sk, box, n_points=256, rng=0)
    >>> gradient.shape == prior.theta.shape
    True
    """
    return _gradient(prior, sketch, domain, "unbiased", n_points, rng, log_scale)


def _gradient(
    prior: Prior,
    sketch: Sketch,
    domain: Domain,
    method: str,
    points: int,
    rng: Any,
    log_scale: str,
) -> tuple[float, NDArray]:
    check_trainable(prior)
    objective = SketchMatching(sketch, domain, prior.theta.dtype, prior.theta)
    objective.check(prior)
    value, gradient, _ = objective.gradient(prior, method, points, as_generator(rng), log_scale)
    if isinstance(prior, MLPPrior):
        prior.trim()
    return value, gradient
