"""Hears what a function prints, and tells it line by line as log records.

In this process that is what goes through `sys.stdout` and `sys.stderr`. Worker processes turn their
descriptors, see :mod:`processes.runners.pool.output`.
"""

from __future__ import annotations

import codecs
import logging
import sys
import threading
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from .forks import fork_safe_lock
from .log_capture import is_handled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

LOGGER_NAME = "output"
"""What records of lines have for the name of their logger."""

MOST_IN_LINE = 1 << 20  # characters; what has no end is told in pieces

_captured: ContextVar[CapturedOutput | None] = ContextVar("processes_captured_output", default=None)

_lock = fork_safe_lock()  # guards _captures and the exchange of the streams
_captures = 0


class Lines:
    """Cuts text into lines, and tells each as a record.

    Of a line that was overwritten, as progress bars do it with carriage returns, the last state counts.

    Parameters
    ----------
    on_record : callable
        Takes each `logging.LogRecord`.
    """

    def __init__(self, on_record: Callable[[logging.LogRecord], None]) -> None:
        self._on_record = on_record
        # Guards all below: a function's threads may print at once. Reentrant: so may a signal's handler.
        self._taking = threading.RLock()
        self._begun: list[str] = []  # a line without end, in parts: to join them at each would take long
        self._size = 0  # of these, in characters
        self._decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")

    def write(self, text: str) -> None:
        """Take some text."""
        *lines, rest = text.split("\n")
        with self._taking:
            if lines:
                lines[0] = self._take_begun() + lines[0]
            self._begun.append(rest)
            self._size += len(rest)
            if self._size > MOST_IN_LINE:
                lines.append(self._take_begun())
        for line in lines:
            self._tell(line)

    def write_bytes(self, data: bytes, *, final: bool = False) -> None:
        """Take some text that is encoded in UTF-8; other bytes are shown as they are written in Python."""
        with self._taking:
            text = self._decoder.decode(data, final)
        self.write(text)

    def close(self) -> None:
        """Tell what comes after the last end of a line."""
        self.write_bytes(b"", final=True)
        with self._taking:
            begun = self._take_begun()
        if begun:
            self._tell(begun)

    def _take_begun(self) -> str:
        begun = "".join(self._begun)
        self._begun.clear()
        self._size = 0
        return begun

    def _tell(self, line: str) -> None:
        last_state = line.rstrip("\r").rpartition("\r")[2]
        self._on_record(record_of(last_state))


def record_of(line: str) -> logging.LogRecord:
    """Make the record of a line."""
    fields = {"name": LOGGER_NAME, "levelno": logging.INFO, "levelname": "INFO", "msg": line}
    return logging.makeLogRecord(fields)


class CapturedOutput:
    """Takes what this thread (or its coroutines) prints inside the block; other threads print as ever.

    Whose threads count with it, and that it is no generator, is as in :class:`processes.log_capture.Capture`.

    Parameters
    ----------
    on_record : callable
        Takes the record of each line.
    """

    __slots__ = ("_token", "is_over", "lines")

    def __init__(self, on_record: Callable[[logging.LogRecord], None]) -> None:
        self.lines = tuple(Lines(on_record) for _ in _STAND_INS)
        self.is_over = False

    def __enter__(self) -> None:
        global _captures
        with _lock:
            _captures += 1
            for name, stand_in in _STAND_INS.items():
                stream = getattr(sys, name)
                if stream is not None and stream is not stand_in:  # a program may have put its own there
                    stand_in.stream = stream
                    setattr(sys, name, stand_in)
        self._token = _captured.set(self)

    def __exit__(self, *_: object) -> None:
        global _captures
        self.is_over = True
        _captured.reset(self._token)
        with _lock:
            _captures -= 1
            if not _captures:
                for name, stand_in in _STAND_INS.items():
                    if getattr(sys, name) is stand_in:
                        setattr(sys, name, stand_in.stream)
        for lines in self.lines:
            lines.close()


class _Stream:
    """Stands for a stream of the program: takes what is captured, and hands on all else."""

    def __init__(self, number: int) -> None:
        self.stream: Any = None
        self._number = number

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def _lines(self) -> Lines | None:
        captured = _captured.get()
        if captured is None or captured.is_over:
            return None
        if is_handled.get():  # a record that a handler prints is in the log file already
            return None
        return captured.lines[self._number]

    def write(self, text: str) -> Any:
        """Write text."""
        if (lines := self._lines()) is None:
            return self.stream.write(text)
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        lines.write(text)
        return len(text)

    def writelines(self, texts: Iterable[str]) -> None:
        """Write several texts."""
        for text in texts:
            self.write(text)

    def flush(self) -> None:
        """Write what is kept back; of what is captured that is nothing."""
        if self._lines() is None:
            self.stream.flush()

    def isatty(self) -> bool:
        """Tell whether somebody watches."""
        return self._lines() is None and self.stream.isatty()

    @property
    def buffer(self) -> Any:
        """What takes bytes."""
        lines = self._lines()
        return self.stream.buffer if lines is None else _Buffer(lines)


class _Buffer:
    """Takes bytes where a stream takes text."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines

    def write(self, data: Any) -> int:
        """Write bytes."""
        encoded = bytes(memoryview(data))
        self._lines.write_bytes(encoded)
        return len(encoded)

    def flush(self) -> None:
        """Do nothing: nothing is kept back."""


_STAND_INS = {"stdout": _Stream(0), "stderr": _Stream(1)}
"""They are never dropped: up to some releases of 3.13 and 3.14, `print` in another thread may use one that is
gone from `sys` without holding it, which would end the interpreter."""
