"""`Stream`: a run whose entries come as its tasks end."""

from __future__ import annotations

import queue
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, NoReturn, Self

from .comms.after_run import INTERRUPT_SECONDS
from .interrupt import LOOK_SECONDS
from .reprs import HAS_DAEMONS
from .thread_context import context_for_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from .comms.after_run import Notifier
    from .execution_report import ProcessExecutionReport, TaskReportEntry
    from .scheduler import Scheduler


class Stream:
    """The entries of a run's tasks, each as it ends; made by :meth:`processes.Process.stream`."""

    def __init__(
        self,
        scheduler: Scheduler,
        entries: queue.SimpleQueue[TaskReportEntry | None],
        make_report: Callable[[], ProcessExecutionReport],
        notifier: Notifier,
    ) -> None:
        self._scheduler = scheduler
        self._entries = entries
        self._make_report = make_report
        self._notifier = notifier
        self._report: ProcessExecutionReport | None = None
        # Guards it: of several threads that end a run, one sends it. A signal's handler may be one more.
        self._making_report = threading.RLock()
        self._errors: queue.SimpleQueue[BaseException] = queue.SimpleQueue()
        self._thread = threading.Thread(
            target=context_for_thread().run,
            args=(_drive, scheduler, entries, self._errors),
            name="processes-stream",
            daemon=HAS_DAEMONS,
        )
        self._thread.start()
        self._ended = False

    @property
    def report(self) -> ProcessExecutionReport:
        """The run's report; asked for before the end, it ends the run."""
        self.close()
        if self._report is None:
            raise RuntimeError(
                "The report of a stream is made when its run has ended, for which nothing that the run calls "
                "can wait: ask for it where the entries are read"
            )
        return self._report

    def __iter__(self) -> Iterator[TaskReportEntry]:
        return self

    def __next__(self) -> TaskReportEntry:
        try:
            entry = self._next_entry()
        except BaseException:  # Ctrl-C, or what a handler of a signal has raised
            self._end(interrupted=True)
            raise
        if entry is None:
            self.close()
            if not self._errors.empty():
                raise self._errors.get()
            raise StopIteration
        return entry

    def _next_entry(self) -> TaskReportEntry | None:
        while not self._ended:  # which another thread may do
            with suppress(queue.Empty):  # so that Python looks for a Ctrl-C that came just before this wait
                return self._entries.get(timeout=LOOK_SECONDS)
        return None

    def close(self) -> None:
        """Cancel what is left of the run, wait for its end, and send its report where it shall go.

        An observer, or a task in sequence, may call it too. The run cannot end before that has returned, so
        its report is made and sent where the entries are read.
        """
        self._end()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end(interrupted=isinstance(exc_value, KeyboardInterrupt))

    def _end(self, interrupted: bool = False) -> None:
        self._ended = True
        self._scheduler.cancel()
        if self._report is None and threading.current_thread() is not self._thread:
            # After Ctrl-C, a function that goes on in the run's own thread is not waited for.
            self._thread.join(INTERRUPT_SECONDS if interrupted else None)
            self._make_and_send_report(interrupted)

    def _make_and_send_report(self, interrupted: bool) -> None:
        with self._making_report:
            if self._report is not None:
                return
            report = self._make_report()
            is_first = self._report is None  # else that handler has done all this meanwhile
            if is_first:
                self._report = report
        if is_first:
            self._notifier.send(report, interrupted=interrupted)

    def __del__(self) -> None:
        self._scheduler.cancel()

    def __reduce__(self) -> NoReturn:
        # Before anything is made: what is dropped of a copy would cancel the run, or lack the scheduler.
        raise TypeError("a Stream cannot be copied or pickled: it drives a run; take a list of its entries")


def _drive(
    scheduler: Scheduler,
    entries: queue.SimpleQueue[TaskReportEntry | None],
    errors: queue.SimpleQueue[BaseException],
) -> None:
    # A function of its own: a thread that held the Stream would keep it from being dropped.
    try:
        scheduler.run()
    except BaseException as error:
        errors.put(error)
    finally:
        entries.put(None)
