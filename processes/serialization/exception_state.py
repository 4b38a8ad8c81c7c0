"""Exceptions as bytes, with all that they hold, whatever their classes do.

Pickle asks an exception's class how to copy it, loses causes, contexts, tracebacks and half of what builtin
exceptions hold, and fails as a whole where one attribute cannot be serialized. Here no code of the class is
run: an exception is made by its builtin base's ``__new__``, and its contents are put back one by one. Only
one whose class is not written in Python and lets nobody else make it (pydantic's) makes itself, or sets what
nobody else can (psycopg2's); and what an attribute that cannot be serialized is replaced by may come from
what the class tells pickle (psycopg's).

An exception and all that hangs on it (cause, context, members, exceptions among its arguments and
attributes) become a flat table of rows that name each other by number: chains may be long, and rings are
no trouble. A content of a row is

- itself, where it is a number, a text, or None;
- ``(table, row)``, where it is an exception, and a list of such where it is a sequence of them;
- ``(data, type)`` otherwise: a pickle of its own and its type's name.

A value in such a pickle may hold exceptions too, and they a value with others: each has a table of its own.
The tables around it are open meanwhile, numbered from the outermost on, in writing as in reading. So a
value that leads back to an exception around it names the place, and still leads to it when it is read.

What cannot be pickled, or not be read back, is replaced by its repr; and so is a large object that an
AttributeError is about. An exception that cannot tell its text for lack of that gets a class that does,
derived from its own. A class that cannot be made elsewhere is replaced by one of the same name, made on the
spot: see :class:`processes.exceptions.StandInError`.
"""

from __future__ import annotations

import builtins
import gc
import pickle
import threading
from contextlib import contextmanager, suppress
from types import GetSetDescriptorType, MemberDescriptorType, new_class

from ..exceptions import StandInError
from ..failure import HEAP_TYPE, exception_text, exception_texts
from ..reprs import bounded_repr, name_of_class, unprintable
from .pickling import (
    ATOMS,
    PROTOCOL,
    Contained,
    Pickled,
    dump_value,
    has_signal_struck,
)
from .tracebacks import frames_of, traceback_of_frames

TYPE_CHECKING: bool = False  # typing is not imported: it would be the costliest part of a worker's start
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any, Final

    from .pickling import Named
    from .tracebacks import Frame

    Place = tuple[int, int]

_SLOTS: Final = vars(BaseException)  # asked directly, a subclass's properties of the same names do not run
_GROUP_SLOTS: Final = vars(BaseExceptionGroup)


class _Tables(threading.local):
    """The tables that are open in this thread, and the place of each exception that is being written.

    In what makes an exception none of those around it is open: they are not made before it.
    """

    def __init__(self) -> None:
        self.open: list[list[Any]] = []
        self.places: dict[int, Place] = {}  # by id()
        self.making: set[int] = set()  # the ids of those of which is being written what makes them

    @contextmanager
    def closed(self) -> Iterator[None]:
        """Begin afresh for a while."""
        around = self.open, self.places
        self.open, self.places = [], {}
        try:
            yield
        finally:
            self.open, self.places = around


_tables = _Tables()


# ---- Writing ---------------------------------------------------------------------------------------------


def dump_exception(
    exception: BaseException,
    *,
    to_sender: bool = False,
    classes: dict[str, Named] | None = None,
    text: str | None = None,
) -> bytes:
    """Serialize an exception; `to_sender` and `classes` are as for :func:`.pickling.dump`.

    Its `text` is made here where nobody knows it yet. Whatever runs the user's code when it is read was read
    back here once.
    """
    place = _tables.places.get(id(exception))
    if place is not None:
        return pickle.dumps(place, PROTOCOL)
    return pickle.dumps(_Writer(to_sender, classes).write(exception, text), PROTOCOL)


