"""Where modules come from: a library that is installed, or source files of the user's own."""

from __future__ import annotations

import ast
import os
import re
import sys
from contextlib import suppress
from functools import cached_property, partial
from hashlib import blake2b
from importlib.machinery import ExtensionFileLoader
from pathlib import Path
from pkgutil import iter_modules
from types import FunctionType, MethodType, ModuleType
from typing import TYPE_CHECKING, Any, Final, TypeGuard

from ..serialization.importable import find_specs, outermost_with_file

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet
    from importlib.machinery import ModuleSpec
    from importlib.metadata import Distribution

_IMPORTS_BY_TEXT: Final = {"import_module", "__import__"}  # functions

_MOST_TEXTS: Final = 1_000  # among more values than that texts are data, and no names of modules

_MODULE_NAME: Final = re.compile(r"(\.*)((?:[^\W\d]\w*(?:\.[^\W\d]\w*)*)?)")

_INSTALLED: Final = {"site-packages", "dist-packages"}  # the folders that installers write to
_OF_PYTHON: Final = Path(os.__file__).parent


class Modules:
    """What there is to know of modules; each is looked at once."""

    def __init__(self) -> None:
        self._versions: dict[str, str | None] = {}  # of modules
        self._library_versions: dict[str, str] = {}  # of packages
        self._sources: dict[str, tuple[bytes, frozenset[str]]] = {}

    def version(self, name: str | None) -> str | None:
        """Return the version of the library that a module is of; None if it is the user's own."""
        if name is None:
            return None
        if name not in self._versions:
            package, _ = outermost_with_file(name)
            self._versions[name] = self._version_of_library(package) if _is_library(package) else None
        return self._versions[name]

    def has_source(self, name: str) -> bool:
        """Tell whether a module is the user's own, and of a file."""
        return self.version(name) is None and bool(self._read(name)[0])

    def source_of_classes(self, name: str) -> bytes:
        """Return the digest of the file of a module of the user's own, or of the script; empty if none."""
        if name == "__main__":
            return self._source_of_script
        return self.source(name) if self.has_source(name) else b""

    @cached_property
    def _source_of_script(self) -> bytes:
        file = getattr(sys.modules["__main__"], "__file__", None)
        try:
            data = Path(file or "").read_bytes()
            imports = _imports_of(data, "")
        except (OSError, SyntaxError, ValueError):  # a notebook has none
            return b""
        return blake2b(data).digest() + b"".join(map(self.source, sorted(imports)))

    def named_in(self, package: str, *values: object) -> bytes:
        """Return the digest of the modules that texts in values may name to what imports in a package."""
        texts = {text for value in values for text in texts_in(value)}
        found = b""
        for name in sorted({name for text in texts for name in _named_by(text, package)}):
            with suppress(OSError, SyntaxError, ValueError):  # what nobody can import
                found += self.source(name)
        return found

    def source(self, name: str) -> bytes:
        """Return the digest of a module's source file, and of all that it imports; libraries by version."""
        found: dict[str, bytes] = {}
        unread = [name]
        while unread:
            module = unread.pop()
            if module not in found:
                found[module], others = self._read(module)
                unread += others
        return repr(sorted(found.items())).encode()

    def _version_of_library(self, package: str) -> str:
        """Return the version of a package that is installed, imported or not; empty if that is not known."""
        if package not in self._library_versions:
            self._library_versions[package] = self._look_up_version(package)
        return self._library_versions[package]

    def _look_up_version(self, package: str) -> str:
        if package.partition(".")[0] in sys.stdlib_module_names:
            return ""  # Python's own version is part of each fingerprint
        distribution = self._distribution_of(package)
        if distribution is None:  # it was copied there, say
            module = sys.modules.get(package)
            told = None if module is None else vars(module).get("__version__")
            return told if type(told) is str else ""
        if not _is_from_folder(distribution):
            return str(distribution.version)
        # That may have been edited and keep its version.
        return f"{distribution.version} {blake2b(_files_of(distribution).encode()).hexdigest()}"

    def _distribution_of(self, package: str) -> Distribution | None:
        """Return the distribution that a package is of: most have its name, of others the files tell."""
        from importlib import metadata

        with suppress(metadata.PackageNotFoundError):
            return metadata.distribution(package.replace(".", "-"))
        path = "\n" + package.replace(".", "/")
        for distribution, files in self._installed:
            if f"{path}/__init__." in files or f"{path}." in files:
                return distribution
        return None

    @cached_property
    def _installed(self) -> list[tuple[Distribution, str]]:
        """All distributions, with the lists of their files."""
        from importlib import metadata

        return [(one, _files_of(one)) for one in metadata.distributions()]

    def _read(self, name: str) -> tuple[bytes, frozenset[str]]:
        if name not in self._sources:
            self._sources[name] = self._read_source(name)
        return self._sources[name]

    def _read_source(self, name: str) -> tuple[bytes, frozenset[str]]:
        """Return the digest of a module's source, and what it imports; of a library's its version."""
        if name.partition(".")[0] in {"__main__", "processes"}:
            return b"", frozenset()
        own = b""
        others: set[str] = set()
        specs = find_specs(name)  # the packages that it is in are imported too
        loaded = getattr(sys.modules.get(name), "__spec__", None)
        for spec in specs if loaded is None else [*specs[:-1], loaded]:  # which a path may have told
            if spec.origin is None:
                continue
            if _is_installed(spec):
                return own + self._version_of_library(spec.name).encode(), frozenset(others)
            data = Path(spec.origin).read_bytes()
            own += _digest_of_file(spec, data)
            is_package = spec.submodule_search_locations is not None
            if spec.origin.endswith(".py"):
                others |= _imports_of(data, spec.name if is_package else spec.name.rpartition(".")[0])
        return own, frozenset(others)


