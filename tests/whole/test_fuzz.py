"""A damaged file gives one clear error or a sound object, in little time and memory."""

import contextlib
import functools
import io
import time
import tracemalloc

import imageio.v3 as iio
import mutations
import numpy as np
import pytest
import scipy.stats  # noqa: F401  # its import is slow while memory is traced
from hunting import seeds
from mutations import HEADERS, damage_archive, damage_array, damage_bytes, members_of, npy, pack
from problems import threads
from test_storage import SAVED

import fastcl
from fastcl.cli.main import main
from fastcl.data import readers

MAX_MEMORY = 64 << 20  # bytes that reading a damaged file of a few KiB may take
MAX_SECONDS = 30  # thousands of times what reading takes: this looks for hangs


@pytest.fixture(autouse=True)
def one_thread():
    with threads(1):
        yield


def damage(content, rng):
    return (
        damage_archive(content, rng)
        if content[:2] == b"PK" and rng.integers(3)
        else damage_bytes(content, rng)
    )


def cases(examples, contents):
    """Yield (label, name, damaged bytes); each case has a random generator of its own."""
    numbers, seed = seeds(examples)
    names = sorted(contents)
    for number in numbers:
        rng = np.random.default_rng([seed, number])
        name = names[number % len(names)]
        yield f"[{seed}, {number}] of {name}", name, damage(contents[name], rng)


def within_limits(call, max_memory=MAX_MEMORY):
    """The result of call(), which must take little time and memory."""
    tracemalloc.start()
    start = time.perf_counter()
    try:
        return call()
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert time.perf_counter() - start < MAX_SECONDS
        assert peak < max_memory


def saved_bytes(folder, thing):
    thing.save(folder / "saved.npz")
    return (folder / "saved.npz").read_bytes()


@pytest.mark.slow
def test_damaged_files_are_an_error_or_a_sound_object(tmp_path):
    contents = {name: saved_bytes(tmp_path, thing) for name, thing in SAVED.items()}
    path = tmp_path / "damaged.npz"
    for label, _, content in cases(400, contents):
        path.write_bytes(content)
        try:
            thing = within_limits(lambda: fastcl.load(path))
        except ValueError as error:
            assert "damaged.npz" in str(error), label  # noqa: PT017
            continue
        except Exception as error:
            raise AssertionError(label) from error
        try:
            use(thing)
        except (ValueError, FloatingPointError):  # numbers that cannot be a density or a transform
            continue
        except Exception as error:
            raise AssertionError(label) from error


def use(thing):
    thing.to_arrays()
    if hasattr(thing, "values") and thing.count:
        assert np.isfinite(thing.values).all()
    if hasattr(thing, "energy"):
        with np.errstate(all="ignore"):
            thing.energy(np.zeros((2, thing.dim)))


@pytest.mark.parametrize(
    "header", [*HEADERS, "{'descr': '<f8', 'shape': ((", "\0", "{'descr': '<i8', 'shape': (1L,), "]
)
def test_headers_that_make_no_sense_are_named(tmp_path, header):
    path, members = tmp_path / "damaged.npz", members_of(saved_bytes(tmp_path, SAVED["sketch"]))
    path.write_bytes(pack((members | {"total.npy": npy(header)}).items()))
    with pytest.raises(ValueError, match=r"damaged\.npz"):
        within_limits(lambda: fastcl.load(path))
    (tmp_path / "rows.npy").write_bytes(npy(header, b""))
    with pytest.raises((ValueError, TypeError), match=r"rows\.npy"):
        within_limits(lambda: readers.read_array(tmp_path / "rows.npy"))


@pytest.mark.parametrize(
    "count",
    [
        np.uint64(2**63),
        np.float64(1.5),
        np.float16(0.5),
        np.array([50]),
        np.int64(-1),
        np.str_("50"),
    ],
)
def test_a_count_that_is_not_a_whole_number_is_refused(tmp_path, count):
    path, members = tmp_path / "damaged.npz", members_of(saved_bytes(tmp_path, SAVED["sketch"]))
    path.write_bytes(pack((members | {"count.npy": mutations.as_npy(count)}).items()))
    with pytest.raises(ValueError, match="not a sketch: count must"):
        fastcl.load(path)


def test_a_header_longer_than_its_file_takes_no_memory(tmp_path):
    (tmp_path / "rows.npy").write_bytes(b"\x93NUMPY\x02\x00\xff\xff\xff\x7f" + b" " * 100)
    with pytest.raises(ValueError, match=r"rows\.npy"):
        within_limits(lambda: readers.read_array(tmp_path / "rows.npy"))


def test_complex_precisions_are_refused(tmp_path):
    path = tmp_path / "damaged.npz"
    members = members_of(saved_bytes(tmp_path, SAVED["image-model"]))
    header = "{'descr': '<c16', 'fortran_order': False, 'shape': (2,), }"
    members["precisions.npy"] = npy(header, np.array([1 + 1j, 2]).tobytes())
    path.write_bytes(pack(members.items()))
    with pytest.raises(ValueError, match="precisions must be real"):
        fastcl.load(path)


