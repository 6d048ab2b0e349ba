"""The vectors of the kernels follow what Numba compiles for."""

import os
import subprocess
import sys

import background
import pytest
from reruns import rerun_compiled

from fastcl.kernels.lanes import CPU_FEATURES, WIDE_REGISTERS

AVX2 = {"NUMBA_CPU_NAME": "x86-64-v3", "NUMBA_CPU_FEATURES": ""}  # no AVX-512
needs_avx512 = pytest.mark.skipif(
    not WIDE_REGISTERS, reason="without AVX-512 every test is of the narrow kernels"
)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "expected"),
    [({}, 64), (AVX2, 32), ({"NUMBA_CPU_NAME": "generic"}, 32), ({"NUMBA_ENABLE_AVX": "0"}, 32)],
)
@needs_avx512
def test_vectors_are_as_wide_as_the_registers_that_are_compiled_for(settings, expected):
    program = "from fastcl.kernels.lanes import VECTOR_BYTES; print(VECTOR_BYTES)"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | settings,
        check=True,
        capture_output=True,
        text=True,
    )
    assert int(done.stdout) == expected


def run_narrow_kernels():
    return rerun_compiled("narrow_vectors", "kernels", "fourier", **AVX2)


@needs_avx512
@pytest.mark.slow
@pytest.mark.background(job=run_narrow_kernels)
def test_narrow_kernels_are_right():
    # A sum, an adjoint, a Hadamard transform, a product, exponentials, distances and the choice of
    # the least: every inner loop that is written in vectors.
    assert "+avx2" in CPU_FEATURES
    assert background.result(run_narrow_kernels) == 7
