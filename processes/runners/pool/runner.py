"""`ProcessPoolRunner`: which worker gets which attempt, and what a death costs."""

from __future__ import annotations

import os
import pickle
import selectors
import sys
from _socket import gethostname
from bisect import insort
from collections import deque
from contextlib import ExitStack, suppress
from functools import partial
from itertools import count
from math import ceil, inf
from time import sleep
from typing import TYPE_CHECKING, ClassVar

from ...attempt import NOBODY, Attempt, Finished, Returned, Started, Worker, WorkerDied
from ...checks import check_count, check_interpreter, check_yields_nothing
from ...clock import monotonic
from ...cpus import usable_cpus
from ...exceptions import MemoryLimitError, SerializationError, WorkerDiedError
from ...memory import usable_memory
from ...reprs import brief_repr
from ..shelf import Shelf, WarmRunner, end
from . import abilities, wire
from .checks import check_memory_is_visible, check_modules, check_not_importing, check_preload
from .child import MOST_BACKLOG, Child
from .death import OutOfMemoryKills
from .jobs import Packer
from .launch import interpreter, worker_environment
from .listener import Listener
from .outcomes import unpack_outcome
from .pace import Pace
from .settings import tell_settings
from .shipment import Shipment

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ...attempt import Message
    from ..waker import Waker
    from .jobs import Job
    from .shipment import MakeFrame

OVERDUE_SECONDS = 0.02
"""At one call; a worker has no line then, since nobody knows when it would move."""

SPARES = 2  # descriptors: one for a large result's file, one that libffi may keep once ctypes is imported
MAX_FAILED_STARTS = 3  # of workers, in a row; then the fault is not chance
MOST_RECEIVED = 16  # times in a row from workers that log so fast that there is always more; a guess
POLL_SECONDS = 0.1  # how often we look for what no descriptor tells: memory; deaths or all, in some systems


