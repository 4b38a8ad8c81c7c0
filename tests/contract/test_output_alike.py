"""What tasks print goes to their log files, on every runner."""

from __future__ import annotations

import io
import logging
import os
import re
import signal
import sys
import threading
from contextlib import redirect_stdout
from contextvars import Context, copy_context
from pathlib import Path

import programs
import pytest
from patience import patient
from printing import (
    AllButTwo,
    encodings,
    fail,
    first,
    let_go,
    print_bytes,
    redirect,
    second,
    speak,
    talk,
    wait,
    write_everywhere,
)
from test_logs_alike import lines_of

from processes import Process, ProcessPoolRunner, Task, TaskDependency, ThreadRunner, results_of
from processes.runners.pool import wire


class Around:
    """A stream that hands on to another one, as colorama's does."""

    def __init__(self, stream):
        self.stream = stream

    def __getattr__(self, name):
        return getattr(self.stream, name)

    def write(self, text):
        return self.stream.write(text)


def printed(path: Path) -> list[str]:
    """What a task has printed, by its log file."""
    return [line.removeprefix("INFO output: ") for line in lines_of(path) if line.startswith("INFO output: ")]


def run(runner, tmp_path, *functions, **options):
    tasks = [
        Task(function.__name__, function, log_path=tmp_path / function.__name__) for function in functions
    ]
    report = Process(tasks).run(runner=runner, capture_output=True, **options)
    return report, [printed(tmp_path / function.__name__) for function in functions]


def test_what_a_task_prints_stands_in_its_log_file_line_by_line(runner, tmp_path, capfd):
    report, _ = run(runner, tmp_path, talk)
    assert report.results == {"talk": (False, (8, 6))}
    assert lines_of(tmp_path / "talk") == [
        "INFO processes.talk: Starting talk.",
        "INFO output: one 1",
        "WARNING mine: a record",
        *(f"INFO output: {line}" for line in ("two", "three", "four", "five", "six", "seven \\xff")),
        *(f"INFO output: {line}" for line in ("eight", "30 %", "dos", "", "no end")),
        "INFO processes.talk: Finished talk.",
    ]
    assert "one" not in capfd.readouterr().out


def test_nothing_is_captured_where_that_was_not_asked_for_or_a_task_has_no_log_file(
    named_runner, tmp_path, capfd
):
    # One after the other: print writes the end of a line by itself, and another line may come between.
    after = [TaskDependency("first")]
    tasks = [Task("first", first, log_path=tmp_path / "first"), Task("second", second, dependencies=after)]
    Process(tasks).run(runner=named_runner)
    assert printed(tmp_path / "first") == []
    assert capfd.readouterr().out.splitlines() == ["of the first", "of the second"]
    Process(tasks).run(runner=named_runner, capture_output=True)
    assert printed(tmp_path / "first") == ["of the first"]
    assert capfd.readouterr().out.splitlines() == ["of the second"]


def test_what_a_task_prints_stays_out_of_its_log_file_where_nobody_asked_for_it(runner, tmp_path):
    Process([Task("first", first, log_path=tmp_path / "first")]).run(runner=runner)
    assert printed(tmp_path / "first") == []


def test_a_later_run_prints_where_it_always_does(named_runner, tmp_path, capfd):
    out = sys.stdout
    with ThreadRunner() if named_runner == "thread" else ProcessPoolRunner(1) as warm:
        used = named_runner if named_runner == "sequential" else warm
        for captures in (True, False, True, False):
            Process([Task("first", first, log_path=tmp_path / "first")]).run(
                runner=used, capture_output=captures
            )
    assert printed(tmp_path / "first") == ["of the first"] * 2
    assert capfd.readouterr().out.splitlines() == ["of the first"] * 2
    assert sys.stdout is out


