"""Large results for one task alone (`keep_result=False`): handed on as they are, and never lost by it."""

from __future__ import annotations

import gc
import os
import re
import signal
import threading
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from arrays import (
    SIZE,
    add_one,
    are_one,
    clear_and_fail,
    double,
    grow,
    in_order,
    leave_a_thread_behind,
    make,
    spoil_and_fail,
    spoil_and_fail_once,
    sum_up,
    use_up_descriptors,
    work,
)
from faulty_runs import time_limit
from programs import wait_until

from processes import (
    Process,
    ProcessExecutionReport,
    ProcessPoolRunner,
    Task,
    TaskDependency,
    TaskFinished,
    TaskStatus,
    WorkerDiedError,
    results_of,
)
from processes.runners.pool import abilities, buffers

pytestmark = pytest.mark.skipif(not abilities.CAN_TAKE_BACK, reason="results are not kept on this system")

TOTAL = float(sum(range(SIZE)))


def run(tasks: list[Task], runner: Any, **arguments: Any) -> ProcessExecutionReport:
    with time_limit(120):
        return Process(tasks).run(runner=runner, **arguments)


class Files(set[int]):
    """The files of results that the parent has, and how many it has had."""

    count = 0

    def add(self, descriptor: int) -> None:
        self.count += 1
        super().add(descriptor)


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> Files:
    """Count the files that the parent gets from now on."""
    files = Files(buffers._open_files)
    monkeypatch.setattr(buffers, "_open_files", files)
    return files


def touch_at_the_end_of_soon(folder: Path) -> Callable[[object], None]:
    def observe(event: object) -> None:
        if isinstance(event, TaskFinished) and event.name == "soon":
            (folder / "soon").touch()

    return observe


# ---- Handed on -------------------------------------------------------------------------------------------


def test_the_next_task_gets_the_value_itself(workers, files):
    tasks = [Task("t0", make, keep_result=False)]
    tasks += [
        Task(f"t{n}", add_one, dependencies=results_of(f"t{n - 1}"), keep_result=False) for n in range(1, 9)
    ]
    tasks.append(Task("end", double, dependencies=results_of("t8")))
    report = run(tasks, workers)
    assert report.results["end"] == (TOTAL + 8 * SIZE, True)
    assert len({report.metrics[name].pid for name in report.entries}) == 1
    assert files.count == 0


@pytest.mark.parametrize(
    ("options", "dependants"),
    [
        ({"keep_result": True}, [{}]),
        ({"keep_result": False}, [{}, {}]),
        ({"keep_result": False}, [{"retries": 1}]),
        ({"keep_result": False}, [{"runner": "thread"}]),
    ],
    ids=["it is kept", "two tasks need it", "the next may run again", "the next runs elsewhere"],
)
def test_what_somebody_else_may_need_is_written(workers, files, options, dependants):
    tasks = [Task("make", make, **options)]
    tasks += [
        Task(f"use{n}", double, dependencies=results_of("make"), **more) for n, more in enumerate(dependants)
    ]
    report = run(tasks, workers)
    assert {report.results[f"use{n}"] for n in range(len(dependants))} == {(TOTAL, False)}
    assert files.count == 1


def test_an_object_of_the_programs_own_class_is_handed_on_itself(workers, files, tmp_path):
    class State:  # local, so that it goes by value
        def __init__(self) -> None:
            self.array = make()
            self.steps = 0

    def go_on(state: State) -> State:
        assert type(state) is State
        state.array += 1
        state.steps += 1
        return state

    def end(state: State) -> tuple[int, float, bool]:
        return state.steps, *double(state.array)

    tasks = [Task("t0", State, keep_result=False)]
    tasks += [
        Task(f"t{n}", go_on, dependencies=results_of(f"t{n - 1}"), keep_result=False) for n in range(1, 5)
    ]
    tasks.append(Task("end", end, dependencies=results_of("t4")))
    report = run(tasks, workers)
    report.raise_for_errors()
    assert report.results["end"] == (4, TOTAL + 4 * SIZE, True)
    assert files.count == 0

    # And where it is written, because the next task cannot start yet, its class goes along.
    tasks = [
        Task("soon", State, keep_result=False),
        Task("late", wait_until, args=((tmp_path / "soon").exists,)),
        Task("end", lambda _, state: end(state), dependencies=results_of("late", "soon")),
    ]
    assert run(tasks, workers, observers=[touch_at_the_end_of_soon(tmp_path)]).results["end"] == (
        0,
        TOTAL,
        False,
    )


