"""What is saved is loaded unchanged; every other file gives one clear error."""

import itertools

import numpy as np
import pytest

import fastcl


def transform(patch=2):
    return fastcl.PatchTransform.fit(np.random.default_rng(0).standard_normal((200, patch**2)))


def sketch_of_rows(dim=3, domain=True):
    sketch = fastcl.sketch(np.random.default_rng(1).standard_normal((50, dim)), np.ones((4, dim)))
    sketch.domain = fastcl.Box(-np.ones(dim), np.ones(dim)) if domain else None
    return sketch


REFERENCE = fastcl.GaussianScaleMixture(np.eye(3), [0.5, 1.5], [0.6, 0.4])
PRIOR = fastcl.MLPPrior(3, (5, 4), rng=0, reference=REFERENCE)
NORMAL = fastcl.Gaussian(np.zeros(3), np.eye(3))
TILT = fastcl.MaxEntropyPrior(
    np.random.default_rng(2).standard_normal((4, 3)), [1.0, 0.5j, -0.2, 0.1 - 0.3j], NORMAL
)
NETWORK = fastcl.MLPPrior(3, (5, 4), rng=0, reference=NORMAL)
MIXTURE = fastcl.MixtureOfScaleMixtures(
    [np.eye(3), 2 * np.eye(3)], [0.5, 1.5], [[0.1, 0.2], [0.3, 0.4]]
)
SAVED = {
    "sketch": sketch_of_rows(),
    "sketch without domain": sketch_of_rows(domain=False),
    "patch-sketch": fastcl.PatchSketch(transform(), REFERENCE, sketch_of_rows(domain=False)),
    "prior": PRIOR,
    "prior without reference": fastcl.MLPPrior(3, (5,), rng=0, dtype=np.float64),
    "max-entropy-prior": TILT,
    "gaussianised-prior": fastcl.GaussianisedPrior(TILT, REFERENCE),
    "gaussianised-prior of a network": fastcl.GaussianisedPrior(NETWORK, REFERENCE),
    "image-model": fastcl.SignalModel(transform(), PRIOR, precisions=(2.0, 3.0, 5.0)),
    "image-model of a mixture": fastcl.SignalModel(
        transform(), MIXTURE, fastcl.GaussianisedPrior(TILT, REFERENCE)
    ),
    "image-model of a network": fastcl.SignalModel(
        transform(), fastcl.GaussianisedPrior(NETWORK, REFERENCE)
    ),
    "image-model of a reference": fastcl.SignalModel(transform(), REFERENCE),
}


def arrays_of(thing):
    return {name: np.asarray(array) for name, array in thing.to_arrays().items()}


@pytest.mark.parametrize("name", SAVED)
def test_what_was_saved_is_loaded(tmp_path, name):
    path = tmp_path / "thing.npz"
    SAVED[name].save(path)
    loaded = fastcl.load(path)
    assert type(loaded) is type(SAVED[name])
    one, other = arrays_of(SAVED[name]), arrays_of(loaded)
    assert list(one) == list(other)
    for key, array in one.items():
        assert other[key].dtype == array.dtype
        if array.dtype.kind == "f":  # weights are normalised again, which may change a last bit
            np.testing.assert_allclose(other[key], array, rtol=4 * np.finfo(array.dtype).eps)
        else:
            np.testing.assert_array_equal(other[key], array)


@pytest.mark.parametrize("name", SAVED)
def test_load_prior_takes_only_what_denoises(tmp_path, name):
    path = tmp_path / "thing.npz"
    SAVED[name].save(path)
    if "sketch" in name:
        expected = "Prior or ReferenceMeasure or SignalModel$"
        with pytest.raises(ValueError, match=rf"thing\.npz' holds a .*sketch, expected {expected}"):
            fastcl.load_prior(path)
    else:
        assert type(fastcl.load_prior(str(path))) is type(SAVED[name])


def test_a_checkpoint_is_not_a_model(tmp_path):
    path = tmp_path / "c.npz"
    fastcl.learn(
        fastcl.MLPPrior(3, (4,), rng=0),
        sketch_of_rows(),
        fastcl.Box(-np.ones(3), np.ones(3)),
        n_iter=1,
        checkpoint=path,
    )
    with pytest.raises(ValueError, match=r"c\.npz' holds a checkpoint"):
        fastcl.load(path)


@pytest.mark.parametrize("read", [fastcl.load, fastcl.load_prior])
def test_a_missing_file_is_not_found(tmp_path, read):
    for path in (tmp_path / "none.npz", tmp_path, tmp_path / "no" / "folder.npz"):
        with pytest.raises(FileNotFoundError, match=path.name):
            read(path)


@pytest.mark.parametrize("read", [fastcl.load, fastcl.load_prior])
@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04", b"PK\x05\x06" + 18 * b"\0", b"text\n", b"\x93NUMPY\x01\x00"]
)
def test_files_not_written_by_fastcl_are_an_error_that_names_them(tmp_path, read, content):
    (tmp_path / "other.npz").write_bytes(content)
    with pytest.raises(ValueError, match=r"other\.npz' is truncated or was not written by fastcl"):
        read(tmp_path / "other.npz")


@pytest.mark.parametrize(
    "name", ["patch-sketch", "gaussianised-prior", "image-model", "image-model of a mixture"]
)
def test_a_truncated_file_is_an_error(tmp_path, name):
    path = tmp_path / "thing.npz"
    SAVED[name].save(path)
    content = path.read_bytes()
    for length in [*range(0, len(content), 101), len(content) - 1]:
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match=r"thing\.npz"):
            fastcl.load(path)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["patch-sketch", "image-model of a mixture"])
