"""What a runner is: it executes attempts and gives back how they ended.

A runner knows no graph, no retry, no report. The scheduler decides; the runner starts, waits and stops.
That is why a report is the same whatever the runner.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections import deque
from math import inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import ClassVar, Self

    from ..attempt import Attempt, Message
    from ..task_types import TaskResult
    from .waker import Waker


class ProcessRunner(ABC):
    """The base of all runners; derive from it to write your own.

    An object that a user holds is a description: it can serve many runs, also at the same time. Each
    run works on a copy of it (:meth:`for_run`) and calls, in one thread at a time, :meth:`open`,
    :meth:`prepare`, then :meth:`start`, :meth:`wait` and :meth:`stop` as often as it needs, and :meth:`close`
    at the end.
    State of a run is therefore made in :meth:`open`, and what all runs of a ``with`` block share
    stands in an object that the copies share.

    What a runner must keep:

    - An attempt that was started ends in exactly one :class:`~processes.attempt.Finished`, unless it
      is stopped first. After :meth:`stop` nothing is reported of it.
    - Nothing that the user's code does is raised from :meth:`start`, :meth:`wait` or :meth:`stop`.
    - An attempt with a time limit is announced by :class:`~processes.attempt.Started` when its call
      really begins; the last such message counts.
    - :meth:`close` ends every process and lets go of every thread of the run.

    :func:`processes.perform.perform` is the call of the user's function: it never raises, and makes
    the message. From whatever thread it is called, :meth:`deliver` brings the message to the run.

    Attributes
    ----------
    name : str
        What ``report.runner`` shows.
    takes_sealed : bool
        Whether it can be given arguments that are :class:`~processes.attempt.Sealed`, of which it opens those
        that are another runner's; where not, they are opened before.
    heeds_order : bool
        Whether it looks at an attempt's `next_rank`, which costs time to find; may change during a run.
    starts_anywhere : bool
        Whether :meth:`start` may be called, and alone gets an attempt going, in any thread that has the run's
        turn; see :meth:`processes.runners.waker.Waker.take_turn`.
    is_sated : bool
        Whether it wants to be asked for messages before more is started, though there are free slots.
    results : dict of str to TaskResult
        The results of the run that this copy serves, by task name.
    is_shared : callable
        Tells whether several tasks of that run call a function, the object itself.
    has_line : bool
        Whether that run has a progress line, which is redrawn on the terminal below what tasks print.
    """

    name: ClassVar[str] = "custom"
    takes_sealed: ClassVar[bool] = False
    heeds_order: bool = False
    starts_anywhere: ClassVar[bool] = False
    is_sated: bool = False
    results: dict[str, TaskResult]
    is_shared: Callable[[object], bool]
    has_line: bool = False

    def for_run(self) -> Self:
        """Return the object that serves one run: a shallow copy."""
        return copy.copy(self)

    def open(self, waker: Waker) -> None:
        """Get ready for a run.

        Parameters
        ----------
        waker : Waker
            Ends a wait of the run's thread; its `set` may be called from any thread.
        """
        self._waker = waker
        self._inbox: deque[Message] = deque()

    def prepare(self, count: int) -> None:  # noqa: B027 - most runners have nothing to prepare
        """Get ready for so many attempts, which can start at once; called once, before the first."""

    @property
    @abstractmethod
    def free_slots(self) -> int:
        """How many more attempts can be started now."""

    @abstractmethod
    def start(self, attempt: Attempt) -> None:
        """Take an attempt; never blocks, never raises for what the attempt holds."""

    def stack_of(self, ticket: int) -> str:  # noqa: ARG002 - for those that can tell
        """Tell where an attempt stands, as traceback lines; empty where that cannot be known.

        Asked for before an attempt is stopped at its time limit.
        """
        return ""

    @abstractmethod
    def stop(self, ticket: int) -> None:
        """End an attempt, or leave it behind; its slot is free at once, a late answer is ignored."""

    def deliver(self, message: Message) -> None:
        """Hand a message to the run's thread; may be called from any thread."""
        self._inbox.append(message)
        self._waker.set()

    def wait(self, timeout: float) -> list[Message]:
        """Wait for messages.

        Parameters
        ----------
        timeout : float
            Seconds to wait at most, never more than some tenths of one; 0 only collects what is there.

        Returns
        -------
        list of Started or Finished
            In the order in which they came; empty when the time is over or the waker was set.
        """
        inbox = self._inbox
        if not inbox:
            self._waker.wait(min(timeout, self.poll_seconds))
        messages = []
        while inbox:
            messages.append(inbox.popleft())
        return messages

    @property
    def performs_while_waiting(self) -> bool:
        """Whether the next :meth:`wait` calls a function itself; other runners go on meanwhile."""
        return False

    @property
    def poll_seconds(self) -> float:
        """How often :meth:`wait` must be called for what nothing tells of, in seconds; infinite: never."""
        return inf

    def fileno(self) -> int | None:
        """Return a descriptor that is readable while messages wait; None when the waker tells of them.

        On Windows it is a socket's.
        """
        return None

    @property
    def waits_itself(self) -> bool:
        """Whether neither tells, but only :meth:`wait`: one such runner of several sleeps for all of them."""
        return False

    @abstractmethod
    def close(self) -> None:
        """End what is left of the run; called once, also after an error."""

    def __enter__(self) -> Self:
        """Keep what is costly (workers) warm from run to run until the block is left."""
        return self

    def __exit__(  # noqa: B027 - most runners keep nothing
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Let go of what was kept."""
