"""What users may write, as mypy sees it: it is checked together with the library, and never run."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, assert_type

import processes
import processes.comms
from processes import (
    DaskRunner,
    ExecutorRunner,
    Observer,
    Process,
    ProcessExecutionReport,
    ProcessPoolRunner,
    RunFinished,
    RunStarted,
    Task,
    TaskDependency,
    TaskFinished,
    TaskReportEntry,
    TaskResult,
    TaskRetried,
    TaskStarted,
    results_of,
)
from processes.events import Event


def count_words(text: str) -> int:
    return len(text.split())


# Mappings and lists that have a name, and so a type of their own

needs = {"database": 1}
options = {"text": "one two"}
behind = [TaskDependency("count", use_result_as_additional_args=True)]
tasks = [
    Task("count", count_words, kwargs=options, resources=needs, timeout=3),
    Task("show", print, dependencies=behind, retry_on=(OSError, ValueError)),
]
assert_type(results_of("count", sep="show"), list[TaskDependency])
assert_type(results_of(*tasks, sep=tasks[0]), list[TaskDependency])
process = Process(tasks, "words", runner="thread")

# Other people's engines

with ThreadPoolExecutor(2) as executor, DaskRunner(n_workers=2) as on_dask:
    process.run(runner=ExecutorRunner(executor, max_workers=4))
    process.run(runner=on_dask)

# Observers: any callable


class Watcher:
    def __call__(self, event: Event) -> None:
        match event:
            case TaskRetried(name, attempt, exception, delay):
                assert_type((name, attempt, delay), tuple[str, int, float])
                assert_type(exception, BaseException)
            case TaskFinished(_, result):
                assert_type(result, TaskResult)
            case RunFinished(elapsed_seconds):
                assert_type(elapsed_seconds, float)
            case RunStarted() | TaskStarted():
                pass


def count_event(event: Event) -> int:
    return len(event)


seen: list[Event] = []
observers: list[Observer] = [Watcher(), count_event, print, seen.append, lambda event: event]
report = process.run(observers=observers, resources=needs, durations=needs)
report = process.run(observers=[count_event], durations=report, checkpoint=Path("run.ckpt"))
report = process.run(runner=ProcessPoolRunner(preload=["json"]), checkpoint="run.ckpt")

# What comes back

assert_type(report, ProcessExecutionReport)
assert_type(report.results, dict[str, Any])
assert_type(report.from_checkpoint, tuple[str, ...])
assert_type(process.dry_run("run.ckpt"), dict[str, str])
assert_type(report.exceptions["count"], BaseException)
for entry in process.stream(observers=[Watcher()]):
    assert_type(entry, TaskReportEntry)

# Misspelled names: were one accepted, mypy would say that its comment is not needed

_ = processes.Proces  # type: ignore[attr-defined]
_ = processes.comms.EmailChanel  # type: ignore[attr-defined]
