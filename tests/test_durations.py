"""What a run is told of how long its tasks will take, and what it makes of it."""

import re
from math import inf, nan

import pytest

from processes import Process, Task, TaskDependency, TaskStatus


def order_of_starts(tasks, **arguments):
    started = []

    def hear(event):
        if type(event).__name__ == "TaskStarted":
            started.append(event.name)

    Process(tasks).run(runner="sequential", observers=[hear], **arguments)
    return started


def chains():
    """Make two tasks that each are needed by one more, and a single one."""
    return [
        Task("one", int),
        Task("two", int),
        Task("two-after", int, dependencies=[TaskDependency("two")]),
        Task("one-after", int, dependencies=[TaskDependency("one")]),
        Task("alone", int),
    ]


def test_without_durations_chains_are_counted_in_tasks():
    assert order_of_starts(chains()) == ["one", "two", "two-after", "one-after", "alone"]


def test_the_chain_that_takes_longest_goes_first():
    seconds = {"one": 1, "one-after": 1.5, "two": 0.5, "two-after": 2.5, "alone": 2.75}
    assert order_of_starts(chains(), durations=seconds) == ["two", "alone", "one", "two-after", "one-after"]


def test_priority_goes_before_duration():
    tasks = [Task("short", int, priority=1), Task("long", int)]
    assert order_of_starts(tasks, durations={"long": 100, "short": 0}) == ["short", "long"]


def test_a_task_that_is_new_is_taken_for_one_like_the_others():
    seconds = {"ONE": 0, "one-after": 0, "two": 3, "two-after": 3, "of another graph": 100}
    # alone: 1.5 s, the mean
    assert order_of_starts(chains(), durations=seconds) == ["two", "two-after", "alone", "one", "one-after"]


def test_durations_of_other_tasks_alone_change_nothing_and_a_warning_tells_the_nearest_name():
    told = "durations have no effect: No task of this process has the name 'onne'; did you mean 'one'?"
    with pytest.warns(UserWarning, match=re.escape(told)) as caught:
        assert order_of_starts(chains(), durations={"Onne": 1, "of another graph": 1}) == order_of_starts(
            chains()
        )
    assert [warning.filename for warning in caught] == [__file__]
    report = Process([Task("of-another-graph", int)]).run()
    for quiet in (report, {}, {"one": 1, "of another graph": 1}):  # graphs change from run to run
        order_of_starts(chains(), durations=quiet)


def test_an_earlier_report_tells_the_durations():
    report = Process(chains()).run(runner="sequential")
    for name, seconds in {"one": 1.0, "two": 2.0, "alone": 2.5}.items():
        report.entries[name].elapsed_seconds = seconds
    assert order_of_starts(chains(), durations=report)[:3] == ["alone", "two", "one"]


def test_what_was_skipped_has_told_nothing():
    tasks = [
        Task("fails", "text".index, args=("none",)),
        Task("skipped", int, dependencies=[TaskDependency("fails")]),
    ]
    report = Process([*tasks, Task("other", int)]).run(runner="sequential")
    assert report.entries["skipped"].status is TaskStatus.SKIPPED
    report.entries["other"].elapsed_seconds = 5.0
    report.entries["fails"].elapsed_seconds = 1.0
    # skipped: 3 s, the mean, and not 0
    again = [Task(name, int) for name in ("fails", "skipped", "other")]
    assert order_of_starts(again, durations=report) == ["other", "skipped", "fails"]


def test_a_stream_takes_them_too():
    seconds = {"alone": 9, "one": 1, "two": 1}  # and 3.7 each for those after them
    with Process(chains()).stream(runner="sequential", durations=seconds) as stream:
        assert next(stream).name == "alone"


@pytest.mark.parametrize(
    ("durations", "error", "message"),
    [
        (
            3,
            TypeError,
            "durations must be a ProcessExecutionReport or a mapping of task names to seconds, not 3",
        ),
        ([("one", 1)], TypeError, "durations must be a ProcessExecutionReport or a mapping"),
        ({1: 1}, TypeError, "durations must have the names of tasks as keys, not 1"),
        ({"one": "1"}, TypeError, r"durations\['one'\] must be a number of seconds, not '1'"),
        ({"one": True}, TypeError, r"durations\['one'\] must be a number of seconds, not True"),
        ({"one": -1}, ValueError, r"durations\['one'\] must be a number of seconds from 0 on, not -1"),
        ({"one": nan}, ValueError, r"durations\['one'\] must be .* not nan"),
        ({"one": 10**400}, ValueError, r"durations\['one'\] must be .* not 1000"),
        ({"other": inf}, ValueError, r"durations\['other'\] must be .* not inf"),
    ],
)
def test_what_is_no_duration_is_refused_before_anything_runs(durations, error, message):
    called = []
    with pytest.raises(error, match=message):
        Process([Task("one", called.append, args=(1,))]).run(durations=durations)
    assert not called
