"""Whether what reads a pickle runs code that may do anything.

What Python and a few well-known libraries do there is trusted. Anything else is read back by the process that
made it, before another one's life depends on it.
"""

from __future__ import annotations

from typing import Any, Final

# Reading what these libraries have written runs their code and nobody else's.
_LIBRARIES: Final = {
    *("array", "builtins", "collections", "copyreg", "datetime", "decimal", "fractions", "ipaddress"),
    *("pathlib", "re", "uuid", "zoneinfo", "_codecs", "_operator", "operator", "functools", "processes"),
    *("numpy", "scipy", "pandas", "pyarrow", "polars", "torch", "PIL"),
}

# What a class must have from its builtin base, or as None (what cannot be hashed is no key), and what not.
_FROM_BASE: Final = (
    *("__new__", "__reduce__", "__reduce_ex__", "__getstate__"),
    *("__getattribute__", "__setattr__", "__hash__"),
)
_ABSENT: Final = {"__getattr__", "__getnewargs__", "__getnewargs_ex__", "__setstate__"}


def is_safe(named: Any) -> bool:
    """Tell whether a class or function belongs to a library whose unpickling is trusted."""
    return str(named.__module__).partition(".")[0] in _LIBRARIES


def is_made_without_its_code(kind: type) -> bool:
    """Tell whether to make an object of a class again, and a key of a dict, runs no code of the class.

    It is so with data classes, named tuples, and classes that say nothing of it.
    """
    base, absent = object, _ABSENT
    if kind.__bases__[0] is tuple and "_fields" in vars(kind):
        base, absent = tuple, _ABSENT - {"__getnewargs__"}
    return all(
        getattr(kind, name) in (None, getattr(base, name)) or is_generated(kind, name) for name in _FROM_BASE
    ) and not any(hasattr(kind, name) for name in absent)


def is_generated(kind: type, name: str) -> bool:
    """Tell whether a data class's or a named tuple's method was made for it: its code is of no file."""
    code = getattr(getattr(kind, name), "__code__", None)
    return (
        code is not None
        and code.co_filename == "<string>"
        and not vars(kind).keys().isdisjoint({"__dataclass_params__", "_fields"})
    )
