"""What travels by value: functions and classes that no other process can import.

Of what pickle cannot take along, most is left to cloudpickle. This is done here:

- Functions are taken apart by :mod:`.function_parts`, and classes by :mod:`.class_parts`: they are made again
  as they are, and without cloudpickle.
- A class that was sent to a worker and comes back is the sender's own class again. What is sent registers
  the class, in both processes, under one id; what comes back has only the id.
- What belongs to a module that was loaded from a file beside the path (by a plugin loader, by pytest's mode
  ``importlib``) goes by value too.
- What comes from one module shares its globals on a worker: see :mod:`.shared_globals`.
- A function whose source is in no file (a notebook's cell, the command line) takes its source lines along,
  so that tracebacks look alike everywhere.
- Code keeps the name of its file, which cloudpickle 3.1.3 leaves out: tracebacks find their lines by it.
- Exceptions go as :mod:`.exception_state` has them, and keep what plain pickling loses.
- An array that is in a file (`numpy.memmap`) goes as the file's name and the place therein.
- More that cloudpickle cannot take along: see :mod:`.reducers`.
"""

from __future__ import annotations

import builtins
import inspect
import logging
import os
import pickle
import sys
import threading
import types
from collections import ChainMap
from contextlib import suppress
from contextvars import Context, ContextVar, copy_context
from enum import Enum
from itertools import groupby
from operator import getitem
from types import BuiltinFunctionType, CellType, CodeType, FunctionType, MethodType, ModuleType
from typing import TYPE_CHECKING, Any, Final, TypeVar, get_args
from weakref import WeakKeyDictionary

import cloudpickle

from ..collector import collector_paused
from .by_base import (
    DESCRIPTORS,
    NEW_OBJECT,
    as_it_is,
    by_state,
    filled_by_base,
    reduce_descriptor,
    reduced_by_base,
)
from .class_parts import attributes_of_members, form_of, parts_of_class, reduce_member, take_early
from .exception_state import dump_exception, load_exception
from .function_parts import attributes_of, globals_named_by, submodules_for
from .importable import can_be_imported, goes_by_value, imported_from, look_for_home, stays_away
from .lazy_imports import with_lazy_imports
from .pickling import (
    ATOMS,
    LARGE,
    PROTOCOL,
    Contained,
    Pickled,
    dump_value,
    first_of_run,
    has_signal_struck,
    modules_of_run,
    serves_run,
)
from .rebuild import (
    Rebuilt,
    Step,
    contents_of,
    fill_function,
    fill_module,
    fill_object,
    find_global,
    find_in,
    find_module,
    find_object,
    find_shared_module,
    from_parent,
    globals_of,
    ids,
    make_by_base,
    make_cell,
    make_code,
    make_context_variable,
    make_function,
    make_named,
    make_unnamed,
    note_id,
    of_id,
    received,
)
from .rebuild_classes import fill_class, make_class
from .reducers import REDUCERS, is_of_wrapt, reduce_logger, reduce_shared, reducer_of_library
from .shared_globals import (
    SharedGlobals,
    is_global,
    looked_up_for,
    module_of,
    name_among,
)
from .trusted import is_made_without_its_code, is_safe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from .pickling import Buffer, Named

# Of trusted libraries, by id, since to look at them anew takes half of the time of a small data frame:
_LIBRARY_TYPES: Final[dict[int, type]] = {}  # those whose objects reduce as they say themselves
_LIBRARY_NAMES: Final[dict[int, object]] = {}  # classes and functions that go by their names

# Python's own classes that are found under these names alone, as that of functions is.
_OF_TYPES: Final = {cls: name for name, cls in vars(types).items() if type(cls) is type}

_SENTINEL: Final[type | None] = getattr(builtins, "sentinel", None)  # from Python 3.15 on

_LOCKS: Final[dict[type, Any]] = {type(make()): make for make in (threading.Lock, threading.RLock)}

# What two values may have in common without sharing anything that could change.
_ALIKE_EVERYWHERE: Final = ATOMS | {FunctionType, BuiltinFunctionType, CodeType, ModuleType}


