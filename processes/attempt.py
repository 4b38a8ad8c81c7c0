"""One attempt at a task: what a runner is given, and what it gives back.

Worker processes import this module before their first task, so it holds plain classes with slots and
imports nothing that costs (a dataclass would bring ``inspect`` with it).
"""

from __future__ import annotations

import os
import sys
from _socket import gethostname
from time import time

TYPE_CHECKING: bool = False  # typing is not imported: it would be the costliest part of a worker's start
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any, TypeVar

    from .exceptions import MemoryLimitError, WorkerDiedError
    from .failure import Failure
    from .serialization.pickling import Buffer
    from .task_log import RecordSink

    SealedKind = TypeVar("SealedKind", bound="Sealed")


class Attempt:
    """One call of a task's function, ready to run.

    Attributes
    ----------
    ticket : int
        Names the attempt; no two attempts of a process share one.
    task_name : str
        The task's name.
    func : callable
        What to call.
    args, kwargs : tuple, dict
        All arguments, results of dependencies included.
    timeout : float or None
        Seconds that the call may take. The scheduler keeps the time; a runner only announces the start.
    frame_filter : str or None
        Selects the frame whose variables are traced; see :func:`processes.failure.describe_failure`.
    on_record : RecordSink or None
        Takes each `logging.LogRecord` that the function logs; None when the task has no log file.
    captures_output : bool
        Whether it takes what the function prints too.
    has_sealed : bool
        Whether there are :class:`Sealed` values among the arguments; only on runners that take them.
    rank : int
        Where the task stands in the run's order: those with lower ranks go first.
    next_rank : int
        The lowest rank among the tasks that depend on it; beyond all ranks if none does, or nobody asks.
    may_stay : bool
        Whether the result is for one more attempt alone, on the same runner, which comes as soon as it can. A
        runner may then leave it where it was made, and deliver a :class:`Sealed` that stands for it.
    """

    __slots__ = (
        "args",
        "captures_output",
        "frame_filter",
        "func",
        "has_sealed",
        "kwargs",
        "may_stay",
        "next_rank",
        "on_record",
        "rank",
        "task_name",
        "ticket",
        "timeout",
    )

    def __init__(
        self,
        ticket: int,
        task_name: str,
        func: Callable[..., Any],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
        timeout: float | None = None,
        frame_filter: str | None = None,
        on_record: RecordSink | None = None,
        rank: int = 0,
    ) -> None:
        self.ticket = ticket
        self.task_name = task_name
        self.func = func
        self.args = args
        self.kwargs = {} if kwargs is None else kwargs
        self.timeout = timeout
        self.frame_filter = frame_filter
        self.on_record = on_record
        self.captures_output = False
        self.has_sealed = False
        self.may_stay = False
        self.rank = rank
        self.next_rank = sys.maxsize


class Sealed:
    """A value in the form in which a runner got it, and in which another attempt may be given it.

    A runner delivers one inside :class:`Returned` where opening it costs time or memory. It is opened where
    it is needed: for the report, or for an attempt on a runner that does not take sealed values.

    Whether a value is one, its type tells: what a user's object says of its class may be an error.
    """

    __slots__ = ()

    def open(self) -> Any:
        """Make the value; the same object each time.

        Raises
        ------
        SerializationError
            If it cannot be made.
        """
        raise NotImplementedError

    def pickled(self) -> tuple[Sequence[Buffer], Sequence[Buffer]] | None:
        """Return its pickle, in pieces, and the buffers that belong to it, as any process can read them.

        None if it has to be opened for that. (The default.)
        """
        return None


Place = int | str
"""Of an argument: its position, or its keyword."""


def take_sealed_out(
    args: tuple[Any, ...], kwargs: dict[str, Any], kind: type[SealedKind]
) -> tuple[tuple[Any, ...], dict[str, Any], dict[SealedKind, list[Place]]]:
    """Take the sealed values of a kind out of arguments, leave None in their places, and open all others."""
    values = _by_place(args, kwargs)
    places: dict[SealedKind, list[Place]] = {}
    for place, value in values.items():
        if issubclass(type(value), kind):
            places.setdefault(value, []).append(place)
            values[place] = None
        elif issubclass(type(value), Sealed):
            values[place] = value.open()
    return (*_arguments(values), places)


