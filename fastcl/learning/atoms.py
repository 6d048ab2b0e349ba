"""The moments of single clusters, as functions of their parameters, for the decoders.

Sums go through einsum, not through BLAS, so that results do not depend on the number of threads.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Least standard deviation of a Gaussian, in units of 1 / (root mean square of the |omega_l|).
MIN_SPREAD = 0.02


class SphericalAtoms:
    """Moments ``exp(-i <omega, c> - spread^2 |omega|^2 / 2)``: clusters of one fixed width.

    They are Diracs if the spread is zero. The parameters of atoms are one row each, here the
    centres (k, d).

    Parameters
    ----------
    omega : array (m, d)
    low, high : array (p,)
        Bounds of the parameters.
    roots : array (m,)
        Factors of the moments: square roots of their weights in sums of squares.
    spread : float
    """

    def __init__(
        self, omega: NDArray, low: NDArray, high: NDArray, roots: NDArray, spread: float = 0.0
    ) -> None:
        self.omega = omega
        self.axes = omega.T.copy()
        self.low = low
        self.high = high
        self.roots = roots
        self.amplitudes = np.exp((omega**2).sum(axis=1) * spread**2 / -2) * roots

    def damping(self, params: NDArray) -> NDArray:
        """Amplitudes of the moments, (k, m) or what broadcasts to it."""
        return self.amplitudes

    def moments(self, params: NDArray) -> tuple[NDArray, NDArray]:
        """(real parts (k, m), imaginary parts (k, m)) of the moments of every atom."""
        phases = np.einsum("kd,dm->km", params[:, : len(self.axes)], self.axes)
        damping = self.damping(params)
        return np.cos(phases) * damping, np.sin(phases) * -damping

    def correlations(
        self, params: NDArray, moments: tuple[NDArray, NDArray], residual: NDArray
    ) -> tuple[NDArray, NDArray]:
        """(Re <moments, residual> of every atom (k,), its gradient in the parameters (k, p))."""
        real, imag = moments
        values = (real * residual.real + imag * residual.imag).sum(axis=1)
        slopes = real * residual.imag - imag * residual.real
        return values, -np.einsum("km,dm->kd", slopes, self.axes)


class Gaussians(SphericalAtoms):
    """Moments ``exp(-i <omega, mean> - <omega^2, variance> / 2)``.

    The parameters are means and log-variances, (k, 2 d).
    """

    def __init__(self, omega: NDArray, low: NDArray, high: NDArray, roots: NDArray) -> None:
        narrowest = np.full(len(low), 2 * np.log(MIN_SPREAD) - np.log(len(low)))
        widest = np.maximum(2 * np.log((high - low) / 2), narrowest + 1)
        low, high = np.concatenate([low, narrowest]), np.concatenate([high, widest])
        super().__init__(omega, low, high, roots)
        self.squares = self.axes**2

    def start(self, centres: NDArray, spread: float) -> NDArray:
        """The parameters (k, 2 d) of atoms of one spread at `centres` (k, d)."""
        log_variances = np.full(centres.shape, 2 * np.log(max(spread, 1e-300)))
        return np.clip(np.concatenate([centres, log_variances], axis=1), self.low, self.high)

    def variances(self, params: NDArray) -> NDArray:
        """Variances (k, d)."""
        return np.exp(params[:, len(self.axes) :])

    def damping(self, params: NDArray) -> NDArray:
        """Amplitudes of the moments, (k, m)."""
        exponents = np.einsum("kd,dm->km", self.variances(params), self.squares) / -2
        return np.exp(exponents) * self.roots

    def correlations(
        self, params: NDArray, moments: tuple[NDArray, NDArray], residual: NDArray
    ) -> tuple[NDArray, NDArray]:
        """See `SphericalAtoms`."""
        values, in_means = super().correlations(params, moments, residual)
        terms = moments[0] * residual.real + moments[1] * residual.imag
        in_logs = np.einsum("km,dm->kd", terms, self.squares) * self.variances(params) / -2
        return values, np.concatenate([in_means, in_logs], axis=1)
