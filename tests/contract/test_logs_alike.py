"""What ends up in log files and in the program's own handlers, on every runner."""

from __future__ import annotations

import inspect
import logging
import logging.config
import os
import re
import sys
from itertools import chain
from pathlib import Path

import chatting
import pytest
from chatting import (
    chatty,
    chatty_failure,
    log_and_return,
    log_from_a_thread,
    log_odd_error,
    log_odd_things,
    log_unprintable,
    log_with_a_name_of_ours,
    log_with_a_reason,
    pay,
    run_what_fails,
)
from functions import SENDING
from programs import NAMED, ended, output_of

from processes import Process, Task, TaskDependency
from processes.failure import entries_of
from processes.log_capture import Capture


def lines_of(path: Path) -> list[str]:
    """The records of a log file without their times."""
    return [re.sub(r"^\S+ \S+ ", "", line) for line in path.read_text("utf-8").splitlines()]


class Collector(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.fixture
def heard():
    """What a handler on the root logger gets."""
    handler = Collector()
    root = logging.getLogger()
    root.addHandler(handler)
    logging.getLogger("chatty.quiet").setLevel(logging.INFO)
    logging.getLogger("chatty.alone").propagate = False
    yield handler.records
    root.removeHandler(handler)
    logging.getLogger("chatty.quiet").setLevel(logging.NOTSET)
    logging.getLogger("chatty.alone").propagate = True


def test_a_log_file_tells_the_whole_story_of_its_task(runner, tmp_path, heard):
    path = tmp_path / "made" / "on the way" / "task.log"
    tasks = [
        Task("talk", chatty, log_path=path, args=("hello",)),
        Task("other", chatty, log_path=tmp_path / "other.log", args=("elsewhere",)),
    ]
    with Process(tasks) as process:
        process.run(runner=runner).raise_for_errors()
        assert process.get_task("talk").logger.handlers
    assert not process.get_task("talk").logger.handlers
    text = path.read_text()
    assert "elsewhere" not in text
    assert re.findall(r"Starting talk\.|warned|not heard|informed|alone: h|Finished talk\.", text) == [
        "Starting talk.",
        "warned",
        "informed",
        "alone: h",
        "Finished talk.",
    ]


def test_what_functions_log_still_reaches_the_programs_own_handlers(runner, tmp_path, heard):
    tasks = [
        Task("talk", chatty, args=("hello",)),
        Task("file", chatty, log_path=tmp_path / "f", args=("file",)),
    ]
    Process(tasks).run(runner=runner).raise_for_errors()
    messages = sorted(record.getMessage() for record in heard if record.name.startswith("chatty"))
    assert messages == ["informed: file", "informed: hello", "warned: file", "warned: hello"]
    # Times count from the start of the program.
    starts = [one.created - one.relativeCreated / 1000 for one in (logging.makeLogRecord({}), *heard)]
    assert max(starts) - min(starts) < 0.2
    # Some tell messages apart by what they are made of, as Sentry does.
    assert {record.msg for record in heard if record.name.startswith("chatty")} == {
        "warned: %s",
        "informed: %s",
    }
    # Some handlers show all that a record has.
    of_logging = {*vars(logging.makeLogRecord({})), "message", "asctime"}
    assert {name for record in heard for name in vars(record)} <= of_logging


def test_what_a_run_inside_a_task_logs_is_heard_as_that_of_its_function(runner, tmp_path, heard):
    path = tmp_path / "log"
    tasks = [
        Task("outer", run_what_fails, path, args=("x",)),
        Task("shares", run_what_fails, path, args=("y", path)),
    ]
    Process(tasks).run(runner=runner).raise_for_errors()
    for line in ("ERROR processes.inner: Failed inner: invalid literal", "WARNING chatty.inner: reading"):
        assert path.read_text().count(line) == len(tasks)
    assert [record.name for record in heard if record.levelno == logging.ERROR] == [
        "processes.inner" for _ in tasks
    ]


@pytest.mark.parametrize(("runner", "attribute"), [("thread", "threadName"), ("process", "processName")])
def test_a_record_names_the_worker_as_the_report_does(runner, attribute, heard):
    report = Process([Task(f"t{n}", chatty, args=(f"of t{n}",)) for n in range(4)]).run(runner=runner)
    named = {
        record.getMessage(): getattr(record, attribute) for record in heard if record.name == "chatty.app"
    }
    workers = {f"warned: of {name}": metrics.worker for name, metrics in report.metrics.items()}
    assert named == workers


def test_an_exception_that_is_logged_arrives_with_its_traceback(runner, tmp_path, heard):
    path = tmp_path / "log"
    Process([Task("bad", chatty_failure, log_path=path, args=("four",))]).run(runner=runner)
    text = path.read_text()
    assert "handled" in text
    assert "KeyError: 4" in text
    assert text.index("KeyError: 4") < text.index("ValueError: four")
    record = next(record for record in heard if record.name == "chatty.app")
    assert "KeyError: 4" in logging.Formatter().format(record)
    # What has a format of its own for exceptions, as structlog and loguru, looks at no text.
    kind, error, traceback = record.exc_info
    assert (kind, error.args, traceback is error.__traceback__) == (KeyError, (4,), True)
    assert [entry.tb_frame.f_code.co_name for entry in entries_of(error)] == ["chatty_failure"]


def test_a_failure_is_one_error_record_that_carries_all_that_is_known(runner, tmp_path):
    path = tmp_path / "log"
    tasks = [
        Task("bad", chatty_failure, log_path=path, args=("four",), retries=1, retry_on=(ValueError,)),
        Task("below", chatty, args=("x",), dependencies=[TaskDependency("bad")]),
    ]
    collector = Collector()
    with Process(tasks) as process:
        process.get_task("bad").logger.addHandler(collector)
        report = process.run(runner=runner)
    levels = [record.levelname for record in collector.records if record.name == "processes.bad"]
    assert levels == ["INFO", "WARNING", "ERROR"]
    error = next(record for record in collector.records if record.levelname == "ERROR")
    assert error.task_context["task_name"] == "bad"
    assert error.task_context["downstream_impact"] == ["below"]
    assert error.task_context == vars(report.errored["bad"].error)
    failure = report.exceptions["bad"]  # which is what Sentry, say, looks for
    assert error.exc_info == (ValueError, failure, failure.__traceback__)
    assert logging.Formatter().format(error) == f"{error.getMessage()}\n{error.exc_text}"
    text = path.read_text()
    assert text.count(error.task_context["traceback_str"]) == 1
    for part in ("chatty_failure", "'four'", "below", "number", "4", "Traceback"):
        assert part in text
    assert text.rstrip().endswith("ValueError: four")


class Redact(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = record.getMessage().replace("hunter2", "***"), None
        return "noise" not in record.msg


@pytest.fixture
def chatty_pay(monkeypatch):
    """Loggers that a program has set up with a filter, a name for a level, and a `disabled`."""
    logger = logging.getLogger("chatty.pay")
    monkeypatch.setattr(logging.getLogger("chatty.disabled"), "disabled", True)
    monkeypatch.setattr(logging, "_levelToName", dict(logging._levelToName))
    monkeypatch.setattr(logging, "_nameToLevel", dict(logging._nameToLevel))
    logging.addLevelName(35, "NOTICE")
    yield logger
    logger.filters.clear()


def test_filters_and_disabled_loggers_count_for_the_files_too(runner, tmp_path, heard, chatty_pay):
    chatty_pay.addFilter(Redact())
    path = tmp_path / "log"
    Process([Task("pay", pay, log_path=path)]).run(runner=runner).raise_for_errors()
    expected = ["WARNING chatty.pay: password is ***", "NOTICE chatty.pay: notice"]
    _, *logged, _ = lines_of(path)
    assert logged == expected
    formatter = logging.Formatter("%(levelname)s %(name)s: %(message)s")
    assert [formatter.format(record) for record in heard if record.name.startswith("chatty")] == expected


def replace(record: logging.LogRecord) -> logging.LogRecord:
    return logging.makeLogRecord({**vars(record), "msg": "another", "args": None})


@pytest.mark.skipif(sys.version_info < (3, 12), reason="filters decide only")
def test_a_filter_may_put_another_record_in_the_place_of_one(runner, tmp_path, heard, chatty_pay):
    chatty_pay.addFilter(replace)
    path = tmp_path / "log"
    Process([Task("pay", pay, log_path=path)]).run(runner=runner).raise_for_errors()
    assert path.read_text().count("chatty.pay: another") == 3
    assert [record.msg for record in heard if record.name == "chatty.pay"] == ["another"] * 3


SIGNALLED = """
import logging, signal, sys
from processes import Process, Task

class Struck(logging.Handler):
    heard = 0

    def emit(self, record):
        Struck.heard += 1
        signal.raise_signal(signal.Signals[sys.argv[1]])  # as one may come at any time

def leave(*_):
    sys.exit(7)

def give_up(*_):
    raise TimeoutError("the whole run takes too long")

def chatty():
    for number in range(50):
        logging.getLogger("chatty").warning("%s", number)

if __name__ == "__main__":
    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGABRT, give_up)
    logging.getLogger("chatty").addHandler(Struck())
    process = Process([Task("chatty", chatty, log_path="log")])
    try:
        process.run(runner="process", max_workers=1)
    except (TimeoutError, KeyboardInterrupt) as error:
        print(repr(error), Struck.heard, process.report and process.report.entries["chatty"].status.name)
"""


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        ("SIGTERM", (7, "")),
        ("SIGABRT", (0, "TimeoutError('the whole run takes too long') 1 PENDING\n")),
        ("SIGINT", (0, "KeyboardInterrupt() 1 PENDING\n")),
    ],
)
def test_a_signal_that_strikes_while_a_record_is_logged_is_for_the_program(number, expected, tmp_path):
    done = ended([sys.executable, "-c", SIGNALLED, number], cwd=tmp_path)
    assert (done.returncode, done.stdout) == expected, done.stderr


