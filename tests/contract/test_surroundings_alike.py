"""What a function finds around it, on every runner: its script's globals, the program's settings."""

from __future__ import annotations

import multiprocessing
import sys
import threading
from contextvars import ContextVar, copy_context
from decimal import Decimal, getcontext, localcontext
from pathlib import Path

import pytest
from programs import NAMED, ended, output_of

from processes import Process, Task

GLOBALS = """
'A script.'
from __future__ import annotations
import functools, pickle, sys, threading, typing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from processes import Process, Task, TaskDependency

@dataclass
class Inner:
    number: int

@dataclass
class Outer:
    inner: Inner

loads = []
connection = None

@functools.cache
def model():
    loads.append("loaded")
    return 5

def first():
    return model()

def second():
    return model() + len(loads)

def connect():
    global connection
    connection = "open"

def send():
    return connection, __doc__, __name__, __file__.endswith("program.py"), __package__ or None

def hints():
    return [sorted(map(str, typing.get_type_hints(cls).values())) for cls in (Outer, Inner)]

def of_argument(outer):
    return typing.get_type_hints(type(outer))["inner"].__name__, pickle.loads(pickle.dumps(outer)) == outer

def annotated(inner: Inner | None) -> dict[str, Outer]:
    return [str(hint) for hint in typing.get_type_hints(annotated).values()]

class Client:
    lock = threading.Lock()  # so that it cannot travel

class Exits:
    def __reduce__(self):
        raise SystemExit("no copies")

class Server:
    exits = Exits()  # so that it cannot either

def without_client(client: Client | Server | None = None, inner: Inner | None = None):
    return client, inner

def square(number):
    return number * number

def in_processes():
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as executor:
        return list(executor.map(square, [1, 2, 3]))

if __name__ == "__main__":
    functions = [first, second, connect, hints, in_processes, without_client]
    tasks = [Task(function.__name__, function) for function in functions]
    tasks += [
        Task("send", send, dependencies=[TaskDependency("connect")]),
        Task("of_argument", of_argument, args=(Outer(Inner(1)),)),
        Task("annotated", annotated, args=(None,)),
    ]
    runner = sys.argv[1]
    options = {} if runner == "sequential" else {"max_workers": 1}
    report = Process(tasks).run(runner=runner, **options)
    assert report.runner == runner
    report.raise_for_errors()
    print(sorted(report.results.items()))
"""

FOUND = [
    ("annotated", ["__main__.Inner | None", "dict[str, __main__.Outer]"]),
    ("connect", None),
    ("first", 5),
    ("hints", [["<class '__main__.Inner'>"], ["<class 'int'>"]]),
    ("in_processes", [1, 4, 9]),
    ("of_argument", ("Inner", True)),
    ("second", 6),
    ("send", ("open", "A script.", "__main__", True, None)),
    ("without_client", (None, None)),
]

ANNOTATED = """
from __future__ import annotations
import sys, typing
from dataclasses import dataclass
from processes import Process, Task

@dataclass
class Inner:
    number: int

def annotated(inner: Inner | None) -> list[Inner]:
    return [str(hint) for hint in typing.get_type_hints(annotated).values()]

for runner in sys.argv[1:]:
    print(runner, Process([Task("hints", annotated, args=(None,))]).run(runner=runner).results)
"""

