"""The functions of the demo pipeline: each takes what one task is given and returns a small summary.

They are plain functions that know nothing of tasks or processes. "Package" stands for a top-level name of
the standard library, so a single module such as ``turtle`` counts as one too.
"""

from __future__ import annotations

import ast
import os
import tokenize
from array import array
from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass
from hashlib import blake2b
from importlib.util import resolve_name
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

NOT_COUNTED = frozenset({"site-packages", "dist-packages", "test", "tests", "idle_test", "__pycache__"})
SHINGLE = 6  # statements in a row that must be equal; shorter runs are mostly imports and assignments
TANGLED = 15  # from this complexity on a function is commonly held to be hard to follow
DAMPING = 0.85  # the customary value of PageRank
PAGERANK_ROUNDS = 50  # 0.85 to the 50th is 0.0003: what is left of where the reader began

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
BRANCHES = (
    ast.If,
    ast.IfExp,
    ast.For,
    ast.AsyncFor,
    ast.While,
    ast.ExceptHandler,
    ast.Match,
    ast.comprehension,
)
LAYOUT = frozenset(
    {tokenize.ENCODING, tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}
)


@dataclass(frozen=True, slots=True)
class Function:
    """A function or method, with all that is nested in it."""

    name: str
    first_line: int
    last_line: int
    decision_depths: tuple[int, ...]  # for each branch or loop: in how many others it stands


@dataclass(frozen=True, slots=True)
class Outline:
    """What the syntax tree of a module tells."""

    functions: tuple[Function, ...]
    imports: tuple[str, ...]  # absolute names of modules


@dataclass(frozen=True, slots=True)
class Statements:
    """What the tokens of a module tell; three values a statement, docstrings left out."""

    lines: array[int]  # where each begins
    token_counts: array[int]
    fingerprints: array[int]


@dataclass(frozen=True, slots=True)
class Complexity:
    """How hard the functions of a package are to follow."""

    package: str
    statements: int
    tokens: int
    tangled_tokens: int  # how many of the tokens stand in tangled functions
    worst_function: str
    worst_complexity: int


class Ranked(TypedDict):
    """A package in the final ranking, as it stands in the report's JSON; shares are between 0 and 1."""

    package: str
    score: float
    statements: int
    tangled: float
    copied: float
    weight: float
    worst_function: str
    worst_complexity: int


def find_packages(root: Path) -> dict[str, dict[str, str]]:
    """Find the source files of a library.

    Parameters
    ----------
    root : Path
        The folder that holds the top-level modules and packages.

    Returns
    -------
    dict of str to dict of str to str
        For each package, largest first, the files of its modules by the modules' absolute names. Of names
        that differ by case alone only the largest is there.

    Raises
    ------
    FileNotFoundError
        If the folder holds no source file.
    """
    packages: dict[str, dict[str, str]] = {}
    sizes: Counter[str] = Counter()
    for folder, subfolders, files in os.walk(root):
        subfolders[:] = sorted(set(subfolders) - NOT_COUNTED)
        for file in sorted(files):
            path = Path(folder, file)
            parts = path.relative_to(root).with_suffix("").parts
            if path.suffix == ".py" and all(map(str.isidentifier, parts)) and path.is_file():
                packages.setdefault(parts[0], {})[".".join(parts).removesuffix(".__init__")] = str(path)
                sizes[parts[0]] += path.stat().st_size
    if not packages:
        raise FileNotFoundError(
            f"there are no Python source files in {str(root)!r}, so nothing can be measured"
        )
    # Tasks have these names, where case does not count: of Cython and cython.py there is the larger one.
    largest = {name.lower(): name for name, _ in reversed(sizes.most_common())}
    return {name: packages[name] for name, _ in sizes.most_common() if largest[name.lower()] == name}


def parse(modules: dict[str, str]) -> dict[str, Outline]:
    """Outline the syntax tree of each module of a package."""
    return {name: _outline(name, Path(path)) for name, path in modules.items()}


def _outline(module: str, path: Path) -> Outline:
    tree = ast.parse(path.read_bytes(), path.name)
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    return Outline(tuple(_functions(tree, "")), tuple(_imports(tree, package)))


def _functions(node: ast.AST, prefix: str) -> Iterator[Function]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, FUNCTIONS):
            depths = tuple(_decision_depths(child, 0))
            yield Function(prefix + child.name, child.lineno, child.end_lineno or child.lineno, depths)
        elif isinstance(child, ast.ClassDef):
            yield from _functions(child, f"{prefix}{child.name}.")
        elif not isinstance(child, ast.expr):
            yield from _functions(child, prefix)


def _decision_depths(node: ast.AST, depth: int) -> Iterator[int]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, BRANCHES):
            # The tree has an `elif` inside the `else` before it; for a reader both are on one level.
            is_elif = isinstance(node, ast.If) and node.orelse == [child]
            yield depth - is_elif
            yield from _decision_depths(child, depth - is_elif + 1)
        elif isinstance(child, ast.BoolOp):
            yield 0
            yield from _decision_depths(child, depth)
        else:
            yield from _decision_depths(child, depth + isinstance(child, FUNCTIONS))


def _imports(tree: ast.AST, package: str) -> Iterator[str]:
    depth = len(package.split(".")) if package else 0
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level <= depth:
                yield resolve_name("." * node.level + (node.module or ""), package)
            elif node.module:  # the root is itself a package's folder
                yield node.module


def tokenize_statements(modules: dict[str, str]) -> dict[str, Statements]:
    """Cut each module of a package into statements, and take a fingerprint of each."""
    return {name: _statements(Path(path)) for name, path in modules.items()}


