"""Values as text, bounded in time and size.

A value's repr is its class's code, which may raise, hang, or build a string of gigabytes. So values of
builtin types are rendered here and now, by code that stops at a bound, and everything else in a thread that
is left behind when its time is over. (Code that hangs with the GIL held stops this thread too: only the time
limit of a worker process ends that.)

Worker processes import this module before their first task: it imports what it needs inside functions.
"""

from __future__ import annotations

import _thread
import builtins
import sys
from itertools import islice
from reprlib import recursive_repr

TYPE_CHECKING: bool = False  # typing itself would take longer to import than all of this module
if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Mapping
    from typing import Any, Final

# A failed task occupies its worker while it is described: long enough for any honest repr, short enough to be
# no second time limit.
RENDER_SECONDS: Final = 1.0
_SLICES: Final = 20  # of that: while the machine stands still, say, no more than one passes
MAX_CHARACTERS: Final = 4_000  # of one value: a data frame's or an array's repr is seldom longer
MAX_BRIEF: Final = 200  # of a value that is part of a sentence
_MAX_DEPTH: Final = 50  # lists in lists; deeper ones would exhaust the stack


HAS_DAEMONS: Final = bool(getattr(_thread, "daemon_threads_allowed", lambda: True)())
"""Whether this interpreter may end before its threads; not one that `concurrent.interpreters` has made."""

ATOMS: Final = frozenset({type(None), type(...), type(NotImplemented), bool, int, float, complex, str, bytes})
_PLAIN: Final = ATOMS | {range, type, type(sys), type(len), type(lambda: None)}
_BRACKETS: Final[dict[type, tuple[str, str]]] = {
    list: ("[", "]"),
    tuple: ("(", ")"),
    dict: ("{", "}"),
    set: ("{", "}"),
    frozenset: ("frozenset({", "})"),
}
# Python's other containers. A repr of them goes through all items, and no thread runs meanwhile.
_MORE_CONTAINERS: Final = (
    ("array", "array"),
    ("builtins", "frozendict"),
    ("collections", "deque"),
    ("collections", "Counter"),
    ("collections", "OrderedDict"),
    ("collections", "defaultdict"),
)
DICTS: Final = (dict, getattr(builtins, "frozendict", dict))  # Python 3.15: it is no subclass
_EMPTY_REPRS: Final[dict[type, str]] = {set: "set()", frozenset: "frozenset()"}


class NeedsThreadError(Exception):
    """Raised by a job that is not in the thread: it would run the user's code."""


def name_of_class(cls: type, name: str = "__name__") -> str:
    """Return a class's name, or its `__module__` or `__qualname__`, whatever its metaclass makes of these."""
    told = vars(type)[name].__get__(cls)
    if not isinstance(told, str):  # the type of Cython's functions has a descriptor there, for these
        try:
            told = getattr(cls, name)
        except Exception:  # whatever the metaclass does
            told = "?"
    return str(told)


def start_thread(thread: threading.Thread) -> bool:
    """Start a thread; tell whether one is to be had: where the interpreter is ending, say, none is."""
    try:
        thread.start()
    except RuntimeError as error:
        from .interrupt import is_of_signal

        if is_of_signal(error):
            raise
        return False
    return True


def bounded_repr(value: object, max_characters: int = MAX_CHARACTERS) -> str:
    """Return the repr of any value, bounded in time and size; never raises.

    A short one is what ``repr()`` gives. A longer one ends in ``… N more characters`` or ``… N more items``;
    of builtin containers and strings, what is left out is not even looked at.
    """
    return bounded_reprs({"": value}, max_characters)[""]


def brief_repr(value: object) -> str:
    """Return the repr of any value as messages show it: see :func:`bounded_repr`."""
    return bounded_repr(value, MAX_BRIEF)


@recursive_repr("...")
def bounded_dataclass_repr(instance: Any) -> str:
    """Return the repr of a data class with its fields bounded in size, not in time: whoever asks waits."""
    texts = (
        f"{name}={_Renderer(threaded=True).render(getattr(instance, name), MAX_CHARACTERS)}"
        for name in instance.__dataclass_fields__
    )
    return f"{_type_name(instance)}({', '.join(texts)})"


