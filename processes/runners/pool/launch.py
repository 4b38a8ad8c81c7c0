"""How a worker is started: with which interpreter, which command, which environment."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress

from . import abilities
from .boot import MARK
from .frozen import frozen_command, is_frozen
from .settings import tell_resource_tracker

_PACKAGE_FOLDER = os.path.abspath(f"{__file__}/../../../..")
_BOOT = (
    # What the package needs of the standard library first: no module of the user's can stand before it. So
    # nothing waits for its first use (Python 3.15) until the settings say so.
    "import sys\n"
    "getattr(sys, 'set_lazy_imports', str)('normal')\n"
    "import os, pickle, select, struct, _socket, faulthandler\n"
    "sys.path.insert(0, sys.argv[1])\n"
    "from processes.runners.pool.boot import main\n"
    "main(*map(int, sys.argv[2:]))\n"
)

_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)


def inheritance() -> tuple[object, ...]:
    """Tell what a worker that starts now has for good: as whom it acts, where it writes, and its tracker."""
    files: list[object] = []
    for descriptor in (1, 2):
        try:
            status = os.fstat(descriptor)
        except OSError:  # it is closed
            files.append(None)
        else:
            files.append((status.st_dev, status.st_ino))
    if sys.platform == "win32":
        return tuple(files)
    return (
        *files,
        tell_resource_tracker(),
        os.getuid(),
        os.geteuid(),
        os.getgid(),
        os.getegid(),
        os.getgroups(),
    )


def interpreter() -> str:
    """Return the interpreter to start workers with: Python's own, or what `multiprocessing` was told to use.

    Raises
    ------
    RuntimeError
        If there is none. A program that runs once more in the place of each worker would start workers in its
        turn.
    """
    spawn = sys.modules.get("multiprocessing.spawn")
    program = os.fsdecode((spawn and spawn.get_executable()) or sys.executable or "")
    if MARK in os.environ:
        if is_frozen(program):
            raise RuntimeError(
                "This frozen program was started in the place of a worker, and did not become one: let it "
                'call multiprocessing.freeze_support() first, or use runner="thread"'
            )
        reason = "this program was itself started in the place of a worker"
    elif not program:
        reason = "sys.executable does not name one"
    else:
        return program
    raise RuntimeError(
        f"Worker processes are started with a Python interpreter, but {reason}; name an interpreter by "
        'multiprocessing.set_executable(), or use runner="thread"'
    )


def may_be_no_interpreter(program: str) -> bool:
    """Tell whether an interpreter's name is none of Python's: where one is embedded, as in uWSGI or QGIS."""
    return not is_frozen(program) and "python" not in os.path.basename(program).lower()


def command(program: str, *descriptors: int) -> tuple[list[str], int]:
    """Return the command that starts a worker, and one more descriptor that it is to inherit; -1 for none."""
    numbers = (os.getpid(), int(abilities.CAN_GUARD), *descriptors)
    if is_frozen(program):
        return frozen_command(*numbers)
    return [program, *_interpreter_flags(), "-P", "-c", _BOOT, _PACKAGE_FOLDER, *map(str, numbers)], -1


def _interpreter_flags() -> list[str]:
    """Return the options that this interpreter was started with, all of ``-X`` among them."""
    flags: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]  # noqa: SLF001
    options = [name if value is True else f"{name}={value}" for name, value in sys._xoptions.items()]  # noqa: SLF001
    return [*flags, *(f"-X{option}" for option in options if option not in flags)]


def behind_redirector(program: str) -> tuple[str, dict[str, str]]:
    """Return the interpreter to start on Windows, and the variables that tell it what it is started for.

    That of a virtual environment only starts the real one, as its child: the process that we know would not
    be the one that is to have the socket.
    """
    if program != sys.executable or sys.prefix == sys.base_prefix:
        return program, {}
    base: str = sys._base_executable  # type: ignore[attr-defined,unused-ignore]  # noqa: SLF001
    return base, {"__PYVENV_LAUNCHER__": program}


def worker_environment(threads: int) -> dict[str, str]:
    """Return the environment of workers whose BLAS and OpenMP may use so many threads.

    What the user has set wins; OMP_NUM_THREADS, to which the libraries fall back, for all of them.
    """
    while True:
        with suppress(KeyError):  # another thread may take a variable away just now
            most = os.environ.get("OMP_NUM_THREADS", str(threads))
            return {**dict.fromkeys(_THREAD_VARIABLES, most), **os.environ}