def test_a_flipped_byte_is_an_error_or_changes_nothing(tmp_path, name):
    path = tmp_path / "thing.npz"
    SAVED[name].save(path)
    content, given = path.read_bytes(), arrays_of(SAVED[name])
    for position in range(0, len(content), 7):
        damaged = bytearray(content)
        damaged[position] ^= 0xFF
        path.write_bytes(damaged)
        try:
            loaded = arrays_of(fastcl.load(path))
        except ValueError:
            continue
        for key, array in given.items():
            assert array.dtype.kind == "U" or np.allclose(loaded[key], array, rtol=1e-14)


def write(path, kind, arrays, version=1):
    np.savez(path, kind=kind, version=version, **arrays)


@pytest.mark.parametrize("name", SAVED)
def test_a_file_of_a_newer_version_is_refused(tmp_path, name):
    kind = name.split()[0]
    write(tmp_path / "new.npz", f"fastcl-{kind}", arrays_of(SAVED[name]), version=5)
    message = r"new\.npz' has format version 5, this fastcl reads up to 4"
    with pytest.raises(ValueError, match=message):
        fastcl.load(tmp_path / "new.npz")


DAMAGED = [
    "patch-sketch",
    "prior",
    "max-entropy-prior",
    "gaussianised-prior",
    "image-model",
    "image-model of a mixture",
    "sketch",
]


LACKING_IN_OLDER_FILES = {"precisions", "fingerprint", "sketch.fingerprint"}
LACKING_IN_OLDER_FILES |= {
    f"{part}.kind" for part in ("transform", "sketch", "inner", "density.inner", "prior.inner")
}
LACKING_IN_OLDER_FILES |= {"dim", "channels", "transform.dim", "transform.channels"}
LACKING_IN_OLDER_FILES |= {"density.kind", "prior.kind"}  # unless the prior is a measure


@pytest.mark.parametrize("name", DAMAGED)
def test_every_array_is_needed(tmp_path, name):
    arrays = arrays_of(SAVED[name])
    for lost in arrays.keys() - LACKING_IN_OLDER_FILES:
        kept = {key: array for key, array in arrays.items() if key != lost}
        write(tmp_path / "part.npz", f"fastcl-{name.split()[0]}", kept)
        with pytest.raises(ValueError, match=r"part\.npz' is damaged"):
            fastcl.load(tmp_path / "part.npz")


# Things that a file may hold in place of an array, each of them wrong for every array.
STRANGE = [
    np.array(np.nan),
    np.array(np.inf),
    np.array("text"),
    np.zeros((0, 3)),
    np.full((2, 2, 2), -1.0),
    np.array(1j),
]


@pytest.mark.parametrize("name", [*DAMAGED, "image-model of a reference"])
def test_a_strange_array_is_damage(tmp_path, name):
    arrays = arrays_of(SAVED[name])
    for key, strange in itertools.product(arrays, STRANGE):
        write(tmp_path / "strange.npz", f"fastcl-{name.split()[0]}", arrays | {key: strange})
        with pytest.raises(ValueError, match=r"strange\.npz' is damaged"):
            fastcl.load(tmp_path / "strange.npz")


OTHER_GAUSSIAN = fastcl.Gaussian([0.0], [[1.0]])
BOX = fastcl.Box(-np.ones(3), np.ones(3))
MISFITS = {  # case -> (kind of file, its part, what stands there instead)
    "model of other patches": ("image-model", "transform", transform(3)),
    "sketch of other patches": ("patch-sketch", "transform", transform(3)),
    "other reference": ("patch-sketch", "reference", OTHER_GAUSSIAN),
    "a box": ("patch-sketch", "reference", BOX),
    "other sketch": ("patch-sketch", "sketch", sketch_of_rows(2, domain=False)),
    "tilt of another reference": ("max-entropy-prior", "reference", OTHER_GAUSSIAN),
    "tilt of a box": ("max-entropy-prior", "reference", BOX),
    "not a scale mixture": ("gaussianised-prior", "outer", NORMAL),
    "not a prior": ("gaussianised-prior", "inner", NORMAL),
    "other domain": ("sketch", "domain", fastcl.Box([0.0], [1.0])),
}


@pytest.mark.parametrize(("kind", "part", "other"), MISFITS.values(), ids=MISFITS)
def test_parts_that_do_not_fit_together_are_damage(tmp_path, kind, part, other):
    arrays = arrays_of(SAVED[kind])
    for key in [key for key in arrays if key.startswith(f"{part}.")]:
        del arrays[key]
    arrays |= {f"{part}.{key}": array for key, array in arrays_of(other).items()}
    write(tmp_path / "mixed.npz", f"fastcl-{kind}", arrays)
    with pytest.raises(ValueError, match=r"mixed\.npz' is damaged"):
        fastcl.load(tmp_path / "mixed.npz")


def test_nothing_is_unpickled(tmp_path):
    arrays = arrays_of(SAVED["image-model"]) | {"prior.theta": np.array([{}], dtype=object)}
    write(tmp_path / "pickle.npz", "fastcl-image-model", arrays)
    with pytest.raises(ValueError, match=r"pickle\.npz' is truncated or was not written"):
        fastcl.load(tmp_path / "pickle.npz")