def type_name(value: object) -> str:
    """Return the name of a value's type as messages show it, with its module if a builtin has that name."""
    kind = type(value)
    name = _type_name(value)
    return name if getattr(builtins, name, kind) is kind else f"{name_of_class(kind, '__module__')}.{name}"


def bounded_reprs(values: Mapping[Any, object], max_characters: int = MAX_CHARACTERS) -> dict[Any, str]:
    """Return :func:`bounded_repr` of several values, by key; they share the time that one would have."""
    jobs = {key: repr_job(value, max_characters) for key, value in values.items()}
    return with_stand_ins(values, render_all(jobs))


def behind_type(exception: BaseException, text: str) -> str:
    """Return an exception's type, and a text of it if there is any, as in ``ValueError: no rows``."""
    return f"{_type_name(exception)}: {text}" if text else _type_name(exception)


def unprintable(exception: BaseException) -> str:
    """Return what stands in the place of the text of an exception that cannot tell it."""
    return f"<unprintable {_type_name(exception)} object>"


# ---- Rendering in bounded time ---------------------------------------------------------------------------


def render_all(jobs: Mapping[Any, Callable[[bool], str]]) -> dict[Any, str]:
    """Do jobs: those of builtin values here, the others in a thread; return what was done in time.

    A job is told whether it is in the thread; where it is not, it raises rather than run the user's code.
    """
    done: dict[Any, str] = {}
    for key, job in jobs.items():
        try:
            done[key] = job(False)
        except NeedsThreadError:
            continue
        except Exception as error:  # it needs more stack than is left here
            from .interrupt import is_of_signal

            if is_of_signal(error):
                raise
    left = {key: job for key, job in jobs.items() if key not in done}
    if left:
        done.update(_render_in_thread(left))
    return done


def _render_in_thread(jobs: Mapping[Any, Callable[[bool], str]]) -> dict[Any, str]:
    import contextvars
    import threading

    done: dict[Any, str] = {}

    def work() -> None:
        for key, job in jobs.items():
            try:
                done[key] = job(True)
            except BaseException as error:
                done[key] = f"<not rendered: {_type_name(error)}>"

    # Reprs that depend on a context variable (decimal's precision, numpy's print options) are as they were.
    thread = threading.Thread(
        target=contextvars.copy_context().run, args=(work,), name="processes-render", daemon=HAS_DAEMONS
    )
    if start_thread(thread):
        for _ in range(_SLICES):
            thread.join(RENDER_SECONDS / _SLICES)
            if not thread.is_alive():
                break
    else:
        work()  # at a risk
    return dict(done)  # a copy, because the thread may go on


def with_stand_ins(values: Mapping[Any, object], texts: Mapping[Any, str]) -> dict[Any, str]:
    """Return the texts in the order of the values, and something for those that have none."""
    whole = {}
    what = " whose __repr__"
    for key, value in values.items():
        if key in texts:
            whole[key] = texts[key]
        else:
            whole[key] = f"<{_type_name(value)} object{what} took longer than {RENDER_SECONDS:g} s>"
            what = ", left out because those before it"
    return whole


# ---- Rendering in bounded size ---------------------------------------------------------------------------


def repr_job(value: object, room: int) -> Callable[[bool], str]:
    """Return a job of :func:`render_all` that makes a value's repr, of about `room` characters."""
    return lambda threaded: _Renderer(threaded).render(value, room)


