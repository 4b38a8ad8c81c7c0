"""The loop that takes a run from its first task to its last.

The scheduler owns every policy: order, retries and their delays, time limits, the skip cascade,
resources. It works in the thread that called ``run()``. Others touch a run's state only while that thread
sleeps (:meth:`Scheduler._go_on`), or is kept by a task's function or by an observer (`stand_in`), one at a
time. It blocks in its runner's `wait`, or in :meth:`Scheduler._wait_for_any`, and nowhere else.
"""

from __future__ import annotations

from contextlib import ExitStack, suppress
from heapq import heappop, heappush
from itertools import count
from time import time
from typing import TYPE_CHECKING, Any

from .attempt import (
    Attempt,
    Finished,
    Raised,
    Returned,
    Sealed,
    Started,
    TimedOut,
    Unsendable,
)
from .audience import Audience
from .caller import is_importing
from .clock import monotonic, perf_counter
from .events import RunFinished, RunStarted, TaskFinished, TaskRetried, TaskStarted
from .exceptions import ProcessesError, SerializationError
from .failed_task import errored_result, exception_of, with_hint, with_variables_of
from .failure import describe_failure
from .graph import Graph, bind
from .interrupt import LOOK_SECONDS, Interrupt, is_of_debugger
from .measurements import Measurements
from .perform import perform
from .plan import Plan, State
from .resources import in_whole_numbers
from .retry import delay_after
from .runners.team import Team
from .runners.waker import CalledOff, Waker
from .serialization.pickling import dump
from .stand_in import StandIn
from .task_log import record_sink
from .task_types import TaskResult, TaskStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from .attempt import Failed, Message, Outcome
    from .events import Observer
    from .resources import Amounts
    from .runners.base import ProcessRunner
    from .task import Task


# No two runs of a process share tickets: a warm worker may still have unread frames of attempts that an
# earlier run took back.
_TICKETS = count(1)

NO_ATTEMPTS = (0, 0.0)  # how many there were, and how many seconds they took

_SUCCESS = TaskStatus.SUCCESS  # the members of an enum are slow to look up before Python 3.12


