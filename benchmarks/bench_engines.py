"""What scheduling and reporting add to what other people's engines cost by themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from measuring import microseconds_a_task, take_turns
from subjects import ON_ENGINES
from tables import Table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from measuring import Settings

SHAPES = ("wide", "chain", "random")


def measure(settings: Settings) -> Iterator[Table]:
    """Measure no-ops on warm workers of each engine, with this library and without."""

    def sample(row: str, shape: str) -> list[float]:
        return microseconds_a_task(row, shape, size, "no-op", settings.workers)

    size = 100 if settings.quick else 500
    table = Table(f"{size} no-ops on {settings.workers} warm workers of other people's engines: µs a task")
    rows = [row for pair in ON_ENGINES.items() for row in pair]
    take_turns(table, settings.rounds, SHAPES, rows, sample)
    yield table
