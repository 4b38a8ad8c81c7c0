"""Processes can be used from wherever Python runs: no main guard, no file, any thread, any folder."""

from __future__ import annotations

import gc
import importlib.util
import json
import os
import queue
import selectors
import shlex
import subprocess
import sys
import threading
import time
import types
import zipfile
from pathlib import Path

import cloudpickle
import programs
import pytest
from programs import ended

from processes import Process, ProcessPoolRunner, Task, TaskDependency
from processes.runners.pool.abilities import CAN_GUARD
from processes.runners.pool.launch import behind_redirector
from processes.serialization.importable import can_be_imported, stays_away

PROGRAM = """
import os
from dataclasses import dataclass
from processes import Process, Task, TaskDependency

print("once")

@dataclass
class Point:
    x: int
    y: int = 0

OFFSET = 10

def shift(point):
    return Point(point.x + OFFSET, os.getpid())

async def double(point):
    return Point(point.x * 2, point.y)

def broken(number):
    return number / 0

report = Process([
    Task("shift", shift, args=(Point(1),)),
    Task("double", double, dependencies=[TaskDependency("shift", True)]),
    Task("lambda", lambda: OFFSET),
    Task("broken", broken, args=(1,)),
]).run(runner="process", max_workers=1)
shifted, doubled = report.results["shift"], report.results["double"]
print(type(shifted) is Point, type(doubled) is Point, isinstance(doubled, Point))
print(doubled.x, doubled == Point(22, shifted.y), shifted.y != os.getpid())
print(report.results["lambda"], type(report.exceptions["broken"]).__name__)
print(report.errored["broken"].error.traceback_str)
"""
OUTPUT = "once\nTrue True True\n22 True True\n10 ZeroDivisionError\nTraceback"


def output_of(command: list[str], folder: Path, program: str | None = None, **options: object) -> str:
    return programs.output_of([sys.executable, *command], input=program, cwd=folder, **options)


def test_a_script_needs_no_main_guard(tmp_path):
    (tmp_path / "script.py").write_text(PROGRAM)
    output = output_of(["script.py"], tmp_path)
    assert output.startswith(OUTPUT)
    assert "    return number / 0\n           ~~~~~~~^~~\n" in output


OPTIONS = """
import sys
from processes import Process, Task

def look():
    return sys.flags.optimize, dict(sys._xoptions)

there = Process([Task("look", look)]).run(runner="process").results["look"]
print(there == look() == (1, {"no_debug_ranges": True, "int_max_str_digits": "5000"}))
"""


def test_workers_are_started_with_the_options_of_the_program(tmp_path):
    options = ["-O", "-X", "no_debug_ranges", "-X", "int_max_str_digits=5000"]
    assert output_of([*options, "-c", OPTIONS], tmp_path) == "True\n"


DEBUGGED = """
import debugpy
debugpy.listen(("127.0.0.1", 0))
from processes import Process, Task
print(Process([Task(name, abs, args=(-1,)) for name in "ab"]).run(runner="process", max_workers=1).results)
"""


def test_a_program_that_waits_for_a_debugger_can_use_workers(tmp_path):
    pytest.importorskip("debugpy")
    output = output_of(["-X", "frozen_modules=off", "-c", DEBUGGED], tmp_path)
    assert output == "{'a': 1, 'b': 1}\n"


def test_a_script_that_was_removed_while_it_runs_goes_on(tmp_path):
    script = tmp_path / "script.py"
    script.write_text("import os\nos.remove(__file__)\n" + PROGRAM)
    assert output_of([str(script)], tmp_path).startswith(OUTPUT)


def test_a_program_may_come_from_standard_input(tmp_path):
    output = output_of(["-"], tmp_path, PROGRAM)
    assert output.startswith(OUTPUT)
    assert "in broken" in output


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
def test_a_program_may_come_from_a_named_pipe(tmp_path):
    os.mkfifo(tmp_path / "script.py")
    writing = threading.Thread(target=(tmp_path / "script.py").write_text, args=(NAMELESS,))
    writing.start()
    assert output_of(["script.py"], tmp_path) == "{'t': 3}\n"
    writing.join()


def test_a_programs_main_module_may_have_no_file(tmp_path):
    program = f"import sys\nsys.modules['__main__'].__file__ = None\n{NAMELESS}"
    assert output_of(["-c", program], tmp_path) == "{'t': 3}\n"


NAMELESS = """
from processes import Process, Task
print(Process([Task("t", lambda: 3)]).run(runner="process").results)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there, a variable has a name")
def test_a_variable_of_the_environment_may_have_no_name(tmp_path):
    output = output_of(["-c", NAMELESS], tmp_path, env={**os.environ, "": "x"})
    assert output == "{'t': 3}\n"


def test_a_program_may_stand_on_the_command_line(tmp_path):
    output = output_of(["-c", PROGRAM], tmp_path)
    assert output.startswith(OUTPUT)
    assert "in broken" in output


DECORATED = """
import functools, threading
from processes import Process, Task

local = threading.local()

@functools.cache
def fibonacci(number):
    return number if number < 2 else fibonacci(number - 1) + fibonacci(number - 2)

@functools.singledispatch
def describe(value):
    return "something"

@describe.register
def _(value: int):
    return "a number"

class ClassProperty(property):
    def __init__(self, find, what="unit"):
        super().__init__(find)
        self.what = what

    def __get__(self, instance, owner=None):
        return self.what, self.fget(owner)

class Named(classmethod):
    pass