def dump_stand_in(exception: BaseException) -> bytes:
    """Serialize what stands for an exception where :func:`dump_exception` fails: names, text, traceback."""
    *names, _ = next(_descriptions([exception], ""))
    (frames,) = frames_of([exception])
    row: dict[str, Any] = {
        "class": b"",
        "made_of": b"",
        "stand_in": (*names, exception_text(exception)),
        "args": [],
        "attributes": {},
        "fields": {},
        "cause": None,
        "context": None,
        "suppress_context": False,
        "frames": frames,
    }
    return pickle.dumps([row], PROTOCOL)


class Carried:
    """Stands for an exception in the state of an object that holds it.

    Pickled or copied deeply, it becomes the exception again, as :func:`load_exception` makes it; in a shallow
    copy :func:`released` gives the very one.
    """

    __slots__ = ("exception",)

    def __init__(self, exception: BaseException) -> None:
        self.exception = exception

    def __reduce__(self) -> tuple[Any, ...]:
        return load_exception, (dump_exception(self.exception),)


def released(value: Any) -> Any:
    """Return what a value of such a state stands for: only a :class:`Carried` is not that itself."""
    return value.exception if isinstance(value, Carried) else value


class _Writer:
    def __init__(self, to_sender: bool, left_out: dict[str, Named] | None) -> None:
        self._to_sender = to_sender
        self._left_out = left_out  # takes them
        self._has_replaced = False  # whether a repr stands in the place of something

    def write(self, exception: BaseException, text: str | None) -> list[dict[str, Any]]:
        """Return the rows of an exception and of all that hangs on it."""
        number, places = len(_tables.open), _tables.places
        table = [exception]
        places[id(exception)] = (number, 0)
        _tables.open.append(table)
        try:
            for one in table:  # which grows meanwhile
                for other in _linked(one):
                    if id(other) not in places:
                        places[id(other)] = (number, len(table))
                        table.append(other)
            stand_ins, frames = _descriptions(table, text), frames_of(table)
            rows = [self._row(*row) for row in zip(table, stand_ins, frames, strict=True)]
        finally:
            _tables.open.pop()
            for one in table:
                del places[id(one)]
        if self._has_replaced:
            _note_lost_texts(rows)
        return rows

    def _row(
        self, exception: BaseException, stand_in: tuple[str, ...], frames: list[Frame]
    ) -> dict[str, Any]:
        lacks_attribute = issubclass(type(exception), AttributeError)
        attributes = list(_attributes(exception).items())  # psycopg changes them when it is reduced
        row = {
            "class": self._class(type(exception)),
            "made_of": self._made_of(exception),
            "stand_in": stand_in,
            "args": self._contents(_SLOTS["args"].__get__(exception)),
            "attributes": {
                _plain_name(name): self._attribute(exception, name, value) for name, value in attributes
            },
            # What lacks an attribute may be a table of gigabytes, and nobody has asked for it.
            "fields": {
                name: self._content(value, only_small=name == "obj" and lacks_attribute)
                for name, value in _fields(exception)
            },
            "cause": self._content(_SLOTS["__cause__"].__get__(exception)),
            "context": self._content(_SLOTS["__context__"].__get__(exception)),
            "suppress_context": _SLOTS["__suppress_context__"].__get__(exception),
            "frames": frames,
        }
        members = _members(exception)
        if members:
            row["message"] = _GROUP_SLOTS["message"].__get__(exception)
            row["members"] = self._contents(members)
        return row

    def _attribute(self, exception: BaseException, name: str, value: Any) -> Any:
        if name == "__notes__" and type(value) is list:  # each by itself, so that none is lost for another
            return [True, *self._contents(value)]
        content = self._content(value)
        if type(content) is str and content is not value:  # its repr: what would be pickled in its place?
            instead = _pickled_attributes(exception).get(name, value)
            return content if instead is value else self._content(instead)
        return content

    def _contents(self, values: list[Any] | tuple[Any, ...]) -> list[Any]:
        return [self._content(value) for value in values]

    def _class(self, cls: type[BaseException]) -> bytes:
        """Return a class's pickle, empty where there is none to be had."""
        with Contained():
            data = self._dump(cls).data
            pickle.loads(data)  # noqa: S301 - our own
            return data
        return b""

    def _made_of(self, exception: BaseException) -> bytes:
        """Return a pickle of what an exception makes itself of; empty where its builtin base makes it."""
        if _members(exception) or id(exception) in _tables.making or _is_made_by_base(type(exception)):
            return b""
        _tables.making.add(id(exception))
        try:
            with Contained():
                reduced: Any = exception.__reduce_ex__(PROTOCOL)
                make, arguments, *_ = reduced
                with _tables.closed():
                    data = b""
                    with Contained():
                        data = self._dump((make, arguments)).data
                    data = data or self._dump((make, self._sendable(arguments))).data
                if type(_made_by_itself(data)) is type(exception):
                    return data
            return b""
        finally:
            _tables.making.discard(id(exception))

    def _sendable(self, value: Any) -> Any:
        """Return a value with the reprs of those of its parts that cannot be pickled."""
        kind = type(value)
        if kind is list or kind is tuple:
            return kind(map(self._sendable, value))
        if kind is dict:
            return {key: self._sendable(item) for key, item in value.items()}
        with Contained():
            self._dump(value)
            return value
        return bounded_repr(value)

    def _content(self, value: Any, *, only_small: bool = False) -> Any:
        kind = type(value)
        if kind in ATOMS:
            return value
        place = _tables.places.get(id(value))
        if place is not None:
            return place
        if _are_exceptions(value):
            return [kind is list, *self._contents(value)]  # a group's members among its arguments, say
        with Contained():
            pickled = self._dump(value, new_locks=True, in_pieces=only_small)
            if pickled.data:
                if pickled.modules or not pickled.plain:
                    pickle.loads(pickled.data)  # noqa: S301 - our own
                return pickled.data, name_of_class(kind)
        self._has_replaced = True
        return bounded_repr(value)

    def _dump(self, value: Any, *, new_locks: bool = False, in_pieces: bool = False) -> Pickled:
        return dump_value(value, self._to_sender, in_pieces, self._left_out, new_locks=new_locks)