class Scheduler:
    """One run of a graph.

    Parameters
    ----------
    graph : Graph
        What to run.
    runner : ProcessRunner
        What runs the tasks that name no runner for themselves.
    process_name : str
        For the observers.
    observers : iterable of Observer
        Who is told of the run's events, in the thread that called :meth:`run`.
    recorders : iterable of Observer
        Who is told of them as soon as they happen, in whatever thread; one at a time.
    resources : mapping of str to float
        How much there is of each resource.
    fail_fast : bool
        Whether the first failure ends the run.
    captures_output : bool
        Whether what a task prints goes to its log file, if it has one.
    durations : sequence of float, optional
        How long each task is expected to take, in seconds.
    has_line : bool
        Whether a recorder redraws a line on the terminal.
    downstream : callable, optional
        Gives the names of the tasks that a task's failure skips; by default the graph's.

    Attributes
    ----------
    runner : ProcessRunner
        This run's own copy of the runner.
    results : dict of str to TaskResult
        By task name; PENDING where a task has not ended.
    metrics : Measurements
        What was measured of each task of which an attempt has ended.
    elapsed_seconds : float
        How long the run took on the wall clock.
    taken_over : tuple of str
        The names of the tasks that an earlier run has run.
    returned : object
        While recorders are told of a success: what the function returned, sealed or not; else None.
    """

    # The interpreter finds the attributes of an object quickly up to 30 of them, or in slots.
    __slots__ = (
        "_audience", "_available", "_began", "_cancelled", "_captures_output", "_downstream", "_earlier",
        "_error", "_fail_fast", "_interrupt", "_needed_by", "_needs", "_only_runner", "_plan", "_ranks",
        "_ready_at", "_running", "_saved", "_sealed", "_stand_in", "_team", "_timers", "_values", "_waker",
        "elapsed_seconds", "graph", "metrics", "process_name", "results", "returned", "runner", "taken_over",
    )  # fmt: skip

    def __init__(
        self,
        graph: Graph,
        runner: ProcessRunner,
        *,
        process_name: str = "",
        observers: Iterable[Observer] = (),
        recorders: Iterable[Observer] = (),
        resources: Mapping[str, float] | None = None,
        fail_fast: bool = False,
        captures_output: bool = False,
        durations: Sequence[float] | None = None,
        has_line: bool = False,
        downstream: Callable[[int], list[str]] | None = None,
    ) -> None:
        self.results = dict.fromkeys(graph.names, TaskResult.pending())
        self.metrics = Measurements(graph.names)
        self.elapsed_seconds = 0.0
        self.taken_over: tuple[str, ...] = ()
        self.returned: Any = None
        self.graph = graph
        self.process_name = process_name
        self._audience = Audience(observers, recorders)
        # What an earlier run has saved, by task; None where nothing is saved in this one either:
        self._saved: dict[int, tuple[TaskResult, Any]] | None = None
        self._available, self._needs = _amounts(resources or {}, graph.tasks)
        self._fail_fast = fail_fast
        self._captures_output = captures_output
        self._downstream = downstream or _names_below(graph)
        self._waker = Waker(None if is_importing() else self._go_on)
        self._team = Team(graph.tasks, runner, self.results, has_line, self._waker)
        self.runner = self._team.default
        is_only_one = len(self._team.numbered) == 1 and self._needs is None
        self._only_runner = self._team.numbered[0] if is_only_one else None
        self._plan = Plan(graph, self._team.number_of, durations, self._needs)
        self._ranks = self._plan.ranks
        # Of tasks that are retried: how many attempts there were, and how many seconds they took.
        self._earlier: dict[int, tuple[int, float]] = {}
        # By task index:
        self._ready_at = [0.0] * len(graph.names)  # in seconds since the epoch
        self._values: list[Any] = [None] * len(graph.names)  # results that a task not yet ended may need
        self._sealed: list[int] = []  # tasks whose results came sealed
        self._needed_by = [len(dependants) for dependants in graph.dependants]
        self._running: dict[int, tuple[int, Attempt]] = {}  # by ticket
        self._began: dict[int, Started] = {}  # attempts with a time limit, by ticket
        # A heap: when, on the monotonic clock; the ticket of the attempt to stop; where that is 0, the index
        # of the task to attempt again.
        self._timers: list[tuple[float, int, int]] = []
        self._interrupt = Interrupt(
            self.cancel,
            inside={perform.__code__, dump.__code__, delay_after.__code__},
            telling=Audience.tell_observers.__code__,
            outside=Scheduler.run.__code__,
        )
        self._stand_in = StandIn(self._drive_for_another, self._waker.set)
        self._cancelled = False
        self._error: BaseException | None = None  # raised in another thread that did a step of the run

    def begin_with(self, saved: dict[int, tuple[TaskResult, Any]], saver: Observer) -> None:
        """Take the results of some tasks over from an earlier run, and have those of this one saved.

        Parameters
        ----------
        saved : dict of int to tuple
            The tasks, in topological order, with all that they depend on among them: each one's result, and
            the value that others may need. It is empty as soon as the run has them.
        saver : Observer
            A recorder that looks at `returned`.
        """
        self._saved = saved
        self._audience.add_recorder(saver)

    def run(self) -> None:
        """Run the graph to its end.

        Raises
        ------
        KeyboardInterrupt
            On Ctrl-C in the main thread. What was finished stands in `results`.
        """
        start = perf_counter()
        self._ready_at = [time()] * len(self._ready_at)
        # Each step of the end is registered before what it ends begins. They are taken in reverse order, all
        # of them, even if a signal's handler raises in one.
        with self._interrupt, suppress(CalledOff), ExitStack() as steps:
            steps.callback(self._end, start)
            steps.callback(self._open_results)
            steps.callback(self._values.clear)
            steps.callback(self._waker.close)
            for runner in self._team.runners:
                runner.open(self._waker)
                steps.callback(runner.close)
            steps.callback(self._stop_running, steps)
            steps.callback(self._stand_in.close)
            self._audience.tell(RunStarted(self.process_name, tuple(self.graph.names), self.runner.name))
            if self._saved:
                self._take_over(self._saved)
            for number, runner in enumerate(self._team.numbered):
                runner.prepare(self._plan.count_ready(number))
            self._drive(self.runner.wait if len(self._team.runners) == 1 else self._wait_for_any)
            if self._error is not None:
                raise self._error
        if self._interrupt.happened:
            raise KeyboardInterrupt

    def _drive(self, wait: Callable[[float], list[Message]], kept_by: object = None) -> None:
        """Take steps until the run is over; with `kept_by` for as long as that keeps the run's own thread."""
        while self._plan.unfinished and not self._cancelled and self._stand_in.kept_by is kept_by:
            self._start_ready_attempts()
            if self._audience.untold and kept_by is None:
                with self._stand_in:
                    self._audience.tell_observers(self._interrupt)
                if self._stand_in.has_driven or self._cancelled:
                    continue  # the run may be over; else this waits: a sated runner takes one at each turn
            self._take(wait(self._longest_wait()))
            if self._timers and self._timers[0][0] <= (now := monotonic()):
                self._take(wait(0))  # an attempt that ended in time is not late because this thread was kept
                self._fire_due_timers(now)

    def _drive_for_another(self, kept_by: object) -> None:
        try:
            self._drive(self._team.wait_for_others, kept_by)
        except BaseException as error:
            self._error, self._cancelled = error, True

    def _end(self, start: float) -> None:
        for index, (attempts, elapsed) in self._earlier.items():  # the run ends before their last attempts
            unfinished = TaskResult(TaskStatus.PENDING, None, None, None, elapsed, attempts)
            self.results[self.graph.names[index]] = unfinished
        self.elapsed_seconds = perf_counter() - start
        self._audience.tell(RunFinished(self.elapsed_seconds))
        self._audience.tell_observers(self._interrupt)
        self._audience.leave()

    def _take_over(self, saved: dict[int, tuple[TaskResult, Any]]) -> None:
        self._plan.take_over(saved)
        self.taken_over = tuple([self.graph.names[index] for index in saved])
        for index, (result, value) in saved.items():
            self._values[index] = value
            self._finish(index, result, from_checkpoint=True)
        saved.clear()  # values go as soon as nobody needs them

    def _go_on(self, message: Message) -> None:
        """Do the next step after a success in the thread that brings it, while the run's own sleeps."""
        if isinstance(message, Started):
            self._note_start(message)
            return
        was_all_told, all_is_started = not self._audience.untold, False
        try:
            self._end_attempt(message)
            all_is_started = self._start_ready_attempts(anywhere=True)
        except BaseException as error:
            self._error, self._cancelled = error, True
        is_more_to_tell = was_all_told and self._audience.untold
        if is_more_to_tell or self._cancelled or not (all_is_started and self._running):
            self._waker.ring()

    def cancel(self) -> None:
        """End the run at its next step; may be called from any thread."""
        self._cancelled = True
        self._waker.call_off()

    # Starting

    def _start_ready_attempts(self, *, anywhere: bool = False) -> bool:
        """Start what can start.

        With `anywhere`, in whatever thread: False if the run's own has to start the next one.
        """
        plan = self._plan
        if (runner := self._only_runner) is not None:  # nothing to choose among: the common case
            free = runner.free_slots
            while free > 0 and plan.count_ready(0):
                if anywhere and not runner.starts_anywhere:
                    return False
                self._start(plan.take(0), runner)
                free = 0 if runner.is_sated else free - 1
            return True
        while (best := self._best_startable()) is not None:
            rank, number = best
            runner = self._team.numbered[number]
            if anywhere and not runner.starts_anywhere:
                return False
            self._start(plan.take(number, rank), runner)
        return True

    def _best_startable(self) -> tuple[int, int] | None:
        """Tell the lowest rank of those that can start, and the number of its runner."""
        best = self._best_within(self._available)
        if best is None or self._needs is None:
            return best
        if reserved := self._plan.reserved_from(best[0], self._available):
            best = self._best_within({**self._available, **dict.fromkeys(reserved, 0)})
            self._plan.note_more(reserved, self._available)
        return best

    def _best_within(self, available: Amounts) -> tuple[int, int] | None:
        startable = [
            (rank, number)
            for number, runner in enumerate(self._team.numbered)
            if runner.free_slots > 0
            and not runner.is_sated
            and (rank := self._plan.rank_of_next(number, available)) is not None
        ]
        return min(startable, default=None)

    def _start(self, index: int, runner: ProcessRunner) -> None:
        if self._needs is not None:
            self._use(self._needs[index], -1)
        attempt = self._make_attempt(index, runner)
        self._running[attempt.ticket] = (index, attempt)
        if self._audience.is_there:
            attempts, _ = self._earlier.get(index, NO_ATTEMPTS)
            self._audience.tell(TaskStarted(attempt.task_name, attempts + 1))
        if attempt.has_sealed and not runner.takes_sealed and not self._unseal(attempt):
            return
        runner.start(attempt)

    def _make_attempt(self, index: int, runner: ProcessRunner) -> Attempt:
        task = self.graph.tasks[index]
        args, kwargs = task.args, task.kwargs
        if sources := self.graph.dependencies[index]:
            values = [self._values[source] for source in sources]
            args, kwargs = bind(args, kwargs, self.graph.passed[index], values)
        attempt = Attempt(
            next(_TICKETS),
            self.graph.names[index],
            task.func,
            args,
            kwargs,
            task.timeout,
            task.traced_vars_frame_filter,
            record_sink(task) if task.has_logger else None,
            self._ranks[index],
        )
        if self._captures_output:
            attempt.captures_output = attempt.on_record is not None
        if self._sealed and sources:
            attempt.has_sealed = any(issubclass(type(self._values[source]), Sealed) for source in sources)
        if runner.heeds_order:
            attempt.next_rank = self._plan.rank_below(index)
        if not task.keep_result:
            attempt.may_stay = self._goes_to_one_more(index, runner)
        return attempt

    def _goes_to_one_more(self, index: int, runner: ProcessRunner) -> bool:
        """Tell whether a result is for one attempt alone, on the same runner."""
        if self._needed_by[index] != 1 or self._saved is not None:
            return False
        (dependant,) = (
            below for below in self.graph.dependants[index] if self._plan.state(below) is not State.SKIPPED
        )
        same_runner = self._team.runner_of(dependant) is runner
        return same_runner and not self.graph.tasks[dependant].retries

    def _unseal(self, attempt: Attempt) -> bool:
        """Open the arguments of an attempt; if that cannot be, the attempt ends."""
        try:
            attempt.args, attempt.kwargs = _arguments(attempt, _open)
        except SerializationError as error:
            self._end_attempt(Finished.unsendable(attempt.ticket, error))
            return False
        attempt.has_sealed = False
        return True

    # Waiting

    def _longest_wait(self) -> float:
        if self._timers:
            return min(max(0.0, self._timers[0][0] - monotonic()), LOOK_SECONDS)
        if not self._running:
            if self._cancelled or not self._plan.unfinished or self._best_startable() is not None:
                return 0.0  # an argument could not be opened, so that an attempt ended before it began
            # A ready task that cannot start now never could: nothing runs that would make room for it.
            raise RuntimeError(
                "The run is stuck: nothing runs and nothing can start [this is a bug in processes]"
            )
        return LOOK_SECONDS

    def _take(self, messages: list[Message]) -> None:
        for message in messages:
            if isinstance(message, Finished):
                if type(message.outcome) is Raised and is_of_debugger(message.outcome.exception):
                    raise message.outcome.exception
                self._end_attempt(message)
            else:
                self._note_start(message)
        messages.clear()  # an exception that is kept may lead to frames of the run, which have this list

    def _wait_for_any(self, timeout: float) -> list[Message]:
        """Wait for messages of several runners."""
        performing = self._team.performing()
        if performing is None:
            return self._team.wait_for_others(timeout)
        self._take(self._team.wait_for_others(0))  # which has the others send what they were given
        if self._cancelled:
            return []
        with self._stand_in:
            messages = performing.wait(0)
        return messages + self._team.wait_for_others(0)

    # Ending

    def _note_start(self, started: Started) -> None:
        if started.ticket not in self._running:
            return  # late news of an attempt that was stopped
        limit = self._running[started.ticket][1].timeout
        if limit is not None:
            self._began[started.ticket] = started
            heappush(self._timers, (started.at + limit, started.ticket, 0))
            if limit < LOOK_SECONDS:
                self._waker.ring()  # else the run's own thread, if it sleeps, awakes in time

    def _end_attempt(self, finished: Finished) -> None:
        running = self._running.pop(finished.ticket, None)
        if running is None:
            return  # a late answer of an attempt that was stopped
        index, attempt = running
        outcome = finished.outcome
        if attempt.timeout is not None:
            self._began.pop(finished.ticket, None)
            if finished.elapsed_seconds > attempt.timeout and isinstance(outcome, (Returned, Raised)):
                outcome = TimedOut(attempt.timeout, "")  # this thread was too busy to look at the time
        if self._needs is not None:
            self._use(self._needs[index], 1)
        if self._interrupt.happened and _is_interrupted(outcome):
            return  # cut short by a Ctrl-C, it has not ended: the task stays PENDING
        attempts, elapsed = self._earlier.pop(index, NO_ATTEMPTS) if self._earlier else NO_ATTEMPTS
        if type(outcome) is not Unsendable:
            self.metrics.add(index, finished, self._ready_at[index])
            attempts += 1
            elapsed += finished.elapsed_seconds
        if isinstance(outcome, Returned):
            self._succeed(index, outcome.value, attempts, elapsed)
        else:
            self._fail_or_retry(index, attempt, outcome, attempts, elapsed)

    def _use(self, needs: Amounts, sign: int) -> None:
        """Take resources, with a `sign` of -1, or give them back, with 1."""
        for name, amount in needs.items():
            self._available[name] += sign * amount
        if sign > 0:
            self._plan.note_more(needs, self._available)

    def _succeed(self, index: int, value: Any, attempts: int, elapsed: float) -> None:
        task = self.graph.tasks[index]
        if self._needed_by[index]:
            self._values[index] = value
        kept = value if task.keep_result else None
        result = TaskResult(_SUCCESS, kept, None, None, elapsed, attempts)
        if issubclass(type(value), Sealed):
            self._sealed.append(index)
            if task.keep_result:
                result.seal(value)
        if newly_ready := self._plan.succeed(index):
            now = time()
            for ready in newly_ready:
                self._ready_at[ready] = now
        self.returned = value
        self._finish(index, result)
        self.returned = None

    def _fail_or_retry(
        self, index: int, attempt: Attempt, outcome: Failed, attempts: int, elapsed: float
    ) -> None:
        task, name = self.graph.tasks[index], self.graph.names[index]
        exception, failure = exception_of(outcome, name)
        delay = None
        if type(outcome) is not Unsendable:  # another attempt could be sent as little
            try:
                delay = delay_after(task, name, attempts, exception)
            except ProcessesError as error:
                exception, failure = error, with_variables_of(failure, error)
        if delay is None:
            failure = with_hint(task, exception, failure, attempts)
            called = (name, task.func, *_arguments(attempt, _shown))
            downstream = self._downstream(index)
            self._fail(index, errored_result(*called, exception, failure, downstream, elapsed, attempts))
        else:
            self._audience.tell(TaskRetried(name, attempts, exception, delay))
            self._earlier[index] = (attempts, elapsed)
            self._plan.delay(index)
            heappush(self._timers, (monotonic() + delay, 0, index))

    def _fail(self, index: int, result: TaskResult) -> None:
        skipped = self._plan.fail(index)
        self._finish(index, result)
        for below in skipped:
            self._finish(below, TaskResult.skipped())
        if self._fail_fast:
            self._cancelled = True

    def _finish(self, index: int, result: TaskResult, *, from_checkpoint: bool = False) -> None:
        name = self.graph.names[index]
        self.results[name] = result
        for source in self.graph.dependencies[index]:
            self._needed_by[source] -= 1
            if not self._needed_by[source]:
                self._values[source] = None
        if self._audience.is_there:
            self._audience.tell(TaskFinished(name, result, from_checkpoint))

    def _open_results(self) -> None:
        for index in self._sealed:
            self.opened_result(self.graph.names[index])

    def opened_result(self, name: str) -> TaskResult:
        """Return a task's result, opened; one that cannot be opened is its task's failure after all."""
        result = self.results[name]
        try:
            _ = result.result  # opens it
        except SerializationError as error:
            index = self.graph.index[name]
            task = self.graph.tasks[index]
            failure, downstream = describe_failure(error.with_traceback(None)), self._downstream(index)
            called = (name, task.func, task.args, task.kwargs)
            measured = result.elapsed_seconds, result.attempts
            result = errored_result(*called, error, failure, downstream, *measured)
            self.results[name] = result
        return result

    # Timers: time limits of attempts, delays of retries

    def _fire_due_timers(self, now: float) -> None:
        while self._timers and self._timers[0][0] <= now:
            _, ticket, index = heappop(self._timers)
            if not ticket:
                self._ready_at[index] = time()
                self._plan.resume(index)
            elif ticket in self._running:
                self._time_out(ticket, now)

    def _time_out(self, ticket: int, now: float) -> None:
        """Stop an attempt whose time is over; it may have begun anew since the timer was set."""
        limit, began = self._running[ticket][1].timeout, self._began[ticket]
        assert limit is not None
        if began.at + limit > now:
            return
        elapsed = now - began.at
        outcome = TimedOut(limit, self._runner_of(ticket).stack_of(ticket))
        self._stop(ticket)
        self._end_attempt(Finished.unmeasured(ticket, outcome, began.worker, elapsed))

    def _stop_running(self, steps: ExitStack) -> None:
        for ticket in reversed(self._running):
            steps.callback(self._stop, ticket)

    def _stop(self, ticket: int) -> None:
        self._runner_of(ticket).stop(ticket)
        attempt = self._running[ticket][1]
        if attempt.on_record is not None:
            attempt.on_record.close()

    def _runner_of(self, ticket: int) -> ProcessRunner:
        return self._team.runner_of(self._running[ticket][0])