def test_what_a_task_prints_may_be_any_text_whatever_encoding_the_program_has(
    named_runner, tmp_path, monkeypatch
):
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), "cp1252", "ignore"))
    with ProcessPoolRunner(1) as warm:
        used = warm if named_runner == "process" else named_runner
        report, [lines] = run(used, tmp_path, speak)
        later = Process([Task("later", encodings)]).run(runner=used)
    assert report.exceptions == {}
    assert lines == ["caf\N{LATIN SMALL LETTER E WITH ACUTE}", "\N{SNOWMAN}", "\\udcff"]
    assert later.results["later"] == [("cp1252", "ignore"), (sys.stderr.encoding, sys.stderr.errors)]


def test_a_failure_comes_after_what_was_printed(runner, tmp_path):
    _, [lines] = run(runner, tmp_path, fail)
    assert lines == ["before", "the end"]
    text = (tmp_path / "fail").read_text()
    assert text.index("the end") < text.index("Failed fail")
    assert "output_capture" not in text  # no frame of ours


def test_attempts_of_one_task_stand_one_behind_the_other(runner, tmp_path):
    marker = tmp_path / "marker"

    def flaky():
        print("again" if marker.exists() else "first")
        if not marker.exists():
            marker.touch()
            raise ConnectionError("gone")

    tasks = [Task("flaky", flaky, log_path=tmp_path / "log", retries=1)]
    Process(tasks).run(runner=runner, capture_output=True).raise_for_errors()
    assert printed(tmp_path / "log") == ["first", "again"]


def test_lines_of_tasks_that_run_at_the_same_time_do_not_mix(runner, tmp_path):
    def shout(name):
        for number in range(100):
            print(name, end=" ")
            print(number, end="")
            print()

    tasks = [Task(f"t{n}", shout, args=(f"t{n}",), log_path=tmp_path / f"{n // 4}") for n in range(8)]
    Process(tasks).run(runner=runner, capture_output=True)
    for file in range(2):
        lines = printed(tmp_path / str(file))
        assert len(lines) == 4 * 100
        for n in range(4 * file, 4 * file + 4):
            assert [line for line in lines if line.startswith(f"t{n} ")] == [f"t{n} {i}" for i in range(100)]


def test_what_a_coroutine_prints_is_captured(runner, tmp_path):
    _, [lines] = run(runner, tmp_path, wait)
    assert lines == ["begins", "of a thread of the loop", "ends"]


@pytest.mark.parametrize("runner", ["sequential", "thread"])
def test_what_a_thread_prints_and_logs_after_its_task_is_not_the_tasks(runner, tmp_path, capfd):
    has_begun, task_is_over, goes_on, thread_is_over = (threading.Event() for _ in range(4))

    def go_on():
        goes_on.set()
        thread_is_over.wait(60)

    def outlast():
        print("during")
        has_begun.set()
        task_is_over.wait(60)
        print("after", sys.stdout.encoding, sys.stdout.isatty(), flush=True)
        logging.getLogger("mine").warning("after")

    def leave():
        assert runner == "sequential" or goes_on.wait(60)  # else nothing is captured between the two tasks
        # With the context variables, which threads take over by themselves on a free-threaded Python.
        thread = threading.Thread(target=copy_context().run, args=(outlast,))
        thread.start()
        has_begun.wait(60)
        return thread

    def wait_for_it(thread):
        task_is_over.set()
        thread.join()
        thread_is_over.set()

    tasks = [
        Task("leave", leave, log_path=tmp_path / "leave"),
        Task("wait", wait_for_it, log_path=tmp_path / "wait", dependencies=results_of("leave")),
        Task("beside", go_on, log_path=tmp_path / "beside"),
    ]
    Process(tasks).run(runner=runner, capture_output=True).raise_for_errors()
    assert lines_of(tmp_path / "leave")[1:-1] == ["INFO output: during"]
    assert printed(tmp_path / "wait") == []
    assert capfd.readouterr().out == f"after {sys.stdout.encoding} False\n"


class Terminal(io.StringIO):
    """A stream that somebody watches; counts how often it was flushed."""

    flushed = 0

    def isatty(self):
        return True

    def flush(self):
        self.flushed += 1


