"""What a task calls and with what, as a digest that is the same in each run of a program.

Pickles are no help here: they depend on which equal values are one object, on the order of sets, on line
numbers, and on the ids that classes and functions get in each process. So what a value is made of is written
into a hash:

- A function is its code without line numbers, its defaults, what it has closed over, and the globals that it
  names: functions and classes among these by their own contents, whichever module of the user's they are of.
- A module of the user's that is imported in a function, or of which code wants more than parts that it names,
  is its source file, with those that it imports.
- Where code asks for subclasses, those of each class that it may mean count too.
- What a compiled module of the user's holds is its name, and that module's file.
- An import that waits for its first use (Python 3.15) is done: what it brings counts as any global does.
- What belongs to Python or to an installed package is its name, and the version of the package, or its files.
- Any other object is what it is reduced to for a pickle.

Where in doubt the digest differs, and a task runs once more than it had to. It cannot see what a function
looks up by a name that it makes, has a library look up, or reads from the world: files, the clock, the
environment.
"""

from __future__ import annotations

import abc
import contextlib
import copyreg
import functools
import re
import struct
import sys
import threading
import typing
from contextvars import ContextVar
from enum import Enum
from hashlib import blake2b
from itertools import pairwise
from operator import attrgetter
from pickle import PickleBuffer
from struct import pack
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
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar
from weakref import ReferenceType, WeakKeyDictionary, WeakValueDictionary

from .annotations import annotations_of, part_of
from .class_parts import attributes_of_members
from .failure import brief_repr
from .interrupt import is_of_signal
from .lazy_imports import LAZY_IMPORT, import_waiting_submodule, imported
from .pickling import LARGE, PROTOCOL, is_simple
from .provenance import IMPORTS_BY_TEXT, Modules, absolute_name, beginning_of, in_package, is_compiled
from .reducers import DESCRIPTORS, base_that_reduces, is_of_wrapt, reduce_descriptor, reduced_by_base

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

_DIGEST_BYTES: Final = 20

_ALL: Final = ("*",)  # what is imported of a package

_READS_GLOBAL: Final = {"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"}
_READS_ATTRIBUTE: Final = {"LOAD_ATTR", "LOAD_METHOD"}  # for a method's call, before Python 3.12
_READS_NAME: Final = _READS_GLOBAL | _READS_ATTRIBUTE
_OF_ATTRIBUTE: Final = _READS_ATTRIBUTE | {"STORE_ATTR", "DELETE_ATTR"}

# What Python derives from the rest of a class, differs from run to run, or tells where the class stands.
_DERIVED: Final = {
    *("__annotations__", "__annotations_cache__", "__annotate__", "__annotate_func__", "__dict__", "__doc__"),
    *("__weakref__", "__firstlineno__", "__static_attributes__", "_abc_impl"),
    *("_member_map_", "_member_names_", "_value2member_map_", "_unhashable_values_", "_hashable_values_"),
    *("_unhashable_values_map_", "__slotnames__"),
    *("__pydantic_core_schema__", "__pydantic_validator__", "__pydantic_serializer__"),
}

_ADDRESS: Final = re.compile(r" at 0x[0-9a-fA-F]+")

