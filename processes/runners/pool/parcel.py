"""Values on their way between processes: their pickles in pieces, large ones in files.

A message names the files that its pieces stand in by number; their descriptors travel beside it, in the same
order. Small pieces are part of the message itself, and so are all where there is no room for a file.
"""

from __future__ import annotations

import pickle
from struct import Struct
from typing import TYPE_CHECKING, Any

from ...attempt import Sealed, put_in
from ...serialization.culprit import cannot_load
from ...serialization.pickling import ARGUMENTS, LARGE, load
from .buffers import DataFile, write_file
from .mappings import address_of
from .wire import CAN_SEND_DESCRIPTORS, MOST_DESCRIPTORS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, MutableMapping, Sequence

    from ...attempt import Place
    from ...serialization.pickling import Buffer, Pickled

    Layout = tuple[int, list[tuple[int, int, int]]]
    """Of a parcel: how many pieces are the pickle; each piece's file (-1: none), offset and size."""

    Key = tuple[int, int]  # address and size

    Places = dict["Parcel", list[Place]]
    """Parcels among arguments, each with the positions and keywords that it is passed at."""

_LENGTH = Struct("<I")  # of what stands before the contents of a message


class Piece:
    """Some bytes of a parcel, in memory or in a file.

    Attributes
    ----------
    size : int
        How many bytes.
    memory : memoryview or None
        The bytes; None where they are in the file only.
    file : DataFile or None
        The file that they are in.
    offset : int
        Where in the file.
    """

    __slots__ = ("__weakref__", "file", "memory", "offset", "size")

    def __init__(
        self, size: int, memory: memoryview | None, file: DataFile | None = None, offset: int = 0
    ) -> None:
        self.size = size
        self.memory = memory
        self.file = file
        self.offset = offset

    def read(self, mapped: dict[DataFile, memoryview]) -> memoryview:
        """Return the bytes, from the file if there is one; `mapped` has the mappings made so far."""
        if self.file is None:
            assert self.memory is not None
            return self.memory
        if self.file not in mapped:
            mapped[self.file] = self.file.map()
        return mapped[self.file][self.offset : self.offset + self.size]


class Parcel(Sealed):
    """A pickled value.

    Parameters
    ----------
    pieces : list of Piece
        Those that make up the pickle, then the buffers that belong to it.
    stream_length : int
        How many make up the pickle.
    task_name : str
        Whose value it is, for errors.
    what : str or tuple of str
        What it is; as for :func:`processes.serialization.pickling.load`.

    Attributes
    ----------
    classes : frozenset of str
        The ids of the classes that it names and that no worker can import.
    added : int
        How many bytes it had to copy.
    """

    __slots__ = (
        "__weakref__",
        "_opened",
        "_what",
        "added",
        "classes",
        "pieces",
        "stream_length",
        "task_name",
    )

    def __init__(
        self, pieces: list[Piece], stream_length: int, task_name: str, what: str | tuple[str, ...]
    ) -> None:
        self.pieces = pieces
        self.stream_length = stream_length
        self.task_name = task_name
        self._what = what
        self.added = 0
        self.classes: frozenset[str] = frozenset()
        self._opened: dict[str, Any] = {}

    @classmethod
    def of(
        cls,
        pickled: Pickled,
        task_name: str,
        what: str | tuple[str, ...],
        known: MutableMapping[Key, Piece] | None = None,
    ) -> Parcel:
        """Pack what was pickled; large pieces go into a file if there is room for one.

        Parameters
        ----------
        pickled : Pickled
            In one piece or in several.
        task_name, what
            As for the class.
        known : mapping, optional
            Pieces by the memory that they are a copy of, which they keep from being used for anything else.
            What is among them is not written again, and what is written is put there.
        """
        stream = pickled.stream or (pickled.data,)
        pieces = []
        fresh: dict[Key, Piece] = {}
        for data in (*stream, *pickled.buffers):
            memory = memoryview(data)
            piece = None
            if memory.nbytes >= LARGE:
                key = (address_of(memory), memory.nbytes)
                piece = fresh.get(key) or (None if known is None else known.get(key))
                if piece is None:
                    piece = fresh[key] = Piece(memory.nbytes, memory)
            pieces.append(piece or Piece(memory.nbytes, memory))
        _write(fresh.values())
        if known is not None:
            known.update(fresh)
        parcel = cls(pieces, len(stream), task_name, what)
        parcel.classes = pickled.classes
        parcel.added = sum([piece.size for piece in fresh.values()])
        return parcel

    def keep(self, value: Any) -> None:
        """Keep the value that it was made of, as what :meth:`open` returns."""
        self._opened["value"] = value

    def open(self) -> Any:
        if not self._opened:
            return self._opened.setdefault("value", self.load())  # another thread may have been faster
        return self._opened["value"]

    def pickled(self) -> tuple[Sequence[Buffer], Sequence[Buffer]] | None:
        if self.classes:
            return None  # it names some that are this process's own
        return self._read()

    def load(self, task_name: str | None = None) -> Any:
        """Make the value anew, for a task; its large buffers are private mappings of the file."""
        if task_name is None:
            task_name = self.task_name
        try:
            stream, buffers = self._memories()
        except (OSError, MemoryError) as error:
            raise cannot_load(error, task_name, self._what) from error
        return load(
            stream[0] if len(stream) == 1 else stream,
            task_name=task_name,
            what=self._what,
            buffers=buffers,
        )

    def _memories(self) -> tuple[list[Buffer], list[Buffer]]:
        """Return the pieces of the pickle, and buffers that belong to nobody else."""
        stream, buffers = self._read()
        for number, piece in enumerate(self.pieces[self.stream_length :]):
            if piece.file is None:
                buffers[number] = bytearray(buffers[number])
        return stream, buffers

    def _read(self) -> tuple[list[Buffer], list[Buffer]]:
        mapped: dict[DataFile, memoryview] = {}
        memories: list[Buffer] = [piece.read(mapped) for piece in self.pieces]
        return memories[: self.stream_length], memories[self.stream_length :]

    def keep_descriptors_few(self) -> None:
        """Let go of the files where they leave few descriptors; the data stays mapped.

        Raises
        ------
        SerializationError
            If there is no room for the data.
        """
        files = {piece.file for piece in self.pieces if piece.file is not None}
        too_many = {file for file in files if not file.leaves_room()}
        mapped: dict[DataFile, memoryview] = {}
        try:
            for piece in self.pieces:
                if piece.file in too_many:
                    piece.memory, piece.file = piece.read(mapped), None
        except (OSError, MemoryError) as error:
            raise cannot_load(error, self.task_name, self._what) from error