def test_a_retry_gets_the_value_as_it_was_made(workers, tmp_path):
    again = {"kwargs": {"marker": str(tmp_path / "m")}, "retries": 1, "retry_on": (ValueError,)}
    tasks = [
        Task("make", make, keep_result=False),
        Task("use", spoil_and_fail_once, dependencies=results_of("make"), **again),
    ]
    assert run(tasks, workers).results["use"] == TOTAL


def test_memory_that_is_handed_on_may_grow(workers):
    tasks = [
        Task("make", bytearray, args=(2 << 20,), keep_result=False),
        Task("grow", grow, dependencies=results_of("make")),
    ]
    assert run(tasks, workers).results["grow"] == (2 << 20) + 4


def test_one_value_at_two_places_is_one_object(workers):
    both = TaskDependency(
        "make",
        use_result_as_additional_args=True,
        use_result_as_additional_kwargs=True,
        additional_kwarg_name="too",
    )
    tasks = [Task("make", make, keep_result=False), Task("use", are_one, dependencies=[both])]
    assert run(tasks, workers).results["use"] is True


def test_arguments_keep_their_order(workers):
    tasks = [
        Task("small", abs, args=(-7,)),
        Task("shared", make),
        Task(
            "late", make, keep_result=False, dependencies=[TaskDependency("shared"), TaskDependency("small")]
        ),
        Task("use", in_order, args=("own",), dependencies=results_of("small", "late", "shared")),
    ]
    assert run(tasks, workers).results["use"] == ["own", 7, "ndarray", "ndarray"]


# ---- Written, because the next task cannot start yet -----------------------------------------------------


def test_a_value_is_written_where_its_task_waits_for_another(workers, files, tmp_path):
    tasks = [
        Task("soon", make, keep_result=False),
        Task("late", wait_until, args=((tmp_path / "soon").exists,)),
        Task("use", lambda _, array: double(array), dependencies=results_of("late", "soon")),
    ]
    report = run(tasks, workers, observers=[touch_at_the_end_of_soon(tmp_path)])
    assert report.results["use"] == (TOTAL, False)
    assert files.count == 1


def test_of_two_values_for_one_task_both_arrive(workers):
    tasks = [Task(name, make, keep_result=False) for name in ("one", "other")]
    tasks.append(Task("use", sum_up, dependencies=results_of("one", "other")))
    assert run(tasks, workers).results["use"] == 2 * TOTAL


def test_more_chains_than_workers_come_to_their_ends(workers):
    tasks = []
    for chain in range(7):
        tasks.append(Task(f"{chain}-0", make, keep_result=False))
        tasks += [
            Task(f"{chain}-{n}", add_one, dependencies=results_of(f"{chain}-{n - 1}"), keep_result=False)
            for n in range(1, 4)
        ]
        tasks.append(Task(f"{chain}-end", sum_up, dependencies=results_of(f"{chain}-3")))
    report = run(tasks, workers)
    assert {report.results[f"{chain}-end"] for chain in range(7)} == {TOTAL + 3 * SIZE}


def test_a_worker_that_makes_place_for_another_writes_first():
    tasks = [
        Task("make", leave_a_thread_behind, keep_result=False),
        Task("use", double, dependencies=results_of("make")),
    ]
    assert run(tasks, "process", max_workers=1).results["use"] == (TOTAL, False)


def test_a_value_counts_not_as_memory_left_results_of():
    size = 20 << 20  # numbers: 160 MB, of which a worker may keep half its limit: 150
    tasks = [
        Task("make", make, args=(size,), keep_result=False),
        Task("use", double, dependencies=results_of("make")),
    ]
    report = run(tasks, ProcessPoolRunner(1, memory_limit=300 << 20))
    assert report.results["use"][1]


def test_nobody_needs_the_value_after_all(workers):
    tasks = [
        Task("make", make, keep_result=False),
        Task("fails", int, args=("x",)),
        Task("use", double, dependencies=[*results_of("make"), TaskDependency("fails")]),
        Task("other", abs, args=(-1,), dependencies=[TaskDependency("make")], keep_result=False),
    ]
    report = run(tasks, workers)
    assert list(report.skipped) == ["use"]
    again = run(
        [Task("make", make, keep_result=False), Task("use", double, dependencies=results_of("make"))], workers
    )
    assert again.results["use"] == (TOTAL, True)


def test_a_worker_without_descriptors_still_has_what_it_keeps():
    tasks = [
        Task("shared", make),
        Task("make", use_up_descriptors, keep_result=False, dependencies=[TaskDependency("shared")]),
        Task("use", sum_up, dependencies=results_of("shared", "make")),
    ]
    assert run(tasks, "process", max_workers=1).results["use"] == 2 * TOTAL