class ProcessPoolRunner(WarmRunner[Child]):
    """Several attempts at a time, each in a worker process; for functions that compute.

    Workers are fresh interpreters, so no ``if __name__ == "__main__"`` guard is needed, and they are
    safe beside threads. They start when the first attempts come. Functions that can be imported
    travel by name; lambdas, closures and what is defined in ``__main__`` or a notebook by cloudpickle.

    A worker that dies costs the one attempt that it was running. An attempt that passes its time limit
    is ended for real, with all processes that it has started.

    Parameters
    ----------
    max_workers : int, optional
        How many worker processes a run has at most (several at a time do not share them); by default as many
        as this process may use processors (affinity and control group counted).
    memory_limit : int, optional
        How much memory of its own a worker may have, in bytes; what it shares with other processes does not
        count (on macOS and Windows, which do not tell them apart, it does). An attempt that passes the limit
        is ended with a MemoryLimitError. It is looked at ten times a second; where it cannot be, on Linux
        without a /proc of its own PID namespace, a run with a limit is a RuntimeError before anything runs.
        By default there is no limit.
        A worker that has kept half of this after a task makes place for a new one; without a limit, half of
        the machine's or the control group's memory divided by `max_workers`.
    max_tasks_per_worker : int, optional
        After how many attempts a worker makes place for a new one; by default that is never so.
    threads_per_worker : int, optional
        How many threads BLAS and OpenMP may use in a worker; by default the worker's share of the
        processors. Variables such as ``OMP_NUM_THREADS`` that are set in the environment win.
    preload : sequence of str, default ()
        Names of modules that each worker imports before its first attempt, so that no attempt's time, nor its
        time limit, counts that. If that fails, the attempt fails with the exception, and the worker's next
        one tries again. A name that no module has is a ModuleNotFoundError from the run, before anything
        runs.
    initializer : callable, optional
        Called without arguments in each worker, before its first attempt of each run. What it changes stays.
        If it raises, that attempt fails with its exception, and the worker's next one calls it again. One
        that cannot be serialized is a SerializationError from the run, before anything runs.

    Raises
    ------
    TypeError, ValueError
        If a number is no int, or below 1, `preload` is no sequence of names, or `initializer` not
        callable; or if this is no CPython.

    Examples
    --------
    Used in a ``with`` statement, the workers stay warm from run to run::

        with ProcessPoolRunner(4) as runner:
            first = process.run(runner=runner)
            second = process.run(runner=runner)
    """

    name: ClassVar[str] = "process"
    takes_sealed: ClassVar[bool] = True

    def __init__(
        self,
        max_workers: int | None = None,
        *,
        memory_limit: int | None = None,
        max_tasks_per_worker: int | None = None,
        threads_per_worker: int | None = None,
        preload: Sequence[str] = (),
        initializer: Callable[[], object] | None = None,
    ) -> None:
        check_interpreter("ProcessPoolRunner")
        check_count("max_workers", max_workers)
        check_count("memory_limit, in bytes,", memory_limit)
        check_count("max_tasks_per_worker", max_tasks_per_worker)
        check_count("threads_per_worker", threads_per_worker)
        check_preload(preload)
        if initializer is not None and not callable(initializer):
            raise TypeError(f"initializer must be callable or None, not {brief_repr(initializer)}")
        check_yields_nothing("initializer", initializer)
        cpus = usable_cpus()
        self.max_workers: int = cpus if max_workers is None else max_workers
        self.threads_per_worker: int = threads_per_worker or max(1, cpus // self.max_workers)
        self.memory_limit = memory_limit
        self.max_tasks_per_worker = max_tasks_per_worker
        self.preload: tuple[str, ...] = tuple(preload)
        self.initializer = initializer

    # One run

    def open(self, waker: Waker) -> None:
        check_not_importing()
        if self.memory_limit is not None:
            check_memory_is_visible()
        self._program = interpreter()
        self._handled = id(sys.exception())  # the caller's, if it runs us in an `except` clause
        super().open(waker)
        self._labels = count(1)
        self._failed_starts = 0  # of workers, in a row
        # Of the last one, for a task's name:
        self._start_error: Callable[[str], WorkerDiedError] | None = None
        self._kills = OutOfMemoryKills()
        self._children: list[Child] = []  # those that can be given jobs
        self._leaving: list[Child] = []  # those that were told to end
        self._unsent: set[Child] = set()  # those with frames that their socket has not taken yet
        self._queue: deque[Job] = deque()  # jobs that no child has
        # Those that keep a result which was neither given to an attempt nor asked for yet:
        self._keepers: set[Child] = set()
        self._waiting: list[Attempt] = []  # attempts that need what a child keeps and will write
        self._jobs = 0  # started and not ended
        self._next_look = 0.0  # at the memory of workers, on the monotonic clock
        self._listener = Listener()
        self._pace = Pace(self.max_workers)
        self.is_sated = False
        self.heeds_order = True
        self._packer = Packer(self._pace, self.is_shared)
        self._lately_sent: list[MakeFrame] = []  # of jobs that have ended: the next ones may need the same
        # Descriptors that make room for a large result's, should no others be left:
        self._spares: list[int] = []
        self._environment = worker_environment(self.threads_per_worker)
        self._setup = self._make_setup()
        self._selector = selectors.DefaultSelector()
        try:
            self._selector.register(waker.fileno(), selectors.EVENT_READ, lambda _: waker.hush())
        except BaseException:
            self._selector.close()
            raise
        self._take_spares()
        if self._block is not None:
            self._block.begin_run()

    def _make_setup(self) -> tuple[Shipment, ...]:
        """Make what a worker is sent at the beginning of the run."""
        if self.preload:
            check_modules(self.preload)
        may_keep = (self.memory_limit or usable_memory() // self.max_workers) // 2
        first: tuple[Shipment, ...] = ()
        number = None
        if self.initializer is not None:
            try:
                function = self._packer.functions.get(self.initializer, "?")
            except SerializationError as error:
                raise _unsendable_initializer(error) from error.__cause__
            function.do_without_files()  # a worker that receives none could not ask for them again
            first, number = (*function.classes, function), function.number
        settings = tell_settings(self._environment, has_line=self.has_line)
        about = (settings, may_keep, self.max_tasks_per_worker, [*self.preload], number)
        return Shipment(wire.frame(wire.SETUP, 0, pickle.dumps(about))), *first

    @property
    def free_slots(self) -> int:
        slots = self.max_workers * (1 + self._pace.ahead()) - self._jobs
        if slots < self.max_workers:
            # All lines may be full while a worker has nothing to do: that takes the most urgent attempt.
            return max(slots, sum(not child.held for child in self._children))
        return slots

    @property
    def poll_seconds(self) -> float:
        looks = self.memory_limit is not None or not abilities.CAN_GUARD
        return POLL_SECONDS if looks else inf

    def fileno(self) -> int | None:
        return None if self.waits_itself else self._selector.fileno()

    @property
    def waits_itself(self) -> bool:
        return not hasattr(self._selector, "fileno")  # as on Windows

    def prepare(self, count: int) -> None:
        # All workers that are needed now, before modules are imported that serialize the first attempt.
        while len(self._children) < min(count, self.max_workers) and self._add_child():
            pass

    def start(self, attempt: Attempt) -> None:
        self._jobs += 1
        children = len(self._children)
        if children < self.max_workers and children < self._jobs and self._start_error is None:
            self._add_child()  # before anything is serialized, so that it starts meanwhile
        try:
            if not (attempt.has_sealed and self._start_on_kept(attempt)):
                self._enqueue(self._packer.pack(attempt))
        except SerializationError as error:
            self._end(Finished.unsendable(attempt.ticket, error))
        self.is_sated = self._pace.is_sated

    def _enqueue(self, job: Job) -> None:
        """Give a job to a worker that has nothing to do, or queue it for :meth:`_hand_out`."""
        if self._jobs <= len(self._children) and not self._queue:
            for child in self._children:
                # What needs the result that a worker keeps may be the next to start.
                if not child.held and child.kept is None:
                    child.give(job)
                    self._unsent.add(child)
                    return
        self._queue_up(job)

    def _queue_up(self, job: Job) -> None:
        """Queue a job, the most urgent first."""
        queue = self._queue
        if queue and job.attempt.rank < queue[-1].attempt.rank:
            insort(queue, job, key=_rank)
        else:
            queue.append(job)

    def _start_on_kept(self, attempt: Attempt) -> bool:
        """Start an attempt that needs what workers keep; False if it needs none of that."""
        from .kept import kept_among

        needed = kept_among(attempt)
        if not needed:
            return False
        kept, child = needed[0], needed[0].child
        if len(needed) == 1 and child in self._keepers and not child.held:
            job = self._packer.pack(attempt, kept)
            self._keepers.discard(child)
            child.give(job)
            self._unsent.add(child)
        elif loss := next((kept.loss for kept in needed if kept.loss is not None), None):
            self._end(Finished.unsendable(attempt.ticket, loss(attempt.task_name)))
        else:
            self._waiting.append(attempt)
        return True

    def _start_waiting(self) -> None:
        """Start what had to wait for what workers keep, as far as it can start now."""
        waiting, self._waiting = self._waiting, []
        for attempt in waiting:
            self._jobs -= 1
            self.start(attempt)

    def _take_spares(self) -> None:
        with suppress(OSError):
            while len(self._spares) < SPARES:
                self._spares.append(os.dup(self._waker.fileno()))

    def wait(self, timeout: float) -> list[Message]:
        self._send_out()
        came = self._select(0 if self._inbox else timeout)
        if came and timeout == 0 and not self._inbox:
            self._send_out()  # workers that have become free are given more: the caller may go to sleep now
        messages = list(self._inbox)
        self._inbox.clear()
        self._pace.note_look(len(messages))
        self.is_sated, self.heeds_order = False, self._pace.heeds_order
        return messages

    def _send_out(self) -> None:
        """Hand out and send all that can go to workers now."""
        self._hand_out()
        if self._keepers:
            self._ask_for_kept()
        self._flush()
        self._lately_sent.clear()

    def stack_of(self, ticket: int) -> str:
        child = self._worker_at(ticket)
        return "" if child is None else child.stack()

    def stop(self, ticket: int) -> None:
        if (worker := self._worker_at(ticket)) is not None:
            self._kill(worker)  # before it holds nothing, and counts as idle, should a signal's handler raise
        if self._forget(ticket):
            self._jobs -= 1

    def _worker_at(self, ticket: int) -> Child | None:
        """Return the worker that is at an attempt, which then begins no other; None if none is.

        An attempt that has not begun is in the queue then; one whose worker has begun another is over.
        """
        if (child := self._child_with(ticket)) is not None:
            self._put_back(child.take_back())
            if next(reversed(child.held), 0) == ticket:
                return child
        return None

    def _child_with(self, ticket: int) -> Child | None:
        return next((child for child in (*self._children, *self._leaving) if ticket in child.held), None)

    def _forget(self, ticket: int) -> bool:
        """Drop an attempt, wherever it is; False if its end has been reported."""
        if (child := self._child_with(ticket)) is not None:
            self._listener.end_output(child)
            del child.held[ticket]
            return True
        queued = next((job for job in self._queue if job.attempt.ticket == ticket), None)
        waiting = next((attempt for attempt in self._waiting if attempt.ticket == ticket), None)
        if queued is not None:
            self._queue.remove(queued)
        elif waiting is not None:
            self._waiting.remove(waiting)
        return not (queued is None and waiting is None)

    def close(self) -> None:
        # After an exception, as of a signal's handler, what we know of a worker may be out of date.
        is_in_order = id(sys.exception()) == self._handled
        with ExitStack() as steps:  # each, even if a signal raises in another
            steps.callback(self._end_workers)
            steps.callback(_close, self._spares)
            steps.callback(self._selector.close)
            self._lately_sent.clear()
            if is_in_order and self._block is not None:
                self._leave_idle_to(self._block)

    def _leave_idle_to(self, shelf: Shelf[Child]) -> None:
        """Let workers wait for the next run that have nothing to do."""
        for child in self._children[:]:
            is_up = child.who is not NOBODY  # else it may be about to end
            if is_up and not child.held and child.backlog <= MOST_BACKLOG:
                child.has.clear()
                self._children.remove(child)
                if not shelf.keep(child):
                    self._leaving.append(child)

    def _end_workers(self) -> None:
        leaving = [*self._leaving, *self._children]
        if self._block is not None:
            leaving += self._block.end_run()
        end(leaving)

    # Handing out

    def _hand_out(self) -> None:
        """Give queued jobs to workers, and start workers where they lack."""
        overdue = monotonic() - OVERDUE_SECONDS
        if self._jobs > 1:
            self._take_back_lines(overdue)
        while self._queue and len(self._children) < min(self.max_workers, self._jobs):
            if self._start_error is not None and self._any_boots():
                break  # one at a time: several that start at once may have taken each other's room
            if not self._add_child():
                break
        if not (self._queue and self._children):
            return
        # None gets more than its share, so that a short queue does not become one worker's line.
        share = min(1 + self._pace.ahead(), ceil(self._jobs / len(self._children)))
        by_line = sorted(self._children, key=lambda child: len(child.held))
        for child in by_line:
            if child.held:
                break
            self._give(child, 1)  # nobody has a line while another has nothing to do
        for child in by_line:
            if len(child.held) > (share + 1) // 2:
                break  # a worker is given many at a time, each time that half of its line is gone
            if child.held and child.busy_since < overdue:
                continue
            self._give(child, share)

    def _give(self, child: Child, share: int) -> None:
        """Give a worker what it takes of the queue, until it holds `share` jobs."""
        while self._queue and child.takes(self._queue[0], share):
            child.give(self._queue.popleft())
            self._unsent.add(child)

    def _ask_for_kept(self) -> None:
        """Ask for the results that workers keep and whose attempts have not come at once."""
        # A worker that was given another job writes what it keeps before it begins that, unasked.
        asked = {child for child in self._keepers if not child.held}
        for child in asked:
            child.ask_for_kept()
        self._keepers -= asked
        self._unsent |= asked

    def _take_back_lines(self, overdue: float) -> None:
        """Take back the lines behind long calls, and one where there is nothing else for another worker."""
        lines = [child for child in self._children if len(child.held) > 1]
        for child in lines:
            if child.busy_since < overdue:
                self._put_back(child.take_back())
        if lines and not self._queue and any(not child.held for child in self._children):
            self._put_back(max(lines, key=lambda child: len(child.held)).take_back())

    def _flush(self) -> None:
        for child in tuple(self._unsent):
            sent_all = child.flush()
            if sent_all:
                self._unsent.discard(child)
            if child.connected and sent_all == child.waits_to_send:
                child.waits_to_send = not sent_all
                write = selectors.EVENT_WRITE if child.waits_to_send else 0
                serve = partial(self._serve, child)
                self._selector.modify(child.socket, selectors.EVENT_READ | write, serve)

    # Workers

    def _add_child(self) -> bool:
        """Take a warm worker or start one; False if that cannot be, and nothing is to be hoped for."""
        child = None if self._block is None else self._block.take()
        if child is None and self._failed_starts < MAX_FAILED_STARTS:
            try:
                child = Child(f"process-{next(self._labels)}", self._program, self._environment)
            except OSError as error:
                self._failed_starts += 1
                self._start_error = partial(_not_started, error)
        if child is None:
            if not (self._children or self._leaving):  # else there is room again when one of these has ended
                assert self._start_error is not None
                self._fail_queue(self._start_error)
            return False
        self._children.append(child)  # first of all: with these it is ended if a signal's handler raises
        child.kept = None
        child.waits_to_send = False
        child.ship_once(*self._setup)
        self._unsent.add(child)
        self._selector.register(child.socket, selectors.EVENT_READ, partial(self._serve, child))
        if child.exit_fd >= 0:
            self._selector.register(child.exit_fd, selectors.EVENT_READ, partial(self._bury, child))
        return True

    def _any_boots(self) -> bool:
        return any(child.who is NOBODY for child in self._children)

    def _kill(self, child: Child) -> None:
        child.kill()
        self._listener.end_output(child)
        self._dismiss(child)

    def _dismiss(self, child: Child) -> None:
        """Give a worker nothing more."""
        if child in self._children:
            self._children.remove(child)
            self._leaving.append(child)
            self._unsent.discard(child)

    def _select(self, timeout: float) -> bool:
        """Wait until a worker or the waker has something, and take it; False if nothing came."""
        if self.poll_seconds < timeout:
            timeout = self.poll_seconds
        if timeout != 0 and self._children and (nap := self._pace.nap_seconds(self._shortest_line())):
            sleep(min(nap, timeout))
        if timeout == 0:
            if came := self._look():
                all(self._look() for _ in range(MOST_RECEIVED))  # a result may stand behind many records
        elif not (came := self._spin()):
            came = self._look(timeout if self._waker.arm() else 0)
            self._waker.disarm()
        if self.memory_limit is not None:
            self._look_at_memory(self.memory_limit)
        self._listener.look(self._children, self._takes_all_of)
        if not abilities.CAN_GUARD:
            for child in [*self._children, *self._leaving]:
                if child.has_ended():
                    self._bury(child, 0)
        return came

    def _shortest_line(self) -> int:
        return min([len(child.held) for child in self._children]) - 1

    def _spin(self) -> bool:
        """Take what comes soon, where calls have been short lately; False if nothing comes."""
        if not abilities.CAN_YIELD or not self._pace.is_quick():
            return False
        give_up_at = monotonic() + wire.SPIN_SECONDS
        while not (came := self._look()) and monotonic() < give_up_at:
            os.sched_yield()
        return came

    def _look(self, timeout: float = 0) -> bool:
        """Take what the workers and the waker have; False if they have nothing."""
        events = self._selector.select(timeout)
        for key, mask in events:
            key.data(mask)
        return bool(events)

    def _look_at_memory(self, limit: int) -> None:
        """End the workers whose task has taken more than the limit; one look in `POLL_SECONDS`."""
        if monotonic() < self._next_look:
            return
        self._next_look = monotonic() + POLL_SECONDS
        for child in self._children[:]:
            if child.held and (peak := child.own_memory()) > limit:
                self._put_back(child.take_back())
                self._fail_latest(child, partial(_over_limit, limit, peak))
                self._kill(child)

    def _takes_all_of(self, child: Child) -> bool:
        """Take what a worker has sent so far; False if it sends on and on."""
        return not all(self._serve(child, selectors.EVENT_READ) for _ in range(MOST_RECEIVED))

    def _serve(self, child: Child, mask: int) -> bool:
        """Take what a worker has sent; False if it has sent nothing."""
        if not (mask & selectors.EVENT_READ and child.connected):
            return False  # ready to be written to: the next flush sees to it
        try:
            goes_on = self._receive(child)
        except BlockingIOError:
            return False
        if not goes_on:
            # Only a hint: a task may have closed what is not its own. The process itself tells, when it ends
            # or its guard has ended it.
            self._disconnect(child)
            if child.who is NOBODY:
                child.leave()
            else:
                self._part_with(child, child.take_back())
        return True

    def _receive(self, child: Child) -> bool:
        """Receive once and take the whole frames; False at the end of the stream."""
        try:
            goes_on = child.reader.receive()
        except BlockingIOError:
            raise
        except OSError:
            goes_on = False  # a worker that ends with our frames unread resets the connection
        frames = child.reader.frames
        while frames:
            kind, ticket, body = frames.popleft()
            if kind == wire.RESULT:
                if child.output is not None:
                    self._listener.end_output(child)
                self._take_result(child, child.held.pop(ticket, None), body)
            else:
                self._take(child, kind, ticket, body)
        if len(self._spares) < SPARES:
            self._take_spares()
        return goes_on

    def _disconnect(self, child: Child) -> None:
        child.connected = False
        self._selector.unregister(child.socket)

    def _take(self, child: Child, kind: int, ticket: int, body: bytes | memoryview) -> None:
        if kind == wire.STARTED:
            if ticket in child.held:
                self._inbox.append(Started(ticket, wire.CLOCK.unpack(body)[0], child.who))
        elif kind == wire.RECORD:
            self._listener.take_record(child, ticket, body)
        elif kind in {wire.OUTPUT_FILE, wire.OUTPUT_SO_FAR, wire.OUTPUT}:
            self._give_up_spares()
            self._listener.take_output(child, kind, ticket, body)
        elif kind == wire.WRITTEN:
            self._take_written(child, ticket, body)
        elif kind == wire.RETIRED:
            not_begun = child.take_back()
            not_begun[:0] = child.held.values()  # where nothing can be taken back
            child.held.clear()
            self._part_with(child, not_begun)
        elif kind == wire.RESEND:
            self._send_again(child, child.held.pop(ticket, None))
        else:
            assert kind == wire.READY
            self._failed_starts = 0
            child.who = Worker(child.label, pickle.loads(body), gethostname())  # noqa: S301 - our own worker

    def _send_again(self, child: Child, job: Job | None) -> None:
        """Let a job go out once more, without files, since those that it needs have not arrived."""
        if job is None:
            return
        function = job.function.pattern or job.function
        for shipment in (job, function):
            shipment.do_without_files()
            child.has.discard(shipment)
        if job.kept is None:
            self._queue_up(job)
        else:
            child.give(job)  # no other has the argument
            self._unsent.add(child)

    def _part_with(self, child: Child, not_begun: list[Job]) -> None:
        """Let a worker go that is given nothing more; what it has not begun goes to others."""
        self._dismiss(child)
        child.leave()
        self._put_back(not_begun)

    def _put_back(self, jobs: list[Job]) -> None:
        """Put jobs that have not begun back into the queue."""
        for job in jobs:
            if job.kept is None:
                self._queue_up(job)
            else:
                self._waiting.append(job.attempt)
        self._start_waiting()

    def _take_result(self, child: Child, job: Job | None, body: bytes | memoryview) -> None:
        how, started_at, elapsed, cpu_seconds, peak_rss = wire.RESULT_HEAD.unpack_from(body)
        descriptors = self._take_descriptors(child, how) if how >= wire.RETURNED_PARCEL else ()
        if job is None:
            _close(descriptors)
            return
        if job.kept is not None:
            child.kept = None
        if job.make_frame is not None:
            self._lately_sent.append(job.make_frame)
        attempt = job.attempt
        outcome = (
            self._leave_with(child, attempt)
            if how == wire.KEPT
            else unpack_outcome(how, body[wire.RESULT_HEAD.size :], descriptors, attempt.task_name)
        )
        if job.log_failure is not None:
            outcome = job.log_failure
        self._end(Finished(attempt.ticket, outcome, started_at, elapsed, cpu_seconds, peak_rss, child.who))
        child.busy_since = monotonic()  # nearly: the worker has gone on since it sent this
        self._pace.note_result(elapsed, len(body))

    def _leave_with(self, child: Child, attempt: Attempt) -> Returned:
        """Note that a worker keeps a result."""
        from .kept import Kept

        child.kept = Kept(child, attempt)
        self._keepers.add(child)
        return Returned(child.kept)

    def _take_written(self, child: Child, ticket: int, body: bytes | memoryview) -> None:
        """Take the result that a worker had kept."""
        (how,) = wire.HOW.unpack_from(body)
        descriptors = self._take_descriptors(child, how) if how >= wire.RETURNED_PARCEL else ()
        kept = child.kept
        if kept is None or kept.ticket != ticket:  # of an earlier run
            _close(descriptors)
            return
        kept.fill(unpack_outcome(how, body[wire.HOW.size :], descriptors, kept.task_name))
        child.kept = None
        self._keepers.discard(child)
        self._start_waiting()

    def _take_descriptors(self, child: Child, how: int) -> list[int] | tuple[()] | None:
        """Take the descriptors of a large result; None if there is no room for them, whatever we do."""
        self._give_up_spares()
        from . import kept  # noqa: F401 - now: what reads large results takes descriptors to be imported

        return wire.receive_descriptors(child.side_channel) if how == wire.RETURNED_FILE else ()

    def _give_up_spares(self) -> None:
        _close(self._spares)
        self._spares.clear()

    def _bury(self, child: Child, _: int) -> None:
        """Settle what a worker leaves that has ended."""
        if child.connected:
            # What it sent before its end is still there: a result that was finished is not lost.
            with suppress(BlockingIOError):
                while self._receive(child):
                    pass
            self._disconnect(child)
        if child.exit_fd >= 0:
            self._selector.unregister(child.exit_fd)
        not_begun = child.take_back()
        if child.who is NOBODY:
            not_begun[:0] = child.held.values()
            child.held.clear()
        self._listener.end_output(child)
        self._dismiss(child)
        self._leaving.remove(child)
        self._unsent.discard(child)
        death = child.close()
        if death.signal == "SIGKILL" and (child.held or child.who is NOBODY):
            death = death._replace(short_of_memory=self._kills.claim())
        if child.who is NOBODY:
            self._failed_starts += not self._any_boots()
            self._start_error = partial(death.boot_error, in_a_row=self._failed_starts, program=self._program)
        else:
            self._failed_starts = 0  # there is room for another
        while child.held:  # one, since all that it has answered was read
            self._fail_latest(child, death.error)
        if child.kept is not None:
            child.kept.loss = partial(death.loss_error, result_of=child.kept.task_name)
            self._keepers.discard(child)
        self._put_back(not_begun)

    def _fail_latest(
        self, child: Child, error_of: Callable[[str], WorkerDiedError | MemoryLimitError]
    ) -> None:
        """Fail the attempt that a worker is at, of which it will not tell: the last that it holds."""
        if child.held:
            ticket, job = child.held.popitem()
            outcome, elapsed = WorkerDied(error_of(job.attempt.task_name)), monotonic() - child.busy_since
            self._end(Finished.unmeasured(ticket, outcome, child.who, elapsed))

    def _fail_queue(self, error_of: Callable[[str], WorkerDiedError]) -> None:
        for job in self._queue:
            outcome = WorkerDied(error_of(job.attempt.task_name))
            self._end(Finished.unmeasured(job.attempt.ticket, outcome, NOBODY))
        self._queue.clear()

    def _end(self, finished: Finished) -> None:
        self._inbox.append(finished)
        self._jobs -= 1


def _unsendable_initializer(error: SerializationError) -> SerializationError:
    from ...serialization.culprit import advice_for

    return SerializationError(
        f"The initializer cannot be sent to worker processes: {error.path} is a {error.type}, "
        f"which cannot be serialized. {advice_for(error.type)}.",
        path=error.path,
        type_name=error.type,
    )


def _rank(job: Job) -> int:
    return job.attempt.rank


def _close(descriptors: list[int] | tuple[()] | None) -> None:
    for descriptor in descriptors or ():
        os.close(descriptor)


def _over_limit(limit: int, peak: int, task_name: str) -> MemoryLimitError:
    return MemoryLimitError(
        f"Task {task_name!r} had {peak:,} bytes of memory, and its worker may have {limit:,}; "
        "raise memory_limit, or let the task work in smaller pieces",
        task_name=task_name,
        limit=limit,
        peak=peak,
    )


def _not_started(error: OSError, task_name: str) -> WorkerDiedError:
    return WorkerDiedError(
        f"Task {task_name!r} could not be run: no worker process could be started ({error})",
        task_name=task_name,
    )
