"""What a picture shows of a density in d dimensions: a line or a plane through a box, as a grid."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..backend import to_host
from ..measures.base import ReferenceMeasure
from ..measures.box import Box
from ..validation import as_count, as_points

N_STDS = 4  # standard deviations from the centre of a reference measure to the edge of its picture


@dataclass
class Slice:
    """A line or a plane through a box: one or two coordinates vary, the others stay at the centre.

    Attributes
    ----------
    face : Box
        The box of the coordinates that vary.
    coordinates : tuple of int
        Their indices.
    x : array (k, d) or (k^2, d)
        Centres of the cells of a grid on the slice.
    points : array (n, 1) or (n, 2), or None
        The data, projected onto the coordinates.
    is_whole : bool
        Whether all coordinates vary.
    """

    face: Box
    coordinates: tuple[int, ...]
    x: NDArray
    points: NDArray | None
    is_whole: bool

    @classmethod
    def make(
        cls,
        prior: Any,
        box: Box | None,
        points: ArrayLike | None,
        coordinates: Sequence[int] | None,
        points_per_axis: int,
    ) -> Slice:
        """Check the arguments of `plots.plot_density` and build the slice that they describe."""
        if not callable(getattr(prior, "log_density", None)):
            raise TypeError(f"prior must have a method log_density, got {type(prior).__name__}")
        k = as_count(points_per_axis, "points_per_axis", least=2)
        box, data = _as_box(prior, box, points)
        coordinates = range(min(box.dim, 2)) if coordinates is None else coordinates
        if np.ndim(coordinates) != 1 or not 1 <= len(coordinates) <= 2:
            raise ValueError(f"coordinates must be one or two numbers, got {coordinates!r}")
        chosen = [as_count(i, "coordinates", least=0) for i in coordinates]
        if len(set(chosen)) < len(chosen) or max(chosen) >= box.dim:
            raise ValueError(f"coordinates must be different and below {box.dim}, got {chosen}")
        face = Box(box.low[chosen], box.high[chosen])
        x = np.tile(box.centre, (k ** len(chosen), 1))
        x[:, chosen] = face.grid(k)
        projected = None if data is None else data[:, chosen]
        return cls(face, tuple(chosen), x, projected, len(chosen) == box.dim)

    def evaluate(self, function: Callable[[NDArray], NDArray], name: str) -> NDArray:
        """Evaluate `function`, the method `name` of the prior, on the grid: (k,) or (k, k).

        The first axis of the result is the first of the coordinates.
        """
        values = to_host(function(self.x)).astype(np.float64)
        if values.shape != (len(self.x),) or np.isnan(values).any():
            raise ValueError(f"{name} of prior must give one number per point, none of them NaN")
        return values.reshape((round(len(self.x) ** (1 / self.face.dim)),) * self.face.dim)


def _as_box(prior: Any, box: Box | None, points: ArrayLike | None) -> tuple[Box, NDArray | None]:
    """The box of a picture, the default one if None, and the points (n, d) on the host."""
    dim = getattr(prior, "dim", None)
    if box is not None and not isinstance(box, Box):
        raise TypeError(f"box must be a fastcl.Box, got {box!r}")
    if box is not None and dim not in (None, box.dim):
        raise ValueError(f"box has dimension {box.dim}, the prior {dim}")
    dim = dim if box is None else box.dim
    data = None if points is None else to_host(as_points(points, "points", dim))
    return default_box(prior, data) if box is None else box, data


def default_box(prior: Any, points: NDArray | None) -> Box:
    """The box just around the points (n, d); without points, around the reference measure."""
    if points is not None:
        low = points.min(axis=0).astype(np.float64)
        high = points.max(axis=0).astype(np.float64)
        margin = np.where(high > low, 0.05 * (high - low), 1.0)
        return Box(low - margin, high + margin)
    if isinstance(prior, Box):
        return prior
    reference = prior if isinstance(prior, ReferenceMeasure) else getattr(prior, "reference", None)
    if reference is None:
        raise ValueError("box is needed for a prior without a reference measure and without points")
    reach = N_STDS * reference.sample(4096, 0).std(axis=0)
    return Box(reference.centre - reach, reference.centre + reach)
