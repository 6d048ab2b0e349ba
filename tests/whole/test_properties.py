"""Properties that hold for any points, frequencies, layouts and types, tried on random cases."""

import tempfile
from pathlib import Path

import naive
import numpy as np
from bounds import assert_within
from hunting import look
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import fastcl
from fastcl.data.patches import add_patches, extract_patches
from fastcl.fourier.operator import MAX_PHASE_ERROR
from fastcl.fourier.radii import DISTRIBUTIONS

EPS = np.finfo(np.float64).eps
REALS = [np.dtype(name) for name in ("f2", "f4", "f8", ">f4", ">f8", "g")]
WHOLE = [np.dtype(name) for name in ("?", "i1", "u1", "i2", ">i4", "u4", "i8", "u8")]
SEEDS = st.integers(0, 2**32)


def as_laid_out(x, layout):
    """The values of x (n, d) in memory of another layout."""
    n, d = x.shape
    if layout == "backwards":
        return x[::-1, ::-1].copy()[::-1, ::-1]
    if layout == "strided":
        wide = np.zeros((2 * n, 3 * d + 1), x.dtype)
        wide[::2, 1::3] = x
        return wide[::2, 1::3]
    if layout == "misaligned":
        return np.frombuffer(b"\0" + x.tobytes(), np.uint8)[1:].view(x.dtype).reshape(n, d)
    x = np.array(x, order="F" if layout == "Fortran" else "C")
    x.flags.writeable = layout != "read-only"
    return x


LAYOUTS = st.sampled_from(["plain", "backwards", "strided", "misaligned", "Fortran", "read-only"])


@st.composite
def points(draw, dim=None, finite=True):
    """(n, d) of any real type and layout, with values as extreme as the type has them."""
    dtype = draw(st.sampled_from(REALS + WHOLE))
    shape = draw(st.integers(1, 12)), dim or draw(st.integers(1, 5))
    elements = None
    if dtype.kind == "f":  # drawn as numbers that the type holds exactly
        width = 8 * min(dtype.itemsize, 8)
        large = draw(st.sampled_from([1.0, 8.0, float(np.finfo(f"f{width // 8}").max)]))
        elements = st.floats(-large, large, width=width) if finite else st.floats(width=width)
    x = draw(hnp.arrays(dtype, shape, elements=elements))
    if draw(st.booleans()):
        return np.broadcast_to(x[:1], shape)
    return as_laid_out(x, draw(LAYOUTS))


@st.composite
def frequencies(draw, dim):
    large = draw(st.sampled_from([1.0, 100.0, 1e300]))
    shape = draw(st.integers(1, 9)), dim
    return as_laid_out(
        draw(hnp.arrays(np.float64, shape, elements=st.floats(-large, large))), draw(LAYOUTS)
    )


def work_eps(x):
    return np.finfo(
        np.float32 if x.dtype.newbyteorder("=") in (np.float16, np.float32) else np.float64
    ).eps


def have_digits(x, omega):
    """Whether the phases are accurate enough to be accepted.

    None within a factor of two of the limit, and for frequencies beyond the range of float32.
    """
    eps = work_eps(x)
    with np.errstate(over="ignore", invalid="ignore"):
        x, omega = np.abs(np.asarray(x, np.float64)), np.abs(omega) / (2 * np.pi)
        if np.finfo(np.float32).eps == eps and omega.max() > np.finfo(np.float32).max / 10:
            return None
        phase = (omega * x.max(axis=0)).sum(axis=1).max() * eps / MAX_PHASE_ERROR
    return None if 0.5 < phase < 2 else bool(phase <= 1)


@st.composite
def maps(draw):
    x = draw(points())
    omega = draw(frequencies(x.shape[1]))
    rng = np.random.default_rng(draw(SEEDS))
    w = rng.standard_normal(len(x)) * 10.0 ** rng.integers(-20, 20)
    c = (
        rng.standard_normal(len(omega)) + 1j * rng.standard_normal(len(omega))
    ) * 10.0 ** rng.integers(-20, 20)
    return x, omega, w, c


def refused(call, x, omega):
    """The result of call(), or None if it rightly refused phases without accurate digits."""
    try:
        result = call()
    except ValueError as error:
        assert "digits" in str(error) or "NaN or infinity" in str(error), error  # noqa: PT017
        assert have_digits(x, omega) is not True
        return None
    assert have_digits(x, omega) is not False
    return result


