"""What a task costs where its function does nothing, and how that grows with the number of tasks."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from measuring import call_fresh, seconds_per_run, take_turns
from subjects import POOL, SEQUENTIAL, THREADS
from tables import Table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from measuring import Settings

GROWING = ("wide", "chain", "random")
OTHERS = ("diamonds", "stencil", "tree")
ROWS = [SEQUENTIAL, "graphlib, bare loop", "dask, sync", THREADS, "ThreadPoolExecutor", "dask, threads"]


def measure(settings: Settings) -> Iterator[Table]:
    """Measure each runner, and peers that work in one process: µs a task."""
    sizes = (1_000, 10_000) if settings.quick else (1_000, 10_000, 100_000)
    for shape in GROWING:
        yield _growth(settings, shape, sizes)
    size = sizes[-2]
    table = Table(f"Other shapes, {size:_} no-ops: µs a task".replace("_", " "))
    take_turns(table, settings.rounds, OTHERS, [*ROWS, POOL], partial(_sample, settings.workers, size))
    yield table


def _growth(settings: Settings, shape: str, sizes: tuple[int, ...]) -> Table:
    columns = {f"{size:_} tasks".replace("_", " "): size for size in sizes}

    def sample(row: str, column: str) -> list[float]:
        return _sample(settings.workers, columns[column], row, shape)

    table = Table(f"No-ops, {shape}: µs a task")
    take_turns(table, settings.rounds, columns, ROWS, sample)
    take_turns(table, settings.rounds, list(columns)[:2], [POOL], sample)  # 100 000 would take too long
    table.add_growth(list(columns))
    return table


def _sample(workers: int, size: int, subject: str, shape: str) -> list[float]:
    seconds = call_fresh(seconds_per_run, subject, shape, size, "no-op", workers)
    return [second / size * 1e6 for second in seconds]
