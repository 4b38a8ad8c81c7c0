"""What a worker process, and what that starts, writes to standard output and standard error.

Both go into a file without a name, one for each attempt, which the worker writes and its parent reads. So
nothing waits for a reader, however busy that is, and of a worker that was killed nothing is lost.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ...output_capture import Lines
from . import wire
from .abilities import anonymous_file

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable


class TurnedOutput:
    """In a worker: standard output and standard error, which go to a file until they are closed.

    Attributes
    ----------
    descriptor : int
        The file's.
    is_read_by_parent : bool
        Whether the parent has the file too.

    Raises
    ------
    OSError
        If no file can be made.
    """

    def __init__(self) -> None:
        self.descriptor = anonymous_file("processes-output")
        self.is_read_by_parent = False
        _flush()
        self._before = [_copy_of(number) for number in (1, 2)]
        for number in (1, 2):
            os.dup2(self.descriptor, number)
        self._stream: Any = sys.stdout
        self._was_by_line = getattr(self._stream, "line_buffering", False)
        self._buffer_by_line(True)

    def size(self) -> int:
        """Return how many bytes were written so far."""
        return os.fstat(self.descriptor).st_size

    def close(self) -> bytes:
        """Turn both back; return what was written, unless the parent reads it."""
        _flush()
        self._buffer_by_line(self._was_by_line)
        for number, before in zip((1, 2), self._before, strict=True):
            if before < 0:
                os.close(number)
            else:
                os.dup2(before, number)
                os.close(before)
        with open(self.descriptor, "rb") as file:  # noqa: PTH123 - it has no path
            file.seek(0)
            return b"" if self.is_read_by_parent else file.read()

    def _buffer_by_line(self, by_line: bool) -> None:
        """Let lines go out at once, so that they keep their order among those of standard error."""
        with suppress(Exception):  # a task may have put anything in its place
            self._stream.reconfigure(line_buffering=by_line)


def _copy_of(number: int) -> int:
    """Copy a descriptor; -1 if a task has closed it."""
    try:
        return os.dup(number)
    except OSError:
        return -1


def _flush() -> None:
    """Write what Python and the C library keep back."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
    with suppress(Exception):  # there may be no ctypes
        import ctypes

        ctypes.CDLL(None).fflush(None)


class WrittenOutput:
    """In the parent: what an attempt has written.

    Parameters
    ----------
    ticket : int
        The attempt's.
    descriptor : int
        Of the file; it is closed at the end.
    on_record : callable
        Takes the record of each line.
    """

    def __init__(self, ticket: int, descriptor: int, on_record: Callable[[logging.LogRecord], None]) -> None:
        self.ticket = ticket
        self._descriptor = descriptor
        self._lines = Lines(on_record)
        self._read = 0

    def size(self) -> int:
        """Return how many bytes were written so far."""
        return os.fstat(self._descriptor).st_size

    def tell(self, size: int = sys.maxsize) -> None:
        """Tell what has been written since; or only that of the first `size` bytes."""
        while data := os.pread(self._descriptor, min(wire.CHUNK, max(0, size - self._read)), self._read):
            self._read += len(data)
            self._lines.write_bytes(data)

    def close(self) -> None:
        """Tell the rest."""
        try:
            self.tell()
            self._lines.close()
        finally:
            os.close(self._descriptor)


def tell_output(text: bytes, on_record: Callable[[logging.LogRecord], None]) -> None:
    """Tell what an attempt has written that is over."""
    lines = Lines(on_record)
    lines.write_bytes(text)
    lines.close()
