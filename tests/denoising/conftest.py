"""What the tests of photographs share: models learned from one sketch, and cheap defaults."""

from types import SimpleNamespace

import pytest
from pictures import LEARNING, PATCH, do_little, photograph
from problems import threads

import fastcl


@pytest.fixture(scope="session")
def trained():
    """A sketch of some photographs, and models: its reference, a mixture, a network."""
    with pytest.MonkeyPatch.context() as patch, threads(1):
        do_little(patch)
        sketch = fastcl.sketch_images([photograph(seed) for seed in range(4)], PATCH, m=40, rng=0)
        models = {"reference": fastcl.SignalModel(sketch.transform, sketch.reference)}
        for name, settings in LEARNING.items():
            models[name] = fastcl.learn_patches(sketch, rng=0, **settings)
    return SimpleNamespace(sketch=sketch, models=models)


@pytest.fixture
def small_fit(monkeypatch):
    do_little(monkeypatch)


@pytest.fixture
def one_thread():
    with threads(1):
        yield
