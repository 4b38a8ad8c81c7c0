"""The progress of a run, as it is shown on a terminal and elsewhere."""

import contextlib
import io
import logging
import os
import re
import subprocess
import sys
import threading
from importlib.metadata import version

import pytest

from processes import Process, RunFinished, RunStarted, Task, TaskDependency, TaskStarted
from processes.observers import progress as module
from processes.observers.progress import Progress

RICH = tuple(map(int, version("rich").split(".")[:2]))


def fail():
    raise ValueError("no")


def some_of_each_kind():
    below_failed = [TaskDependency("failed")]
    tasks = [Task(f"good-{number}", int) for number in range(5)]
    return Process(
        [*tasks, Task("failed", fail), Task("skipped", int, dependencies=below_failed)], name="mixed"
    )


@pytest.fixture
def terminal(monkeypatch):
    """A terminal, and a function that gives what was written to it, without colours."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    master, slave = pytest.importorskip("pty").openpty()
    chunks = []

    def read():  # at once: a line that moves for long is more than a terminal takes that nobody looks at
        with contextlib.suppress(OSError):  # Linux says end of file by an error
            while chunk := os.read(master, 1 << 16):
                chunks.append(chunk)

    def written():
        stream.close()  # then what was written can be read to its end
        reading.join(60)
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", b"".join(chunks).decode())

    with open(master, "rb"), open(slave, "w") as stream:
        reading = threading.Thread(target=read)
        reading.start()
        yield stream, written
        written()


def shown_by(code, terminal, **options):
    """Run a program on the terminal, and give what was written there."""
    stream, written = terminal
    command = [sys.executable, "-c", code]
    subprocess.run(command, stdout=stream, stderr=stream, timeout=120, check=True, **options)
    return written()


@pytest.fixture(autouse=True)
def much_time(monkeypatch):
    """However long a run takes here, it is a quick one."""
    monkeypatch.setattr(module, "PLAIN_SECONDS", 3600.0)


def test_the_last_plain_line_counts_every_task_once():
    stream = io.StringIO()
    some_of_each_kind().run(runner="sequential", observers=[Progress(stream)])
    (line,) = stream.getvalue().splitlines()
    assert re.fullmatch(r"mixed: 7/7 done, 1 failed, 1 skipped, \d+\.\d s", line)


class Writer:
    """What programs put in the place of a stream, to write it elsewhere too."""

    def __init__(self, stream):
        self.write = stream.write
        self.flush = stream.flush


def test_a_stream_may_be_a_writer_of_the_programs_own():
    stream = io.StringIO()
    some_of_each_kind().run(runner="sequential", observers=[Progress(Writer(stream))])
    assert stream.getvalue().startswith("mixed: 7/7 done")


def test_standard_output_may_be_a_writer_of_the_programs_own(terminal, monkeypatch):
    stream, written = terminal
    monkeypatch.setattr(sys, "stdout", Writer(sys.stdout))
    some_of_each_kind().run(runner="sequential", observers=[Progress(stream)])
    assert "7/7 done" in written()


@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_a_stream_of_the_programs_may_be_closed(name, terminal, monkeypatch):
    stream, written = terminal
    monkeypatch.setattr(sys, "stderr", stream)
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, name, closed)
    report = Process([Task("works", abs, args=(1,))]).run(runner="sequential", progress=True)
    assert report.results == {"works": 1}
    assert ("1/1 done" in written()) == (name == "stdout")


def test_a_quick_run_writes_one_plain_line_however_many_tasks_it_has():
    stream = io.StringIO()
    Process([Task(f"task-{number}", int) for number in range(300)]).run(
        runner="thread", observers=[Progress(stream)]
    )
    assert re.fullmatch(r"processes: 300/300 done, \d+\.\d s\n", stream.getvalue())


def test_a_slow_run_writes_a_plain_line_a_tenth(monkeypatch):
    monkeypatch.setattr(module, "PLAIN_SECONDS", 0.0)  # as if much time had passed
    stream = io.StringIO()
    Process([Task(f"task-{number}", int) for number in range(50)]).run(
        runner="sequential", observers=[Progress(stream)]
    )
    lines = stream.getvalue().splitlines()
    assert [line.split()[1] for line in lines] == [f"{done}/50" for done in range(5, 51, 5)]


def test_a_task_that_waits_for_its_retry_is_not_under_way(monkeypatch):
    monkeypatch.setattr(module, "PLAIN_SECONDS", 0.0)
    stream = io.StringIO()
    answers = iter([ConnectionError(), None])

    def fail_once():
        if (answer := next(answers)) is not None:
            raise answer

    tasks = [Task("again", fail_once, retries=1, retry_delay=0.2, priority=1), Task("other", int)]
    report = Process(tasks).run(runner="sequential", observers=[Progress(stream)])
    assert report.entries["again"].attempts == 2
    assert re.match(r"processes: 1/2 done, \d", stream.getvalue())


def test_one_observer_serves_several_runs():
    stream = io.StringIO()
    observer = Progress(stream)
    process = some_of_each_kind()
    for _ in range(2):
        process.run(runner="sequential", observers=[observer])
    assert [line.split()[1] for line in stream.getvalue().splitlines()] == ["7/7", "7/7"]


def test_a_run_that_ends_early_shows_how_far_it_came():
    stream = io.StringIO()
    tasks = [Task("failed", fail, priority=1), *[Task(f"good-{number}", int) for number in range(5)]]
    Process(tasks).run(runner="sequential", fail_fast=True, observers=[Progress(stream)])
    assert stream.getvalue().startswith("processes: 1/6 done, 1 failed, ")


def test_what_was_under_way_at_the_end_of_a_run_is_so_no_more():
    stream = io.StringIO()
    observer = Progress(stream)
    for event in (RunStarted("ended", ("cut",), "thread"), TaskStarted("cut", 1), RunFinished(0.1)):
        observer(event)
    assert stream.getvalue() == "ended: 0/1 done, 0.1 s\n"


def test_on_a_terminal_one_line_moves_and_its_last_state_stays(terminal):
    stream, written = terminal
    some_of_each_kind().run(runner="thread", observers=[Progress(stream)])
    text = written()
    assert re.search(r"mixed ━+ 7/7 done, 1 failed, 1 skipped, \d+\.\d s", text)
    assert "0/7 done" in text
    assert text.count("\n") == 1


def test_a_terminal_obeys_no_name(terminal):
    stream, written = terminal
    observer = Progress(stream)
    observer(RunStarted("run\x1b]0;title\x07", ("a\x1b[2j",), "thread"))
    observer(TaskStarted("a\x1b[2j", 1))
    assert observer._render(200).plain.endswith("a\\x1b[2j")
    observer(RunFinished(0.1))
    assert written().count("run\\x1b]0;title\\x07 ") >= 2


def test_no_more_names_are_laid_out_than_have_room(terminal):
    stream, _ = terminal
    observer = Progress(stream)
    for number in range(10_000):
        observer(TaskStarted(f"a-task-{number}", 1))
    assert 80 < len(observer._render(80).plain) < 200


@pytest.mark.parametrize(
    ("columns", "begin"),
    [(40, ""), (48, "a-proce… "), (62, "a-proce… ━{10,} "), (80, "a-process-.*… ━{24} ")],
)
def test_on_a_narrow_terminal_the_name_and_the_bar_give_way_to_the_counts(
    terminal, monkeypatch, columns, begin
):
    monkeypatch.setenv("COLUMNS", str(columns))
    stream, written = terminal
    process = some_of_each_kind()
    process.name = "a-process-of-26-characters"
    process.run(runner="sequential", observers=[Progress(stream)])
    last = written().splitlines()[-1].split("\r")[-1]
    assert re.fullmatch(rf"{begin}7/7 done, 1 failed, 1 skipped, \d+\.\d s *", last)


@pytest.mark.parametrize(
    ("variable", "value", "encoding"),
    [
        ("TERM", "dumb", "utf-8"),
        pytest.param(
            *("TTY_COMPATIBLE", "0", "utf-8"),
            marks=pytest.mark.skipif(RICH < (14, 0), reason="Rich heeds it since 14.0"),
        ),
        pytest.param(
            *("TTY_INTERACTIVE", "0", "utf-8"),
            marks=pytest.mark.skipif(RICH < (14, 1), reason="Rich heeds it since 14.1"),
        ),
        ("TERM", "xterm", "latin-1"),
    ],
)
def test_a_terminal_that_cannot_show_the_line_gets_plain_ones(
    terminal, monkeypatch, variable, value, encoding
):
    monkeypatch.setenv(variable, value)
    stream, written = terminal
    stream.reconfigure(encoding=encoding)
    some_of_each_kind().run(runner="sequential", observers=[Progress(stream)])
    assert re.fullmatch(r"mixed: 7/7 done, 1 failed, 1 skipped, \d+\.\d s\s+", written())


def test_what_tasks_print_goes_where_it_would_without_the_progress(terminal):
    stream, written = terminal
    code = """
