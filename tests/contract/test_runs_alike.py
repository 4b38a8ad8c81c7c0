"""What a run does, on every runner."""

from __future__ import annotations

import copy
import errno
import functools
import gc
import operator
import os
import pickle
import socket
import sys
import threading
import time
import warnings
import weakref
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from enum import Enum
from importlib import import_module

import pytest
from functions import (
    ENGINES,
    SENDING,
    Gauge,
    Holder,
    HoldsPool,
    Pipeline,
    Strange,
    add,
    await_both,
    await_file,
    burn,
    burn_in_a_thread,
    count_attempts,
    fail,
    give_back_a_process_that_has_run,
    meet,
    nap_and_write,
    run_inner,
    slowly,
    slowly_in_another_way,
    wait_in_c,
    wait_in_c_as_a_coroutine,
    write_file,
)
from interpreters import HAS_GIL
from patience import patient
from programs import wait_until

from processes import (
    Process,
    ProcessPoolRunner,
    RunStarted,
    SequentialRunner,
    SerializationError,
    Task,
    TaskDependency,
    TaskFinished,
    TaskRetried,
    TaskStarted,
    TaskStatus,
    ThreadRunner,
    exponential_backoff,
)
from processes.attempt import Returned
from processes.serialization.pickling import LARGE

SUCCESS, ERRORED, SKIPPED, PENDING = (
    TaskStatus.SUCCESS,
    TaskStatus.ERRORED,
    TaskStatus.SKIPPED,
    TaskStatus.PENDING,
)


def statuses(report) -> dict[str, TaskStatus]:
    return {name: entry.status for name, entry in report.entries.items()}


def test_results_travel_by_position_and_by_keyword_in_the_order_of_the_dependencies(runner):
    tasks = [
        Task("one", add, args=(1,)),
        Task("ten", add, args=(10,)),
        Task(
            "joined",
            lambda *args, **kwargs: (args, kwargs),
            args=(0,),
            kwargs={"own": "k"},
            dependencies=[
                TaskDependency("ten", use_result_as_additional_args=True),
                TaskDependency("one", use_result_as_additional_kwargs=True, additional_kwarg_name="bonus"),
                TaskDependency("one-more", use_result_as_additional_args=True),
            ],
        ),
        Task("one-more", add, args=(1, 1)),
    ]
    report = Process(tasks).run(runner=runner)
    report.raise_for_errors()
    assert report.results["joined"] == ((0, 10, 2), {"own": "k", "bonus": 1})
    assert report.runner == runner


def test_a_failure_costs_its_own_task_and_what_depends_on_it(runner):
    tasks = [
        Task("bad", fail),
        Task("child", add, dependencies=[TaskDependency("bad")]),
        Task("grandchild", add, dependencies=[TaskDependency("child")]),
        Task("bystander", add, args=(1,)),
        Task("mixed", add, dependencies=[TaskDependency("bystander"), TaskDependency("bad")]),
    ]
    report = Process(tasks).run(runner=runner)
    assert statuses(report) == {
        "bad": ERRORED,
        "child": SKIPPED,
        "grandchild": SKIPPED,
        "bystander": SUCCESS,
        "mixed": SKIPPED,
    }
    assert report.errored["bad"].error.downstream_impact == ["child", "grandchild", "mixed"]
    assert report.entries["child"].attempts == 0
    assert isinstance(report.exceptions["bad"], ValueError)
    with pytest.raises(ExceptionGroup) as caught:
        report.raise_for_errors()
    assert [str(error) for error in caught.value.exceptions] == ["no"]


def test_every_kind_of_callable_runs(runner):
    captured = 5

    def closure(number: int) -> int:
        return number + captured

    tasks = [
        Task("function", add, args=(1,)),
        Task("lambda", lambda number: number + 1, args=(1,)),
        Task("closure", closure, args=(1,)),
        Task("partial", functools.partial(add, 1, bonus=2), args=(1,)),
        Task("method", Holder(3).times, args=(2,)),
        Task("class-method", Holder.double, args=(3,)),
        Task("class-method-again", Holder.double, args=(4,)),
        Task("class-method-passed", lambda method: method(5), args=(Holder.double,)),
        Task("class-method-returned", getattr, args=(Holder, "double")),
        Task("instance", Holder(3), args=(2,)),
        Task("builtin", len, args=("four",)),
        Task("operator", operator.mul, args=(6, 7)),
        Task("class", Holder, args=(4,)),
        Task("coroutine", slowly, args=(1,)),
        Task("coroutine-partial", functools.partial(slowly, 2)),
        Task("coroutine-compiled", slowly_in_another_way, args=(3,)),
    ]
    report = Process(tasks).run(runner=runner)
    report.raise_for_errors()
    results = dict(report.results)
    assert results.pop("class-method-returned") == Holder.double
    made = results.pop("class")
    assert isinstance(made, Holder)
    assert made.factor == 4
    assert results == {
        "function": 1,
        "lambda": 2,
        "closure": 6,
        "partial": 4,
        "method": 6,
        "class-method": (True, 6),
        "class-method-again": (True, 8),
        "class-method-passed": (True, 10),
        "instance": -6,
        "builtin": 4,
        "operator": 42,
        "coroutine": 101,
        "coroutine-partial": 102,
        "coroutine-compiled": 103,
    }


def test_a_coroutine_runs_where_an_event_loop_is_running_already(runner):
    import asyncio  # here, because workers import this module

    async def main():
        return Process([Task("coroutine", slowly, args=(1,))]).run(runner=runner)

    assert asyncio.run(main()).results == {"coroutine": 101}


