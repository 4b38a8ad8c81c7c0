"""The demo pipeline, real work on real input, on every runner."""

from __future__ import annotations

import sysconfig
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from measuring import NotMeasuredError, call_fresh, take_turns
from tables import Table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from measuring import Settings

RUNNERS = ("sequential", "thread", "process")


def measure(settings: Settings) -> Iterator[Table]:
    """Measure the whole: building the graph, the run, the report; all runners must rank alike."""
    library = Path(sysconfig.get_paths()["stdlib"])
    root = library / "email" if settings.quick else library
    rankings = set()

    def sample(row: str, _column: str) -> list[float]:
        seconds, ranking = call_fresh(run_demo, str(root), row, settings.workers)
        rankings.add(ranking)
        if len(rankings) > 1:
            raise NotMeasuredError("another ranking than before")
        return [seconds]

    table = Table(f"The demo on the sources in lib/{root.name}, {settings.workers} workers", "runner")
    take_turns(table, settings.rounds, ["s"], RUNNERS, sample)
    table.add_ratio("s", "sequential")
    yield table


def run_demo(root: str, runner: str, workers: int) -> tuple[float, str]:
    """Build and run the pipeline; return the seconds, and the ranking as text."""
    from processes.demo.pipeline import build

    start = perf_counter()
    report = build(root).run(runner=runner, max_workers=None if runner == "sequential" else workers)
    elapsed = perf_counter() - start
    report.raise_for_errors()
    return elapsed, repr(report.results["ranking"])
