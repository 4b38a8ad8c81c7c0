"""The first steps of a worker process: its guard, then its loop.

Where the system allows (see :mod:`.abilities`) two processes are made of one. The first stays as the guard:
it sees the worker or the parent end, kills all that descends from the worker, in sessions of its own too, and
ends as the worker did. The second is the worker.
"""

from __future__ import annotations

import os
import signal

from .abilities import CHILDREN_FILE

GRACE_SECONDS = 0.2  # from SIGTERM to SIGKILL: a guess, enough for a handler that removes a file
LEAVE_SECONDS = 1.0  # for a worker that was told to end, with its atexit handlers

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36  # prctl(2)


def main(parent_pid: int, guarded: int, socket_fd: int, token_fd: int, crash_fd: int) -> None:
    """Begin a worker process; called by the command line that the pool builds.

    Parameters
    ----------
    parent_pid : int
        The process that started this one.
    guarded : int
        1 for a worker with a guard, 0 for one without.
    socket_fd : int
        The worker's end of its socket; -1 where the parent sends it by standard input.
    token_fd : int
        The end of the token pipe to read from; -1 for none.
    crash_fd : int
        The file for what faulthandler writes; -1 for none.
    """
    for descriptor in (socket_fd, token_fd, crash_fd):
        if descriptor >= 0:
            os.set_inheritable(descriptor, False)
    if guarded:
        _fork_worker(parent_pid)
    from .worker import serve

    serve(socket_fd, token_fd, crash_fd)


def _fork_worker(parent_pid: int) -> None:
    """Return in a new process, the worker; this one becomes its guard."""
    import ctypes

    prctl = ctypes.CDLL(None, use_errno=True).prctl
    prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    parent = os.pidfd_open(parent_pid)
    if os.getppid() != parent_pid:
        os._exit(0)  # the parent was gone before we looked, and the descriptor names somebody else
    guard_pid = os.getpid()
    worker_pid = os.fork()
    if worker_pid:
        _guard(parent, worker_pid)
    prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)  # should anybody kill the guard
    if os.getppid() != guard_pid:
        os._exit(0)
    os.close(parent)


def _guard(parent: int, worker_pid: int) -> None:
    """Wait until the worker or the parent ends, or the parent asks for the end; never returns.

    SIGTERM ends the worker now, SIGUSR1 in `LEAVE_SECONDS` unless it ends by itself.
    """
    import select
    from time import monotonic

    # All but the three standard streams and what is made below belongs to the worker alone.
    os.dup2(parent, 3)
    os.closerange(4, 256 if os.sysconf("SC_OPEN_MAX") < 0 else min(os.sysconf("SC_OPEN_MAX"), 1 << 16))
    parent = 3
    worker = os.pidfd_open(worker_pid)
    asked, bell = os.pipe()
    os.set_blocking(bell, False)
    for ignored in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(ignored, signal.SIG_IGN)
    for heard in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(heard, lambda *_: None)
    signal.set_wakeup_fd(bell)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())

    poll = select.poll()
    for descriptor in (parent, worker, asked):
        poll.register(descriptor, select.POLLIN)
    kill_at: float | None = None
    while True:
        left = None if kill_at is None else max(0.0, kill_at - monotonic()) * 1000
        ready = {descriptor for descriptor, _ in poll.poll(left)}
        if worker in ready or parent in ready or (kill_at is not None and monotonic() >= kill_at):
            _end_with_all_children(worker_pid)
        if asked in ready:
            if signal.SIGTERM in os.read(asked, 64):
                os.kill(worker_pid, signal.SIGTERM)
                kill_at = monotonic() + GRACE_SECONDS
            elif kill_at is None:
                kill_at = monotonic() + LEAVE_SECONDS


def _end_with_all_children(worker_pid: int) -> None:
    """Kill the worker and all that descends from it, then end as the worker ended."""
    status = 0
    # As a subreaper we inherit the children of those that we kill, so the list fills again until none
    # is left. A process that ends between the look and the kill is ours to reap, so no other has its pid.
    while children := _children():
        for child in children:
            os.kill(child, signal.SIGKILL)
        for child in children:
            pid, child_status = os.waitpid(child, 0)
            if pid == worker_pid:
                status = child_status
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        _die_by(-code)
    os._exit(code)


def _children() -> list[int]:
    with open(CHILDREN_FILE.format(os.getpid())) as file:  # noqa: PTH123 - pathlib costs 5 ms
        return [int(pid) for pid in file.read().split()]


def _die_by(number: int) -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # the worker has written its core already
    if number not in (signal.SIGKILL, signal.SIGSTOP):
        signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
