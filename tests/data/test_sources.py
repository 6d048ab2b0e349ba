"""Passes over what does not fit into memory: every source in parts, interrupted anywhere, with every point counted once."""

import os
import signal
import subprocess
import sys

import h5py
import imageio.v3 as iio
import numpy as np
import pytest
from pictures import do_little, photograph

import fastcl
from fastcl.cli.main import main
from fastcl.data import sources
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


class Sliced:
    """What has no more than a shape, a type and slices; counts the rows that were asked for."""

    def __init__(self, x):
        self.x, self.shape, self.dtype, self.read = x, x.shape, x.dtype, 0

    def __getitem__(self, index):
        assert isinstance(index, slice)
        self.read += len(self.x[index])
        return self.x[index]


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
    assert sk.count == ROWS
    if kind in (
        "chunks",
        "generator",
    ):  # parts begin with every chunk: other partial sums, in float32
        np.testing.assert_allclose(
            sk.values, fastcl.sketch(x, omega).values, atol=32 * np.finfo(np.float32).eps
        )
    else:
        np.testing.assert_array_equal(sk.values, fastcl.sketch(x, omega).values)
    assert sk.pass_state is None


def test_the_rows_of_a_sliced_source_are_read_once_and_in_slices(x, omega):
    source = Sliced(x)
    fastcl.sketch(source, omega)
    assert source.read == ROWS


class Stop(Exception):
    """Raised in the middle of a pass."""


def interrupted(x, after, error):
    """Sliced x that raises once `after` rows have been read."""
    source = Sliced(x)
    read = source.__getitem__

    class Interrupted(Sliced):
        def __getitem__(self, index):
            if (
                index.start >= after and index.stop - index.start > 1
            ):  # not the rows that tell data apart
                raise error
            return read(index)

    return Interrupted(x)


@pytest.mark.parametrize("error", [KeyboardInterrupt, Stop])
@pytest.mark.parametrize("every", [1, 300, 10_000])
def test_an_interrupted_pass_goes_on_to_the_bits_of_an_unbroken_one(
    tmp_path, x, omega, every, error
):
    path, given = (
        tmp_path / "state.npz",
        {"checkpoint": tmp_path / "state.npz", "checkpoint_every": every},
    )
    whole = fastcl.sketch(x, omega)
    for after, counted in ((500, 512), (800, 896)):
        with pytest.raises(error):
            fastcl.sketch(interrupted(x, after, error), omega, **given)
        state = fastcl.Sketch.load(path)  # a sketch like any other, of the first points
        assert state.count == counted
        assert not state.pass_state.complete
        np.testing.assert_allclose(
            state.values, fastcl.sketch(x[:counted], omega).values, rtol=1e-15
        )
    source = Sliced(x)
    sk = fastcl.sketch(source, omega, **given)
    assert source.read == ROWS - 896 + min(ROWS, sources.PROBES)
    assert sk.count == ROWS
    np.testing.assert_array_equal(sk.values, whole.values)


def test_an_interruption_says_what_was_kept(tmp_path, x, omega):
    with pytest.raises(KeyboardInterrupt, match=r"first 512 points are kept in '.*state\.npz'"):
        fastcl.sketch(
            interrupted(x, 500, KeyboardInterrupt), omega, checkpoint=tmp_path / "state.npz"
        )


def stop_at(monkeypatch, *places, counted=False):
    """KeyboardInterrupt at these calls of `add_sums`, after the part is counted or before."""
    add, calls = fastcl.Sketch.add_sums, []

    def stopped(self, total, count):
        calls.append(count)
        stop = len(calls) in places
        if stop and not counted:
            raise KeyboardInterrupt
        add(self, total, count)
        if stop:
            raise KeyboardInterrupt

    monkeypatch.setattr(fastcl.Sketch, "add_sums", stopped)


