"""What the documents and docstrings show is what happens."""

from __future__ import annotations

import doctest
import importlib
import re
from pathlib import Path
from typing import NamedTuple

import pytest
from programs import outputs_of_each

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


def snippets_of(document: str) -> dict[int, Snippet]:
    """Return the snippets of a document, each under its line."""
    text = (FOLDER / document).read_text(encoding="utf-8")
    found = {}
    for match in re.finditer(
        r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", text, re.MULTILINE | re.DOTALL
    ):
        line = text.count("\n", 0, match.start()) + 2
        found[line] = Snippet(match[1], match[2])
    return found


def plain(output: str) -> str:
    """Take out of an output what differs from run to run: times, and which worker did what."""
    return WORKER.sub(r"\1-N", TIME.sub(r"0.0\1", output))


def test_there_are_snippets_with_outputs():
    for document in RUNNABLE:
        assert any(snippet.output for snippet in snippets_of(document).values())


@pytest.mark.parametrize("document", RUNNABLE)
def test_the_snippets_of_a_document_run_and_print_what_is_shown(document, tmp_path):
    snippets = snippets_of(document)
    folders = [tmp_path / f"line-{line}" for line in snippets]
    for folder, (code, _) in zip(folders, snippets.values(), strict=True):
        folder.mkdir()
        (folder / "pipeline.py").write_text(code, encoding="utf-8")
    places = [(folder / "pipeline.py", folder) for folder in folders]
    printed, _ = outputs_of_each(places, DASK_TEMPORARY_DIRECTORY=str(tmp_path))
    for folder, (_, shown), text in zip(folders, snippets.values(), printed, strict=True):
        if shown is not None:
            assert plain(text.replace(str(folder), USER_FOLDER)) == plain(shown), folder.name


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


def test_the_tests_that_the_faults_name_are_there():
    text = (FOLDER / "docs" / "faults.md").read_text(encoding="utf-8")
    paths = (FOLDER / "tests").rglob("test_*.py")
    tests = re.findall(r"def (test_\w+)", "".join(path.read_text(encoding="utf-8") for path in paths))
    named = re.findall(r"(?:`|::|…)(test_\w+)(?![\w.])", text)
    assert {*named} - {*tests} == set()
    parts = re.findall(r"`…(?!test_)(\w+)", text)  # of names that are like the one before
    assert [part for part in parts if not any(part in test for test in tests)] == []


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
