"""What tasks do with large arrays, for workers that are many: they import this, and no pytest with it."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

SIZE = 1 << 18  # numbers: 2 MB

_addresses: set[int] = set()  # of the arrays that this process has made


def make(size: int = SIZE) -> np.ndarray:
    array = np.arange(size, dtype=np.float64)
    _addresses.add(array.ctypes.data)
    return array


def double(array: np.ndarray) -> tuple[float, bool]:
    """Write to an array; return what it was, and whether this process has made it."""
    total = float(array.sum())
    array *= 2
    return total, array.ctypes.data in _addresses


def add_one(array: np.ndarray) -> np.ndarray:
    array += 1
    return array


def sum_up(*arrays: np.ndarray) -> float:
    return float(sum(array.sum() for array in arrays))


def spoil_and_fail(array: np.ndarray) -> NoReturn:
    array[0] = -1
    raise ValueError("no")


def spoil_and_fail_once(array: np.ndarray, marker: str) -> float:
    total = float(array.sum())
    array[:] = 0
    if not Path(marker).exists():
        Path(marker).touch()
        raise ValueError("no")
    return total


def grow(data: bytearray) -> int:
    data.extend(b"more")
    return len(data)


def are_one(*args: object, **kwargs: object) -> bool:
    return len({id(value) for value in (*args, *kwargs.values())}) == 1 and len(args) == len(kwargs) == 1


def in_order(*args: Any) -> list[Any]:
    return [type(value).__name__ if isinstance(value, np.ndarray) else value for value in args]


def leave_a_thread_behind() -> np.ndarray:
    threading.Thread(target=time.sleep, args=(3600,), daemon=True).start()
    return make()


def use_up_descriptors() -> np.ndarray:
    import resource  # Windows has none

    resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))  # a system may allow a million
    found = []
    try:
        while True:
            found.append(os.dup(0))
    except OSError:
        os.close(found.pop())
    return make()  # and leaves them open


def clear_and_fail(values: list[Any]) -> NoReturn:
    values.clear()
    raise ValueError


def die(array: np.ndarray) -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def sleep_on(array: np.ndarray) -> None:
    time.sleep(3600)


def work(number: int, size: int, fault: str, *values: np.ndarray) -> np.ndarray:
    """Return an array whose items are the task's number and the sum of the last items of its arguments."""
    total = number + sum(float(value[-1]) for value in values)
    for value in values:
        value[:] = 0
    if fault == "raises":
        raise ValueError(number)
    if fault == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    return np.full(size, total)
