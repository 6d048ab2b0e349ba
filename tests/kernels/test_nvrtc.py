"""Every CUDA kernel compiles without spills, takes its Numba twin's arguments, and has been run."""

import inspect
import os
import re
from concurrent.futures import ThreadPoolExecutor
from itertools import product

import cuda_host
import nvrtc
import pytest

from fastcl import backend
from fastcl.kernels import cuda
from fastcl.kernels.launchers import LAUNCHERS, VARIANTS

ARCHITECTURES = ("sm_75", "sm_80", "sm_90", "sm_100")
KERNEL = re.compile(r"__global__ void .*?(?<!_)\b((?!__)\w+)\(([^()]*)\)\s*\{", re.DOTALL)
# Arguments of a twin that its CUDA kernel does not take.
UNUSED = {
    "add_patches": ("starts", "strides"),  # among the sizes, axis by axis
    "energy_forward": {
        "transposed",
        "part_rows",
    },  # no narrow layers apart, and blocks of rows of one size
    "energy_grad": {"part_rows"},
    "transpose_weights": {"widest"},  # all matrices
    # axis by axis among the sizes, and one slab
    "denoise_similar": {"sizes", "patch", "half", "slab", "out_offsets"},
    "harmonic_sum": {"harmonics"},  # parameters of the template
    "harmonic_adjoint": {"harmonics"},
}


@pytest.fixture(scope="module")
def compilations():
    """(file, architecture) -> the future of its compilation by NVRTC, on all cores."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield {
            key: pool.submit(nvrtc.compile_source, *key) for key in product(VARIANTS, ARCHITECTURES)
        }


@pytest.mark.slow
@pytest.mark.skipif(
    nvrtc.library() is None, reason="NVRTC is missing: pip install nvidia-cuda-nvrtc"
)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_compiles_without_spills(compilations, name, architecture):
    compiled, cubin = compilations[name, architecture].result()
    assert set(compiled) == set(VARIANTS[name])
    assert cubin
    for variant, kernel in compiled.items():
        assert (kernel.stack, kernel.spills) == (0, 0), variant
        assert 0 < kernel.registers <= 255, variant


@pytest.mark.skipif(
    nvrtc.library() is None, reason="NVRTC is missing: pip install nvidia-cuda-nvrtc"
)
def test_errors_of_the_compiler_name_the_file(monkeypatch):
    text = cuda.source("random")
    monkeypatch.setattr(cuda, "source", lambda name: text.replace("philox(", "phil0x(", 1))
    with pytest.raises(RuntimeError, match=r"random\.cu\(\d+\): error"):
        nvrtc.compile_source.__wrapped__("random", "sm_90")


def parameters_of(function):
    names = list(inspect.signature(getattr(function, "py_func", function)).parameters)
    return [name for name in names if name != "tasks"]  # which the pool of threads passes


@pytest.mark.parametrize("name", LAUNCHERS)
def test_a_launcher_takes_the_arguments_of_its_twin(name):
    twin, launcher = parameters_of(backend._NUMBA[name]), parameters_of(LAUNCHERS[name])
    assert launcher[: len(twin)] == twin
    for extra in launcher[len(twin) :]:
        assert (
            inspect.signature(LAUNCHERS[name]).parameters[extra].default
            is not inspect.Parameter.empty
        )


def kernels():
    """Name -> parameters of every CUDA kernel, from the sources."""
    found = {}
    for name in VARIANTS:
        text = re.sub(r"//[^\n]*", "", cuda.source(name))
        for kernel, parameters in KERNEL.findall(text):
            found[kernel] = [
                re.findall(r"\w+", parameter)[-1] for parameter in parameters.split(",")
            ]
    return found


def twin(kernel):
    return kernel.removesuffix("_tiled").removesuffix("_tensor")


def test_the_sources_hold_the_kernels_that_the_variants_name():
    assert set(kernels()) == {
        variant.partition("<")[0] for variants in VARIANTS.values() for variant in variants
    }


@pytest.mark.parametrize("kernel", sorted(name for name in kernels() if twin(name) in LAUNCHERS))
def test_a_kernel_takes_the_arguments_of_its_twin_and_then_sizes(kernel):
    name = twin(kernel)
    expected = [
        argument
        for argument in parameters_of(backend._NUMBA[name])
        if argument not in UNUSED.get(name, ())
    ]
    assert kernels()[kernel][: len(expected)] == expected


@pytest.mark.last
@pytest.mark.skipif(cuda_host.COMPILER is None, reason="g++ is missing")
def test_every_variant_was_run(request):
    """Looks back on all other tests: with only some of them it means nothing."""
    option = request.config.option
    if option.keyword or option.markexpr or any(".py" in name for name in request.config.args):
        pytest.skip("only all tests together run every variant")
    variants = {variant for variants in VARIANTS.values() for variant in variants}
    assert variants == set(cuda_host.HostKernel.launches) & variants, variants - set(
        cuda_host.HostKernel.launches
    )
