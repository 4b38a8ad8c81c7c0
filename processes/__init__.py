"""Runs a graph of plain Python functions, with one and the same report on every runner.

List `Task`s, give them to a `Process`, and run it: ``Process(tasks).run(runner="process")`` returns a
`ProcessExecutionReport`. Names are imported when they are first used, so that ``import processes`` is
cheap; worker processes import this package too.
"""

from __future__ import annotations

from importlib import import_module

from . import clock as _clock  # noqa: F401 - before anybody stops the time

__version__ = "1.0.0.dev0"

# Without `bool`, editors that ask Jedi take what it guards for code that never runs, and complete none of it.
TYPE_CHECKING: bool = False  # typing is not imported: it would be the costliest part of a worker's start
if TYPE_CHECKING:
    from typing import Any

    from .comms import (
        DiscordChannel,
        EmailChannel,
        HTMLEmailStyle,
        ReportChannel,
        ReportContent,
        SlackChannel,
        SMTPConfig,
        TeamsChannel,
        WebhookChannel,
        WebhookConfig,
        render_report_html,
    )
    from .error_data import ErrorData
    from .events import (
        Event,
        Observer,
        RunFinished,
        RunStarted,
        TaskFinished,
        TaskRetried,
        TaskStarted,
    )
    from .exceptions import (
        CircularDependencyError,
        DependencyNotFoundError,
        MemoryLimitError,
        ProcessesError,
        SerializationError,
        TaskNotFoundError,
        WorkerDiedError,
    )
    from .execution_report import ProcessExecutionReport, TaskReportEntry
    from .measurements import TaskMetrics
    from .process import Process
    from .retry import exponential_backoff
    from .runners.base import ProcessRunner
    from .runners.dask.runner import DaskRunner
    from .runners.executor import ExecutorRunner
    from .runners.pool.runner import ProcessPoolRunner
    from .runners.sequential import SequentialRunner
    from .runners.thread import ThreadRunner
    from .task import Task
    from .task_types import TaskDependency, TaskResult, TaskStatus, results_of

_MODULES = {
    "comms": (
        "DiscordChannel",
        "EmailChannel",
        "HTMLEmailStyle",
        "ReportChannel",
        "ReportContent",
        "SMTPConfig",
        "SlackChannel",
        "TeamsChannel",
        "WebhookChannel",
        "WebhookConfig",
        "render_report_html",
    ),
    "error_data": ("ErrorData",),
    "events": (
        "Event",
        "Observer",
        "RunFinished",
        "RunStarted",
        "TaskFinished",
        "TaskRetried",
        "TaskStarted",
    ),
    "exceptions": (
        "CircularDependencyError",
        "DependencyNotFoundError",
        "MemoryLimitError",
        "ProcessesError",
        "SerializationError",
        "TaskNotFoundError",
        "WorkerDiedError",
    ),
    "execution_report": ("ProcessExecutionReport", "TaskReportEntry"),
    "measurements": ("TaskMetrics",),
    "process": ("Process",),
    "retry": ("exponential_backoff",),
    "runners.base": ("ProcessRunner",),
    "runners.dask.runner": ("DaskRunner",),
    "runners.executor": ("ExecutorRunner",),
    "runners.pool.runner": ("ProcessPoolRunner",),
    "runners.sequential": ("SequentialRunner",),
    "runners.thread": ("ThreadRunner",),
    "task": ("Task",),
    "task_types": ("TaskDependency", "TaskResult", "TaskStatus", "results_of"),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "CircularDependencyError",
    "DaskRunner",
    "DependencyNotFoundError",
    "DiscordChannel",
    "EmailChannel",
    "ErrorData",
    "Event",
    "ExecutorRunner",
    "HTMLEmailStyle",
    "MemoryLimitError",
    "Observer",
    "Process",
    "ProcessExecutionReport",
    "ProcessPoolRunner",
    "ProcessRunner",
    "ProcessesError",
    "ReportChannel",
    "ReportContent",
    "RunFinished",
    "RunStarted",
    "SMTPConfig",
    "SequentialRunner",
    "SerializationError",
    "SlackChannel",
    "Task",
    "TaskDependency",
    "TaskFinished",
    "TaskMetrics",
    "TaskNotFoundError",
    "TaskReportEntry",
    "TaskResult",
    "TaskRetried",
    "TaskStarted",
    "TaskStatus",
    "TeamsChannel",
    "ThreadRunner",
    "WebhookChannel",
    "WebhookConfig",
    "WorkerDiedError",
    "exponential_backoff",
    "render_report_html",
    "results_of",
]


if not TYPE_CHECKING:  # else type checkers would take any name for one that there is

    def __getattr__(name: str) -> Any:
        module = _MODULE_OF.get(name)
        if module is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(f".{module}", __name__), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