SETTINGS = """
import decimal, locale, logging, multiprocessing, socket, sys, warnings
from processes import ProcessPoolRunner, Process, Task

class Odd(UserWarning): pass
class Fine(UserWarning): pass

def deep(depth=3000):
    return depth and deep(depth - 1)

def digits():
    return len(str(10**9000))

def warn(category):
    warnings.warn("a warning", category)
    return category.__name__

def third():
    return str(decimal.Decimal(1) / 3)

def settings():
    of_sys = sys.argv[1:], sys.dont_write_bytecode, sys.pycache_prefix
    method = starts.multiprocessing.get_start_method()  # for a worker that imports it as for the program
    return socket.getdefaulttimeout(), locale.setlocale(locale.LC_NUMERIC), *of_sys, method

def run(runner):
    tasks = [Task(function.__name__, function) for function in (deep, digits, third, settings)]
    for category in (UserWarning, DeprecationWarning, Odd, Fine):
        tasks.append(Task(category.__name__, warn, args=(category,)))
    report = Process(tasks).run(runner=runner)
    print({**report.results, **{name: repr(error) for name, error in report.exceptions.items()}})

first = min(multiprocessing.get_all_start_methods())
with ProcessPoolRunner(1) as pool:
    runners = [pool if name == "process" else name for name in sys.argv[1:]]
    sys.setrecursionlimit(5000)
    sys.set_int_max_str_digits(10000)
    warnings.filterwarnings("error", "A warn")
    warnings.simplefilter("ignore", DeprecationWarning)
    warnings.simplefilter("ignore", Fine)
    decimal.getcontext().prec = 5
    locale.setlocale(locale.LC_ALL, "C.UTF-8")
    socket.setdefaulttimeout(7)
    sys.dont_write_bytecode, sys.pycache_prefix = True, "cache"
    import starts
    for runner in runners:
        run(runner)
    # The same workers take over what is set now.
    sys.setrecursionlimit(2000)
    sys.set_int_max_str_digits(5000)
    warnings.simplefilter("ignore", Odd)
    warnings.simplefilter("error", Fine)
    decimal.getcontext().prec = 3
    locale.setlocale(locale.LC_ALL, "C")
    socket.setdefaulttimeout(None)
    sys.dont_write_bytecode, sys.pycache_prefix = False, None
    multiprocessing.set_start_method(first, force=True)
    for runner in runners:
        run(runner)
"""


def run_program(folder: Path, program: str, *arguments: str, how: str = "program.py") -> list[str]:
    (folder / "program.py").write_text(program)
    return output_of([sys.executable, *how.split(), *arguments], cwd=folder).splitlines()


def on_each(line: object) -> list[str]:
    """What a program prints that does the same on each runner."""
    return [f"{runner} {line}" for runner in NAMED]


@pytest.mark.parametrize(
    ("runner", "how"),
    [
        ("sequential", "program.py"),
        ("process", "program.py"),
        ("process", "-m program"),
    ],
)
def test_functions_of_a_script_share_its_globals_which_others_find_by_name(runner, how, tmp_path):
    (line,) = run_program(tmp_path, GLOBALS, runner, how=how)
    assert eval(line) == FOUND


def test_a_function_finds_what_the_text_of_its_annotations_means(tmp_path):
    expected = {"hints": ["__main__.Inner | None", "list[__main__.Inner]"]}
    assert run_program(tmp_path, ANNOTATED, *NAMED) == on_each(expected)


STARTS = """
import multiprocessing

multiprocessing.set_start_method(max(multiprocessing.get_all_start_methods()))
"""


def test_the_settings_of_a_program_hold_for_its_tasks(tmp_path):
    (tmp_path / "starts.py").write_text(STARTS)
    printed = [eval(line) for line in run_program(tmp_path, SETTINGS, *NAMED)]
    methods = (
        multiprocessing.get_all_start_methods()
    )  # the default comes first, and may be another in workers
    first, last = min(methods), max(methods)
    before = {
        "deep": 0,
        "digits": 9001,
        "third": "0.33333",
        "settings": (7.0, "C.UTF-8", [*NAMED], True, "cache", last),
        "userwarning": "UserWarning('a warning')",
        "deprecationwarning": "DeprecationWarning",
        "odd": "Odd('a warning')",
        "fine": "Fine",
    }
    assert dict(zip(NAMED, printed[:3], strict=True)) == dict.fromkeys(NAMED, before)
    for found in printed[3:]:
        found.update({name: found[name][:14] for name in ("deep", "digits")})
    after = {
        "deep": "RecursionError",
        "digits": "ValueError('Ex",
        "third": "0.333",
        "settings": (None, "C", [*NAMED], False, None, first),
        "userwarning": "UserWarning('a warning')",
        "deprecationwarning": "DeprecationWarning",
        "odd": "Odd",
        "fine": "Fine('a warning')",
    }
    assert dict(zip(NAMED, printed[3:], strict=True)) == dict.fromkeys(NAMED, after)


