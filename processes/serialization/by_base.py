"""Takes objects of users' classes apart in such a way that they are made as they are.

Pickle makes an object by code of its class, which may want other arguments than it gets, or change once more
what it is given. Where the class inherits from one of Python's own, that one makes and fills it here.
"""

from __future__ import annotations

import copyreg
import sys
from types import BuiltinFunctionType, FunctionType
from typing import TYPE_CHECKING, Any, Final

from .rebuild import (
    fill_array,
    fill_by_base,
    fill_struct,
    give_state,
    make_by_base,
    make_object,
    maker_of,
    method_of_base,
)

if TYPE_CHECKING:
    from collections.abc import Callable

# What objects are made with whose class says nothing of it.
NEW_OBJECT: Final = copyreg.__newobj__  # type: ignore[attr-defined]

DESCRIPTORS: Final = (property, classmethod, staticmethod)

_KNOWN: Final = {*sys.stdlib_module_names, "numpy"}


def as_it_is(obj: Any, reduced: tuple[Any, ...]) -> tuple[Any, ...]:
    """Reduce an object in such a way that it is made as it is; most are already reduced so.

    Of others pickle would call code that wants other arguments, or changes them once more.
    """
    kind: Any = type(obj)
    if hasattr(kind, "__struct_fields__") and hasattr(kind, "__post_init__"):
        make, args, *_ = reduced
        return make, args, object.__getstate__(obj), None, None, fill_struct
    base = base_that_reduces(kind)
    is_new = reduced[0] is NEW_OBJECT
    if not is_new:
        reduced = reduced_by_base(obj, reduced, base)
    elif type(kind.__new__) is FunctionType and maker_of(kind, reduced[1][1:]).__new__ is not kind.__new__:
        reduced = make_object, *reduced[1:]
    if base is not None and (filled := filled_by_base(obj, reduced)) is not reduced:
        return filled
    if is_new and (hasattr(kind, "__getattr__") or _guards_slots(kind)) and not hasattr(kind, "__setstate__"):
        # It looks elsewhere for what it lacks, as in an object that it wraps; and for that one too, without
        # end, as long as it has none. So it gets its state without being asked for `__setstate__`.
        return *(*reduced, None, None, None)[:5], give_state
    return reduced


def by_state(obj: Any, reduced: tuple[Any, ...]) -> tuple[Any, ...]:
    """Reduce an object to its class and its attributes, whatever its class says, if these are all of it."""
    maker = next(base for base in type(obj).__mro__ if type(vars(base).get("__new__")) is BuiltinFunctionType)
    if maker is not object:
        return reduced
    return make_by_base, (object, type(obj)), _state_beside(object, obj), None, None, give_state


def reduced_by_base(obj: Any, reduced: tuple[Any, ...], base: Any) -> tuple[Any, ...]:
    """Reduce an object by the base that has reduced it, if that is Python's own or numpy's.

    Such a base may call the class, which may want other arguments, or take them for something else; and
    decimals, dates and arrays, say, forget attributes, and numpy's numbers even their class. `base` is what
    :func:`base_that_reduces` has found.
    """
    kind: Any = type(obj)
    make, args, state, items, pairs = (*reduced, None, None, None)[:5]
    if base is not None and base.__name__ == "ndarray":
        return make, args, (state, _state_beside(base, obj)), None, None, fill_array
    if base is not None and base.__module__ == "numpy":  # a number's, or another scalar's
        return make_by_base, (base, kind, make(*args)), _state_beside(base, obj), None, None, give_state
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
        if base is BaseException or (base.__module__, base.__name__) == ("numpy", "generic"):
            # It reduces objects of all kinds, each of which makes its own.
            base = next(one for one in kind.__mro__ if one.__module__ == base.__module__)
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


def _guards_slots(kind: type) -> bool:
    """Tell whether a class has code of its own for setting attributes, by which pickle would fill slots."""
    return _is_overridden(kind, "__setattr__") and bool(copyreg._slotnames(kind))  # type: ignore[attr-defined]  # noqa: SLF001


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
