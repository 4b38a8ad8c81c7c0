"""What functions that go by value are taken apart into; see :mod:`.rebuild`."""

from __future__ import annotations

import dis
import sys
from itertools import chain
from types import CodeType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

from ..annotations import as_attribute
from .lazy_imports import LAZY_IMPORT, waiting_submodules
from .rebuild import contents_of
from .shared_globals import names_in

if TYPE_CHECKING:
    from collections.abc import Mapping

_OF_EACH_FUNCTION: Final = (
    *("__name__", "__qualname__", "__module__", "__doc__"),
    *("__defaults__", "__kwdefaults__"),
)

# Those of a module that its relative imports are resolved by.
_FOR_IMPORTS: Final = ("__package__", "__name__", "__path__", "__file__")

_AMONG_GLOBALS: Final = {"LOAD_GLOBAL", "STORE_GLOBAL", "DELETE_GLOBAL"}

# By the body of a class, and in it: among the names of that, and then among globals.
_AMONG_NAMES: Final = {"LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"}

_looked_up_by: WeakKeyDictionary[CodeType, tuple[str, ...]] = WeakKeyDictionary()


def attributes_of(function: FunctionType) -> dict[str, Any]:
    """Return what each function has, with its annotations, if there are any."""
    return {name: getattr(function, name) for name in _OF_EACH_FUNCTION} | as_attribute(function)


def globals_named_by(function: FunctionType) -> dict[str, Any]:
    """Return the globals that a function's code looks up, and those that imports in it need."""
    values = function.__globals__
    names = (*_FOR_IMPORTS, *_names_looked_up_by(function.__code__))
    return {name: values[name] for name in names if name in values}


def _names_looked_up_by(code: CodeType) -> tuple[str, ...]:
    """Return the names that code, and that of functions and classes in it, looks up among globals."""
    names = _looked_up_by.get(code)
    if names is None:
        found: dict[str, None] = {}
        bound = {"__annotations__"}  # by the body of a class, so far
        for step in dis.get_instructions(code):
            if step.opname == "STORE_NAME":
                bound.add(step.argval)
            elif step.opname in _AMONG_GLOBALS or (step.opname in _AMONG_NAMES and step.argval not in bound):
                found[step.argval] = None
        for constant in code.co_consts:
            if type(constant) is CodeType:
                found |= dict.fromkeys(_names_looked_up_by(constant))
        names = _looked_up_by[code] = tuple(found)
    return names


def submodules_for(function: FunctionType, brought: Mapping[str, Any]) -> list[Any]:
    """Return the submodules of packages that a function's code names, which it may not import itself.

    The packages are among the globals that it brings, or it has closed over them.
    """
    held = [*brought.values(), *chain.from_iterable(map(contents_of, function.__closure__ or ()))]
    modules = [one for one in held if issubclass(type(one), ModuleType)]
    packages = tuple([f"{module.__name__}." for module in modules if "__path__" in vars(module)])
    if not packages and LAZY_IMPORT is None:
        return []
    names = set(names_in(function.__code__))
    imported = [
        module
        for name, module in list(sys.modules.items())  # at once, as other threads may add to them
        if name.startswith(packages)
        and any(names.issuperset(name.removeprefix(package).split(".")) for package in packages)
    ]
    return imported + waiting_submodules(names, brought)
