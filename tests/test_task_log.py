"""A task's logger, its file, and what a run writes there."""

from __future__ import annotations

import errno
import logging
import os
import pickle
import re
import subprocess
import sys
import textwrap
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest
from programs import output_of

from processes.error_data import ErrorData
from processes.events import TaskFinished, TaskRetried, TaskStarted
from processes.graph import Graph
from processes.observers.log_files import LogFiles
from processes.process import Process
from processes.runners.logs import apply_levels, log_levels
from processes.task import Task
from processes.task_log import TaskFileHandler, record_sink
from processes.task_types import TaskDependency, TaskResult


def work() -> None: ...


class Collector(logging.Handler):
    """Keeps the records that it is given."""

    def __init__(self, level: int = logging.NOTSET) -> None:
        super().__init__(level)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    @property
    def messages(self) -> list[str]:
        return [record.getMessage() for record in self.records]


@pytest.fixture
def parent():
    """The logger above all tasks, as it was at the end of the test."""
    logger = logging.getLogger("processes")
    saved = (logger.level, logger.propagate, logger.handlers[:], logger.disabled)
    yield logger
    logger.level, logger.propagate, logger.handlers[:], logger.disabled = saved
    logger.setLevel(saved[0])  # clears logging's caches


@pytest.fixture
def console(parent):
    """A handler of the program's own, above all tasks."""
    collector = Collector()
    parent.addHandler(collector)
    return collector


@pytest.fixture
def path(tmp_path):
    return tmp_path / "task.log"


def record_of(message: str, level: int = logging.INFO, *args: object) -> logging.LogRecord:
    return logging.LogRecord("app", level, __file__, 1, message, args, None)


# The file


def test_a_line_holds_time_level_logger_and_message(path):
    Task("a.b", work, path).logger.warning("Hello %s", "you")
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} WARNING processes\.a\.b: Hello you\n", path.read_text()
    )


def test_a_file_is_appended_to(path):
    path.write_text("before\n")
    Task("a", work, path).logger.info("after")
    Task("a", work, path).logger.debug("and again")
    lines = path.read_text().splitlines()
    assert [line.rpartition(": ")[2] for line in lines] == ["before", "after", "and again"]


@pytest.mark.parametrize("kind", [str, lambda path: path])
def test_missing_folders_are_made_at_construction(kind, tmp_path):
    path = tmp_path / "one" / "two" / "task.log"
    task = Task("a", work, kind(path))
    assert path.read_bytes() == b""
    assert task.logger.handlers[0].baseFilename == str(path)


@pytest.mark.skipif(sys.platform == "win32", reason="there the system has other errors")
def test_a_path_that_cannot_be_written_fails_with_the_systems_own_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(IsADirectoryError):
        Task("a", work, tmp_path)
    with pytest.raises(NotADirectoryError):
        Task("a", work, tmp_path / "file" / "task.log")
    with pytest.raises(OSError, match=os.strerror(errno.ENAMETOOLONG)) as caught:
        Task("a", work, tmp_path / ("x" * 300))
    assert caught.value.errno == errno.ENAMETOOLONG
    assert caught.value.__notes__ == ["This is the log_path of task 'a'."]
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_handlers_are_there_until_they_are_closed(path):
    task = Task("a", work, path)
    added = Collector()
    task.logger.addHandler(added)
    assert len(task.logger.handlers) == 2
    task.close_handlers()
    assert task.logger.handlers == []
    task.logger.info("unwritten")
    task.close_handlers()
    assert path.read_text() == ""
    assert added.records == []


def test_handlers_of_a_task_without_file_are_closed_too():
    task = Task("a", work)
    task.close_handlers()
    added = Collector()
    task.logger.addHandler(added)
    task.close_handlers()
    assert task.logger.handlers == []


def test_a_process_closes_its_tasks_handlers_at_the_end_of_its_block_and_lets_errors_pass(tmp_path):
    first, second = (Task(name, work, tmp_path / name) for name in ("first", "second"))
    with pytest.raises(LookupError), Process([first, second]) as process:
        process.remove_task("first")
        assert first.logger.handlers == []
        assert second.logger.handlers != []
        raise LookupError
    assert second.logger.handlers == []


def test_any_text_can_be_written(path):
    Task("a", work, path).logger.info("Grüße \ud800 \u4f60")
    assert "Grüße \\ud800 \u4f60" in path.read_text(encoding="utf-8")


