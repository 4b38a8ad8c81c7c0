"""What workers take over from the program, so that a function finds there what it finds here.

That is the state of the process, of the interpreter, and of Python's own modules. What a program has set in
other libraries stays at home.
"""

from __future__ import annotations

import _socket
import copyreg
import os
import pickle
import sys
import time
from _frozen_importlib_external import FileFinder  # what importlib.machinery takes it from
from contextlib import suppress
from functools import cache, partial

TYPE_CHECKING: bool = False  # typing is not imported: it would be the costliest part of a worker's start
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any


def tell_settings(environment: Mapping[str, str], *, has_line: bool) -> dict[str, Any]:
    """Return, in the parent, what :meth:`Settings.take_over` takes: values of Python's own types."""
    return {
        "above_line": [descriptor for descriptor in (1, 2) if has_line and os.isatty(descriptor)],
        "encodings": {name: _tell_encoding(getattr(sys, name)) for name in ("stdout", "stderr")},
        "sys_path": _plain([_searched(entry) for entry in sys.path]),
        "main": _tell_main(),
        "argv": _plain([word for word in getattr(sys, "argv", ()) if isinstance(word, str)]),
        "folder": find_folder(),
        "umask": _tell_umask(),
        "environment": environment,
        "locale": _tell_locale(),
        "recursion_limit": sys.getrecursionlimit(),
        "traceback_limit": _plain(getattr(sys, "tracebacklimit", None)),
        "most_digits": sys.get_int_max_str_digits(),
        "bytecode": (sys.dont_write_bytecode, _plain(sys.pycache_prefix)),
        "lazy_imports": _tell_lazy_imports(),
        "socket_timeout": _socket.getdefaulttimeout(),
        "of_modules": {
            name: _plain(tell()) for name, (tell, _) in _OF_MODULES.items() if name in sys.modules
        },
    }


def _plain(value: Any) -> Any:
    """Make numbers and texts Python's own: those of an enumeration could not be read without its module."""
    if isinstance(value, dict):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(_plain, value))
    if isinstance(value, str):
        return str.__str__(value)
    return int.__int__(value) if isinstance(value, int) and not isinstance(value, bool) else value


class Settings:
    """The parent's settings in a worker; those of a module wait until it is imported.

    Attributes
    ----------
    misplaced : OSError or None
        Why this process is not where the program was when the run began, and so is to call nothing.
    """

    def __init__(self) -> None:
        self.misplaced: OSError | None = None
        self._is_new = True
        self._of_modules: dict[str, Any] = {}
        self._filters: list[Any] | None = None  # those of warnings, as a function is to find them

    def take_over(self, told: dict[str, Any]) -> None:
        """Set what the parent has told: the state that it was in when the run began."""
        sys.path[:] = told["sys_path"]
        _set_main(told["main"])
        sys.argv[:] = told["argv"]
        self.misplaced = _go_to(told["folder"], is_new=self._is_new)
        self._is_new = False
        if told["umask"] is not None:
            os.umask(told["umask"])
        there, environment = dict(os.environ), told["environment"]
        for name in there.keys() - environment.keys():
            del os.environ[name]
        # Not what is there already: a variable without a name, as `env =x` makes it, could not be set.
        os.environ.update(environment.items() - there.items())
        leave_zone(there.get("TZ"))
        _set_locale(told["locale"])
        if told["above_line"] or f"{__package__}.above_line" in sys.modules:
            from .above_line import print_above_line

            print_above_line(told["above_line"])
        for name, encoding in told["encodings"].items():
            _set_encoding(getattr(sys, name), encoding)
        sys.setrecursionlimit(told["recursion_limit"])
        _limit_tracebacks(told["traceback_limit"])
        sys.set_int_max_str_digits(told["most_digits"])
        sys.dont_write_bytecode, sys.pycache_prefix = told["bytecode"]
        _set_lazy_imports(told["lazy_imports"])
        _socket.setdefaulttimeout(told["socket_timeout"])
        before, self._of_modules = self._of_modules, told["of_modules"]
        for name in self._of_modules.keys() & sys.modules.keys():
            if name == "warnings" and self._of_modules[name] == before.get(name):
                self.filter_warnings_anew()  # which takes a fiftieth of the time
            else:
                self.set_up(name)

    def acts(self) -> dict[str, Callable[[], None]]:
        """Return what is to be done when a module of this name has been imported."""
        return {name: partial(self.set_up, name) for name in _OF_MODULES}

    def set_up(self, name: str) -> None:
        """Set the parent's settings of a module that has been imported."""
        if name in self._of_modules:
            _, set_up = _OF_MODULES[name]
            set_up(self._of_modules[name])
            if name == "warnings":
                self.keep_filters()

    def keep_filters(self) -> None:
        """Let a function find the filters of warnings as they are now."""
        if (warnings := sys.modules.get("warnings")) is not None:
            self._filters = warnings.filters[:]

    def filter_warnings_anew(self) -> None:
        """Put back what a function's imports have changed: in the program, its own filters came last."""
        if self._filters is not None:
            warnings: Any = sys.modules["warnings"]
            if warnings.filters != self._filters:
                warnings.resetwarnings()
                warnings.filters += self._filters


