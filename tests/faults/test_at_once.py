"""What several threads do at the same moment harms no run, whether a GIL keeps them apart or not."""

from __future__ import annotations

import io
import itertools
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from copy import copy
from importlib.util import module_from_spec, spec_from_file_location
from typing import Any

import cloudpickle
import pytest
from interpreters import HAS_GIL
from programs import output_of
from waiting import touch, wait_for_files

from processes import (
    Process,
    ProcessExecutionReport,
    ProcessPoolRunner,
    ReportChannel,
    Task,
    TaskDependency,
    TaskResult,
    TaskStarted,
)
from processes.attempt import Finished, Returned, Worker
from processes.events import RunStarted
from processes.measurements import Measurements
from processes.observers.progress import Progress
from processes.output_capture import Lines
from processes.reprs import bounded_repr
from processes.runners.logs import log_levels
from processes.runners.pool import mappings, wire
from processes.runners.pool.abilities import anonymous_file
from processes.runners.pool.launch import worker_environment
from processes.runners.pool.parcel import Parcel
from processes.serialization import importable, rebuild
from processes.serialization.by_value import _can_travel
from processes.serialization.importable import can_be_imported
from processes.serialization.pickling import dump
from processes.serialization.rebuild_classes import make_skeleton
from processes.stream import Stream

# Two threads that a GIL keeps apart hardly meet inside of one step, however often they take it.
ROUNDS = 1 if HAS_GIL else 10


@pytest.fixture(autouse=True)
def _others_get_their_turn_soon():
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def at_once(function: Callable[[], Any], threads: int = 3) -> list[Any]:
    """Call a function in several threads at the same moment; give what it has returned there."""
    start = threading.Barrier(threads)

    def call(_: int) -> Any:
        start.wait(60)
        return function()

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(call, range(threads)))


@contextmanager
def going_on(function: Callable[[], object]) -> Iterator[None]:
    """Call a function in another thread, again and again for as long as the block lasts."""
    begun, over = threading.Event(), threading.Event()

    def call() -> None:
        while not over.is_set():
            function()
            begun.set()

    with ThreadPoolExecutor(1) as pool:
        calls = pool.submit(call)
        try:
            begun.wait(60)
            yield
        finally:
            over.set()
            calls.result()


# ---- What a process is made of ---------------------------------------------------------------------------


def test_threads_may_change_one_process():
    process = Process([Task("first", abs, args=(1,))])
    numbers = itertools.count()

    def change() -> None:
        for number in itertools.islice(numbers, 50):
            process.add_task(Task(f"t{number}", abs, args=(1,)))
            process.add_task_dependency(f"t{number}", TaskDependency("first"))

    at_once(change)
    added = [task for task in process.tasks if task.name != "first"]
    assert len(added) == 150
    assert all(len(task.dependencies) == 1 for task in added)


def test_a_copy_that_is_made_while_a_thread_changes_the_process_is_its_own(monkeypatch):
    process = Process([Task("first", abs, args=(1,))])
    in_order = Process._in_order

    def in_order_and_then_changed(process):
        made = in_order(process)
        monkeypatch.undo()
        process.add_task(Task("other", abs, args=(1,)))
        return made

    monkeypatch.setattr(Process, "_in_order", in_order_and_then_changed)
    copied = copy(process)
    copied.add_task(Task("new", abs, args=(1,)))
    assert list(copied.runner.results) == ["first", "new"]
    assert list(process.runner.results) == ["first", "other"]


# ---- What workers are sent -------------------------------------------------------------------------------


class Counting(ReportChannel):
    def __init__(self) -> None:
        self.sent: list[ProcessExecutionReport] = []

    def send_report(self, report: ProcessExecutionReport, *, errors_only: bool) -> None:  # noqa: ARG002
        self.sent.append(report)


def test_a_stream_that_several_threads_end_sends_its_report_once():
    channel = Counting()
    for _ in range(20):
        let_go = threading.Event()
        stream = Process([Task("wait", let_go.wait, args=(60,))]).stream(notify=[channel])

        def end(let_go: threading.Event = let_go, stream: Stream = stream) -> ProcessExecutionReport:
            let_go.set()
            return stream.report

        assert at_once(end) == channel.sent[-1:] * 3
    assert len(channel.sent) == 20


