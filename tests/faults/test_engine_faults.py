"""Workers of other people's engines that die, and runs that end under them."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Executor, ProcessPoolExecutor
from contextlib import contextmanager, suppress
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from faulty_runs import time_limit
from misbehaving import die, die_once, kill_from, make_and_tell, note
from odd_values import ReadElsewhere
from on_engines import end_of_child, find_package_again, hide_package, see_sigint_in_a_child
from patience import patient
from programs import NOT_SLOW_FOR_DASK, ended, started, wait_until

from processes import (
    DaskRunner,
    ExecutorRunner,
    Process,
    RunStarted,
    SerializationError,
    Task,
    TaskDependency,
    TaskFinished,
    TaskStarted,
    TaskStatus,
    ThreadRunner,
    WorkerDiedError,
)
from processes.runners.dask import connection
from processes.runners.dask import runner as module

# ---- Executors -------------------------------------------------------------------------------------------


def wait_until_broken(executor: Executor) -> None:
    give_up_at = time.monotonic() + 60
    with suppress(BrokenExecutor):
        while time.monotonic() < give_up_at:
            executor.submit(abs, -1).result(60)


@pytest.mark.usefixtures("executor")  # what multiprocessing tracks resources with is up already
def test_a_dead_worker_breaks_the_executor_and_the_run_ends():
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as executor:
        tasks = [
            Task("before", abs, args=(-1,)),
            Task("dies", die, dependencies=[TaskDependency("before")]),
            Task("again", die, dependencies=[TaskDependency("before")], retries=2),
            Task("below", abs, dependencies=[TaskDependency("dies")]),
            Task("broken", wait_until_broken, args=(executor,), runner="thread"),
            Task("late", abs, args=(-1,), dependencies=[TaskDependency("broken")]),
        ]
        report = Process(tasks).run(runner=ExecutorRunner(executor))
    assert report.results == {"before": 1, "broken": None}
    assert sorted(report.exceptions) == ["again", "dies", "late"]
    for name, error in report.exceptions.items():
        assert type(error) is WorkerDiedError
        assert error.task_name == name
        assert isinstance(error.__cause__, BrokenExecutor)
        assert f"Task {name!r} was lost by its executor, ProcessPoolExecutor: BrokenProcessPool(" in str(
            error
        )
    assert report.entries["again"].attempts == 3
    assert report.entries["below"].status is TaskStatus.SKIPPED


# ---- Dask ------------------------------------------------------------------------------------------------


with_threads_of_dask = pytest.mark.usefixtures("dask")  # some of its client's outlive any cluster


@pytest.fixture
def lost_workers_come_back() -> Iterator[None]:
    """Have Dask wait for a dead worker to be back, which may take a busy machine more than its 15 s.

    It closes one that is back just then, with the attempt that this is at.
    """
    import dask

    with dask.config.set({"distributed.deploy.lost-worker-timeout": "10m"}):
        yield


@with_threads_of_dask
@pytest.mark.usefixtures("lost_workers_come_back")
@pytest.mark.once
def test_a_dead_worker_of_dask_costs_its_attempt_and_dask_computes_again_what_it_kept(tmp_path):
    pids = tmp_path / "pids"
    tasks = [
        Task("dies", die, priority=1),  # before all that others need, whose results could be lost with it
        Task("dies-once", die_once, args=(tmp_path / "died",), retries=1, priority=1),
        Task("below", abs, dependencies=[TaskDependency("dies")]),
        Task("child", end_of_child, dependencies=[TaskDependency("dies-once")]),  # of one in its place
        *[Task(f"t{i}", note, args=(tmp_path / "called", i, np.ones(20_000))) for i in range(10)],  # large
        *[Task(f"t{i}", note, args=(tmp_path / "called", i)) for i in range(10, 40)],
    ]
    after = [TaskDependency(task.name) for task in tasks if task.name not in ("dies", "below")]
    tasks += [
        Task("make", make_and_tell, args=(pids,), dependencies=after, keep_result=False),
        Task("kill", kill_from, args=(pids,), dependencies=[TaskDependency("make")], runner="thread"),
        Task("sum", np.sum, dependencies=[TaskDependency("make", True), TaskDependency("kill")]),
    ]
    preload = tmp_path / "preloaded.py"
    preload.write_text(f"from pathlib import Path\nPath({str(tmp_path / 'is-loaded')!r}).touch()\n")
    runner = DaskRunner(n_workers=1, preload=[str(preload)], preload_argv=[[]])
    report = Process(tasks).run(runner=runner)
    assert (tmp_path / "is-loaded").exists()
    assert list(report.exceptions) == ["dies"]
    error = report.exceptions["dies"]
    assert type(error) is WorkerDiedError
    assert error.task_name == "dies"
    assert type(error.__cause__).__name__ == "KilledWorker"
    assert report.entries["dies"].attempts == 1
    assert (report.results["dies-once"], report.entries["dies-once"].attempts) == ("lives", 2)
    assert report.results["child"] == 0
    assert sorted(map(int, (tmp_path / "called").read_text().split())) == list(range(40))
    assert report.entries["below"].status is TaskStatus.SKIPPED
    assert report.results["sum"] == 200_000
    assert len(pids.read_text().split()) == 2


@with_threads_of_dask
@pytest.mark.once
def test_a_worker_that_dask_has_given_up_is_replaced(tmp_path):
    import dask

    # As where a machine is so busy that a worker which died is not back within those 15 s.
    with dask.config.set({"distributed.deploy.lost-worker-timeout": "1ms"}), time_limit(120):
        # One that is back all the same is given up too, perhaps in the middle of the next attempt.
        task = Task("dies-once", die_once, args=(tmp_path / "died",), retries=9)
        report = Process([task]).run(runner=DaskRunner(n_workers=1))
    assert report.results == {"dies-once": "lives"}


@pytest.mark.once
def test_a_script_without_guard_that_starts_a_cluster_is_told_of_it(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from processes import DaskRunner, Process, Task\n"
        "Process([Task('a', int)]).run(runner=DaskRunner(n_workers=1))\n"
    )
    program = ended([sys.executable, script], cwd=tmp_path)
    assert program.returncode == 1
    lines = program.stderr.splitlines()  # Dask may say more behind
    assert 'In a script, a run on a new cluster stands below `if __name__ == "__main__":`.' in lines


@pytest.mark.once
def test_an_argument_that_dask_does_not_know_is_told(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from processes import DaskRunner, Process, Task\n"
        "if __name__ == '__main__':\n"
        "    Process([Task('a', int)]).run(runner=DaskRunner(n_worker=1))\n"
    )
    program = ended([sys.executable, script], cwd=tmp_path)
    assert program.returncode == 1
    given = "What DaskRunner is given goes to dask's LocalCluster: "
    (note,) = [line for line in program.stderr.splitlines() if line.startswith(given)]
    assert "'n_worker'" in note


@with_threads_of_dask
def test_a_cluster_without_workers_grows_for_large_arguments_too():
    from distributed import Client, LocalCluster

    with LocalCluster(n_workers=0, processes=False, dashboard_address=":0") as cluster:
        cluster.adapt(minimum=0, maximum=1, interval="20ms")
        with Client(cluster, set_as_default=False) as client:
            tasks = [Task("sum", np.sum, args=(np.ones(200_000),))]
            report = Process(tasks).run(runner=DaskRunner(client))
    assert report.results == {"sum": 200_000}


@with_threads_of_dask
def test_a_cluster_that_stays_without_workers_is_told_of(monkeypatch):
    from distributed import Client, LocalCluster

    monkeypatch.setattr(module, "LONELY_SECONDS", 0.01)
    with (
        LocalCluster(n_workers=0, processes=False, dashboard_address=":0") as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        told = []

        def grow() -> None:
            try:
                wait_until(lambda: told)
            finally:
                cluster.scale(1)

        growing = threading.Thread(target=grow)
        growing.start()
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.showwarning = lambda message, *_: told.append(str(message))
            report = Process([Task("one", abs, args=(-1,))]).run(runner=DaskRunner(client))
        growing.join(60)
        where = f"the Dask cluster at {cluster.scheduler_address}"
    assert report.results == {"one": 1}
    assert told == [f"{where} has had no worker for 0.01 s; 1 of its attempts wait for one"]


def make_and_wait_in_second_call(path: Path, count: int) -> np.ndarray:
    note(path, 1)
    if path.read_text().split() == ["1", "1"]:
        wait_until(path.with_name("release").exists)
    return np.ones(count)


def note_future_of_make(futures: list[Any]) -> Callable[[object], None]:
    def note_future(event: object) -> None:
        if type(event) is TaskFinished and event.name == "make":
            futures.append(event.result._sealed.future)

    return note_future


@with_threads_of_dask
@pytest.mark.parametrize("needed_by", ["a task", "the report"])
def test_what_is_lost_while_dask_computes_it_again_is_computed_once_more(needed_by, tmp_path):
    import dask
    from distributed import Client, LocalCluster

    path = tmp_path / "called"
    futures: list[Any] = []

    def lose_twice() -> None:
        wait_until(lambda: futures)
        for calls in 1, 2:
            wait_until(lambda calls=calls: len(path.read_text().split()) == calls)
            client.sync(lose_worker, futures[0].key)
        wait_until(lambda: futures[0].status == "error")

    async def lose_worker(key: str) -> None:
        task = cluster.scheduler.tasks[key]
        (worker,) = task.who_has or [task.processing_on]
        await cluster.scheduler.remove_worker(worker.address, stimulus_id="lost")

    tasks = [
        Task("make", make_and_wait_in_second_call, args=(path, 200_000)),
        Task("lose", lose_twice, dependencies=[TaskDependency("make")], runner="thread"),
    ]
    if needed_by == "a task":
        tasks += [Task("sum", np.sum, dependencies=[TaskDependency("make", True), TaskDependency("lose")])]
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        LocalCluster(n_workers=3, processes=False, dashboard_address=":0") as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        report = Process(tasks).run(runner=DaskRunner(client), observers=[note_future_of_make(futures)])
        (tmp_path / "release").touch()
    report.raise_for_errors()
    assert report.results["make"].sum() == report.results.get("sum", 200_000) == 200_000


@with_threads_of_dask
def test_a_run_that_ends_before_its_time_does_not_wait_for_a_worker_to_compute_again():
    from distributed import Client, LocalCluster

    def lose_and_fail() -> None:
        (worker,) = cluster.scheduler.workers
        client.sync(cluster.scheduler.remove_worker, worker, stimulus_id="lost")
        raise ValueError("lost")

    one_thread = ThreadRunner(1)
    behind = [TaskDependency("make")]
    tasks = [
        Task("make", np.ones, args=(200_000,)),
        Task("fail", lose_and_fail, dependencies=behind, runner=one_thread, priority=1),
        Task("never", abs, args=(-1,), dependencies=behind, runner=one_thread),
    ]
    with (
        LocalCluster(n_workers=1, processes=False, dashboard_address=":0") as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        limit = threading.Timer(90, cluster.scale, args=(2,))
        limit.start()
        report = Process(tasks).run(runner=DaskRunner(client), fail_fast=True)
        limit.cancel()
    assert report.entries["never"].status is TaskStatus.PENDING
    assert "'make' stayed on the Dask cluster and is lost: RuntimeError('its worker is gone, and" in str(
        report.exceptions["make"]
    )


def make_once(path: Path, die_then: bool) -> np.ndarray:
    if path.exists():
        if die_then:
            die()
        raise LookupError("it is made once")
    path.touch()
    return np.ones(200_000)


@with_threads_of_dask
@pytest.mark.parametrize("needed_by", ["a task", "a task on threads", "the report"])
def test_what_is_lost_and_fails_when_it_is_computed_again_says_so(needed_by, tmp_path):
    from distributed import Client, LocalCluster

    def lose() -> None:
        (worker,) = [worker for worker in cluster.scheduler.workers.values() if worker.has_what]
        client.sync(cluster.scheduler.remove_worker, worker.address, stimulus_id="lost")

    tasks = [
        Task("make", make_once, args=(tmp_path / "made", False)),
        Task("lose", lose, dependencies=[TaskDependency("make")], runner="thread"),
    ]
    if needed_by != "the report":
        behind = [TaskDependency("make", True), TaskDependency("lose")]
        tasks += [Task("sum", np.sum, dependencies=behind, runner="thread" if "thr" in needed_by else None)]
    with (
        LocalCluster(n_workers=2, processes=False, dashboard_address=":0") as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        report = Process(tasks).run(runner=DaskRunner(client))
    assert set(report.exceptions) == {"make", *(["sum"] if needed_by != "the report" else [])}
    for error in report.exceptions.values():
        assert type(error) is SerializationError
        assert str(error) == (
            "The result of task 'make' was lost with its worker; Dask has called its function again, and "
            "that failed: LookupError('it is made once')"
        )
        assert type(error.__cause__) is LookupError


def make_and_wait_in_later_calls(path: Path) -> np.ndarray:
    note(path, 1)
    if len(path.read_text().split()) > 1:
        wait_until(path.with_name("release").exists)
    return np.ones(200_000)


@with_threads_of_dask
def test_what_is_lost_and_ends_its_worker_when_it_is_computed_again_says_so(tmp_path):
    import dask
    from distributed import Client, LocalCluster

    path = tmp_path / "called"
    futures: list[Any] = []

    async def lose_worker() -> None:
        (worker,) = [one for one in cluster.scheduler.workers.values() if one.processing or one.has_what]
        await cluster.scheduler.remove_worker(worker.address, stimulus_id="lost")

    def lose(call: int) -> None:
        wait_until(lambda: len(path.read_text().split()) == call)
        client.sync(lose_worker)

    def lose_twice() -> None:
        wait_until(lambda: futures)
        lose(1)
        lose(2)
        wait_until(lambda: futures[0].status == "error")
        losing_again.start()  # it is computed once more when the report needs it

    losing_again = threading.Thread(target=lose, args=(3,))
    tasks = [
        Task("make", make_and_wait_in_later_calls, args=(path,)),
        Task("lose", lose_twice, dependencies=[TaskDependency("make")], runner="thread"),
    ]
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        LocalCluster(n_workers=4, processes=False, dashboard_address=":0") as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        report = Process(tasks).run(runner=DaskRunner(client), observers=[note_future_of_make(futures)])
        losing_again.join()
        (tmp_path / "release").touch()
    assert str(report.exceptions["make"]).startswith(
        "The result of task 'make' was lost with its worker; Dask has called its function again, and that "
        "failed: KilledWorker("
    )


@with_threads_of_dask
@pytest.mark.parametrize("needed_by", ["a task on threads", "the report"])
def test_a_ctrl_c_ends_a_run_that_waits_for_a_result_that_nobody_can_compute_again(needed_by, monkeypatch):
    from distributed import Client, LocalCluster

    monkeypatch.setattr(module, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(module, "LONELY_SECONDS", 0.01)
    told: list[str] = []

    def lose() -> None:
        (worker,) = cluster.scheduler.workers
        client.sync(cluster.scheduler.remove_worker, worker, stimulus_id="lost")

    def press_ctrl_c(message: object, *_: object) -> None:
        told.append(str(message))
        os.kill(os.getpid(), signal.SIGINT)

    tasks = [
        Task("make", np.ones, args=(200_000,)),
        Task("lose", lose, dependencies=[TaskDependency("make")], runner="thread"),
    ]
    if needed_by != "the report":
        behind = [TaskDependency("make", True), TaskDependency("lose")]
        tasks += [Task("sum", np.sum, dependencies=behind, runner="thread")]
    process = Process(tasks)
    with (
        LocalCluster(n_workers=1, processes=False, dashboard_address=":0") as cluster,
        Client(cluster, set_as_default=False) as client,
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("always")
        warnings.showwarning = press_ctrl_c
        limit = threading.Timer(90, cluster.scale, args=(2,))
        limit.start()
        with pytest.raises(KeyboardInterrupt):
            process.run(runner=DaskRunner(client))
        limit.cancel()
        where = f"the Dask cluster at {cluster.scheduler_address}"
    assert told == [f"{where} has had no worker for 0.01 s; lost results wait for one"]
    entries = process.report.entries
    assert "'make' stayed on the Dask cluster and is lost: " in entries["make"].error.exception
    assert {name: entry.status.name for name, entry in entries.items() if name != "make"} == (
        {"lose": "SUCCESS"} if needed_by == "the report" else {"lose": "SUCCESS", "sum": "PENDING"}
    )


@with_threads_of_dask
def test_a_result_that_is_lost_on_its_way_holds_up_no_other(tmp_path):
    from distributed import Client, LocalCluster

    path = tmp_path / "called"
    tasks = [
        Task("lost", make_and_wait_in_second_call, args=(path, 1)),
        Task(
            "await", wait_until, args=(lambda: path.exists() and len(path.read_text()) == 4,), runner="thread"
        ),
        Task("other", abs, args=(-1,), dependencies=[TaskDependency("await")]),
        Task("go", (tmp_path / "release").touch, dependencies=[TaskDependency("other")], runner="thread"),
    ]
    with (
        LocalCluster(n_workers=3, processes=False, dashboard_address=":0") as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        gather = client.gather

        async def lose_and_gather(futures, **options):
            client.gather = gather
            (worker,) = [worker for worker in cluster.scheduler.workers.values() if worker.has_what]
            await cluster.scheduler.remove_worker(worker.address, stimulus_id="lost")
            return await gather(futures, **options)

        client.gather = lose_and_gather
        report = Process(tasks).run(runner=DaskRunner(client))
    report.raise_for_errors()


def make_much(path: Path, in_first: bool) -> object:
    """Return much in the first call alone, or in the others."""
    is_first = not path.exists()
    path.touch()
    return np.ones(20_000) if is_first is in_first else "little"


@with_threads_of_dask
@pytest.mark.parametrize("much_in_first", [True, False])
def test_what_dask_computes_again_may_have_another_end(much_in_first, tmp_path):
    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=2, processes=False, dashboard_address=":0") as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        gather = client.gather

        async def lose_and_gather(futures, **options):
            client.gather = gather
            held_by = await client.scheduler.who_has()
            holders = [worker for worker in cluster.workers.values() if [worker.address] in held_by.values()]
            await asyncio.gather(*[worker.close() for worker in holders])
            return await gather(futures, **options)

        client.gather = lose_and_gather
        tasks = [Task("make", make_much, args=(tmp_path / "called", much_in_first))]
        report = Process(tasks).run(runner=DaskRunner(client))
    assert np.size(report.results["make"]) == (1 if much_in_first else 20_000)


def test_an_attempt_that_needs_a_result_that_is_lost_says_so(dask):
    is_lost = threading.Event()

    def lose(event) -> None:
        if type(event) is TaskFinished and event.name == "make":
            dask._block.client.cancel(event.result._sealed.future, force=True)
            is_lost.set()

    tasks = [
        Task("make", np.ones, args=(200_000,)),
        Task("here", is_lost.wait, args=(60,), dependencies=[TaskDependency("make")], runner="thread"),
        Task("sum", np.sum, dependencies=[TaskDependency("make", True), TaskDependency("here")]),
    ]
    report = Process(tasks).run(runner=dask, observers=[lose])
    assert sorted(report.exceptions) == ["make", "sum"]
    assert "'sum' was lost by the Dask cluster: RuntimeError('a result that it needs" in str(
        report.exceptions["sum"]
    )


def test_a_stream_has_all_entries_where_a_result_on_the_cluster_cannot_be_read_here(dask):
    tasks = [
        Task("make", ReadElsewhere, args=(os.getpid(),)),
        Task("next", abs, args=(-1,), dependencies=[TaskDependency("make")]),
    ]
    with Process(tasks).stream(runner=dask) as stream:
        seen = {entry.name: entry.status for entry in stream}
    assert seen == {"make": TaskStatus.ERRORED, "next": TaskStatus.SUCCESS}
    assert "could not be deserialized: RuntimeError: not here" in str(stream.report.exceptions["make"])


def test_workers_that_lack_this_package_say_so_and_stay(new_client):
    client = new_client()
    limit = threading.Timer(90, client.close)  # a run on a cluster without workers waits for some
    limit.start()
    workers = client.nthreads()
    client.run(hide_package)
    try:
        tasks = [Task("small", abs, args=(-1,)), Task("large", np.sum, args=(np.ones(20_000),))]
        report = Process(tasks).run(runner=DaskRunner(client))
        client.run(find_package_again)
        assert client.nthreads() == workers
    finally:
        limit.cancel()
        client.close()
    assert [type(error.__cause__) for error in report.exceptions.values()] == [ModuleNotFoundError] * 2


ENDED_CLUSTER = """
import threading, time
from distributed import Client, LocalCluster
from processes import DaskRunner, Process, Task, TaskDependency, TaskStarted

