"""A task's logger, its log file, and what takes the records that a function logs there.

None of it is registered in `logging`, and no file stays open, so that a hundred thousand tasks cost
nothing when they are dropped, and ten thousand log files work under any limit of open files.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
import warnings
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from .folders import make_folder_for
from .interrupt import is_of_signal
from .log_capture import anybody_listens

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .task import Task

PARENT = logging.getLogger("processes")
OUTPUT_LOGGER = "output"
"""What records of what a task prints have for the name of their logger."""
TASK_CONTEXT = "task_context"
"""The attribute of the record of a failure that has all that is known of it."""
_FORMATTER = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
# On Windows to append is to look for the end and to write there: another thread may do so in between. The
# handler of a signal may write while its own thread does.
_appending = threading.RLock() if sys.platform == "win32" else contextlib.nullcontext()

# Which files a record stands in. Not an attribute of it: handlers of the program's may show all that it has.
_files_with: WeakKeyDictionary[logging.LogRecord, list[str]] = WeakKeyDictionary()


def files_with(record: logging.LogRecord) -> list[str]:
    """Return the list of files that a record stands in, of tasks of this process or of its workers."""
    return _files_with.setdefault(record, [])


class TaskLogger(logging.Logger):
    """The logger of one task.

    It passes records on as a child of ``processes`` that `logging` knows would.

    Parameters
    ----------
    task_name : str
        The logger's name is ``processes.<task name>``.
    log_path : str or os.PathLike or None
        The file that it writes to, if there is one.
    """

    def __init__(self, task_name: str, log_path: str | os.PathLike[str] | None) -> None:
        super().__init__(f"{PARENT.name}.{task_name}", logging.NOTSET if log_path is None else logging.DEBUG)
        self.parent: logging.Logger | None = PARENT
        if log_path is not None:
            self.addHandler(TaskFileHandler(log_path))

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802 - logging's name
        """Tell whether a record of this level would be looked at."""
        return _is_enabled(self, level)

    def handle(self, record: logging.LogRecord) -> None:
        """Give the record to the handlers, unless a filter keeps it."""
        if (context := vars(record).get(TASK_CONTEXT)) is not None:
            # As it was where the function failed: formatters make none of their own where there is one.
            record.exc_text = context["traceback_str"].rstrip("\n")
        super().handle(record)

    def callHandlers(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Give the record to the own handlers, and to those above if a logger without file would do so."""
        for handler in self.handlers:
            if record.levelno >= handler.level:
                handler.handle(record)
        if self.propagate and _is_enabled(PARENT, record.levelno):
            keep_from_last_resort()
            PARENT.callHandlers(record)

    def __reduce__(self) -> tuple[object, ...]:
        # For functions that hold their logger: in a worker its records are captured like any others.
        return logging.getLogger, (self.name,)


def _is_enabled(logger: logging.Logger, level: int) -> bool:
    # Not by its own method: in some releases of Python 3.13, as in 3.13.5, that says no while any logger is
    # handling a record. Nor cached: only caches of loggers that logging knows are cleared on a change.
    return not logger.disabled and logger.manager.disable < level and logger.getEffectiveLevel() <= level


def keep_from_last_resort() -> None:
    """Keep logging's handler of last resort from printing what is logged below ``processes``."""
    if not PARENT.hasHandlers():
        PARENT.addHandler(logging.NullHandler())


