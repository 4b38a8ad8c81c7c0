"""The exceptions of this package, as one tree.

::

    ProcessesError
    ├── CircularDependencyError     (ValueError)   tasks that wait for each other
    ├── DependencyNotFoundError     (ValueError)   a dependency that is no task of the process
    ├── TaskNotFoundError           (ValueError)   a name that is no task of the process
    ├── SerializationError                         a value that cannot travel to or from a worker
    ├── WorkerDiedError                            a worker process that ended under a task
    ├── MemoryLimitError                           a task that took more memory than its worker may
    ├── StandInError                               in place of an exception that cannot travel
    └── WebhookError                               a webhook that did not take the report

The first three are raised by what builds, changes or asks a process. The next four are how a task failed:
they stand in its result and never leave :meth:`processes.Process.run`, but for a SerializationError of a
runner's initializer. The last one is of :mod:`processes.comms.transport`, since workers import this module.
"""

from __future__ import annotations

TYPE_CHECKING: bool = False  # typing is not imported: it would be the costliest part of a worker's start
if TYPE_CHECKING:
    from collections.abc import Callable


class ProcessesError(Exception):
    """The base of all errors of this package."""


class CircularDependencyError(ProcessesError, ValueError):
    """Tasks depend on each other in a circle, or one on itself."""


class DependencyNotFoundError(ProcessesError, ValueError):
    """A task depends on a name that no task of the process has."""


class TaskNotFoundError(ProcessesError, ValueError):
    """No task of the process has this name.

    Parameters
    ----------
    message : str
        What happened.
    hint : callable
        Gives the end of the text, when somebody asks for that: a search for the nearest of thousands of names
        takes milliseconds, and a program may add each task that it does not find.
    """

    def __init__(self, message: str = "", hint: Callable[[], str] = str) -> None:
        super().__init__(message)
        self._hint = hint

    def __str__(self) -> str:
        return f"{super().__str__()}{self._hint()}"

    def __reduce__(self) -> tuple[type[TaskNotFoundError], tuple[str]]:
        return type(self), (str(self),)


class SerializationError(ProcessesError):
    """An argument or a result cannot be serialized, so it cannot travel between processes.

    Parameters
    ----------
    message : str
        What happened and what to do.
    task_name : str
        The task that the value belongs to.
    path : str
        Where the culprit stands, as in ``kwargs['cfg'].lock``.
    type_name : str
        The culprit's type, as in ``_thread.lock``; the attribute is `type`.
    """

    def __init__(
        self, message: str = "", *, task_name: str = "?", path: str = "", type_name: str = ""
    ) -> None:
        super().__init__(message)
        self.task_name = task_name
        self.path = path
        self.type = type_name


class WorkerDiedError(ProcessesError):
    """The worker process that ran a task ended before the task did.

    Parameters
    ----------
    message : str
        What happened and what to do.
    task_name : str
        The task that was running.
    signal : str or None
        The name of the signal that ended the worker, as in ``SIGSEGV``; None if it exited.
    exitcode : int or None
        The worker's exit code; None if a signal ended it, or if nobody knows.
    pid : int or None
        The worker's process id.
    peak_rss : int or None
        The most resident memory that the worker had, in bytes, as far as it is known.
    python_stack : str
        What faulthandler wrote on a fatal signal; empty after SIGKILL and after an exit.
    stderr : str
        The end of what the worker wrote to its standard error.
    """

    def __init__(
        self,
        message: str = "",
        *,
        task_name: str = "?",
        signal: str | None = None,
        exitcode: int | None = None,
        pid: int | None = None,
        peak_rss: int | None = None,
        python_stack: str = "",
        stderr: str = "",
    ) -> None:
        super().__init__(message)
        self.task_name = task_name
        self.signal = signal
        self.exitcode = exitcode
        self.pid = pid
        self.peak_rss = peak_rss
        self.python_stack = python_stack
        self.stderr = stderr


class MemoryLimitError(ProcessesError):
    """A task was ended because its worker process had more memory of its own than the runner allows.

    Another attempt would most likely need as much, so ``retry_on=None`` does not retry it.

    Parameters
    ----------
    message : str
        What happened and what to do.
    task_name : str
        The task that was running.
    limit, peak : int
        What the worker may have, and what it was seen to have, in bytes.
    """

    def __init__(self, message: str = "", *, task_name: str = "?", limit: int = 0, peak: int = 0) -> None:
        super().__init__(message)
        self.task_name = task_name
        self.limit = limit
        self.peak = peak


class StandInError(ProcessesError):
    """Stands for an exception that could not travel from its worker.

    The class of such an object is made on the spot: it bears the original's name and derives from this
    class and from the original's nearest builtin base, so that ``retry_on`` and ``except`` still match.
    ``str()`` gives the original's text.
    """
