"""What a value is made of, written into a hash; :mod:`.fingerprint` tells what counts.

It is done part by part: functions, classes, and values that several may hold are parts of their own, and
stand in others as numbers.
"""

from __future__ import annotations

import abc
import contextlib
import functools
import marshal
import struct
import sys
import threading
import typing
from collections.abc import Mapping, Set
from contextvars import ContextVar
from enum import Enum
from hashlib import blake2b
from itertools import chain
from operator import attrgetter, itemgetter
from pickle import PickleBuffer
from types import (
    BuiltinFunctionType,
    CellType,
    ClassMethodDescriptorType,
    CodeType,
    FunctionType,
    GetSetDescriptorType,
    MappingProxyType,
    MemberDescriptorType,
    MethodDescriptorType,
    MethodType,
    MethodWrapperType,
    ModuleType,
    WrapperDescriptorType,
)
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from weakref import ReferenceType, WeakKeyDictionary, WeakValueDictionary

from ..serialization.by_base import (
    DESCRIPTORS,
    base_that_reduces,
    reduce_descriptor,
    reduced_by_base,
    registered_reducer,
)
from ..serialization.class_parts import attributes_of_members
from ..serialization.lazy_imports import LAZY_IMPORT, import_waiting_submodule, imported
from ..serialization.pickling import LARGE, NUMBERS_AND_TEXT, PROTOCOL
from ..serialization.reducers import KNOWN_BY_IDENTITY, is_of_wrapt, made_of
from .code_reading import TYPE_ALIAS, annotation_texts, named_in_annotations
from .library_contents import WHAT_COUNTS, repr_without_addresses
from .provenance import absolute_name, imports_by_text, is_compiled

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    from .code_reading import Code
    from .fingerprint import Fingerprints

DIGEST_BYTES: Final = 20
_MARSHAL_VERSION: Final = 2  # later ones tell equal values apart that are one object, or are not

# What Python derives from the rest of a class, differs from run to run, or tells where the class stands.
_DERIVED: Final = {
    *("__annotations__", "__annotations_cache__", "__annotate__", "__annotate_func__", "__dict__", "__doc__"),
    *("__weakref__", "__firstlineno__", "__static_attributes__", "_abc_impl"),
    *("_member_map_", "_member_names_", "_value2member_map_", "_unhashable_values_", "_hashable_values_"),
    *("_unhashable_values_map_", "__slotnames__"),
    *("__pydantic_core_schema__", "__pydantic_validator__", "__pydantic_serializer__"),
}

# What `singledispatch` makes holds also what was found for the classes of arguments so far.
_DISPATCHED: Final = typing.cast("FunctionType", functools.singledispatch(print)).__code__

_KEPT_BY_MSGSPEC: Final = attrgetter("__struct_defaults__", "__struct_encode_fields__", "__struct_config__")


class Part(NamedTuple):
    """What several may hold: the digest of its own contents, which name others by number, and these.

    Attributes
    ----------
    digest : bytes
        Of its own contents.
    needs : tuple of object
        The others.
    noted : tuple of int
        The ids of those that only annotations name: if the contents of one cannot be told, its name will do.
    names : collection of str
        What its code names, if it is a function.
    untold : Exception, optional
        Why its contents cannot be told; what it is called stands for them then.
    """

    digest: bytes
    needs: tuple[Any, ...]
    noted: tuple[int, ...]
    names: Collection[str]
    untold: Exception | None = None