def _statements(path: Path) -> Statements:
    lines, counts, fingerprints = array("L"), array("L"), array("Q")
    tokens: list[tokenize.TokenInfo] = []
    with path.open("rb") as file:
        for token in tokenize.tokenize(file.readline):
            if token.type not in LAYOUT:
                tokens.append(token)
            elif token.type == tokenize.NEWLINE:
                # Neither docstrings nor the empty statement after a last line that is a comment.
                if [token.type for token in tokens] not in ([], [tokenize.STRING]):
                    lines.append(tokens[0].start[0])
                    counts.append(len(tokens))
                    fingerprints.append(_fingerprint(token.string for token in tokens))
                tokens.clear()
    return Statements(lines, counts, fingerprints)


def _fingerprint(tokens: Iterable[str]) -> int:
    # `hash` would be faster, but its values for strings differ from one interpreter to the next.
    return int.from_bytes(blake2b(" ".join(tokens).encode(), digest_size=8).digest(), "little")


def measure_complexity(
    package: str, outlines: dict[str, Outline], statements: dict[str, Statements]
) -> Complexity:
    """Weigh the functions of a package by how hard they are to follow.

    The complexity of a function is the number of its decisions, each counted once more for every decision
    around it, as a reader must keep those in mind. From `TANGLED` on all tokens of a function are tangled.
    """
    tokens = sum(sum(module.token_counts) for module in statements.values())
    tangled_tokens = 0
    worst = (0, "")
    for name, outline in outlines.items():
        lines, counts = statements[name].lines, statements[name].token_counts
        for function in outline.functions:
            complexity = len(function.decision_depths) + sum(function.decision_depths)
            worst = max(worst, (complexity, f"{name}.{function.name}"))
            if complexity >= TANGLED:
                begin = bisect_left(lines, function.first_line)
                end = bisect_left(lines, function.last_line + 1)
                tangled_tokens += sum(counts[begin:end])
    return Complexity(
        package=package,
        statements=sum(len(module.lines) for module in statements.values()),
        tokens=tokens,
        tangled_tokens=tangled_tokens,
        worst_function=worst[1],
        worst_complexity=worst[0],
    )


def find_copies(*packages: dict[str, Statements]) -> dict[str, float]:
    """Tell which share of each package's statements also stands somewhere else in the library.

    A statement is copied if it belongs to a run of `SHINGLE` statements that occurs more than once.
    """
    modules = {name: module.fingerprints for package in packages for name, module in package.items()}
    occurrences = Counter(shingle for fingerprints in modules.values() for shingle in _shingles(fingerprints))
    copied: Counter[str] = Counter()
    total: Counter[str] = Counter()
    for name, fingerprints in modules.items():
        package = name.partition(".")[0]
        end = 0  # of the copied run before
        for start, shingle in enumerate(_shingles(fingerprints)):
            if occurrences[shingle] > 1:
                copied[package] += start + SHINGLE - max(start, end)
                end = start + SHINGLE
        total[package] += len(fingerprints)
    return {
        package: copied[package] / statements if statements else 0.0 for package, statements in total.items()
    }


def _shingles(fingerprints: array[int]) -> Iterator[int]:
    # One number a shingle instead of a tuple of six; the hash of a tuple of numbers is the same everywhere.
    return map(hash, zip(*(fingerprints[start:] for start in range(SHINGLE)), strict=False))


def weigh_imports(*packages: dict[str, Outline]) -> dict[str, float]:
    """Weigh each package by its place in the import graph: the more lean on it, the more a change costs.

    The weight is PageRank: the share of the visits of a reader who goes from a package to one that it
    imports, at random, and now and then starts anew anywhere.
    """
    # Ordered throughout: sums of floats depend on the order, that of sets on the interpreter's hash seed.
    names = [next(iter(package)).partition(".")[0] for package in packages]
    imports = {
        name: sorted(_imported_packages(package.values()).intersection(names) - {name})
        for name, package in zip(names, packages, strict=True)
    }
    visits = dict.fromkeys(names, 1 / len(names))
    for _ in range(PAGERANK_ROUNDS):
        stranded = sum(visits[name] for name in names if not imports[name])
        following = dict.fromkeys(names, (1 - DAMPING + DAMPING * stranded) / len(names))
        for name, imported in imports.items():
            for target in imported:
                following[target] += DAMPING * visits[name] / len(imported)
        visits = following
    return visits


def _imported_packages(outlines: Iterable[Outline]) -> set[str]:
    return {name.partition(".")[0] for outline in outlines for name in outline.imports}


def rank(copied: dict[str, float], weights: dict[str, float], *complexities: Complexity) -> list[Ranked]:
    """Rank the packages, the hardest to maintain first.

    The score says which percentage of the packages is easier to maintain, as the mean over four measures:
    statements, share of the code in tangled functions, share of copied statements, weight in the imports.
    """
    tangled = {each.package: each.tangled_tokens / max(each.tokens, 1) for each in complexities}
    statements = {each.package: each.statements for each in complexities}
    places = [_places(measure) for measure in (statements, tangled, copied, weights)]
    ranking = [
        Ranked(
            package=each.package,
            score=100 * sum(place[each.package] for place in places) / len(places),
            statements=each.statements,
            tangled=tangled[each.package],
            copied=copied[each.package],
            weight=weights[each.package],
            worst_function=each.worst_function,
            worst_complexity=each.worst_complexity,
        )
        for each in complexities
    ]
    return sorted(ranking, key=lambda ranked: (-ranked["score"], ranked["package"]))


def _places(measure: Mapping[str, float]) -> dict[str, float]:
    """Return for each package the share of the packages that have less."""
    values = sorted(measure.values())
    return {package: bisect_left(values, value) / len(values) for package, value in measure.items()}
