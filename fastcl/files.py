"""Files that survive an interruption and hold nothing that runs: npz archives of plain arrays."""

import contextlib
import math
import os
import tempfile
import tokenize
import warnings
import zipfile
from pathlib import Path

import numpy as np

VERSION = 2  # 1: sketches without a fingerprint; read as ever
HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
PLAIN = "biufcSU"  # kinds of numbers and strings; what else there is can run code, or has parts
# All that NumPy and zipfile were seen to raise over damaged bytes.
DAMAGE = (
    ValueError,
    KeyError,
    TypeError,
    EOFError,
    AttributeError,
    RuntimeError,
    OverflowError,
    OSError,
    SyntaxError,
    tokenize.TokenError,
)


@contextlib.contextmanager
def replacing(path):
    """A binary file to write; it takes the name `path` when the block ends well, and vanishes when it does not."""
    path = Path(os.path.realpath(path))  # a link keeps pointing where it did
    if path.exists() and not path.is_file():
        raise OSError(f"{str(path)!r} is not a regular file")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"the folder {str(path.parent)!r} does not exist")
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        if hasattr(os, "fchmod"):  # a temporary file is private, what the user asked for is not
            os.fchmod(handle, 0o666 & ~_umask())
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(
                file.fileno()
            )  # a power cut may otherwise leave the name with an empty file behind it
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def check_writable(path, apart_from=()):
    """OSError now, rather than after minutes of work, where `path` could not be written."""
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{str(path)!r} is a folder, a file name is needed")
    if path.exists() and not path.is_file():
        raise OSError(f"{str(path)!r} is not a regular file")
    if any(
        other is not None and os.path.realpath(other) == os.path.realpath(path)
        for other in apart_from
    ):
        raise ValueError(f"{str(path)!r} is needed: write to another file")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"the folder {str(path.parent)!r} does not exist")
    if not os.access(path.parent, os.W_OK):
        raise PermissionError(f"the folder {str(path.parent)!r} cannot be written")


def write_npz(path, kind, arrays):
    """Write `arrays` (name -> array or scalar) with the name of their `kind`; atomic, never a pickle."""
    with replacing(path) as file:
        np.savez(file, kind=f"fastcl-{kind}", version=VERSION, **arrays)


def read_npz(path, kinds):
    """(kind, arrays) of a file that `write_npz` wrote with one of `kinds`.

    Raises FileNotFoundError, or ValueError for a truncated, foreign or newer file.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no such file: {str(path)!r}")
    try:
        with open(path, "rb") as file, zipfile.ZipFile(file) as archive:
            arrays = _read_members(archive, os.fstat(file.fileno()).st_size)
        kind, version = str(arrays.pop("kind")), int(arrays.pop("version"))
    except PermissionError:
        raise
    except (*DAMAGE, zipfile.BadZipFile, zipfile.zlib.error) as error:
        raise ValueError(
            f"{str(path)!r} is truncated or was not written by fastcl ({error})"
        ) from None
    if not kind.startswith("fastcl-") or kind.removeprefix("fastcl-") not in kinds:
        raise ValueError(
            f"{str(path)!r} holds a {kind}, expected {' or '.join(f'fastcl-{k}' for k in kinds)}"
        )
    if version > VERSION:
        raise ValueError(
            f"{str(path)!r} has format version {version}, this fastcl reads up to {VERSION}"
        )
    return kind.removeprefix("fastcl-"), arrays


def _read_members(archive, size):
    """name -> array of an npz archive in a file of `size` bytes, beyond which its members cannot make memory grow."""
    members = archive.infolist()
    if any(member.compress_type != zipfile.ZIP_STORED for member in members):
        raise ValueError(
            "its members are compressed, which fastcl never does: read and write it again with numpy.savez"
        )
    if sum(member.file_size for member in members) > size or len(
        {member.filename for member in members}
    ) < len(members):
        raise ValueError("its members overlap or share a name")
    arrays = {}
    for member in members:
        with archive.open(member) as stream:
            arrays[member.filename.removesuffix(".npy")] = _read_array(stream, member.file_size)
    return arrays


@contextlib.contextmanager
def silence():
    """No warnings of NumPy: damage that it remarks on is an error, or none at all."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield


def _read_array(stream, size):
    """The array of a .npy stream of `size` bytes; nothing is allocated that the stream does not hold."""
    read_header = HEADERS.get(np.lib.format.read_magic(stream))
    if read_header is None:
        raise ValueError("an array of an unknown format")
    with silence():
        shape, by_columns, dtype = read_header(stream)
    if dtype.hasobject or dtype.kind not in PLAIN or dtype.itemsize == 0:
        raise ValueError(f"an array of {'pickled objects' if dtype.hasobject else dtype}")
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != size - stream.tell():
        raise ValueError(f"an array of shape {shape} that its bytes do not fit")
    array = np.ndarray(shape, dtype, bytearray(stream.read()), order="F" if by_columns else "C")
    if dtype.kind == "U":
        codes = np.frombuffer(array.tobytes(), np.dtype(np.uint32).newbyteorder(dtype.byteorder))
        if (
            (codes > 0x10FFFF) | ((codes >= 0xD800) & (codes < 0xE000))
        ).any():  # Python would make a string of them
            raise ValueError("text that is no Unicode")
    return array


def with_prefix(prefix, arrays):
    """The same arrays under names that start with `prefix.`, to keep several objects in one file."""
    return {f"{prefix}.{name}": array for name, array in arrays.items()}


def without_prefix(prefix, arrays):
    """What `with_prefix` put there: the arrays whose names start with `prefix.`, under their own names."""
    start = f"{prefix}."
    return {
        name.removeprefix(start): array for name, array in arrays.items() if name.startswith(start)
    }
