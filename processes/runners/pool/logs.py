"""Log records on their way from a worker to the loggers of its parent."""

from __future__ import annotations

import logging
import pickle
from typing import TYPE_CHECKING, Any

from ...failure import bounded_repr
from ...pickling import ATOMS

if TYPE_CHECKING:
    from collections.abc import Callable


def log_levels() -> tuple[int, dict[str, int], dict[int, str]]:
    """Return what `logging.disable` was told, the levels of all loggers, and what levels are called.

    Loggers are told by their names; "" is the root's.
    """
    levels = {"": logging.getLogger().level}
    for name, logger in logging.Logger.manager.loggerDict.items():
        if isinstance(logger, logging.Logger) and logger.level:
            levels[name] = logger.level
    level_names = {level: logging.getLevelName(level) for level in logging.getLevelNamesMapping().values()}
    return logging.Logger.manager.disable, levels, level_names


def apply_levels(disabled: int, levels: dict[str, int], level_names: dict[int, str]) -> None:
    """Set in this process what :func:`log_levels` has returned in another."""
    for level, name in level_names.items():
        logging.addLevelName(level, name)
    logging.disable(disabled)
    for name, logger in logging.Logger.manager.loggerDict.items():
        if isinstance(logger, logging.Logger) and name not in levels:
            logger.setLevel(logging.NOTSET)
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


def forward_records(send: Callable[[bytes], None]) -> None:
    """Send every record that is logged in this process to its parent.

    Handlers that a task configures in the worker get their records too; without any, the handler of
    last resort stays silent, since the parent's own says it.
    """
    call_handlers = logging.Logger.callHandlers

    def send_and_call_handlers(logger: logging.Logger, record: logging.LogRecord) -> None:
        send(dump_record(record))
        call_handlers(logger, record)

    logging.Logger.callHandlers = send_and_call_handlers  # type: ignore[assignment, method-assign]
    logging.lastResort = logging.NullHandler()


def dump_record(record: logging.LogRecord) -> bytes:
    """Serialize a record: the message and the traceback as text, what cannot travel by its repr."""
    fields = dict(record.__dict__)
    try:
        fields["msg"] = record.getMessage()
    except Exception as error:  # as in logging itself, a bad record costs no task
        message, reason = bounded_repr(record.msg), bounded_repr(error)
        fields["msg"] = f"{message} with arguments that do not fit: {reason}"
    fields["args"] = None
    if record.exc_info:
        fields["exc_text"] = record.exc_text or logging.Formatter().formatException(record.exc_info)
        fields["exc_info"] = None
    pickles = {}  # of each by itself, so that one that cannot be read costs no other
    for name, value in [item for item in fields.items() if type(item[1]) not in ATOMS]:
        try:
            data = pickle.dumps(value)
            pickle.loads(data)  # noqa: S301 - our own; harm that is done by reading is done here
        except BaseException:
            fields[name] = bounded_repr(value)
        else:
            pickles[name] = data
            del fields[name]
    return pickle.dumps((fields, pickles))


def handle_record(
    data: bytes | memoryview, listen: Callable[[logging.LogRecord], None] | None, to_handlers: bool
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
    """
    fields, pickles = pickle.loads(data)  # noqa: S301 - from our own worker
    for name, value in pickles.items():
        try:
            fields[name] = pickle.loads(value)  # noqa: S301 - read back when it was written
        except Exception as error:  # its class is the worker's alone, say
            fields[name] = f"<object that could not be deserialized: {type(error).__name__}>"
    record = logging.makeLogRecord(fields)
    logger = logging.getLogger(record.name)
    passed: Any = not logger.disabled and logger.filter(record)
    if not passed:
        return
    if isinstance(passed, logging.LogRecord):  # from Python 3.12 on it may be another one
        record = passed
    if listen is not None:
        listen(record)
    if to_handlers:
        logger.callHandlers(record)
