"""`Process`: what users hold."""

from __future__ import annotations

import queue
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Self

from .checks import check_bool, check_plain, did_you_mean
from .comms.after_run import Notifier
from .durations import expected_durations
from .events import TaskFinished
from .exceptions import TaskNotFoundError
from .execution_report import ProcessExecutionReport, TaskReportEntry, entry_of
from .forks import fork_safe_lock
from .graph import Draft, Graph, unknown_task
from .observers.log_files import LogFiles
from .reprs import brief_repr, type_name
from .runners import choose_runner
from .scheduler import Scheduler
from .stream import Stream
from .task import Task, check_resources, check_task, function_name
from .task_log import anyone_hears
from .task_types import TaskDependency, TaskResult

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping
    from types import TracebackType

    from .comms.base import ReportChannel
    from .events import Event, Observer
    from .runners.base import ProcessRunner

_changing = fork_safe_lock()  # guards what processes are made of: of two changes at a time one would be lost


class Process:
    """Tasks that depend on each other, checked and put in order, ready to run.

    Parameters
    ----------
    tasks : list of Task
        The tasks, in any order. The list is sorted in place: a task comes after all it depends on. The
        process keeps a list of its own.
    name : str, default ""
        A name for people; the report shows it.
    runner : str or ProcessRunner, optional
        What runs the tasks unless :meth:`run` is told otherwise: ``"sequential"``, ``"thread"``,
        ``"process"``, ``"dask"``, or a runner.

    Attributes
    ----------
    tasks : list of Task
        The tasks in topological order. To change them, use :meth:`add_task` and :meth:`remove_task`: where
        the list itself was changed, these and runs refuse.
    name : str
        As given.
    runner : ProcessRunner
        The runner of the latest run; its `results` hold the TaskResult of each task (PENDING before
        the first run, and after a task or dependency was added or removed).
    report : ProcessExecutionReport or None
        The report of the latest run, also of one that Ctrl-C ended; None before the end of the first.

    Raises
    ------
    TypeError
        If `tasks` is no list of Task, `name` no str, or `runner` neither str nor ProcessRunner.
    ValueError
        If two tasks have the same name, or no runner has the name `runner`.
    DependencyNotFoundError
        If a task depends on one that is not in `tasks`.
    CircularDependencyError
        If tasks depend on each other in a circle.

    Examples
    --------
    >>> from processes import Process, Task, results_of
    >>> load = Task("load", lambda: [3, 1, 2])
    >>> order = Task("order", sorted, dependencies=results_of("load"))
    >>> Process([order, load]).run().results["order"]
    [1, 2, 3]
    """

    def __init__(
        self, tasks: list[Task], name: str = "", *, runner: str | ProcessRunner | None = None
    ) -> None:
        if not isinstance(tasks, list):
            raise _no_tasks(tasks)
        for task in tasks:
            if not isinstance(task, Task):
                raise _no_task(task)
        if not isinstance(name, str):
            raise _no_name(name)
        self.name = name
        self.report: ProcessExecutionReport | None = None
        self._configured_runner = runner
        self._draft: Draft | None = None  # what was changed since the graph was made
        self._replace_graph(Graph(tasks))
        tasks[:] = self.tasks

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> Literal[False]:
        """Close the tasks' log handlers; errors pass through."""
        self.close_loggers()
        return False

    @property
    def tasks(self) -> list[Task]:
        """The tasks in topological order."""
        return self._in_order()[0]

    @property
    def runner(self) -> ProcessRunner:
        """The runner of the latest run."""
        self._in_order()
        return self._runner

    @property
    def _graph(self) -> Graph:
        return self._in_order()[1]

    def __repr__(self) -> str:
        return f"<Process {self.name!r}: {len(self._members().index)} tasks>"

    def __getstate__(self) -> dict[str, Any]:
        # A copy, here or in a worker, is what the process is made of, and has not run: a run's runner holds
        # locks and descriptors, its report all results.
        tasks, graph = self._in_order()
        fresh = {"report": None, "_draft": None, "_runner": self._fresh_runner(graph)}
        return {**vars(self), "_made": ([*tasks], graph), **fresh}

    # The graph

    def get_task(self, task_name: str) -> Task:
        """Return the task with a name, in O(1).

        Parameters
        ----------
        task_name : str
            The name; case does not matter.

        Raises
        ------
        TypeError
            If `task_name` is no str.
        TaskNotFoundError
            If no task has this name.
        """
        members = self._members()
        return members.tasks[_index_of(task_name, members)]

    def get_dependant_tasks(self, task_name: str) -> list[Task]:
        """Return all tasks that depend on one, directly or not, in topological order.

        Parameters
        ----------
        task_name : str
            The name; case does not matter.

        Raises
        ------
        TypeError
            If `task_name` is no str.
        TaskNotFoundError
            If no task has this name.
        """
        graph = self._graph
        return [graph.tasks[below] for below in graph.descendants(_index_of(task_name, graph))]

    def critical_path(self) -> list[str]:
        """Return the names along the longest chain of tasks, from its first to its last."""
        graph = self._graph
        return [graph.names[task] for task in graph.critical_path()]

    def dry_run(self, checkpoint: str | os.PathLike[str]) -> dict[str, str]:
        """Tell which tasks a run with a checkpoint would run, and why; none of them is run.

        Parameters
        ----------
        checkpoint : str or os.PathLike
            The file, as for :meth:`run`. It need not be there, and is not made.

        Returns
        -------
        dict of str to str
            By name, in topological order, why a task would run. Tasks whose saved results would be taken are
            not in it.

        Raises
        ------
        TypeError, ValueError, OSError
            As :meth:`run` has them for `checkpoint`.

        Examples
        --------
        >>> from processes import Process, Task
        >>> Process([Task("load", sum, args=([1, 2],))]).dry_run("run.ckpt")
        {'load': 'no result of it is saved'}
        """
        from .checkpoints.observer import why_tasks_run

        return why_tasks_run(checkpoint, self._checked_graph())

    def to_mermaid(self) -> str:
        """Draw the graph as Mermaid text, which GitHub and many notebooks show as a picture."""
        from .rendering.drawing import to_mermaid

        return to_mermaid(self._graph)

    def to_dot(self) -> str:
        """Draw the graph as text in Graphviz's DOT language."""
        from .rendering.drawing import to_dot

        return to_dot(self._graph)

    def add_task(self, task: Task) -> None:
        """Add a task; a rejected one leaves the process as it was.

        Parameters
        ----------
        task : Task
            The new task; it may depend on tasks of the process.

        Raises
        ------
        TypeError
            If it is no Task.
        ValueError
            If a task of the same name exists.
        DependencyNotFoundError, CircularDependencyError
            If the graph would not hold.
        """
        if not isinstance(task, Task):
            raise _no_task(task, "add what is in it one by one")
        with _changing:
            self._begun_draft().add(task)

    def remove_task(self, task_name: str) -> None:
        """Remove a task on which no other depends, and close its log handlers.

        Parameters
        ----------
        task_name : str
            The name; case does not matter.

        Raises
        ------
        TypeError
            If `task_name` is no str.
        TaskNotFoundError
            If no task has this name.
        ValueError
            If other tasks depend on it.
        """
        with _changing:
            draft = self._begun_draft()
            _index_of(task_name, draft)  # raises if there is no such task
            task = draft.remove(task_name.lower())
        task.close_handlers()

    def add_task_dependency(self, task_name: str, dependency: TaskDependency) -> None:
        """Let a task depend on another; a rejected dependency leaves the process as it was.

        Parameters
        ----------
        task_name : str
            The task that gets the dependency; case does not matter. Its `dependencies` become a
            new list; other tasks that were made with the same one keep theirs.
        dependency : TaskDependency
            What it shall depend on.

        Raises
        ------
        TypeError
            If `dependency` is no TaskDependency, or `task_name` no str.
        TaskNotFoundError
            If no task has the name `task_name`.
        ValueError
            If the task depends on it already.
        DependencyNotFoundError, CircularDependencyError
            If the graph would not hold.
        """
        if not isinstance(dependency, TaskDependency):
            raise _no_dependency(dependency)
        with _changing:
            draft = self._begun_draft()
            index = _index_of(task_name, draft)
            task = draft.tasks[index]
            before = task.dependencies
            task.dependencies = [*before, dependency]  # other tasks may have been made with the same list
            try:
                if (graph := draft.read_again(index)) is not None:
                    self._replace_graph(graph)
            except BaseException:
                task.dependencies = before
                raise

    def close_loggers(self) -> None:
        """Close the log handlers of all tasks."""
        for task in self.tasks:
            task.close_handlers()

    # Running

    def run(
        self,
        parallel: bool | None = None,
        max_workers: int | None = None,
        *,
        runner: str | ProcessRunner | None = None,
        progress: bool = False,
        observers: Iterable[Observer] = (),
        resources: Mapping[str, float] | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
        fail_fast: bool = False,
        capture_output: bool = False,
        notify: Iterable[ReportChannel] = (),
        notify_on: str = "always",
        durations: ProcessExecutionReport | Mapping[str, float] | None = None,
    ) -> ProcessExecutionReport:
        """Run all tasks, each as soon as what it depends on has succeeded.

        A task that fails costs only the tasks that depend on it: these are skipped. Nothing is raised for
        that: the report tells of it, and its `raise_for_errors` raises. Each call starts afresh, and several
        runs of one process may go on at the same time.

        Parameters
        ----------
        parallel : bool, optional
            True runs on threads, False sequentially; a `runner` that contradicts it is refused. None, with no
            `runner` given here or to the constructor, means threads from 10 tasks on.
        max_workers : int, optional
            How many attempts run at a time: 4 threads by default, and as many processes as this process
            may use processors. Below 1 counts as 1, which with ``parallel=True`` means sequentially. It
            belongs to a runner named by a str; a runner instance has its own. Alone it chooses no runner.
        runner : str or ProcessRunner, optional
            ``"sequential"``, ``"thread"``, ``"process"``, ``"dask"``, or a runner; it wins over the
            constructor's.
        progress : bool, default False
            Show the progress on standard error.
        observers : iterable of Observer, default ()
            Each is called with every event of the run; see :mod:`processes.events`.
        resources : mapping of str to number, optional
            How much there is of what tasks name in their own `resources`.
        checkpoint : str or os.PathLike, optional
            The file that each result is saved to as soon as a task succeeds. What a run with the same file
            has saved before is taken from there, and those tasks do not run; see the guide's chapter on
            checkpoints for when a task counts as the same. Missing folders are made. Read only files that you
            trust: the results in them are pickles.
        fail_fast : bool, default False
            End the run at the first failure; tasks without result stay PENDING.
        capture_output : bool, default False
            What a task prints goes to its log file, line by line, instead of where it always goes; of a task
            without one nothing is captured. In worker processes that is all that is written to standard
            output and standard error, also by C code and child processes; elsewhere what the function's
            thread writes to `sys.stdout` and `sys.stderr`.
        notify : iterable of ReportChannel, default ()
            Where the report is sent at the end, also at that of a run that Ctrl-C ends.
        notify_on : {"always", "error"}, default "always"
            Whether the report is sent in any case, or only if a task has failed.
        durations : ProcessExecutionReport or mapping of str to number, optional
            How long tasks are expected to take: an earlier run's report, or seconds by task name. Names of
            other tasks are passed over; if a mapping has no others, a warning says so. Of the tasks that are
            ready, the one at the head of the longest chain then starts first; without it, chains are counted
            in tasks.

        Returns
        -------
        ProcessExecutionReport
            An entry a task, in topological order.

        Raises
        ------
        TypeError, ValueError
            If an argument, or what an attribute of a task was changed to, is of the wrong type or value, the
            list `tasks` was changed, or `checkpoint` is a file of another kind, before anything runs.
        OSError
            If the file `checkpoint` cannot be opened, before anything runs; a BlockingIOError if another run
            has it.
        KeyboardInterrupt
            On Ctrl-C in the main thread; `report` holds what was finished.
        """
        notifier = Notifier(notify, notify_on)
        try:
            scheduler = self._schedule(
                self._checked_graph(),
                parallel=parallel,
                max_workers=max_workers,
                runner=runner,
                progress=progress,
                observers=observers,
                resources=resources,
                checkpoint=checkpoint,
                fail_fast=fail_fast,
                capture_output=capture_output,
                durations=durations,
            )
        except KeyboardInterrupt:  # which may strike while modules are imported
            self.report = ProcessExecutionReport.from_results(self, {})
            raise
        try:
            scheduler.run()
            report = _report_of(self, scheduler)
        except KeyboardInterrupt:
            notifier.send(_report_of(self, scheduler), interrupted=True)
            raise
        except BaseException:  # of a signal's handler, say: the report is there all the same
            _report_of(self, scheduler)
            raise
        notifier.send(report)
        return report

    def stream(
        self,
        parallel: bool | None = None,
        max_workers: int | None = None,
        *,
        runner: str | ProcessRunner | None = None,
        progress: bool = False,
        observers: Iterable[Observer] = (),
        resources: Mapping[str, float] | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
        fail_fast: bool = False,
        capture_output: bool = False,
        notify: Iterable[ReportChannel] = (),
        notify_on: str = "always",
        durations: ProcessExecutionReport | Mapping[str, float] | None = None,
    ) -> Stream:
        """Run all tasks in a thread of its own, and give each one's entry as it ends.

        Parameters are those of :meth:`run`.

        Returns
        -------
        Stream
            An iterator of TaskReportEntry; its `report` is there at the end. Use it in a ``with``
            statement: to leave its block cancels what is left, and sends the report. Without one, the run
            goes on when the loop is left, for as long as anything refers to the stream.

        Examples
        --------
        >>> from processes import Process, Task
        >>> for entry in Process([Task("one", abs, args=(-1,))]).stream():
        ...     print(entry.name, entry.result)
        one 1
        """
        notifier = Notifier(notify, notify_on)
        entries: queue.SimpleQueue[TaskReportEntry | None] = queue.SimpleQueue()
        graph = self._checked_graph()

        def put_entry(event: Event) -> None:
            if isinstance(event, TaskFinished):
                task = graph.tasks[graph.index[event.name]]
                result = scheduler.opened_result(event.name)
                entries.put(entry_of(event.name, task, result, function_name(task.func)))

        scheduler = self._schedule(
            graph,
            parallel=parallel,
            max_workers=max_workers,
            runner=runner,
            progress=progress,
            observers=observers,
            resources=resources,
            checkpoint=checkpoint,
            fail_fast=fail_fast,
            capture_output=capture_output,
            durations=durations,
            recorders=(put_entry,),
        )
        return Stream(scheduler, entries, partial(_report_of, self, scheduler), notifier)

    # Inner parts

    def _schedule(
        self,
        graph: Graph,
        *,
        parallel: bool | None,
        max_workers: int | None,
        runner: str | ProcessRunner | None,
        progress: bool,
        observers: Iterable[Observer],
        resources: Mapping[str, float] | None,
        checkpoint: str | os.PathLike[str] | None,
        fail_fast: bool,
        capture_output: bool,
        durations: object,
        recorders: tuple[Observer, ...] = (),
    ) -> Scheduler:
        """Check the tasks and the arguments of a run and make all that it needs."""
        for name, task in zip(graph.names, graph.tasks, strict=True):
            try:
                check_task(task)
            except (TypeError, ValueError) as error:
                error.add_note(f"An attribute of task {name!r} was changed to this.")
                raise
        configured = choose_runner(
            self._configured_runner if runner is None else runner, parallel, max_workers, len(graph.tasks)
        )
        check_bool("progress", progress)
        check_bool("fail_fast", fail_fast)
        check_bool("capture_output", capture_output)
        observers = _check_observers(observers)
        log_files = LogFiles(graph) if anyone_hears(graph.tasks) else None
        if log_files is not None:
            recorders = (log_files, *recorders)
        has_line = False
        if progress:
            from .observers.progress import Progress

            shown = Progress()
            has_line = shown.can_redraw
            recorders = (*recorders, shown)
        scheduler = Scheduler(
            graph,
            configured,
            process_name=self.name,
            observers=observers,
            recorders=recorders,
            resources=_check_resources(resources, graph.tasks),
            fail_fast=fail_fast,
            captures_output=capture_output,
            durations=expected_durations(durations, graph.names),
            has_line=has_line,
        )
        if checkpoint is not None:
            from .checkpoints.observer import Checkpoint

            saver = Checkpoint(checkpoint, graph, lambda: scheduler.returned)
            scheduler.begin_with(saver.saved, saver)
            if log_files is not None:
                log_files.why_again = saver.why_again
        self._runner = scheduler.runner
        return scheduler

    def _checked_graph(self) -> Graph:
        """Return the graph; refuse where `tasks` is not what it was made of any more."""
        tasks, graph = self._in_order()
        if tasks != graph.tasks:
            raise ValueError(
                f"The list of tasks of {self!r} was changed, which does not change the process: use "
                "add_task and remove_task, or make a new Process of the list"
            )
        return graph

    def _replace_graph(self, graph: Graph) -> None:
        self._made = ([*graph.tasks], graph)
        self._draft = None
        self._runner = self._fresh_runner(graph)

    def _fresh_runner(self, graph: Graph) -> ProcessRunner:
        """Make what `runner` is before the first run."""
        runner = choose_runner(self._configured_runner, None, None, len(graph.tasks)).for_run()
        runner.results = dict.fromkeys(graph.names, TaskResult.pending())
        return runner

    def _begun_draft(self) -> Draft:
        """Return what changes are made to until somebody asks for the graph, since that costs O(V + E)."""
        if self._draft is None:
            self._draft = Draft(self._checked_graph())
        return self._draft

    def _members(self) -> Graph | Draft:
        return self._draft or self._made[1]

    def _in_order(self) -> tuple[list[Task], Graph]:
        """Return the list of tasks and the graph as they are after all changes."""
        if self._draft is not None:
            with _changing:
                if self._draft is not None:
                    self._replace_graph(Graph.of_draft(self._draft))
        return self._made  # at once: another thread may replace them


