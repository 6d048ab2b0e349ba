"""Functions of points that also take a single point, of the package's classes and of a user's."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from ..backend import contiguous
from ..validation import as_array, as_rows, work_dtype

# The methods, and for each of their results the number of axes: 1 for (n,), 2 for (n, d).
METHODS = {
    "energy": (1,),
    "energy_grad": (2,),
    "energy_and_grad": (1, 2),
    "log_density": (1,),
    "log_density_grad": (2,),
}
OVERFLOW: dict[str, Any] = {"over": "ignore", "invalid": "ignore"}  # for what is checked later


class Pointwise:
    """Base of classes with functions of points x (n, d), which their methods take as a float array.

    The methods may be called with one point (d,) too: their results then lack the first axis.
    Results of other shapes are refused, and underflow is no error, whatever NumPy is set to. So are
    infinity and NaN, if `strict`: classes whose values are finite everywhere say so.
    """

    dim: Any
    strict = False

    def __init_subclass__(cls, **settings: Any) -> None:
        super().__init_subclass__(**settings)
        for name in METHODS:
            method = vars(cls).get(name)
            if inspect.isfunction(method):
                setattr(cls, name, _of_points(method))


def _of_points(method: Callable) -> Callable:
    axes = METHODS[method.__name__]

    @functools.wraps(method)
    def checked(self: Any, x: Any) -> Any:
        x = as_array(x, "x")
        single = x.shape == (self.dim,)
        points = as_rows(x[None] if single else x, "x", self.dim)
        points = contiguous(points, work_dtype(points))
        with np.errstate(under="ignore", **OVERFLOW if self.strict else {}):
            found = method(self, points)
        results = found if len(axes) > 1 else (found,)
        for result, axis in zip(results, axes, strict=True):
            if np.shape(result) != points.shape[:axis]:
                raise ValueError(
                    f"{type(self).__name__}.{method.__name__} must return an array of shape "
                    f"{points.shape[:axis]} for x of shape {points.shape}, got {np.shape(result)}"
                )
            if self.strict and not np.isfinite(result).all():
                raise ValueError(
                    f"x is so large that {method.__name__} overflows in {points.dtype}: change the "
                    "unit of the data"
                )
        if not single:
            return found
        return found[0] if len(axes) == 1 else tuple(result[0] for result in results)

    return checked