@pytest.mark.parametrize("counted", [False, True])
@pytest.mark.parametrize("place", range(0, 9))
def test_an_interruption_beside_a_part_loses_nothing(
    tmp_path, monkeypatch, x, omega, place, counted
):
    path = tmp_path / "state.npz"
    with monkeypatch.context() as patch:
        stop_at(patch, place, counted=counted)
        if place:
            with pytest.raises(KeyboardInterrupt):
                fastcl.sketch(x, omega, checkpoint=path)
    assert path.exists() == (place + counted > 1)
    sk = fastcl.sketch(x, omega, checkpoint=path)
    assert sk.count == ROWS
    np.testing.assert_array_equal(sk.values, fastcl.sketch(x, omega).values)


def test_no_interruption_parts_the_sums_from_their_count(x, omega):
    """Ctrl-C may come between any two instructions: here at each one of `add_sums` in turn."""
    sums = fastcl.Sketch(omega).sum_rows(x)

    def interrupted_at(instruction):
        sk = fastcl.Sketch(omega)
        left = [instruction]

        def trace(frame, event, argument):
            if frame.f_code is not fastcl.Sketch.add_sums.__code__:
                return None
            frame.f_trace_opcodes = True
            if event == "opcode":
                left[0] -= 1
                if left[0] < 0:
                    raise KeyboardInterrupt
            return trace

        before = sys.gettrace()
        sys.settrace(trace)
        try:
            sk.add_sums(sums, ROWS)
        except KeyboardInterrupt:
            return sk, True
        finally:
            sys.settrace(before)
        return sk, False

    seen, stopped, instruction = set(), True, 0
    while stopped:
        sk, stopped = interrupted_at(instruction)
        np.testing.assert_array_equal(sk.total, sums if sk.count else np.zeros_like(sums))
        seen.add(sk.count)
        instruction += 1
    assert seen == {0, ROWS}
    assert instruction > 30  # of which most were interrupted


def test_chunks_go_on_behind_those_that_were_counted(tmp_path, x, omega):
    def chunks(stop=None):
        for start in range(0, ROWS, 190):
            if start == stop:
                raise Stop
            yield x[start : start + 190]

    whole = fastcl.sketch(chunks(), omega)
    with pytest.raises(Stop):
        fastcl.sketch(chunks(570), omega, checkpoint=tmp_path / "state.npz", checkpoint_every=1)
    sk = fastcl.sketch(chunks(), omega, checkpoint=tmp_path / "state.npz")
    assert sk.count == ROWS
    np.testing.assert_array_equal(sk.values, whole.values)


def test_chunks_that_end_early_are_not_the_same_data(tmp_path, x, omega):
    path = tmp_path / "state.npz"

    def broken():
        yield x[:500]
        raise Stop

    with pytest.raises(Stop):
        fastcl.sketch(broken(), omega, checkpoint=path)
    with pytest.raises(ValueError, match="x ended 100 points before"):
        fastcl.sketch([x[:400]], omega, checkpoint=path)
    assert fastcl.Sketch.load(path).count == 500


def test_progress_counts_points_from_where_the_pass_goes_on(tmp_path, monkeypatch, x, omega):
    bars = []

    class Bar:
        def __init__(self, show, total, title, unit, initial):
            self.given, self.counts = (show, total, unit, initial), []
            bars.append(self)

        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

        def update(self, count):
            self.counts.append(count)

    monkeypatch.setattr("fastcl.sketching.checkpoint.progress_bar", Bar)
    with pytest.raises(Stop):
        fastcl.sketch(
            interrupted(x, 500, Stop), omega, progress=True, checkpoint=tmp_path / "state.npz"
        )
    fastcl.sketch(x, omega, progress=True, checkpoint=tmp_path / "state.npz")
    fastcl.sketch(iter([x]), omega)
    assert [bar.given for bar in bars] == [
        (True, 1000, "point", 0),
        (True, 1000, "point", 512),
        (False, None, "point", 0),
    ]
    assert [sum(bar.counts) for bar in bars] == [512, 488, 1000]


def test_a_complete_pass_reads_nothing_again(tmp_path, x, omega):
    path, source = tmp_path / "state.npz", Sliced(x)
    first = fastcl.sketch(x, omega, checkpoint=path)
    again = fastcl.sketch(source, omega, checkpoint=path)
    assert source.read == min(ROWS, sources.PROBES)
    np.testing.assert_array_equal(again.values, first.values)
    assert again.pass_state.complete