def _report_of(process: Process, scheduler: Scheduler) -> ProcessExecutionReport:
    """Make the report of a process's run that has ended, and keep it as its `report`."""
    # Of the graph that was run: the process may have been changed meanwhile.
    report = ProcessExecutionReport.of_graph(scheduler.graph, scheduler.process_name, scheduler.results)
    report.runner = scheduler.runner.name
    report.elapsed_seconds = scheduler.elapsed_seconds
    report.metrics = scheduler.metrics
    report.from_checkpoint = scheduler.taken_over
    process.report = report
    return report


def _index_of(task_name: str, members: Graph | Draft) -> int:
    if not isinstance(task_name, str):
        raise _no_task_name(task_name)
    index = members.index.get(task_name.lower())
    if index is None:
        hint = partial(did_you_mean, task_name, members.index)
        raise TaskNotFoundError(unknown_task(task_name, ()), hint)
    return index


def _no_tasks(tasks: object) -> TypeError:
    hint = "Process(list(tasks))"
    match tasks:
        case Task():
            hint = "Process([…])"
        case str():
            hint = f"Process([…], {brief_repr(tasks)})"
        case dict():
            hint = "Process(list(tasks.values()))"
    return TypeError(f"tasks must be list, not {type_name(tasks)}: write {hint}")