@pytest.mark.parametrize("code", [0xD800, 0x110000, 0xFFFFFFFF])
@pytest.mark.parametrize("order", "<>")
def test_text_that_is_not_unicode_is_refused(tmp_path, code, order):
    path, members = tmp_path / "damaged.npz", members_of(saved_bytes(tmp_path, SAVED["sketch"]))
    text = np.array([ord("a"), code], f"{order}u4").view(f"{order}U2").reshape(())
    header = f"{{'descr': '{order}U2', 'fortran_order': False, 'shape': ()}}"
    path.write_bytes(pack((members | {"kind.npy": npy(header, text.tobytes())}).items()))
    with pytest.raises(ValueError, match="not Unicode"):
        fastcl.load(path)


def test_damaged_checkpoints_are_an_error_or_resume(tmp_path):
    def learn(path, n_iter=3):
        prior = fastcl.MLPPrior(3, (4,), rng=0)
        box = fastcl.Box(-np.ones(3), np.ones(3))
        return fastcl.learn(
            prior, SAVED["sketch"], box, n_points=8, n_iter=n_iter, rng=0, checkpoint=path
        )

    learn(tmp_path / "c.npz", 2)
    content, path = (tmp_path / "c.npz").read_bytes(), tmp_path / "damaged.npz"
    for label, _, damaged in cases(150, {"checkpoint": content}):
        path.write_bytes(damaged)
        try:
            within_limits(lambda: learn(path))
        except (ValueError, FloatingPointError):
            continue
        except Exception as error:
            raise AssertionError(label) from error


def make_inputs(folder):
    """Write a file of every kind that a command reads; returns name -> command that reads it."""
    rng = np.random.default_rng(0)
    np.save(folder / "rows.npy", rng.standard_normal((40, 3)))
    iio.imwrite(folder / "grey.png", rng.integers(0, 256, (9, 11), np.uint8))
    SAVED["sketch"].save(folder / "sketch.npz")
    fastcl.SignalModel(SAVED["patch-sketch"].transform, SAVED["patch-sketch"].reference).save(
        folder / "model.npz"
    )
    SAVED["prior"].save(folder / "prior.npz")
    (folder / "images").mkdir()
    return {
        "rows.npy": "sketch {} -o out.npz -m 4 --scale 1",
        "sketch.npz": "learn {} -o out.npz --iterations 1 --points 8",
        "model.npz": "denoise {} grey.png -o out.png --sigma 5",
        "grey.png": "denoise model.npz {} -o out.png --sigma 5",
        "prior.npz": "denoise {} rows.npy -o out.npy --sigma 1",
    }


@pytest.mark.slow
def test_commands_on_damaged_files_print_one_line_and_leave_the_output_as_it_was(
    tmp_path, monkeypatch, capsys
):
    commands = make_inputs(tmp_path)
    monkeypatch.chdir(tmp_path)
    contents = {name: (tmp_path / name).read_bytes() for name in commands}
    for label, name, content in cases(100, contents):
        rng = np.random.default_rng(len(content))
        if name.endswith(".npy") and rng.integers(2):
            content = (
                npy(HEADERS[rng.integers(len(HEADERS))])
                if rng.integers(2)
                else as_npy(contents[name], rng)
            )
        max_memory = np.inf if name.endswith(".png") else MAX_MEMORY  # Pillow limits its pixels
        damaged = tmp_path / f"damaged-{name}"
        damaged.write_bytes(content)
        out = commands[name].split(" -o ")[1].split()[0]
        (tmp_path / out).write_bytes(b"what there was")
        try:
            command = commands[name].format(damaged.name)
            status = within_limits(functools.partial(main, command.split()), max_memory)
        except BaseException as error:
            raise AssertionError(label) from error
        errors = capsys.readouterr().err
        if status == 2:
            assert errors.count("\n") == 1, label
            assert (tmp_path / out).read_bytes() == b"what there was", label
        else:
            assert (status, errors) == (0, ""), label
        left = {path.name for path in tmp_path.iterdir()}
        assert left == {*commands, "images", damaged.name, out}, label
        damaged.unlink()
        (tmp_path / out).unlink()
    assert all((tmp_path / name).read_bytes() == content for name, content in contents.items())


def as_npy(content, rng):
    buffer = io.BytesIO()
    np.save(buffer, damage_array(np.load(io.BytesIO(content)), rng), allow_pickle=True)
    return buffer.getvalue()


def test_a_length_in_an_image_is_not_taken_for_memory(tmp_path):
    iio.imwrite(tmp_path / "grey.png", np.zeros((20, 20), np.uint8))
    content = bytearray((tmp_path / "grey.png").read_bytes())
    start = content.index(b"IDAT") - 4
    content[start : start + 4] = b"\x7f\xff\xff\xff"  # 2 GiB of a file of 100 bytes
    (tmp_path / "grey.png").write_bytes(content)
    with contextlib.suppress(ValueError):  # or it returns the part of the image that is there
        within_limits(lambda: readers.read_image(tmp_path / "grey.png"))
