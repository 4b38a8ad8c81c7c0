"""The report as a table, the graph as a drawing."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from steadiness import characters, steadily

from processes.error_data import ErrorData
from processes.execution_report import ProcessExecutionReport, TaskReportEntry
from processes.graph import Graph
from processes.measurements import TaskMetrics
from processes.process import Process
from processes.rendering.drawing import to_dot, to_mermaid
from processes.task import Task
from processes.task_types import TaskDependency, TaskStatus
from processes.visible import visible

NASTY = [
    'a"b',
    "<b>&amp;",
    "a\\",
    "c:\\new",
    "\U0001f680",
    "#35;",
    "`x`",
    "x-->y",
    "end",
    "1.",
    "\x00\x1b[31m",
    "日本",
    "[bold]",
    "%%{",
]


def entry(name: str, status: TaskStatus = TaskStatus.SUCCESS, **fields: object) -> TaskReportEntry:
    return TaskReportEntry(name, "work", (), {}, status, 1.5, 2, **fields)


def report_of(*entries: TaskReportEntry, **fields: object) -> ProcessExecutionReport:
    return ProcessExecutionReport({one.name: one for one in entries}, "nightly", **fields)


@pytest.fixture
def report() -> ProcessExecutionReport:
    data = ErrorData(
        "bad",
        downstream_impact=["late", "later"],
        exception="boom",
        traced_vars_location="etl.py:12 in parse",
    )
    return report_of(
        entry("good", result=7),
        entry("none", TaskStatus.PENDING),
        entry("late", TaskStatus.SKIPPED),
        entry("bad", TaskStatus.ERRORED, error=data),
        runner="thread",
        elapsed_seconds=2.5,
        metrics={"good": TaskMetrics(worker="thread-1")},
        exceptions={"bad": ValueError("boom")},
    )


def test_a_printed_report_shows_what_needs_attention_first(report):
    assert str(report).splitlines() == [
        "Process 'nightly': 4 tasks, 1 failed, 1 skipped, 1 pending, 1 succeeded, 2.50 s (thread)",
        "Task  Status   Seconds  Attempts  Worker    Function",
        "bad   ERRORED    1.500         2            work",
        "late  SKIPPED    1.500         2            work",
        "none  PENDING    1.500         2            work",
        "good  SUCCESS    1.500         2  thread-1  work",
        "",
        "bad: ValueError: boom",
        "    at etl.py:12 in parse",
        "    skipped for it: late, later",
    ]


def test_columns_of_a_printed_report_stand_below_each_other_whatever_the_width_of_letters():
    names = {
        "\u65e5\u672c": 4,
        "cafe\u0301s": 5,
        "\u0928\u0947": 1,
        "\u1112\u1161\u11ab": 2,  # as macOS has names of Korean files
        "\U0001f468\u200d\U0001f469\u200d\U0001f467": 2,  # a family
        "\u2764\ufe0f": 2,  # a heart
        "\U0001f44d\U0001f3fd": 2,  # a thumb, with a colour
        "\U0001f3f3\ufe0f\u200d\U0001f308": 2,  # a flag
    }
    _, *lines = str(report_of(*map(entry, names))).splitlines()
    assert lines == [
        "Task   Status   Seconds  Attempts  Worker  Function",
        *(
            name + " " * (7 - width) + "SUCCESS    1.500         2          work"
            for name, width in names.items()
        ),
    ]


def test_a_printed_failure_tells_who_has_raised_it_and_which_line_of_the_task_has_led_there(runner):
    def read_number(text):
        return json.loads(text)

    def fail_here():
        raise ValueError("boom")

    tasks = [Task("below", read_number, args=("{",)), Task("here", fail_here)]
    below, here = str(Process(tasks).run(runner=runner)).split("\n\n")[1:]
    assert re.search(
        rf"\n    at .*decoder\.py:\d+ in \w+\n    from {re.escape(__file__)}:\d+ in read_number$", below
    )
    assert re.search(rf"\n    at {re.escape(__file__)}:\d+ in fail_here$", here)


def test_a_console_shows_one_line(report):
    assert repr(report) == (
        "<ProcessExecutionReport: Process 'nightly': 4 tasks, 1 failed, 1 skipped, 1 pending, 1 succeeded, "
        "2.50 s (thread)>"
    )


def test_an_empty_report_is_one_line():
    assert str(ProcessExecutionReport()) == "0 tasks, 0.00 s"
    assert str(ProcessExecutionReport({"a": entry("a")})).splitlines()[0] == "1 task, 1 succeeded, 0.00 s"


def test_a_failure_without_live_exception_shows_its_text():
    report = report_of(entry("bad", TaskStatus.ERRORED, error=ErrorData(exception="boom")))
    assert str(report).splitlines()[-1] == "bad: boom"


def test_a_failure_shows_its_first_notes_with_their_first_and_last_lines():
    error = ValueError("boom")
    stack = "\n".join(f"  line {number}" for number in range(1, 21))
    for note in (f"It stood in\n\n{stack}", "\x1b[31mred", f"b{'x' * 400}e", "a fourth one"):
        error.add_note(note)
    report = report_of(
        entry("bad", TaskStatus.ERRORED, error=ErrorData(exception="boom")), exceptions={"bad": error}
    )
    assert str(report).splitlines()[-14:] == [
        "bad: ValueError: boom",
        "    It stood in",
        *(f"      line {number}" for number in range(1, 6)),
        "      ...",
        *(f"      line {number}" for number in range(17, 21)),
        "    \\x1b[31mred",
        f"    b{'x' * 148}...{'x' * 147}e",
    ]


class Veiled(Exception):
    """An exception with attributes of its own design."""

    __dict__ = property(lambda self: 1 / 0)


def test_an_exception_that_hides_its_notes_shows_none():
    report = report_of(entry("bad", TaskStatus.ERRORED, error=ErrorData()), exceptions={"bad": Veiled()})
    assert str(report).splitlines()[-1] == "bad: Veiled"


class Nameless(type):
    """Makes classes that do not tell their name."""

    @property
    def __name__(cls):
        raise RuntimeError


class NamelessError(Exception, metaclass=Nameless):
    """An exception whose class does not tell its name."""


def test_an_exception_shows_its_type_whatever_its_class_says():
    report = report_of(
        entry("bad", TaskStatus.ERRORED, error=ErrorData()), exceptions={"bad": NamelessError()}
    )
    assert str(report).splitlines()[-1] == "bad: NamelessError"


def test_an_exception_without_text_shows_its_type():
    report = report_of(entry("bad", TaskStatus.ERRORED, error=ErrorData()), exceptions={"bad": KeyError()})
    assert str(report).splitlines()[-1] == "bad: KeyError"


def test_a_report_of_thousands_stays_short():
    entries = [entry(f"t{number}") for number in range(3_000)]
    entries += [entry(f"s{number}", TaskStatus.SKIPPED) for number in range(10)]
    entries += [entry(f"e{number}", TaskStatus.ERRORED, error=ErrorData()) for number in range(30)]
    lines = str(report_of(*entries)).splitlines()
    assert len(lines) < 150
    assert lines[0] == "Process 'nightly': 3040 tasks, 30 failed, 10 skipped, 3000 succeeded, 0.00 s"
    assert "... and 2990 more: 2990 succeeded" in lines
    assert lines[-1] == "... and 10 more failures"
    assert sum("ERRORED" in line for line in lines) == 30


def test_what_a_terminal_would_obey_is_written_out():
    text = "\x1b[2Jtwo\nlines\r" + "x" * 1_000
    report = report_of(
        entry("[bold]\x1b[31m:smile:", TaskStatus.ERRORED, error=ErrorData(exception=text)),
        exceptions={"[bold]\x1b[31m:smile:": ValueError()},
    )
    shown = str(report)
    assert "\x1b" not in shown
    assert "[bold]\\x1b[31m:smile:" in shown
    assert "ValueError: \\x1b[2Jtwo lines xxx" in shown
    assert "..." in shown
    assert max(map(len, shown.splitlines())) < 400


def test_a_long_name_is_shortened_where_its_end_can_still_be_seen():
    shown = str(report_of(*[entry(f"{'x' * 5_000}-{n}") for n in range(2)]))
    assert [line.split()[0] for line in shown.splitlines()[2:]] == [
        f"{'x' * 29}...{'x' * 26}-{n}" for n in range(2)
    ]


class Cells(HTMLParser):
    """Collects the texts of table cells, and all tags."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_a_notebook_shows_a_table(report):
    cells = Cells(report._repr_html_())
    assert set(cells.tags) == {"table", "caption", "thead", "tbody", "tr", "th", "td", "br"}
    assert cells.texts[0].startswith("Process 'nightly': 4 tasks")
    first = cells.texts.index("bad")
    assert cells.texts[first : first + 8] == [
        "bad", "ERRORED", "1.500", "2", "work",
        "ValueError: boom", "at etl.py:12 in parse", "skipped for it: late, later",
    ]  # fmt: skip
    assert cells.tags.count("tr") == 5


