"""What a task costs where its function does nothing, and how that grows with the number of tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from measuring import microseconds_a_task, take_turns
from subjects import POOL, SEQUENTIAL, THREADS
from tables import Table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from measuring import Settings

GROWING = ("wide", "chain", "random")
OTHERS = ("diamonds", "stencil", "tree")
LARGE = 100_000  # tasks; Dask, whose cost a task grows, would take a minute
LARGE_ROWS = [SEQUENTIAL, "graphlib, bare loop", THREADS, "ThreadPoolExecutor", POOL]
ROWS = [SEQUENTIAL, "graphlib, bare loop", "dask, sync", THREADS, "ThreadPoolExecutor", "dask, threads", POOL]


def measure(settings: Settings) -> Iterator[Table]:
    """Measure each runner, and peers that work in one process: µs a task."""
    for shape in GROWING:
        yield _growth(settings, shape)
    size = 1_000 if settings.quick else 10_000

    def sample(row: str, shape: str) -> list[float]:
        return microseconds_a_task(row, shape, size, "no-op", settings.workers)

    table = Table(f"Other shapes, {size:_} no-ops: µs a task".replace("_", " "))
    take_turns(table, settings.rounds, OTHERS, ROWS, sample)
    yield table


def _growth(settings: Settings, shape: str) -> Table:
    columns = {f"{size:_} tasks".replace("_", " "): size for size in (1_000, 10_000, LARGE)}
    *small, large = columns

    def sample(row: str, column: str) -> list[float]:
        return microseconds_a_task(row, shape, columns[column], "no-op", settings.workers)

    table = Table(f"No-ops, {shape}: µs a task")
    take_turns(table, settings.rounds, small, ROWS, sample)
    if not settings.quick:
        take_turns(table, settings.rounds, [large], LARGE_ROWS, sample)
    table.add_growth(list(columns))
    return table
