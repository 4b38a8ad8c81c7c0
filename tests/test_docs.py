"""What the documents and docstrings show is what happens."""

from __future__ import annotations

import doctest
import importlib
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

import processes

FOLDER = Path(__file__).parents[1]
DOCUMENTS = (
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    *sorted(str(path.relative_to(FOLDER)) for path in (FOLDER / "docs").glob("*.md")),
    *sorted(str(path.relative_to(FOLDER)) for path in (FOLDER / "benchmarks").glob("*.md")),
)
RUNNABLE = (
    "README.md",
    "docs/guide.md",
    "docs/processes.md",
    "docs/engines.md",
    "docs/coming_from.md",
)  # whose snippets all run as they stand
USER_FOLDER = "/home/you"  # where the documents pretend that snippets stand
TIME = re.compile(r"\b\d+\.\d+( s\b|(?=  ))")
WORKER = re.compile(r"\b(process|thread|executor|dask)-\d+")


class Snippet(NamedTuple):
    """A fenced block of Python, and what the block of text right behind it says that it prints."""

    code: str
    output: str | None


def snippets_of(document: str) -> dict[str, Snippet]:
    """Return the snippets of a document, each under its file and line."""
    text = (FOLDER / document).read_text(encoding="utf-8")
    found = {}
    for match in re.finditer(
        r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", text, re.MULTILINE | re.DOTALL
    ):
        line = text.count("\n", 0, match.start()) + 2
        found[f"{document}:{line}"] = Snippet(match[1], match[2])
    return found


SNIPPETS = {where: snippet for document in RUNNABLE for where, snippet in snippets_of(document).items()}


def plain(output: str) -> str:
    """Take out of an output what differs from run to run: times, and which worker did what."""
    return WORKER.sub(r"\1-N", TIME.sub(r"0.0\1", output))


def test_there_are_snippets_with_outputs():
    for document in RUNNABLE:
        assert any(snippet.output for snippet in snippets_of(document).values())


@pytest.mark.parametrize("where", SNIPPETS)
def test_a_snippet_runs_and_prints_what_is_shown(where, tmp_path):
    code, output = SNIPPETS[where]
    (tmp_path / "pipeline.py").write_text(code, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "error", "pipeline.py"],
        cwd=tmp_path,
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        env=os.environ | {"PYTHONUTF8": "1", "DASK_TEMPORARY_DIRECTORY": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
    if output is not None:
        assert plain(done.stdout.replace(str(tmp_path), USER_FOLDER)) == plain(output)


PACKAGE = Path(processes.__file__).parent
WITH_EXAMPLES = sorted(
    ".".join(("processes", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")
    for path in PACKAGE.rglob("*.py")
    if ">>> " in path.read_text(encoding="utf-8")
)


@pytest.mark.parametrize("module", WITH_EXAMPLES)
def test_the_examples_of_docstrings_hold(module):
    failed, attempted = doctest.testmod(importlib.import_module(module))
    assert attempted
    assert not failed, "see the captured output"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document):
    path = FOLDER / document
    targets = re.findall(r"\]\((?!https?:|mailto:)([^)#]*)(?:#([^)]*))?\)", path.read_text(encoding="utf-8"))
    missing = []
    for file, heading in targets:
        target = path.parent / file if file else path
        if not target.exists() or (heading and heading not in headings_of(target)):
            missing.append(f"{file}#{heading}")
    assert missing == []


def headings_of(path: Path) -> set[str]:
    """Return the names under which GitHub lets one link to a document's headings."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_commands_of_the_readme_start_where_a_clone_is_made():
    lines = (FOLDER / "README.md").read_text(encoding="utf-8").splitlines()
    commands = [line for line in lines if line.startswith("python3 -m venv")]
    assert [command.split()[-2:] for command in commands] == [
        [".venv/bin/processes", "demo"],
        ["&&", ".venv/bin/tox"],
    ]
    assert commands[1] == next(line for line in lines if line.endswith("bin/tox"))