def test_a_coroutine_for_which_there_is_no_event_loop_fails_with_the_reason(monkeypatch):
    import asyncio

    def refuse():
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    async def main():
        with monkeypatch.context() as patch:
            patch.setattr(asyncio.events, "new_event_loop", refuse)
            return Process([Task("coroutine", slowly, args=(1,))]).run(runner="sequential")

    error = asyncio.run(main()).exceptions["coroutine"]
    assert (type(error), error.errno) == (OSError, errno.EMFILE)


@pytest.mark.parametrize("log_path", [None, "log"])
def test_what_is_no_coroutine_is_not_awaited(log_path, tmp_path):
    future = Future()
    task = Task("future", lambda: future, log_path=None if log_path is None else tmp_path / log_path)
    assert Process([task]).run().results["future"] is future


@pytest.mark.parametrize("log_path", [None, "log"])
def test_a_coroutine_that_a_coroutine_function_returns_is_not_awaited(log_path, tmp_path):
    import asyncio

    async def hand_on():
        return slowly(1)

    task = Task("coroutine", hand_on, log_path=None if log_path is None else tmp_path / log_path)
    result = Process([task]).run().results["coroutine"]
    assert asyncio.run(result) == 101


def test_a_transient_failure_is_retried_and_others_are_not(runner, tmp_path):
    tasks = [
        Task("transient", count_attempts, args=(str(tmp_path / "a"), 3), retries=2),
        Task("given-up", count_attempts, args=(str(tmp_path / "b"), 9), retries=2, retry_delay=0.01),
        Task("other-type", fail, retries=5),
        Task("listed", fail, retries=2, retry_on=(ValueError,), retry_delay=exponential_backoff(0.001)),
        Task("not-listed", count_attempts, args=(str(tmp_path / "c"), 2), retries=2, retry_on=(KeyError,)),
    ]
    report = Process(tasks).run(runner=runner)
    assert {name: (entry.status, entry.attempts) for name, entry in report.entries.items()} == {
        "transient": (SUCCESS, 3),
        "given-up": (ERRORED, 3),
        "other-type": (ERRORED, 1),
        "listed": (ERRORED, 3),
        "not-listed": (ERRORED, 1),
    }
    assert report.results == {"transient": 3}


def test_a_retry_delay_may_depend_on_the_attempt_and_keeps_nobody_waiting(tmp_path):
    delays = []

    def delay(attempt: int) -> float:
        delays.append(attempt)
        return 0.2

    tasks = [
        Task("again", count_attempts, args=(str(tmp_path / "a"), 3), retries=2, retry_delay=delay),
        Task("meanwhile", add, args=(1,)),
    ]
    report = Process(tasks).run(runner="sequential")
    assert delays == [1, 2]
    assert report.metrics["meanwhile"].started_at < report.metrics["again"].finished_at
    # The delays, 0.4 s in all, are part of the run, and not of the task's own time.
    assert report.entries["again"].elapsed_seconds < report.elapsed_seconds - 0.39


@pytest.fixture
def release(tmp_path):
    """The path that attempts wait for, which are left behind: at the end it is there."""
    path = tmp_path / "release"
    yield path
    path.touch()


@pytest.mark.leaves_threads
def test_a_time_limit_ends_the_attempt_and_frees_its_slot(runner, release):
    tasks = [
        Task("stuck", await_file, args=(release,), timeout=0.3),
        Task("in-time", add, args=(1,), timeout=60),
        Task("after", add, dependencies=[TaskDependency("stuck")]),
        *(Task(f"other{i}", add, args=(i,)) for i in range(5)),
    ]
    start = time.monotonic()
    report = Process(tasks).run(runner=runner, max_workers=None if runner == "sequential" else 1)
    # Behind what was left may be others in line, which Dask moves to another worker when it sees fit.
    assert time.monotonic() - start < 60 or runner == "dask"
    assert statuses(report) == {
        "stuck": ERRORED,
        "in-time": SUCCESS,
        "after": SKIPPED,
        **{f"other{i}": SUCCESS for i in range(5)},
    }
    error = report.exceptions["stuck"]
    assert type(error) is TimeoutError
    assert str(error) == "Task 'stuck' timed out after 0.3s"
    assert 0.3 <= report.entries["stuck"].elapsed_seconds < 60


@pytest.mark.leaves_threads
def test_a_time_limit_counts_as_a_transient_failure(runner, release):
    process = Process([Task("stuck", await_file, args=(release,), timeout=0.1, retries=1)])
    # In a thread, which waits until something comes: the main thread looks for signals now and then.
    (entry,) = stream = process.stream(runner=runner)
    assert entry.attempts == 2
    assert entry.status is ERRORED
    assert entry.elapsed_seconds < 60
    assert stream.report.metrics["stuck"].finished_at <= time.time()


@pytest.mark.parametrize("runner", ["sequential", "thread"])
def test_a_late_answer_changes_nothing(runner):
    go_on, left_behind, events = threading.Event(), [], []

    def answer_late() -> None:
        left_behind.append(threading.current_thread())
        go_on.wait(60)

    def let_it_answer() -> None:
        go_on.set()
        wait_until(lambda: left_behind)  # its limit may be over before it begins
        left_behind[0].join(60)

    tasks = [
        Task("late", answer_late, timeout=0.1),
        *(Task(name, function) for name, function in (("lets", let_it_answer), ("a", add), ("b", add))),
    ]
    options = {"max_workers": 1} if runner == "thread" else {}
    report = Process(tasks).run(runner=runner, observers=[events.append], **options)
    assert statuses(report) == {"late": ERRORED, "lets": SUCCESS, "a": SUCCESS, "b": SUCCESS}
    # Nor is there room for one more than before.
    told = [type(event) for event in events if isinstance(event, (TaskStarted, TaskFinished))]
    assert told == [TaskStarted, TaskFinished] * 4


