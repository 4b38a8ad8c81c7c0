"""A graph as text that other programs draw.

Nodes are named by their index, and names of tasks stand in labels only, so that every name is drawn as
it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..graph import Graph


def to_mermaid(graph: Graph) -> str:
    """Draw a graph as a Mermaid flowchart.

    Parameters
    ----------
    graph : Graph
        What to draw; arrows lead from a task to those that depend on it.

    Returns
    -------
    str
        The text, ending in a new line.
    """
    lines = ["flowchart TD"]
    lines += [f'    t{task}["{_escaped(name, "#{};")}"]' for task, name in enumerate(graph.names)]
    lines += [f"    t{task} --> t{below}" for task, below in _edges(graph)]
    return "\n".join(lines) + "\n"


def to_dot(graph: Graph) -> str:
    """Draw a graph in Graphviz's DOT language.

    Parameters
    ----------
    graph : Graph
        What to draw; arrows lead from a task to those that depend on it.

    Returns
    -------
    str
        The text, ending in a new line.
    """
    lines = ["digraph {", "    node [shape=box]"]
    lines += [f'    t{task} [label="{_escaped(name, "&#{};")}"]' for task, name in enumerate(graph.names)]
    lines += [f"    t{task} -> t{below}" for task, below in _edges(graph)]
    return "\n".join([*lines, "}"]) + "\n"


def _edges(graph: Graph) -> list[tuple[int, int]]:
    return [(task, below) for task, dependants in enumerate(graph.dependants) for below in dependants]


def _escaped(name: str, entity: str) -> str:
    """Write all but letters, digits and a few harmless signs as numbers, as both languages read them."""
    return "".join(
        character if character.isalnum() or character in "_-." else entity.format(ord(character))
        for character in name
    )
