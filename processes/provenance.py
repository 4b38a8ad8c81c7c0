"""Where modules come from: a library that is installed, or source files of the user's own."""

from __future__ import annotations

import ast
import sys
from hashlib import blake2b
from importlib.machinery import ExtensionFileLoader
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeGuard

from .importable import find_specs

if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec

_INSTALLED: Final = {"site-packages", "dist-packages"}  # the folders that installers write to


class Modules:
    """What there is to know of modules; each is looked at once."""

    def __init__(self) -> None:
        self._versions: dict[str, str | None] = {}
        self._sources: dict[str, tuple[bytes, frozenset[str]]] = {}

    def version(self, name: str | None) -> str | None:
        """Return the version of the library that a module is of; None if it is the user's own."""
        if name is None:
            return None
        if name not in self._versions:
            self._versions[name] = _library_version(name)
        return self._versions[name]

    def has_source(self, name: str) -> bool:
        """Tell whether a module is the user's own, and of a file."""
        return bool(self._read(name)[0])

    def source(self, name: str) -> bytes:
        """Return the digest of a module's source file, and of all that it imports of the user's own."""
        found: dict[str, bytes] = {}
        unread = [name]
        while unread:
            module = unread.pop()
            if module not in found:
                found[module], others = self._read(module)
                unread += others
        return repr(sorted(found.items())).encode()

    def _read(self, name: str) -> tuple[bytes, frozenset[str]]:
        if name not in self._sources:
            self._sources[name] = _read_source(name)
        return self._sources[name]


def is_compiled(name: str | None) -> TypeGuard[str]:
    """Tell whether a module's functions and classes show no code."""
    spec = getattr(sys.modules.get(name or ""), "__spec__", None)
    return spec is not None and isinstance(spec.loader, ExtensionFileLoader)


def absolute_name(name: str, level: int, package: str) -> str:
    """Return the whole name of what is imported in a package, from so many levels up."""
    if not level:
        return name
    parts = package.split(".")
    return ".".join([*parts[: len(parts) - level + 1], *([name] if name else [])])


def _library_version(name: str) -> str | None:
    """Return the version of a module's library, empty if it tells none; None if the module is of none."""
    top = name.partition(".")[0]
    if top in sys.stdlib_module_names:
        return ""  # Python's own version is part of each fingerprint
    module = sys.modules.get(top)
    if module is None or top == "__main__":
        return None
    if top != "processes" and not _is_installed(getattr(module, "__spec__", None)):
        return None
    version = vars(module).get("__version__")
    return version if type(version) is str else ""


def _is_installed(spec: ModuleSpec | None) -> bool:
    """Tell whether a module is Python's own, compiled, or in a folder that installers write to."""
    if spec is None:
        return False
    places = (
        [spec.origin] if spec.has_location and spec.origin else [*(spec.submodule_search_locations or ())]
    )
    return not places or any(not _INSTALLED.isdisjoint(Path(place).parts) for place in places)


def _read_source(name: str) -> tuple[bytes, frozenset[str]]:
    """Return the digest of a module's source, and what it imports; nothing if it is a library's."""
    if name.partition(".")[0] in {*sys.stdlib_module_names, "__main__", "processes"}:
        return b"", frozenset()
    own = b""
    others: set[str] = set()
    for spec in find_specs(name):  # the packages that it is in are imported too
        if spec.origin is not None and not _is_installed(spec):
            data = Path(spec.origin).read_bytes()
            own += blake2b(data).digest()
            is_package = spec.submodule_search_locations is not None
            if spec.origin.endswith(".py"):
                others |= _imports_of(data, spec.name if is_package else spec.name.rpartition(".")[0])
    return own, frozenset(others)


def _imports_of(source: bytes, package: str) -> set[str]:
    """Return the names that a source file may import modules by."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = absolute_name(node.module or "", node.level, package)
            found |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
    return found
