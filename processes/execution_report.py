"""What a run leaves behind: the report, an entry and measurements for each task."""

from __future__ import annotations

import os
from dataclasses import KW_ONLY, dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from .caller import warn_caller
from .collector import collector_paused
from .exceptions import ProcessesError
from .failure import exception_line
from .folders import make_folder_for
from .lazy_mapping import LazyMapping
from .parameters import names_by_task
from .reprs import bounded_dataclass_repr, brief_repr
from .results import ByName, Results
from .task import function_name
from .task_types import TaskResult, TaskStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .comms.base import ReportChannel
    from .comms.content import ReportContent
    from .comms.redaction import Redactor
    from .error_data import ErrorData
    from .graph import Graph, Passed
    from .measurements import TaskMetrics
    from .process import Process
    from .task import Task

HAS_FAILED = " that has failed"
LISTED = 10  # names of failed tasks in the message of an error


@dataclass(slots=True, repr=False)
class TaskReportEntry:
    """What became of one task.

    Parameters
    ----------
    name : str
        The task's name.
    function : str
        The name of the task's function.
    args : tuple
        The positional arguments that the task was made with.
    kwargs : dict of str to object
        The keyword arguments that the task was made with.
    status : TaskStatus
        How the task stands.
    elapsed_seconds : float
        Wall-clock time of all attempts together, in seconds.
    attempts : int
        How many attempts were made; 0 if none could be.
    result : object, optional
        What the function returned; None unless the task succeeded.
    error : ErrorData, optional
        The failure in detail; None unless the task failed.
    """

    name: str
    function: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    status: TaskStatus
    elapsed_seconds: float
    attempts: int
    result: Any | None = None
    error: ErrorData | None = None

    __repr__ = bounded_dataclass_repr


def entry_of(name: str, task: Task, result: TaskResult, function: str) -> TaskReportEntry:
    """Make the entry of a task that ran under `name`, with a function of that name, and ended so."""
    return TaskReportEntry(
        name,
        function,
        task.args,
        task.kwargs,
        result.status,
        result.elapsed_seconds,
        result.attempts,
        result.result,
        result.error_data,
    )


