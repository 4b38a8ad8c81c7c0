"""The report as a trace: what it holds, and that it keeps the rules of the Trace Event Format."""

from __future__ import annotations

import json
import math
import threading
from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st
from steadiness import steadily

from processes import Process, Task, TaskDependency
from processes.execution_report import ProcessExecutionReport, TaskReportEntry
from processes.measurements import TaskMetrics
from processes.task_types import TaskStatus


def entry(name: str, attempts: int = 1, status: TaskStatus = TaskStatus.SUCCESS) -> TaskReportEntry:
    return TaskReportEntry(name, "work", (), {}, status, 1.5, attempts)


def report_of(metrics: dict[str, TaskMetrics], **fields: object) -> ProcessExecutionReport:
    return ProcessExecutionReport({name: entry(name) for name in metrics}, metrics=metrics, **fields)


def ran(start: float, end: float, worker: str = "process-1", pid: int = 7, host: str = "a") -> TaskMetrics:
    return TaskMetrics(1_000 + start, 1_000 + end, 0.25, 0.5, 4096, worker, pid, host)


class Trace:
    """What stands in a trace; that it keeps the rules is checked as it is read."""

    def __init__(self, report: ProcessExecutionReport) -> None:
        whole = json.loads(report.to_chrome_trace(), parse_constant=pytest.fail)
        self.other = whole["otherData"]
        self.by_phase: dict[str, list[dict]] = defaultdict(list)
        for event in whole["traceEvents"]:
            assert type(event["pid"]) is int
            assert type(event["tid"]) is int
            self.by_phase[event["ph"]].append(event)
        assert set(self.by_phase) <= {"M", "X", "s", "f"}
        self.slices = self.by_phase["X"]
        self.rows = self.names_of("thread")
        self.processes = self.names_of("process")
        self.check_times()
        self.check_nesting()
        self.arrows = self.check_arrows()

    def names_of(self, kind: str) -> dict[tuple[int, int] | int, str]:
        named = [event for event in self.by_phase["M"] if event["name"] == f"{kind}_name"]
        key = (lambda event: (event["pid"], event["tid"])) if kind == "thread" else lambda event: event["pid"]
        names = {key(event): event["args"]["name"] for event in named}
        assert len(names) == len(named), "two rows are one"
        return names

    def check_times(self) -> None:
        for event in (*self.slices, *self.by_phase["s"], *self.by_phase["f"]):
            assert math.isfinite(event["ts"])
            assert event["ts"] >= 0
            assert (event["pid"], event["tid"]) in self.rows
            assert event["pid"] in self.processes
        for event in self.slices:
            assert math.isfinite(event["dur"])
            assert event["dur"] > 0
        assert not self.slices or min(event["ts"] for event in self.slices) == 0

    def check_nesting(self) -> None:
        ends: dict[tuple[int, int], int] = {}
        for event in sorted(self.slices, key=lambda event: event["ts"]):
            row = event["pid"], event["tid"]
            start, end = nanoseconds(event)
            assert start >= ends.get(row, 0), f"{event['name']} overlaps what is before it"
            ends[row] = end

    def check_arrows(self) -> list[tuple[str, str]]:
        heads = {event["id"]: event for event in self.by_phase["f"]}
        tails = {event["id"]: event for event in self.by_phase["s"]}
        assert set(heads) == set(tails)
        assert len(heads) == len(self.by_phase["f"]) == len(self.by_phase["s"])
        arrows = []
        for number, tail in tails.items():
            head = heads[number]
            assert head["ts"] >= tail["ts"]
            assert head["bp"] == "e"
            assert (head["cat"], head["name"]) == (tail["cat"], tail["name"])
            arrows.append((self.around(tail)["name"], self.around(head)["name"]))
        return arrows

    def around(self, event: dict) -> dict:
        """The slice that an end of an arrow is bound to."""
        at = round(event["ts"] * 1_000)
        (found,) = [
            one
            for one in self.slices
            if (one["pid"], one["tid"]) == (event["pid"], event["tid"])
            and nanoseconds(one)[0] <= at < nanoseconds(one)[1]
        ]
        return found


def nanoseconds(event: dict) -> tuple[int, int]:
    start = round(event["ts"] * 1_000)
    return start, start + round(event["dur"] * 1_000)


def needs(*names: str) -> list[TaskDependency]:
    return [TaskDependency(name, True) for name in names]


def test_a_run_is_a_valid_trace_with_arrows_for_all_dependencies(runner):
    add = math.hypot  # its workers import no pytest
    tasks = [Task("a", add), Task("b", add), Task("alone", add)]
    tasks += [Task("c", add, dependencies=needs("a", "b")), Task("d", add, dependencies=needs("c", "a"))]
    tasks += [Task(f"e{number}", add, dependencies=needs("c")) for number in range(40)]
    process = Process(tasks, "nightly")
    report = process.run(runner=runner)
    trace = Trace(report)
    assert sorted(event["name"] for event in trace.slices) == sorted(report.entries)
    expected = {(other, name) for name, needed in report.dependencies.items() for other in needed}
    assert set(trace.arrows) == expected
    assert len(trace.arrows) == len(expected) == 44
    assert set(trace.rows.values()) == {metrics.worker for metrics in report.metrics.values()}
    assert set(trace.processes) == {metrics.pid for metrics in report.metrics.values()}
    assert trace.other == {"process_name": "nightly", "runner": runner}
    (one,) = [event for event in trace.slices if event["name"] == "alone"]
    metrics = report.metrics["alone"]
    assert one["args"] == {
        "status": "success",
        "function": "hypot",
        "attempt": 1,
        "attempts": 1,
        "queue_seconds": metrics.queue_seconds,
        "cpu_seconds": metrics.cpu_seconds,
        "peak_rss_bytes": metrics.peak_rss_bytes,
    }


