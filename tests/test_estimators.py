"""The estimators: scikit-learn's own checks, any units, chunks, and a missing scikit-learn."""

import subprocess
import sys

import numpy as np
import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from fastcl.estimators import SketchedGaussianMixture, SketchedKMeans

CENTRES = np.array([[-6.0, 0.0], [5.0, 6.0], [4.0, -6.0]])


@pytest.mark.slow
@parametrize_with_checks(
    [SketchedKMeans(3, m=20, random_state=0), SketchedGaussianMixture(2, m=20, random_state=0)]
)
def test_scikit_learns_checks(estimator, check):
    check(estimator)


def blobs(rng, n=900):
    labels = np.arange(n) % 3
    return CENTRES[labels] + rng.standard_normal((n, 2)), labels


@pytest.mark.parametrize("units", [(1.0, 0.0), (1e-6, 3.0), (1e6, -1e8)])
def test_clusters_are_found_in_any_units(rng, units):
    x, labels = blobs(rng)
    x = units[0] * x + units[1]
    model = SketchedKMeans(3, random_state=0).fit(x)
    nearest = np.linalg.norm(
        model.cluster_centers_[:, None] - units[0] * CENTRES - units[1], axis=2
    ).argmin(axis=1)
    assert sorted(nearest) == [0, 1, 2]
    # The clusters are ten standard deviations apart.
    np.testing.assert_array_equal(nearest[model.labels_], labels)
    sse = ((x - model.cluster_centers_[model.labels_]) ** 2).sum()
    assert -model.score(x) == pytest.approx(sse, rel=1e-6)
    assert sse < 1.1 * 2 * units[0] ** 2 * len(x)  # two coordinates with variance one per point


def test_a_mixture_is_found_in_the_units_of_its_features(rng):
    x, labels = blobs(rng, 3000)
    x = x * [1e3, 1e-3] + [5e3, 0]
    model = SketchedGaussianMixture(3, random_state=0).fit(x)
    found = (model.means_ - [5e3, 0]) / [1e3, 1e-3]
    nearest = np.linalg.norm(found[:, None] - CENTRES, axis=2).argmin(axis=1)
    np.testing.assert_array_equal(nearest[model.predict(x)], labels)
    # With 1000 points per component a variance has standard error 0.045: five of these, and as
    # much again for the sketch.
    np.testing.assert_allclose(model.covariances_ / [1e6, 1e-6], 1, atol=0.4)
    np.testing.assert_allclose(model.predict_proba(x).sum(axis=1), 1)
    assert model.score(x) == pytest.approx(model.score_samples(x).mean())


def test_chunks_make_the_sketch_of_all_points(rng):
    x, _ = blobs(rng)
    model = SketchedKMeans(3, m=60, random_state=0)
    for chunk in np.array_split(x, 3):
        assert model.partial_fit(chunk) is model
    assert model.sketch_.count == 900
    order = np.linalg.norm(model.cluster_centers_[:, None] - CENTRES, axis=2).argmin(axis=1)
    assert sorted(order) == [0, 1, 2]


def test_without_scikit_learn_one_line_says_what_to_install():
    child = "import sys\nsys.modules['sklearn'] = None\nimport fastcl\nimport fastcl.estimators"
    done = subprocess.run([sys.executable, "-c", child], capture_output=True, text=True)
    assert "ImportError: scikit-learn is missing" in done.stderr.splitlines()[-1]
    assert 'pip install "fastcl[sklearn]"' in done.stderr.splitlines()[-1]
