"""Values as bytes, for the way between processes.

:func:`dump` and :func:`load` are for whoever carries a value: what goes wrong is a SerializationError that
names the task, the culprit's place inside the value, and what to do. :func:`dump_value` is the same without
those words.

Worker processes import this module before their first task. What cloudpickle is needed for stands in
:mod:`.by_value`, which is imported for the first value that is more than numbers and text, or a
function or class that goes by its name.
"""

from __future__ import annotations

import pickle
import sys
from io import BufferedReader, RawIOBase
from types import FunctionType

TYPE_CHECKING: bool = False  # typing takes longer to import than all of this module
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from types import ModuleType
    from typing import Any, Final

    Buffer = bytes | bytearray | memoryview
    Named = type | FunctionType
    Place = tuple[str, *tuple[int, ...]]  # a global's name, and numbers of cells

PROTOCOL: Final = 5  # the first with out-of-band buffers

ARGUMENTS: Final = ("args", "kwargs")  # what these are called in errors

ATOMS: Final = frozenset({type(None), bool, int, float, complex, str, bytes})
NUMBERS_AND_TEXT: Final = ATOMS - {bytes}
_SMALL: Final = 16  # items; looking through more takes longer than the pickler that it saves


LARGE: Final = 1 << 17
"""Bytes from which on a part of a value may travel by itself; below it nothing is gained.

Measured, in µs, in the pickle and by itself: an argument of 140 KB 330 and 260, of 400 KB 860 and 470, of
900 KB 1 240 and 770; a result of 140 KB 110 and 157, of 200 KB 265 and 190, of 900 KB 800 and 640.
"""


definitions: Final[dict[str, Buffer]] = {}
"""In a worker: pickles of classes and functions, by id, that values of this run may name and none has yet."""

defined_of_run: Final[dict[str, Any]] = {}
"""In a worker: the classes and the functions of modules that this run has brought so far, by id."""

modules_of_run: Final[dict[str, ModuleType]] = {}
"""In a worker: by name, the modules whose globals are what this run has brought of them by value."""

first_of_run: Final[dict[tuple[str, str | Place], Any]] = {}
"""In a worker: what a module's global was when this run brought it first, by the names of both.

And the cells that functions of the module have closed over, by its name and their places in it.
"""

places_in_globals: Final[dict[int, tuple[int, dict[int, Place]]]] = {}
"""By the ids of globals: how many there were when somebody looked, and where each value is, by its id.

The place of a cell that a function has closed over is the function's place and the cell's number.
"""


def begin_run() -> None:
    """In a worker: forget what the run before has brought by value."""
    for name, module in modules_of_run.items():
        if sys.modules.get(name) is module:
            del sys.modules[name]
    definitions.clear()
    defined_of_run.clear()
    modules_of_run.clear()
    first_of_run.clear()
    places_in_globals.clear()
    sys.modules["__main__"] = make_module("__main__")


def make_module(name: str) -> ModuleType:
    """In a worker: make the module whose globals are what this run brings of it by value.

    What looks things up by name (pickle, forward references in annotations) is to find them there.
    """
    module = type(sys)(name)
    del module.__doc__, module.__loader__, module.__package__  # the script brings its own
    if name != "__main__":  # which alone may have none there, says linecache from Python 3.15 on
        del module.__spec__
    modules_of_run[name] = module
    return module


def serves_run() -> bool:
    """Tell whether this is a worker, where what a run brings by value becomes that run's."""
    return bool(modules_of_run)


class Pickled:
    """A value as bytes.

    Attributes
    ----------
    data : bytes
        The pickle; empty where it is in pieces.
    stream, buffers : list of bytes-like
        The pickle in pieces, where that was asked for and the value is large: those that make up the pickle,
        and the buffers that belong to it. Large ones are the value's own memory, not copies of it.
    plain : bool
        Whether reading it runs no code but Python's own and that of a few well-known libraries. Anything
        else is read back by the process that made it, before another one's life depends on it.
    classes : frozenset of str
        The ids of the classes and functions that it names and does not bring: whoever reads it needs these.
    modules : frozenset of str
        Those that reading it may import, of other libraries than the well-known.
    beside_buffers : int
        How many bytes of `data` belong to no buffer; 0 for a small value of numbers and text.
    objects : dict of int to object
        The objects that it is made of, by their ids, if that was asked for; without numbers, text, and what
        there is only one of in each process. Some were made for this alone, and live as long as this does.
    """

    __slots__ = ("beside_buffers", "buffers", "classes", "data", "modules", "objects", "plain", "stream")

    def __init__(
        self,
        data: bytes,
        plain: bool,
        stream: Sequence[Buffer] = (),
        buffers: Sequence[Buffer] = (),
        classes: frozenset[str] = frozenset(),
        modules: frozenset[str] = frozenset(),
    ) -> None:
        self.objects: dict[int, object] = {}
        self.beside_buffers = 0
        self.classes = classes
        self.modules = modules
        self.data = data
        self.plain = plain
        self.stream = stream
        self.buffers = buffers