if __name__ == "__main__":
    with LocalCluster(n_workers=1, dashboard_address=":0") as cluster, Client(cluster) as client:
        closing = threading.Thread(target=cluster.close)

        def close(event):
            if type(event) is TaskStarted and not closing.ident:
                closing.start()

        tasks = [Task("long", time.sleep, args=(60,))]
        tasks += [Task("below", abs, dependencies=[TaskDependency("long")])]
        report = Process(tasks).run(runner=DaskRunner(client), observers=[close])
        closing.join(60)
    print(type(report.exceptions["long"]).__name__, report.entries["below"].status.name)
"""


@pytest.mark.once
def test_a_run_ends_when_its_cluster_does(tmp_path):
    (tmp_path / "program.py").write_text(ENDED_CLUSTER)
    command = [sys.executable, "program.py"]
    done = ended(command, cwd=tmp_path)
    assert done.stdout == "WorkerDiedError SKIPPED\n", done.stderr


def test_a_scheduler_that_does_not_answer_holds_up_no_other_runner(dask, monkeypatch):
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.0)  # as if time had passed
    client = dask._block.client
    answers_again = threading.Event()
    was_set: list[bool] = []

    def silence(event) -> None:
        if type(event) is TaskStarted and event.name == "there":
            client.loop.add_callback(lambda: was_set.append(answers_again.wait(60)))

    tasks = [Task("there", abs, args=(-1,)), Task("t0", abs, args=(0,), runner="thread")]
    tasks += [
        Task(f"t{i}", abs, args=(i,), dependencies=[TaskDependency(f"t{i - 1}")], runner="thread")
        for i in range(1, 4)
    ]
    tasks += [Task("end", answers_again.set, dependencies=[TaskDependency("t3")], runner="thread")]
    report = Process(tasks).run(runner=dask, observers=[silence])
    report.raise_for_errors()
    assert was_set == [True]


def test_a_scheduler_that_has_taken_the_place_of_another_tells_which_attempts_begin(
    dask, monkeypatch, tmp_path
):
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.0)
    release, told = tmp_path / "release", tmp_path / "told"
    client = dask._block.client
    subscribe = client.subscribe_topic

    def tell_anew(topic, hear) -> None:
        subscribe(topic, hear)
        told.touch()

    def forget(event) -> None:
        if type(event) is RunStarted:  # as a new scheduler knows of no client that it is to tell
            client.unsubscribe_topic(module.TOPIC)
            monkeypatch.setattr(client, "subscribe_topic", tell_anew)

    tasks = [Task("first", wait_until, args=(told.exists, 120))]
    tasks += [
        Task(
            "stuck",
            wait_until,
            args=(release.exists, 120),
            timeout=0.2,
            dependencies=[TaskDependency("first")],
        )
    ]
    try:
        report = Process(tasks).run(runner=dask, observers=[forget])
    finally:
        release.touch()
    assert type(report.exceptions["stuck"]) is TimeoutError
    assert report.entries["stuck"].elapsed_seconds < 60  # it was not waited for


@contextmanager
def silent_server() -> Iterator[tuple[str, threading.Event]]:
    """Listen as a scheduler does, and never answer; tell where, and when a client has come."""
    has_come = threading.Event()

    def accept() -> None:
        with suppress(OSError):
            clients.append(server.accept()[0])
            has_come.set()

    clients: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(60)
        accepting = threading.Thread(target=accept)
        accepting.start()
        yield f"tcp://127.0.0.1:{server.getsockname()[1]}", has_come
        accepting.join(60)
    for client in clients:
        client.close()


@with_threads_of_dask
@patient
def test_a_scheduler_that_takes_connections_and_never_answers_is_given_up(times):
    import dask

    with (
        dask.config.set({"distributed.comm.timeouts.connect": f"{100 * times}ms"}),
        silent_server() as (address, _),
        pytest.raises(TimeoutError, match=f"scheduler at {address} takes conn"),
    ):
        Process([Task("t", abs, args=(-1,))]).run(runner=DaskRunner(address))


@with_threads_of_dask
def test_a_ctrl_c_is_heard_while_a_scheduler_does_not_answer():
    def press_ctrl_c() -> None:
        if has_come.wait(60):
            os.kill(os.getpid(), signal.SIGINT)

    process = Process([Task("t", abs, args=(-1,))])
    with silent_server() as (address, has_come):
        pressing = threading.Thread(target=press_ctrl_c)
        pressing.start()
        with pytest.raises(KeyboardInterrupt):
            process.run(runner=DaskRunner(address))
        pressing.join(60)
    assert process.report.entries["t"].status is TaskStatus.PENDING


@with_threads_of_dask
def test_a_cluster_of_threads_that_a_run_has_started_does_not_wait_for_what_is_left_behind(tmp_path):
    release = tmp_path / "release"
    limit = threading.Timer(90, release.touch)
    limit.start()
    tasks = [Task("stuck", wait_until, args=(release.exists, 120), timeout=0.2)]
    report = Process(tasks).run(runner=DaskRunner(n_workers=1, processes=False))
    was_waited_for = release.exists()
    limit.cancel()
    release.touch()
    assert type(report.exceptions["stuck"]) is TimeoutError
    assert not was_waited_for


@with_threads_of_dask
@pytest.mark.once
def test_a_worker_that_is_long_in_ending_when_it_is_killed_costs_no_report(monkeypatch):
    monkeypatch.setattr(connection, "END_SECONDS", 1e-3)  # as where a machine is busy
    tasks = [
        Task("fine", abs, args=(-1,)),
        Task("stuck", time.sleep, args=(60,), timeout=0.2, dependencies=[TaskDependency("fine")]),
    ]
    with time_limit(50):
        report = Process(tasks).run(runner=DaskRunner(n_workers=1))
    assert report.results == {"fine": 1}
    assert type(report.exceptions["stuck"]) is TimeoutError


# ---- Ctrl-C ----------------------------------------------------------------------------------------------

INTERRUPTED = """
import sys, time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from processes import DaskRunner, ExecutorRunner, Process, Task, TaskDependency

