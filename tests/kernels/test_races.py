"""The CUDA kernels under ThreadSanitizer: barriers must order what threads do to shared memory."""

import os
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import background
import cuda_host
import pytest
from reruns import n_passed, rerun

from fastcl.kernels import cuda

pytestmark = [pytest.mark.slow, pytest.mark.device]

FLAGS = ["-fsanitize=thread", "-g1"]
# The files of the kernels in the tests that run again here: one or two cases per kernel, of an odd
# size that takes several blocks and several rounds of each.
LIBRARIES = ["features", "features_tensor", "mlp", "mlp_weights"]
LIBRARIES += ["objective", "optimizers", "quantised", "random", "similar"]


def find_sanitizer():
    """The runtime of ThreadSanitizer, or None."""
    if cuda_host.COMPILER is None:
        return None
    path = subprocess.run(
        [cuda_host.COMPILER, "-print-file-name=libtsan.so"], capture_output=True, text=True
    ).stdout.strip()
    return path if os.path.isabs(path) else None


def run_under_sanitizer(marker, **settings):
    return rerun(
        f"{marker} and device",
        "kernels",
        "fourier",
        "sketching",
        "learning",
        "denoising",
        CUDA_HOST_FLAGS=" ".join(FLAGS),
        LD_PRELOAD=find_sanitizer(),
        TSAN_OPTIONS="exitcode=66 ignore_noninstrumented_modules=1",
        **settings,
    )


def run_kernels():
    # The compiler is slow under the sanitizer's runtime: build here, on all cores.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(lambda name: cuda_host.build(name, FLAGS), LIBRARIES))
    return run_under_sanitizer("races")


def run_without_barriers():
    with tempfile.TemporaryDirectory() as folder:
        kernels = Path(folder) / "kernels"
        shutil.copytree(cuda.FOLDER, kernels, ignore=shutil.ignore_patterns("__pycache__"))
        path = kernels / "features.cu"
        text = path.read_text()
        path.write_text(text.replace("__syncthreads();", ""))
        assert text != path.read_text()
        return run_under_sanitizer("missing_barrier", CUDA_HOST_KERNELS=str(kernels))


@pytest.fixture(autouse=True)
def sanitizer():
    if find_sanitizer() is None:
        pytest.skip("ThreadSanitizer is missing")


@pytest.mark.background(job=run_kernels)
def test_no_kernel_races():
    done = background.result(run_kernels)
    assert "data race" not in done.stderr, done.stderr[:5000]
    assert n_passed(done) == 9


@pytest.mark.background(job=run_without_barriers)
def test_a_missing_barrier_is_a_race():
    assert "data race" in background.result(run_without_barriers).stderr
