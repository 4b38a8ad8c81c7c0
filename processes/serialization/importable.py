"""Which functions and classes another process can import, given this one's path."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from importlib.machinery import EXTENSION_SUFFIXES
from itertools import accumulate
from operator import attrgetter

from .pickling import modules_of_run

TYPE_CHECKING: bool = False  # typing is not imported: it would cost a worker more than all of this
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any, Final

# What a worker imports before the path is the user's, whatever lies on that.
_WORKERS_OWN: Final = {"__main__", "cloudpickle", "processes", *sys.stdlib_module_names}

_COMPILED: Final = tuple(EXTENSION_SUFFIXES)

stays_away: Final[set[str]] = set()
"""Modules that go by value, and that no worker can import, or none shall."""

_looked_for: set[str] = set()  # modules of which is known whether they are found


def can_be_imported(named: Any) -> bool:
    """Tell whether what bears a name is found under it in another process."""
    name = named.__module__
    if goes_by_value(name):
        return False
    try:
        qualname = getattr(named, "__qualname__", None)
        if qualname is None:  # type parameters, type aliases and sentinels have a name alone
            qualname = named.__name__
        # Up to 2.13, pydantic puts forms of generic models into these modules, as "RootModel[list[Price]]".
        return qualname.replace(".", "").isidentifier() and attrgetter(qualname)(sys.modules[name]) is named
    except (AttributeError, KeyError):
        return False


def goes_by_value(name: str) -> bool:
    """Tell whether what belongs to the module of this name goes by value."""
    look_for_home(name)
    # Who registers a package means what is in it too.
    return name == "__main__" or not _registered_by_value().isdisjoint(_with_packages(str(name)))


def _registered_by_value() -> set[str]:
    """Return the names of the modules and packages that cloudpickle is to take along."""
    if "cloudpickle" not in sys.modules:  # who registers one has imported it
        return set()
    import cloudpickle  # another thread may not be done with that

    names: set[str] = cloudpickle.list_registry_pickle_by_value()
    return names


def _with_packages(name: str) -> Iterator[str]:
    """Give the names of the packages that a module is in, from the outermost on, and its own."""
    return accumulate(name.split("."), "{}.{}".format)


def imported_from(name: str, value: object) -> ModuleType | None:
    """Find the module that a script has imported a global from; None if no worker could import it."""
    found = []
    for module_name, module in list(sys.modules.items()):
        values = getattr(module, "__dict__", {})
        # By its own name: multiprocessing gives the script a second one.
        is_there = values.get(name) is value and module_name == values.get("__name__")
        if is_there and not goes_by_value(module_name):
            found.append(module)
    return min(found, key=lambda module: len(module.__name__), default=None)  # the package rather than a part


def go_by_value(module: ModuleType) -> None:
    """Let what belongs to a module go by value, and the module itself stay away from workers."""
    import cloudpickle

    cloudpickle.register_pickle_by_value(module)
    stays_away.add(module.__name__)


def look_for_home(name: str) -> None:
    """Let what belongs to a module go by value if nobody else would find that where it was loaded from."""
    if name in _looked_for or name not in sys.modules:
        return
    module = sys.modules[name]
    if name.partition(".")[0] not in _WORKERS_OWN and not _is_at_home(name, module):
        go_by_value(module)
    _looked_for.add(name)  # not before: another thread may ask for it meanwhile


def _is_at_home(name: str, module: ModuleType) -> bool:
    """Tell whether a module, or the package that it is in, is found where it was loaded from."""
    if module is modules_of_run.get(name):
        return False  # we are a worker, and it came by value
    package, file = outermost_with_file(name)
    return (file is not None and file.endswith(_COMPILED)) or _is_found(package, file)


def outermost_with_file(name: str) -> tuple[str, str | None]:
    """Return the package that a module is in, and its file; namespaces have none, and may lie anywhere."""
    for package in _with_packages(name):
        file = getattr(sys.modules.get(package), "__file__", None)
        if file is not None:
            return package, file
    return name.partition(".")[0], None


def _is_found(name: str, file: str | None) -> bool:
    """Tell whether a module would be imported, and from this file if it is from any."""
    specs = find_specs(name)
    if not specs:
        return False
    spec = specs[-1]
    if not spec.has_location or file is None:
        return True
    origin = str(spec.origin)
    if spec.submodule_search_locations is not None:
        # The folder tells: icecream, for one, gives itself the file of one of its modules.
        origin, file = os.path.dirname(origin), os.path.dirname(file)
    return _is_same_file(origin, file)


def find_specs(name: str) -> list[ModuleSpec]:
    """Find a module and the packages that it is in, without importing any; empty if it is not found."""
    found: list[ModuleSpec] = []
    path: Sequence[str] | None = None
    for module in _with_packages(name):
        if found and path is None:  # what it should be in is no package
            return []
        spec = _find_spec(module, path)
        if spec is None:
            return []
        found.append(spec)
        path = spec.submodule_search_locations
    return found


def _find_spec(name: str, path: Sequence[str] | None) -> ModuleSpec | None:
    for finder in sys.meta_path:
        with suppress(Exception):  # another's finder
            spec = finder.find_spec(name, path, None)
            if spec is not None:
                return spec
    return None


def _is_same_file(one: str, other: str) -> bool:
    try:
        return one == other or os.path.samefile(one, other)
    except OSError:  # in an archive, or gone
        return False