def put_in(
    args: tuple[Any, ...], kwargs: dict[str, Any], found: Iterable[tuple[Any, Iterable[Place]]]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Put values into their places among arguments."""
    values = _by_place(args, kwargs)
    for value, places in found:
        values.update(dict.fromkeys(places, value))
    return _arguments(values)


def _by_place(args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[Place, Any]:
    return dict(enumerate(args)) | kwargs


def _arguments(values: dict[Place, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Tell positional from keyword arguments again."""
    args = tuple(value for place, value in values.items() if isinstance(place, int))
    return args, {place: value for place, value in values.items() if isinstance(place, str)}


class Returned:
    """The function returned a value, which may be :class:`Sealed`."""

    __slots__ = ("value",)
    __match_args__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


class Raised:
    """The function raised, or its result could not be brought back."""

    __slots__ = ("exception", "failure")
    __match_args__ = ("exception", "failure")

    def __init__(self, exception: BaseException, failure: Failure) -> None:
        self.exception = exception
        self.failure = failure


class Unsendable:
    """The function was never called: its arguments could not be brought to the worker."""

    __slots__ = ("exception",)
    __match_args__ = ("exception",)

    def __init__(self, exception: Exception) -> None:
        self.exception = exception


class TimedOut:
    """The attempt ran past its time limit, in seconds, and was stopped; `stack` tells where it stood."""

    __slots__ = ("limit", "stack")
    __match_args__ = ("limit", "stack")

    def __init__(self, limit: float, stack: str) -> None:
        self.limit = limit
        self.stack = stack


class WorkerDied:
    """The process that ran the attempt ended before it, or was ended for its memory."""

    __slots__ = ("exception",)
    __match_args__ = ("exception",)

    def __init__(self, exception: WorkerDiedError | MemoryLimitError) -> None:
        self.exception = exception


Failed = Raised | Unsendable | TimedOut | WorkerDied
Outcome = Returned | Failed


class Worker:
    """Who ran an attempt: a label such as ``process-2``, the process id, the host's name."""

    __slots__ = ("host", "label", "pid")

    def __init__(self, label: str, pid: int, host: str) -> None:
        self.label = label
        self.pid = pid
        self.host = host

    @classmethod
    def here(cls, label: str) -> Worker:
        """Return this process under a label."""
        return cls(label, os.getpid(), gethostname())


NOBODY = Worker("", 0, "")
"""Who runs an attempt that reaches no worker, and who a worker is that has not come up yet."""


class Started:
    """An attempt with a time limit has begun; told again, it begins anew.

    Attributes
    ----------
    ticket : int
        The attempt's ticket.
    at : float
        When, in seconds on the monotonic clock.
    worker : Worker
        Who runs it.
    """

    __slots__ = ("at", "ticket", "worker")

    def __init__(self, ticket: int, at: float, worker: Worker) -> None:
        self.ticket = ticket
        self.at = at
        self.worker = worker


class Finished:
    """An attempt has ended.

    Attributes
    ----------
    ticket : int
        The attempt's ticket.
    outcome : Outcome
        How it ended.
    started_at : float
        When the call began, in seconds since the epoch; when the attempt ended, if it never did.
    elapsed_seconds : float
        How long the call took.
    cpu_seconds : float
        Processor time of the call: of its thread in a thread, of the whole process in a worker process. Exact
        to 50 µs.
    peak_rss_bytes : int
        The most resident memory that the process had had by the end of the call; 0 where unknown.
    worker : Worker
        Who ran it.
    """

    __slots__ = (
        "cpu_seconds",
        "elapsed_seconds",
        "outcome",
        "peak_rss_bytes",
        "started_at",
        "ticket",
        "worker",
    )

    def __init__(
        self,
        ticket: int,
        outcome: Outcome,
        started_at: float,
        elapsed_seconds: float,
        cpu_seconds: float,
        peak_rss_bytes: int,
        worker: Worker,
    ) -> None:
        self.ticket = ticket
        self.outcome = outcome
        self.started_at = started_at
        self.elapsed_seconds = elapsed_seconds
        self.cpu_seconds = cpu_seconds
        self.peak_rss_bytes = peak_rss_bytes
        self.worker = worker

    @classmethod
    def unmeasured(cls, ticket: int, outcome: Outcome, worker: Worker, elapsed: float = 0.0) -> Finished:
        """Return the end, now, of an attempt of which all that is known is how long the call took, if any."""
        return cls(ticket, outcome, time() - elapsed, elapsed, 0.0, 0, worker)

    @classmethod
    def unsendable(cls, ticket: int, error: Exception) -> Finished:
        """Return the end, now, of an attempt whose arguments cannot be brought to a worker."""
        return cls.unmeasured(ticket, Unsendable(error.with_traceback(None)), NOBODY)


Message = Started | Finished
