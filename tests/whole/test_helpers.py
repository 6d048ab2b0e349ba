"""The helpers of the tests fail when they should."""

import numpy as np
import pytest
from bounds import assert_within


def test_arrays_within_their_bounds_pass():
    assert_within([1.0, 2.0], [1.5, 2.0], [0.5, 0.0])
    assert_within(np.array([1 + 1j, 0]), 1, 1)
    assert_within(np.zeros((0, 3)), 1, 0)


@pytest.mark.parametrize(
    ("actual", "bound", "message"),
    [
        ([0.5, 3.0, -2.0], 1, r"2 of 3 .* at \(1,\): 3.0 instead of 0, .* 3 times the bound 1$"),
        ([0.5, 3.0, -2.0], [1, 3, 1], r"1 of 3 .* at \(2,\): -2.0 .* 2 times the bound 1$"),
        ([[0.0], [1e-300]], 0, r"1 of 2 .* at \(1, 0\): .* inf times the bound 0$"),
        ([0.0, np.nan], 1, r"1 of 2 .* at \(1,\): nan"),
        (1.0, np.nan, "1 of 1"),
    ],
)
def test_the_worst_element_is_named(actual, bound, message):
    with pytest.raises(AssertionError, match=message):
        assert_within(actual, 0, bound)