# ---- Failures --------------------------------------------------------------------------------------------


def test_a_failure_shows_the_value_as_the_function_left_it(workers):
    tasks = [
        Task("make", make, keep_result=False),
        Task("use", spoil_and_fail, dependencies=results_of("make")),
    ]
    error = run(tasks, workers).errored["use"].error
    (shown,) = error.args
    assert (shown[0], shown[1:].sum()) == (-1, TOTAL)


def test_a_failure_shows_the_value_though_the_function_has_left_little_of_it(workers):
    tasks = [
        Task("make", lambda: [bytes(200_000)], keep_result=False),
        Task("use", clear_and_fail, dependencies=results_of("make")),
    ]
    report = run(tasks, workers)
    assert report.errored["use"].error.args == ([],)


def test_a_failure_names_the_worker_where_the_value_as_the_function_left_it_cannot_travel(workers):
    def hold_a_lock_and_fail(values: list[Any]) -> None:
        values.append(threading.Lock())
        raise ValueError("no")

    tasks = [
        Task("make", lambda: [bytes(200_000)], keep_result=False),
        Task("use", hold_a_lock_and_fail, dependencies=results_of("make")),
    ]
    report = run(tasks, workers)
    assert str(report.exceptions["use"]) == "no"
    assert re.match(
        r"\(<the result of 'make', which process-\d alone had>,\)", repr(report.errored["use"].error.args)
    )
    assert run([Task("next", abs, args=(-1,))], workers).results == {"next": 1}


# From here on, workers that no other test has are not made to import NumPy.
LARGE = 2 << 20  # bytes


def test_a_death_costs_the_task_that_had_the_value():
    tasks = [
        Task("make", bytearray, args=(LARGE,), keep_result=False),
        Task("use", lambda _: os.kill(os.getpid(), signal.SIGKILL), dependencies=results_of("make")),
        Task("below", abs, dependencies=results_of("use")),
        *(Task(f"other{n}", pow, args=(n, 2)) for n in range(10)),
    ]
    report = run(tasks, "process", max_workers=2)
    assert type(report.exceptions["use"]) is WorkerDiedError
    assert report.entries["use"].attempts == 1
    assert "the result of 'make'" in repr(report.entries["use"].error.args[0])
    assert report.to_json()
    assert len(report.successes) == 11


def test_a_time_limit_ends_the_task_that_has_the_value():
    tasks = [
        Task("make", bytearray, args=(LARGE,), keep_result=False),
        Task("use", lambda _: time.sleep(3600), dependencies=results_of("make"), timeout=0.2),
        *(Task(f"other{n}", pow, args=(n, 2)) for n in range(10)),
    ]
    report = run(tasks, "process", max_workers=2)
    assert type(report.exceptions["use"]) is TimeoutError
    assert len(report.successes) == 11


@pytest.mark.parametrize("waits", [False, True], ids=["about to start", "waits for another task"])
def test_where_the_worker_dies_with_the_value_the_task_says_so(tmp_path, waits):
    pid_file, others_are_done = tmp_path / "pid", tmp_path / "done"
    others = {f"other{n}" for n in range(10)}

    def make_and_tell() -> bytearray:
        pid_file.write_text(str(os.getpid()))
        with time_limit(120):
            # With another attempt in line, the worker would write the value before it begins that.
            while not (waits or others_are_done.exists()):
                time.sleep(0.001)
        return bytearray(LARGE)

    def kill_worker(event: object) -> None:
        if not isinstance(event, TaskFinished):
            return
        others.discard(event.name)
        if not others:
            others_are_done.touch()
        if event.name == "make":
            worker = psutil.Process(int(pid_file.read_text()))
            worker.kill()
            with time_limit(120):
                while worker.is_running() and worker.status() != psutil.STATUS_ZOMBIE:
                    time.sleep(0.001)

    tasks = [
        Task("make", make_and_tell, keep_result=False),
        Task("late", time.sleep, args=(0.5 * waits,)),
        Task("use", len, dependencies=results_of("make") + [TaskDependency("late")] * waits),
        Task("below", abs, dependencies=results_of("use")),
        *(Task(f"other{n}", pow, args=(n, 2)) for n in range(10)),
    ]
    report = Process(tasks).run(runner="process", max_workers=2, observers=[kill_worker])
    error = report.exceptions["use"]
    assert isinstance(error, WorkerDiedError)
    assert (error.task_name, error.signal) == ("use", "SIGKILL")
    assert "had kept the result of 'make' for it was ended by SIGKILL" in str(error)
    assert report.entries["make"].status is TaskStatus.SUCCESS
    assert report.entries["use"].attempts == 0
    assert list(report.skipped) == ["below"]
    assert len(report.successes) == 12


