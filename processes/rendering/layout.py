"""Where the nodes and lines of a graph's drawing go: in layers, from left to right.

Each node stands in the layer behind the last one it depends on. A line that passes layers has a *bend* in
each of them, which takes part in what follows as nodes do. Within the layers, nodes and bends are put in the
order of their neighbours' mean places, so that few lines cross, and then as near to these as their order lets
them.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

ROUNDS = 8  # over all layers, there and back in turn; more change little
NODE_HEIGHT = 28
NODE_GAP = 12  # between two nodes of a layer
BEND_HEIGHT = 2
LAYER_GAP = 56  # room for the lines between two layers


@dataclass(frozen=True, slots=True)
class Layout:
    """A drawing, in units that are pixels where it is not scaled.

    Parameters
    ----------
    width, height : float
        Of the whole.
    nodes : list of tuple of float
        For each node its left edge, its top, and its width.
    lines : list of tuple of (int, int, list)
        For each line the nodes that it leads from and to, and the points that it passes, ends included.
    """

    width: float
    height: float
    nodes: list[tuple[float, float, float]]
    lines: list[tuple[int, int, list[tuple[float, float]]]]


def layers_of(dependencies: Sequence[Sequence[int]]) -> list[int]:
    """Return for each node the number of its layer.

    Parameters
    ----------
    dependencies : sequence of sequence of int
        For each node those it depends on; these have smaller numbers.
    """
    layers = [0] * len(dependencies)
    nearest = [len(layers)] * len(dependencies)  # layer of what depends on it
    for node, needed in enumerate(dependencies):
        layers[node] = max((layers[other] + 1 for other in needed), default=0)
        for other in needed:
            nearest[other] = min(nearest[other], layers[node])
    # What depends on nothing need not stand at the far left.
    return [
        layer if needed else max(0, before - 1) if before < len(layers) else 0
        for layer, needed, before in zip(layers, dependencies, nearest, strict=True)
    ]


def lay_out(dependencies: Sequence[Sequence[int]], widths: Sequence[float]) -> Layout:
    """Find places for the nodes and lines of a graph.

    Parameters
    ----------
    dependencies : sequence of sequence of int
        For each node those it depends on; these have smaller numbers.
    widths : sequence of float
        How wide each node is to be, at least.
    """
    grid = _Grid(dependencies)
    for round_ in range(ROUNDS):
        grid.order(backwards=round_ % 2 == 1)
    places = grid.places()
    top = min((place - height / 2 for place, height in zip(places, grid.heights, strict=True)), default=0.0)
    places = [place - top for place in places]
    columns = _columns(grid.layers, widths)
    nodes = [
        (columns[layer][0], places[node] - NODE_HEIGHT / 2, columns[layer][1])
        for node, layer in enumerate(grid.layers[: len(widths)])
    ]
    lines = []
    for source, target, bends in grid.lines:
        points = [(sum(columns[grid.layers[source]]), places[source])]
        for bend in bends:
            left, width = columns[grid.layers[bend]]
            points += [(left, places[bend]), (left + width, places[bend])]
        points.append((columns[grid.layers[target]][0], places[target]))
        lines.append((source, target, points))
    return Layout(
        sum(columns[-1]) if columns else 0.0,
        max((place + height / 2 for place, height in zip(places, grid.heights, strict=True)), default=0.0),
        nodes,
        lines,
    )


class _Grid:
    """Nodes and bends in layers; bends have the numbers behind those of the nodes."""

    def __init__(self, dependencies: Sequence[Sequence[int]]) -> None:
        self.layers = layers_of(dependencies)
        self.heights = [NODE_HEIGHT] * len(dependencies)
        self.lines: list[tuple[int, int, list[int]]] = []
        self._before: list[list[int]] = [[] for _ in dependencies]
        self._behind: list[list[int]] = [[] for _ in dependencies]
        for target, needed in enumerate(dependencies):
            for source in needed:
                self._add_line(source, target)
        self._rows: list[list[int]] = [[] for _ in range(max(self.layers, default=-1) + 1)]
        for node, layer in enumerate(self.layers):
            self._rows[layer].append(node)

    def _add_line(self, source: int, target: int) -> None:
        bends = []
        last = source
        for layer in range(self.layers[source] + 1, self.layers[target]):
            bends.append(len(self.layers))
            self.layers.append(layer)
            self.heights.append(BEND_HEIGHT)
            self._before.append([])
            self._behind.append([])
            self._join(last, bends[-1])
            last = bends[-1]
        self._join(last, target)
        self.lines.append((source, target, bends))

    def _join(self, one: int, other: int) -> None:
        self._behind[one].append(other)
        self._before[other].append(one)

    def order(self, *, backwards: bool) -> None:
        """Sort each layer by the places of its neighbours in the one before, or behind."""
        neighbours = self._behind if backwards else self._before
        place = [0.0] * len(self.layers)
        for row in reversed(self._rows) if backwards else self._rows:
            wanted = {
                node: _mean([place[other] for other in neighbours[node]], order)
                for order, node in enumerate(row)
            }
            row.sort(key=wanted.__getitem__)
            for order, node in enumerate(row):
                place[node] = order

    def places(self) -> list[float]:
        """Return how far down the middle of each node and bend is."""
        offsets = [self._offsets(row) for row in self._rows]
        places = [0.0] * len(self.layers)
        for row, offset in zip(self._rows, offsets, strict=True):
            for node, place in zip(row, offset, strict=True):
                places[node] = place - offset[-1] / 2
        for round_ in range(ROUNDS):
            backwards = round_ % 2 == 1
            neighbours = self._behind if backwards else self._before
            rows = list(zip(self._rows, offsets, strict=True))
            for row, offset in reversed(rows) if backwards else rows:
                wanted = [_mean([places[other] for other in neighbours[node]], places[node]) for node in row]
                for node, place in zip(row, _spread(wanted, offset), strict=True):
                    places[node] = place
        return places

    def _offsets(self, row: list[int]) -> list[float]:
        """Return how far apart from the first in a row each must be at least."""
        offsets = [0.0]
        for above, below in pairwise(row):
            offsets.append(offsets[-1] + (self.heights[above] + self.heights[below]) / 2 + NODE_GAP)
        return offsets


def _mean(values: list[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise


def _spread(wanted: list[float], offsets: list[float]) -> list[float]:
    """Return the places nearest to those that are wanted, by least squares, as far apart as they must be.

    Those that would be too near to each other move as one block, to where its members want it on average
    (isotonic regression by pooling).
    """
    blocks: list[tuple[float, int]] = []  # the sum of what members want, less their offsets; their number
    for place, offset in zip(wanted, offsets, strict=True):
        total, count = place - offset, 1
        while blocks and blocks[-1][0] / blocks[-1][1] >= total / count:
            before, members = blocks.pop()
            total, count = total + before, count + members
        blocks.append((total, count))
    means = [total / count for total, count in blocks for _ in range(count)]
    return [mean + offset for mean, offset in zip(means, offsets, strict=True)]


def _columns(layers: list[int], widths: Sequence[float]) -> list[tuple[float, float]]:
    """Return for each layer its left edge, and the width of its widest node."""
    widest = [0.0] * (max(layers, default=-1) + 1)
    for layer, width in zip(layers, widths, strict=False):  # bends stand behind the nodes
        widest[layer] = max(widest[layer], width)
    lefts = accumulate((width + LAYER_GAP for width in widest), initial=0.0)
    return list(zip(lefts, widest, strict=False))