def _note_lost_texts(rows: list[dict[str, Any]]) -> None:
    """Note which exceptions cannot tell their texts where they are read, for want of what was replaced."""
    with Contained():
        table = _read(rows)
        for row, one, text in zip(rows, table, exception_texts(table), strict=True):
            if text == unprintable(one) != row["stand_in"][-1] and not row["made_of"]:
                row["text_is_lost"] = True


def _linked(exception: BaseException) -> Iterator[BaseException]:
    """Give the exceptions that an exception leads to directly."""
    contents = [_SLOTS["__cause__"].__get__(exception), _SLOTS["__context__"].__get__(exception)]
    contents += _SLOTS["args"].__get__(exception)
    contents += _attributes(exception).values()
    contents += (value for _, value in _fields(exception))
    contents += _members(exception)
    for content in contents:
        if issubclass(type(content), BaseException):
            yield content
        elif _are_exceptions(content):
            yield from content


def _are_exceptions(value: Any) -> bool:
    """Tell whether a value is a list or a tuple of exceptions: of what one sums up, say."""
    kind = type(value)
    return (kind is list or kind is tuple) and all(issubclass(type(item), BaseException) for item in value)


def _attributes(exception: BaseException) -> dict[str, Any]:
    attributes: dict[str, Any] = _SLOTS["__dict__"].__get__(exception)
    return attributes


def _plain_name(name: Any) -> Any:
    """Return an attribute's name without the class of it, which may be one that cannot be made elsewhere."""
    return str.__str__(name) if isinstance(name, str) else name


def _pickled_attributes(exception: BaseException) -> dict[str, Any]:
    """Return the attributes that an exception's class hands to pickle; none if it hands over none."""
    with Contained():
        reduced: Any = exception.__reduce_ex__(PROTOCOL)
        return dict(reduced[2])
    return {}


def _members(exception: BaseException) -> tuple[BaseException, ...]:
    """Return a group's members; none where it is no group."""
    if not issubclass(type(exception), BaseExceptionGroup):
        return ()
    members: tuple[BaseException, ...] = _GROUP_SLOTS["exceptions"].__get__(exception)
    return members


