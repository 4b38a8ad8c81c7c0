"""What a worker prints to a terminal on which the program redraws a progress line."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from io import BufferedWriter, FileIO, TextIOWrapper

from .boot import CLEAR_LINE

TYPE_CHECKING: bool = False  # typing is not imported: it would be the costliest part of a worker's start
if TYPE_CHECKING:
    from collections.abc import Container
    from typing import Any

NAMES = {1: "stdout", 2: "stderr"}
"""The streams of a worker that may lead to a terminal, by their descriptors."""


class _AboveLine(FileIO):
    """Takes the place of the progress line, which the program draws again below a moment later.

    It writes whole lines: of one that has no end yet, the program would draw over the beginning. Of a line
    that is overwritten, as bars do it with carriage returns, the last state counts. So it is with all that is
    printed through Python's streams: what C code and programs that a task starts print stands behind the
    line. Nothing is added once the descriptor leads elsewhere, as to a log file.

    Attributes
    ----------
    there_is_one : bool
        Whether there is a line now.
    """

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self.there_is_one = True
        self._leads_to = _where(descriptor)
        self._begun = b""  # a line that has no end yet

    def write(self, data: Any, /) -> int:
        """Write data, or the lines that it ends, in place of the line that is there."""
        if not self.there_is_one or _where(self.fileno()) != self._leads_to:
            return super().write(data)
        text = self._begun + bytes(data)
        lines, end, begun = text.rpartition(b"\n")
        self._begun = begun.rstrip(b"\r").rpartition(b"\r")[2]
        whole = CLEAR_LINE + lines + end if end else b""
        while whole:  # by one write, unless a signal comes between
            whole = whole[super().write(whole) or 0 :]
        return len(data)

    def end_line(self) -> None:
        """End the line that was begun, if there is one."""
        if self._begun:
            self.write(b"\n")


_streams: list[_AboveLine] = []  # they stay where a task may have put others in their place


def print_above_line(descriptors: Container[int]) -> None:
    """Let some streams print above a line from now on, and the others as they are used to."""
    for descriptor, name in NAMES.items():
        stream: Any = getattr(sys, name)
        buffer = getattr(stream, "buffer", None)
        raw = getattr(buffer, "raw", buffer)  # Python may be told to do without a buffer
        if isinstance(raw, _AboveLine):
            raw.there_is_one = descriptor in descriptors
        elif descriptor in descriptors and type(raw) is FileIO:
            with suppress(OSError):  # it is closed
                stream.flush()
                above = _AboveLine(descriptor)
                above.name = raw.name
                # By line in any case: between parts of one, the program may draw its own.
                text: Any = TextIOWrapper(
                    BufferedWriter(above), stream.encoding, stream.errors, line_buffering=True
                )
                text.mode = "w"  # what has none cannot travel
                setattr(sys, name, text)
                # Python's own stays open as well when a task puts another around its buffer.
                setattr(sys, f"__{name}__", text)
                _streams.append(above)


def end_lines() -> None:
    """End the lines that were begun: the program would draw over them."""
    for stream in _streams:
        with suppress(OSError):
            stream.end_line()


def _where(descriptor: int) -> tuple[int, int]:
    found = os.fstat(descriptor)
    return found.st_dev, found.st_ino
