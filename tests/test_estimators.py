"""The estimators: scikit-learn's own checks, any units, chunks, and a missing scikit-learn."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.utils.estimator_checks import parametrize_with_checks

from fastcl.estimators import SketchedGaussianMixture, SketchedKMeans
from fastcl.learning.batches import SUBSAMPLE, BatchSketch

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


FOUR = np.array([[-8.0, -8.0], [-8.0, 8.0], [8.0, -8.0], [8.0, 8.0]])


@pytest.mark.parametrize("rows", [1000, 50])
def test_batches_sorted_by_cluster_are_fitted_like_all_points_at_once(rng, rows):
    labels = np.repeat(np.arange(4), 3 * rows)
    x = FOUR[labels] + rng.standard_normal((12 * rows, 2))
    model = SketchedKMeans(4, random_state=0)
    for batch in np.split(x, 12):
        model.partial_fit(batch)
    assert model.sketch_.count == len(x)
    assert model.score(x) > 1.02 * SketchedKMeans(4, random_state=0).fit(x).score(x)


def test_the_first_points_do_not_choose_the_units_alone(rng):
    x, _ = blobs(rng)
    x = np.concatenate([np.repeat(CENTRES[:1], 100, axis=0), x])
    model = SketchedKMeans(3, random_state=0)
    for batch in np.split(x, [1, 2, 50, 99, 100, 500]):
        model.partial_fit(batch)
    assert model.score(x) > 1.05 * SketchedKMeans(3, random_state=0).fit(x).score(x)


@pytest.mark.parametrize("width", [0.01, 20.0])
def test_a_first_batch_of_another_size_does_not_choose_the_units_for_good(rng, width):
    widths = np.repeat([width, 1.0, 1.0, 1.0], 9000)[:, None]
    x = np.repeat(FOUR, 9000, axis=0) + widths * rng.standard_normal((36_000, 2))
    model = SketchedKMeans(4, random_state=0)
    for batch in np.split(x, 6):
        model.partial_fit(batch)
    assert model.sketch_.count == 36_000
    assert model.score(x) > 1.1 * SketchedKMeans(4, random_state=0).fit(x).score(x)


def test_starts_are_a_fair_sample_of_all_batches(rng):
    x = np.arange(40_000.0)[:, None]
    batches = BatchSketch(lambda rows: np.ones(1), 5, 1.0, seed=0)
    for batch in np.split(x, [100, 3000, 3010, 9000, 30_000]):
        batches.add(batch)
    starts = batches.starts[:, 0].astype(int)
    assert len(set(starts)) == SUBSAMPLE
    counts = np.histogram(starts, 10, (0, 40_000))[0]
    assert abs(counts - SUBSAMPLE / 10).max() < 5 * np.sqrt(SUBSAMPLE / 10)


def test_batches_may_be_empty_or_come_from_several_threads(rng):
    x, _ = blobs(rng, 9000)
    model = SketchedKMeans(3, random_state=0).partial_fit(x[:0])
    with pytest.raises(NotFittedError):
        model.predict(x)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(model.partial_fit, np.array_split(x, 90)))
    model.partial_fit(x[:0])
    assert model.sketch_.count == 9000
    assert model.score(x) > 1.02 * SketchedKMeans(3, random_state=0).fit(x).score(x)


@pytest.mark.parametrize("offset", [1e5, -3e6])
def test_far_from_the_origin_is_as_at_the_origin(rng, offset):
    far = (blobs(rng)[0] * 100 + offset).astype(np.float32)
    near = (far - np.float32(offset)).astype(np.float64)
    for kind in (SketchedKMeans, SketchedGaussianMixture):
        at_origin = kind(3, random_state=0).fit(near)
        model = kind(3, random_state=0).fit(far)
        assert model.score(far) == pytest.approx(at_origin.score(near), rel=1e-3)
        np.testing.assert_array_equal(model.predict(far), at_origin.predict(near))
    kmeans = SketchedKMeans(3, random_state=0).fit(far)
    expected = np.linalg.norm(far.astype(np.float64)[:, None] - kmeans.cluster_centers_, axis=2)
    np.testing.assert_allclose(kmeans.transform(far), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("kind", "name", "bad", "error"),
    [
        (SketchedKMeans, "n_clusters", 0, ValueError),
        (SketchedKMeans, "n_clusters", "8", TypeError),
        (SketchedGaussianMixture, "n_components", 0, ValueError),
        (SketchedGaussianMixture, "n_components", 2.0, TypeError),
        (SketchedGaussianMixture, "n_init", 0, ValueError),
        (SketchedKMeans, "m", -1, ValueError),
        (SketchedKMeans, "scale", 0.0, ValueError),
    ],
)
def test_a_bad_parameter_is_named(kind, name, bad, error):
    model = kind(**{name: bad})
    for method in (model.fit, model.partial_fit):
        with pytest.raises(error, match=rf"^{name} must be"):
            method(np.eye(3))


def test_without_scikit_learn_one_line_says_what_to_install():
    child = "import sys\nsys.modules['sklearn'] = None\nimport fastcl\nimport fastcl.estimators"
    done = subprocess.run([sys.executable, "-c", child], capture_output=True, text=True)
    assert "ImportError: scikit-learn is missing" in done.stderr.splitlines()[-1]
    assert 'pip install "fastcl[sklearn]"' in done.stderr.splitlines()[-1]
