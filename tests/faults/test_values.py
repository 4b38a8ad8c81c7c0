"""Values that cannot travel, that fight back on the way, and that are large: each costs its own task."""

from __future__ import annotations

import os
import sys
import threading
import time

import psutil
import pytest
from faulty_runs import run_beside_others, run_in_new_python, time_limit
from misbehaving import Bomb
from odd_values import (
    GIB,
    HARMFUL,
    LARGE,
    UNSENDABLE,
    Reducing,
    Unloadable,
    close,
    fail_with_large_variables,
    fail_with_odd_variables,
    ignore,
    list_within_lists,
    make_and_leave,
    make_bomb,
    make_reducing,
    nest,
    raise_system_exit,
    read_null,
    turn_around,
)
from programs import NAMED
from raising import throw

from processes import Process, SerializationError, Task, TaskDependency, WorkerDiedError

pytestmark = pytest.mark.usefixtures("shared_workers")
needs_memory = pytest.mark.skipif(
    psutil.virtual_memory().available < 12 * GIB, reason="needs several GiB of memory for a moment"
)


# ---- What cannot be pickled ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", UNSENDABLE)
def test_an_argument_that_cannot_travel_fails_its_task_before_any_attempt(kind):
    value = UNSENDABLE[kind]()
    report = run_beside_others("process", Task("bad", print, kwargs={"file": value}))
    close(value)
    error = report.exceptions["bad"]
    assert type(error) is SerializationError
    assert (error.task_name, error.path, error.type) == ("bad", "kwargs['file']", kind)
    assert report.entries["bad"].attempts == 0
    assert 'or give the task runner="' in str(error), "it says what to do"
    assert report.entries["bad"].kwargs == {"file": value}


@pytest.mark.parametrize("kind", UNSENDABLE)
def test_an_argument_is_found_deep_inside_an_object(kind):
    value = nest(UNSENDABLE[kind])
    report = run_beside_others("process", Task("bad", print, args=(1, value)))
    close(value["settings"][1].inner[1]["deep"])
    error = report.exceptions["bad"]
    assert (error.path, error.type) == ("args[1]['settings'][1].inner[1]['deep']", kind)


@pytest.mark.parametrize("kind", UNSENDABLE)
def test_a_result_that_cannot_travel_fails_its_task_in_its_only_attempt(kind):
    report = run_beside_others(
        "process",
        Task("flat", make_and_leave, args=(UNSENDABLE[kind], False), retries=2),
        Task("deep", make_and_leave, args=(UNSENDABLE[kind], True)),
    )
    assert {type(error) for error in report.exceptions.values()} == {SerializationError}
    flat, deep = report.exceptions["flat"], report.exceptions["deep"]
    assert (flat.path, flat.type) == ("result", kind)
    assert (deep.path, deep.type) == ("result['settings'][1].inner[1]['deep']", kind)
    assert [report.entries[name].attempts for name in ("flat", "deep")] == [1, 1]


def test_a_result_of_a_dependency_that_cannot_go_on_fails_the_task_that_needs_it():
    # Made on a thread, the lock is fine until it shall go to a worker.
    tasks = [
        Task("lock", threading.Lock, runner="thread"),
        Task("needs", repr, dependencies=[TaskDependency("lock", True)]),
        Task("below", repr, dependencies=[TaskDependency("needs", True)]),
        Task("good", abs, args=(-1,)),
    ]
    with time_limit(120):
        report = Process(tasks).run(runner="process")
    assert list(report.successes) == ["lock", "good"]
    assert list(report.skipped) == ["below"]
    error = report.exceptions["needs"]
    assert (type(error), error.path) == (SerializationError, "args[0]")


def test_a_function_that_cannot_travel_fails_its_task():
    lock = threading.Lock()
    report = run_beside_others("process", Task("bad", lambda: lock.locked()))
    error = report.exceptions["bad"]
    assert type(error) is SerializationError
    assert "func" in error.path
    assert error.type == "_thread.lock"


def test_what_cannot_travel_is_fine_where_nothing_travels():
    lock = threading.Lock()
    report = Process([Task("lock", type, args=(lock,), runner="thread"), Task("other", abs, args=(1,))]).run(
        runner="process"
    )
    assert report.results == {"lock": type(lock), "other": 1}


# ---- What does harm on the way ---------------------------------------------------------------------------