class Writer:
    """Writes the contents of one thing into a hash."""

    def __init__(self, fingerprints: Fingerprints) -> None:
        self._fingerprints = fingerprints
        self._hash = blake2b(digest_size=DIGEST_BYTES)
        # By id, with their numbers, and kept, as they may have been made on the way:
        self._seen: dict[int, tuple[int, object]] = {}  # what may be met again
        self._needs: dict[int, tuple[int, object]] = {}  # other parts
        self._noted: set[int] = set()
        self._names: Collection[str] = ()

    def part(self) -> Part:
        needs = tuple([need for _, need in self._needs.values()])
        return Part(self.digest(), needs, tuple(self._noted), self._names)

    def digest(self) -> bytes:
        return self._hash.digest()

    def write(self, value: Any) -> None:
        """Write any value."""
        kind = type(value)
        write = _WRITERS.get(kind)
        if write is not None:
            write(self, value)
        elif issubclass(kind, type):
            self.write_named(value)
        elif issubclass(kind, Enum):
            self.write((kind, value._name_, value._value_))
        elif shared := self._fingerprints.shared.get(id(value)):
            self._put(b"shared", shared[0])
        elif not self._is_again(value):
            module = kind.__module__
            if tell := WHAT_COUNTS.get(f"{module}.{kind.__qualname__}") or WHAT_COUNTS.get(module):
                self.write((kind, tell(value)))
            elif is_of_wrapt(kind) and self._is_of_library(kind):
                enabled = value._self_enabled  # noqa: SLF001 - wrapt's; a class of the user's may have others
                self.write((kind, value.__wrapped__, value._self_wrapper, enabled))  # noqa: SLF001
            else:
                self.write_object(value)

    def _put(self, tag: bytes, data: str | bytes = b"") -> None:
        if isinstance(data, str):
            data = data.encode("utf-8", "surrogatepass")
        self._hash.update(b"%b %d\n" % (tag, len(data)))
        self._hash.update(data)

    def _is_again(self, value: object) -> bool:
        """Write the number of what was written before, which this may be part of; else give it one."""
        known = self._seen.get(id(value))
        if known is None:
            self._seen[id(value)] = (len(self._seen), value)
            return False
        self._put(b"again", str(known[0]))
        return True

    def _is_of_library(self, kind: type) -> bool:
        module = kind.__module__
        return module == "_wrappers" or self._fingerprints.modules.version(module) is not None

    def _put_name(self, tag: bytes, module: str | None, name: str) -> None:
        """Write the name of what may show no code, with the version or the file of where it is compiled."""
        version = self._fingerprints.modules.version(module)
        self._put(tag, f"{module} {name} {version}")
        if version is None and is_compiled(module):
            self._put(b"file", self._fingerprints.modules.source(module))

    # Values

    def write_text(self, value: str) -> None:
        self._put(b"str", value)

    def write_number(self, value: complex | None) -> None:
        # Hexadecimal numbers may be of any length.
        self._put(type(value).__name__.encode(), hex(value) if type(value) is int else repr(value))

    def write_bytes(self, value: bytes | bytearray) -> None:
        self.write_buffer(type(value).__name__.encode(), memoryview(value))

    def write_pickle_buffer(self, value: PickleBuffer) -> None:
        self.write_buffer(b"buffer", value.raw())

    def write_buffer(self, tag: bytes, memory: memoryview) -> None:
        if memory.nbytes >= LARGE:
            self._put(b"large " + tag, self._fingerprints.large(memory))
        else:
            self._put(tag, memory.tobytes())

    def write_tuple(self, value: tuple[Any, ...]) -> None:
        self._write_items(b"tuple", value)

    def write_list(self, value: list[Any]) -> None:
        if not self._is_again(value):
            self._write_items(b"list", value)

    def write_dict(self, value: Mapping[Any, Any]) -> None:
        if not self._is_again(value):
            pairs = list(value.items())
            self._write_items(b"dict", [*chain.from_iterable(pairs)])

    def _write_items(self, tag: bytes, items: Any) -> None:
        """Write what is in a container, at once if it is numbers and text, as most of a large one is."""
        if NUMBERS_AND_TEXT.issuperset(map(type, items)):
            self._put(tag + b" of numbers and text", marshal.dumps(items, _MARSHAL_VERSION))
            return
        self._put(tag, str(len(items)))
        for item in items:
            self.write(item)

    def write_set(self, value: Iterable[Any]) -> None:
        tag, items = type(value).__name__.encode(), [*value]  # whose own order differs from run to run
        named = {f"{item.__module__} {item.__qualname__}": item for item in items if _is_named(item)}
        if len(named) == len(items):  # what they have in them may lead back to the set
            self._put(b"named " + tag, str(len(items)))
            for name in sorted(named):
                self.write(named[name])
        else:
            self._put(tag, b"".join(sorted(map(self._fingerprints.digest, items))))

    def write_object(self, value: Any) -> None:
        kind = type(value)
        reduce = reduce_descriptor if issubclass(kind, DESCRIPTORS) else registered_reducer(kind)
        reduced: Any = value.__reduce_ex__(PROTOCOL) if reduce is None else reduce(value)
        if isinstance(reduced, str):
            module = getattr(value, "__module__", None)
            self._put_name(b"global", module, reduced)
            if (
                module is None
                or self._fingerprints.modules.version(module) is not None
                or is_compiled(module)
            ):
                return
            reduced = kind, (), object.__getstate__(value)  # the user's own is what it is made of
        make, args, *rest = reduced_by_base(value, reduced, base_that_reduces(kind))
        self._put(b"object")
        self.write(make)
        is_of_library = self._is_of_library(kind)
        if is_of_library and _has_own_order(value, make, args):
            self.write_set(args[0].items() if type(args[0]) is dict else args[0])
        else:
            self.write(args)
        # An exception has an empty state as soon as somebody has looked at it.
        state, items, pairs, set_state = rest + [None] * (4 - len(rest))
        state = _in_order(value, state, is_of_library)
        self.write(None if type(state) is dict and not state else state)
        self.write(None if items is None else list(items))
        self.write(None if pairs is None else list(pairs))
        self.write(set_state)
        # What decorates a function may be reduced to where it is found, as by cachetools.
        attributes = getattr(value, "__dict__", {})
        if type(attributes) is dict and "__wrapped__" in attributes:
            self.write(attributes["__wrapped__"])

    # What has a name

    def write_named(self, named: Any) -> None:
        """Write a function or class: the name of a library's, a number for one of the user's own."""
        version = self._fingerprints.modules.version(named.__module__)
        if version is not None and "<locals>" not in named.__qualname__ and not _is_open(named):
            self._put(b"library", f"{named.__module__} {named.__qualname__} {version}")
        else:
            self._put_need(named)

    def _put_need(self, need: Any) -> None:
        number, _ = self._needs.setdefault(id(need), (len(self._needs), need))
        self._noted.discard(id(need))
        self._put(b"need", str(number))

    def write_held(self, *values: Any) -> None:
        """Write what a function is given or has: a table that thousands have, say, is looked at once."""
        for value in values:
            kind = type(value)
            if kind in _CONTAINERS or not (kind in _WRITERS or issubclass(kind, (type, Enum))):
                self._put_need(value)
            else:
                self.write(value)

    def write_noted(self, values: Iterable[Any]) -> None:
        """Write what only annotations name, as far as its contents can be told."""
        known = len(self._needs)
        self.write_held(*values)
        self._noted.update([*self._needs][known:])

    def write_partial(self, partial: functools.partial[Any]) -> None:
        self.write(
            (type(partial), partial.func, len(partial.args), [*partial.keywords], vars(partial) or None)
        )
        self.write_held(*partial.args, *partial.keywords.values())

    def write_builtin(self, function: BuiltinFunctionType) -> None:
        if function.__self__ is None or isinstance(function.__self__, ModuleType):
            self._put_name(b"builtin", function.__module__ or "builtins", function.__qualname__)
        else:
            self._put(b"bound", function.__name__)
            self.write(function.__self__)

    def write_alias(self, alias: Any) -> None:
        if not self._is_again(alias):
            self._put(b"alias", alias.__name__)
            try:
                value = alias.__value__
            except NameError:  # it names what only type checkers import
                return
            self.write(value)

    def write_type_parameter(self, parameter: Any) -> None:
        """Write a type parameter, or a new type: a library's by name, one of the user's own as it is made."""
        module = parameter.__module__
        if self._fingerprints.modules.version(module) is not None:
            self._put_name(b"library", module, parameter.__name__)
        elif not self._is_again(parameter):
            self.write((type(parameter), module, made_of(parameter)))

    def write_weak_dict(self, weak: WeakKeyDictionary[Any, Any] | WeakValueDictionary[Any, Any]) -> None:
        if not self._is_again(weak):
            self._put(type(weak).__name__.encode())
            self.write(list(weak.items()))

    def write_variable(self, variable: ContextVar[Any]) -> None:
        self._put(b"context variable", variable.name)
        with contextlib.suppress(LookupError):  # it holds nothing
            self.write(variable.get())

    def write_cell(self, cell: CellType) -> None:
        try:
            contents = cell.cell_contents
        except ValueError:
            self._put(b"empty cell")
        else:
            self.write_held(contents)

    def write_code(self, code: CodeType) -> None:
        self._put(b"code", self._fingerprints.code(code).digest)

    def write_module(self, module: ModuleType, code: Code | None = None) -> None:
        """Write a module; of one of the user's own what code names there, or else its source."""
        version = self._fingerprints.modules.version(module.__name__)
        if version is not None:
            self._put(b"library", f"{module.__name__} {version}")
            for function in () if code is None else _open_functions(module, code.names):
                self.write_named(function)
        elif code is None:
            self._write_whole(module)
        elif not self._is_again(module):
            self._put(b"module", module.__name__)
            for name in code.names:
                import_waiting_submodule(module, name)
            found = [name for name in sorted(code.names) if name in vars(module)]
            for name in found:
                self.write_global(name, vars(module)[name], code)
            if not found or "__getattr__" in vars(module):  # it is asked for names that are made on the way
                self._write_whole(module)

    def _write_whole(self, module: ModuleType) -> None:
        name, modules = module.__name__, self._fingerprints.modules
        if sys.modules.get(name) is module and modules.has_source(name):
            self._put(b"module", modules.source(name))
        else:  # it was loaded by a path, or made of text
            self._put_need(module)

    def write_globals(self, module: ModuleType) -> None:
        """Write all that is in a module, but for what Python has put there."""
        for name, value in list(vars(module).items()):
            if not (name.startswith("__") and name.endswith("__")):
                self._put(b"name", name)
                self.write_held(value)

    def write_global(self, name: str, value: object, code: Code) -> None:
        self._put(b"name", name)
        if type(value) is LAZY_IMPORT:
            value = imported(value)
        if type(value) is ModuleType:
            self.write_module(value, None if name in code.whole else code)
        else:
            self.write_held(value)

    def write_contents(self, need: Any) -> None:
        """Write what others may name: of a function, class or module what is in it."""
        if type(need) is FunctionType:
            self.write_function(need)
        elif type(need) is ModuleType:
            self.write_globals(need)
        elif issubclass(type(need), type):
            self.write_class(need)
        else:
            self.write(need)

    def write_function(self, function: FunctionType) -> None:
        """Write the contents of a function."""
        if function.__code__.co_filename.startswith("<@beartype("):  # this code has addresses in its names
            conf = (function.__kwdefaults__ or {}).get("__beartype_conf")
            self.write((vars(function)["__wrapped__"], repr_without_addresses(conf)))
            return
        if function.__code__ is _DISPATCHED:
            self.write((function.__module__, function.__qualname__, vars(function)["registry"]))
            return
        code = self._fingerprints.code(function.__code__)
        self._names = code.names
        self.write((function.__module__, function.__qualname__, code.digest))
        attributes = vars(function)
        if "retry_with" in attributes:  # tenacity notes there how often it has retried
            attributes = {name: value for name, value in attributes.items() if name != "statistics"}
        defaults, named_defaults = function.__defaults__ or (), function.__kwdefaults__ or {}
        self.write((len(defaults), [*named_defaults], attributes, function.__doc__))  # it may have got that
        self.write_held(*defaults, *named_defaults.values())
        self.write(annotation_texts(function))
        classes, added = named_in_annotations(function)  # of which decorators may make what they pass on
        self.write_noted([*classes, *added])
        for cell in function.__closure__ or ():
            self.write_cell(cell)
        there = function.__globals__
        for name in code.globals:
            if name in there:
                self.write_global(name, there[name], code)
        for level, module, items in code.imports:
            self.write_import(level, module, items, there)
        if imports_by_text(code.names):
            variables = self._fingerprints.variables_of(function).values()
            held = (code.texts, defaults, named_defaults, *variables)
            self._put(b"imports", self._fingerprints.modules.named_in(_package_of(there), *held))

    def write_import(self, level: int, name: str, items: tuple[str, ...], there: dict[str, Any]) -> None:
        name = absolute_name(name, level, _package_of(there))
        for module in (name, *(f"{name}.{item}" for item in items)):
            self._put(b"import", self._fingerprints.modules.source(module))

    def write_class(self, cls: type) -> None:
        """Write the contents of a class."""
        self._put_name(b"class", cls.__module__, cls.__qualname__)
        self.write((type(cls), cls.__bases__))
        self.write(annotation_texts(cls))
        classes, added = named_in_annotations(cls)
        self.write(classes)  # of which libraries make objects: of nested settings, say
        self.write_noted(added)
        if hasattr(type(cls), "__struct_defaults__"):  # msgspec keeps these beside the class
            self.write(_KEPT_BY_MSGSPEC(cls))
        self.write(_registered_with(cls))
        members = cls.__members__ if issubclass(cls, Enum) else {}
        self.write([(name, member._value_) for name, member in members.items()])
        self.write(attributes_of_members(cls))
        doc = str(cls.__doc__)
        # What a data class makes of its fields, when asked for it, shows the order of sets among defaults.
        if "__dataclass_fields__" not in vars(cls) or not doc.startswith(f"{cls.__name__}("):
            self.write(doc)
        for name, value in list(vars(cls).items()):  # at once, as to look at it may add to it
            if name not in _DERIVED and name not in members:
                self._put(b"attribute", name)
                self.write(value)

    def write_source(self, cls: type) -> None:
        """Write all that is written in the module of a class, in the place of its contents."""
        self._put_name(b"class", cls.__module__, cls.__qualname__)
        self._put(b"file", self._fingerprints.modules.source_of_classes(cls.__module__))
        self.write((type(cls), cls.__bases__))


