"""Every example runs as it stands and prints what it says."""

import ast
import os
import sys
import textwrap
import unittest
from pathlib import Path

import pytest
from programs import NOT_SLOW_FOR_DASK, ended

FOLDER = Path(__file__).parents[1] / "examples"
EXAMPLES = sorted(path.stem for path in FOLDER.glob("*.py"))
RANKING = "stdlib_ranking"  # what it prints depends on the interpreter


def run(name, folder, *arguments):
    done = ended(
        [sys.executable, "-W", "error", "-W", NOT_SLOW_FOR_DASK, str(FOLDER / f"{name}.py"), *arguments],
        300,
        cwd=folder,
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1", "DASK_TEMPORARY_DIRECTORY": str(folder)},
    )
    assert done.returncode == 0, done.stderr
    return done


def test_there_are_examples():
    assert RANKING in EXAMPLES
    assert len(EXAMPLES) >= 6


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.once if "dask" in name else ())  # a cluster takes seconds
        for name in EXAMPLES
        if name != RANKING
    ],
)
def test_an_example_prints_what_it_says(name, tmp_path):
    if name == "on_a_dask_cluster":
        pytest.importorskip("distributed")
    text = ast.get_docstring(ast.parse((FOLDER / f"{name}.py").read_text(encoding="utf-8")))
    _, _, promised = text.partition("\nPrints::\n\n")
    assert promised
    done = run(name, tmp_path)
    assert done.stdout == textwrap.dedent(promised) + "\n"
    assert done.stderr == ""


def test_the_ranking_example_prints_ten_packages(tmp_path):
    # Those of one package: all of the standard library takes ten seconds.
    lines = run(RANKING, tmp_path, str(Path(unittest.__file__).parent)).stdout.splitlines()
    assert len(lines) == 11
    assert [int(line.split()[0]) for line in lines[:10]] == list(range(1, 11))
    assert "tasks in" in lines[10]
