"""How values are taken apart that cloudpickle cannot take along, or not as they are meant."""

from __future__ import annotations

import contextlib
import copyreg
import dataclasses
import functools
import gc
import inspect
import io
import logging
import mmap
import os
import struct
import sys
import threading
import typing
from pickle import PickleBuffer, whichmodule  # type: ignore[attr-defined]
from types import CellType
from typing import TYPE_CHECKING, Any, Final
from weakref import ReferenceType, WeakKeyDictionary, WeakValueDictionary

from ..annotations import part_of
from .by_base import NEW_OBJECT
from .importable import can_be_imported, goes_by_value
from .pickling import PROTOCOL
from .rebuild import (
    Rebuilt,
    cache_function,
    contents_of,
    fill_alias,
    find_in,
    find_logger,
    make_alias,
    make_by_id,
    make_cell,
    make_named,
    make_reference,
    make_storage,
    make_unnamed,
    note_id,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_TYPE_ALIAS: Final[Any] = getattr(typing, "TypeAliasType", ())  # from Python 3.12 on
_OF_SCANNERS: Final = (
    *("strict", "object_hook", "object_pairs_hook"),
    *("parse_float", "parse_int", "parse_constant"),
)

_OF_PROTOCOLS: Final[Any] = getattr(typing, "_proto_hook", None)  # from Python 3.12 on
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
        return cache_function, parts, attributes
    kind = functools._lru_cache_wrapper  # noqa: SLF001
    return make_named, (function.__module__, function.__name__, kind, cache_function, parts), attributes


def _reduce_cached_property(cached: functools.cached_property[Any]) -> Any:
    attributes = {name: value for name, value in vars(cached).items() if name != "lock"}  # before Python 3.12
    return functools.cached_property, (cached.func,), attributes


def _reduce_partial_method(method: functools.partialmethod[Any]) -> Any:
    """Reduce a partial method to what it is made of: its class wants that, from Python 3.14 on."""
    made_of = (type(method), (method.func, *method.args), method.keywords)
    return copyreg.__newobj_ex__, made_of, vars(method)  # type: ignore[attr-defined]


def _reduce_class_method(method: classmethod[Any, Any, Any]) -> Any:
    """Reduce a class method; by its name the one of each protocol, which `typing` knows again."""
    if method is _OF_PROTOCOLS:
        return method.__name__
    return classmethod, (method.__func__,)


def _reduce_vectorized(vectorized: Any) -> Any:
    """Reduce what `numpy.vectorize` has made without the functions that it has made of that when called."""
    return NEW_OBJECT, (type(vectorized),), vars(vectorized) | {"_ufunc": {}}


def reduce_ufunc(ufunc: Any) -> Any:
    """Reduce what `numpy.frompyfunc` has made to what it is made of; others have a name."""
    made_of = made_of_ufunc(ufunc)
    if made_of is None:  # one that numba has compiled of a script nobody else finds by that
        name = copyreg.dispatch_table[type(ufunc)](ufunc)
        return _refuse(ufunc) if whichmodule(ufunc, name) in ("__main__", "__mp_main__") else name
    function, keywords = made_of
    return functools.partial(sys.modules["numpy"].frompyfunc, **keywords), (function, ufunc.nin, ufunc.nout)


def made_of_ufunc(ufunc: Any) -> tuple[Any, dict[str, Any]] | None:
    """Return the function that `numpy.frompyfunc` was given, and its keywords; None for another's work.

    It does not tell them, but to the collector.
    """
    held = [*gc.get_referents(ufunc), None]
    function, *others = held
    if not callable(function):
        return None
    is_told = any(value is ufunc.identity for value in others[:-1])
    return function, {"identity": ufunc.identity} if is_told else {}


def _reduce_scanner(scanner: Any) -> Any:
    """Reduce what a JSON decoder scans text with to the settings of the decoder, which it has as well."""
    settings = {name: getattr(scanner, name) for name in _OF_SCANNERS}
    decoder = functools.partial(sys.modules["json"].JSONDecoder, **settings)
    return getattr, (Rebuilt(decoder), "scan_once")


def _reduce_weak_dict(weak: WeakKeyDictionary[Any, Any] | WeakValueDictionary[Any, Any]) -> Any:
    return type(weak), (), None, None, iter(list(weak.items()))


def _reduce_reference(reference: ReferenceType[Any]) -> Any:
    """Reduce a weak reference to what it refers to, which others have to keep where it arrives."""
    target = reference()
    return ReferenceType, (set() if target is None else target, reference.__callback__)


def _reduce_view(view: memoryview) -> Any:
    """Reduce a view to the memory that it shows, and to how: cloudpickle would make `bytes` of it."""
    memory = view if view.c_contiguous else memoryview(bytearray(view.tobytes()))
    how = (view.format,) if view.ndim == 1 else (view.format, view.shape)
    memory.cast("B").cast(*how)  # refuses here what it would refuse where it arrives, as items of a struct
    return memoryview.cast, (Rebuilt(memoryview, PickleBuffer(memory)), *how)


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


def _reduce_by_attributes(one: Any) -> Any:
    """Reduce an object of msgspec's to the keywords that it was made with, which are its attributes."""
    kind: Any = type(one)
    keywords = {name: getattr(one, name) for name, own in vars(kind).items() if inspect.isdatadescriptor(own)}
    return functools.partial(kind, **keywords), ()


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


REDUCERS: Final[dict[type, Callable[[Any], Any]]] = {
    functools._lru_cache_wrapper: _reduce_cached_function,  # noqa: SLF001 - it has no other name
    functools.cached_property: _reduce_cached_property,
    classmethod: _reduce_class_method,
    CellType: lambda cell: (make_cell, contents_of(cell)),
    WeakKeyDictionary: _reduce_weak_dict,
    WeakValueDictionary: _reduce_weak_dict,
    ReferenceType: _reduce_reference,
    struct.Struct: lambda layout: (struct.Struct, (layout.format,)),
    memoryview: _reduce_view,
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
    "numpy.ufunc": reduce_ufunc,
    "numpy.vectorize": _reduce_vectorized,
    "numpy.random.mtrand.RandomState": reduce_shared,
    "pydantic._internal._validate_call.ValidateCallWrapper": _reduce_checked_call,
    "toolz.functoolz.curry": _reduce_curried,
    "cytoolz.functoolz.curry": _reduce_curried,
    "cachetools._descriptor._MethodDescriptor": _reduce_cached_method,
    "_json.Scanner": _reduce_scanner,
    "rich.console.Console": _reduce_console,
    "msgspec.Meta": _reduce_by_attributes,
    **{
        f"msgspec.{form}.{kind}": _reduce_by_attributes
        for form in ("json", "msgpack")
        for kind in ("Decoder", "Encoder")
    },
    **dict.fromkeys(("torch.storage.TypedStorage", "torch.storage.UntypedStorage"), _reduce_storage),
    **dict.fromkeys(
        (
            *("sys.flags", "sys.float_info", "sys.hash_info", "sys.int_info", "sys.thread_info"),
            "sys.version_info",
        ),
        lambda one: (getattr, (sys, type(one).__name__)),  # nobody can make another one
    ),
    "random.Random": reduce_shared,
    "random.SystemRandom": lambda generator: (type(generator), ()),  # it has no state
}
"""By class, those of the objects of libraries, which may not be there."""


def reducer_of_library(kind: type) -> Callable[[Any], Any] | None:
    """Return what reduces objects of a library's class, where they do not say themselves what is meant."""
    return _OF_LIBRARIES.get(f"{kind.__module__}.{kind.__qualname__}")
