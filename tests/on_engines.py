"""What tasks do on other people's engines, for their workers: they import this, and no pytest."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

from programs import wait_until

if TYPE_CHECKING:
    import numpy as np


def add(*numbers: int) -> int:
    return sum(numbers)


def hold(begun: Path, go_on: Path) -> None:
    begun.touch()
    wait_until(go_on.exists)


def fail_after(path: Path) -> None:
    wait_until(path.exists)
    raise LookupError


def append(numbers: list[int]) -> list[int]:
    numbers.append(1)
    logging.getLogger("chatty.engine").warning("appended")
    return numbers


def keys_at(dask_worker) -> list[str]:
    return list(dask_worker.state.tasks)


def fail_once(path: Path) -> str:
    if not path.exists():
        path.touch()
        raise ConnectionError("the first time")
    return "the second time"


class AtHome:
    """Can be read in one process alone."""

    def __init__(self, home: int) -> None:
        self.home = home

    def __reduce__(self) -> tuple[object, ...]:
        return be_at_home, (self.home,)


def be_at_home(home: int) -> AtHome:
    if os.getpid() != home:
        raise LookupError("not at home")
    return AtHome(home)


def make_at_home() -> AtHome:
    return AtHome(os.getpid())


def double(array: np.ndarray) -> np.ndarray:
    array *= 2  # it is writable, and nobody else's
    return array


def meet_and_make(own: Path, other: Path) -> np.ndarray:
    import numpy as np  # here, because all workers import this module

    own.touch()
    wait_until(other.exists)
    return np.ones(200_000)


def end_of_child() -> int | None:
    child = get_context("spawn").Process(target=abs, args=(-1,))
    child.start()
    child.join(60)
    return child.exitcode


def hide_package() -> None:
    sys.modules["processes.runners.dask.call"] = None  # type: ignore[assignment]  # importing it fails


def find_package_again() -> None:
    del sys.modules["processes.runners.dask.call"]


def see_sigint_in_a_child() -> str:
    program = "from signal import *; print(getsignal(SIGINT) is default_int_handler, pthread_sigmask(0, []))"
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
