"""Compiled kernels check every index in a run of their own."""

import background
import pytest
from reruns import rerun_compiled


def run_with_bounds_checks():
    # An index error in a parallel loop is not raised: it ends the block, so the result is wrong.
    return rerun_compiled("bounds_checked", "kernels/test_mlp.py", "fourier", NUMBA_BOUNDSCHECK="1")


@pytest.mark.slow
@pytest.mark.background(job=run_with_bounds_checks)
def test_no_index_leaves_its_array():
    assert background.result(run_with_bounds_checks) == 16
