"""Tables of samples, as text and as data."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable


class Table:
    """Samples by row and column.

    Parameters
    ----------
    title : str
        What was measured, and its unit.
    corner : str
        What the rows are.

    Attributes
    ----------
    cells : dict of str to dict of str to (list of float) or str
        For each row, by column, the samples, or a text.
    """

    def __init__(self, title: str, corner: str = "") -> None:
        self.title = title
        self.corner = corner
        self.cells: dict[str, dict[str, list[float] | str]] = {}

    def add(self, row: str, column: str, samples: Iterable[float]) -> None:
        """Add samples to a cell."""
        cell = self.cells.setdefault(row, {}).setdefault(column, [])
        if isinstance(cell, list):
            cell += samples

    def put(self, row: str, column: str, text: str) -> None:
        """Put a text into a cell, instead of samples."""
        self.cells.setdefault(row, {})[column] = text

    def median(self, row: str, column: str) -> float | None:
        """Return the median of a cell; None if there are no samples."""
        cell = self.cells.get(row, {}).get(column)
        return median(cell) if isinstance(cell, list) and cell else None

    def add_growth(self, columns: list[str]) -> None:
        """Add a column: the largest median of a row's `columns` in ratio to the smallest."""
        for row in self.cells:
            medians = [value for column in columns if (value := self.median(row, column)) is not None]
            if len(medians) > 1:
                self.put(row, "growth", f"{max(medians) / min(medians):.2f}")

    def add_ratio(self, column: str, reference: str) -> None:
        """Add a column: the medians of a column in ratio to that of one row."""
        whole = self.median(reference, column)
        for row in self.cells:
            part = self.median(row, column)
            if whole and part is not None:
                self.put(row, f"÷ {reference}", f"{part / whole:.2f}")

    def to_text(self, *, markdown: bool) -> str:
        """Give the table as aligned text: medians, with the smallest and the largest sample."""
        columns = list(dict.fromkeys(column for row in self.cells.values() for column in row))
        lines = [[self.corner, *columns]]
        lines += [[name, *(_text(row.get(column)) for column in columns)] for name, row in self.cells.items()]
        widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
        texts = [[cells[0].ljust(widths[0]), *map(str.rjust, cells[1:], widths[1:])] for cells in lines]
        if not markdown:
            return "\n".join([self.title, *("  ".join(cells) for cells in texts), ""])
        rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
        rows = [f"| {' | '.join(cells)} |" for cells in [texts[0], rule, *texts[1:]]]
        return "\n".join([f"**{self.title}**", "", *rows, ""])

    def to_data(self) -> dict[str, Any]:
        """Give all samples, for JSON."""
        return {"title": self.title, "cells": self.cells}


def _text(cell: list[float] | str | None) -> str:
    if not cell:
        return ""
    if isinstance(cell, str):
        return cell
    if len(cell) == 1:
        return _number(cell[0])
    return f"{_number(median(cell))} ({_number(min(cell))} to {_number(max(cell))})"


def _number(value: float) -> str:
    """Write a number with three significant figures, and thousands apart."""
    if abs(value) >= 100:
        return f"{value:_.0f}".replace("_", " ")
    return f"{value:.3g}"