def _write(pieces: Collection[Piece]) -> None:
    """Write pieces into one file, or leave them where they are."""
    if not (pieces and CAN_SEND_DESCRIPTORS):
        return
    written = write_file(piece.memory for piece in pieces if piece.memory is not None)
    if written is not None:
        file, offsets = written
        for piece, offset in zip(pieces, offsets, strict=True):
            piece.file, piece.offset = file, offset


# In messages


def load_arguments(
    description: tuple[list[Layout], list[list[Place]], list[Place]],
    inside: memoryview,
    files: Sequence[DataFile],
    task_name: str,
    kept: Any,
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Make arguments, and put the parcels that were taken out, and what was kept, into their places."""
    layouts, places, places_of_kept = description
    own, *parcels = decode(layouts, inside, files, task_name, ARGUMENTS)
    args, kwargs = own.load()
    found = [(parcel.load(), its_places) for parcel, its_places in zip(parcels, places, strict=True)]
    return put_in(args, kwargs, [*found, (kept, places_of_kept)])


def encode(
    parcels: Iterable[Parcel], *, in_band: bool = False
) -> tuple[list[Layout], list[memoryview], list[DataFile]]:
    """Take parcels apart for a message.

    Parameters
    ----------
    parcels : iterable of Parcel
        Any number.
    in_band : bool, default False
        Put all into the message itself.

    Returns
    -------
    tuple
        The layout of each; what goes into the message, one piece after the other; the files that go with it.
    """
    files: dict[DataFile, int] = {}
    mapped: dict[DataFile, memoryview] = {}
    inside: list[memoryview] = []
    layouts = []
    for parcel in parcels:
        places = []
        for piece in parcel.pieces:
            file = None if in_band else piece.file
            if file is not None and (file in files or len(files) < MOST_DESCRIPTORS):
                places.append((files.setdefault(file, len(files)), piece.offset, piece.size))
            else:
                inside.append(piece.memory if piece.memory is not None else piece.read(mapped))
                places.append((-1, 0, piece.size))
        layouts.append((parcel.stream_length, places))
    return layouts, inside, list(files)


def decode(
    layouts: Iterable[Layout],
    inside: memoryview,
    files: Sequence[DataFile],
    task_name: str,
    what: str | tuple[str, ...],
) -> list[Parcel]:
    """Put the parcels of a message together; its files are closed when the parcels are dropped."""
    start = 0
    parcels = []
    for stream_length, places in layouts:
        pieces = []
        for number, offset, size in places:
            if number >= 0:
                pieces.append(Piece(size, None, files[number], offset))
            else:
                pieces.append(Piece(size, inside[start : start + size]))
                start += size
        parcels.append(Parcel(pieces, stream_length, task_name, what))
    return parcels


def message(about: object, inside: Iterable[Buffer]) -> tuple[Buffer, ...]:
    """Put what there is to know of parcels, their layouts among it, before what is in the message itself."""
    head = pickle.dumps(about)
    return _LENGTH.pack(len(head)), head, *inside


def read_message(body: memoryview) -> tuple[Any, memoryview]:
    """Return what :func:`message` was given, the contents in one piece."""
    (length,) = _LENGTH.unpack_from(body)
    end = _LENGTH.size + length
    return pickle.loads(body[_LENGTH.size : end]), body[end:]  # noqa: S301 - between processes of one user