@dataclass(repr=False)
class ProcessExecutionReport:
    """What became of each task of a run. ``print(report)`` shows a table.

    Reports are equal if their names and entries are, with the `elapsed_seconds` of each entry; nothing
    else is compared. Of two runs these differ: compare their `results`.

    Parameters
    ----------
    entries : dict of str to TaskReportEntry, default {}
        The entry of each task, in topological order. Of a run, a KeyError tells the nearest name.
    process_name : str, default ""
        The name of the process.
    runner : str, default ""
        The name of the runner.
    elapsed_seconds : float, default 0.0
        How long the run took on the wall clock, in seconds.
    metrics : mapping of str to TaskMetrics, default {}
        What was measured of each task of which an attempt has ended.
    from_checkpoint : tuple of str, default ()
        The tasks that were not run, as a checkpoint had their results; nothing is measured of these.
    exceptions : dict of str to BaseException, default {}
        The exception of each failed task: of its own type, with traceback, cause and notes.
    dependencies : mapping of str to tuple of str, default {}
        What a task depends on, where it depends on any; pages and traces draw the graph by it.
    passed : mapping of str to tuple or None, default {}
        What of the results of its dependencies a task was passed, as :class:`Graph` has it, where that is
        any; channels learn secrets by it.
    parameters : mapping of str to tuple of str, default {}
        What the function of a task calls its positional arguments, where it has any; channels tell by these
        names which values are secrets.
    bound : mapping of str to object, default {}
        The function of a task, which may be bound to values (a method, a partial, a closure) and name
        globals; channels learn secrets from these. A report that was pickled has lost them.
    whole : ProcessExecutionReport, optional
        The report that this one is a part of, when `notify` filters.
    """

    entries: dict[str, TaskReportEntry] = field(default_factory=dict)
    process_name: str = ""
    _: KW_ONLY
    runner: str = field(default="", compare=False)
    elapsed_seconds: float = field(default=0.0, compare=False)
    metrics: Mapping[str, TaskMetrics] = field(default_factory=dict, compare=False)
    from_checkpoint: tuple[str, ...] = field(default=(), compare=False)
    exceptions: dict[str, BaseException] = field(default_factory=dict, compare=False)
    dependencies: Mapping[str, tuple[str, ...]] = field(default_factory=dict, compare=False)
    passed: Mapping[str, Passed] = field(default_factory=dict, compare=False)
    parameters: Mapping[str, tuple[str, ...]] = field(default_factory=dict, compare=False)
    bound: Mapping[str, object] = field(default_factory=dict, compare=False)
    whole: ProcessExecutionReport | None = field(default=None, compare=False)

    # Made once: a loop that asks for one entry after the other shall not make all of them each time.

    @cached_property
    def successes(self) -> dict[str, TaskReportEntry]:
        """The entries of the tasks that succeeded."""
        return self._with_status(TaskStatus.SUCCESS, " that has succeeded")

    @cached_property
    def errored(self) -> dict[str, TaskReportEntry]:
        """The entries of the tasks that failed."""
        return self._with_status(TaskStatus.ERRORED, HAS_FAILED)

    @cached_property
    def skipped(self) -> dict[str, TaskReportEntry]:
        """The entries of the tasks that were skipped."""
        return self._with_status(TaskStatus.SKIPPED, " that was skipped")

    @cached_property
    def results(self) -> dict[str, Any]:
        """What the tasks that succeeded returned, by name; a KeyError says why another one has none."""
        return Results(self.entries, self.exceptions)

    @cached_property
    def redactors(self) -> dict[tuple[str, ...], Redactor]:
        """What knows the report's secrets, by `redact_names`; channels and pages share it."""
        return {}

    @classmethod
    def from_results(cls, process: Process, results: Mapping[str, TaskResult]) -> ProcessExecutionReport:
        """Make the report of a run.

        Parameters
        ----------
        process : Process
            The process that was run.
        results : mapping of str to TaskResult
            How each task ended; a task that is not in it is PENDING.

        Returns
        -------
        ProcessExecutionReport
            With an entry for each task of the process, in their order.
        """
        return cls.of_graph(process._graph, process.name, results)  # noqa: SLF001

    @classmethod
    def of_graph(
        cls, graph: Graph, process_name: str, results: Mapping[str, TaskResult]
    ) -> ProcessExecutionReport:
        """Make the report of a run of a graph, which may be a process's no more.

        Parameters
        ----------
        graph : Graph
            What was run.
        process_name : str
            The name of the process.
        results : mapping of str to TaskResult
            How each task ended; a task that is not in it is PENDING.
        """
        names, functions = graph.names, [task.func for task in graph.tasks]
        distinct = {id(function): function for function in functions}  # tasks often share one
        function_names = {key: function_name(function) for key, function in distinct.items()}
        pending = TaskResult.pending()
        with collector_paused():
            entries = {
                name: entry_of(name, task, results.get(name, pending), function_names[id(function)])
                for name, task, function in zip(names, graph.tasks, functions, strict=True)
            }
        return cls(
            ByName(entries),
            process_name,
            exceptions=ByName(
                {name: result.exception for name, result in results.items() if result.exception is not None},
                HAS_FAILED,
                graph.index,
            ),
            dependencies=graph.dependency_names(),
            passed=graph.passed_by_name(),
            parameters=LazyMapping(lambda: names_by_task(names, functions)),
            bound=LazyMapping(lambda: dict(zip(names, functions, strict=True))),
        )

    def raise_for_errors(self) -> None:
        """Raise the exceptions of all failed tasks; do nothing if none failed.

        Raises
        ------
        BaseExceptionGroup
            The tasks' own exceptions; an `ExceptionGroup` unless one of them is a `SystemExit` or the
            like. Match them with ``except*``.
        """
        errored = self.errored
        if errored:
            raise BaseExceptionGroup(
                f"{len(errored)} of {len(self.entries)} tasks failed: {_listed(errored)}",
                [
                    self.exceptions[name] if name in self.exceptions else _lost_exception(entry)
                    for name, entry in errored.items()
                ],
            )

    def to_json(
        self, path: str | os.PathLike[str] | None = None, *, indent: int | None = None, **dumps_kwargs: Any
    ) -> str:
        """Give the whole report as JSON text.

        Whatever JSON does not know (values, keys that are no str, cycles, ``nan`` and ``inf``) is rendered by
        `repr`, so this never fails for what a task was given or returned. Lone surrogates, as in names of
        files that are no UTF-8, are spelled out.

        Parameters
        ----------
        path : str or os.PathLike, optional
            A file to write the text to; missing folders are made. None: it is only returned.
        indent : int, optional
            Spaces by which each level is indented; None: all on one line.
        **dumps_kwargs
            Passed on to :func:`json.dumps`.

        Returns
        -------
        str
            An object with ``entries``, ``process_name``, ``runner``, ``elapsed_seconds``, ``metrics`` and
            ``from_checkpoint``.

        Raises
        ------
        TypeError
            If `path` is no path, or `json.dumps` has no such argument.
        OSError
            If the file cannot be written.
        """
        from .rendering.json_text import to_json

        return _written(path, lambda: to_json(self, indent=indent, **dumps_kwargs))

    def to_html(
        self, path: str | os.PathLike[str] | None = None, *, content: ReportContent | None = None
    ) -> str:
        """Give the report as one HTML page, to look at and to pass on.

        It shows totals, failures with tracebacks and variables, a timeline of the workers, the graph and a
        row for each task. The page is complete in itself: it loads nothing, and needs no script but to sort
        and to search. Of a large report it shows a part, and says which. As in what channels send, secrets
        are replaced by ``<redacted>``.

        Parameters
        ----------
        path : str or os.PathLike, optional
            A file to write the page to; missing folders are made. None: it is only returned.
        content : ReportContent, optional
            What to show and what to hide; None: everything but secrets.

        Returns
        -------
        str
            The page.

        Raises
        ------
        TypeError
            If `path` is no path, or `content` no ReportContent.
        OSError
            If the file cannot be written.
        """
        from .rendering.page import to_html

        (self.whole or self).redactors.clear()  # the entries may have been changed since
        return _written(path, lambda: to_html(self, content))

    def to_chrome_trace(self, path: str | os.PathLike[str] | None = None) -> str:
        """Give who ran what, and when, as a trace for ui.perfetto.dev and like viewers.

        Each worker has a row, each attempt is a slice in it, with what was measured, and arrows lead from a
        task to those that depend on it.

        Parameters
        ----------
        path : str or os.PathLike, optional
            A file to write the trace to; missing folders are made. None: it is only returned.

        Returns
        -------
        str
            JSON in the Trace Event Format; times are in microseconds from the first attempt on.

        Raises
        ------
        TypeError
            If `path` is no path.
        OSError
            If the file cannot be written.
        """
        from .rendering.trace import to_chrome_trace

        return _written(path, lambda: to_chrome_trace(self))

    def notify(
        self,
        *channels: ReportChannel,
        only_errors: bool = False,
        tasks: list[str] | None = None,
        show_warnings: bool = True,
    ) -> None:
        """Send the report through each channel, in order.

        A channel that fails does not keep the others from being served. If the filters leave no task,
        nothing is sent.

        Parameters
        ----------
        *channels : ReportChannel
            Where to send it.
        only_errors : bool, default False
            Send the failed tasks only.
        tasks : list of str, optional
            Send the tasks of these names only; case does not matter. None: all.
        show_warnings : bool, default True
            Emit a `UserWarning` for each channel that failed, and for names in `tasks` that the report
            does not have.

        Raises
        ------
        TypeError
            If `tasks` is no list of str, or `send_report` of a channel is a coroutine or generator function.
        """
        from .comms.base import check_sends
        from .interrupt import is_of_signal

        for channel in channels:
            check_sends(channel)
        (self.whole or self).redactors.clear()  # the entries may have been changed since
        wanted = None if tasks is None else _lower_names(tasks)
        entries = self.errored if only_errors else self.entries
        if wanted is not None:
            entries = {name: entry for name, entry in entries.items() if name.lower() in wanted}
        problems = []
        if entries or (wanted is None and not only_errors):
            for channel in channels:
                try:
                    channel.send_report(self._restricted_to(entries), errors_only=only_errors)
                except BaseException as error:  # the other channels shall be served
                    if is_of_signal(error):
                        raise
                    problems.append(_send_problem(channel, error))
        if show_warnings:  # at the end: where warnings are errors, the first one ends this call
            unknown = [] if wanted is None else _unknown_names(wanted, self.entries)
            for problem in unknown + problems:
                warn_caller(problem)

    def __getstate__(self) -> dict[str, Any]:
        from .serialization.exception_state import Carried

        carried = {name: Carried(error) for name, error in self.exceptions.items()}
        # They are made now: what makes them cannot be pickled.
        made = {name: {**getattr(self, name)} for name in ("dependencies", "passed", "parameters")}
        state = {**vars(self), **made, "exceptions": carried, "bound": {}}
        for name in ("results", "redactors"):  # anew when asked for: the first would be a plain dict
            state.pop(name, None)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        from .serialization.exception_state import released

        vars(self).update(state)
        errors = {name: released(error) for name, error in self.exceptions.items()}
        self.exceptions = ByName(errors, HAS_FAILED, frozenset(self.entries))

    def __repr__(self) -> str:
        """Give one line: a console shows it, and the whole of a run may be gigabytes."""
        from .rendering.table import totals

        return f"<{type(self).__name__}: {totals(self)}>"

    def __str__(self) -> str:
        from .rendering.table import to_text

        return to_text(self)

    def _repr_html_(self) -> str:
        """Give what a notebook shows."""
        from .rendering.table import to_html_table

        return to_html_table(self)

    def _with_status(self, status: TaskStatus, which: str) -> dict[str, TaskReportEntry]:
        return ByName(
            ((name, entry) for name, entry in self.entries.items() if entry.status is status),
            which,
            frozenset(self.entries),
        )

    def _restricted_to(self, entries: dict[str, TaskReportEntry]) -> ProcessExecutionReport:
        return replace(
            self,
            entries=dict(entries),
            metrics={name: metrics for name, metrics in self.metrics.items() if name in entries},
            from_checkpoint=tuple(name for name in self.from_checkpoint if name in entries),
            exceptions={name: error for name, error in self.exceptions.items() if name in entries},
            whole=self.whole or self,
        )