# ---- At random -------------------------------------------------------------------------------------------


def build(graph: list[dict[str, Any]], do: Callable[..., Any] = work) -> list[Task]:
    return [
        Task(
            f"t{number}",
            do,
            args=(number, drawn["size"], drawn["fault"]),
            dependencies=results_of(*(f"t{source}" for source in drawn["sources"])),
            keep_result=drawn["keep"],
            retries=drawn["retries"],
            timeout=drawn["timeout"],
        )
        for number, drawn in enumerate(graph)
    ]


def test_whatever_the_graph_each_task_gets_what_was_made_for_it():
    import hypothesis.strategies as st  # here, because workers import this module
    from hypothesis import given, settings
    from steadiness import steadily

    @st.composite
    def graphs(draw: st.DrawFn) -> list[dict[str, Any]]:
        graph = []
        for number in range(draw(st.integers(2, 9))):
            earlier = st.integers(0, max(0, number - 1))
            graph.append(
                {
                    "sources": sorted(draw(st.lists(earlier, unique=True, max_size=min(2, number)))),
                    "keep": draw(st.sampled_from([False, False, False, True])),
                    "size": draw(st.sampled_from([SIZE, SIZE, 10])),
                    # Each death takes the time of a boot, and so is drawn less often.
                    "fault": draw(st.sampled_from([""] * 30 + ["raises"] * 2 + ["dies"])),
                    "retries": draw(st.sampled_from([0, 0, 0, 1])),
                    "timeout": draw(st.sampled_from([None, None, 30])),
                }
            )
        return graph

    numbers = count()
    workers = ProcessPoolRunner(2)

    @settings(steadily, max_examples=20)
    @given(graphs())
    def try_graph(graph: list[dict[str, Any]]) -> None:
        next(numbers)
        report = run(build(graph), workers)
        totals: dict[int, float | None] = {}
        for number, drawn in enumerate(graph):
            values = [totals[source] for source in drawn["sources"]]
            entry = report.entries[f"t{number}"]
            if None in values or drawn["fault"]:
                totals[number] = None
                assert entry.status is (TaskStatus.SKIPPED if None in values else TaskStatus.ERRORED)
                if entry.status is TaskStatus.ERRORED:
                    assert entry.attempts == 1 + (drawn["fault"] == "dies" and drawn["retries"])
            else:
                totals[number] = number + sum(value for value in values if value is not None)
                assert entry.status is TaskStatus.SUCCESS
                if drawn["keep"]:
                    assert (entry.result == np.full(drawn["size"], totals[number])).all()

    with workers:
        try_graph()
    assert next(numbers) >= 20
    gc.collect()  # exceptions and the frames of their tracebacks refer to each other
    assert not buffers._open_files


def test_what_an_answer_sets_going_that_comes_before_a_run_of_several_runners_sleeps_is_sent(
    monkeypatch, tmp_path
):
    ask, flush = ProcessPoolRunner._ask_for_kept, ProcessPoolRunner._flush

    def ask_who_is_stopped(pool):
        for child in pool._keepers:
            os.kill(child.who.pid, signal.SIGSTOP)
        ask(pool)
        (tmp_path / "asked").touch()

    def flush_slowly(pool):
        flush(pool)
        if pool._waiting:
            for child in pool._children:
                os.kill(child.who.pid, signal.SIGCONT)
            time.sleep(0.5)  # the answer is there by then

    monkeypatch.setattr(ProcessPoolRunner, "_ask_for_kept", ask_who_is_stopped)
    monkeypatch.setattr(ProcessPoolRunner, "_flush", flush_slowly)
    tasks = [
        Task("make", bytearray, args=(LARGE,), keep_result=False),
        Task("wait", wait_until, args=((tmp_path / "asked").exists,), runner="thread"),
        Task("length", len, dependencies=[*results_of("make"), TaskDependency("wait")]),
    ]
    # In a thread that no signal has to be looked for in, and which so sleeps until something comes.
    with time_limit(120), Process(tasks).stream(runner=ProcessPoolRunner(1)) as stream:
        assert {entry.name for entry in stream} == {"make", "wait", "length"}
    assert stream.report.results["length"] == LARGE
