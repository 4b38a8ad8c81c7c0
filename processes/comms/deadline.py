"""Bounds a whole exchange with a server in time."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import Self

from ..reprs import HAS_DAEMONS, start_thread

TIMEOUTS = 10  # a whole exchange may take so many times as long as each answer in it


class Deadline:
    """Shuts down the connections of an exchange that takes too long.

    A socket's own timeout starts anew with each byte: a server that sends one now and then passes it for
    ever.

    Parameters
    ----------
    timeout : float
        Seconds that one answer may take; the whole exchange may take ten times as long.

    Attributes
    ----------
    seconds : float
        What the whole exchange may take.
    passed : bool
        Whether that time was over before the exchange was.
    """

    def __init__(self, timeout: float) -> None:
        self.seconds = TIMEOUTS * timeout
        self.passed = False
        self._connections: list[socket.socket] = []
        self._timer = threading.Timer(self.seconds, self._shut_down)
        self._timer.name = "processes-deadline"
        self._timer.daemon = HAS_DAEMONS

    def __enter__(self) -> Self:
        start_thread(self._timer)  # where none is to be had, each answer alone is bounded
        return self

    def __exit__(self, *_: object) -> None:
        if self._timer.ident is not None:
            self._timer.cancel()
            self._timer.join()
        for connection in self._connections:
            connection.close()

    def connect(
        self, address: tuple[str, int], timeout: float, source_address: tuple[str, int] | None = None
    ) -> socket.socket:
        """Connect as `socket.create_connection` does, for this exchange."""
        connection = socket.create_connection(address, timeout, source_address)
        self._connections.append(connection.dup())  # TLS takes the other one apart
        if self.passed:
            self._shut_down()
        return connection

    def _shut_down(self) -> None:
        self.passed = True
        for connection in list(self._connections):
            with suppress(OSError):  # the other side was faster
                connection.shutdown(socket.SHUT_RDWR)