def _fields(exception: BaseException) -> Iterator[tuple[str, Any]]:
    """Give what is in slots: those of the user's classes, and those that builtin exceptions have in C."""
    for cls, name, slot in _slots(type(exception)):
        try:
            value = slot.__get__(exception)
        except AttributeError:  # it is not set
            continue
        # In C, None is what an empty one gives; set to None, some would show in the text. The number and the
        # text of an OSError may be: then the collector finds that None.
        if cls is OSError and name in ("errno", "strerror"):
            is_set = value is not None or any(held is None for held in gc.get_referents(exception))
        else:
            is_set = value is not None or bool(cls.__flags__ & HEAP_TYPE)
        if is_set:
            yield name, value


def _is_made_by_base(cls: type[BaseException]) -> bool:
    """Tell whether a class lets its builtin base make its exceptions; one of an extension module may not."""
    # It is Python's where there is a finalizer, which should not find what was made on trial
    # alone. The metaclass is not asked for that.
    if any("__del__" in vars(base) for base in cls.__mro__):
        return True
    try:
        _builtin_base(cls).__new__(cls)
    except TypeError:
        return False
    return True


def _builtin_base(cls: Any) -> Any:
    """Return the class of which an exception's memory is, but for attributes and slots of Python's."""
    while cls.__flags__ & HEAP_TYPE:
        cls = cls.__base__
    return cls


def _slots(kind: type[BaseException]) -> Iterator[tuple[type, str, Any]]:
    for cls in kind.__mro__:
        if cls in (BaseException, BaseExceptionGroup, object):
            continue  # what these hold has its own place in the row
        for name, slot in vars(cls).items():
            # OSError.characters_written is a getset. What those of other modules do, nobody knows.
            is_getset = type(slot) is GetSetDescriptorType and _is_builtin(cls)
            if type(slot) is MemberDescriptorType or (is_getset and not cls.__flags__ & HEAP_TYPE):
                yield cls, name, slot


def _descriptions(table: list[BaseException], first_text: str | None) -> Iterator[tuple[str, ...]]:
    """Give what :func:`stand_in_class` needs for each, without the text where none will be needed."""
    texts = {} if first_text is None else {id(table[0]): first_text}
    own = [one for one in table if not _is_builtin(type(one)) and id(one) not in texts]
    texts.update(zip(map(id, own), exception_texts(own), strict=True))
    for one in table:
        cls = type(one)
        names = [name_of_class(cls, name) for name in ("__name__", "__module__", "__qualname__")]
        base = next(base for base in cls.__mro__ if _is_builtin(base))
        yield *names, name_of_class(base), texts.get(id(one), "")


def _is_builtin(cls: type) -> bool:
    return getattr(builtins, name_of_class(cls), None) is cls


# ---- Reading ---------------------------------------------------------------------------------------------


def load_exception(data: bytes, _: Sequence[Named] = ()) -> BaseException:
    """Make the exception that :func:`dump_exception` has serialized.

    Never fails: what cannot be made has something in its place. Classes and functions that were left out are
    given beside the data, which names them by their ids.
    """
    rows = pickle.loads(data)  # noqa: S301 - plain data, written above
    if isinstance(rows, tuple):
        return _exception_at(rows)
    return _read(rows)[0]


def _read(rows: list[dict[str, Any]]) -> list[BaseException]:
    table: list[Any] = [None] * len(rows)
    _tables.open.append(table)
    try:
        _make_all(rows, table)
        for row, exception in zip(rows, table, strict=True):
            _fill(exception, row)
    finally:
        _tables.open.pop()
    return table


def stand_in_class(name: str, module: str, qualname: str, base_name: str, text: str) -> type[BaseException]:
    """Make the class of an exception that stands for one whose own class cannot be had here.

    It has the names of that, its nearest builtin base, and the text that ``str()`` gave.
    """
    base = getattr(builtins, base_name)
    namespace = {"__module__": module, "__qualname__": qualname, "__str__": lambda _: text}
    return type(name, (StandInError, base), namespace)


