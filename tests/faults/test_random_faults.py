"""Random graphs with random faults, on workers that stay: the report is always what the graph demands."""

from __future__ import annotations

import threading
from itertools import count
from pathlib import Path

import hypothesis.strategies as st
import psutil
from faulty_runs import time_limit
from hypothesis import given, settings
from misbehaving import Bomb, act
from steadiness import steadily

from processes import (
    Process,
    ProcessPoolRunner,
    SerializationError,
    Task,
    TaskDependency,
    TaskStatus,
    WorkerDiedError,
)
from processes.runners.pool import abilities

# What each fault does, and how its task is to fail. Those that cost a worker are drawn less often, since
# each takes the time of a boot.
EXPECTED = {
    "returns": None,
    "raises": ValueError,
    "leaves": SystemExit,
    "returns what cannot travel": SerializationError,
    "is given what cannot travel": SerializationError,
    "is given what cannot be read": SerializationError,
    "exits": WorkerDiedError,
    "is killed": WorkerDiedError,
    "returns what ends its reader": WorkerDiedError,
    "takes too long": TimeoutError,
}
FAULTS = ["returns"] * 32 + list(EXPECTED)[1:6] * 8 + list(EXPECTED)[6:]


@st.composite
def graphs(draw: st.DrawFn) -> list[tuple[str, list[int]]]:
    """Draw tasks: the fault, and the numbers of earlier tasks that it depends on."""
    tasks = []
    for number in range(draw(st.integers(1, 9))):
        earlier = st.integers(0, max(0, number - 1))
        dependencies = draw(st.lists(earlier, unique=True, max_size=min(2, number)))
        tasks.append((draw(st.sampled_from(FAULTS)), dependencies))
    return tasks


def build(graph: list[tuple[str, list[int]]], marks: str) -> Process:
    tasks = []
    for number, (fault, dependencies) in enumerate(graph):
        given: object = None
        if fault == "is given what cannot travel":
            given = [threading.Lock()]
        elif fault == "is given what cannot be read":
            given = [Bomb(int, "no number")]
        tasks.append(
            Task(
                f"t{number}",
                act,
                args=(fault, f"{marks}-{number}", number, given),
                dependencies=[TaskDependency(f"t{source}", True) for source in dependencies],
                timeout=0.1 if fault == "takes too long" else None,
            )
        )
    return Process(tasks)


def foresee(graph: list[tuple[str, list[int]]]) -> list[tuple[TaskStatus, int | None]]:
    """Work out each task's status, and the value of those that succeed."""
    ends: list[tuple[TaskStatus, int | None]] = []
    for number, (fault, dependencies) in enumerate(graph):
        values = [ends[source][1] for source in dependencies]
        if None in values:
            ends.append((TaskStatus.SKIPPED, None))
        elif fault == "returns":
            ends.append((TaskStatus.SUCCESS, number + sum(value for value in values if value is not None)))
        else:
            ends.append((TaskStatus.ERRORED, None))
    return ends


def check(graph: list[tuple[str, list[int]]], marks: str, runner: ProcessPoolRunner) -> None:
    with time_limit(120):
        report = build(graph, marks).run(runner=runner)
    for number, ((fault, _), (status, value)) in enumerate(zip(graph, foresee(graph), strict=True)):
        entry = report.entries[f"t{number}"]
        assert (entry.status, entry.result) == (status, value)
        mark = Path(f"{marks}-{number}")
        began = status is not TaskStatus.SKIPPED and not fault.startswith("is given")
        if fault != "takes too long":  # which may end before the function has done anything
            assert (mark.read_text() if mark.exists() else "") == ("x" if began else "")
        if status is TaskStatus.ERRORED:
            error = report.exceptions[f"t{number}"]
            assert type(error) is EXPECTED[fault]
            assert entry.error is not None
            assert entry.attempts == (fault != "is given what cannot travel")
            if isinstance(error, WorkerDiedError | SerializationError):
                assert error.task_name == f"t{number}"


def test_whatever_goes_wrong_the_report_is_complete_and_everybody_else_right(tmp_path, system):
    numbers = count()
    before = set(psutil.Process().children(recursive=True))
    with ProcessPoolRunner(2) as runner:

        @settings(steadily, max_examples=50 if abilities.CAN_GUARD else 15)
        @given(graphs())
        def try_graph(graph: list[tuple[str, list[int]]]) -> None:
            check(graph, str(tmp_path / str(next(numbers))), runner)

        try_graph()
        # Of each worker two processes at most: itself and its guard.
        assert len(set(psutil.Process().children(recursive=True)) - before) <= 4