def _searched(entry: Any) -> Any:
    """Return the folder that a relative entry of the path has stood for since imports first looked there."""
    finder = sys.path_importer_cache.get(entry) if isinstance(entry, str) else None
    return finder.path if isinstance(finder, FileFinder) else entry


def _tell_encoding(stream: Any) -> tuple[str, str] | None:
    """Return how a stream encodes text, and what it does with what cannot be; None where it does not tell."""
    with suppress(Exception):  # there is none, it has been detached, or it is one of the program's own
        if isinstance(stream.encoding, str) and isinstance(stream.errors, str):
            told: tuple[str, str] = _plain((stream.encoding, stream.errors))
            return told
    return None


def _set_encoding(stream: Any, told: tuple[str, str] | None) -> None:
    if told is not None and told != _tell_encoding(stream):
        with suppress(Exception):  # a task has put something else there, or the codec is the program's own
            stream.reconfigure(encoding=told[0], errors=told[1])


def _tell_umask() -> int | None:
    """Return the umask; None where it can only be read by setting it, which other threads would notice."""
    with suppress(OSError), open("/proc/self/status", "rb") as status:
        for line in status:
            if line.startswith(b"Umask:"):  # the second one
                return int(line.split()[1], 8)
    return None


def leave_zone(zone: str | None) -> None:
    """Let local time be that of the environment, where another time zone was in force before."""
    if os.environ.get("TZ") != zone and hasattr(time, "tzset"):
        time.tzset()


def find_folder() -> str:
    """Return the path of the working directory; empty if it has been removed."""
    try:
        return os.getcwd()
    except OSError:
        return ""


def enter(folder: str | int) -> None:
    """Make a folder, which :func:`find_folder` or a descriptor names, the working directory.

    Raises
    ------
    OSError
        If that cannot be, and we are elsewhere.
    """
    try:
        os.chdir(folder)  # takes less time than a look at where we are
    except OSError:
        if find_folder() != folder:  # nobody may enter it, or it is gone, and we may be in it all the same
            raise


def _go_to(folder: str, *, is_new: bool) -> OSError | None:
    """Go to the program's working directory; tell why that cannot be."""
    try:
        enter(folder)
    except OSError as error:
        if is_new and not find_folder():
            return None  # it has gone since the run began; this process was started in it
        what = (
            f"{error.strerror}: a worker process cannot get to the working directory in which the run began, "
            "and calls no function elsewhere; begin the run in a folder that stays and may be entered"
        )
        return OSError(error.errno, what, folder or None)
    return None


def _tell_main() -> str | None:
    """Return the name by which `python -m` has found the program, if so; None if it has no main guard."""
    main = sys.modules.get("__main__")
    if not has_main_guard(getattr(main, "__file__", None) or ""):
        return None
    return getattr(getattr(main, "__spec__", None), "name", "")


