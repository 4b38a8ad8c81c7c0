"""Makes again what :mod:`.by_value` has taken apart, but for classes.

Workers read functions with this alone: to import cloudpickle, and what taking apart needs beside, would take
half as long as all else of their start.
"""

from __future__ import annotations

import builtins
import os
import pickle
import sys
import threading
from contextlib import suppress
from types import CellType, CodeType, FunctionType
from weakref import WeakKeyDictionary, WeakSet, WeakValueDictionary

from .pickling import (
    LARGE,
    defined_of_run,
    definitions,
    first_of_run,
    make_module,
    modules_of_run,
    serves_run,
)

TYPE_CHECKING: bool = False  # typing is not imported: it would be the costliest part of a worker's start
if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Mapping, Sequence
    from contextvars import ContextVar
    from types import ModuleType
    from typing import Any

    from .pickling import Named, Place

# All hold weakly what is sent under an id: what nobody uses is not asked for either.
by_id: WeakValueDictionary[str, Any] = WeakValueDictionary()
ids: WeakKeyDictionary[Any, str] = WeakKeyDictionary()
received: WeakSet[type] = WeakSet()  # made here from what another process has sent
from_parent: WeakSet[Named] = WeakSet()  # those that a parent has sent, and therefore has


def _take_for_received() -> None:
    received.update(named for named in by_id.values() if isinstance(named, type))


if hasattr(os, "register_at_fork"):
    # What a worker of an executor has inherited is as it was then; what its program sends is as it is.
    os.register_at_fork(after_in_child=_take_for_received)


def note_id(named: Any) -> str:
    """Return the id under which a class or function is sent, or what else is known by its identity."""
    named_id = ids.setdefault(named, os.urandom(16).hex())
    by_id[named_id] = named
    return named_id


class _Reader(threading.local):
    """How a thread reads values.

    Attributes
    ----------
    guest : str
        Empty, unless they come from another program, to a worker that an engine runs: then what marks the
        attempt. Its functions are its own, since those of another one have globals of that. And should a
        script of that name have been run here too, its classes are not that program's.
    """

    def __init__(self) -> None:
        self.guest = ""


reader = _Reader()

_HAS_VARARGS = 0x04  # inspect.CO_VARARGS

# What has been made and not yet filled, by id(); of a type alias, the globals where it looks its value up.
_unfilled: dict[int, Any] = {}

_being_read: set[str] = set()  # ids under which definitions are sent, of those that are just being read


class Rebuilt:
    """Stands for what a function makes of some values where it arrives."""

    __slots__ = ("_reduced",)

    def __init__(self, make: Callable[..., Any], *args: Any) -> None:
        self._reduced = make, args

    def __reduce__(self) -> tuple[Any, ...]:
        return self._reduced


class Step(Rebuilt):
    """Something to do when it is its turn to be pickled; None where it arrives."""

    def __reduce__(self) -> tuple[Any, ...]:
        do, args = self._reduced
        do(*args)
        return type(None), ()


def find_module(name: str) -> ModuleType:
    """Import a module."""
    __import__(name)
    return sys.modules[name]


def find_shared_module(name: str, stays_away: bool) -> ModuleType:
    """Find the module whose globals all that comes by value from it shares in this run.

    Whoever imports a module that stays away, since no worker can import it or none shall, gets this one.
    """
    if not serves_run():
        return type(sys)(name)
    if name not in modules_of_run:
        package = name.rpartition(".")[0]
        if stays_away and package and package not in sys.modules:
            find_shared_module(package, stays_away)  # whoever imports the module asks for that first
        module = make_module(name)
        if stays_away:
            sys.modules.setdefault(name, module)
    return modules_of_run[name]


def fill_module(module: ModuleType, brought: Mapping[str, Any]) -> None:
    """Give a module the globals that it brings."""
    share(module.__name__, vars(module), brought)


def find_globals(module: str, stays_away: bool) -> dict[str, Any]:
    """Find the globals that what comes by value from a module shares in this run."""
    return vars(find_shared_module(module, stays_away)) if serves_run() else {}


