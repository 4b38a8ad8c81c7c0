"""The frames on the socket between a pool and one of its workers.

A frame is a header, then a body of the length that the header tells::

    kind (1 byte), zero (3 bytes), ticket (4 bytes), length of the body (8 bytes); little endian

To the worker go SETUP, FUNCTION (the ticket is the function's number), LARGE_FUNCTION (one in a parcel),
CLASS (one that no worker can import, or a function that is an argument), ATTEMPT, and WRITE, which asks for
the result that it has kept; from it come READY, STARTED, RECORD, RESULT, WRITTEN (what it had kept), RESEND
(files of an attempt or its function did not arrive: both shall come again without) and RETIRED, which says
that it begins nothing more and ends. Where what an attempt prints is captured, OUTPUT_FILE says that its file
is in the side channel, or on Windows by which handle the parent has it, and OUTPUT_SO_FAR how long that was
before a record; where the parent cannot have it OUTPUT has all in its body, at the end.
The parent's end of the socket never blocks; the worker's does, so that two large messages that meet cannot
wait for each other.

Descriptors of files travel over a second socket, the side channel: a byte for each frame that has some, in
the order of the frames. They wait there until they are asked for: who is short of descriptors can make room
first. Who does not loses those of one frame, and knows it.
"""

from __future__ import annotations

import _socket
import os
from collections import deque
from contextlib import closing, suppress
from struct import Struct

TYPE_CHECKING: bool = False  # typing is not imported: it would be the costliest part of a worker's start
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Iterable

    from ...attempt import Finished
    from ...serialization.pickling import Buffer

    Frame = tuple[int, int, bytes | memoryview]
    """A message as it came: its kind, its ticket, its body."""

TICKET = Struct("<I")
EXIT = 0
"""The ticket that ends a worker."""

SETUP, FUNCTION, LARGE_FUNCTION, CLASS, ATTEMPT, WRITE = range(1, 7)
READY, STARTED, RECORD, RESULT, WRITTEN, RESEND, RETIRED = range(7, 14)
OUTPUT_FILE, OUTPUT_SO_FAR, OUTPUT = range(14, 17)

_HEADER, _ATTEMPT_HEAD, _RESULT_HEAD = "B3xIQ", "IIH", "BdddQ"
HEADER = Struct(f"<{_HEADER}")

ATTEMPT_HEAD = Struct(f"<{_ATTEMPT_HEAD}")
"""Of an ATTEMPT's body: the function's number, the length of the description, and which of these hold:"""

ANNOUNCE, IN_PARCELS, WITH_FILES, NAME_ONLY, NO_ARGUMENTS, MAY_STAY, WITH_KEPT, VARIANT, CAPTURE = [
    1 << bit for bit in range(9)
]
"""The start shall be announced; the arguments are in parcels; descriptors wait in the side channel; the
description is the task's name in UTF-8, and nothing else; there are no arguments, so they are left out; the
worker may keep a large result; what it has kept is an argument; the function is a variant, and what makes it
of its pattern stands before the arguments; what the function prints is captured."""

VARIANT_HEAD = Struct("<III")
"""What that begins with: the number of the pattern, how many bytes follow, and how many of the arguments."""

RESULT_HEAD = Struct(f"<{_RESULT_HEAD}")
"""Of a RESULT's body: how it ended, started_at, elapsed_seconds, cpu_seconds, peak_rss_bytes."""

_TO_ATTEMPT, _TO_RESULT = Struct(f"<{_HEADER}{_ATTEMPT_HEAD}"), Struct(f"<{_HEADER}{_RESULT_HEAD}")

RETURNED_SIMPLE, RETURNED, RAISED, RETURNED_PARCEL, RETURNED_FILE, KEPT = range(6)
"""A pickle follows of numbers and text, which can always be read; any other; a failure; a parcel in the
message; a parcel of which a file is in the side channel; nothing, since the worker keeps the value. Those
from the first parcel on are large results."""

HOW = Struct("<B")
"""What a WRITTEN's body begins with, as a RESULT's does: how it ended."""

CLASS_ID = Struct("32s")
"""What a CLASS's body begins with; its pickle follows."""

LENGTH = Struct("<Q")
"""An OUTPUT_SO_FAR's body, in bytes."""

CLOCK = Struct("<d")
"""A STARTED's body: when, in seconds on the monotonic clock, which all processes of a system share."""

MOST_DESCRIPTORS = 64  # of a frame; the system's limit is 253
_INT = Struct("i")
CAN_SEND_DESCRIPTORS = hasattr(_socket, "SCM_RIGHTS")  # not on Windows
_CLOEXEC = getattr(_socket, "MSG_CMSG_CLOEXEC", 0)

NO_SIGNAL = getattr(_socket, "MSG_NOSIGNAL", 0)
"""Of a send: to one who is gone it is an OSError, and no SIGPIPE, by which many command line tools end."""

SPIN_SECONDS = 1e-4
"""How long parent and worker look for the next message before they go to sleep.

To wake a sleeper takes a system longer than a short call does: a chain of them takes 60 µs a link so, and 130
without (measured). Between looks the processor is offered to others, so that a busy machine loses nothing.
"""

CHUNK = 1 << 16  # bytes asked for at a time
MOST_AT_ONCE = 1 << 30  # bytes for one call to send or write: macOS refuses 2 GiB, Linux takes no more
FILLED_IN_PLACE = 1 << 14  # bytes from which on a frame that is cut off is received into a buffer of its own


def frame(kind: int, ticket: int, *parts: Buffer) -> list[Buffer]:
    """Build a frame, in one piece; or in several, where a part is too large to be copied."""
    length = sum(map(len, parts))
    return pieces(length, (HEADER.pack(kind, ticket, length), *parts))


