"""The neural prior: an energy ||f_theta(x)||^2 with hand-written gradients, its parameters in one flat vector."""

import itertools

import numpy as np

from .. import files
from ..backend import empty, empty_aligned, is_device, kernel, to_device_of, to_host
from ..measures.box import domain_from_arrays
from ..validation import FLOATS, as_array, as_count, as_generator, as_points, as_vector

MAX_PARTS = 16  # most partial gradients of one backward pass: bounds the memory, and the threads that can work


def count_parameters(sizes):
    """Of a network with layers of these sizes: weights, biases, and the log-scale."""
    sizes = [int(size) for size in sizes]
    return sum((n_in + 1) * n_out for n_in, n_out in itertools.pairwise(sizes)) + 1


class MLPPrior:
    """An unnormalised density ``exp(a - ||f_theta(x)||^2)``, times a reference density where there is one.

    f_theta is a network of ReLU layers R^d -> R^d with a linear last layer, drawn by He's initialisation.

    Parameters
    ----------
    dim : int
        Dimension d of the points.
    widths : sequence of int
        Widths of the hidden layers, at least one.
    rng : int or numpy.random.Generator, optional
    reference : reference measure, optional
        A `Gaussian`, `GaussianMixture`, `GaussianScaleMixture` or `MixtureOfScaleMixtures` of the same dimension that
        multiplies the density.
    dtype : {float32, float64}
        Type of `theta`, and of the points that gradients are computed at.

    Attributes
    ----------
    theta : array (P,)
        Every parameter, writable in place: layer by layer the matrix (inputs, outputs) row by row and the bias, then
        the log-scale a. Assigning a CuPy vector moves the prior to the device, a NumPy vector back to the host.

    Raises
    ------
    TypeError, ValueError
        dim or a width below 1, no width; a reference that is none, or of another dimension; another dtype.

    Notes
    -----
    ``R_theta`` in arXiv 2310.03085.

    `theta` decides where the prior lives, and x where an energy is computed and its result is: either may be on the host or on
    the device.

    Examples
    --------
    >>> import numpy as np, fastcl
    >>> prior = fastcl.MLPPrior(dim=2, widths=(64, 128, 256), rng=0)
    >>> prior.theta.size, prior.energy(np.zeros((3, 2)))
    (42051, array([0., 0., 0.]))
    """

    def __init__(self, dim, widths=(64, 128, 256), rng=None, reference=None, dtype=np.float32):
        dim = as_count(dim, "dim")
        if np.ndim(widths) != 1:
            raise TypeError(f"widths must be a sequence of integers, got {widths!r}")
        if len(widths) == 0:
            raise ValueError("widths is empty: at least one hidden layer is needed")
        widths = tuple(as_count(w, "widths") for w in widths)
        if reference is not None and (
            not getattr(reference, "is_reference", False) or reference.dim != dim
        ):
            raise ValueError(
                f"reference must be a reference measure of dimension {dim}, got {reference!r}"
            )
        self.reference = reference
        self.sizes = np.array([dim, *widths, dim], np.int64)
        try:
            dtype = np.dtype(dtype)
        except TypeError:
            raise TypeError(f"dtype must be float32 or float64, got {dtype!r}") from None
        if dtype not in FLOATS:
            raise ValueError(f"dtype must be float32 or float64, got {dtype}")
        self._theta = empty_aligned(count_parameters(self.sizes), dtype)
        self._theta[:] = 0
        rng, offset = as_generator(rng), 0
        for n_in, n_out in zip(self.sizes[:-1], self.sizes[1:], strict=True):
            self.theta[offset : offset + n_in * n_out] = rng.standard_normal(
                n_in * n_out
            ) * np.sqrt(2 / n_in)
            offset += n_in * n_out + n_out
        self._workspace = {}

    @property
    def theta(self):
        """Every parameter (P,): one vector, writable in place; assigning to it copies, to where the given vector is."""
        return self._theta

    @theta.setter
    def theta(self, value):
        value = as_vector(value, "theta", self._theta.size, self.dtype)
        if is_device(value) != is_device(self._theta):
            self._theta, self._workspace = empty(value.size, self.dtype, value), {}
        self._theta[:] = value

    @property
    def dim(self):
        """Dimension d of the points."""
        return int(self.sizes[0])

    @property
    def widths(self):
        """Widths of the hidden layers."""
        return tuple(int(w) for w in self.sizes[1:-1])

    @property
    def dtype(self):
        """Type of `theta`."""
        return self.theta.dtype

    @property
    def log_scale(self):
        """The learned parameter a, last of `theta`; may be set."""
        return float(self.theta[-1])

    @log_scale.setter
    def log_scale(self, value):
        self.theta[-1] = value

    def energy(self, x):
        """R_theta(x) = ||f_theta(x)||^2, (n,), in the type of x, for x (n, d)."""
        x = as_points(x, "x", self.dim)
        theta, transposed = self.weights(x.dtype, x)
        part_rows, nothing = kernel("rows_of_part", like=x)(len(x)), np.empty(0, x.dtype, like=x)
        energy = np.empty(len(x), x.dtype, like=x)
        kernel("energy_forward", like=x)(
            theta, transposed, self.sizes, x, part_rows, nothing, energy
        )
        return energy

    def energy_grad(self, x):
        """Gradient of R_theta with respect to x, (n, d), in the type of x."""
        return self.energy_and_grad(x)[1]

    def energy_and_grad(self, x):
        """(R_theta(x), its gradient with respect to x) for the price of the gradient: (n,) and (n, d)."""
        x = as_points(x, "x", self.dim)
        theta, transposed = self.weights(x.dtype, x)
        part_rows = kernel("rows_of_part", like=x)(len(x))
        energy, gradient = np.empty(len(x), x.dtype, like=x), np.empty_like(x)
        kernel("energy_grad", like=x)(theta, transposed, self.sizes, x, part_rows, energy, gradient)
        return energy, gradient

    def log_density(self, x):
        """a - R_theta(x), plus the log-density of the reference where there is one: (n,), unnormalised."""
        value = self.log_scale - self.energy(x)
        return value if self.reference is None else value + self.reference.log_density(x)

    def initialise_on(self, domain, energy=None, rng=None):
        """Adapt the initial parameters to a domain: a Box, or the reference of the prior.

        He's initialisation suits inputs of deviation one around zero in few dimensions; elsewhere the energy is so large
        that the density vanishes, and its gradient with it. This centres and scales the inputs of the first layer, then
        scales the last one so that R_theta has mean `energy` over the domain, and chooses a so that the mass is one.

        Parameters
        ----------
        domain : Box or reference measure
        energy : float, optional
            5 for a box, where structure has to emerge from a flat density, and 0.1 for a reference, which is near already.
        rng : int or numpy.random.Generator, optional
        """
        energy = (0.1 if domain.is_reference else 5.0) if energy is None else energy
        x = domain.sample(4096, rng, np.float64)
        deviations, (n_in, n_out) = x.std(axis=0), self.sizes[:2]
        first = self.theta[: n_in * n_out].reshape(n_in, n_out)
        first /= to_device_of(deviations[:, None], first, self.dtype)
        self.theta[n_in * n_out : n_in * n_out + n_out] = -(
            to_device_of(x.mean(axis=0)[:, None], first) * first
        ).sum(axis=0)
        n_in, n_out = self.sizes[-2:]
        self.theta[-1 - n_in * n_out - n_out : -1] *= np.sqrt(energy / self.energy(x).mean())
        volume = 1.0 if domain.is_reference else domain.volume
        self.log_scale = -np.log(volume * np.exp(-self.energy(x)).mean())

    def weights(self, dtype=None, like=None):
        """(theta without a, its transposed matrices), in the type of theta and beside it by default: what the kernels read.

        In a buffer that the next call overwrites; to be asked for anew once theta has changed.
        """
        like = self.theta if like is None else like
        theta = self.theta[:-1].astype(self.dtype if dtype is None else dtype, copy=False)
        theta = theta if is_device(theta) == is_device(like) else to_device_of(theta, like)
        transposed = self._buffer("transposed", theta.size, theta)
        kernel("transpose_weights", like=theta)(theta, self.sizes, transposed)
        return theta, transposed

    def forward(self, x, keep=True, weights=None):
        """(R_theta(x), what `backward` needs) for x (n, d) in the type of theta and beside it, already validated.

        Both live in buffers that the next call overwrites. Without `keep` nothing is stored for a backward. `weights` are
        those of `weights()`, for several calls with one theta.
        """
        size = kernel("activation_size", like=x)(self.sizes, len(x)) if keep else 0
        activations, energy = (
            self._buffer("activations", size, x),
            self._buffer("energy", len(x), x),
        )
        theta, transposed = self.weights() if weights is None else weights
        part_rows = kernel("rows_of_part", like=x)(len(x))
        kernel("energy_forward", like=x)(
            theta, transposed, self.sizes, x, part_rows, activations, energy
        )
        return energy, (x, transposed, activations)

    def backward(self, grad_energy, state, out=None):
        """Gradient (P,) of ``sum_i row_weights_i R_theta(x_i)``; that of a, which R does not see, is zero."""
        x, transposed, activations = state
        part_rows, size = kernel("rows_of_part", like=x)(len(x)), self.theta.size - 1
        out = np.empty_like(self.theta) if out is None else out
        theta, total = self.theta[:-1], self._buffer("total", size, x, np.float64)
        total[:] = 0
        for start in range(0, len(x), MAX_PARTS * part_rows):
            rows = slice(start, start + MAX_PARTS * part_rows)
            points, kept = (
                x[rows],
                activations[kernel("activation_size", like=x)(self.sizes, start) :],
            )
            partial = self._buffer("partial", -(-len(points) // part_rows) * size, x).reshape(
                -1, size
            )
            kernel("energy_backward", like=x)(
                theta, transposed, self.sizes, points, kept, grad_energy[rows], part_rows, partial
            )  # fmt: skip
            kernel("add_parts", like=x)(partial, total, out[:-1])
        out[-1] = 0
        return out

    def _buffer(self, name, size, like, dtype=None):
        """A scratch array kept between calls, beside `like`; grown when a larger one is asked for."""
        dtype = np.dtype(dtype or like.dtype)
        key = (name, dtype, is_device(like))
        if key not in self._workspace or self._workspace[key].size < size:
            self._workspace[key] = empty(size, dtype, like)
        return self._workspace[key][:size]

    def scratch(self):
        """The scratch arrays that there are, for whoever must outlive their being outgrown."""
        return list(self._workspace.values())

    def __repr__(self):
        return f"MLPPrior(dim={self.dim}, widths={self.widths}, dtype={self.dtype}, reference={self.reference})"

    def __getstate__(self):
        return {**self.__dict__, "_workspace": {}}

    def to_arrays(self):
        """What `save` writes: name -> array."""
        arrays = {"sizes": self.sizes, "theta": to_host(self.theta)}
        if self.reference is not None:
            arrays |= files.with_prefix("reference", self.reference.to_arrays())
        return arrays

    @classmethod
    def from_arrays(cls, arrays):
        """The prior whose `to_arrays` gave `arrays`; ValueError where they do not fit together."""
        try:
            sizes, theta = as_array(arrays["sizes"], "sizes"), as_array(arrays["theta"], "theta")
        except KeyError as error:
            raise ValueError(f"not a prior: {error} is missing") from None
        reference = files.without_prefix("reference", arrays)
        good = (
            sizes.dtype.kind in "iu"
            and sizes.ndim == 1
            and sizes.size >= 3
            and sizes[0] == sizes[-1]
            and (sizes > 0).all()
        )
        if not good:
            raise ValueError(f"not a prior: layer sizes {sizes.tolist()}")
        if theta.shape != (count_parameters(sizes),):  # before so many are made
            raise ValueError("not a prior: theta does not fit the layer sizes")
        prior = cls(
            int(sizes[0]),
            [int(width) for width in sizes[1:-1]],
            rng=0,
            reference=domain_from_arrays(reference) if reference else None,
            dtype=theta.dtype,
        )
        if not np.isfinite(theta).all():
            raise ValueError("not a prior: theta is not finite")
        prior.theta[:] = theta
        return prior

    def save(self, path):
        """Write the prior to an npz file, atomically; `fastcl.load_prior` reads it."""
        files.write_npz(path, "prior", self.to_arrays())
