"""Large results that stay in the worker that made them, for the one attempt that needs them.

Where a result is for nobody else (`Attempt.may_stay`), writing it into a file and mapping it again takes
longer than many a function does. So the worker keeps the value itself. If the next attempt that it is given
is the one that needs it, the value becomes its argument as it is. Before it does anything else it writes the
value and sends it; and so it does when it is asked to, because that attempt cannot start yet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...attempt import Returned
from ...exceptions import SerializationError
from .parcel import Parcel

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...attempt import Attempt, Outcome
    from ...serialization.pickling import Pickled
    from .child import Child


class Kept(Parcel):
    """A result that a worker keeps, as the parent sees it: a parcel that is empty until it is written.

    Attributes
    ----------
    is_away : bool
        Whether only the worker has the value.
    is_asked_for : bool
        Whether the worker was asked to write it.
    loss : callable or None
        Makes the error of the task, given by its name, that needed the value, once that is lost.
    """

    __slots__ = ("child", "is_asked_for", "is_away", "loss", "ticket")

    def __init__(self, child: Child, attempt: Attempt) -> None:
        super().__init__([], 0, attempt.task_name, "result")
        self.child = child
        self.ticket = attempt.ticket
        self.is_away = True
        self.is_asked_for = False
        self.loss: Callable[[str], Exception] | None = None

    def __repr__(self) -> str:
        return f"<the result of {self.task_name!r}, which {self.child.label} alone had>"

    def fill(self, outcome: Outcome) -> None:
        """Take what the worker has written; nothing, where a function has left what cannot be."""
        match outcome:
            case Returned(Parcel(pieces=pieces, stream_length=stream_length, classes=classes)):
                self.pieces, self.stream_length, self.classes = pieces, stream_length, classes
                self.is_away = False
            case Returned(value):  # written by a failure that shows it: nobody else needs it
                self.keep(value)
                self.is_away = False

    def open(self) -> Any:
        if self.is_away:
            raise SerializationError(f"{self!r} was not written", task_name=self.task_name)
        return super().open()


def kept_among(attempt: Attempt) -> list[Kept]:
    """Find the arguments that only workers have."""
    values = (*attempt.args, *attempt.kwargs.values())
    return list(dict.fromkeys(value for value in values if issubclass(type(value), Kept) and value.is_away))


class KeptHere:
    """A result that this worker keeps.

    Attributes
    ----------
    pickled : Pickled or None
        The same, to be written; None once it is an argument: memory that something looks at cannot grow.
    size : int
        How many bytes.
    """

    __slots__ = ("pickled", "size", "task_name", "ticket", "value")

    def __init__(self, ticket: int, task_name: str, value: object, pickled: Pickled) -> None:
        self.ticket = ticket
        self.task_name = task_name
        self.value = value
        self.pickled: Pickled | None = pickled
        self.size = sum(memoryview(piece).nbytes for piece in (*pickled.stream, *pickled.buffers))

    def hand_on(self) -> Any:
        """Return the value, to be an argument from now on."""
        self.pickled = None
        return self.value
