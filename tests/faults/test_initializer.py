"""What a pool does for each of its workers: an initializer before the first task, an end after some."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from functools import partial
from importlib import import_module

import preparing
import pytest
from faulty_runs import run_in_new_python, time_limit
from preparing import hang, look, prepare, prepare_slowly

from processes import Process, ProcessPoolRunner, SerializationError, Task, WorkerDiedError


@pytest.mark.parametrize("initializer", [prepare, prepare_slowly])
def test_an_initializer_runs_before_the_first_task_and_what_it_changes_stays(initializer):
    tasks = [Task(f"look-{n}", look) for n in range(20)]
    root = os.path.abspath("/")
    pids = set()
    with ProcessPoolRunner(2, initializer=initializer) as runner:
        for _ in range(2):
            report = Process(tasks).run(runner=runner)
            report.raise_for_errors()
            for name, (prepared_in, environment, folder) in report.results.items():
                assert (prepared_in, environment, folder) == (report.metrics[name].pid, "yes", root)
                pids.add(prepared_in)
    assert len(pids) <= 2, "a worker was taken for changed by its initializer"


def test_a_function_whose_module_needs_prepared_workers_says_what_prepares_them(tmp_path, monkeypatch):
    (tmp_path / "of_a_framework.py").write_text(
        "import preparing\n"
        "if preparing.prepared is None:\n"
        "    raise RuntimeError('Settings are not loaded yet.')\n"
        "def model():\n"
        "    return 'found'\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(preparing, "prepared", os.getpid())
    process = Process([Task("model", import_module("of_a_framework").model)])
    error = process.run(runner=ProcessPoolRunner(1)).exceptions["model"]
    assert "RuntimeError: Settings are not loaded yet. Pass" in str(error)
    assert "let an initializer prepare the workers" in str(error)
    assert process.run(runner=ProcessPoolRunner(1, initializer=prepare)).results == {"model": "found"}


def test_an_initializer_is_called_once_in_each_worker_and_run(tmp_path):
    calls = tmp_path / "calls"

    def note() -> None:
        with calls.open("a") as file:
            print(os.getpid(), file=file)

    tasks = [Task(f"t{n}", os.getpid) for n in range(50)]
    with ProcessPoolRunner(1, initializer=note) as runner:
        for _ in range(3):
            Process(tasks).run(runner=runner).raise_for_errors()
    assert len(calls.read_text().split()) == 3
    assert len(set(calls.read_text().split())) == 1


def test_an_initializer_that_fails_costs_the_attempt_and_is_called_again(tmp_path):
    calls = tmp_path / "calls"

    def fail_twice() -> None:
        with calls.open("a") as file:
            print(os.getpid(), file=file)
        if len(calls.read_text().split()) <= 2:
            raise ConnectionError("no licence")

    tasks = [
        Task("gives-up", os.getpid, priority=1),
        Task("tries-again", os.getpid, retries=1),
        Task("fine", abs, args=(-1,)),
    ]
    report = Process(tasks).run(runner=ProcessPoolRunner(1, initializer=fail_twice))
    assert repr(report.exceptions) == "{'gives-up': ConnectionError('no licence')}"
    assert "in fail_twice" in report.errored["gives-up"].error.traceback_str
    assert {name: entry.attempts for name, entry in report.entries.items()} == {
        "gives-up": 1,
        "tries-again": 2,
        "fine": 1,
    }


@pytest.mark.parametrize(
    ("initializer", "limit", "error"), [(hang, 0.2, TimeoutError), (os.abort, None, WorkerDiedError)]
)
def test_an_initializer_that_hangs_or_dies_costs_its_attempts(initializer, limit, error):
    tasks = [Task(f"t{n}", os.getpid, timeout=limit) for n in range(3)]
    with time_limit(120):
        report = Process(tasks).run(runner=ProcessPoolRunner(2, initializer=initializer))
    assert [type(exception) for exception in report.exceptions.values()] == [error] * 3


def test_an_initializer_that_cannot_be_read_costs_each_attempt_that_waits_for_it():
    class Unreadable:
        def __reduce__(self):
            return int, ("no number",)

    initializer = partial(print, Unreadable())
    tasks = [Task(f"t{n}", abs, args=(n,)) for n in range(2)]
    errors = Process(tasks).run(runner=ProcessPoolRunner(1, initializer=initializer)).exceptions
    for name in ("t0", "t1"):
        text = (
            f"Task {name!r}: initializer arrived, but could not be deserialized: ValueError: invalid literal"
        )
        assert str(errors[name]).startswith(text)


SCRIPT = """
import os
from processes import Process, ProcessPoolRunner, Task

model = None

def load():
    global model
    model = os.getpid()

def use():
    return model == os.getpid()

tasks = [Task(f"t{n}", use) for n in range(10)]
print(set(Process(tasks).run(runner=ProcessPoolRunner(2, initializer=load)).results.values()))
"""


def test_what_a_scripts_initializer_puts_into_a_global_is_there_for_its_functions():
    assert run_in_new_python(SCRIPT) == "{True}\n"


def test_what_is_no_initializer_or_cannot_travel_is_refused_before_anything_runs(tmp_path):
    def start_and_end() -> Iterator[None]:
        yield

    with pytest.raises(TypeError, match="initializer is a generator function, of which nothing runs"):
        ProcessPoolRunner(initializer=start_and_end)
    with pytest.raises(TypeError, match="initializer must be callable or None, not 'start'"):
        ProcessPoolRunner(initializer="start")
    lock = threading.Lock()
    ran = tmp_path / "ran"
    process = Process([Task("touch", ran.touch)])
    with pytest.raises(SerializationError, match="The initializer cannot be sent .* is a _thread.lock"):
        process.run(runner=ProcessPoolRunner(initializer=lambda: lock))
    shared = multiprocessing.get_context("spawn" if sys.platform == "win32" else "fork").Lock()
    with pytest.raises(SerializationError, match=r"Take one that multiprocessing\.Manager\(\) makes\.$"):
        process.run(runner=ProcessPoolRunner(initializer=partial(print, shared)))
    assert not ran.exists()


@pytest.mark.parametrize(("most", "count"), [(1, 4), (7, 15)])
def test_a_worker_makes_place_for_another_after_so_many_tasks(most, count):
    tasks = [Task(f"t{n}", os.getpid) for n in range(count)]
    report = Process(tasks).run(runner=ProcessPoolRunner(2, max_tasks_per_worker=most))
    counts = Counter(report.results.values())
    assert sum(counts.values()) == count
    assert max(counts.values()) <= most