def _digest_of_file(spec: ModuleSpec, data: bytes) -> bytes:
    """Return the digest of a module's file, and of the one that is loaded if it may be another."""
    digest = blake2b(data).digest()
    loaded = getattr(sys.modules.get(spec.name), "__spec__", None)
    seen, first = _seen.get(spec.name, (None, digest))
    if loaded is None or (seen is not None and seen is not loaded):  # it will be loaded, or was loaded anew
        first = digest
    _seen[spec.name] = loaded, first
    return digest if first == digest else first + digest


_seen: Final[dict[str, tuple[ModuleSpec | None, bytes]]] = {}
"""By module, what was loaded when it was looked at before, and what its file was when that was first seen."""


def _in_package(name: str) -> list[str]:
    """Return a module's name, and, of a package of the user's own, those of all modules in it."""
    found = [name]
    for package in found:  # grows meanwhile
        specs = find_specs(package)
        if specs and not _is_installed(specs[-1]):
            folders = specs[-1].submodule_search_locations or ()
            found += sorted(f"{package}.{part.name}" for part in iter_modules(folders))
    return found


def imports_by_text(names: AbstractSet[str]) -> bool:
    """Tell whether code that names these imports modules which texts name."""
    return not _IMPORTS_BY_TEXT.isdisjoint(names)


def texts_in(value: object) -> list[str]:
    """Return the texts in a value, in what it holds, and in attributes of objects; none among very many."""
    found: set[str] = set()
    seen: set[int] = set()
    pending: list[Any] = [value]
    while pending:
        one = pending.pop()
        kind = type(one)
        if kind is str:
            found.add(one)
        elif id(one) not in seen:
            seen.add(id(one))
            if issubclass(kind, dict):
                pending += [*one, *one.values()]
            elif issubclass(kind, (list, tuple, set, frozenset)):
                pending += one
            elif kind is partial:
                pending += [one.func, one.args, one.keywords]
            elif kind is MethodType:
                pending.append(one.__self__)
            elif not issubclass(kind, (type, ModuleType, FunctionType)):
                pending.append(object.__getstate__(one))  # which runs no code of its class
        if len(pending) + len(seen) + len(found) > _MOST_TEXTS:
            return []
    return sorted(found)


def _named_by(text: str, package: str) -> list[str]:
    """Return the modules that a text may name, or that of which it names a part; a package with all in it."""
    beginning = _MODULE_NAME.match(text)
    assert beginning is not None  # it may be empty
    name = absolute_name(beginning[2], len(beginning[1]), package)
    outer = name.rpartition(".")[0]
    return [*(_in_package(name) if name else ()), *([outer] if outer else ())]


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


def _is_from_folder(distribution: Distribution) -> bool:
    """Tell whether a distribution was installed from a folder or an address, and not from an index."""
    return distribution.read_text("direct_url.json") is not None


def _files_of(distribution: Distribution) -> str:
    """Return the list of a distribution's files, with their digests."""
    return "\n" + (distribution.read_text("RECORD") or "")


def _is_library(package: str) -> bool:
    """Tell whether a package, as it is loaded, is Python's own, ours, or was installed."""
    spec = getattr(sys.modules.get(package), "__spec__", None)
    if spec is None:
        return package.partition(".")[0] in sys.stdlib_module_names
    return package != "__main__" and (package == "processes" or _is_installed(spec))


def _is_installed(spec: ModuleSpec) -> bool:
    """Tell whether a module is Python's own, compiled, or in a folder that installers write to."""
    if spec.has_location and spec.origin:
        return _is_of_library(spec.name, spec.origin)
    # One part of a package without file may be installed, and another one the user's own.
    return all(_is_of_library(spec.name, place) for place in spec.submodule_search_locations or ())


def _is_of_library(name: str, place: str) -> bool:
    """Tell whether what lies there was installed; a module of the user's may have the name of Python's."""
    path = Path(place)
    if not _INSTALLED.isdisjoint(path.parts):
        return True
    is_pythons = name.partition(".")[0] in sys.stdlib_module_names
    return is_pythons and (path.suffix != ".py" or path.is_relative_to(_OF_PYTHON))


def _imports_of(source: bytes, package: str) -> set[str]:
    """Return the names that a source file may import modules by."""
    found: set[str] = set()
    texts: list[str] = []
    by_text = False
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = absolute_name(node.module or "", node.level, package)
            found |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Call) and _name_of(node.func) in _IMPORTS_BY_TEXT:
            by_text = True
        elif isinstance(node, ast.Constant) and type(node.value) is str:
            texts.append(node.value)
    for text in texts if by_text else ():
        found.update(_named_by(text, package))
    return found


def _name_of(called: ast.expr) -> str | None:
    return getattr(called, "attr", None) or getattr(called, "id", None)