def test_a_stream_that_a_signals_handler_closes_while_its_report_is_made_sends_that_once():
    class Struck(Process):
        @property
        def report(self) -> ProcessExecutionReport | None:
            return None

        @report.setter
        def report(self, report: ProcessExecutionReport | None) -> None:
            if report is not None and next(strikes, False):
                stream.close()  # as a handler does that is called here

    channel, strikes = Counting(), iter([True])
    stream = Struck([Task("one", int)]).stream(notify=[channel])
    ends = threading.Thread(target=stream.close, daemon=True)
    ends.start()
    ends.join(60)
    assert not ends.is_alive()
    assert channel.sent == [stream.report]


def test_several_threads_may_read_one_stream_to_its_end():
    everybody = threading.Barrier(4)
    stream = Process([Task("wait", everybody.wait, args=(60,)), Task("last", int)]).stream()

    def read() -> list[str]:
        everybody.wait(60)
        return [entry.name for entry in stream]

    assert sorted(itertools.chain(*at_once(read))) == ["last", "wait"]


def test_whether_a_module_can_be_imported_is_known_before_anybody_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(importable, "stays_away", set())
    for number in range(20):
        name = f"plugin_at_once_{number}"  # nobody has asked for it yet
        file = tmp_path / f"{name}.py"
        file.write_text("def double(number):\n    return 2 * number\n")
        spec = spec_from_file_location(name, file)
        module = module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, module)
        spec.loader.exec_module(module)
        assert at_once(lambda module=module: can_be_imported(module.double)) == [False] * 3
        cloudpickle.unregister_pickle_by_value(module)


FAILS_DURING_AN_IMPORT = """
import configparser, sys, threading
from processes.serialization.exception_state import dump_exception, load_exception

def there_and_back():
    return load_exception(dump_exception(configparser.NoSectionError("name")))

class Finder:
    def find_spec(self, name, path, target=None):
        if name == "cloudpickle.cloudpickle":  # while the package is known, and empty
            thread.start()
            while thread.is_alive() and not waits_for_import(sys._current_frames().get(thread.ident)):
                pass

def waits_for_import(frame):
    return frame is not None and "importlib" in frame.f_code.co_filename

there_and_back()
raised = []
thread = threading.Thread(target=lambda: raised.append(there_and_back()), daemon=True)
sys.meta_path.insert(0, Finder())
import cloudpickle
thread.join(60)
print(type(raised[0]) is configparser.NoSectionError)
"""


def test_what_is_raised_while_another_thread_imports_cloudpickle_is_not_lost():
    assert output_of([sys.executable, "-c", FAILS_DURING_AN_IMPORT]) == "True\n"


def test_whether_a_class_can_travel_is_known_before_anybody_is_told():
    for _ in range(20):
        methods = {f"method{number}": lambda self: self for number in range(20)}
        cls = type("Unsendable", (), {"__module__": "__main__", "lock": threading.Lock(), **methods})
        assert at_once(lambda cls=cls: _can_travel(cls)) == [False] * 3


def test_a_class_whose_subclasses_come_in_several_runs_keeps_its_hook():
    class Base:
        def __init_subclass__(cls) -> None:
            raise AssertionError("it was called where they come from")

    rebuild.ids[Base] = "sent by value"
    hook = vars(Base)["__init_subclass__"]
    at_once(lambda: [make_skeleton(type, "Sub", (Base,), {}) for _ in range(1500)])
    assert vars(Base)["__init_subclass__"] is hook


def test_levels_are_told_while_loggers_are_made():
    loggers = logging.Logger.manager.loggerDict
    numbers = itertools.count()

    def make_and_drop() -> None:
        names = [f"at-once-{next(numbers)}" for _ in range(10)]
        for name in names:
            logging.getLogger(name)
        for name in names:
            del loggers[name]

    with going_on(make_and_drop):
        for _ in range(10_000):
            log_levels()


def test_the_environment_is_told_while_variables_come_and_go(monkeypatch):
    monkeypatch.setenv("COMES_AND_GOES", "")  # so that it is gone in the end

    def set_and_remove() -> None:
        os.environ["COMES_AND_GOES"] = "yes"
        del os.environ["COMES_AND_GOES"]

    with going_on(set_and_remove):
        for _ in range(1500):
            assert worker_environment(1)["PATH"] == os.environ["PATH"]


