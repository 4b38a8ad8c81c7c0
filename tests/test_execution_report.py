"""The report: entries, filters, JSON, errors raised, notifications."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import pickle
import signal
import sys
import threading
import time
import traceback
import types
import warnings
from asyncio import CancelledError
from collections import OrderedDict, namedtuple
from enum import IntEnum
from pathlib import Path

import pytest

from processes.comms import ReportChannel
from processes.error_data import ErrorData
from processes.exceptions import ProcessesError
from processes.execution_report import ProcessExecutionReport, TaskReportEntry
from processes.measurements import TaskMetrics
from processes.process import Process
from processes.task import Task
from processes.task_types import TaskDependency, TaskResult, TaskStatus

FIELDS = ["name", "function", "args", "kwargs", "status", "elapsed_seconds", "attempts", "result", "error"]


def work() -> None: ...


def entry(name: str, status: TaskStatus = TaskStatus.SUCCESS, **fields: object) -> TaskReportEntry:
    return TaskReportEntry(name, "work", (), {}, status, 1.5, 1, **fields)


def report_of(*entries: TaskReportEntry, **fields: object) -> ProcessExecutionReport:
    return ProcessExecutionReport({one.name: one for one in entries}, "nightly", **fields)


@pytest.fixture
def report() -> ProcessExecutionReport:
    """One task of each status."""
    return report_of(
        entry("good", result=7),
        entry("bad", TaskStatus.ERRORED, error=ErrorData("bad", exception="boom")),
        entry("late", TaskStatus.SKIPPED),
        entry("none", TaskStatus.PENDING),
        runner="thread",
        elapsed_seconds=2.5,
        metrics={"good": TaskMetrics(worker="thread-1"), "bad": TaskMetrics(worker="thread-2")},
        exceptions={"bad": ValueError("boom")},
    )


# Entries


def test_an_entry_has_nine_fields_and_two_of_them_defaults():
    found = TaskReportEntry("a", "f", (1,), {"b": 2}, TaskStatus.SUCCESS, 0.5, 1)
    assert [field.name for field in dataclasses.fields(found)] == FIELDS
    assert (found.result, found.error) == (None, None)


def test_an_empty_report_has_defaults():
    report = ProcessExecutionReport()
    assert (report.entries, report.process_name, report.runner, report.elapsed_seconds) == ({}, "", "", 0.0)
    assert (report.metrics, report.exceptions, report.results) == ({}, {}, {})
    assert report.entries is not ProcessExecutionReport().entries


def test_entries_are_filtered_by_status(report):
    assert list(report.successes) == ["good"]
    assert list(report.errored) == ["bad"]
    assert list(report.skipped) == ["late"]
    assert report.errored["bad"] is report.entries["bad"]
    assert report.results == {"good": 7}


def test_reports_are_compared_by_their_name_and_by_their_entries_with_the_seconds_of_each(report):
    assert report == ProcessExecutionReport(report.entries, "nightly")
    assert report != ProcessExecutionReport(report.entries, "other")
    longer = dataclasses.replace(report.entries["good"], elapsed_seconds=2.5)
    assert report != ProcessExecutionReport({**report.entries, "good": longer}, "nightly")


def test_what_is_measured_is_given_by_keyword_only():
    with pytest.raises(TypeError):
        ProcessExecutionReport({}, "name", "thread")


def test_a_result_that_there_is_none_of_is_an_error_that_says_why():
    tasks = [
        Task("bad", int, args=("x",)),
        Task("behind", abs, dependencies=[TaskDependency("bad", True)]),
        Task("good", abs, args=(-1,)),
        Task("late", abs, args=(-1,), dependencies=[TaskDependency("good")], priority=-1),
    ]
    report = Process(tasks).run(runner="sequential", fail_fast=True)
    results = report.results
    told = {}
    for name in ("bad", "behind", "late", "Good", "god", "x", 3):
        with pytest.raises(KeyError) as caught:
            results[name]
        told[name] = caught.value.args[0]
    assert told == {
        "bad": "Task 'bad' has no result: it failed: ValueError: invalid literal for int() with base 10: 'x'",
        "behind": "Task 'behind' has no result: it was skipped, since a task that it depends on has failed",
        "late": "Task 'late' has no result: it did not run to its end",
        "Good": "There is no task 'Good'; did you mean 'good'?",
        "god": "There is no task 'god'; did you mean 'good'?",
        "x": "There is no task 'x'",
        3: "3 is no task's name",
    }
    assert (results.get("bad"), "bad" in results) == (None, False)
    with pytest.raises(KeyError, match="it was skipped"):
        pickle.loads(pickle.dumps(report)).results["behind"]
    for again in (
        pickle.loads(pickle.dumps(results)),
        copy.deepcopy(results),
        json.loads(json.dumps(results)),
    ):
        assert (type(again), again) == (dict, {**results})


def test_an_entry_that_there_is_none_of_is_an_error_that_tells_the_nearest_name():
    report = Process([Task("Load", abs, args=(-1,)), Task("bad", int, args=("x",))]).run()
    for one in (report, pickle.loads(pickle.dumps(report))):
        for name, message in {
            "Load": "There is no task 'Load'; did you mean 'load'?",
            "x": "There is no task 'x'",
            3: "3 is no task's name",
        }.items():
            with pytest.raises(KeyError) as caught:
                one.entries[name]
            assert caught.value.args[0] == message
        assert (one.entries.get("Load"), "Load" in one.entries, list(one.entries)) == (
            None,
            False,
            ["load", "bad"],
        )


def test_what_some_tasks_alone_have_is_an_error_that_tells_which_ones_for_the_others(monkeypatch):
    tasks = [
        Task("good", abs, args=(-1,)),
        Task("bad", int, args=("x",)),
        Task("behind", abs, dependencies=[TaskDependency("bad")]),
        Task("bad-2", abs, args=(-1,)),
        Task("good-2", abs, dependencies=[TaskDependency("bad")]),
    ]
    report = Process(tasks).run()
    for one in (report, pickle.loads(pickle.dumps(report)), copy.deepcopy(report)):
        for there, name, message in (
            (one.exceptions, "good", "There is no task 'good' that has failed"),
            (one.exceptions, "Bad", "There is no task 'Bad' that has failed; did you mean 'bad'?"),
            (one.exceptions, "bad-2", "There is no task 'bad-2' that has failed"),
            (one.errored, "good", "There is no task 'good' that has failed"),
            (one.errored, "bad-2", "There is no task 'bad-2' that has failed"),
            (one.successes, "bad", "There is no task 'bad' that has succeeded"),
            (one.skipped, "goods", "There is no task 'goods' that was skipped; did you mean 'good-2'?"),
            (one.metrics, "behind", "There is no task 'behind' of which an attempt has ended"),
            (one.metrics, "good-2", "There is no task 'good-2' of which an attempt has ended"),
            (one.metrics, 3, "3 is no task's name"),
        ):
            with pytest.raises(KeyError) as caught:
                there[name]
            assert caught.value.args[0] == message
            assert (there.get(name), name in there) == (None, False)
        assert {**one.errored, **one.skipped, **one.successes} == one.entries
        assert [*one.exceptions] == ["bad"]
        assert [*one.metrics] == ["good", "bad", "bad-2"]
        with monkeypatch.context() as patched:  # to look for the nearest of thousands of names takes a while
            patched.delattr("processes.results.did_you_mean")
            for there in (one.entries, one.exceptions, one.errored, one.metrics, one.dependencies):
                assert (there.get("none"), there.get("none", 3), "none" in there) == (None, 3, False)


@pytest.mark.parametrize("name", ["results", "successes", "errored", "skipped"])
def test_what_a_loop_asks_for_again_and_again_is_made_once(report, name):
    assert getattr(report, name) is getattr(report, name)
    assert getattr(dataclasses.replace(report, entries={}), name) == {}


def test_tasks_that_fail_above_the_same_ones_share_the_list_of_these():
    """Of thousands beside thousands, as when a network is down, a list for each would take gigabytes."""
    names = ("one", "two")
    join = Task("join", max, dependencies=[TaskDependency(name) for name in names])
    below = Task("below", max, dependencies=[TaskDependency("join")])
    errored = Process([*(Task(name, max) for name in names), join, below]).run(runner="sequential").errored
    one, two = (errored[name].error.downstream_impact for name in names)
    assert one == ["join", "below"]
    assert one is two


def test_a_failure_above_a_chain_names_all_that_is_below():
    needs = {"a": [], "b": [], "c": ["a"], "d": ["c"], "e": ["d", "b"], "f": ["e"], "g": ["e"], "h": ["f"]}
    tasks = [
        Task(name, max, dependencies=[TaskDependency(other) for other in others])
        for name, others in needs.items()
    ]
    errored = Process(tasks).run(runner="sequential").errored
    found = {name: "".join(entry.error.downstream_impact) for name, entry in errored.items()}
    assert found == {"a": "cdefgh", "b": "efgh"}


def test_a_report_is_made_from_results():
    tasks = [
        Task("use", work, dependencies=[TaskDependency("load")], args=(1,), kwargs={"k": 2}),
        Task("load", work),
        Task("other", work),
    ]
    error, data = ValueError("boom"), ErrorData("other")
    results = {
        "load": TaskResult.success(5, elapsed_seconds=0.25, attempts=2),
        "other": TaskResult.errored(error, error_data=data, elapsed_seconds=1.0, attempts=1),
    }
    report = ProcessExecutionReport.from_results(Process(tasks, "nightly"), results)
    assert report == ProcessExecutionReport(
        {
            "load": TaskReportEntry("load", "work", (), {}, TaskStatus.SUCCESS, 0.25, 2, 5),
            "use": TaskReportEntry("use", "work", (1,), {"k": 2}, TaskStatus.PENDING, 0.0, 0),
            "other": TaskReportEntry("other", "work", (), {}, TaskStatus.ERRORED, 1.0, 1, None, data),
        },
        "nightly",
    )
    assert list(report.entries) == ["load", "use", "other"]
    assert report.exceptions == {"other": error}


def test_a_report_knows_the_graph_that_was_run(runner):
    tasks = [
        Task("load", int),
        Task("use", int, dependencies=[TaskDependency("LOAD"), TaskDependency("setup")]),
        Task("setup", int),
    ]
    process = Process(tasks)
    report = process.run(runner=runner)
    process.add_task_dependency("setup", TaskDependency("load"))
    assert report.dependencies == {"use": ("load", "setup")}
    assert pickle.loads(pickle.dumps(report)).dependencies == report.dependencies
    assert ProcessExecutionReport.from_results(process, {}).dependencies == {
        "setup": ("load",),
        "use": ("load", "setup"),
    }


def test_the_attempts_of_a_task_add_up_to_its_metrics(runner):
    process = Process([Task("bad", int, args=("x",), retries=2, retry_on=(ValueError,)), Task("good", int)])
    metrics = process.run(runner=runner).metrics
    attempts = [attempt for name, attempt in metrics.attempts() if name == "bad"]
    assert len(attempts) == 3
    assert [name for name, _ in metrics.attempts()].count("good") == 1
    whole = metrics["bad"]
    assert (whole.started_at, whole.finished_at) == (attempts[0].started_at, attempts[-1].finished_at)
    assert whole.cpu_seconds == pytest.approx(sum(attempt.cpu_seconds for attempt in attempts))
    assert whole.queue_seconds == pytest.approx(sum(attempt.queue_seconds for attempt in attempts))
    assert whole.peak_rss_bytes == max(attempt.peak_rss_bytes for attempt in attempts)
    assert (whole.worker, whole.pid) == (attempts[-1].worker, attempts[-1].pid)
    assert list(metrics) == ["bad", "good"]
    assert repr(metrics) == repr({"bad": whole, "good": metrics["good"]})


def test_what_waits_for_a_delay_or_a_dependency_is_not_queued(runner):
    def fail() -> None:
        time.sleep(0.05)
        raise ConnectionError

    tasks = [
        Task("flaky", fail, retries=1, retry_delay=0.05),
        Task("slow", time.sleep, args=(0.05,), priority=1),
        Task("after", work, dependencies=[TaskDependency("slow")]),
    ]
    report = Process(tasks).run(runner=runner)
    first, second = [attempt for name, attempt in report.metrics.attempts() if name == "flaky"]
    assert second.started_at - second.queue_seconds >= first.started_at + 0.07
    slow, after = report.metrics["slow"], report.metrics["after"]
    assert after.started_at - after.queue_seconds >= slow.started_at + 0.03
    assert report.entries["flaky"].elapsed_seconds >= 0.08  # of both attempts, without the delay


# Copies


class ApiError(Exception):
    """Pickle alone writes it, and cannot read it: it calls the class with `args`, which is one text."""

    def __init__(self, status: int, body: str) -> None:
        super().__init__(f"{status}: {body}")
        self.status = status


def call() -> None:
    try:
        int("busy")
    except ValueError as error:
        raise ApiError(503, "busy") from error


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))])
def test_the_copy_of_a_report_has_the_exceptions_as_they_were_raised(duplicate):
    process = Process([Task("call", call), Task("good", work)])
    report = process.run()
    copied = duplicate(report)
    assert copied == report
    assert copied.metrics["call"] == report.metrics["call"]
    result = process.runner.results["call"]
    for found, original in (
        (copied.exceptions["call"], report.exceptions["call"]),
        (duplicate(result).exception, result.exception),
    ):
        assert found is not original
        assert (type(found), found.args, found.status) == (ApiError, ("503: busy",), 503)
        assert traceback.format_exception(found) == traceback.format_exception(original)
        assert 'int("busy")' in "".join(traceback.format_exception(found))
    with pytest.raises(ExceptionGroup) as caught:
        copied.raise_for_errors()
    assert caught.value.exceptions == (copied.exceptions["call"],)


def test_a_report_can_be_copied_where_no_frames_can_be_made(monkeypatch):
    report = Process([Task("call", call)]).run()
    with monkeypatch.context() as patched:
        patched.setattr(sys.implementation, "name", "pypy")
        (found,) = copy.deepcopy(report).exceptions.values()
    assert (type(found), found.args, found.status) == (ApiError, ("503: busy",), 503)
    assert (type(found.__cause__), found.__traceback__) == (ValueError, None)


def test_a_shallow_copy_of_a_report_has_the_very_exceptions(report):
    copied = copy.copy(report)
    assert copied == report
    assert copied.exceptions == report.exceptions
    result = TaskResult.errored(report.exceptions["bad"])
    assert copy.copy(result) == result


# Errors raised


def test_nothing_is_raised_when_nothing_failed():
    report_of(entry("good"), entry("late", TaskStatus.SKIPPED)).raise_for_errors()


def test_the_originals_are_raised_as_a_group(report):
    error = report.exceptions["bad"]
    with pytest.raises(ExceptionGroup) as caught:
        report.raise_for_errors()
    assert caught.value.message == "1 of 4 tasks failed: bad"
    assert caught.value.exceptions == (error,)
    assert caught.value.exceptions[0] is error


def test_a_system_exit_makes_it_a_base_exception_group(report):
    report.exceptions["bad"] = SystemExit(3)
    with pytest.raises(BaseExceptionGroup) as caught:
        report.raise_for_errors()
    assert not isinstance(caught.value, Exception)


def test_an_exception_that_counts_as_false_is_raised_all_the_same(report):
    class Falsy(Exception):
        def __bool__(self) -> bool:
            return False

    report.exceptions["bad"] = Falsy()
    with pytest.raises(ExceptionGroup) as caught:
        report.raise_for_errors()
    assert isinstance(caught.value.exceptions[0], Falsy)


def test_a_report_without_live_exceptions_raises_their_texts():
    report = report_of(
        entry("one", TaskStatus.ERRORED, error=ErrorData(exception="boom")), entry("two", TaskStatus.ERRORED)
    )
    with pytest.raises(ExceptionGroup) as caught:
        report.raise_for_errors()
    assert [type(error) for error in caught.value.exceptions] == [ProcessesError] * 2
    assert [str(error) for error in caught.value.exceptions] == [
        "Task 'one' failed: boom",
        "Task 'two' failed: no exception was kept",
    ]


@pytest.mark.parametrize(("count", "end"), [(10, ", t9"), (25, ", t9 and 15 more")])
def test_of_many_failures_the_first_ten_are_named(count, end):
    report = report_of(*(entry(f"t{number}", TaskStatus.ERRORED) for number in range(count)))
    with pytest.raises(ExceptionGroup) as caught:
        report.raise_for_errors()
    assert caught.value.message.startswith(f"{count} of {count} tasks failed: t0, t1, ")
    assert caught.value.message.endswith(end)


# JSON


def test_json_holds_the_whole_report(report):
    found = json.loads(report.to_json())
    assert list(found) == [
        "entries",
        "process_name",
        "runner",
        "elapsed_seconds",
        "metrics",
        "from_checkpoint",
    ]
    assert (found["process_name"], found["runner"], found["elapsed_seconds"]) == ("nightly", "thread", 2.5)
    assert list(found["entries"]) == ["good", "bad", "late", "none"]
    assert found["entries"]["good"] == {
        "name": "good",
        "function": "work",
        "args": [],
        "kwargs": {},
        "status": "success",
        "elapsed_seconds": 1.5,
        "attempts": 1,
        "result": 7,
        "error": None,
    }
    assert found["entries"]["bad"]["error"] == {
        "task_name": "bad",
        "function": "?",
        "args": [],
        "kwargs": {},
        "downstream_impact": [],
        "exception": "boom",
        "traceback_str": "",
        "traced_vars": {},
        "traced_vars_location": "",
    }
    assert [one["status"] for one in found["entries"].values()] == [
        "success",
        "errored",
        "skipped",
        "pending",
    ]
    assert all(list(one) == FIELDS for one in found["entries"].values())
    assert found["metrics"]["good"] == {
        "started_at": 0.0,
        "finished_at": 0.0,
        "queue_seconds": 0.0,
        "cpu_seconds": 0.0,
        "peak_rss_bytes": 0,
        "worker": "thread-1",
        "pid": 0,
        "host": "",
    }


def in_json(value: object, **dumps_kwargs: object) -> object:
    """Bring a value through JSON, as an argument, as a result and in error data."""
    report = report_of(
        TaskReportEntry(
            "a",
            "work",
            (value,),
            {"key": value},
            TaskStatus.ERRORED,
            0.0,
            0,
            value,
            ErrorData(args=(value,), kwargs={"key": value}),
        )
    )
    found = json.loads(report.to_json(**dumps_kwargs), parse_constant=pytest.fail)["entries"]["a"]
    (one,) = {
        repr(part)
        for part in (
            found["args"][0],
            found["kwargs"]["key"],
            found["result"],
            found["error"]["args"][0],
            found["error"]["kwargs"]["key"],
        )
    }
    assert one == repr(found["result"])
    return found["result"]


def in_json_once(value: object) -> object:
    return json.loads(report_of(entry("a", result=value)).to_json())["entries"]["a"]["result"]


class Plain:
    def __repr__(self) -> str:
        return "Plain()"


class Raising:
    def __repr__(self) -> str:
        raise RuntimeError


class Renaming(type):
    __name__ = property(lambda cls: "Other")  # may well raise, but then pytest could not show a failure


class RaisingUnderOtherName(metaclass=Renaming):
    def __repr__(self) -> str:
        raise RuntimeError


class RaisingDict(dict):
    def items(self):
        raise RuntimeError


class RaisingList(list):
    def __iter__(self):
        raise RuntimeError


class Liar:
    __class__ = property(lambda self: 1 / 0)

    def __repr__(self) -> str:
        return "Liar()"


class Number(IntEnum):
    ONE = 1


Point = namedtuple("Point", "x y")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (True, True),
        (3, 3),
        (1.5, 1.5),
        ("text", "text"),
        ([1, [2]], [1, [2]]),
        ((1, 2), [1, 2]),
        (Point(1, 2), [1, 2]),
        ({"a": {"b": 1}}, {"a": {"b": 1}}),
        (OrderedDict(a=1), {"a": 1}),
        (Number.ONE, 1),
        (TaskStatus.SKIPPED, "skipped"),
        ({1}, "{1}"),
        (b"x", "b'x'"),
        (1j, "1j"),
        (Path("x"), repr(Path("x"))),
        (Plain(), "Plain()"),
        ([Plain()], ["Plain()"]),
        ({Plain: 1}, {repr(Plain): 1}),
        ({1: "a", None: "b", (1, 2): "c", 1.5: "d"}, {"1": "a", "None": "b", "(1, 2)": "c", "1.5": "d"}),
        ({1: "a", "1": "b"}, "{1: 'a', '1': 'b'}"),
        (Raising(), "<Raising object whose repr raises RuntimeError>"),
        ({Raising: Raising()}, {repr(Raising): "<Raising object whose repr raises RuntimeError>"}),
        (RaisingDict(a=1), "{'a': 1}"),
        (RaisingList([1]), "[1]"),
        (types.MappingProxyType({"a": 1}), "mappingproxy({'a': 1})"),
        ("\ud800", "\\ud800"),
    ],
)
def test_any_value_becomes_json(value, expected):
    assert in_json(value) == expected


def test_a_value_becomes_json_whatever_its_class_says_of_its_name():
    text = "<RaisingUnderOtherName object whose repr raises RuntimeError>"
    assert in_json_once(RaisingUnderOtherName()) == text


def test_a_value_that_lies_about_its_class_becomes_json():
    assert in_json_once([Liar()]) == ["Liar()"]


def test_a_console_shows_the_values_of_a_task_in_bounded_size():
    class Row:
        def __repr__(self) -> str:
            return "Row()"

    class Broken:
        def __repr__(self) -> str:
            raise RuntimeError("not loaded")

    rows = [Row()] * 100_000
    broken = TaskReportEntry("a", "work", (rows,), {"rows": rows}, TaskStatus.ERRORED, 1.5, 1, Broken())
    broken.error = ErrorData("a", args=(rows,), kwargs={"rows": rows}, traceback_str="x" * 100_000)
    shown = repr(broken)
    assert len(shown) < 50_000
    assert shown.startswith("TaskReportEntry(name='a', function='work', args=([Row(), Row(), ")
    assert shown.count("more items") == 2
    assert "result=<Broken object whose __repr__ raised RuntimeError: not loaded>, error=ErrorData(" in shown
    assert len(repr(broken.error)) < 20_000
    assert len(repr(TaskResult.success(rows))) < 10_000


def test_a_console_shows_a_task_whose_result_holds_its_own_entry():
    found: list[object] = []
    found += [entry("a", result=found), entry("b", result=found)]
    assert "..." in repr(found[0])


def test_a_value_that_holds_itself_is_rendered_by_repr():
    values: list[object] = [1]
    values.append(values)
    assert in_json(values) == [1, "[1, [...]]"]
    mapping: dict[str, object] = {}
    mapping["self"] = [mapping]
    assert in_json(mapping) == {"self": ["{'self': [{...}]}"]}


def test_a_value_that_stands_in_two_places_is_written_twice():
    shared = [1]
    assert in_json([shared, shared]) == [[1], [1]]


@pytest.mark.skipif(sys.version_info < (3, 15), reason="there are no frozen dicts before Python 3.15")
def test_frozen_dicts_become_json_as_others_do():
    values: list[object] = [1]
    values.append(frozendict({(1, 2): values, "a": math.nan}))  # noqa: F821
    assert in_json(values) == [1, {"(1, 2)": "[1, frozendict({(1, 2): [...], 'a': nan})]", "a": "nan"}]


def test_values_nested_deeper_than_any_stack_become_json():
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    found = in_json_once(deep)
    depth = 0
    while isinstance(found, list):
        (found,) = found
        depth += 1
    assert depth > 90
    assert found == "<list object whose repr raises RecursionError>"


def test_ints_that_python_does_not_write_become_json():
    for digits in (600, 700):
        assert in_json(10**digits) == 10**digits
    assert in_json(2**50_000) == hex(2**50_000)


class Float(float):
    def __repr__(self) -> str:
        return "Float()"


def test_floats_that_json_does_not_know_are_text():
    assert in_json([math.nan, math.inf, -math.inf, Float("nan"), {math.nan: 1.5}]) == [
        *("nan", "inf", "-inf", "nan"),
        {"nan": 1.5},
    ]
    made = report_of(entry("a", result=math.nan))
    made.entries["a"].elapsed_seconds = math.inf
    made.elapsed_seconds = -math.inf
    made.metrics = {"a": TaskMetrics(cpu_seconds=math.nan)}
    found = json.loads(made.to_json(), parse_constant=pytest.fail)
    assert found["entries"]["a"]["result"] == "nan"
    assert found["entries"]["a"]["elapsed_seconds"] == "inf"
    assert found["elapsed_seconds"] == "-inf"
    assert found["metrics"]["a"]["cpu_seconds"] == "nan"


def test_a_value_that_changes_meanwhile_becomes_json():
    changed: dict[object, int] = dict.fromkeys(range(100), 1)

    class Changing:
        def __repr__(self) -> str:
            changed[len(changed)] = 1
            return "Changing()"

    changed[Changing()] = 1
    assert "Changing()" in str(in_json_once(changed))


class StruckError(Exception):
    """What the program's handler of a signal raises."""