def _listed(names: Mapping[str, object]) -> str:
    listed = ", ".join(list(names)[:LISTED])
    return listed if len(names) <= LISTED else f"{listed} and {len(names) - LISTED} more"


def _lost_exception(entry: TaskReportEntry) -> BaseException:
    """Stand in for an exception that a report, made by hand, does not have."""
    text = entry.error.exception if entry.error is not None else ""
    return ProcessesError(f"Task {entry.name!r} failed: {text or 'no exception was kept'}")


def _lower_names(names: list[str]) -> set[str]:
    if not isinstance(names, (list, tuple, set, frozenset)) or not all(
        isinstance(name, str) for name in names
    ):
        raise TypeError(f"tasks must be a list of task names or None, not {brief_repr(names)}")
    return {name.lower() for name in names}


def _unknown_names(wanted: set[str], entries: Mapping[str, object]) -> list[str]:
    from .graph import unknown_task

    known = [name.lower() for name in entries]
    return [unknown_task(name, known) for name in sorted(wanted.difference(known))]


def _send_problem(channel: object, error: BaseException) -> str:
    from .visible import visible

    if isinstance(channel, type) or not hasattr(channel, "send_report"):
        problem = f"{brief_repr(channel)} is no ReportChannel object: write report.notify(one, two)"
    else:  # visible: a server's answer may be part of it
        problem = f"{type(channel).__name__} could not send the report ({visible(exception_line(error))})"
    return f"{problem}; the other channels were served"


def _written(path: str | os.PathLike[str] | None, render: Callable[[], str]) -> str:
    """Render a text, and write it to a file if there is a path; a wrong one is refused first."""
    if path is None:
        return render()
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"path must be str, os.PathLike or None, not {brief_repr(path)}")
    from pathlib import Path

    file, text = Path(path), render()
    make_folder_for(file)
    file.write_text(text, encoding="utf-8", errors="backslashreplace")  # lone surrogates, as JSON spells them
    return text
