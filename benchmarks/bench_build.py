"""What stands around a run: importing, building tasks, and the memory that tasks and reports take."""

from __future__ import annotations

import gc
import subprocess
import sys
import tracemalloc
from itertools import pairwise
from time import perf_counter
from typing import TYPE_CHECKING

from measuring import NotMeasuredError, call_fresh, take_turns
from tables import Table
from work import depth

if TYPE_CHECKING:
    from collections.abc import Iterator

    from measuring import Settings

BARE = "bare interpreter"
IMPORTS = {
    BARE: "pass",
    "import processes": "import processes",
    "Process, Task, TaskDependency": "from processes import Process, Task, TaskDependency",
    "concurrent.futures.process": "import concurrent.futures.process",
    "joblib": "import joblib",
    "loky": "import loky",
    "mpire": "import mpire",
    "pebble": "import pebble",
    "dask": "import dask",
}
DROPS = 3


def measure(settings: Settings) -> Iterator[Table]:
    """Measure imports, building and memory."""
    size = 10_000 if settings.quick else 100_000
    tasks = f"{size:_} tasks".replace("_", " ")

    table = Table("The run of a whole interpreter that imports", "import")
    take_turns(table, 5 * settings.rounds, ["ms"], IMPORTS, lambda row, _: [_milliseconds_of(IMPORTS[row])])
    yield table

    for title, unit, function, rounds in (
        (f"Building {tasks}", "s", build_seconds, settings.rounds),
        # Memory is the same each time.
        (f"Memory around a sequential run of {tasks} that return True", "bytes a task", bytes_per_task, 1),
        (f"Resident memory around {tasks}, built, run and dropped {DROPS} times", "MB", megabytes_left, 1),
    ):
        table = Table(title)
        for _ in range(rounds):
            for row, value in call_fresh(function, size).items():
                table.add(row, unit, [value])
        yield table


def _milliseconds_of(code: str) -> float:
    start = perf_counter()
    ended = subprocess.run([sys.executable, "-c", code], stderr=subprocess.DEVNULL, check=False)
    elapsed = perf_counter() - start
    if ended.returncode:
        raise NotMeasuredError("not installed")
    return elapsed * 1e3


# What is called in a fresh interpreter


def build_seconds(size: int) -> dict[str, float]:
    """Time the making of tasks, of tasks with a dependency, and of a process."""
    from processes import Process, Task, TaskDependency

    start = perf_counter()
    tasks = [Task(f"task-{index}", depth) for index in range(size)]
    made = perf_counter()
    chain = [Task("task-0", depth)]
    chain += [
        Task(f"task-{index}", depth, dependencies=[TaskDependency(f"task-{index - 1}", True)])
        for index in range(1, size)
    ]
    chained = perf_counter()
    Process(tasks)
    wide_process = perf_counter()
    Process(chain)
    chain_process = perf_counter()
    process = Process([])
    for task in chain:
        process.add_task(task)
    assert len(process.tasks) == size  # which puts them in order
    task_by_task = perf_counter()
    return {
        "Task": made - start,
        "Task with one TaskDependency": chained - made,
        "Process of independent tasks": wide_process - chained,
        "Process of a chain": chain_process - wide_process,
        "Process of a chain, task by task": task_by_task - chain_process,
    }


def bytes_per_task(size: int) -> dict[str, float]:
    """Count what is allocated for tasks, for their process, by a run, and what stays when all is dropped."""
    from processes import Process, Task

    def is_true() -> bool:
        return True

    Process([Task("warm-up", is_true)]).run(runner="sequential")
    gc.collect()
    tracemalloc.start()
    allocated = [_allocated()]
    tasks = [Task(f"task-{index}", is_true) for index in range(size)]
    allocated.append(_allocated())
    process = Process(tasks)
    allocated.append(_allocated())
    report = process.run(runner="sequential")
    allocated.append(_allocated())
    del tasks, process, report
    left = _allocated() - allocated[0]
    parts = [(after - before) / size for before, after in pairwise(allocated)]
    return {**dict(zip(["Task", "Process", "results and report"], parts, strict=True)), "left": left / size}


def megabytes_left(size: int) -> dict[str, float]:
    """Tell the resident memory before, at most, and after each of some rounds."""
    import psutil

    from processes import Process, Task

    def resident() -> float:
        gc.collect()
        return float(psutil.Process().memory_info().rss) / 2**20

    Process([Task("warm-up", depth)]).run(runner="sequential")
    megabytes = {"before": resident()}
    for number in range(1, DROPS + 1):
        process = Process([Task(f"task-{index}", depth) for index in range(size)])
        report = process.run(runner="sequential")
        megabytes["with all alive"] = max(megabytes.get("with all alive", 0.0), resident())
        del process, report
        megabytes[f"after round {number}"] = resident()
    return megabytes


def _allocated() -> int:
    gc.collect()
    return tracemalloc.get_traced_memory()[0]
