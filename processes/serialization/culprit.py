"""Finds what it is in a value that cannot be serialized, and says so.

Only a value that has failed comes here. It is taken apart as the pickler would, each part is tried by
itself, and the first that fails is taken apart in turn; the innermost one is the culprit.
"""

from __future__ import annotations

import sys
from contextlib import _AsyncGeneratorContextManager, _GeneratorContextManager, suppress
from contextvars import ContextVar
from functools import _lru_cache_wrapper, cached_property, partial, partialmethod
from itertools import islice
from time import thread_time
from types import FunctionType, MappingProxyType, MethodType, ModuleType
from typing import TYPE_CHECKING, Any, Final, NewType
from weakref import ReferenceType, WeakKeyDictionary, WeakValueDictionary

from ..annotations import OF_CLASSES, annotations_of
from ..exceptions import SerializationError
from ..failure import drop_leading_frames, exception_line, traceback_of
from ..reprs import DICTS, name_of_class
from .importable import imported_from
from .pickling import PROTOCOL, Contained, dump_value
from .rebuild import contents_of

if TYPE_CHECKING:
    from collections.abc import Iterator

# Of the processor: an error should not take longer than the work. Looked at between two trials.
SEARCH_SECONDS: Final = 1.0
MAX_DEPTH: Final = 30  # beyond it, nesting itself is the trouble more often than not
MAX_PARTS: Final = 10_000  # of one value
_MAX_PATH: Final = 300  # characters

# Attributes that each module or class has anew, or that are looked at by themselves.
_NOT_SENT: Final = {
    *("__builtins__", "__dict__", "__weakref__", "_abc_impl", "__msgspec_cache__"),
    *OF_CLASSES,
}

# Of what has parts under fixed names: these.
_PARTS: Final[dict[type, tuple[str, ...]]] = {
    partial: ("func", "args", "keywords"),
    MethodType: ("__self__", "__func__"),
    property: ("fget", "fset", "fdel"),
    classmethod: ("__func__",),
    staticmethod: ("__func__",),
    cached_property: ("func",),
    partialmethod: ("func", "args", "keywords"),
    _GeneratorContextManager: ("func", "args", "kwds"),
    _AsyncGeneratorContextManager: ("func", "args", "kwds"),
    NewType: ("__supertype__",),
}

_MAPPINGS: Final = (*DICTS, MappingProxyType, WeakKeyDictionary, WeakValueDictionary)

_GENERATORS: Final = {"generator", "async_generator"}
_AS_LIST: Final = "Make a list of it"
_LESS: Final = (
    "There was no memory left for it: pass less at a time, or let go of results by keep_result=False"
)


def cannot_dump(
    value: object, error: BaseException, task_name: str, what: str | tuple[str, ...], to_sender: bool
) -> SerializationError:
    """Make the error for a value that cannot be serialized; parameters as for `.pickling.dump`."""
    drop_leading_frames(error, _ours())
    search = _Search()
    path, culprit = search.find(value, what)
    cls, imported = search.cls, search.imported
    kind = _type_with_module(culprit)
    article = "an" if kind.lstrip("_")[:1].lower() in "aeiou" else "a"
    said = exception_line(error)
    reason = "" if said.startswith("TypeError: cannot pickle '") else f" ({said})"  # nothing new in that
    if to_sender:
        trouble = f"The result of task {task_name!r} cannot be brought back"
        advice = _AS_LIST if kind in _GENERATORS else "Return what it holds instead"
    else:
        trouble = f"Task {task_name!r} cannot be sent to a worker process"
        if _is_out_of_reach(culprit):
            advice = "Define it at the top of a module that can be imported"
        else:
            advice = f"Let the function do {imported!r} itself" if imported else advice_for(kind)
        if cls is not None and not imported:  # which has it as long as it goes by value
            advice += f", put class {cls.__qualname__!r} into a module that can be imported"
    if isinstance(error, MemoryError):
        advice = _LESS
    runner = "sequential" if kind.startswith("sqlite3.") else "thread"  # its objects refuse other threads
    return SerializationError(
        f"{trouble}: {path} is {article} {kind}, which cannot be serialized{reason}. "
        f'{advice}, or give the task runner="{runner}".',
        task_name=task_name,
        path=path,
        type_name=kind,
    )