def test_a_task_behind_one_with_a_time_limit_runs_as_soon_as_that_has_ended():
    behind = [TaskDependency("limited")]
    tasks = [
        Task("limited", time.sleep, args=(0.1,), timeout=120),
        Task("next", threading.get_ident, dependencies=behind),
    ]
    # In a thread, which waits until something comes: the main thread looks for signals now and then.
    stream = Process(tasks).stream(runner="sequential")
    assert len(list(stream)) == 2
    assert stream.report.elapsed_seconds < 60


def test_a_second_run_starts_afresh(runner, tmp_path):
    process = Process([Task("count", count_attempts, args=(str(tmp_path / "a"), 0))])
    assert [process.run(runner=runner).results["count"] for _ in range(3)] == [1, 2, 3]


def test_two_runs_of_one_process_in_two_threads_do_not_mix(runner):
    process = Process(
        [Task("a", add, args=(1,)), Task("b", add, args=(1,), dependencies=[TaskDependency("a", True)])]
    )
    with ThreadPoolExecutor(2) as threads:
        reports = list(threads.map(lambda _: process.run(runner=runner), range(2)))
    assert [report.results for report in reports] == [{"a": 1, "b": 2}] * 2


@pytest.mark.parametrize("inner", ["sequential", "thread", "process"])
def test_a_run_inside_a_task_works(runner, inner):
    report = Process([Task(f"outer{i}", run_inner, args=(inner,)) for i in range(2)]).run(runner=runner)
    report.raise_for_errors()
    assert list(report.results.values()) == [{"x": 1, "y": 3}] * 2


def test_methods_reach_the_process_whose_tasks_they_are_in_every_run(runner):
    pipeline = Pipeline()
    for _ in range(2):
        report = pipeline.process.run(runner=runner)
        report.raise_for_errors()
        assert report.results["scale"] == [3, 6]
    name, names, seen = report.results["look"]
    assert (name, names) == ("pipeline", ["load", "scale", "look"])
    assert seen is None or runner not in SENDING  # a worker's copy has not run


def test_a_process_that_has_run_can_be_a_result(runner):
    report = Process([Task("give", give_back_a_process_that_has_run)]).run(runner=runner)
    report.raise_for_errors()
    assert report.results["give"].run().results == {"x": 1}


@pytest.mark.parametrize(
    "duplicate", [copy.copy, copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))]
)
def test_the_copy_of_a_process_is_as_fresh_as_a_new_one(runner, duplicate):
    if runner in ENGINES and duplicate is not copy.copy:
        pytest.skip("an engine of other people's stays where it is")
    process = Process(
        [Task("b", add, args=(1,), dependencies=[TaskDependency("a", True)]), Task("a", add, args=(2,))],
        "name",
        runner=runner,
    )
    report = process.run()
    copied = duplicate(process)
    assert (copied.name, copied.report) == ("name", None)
    assert {name: result.status for name, result in copied.runner.results.items()} == {
        "a": PENDING,
        "b": PENDING,
    }
    copied.add_task(Task("c", add))
    assert copied.run().results == {"a": 2, "b": 3, "c": 0}
    assert copied.report.runner == runner
    # The original has noticed nothing of that.
    assert [task.name for task in process.tasks] == ["a", "b"]
    assert process.report is report
    assert process.runner.results["b"].result == 3


def test_a_task_is_pickled_with_the_process_that_it_leads_to(runner):
    task = pickle.loads(pickle.dumps(Pipeline().process.tasks[0]))
    process = task.func.__self__.process
    assert process.tasks[0] is task
    assert process.run(runner=runner).results["scale"] == [3, 6]


def test_tasks_of_one_graph_run_on_different_runners():
    tasks = [
        Task("here", os.getpid),
        Task("there", os.getpid, runner="process"),
        Task("thread", threading.current_thread, runner="thread"),
        Task(
            "joined",
            lambda *pids: pids,
            dependencies=[TaskDependency("here", True), TaskDependency("there", True)],
        ),
    ]
    report = Process(tasks).run(runner="sequential")
    report.raise_for_errors()
    here, there = report.results["joined"]
    assert here == os.getpid() != there
    assert report.metrics["there"].pid == there
    assert report.metrics["there"].worker.startswith("process-")
    assert report.metrics["thread"].worker == report.results["thread"].name


def test_many_tasks_on_three_runners_at_once_all_end(shared_workers):
    names = ("sequential", "thread", "process")
    tasks = [Task(f"t{i}", add, args=(i,), runner=names[i % 3]) for i in range(300)]
    report = Process(tasks).run(runner="thread")
    report.raise_for_errors()
    assert report.results == {f"t{i}": i for i in range(300)}


def test_a_resource_is_never_used_beyond_what_there_is():
    database, free = Gauge(), Gauge()
    tasks = [Task(f"db{i}", database.enter, resources={"db": 1}) for i in range(20)]
    tasks += [Task(f"free{i}", free.enter) for i in range(20)]
    report = Process(tasks).run(runner="thread", max_workers=8, resources={"db": 2})
    report.raise_for_errors()
    assert database.most <= 2