def be_struck_once(due: list[int]) -> None:
    while due:
        signal.raise_signal(due.pop())


class StruckWhenShown:
    def __init__(self) -> None:
        self.due = [signal.SIGTERM]

    def __repr__(self) -> str:
        be_struck_once(self.due)
        return "shown"


class StruckWhenReadThrough(list):
    def __iter__(self):
        be_struck_once(self)
        return super().__iter__()


@pytest.mark.parametrize(
    "make", [StruckWhenShown, lambda: StruckWhenReadThrough([signal.SIGTERM]), lambda: {StruckWhenShown(): 1}]
)
def test_what_a_signals_handler_raises_while_json_is_made_is_not_taken_for_a_values(make):
    def strike(*_: object) -> None:
        raise StruckError

    previous = signal.signal(signal.SIGTERM, strike)
    try:
        with pytest.raises(StruckError):
            in_json_once(make())
    finally:
        signal.signal(signal.SIGTERM, previous)


class Named:
    def __repr__(self) -> str:
        return "Named(caf\udce9)"


@pytest.mark.parametrize("ensure_ascii", [True, False])
def test_text_that_utf_8_cannot_hold_is_spelled_out(ensure_ascii, tmp_path):
    name = "caf\udce9-\u2713"  # as os.listdir gives the name of a file
    path = tmp_path / "report.json"
    report = report_of(entry(name, result=[name, {name: Named()}, {(name,): 1}]))
    assert report.to_json(path, ensure_ascii=ensure_ascii) == path.read_text(encoding="utf-8")
    (spelled,) = json.loads(path.read_text(encoding="utf-8"))["entries"].values()
    assert spelled["name"] == "caf\\udce9-\u2713"
    assert spelled["result"] == [
        "caf\\udce9-\u2713",
        {"caf\\udce9-\u2713": "Named(caf\\udce9)"},
        {"('caf\\udce9-\u2713',)": 1},
    ]