def _ours() -> set[str]:
    """Return the modules whose frames an error that a value's own code raises need not show."""
    return {name for name in tuple(sys.modules) if name.partition(".")[0] in ("processes", "cloudpickle")}


def advice_for(kind: str) -> str:
    """Say what to do about an argument, or a global, of a type that cannot be serialized."""
    if kind.startswith("multiprocessing."):  # who has one means to share it
        return "Take one that multiprocessing.Manager() makes"
    if kind in _GENERATORS:
        return _AS_LIST
    if kind.startswith("_io."):  # a file
        return "Pass its path, and open it inside the function"
    return "Create it inside the function"


def cannot_load(error: BaseException, task_name: str, what: str | tuple[str, ...]) -> SerializationError:
    """Make the error for data that cannot be read; parameters as for `.pickling.load`."""
    drop_leading_frames(error, _ours())
    path = what if isinstance(what, str) else ", ".join(what)
    # A module lacks a name: nobody but the unpickler has said so, or the module's own `__getattr__`.
    lacks_name = isinstance(error, AttributeError) and (
        traceback_of(error) is None or isinstance(error.obj, ModuleType)
    )
    if isinstance(error, ImportError) or lacks_name:
        advice = "What it needs must be importable, under the same name, in both processes."
    elif isinstance(error, MemoryError):
        advice = f"{_LESS}."
    else:
        advice = (
            "Pass plain data and build the rest inside the function, put the script's classes into a module, "
            'let an initializer prepare the workers, or give the task runner="thread".'
        )
    return SerializationError(
        f"Task {task_name!r}: {path} arrived, but could not be deserialized: "
        f"{exception_line(error).removesuffix('.')}. {advice}",
        task_name=task_name,
        path=path,
    )


class _Search:
    """Looks for the innermost part of a value that cannot be serialized.

    Attributes
    ----------
    cls : type or None
        The outermost class that it is a part of.
    imported : str
        The import of the outermost global that it is a part of; empty unless a module has that.
    """

    def __init__(self) -> None:
        self.cls: type | None = None
        self.imported = ""
        self._end = thread_time() + SEARCH_SECONDS
        self._around: list[object] = []  # the value being taken apart, and those that it is a part of

    def find(self, value: Any, what: str | tuple[str, ...]) -> tuple[str, object]:
        """Return where it stands, as in ``kwargs['cfg'].lock``, and itself."""
        begin = (what if isinstance(what, str) else ", ".join(what)), value
        if not isinstance(what, str):
            parts = zip(what, value, strict=True)
            begin = next(((name, part) for name, part in parts if not _can_dump(part)), begin)
        path, culprit = self.innermost(*begin) or begin
        if len(path) > _MAX_PATH:
            path = f"{path[: _MAX_PATH // 2]}…{path[-_MAX_PATH // 2 :]}"
        return path, culprit

    def innermost(self, path: str, value: object) -> tuple[str, object] | None:
        """Find the culprit in a value that fails; None where the value fails for what is around it."""
        leads_back = False
        self._around.append(value)
        try:
            with Contained():
                for part_path, part in islice(_parts(value, path), MAX_PARTS):
                    if len(self._around) > MAX_DEPTH or thread_time() > self._end:
                        break
                    if any(part is outer for outer in self._around):
                        leads_back = True
                    elif not _can_dump(part):
                        found = self.innermost(part_path, part)
                        if found is not None:
                            if isinstance(value, type):
                                self.cls = value
                            elif isinstance(value, FunctionType):
                                self.imported = _import_of(part, value)
                            return found
                        leads_back = True
                return None if leads_back else (path, value)
            return path, value  # its own code, asked for its state: it is the culprit itself
        finally:
            self._around.pop()


def _import_of(part: object, function: FunctionType) -> str:
    """Return the import by which a function has got a global; empty if a worker could not do it."""
    for name, value in function.__globals__.items():
        if value is part and (home := imported_from(name, part)) is not None:
            return f"from {home.__name__} import {name}"
    return ""


def _is_out_of_reach(value: object) -> bool:
    """Tell whether something goes by its name, as compiled functions do, which nobody else can look up."""
    with suppress(Exception):
        name = value.__qualname__  # type: ignore[attr-defined]
        return callable(value) and ("<locals>" in name or value.__module__ == "__main__")
    return False


