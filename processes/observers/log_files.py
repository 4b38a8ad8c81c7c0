"""Writes the story of each task to its log file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..events import TaskFinished, TaskRetried, TaskStarted
from ..interrupt import is_of_signal
from ..task_log import log_failed, log_finished, log_retry, log_started, log_taken_over, warn
from ..task_types import TaskStatus

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..events import Event
    from ..task import Task


class LogFiles:
    """Logs the start, the retries and the end of each task through the task's own logger.

    What the program's own handlers and filters raise is told by one warning, and logging goes on: later tasks
    shall not lack their lines in their files.

    Parameters
    ----------
    tasks : iterable of Task
        The tasks of the run.
    """

    def __init__(self, tasks: Iterable[Task]) -> None:
        self._tasks = {task.name: task for task in tasks}
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
            case TaskStarted(name, attempt):
                if attempt == 1:
                    log_started(self._tasks[name])
            case TaskRetried(name, attempt, exception, delay):
                log_retry(self._tasks[name], attempt, exception, delay)
            case TaskFinished(name, _, True):
                log_taken_over(self._tasks[name])
            case TaskFinished(name, result):
                if result.status is TaskStatus.SUCCESS:
                    log_finished(self._tasks[name])
                elif result.error_data is not None:
                    log_failed(self._tasks[name], result.error_data)

    def _warn(self, error: Exception) -> None:
        from ..failure import bounded_repr

        if self._has_warned:
            return
        self._has_warned = True
        warn(f"A log handler or filter raised {bounded_repr(error)} on a task's start, retry or end")
