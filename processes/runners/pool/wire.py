"""The frames on the socket between a pool and one of its workers.

A frame is a header, then a body of the length that the header tells::

    kind (1 byte), zero (3 bytes), ticket (4 bytes), length of the body (8 bytes); little endian

To the worker go SETUP, FUNCTION (the ticket is the function's number) and ATTEMPT; from it come READY,
STARTED, RECORD, RESULT and RETIRED, which says that it begins nothing more and ends. The parent's end of the
socket never blocks; the worker's does, so that two large messages that meet cannot wait for each other.
"""

from __future__ import annotations

from collections import deque
from struct import Struct
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from _socket import socket

HEADER = Struct("<B3xIQ")
TICKET = Struct("<I")
EXIT = 0
"""The ticket that ends a worker."""

SETUP, FUNCTION, ATTEMPT, READY, STARTED, RECORD, RESULT, RETIRED = range(1, 9)

ATTEMPT_HEAD = Struct("<IIB")
"""Of an ATTEMPT's body: the function's number, the length of the description, announce the start?"""

RESULT_HEAD = Struct("<BdddQ")
"""Of a RESULT's body: how it ended, started_at, elapsed_seconds, cpu_seconds, peak_rss_bytes."""

RETURNED, RAISED = range(2)

CLOCK = Struct("<d")
"""A STARTED's body: when, in seconds on the monotonic clock, which all processes of a system share."""

CHUNK = 1 << 16  # bytes asked for at a time; a frame beyond it is received into a buffer of its own


class Frame(NamedTuple):
    """A message as it came."""

    kind: int
    ticket: int
    body: bytes | memoryview


def frame(kind: int, ticket: int, *parts: bytes) -> list[bytes]:
    """Build a frame, in one piece; or in several, where a part is too large to be copied."""
    length = sum(map(len, parts))
    pieces = [HEADER.pack(kind, ticket, length), *parts]
    return [b"".join(pieces)] if length < CHUNK else pieces


class FrameReader:
    """Cuts what comes over a socket into frames.

    Parameters
    ----------
    sock : socket
        The socket; it may block or not.

    Attributes
    ----------
    frames : deque of Frame
        Whole frames that were received and not yet taken.
    """

    def __init__(self, sock: socket) -> None:
        self.frames: deque[Frame] = deque()
        self._sock = sock
        self._rest = b""  # the start of a frame that is not yet whole
        self._large: memoryview | None = None  # the body of a large frame, being filled
        self._large_head = (0, 0)
        self._filled = 0

    def receive(self) -> bool:
        """Receive once; False at the end of the stream."""
        if self._large is not None:
            return self._receive_large(self._large)
        data = self._sock.recv(CHUNK)
        if not data:
            return False
        if self._rest:
            data = self._rest + data
        self._cut(data)
        return True

    def _cut(self, data: bytes) -> None:
        start, size = 0, len(data)
        while size - start >= HEADER.size:
            kind, ticket, length = HEADER.unpack_from(data, start)
            body = start + HEADER.size
            if body + length > size:
                if length > CHUNK:
                    self._large = memoryview(bytearray(length))
                    self._large_head = (kind, ticket)
                    self._filled = size - body
                    self._large[: self._filled] = data[body:]
                    start = size
                break
            start = body + length
            self.frames.append(Frame(kind, ticket, data[body:start]))
        self._rest = data[start:]

    def _receive_large(self, body: memoryview) -> bool:
        count = self._sock.recv_into(body[self._filled :])
        self._filled += count
        if self._filled == len(body):
            self.frames.append(Frame(*self._large_head, body))
            self._large = None
        return count > 0
