"""The vectors of the kernels follow what Numba compiles for."""

import os
import subprocess
import sys

import pytest

from fastcl.kernels.lanes import CPU_FEATURES, WIDE_REGISTERS

AVX2 = {"NUMBA_CPU_NAME": "x86-64-v3", "NUMBA_CPU_FEATURES": ""}  # no AVX-512
CASES = [  # each an inner loop that is written in vectors
    "fourier/test_features.py::test_feature_sum_is_the_sum[numba-float32-1021-257-9]",
    "fourier/test_features.py::test_feature_adjoint_is_the_real_part_of_the_sum[numba-float32-1021-257-9]",
    "fourier/test_structured.py::test_hadamard_maps_are_those_of_the_array[numba-float32-257-130-128]",
    "kernels/test_tile.py::test_add_product_adds_the_product_to_out[True-33-5-100-float32]",
]
needs_avx512 = pytest.mark.skipif(
    not WIDE_REGISTERS, reason="without AVX-512 every test is of the narrow kernels"
)


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


@needs_avx512
def test_narrow_kernels_are_right(run_tests):
    assert "+avx2" in CPU_FEATURES
    run_tests(*(f"tests/{case}" for case in CASES), **AVX2)