def dump_by_value(
    value: object,
    to_sender: bool,
    in_pieces: bool,
    classes: dict[str, Named] | None,
    note_objects: bool,
    new_locks: bool,
) -> Pickled:
    """Serialize any value; see :func:`.pickling.dump_value`."""
    sink = _Sink()
    pickler = _Pickler(sink, value, to_sender, classes, sink.take_buffer if in_pieces else None, new_locks)
    pickler.dump(value)
    if in_pieces and (sink.buffers or sum(map(len, sink.chunks)) >= LARGE):
        pickled = pickler.pickled(b"", _joined(sink.chunks), sink.buffers)
    else:
        pickled = pickler.pickled(b"".join(sink.chunks))
        pickled.beside_buffers = len(pickled.data) - sink.in_band
    if note_objects:
        pickled.objects = pickler.objects()
    return pickled


class _Sink:
    """Takes a pickle as it is written. Large bytes and bytearrays come as they are, not as copies."""

    __slots__ = ("buffers", "chunks", "in_band")

    def __init__(self) -> None:
        self.chunks: list[Buffer] = []
        self.buffers: list[memoryview] = []
        self.in_band = 0  # bytes of small buffers, which stay in the pickle

    def write(self, data: bytes | bytearray | pickle.PickleBuffer) -> None:
        """Take a part of the pickle; from 64 KB on, a buffer that stays in it comes by itself."""
        self.chunks.append(data.raw() if isinstance(data, pickle.PickleBuffer) else data)

    def take_buffer(self, buffer: pickle.PickleBuffer) -> bool:
        """Keep a large buffer; True leaves a small one in the pickle."""
        memory = buffer.raw()
        if memory.nbytes < LARGE:
            self.in_band += memory.nbytes
            return True
        self.buffers.append(memory)
        return False


