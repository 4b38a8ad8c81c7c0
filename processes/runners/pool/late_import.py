"""Modules of Python's own that a worker does without until something imports them.

To import them takes a quarter of a worker's start, and many functions never need them.
"""

from __future__ import annotations

import sys
from importlib.machinery import PathFinder

TYPE_CHECKING: bool = False  # typing is one of them
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from importlib.abc import Loader
    from importlib.machinery import ModuleSpec
    from types import ModuleType

_LATE = {"copy", "platform", "signal", "traceback", "typing", "weakref"}
"""Those for which nothing is to be done when they have been imported."""


def import_late(begin: Callable[[], None], acts: Mapping[str, Callable[[], None]]) -> None:
    """Find these modules from now on where they are now, whatever comes before them on the path.

    Done is `begin` before any module is imported, and one of the `acts` when the module of its name has been.
    """
    for name in acts.keys() & sys.modules.keys():
        acts[name]()
    sys.meta_path.insert(0, _Finder(sys.path[1:], begin, acts))  # without the package's own folder


class _Finder:
    def __init__(
        self, path: Sequence[str], begin: Callable[[], None], acts: Mapping[str, Callable[[], None]]
    ) -> None:
        self._path = path
        self._begin = begin
        self._acts = acts

    def find_spec(
        self, name: str, path: Sequence[str] | None, _target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find one of these modules; None leaves all others to the finders that follow."""
        self._begin()
        act = self._acts.get(name)
        if act is None and name not in _LATE:
            return None
        spec = PathFinder.find_spec(name, self._path if path is None else path)
        if act is not None and spec is not None and spec.loader is not None:
            loader = _own(spec.loader)
            execute = loader.exec_module

            def execute_and_act(module: ModuleType) -> None:
                execute(module)
                act()

            loader.exec_module = execute_and_act  # type: ignore[method-assign]
            spec.loader = loader
        return spec


def _own(loader: Loader) -> Loader:
    """Copy a loader, which may load more than one module: all of a zip file have one."""
    own: Loader = object.__new__(type(loader))
    vars(own).update(vars(loader))
    return own
