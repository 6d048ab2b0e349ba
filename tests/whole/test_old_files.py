"""Files that version 0.1.0 wrote are still read, and mean the same."""

import shutil
from pathlib import Path

import naive
import numpy as np
import pytest
from bounds import assert_within

import fastcl

FILES = Path(__file__).parent / "files_0_1_0"
EPS = np.finfo(np.float64).eps
X = np.random.default_rng(0).standard_normal((500, 2))  # the data of all sketches of rows
POINTS = np.array([[0.3, -0.2], [1.5, 2.0]])
# log_density(POINTS) as version 0.1.0 gave it
LOG_DENSITIES = {
    "prior.npz": [-0.021995142102241516, -65.057785034179688],
    "prior_mixture.npz": [-2.276865511211128, -68.134926763734654],
    "prior_mosm.npz": [-2.3849337100982666, -69.431472778320312],
    "max_entropy.npz": [-2.0176578811614436, -4.8962258453068639],
    "gaussianised.npz": [-2.4638444686472569, -4.3628890728001561],
}
SKETCHES = ["box", "harmonic", "hadamard", "seeded"]


def load(name):
    """What the file holds; every way to load it gives the same."""
    thing = fastcl.load(FILES / name)
    assert type(thing).load(FILES / name).to_arrays().keys() == thing.to_arrays().keys()
    return thing


def test_every_file_is_of_a_kind_that_is_tested():
    names = {path.name for path in FILES.iterdir()}
    tested = {
        f"sketch_{name}.npz" for name in [*SKETCHES, "released", "bits_gaussian"]
    } | LOG_DENSITIES.keys()
    assert names == tested | {"patch_sketch.npz", "image_model.npz", "pass.npz", "checkpoint.npz"}


@pytest.mark.parametrize("name", LOG_DENSITIES)
def test_a_prior_has_the_density_that_it_had(name):
    prior = load(name)
    assert type(fastcl.load_prior(FILES / name)) is type(prior)
    dtype = getattr(prior, "dtype", np.float64)
    expected = np.array(LOG_DENSITIES[name])
    # Products and sums of 2 x 4 x 2 weights; 16 of them and the log density of the reference.
    np.testing.assert_allclose(
        prior.log_density(POINTS.astype(dtype)), expected, rtol=32 * np.finfo(dtype).eps
    )


def test_a_network_has_the_weights_that_it_had():
    arrays = np.load(FILES / "prior.npz")
    prior, x = load("prior.npz"), POINTS.astype(np.float32)
    exact = naive.mlp_energy(arrays["theta"], arrays["sizes"], x)
    eps = np.finfo(np.float32).eps
    error = naive.mlp_error(arrays["theta"], arrays["sizes"], x, np.ones(2), eps)[0]
    assert_within(prior.energy(x), exact, error)


@pytest.mark.parametrize("name", SKETCHES)
def test_a_sketch_has_the_moments_of_its_data(name):
    sketch = load(f"sketch_{name}.npz")
    assert sketch.count == 500
    omega = np.asarray(sketch.omega[:])
    bound = naive.feature_error(X, omega, EPS).mean(axis=0)
    assert_within(sketch.values, naive.feature_sum(X, omega) / 500, bound)
    more = sketch + fastcl.sketch(X, sketch.omega)
    assert_within(more.values, sketch.values, 2 * bound)


def test_a_released_sketch_keeps_its_noise_and_its_budget():
    sketch, arrays = load("sketch_released.npz"), np.load(FILES / "sketch_released.npz")
    assert repr(sketch) == "Sketch(m=7, dim=2, count=500, privacy=(1.0, 0.0))"
    np.testing.assert_array_equal(sketch.values, arrays["total"] / 500)


def test_a_sketch_keeps_the_domain_that_it_had():
    box, normal = load("sketch_box.npz").domain, load("sketch_bits_gaussian.npz").domain
    assert repr(box) == "Box(low=[-1.0, -1.0], high=[1.0, 1.0])"
    assert repr(normal) == "Gaussian(dim=2)"
    np.testing.assert_array_equal(normal.covariances, [np.eye(2)])


