"""The metric that measures residuals of a sketch: the inverse covariance of the features.

With ``e_l(x) = exp(-i <omega_l, x - centre>)``, and with the characteristic function k of q around
its centre, the covariances of the real and imaginary parts of e_l and e_l' follow from
``k(omega_l - omega_l')`` and ``k(omega_l + omega_l')`` in closed form.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from ..backend import product
from ..fourier.structured import as_frequencies
from ..measures.box import Domain, check_domain
from ..validation import as_array, as_float_dtype, as_positive, as_vector

# Sides of the blocks and of the blocks in them. LAPACK factorises only the latter, which are so
# small that it uses one thread.
BLOCKS = (512, 64)
PANEL = 512  # columns of the remaining matrix that are updated at a time


class WhitenedMetric:
    """The quadratic form ``r* M r``, ``M = (Sigma + ridge I)^-1``.

    Sigma is the covariance of the features under a distribution q. If the data follow q, this
    weighting is optimal for the generalised method of moments: every departure from q that the
    sketch resolves counts the same, however little it moves the moments.

    Parameters
    ----------
    omega : array (m, d)
        Frequencies, radians per unit of x.
    domain : Box or ReferenceMeasure
        q.
    ridge : float or array (m,)
        Above zero; the variances that it is added to are about one half. One number per frequency
        makes up for moments with errors of their own.
    dtype : numpy dtype
        Type of the inverse.

    Raises
    ------
    TypeError, ValueError
        omega empty, not finite, or of another dimension than the domain; ridge not above zero.

    Notes
    -----
    Hansen, "Large sample properties of generalized method of moments estimators", Econometrica
    1982. Memory: two m x m matrices in `dtype`, or one 2m x 2m matrix if q is not symmetric, and
    three times as many numbers in float64 while it is built.

    Examples
    --------
    >>> import numpy as np, fastcl
    >>> normal = fastcl.Gaussian([0.0], [[1.0]])
    >>> metric = fastcl.WhitenedMetric([[1.0], [2.0]], normal, ridge=0.01)
    >>> metric.apply(np.array([1.0 + 0j, 0.0])).round(2)
    array([ 9.5 +0.j, -4.38+0.j])
    """

    @np.errstate(under="ignore")
    def __init__(
        self,
        omega: ArrayLike,
        domain: Domain,
        ridge: float | NDArray = 0.01,
        dtype: DTypeLike = np.float32,
    ) -> None:
        self.omega = np.array(as_frequencies(omega))
        self.ridge = _as_ridge(ridge, len(self.omega))
        dtype = as_float_dtype(dtype)
        check_domain(domain)
        if self.omega.shape[1] != domain.dim:
            raise ValueError(f"omega has dimension {self.omega.shape[1]}, the domain {domain.dim}")
        self._shift = np.exp(-1j * (self.omega * domain.centre).sum(axis=1))
        covariances = _covariances(self.omega, domain, domain.sketch(self.omega) / self._shift)
        try:
            for a in covariances:
                a.flat[:: len(a) + 1] += np.resize(self.ridge, len(a))
            self._inverses = [_inverse(a, dtype) for a in covariances]
        except np.linalg.LinAlgError:
            least = np.min(self.ridge)
            raise ValueError(f"ridge is too small for these frequencies: {least:g}") from None

    def __repr__(self) -> str:
        ridge = self.ridge if np.ndim(self.ridge) == 0 else "(m,)"
        return f"WhitenedMetric(m={len(self.omega)}, ridge={ridge})"

    @np.errstate(under="ignore")
    def apply(self, residual: NDArray) -> NDArray:
        """M r, (m,) complex128, for a residual r (m,) complex."""
        residual = as_array(residual, "residual", kinds="fiubc")
        if residual.shape != self._shift.shape:
            raise ValueError(f"residual must have shape {self._shift.shape}, got {residual.shape}")
        centred = residual / self._shift
        parts = np.stack([centred.real, centred.imag])
        if len(self._inverses) == 1:
            real, imag = product(self._inverses[0], parts.reshape(-1, 1)).reshape(2, -1)
        else:
            pairs = zip(self._inverses, parts, strict=True)
            real, imag = (product(a, part[:, None])[:, 0] for a, part in pairs)
        return (real + 1j * imag.astype(np.float64)) * self._shift


def _as_ridge(ridge: float | NDArray, m: int) -> float | NDArray[np.float64]:
    """A positive number, or m of them."""
    if not isinstance(ridge, (list, tuple)) and np.ndim(ridge) == 0:
        return as_positive(ridge, "ridge")
    ridge = as_vector(ridge, "ridge", m)
    if not (ridge > 0).all():
        raise ValueError("ridge must be above zero at every frequency")
    return ridge


def _covariances(omega: NDArray, domain: Domain, here: NDArray) -> tuple[NDArray, ...]:
    """Covariance of the real and imaginary parts of the centred features with means `here` (m,).

    Two (m, m) matrices if the two parts are uncorrelated, otherwise one (2m, 2m).
    """
    minus, plus = domain.pair_sketches(omega)
    real = (minus + plus).real / 2 - np.outer(here.real, here.real)
    imag = (minus - plus).real / 2 - np.outer(here.imag, here.imag)
    if not np.iscomplexobj(minus):
        return real, imag
    cross = (plus - minus).imag / 2 - np.outer(here.real, here.imag)
    return (np.block([[real, cross], [cross.T, imag]]),)


def _inverse(a: NDArray, dtype: DTypeLike) -> NDArray:
    """The inverse, in `dtype`, of a symmetric positive definite matrix a (m, m); overwrites a.

    It goes by a blocked Cholesky factor L and its inverse, because the result of LAPACK's own
    routine may depend on the number of threads.
    """
    upper = _inverse_factor(a, BLOCKS).astype(dtype)
    return product(upper, upper.T)


def _inverse_factor(a: NDArray, blocks: tuple[int, ...]) -> NDArray:
    """The transposed inverse of the Cholesky factor L of a (m, m), in blocks; overwrites a."""
    if not blocks:
        return np.linalg.inv(np.linalg.cholesky(a)).T
    m = len(a)
    upper = np.zeros_like(a)
    for start in range(0, m, blocks[0]):
        end = min(start + blocks[0], m)
        corner = _inverse_factor(a[start:end, start:end], blocks[1:])
        upper[start:end, start:end] = corner
        if start:
            above = product(upper[:start, :start], a[start:end, :start].T)
            upper[:start, start:end] = -product(above, corner)
        if end < m:
            a[end:, start:end] = product(a[end:, start:end], corner)
            for row in range(end, m, PANEL):  # the remaining matrix, below the diagonal
                stop = min(row + PANEL, m)
                a[row:, row:stop] -= product(a[row:, start:end], a[row:stop, start:end].T)
    return upper