def _type_with_module(value: object) -> str:
    """Return a type's name as in ``_thread.lock``; without the module for Python's own."""
    module, name = (name_of_class(type(value), what) for what in ("__module__", "__qualname__"))
    return name if module == "builtins" else f"{module}.{name}"


def _can_dump(value: object) -> bool:
    with Contained():
        dump_value(value, in_pieces=True)  # large buffers are not copied
        return True
    return False


def _parts(value: Any, path: str) -> Iterator[tuple[str, object]]:
    """Give what a value is made of, each part with its path."""
    kind = type(value)
    if kind in _MAPPINGS:
        yield from ((f"list({path})[{i}]", key) for i, key in enumerate(value))
        yield from ((f"{path}[{_short(key)}]", item) for key, item in value.items())
    elif kind is list or isinstance(value, tuple):
        yield from ((f"{path}[{i}]", item) for i, item in enumerate(value))
    elif kind is set or kind is frozenset:
        yield from ((f"list({path})[{i}]", item) for i, item in enumerate(value))
    elif kind is FunctionType:
        yield from _function_parts(value, path)
    elif kind in _PARTS:
        yield from ((f"{path}.{name}", getattr(value, name)) for name in _PARTS[kind])
    elif kind is ContextVar:
        with suppress(LookupError):  # it holds nothing
            yield f"{path}.get()", value.get()
    elif kind is ReferenceType:
        yield f"{path}()", value()
        yield f"{path}.__callback__", value.__callback__
    elif kind is ModuleType or kind is _lru_cache_wrapper:
        yield from _attributes(value, path)
    elif isinstance(value, type):
        yield from _attributes(value, path)
        yield f"{path}.__annotations__", annotations_of(value)
        yield from ((f"{path}.__bases__[{i}]", base) for i, base in enumerate(value.__bases__))
    else:
        yield from _instance_parts(value, path)


def _attributes(value: object, path: str) -> Iterator[tuple[str, object]]:
    return ((f"{path}.{name}", item) for name, item in vars(value).items() if name not in _NOT_SENT)


def _function_parts(function: FunctionType, path: str) -> Iterator[tuple[str, object]]:
    from .shared_globals import names_in

    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        yield from ((f"{path}.__closure__[{name!r}]", contents) for contents in contents_of(cell))
    yield from ((f"{path}.__defaults__[{i}]", item) for i, item in enumerate(function.__defaults__ or ()))
    yield f"{path}.__kwdefaults__", function.__kwdefaults__
    yield from _attributes(function, path)
    yield f"{path}.__annotations__", annotations_of(function)
    # Under its own name there may be what has decorated it.
    for name in (*names_in(function.__code__), function.__qualname__):
        if name in function.__globals__:
            yield f"{path}.__globals__[{name!r}]", function.__globals__[name]


def _instance_parts(value: Any, path: str) -> Iterator[tuple[str, object]]:
    """Give what an object's ``__reduce_ex__`` hands to the pickler."""
    from .by_value import reducer_of

    kind = type(value)
    reducer = reducer_of(kind)
    reduced = reducer(value) if reducer else value.__reduce_ex__(PROTOCOL)
    if isinstance(reduced, str):  # it goes by its name, and with its state where no worker finds it by that
        reduced = kind, (), object.__getstate__(value)
    make, arguments, state, items, pairs = (*reduced, None, None, None)[:5]
    yield (f"type({path})" if make is kind else f"{path}.__reduce__()[0]"), make
    for i, argument in enumerate(arguments):
        yield (f"type({path})" if argument is kind else f"{path}.__reduce__()[1][{i}]"), argument
    # By default the state is __dict__, or a tuple of it and the values of the slots.
    plain_state = isinstance(state, tuple) and len(state) == 2 and isinstance(state[1], dict)
    for attributes in state if plain_state else (state,):
        if isinstance(attributes, dict):
            yield from ((f"{path}.{name}", item) for name, item in attributes.items())
        else:
            yield f"{path}.__getstate__()", attributes
    yield from ((f"{path}[{i}]", item) for i, item in enumerate(items or ()))
    yield from ((f"{path}[{_short(key)}]", item) for key, item in pairs or ())


def _short(key: object) -> str:
    return repr(key) if isinstance(key, (str, int)) and len(str(key)) < 100 else f"<{type(key).__name__}>"
