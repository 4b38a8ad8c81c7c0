"""A runner that a user writes passes for one of ours."""

from __future__ import annotations

import ast
import inspect
import os
import socket
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest
from functions import add, count_attempts, fail_with_marker, where

from processes import (
    Process,
    ProcessPoolRunner,
    ProcessRunner,
    SerializationError,
    Task,
    TaskDependency,
    TaskStatus,
    ThreadRunner,
)
from processes.attempt import Attempt, Finished, Returned, Sealed, Started, Worker
from processes.perform import perform


class ThreadEachRunner(ProcessRunner):
    """A thread for each attempt."""

    name = "thread-each"

    def __init__(self, limit: int = 3) -> None:
        self.limit = limit

    def open(self, waker):
        super().open(waker)
        self.threads = {}

    @property
    def free_slots(self) -> int:
        return self.limit - len(self.threads)

    def start(self, attempt: Attempt) -> None:
        thread = threading.Thread(target=self.work, args=(attempt,), daemon=True)
        self.threads[attempt.ticket] = thread
        thread.start()

    def work(self, attempt: Attempt) -> None:
        worker = Worker(f"thread-each-{attempt.ticket}", os.getpid(), "here")
        self.deliver(Started(attempt.ticket, time.monotonic(), worker))
        self.deliver(perform(attempt, worker))

    def wait(self, timeout: float):
        messages = super().wait(timeout)
        messages = [message for message in messages if message.ticket in self.threads]
        for message in messages:
            if not isinstance(message, Started):
                self.threads.pop(message.ticket).join()
        return messages

    def stop(self, ticket: int) -> None:
        del self.threads[ticket]  # the thread is left behind

    def close(self) -> None:
        for thread in self.threads.values():
            thread.join()


def test_it_is_short():
    lines = inspect.getsource(ThreadEachRunner).splitlines()
    assert len([line for line in lines if line.strip()]) < 40
    # Of the package it needs what is documented for it, and nothing that begins with an underscore.
    tree = ast.parse(inspect.getsource(ThreadEachRunner))
    names = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert not [name for name in names if name.startswith("_") and name != "__init__"]


def essential_tasks(folder: Path) -> list[Task]:
    folder.mkdir()
    return [
        Task("one", add, args=(1,)),
        Task("two", add, args=(1,), dependencies=[TaskDependency("one", True)]),
        Task(
            "both",
            add,
            args=(10,),
            dependencies=[
                TaskDependency("two", use_result_as_additional_args=True),
                TaskDependency("one", use_result_as_additional_kwargs=True, additional_kwarg_name="bonus"),
            ],
        ),
        Task("bad", fail_with_marker, args=("bang",)),
        Task("below", add, dependencies=[TaskDependency("bad")]),
        Task("again", count_attempts, args=(str(folder / "again"), 3), retries=2),
        Task("given-up", count_attempts, args=(str(folder / "up"), 9), retries=1, retry_delay=0.001),
        Task("dropped", add, args=(7,), keep_result=False),
        Task("exits", sys.exit, args=(3,)),
    ]


def comparable(report) -> dict[str, tuple[object, ...]]:
    return {
        name: (entry.status, entry.attempts, entry.result, entry.error and entry.error.traceback_str)
        for name, entry in report.entries.items()
    }


def test_its_reports_are_those_of_the_other_runners(tmp_path):
    tasks = essential_tasks(tmp_path / "custom")
    custom = Process(tasks).run(runner=ThreadEachRunner())
    assert custom.runner == "thread-each"
    assert custom.results == {"one": 1, "two": 2, "both": 13, "again": 3, "dropped": None}
    assert custom.errored["bad"].error.traced_vars == {"message": "'bang'", "marker": "4"}
    assert custom.errored["bad"].error.downstream_impact == ["below"]
    assert custom.metrics["one"].worker.startswith("thread-each-")
    for number, runner in enumerate(["sequential", "thread", "process"]):
        report = Process(essential_tasks(tmp_path / str(number))).run(runner=runner)
        assert comparable(report) == comparable(custom), runner


def test_it_never_runs_more_than_it_has_room_for():
    lock = threading.Lock()
    inside: list[int] = []
    most: list[int] = []
    full = threading.Barrier(2)

    def enter() -> None:
        with lock:
            inside.append(1)
            most.append(len(inside))
        full.wait(60)  # two have to be inside at a time for one to go on
        with lock:
            inside.pop()

    report = Process([Task(f"t{i}", enter) for i in range(10)]).run(runner=ThreadEachRunner(2))
    report.raise_for_errors()
    assert max(most) == 2


