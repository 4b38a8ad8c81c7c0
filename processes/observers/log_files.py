"""Writes the story of each task to its log file."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from ..caller import warn
from ..events import TaskFinished, TaskRetried, TaskStarted
from ..failure import exception_line, traceback_of
from ..interrupt import is_of_signal
from ..reprs import bounded_repr
from ..task_log import PARENT, TASK_CONTEXT

if TYPE_CHECKING:
    from ..error_data import ErrorData
    from ..events import Event
    from ..graph import Graph
    from ..task import Task


class LogFiles:
    """Logs the start, the retries and the end of each task through the task's own logger.

    What the program's own handlers and filters raise is told by one warning, and logging goes on: later tasks
    shall not lack their lines in their files.

    Attributes
    ----------
    why_again : dict of str to str
        By name, why tasks run that an earlier run has saved.
    """

    def __init__(self, graph: Graph) -> None:
        self.why_again: dict[str, str] = {}
        self._tasks = dict(zip(graph.names, graph.tasks, strict=True))
        self._has_warned = False

    def __call__(self, event: Event) -> None:
        """Log what the event tells."""
        try:
            self._log(event)
        except Exception as error:
            if is_of_signal(error):
                raise
            self._warn(error)

    def _log(self, event: Event) -> None:
        match event:
            case TaskStarted(name, 1):
                if name in self.why_again:
                    _log_step(self._tasks[name], "Starting %s again: %s.", name, self.why_again[name])
                else:
                    _log_step(self._tasks[name], "Starting %s.", name)
            case TaskRetried(name, attempt, exception, delay):
                _log_retry(self._tasks[name], name, attempt, exception, delay)
            case TaskFinished(name, _, True):
                _log_step(self._tasks[name], "Took the result of %s from the checkpoint.", name)
            case TaskFinished(name, result):
                if result.worked:
                    _log_step(self._tasks[name], "Finished %s.", name)
                elif result.error_data is not None:
                    _log_failure(self._tasks[name], result.error_data, result.exception)

    def _warn(self, error: Exception) -> None:
        if not self._has_warned:
            self._has_warned = True
            warn(f"A log handler or filter raised {bounded_repr(error)} on a task's start, retry or end")


def _log_step(task: Task, message: str, *args: str) -> None:
    if _is_heard(task, logging.INFO):
        task.logger.info(message, *args)


def _log_retry(task: Task, name: str, attempt: int, exception: BaseException, delay: float) -> None:
    """Log, in one line, that an attempt failed and another one follows after `delay` seconds."""
    if _is_heard(task, logging.WARNING):
        task.logger.warning(
            "Attempt %d of %s failed (%s); attempt %d follows in %g s.",
            attempt,
            name,
            " ".join(exception_line(exception).split()),
            attempt + 1,
            delay,
        )


def _log_failure(task: Task, error_data: ErrorData, exception: BaseException | None) -> None:
    """Log that a task has failed, and all that is known of it; the record carries `task_context`.

    What does more with failures than to write them down, as Sentry does, finds the exception in the record.
    """
    if not _is_heard(task, logging.ERROR):
        return
    lines = [
        f"  function: {error_data.function}",
        f"  args: {bounded_repr(error_data.args)}",
        f"  kwargs: {bounded_repr(error_data.kwargs)}",
        f"  downstream impact: {', '.join(error_data.downstream_impact) or 'none'}",
        f"  traced variables: {error_data.traced_vars_location or 'none'}",
        *[f"    {name} = {value}" for name, value in error_data.traced_vars.items()],
    ]
    task.logger.error(
        "Failed %s: %s\n%s",
        error_data.task_name,
        error_data.exception,
        "\n".join(lines),
        exc_info=None if exception is None else (type(exception), exception, traceback_of(exception)),
        extra={TASK_CONTEXT: dict(vars(error_data))},
    )


def _is_heard(task: Task, level: int) -> bool:
    # Most tasks have no logger, and most programs listen to nothing below WARNING: then none is made.
    return task.has_logger or PARENT.isEnabledFor(level)
