"""Files of a sketch: what comes back, and what is refused before it can do harm; pickles."""

import pickle
import struct
import sys
import tracemalloc
import zipfile

import numpy as np
import pytest

import fastcl

EPS = np.finfo(np.float64).eps


@pytest.fixture
def omega():
    return fastcl.draw_frequencies(40, dim=2, scale=0.7, rng=1)


@pytest.fixture
def x(rng):
    return rng.standard_normal((501, 2))


def test_a_saved_sketch_continues_where_it_stopped(tmp_path, x, omega):
    path = tmp_path / "data.sketch.npz"
    sk = fastcl.sketch(x[:300], omega)
    sk.save(path)
    loaded = fastcl.Sketch.load(path)
    assert np.array_equal(loaded.values, sk.values)
    assert np.array_equal(loaded.omega, sk.omega)
    assert loaded.count == 300
    assert np.array_equal(loaded.update(x[300:]).values, sk.update(x[300:]).values)
    assert np.array_equal((loaded + sk).values, sk.values)
    # Exactly this name, and no other file.
    assert [file.name for file in tmp_path.iterdir()] == ["data.sketch.npz"]


def test_an_empty_sketch_can_be_saved(tmp_path, omega):
    fastcl.Sketch(omega).save(tmp_path / "s.npz")
    assert fastcl.Sketch.load(tmp_path / "s.npz").count == 0


def test_a_truncated_file_is_refused_at_any_length(tmp_path, x, omega):
    path = tmp_path / "s.npz"
    fastcl.sketch(x, omega).save(path)
    content = path.read_bytes()
    for length in [0, 1, 4, 30, *range(100, len(content), 97), len(content) - 1]:
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match=r"s\.npz"):
            fastcl.Sketch.load(path)


@pytest.mark.slow
def test_a_flipped_byte_is_an_error_or_changes_nothing(tmp_path, x, omega):
    path = tmp_path / "s.npz"
    sk = fastcl.sketch(x, omega[:3])
    sk.save(path)
    content = path.read_bytes()
    for position in range(len(content)):
        path.write_bytes(
            content[:position] + bytes([content[position] ^ 0xFF]) + content[position + 1 :]
        )
        try:
            loaded = fastcl.Sketch.load(path)
        except ValueError:
            continue
        assert np.array_equal(loaded.values, sk.values)


def test_the_files_of_the_first_version_are_read(tmp_path, x, omega):
    """They have no fingerprint; everything in them still has the same name."""
    sk = fastcl.sketch(x, omega)
    domain = {"domain.kind": "box", "domain.low": [-5.0, -5.0], "domain.high": [5.0, 5.0]}
    np.savez(
        tmp_path / "s.npz",
        kind="fastcl-sketch",
        version=1,
        omega=omega,
        total=501 * sk.values,
        count=501,
        **domain,
    )
    loaded = fastcl.Sketch.load(tmp_path / "s.npz")
    np.testing.assert_allclose(loaded.values, sk.values, rtol=4 * EPS)
    assert (loaded.count, loaded.domain.volume, loaded.fingerprint) == (501, 100, sk.fingerprint)


def test_a_file_is_read_by_plain_numpy(tmp_path, x, omega):
    sk = fastcl.sketch(x, omega)
    sk.save(tmp_path / "s.npz")
    with np.load(tmp_path / "s.npz") as file:
        assert (str(file["kind"]), int(file["version"]), int(file["count"])) == (
            "fastcl-sketch",
            4,
            501,
        )
        np.testing.assert_array_equal(file["total"] / file["count"], sk.values)
        np.testing.assert_array_equal(file["omega"], omega)
        assert str(file["fingerprint"]) == sk.fingerprint


def test_the_fingerprint_tells_frequencies_apart(omega):
    fingerprint = fastcl.Sketch(omega).fingerprint
    assert fastcl.Sketch(omega.copy()).fingerprint == fingerprint
    others = (
        np.nextafter(omega, 9),
        omega[:-1],
        omega[::-1],
        omega.reshape(-1, 1),
        omega.reshape(1, -1),
    )
    assert len({fingerprint, *(fastcl.Sketch(other).fingerprint for other in others)}) == 1 + len(
        others
    )


