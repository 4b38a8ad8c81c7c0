"""Finds the process that a command line names, in a file or a module."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from contextlib import contextmanager
from importlib.machinery import SourceFileLoader
from importlib.util import find_spec, module_from_spec, spec_from_loader
from pathlib import Path
from typing import TYPE_CHECKING, TypeGuard

import click

from .annotations import signature_of
from .checks import did_you_mean
from .failure import drop_leading_frames, entries_of
from .process import Process
from .reprs import brief_repr
from .runners.pool.settings import has_main_guard
from .serialization.importable import go_by_value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

NOTHING_RUN = 2  # the exit status, as of click's own errors
MAX_CANDIDATES = 10  # names in a message

# Whose frames come before the user's in a traceback.
_LOADERS = {__name__, "importlib", "importlib._bootstrap", "importlib._bootstrap_external"}


def find_process(target: str, arguments: tuple[str, ...]) -> Process:
    """Load a file or module and find the process in it; where that fails, the program ends with status 2.

    What is loaded, and its tasks, find in `sys.argv` what it is called and the arguments that are its own.
    """
    location, colon, name = target.rpartition(":")
    if not (colon and name.isidentifier()):  # the colon is a part of the file's path, or there is none
        location, name = target, ""
    if not location:
        raise click.UsageError(f"{target!r} names no file or module")
    path = Path(location)
    is_file = path.suffix == ".py" or path.name != location
    if is_file and not path.is_file():
        raise click.UsageError(f"there is no file {location!r}{_nearest_file(path)}")
    sys.argv[:] = [location, *arguments]
    with _code_of_the_user(f"{location!r} could not be loaded{_in_package(path) if is_file else ''}"):
        module = _load_file(path.absolute()) if is_file else _import_module(location)
    found = _attribute(module, name, location) if name else _only_process(module, location)
    if isinstance(found, Process):
        return found
    function = f"{name or 'build'!r} of {location!r}"
    with _code_of_the_user(f"{function} did not return"):
        process = found()
    if not isinstance(process, Process):
        raise click.UsageError(f"{function} returned {brief_repr(process)}, which is no Process")
    return process


def _in_package(path: Path) -> str:
    """Give the end of a message where a file is a module of a package, and may import from that."""
    folder, name = path.absolute().parent, path.stem
    while (folder / "__init__.py").is_file():
        folder, name = folder.parent, f"{folder.name}.{name}"
    return f"; it is in a package: write {name}, in the folder {str(folder)!r}" if name != path.stem else ""


def _load_file(path: Path) -> ModuleType:
    sys.path.insert(0, str(path.parent))
    name = path.stem.replace(".", "_")  # whoever imports a dotted name wants a package
    while name in sys.modules or name in sys.stdlib_module_names:  # as with a file that is called json.py
        name += "_"
    spec = spec_from_loader(name, SourceFileLoader(name, str(path)))
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[name] = module
    # By value, as if it were __main__: a worker process that imported the file would do once more what it
    # does when it is loaded, and that may be a run with workers of its own.
    go_by_value(module)
    spec.loader.exec_module(module)
    return module


def _import_module(name: str) -> ModuleType:
    sys.path.insert(0, os.getcwd())  # a str, as `python -m` has it
    missing = click.UsageError(
        f"there is no module {name!r}{_nearest_file(Path(name)) or '; the name of a file ends in .py'}"
    )
    if _in_no_package(name):
        raise missing
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if f"{name}.".startswith(f"{error.name}."):
            raise missing from error
        raise


def _in_no_package(name: str) -> bool:
    """Tell a slip like "job.pyy" before the module that it begins with is imported, and does what it does."""
    first, dot, _ = name.partition(".")
    if not (first and dot) or first in sys.modules:
        return False
    spec = find_spec(first)
    return spec is not None and spec.submodule_search_locations is None


def _nearest_file(path: Path) -> str:
    """Give the end of a message about a file that is not there."""
    return did_you_mean(str(path), map(str, path.parent.glob("*.py")))


@contextmanager
def _code_of_the_user(failure: str) -> Iterator[None]:
    """End the program with a traceback that begins at the user's code, should that raise."""
    try:
        yield
    except (click.ClickException, KeyboardInterrupt):
        raise
    except BaseException as error:  # a file may well end in sys.exit()
        *_, innermost = entries_of(error)
        if isinstance(error, SystemExit) and innermost.tb_frame.f_globals.get("__name__") == "argparse":
            raise  # it has printed its help, or what is wrong with the arguments
        drop_leading_frames(error, _LOADERS)
        traceback.print_exception(error)
        click.echo(f"Error: {failure}", err=True)
        sys.exit(NOTHING_RUN)


def _attribute(module: ModuleType, name: str, location: str) -> Process | Callable[[], object]:
    if not hasattr(module, name):
        raise click.UsageError(f"{location!r} has no {name!r}{_below_guard(module)}{_candidates(module)}")
    found = getattr(module, name)
    if isinstance(found, Process) or _makes_something(found):
        return found
    raise click.UsageError(
        f"{name!r} of {location!r} is {brief_repr(found)}, neither a Process nor a function without "
        f"parameters{_candidates(module)}"
    )


def _only_process(module: ModuleType, location: str) -> Process | Callable[[], object]:
    found = {id(value): value for value in vars(module).values() if _is_process(value)}
    if len(found) == 1:
        return found.popitem()[1]
    build = getattr(module, "build", None)
    if not found and _makes_something(build):
        return build
    what = (
        "more than one Process"
        if found
        else f"neither a Process nor a function `build` that makes one{_below_guard(module)}"
    )
    raise click.UsageError(f"{location!r} has {what}{_candidates(module)}")


def _below_guard(module: ModuleType) -> str:
    """Say where the user may have made what is not there."""
    if not has_main_guard(getattr(module, "__file__", None) or ""):
        return ""
    return ' (what stands below `if __name__ == "__main__":` is not run: make the Process above)'


def _candidates(module: ModuleType) -> str:
    """Name what the user may have meant in a module."""
    names = [
        name
        for name, value in vars(module).items()
        if _is_process(value) or (_makes_something(value) and value.__module__ == module.__name__)
    ]
    if len(names) > MAX_CANDIDATES:
        names[MAX_CANDIDATES:] = ["…"]
    return f"; append :NAME with one of {', '.join(names)}" if names else ""


def _is_process(value: object) -> TypeGuard[Process]:
    return issubclass(type(value), Process)  # what a value says of its class may raise


def _makes_something(value: object) -> TypeGuard[Callable[[], object]]:
    """Tell whether a value is a function that can be called without arguments, whatever has decorated it."""
    if not callable(value) or issubclass(type(value), type):
        return False
    try:
        parameters = signature_of(value).parameters.values()
    except Exception:  # it tells of none, or is not ready yet to tell anything
        return False
    return all(
        parameter.default is not parameter.empty
        or parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        for parameter in parameters
    )