class TaskFileHandler(logging.Handler):
    """Appends records to a file, which is open only while one is written.

    A record is one write in append mode, so lines of tasks and processes that share a file do not mix,
    and no record stands in a file twice, whatever ways it takes there. What cannot be written is
    reported by one warning, and the task goes on.

    Parameters
    ----------
    path : str or os.PathLike
        The file.

    Attributes
    ----------
    baseFilename : str
        Its absolute path, as `logging.FileHandler` has it.
    """

    _name = None  # what Handler.__init__ would set

    def __init__(self, path: str | os.PathLike[str]) -> None:
        # Not Handler.__init__: it enters each handler in a list for logging's shutdown, where we have
        # nothing to do, and to leave that list again takes time in proportion to its length.
        logging.Filterer.__init__(self)
        self.level = logging.NOTSET
        self.formatter: logging.Formatter | None = _FORMATTER
        self.createLock()
        path = os.fspath(path)
        self.baseFilename: str = path if os.path.isabs(path) else os.path.join(os.getcwd(), path)
        self._failed = False

    def emit(self, record: logging.LogRecord) -> None:
        """Append a record."""
        written = files_with(record)
        if self.baseFilename in written:
            return
        written.append(self.baseFilename)
        try:
            line = self.format(record)
        except Exception as error:  # a message that does not fit its arguments, a repr that raises
            if is_of_signal(error):
                raise
            self.handleError(record)
            return
        self._write(line + "\n")

    def handle_lines(self, lines: list[str]) -> None:
        """Append what was printed, a record for each line.

        Where nothing of the program's looks at each, all are written at once: there may be millions.
        """
        if (
            self.formatter is _FORMATTER
            and not self.filters
            and logging.getLogRecordFactory() is logging.LogRecord
        ):
            head = self.format(_record_of(""))
            self._write("".join([f"{head}{line}\n" for line in lines]))
        else:
            for line in lines:
                self.handle(_record_of(line))

    def _write(self, text: str) -> None:
        try:
            _append(self.baseFilename, text.encode(errors="backslashreplace"))
        except OSError as error:
            self._warn(error)

    def _warn(self, error: OSError) -> None:
        if self._failed:
            return
        self._failed = True
        with contextlib.suppress(Exception):  # see `caller.warn`
            # From one place, whatever the thread: Python then says once what many tasks run into.
            warnings.warn(
                f"The log file {self.baseFilename!r} cannot be written ({error}); log records are lost",
                RuntimeWarning,
                stacklevel=1,
            )


def _record_of(line: str) -> logging.LogRecord:
    fields = {"name": OUTPUT_LOGGER, "levelno": logging.INFO, "levelname": "INFO", "msg": line}
    return logging.makeLogRecord(fields)


class RecordSink:
    """Takes what a task's function logs and prints itself, and writes it to the task's log file."""

    def __init__(self, handlers: list[TaskFileHandler]) -> None:
        self._handlers = handlers
        self._closed = False

    def __call__(self, record: logging.LogRecord) -> None:
        """Write a record, unless the sink is closed."""
        self._take(record.levelno, lambda handler: handler.handle(record))

    def take_lines(self, lines: list[str]) -> None:
        """Write what was printed, a record for each line, unless the sink is closed."""
        self._take(logging.INFO, lambda handler: handler.handle_lines(lines))

    def _take(self, level: int, write: Callable[[TaskFileHandler], object]) -> None:
        for handler in self._handlers:
            handler.acquire()
            try:
                if not self._closed and level >= handler.level:
                    write(handler)
            finally:
                handler.release()

    def close(self) -> None:
        """Ignore all further records; what is written at this moment is complete when this returns."""
        self._closed = True
        for handler in self._handlers:
            handler.acquire()
            handler.release()


def create_log_file(path: str | os.PathLike[str]) -> None:
    """Make sure that a log file can be written; missing folders are made.

    Raises
    ------
    OSError
        If it cannot.
    """
    try:
        _append(path, b"")
    except FileNotFoundError:
        make_folder_for(path)
        _append(path, b"")


def record_sink(task: Task) -> RecordSink | None:
    """Give what takes the records that the function of a task with a logger logs; None without a log file."""
    handlers = [handler for handler in task.logger.handlers if isinstance(handler, TaskFileHandler)]
    return RecordSink(handlers) if handlers else None


def anyone_hears(tasks: Iterable[Task]) -> bool:
    """Tell whether what is logged of tasks has a reader: a logger of their own, or the program's handlers."""
    if anybody_listens():
        return True
    logger: logging.Logger | None = PARENT
    while logger is not None:
        if any(not isinstance(handler, logging.NullHandler) for handler in logger.handlers):
            return True
        logger = logger.parent if logger.propagate else None
    return any(task.has_logger for task in tasks)


def _append(path: str | os.PathLike[str], data: bytes) -> None:
    with _appending:
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            while data:  # once, but for a disk that fills up: then the next write says so
                data = data[os.write(descriptor, data) :]
        finally:
            os.close(descriptor)
