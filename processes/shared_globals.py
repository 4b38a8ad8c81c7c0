"""The globals of a script, or of another module that no worker can import, on each worker.

All that comes by value from one module shares its globals there for a run, as it does here: what one function
has put into them (a cache, an open connection) others find. Functions and classes bring those that they name;
one that is there already stays as it is.
"""

from __future__ import annotations

import re
import sys
from types import FunctionType, GenericAlias, ModuleType, UnionType
from typing import TYPE_CHECKING, Any, Final

from .pickling import globals_of_run
from .rebuild import find_globals

if TYPE_CHECKING:
    from collections.abc import Mapping

_IN_ANNOTATIONS: Final = (type, ModuleType, GenericAlias, UnionType)


class SharedGlobals:
    """Stands for the globals of a module on the way to a worker.

    Parameters
    ----------
    module : str
        The module's name.
    """

    __slots__ = ("module",)

    def __init__(self, module: str) -> None:
        self.module = module

    def __reduce__(self) -> tuple[Any, ...]:
        return find_globals, (self.module,)


def module_of(named: FunctionType | type) -> tuple[str, dict[str, Any]] | None:
    """Find the name and the globals of the module that a function or class is of; None if it is of none."""
    own = named.__globals__ if isinstance(named, FunctionType) else None
    name = named.__module__ if own is None else own.get("__name__", "")
    found = globals_of_run.get(name)
    if found is None and (module := sys.modules.get(name)) is not None:
        found = vars(module)
    if found is None or (own is not None and own is not found):
        return None
    return name, found


def looked_up_for(named: FunctionType | type, among: Mapping[str, Any]) -> dict[str, Any]:
    """Return the globals that no code names: itself, for its pickle, and what text in annotations means."""
    found = {named.__name__: named} if among.get(named.__name__) is named else {}
    annotations = named.__annotations__ if isinstance(named, FunctionType) else _own_annotations(named)
    for annotation in annotations.values():
        if type(annotation) is str:
            words = re.findall(r"[^\W\d]\w*", annotation)
            found |= {word: among[word] for word in words if isinstance(among.get(word), _IN_ANNOTATIONS)}
    return found


def _own_annotations(cls: type) -> Mapping[str, Any]:
    return vars(cls).get("__annotations__") or {}
