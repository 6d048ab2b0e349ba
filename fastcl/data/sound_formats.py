"""WAV files: their samples as floats whose full scale is 1, and a file of them of the same type.

SciPy reads 24 bits as 32 and cannot write them, and takes a truncated file for a short one.
"""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
from numpy.typing import NDArray

SOUND_SUFFIXES = (".wav",)
PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE
BYTES = {"uint8": 1, "int16": 2, "int24": 3, "int32": 4, "float32": 4, "float64": 8}
SAMPLES = {
    PCM: {1: "uint8", 2: "int16", 3: "int24", 4: "int32"},  # bytes -> type
    FLOAT: {4: "float32", 8: "float64"},
}
COMPRESSED = {2: "ADPCM", 6: "A-law", 7: "mu-law", 0x11: "IMA ADPCM", 0x31: "GSM", 0x55: "MP3"}
UNKNOWN_SIZE = 0xFFFFFFFF  # written by programs that send a file through a pipe
MAX_BYTES = 0xFFFFFFFF  # of a WAV file


class WavHeader(NamedTuple):
    """What a WAV file says of its samples, and where they are."""

    rate: int
    channels: int
    sample: str
    frames: int
    start: int
    is_big_endian: bool


def read_header(path: Path) -> WavHeader:
    """The header of a WAV file; ValueError, in one line, for a file whose samples are no use."""
    if not path.is_file():
        raise FileNotFoundError(f"no such file: {str(path)!r}")
    size = path.stat().st_size
    name = repr(str(path))
    with open(path, "rb") as file:
        start = file.read(12)
        if start[:4] not in (b"RIFF", b"RIFX") or start[8:] != b"WAVE":
            raise ValueError(f"{name} is not a readable WAV file (it does not begin like one)")
        order = ">" if start[:4] == b"RIFX" else "<"
        known = None
        while len(head := file.read(8)) == 8:
            length = struct.unpack(f"{order}I", head[4:])[0]
            begin = file.tell()
            if head[:4] == b"fmt ":
                known = _read_format(file.read(min(length, 40)), order, name)
            elif head[:4] == b"data":
                if known is None:
                    break
                rate, channels, sample = known
                length = size - begin if length == UNKNOWN_SIZE else length
                frames, rest = divmod(length, channels * BYTES[sample])
                if begin + length > size or rest:
                    raise ValueError(f"{name} is not a readable WAV file (it is truncated)")
                if frames == 0:
                    raise ValueError(f"{name} holds no samples")
                return WavHeader(rate, channels, sample, frames, begin, order == ">")
            file.seek(begin + length + length % 2)
    raise ValueError(f"{name} is not a readable WAV file (it has no samples)")


def _read_format(content: bytes, order: str, name: str) -> tuple[int, int, str]:
    """(rate, channels, type of samples) from the content of a format chunk."""
    if len(content) < 16:
        raise ValueError(f"{name} is not a readable WAV file (its header is truncated)")
    tag, channels, rate, _, block, bits = struct.unpack(f"{order}HHIIHH", content[:16])
    if tag == EXTENSIBLE and len(content) >= 26:
        tag = struct.unpack(f"{order}H", content[24:26])[0]
    if tag not in SAMPLES:
        words = COMPRESSED.get(tag, f"format {tag}")
        raise ValueError(f"{name} is compressed ({words}): save it as PCM or floats first")
    if rate == 0 or channels == 0 or block % channels:
        raise ValueError(f"{name} is not a readable WAV file (its header is damaged)")
    sample = SAMPLES[tag].get(block // channels)
    if sample is None or bits > 8 * BYTES[sample]:
        raise ValueError(f"{name} holds samples of {bits} bits: save it with 16, 24 or 32")
    return rate, channels, sample


def read_sound(path: Path) -> NDArray:
    """The samples of a WAV file, (T,) or (T, channels): floats with full scale 1.

    They are float32, but float64 for integers of 32 bits and for float64.
    """
    header = read_header(path)
    count = header.frames * header.channels
    order = ">" if header.is_big_endian else "<"
    width = BYTES[header.sample]
    raw = np.fromfile(path, np.uint8, count * width, offset=header.start)
    if len(raw) < count * width:
        raise OSError(f"{str(path)!r} became shorter while it was read")
    if header.sample == "int24":  # the upper three bytes of 32 bits
        padded = np.zeros((count, 4), np.uint8)
        padded[:, slice(3) if header.is_big_endian else slice(1, 4)] = raw.reshape(count, 3)
        sound = padded.view(f"{order}i4")[:, 0].astype(np.float32) * np.float32(2.0**-31)
    else:
        samples = raw.view(f"{order}{np.dtype(header.sample).str[1:]}")
        sound = samples.astype(np.float32 if width < 4 else np.float64)
        if header.sample == "uint8":
            sound -= 128
        if header.sample[0] != "f":
            sound *= 2.0 ** (1 - 8 * width)
        elif header.sample == "float32":
            sound = sound.astype(np.float32)
        if not np.isfinite(sound).all():
            raise ValueError(f"{str(path)!r} holds NaN or infinity")
    return sound.reshape(header.frames, header.channels) if header.channels > 1 else sound


def write_sound(file: IO[bytes], sound: NDArray, rate: int, sample: str) -> None:
    """Write floats (T,) or (T, channels), with full scale 1, as a WAV file of samples of this type.

    Integers are clipped at full scale. ValueError for more than the 4 GB that such a file holds.
    """
    channels = sound.shape[1] if sound.ndim == 2 else 1
    width = BYTES[sample]
    size = sound.size * width
    tag = FLOAT if sample[0] == "f" else PCM
    chunk = struct.pack(
        "<HHIIHH", tag, channels, rate, rate * channels * width, channels * width, 8 * width
    )
    head = b"WAVEfmt " + struct.pack("<I", len(chunk)) + chunk
    if tag == FLOAT:  # a size of no extension, and the number of frames
        chunk += b"\0\0"
        head = b"WAVEfmt " + struct.pack("<I", len(chunk)) + chunk
        head += b"fact" + struct.pack("<II", 4, len(sound))
    head += b"data"
    total = len(head) + 4 + size + size % 2
    if total > MAX_BYTES:
        raise ValueError(f"{size / 1e9:.1f} GB of samples are more than a WAV file holds")
    file.write(b"RIFF" + struct.pack("<I", total) + head + struct.pack("<I", size))
    file.write(_as_samples(sound, sample).tobytes() + b"\0" * (size % 2))


def _as_samples(sound: NDArray, sample: str) -> NDArray:
    """Floats with full scale 1 as samples of a type, little-endian; 24 bits as three bytes each."""
    if sample[0] == "f":
        return sound.astype(f"<f{BYTES[sample]}")
    full = math.ldexp(1, 8 * BYTES[sample] - 1)
    levels = np.clip(np.round(full * sound.astype(np.float64)), -full, full - 1)
    if sample == "uint8":
        return (levels + 128).astype(np.uint8)
    if sample == "int24":
        return levels.astype("<i4").reshape(-1, 1).view(np.uint8)[:, :3]
    return levels.astype(np.dtype(sample).newbyteorder("<"))