def test_each_attempt_is_a_slice_of_its_own_and_arrows_join_the_last_and_the_first():
    answers = iter([OSError("busy"), OSError("busy"), 3])
    lock = threading.Lock()

    def ask() -> int:
        with lock:
            answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def fail(number: int) -> None:
        raise OSError(number)

    tasks = [
        Task("ask", ask, retries=5, retry_on=(OSError,)),
        Task("use", fail, dependencies=needs("ask"), retries=1, retry_on=(OSError,)),
        Task("never", abs, dependencies=needs("use")),
    ]
    trace = Trace(Process(tasks).run(runner="sequential"))
    told = [(one["name"], one["args"]["attempt"], one["args"]["status"]) for one in trace.slices]
    assert told == [
        ("ask", 1, "retried"),
        ("ask", 2, "retried"),
        ("ask", 3, "success"),
        ("use", 1, "retried"),
        ("use", 2, "errored"),
    ]
    assert [one["args"]["attempts"] for one in trace.slices] == [3, 3, 3, 2, 2]
    assert trace.arrows == [("ask", "use")]
    assert trace.around(trace.by_phase["s"][0])["args"]["attempt"] == 3
    assert trace.around(trace.by_phase["f"][0])["args"]["attempt"] == 1


def test_times_are_microseconds_from_the_first_attempt_on():
    trace = Trace(report_of({"one": ran(0, 1.5), "two": ran(2, 2.25)}))
    assert [(one["ts"], one["dur"]) for one in trace.slices] == [(0, 1_500_000), (2_000_000, 250_000)]


def test_workers_stand_in_the_order_of_their_numbers():
    metrics = {f"t{number}": ran(10 - number, 20, f"thread-{number}") for number in (10, 9, 1, 2)}
    trace = Trace(report_of(metrics))
    assert list(trace.rows.values()) == ["thread-1", "thread-2", "thread-9", "thread-10"]
    assert list(trace.processes.values()) == ["thread-1 … thread-10 on a"]
    places = [event["args"]["sort_index"] for event in trace.by_phase["M"] if "sort" in event["name"]]
    assert places == sorted(places)


def test_processes_of_two_machines_with_one_number_are_two():
    trace = Trace(report_of({"one": ran(0, 1, host="a"), "two": ran(0, 1, host="b")}))
    assert list(trace.processes.values()) == ["process-1 on a", "process-1 on b"]


def test_what_overlaps_on_one_worker_gets_a_row_of_its_own_unless_it_is_the_clocks():
    trace = Trace(report_of({"long": ran(0, 10), "inside": ran(2, 3), "late": ran(9.9995, 11)}))
    assert list(trace.rows.values()) == ["process-1", "process-1 (2)"]
    assert [one["tid"] for one in trace.slices] == [1, 1, 2]
    assert [one["name"] for one in trace.slices] == ["long", "late", "inside"]


def test_an_arrow_that_would_lead_back_in_time_is_left_out():
    metrics = {"one": ran(5, 6, host="a"), "two": ran(1, 2, host="b"), "three": ran(5.5, 7, host="b")}
    trace = Trace(report_of(metrics, dependencies={"two": ("one",), "three": ("one",)}))
    assert trace.arrows == [("one", "three")]


@pytest.mark.parametrize(
    "metrics",
    [TaskMetrics(), ran(2, 1), ran(0, 1e308), ran(0, math.inf), ran(0, math.nan), ran(math.nan, 0)],
)
def test_what_has_no_times_is_left_out(metrics):
    trace = Trace(report_of({"none": metrics, "one": ran(0, 1)}, dependencies={"one": ("none",)}))
    assert [one["name"] for one in trace.slices] == ["one"]


def test_a_measure_that_is_no_number_is_told_as_text():
    trace = Trace(report_of({"one": TaskMetrics(1_000, 1_001, math.nan, math.inf, 4096)}))
    assert trace.slices[0]["args"]["queue_seconds"] == "nan"
    assert trace.slices[0]["args"]["cpu_seconds"] == "inf"


def test_an_empty_report_is_an_empty_trace():
    trace = Trace(ProcessExecutionReport())
    assert not trace.slices
    assert not trace.rows


def test_names_are_there_as_they_are():
    name = "\x00</script>\ud800\u202e\"'\\"
    trace = Trace(report_of({name: ran(0, 1, name, host=name)}, process_name=name, runner=name))
    assert trace.slices[0]["name"] == name
    assert trace.other == {"process_name": name, "runner": name}
    text = report_of({"größe": ran(0, 1, "日本")}).to_chrome_trace()
    assert '"größe"' in text  # Perfetto shows escapes in the names of rows as they are
    assert '"日本"' in text


times = st.one_of(st.floats(0, 10), st.integers(0, 5_000_000_000).map(lambda number: number / 1e9))


@steadily
@given(
    st.lists(
        st.tuples(
            times, times, st.sampled_from(["w-1", "w-2", ""]), st.integers(0, 2), st.sampled_from("ab")
        ),
        max_size=12,
    ),
    st.data(),
)
def test_any_report_is_a_valid_trace(rows, data):
    metrics = {
        f"t{number}": ran(start, start + length, worker, pid, host)
        for number, (start, length, worker, pid, host) in enumerate(rows)
    }
    names = list(metrics)
    dependencies = {
        name: tuple(data.draw(st.lists(st.sampled_from(names[:number]), unique=True)))
        for number, name in enumerate(names)
        if number
    }
    trace = Trace(report_of(metrics, dependencies=dependencies))
    assert len(trace.slices) == len(rows)