def _package_of(there: dict[str, Any]) -> str:
    return str(there.get("__package__") or there.get("__name__", ""))


def _has_own_order(value: object, make: Callable[..., Any], args: tuple[Any, ...]) -> bool:
    """Tell whether a set or mapping has an order of its own, and not that in which it was given its items.

    Those of pyrsistent and immutables have that of hashes, which differs from run to run.
    """
    if not (isinstance(value, (Set, Mapping)) and len(args) == 1 and type(args[0]) in (list, tuple, dict)):
        return False
    given = [str(number) for number in range(64)]
    try:
        found = [*make(type(args[0])(dict.fromkeys(given)))]
        return found != given and sorted(found) == sorted(given)
    except Exception:  # it takes other items
        return False


def _in_order(value: object, state: Any, is_of_library: bool) -> Any:
    """Return a state that is an object's attributes in the order in which the object has them.

    Classes that tell it themselves may go through a set of their slots: its order differs from run to run.
    A library's may go through one of what it calls its attributes (astropy's do): these are put in order.
    """
    if type(state) is not dict or type(value).__getstate__ is object.__getstate__:
        return state
    own: Any = object.__getstate__(value)
    attributes, slots = own if isinstance(own, tuple) else (own, None)
    found = (attributes or {}) | (slots or {})
    if found.keys() == state.keys() and all(found[name] is state[name] for name in state):
        return found
    is_of_names = is_of_library and all(type(name) is str for name in state)
    return dict(sorted(state.items(), key=itemgetter(0))) if is_of_names else state


