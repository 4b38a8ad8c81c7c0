"""`Task`: a function, what it is called with, and what it needs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from math import inf
from sys import float_info
from typing import TYPE_CHECKING, Any

from .checks import check_retries, is_int, is_number, no_bool
from .exceptions import CircularDependencyError
from .forks import fork_safe_lock
from .reprs import brief_repr, name_of_class, type_name
from .task_log import TaskLogger, create_log_file
from .task_types import TaskDependency

if TYPE_CHECKING:
    from collections.abc import Callable

    from .process import Process
    from .runners.base import ProcessRunner
    from .task_types import TaskResult

_making_logger = fork_safe_lock()  # guards the loggers that tasks get when they are first asked for


class Task:
    """A function to call, with its arguments and with the tasks whose results it needs.

    Parameters
    ----------
    name : str
        Names the task within its process. Kept in lower case; white space is not allowed.
    func : callable
        What the task calls: a function, method, `functools.partial`, callable object or coroutine function.
    log_path : str or os.PathLike, optional
        The file that the task's log records are appended to; tasks may share one. Missing folders are
        made. None: no file.
    args : tuple, default ()
        Positional arguments.
    kwargs : dict of str to object, optional
        Keyword arguments; None means none.
    dependencies : list of TaskDependency, optional
        The tasks that must succeed first, with what is passed of their results (see
        :func:`processes.results_of`); None means none.
    traced_vars_frame_filter : str, optional
        When the task fails, the variables of the innermost frame whose file or function has this text in
        its name are kept. None, or no such frame: of the innermost frame of all.
    timeout : float, optional
        Seconds that each attempt may take; a `TimeoutError` ends it then. None: no limit.
    retries : int, default 0
        How often a failed task is attempted again at most, after exceptions of `retry_on`; None is 0.
    retry_on : tuple of Exception subclasses, optional
        The exceptions after which it is attempted again. None: ConnectionError, TimeoutError (the time
        limit's too) and WorkerDiedError.
    retry_delay : float or callable, default 0.0
        Seconds to wait before another attempt, or a function that gives them for the number of the
        attempt that failed (the first is 1), as :func:`processes.exponential_backoff` makes one.
    runner : str or ProcessRunner, optional
        What runs this task, whatever runs the others; by a name that is the run's own runner's, that one.
        None: what runs the process.
    priority : int, default 0
        Among the tasks that can start, those of higher priority start first; and what the first of them lacks
        of `resources` is not given to tasks of lower priority.
    resources : mapping of str to float, optional
        How much the task takes, while it runs, of what :meth:`processes.Process.run` is given as
        `resources`; None means nothing.
    keep_result : bool, default True
        Whether the report shows the result. False drops it as soon as the last dependant has it. On processes
        a large result (128 KB or more) for one dependant without retries is then not copied where both run in
        the same worker one after the other: the function gets the very object that the other has returned, as
        it would on threads. Should that worker die in between, the dependant fails with a WorkerDiedError.

    Attributes
    ----------
    logger : logging.Logger
        The task's logger, named ``processes.<task name>``. It writes to the log file, if there is one, and
        passes records on to the handlers of the logger ``processes`` and its parents.

    Raises
    ------
    TypeError
        If an argument is of the wrong type.
    ValueError
        If a name is empty or has white space in it, a dependency stands there twice, a keyword argument
        is given twice, or a number is out of its range.
    CircularDependencyError
        If the task depends on itself.
    OSError
        If the log file cannot be written.

    Examples
    --------
    >>> from processes import results_of
    >>> load = Task("load", lambda: [3, 1, 2])
    >>> Task("order", sorted, dependencies=results_of("load"), timeout=5)
    Task(name='order', func=sorted, dependencies=['load'])
    """

    _log_folder: str = ""  # from which a relative `log_path` is one: today's, for copies too

    def __init__(
        self,
        name: str,
        func: Callable[..., Any],
        log_path: str | os.PathLike[str] | None = None,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
        dependencies: list[TaskDependency] | None = None,
        traced_vars_frame_filter: str | None = None,
        timeout: float | None = None,
        retries: int | None = 0,
        retry_on: tuple[type[Exception], ...] | None = None,
        *,
        retry_delay: float | Callable[[int], float] = 0.0,
        runner: str | ProcessRunner | None = None,
        priority: int = 0,
        resources: Mapping[str, float] | None = None,
        keep_result: bool = True,
    ) -> None:
        self.name: str = checked_name(name)
        self.func = func
        self.log_path = log_path
        self.args = args
        self.kwargs: dict[str, Any] = {} if kwargs is None else kwargs
        self.dependencies: list[TaskDependency] = [] if dependencies is None else dependencies
        self.traced_vars_frame_filter = traced_vars_frame_filter
        self.timeout = timeout
        self.retries: int = 0 if retries is None else retries
        self.retry_on = retry_on
        self.retry_delay = retry_delay
        self.runner = runner
        self.priority = priority
        self.resources: Mapping[str, float] = {} if resources is None else resources
        self.keep_result = keep_result
        check_task(self)
        if dependencies is not None:
            check_dependencies(self.name, dependencies, self.kwargs)
        if log_path is not None:
            try:
                create_log_file(log_path)  # what cannot be written fails here, and not in the middle of a run
            except OSError as error:
                error.add_note(f"This is the log_path of task {name!r}.")
                raise
            if not os.path.isabs(log_path):
                self._log_folder = os.getcwd()
        # Most tasks have no file, and never need a logger.
        self._logger = None if log_path is None else self._new_logger()

    @property
    def logger(self) -> TaskLogger:
        """The task's logger; without a log file, it is made when it is first asked for."""
        if self._logger is None:
            with _making_logger:
                if self._logger is None:
                    self._logger = self._new_logger()
        return self._logger

    def _new_logger(self) -> TaskLogger:
        path = self.log_path
        return TaskLogger(self.name, None if path is None else os.path.join(self._log_folder, path))

    @property
    def has_logger(self) -> bool:
        """True if the task has a logger of its own: for its log file, or because one was asked for."""
        return self._logger is not None or self.log_path is not None

    def get_dependencies_names(self) -> set[str]:
        """Return the names of the tasks that this one depends on."""
        return {dependency.task_name.lower() for dependency in self.dependencies}

    def close_handlers(self) -> None:
        """Close and remove all handlers of the task's logger; may be called again."""
        if self.has_logger:
            for handler in self.logger.handlers[:]:
                self.logger.removeHandler(handler)
                handler.close()

    def run(self, executing_process: Process | None = None) -> TaskResult:
        """Run this one task now, in this thread or on its own `runner`, with its retries and its time limit.

        Parameters
        ----------
        executing_process : Process, optional
            The process that the task belongs to: its latest run gives the results of dependencies, its
            graph the downstream impact.

        Returns
        -------
        TaskResult
            SUCCESS or ERRORED; whatever the function raises stands in it. Without the result of a dependency,
            or in a process that lacks the task, ERRORED with 0 attempts.

        Raises
        ------
        TypeError, ValueError
            If `executing_process` is neither a Process nor None, or an attribute was changed to what `Task`
            refuses.
        KeyboardInterrupt
            On Ctrl-C in the main thread.
        """
        from .process import Process
        from .single import run_task

        if executing_process is not None and not isinstance(executing_process, Process):
            raise TypeError(f"executing_process must be Process or None, not {type_name(executing_process)}")
        check_task(self)
        return run_task(self, executing_process)

    def __repr__(self) -> str:
        return (
            f"Task(name={self.name!r}, func={function_name(self.func)}, "
            f"dependencies={[dependency.task_name for dependency in self.dependencies]})"
        )

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_logger": None}  # handlers do not travel; it is made anew when asked for


def check_task(task: Task) -> None:
    """Refuse what a task cannot have in its attributes; done again before each run, as they can be changed.

    But for `name` and `dependencies`, which a graph reads.
    """
    if not callable(task.func):
        raise TypeError(
            f"func must be callable, not {type_name(task.func)}: pass the function itself, without calling it"
        )
    if task.log_path is not None:
        _check_log_path(task.log_path)
    if not isinstance(task.args, tuple):
        raise TypeError(
            f"args must be tuple, not {type_name(task.args)}: {_hint(task.args, 'args=(value,)')}"
        )
    if task.kwargs or type(task.kwargs) is not dict:
        _check_kwargs(task.kwargs)
    frame_filter = task.traced_vars_frame_filter
    if frame_filter is not None and not isinstance(frame_filter, str):
        raise TypeError(f"traced_vars_frame_filter must be a str or None, not {type_name(frame_filter)}")
    if task.timeout is not None:
        _check_timeout(task.timeout)
    if type(task.retries) is not int or task.retries < 0:
        check_retries(task.retries)
    if task.retry_on is not None:
        _check_retry_on(task.retry_on)
    if type(task.retry_delay) is not float or task.retry_delay != 0.0:
        _check_retry_delay(task.retry_delay)
    if task.runner is not None:
        _check_runner(task.runner)
    if type(task.priority) is not int and not is_int(task.priority):
        raise TypeError(f"priority must be int, not {type_name(task.priority)}")
    if task.resources or type(task.resources) is not dict:
        check_resources(task.resources)
    if task.keep_result is not True and task.keep_result is not False:
        raise no_bool("keep_result", task.keep_result)


def function_name(func: object) -> str:
    """Give the best name there is for a callable; never an error."""
    try:
        while isinstance(func, partial):
            func = func.func
        name = func.__name__  # type: ignore[attr-defined]
    except Exception:  # a property of the user's may raise anything
        name = None
    return name if type(name) is str else name_of_class(type(func))


def checked_name(name: object) -> str:
    """Return a task's name in lower case, or refuse it."""
    if not isinstance(name, str):
        hint = ": write Task('name', function)" if callable(name) else ""
        raise TypeError(f"name must be str, not {type_name(name)}{hint}")
    # What can be printed has no white space but blanks; to split each name would take longer than that look.
    if (not name.isprintable() or " " in name or not name) and name.split() != [name]:
        if not name:
            raise ValueError("Task name cannot be empty")
        dashed = "-".join(name.split()) or "task-1"
        raise ValueError(
            f"Task name cannot contain spaces: {brief_repr(name)}; write {brief_repr(dashed)}, or number the "
            "tasks where names come from data"
        )
    return name.lower()


def check_dependencies(name: str, dependencies: object, kwargs: Mapping[str, object]) -> dict[str, None]:
    """Return the names that a task depends on in lower case, as keys in their order, or refuse them.

    Parameters
    ----------
    name : str
        The task's name.
    dependencies : object
        What it depends on.
    kwargs : mapping
        Its own keyword arguments, which no result may replace.
    """
    if not isinstance(dependencies, list):
        raise _no_list(name, dependencies)
    names: dict[str, None] = {}
    passes_keywords = False
    for dependency in dependencies:
        if not isinstance(dependency, TaskDependency):
            raise _no_dependency(name, dependency)
        names[dependency.task_name.lower()] = None
        if dependency.use_result_as_additional_kwargs:
            passes_keywords = True
    if name in names:
        raise CircularDependencyError(f"Task {name!r} lists itself as a dependency.")
    if len(names) < len(dependencies):
        raise _named_twice(name, dependencies)
    if passes_keywords:
        _check_keywords(name, dependencies, kwargs)
    return names


def _named_twice(name: str, dependencies: list[TaskDependency]) -> ValueError:
    names = [dependency.task_name.lower() for dependency in dependencies]
    twice = next(other for other in names if names.count(other) > 1)
    return ValueError(
        f"Duplicate dependency name: {twice} (task {name!r}); name each dependency once (case does not count)"
    )


def _no_dependency(name: str, value: object) -> TypeError:
    """Make the error of what stands among the dependencies of a task, and is none."""
    hint = "name the task, as in TaskDependency('load')"
    match value:
        case str() | Task():
            needed = brief_repr(value.name if isinstance(value, Task) else value)
            hint = f"write *results_of({needed}) to get its result, or TaskDependency({needed}) to get none"
        case list():
            hint = "results_of makes a list, so write dependencies=results_of('load')"
    return TypeError(
        f"dependency must be of type TaskDependency, not {type_name(value)} (task {name!r}): {hint}"
    )


def _no_list(name: str, value: object) -> TypeError:
    hint = "write dependencies=[…]"
    match value:
        case str() | Task():
            needed = brief_repr(value.name if isinstance(value, Task) else value)
            hint = f"write results_of({needed}) to get its result, or [TaskDependency({needed})] to get none"
        case [list(), *_]:
            hint = "results_of makes a list, so write dependencies=results_of('load')"
        case Mapping():
            hint = "write dependencies=results_of(rate='daily-rate')"
    return TypeError(f"dependencies must be list, not {type_name(value)} (task {name!r}): {hint}")


def _hint(value: object, otherwise: str) -> str:
    """Say what to write instead of a value that is refused, which may be meant as dependencies."""
    match value:
        case TaskDependency() | [TaskDependency(), *_]:
            return "write dependencies=results_of('load')"
    return f"write {otherwise}"


def _check_keywords(name: str, dependencies: list[TaskDependency], kwargs: Mapping[str, object]) -> None:
    """Refuse two values for one keyword argument."""
    givers = dict.fromkeys(kwargs, "its own kwargs")
    for dependency in dependencies:
        if not dependency.use_result_as_additional_kwargs:
            continue
        keyword = dependency.additional_kwarg_name
        if keyword in givers:
            raise ValueError(
                f"Task {name!r} gets the keyword argument {keyword!r} twice: from {givers[keyword]} and as "
                f"the result of {dependency.task_name!r}; give one of them another name"
            )
        givers[keyword] = f"the result of {dependency.task_name!r}"


def check_resources(resources: object) -> Mapping[str, float]:
    """Return amounts of resources, or refuse them; None means nothing."""
    if resources is None:
        return {}
    if not isinstance(resources, Mapping):
        raise TypeError(
            f"resources must be a mapping, not {type_name(resources)}: write resources={{'name': amount}}"
        )
    for resource, amount in resources.items():
        if not isinstance(resource, str):
            raise TypeError(f"resources must have str keys, not {brief_repr(resource)}")
        if not is_number(amount):
            raise TypeError(f"resources[{resource!r}] must be a positive number, not {type_name(amount)}")
        if not 0 < amount < inf:
            raise ValueError(f"resources[{resource!r}] must be a positive number, not {brief_repr(amount)}")
    return resources


def _check_log_path(log_path: object) -> None:
    if not isinstance(log_path, (str, os.PathLike)):
        hint = "arguments of the function are args=(…)"
        match log_path:
            case TaskDependency() | [TaskDependency(), *_]:
                hint = "dependencies are dependencies=results_of('load')"
            case dict():
                hint = "keyword arguments of the function are kwargs={…}"
        raise TypeError(f"log_path must be str, os.PathLike or None, not {type_name(log_path)}: {hint}")


def _check_kwargs(kwargs: object) -> None:
    if not isinstance(kwargs, dict):
        hint = _hint(kwargs, "kwargs={'name': value}")
        raise TypeError(f"kwargs must be dict, not {type_name(kwargs)}: {hint}")
    for key in kwargs:
        if not isinstance(key, str):
            raise TypeError(f"kwargs must be dict with str keys, not {brief_repr(key)}")


def _check_timeout(timeout: object) -> None:
    if not is_number(timeout):
        kind, hint = type_name(timeout), _seconds(timeout)
        raise TypeError(f"timeout must be a positive number of seconds or None, not {kind}{hint}")
    if not 0 < timeout <= float_info.max:
        raise ValueError(f"timeout must be a positive number, not {brief_repr(timeout)}; None means no limit")


def _seconds(value: object) -> str:
    """Give the end of a message where a length of time is no number, but has one."""
    return ": write delta.total_seconds()" if hasattr(type(value), "total_seconds") else ""


def _check_retry_on(retry_on: object) -> None:
    if not isinstance(retry_on, tuple) or not all(
        isinstance(member, type) and issubclass(member, Exception) for member in retry_on
    ):
        raise TypeError(
            "retry_on must be None or a tuple of Exception subclasses, as in (OSError,), "
            f"not {brief_repr(retry_on)}"
        )


def _check_retry_delay(retry_delay: object) -> None:
    if callable(retry_delay):
        from .retry import exponential_backoff

        if retry_delay is exponential_backoff:
            raise TypeError(
                "exponential_backoff makes a retry_delay, and is none: write exponential_backoff(1)"
            )
        return
    if not is_number(retry_delay):
        is_list = isinstance(retry_delay, (list, tuple))
        hint = ": write lambda attempt: delays[attempt - 1]" if is_list else _seconds(retry_delay)
        raise TypeError(
            f"retry_delay must be a number of seconds or a callable, not {type_name(retry_delay)}{hint}"
        )
    if not 0 <= retry_delay <= float_info.max:
        raise ValueError(
            f"retry_delay must be a non-negative number of seconds, not {brief_repr(retry_delay)}"
        )


def _check_runner(runner: object) -> None:
    from .runners import RUNNERS, make_runner

    if not isinstance(runner, str) or runner not in RUNNERS:
        make_runner(runner)  # type: ignore[arg-type]  # an instance passes, all else is refused