def test_a_checkpoint_of_other_data_or_frequencies_is_refused_and_kept(tmp_path, x, omega):
    path = tmp_path / "state.npz"
    with pytest.raises(Stop):
        fastcl.sketch(interrupted(x, 500, Stop), omega, checkpoint=path)
    before = path.read_bytes()
    for other in (x[:-1], x.astype(np.float64), x + 1, [x]):
        with pytest.raises(ValueError, match=r"state\.npz' belongs to other data"):
            fastcl.sketch(other, omega, checkpoint=path)
    with pytest.raises(ValueError, match=r"state\.npz' belongs to other frequencies"):
        fastcl.sketch(x, omega + 1, checkpoint=path)
    assert path.read_bytes() == before
    fastcl.sketch(x[:10], omega).save(path)
    with pytest.raises(ValueError, match="belongs to other data"):
        fastcl.sketch(x, omega, checkpoint=path)
    fastcl.Sketch.load(path).update(x).save(path)  # no longer the state of a pass
    with pytest.raises(ValueError, match="belongs to other data"):
        fastcl.sketch(x, omega, checkpoint=path)


@pytest.mark.parametrize("name", ["data", "complete", "seed"])
def test_a_damaged_state_of_a_pass_is_refused(tmp_path, x, omega, name):
    arrays = fastcl.sketch(x, omega, checkpoint=tmp_path / "state.npz").to_arrays()
    assert fastcl.Sketch.from_arrays(arrays).pass_state.complete
    missing = {key: array for key, array in arrays.items() if key != f"partial.{name}"}
    for damaged in (
        missing,
        *(
            arrays | {f"partial.{name}": strange}
            for strange in (np.nan, np.zeros((0, 3)), 1j, [True, False])
        ),
    ):
        with pytest.raises(ValueError, match="state of its pass is damaged"):
            fastcl.Sketch.from_arrays(damaged)


def test_updates_and_merges_are_no_longer_a_pass(tmp_path, x, omega):
    sk = fastcl.sketch(x, omega, checkpoint=tmp_path / "state.npz")
    assert (sk + sk).pass_state is None
    assert sk.update(x).pass_state is None


SCRIPT = """
import sys, time, numpy as np, fastcl
from fastcl.data import sources
sources.GROUP_ROWS = 128
x, omega = np.load(sys.argv[1], mmap_mode="r"), np.load(sys.argv[2])

class Slow:
    shape, dtype = x.shape, x.dtype

    def __getitem__(self, index):
        if index.start >= 500 and index.stop - index.start > 1:
            print("half", flush=True)
            time.sleep(60)
        return x[index]

fastcl.sketch(Slow(), omega, checkpoint=sys.argv[3], checkpoint_every=100)
"""


def test_a_killed_pass_goes_on(tmp_path, x, omega):
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "omega.npy", omega)
    command = [
        sys.executable,
        "-c",
        SCRIPT,
        *(str(tmp_path / name) for name in ("x.npy", "omega.npy", "state.npz")),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout.readline() == "half\n"
        os.kill(child.pid, signal.SIGKILL)
    assert fastcl.Sketch.load(tmp_path / "state.npz").count == 512
    sk = fastcl.sketch(x, omega, checkpoint=tmp_path / "state.npz")
    assert sk.count == ROWS
    np.testing.assert_array_equal(sk.values, fastcl.sketch(x, omega).values)


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


# ---- memory maps ------------------------------------------------------------------------------------------------


def resident_bytes_of_files():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("RssFile"))


@pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="resident pages are counted by Linux alone"
)
def test_pages_of_a_memory_map_do_not_stay(tmp_path, rng):
    x = as_map(np.zeros((8_000_000, 2), np.float32), tmp_path)  # 64 MB
    sources_rows = sources.Rows(x, 2)
    sources_rows.step = 1 << 17
    before, most = resident_bytes_of_files(), 0
    for rows, first, last in sources_rows.parts(0):
        rows[first:last].sum()
        most = max(most, resident_bytes_of_files() - before)
    assert 0 < most < 10e6  # a part is 1 MB, and pages come in groups of up to 2 MB


