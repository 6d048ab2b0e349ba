"""Folders of signals of one kind, read one at a time, and what becomes of odd files."""

import tracemalloc

import imageio.v3 as iio
import numpy as np
import pytest
import tifffile

from fastcl.data import sound_formats
from fastcl.data.npy_files import NpyFile
from fastcl.data.readers import ImageFolder, SignalFolder
from fastcl.data.signal_files import SignalFile

RNG = np.random.default_rng(0)


def levels(*shape, dtype=np.uint8):
    return RNG.integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def write_sound(path, sound, rate=8000, sample="int16"):
    with open(path, "wb") as file:
        sound_formats.write_sound(file, sound, rate, sample)


def write_stack(path, volume):
    tifffile.imwrite(path, volume, photometric="rgb" if volume.ndim == 4 else "minisblack")


def fill(folder, kind):
    """The signals of a folder with two files of this kind, as floats."""
    if kind == "photograph":
        signals = [levels(20, 30), levels(25, 22)]
        for name, image in zip(("a.png", "b.tif"), signals, strict=True):
            iio.imwrite(folder / name, image)
    elif kind == "volume":
        signals = [levels(5, 6, 7), levels(4, 8, 9, dtype=np.uint16)]
        for name, volume in zip(("a.tif", "b.TIFF"), signals, strict=True):
            write_stack(folder / name, volume)
    elif kind == "array":
        signals = [levels(5, 6, 7), RNG.standard_normal((4, 8, 9)).astype(np.float32)]
        for name, volume in zip(("a.npy", "b.npy"), signals, strict=True):
            np.save(folder / name, volume)
    else:
        signals = [levels(*shape, dtype=np.int16) for shape in (SOUNDS[kind], SOUNDS[kind])]
        for name, sample, sound in zip(
            ("a.wav", "b.WAV"), ("int16", "float32"), signals, strict=True
        ):
            write_sound(folder / name, sound / 32768, sample=sample)
        return [signal / 32768 for signal in signals]
    return [
        signal / (np.iinfo(signal.dtype).max if signal.dtype.kind == "u" else 1)
        for signal in signals
    ]


SOUNDS = {"sound": (50,), "stereo": (50, 2)}


@pytest.mark.parametrize("kind", ["photograph", "volume", "array", *SOUNDS])
def test_a_folder_is_a_sequence_of_its_signals(tmp_path, monkeypatch, kind):
    expected = fill(tmp_path, kind)
    (tmp_path / "._a.png").write_text("hidden")
    (tmp_path / "notes.txt").write_text("no signal")
    with monkeypatch.context() as patch:
        patch.setattr(SignalFile, "read", lambda file: pytest.fail("only headers are needed"))
        folder = SignalFolder(tmp_path, 2)
    assert folder.kind == ("sound" if kind in SOUNDS else kind)
    assert folder.shapes == [signal.shape for signal in expected]
    assert folder.channel_axis == (-1 if kind == "stereo" else None)
    assert folder.rate == (8000 if kind in SOUNDS else None)
    assert len(folder) == 2
    for signal, known in zip(folder, expected, strict=True):
        np.testing.assert_allclose(signal, known, atol=1e-7)
    sizes = [(path.name, path.stat().st_size) for path in folder.paths]
    assert folder.describe() == repr(sizes)


@pytest.mark.parametrize("kind", ["photograph", "volume"])
def test_colour_or_grey(tmp_path, kind):
    shape = (20, 30) if kind == "photograph" else (5, 20, 30)
    grey, colour = levels(*shape), levels(*shape, 3)
    if kind == "photograph":
        iio.imwrite(tmp_path / "grey.png", grey)
        iio.imwrite(tmp_path / "colour.png", colour)
    else:
        write_stack(tmp_path / "grey.tif", grey)
        write_stack(tmp_path / "colour.tif", colour)
    folder = SignalFolder(tmp_path, colour=True)
    assert folder.shapes == [(*shape, 3)] * 2
    assert folder.channel_axis == -1
    np.testing.assert_allclose(folder[0], colour / 255, rtol=1e-6)
    np.testing.assert_allclose(folder[1], np.stack([grey / 255] * 3, -1), rtol=1e-6)
    folder = SignalFolder(tmp_path)
    assert folder.shapes == [shape] * 2
    weights = [0.2125, 0.7154, 0.0721]
    np.testing.assert_allclose(folder[0], colour / 255 @ weights, rtol=1e-5)
    np.testing.assert_allclose(folder[1], grey / 255, rtol=1e-6)
    next(tmp_path.glob("colour.*")).unlink()
    with pytest.raises(ValueError, match=f"no {kind} in .* has colour"):
        SignalFolder(tmp_path, colour=True)


