"""Images to patches and back, and the linear transform that makes patches white."""

import numpy as np

from ..backend import DeviceCache, contiguous, kernel, product
from ..files import Storable
from ..validation import as_array, as_count, as_vector

CHUNK_PATCHES = 1 << 15  # patches held at a time
DEVICE_CHUNK_PATCHES = 1 << 18  # likewise on a device, where every band costs some launches


def as_image(image, name="image", least=1):
    """`image` as a float array (H, W) in [0, 1]: 8 or 16 bits are divided by their largest value, colour is refused."""
    image = as_array(image, name)
    if image.ndim != 2:
        hint = "; convert colour, with or without alpha, to grey first" if image.ndim == 3 else ""
        raise ValueError(f"{name} must be a grey image (H, W), got shape {image.shape}{hint}")
    if min(image.shape) < least:
        raise ValueError(
            f"{name} of {image.shape[0]} x {image.shape[1]} pixels is smaller than a patch of {least} x {least}"
        )
    if image.dtype.kind in "ui":
        if image.dtype not in (np.uint8, np.uint16):
            raise TypeError(
                f"{name} must hold uint8, uint16 or floats in [0, 1], got {image.dtype}"
            )
        image = image / np.iinfo(image.dtype).max
    image = np.ascontiguousarray(
        image, np.float32 if image.dtype.newbyteorder("=") == np.float32 else np.float64, like=image
    )
    if not np.isfinite(image).all():
        raise ValueError(f"{name} holds NaN or infinity")
    return image


def extract_patches(image, patch, rows=None):
    """All overlapping patches whose first row is in the slice `rows`, one flat patch a row: (n, patch^2)."""
    windows = np.lib.stride_tricks.sliding_window_view(image, (patch, patch))[rows or slice(None)]
    return windows.reshape(-1, patch * patch)


def add_patches(patches, out, patch, rows=None):
    """Adjoint of `extract_patches`: add every pixel of every patch to the image `out` (H, W)."""
    height, width = out.shape[0] - patch + 1, out.shape[1] - patch + 1
    first, last, _ = (rows or slice(None)).indices(height)
    kernel("add_patches", like=out)(
        contiguous(patches, out.dtype).reshape(last - first, width, patch, patch), first, out
    )


def patch_counts(shape, patch):
    """How many patches cover each pixel, (H, W)."""
    along = [np.convolve(np.ones(size - patch + 1), np.ones(patch)) for size in shape]
    return along[0][:, None] * along[1]


def patch_bands(shape, patch, on_device=False):
    """Slices of patch rows that cut an image into bands of at most about CHUNK_PATCHES patches, or DEVICE_CHUNK_PATCHES."""
    height, width = shape[0] - patch + 1, shape[1] - patch + 1
    step = max(1, (DEVICE_CHUNK_PATCHES if on_device else CHUNK_PATCHES) // width)
    return [slice(start, min(start + step, height)) for start in range(0, height, step)]


class PatchTransform(Storable, kind="patch-transform"):
    """The white coordinates of patches without their mean: principal axes, each divided by its standard deviation.

    Parameters
    ----------
    patch : int
        Side of the patches, at least 2.
    axes : array (patch^2, d)
        Orthonormal columns, orthogonal to the constant patch.
    stds : array (d,)
        Standard deviation of the patches along each axis.

    Raises
    ------
    TypeError, ValueError
        Shapes that do not fit, numbers that are not finite, stds not above zero.

    Examples
    --------
    >>> import numpy as np, fastcl
    >>> patches = np.random.default_rng(0).random((500, 9))  # of 3 x 3 pixels
    >>> transform = fastcl.PatchTransform.fit(patches)
    >>> white, means = transform.forward(patches)
    >>> white.std(axis=0).round(2).tolist(), bool(np.allclose(transform.inverse(white, means), patches))
    ([1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0], True)
    """

    def __init__(self, patch, axes, stds):
        self.patch = as_count(patch, "patch", least=2)
        self.axes = as_array(axes, "axes").astype(np.float64)
        self.stds = as_vector(stds, "stds")
        if self.axes.shape != (self.patch**2, self.stds.size):
            raise ValueError(
                f"axes {self.axes.shape} and stds {self.stds.shape} do not fit patches of side {self.patch}"
            )
        if not np.isfinite(self.axes).all() or not (self.stds > 0).all():
            raise ValueError("axes must be finite, and stds above zero")
        self._cache = DeviceCache()

    def __repr__(self):
        return f"PatchTransform(patch={self.patch}, dim={self.dim})"

    @classmethod
    def fit(cls, patches):
        """Fit to a subsample of flat patches (n, patch^2)."""
        patch = int(np.sqrt(patches.shape[1]))
        patches = np.asarray(
            patches, np.float64
        )  # the constant direction must come out exact to well below a deviation
        centred = patches - patches.mean(axis=1, keepdims=True)
        values, vectors = np.linalg.eigh(product(centred.T, centred) / len(centred))
        if not values[1] > values[-1] * np.finfo(np.float64).eps * 10 * len(values):
            raise ValueError(
                "images have too little variety: their patches do not span all patterns"
            )
        return cls(
            patch, vectors[:, :0:-1], np.sqrt(values[:0:-1])
        )  # the constant patch has eigenvalue zero

    @property
    def dim(self):
        """Number of coordinates, patch^2 - 1."""
        return self.stds.size

    def forward(self, patches):
        """(white coordinates (n, d), means (n, 1)) of flat patches (n, patch^2)."""
        return product(patches, self._matrices(patches)[0]), patches.mean(axis=1, keepdims=True)

    def inverse(self, coordinates, means):
        """The flat patches (n, patch^2) that `forward` took apart."""
        return product(coordinates, self._matrices(coordinates)[1]) + means

    def _matrices(self, like):
        """What `forward` and `inverse` multiply by, in the type of `like` and where it is."""

        def make():
            return (self.axes / self.stds).astype(like.dtype), (self.axes * self.stds).T.astype(
                like.dtype
            )

        return self._cache(like, f"matrices in {like.dtype}", make)

    def to_arrays(self):
        """What a file keeps of the transform: name -> array."""
        return {"patch": self.patch, "axes": self.axes, "deviations": self.stds}

    @classmethod
    def from_arrays(cls, arrays):
        """The transform whose `to_arrays` gave `arrays`."""
        try:
            return cls(int(arrays["patch"]), arrays["axes"], arrays["deviations"])
        except (KeyError, TypeError, OverflowError) as error:
            raise ValueError(f"not a patch transform: {error}") from None
