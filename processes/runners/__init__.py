"""The runners, one module each, and the choice among them.

Worker processes import this package, so it imports nothing before it is needed.
"""

from __future__ import annotations

from ..reprs import brief_repr

TYPE_CHECKING: bool = False  # typing is not imported: it would be the costliest part of a worker's start
if TYPE_CHECKING:
    from collections.abc import Callable

    from .base import ProcessRunner

AUTOMATIC_PARALLEL_TASKS = 10  # from so many tasks on, ``parallel=None`` means threads


def _sequential(max_workers: int | None) -> ProcessRunner:  # noqa: ARG001 - there is one, always
    from .sequential import SequentialRunner

    return SequentialRunner()


def _thread(max_workers: int | None) -> ProcessRunner:
    from .thread import ThreadRunner

    return ThreadRunner(max_workers)


def _process(max_workers: int | None) -> ProcessRunner:
    from .pool.runner import ProcessPoolRunner

    return ProcessPoolRunner(max_workers)


def _dask(max_workers: int | None) -> ProcessRunner:
    from .dask.runner import DaskRunner

    return DaskRunner() if max_workers is None else DaskRunner(n_workers=max_workers)


RUNNERS: dict[str, Callable[[int | None], ProcessRunner]] = {
    "sequential": _sequential,
    "thread": _thread,
    "process": _process,
    "dask": _dask,
}


def make_runner(runner: str | ProcessRunner, max_workers: int | None = None) -> ProcessRunner:
    """Give the runner that a name stands for; a runner instance stands for itself.

    Raises
    ------
    TypeError
        If it is neither str nor ProcessRunner.
    ValueError
        If no runner has this name.
    """
    from .base import ProcessRunner

    if isinstance(runner, ProcessRunner):
        return runner
    if not isinstance(runner, str):
        raise TypeError(
            f"runner must be str or ProcessRunner, not {brief_repr(runner)}: "
            "write 'thread', ThreadRunner(8), ExecutorRunner(executor) or DaskRunner(client)"
        )
    if runner not in RUNNERS:
        from ..checks import did_you_mean

        known = ", ".join(repr(name) for name in RUNNERS)
        nearest = did_you_mean(runner, RUNNERS)
        raise ValueError(f"unknown runner {brief_repr(runner)}; the known ones are {known}{nearest}")
    return RUNNERS[runner](max_workers)


def choose_runner(
    runner: str | ProcessRunner | None, parallel: bool | None, max_workers: int | None, task_count: int
) -> ProcessRunner:
    """Decide what runs a process: the runner asked for, or what `parallel` says.

    Parameters
    ----------
    runner : str or ProcessRunner, optional
        What was asked for.
    parallel, max_workers
        As given to :meth:`processes.Process.run`.
    task_count : int
        How many tasks there are.
    """
    from ..checks import check_count, is_int

    _check_parallel(parallel)
    if is_int(max_workers):
        max_workers = max(1, max_workers)
    check_count("max_workers", max_workers)
    if runner is None:
        if parallel is None:
            parallel = task_count >= AUTOMATIC_PARALLEL_TASKS
        return make_runner("thread" if parallel and max_workers != 1 else "sequential", max_workers)
    chosen = make_runner(runner, max_workers)
    if chosen is runner and max_workers is not None:
        raise ValueError(
            f"max_workers={max_workers!r} has no effect on a runner instance; "
            f"leave it out, or give it to {type(runner).__name__} where that takes it"
        )
    if parallel is not None and parallel == (chosen.name == "sequential"):
        raise ValueError(
            f"parallel={parallel} contradicts runner={brief_repr(runner)}; leave out one of both"
        )
    return chosen


def _check_parallel(parallel: object) -> None:
    if parallel is not None and not isinstance(parallel, bool):
        from .base import ProcessRunner

        shown, hint = brief_repr(parallel), ""
        if isinstance(parallel, (str, ProcessRunner)):
            hint = f"; write runner={shown}"
        elif isinstance(parallel, int):
            hint = f"; write parallel=True, max_workers={shown}"
        elif isinstance(parallel, (list, tuple)):
            hint = "; tasks belong to a Process: write Process([…]).run()"
        raise TypeError(f"parallel must be bool or None, not {shown}{hint}")