def test_records_of_threads_that_a_task_starts_are_its_own_in_processes(shared_workers, tmp_path):
    path = tmp_path / "log"
    Process([Task("threads", log_from_a_thread, log_path=path)]).run(runner="process").raise_for_errors()
    assert "from a thread" in path.read_text()


def test_tasks_may_share_a_log_file(runner, tmp_path):
    path = tmp_path / "shared"
    tasks = [Task(f"t{i}", chatty, log_path=path, args=(str(i),)) for i in range(10)]
    Process(tasks).run(runner=runner).raise_for_errors()
    lines = lines_of(path)
    assert len(lines) == sum(line.count("processes.t") + line.count("chatty.") for line in lines)
    assert sum("Finished" in line for line in lines) == 10


MANY_FILES = """
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
from processes import Process, Task
for runner in sys.argv[1:]:
    tasks = [Task(f"t{i}", abs, log_path=f"{runner}/{i}.log", args=(-i,)) for i in range(400)]
    with Process(tasks) as process:
        process.run(runner=runner).raise_for_errors()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no limit of open files to lower there")
def test_hundreds_of_tasks_log_under_a_low_limit_of_open_files(tmp_path):
    output_of([sys.executable, "-c", MANY_FILES, *NAMED], cwd=tmp_path)
    for runner in NAMED:
        files = sorted((tmp_path / runner).iterdir())
        assert len(files) == 400, runner
        assert "Finished t399." in (tmp_path / runner / "399.log").read_text(), runner


LOUD = """
import logging, sys
from processes import Process, Task