def test_what_an_urgent_task_lacks_is_kept_free_for_it_and_what_it_does_not_need_is_not():
    may_end, started = threading.Event(), []

    def watch(event):
        if isinstance(event, TaskStarted):
            started.append(event.name)

    behind_first = [TaskDependency("first")]
    tasks = [
        Task("first", abs, args=(1,), resources={"db": 1}, priority=2),
        Task("second", may_end.wait, args=(60,), resources={"db": 1}, priority=2),
        Task("urgent", abs, args=(1,), resources={"db": 2}, priority=1, dependencies=behind_first),
        Task("other", may_end.set, resources={"disk": 1}, dependencies=behind_first),
        *(Task(f"query-{n}", abs, args=(n,), resources={"db": 1}) for n in range(5)),
    ]
    report = Process(tasks).run(
        runner="thread", max_workers=2, resources={"db": 2, "disk": 1}, observers=[watch]
    )
    report.raise_for_errors()
    assert started[:4] == ["first", "second", "other", "urgent"]


@pytest.mark.parametrize("runner", ["thread", "process"])
def test_amounts_of_resources_are_exact(runner, tmp_path):
    """As floats, 1 - 0.3 - 0.4 + 0.3 + 0.4 is less than 1, and 0.3 - 0.1 less than 0.2."""
    tasks = [
        Task("three", abs, args=(3,), resources={"gpu": 0.3}, priority=2),
        Task("four", await_file, args=(tmp_path / "three",), resources={"gpu": 0.4}, priority=1),
        Task("told", write_file, args=(tmp_path / "three",), dependencies=[TaskDependency("three")]),
        Task("all", abs, args=(10,), resources={"gpu": 1}, dependencies=[TaskDependency("four")]),
        Task("one", meet, args=(tmp_path, "one", "two"), resources={"memory": 0.1}),
        Task("two", meet, args=(tmp_path, "two", "one"), resources={"memory": 0.2}),
    ]
    report = Process(tasks).run(runner=runner, max_workers=4, resources={"gpu": 1, "memory": 0.3})
    report.raise_for_errors()


@pytest.mark.usefixtures("shared_workers")
@pytest.mark.parametrize("runner", ["thread", "process"])
def test_tasks_that_each_need_another_amount_run_together_as_far_as_there_is_enough(runner, tmp_path):
    there_is = {"memory": 8, "disk": 3}
    needs = {
        f"t{n}": {"memory": n % 79 / 10 + 0.1} | ({"disk": n % 29 / 10 + 0.1} if n % 3 else {})
        for n in range(300)
    }
    tasks = [Task(name, time.sleep, args=(1e-3,), resources=need) for name, need in needs.items()]
    for own, other in (("one", "two"), ("two", "one")):  # that are at it together, however busy the machine
        needs[own] = {"memory": 0.1}
        tasks.append(Task(own, meet, args=(tmp_path, own, other), resources=needs[own], priority=1))
    report = Process(tasks).run(runner=runner, resources=there_is)
    report.raise_for_errors()
    # What a task has taken it has at least as long as its call lasts.
    begins = [(metrics.started_at, 1, name) for name, metrics in report.metrics.items()]
    ends = [
        (metrics.started_at + report.entries[name].elapsed_seconds, 0, name)
        for name, metrics in report.metrics.items()
    ]
    taken, at_once, most = Counter(), 0, 0
    for _, begun, name in sorted(begins + ends):
        at_once += 1 if begun else -1
        most = max(most, at_once)
        for resource, amount in needs[name].items():
            taken[resource] += amount if begun else -amount
            assert taken[resource] < there_is[resource] + 1e-9
    assert most > 1


class Share(float, Enum):
    HALF = 0.5


def test_an_amount_may_be_any_kind_of_number(runner):
    tasks = [Task(f"t{n}", abs, args=(-n,), resources={"disk": Share.HALF}) for n in range(3)]
    report = Process(tasks).run(runner=runner, resources={"disk": 10**5000})
    assert report.results == {"t0": 0, "t1": 1, "t2": 2}


def test_a_value_that_does_not_tell_its_class_harms_no_run(runner):
    tasks = [
        Task("makes", Strange, keep_result=False),
        Task("takes", lambda strange: strange(), dependencies=[TaskDependency("makes", True)]),
        Task("calls", Strange()),
        Task("large", bytes, args=(LARGE,)),
        Task(
            "both",
            lambda strange, _: strange(),
            args=(Strange(),),
            dependencies=[TaskDependency("large", True)],
        ),
        Task("fine", abs, args=(-1,)),
    ]
    report = Process(tasks).run(runner=runner)
    assert report.results["fine"] == 1
    if runner in SENDING:  # pickle asks for the class
        assert {type(report.exceptions[name]) for name in ("makes", "calls", "both")} == {SerializationError}
    else:
        assert {report.results[name] for name in ("takes", "calls", "both")} == {"called"}


def test_the_next_sequential_task_starts_though_nothing_comes_from_other_runners():
    went_on = threading.Event()
    tasks = [
        Task("keeps", time.sleep, args=(0.1,)),
        Task("next", went_on.set, dependencies=[TaskDependency("keeps")]),
        Task("waits", went_on.wait, args=(60,), runner="thread"),
    ]
    # In a thread, which waits until something comes: the main thread looks for signals now and then.
    entries = Process(tasks).stream(runner="sequential")
    assert {entry.name: entry.result for entry in entries} == {"keeps": None, "next": None, "waits": True}


def test_a_sequential_task_starts_while_threads_go_on():
    went_on = threading.Event()
    tasks = [
        Task("ends", time.sleep, args=(0.1,)),
        Task("next", went_on.set, dependencies=[TaskDependency("ends")], runner="sequential"),
        Task("goes-on", went_on.wait, args=(60,)),
    ]
    # In a thread, which waits until something comes: the main thread looks for signals now and then.
    entries = Process(tasks).stream(runner="thread")
    assert {entry.name: entry.result for entry in entries} == {"ends": None, "next": None, "goes-on": True}


