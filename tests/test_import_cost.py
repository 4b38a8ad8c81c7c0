"""What ``import processes`` costs, and what it gives."""

from __future__ import annotations

import ast
import importlib
import inspect
import sys
from pathlib import Path

import programs
import pytest

import processes

COSTLY = ("click", "cloudpickle", "dask", "jinja2", "numpy", "psutil", "rich", "tblib")
PROMISED_SECONDS = 0.060  # what the import may take beyond a bare interpreter
TOLERANCE = 3  # other programs share the processors that tests run on


def output_of(program: str) -> str:
    return programs.output_of([sys.executable, "-c", program])


def modules_after(program: str) -> set[str]:
    return set(output_of(f"import sys\n{program}\nprint(*sys.modules)").split())


def test_the_import_loads_nothing_costly():
    # What an installation itself loads at start-up (a .pth file may) is not of our doing.
    assert (modules_after("import processes") - modules_after("pass")).isdisjoint(COSTLY)


def test_a_sequential_run_and_its_table_load_nothing_costly():
    program = "from processes import Process, Task\nprint(Process([Task('one', abs, args=(-1,))]).run())"
    assert (modules_after(program) - modules_after("pass")).isdisjoint(COSTLY)


LOADED_BY_A_WORKER = """
import sys
from processes import Process, Task
from test_import_cost import late_modules
print(*Process([Task("one", late_modules)]).run(runner="process").results["one"])
"""


def late_modules() -> list[str]:
    return [
        name for name in ("cloudpickle", "logging", "signal", "traceback", "typing") if name in sys.modules
    ]


def test_a_worker_loads_only_what_its_first_function_needs(monkeypatch, tmp_path):
    # The module of the function imports nothing but sys.
    (tmp_path / "test_import_cost.py").write_text(f"import sys\n\n{inspect.getsource(late_modules)}")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    already = modules_after("pass")  # by what is installed beside us
    assert set(output_of(LOADED_BY_A_WORKER).split()) <= already


CLASSES_OF_A_SCRIPT = """
import sys
from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import Enum
from processes import Process, Task

class Shape(ABC):
    @abstractmethod
    def area(self): ...

class Unit(Enum):
    METRE = 1

@dataclass
class Square:
    side: float
    unit: Unit = Unit.METRE

Shape.register(Square)

def look(square):
    return isinstance(square, Shape), square.unit is Unit.METRE, "cloudpickle" in sys.modules

if __name__ == "__main__":
    print(*Process([Task("look", look, args=(Square(1.5),))]).run(runner="process").results["look"])
"""


def test_a_worker_reads_classes_of_a_script_without_what_takes_them_apart(tmp_path):
    assert "cloudpickle" not in modules_after("pass"), "what is installed beside us imports it"
    (tmp_path / "script.py").write_text(CLASSES_OF_A_SCRIPT)
    assert programs.output_of([sys.executable, "script.py"], cwd=tmp_path).split() == [
        "True",
        "True",
        "False",
    ]


def test_a_program_whose_functions_can_be_imported_needs_nothing_that_takes_others_along():
    program = (
        "import colorsys\n"
        "from processes import Process, Task\n"
        "tasks = [Task('hls', colorsys.rgb_to_hls, args=(1, 1, 1)), Task('failing', colorsys.rgb_to_yiq)]\n"
        "report = Process(tasks).run(runner='process')\n"
        "assert list(report.successes) == ['hls']"
    )
    assert (modules_after(program) - modules_after("pass")).isdisjoint(COSTLY)


def test_each_public_name_can_be_imported_first():
    program = """
import sys
import processes
for name in processes.__all__:
    for module in [module for module in sys.modules if module.partition(".")[0] == "processes"]:
        del sys.modules[module]
    exec(f"from processes import {name}")
    print(name)
"""
    assert output_of(program).split() == processes.__all__


def test_the_list_of_public_names_is_complete():
    module = ast.parse(Path(processes.__file__).read_text())
    imports, _lookup = (node for node in module.body if isinstance(node, ast.If))
    for_type_checkers = {
        alias.asname or alias.name
        for node in ast.walk(imports)
        if isinstance(node, ast.ImportFrom) and node.level
        for alias in node.names
    }
    assert set(processes.__all__) == for_type_checkers
    assert len(processes.__all__) == len(set(processes.__all__))
    assert set(processes.__all__) <= set(dir(processes))
    namespace: dict[str, object] = {}
    exec("from processes import *", namespace)
    assert set(processes.__all__) <= set(namespace)


@pytest.mark.once
def test_editors_that_run_nothing_complete_the_public_names_and_what_a_run_gives(monkeypatch, tmp_path):
    import jedi  # here, since it takes all of xdist's workers a tenth of a second

    monkeypatch.setattr(jedi.settings, "cache_directory", tmp_path)

    def completed(program: str) -> set[str]:
        script = jedi.Script(program, environment=jedi.InterpreterEnvironment())
        return {completion.name for completion in script.complete()}

    assert completed("from processes import ") >= set(processes.__all__)
    assert completed("from processes import Process\nProcess([]).run().") >= {"entries", "results", "to_html"}


def test_every_public_exception_and_runner_is_in_the_list():
    for module_name in (
        "exceptions",
        "runners.sequential",
        "runners.thread",
        "runners.pool.runner",
        "events",
    ):
        module = importlib.import_module(f"processes.{module_name}")
        for name, value in vars(module).items():
            own = isinstance(value, type) and value.__module__ == module.__name__
            if own and not name.startswith("_") and name != "StandInError":  # of which classes are made
                assert getattr(processes, name, None) is value, name
                assert name in processes.__all__


def test_a_name_that_does_not_exist_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'processes' has no attribute 'Proces'"):
        _ = processes.Proces


def seconds_of(program: str) -> float:
    """Tell the processor time of a program, which is much the same however busy the machine is."""
    return float(output_of(f"{program}\nimport time\nprint(time.process_time())"))


def test_the_import_is_quick():
    output_of("import processes")  # the first one may compile
    bare = seconds_of("pass")
    extra = min(seconds_of("import processes") for _ in range(3)) - bare
    assert extra < TOLERANCE * PROMISED_SECONDS