def get_stuck():
    Path("began").touch()
    while True:  # a Ctrl-C just before a sleep begins does not end that one
        time.sleep(0.1)

def run(runner):
    tasks = [Task("done", abs, args=(-1,)), Task("stuck", get_stuck, dependencies=[TaskDependency("done")])]
    process = Process([*tasks, Task("after", abs, dependencies=[TaskDependency("stuck")])])
    try:
        process.run(runner=runner)
    except KeyboardInterrupt:
        print({name: entry.status.name for name, entry in process.report.entries.items()}, flush=True)

if __name__ == "__main__":
    if sys.argv[1] == "dask":
        run(DaskRunner(n_workers=1))
    else:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as executor:
            run(ExecutorRunner(executor))
"""


@pytest.mark.parametrize("engine", ["executor", "dask"])
def test_a_ctrl_c_ends_a_run_on_an_engine(engine, tmp_path):
    (tmp_path / "program.py").write_text(INTERRUPTED)
    with started(
        [sys.executable, "program.py", engine],
        cwd=tmp_path,
        start_new_session=True,  # so that it can be interrupted as a terminal does it: the whole group
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as program:
        wait_until((tmp_path / "began").exists, 120)
        children = psutil.Process(program.pid).children(recursive=True)
        os.killpg(program.pid, signal.SIGINT)
        output, errors = program.communicate(timeout=120)
    assert program.returncode == 0, errors
    assert output == "{'done': 'SUCCESS', 'stuck': 'PENDING', 'after': 'PENDING'}\n"
    _, alive = psutil.wait_procs(children, timeout=60)
    assert alive == []


HELD_UP = """
import time
from pathlib import Path