def test_what_was_written_to_a_private_map_stays(tmp_path, x, omega):
    np.save(tmp_path / "x.npy", x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="c")
    mapped += 1
    np.testing.assert_array_equal(
        fastcl.sketch(mapped, omega).values, fastcl.sketch(x + 1, omega).values
    )
    np.testing.assert_array_equal(mapped, x + 1)


# ---- images -----------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "images").mkdir()
    for index, shape in enumerate([(20, 30), (25, 15), (30, 30)]):
        levels = np.round(255 * np.clip(photograph(index, shape), 0, 1)).astype(np.uint8)
        iio.imwrite(tmp_path / "images" / f"{index}.png", levels)
    return tmp_path / "images"


def grey_images(folder):
    return [iio.imread(path) / 255 for path in sorted(folder.iterdir())]


def test_a_folder_of_images_is_the_patches_of_its_images(folder):
    omega = fastcl.draw_frequencies(20, dim=9, scale=1.0, rng=0)
    sk = fastcl.sketch(folder, omega)
    expected = fastcl.sketch((extract_patches(image, 3) for image in grey_images(folder)), omega)
    assert sk.count == expected.count == 18 * 28 + 23 * 13 + 28 * 28
    np.testing.assert_allclose(
        sk.values, expected.values, atol=32 * np.finfo(np.float64).eps
    )  # bands are parts of their own


def test_a_folder_wants_square_patches_that_fit(folder):
    with pytest.raises(ValueError, match=r"x is a folder of images.*omega has 2 columns"):
        fastcl.sketch(folder, np.ones((3, 2)))
    with pytest.raises(
        ValueError, match="image 0 of 20 x 30 pixels is smaller than a patch of 21 x 21"
    ):
        fastcl.sketch(folder, np.ones((3, 441)))


@pytest.mark.parametrize("kind", ["arrays", "folder"])
def test_a_pass_over_images_goes_on_where_it_stopped(tmp_path, folder, monkeypatch, kind):
    do_little(monkeypatch)
    monkeypatch.setattr(
        "fastcl.data.patches.CHUNK_PATCHES", 100
    )  # an image is read in several bands
    images = folder if kind == "folder" else grey_images(folder)
    whole = fastcl.sketch_images(images, 3, 20, rng=0)
    path = tmp_path / "state.npz"
    given = {"patch": 3, "m": 20, "rng": 0, "checkpoint": path, "checkpoint_every": 1}
    stop_at(monkeypatch, 7, 12)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt, match="patches are kept"):
            fastcl.sketch_images(images, **given)
    for other in ({"m": 21}, {"rng": 1}, {"images": grey_images(folder)[:2]}):
        with pytest.raises(ValueError, match="other images or settings"):
            fastcl.sketch_images(**{"images": images} | given | other)
    result = fastcl.sketch_images(images, **given)
    assert result.sketch.count == whole.sketch.count
    np.testing.assert_array_equal(result.sketch.values, whole.sketch.values)
    assert result.sketch.pass_state.complete


# ---- the command line -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dim", [2, 5])
def test_the_same_command_goes_on_with_an_interrupted_sketch(
    tmp_path, monkeypatch, capsys, rng, dim
):
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", rng.standard_normal((ROWS, dim)))
    assert main(["sketch", "x.npy", "-o", "whole.npz", "-m", "20"]) == 0
    stop_at(monkeypatch, 4)
    capsys.readouterr()
    assert main(["sketch", "x.npy", "-o", "s.npz", "-m", "20"]) == 130
    assert "the first 384 points are kept in 's.partial.npz'" in capsys.readouterr().err
    assert not os.path.exists("s.npz")
    assert main(["sketch", "x.npy", "-o", "s.npz", "-m", "21"]) == 2
    assert "belongs to other frequencies" in capsys.readouterr().err
    assert main(["sketch", "x.npy", "-o", "s.npz", "-m", "20"]) == 0
    assert not os.path.exists("s.partial.npz")
    one, other = (fastcl.load(name).to_arrays() for name in ("whole.npz", "s.npz"))
    assert one.keys() == other.keys()
    for name in one.keys() - {"privacy.identities"}:  # which are random
        np.testing.assert_array_equal(one[name], other[name])
