"""The same bits in programs that fork, spawn or use threads, beside each layer of Numba."""

import functools
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[1] / "helpers" / "other_program.py"
LAYERS = ["omp", "workqueue", "tbb"]
WAYS = [
    *("fork before", "fork", "spawn", "forkserver", "threads", "loky", "multiprocessing"),
    *("dask", "learn"),
]


@functools.cache
def run(layer):
    """The lines and the errors of the program beside one layer."""
    done = subprocess.run(
        [sys.executable, "-W", "error", PROGRAM],
        env=os.environ | {"NUMBA_THREADING_LAYER": layer, "NUMBA_NUM_THREADS": "2"},
        capture_output=True,
        text=True,
        timeout=200,
    )
    return done.stdout.splitlines(), done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("way", WAYS)
def test_the_same_bits(layer, way):
    if importlib.util.find_spec("joblib") is None or importlib.util.find_spec("dask") is None:
        pytest.skip("joblib or dask is not installed")
    lines, errors = run(layer)
    if "No threading layer could be loaded" in errors:
        pytest.skip(f"Numba cannot load the layer {layer} here")
    assert way in lines, errors
    assert f"layer {layer}" in lines
