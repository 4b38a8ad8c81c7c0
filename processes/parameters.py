"""The names that a function gives to its positional arguments, and what it is bound to."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from types import BuiltinFunctionType, FunctionType, MethodType, MethodWrapperType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

_TAKES_REST = 0x04  # inspect.CO_VARARGS
# Asked directly, a subclass's properties of the same names do not run.
_PARTIAL = [vars(partial)[part] for part in ("func", "args", "keywords")]


def names_by_task(
    tasks: Sequence[str], functions: Sequence[Callable[..., Any]]
) -> dict[str, tuple[str, ...]]:
    """Return what functions call their positional arguments, by task, where they have any."""
    distinct = {id(function): function for function in functions}  # tasks often share one
    known = {key: parameter_names(function) for key, function in distinct.items()}
    return {
        task: names for task, function in zip(tasks, functions, strict=True) if (names := known[id(function)])
    }


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
    from .annotations import signature_of

    try:
        parameters = signature_of(func).parameters.values()  # type: ignore[arg-type]
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


def bound_values(function: Any) -> Iterator[tuple[str, object]]:
    """Give what a function, method or partial is bound to, by name; a name that is not known is ``""``."""
    kind = type(function)
    if issubclass(kind, partial):
        func, args, keywords = (part.__get__(function) for part in _PARTIAL)
        yield from named_arguments(parameter_names(func) if args else (), args)
        yield from (("", keywords), ("", func))
    elif kind in (MethodType, BuiltinFunctionType, MethodWrapperType):
        yield "", function.__self__
        if kind is MethodType:
            yield "", function.__func__
    elif kind is FunctionType:
        code = function.__code__
        names = code.co_varnames[: code.co_argcount]
        yield from zip(reversed(names), reversed(function.__defaults__ or ()), strict=False)
        yield "", function.__kwdefaults__
        for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
            with suppress(ValueError):  # it is empty
                yield name, cell.cell_contents