WRITERS = ["to_json", "to_html", "to_chrome_trace"]


@pytest.mark.parametrize("writer", WRITERS)
def test_what_is_written_is_returned_too_and_without_a_path_only_that(writer, tmp_path):
    metrics = {"\ud800日本": TaskMetrics(1.0, 2.0, worker="thread-1")}
    write = getattr(report_of(entry("\ud800日本", result="\ud800"), metrics=metrics), writer)
    path = tmp_path / "new" / "newer" / "report"
    text = write(path)
    assert path.read_text(encoding="utf-8") == text == write()
    assert write(str(path)) == text


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("path", [1, True, b"report", ["report"]])
def test_a_path_that_is_none_is_refused(writer, path):
    with pytest.raises(TypeError, match=r"^path must be str, os\.PathLike or None, not "):
        getattr(ProcessExecutionReport(), writer)(path)


def test_json_renders_once_what_many_tasks_were_given():
    class Table:
        rendered = 0

        def __repr__(self):
            self.rendered += 1
            return "<a table>"

    table = Table()
    report = report_of(entry("a", result=[table]), entry("b", result={"n": 1, "table": table}))
    found = json.loads(report.to_json())["entries"]
    assert [one["result"] for one in found.values()] == [["<a table>"], {"n": 1, "table": "<a table>"}]
    assert table.rendered == 1


