"""The transform of patches: white coordinates, the rest, channels, files."""

import numpy as np
import pytest

from fastcl import PatchTransform

EPS = np.finfo(float).eps


def correlated_patches(rng, patch, n=500):
    size = patch**2
    return 0.5 + rng.standard_normal((n, size)) @ rng.standard_normal((size, size)) / size


@pytest.mark.parametrize("patch", [2, 3, 5])
def test_inverse_undoes_forward(rng, patch):
    x = correlated_patches(rng, patch)
    transform = PatchTransform.fit(x)
    coordinates, rest = transform.forward(x)
    assert coordinates.shape == (500, transform.dim) == (500, patch**2 - 1)
    means = np.broadcast_to(x.mean(axis=1, keepdims=True), x.shape)
    # The constant patch is an eigenvector up to rounding over the gap to the next eigenvalue.
    gap = (transform.stds.min() / transform.stds.max()) ** 2
    np.testing.assert_allclose(rest, means, rtol=0, atol=10 * patch**2 * EPS / gap)
    # Sums of patch^2 products; what a division by a std magnifies, the product takes back.
    spread = transform.stds.max() / transform.stds.min()
    np.testing.assert_allclose(
        transform.inverse(coordinates, rest), x, rtol=0, atol=10 * patch**2 * spread * EPS
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
        coordinates, rest = transform.forward(backend.array(x.astype(dtype)))
        parts = [
            backend.host(part) for part in (coordinates, rest, transform.inverse(coordinates, rest))
        ]
        assert {part.dtype for part in parts} == {np.dtype(dtype)}
        np.testing.assert_allclose(parts[2], x, rtol=0, atol=10 * 9 * spread * np.finfo(dtype).eps)


def test_transform_survives_a_round_trip_through_arrays(rng):
    transform = PatchTransform.fit(correlated_patches(rng, 3))
    copy = PatchTransform.from_arrays(
        {name: np.asarray(array) for name, array in transform.to_arrays().items()}
    )
    assert copy.patch == (3, 3)
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


def test_files_of_the_first_version_hold_squares():
    arrays = {"patch": 2, "axes": np.eye(4)[:, :3], "deviations": np.ones(3)}
    transform = PatchTransform.from_arrays({name: np.asarray(a) for name, a in arrays.items()})
    assert (transform.patch, transform.channels, transform.dim) == ((2, 2), 1, 3)


@pytest.mark.parametrize("keep_means", [True, False])
@pytest.mark.parametrize(("patch", "channels"), [((6,), 1), ((2, 3), 2), ((2, 2, 2), 3)])
def test_a_truncated_transform_leaves_the_tail_and_the_means_to_the_rest(
    rng, patch, channels, keep_means
):
    size = channels * np.prod(patch)
    x = rng.standard_normal((600, size)) @ rng.standard_normal((size, size)) / size
    transform = PatchTransform.fit(x, patch, 4, channels, keep_means)
    assert transform.dim == transform.stds.size == 4
    white, rest = transform.forward(x)
    np.testing.assert_allclose(transform.inverse(white, rest), x, atol=1e-12)
    np.testing.assert_allclose(rest @ transform.axes[:, :4], 0, atol=1e-12)
    means = x.reshape(600, channels, -1).mean(axis=2)
    # Noise shrinks the tail alone, to its posterior mean; means pass through.
    shrunk = transform.forward(x, 0.3)[1]
    tail, variances = transform.axes[:, 4:], transform.all_stds[4:] ** 2
    expected = (x @ tail) * variances / (variances + 0.3**2)
    np.testing.assert_allclose(shrunk @ tail, expected, atol=1e-12)
    assert len(transform.all_stds) == size - channels * keep_means
    if keep_means:
        np.testing.assert_allclose(
            shrunk.reshape(600, channels, -1).mean(axis=2), means, atol=1e-12
        )


def test_the_rest_has_the_posterior_mean_of_a_gaussian(rng):
    """On Gaussian data the shrunk tail is nearer to the clean one than the noisy tail."""
    stds = np.array([3.0, 2.0, 0.5, 0.1])
    x = rng.standard_normal((4000, 4)) * stds
    transform = PatchTransform((4,), np.eye(4), stds, dim=2)
    noisy = x + 0.4 * rng.standard_normal(x.shape)
    error = (transform.forward(noisy, 0.4)[1] - x)[:, 2:]
    expected = (stds**2 * 0.16 / (stds**2 + 0.16))[2:]
    # 4000 squares: five standard errors are 5 sqrt(2 / 4000) of their mean.
    np.testing.assert_allclose(np.mean(error**2, axis=0), expected, rtol=0.12)


def test_white_noise_of_channels_is_the_covariance_of_white_coordinates(rng):
    x = rng.standard_normal((500, 12)) @ rng.standard_normal((12, 12))
    transform = PatchTransform.fit(x, (2, 2), 7, channels=3)
    np.testing.assert_allclose(transform.white_noise(0.5), 0.5 / transform.stds)
    equal = transform.white_noise(np.full(3, 0.5))
    np.testing.assert_allclose(equal, np.diag((0.5 / transform.stds) ** 2), atol=1e-12)
    levels = np.array([0.1, 0.5, 2.0])
    samples = np.repeat(levels, 4) * rng.standard_normal((200_000, 12))
    found = np.cov(transform.whiten(samples).T)
    expected = transform.white_noise(levels)
    # A covariance of 200000 points is within five standard errors.
    errors = np.sqrt(np.outer(np.diag(expected), np.diag(expected)) + expected**2) / np.sqrt(2e5)
    assert (np.abs(found - expected) <= 5 * errors).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dim": 0}, "dim"),
        ({"dim": 4}, "dim must be at most"),
        ({"channels": 2}, "do not fit"),
    ],
)
def test_bad_sizes_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        PatchTransform(2, np.eye(4)[:, :3], np.ones(3), **change)


def test_a_file_keeps_the_number_of_axes(rng, tmp_path):
    x = rng.standard_normal((600, 9)) * rng.gamma(1, 1, (600, 1))
    transform = PatchTransform.fit(x, (3, 3), 4)
    transform.save(tmp_path / "transform.npz")
    loaded = PatchTransform.load(tmp_path / "transform.npz")
    np.testing.assert_array_equal(loaded.forward(x, 0.5)[1], transform.forward(x, 0.5)[1])
    whole = loaded.with_dim()
    assert (loaded.dim, whole.dim) == (4, 8)
    np.testing.assert_array_equal(whole.whiten(x)[:, :4], loaded.whiten(x))
