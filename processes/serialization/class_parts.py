"""What classes that go by value are taken apart into; see :mod:`.rebuild_classes`."""

from __future__ import annotations

import abc
import sys
from enum import Enum
from types import MemberDescriptorType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypedDict, is_typeddict

from ..annotations import OF_CLASSES, annotations_of, as_attribute
from .by_base import reduce_descriptor
from .pickling import PROTOCOL
from .rebuild import Rebuilt
from .rebuild_classes import (
    data_type_of,
    fill_property,
    give_early,
    make_enum,
    make_property,
    make_skeleton,
    make_struct,
)
from .trusted import is_generated

if TYPE_CHECKING:
    from collections.abc import Callable

    Parts = tuple[Callable[..., type], tuple[Any, ...], dict[str, Any]]

# What pydantic makes of a whole schema, in which other classes and functions stand: these come first. The
# last says that the others are there; up to 2.12, a schema that names its own class asks that meanwhile.
_WHOLE_SCHEMAS: Final = (
    "__pydantic_core_schema__",
    "__pydantic_serializer__",
    "__pydantic_validator__",
    "__pydantic_complete__",
)

# What a class is asked for first where its objects are made, or are keys, or a decoder of msgspec's for them.
_ASKED_FOR_OBJECTS: Final = (
    *("__annotations__", "__annotate__"),
    "__new__",
    "__getnewargs__",
    "__init__",
    "__setstate__",
    "__eq__",
    "__hash__",
    "__dataclass_fields__",
)

# What a class is given last: those that are registered with it, and what goes where `__module__` is set.
_GIVEN_LATE: Final = {"_abc_impl", "__firstlineno__"}

# What is made anew with each class; the last of these msgspec puts into any.
_OF_EACH_CLASS: Final = {"__dict__", "__weakref__", "__annotate_func__", "__msgspec_cache__"}

# What a class has from the beginning, or never: later its name, or nothing, would be set by these.
_FROM_THE_BEGINNING: Final = {"__dict__", "__name__"}

# What is made anew with each enumeration.
_OF_EACH_ENUM: Final = {
    *("_generate_next_value_", "_member_names_", "_member_map_", "_member_type_", "_value2member_map_"),
}

# What is made anew with each member of an enumeration.
_OF_EACH_MEMBER: Final = {"_name_", "_value_", "__objclass__", "_sort_order_", "_inverted_"}


def form_of(cls: type) -> tuple[Any, tuple[Any, ...]] | None:
    """Return the generic model of pydantic's that a class is one form of, as `Page[int]` is, and for what."""
    told = vars(cls).get("__pydantic_generic_metadata__")
    return (told["origin"], told["args"]) if told and told["origin"] is not None else None


def parts_of_class(cls: type) -> Parts:
    """Return how a class is made, of what, and which attributes it is given then."""
    attributes = _attributes(cls)
    for name in filter(attributes.__contains__, _WHOLE_SCHEMAS):
        attributes[name] = attributes.pop(name)
    if annotated := as_attribute(cls):
        attributes = {name: value for name, value in attributes.items() if name not in OF_CLASSES}
        attributes |= annotated
    if issubclass(cls, Enum):
        return _parts_of_enum(cls, attributes)
    bases = vars(cls).get("__orig_bases__", cls.__bases__)
    if is_typeddict(cls) and dict in bases:
        # One that inherits from others, before Python 3.12: to its metaclass dict is a stranger.
        bases = tuple(TypedDict if base is dict else base for base in bases)
    namespace = _begun_namespace(cls)
    if hasattr(type(cls), "__struct_config__"):  # of msgspec's
        attributes.pop("__slots__")
        if "__post_init__" in attributes:  # msgspec looks for it once
            namespace["__post_init__"] = attributes.pop("__post_init__")
        # Msgspec's own metaclass has a name to import it by only from 0.20 on.
        metaclass = None if type(cls) is type(sys.modules["msgspec"].Struct) else type(cls)
        return make_struct, (metaclass, cls.__name__, bases, namespace, *_form_of_struct(cls)), attributes
    if "__slots__" in vars(cls) and NamedTuple not in bases:  # which takes none in its body
        namespace["__slots__"] = vars(cls)["__slots__"]
    for name in [*filter(_had_from_the_beginning(cls).__contains__, attributes)]:
        own = attributes[name]
        # What a property calls may name the class, so that it is made first, and gets that later.
        is_filled_later = isinstance(own, property)
        namespace[name] = Rebuilt(make_property, type(own)) if is_filled_later else attributes.pop(name)
    return make_skeleton, (type(cls), cls.__name__, bases, namespace), attributes


def _had_from_the_beginning(cls: type) -> set[str]:
    """Return the names of attributes that a class cannot be given later: a metaclass may have properties."""
    metaclass: Any = type(cls)
    own = [kind for kind in metaclass.__mro__ if not issubclass(type, kind)]
    return _FROM_THE_BEGINNING.union(
        name for kind in own for name, value in vars(kind).items() if hasattr(type(value), "__set__")
    )


def _begun_namespace(cls: type) -> dict[str, Any]:
    """Return what the body of a class begins with."""
    return {"__module__": cls.__module__, "__qualname__": cls.__qualname__}


