"""The sketch of the patches of photographs: what it holds, its dither, its subsample."""

from dataclasses import replace

import numpy as np
import pytest
from pictures import MIN_SEARCH, PATCH, photograph

import fastcl
from fastcl.data import patches
from fastcl.data.patches import extract_patches
from fastcl.data.signals import Signals
from fastcl.denoising import patch_sketch
from fastcl.denoising.noisy_signals import AddedNoise
from fastcl.learning import adaptive

pytestmark = pytest.mark.usefixtures("one_thread")


def white_patches(image, transform):
    return transform.whiten(extract_patches(image.astype(np.float32)[None], transform.patch))


def test_sketch_is_that_of_every_gaussianised_patch(small_fit, monkeypatch):
    monkeypatch.setattr(patch_sketch, "DITHER", 0)
    photographs = [photograph(0), photograph(1, (4, 31)), photograph(2, (4, 4))]
    result = fastcl.sketch_images(photographs, PATCH, m=50, rng=0)
    assert result.sketch.count == 37 * 45 + 28 + 1
    white = [white_patches(image, result.transform) for image in photographs]
    expected = fastcl.sketch(map(result.reference.gaussianise, white), result.sketch.omega)
    np.testing.assert_array_equal(result.sketch.values, expected.values)
    assert result.sketch.omega.shape == (50, PATCH**2 - 1)


def test_the_domain_of_the_sketch_is_the_standard_normal(trained):
    domain = trained.sketch.sketch.domain
    np.testing.assert_array_equal(domain.means, np.zeros((1, PATCH**2 - 1)))
    np.testing.assert_array_equal(domain.covariances, np.eye(PATCH**2 - 1)[None])


def test_frequencies_are_chosen_on_patches_of_every_image(small_fit, monkeypatch):
    seen = []

    def scores(x, points, omega):
        seen.append(x)
        return np.ones(len(omega))

    monkeypatch.setattr(adaptive, "_scores", scores)
    few = {"subsample": 2000, "effort": replace(MIN_SEARCH, scored=500)}
    rng = np.random.default_rng(0)
    loud, quiet = rng.random((40, 48)), 0.5 + 0.02 * rng.standard_normal((40, 48))
    fastcl.sketch_images([quiet, loud], PATCH, m=1, rng=0, **few)
    lengths = np.linalg.norm(seen[0], axis=1)
    normal = np.sqrt(PATCH**2 - 1)
    # Half of the points on which candidates are scored come from either image.
    assert 0.3 < (lengths > normal).mean() < 0.7


@pytest.mark.parametrize("noise", [0.0, [0.0, 0.1]])
def test_sketch_does_not_depend_on_the_bands(small_fit, monkeypatch, noise):
    photographs = [photograph(0), photograph(1, (20, 31))]
    whole = fastcl.sketch_images(photographs, PATCH, m=50, rng=0, noise=noise)
    monkeypatch.setattr(patches, "CHUNK_PATCHES", 100)
    parts = fastcl.sketch_images(photographs, PATCH, m=50, rng=0, noise=noise)
    assert parts.sketch.count == whole.sketch.count
    # The dither and the noise are drawn in the same order. White coordinates are single-precision
    # sums of patch^2 products, divided by a standard deviation; a feature moves by at most |omega|,
    # about 4, times the rounding error.
    rounding = PATCH**2 * np.finfo(np.float32).eps / whole.transform.stds.min()
    np.testing.assert_allclose(parts.sketch.values, whole.sketch.values, rtol=0, atol=4 * rounding)
    assert 4 * rounding < 0.01


def test_dither_is_uniform_over_one_grey_level():
    grey = np.full((200, 100), 0.5, np.float32)
    dithered = AddedNoise(1 / 255, np.zeros(1)).dither(grey, np.random.default_rng(0)) - 0.5
    assert dithered.dtype == np.float32
    assert np.abs(dithered).max() <= 0.5 / 255 + 1e-7
    # 20000 draws: the mean is within five standard errors, and so is the variance (kurtosis 9/5).
    assert abs(dithered.mean()) <= 5 / 255 / np.sqrt(12 * 20_000)
    assert abs(dithered.var() * 12 * 255**2 - 1) <= 5 * np.sqrt(0.8 / 20_000)


def test_rounding_to_grey_levels_does_not_leave_flat_patches(small_fit):
    # A dark ramp of few levels: most patches are constant, and without dither their coordinates
    # would lie on a lattice.
    image = np.round(np.linspace(0, 10, 40 * 48).reshape(40, 48)).astype(np.uint8)
    result = fastcl.sketch_images([image], PATCH, m=50, rng=0, subsample=2000)
    # No axis is quieter than the dither, with standard deviation 1 / (255 sqrt(12)); there, the
    # sample covariance of 2000 points is 10 % off.
    assert result.transform.stds.min() > 0.8 / 255 / np.sqrt(12)


def test_random_patches_are_patches_from_every_image():
    flat = [np.full((10, 10), 0.25, np.float32), np.full((10, 30), 0.75, np.float32)]

    def draw(images):
        rng = np.random.default_rng(0)
        signals, added = Signals(images, "images", 4), AddedNoise(0.0, np.zeros(len(images)))
        return patch_sketch._random_patches(signals, 300, added, rng)

    sample = draw(flat)
    assert sample.shape[1] == 16
    assert (np.ptp(sample, axis=1) == 0).all()
    share = (sample[:, 0] == 0.25).mean()
    assert abs(share - 49 / (49 + 7 * 27)) < 0.01  # in proportion to the patches, rounded up
    positions = np.arange(100, dtype=np.float32).reshape(1, 10, 10) / 128
    # 300 draws out of 49 miss one with probability below 49 exp(-300 / 49).
    assert set(128 * draw(positions)[:, 0]) == {10 * i + j for i in range(7) for j in range(7)}


def test_gaussianised_patches_have_the_radii_of_normal_points(trained):
    white = np.concatenate(
        [white_patches(photograph(seed), trained.sketch.transform) for seed in range(4)]
    )
    squares = np.square(trained.sketch.reference.gaussianise(white)).sum(axis=1) / (PATCH**2 - 1)
    # No dither here, which would fill the quiet directions.
    assert squares.mean() == pytest.approx(1, abs=0.3)


def test_integers_are_the_grey_levels_they_stand_for(small_fit):
    levels = np.round(255 * photograph(0)).astype(np.uint8)
    one, other = (
        fastcl.sketch_images([image], PATCH, m=20, rng=0) for image in (levels, levels / 255)
    )
    np.testing.assert_array_equal(one.sketch.values, other.sketch.values)


def test_sketch_follows_the_seed(small_fit):
    def values(rng):
        return fastcl.sketch_images([photograph(0)], PATCH, m=20, rng=rng).sketch.values

    np.testing.assert_array_equal(values(3), values(3))
    np.testing.assert_array_equal(values(3), values(np.random.default_rng(3)))
    assert (values(3) != values(4)).any()


def test_a_file_is_not_a_folder_of_images(tmp_path):
    (tmp_path / "one.png").write_bytes(b"")
    with pytest.raises(NotADirectoryError, match=r"one\.png' is a file, but a folder of images"):
        fastcl.sketch_images(tmp_path / "one.png")


def test_files_have_their_channels_last(tmp_path):
    with pytest.raises(ValueError, match="channel_axis of a folder must be -1"):
        fastcl.sketch_images(tmp_path, channel_axis=0)