def loud(runner):
    logging.getLogger("app").warning("said once on %s", runner)

def bad():
    raise ValueError("not printed")

log = Task("any", loud).logger

def quiet():
    log.warning("not printed")

for runner in sys.argv[1:]:
    tasks = [Task("loud", loud, args=(runner,)), Task("quiet", quiet), Task("bad", bad)]
    Process(tasks).run(runner=runner)
"""


def test_the_handler_of_last_resort_speaks_as_without_us():
    runners = [*reversed(NAMED)]  # processes first: the logger of a task silences that handler for good
    done = ended([sys.executable, "-c", LOUD, *runners], check=True)
    assert done.stderr.splitlines() == [f"said once on {runner}" for runner in runners]
    assert done.stdout == ""


SITE = """
import logging

logging.getLogger("site").addHandler(logging.FileHandler("site.log"))
logging.getLogger("site").addFilter(lambda record: setattr(record, "msg", "site " + record.msg) or True)
"""

SHOP = """
import logging

logging.basicConfig(level=logging.INFO, filename="shop.log", format="%(name)s %(message)s")
log = logging.getLogger("shop")
log.addHandler(logging.FileHandler("own.log"))
log.addFilter(lambda record: setattr(record, "msg", "we " + record.msg) or True)

def sell(runner, number):
    log.info("sold %s on %s", number, runner)
    logging.info("done %s on %s", number, runner)
    logging.getLogger("site").info("saw %s on %s", number, runner)
