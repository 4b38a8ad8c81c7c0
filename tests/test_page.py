"""The report as a page: what it says, and what a real browser makes of it."""

from __future__ import annotations

import json
import pickle
import threading
import time
from collections import defaultdict
from html.parser import HTMLParser
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from steadiness import steadily

from processes import Process, ReportChannel, ReportContent, Task, TaskDependency
from processes.error_data import ErrorData
from processes.execution_report import ProcessExecutionReport, TaskReportEntry
from processes.measurements import TaskMetrics
from processes.rendering import page as page_module
from processes.rendering.layout import BEND_HEIGHT, NODE_HEIGHT, lay_out, layers_of
from processes.task_types import TaskStatus

VOID = {"meta", "link", "input", "br", "img"}
SECRET = "sk-live-1234567890"


def entry(name: str, status: TaskStatus = TaskStatus.SUCCESS, **fields: object) -> TaskReportEntry:
    attempts = int(status in (TaskStatus.SUCCESS, TaskStatus.ERRORED))
    return TaskReportEntry(name, "work", (), {}, status, 1.5, attempts, **fields)


def report_of(*entries: TaskReportEntry, **fields: object) -> ProcessExecutionReport:
    return ProcessExecutionReport({one.name: one for one in entries}, **fields)


def failed(name: str, **fields: object) -> TaskReportEntry:
    return entry(name, TaskStatus.ERRORED, error=ErrorData(name, **fields))


def ran(start: float, end: float, worker: str = "process-1") -> TaskMetrics:
    return TaskMetrics(1_000 + start, 1_000 + end, 0.25, 0.5, 2**20, worker, 7, "a")


class Element:
    """A tag with what is in it."""

    def __init__(self, tag: str, attributes: dict[str, str | None]) -> None:
        self.tag, self.attributes = tag, attributes
        self.inside: list[Element | str] = []

    @property
    def text(self) -> str:
        return "".join(one if isinstance(one, str) else one.text for one in self.inside)

    def all(self, tag: str = "", **attributes: str) -> list[Element]:
        found = []
        for one in self.inside:
            if isinstance(one, Element):
                wanted = {key.rstrip("_"): value for key, value in attributes.items()}
                if one.tag == (tag or one.tag) and wanted.items() <= one.attributes.items():
                    found.append(one)
                found += one.all(tag, **attributes)
        return found


