"""Device memory besides arguments and results, counted by the stand-in, does not grow with rows."""

import importlib

import cuda_host
import numpy as np
import pytest
from cuda_host import Memory

import fastcl
from fastcl.data import patches
from fastcl.kernels.launchers import features, mixtures, mlp
from fastcl.learning import cuda_graph

DIM = 3


@pytest.fixture
def device(monkeypatch):
    """The stand-in for a device that two blocks fill, so that every buffer is at its limit."""
    if cuda_host.COMPILER is None:
        pytest.skip("g++ is missing: the CUDA kernels cannot be built for the CPU")
    monkeypatch.setattr("fastcl.kernels.cuda.cupy", lambda: cuda_host.module)
    from fastcl.kernels import cuda

    cuda.function.cache_clear()
    for module in (features, mixtures, mlp):
        monkeypatch.setattr(module, "BLOCKS", 2, raising=False)
    yield cuda_host.module
    cuda.function.cache_clear()


def extra(function, *arguments):
    """Peak number of bytes besides the arguments and the result while `function` runs."""
    function(*arguments)  # fills the caches that are kept between calls
    before = Memory.live
    Memory.reset()
    result = function(*arguments)
    return Memory.peak - before - getattr(result, "nbytes", 0)


OMEGA = np.random.default_rng(0).standard_normal((70, DIM))
PRIOR = fastcl.MLPPrior(DIM, (8, 17), rng=0)
MIXTURE = fastcl.GaussianScaleMixture(np.eye(DIM), [0.5, 1.5], [0.6, 0.4])
FUNCTIONS = {
    "feature_sum": lambda x: fastcl.feature_sum(x, OMEGA),
    "feature_adjoint": lambda x: fastcl.feature_adjoint(x, OMEGA, np.ones(70)),
    "sketch": lambda x: fastcl.sketch(x, OMEGA),
    "denoise, map": lambda x: fastcl.denoise(PRIOR, x, 0.3, n_iter=2, n_samples=2),
    "denoise, mean": lambda x: fastcl.denoise(PRIOR, x, 0.3, estimator="mean", n_samples=2),
    "denoise, mixture": lambda x: fastcl.denoise(MIXTURE, x, 0.3, estimator="mean"),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_memory_does_not_grow_with_the_rows(device, monkeypatch, name):
    monkeypatch.setattr(
        importlib.import_module("fastcl.denoising.vectors"), "DEVICE_CHUNK_VALUES", 64 * 2 * DIM
    )
    x = np.random.default_rng(0).standard_normal((600, DIM)).astype(np.float32)
    few, many = (extra(FUNCTIONS[name], device.asarray(rows)) for rows in (x[:200], x))
    # Checks of all rows at once take a few bytes per row: a flag, a result before its last copy.
    assert many - few <= 400 * (DIM * 4 + 1)
    assert many < 1 << 20


def test_energies_take_the_parameters_and_no_more(device):
    x = np.random.default_rng(0).standard_normal((640, DIM)).astype(np.float32)
    for function in (PRIOR.energy, PRIOR.energy_grad):
        few, many = (extra(function, device.asarray(rows)) for rows in (x[:320], x))
        assert many - few <= 320 * (
            DIM * 4 + 4 + DIM
        )  # the energies, the copy of the gradient's finite flags
        assert few <= 4 * PRIOR.theta.nbytes + 320 * (DIM * 4 + 4 + DIM)


def test_an_image_takes_a_few_images_and_a_band(device, monkeypatch):
    monkeypatch.setattr(patches, "DEVICE_CHUNK_PATCHES", 300)
    transform = fastcl.PatchTransform.fit(np.random.default_rng(0).standard_normal((600, 9)))
    model = fastcl.SignalModel(
        transform, fastcl.GaussianScaleMixture(np.eye(8), [0.5, 1.5], [0.6, 0.4])
    )
    noisy = np.random.default_rng(0).random((60, 40))
    small, large = (
        extra(fastcl.denoise_image, model, device.asarray(image), 0.1)
        for image in (noisy[:30], noisy)
    )
    assert large - small <= 6 * noisy[30:].nbytes


def test_a_run_takes_no_more_for_more_steps(device):
    box = fastcl.Box([-1] * DIM, [1] * DIM)
    sketch = fastcl.sketch(np.random.default_rng(0).uniform(-1, 1, (50, DIM)), OMEGA)
    peaks = []
    for steps in (2, 5):
        prior = fastcl.MLPPrior(DIM, (8,), rng=0)
        prior.theta = device.asarray(prior.theta)
        before = Memory.live
        Memory.reset()
        fastcl.learn(prior, sketch, box, log_scale="learned", n_points=40, n_iter=steps, rng=0)
        peaks.append(Memory.peak - before)
        del prior
    assert peaks[0] == peaks[1] < 1 << 20
    assert cuda_graph.ROWS < 1 << 10  # the tables of rates and of the history