def tasks_for_a_thread_to_drive(folder):
    """Make a run of four steps: a retry, what follows it, a time limit, what waits for its resources."""
    again, need = [TaskDependency("again")], {"one": 1}
    return [
        Task("again", count_attempts, args=(folder / "attempts", 2), retries=1),
        Task("below", write_file, args=(folder / "below",), dependencies=again),
        Task("late", nap_and_write, args=(1, folder / "late"), timeout=0.1, resources=need, priority=1),
        Task("freed", write_file, args=(folder / "freed",), resources=need),
    ]


@pytest.mark.parametrize("runner", ["thread", "process"])
def test_others_go_on_while_a_sequential_task_has_the_runs_own_thread(runner, tmp_path):
    tasks = [
        *tasks_for_a_thread_to_drive(tmp_path),
        Task("keeps", await_both, args=(tmp_path / "below", tmp_path / "freed"), runner="sequential"),
        Task("then", threading.get_ident, dependencies=[TaskDependency("keeps")], runner="sequential"),
    ]
    report = Process(tasks).run(runner=runner, resources={"one": 1})
    assert set(report.errored) == {"late"}
    assert str(report.exceptions["late"]) == "Task 'late' timed out after 0.1s"
    assert report.results["then"] == threading.get_ident()


@pytest.mark.parametrize("runner", ["thread", "process"])
def test_a_run_goes_on_while_an_observer_keeps_its_own_thread(runner, tmp_path):
    told_in = []

    def observe(event):
        if not told_in:
            await_both(tmp_path / "below", tmp_path / "freed")
        told_in.append(threading.get_ident())

    process = Process(tasks_for_a_thread_to_drive(tmp_path))
    report = process.run(runner=runner, resources={"one": 1}, observers=[observe])
    assert set(report.errored) == {"late"}
    assert told_in == [threading.get_ident()] * 12  # five starts, a retry, four ends, and the run's own two


@pytest.mark.parametrize("runner", ["thread", "process"])
@patient
def test_limits_hold_by_what_calls_took_where_nobody_could_look_meanwhile(times, runner, tmp_path):
    def keep_the_run(_) -> float:
        await_file(tmp_path / f"in-time-{times}")
        time.sleep(3 * times)  # beyond the limits
        return 0.0

    calls, limit = tmp_path / f"calls-{times}", 2 * times
    tasks = [
        Task("keeps", count_attempts, args=(calls, 2), retries=1, retry_delay=keep_the_run),
        Task("in-time", nap_and_write, args=(0, tmp_path / f"in-time-{times}"), timeout=limit),
        Task("late", nap_and_write, args=(1.25 * limit, tmp_path / "late"), timeout=limit),
    ]
    report = Process(tasks).run(runner=runner, max_workers=3)
    assert set(report.successes) == {"keeps", "in-time"}
    assert str(report.exceptions["late"]) == f"Task 'late' timed out after {limit}s"


def test_higher_priority_goes_first_then_the_longer_chain_below():
    order = []
    tasks = [
        Task("plain", order.append, args=("plain",)),
        Task("head", order.append, args=("head",)),
        Task("tail", order.append, args=("tail",), dependencies=[TaskDependency("head")]),
        Task("first", order.append, args=("first",), priority=5),
        Task("last", order.append, args=("last",), priority=-1),
    ]
    Process(tasks).run(runner="sequential")
    assert order == ["first", "head", "plain", "tail", "last"]


def test_what_becomes_ready_goes_before_less_urgent_work_unless_calls_are_short(runner):
    if runner == "dask":
        pytest.skip("its cluster has two workers")
    seconds = (0.02,)
    tasks = [
        Task("teaches-the-runner", time.sleep, args=seconds, priority=3),
        Task("first", time.sleep, args=seconds, priority=2),
        *(Task(f"other{i}", time.sleep, args=seconds) for i in range(3)),
        Task("urgent", time.sleep, args=seconds, dependencies=[TaskDependency("first")], priority=1),
    ]
    report = Process(tasks).run(runner=runner, max_workers=None if runner == "sequential" else 1)
    started = sorted(report.metrics, key=lambda name: report.metrics[name].started_at)
    assert started[1:3] == ["first", "urgent"]


def test_a_result_that_need_not_be_kept_is_none_in_the_report(runner):
    tasks = [
        Task("big", add, args=(1,), keep_result=False),
        Task("use", add, args=(1,), dependencies=[TaskDependency("big", True)]),
    ]
    report = Process(tasks).run(runner=runner)
    assert report.results == {"big": None, "use": 2}


@pytest.mark.parametrize("runner", ["sequential", "thread"])
def test_a_result_is_let_go_as_soon_as_its_last_dependant_has_it(runner):
    if runner == "thread" and not HAS_GIL:
        pytest.skip("without the GIL it is freed by the thread that made it, once that goes on")
    made = []

    def make():
        value = Holder(1)
        made.append(weakref.ref(value))
        return value

    tasks = [
        Task("make", make, keep_result=False),
        Task("uses", Holder.times, kwargs={"number": 2}, dependencies=[TaskDependency("make", True)]),
        Task("uses-too", bool, dependencies=[TaskDependency("make", True), TaskDependency("uses")]),
        Task("looks", lambda: made[0](), dependencies=[TaskDependency("uses-too")]),
    ]
    report = Process(tasks).run(runner=runner)
    assert report.results == {"make": None, "uses": 2, "uses-too": True, "looks": None}


def run_with_checkpoint(process, tmp_path, **options):
    return process.run(checkpoint=tmp_path / "run.ckpt", **options)


def run_as_stream(process, tmp_path, **options):  # noqa: ARG001
    stream = process.stream(**options)
    for _ in stream:
        pass
    return stream.report


