"""One task by itself, with the results that a process already has for its dependencies."""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING, Any

from .events import TaskFinished
from .exceptions import DependencyNotFoundError, ProcessesError
from .failed_task import errored_result
from .failure import describe_failure
from .graph import Graph, bind, what_is_passed
from .observers.log_files import LogFiles
from .runners.sequential import SequentialRunner
from .scheduler import Scheduler

if TYPE_CHECKING:
    from .process import Process
    from .task import Task
    from .task_types import TaskDependency, TaskResult


def run_task(task: Task, process: Process | None) -> TaskResult:
    """Run one task here and now; see :meth:`processes.Task.run`."""
    downstream: list[str] = []
    alone = copy(task)
    alone.dependencies = []
    alone.resources = {}  # there is nobody to share with
    if task.has_logger:
        alone._logger = task.logger  # noqa: SLF001 - the copy would make another one
    graph = Graph([alone])
    log_files = LogFiles(graph)
    try:
        if process is not None:
            downstream = [below.name for below in process.get_dependant_tasks(task.name)]
        alone.args, alone.kwargs = _arguments_from(process, task)
    except ProcessesError as error:
        # Its frames are ours, and tell nothing of the task.
        failure = describe_failure(error.with_traceback(None))
        result = errored_result(alone.name, task.func, task.args, task.kwargs, error, failure, downstream)
        log_files(TaskFinished(alone.name, result))
        return result
    scheduler = Scheduler(graph, SequentialRunner(), recorders=[log_files], downstream=lambda _: downstream)
    scheduler.run()
    return scheduler.results[alone.name]


def _arguments_from(process: Process | None, task: Task) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Put the results of a task's dependencies behind its own arguments."""
    values = [_result_for(task, dependency, process) for dependency in task.dependencies]
    return bind(task.args, task.kwargs, what_is_passed(task.dependencies), values)


def _result_for(task: Task, dependency: TaskDependency, process: Process | None) -> Any:
    """Return what a process's latest run has for a dependency; an error tells why it has nothing."""
    name = dependency.task_name.lower()
    need = f"Task {task.name!r} needs the result of {name!r}, which"
    result = None if process is None else process.runner.results.get(name)
    if process is None or result is None or not result.worked:
        state = "unknown" if result is None else result.status.value
        raise DependencyNotFoundError(f"{need} is {state}; give Task.run a process that has run it")
    is_passed = dependency.use_result_as_additional_args or dependency.use_result_as_additional_kwargs
    if is_passed and not process.get_task(name).keep_result:
        raise DependencyNotFoundError(f"{need} was not kept; give {name!r} keep_result=True")
    return result.result