def globals_of(module: str) -> dict[str, Any]:
    """Find the globals of a module: those of this run, where it came by value; empty if there is none."""
    found = modules_of_run.get(module) or sys.modules.get(module)
    return {} if found is None else vars(found)


def first_brought(module: str, name: str | Place, value: Any) -> Any:
    """Return what a module's global was when this run first brought it; tasks may have bound it anew."""
    return first_of_run.setdefault((module, name), value) if serves_run() else value


def make_object(cls: type, *args: Any) -> Any:
    """Make an object without its state."""
    return maker_of(cls, args).__new__(cls, *args)


def maker_of(cls: type, args: Sequence[Any]) -> Any:
    """Return the class whose code makes an object of these arguments, of which most classes tell none.

    It is the base that has told them, where that is Python's own or a named tuple: what inherits from it may
    want others, or change these once more. Else it is the first that takes them.
    """
    told_by = next((base for base in cls.__mro__ if "__getnewargs__" in vars(base)), None)
    if told_by is not None and not hasattr(cls, "__getnewargs_ex__"):
        tell = vars(told_by)["__getnewargs__"]
        if type(tell) is not FunctionType or tell.__module__ == "collections":
            return told_by
    return next(base for base in cls.__mro__ if _makes_of(base, args))


def _makes_of(cls: type, args: Sequence[Any]) -> bool:
    """Tell whether the code of a class makes objects of these arguments; True if it has none for that."""
    make: Any = cls.__new__
    code = getattr(make, "__code__", None)
    if code is None:
        return True
    count = 1 + len(args)
    return (
        count >= code.co_argcount - len(make.__defaults__ or ())
        and (count <= code.co_argcount or bool(code.co_flags & _HAS_VARARGS))
        and code.co_kwonlyargcount == len(make.__kwdefaults__ or ())
    )


def make_by_base(base: Any, cls: type, *args: Any) -> Any:
    """Make an object of a class as a base of it makes its own."""
    made = base.__new__(cls, *args)
    if base.__init__ is not object.__init__:
        base.__init__(made, *args)
    return made


def fill_array(array: Any, state: tuple[Any, Any]) -> None:
    """Give an array its data, and what its class has beside."""
    data, own = state
    array.__setstate__(data)
    give_state(array, own)


def make_storage(data: bytearray | memoryview) -> Any:
    """Make the memory of tensors: of a large buffer that very one, as a small one is to be resizable."""
    torch: Any = find_module("torch")
    if not data:
        return torch.UntypedStorage(0)
    tensor = torch.frombuffer(data, dtype=torch.uint8)
    return (tensor if len(data) >= LARGE else tensor.clone()).untyped_storage()


def fill_by_base(obj: Any, state: tuple[Any, list[Any], dict[Any, Any]]) -> None:
    """Give a list or dict its items, as its base does that is not the user's, and then its state."""
    own, items, pairs = state
    if items:
        method_of_base(type(obj), "extend")(obj, items)
    for key, value in pairs.items():
        method_of_base(type(obj), "__setitem__")(obj, key, value)
    set_state(obj, own)


def method_of_base(cls: type, name: str) -> Any:
    """Find the first method of a name that is not written in Python."""
    found = (vars(base)[name] for base in cls.__mro__ if name in vars(base))
    return next(method for method in found if type(method) is not FunctionType)


def find_object(module: str, name: str, cls: type, *args: Any) -> Any:
    """Find the global that this run has brought first, or make it, without its state."""
    if (module, name) in first_of_run:
        return first_of_run[module, name]
    made = make_object(cls, *args)
    _unfilled[id(made)] = made
    return first_brought(module, name, made)


def fill_object(obj: Any, state: tuple[Any]) -> None:
    """Give a global its state, as pickle does, unless it was found and has one."""
    if id(obj) in _unfilled:
        set_state(obj, *state)
        _unfilled.pop(id(obj), None)


def set_state(obj: Any, own: Any) -> None:
    """Give an object its state, as pickle does."""
    if own is not None and hasattr(type(obj), "__setstate__"):
        obj.__setstate__(own)
    elif own is not None:
        give_state(obj, own)


