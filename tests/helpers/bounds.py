"""Comparison of arrays with a bound for every element."""

import numpy as np


def assert_within(actual, expected, bound):
    """|actual - expected| <= bound in every element, or an error that shows the worst one.

    The arguments broadcast against each other. NaN is never within a bound.
    """
    actual, expected, bound = np.broadcast_arrays(actual, expected, bound)
    error = np.abs(actual - expected)
    within = error <= bound
    if within.all():
        return
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(within, 0, error / bound)
    ratio[np.isnan(ratio)] = np.inf
    worst = np.unravel_index(ratio.argmax(), ratio.shape)
    raise AssertionError(
        f"{np.count_nonzero(~within)} of {within.size} elements are out of bounds; the worst is at "
        f"{tuple(map(int, worst))}: {actual[worst]} instead of {expected[worst]}, "
        f"an error of {error[worst]:.3g}, {ratio[worst]:.3g} times the bound {bound[worst]:.3g}"
    )
