"""Makes again what :mod:`processes.by_value` has taken apart.

Workers read functions with this alone: to import cloudpickle, and what taking apart needs beside, would take
half as long as all else of their start.
"""

from __future__ import annotations

import builtins
import pickle
import sys
from types import CellType, CodeType, FunctionType
from weakref import WeakKeyDictionary, WeakSet, WeakValueDictionary

from .pickling import class_definitions, classes_of_run, globals_of_run

TYPE_CHECKING = False  # typing is not imported: it would be the costliest part of a worker's start
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import ModuleType
    from typing import Any

# All hold the classes weakly: a class that nobody uses any more is not asked for either.
class_by_id: WeakValueDictionary[str, type] = WeakValueDictionary()
class_ids: WeakKeyDictionary[type, str] = WeakKeyDictionary()
received: WeakSet[type] = WeakSet()  # made here from what another process has sent
from_parent: WeakSet[type] = WeakSet()  # those that a parent has sent, and therefore has


def find_module(name: str) -> ModuleType:
    """Import a module."""
    __import__(name)
    return sys.modules[name]


def find_globals(module: str) -> dict[str, Any]:
    """Find the globals that what comes by value from a module shares in this run."""
    return globals_of_run.setdefault(module, {})


def make_code(file: str, arguments: tuple[Any, ...]) -> CodeType:
    """Make a code object under the name of the file that it comes from."""
    return CodeType(*arguments).replace(co_filename=file)


def make_cell(*contents: Any) -> CellType:
    """Make a cell of a closure; an empty one without contents."""
    return CellType(*contents)


def make_function(code: CodeType, there: dict[str, Any], lines: list[str] | None = None) -> FunctionType:
    """Make a function without attributes, and let tracebacks find its source lines, if it brings some."""
    if lines is not None:
        import linecache

        # The time is None: linecache takes it that there is no file to compare with.
        linecache.cache[code.co_filename] = (sum(map(len, lines)), None, lines, code.co_filename)
    there.setdefault("__builtins__", builtins)
    cells = tuple([CellType() for _ in code.co_freevars])
    return FunctionType(code, there, closure=cells or None)


def fill_function(
    function: FunctionType, state: tuple[dict[str, Any], dict[str, Any], Mapping[str, Any]]
) -> None:
    """Give a function its attributes, its cells their contents, and its module the globals that it brings."""
    attributes, slots, brought = state
    function.__dict__.update(attributes)
    share(function.__globals__, brought)
    for own, cell in zip(function.__closure__ or (), slots.pop("__closure__") or (), strict=True):
        try:
            own.cell_contents = cell.cell_contents
        except ValueError:
            continue  # it is empty
    del slots["_cloudpickle_submodules"]  # they have been imported
    for name, value in slots.items():
        setattr(function, name, value)


def share(there: dict[str, Any], brought: Mapping[str, Any]) -> None:
    """Add to the globals of a module what a function or class has brought and nothing before it."""
    for name, value in brought.items():
        there.setdefault(name, value)


def make_class(
    class_id: str, sent_by_parent: bool, make: Callable[..., type], arguments: tuple[Any, ...]
) -> type:
    """Make a class that was sent by value, or find it where it was sent before, or came from."""
    cls = class_by_id.get(class_id)
    if cls is None:
        cls = make(*arguments)
        received.add(cls)
        class_ids[cls] = class_id
        class_by_id[class_id] = cls
    if sent_by_parent and cls in received:
        from_parent.add(cls)
    return cls


def fill_class(
    cls: type, state: tuple[Callable[[type, Any], object], Any, dict[str, Any] | None, Mapping[str, Any]]
) -> None:
    """Give a class its attributes; our own keeps those that it has."""
    fill, attributes, there, brought = state
    if there is not None:
        share(there, brought)
    if cls in received:
        fill(cls, attributes)
        if cls in from_parent:
            classes_of_run[class_ids[cls]] = cls
            class_definitions.pop(class_ids[cls], None)


def class_of_id(class_id: str, name: str) -> type:
    """Find the class that was sent under an id, or make it of its definition."""
    if class_id in class_definitions and class_id not in classes_of_run:
        pickle.loads(class_definitions[class_id])  # noqa: S301 - from our own parent
    try:
        return class_by_id[class_id]
    except KeyError:
        raise LookupError(
            f"class {name!r} was sent to a worker process, and nothing in this process refers to it any more"
        ) from None