# By class, what counts of the objects of libraries that hold something else which differs from run to run. By
# module, where classes are made when they are asked for.
_WHAT_COUNTS: Final[dict[str, Callable[[Any], object]]] = {
    "dataclasses.Field": lambda one: (one.name, one.metadata),  # of the rest the methods are made
    "pydantic._internal._decorators.Decorator": lambda one: (one.cls_var_name, one.info),
    "pydantic.type_adapter.TypeAdapter": lambda one: (one._type, one._config),  # noqa: SLF001
    "pydantic._internal._validate_call.ValidateCallWrapper": lambda one: (
        one.function,
        typing.get_type_hints(one.schema_type, include_extras=True),  # it looks at values by these
        one.validate_return,
        one.config_wrapper.config_dict,
    ),
    "msgspec._core.Factory": lambda one: one.factory,
    "msgspec.structs.StructConfig": lambda one: [
        (name, getattr(one, name)) for name in dir(one) if not name.startswith("_")
    ],
    # It is made of a structure's fields; from Python 3.14 on it is public.
    **dict.fromkeys(("_ctypes.CField", "ctypes.CField"), lambda _: None),
    # Tables and columns hold each other, in sets too, and count how many there were before them.
    "sqlalchemy.sql.schema.MetaData": lambda one: one.sorted_tables,
    "sqlalchemy.sql.schema.Table": lambda one: (
        sorted(_ADDRESS.sub("", repr(part)) for part in (one, *one.constraints, *one.indexes)),
        [getattr(column.default, "arg", None) for column in one.columns],
    ),
    "sqlalchemy.sql.schema.Column": lambda one: (one.table, one.name),
    # These keep what was looked up in them; before pandas 3 they tell other modules.
    **dict.fromkeys(
        (
            "pandas.arrays.DatetimeArray",
            "pandas.arrays.TimedeltaArray",
            "pandas.arrays.PeriodArray",
            "pandas.core.arrays.datetimes.DatetimeArray",
            "pandas.core.arrays.timedeltas.TimedeltaArray",
            "pandas.core.arrays.period.PeriodArray",
        ),
        lambda one: (
            (one._ndarray, one.dtype),  # noqa: SLF001
            {name: value for name, value in vars(one).items() if name != "_cache"},
        ),
    ),
    # For a pickle they name the function that they decorate.
    **dict.fromkeys(
        ("toolz.functoolz.curry", "cytoolz.functoolz.curry"),
        lambda one: (one.func, one.args, one.keywords),
    ),
    "numba.core.registry.CPUDispatcher": lambda one: (one.py_func, one.targetoptions),
    # Tensors name their memory by its address when they are pickled.
    "torch.storage.TypedStorage": lambda one: (one.dtype, one._untyped_storage),  # noqa: SLF001
    "torch.storage.UntypedStorage": lambda one: sys.modules["torch"].ByteTensor(one.cpu()).numpy(),
    "random.SystemRandom": lambda _: None,  # it has no state
    # Clients of a service: which one it is. What else they hold are ids, or the service's whole model.
    "botocore.client": lambda one: (
        (one.meta.region_name, one.meta.endpoint_url) if hasattr(one, "meta") else vars(one)  # a paginator
    ),
    "boto3.session.Session": lambda one: (one.region_name, one.profile_name),
    **dict.fromkeys(
        ("pymongo.synchronous.mongo_client.MongoClient", "redis.client.Redis", "redis.asyncio.client.Redis"),
        lambda one: _ADDRESS.sub("", repr(one)),
    ),
    # Where they write, and how a connection is encrypted, is not what a task returns.
    **dict.fromkeys(("loguru._logger.Logger", "rich.console.Console", "ssl.SSLContext"), lambda _: None),
}

# By module, what all of the program share, of which the contents are of the world, as the clock is.
_SHARED: Final = {
    "random": ("_inst",),  # what its functions draw from
    "numpy.random.mtrand": ("_rand",),
    "os": ("environ", "environb"),
    "sys": ("stdin", "stdout", "stderr", "__stdin__", "__stdout__", "__stderr__"),
}

# What `singledispatch` makes holds also what was found for the classes of arguments so far.
_DISPATCHED: Final = typing.cast("FunctionType", functools.singledispatch(print)).__code__

_KEPT_BY_MSGSPEC: Final = attrgetter("__struct_defaults__", "__struct_encode_fields__", "__struct_config__")

_TYPE_ALIAS: Final = [kind] if (kind := getattr(typing, "TypeAliasType", None)) else []  # from 3.12 on


_T = TypeVar("_T")


class _Part(NamedTuple):
    """What several may hold: the digest of its own contents, which name others by number, and these.

    Attributes
    ----------
    digest : bytes
        Of its own contents.
    needs : tuple of object
        The others.
    noted : frozenset of int
        The ids of those that only annotations name: if the contents of one cannot be told, its name will do.
    asks_for_subclasses : bool
        Whether it is code that asks for subclasses.
    """

    digest: bytes
    needs: tuple[Any, ...]
    noted: frozenset[int]
    asks_for_subclasses: bool


