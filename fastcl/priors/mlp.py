"""The neural prior: an energy ||f_theta(x)||^2 with hand-written gradients.

f_theta is a network of ReLU layers with a linear last layer. One flat vector holds all parameters:
for each layer the matrix (inputs, outputs) row by row, then its bias; at the end the log-scale a.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from ..backend import empty, empty_aligned, is_device, kernel, to_device_of, to_host
from ..files import Arrays, part_from, parts_of
from ..kernels.mlp import NARROW
from ..measures.base import ReferenceMeasure
from ..measures.box import Box, Domain, check_domain
from ..validation import (
    as_array,
    as_count,
    as_float_dtype,
    as_generator,
    as_points,
    as_positive,
    as_vector,
)
from .base import Prior, check_reference

MAX_SCRATCH = 1 << 26  # bytes that a prior keeps for the next gradient, at most
MAX_PARTS = 16  # partial gradients per backward pass: bounds the memory, and the threads in use


class _Scratch(threading.local):
    """Arrays that a prior keeps between calls: every thread has its own."""

    def __init__(self) -> None:
        self.arrays: dict[tuple, NDArray] = {}


def count_parameters(sizes: Iterable[int]) -> int:
    """Number of weights and biases in a network of these layer sizes, plus one for a."""
    sizes = [int(size) for size in sizes]
    return sum((n_in + 1) * n_out for n_in, n_out in itertools.pairwise(sizes)) + 1


class MLPPrior(Prior, kind="prior"):
    """An unnormalised density ``exp(a - ||f_theta(x)||^2)``, times a reference density if given.

    f_theta: R^d -> R^d is a network of ReLU layers with a linear last layer, in He's
    initialisation.

    Parameters
    ----------
    dim : int
        Dimension d of the points.
    widths : sequence of int
        Widths of the hidden layers; at least one layer.
    rng : int or numpy.random.Generator, optional
        Seed or generator of the initial weights.
    reference : ReferenceMeasure, optional
        A measure in the same dimension that multiplies the density, such as a `Gaussian`.
    dtype : {float32, float64}
        Type of `theta`, and of the points at which gradients are computed.

    Attributes
    ----------
    theta : array (P,)
        All parameters, writable in place: for each layer the matrix (inputs, outputs) row by row
        and then the bias; at the end the log-scale a. Assigning a CuPy vector moves the prior to
        the device, assigning a NumPy vector moves it back to the host.

    Raises
    ------
    TypeError, ValueError
        dim or a width below 1; no hidden layer; a reference that is no `ReferenceMeasure` or has
        another dimension; a dtype other than float32 and float64.

    Notes
    -----
    The energy is ``R_theta`` in arXiv 2310.03085. The prior lives where `theta` is, energies are
    computed where x is, and either may be on the host or on the device.

    Examples
    --------
    >>> import numpy as np, fastcl
    >>> prior = fastcl.MLPPrior(dim=2, widths=(64, 128, 256), rng=0)
    >>> prior.theta.size, prior.energy(np.zeros((3, 2)))
    (42051, array([0., 0., 0.]))
    """

    strict = True

    def __init__(
        self,
        dim: int,
        widths: Sequence[int] = (64, 128, 256),
        rng: Any = None,
        reference: ReferenceMeasure | None = None,
        dtype: DTypeLike = np.float32,
    ) -> None:
        dim = as_count(dim, "dim")
        if not isinstance(widths, Sequence | np.ndarray) or isinstance(widths, str):
            raise TypeError(f"widths must be a sequence of integers, got {widths!r}")
        if len(widths) == 0:
            raise ValueError("widths is empty: at least one hidden layer is needed")
        widths = tuple(as_count(w, "widths") for w in widths)
        if reference is not None:
            check_reference(reference, dim)
        self.reference = reference
        self.sizes = np.array([dim, *widths, dim], np.int64)
        self._widest = max(dim, *widths)
        self._theta = empty_aligned(count_parameters(self.sizes), as_float_dtype(dtype))
        self._theta[:] = 0
        rng = as_generator(rng)
        offset = 0
        for n_in, n_out in itertools.pairwise(self.sizes):
            weights = rng.standard_normal(n_in * n_out) * np.sqrt(2 / n_in)
            self.theta[offset : offset + n_in * n_out] = weights
            offset += n_in * n_out + n_out
        self._workspace = _Scratch()

    @property
    def theta(self) -> NDArray:
        """All parameters (P,), writable in place; assigning copies, to the device of the vector."""
        return self._theta

    @theta.setter
    def theta(self, value: ArrayLike) -> None:
        value = as_vector(value, "theta", self._theta.size, self.dtype)
        if is_device(value) != is_device(self._theta):
            self._theta = empty(value.size, self.dtype, value)
            self._workspace = _Scratch()
        self._theta[:] = value

    @property
    def dim(self) -> int:
        """Dimension d of the points."""
        return int(self.sizes[0])

    @property
    def widths(self) -> tuple[int, ...]:
        """Widths of the hidden layers."""
        return tuple(int(w) for w in self.sizes[1:-1])

    @property
    def dtype(self) -> np.dtype:  # type: ignore[override]
        """Type of `theta`."""
        return self.theta.dtype

    def energy(self, x: ArrayLike) -> NDArray:
        """R_theta(x) = ||f_theta(x)||^2, (n,), in the type of x, for x (n, d)."""
        x = as_points(x, "x", self.dim)
        theta, transposed = self.weights(x.dtype, x, backward=False)
        part_rows = kernel("rows_of_part", like=x)(len(x))
        nothing = np.empty(0, x.dtype, like=x)
        energy = np.empty(len(x), x.dtype, like=x)
        kernel("energy_forward", like=x)(
            theta, transposed, self.sizes, x, part_rows, nothing, energy
        )
        return energy

    def energy_and_grad(self, x: ArrayLike) -> tuple[NDArray, NDArray]:
        """(R_theta(x) (n,), its gradient with respect to x (n, d)) for the price of the latter."""
        x = as_points(x, "x", self.dim)
        theta, transposed = self.weights(x.dtype, x)
        part_rows = kernel("rows_of_part", like=x)(len(x))
        energy, gradient = np.empty(len(x), x.dtype, like=x), np.empty_like(x)
        kernel("energy_grad", like=x)(theta, transposed, self.sizes, x, part_rows, energy, gradient)
        return energy, gradient

    def initialise_on(self, domain: Domain, energy: float | None = None, rng: Any = None) -> None:
        """Adapt the initial parameters to a domain: a Box, or the reference of the prior.

        He's initialisation suits inputs in few dimensions, around zero and with standard deviation
        one. For others the energy is so large that the density vanishes, and its gradient with it.
        This method centres and scales the inputs of the first layer, scales the last layer so that
        R_theta has mean `energy` over the domain, and chooses a so that the mass is one.

        Parameters
        ----------
        domain : Box or ReferenceMeasure
            The domain.
        energy : float, optional
            Mean energy, by default 1 for a box, and 0.1 for a reference measure, which is already
            close to the data.
        rng : int or numpy.random.Generator, optional

        Raises
        ------
        TypeError, ValueError
            A domain of another dimension, or too small for the type of `theta`; energy not above
            zero.
        """
        check_domain(domain)
        if domain.dim != self.dim:
            raise ValueError(f"domain has dimension {domain.dim}, the prior {self.dim}")
        usual, volume = (1.0, domain.volume) if isinstance(domain, Box) else (0.1, 1.0)
        energy = usual if energy is None else as_positive(energy, "energy")
        x = domain.sample(4096, rng, np.float64)
        stds, (n_in, n_out) = x.std(axis=0), self.sizes[:2]
        first = self.theta[: n_in * n_out].reshape(n_in, n_out)
        if 1 / stds.min() > np.finfo(self.dtype).max:
            raise ValueError(f"domain is too small for {self.dtype}: change the unit of the data")
        first /= to_device_of(stds[:, None], first, self.dtype)
        means = to_device_of(x.mean(axis=0)[:, None], first)
        self.theta[n_in * n_out : n_in * n_out + n_out] = -(means * first).sum(axis=0)
        n_in, n_out = self.sizes[-2:]
        x = x.astype(self.dtype)  # the only type that the kernels need to be compiled for
        self.theta[-1 - n_in * n_out - n_out : -1] *= np.sqrt(energy / self.energy(x).mean())
        self.log_scale = -np.log(volume) - np.log(np.exp(-self.energy(x)).mean())

    def weights(
        self, dtype: DTypeLike | None = None, like: NDArray | None = None, backward: bool = True
    ) -> tuple:
        """(theta without a, its transposed matrices): the weights in the layouts of the kernels.

        They are in `dtype` and on the device of `like`, by default those of theta. The next call
        overwrites the buffer. Call again after theta has changed. Without `backward`, only what the
        forward pass needs is transposed.
        """
        like = self.theta if like is None else like
        theta = self.theta[:-1].astype(self.dtype if dtype is None else dtype, copy=False)
        theta = theta if is_device(theta) == is_device(like) else to_device_of(theta, like)
        transposed = self._buffer("transposed", theta.size, theta)
        kernel("transpose_weights", like=theta)(
            theta, self.sizes, self._widest if backward else NARROW - 1, transposed
        )  # fmt: skip
        return theta, transposed

    def forward(self, x: NDArray, keep: bool = True) -> tuple[NDArray, tuple]:
        """(R_theta(x), the state that `backward` needs) for x (n, d) in the type of theta.

        x must have been validated and be on the device of theta. The results are in buffers that
        the next call overwrites. Without `keep` nothing is stored for a backward pass.
        """
        size = kernel("activation_size", like=x)(self.sizes, len(x)) if keep else 0
        activations = self._buffer("activations", size, x)
        energy = self._buffer("energy", len(x), x)
        theta, transposed = self.weights()
        part_rows = kernel("rows_of_part", like=x)(len(x))
        kernel("energy_forward", like=x)(
            theta, transposed, self.sizes, x, part_rows, activations, energy
        )
        return energy, (x, transposed, activations)

    def backward(self, grad_energy: NDArray, state: tuple, out: NDArray | None = None) -> NDArray:
        """Gradient (P,) of ``sum_i grad_energy_i R_theta(x_i)``; its last entry, for a, is 0."""
        x, transposed, activations = state
        part_rows = kernel("rows_of_part", like=x)(len(x))
        size = self.theta.size - 1
        out = np.empty_like(self.theta) if out is None else out
        theta = self.theta[:-1]
        total = self._buffer("total", size, x, np.float64)
        total[:] = 0
        for start in range(0, len(x), MAX_PARTS * part_rows):
            rows = slice(start, start + MAX_PARTS * part_rows)
            points = x[rows]
            kept = activations[kernel("activation_size", like=x)(self.sizes, start) :]
            parts = -(-len(points) // part_rows)
            partial = self._buffer("partial", parts * size, x).reshape(-1, size)
            kernel("energy_backward", like=x)(
                theta, transposed, self.sizes, points, kept, grad_energy[rows], part_rows, partial
            )
            kernel("add_parts", like=x)(partial, total, out[:-1])
        out[-1] = 0
        return out

    def _buffer(
        self, name: str, size: int, like: NDArray, dtype: DTypeLike | None = None
    ) -> NDArray:
        """A scratch array on the device of `like`, kept between calls and grown on demand.

        Every thread has its own.
        """
        kept = self._workspace.arrays
        dtype = np.dtype(dtype or like.dtype)
        key = (name, dtype, is_device(like))
        if key not in kept or kept[key].size < size:
            kept[key] = empty(size, dtype, like)
        return kept[key][:size]

    def scratch(self) -> list[NDArray]:
        """The scratch arrays in use: a CUDA graph that reads them must keep them alive."""
        return list(self._workspace.arrays.values())

    def trim(self) -> None:
        """Let go of the scratch arrays of this thread if they take more than MAX_SCRATCH bytes."""
        if sum(array.nbytes for array in self.scratch()) > MAX_SCRATCH:
            self._workspace.arrays.clear()

    def __repr__(self) -> str:
        settings = f"dim={self.dim}, widths={self.widths}, dtype={self.dtype}"
        return f"MLPPrior({settings}, reference={self.reference})"

    def __getstate__(self) -> dict[str, Any]:
        return {name: part for name, part in vars(self).items() if name != "_workspace"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _workspace=_Scratch())

    def to_arrays(self) -> Arrays:
        """The parts that a file keeps: name -> array."""
        arrays = {"sizes": self.sizes, "theta": to_host(self.theta)}
        if self.reference is not None:
            arrays |= parts_of("reference", self.reference)
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> MLPPrior:
        """The prior whose `to_arrays` gave `arrays`; ValueError if they do not fit together."""
        sizes = as_array(arrays["sizes"], "sizes")
        theta = as_array(arrays["theta"], "theta")
        plausible = sizes.dtype.kind in "iu" and sizes.ndim == 1 and sizes.size >= 3
        if not (plausible and sizes[0] == sizes[-1] and (sizes > 0).all()):
            raise ValueError(f"a network cannot have layer sizes {sizes.tolist()}")
        if theta.shape != (count_parameters(sizes),):  # checked before memory is allocated
            raise ValueError("theta does not fit the layer sizes")
        has_reference = any(name.startswith("reference.") for name in arrays)
        prior = cls(
            int(sizes[0]),
            [int(width) for width in sizes[1:-1]],
            rng=0,
            reference=part_from("reference", arrays, ReferenceMeasure) if has_reference else None,
            dtype=theta.dtype,
        )
        if not np.isfinite(theta).all():
            raise ValueError("theta is not finite")
        prior.theta[:] = theta
        return prior
