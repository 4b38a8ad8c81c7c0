"""What attempts log and print, on its way to the program's handlers and log files."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ...clock import monotonic
from ..logs import handle_record, log_for
from . import wire

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .child import Child

OUTPUT_SECONDS = 1.0  # how often we look for what running attempts have printed meanwhile


class Listener:
    """Logs what workers send; what the program's handlers raise fails the attempt that it is about."""

    def __init__(self) -> None:
        self._is_interrupted = False  # whether a Ctrl-C has struck while the program's handlers logged
        self._next_look = 0.0  # at what is printed, on the monotonic clock

    def take_record(self, child: Child, ticket: int, body: bytes | memoryview) -> None:
        """Take what an attempt has logged."""
        job = child.held.get(ticket)
        listen = None if job is None else job.attempt.on_record
        self._log(child, ticket, handle_record, body, listen, not self._is_interrupted, child.label)

    def take_output(self, child: Child, kind: int, ticket: int, body: bytes | memoryview) -> None:
        """Take what an attempt has printed, the file that it prints to, or how far that is to be told now."""
        from .output import WrittenOutput, take_file, tell_output

        job = child.held.get(ticket)
        on_record = None if job is None else job.attempt.on_record
        if kind == wire.OUTPUT_FILE:
            descriptor = take_file(body, child.side_channel)
            if descriptor is not None and on_record is not None:
                child.output = WrittenOutput(ticket, descriptor, on_record.take_lines)
            elif descriptor is not None:
                os.close(descriptor)
        elif kind == wire.OUTPUT:
            if on_record is not None:
                self._log(child, ticket, tell_output, body, on_record.take_lines)
        elif child.output is not None:
            self._log(child, ticket, child.output.tell, *wire.LENGTH.unpack(body))

    def look(self, children: Iterable[Child], takes_all_of: Callable[[Child], bool]) -> None:
        """Tell what running attempts have printed meanwhile; one look in `OUTPUT_SECONDS`."""
        if monotonic() < self._next_look:
            return
        self._next_look = monotonic() + OUTPUT_SECONDS
        for child in tuple(children):
            if (output := child.output) is not None:
                size = output.size()
                # What was logged before that was printed has been sent, and is to be told before.
                if takes_all_of(child) and child.output is output:
                    self._log(child, output.ticket, output.tell, size)

    def end_output(self, child: Child) -> None:
        """Tell the rest of what an attempt has printed."""
        if (output := child.output) is not None:
            child.output = None
            self._log(child, output.ticket, output.close)

    def _log(self, child: Child, ticket: int, log: Callable[..., object], *args: object) -> None:
        job = child.held.get(ticket)
        failure = log_for(child.who, log, *args)
        if failure is None:
            return
        if isinstance(failure.exception, KeyboardInterrupt):
            self._is_interrupted = True
        if job is not None and job.log_failure is None:
            job.log_failure = failure