def test_a_terminal_is_none_for_the_task_alone_whose_output_is_captured(tmp_path, monkeypatch):
    def look():
        sys.stdout.flush()
        flushed = terminal.flushed
        others = Context()  # as a thread has that the program has started
        others.run(sys.stdout.flush)
        return sys.stdout.isatty(), flushed, others.run(sys.stdout.isatty), terminal.flushed

    monkeypatch.setattr(sys, "stdout", terminal := Terminal())
    report, _ = run("sequential", tmp_path, look)
    assert report.results == {"look": (False, 0, True, 1)}


def test_a_task_may_redirect_what_it_prints_itself(tmp_path):
    for runner in ("sequential", "process"):
        report, [lines] = run(runner, tmp_path / runner, redirect)
        assert report.results == {"redirect": "for itself\n"}
        assert lines == ["outside"]


def test_a_task_may_redirect_what_it_prints_while_another_one_begins(tmp_path):
    out, is_redirected, has_printed = sys.stdout, threading.Event(), threading.Event()

    def redirect_for_a_while():
        with redirect_stdout(io.StringIO()) as inner:
            is_redirected.set()
            has_printed.wait(60)
            print("for itself")
        print("outside")
        return inner.getvalue()

    def print_meanwhile():
        print("of the other")
        has_printed.set()

    tasks = [
        Task("redirect", redirect_for_a_while, log_path=tmp_path / "redirect"),
        Task("wait", is_redirected.wait, args=(60,)),
        Task("other", print_meanwhile, log_path=tmp_path / "other", dependencies=[TaskDependency("wait")]),
    ]
    report = Process(tasks).run(runner="thread", capture_output=True)
    assert report.results["redirect"] == "for itself\n"
    assert [printed(tmp_path / name) for name in ("redirect", "other")] == [["outside"], ["of the other"]]
    assert sys.stdout is out


@pytest.mark.parametrize("wrap", [Around, lambda stream: io.TextIOWrapper(stream.buffer, "utf-8")])
@pytest.mark.parametrize("runner", ["sequential", "thread"])
def test_a_task_may_leave_another_stream_around_the_programs(runner, wrap, tmp_path, capfd, monkeypatch):
    def leave():
        sys.stdout = wrap(sys.stdout)
        print("within", flush=True)

    monkeypatch.setattr(sys, "stdout", sys.stdout)  # put back at the end
    tasks = [
        Task("leave", leave, log_path=tmp_path / "leave"),
        Task("first", first, log_path=tmp_path / "first", dependencies=[TaskDependency("leave")]),
    ]
    Process(tasks).run(runner=runner, capture_output=True).raise_for_errors()
    print("after", flush=True)
    assert [printed(tmp_path / name) for name in ("leave", "first")] == [["within"], ["of the first"]]
    assert capfd.readouterr().out.splitlines() == ["after"]


def test_a_logger_of_the_program_that_prints_is_not_heard_twice(runner, tmp_path, capfd):
    def log():
        logging.getLogger("mine.printed").error("once")

    class Printer(logging.Handler):
        def emit(self, record):
            print(self.format(record))

    logger, handlers = logging.getLogger("mine.printed"), [logging.StreamHandler(sys.stderr), Printer()]
    for handler in handlers:
        logger.addHandler(handler)
    try:
        run(runner, tmp_path, log)
    finally:
        for handler in handlers:
            logger.removeHandler(handler)
    assert lines_of(tmp_path / "log")[1:-1] == ["ERROR mine.printed: once"]
    assert capfd.readouterr().out == "once\n"


def test_text_streams_take_text_alone(runner, tmp_path):
    report, _ = run(runner, tmp_path, print_bytes)
    assert re.match(r"write\(\) argument must be str, not bytes", str(report.exceptions["print_bytes"]))


@pytest.mark.parametrize("value", [1, "yes", None])
def test_capture_output_is_a_bool(value):
    with pytest.raises(TypeError, match="capture_output must be bool"):
        Process([Task("first", first)]).run(capture_output=value)


