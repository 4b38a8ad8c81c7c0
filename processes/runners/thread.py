"""Runs attempts on threads of this process."""

from __future__ import annotations

import queue  # not its names: gevent and eventlet put others there, maybe after this import
import threading
from contextvars import copy_context
from time import sleep
from typing import TYPE_CHECKING, ClassVar, Final

from ..attempt import NOBODY, Finished, Raised, Returned, Started, Worker
from ..checks import check_count
from ..clock import monotonic
from ..failure import describe_failure
from ..perform import format_stack, perform
from ..reprs import HAS_DAEMONS
from ..thread_context import context_for_thread
from .shelf import WarmRunner, end
from .stacks import stacks

if TYPE_CHECKING:
    from contextvars import Context

    from ..attempt import Attempt, Message
    from .waker import Waker

DEFAULT_THREADS = 4

# Seconds, each once a run: where threads are limited, the system counts one that has ended a moment longer.
_UNTIL_GONE: Final = (0.001, 0.01, 0.1)


class ThreadRunner(WarmRunner["_Thread"]):
    """Several attempts at a time, each on a thread of its own; for functions that wait for I/O.

    The threads are daemons: one that is left behind after its time limit (nothing can stop a thread)
    never keeps the interpreter from exiting; but for interpreters of `concurrent.interpreters`, which have no
    daemons. Its slot is filled by a new thread. In a ``with`` statement the others stay from run to run, with
    what functions keep in a `threading.local`.

    Parameters
    ----------
    max_workers : int, optional
        How many attempts run at a time; 4 by default.

    Raises
    ------
    TypeError, ValueError
        If `max_workers` is no int, or below 1.
    """

    name: ClassVar[str] = "thread"
    starts_anywhere: ClassVar[bool] = True

    def __init__(self, max_workers: int | None = None) -> None:
        check_count("max_workers", max_workers)
        self.max_workers: int = DEFAULT_THREADS if max_workers is None else max_workers

    def open(self, waker: Waker) -> None:
        super().open(waker)
        self._attempts: queue.SimpleQueue[Attempt | None] = queue.SimpleQueue()
        self._context = copy_context()  # in it a function finds what it would find in the caller's thread
        self._threads: list[_Thread] = []  # those that serve the slots; none that was left behind
        # Each, and whether it stays.
        self.ended: queue.SimpleQueue[tuple[_Thread, bool]] = queue.SimpleQueue()
        self.held = 0  # attempts that run or that a thread is about to fetch
        self._started = 0
        self._pauses = iter(_UNTIL_GONE)
        self._stopped: set[int] = set()  # tickets of attempts left behind; read by the threads
        if self._block is not None:
            self._block.begin_run()

    @property
    def free_slots(self) -> int:
        return self.max_workers - self.held

    def start(self, attempt: Attempt) -> None:
        self.held += 1
        self._attempts.put(attempt)
        if len(self._threads) < self.max_workers:
            self._add_needed_threads()

    def _add_needed_threads(self) -> None:
        while len(others := self._threads) < min(self.held, self.max_workers):
            context = context_for_thread(self._context)
            thread = (None if self._block is None else self._block.take()) or _Thread()
            # Before it serves: threads look for themselves there. A new list, as they may read this one.
            self._threads = [*others, thread]
            try:
                thread.begin(self, f"{self.name}-{self._started + 1}", context)
                self._started += 1
            except BaseException as error:
                self._threads = others  # one that has not started cannot be waited for
                thread.leave()
                if not isinstance(error, RuntimeError):  # but what a signal has raised
                    raise
                if others:  # there are too many already, the interpreter is ending, or it may have none
                    return
                if (pause := next(self._pauses, None)) is None:
                    self._fail_waiting(error)
                    return
                sleep(pause)

    def _fail_waiting(self, error: RuntimeError) -> None:
        """End the attempts that wait for a thread, since there is none."""
        while not self._attempts.empty():
            attempt = self._attempts.get()
            assert attempt is not None  # the run is not closed
            no_thread = RuntimeError(
                f"Task {attempt.task_name!r} could not be run: no thread could be started ({error})"
            )
            outcome = Raised(no_thread, describe_failure(no_thread))
            self.deliver(Finished.unmeasured(attempt.ticket, outcome, NOBODY))

    def wait(self, timeout: float) -> list[Message]:
        return [message for message in super().wait(timeout) if self._counts(message)]

    def _counts(self, message: Message) -> bool:
        """Note the end of an attempt; False if it was stopped, so that the message counts no more."""
        if message.ticket in self._stopped:
            return False
        if type(message) is Finished:
            self.held -= 1
        return True

    def stack_of(self, ticket: int) -> str:
        for thread in self._threads:
            if thread.ticket == ticket and thread.ident is not None:
                return format_stack(stacks().get(thread.ident, ()))  # in no variable: they lead to this frame
        return ""

    def stop(self, ticket: int) -> None:
        self._stopped.add(ticket)
        # The thread that has this attempt, or is about to take it, ends after it; another takes its place.
        self._threads = [thread for thread in self._threads if thread.ticket != ticket]
        self.held -= 1
        self._add_needed_threads()

    def close(self) -> None:
        if self.held > 0:  # a signal's handler has raised before all were stopped
            self._threads = [thread for thread in self._threads if not thread.ticket]
        self._attempts.put(None)
        serving = {*self._threads}
        while serving:
            thread, stays = self.ended.get()
            if thread in serving:  # else it was left behind
                serving.remove(thread)
                if not stays:
                    thread.join()
        if self._block is not None:
            end(self._block.end_run())

    def deliver(self, message: Message) -> None:
        """Go on here, unless after a failure, if the run's own thread sleeps; else tell it."""
        is_failure = type(message) is Finished and type(message.outcome) is not Returned
        if not is_failure and (go_on := self._waker.take_turn()) is not None:
            try:
                if self._counts(message):
                    go_on(message)
            finally:
                self._waker.end_turn()
        else:
            super().deliver(message)

    def serve(self, thread: _Thread) -> bool:
        """Perform attempts until the run is closed, or until this thread has been left behind.

        Returns
        -------
        bool
            Whether the thread stays, for another run.
        """
        worker = Worker.here(thread.name)
        try:
            while (attempt := self._attempts.get()) is not None:
                # First the ticket, then the look at those stopped; stop() does it the other way round, so an
                # attempt that is stopped right now is either not begun or known to run here.
                thread.ticket = attempt.ticket
                if attempt.ticket not in self._stopped:
                    if attempt.timeout is not None:
                        self.deliver(Started(attempt.ticket, monotonic(), worker))
                    self.deliver(_perform_surely(attempt, worker))
                attempt = None  # what it was given may be large, and the next may be long in coming
                thread.ticket = 0
                if thread not in self._threads:
                    return False
            self._attempts.put(None)  # for the next thread
            if self._block is not None and self._block.keep(thread):
                self.ended.put((thread, True))
                return True
            return False
        finally:
            del self, attempt  # an exception's frames lead to this one, and are not to keep the run