def test_it_is_given_the_next_task_as_soon_as_one_has_ended():
    report = Process([Task(f"t{i}", add, args=(i,)) for i in range(300)]).run(runner=ThreadEachRunner())
    assert report.results == {f"t{i}": i for i in range(300)}


def test_its_attempts_have_time_limits_and_late_answers_are_ignored():
    release = threading.Event()
    tasks = [
        Task("stuck", release.wait, args=(60,), timeout=0.1, retries=1),
        Task("after", add, dependencies=[TaskDependency("stuck")]),
        Task("other", add, args=(1,)),
    ]
    report = Process(tasks).run(runner=ThreadEachRunner(1))
    release.set()  # now the threads that were left behind end
    assert {name: (entry.status, entry.attempts) for name, entry in report.entries.items()} == {
        "stuck": (TaskStatus.ERRORED, 2),
        "after": (TaskStatus.SKIPPED, 0),
        "other": (TaskStatus.SUCCESS, 1),
    }
    assert str(report.exceptions["stuck"]) == "Task 'stuck' timed out after 0.1s"


def test_one_instance_serves_runs_at_the_same_time_and_in_each_other():
    runner = ThreadEachRunner()

    def outer(number: int) -> int:
        inner = Process([Task("inner", add, args=(number,))]).run(runner=runner)
        return inner.results["inner"]

    process = Process([Task(f"t{i}", outer, args=(i,)) for i in range(6)])
    with ThreadPoolExecutor(3) as threads:
        reports = list(threads.map(lambda _: process.run(runner=runner), range(3)))
    assert [report.results for report in reports] == [{f"t{i}": i for i in range(6)}] * 3


@pytest.mark.parametrize("default", ["sequential", "thread", "process"])
def test_it_serves_single_tasks_of_a_run_on_another_runner(default):
    custom = ThreadEachRunner()
    tasks = [
        Task("mine", where, runner=custom),
        Task("default", where),
        Task("process", where, runner="process"),
        Task("mine-too", add, args=(1,), runner=custom),
        *(Task(f"t{i}", add, args=(i,), runner=(custom, "thread", None)[i % 3]) for i in range(60)),
        Task(
            "joined",
            lambda *places: [pid for pid, _ in places],
            dependencies=[TaskDependency(name, True) for name in ("mine", "default", "process")],
            runner=custom,
        ),
    ]
    report = Process(tasks).run(runner=default)
    report.raise_for_errors()
    mine, of_default, process = report.results["joined"]
    assert mine == os.getpid() != process
    assert (of_default == os.getpid()) == (default != "process")
    assert {name: report.results[f"t{name}"] for name in range(60)} == {i: i for i in range(60)}
    assert report.metrics["mine"].worker.startswith("thread-each-")
    assert report.metrics["default"].worker.startswith(default)
    assert report.runner == default


def test_other_runners_serve_single_tasks_of_its_run():
    tasks = [
        Task("mine", where),
        Task("process", where, runner="process"),
        Task("bad", fail_with_marker, args=("no",)),
    ]
    report = Process(tasks, runner=ThreadEachRunner()).run()
    assert report.runner == "thread-each"
    assert report.results["mine"][0] == os.getpid() != report.results["process"][0]
    assert report.errored["bad"].error.exception == "('no', 2)"


@dataclass
class OfData(ThreadEachRunner):
    """Is equal to others of its kind, and has no hash."""

    limit: int = 3


def test_runners_that_are_equal_serve_a_run_each_by_itself():
    inside = threading.Barrier(2)  # there is room for one on each
    tasks = [Task(name, inside.wait, args=(60,), runner=OfData(1)) for name in ("one", "two")]
    report = Process([*tasks, Task("default", add)]).run(runner=OfData())
    report.raise_for_errors()
    assert report.results["default"] == 0