def test_arrays_have_channels_if_they_are_in_colour(tmp_path):
    np.save(tmp_path / "a.npy", levels(8, 9, 3))
    np.save(tmp_path / "b.npy", levels(7, 5, 3))
    folder = SignalFolder(tmp_path, (4, 5), colour=True)
    assert (folder.shapes, folder.channel_axis) == ([(8, 9, 3), (7, 5, 3)], -1)
    folder = SignalFolder(tmp_path, (4, 5, 2))
    assert (folder.shapes, folder.channel_axis) == ([(8, 9, 3), (7, 5, 3)], None)


# name -> (function that writes a file into a folder of three sounds, what is said of it)
ODD = {
    "rate": (lambda path: write_sound(path, np.zeros(50), 16000), "of 16000 Hz, but .* of 8000 Hz"),
    "stereo": (lambda path: write_sound(path, np.zeros((50, 2))), "with 2 channels"),
    "short": (lambda path: write_sound(path, np.zeros(9)), "of 9 samples is smaller than a patch"),
    "text": (lambda path: path.write_text("no sound"), "is not a readable WAV file"),
    "cut": (
        lambda path: path.write_bytes((path.parent / "1.wav").read_bytes()[:-10]),
        "is truncated",
    ),
    "nan": (
        lambda path: write_sound(path, np.full(50, np.nan), sample="float32"),
        "holds NaN or infinity",
    ),
}


@pytest.mark.parametrize("name", ODD)
def test_an_odd_file_is_named_or_skipped(tmp_path, name):
    for k in range(1, 4):
        write_sound(tmp_path / f"{k}.wav", np.sin(np.arange(50) + k) / 2)
    write, words = ODD[name]
    write(tmp_path / "0.wav")  # the first one; the others are still the most
    with pytest.raises(ValueError, match=rf"0\.wav' .*{words}") as caught:
        list(SignalFolder(tmp_path, 10))
    assert "\n" not in str(caught.value)
    with pytest.warns(UserWarning, match=rf"skipped: .*0\.wav' .*{words}") as warned:
        folder = SignalFolder(tmp_path, 10, skip_bad=True)
    assert len(warned) == 1
    assert [path.name for path in folder.paths] == ["1.wav", "2.wav", "3.wav"]


@pytest.mark.parametrize("skip_bad", [False, True])
@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("a.png", "b.wav"), r"a\.png' is a photograph, but .*b\.wav' is a sound"),
        (("b.npy", "c.wav"), r"b\.npy' is an array, but .*c\.wav' is a sound"),
        (("a.tif", "b.wav"), r"a\.tif' is a TIFF file, but .*b\.wav' is a sound"),
    ],
)
def test_kinds_do_not_mix(tmp_path, names, words, skip_bad):
    for name in names:
        (tmp_path / name).write_text("not even opened")
    with pytest.raises(ValueError, match=f"{words}.*: put each kind into a folder of its own"):
        SignalFolder(tmp_path, skip_bad=skip_bad)


def test_a_stack_among_photographs_is_named_or_skipped(tmp_path):
    fill(tmp_path, "photograph")
    write_stack(tmp_path / "c.tif", levels(3, 20, 20))
    with pytest.raises(ValueError, match=r"c\.tif' is a volume, but .*a\.png' is a photograph"):
        SignalFolder(tmp_path)
    with pytest.warns(UserWarning, match=r"skipped: .*c\.tif' is a volume"):
        assert len(SignalFolder(tmp_path, skip_bad=True)) == 2
    with pytest.raises(ValueError, match=r"c\.tif' has 3 pages"):
        ImageFolder(tmp_path)