def test_a_stream_captures_too(runner, tmp_path):
    stream = Process([Task("first", first, log_path=tmp_path / "first")]).stream(
        runner=runner, capture_output=True
    )
    with stream:
        assert [entry.name for entry in stream] == ["first"]
    assert printed(tmp_path / "first") == ["of the first"]


# In worker processes alone


@pytest.mark.parametrize("has_side_channel", [True, False])
def test_in_a_process_all_that_is_written_is_captured(tmp_path, monkeypatch, has_side_channel):
    if not has_side_channel and wire.CAN_SEND_DESCRIPTORS:  # as on Windows, or where descriptors are short
        monkeypatch.setattr(wire, "open_side_channel", lambda sock: sock.send(b"\0") and None)
    _, [lines] = run("process", tmp_path, write_everywhere)
    assert lines[:4] == ["Python", "descriptor", "child", "shell"]
    assert sorted(lines[4:]) == ["C", "thread"]  # the C library writes when its buffer is full, or at the end


def test_what_a_worker_has_printed_when_it_dies_is_kept(tmp_path):
    def die():
        print("last words")
        os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))

    report, [lines] = run("process", tmp_path, die)
    assert type(report.exceptions["die"]).__name__ == "WorkerDiedError"
    assert lines == ["last words"]


@patient
def test_what_an_attempt_has_printed_when_its_time_is_over_is_kept(times, tmp_path):
    def hang():
        print("begins to wait")
        threading.Event().wait()

    log = tmp_path / f"log-{times}"
    report = Process([Task("hang", hang, log_path=log, timeout=times)]).run(
        runner="process", capture_output=True
    )
    assert type(report.exceptions["hang"]) is TimeoutError
    assert printed(log) == ["begins to wait"]


def test_what_a_task_prints_can_be_read_while_it_runs(shared_workers, tmp_path):
    log, go_on = tmp_path / "log", tmp_path / "go on"

    def work():
        print("at work")
        programs.wait_until(go_on.exists)
        return "done"

    with Process([Task("work", work, log_path=log)]).stream(runner="process", capture_output=True) as stream:
        programs.wait_until(lambda: printed(log) == ["at work"])
        go_on.touch()
        assert [entry.result for entry in stream] == ["done"]


def test_a_task_may_close_and_replace_its_streams(tmp_path):
    def close():
        print("open")
        sys.stdout.flush()
        os.close(1)

    def after():
        print("still")

    tasks = [
        Task("close", close, log_path=tmp_path / "close"),
        Task("after", after, log_path=tmp_path / "after"),
        Task("close-all", os.closerange, args=(0, 3)),  # of its worker's own
        Task("again", after, log_path=tmp_path / "again"),
    ]
    report = Process(tasks).run(runner="process", max_workers=1, capture_output=True)
    report.raise_for_errors()
    assert len({metrics.pid for metrics in report.metrics.values()}) == 1
    assert [printed(tmp_path / name) for name in ("close", "after", "again")] == [
        ["open"],
        ["still"],
        ["still"],
    ]


ENCODES = """
import io, sys
from processes import Process, Task

def encode(name):
    stream = getattr(sys, name)
    stream.write("caf")
    stream.reconfigure(encoding="utf-8")
    around = io.TextIOWrapper(stream.buffer, "utf-8")
    around.write("\N{LATIN SMALL LETTER E WITH ACUTE}\\n")
    around.detach()
    return stream.name, stream.mode

for runner in sys.argv[1:]:
    tasks = [Task(name, encode, args=(name,)) for name in ("stdout", "stderr")]
    results = Process(tasks).run(runner=runner, max_workers=1).results
    assert list(results.values()) == [("<stdout>", "w"), ("<stderr>", "w")], runner
"""


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_task_may_change_how_its_streams_encode(unbuffered):
    environment = {**os.environ, "PYTHONIOENCODING": "latin-1", "PYTHONUNBUFFERED": unbuffered}
    command = [sys.executable, "-c", ENCODES, *programs.NAMED]
    done = programs.ended(command, env=environment, encoding="utf-8", check=True)
    lines = ["caf\N{LATIN SMALL LETTER E WITH ACUTE}"] * len(programs.NAMED)
    assert done.stdout.splitlines() == done.stderr.splitlines() == lines


