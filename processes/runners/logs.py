"""Log records on their way from a worker to the loggers of its parent."""

from __future__ import annotations

import logging
import pickle
import sys
from contextlib import suppress
from functools import wraps
from typing import TYPE_CHECKING, Any, Final

from ..attempt import Attempt, Raised
from ..failure import traceback_of
from ..perform import perform
from ..reprs import bounded_repr
from ..serialization.exception_state import dump_exception, load_exception
from ..serialization.pickling import ATOMS, Contained, dump_simple

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from ..attempt import Worker
    from ..serialization.pickling import Buffer


MAX_ATTRIBUTE_BYTES = 1_000_000  # of a record's attribute; the arguments of a task that failed may be larger

_awaited: Final[dict[str, int]] = {}
"""Levels of loggers that modules make, since these have a class of their own, and have not made here yet."""


def log_levels() -> tuple[int, dict[str, int], dict[int, str], list[str]]:
    """Return what `logging.disable` was told, the levels of all loggers, and what levels are called.

    Loggers are told by their names; "" is the root's. The last are those that have a class of their own.
    """
    loggers = _loggers()
    levels = {"": logging.getLogger().level}
    levels |= {name: logger.level for name, logger in loggers if logger.level}
    level_names = {level: logging.getLevelName(level) for level in logging.getLevelNamesMapping().values()}
    special = [name for name, logger in loggers if type(logger) is not logging.Logger]
    return logging.Logger.manager.disable, levels, level_names, special


def apply_levels(
    disabled: int,
    levels: dict[str, int],
    level_names: dict[int, str],
    special: Collection[str] = (),
    keep: Collection[str] = (),
) -> None:
    """Set in this process what :func:`log_levels` has returned in another; but for packages to `keep`."""
    for level, name in level_names.items():
        logging.addLevelName(level, name)
    here = {name: logging.NOTSET for name, _ in _loggers()}
    made_by_modules = set(special).difference(here)
    _awaited.clear()
    for name, level in (here | levels).items():
        if name.partition(".")[0] in keep:
            continue
        if name in made_by_modules:
            _awaited[name] = level
        else:
            logging.getLogger(name).level = level
    logging.disable(disabled)  # this lets all forget what they have cached, once; setLevel would for each


def apply_awaited_levels() -> None:
    """Set the levels of loggers that modules have made since :func:`apply_levels`."""
    for name, logger in _loggers() if _awaited else ():
        if name in _awaited:
            logger.setLevel(_awaited.pop(name))


def _loggers() -> list[tuple[str, logging.Logger]]:
    items = list(logging.Logger.manager.loggerDict.items())  # at once, as other threads may add to them
    return [(name, logger) for name, logger in items if isinstance(logger, logging.Logger)]


def forward_records(send: Callable[[bytes], None], is_importing: Callable[[], bool]) -> None:
    """Send every record that is logged in this process to its parent.

    Handlers that a task configures in the worker get their records too. Those that modules configure when
    they are imported for a function, or the interpreter when it starts (`sitecustomize`), have their like in
    the parent: they would say everything once more, and filters would change it once more. Levels that are
    set then, and which loggers propagate, the parent may have changed since.
    """
    call_handlers, basic_config = logging.Logger.callHandlers, logging.basicConfig
    make_logger = logging.Logger.__init__
    of_modules: set[logging.Logger] = set()  # that they have configured when they were imported
    for logger in (logging.root, *(logger for _, logger in _loggers())):
        if logger.handlers:
            of_modules.add(logger)
        logger.handlers.clear()
        logger.filters.clear()

    @wraps(call_handlers)
    def send_and_call_handlers(logger: logging.Logger, record: logging.LogRecord) -> None:
        send(dump_record(record, *reach_of(logger, of_modules)))
        call_handlers(logger, record)

    def for_tasks(configure: Callable[..., None]) -> Callable[..., None]:
        @wraps(configure)
        def configure_for_task(logger: logging.Logger, *args: Any, **options: Any) -> None:
            if is_importing() and not _is_of_task(logger):
                of_modules.add(logger)
            else:
                configure(logger, *args, **options)

        return configure_for_task

    @wraps(make_logger)
    def make(logger: logging.Logger, name: str, level: int | str = logging.NOTSET) -> None:
        make_logger(logger, name, level)
        logger.level = _awaited.pop(name, logger.level)

    @wraps(basic_config)
    def configure_all(**options: Any) -> None:
        is_asked_by_logging = sys._getframe(1).f_globals is vars(logging)  # noqa: SLF001 - by `logging.info`
        if not (is_importing() or is_asked_by_logging):
            basic_config(**options)

    logging.Logger.callHandlers = send_and_call_handlers  # type: ignore[assignment, method-assign]
    logging.Logger.__init__ = make  # type: ignore[assignment, method-assign]
    for name in ("addHandler", "addFilter", "setLevel"):
        setattr(logging.Logger, name, for_tasks(getattr(logging.Logger, name)))
    logging.basicConfig = configure_all
    logging.lastResort = logging.NullHandler()  # the parent's own speaks


