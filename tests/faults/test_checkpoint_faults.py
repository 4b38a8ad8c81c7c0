"""What goes wrong with a checkpoint costs the checkpoint, and never the run."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sys
import threading
import time
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from faulty_runs import time_limit
from odd_values import Hostile
from programs import NAMED, ended, output_of

from processes import Process, ProcessExecutionReport, Task, TaskDependency
from processes.checkpoints.file import CheckpointFile, Head


def passed(name: str) -> TaskDependency:
    return TaskDependency(name, use_result_as_additional_args=True)


def run(path: Path, tasks: list[Task], runner: str) -> tuple[ProcessExecutionReport, list[str]]:
    """Run tasks; give the report and the warnings."""
    with warnings.catch_warnings(record=True) as caught, time_limit(120):
        warnings.simplefilter("always")
        report = Process(tasks).run(runner=runner, checkpoint=path)
    assert {warning.category for warning in caught} <= {RuntimeWarning}
    assert {warning.filename for warning in caught} <= {__file__, "sys", "<sys>"}  # these from another thread
    return report, [str(warning.message) for warning in caught]


@pytest.mark.parametrize("make", [threading.Lock, lambda: (n for n in "abc")])
def test_a_result_that_cannot_be_saved_is_made_again_by_each_run_and_one_warning_says_so(make, tmp_path):
    path = tmp_path / "run.ckpt"
    tasks = [
        Task("kept", abs, args=(-1,)),
        *(Task(name, make, runner="thread") for name in ("lost", "lost-too")),
        Task("below", id, dependencies=[passed("lost"), TaskDependency("kept")]),
    ]
    tasks[-1].func = lambda _: 5
    for taken in ((), ("kept",)):
        report, messages = run(path, tasks, "sequential")
        report.raise_for_errors()
        assert report.from_checkpoint == taken
        (message,) = messages
        assert re.match(
            r"The result of task 'lost(-too)?' cannot be saved, so the next run runs it again: ", message
        )
        assert message.endswith(", which cannot be serialized")


@pytest.mark.parametrize("error", [ValueError, SystemExit, RecursionError, MemoryError])
def test_a_result_whose_code_raises_when_it_is_saved_costs_its_own_record(error, tmp_path):
    path = tmp_path / "run.ckpt"
    tasks = [Task("hostile", Hostile, args=("written", error)), Task("kept", abs, args=(-1,))]
    for taken in ((), ("kept",)):
        report, messages = run(path, tasks, "thread")
        report.raise_for_errors()
        assert report.from_checkpoint == taken
        assert len(messages) == 1


@pytest.mark.parametrize("error", [ValueError, SystemExit, MemoryError])
def test_a_result_that_cannot_be_read_again_is_made_again_with_all_below(
    error, runner, tmp_path, monkeypatch
):
    path = tmp_path / "run.ckpt"
    tasks = [
        Task("hostile", Hostile, args=("read", error), keep_result=False),
        Task("kept", abs, args=(-1,)),
        Task("below", lambda *_: 1, dependencies=[passed("hostile"), passed("kept")]),
    ]
    report, messages = run(path, tasks, runner)
    assert (report.from_checkpoint, messages) == ((), [])
    monkeypatch.setenv("UNREADABLE", "yes")
    report, messages = run(path, tasks, "sequential")
    assert (report.from_checkpoint, messages) == (("hostile", "kept", "below"), [])  # nobody needs its value
    tasks.append(Task("new", lambda *_: 1, dependencies=[passed("hostile")]))
    report, messages = run(path, tasks, "sequential")
    report.raise_for_errors()
    assert report.from_checkpoint == ("kept",)
    (message,) = messages
    assert "The saved result of task 'hostile' cannot be used, so it runs again" in message


class StoppedError(Exception):
    """What the program's handler of a signal raises."""


class Signalled:
    """Gets a signal when it is first pickled."""

    def __init__(self, number: int) -> None:
        self.due = [number]

    def __reduce__(self) -> Any:
        while self.due:
            signal.raise_signal(self.due.pop())
        return abs, (-1,)


