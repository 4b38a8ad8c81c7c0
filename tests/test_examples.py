"""Every example runs as it stands and prints what it says."""

import ast
import sys
import textwrap
import unittest
from pathlib import Path

import pytest
from programs import ended, outputs_of_each

FOLDER = Path(__file__).parents[1] / "examples"
EXAMPLES = sorted(path.stem for path in FOLDER.glob("*.py"))
RANKING = "stdlib_ranking"  # what it prints depends on the interpreter
ON_DASK = "on_a_dask_cluster"  # which takes seconds to start


def test_there_are_examples():
    assert {RANKING, ON_DASK} < {*EXAMPLES}
    assert len(EXAMPLES) >= 6


def check_what_is_printed(folder, *names):
    for name in names:
        (folder / name).mkdir()
    printed, errors = outputs_of_each(
        [(FOLDER / f"{name}.py", folder / name) for name in names],
        PYTHONDONTWRITEBYTECODE="1",
        DASK_TEMPORARY_DIRECTORY=str(folder),
    )
    for name, text in zip(names, printed, strict=True):
        description = ast.get_docstring(ast.parse((FOLDER / f"{name}.py").read_text(encoding="utf-8")))
        _, _, promised = description.partition("\nPrints::\n\n")
        assert promised, name
        assert text == textwrap.dedent(promised) + "\n", name
    return errors


def test_the_examples_print_what_they_say(tmp_path):
    names = [name for name in EXAMPLES if name not in (RANKING, ON_DASK)]
    assert check_what_is_printed(tmp_path, *names) == ""


@pytest.mark.once
def test_the_example_on_dask_prints_what_it_says(tmp_path):
    pytest.importorskip("distributed")
    # On a busy machine Dask complains of workers that take long to end.
    check_what_is_printed(tmp_path, ON_DASK)


def test_the_ranking_example_prints_ten_packages(tmp_path):
    # Those of one package: all of the standard library takes ten seconds.
    command = [sys.executable, "-W", "error", FOLDER / f"{RANKING}.py", Path(unittest.__file__).parent]
    lines = ended(command, 300, cwd=tmp_path, check=True).stdout.splitlines()  # on standard error: progress
    assert len(lines) == 11
    assert [int(line.split()[0]) for line in lines[:10]] == list(range(1, 11))
    assert "tasks in" in lines[10]
