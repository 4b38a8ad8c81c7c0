"""The choice of a runner, how many workers it has, and how many threads these may use."""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from functools import partial

import psutil
import pytest
from programs import output_of

from processes import (
    DaskRunner,
    ExecutorRunner,
    Process,
    ProcessPoolRunner,
    Task,
    TaskDependency,
    ThreadRunner,
)
from processes.attempt import Finished
from processes.cpus import usable_cpus
from processes.runners.pool.arguments import are_apart


def process_of(count: int) -> Process:
    return Process([Task(f"t{number}", abs, args=(number,)) for number in range(count)])


@pytest.mark.parametrize(
    ("count", "options", "name"),
    [
        (9, {}, "sequential"),
        (10, {}, "thread"),
        (10, {"max_workers": 1}, "sequential"),
        (10, {"parallel": False}, "sequential"),
        (1, {"parallel": True}, "thread"),
        (1, {"parallel": True, "max_workers": 2}, "thread"),
        (1, {"parallel": True, "max_workers": 1}, "sequential"),
        (1, {"parallel": True, "max_workers": 0}, "sequential"),
        (1, {"runner": "thread", "max_workers": 1}, "thread"),
        (1, {"runner": "process", "max_workers": 1}, "process"),
        (1, {"runner": "thread", "parallel": True}, "thread"),
        (10, {"runner": "sequential", "parallel": False}, "sequential"),
    ],
)
def test_without_a_runner_parallel_decides_or_the_number_of_tasks(count, options, name):
    report = process_of(count).run(**options)
    assert report.runner == name
    assert report.results == {f"t{number}": number for number in range(count)}


@pytest.mark.parametrize("runner", ["thread", "process"])
@pytest.mark.parametrize("max_workers", [0, -3])
def test_less_than_one_worker_is_one(runner, max_workers):
    process = process_of(1)
    process.run(runner=runner, max_workers=max_workers).raise_for_errors()
    assert process.runner.max_workers == 1


def test_there_are_four_threads_and_a_worker_process_per_processor():
    process = process_of(1)
    process.run(parallel=True)
    assert process.runner.max_workers == 4
    process.run(runner="process")
    assert process.runner.max_workers == usable_cpus()


@pytest.mark.skipif(sys.version_info < (3, 13), reason="earlier ones cannot be told")
def test_there_are_as_many_worker_processes_as_python_was_told_that_there_are_processors():
    script = "from processes import ProcessPoolRunner; print(ProcessPoolRunner().max_workers)"
    assert output_of([sys.executable, "-X", "cpu_count=1", "-c", script]) == "1\n"


class CountsWorkers:
    """Counts the worker processes there are each time that it is serialized."""

    def __init__(self) -> None:
        self.counts: list[int] = []

    def __reduce__(self):
        self.counts.append(len(psutil.Process().children()))
        return int, ()  # so that workers need not import this module


@pytest.mark.parametrize(
    ("can_start", "resources", "workers"), [(1, None, 1), (2, None, 2), (5, None, 3), (5, {"gpu": 1}, 1)]
)
def test_all_workers_that_are_needed_at_once_start_before_anything_is_serialized(
    can_start, resources, workers
):
    value = CountsWorkers()
    tasks = [Task(f"t{n}", type, args=(value,), resources=resources) for n in range(can_start)]
    tasks.append(Task("last", int, dependencies=[TaskDependency(task.name) for task in tasks]))
    before = len(psutil.Process().children())
    Process(tasks).run(runner=ProcessPoolRunner(3), resources=resources).raise_for_errors()
    assert value.counts[0] - before == workers


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"parallel": "yes"}, TypeError, "parallel must be bool or None, not 'yes'"),
        ({"parallel": 1}, TypeError, "parallel must be bool or None, not 1"),
        ({"parallel": False, "runner": "thread"}, ValueError, "parallel=False contradicts runner='thread'"),
        ({"parallel": False, "runner": "process"}, ValueError, "parallel=False contradicts runner='process'"),
        (
            {"parallel": True, "runner": "sequential"},
            ValueError,
            "parallel=True contradicts runner='sequential'",
        ),
        (
            {"max_workers": 2, "runner": ThreadRunner(3)},
            ValueError,
            "max_workers=2 has no effect on a runner instance; leave it out, or give it to ThreadRunner",
        ),
    ],
)
def test_arguments_that_contradict_each_other_are_refused(options, error, message):
    with pytest.raises(error, match=re.escape(message)):
        process_of(1).run(**options)