def _perform_surely(attempt: Attempt, worker: Worker) -> Finished:
    """Perform an attempt; it has an end also where something is raised next to its function."""
    try:
        return perform(attempt, worker)
    except BaseException as error:  # which another thread has raised in this one, say
        return Finished.unmeasured(attempt.ticket, Raised(error, describe_failure(error)), worker)


class _Thread(threading.Thread):
    """A thread, which serves one run or several, and the ticket of what it runs; 0 while it runs nothing."""

    def __init__(self) -> None:
        super().__init__(daemon=HAS_DAEMONS)
        self.ticket = 0
        self._runs: queue.SimpleQueue[tuple[ThreadRunner, Context] | None] = queue.SimpleQueue()
        self._ended: queue.SimpleQueue[tuple[_Thread, bool]]  # of the run that was begun last

    def begin(self, runner: ThreadRunner, label: str, context: Context) -> None:
        """Serve a run, as one that is called `label`."""
        self.name = label
        self._ended = runner.ended
        self._runs.put((runner, context))
        if self.ident is None:
            self.start()

    def run(self) -> None:
        stays = True
        try:
            while stays and (begun := self._runs.get()) is not None:
                runner, context = begun
                try:
                    stays = context.run(runner.serve, self)
                finally:
                    del begun, runner, context  # who keeps a thread, or an exception, is not to keep the run
        finally:
            self._ended.put((self, False))

    def is_fit(self) -> bool:
        """Tell whether it can serve another run."""
        return self.is_alive()

    def leave(self) -> None:
        """Ask it to end."""
        self._runs.put(None)

    def close(self) -> None:
        """Wait for its end."""
        self.join()

    def leave_to_parent(self) -> None:
        """Do nothing: in a process that was forked, there is no such thread."""
