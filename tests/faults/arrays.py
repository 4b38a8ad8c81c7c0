"""What tasks do with large arrays, for workers that are many: they import this, and no pytest with it."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from processes.memory import own_memory

MB = 1 << 20
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


def ramp(megabytes: int) -> np.ndarray:
    return np.arange(megabytes * MB // 8, dtype=np.float64)


def scribble(array: np.ndarray, number: int = 0) -> tuple[float, bool]:
    """Write all over an array; return the sum of what was there, and whether it could be written to."""
    total = float(array.sum())
    array[:] = number
    return total, bool((array == number).all())


def give_back(value: Any, *_: Any) -> Any:
    return value


def read_or_scribble(array: np.ndarray, number: int) -> tuple[float, bool]:
    return scribble(array, number) if number % 3 == 2 else (float(array.sum()), array.flags.writeable)


def look_at(array: np.ndarray) -> tuple[Any, ...]:
    flags = array.flags
    return type(array), array.dtype, array.shape, flags.writeable, flags.f_contiguous, array.tobytes()


class Index:
    """Holds many small things, and counts how often it is taken apart."""

    taken_apart = 0

    def __init__(self, size: int) -> None:
        self.words = [f"word {number}" for number in range(size)]
        self.first = self.words[:1000]

    def __getstate__(self) -> Any:
        Index.taken_apart += 1
        return vars(self)


class Number(int):
    """One of a class of its own, which is an object with an identity."""


def look_up(index: Index, number: int, *, also: list[str] | None = None) -> tuple[str, bool]:
    found = index.words[number]
    index.words[number] = "somebody wrote here"
    return found, also is None or also is index.first


def holds_and_fails(number: int) -> None:
    array = np.full(1 << 20, number)
    raise ValueError(array.size)


def own_memory_of_worker() -> int:
    return own_memory(os.getpid())


def work(number: int, size: int, fault: str, *values: np.ndarray) -> np.ndarray:
    """Return an array whose items are the task's number and the sum of the last items of its arguments."""
    total = number + sum(float(value[-1]) for value in values)
    for value in values:
        value[:] = 0
    if fault == "raises":
        raise ValueError(number)
    if fault == "dies":
        os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))
    return np.full(size, total)