"""

SELLS = """
import sys
import shop
from processes import Process, ProcessPoolRunner, Task

for name in sys.argv[1:]:
    runner = ProcessPoolRunner(1, preload=["shop"]) if name == "prepared" else name
    tasks = [Task("one", shop.sell, args=(name, 1)), Task("two", shop.sell, args=(name, 2))]
    Process(tasks).run(runner=runner, max_workers=1 if name in ("thread", "process") else None)
"""


def test_what_is_logged_is_said_once_whatever_modules_configure(tmp_path):
    for name, source in (("sitecustomize", SITE), ("shop", SHOP), ("sells", SELLS)):
        (tmp_path / f"{name}.py").write_text(source)
    names = [*NAMED, "prepared"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    assert output_of([sys.executable, "sells.py", *names], cwd=tmp_path, env=environment) == ""
    whats = [f"{number} on {name}" for name in names for number in (1, 2)]
    seen = [f"site saw {what}" for what in whats]
    sold = [f"we sold {what}" for what in whats]
    assert (tmp_path / "site.log").read_text().splitlines() == seen
    assert (tmp_path / "own.log").read_text().splitlines() == sold
    lines = (tmp_path / "shop.log").read_text().splitlines()
    assert sorted(line for line in lines if not line.startswith("processes.")) == sorted(
        [
            *(f"root done {what}" for what in whats),
            *(f"site {line}" for line in seen),
            *(f"shop {line}" for line in sold),
        ]
    )


INNER = """
import logging
from processes import Process, Task

task = Task("inner", logging.warning, args=("said",), log_path="inner.log")
task.logger.addHandler(logging.FileHandler("own.log"))
process = Process([task])

def run():
    process.run(runner="sequential").raise_for_errors()
"""

RUNS = """
import sys
import inner
from processes import Process, Task

for runner in sys.argv[1:]:
    Process([Task("outer", inner.run)]).run(runner=runner).raise_for_errors()
"""


def test_tasks_that_a_module_makes_when_a_worker_imports_it_have_their_log_files(tmp_path):
    (tmp_path / "inner.py").write_text(INNER)
    (tmp_path / "runs.py").write_text(RUNS)
    assert ended([sys.executable, "runs.py", *NAMED], cwd=tmp_path).returncode == 0
    story = ["Starting inner.", "said", "Finished inner."]
    lines = [line.partition(": ")[2] for line in lines_of(tmp_path / "inner.log")]
    assert lines == story * len(NAMED)
    assert (tmp_path / "own.log").read_text().splitlines() == story[::2] * len(NAMED)


SETTINGS = """
import logging.config

to_file = {"class": "logging.FileHandler", "filename": "all.log", "mode": "w"}
root = {"level": "INFO", "handlers": ["file"]}
logging.config.dictConfig({"version": 1, "handlers": {"file": to_file}, "root": root})
"""

CONFIGURED = """
import settings
import logging

log = logging.getLogger("configured")

def work(runner):
    log.debug("worked on %s", runner)
"""

WORKS = """
import sys
import configured
from processes import Process, Task

configured.log.warning("begun")
configured.log.setLevel("DEBUG")
for runner in sys.argv[1:]:
    Process([Task(f"on-{runner}", configured.work, args=(runner,))]).run(runner=runner)
"""


def test_a_module_that_configures_logging_configures_it_once(tmp_path):
    for name, source in (("settings", SETTINGS), ("configured", CONFIGURED), ("works", WORKS)):
        (tmp_path / f"{name}.py").write_text(source)
    assert output_of([sys.executable, "works.py", *NAMED], cwd=tmp_path) == ""
    assert (tmp_path / "all.log").read_text().splitlines() == [
        "begun",
        *(
            line
            for runner in NAMED
            for line in (f"Starting on-{runner}.", f"worked on {runner}", f"Finished on-{runner}.")
        ),
    ]


LIBRARY = """
import logging

log = logging.getLogger("library")
log.addHandler(logging.StreamHandler())
log.setLevel(logging.INFO)
log.propagate = False

def work(runner):
    log.info("of no interest")
    log.warning("said once on %s", runner)
"""

USES_LIBRARY = """
import logging, sys
import library
from processes import Process, Task

