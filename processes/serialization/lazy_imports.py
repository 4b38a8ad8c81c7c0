"""Imports that wait for their first use (Python 3.15 and later), and wait in a worker too."""

from __future__ import annotations

import gc
import sys
import types
from contextlib import suppress
from functools import lru_cache
from types import CodeType, ModuleType
from typing import TYPE_CHECKING, Any, Final

from .importable import look_for_home, stays_away
from .rebuild import import_lazily

if TYPE_CHECKING:
    from collections.abc import Mapping

LAZY_IMPORT: Final[type | None] = getattr(types, "LazyImportType", None)


class LazyImport:
    """Stands for an import that waits for its first use.

    Parameters
    ----------
    target : str
        What is imported, with dots.
    is_from : bool, default False
        Whether its last part may be any attribute of a module, as in ``from module import attribute``.
    code : CodeType, optional
        The code that has the import, if that is known.
    """

    __slots__ = ("code", "is_from", "target")

    def __init__(self, target: str, is_from: bool = False, code: CodeType | None = None) -> None:
        self.target = target
        self.is_from = is_from
        self.code = code

    @property
    def module(self) -> str:
        """The module that it imports, or imports from."""
        return self.target.rpartition(".")[0] if self.is_from else self.target

    def __reduce__(self) -> tuple[Any, ...]:
        if self.code is None:
            return import_lazily, (self.target, self.is_from)
        line = _lines_of_imports(self.code).get(self.module, 1)
        return import_lazily, (self.target, self.is_from, self.code.co_filename, line)


@lru_cache(maxsize=64)  # modules
def _lines_of_imports(code: CodeType) -> dict[str, int]:
    """Return in which lines of a module its imports stand, by what they import."""
    import dis

    return {
        step.argval: step.positions.lineno or 1
        for step in dis.get_instructions(code)
        if step.opname == "IMPORT_NAME" and step.positions is not None
    }


def with_lazy_imports(values: dict[str, Any]) -> dict[str, Any]:
    """Return globals with what stands for those that are not imported yet."""
    if LAZY_IMPORT is None:
        return values
    return {
        name: _stand_in_of_lazy(value) if type(value) is LAZY_IMPORT else value
        for name, value in values.items()
    }


def _stand_in_of_lazy(value: Any) -> Any:
    """Return what stands for an import that waits; itself done, if no worker could do it."""
    parts = gc.get_referents(value)
    # Its text is the same for `from glob import glob` and `import glob.glob`: the first holds another.
    is_from = any(type(part) is LAZY_IMPORT for part in parts)
    code = next((part for part in parts if type(part) is CodeType), None)
    stand_in = LazyImport(repr(value).split("'")[1], is_from, code)
    package = stand_in.module.partition(".")[0]
    look_for_home(package)
    if package in stays_away:
        with suppress(Exception):  # then it fails in the worker, at its first use
            return value.resolve()
    return stand_in


def waiting_submodules(names: set[str], brought: Mapping[str, Any]) -> list[LazyImport]:
    """Return what stands for submodules that are imported when a function looks for them in a package.

    `names` are those in its code, `brought` the globals that it brings, made by :func:`with_lazy_imports`.
    """
    codes: dict[str, CodeType | None] = {}  # by package
    for value in brought.values():
        if type(value) is LazyImport:
            codes[value.target if value.is_from else value.target.partition(".")[0]] = value.code
        elif type(value) is ModuleType:
            codes[value.__name__] = None
    waiting: set[str] = getattr(sys, "lazy_modules", set())  # from Python 3.15 on
    return [
        LazyImport(submodule, code=code)
        for submodule in waiting.copy()
        for package, code in codes.items()
        if submodule.startswith(f"{package}.") and names.issuperset(submodule[len(package) + 1 :].split("."))
    ]


def imported(waiting: Any) -> Any:
    """Return what an import that waits for its first use brings; its text if it fails, as it does there."""
    try:
        return waiting.resolve()
    except ImportError:
        return repr(waiting)


def import_waiting_submodule(package: ModuleType, name: str) -> None:
    """Import a submodule that waits until somebody looks for it in its package."""
    if f"{package.__name__}.{name}" in getattr(sys, "lazy_modules", ()):
        with suppress(ImportError):
            getattr(package, name)
