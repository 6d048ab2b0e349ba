"""Where a command speaks: results on standard output, all else on standard error."""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from collections.abc import Iterator
from typing import Any, TextIO


class Stream:
    """A text stream that nobody may be reading: what is written is sent at once, or dropped.

    A pipe whose reader has gone, as in ``fastcl sketch ... | true``, is no reason to stop working.
    """

    def __init__(self, stream: TextIO | None, quiet: bool = False) -> None:
        self.stream = stream
        self.quiet = quiet or stream is None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def isatty(self) -> bool:
        """Whether somebody looks at it."""
        return not self.quiet and self.stream is not None and self.stream.isatty()

    def write(self, text: str) -> int:
        """Write text, unless it is dropped."""
        if not self.quiet and self.stream is not None:
            try:
                self.stream.write(text)
                self.stream.flush()
            except OSError as error:
                self.quiet = True
                _discard(self.stream)
                if not isinstance(error, BrokenPipeError):
                    raise
        return len(text)

    def flush(self) -> None:
        """Nothing is kept back."""


def _discard(stream: TextIO) -> None:
    """Let a stream end in nothing: Python would try again to send, at exit, what it still holds."""
    with contextlib.suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)


@contextlib.contextmanager
def streams(command: str, quiet: bool) -> Iterator[None]:
    """Standard output and error as a `Stream` each, and warnings in one line."""

    def show(message: Warning | str, *where: Any, **named: Any) -> None:
        warn(command, str(message))

    with (
        contextlib.redirect_stdout(Stream(sys.stdout, quiet)),
        contextlib.redirect_stderr(Stream(sys.stderr)),
        warnings.catch_warnings(),
    ):
        warnings.showwarning = show
        yield


def warn(command: str, message: str) -> None:
    """Print a warning in one line."""
    print(f"fastcl {command}: warning: {' '.join(message.split())}", file=sys.stderr)
