"""`ErrorData`: why a task failed, as plain data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .reprs import bounded_dataclass_repr


@dataclass(repr=False)
class ErrorData:
    """Why and how a task failed.

    Log handlers find the same fields, as a dict, in ``record.task_context`` of the failure's record.

    Parameters
    ----------
    task_name : str, default "?"
        The task that failed.
    function : str, default "?"
        The name of its function.
    args : tuple, default ()
        The positional arguments that the function was called with, results of dependencies included.
    kwargs : dict, default {}
        The keyword arguments that the function was called with, results of dependencies included.
    downstream_impact : list of str, default []
        The tasks that are skipped because of this failure.
    exception : str, default ""
        The exception's text.
    traceback_str : str, default ""
        The formatted traceback, from the task's function on.
    traced_vars : dict of str to str, default {}
        The local variables of the traced frame: name to bounded ``repr``.
    traced_vars_location : str, default ""
        Where that frame stood: file, line and function.
    """

    task_name: str = "?"
    function: str = "?"
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    downstream_impact: list[str] = field(default_factory=list)
    exception: str = ""
    traceback_str: str = ""
    traced_vars: dict[str, str] = field(default_factory=dict)
    traced_vars_location: str = ""

    __repr__ = bounded_dataclass_repr
