"""The cache of compiled kernels on disk.

Kernels are inlined into one another, so an entry must not outlive a change of any file here. Its
name is a digest of the sources of all kernels, of the versions of Python, Numba and llvmlite, of
the processor, and of the kernel and the types of its arguments. An entry is one file that starts
with a checksum and gets its name when it is complete. It can therefore be neither stale nor half
written, whatever several processes do at once: a file that cannot be read is compiled again.

Entries are in the folder NUMBA_CACHE_DIR, if that is set, and otherwise in the user's folder for
caches. A folder that cannot be written to still serves to read from. If there is none, kernels are
compiled in every process, and a warning says so once.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import secrets
import sys
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite
import numba
from numba.core.caching import _Cache
from numba.core.compiler import CompileResult
from numba.core.serialize import dumps
from numba.misc.appdirs import AppDirs

FOLDER = Path(__file__).parent
VERSIONS = (sys.implementation.cache_tag, numba.__version__, llvmlite.__version__)
CHECKSUM_BYTES = hashlib.sha256().digest_size


@cache
def sources_digest() -> str:
    """A digest of all Python files beside this one."""
    digest = hashlib.sha256(repr(VERSIONS).encode())
    for path in sorted(FOLDER.glob("*.py")):
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


def cache_folder() -> Path:
    """Where the entries of these kernels are, or would be."""
    place = numba.config.CACHE_DIR or AppDirs("fastcl", appauthor=False).user_cache_dir
    return Path(place).absolute() / f"fastcl-{sources_digest()}"


class KernelCache(_Cache):
    """Compiled versions of one function, in the form that Numba's dispatchers ask for.

    Parameters
    ----------
    function : callable
        A function of a module in this folder.
    """

    def __init__(self, function: Callable) -> None:
        self.name = f"{function.__module__.rpartition('.')[2]}.{function.__qualname__}"

    def path(self, signature: tuple, codegen: Any) -> Path:
        """The file for these types of arguments."""
        key = repr((self.name, signature, codegen.magic_tuple())).encode()
        return self.cache_path / f"{self.name}-{hashlib.sha256(key).hexdigest()[:24]}.kernel"

    def load_overload(self, sig: tuple, target_context: Any) -> Any:
        """The compiled function, or None if it is not there or cannot be read."""
        target_context.refresh()
        try:
            stored = self.path(sig, target_context.codegen()).read_bytes()
            checksum, content = stored[:CHECKSUM_BYTES], stored[CHECKSUM_BYTES:]
            if hashlib.sha256(content).digest() != checksum:
                return None
            return CompileResult._rebuild(target_context, *pickle.loads(content))
        except Exception:  # whatever is in the way, the kernel can be compiled
            return None

    def save_overload(self, sig: tuple, data: Any) -> None:
        """Write the compiled function `data` to its file."""
        if data.library.has_dynamic_globals:
            return
        content = dumps(data._reduce())
        try:
            write(self.path(sig, data.codegen), hashlib.sha256(content).digest() + content)
        except OSError as error:
            warn_once(str(error))

    @property
    def cache_path(self) -> Path:
        """The folder of the entries."""
        return cache_folder()

    def enable(self) -> None:
        """Do nothing: the cache is always on."""

    disable = flush = enable


def write(path: Path, content: bytes) -> None:
    """Write a file that gets its name when it is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{secrets.token_hex(8)}.part")
    try:
        part.write_bytes(content)
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


@cache
def warn_once(reason: str) -> None:
    """Warn that kernels are compiled again in every process."""
    warnings.warn(
        f"compiled kernels cannot be kept, and every process compiles them again ({reason}): set "
        "NUMBA_CACHE_DIR to a folder that can be written",
        RuntimeWarning,
        stacklevel=2,
    )


def cached_jit(**options: Any) -> Callable[[Callable], Callable]:
    """As `numba.njit` with these options, for functions in this folder, with this cache."""

    def decorate(function: Callable) -> Callable:
        dispatcher = numba.njit(**options)(function)
        dispatcher._cache = KernelCache(function)
        return dispatcher

    return decorate
