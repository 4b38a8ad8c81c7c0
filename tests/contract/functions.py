"""What the tasks of the contract do, for workers that are many: they import this, and no pytest."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

from programs import wait_until

from processes import Process, Task, TaskDependency

ENGINES = ("executor", "dask")  # other people's
SENDING = ("process", *ENGINES)  # runners that send their attempts to other processes


def add(*numbers: int, bonus: int = 0) -> int:
    return sum(numbers) + bonus


def fail(message: str = "no") -> None:
    raise ValueError(message)


_LOCK = threading.Lock()  # which no other process can be sent


class Holder:
    def __init__(self, factor: int) -> None:
        self.factor = factor

    @classmethod
    def double(cls, number: int) -> tuple[bool, int]:
        with _LOCK:
            return cls is Holder, 2 * number

    def times(self, number: int) -> int:
        return self.factor * number

    def __call__(self, number: int) -> int:
        return -self.factor * number


class Pipeline:
    """Holds the process whose tasks are its methods."""

    def __init__(self) -> None:
        self.factor = 3
        self.process = Process(
            [
                Task("scale", self.scale, dependencies=[TaskDependency("load", True)]),
                Task("load", self.load),
                Task("look", self.look),
            ],
            "pipeline",
        )

    def load(self) -> list[int]:
        return [1, 2]

    def scale(self, numbers: list[int]) -> list[int]:
        return [self.factor * number for number in numbers]

    def look(self) -> tuple[str, list[str], object]:
        return self.process.name, [task.name for task in self.process.tasks], self.process.report


async def slowly(number: int) -> int:
    import asyncio  # here, because all workers import this module

    await asyncio.sleep(0)
    return number + 100


class Delayed(Coroutine):
    """A coroutine that Python's compiler has not made, as those of compiled modules are."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._coroutine = coroutine

    def send(self, value: Any) -> Any:
        return self._coroutine.send(value)

    def throw(self, *error: Any) -> Any:
        return self._coroutine.throw(*error)

    def close(self) -> None:
        self._coroutine.close()

    def __await__(self) -> Iterator[Any]:
        return self._coroutine.__await__()


def slowly_in_another_way(number: int) -> Delayed:
    return Delayed(slowly(number))


def count_attempts(path: str, succeed_at: int) -> int:
    with Path(path).open("a") as file:
        file.write("x")
    made = len(Path(path).read_text())
    if made < succeed_at:
        raise ConnectionError(f"attempt {made}")
    return made


def run_inner(runner: str) -> dict[str, int]:
    tasks = [Task("x", add, args=(1,)), Task("y", add, args=(2,), dependencies=[TaskDependency("x", True)])]
    workers = None if runner == "sequential" else 1
    return Process(tasks).run(runner=runner, max_workers=workers).results


def give_back_a_process_that_has_run() -> Process:
    process = Process([Task("x", add, args=(1,))])
    process.run(runner="thread").raise_for_errors()
    return process


def write_file(path: Path) -> None:
    path.touch()


def await_file(path: Path) -> None:
    wait_until(path.exists, 120)


def await_both(first: Path, second: Path) -> None:
    await_file(first)
    await_file(second)


def meet(folder: Path, own: str, other: str) -> None:
    write_file(folder / own)
    await_file(folder / other)


def nap_and_write(seconds: float, path: Path) -> None:
    time.sleep(seconds)
    write_file(path)


class Gauge:
    """Counts how many are inside at a time."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.inside = self.most = 0

    def enter(self) -> None:
        with self.lock:
            self.inside += 1
            self.most = max(self.most, self.inside)
        time.sleep(0.005)
        with self.lock:
            self.inside -= 1


def wait_in_c(seconds: float) -> None:
    time.sleep(seconds)


async def wait_in_c_as_a_coroutine(seconds: float) -> None:
    time.sleep(seconds)  # noqa: ASYNC251 - it is to hold up its loop


class HoldsPool:
    """Has the pool that runs its methods, as a class that runs its own steps does."""

    def __init__(self, pool):
        self.pool = pool

    def workers(self):
        return self.pool.max_workers


def where() -> tuple[int, str]:
    return os.getpid(), threading.current_thread().name


def fail_with_marker(message: str) -> None:
    marker = len(message)
    raise ValueError(message, marker)


class Strange:
    """Tells nobody what it is."""

    @property
    def __class__(self):
        raise RuntimeError("no class")

    def __call__(self):
        return "called"


def burn() -> None:
    end = time.thread_time() + 0.05
    while time.thread_time() < end:
        pass


def burn_in_a_thread() -> None:
    thread = threading.Thread(target=burn)
    thread.start()
    thread.join()
