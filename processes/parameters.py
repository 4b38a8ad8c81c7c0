"""The names that a function gives to its positional arguments."""

from __future__ import annotations

from types import FunctionType, MethodType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_TAKES_REST = 0x04  # inspect.CO_VARARGS


def parameter_names(func: object) -> tuple[str, ...]:
    """Return the names of a callable's positional parameters; never an error.

    Returns
    -------
    tuple of str
        In order. A last one with a star, as in ``*tokens``, stands for all further arguments. Empty where
        nothing is known.
    """
    function = func.__func__ if type(func) is MethodType else func
    if type(function) is FunctionType and not hasattr(function, "__wrapped__"):
        code = function.__code__
        names = code.co_varnames[function is not func : code.co_argcount]
        if code.co_flags & _TAKES_REST:
            names += (f"*{code.co_varnames[code.co_argcount + code.co_kwonlyargcount]}",)
        return names
    import inspect

    try:
        parameters = inspect.signature(func).parameters.values()  # type: ignore[arg-type]
    except Exception:
        return ()
    return tuple(
        f"*{parameter.name}" if parameter.kind is parameter.VAR_POSITIONAL else parameter.name
        for parameter in parameters
        if parameter.kind not in (parameter.KEYWORD_ONLY, parameter.VAR_KEYWORD)
    )


def named_arguments(names: Sequence[str], args: Sequence[object]) -> Iterator[tuple[str, object]]:
    """Pair positional arguments with their parameters' names; a name that is not known is ``""``."""
    for index, value in enumerate(args):
        if index < len(names) and not names[index].startswith("*"):
            yield names[index], value
        elif names and names[-1].startswith("*"):
            yield names[-1][1:], value
        else:
            yield "", value