@pytest.mark.parametrize("run", [run_with_checkpoint, run_as_stream])
@pytest.mark.parametrize("runner", ["sequential", "thread", "process"])
def test_what_a_run_has_made_needs_no_garbage_collection_to_be_let_go_of(runner, run, tmp_path):
    if runner == "thread" and not HAS_GIL:
        pytest.skip("without the GIL it is freed by the thread that made it, once that goes on")
    release, threads = threading.Event(), threading.active_count()
    tasks = [
        Task("make", Holder, args=(1,)),
        Task("over", release.wait, args=(60,), timeout=0.05, runner="thread"),
        Task("last", int, runner="sequential"),
    ]
    gc.disable()
    try:
        report = run(Process(tasks), tmp_path, runner=runner, observers=[lambda _: None])
        made = weakref.ref(report.results["make"])
        assert list(report.errored) == ["over"]
        del report
        release.set()
        wait_until(lambda: threading.active_count() <= threads)  # the one that was left behind has ended
        assert made() is None
    finally:
        gc.enable()
        release.set()


def test_nothing_keeps_what_was_passed_or_returned_while_a_run_goes_on():
    if not HAS_GIL:
        pytest.skip("without the GIL it is freed by the thread that made it, once that goes on")
    made = []

    def make(_=None):
        value = Holder(1)
        made.append(weakref.ref(value))
        return value

    tasks = [
        Task("make", make, keep_result=False),
        Task("make-of-it", make, keep_result=False, dependencies=[TaskDependency("make", True)]),
        Task("goes-on", wait_until, args=(lambda: [value() for value in made] == [None, None],)),
    ]
    Process(tasks).run(runner="thread").raise_for_errors()


def test_a_failure_on_a_thread_is_freed_with_its_report_at_once(caplog):
    if not HAS_GIL:
        pytest.skip("without the GIL it may be freed later")

    class Failure(Exception):
        pass

    def fail():
        raise Failure

    process = Process([Task("bad", fail)])
    gc.disable()
    try:
        failure = weakref.ref(process.run(runner="thread").exceptions["bad"])
        process = None
        for record in caplog.records:
            record.exc_info = None  # pytest keeps records
        assert failure() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("runner", ["thread", "process"])
def test_the_failure_of_a_sequential_task_keeps_no_value_that_came_meanwhile(runner):
    def fail(seconds):
        time.sleep(seconds)
        raise ValueError

    tasks = [
        Task("make", bytearray, args=(10_000_000,), keep_result=False, runner=runner),
        *(
            Task(f"use-{n}", len, dependencies=[TaskDependency("make", True)], runner=runner)
            for n in range(2)
        ),
        Task("fail", fail, args=(1 if runner == "process" else 0.1,)),
    ]
    report = Process(tasks).run(runner="sequential")
    gc.collect()
    kept = [one for one in gc.get_objects() if type(one) is Returned and one.value is not None]
    assert (kept, list(report.exceptions)) == ([], ["fail"])


def test_fail_fast_leaves_the_rest_pending(runner):
    alone = {"db": 1}  # one at a time: none is in line when the first fails
    tasks = [Task(f"t{i}", add, resources=alone) for i in range(3)]
    again = {"retries": 2, "retry_on": (Exception,), "retry_delay": 600}
    tasks += [Task("bad", fail, resources=alone, priority=1)]
    tasks += [Task("again", fail, resources=alone, priority=2, **again)]
    process = Process(tasks)
    report = process.run(runner=runner, fail_fast=True, resources=alone)
    assert statuses(report) == {"bad": ERRORED, **dict.fromkeys(["again", "t0", "t1", "t2"], PENDING)}
    # What was attempted is told, also where it was not for the last time.
    assert {name: entry.attempts for name, entry in report.entries.items()} == {
        **dict.fromkeys(["again", "bad"], 1),
        **dict.fromkeys(["t0", "t1", "t2"], 0),
    }
    assert report.entries["again"].elapsed_seconds > 0
    assert process.runner.results["again"].attempts == 1


def test_fail_fast_begins_no_sequential_task_after_an_argument_that_cannot_be_sent():
    ran = []
    tasks = [
        Task("bad", repr, args=(threading.Lock(),), runner="process"),
        Task("other", ran.append, args=(1,)),
    ]
    report = Process(tasks).run(runner="sequential", fail_fast=True)
    assert statuses(report) == {"bad": ERRORED, "other": PENDING}
    assert ran == []


def test_a_runner_held_open_keeps_its_workers_from_run_to_run():
    process = Process([Task("pid", os.getpid)])
    with ProcessPoolRunner(1) as runner:
        first, second = (process.run(runner=runner).results["pid"] for _ in range(2))
    third = process.run(runner=runner).results["pid"]
    assert first == second != third


@pytest.mark.parametrize("make", [SequentialRunner, ThreadRunner, functools.partial(ProcessPoolRunner, 1)])
def test_a_runner_instance_serves_runs_at_the_same_time(make):
    process = Process([Task(f"t{i}", add, args=(i,)) for i in range(20)])
    with make() as runner, ThreadPoolExecutor(3) as threads:
        reports = list(threads.map(lambda _: process.run(runner=runner), range(3)))
    assert [report.results for report in reports] == [{f"t{i}": i for i in range(20)}] * 3


@pytest.mark.parametrize("timeout", [None, 60])
def test_metrics_tell_who_ran_a_task_and_when(runner, timeout):
    before = time.time()
    report = Process([Task("work", sum, args=(range(2_000_000),), timeout=timeout)]).run(runner=runner)
    metrics = report.metrics["work"]
    assert before <= metrics.started_at <= metrics.finished_at <= time.time()
    assert (metrics.pid == os.getpid()) == (runner not in SENDING)
    assert metrics.cpu_seconds > 0
    assert metrics.peak_rss_bytes > 1_000_000
    assert metrics.queue_seconds >= 0
    assert metrics.worker.startswith(runner)
    assert metrics.host == socket.gethostname()
    assert report.elapsed_seconds > 0


