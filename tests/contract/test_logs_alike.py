"""What ends up in log files and in the program's own handlers, on every runner."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from processes import Process, Task, TaskDependency


def chatty(message: str) -> str:
    logging.getLogger("chatty.app").warning("warned: %s", message)
    logging.getLogger("chatty.app").debug("not heard: %s", message)
    logging.getLogger("chatty.quiet").info("informed: %s", message)
    logging.getLogger("chatty.alone").error("alone: %s", message)
    return message


def chatty_failure(message: str) -> None:
    number = len(message)
    try:
        raise KeyError(number)
    except KeyError:
        logging.getLogger("chatty.app").exception("handled")
    raise ValueError(message)


def lines_of(path: Path) -> list[str]:
    """The records of a log file without their times."""
    return [re.sub(r"^\S+ \S+ ", "", line) for line in path.read_text().splitlines()]


@pytest.fixture
def heard():
    """What a handler on the root logger gets."""
    records: list[logging.LogRecord] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record)

    handler = Handler()
    root = logging.getLogger()
    root.addHandler(handler)
    logging.getLogger("chatty.quiet").setLevel(logging.INFO)
    logging.getLogger("chatty.alone").propagate = False
    yield records
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


def test_an_exception_that_is_logged_arrives_with_its_traceback(runner, tmp_path, heard):
    path = tmp_path / "log"
    Process([Task("bad", chatty_failure, log_path=path, args=("four",))]).run(runner=runner)
    text = path.read_text()
    assert "handled" in text
    assert "KeyError: 4" in text
    assert text.index("KeyError: 4") < text.index("ValueError: four")
    record = next(record for record in heard if record.name == "chatty.app")
    assert "KeyError: 4" in logging.Formatter().format(record)


def test_a_failure_is_one_error_record_that_carries_all_that_is_known(runner, tmp_path):
    path = tmp_path / "log"
    tasks = [
        Task("bad", chatty_failure, log_path=path, args=("four",), retries=1, retry_on=(ValueError,)),
        Task("below", chatty, args=("x",), dependencies=[TaskDependency("bad")]),
    ]
    records: list[logging.LogRecord] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record)

    with Process(tasks) as process:
        process.get_task("bad").logger.addHandler(Handler())
        report = process.run(runner=runner)
    levels = [record.levelname for record in records if record.name == "processes.bad"]
    assert levels == ["INFO", "WARNING", "ERROR"]
    error = next(record for record in records if record.levelname == "ERROR")
    assert error.task_context["task_name"] == "bad"
    assert error.task_context["downstream_impact"] == ["below"]
    assert error.task_context == vars(report.errored["bad"].error)
    text = path.read_text()
    for part in ("chatty_failure", "'four'", "below", "number", "4", "Traceback"):
        assert part in text
    assert text.rstrip().endswith("ValueError: four")


def log_from_a_thread() -> None:
    thread = threading.Thread(target=logging.getLogger("chatty.app").warning, args=("from a thread",))
    thread.start()
    thread.join()


def test_records_of_threads_that_a_task_starts_are_its_own_in_processes(tmp_path):
    path = tmp_path / "log"
    Process([Task("threads", log_from_a_thread, log_path=path)]).run(runner="process").raise_for_errors()
    assert "from a thread" in path.read_text()


def test_tasks_may_share_a_log_file(runner, tmp_path):
    path = tmp_path / "shared"
    tasks = [Task(f"t{i}", chatty, log_path=path, args=(str(i),)) for i in range(30)]
    Process(tasks).run(runner=runner).raise_for_errors()
    lines = lines_of(path)
    assert len(lines) == sum(line.count("processes.t") + line.count("chatty.") for line in lines)
    assert sum("Finished" in line for line in lines) == 30


def test_thousands_of_tasks_log_under_a_low_limit_of_open_files(runner, tmp_path):
    script = tmp_path / "many.py"
    script.write_text(
        "import resource, sys\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))\n"
        "from processes import Process, Task\n"
        "tasks = [Task(f't{i}', abs, log_path=f'logs/{i}.log', args=(-i,)) for i in range(3000)]\n"
        "with Process(tasks) as process:\n"
        "    process.run(runner=sys.argv[1]).raise_for_errors()\n"
    )
    subprocess.run([sys.executable, str(script), runner], cwd=tmp_path, check=True, timeout=120)
    files = sorted((tmp_path / "logs").iterdir())
    assert len(files) == 3000
    assert "Finished t2999." in (tmp_path / "logs" / "2999.log").read_text()


def test_the_handler_of_last_resort_speaks_as_without_us(runner, tmp_path):
    script = tmp_path / "loud.py"
    script.write_text(
        "import logging, sys\n"
        "from processes import Process, Task\n"
        "def loud():\n"
        "    logging.getLogger('app').warning('said once')\n"
        "def bad():\n"
        "    raise ValueError('not printed')\n"
        "Process([Task('loud', loud), Task('bad', bad)]).run(runner=sys.argv[1])\n"
    )
    done = subprocess.run(
        [sys.executable, str(script), runner], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stderr == "said once\n"
    assert done.stdout == ""
