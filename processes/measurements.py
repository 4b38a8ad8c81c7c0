"""What a run measures of its tasks.

It is kept as rows of numbers, in the order in which attempts end, and made into objects when it is asked for.
An object a task would be a third of all that a large run makes, for the garbage collector to look at again
and again; and a column for each number would be as many places far apart in memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from struct import Struct
from typing import TYPE_CHECKING

from .execution_report import TaskMetrics

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .attempt import Finished, Worker


_ROW = Struct("QddddQ")  # task, ready_at, started_at, elapsed_seconds, cpu_seconds, peak_rss_bytes


class Measurements(Mapping[str, TaskMetrics]):
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

    @cached_property
    def _metrics(self) -> dict[str, TaskMetrics]:
        """All of them, in topological order; made once the run has ended."""
        of_task: dict[int, TaskMetrics] = {}
        for row, worker in zip(_ROW.iter_unpack(self._rows), self._workers, strict=True):
            task, ready_at, started_at, elapsed, cpu, rss = row
            metrics = of_task.get(task)
            if metrics is None:
                metrics = of_task[task] = TaskMetrics(started_at)
            metrics.finished_at = started_at + elapsed
            metrics.queue_seconds += max(0.0, started_at - ready_at)
            metrics.cpu_seconds += cpu
            metrics.peak_rss_bytes = max(metrics.peak_rss_bytes, rss)
            metrics.worker, metrics.pid, metrics.host = worker.label, worker.pid, worker.host
        return {self._names[task]: of_task[task] for task in sorted(of_task)}

    def __getitem__(self, name: str) -> TaskMetrics:
        return self._metrics[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._metrics)

    def __len__(self) -> int:
        return len(self._metrics)

    def __repr__(self) -> str:
        return repr(self._metrics)