def test_arguments_are_passed_on_to_json_dumps(report):
    text = report.to_json(indent=2, sort_keys=True, ensure_ascii=False)
    assert text.startswith('{\n  "elapsed_seconds"')
    assert in_json(Plain(), default=lambda value: f"by hand: {value!r}") == "by hand: Plain()"
    with pytest.raises(TypeError, match="no_such_argument"):
        report.to_json(no_such_argument=1)


def test_an_encoder_class_keeps_its_own_default():
    class Encoder(json.JSONEncoder):
        def default(self, o: object) -> str:
            return "encoded"

    assert in_json(Plain(), cls=Encoder) == "encoded"


# Notifications


class Channel(ReportChannel):
    """Keeps what it is sent."""

    def __init__(self) -> None:
        self.sent: list[tuple[ProcessExecutionReport, bool]] = []

    def send_report(self, report: ProcessExecutionReport, *, errors_only: bool) -> None:
        self.sent.append((report, errors_only))

    @property
    def names(self) -> list[list[str]]:
        return [list(report.entries) for report, _ in self.sent]


class Broken(ReportChannel):
    def send_report(self, report: ProcessExecutionReport, *, errors_only: bool) -> None:
        raise ConnectionError("no route to host")


def test_a_channel_must_be_able_to_send():
    with pytest.raises(TypeError, match="send_report"):
        type("Mute", (ReportChannel,), {})()