def test_an_argument_that_does_harm_when_it_is_read_costs_one_attempt():
    tasks = [Task(how, ignore, args=(value,)) for how, (value, _, _) in HARMFUL.items()]
    report = run_beside_others("process", *tasks)
    for how, (_, expected, text) in HARMFUL.items():
        error = report.exceptions[how]
        assert type(error) is expected
        assert text in str(error)
        assert error.task_name == how
        assert report.entries[how].attempts == 1


def test_a_result_that_does_harm_when_it_is_read_costs_one_attempt_and_never_the_parent():
    bombs = {how: (call, *args) for how, (value, _, _) in HARMFUL.items() for call, args in [value.reduced]}
    report = run_beside_others("process", *(Task(how, make_bomb, args=bomb) for how, bomb in bombs.items()))
    for how, (_, expected, text) in HARMFUL.items():
        error = report.exceptions[how]
        assert type(error) is expected, how
        assert text in str(error)
        assert report.entries[how].attempts == 1


def test_values_that_take_for_ever_to_read_end_with_the_time_limit():
    report = run_beside_others(
        "process",
        Task("argument", ignore, args=(Bomb(time.sleep, 3600),), timeout=1),
        Task("result", make_bomb, args=(time.sleep, 3600), timeout=1),
    )
    assert {type(error) for error in report.exceptions.values()} == {TimeoutError}


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: ValueError("not me"), "ValueError: not me"),
        (lambda: SystemExit(5), "SystemExit: 5"),
        (lambda: GeneratorExit("left"), "GeneratorExit: left"),
        (lambda: RecursionError("too deep"), " deep"),
    ],
    ids=["ValueError", "SystemExit", "GeneratorExit", "RecursionError"],
)
def test_an_argument_that_raises_while_the_parent_writes_it_fails_its_task(make, text):
    value = {"cfg": [Reducing(throw, make)]}
    report = run_beside_others("process", Task("bad", ignore, args=(value,)))
    error = report.exceptions["bad"]
    assert type(error) is SerializationError
    assert error.path == "args[0]['cfg'][0]"
    assert text in str(error)
    assert report.entries["bad"].attempts == 0


class Nameless(type):
    __module__ = property(lambda cls: 1 / 0)


def test_an_argument_whose_class_does_not_tell_its_module_fails_its_task():
    value = Nameless("Value", (), {"__reduce__": lambda self: throw(lambda: ValueError("not me"))})()
    report = run_beside_others("process", Task("bad", ignore, args=(value,)))
    assert f"args[0] is a {__name__}.Value, which cannot be serialized" in str(report.exceptions["bad"])


def test_a_result_that_does_harm_while_the_worker_writes_it_costs_one_attempt():
    report = run_beside_others(
        "process",
        Task("raises", make_reducing, args=(int, "no number")),
        Task("leaves", make_reducing, args=(raise_system_exit, 6)),
        Task("exits", make_reducing, args=(os._exit, 9)),
        Task("segfaults", make_reducing, args=(read_null,)),
        Task("hangs", make_reducing, args=(time.sleep, 3600), timeout=1),
    )
    errors = report.exceptions
    assert {name: type(error) for name, error in errors.items()} == {
        "raises": SerializationError,
        "leaves": SerializationError,
        "exits": WorkerDiedError,
        "segfaults": WorkerDiedError,
        "hangs": TimeoutError,
    }
    assert errors["raises"].path == "result[0]"
    assert errors["exits"].exitcode == 9
    assert errors["segfaults"].signal == "SIGSEGV"
    assert all(entry.attempts == 1 for entry in report.errored.values())


def test_values_nested_deeper_than_the_stack_fail_their_task():
    report = run_beside_others(
        "process",
        Task("argument", ignore, args=(list_within_lists(100_000),)),
        Task("result", list_within_lists, args=(100_000,)),
    )
    assert {type(error) for error in report.exceptions.values()} == {SerializationError}


# ---- Large values ----------------------------------------------------------------------------------------


def test_a_hundred_megabytes_travel_both_ways_at_once():
    size = 50_000_000
    values = [bytes([number]) * size for number in (1, 2)]
    tasks = [Task(f"turn{i}", turn_around, args=(value,)) for i, value in enumerate(values)]
    tasks += [Task(f"small{i}", pow, args=(i, 2)) for i in range(20)]
    with time_limit(120):
        report = Process(tasks).run(runner="process", max_workers=2)
    assert len(report.successes) == 22
    assert [report.entries[f"turn{i}"].result == values[i] for i in range(2)] == [True, True]