def test_a_record_that_cannot_be_formatted_is_reported_and_costs_nothing_else(path, capsys):
    logger = Task("a", work, path).logger
    logger.info("%d apples", "no")
    logger.info("next")
    assert "--- Logging error ---" in capsys.readouterr().err
    assert path.read_text().splitlines()[-1].endswith(": next")


def test_no_file_is_held_open(path):
    task = Task("a", work, path)
    task.logger.info("written")
    assert str(path) not in [file.path for file in psutil.Process().open_files()]
    path.unlink()
    task.logger.info("into a new file")
    assert len(path.read_text().splitlines()) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="no limit of open files to lower there")
def test_thousands_of_files_work_under_a_low_limit_of_open_files(tmp_path):
    code = """
        import resource, sys
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        from processes.task import Task
        tasks = [Task(f"t{n}", print, f"{sys.argv[1]}/t{n}.log") for n in range(2000)]
        for task in tasks:
            task.logger.info("one of %d", len(tasks))
    """
    subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code), tmp_path], check=True, timeout=120
    )
    files = list(tmp_path.iterdir())
    assert len(files) == 2000
    assert all(file.read_text().endswith(f"processes.{file.stem}: one of 2000\n") for file in files)


def test_lines_of_tasks_that_share_a_file_never_mix(path):
    tasks = [Task(f"t{number}", work, path) for number in range(8)]
    start = threading.Barrier(len(tasks))

    def write(task: Task) -> None:
        start.wait(60)
        for number in range(100):
            task.logger.info("%s %d %s", task.name, number, "x" * 500)

    with ThreadPoolExecutor(len(tasks)) as threads:
        list(threads.map(write, tasks))
    lines = path.read_text().splitlines()
    assert len(lines) == 800
    assert all(re.search(r": t\d \d+ x{500}$", line) for line in lines)
    for task in tasks:
        numbers = [int(line.split()[5]) for line in lines if f": {task.name} " in line]
        assert numbers == list(range(100))


def test_a_file_that_cannot_be_written_any_more_is_reported_once(tmp_path):
    folder = tmp_path / "folder"
    task = Task("a", work, folder / "task.log")
    (folder / "task.log").unlink()
    folder.rmdir()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        task.logger.info("lost")
        task.logger.info("lost too")
    assert [warning.category for warning in caught] == [RuntimeWarning]
    message = str(caught[0].message)
    assert repr(str(folder / "task.log")) in message
    assert "No such file or directory" in message
    folder.mkdir()
    task.logger.info("back")
    assert (folder / "task.log").read_text().endswith(": back\n")


STRUCK = """
import signal, sys
from processes import Task

def strike(event, arguments):
    if event == "open" and arguments[0] == task.logger.handlers[0].baseFilename and not struck:
        struck.append(event)
        signal.raise_signal(signal.SIGINT)

task, struck = Task("a", abs, "task.log"), []
signal.signal(signal.SIGINT, lambda *_: task.logger.info("by the handler"))
sys.addaudithook(strike)
task.logger.info("by the program")
"""


