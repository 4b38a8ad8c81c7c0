"""The arguments of attempts on their way to the workers; what many attempts have is serialized once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, WeakValueDictionary

from ...attempt import Sealed, take_sealed_out
from ...serialization.pickling import ARGUMENTS, ATOMS

if TYPE_CHECKING:
    from collections.abc import Iterable, MutableMapping, Sequence

    from ...serialization.pickling import Pickled
    from .functions import Functions
    from .parcel import Key, Parcel, Piece, Places
    from .shipment import Shipment


class Arguments:
    """Serializes arguments; a large one that comes again is not taken apart anew while it is on its way."""

    def __init__(self, functions: Functions, large_pieces: MutableMapping[Key, Piece]) -> None:
        self._functions = functions
        self._large_pieces = large_pieces
        # Ids of arguments; as those that had them may be gone, they are no more than hints.
        self._among_large: set[int] = set()  # of attempts that had much to serialize
        self._not_by_themselves: set[int] = set()  # too small for that, or with objects that others have too
        self._parcels: WeakValueDictionary[int, Parcel] = WeakValueDictionary()  # by the ids of their values
        self._objects: WeakKeyDictionary[Parcel, dict[int, object]] = WeakKeyDictionary()  # those in them

    def dump(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], task_name: str, *, has_sealed: bool
    ) -> tuple[Pickled, Sequence[Shipment], Places]:
        """Serialize arguments.

        Returns
        -------
        tuple
            The arguments, but for those that are in parcels of their own; the classes that no worker can
            import; those parcels, with their places.

        Raises
        ------
        SerializationError
            If one of them cannot be serialized.
        """
        places: Places = {}
        if has_sealed:
            from .parcel import Parcel

            args, kwargs, places = take_sealed_out(args, kwargs, Parcel)
        dumped = self._dump_in_parts(args, kwargs, task_name) if self._among_large else None
        if dumped is None:
            own, classes = self._functions.dump((args, kwargs), task_name, ARGUMENTS)
            if not own.data:
                self._among_large.update(map(id, _more_than_atoms(args, kwargs)))
        else:
            own, classes, shared = dumped
            places |= shared
        if any(parcel.classes for parcel in places):
            named = set().union(*(parcel.classes for parcel in places))
            classes = [*classes, *self._functions.classes(named, task_name)]
        return own, classes, places

    def _dump_in_parts(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], task_name: str
    ) -> tuple[Pickled, Sequence[Shipment], Places] | None:
        """Do it with parcels for what may come again; None if there is none.

        None also if two parts have objects in common, which would be two objects each in the worker.
        """
        values = {id(value): value for value in _more_than_atoms(args, kwargs)}
        parcels = {}
        for key in (values.keys() & self._among_large) - self._not_by_themselves:
            if (parcel := self._parcel_of(values[key], task_name)) is not None:
                parcels[key] = parcel
        if not parcels:
            return None
        from .parcel import Parcel

        rest, rest_kwargs, places = take_sealed_out(
            tuple([parcels.get(id(value), value) for value in args]),
            {name: parcels.get(id(value), value) for name, value in kwargs.items()},
            Parcel,
        )
        has_company = len(values) > 1
        own, classes = self._functions.dump(
            (rest, rest_kwargs), task_name, ARGUMENTS, note_objects=has_company
        )
        if has_company:
            parts = [
                own.objects,
                *(self._objects_of(values[key], parcels[key], task_name) for key in parcels),
            ]
            if not are_apart(parts):
                self._not_by_themselves.update(parcels)
                return None
        return own, classes, places

    def _parcel_of(self, value: Any, task_name: str) -> Parcel | None:
        """Find or make the parcel of a value; None if it is not large."""
        parcel = self._parcels.get(id(value))
        if parcel is None:
            from .parcel import Parcel

            pickled, _ = self._functions.dump(value, task_name, "args")
            if pickled.data:
                self._not_by_themselves.add(id(value))
                return None
            parcel = Parcel.of(pickled, task_name, "args", self._large_pieces)
            parcel.keep(value)  # so that no other has its id
            self._parcels[id(value)] = parcel
        return parcel

    def _objects_of(self, value: Any, parcel: Parcel, task_name: str) -> dict[int, object]:
        objects = self._objects.get(parcel)
        if objects is None:
            pickled, _ = self._functions.dump(value, task_name, "args", note_objects=True)
            objects = self._objects[parcel] = pickled.objects
        return objects


def are_apart(parts: Iterable[dict[int, object]]) -> bool:
    """Tell whether no two dicts have a key in common; the largest is looked through at most once."""
    seen: set[int] = set()
    *smaller, largest = sorted(parts, key=len)
    for part in smaller:
        if not part.keys().isdisjoint(seen):
            return False
        seen.update(part)
    return largest.keys().isdisjoint(seen)


def _more_than_atoms(args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
    return [
        value
        for value in (*args, *kwargs.values())
        if not (type(value) in ATOMS or issubclass(type(value), Sealed))
    ]
