"""What channels show of a task: plain texts, without secrets and not too long."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..parameters import named_arguments
from ..reprs import bounded_repr
from ..results import failure_line
from ..visible import visible
from .redaction import Redactor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from ..error_data import ErrorData
    from ..execution_report import ProcessExecutionReport, TaskReportEntry
    from .content import ReportContent

MAX_RESULT = 2_000  # characters, as the next three
MAX_MESSAGE = 4_000
MAX_TRACEBACK = 20_000  # some 250 lines; what is worth reading stands at the two ends
MAX_VARIABLE = 2_000
MAX_VARIABLES = 100  # of one task
MIN_TEXT = 200  # characters that are shown of each text in any case
MIN_VARIABLES = 5

_LEFT_OUT_BEFORE = re.compile(r"… (\d{1,18}) more (characters|bytes|items)")  # by `failure`


@dataclass(frozen=True, slots=True)
class Limits:
    """How much of one task is shown, in characters where nothing else is said.

    Parameters
    ----------
    result, message, traceback, variable : int
        Of each one.
    variables : int
        How many variables and arguments.
    left_out : str
        Says that ``{count}`` characters were left out.
    number : callable
        Spells a number.
    """

    result: int = MAX_RESULT
    message: int = MAX_MESSAGE
    traceback: int = MAX_TRACEBACK
    variable: int = MAX_VARIABLE
    variables: int = MAX_VARIABLES
    left_out: str = "… {count} more characters"
    number: Callable[[int], str] = str

    def divided(self, by: int) -> Limits:
        """Return limits for where there is less room; results stay as they are."""
        return replace(
            self,
            message=max(MIN_TEXT, self.message // by),
            traceback=max(MIN_TEXT, self.traceback // by),
            variable=max(MIN_TEXT, self.variable // by),
            variables=max(MIN_VARIABLES, self.variables // by),
        )


@dataclass(frozen=True, slots=True)
class ErrorView:
    """Why a task failed; what the channel's content does not want is None.

    `exception` is the exception's text, `headline` has its type before it, if that is known.
    """

    exception: str
    headline: str
    downstream_impact: list[str]
    arguments: dict[str, str] | None
    traceback: str | None
    traced_vars: dict[str, str] | None
    traced_vars_location: str | None


@dataclass(frozen=True, slots=True)
class TaskView:
    """How a task ended; `result` is None unless it succeeded, `error` unless it failed."""

    name: str
    status: str
    function: str
    elapsed_seconds: float
    attempts: int
    result: str | None
    error: ErrorView | None


class Viewer:
    """Makes the views of one report's tasks."""

    def __init__(self, report: ProcessExecutionReport, content: ReportContent, limits: Limits) -> None:
        self._content = content
        self._limits = limits
        self._redactor = Redactor.for_report(report, content)
        self._parameters: Mapping[str, Sequence[str]] = report.parameters
        self._exceptions = report.exceptions
        # By name, id and room, with the value itself: many tasks may have been given one table.
        self._rendered: dict[tuple[str, int, int], tuple[object, str]] = {}

    def task(self, entry: TaskReportEntry, *, with_error: bool = True) -> TaskView:
        """Return the view of one task; without `error` where that is not wanted."""
        return TaskView(
            visible(entry.name),
            entry.status.value,
            visible(entry.function),
            entry.elapsed_seconds,
            entry.attempts,
            self.result(entry),
            self._error(entry) if with_error and entry.error is not None else None,
        )

    def failures(self, failed: Iterable[TaskReportEntry], *, room: int) -> list[TaskView]:
        """Return the views of as many failures as there is room for, in characters; at least one."""
        views: list[TaskView] = []
        for entry in failed:
            view = self.task(entry)
            room -= _size(view)
            if room < 0 and views:
                break
            views.append(view)
        return views

    def result(self, entry: TaskReportEntry) -> str | None:
        """Return what a task returned; None unless it succeeded."""
        succeeded = entry.status.value == "success"
        return self._value("", entry.result, self._limits.result) if succeeded else None

    def headline(self, entry: TaskReportEntry, room: int) -> str:
        """Return a failed task's exception in about `room` characters, with its type if that is known."""
        text = failure_line(entry, self._exceptions.get(entry.name))
        return self._shortened(self._redactor.text(text), room)

    def _error(self, entry: TaskReportEntry) -> ErrorView:
        error = entry.error
        assert error is not None
        limits, redactor, content = self._limits, self._redactor, self._content
        arguments = variables = location = traceback = None
        if content.show_traced_vars:
            arguments = self._arguments(error, self._parameters.get(entry.name, ()))
            variables = {
                visible(name): self._shortened(redactor.variable(name, text), limits.variable)
                for name, text in list(error.traced_vars.items())[: limits.variables]
            }
            if len(error.traced_vars) > limits.variables:
                variables["…"] = f"+ {len(error.traced_vars) - limits.variables}"
            location = self._shortened(redactor.text(error.traced_vars_location), limits.message)
        if content.show_traceback:
            traceback = self._shortened(redactor.traceback(error.traceback_str), limits.traceback)
        return ErrorView(
            self._shortened(redactor.text(error.exception), limits.message),
            self.headline(entry, limits.message),
            [visible(name) for name in error.downstream_impact],
            arguments,
            traceback,
            variables,
            location,
        )

    def _arguments(self, error: ErrorData, names: Sequence[str]) -> dict[str, str]:
        named = [*named_arguments(names, error.args), *error.kwargs.items()]
        shown: dict[str, str] = {}
        for index, (name, value) in enumerate(named[: self._limits.variables]):
            label = visible(name) if name and name not in shown else f"args[{index}]"
            shown[label] = self._value(name, value, self._limits.variable)
        if len(named) > self._limits.variables:
            shown["…"] = f"+ {len(named) - self._limits.variables}"
        return shown

    def _value(self, name: str, value: object, room: int) -> str:
        key = (name, id(value), room)
        if key not in self._rendered:
            self._rendered[key] = value, self._render(name, value, room)
        return self._rendered[key][1]

    def _render(self, name: str, value: object, room: int) -> str:
        # Rendered with more room than there is: a secret at its end is to be seen whole.
        rendered = room + 2_000
        text = bounded_repr(self._redactor.value(value, name, rendered // 2), rendered)  # "1," is two
        return self._shortened(self._redactor.text(text.replace("'<redacted>'", "<redacted>")), room)

    def _shortened(self, text: str, room: int) -> str:
        """Cut the middle out of a text that is too long, at line ends; both ends say the most."""
        text = visible(text)
        if len(text) <= room:
            return text
        if "\n" not in text:
            return text[:room] + self._left_out(text[room:])
        head, tail = text[: room // 3], text[-(room - room // 3) :]
        if "\n" in head and "\n" in tail:
            head, tail = head[: head.rindex("\n")], tail[tail.index("\n") + 1 :]
        return f"{head}\n{self._left_out(text[len(head) : len(text) - len(tail)])} …\n{tail}"

    def _left_out(self, text: str) -> str:
        """Say how many characters are left out with a part of a text, and were when that was rendered."""
        count, is_all = len(text), True
        for before in _LEFT_OUT_BEFORE.finditer(text):
            count += int(before[1]) - len(before[0])
            is_all = is_all and before[2] == "characters"
        number = self._limits.number(count)
        return self._limits.left_out.format(count=number if is_all else f"> {number}")


def _size(view: TaskView) -> int:
    error = view.error
    assert error is not None
    values = {**(error.arguments or {}), **(error.traced_vars or {})}
    return len(error.exception) + len(error.traceback or "") + sum(map(len, values.values()))