def _is_of_task(logger: logging.Logger) -> bool:
    """Tell whether a logger is that of a task which was made here, and which logs here."""
    task_log: Any = sys.modules.get("processes.task_log")  # its import would make a logger, of any class
    return isinstance(logger, getattr(task_log, "TaskLogger", ()))


def leave_configurations(is_importing: Callable[[], bool]) -> None:
    """Let no module configure all of logging when it is imported for a function; see :func:`forward_records`.

    That would open the program's log files once more, and disable loggers that the program has made since.
    """
    from logging import config

    def for_tasks(configure: Callable[..., None]) -> Callable[..., None]:
        @wraps(configure)
        def configure_for_task(*args: Any, **options: Any) -> None:
            if not is_importing():
                configure(*args, **options)

        return configure_for_task

    config.dictConfig, config.fileConfig = for_tasks(config.dictConfig), for_tasks(config.fileConfig)


def reach_of(logger: logging.Logger, of_modules: Collection[logging.Logger] = ()) -> tuple[str, bool]:
    """Tell how far up a logger's records go here, and whether a task has configured a handler on the way.

    Of loggers that modules have configured, the parent knows whether they propagate.
    """
    is_handled = bool(logger.handlers)
    while (logger.propagate or logger in of_modules) and logger.parent is not None:
        logger = logger.parent
        is_handled |= bool(logger.handlers)
    return logger.name, is_handled


def dump_record(record: logging.LogRecord, reach: str, is_handled: bool = False) -> bytes:
    """Serialize a record, with its exception, and the traceback as text; what cannot travel by its repr.

    Handlers in the parent hear it up to the logger `reach`; its handler of last resort stays silent if one
    has heard it here. In log files in which it stands already it is not written again.
    """
    fields = dict(record.__dict__)
    try:
        message = record.getMessage()
    except Exception as error:  # as in logging itself, a bad record costs no task
        message, reason = bounded_repr(record.msg), bounded_repr(error)
        fields["msg"], fields["args"] = f"{message} with arguments that do not fit: {reason}", None
    else:
        if not _is_plain(record):
            fields["msg"], fields["args"] = message, None
    exception = None
    if isinstance(record.exc_info, tuple):  # what a program has put there itself goes as it is
        fields["exc_text"] = record.exc_text or logging.Formatter().formatException(record.exc_info)
        fields["exc_info"] = None
        if isinstance(record.exc_info[1], BaseException):
            # What tells failures apart, as Sentry, or has a format of its own for them, looks at no text.
            with Contained():
                exception = dump_exception(record.exc_info[1], to_sender=True)
    pickles = {}  # of each by itself, so that one that cannot be read costs no other
    for name, value in [item for item in fields.items() if type(item[1]) not in ATOMS]:
        data = _dump_attribute(value)
        if data is None and type(value) is dict:  # as what is known of a failure: often one part is to blame
            data = _dump_attribute({key: _sendable(part) for key, part in value.items()})
        if data is None:
            fields[name] = bounded_repr(value)
        else:
            pickles[name] = data
            del fields[name]
    task_log = sys.modules.get("processes.task_log")  # without it, no task of this process has a file
    files = () if task_log is None else task_log.files_with(record)
    return pickle.dumps((fields, pickles, exception, reach, is_handled, files))


def _sendable(value: object) -> object:
    return value if type(value) in ATOMS or _dump_attribute(value) is not None else bounded_repr(value)


def _dump_attribute(value: object) -> bytes | None:
    """Serialize what a record has; None if it cannot travel, or is too large for a line of a log."""
    if (data := dump_simple(value)) is not None:
        return data
    file = _SmallFile()
    try:
        pickle.Pickler(file, pickle.HIGHEST_PROTOCOL).dump(value)
        data = b"".join(file.parts)
        pickle.loads(data)  # noqa: S301 - our own; harm that is done by reading is done here
    except BaseException:
        return None
    return data