class WithPair(ThreadEachRunner):
    """Counts the `with` blocks and the runs that it served."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[str] = []

    def __enter__(self):
        self.events.append("enter")
        return self

    def __exit__(self, *exc_info):
        self.events.append("exit")

    def open(self, waker):
        super().open(waker)
        self.events.append("open")

    def close(self) -> None:
        self.events.append("close")
        super().close()


def test_each_run_opens_and_closes_it_once_also_when_tasks_fail():
    with WithPair() as runner:
        for _ in range(2):
            Process([Task("bad", fail_with_marker, args=("x",)), Task("ok", add)]).run(runner=runner)
    assert runner.events == ["enter", "open", "close", "open", "close", "exit"]


class Unopenable(ThreadEachRunner):
    """Has no luck with its cluster."""

    def open(self, waker):
        raise ConnectionError("no cluster there")


def test_what_its_open_raises_ends_the_run_and_closes_what_was_opened():
    opened = WithPair()
    tasks = [Task("ok", add), Task("lost", add, runner=Unopenable())]
    with pytest.raises(ConnectionError, match="no cluster there"):
        Process(tasks).run(runner=opened)
    assert opened.events == ["open", "close"]
    stream = Process(tasks).stream(runner=opened)
    with pytest.raises(ConnectionError, match="no cluster there"):
        next(stream)
    assert opened.events == ["open", "close"] * 2
    assert {entry.status for entry in stream.report.entries.values()} == {TaskStatus.PENDING}


class HearsNothing(ThreadEachRunner):
    """Is told by nobody that a thread has ended, and looks."""

    def __init__(self) -> None:
        super().__init__()
        self.looks = count(1)
        self.asked_often = threading.Event()
        self.ended = []

    @property
    def poll_seconds(self) -> float:
        return 0.001

    def deliver(self, message) -> None:
        self.ended.append(message)

    def wait(self, timeout: float):
        while self.ended:
            super().deliver(self.ended.pop(0))
        if next(self.looks) == 500:  # which takes the run by itself 50 s and more
            self.asked_often.set()
        return super().wait(timeout)


@pytest.mark.parametrize("beside", [None, "sequential"])
def test_it_is_asked_for_messages_as_often_as_it_says(beside):
    runner = HearsNothing()
    tasks = [Task("late", runner.asked_often.wait, args=(30,)), Task("beside", add, runner=beside)]
    assert Process(tasks).run(runner=runner).results == {"late": True, "beside": 0}


class CountsLooks(ThreadEachRunner):
    """Counts how often it is asked for messages."""

    def __init__(self) -> None:
        super().__init__()
        self.looks: list[float] = []

    def wait(self, timeout: float):
        self.looks.append(timeout)
        return super().wait(timeout)


class HasDescriptor(ThreadEachRunner):
    """Tells of messages by a descriptor."""

    def open(self, waker):
        super().open(waker)
        self.ended = []
        self.reading, self.writing = socket.socketpair()  # nothing else can be waited for on Windows

    def fileno(self) -> int:
        return self.reading.fileno()

    def deliver(self, message) -> None:
        self.ended.append(message)
        self.writing.send(b"1")

    def wait(self, timeout: float):
        while self.ended:
            self.reading.recv(1)
            super().deliver(self.ended.pop(0))
        return super().wait(timeout)

    def close(self) -> None:
        super().close()
        self.reading.close()
        self.writing.close()


@pytest.mark.parametrize("beside", [None, HasDescriptor(), ProcessPoolRunner(1)])
def test_a_run_of_one_or_several_runners_sleeps_until_something_comes(beside):
    runner = CountsLooks()
    tasks = [
        Task("there", os.getpid, runner=beside),
        Task("here", time.sleep, args=(0.1,), dependencies=[TaskDependency("there")]),
        Task("later", time.sleep, args=(0.3,), dependencies=[TaskDependency("here")]),
    ]
    assert len(Process(tasks).run(runner=runner).successes) == 3
    assert len(runner.looks) < 100


class TellsOfDelivery(ThreadEachRunner):
    """Lets others wait until an attempt's end has been delivered."""

    def __init__(self, limit: int = 3) -> None:
        super().__init__(limit)
        self.delivered = threading.Event()

    def deliver(self, message) -> None:
        super().deliver(message)
        if isinstance(message, Finished):
            self.delivered.set()


def test_what_ends_while_a_sequential_task_keeps_the_run_is_followed_up_before_the_next_one():
    runner, began, went_on = TellsOfDelivery(), threading.Event(), threading.Event()

    def keep() -> None:
        began.set()
        runner.delivered.wait(60)

    tasks = [
        Task("ends", began.wait, args=(60,), runner=runner),
        Task("follows", went_on.set, dependencies=[TaskDependency("ends")], runner=runner),
        Task("keeps", keep),
        Task("next", went_on.wait, args=(60,)),
    ]
    assert Process(tasks).run(runner="sequential").results["next"]


class TellsAll(TellsOfDelivery):
    """Looks at no message, and tells once more of a start."""

    def deliver(self, message) -> None:
        if isinstance(message, Finished):
            super().deliver(Started(message.ticket, time.monotonic(), message.worker))
        super().deliver(message)

    def wait(self, timeout: float):
        messages = ProcessRunner.wait(self, timeout)
        for message in messages:
            if isinstance(message, Finished):
                self.threads.pop(message.ticket, None)
        return messages


@pytest.mark.leaves_threads
def test_late_answers_are_ignored_though_it_tells_of_them():
    runner, go_on = TellsAll(1), threading.Event()

    def let_it_answer() -> bool:
        go_on.set()
        return runner.delivered.wait(60)

    tasks = [
        Task("late", go_on.wait, args=(60,), timeout=0.1),
        Task("lets", let_it_answer),
        Task("last", add),
    ]
    report = Process(tasks).run(runner=runner)
    assert type(report.exceptions["late"]) is TimeoutError
    assert report.results == {"lets": True, "last": 0}


