"""Files that survive an interruption and hold nothing executable: npz archives of plain arrays.

`Storable` is the registry by which every saved object is read back.
"""

from __future__ import annotations

import contextlib
import errno
import math
import os
import secrets
import shutil
import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, ClassVar, TypeVar

import numpy as np

if TYPE_CHECKING:
    from typing_extensions import Self

T = TypeVar("T", bound="Storable")
Arrays = dict[str, Any]  # name -> array or scalar
PathLike = str | os.PathLike
# Version 1 has sketches without a fingerprint, version 2 priors inside other objects without their
# kind, version 3 no sketches from which noise is to be taken. All are still read.
VERSION = 4
HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
RENAMED = {"image-model": "signal-model"}  # kinds in files -> what they are called now
PLAIN = "biufcSU"  # dtype kinds that are accepted: any other can hold code, or has fields
# Everything that NumPy and zipfile have been seen to raise on damaged bytes.
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


# What renaming raises over a file that is mounted on its own, or that belongs to somebody else in a
# folder like /tmp.
NOT_RENAMED = (errno.EBUSY, errno.EXDEV, errno.EPERM, errno.EACCES)


@contextlib.contextmanager
def replacing(path: PathLike) -> Iterator[IO[bytes]]:
    """A binary file to write, renamed to `path` if the block succeeds and deleted if it fails.

    An existing file keeps its permissions. One that cannot be renamed over, such as a file that is
    mounted on its own, is written in place once the new content is complete.
    """
    path = Path(os.path.realpath(path))  # a link keeps pointing where it did
    handle, temporary = _create_beside(path)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            # Without this, a power cut may leave an empty file under the new name.
            _to_disk(file)
        try:
            os.replace(temporary, path)
        except OSError as error:
            if error.errno not in NOT_RENAMED or not path.exists():
                raise
            _copy_over(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def _create_beside(path: Path) -> tuple[int, Path]:
    """(handle, name) of a new file next to `path`, with the permissions that `path` should have.

    OSError if `path` cannot be written.
    """
    if path.is_dir():
        raise IsADirectoryError(f"{str(path)!r} is a folder, a file name is needed")
    if path.exists() and not path.is_file():
        raise OSError(f"{str(path)!r} is not a regular file")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"the folder {str(path.parent)!r} does not exist")
    old = path.stat() if path.exists() else None
    # The superuser may write to read-only files, but their owner did not want it.
    if old is not None and not (old.st_mode & 0o222 and os.access(path, os.W_OK)):
        raise PermissionError(f"{str(path)!r} is read-only: write to another file")
    mode = 0o666 if old is None else old.st_mode & 0o777
    temporary = path.with_name(f".{path.name[:40]}.{secrets.token_hex(8)}.part")
    flags = os.O_CREAT | os.O_EXCL | os.O_RDWR | getattr(os, "O_BINARY", 0)
    try:
        handle = os.open(temporary, flags, mode)  # the kernel applies the umask
    except OSError as error:
        raise type(error)(
            f"the folder {str(path.parent)!r} cannot be written ({error.strerror})"
        ) from None
    if old is not None:
        with contextlib.suppress(OSError, AttributeError):  # Windows has no owners
            os.chown(temporary, old.st_uid, old.st_gid)
        with contextlib.suppress(OSError):  # CIFS and FUSE may refuse
            os.chmod(temporary, mode)
    return handle, temporary


def _to_disk(file: IO[bytes]) -> None:
    try:
        os.fsync(file.fileno())
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS):  # it has no such call
            raise


def _copy_over(temporary: Path, path: Path) -> None:
    """Copy a complete file over `path` and delete it; if this fails, the copy is kept."""
    try:
        with open(temporary, "rb") as source, open(path, "r+b") as target:
            shutil.copyfileobj(source, target)
            target.truncate()
            target.flush()
            _to_disk(target)
    except OSError as error:
        kept = temporary.with_name(f"{path.stem}.complete{path.suffix}")
        os.replace(temporary, kept)
        raise OSError(
            f"{str(path)!r} cannot be written ({error.strerror}): the result is in {str(kept)!r}"
        ) from None
    os.unlink(temporary)


def check_writable(path: PathLike, apart_from: Iterable[PathLike | None] = ()) -> None:
    """OSError now, rather than after minutes of work, if `path` cannot be written.

    ValueError if it is one of the files in `apart_from`, which are still to be read.
    """
    handle, temporary = _create_beside(Path(os.path.realpath(path)))
    os.close(handle)
    os.unlink(temporary)
    if any(
        other is not None and os.path.realpath(other) == os.path.realpath(path)
        for other in apart_from
    ):
        raise ValueError(f"{str(path)!r} is needed: write to another file")