def _joined(chunks: list[Buffer]) -> list[Buffer]:
    """Join the small chunks that stand side by side."""
    pieces: list[Buffer] = []
    for is_large, group in groupby(chunks, lambda chunk: len(chunk) >= LARGE):
        side_by_side = list(group)
        pieces += side_by_side if is_large else [b"".join(side_by_side)]
    return pieces


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    dispatch_table: Final = ChainMap(REDUCERS, *cloudpickle.Pickler.dispatch_table.maps)

    def __init__(
        self,
        file: _Sink,
        root: object,
        to_sender: bool,
        classes: dict[str, Named] | None,
        buffer_callback: Callable[[pickle.PickleBuffer], object] | None,
        new_locks: bool,
    ) -> None:
        super().__init__(file, PROTOCOL, buffer_callback)
        self.plain = True
        self._root = root  # what is serialized
        # Arguments are copies, even if they are globals; what a function or class names is the global itself.
        self._is_definition = not to_sender and isinstance(root, (type, FunctionType))
        self._in_function = False  # whether a function has been taken apart: others may be a part of it
        self._left_out: set[str] = set()  # the ids of classes and functions that are named and not brought
        self._modules: set[str] = set()
        self._to_sender = to_sender
        self._new_locks = new_locks
        self._classes = classes  # takes those that are left out, functions too; None if none are
        self._shared: dict[str, SharedGlobals] = {}  # by module
        # Of functions that share none, by the ids of theirs:
        self._own_globals: dict[int, dict[str, Any]] = {}
        self._cells: dict[int, Rebuilt] = {}  # by the ids of those that they stand for
        self._source_files: set[str] = set()  # those that need no look any more
        self._ordinary: set[int] = set()  # the ids of types whose objects need none: a look takes 2 µs
        self._bases: dict[int, Any] = {}  # by the ids of types, what makes their objects
        self._unready: set[type] = set()  # classes that are being taken apart, and get their `__new__` last

    def pickled(self, data: bytes, stream: Sequence[Buffer] = (), buffers: Sequence[Buffer] = ()) -> Pickled:
        """Return what was written, and what there is to know of it."""
        return Pickled(data, self.plain, stream, buffers, frozenset(self._left_out), frozenset(self._modules))

    def objects(self) -> dict[int, object]:
        """Return the objects that were written, by their ids: the pickler knows them again by these."""
        with collector_paused():
            return {
                key: obj
                for key, (_, obj) in self.memo.copy().items()
                if type(obj) not in _ALIKE_EVERYWHERE and not isinstance(obj, (type, ModuleType))
            }

    def reducer_override(self, obj: Any) -> Any:
        """Reduce an object; the pickler asks for each that is of no builtin type."""
        kind = type(obj)
        if id(kind) in self._ordinary or id(kind) in _LIBRARY_TYPES:
            return self._reduce_object(obj) if self._is_definition else obj.__reduce_ex__(PROTOCOL)
        if (base := self._bases.get(id(kind))) is not None:
            return filled_by_base(obj, reduced_by_base(obj, obj.__reduce_ex__(PROTOCOL), base))
        if id(obj) in _LIBRARY_NAMES:
            return NotImplemented
        if issubclass(kind, type):
            return self._reduce_class(obj)
        if kind is FunctionType:
            return self._reduce_function(obj)
        if kind is CodeType:
            _, arguments = self.dispatch_table[CodeType](obj)
            return make_code, (obj.co_filename, arguments)
        if kind is ModuleType or (issubclass(kind, ModuleType) and sys.modules.get(obj.__name__) is obj):
            return self._reduce_module(obj)
        if issubclass(kind, BaseException):
            return self._reduce_exception(obj)
        if kind is object:
            return self._reduce_bare_object(obj)
        if kind is _SENTINEL:
            return self._reduce_sentinel(obj)
        if kind is ContextVar:
            return self._reduce_context_variable(obj)
        if kind is MethodType:
            return self._reduce_method(obj)
        return self._reduce_instance(obj)

    def _reduce_method(self, method: MethodType) -> Any:
        """Reduce a method to its object and its name, so that its code stays here, if its class is there."""
        owner = method.__self__
        if self._to_sender or self._classes is not None or _is_importable_class(owner):
            with Contained():  # the object's own code
                name = method.__func__.__name__
                if getattr(owner, name, None) == method:
                    return getattr, (owner, name)
        return self._reduce_instance(method)

    def _reduce_instance(self, obj: Any) -> Any:
        """Reduce an object of a class that has no way of its own, and note what there is to know of that."""
        kind = type(obj)
        if self._is_definition and obj is os.environ:
            return reduce_shared(obj)
        if (reduce := reducer_of_library(kind)) is not None:
            self.plain = self.plain and kind.__module__ == "torch.storage"  # others open a file, say
            return reduce(obj)
        if self._new_locks and kind in _LOCKS and obj is not self._root:
            return _LOCKS[kind], ()
        if kind.__name__ == "cython_function_or_method":
            return self._let_go_by_name(obj)
        in_table, of_library = kind in self.dispatch_table, is_safe(kind)
        if self.plain:
            self.plain = of_library or (not in_table and is_made_without_its_code(kind))
        if in_table:
            return NotImplemented
        if issubclass(kind, Enum):
            return reduce_member(obj)
        if issubclass(kind, DESCRIPTORS):
            return reduce_descriptor(obj)
        if issubclass(kind, logging.Logger):
            return reduce_logger(obj)
        if issubclass(kind, threading.local):
            return kind, ()  # each thread has its own data in it, and those of another process begin anew
        if is_of_wrapt(kind) and can_be_imported(obj):  # it refuses a copy
            return obj.__qualname__
        if of_library and can_be_imported(kind):  # pandas makes a class for each `itertuples()`
            _LIBRARY_TYPES[id(kind)] = kind
        reduced = self._reduce_object(obj)
        if type(reduced) is str:
            return _reduce_global(obj, reduced)
        if _is_of_nothing(reduced) and not can_be_imported(kind):  # a sentinel, as far as can be told
            return self._reduce_bare_object(obj)
        if reduced[0] is find_object:
            return reduced  # from which nothing follows for others of its kind
        if (reduced[0] is not NEW_OBJECT or reduced[1][1:]) and not self._unready.isdisjoint(kind.__mro__):
            return by_state(obj, reduced)  # its class cannot be called yet
        made = as_it_is(obj, reduced)
        if made is reduced:
            self._ordinary.add(id(kind))
        elif made[0] is make_by_base:
            self._bases[id(kind)] = made[1][0]
        return made

    def _reduce_object(self, obj: Any) -> Any:
        """Reduce an object as its class says; one that is a global stays that wherever it is met."""
        reduced = obj.__reduce_ex__(PROTOCOL)
        if not self._is_definition or reduced[0] is not NEW_OBJECT or any(reduced[3:]):
            return reduced
        for there in self._shared.values():
            if (name := name_among(there.values, obj)) is not None:
                kind: Any = type(obj)
                arguments, state = reduced[1], (*reduced, None)[2]
                if kind.__getstate__ is object.__getstate__:
                    state = there.stand_ins_of_state(state)
                return find_object, (there.module, name, *arguments), (state,), None, None, fill_object
        return reduced

    def _reduce_module(self, module: ModuleType) -> Any:
        """Reduce a module to its name, or, where nobody else would find that, to what is its own."""
        look_for_home(module.__name__)
        make, (name, *values) = self.dispatch_table[ModuleType](module)
        if not values or (self._to_sender and modules_of_run.get(name) is module):
            return find_module, (name,)
        if type(module) is not ModuleType:
            return module.__reduce_ex__(PROTOCOL)
        self.plain = False
        (brought,) = map(with_lazy_imports, values)
        if sys.modules.get(name) is not module:  # others may have its name
            return make, (name, brought)
        self._shared_globals(name, vars(module))
        return find_shared_module, (name, name in stays_away), brought, None, None, fill_module

    def _reduce_exception(self, exception: BaseException) -> Any:
        # Its pickles name classes by their ids, and these come beside it: each may lead to it again.
        classes: dict[str, Named] = {}
        data = dump_exception(exception, to_sender=self._to_sender, classes=classes)
        return load_exception, (data, [*classes.values()])

    def _reduce_class(self, cls: type) -> Any:
        if (form := form_of(cls)) is not None and all(map(self._is_there, _classes_in(form))):
            self.plain = False
            return getitem, form  # of which pydantic makes one for each
        if (known := self._reduce_known(cls)) is not None:
            return known
        if can_be_imported(cls):
            if is_safe(cls):
                _LIBRARY_NAMES[id(cls)] = cls
            else:
                self._modules.add(cls.__module__)
            return NotImplemented
        if type(cls) is type and cls in _OF_TYPES:
            return getattr, (types, _OF_TYPES[cls])
        self.plain = False
        class_id = note_id(cls)
        if self._classes is not None:
            return self._leave_out(cls, class_id)
        make, arguments, attributes = parts_of_class(cls)
        module = ""
        brought: dict[str, Any] = {}
        if (there := self._share(cls)) is not None:
            module = there.module
            brought = with_lazy_imports(_travelling(looked_up_for(cls, there.values)))
            attributes = there.stand_ins(attributes)
        made_of = (class_id, not self._to_sender, make, arguments)
        members = attributes_of_members(cls)
        early = take_early(cls, attributes)
        if "__new__" in attributes:
            early.insert(0, Step(self._begin_unready, cls))
        end = Step(self._unready.discard, cls)
        state: tuple[Any, ...] = (early, attributes, members, module, there or {}, brought, end)
        return make_class, made_of, state, None, None, fill_class

    def _begin_unready(self, cls: type) -> None:
        self._unready.add(cls)
        self._ordinary.clear()
        self._bases.clear()

    def _is_there(self, cls: type) -> bool:
        """Tell whether the other process has a class, with all that is in it, or can import it."""
        return can_be_imported(cls) or (
            self._to_sender and cls in (from_parent if serves_run() else received)
        )

    def _reduce_known(self, named: Named) -> Any:
        """Reduce a class or function to its id, if the other side has it or gets it otherwise."""
        if self._to_sender and named in from_parent:
            return self._leave_out(named, ids[named])
        if (
            self._classes is None
            or named is self._root
            or (self._in_function and not isinstance(named, type))
        ):
            return None
        named_id = ids.get(named)
        return None if named_id is None else self._leave_out(named, named_id)

    def _leave_out(self, named: Named, named_id: str) -> Any:
        self._left_out.add(named_id)
        if self._classes is not None:
            self._classes[named_id] = named
        return of_id, (named_id, named.__qualname__)

    def _reduce_function(self, function: FunctionType) -> Any:
        if (known := self._reduce_known(function)) is not None:
            return known
        if can_be_imported(function):
            return self._let_go_by_name(function)
        self.plain = False
        attributes, slots = function.__dict__, attributes_of(function)
        closed_over = [contents_of(cell) for cell in function.__closure__ or ()]
        brought = globals_named_by(function)
        function_id = module = ""
        if (there := self._share(function)) is not None:
            if is_global(function):
                function_id = note_id(function)
                if (known := self._reduce_known(function)) is not None:
                    return known
            module = there.module
            brought |= _travelling(looked_up_for(function, there.values))
            attributes = there.stand_ins(attributes)
            there.put_stand_ins(slots)
            closed_over = [tuple(map(there.stand_in, contents)) for contents in closed_over]
        brought = with_lazy_imports(brought)
        # Those of Python 3.12 and later (`def f[T]`).
        if (params := getattr(function, "__type_params__", ())) and all(map(_can_travel, params)):
            slots["__type_params__"] = params
        self._in_function = True
        cells = tuple([self._empty(cell, there) for cell in function.__closure__ or ()])
        values = there or self._own_globals.setdefault(id(function.__globals__), {})
        made_of = (function.__code__, values, cells, function_id, self._new_lines(function))
        submodules = submodules_for(function, brought)
        state = (submodules, function_id, module, attributes, slots, closed_over, brought)
        return make_function, made_of, state, None, None, fill_function

    def _new_lines(self, function: FunctionType) -> list[str]:
        """Return the source lines around a function that is defined in no file, if they are known and new."""
        file = function.__code__.co_filename
        if file in self._source_files:
            return []
        self._source_files.add(file)
        if os.path.exists(file):
            return []
        try:
            return inspect.findsource(function)[0]
        except (OSError, TypeError, IndexError, SyntaxError):
            return []

    def _let_go_by_name(self, function: Any) -> Any:
        if is_safe(function):
            _LIBRARY_NAMES[id(function)] = function
        else:
            self.plain = False
        return NotImplemented

    def _empty(self, cell: CellType, there: SharedGlobals | None) -> Rebuilt:
        """Return what stands for a cell, which has its contents later: they may need the function."""
        empty = self._cells.get(id(cell))
        if empty is None:
            empty = self._cells[id(cell)] = Rebuilt(make_cell) if there is None else there.empty(cell)
        return empty

    def _reduce_bare_object(self, bare: object) -> Any:
        """Reduce an object that is nothing but itself to its global's name, if it is one."""
        return self._reduce_to_global(bare, NEW_OBJECT, (type(bare),)) or bare.__reduce_ex__(PROTOCOL)

    def _reduce_sentinel(self, sentinel: Any) -> Any:
        """Do it for a sentinel, which tells its name; that of a class's attribute has a dot."""
        if can_be_imported(sentinel):
            return sentinel.__name__
        module, name, kind = sentinel.__module__, sentinel.__name__, type(sentinel)
        made_of = (kind, (name,), {"repr": repr(sentinel)})
        if find_in(module, name) is sentinel:
            return make_named, (module, name, kind, *made_of)
        return self._reduce_to_global(sentinel, *made_of) or (make_unnamed, (module, *made_of))

    def _reduce_context_variable(self, variable: ContextVar[Any]) -> Any:
        """Do it for a context variable, with its default and what it holds here."""
        default = {}
        with suppress(LookupError):
            default["default"] = Context().run(variable.get)
        held = [variable.get()] if variable in copy_context() else []
        made_of = (make_context_variable, (variable.name, *held), default)
        return self._reduce_to_global(variable, *made_of) or (make_unnamed, ("", *made_of))

    def _reduce_to_global(self, bare: object, *made_of: Any) -> Any:
        """Reduce an object to the name of a global that it is; None if it is none."""
        kind = type(bare)
        for module in ("__main__", *self._shared):
            if (name := name_among(globals_of(module), bare)) is not None:
                if (home := imported_from(name, bare)) is not None:
                    self._modules.add(home.__name__)
                    return getattr, (home, name)
                return make_named, (module, name, kind, *made_of)
        # In a worker: one that this run has brought, though nothing taken apart here is of its module.
        for place, first in first_of_run.items():
            if first is bare:
                return make_named, (*place, kind, *made_of)
        return None

    def _share(self, named: Named) -> SharedGlobals | None:
        """Find the globals that a function or class shares on a worker."""
        if self._to_sender or (module := module_of(named)) is None:
            return None
        return self._shared_globals(*module)

    def _shared_globals(self, name: str, values: dict[str, Any]) -> SharedGlobals:
        if name not in self._shared:
            self._shared[name] = SharedGlobals(name, values)
        return self._shared[name]


