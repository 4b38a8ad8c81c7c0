"""Runs attempts on an executor of the user's."""

from __future__ import annotations

from collections import deque
from concurrent.futures import CancelledError, Executor
from contextlib import suppress
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Final

from ..attempt import Finished, Started, Worker
from ..checks import check_count, check_interpreter
from ..clock import monotonic
from ..cpus import usable_cpus
from ..exceptions import SerializationError
from ..interrupt import is_of_signal
from ..reprs import brief_repr
from .base import ProcessRunner
from .remote import Requests, respond

if TYPE_CHECKING:
    from concurrent.futures import Future
    from typing import ClassVar

    from ..attempt import Attempt, Message
    from .remote import Response
    from .waker import Waker

LOOK_SECONDS: Final = 0.02
"""How often we look whether an attempt with a time limit has begun: a future calls nobody for that."""


class ExecutorRunner(ProcessRunner):
    """Several attempts at a time, each a call of an executor: any `concurrent.futures.Executor`.

    Such are `concurrent.futures.ProcessPoolExecutor`, and those of loky, mpi4py, Parsl and ipyparallel. What
    travels is serialized as for :class:`~processes.ProcessPoolRunner`, on an executor of threads too:
    functions get copies. This package must be installed where the executor's workers are.

    The executor is the user's, and is not shut down. What it cannot do, this runner cannot do either. An
    attempt that passes its time limit is left behind, and occupies a worker until it ends. Its time counts
    from when the executor calls the future *running*, which may be before a worker has started and imported
    what it needs, or has ended a call that was left behind; where it never does, as those of Parsl and
    ipyparallel, what takes too long fails when it ends. A dead worker breaks most executors: all attempts
    that such a one was given fail with a WorkerDiedError, and so does what is started later.

    Parameters
    ----------
    executor : concurrent.futures.Executor
        What makes the calls.
    max_workers : int, optional
        How many attempts the executor is given at a time; by default as many as it has workers, if it tells
        (those of the standard library and of loky do), else as many as this process may use processors.

    Raises
    ------
    TypeError, ValueError
        If `executor` is no Executor, or `max_workers` no int, or below 1; or if this is no CPython.

    Examples
    --------
    ::

        with ProcessPoolExecutor() as executor:
            report = process.run(runner=ExecutorRunner(executor))
    """

    name: ClassVar[str] = "executor"

    def __init__(self, executor: Executor, *, max_workers: int | None = None) -> None:
        check_interpreter("ExecutorRunner")
        if not isinstance(executor, Executor):
            raise TypeError(
                f"executor must be a concurrent.futures.Executor, not {brief_repr(executor)}; "
                "make one, as in ExecutorRunner(ProcessPoolExecutor())"
            )
        check_count("max_workers", max_workers)
        self.executor = executor
        self.max_workers: int = max_workers or getattr(executor, "_max_workers", None) or usable_cpus()

    def open(self, waker: Waker) -> None:
        super().open(waker)
        self._requests = Requests(self.name, self.is_shared)
        self._held: dict[int, tuple[Attempt, Future[Response]]] = {}  # by ticket
        self._to_begin: set[int] = set()  # tickets of those with a time limit that have not begun yet
        self._ended: deque[int] = deque()  # tickets; the executor's threads put them in

    @property
    def free_slots(self) -> int:
        return self.max_workers - len(self._held)

    @property
    def poll_seconds(self) -> float:
        return LOOK_SECONDS if self._to_begin else inf

    def start(self, attempt: Attempt) -> None:
        try:
            request = self._requests.make(attempt, attempt.args, attempt.kwargs)
            future = self.executor.submit(respond, request)
        except SerializationError as error:
            self.deliver(Finished.unsendable(attempt.ticket, error))
        except Exception as error:  # it is broken, or was shut down, or says no in its own words
            if is_of_signal(error):
                raise
            self.deliver(self._lost(attempt, error))
        else:
            self._held[attempt.ticket] = (attempt, future)
            if attempt.timeout is not None:
                self._to_begin.add(attempt.ticket)
            future.add_done_callback(partial(self._note_end, attempt.ticket))

    def _note_end(self, ticket: int, _: object) -> None:
        self._ended.append(ticket)
        self._waker.set()

    def wait(self, timeout: float) -> list[Message]:
        messages = super().wait(0 if self._ended else timeout)
        while self._ended:
            held = self._held.pop(ticket := self._ended.popleft(), None)
            if held is not None:  # else it was stopped
                self._to_begin.discard(ticket)
                messages.append(self._finish(*held))
        for ticket in tuple(self._to_begin):
            if self._held[ticket][1].running():
                self._to_begin.discard(ticket)
                messages.append(Started(ticket, monotonic(), Worker(self.name, 0, "")))
        return messages

    def _finish(self, attempt: Attempt, future: Future[Response]) -> Finished:
        error = CancelledError() if future.cancelled() else future.exception()
        if error is not None:
            return self._lost(attempt, error)
        return self._requests.finish(attempt, future.result())

    def _lost(self, attempt: Attempt, reason: BaseException) -> Finished:
        """Tell the end of an attempt of which the executor has no response."""
        name, kind = attempt.task_name, type(self.executor).__name__
        return self._requests.lost(
            attempt,
            f"Task {name!r} was lost by its executor, {kind}: {brief_repr(reason)}. An executor that is "
            "broken or shut down takes no more calls; give the next run a new one",
            reason,
        )

    def stop(self, ticket: int) -> None:
        held = self._held.pop(ticket, None)
        if held is not None:  # else its end has been delivered
            self._to_begin.discard(ticket)
            with suppress(Exception):  # Parsl's futures raise
                held[1].cancel()  # what runs already is left behind

    def close(self) -> None:
        """Do nothing: what is left was stopped, and the executor is the user's."""