class _Renderer:
    """Makes a repr; only in the thread that may be left behind by the user's code."""

    __slots__ = ("_around", "_threaded")

    def __init__(self, threaded: bool) -> None:
        self._threaded = threaded
        self._around: list[int] = []  # the ids of the containers around the value

    def render(self, value: Any, room: int) -> str:
        """Return a repr of about `room` characters."""
        kind = type(value)
        if kind is str or kind is bytes or kind is bytearray:
            return _render_string(value, room)
        if kind is int and value.bit_length() > 10_000:  # quadratic to convert
            return f"<int of {value.bit_length()} bits>"
        if kind in _PLAIN:
            text = repr(value)
            # Half a number would be worse than a few characters more.
            return text if len(text) <= 40 else cut(text, max(room, 40))
        if kind in _BRACKETS:
            return self._container(value, room)
        if _is_long_container(value, room):
            opening, closing = _BRACKETS[dict if isinstance(value, DICTS) else list]
            return self._items(value, room, f"{kind.__name__}({opening}", f"{closing})")
        described_by = type.__getattribute__(kind, "__repr__")
        if described_by is BaseException.__repr__ or described_by is BaseExceptionGroup.__repr__:
            # A group's has that of each member in it, and doubles where it holds one twice.
            args = vars(BaseException)["args"].__get__(value)
            return self._items(args, room, f"{_type_name(value)}(", ")")
        if described_by is object.__repr__:
            return repr(value)
        if self._threaded:
            return _foreign_repr(value, room)
        raise NeedsThreadError

    def _container(self, value: Any, room: int) -> str:
        kind = type(value)
        opening, closing = _BRACKETS[kind]
        if not value and kind in _EMPTY_REPRS:
            return _EMPTY_REPRS[kind]
        if kind is tuple and len(value) == 1:
            closing = ",)"
        return self._items(value, room, opening, closing)

    def _items(self, value: Any, room: int, opening: str, closing: str) -> str:
        if id(value) in self._around:
            return f"{opening}...{closing.lstrip(',')}"
        if len(self._around) == _MAX_DEPTH:
            return f"{opening}…{closing.lstrip(',')}"
        is_dict = isinstance(value, DICTS)
        total = len(value)
        used = len(opening)
        parts = []
        self._around.append(id(value))
        # Each item takes two characters at least, so that this many are more than there is room for.
        for index, item in enumerate(_first_items(value, room // 2 + 2)):
            if used >= room:
                parts.append(f"… {total - index} more items")
                break
            if is_dict:
                part = self.render(item[0], room - used) + ": "
                part += self.render(item[1], max(0, room - used - len(part)))
            else:
                part = self.render(item, room - used)
            parts.append(part)
            used += len(part) + 2
        self._around.pop()
        return opening + ", ".join(parts) + closing


def _render_string(value: str | bytes | bytearray, room: int) -> str:
    if len(value) <= room and len(text := repr(value)) <= room + 2:
        return text
    shown = min(len(value), room)
    text = repr(value[:shown])
    while len(text) > room + 2 and shown:  # escapes can make it ten times as long
        shown = shown * room // len(text)
        text = repr(value[:shown])
    if shown == len(value):
        return text
    return f"{text}… {len(value) - shown} more {'characters' if type(value) is str else 'bytes'}"


def _is_long_container(value: Any, room: int) -> bool:
    """Tell whether it is one of Python's other containers, with more items than there is room for."""
    kind = type(value)
    for module, name in _MORE_CONTAINERS:
        if kind is getattr(sys.modules.get(module), name, None):
            return len(value) > room // 2
    return False


def _first_items(value: Any, count: int) -> list[Any]:
    """Take items of a container at once, because another thread may change it meanwhile."""

    def take(container: Any) -> list[Any]:
        return list(islice(container.items() if isinstance(container, DICTS) else container, count))

    try:
        return take(value)
    except RuntimeError:  # without the GIL that is not at once, and to copy all of it is
        return take(value.copy())


def _foreign_repr(value: object, room: int) -> str:
    """Return the repr that the user's code makes, or what it raised."""
    try:
        return cut(repr(value), room)
    except BaseException as error:
        try:
            text = cut(str(error), 200)
        except BaseException:
            text = unprintable(error)
        return f"<{_type_name(value)} object whose __repr__ raised {behind_type(error, text)}>"


def _type_name(value: object) -> str:
    return name_of_class(type(value))


def cut(text: str, room: int) -> str:
    """Return a text, or its beginning and how much more there is."""
    text = str.__str__(text)  # a subclass of str would bring its own methods along
    if len(text) <= room:
        return text
    return f"{text[:room]}… {len(text) - room} more characters"