def test_processor_time_is_that_of_the_functions_thread_or_of_its_worker_process(shared_workers):
    waits, burnt = threading.Event(), threading.Event()

    def wait() -> None:
        waits.set()
        burnt.wait(60)

    def burn_meanwhile() -> None:
        waits.wait(60)
        burn()
        burnt.set()

    tasks = [
        Task("waits", wait),
        Task("burns", burn_meanwhile),
        Task("lets-burn", burn_in_a_thread, runner="process"),
    ]
    metrics = Process(tasks).run(runner="thread").metrics
    assert metrics["waits"].cpu_seconds < metrics["burns"].cpu_seconds / 2
    assert metrics["burns"].cpu_seconds > 0.04
    assert metrics["lets-burn"].cpu_seconds > 0.04


def test_a_stream_gives_each_entry_as_its_task_ends(runner):
    tasks = [Task("bad", fail), Task("skipped", add, dependencies=[TaskDependency("bad")]), Task("ok", add)]
    process = Process(tasks)
    stream = process.stream(runner=runner)
    entries, raised = {}, {}
    for entry in stream:
        entries[entry.name] = entry.status
        raised[entry.name] = type(process.runner.results[entry.name].exception)  # is there by now
    assert entries == {"bad": ERRORED, "skipped": SKIPPED, "ok": SUCCESS}
    assert raised == {"bad": ValueError, "skipped": type(None), "ok": type(None)}
    assert statuses(stream.report) == entries


def test_a_run_reports_the_graph_that_it_runs_however_the_process_changes_meanwhile(runner):
    process = Process([*(Task(f"t{i}", add, args=(i,)) for i in range(3)), Task("bad", fail)], "before")

    def change(event) -> None:
        if type(event) is RunStarted:
            process.get_task("t1").name = "renamed"
            process.remove_task("bad")
            process.add_task(Task("later", add))
            process.name = "after"

    stream = process.stream(runner=runner, observers=[change])
    entries = {entry.name: entry for entry in stream}
    assert sorted(entries) == ["bad", "t0", "t1", "t2"]
    assert list(stream.report.entries) == ["t0", "t1", "t2", "bad"]
    assert stream.report.entries == entries
    assert stream.report.results == {"t0": 0, "t1": 1, "t2": 2}
    assert statuses(stream.report)["bad"] is ERRORED
    assert stream.report.process_name == "before"
    assert list(process.run(runner=runner).entries) == ["t0", "t1", "t2", "later"]


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, pickle.dumps])
def test_a_stream_cannot_be_copied_and_goes_on(duplicate):
    with Process([Task(f"t{n}", abs, args=(-n,)) for n in range(3)]).stream(runner="sequential") as stream:
        with pytest.raises(TypeError, match="a Stream cannot be copied or pickled"):
            duplicate(stream)
        gc.collect()  # nothing is left that pytest would hear complain at its end
        assert [entry.result for entry in stream] == [0, 1, 2]


def test_leaving_a_stream_early_cancels_the_rest():
    ran = []
    process = Process([Task(f"t{i}", ran.append, args=(i,)) for i in range(10_000)])
    for entry in process.stream(runner="sequential"):
        assert entry.status is SUCCESS
        break
    for thread in threading.enumerate():
        if thread.name == "processes-stream":
            thread.join(60)
    assert len(ran) < 10_000
    with process.stream(runner="sequential") as stream:
        next(stream)
    assert PENDING in {entry.status for entry in stream.report.entries.values()}


def test_an_observer_and_a_task_in_sequence_may_end_their_stream():
    is_there = threading.Event()
    heard = []

    def end() -> str:
        assert is_there.wait(60)
        stream.close()
        with pytest.raises(RuntimeError, match="ask for it where the entries are read"):
            _ = stream.report
        return "ended"

    def watch(event) -> None:
        heard.append(event)
        if isinstance(event, TaskFinished):
            heard.append(end())

    for name, first, observers in [("task", end, ()), ("observer", add, [watch])]:
        is_there.clear()
        tasks = [Task("first", first), Task("second", add, dependencies=[TaskDependency("first")])]
        stream = Process(tasks, name).stream(runner="sequential", observers=observers)
        is_there.set()
        assert len(list(stream)) < 2
        assert statuses(stream.report) == {"first": SUCCESS, "second": PENDING}
    assert "ended" in heard
    assert type(heard[-1]).__name__ == "RunFinished"  # the observer was not left out


def test_a_stream_that_a_thread_reads_for_an_event_loop_ends_where_its_program_is_cancelled():
    import asyncio  # here, because workers import this module

    async def main():
        process = Process([Task("quick", add), Task("endless", time.sleep, args=(3600,))])
        program = asyncio.current_task()
        loop = asyncio.get_running_loop()

        def cancel(event) -> None:
            if isinstance(event, TaskFinished) and event.name == "quick":
                loop.call_soon_threadsafe(program.cancel)

        with (
            pytest.raises(asyncio.CancelledError),
            process.stream(runner="process", observers=[cancel]) as stream,
        ):
            await asyncio.to_thread(list, stream)
        program.uncancel()
        return stream.report

    report = asyncio.run(main())  # which waits for the thread
    assert statuses(report) == {"quick": SUCCESS, "endless": PENDING}


