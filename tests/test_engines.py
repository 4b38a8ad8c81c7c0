"""Runners on other people's engines: what is theirs alone. What they share with all is in the contract."""

from __future__ import annotations

import asyncio
import copy
import os
import pickle
import sys
import threading
import tracemalloc
import types
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from functools import partial

import numpy as np
import pytest
from on_engines import (
    add,
    append,
    double,
    fail_after,
    fail_once,
    hold,
    keys_at,
    make_at_home,
    meet_and_make,
)
from programs import ended, output_of, wait_until

from processes import (
    DaskRunner,
    ExecutorRunner,
    Process,
    SerializationError,
    Task,
    TaskDependency,
    TaskFinished,
    TaskStarted,
    TaskStatus,
    ThreadRunner,
    WorkerDiedError,
)
from processes.runners import make_runner
from processes.runners.dask.values import OnCluster

# ---- Executors -------------------------------------------------------------------------------------------


def test_an_executor_is_used_and_left_open(executor):
    report = Process([Task("pid", os.getpid)]).run(runner=ExecutorRunner(executor))
    assert report.results["pid"] in executor._processes
    assert report.runner == "executor"
    assert executor.submit(abs, -1).result(30) == 1


class Counting(ThreadPoolExecutor):
    """Notes how many calls it has at a time."""

    def __init__(self) -> None:
        super().__init__(4)
        self.inside = self.most = 0
        self.lock = threading.Lock()

    def submit(self, *call, **more) -> Future:
        with self.lock:
            self.inside += 1
            self.most = max(self.most, self.inside)
        future = super().submit(*call, **more)
        future.add_done_callback(self.leave)
        return future

    def leave(self, _: object) -> None:
        with self.lock:
            self.inside -= 1


@pytest.mark.parametrize(("max_workers", "expected"), [(None, 4), (2, 2), (6, 6)])
def test_an_executor_is_given_as_many_attempts_as_it_has_workers_or_as_was_said(max_workers, expected):
    with Counting() as executor:
        runner = ExecutorRunner(executor, max_workers=max_workers)
        report = Process([Task(f"t{i}", add, args=(i,)) for i in range(60)]).run(runner=runner)
    assert report.results == {f"t{i}": i for i in range(60)}
    assert executor.most == expected


def test_an_executor_of_threads_gives_functions_copies_and_says_all_once(caplog, tmp_path):
    numbers: list[int] = []
    path = tmp_path / "log"
    with ThreadPoolExecutor(2) as executor:
        tasks = [Task("with-file", append, path, args=(numbers,)), Task("without", append, args=(numbers,))]
        report = Process(tasks).run(runner=ExecutorRunner(executor))
    assert report.results == {"with-file": [1], "without": [1]}
    assert numbers == []
    assert [record.name for record in caplog.records].count("chatty.engine") == 2
    assert path.read_text().count("chatty.engine: appended") == 1
    assert report.metrics["without"].pid == os.getpid()


@pytest.mark.parametrize("engine", ["threads", "dask"])
def test_what_an_engine_has_not_begun_when_the_run_ends_is_never_run(engine, dask, tmp_path):
    go_on, in_line, unwanted = (tmp_path / name for name in ("go-on", "in-line", "unwanted"))
    begun = [tmp_path / "one-began", tmp_path / "other-began"]

    def wait_until_workers_have(count) -> None:
        if engine == "dask":  # which sends and takes back in its own time
            run_there = dask._block.client.run
            wait_until(lambda: sum(map(len, run_there(keys_at).values())) == count, 30)

    def look(event) -> None:
        if type(event) is TaskStarted and event.name == "last":
            wait_until_workers_have(4)
            in_line.touch()

    tasks = [Task(path.name, hold, args=(path, go_on)) for path in begun]
    tasks += [
        Task("all-busy", lambda: [wait_until(path.exists) for path in begun], runner="thread"),
        Task("behind", unwanted.touch, dependencies=[TaskDependency("all-busy")]),
        Task("last", unwanted.touch, dependencies=[TaskDependency("all-busy")]),
        Task("fails", fail_after, args=(in_line,), runner="thread"),
    ]
    with ThreadPoolExecutor(2) as threads:
        runner = dask if engine == "dask" else ExecutorRunner(threads, max_workers=4)
        report = Process(tasks).run(runner=runner, fail_fast=True, observers=[look])
        wait_until_workers_have(len(begun))
        go_on.touch()
        behind_all = Process([Task(f"t{i}", add, args=(i,)) for i in range(4)])
        behind_all.run(runner=runner).raise_for_errors()
    assert list(report.errored) == ["fails"]
    assert not unwanted.exists()


