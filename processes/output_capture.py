"""Hears what a function prints, and tells it in lines.

In this process that is what goes through `sys.stdout` and `sys.stderr`. Worker processes turn their
descriptors, see :mod:`processes.runners.pool.output`.
"""

from __future__ import annotations

import atexit
import codecs
import io
import sys
import threading
from collections import deque
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from .forks import fork_safe_lock
from .log_capture import is_handled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

MOST_IN_LINE = 1 << 20  # characters; what has no end is told in pieces

_captured: ContextVar[CapturedOutput | None] = ContextVar("processes_captured_output", default=None)

_NAMES = ("stdout", "stderr")

_lock = fork_safe_lock()  # guards all below, and the exchange of the streams
_captures = 0  # blocks that last
_begun = 0  # blocks that there were

# The latest are kept: up to some releases of 3.13 and 3.14, `print` in another thread may use one that is
# gone from `sys` without holding it, which would end the interpreter.
_stand_ins: deque[_Stream] = deque(maxlen=16)
atexit.register(_stand_ins.clear)  # what they stand for may have something to write at its end


class Lines:
    """Cuts text into lines, and tells as many at once as there are.

    Of a line that was overwritten, as progress bars do it with carriage returns, the last state counts.
    """

    def __init__(self, on_lines: Callable[[list[str]], None]) -> None:
        self._on_lines = on_lines
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
        if lines:
            self._tell(lines)

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
            self._tell([begun])

    def _take_begun(self) -> str:
        begun = "".join(self._begun)
        self._begun.clear()
        self._size = 0
        return begun

    def _tell(self, lines: list[str]) -> None:
        self._on_lines([line.rstrip("\r").rpartition("\r")[2] for line in lines])


class CapturedOutput:
    """Takes what this thread (or its coroutines) prints inside the block; other threads print as ever.

    Whose threads count with it, and that it is no generator, is as in :class:`processes.log_capture.Capture`.
    """

    __slots__ = ("_token", "is_over", "lines", "number")

    def __init__(self, on_lines: Callable[[list[str]], None]) -> None:
        self.lines = tuple(Lines(on_lines) for _ in _NAMES)
        self.is_over = False

    def __enter__(self) -> None:
        global _captures, _begun
        with _lock:
            _captures += 1
            _begun += 1
            self.number = _begun
            for place, name in enumerate(_NAMES):
                stream = getattr(sys, name)
                if type(stream) is not _Stream:
                    setattr(sys, name, _stand_in_for(_nowhere if stream is None else stream, place))
        self._token = _captured.set(self)

    def __exit__(self, *_: object) -> None:
        global _captures
        self.is_over = True
        _captured.reset(self._token)
        with _lock:
            _captures -= 1
            if not _captures:
                for name in _NAMES:
                    stream = getattr(sys, name)
                    if type(stream) is _Stream:
                        setattr(sys, name, None if stream.stream is _nowhere else stream.stream)
        for lines in self.lines:
            lines.close()


class _Nowhere(io.TextIOBase):
    """The stream of a program that has none, as one with windows on Windows."""

    def write(self, text: str, /) -> int:
        """Write text nowhere."""
        return len(text)


_nowhere = _Nowhere()


def _stand_in_for(stream: Any, place: int) -> _Stream:
    """Return what stands for a stream from this block on."""
    for stand_in in _stand_ins:
        if stand_in.stream is stream and stand_in.place == place:
            break
    else:
        stand_in = _Stream(stream, place)
        _stand_ins.append(stand_in)
    stand_in.first = _begun
    return stand_in


class StandInStream:
    """Stands for a stream of the program: gives text to what takes lines, or to the stream itself."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def lines(self) -> Lines | None:
        """Return what takes what is printed just now; None if nothing does."""
        raise NotImplementedError

    def write(self, text: str) -> Any:
        """Write text."""
        if (lines := self.lines()) is None:
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
        """Write what is kept back; not of lines, which are taken when they have an end."""
        if self.lines() is None:
            self.stream.flush()


class _Stream(StandInStream):
    """Stands for a stream of the program: takes what is captured, and hands on all else.

    It stands for the same one all its life: what a task puts around it, as colorama does, and leaves there
    gets another.

    Attributes
    ----------
    place : int
        Which it is, as in `_NAMES`.
    first : int
        The number of the first block that it serves. A function of one that began before has put the stream
        there to have for itself what it prints, as with `contextlib.redirect_stdout`.
    """

    def __init__(self, stream: Any, place: int) -> None:
        super().__init__(stream)
        self.place = place
        self.first = 0

    def lines(self) -> Lines | None:
        captured = _captured.get()
        if captured is None or captured.is_over or captured.number < self.first:
            return None
        if is_handled.get():  # a record that a handler prints is in the log file already
            return None
        return captured.lines[self.place]

    def isatty(self) -> bool:
        """Tell whether somebody watches."""
        return self.lines() is None and self.stream.isatty()

    @property
    def buffer(self) -> Any:
        """What takes bytes."""
        return self.stream.buffer if self.lines() is None else _Buffer(self)


class _Buffer(io.BufferedIOBase):
    """Takes bytes where a stream takes text; may outlast the block, in what a task has put in `sys`."""

    def __init__(self, stream: _Stream) -> None:
        self._stream = stream

    @property
    def closed(self) -> bool:
        """Whether the stream itself is closed: then nothing can be written at the end."""
        return bool(getattr(self._stream.stream, "closed", False))

    def writable(self) -> bool:
        """Tell whether it can be written to."""
        return True

    def write(self, data: Any) -> int:
        """Write bytes."""
        encoded = bytes(memoryview(data))
        if (lines := self._stream.lines()) is None:
            self._stream.stream.buffer.write(encoded)
        else:
            lines.write_bytes(encoded)
        return len(encoded)

    def flush(self) -> None:
        """Write what is kept back."""
        self._stream.flush()
