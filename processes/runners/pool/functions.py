"""The functions of a run on their way to the workers, and the classes that no worker can import."""

from __future__ import annotations

import functools
from contextlib import suppress
from functools import partial
from itertools import count
from operator import call
from types import FunctionType, MethodType
from typing import TYPE_CHECKING

from ...exceptions import SerializationError
from ...serialization.pickling import dump, is_simple, places_in_globals
from ...serialization.rebuild import by_id
from . import wire
from .shipment import Shipment
from .variants import Patterns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, MutableMapping, Sequence
    from typing import Any

    from ...serialization.pickling import Buffer, Named, Pickled
    from .buffers import DataFile
    from .parcel import Key, Piece
    from .shipment import MakeFrame
    from .variants import Variant


_PLACEHOLDER = getattr(functools, "Placeholder", object())  # of a partial function, from Python 3.14 on


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
    bound : tuple
        What else does, for the arguments of each attempt: they go before its own.
    classes : sequence of Shipment
        Those that it needs.
    """

    __slots__ = ("bound", "classes", "function", "number", "own", "pattern")

    def __init__(
        self,
        number: int,
        function: object,
        frame: list[Buffer],
        classes: Sequence[Shipment] = (),
        *,
        pattern: SentFunction | None = None,
        own: bytes = b"",
        bound: tuple[Any, ...] = (),
    ) -> None:
        super().__init__(frame)
        self.classes = classes
        self.number = number
        self.function = function
        self.pattern = pattern
        self.own = own
        self.bound = bound


class Functions:
    """Serializes each function of a run, and each class, once, when it is first seen.

    What cannot be serialized is a SerializationError.
    """

    def __init__(self, large_pieces: MutableMapping[Key, Piece], is_shared: Callable[[object], bool]) -> None:
        places_in_globals.clear()  # the program may have changed since the last run
        self._large_pieces = large_pieces
        self._is_shared = is_shared
        self._by_id: dict[int, SentFunction] = {}
        self._class_methods: dict[MethodType, MethodType] = {}
        self._numbers = count(1)
        self._patterns = Patterns()
        self._sent_classes: dict[str, Shipment] = {}
        self._kept_classes: list[Named] = []  # results may name them until the run ends

    def find(
        self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], task_name: str
    ) -> tuple[SentFunction, tuple[Any, ...], dict[str, Any]]:
        """Return a function as workers get it, and the arguments with which to call it there."""
        while (found := self._by_id.get(id(function))) is None:
            unbound = self._unbind(function, args, kwargs)
            if unbound is None:
                found = self.get(function, task_name)
                break
            function, args, kwargs = unbound
        return found, found.bound + args, kwargs

    def get(self, function: Callable[..., Any], task_name: str) -> SentFunction:
        """Return a function that was not seen yet as workers get it, whatever it is bound to."""
        variant = self._patterns.variant(function)
        if variant is None or (variant.bound and self._is_shared(function)):
            sent = self._serialize(function, task_name)
            self._patterns.add(function)
        else:
            sent = self._vary(function, variant, task_name)
        self._by_id[id(function)] = sent
        return sent

    def _unbind(
        self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]] | None:
        """Take a callable apart that is bound to something, so that what it calls is sent once for many.

        What it is bound to goes as an argument then, and does not stay in the workers. Not so if several
        tasks call it, which it may serve to remember something, unless it is bound to numbers and text.
        """
        if type(function) is partial:
            if not is_simple((function.args, function.keywords)) and self._is_shared(function):
                return None
            if any(value is _PLACEHOLDER for value in function.args):
                return None
            return function.func, function.args + args, function.keywords | kwargs
        # The function's class is asked by `type`: what a proxy says of itself may be an error.
        if issubclass(type(function), (FunctionType, type)) or self._is_shared(function):
            return None
        if type(function) is MethodType:
            inner, bound = function.__func__, function.__self__
            if type(inner) is FunctionType and issubclass(type(bound), type):
                # A class method goes by its name, and is another object each time that it is named.
                same = self._class_methods.setdefault(function, function)
                return None if same is function else (same, args, kwargs)
        elif type(type(function).__call__) is FunctionType:
            # Not its class's `__call__`: it may arrive as another, as a proxy does for what it stands for.
            return call, (function, *args), kwargs
        else:
            return None
        return (inner, (bound, *args), kwargs) if type(inner) is FunctionType else None

    def _vary(self, function: Callable[..., Any], variant: Variant, task_name: str) -> SentFunction:
        pattern = self._by_id.get(id(variant.pattern))
        if pattern is None:
            pattern = self._by_id[id(variant.pattern)] = self._serialize(variant.pattern, task_name)
        own = wire.VARIANT_HEAD.pack(pattern.number, len(variant.data), len(variant.bound)) + variant.data
        return SentFunction(next(self._numbers), function, [], pattern=pattern, own=own, bound=variant.bound)

    def _serialize(self, function: Callable[..., Any], task_name: str) -> SentFunction:
        number = next(self._numbers)
        pickled, classes = self.dump(function, task_name, "func")
        if pickled.data:
            return SentFunction(number, function, wire.frame(wire.FUNCTION, number, pickled.data), classes)
        # It is defined beside large data, or bound to some.
        sent = SentFunction(number, function, [], classes)
        sent.make(self._large(number, pickled, task_name))
        return sent

    def dump(
        self, value: object, task_name: str, what: str | tuple[str, ...], *, note_objects: bool = False
    ) -> tuple[Pickled, Sequence[Shipment]]:
        """Serialize a value without the classes that no worker can import; return these beside it."""
        classes: dict[str, Named] = {}
        pickled = dump(
            value,
            task_name=task_name,
            what=what,
            in_pieces=True,
            classes=classes,
            note_objects=note_objects,
        )
        with suppress(SerializationError):
            return pickled, [self._sent_class(*named, task_name) for named in classes.items()]
        # Once more as a whole: the error names the place within the value.
        return dump(value, task_name=task_name, what=what, in_pieces=True, note_objects=note_objects), ()

    def classes(self, class_ids: Iterable[str], task_name: str) -> list[Shipment]:
        """Return classes that a result names."""
        try:
            return [self._sent_class(class_id, by_id[class_id], task_name) for class_id in class_ids]
        except KeyError:
            raise SerializationError(
                f"Task {task_name!r} cannot be sent to a worker process: nothing refers any more to a class "
                "that a result which it needs is of. Keep the class in a variable.",
                task_name=task_name,
            ) from None

    def _sent_class(self, class_id: str, cls: Named, task_name: str) -> Shipment:
        sent = self._sent_classes.get(class_id)
        if sent is None:
            self._kept_classes.append(cls)
            data = dump(cls, task_name=task_name, what="class").data
            frame = wire.frame(wire.CLASS, 0, wire.CLASS_ID.pack(class_id.encode()), data)
            sent = self._sent_classes[class_id] = Shipment(frame)
        return sent

    def _large(self, number: int, pickled: Pickled, task_name: str) -> MakeFrame:
        from .parcel import Parcel, encode, message

        parcel = Parcel.of(pickled, task_name, "func", self._large_pieces)

        def frame(*, in_band: bool = False) -> tuple[list[Buffer], list[DataFile]]:
            layouts, inside, files = encode([parcel], in_band=in_band)
            return wire.frame(wire.LARGE_FUNCTION, number, *message((bool(files), layouts), inside)), files

        return frame