@pytest.mark.parametrize(
    ("runner", "meant"),
    [("processes", "process"), ("Threads", "thread"), ("multiprocessing", "process"), ("cloud", None)],
)
def test_an_unknown_name_of_a_runner_tells_which_there_are_and_the_nearest(runner, meant):
    nearest = f"; did you mean {meant!r}?" if meant else ""
    message = (
        f"unknown runner {runner!r}; the known ones are 'sequential', 'thread', 'process', 'dask'{nearest}"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        process_of(1).run(runner=runner)


@pytest.mark.parametrize("wrong", [True, "2", 1.5])
@pytest.mark.parametrize("runner", [None, "sequential", "thread", "process"])
def test_a_number_of_workers_is_a_whole_number(runner, wrong):
    message = f"max_workers must be int or None, not {wrong!r}"
    with pytest.raises(TypeError, match=re.escape(message)):
        process_of(1).run(runner=runner, max_workers=wrong)


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (ThreadRunner, "max_workers"),
        (ProcessPoolRunner, "max_workers"),
        (ProcessPoolRunner, "memory_limit"),
        (ProcessPoolRunner, "max_tasks_per_worker"),
        (ProcessPoolRunner, "threads_per_worker"),
    ],
)
@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (0, ValueError, "at least 1, not 0"),
        (-1, ValueError, "at least 1, not -1"),
        (True, TypeError, "int or None, not True"),
        ("2", TypeError, "int or None, not '2'"),
        (1.5, TypeError, "int or None, not 1.5"),
    ],
)
def test_a_runner_refuses_numbers_that_it_cannot_keep_to(make, name, wrong, error, message):
    unit = ", in bytes," if name == "memory_limit" else ""
    with pytest.raises(error, match=f"^{name}{unit} must be {re.escape(message)}$"):
        make(**{name: wrong})


