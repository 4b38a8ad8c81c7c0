"""The table of modules in docs/architecture.md tells what each module imports, and the code keeps to it."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import processes

pytestmark = pytest.mark.once

PACKAGE = Path(processes.__file__).parent
DOCUMENT = Path(__file__).parents[1] / "docs" / "architecture.md"
ROOT = "processes"  # the row of the package itself


class Row(NamedTuple):
    """What the table says of a module, or what its source does."""

    imports: frozenset[str]  # when it is imported
    in_functions: frozenset[str]  # when one of its functions is called


def name_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__") or ROOT


SOURCES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def read_table() -> dict[str, Row]:
    """Return the rows of the table whose head is `Module | … | Imports | In functions`, in their order."""
    _, _, table = DOCUMENT.read_text(encoding="utf-8").partition("| Imports | In functions |\n")
    assert table, f"{DOCUMENT} has no table of modules"
    rows: dict[str, Row] = {}
    for line in table.splitlines()[1:]:
        if not line.startswith("|"):
            break
        module, _, imports, in_functions = (cell.strip() for cell in line.strip("|").split("|"))
        assert module.strip("`") not in rows, f"{module} stands in the table twice"
        rows[module.strip("`")] = Row(names_in(imports), names_in(in_functions))
    return rows


def names_in(cell: str) -> frozenset[str]:
    return frozenset(re.findall(r"`([\w.]+)`", cell))


def read_source(name: str) -> Row:
    """Return what a module imports of the package; what only type checkers see does not count."""
    path = SOURCES[name]
    package = (ROOT, *path.relative_to(PACKAGE).parent.parts)
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imports = {target for node in imports_in(tree, False) for target in targets_of(node, package)}
    everything = {target for node in imports_in(tree, True) for target in targets_of(node, package)}
    return Row(frozenset(imports), frozenset(everything - imports))


def imports_in(node: ast.AST, with_functions: bool) -> Iterator[ast.Import | ast.ImportFrom]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.Import, ast.ImportFrom)):
            yield child
        elif isinstance(child, ast.If) and is_for_type_checkers(child.test):
            continue
        elif with_functions or not isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield from imports_in(child, with_functions)


def is_for_type_checkers(test: ast.expr) -> bool:
    return isinstance(test, ast.Name) and test.id == "TYPE_CHECKING"


def targets_of(node: ast.Import | ast.ImportFrom, package: tuple[str, ...]) -> Iterator[str]:
    """Give the names of our modules that an import statement imports, as the table has them."""
    if isinstance(node, ast.Import):
        found = [alias.name for alias in node.names]
    else:
        around = package[: len(package) - node.level + 1] if node.level else ()
        module = ".".join([*around, *([node.module] if node.module else [])])
        # `from . import wire` imports a module, `from .wire import frame` what stands in one.
        found = [
            full if in_table(full := f"{module}.{alias.name}") in SOURCES else module for alias in node.names
        ]
    for full in found:
        if full.split(".")[0] == ROOT:
            yield in_table(full)


def in_table(full: str) -> str:
    return full.removeprefix(f"{ROOT}.")


TABLE = read_table()


def test_each_module_has_a_row_and_each_row_a_module():
    assert sorted(TABLE) == sorted(SOURCES)


def test_a_module_imports_what_its_row_says():
    rows = {}
    for name in SOURCES:
        actual = read_source(name)
        if TABLE.get(name) != actual:
            shown = [", ".join(f"`{module}`" for module in sorted(part)) or "—" for part in actual]
            rows[name] = f"the end of its row should be: | {shown[0]} | {shown[1]} |"
    assert rows == {}


def test_a_module_imports_only_from_rows_above_its_own():
    above: set[str] = set()
    upwards = {}
    for name, row in TABLE.items():
        if not row.imports <= above:
            upwards[name] = sorted(row.imports - above)
        above.add(name)
    assert upwards == {}


def test_each_module_says_what_it_is():
    silent = [
        name
        for name, path in SOURCES.items()
        if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert silent == []


PUBLIC = {name: getattr(processes, name) for name in processes.__all__ if callable(getattr(processes, name))}


def test_what_is_public_is_documented():
    things = dict(PUBLIC)
    for name, thing in PUBLIC.items():
        for member, value in inspect.getmembers(thing):
            if not member.startswith("_") and (inspect.isroutine(value) or isinstance(value, property)):
                things[f"{name}.{member}"] = value
    assert [name for name, thing in things.items() if not inspect.getdoc(thing)] == []


def has_parameters(thing: object) -> bool:
    """Tell whether a function, or a class's own way to be made, takes parameters that need words."""
    make = vars(thing).get("__init__", thing)
    return inspect.isfunction(make) and make.__module__ == thing.__module__


WITH_PARAMETERS = [name for name, thing in PUBLIC.items() if has_parameters(thing)]


def test_each_parameter_is_described():
    undescribed = []
    for name in WITH_PARAMETERS:
        described = set()
        for line in (inspect.getdoc(PUBLIC[name]) or "").splitlines():
            if (names := re.match(r"([\w*, ]+) : ", line)) is not None:
                described.update(each.strip("* ") for each in names[1].split(","))
        parameters = inspect.signature(PUBLIC[name]).parameters
        undescribed += [f"{name}({one})" for one in parameters if one not in described]
    assert undescribed == []
