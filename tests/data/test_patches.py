"""Images to patches and back, against loops; the patch transform; what counts as an image."""

import numpy as np
import pytest
from bounds import assert_within

import fastcl
from fastcl import PatchTransform
from fastcl.data.patches import (
    add_patches,
    as_image,
    as_photograph,
    extract_patches,
    patch_bands,
    patch_counts,
)

EPS = np.finfo(float).eps
# (height, width, patch): one patch, one row of patches, one column, any other
SHAPES = [(4, 4, 4), (3, 9, 3), (9, 3, 3), (7, 11, 2), (12, 8, 5), (5, 6, 1)]


@pytest.fixture(params=SHAPES, ids=lambda shape: "{}x{} by {}".format(*shape))
def image_and_patch(request, rng):
    height, width, patch = request.param
    return rng.standard_normal((height, width)), patch


def patches_in_loops(image, patch):
    height, width = image.shape
    corners = [(i, j) for i in range(height - patch + 1) for j in range(width - patch + 1)]
    return np.array([image[i : i + patch, j : j + patch].ravel() for i, j in corners])


def test_patches_equal_those_of_loops(backend, image_and_patch):
    image, patch = image_and_patch
    found = backend.host(extract_patches(backend.array(image), patch))
    np.testing.assert_array_equal(found, patches_in_loops(image, patch))


def test_bands_cover_every_row_of_patches_once_and_in_order(image_and_patch):
    image, patch = image_and_patch
    width = image.shape[1] - patch + 1
    for max_patches in (1, width, 2 * width, 3 * width + 1, 10**6):
        bands = patch_bands(image.shape, patch, max_patches=max_patches)
        parts = [extract_patches(image, patch, band) for band in bands]
        np.testing.assert_array_equal(np.concatenate(parts), extract_patches(image, patch))
        assert all(0 < len(part) <= max(max_patches, width) for part in parts)


def test_adding_is_the_adjoint_of_extracting(backend, image_and_patch, rng):
    image, patch = image_and_patch
    values = rng.standard_normal(extract_patches(image, patch).shape)
    total = backend.array(np.zeros(image.shape))
    add_patches(backend.array(values), total, patch)
    products = extract_patches(image, patch) * values
    other = image * backend.host(total)
    # Two sums of the same products, in different orders.
    assert abs(products.sum() - other.sum()) <= 2 * EPS * products.size * np.abs(products).sum()