def test_each_channel_gets_the_report_in_order(report):
    order: list[str] = []

    class Ordered(ReportChannel):
        def __init__(self, name: str) -> None:
            self.name = name

        def send_report(self, report: ProcessExecutionReport, *, errors_only: bool) -> None:
            order.append(self.name)

    report.notify(Ordered("one"), Ordered("two"), Ordered("three"))
    assert order == ["one", "two", "three"]


def test_the_whole_report_is_sent_by_default(report):
    channel = Channel()
    report.notify(channel)
    ((sent, errors_only),) = channel.sent
    assert sent == report
    assert errors_only is False
    assert (sent.runner, sent.elapsed_seconds) == ("thread", 2.5)
    assert (sent.metrics, sent.exceptions) == (report.metrics, report.exceptions)


def test_no_channel_is_no_problem(report):
    assert report.notify() is None


@pytest.mark.parametrize(
    ("filters", "names"),
    [
        ({"only_errors": True}, [["bad"]]),
        ({"tasks": ["GOOD", "late"]}, [["good", "late"]]),
        ({"tasks": ("late", "good")}, [["good", "late"]]),
        ({"tasks": {"good"}}, [["good"]]),
        ({"tasks": ["Bad", "good"], "only_errors": True}, [["bad"]]),
        ({"tasks": ["good"], "only_errors": True}, []),
        ({"tasks": []}, []),
    ],
)
def test_filters_choose_the_tasks_and_nothing_is_sent_when_none_is_left(report, filters, names):
    channel = Channel()
    report.from_checkpoint = ("good", "late")
    report.notify(channel, **filters)
    assert channel.names == names
    for sent, errors_only in channel.sent:
        assert errors_only is filters.get("only_errors", False)
        assert set(sent.metrics) <= set(sent.entries)
        assert set(sent.exceptions) <= set(sent.entries)
        assert sent.from_checkpoint == tuple(name for name in ("good", "late") if name in sent.entries)
    assert list(report.entries) == ["good", "bad", "late", "none"]


