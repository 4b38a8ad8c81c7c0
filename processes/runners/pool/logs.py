"""Log records on their way from a worker to the loggers of its parent."""

from __future__ import annotations

import logging
import pickle
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def log_levels() -> tuple[int, dict[str, int]]:
    """Return what `logging.disable` was told, and the levels of all loggers by name; "" is the root's."""
    levels = {"": logging.getLogger().level}
    for name, logger in logging.Logger.manager.loggerDict.items():
        if isinstance(logger, logging.Logger) and logger.level:
            levels[name] = logger.level
    return logging.Logger.manager.disable, levels


def apply_levels(disabled: int, levels: dict[str, int]) -> None:
    """Set in this process what :func:`log_levels` has returned in another."""
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
    """Serialize a record: the message and the traceback as text, odd attributes by their repr."""
    fields = dict(record.__dict__)
    try:
        fields["msg"] = record.getMessage()
    except Exception as error:  # as in logging itself, a bad record costs no task
        fields["msg"] = f"{record.msg!r} with arguments that do not fit: {error!r}"
    fields["args"] = None
    if record.exc_info:
        fields["exc_text"] = record.exc_text or logging.Formatter().formatException(record.exc_info)
        fields["exc_info"] = None
    try:
        return pickle.dumps(fields)
    except Exception:
        return pickle.dumps({name: _portable(value) for name, value in fields.items()})


def load_record(data: bytes | bytearray | memoryview) -> logging.LogRecord:
    """Make the record that :func:`dump_record` has serialized."""
    return logging.makeLogRecord(pickle.loads(data))  # noqa: S301 - from our own worker


def _portable(value: Any) -> Any:
    return value if isinstance(value, str | int | float | None) else repr(value)