@look(60)
@given(maps())
def test_sum_and_adjoint_are_those_of_the_loops_and_adjoint(case):
    x, omega, w, c = case
    s = refused(lambda: fastcl.feature_sum(x, omega, w), x, omega)
    if s is None:
        return
    a = fastcl.feature_adjoint(x, omega, c)
    eps = work_eps(x)
    error = naive.feature_error(x, omega, eps)
    # Numbers below the smallest normal one of the working type are flushed to zero: one per term.
    least = (len(x) + len(omega)) * float(np.finfo(np.float32 if eps > EPS else np.float64).tiny)
    assert_within(s, naive.feature_sum(x, omega, w), error.T @ np.abs(w) + least)
    assert_within(a, naive.feature_adjoint(x, omega, c), error @ np.abs(c) + least)
    bound = 2 * np.abs(w) @ error @ np.abs(c) + least * (np.abs(w).sum() + np.abs(c).sum() + 1)
    assert abs((np.conj(c) * s).real.sum() - (a.astype(np.float64) * w).sum()) <= bound


@look(40)
@given(points(finite=False), SEEDS)
def test_values_that_are_not_finite_are_refused(x, seed):
    omega = 1e-3 * np.random.default_rng(seed).standard_normal((3, x.shape[1]))
    with np.errstate(over="ignore"):
        finite = np.isfinite(np.asarray(x, np.float32 if work_eps(x) > EPS else np.float64)).all()
    for call in (
        lambda: fastcl.feature_sum(x, omega),
        lambda: fastcl.feature_adjoint(x, omega, [1, 2, 3j]),
    ):
        try:
            result = call()
        except ValueError as error:
            assert not finite or "digits" in str(error)  # noqa: PT017
            assert not finite or not have_digits(x, omega)
        else:
            assert finite
            assert np.isfinite(result).all()


@look(30)
@given(st.data(), st.integers(1, 3), SEEDS)
def test_any_split_of_the_rows_is_the_same_sketch(data, dim, seed):
    rng = np.random.default_rng(seed)
    omega, n = rng.standard_normal((7, dim)), data.draw(st.integers(1, 300))
    x = rng.standard_normal((n, dim)).astype(data.draw(st.sampled_from([np.float32, np.float64])))
    cuts = sorted(data.draw(st.lists(st.integers(0, n), max_size=5)))
    parts = [x[a:b] for a, b in zip([0, *cuts], [*cuts, n], strict=True) if b > a]
    whole, updated, sketches = (
        fastcl.sketch(x, omega),
        fastcl.Sketch(omega),
        [fastcl.sketch(part, omega) for part in parts],
    )
    for part in parts:
        updated.update(part)
    left = right = fastcl.Sketch(omega)
    for one, other in zip(sketches, sketches[::-1], strict=True):
        left, right = left + one, other + right
    bound = 2 * naive.feature_error(x, omega, work_eps(x)).mean(axis=0) + len(parts) * EPS
    for sk in (updated, left, right, fastcl.sketch(parts, omega)):
        assert sk.count == n
        assert_within(sk.values, whole.values, bound)