class Circle:
    def __init__(self, radius):
        self.radius = radius

    @ClassProperty
    def unit(cls):
        return cls.__name__

    @Named
    def make(cls):
        return cls(1)

    @functools.cached_property
    def area(self):
        return self.radius**2

    @functools.lru_cache
    def times(self, number):
        return self.area * number

    doubled = functools.partialmethod(times, number=2)

    @functools.singledispatchmethod
    def add(self, other):
        return NotImplemented

    @add.register
    def _(self, other: int):
        return Circle(self.radius + other)

def use():
    local.seen = getattr(local, "seen", 0) + 1
    misses = (fibonacci(30), fibonacci.cache_info().misses)
    areas = Circle(2).add(1).area, Circle.make().area
    return misses, describe(1), describe("a"), areas, local.seen, Circle.unit

report = Process([
    Task("use", use),
    Task("fibonacci", fibonacci, args=(20,)),
    Task("describe", describe, args=(1.5,)),
    Task("method", Circle(3).times, args=(2,)),
    Task("partial-method", Circle(4).doubled),
    Task("circle", Circle(3).add, args=(2,)),
]).run(runner="process")
report.raise_for_errors()
*values, circle = report.results.values()
print(values, type(circle) is Circle, circle.area)
"""


def test_functions_of_a_script_may_be_decorated_with_what_python_has_for_that(tmp_path):
    values = [
        ((832040, 31), "a number", "something", (9, 1), 1, ("unit", "Circle")),
        6765,
        "something",
        18,
        32,
    ]
    assert output_of(["-c", DECORATED], tmp_path) == f"{values} True 25\n"


WITH_CLASSES = """
import enum, os, signal, sys, threading
from dataclasses import dataclass
from functools import partial
from processes import Process, ProcessPoolRunner, Task, TaskDependency

parent = os.getpid()

@dataclass
class Shape:
    size: int
    factor = 1

    def area(self):
        return self.size * self.factor

    def __call__(self, more=0):
        return self.size + more

    @classmethod
    def make(cls, size):
        return cls(size)

class Square(Shape):
    def area(self):
        return super().area() ** 2

class Color(enum.Enum):
    RED = 1

class Guarded:
    lock = threading.Lock()

def only_here():
    if os.getpid() != parent:
        raise ValueError("not here")

class OnlyHere:
    def __reduce__(self):
        return only_here, ()

class Refused:
    inner = OnlyHere()

def same(value, *more):
    return value

def related(shape, square, color):
    return isinstance(shape, Shape) and issubclass(type(square), type(shape)) and color is Color.RED

def die_once(shape, marker):
    if not os.path.exists(marker):
        open(marker, "w").close()
        os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))
    return shape

def inner(shape):
    report = Process([Task("t", same, args=(shape,))]).run(runner="process", max_workers=1)
    return type(report.results["t"]) is type(shape)

tasks = [Task(f"area-{n}", Shape(n).area) for n in range(20)]
tasks += [Task(f"square-{n}", Square(n).area, timeout=60) for n in range(5)]
tasks += [
    Task("call", Shape(1), args=(10,)),
    Task("make", Square.make, args=(4,)),
    Task("again", same, dependencies=[TaskDependency("make", True)]),
    Task("related", related, args=(Shape(1), Square(2), Color.RED)),
    Task("partial", partial(same, Shape(5)), args=(1, 2)),
    Task("plain-partial", partial(same, 7, 8), args=(9,)),
    Task("many", same, args=([Shape(n) for n in range(50)],)),
    Task("class", same, args=(Color,)),
    Task("died", die_once, args=(Shape(6), sys.argv[1]), retries=1),
    Task("inner", inner, args=(Square(7),)),
]
with ProcessPoolRunner(2) as runner:
    for factor in (1, 3):
        Shape.factor = factor
        report = Process(tasks).run(runner=runner)
        report.raise_for_errors()
        results = report.results
        print([results[f"area-{n}"] for n in range(3)], results["square-2"], results["call"])
        print(results["partial"], results["plain-partial"], results["died"])
        print(results["related"], results["inner"], results["class"] is Color)
        print(type(results["again"]) is Square, results["many"] == [Shape(n) for n in range(50)])
    tasks = [Task("ok", same, args=(Shape(8),))]
    for kind in Guarded, Guarded, Refused, Refused:
        tasks.append(Task(f"{kind.__name__}-{len(tasks)}", same, args=([0, kind()],)))
    report = Process(tasks).run(runner=runner)
print(report.results)
for error in report.exceptions.values():
    print(str(error).partition(".")[0])
print("File" in report.entries["guarded-1"].error.traceback_str)
"""
CLASSES_OUTPUT = """[0, 1, 2] 4 11
Shape(size=5) 7 Shape(size=6)
True True True
True True
[0, 3, 6] 36 11
Shape(size=5) 7 Shape(size=6)
True True True
True True
{'ok': Shape(size=8)}
Task 'guarded-1' cannot be sent to a worker process: type(args[0][1])
Task 'guarded-2' cannot be sent to a worker process: type(args[0][1])
Task 'refused-3': args, kwargs arrived, but could not be deserialized: ValueError: not here
Task 'refused-4': args, kwargs arrived, but could not be deserialized: ValueError: not here
False
"""


def test_objects_of_a_scripts_classes_run_and_travel(tmp_path):
    (tmp_path / "script.py").write_text(WITH_CLASSES)
    assert output_of(["script.py", str(tmp_path / "marker")], tmp_path) == CLASSES_OUTPUT


ZIPPED = """
import logging
from processes import Process, Task

def warn():
    logging.warning("heard")
    return logging.__file__