@pytest.mark.parametrize(
    "make", [ProcessPoolRunner, DaskRunner, partial(ExecutorRunner, ThreadPoolExecutor(1))]
)
def test_runners_that_send_functions_elsewhere_are_refused_on_other_interpreters(make, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(sys.implementation, "name", "pypy")
        with pytest.raises(ValueError, match=r'Runner needs CPython: on pypy, .* use runner="thread"'):
            make()


# ---- Threads that stay from run to run -------------------------------------------------------------------


def test_threads_of_a_block_stay_from_run_to_run_with_what_they_have_made():
    made = threading.local()

    def connection(together: threading.Barrier) -> tuple[object, str]:
        together.wait(60)  # else one thread might run both
        made.connection = getattr(made, "connection", None) or object()
        return made.connection, threading.current_thread().name

    def connections(runner: ThreadRunner | str, count: int = 2) -> tuple[set[object], set[str]]:
        together = threading.Barrier(count)
        tasks = [Task(f"t{number}", connection, args=(together,)) for number in range(count)]
        report = Process(tasks).run(runner=runner, max_workers=2 if runner == "thread" else None)
        found, names = zip(*report.results.values(), strict=True)
        return set(found), set(names)

    with ThreadRunner(2) as runner:
        first = connections(runner)
        with runner:
            assert connections(runner) == first
        (one,), names = connections(runner, 1)
        assert one in first[0]
        assert names == {"thread-1"} < first[1]
        assert connections(copy(runner)) == first
    assert not first[0] & connections(runner)[0]
    assert not first[0] & connections("thread")[0]


def test_a_thread_that_was_left_behind_serves_no_later_run_and_ends_with_its_call():
    go_on, left = threading.Event(), []

    def hang() -> None:
        left.append(threading.current_thread())
        go_on.wait(60)

    with ThreadRunner(1) as runner:
        report = Process([Task("hangs", hang, timeout=0.05, retries=1)]).run(runner=runner)
        assert isinstance(report.exceptions["hangs"], TimeoutError)
        go_on.set()
        for thread in left:
            thread.join(60)
            assert not thread.is_alive()
        later = Process([Task("later", threading.current_thread)]).run(runner=runner).results["later"]
    assert later not in left
    assert not later.is_alive()


def test_runs_at_the_same_time_have_threads_of_their_own_of_which_a_block_keeps_what_there_is_room_for():
    together = threading.Barrier(3)

    def meet() -> threading.Thread:
        together.wait(60)
        return threading.current_thread()

    def run(_: int) -> threading.Thread:
        return Process([Task("meets", meet)]).run(runner=runner).results["meets"]

    with ThreadRunner(1) as runner, ThreadPoolExecutor(3) as programs:
        threads = set(programs.map(run, range(3)))
        assert len(threads) == 3
        assert sum(thread.is_alive() for thread in threads) == 1


def test_what_is_raised_in_a_thread_next_to_a_function_costs_the_attempt_and_not_the_run():
    class TooLateError(BaseException):
        pass

    def strike(frame, event, _):
        # As another thread may, which raises its own time limit's error in this one, when the call has ended.
        if event == "call" and frame.f_code is Finished.__init__.__code__:
            sys.setprofile(None)
            raise TooLateError

    threading.setprofile(strike)  # for threads that start from now on
    try:
        report = process_of(2).run(runner=ThreadRunner(max_workers=1))
    finally:
        threading.setprofile(None)
    assert (type(report.exceptions["t0"]), report.results["t1"]) == (TooLateError, 1)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # from Python 3.12 on
def test_a_forked_process_that_uses_an_open_runner_has_threads_of_its_own():
    process = process_of(1)
    with ThreadRunner(1) as runner:
        process.run(runner=runner)
        forked = os.fork()
        if not forked:
            signal.alarm(30)  # it may not hang either
            os._exit(0 if process.run(runner=runner).results == {"t0": 0} else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(forked, 0)[1]) == 0
        assert process.run(runner=runner).results == {"t0": 0}


# ---- Threads of BLAS and OpenMP --------------------------------------------------------------------------

VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)


@pytest.mark.parametrize(
    ("options", "threads"),
    [
        ({"max_workers": 1}, usable_cpus()),
        ({"max_workers": 2}, max(1, usable_cpus() // 2)),
        ({"max_workers": 1000}, 1),
        ({"max_workers": 2, "threads_per_worker": 3}, 3),
    ],
)
def test_a_worker_may_use_its_share_of_the_processors_or_what_was_said(monkeypatch, options, threads):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MKL_NUM_THREADS", "7")  # what the user has set wins
    asked = Task("asked", list, args=(map(os.getenv, VARIABLES),))  # what the map gives is looked up there
    report = Process([asked]).run(runner=ProcessPoolRunner(**options))
    expected = {name: str(threads) for name in VARIABLES} | {"MKL_NUM_THREADS": "7"}
    assert dict(zip(VARIABLES, report.results["asked"], strict=True)) == expected


def test_the_users_number_of_openmp_threads_is_that_of_blas_too(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    monkeypatch.setenv("MKL_NUM_THREADS", "7")
    asked = [Task(name, os.getenv, args=(name,)) for name in VARIABLES]
    report = Process(asked).run(runner=ProcessPoolRunner(1, threads_per_worker=1))
    expected = dict.fromkeys(VARIABLES, "5") | {"MKL_NUM_THREADS": "7"}
    assert report.results == {name.lower(): value for name, value in expected.items()}


def test_objects_of_many_arguments_are_compared_with_all_others_at_once():
    class Key:
        looked_at = 0

        def __hash__(self) -> int:
            Key.looked_at += 1
            return id(self)

    parts: list[dict] = [{Key(): None for _ in range(20)} for _ in range(40)]
    Key.looked_at = 0
    assert are_apart([*parts, {}])
    assert Key.looked_at <= 40 * 20  # in pairs they are 15,600
    shared = next(iter(parts[7]))
    assert not are_apart([*parts, {shared: None}])
    assert not are_apart([{shared: None}, *parts])