Path("starts").touch()
while not Path("go-on").exists():
    time.sleep(0.01)
"""


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="signals cannot be held up")
@pytest.mark.once
def test_a_ctrl_c_does_not_wait_for_a_cluster_that_is_started(tmp_path):
    (tmp_path / "program.py").write_text(INTERRUPTED)
    (tmp_path / "held_up.py").write_text(HELD_UP)
    go_on = tmp_path / "go-on"
    with started(
        [sys.executable, "program.py", "dask"],
        cwd=tmp_path,
        env={
            **os.environ,
            "DASK_DISTRIBUTED__WORKER__PRELOAD": "held_up.py",
            "PYTHONWARNINGS": NOT_SLOW_FOR_DASK,
        },
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as program:
        wait_until((tmp_path / "starts").exists, 120)
        children = psutil.Process(program.pid).children(recursive=True)
        limit = threading.Timer(60, go_on.touch)
        limit.start()
        os.killpg(program.pid, signal.SIGINT)
        assert program.stdout.readline() == "{'done': 'PENDING', 'stuck': 'PENDING', 'after': 'PENDING'}\n"
        assert not go_on.exists()
        limit.cancel()
        go_on.touch()
        _, errors = program.communicate(timeout=120)
    assert (program.returncode, errors) == (0, "")
    _, alive = psutil.wait_procs(children, timeout=60)
    assert alive == []


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="signals cannot be held up")
@pytest.mark.parametrize("has_processes", [True, False])
def test_what_a_task_starts_on_dask_hears_of_a_ctrl_c(has_processes, dask):
    runner = dask if has_processes else DaskRunner(n_workers=1, processes=False)
    report = Process([Task("child", see_sigint_in_a_child)]).run(runner=runner)
    assert report.results == {"child": "True set()\n"}
