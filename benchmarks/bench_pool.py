"""What worker processes cost and bring: the pool of `processes` beside other pools."""

from __future__ import annotations

from time import time
from typing import TYPE_CHECKING

from cold import first_result_at
from measuring import call_fresh, microseconds_a_task, seconds_per_run, take_turns
from subjects import PEER_POOLS, POOL, POOL_WITH_LIMITS, SLOW, WARM_POOLS
from tables import Table
from work import BURN_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from measuring import Settings

BARE_FORKS = "bare forks, a share each"  # knows independent nodes only
BARE_INTERPRETER = "python -c pass"
TAKE_LAMBDAS = ["loky", "joblib", *SLOW]  # of the peers
FEWER = {(row, shape): 500 for row in SLOW for shape in ("wide", "chain", "random")}
FEWER["joblib", "chain"] = 100
"""How many tasks are enough for those that take milliseconds a task."""

BURNS = 8


def measure(settings: Settings) -> Iterator[Table]:
    """Measure no-ops on warm workers, real work, and the start of cold ones."""
    few = 10 if settings.quick else 1
    others = [POOL_WITH_LIMITS, *WARM_POOLS, BARE_FORKS]
    yield _no_ops(settings, "independent no-ops", "wide", 10_000 // few, "no-op", others)
    yield _no_ops(settings, "no-ops in a chain", "chain", 1_000 // few, "no-op", WARM_POOLS)
    yield _no_ops(settings, "no-ops with 0 to 3 dependencies", "random", 5_000 // few, "no-op", WARM_POOLS)
    yield _no_ops(settings, "closures", "wide", 2_000 // few, "closures", TAKE_LAMBDAS)
    yield _computing(settings)
    yield _cold_start(settings)


def _no_ops(settings: Settings, what: str, shape: str, size: int, work: str, peers: list[str]) -> Table:
    def sample(row: str) -> list[float]:
        tasks = min(size, FEWER.get((row, shape), size))
        return microseconds_a_task(row, shape, tasks, work, settings.workers)

    title = f"{size:_} {what} on {settings.workers} warm workers".replace("_", " ")
    return _compared(title, "µs a task", settings, [POOL, *peers], sample, POOL)


def _computing(settings: Settings) -> Table:
    def sample(row: str) -> list[float]:
        seconds: list[float] = call_fresh(seconds_per_run, row, "wide", burns, "burn", settings.workers)
        return seconds

    burns = BURNS // (2 if settings.quick else 1)
    title = f"{burns} times {BURN_SECONDS} s of computing on {settings.workers} warm workers"
    rows = [POOL, *WARM_POOLS, BARE_FORKS]
    return _compared(title, "s", settings, rows, sample, BARE_FORKS)


def _cold_start(settings: Settings) -> Table:
    def sample(row: str) -> list[float]:
        start = time()
        if row == BARE_INTERPRETER:
            return [call_fresh(time) - start]
        return [call_fresh(first_result_at, row, settings.workers) - start]

    title = f"From the start of the interpreter to the first results of {settings.workers} workers"
    rows = [POOL, BARE_INTERPRETER, *PEER_POOLS]
    thorough = settings._replace(rounds=settings.rounds + 2)
    return _compared(title, "s", thorough, rows, sample, POOL)


def _compared(
    title: str,
    unit: str,
    settings: Settings,
    rows: list[str],
    sample: Callable[[str], list[float]],
    reference: str,
) -> Table:
    """Fill a table of one column, and add the ratio to one of its rows."""
    table = Table(title)
    if settings.quick:
        rows = [row for row in rows if row not in SLOW]
    take_turns(table, settings.rounds, [unit], rows, lambda row, _column: sample(row))
    table.add_ratio(unit, reference)
    return table
