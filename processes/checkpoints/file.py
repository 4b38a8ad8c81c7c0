"""The file that a run's results are saved to: records that are only appended, each with its checksums.

::

    file    MAGIC record record …
    record  length and checksum of the head · head · the value's pickle, in pieces

A program that is killed loses nothing that was written; the next one writes over a record that was cut short.
The system is not asked to bring each record to the disk: a power cut may cost the last ones, never the file.
"""

from __future__ import annotations

import errno
import os
import pickle
import sys
import zlib
from contextlib import suppress
from io import FileIO
from struct import Struct
from typing import TYPE_CHECKING, BinaryIO, Final, NamedTuple

from ..folders import make_folder_for

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from ..serialization.pickling import Buffer

    Value = tuple[Sequence[Buffer], Sequence[Buffer]]  # the pieces of its pickle, and the buffers beside it

_NAME: Final = b"processes checkpoint "
MAGIC: Final = _NAME + b"3\n"

_PREFIX: Final = Struct("<II")  # length and checksum of the head

_MOST_AT_ONCE: Final = 1 << 30  # bytes: a system call takes no more than 2 GB
_STALE_BYTES: Final = 1 << 20  # what is not worth writing the file anew


class Head(NamedTuple):
    """What a record tells of a task that has succeeded.

    Attributes
    ----------
    task_name : str
        The task's name.
    key : bytes
        What the task was made of, dependencies included; see :mod:`.observer`.
    record_id : bytes
        Names the record; no other has it.
    elapsed_seconds, attempts : float, int
        As in the task's result.
    used : dict of str to bytes
        By name, what tells the variables that the task's function uses from later ones.
    """

    task_name: str
    key: bytes
    record_id: bytes
    elapsed_seconds: float
    attempts: int
    used: dict[str, bytes]


class Record(NamedTuple):
    """A record in the file.

    Attributes
    ----------
    head : Head
        What it tells.
    sizes : tuple of int or None
        How long the pieces of the value are: the pickle first, then the buffers that belong to it. None where
        nobody needed the value.
    checksum : int
        Of these pieces.
    start, value_at : int
        Where it begins, and where its value does.
    """

    head: Head
    sizes: tuple[int, ...] | None
    checksum: int
    start: int
    value_at: int

    @property
    def end(self) -> int:
        """Where the next one begins."""
        return self.value_at + sum(self.sizes or ())