def test_much_output_costs_no_attempt(tmp_path):
    def flood():
        for number in range(4_000):
            os.write(1, b"%050d\n" % number)

    report, [lines] = run("process", tmp_path, flood)
    report.raise_for_errors()
    assert lines == [f"{number:050}" for number in range(4_000)]


def test_a_line_without_end_is_told_in_pieces(runner, tmp_path):
    def endless():
        for _ in range(5):
            sys.stdout.write("x" * (1 << 19))
        print("\nshort, ", end="", flush=True)
        print("in parts")

    _, [lines] = run(runner, tmp_path, endless)
    assert lines.pop() == "short, in parts"
    assert "".join(lines) == "x" * (5 << 19)
    assert max(map(len, lines)) < 1 << 21


def test_a_character_that_is_cut_off_at_the_end_is_told_too(runner, tmp_path):
    def cut_off():
        sys.stdout.buffer.write(b"one\nca\xc3")
        sys.stdout.buffer.write(b"\xa9 \xe2\x82")

    report, [lines] = run(runner, tmp_path, cut_off)
    report.raise_for_errors()
    assert lines == ["one", r"caé \xe2\x82"]


def test_many_parts_of_one_line_take_no_longer_than_as_many_lines(runner, tmp_path):
    def dot():
        for _ in range(200_000):
            sys.stdout.write(".")

    report, [lines] = run(runner, tmp_path, dot)
    report.raise_for_errors()
    assert lines == ["." * 200_000]
    assert report.metrics["dot"].cpu_seconds < 5  # it was 20


def test_where_there_is_no_room_for_a_file_the_task_prints_where_it_always_does(tmp_path, capfd):
    def no_file():
        def refuse():
            raise OSError(28, "no space left")

        sys.modules["processes.runners.pool.output"]._make_file = refuse

    tasks = [
        Task("no_file", no_file, log_path=tmp_path / "no_file", priority=1),
        Task("first", first, log_path=tmp_path / "first"),
    ]
    report = Process(tasks).run(runner="process", max_workers=1, capture_output=True)
    report.raise_for_errors()
    assert printed(tmp_path / "first") == []
    assert capfd.readouterr().out.splitlines() == ["of the first"]


@pytest.mark.skipif(sys.platform == "win32", reason="no limit of open files to lower there")
def test_where_no_descriptor_is_left_the_task_prints_where_it_always_does_and_so_can_the_next(
    tmp_path, capfd
):
    tasks = [
        Task("lets_go", let_go, args=(AllButTwo(),), log_path=tmp_path / "lets_go", priority=1),
        Task("second", second, log_path=tmp_path / "second"),
        Task("is_open", os.write, args=(2, b"still there\n")),
    ]
    report = Process(tasks).run(runner=ProcessPoolRunner(1), capture_output=True)
    report.raise_for_errors()
    assert len({metrics.pid for metrics in report.metrics.values()}) == 1
    assert [printed(task.log_path) for task in tasks[:2]] == [[], ["of the second"]]
    out, err = capfd.readouterr()
    assert out.splitlines() == ["let go"]
    assert err == "still there\n"


PRINTS_AT_ONCE = """
import sys
from processes import Process, Task

sys.setswitchinterval(1e-6)

def first():
    print("captured")

def second():
    print("not captured")

tasks = [Task("first", first, log_path="first.log"), Task("second", second)]
for _ in range(300):
    Process(tasks).run(runner="thread", capture_output=True).raise_for_errors()
"""


def test_threads_may_print_while_a_capture_begins_and_ends(tmp_path):
    output = programs.output_of([sys.executable, "-c", PRINTS_AT_ONCE], cwd=tmp_path)
    assert output == "not captured\n" * 300
    assert printed(tmp_path / "first.log") == ["captured"] * 300