class _Code(NamedTuple):
    """What is to know of code, with the code in it.

    Attributes
    ----------
    digest : bytes
        What it does.
    globals : tuple of str
        The globals that it reads.
    names : frozenset of str
        All that it names: these, and attributes.
    whole : frozenset of str
        Those of which it wants more than attributes that it names: if they are modules, anything in them.
    imports : tuple of tuple
        What it imports: from how many levels up, the module, and what of it.
    """

    digest: bytes
    globals: tuple[str, ...]
    names: frozenset[str]
    whole: frozenset[str]
    imports: tuple[tuple[int, str, tuple[str, ...]], ...]


class NoFingerprintError(Exception):
    """A call has no fingerprint; the text says of what the contents cannot be told, and why."""


def digest_of(data: bytes | memoryview) -> bytes:
    """Return the digest of some bytes."""
    return blake2b(data, digest_size=_DIGEST_BYTES).digest()


class Fingerprints:
    """Makes the fingerprints of a run's tasks; what several of them name is looked at once."""

    def __init__(self) -> None:
        self._functions: dict[int, tuple[object, bytes | str]] = {}
        self._parts: dict[int, tuple[object, _Part]] = {}
        self._untold: dict[int, Exception] = {}  # why parts could not be made, by the ids of what they are of
        self._codes: dict[int, tuple[CodeType, _Code]] = {}
        self._items: dict[int, tuple[object, bytes]] = {}  # of sets, if sets are in them
        self.sets_written = 0  # tells whether there are any
        self._large: dict[tuple[int, int], tuple[object, bytes]] = {}  # by address and size
        self.modules = Modules()
        self.shared = {id(value): (module, value) for module, value in _shared_by_all()}

    def of_call(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
        """Return the fingerprint of a call.

        Raises
        ------
        NoFingerprintError
            If it has none: the code of a value may raise anything.
        """
        called = _known(self._functions, function, lambda one: self._try_digest(one, "function"))
        given: bytes | str = b""
        if is_simple(args) and is_simple(kwargs):
            with contextlib.suppress(ValueError):  # of so many digits Python writes no number
                given = repr((args, kwargs)).encode()
        given = given or self._try_digest(functools.partial(_CALL, *args, **kwargs), "arguments")
        if isinstance(called, str) or isinstance(given, str):
            raise NoFingerprintError(called if isinstance(called, str) else given)
        return digest_of(_PYTHON + called + given)

    def _try_digest(self, value: object, what: str) -> bytes | str:
        """Return the digest of a value; as text, why it has none."""
        try:
            return self.digest(value)
        except BaseException as error:
            if is_of_signal(error):
                raise
            return f"its {what}: {brief_repr(error)}"

    def digest(self, value: object) -> bytes:
        """Return the digest of a value, with all functions and classes that it needs."""
        writer = _Writer(self)
        writer.write(value)
        root = writer.part()
        numbers: dict[int, int] = {}
        queue: list[Any] = []
        whole = blake2b(root.digest, digest_size=_DIGEST_BYTES)

        def note(needs: Iterable[Any]) -> None:
            for need in needs:
                if id(need) not in numbers:
                    numbers[id(need)] = len(queue)
                    queue.append(need)
                whole.update(pack("<I", numbers[id(need)]))

        note(root.needs)
        parts: list[_Part] = []
        firm = [*root.needs]  # which more than annotations name
        is_untold = False
        while len(parts) < len(queue):
            for need in queue[len(parts) :]:
                part = _known(self._parts, need, self._try_part_of)
                is_untold = is_untold or id(need) in self._untold
                parts.append(part)
                whole.update(part.digest)
                note(part.needs)
            if any(part.asks_for_subclasses for part in parts):  # of which class it may not say
                for need in [*queue]:
                    note(below := self._subclasses_of(need))
                    firm += below
        if is_untold:
            self._check_told(firm)
        return whole.digest()

    def _check_told(self, firm: list[Any]) -> None:
        """Raise why the contents of something cannot be told that more than annotations name."""
        seen: set[int] = set()
        for need in firm:  # grows meanwhile
            if id(need) in self._untold:
                raise self._untold[id(need)]
            if id(need) not in seen:
                seen.add(id(need))
                part = self._parts[id(need)][1]
                firm += [other for other in part.needs if id(other) not in part.noted]

    def _subclasses_of(self, need: Any) -> list[type]:
        """Return the user's own classes that inherit from a class."""
        found = type.__subclasses__(need) if issubclass(type(need), type) else []
        return [cls for cls in found if self.modules.version(cls.__module__) is None]

    def of_item(self, item: object) -> bytes:
        """Return the digest of what is in a set; that of what has sets in it, and may be shared, is kept."""
        found = self._items.get(id(item))
        if found is None:
            sets = self.sets_written
            found = item, self.digest(item)
            if self.sets_written == sets:
                return found[1]
            self._items[id(item)] = found
        self.sets_written += 1
        return found[1]

    def _try_part_of(self, need: Any) -> _Part:
        try:
            return self._part_of(need)
        except Exception as error:
            if is_of_signal(error):
                raise
            self._untold[id(need)] = error
            named = need if isinstance(need, (type, FunctionType)) else type(need)
            writer = _Writer(self)
            writer.write_text(f"{named.__module__} {named.__qualname__}")
            return writer.part()

    def _part_of(self, need: Any) -> _Part:
        writer = _Writer(self)
        if type(need) is FunctionType:
            writer.write_function(need)
            return writer.part()
        if type(need) is ModuleType:
            writer.write_globals(need)
            return writer.part()
        if not issubclass(type(need), type):
            writer.write(need)
            return writer.part()
        try:
            writer.write_class(need)
        except Exception as error:
            if is_of_signal(error) or not self._tells_by_source(need):
                raise
            # Mappers of databases hang on a class what they know of all others, and connections.
            writer = _Writer(self)
            writer.write_source(need)
        return writer.part()

    def _tells_by_source(self, cls: type) -> bool:
        """Tell whether a library has made a class of what is written in a module of the user's."""
        of_library = type(cls).__module__
        return (
            of_library.partition(".")[0] not in sys.stdlib_module_names
            and self.modules.version(of_library) is not None
            and self.modules.has_source(cls.__module__)
        )

    def large(self, memory: memoryview, owner: object) -> bytes:
        """Return the digest of a large buffer, which many tasks may be given; its owner keeps it there."""
        from .runners.pool.parcel import address_of

        key = (address_of(memory), memory.nbytes)
        if key not in self._large:
            self._large[key] = (owner, digest_of(memory))
        return self._large[key][1]

    def code(self, code: CodeType) -> _Code:
        """Return what is to know of code."""
        return _known(self._codes, code, self._look_at)

    def _look_at(self, code: CodeType) -> _Code:
        writer = _Writer(self)
        inner = [self.code(constant) for constant in code.co_consts if type(constant) is CodeType]
        writer.write(
            (
                *(_steps_and_constants(code), [one.digest for one in inner], code.co_names, code.co_varnames),
                *(code.co_freevars, code.co_cellvars, code.co_flags, code.co_argcount, code.co_name),
                *(code.co_posonlyargcount, code.co_kwonlyargcount, code.co_exceptiontable),
            )
        )
        found_globals, whole, imports = _globals_and_imports(code)
        for one in inner:
            found_globals += one.globals
            whole |= one.whole
            imports += one.imports
        names = frozenset(code.co_names).union(*(one.names for one in inner))
        return _Code(
            writer.digest(), tuple(dict.fromkeys(found_globals)), names, frozenset(whole), tuple(imports)
        )


def _known(known: dict[int, tuple[Any, _T]], value: Any, make: Callable[[Any], _T]) -> _T:
    """Return what is made of an object, once; the object is kept, so that no other one gets its id."""
    found = known.get(id(value))
    if found is None:
        found = known[id(value)] = value, make(value)
    return found[1]


class _Writer:
    """Writes the contents of one thing into a hash.

    Attributes
    ----------
    needs : list of object
        The functions, classes and values that it names by their places in this list.
    """

    def __init__(self, fingerprints: Fingerprints) -> None:
        self._fingerprints = fingerprints
        self._hash = blake2b(digest_size=_DIGEST_BYTES)
        # By id, with their numbers: what may be met again. It is kept, as it may have been made on the way.
        self._seen: dict[int, tuple[int, object]] = {}
        self._places: dict[int, int] = {}  # in `needs`, by id
        self.needs: list[Any] = []
        self._noted: set[int] = set()
        self._asks_for_subclasses = False

    def part(self) -> _Part:
        return _Part(self.digest(), tuple(self.needs), frozenset(self._noted), self._asks_for_subclasses)

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
            if tell := _WHAT_COUNTS.get(f"{module}.{kind.__qualname__}") or _WHAT_COUNTS.get(module):
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
        self.write_buffer(type(value).__name__.encode(), memoryview(value), value)

    def write_pickle_buffer(self, value: PickleBuffer) -> None:
        self.write_buffer(b"buffer", value.raw(), value)

    def write_buffer(self, tag: bytes, memory: memoryview, owner: object) -> None:
        if memory.nbytes >= LARGE:
            self._put(b"large " + tag, self._fingerprints.large(memory, owner))
        else:
            self._put(tag, memory.tobytes())

    def write_tuple(self, value: tuple[Any, ...]) -> None:
        self._put(b"tuple", str(len(value)))
        for item in value:
            self.write(item)

    def write_list(self, value: list[Any]) -> None:
        if not self._is_again(value):
            self._put(b"list", str(len(value)))
            for item in value:
                self.write(item)

    def write_dict(self, value: Mapping[Any, Any]) -> None:
        if not self._is_again(value):
            self._put(b"dict", str(len(value)))
            for key, item in list(value.items()):
                self.write(key)
                self.write(item)

    def write_set(self, value: set[Any] | frozenset[Any]) -> None:
        self._fingerprints.sets_written += 1
        digests = sorted(map(self._fingerprints.of_item, value))  # their own order differs from run to run
        self._put(type(value).__name__.encode(), b"".join(digests))

    def write_type_alone(self, value: object) -> None:
        self._put(b"a", type(value).__qualname__)

    def write_object(self, value: Any) -> None:
        reduce = copyreg.dispatch_table.get(type(value))
        if issubclass(type(value), DESCRIPTORS):
            reduce = reduce_descriptor
        reduced: Any = value.__reduce_ex__(PROTOCOL) if reduce is None else reduce(value)
        if isinstance(reduced, str):
            module = getattr(value, "__module__", None)
            if module is None and not reduced.isidentifier():  # as numpy.frompyfunc calls what it makes
                raise TypeError(f"cannot tell what {reduced!r} is made of")
            self._put_name(b"global", module, reduced)
            if (
                module is None
                or self._fingerprints.modules.version(module) is not None
                or is_compiled(module)
            ):
                return
            reduced = type(value), (), object.__getstate__(value)  # the user's own is what it is made of
        make, args, *rest = reduced_by_base(value, reduced, base_that_reduces(type(value)))
        self._put(b"object")
        self.write(make)
        self.write(args)
        # An exception has an empty state as soon as somebody has looked at it.
        state, items, pairs, set_state = rest + [None] * (4 - len(rest))
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
        # What the user has registered with a library's function that dispatches is the user's.
        is_open = getattr(named, "__code__", None) is _DISPATCHED
        if version is not None and "<locals>" not in named.__qualname__ and not is_open:
            self._put(b"library", f"{named.__module__} {named.__qualname__} {version}")
        else:
            self._put_place(named)

    def _put_place(self, need: Any) -> None:
        place = self._places.setdefault(id(need), len(self.needs))
        if place == len(self.needs):
            self.needs.append(need)
        self._noted.discard(id(need))
        self._put(b"need", str(place))

    def write_held(self, *values: Any) -> None:
        """Write what a function is given or has: a table that thousands have, say, is looked at once."""
        for value in values:
            kind = type(value)
            if kind in _CONTAINERS or not (kind in _WRITERS or issubclass(kind, (type, Enum))):
                self._put_place(value)
            else:
                self.write(value)

    def write_noted(self, values: Iterable[Any]) -> None:
        """Write what only annotations name, as far as its contents can be told."""
        known = len(self.needs)
        self.write_held(*values)
        self._noted.update(map(id, self.needs[known:]))

    def write_method(self, method: MethodType) -> None:
        self.write((MethodType, method.__func__))
        self.write_held(method.__self__)

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

    def write_slot(self, descriptor: Any) -> None:
        self._put(b"slot", descriptor.__name__)
        self.write(descriptor.__objclass__)

    def write_own_slot(self, descriptor: Any) -> None:
        self._put(b"own slot", descriptor.__name__)

    def write_alias(self, alias: Any) -> None:
        if not self._is_again(alias):
            self._put(b"alias", alias.__name__)
            try:
                value = alias.__value__
            except NameError:  # it names what only type checkers import
                return
            self.write(value)

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

    def write_module(self, module: ModuleType, code: _Code | None = None) -> None:
        """Write a module; of one of the user's own what code names there, or else its source."""
        version = self._fingerprints.modules.version(module.__name__)
        if version is not None:
            self._put(b"library", f"{module.__name__} {version}")
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
            self._put_place(module)

    def write_globals(self, module: ModuleType) -> None:
        """Write all that is in a module, but for what Python has put there."""
        for name, value in list(vars(module).items()):
            if not (name.startswith("__") and name.endswith("__")):
                self._put(b"name", name)
                self.write_held(value)

    def write_global(self, name: str, value: object, code: _Code) -> None:
        self._put(b"name", name)
        if type(value) is LAZY_IMPORT:
            value = imported(value)
        if type(value) is ModuleType:
            self.write_module(value, None if name in code.whole else code)
        else:
            self.write_held(value)

    def write_function(self, function: FunctionType) -> None:
        """Write the contents of a function."""
        if function.__code__.co_filename.startswith("<@beartype("):  # this code has addresses in its names
            conf = (function.__kwdefaults__ or {}).get("__beartype_conf")
            self.write((vars(function)["__wrapped__"], _ADDRESS.sub("", repr(conf))))
            return
        if function.__code__ is _DISPATCHED:
            self.write((function.__module__, function.__qualname__, vars(function)["registry"]))
            return
        code = self._fingerprints.code(function.__code__)
        self._asks_for_subclasses = "__subclasses__" in code.names
        self.write((function.__module__, function.__qualname__, code.digest))
        attributes = vars(function)
        if "retry_with" in attributes:  # tenacity notes there how often it has retried
            attributes = {name: value for name, value in attributes.items() if name != "statistics"}
        defaults, named_defaults = function.__defaults__ or (), function.__kwdefaults__ or {}
        self.write((len(defaults), [*named_defaults], attributes, function.__doc__))  # it may have got that
        self.write_held(*defaults, *named_defaults.values())
        self.write(_annotation_texts(function))
        classes, added = _named_in_annotations(function)  # of which decorators may make what they pass on
        self.write_noted([*classes, *added])
        for cell in function.__closure__ or ():
            self.write_cell(cell)
        there = function.__globals__
        for name in code.globals:
            if name in there:
                self.write_global(name, there[name], code)
        for level, module, items in code.imports:
            self.write_import(level, module, items, there)

    def write_import(self, level: int, name: str, items: tuple[str, ...], there: dict[str, Any]) -> None:
        name = absolute_name(name, level, there.get("__package__") or there.get("__name__", ""))
        found = in_package(name) if items == _ALL else (name, *(f"{name}.{item}" for item in items))
        for module in found:
            self._put(b"import", self._fingerprints.modules.source(module))

    def write_class(self, cls: type) -> None:
        """Write the contents of a class."""
        self._put_name(b"class", cls.__module__, cls.__qualname__)
        self.write((type(cls), cls.__bases__))
        self.write(_annotation_texts(cls))
        classes, added = _named_in_annotations(cls)
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
        self._put(b"file", self._fingerprints.modules.source(cls.__module__))
        self.write((type(cls), cls.__bases__))


def _by_parts(parts_of: Callable[[Any], object]) -> Callable[[_Writer, Any], None]:
    """Return what writes an object as its type and what it is made of."""
    return lambda writer, value: writer.write((type(value), parts_of(value)))


_LOCKS: Final = (type(threading.Lock()), type(threading.RLock()), threading.local)

_WRITERS: Final[dict[type, Callable[[_Writer, Any], None]]] = {
    str: _Writer.write_text,
    **dict.fromkeys((type(None), bool, int, float, complex), _Writer.write_number),
    **dict.fromkeys((bytes, bytearray), _Writer.write_bytes),
    PickleBuffer: _Writer.write_pickle_buffer,
    tuple: _Writer.write_tuple,
    list: _Writer.write_list,
    **dict.fromkeys((dict, MappingProxyType), _Writer.write_dict),
    **dict.fromkeys((set, frozenset), _Writer.write_set),
    **dict.fromkeys(_LOCKS, _Writer.write_type_alone),
    BuiltinFunctionType: _Writer.write_builtin,
    MethodWrapperType: _Writer.write_builtin,
    **dict.fromkeys(
        (WrapperDescriptorType, MethodDescriptorType, ClassMethodDescriptorType), _Writer.write_slot
    ),
    FunctionType: _Writer.write_named,  # after those above, which on PyPy are functions
    MethodType: _Writer.write_method,  # and methods
    **dict.fromkeys((MemberDescriptorType, GetSetDescriptorType), _Writer.write_own_slot),
    **dict.fromkeys((staticmethod, classmethod), _by_parts(lambda wrapper: wrapper.__func__)),
    property: _by_parts(lambda one: (one.fget, one.fset, one.fdel, one.__doc__)),
    functools._lru_cache_wrapper: _by_parts(  # noqa: SLF001 - it has no other name
        lambda cached: (cached.__wrapped__, cached.cache_parameters())
    ),
    functools.partial: _Writer.write_partial,
    **dict.fromkeys(_TYPE_ALIAS, _Writer.write_alias),
    **dict.fromkeys((WeakKeyDictionary, WeakValueDictionary), _Writer.write_weak_dict),
    ReferenceType: _by_parts(lambda reference: reference()),
    struct.Struct: _by_parts(lambda layout: layout.format),
    **dict.fromkeys(
        (contextlib._GeneratorContextManager, contextlib._AsyncGeneratorContextManager),  # noqa: SLF001
        _by_parts(lambda manager: (manager.func, manager.args, manager.kwds)),  # as they decorate functions
    ),
    ContextVar: _Writer.write_variable,
    CellType: _Writer.write_cell,
    CodeType: _Writer.write_code,
    ModuleType: _Writer.write_module,
}

_CONTAINERS: Final = {list, tuple, dict, set, frozenset}

_CALL: Final = print  # in the place of a function: all that counts is what it is given

_PYTHON: Final = f"{sys.implementation.cache_tag} {sys.flags.optimize}".encode()


def _shared_by_all() -> Iterator[tuple[str, object]]:
    """Give what all of the program share, with the module that it belongs to."""
    for module, names in _SHARED.items():
        there = vars(sys.modules[module]) if module in sys.modules else {}
        yield from ((module, there[name]) for name in names if there.get(name) is not None)


def _annotation_texts(named: Any) -> list[tuple[str, str]]:
    """Return annotations as text, and the aliases that they name: what reads them may do its work by them."""
    there = _globals_of(named)
    texts = [(name, _as_text(value)) for name, value in annotations_of(named).items()]
    aliases = set()
    for _, text in texts:  # which grows meanwhile
        for word in re.findall(r"\w+", text):
            if word not in aliases and _is_alias(alias := there.get(word)):
                aliases.add(word)
                is_named = type(alias) in _TYPE_ALIAS
                texts.append((word, _as_text(part_of(alias, "value") if is_named else alias)))
    return texts


def _globals_of(named: Any) -> Mapping[str, Any]:
    if isinstance(named, FunctionType):
        return named.__globals__
    return vars(sys.modules.get(named.__module__, typing))


def _as_text(value: object) -> str:
    return value if type(value) is str else _ADDRESS.sub("", repr(value))


def _is_alias(value: object) -> bool:
    """Tell whether a value is what annotations use under a name, and no class."""
    kind = type(value)
    return kind in _TYPE_ALIAS or (kind.__module__ in {"typing", "types"} and hasattr(value, "__args__"))


def _named_in_annotations(named: Any) -> tuple[list[object], list[object]]:
    """Return the classes that annotations name, and what `Annotated` adds to them."""
    there = _globals_of(named)
    found: list[object] = []
    added: list[object] = []
    pending: list[Any] = list(annotations_of(named).values())
    seen: dict[int, Any] = {}  # by id, and kept, as what some stand for is made when it is asked for
    while pending:
        one = pending.pop()
        text = getattr(one, "__forward_arg__", one)
        if type(text) is str:
            pending += [there[word] for word in re.findall(r"\w+", text) if isinstance(there.get(word), type)]
        elif isinstance(one, (type, FunctionType)):
            found.append(one)
        elif id(one) not in seen:
            seen[id(one)] = one
            pending += getattr(one, "__args__", ())
            added += getattr(one, "__metadata__", ())
            if type(one) in _TYPE_ALIAS:
                pending.append(part_of(one, "value"))
    return found, added


def _registered_with(cls: type) -> list[str]:
    """Return the names of the classes that have been registered with an abstract one, as its subclasses."""
    tell = getattr(abc, "_get_dump", None)  # of CPython alone
    if tell is None or not isinstance(cls, abc.ABCMeta):
        return []
    found = [reference() for reference in tell(cls)[0]]
    return sorted(f"{one.__module__} {one.__qualname__}" for one in found if one is not None)


def _steps_and_constants(code: CodeType) -> object:
    """Return what code does, but for the line number that a class's body in a function has in it."""
    if code.co_name == "__hash__" and code.co_filename.startswith("<attrs generated "):
        return code.co_names  # its one constant is a hash of text, which differs from run to run, as its sign
    if "__firstlineno__" not in code.co_names:  # as from Python 3.13 on
        return code.co_code, [constant for constant in code.co_consts if type(constant) is not CodeType]
    import dis

    steps = [(step.opname, step.argval) for step in dis.get_instructions(code)]
    return [
        (name, None if type(value) is CodeType else value)
        for (name, value), (_, stored_as) in zip(steps, steps[1:] + steps[:1], strict=True)
        if stored_as != "__firstlineno__"
    ]


def _globals_and_imports(
    code: CodeType,
) -> tuple[list[str], set[str], list[tuple[int, str, tuple[str, ...]]]]:
    """Return the globals that code reads, what it wants as a whole, and its imports, as `_Code` has them."""
    found: list[str] = []
    whole: set[str] = set()
    imports: list[tuple[int, str, tuple[str, ...]]] = []
    if not code.co_names:
        return found, whole, imports
    import dis

    constants: list[Any] = []
    steps = [step for step in dis.get_instructions(code) if step.opname != "EXTENDED_ARG"]
    for step, following in pairwise(steps):
        is_whole = following.opname not in _OF_ATTRIBUTE or following.argval == "__dict__"
        if is_whole and step.opname in _READS_NAME:
            whole.add(step.argval)
        if step.opname in _READS_GLOBAL:
            found.append(step.argval)
        elif step.opname == "IMPORT_NAME":
            level, items = constants[-2:]
            imports.append((level, step.argval, items or ()))
        elif step.opname.startswith("LOAD_"):  # the level and the names are the two before
            constants.append(step.argval)
    if not IMPORTS_BY_TEXT.isdisjoint(code.co_names):
        imports += [(*beginning_of(text), _ALL) for text in code.co_consts if type(text) is str]
    return found, whole, imports