def test_what_an_executor_returns_of_an_attempt_that_was_left_behind_is_ignored(tmp_path):
    go_on = tmp_path / "go-on"
    late = Task("late", hold, args=(tmp_path / "begun", go_on), timeout=0.01, priority=1)
    process = Process([late, Task("next", add, args=(1, 2))])
    with ThreadPoolExecutor(1) as executor, process.stream(runner=ExecutorRunner(executor)) as stream:
        assert next(stream).name == "late"
        go_on.touch()
        assert next(stream).result == 3
    assert type(stream.report.exceptions["late"]) is TimeoutError


def test_a_call_that_its_executor_has_cancelled_is_lost(tmp_path):
    begun, go_on = tmp_path / "begun", tmp_path / "go-on"
    calls = []

    class Noting(ThreadPoolExecutor):
        def submit(self, *call, **more) -> Future:
            calls.append(super().submit(*call, **more))
            return calls[-1]

    process = Process([Task("holds", hold, args=(begun, go_on), priority=1), Task("behind", add)])
    with Noting(1) as executor, process.stream(runner=ExecutorRunner(executor, max_workers=2)) as stream:
        wait_until(lambda: len(calls) == 2 and begun.exists())
        executor.shutdown(wait=False, cancel_futures=True)
        go_on.touch()
        assert {entry.name for entry in stream} == {"holds", "behind"}
    assert list(stream.report.successes) == ["holds"]
    error = stream.report.exceptions["behind"]
    assert isinstance(error, WorkerDiedError)
    assert "'behind' was lost by its executor, Noting: CancelledError()" in str(error)


def test_a_result_that_cannot_travel_and_an_argument_that_cannot_cost_their_own_tasks(executor):
    tasks = [Task("takes", add, args=(threading.Lock(),)), Task("gives", threading.Lock), Task("ok", add)]
    report = Process(tasks).run(runner=ExecutorRunner(executor))
    assert {name: type(error) for name, error in report.exceptions.items()} == {
        "takes": SerializationError,
        "gives": SerializationError,
    }
    assert (report.entries["takes"].attempts, report.entries["gives"].attempts) == (0, 1)
    assert report.results == {"ok": 0}
    assert str(report.exceptions["takes"]).startswith("Task 'takes' cannot be sent to a worker process: ")
    assert str(report.exceptions["gives"]).startswith("The result of task 'gives' cannot be brought back: ")


def test_an_executor_that_makes_the_same_call_once_makes_every_attempt(dask, tmp_path):
    executor = dask._block.client.get_executor(pure=True)
    tasks = [Task("fails-once", fail_once, args=(tmp_path / "failed",), retries=1)]
    report = Process(tasks).run(runner=ExecutorRunner(executor))
    assert report.results == {"fails-once": "the second time"}


class CannotCancel(Executor):
    """Its calls cannot be taken back, as with Parsl, and never end."""

    class Future(Future):
        def cancel(self) -> bool:
            raise NotImplementedError

    def submit(self, *call, **more) -> Future:
        return self.Future()


def test_a_run_ends_though_its_executor_takes_no_call_back():
    tasks = [Task("stuck", add), Task("fails", int, args=("one",), runner="thread")]
    report = Process(tasks).run(runner=ExecutorRunner(CannotCancel()), fail_fast=True)
    assert report.entries["stuck"].status is TaskStatus.PENDING