report = Process([Task("warns", warn)]).run(runner="process", max_workers=1)
print(report.results["warns"] == logging.__file__)
"""


def test_pythons_library_may_stand_in_a_zip_file(tmp_path):  # as the embeddable build for Windows has it
    library = Path(os.__file__).parent
    with zipfile.ZipFile(tmp_path / "library.zip", "w") as file:
        for path in [*library.glob("logging/*.py"), library / "traceback.py", library / "weakref.py"]:
            file.write(path, path.relative_to(library))
    done = ended([sys.executable, "-c", ZIPPED], cwd=tmp_path, env=os.environ | {"PYTHONPATH": "library.zip"})
    assert (done.stdout, done.stderr) == ("True\n", "heard\n")


REPEATED = """
import os, sys
from processes import Process, Task

print("once", flush=True)
{change}
report = Process([Task("a", abs, args=(-1,))]).run(runner="process", max_workers=1)
print(report.results, *[error.stderr for error in report.exceptions.values()])
"""


FROZEN = """
import os, sys
sys.frozen, sys.executable = True, {program!r}
from dataclasses import dataclass
from multiprocessing import spawn
from processes import Process, Task, results_of

@dataclass
class Part:
    data: bytes

def make(count):
    return Part(bytes(count))

def add(one, other):
    assert type(one) is Part
    print(sys.argv[1:], len(one.data) + len(other.data), flush=True)
    return Part(b"abc")

def run_within():
    return run([Task("abs", abs, args=(-7,))]).results

def run(tasks):
    return Process(tasks).run(runner="process", max_workers=2)

if __name__ == "__main__":
    spawn.freeze_support()
    print("once", flush=True)
    tasks = [Task("large", make, args=(300_000,)), Task("small", make, args=(3,))]
    tasks += [Task("add", add, dependencies=results_of("large", "small")), Task("end", os._exit, args=(3,))]
    report = run([*tasks, Task("within", run_within)])
    print(report.exceptions["end"].exitcode)
    print(report.results["add"] == Part(b"abc"), report.results["within"])
"""


def own_interpreter(folder, source):
    """Write a program that is its own interpreter, as frozen ones are: it runs one script, come what may."""
    program, script = folder / "program", folder / "script.py"
    program.write_text(f'#!/bin/sh\nexec {shlex.join([sys.executable, str(script)])} "$@"\n')
    program.chmod(0o755)
    script.write_text(source.format(program=str(program)))
    return str(program)


@pytest.mark.skipif(sys.platform == "win32", reason="a shell script is no program on Windows")
def test_a_frozen_program_becomes_a_worker_where_multiprocessing_would_make_a_process_of_it(tmp_path):
    output = programs.output_of([own_interpreter(tmp_path, FROZEN), "--fast"])
    assert output == "once\n['--fast'] 300003\n3\nTrue {'abs': 7}\n"


def test_a_frozen_program_may_name_an_interpreter_for_its_workers(tmp_path):
    freeze = "sys.frozen, sys.executable, interpreter = True, '/no/program', sys.executable"  # as freezers do
    name_one = f"{freeze}; import multiprocessing; multiprocessing.set_executable(interpreter)"
    assert output_of(["-c", REPEATED.format(change=name_one)], tmp_path) == "once\n{'a': 1}\n"


@pytest.mark.parametrize(
    ("prefix", "program", "started"),
    [
        ("venv", "venv/python", ("base/python", {"__PYVENV_LAUNCHER__": "venv/python"})),
        ("base", "venv/python", ("venv/python", {})),  # what a program that embeds Python has named
        ("venv", "other/python", ("other/python", {})),  # what multiprocessing was told to use
    ],
)
def test_on_windows_workers_of_a_virtual_environment_are_started_without_its_redirector(
    monkeypatch, prefix, program, started
):
    monkeypatch.setattr(sys, "prefix", prefix)
    monkeypatch.setattr(sys, "base_prefix", "base")
    monkeypatch.setattr(sys, "executable", "venv/python")
    monkeypatch.setattr(sys, "_base_executable", "base/python")
    assert behind_redirector(program) == started


@pytest.mark.skipif(sys.platform == "win32", reason="a shell script is no program on Windows")
@pytest.mark.parametrize(
    ("frozen", "advice"),
    [
        ("", "this program was itself started in the place of a worker; name an interpreter by"),
        ("sys.frozen = True", "and did not become one: let it call multiprocessing.freeze_support() first"),
    ],
)
def test_a_program_that_runs_again_in_the_place_of_its_workers_ends_with_advice(tmp_path, frozen, advice):
    change = f"sys.executable = {{program!r}}; {frozen}"
    output = programs.output_of([own_interpreter(tmp_path, REPEATED.replace("{change}", change))])
    assert output.count("once") <= 4  # three tries to start a worker
    assert advice in output


PLUGIN = """
import copy
import functools
import pickle
import sys
from dataclasses import dataclass
from processes import Process, Task, TaskDependency

@dataclass
class Point:
    x: int

class Refused(Exception):
    pass

@functools.cache
def offset():
    return 10

def shift(point):
    return Point(point.x + offset())

def copied(point):
    copy = pickle.loads(pickle.dumps((point, offset)))
    return copy == (point, offset) and type(copy[0]) is type(point)

def run():
    report = Process([
        Task("first", copy.copy, args=(Refused(),), priority=1),
        Task("shift", shift, args=(Point(1),)),
        Task("again", shift, dependencies=[TaskDependency("shift", True)]),
        Task("offset", offset),
        Task("copied", copied, args=(Point(2),)),
        Task("nested", lambda: Process([Task("copied", copied, args=(Point(3),))]).run(runner="process")),
    ]).run(runner="process", max_workers=1)
    report.raise_for_errors()
    refused, shifted, again, ten, is_copied, nested = report.results.values()
    kinds = [type(refused) is Refused, type(shifted) is Point]
    return [*kinds, again == Point(21), ten, is_copied, nested.results["copied"]]
