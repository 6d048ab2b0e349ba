"""The CUDA kernels under ThreadSanitizer: threads of a block that share memory must be ordered by barriers."""

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import cuda_host
import pytest
from conftest import TESTS

# One or two cases a kernel, of an odd size that takes several blocks and several rounds of each.
CASES = [
    "fourier/test_features.py::test_feature_sum_is_the_sum[cuda-host-float32-1021-31-3]",
    "fourier/test_features.py::test_feature_sum_is_the_sum[cuda-host-float32-1021-257-9]",
    "fourier/test_features.py::test_feature_adjoint_is_the_real_part_of_the_sum[cuda-host-float32-257-31-1]",
    "fourier/test_features.py::test_feature_adjoint_is_the_real_part_of_the_sum[cuda-host-float32-1021-257-9]",
    "sketching/test_quantised.py::test_a_part_of_many_stages_is_the_sum_of_them[cuda-host-301-5-35-float32-3]",
    "learning/test_cuda_graph.py::test_a_run_gives_the_memory_of_its_graph_back[cuda-host]",
    "kernels/test_mlp.py::test_gradient_in_theta_is_the_oracles[cuda-host-float32-16-widths2-1021]",
    "kernels/test_mlp.py::test_gradient_in_x_is_the_oracles[cuda-host-float32-16-widths2-1021]",
]
FLAGS = ["-fsanitize=thread", "-g1"]
LIBRARIES = [
    "features",
    "features_tensor",
    "mlp",
    "objective",
    "optimizers",
    "quantised",
    "random",
]  # of the cases


def find_sanitizer():
    """The runtime of ThreadSanitizer, or None."""
    if cuda_host.COMPILER is None:
        return None
    path = subprocess.run(
        [cuda_host.COMPILER, "-print-file-name=libtsan.so"], capture_output=True, text=True
    ).stdout.strip()
    return path if os.path.isabs(path) else None


def run(cases, folder, **environment):
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-s",
        "-p",
        "no:cacheprovider",
        *(str(TESTS / case) for case in cases),
    ]
    settings = {
        "CUDA_HOST_FLAGS": " ".join(FLAGS),
        "LD_PRELOAD": find_sanitizer(),
        "TSAN_OPTIONS": "exitcode=66 ignore_noninstrumented_modules=1",
    }
    return subprocess.run(
        command,
        env={**os.environ, **settings, **environment},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=600,
    )


@pytest.fixture(autouse=True)
def sanitizer():
    if find_sanitizer() is None:
        pytest.skip("ThreadSanitizer is missing")


def test_no_kernel_races():
    with ThreadPoolExecutor(
        os.cpu_count()
    ) as pool:  # here and at once, not one by one with the runtime in the compiler too
        list(pool.map(lambda name: cuda_host.build(name, FLAGS), LIBRARIES))
    done = run(CASES, TESTS.parent)
    assert "data race" not in done.stderr, done.stderr[:5000]
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
    assert f"{len(CASES)} passed" in done.stdout


def test_a_missing_barrier_is_a_race(tmp_path):
    from fastcl.kernels import cuda

    folder = tmp_path / "kernels"
    shutil.copytree(cuda.FOLDER, folder, ignore=shutil.ignore_patterns("__pycache__"))
    path = folder / "features.cu"
    text = path.read_text()
    path.write_text(text.replace("__syncthreads();", ""))
    assert text != path.read_text()
    done = run(CASES[:1], TESTS.parent, CUDA_HOST_KERNELS=str(folder))
    assert "data race" in done.stderr
