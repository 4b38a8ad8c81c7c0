"""What a checkpoint costs: for tasks that do nothing, and for large results."""

from __future__ import annotations

import tempfile
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from measuring import call_fresh
from tables import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from measuring import Settings

LARGE_BYTES = 200_000_000


def measure(settings: Settings) -> Iterator[Table]:
    """Measure runs without a checkpoint, with a new one, and with one that has all results."""
    size = 1_000 if settings.quick else 10_000
    for title, function, unit in (
        (f"A run of {size:_} tasks that return a number, in sequence".replace("_", " "), small, "µs a task"),
        (f"A run of one task that returns {LARGE_BYTES // 10**6} MB, on a warm worker process", large, "ms"),
    ):
        table = Table(title)
        for _ in range(settings.rounds):
            for row, value in call_fresh(function, size).items():
                table.add(row, unit, [value])
        yield table


# What is called in a fresh interpreter


def small(size: int) -> dict[str, float]:
    """Time runs of tasks that do nothing, in µs a task."""
    from processes import Process, Task

    tasks = [Task(f"task-{number}", abs, args=(number,)) for number in range(size)]
    return _times(Process(tasks).run, "sequential", 1e6 / size)


def large(_: int) -> dict[str, float]:
    """Time runs of a task with a large result, in ms."""
    from processes import Process, ProcessPoolRunner, Task

    with ProcessPoolRunner(1) as runner:
        process = Process([Task("task", bytes, args=(LARGE_BYTES,))])
        process.run(runner=runner)
        return _times(process.run, runner, 1e3)


def _times(run: Callable[..., Any], runner: Any, scale: float) -> dict[str, float]:
    times = {}
    with tempfile.TemporaryDirectory() as folder:
        run(runner=runner, checkpoint=Path(folder) / "warm-up")
        path = Path(folder) / "run.ckpt"
        for row, checkpoint in {"without": None, "all saved": path, "all taken over": path}.items():
            start = perf_counter()
            run(runner=runner, checkpoint=checkpoint)
            times[row] = (perf_counter() - start) * scale
    return times
