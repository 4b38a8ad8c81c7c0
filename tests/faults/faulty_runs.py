"""What the tests of faults share: runs with faulty tasks among others, and programs of their own."""

from __future__ import annotations

import faulthandler
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import pytest
from programs import output_of

from processes import Process, ProcessExecutionReport, ProcessRunner, Task, TaskDependency, TaskStatus
from processes.runners.pool import abilities


@contextmanager
def time_limit(seconds: int) -> Iterator[None]:
    """Raise in the main thread where a run would go on for ever; on Windows, end the tests."""
    if sys.platform == "win32":
        faulthandler.dump_traceback_later(seconds, exit=True)
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()
        return

    def give_up(*_: object) -> NoReturn:
        raise AssertionError(f"still running after {seconds} s")

    previous = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)


def run_beside_others(
    runner: str | ProcessRunner, *faulty: Task, max_workers: int | None = 2, seconds: int = 120
) -> ProcessExecutionReport:
    """Run faulty tasks among good ones; check that they, and what depends on them, are all that is lost."""
    tasks = [Task(f"before{i}", pow, args=(i, 2)) for i in range(8)]
    for task in faulty:
        tasks += [
            task,
            Task(f"below-{task.name}", abs, args=(1,), dependencies=[TaskDependency(task.name)]),
            Task(
                f"at-the-end-of-{task.name}", abs, dependencies=[TaskDependency(f"below-{task.name}", True)]
            ),
        ]
    tasks.append(Task("above", pow, args=(7, 2)))
    tasks.append(Task("later", divmod, args=(100,), dependencies=[TaskDependency("above", True)]))
    tasks += [Task(f"after{i}", pow, args=(i, 3)) for i in range(8)]
    with time_limit(seconds):
        report = Process(tasks).run(
            runner=runner, max_workers=max_workers if runner in ("thread", "process") else None
        )
    names = [task.name for task in faulty]
    statuses = {name: entry.status for name, entry in report.entries.items()}
    assert {name for name, status in statuses.items() if status is TaskStatus.ERRORED} == set(names)
    assert {name for name, status in statuses.items() if status is TaskStatus.SKIPPED} == {
        f"{below}-{name}" for name in names for below in ("below", "at-the-end-of")
    }
    assert report.results == {
        "above": 49,
        "later": (2, 2),
        **{f"before{i}": i**2 for i in range(8)},
        **{f"after{i}": i**3 for i in range(8)},
    }
    assert all(entry.attempts == 1 for entry in report.successes.values())
    return report


needs_guard = pytest.mark.skipif(not abilities.CAN_GUARD, reason="workers have guards where there are pidfds")
guarded_or_not = pytest.mark.parametrize("system", ["as it is", "without guard"], indirect=True)
"""For what has to do with the end of a worker, and nothing with what waits in its pipes."""
needs_stacks = pytest.mark.skipif(
    abilities.STACK_SIGNAL is None, reason="a worker does not tell where it stands there"
)
needs_limits = pytest.mark.skipif(sys.platform == "win32", reason="needs limits of resources")
needs_tokens = pytest.mark.skipif(
    not abilities.CAN_TAKE_BACK, reason="what was sent cannot be taken back here"
)


def run_in_new_python(script: str, *arguments: str, seconds: int = 120, **options: Any) -> str:
    """Run a script whose surroundings are its own, and give what it prints; it must end well and silently."""
    return output_of([sys.executable, "-W", "error", "-c", script, *arguments], seconds, **options)