"""
RUN = [True, True, True, 10, True, True]
LOADER = """
import importlib.util, sys

def load(name, file):
    spec = importlib.util.spec_from_file_location(name, file)
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
"""


def test_functions_of_a_module_that_was_loaded_from_beside_the_path_run_in_processes(tmp_path):
    (tmp_path / "plugins").mkdir()
    for name in ("only", "twice"):
        (tmp_path / "plugins" / f"{name}.py").write_text(PLUGIN)
    # What workers would import:
    (tmp_path / "twice.py").write_text("raise SystemExit('the wrong module was imported')\n")
    program = LOADER + "for name in 'only', 'twice': print(name, load(name, f'plugins/{name}.py').run())"
    assert output_of(["-c", program], tmp_path) == f"only {RUN}\ntwice {RUN}\n"


def test_functions_of_a_package_that_was_loaded_from_beside_the_path_run_in_processes(tmp_path):
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "__init__.py").write_text("name = 'shop'")
    (tmp_path / "plugins" / "plugin.py").write_text(PLUGIN)
    program = LOADER + (
        "print('without it', load('market.plugin', 'plugins/plugin.py').run())\n"
        "load('shop', 'plugins/__init__.py')\n"
        "print('with it', load('shop.plugin', 'plugins/plugin.py').run())\n"
    )
    assert output_of(["-c", program], tmp_path) == f"without it {RUN}\nwith it {RUN}\n"


def test_functions_below_a_namespace_run_in_processes_though_another_package_has_its_name(tmp_path):
    # As with `pytest --import-mode=importlib`, where each folder `tests` on the path is the other one.
    (tmp_path / "mine" / "sub").mkdir(parents=True)
    (tmp_path / "mine" / "sub" / "plugin.py").write_text(PLUGIN)
    for package, other in (("package", "__init__.py"), ("namespace", "sub/plugin.py")):
        (tmp_path / package / "sub").mkdir(parents=True)
        (tmp_path / package / other).write_text("")
    program = LOADER + (
        "from types import ModuleType\n"
        "for other in 'package', 'namespace':\n"
        "    for name, folder in [(other, 'mine'), (f'{other}.sub', 'mine/sub')]:\n"
        "        sys.modules[name] = ModuleType(name)\n"
        "        sys.modules[name].__path__ = [folder]\n"
        "    print(other, load(f'{other}.sub.plugin', 'mine/sub/plugin.py').run())"
    )
    assert output_of(["-c", program], tmp_path) == f"package {RUN}\nnamespace {RUN}\n"


def test_a_package_that_calls_one_of_its_modules_its_file_is_imported_in_processes(tmp_path):
    (tmp_path / "icy").mkdir()
    (tmp_path / "icy" / "__init__.py").write_text("from . import about\nglobals().update(vars(about))")
    (tmp_path / "icy" / "about.py").write_text("version = '1'")
    (tmp_path / "icy" / "tools.py").write_text(
        "import threading\nlock = threading.Lock()\ndef ask():\n    return lock.locked()\n"
    )
    program = (
        "from icy.tools import ask\n"
        "from processes import Process, Task\n"
        "print(Process([Task('asks', ask)]).run(runner='process').results)\n"
    )
    assert output_of(["-c", program], tmp_path) == "{'asks': False}\n"


MODULES = {
    "a script without a suffix": """
import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
module = module_from_spec(spec_from_loader("plugin", SourceFileLoader("plugin", "plugin")))
sys.modules["plugin"] = module
module.__loader__.exec_module(module)
""",
    "no file at all": """
import sys, types
module = sys.modules["plugin"] = types.ModuleType("plugin")
exec(open("plugin").read(), vars(module))
""",
}


@pytest.mark.parametrize("how", MODULES)
def test_functions_of_a_module_that_nobody_can_import_run_in_processes(tmp_path, how):
    (tmp_path / "plugin").write_text(PLUGIN)
    assert output_of(["-W", "ignore", "-c", f"{MODULES[how]}\nprint(module.run())"], tmp_path) == f"{RUN}\n"


NAMED_ALONE = """
count = 0
seen = []
NOTHING = object()

class Kind: pass

def double(number):
    global count
    count += 1
    seen.append(number)
    return number * 2

