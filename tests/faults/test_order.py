"""What is more urgent does not stand in line behind what is less so."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from processes import Process, Task, TaskDependency

SHORT = 400  # tasks; after the first hundred their mean is short enough for lines of many
LIMIT_SECONDS = 30


def wait_for_files(folder: Path, count: int) -> bool:
    """Wait until there are so many files; False if that takes too long."""
    end = time.monotonic() + LIMIT_SECONDS
    while len(list(folder.iterdir())) < count:
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def wait_until_it_is_long_at_it(folder: Path) -> None:
    wait_for_files(folder, 1)
    while time.time() - (folder / "first").stat().st_mtime < 0.2:
        time.sleep(0.01)


def begin_and_wait(folder: Path) -> bool:
    (folder / "first").touch()
    return wait_for_files(folder, 1 + SHORT)


def touch(folder: Path, number: int) -> None:
    (folder / str(number)).touch()


def test_no_short_task_waits_behind_a_long_one_while_less_urgent_ones_start(tmp_path):
    gate = [TaskDependency("gate")]
    tasks = [
        Task("first", begin_and_wait, args=(tmp_path,), priority=2),
        Task("gate", wait_until_it_is_long_at_it, args=(tmp_path,), priority=1),
        *(
            Task(f"short-{number}", touch, args=(tmp_path, number), dependencies=gate)
            for number in range(SHORT)
        ),
        Task("last", wait_for_files, args=(tmp_path, 1 + SHORT), dependencies=gate, priority=-1),
    ]
    report = Process(tasks).run(runner="process", max_workers=2)
    report.raise_for_errors()
    assert report.results["first"]
    assert report.results["last"]


def take_a_moment(folder: Path, number: int) -> None:
    # Calls of 2 ms have many in line, where nothing else is to come; as they become longer, ever fewer.
    time.sleep(0.002 if number < 10 else 0.01)
    touch(folder, number)


@pytest.mark.parametrize("runner", ["thread", "process"])
def test_a_chain_is_not_kept_waiting_by_what_is_independent_of_it(runner, tmp_path):
    links = 20
    tasks = [
        Task("other-worker", wait_for_files, args=(tmp_path, links), priority=1),
        *(
            Task(
                f"link-{number}",
                take_a_moment,
                args=(tmp_path, number),
                dependencies=[TaskDependency(f"link-{number - 1}")] if number else [],
            )
            for number in range(links)
        ),
        *(Task(f"other-{number}", take_a_moment, args=(tmp_path, number)) for number in range(50)),
    ]
    report = Process(tasks).run(runner=runner, max_workers=2)
    report.raise_for_errors()
    assert report.results["other-worker"]
    started_at = {name: metrics.started_at for name, metrics in report.metrics.items()}
    del started_at["other-worker"]  # which may take long to boot
    in_order = sorted(started_at, key=lambda name: started_at[name])
    assert set(in_order[:links]) == {f"link-{number}" for number in range(links)}
