"""Log files that cannot be written: the run goes on, and one warning says so."""

from __future__ import annotations

import os
import shutil
import sys
import warnings
from pathlib import Path

import pytest
from faulty_runs import run_beside_others, time_limit
from misbehaving import log_and_fail, log_and_square, remove_and_return
from programs import ended

from processes import Process, Task, TaskDependency

FULL = "/dev/full"
needs_full = pytest.mark.skipif(not os.path.exists(FULL), reason="needs a device that is always full")


def warnings_of(tasks: list[Task], runner: str) -> tuple[dict[str, object], list[str]]:
    """Run tasks; give the results and the warnings."""
    with warnings.catch_warnings(record=True) as caught, time_limit(120):
        warnings.simplefilter("always")
        report = Process(tasks).run(runner=runner)
    assert {warning.category for warning in caught} <= {RuntimeWarning}
    return report.results, [str(warning.message) for warning in caught]


@needs_full
def test_a_full_disk_costs_the_records_and_one_warning_a_file(runner):
    tasks = [
        Task("full", log_and_square, args=(3,), log_path=FULL),
        Task("below", abs, dependencies=[TaskDependency("full", True)]),
        Task("other", log_and_square, args=(4,)),
    ]
    results, messages = warnings_of(tasks, runner)
    assert results == {"full": 9, "below": 9, "other": 16}
    assert len(messages) == 1
    assert "'/dev/full' cannot be written" in messages[0]
    assert "No space left on device" in messages[0]


@needs_full
def test_a_failure_is_reported_though_its_log_cannot_be_written(runner):
    with pytest.warns(RuntimeWarning, match="cannot be written"):
        report = run_beside_others(runner, Task("bad", log_and_fail, log_path=FULL))
    assert report.entries["bad"].error.exception == "failed as it should"
    assert "in log_and_fail" in report.entries["bad"].error.traceback_str


def test_a_folder_that_is_removed_in_between_costs_the_records_and_one_warning(runner, tmp_path):
    folder = tmp_path / "logs"
    task = Task("lost", log_and_square, args=(3,), log_path=folder / "lost.log")
    kept = Task("kept", log_and_square, args=(4,), log_path=tmp_path / "kept.log")
    shutil.rmtree(folder)
    results, messages = warnings_of([task, kept], runner)
    assert results == {"lost": 9, "kept": 16}
    assert len(messages) == 1
    assert repr(str(folder / "lost.log")) in messages[0]
    assert not folder.exists()
    assert "line 4 of 4" in (tmp_path / "kept.log").read_text()


def test_a_task_may_remove_the_folder_of_its_own_log(runner, tmp_path):
    folder = tmp_path / "logs"
    log = folder / "log"
    task = Task("removes", remove_and_return, args=(str(log),), log_path=log)
    results, messages = warnings_of([task], runner)
    assert results == {"removes": "removed"}
    assert len(messages) == 1  # of the record that says that the task has finished
    assert not folder.exists()


def test_a_folder_in_the_place_of_the_file_costs_the_records_and_one_warning(runner, tmp_path):
    path = tmp_path / "log"
    task = Task("lost", log_and_square, args=(3,), log_path=path)
    path.unlink()
    path.mkdir()
    results, messages = warnings_of([task], runner)
    assert results == {"lost": 9}
    assert len(messages) == 1
    assert "Is a directory" in messages[0] or "Permission denied" in messages[0]


@needs_full
def test_many_tasks_that_share_a_full_disk_say_it_once_in_a_usual_program(runner):
    script = (
        "import logging\n"
        "from processes import Process, Task\n"
        "tasks = [Task(f't{i}', abs, args=(i,), log_path='/dev/full') for i in range(30)]\n"
        f"print(len(Process(tasks).run(runner={runner!r}).successes))\n"
    )
    for flags, warned in (([], 1), (["-W", "error"], 0)):
        done = ended([sys.executable, *flags, "-c", script])
        assert (done.returncode, done.stdout) == (0, "30\n"), done.stderr
        assert done.stderr.count("RuntimeWarning") == warned, done.stderr


ODD_NAMES = [
    "two\nlines.log",
    "  spaces  ",
    "-rf",
    "100%s %d {x}.log",
    "день ☃ 日.log",
    "quote'\"\\.log",
    "tab\tbell\a.log",
    "l" * 255,
    b"not \xff text.log".decode(errors="surrogateescape"),
]


@pytest.mark.skipif(sys.platform == "win32", reason="it allows few of these names")
def test_a_log_file_may_have_any_name_that_the_system_allows(runner, tmp_path):
    tasks = []
    numbers = {}
    for number, name in enumerate(ODD_NAMES):
        path = tmp_path / name
        try:
            path.touch()
        except (OSError, ValueError):
            continue  # no name for a file here
        numbers[name] = number
        tasks.append(Task(f"logs-{number}", log_and_square, args=(number,), log_path=path))
        tasks.append(Task(f"fails-{number}", log_and_fail, log_path=str(path)))
    with time_limit(120):
        report = Process(tasks).run(runner=runner)
    assert report.results == {f"logs-{number}": number**2 for number in numbers.values()}
    for name, number in numbers.items():
        text = (tmp_path / name).read_text()
        task = f"logs-{number}"
        for expected in (
            f"Starting {task}.",
            f"line 4 of {number}",
            f"Finished {task}.",
            "ValueError: failed as it",
        ):
            assert text.count(expected) == 1, (name, expected)
    assert {found.name for found in tmp_path.iterdir()} == set(numbers)


@pytest.mark.parametrize("name", ["l" * 300, "nul\0.log", ""], ids=["long", "nul", "empty"])
def test_a_name_that_the_system_refuses_is_refused_when_the_task_is_made(name, tmp_path):
    with pytest.raises((OSError, ValueError)):
        Task("bad", abs, args=(1,), log_path=f"{tmp_path}{os.sep}{name}")
    assert list(Path(tmp_path).iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="no name there has two lines")
def test_an_odd_name_in_a_warning_stands_in_one_line(tmp_path):
    folder = tmp_path / "two\nlines"
    task = Task("lost", abs, args=(-3,), log_path=folder / "log")
    shutil.rmtree(folder)
    results, messages = warnings_of([task], "sequential")
    assert results == {"lost": 3}
    assert len(messages) == 1
    assert "\n" not in messages[0]
