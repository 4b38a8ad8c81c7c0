"""Writes the story of each task to its log file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..events import TaskFinished, TaskRetried, TaskStarted
from ..task_log import log_failed, log_finished, log_retry, log_started
from ..task_types import TaskStatus

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..events import Event
    from ..task import Task


class LogFiles:
    """Logs the start, the retries and the end of each task through the task's own logger.

    Parameters
    ----------
    tasks : iterable of Task
        The tasks of the run.
    """

    def __init__(self, tasks: Iterable[Task]) -> None:
        self._tasks = {task.name: task for task in tasks}

    def __call__(self, event: Event) -> None:
        """Log what the event tells."""
        match event:
            case TaskStarted(name, attempt):
                if attempt == 1:
                    log_started(self._tasks[name])
            case TaskRetried(name, attempt, exception, delay):
                log_retry(self._tasks[name], attempt, exception, delay)
            case TaskFinished(name, result):
                if result.status is TaskStatus.SUCCESS:
                    log_finished(self._tasks[name])
                elif result.error_data is not None:
                    log_failed(self._tasks[name], result.error_data)
            case _:
                pass