def test_what_a_browser_would_obey_is_escaped():
    evil = "<script>alert(1)</script>"
    report = ProcessExecutionReport(
        {
            evil: TaskReportEntry(
                evil, evil, (), {}, TaskStatus.ERRORED, 0.0, 1, None, ErrorData(exception=evil)
            )
        },
        evil,
        runner=evil,
        metrics={evil: TaskMetrics(worker=evil)},
    )
    text = report._repr_html_()
    assert "<script" not in text
    assert text.count(html.escape(evil)) == 6


def test_a_notebook_takes_no_dollars_in_a_table_for_formulas(report):
    # The names that MathJax knows, up to its second version and from its third on.
    assert report._repr_html_().startswith('<table class="tex2jax_ignore mathjax_ignore">')


def test_a_table_of_thousands_stays_short():
    text = report_of(*(entry(f"t{number}") for number in range(3_000)))._repr_html_()
    assert text.count("<tr") == 52
    assert "and 2950 more: 2950 succeeded" in text


# Drawings


def diamond(*names: str) -> Graph:
    top, left, right, bottom = names
    return Graph(
        [
            Task(top, print),
            Task(left, print, dependencies=[TaskDependency(top)]),
            Task(right, print, dependencies=[TaskDependency(top)]),
            Task(bottom, print, dependencies=[TaskDependency(left), TaskDependency(right)]),
        ]
    )


