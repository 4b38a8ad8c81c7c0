"""What a run measures of its tasks.

It is kept as rows of numbers, in the order in which attempts end, and made into objects when it is asked for.
An object a task would be a third of all that a large run makes, for the garbage collector to look at again
and again; and a column for each number would be as many places far apart in memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct
from typing import TYPE_CHECKING

from .lazy_mapping import LazyMapping
from .results import ByName

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .attempt import Finished, Worker


_ROW = Struct("QddddQ")  # task, ready_at, started_at, elapsed_seconds, cpu_seconds, peak_rss_bytes


@dataclass(slots=True)
class TaskMetrics:
    """What was measured of one task.

    Parameters
    ----------
    started_at : float, default 0.0
        When its first attempt began, in seconds since the epoch; 0.0 if none did.
    finished_at : float, default 0.0
        When its last attempt ended, in seconds since the epoch; 0.0 if none did.
    queue_seconds : float, default 0.0
        How long its attempts waited for a worker, or for resources, together.
    cpu_seconds : float, default 0.0
        Processor time of its attempts: of their thread, or of the whole worker process, without processes
        that it has started; exact to 50 µs each. 0.0 of an attempt that a time limit or a death has ended.
    peak_rss_bytes : int, default 0
        The most resident memory that the process that ran it had had by then; 0 where unknown.
    worker : str, default ""
        Who ran the last attempt, as in ``thread-1`` or ``process-2``.
    pid : int, default 0
        That worker's process id.
    host : str, default ""
        The name of the machine.
    """

    started_at: float = 0.0
    finished_at: float = 0.0
    queue_seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_rss_bytes: int = 0
    worker: str = ""
    pid: int = 0
    host: str = ""


class Measurements(LazyMapping[TaskMetrics]):
    """The metrics of each task of which an attempt has ended.

    Parameters
    ----------
    names : sequence of str
        The tasks' names, in topological order.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self._rows = bytearray()
        self._workers: list[Worker] = []

    def add(self, task: int, finished: Finished, ready_at: float) -> None:
        """Count an attempt.

        Parameters
        ----------
        task : int
            The task's index in the names.
        finished : Finished
            How the attempt ended.
        ready_at : float
            Since when it could have begun, in seconds since the epoch.
        """
        self._rows += _ROW.pack(
            task,
            ready_at,
            finished.started_at,
            finished.elapsed_seconds,
            finished.cpu_seconds,
            finished.peak_rss_bytes,
        )
        self._workers.append(finished.worker)

    def attempts(self) -> Iterator[tuple[str, TaskMetrics]]:
        """Give for each attempt, as they ended, its task's name and the metrics of it alone."""
        # Of a copy: after a Ctrl-C a run that a function holds up may add one more, with its worker after it.
        rows = _ROW.iter_unpack(self._rows.copy())
        for row, worker in zip(rows, self._workers, strict=False):
            task, ready_at, started_at, elapsed, cpu, rss = row
            yield (
                self._names[task],
                TaskMetrics(
                    started_at,
                    started_at + elapsed,
                    max(0.0, started_at - ready_at),
                    cpu,
                    rss,
                    worker.label,
                    worker.pid,
                    worker.host,
                ),
            )

    def _make(self) -> dict[str, TaskMetrics]:
        """Make them, in topological order."""
        of_task: dict[str, TaskMetrics] = {}
        for name, attempt in self.attempts():
            metrics = of_task.setdefault(name, attempt)
            if metrics is not attempt:
                metrics.finished_at = attempt.finished_at
                metrics.queue_seconds += attempt.queue_seconds
                metrics.cpu_seconds += attempt.cpu_seconds
                metrics.peak_rss_bytes = max(metrics.peak_rss_bytes, attempt.peak_rss_bytes)
                metrics.worker, metrics.pid, metrics.host = attempt.worker, attempt.pid, attempt.host
        made = {name: of_task[name] for name in self._names if name in of_task}
        return ByName(made, " of which an attempt has ended", frozenset(self._names))