def test_nothing_is_sent_when_only_errors_are_wanted_and_there_are_none():
    channel = Channel()
    report_of(entry("good")).notify(channel, only_errors=True)
    assert channel.sent == []


def test_the_report_of_an_empty_process_is_sent():
    channel = Channel()
    ProcessExecutionReport().notify(channel)
    assert channel.names == [[]]


@pytest.mark.parametrize("tasks", ["good", [3], 3, b"good"])
def test_wrong_task_names_are_a_type_error_before_anything_is_sent(report, tasks):
    channel = Channel()
    with pytest.raises(TypeError, match="tasks must be a list of task names or None"):
        report.notify(channel, tasks=tasks)
    assert channel.sent == []


def test_an_unknown_task_name_is_a_warning_with_the_nearest_name(report):
    channel = Channel()
    with pytest.warns(UserWarning, match=r"'godo'; did you mean 'good'\?") as caught:
        report.notify(channel, tasks=["godo", "bad"])
    assert len(caught) == 1
    assert channel.names == [["bad"]]


def test_a_failing_channel_is_a_warning_and_the_others_are_served(report):
    channel = Channel()
    with pytest.warns(UserWarning, match="no route") as caught:
        report.notify(Broken(), channel, Broken(), channel)
    assert [str(warning.message) for warning in caught] == [
        "Broken could not send the report (ConnectionError: no route to host); the other channels were served"
    ] * 2
    assert {warning.filename for warning in caught} == {__file__}
    assert len(channel.sent) == 2


