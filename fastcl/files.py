"""Files that survive an interruption and hold nothing that runs: npz archives of plain arrays."""

import contextlib
import os
import tempfile
import zipfile
from pathlib import Path

import numpy as np

VERSION = 1
# All that NumPy and zipfile were seen to raise over damaged bytes.
_DAMAGE = (ValueError, KeyError, TypeError, EOFError, AttributeError, RuntimeError, OverflowError, OSError)


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
    if any(other is not None and os.path.realpath(other) == os.path.realpath(path) for other in apart_from):
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
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        kind, version = str(arrays.pop("kind")), int(arrays.pop("version"))
    except PermissionError:
        raise
    except (*_DAMAGE, zipfile.BadZipFile, zipfile.zlib.error) as error:
        raise ValueError(f"{str(path)!r} is truncated or was not written by fastcl ({error})") from None
    if not kind.startswith("fastcl-") or kind.removeprefix("fastcl-") not in kinds:
        raise ValueError(f"{str(path)!r} holds a {kind}, expected {' or '.join(f'fastcl-{k}' for k in kinds)}")
    if version > VERSION:
        raise ValueError(f"{str(path)!r} has format version {version}, this fastcl reads up to {VERSION}")
    return kind.removeprefix("fastcl-"), arrays


def with_prefix(prefix, arrays):
    """The same arrays under names that start with `prefix.`, to keep several objects in one file."""
    return {f"{prefix}.{name}": array for name, array in arrays.items()}


def without_prefix(prefix, arrays):
    """What `with_prefix` put there: the arrays whose names start with `prefix.`, under their own names."""
    start = f"{prefix}."
    return {name.removeprefix(start): array for name, array in arrays.items() if name.startswith(start)}