def _is_named(value: object) -> bool:
    return issubclass(type(value), (type, FunctionType))


def _is_open(value: object) -> bool:
    """Tell whether it is a function that dispatches: what is registered with a library's is the user's."""
    return type(value) is FunctionType and value.__code__ is _DISPATCHED


def _open_functions(library: ModuleType, names: Collection[str]) -> Iterator[Any]:
    """Find the functions that dispatch, and that code names, in a library's module and those in it."""
    modules = [library]
    for module in modules:  # grows meanwhile
        values = [vars(module)[name] for name in sorted(names) if name in vars(module)]
        yield from filter(_is_open, values)
        modules += [value for value in values if type(value) is ModuleType and value not in modules]


def _by_parts(parts_of: Callable[[Any], Iterable[object]]) -> Callable[[Writer, Any], None]:
    """Return what writes an object as its type and what it is made of."""

    def write(writer: Writer, value: Any) -> None:
        writer.write(type(value))
        writer.write_held(*parts_of(value))

    return write


_LOCKS: Final = (type(threading.Lock()), type(threading.RLock()), threading.local)

_WRITERS: Final[dict[type, Callable[[Writer, Any], None]]] = {
    str: Writer.write_text,
    **dict.fromkeys((type(None), bool, int, float, complex), Writer.write_number),
    **dict.fromkeys((bytes, bytearray), Writer.write_bytes),
    PickleBuffer: Writer.write_pickle_buffer,
    tuple: Writer.write_tuple,
    list: Writer.write_list,
    **dict.fromkeys((dict, MappingProxyType), Writer.write_dict),
    **dict.fromkeys((set, frozenset), Writer.write_set),
    **dict.fromkeys(_LOCKS, _by_parts(lambda _: ())),
    BuiltinFunctionType: Writer.write_builtin,
    MethodWrapperType: Writer.write_builtin,
    **dict.fromkeys(
        (WrapperDescriptorType, MethodDescriptorType, ClassMethodDescriptorType),
        _by_parts(lambda slot: (slot.__name__, slot.__objclass__)),
    ),
    FunctionType: Writer.write_named,  # after those above, which on PyPy are functions
    MethodType: _by_parts(lambda method: (method.__func__, method.__self__)),  # and methods
    **dict.fromkeys((MemberDescriptorType, GetSetDescriptorType), _by_parts(lambda slot: (slot.__name__,))),
    **dict.fromkeys((staticmethod, classmethod), _by_parts(lambda wrapper: (wrapper.__func__,))),
    property: _by_parts(lambda one: (one.fget, one.fset, one.fdel, one.__doc__)),
    functools._lru_cache_wrapper: _by_parts(  # noqa: SLF001 - it has no other name
        lambda cached: (cached.__wrapped__, cached.cache_parameters())
    ),
    functools.partial: Writer.write_partial,
    **dict.fromkeys(TYPE_ALIAS, Writer.write_alias),
    **dict.fromkeys(KNOWN_BY_IDENTITY, Writer.write_type_parameter),
    **dict.fromkeys((WeakKeyDictionary, WeakValueDictionary), Writer.write_weak_dict),
    ReferenceType: _by_parts(lambda reference: (reference(),)),
    struct.Struct: _by_parts(lambda layout: (layout.format,)),
    **dict.fromkeys(
        (contextlib._GeneratorContextManager, contextlib._AsyncGeneratorContextManager),  # noqa: SLF001
        _by_parts(lambda manager: (manager.func, manager.args, manager.kwds)),  # as they decorate functions
    ),
    ContextVar: Writer.write_variable,
    CellType: Writer.write_cell,
    CodeType: Writer.write_code,
    ModuleType: Writer.write_module,
}

_CONTAINERS: Final = {list, tuple, dict, set, frozenset}


def _registered_with(cls: type) -> list[str]:
    """Return the names of the classes that have been registered with an abstract one, as its subclasses."""
    tell = getattr(abc, "_get_dump", None)  # of CPython alone
    if tell is None or not isinstance(cls, abc.ABCMeta):
        return []
    found = [reference() for reference in tell(cls)[0]]
    return sorted(f"{one.__module__} {one.__qualname__}" for one in found if one is not None)