def make_array(size: int) -> object:
    import numpy as np  # here, because workers import this module

    array = np.zeros(size, np.uint8)  # which the system need not give memory to, but where it is not 0
    array[[0, 2 * GIB - 1, 2 * GIB, -1]] = 1, 2, 3, 4
    return array


@needs_memory
@pytest.mark.once
def test_a_result_beyond_two_gibibytes_arrives():
    size = 2 * GIB + 1000
    with time_limit(240):
        report = Process(
            [
                Task("large", make_array, args=(size,)),
                Task("next", divmod, args=(7, 2), dependencies=[TaskDependency("large")]),
            ]
        ).run(runner="process", max_workers=1)
    result = report.results["large"]
    assert result.nbytes == size
    assert result[[0, 1, 2 * GIB - 1, 2 * GIB, -2, -1]].tolist() == [1, 0, 2, 3, 0, 4]
    assert report.results["next"] == (3, 1)


# ---- What is shown of values -----------------------------------------------------------------------------


def test_large_values_do_not_stand_in_traceback_variables_or_log(runner, tmp_path):
    argument = b"a" * LARGE
    log = tmp_path / "task.log"
    report = run_beside_others(runner, Task("bad", fail_with_large_variables, args=(argument,), log_path=log))
    error = report.entries["bad"].error
    assert set(error.traced_vars) == {"argument", "text", "numbers"}
    assert all(len(value) < 10_000 for value in error.traced_vars.values())
    assert "more characters" in error.traced_vars["text"]
    assert len(error.exception) < 100_000
    assert len(error.traceback_str) < 1_100_000
    assert log.stat().st_size < 2_000_000
    assert report.entries["bad"].args == (argument,), "the argument itself stays whole"


@pytest.mark.parametrize("name", ["process", "thread"])
@pytest.mark.leaves_threads
def test_slow_raising_hanging_and_long_reprs_are_bounded(name, tmp_path):
    start = time.monotonic()
    report = run_beside_others(name, Task("bad", fail_with_odd_variables, log_path=tmp_path / "log"))
    assert time.monotonic() - start < 30  # not the hour or so that it would be
    variables = report.entries["bad"].error.traced_vars
    assert list(variables) == ["first", "raising", "long", "slow", "hanging"]
    assert variables["first"] == "1"
    assert variables["raising"] == "<RaisingRepr object whose __repr__ raised SystemExit: no repr>"
    assert variables["long"].startswith("longlong")
    assert len(variables["long"]) < 10_000
    assert "__repr__ took longer than" in variables["slow"]
    assert "left out" in variables["hanging"]
    assert "with odd variables" in (tmp_path / "log").read_text()


ODD_ARGUMENTS = """
import sys
from odd_values import HangingRepr, LongRepr, RaisingRepr, SlowRepr
from processes import Process, Task

def fail(*values):
    raise ValueError("told")

values = (RaisingRepr(), LongRepr(), SlowRepr(), HangingRepr())
for runner in sys.argv[1:]:
    report = Process([Task("bad", fail, args=values, log_path=runner), Task("good", abs, args=(-1,))]).run(
        runner=runner
    )
    assert str(report.exceptions["bad"]) == "told"
    assert report.results == {"good": 1}
"""


def test_arguments_with_odd_reprs_cost_neither_run_nor_log(tmp_path):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([os.path.dirname(__file__), *sys.path])}
    assert run_in_new_python(ODD_ARGUMENTS, *NAMED, cwd=tmp_path, env=environment) == ""
    for runner in NAMED:
        assert "ValueError: told" in (tmp_path / runner).read_text()
        assert (tmp_path / runner).stat().st_size < 100_000


def test_a_function_that_cannot_be_loaded_fails_each_of_its_tasks_and_no_worker():
    function = Unloadable()
    tasks = [Task(f"t{number}", function) for number in range(3)] + [Task("pid", os.getpid)]
    report = Process(tasks).run(runner="process", max_workers=1)
    assert list(report.results) == ["pid"]
    assert {type(error) for error in report.exceptions.values()} == {SerializationError}
    assert {metrics.pid for metrics in report.metrics.values()} == {report.results["pid"]}
