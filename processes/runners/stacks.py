"""Where the threads of this process stand, whatever they are doing just now."""

from __future__ import annotations

import os
import re
import sys

TYPE_CHECKING: bool = False  # typing is not imported: it would be the costliest part of a worker's start
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from types import FrameType

    Place = tuple[str, int | str, str]
    """File, line and function of a frame."""


def stacks() -> Mapping[int, Iterable[Place]]:
    """Tell where each thread stands, by its identifier: its frames, from the innermost on.

    Without the GIL it is what faulthandler tells: of a hundred threads, a hundred frames each.
    """
    is_gil_enabled = getattr(sys, "_is_gil_enabled", None)  # from Python 3.13 on
    if is_gil_enabled is None or is_gil_enabled():
        # Public but for its name: it is documented.
        return {thread: _walk(frame) for thread, frame in sys._current_frames().items()}  # noqa: SLF001
    # The frames of a thread that runs meanwhile would lead to memory that is theirs no more. What writes them
    # down keeps all threads where they are.
    threads = re.split(r"^(?:Current t|T)hread 0x(\w+).*\n", _dump(), flags=re.MULTILINE)
    return {
        int(thread, 16): places_in(dump) for thread, dump in zip(threads[1::2], threads[2::2], strict=True)
    }


def _walk(frame: FrameType | None) -> Iterator[Place]:
    while frame is not None:
        yield frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name
        frame = frame.f_back


def _dump() -> str:
    import faulthandler

    from .pool.abilities import anonymous_file

    try:
        descriptor = anonymous_file("processes-stacks")
    except OSError:
        return ""
    try:
        faulthandler.dump_traceback(descriptor)
        size = os.lseek(descriptor, 0, os.SEEK_CUR)
        os.lseek(descriptor, 0, os.SEEK_SET)
        return unescape(os.read(descriptor, size).decode(errors="replace"))
    finally:
        os.close(descriptor)


def unescape(dump: str) -> str:
    """Put back the characters that faulthandler escapes in names: all but those of printable ASCII."""
    return re.sub(
        r"\\(?:x(7f|[0189a-f][0-9a-f])|u([0-9a-f]{4})|U(00(?:0[0-9a-f]|10)[0-9a-f]{4}))",
        lambda match: chr(int(match[match.lastindex or 0], 16)),
        dump,
    )


def places_in(dump: str) -> list[Place]:
    """Read the frames that faulthandler has written, in the same order."""
    matches = (re.fullmatch(r'  File "(.*)", line (\d+) in (.*)', line) for line in dump.splitlines())
    return [(match[1], match[2], match[3]) for match in matches if match]