def test_frequencies_of_another_fingerprint_are_refused(tmp_path, x, omega):
    arrays = fastcl.sketch(x, omega).to_arrays() | {"omega": np.nextafter(omega, 9)}
    np.savez(tmp_path / "s.npz", kind="fastcl-sketch", version=2, **arrays)
    with pytest.raises(ValueError, match="its fingerprint is"):
        fastcl.Sketch.load(tmp_path / "s.npz")


def npy(header, content=b""):
    """The bytes of a .npy file of the first format with this header."""
    text = (header + "\n").encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + content


HOSTILE = {
    "more than there is": npy(
        "{'descr': '<f8', 'fortran_order': False, 'shape': (10**12,)}".replace(
            "10**12", "1" + 12 * "0"
        )
    ),
    "a product that overflows": npy(
        f"{{'descr': '<f8', 'fortran_order': False, 'shape': ({2**33}, {2**33})}}"
    ),
    "less than there is": npy("{'descr': '<f8', 'fortran_order': False, 'shape': (1,)}", bytes(80)),
    "negative": npy("{'descr': '<f8', 'fortran_order': False, 'shape': (-1,)}", bytes(8)),
    "objects": npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}", bytes(8)),
    "fields": npy("{'descr': [('a', '<f8')], 'fortran_order': False, 'shape': (1,)}", bytes(8)),
    "dates": npy("{'descr': '<M8[s]', 'fortran_order': False, 'shape': (1,)}", bytes(8)),
    "strings of no length": npy("{'descr': '<U0', 'fortran_order': False, 'shape': (1000000000,)}"),
    "code": npy(
        "{'descr': __import__('os').system('true'), 'fortran_order': False, 'shape': ()}", bytes(8)
    ),
    "no header": b"\x93NUMPY\x09\x00",
    "nothing": b"",
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE.keys())
def test_headers_that_lie_are_refused_before_memory_is_taken(tmp_path, x, omega, content):
    fastcl.sketch(x, omega).save(tmp_path / "s.npz")
    with zipfile.ZipFile(tmp_path / "s.npz", "a") as archive:
        archive.writestr("more.npy", content)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"s\.npz"):
            fastcl.Sketch.load(tmp_path / "s.npz")
        assert tracemalloc.get_traced_memory()[1] < 2e6
    finally:
        tracemalloc.stop()


def test_a_bomb_is_refused_before_it_unfolds(tmp_path, x, omega):
    arrays = fastcl.sketch(x, omega).to_arrays() | {"more": np.zeros(10_000_000)}
    np.savez_compressed(tmp_path / "s.npz", kind="fastcl-sketch", version=2, **arrays)
    del arrays
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="compressed"):
            fastcl.Sketch.load(tmp_path / "s.npz")
        assert tracemalloc.get_traced_memory()[1] < 2e6
    finally:
        tracemalloc.stop()


def test_members_that_share_a_name_or_bytes_are_refused(tmp_path, x, omega):
    path = tmp_path / "s.npz"
    fastcl.sketch(x, omega).save(path)
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("count.npy", archive.read("count.npy"))
    with pytest.raises(ValueError, match="share a name"):
        fastcl.Sketch.load(path)
    path.unlink()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(
            "omega.npy",
            npy("{'descr': '<f8', 'fortran_order': False, 'shape': (125,)}", bytes(1000)),
        )
        for number in range(20):  # all at the same bytes, says the central directory
            member = zipfile.ZipInfo(f"{number}.npy")
            for name in ("header_offset", "CRC", "file_size", "compress_size"):
                setattr(member, name, getattr(archive.filelist[0], name))
            archive.filelist.append(member)
        archive._didModify = True
    with pytest.raises(ValueError, match="overlap"):
        fastcl.Sketch.load(path)


