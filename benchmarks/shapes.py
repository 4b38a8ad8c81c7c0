"""The graphs that are measured, as plain data: no runner is known here.

A graph is a list of nodes, each a name and the indices of the nodes that it depends on; those always stand
before it. Each shape is a function of the number of nodes that are wanted; where a shape does not come out
even, it has a few nodes less.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

WIDTH = 32  # of a layer: many times the workers, so that it can hide the wait for its slowest node
NEAREST = 2  # how far to each side the nodes are that a node of "nearest" may depend on
SEED = 20_240_229  # any number: the same graphs on every machine and every day


class Node(NamedTuple):
    """A node of a graph."""

    name: str
    dependencies: tuple[int, ...] = ()


Graph = list[Node]


def wide(size: int) -> Graph:
    """Independent nodes."""
    return [_node(index) for index in range(size)]


def chain(size: int) -> Graph:
    """Each node depends on the one before it."""
    return [_node(index, index - 1) if index else _node(index) for index in range(size)]


def diamonds(size: int) -> Graph:
    """One node, two that depend on it, one that depends on both, and so on from that one."""
    graph = [_node(0)]
    while len(graph) + 3 <= size:
        top = len(graph) - 1
        graph += [_node(top + 1, top), _node(top + 2, top), _node(top + 3, top + 1, top + 2)]
    return graph


def stencil(size: int) -> Graph:
    """Layers; a node depends on its neighbours in the layer before: left, middle, right."""
    return _layers(size, lambda _step, column: range(column - 1, column + 2))


def fft(size: int) -> Graph:
    """Layers; a node depends on that above it and on its partner in a butterfly, whose span doubles."""
    spans = WIDTH.bit_length() - 1
    return _layers(size, lambda step, column: (column, column ^ 1 << (step - 1) % spans))


def nearest(size: int) -> Graph:
    """Layers; a node depends on that above it, and with even odds on each of those near it."""
    draw = random.Random(SEED)
    return _layers(
        size,
        lambda _step, column: [
            other
            for other in range(column - NEAREST, column + NEAREST + 1)
            if other == column or draw.random() < 0.5
        ],
    )


def broadcast(size: int) -> Graph:
    """One root; a binary tree grows from it to the width of a layer, and becomes chains."""
    return [
        _node(index, (index - 1) // 2 if index < 2 * WIDTH - 1 else index - WIDTH) if index else _node(index)
        for index in range(size)
    ]


def random_graph(size: int) -> Graph:
    """Each node depends on none to three of those before it."""
    draw = random.Random(SEED)
    return [
        _node(index, *sorted(draw.sample(range(index), min(index, draw.randint(0, 3)))))
        for index in range(size)
    ]


def tree(size: int) -> Graph:
    """Half of the nodes are leaves; each other one depends on two, and the last one on all."""
    graph = [_node(index) for index in range((size + 1) // 2)]
    free = 0  # the first node that no other depends on yet
    while free + 1 < len(graph):
        graph.append(_node(len(graph), free, free + 1))
        free += 2
    return graph


SHAPES: dict[str, Callable[[int], Graph]] = {
    "wide": wide,
    "chain": chain,
    "random": random_graph,
    "diamonds": diamonds,
    "stencil": stencil,
    "tree": tree,
    "fft": fft,
    "nearest": nearest,
    "broadcast": broadcast,
}


def _layers(size: int, above: Callable[[int, int], Iterable[int]]) -> Graph:
    """Make layers of equal width; `above` gives the columns that a node at a step and column depends on."""
    graph = []
    for index in range(size - size % min(size, WIDTH)):
        step, column = divmod(index, WIDTH)
        columns = [other for other in above(step, column) if 0 <= other < WIDTH] if step else []
        graph.append(_node(index, *((step - 1) * WIDTH + other for other in columns)))
    return graph


def _node(index: int, *dependencies: int) -> Node:
    return Node(f"node-{index}", dependencies)