from processes import Process, Task
Process([Task("talks", print, args=("said by a task",))]).run(runner="sequential", progress=True)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=stream, text=True, timeout=120
    )
    assert done.returncode == 0
    assert done.stdout == "said by a task\n"
    assert "1/1 done" in written()


def test_what_tasks_print_stands_above_the_line_as_it_is(terminal):
    code = """
import sys
from processes import Process, Task
def speak():
    print("[info] 1 :smile:", end=" ", flush=True)
    print("[/tmp/x]", "long " * 60, "of".encode(sys.stdout.encoding))
    for state in ("10 %", "20 %", "all"):
        print(f"\\rbar: {state}", end="", file=sys.stderr, flush=True)
    print("", "no end", sep="\\n", end="", file=sys.stderr)
Process([Task("speaks", speak)]).run(runner="sequential", progress=True).raise_for_errors()
print("later")
"""
    text = shown_by(code, terminal)
    for line in (rf"\[info\] 1 :smile: \[/tmp/x\] {'long ' * 60} b'of'", "bar: all", "no end"):
        assert re.search(rf"\r{line}\r?\n", text), text
    assert "10 %" not in text
    assert text.endswith("\r\nlater\r\n")


def test_standard_error_in_a_file_stays_there_though_the_progress_is_shown_elsewhere(terminal, capsys):
    stream, written = terminal
    task = Task("complains", lambda: print("to standard error", file=sys.stderr))
    Process([task]).run(runner="sequential", observers=[Progress(stream)])
    assert capsys.readouterr().err == "to standard error\n"
    assert "standard error" not in written()