logging.basicConfig(format="program: %(message)s")
library.log.handlers.clear()
library.log.setLevel(logging.WARNING)
library.log.propagate = True
for runner in sys.argv[1:]:
    Process([Task("work", library.work, args=(runner,))]).run(runner=runner)
"""


def test_what_the_program_has_changed_in_a_librarys_logger_holds(tmp_path):
    (tmp_path / "library.py").write_text(LIBRARY)
    (tmp_path / "uses.py").write_text(USES_LIBRARY)
    done = ended([sys.executable, "uses.py", *NAMED], cwd=tmp_path, check=True)
    assert done.stdout == ""
    assert done.stderr.splitlines() == [f"program: said once on {runner}" for runner in NAMED]


SPECIAL = """
import logging

class Loud(logging.Logger):
    def __init__(self, name):
        super().__init__(name)
        self.setLevel(logging.INFO)

    def shout(self, text):
        self.warning(text.upper())

usual = logging.getLoggerClass()
logging.setLoggerClass(Loud)
log = logging.getLogger(__name__)
logging.setLoggerClass(usual)
log.shout  # it is there
"""

USES_SPECIAL = """
import logging, sys
import special
from special import log
from processes import Process, Task

class Own(special.Loud):
    pass

logging.setLoggerClass(Own)
own = logging.getLogger("own")
logging.setLoggerClass(logging.Logger)
special.log.setLevel(logging.WARNING)
logging.basicConfig(format="%(name)s: %(message)s")

def by_module():
    special.log.info("of no interest")
    special.log.shout("module")

def by_logger():
    log.info("of no interest")
    log.shout("logger")

def by_script(logger):
    own.shout(f"script {logger is own}")

def late():
    import late
    late.log.shout("late")

for runner in sys.argv[1:]:
    for task in [
        Task("by-module", by_module), Task("by-logger", by_logger), Task("by-script", by_script, args=(own,)),
        Task("late", late),
    ]:
        Process([task]).run(runner=runner).raise_for_errors()
import late
late.log.shout("at the end")
"""


def test_modules_may_make_loggers_of_a_class_of_their_own(tmp_path):
    for name, source in (("special", SPECIAL), ("late", SPECIAL), ("uses", USES_SPECIAL)):
        (tmp_path / f"{name}.py").write_text(source)
    runners = ("process", *NAMED)  # first where the program has not imported what the function does
    done = ended([sys.executable, "uses.py", *runners], cwd=tmp_path)
    lines = ["special: MODULE", "special: LOGGER", "own: SCRIPT TRUE", "late: LATE"]
    assert done.stderr.splitlines() == [*lines * len(runners), "late: AT THE END"]


def look_at_logging():
    names = ("__init__", "addHandler", "addFilter", "setLevel", "callHandlers")
    methods = [getattr(logging.Logger, name) for name in names]
    functions = [logging.basicConfig, logging.config.dictConfig, logging.config.fileConfig, *methods]
    return [(one.__qualname__, inspect.getdoc(one), str(inspect.signature(one))) for one in functions]


def test_a_task_finds_the_functions_of_logging_as_they_are_documented(runner, tmp_path):
    call_handlers = logging.Logger.callHandlers
    report = Process([Task("look", look_at_logging, log_path=tmp_path / "look")]).run(runner=runner)
    assert report.results == {"look": look_at_logging()}
    assert logging.Logger.callHandlers is call_handlers


def test_what_is_logged_for_another_process_is_for_its_handlers_alone(caplog):
    records = []
    with Capture(records.append, alone=True):
        logging.getLogger("mine").warning("once")
    assert [record.getMessage() for record in records] == ["once"]
    assert caplog.records == []


OWN_HANDLERS = """
import logging.config, sys
from processes import Process, Task

def configure(runner):
    logging.basicConfig(format="mine: %(message)s")
    logger = logging.getLogger(f"app.{runner}")
    logger.warning("said once on %s", runner)
    levels = {"version": 1, "incremental": True, "loggers": {logger.name: {"level": "INFO"}}}
    logging.config.dictConfig(levels)
    logger.info("and more")

for runner in sys.argv[1:]:
    Process([Task("configure", configure, args=(runner,))]).run(runner=runner)
    logging.getLogger().handlers.clear()  # those of a task that ran here