@pytest.mark.parametrize(
    "task",
    [Task("job", Signalled, args=(signal.SIGTERM,)), Task("job", id, args=(Signalled(signal.SIGTERM),))],
    ids=["result", "argument"],
)
def test_a_signal_whose_handler_raises_while_something_is_pickled_ends_the_run(task, tmp_path):
    def stop(*_: object) -> None:
        raise StoppedError

    previous = signal.signal(signal.SIGTERM, stop)
    try:
        with pytest.raises(StoppedError):
            run(tmp_path / "run.ckpt", [task, Task("later", abs, args=(-1,))], "sequential")
    finally:
        signal.signal(signal.SIGTERM, previous)
    assert run(tmp_path / "run.ckpt", [Task("later", abs, args=(-1,))], "sequential")[0].from_checkpoint == ()


def test_a_signal_before_a_run_begins_costs_no_record_of_the_file(tmp_path):
    def stop(*_: object) -> None:
        raise StoppedError

    large = [Task("large", bytes, args=(2 << 20,))]
    run(tmp_path / "run.ckpt", large, "sequential")
    previous = signal.signal(signal.SIGTERM, stop)
    try:
        with pytest.raises(StoppedError):
            Process([Task("job", id, args=(Signalled(signal.SIGTERM),))]).dry_run(tmp_path / "run.ckpt")
    finally:
        signal.signal(signal.SIGTERM, previous)
    assert run(tmp_path / "run.ckpt", large, "sequential")[0].from_checkpoint == ("large",)


def test_a_ctrl_c_while_a_result_is_pickled_ends_the_run_when_that_is_saved(tmp_path):
    tasks = [Task("job", Signalled, args=(signal.SIGINT,)), Task("later", abs, args=(-1,))]
    process = Process(tasks)
    with time_limit(120), pytest.raises(KeyboardInterrupt):
        process.run(runner="sequential", checkpoint=tmp_path / "run.ckpt")
    assert process.report is not None
    assert list(process.report.successes) == ["job"]
    assert run(tmp_path / "run.ckpt", tasks[:1], "sequential")[0].from_checkpoint == ("job",)


def test_what_has_no_fingerprint_runs_each_time_and_one_warning_says_why(runner, tmp_path):
    class Connection:
        def __reduce__(self):
            raise TypeError("it is open")

    connection = Connection()
    tasks = [
        Task("kept", abs, args=(-1,)),
        Task("always", lambda _: bool(connection), dependencies=[passed("kept")], runner="thread"),
        Task("below", int, dependencies=[passed("always")]),
    ]
    for taken in ((), ("kept",)):
        report, messages = run(tmp_path / "run.ckpt", tasks, runner)
        assert report.results == {"always": True, "below": 1, "kept": 1}
        assert report.from_checkpoint == taken
        assert messages == [
            "Task 'always' is not saved, and the next run runs it again, since the contents of what it calls "
            "or gets cannot be told: its function: 'connection' in <lambda>: TypeError('it is open')"
        ]


def test_bytes_that_were_changed_cost_the_tasks_they_belong_to(tmp_path):
    path = tmp_path / "run.ckpt"
    tasks = [
        Task("changed", bytes, args=(b"find me",)),
        Task("kept", abs, args=(-1,)),
        Task("below", len, dependencies=[passed("changed")]),
    ]
    run(path, tasks, "sequential")
    data = path.read_bytes()
    assert data.count(b"find me") == 1
    path.write_bytes(data.replace(b"find me", b"FIND me"))
    report, messages = run(path, tasks, "sequential")
    assert (report.from_checkpoint, report.results["changed"]) == (("kept",), b"find me")
    assert ["not what was written" in message for message in messages] == [True]
    assert run(path, tasks, "sequential")[0].from_checkpoint == ("changed", "kept", "below")


def test_a_ctrl_c_while_many_tasks_are_looked_at_is_heeded_soon(tmp_path):
    path, names = tmp_path / "run.ckpt", [f"task-{number}" for number in range(30_000)]
    file = CheckpointFile(path)
    for name in names:
        file.append(Head(name, b"key", b"id", 0.5, 1, {}), None)
    file.close(set(names))
    process = Process([Task(name, id, args=(Signalled(signal.SIGINT),)) for name in names])
    begin = time.thread_time()
    with pytest.raises(KeyboardInterrupt):
        process.run(runner="sequential", checkpoint=path)
    assert time.thread_time() - begin < 5  # it was 15