class Page(HTMLParser):
    """A page as a tree; each tag must be closed where it should."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.root = Element("", {})
        self.open = [self.root]
        self.feed(text)
        self.close()
        assert self.open == [self.root]

    def handle_starttag(self, tag, attrs):
        element = Element(tag, dict(attrs))
        assert len(element.attributes) == len(attrs)
        self.open[-1].inside.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_startendtag(self, tag, attrs):
        self.open[-1].inside.append(Element(tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop().tag == tag

    def handle_data(self, data):
        self.open[-1].inside.append(data)

    def rows(self) -> list[list[str]]:
        (table,) = self.root.all("table", class_="tasks")
        return [
            [cell.text.strip() for cell in row.inside if isinstance(cell, Element)] for row in table.all("tr")
        ]

    def section(self, name: str) -> Element | None:
        found = self.root.all("section", **{"aria-labelledby": name})
        return found[0] if found else None


def left_out(section: Element) -> list[str]:
    return [" ".join(one.text.split()) for one in section.all("p", class_="left-out")]


# What it says


def divide(total, people, api_key=SECRET):
    return total / people


def test_a_run_becomes_a_page(runner, monkeypatch):
    monkeypatch.setattr(page_module, "NARROW", 0.0)  # else attempts share a bar where the run takes long
    tasks = [
        Task("total", int, args=("10",)),
        Task("share", divide, args=(10, 0), dependencies=[TaskDependency("total")]),
        Task("late", print, dependencies=[TaskDependency("share")]),
        Task("alone", int, args=("7",)),
    ]
    report = Process(tasks, "nightly", runner=runner).run()
    page = Page(report.to_html())
    assert page.root.all("h1")[0].text == "nightly"
    assert f"runner {runner}" in page.root.all("header")[0].text
    counts = page.root.all("dl", class_="counts")[0].all("dd")
    assert [one.text for one in counts] == ["4", "1", "1", "2"]
    head, *rows = page.rows()
    assert head[:3] == ["No.", "Task", "Status"]
    assert [row[:3] for row in rows] == [
        ["2", "share", "✗ errored"],
        ["3", "late", "↷ skipped"],
        ["1", "total", "✓ success"],
        ["4", "alone", "✓ success"],
    ]
    assert [row[-1] for row in rows] == ["ZeroDivisionError: division by zero", "", "10", "7"]
    assert rows[2][-2] == report.metrics["total"].worker
    assert not page.root.all(role="region")  # each section is one, of the same name as what is scrolled in it
    (failure,) = page.section("failures").all("details")
    assert "ZeroDivisionError: division by zero" in failure.all("summary")[0].text
    assert failure.all("pre")[0].text == report.entries["share"].error.traceback_str
    values = [[cell.text for cell in row.inside if isinstance(cell, Element)] for row in failure.all("tr")]
    assert values == [
        ["total", "10"], ["people", "0"],
        ["total", "10"], ["people", "0"], ["api_key", "<redacted>"],
    ]  # fmt: skip
    assert "late" in failure.text
    titles = [one.text for one in page.section("timeline").all("title")]
    assert len(titles) == 3
    assert any(title.startswith("share: failed, ") for title in titles)
    graph = page.section("graph")
    assert [one.text.split(":")[0] for one in graph.all("title")] == ["total", "share", "late"]
    assert [one.attributes.get("class") for one in graph.all("path")] == [None, "broken"]
    assert left_out(graph) == ["1 task without dependencies not drawn."]


def test_what_a_checkpoint_had_is_told_apart_and_its_time_is_none_of_this_runs():
    report = report_of(
        entry("old"),
        failed("new"),
        elapsed_seconds=3.0,
        metrics={"new": ran(0, 1.5)},
        from_checkpoint=("old",),
    )
    report.entries["old"].attempts = 3
    page = Page(report.to_html())
    facts = page.root.all("dl", class_="facts")[0]
    assert [[one.all(tag)[0].text for tag in ("dd", "dt")] for one in facts.all("div")] == [
        ["3.0 s", "on the wall clock"],
        ["1.5 s", "in tasks, 0.5 at a time"],
        ["500 ms", "of processor time"],
        ["1 MB", "peak memory of a process"],
        ["1", "worker"],
        ["1", "from the checkpoint"],
    ]
    assert [row[-2] for row in page.rows()] == ["Worker", "process-1", "checkpoint"]


def test_every_link_of_a_page_leads_somewhere():
    report = report_of(
        failed("a"), entry("b"), metrics={"a": ran(0, 1), "b": ran(1, 2)}, dependencies={"b": ("a",)}
    )
    page = Page(report.to_html())
    targets = {link.attributes["href"] for link in page.root.all("a")}
    ids = [one.attributes["id"] for one in page.root.all() if "id" in one.attributes]
    assert len(ids) == len(set(ids))
    assert targets == {
        "#failures", "#timeline", "#graph", "#tasks", "#task-1", "#task-2", "#failure-1",
    }  # fmt: skip
    assert {target.removeprefix("#") for target in targets} <= set(ids)


def test_a_report_without_graph_times_or_tasks_has_no_sections_of_them():
    page = Page(ProcessExecutionReport().to_html())
    assert page.root.all("h1")[0].text == "0 tasks"
    assert [page.section(name) for name in ("failures", "timeline", "graph")] == [None] * 3
    assert page.rows()[1:] == []
    page = Page(report_of(entry("a", result=1)).to_html())
    assert page.root.all("h1")[0].text == "1 task"
    assert [page.section(name) for name in ("failures", "timeline", "graph")] == [None] * 3


def test_a_time_that_no_calendar_has_is_left_out():
    metrics = {"a": TaskMetrics(1e15, 1e15 + 1_000, worker="thread-1")}
    page = Page(report_of(entry("a", result=1), metrics=metrics).to_html())
    assert page.section("timeline").all("title")[0].text == "a: succeeded, 16 min 40 s"
    assert "UTC" not in page.root.text


def test_what_ended_at_a_time_that_cannot_be_is_not_drawn():
    metrics = {"a": TaskMetrics(1.0, 1e308, worker="thread-1")}
    page = Page(report_of(entry("a", result=1), metrics=metrics).to_html())
    assert page.section("timeline") is None


def test_each_attempt_is_drawn_where_it_was():
    report = Process([Task("bad", divide, args=(1, 0), retries=2, retry_on=(ZeroDivisionError,))]).run()
    page = Page(report.to_html())
    titles = [one.text.rpartition(",")[0] for one in page.section("timeline").all("title")]
    if len(titles) == 1:  # all are so short that they share a bar
        assert titles == ["3 attempts, < 1 ms in all"]
    else:
        assert titles == [
            "bad, attempt 1 of 3: failed, and was retried",
            "bad, attempt 2 of 3: failed, and was retried",
            "bad, attempt 3 of 3: failed",
        ]


def test_the_page_of_a_report_that_was_pickled_is_the_same():
    tasks = [Task("a", int), Task("b", divide, args=(1, 0), dependencies=[TaskDependency("a")])]
    report = Process(tasks).run()
    assert pickle.loads(pickle.dumps(report)).to_html() == report.to_html()


def test_a_channel_can_send_the_page_of_the_part_that_it_gets():
    pages = []

    class Keeper(ReportChannel):
        def send_report(self, report, *, errors_only):
            pages.append(Page(report.to_html()))
            assert json.loads(report.to_chrome_trace())["traceEvents"]

    tasks = [Task("a", int, kwargs={}), Task("b", divide, args=(1, 0), dependencies=[TaskDependency("a")])]
    report = Process(tasks).run()
    report.notify(Keeper(), only_errors=True)
    report.notify(Keeper(), tasks=["a"])
    assert [[row[1] for row in page.rows()[1:]] for page in pages] == [["b"], ["a"]]
    assert [page.section("graph") for page in pages] == [None, None]


def test_a_failures_heading_tells_its_type():
    def several():
        raise ExceptionGroup("some", [ValueError("one")])

    def local():
        class OwnError(Exception):
            pass

        raise OwnError("mine")

    report = Process([Task("several", several), Task("local", local)]).run(runner="sequential")
    failures = Page(report.to_html()).section("failures")
    headings = [summary.text for summary in failures.all("summary")]
    assert "ExceptionGroup: some (1 sub-exception)" in headings[0]
    assert headings[1] == "local OwnError: mine"  # as in the table


def test_secrets_are_redacted_unless_they_are_wanted():
    data = ErrorData(
        "call",
        args=(SECRET, "DE-4711-4711"),
        exception=f"401 for {SECRET}",
        traceback_str=f"Traceback\nValueError: 401 for {SECRET}",
        traced_vars={"token": repr(SECRET), "iban": "'DE-4711-4711'"},
    )
    report = report_of(
        entry("login", result={"token": SECRET}), entry("call", TaskStatus.ERRORED, error=data)
    )
    text = report.to_html()
    assert SECRET not in text
    assert text.count("&lt;redacted&gt;") == 6
    assert "DE-4711-4711" in text
    assert "DE-4711-4711" not in report.to_html(content=ReportContent(redact_names=("iban",)))
    assert SECRET in report.to_html(content=ReportContent(redact=False))
    bare = Page(report.to_html(content=ReportContent(show_traceback=False, show_traced_vars=False)))
    assert not bare.root.all("pre")
    assert not bare.root.all("table", class_="values")


def test_a_secret_that_an_entry_was_given_later_is_redacted():
    report = report_of(entry("call"))
    assert SECRET not in report.to_html()
    report.entries["call"] = entry("call", result=[f"made with {SECRET}"])
    report.entries["call"].kwargs = {"password": SECRET}
    assert SECRET not in report.to_html()


def test_a_content_that_is_none_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(TypeError, match=r"^content must be a ReportContent or None, not "):
        ProcessExecutionReport().to_html(tmp_path / "page.html", content=True)
    assert not list(tmp_path.iterdir())


def test_what_a_browser_would_obey_is_written_out():
    evil = "<script>\x00\x9b\ud800\u202eexe.\u2066</script>"
    data = ErrorData(evil, evil, (evil,), {evil: evil}, [evil], evil, evil, {evil: evil}, evil)
    report = report_of(
        TaskReportEntry(evil, evil, (), {}, TaskStatus.ERRORED, 1.0, 1, None, data),
        entry("good", result=evil),
        process_name=evil,
        runner=evil,
        metrics={evil: TaskMetrics(1.0, 2.0, worker=evil, host=evil)},
        dependencies={"good": (evil,)},
    )
    text = report.to_html()
    assert not set("\x00\x9b\ud800\u202e\u2066") & set(text)
    page = Page(text)
    assert len(page.root.all("script")) == 1
    shown = "<script>\\x00\\x9b\\ud800\\u202eexe.\\u2066</script>"
    assert page.root.all("h1")[0].text == shown
    assert page.rows()[1][1] == shown


# How much it says


def test_the_failures_of_a_large_report_are_bounded():
    report = report_of(*(failed(f"t{number}", exception="x" * 300) for number in range(250)))
    page = Page(report.to_html())
    failures = page.section("failures")
    assert len(failures.all("details", class_="card failure")) == page_module.MAX_FAILURES == 200
    assert failures.all("details", class_="more")[0].all("summary")[0].text == "190 more failures"
    assert sum("open" in one.attributes for one in failures.all("details")) == 1
    assert left_out(failures)[0].startswith("50 failures without details here, to keep this page quick.")
    with_details = [row for row in page.root.all("tr") if row.all("a")]
    assert len(with_details) == 200
    assert len(page.rows()) == 251


def test_the_rows_of_a_very_large_report_are_bounded_and_failures_come_first(monkeypatch):
    monkeypatch.setattr(page_module, "MAX_ROWS", 1_000)
    entries = [entry(f"t{number}", result=number) for number in range(1_050)]
    page = Page(report_of(*entries, failed("bad")).to_html())
    assert len(page.rows()) == 1_001
    assert page.rows()[1][:2] == ["1051", "bad"]
    assert left_out(page.section("tasks"))[0].startswith("51 more tasks not listed, to keep this page quick")


class Slow:
    def __repr__(self):
        time.sleep(0.5)
        return "Slow()"


def test_results_that_take_long_are_left_out_after_a_while(monkeypatch):
    monkeypatch.setattr(page_module, "MAX_SECONDS", 1)
    entries = [entry(f"t{number}", result=Slow()) for number in range(15)]
    page = Page(report_of(*entries).to_html())
    shown = sum(row[-1] == "Slow()" for row in page.rows())
    assert 1 <= shown <= 10
    assert left_out(page.section("tasks"))[0].startswith(f"{15 - shown} results not shown: ")


def test_failures_whose_values_take_long_are_left_out_after_a_while(monkeypatch):
    monkeypatch.setattr(page_module, "MAX_SECONDS", 1)
    report = report_of(*(failed(f"t{number}", args=(Slow(),)) for number in range(15)))
    failures = Page(report.to_html()).section("failures")
    shown = len(failures.all("details", class_="card failure"))
    assert 1 <= shown <= 10
    assert left_out(failures)[0].startswith(f"{15 - shown} failures without details here")


def test_a_value_that_many_failed_tasks_were_given_is_rendered_once(monkeypatch):
    monkeypatch.setattr(page_module, "MAX_SECONDS", 1)
    table = Slow()
    report = report_of(*(failed(f"t{number}", args=(table,)) for number in range(15)))
    assert len(Page(report.to_html()).section("failures").all("details", class_="card failure")) == 15


def test_a_graph_that_nobody_could_read_is_not_drawn():
    names = [f"t{number}" for number in range(302)]
    chain = {name: (before,) for before, name in pairwise(names[:300])}
    drawn = Page(report_of(*map(entry, names), dependencies=chain).to_html()).section("graph")
    assert len(drawn.all("title")) == 300
    assert left_out(drawn) == ["2 tasks without dependencies not drawn."]
    chain["t301"] = ("t5",)
    larger = Page(report_of(*map(entry, names), dependencies=chain).to_html()).section("graph")
    assert not larger.all("svg")
    assert left_out(larger)[0].startswith("301 tasks with 300 dependencies are too many for a drawing")
    tangled = {name: tuple(names[:place]) for place, name in enumerate(names[:40]) if place}
    section = Page(report_of(*map(entry, names), dependencies=tangled).to_html()).section("graph")
    assert left_out(section)[0].startswith("40 tasks with 780 dependencies are too many")


def test_a_line_goes_straight_through_the_layers_that_it_passes():
    needed = {"b": ("a",), "c": ("b",), "d": ("a", "c")}
    graph = Page(report_of(*map(entry, "abcd"), dependencies=needed).to_html()).section("graph")
    lines = ["".join(filter(str.isupper, one.attributes["d"])) for one in graph.all("path")]
    assert sorted(lines) == ["MC", "MC", "MC", "MCHCHC"]


def test_attempts_that_are_too_short_for_bars_share_them():
    metrics = {f"t{number}": ran(number / 1_000, number / 1_000 + 0.0009) for number in range(1_500)}
    entries = [failed(name) if name == "t3" else entry(name) for name in metrics]
    timeline = Page(report_of(*entries, metrics=metrics).to_html()).section("timeline")
    titles = [one.text for one in timeline.all("title")]
    assert len(titles) <= 500
    assert sum(int(title.split()[0]) for title in titles) == 1_500
    assert sum("failed" in title for title in titles) == 1
    assert len(timeline.all("rect", class_="errored")) == 1
    assert left_out(timeline)[0].startswith("Attempts that took less than 0.2 % of the time share a bar")
    assert [one.text for one in timeline.all("tbody")[0].all("td")[1:]] == ["1,500", "90 %"]


def test_a_worker_counts_that_ran_only_what_was_attempted_again():
    calls, release = [], threading.Event()

    def late_once() -> None:
        calls.append(1)
        if len(calls) == 1:
            release.wait(60)

    report = Process([Task("late", late_once, timeout=0.05, retries=1)]).run(runner="thread", max_workers=1)
    release.set()
    page = Page(report.to_html())
    assert len(page.section("timeline").all("tbody")[0].all("tr")) == 2
    facts = page.root.all("dl", class_="facts")[0]
    told = dict(
        zip([one.text for one in facts.all("dt")], [one.text for one in facts.all("dd")], strict=True)
    )
    assert told["workers"] == "2"


def test_workers_that_are_not_drawn_are_counted():
    metrics = {f"t{number}": ran(0, 1, f"process-{number}") for number in range(70)}
    timeline = Page(report_of(*map(entry, metrics), metrics=metrics).to_html()).section("timeline")
    assert len(timeline.all("tbody")[0].all("tr")) == 64
    assert left_out(timeline)[0].startswith("6 more workers not drawn")


@pytest.mark.parametrize(
    ("whole", "texts"),
    [
        (2e-5, ["0 µs", "5 µs", "10 µs", "15 µs", "20 µs"]),
        (0.35, ["0 ms", "50 ms", "100 ms", "150 ms", "200 ms", "250 ms", "300 ms", "350 ms"]),
        (2.5, ["0 s", "0.5 s", "1 s", "1.5 s", "2 s", "2.5 s"]),
        (3_600, ["0 min", "10 min", "20 min", "30 min", "40 min", "50 min", "60 min"]),
        (86_400, ["0 h", "5 h", "10 h", "15 h", "20 h"]),
    ],
)
def test_the_time_axis_has_round_times(whole, texts):
    ticks = page_module._ticks(whole)
    assert [text for _, text in ticks] == texts
    assert all(0 <= x <= 100.0001 for x, _ in ticks)


# The drawing of the graph


graphs = st.integers(1, 25).flatmap(
    lambda count: st.tuples(
        *(st.lists(st.integers(0, max(node - 1, 0)), unique=True, max_size=4) for node in range(count))
    )
)


@pytest.mark.once
@steadily
@given(graphs)
def test_in_a_drawing_nothing_overlaps_and_lines_lead_to_the_right(drawn):
    dependencies = [[other for other in needed if other < node] for node, needed in enumerate(drawn)]
    widths = [40.0 + node for node in range(len(dependencies))]
    layout = lay_out(dependencies, widths)
    layers = layers_of(dependencies)
    assert all(layers[other] < layers[node] for node, needed in enumerate(dependencies) for other in needed)
    boxes = [(left, top, left + width, top + NODE_HEIGHT) for left, top, width in layout.nodes]
    assert all(width >= wanted for (_, _, width), wanted in zip(layout.nodes, widths, strict=True))
    assert all(
        left >= 0 and top >= -1e-6 and right <= layout.width and bottom <= layout.height + 1e-6
        for left, top, right, bottom in boxes
    )
    for place, one in enumerate(boxes):
        for other in boxes[:place]:
            apart = one[0] >= other[2] or other[0] >= one[2]
            assert apart or one[1] >= other[3] - 1e-6 or other[1] >= one[3] - 1e-6
    lines = {(source, target) for source, target, _ in layout.lines}
    assert lines == {(other, node) for node, needed in enumerate(dependencies) for other in needed}
    columns = defaultdict(list)
    for source, target, points in layout.lines:
        assert points[0][0] == boxes[source][2]
        assert points[-1][0] == boxes[target][0]
        assert all(x < next_x for (x, _), (next_x, _) in pairwise(points))
        for (left, y), (_, same_y) in zip(points[1:-1:2], points[2:-1:2], strict=True):
            assert y == same_y  # straight through a layer, and beside its nodes
            columns[left].append(y)
    for left, top, _, bottom in boxes:
        assert all(y <= top - BEND_HEIGHT or y >= bottom + BEND_HEIGHT for y in columns[left])


def test_a_chain_is_drawn_straight_and_what_is_needed_late_stands_near():
    layout = lay_out([[], [0], [1], [], [2, 3]], [10.0] * 5)
    assert layers_of([[], [0], [1], [], [2, 3]]) == [0, 1, 2, 2, 3]
    assert len({round(top, 3) for _, top, _ in layout.nodes[:3]}) == 1


def test_nothing_is_drawn_of_nothing():
    assert lay_out([], []).nodes == []