"""


def test_a_task_may_configure_handlers_of_its_own():
    done = ended([sys.executable, "-c", OWN_HANDLERS, *NAMED], check=True)
    assert done.stdout == ""
    lines = [(f"mine: said once on {runner}", "mine: and more") for runner in NAMED]
    assert done.stderr.splitlines() == [*chain.from_iterable(lines)]


@pytest.mark.parametrize("runner", ["sequential", "thread"])
def test_what_the_program_or_a_task_has_put_before_handlers_stays_there(runner, tmp_path, monkeypatch):
    told = []

    def patch(name):  # as Sentry does
        call_handlers = logging.Logger.callHandlers

        def tell_and_call_handlers(logger, record):
            if logger.name == "mine":
                told.append((name, record.getMessage()))
            call_handlers(logger, record)

        monkeypatch.setattr(logging.Logger, "callHandlers", tell_and_call_handlers)

    def say(message, *names):
        for name in names:
            patch(name)
        logging.getLogger("mine").warning(message)

    patch("program")
    tasks = [
        Task("one", say, args=("one", "task"), log_path=tmp_path / "one"),
        Task("two", say, args=("two",), log_path=tmp_path / "two", dependencies=[TaskDependency("one")]),
    ]
    Process(tasks).run(runner=runner).raise_for_errors()
    say("after")
    assert told == [(name, message) for message in ("one", "two", "after") for name in ("task", "program")]
    for name in ("one", "two"):
        assert lines_of(tmp_path / name)[1:-1] == [f"WARNING mine: {name}"]


OWN_LOGGER = """
import logging, sys
from processes import Process, Task, TaskDependency

def get_logger(name):
    logger = logging.getLogger(name)
    if not logger.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("own: %(message)s"))
        logger.addHandler(hdlr=handler)
        logger.propagate = False
    return logger

def say(runner):
    get_logger(f"on.{runner}").warning("said once on %s", runner)
    return len(logging.getLogger().handlers)

def hush(runner):
    logger = logging.getLogger(f"quiet.{runner}")
    logger.propagate = False
    logger.warning("%s", runner)

logging.basicConfig(format="program: %(message)s")
logging.getLogger("on.process")  # it is there, and propagates
for runner in sys.argv[1:]:
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("quiet: %(message)s"))
    logging.getLogger(f"quiet.{runner}").addHandler(handler)
    say_first = [TaskDependency("say")]
    tasks = [Task("say", say, args=(runner,)), Task("hush", hush, args=(runner,), dependencies=say_first)]
    report = Process(tasks).run(runner=runner)
    print(runner, report.results["say"])
