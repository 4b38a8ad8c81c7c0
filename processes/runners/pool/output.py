"""What a worker process, and what that starts, writes to standard output and standard error.

Both go into a file without a name, one for each attempt, which the worker writes and its parent reads. So
nothing waits for a reader, however busy that is, and of a worker that was killed nothing is lost.
"""

from __future__ import annotations

import errno
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ...output_capture import Lines
from . import wire
from .abilities import anonymous_file, flush_c_streams

if TYPE_CHECKING:
    from _socket import socket
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
        If no file can be made, or no descriptor is left to come back to where both go now.
    """

    def __init__(self) -> None:
        self.descriptor, self._path = _make_file()
        self.is_read_by_parent = False
        self._before: list[int] = []
        try:
            for number in (1, 2):
                self._before.append(_copy_of(number))
        except OSError:
            for descriptor in (self.descriptor, *self._before):
                if descriptor >= 0:
                    os.close(descriptor)
            raise
        _flush()
        for number in (1, 2):
            os.dup2(self.descriptor, number)
        # The parent reads UTF-8, whatever the program's encoding is. Lines go out at once, so that they keep
        # their order among those of standard error.
        options = {"encoding": "utf-8", "errors": "backslashreplace", "line_buffering": True}
        self._streams = [(stream, _reconfigure(stream, options)) for stream in (sys.stdout, sys.stderr)]

    def size(self) -> int:
        """Return how many bytes were written so far."""
        return os.fstat(self.descriptor).st_size

    def share(self, side_channel: socket | None) -> bytes | None:
        """Give the parent the file too.

        Returns
        -------
        bytes or None
            What the frame that follows is to tell :func:`take_file`; None where the parent cannot have it.
        """
        shared = None
        if sys.platform == "win32":
            with suppress(OSError):  # the parent acts as somebody else
                shared = wire.LENGTH.pack(_give_parent(self._path))
        elif wire.send_descriptors(side_channel, [self.descriptor]):
            shared = b""
        self.is_read_by_parent = shared is not None
        return shared

    def close(self) -> bytes:
        """Turn both back; return what was written, unless the parent reads it."""
        _flush()
        for stream, options in self._streams:
            _reconfigure(stream, options)
        for number, before in zip((1, 2), self._before, strict=True):
            if before < 0:
                os.close(number)
            else:
                os.dup2(before, number)
                os.close(before)
        with open(self.descriptor, "rb") as file:
            file.seek(0)
            return b"" if self.is_read_by_parent else file.read()


def _reconfigure(stream: Any, options: dict[str, Any]) -> dict[str, Any]:
    """Set options of a stream; return what they were, nothing where that cannot be."""
    try:
        before = {name: getattr(stream, name) for name in options}
        stream.reconfigure(**options)
    except Exception:  # a task may have put anything in its place
        return {}
    return before


def _make_file() -> tuple[int, str]:
    if sys.platform == "win32":
        from tempfile import NamedTemporaryFile

        with NamedTemporaryFile(prefix="processes-output-") as file:  # gone when nobody has it open any more
            return os.dup(file.fileno()), file.name
    return anonymous_file("processes-output"), ""


if sys.platform == "win32":

    def _give_parent(path: str) -> int:
        """Open a file once more, for a position of its own; return the handle by which the parent has it."""
        import msvcrt
        from _winapi import (
            DUPLICATE_SAME_ACCESS,
            PROCESS_DUP_HANDLE,
            CloseHandle,
            DuplicateHandle,
            GetCurrentProcess,
            OpenProcess,
        )

        descriptor = os.open(path, os.O_RDONLY | os.O_NOINHERIT | os.O_TEMPORARY)
        try:
            handle = msvcrt.get_osfhandle(descriptor)
            parent = OpenProcess(PROCESS_DUP_HANDLE, False, os.getppid())
            try:
                return DuplicateHandle(GetCurrentProcess(), handle, parent, 0, False, DUPLICATE_SAME_ACCESS)
            finally:
                CloseHandle(parent)
        finally:
            os.close(descriptor)


def take_file(shared: bytes | memoryview, side_channel: socket | None) -> int | None:
    """Take the file of a worker's output; return its descriptor, None if it is lost."""
    if sys.platform == "win32":
        import msvcrt

        (handle,) = wire.LENGTH.unpack(shared)
        return msvcrt.open_osfhandle(handle, os.O_RDONLY | os.O_BINARY | os.O_NOINHERIT)
    descriptors = wire.receive_descriptors(side_channel)
    return descriptors[0] if descriptors else None


def _read_at(offset: int, descriptor: int, count: int) -> bytes:
    if sys.platform == "win32":
        os.lseek(descriptor, offset, os.SEEK_SET)
        return os.read(descriptor, count)
    return os.pread(descriptor, count, offset)  # the position is the worker's, which writes there


def _copy_of(number: int) -> int:
    """Copy a descriptor; -1 if a task has closed it."""
    try:
        return os.dup(number)
    except OSError as error:
        if error.errno != errno.EBADF:
            raise
        return -1


def _flush() -> None:
    """Write what Python and the C library keep back."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
    flush_c_streams()


class WrittenOutput:
    """In the parent: what an attempt has written, of which `on_lines` is told."""

    def __init__(self, ticket: int, descriptor: int, on_lines: Callable[[list[str]], None]) -> None:
        self.ticket = ticket
        self._descriptor = descriptor
        self._lines = Lines(on_lines)
        self._read = 0

    def size(self) -> int:
        """Return how many bytes were written so far."""
        return os.fstat(self._descriptor).st_size

    def tell(self, size: int = sys.maxsize) -> None:
        """Tell what has been written since; or only that of the first `size` bytes."""
        while data := _read_at(self._read, self._descriptor, min(wire.CHUNK, max(0, size - self._read))):
            self._read += len(data)
            self._lines.write_bytes(data)

    def close(self) -> None:
        """Tell the rest."""
        try:
            self.tell()
            self._lines.close()
        finally:
            os.close(self._descriptor)


def tell_output(text: bytes, on_lines: Callable[[list[str]], None]) -> None:
    """Tell what an attempt has written that is over."""
    lines = Lines(on_lines)
    lines.write_bytes(text)
    lines.close()