def test_the_others_are_served_even_where_warnings_are_errors(report):
    channel = Channel()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match="Broken"):
            report.notify(Broken(), channel)
    assert len(channel.sent) == 1


def test_warnings_can_be_turned_off(report):
    channel = Channel()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        report.notify(Broken(), object(), channel, tasks=["good", "unknown"], show_warnings=False)
    assert caught == []
    assert channel.names == [["good"]]


@pytest.mark.parametrize(
    ("mistake", "told"), [("slack", "'slack'"), ([Channel()], r"\[<.*>\]"), (Channel, "<class .*Channel'>")]
)
def test_what_is_no_channel_is_a_warning(report, mistake, told):
    channel = Channel()
    with pytest.warns(
        UserWarning, match=rf"^{told} is no ReportChannel object: write report\.notify\(one, two\);"
    ):
        report.notify(mistake, channel)
    assert len(channel.sent) == 1


def test_an_interrupt_in_a_channel_ends_the_notification(report):
    class Interrupted(ReportChannel):
        def send_report(self, report: ProcessExecutionReport, *, errors_only: bool) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        report.notify(Interrupted())


@pytest.mark.parametrize("error", [SystemExit("no mail program"), CancelledError(), GeneratorExit()])
def test_whatever_a_channel_raises_is_a_warning(report, error):
    class Ending(ReportChannel):
        def send_report(self, report: ProcessExecutionReport, *, errors_only: bool) -> None:
            raise error

    channel = Channel()
    with pytest.warns(UserWarning, match=f"Ending could not send the report .{type(error).__name__}"):
        report.notify(Ending(), channel)
    assert len(channel.sent) == 1