def test_what_cannot_be_read_where_it_arrives_costs_its_own_task(executor):
    tasks = [Task("takes", id, args=(make_at_home(),)), Task("gives", make_at_home), Task("ok", add)]
    report = Process(tasks).run(runner=ExecutorRunner(executor))
    assert report.results == {"ok": 0}
    for name, what in (("takes", "args, kwargs"), ("gives", "result")):
        error = report.exceptions[name]
        assert type(error) is SerializationError
        assert f"Task {name!r}: {what} arrived, but could not be deserialized: LookupError" in str(error)
        assert report.entries[name].attempts == 1


SCRIPT = """
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from processes import DaskRunner, ExecutorRunner, Process, Task, TaskDependency

class Own:
    def __init__(self, number):
        self.number = number

class OwnError(Exception):
    def __init__(self, text, *, code):
        super().__init__(text)
        self.code = code

def make(number):
    return Own(number)

def fail(own):
    raise OwnError("on purpose", code=own.number)

def main(runner):
    tasks = [Task("make", make, args=(3,)), Task("lambda", lambda: __name__)]
    tasks += [Task("fail", fail, dependencies=[TaskDependency("make", True)])]
    report = Process(tasks).run(runner=runner)
    print(type(report.results["make"]) is Own, report.results["lambda"])
    error = report.exceptions["fail"]
    print(type(error) is OwnError, error.code)
    print(report.entries["fail"].error.traceback_str.splitlines()[-1])

if __name__ == "__main__":
    if sys.argv[1] == "dask":
        main(DaskRunner(n_workers=1))
    elif sys.argv[1] == "interpreters":
        from concurrent.futures import InterpreterPoolExecutor
        with InterpreterPoolExecutor(1) as executor:
            main(ExecutorRunner(executor))
    else:
        with ProcessPoolExecutor(1, mp_context=get_context(sys.argv[1])) as executor:
            main(ExecutorRunner(executor))
"""
SINCE_3_14 = pytest.mark.skipif(sys.version_info < (3, 14), reason="there is none before Python 3.14")