def test_observers_see_a_run_in_order_and_one_that_raises_is_left_out(runner):
    events = []

    def broken(event) -> None:
        raise RuntimeError("I do not care")

    with pytest.warns(RuntimeWarning, match="I do not care") as caught:
        Process([Task("bad", fail, retries=1, retry_on=(ValueError,)), Task("ok", add)], "name").run(
            runner=runner, observers=[broken, events.append]
        )
    assert [warning.filename for warning in caught] == [__file__]
    kinds = [type(event).__name__ for event in events]
    assert kinds[0] == "RunStarted"
    assert kinds[-1] == "RunFinished"
    assert sorted(kinds[1:-1]) == sorted(
        ["TaskStarted", "TaskStarted", "TaskStarted", "TaskRetried", "TaskFinished", "TaskFinished"]
    )
    assert events[0] == ("name", ("bad", "ok"), runner)
    bad = [event for event in events if isinstance(event, (TaskStarted, TaskRetried)) and event.name == "bad"]
    assert [event.attempt for event in bad] == [1, 1, 2]


def test_an_observer_that_exits_ends_its_run_or_stream():
    process = Process([Task("quick", abs, args=(-1,))])
    with pytest.raises(SystemExit, match="enough"):
        process.run(observers=[lambda _: sys.exit("enough")])
    with pytest.raises(SystemExit, match="enough"):
        list(process.stream(observers=[lambda _: sys.exit("enough")]))


class BrokenObserver:
    """Raises, in its repr too."""

    def __call__(self, event) -> None:
        raise RuntimeError("I do not care")

    def __repr__(self) -> str:
        raise RuntimeError("nor who hears it")


def test_what_becomes_of_the_warning_of_an_observer_that_raises_ends_no_run(monkeypatch):
    told = []

    def refuse(message, *_, **__) -> None:  # as logging.captureWarnings does where a handler's filter raises
        told.append(str(message))
        raise ValueError("no warnings here")

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        monkeypatch.setattr(warnings, "showwarning", refuse)
        report = Process([Task("add", add)]).run(runner="sequential", observers=[BrokenObserver()])
        monkeypatch.undo()
    assert len(report.successes) == 1
    (text,) = told
    assert "BrokenObserver object whose __repr__ raised" in text


def test_observers_are_called_in_the_thread_of_the_run_once_for_each_event(runner):
    names, threads = [], set()

    def note(event) -> None:
        threads.add(threading.current_thread())
        if type(event) is TaskFinished:
            names.append(event.name)

    tasks = [
        Task(f"t{i}", add, args=(i,), dependencies=[TaskDependency(f"t{i - 3}", True)] if i > 2 else [])
        for i in range(60)
    ]
    report = Process(tasks).run(runner=runner, observers=[note])
    report.raise_for_errors()
    assert threads == {threading.current_thread()}
    assert sorted(names) == sorted(report.entries)
    assert all(names.index(f"t{i - 3}") < names.index(f"t{i}") for i in range(3, 60))


@pytest.mark.leaves_threads
@pytest.mark.parametrize(
    ("function", "log_file"), [(wait_in_c, "log"), (wait_in_c_as_a_coroutine, None)], ids=["log", "async"]
)
@patient
def test_the_error_of_a_time_limit_tells_where_the_function_stood(
    times, runner, function, log_file, tmp_path
):
    if runner in ENGINES or (runner == "process" and sys.platform == "win32"):
        pytest.skip("it does not tell")
    log_path = log_file and tmp_path / log_file
    report = Process([Task("stuck", function, log_path, args=(4 * times,), timeout=times)]).run(runner=runner)
    (note,) = report.exceptions["stuck"].__notes__
    assert note.startswith("Where it stood (most recent call last):\n  File ")
    assert note.endswith(f", in {function.__name__}")
    assert note.count("File") == 1
    assert f"in {function.__name__}" in report.errored["stuck"].error.traceback_str


@patient
def test_a_time_limit_does_not_count_what_importing_the_function_takes(times, tmp_path, monkeypatch):
    # The other runners find it imported.
    sleep, name = f"time.sleep({1.5 * times})", f"slow_to_import_{times}"
    (tmp_path / f"{name}.py").write_text(
        f"import os, time\nif os.getpid() != {os.getpid()}:\n    {sleep}\n\n"
        f"def work():\n    {sleep}\n    return 'done'\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    report = Process([Task("work", import_module(name).work, timeout=2.5 * times)]).run(runner="process")
    assert report.results == {"work": "done"}, report


@pytest.mark.skipif(sys.platform == "win32", reason="a worker does not tell where it stands there")
@patient
def test_the_error_of_a_time_limit_tells_that_the_function_was_still_imported(times, tmp_path, monkeypatch):
    (tmp_path / "endless_to_import.py").write_text(
        f"import os, time\nif os.getpid() != {os.getpid()}:\n    time.sleep(3600)\n\ndef work(): ...\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    import endless_to_import  # type: ignore[import-not-found]

    def use():
        return endless_to_import.work()

    use.__module__ = "no_module"  # goes by value, as a script's does
    tasks = [Task("work", endless_to_import.work, timeout=times), Task("use", use, timeout=times)]
    report = Process(tasks).run(runner="process")
    for error in report.exceptions.values():
        (note,) = error.__notes__
        assert note.splitlines()[1].startswith('  File "<frozen importlib._bootstrap>"')
        assert note.splitlines()[-3].endswith(", in <module>")
        assert note.endswith("ProcessPoolRunner(preload=(…)) has modules imported before.")
    assert list(report.exceptions) == ["work", "use"]


def test_an_object_may_hold_the_pool_that_runs_its_methods():
    with ProcessPoolRunner(1) as runner:
        methods = [Task(f"t{number}", HoldsPool(runner).workers) for number in range(2)]
        assert Process(methods).run(runner=runner).results == {"t0": 1, "t1": 1}