FILTERS_IN_A_BLOCK = """
import sys, warnings
from processes import Process, ProcessPoolRunner, Task

def warn():
    warnings.warn("a warning", DeprecationWarning)

with ProcessPoolRunner(1) as pool:
    for name in sys.argv[1:]:
        for action in ("error", "ignore"):
            with warnings.catch_warnings():
                warnings.simplefilter(action)
                report = Process([Task("warn", warn)]).run(runner=pool if name == "process" else name)
                print(name, report.exceptions)
"""


@pytest.mark.parametrize("option", ["", "-X context_aware_warnings=1 -X thread_inherit_context=1"])
def test_filters_of_warnings_hold_where_the_run_stands_in_a_block_with_its_own(option, tmp_path):
    printed = run_program(tmp_path, FILTERS_IN_A_BLOCK, *NAMED, how=f"{option} program.py")
    found = ("{'warn': DeprecationWarning('a warning')}", "{}")
    assert printed == [f"{name} {exceptions}" for name in NAMED for exceptions in found]


LAZY = """
import sys
from processes import Process, Task

import math

def look():
    names = {}
    exec("import colorsys", names)
    return sys.get_lazy_imports(), type(names["colorsys"]).__name__, math.floor(2.5)

for mode in ("all", "normal"):
    sys.set_lazy_imports(mode)
    for runner in sys.argv[1:]:
        print(runner, *Process([Task("look", look)]).run(runner=runner).results["look"])
"""


@pytest.mark.skipif(sys.version_info < (3, 15), reason="imports cannot wait before Python 3.15")
def test_imports_wait_for_their_first_use_where_the_program_wants_that(tmp_path):
    printed = run_program(tmp_path, LAZY, *NAMED, how="-X lazy_imports=all program.py")
    assert printed == on_each("all lazy_import 2") + on_each("normal module 2")


IN_AN_INTERPRETER = """
import asyncio, sys
from processes import Process, Task

class Odd:
    def __repr__(self):
        return "odd"

async def wait():
    return await asyncio.sleep(0, 1)

def fail():
    odd = Odd()
    raise ValueError(odd)

tasks = [Task("wait", wait), Task("in-time", abs, args=(-1,), timeout=60), Task("fail", fail)]
process = Process(tasks)
report = process.run(runner=RUNNER)
print(report.results, report.entries["fail"].error.traced_vars)
print(sorted(entry.name for entry in process.stream(runner=RUNNER)))
"""


@pytest.mark.skipif(sys.version_info < (3, 14), reason="there are no interpreters to make before Python 3.14")
def test_runs_work_in_an_interpreter_that_has_no_daemon_threads(named_runner, tmp_path):
    source = IN_AN_INTERPRETER.replace("RUNNER", repr(named_runner))
    program = f"from concurrent import interpreters\ninterpreters.create().exec({source!r})"
    assert run_program(tmp_path, program, named_runner) == [
        "{'wait': 1, 'in-time': 1} {'odd': 'odd'}",
        "['fail', 'in-time', 'wait']",
    ]


OF_CLASSES_OF_ITS_OWN = """
import enum, logging, sys
sys.path.insert(0, "folder")
from levels import Level, Text
from processes import Process, Task

logging.addLevelName(Level.NOTICE, Text("NOTICE"))
logging.getLogger("app").setLevel(Level.NOTICE)
sys.argv[0] = Text(sys.argv[0])
sys.path.append(Text("/nowhere"))

def look():
    level = logging.getLogger("app").getEffectiveLevel()
    return level + 0, logging.getLevelName(35), sys.argv[0] + "", "/nowhere" in sys.path

for runner in sys.argv[1:]:
    print(runner, Process([Task("look", look)]).run(runner=runner).results)
"""