def dump(
    value: object,
    *,
    task_name: str,
    what: str | tuple[str, ...],
    to_sender: bool = False,
    in_pieces: bool = False,
    classes: dict[str, Named] | None = None,
    note_objects: bool = False,
) -> Pickled:
    """Serialize a value that belongs to a task.

    Parameters
    ----------
    value : object
        Anything.
    task_name : str
        For the error.
    what : str or tuple of str
        What the value is called in the error, as in ``"result"``; or, where it is a tuple, its items, as in
        ``("args", "kwargs")``.
    to_sender : bool, default False
        False on the way to a worker, True on the way back: classes and functions that came by value go back
        by name, so that the other side finds its own.
    in_pieces : bool, default False
        Leave a value of `LARGE` bytes or more in pieces.
    classes : dict of str to type or function, optional
        Takes the classes that no other process can import, by id, and the functions of modules unless they
        belong to another function. They are not part of the value then: who reads it must have each as one of
        its `definitions`. By default they are part of it.
    note_objects : bool, default False
        Note which objects it is made of.

    Returns
    -------
    Pickled

    Raises
    ------
    SerializationError
        If the value cannot be serialized, whatever its code raised on the way.
    """
    try:
        return dump_value(value, to_sender, in_pieces, classes, note_objects)
    except BaseException as error:
        from .culprit import cannot_dump

        if has_signal_struck(error):
            raise
        raise cannot_dump(value, error, task_name, what, to_sender) from error


def dump_value(
    value: object,
    to_sender: bool = False,
    in_pieces: bool = False,
    classes: dict[str, Named] | None = None,
    note_objects: bool = False,
    new_locks: bool = False,
) -> Pickled:
    """Serialize a value; raises what the value's own code raises.

    Where nobody shares a lock, locks in the value may be made anew: so it is with what an exception holds.
    """
    if not note_objects and is_simple(value):
        data = pickle.dumps(value, PROTOCOL)
        if in_pieces and len(data) >= LARGE:
            return Pickled(b"", True, [data])
        return Pickled(data, True)
    if issubclass(type(value), (FunctionType, type)):
        from .importable import can_be_imported

        if can_be_imported(value):  # most are, and cloudpickle takes a tenth of the time of a cold start
            return Pickled(pickle.dumps(value, PROTOCOL), False)
    from .by_value import dump_by_value

    return dump_by_value(value, to_sender, in_pieces, classes, note_objects, new_locks)


def dump_simple(value: object) -> bytes | None:
    """Serialize a small value of numbers and text, of which nothing can go wrong; None for any other."""
    if not is_simple(value):
        return None
    data = pickle.dumps(value, PROTOCOL)
    return data if len(data) < LARGE else None


def dump_simple_arguments(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes | None:
    """Do what :func:`dump_simple` does, for arguments: most are a few numbers and texts by position."""
    if kwargs or len(args) > _SMALL or not NUMBERS_AND_TEXT.issuperset(map(type, args)):
        return dump_simple((args, kwargs))
    data = pickle.dumps((args, kwargs), PROTOCOL)
    return data if len(data) < LARGE else None


def load(
    data: Buffer | list[Buffer],
    *,
    task_name: str,
    what: str | tuple[str, ...],
    buffers: Iterable[Any] = (),
) -> Any:
    """Make the value that :func:`dump` has serialized.

    Parameters
    ----------
    data : bytes-like or list of bytes-like
        The pickle, or its pieces.
    task_name, what
        As for :func:`dump`.
    buffers : iterable of bytes-like
        Those that belong to it. An array that is made of one keeps it as its memory.

    Raises
    ------
    SerializationError
        If the value cannot be made, whatever its code raised on the way.
    """
    try:
        if isinstance(data, list):
            file = BufferedReader(_Pieces(data))
            return pickle.Unpickler(file, buffers=buffers).load()  # noqa: S301 - see below
        return pickle.loads(data, buffers=buffers)  # noqa: S301 - between processes of one user
    except BaseException as error:
        from .culprit import cannot_load

        if has_signal_struck(error):
            raise
        raise cannot_load(error, task_name, what) from error


def has_signal_struck(error: BaseException) -> bool:
    """Tell whether a signal has struck, which has nothing to do with the value."""
    if serves_run():  # nobody's Ctrl-C comes to a worker, and what else strikes there is its task's own
        return False
    from ..interrupt import is_of_signal

    return is_of_signal(error)


class Contained:
    """A ``with`` block that ends there whatever is raised in it, unless a signal has led to that."""

    __slots__ = ()

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, __: object) -> bool:
        return error is not None and not has_signal_struck(error)


class _Pieces(RawIOBase):
    """A pickle in pieces, as a file to read from."""

    def __init__(self, pieces: Iterable[Buffer]) -> None:
        self._pieces = iter(pieces)
        self._piece = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, target: Any) -> int:
        """Fill the beginning of a buffer; return how many bytes there were, 0 at the end."""
        while not self._piece:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._piece = memoryview(piece)
        count = min(len(target), len(self._piece))
        target[:count] = self._piece[:count]
        self._piece = self._piece[count:]
        return count


def is_simple(value: Any) -> bool:
    """Tell whether a value is small and made of numbers and text, up to two containers deep."""
    if type(value) is not tuple:
        return _holds_atoms(value)
    if len(value) > _SMALL:
        return False
    for item in value:  # noqa: SIM110 - all() takes half as long again
        if not _holds_atoms(item):
            return False
    return True


def _holds_atoms(value: Any) -> bool:
    kind = type(value)
    if kind in NUMBERS_AND_TEXT:
        return True
    if kind is tuple or kind is list:
        return len(value) <= _SMALL and (
            NUMBERS_AND_TEXT.issuperset(map(type, value)) or _are_small_atoms(value)
        )
    if kind is dict:
        return not value or (
            len(value) <= _SMALL
            and ATOMS.issuperset(map(type, value))
            and (NUMBERS_AND_TEXT.issuperset(map(type, value.values())) or _are_small_atoms(value.values()))
        )
    return _are_small_atoms((value,))


def _are_small_atoms(values: Collection[Any]) -> bool:
    """Tell it of values that may be bytes; large ones are left to the pickler that does not copy them."""
    return ATOMS.issuperset(map(type, values)) and not any(
        type(value) is bytes and len(value) >= LARGE for value in values
    )