@cache
def has_main_guard(file: str) -> bool:
    """Tell whether a script has a main guard."""
    if not os.path.isfile(file):
        return False  # a pipe has been read, and to open it might wait for ever
    try:
        with open(file, "rb") as source:
            text = source.read()
    except OSError:
        return False
    return b'"__main__"' in text or b"'__main__'" in text


class _Unguarded(type(sys)):  # type: ignore[misc]
    """A script without a main guard, which `multiprocessing` is not to run in each process of a task's."""

    __file__ = property()  # its functions find theirs among their globals all the same


def _set_main(told: str | None) -> None:
    main = sys.modules["__main__"]
    if told is None:
        main.__class__ = _Unguarded
    elif told:
        main.__spec__ = type(os.__spec__)(told, None)


def _limit_tracebacks(limit: int | None) -> None:
    if limit is not None:
        sys.tracebacklimit = limit
    elif hasattr(sys, "tracebacklimit"):
        del sys.tracebacklimit


# Which imports wait for their first use (Python 3.15 and later); a filter stays at home.
_tell_lazy_imports: Callable[[], str] = getattr(sys, "get_lazy_imports", str)
_set_lazy_imports: Callable[[str], object] = getattr(sys, "set_lazy_imports", str)


def _tell_locale() -> str | None:
    """Return the C library's locale; None if nothing can have changed it."""
    locale: Any = sys.modules.get("locale")
    return None if locale is None else locale.setlocale(locale.LC_ALL)


def _set_locale(told: str | None) -> None:
    if told is not None:
        import _locale

        if _locale.setlocale(_locale.LC_ALL) != told:
            with suppress(_locale.Error):  # type: ignore[attr-defined]  # it was removed meanwhile
                _locale.setlocale(_locale.LC_ALL, told)


def _tell_logging() -> Any:
    import logging

    from ..logs import log_levels

    logger = logging.getLogger("py.warnings")
    if (logs_warnings := _logs_warnings()) and not logger.handlers:
        logger.addHandler(logging.NullHandler())  # as logging itself does at the first warning
    return log_levels(), logs_warnings


def _logs_warnings() -> bool:
    """Tell whether `logging.captureWarnings` has been told so."""
    return "warnings" in sys.modules and bool(sys.modules["warnings"].showwarning.__module__ == "logging")


def _set_logging(told: Any) -> None:
    from ..logs import apply_levels

    levels, logs_warnings = told
    apply_levels(*levels)
    sys.modules["logging"].captureWarnings(logs_warnings)


def _tell_decimal_context() -> bytes:
    decimal: Any = sys.modules["decimal"]
    context = decimal.getcontext()  # it may be of a class that a worker cannot import
    own = {name: getattr(context, name) for name in ("prec", "rounding", "Emin", "Emax", "capitals", "clamp")}
    traps = [signal for signal, is_set in context.traps.items() if is_set]
    flags = [signal for signal, is_set in context.flags.items() if is_set]
    return pickle.dumps(decimal.Context(**_plain(own), traps=traps, flags=flags))


def _set_decimal_context(told: bytes) -> None:
    sys.modules["decimal"].setcontext(pickle.loads(told))  # noqa: S301 - from our own parent


def _tell_authentication_key() -> bytes:
    return bytes(sys.modules["multiprocessing.process"].current_process().authkey)


def _set_authentication_key(told: bytes) -> None:
    """Let this process speak with the parent's managers, as its children by `multiprocessing` may."""
    sys.modules["multiprocessing.process"].current_process().authkey = told


def tell_resource_tracker() -> tuple[int, int] | None:
    """Return the descriptor by which the program's resource tracker is written to, and which pipe that is.

    Only where the program may have shared memory: else what tasks leave of that goes with their workers.
    """
    if "multiprocessing.shared_memory" in sys.modules:
        tracker: Any = sys.modules.get("multiprocessing.resource_tracker")  # there is none on Windows
        if tracker is not None and (descriptor := tracker._resource_tracker._fd) is not None:  # noqa: SLF001
            with suppress(OSError):  # the program has closed it
                return descriptor, os.fstat(descriptor).st_ino
    return None