def test_what_tasks_log_to_the_terminal_stands_above_the_line(terminal):
    code = """
import logging, sys
from processes import Process, Task
class Elsewhere(logging.StreamHandler):
    stream = property(lambda self: 1 / 0, lambda self, stream: None)
    emit = flush = lambda *_: None
logging.basicConfig(format="logged: %(message)s")
logging.getLogger("elsewhere").addHandler(Elsewhere())
Process([Task("logs", logging.warning, args=("by a task",))]).run(runner="sequential", progress=True)
assert logging.root.handlers[0].stream is sys.stderr
"""
    text = shown_by(code, terminal)
    assert re.search(r"\rlogged: by a task\s*\n", text)
    assert "1/1 done" in text


def test_a_handler_that_a_task_has_turned_elsewhere_stays_there(terminal, monkeypatch):
    stream, _ = terminal
    monkeypatch.setattr(sys, "stderr", stream)
    handlers = [logging.StreamHandler(), logging.StreamHandler()]
    elsewhere = io.StringIO()
    for handler in handlers:
        logging.getLogger("mine").addHandler(handler)
    try:
        turn = Task("turn", handlers[0].setStream, args=(elsewhere,))
        Process([turn]).run(runner="sequential", progress=True).raise_for_errors()
        assert [handler.stream for handler in handlers] == [elsewhere, stream]
    finally:
        for handler in handlers:
            logging.getLogger("mine").removeHandler(handler)


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_what_worker_processes_print_stands_above_the_line(terminal, monkeypatch, tmp_path, unbuffered):
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    stream, written = terminal
    code = """
import os, sys
from processes import Process, ProcessPoolRunner, Task
def speak(*words):
    print(*words, file=sys.stdout)
    print(*words, "too", file=sys.stderr, end="!\\n")
def die():
    print("last words", file=sys.stderr)
    os.abort()
tasks = [
    Task("speaks", speak, args=("said", "by", "a", "task")),
    Task("logs", speak, args=("captured",), log_path="log"),
    Task("dies", die),
]
with ProcessPoolRunner(1) as runner:
    report = Process(tasks).run(runner=runner, progress=True, capture_output=True)
    (error,) = report.exceptions.values()
    assert error.stderr.endswith("last words\\n") and error.stderr.isascii(), error.stderr
    assert "\\x1b" not in error.stderr
    for has_line in (True, False):
        Process(tasks[:1]).run(runner=runner, progress=has_line)
"""
    text = shown_by(code, terminal, cwd=tmp_path)
    for line in ("said by a task", "said by a task too!", "last words"):
        assert re.search(rf"\r{line}\r?\n", text), text
    # Without a line, it replaces nothing. What goes to standard error may be there a moment later.
    assert "\nsaid by a task\r\n" in text
    assert text.endswith("\nsaid by a task too!\r\n")
    assert "\x1b" not in (tmp_path / "log").read_text()
    assert "captured too!" in (tmp_path / "log").read_text()


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_lines_of_worker_processes_are_whole_above_the_line(terminal, monkeypatch, unbuffered):
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    stream, written = terminal
    code = """
import sys
from importlib.metadata import version
from processes import Process, Task
def draw_bar():
    for state in ("10 %", "20 %", "all"):
        print(f"\\rbar: {state}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
def begin_a_line():
    print("this line", end=" ", flush=True)
    print("has no end", end="")
tasks = [Task("draws", draw_bar), Task("begins", begin_a_line)]
Process(tasks).run(runner="process", max_workers=1, progress=True).raise_for_errors()
"""
    text = shown_by(code, terminal)
    for line in ("bar: all", "this line has no end"):
        assert re.search(rf"\r{line}\r?\n", text), text
    assert "10 %" not in text