def test_a_graph_is_drawn_for_mermaid():
    assert to_mermaid(diamond("top", "left-1", "right_2", "bottom.3")) == (
        "flowchart TD\n"
        '    t0["top"]\n'
        '    t1["left-1"]\n'
        '    t2["right_2"]\n'
        '    t3["bottom.3"]\n'
        "    t0 --> t1\n"
        "    t0 --> t2\n"
        "    t1 --> t3\n"
        "    t2 --> t3\n"
    )


def test_a_graph_is_drawn_for_graphviz():
    assert to_dot(diamond("top", "left-1", "right_2", "bottom.3")) == (
        "digraph {\n"
        "    node [shape=box]\n"
        '    t0 [label="top"]\n'
        '    t1 [label="left-1"]\n'
        '    t2 [label="right_2"]\n'
        '    t3 [label="bottom.3"]\n'
        "    t0 -> t1\n"
        "    t0 -> t2\n"
        "    t1 -> t3\n"
        "    t2 -> t3\n"
        "}\n"
    )


def test_an_empty_graph_is_drawn():
    assert Process([]).to_mermaid() == "flowchart TD\n"
    assert Process([]).to_dot() == "digraph {\n    node [shape=box]\n}\n"


names = st.text(characters, min_size=1).filter(lambda text: text.split() == [text])


@settings(steadily, max_examples=100)
@given(names)
def test_any_name_is_drawn_as_it_is(name):
    graph = Graph([Task(name, print)])
    (in_mermaid,) = re.findall(r'^    t0\["([^"]*)"\]$', to_mermaid(graph), re.MULTILINE)
    (in_dot,) = re.findall(r'^    t0 \[label="((?:[^"\\]|\\["\\])*)"\]$', to_dot(graph), re.MULTILINE)
    shown = visible(graph.names[0])
    assert re.sub(r"#(\d+);", lambda found: chr(int(found[1])), in_mermaid) == shown
    assert re.sub(r"\\(.)", r"\1", in_dot).replace("&amp;", "&") == shown
    assert not set(in_mermaid) & set("<>\\`&")


@pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed")
def test_graphviz_draws_nasty_names_as_they_are():
    graph = Graph([Task(name, print) for name in NASTY])
    done = subprocess.run(
        ["dot", "-Tsvg"], input=to_dot(graph).encode(), check=True, capture_output=True, timeout=120
    )
    drawn = re.findall(r"<text [^>]*>(.*?)</text>", done.stdout.decode())
    assert sorted(map(html.unescape, drawn)) == sorted(map(visible, graph.names))