"""


def test_a_logger_that_a_task_keeps_from_propagating_is_not_heard_above():
    done = ended([sys.executable, "-c", OWN_LOGGER, *NAMED], check=True)
    assert done.stdout.splitlines() == ["sequential 1", "thread 1", "process 0"]
    lines = [(f"own: said once on {runner}", f"quiet: {runner}") for runner in NAMED]
    # What a worker writes itself goes through its guard, and the other line through the program.
    assert sorted(done.stderr.splitlines()) == sorted(chain.from_iterable(lines))


def test_attributes_of_a_record_that_cannot_travel_cost_nothing(runner, tmp_path, heard):
    path = tmp_path / "log"
    report = Process([Task("odd", log_odd_things, log_path=path), Task("other", abs, args=(-2,))]).run(
        runner=runner
    )
    vars(chatting).pop("OfItsOwn", None)
    report.raise_for_errors()
    assert report.results == {"odd": 1, "other": 2}
    assert "chatty.app: odd thing" in path.read_text()
    (record,) = (record for record in heard if record.name == "chatty.app")
    assert (record.getMessage(), record.pair) == ("odd thing", (1, [2]))
    if runner in SENDING:
        assert record.error == "WithCode('x 3')"
        assert record.detached == "<Detached object whose __repr__ raised RuntimeError: detached>"
        assert record.own == "<object that could not be deserialized: AttributeError>"
        assert len(record.large) < 50_000
        assert record.array == bytes(200_000)
        assert type(record.known.pop("lock")) is str
        assert record.known == {"why": "odd", "where": ["here"]}


def test_an_exception_that_cannot_travel_costs_its_record_nothing_but_that(runner, heard):
    report = Process([Task("odd", log_odd_error)]).run(runner=runner)
    report.raise_for_errors()
    (record,) = (record for record in heard if record.name == "chatty.app")
    assert record.getMessage() == "failed"
    assert "in log_odd_error" in logging.Formatter().format(record)


def test_a_message_that_cannot_be_shown_costs_the_record_at_most(runner, tmp_path, heard, monkeypatch):
    monkeypatch.setattr(logging, "raiseExceptions", False)  # which pytest's own handler makes a failure
    path = tmp_path / "log"
    report = Process([Task("odd", log_unprintable, log_path=path)]).run(runner=runner)
    report.raise_for_errors()
    assert "Finished odd." in path.read_text()
    if runner in SENDING:
        first, second = (record.getMessage() for record in heard if record.name == "chatty.app")
        assert first.startswith("<Unprintable object whose __repr__ raised KeyError: 'repr'> with arguments")
        assert second == "'%s' with arguments that do not fit: KeyError('str')"


def test_an_attribute_of_a_record_may_have_any_name(runner, tmp_path, heard):
    path = tmp_path / "log"
    Process([Task("counts", log_with_a_name_of_ours, log_path=path)]).run(runner=runner).raise_for_errors()
    assert "chatty.app: counted" in path.read_text()
    assert [record.log_files for record in heard if record.name == "chatty.app"] == [3]


def test_the_programs_record_factory_makes_records_of_what_was_logged(runner, heard):
    default = logging.getLogRecordFactory()

    def make(*args, **kwargs):
        record = default(*args, **kwargs)
        record.label = f"{record.levelname[0]}/{record.name}/{record.funcName}: {record.getMessage()}"
        return record

    logging.setLogRecordFactory(make)
    try:
        Process([Task("rejects", log_with_a_reason)]).run(runner=runner).raise_for_errors()
    finally:
        logging.setLogRecordFactory(default)
    (record,) = (record for record in heard if record.name == "chatty.app")
    assert record.label == "W/chatty.app/log_with_a_reason: rejected it"
    assert (record.reason, record.getMessage()) == ("late", "rejected it")


class Strict(logging.Handler):
    """Lets nothing pass from a level on; a StopIteration that gets out would end the loop over messages."""

    def emit(self, record: logging.LogRecord) -> None:
        raise StopIteration(record.getMessage())


@pytest.mark.parametrize("with_file", [False, True])
def test_what_a_handler_of_the_programs_raises_fails_the_attempt_that_logged(runner, tmp_path, with_file):
    path = tmp_path / "log" if with_file else None
    tasks = [
        Task("logs", log_and_return, log_path=path, args=("oops",), retries=1, retry_on=(StopIteration,)),
        Task("below", abs, args=(-1,), dependencies=[TaskDependency("logs")]),
        *[Task(f"other{i}", pow, args=(i, 2)) for i in range(3)],
    ]
    handler = Strict()
    logging.getLogger("chatty.app").addHandler(handler)
    try:
        report = Process(tasks).run(runner=runner)
    finally:
        logging.getLogger("chatty.app").removeHandler(handler)
    assert repr(report.exceptions) == "{'logs': StopIteration('oops')}"
    assert report.entries["logs"].attempts == 2
    assert "in emit" in report.entries["logs"].error.traceback_str
    assert list(report.skipped) == ["below"]
    assert report.results == {f"other{i}": i**2 for i in range(3)}
    if path is not None:
        assert path.read_text().count("chatty.app: oops") == 2


def test_a_handler_that_raises_on_our_own_records_costs_no_file_its_lines(runner, tmp_path):
    paths = [tmp_path / f"{number}.log" for number in range(3)]
    tasks = [Task(path.stem, abs, log_path=path, args=(-1,)) for path in paths]
    handler, root = Strict(), logging.getLogger()
    root.addHandler(handler)
    logging.getLogger("processes").setLevel(logging.INFO)
    try:
        with pytest.warns(RuntimeWarning, match="StopIteration") as caught:
            report = Process(tasks).run(runner=runner)
    finally:
        root.removeHandler(handler)
        logging.getLogger("processes").setLevel(logging.NOTSET)
    assert len(caught) == 1
    assert len(report.successes) == 3
    for path in paths:
        started, finished = lines_of(path)
        assert (f"Starting {path.stem}." in started, f"Finished {path.stem}." in finished) == (True, True)