@pytest.mark.parametrize(
    "engine", ["spawn", "forkserver", "dask", pytest.param("interpreters", marks=SINCE_3_14)]
)
def test_objects_of_a_scripts_classes_come_back_as_the_scripts_own(engine, tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, "script.py", engine]
    done = ended(command, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "True __main__\nTrue 3\nOwnError: on purpose\n"


FORKED = """
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from processes import ExecutorRunner, Process, Task

LIMIT = 0

class Model:
    rate = 0

    def limits(self):
        return self.rate, LIMIT

with ProcessPoolExecutor(1, mp_context=get_context("fork")) as executor:
    for LIMIT in (1, 2):
        Model.rate = LIMIT
        report = Process([Task("limits", Model().limits)]).run(runner=ExecutorRunner(executor))
        print(report.results["limits"])
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_classes_are_as_they_are_when_a_run_begins_and_not_when_its_worker_was_forked(tmp_path):
    (tmp_path / "script.py").write_text(FORKED)
    command = [sys.executable, "script.py"]
    assert output_of(command, cwd=tmp_path) == "(1, 1)\n(2, 2)\n"


WITHIN_A_TASK = """
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from processes import ExecutorRunner, Process, Task

def double(number):
    return 2 * number

def give(function):
    return function

def within():
    with ProcessPoolExecutor(1, mp_context=get_context("fork")) as executor:
        report = Process([Task("give", give, args=(double,))]).run(runner=ExecutorRunner(executor))
    return report.results["give"](21)

print(Process([Task("within", within)]).run(runner="process").results["within"])
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_engine_within_a_task_gives_functions_back_that_it_was_given(tmp_path):
    (tmp_path / "script.py").write_text(WITHIN_A_TASK)
    assert output_of([sys.executable, "script.py"], cwd=tmp_path) == "42\n"


LIMITED = """
LIMIT = 0
SEEN = []

def limit():
    return LIMIT

def note(function):
    SEEN.append(limit())
    return SEEN, function is limit
"""


@pytest.mark.parametrize("engine", ["processes", "threads", "dask"])
def test_each_attempt_has_globals_of_its_own_as_they_are_when_its_run_begins(
    engine, executor, dask, monkeypatch
):
    module = types.ModuleType("limited")  # goes by value, as a script does
    monkeypatch.setitem(sys.modules, "limited", module)
    exec(LIMITED, vars(module))
    process = Process([Task(f"t{i}", module.note, args=(module.limit,)) for i in range(8)])
    with ThreadPoolExecutor(2) as threads:
        runner = dask if engine == "dask" else ExecutorRunner(threads if engine == "threads" else executor)
        for module.LIMIT in (1, 2):
            results = process.run(runner=runner).results
            assert results == {f"t{i}": ([module.LIMIT], True) for i in range(8)}
    assert module.SEEN == []


# ---- Dask ------------------------------------------------------------------------------------------------


def test_large_results_stay_on_the_cluster_until_the_report_needs_them(dask):
    seen = {}

    def look(event) -> None:
        if type(event) is TaskFinished:
            seen[event.name] = type(getattr(event.result, "_sealed", None))

    tasks = [
        Task("make", np.ones, args=(200_000,), keep_result=False),
        Task("double", double, dependencies=[TaskDependency("make", True)]),
        Task("again", double, dependencies=[TaskDependency("make", True)], keep_result=False),
        Task(
            "sum",
            lambda *arrays: sum(map(np.sum, arrays)),
            # The last to end, since the end of the run opens what is kept before observers hear of the last.
            dependencies=[TaskDependency("again", True), TaskDependency("double")],
        ),
    ]
    report = Process(tasks).run(runner=dask, observers=[look])
    report.raise_for_errors()
    assert seen == {"make": type(None), "double": OnCluster, "again": type(None), "sum": type(None)}
    assert report.results["make"] is None
    assert np.array_equal(report.results["double"], np.full(200_000, 2.0))
    assert report.results["sum"] == 400_000


def test_large_results_go_from_worker_to_worker(dask, tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    tasks = [
        Task("one", meet_and_make, args=(one, other)),
        Task("other", meet_and_make, args=(other, one)),
        Task("both", add, dependencies=[TaskDependency("one", True), TaskDependency("other", True)]),
    ]
    report = Process(tasks).run(runner=dask)
    report.raise_for_errors()
    assert report.metrics["one"].pid != report.metrics["other"].pid
    assert np.array_equal(report.results["both"], np.full(200_000, 2.0))


def test_large_results_are_brought_here_where_a_run_ends_before_its_time(dask):
    one_thread, behind = ThreadRunner(1), [TaskDependency("make")]
    tasks = [
        Task("make", np.ones, args=(200_000,)),
        Task("fails", int, args=("one",), dependencies=behind, runner=one_thread, priority=1),
        Task("never", add, dependencies=behind, runner=one_thread),
    ]
    report = Process(tasks).run(runner=dask, fail_fast=True)
    assert report.entries["never"].status is TaskStatus.PENDING
    assert np.array_equal(report.results["make"], np.ones(200_000))


def test_a_block_within_a_block_leaves_the_cluster_to_the_outer_one(dask):
    connection = dask._block
    with dask:
        assert dask._block is connection
    assert dask._block is connection
    process = Process([Task("add", add, args=(1, 2))], runner=dask)
    assert process.run().results == {"add": 3}
    for one in (pickle.loads(pickle.dumps(process)), copy.deepcopy(process)):  # in no block
        assert one.runner._block is None


@pytest.mark.usefixtures("dask")  # some of its client's threads outlive any cluster
def test_a_large_result_is_told_of_though_its_worker_is_at_another_call(tmp_path):
    release = tmp_path / "release"
    tasks = [
        Task("make", np.ones, args=(200_000,), priority=1, timeout=60),
        Task("long", wait_until, args=(release.exists,)),
        Task("release", release.touch, dependencies=[TaskDependency("make")], runner="thread"),
    ]
    runner = DaskRunner(n_workers=1, threads_per_worker=1, processes=False)
    Process(tasks).run(runner=runner).raise_for_errors()


def test_large_arguments_arrive(dask):
    array = np.arange(300_000)
    tasks = [Task("sum", np.sum, args=(array,)), Task("closure", lambda: int(array.sum()))]
    report = Process(tasks).run(runner=dask)
    assert report.results == {"sum": array.sum(), "closure": array.sum()}


@pytest.mark.usefixtures("shared_workers")
@pytest.mark.parametrize("others", ["thread", "process", "executor"])
def test_large_results_go_from_runner_to_runner(dask, executor, others):
    other = ExecutorRunner(executor) if others == "executor" else others
    tasks = [
        Task("there", np.ones, args=(200_000,), keep_result=False),
        Task("here", double, dependencies=[TaskDependency("there", True)], runner=other),
        Task("back", double, dependencies=[TaskDependency("here", True), TaskDependency("there")]),
        Task(
            "both", add, args=(), dependencies=[TaskDependency("back", True), TaskDependency("there", True)]
        ),
    ]
    report = Process(tasks).run(runner=dask)
    report.raise_for_errors()
    assert report.results["both"][0] == 5


def test_large_results_go_from_client_to_client(dask, new_client):
    with new_client() as client:
        tasks = [
            Task("there", np.ones, args=(200_000,), runner=DaskRunner(client)),
            Task("here", double, dependencies=[TaskDependency("there", True)]),
        ]
        report = Process(tasks).run(runner=dask)
    report.raise_for_errors()
    assert [report.results[name][0] for name in ("there", "here")] == [1, 2]


def test_a_client_is_used_and_not_closed_and_an_address_names_its_cluster(dask):
    process = Process([Task("pid", os.getpid)])
    client = dask._block.client
    workers = {info["pid"] for info in client.run(lambda: {"pid": os.getpid()}).values()}
    runners = [DaskRunner(client), DaskRunner(client.scheduler.address)]
    threads_and_reports: list = []
    for runner in runners:
        thread = threading.Thread(target=lambda r=runner: threads_and_reports.append(process.run(runner=r)))
        thread.start()
        thread.join(60)
    assert {report.results["pid"] for report in threads_and_reports} <= workers
    assert client.submit(add, 1, 2).result(30) == 3


def test_two_runs_on_one_client_hear_of_their_own_attempts(dask, tmp_path):
    def run(number: int) -> dict[str, int]:
        tasks = [Task(f"t{i}", add, args=(number, i), timeout=60) for i in range(20)]
        return Process(tasks).run(runner=dask).results

    with ThreadPoolExecutor(3) as threads:
        results = list(threads.map(run, range(3)))
    assert results == [{f"t{i}": number + i for i in range(20)} for number in range(3)]


@pytest.mark.leaves_threads  # Dask's for callbacks
def test_a_callback_of_a_future_of_the_programs_own_holds_up_no_run(dask):
    begins, may_end, waited = threading.Event(), threading.Event(), []

    def call_back(_: object) -> None:
        begins.set()
        waited.append(may_end.wait(60))

    dask._block.client.submit(add).add_done_callback(call_back)
    assert begins.wait(60)
    report = Process([Task("add", add)]).run(runner=dask)
    assert (report.results, waited) == ({"add": 0}, [])
    may_end.set()


def test_what_functions_are_bound_to_is_not_kept_once_it_is_sent():
    kept = []

    def look(event) -> None:
        if type(event) is TaskFinished:
            kept.append(tracemalloc.get_traced_memory()[0])

    process = Process([Task(f"t{i}", partial(len, bytes(1_000_000 + i))) for i in range(30)])
    with ThreadPoolExecutor(2) as executor:
        tracemalloc.start()
        try:
            process.run(runner=ExecutorRunner(executor), observers=[look]).raise_for_errors()
        finally:
            tracemalloc.stop()
    assert kept[-1] < 15_000_000


class Strange:
    """Tells nobody what it is."""

    @property
    def __class__(self):
        raise RuntimeError("no class")


@pytest.mark.parametrize("engine", ["executor", "dask"])
def test_an_argument_that_does_not_tell_its_class_costs_its_own_task(engine, executor, dask):
    runner = ExecutorRunner(executor) if engine == "executor" else dask
    report = Process([Task("takes", bool, args=(Strange(),)), Task("fine", add)]).run(runner=runner)
    assert type(report.exceptions["takes"]) is SerializationError
    assert report.results == {"fine": 0}


def test_a_run_ends_when_its_client_is_closed(new_client, tmp_path):
    client = new_client()
    closing = threading.Thread(target=client.close)

    def close(event) -> None:
        if type(event) is TaskStarted and not closing.ident:
            closing.start()

    release = tmp_path / "release"
    tasks = [
        Task("long", wait_until, args=(release.exists,)),
        Task("late", add, dependencies=[TaskDependency("long")]),
    ]
    try:
        report = Process(tasks).run(runner=DaskRunner(client), observers=[close])
    finally:
        release.touch()
        closing.join(60)
    assert type(report.exceptions["long"]) is WorkerDiedError


# ---- What is refused, before anything runs ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: ExecutorRunner(4), TypeError, "executor must be a concurrent.futures.Executor, not 4; make"),
        (lambda: ExecutorRunner(Executor), TypeError, "executor must be"),
        (lambda: ExecutorRunner(Executor(), max_workers=0), ValueError, "max_workers must be"),
        (lambda: ExecutorRunner(Executor(), max_workers=True), TypeError, "max_workers must be"),
        (
            lambda: DaskRunner(8786),
            TypeError,
            "address_or_client must be str, distributed.Client or None, not",
        ),
        (lambda: DaskRunner(max_workers=2), TypeError, "takes no max_workers; .* takes n_workers"),
        (lambda: DaskRunner(ThreadRunner()), TypeError, "address_or_client must be"),
        (lambda: DaskRunner("tcp://host:1", n_workers=2), ValueError, "n_workers would be for a cluster"),
    ],
)
def test_wrong_engines_are_refused(make, error, text):
    with pytest.raises(error, match=text):
        make()


