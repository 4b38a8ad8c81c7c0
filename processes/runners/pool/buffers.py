"""Large data in files without a name.

A file is written once, its descriptor is handed from process to process, and each process maps it privately:
what one writes into its mapping is copied first, and nobody else sees it. There is no name that could be left
behind: the memory is free when the last descriptor and mapping are gone, whoever was killed.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from . import wire
from .abilities import anonymous_file
from .descriptors import descriptor_limit, some_are_left
from .mappings import map_privately

if TYPE_CHECKING:
    from collections.abc import Iterable

ALIGNMENT: Final = 64  # bytes: a cache line, which Arrow asks for too
_MOST_FILES: Final = 256  # that a process holds open at a time; a guess, enough for what waits at a time
_SHARE_OF_LIMIT: Final = 4  # and never more than this part of the descriptors that it may have

_close = os.close  # at the end of the interpreter `os` may be gone before the last file

_open_files: set[int] = set()  # the descriptors of all files below; changed by one operation at a time


class DataFile:
    """A file without a name, and its descriptor.

    Parameters
    ----------
    descriptor : int
        Of the file; it is closed when nobody refers to this object any more.
    """

    __slots__ = ("descriptor",)

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        _open_files.add(descriptor)

    def map(self) -> memoryview:
        """Make a private, writable mapping of the whole file; it lasts as long as anything refers to it."""
        try:
            return map_privately(self.descriptor)
        except OSError:  # no room for a mapping, or no way to make one: there may be some for the data
            return _read(self.descriptor, os.fstat(self.descriptor).st_size)

    def leaves_room(self) -> bool:
        """Tell whether this process holds few such files, and still has descriptors for all else."""
        most = min(_MOST_FILES, descriptor_limit() // _SHARE_OF_LIMIT)
        return len(_open_files) <= most and some_are_left(self.descriptor)

    def __del__(self) -> None:
        _open_files.discard(self.descriptor)
        _close(self.descriptor)


def write_file(memories: Iterable[memoryview]) -> tuple[DataFile, list[int]] | None:
    """Write all into one file.

    Returns
    -------
    tuple of DataFile and list of int, or None
        The file, and at which offset each begins; None where there is no room for it.
    """
    offset = 0
    offsets = []
    try:
        file = DataFile(anonymous_file("processes-data"))
        if not file.leaves_room():
            return None
        for memory in memories:
            offset += -offset % ALIGNMENT
            offsets.append(offset)
            while memory:
                count = os.pwrite(file.descriptor, memory[: wire.MOST_AT_ONCE], offset)
                memory = memory[count:]
                offset += count
    except OSError:
        return None
    return file, offsets


def _read(descriptor: int, size: int) -> memoryview:
    data = memoryview(bytearray(size))
    filled = 0
    while filled < size and (piece := os.pread(descriptor, min(size - filled, wire.CHUNK), filled)):
        data[filled : filled + len(piece)] = piece
        filled += len(piece)
    return data
