"""A graph as text that other programs draw.

Nodes are named by their index, and names of tasks stand in labels only, so that every name is drawn as
it is, but for characters that no picture can show.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..visible import visible

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
    lines += [f'    t{task}["{_in_mermaid(name)}"]' for task, name in enumerate(graph.names)]
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
    lines += [f'    t{task} [label="{_in_dot(name)}"]' for task, name in enumerate(graph.names)]
    lines += [f"    t{task} -> t{below}" for task, below in _edges(graph)]
    return "\n".join([*lines, "}"]) + "\n"


def _edges(graph: Graph) -> list[tuple[int, int]]:
    return [(task, below) for task, dependants in enumerate(graph.dependants) for below in dependants]


def _in_mermaid(name: str) -> str:
    """Write all but letters, digits and a few harmless signs as numbers."""
    return "".join(
        character if character.isalnum() or character in "_-." else f"#{ord(character)};"
        for character in visible(name)
    )


def _in_dot(name: str) -> str:
    """Escape what has a meaning in a label; not by numbers: some releases of Graphviz read no large ones."""
    return visible(name).replace("\\", "\\\\").replace('"', '\\"').replace("&", "&amp;")
