"""The folders that files are in."""

from __future__ import annotations

import os

import pytest

from processes import Process, Task

USES = {
    "log file": lambda path: Task("a", abs, path),
    "checkpoint": lambda path: Process([]).run(checkpoint=path),
    "page": lambda path: Process([]).run().to_html(path),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_missing_folders_are_made_but_for_one_that_is_meant_to_be_the_home(use, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"'~' does not stand for your home here: write that out"):
        use("~/made/file")
    assert os.listdir() == []
    use("made/on the way/file")
    assert os.listdir("made/on the way") == ["file"]
    os.mkdir("~")  # noqa: PTH102
    use("~/file")
    assert os.listdir("~") == ["file"]