def _arguments(attempt: Attempt, of: Callable[[Any], Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return an attempt's arguments, with what a function makes of each."""
    return tuple(map(of, attempt.args)), {name: of(value) for name, value in attempt.kwargs.items()}


def _open(value: Any) -> Any:
    return value.open() if issubclass(type(value), Sealed) else value


def _shown(value: Any) -> Any:
    """Open a value if it is sealed and can be opened."""
    with suppress(SerializationError, CalledOff):
        return _open(value)
    return value


def _names_below(graph: Graph) -> Callable[[int], list[str]]:
    """Make what names all that depends on a task; thousands that fail above the same tasks share one list."""
    made: dict[tuple[int, ...], list[str]] = {}  # by what depends on a task directly

    def names_below(task: int) -> list[str]:
        nearest = tuple(graph.dependants[task])
        if nearest in made:
            return made[nearest]
        # Thousands may each have a chain of their own that ends above the same tasks.
        chain, last, furthest = [], task, nearest
        while len(furthest) == 1:
            (last,) = furthest
            chain.append(graph.names[last])
            furthest = tuple(graph.dependants[last])
        if furthest not in made:
            made[furthest] = [graph.names[below] for below in graph.descendants(last)]
        made[nearest] = chain + made[furthest]
        return made[nearest]

    return names_below


def _amounts(
    resources: Mapping[str, float], tasks: Sequence[Task]
) -> tuple[dict[str, int], Sequence[Amounts] | None]:
    """Return how much there is of each resource, and what each task needs; None if none needs any."""
    if not any(task.resources for task in tasks):
        return {}, None
    available, *needs = in_whole_numbers([resources, *(task.resources for task in tasks)])
    return available, needs


def _is_interrupted(outcome: Outcome) -> bool:
    return isinstance(outcome, Raised) and isinstance(outcome.exception, KeyboardInterrupt)