def _no_name(name: object) -> TypeError:
    from .runners.base import ProcessRunner

    shown = brief_repr(name)
    if isinstance(name, ProcessRunner):
        shown = f"{type_name(name)}: write Process([…], runner={type_name(name)}(…))"
    return TypeError(f"name must be str, not {shown}")


def _no_task(task: object, of_list: str = "take the tasks out of it, as in [*tasks, other]") -> TypeError:
    hint = ""
    if isinstance(task, (list, tuple)):
        hint = f": {of_list}"
    elif callable(task):
        hint = ": write Task('name', function)"
    return TypeError(f"tasks must be Task objects, not {brief_repr(task)}{hint}")


def _no_task_name(task_name: object) -> TypeError:
    hint = f": write its name, {brief_repr(task_name.name)}" if isinstance(task_name, Task) else ""
    return TypeError(f"task_name must be str, not {brief_repr(task_name)}{hint}")


def _no_dependency(dependency: object) -> TypeError:
    hint = "name the task, as in TaskDependency('load')"
    if isinstance(dependency, list):
        hint = "results_of makes a list: add what is in it one by one"
    return TypeError(f"dependency must be of type TaskDependency, not {brief_repr(dependency)}: {hint}")


def _check_observers(observers: Iterable[Observer]) -> list[Observer]:
    if not isinstance(observers, Iterable):
        raise TypeError(
            f"observers must be a list of callables, not {brief_repr(observers)}: write observers=[…]"
        )
    found = list(observers)
    for observer in found:
        if not callable(observer):
            raise TypeError(f"an observer must be callable with an event, not {brief_repr(observer)}")
        check_plain(f"observer {function_name(observer)}", observer)
    return found


def _check_resources(resources: Mapping[str, float] | None, tasks: list[Task]) -> Mapping[str, float]:
    """Refuse amounts that are no numbers, and a run that lacks what one of its tasks needs."""
    available = check_resources(resources)
    for task in [task for task in tasks if task.resources]:
        for name, amount in task.resources.items():
            if amount > available.get(name, 0):
                raise ValueError(
                    f"Task {task.name!r} needs {amount!r} of the resource {name!r}, and the run has "
                    f"{available.get(name, 0)!r}; pass run(resources={{{name!r}: …}}), "
                    f"or --resource {name}=… on the command line"
                )
    return available