def reducer_of(kind: type) -> Callable[[Any], Any] | None:
    """Return what reduces the objects of a class; None if that is for them to say."""
    return _Pickler.dispatch_table.get(kind) or reducer_of_library(kind)


def _reduce_global(obj: Any, name: str) -> Any:
    """Reduce an object that goes by its name, as its class says, where no worker finds it by that."""
    module = getattr(obj, "__module__", None)
    if module is None or not goes_by_value(module):
        return name
    if obj is not find_in(module, name) and obj is not first_of_run.get((module, name)):
        return name  # which pickle refuses
    state = (object.__getstate__(obj),)
    return find_global, (module, name, type(obj)), state, None, None, fill_object


def _is_of_nothing(reduced: Any) -> bool:
    """Tell whether an object that has been reduced has nothing of its own."""
    return reduced[0] is NEW_OBJECT and len(reduced[1]) == 1 and all(part is None for part in reduced[2:])


def _travelling(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if _can_travel(value)}


_can_travel_by_value: WeakKeyDictionary[type | TypeVar, bool] = WeakKeyDictionary()


class _Trials(threading.local):
    """What attempts of a thread to serialize a class, one within the other, have found so far."""

    def __init__(self) -> None:
        self.found: dict[type | TypeVar, bool] = {}


_trials = _Trials()


