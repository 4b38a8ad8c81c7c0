"""Waking the thread that drives a run, and standing in for it while it sleeps."""

from __future__ import annotations

import selectors
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Callable, Sequence

    from ..attempt import Message

# Not epoll, which takes a descriptor: the program may have used them up.
_Selector = getattr(selectors, "PollSelector", selectors.SelectSelector)


class CalledOff(BaseException):
    """The run is to end before its time: raised by what waits for long for something else than messages."""


class Waker:
    """Ends a wait of the one thread that drives a run, from any thread or signal handler.

    A wake-up is remembered: `set` before `wait` makes the wait return at once. Ringing costs nothing
    while nobody sleeps. The sleeper waits in :meth:`wait`, or polls :meth:`fileno` beside descriptors
    of its own, between :meth:`arm` and :meth:`disarm`.

    To wake a thread takes longer than a short call does. So one that has a message in hand may do the run's
    next step itself, while the run's own thread sleeps: see :meth:`take_turn`.

    Parameters
    ----------
    go_on : callable or None
        Does the run's next step, with a message; None where only the run's own thread may do one.

    Attributes
    ----------
    is_called_off : bool
        Whether the run is to end before its time: after a Ctrl-C, or where a stream is left.
    """

    def __init__(self, go_on: Callable[[Message], None] | None) -> None:
        self._go_on = go_on  # until the end
        self._turn = threading.Lock()  # whoever has it may touch the run's state
        self._turn.acquire()
        self.is_called_off: bool = False
        self._is_set = False
        self._bell: Callable[[], object] | None = None  # how to wake the sleeper; None while nobody sleeps
        # Not a SimpleQueue: before Python 3.13 that waits for ever where the handler of a signal takes longer
        # than the timeout.
        self._gate = threading.Lock()  # open while a ring is not yet heard
        self._gate.acquire()
        self._sockets: tuple[socket, socket] | None = None  # until somebody asks for a descriptor

    def set(self) -> None:
        """End the wait in progress, or the next one."""
        # First the flag, then the look at the bell; the sleeper does it the other way round. So one of
        # both sees the other, and no wake-up is lost.
        self._is_set = True
        self.ring()

    def call_off(self) -> None:
        """Have the run end before its time; called from any thread, or from a signal handler."""
        self.is_called_off = True
        self.set()

    def ring(self) -> None:
        """Wake the sleeper; for who has its turn. Until it is awake, others may stand in for it still."""
        bell = self._bell
        if bell is not None:
            bell()

    def wait(self, timeout: float, descriptors: Sequence[int] = ()) -> None:
        """Sleep until :meth:`set` is called, or for `timeout` seconds.

        One of some descriptors that is readable ends the sleep too. With 0 it does nothing: a wake-up is
        remembered for who waits, and several runners may only look.
        """
        if timeout == 0:
            return
        if descriptors:
            with _Selector() as selector:
                for descriptor in (*descriptors, self.fileno()):
                    selector.register(descriptor, selectors.EVENT_READ)
                if self.arm():
                    self._sleep(selector.select, timeout)
                self.hush()
        else:
            self._bell = self._open_gate
            if not self._is_set:
                self._sleep(self._gate.acquire, True, timeout)
        self.disarm()

    def _sleep(self, until: Callable[..., object], *arguments: object) -> None:
        """Let others stand in while this thread, which drives the run, sleeps."""
        self._turn.release()
        try:
            until(*arguments)
        finally:
            self._is_set = True  # from now on nobody takes the turn before this thread
            self._turn.acquire()

    def take_turn(self) -> Callable[[Message], None] | None:
        """Take the place of the thread that drives the run, until :meth:`end_turn`.

        Returns
        -------
        callable or None
            Does the run's next step; None if that thread is awake or about to be, or another one stands in.
        """
        if self._go_on is None or self._is_set or not self._turn.acquire(False):
            return None
        return self._go_on

    def end_turn(self) -> None:
        """End what :meth:`take_turn` began."""
        self._turn.release()

    def arm(self) -> bool:
        """Make :meth:`set` ring the descriptor; False when it was set already, so nobody need sleep."""
        self._bell = self._ring_descriptor
        return not self._is_set

    def disarm(self) -> None:
        """End what :meth:`arm` began, and forget the wake-ups so far."""
        self._bell = None
        self._is_set = False

    def fileno(self) -> int:
        """Return the descriptor that is readable after a `set` in the armed state."""
        if self._sockets is None:
            from .pool.wire import socket_pair

            _, other = self._sockets = socket_pair()
            other.setblocking(False)
        return self._sockets[0].fileno()

    def hush(self) -> None:
        """Make the descriptor unreadable again."""
        assert self._sockets is not None
        with suppress(BlockingIOError):
            self._sockets[0].recv(4096)

    def close(self) -> None:
        """Close the descriptor, if there is one; later calls of `set` ring no bell."""
        self._go_on = None  # it holds the run, which holds this
        self._bell = None
        for end in reversed(self._sockets or ()):  # first what is written to: else that might be a SIGPIPE
            end.close()

    def _open_gate(self) -> None:
        with suppress(RuntimeError):  # it is open
            self._gate.release()

    def _ring_descriptor(self) -> None:
        assert self._sockets is not None
        with suppress(OSError):  # it is full, so readable anyway, or closed since the look at the bell
            self._sockets[1].send(b"1")