LEVELS = """
import enum

class Level(enum.IntEnum):
    NOTICE = 35

class Text(str):
    def __reduce__(self):
        raise TypeError("stays at home")
"""


def test_settings_may_be_of_a_programs_own_classes(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "levels.py").write_text(LEVELS)
    looked = {"look": (35, "NOTICE", "program.py", True)}
    assert run_program(tmp_path, OF_CLASSES_OF_ITS_OWN, *NAMED) == on_each(looked)


GOES_ELSEWHERE = """
import os, sys
sys.path.insert(0, "folder")
import tools
from processes import Process, Task
os.chdir("/")
for runner in sys.argv[1:]:
    print(runner, Process([Task("name", tools.name)]).run(runner=runner).results)
"""


def test_a_relative_folder_of_the_path_stays_where_it_was_when_the_program_goes_elsewhere(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "tools.py").write_text("def name():\n    return __name__\n")
    assert run_program(tmp_path, GOES_ELSEWHERE, *NAMED) == on_each({"name": "tools"})


LIBRARY = """
import warnings
warnings.filterwarnings("default", module="library")
def warn():
    warnings.warn("from the library")
    return "fine"
"""

WITH_LIBRARY = """
import logging, sys, warnings
sys.path.insert(0, ".")
import library
from processes import Process, Task
warnings.simplefilter("ignore")
for runner in sys.argv[1:]:
    print(runner, Process([Task("warn", library.warn)]).run(runner=runner).results)
"""


def test_the_programs_filters_come_before_those_of_what_is_imported(tmp_path):
    (tmp_path / "library.py").write_text(LIBRARY)
    assert run_program(tmp_path, WITH_LIBRARY, *NAMED) == on_each({"warn": "fine"})


LOGGED = """
import logging, sys
from processes import Process, Task

def warn(runner):
    import warnings
    warnings.warn(f"so odd on {runner}")

logging.captureWarnings(True)
for runner in sys.argv[1:]:
    with Process([Task("warn", warn, log_path=f"{runner}.log", args=(runner,))]) as process:
        process.run(runner=runner).raise_for_errors()
"""


def test_warnings_that_a_program_logs_go_to_the_log_file_of_the_task(tmp_path):
    run_program(tmp_path, LOGGED, *NAMED)
    for runner in NAMED:
        logged = (tmp_path / f"{runner}.log").read_text()
        assert "WARNING py.warnings" in logged, runner
        assert f"UserWarning: so odd on {runner}" in logged


SHARED = """
import sys
from multiprocessing.shared_memory import SharedMemory
from processes import Process, Task

def count(name):
    shared = SharedMemory(name)
    shared.buf[0] += 1
    shared.close()

shared = SharedMemory(create=True, size=1)
for runner in sys.argv[1:]:
    shared.buf[0] = 0
    for _ in range(2):
        Process([Task("count", count, args=(shared.name,))]).run(runner=runner).raise_for_errors()
    print(runner, shared.buf[0])
shared.close()
shared.unlink()
"""


def test_tasks_may_attach_shared_memory_of_the_programs(tmp_path):
    assert run_program(tmp_path, SHARED, *NAMED) == on_each(2)


CUT = """
import sys
from processes import Process, ProcessPoolRunner, Task

def fail(depth):
    return fail(depth - 1) if depth else 1 / 0

def lines(runner):
    report = Process([Task("fail", fail, args=(2,))]).run(runner=runner)
    return report.errored["fail"].error.traceback_str.count("line")

with ProcessPoolRunner(1) as warm:
    for name in sys.argv[1:]:
        runner = warm if name == "process" else name
        sys.tracebacklimit = 1
        cut = lines(runner)
        del sys.tracebacklimit
        print(name, cut, lines(runner))
"""


