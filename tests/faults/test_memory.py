"""Tasks that take more memory than they may."""

from __future__ import annotations

import time

from processes import MemoryLimitError, Process, ProcessPoolRunner, Task, TaskDependency, TaskStatus

MB = 1 << 20


def take(megabytes: int, seconds: float) -> int:
    block = bytearray(megabytes * MB)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        block[::4096] = b"x" * len(block[::4096])
    return len(block)


def test_the_task_that_passes_the_limit_is_ended_and_named_and_others_go_on():
    tasks = [
        Task("greedy", take, args=(400, 60), retries=2),
        Task("below", abs, args=(1,), dependencies=[TaskDependency("greedy")]),
        *(Task(f"modest{i}", take, args=(20, 0)) for i in range(10)),
    ]
    report = Process(tasks).run(runner=ProcessPoolRunner(2, memory_limit=200 * MB))
    error = report.exceptions["greedy"]
    assert type(error) is MemoryLimitError
    assert error.limit == 200 * MB < error.peak
    assert error.task_name == "greedy"
    assert report.entries["greedy"].attempts == 1
    assert report.entries["below"].status is TaskStatus.SKIPPED
    assert report.results == {f"modest{i}": 20 * MB for i in range(10)}