class RunsOutOfThreads(ThreadRunner):
    """Cannot start what is named so."""

    def start(self, attempt: Attempt) -> None:
        if attempt.task_name == "one-too-many":
            raise RuntimeError("can't start new thread")
        super().start(attempt)


def test_what_its_start_raises_ends_the_run_whichever_thread_goes_on_with_it():
    chain = [
        Task(f"t{i}", add, dependencies=[TaskDependency(f"t{i - 1}", True)] if i else []) for i in range(200)
    ]
    chain.append(Task("one-too-many", add, dependencies=[TaskDependency("t199", True)]))
    process = Process(chain)
    with pytest.raises(RuntimeError, match="can't start new thread"):
        process.run(runner=RunsOutOfThreads(2))
    assert process.runner.results["t199"].worked
    assert process.runner.results["one-too-many"].status is TaskStatus.PENDING


class TellsOfFailedStart(RunsOutOfThreads):
    """Lets others wait until it could not start something."""

    def __init__(self) -> None:
        super().__init__(1)
        self.failed = threading.Event()

    def start(self, attempt: Attempt) -> None:
        try:
            super().start(attempt)
        except RuntimeError:
            self.failed.set()
            raise


def test_what_its_start_raises_while_a_task_keeps_the_run_ends_it_too():
    runner, went_on = TellsOfFailedStart(), []
    tasks = [
        Task("keeps", runner.failed.wait, args=(60,)),
        Task("next", went_on.append, args=(1,), dependencies=[TaskDependency("keeps")]),
        Task("one", add, runner=runner),
        Task("one-too-many", add, dependencies=[TaskDependency("one", True)], runner=runner),
    ]
    process = Process(tasks)
    with pytest.raises(RuntimeError, match="can't start new thread"):
        process.run(runner="sequential")
    assert process.report.entries["one-too-many"].status is TaskStatus.PENDING
    assert went_on == []


class Lost(Sealed):
    """A result that is not where it was any more."""

    def open(self) -> object:
        raise SerializationError("the result is lost")


class LosesResults(ThreadEachRunner):
    """Leaves results where they were made."""

    def deliver(self, message) -> None:
        if isinstance(message, Finished):
            message.outcome = Returned(Lost())
        super().deliver(message)


def test_a_result_that_cannot_be_opened_fails_the_task_that_needs_it_and_the_one_that_shows_it():
    tasks = [
        Task("shown", add, args=(1,)),
        Task("dropped", add, args=(2,), keep_result=False),
        Task("needs", add, dependencies=[TaskDependency("dropped", True)], runner="thread"),
        Task("waits", add, dependencies=[TaskDependency("shown")], runner="thread"),
        Task("below", add, dependencies=[TaskDependency("needs")]),
    ]
    report = Process(tasks).run(runner=LosesResults())
    assert {name: (entry.status.name, entry.attempts) for name, entry in report.entries.items()} == {
        "shown": ("ERRORED", 1),
        "dropped": ("SUCCESS", 1),
        "needs": ("ERRORED", 0),
        "waits": ("SUCCESS", 1),
        "below": ("SKIPPED", 0),
    }
    assert report.entries["shown"].elapsed_seconds > 0
    errors = {name: entry.error for name, entry in report.errored.items()}
    assert {error.exception for error in errors.values()} == {"the result is lost"}
    assert {name: error.downstream_impact for name, error in errors.items()} == {
        "shown": ["waits"],
        "needs": ["below"],
    }


@pytest.mark.parametrize("runner", ["thread", None], ids=["another", "the-same"])
@pytest.mark.parametrize("fail_fast", [False, True])
def test_a_run_ends_in_good_order_though_nothing_runs_where_a_result_cannot_be_opened(runner, fail_fast):
    tasks = [Task("dropped", add, keep_result=False)]
    needs = [TaskDependency("dropped", True)]
    tasks += [Task(name, add, dependencies=needs, runner=runner) for name in ("one", "other")]
    report = Process(tasks).run(runner=LosesResults(1), fail_fast=fail_fast)
    statuses = [entry.status.name for entry in report.entries.values()]
    assert statuses[:2] == ["SUCCESS", "ERRORED"]
    assert statuses[2] == "ERRORED" or fail_fast


def test_a_class_that_lacks_a_part_cannot_be_made():
    class Incomplete(ProcessRunner):
        def start(self, attempt: Attempt) -> None:
            """Take it."""

    with pytest.raises(TypeError, match="abstract"):
        Incomplete()