def attempt_head(ticket: int, function_number: int, flags: int, description: bytes, length: int) -> bytes:
    """Build what the frame of an attempt begins with.

    So many bytes follow: what makes a variant of its pattern, if it is one, and the arguments.
    """
    length += ATTEMPT_HEAD.size + len(description)
    head = _TO_ATTEMPT.pack(ATTEMPT, ticket, length, function_number, len(description), flags)
    return head + description


def result_frame(ticket: int, finished: Finished, how: int, *parts: Buffer) -> list[Buffer]:
    """Build the frame that tells how an attempt ended, and what follows from it."""
    length = RESULT_HEAD.size
    for part in parts:
        length += len(part)
    head = _TO_RESULT.pack(
        RESULT,
        ticket,
        length,
        how,
        finished.started_at,
        finished.elapsed_seconds,
        finished.cpu_seconds,
        finished.peak_rss_bytes,
    )
    return pieces(length, (head, *parts))


def pieces(length: int, parts: tuple[Buffer, ...]) -> list[Buffer]:
    """Turn the parts of a frame, so long in all, into what is sent at a time: little in one piece."""
    if length < CHUNK:
        return [b"".join(parts)]
    if length < MOST_AT_ONCE:
        return list(parts)
    return [
        memoryview(part)[start : start + MOST_AT_ONCE]
        for part in parts
        for start in range(0, len(part), MOST_AT_ONCE)
    ]


def socket_pair() -> tuple[socket, socket]:
    """Make both ends of a connection to a worker: ours, which never blocks, and the worker's, which does."""
    try:
        # Not of `socket`: a program may have put a class there that goes through a proxy, or tests one that
        # refuses to be made, as pytest-socket does.
        from _socket import socketpair
    except ImportError:  # Windows
        from socket import socketpair

    ours, theirs = socketpair()
    if ours.family == _socket.AF_INET:  # Windows; the second of two small messages would wait for 40 ms
        for end in (ours, theirs):
            end.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
    ours.setblocking(False)
    theirs.setblocking(True)  # socket.setdefaulttimeout() makes sockets that do not, whoever opens them again
    return ours, theirs


# The side channel


def open_side_channel(sock: socket) -> socket | None:
    """Make the side channel of a worker, and send its other end as the first byte of the worker's socket.

    Returns
    -------
    socket or None
        Our end; None where descriptors cannot be handed on, or where there are not enough of them.
    """
    if not CAN_SEND_DESCRIPTORS:
        return None
    with suppress(OSError):
        ours, theirs = socket_pair()
        with closing(theirs):
            if send_descriptors(sock, [theirs.fileno()]):
                return ours
        ours.close()
    sock.send(b"\0")
    return None


def take_side_channel(sock: socket) -> socket | None:
    """Receive the worker's end of the side channel."""
    if not CAN_SEND_DESCRIPTORS:
        return None
    descriptors = _receive(sock)
    return type(sock)(fileno=descriptors[0]) if descriptors else None


def send_descriptors(channel: socket | None, descriptors: Iterable[int]) -> bool:
    """Send the descriptors that belong to a frame; False if that cannot be, now or ever."""
    if channel is None:
        return False
    try:
        data = b"".join(map(_INT.pack, descriptors))
        channel.sendmsg([b"\0"], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, data)], NO_SIGNAL)
    except OSError:  # also: too many are under way, or the channel is full
        return False
    return True


def receive_descriptors(channel: socket | None) -> list[int] | None:
    """Receive the descriptors of the next frame that has some; None, and they are gone, if too few fit."""
    assert channel is not None  # or nobody would have sent any
    # A system that refuses them with an error (macOS) may leave the byte that they came with.
    while (descriptors := _receive(channel)) == []:
        pass
    return descriptors


def skip_descriptors(channel: socket | None) -> None:
    """Drop the descriptors of the next frame that has some."""
    for descriptor in receive_descriptors(channel) or ():
        os.close(descriptor)


def _receive(channel: socket) -> list[int] | None:
    """Receive a byte with the descriptors that came with it; None if they are lost."""
    try:
        data, messages, flags, _ = channel.recvmsg(
            1, _socket.CMSG_SPACE(MOST_DESCRIPTORS * _INT.size), _CLOEXEC
        )
    except OSError:  # macOS: EMSGSIZE
        return None
    descriptors = [number for _, _, packed in messages for (number,) in _INT.iter_unpack(packed)]
    if data and not flags & _socket.MSG_CTRUNC:
        if not _CLOEXEC:  # macOS
            for descriptor in descriptors:
                os.set_inheritable(descriptor, False)
        return descriptors
    for descriptor in descriptors:
        os.close(descriptor)
    return None


class FrameReader:
    """Cuts what comes over a socket, which may block or not, into frames.

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
        start, size, head_size = 0, len(data), HEADER.size
        read_head, add = HEADER.unpack_from, self.frames.append
        while (body := start + head_size) <= size:
            kind, ticket, length = read_head(data, start)
            end = body + length
            if end > size:
                if length > FILLED_IN_PLACE:
                    self._large = memoryview(bytearray(length))
                    self._large_head = (kind, ticket)
                    self._filled = size - body
                    self._large[: self._filled] = data[body:]
                    start = size
                break
            add((kind, ticket, data[body:end]))
            start = end
        self._rest = data[start:]

    def _receive_large(self, body: memoryview) -> bool:
        count = self._sock.recv_into(body[self._filled :])
        self._filled += count
        if self._filled == len(body):
            self.frames.append((*self._large_head, body))
            self._large = None
        return count > 0