def _form_of_struct(cls: Any) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Return the fields that a struct defines, as msgspec's `field` takes them, and its configuration."""
    names = cls.__struct_fields__
    encoded = dict(zip(names, cls.__struct_encode_fields__, strict=True))
    of_the_last = zip(reversed(names), reversed(cls.__struct_defaults__), strict=False)
    defaults = dict(of_the_last)
    own = [name for name in annotations_of(cls) if name in encoded]
    fields = {name: {"name": encoded[name]} | _default_of_field(defaults, name) for name in own}
    told = cls.__struct_config__
    configuration = {name: getattr(told, name) for name in dir(told) if not name.startswith("_")}
    configuration["tag"] = False if told.tag is None else told.tag  # None would take that of a base
    configuration["kw_only"] = bool(own) and own[0] not in cls.__match_args__  # all of one class, or none
    return fields, configuration


def _default_of_field(defaults: dict[str, Any], name: str) -> dict[str, Any]:
    if name not in defaults:
        return {}
    default = defaults[name]
    is_made_anew = type(default).__module__ == "msgspec._core" and type(default).__name__ == "Factory"
    return {"default_factory": default.factory} if is_made_anew else {"default": default}


def _attributes(cls: type) -> dict[str, Any]:
    """Return the attributes of a class that are not made anew with it, in its order."""
    found = {
        name: value
        for name, value in vars(cls).items()
        if (name not in _OF_EACH_CLASS or isinstance(value, property)) and not _is_own_slot(cls, name, value)
    }
    if issubclass(type(cls), abc.ABCMeta):
        registered, *_ = abc._get_dump(cls)  # type: ignore[attr-defined]  # noqa: SLF001
        found["_abc_impl"] = [subclass for reference in registered if (subclass := reference()) is not None]
    return found


def _is_own_slot(cls: type, name: str, value: Any) -> bool:
    return type(value) is MemberDescriptorType and value.__objclass__ is cls and value.__name__ == name


def _parts_of_enum(cls: type[Enum], attributes: dict[str, Any]) -> Parts:
    namespace = _begun_namespace(cls)
    members = {name: _parts_of_member(member) for name, member in cls.__members__.items()}
    made_anew = {*members, *_OF_EACH_ENUM}
    others = {name: value for name, value in attributes.items() if name not in made_anew}
    return make_enum, (type(cls), cls.__name__, cls.__bases__, namespace, members), others


def _parts_of_member(member: Enum) -> tuple[Any, tuple[Any, ...]]:
    """Return the value of an enumeration's member, and what its data type makes it of."""
    kind: Any = data_type_of(type(member))
    if kind.__new__ is object.__new__:
        made_of: tuple[Any, ...] = ()
    elif hasattr(kind, "__getnewargs__"):
        made_of = kind.__getnewargs__(member)
    else:  # dates and decimals tell it in their own way
        _, made_of, *_ = kind.__reduce__(member)
    return member._value_, made_of


def attributes_of_members(cls: type) -> dict[str, dict[str, Any]]:
    """Return what the members of an enumeration have beside their values: what made them may set it."""
    found = {}
    for name, member in cls.__members__.items() if issubclass(cls, Enum) else ():
        state: Any = object.__getstate__(member)
        own, in_slots = state if isinstance(state, tuple) else (state, {})
        attributes = own | in_slots
        found[name] = {key: value for key, value in attributes.items() if key not in _OF_EACH_MEMBER}
    return found


def take_early(cls: type, attributes: dict[str, Any]) -> list[Rebuilt]:
    """Take out the attributes that a class is given one by one, as objects of it may need them.

    Such objects are attributes themselves, or globals that methods name. Not a ``__new__`` of the user's: one
    that makes the only object of a class would look for that, which is still to come.
    """
    late = _GIVEN_LATE if is_generated(cls, "__new__") else _GIVEN_LATE | {"__new__"}
    in_order = dict.fromkeys((*_ASKED_FOR_OBJECTS, *attributes))
    names = [name for name in in_order if name in attributes and name not in late]
    begun = _had_from_the_beginning(cls)
    early = [
        _filled(cls, name, value) if name in begun else Rebuilt(give_early, cls, name, value)
        for name, value in zip(names, map(attributes.pop, names), strict=True)
    ]
    return [*early, *_noted_form(cls)]


def _filled(cls: type, name: str, value: property) -> Rebuilt:
    """Return what fills a property that a class has from the beginning."""
    _, (_, _, *parts), state, *_ = reduce_descriptor(value)
    return Rebuilt(fill_property, cls, name, parts, state)


def _noted_form(cls: type) -> list[Rebuilt]:
    """Let pydantic find a form of a generic model where it is asked for it: it would make another one."""
    generics = sys.modules.get("pydantic._internal._generics")
    note = getattr(generics, "set_cached_generic_type", None)
    form = form_of(cls)
    if note is None or form is None:
        return []
    return [Rebuilt(note, *form, cls, *form)]


def reduce_member(member: Enum) -> Any:
    """Reduce a member of an enumeration to its name: by its value a function could not be found again."""
    cls = type(member)
    if cls.__reduce_ex__ is not Enum.__reduce_ex__ or cls.__members__.get(member._name_) is not member:
        return member.__reduce_ex__(PROTOCOL)
    return getattr, (cls, member._name_)