def _can_travel(named: Any) -> bool:
    """Tell whether what only annotations name can be serialized; what cannot may not be needed either."""
    if not isinstance(named, (type, TypeVar)) or can_be_imported(named):
        return True
    found = _can_travel_by_value.get(named, _trials.found.get(named))
    if found is not None:
        return found
    is_outermost = not _trials.found
    _trials.found[named] = found = True  # it may name itself
    try:
        dump_value(named)
    except BaseException as error:  # as its contents raise it
        if has_signal_struck(error):
            _trials.found.clear()  # none of these trials comes to its end
            raise
        _trials.found[named] = found = False
    if is_outermost:
        # Another that failed inside this trial may have failed because of this one: it is tried again.
        known = {other: can for other, can in _trials.found.items() if can or other is named}
        _can_travel_by_value.update(known)
        _trials.found.clear()
    return found


def _is_importable_class(value: Any) -> bool:
    return issubclass(type(value), type) and can_be_imported(value)


def _classes_in(types: tuple[Any, ...]) -> Iterator[type]:
    """Give the classes that types and parameters are made of; forms of models are made of others."""
    pending = [*types]
    for one in pending:  # grows meanwhile
        if isinstance(one, tuple):
            pending += one
        elif not isinstance(one, type):
            pending += get_args(one)
        elif (form := form_of(one)) is not None:
            pending += form
        else:
            yield one
