"""Workers of a program that is its own interpreter, as PyInstaller and others freeze it.

It is started once more for each worker, and hears by `multiprocessing.freeze_support()`, which it has to call
before anything else, that it is to be a process of `multiprocessing`: one that reads two pickles from a pipe,
settings and an object, and calls the object's ``_bootstrap`` (see `multiprocessing.spawn`).
"""

from __future__ import annotations

import os
import pickle
import sys


class FrozenWorker:
    """Becomes a worker, by arguments of :func:`.boot.main`, where `multiprocessing` begins a process."""

    def __init__(self, *numbers: int) -> None:
        self._numbers = numbers

    def _bootstrap(self, parent_sentinel: int | None) -> None:
        from .boot import main

        if parent_sentinel is not None:
            os.close(parent_sentinel)  # a copy of the pipe's end
        main(*self._numbers)


def is_frozen(program: str) -> bool:
    """Tell whether an interpreter is this program itself, frozen."""
    return bool(getattr(sys, "frozen", False)) and program == sys.executable


def frozen_command(*numbers: int) -> tuple[list[str], int]:
    """Return the command that starts this program as a worker, and the descriptor that it is to inherit."""
    from multiprocessing.spawn import get_command_line

    handle, end = os.pipe()
    with open(end, "wb") as file:
        file.write(pickle.dumps({}) + pickle.dumps(FrozenWorker(*numbers)))
    return get_command_line(pipe_handle=inheritable_handle(handle)), handle


def inheritable_handle(descriptor: int) -> int:
    """Return the number by which a new process knows a descriptor that it inherits."""
    if sys.platform == "win32":
        from msvcrt import get_osfhandle

        handle = get_osfhandle(descriptor)
        os.set_handle_inheritable(handle, True)
        return handle
    return descriptor
