"""Makes classes again that :mod:`.by_value` has taken apart."""

from __future__ import annotations

import threading
from types import BuiltinFunctionType, resolve_bases

from .pickling import defined_of_run, definitions, serves_run
from .rebuild import by_id, find_in, find_module, from_parent, give_state, ids, reader, received, share

TYPE_CHECKING: bool = False  # typing is not imported: it would be the costliest part of a worker's start
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

_HOOK = "__init_subclass__"
# Guards the hooks: another run's thread would take what stands for one for the hook.
_hooks_are_out = threading.RLock()


def make_class(
    class_id: str, sent_by_parent: bool, make: Callable[..., type], arguments: tuple[Any, ...]
) -> type:
    """Make a class that was sent by value, or find it where it was sent before, or came from."""
    cls = by_id.get(class_id)
    if not isinstance(cls, type) and sent_by_parent and not (serves_run() or reader.guest):
        # It is in a report, say, that an earlier run of this program has pickled.
        _, _, _, namespace, *_ = arguments
        cls = find_in(namespace["__module__"], namespace["__qualname__"])
    if not isinstance(cls, type):
        cls = make(*arguments)
        received.add(cls)
        ids[cls] = class_id
    by_id[class_id] = cls
    if sent_by_parent and cls in received and serves_run():
        from_parent.add(cls)
    return cls


def make_skeleton(
    metaclass: type, name: str, bases: tuple[Any, ...], namespace: dict[str, Any], **keywords: Any
) -> type:
    """Make a class without attributes.

    What its metaclass and its bases do when a class is made, they have done where it comes from, and the
    attributes tell the result. So the code of those that came by value is left out.
    """
    real_bases = resolve_bases(bases)
    if real_bases is not bases:
        namespace["__orig_bases__"] = bases
    maker = _brought_by_nobody(metaclass)

    def make() -> type:
        made: type = maker.__new__(metaclass, name, real_bases, namespace, **keywords)
        maker.__init__(made, name, real_bases, namespace, **keywords)
        if "__pydantic_complete__" in vars(made):  # its schema of no fields would be taken for its own
            type.__setattr__(made, "__pydantic_complete__", False)
        return made

    hooked = [
        kind
        for kind in {kind: None for base in real_bases for kind in base.__mro__}
        if isinstance(vars(kind).get(_HOOK), classmethod)
    ]
    try:
        return _without_hooks([kind for kind in hooked if kind in ids], make)
    except TypeError:  # one that can be imported has them too, and wants keywords, which are not known
        return _without_hooks(hooked, make)


def _brought_by_nobody(metaclass: type) -> Any:
    """Return the first base of a metaclass, or itself, that did not come by value."""
    return next(kind for kind in metaclass.__mro__ if kind not in ids)


def _give(cls: type, name: str, value: Any) -> None:
    """Give a class an attribute; a metaclass that came by value may refuse it."""
    _brought_by_nobody(type(cls)).__setattr__(cls, name, value)


def make_struct(
    metaclass: type | None,
    name: str,
    bases: tuple[Any, ...],
    namespace: dict[str, Any],
    fields: dict[str, dict[str, Any]],
    configuration: dict[str, Any],
) -> type:
    """Make a struct of msgspec's, without attributes; what its fields are annotated with is one of these."""
    msgspec = find_module("msgspec")
    namespace["__annotations__"] = dict.fromkeys(fields)
    namespace |= {name: msgspec.field(**told) for name, told in fields.items()}
    made = make_skeleton(metaclass or type(msgspec.Struct), name, bases, namespace, **configuration)
    del made.__annotations__  # nobody is to take these for the types
    return made


def make_enum(
    metaclass: Any,
    name: str,
    bases: tuple[type, ...],
    namespace: dict[str, Any],
    members: dict[str, tuple[Any, tuple[Any, ...]]],
) -> type:
    """Make an enumeration and its members, all without attributes.

    Each member comes as its value, and what its data type makes it of. Code that came by value does not make
    it a second time: it might want what the member was defined with, which is not known any more.
    """
    body = metaclass.__prepare__(name, bases)
    for key, value in {**namespace, "__new__": _make_member, "__init__": _do_nothing, **members}.items():
        body[key] = value
    made = make_skeleton(metaclass, name, bases, body)
    type.__delattr__(made, "__new_member__")
    type.__delattr__(made, "__init__")
    return made


def _make_member(cls: Any, *parts: Any) -> Any:
    # Where members are tuples, enum gives both as a single argument.
    value, made_of = parts[0] if cls._member_type_ is tuple else parts
    member = data_type_of(cls).__new__(cls, *made_of)
    member._value_ = value
    return member


def data_type_of(enum: Any) -> Any:
    """Find the builtin type of which an enumeration's members are."""
    return next(kind for kind in enum._member_type_.__mro__ if isinstance(kind.__new__, BuiltinFunctionType))


def _without_hooks(kinds: list[type], make: Callable[[], type]) -> type:
    with _hooks_are_out:
        hooks = {kind: vars(kind)[_HOOK] for kind in kinds}
        try:
            for kind in kinds:
                type.__setattr__(kind, _HOOK, classmethod(_do_nothing))
            return make()
        finally:
            for kind, hook in hooks.items():
                type.__setattr__(kind, _HOOK, hook)


def _do_nothing(*_: object, **__: object) -> None:
    """Stand for an `__init__` or an `__init_subclass__`."""


def give_early(cls: type, name: str, value: Any) -> None:
    """Give a class an attribute before its others are read; our own keeps what it has."""
    if cls in received:
        _give(cls, name, value)


def make_property(kind: type[property]) -> property:
    """Make a property that calls nothing yet."""
    return property.__new__(kind)


def fill_property(cls: type, name: str, parts: Iterable[Any], state: Any) -> None:
    """Give a property, which a class has from the beginning, what it calls; our own keeps what it has."""
    if cls in received:
        own = vars(cls)[name]
        property.__init__(own, *parts)
        if state is not None:
            give_state(own, state)


def fill_class(
    cls: type,
    state: tuple[
        list[None],
        dict[str, Any],
        dict[str, dict[str, Any]],
        str,
        dict[str, Any],
        Mapping[str, Any],
        None,
    ],
) -> None:
    """Give a class its last attributes, and the members of an enumeration theirs; our own keeps its own."""
    _, attributes, members, module, there, brought, _ = state
    share(module, there, brought)
    if cls in received:
        subclasses = attributes.pop("_abc_impl", ())  # those that are registered with an abstract one
        for name, value in attributes.items():
            _give(cls, name, value)
        for subclass in subclasses:
            cls.register(subclass)  # type: ignore[attr-defined]
        for name, own in members.items():
            for attribute, value in own.items():
                object.__setattr__(vars(cls)["_member_map_"][name], attribute, value)
        if cls in from_parent:
            defined_of_run[ids[cls]] = cls
            definitions.pop(ids[cls], None)
