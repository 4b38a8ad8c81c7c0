"""A report as a table: plain text for ``print``, HTML for notebooks."""

from __future__ import annotations

import re
from collections import Counter
from html import escape
from typing import TYPE_CHECKING
from unicodedata import category, east_asian_width, normalize

from ..failure import beginning_of, notes_of
from ..results import failure_line
from ..task_types import TaskStatus
from ..visible import visible

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from ..execution_report import ProcessExecutionReport, TaskReportEntry

SHOWN_TASKS = 50  # more rows than that nobody reads in a terminal
SHOWN_FAILURES = 20
SHOWN_NOTES = 3
FIRST_LINES, LAST_LINES = 6, 4  # of a note: stacks stand in some, and begin or end where it happened
NAME_CHARACTERS = 60
MESSAGE_CHARACTERS = 300

COLUMNS = ("Task", "Status", "Seconds", "Attempts", "Worker", "Function")
NUMBERS = ("Seconds", "Attempts")
_WITHOUT_WIDTH = ("Mn", "Me", "Cf")  # categories of characters that stand on others, or only control them
_JOINED = re.compile("\u200d.|[\U0001f3fb-\U0001f3ff]")  # what is drawn as a part of the emoji before it
_AS_EMOJI = re.compile(".\ufe0f")  # what else is a letter
WORDS = {
    TaskStatus.ERRORED: "failed",
    TaskStatus.SKIPPED: "skipped",
    TaskStatus.PENDING: "pending",
    TaskStatus.SUCCESS: "succeeded",
}  # in the order in which they are shown: what needs attention comes first


def to_text(report: ProcessExecutionReport, *, only_unsuccessful: bool = False) -> str:
    """Render a report as a table, with what went wrong below it; ASCII but for the user's own words."""
    entries = in_order_of_attention(report)
    if only_unsuccessful:
        entries = [entry for entry in entries if entry.status is not TaskStatus.SUCCESS]
    lines = [totals(report)]
    if entries:
        rows = [COLUMNS, *(_cells(report, entry) for entry in entries[:SHOWN_TASKS])]
        lines += aligned(rows, [COLUMNS.index(column) for column in NUMBERS])
    if hidden := entries[SHOWN_TASKS:]:
        lines.append(f"... and {len(hidden)} more: {_counts(hidden)}")
    lines += _failures(report)
    return "\n".join(lines)


