"""The sketch of a whole data set, whatever holds it, in one pass."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..backend import is_device
from ..data.sources import open_source
from ..files import PathLike
from ..fourier.structured import Frequencies, as_frequencies
from ..validation import as_count, as_generator, is_dask
from .checkpoint import POINTS_BETWEEN, resume, run_pass
from .dask import add_dask
from .quantised import draw_dither
from .sketch import Sketch


def sketch(
    x: Any,
    omega: ArrayLike | Frequencies,
    *,
    method: str = "auto",
    accuracy: float | None = None,
    progress: bool = False,
    checkpoint: PathLike | None = None,
    checkpoint_every: int = POINTS_BETWEEN,
    bits: int | None = None,
    rng: int | np.random.Generator | None = None,
) -> Sketch:
    """Sketch a data set in one pass.

    Parameters
    ----------
    x : array (n, d), memory map, HDF5 or Zarr data set, iterable of arrays, path, or dask array
        The points. Anything with a shape, a dtype and slices is read slice by slice. A path names
        a .npy file, which is mapped, or a folder of images, whose points are the patches of
        sqrt(d) x sqrt(d) pixels, in grey from 0 to 1.
    omega : array (m, d), or structured frequencies
        Radians per unit of x. If it is a CuPy array, NumPy points are streamed through its device.
    method : {"auto", "direct", "nufft"}, optional
        "direct" evaluates every pair of a point and a frequency. "nufft" uses finufft's non-uniform
        fast Fourier transform, for d up to 3. "auto" picks the one that should be faster.
    accuracy : float, optional
        Largest absolute error of the values with "nufft": by default 1e-6 for float32 points and
        1e-12 for float64. `feature_sum` has the limits. "direct" ignores it.
    progress : bool
        Whether to show the points, their rate and the time left, if tqdm is installed (the extra
        "demo"). For a dask array, dask's own bar counts the tasks instead; a distributed client
        shows them on its dashboard.
    checkpoint : path, optional
        File that keeps the state of the pass: a sketch of the points counted so far. If it exists,
        the pass resumes from it, to a result that is bitwise identical to an unbroken pass; if
        that pass was complete, nothing is read again.
    checkpoint_every : int
        Points between two checkpoints; one is also written at the end and on an interruption.
    bits : int, optional
        From 1 to 8: every point then has two features per frequency, each quantised to `bits` bits
        with a random dither, instead of one complex exponential. The direct kernels compute them.
        By default features are not quantised.
    rng : int or numpy.random.Generator, optional
        Draws the dither of quantised features. Use the same seed for sketches that will be merged,
        and to resume a pass.

    Returns
    -------
    Sketch
        The moments of x at omega.

    Raises
    ------
    TypeError, ValueError
        x empty, not finite, or of another dimension than omega; a method or an accuracy that
        `feature_sum` refuses; a checkpoint of other data or frequencies; a checkpoint or CuPy
        frequencies for a dask array; `rng` without `bits`, or `bits` with "nufft".
    ImportError
        "nufft" if finufft is not installed, or a dask array if parts of dask are missing.
    OSError
        A file that cannot be read, or a checkpoint that cannot be written.

    Notes
    -----
    This is ``S`` in arXiv 2310.03085. A checkpoint is matched to the data by shape, dtype and a
    checksum of 64 rows; for a folder, by the names and sizes of its files. An iterable must yield
    the same chunks as before, which cannot be checked; each chunk is released before the next one
    is requested.

    Peak memory of the direct method, besides x: one chunk of 131072 rows unless x is a contiguous,
    writable float array, and about 1 KiB + 32 d bytes per frequency; for finufft see `feature_sum`.
    The pages of a memory map are released after every 2^18 rows.

    The blocks of a dask array are summed by the scheduler or the cluster that dask would use; the
    result depends on nothing but the blocks. Each task holds one block of whole rows and runs on
    one thread, so give every worker as many threads as it has cores. For dask arrays "auto" means
    "direct", because a worker may lack finufft.

    Examples
    --------
    >>> import numpy as np, fastcl
    >>> fastcl.sketch(np.zeros((5, 1)), [[1.0], [2.0]]).values
    array([1.+0.j, 1.+0.j])

    A dask array, summed block by block:

    >>> import dask.array
    >>> blocks = dask.array.zeros((5, 1), chunks=(2, 1))
    >>> fastcl.sketch(blocks, [[1.0], [2.0]])
    Sketch(m=2, dim=1, count=5)
    """
    if bits is None and rng is not None:
        raise ValueError("rng draws the dither of quantised features: give bits")
    dither = None if bits is None else draw_dither(len(as_frequencies(omega)), as_generator(rng))
    result = Sketch(omega, method=method, accuracy=accuracy, bits=bits, dither=dither)
    if is_dask(x):
        if checkpoint is not None:
            raise ValueError("checkpoint is not for dask arrays: dask's workers keep their results")
        if is_device(omega):
            raise TypeError(
                "omega is a CuPy array, which dask arrays cannot be sketched with: pass omega.get()"
            )
        add_dask(result, x, progress)
        return result
    source = open_source(x, result.dim, is_device(omega))
    checkpoint_every = as_count(checkpoint_every, "checkpoint_every")
    if checkpoint is not None:
        result = resume(checkpoint, result, source)
    run_pass(
        result,
        source,
        progress=progress,
        checkpoint=checkpoint,
        checkpoint_every=checkpoint_every,
    )
    if result.count == 0:
        raise ValueError("x is empty: the iterable gave no points")
    return result