class Payload:
    """Ends the process if it is unpickled."""

    def __reduce__(self):
        return (sys.exit, ("a pickle was run",))


def foreign_files():
    """name -> arrays of an npz file that is not a sketch."""
    good = {
        "kind": "fastcl-sketch",
        "version": 1,
        "omega": np.ones((3, 2)),
        "total": np.ones(3, complex),
        "count": 1,
    }
    return {
        "no kind": {"omega": np.ones((3, 2))},
        "other program": good | {"kind": "other-sketch"},
        "prior": good | {"kind": "fastcl-prior"},
        "newer version": good | {"version": 99},
        "missing sums": {name: array for name, array in good.items() if name != "total"},
        "pickled sums": good | {"total": np.array([Payload()] * 3)},
        "pickled kind": good | {"kind": np.array(Payload())},
        "another pickle": good | {"more": np.array([Payload()])},
        "sums of another length": good | {"total": np.ones(2, complex)},
        "sums of strings": good | {"total": np.array(["a", "b", "c"])},
        "NaN among the sums": good | {"total": np.full(3, np.nan)},
        "NaN frequencies": good | {"omega": np.full((3, 2), np.nan)},
        "complex frequencies": good | {"omega": np.ones((3, 2), complex)},
        "negative count": good | {"count": -1},
        "count of a vector": good | {"count": np.ones(3)},
        "count of NaN": good | {"count": np.nan},
        "count of infinity": good | {"count": np.inf},
        "version of infinity": good | {"version": np.inf},
    }


@pytest.mark.parametrize("arrays", foreign_files().values(), ids=foreign_files().keys())
def test_foreign_archives_are_refused(tmp_path, arrays):
    np.savez(tmp_path / "s.npz", **arrays)
    with pytest.raises(ValueError, match=r"s\.npz|sketch|omega"):
        fastcl.Sketch.load(tmp_path / "s.npz")


def test_other_kinds_of_file_are_refused(tmp_path):
    path = tmp_path / "s.npz"
    np.save(tmp_path / "array.npy", np.ones(3))
    with zipfile.ZipFile(tmp_path / "text.zip", "w") as archive:
        archive.writestr("kind.npy", "fastcl-sketch")
    for content in (
        b"omega\n",
        (tmp_path / "array.npy").read_bytes(),
        (tmp_path / "text.zip").read_bytes(),
    ):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"s\.npz"):
            fastcl.Sketch.load(path)


def test_a_missing_file_is_not_found(tmp_path):
    for path in (tmp_path / "none.npz", tmp_path):
        with pytest.raises(FileNotFoundError, match=tmp_path.name):
            fastcl.Sketch.load(path)


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch, x, omega):
    path = tmp_path / "s.npz"
    old = fastcl.sketch(x[:10], omega)
    old.save(path)

    def full_disk(file, **arrays):
        file.write(b"half of it")
        raise OSError("no space left on device")

    monkeypatch.setattr(np, "savez", full_disk)
    with pytest.raises(OSError, match="no space"):
        fastcl.sketch(x, omega).save(path)
    assert np.array_equal(fastcl.Sketch.load(path).values, old.values)
    assert [file.name for file in tmp_path.iterdir()] == ["s.npz"]


def test_saving_into_a_missing_folder_says_so(tmp_path, omega):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        fastcl.Sketch(omega).save(tmp_path / "nowhere" / "s.npz")


@pytest.mark.parametrize("options", [{}, {"bits": 1, "dither": np.zeros(40)}])
def test_a_pickle_leaves_the_layouts_of_the_kernels_out(x, omega, options):
    sk = fastcl.Sketch(omega, **options)
    small = len(pickle.dumps(sk))
    sk.update(x[:300])
    assert len(pickle.dumps(sk)) < small + 100  # the identity of the data
    other = pickle.loads(pickle.dumps(sk)).update(x[300:])
    np.testing.assert_array_equal(other.values, sk.update(x[300:]).values)