@look(15)
@given(st.data(), st.integers(1, 4), SEEDS)
def test_a_saved_sketch_is_loaded_bitwise_identical(data, dim, seed):
    scale = data.draw(st.floats(1e-3, 1e3))
    structure = data.draw(st.sampled_from([None, "harmonic", "hadamard"]))
    sk = fastcl.Sketch(fastcl.draw_frequencies(8, dim, scale, rng=seed, structure=structure))
    rng = np.random.default_rng(seed)
    for _ in range(data.draw(st.integers(0, 2))):
        sk.update(scale * rng.standard_normal((5, dim)))
    low = data.draw(hnp.arrays(np.float64, dim, elements=st.floats(-1e6, 1e6)))
    sk.domain = data.draw(
        st.sampled_from([None, fastcl.Box(low, low + 1), fastcl.Gaussian(low, np.eye(dim))])
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "s.npz"
        sk.save(path)
        for loaded in (fastcl.Sketch.load(path), fastcl.load(path)):
            one, other = sk.to_arrays(), loaded.to_arrays()
            assert one.keys() == other.keys()
            assert all(
                np.asarray(one[name]).tobytes() == np.asarray(other[name]).tobytes() for name in one
            )


@look(30)
@given(st.data(), st.integers(1, 4), SEEDS)
def test_domains_sample_what_their_density_and_sketch_say(data, dim, seed):
    low = data.draw(hnp.arrays(np.float64, dim, elements=st.floats(-100, 100)))
    side = data.draw(hnp.arrays(np.float64, dim, elements=st.floats(0.01, 100)))
    dtype = data.draw(st.sampled_from([np.float32, np.float64]))
    box = fastcl.Box(low, low + side)
    x = box.sample(50, seed, dtype)
    assert x.dtype == dtype
    # A coordinate is low + u (high - low), rounded twice, of corners that were rounded.
    slack = 4 * np.finfo(dtype).eps * (np.abs(low) + side)
    assert ((x >= low - slack) & (x <= low + side + slack)).all()
    inside = box.log_density(box.centre[None] + 0 * x.astype(np.float64))
    # The log of a product: at most d roundings of a log of up to 1e4.
    np.testing.assert_allclose(inside, -np.log(side).sum(), rtol=0, atol=1e-10)
    root = np.random.default_rng(seed).standard_normal((dim, dim)) + 3 * np.eye(dim)
    normal = fastcl.Gaussian(low, root @ root.T)
    for domain in (box, normal):
        values = domain.sketch(np.concatenate([np.zeros((1, dim)), x.astype(np.float64)]))
        assert abs(values[0] - 1) <= 4 * EPS
        assert_within(values, 0, 1 + 4 * EPS)
        np.testing.assert_array_equal(domain.sketch(-x.astype(np.float64)), values[1:].conj())
    assert np.isfinite(normal.log_density(normal.sample(20, seed, dtype))).all()


@look(30)
@given(
    st.integers(1, 40), st.integers(1, 70), st.floats(1e-30, 1e30), st.sampled_from(DISTRIBUTIONS),
    st.sampled_from([None, "harmonic", "hadamard"]), SEEDS,
)  # fmt: skip
def test_frequencies_scale_and_follow_from_the_seed(groups, dim, scale, law, structure, seed):
    m = 4 * groups
    unit, omega, again = (
        np.asarray(fastcl.draw_frequencies(m, dim, s, law, seed, structure))
        for s in (1.0, scale, scale)
    )
    assert omega.shape == (m, dim)
    assert np.isfinite(omega).all()
    np.testing.assert_array_equal(omega, again)
    np.testing.assert_allclose(omega * scale, unit, rtol=8 * EPS, atol=0)  # a few roundings


@look(10)
@given(st.data(), st.integers(1, 3), SEEDS)
def test_denoising_stays_finite_and_between_data_and_prior(data, dim, seed):
    rng = np.random.default_rng(seed)
    normal = fastcl.Gaussian(np.zeros(dim), np.eye(dim))
    prior = data.draw(
        st.sampled_from(
            [
                normal,
                fastcl.MLPPrior(dim, (4,), rng=0),
                fastcl.MLPPrior(dim, (4,), rng=0, reference=normal),
            ]
        )
    )
    y = rng.standard_normal((data.draw(st.integers(1, 5)), dim)) * data.draw(
        st.sampled_from([0.0, 1e-30, 1.0, 50.0])
    )
    y, sigma = (
        y.astype(data.draw(st.sampled_from([np.float32, np.float64]))),
        data.draw(st.floats(1e-3, 1e3)),
    )
    for estimator in ("map", "mean"):
        clean = fastcl.denoise(prior, y, sigma, estimator=estimator, n_iter=5, n_samples=8)
        assert clean.shape == y.shape
        assert clean.dtype == y.dtype
        assert np.isfinite(clean).all()
        if prior is normal and estimator == "mean":
            np.testing.assert_allclose(
                clean, y / (1 + sigma**2), rtol=1e3 * np.finfo(y.dtype).eps, atol=0
            )


@look(30)
@given(
    st.integers(1, 12),
    st.integers(1, 12),
    st.integers(1, 6),
    st.sampled_from([np.float32, np.float64]),
    LAYOUTS,
    SEEDS,
)
def test_adding_patches_is_the_adjoint_of_extracting_them(
    height, width, patch, dtype, layout, seed
):
    patch, rng = min(patch, height, width), np.random.default_rng(seed)
    image = as_laid_out(rng.standard_normal((height, width)).astype(dtype), layout)[None]
    patches = extract_patches(image, (patch, patch))
    given_patches, total = (
        rng.standard_normal(patches.shape).astype(dtype),
        np.zeros((1, height, width), dtype),
    )
    add_patches(as_laid_out(given_patches, layout), total, (patch, patch))
    one, other = patches.astype(np.float64) * given_patches, image.astype(np.float64) * total
    # A pixel is a sum of at most patch^2 terms in the working type; both sums here are in float64.
    bound = (patch**2 * np.finfo(dtype).eps + 2 * EPS * one.size) * np.abs(one).sum()
    assert abs(one.sum() - other.sum()) <= bound


@look(15)
@given(st.integers(2, 4), st.integers(-6, 6), SEEDS)
def test_the_transform_of_patches_is_white_and_comes_back(patch, exponent, seed):
    rng = np.random.default_rng(seed)
    patches = 10.0**exponent * rng.standard_normal((200, patch**2))
    transform = fastcl.PatchTransform.fit(patches)
    white, rest = transform.forward(patches)
    covariance = white.T @ white / len(white)
    # The errors of eigenvectors: eps times the condition number.
    np.testing.assert_allclose(covariance, np.eye(transform.dim), atol=1e-9)
    bound = 1e3 * EPS * np.abs(patches).max()
    np.testing.assert_allclose(transform.inverse(white, rest), patches, atol=bound)