def test_an_asynchronous_client_is_refused(new_client):
    async def refuse() -> None:
        async with new_client(asynchronous=True) as client:
            with pytest.raises(ValueError, match="asynchronous client; give its scheduler's address"):
                DaskRunner(client)

    asyncio.run(refuse())


def test_a_cluster_is_answered_with_how_to_give_its_address():
    from distributed import LocalCluster

    with (
        LocalCluster(n_workers=0, processes=False, dashboard_address=None) as cluster,
        pytest.raises(
            TypeError, match=r"not LocalCluster\(.*\): write DaskRunner\(cluster.scheduler_address\)"
        ),
    ):
        DaskRunner(cluster)


def test_a_client_that_is_closed_is_refused(new_client):
    client = new_client()
    client.close()
    with pytest.raises(RuntimeError, match=r"client of the Dask cluster is closed: <Client.*; make another"):
        Process([Task("t", add)]).run(runner=DaskRunner(client))


def test_without_dask_the_error_says_what_to_install():
    program = "import sys; sys.modules['distributed'] = None; import processes; processes.DaskRunner()"
    done = ended([sys.executable, "-c", program])
    assert done.stderr.endswith(
        "ModuleNotFoundError: DaskRunner needs dask.distributed, which is not installed: "
        "pip install distributed\n"
    )


def test_neither_the_name_nor_the_class_loads_dask_before_it_is_made():
    program = (
        "import sys; from processes import DaskRunner, ExecutorRunner; print('distributed' in sys.modules)"
    )
    assert output_of([sys.executable, "-c", program]) == "False\n"


def test_the_name_makes_a_cluster_of_as_many_workers_as_were_asked_for():
    assert make_runner("dask", 2).local_cluster_kwargs == {"n_workers": 2}
    assert make_runner("dask").local_cluster_kwargs == {}


def test_an_executor_that_is_no_more_takes_nothing():
    with ThreadPoolExecutor(1) as executor:
        wait([executor.submit(add)])
    report = Process([Task("late", add)]).run(runner=ExecutorRunner(executor))
    text = str(report.exceptions["late"])
    assert text.startswith(
        "Task 'late' was lost by its executor, ThreadPoolExecutor: RuntimeError('cannot sch"
    )
    assert text.endswith("takes no more calls; give the next run a new one")
