"""How many instructions a task takes: what a busy machine and its caches do not change.

They are counted by Valgrind's Cachegrind, as the difference between an interpreter that runs a graph and one
that only makes it.
"""

from __future__ import annotations

import re
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from bench_scheduling import LARGE
from measuring import NotMeasuredError, call_fresh, warm
from shapes import SHAPES
from subjects import SEQUENTIAL
from tables import Table
from work import WORK

if TYPE_CHECKING:
    from collections.abc import Iterator

    from measuring import Settings

ROWS = [SEQUENTIAL, "graphlib, bare loop"]
SHAPE = "random"  # it costs the most; each would take a minute


def measure(settings: Settings) -> Iterator[Table]:
    """Count for what runs in one thread, and so takes the same way each time: instructions a task."""
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        print("instructions: left out, since Valgrind is not installed", file=sys.stderr)
        return
    sizes = [1_000, 10_000] if settings.quick else [1_000, 10_000, LARGE]
    columns = {f"{size:_} tasks".replace("_", " "): size for size in sizes}
    cells = list(product(ROWS, columns))
    table = Table(f"No-ops, {SHAPE}: instructions a task")
    with ThreadPoolExecutor(settings.workers) as executor:  # a busy machine changes nothing
        counts = {
            (row, column, runs): executor.submit(_count, valgrind, row, columns[column], runs)
            for runs in (1, 0)  # what takes longest first
            for row, column in sorted(cells, key=lambda cell: -columns[cell[1]])
        }
    for row, column in cells:
        try:
            with_one, without = (counts[row, column, runs].result() for runs in (1, 0))
            table.add(row, column, [(with_one - without) / columns[column]])
        except NotMeasuredError as error:
            table.put(row, column, str(error))
    table.add_growth(list(columns))
    yield table


def _count(valgrind: str, subject: str, size: int, runs: int) -> int:
    """Count the instructions of an interpreter in which a graph is run so often."""
    with TemporaryDirectory() as folder:
        log = Path(folder, "log")
        tool = [valgrind, "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"]
        call_fresh(run_graph, subject, size, runs, under=[*tool, f"--log-file={log}"])
        found = re.search(r"I\s+refs:\s+([\d,]+)", log.read_text(encoding="utf-8"))
    assert found is not None
    return int(found[1].replace(",", ""))


# What is called in a fresh interpreter


def run_graph(subject: str, size: int, runs: int) -> None:
    """Make a graph of no-ops and run it some times, all imports and workers made before."""
    graph = SHAPES[SHAPE](size)
    functions = WORK["no-op"](graph)
    with warm(subject, 1) as run:
        for _ in range(runs):
            run(graph, functions)