def test_the_streams_of_worker_processes_are_usual_ones_where_there_is_a_progress_line(terminal):
    stream, written = terminal
    code = """
import codecs, pprint, sys
from processes import Process, Task
def wrap():
    sys.stdout = codecs.getwriter("utf-8")(sys.stdout.buffer)
    print("wrapped")
    print("Python's own", file=sys.__stdout__)
tasks = [Task("returns", pprint.PrettyPrinter), Task("wraps", wrap)]
Process(tasks).run(runner="process", max_workers=1, progress=True).raise_for_errors()
"""
    text = shown_by(code, terminal)
    for line in ("wrapped", "Python's own"):
        assert re.search(rf"[\r\n]{line}\r?\n", text), text


def test_a_program_without_standard_output_shows_its_progress(terminal):
    stream, written = terminal
    code = """
from processes import Process, Task
Process([Task("works", abs, args=(1,))]).run(runner="sequential", progress=True)
"""
    closes_it = ["/bin/sh", "-c", 'exec "$@" >&-', "sh"]
    command = [*closes_it, sys.executable, "-W", "error", "-c", code]
    assert subprocess.run(command, stderr=stream, timeout=120).returncode == 0
    assert "1/1 done" in written()


@pytest.mark.parametrize("runner", ["thread", "process"])
def test_the_programs_output_may_be_an_argument_while_the_progress_is_shown(terminal, runner):
    stream, written = terminal
    code = f"""
import sys
from importlib.metadata import version
from processes import Process, Task
def tell(*files):
    for file in files:
        print("told to", file.name, file=file, flush=True)
tasks = [Task("tells", tell, args=(sys.stdout, sys.stderr))]
Process(tasks).run(runner={runner!r}, progress=True).raise_for_errors()
"""
    text = shown_by(code, terminal)
    assert "told to <stdout>" in text
    assert "told to <stderr>" in text


def test_progress_true_writes_to_standard_error(capsys):
    some_of_each_kind().run(runner="sequential", progress=True)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("mixed: 7/7 done")
