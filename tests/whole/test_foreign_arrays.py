"""Arrays of other libraries: read if that is possible, refused in one line if it is not."""

from decimal import Decimal
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest
import scipy

import fastcl
from fastcl.estimators import SketchedKMeans
from fastcl.kernels import cuda
from fastcl.validation import as_array, as_count, as_generator, as_positive

X = np.random.default_rng(0).standard_normal((20, 2))
OMEGA = np.random.default_rng(1).standard_normal((5, 2))
NORMAL = fastcl.Gaussian([0, 0], np.eye(2))
IMAGES = fastcl.SignalModel(fastcl.PatchTransform(2, np.eye(4)[:, 1:3], np.ones(2)), NORMAL)
STEREO = fastcl.PatchTransform((4, 4), np.eye(32)[:, 1:3], np.ones(2), channels=2)
SOUNDS = fastcl.SignalModel(STEREO, NORMAL, channel_axis=-1, rate=8000)
FUNCTIONS = {
    "sum": lambda x: fastcl.feature_sum(x, OMEGA),
    "adjoint": lambda x: fastcl.feature_adjoint(x, OMEGA, np.ones(5)),
    "frequencies": lambda x: fastcl.feature_sum(X, x),
    "sketch": lambda x: fastcl.sketch(x, OMEGA).values,
    "update": lambda x: fastcl.Sketch(OMEGA).update(x).values,
    "density": NORMAL.log_density,
    "energy": fastcl.MLPPrior(2, (4,), rng=0).energy,
    "denoise": lambda x: fastcl.denoise(NORMAL, x, 0.1),
    "denoise_signal": lambda x: fastcl.denoise_signal(IMAGES, x, 0.1),
    "denoise_image": lambda x: fastcl.denoise_image(IMAGES, x, 0.1),
    "denoise_audio": lambda x: fastcl.denoise_audio(SOUNDS, x, 0.1),
    "restore": lambda x: fastcl.restore(IMAGES, x, X > 0, 0.1, levels=[0.2]),
    "fit": lambda x: fastcl.GaussianScaleMixture.fit(x, 2, 2).covariance,
}


class Tensor:
    """An array that speaks DLPack and nothing else."""

    def __init__(self, array, device=1):
        self.array, self.device = array, device

    def __dlpack__(self, **settings):
        return self.array.__dlpack__(**settings)

    def __dlpack_device__(self):
        return self.device, 0


class Wrapped:
    """An array that NumPy reads through `__array__`, or that raises `error` instead."""

    def __init__(self, array, error=None, requires_grad=False):
        self.array, self.error, self.requires_grad = array, error, requires_grad
        self.ndim = array.ndim

    def __array__(self, dtype=None, copy=None):
        if self.error is not None:
            raise self.error
        return np.asarray(self.array, dtype)


MASKED = np.ma.masked_greater(X, 1.0)
READ = {
    "a subclass": X.view(np.memmap),
    "read-only": np.frombuffer(X.tobytes()).reshape(X.shape),
    "of the other byte order": X.astype(X.dtype.newbyteorder()),
    "in Fortran order": np.asfortranarray(X),
    "Python objects": Wrapped(X.astype(object)),
    "__array__": Wrapped(X),
    "DLPack": Tensor(X),
    "a list": X.tolist(),
}
REFUSED = {
    "masked": (MASKED, r"\w+ is a masked array.*\.compressed\(\) or \w+\.filled\(value\)"),
    "nothing masked": (np.ma.array(X), "is a masked array"),
    "masked rows": (list(MASKED), r"\w+\[0\] is a masked array.*\w+\[0\]\.filled\(value\)"),
    "a masked number": ([[1.0, np.ma.masked]], r"\w+\[0\]\[1\] is a masked array"),
    "sparse": (scipy.sparse.csr_matrix(X), r"is a sparse matrix: pass \w+\.toarray\(\)"),
    "sparse array": (scipy.sparse.coo_array(X), r"pass \w+\.toarray\(\)"),
    "with a gradient": (Wrapped(X, requires_grad=True), r"pass \w+\.detach\(\)"),
    "unreadable": (Wrapped(X, RuntimeError("no bfloat16")), "cannot be read.*no bfloat16"),
    "missing values": ([[1.0, 2.0], [3.0, None]], "missing value in row 1"),
    "text": (
        Wrapped(np.array([[1.0, "2"]], object)),
        "must hold numbers, got an object of type str",
    ),
    "objects": (X.astype(object), r"got dtype object: pass \w+\.astype\('float32'\)"),
    "time": (np.ones((3, 2), "m8[s]"), "must hold numbers, got dtype timedelta64"),
    "foreign numbers": (np.ones((3, 2), "V2"), r"got dtype .*: pass \w+\.astype\('float32'\)"),
}


@pytest.mark.parametrize("kind", READ)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_it_is_read_like_the_array(name, kind):
    expected = FUNCTIONS[name](X)
    np.testing.assert_array_equal(FUNCTIONS[name](READ[kind]), expected)


@pytest.mark.parametrize("kind", REFUSED)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_it_is_refused_with_the_remedy(name, kind):
    x, message = REFUSED[kind]
    with pytest.raises(TypeError, match=message):
        FUNCTIONS[name](x)


