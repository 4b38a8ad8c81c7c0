"""Private mappings of files, and spare ones for who needs the same file next.

To map a file and read it for the first time takes three times as long as to read it once more: the system
brings its pages in a few at a time (measured: 29 and 8 ms for 200 MB). So a worker keeps a mapping that
nobody refers to any more, until its next task at most, and maps nothing anew where that needs the same
file. What was written into a mapping must not be seen by the next user: its pages tell whether anything was.
"""

from __future__ import annotations

import errno
import mmap
import os
import sys
import weakref
from functools import cache
from io import FileIO
from typing import TYPE_CHECKING, Any

ctypes: Any
try:
    import ctypes
except ImportError:  # Python can be built without it: then data is read, and not mapped
    ctypes = None

if TYPE_CHECKING:
    File = tuple[int, int]
    """The device and the number of a file; nobody else's for as long as it is open or mapped."""

_ENTRY = 8  # bytes that /proc/self/pagemap has of a page
_HIGHEST = 7 if sys.byteorder == "little" else 0  # of them
_PRESENT, _SWAPPED, _OF_A_FILE = 0x80, 0x40, 0x20  # in that: bits 63, 62, 61 (Linux, pagemap.rst)
_UNWRITTEN = bytes(flags for flags in range(256) if flags & _OF_A_FILE or not flags & (_PRESENT | _SWAPPED))
"""The flags of pages that are the file's own, or were never looked at; a copy is no file's page."""

MOST_MAPPINGS = 1 << 14
"""At a time; Linux allows a process some 65 000 of all kinds (vm.max_map_count), and fails it beyond."""

_mapped: set[int] = set()  # the addresses of all there are; changed by one operation at a time
_keeps_spares = False
_spares: dict[File, tuple[int, int]] = {}  # address and size; changed by one operation at a time


def map_privately(descriptor: int) -> memoryview:
    """Map a whole file, writable, for the caller alone; no descriptor is kept.

    The mapping lasts as long as anything refers to it.

    Raises
    ------
    OSError
        If there is no room for it, or Python cannot do it.
    """
    if ctypes is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    status = os.fstat(descriptor)
    file, size = (status.st_dev, status.st_ino), status.st_size
    address, _ = _spares.pop(file, (0, 0))
    if address and not _is_unwritten(address, size):
        _unmap(address, size)
        address = 0
    if not address:
        try:
            address = _map(descriptor, size)
        except OSError:
            drop_spares()
            address = _map(descriptor, size)
    array = (ctypes.c_ubyte * size).from_address(address)
    weakref.finalize(array, _let_go, file, address, size).atexit = False  # somebody may still look at it
    return memoryview(array).cast("B")


def keep_spares() -> None:
    """Keep mappings that nobody refers to any more, until :func:`drop_spares`."""
    global _keeps_spares
    _keeps_spares = True


def drop_spares() -> None:
    """Unmap what nobody needed again."""
    for file in list(_spares):
        if (spare := _spares.pop(file, None)) is not None:
            _unmap(*spare)


def _let_go(file: File, address: int, size: int) -> None:
    # Where two mappings of a file end, one of them is enough.
    if not _keeps_spares or _spares.setdefault(file, (address, size)) != (address, size):
        _unmap(address, size)


def _is_unwritten(address: int, size: int) -> bool:
    """Tell whether a mapping is as it was made; False where the system does not say."""
    flags = _flags(address, size)
    return bool(flags) and not flags.translate(None, _UNWRITTEN) and _speaks_of_us()


@cache
def _speaks_of_us() -> bool:
    """Tell whether what the system says of pages is true of ours.

    Under an emulator (qemu runs the programs of other processors) it may speak of other addresses, and in
    another order of bytes.
    """
    size = 64 * mmap.PAGESIZE  # chance would have to be right of each
    with mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as pages:
        pages[:: mmap.PAGESIZE] = b"w" * 64
        array = ctypes.c_ubyte.from_buffer(pages)
        flags = _flags(ctypes.addressof(array), size)
        del array  # the mapping cannot be closed while it refers to that
    return bool(flags) and not any(flag in _UNWRITTEN for flag in flags)


def _flags(address: int, size: int) -> bytes:
    """Return what the system says of each page of a mapping; nothing where it does not."""
    count = -(-size // mmap.PAGESIZE)
    try:
        with FileIO("/proc/self/pagemap") as pagemap:
            entries = os.pread(pagemap.fileno(), count * _ENTRY, address // mmap.PAGESIZE * _ENTRY)
    except OSError:
        return b""
    return entries[_HIGHEST::_ENTRY] if len(entries) == count * _ENTRY else b""


@cache
def _libc() -> Any:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, *(ctypes.c_int,) * 3, ctypes.c_long)
    libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
    return libc


def _map(descriptor: int, size: int) -> int:
    if len(_mapped) >= MOST_MAPPINGS:
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
    protection = mmap.PROT_READ | mmap.PROT_WRITE
    address = _libc().mmap(None, size, protection, mmap.MAP_PRIVATE, descriptor, 0)
    if address is None or address == ctypes.c_void_p(-1).value:
        raise OSError(ctypes.get_errno(), "mmap")
    _mapped.add(int(address))
    return int(address)


def _unmap(address: int, size: int) -> None:
    _mapped.discard(address)
    _libc().munmap(address, size)


def address_of(memory: memoryview) -> int:
    """Return where in this process's memory a contiguous buffer begins; read-only ones too.

    Where Python cannot tell, a number that stands for the buffer as long as `memory` is kept.
    """
    if not hasattr(ctypes, "pythonapi"):
        return id(memory)
    buffer = (ctypes.c_void_p * 11)()  # a Py_buffer, part of the stable ABI: the address, then all else
    ctypes.pythonapi.PyObject_GetBuffer(ctypes.py_object(memory), buffer, 0)
    try:
        return int(buffer[0])
    finally:
        ctypes.pythonapi.PyBuffer_Release(buffer)