def test_a_quantised_sketch_has_the_levels_of_its_data():
    sketch = load("sketch_bits_gaussian.npz")
    arrays = np.load(FILES / "sketch_bits_gaussian.npz")
    total, doubtful = naive.quantised_sum(X, sketch.omega, arrays["quantised.dither"], 1, 4 * EPS)
    assert_within(arrays["total"], total, 2 * doubtful)
    again = fastcl.Sketch(sketch.omega, bits=1, dither=arrays["quantised.dither"]).update(X)
    np.testing.assert_array_equal(sketch.values, again.values)


def test_a_sketch_of_patches_has_the_coordinates_that_it_had():
    sketch = load("patch_sketch.npz")
    coordinates, rest = sketch.transform.forward(np.arange(4.0)[None] / 4)
    np.testing.assert_allclose(coordinates, [[4.67427884, -17.59060879, -1.1801339]], rtol=1e-8)
    np.testing.assert_allclose(rest, [[0.375] * 4], rtol=1e-12)
    np.testing.assert_allclose(
        sketch.reference.log_density([[0.3, -0.2, 0.1]]), -2.82722364, rtol=1e-8
    )
    np.testing.assert_allclose(sketch.sketch.values[0], -0.34747681 + 0.0182927j, rtol=1e-7)


def test_a_model_of_images_denoises_as_it_did():
    model = load("image_model.npz")
    assert type(fastcl.load_prior(FILES / "image_model.npz")) is type(model)
    points = [[0.3, -0.2, 0.1], [1.5, 2.0, -1.0]]
    np.testing.assert_allclose(
        model.prior.log_density(points), [-2.6865087163065096, -6.2319920620464044], rtol=32 * EPS
    )
    np.testing.assert_allclose(
        model.density.log_density(points), [-3.30187362360265, -6.7266975126696904], rtol=1e-12
    )
    clean = fastcl.denoise_image(model, np.linspace(0.2, 0.7, 20).reshape(4, 5), 0.1)
    expected = [0.26780058, 0.29428773, 0.32065521, 0.34556679, 0.35351]
    np.testing.assert_allclose(clean[0], expected, rtol=1e-7)


def test_a_finished_pass_is_not_done_again(tmp_path):
    path = tmp_path / "pass.npz"
    shutil.copy(FILES / "pass.npz", path)
    before = path.read_bytes()
    omega = fastcl.draw_frequencies(7, 2, 0.5, rng=0)
    sketch = fastcl.sketch(X, omega, checkpoint=path)
    np.testing.assert_array_equal(sketch.values, load("sketch_box.npz").values)
    assert path.read_bytes() == before
    with pytest.raises(ValueError, match="belongs to other data"):
        fastcl.sketch(X + 1, omega, checkpoint=path)


def test_a_run_resumes_from_its_checkpoint(tmp_path):
    path = tmp_path / "checkpoint.npz"
    shutil.copy(FILES / "checkpoint.npz", path)
    sketch = load("sketch_box.npz")

    def learn(**settings):
        prior = fastcl.MLPPrior(2, (4,), rng=0)
        settings = {"n_points": 50, "rng": 0, "optimizer": fastcl.Adam(1e-3)} | settings
        return fastcl.learn(prior, sketch, fastcl.Box([-1, -1], [1, 1]), n_iter=6, **settings)

    # Its steps were taken with two sets of points, those that follow take one.
    before = np.load(path)
    resumed = learn(checkpoint=path)
    done = int(before["iteration"])
    assert 0 < done < len(resumed.history["value"]) == 6
    np.testing.assert_array_equal(resumed.history["value"][:done], before["history.value"])
    change = np.abs(resumed.prior.theta - before["theta"])[:-1].max()  # all but the log-scale
    assert change < (6 - done) * 1.1e-3  # by Adam
    shutil.copy(FILES / "checkpoint.npz", path)
    with pytest.raises(ValueError, match="belongs to a run with other settings"):
        learn(checkpoint=path, n_points=60)
