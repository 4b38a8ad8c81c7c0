"""Draws the tables of a run as SVG: ``python benchmarks/plots.py samples.json FOLDER``.

What a table's columns are decides how it is drawn: numbers of tasks as lines of growth, one unit as bars, and
several patterns or orders as one panel of bars each. Bars and points are medians, whiskers reach from the
smallest to the largest sample. Cells without samples are left out.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    Samples = dict[str, list[float]]

SIZE = re.compile(r"([\d ]+) tasks")
OURS, OTHERS = "tab:blue", "0.7"
WIDE_RANGE = 20  # where the largest median is so many times the smallest, a scale is logarithmic

STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "processes",  # the same samples make the same file
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw what run.py --json has kept.")
    parser.add_argument("samples", type=Path, help="the file")
    parser.add_argument("folder", type=Path, help="where the plots go, one a table")
    arguments = parser.parse_args()
    draw_all(json.loads(arguments.samples.read_text(encoding="utf-8"))["tables"], arguments.folder)


def draw_all(tables: list[dict[str, Any]], folder: Path) -> None:
    """Draw each table into a file that is named after its title."""
    folder.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context(STYLE):
        for table in tables:
            columns = _columns(table["cells"])
            if not columns:
                continue
            sizes = {name: SIZE.fullmatch(name) for name in columns}
            figure = _lines(columns) if all(sizes.values()) else _bars(columns)
            figure.suptitle(table["title"], x=0.01, ha="left", fontweight="bold")
            name = re.sub(r"\W+", "-", table["title"].lower()).strip("-")
            figure.savefig(folder / f"{name}.svg", metadata={"Date": None})


def _columns(cells: dict[str, dict[str, Any]]) -> dict[str, Samples]:
    """Turn rows of cells into columns, without what is no samples."""
    columns: dict[str, Samples] = {}
    for row, by_column in cells.items():
        for column, cell in by_column.items():
            if isinstance(cell, list) and cell:
                columns.setdefault(column, {})[row] = cell
    return columns


def _lines(columns: dict[str, Samples]) -> Figure:
    """Draw a line a row, over the number of tasks."""
    figure = Figure((8, 4.5), layout="constrained")
    axes = figure.subplots()
    for row in dict.fromkeys(row for samples in columns.values() for row in samples):
        points = {
            int(name.removesuffix(" tasks").replace(" ", "")): samples[row]
            for name, samples in columns.items()
            if row in samples
        }
        medians = [median(samples) for samples in points.values()]
        axes.errorbar(
            list(points), medians, _whiskers(list(points.values())), None, "o-", capsize=3, label=row
        )
    axes.set_xscale("log")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("tasks")
    axes.grid(axis="y", color="0.9")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    return figure


def _bars(columns: dict[str, Samples]) -> Figure:
    """Draw a panel a column, with a bar a row."""
    rows = list(dict.fromkeys(row for samples in columns.values() for row in samples))
    figure = Figure((3 + max(5, 2 * len(columns)), 1.2 + 0.25 * len(rows)), layout="constrained")
    panels = figure.subplots(1, len(columns), sharey=True, sharex=len(columns) > 1, squeeze=False)[0]
    values = [median(cell) for samples in columns.values() for cell in samples.values()]
    for axes, (column, samples) in zip(panels, columns.items(), strict=True):
        _panel(axes, rows, samples)
        axes.set_xlabel(column)
        if min(values) > 0 and max(values) > WIDE_RANGE * min(values):
            axes.set_xscale("log")
    return figure


def _panel(axes: Axes, rows: list[str], samples: Samples) -> None:
    places = [rows.index(row) for row in samples]
    axes.barh(
        places,
        [median(cell) for cell in samples.values()],
        xerr=_whiskers(list(samples.values())),
        color=[OURS if row.startswith("processes") else OTHERS for row in samples],
        error_kw={"capsize": 2, "elinewidth": 1},
    )
    axes.set_yticks(range(len(rows)), rows)
    axes.set_ylim(len(rows) - 0.5, -0.5)  # the first row on top
    axes.grid(axis="x", color="0.9")


def _whiskers(cells: list[list[float]]) -> list[list[float]]:
    """Tell how far the smallest and the largest samples are from the medians."""
    return [
        [median(cell) - min(cell) for cell in cells],
        [max(cell) - median(cell) for cell in cells],
    ]


if __name__ == "__main__":
    main()