def test_tracebacks_are_as_long_as_the_program_wants_them(tmp_path):
    assert run_program(tmp_path, CUT, *NAMED) == on_each("1 3")


VARIABLE: ContextVar[str] = ContextVar("VARIABLE", default="unset")


@pytest.mark.parametrize("runner", ["sequential", "thread"])
def test_functions_find_the_callers_context_variables(runner):
    tasks = [Task("at-once", VARIABLE.get), Task("limited", VARIABLE.get, timeout=60)]

    def run() -> list[dict[str, str]]:
        VARIABLE.set("set")
        process = Process(tasks)
        with process.stream(runner=runner) as stream:
            list(stream)
        return [process.run(runner=runner).results, stream.report.results]

    assert copy_context().run(run) == [{"at-once": "set", "limited": "set"}] * 2
    assert VARIABLE.get() == "unset"


def test_what_a_task_on_a_thread_sets_in_decimals_context_holds_for_nobody_else():
    is_set, is_done = threading.Event(), threading.Event()

    def roughly() -> str:
        getcontext().prec = 3
        is_set.set()
        assert is_done.wait(60)
        return str(Decimal(1) / 3)

    def as_the_program() -> str:
        assert is_set.wait(60)
        try:
            return str(Decimal(1) / 3)
        finally:
            is_done.set()

    tasks = [Task("roughly", roughly), Task("as-the-program", as_the_program)]
    with localcontext(prec=5):
        report = Process(tasks).run(runner="thread")
        assert report.results == {"roughly": "0.333", "as-the-program": "0.33333"}
        with Process(tasks[:1]).stream(runner="sequential") as stream:
            assert [entry.result for entry in stream] == ["0.333"]
        assert getcontext().prec == 5


def test_what_a_retry_delay_sets_in_decimals_context_holds_for_no_task():
    began, is_set = threading.Event(), threading.Event()

    def fail() -> None:
        assert began.wait(60)
        raise ConnectionError

    def delay(*_: object) -> float:
        getcontext().prec = 3
        is_set.set()
        return 0.0

    def keep_the_run() -> str:  # so that another thread asks for the delay
        began.set()
        assert is_set.wait(60)
        return str(Decimal(1) / 3)

    tasks = [
        Task("fails", fail, retries=1, retry_delay=delay, runner="thread"),
        Task("keeps", keep_the_run),
    ]
    with localcontext(prec=5):
        report = Process(tasks).run(runner="sequential")
        assert report.results == {"keeps": "0.33333"}


WITHOUT_GUARD = """
import math, multiprocessing
from processes import Process, Task

report = Process([Task("one", abs, args=(-1,))]).run(runner="process", max_workers=1)
print(report.results, flush=True)
child = multiprocessing.get_context("spawn").Process(target=math.sqrt, args=(1,))
child.start()
child.join()
print(child.exitcode)
"""


SPAWNS = """
import math
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from processes import Process, Task

print("once", flush=True)

def compute():
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as executor:
        return [*executor.map(math.sqrt, [1, 4])], __file__.endswith("program.py")

print(Process([Task("compute", compute)]).run(runner="process").results)
"""


def test_a_script_without_guard_is_not_run_again_by_processes_that_a_task_starts(tmp_path):
    assert run_program(tmp_path, SPAWNS) == ["once", "{'compute': ([1.0, 2.0], True)}"]


def test_a_script_that_multiprocessing_imports_starts_no_run_of_its_own(tmp_path):
    (tmp_path / "program.py").write_text(WITHOUT_GUARD)
    done = ended([sys.executable, "program.py"], cwd=tmp_path)
    assert done.stdout.splitlines() == ["{'one': 1}", "1"]
    assert "RuntimeError: A process of multiprocessing imports this module" in done.stderr