# ---- What a program holds --------------------------------------------------------------------------------


def test_threads_may_enter_and_leave_blocks_of_one_runner():
    runner = ProcessPoolRunner(1)

    def enter_and_leave() -> None:
        for _ in range(5_000 * ROUNDS):
            with runner:
                pass

    at_once(enter_and_leave)


def test_a_run_may_outlast_the_block_of_its_runner(tmp_path):
    begun = threading.Event()
    process = Process([Task("waits", wait_for_files, args=(tmp_path, 1))])
    with ThreadPoolExecutor(1) as pool:
        with ProcessPoolRunner(1) as runner:
            observers = [lambda event: begun.set() if isinstance(event, TaskStarted) else None]
            run = pool.submit(process.run, runner=runner, observers=observers)
            assert begun.wait(60)
        touch(tmp_path, 1)
        assert run.result(60).results == {"waits": True}


def test_a_task_has_one_logger_whoever_asks_first():
    tasks = [Task(f"t{number}", abs) for number in range(5000)]
    first, *others = at_once(lambda: [task.logger for task in tasks])
    assert all(logger is same for other in others for logger, same in zip(first, other, strict=True))


def test_what_threads_print_at_once_is_told_whole():
    told: list[str] = []
    lines = Lines(told.extend)

    def write() -> None:
        for _ in range(20_000):
            lines.write("a")
            lines.write("\n")

    at_once(write)
    lines.close()
    assert sorted("".join(told)) == ["a"] * 60_000


def test_a_large_result_is_one_object_whoever_opens_it():
    results = []
    for number in range(500):
        result = TaskResult.success(None)
        value = [object, *range(number, number + 100)]
        result.seal(Parcel.of(dump(value, task_name="t", what="result"), "t", "result"))
        results.append(result)
    first, *others = at_once(lambda: [result.result for result in results])
    assert all(value is same for other in others for value, same in zip(first, other, strict=True))


# ---- What is looked at while it changes ------------------------------------------------------------------


def test_the_progress_is_drawn_while_tasks_begin_and_end():
    progress = Progress(io.StringIO())
    progress(RunStarted("run", tuple("abcde"), "thread"))
    numbers = itertools.count()

    def begin_and_end() -> None:
        names = [f"t{next(numbers)}" for _ in range(30)]
        for name in names:
            progress(TaskStarted(name, 1))
        for name in names:
            progress._running.pop(name)

    with going_on(begin_and_end):
        for _ in range(2000):
            progress._render(200)


def test_metrics_are_made_while_attempts_end():
    ended = Finished(1, Returned(None), 1.0, 2.0, 0.5, 10, Worker("thread-1", 1, "host"))
    metrics = Measurements([f"t{number}" for number in range(5_000)])
    tasks = iter(range(5_000))

    def end_one() -> None:
        for task in itertools.islice(tasks, 1):
            metrics.add(task, ended, 0.5)

    with going_on(end_one):
        for _ in range(30):
            assert all(one.worker == "thread-1" for one in copy(metrics).values())


def test_a_dict_and_a_set_are_shown_while_another_thread_changes_them():
    known, names = dict.fromkeys(range(20)), set(range(20))

    def change() -> None:
        for number in range(100, 120):
            known[number] = names.add(number)
        for _ in range(20):
            names.discard(known.popitem()[0])

    with going_on(change):
        for _ in range(300 * ROUNDS):
            assert "Error" not in bounded_repr(known) + bounded_repr(names)


@pytest.mark.skipif(not wire.CAN_SEND_DESCRIPTORS, reason="nothing is mapped on this system")
def test_mappings_are_dropped_while_others_are_let_go(monkeypatch):
    monkeypatch.setattr(mappings, "_keeps_spares", True)
    files = [anonymous_file("at-once") for _ in range(30)]
    for file in files:
        os.write(file, b"x" * 10_000)

    def map_and_let_go() -> None:
        for file in files:
            mappings.map_privately(file)

    with going_on(map_and_let_go):
        for _ in range(50_000):
            mappings.drop_spares()
    mappings.drop_spares()
    for file in files:
        os.close(file)