def test_a_folder_of_photographs_passes_over_other_kinds(tmp_path):
    fill(tmp_path, "photograph")
    np.save(tmp_path / "c.npy", np.zeros((20, 20)))
    assert [path.name for path in ImageFolder(tmp_path).paths] == ["a.png", "b.tif"]
    iio.imwrite(tmp_path / "c.png", levels(20, 20, 3))
    assert ImageFolder(tmp_path, colour=True).shapes == [(20, 30, 3), (25, 22, 3), (20, 20, 3)]


@pytest.mark.parametrize(
    ("array", "settings", "words"),
    [
        (np.zeros((4, 5, 6, 2)), {}, "it needs 1 to 3 axes, and colour if there are channels"),
        (np.zeros(()), {}, "it needs 1 to 3 axes"),
        (np.zeros(9), {"colour": True}, "it needs 1 to 3 axes and one of channels"),
        (np.zeros((0, 5)), {}, "is empty"),
        (np.zeros((4, 5), np.int64), {}, "holds int64: save it as 8 or 16-bit integers"),
        (np.zeros((4, 5), complex), {}, "holds complex128"),
        (np.full((4, 5), np.inf), {}, "holds NaN or infinity"),
        (np.zeros((4, 5)), {"patch": (2, 2, 2)}, "patch must have one side, or 2 for an array"),
        (np.zeros((4, 5)), {"patch": 5}, "of 4 x 5 pixels is smaller than a patch of 5 x 5"),
    ],
)
def test_arrays_that_are_no_signals_are_refused(tmp_path, array, settings, words):
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(ValueError, match=words):
        list(SignalFolder(tmp_path, **settings))


def test_sounds_have_no_colour_and_channels_no_grey(tmp_path):
    write_sound(tmp_path / "a.wav", np.zeros(50))
    with pytest.raises(ValueError, match="not for sounds"):
        SignalFolder(tmp_path, colour=True)
    (tmp_path / "a.wav").unlink()
    for channels in (2, 3):  # of a microscope, say
        volume = levels(5, channels, 8, 9)
        tifffile.imwrite(tmp_path / "a.tif", volume, imagej=True, metadata={"axes": "ZCYX"})
        words = rf"a\.tif' has {channels} channels: keep them with colour"
        with pytest.raises(ValueError, match=words):
            SignalFolder(tmp_path)
        assert SignalFolder(tmp_path, colour=True).shapes == [(5, 8, 9, channels)]


def test_a_folder_that_is_none(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match=r"'.*file' is a file, but a folder of signals"):
        SignalFolder(tmp_path / "file")
    with pytest.raises(FileNotFoundError, match="no such folder"):
        SignalFolder(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"no signal \(.png.*\.wav, \.npy\) in"):
        SignalFolder(tmp_path)


def test_a_file_that_changes_while_it_is_read_is_named(tmp_path):
    fill(tmp_path, "sound")
    folder = SignalFolder(tmp_path)
    write_sound(tmp_path / "a.wav", np.sin(np.arange(40)) / 2)
    with pytest.raises(ValueError, match=r"a\.wav' changed while it was read"):
        folder[0]


def test_the_header_of_a_large_volume_takes_no_memory(tmp_path):
    write_stack(tmp_path / "a.tif", np.zeros((40, 256, 256), np.uint16))
    np.save(tmp_path / "a.npy", np.zeros((40, 256, 256), np.uint16))
    for name, kind in (("a.npy", "array"), ("a.tif", "volume")):
        (tmp_path / kind).mkdir()
        (tmp_path / name).rename(tmp_path / kind / name)
        SignalFolder(tmp_path / kind, 5)  # whatever is imported
        tracemalloc.start()
        SignalFolder(tmp_path / kind, 5)
        assert tracemalloc.get_traced_memory()[1] < 1e6
        tracemalloc.stop()


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_volume_that_cannot_be_mapped_is_read_by_slices(tmp_path, order):
    volume = np.asarray(levels(6, 4, 5, 2), order=order)
    np.save(tmp_path / "a.npy", volume)
    np.testing.assert_array_equal(NpyFile(tmp_path / "a.npy")[2:5], volume[2:5])
    np.testing.assert_array_equal(NpyFile(tmp_path / "a.npy")[:], volume)