class CheckpointFile:
    """An open checkpoint, locked: no other run can have it meanwhile.

    Parameters
    ----------
    path : str or os.PathLike
        The file; made if it is not there, with the folders that it is in.

    Attributes
    ----------
    records : dict of str to Record
        The latest record of each task.

    Raises
    ------
    OSError
        If it cannot be opened; a BlockingIOError if another run has it.
    ValueError
        If it is no checkpoint, or one of another version.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        make_folder_for(path)
        self.path = os.path.realpath(os.fsdecode(path))  # the program may change its directory
        self.records: dict[str, Record] = {}
        self._file = self._open()
        try:
            self._end = self._read_records()
            # What cannot be read stays until there is something to write: a dry run only looks.
            self._has_rest = self._end < self._file.seek(0, os.SEEK_END)
        except BaseException as error:
            self._close()
            if isinstance(error, OSError):
                error.filename = self.path  # what reads and writes has no name to tell
            raise

    def append(self, head: Head, value: Value | None) -> None:
        """Write a record; None for a value that nobody needs.

        Raises
        ------
        OSError
            If it cannot be written. The file is as it was before.
        """
        stream, buffers = value or ((), ())
        sizes = None if value is None else (sum(map(_size, stream)), *map(_size, buffers))
        checksum = 0
        for piece in (*stream, *buffers):
            checksum = zlib.crc32(piece, checksum)
        packed = pickle.dumps((*head, sizes, checksum))
        begin = _PREFIX.pack(len(packed), zlib.crc32(packed)) + packed
        record = Record(head, sizes, checksum, self._end, self._end + len(begin))
        try:
            if self._has_rest:
                self._file.truncate(self._end)
                self._has_rest = False
            self._file.seek(self._end)
            if record.end - self._end < 1 << 16:
                self._write(b"".join((begin, *stream, *buffers)))
            else:
                for piece in (begin, *stream, *buffers):
                    self._write(piece)
        except OSError:
            with suppress(OSError):
                self._file.truncate(self._end)
            raise
        self.records[head.task_name] = record
        self._end = record.end

    def read(self, record: Record) -> list[bytearray]:
        """Return the pieces of a record's value, each in memory of its own.

        Raises
        ------
        OSError
            If they cannot be read, or are not what was written.
        """
        self._file.seek(record.value_at)
        pieces, checksum = [], 0
        for size in record.sizes or ():
            piece = bytearray(size)
            view = memoryview(piece)
            while view:
                if not (count := self._file.readinto(view[:_MOST_AT_ONCE])):
                    raise OSError(errno.EIO, "the file is shorter than it was", self.path)
                view = view[count:]
            checksum = zlib.crc32(piece, checksum)
            pieces.append(piece)
        if checksum != record.checksum:
            raise OSError(errno.EIO, "the data is not what was written", self.path)
        return pieces

    def is_in_place(self) -> bool:
        """Tell whether the path still names this file, which a task may have removed or replaced."""
        return _is_at(self.path, self._file.fileno())

    def close(self, names: Collection[str]) -> None:
        """Close the file; one that is mostly out of date is written anew before.

        Parameters
        ----------
        names : collection of str
            The tasks whose records are kept then.
        """
        try:
            live = [record for name, record in self.records.items() if name in names]
            live_bytes = sum(record.end - record.start for record in live)
            if self._end - live_bytes > max(live_bytes, _STALE_BYTES) and self.is_in_place():
                with suppress(OSError):  # no room, say: the file stays as it is
                    self._rewrite(live)
        finally:
            self._close()

    def _close(self) -> None:
        if not self._file.closed:
            _unlock(self._file.fileno())  # before: a fork of the program may have the file too
            self._file.close()

    def _open(self) -> FileIO:
        make_folder_for(self.path)  # the path may be a link to where there is nothing yet
        while True:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
            file = FileIO(descriptor, "r+b")
            try:
                if not _lock(descriptor):
                    raise BlockingIOError(
                        errno.EWOULDBLOCK,
                        "another run has this checkpoint; wait for its end, or give each a file of its own",
                        self.path,
                    )
                if _is_at(self.path, descriptor):
                    return file
            except BaseException:
                file.close()
                raise
            file.close()  # before we had it, another run wrote it anew

    def _read_records(self) -> int:
        """Read the heads of all records, up to one that was cut short; return where they end."""
        size = self._file.seek(0, os.SEEK_END)
        self._file.seek(0)
        with open(self._file.fileno(), "rb", closefd=False) as file:
            magic = file.read(len(MAGIC))
            if magic != MAGIC:
                if not MAGIC.startswith(magic):
                    raise _no_checkpoint(self.path, magic)
                self._file.seek(0)  # it is new, or was killed when it was
                self._write(MAGIC)
                return len(MAGIC)
            end = len(MAGIC)
            while (record := _read_record(file, end, size)) is not None:
                self.records[record.head.task_name] = record
                end = record.end
        return end

    def _write(self, data: Buffer) -> None:
        view = memoryview(data).cast("B")
        while view:
            view = view[self._file.write(view[:_MOST_AT_ONCE]) :]

    def _rewrite(self, live: Sequence[Record]) -> None:
        temporary = f"{self.path}.tmp"
        try:
            with open(temporary, "wb") as new:
                new.write(MAGIC)
                for record in live:
                    self._copy(record, new)
                new.flush()
                os.fsync(new.fileno())  # else a power cut could cost the old file and the new one
                if sys.platform != "win32":
                    os.fchmod(new.fileno(), os.fstat(self._file.fileno()).st_mode & 0o777)
            if sys.platform == "win32":
                self._file.close()  # an open file cannot be replaced there
            os.replace(temporary, self.path)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary)
            raise

    def _copy(self, record: Record, new: BinaryIO) -> None:
        self._file.seek(record.start)
        left = record.end - record.start
        while left:
            if not (data := self._file.read(min(left, 1 << 20))):
                raise OSError(errno.EIO, "the file is shorter than it was", self.path)
            new.write(data)
            left -= len(data)


def _is_at(path: str, descriptor: int) -> bool:
    """Tell whether a path names an open file."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except (FileNotFoundError, NotADirectoryError):
        return False


def _read_record(file: BinaryIO, start: int, size: int) -> Record | None:
    """Read the head of the record that begins at `start`; None if it is not whole."""
    file.seek(start)
    prefix = file.read(_PREFIX.size)
    if len(prefix) < _PREFIX.size:
        return None
    length, checksum = _PREFIX.unpack(prefix)
    value_at = start + _PREFIX.size + length
    # Zeros, as a power cut may leave them, have the checksum of nothing; and to ask for more than there is
    # would take the memory for it.
    if not length or value_at > size:
        return None
    packed = file.read(length)
    if zlib.crc32(packed) != checksum:
        return None
    *head, sizes, of_value = pickle.loads(packed)  # noqa: S301 - as the values are
    record = Record(Head(*head), sizes, of_value, start, value_at)
    return record if record.end <= size else None


def _size(piece: Buffer) -> int:
    return memoryview(piece).nbytes


def _no_checkpoint(path: str, magic: bytes) -> ValueError:
    if magic.startswith(_NAME):
        return ValueError(
            f"checkpoint {path!r} was written by another version of processes; run with that one, or name "
            "another file"
        )
    return ValueError(f"checkpoint {path!r} is a file of another kind, which is left as it is; name another")


if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> bool:
        """Lock a file until it is closed; False if another has it."""
        # Far behind the end: what is locked nobody else can read. Not farther: file systems have limits.
        os.lseek(descriptor, 1 << 40, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def _unlock(_: int) -> None:
        """Leave it to the end of the file."""

else:
    import fcntl

    def _lock(descriptor: int) -> bool:
        """Lock a file until it is closed; False if another has it."""
        # Not lockf: that lets in whoever is of the same process.
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL):
                raise  # a file system without locks: then nobody can tell
        return True

    def _unlock(descriptor: int) -> None:
        """Unlock a file."""
        with suppress(OSError):  # the file system may know no locks
            fcntl.flock(descriptor, fcntl.LOCK_UN)
