"""Whether a task is attempted again, and when. Pure decisions: no clock, nothing is touched."""

from __future__ import annotations

from dataclasses import dataclass
from sys import float_info
from typing import TYPE_CHECKING

from .checks import check_bool, is_number
from .exceptions import ProcessesError, WorkerDiedError
from .failure import describe_failure, drop_leading_frames, exception_line
from .interrupt import is_of_signal
from .reprs import brief_repr, name_of_class

if TYPE_CHECKING:
    from collections.abc import Callable

    from .task import Task

TRANSIENT = (ConnectionError, TimeoutError, WorkerDiedError)
"""What ``retry_on=None`` retries: failures that another attempt may well not meet."""


def delay_after(task: Task, task_name: str, attempt: int, exception: BaseException) -> float | None:
    """Decide whether a task is attempted again.

    Parameters
    ----------
    task : Task
        The task.
    task_name : str
        What the run calls it, for errors.
    attempt : int
        The attempt that just failed; the first is 1.
    exception : BaseException
        How it failed.

    Returns
    -------
    float or None
        Seconds to wait before the next attempt; None to give up.

    Raises
    ------
    ProcessesError
        If `retry_on` or `retry_delay`, which may be the user's code, does not tell; its cause is `exception`.
    """
    if attempt > task.retries:
        return None
    asked = "retry_on"
    try:
        if not _is_one_of(exception, TRANSIENT if task.retry_on is None else task.retry_on):
            return None
        asked = "retry_delay"
        seconds = task.retry_delay(attempt) if callable(task.retry_delay) else task.retry_delay
    except BaseException as error:  # sys.exit() is no more meant for the program here than in a task
        if is_of_signal(error):
            raise
        drop_leading_frames(error, {__name__})
        did = f"raised {exception_line(error)}"
        undecided = _undecided(task_name, attempt, asked, did)
        undecided.add_note(f"How {asked} failed:\n{describe_failure(error).traceback_str.rstrip()}")
        raise undecided from exception
    if not _is_delay(seconds):
        raise _undecided(task_name, attempt, asked, f"returned {brief_repr(seconds)}") from exception
    return max(0.0, float(seconds))


def _is_one_of(exception: BaseException, kinds: tuple[type[BaseException], ...]) -> bool:
    """Tell whether an exception is of one of some kinds, or of one of the same module and name.

    What makes its classes when it is asked for them, as botocore's clients do, makes others in each process.
    """
    return isinstance(exception, kinds) or not {*map(_names_of, kinds)}.isdisjoint(
        map(_names_of, type(exception).__mro__)
    )


def _names_of(kind: type) -> tuple[str, str]:
    return name_of_class(kind, "__module__"), name_of_class(kind, "__qualname__")


def _is_delay(seconds: object) -> bool:
    from numbers import Real  # which NumPy's numbers are too

    return not isinstance(seconds, bool) and isinstance(seconds, Real) and seconds <= float_info.max


def _undecided(task_name: str, attempt: int, asked: str, did: str) -> ProcessesError:
    told = "a number of seconds" if asked == "retry_delay" else "whether an exception is one of its types"
    return ProcessesError(
        f"Task {task_name!r} failed and is not attempted again: its {asked} {did} after attempt {attempt}; "
        f"it must tell {told}"
    )


def exponential_backoff(
    base: float, factor: float = 2, maximum: float = 60, jitter: bool = True
) -> Callable[[int], float]:
    """Build a ``retry_delay`` that grows with each attempt.

    Parameters
    ----------
    base : float
        Seconds to wait after the first attempt.
    factor : float, default 2
        What each further wait is multiplied with.
    maximum : float, default 60
        No wait is longer, in seconds.
    jitter : bool, default True
        Draw each wait evenly from zero to its full length, so that tasks which failed together do not
        come back together ("full jitter", AWS Architecture Blog, Exponential Backoff And Jitter, 2015).

    Returns
    -------
    callable
        Takes the number of the attempt that failed (the first is 1) and gives seconds.

    Raises
    ------
    TypeError
        If one of the first three is no number, or `jitter` no bool.
    ValueError
        If `base` or `maximum` is below 0, `factor` below 1, or one of them ``nan``.

    Examples
    --------
    >>> wait = exponential_backoff(0.5, maximum=3, jitter=False)
    >>> wait
    exponential_backoff(0.5, factor=2, maximum=3, jitter=False)
    >>> [wait(attempt) for attempt in (1, 2, 3, 4)]
    [0.5, 1.0, 2.0, 3]
    """
    check_bool("jitter", jitter)
    for name, value in (("base", base), ("factor", factor), ("maximum", maximum)):
        if not is_number(value):
            raise TypeError(f"{name} must be a number, not {brief_repr(value)}")
    if not (base >= 0 and maximum >= 0):  # nor is nan
        raise ValueError(
            f"base and maximum must be at least 0, not {brief_repr(base)} and {brief_repr(maximum)}"
        )
    if not factor >= 1:
        raise ValueError(f"factor must be at least 1, not {brief_repr(factor)}")

    return _Backoff(base, factor, maximum, jitter)


@dataclass(frozen=True, slots=True, repr=False)
class _Backoff:
    """What :func:`exponential_backoff` gives; no closure, which would keep its task from being pickled."""

    base: float
    factor: float
    maximum: float
    jitter: bool

    def __call__(self, attempt: int) -> float:
        try:
            full = min(self.maximum, self.base * self.factor ** (attempt - 1))
        except OverflowError:
            full = self.maximum
        import random

        return random.uniform(0, full) if self.jitter else full  # noqa: S311 - no secret hangs on it

    def __repr__(self) -> str:
        return (
            f"exponential_backoff({self.base!r}, factor={self.factor!r}, maximum={self.maximum!r}, "
            f"jitter={self.jitter!r})"
        )
