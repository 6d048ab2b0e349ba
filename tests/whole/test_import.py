"""What `import fastcl` costs, how objects are printed, and what public names document."""

import inspect
import os
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np

import fastcl
from fastcl.kernels.cache import cache_folder

CHILD = """
import sys
import fastcl
from fastcl.backend import _NUMBA
slow = {"scipy.stats", "scipy.optimize", "scipy.signal", "scipy.ndimage"}
slow |= {"matplotlib", "skimage", "tqdm", "finufft"}
compiled = [name for name, kernel in _NUMBA.items() if getattr(kernel, "signatures", None)]
print(sorted(slow & set(sys.modules)), compiled)
"""


def test_import_compiles_nothing_and_loads_nothing_slow():
    done = subprocess.run([sys.executable, "-c", CHILD], check=True, capture_output=True, text=True)
    assert done.stdout == "[] []\n"


def test_without_the_compiler_one_line_says_so(tmp_path):
    np.save(tmp_path / "x.npy", np.arange(9.0)[:, None])
    done = subprocess.run(
        [sys.executable, "-m", "fastcl", "sketch", str(tmp_path / "x.npy"), "-o", "s.npz"],
        env=os.environ | {"NUMBA_DISABLE_JIT": "1"},
        capture_output=True,
        text=True,
    )
    line = "fastcl sketch: error: fastcl needs Numba's compiler: unset NUMBA_DISABLE_JIT\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", line)


def test_compiled_kernels_are_kept_outside_the_package(monkeypatch):
    # Else they would stay behind when it is uninstalled, as an empty package.
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    assert not cache_folder().is_relative_to(Path(fastcl.__file__).parent)


def test_all_lists_every_public_name():
    public = {
        name
        for name, thing in vars(fastcl).items()
        if not name.startswith("_") and not inspect.ismodule(thing)
    }
    assert len(fastcl.__all__) == len(set(fastcl.__all__))
    assert set(fastcl.__all__) == public


def test_objects_print_what_they_are():
    cosine = fastcl.Cosine(9, 0.1)
    box = fastcl.Box([-1, 0], [1, 2.5])
    normal = fastcl.Gaussian([0, 0], np.eye(2))
    mixture = fastcl.GaussianMixture([1, 1], np.zeros((2, 3)), [np.eye(3)] * 2)
    scales = fastcl.GaussianScaleMixture(np.eye(2), [1.0, 2.0], [0.5, 0.5])
    both = fastcl.MixtureOfScaleMixtures([np.eye(2)], [1, 2], np.ones((1, 2)))
    entropy = fastcl.MaxEntropyPrior([[1.0, 0.0]], [0.3], normal)
    network = fastcl.MLPPrior(2, (4,), rng=0)
    transform = fastcl.PatchTransform(2, np.eye(4)[:, 1:], np.ones(3))
    patches = fastcl.PatchSketch(transform, mixture, fastcl.Sketch(np.ones((5, 3))))
    expected = """
Adam(step_size=0.01, beta1=0.9, beta2=0.999, epsilon=1e-08, schedule=Cosine(n_iter=9, final=0.1))
SGD(step_size=0.1, momentum=0.0, nesterov=False, schedule=Constant())
SGD(step_size=0.1, momentum=0.5, nesterov=True, schedule=sqrt)
Diminishing(offset=100.0, power=0.6)
Box(low=[-1.0, 0.0], high=[1.0, 2.5])
Box(dim=64)
Gaussian(dim=2)
GaussianMixture(k=2, dim=3)
GaussianScaleMixture(scales=2, dim=2)
MixtureOfScaleMixtures(k=1, scales=2, dim=2)
MaxEntropyPrior(m=1, dim=2, reference=Gaussian(dim=2))
MLPPrior(dim=2, widths=(4,), dtype=float32, reference=None)
Chains(domain=Gaussian(dim=2), n_points=7)
PatchTransform(patch=(2, 2), dim=3)
SignalModel(PatchTransform(patch=(2, 2), dim=3), prior=GaussianMixture(k=2, dim=3))
"""
    objects = [
        fastcl.Adam(0.01, schedule=cosine),
        fastcl.SGD(0.1),
        fastcl.SGD(0.1, 0.5, nesterov=True, schedule=np.sqrt),
        fastcl.Diminishing(),
        box,
        fastcl.Box(np.zeros(64), np.ones(64)),
        normal,
        mixture,
        scales,
        both,
        entropy,
        network,
        fastcl.Chains(normal, 7),
        transform,
        fastcl.SignalModel(transform, mixture),
    ]
    assert [repr(thing) for thing in objects] == expected.split("\n")[1:-1]
    assert repr(fastcl.GaussianisedPrior(entropy, scales)) == (
        "GaussianisedPrior(prior=MaxEntropyPrior(m=1, dim=2, reference=Gaussian(dim=2)), "
        "reference=GaussianScaleMixture(scales=2, dim=2))"
    )
    assert repr(patches) == (
        "PatchSketch(PatchTransform(patch=(2, 2), dim=3), reference=GaussianMixture(k=2, dim=3), "
        "sketch=Sketch(m=5, dim=3, count=0))"
    )


def test_every_class_has_a_repr_of_its_own():
    classes = [thing for thing in vars(fastcl).values() if inspect.isclass(thing)]
    assert len(classes) > 15
    assert [each.__name__ for each in classes if each.__repr__ is object.__repr__] == []


# Shown in the examples of the functions that use them: `learn_image_prior`, `learn_audio_prior`.
WITHOUT_EXAMPLES = {
    "sketch_images",
    "learn_patches",
    "denoise_image",
    "sketch_audio",
    "PatchSketch",
    "SignalModel",
}
PROTOCOLS = {"ReferenceMeasure", "Prior"}
PLAIN = {"Constant", "LearnResult", "SearchEffort"}
WITHOUT_ARGUMENTS = {"get_num_threads"}
MADE_ELSEWHERE = {"PatchSketch", "SignalModel", "ReferenceMeasure", "Prior"}  # list attributes


def test_public_names_document_parameters_errors_and_an_example():
    public = {
        name: thing
        for name, thing in vars(fastcl).items()
        if callable(thing) and thing.__module__.startswith("fastcl")
    }
    assert len(public) > 40
    lacking = [
        (name, section)
        for name, thing in public.items()
        for section, exempt in (
            ("Parameters", PLAIN | MADE_ELSEWHERE | WITHOUT_ARGUMENTS),
            ("Raises", PLAIN | PROTOCOLS | WITHOUT_ARGUMENTS),
            ("Examples", PLAIN | WITHOUT_EXAMPLES),
        )
        if name not in exempt
        and f"\n{section}\n{'-' * len(section)}\n" not in inspect.getdoc(thing)
    ]
    assert lacking == []
