"""Runs attempts one after the other, in the thread that drives the run."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from ..attempt import Raised, Worker
from ..interrupt import handlers_of_signals, is_raised_in
from ..perform import perform
from .base import ProcessRunner
from .thread import ThreadRunner

if TYPE_CHECKING:
    from ..attempt import Attempt, Message
    from .waker import Waker


class SequentialRunner(ProcessRunner):
    """One attempt at a time, in the caller's own thread.

    Only an attempt with a time limit runs in a daemon thread: when the time is over it is left behind
    there, since nothing can stop it.
    """

    name: ClassVar[str] = "sequential"
    starts_anywhere: ClassVar[bool] = True

    def open(self, waker: Waker) -> None:
        super().open(waker)
        self._worker = Worker.here("sequential")
        self._handlers = handlers_of_signals()  # those of the program, and none that a task installs
        self._attempt: Attempt | None = None  # for the next wait, or in it
        self._thread = _DaemonThread(1)
        self._thread.open(waker)

    @property
    def free_slots(self) -> int:
        return 0 if self._attempt is not None or self._thread.held else 1

    @property
    def performs_while_waiting(self) -> bool:
        return self._attempt is not None

    def start(self, attempt: Attempt) -> None:
        if attempt.timeout is None:
            self._attempt = attempt
            self._waker.ring()  # where the thread of one with a time limit starts this one, its own sleeps
        else:
            self._thread.start(attempt)

    def wait(self, timeout: float) -> list[Message]:
        if self._attempt is None:
            return self._thread.wait(timeout)
        finished = perform(self._attempt, self._worker)
        self._attempt = None
        try:
            if type(finished.outcome) is Raised and is_raised_in(finished.outcome.exception, self._handlers):
                raise finished.outcome.exception
            return [finished]
        finally:
            del finished  # as in `perform`: an exception's frames lead to this one

    def stack_of(self, ticket: int) -> str:
        return self._thread.stack_of(ticket)

    def stop(self, ticket: int) -> None:
        if self._attempt is not None:  # then there is no other
            self._attempt = None
        else:
            self._thread.stop(ticket)

    def close(self) -> None:
        self._thread.close()


class _DaemonThread(ThreadRunner):
    """Has the attempts with a time limit, and shows in reports as what they run on."""

    name: ClassVar[str] = "sequential"
