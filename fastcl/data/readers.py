"""Readers of data sets: the rows of a .npy file, and the signals of a folder, one at a time."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..files import PathLike
from ..validation import as_rows
from .npy_files import NpyFile, open_npy
from .signal_files import Array, Photograph, SignalFile, Sound, Volume, as_grey, open_signal
from .signals import check_size
from .tiff_formats import TIFF_SUFFIXES

T = TypeVar("T")
U = TypeVar("U")
KINDS = (Photograph, Sound, Array, Volume)
BAD_FILE = (ValueError, TypeError, OSError)


def read_array(path: Path) -> NDArray | NpyFile:
    """The array (n, d) of a .npy file: mapped or, where that is refused, read slice by slice."""
    if path.is_file() and path.suffix.lower() != ".npy":
        raise ValueError(f"{str(path)!r} is neither a folder of signals nor a .npy file")
    array = open_npy(path)
    if len(array.shape) == 1:
        raise ValueError(
            f"{path.name} must be 2-D (rows are points), got shape {array.shape}: "
            "save x[:, None] for points of one dimension"
        )
    return as_sliceable(array, path.name)


def as_sliceable(x: Any, name: str, dim: int | None = None) -> Any:
    """x itself, after the checks of `as_rows` that need no values."""
    as_rows(np.broadcast_to(np.zeros((), x.dtype), tuple(x.shape)), name, dim)
    return x


def image_files(folder: PathLike) -> list[Path]:
    """The image files of a folder, sorted by name, without hidden ones; ValueError if none."""
    return _signal_paths(folder, Photograph.kind)


def read_image(path: Path, grey: bool = False) -> NDArray:
    """An image file as floats in [0, 1], (H, W) or (H, W, 3); `grey` turns colour into grey.

    Raises ValueError for a file that holds anything else.
    """
    image = Photograph(path).read()
    return as_grey(image) if grey and image.ndim == 3 else image


class SignalFolder(Sequence[Any]):
    """The signals of a folder: a sequence that opens each one only when it is used.

    All are of one kind: photographs, sounds (WAV) of one rate and number of channels, volumes (TIFF
    files of several pages), or .npy arrays with the same number of axes. Hidden files and files of
    other kinds of data are passed over.

    Parameters
    ----------
    folder : path
    patch : int, tuple of int, or dict
        The least size of a signal along its axes; a dict has it for each number of axes.
    skip_bad : bool
        Whether to leave out, with a warning, the files that cannot be used: those that cannot be
        read, are too small, or differ from most others in kind, rate or channels. All files are
        then read once.
    colour : bool
        Whether photographs and volumes keep their channels; a grey one among them gets three equal
        channels. Otherwise they are read in grey. Of .npy arrays, the last axis then has channels.
    kind : str, optional
        "photograph", to pass over files of other kinds. By default they are an error.

    Attributes
    ----------
    paths : list of Path
        The files, sorted by name.
    shapes : list of tuple of int
        Of the signals, with their channels, if any, as the last axis.
    channel_axis : int or None
        -1 if the signals have channels.
    kind : str
        "photograph", "sound", "volume" or "array".
    n_axes : int
        Their number of axes, without that of the channels.
    patch : tuple of int
    rate : int or None
        Of sounds, in samples per second.
    step : float
        The largest distance of two levels of their samples: 0 for floats.

    Raises
    ------
    OSError, ValueError
        No such folder; nothing in it that can be used; files of several kinds, rates or numbers of
        channels; without `skip_bad`, a file that cannot be read or is too small.
    """

    def __init__(
        self,
        folder: PathLike,
        patch: int | Sequence[int] | dict[int, int] = 1,
        skip_bad: bool = False,
        *,
        colour: bool = False,
        kind: str | None = None,
    ) -> None:
        self.colour = colour
        self.skip_bad = skip_bad

        def opened(path: Path) -> SignalFile:
            return Photograph(path) if kind == Photograph.kind else open_signal(path, colour)

        found = _alike(self._usable(_signal_paths(folder, kind), opened), self._usable)
        self._files = found
        if found:
            self.kind = found[0].kind
            self.rate = found[0].rate
            self.channels = self._channels(folder)
            self.n_axes = len(found[0].shape)
            self.patch = _sides(patch, found[0])
            self._files = self._usable(found, self._checked)
        if not self._files:
            raise ValueError(f"no {'image' if kind else 'signal'} in {str(folder)!r} can be used")
        self.channel_axis = None if self.channels is None else -1
        channels = () if self.channels is None else (self.channels,)
        self.paths = [file.path for file in self._files]
        self.step = max(file.step for file in self._files)
        self.shapes: list[tuple[int, ...]] = [(*file.shape, *channels) for file in self._files]

    def _usable(self, items: Iterable[T], use: Callable[[T], U]) -> list[U]:
        """`use(item)` of all items, without those of bad files, each of which gives a warning."""
        results = []
        for item in items:
            try:
                results.append(use(item))
            except BAD_FILE as error:
                if not self.skip_bad:
                    raise
                warnings.warn(f"skipped: {error}", stacklevel=4)
        return results

    def _channels(self, folder: PathLike) -> int | None:
        """How many channels the signals get."""
        if self.kind in (Sound.kind, Array.kind):
            if self.colour and self.kind == Sound.kind:
                raise ValueError("colour is for photographs, volumes and arrays, not for sounds")
            return self._files[0].channels
        if not self.colour:
            return None
        channels = max(file.channels or 1 for file in self._files)
        if channels == 1:
            raise ValueError(f"no {self.kind} in {str(folder)!r} has colour: take it in grey")
        return channels

    def _checked(self, file: SignalFile) -> SignalFile:
        """The file; ValueError if it is too small, or if its channels do not make a grey."""
        check_size(file.shape, file.name, self.patch)
        if self.channels is None and file.channels is not None and not file.is_rgb:
            raise ValueError(
                f"{file.name} has {file.channels} channels: keep them with colour (--colour)"
            )
        if self.skip_bad:
            _read(file)
        return file

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: Any) -> Any:
        # An index beyond the last one raises IndexError, which ends an iteration.
        file = self._files[index]
        signal = _read(file)
        if self.channels is None and signal.ndim > self.n_axes:
            signal = as_grey(signal)
        elif self.channels is not None and signal.ndim == self.n_axes:
            signal = np.repeat(signal[..., None], self.channels, axis=-1)
        if signal.shape != self.shapes[index]:
            raise ValueError(f"{file.name} changed while it was read")
        return signal

    def describe(self) -> str:
        """Names and sizes of the files, which identify the folder."""
        return repr([(path.name, path.stat().st_size) for path in self.paths])


class ImageFolder(SignalFolder):
    """The photographs of a folder; files of other kinds are passed over.

    Parameters and attributes are those of `SignalFolder`.
    """

    def __init__(
        self,
        folder: PathLike,
        patch: int | Sequence[int] = 1,
        skip_bad: bool = False,
        *,
        colour: bool = False,
    ) -> None:
        super().__init__(folder, patch, skip_bad, colour=colour, kind=Photograph.kind)


def _signal_paths(folder: PathLike, kind: str | None) -> list[Path]:
    """The files of a folder with signals of one kind, sorted by name, without hidden ones."""
    folder = Path(folder)
    word = "image" if kind else "signal"
    if not folder.exists():
        raise FileNotFoundError(f"no such folder: {str(folder)!r}")
    if not folder.is_dir():
        raise NotADirectoryError(
            f"{str(folder)!r} is a file, but a folder of {word}s is needed: put it into one"
        )
    kinds = [each for each in KINDS[:3] if kind in (None, each.kind)]
    known = [suffix for each in kinds for suffix in each.suffixes]
    paths = sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in known and path.name[0] != "." and not path.is_dir()
    )
    if not paths:
        raise ValueError(f"no {word} ({', '.join(known)}) in {str(folder)!r}")
    # A TIFF file may be a photograph or a volume, which is found when it is opened.
    firsts: dict[str, Path] = {}
    for path in paths:
        firsts.setdefault(_kind_by_suffix(path), path)
    mixed = [each for each in firsts if each != "TIFF file" or Photograph.kind not in firsts]
    if len(mixed) > 1:
        one, other = (f"{str(firsts[each])!r} is {_with_article(each)}" for each in mixed[:2])
        raise ValueError(f"{one}, but {other}: put each kind into a folder of its own")
    return paths


def _kind_by_suffix(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix in TIFF_SUFFIXES:
        return "TIFF file"
    return next(kind.kind for kind in KINDS if suffix in kind.suffixes)


def _read(file: SignalFile) -> NDArray:
    """The signal of a file; ValueError for a silent sound, which has nothing to learn from."""
    signal = file.read()
    if isinstance(file, Sound) and not np.ptp(signal, axis=0).any():
        raise ValueError(f"{file.name} is constant: there is nothing to learn from silence")
    return signal


def _with_article(words: str) -> str:
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def _alike(
    files: list[SignalFile], usable: Callable[[list[SignalFile], Any], list[SignalFile]]
) -> list[SignalFile]:
    """The files that are like most of them; the others are an error, or are left out."""
    if not files:
        return files
    words = Counter(_in_words(file) for file in files).most_common(1)[0][0]
    example = next(file for file in files if _in_words(file) == words)

    def checked(file: SignalFile) -> SignalFile:
        if _in_words(file) != words:
            raise ValueError(
                f"{file.name} is {_in_words(file)}, but {example.name} is {words}: "
                "put each kind into a folder of its own"
            )
        return file

    return usable(files, checked)


def _in_words(file: SignalFile) -> str:
    """What all files of a folder must have in common."""
    words = _with_article(file.kind)
    if file.kind == Array.kind:
        words += f" with {len(file.shape)} axes"
    if file.rate is not None:
        words += f" of {file.rate} Hz"
    if file.channels is not None and not file.is_rgb:
        words += f" with {file.channels} channels"
    return words


def _sides(patch: int | Sequence[int] | dict[int, int], file: SignalFile) -> tuple[int, ...]:
    """The sides of a patch along the axes of a file; ValueError for another number of them."""
    if isinstance(patch, dict):
        patch = patch[len(file.shape)]
    sides = (patch,) * len(file.shape) if isinstance(patch, (int, np.integer)) else tuple(patch)
    if len(sides) != len(file.shape):
        raise ValueError(
            f"patch must have one side, or {len(file.shape)} for {_in_words(file)}, got {patch}"
        )
    return sides
