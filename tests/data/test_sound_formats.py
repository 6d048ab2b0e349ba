"""WAV files: read and written with full scale 1, or refused in the right words."""

import contextlib
import io
import struct

import numpy as np
import pytest
from scipy.io import wavfile

from fastcl.data import sound_formats

RATE = 8000
SAMPLES = list(sound_formats.BYTES)


def levels(sample, channels=1):
    """Random samples of a type, with its extremes among them; 24 bits as SciPy has them in 32."""
    rng = np.random.default_rng(0)
    shape = (31,) if channels == 1 else (31, channels)
    if sample[0] == "f":
        return rng.uniform(-1, 1, shape).astype(sample)
    limits = np.iinfo("int32" if sample == "int24" else sample)
    x = rng.integers(limits.min, limits.max, shape, np.int64, endpoint=True)
    x[0], x[1] = limits.min, limits.max
    return (x & ~0xFF).astype(np.int32) if sample == "int24" else x.astype(sample)


def wav(tag, channels, bits, content, *, extra=b"", size=None, magic=b"RIFF", extensible=False):
    """A WAV file with this format and content, and chunks before the samples."""
    order = ">" if magic == b"RIFX" else "<"
    block = channels * bits // 8
    first = 0xFFFE if extensible else tag
    form = struct.pack(f"{order}HHIIHH", first, channels, RATE, RATE * block, block, bits)
    if extensible:
        guid = struct.pack(f"{order}H", tag) + bytes.fromhex("000000001000800000aa00389b71")
        form += struct.pack(f"{order}HHI", 22, bits, 0) + guid
    size = len(content) if size is None else size
    chunks = b"fmt " + struct.pack(f"{order}I", len(form)) + form + extra
    chunks += b"data" + struct.pack(f"{order}I", size) + content
    return magic + struct.pack(f"{order}I", 4 + len(chunks)) + b"WAVE" + chunks


def write(path, content):
    path.write_bytes(content)
    return path


def written(x, rate=RATE, sample="int16"):
    file = io.BytesIO()
    sound_formats.write_sound(file, x, rate, sample)
    return file.getvalue()


@pytest.mark.parametrize("channels", [1, 2, 5])
@pytest.mark.parametrize("sample", SAMPLES)
def test_samples_come_back_as_they_were(tmp_path, sample, channels):
    x = levels(sample, channels)
    if sample == "int24":
        path = write(
            tmp_path / "x.wav", wav(1, channels, 24, x.reshape(-1, 1).view("u1")[:, 1:].tobytes())
        )
        full = 2.0**31
    else:
        path = tmp_path / "x.wav"
        wavfile.write(path, RATE, x)
        full = 2.0 ** (8 * x.itemsize - 1)
    sound = sound_formats.read_sound(path)
    expected = x.astype(np.float64)
    if sample[0] != "f":
        expected = (expected - 128 * (sample == "uint8")) / full
    np.testing.assert_array_equal(sound, expected)  # float32 holds 24 bits
    assert sound.dtype == (np.float64 if sample in ("int32", "float64") else np.float32)
    header = sound_formats.read_header(path)
    assert header[:4] == (RATE, channels, sample, len(x))
    again = write(tmp_path / "again.wav", written(sound, RATE, sample))
    rate, back = wavfile.read(again)
    assert rate == RATE
    assert back.dtype == x.dtype
    np.testing.assert_array_equal(back, x)


def test_integers_are_rounded_and_clipped_at_full_scale(tmp_path):
    x = np.array([-2, -1, 0.25 / 32768, 0.75 / 32768, 1, 2])
    _, back = wavfile.read(write(tmp_path / "x.wav", written(x)))
    np.testing.assert_array_equal(back, [-32768, -32768, 0, 1, 32767, 32767])
    _, back = wavfile.read(write(tmp_path / "x.wav", written(x, sample="float32")))
    np.testing.assert_array_equal(back, x.astype(np.float32))


