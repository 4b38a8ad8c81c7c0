"""Modules that workers import before their first task."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from faulty_runs import time_limit
from patience import patient
from preparing import loaded

from processes import Process, ProcessPoolRunner, Task, WorkerDiedError


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Make a module that workers find, of some source."""
    monkeypatch.syspath_prepend(tmp_path)

    def make(name: str, source: str) -> str:
        path = tmp_path.joinpath(*name.split(".")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
        return name

    return make


NOTED = "import os, pathlib\nwith open({path!r}, 'a') as file:\n    print(os.getpid(), file=file)\n"


@pytest.mark.parametrize("kind", [tuple, list])
def test_each_worker_imports_them_once_and_has_them_before_its_first_task(kind, module, tmp_path):
    path = tmp_path / "imports"
    names = [module("noted_one", NOTED.format(path=str(path))), module("noted_pack.two", "")]
    pids = set()
    with ProcessPoolRunner(2, preload=kind(names)) as runner:
        for _ in range(2):
            tasks = [Task(f"{name}-{n}", loaded, args=(name,)) for name in names for n in range(10)]
            report = Process(tasks).run(runner=runner)
            report.raise_for_errors()
            assert {was_loaded for was_loaded, _ in report.results.values()} == {True}
            pids |= {pid for _, pid in report.results.values()}
    assert sorted(map(int, path.read_text().split())) == sorted(pids)
    assert set(names).isdisjoint(sys.modules), "the program itself imports none"


@patient
def test_no_time_limit_nor_time_of_a_task_counts_it(times, module):
    name = module("takes_long", f"import time\ntime.sleep({2.5 * times})\n")
    # A builtin function needs no other import, which would count.
    with time_limit(120):
        report = Process([Task("quick", abs, args=(-1,), timeout=2.0 * times)]).run(
            runner=ProcessPoolRunner(1, preload=(name,))
        )
    report.raise_for_errors()
    assert report.entries["quick"].elapsed_seconds < 2.0 * times < report.elapsed_seconds


def test_what_an_import_changes_stays(module):
    name = module(
        "changes",
        "import os, threading\n"
        "os.environ['CHANGED'] = 'yes'\n"
        "threading.Thread(target=threading.Event().wait, daemon=True).start()\n",
    )
    tasks = [Task(f"t{n}", lambda: (os.environ.get("CHANGED"), os.getpid())) for n in range(10)]
    report = Process(tasks).run(runner=ProcessPoolRunner(1, preload=(name,)))
    assert {changed for changed, _ in report.results.values()} == {"yes"}
    assert len({pid for _, pid in report.results.values()}) == 1


def test_it_comes_before_the_initializer(module):
    name = module("comes_first", "")

    def initializer() -> None:
        assert name in sys.modules

    runner = ProcessPoolRunner(1, preload=(name,), initializer=initializer)
    Process([Task("t", loaded, args=(name,))]).run(runner=runner).raise_for_errors()


def test_a_module_that_cannot_be_imported_costs_the_attempt_and_is_tried_again(module, tmp_path):
    path = tmp_path / "imports"
    name = module(
        "fails_twice",
        f"{NOTED.format(path=str(path))}"
        f"if len(pathlib.Path({str(path)!r}).read_text().split()) <= 2:\n"
        "    raise ConnectionError('no licence')\n",
    )
    tasks = [
        Task("gives-up", os.getpid, priority=1),
        Task("tries-again", os.getpid, retries=1),
        Task("fine", abs, args=(-1,)),
    ]
    report = Process(tasks).run(runner=ProcessPoolRunner(1, preload=(name,)))
    assert repr(report.exceptions) == "{'gives-up': ConnectionError('no licence')}"
    traceback = report.errored["gives-up"].error.traceback_str
    assert f"{Path('fails_twice.py')}" in traceback
    assert "processes/" not in traceback.replace(str(tmp_path), "")
    assert [entry.attempts for entry in report.entries.values()] == [1, 2, 1]


def test_a_module_that_ends_the_worker_costs_its_attempts(module):
    name = module("aborts", "import os\nos.abort()\n")
    tasks = [Task(f"t{n}", os.getpid) for n in range(3)]
    with time_limit(120):
        report = Process(tasks).run(runner=ProcessPoolRunner(2, preload=(name,)))
    assert [type(exception) for exception in report.exceptions.values()] == [WorkerDiedError] * 3


@pytest.mark.parametrize("name", ["no_such_module", "os.no_such_module", "json.no_such.module"])
def test_a_module_that_is_not_there_is_an_error_before_anything_runs(name, tmp_path):
    ran = tmp_path / "ran"
    process = Process([Task("touch", ran.touch)])
    with pytest.raises(
        ModuleNotFoundError, match=f"preload has '{name}', and no module of this name is found"
    ):
        process.run(runner=ProcessPoolRunner(preload=("json", name)))
    assert not ran.exists()


def test_what_is_no_sequence_of_names_is_refused():
    with pytest.raises(TypeError, match=r"not 'numpy': write preload=\('numpy',\)"):
        ProcessPoolRunner(preload="numpy")
    for wrong in (None, 3, {"numpy"}, [os], [None]):
        with pytest.raises(TypeError, match="preload must"):
            ProcessPoolRunner(preload=wrong)
    for wrong in ([""], ["my-module"], ["numpy."], ["a b"]):
        with pytest.raises(ValueError, match="preload must hold names of modules"):
            ProcessPoolRunner(preload=wrong)
