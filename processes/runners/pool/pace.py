"""How much work stands in line at the workers, and how long their results may gather."""

from __future__ import annotations

from . import abilities, wire

ORDERED_SECONDS = 2e-4
"""From such calls on, only what is more urgent than all that may become ready by what a worker holds is put
in line there. With shorter ones, to have no line costs more than the order is worth.
"""

AHEAD_SECONDS, UNORDERED_AHEAD_SECONDS = 0.012, 0.004
"""Work that a worker may have in line behind what it runs, and where what comes may have to wait for it."""

AHEAD_BYTES = 1 << 22
"""Arguments that a worker may have in line, if more than one attempt's: they take memory, and results wait
while we serialize them.
"""

OVERHEAD_SECONDS = 1e-5  # of a worker, for an attempt, beside the call itself
LEAST_NAP, MOST_NAP = 1e-4, 1e-3  # in seconds
FEW_RESULTS = 8  # at a look; with more, the parent cannot keep up
SHORTEST_SECONDS = 3e-6  # of calls with which it can; workers run dry while it sleeps otherwise (measured)
_WEIGHT = 1 / 8  # of the latest in a mean


class Pace:
    """Learns from a run's calls, arguments and results; decides, and does nothing.

    Attributes
    ----------
    heeds_order, is_sated : bool
        As for :class:`processes.runners.base.ProcessRunner`.
    has_large_arguments : bool
        Whether arguments were large lately; the size of each is to be noted then.
    """

    __slots__ = (
        *("_bytes_at_once", "_keeps_up", "_max_workers", "_mean_arguments", "_mean_result", "_mean_seconds"),
        *("has_large_arguments", "heeds_order", "is_sated"),
    )

    def __init__(self, max_workers: int) -> None:
        self._max_workers = max_workers
        self._mean_seconds: float | None = None  # of a call
        self._mean_result = 0.0  # bytes
        self._mean_arguments = 0.0  # bytes, as far as they were noted
        self._bytes_at_once = 0  # of arguments that were serialized since the last look
        self._keeps_up = False  # whether the last look brought few messages
        self.has_large_arguments = False
        self.heeds_order = True
        self.is_sated = False

    def note_arguments(self, size: int) -> None:
        """Note how many bytes of arguments an attempt has added."""
        self._mean_arguments += (size - self._mean_arguments) * _WEIGHT
        self.has_large_arguments = self._mean_arguments >= wire.CHUNK / 8
        if not self.has_large_arguments:
            self._mean_arguments = 0.0
        self._bytes_at_once += size
        self.is_sated = self._bytes_at_once > AHEAD_BYTES * self._max_workers

    def note_result(self, seconds: float, size: int) -> None:
        """Note how long a call has taken, and the bytes of its result."""
        mean = self._mean_seconds
        self._mean_seconds = seconds if mean is None else mean + (seconds - mean) * _WEIGHT
        self._mean_result += (size - self._mean_result) * _WEIGHT

    def note_look(self, messages: int) -> None:
        """Note how many messages a look at the workers has brought."""
        self._keeps_up = messages < FEW_RESULTS
        self.heeds_order = self._mean_seconds is None or self._mean_seconds > ORDERED_SECONDS
        self._bytes_at_once = 0
        self.is_sated = False

    def ahead(self) -> int:
        """Tell how many attempts a worker may have in line behind what it runs."""
        if self._mean_seconds is None or not abilities.CAN_TAKE_BACK:
            return 0
        seconds = AHEAD_SECONDS if self.heeds_order else UNORDERED_AHEAD_SECONDS
        ahead = int(seconds / (self._mean_seconds + OVERHEAD_SECONDS))
        if self.has_large_arguments:
            return min(ahead, max(1, int(AHEAD_BYTES / self._mean_arguments)))
        return ahead

    def nap_seconds(self, shortest_line: int) -> float:
        """Tell how long to sleep while results gather, since to look for each one takes processor time.

        Meanwhile no worker may run dry, nor wait for room to send. A longer sleep is also more likely to end
        in time: who has used much of a processor may have to wait for one for some milliseconds.
        """
        mean = self._mean_seconds
        if mean is None or mean < SHORTEST_SECONDS or not self._keeps_up:
            return 0.0
        most_results = min(shortest_line / 2, wire.CHUNK / self._mean_result)
        nap = min(most_results * (mean + OVERHEAD_SECONDS), MOST_NAP)
        return nap if nap >= LEAST_NAP else 0.0

    def is_quick(self) -> bool:
        """Tell whether calls have been so short lately that the next result is worth waiting for awake."""
        return self._mean_seconds is not None and self._mean_seconds <= wire.SPIN_SECONDS
