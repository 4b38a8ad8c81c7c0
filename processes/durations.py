"""How long tasks are expected to take, for a run that is to know before it begins."""

from __future__ import annotations

from collections.abc import Mapping
from sys import float_info
from typing import TYPE_CHECKING, Any

from .caller import warn_caller
from .checks import is_number
from .execution_report import ProcessExecutionReport
from .graph import unknown_task
from .reprs import brief_repr

if TYPE_CHECKING:
    from collections.abc import Sequence


def expected_durations(durations: object, names: Sequence[str]) -> list[float] | None:
    """Find what is expected of each task.

    Parameters
    ----------
    durations : ProcessExecutionReport or mapping of str to number
        An earlier run's report, or seconds by task name; case does not matter, and names of other tasks are
        passed over, since graphs change from run to run. None where nothing is known.
    names : sequence of str
        The tasks.

    Returns
    -------
    list of float or None
        Seconds, task by task; the mean of the others where a task is new. None if all are; of a
        mapping, which people write, a warning says so.

    Raises
    ------
    TypeError
        If it is neither, or seconds are no number.
    ValueError
        If seconds are negative or not finite.
    """
    if durations is None:
        return None
    seconds: Mapping[Any, Any]
    if isinstance(durations, ProcessExecutionReport):
        seconds = {name: one.elapsed_seconds for name, one in durations.entries.items() if one.attempts}
    elif isinstance(durations, Mapping):
        seconds = durations
    else:
        raise TypeError(
            "durations must be a ProcessExecutionReport or a mapping of task names to seconds, "
            f"not {brief_repr(durations)}"
        )
    by_name = {_checked_name(name): _checked_seconds(name, value) for name, value in seconds.items()}
    known = [by_name[name] for name in names if name in by_name]
    if not known:
        if by_name and isinstance(durations, Mapping):
            warn_caller(f"durations have no effect: {unknown_task(next(iter(by_name)), names)}")
        return None
    mean = sum(known) / len(known)
    return [by_name.get(name, mean) for name in names]


def _checked_name(name: object) -> str:
    if not isinstance(name, str):
        raise TypeError(f"durations must have the names of tasks as keys, not {brief_repr(name)}")
    return name.lower()


def _checked_seconds(name: str, seconds: object) -> float:
    if not is_number(seconds):
        raise TypeError(f"durations[{name!r}] must be a number of seconds, not {brief_repr(seconds)}")
    if not 0 <= seconds <= float_info.max:
        raise ValueError(
            f"durations[{name!r}] must be a number of seconds from 0 on, not {brief_repr(seconds)}"
        )
    return float(seconds)