def clean_up(folder: Path, leave: str, other: bytes) -> None:
    """Remove a folder with all that is in it, and leave another checkpoint there, or a file in its place."""
    shutil.rmtree(folder)
    if leave == "checkpoint":
        folder.mkdir()
        (folder / "run.ckpt").write_bytes(other)
    elif leave == "file":
        folder.write_bytes(other)


@pytest.mark.skipif(sys.platform == "win32", reason="an open file cannot be removed there")
@pytest.mark.parametrize("leave", ["nothing", "checkpoint", "file"])
def test_a_checkpoint_that_a_task_removes_or_replaces_is_lost_and_a_warning_says_so(leave, tmp_path):
    folder, path = tmp_path / "out", tmp_path / "out" / "run.ckpt"
    run(path, [Task("of-another", abs, args=(-1,)), Task("large", bytes, args=(5_000_000,))], "sequential")
    other = path.read_bytes()
    tasks = [Task("small", abs, args=(-2,)), Task("clean", clean_up, args=(folder, leave, other))]
    report, (message,) = run(path, tasks, "sequential")
    report.raise_for_errors()
    assert f"The checkpoint {str(path)!r} was removed or replaced while the run went on" in message
    there = path.read_bytes() if path.exists() else None
    assert there == (other if leave == "checkpoint" else None)  # though it would have been written anew


def close_descriptor(path: Path) -> None:
    """Close a file that is not one's own, as programs do that become daemons."""
    for descriptor in range(3, 1024):
        with suppress(OSError):
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                os.close(descriptor)


@pytest.mark.skipif(sys.platform == "win32", reason="a descriptor does not tell there which file it is of")
def test_a_checkpoint_that_cannot_be_closed_is_told_by_its_name(tmp_path):
    path = tmp_path / "run.ckpt"
    report, (*_, message) = run(path, [Task("closes", close_descriptor, args=(path,))], "sequential")
    report.raise_for_errors()
    assert f"The checkpoint {str(path)!r} cannot be closed, and what this run has saved" in message
    assert "Bad file descriptor" in message


FULL = """
import resource, sys, warnings
from processes import Process, Task, TaskDependency

def make(size):
    return bytes(size)

def passed(name):
    return TaskDependency(name, use_result_as_additional_args=True)

tasks = [Task("small", make, args=(10_000,)), Task("large", make, args=(5_000_000,)),
         Task("larger", make, args=(6_000_000,)), Task("below", len, dependencies=[passed("large")]),
         Task("last", len, dependencies=[passed("small"), TaskDependency("larger")]),
         Task("free", abs, args=(-1,))]
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, resource.RLIM_INFINITY))
for runner in sys.argv[1:]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        report = Process(tasks).run(runner=runner, checkpoint=f"{runner}.ckpt")
    report.raise_for_errors()
    (warning,) = caught
    print(*report.from_checkpoint, warning.message, sep="|")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs limits of resources")
def test_a_disk_that_is_full_costs_the_results_that_do_not_fit(tmp_path):
    for taken in ([], ["small", "free"]):
        lines = output_of([sys.executable, "-c", FULL, *NAMED], cwd=tmp_path).splitlines()
        assert len(lines) == len(NAMED)
        for runner, line in zip(NAMED, lines, strict=True):
            *from_checkpoint, message = line.split("|")
            assert from_checkpoint == taken
            assert "The checkpoint cannot be written, and the next run runs task 'large" in message
            assert "File too large" in message
            assert (tmp_path / f"{runner}.ckpt").stat().st_size < 20_000


@pytest.mark.skipif(sys.platform == "win32", reason="needs limits of resources")
def test_a_disk_that_is_full_from_the_start_is_an_error_before_anything_runs(tmp_path):
    outputs = []
    for limit in ("(10, resource.RLIM_INFINITY)", "(1_000_000, resource.RLIM_INFINITY)"):
        program = FULL.replace("(1_000_000, resource.RLIM_INFINITY)", limit).replace("def make", NOTED_MAKE)
        outputs.append(ended([sys.executable, "-c", program, "sequential"], cwd=tmp_path))
        said = (
            f"OSError: [Errno 27] File too large: {str(tmp_path / 'sequential.ckpt')!r}" in outputs[-1].stderr
        )
        assert said == (len(outputs) == 1)
        assert ("making" in outputs[-1].stdout) == (len(outputs) == 2)


NOTED_MAKE = "def make(size):\n    print('making')\n    return bytes(size)\n\ndef other"