def test_masked_arrays_among_chunks_or_slices_are_refused():
    for bad, message in ((MASKED, "masked array"), (scipy.sparse.csr_matrix(X), "sparse matrix")):
        for chunks in ([X, bad], iter([X, bad])):
            with pytest.raises(TypeError, match=f"is a {message}"):
                fastcl.sketch(chunks, OMEGA)

    class Variable:  # as netCDF4's, which masks by default
        shape, dtype = X.shape, X.dtype

        def __getitem__(self, index):
            return MASKED[index]

    with pytest.raises(TypeError, match="x gives masked arrays"):
        fastcl.sketch(Variable(), OMEGA)


@pytest.mark.parametrize(
    "call",
    [
        lambda: fastcl.estimate_noise(MASKED),
        lambda: fastcl.Box(MASKED[0], X[0] + 9),
        lambda: fastcl.Gaussian(MASKED[0], np.eye(2)),
        lambda: fastcl.denoise(NORMAL, X, MASKED[0]),
        lambda: fastcl.denoise(NORMAL, X, [0.1, np.ma.masked]),
        lambda: fastcl.feature_sum(X, OMEGA, MASKED[:, 0]),
        lambda: fastcl.feature_adjoint(X, OMEGA, MASKED[:5, 0]),
        lambda: fastcl.Sketch(OMEGA).add_sums(MASKED[:5, 0], 1),
        lambda: SketchedKMeans(2, random_state=0).fit(MASKED),
        lambda: SketchedKMeans(2, random_state=0).fit(X).predict(MASKED),
        lambda: fastcl.estimate_audio_noise(MASKED[:, 0], 8000),
    ],
)
def test_no_argument_loses_its_mask(call):
    with pytest.raises(TypeError, match="is a masked array"):
        call()


def test_python_numbers_of_any_type_are_read():
    numbers = [1, 2.5, Fraction(1, 2), Decimal("0.25")]
    np.testing.assert_array_equal(as_array(numbers, "x"), [1, 2.5, 0.5, 0.25])
    with pytest.raises(ValueError, match="x holds an integer beyond the range of float64"):
        as_array([10**400], "x")


def test_arrays_on_a_cuda_device_go_to_cupy(monkeypatch):
    with pytest.raises(TypeError, match=r"x cannot be read as an array \(CuPy is missing"):
        as_array(Tensor(X, device=2), "x")
    taken = []
    module = SimpleNamespace(from_dlpack=lambda array: taken.append(array) or array.array)
    monkeypatch.setattr(cuda, "cupy", lambda: module)
    tensors = [Tensor(X, device=2), Tensor(X, device=13), Tensor(X)]
    for tensor in tensors:
        np.testing.assert_array_equal(as_array(tensor, "x"), X)
    assert taken == tensors[:2]


def test_numbers_may_be_arrays_without_axes():
    assert as_positive(np.array(0.5), "sigma") == 0.5
    assert as_positive(np.float32(0.5), "sigma") == 0.5
    assert as_count(np.array(3), "n") == 3
    for wrong in (np.array(True), np.array("a"), np.array([0.5]), True, None, 1j):
        with pytest.raises(TypeError, match="sigma must be a number"):
            as_positive(wrong, "sigma")
        with pytest.raises(TypeError, match="n must be an integer"):
            as_count(wrong, "n")
    for wrong in (10**400, 0, np.nan, np.inf, np.ma.masked):
        with pytest.raises(ValueError, match="sigma must be above zero and finite"):
            as_positive(wrong, "sigma")


@pytest.mark.parametrize(
    "rng",
    [
        np.random.SeedSequence(3),
        np.random.PCG64(3),
        np.random.default_rng(3),
        np.int64(3),
        [3],
        np.array([3]),
        (3,),
    ],
)
def test_a_seed_is_whatever_numpy_takes(rng):
    expected = np.random.default_rng(3).random(5)
    np.testing.assert_array_equal(as_generator(rng).random(5), expected)


@pytest.mark.parametrize(
    "make",
    [
        lambda: np.random.SeedSequence(3),
        lambda: np.random.Generator(np.random.Philox(key=3)),  # without a seed sequence
        lambda: np.random.default_rng(np.random.PCG64(3)),
    ],
)
def test_what_denoises_and_draws_takes_it(make):
    prior = fastcl.MLPPrior(2, (4,), rng=make())
    box = fastcl.Box([-3, -3], [3, 3])
    for call in (
        lambda: fastcl.denoise(prior, X, 0.1, n_samples=8, n_iter=2, rng=make()),
        lambda: prior.sample(5, make(), domain=box),
        lambda: fastcl.log_normaliser(prior, box, 64, make()),
        lambda: box.sample(5, make()),
        lambda: fastcl.draw_frequencies(5, 2, 1.0, rng=make()),
        lambda: fastcl.sketch(X, OMEGA, bits=1, rng=make()).values,
    ):
        np.testing.assert_array_equal(call(), call())


@pytest.mark.parametrize("rng", ["0", 1.5, -1, np.random, [0.5]])
def test_what_is_no_seed_is_refused(rng):
    with pytest.raises((TypeError, ValueError), match=r"^rng must be an int seed"):
        as_generator(rng)
