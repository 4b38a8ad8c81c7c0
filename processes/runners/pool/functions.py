"""The functions of a run on their way to the workers, and the classes that no worker can import."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING

from ...exceptions import SerializationError
from ...pickling import dump
from ...rebuild import class_by_id
from . import wire
from .child import Cargo, Shipment
from .variants import Patterns

if TYPE_CHECKING:
    from collections.abc import Iterable, MutableMapping, Sequence

    from ...pickling import Buffer, Pickled
    from .buffers import DataFile
    from .parcel import Key, Piece


class SentFunction(Shipment):
    """A function as workers get it; its frame is empty for a variant.

    Attributes
    ----------
    number : int
        Names it within the run.
    function : object
        The function itself, kept so that no other has its id.
    pattern : SentFunction or None
        What it is a variant of, if it is one; a worker needs that first.
    own : bytes
        What makes a variant of its pattern, for the frame of each attempt; else empty.
    classes : sequence of Shipment
        Those that it needs.
    """

    __slots__ = ("classes", "function", "number", "own", "pattern")

    def __init__(
        self,
        number: int,
        function: object,
        frame: list[Buffer],
        cargo: Cargo | None = None,
        classes: Sequence[Shipment] = (),
        *,
        pattern: SentFunction | None = None,
        own: bytes = b"",
    ) -> None:
        self.frame = frame
        self.cargo = cargo
        self.classes = classes
        self.number = number
        self.function = function
        self.pattern = pattern
        self.own = own


class Functions:
    """Serializes each function of a run, and each class, once, when it is first seen.

    Parameters
    ----------
    large_pieces : mapping
        Large pieces of other values; see :meth:`processes.runners.pool.parcel.Parcel.of`.
    """

    def __init__(self, large_pieces: MutableMapping[Key, Piece]) -> None:
        self._large_pieces = large_pieces
        self._by_id: dict[int, SentFunction] = {}
        self._patterns = Patterns()
        self._sent_classes: dict[str, Shipment] = {}
        self._kept_classes: list[type] = []  # results may name them until the run ends

    def find(self, function: object, task_name: str) -> SentFunction:
        """Return a function as workers get it.

        Raises
        ------
        SerializationError
            If it cannot be serialized.
        """
        found = self._by_id.get(id(function))
        if found is None:
            found = self._by_id[id(function)] = self._serialize(function, task_name)
        return found

    def _serialize(self, function: object, task_name: str) -> SentFunction:
        number = len(self._by_id)
        if (variant := self._patterns.variant(function)) is not None:
            pattern, values = variant
            own = wire.VARIANT_HEAD.pack(pattern.number, len(values)) + values
            return SentFunction(number, function, [], pattern=pattern, own=own)
        pickled, classes = self.dump(function, task_name, "func")
        if pickled.data:
            sent = SentFunction(
                number, function, wire.frame(wire.FUNCTION, number, pickled.data), classes=classes
            )
        else:  # it is defined beside large data, or bound to some
            sent = SentFunction(number, function, *self._large(number, pickled, task_name), classes)
        self._patterns.add(function, sent)
        return sent

    def dump(
        self, value: object, task_name: str, what: str | tuple[str, ...], *, note_objects: bool = False
    ) -> tuple[Pickled, Sequence[Shipment]]:
        """Serialize a value without the classes that no worker can import; return these beside it.

        Parameters are those of :func:`processes.pickling.dump`.

        Raises
        ------
        SerializationError
            If the value or one of the classes cannot be serialized.
        """
        classes: dict[str, type] = {}
        pickled = dump(
            value,
            task_name=task_name,
            what=what,
            in_pieces=True,
            classes=classes,
            note_objects=note_objects,
        )
        pickled.classes = frozenset(classes)
        try:
            return pickled, [self._sent_class(*named, task_name) for named in classes.items()]
        except SerializationError:
            # Once more as a whole: the error names the place within the value.
            return dump(value, task_name=task_name, what=what, in_pieces=True, note_objects=note_objects), ()

    def classes(self, class_ids: Iterable[str], task_name: str) -> list[Shipment]:
        """Return classes that a result names.

        Raises
        ------
        SerializationError
            If one of them cannot be serialized.
        """
        try:
            return [self._sent_class(class_id, class_by_id[class_id], task_name) for class_id in class_ids]
        except KeyError:
            raise SerializationError(
                f"Task {task_name!r} cannot be sent to a worker process: nothing refers any more to a class "
                "that a result which it needs is of. Keep the class in a variable.",
                task_name=task_name,
            ) from None

    def _sent_class(self, class_id: str, cls: type, task_name: str) -> Shipment:
        sent = self._sent_classes.get(class_id)
        if sent is None:
            self._kept_classes.append(cls)
            data = dump(cls, task_name=task_name, what="class").data
            frame = wire.frame(wire.CLASS, 0, wire.CLASS_ID.pack(class_id.encode()), data)
            sent = self._sent_classes[class_id] = Shipment(frame)
        return sent

    def _large(self, number: int, pickled: Pickled, task_name: str) -> tuple[list[Buffer], Cargo]:
        from .parcel import Parcel, encode

        parcel = Parcel.of(pickled, task_name, "func", self._large_pieces)

        def frame(*, in_band: bool) -> tuple[list[Buffer], list[DataFile]]:
            layouts, inside, files = encode([parcel], in_band=in_band)
            about = pickle.dumps((bool(files), layouts))
            length = wire.LENGTH.pack(len(about))
            return wire.frame(wire.LARGE_FUNCTION, number, length, about, *inside), files

        pieces, files = frame(in_band=False)
        return pieces, Cargo(files, lambda: frame(in_band=True)[0])
