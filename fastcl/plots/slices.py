"""What a picture can show of a density in d dimensions: a line or a plane through a box, with a grid on it."""

from dataclasses import dataclass

import numpy as np

from ..backend import to_host
from ..measures.base import ReferenceMeasure
from ..measures.box import Box
from ..validation import as_count, as_points

DEVIATIONS = 4  # from the centre of a reference measure to the edge of its picture


@dataclass
class Cut:
    """A line or a plane through a box: one or two coordinates vary, on a grid, the others stay at the centre."""

    face: Box  # of the coordinates that vary
    coordinates: tuple
    x: np.ndarray  # (k, d) or (k^2, d): the centres of the cells of the grid
    points: np.ndarray | None  # (n, 1) or (n, 2): data, projected
    is_whole: bool  # whether all coordinates vary

    @classmethod
    def make(cls, prior, box, points, coordinates, points_per_axis):
        """The cut that the arguments of `plots.plot_density` tell, all of them checked."""
        if not callable(getattr(prior, "log_density", None)):
            raise TypeError(f"prior must have a method log_density, got {type(prior).__name__}")
        k, dim = as_count(points_per_axis, "points_per_axis", least=2), getattr(prior, "dim", None)
        if box is not None and not isinstance(box, Box):
            raise TypeError(f"box must be a fastcl.Box, got {box!r}")
        if box is not None and dim not in (None, box.dim):
            raise ValueError(f"box has dimension {box.dim}, the prior {dim}")
        points = (
            None
            if points is None
            else to_host(as_points(points, "points", dim if box is None else box.dim))
        )
        box = default_box(prior, points) if box is None else box
        coordinates = range(min(box.dim, 2)) if coordinates is None else coordinates
        if np.ndim(coordinates) != 1 or not 1 <= len(coordinates) <= 2:
            raise ValueError(f"coordinates must be one or two numbers, got {coordinates!r}")
        chosen = [as_count(i, "coordinates", least=0) for i in coordinates]
        if len(set(chosen)) < len(chosen) or max(chosen) >= box.dim:
            raise ValueError(f"coordinates must be different and below {box.dim}, got {chosen}")
        face = Box(box.low[chosen], box.high[chosen])
        x = np.tile(box.centre, (k ** len(chosen), 1))
        x[:, chosen] = face.grid(k)
        return cls(
            face,
            tuple(chosen),
            x,
            None if points is None else points[:, chosen],
            len(chosen) == box.dim,
        )

    def evaluate(self, function, name):
        """The values of `function`, the method `name` of the prior, on the grid: (k,) or (k, k), first axis first coordinate."""
        values = to_host(function(self.x)).astype(np.float64)
        if values.shape != (len(self.x),) or np.isnan(values).any():
            raise ValueError(f"{name} of prior must give one number a point, none of them NaN")
        return values.reshape((round(len(self.x) ** (1 / self.face.dim)),) * self.face.dim)


def default_box(prior, points):
    """The box just around the points (n, d), where there are any, else about the centre of the reference measure."""
    if points is not None:
        low, high = points.min(axis=0).astype(np.float64), points.max(axis=0).astype(np.float64)
        margin = np.where(high > low, 0.05 * (high - low), 1.0)
        return Box(low - margin, high + margin)
    if isinstance(prior, Box):
        return prior
    reference = prior if isinstance(prior, ReferenceMeasure) else getattr(prior, "reference", None)
    if reference is None:
        raise ValueError(
            "box is needed for a prior without a reference measure where no points are given"
        )
    reach = DEVIATIONS * reference.sample(4096, 0).std(axis=0)
    return Box(reference.centre - reach, reference.centre + reach)
