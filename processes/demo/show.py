"""Runs the demo pipeline, twice, and prints what came out and how long it took."""

from __future__ import annotations

import sys
from platform import python_version
from typing import TYPE_CHECKING

from processes import ProcessPoolRunner

from .pipeline import build

if TYPE_CHECKING:
    from pathlib import Path

    from processes import ProcessExecutionReport

    from .measures import Ranked

MEGABYTE = 2**20


def show_demo(
    root: Path | None, *, workers: int | None, compare: bool, top: int
) -> tuple[ProcessExecutionReport, bool]:
    """Run the pipeline and print its ranking and a summary; progress goes to standard error.

    Parameters
    ----------
    root : Path or None
        The folder whose packages are ranked; None means the standard library's.
    workers : int or None
        How many worker processes; None means one for each processor that this process may use.
    compare : bool
        Whether to run the same once more sequentially.
    top : int
        How many packages to print.

    Returns
    -------
    ProcessExecutionReport
        The report of the first run.
    bool
        True if all tasks succeeded and both runs gave the same results.

    Raises
    ------
    FileNotFoundError
        If the folder holds no source file.
    """
    process = build(root)
    runner = ProcessPoolRunner(workers)
    _say(f"{len(process.tasks)} tasks on {runner.max_workers} worker processes:")
    report = process.run(runner=runner, progress=True)
    if len(report.successes) < len(report.entries):
        print(report)
        return report, False
    sequential = None
    if compare:
        _say("The same once more sequentially, to measure the speed-up:")
        sequential = process.run(runner="sequential", progress=True)

    print(f"\nHardest to maintain in {root or f'the standard library of Python {python_version()}'}:\n")
    print(ranking_table(report.results["ranking"][:top]))
    print(
        "\nThe score says which percentage of the packages is easier, as the mean over four: statements,\n"
        "share of the code in tangled functions, share of copied statements, PageRank among the imports.\n"
    )
    print(summary(report, runner.max_workers, sequential))
    if sequential is not None and sequential.results != report.results:
        print("The two runs gave different results [this is a bug in processes].")
        return report, False
    return report, True


def ranking_table(ranking: list[Ranked]) -> str:
    """Put a ranking into lines."""
    head = f"  #  {'package':17}  score  statements  tangled  copied  imports  hardest function (complexity)"
    return "\n".join([head, *(_ranking_line(place, ranked) for place, ranked in enumerate(ranking, start=1))])


def _ranking_line(place: int, ranked: Ranked) -> str:
    return (
        f"{place:3}  {ranked['package']:17}  {ranked['score']:5.1f}  {ranked['statements']:10}  "
        f"{ranked['tangled']:7.0%}  {ranked['copied']:6.0%}  {ranked['weight']:7.2%}  "
        f"{ranked['worst_function'] or 'none'} ({ranked['worst_complexity']})"
    )


def summary(report: ProcessExecutionReport, workers: int, sequential: ProcessExecutionReport | None) -> str:
    """Put the measurements of a run on worker processes, and of the same run sequentially, into lines."""
    peak = max(metrics.peak_rss_bytes for metrics in report.metrics.values())
    runs = {f"runner='process', {workers} workers": report, "runner='sequential'": sequential}
    lines = [f"{len(report.entries)} tasks, all succeeded; at most {peak / MEGABYTE:.0f} MB a worker"]
    lines += [
        f"  {how:30}{run.elapsed_seconds:7.2f} s, {_cpu_seconds(run):.2f} s of processor time"
        for how, run in runs.items()
        if run is not None
    ]
    if sequential is not None:
        lines.append(f"  {'speed-up':30}{sequential.elapsed_seconds / report.elapsed_seconds:7.2f}")
    return "\n".join(lines)


def _cpu_seconds(report: ProcessExecutionReport) -> float:
    return sum(metrics.cpu_seconds for metrics in report.metrics.values())


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