def nothing(): return NOTHING
"""


@pytest.mark.parametrize("is_found", [False, True])
def test_a_module_that_goes_by_value_may_be_all_that_a_function_names(tmp_path, is_found):
    folder = tmp_path if is_found else tmp_path / "plugins"
    folder.mkdir(exist_ok=True)
    (folder / "plugin.py").write_text(NAMED_ALONE)
    begin = "import plugin\n" if is_found else "plugin = load('plugin', 'plugins/plugin.py')\n"
    program = (
        LOADER
        + begin
        + (
            "import cloudpickle\n"
            "cloudpickle.register_pickle_by_value(plugin)\n"
            "from processes import Process, Task, TaskDependency\n"
            "def use():\n"
            "    doubled = plugin.double(plugin.double(1))\n"
            "    assert plugin.double.__globals__ is vars(plugin)\n"
            "    assert plugin.nothing() is plugin.NOTHING\n"
            "    return doubled, plugin.count, plugin.seen, plugin.Kind()\n"
            "def use_again(plugin):\n"
            "    return plugin.double(3), plugin.count, plugin.seen\n"
            "report = Process([Task('use', use), Task('again', use_again, args=(plugin,),\n"
            "    dependencies=[TaskDependency('use')]), Task('give', lambda: plugin)]).run(\n"
            "    runner='process', max_workers=1)\n"
            "report.raise_for_errors()\n"
            "(*used, kind), again, given = (report.results[name] for name in ('use', 'again', 'give'))\n"
            "print(used, again, type(kind) is plugin.Kind, given is plugin)\n"
        )
    )
    expected = "[4, 2, [1, 2]] (6, 3, [1, 2, 3]) True True\n"
    assert output_of(["-c", program], tmp_path) == expected


def test_a_module_that_another_finder_finds_can_be_imported(tmp_path, monkeypatch):
    class Failing:
        def find_spec(self, *_):
            raise OSError("the index is gone")

    class Strict:
        def find_spec(self, name, path, target):  # as Python asks; none has a default
            if name == "found_by_strict":
                return importlib.util.spec_from_file_location(name, tmp_path / "elsewhere.py")
            return None

    (tmp_path / "elsewhere.py").write_text("def double(number):\n    return 2 * number\n")
    monkeypatch.setattr(sys, "meta_path", [Failing(), *sys.meta_path, Strict()])
    spec = Strict().find_spec("found_by_strict", None, None)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    spec.loader.exec_module(module)
    assert can_be_imported(module.double)


def test_a_module_whose_file_is_gone_goes_by_value_where_its_name_means_another(tmp_path, monkeypatch):
    module = types.ModuleType("of_two_folders")
    exec("def double(number):\n    return 2 * number\n", vars(module))
    module.__file__ = str(tmp_path / "gone" / "of_two_folders.py")
    (tmp_path / "of_two_folders.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    try:
        assert not can_be_imported(module.double)
    finally:
        cloudpickle.unregister_pickle_by_value(module)
        stays_away.discard(module.__name__)


def test_what_is_in_a_package_goes_by_value_where_cloudpickle_is_to_take_that_along(tmp_path):
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "__init__.py").touch()
    (tmp_path / "plugins" / "inner.py").write_text(
        "import functools\n"
        "OFFSET = 1\n"
        "def shift(number):\n"
        "    return number + OFFSET\n"
        "@functools.lru_cache\n"
        "def cached(number):\n"
        "    return number + OFFSET\n"
    )
    program = (
        "import cloudpickle, plugins.inner\n"
        "from processes import Process, Task\n"
        "cloudpickle.register_pickle_by_value(plugins)\n"
        "plugins.inner.OFFSET = 10  # of which whoever imports it there knows nothing\n"
        "functions = plugins.inner.shift, plugins.inner.cached\n"
        "for function in functions:  # one at a time: the other would bring the module\n"
        "    print(Process([Task('shift', function, args=(2,))]).run(runner='process').results)"
    )
    assert output_of(["-c", program], tmp_path).splitlines() == ["{'shift': 12}", "{'shift': 12}"]


def test_a_module_from_beside_the_path_is_in_a_worker_for_one_run(tmp_path):
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "plugin.py").write_text(
        "seen = []\n"
        "def see():\n"
        "    import plugin\n"
        "    seen.append(0)\n"
        "    return len(plugin.seen), plugin.see is see\n"
    )
    program = LOADER + (
        "from processes import Process, ProcessPoolRunner, Task\n"
        "plugin = load('plugin', 'plugins/plugin.py')\n"
        "with ProcessPoolRunner(1) as runner:\n"
        "    for function in plugin.see, plugin.see, lambda: 'plugin' in sys.modules:\n"
        "        print(Process([Task('see', function)]).run(runner=runner).results['see'])\n"
    )
    assert output_of(["-c", program], tmp_path).splitlines() == ["(1, True)", "(1, True)", "False"]


@pytest.mark.skipif(sys.version_info < (3, 15), reason="imports cannot wait before Python 3.15")
def test_an_import_that_waits_may_be_of_a_module_that_was_loaded_from_beside_the_path(tmp_path):
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "plugin.py").write_text("def double(number): return number * 2\n")
    program = LOADER + (
        "from processes import Process, Task\n"
        "load('plugin', 'plugins/plugin.py')\n"
        "lazy import plugin\n"
        "print(Process([Task('four', lambda: plugin.double(2))]).run(runner='process').results)\n"
    )
    assert output_of(["-c", program], tmp_path) == "{'four': 4}\n"


@pytest.mark.skipif(sys.version_info < (3, 15), reason="imports cannot wait before Python 3.15")
def test_a_module_that_was_loaded_from_beside_the_path_may_have_imports_that_wait(tmp_path):
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "plugin.py").write_text(
        "lazy import colorsys\nlazy from math import floor\ndef low(number): return floor(number)\n"
    )
    program = LOADER + (
        "from processes import Process, Task\n"
        "plugin = load('plugin', 'plugins/plugin.py')\n"
        "print(Process([Task('two', lambda: plugin.low(2.5))]).run(runner='process').results)\n"
        "print('colorsys' in sys.modules)\n"
    )
    assert output_of(["-c", program], tmp_path) == "{'two': 2}\nFalse\n"


def test_functions_of_tests_that_pytest_imports_from_beside_the_path_run_in_processes(tmp_path):
    (tmp_path / "deeper").mkdir()
    test = f"\ndef test_run():\n    assert run() == {RUN}\n"
    (tmp_path / "deeper" / "test_plugin.py").write_text(PLUGIN + test)
    options = ["--import-mode=importlib", "-q", "-p", "no:cacheprovider", "-c", os.devnull]
    alone = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # other plugins may have something to say
    assert "1 passed" in output_of(["-m", "pytest", *options, "deeper"], tmp_path, env=alone)


SHARES_BY_A_MANAGER = """
import sys
from processes import Process, ProcessPoolRunner, Task