def give_state(obj: Any, own: Any) -> None:
    """Give an object its attributes, as pickle does where the class has no `__setstate__`.

    Those in slots, too, are not given by code of the user's, which may refuse them.
    """
    attributes, slots = own if isinstance(own, tuple) else (own, None)
    if attributes:
        vars(obj).update(attributes)
    for attribute, value in (slots or {}).items():
        method_of_base(type(obj), "__setattr__")(obj, attribute, value)


def fill_struct(struct: Any, own: Any) -> None:
    """Give a struct of msgspec's what it had: its `__post_init__` has changed that once more."""
    attributes, fields = own
    if attributes:
        vars(struct).update(attributes)
    for name, value in fields.items():
        find_module("msgspec").structs.force_setattr(struct, name, value)


def find_global(module: str, name: str, cls: type) -> Any:
    """Find a global that goes by its name: where it is at home, else what this run has brought first."""
    found = find_in(module, name) if _is_at_home(module) else None
    # An engine's worker may have a class of its own for it.
    return found if type(found).__qualname__ == cls.__qualname__ else find_object(module, name, cls)


def _is_at_home(module: str) -> bool:
    """Tell whether a module is here and has not come by value."""
    return module in sys.modules and module not in modules_of_run


def find_logger(name: str, kind: type[logging.Logger]) -> logging.Logger:
    """Return the logger of a name; if nobody has made it yet, make it of a class."""
    import logging

    usual = logging.getLoggerClass()
    logging.setLoggerClass(kind)
    try:
        return logging.getLogger(name)
    finally:
        logging.setLoggerClass(usual)


def make_named(
    module: str,
    name: str,
    kind: type,
    make: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any] | None = None,
) -> Any:
    """Find the global of a module that is known by its identity, or make it."""
    is_at_home = _is_at_home(module)
    found = find_in(module, name) if is_at_home else first_of_run.get((module, name))
    if type(found) is not kind:
        found = make_unnamed(module, make, args, kwargs or {})
        if serves_run() and not is_at_home:
            first_of_run[module, name] = found
    return found


def find_in(module: str, name: str) -> Any:
    """Find a module's global, or what a dotted name means there; None if there is no such thing."""
    first, *others = name.split(".")
    found = globals_of(module).get(first)
    for other in others:
        found = getattr(found, other, None)
    return found