class _SmallFile:
    """What a pickle is written to; one that becomes too large is given up there and then."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self._room = MAX_ATTRIBUTE_BYTES

    def write(self, data: Buffer) -> None:
        view = pickle.PickleBuffer(data).raw()  # one with a length: of an array, that is what comes
        self._room -= len(view)
        if self._room < 0:
            raise ValueError("too large")
        self.parts.append(bytes(view))


def _is_plain(record: logging.LogRecord) -> bool:
    """Tell whether a message may travel in parts: what counts messages asks what they are made of."""
    parts = record.args or ()
    return type(record.msg) is str and type(parts) is tuple and ATOMS.issuperset(map(type, parts))


def log_for(worker: Worker, log: Callable[..., object], *args: object) -> Raised | None:
    """Log what a worker has sent; return what the program's handlers and filters raise.

    That fails the attempt that logged, as in a thread; only that its function has gone on meanwhile. But what
    a signal's handler raises is for the program.
    """
    outcome = perform(Attempt(0, "", log, args), worker).outcome
    if not isinstance(outcome, Raised):
        return None
    from ..interrupt import is_for_program

    if is_for_program(outcome.exception):
        raise outcome.exception
    return outcome


def handle_record(
    data: bytes | memoryview,
    listen: Callable[[logging.LogRecord], None] | None,
    to_handlers: bool,
    process_name: str | None = None,
) -> None:
    """Log in this process a record that :func:`dump_record` has serialized in another.

    Parameters
    ----------
    data : bytes-like
        The record.
    listen : callable or None
        Hears it too, as it is behind the logger's filters.
    to_handlers : bool
        Whether the program's handlers hear it.
    process_name : str, optional
        What the worker is called where it has no other name than each process has by default.
    """
    received = pickle.loads(data)  # noqa: S301 - from our own worker
    fields, pickles, exception, reach, is_handled, files = received
    for name, value in pickles.items():
        try:
            fields[name] = pickle.loads(value)  # noqa: S301 - read back when it was written
        except Exception as error:  # its class is the worker's alone, say
            fields[name] = f"<object that could not be deserialized: {type(error).__name__}>"
    if exception is not None:
        raised = load_exception(exception)
        fields["exc_info"] = (type(raised), raised, traceback_of(raised))
    if process_name is not None and fields.get("processName") == "MainProcess":
        fields["processName"] = process_name
    record = _make_record(fields)
    logger = _nearest_logger(record.name)
    if logger.name == record.name:
        passed: Any = not logger.disabled and logger.filter(record)
        if not passed:
            return
        if isinstance(passed, logging.LogRecord):  # from Python 3.12 on it may be another one
            record = passed
    from ..task_log import files_with, keep_from_last_resort

    if files:
        files_with(record).extend(files)
    if listen is not None:
        listen(record)
    if not to_handlers:
        return
    keep_from_last_resort()  # a function may have logged by the logger of a task
    if reach != logging.root.name:
        _call_handlers_up_to(reach, logger, record)
    elif logger.hasHandlers() or not is_handled:
        logger.callHandlers(record)


def _nearest_logger(name: str) -> logging.Logger:
    """Find a logger, or else the nearest above it: a module that is not imported here may have to make it."""
    here = logging.Logger.manager.loggerDict
    while name and not isinstance(here.get(name), logging.Logger):
        name = name.rpartition(".")[0]
    return logging.getLogger(name)


def _call_handlers_up_to(reach: str, logger: logging.Logger, record: logging.LogRecord) -> None:
    """Do what `callHandlers` does where one of the loggers does not propagate in the worker."""
    is_above = logger is logging.root or len(logger.name) < len(reach)
    above: logging.Logger | None = None if is_above else logger
    while above is not None:
        for handler in above.handlers:
            if record.levelno >= handler.level:
                handler.handle(record)
        above = above.parent if above.propagate and above.name != reach else None


def _make_record(fields: dict[str, Any]) -> logging.LogRecord:
    """Make a record again by the program's factory, which may look at what it is given."""
    factory, given = logging.getLogRecordFactory(), fields.get  # one of a class of its own may lack some
    origin = given("name"), given("levelno"), given("pathname"), given("lineno")
    told = given("msg"), given("args"), given("exc_info"), given("funcName"), given("stack_info")
    record = factory(*origin, *told)
    made = dict(record.__dict__)
    record.__dict__.update(fields)
    with suppress(KeyError, TypeError):  # that class, or the program itself, has it otherwise
        # It counts from the start of the program, which its worker has not seen.
        record.relativeCreated = made["relativeCreated"] + (fields["created"] - made["created"]) * 1000
    return record