@pytest.mark.parametrize(
    "settings",
    [
        {"magic": b"RIFX"},
        {"extensible": True},
        {"extra": b"LIST" + struct.pack("<I", 3) + b"abc\0"},  # a chunk of odd length is padded
        {"size": 0xFFFFFFFF},  # from a pipe
    ],
    ids=["big-endian", "extensible", "more chunks", "unknown size"],
)
@pytest.mark.parametrize("bits", [16, 24, 32])
def test_variants_of_the_header(tmp_path, settings, bits):
    order = ">" if settings.get("magic") else "<"
    x = levels(f"int{bits}", 2)
    content = x.astype(f"{order}i{2 if bits == 16 else 4}").tobytes()
    if bits == 24:
        keep = slice(3) if order == ">" else slice(1, 4)
        content = np.frombuffer(content, "u1").reshape(-1, 4)[:, keep].tobytes()
    path = write(tmp_path / "x.wav", wav(1, 2, bits, content, **settings))
    expected = x / (2.0**15 if bits == 16 else 2.0**31)
    np.testing.assert_array_equal(sound_formats.read_sound(path), expected)


GOOD = wav(1, 1, 16, levels("int16").tobytes())
REFUSED = {
    "nothing": (b"", "not a readable WAV file"),
    "text": (b"not a sound at all", "not a readable WAV file"),
    "cut": (GOOD[:-3], "is truncated"),
    "cut in the header": (GOOD[:30], "is not a readable WAV file"),
    "no samples": (wav(1, 1, 16, b""), "holds no samples"),
    "no data": (GOOD[:36], "it has no samples"),
    "half a frame": (wav(1, 2, 16, bytes(6)), "is truncated"),
    "mu-law": (wav(7, 1, 8, bytes(8)), r"is compressed \(mu-law\): save it as PCM"),
    "A-law": (wav(6, 1, 8, bytes(8)), r"is compressed \(A-law\)"),
    "ADPCM": (wav(2, 1, 4, bytes(8)), r"is compressed \(ADPCM\)"),
    "IMA": (wav(0x11, 1, 4, bytes(8)), r"is compressed \(IMA ADPCM\)"),
    "unknown": (wav(0x1234, 1, 8, bytes(8)), r"is compressed \(format 4660\)"),
    "no channels": (wav(1, 0, 16, bytes(8)), "its header is damaged"),
    "64 bits": (wav(1, 1, 64, bytes(8)), "holds samples of 64 bits"),
    "half floats": (wav(3, 1, 16, bytes(8)), "holds samples of 16 bits"),
    "NaN": (wav(3, 1, 32, np.float32([0, np.nan]).tobytes()), "holds NaN or infinity"),
    "a long length": (wav(1, 1, 16, bytes(8), size=0x7FFFFFF0), "is truncated"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_everything_else_is_refused_in_one_line(tmp_path, kind):
    content, words = REFUSED[kind]
    path = write(tmp_path / "x.wav", content)
    with pytest.raises(ValueError, match=f"x.wav' .*{words}") as caught:
        sound_formats.read_sound(path)
    assert "\n" not in str(caught.value)


def test_no_damage_makes_anything_but_a_value_error(tmp_path):
    rng = np.random.default_rng(0)
    for _ in range(100):
        content = bytearray(GOOD)
        for place in rng.integers(0, 44, 2):
            content[place] = rng.integers(256)
        path = write(tmp_path / "x.wav", bytes(content[: rng.integers(20, len(content) + 1)]))
        with contextlib.suppress(ValueError):
            assert np.isfinite(sound_formats.read_sound(path)).all()


def test_more_than_a_file_holds_is_refused(monkeypatch):
    monkeypatch.setattr(sound_formats, "MAX_BYTES", 100)
    with pytest.raises(ValueError, match="more than a WAV file holds"):
        written(np.zeros(50))
