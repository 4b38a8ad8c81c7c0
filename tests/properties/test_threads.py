"""Threads that go on with a run by themselves: nothing is lost, whenever one of them is interrupted."""

from __future__ import annotations

import sys
import threading
from collections import Counter
from queue import SimpleQueue
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from interpreters import HAS_GIL
from steadiness import steadily

from processes import (
    Process,
    ProcessExecutionReport,
    Task,
    TaskDependency,
    TaskFinished,
    TaskStatus,
    ThreadRunner,
)


def fail_at_times(number: int, *below: int) -> int:
    if number % 7 == 3:
        raise ValueError(number)
    return 1 + sum(below)


def run_in_thread(process: Process, **arguments: Any) -> ProcessExecutionReport:
    """Run where no look for signals wakes the run; a wake-up that is lost would be lost for good."""
    reports: SimpleQueue[ProcessExecutionReport] = SimpleQueue()
    thread = threading.Thread(target=lambda: reports.put(process.run(**arguments)), daemon=True)
    thread.start()
    report = reports.get(timeout=60)
    thread.join(60)
    return report


@pytest.fixture(params=[1e-6, 1e-4])
def switch_interval(request):
    """How many seconds a thread runs before others get their turn; 5 ms is Python's own."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(request.param)
    yield
    sys.setswitchinterval(before)


@settings(steadily, max_examples=40)
@given(
    seed=st.integers(0),  # to draw each edge would take ten times as long as the run
    size=st.integers(1, 80),
    threads=st.integers(1, 6),
    watched=st.booleans(),
)
def check(others: list[str | None], seed: int, size: int, threads: int, watched: bool) -> None:
    random = Random(seed)
    sources = [random.sample(range(task), random.randint(0, min(task, 3))) for task in range(size)]
    tasks = [
        Task(
            f"t{task}",
            fail_at_times,
            args=(task,),
            dependencies=[TaskDependency(f"t{source}", True) for source in needed],
            runner=random.choice(others),
            priority=random.randint(0, 1),
        )
        for task, needed in enumerate(sources)
    ]
    expected: dict[str, object] = {}
    for task, needed in enumerate(sources):
        below = [expected[f"t{source}"] for source in needed]
        if any(not isinstance(value, int) for value in below):
            expected[f"t{task}"] = TaskStatus.SKIPPED
        elif task % 7 == 3:
            expected[f"t{task}"] = TaskStatus.ERRORED
        else:
            expected[f"t{task}"] = 1 + sum(below)
    ended: Counter[str] = Counter()

    def count(event: object) -> None:
        if isinstance(event, TaskFinished):
            ended[event.name] += 1

    report = run_in_thread(
        Process(tasks), runner="thread", max_workers=threads, observers=[count] if watched else []
    )
    found = {
        name: entry.result if entry.status is TaskStatus.SUCCESS else entry.status
        for name, entry in report.entries.items()
    }
    assert found == expected
    assert not watched or ended == dict.fromkeys(expected, 1)


@pytest.mark.parametrize("others", [[None], [None, "sequential"]], ids=["alone", "with another runner"])
def test_each_task_ends_once_wherever_threads_are_interrupted(switch_interval, others):
    check(others)


class CountsMessages(ThreadRunner):
    """Counts what wakes the run's own thread."""

    count = 0

    def wait(self, timeout: float) -> list[Any]:
        messages = super().wait(timeout)
        CountsMessages.count += len(messages)
        return messages


@pytest.mark.parametrize("depends", [False, True], ids=["independent", "chain"])
@pytest.mark.parametrize("threads", [1, 2, 4])
def test_short_calls_leave_the_run_s_own_thread_alone(threads, depends, monkeypatch):
    if threads > 1 and not HAS_GIL:
        pytest.skip("without the GIL several end at the same moment, and one of them at a time goes on")
    monkeypatch.setattr(CountsMessages, "count", 0)
    tasks = [
        Task(f"t{n}", int, dependencies=[TaskDependency(f"t{n - 1}")] if depends and n else [])
        for n in range(500)
    ]
    Process(tasks).run(runner=CountsMessages(threads)).raise_for_errors()
    assert CountsMessages.count < 250
