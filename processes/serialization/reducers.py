"""How values are taken apart that cloudpickle cannot take along, or not as they are meant."""

from __future__ import annotations

import contextlib
import copyreg
import dataclasses
import functools
import io
import logging
import mmap
import os
import struct
import sys
import threading
import typing
from pickle import PickleBuffer
from types import BuiltinFunctionType, CellType, FunctionType
from typing import TYPE_CHECKING, Any, Final
from weakref import ReferenceType, WeakKeyDictionary, WeakValueDictionary

from ..annotations import part_of
from .importable import can_be_imported, goes_by_value
from .pickling import PROTOCOL
from .rebuild import (
    Rebuilt,
    fill_alias,
    fill_array,
    fill_by_base,
    find_in,
    find_logger,
    give_state,
    make_alias,
    make_by_base,
    make_by_id,
    make_cell,
    make_named,
    make_object,
    make_reference,
    make_storage,
    make_unnamed,
    maker_of,
    method_of_base,
    note_id,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# What objects are made with whose class says nothing of it.
NEW_OBJECT: Final = copyreg.__newobj__  # type: ignore[attr-defined]

_TYPE_ALIAS: Final[Any] = getattr(typing, "TypeAliasType", ())  # from Python 3.12 on
_KNOWN: Final = {*sys.stdlib_module_names, "numpy"}
KNOWN_BY_IDENTITY: Final = (typing.NewType, typing.TypeVar, typing.ParamSpec, typing.TypeVarTuple)

# By module, what all of the program share, of which the contents are of the world, as the clock is.
_SHARED: Final = {
    "random": ("_inst",),  # what its functions draw from
    "numpy.random.mtrand": ("_rand",),
    "os": ("environ", "environb"),
    "sys": ("stdin", "stdout", "stderr", "__stdin__", "__stdout__", "__stderr__"),
}


def _reduce_cached_function(function: functools._lru_cache_wrapper[Any]) -> Any:
    """Reduce what `lru_cache` makes: to its name where that can be imported, else without what is cached."""
    if can_be_imported(function):
        return function.__reduce__()
    made_anew = {"__wrapped__", "cache_parameters"}
    attributes = {name: value for name, value in vars(function).items() if name not in made_anew}
    parts = (function.__wrapped__, *function.cache_parameters().values())
    if not _is_global(function):
        return _cache_function, parts, attributes
    kind = functools._lru_cache_wrapper  # noqa: SLF001
    return make_named, (function.__module__, function.__name__, kind, _cache_function, parts), attributes


def _cache_function(function: Callable[..., Any], maxsize: int | None, typed: bool) -> Any:
    return functools.lru_cache(maxsize, typed)(function)


def _reduce_cached_property(cached: functools.cached_property[Any]) -> Any:
    attributes = {name: value for name, value in vars(cached).items() if name != "lock"}  # before Python 3.12
    return functools.cached_property, (cached.func,), attributes


def _reduce_partial_method(method: functools.partialmethod[Any]) -> Any:
    """Reduce a partial method to what it is made of: its class wants that, from Python 3.14 on."""
    made_of = (type(method), (method.func, *method.args), method.keywords)
    return copyreg.__newobj_ex__, made_of, vars(method)  # type: ignore[attr-defined]


def _reduce_cell(cell: CellType) -> Any:
    try:
        return make_cell, (cell.cell_contents,)
    except ValueError:
        return make_cell, ()  # it is empty


def _reduce_weak_dict(weak: WeakKeyDictionary[Any, Any] | WeakValueDictionary[Any, Any]) -> Any:
    return type(weak), (), None, None, iter(list(weak.items()))


def _reduce_reference(reference: ReferenceType[Any]) -> Any:
    """Reduce a weak reference to what it refers to, which others have to keep where it arrives."""
    target = reference()
    return ReferenceType, (set() if target is None else target, reference.__callback__)


def _reduce_memmap(array: Any) -> Any:
    """Reduce an array that is in a file to the file's name and the place therein; else as any array."""
    place = _place_in_file(array)
    return array.__reduce_ex__(PROTOCOL) if place is None else (type(array), place)


def _place_in_file(array: Any) -> tuple[Any, ...] | None:
    """Return what `numpy.memmap` opens an array with that is one; None if its file does not hold it."""
    if array._mmap is None or array.filename is None or array.mode == "c" or not array.nbytes:  # noqa: SLF001
        return None
    flags = array.flags
    if not (flags.c_contiguous or flags.f_contiguous):
        return None
    numpy = sys.modules["numpy"]
    begin = numpy.frombuffer(array._mmap, numpy.uint8).__array_interface__["data"][0]  # noqa: SLF001
    # A mapping begins at a page; a view has the offset of what it is a view of.
    offset = array.offset - array.offset % mmap.ALLOCATIONGRANULARITY
    offset += array.__array_interface__["data"][0] - begin
    try:
        status = os.stat(array.filename)
    except OSError:
        return None
    if status.st_size < offset + array.nbytes or not _is_mapped(status, begin):
        return None
    mode = "r" if array.mode == "r" else "r+"
    return (
        os.fspath(array.filename),
        array.dtype,
        mode,
        offset,
        array.shape,
        "C" if flags.c_contiguous else "F",
    )


def _is_mapped(status: os.stat_result, address: int) -> bool:
    """Tell whether a file is mapped there, and not one that had its name; True if that is not known."""
    try:
        # As bytes: that is what names of files may be.
        with open("/proc/self/maps", "rb") as mappings:
            for line in mappings:
                ends, _, _, _, inode, *_ = line.split()
                begin, _, end = ends.partition(b"-")
                if int(begin, 16) <= address < int(end, 16):
                    return int(inode) == status.st_ino
    except OSError:
        pass
    return True


def _reduce_text_file(file: io.TextIOWrapper) -> Any:
    """Reduce what the program prints to, to what the worker prints to; no other file can be sent."""
    for name in ("stdout", "stderr"):
        # While a progress line is shown or output is captured, something else stands in its place in `sys`.
        if file in (getattr(sys, name), getattr(sys, f"__{name}__")):
            return getattr, (sys, name)
    # cloudpickle would send what it contains.
    if not hasattr(file, "name"):  # as around a buffer in memory
        raise TypeError(f"cannot pickle {type(file).__name__!r} object")
    raise TypeError(f"cannot pickle an open file, {file.name!r}")


def _reduce_context_manager(manager: Any) -> Any:
    """Reduce what a generator function of `contextlib` has made to its call; not if it has been entered."""
    generator = manager.gen
    if getattr(generator, "gi_running", False) or getattr(generator, "gi_suspended", False):
        return generator.__reduce_ex__(PROTOCOL)  # says that it cannot be
    return type(manager), (manager.func, manager.args, manager.kwds)


def _reduce_by_id(named: Any) -> Any:
    """Reduce what is known by its identity, a type parameter, say, to what it is made of, and to an id."""
    if can_be_imported(named):
        return named.__name__
    return make_by_id, (note_id(named), named.__module__, _maker_of(named), *made_of(named))


def made_of(named: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the arguments, by position and by name, that something of `KNOWN_BY_IDENTITY` is made of."""
    args: tuple[Any, ...] = (named.__name__,)
    if isinstance(named, typing.NewType):
        return (*args, named.__supertype__), {}
    keywords = _default_of(named)
    if isinstance(named, typing.TypeVar):
        args = (*args, *part_of(named, "constraints", ()))
        variances = ("covariant", "contravariant", "infer_variance")  # the last from Python 3.12 on
        keywords |= {name: value for name in variances if (value := getattr(named, f"__{name}__", False))}
        keywords["bound"] = part_of(named, "bound")
    return args, keywords


def _reduce_alias(alias: Any) -> Any:
    """Reduce a type alias to its name, and to what it stands for, which may name it again."""
    if can_be_imported(alias):
        return alias.__name__
    made_of: tuple[Any, ...] = (alias.__module__, alias.__name__)
    kind, value = type(alias), part_of(alias, "value", typing.Any)
    if alias.__type_params__:  # then it cannot be made before what it stands for
        args = (alias.__name__, typing.Any if _is_recursive(alias) else value)
        keywords = {"type_params": alias.__type_params__}
        if _is_global(alias):
            return make_named, (*made_of, kind, kind, args, keywords)
        return make_unnamed, (alias.__module__, kind, args, keywords)
    make: Any = make_alias
    if _is_global(alias):
        make, made_of = make_named, (*made_of, kind, make_alias, made_of)
    return make, made_of, (value,), None, None, fill_alias


def _default_of(parameter: Any) -> dict[str, Any]:
    """Return the default of a type parameter as a keyword, if it has one."""
    has_default = getattr(parameter, "has_default", None)
    return {"default": part_of(parameter, "default")} if has_default and has_default() else {}


def _maker_of(named: Any) -> Any:
    """Return what makes a thing of this kind: before Python 3.13, `typing` makes nothing with a default."""
    kind = type(named)
    if sys.version_info < (3, 13) and _default_of(named):
        return getattr(sys.modules["typing_extensions"], kind.__name__)
    return kind


def _reduce_forward_reference(reference: Any) -> Any:
    """Reduce what stands for an unknown of an annotation to its text: it holds all globals of its module."""
    module = reference.__forward_module__ or getattr(reference.__owner__, "__module__", None)
    if module is None:
        module = (reference.__globals__ or {}).get("__name__")
    keywords = {
        "module": module,
        "is_argument": reference.__forward_is_argument__,
        "is_class": reference.__forward_is_class__,
    }
    return make_reference, (reference.__forward_arg__, keywords, reference.__extra_names__)


def as_it_is(obj: Any, reduced: tuple[Any, ...]) -> tuple[Any, ...]:
    """Reduce an object in such a way that it is made as it is; most are already reduced so.

    Of others pickle would call code that wants other arguments, or changes them once more.
    """
    kind: Any = type(obj)
    base = base_that_reduces(kind)
    is_new = reduced[0] is NEW_OBJECT
    if not is_new:
        reduced = reduced_by_base(obj, reduced, base)
    elif type(kind.__new__) is FunctionType and maker_of(kind, reduced[1][1:]).__new__ is not kind.__new__:
        reduced = make_object, *reduced[1:]
    if base is not None and (filled := filled_by_base(obj, reduced)) is not reduced:
        return filled
    if is_new and hasattr(kind, "__getattr__") and not hasattr(kind, "__setstate__"):
        # It looks elsewhere for what it lacks, as in an object that it wraps; and for that one too, without
        # end, as long as it has none. So it gets its state without being asked for `__setstate__`.
        return *(*reduced, None, None, None)[:5], give_state
    return reduced


def reduced_by_base(obj: Any, reduced: tuple[Any, ...], base: Any) -> tuple[Any, ...]:
    """Reduce an object by the base that has reduced it, if that is Python's own or numpy's.

    Such a base may call the class, which may want other arguments, or take them for something else; and
    decimals, dates and arrays, say, forget attributes. `base` is what :func:`base_that_reduces` has found.
    """
    kind: Any = type(obj)
    make, args, state, items, pairs = (*reduced, None, None, None)[:5]
    if base is not None and base.__name__ == "ndarray":
        return make, args, (state, _state_beside(base, obj)), None, None, fill_array
    if make is not kind or base is None or hasattr(kind, "__getinitargs__"):
        return reduced
    if not args and type(base.__init__) is FunctionType:
        return reduced  # random.Random: it calls what the class may override
    set_state = None
    # That of exceptions forgets slots, and sets attributes as the class has it, which may be frozen.
    is_of_exceptions = kind.__reduce__ is BaseException.__reduce__
    if is_of_exceptions or (state is None and not hasattr(kind, "__setstate__")):
        state, set_state = _state_beside(base, obj), give_state
    if base in (set, frozenset):
        args = (base(obj),)  # not a list, whose order would tell something
    return make_by_base, (base, kind, *args), state, items, pairs, set_state


def reduce_logger(logger: logging.Logger) -> Any:
    """Reduce a logger to its name, and to its class: the module of that may be what makes the logger."""
    kind: Any = type(logger)
    reduced = logger.__reduce__()
    return (find_logger, (logger.name, kind)) if kind.__reduce__ is logging.Logger.__reduce__ else reduced


def is_of_wrapt(kind: type) -> bool:
    """Tell whether objects of a class are functions that wrapt has decorated, in C or in Python."""
    return any(base.__name__ == "_FunctionWrapperBase" for base in kind.__mro__)


def reduce_shared(obj: Any) -> Any:
    """Reduce what all of a program share to where it is found: a copy would be another one's, or nobody's.

    Copies of the generator that functions of `random` draw from, and distributions of SciPy, would have all
    workers draw the same numbers.
    """
    for module, name, value in shared_by_all():
        if value is obj:
            return getattr, (sys.modules[module], name)
    return obj.__reduce_ex__(PROTOCOL)


def shared_by_all() -> Iterator[tuple[str, str, object]]:
    """Give what all of the program share, with the module that it belongs to, and its name there."""
    for module, names in _SHARED.items():
        there = vars(sys.modules[module]) if module in sys.modules else {}
        yield from ((module, name, there[name]) for name in names if there.get(name) is not None)


def _reduce_builtin(function: Any) -> Any:
    """Reduce a function of an extension module to its name, which its class does not do."""
    return function.__qualname__ if can_be_imported(function) else function.__reduce_ex__(PROTOCOL)


def _refuse(one: Any) -> Any:
    # What it would send is the number of a descriptor, or where a library of C stands in memory; of what
    # leads to objects of its library, as a proxy does, it would be a copy that leads to others.
    raise TypeError(f"cannot pickle {type(one).__name__!r} object")


def _reduce_storage(storage: Any) -> Any:
    """Reduce what tensors have their data in to a buffer: torch would copy it, once for each view of it."""
    memory = getattr(storage, "_untyped_storage", storage)  # one object for all views
    if memory.device.type != "cpu":
        return storage.__reduce_ex__(PROTOCOL)
    if memory is storage:
        return make_storage, (memory_of_storage(memory),)
    without_warning = {"_internal": True}  # that what users are not to make is deprecated
    made_of = (type(storage), (), without_warning)
    return copyreg.__newobj_ex__, made_of, vars(storage)  # type: ignore[attr-defined]


def memory_of_storage(storage: Any) -> PickleBuffer:
    """Return the memory of tensors, in that of the processor, as a buffer which keeps it there.

    Not by way of numpy, which may not be installed, and after which a tensor can no longer be resized.
    """
    import ctypes  # which Python can be built without

    memory: Any = (ctypes.c_ubyte * storage.nbytes()).from_address(storage.data_ptr())
    memory.owner = storage
    return PickleBuffer(memory)


def _reduce_console(console: Any) -> Any:
    """Reduce a console of rich's to one that prints to what the worker prints to; nothing moves on that."""
    of_thread = console._thread_locals  # noqa: SLF001
    made_anew = {
        "_lock": Rebuilt(threading.RLock),
        "_record_buffer_lock": Rebuilt(threading.RLock),
        "_thread_locals": Rebuilt(type(of_thread), of_thread.theme_stack),
        "is_jupyter": False,
        "_live_stack": [],
        "_render_hooks": [],
    }
    return NEW_OBJECT, (type(console),), vars(console) | made_anew


def _reduce_checked_call(call: Any) -> Any:
    """Reduce what pydantic's `validate_call` has made without all globals of the function's module.

    It keeps them to look up what annotations name, which is done once its validators are made.
    """
    make, arguments, (_, slots) = call.__reduce_ex__(PROTOCOL)[:3]
    if slots["__pydantic_complete__"]:
        slots["ns_resolver"] = type(slots["ns_resolver"])()
    return make, arguments, (None, slots)


def _reduce_curried(curried: Any) -> Any:
    """Reduce what toolz has curried with its function, where no worker finds that by its name."""
    restore, (kind, function, *others, is_found) = curried.__reduce_ex__(PROTOCOL)
    if type(function) is str and goes_by_value(curried.func.__module__):
        function, is_found = curried.func, None
    return restore, (kind, function, *others, is_found)


def _reduce_cached_method(descriptor: Any) -> Any:
    """Reduce a method that cachetools caches to what it is made of, where no worker finds it in its class."""
    find, (owner, name) = descriptor.__reduce__()
    if can_be_imported(owner):
        return find, (owner, name)
    made_anew = {"_MethodDescriptor__unbound": None}  # when the class is asked for it
    return NEW_OBJECT, (type(descriptor),), vars(descriptor) | made_anew


def reduce_descriptor(descriptor: Any) -> tuple[Any, ...]:
    """Reduce a property or the like, of a class that inherits from it, to what its base makes it of."""
    kind = type(descriptor)
    base = next(base for base in DESCRIPTORS if issubclass(kind, base))
    names = ("fget", "fset", "fdel", "__doc__") if base is property else ("__func__",)
    parts = (getattr(descriptor, name) for name in names)
    return make_by_base, (base, kind, *parts), _state_beside(base, descriptor), None, None, give_state


def base_that_reduces(kind: Any) -> Any:
    """Return the base of a user's class that says how to reduce its objects; None if it is a user's too."""
    for method in ("__reduce_ex__", "__reduce__"):
        base = next(base for base in kind.__mro__ if method in vars(base))
        if base is BaseException:  # it reduces exceptions of all kinds, each of which makes its own
            base = next(base for base in kind.__mro__ if base.__module__ == "builtins")
        if base is not object:
            # What an extension has made of it (SQLAlchemy of sets) the base may not be able to make.
            maker = next(one for one in kind.__mro__ if type(vars(one).get("__new__")) is BuiltinFunctionType)
            return base if is_users(kind) and not is_users(base) and issubclass(base, maker) else None
    return object if is_users(kind) else None


def registered_reducer(kind: type) -> Callable[[Any], Any] | None:
    """Return what somebody has told `copyreg` to reduce objects of a class with."""
    reducer = copyreg.dispatch_table.get(kind)
    # Dask has tblib do this for all exceptions, and that cannot fill those that are frozen.
    return None if getattr(reducer, "__module__", "") == "tblib.pickling_support" else reducer


def is_users(kind: type) -> bool:
    """Tell whether a class is the user's, or some library's, and neither Python's own nor numpy's."""
    return str(kind.__module__).partition(".")[0] not in _KNOWN


def filled_by_base(obj: Any, reduced: tuple[Any, ...]) -> tuple[Any, ...]:
    """Let a list or dict that has a way of its own to take or to give items be filled as its base is.

    Its own may want attributes, which pickle gives it later, or change the items once more.
    """
    kind: Any = type(obj)
    make, args, state, items, pairs = (*reduced, None, None, None)[:5]
    if items is not None and _is_overridden(kind, "append", "extend", "__iter__"):
        return make, args, (state, [*method_of_base(kind, "__iter__")(obj)], {}), None, None, fill_by_base
    if pairs is not None and _is_overridden(kind, "__setitem__", "items"):
        return make, args, (state, [], dict(method_of_base(kind, "items")(obj))), None, None, fill_by_base
    return reduced


def _is_overridden(kind: type, *methods: str) -> bool:
    return any(type(getattr(kind, method)) is FunctionType for method in methods)


def _state_beside(base: type, obj: object) -> Any:
    """Return the attributes of an object that are not its base's; None if it has none."""
    state: Any = object.__getstate__(obj)
    if not isinstance(state, tuple):
        return state or None
    attributes, slots = state
    of_base = copyreg._slotnames(base)  # type: ignore[attr-defined]  # noqa: SLF001 - as object itself does
    slots = {name: value for name, value in slots.items() if name not in of_base}
    return (attributes, slots) if attributes or slots else None


def _is_global(named: Any) -> bool:
    name: str = getattr(named, "__name__", "")  # what caches a partial function has none
    return find_in(named.__module__, name) is named


def _is_recursive(alias: Any) -> bool:
    """Tell whether what an alias stands for names it again; it may stand in other aliases."""
    seen: dict[int, Any] = {}  # by id, and kept, as what some stand for is made when it is asked for
    pending = [part_of(alias, "value")]
    while pending:
        part = pending.pop()
        if part is alias:
            return True
        if id(part) in seen:
            continue
        seen[id(part)] = part
        if isinstance(part, _TYPE_ALIAS):
            pending.append(part_of(part, "value"))
        elif not isinstance(part, type):  # a class may be typing.Union itself (Python 3.14 and later)
            pending += getattr(part, "__args__", ())
            names = getattr(part, "__extra_names__", None) or {}  # of a reference, from there on
            pending += names.values()
            pending.append(getattr(part, "__origin__", None))
    return False


DESCRIPTORS: Final = (property, classmethod, staticmethod)

REDUCERS: Final[dict[type, Callable[[Any], Any]]] = {
    functools._lru_cache_wrapper: _reduce_cached_function,  # noqa: SLF001 - it has no other name
    functools.cached_property: _reduce_cached_property,
    CellType: _reduce_cell,
    WeakKeyDictionary: _reduce_weak_dict,
    WeakValueDictionary: _reduce_weak_dict,
    ReferenceType: _reduce_reference,
    struct.Struct: lambda layout: (struct.Struct, (layout.format,)),
    # Each thread has its own data in it, and a new one none.
    threading.local: lambda _: (threading.local, ()),
    io.TextIOWrapper: _reduce_text_file,
    contextlib._GeneratorContextManager: _reduce_context_manager,  # noqa: SLF001
    contextlib._AsyncGeneratorContextManager: _reduce_context_manager,  # noqa: SLF001
    **dict.fromkeys(KNOWN_BY_IDENTITY, _reduce_by_id),
    # Found without cloudpickle, which is long to import.
    dataclasses._FIELD_BASE: lambda kind: (getattr, (dataclasses, kind.name)),  # type: ignore[attr-defined]  # noqa: SLF001
}
if _TYPE_ALIAS:
    REDUCERS[_TYPE_ALIAS] = _reduce_alias
if sys.version_info >= (3, 14):
    REDUCERS[functools.partialmethod] = _reduce_partial_method
    REDUCERS[typing.ForwardRef] = _reduce_forward_reference
if sys.version_info < (3, 15):  # later they are sentinels, as others are
    # Not by their names alone, for which pickle wants the very ones: plain cloudpickle, by which joblib, say,
    # brings classes to its workers, copies them.
    REDUCERS[type(dataclasses.MISSING)] = lambda _: (getattr, (dataclasses, "MISSING"))
    REDUCERS[type(dataclasses.KW_ONLY)] = lambda _: (getattr, (dataclasses, "KW_ONLY"))

_OF_LIBRARIES: Final[dict[str, Callable[[Any], Any]]] = {
    **dict.fromkeys(
        (
            *("ctypes.CDLL", "ctypes.PyDLL"),
            *("multiprocessing.connection.Connection", "multiprocessing.connection.PipeConnection"),
            *("mpmath.ctx_mp.MPContext", "werkzeug.local.LocalProxy"),
        ),
        _refuse,
    ),
    "nanobind.nb_func": _reduce_builtin,
    "numpy.memmap": _reduce_memmap,
    "numpy.random.mtrand.RandomState": reduce_shared,
    "pydantic._internal._validate_call.ValidateCallWrapper": _reduce_checked_call,
    "toolz.functoolz.curry": _reduce_curried,
    "cytoolz.functoolz.curry": _reduce_curried,
    "cachetools._descriptor._MethodDescriptor": _reduce_cached_method,
    "rich.console.Console": _reduce_console,
    **dict.fromkeys(("torch.storage.TypedStorage", "torch.storage.UntypedStorage"), _reduce_storage),
    "random.Random": reduce_shared,
    "random.SystemRandom": lambda generator: (type(generator), ()),  # it has no state
}
"""By class, those of the objects of libraries, which may not be there."""


def reducer_of_library(kind: type) -> Callable[[Any], Any] | None:
    """Return what reduces objects of a library's class, where they do not say themselves what is meant."""
    return _OF_LIBRARIES.get(f"{kind.__module__}.{kind.__qualname__}")
