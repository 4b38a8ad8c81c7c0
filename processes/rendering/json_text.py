"""A report as JSON."""

from __future__ import annotations

import json
from math import isfinite
from typing import TYPE_CHECKING, Any

from ..interrupt import is_of_signal
from ..reprs import DICTS, name_of_class
from ..task_types import TaskStatus
from ..visible import without_surrogates

if TYPE_CHECKING:
    from ..execution_report import ProcessExecutionReport, TaskReportEntry

MAX_DEPTH = 100  # containers inside each other; what lies deeper is rendered by repr
MAX_BITS = 2048  # Python may refuse to write larger ints in decimal (see sys.set_int_max_str_digits)


def to_json(report: ProcessExecutionReport, **dumps_kwargs: Any) -> str:
    """Render a report as JSON; see :meth:`processes.ProcessExecutionReport.to_json`."""
    shown: dict[int, str] = {}  # by id: a table that thousands of tasks were given is rendered once

    def show(value: object) -> str:
        if id(value) not in shown:
            shown[id(value)] = _repr(value)
        return shown[id(value)]

    if "cls" not in dumps_kwargs:
        dumps_kwargs.setdefault("default", show)
    whole = {
        "entries": {name: _fields_of_entry(entry) for name, entry in report.entries.items()},
        "process_name": report.process_name,
        "runner": report.runner,
        "elapsed_seconds": report.elapsed_seconds,
        "metrics": {name: _fields(metrics) for name, metrics in report.metrics.items()},
        "from_checkpoint": report.from_checkpoint,
    }
    return json.dumps(jsonable(whole), **dumps_kwargs)


def _fields(value: Any) -> dict[str, Any]:
    return {name: getattr(value, name) for name in value.__dataclass_fields__}


def _fields_of_entry(entry: TaskReportEntry) -> dict[str, Any]:
    error = None if entry.error is None else _fields(entry.error)
    return {**_fields(entry), "status": entry.status.value, "error": error}


def jsonable(value: Any, outside: tuple[int, ...] = ()) -> Any:
    """Make a value such that `json` can write it; `outside` holds the ids of what it is in."""
    kind = type(value)
    if kind is str:  # as most of a report is
        return without_surrogates(value)
    try:
        if isinstance(value, (*DICTS, list, tuple)):
            if id(value) in outside or len(outside) == MAX_DEPTH:
                return _repr(value)
            outside = (*outside, id(value))
            if isinstance(value, DICTS):
                return _plain_dict(value, outside)
            if kind is list and _is_ascii(value):
                return value  # as names: where 1 000 tasks fail above 10 000, there are ten million of them
            return [jsonable(member, outside) for member in value]
        if isinstance(value, str):
            return without_surrogates(value)  # many readers take no JSON that has any, be it escaped
        if isinstance(value, int) and value.bit_length() > MAX_BITS:
            return _plain_large_int(value)
        if isinstance(value, float) and not isfinite(value):
            return float.__repr__(value)  # `json` would write NaN and Infinity, which are no JSON
    except Exception as error:  # a class of the user's may do anything in a property or an iterator
        if is_of_signal(error):
            raise
        return _repr(value)
    return value


def _is_ascii(texts: Any) -> bool:
    return {str}.issuperset(map(type, texts)) and "".join(texts).isascii()


def _plain_dict(value: dict[Any, Any], outside: tuple[int, ...]) -> Any:
    plain = {
        without_surrogates(key) if isinstance(key, str) else _repr(key): jsonable(member, outside)
        for key, member in value.items()
    }
    return plain if len(plain) == len(value) else _repr(value)  # as 1 and "1" would be one key


def _plain_large_int(value: int) -> int | str:
    try:
        int.__repr__(value)
    except ValueError:
        return hex(value)
    return value


def _repr(value: object) -> str:
    try:
        return str(value.value) if type(value) is TaskStatus else without_surrogates(repr(value))
    except Exception as error:  # a __repr__ is user code
        if is_of_signal(error):
            raise
        kind, raised = name_of_class(type(value)), name_of_class(type(error))
        return f"<{kind} object whose repr raises {raised}>"