def import_early():
    import multiprocessing.process

def put(shared, number):
    shared[number] = number * 10

if __name__ == "__main__":
    with ProcessPoolRunner(1) as runner:
        process = Process([Task("early", import_early)])
        process.run(runner=runner).raise_for_errors()  # before the manager: nothing is known of a key
        import multiprocessing
        with multiprocessing.Manager() as manager:
            shared, queue = manager.dict(), manager.Queue()
            tasks = [Task(f"t{n}", put, args=(shared, n)) for n in range(3)]
            tasks.append(Task("q", queue.put, args=(5,)))
            for used in (runner, ProcessPoolRunner(1)):
                Process(tasks).run(runner=used).raise_for_errors()
            print(sorted(shared.items()), queue.get(), queue.get())
"""


def test_what_a_manager_of_multiprocessing_shares_may_be_used_in_workers(tmp_path):
    (tmp_path / "script.py").write_text(SHARES_BY_A_MANAGER)
    assert output_of(["script.py"], tmp_path) == "[(0, 0), (1, 10), (2, 20)] 5 5\n"


@pytest.mark.parametrize("name", ["package", "package.module"])
def test_a_program_may_be_a_module(tmp_path, name):
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(PROGRAM)
    (package / "module.py").write_text(PROGRAM)
    output = output_of(["-m", name], tmp_path)
    assert output.startswith(OUTPUT)
    assert "return number / 0" in output


def for_a_prompt(program: str) -> list[str]:
    """Write a program as one types it, by lines: an empty one ends what is indented."""
    lines: list[str] = []
    for line in filter(None, program.splitlines()):
        if lines and lines[-1].startswith(" ") and not line.startswith((" ", "]")):
            lines.append("")
        lines.append(line)
    return lines


def test_a_program_may_be_typed_at_the_prompt(tmp_path):
    done = ended([sys.executable, "-q", "-i"], input="\n".join(for_a_prompt(PROGRAM)) + "\n", cwd=tmp_path)
    assert "Error" not in done.stderr
    assert done.stdout.startswith(OUTPUT)
    assert "in broken" in done.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals on Windows")
def test_a_program_may_be_typed_at_the_prompt_of_a_terminal(tmp_path):
    import pty

    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "dumb", "PYTHON_BASIC_REPL": "1"}
    try:
        typing = subprocess.Popen(
            [sys.executable, "-q"], stdin=theirs, stdout=theirs, stderr=theirs, cwd=tmp_path, env=environment
        )
    finally:
        os.close(theirs)
    output = b""
    limit = threading.Timer(120, typing.kill)
    limit.start()
    with typing:
        # Line by line, each after the prompt for it: a terminal takes only so much at a time.
        for line in [*for_a_prompt(PROGRAM), "exit()"]:
            while not output.endswith((b">>> ", b"... ")):
                output += os.read(ours, 4096)
            output = output[:-4] + b"\n"
            os.write(ours, line.encode() + b"\n")
        while True:
            try:
                received = os.read(ours, 4096)
            except OSError:  # how Linux says that the other side is closed
                break
            if not received:
                break
            output += received
        os.close(ours)
    limit.cancel()
    limit.join()
    lines = output.decode().replace("\r\n", "\n").splitlines()
    for line in OUTPUT.splitlines():
        assert any(shown.startswith(line) for shown in lines), output.decode()
    assert typing.returncode == 0


# A client of its own process: it leaves threads and descriptors of ZeroMQ behind.
KERNEL_CLIENT = """
import json, sys
from jupyter_client.manager import KernelManager

# By files beside the program: ports that are free when they are chosen may be others' when they are taken.
files = {} if sys.platform == "win32" else {"transport": "ipc", "ip": "kernel"}
manager = KernelManager(kernel_name="python3", **files)
manager.start_kernel()
client = manager.client()
client.start_channels()
shown = []
try:
    client.wait_for_ready(timeout=120)
    for cell in json.load(sys.stdin):
        texts = []
        def collect(message):
            content = message["content"]
            if message["msg_type"] == "stream":
                texts.append(content["text"])
            elif message["msg_type"] == "error":
                texts.append("\\n".join(content["traceback"]))
        client.execute_interactive(cell, timeout=120, output_hook=collect)
        shown.append("".join(texts))
finally:
    client.stop_channels()
    manager.shutdown_kernel(now=True)
print(json.dumps(shown))
"""
CELLS = [
    """
from dataclasses import dataclass
from processes import Process, Task

@dataclass
class Point:
    x: int

class CellError(ValueError):
    pass
""",
    """
def shift(point):
    return Point(point.x + 1)

async def shift_later(point):
    return shift(point)

def broken(number):
    numerator = 3
    return numerator / number + 1

def refuse():
    raise CellError(Point(3))
""",
    """
def run(runner):
    return Process([
        Task("shift", shift, args=(Point(1),)),
        Task("later", shift_later, args=(Point(2),)),
        Task("broken", broken, args=(0,)),
        Task("refuse", refuse),
    ]).run(runner=runner)
report = run("process")
shifted, later, refused = report.results["shift"], report.results["later"], report.exceptions["refuse"]
print(type(shifted) is Point, type(later) is Point, later == Point(3))
print(type(refused) is CellError, type(refused.args[0]) is Point)
""",
    """
print(report.errored["broken"].error.traceback_str)
print(report.errored["broken"].error.traced_vars)
""",
    """