def _exception_at(place: Place) -> BaseException:
    number, row = place
    exception: BaseException = _tables.open[number][row]
    return exception


def _make_all(rows: list[dict[str, Any]], table: list[Any]) -> None:
    """Make a table's exceptions, empty; a group after its members, without which it cannot be made."""
    pending = list(range(len(rows)))
    while pending:
        members = rows[pending[-1]].get("members", ())
        missing = [member[1] for member in members if _exception_at(member) is None]
        if missing:
            pending += missing
            continue
        row = pending.pop()
        if table[row] is None:
            table[row] = _make(rows[row], [_exception_at(member) for member in members])


def _make(row: dict[str, Any], members: list[BaseException]) -> BaseException:
    with Contained():
        if row["made_of"]:
            return _made_by_itself(row["made_of"])
        cls = pickle.loads(row["class"])  # noqa: S301 - read back when it was written
        return _new(_telling(cls, row["stand_in"][-1]) if "text_is_lost" in row else cls, row, members)
    cls = stand_in_class(*row["stand_in"])
    try:
        return _new(cls, row, members)
    except TypeError:  # a stand-in is an Exception, and as a group cannot hold a SystemExit, say
        return BaseExceptionGroup(row["message"], members)


def _telling(cls: type[BaseException], text: str) -> type[BaseException]:
    """Return a class of the same names, derived from one, whose exceptions tell a text."""
    namespace = {"__module__": cls.__module__, "__qualname__": cls.__qualname__, "__str__": lambda _: text}
    return new_class(cls.__name__, (cls,), {}, lambda body: body.update(namespace))


def _new(cls: type[BaseException], row: dict[str, Any], members: list[BaseException]) -> BaseException:
    base = _builtin_base(cls)
    made: BaseException = base.__new__(cls, row["message"], members) if members else base.__new__(cls)
    return made


def _made_by_itself(data: bytes) -> BaseException:
    with _tables.closed():
        make, arguments = pickle.loads(data)  # noqa: S301 - our own
    made: BaseException = make(*arguments)
    return made


def _fill(exception: BaseException, row: dict[str, Any]) -> None:
    """Put an exception's contents back."""
    _SLOTS["args"].__set__(exception, tuple(_value(content) for content in row["args"]))
    attributes = {name: _value(content) for name, content in row["attributes"].items()}
    _SLOTS["__dict__"].__get__(exception).update(attributes)
    _fill_fields(exception, {name: _value(content) for name, content in row["fields"].items()})
    for link in ("cause", "context"):
        if row[link] is not None:
            _SLOTS[f"__{link}__"].__set__(exception, _exception_at(row[link]))
    _SLOTS["__suppress_context__"].__set__(exception, row["suppress_context"])
    BaseException.with_traceback(exception, traceback_of_frames(row["frames"]))


def _fill_fields(exception: BaseException, fields: dict[str, Any]) -> None:
    unset = {}
    for _, name, slot in _slots(type(exception)):
        if name in fields:
            try:
                slot.__set__(exception, fields[name])
            except (AttributeError, TypeError, ValueError):  # also if it takes no text in its value's place
                unset[name] = fields[name]
    # What a class in C lets nobody write, as psycopg2 does with its codes, it sets itself.
    set_state = vars(_builtin_base(type(exception))).get("__setstate__")
    if unset and set_state is not None:
        with suppress(Exception):
            set_state(exception, unset)


def _value(content: Any) -> Any:
    if type(content) is list:
        is_list, *items = content
        values = [_value(item) for item in items]
        return values if is_list else tuple(values)
    if type(content) is not tuple:
        return content
    if type(content[0]) is int:
        return _exception_at(content)
    data, kind = content
    try:
        return pickle.loads(data)  # noqa: S301 - read back when it was written
    except BaseException as error:
        if has_signal_struck(error):
            raise
        return f"<{kind} object that could not be deserialized: {type(error).__name__}>"