def _share_resource_tracker(told: tuple[int, int] | None) -> None:
    """Let this process have the program's, which it has inherited, as its children by `multiprocessing` do.

    One of our own would take what a task has attached for ours, and remove it from all others at our end.
    """
    tracker = sys.modules["multiprocessing.resource_tracker"]._resource_tracker  # noqa: SLF001
    if told is not None and tracker._fd is None:  # noqa: SLF001
        descriptor, pipe = told
        with suppress(OSError):  # there was no such tracker when we started
            if os.fstat(descriptor).st_ino == pipe:
                tracker._fd = descriptor  # noqa: SLF001


def _tell_start_method() -> str | None:
    """Return how the program's processes by `multiprocessing` start, if it has been said or asked."""
    context: Any = sys.modules["multiprocessing.context"]
    method: str | None = context._default_context.get_start_method(allow_none=True)  # noqa: SLF001
    return method


def _set_start_method(told: str | None) -> None:
    if told is not None:
        context = sys.modules["multiprocessing.context"]._default_context  # noqa: SLF001
        # As the method by default: a module that says one when it is imported may do so once.
        context.set_start_method(None, force=True)
        context._default_context = context.get_context(told)  # noqa: SLF001


_Filter = tuple[str, str, tuple[str, str], str, int]


def _tell_warnings() -> tuple[list[_Filter], bool]:
    """Return the filters, and whether warnings are logged."""
    warnings: Any = sys.modules["warnings"]
    # Where each context has its own (-X context_aware_warnings, Python 3.14), `filters` are the outermost.
    in_force = warnings._get_filters() if hasattr(warnings, "_get_filters") else warnings.filters  # noqa: SLF001
    # Categories by name: a worker would have to import all those modules.
    filters = [
        (action, _text(message), (category.__module__, category.__qualname__), _text(module), line)
        for action, message, category, module, line in in_force
    ]
    return filters, _logs_warnings()


def _text(pattern: Any) -> str:
    """Return a pattern's text; in Python's own filters it is that already."""
    return "" if pattern is None else getattr(pattern, "pattern", pattern)


def _set_warnings(told: tuple[list[_Filter], bool]) -> None:
    warnings = sys.modules["warnings"]
    filters, logged = told
    warnings.resetwarnings()
    for action, message, category, module, line in filters:
        warnings.filterwarnings(action, message, _category(*category), module, line, append=True)
    if logged:
        import logging  # noqa: F401 - it is set up by that


def _category(module: str, name: str) -> Any:
    """Find a class of warnings; where its module has not been imported, make one that stands for it."""
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    if isinstance(found, type) and issubclass(found, Warning):
        return found
    return _Named(name, (Warning,), {"__module__": module, "__qualname__": name})


class _Named(type):
    """A class that stands for the class of the same name, wherever that comes from."""

    def __subclasscheck__(cls, subclass: type) -> bool:
        named = (cls.__module__, cls.__qualname__)
        return any((base.__module__, base.__qualname__) == named for base in subclass.__mro__)


# Libraries hand filters on to processes of their own, and pickle would not find the class by its name.
copyreg.pickle(_Named, lambda named: (_category, (named.__module__, named.__qualname__)))


_OF_MODULES: dict[str, tuple[Callable[[], Any], Callable[[Any], None]]] = {
    "decimal": (_tell_decimal_context, _set_decimal_context),
    "logging": (_tell_logging, _set_logging),
    "multiprocessing.context": (_tell_start_method, _set_start_method),
    "multiprocessing.process": (_tell_authentication_key, _set_authentication_key),
    "multiprocessing.resource_tracker": (tell_resource_tracker, _share_resource_tracker),
    "warnings": (_tell_warnings, _set_warnings),
}