def test_adding_band_by_band_is_adding_all(image_and_patch, rng):
    image, patch = image_and_patch
    values = rng.standard_normal(extract_patches(image, patch).shape)
    whole = np.zeros(image.shape)
    parts = np.zeros(image.shape)
    add_patches(values, whole, patch)
    start = 0
    for band in patch_bands(image.shape, patch, max_patches=2 * (image.shape[1] - patch + 1)):
        size = len(extract_patches(image, patch, band))
        add_patches(values[start : start + size], parts, patch, band)
        start += size
    # Sums of patch^2 numbers.
    assert_within(parts, whole, EPS * patch**2 * np.abs(values).max() * patch**2)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_adding_is_bitwise_the_same_on_every_backend(backend, image_and_patch, rng, dtype):
    image, patch = image_and_patch
    values = rng.standard_normal(extract_patches(image, patch).shape).astype(dtype)
    rows, width = image.shape[0] - patch + 1, image.shape[1] - patch + 1
    for band in (slice(0, rows), slice(0, 1), slice(rows - 1, rows), slice(rows // 2, rows)):
        expected = image.astype(dtype)
        out = backend.array(expected.copy())
        part = values[: (band.stop - band.start) * width]
        add_patches(part, expected, patch, band)
        add_patches(backend.array(part), out, patch, band)
        np.testing.assert_array_equal(backend.host(out), expected)


def test_adding_keeps_what_is_there(backend):
    out = backend.array(np.full((3, 3), 5.0))
    add_patches(backend.array(np.ones((1, 9))), out, 3)
    np.testing.assert_array_equal(backend.host(out), np.full((3, 3), 6.0))


def test_counts_are_the_sums_of_patches_of_ones(image_and_patch):
    image, patch = image_and_patch
    total = np.zeros(image.shape)
    add_patches(np.ones_like(extract_patches(image, patch)), total, patch)
    np.testing.assert_array_equal(patch_counts(image.shape, patch), total)


# ---- the transform -------------------------------------------------------------------------------


def correlated_patches(rng, patch, n=500):
    size = patch**2
    return 0.5 + rng.standard_normal((n, size)) @ rng.standard_normal((size, size)) / size


@pytest.mark.parametrize("patch", [2, 3, 5])
def test_inverse_undoes_forward(rng, patch):
    x = correlated_patches(rng, patch)
    transform = PatchTransform.fit(x)
    coordinates, means = transform.forward(x)
    assert coordinates.shape == (500, transform.dim) == (500, patch**2 - 1)
    np.testing.assert_allclose(means[:, 0], x.mean(axis=1), rtol=10 * EPS)
    # Sums of patch^2 products; what a division by a std magnifies, the product takes back.
    spread = transform.stds.max() / transform.stds.min()
    np.testing.assert_allclose(
        transform.inverse(coordinates, means), x, rtol=0, atol=10 * patch**2 * spread * EPS
    )


@pytest.mark.parametrize("patch", [2, 3, 5])
def test_fitted_patches_have_white_coordinates(rng, patch):
    x = correlated_patches(rng, patch)
    transform = PatchTransform.fit(x)
    coordinates, _ = transform.forward(x)
    # Eigenvectors are orthonormal up to rounding, which the division by eigenvalues magnifies.
    spread = (transform.stds.max() / transform.stds.min()) ** 2
    np.testing.assert_allclose(
        coordinates.T @ coordinates / 500, np.eye(patch**2 - 1), atol=10 * patch**2 * spread * EPS
    )
    assert (np.diff(transform.stds) <= 0).all()


def test_axes_are_orthonormal_and_blind_to_constants(rng):
    transform = PatchTransform.fit(correlated_patches(rng, 4))
    np.testing.assert_allclose(transform.axes.T @ transform.axes, np.eye(15), atol=100 * EPS)
    # The constant patch is the eigenvector for zero. Rounding turns it by up to its own size over
    # the gap to the next eigenvalue.
    gap = (transform.stds.min() / transform.stds.max()) ** 2
    np.testing.assert_allclose(transform.axes.sum(axis=0), 0, atol=4 * 10 * EPS / gap)
    x = correlated_patches(rng, 4, n=10)
    # A shift by one is a few stds of the smallest axis, and its std divides the rounding.
    shifted = transform.forward(x + 1)[0]
    atol = 4 * 10 * EPS / gap / transform.stds.min()
    np.testing.assert_allclose(shifted, transform.forward(x)[0], rtol=0, atol=atol)
    assert atol < 0.01


def test_transform_works_in_the_dtype_and_on_the_backend_of_the_patches(backend, rng):
    x = correlated_patches(rng, 3)
    transform = PatchTransform.fit(x)
    spread = transform.stds.max() / transform.stds.min()
    for dtype in (np.float32, np.float64):
        coordinates, means = transform.forward(backend.array(x.astype(dtype)))
        parts = [
            backend.host(part)
            for part in (coordinates, means, transform.inverse(coordinates, means))
        ]
        assert {part.dtype for part in parts} == {np.dtype(dtype)}
        np.testing.assert_allclose(parts[2], x, rtol=0, atol=10 * 9 * spread * np.finfo(dtype).eps)


def test_transform_survives_a_round_trip_through_arrays(rng):
    transform = PatchTransform.fit(correlated_patches(rng, 3))
    copy = PatchTransform.from_arrays(
        {name: np.asarray(array) for name, array in transform.to_arrays().items()}
    )
    assert copy.patch == 3
    np.testing.assert_array_equal(copy.axes, transform.axes)
    np.testing.assert_array_equal(copy.stds, transform.stds)


@pytest.mark.parametrize(
    "x",
    [np.zeros((50, 9)), np.ones((50, 9)), np.tile(np.arange(9.0), (50, 1))],
    ids=["zero", "flat", "one pattern"],
)
def test_patches_of_one_pattern_are_refused(x):
    with pytest.raises(ValueError, match="too little variety"):
        PatchTransform.fit(x)


@pytest.mark.parametrize("span", range(1, 8))
def test_patches_that_do_not_span_all_patterns_are_refused(rng, span):
    # The eigenvalues that should be zero are rounding errors of either sign.
    for _ in range(5):
        with pytest.raises(ValueError, match="too little variety"):
            PatchTransform.fit(rng.standard_normal((50, span)) @ rng.standard_normal((span, 9)))


@pytest.mark.parametrize(
    "change",
    [
        {"patch": 1}, {"patch": 3}, {"patch": np.inf}, {"patch": np.nan}, {"patch": np.ones(2)},
        {"patch": None}, {"axes": np.ones((4, 2))}, {"axes": np.ones(4)}, {"axes": None},
        {"axes": np.full((4, 3), np.nan)}, {"axes": np.full((4, 3), "a")}, {"deviations": None},
        {"deviations": np.zeros(3)}, {"deviations": np.full(3, np.nan)},
        {"deviations": np.full(3, np.inf)}, {"deviations": np.ones((1, 3))},
    ],
    ids=lambda change: " ".join(
        f"{name} {np.ravel(value)[:1]}{np.shape(value)}" for name, value in change.items()
    ),
)  # fmt: skip
def test_arrays_that_are_not_a_transform_are_refused(change):
    arrays = {"patch": 2, "axes": np.eye(4)[:, :3], "deviations": np.ones(3)} | change
    with pytest.raises((ValueError, TypeError), match=r"patch|axes|stds|deviations|integer"):
        PatchTransform.from_arrays(
            {name: np.asarray(array) for name, array in arrays.items() if array is not None}
        )


# ---- what counts as an image ---------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_integers_are_divided_by_their_largest_value(backend, dtype):
    top = np.iinfo(dtype).max
    image = backend.host(as_image(backend.array(np.array([[0, top], [top // 5, top]], dtype))))
    assert image.dtype == np.float64
    np.testing.assert_array_equal(image, [[0, 1], [(top // 5) / top, 1]])


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (np.float32, np.float32),
        (np.float64, np.float64),
        (np.float16, np.float64),
        (bool, np.float64),
    ],
)
def test_other_types_keep_their_values(backend, given, expected):
    image = backend.host(as_image(backend.array(np.array([[0, 1], [1, 0]]).astype(given))))
    assert image.dtype == expected
    np.testing.assert_array_equal(image, [[0, 1], [1, 0]])


@pytest.mark.parametrize("given", [">f4", ">f8"])
def test_the_order_of_bytes_does_not_matter(rng, given):
    image = as_image(rng.standard_normal((6, 8)).astype(given))
    assert image.dtype == np.dtype(given).newbyteorder("=")
    np.testing.assert_array_equal(
        image, np.random.default_rng(0).standard_normal((6, 8)).astype(given)
    )


def test_strides_do_not_matter(rng):
    image = rng.standard_normal((6, 8))
    for view in (image[::2, ::-1], image.T):
        np.testing.assert_array_equal(as_image(view), view)
        assert as_image(view).flags.c_contiguous


@pytest.mark.parametrize(
    ("bad", "error", "message"),
    [
        (np.zeros((8, 8, 3)), ValueError, r"photo must be a grey image.*colour"),
        (np.zeros((8, 8, 4)), ValueError, r"photo must be a grey image.*alpha"),
        (np.zeros((8, 8, 2)), ValueError, r"photo must be a grey image.*alpha"),
        (np.zeros(8), ValueError, "photo must be a grey image"),
        (1.0, ValueError, "photo must be a grey image"),
        (np.full((8, 8), np.nan), ValueError, "photo holds NaN"),
        (np.full((8, 8), np.inf), ValueError, "photo holds NaN"),
        (np.zeros((3, 8)), ValueError, "photo of 3 x 8 pixels is smaller than a patch of 4 x 4"),
        (np.zeros((8, 3)), ValueError, "photo of 8 x 3 pixels is smaller"),
        (np.zeros((0, 8)), ValueError, "photo of 0 x 8 pixels is smaller"),
        ("a", TypeError, "photo must hold numbers"),
        (None, TypeError, "photo must hold numbers"),
        (np.zeros((8, 8), complex), TypeError, "photo must be real"),
        ([[1.0, 2.0], [3.0]], ValueError, "photo is not a rectangular array"),
    ],
    ids=lambda value: (
        f"{value.shape} {value.dtype} {value.ravel()[:1]}"
        if isinstance(value, np.ndarray)
        else None
    ),
)
def test_what_is_not_an_image_is_refused_by_name(bad, error, message):
    with pytest.raises(error, match=message):
        as_image(bad, "photo", 4)


def test_wide_integers_are_refused_rather_than_turned_black():
    with pytest.raises(TypeError, match="image must hold uint8"):
        as_image(np.full((8, 8), 255))


@pytest.mark.parametrize(
    "make",
    [
        lambda rng: 255 * rng.random((20, 20)),
        lambda rng: np.where(rng.random((20, 20)) < 0.996, 0.2, 255),  # dark, with a mean below 2
        lambda rng: 65535 * rng.random((20, 20)).astype(np.float32),
        lambda rng: 255 * rng.random((20, 20)) - 127,
        lambda rng: np.full((20, 20), 1e300),
    ],
    ids=["0..255", "dark", "0..65535", "around zero", "huge"],
)
def test_floats_on_another_scale_are_refused_wherever_photographs_are_taken(rng, make):
    image = make(rng)
    transform = PatchTransform(2, np.linalg.qr(rng.standard_normal((4, 4)))[0][:, 1:], np.ones(3))
    model = fastcl.ImageModel(transform, fastcl.Gaussian(np.zeros(3), np.eye(3)))
    words = r"must hold floats in \[0, 1\], got a mean of .* divide it by its white level"
    with pytest.raises(ValueError, match=rf"images\[0\] {words}"):
        fastcl.learn_image_prior([image], patch=2)
    with pytest.raises(ValueError, match=f"noisy {words}"):
        fastcl.denoise_image(model, image, 0.1)


def test_strong_noise_is_no_other_scale(rng):
    image = rng.random((50, 50)) + rng.standard_normal((50, 50))  # as much as sigma may be
    assert as_photograph(image, "image") is not None