for other in map(run, ("sequential", "thread")):
    for name in ("broken", "refuse"):
        print(vars(other.errored[name].error) == vars(report.errored[name].error))
""",
    """
@dataclass
class Point:  # as it is when a cell is run again
    x: int
print(type(run("process").results["shift"]) is Point)
""",
]


@pytest.mark.skipif(
    not (importlib.util.find_spec("ipykernel") and importlib.util.find_spec("jupyter_client")),
    reason="needs ipykernel and jupyter_client",
)
def test_functions_and_classes_of_notebook_cells_run_in_processes(tmp_path):
    environment = {**os.environ, "JUPYTER_PLATFORM_DIRS": "1", "IPYTHONDIR": str(tmp_path / "ipython")}
    done = ended(
        [sys.executable, "-W", "ignore", "-c", KERNEL_CLIENT],
        280,
        input=json.dumps(CELLS),
        cwd=tmp_path,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    defined, more, identities, failure, alike, again = json.loads(done.stdout.splitlines()[-1])
    assert (defined, more) == ("", "")
    assert identities == "True True True\nTrue True\n"
    assert "    return numerator / number + 1\n           ~~~~~~~~~~^~~~~~~~" in failure
    assert "ZeroDivisionError: division by zero" in failure
    assert "{'number': '0', 'numerator': '3'}" in failure
    assert alike == "True\n" * 4
    assert again == "True\n"


def chain() -> Process:
    return Process(
        [
            Task("first", lambda number: number + 1, args=(1,)),
            Task("second", lambda number: number * 10, dependencies=[TaskDependency("first", True)]),
        ]
    )


def test_a_run_may_be_driven_by_any_thread(runner):
    results = []
    thread = threading.Thread(target=lambda: results.append(chain().run(runner=runner).results))
    thread.start()
    thread.join(60)
    assert results == [{"first": 2, "second": 20}]


def test_a_run_on_two_runners_goes_on_at_once_where_a_selector_has_no_descriptor(monkeypatch):
    monkeypatch.setattr(
        selectors, "DefaultSelector", selectors.SelectSelector
    )  # as on Windows, and with gevent
    for name in ("runners.pool.runner.POLL_SECONDS", "scheduler.LOOK_SECONDS"):
        monkeypatch.setattr(f"processes.{name}", 3600)
    results = []
    tasks = [
        Task("slow", time.sleep, args=(0.5,), runner="process"),
        Task("quick", abs, args=(-1,), runner="thread"),
        Task("next", abs, dependencies=[TaskDependency("quick", True)], runner="process"),
        Task("last", abs, dependencies=[TaskDependency("next", True)], runner="thread"),
        Task("large", len, args=(bytearray(3_000_000),), runner="process"),
    ]
    thread = threading.Thread(target=lambda: results.append(Process(tasks).run().results), daemon=True)
    thread.start()
    thread.join(60)
    assert results == [{"slow": None, "quick": 1, "next": 1, "last": 1, "large": 3_000_000}]


def test_a_run_waits_by_what_stands_in_queue_by_now(monkeypatch):
    # gevent and eventlet put theirs there, maybe after we were imported; Python's would hold up all threads.
    pythons_own = queue.SimpleQueue
    monkeypatch.setattr(queue, "SimpleQueue", queue._PySimpleQueue)

    def count():
        return sum(type(thing) is pythons_own for thing in gc.get_objects())

    before = count()
    for runner in ("sequential", "thread"):
        tasks = [Task("count", count, timeout=60)]  # with a limit: in a thread
        assert [entry.result for entry in Process(tasks).stream(runner=runner)] == [before]


def test_a_runner_may_be_used_in_another_thread_than_the_one_that_opened_it():
    results = []
    with ProcessPoolRunner(1) as pool:
        thread = threading.Thread(target=lambda: results.append(chain().run(runner=pool).results))
        thread.start()
        thread.join(60)
        results.append(chain().run(runner=pool).results)
    assert results == [{"first": 2, "second": 20}] * 2


FORKED = """
import os, sys, tempfile, time
from processes import Process, ProcessPoolRunner, Task

def meet(folder, number):
    open(os.path.join(folder, str(number)), "w").close()
    while len(os.listdir(folder)) < 2:
        time.sleep(0.01)
    return os.getpid()

def pids(runner):
    with tempfile.TemporaryDirectory() as folder:
        tasks = [Task(f"t{n}", meet, args=(folder, n)) for n in range(2)]
        return set(Process(tasks).run(runner=runner).results.values())

with ProcessPoolRunner(2) as runner:
    before = pids(runner)
    for how in "", "use", "use leave", "use leave close":
        child = os.fork()
        if not child:
            if "close" in how:  # as daemons do
                os.closerange(3, 256)
                log = open(os.devnull)
            others = pids(runner) if "use" in how else set()
            os._exit(bool(others & before)) if "leave" in how else sys.exit(bool(others & before))
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print(status, pids(runner) == before, how, flush=True)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_process_that_was_forked_beside_a_warm_pool_leaves_its_workers_alone(tmp_path):
    lines = output_of(["-W", "error", "-c", FORKED], tmp_path).splitlines()
    assert lines == ["0 True ", "0 True use", "0 True use leave", "0 True use leave close"]