def write_npz(path: PathLike, kind: str, arrays: Arrays) -> None:
    """Write `arrays` and the name of their `kind` to an npz file, atomically, without pickles."""
    members: Arrays = {"kind": f"fastcl-{kind}", "version": VERSION}
    for name, array in arrays.items():
        if name in (*members, "file", "allow_pickle"):  # the last two are arguments of savez
            raise ValueError(f"{name!r} cannot be the name of an array in a file")
        if np.asarray(array).dtype.kind not in PLAIN:
            raise TypeError(f"{name!r} is not an array of numbers or text, got {array!r:.60}")
    with replacing(path) as file:
        np.savez(file, **members, **arrays)


def read_npz(path: PathLike, expected: str | None = None) -> tuple[str, Arrays]:
    """(kind, arrays) of a file that `write_npz` wrote, of the `expected` kind if one is given.

    Raises FileNotFoundError, or ValueError for a truncated, foreign or newer file.
    """
    kind, _, arrays = read_versioned(path)
    if expected not in (None, kind):
        raise ValueError(f"{str(path)!r} holds {_in_words(kind)}, expected {_in_words(expected)}")
    return kind, arrays


def read_versioned(path: PathLike) -> tuple[str, int, Arrays]:
    """(kind, version of the format, arrays) of a file, see `read_npz`."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no such file: {str(path)!r}")
    try:
        with open(path, "rb") as file, zipfile.ZipFile(file) as archive:
            arrays = _read_members(archive, os.fstat(file.fileno()).st_size)
        kind = str(arrays.pop("kind"))
        version = int(arrays.pop("version"))
    except PermissionError:
        raise
    except (*DAMAGE, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(
            f"{str(path)!r} is truncated or was not written by fastcl ({error})"
        ) from None
    if version > VERSION:
        raise ValueError(
            f"{str(path)!r} has format version {version}, this fastcl reads up to {VERSION}"
        )
    if not kind.startswith("fastcl-"):
        raise ValueError(f"{str(path)!r} was not written by fastcl: its kind is {kind!r}")
    return kind.removeprefix("fastcl-"), version, arrays


def _in_words(kind: str) -> str:
    """A kind with its article: "a patch sketch" for "patch-sketch"."""
    words = RENAMED.get(kind, kind).replace("-", " ")
    return f"{'an' if words[:1] in 'aeiou' else 'a'} {words}"


def _read_members(archive: zipfile.ZipFile, size: int) -> Arrays:
    """name -> array of an npz archive; reading never takes more memory than its `size` bytes."""
    members = archive.infolist()
    if any(member.compress_type != zipfile.ZIP_STORED for member in members):
        raise ValueError(
            "its members are compressed, which fastcl never does: "
            "read and write it again with numpy.savez"
        )
    names = {member.filename for member in members}
    if len(names) < len(members) or sum(member.file_size for member in members) > size:
        raise ValueError("its members overlap or share a name")
    arrays = {}
    for member in members:
        with archive.open(member) as stream:
            arrays[member.filename.removesuffix(".npy")] = _read_array(stream, member.file_size)
    return arrays


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Suppress NumPy's warnings: damaged input either raises an error or does no harm."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield


def _read_array(stream: IO[bytes], size: int) -> np.ndarray:
    """The array in a .npy stream of `size` bytes; never allocates more than the stream holds."""
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
        surrogates = (codes >= 0xD800) & (codes < 0xE000)
        if (surrogates | (codes > 0x10FFFF)).any():  # Python would make a string of them
            raise ValueError("text that is not Unicode")
    return array


def with_prefix(prefix: str, arrays: Arrays) -> Arrays:
    """The same arrays under names that start with `prefix.`: several objects share one file."""
    return {f"{prefix}.{name}": array for name, array in arrays.items()}


def without_prefix(prefix: str, arrays: Arrays) -> Arrays:
    """The inverse of `with_prefix`: the arrays whose names start with `prefix.`, without it."""
    start = f"{prefix}."
    return {
        name.removeprefix(start): array for name, array in arrays.items() if name.startswith(start)
    }


# ---- objects ----------------------------------------------------------------------------------


class Storable:
    """An object that a file can hold: `to_arrays` takes it apart, `from_arrays` puts it together.

    A class is entered in the registry under its kind, ``class Box(Storable, kind="box")``. Its
    name in files is that kind, so it must never change. A subclass without a kind of its own
    cannot be saved.
    """

    kinds: ClassVar[dict[str, type[Storable]]] = {}
    kind: ClassVar[str | None] = None

    def __init_subclass__(cls, kind: str | None = None, **settings: Any) -> None:
        super().__init_subclass__(**settings)
        cls.kind = kind if kind is not None else vars(cls).get("kind")
        if kind is None:
            return
        other = Storable.kinds.get(kind)
        name = (cls.__module__, cls.__qualname__)  # a notebook may define its class again
        if other is not None and (other.__module__, other.__qualname__) != name:
            raise ValueError(
                f"the kind {kind!r} is taken by {other.__module__}.{other.__qualname__}"
            )
        Storable.kinds[kind] = cls

    def to_arrays(self) -> Arrays:
        """The parts that a file keeps: name -> array or scalar."""
        raise TypeError(f"{type(self).__name__} has no method to_arrays, so it cannot be saved")

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> Self:
        """The object whose `to_arrays` gave `arrays`; KeyError or ValueError if they do not fit."""
        raise TypeError(f"{cls.__name__} has no method from_arrays, so it cannot be loaded")

    def save(self, path: PathLike) -> None:
        """Write the object to an npz file, atomically; `fastcl.load` reads it back."""
        write_npz(path, _kind_of(self), self.to_arrays())

    @classmethod
    def load(cls, path: PathLike) -> Self:
        """Read back an object of this class.

        Raises FileNotFoundError, or ValueError for a file that is truncated, foreign or holds
        something else.
        """
        return load(path, cls)


def _kind_of(thing: Storable) -> str:
    if thing.kind is None:
        name = type(thing).__name__
        raise TypeError(
            f'{name} has no kind to be saved under: define it as class {name}(..., kind="a-name")'
        )
    return thing.kind


def parts_of(prefix: str, thing: Storable) -> Arrays:
    """The arrays of one part of a larger object, with its kind, under names with a prefix."""
    return with_prefix(prefix, {**thing.to_arrays(), "kind": _kind_of(thing)})


def part_from(prefix: str, arrays: Arrays, base: Any) -> Any:
    """The inverse of `parts_of`: an object of the class `base`, or of one of the classes `base`.

    ValueError if it is missing or damaged.
    """
    parts = without_prefix(prefix, arrays)
    if not parts:
        raise ValueError(f"{prefix} is missing")
    kind = str(parts.pop("kind")) if "kind" in parts else _old_kind(parts)
    return restore(kind, parts, base)


def _old_kind(arrays: Arrays) -> str:
    """The kind of a part of another object, which files before version 3 do not always name."""
    names = {name.partition(".")[0] for name in arrays}
    kinds = {
        "sizes": "prior",
        "c": "max-entropy-prior",
        "inner": "gaussianised-prior",
        "axes": "patch-transform",
        "total": "sketch",
    }
    found = [kind for name, kind in kinds.items() if name in names]
    if not found:
        raise ValueError("its kind is missing")
    return found[0]


def restore(kind: str, arrays: Arrays, base: Any = Storable) -> Any:
    """The object of this kind that `arrays` describe; ValueError unless it is a `base`."""
    found = Storable.kinds.get(kind)
    if found is None:
        raise ValueError(f"unknown kind {kind!r}: in Python, import the module that defines it")
    if not issubclass(found, base):
        expected = base if isinstance(base, tuple) else (base,)
        names = " or ".join(each.__name__ for each in expected)
        raise ValueError(f"holds {_in_words(kind)}, expected {names}")
    try:
        with np.errstate(all="ignore"):  # damaged numbers overflow; the result is then refused
            return found.from_arrays(arrays)
    except KeyError as error:
        raise ValueError(f"{kind}: {error} is missing") from None
    except (ValueError, TypeError, OverflowError) as error:
        raise ValueError(f"{kind}: {error}") from None


def load(path: PathLike, *bases: type[T]) -> T:
    """Read back an object of one of the classes `bases`, or of a subclass.

    Raises FileNotFoundError, or ValueError for a file that is truncated, foreign, newer than this
    package, or holds something else.
    """
    kind, arrays = read_npz(path)
    if kind not in Storable.kinds and kind != "checkpoint":
        raise ValueError(
            f"{str(path)!r} holds {_in_words(kind)}, a kind that fastcl does not define: "
            "in Python, import the module that does"
        )
    if not issubclass(Storable.kinds.get(kind, object), bases):
        expected = "an object" if Storable in bases else " or ".join(c.__name__ for c in bases)
        raise ValueError(f"{str(path)!r} holds {_in_words(kind)}, expected {expected}")
    try:
        return restore(kind, arrays)
    except ValueError as error:
        raise ValueError(f"{str(path)!r} is damaged: {error}") from None
