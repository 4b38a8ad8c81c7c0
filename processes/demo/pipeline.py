"""Which packages of the standard library are hardest to maintain? The graph that answers it.

::

    parse-json ─────┬──────────────▶ import-graph ─┐
                    ├─▶ complexity-json ───────────┼─▶ ranking
    tokenize-json ──┴──────────────▶ duplicates ───┘

with the three tasks on the left once for each package. See :mod:`processes.demo.measures` for what they do.
"""

from __future__ import annotations

import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING

from processes import Process, Task, results_of

from . import measures

if TYPE_CHECKING:
    from os import PathLike


def build(root: str | PathLike[str] | None = None) -> Process:
    """Build the graph.

    Parameters
    ----------
    root : str or os.PathLike, optional
        The folder whose modules and packages are ranked. Defaults to the standard library's.

    Returns
    -------
    Process
        Ready to run; the result of its task ``ranking`` is a list of
        :class:`~processes.demo.measures.Ranked`, the hardest first.

    Raises
    ------
    FileNotFoundError
        If the folder holds no source file.
    """
    packages = measures.find_packages(Path(root or sysconfig.get_paths()["stdlib"]))
    tasks = []
    for package, modules in packages.items():
        # The report need not keep what these two find out: it is large, and dropped as soon as it was used.
        parse = Task(f"parse-{package}", measures.parse, args=(modules,), keep_result=False)
        tokens = Task(f"tokenize-{package}", measures.tokenize_statements, args=(modules,), keep_result=False)
        complexity = Task(
            f"complexity-{package}",
            measures.measure_complexity,
            args=(package,),
            dependencies=results_of(parse, tokens),
        )
        tasks += [parse, tokens, complexity]
    duplicates = Task(
        "duplicates",
        measures.find_copies,
        dependencies=results_of(*(f"tokenize-{name}" for name in packages)),
    )
    import_graph = Task(
        "import-graph",
        measures.weigh_imports,
        dependencies=results_of(*(f"parse-{name}" for name in packages)),
    )
    ranking = Task(
        "ranking",
        measures.rank,
        dependencies=results_of("duplicates", "import-graph", *(f"complexity-{name}" for name in packages)),
    )
    return Process([*tasks, duplicates, import_graph, ranking], name="stdlib-ranking")
