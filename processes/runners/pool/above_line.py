"""What a worker prints to a terminal on which the program redraws a progress line."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from io import BufferedWriter, FileIO, TextIOWrapper

TYPE_CHECKING = False  # typing is not imported: it would be the costliest part of a worker's start
if TYPE_CHECKING:
    from collections.abc import Container
    from typing import Any

CLEAR_LINE = b"\r\x1b[2K"

NAMES = {1: "stdout", 2: "stderr"}
"""The streams of a worker that may lead to a terminal, by their descriptors."""


class _AboveLine(FileIO):
    """Takes the place of the progress line, which the program draws again below a moment later.

    So it is with all that is printed through Python's streams: what C code and programs that a task starts
    print stands behind the line. Nothing is added once the descriptor leads elsewhere, as to a log file.

    Attributes
    ----------
    there_is_one : bool
        Whether there is a line now.
    """

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self.there_is_one = True
        self._leads_to = _where(descriptor)
        self._is_in_line = False  # of its own

    def write(self, data: Any, /) -> int:
        """Write data, and first clear the line that is there."""
        clear = b"" if not self.there_is_one or self._is_in_line else CLEAR_LINE
        if clear and _where(self.fileno()) != self._leads_to:
            return super().write(data)
        data = bytes(data)
        self._is_in_line = not data.endswith(b"\n")
        return max(0, super().write(clear + data) - len(clear))


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
                text = TextIOWrapper(
                    BufferedWriter(above), stream.encoding, stream.errors, line_buffering=True
                )
                setattr(sys, name, text)


def _where(descriptor: int) -> tuple[int, int]:
    found = os.fstat(descriptor)
    return found.st_dev, found.st_ino
