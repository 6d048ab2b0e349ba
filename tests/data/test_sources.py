"""Every kind of data set that a sketch reads in parts, and what its memory maps leave behind."""

import errno
import sys

import h5py
import numpy as np
import pytest
from bounds import assert_within
from passes import Sliced, read_images, write_images

import fastcl
from fastcl.data import readers, sources
from fastcl.data.patches import extract_patches

ROWS = 1000


@pytest.fixture
def omega():
    return fastcl.draw_frequencies(40, dim=2, scale=0.7, rng=1)


@pytest.fixture
def x(rng):
    return rng.standard_normal((ROWS, 2)).astype(np.float32)


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    monkeypatch.setattr(sources, "GROUP_ROWS", 128)


def as_hdf5(x, folder):
    file = h5py.File(folder / "x.h5", "w")
    return file.create_dataset("x", data=x, chunks=(100, 2), compression="gzip")


def as_zarr(x, folder):
    zarr = pytest.importorskip("zarr")
    return zarr.array(x, chunks=(100, 2), store=folder / "x.zarr")


def as_map(x, folder):
    np.save(folder / "x.npy", x)
    return np.load(folder / "x.npy", mmap_mode="r")


def as_path(x, folder):
    np.save(folder / "x.npy", x)
    return folder / "x.npy"


SOURCES = {
    "array": lambda x, folder: x,
    "slices": lambda x, folder: Sliced(x),
    "HDF5": as_hdf5,
    "Zarr": as_zarr,
    "memory map": as_map,
    "part of a memory map": lambda x, folder: as_map(np.vstack([x[:5], x]), folder)[5:],
    "path": as_path,
    "name": lambda x, folder: str(as_path(x, folder)),
    "chunks": lambda x, folder: [x[:300], x[300:301], x[301:]],
    "generator": lambda x, folder: (x[start : start + 200] for start in range(0, ROWS, 200)),
}


@pytest.mark.parametrize("kind", SOURCES)
def test_every_source_has_the_sketch_of_its_rows(tmp_path, x, omega, kind):
    sk = fastcl.sketch(SOURCES[kind](x, tmp_path), omega)
    expected = fastcl.sketch(x, omega).values
    assert sk.count == ROWS
    if kind in ("chunks", "generator"):  # each chunk begins a part: other partial sums, in float32
        assert_within(sk.values, expected, 32 * np.finfo(np.float32).eps)
    else:
        np.testing.assert_array_equal(sk.values, expected)
    assert sk.pass_state is None


def test_the_rows_of_a_sliced_source_are_read_once_and_in_slices(x, omega):
    source = Sliced(x)
    fastcl.sketch(source, omega)
    assert source.read == ROWS


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (Sliced(np.zeros((3, 3))), "x has 3 columns|x must have 2 columns"),
        (Sliced(np.zeros(3)), "x must be 2-D"),
        (Sliced(np.zeros((0, 2))), "x is empty"),
        (Sliced(np.full((3, 2), np.nan)), "x holds NaN"),
    ],
)
def test_bad_slices_are_an_error_that_names_x(omega, bad, message):
    with pytest.raises(ValueError, match=message):
        fastcl.sketch(bad, omega)
    with pytest.raises(TypeError, match="x must be real"):
        fastcl.sketch(Sliced(np.zeros((3, 2), complex)), omega)


def test_paths_that_lead_nowhere_are_named(tmp_path, omega):
    for path in ("points", tmp_path / "points.npy"):
        with pytest.raises(FileNotFoundError, match="points"):
            fastcl.sketch(path, omega)
    (tmp_path / "text.txt").write_text("0 1")
    with pytest.raises(ValueError, match=r"text\.txt"):
        fastcl.sketch(tmp_path / "text.txt", omega)


# ---- memory maps ---------------------------------------------------------------------------------


def resident_bytes_of_files():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("RssFile"))


@pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="only Linux counts resident pages of files"
)
def test_pages_of_a_memory_map_are_released(tmp_path, rng):
    x = as_map(np.zeros((8_000_000, 2), np.float32), tmp_path)  # 64 MB
    source = sources.Rows(x, 2)
    source.step = 1 << 17
    before = resident_bytes_of_files()
    most = 0
    for rows, first, last in source.parts(0):
        rows[first:last].sum()
        most = max(most, resident_bytes_of_files() - before)
    assert 0 < most < 10e6  # a part is 1 MB, and pages come in groups of up to 2 MB


def test_what_was_written_to_a_private_map_stays(tmp_path, x, omega):
    np.save(tmp_path / "x.npy", x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="c")
    mapped += 1
    expected = fastcl.sketch(x + 1, omega).values
    np.testing.assert_array_equal(fastcl.sketch(mapped, omega).values, expected)
    np.testing.assert_array_equal(mapped, x + 1)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["<f4", ">f8", "<i2"])
def test_an_array_that_cannot_be_mapped_is_read_by_slices(tmp_path, monkeypatch, x, order, dtype):
    def refuse(*given, **named):
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    x = np.asarray(10 * x, dtype, order=order)
    np.save(tmp_path / "x.npy", x)
    omega = fastcl.draw_frequencies(10, dim=2, scale=0.7, rng=1)
    expected = fastcl.sketch(tmp_path / "x.npy", omega)
    monkeypatch.setattr(np, "memmap", refuse)
    monkeypatch.setattr("numpy.lib._format_impl.open_memmap", refuse, raising=False)
    monkeypatch.setattr("numpy.lib.format.open_memmap", refuse)
    opened = readers.read_array(tmp_path / "x.npy")
    assert isinstance(opened, readers.NpyFile)
    np.testing.assert_array_equal(opened[100:300], x[100:300])
    np.testing.assert_array_equal(sources.Rows(opened, 2).take(np.array([3, 999])), x[[3, 999]])
    sk = fastcl.sketch(tmp_path / "x.npy", omega)
    np.testing.assert_array_equal(sk.values, expected.values)
    content = (tmp_path / "x.npy").read_bytes()
    (tmp_path / "x.npy").write_bytes(content[:-1])
    with pytest.raises(OSError, match=r"x\.npy' became shorter"):
        opened[0:1000]
    with pytest.raises(ValueError, match=r"x\.npy' is not a readable"):
        fastcl.sketch(tmp_path / "x.npy", omega)


# ---- images --------------------------------------------------------------------------------------


def test_the_points_of_a_folder_are_the_patches_of_its_images(tmp_path):
    folder = write_images(tmp_path / "images")
    omega = fastcl.draw_frequencies(20, dim=9, scale=1.0, rng=0)
    sk = fastcl.sketch(folder, omega)
    patches = (extract_patches(image[None], (3, 3)) for image in read_images(folder))
    expected = fastcl.sketch(patches, omega)
    assert sk.count == expected.count == 18 * 28 + 23 * 13 + 28 * 28
    # Each band is a part, so that the partial sums differ.
    assert_within(sk.values, expected.values, 32 * np.finfo(np.float64).eps)


def test_a_folder_needs_square_patches_that_fit(tmp_path):
    folder = write_images(tmp_path / "images")
    with pytest.raises(ValueError, match=r"x is a folder of images.*omega has 2 columns"):
        fastcl.sketch(folder, np.ones((3, 2)))
    with pytest.raises(
        ValueError, match=r"png' of 20 x 30 pixels is smaller than a patch of 21 x 21"
    ):
        fastcl.sketch(folder, np.ones((3, 441)))