def make_unnamed(
    module: str, make: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Any:
    """Make what is known by its identity, and belongs to a module."""
    made = make(*args, **kwargs)
    with suppress(AttributeError):  # a bare object and a type alias are of no module
        if made.__module__ != module:
            made.__module__ = module
    return made


def make_context_variable(name: str, *held: Any, **default: Any) -> ContextVar[Any]:
    """Make a context variable that holds something, or nothing."""
    from contextvars import ContextVar

    made: ContextVar[Any] = ContextVar(name, **default)
    for value in held:
        made.set(value)
    return made


def import_lazily(target: str, is_from: bool, file: str = "<lazy import>", line: int = 1) -> Any:
    """Make what is a global until its first use, which imports it (Python 3.15 and later).

    If it fails then, its traceback names the file and the line.
    """
    parent, _, last = target.rpartition(".")
    statement = f"lazy from {parent} import {last}" if is_from else f"lazy import {target}"
    values: dict[str, Any] = {}
    exec(compile("\n" * (line - 1) + statement, file, "exec"), values)  # noqa: S102
    return values[last if is_from else target.partition(".")[0]]


def make_reference(text: str, keywords: dict[str, Any], names: dict[str, Any] | None) -> Any:
    """Make what stands for an unknown of an annotation (Python 3.14 and later)."""
    from typing import ForwardRef

    made: Any = ForwardRef(text, **keywords)
    made.__extra_names__ = names
    return made


def make_alias(module: str, name: str) -> Any:
    """Make a type alias that does not know yet what it stands for (Python 3.12 and later)."""
    there: dict[str, Any] = {"__name__": module}
    exec(f"type {name} = _{name}", there)  # noqa: S102
    _unfilled[id(there[name])] = there
    return there[name]


def fill_alias(alias: Any, state: tuple[Any]) -> None:
    """Tell a type alias what it stands for, unless it knows."""
    there = _unfilled.pop(id(alias), None)
    if there is not None:
        (there[f"_{alias.__name__}"],) = state


def make_by_id(
    own_id: str, module: str, make: Callable[..., Any], args: tuple[Any, ...], keywords: dict[str, Any]
) -> Any:
    """Make what is known by its identity, or find it where it was made before, or came from."""
    made = by_id.setdefault(own_id, make_unnamed(module, make, args, keywords))
    ids[made] = own_id
    return made


def cache_function(function: Callable[..., Any], maxsize: int | None, typed: bool) -> Any:
    """Make what `functools.lru_cache` makes of a function."""
    from functools import lru_cache

    return lru_cache(maxsize, typed)(function)


def make_code(file: str, arguments: tuple[Any, ...]) -> CodeType:
    """Make a code object under the name of the file that it comes from."""
    return CodeType(*arguments).replace(co_filename=file)


def make_cell(*contents: Any) -> CellType:
    """Make a cell of a closure; an empty one without contents."""
    return CellType(*contents)


def make_function(
    code: CodeType,
    there: dict[str, Any],
    cells: tuple[CellType, ...],
    function_id: str,
    lines: list[str],
) -> FunctionType:
    """Make a function without attributes, and let tracebacks find its source lines, if it brings some.

    One with an id is made once in a run, or in a guest's attempt; one of our own is there already.
    """
    if function_id:
        function_id = reader.guest + function_id
    known = by_id.get(function_id)
    if isinstance(known, FunctionType) and (function_id in defined_of_run or known not in from_parent):
        return known
    if lines:
        import linecache

        # The time is None: linecache takes it that there is no file to compare with.
        linecache.cache[code.co_filename] = (sum(map(len, lines)), None, lines, code.co_filename)
    there.setdefault("__builtins__", builtins)
    function = FunctionType(code, there, closure=cells or None)
    _unfilled[id(function)] = function
    if function_id:
        by_id[function_id] = function
        ids[function] = function_id
        if serves_run() and not reader.guest:
            defined_of_run[function_id] = function
            from_parent.add(function)
    return function


def fill_function(
    function: FunctionType,
    state: tuple[
        list[Any],
        str,
        str,
        dict[str, Any],
        dict[str, Any],
        list[tuple[Any, ...]],
        Mapping[str, Any],
    ],
) -> None:
    """Give a function its attributes, its cells their contents, and its module the globals that it brings."""
    if _unfilled.pop(id(function), None) is None:
        return
    # Submodules need no more than to be imported.
    _, function_id, module, attributes, slots, closed_over, brought = state
    definitions.pop(function_id, None)
    share(module, function.__globals__, brought)
    function.__dict__.update(attributes)
    for cell, contents in zip(function.__closure__ or (), closed_over, strict=True):
        if not contents_of(cell):  # else what it shares the cell with has filled it
            for value in contents:
                cell.cell_contents = value
    for name, value in slots.items():
        setattr(function, name, value)


def contents_of(cell: CellType) -> tuple[Any, ...]:
    """Return what a cell of a closure holds: a tuple of one, and none where the cell is empty."""
    try:
        return (cell.cell_contents,)
    except ValueError:
        return ()


def share(module: str, there: dict[str, Any], brought: Mapping[str, Any]) -> None:
    """Add to globals what a function or class has brought and nothing before it.

    They are those that a module shares in this run, or, without its name, the function's own.
    """
    for name, value in brought.items():
        there.setdefault(name, first_brought(module, name, value) if module else value)


def of_id(named_id: str, name: str) -> Any:
    """Find the class or function that was sent under an id, or make it of its definition."""
    defined = defined_of_run.get(named_id)
    is_known = defined is not None and id(defined) not in _unfilled
    # A pickle that its definition holds, as that of an exception, may name it before it is filled.
    if named_id in definitions and not is_known and not (named_id in _being_read and named_id in by_id):
        around = named_id in _being_read
        _being_read.add(named_id)
        try:
            pickle.loads(definitions[named_id])  # noqa: S301 - from our own parent
        finally:
            if not around:
                _being_read.discard(named_id)
    try:
        return by_id[named_id]
    except KeyError:
        raise LookupError(
            f"{name!r}, a class or function, was sent to a worker process, and nothing in this process "
            "refers to it any more"
        ) from None