def aligned(rows: Sequence[tuple[str, ...]], numbers: Collection[int] = ()) -> list[str]:
    """Put cells into lines such that those of a column stand below each other; these to the right."""
    widths = [max(map(width_of, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = []
        for column, (cell, width) in enumerate(zip(row, widths, strict=True)):
            space = " " * (width - width_of(cell))
            cells.append(space + cell if column in numbers else cell + space)
        lines.append("  ".join(cells).rstrip())
    return lines


def width_of(text: str) -> int:
    """Return how many letters' width a text takes in a monospaced font."""
    if text.isascii():
        return len(text)
    composed = normalize("NFC", text)  # as macOS takes Korean names apart into wide and narrow parts
    return sum(
        0 if category(character) in _WITHOUT_WIDTH else 2 if east_asian_width(character) in "WF" else 1
        for character in _AS_EMOJI.sub("\N{GRINNING FACE}", _JOINED.sub("", composed))
    )


def to_html_table(report: ProcessExecutionReport) -> str:
    """Render a report as a small HTML table."""
    entries = in_order_of_attention(report)
    columns = (*COLUMNS, "Error")
    styles = [f'style="text-align: {"right" if column in NUMBERS else "left"}"' for column in columns]
    header = "".join(
        f'<th scope="col" {style}>{column}</th>' for column, style in zip(columns, styles, strict=True)
    )
    rows = []
    for entry in entries[:SHOWN_TASKS]:
        error = _failure(report, entry) if entry.status is TaskStatus.ERRORED else []
        texts = [*map(escape, _cells(report, entry)), "<br>".join(map(escape, error))]
        cells = "".join(f"<td {style}>{text}</td>" for text, style in zip(texts, styles, strict=True))
        weight = "bold" if entry.status is TaskStatus.ERRORED else "normal"
        rows.append(f'<tr style="font-weight: {weight}">{cells}</tr>')
    if hidden := entries[SHOWN_TASKS:]:
        text = f"and {len(hidden)} more: {_counts(hidden)}"
        rows.append(f'<tr><td colspan="{len(columns)}" {styles[0]}>{text}</td></tr>')
    return (
        # MathJax, in a notebook, would set what stands between two dollars as a formula.
        f'<table class="tex2jax_ignore mathjax_ignore"><caption>{escape(totals(report))}</caption>'
        f"<thead><tr>{header}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    )


def in_order_of_attention(report: ProcessExecutionReport) -> list[TaskReportEntry]:
    """Return the entries, those first that need attention."""
    order = list(WORDS)
    return sorted(report.entries.values(), key=lambda entry: order.index(entry.status))


def _cells(report: ProcessExecutionReport, entry: TaskReportEntry) -> tuple[str, ...]:
    metrics = report.metrics.get(entry.name)
    worker = "checkpoint" if entry.name in report.from_checkpoint else ""
    if metrics is not None:
        worker = on_one_line(metrics.worker, NAME_CHARACTERS)
    return (
        on_one_line(entry.name, NAME_CHARACTERS),
        entry.status.name,
        f"{entry.elapsed_seconds:.3f}",
        str(entry.attempts),
        worker,
        on_one_line(entry.function, NAME_CHARACTERS),
    )


def totals(report: ProcessExecutionReport) -> str:
    """Tell in one line how a run ended."""
    entries = list(report.entries.values())
    name = f"Process {report.process_name!r}: " if report.process_name else ""
    tasks = "1 task" if len(entries) == 1 else f"{len(entries)} tasks"
    counts = f", {_counts(entries)}" if entries else ""
    if report.from_checkpoint:
        counts += f" ({len(report.from_checkpoint)} from the checkpoint)"
    runner = f" ({visible(report.runner)})" if report.runner else ""
    return f"{name}{tasks}{counts}, {report.elapsed_seconds:.2f} s{runner}"


def _counts(entries: list[TaskReportEntry]) -> str:
    counts = Counter(entry.status for entry in entries)
    return ", ".join(f"{counts[status]} {word}" for status, word in WORDS.items() if counts[status])


def _failures(report: ProcessExecutionReport) -> list[str]:
    errored = list(report.errored.values())
    lines = []
    for entry in errored[:SHOWN_FAILURES]:
        message, *details = _failure(report, entry)
        lines += ["", f"{on_one_line(entry.name, NAME_CHARACTERS)}: {message}"]
        lines += [f"    {detail}" for detail in details]
    if len(errored) > SHOWN_FAILURES:
        lines += ["", f"... and {len(errored) - SHOWN_FAILURES} more failures"]
    return lines


def _failure(report: ProcessExecutionReport, entry: TaskReportEntry) -> list[str]:
    """Tell in a few lines why a task failed, where, and what was skipped for it."""
    exception, beginning = report.exceptions.get(entry.name), ""
    lines = [on_one_line(failure_line(entry, exception), MESSAGE_CHARACTERS)]
    if exception is not None:
        beginning = beginning_of(exception)
        for note in notes_of(exception)[:SHOWN_NOTES]:
            lines += _note_lines(note)
    if entry.error is not None and (location := entry.error.traced_vars_location):
        lines.append(f"at {on_one_line(location, MESSAGE_CHARACTERS)}")
        if beginning not in ("", location):  # most often it is a library that raises
            lines.append(f"from {on_one_line(beginning, MESSAGE_CHARACTERS)}")
    if entry.error is not None and entry.error.downstream_impact:
        skipped = ", ".join(entry.error.downstream_impact)
        lines.append(f"skipped for it: {on_one_line(skipped, MESSAGE_CHARACTERS)}")
    return lines


def _note_lines(note: str) -> list[str]:
    """Shorten a note; its lines stay lines."""
    lines = [line for line in note.splitlines() if line.strip()] or [""]
    if len(lines) > FIRST_LINES + LAST_LINES:
        lines[FIRST_LINES:-LAST_LINES] = ["..."]
    first, *others = [on_one_line(line, MESSAGE_CHARACTERS) for line in lines]
    return [first, *(f"  {line}" for line in others)]


def on_one_line(text: str, room: int) -> str:
    """Shorten a text, and write out what a terminal would take as a command.

    The middle goes: what a program has written last tells why it failed, and numbers stand behind names.
    """
    if len(text) > 4 * room:
        text = f"{text[: 2 * room]} ... {text[-2 * room :]}"
    text = visible(" ".join(text.split()))
    half = (room - 3) // 2
    return text if len(text) <= room else f"{text[: room - 3 - half]}...{text[-half:]}"