@pytest.mark.parametrize("error", [SystemExit(3), TimeoutError("by the user's handler")])
def test_what_a_handler_of_a_signal_raises_leaves_notify(report, error):
    def handle(number, frame):
        raise error

    class Signalled(ReportChannel):
        def send_report(self, report: ProcessExecutionReport, *, errors_only: bool) -> None:
            signal.raise_signal(signal.SIGTERM)

    channel, before = Channel(), signal.signal(signal.SIGTERM, handle)
    try:
        with pytest.raises(type(error)) as caught:
            report.notify(Signalled(), channel)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert caught.value is error
    assert channel.sent == []


def test_what_a_channel_does_to_its_report_does_not_touch_the_others(report):
    class Emptying(ReportChannel):
        def send_report(self, report: ProcessExecutionReport, *, errors_only: bool) -> None:
            report.entries.clear()
            report.metrics.clear()
            report.exceptions.clear()

    channel = Channel()
    report.notify(Emptying(), channel)
    assert channel.names == [["good", "bad", "late", "none"]]
    assert list(report.metrics) == ["good", "bad"]


def test_values_stay_whole_and_live_in_the_report():
    lock = threading.Lock()
    report = ProcessExecutionReport.from_results(
        Process([Task("a", work, args=(lock,))]), {"a": TaskResult.success(lock)}
    )
    assert report.entries["a"].args == (lock,)
    assert report.results["a"] is lock
    assert "lock" in report.to_json()