FORKED_BESIDE_RUN = """
import linecache, os, signal, sys, threading, warnings
from processes import Process, ProcessPoolRunner, Task

warnings.simplefilter("ignore", DeprecationWarning)  # that we fork beside threads is the point
_, where, what = sys.argv
is_there, forks = threading.Event(), threading.Event()

def run():
    here = Task("here", abs, args=(-1,), log_path=os.devnull, runner="thread")
    return len(Process([here, Task("there", abs, args=(-1,))]).run(runner=runner).results)

def pause(frame, event, _):
    if frame.f_code.co_filename.endswith(where):
        line = linecache.getline(frame.f_code.co_filename, frame.f_lineno)
        if what in line and not is_there.is_set():
            is_there.set()
            forks.wait(60)
        return pause

def run_and_pause():
    sys.settrace(pause)
    threading.settrace(pause)
    run()

with ProcessPoolRunner(1) as runner:
    run()
    thread = threading.Thread(target=run_and_pause)
    thread.start()
    is_there.wait(60)
    os.register_at_fork(before=forks.set)
    child = os.fork()
    if not child:
        signal.alarm(60)
        os._exit(run())
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    thread.join()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.parametrize(
    ("where", "what"), [("shelf.py", "self._runs += 1"), ("log_capture.py", "_captures += 1")]
)
def test_a_process_that_was_forked_while_a_thread_had_a_lock_can_run(tmp_path, where, what):
    assert output_of(["-W", "error", "-c", FORKED_BESIDE_RUN, where, what], tmp_path) == "2\n"


def test_a_run_may_happen_while_an_event_loop_runs(runner):
    import asyncio  # here, because workers import this module

    async def main() -> list[dict[str, int]]:
        direct = chain().run(runner=runner)
        beside = await asyncio.to_thread(chain().run, runner=runner)
        return [direct.results, beside.results]

    assert asyncio.run(main()) == [{"first": 2, "second": 20}] * 2


TRAPS = (
    "socket",
    "random",
    "pickle",
    "struct",
    "logging",
    "selectors",
    "signal",
    "typing",
    "platform",
    "traceback",
)


def test_modules_in_the_working_directory_do_not_stand_before_the_standard_library(tmp_path):
    folder, elsewhere = tmp_path / "work", tmp_path / "elsewhere"
    folder.mkdir()
    elsewhere.mkdir()
    for name in TRAPS:
        (folder / f"{name}.py").write_text("raise SystemExit('the wrong module was imported')\n")
    (elsewhere / "script.py").write_text(PROGRAM)
    assert output_of([str(elsewhere / "script.py")], folder).startswith(OUTPUT)


def test_workers_boot_where_the_users_modules_bear_the_names_of_pythons_own(tmp_path):
    # The program has long imported Python's own modules, and puts a folder before them then.
    traps = tmp_path / "traps"
    traps.mkdir()
    for name in TRAPS:
        (traps / f"{name}.py").write_text("raise SystemExit('the wrong module was imported')\n")
    (tmp_path / "script.py").write_text(
        "import sys\n"
        "from processes import Process, Task\n"
        "class Point:\n"
        "    pass\n"
        "process = Process([Task('point', Point), Task('lambda', lambda: 1), Task('bad', lambda: 1 / 0)])\n"
        "process.run(runner='process', max_workers=1)\n"
        "sys.path.insert(0, 'traps')\n"
        "report = process.run(runner='process', max_workers=1)\n"
        "print(type(report.results['point']) is Point, report.results['lambda'])\n"
        "print(report.errored['bad'].error.exception)\n"
    )
    assert output_of(["script.py"], tmp_path) == "True 1\ndivision by zero\n"


def test_a_module_beside_the_script_is_the_one_that_functions_import(tmp_path):
    (tmp_path / "colorsys.py").write_text("def pick():\n    return 4\n")  # Python has one of this name
    (tmp_path / "script.py").write_text(
        "import colorsys\n"
        "from processes import Process, Task\n"
        "def draw():\n"
        "    import colorsys\n"
        "    return colorsys.pick(), colorsys.__file__\n"
        "process = Process([Task('draw', draw), Task('pick', colorsys.pick)], runner='process')\n"
        "report = process.run(max_workers=1)\n"
        "print(report.results['draw'] == draw(), report.results['pick'])\n"
    )
    assert output_of(["script.py"], tmp_path) == "True 4\n"


RUNS_WHEN_IMPORTED = """
from processes import Process, Task

def work():
    return "done"

report = Process([Task("work", work)]).run(runner="process", max_workers=1)
"""


def test_a_module_that_starts_a_pool_when_it_is_imported_ends_with_advice_and_not_with_ever_more_workers(
    tmp_path, monkeypatch
):
    (tmp_path / "runs_when_imported.py").write_text(RUNS_WHEN_IMPORTED)
    monkeypatch.syspath_prepend(tmp_path)
    from runs_when_imported import report  # type: ignore[import-not-found]

    cause = report.exceptions["work"].__cause__
    assert type(cause) is RuntimeError
    assert 'below `if __name__ == "__main__":`' in str(cause)


STRICT = """
import os, signal
from processes import Process, Task

def starts():
    return os.posix_spawnp("sleep", ["sleep", "60"], os.environ)

def dies():
    os.kill(os.getpid(), signal.SIGSEGV)

report = Process([Task("starts", starts), Task("dies", dies)]).run(runner="process", max_workers=2)
print(report.exceptions["dies"].signal, os.path.exists(f"/proc/{report.results['starts']}"))
"""


@pytest.mark.skipif(not CAN_GUARD, reason="nothing here ends the children of a worker that leaves")
def test_a_program_may_make_errors_of_all_warnings(tmp_path):
    (tmp_path / "script.py").write_text(STRICT)
    environment = {**os.environ, "PYTHONWARNDEFAULTENCODING": "1"}
    assert output_of(["-W", "error", "script.py"], tmp_path, env=environment) == "SIGSEGV False\n"