def test_a_handler_of_a_signal_may_write_to_the_file_that_is_just_written_to(tmp_path):
    output_of([sys.executable, "-c", STRUCK], cwd=tmp_path)
    lines = (tmp_path / "task.log").read_text().splitlines()
    assert [line.partition("a: ")[2] for line in lines] == ["by the handler", "by the program"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is full")
def test_a_full_disk_ends_no_run_even_where_warnings_are_errors():
    task = Task("a", work, "/dev/full")
    with pytest.warns(RuntimeWarning, match="No space left on device"):
        task.logger.error("lost")
    other = Task("b", work, "/dev/full")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        other.logger.error("lost")  # raises nothing


def test_a_record_stands_in_a_file_once_whatever_ways_it_takes_there(path):
    one, two = Task("one", work, path), Task("two", work, path)
    record = record_of("once")
    one.logger.handle(record)
    two.logger.handle(record)
    assert len(path.read_text().splitlines()) == 1


def test_a_file_handler_can_be_given_another_format_and_level(path):
    handler = Task("a", work, path).logger.handlers[0]
    assert isinstance(handler, TaskFileHandler)
    handler.setFormatter(logging.Formatter("<%(message)s>"))
    handler.setLevel(logging.WARNING)
    for level in (logging.INFO, logging.WARNING):
        handler.handle(record_of("straight", level))  # handle() itself looks at no level
    assert path.read_text() == "<straight>\n<straight>\n"
    assert "WARNING" in repr(handler)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_can_log_although_the_lock_was_held(path):
    code = """
        import os, sys, threading, warnings
        from processes.task import Task
        task = Task("a", print, sys.argv[1])
        held, release = threading.Event(), threading.Event()
        def hold():
            task.logger.handlers[0].acquire()
            held.set()
            release.wait(60)
            task.logger.handlers[0].release()
        threading.Thread(target=hold).start()
        held.wait(60)
        warnings.simplefilter("ignore")  # Python warns of fork beside threads
        child = os.fork()
        if not child:
            task.logger.info("from the child")
            os._exit(0)
        os.waitpid(child, 0)
        release.set()
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code), path], check=True, timeout=120)
    assert path.read_text().endswith(": from the child\n")


# The logger among other loggers


def test_a_logger_is_known_by_its_name_and_unknown_to_logging(parent):
    task = Task("some_task", work)
    assert task.logger.name == "processes.some_task"
    assert task.logger is task.logger
    assert task.logger.parent is parent
    assert "processes.some_task" not in logging.root.manager.loggerDict


@pytest.mark.parametrize("level", ["DEBUG", "INFO", "WARNING", "ERROR"])
@pytest.mark.parametrize("with_file", [False, True])
def test_records_reach_the_program_as_those_of_a_named_child_do(level, with_file, console, parent, path):
    parent.setLevel(level)
    child = logging.getLogger("processes.a_real_child")
    task = Task("a", work, path if with_file else None)
    for logger in (child, task.logger):
        for number in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL):
            logger.log(number, "at %d", number)
    half = len(console.messages) // 2
    assert console.messages[:half] == console.messages[half:]
    if with_file:
        assert len(path.read_text().splitlines()) == 5


def test_a_change_of_level_above_counts_at_once(console, parent):
    logger = Task("a", work).logger
    parent.setLevel(logging.ERROR)
    assert not logger.isEnabledFor(logging.INFO)
    parent.setLevel(logging.INFO)
    assert logger.isEnabledFor(logging.INFO)
    logger.info("heard")
    logging.disable(logging.CRITICAL)
    try:
        assert not logger.isEnabledFor(logging.CRITICAL)
        logger.critical("unheard")
    finally:
        logging.disable(logging.NOTSET)
    logger.disabled = True
    assert not logger.isEnabledFor(logging.CRITICAL)
    assert console.messages == ["heard"]


def test_a_handler_above_keeps_its_own_level(parent, path):
    strict = Collector(logging.ERROR)
    parent.addHandler(strict)
    parent.setLevel(logging.DEBUG)
    Task("a", work, path).logger.info("too low")
    Task("a", work, path).logger.error("high enough")
    assert strict.messages == ["high enough"]


def test_a_logger_that_does_not_propagate_keeps_its_records(console, path):
    task = Task("a", work, path)
    task.logger.propagate = False
    task.logger.error("private")
    assert console.records == []
    assert "private" in path.read_text()


def test_a_program_without_handlers_sees_nothing_on_standard_error(tmp_path):
    code = """
        import sys
        from processes.error_data import ErrorData
        from processes.events import TaskFinished
        from processes.graph import Graph
        from processes.observers.log_files import LogFiles
        from processes.task import Task
        from processes.task_types import TaskResult
        import logging.config
        logging.config.dictConfig({"version": 1, "loggers": {"processes": {"level": "DEBUG"}}})
        for task in (Task("a", print), Task("b", print, sys.argv[1])):
            task.logger.error("not to be printed")
            failed = TaskResult.errored(ValueError(), error_data=ErrorData(task.name))
            LogFiles(Graph([task]))(TaskFinished(task.name, failed))
    """
    assert output_of([sys.executable, "-c", textwrap.dedent(code), tmp_path / "b.log"]) == ""
    assert (tmp_path / "b.log").read_text().count("ERROR") == 2


def test_a_pickled_logger_comes_back_as_the_one_of_its_name():
    task = Task("pickled_logger", work)
    assert pickle.loads(pickle.dumps(task.logger)) is logging.getLogger("processes.pickled_logger")


# What a run writes


def failed(error_data: ErrorData) -> TaskFinished:
    return TaskFinished("a", TaskResult.errored(ValueError(), error_data=error_data))


def test_start_and_end_are_logged(path, console, parent):
    parent.setLevel(logging.INFO)
    log = LogFiles(Graph([Task("Load", work, path)]))
    log(TaskStarted("load", 1))
    log(TaskFinished("load", TaskResult.success(None)))
    lines = [line.partition(",")[2][4:] for line in path.read_text().splitlines()]
    assert lines == ["INFO processes.load: Starting load.", "INFO processes.load: Finished load."]
    assert console.messages == ["Starting load.", "Finished load."]


def test_a_task_that_nobody_listens_to_gets_no_logger(parent):
    parent.setLevel(logging.CRITICAL)
    task = Task("a", work)
    log = LogFiles(Graph([task]))
    log(TaskStarted("a", 1))
    log(TaskRetried("a", 1, ValueError(), 0))
    log(failed(ErrorData("a")))
    log(TaskFinished("a", TaskResult.success(None)))
    assert not task.has_logger
    assert record_sink(task) is None


def test_a_retry_is_one_warning_line(path):
    log = LogFiles(Graph([Task("a", work, path)]))
    log(TaskRetried("a", 2, ValueError("two\nlines"), 0.5))
    log(TaskRetried("a", 3, KeyError(), 0))
    first, second = path.read_text().splitlines()
    assert first.endswith(
        "WARNING processes.a: Attempt 2 of a failed (ValueError: two lines); attempt 3 follows in 0.5 s."
    )
    assert second.endswith(": Attempt 3 of a failed (KeyError); attempt 4 follows in 0 s.")


def test_an_exception_without_text_to_give_is_logged(path):
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    LogFiles(Graph([Task("a", work, path)]))(TaskRetried("a", 1, Mute(), 0))
    assert "Mute" in path.read_text()


def failure() -> ErrorData:
    return ErrorData(
        task_name="a",
        function="work",
        args=(1, "x" * 100_000),
        kwargs={"key": "value"},
        downstream_impact=["b", "c"],
        exception="boom 100%s",
        traceback_str="Traceback (most recent call last):\n  File ...\nValueError: boom 100%s\n",
        traced_vars={"rows": "[1, 2]", "path": "'x'"},
        traced_vars_location="etl.py:3 in work",
    )


def test_a_failure_is_one_record_with_all_there_is_to_know_and_the_traceback_last(path):
    LogFiles(Graph([Task("a", work, path)]))(failed(failure()))
    text = path.read_text()
    assert len(text) < 20_000
    assert text.count("ERROR") == 1
    assert "x" * 100 in text
    wanted = [
        "Failed a: boom 100%s",
        "function: work",
        "args: (1, 'xxx",
        "kwargs: {'key': 'value'}",
        "downstream impact: b, c",
        "traced variables: etl.py:3 in work",
        "rows = [1, 2]",
        "path = 'x'",
        "Traceback (most recent call last):",
    ]
    places = [text.index(part) for part in wanted]
    assert places == sorted(places)
    assert text.endswith("ValueError: boom 100%s\n")


def test_the_record_of_a_failure_carries_its_data(console):
    data = failure()
    task = Task("a", work)
    own = Collector()
    task.logger.addHandler(own)
    LogFiles(Graph([task]))(failed(data))
    (record,) = own.records
    assert record.levelno == logging.ERROR
    assert record.task_context == vars(data)
    assert ErrorData(**record.task_context) == data
    assert console.records == [record]


def test_values_that_cannot_be_shown_do_not_keep_a_failure_from_being_logged(path):
    class Unshowable:
        def __repr__(self) -> str:
            raise RuntimeError

    LogFiles(Graph([Task("a", work, path)]))(failed(ErrorData("a", "work", (Unshowable(),))))
    assert "Unshowable" in path.read_text()


# What a function logs itself


def test_what_a_function_logs_goes_to_the_file_alone(path, console):
    task = Task("a", work, path)
    own = Collector()
    task.logger.addHandler(own)
    sink = record_sink(task)
    sink(record_of("from inside"))
    assert path.read_text().endswith("INFO app: from inside\n")
    assert own.records == console.records == []


def test_a_record_of_the_tasks_own_logger_is_not_written_again(path):
    task = Task("a", work, path)
    sink = record_sink(task)
    forwarded = Collector()
    forwarded.emit = sink
    logging.getLogger("processes").addHandler(forwarded)
    try:
        task.logger.error("once")
    finally:
        logging.getLogger("processes").removeHandler(forwarded)
    assert len(path.read_text().splitlines()) == 1


def test_the_level_of_the_file_counts(path):
    task = Task("a", work, path)
    task.logger.handlers[0].setLevel(logging.WARNING)
    sink = record_sink(task)
    for take in (sink, task.logger.handle):
        take(record_of("low", logging.INFO))
        take(record_of("high", logging.WARNING))
    assert [line.rpartition(": ")[2] for line in path.read_text().splitlines()] == ["high", "high"]


def test_a_task_that_runs_alone_logs_through_its_own_logger(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    task = Task("a", int, path.name, args=("x",))
    added = Collector()
    task.logger.addHandler(added)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    task.run()
    assert path.read_text().count("invalid literal") == 2
    assert [record.levelname for record in added.records] == ["INFO", "ERROR"]
    assert added.records[1].task_context["task_name"] == "a"
    task.close_handlers()
    task.run()
    assert path.read_text().count("invalid literal") == 2
    needy = Task("b", int, path, dependencies=[TaskDependency("a")])
    assert needy.run().attempts == 0
    assert "ERROR processes.b: Failed b: Task 'b' needs the result of 'a'" in path.read_text()
    assert os.listdir() == []


def test_a_thousand_lines_that_were_printed_are_written_at_once(path, monkeypatch):
    sink = record_sink(Task("a", work, path))
    opened, real_open = [], os.open
    monkeypatch.setattr(os, "open", lambda *args: opened.append(args) or real_open(*args))
    sink.take_lines([f"line {number}" for number in range(1000)])
    assert len(opened) == 1
    lines = path.read_text().splitlines()
    assert [line.partition("INFO output: ")[2] for line in lines] == [f"line {n}" for n in range(1000)]


@pytest.mark.parametrize("how", ["filter", "formatter", "factory"])
def test_whatever_of_the_program_looks_at_records_sees_each_line_that_is_printed(path, how):
    sink = record_sink(task := Task("a", work, path))
    handler, seen = task.logger.handlers[0], []
    factory = logging.getLogRecordFactory()

    class Noting(logging.LogRecord):
        def getMessage(self) -> str:  # noqa: N802 - logging's name
            seen.append(self.msg)
            return super().getMessage()

    if how == "filter":
        handler.addFilter(lambda record: seen.append(record.msg) or True)
    elif how == "formatter":
        handler.setFormatter(formatter := logging.Formatter("%(message)s"))
        formatter.formatMessage = lambda record: seen.append(record.message) or record.message
    else:
        logging.setLogRecordFactory(Noting)
    try:
        sink.take_lines(["one", "two"])
    finally:
        logging.setLogRecordFactory(factory)
    assert seen == ["one", "two"]
    assert [line[-3:] for line in path.read_text().splitlines()] == seen


def test_a_closed_sink_writes_no_more_and_keeps_nobody_from_the_file(path):
    task = Task("a", work, path)
    sink = record_sink(task)
    sink(record_of("before"))
    sink.close()
    sink(record_of("after"))
    thread = threading.Thread(target=task.logger.info, args=("another's",), daemon=True)
    thread.start()
    thread.join(20)
    assert [line.rpartition(": ")[2] for line in path.read_text().splitlines()] == ["before", "another's"]


def test_closing_a_sink_waits_for_the_record_that_is_being_written(path):
    written, go_on, closed = threading.Event(), threading.Event(), threading.Event()

    class Slow:
        def __str__(self) -> str:
            written.set()
            go_on.wait(60)
            return "slow"

    sink = record_sink(Task("a", work, path))
    writer = threading.Thread(target=sink, args=(record_of("%s", logging.INFO, Slow()),))
    writer.start()
    assert written.wait(60)
    closer = threading.Thread(target=lambda: (sink.close(), closed.set()))
    closer.start()
    assert not closed.wait(0.1)
    go_on.set()
    assert closed.wait(60)
    assert path.read_text().endswith(": slow\n")
    writer.join(60)
    closer.join(60)


def test_a_task_without_file_has_no_sink(path):
    assert record_sink(Task("a", work)) is None
    task = Task("a", work, path)
    task.close_handlers()
    assert record_sink(task) is None


def test_levels_of_many_loggers_are_applied_without_a_look_at_all_for_each(monkeypatch):
    names = [f"applied-{number}" for number in range(100)]
    cleared = []
    clear_cache = logging.Manager._clear_cache
    monkeypatch.setattr(logging.Manager, "_clear_cache", lambda manager: cleared.append(clear_cache(manager)))
    disabled, levels, *others = log_levels()
    try:
        loggers = [logging.getLogger(name) for name in names]
        assert not loggers[7].isEnabledFor(logging.DEBUG)  # which it remembers
        apply_levels(disabled, levels | dict.fromkeys(names, logging.DEBUG), *others)
        assert all(logger.isEnabledFor(logging.DEBUG) for logger in loggers)
        assert len(cleared) == 1
        apply_levels(disabled, levels, *others)
        assert not any(logger.isEnabledFor(logging.DEBUG) for logger in loggers)
    finally:
        for name in names:
            logging.Logger.manager.loggerDict.pop(name, None)
