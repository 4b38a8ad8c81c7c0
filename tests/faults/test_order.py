"""What is more urgent does not stand in line behind what is less so."""

from __future__ import annotations

import pytest
from waiting import SHORT, begin_and_wait, take_a_moment, touch, wait_for_files, wait_until_it_is_long_at_it

from processes import Process, Task, TaskDependency


@pytest.mark.parametrize("timeout", [None, 120], ids=["no-limit", "limit"])
def test_no_short_task_waits_behind_a_long_one_while_less_urgent_ones_start(timeout, tmp_path):
    gate = [TaskDependency("gate")]
    tasks = [
        Task("first", begin_and_wait, args=(tmp_path,), priority=2),
        Task("gate", wait_until_it_is_long_at_it, args=(tmp_path,), priority=1),
        *(
            Task(f"short-{number}", touch, args=(tmp_path, number), dependencies=gate, timeout=timeout)
            for number in range(SHORT)
        ),
        Task("last", wait_for_files, args=(tmp_path, 1 + SHORT), dependencies=gate, priority=-1),
    ]
    report = Process(tasks).run(runner="process", max_workers=2)
    report.raise_for_errors()
    assert report.results["first"]
    assert report.results["last"]


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
