"""The first steps of a worker process: its guard, then its loop.

Where the system allows (see :mod:`.abilities`) two processes are made of one. The first stays as the guard:
it sees the worker or the parent end, kills all that descends from the worker, in sessions of its own too, and
ends as the worker did. The second is the worker.
"""

from __future__ import annotations

import _io  # io itself takes longer
import _signal as signal  # type: ignore[import-not-found]  # see surroundings
import os
import select
import sys
from contextlib import suppress

from .abilities import CHILDREN_FILE

TYPE_CHECKING: bool = False  # typing is not imported: it would be the costliest part of a worker's start
if TYPE_CHECKING:
    from typing import Any

GRACE_SECONDS = 0.2  # from SIGTERM to SIGKILL: a guess, enough for a handler that removes a file
CLEAR_LINE = b"\r\x1b[2K"  # what a worker writes before its own line, where there is a progress line
ERROR_BYTES = 4096  # of standard error: a page, enough for what an interpreter says at its end
LEAVE_SECONDS = 1.0  # for a worker that was told to end, with its atexit handlers
LEAVE_BUSILY_SECONDS = 10.0  # for one that computes meanwhile: tools write then what they have measured
# Together less than what the parent gives a guard to end.
TRACKER_SECONDS = 10.0  # for a resource tracker of multiprocessing to come up and remove what others leave
READ_SECONDS = 0.5  # for whoever reads standard error to go on, when the worker has ended

MARK = "PROCESSES_WORKER_BOOTS"
"""An environment variable that is set for a worker's start and gone when it has come so far as here.

A program that finds it set was started in a worker's place: what should be an interpreter is none.
"""

_READ_BYTES = 1 << 16  # at a time, of standard error
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36  # prctl(2)


def main(parent_pid: int, guarded: int, socket_fd: int, token_fd: int, crash_fd: int, stderr_fd: int) -> None:
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
        The file of this process's last words; -1 for none. In it stand, with zeros between them: what was
        written to standard error until now, what faulthandler writes, the exit code, the peak memory in
        bytes, and the end of what was written to standard error later.
    stderr_fd : int
        Where standard error is to go from now on; -1 where the parent's is closed.
    """
    os.environ.pop(MARK, None)
    _forget_the_command()
    for descriptor in (socket_fd, token_fd, crash_fd, stderr_fd):
        if descriptor >= 0:
            os.set_inheritable(descriptor, False)
    if hasattr(signal, "SIGCHLD"):
        # Ignored, as it may be in the parent, it would hide how our own children end.
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        # A worker is in the terminal's background; it is not to be stopped when a task writes or reads there.
        for ignored in (signal.SIGTTOU, signal.SIGTTIN):
            signal.signal(ignored, signal.SIG_IGN)
    if crash_fd >= 0:
        _write_down(crash_fd, b"\0")
    if guarded:
        _fork_worker(parent_pid, crash_fd, stderr_fd, (socket_fd, token_fd))
    elif crash_fd >= 0:
        written = _turn_stderr(crash_fd, stderr_fd)
        with suppress(OSError):
            os.write(2, written)
    if crash_fd >= 0:
        _make_stderr_anew()
    from .worker import serve

    serve(socket_fd, token_fd, crash_fd)


def _forget_the_command() -> None:
    """Let no traceback show lines of our command for those of a text that a function executes.

    From Python 3.13 on `linecache` has them for the file "<string>", and that is what both are called.
    """
    linecache = sys.modules.get("linecache")
    if linecache is not None:
        linecache.cache.pop("<string>", None)
        getattr(linecache, "_interactive_cache", {}).clear()  # from Python 3.14 on


def _make_stderr_anew() -> None:
    """Make the stream once more: the old one remembers that one could seek in the crash file, its first."""
    old: Any = sys.stderr
    if type(old) is not _io.TextIOWrapper:  # there is none, or something else was put in its place
        return
    file = _io.FileIO(2, "w", closefd=False)
    file.name = old.name
    buffer: Any = file if old.write_through else _io.BufferedWriter(file)
    options = old.encoding, old.errors, None, old.line_buffering, old.write_through
    stream: Any = _io.TextIOWrapper(buffer, *options)
    stream.mode = old.mode
    sys.stderr = sys.__stderr__ = stream  # type: ignore[misc]


def _turn_stderr(crash_fd: int, stderr_fd: int) -> bytes:
    """Let standard error go from the crash file to where the parent's goes; return what stands there."""
    written = os.pread(crash_fd, 1 << 16, 0).partition(b"\0")[0]
    if stderr_fd < 0:
        stderr_fd = os.open(os.devnull, os.O_WRONLY)
    os.dup2(stderr_fd, 2)
    os.close(stderr_fd)
    return written


def _fork_worker(parent_pid: int, crash_fd: int, stderr_fd: int, connections: tuple[int, int]) -> None:
    """Return in a new process, the worker, which alone has its connections; this one becomes its guard."""
    import ctypes

    prctl = ctypes.CDLL(None, use_errno=True).prctl
    prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    parent = _open_parent(parent_pid)
    guard_pid = os.getpid()
    errors, errors_in = os.pipe()
    # A guard that has a worker hears these before it has handlers too: ended by one of them, it could neither
    # end what the worker leaves nor tell how the worker ended.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM, signal.SIGUSR1))
    worker_pid = os.fork()
    if worker_pid:
        # Other descriptors stay open: a debugger, which follows us into new processes, has some of its own.
        for descriptor in (errors_in, *connections):
            if descriptor >= 0:
                os.close(descriptor)
        written = _turn_stderr(crash_fd, stderr_fd)
        _Guard(parent, worker_pid, errors, crash_fd, written).watch()
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)  # should anybody kill the guard
    if os.getppid() != guard_pid:
        os._exit(0)
    os.dup2(errors_in, 2)
    for descriptor in (parent, errors, errors_in, stderr_fd):
        if descriptor >= 0:
            os.close(descriptor)


def _open_parent(parent_pid: int) -> int:
    """Return a pidfd of the process that has started this one; does not return if that is not the parent."""
    try:
        parent = os.pidfd_open(parent_pid)
    except ProcessLookupError:
        os._exit(0)
    if os.getppid() == parent_pid:
        return parent
    if not select.select((parent,), (), (), 0)[0]:
        # What the parent knows, and sends signals to, is not us.
        message = b"The interpreter of workers is started by a program in between, which must `exec` it.\n"
        os.write(2, message)
        os._exit(1)
    os._exit(0)  # the parent was gone before we looked


def _write_down(crash_fd: int, words: bytes) -> None:
    """Write into the file of last words, which there may be no room for (RLIMIT_FSIZE)."""
    with suppress(OSError):
        os.write(crash_fd, words)


class _Guard:
    """The process that outlives the worker, to end what it leaves and to tell how it ended.

    SIGTERM ends the worker now. SIGUSR1 asks for that when it has computed nothing in `LEAVE_SECONDS`, or in
    `LEAVE_BUSILY_SECONDS`, unless it ends by itself. What the worker and its children write to standard error
    passes through here; its end is kept for the error of a death. Where nobody reads standard error, the
    worker waits, and not its guard.

    Parameters
    ----------
    parent : int
        The pidfd of the process that started the worker.
    worker_pid : int
        The worker.
    errors : int
        The end to read from of the pipe that is the worker's standard error.
    crash_fd : int
        The file that takes what there is to tell.
    written : bytes
        What is to go to standard error before all else.
    """

    def __init__(self, parent: int, worker_pid: int, errors: int, crash_fd: int, written: bytes) -> None:
        self._parent, self._errors, self._crash_fd = parent, errors, crash_fd
        self._worker_pid = worker_pid
        self._worker = os.pidfd_open(worker_pid)
        self._computed = 0.0
        self._asked, bell = os.pipe()
        self._error_tail = b""
        self._unwritten = written  # to standard error; while there is any, no more is read
        os.set_blocking(bell, False)
        os.set_blocking(self._errors, False)
        for ignored in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGPIPE):
            signal.signal(ignored, signal.SIG_IGN)
        for heard in (signal.SIGTERM, signal.SIGUSR1):
            signal.signal(heard, lambda *_: None)
        signal.set_wakeup_fd(bell)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        # Bytes: a pipe that has room takes so many at once, and may let wait who has more.
        self._most = _READ_BYTES if _never_wait_for_stderr() else select.PIPE_BUF
        self._until_errors, self._until_room = select.poll(), select.poll()
        for descriptor in (self._parent, self._worker, self._asked):
            self._until_errors.register(descriptor, select.POLLIN)
            self._until_room.register(descriptor, select.POLLIN)
        self._until_errors.register(self._errors, select.POLLIN)
        self._until_room.register(2, select.POLLOUT)

    def watch(self) -> None:
        """Wait for an end: the worker's, the parent's, or the one that is asked for; never returns."""
        from time import monotonic

        kill_at: float | None = None
        longest = 0.0  # until when that is put off
        while True:
            left = None if kill_at is None else max(0.0, kill_at - monotonic()) * 1000
            poll = self._until_room if self._unwritten else self._until_errors
            ready = {descriptor for descriptor, _ in poll.poll(left)}
            if 2 in ready:
                self._write_errors()
            if self._errors in ready and not self._read_errors():
                self._until_errors.unregister(self._errors)  # nobody has it open any more
            if kill_at and kill_at <= monotonic() < longest and self._has_computed():
                kill_at += LEAVE_SECONDS
            if self._worker in ready or self._parent in ready or (kill_at and monotonic() >= kill_at):
                self._end()
            if self._asked in ready:
                if signal.SIGTERM in os.read(self._asked, 64):
                    os.kill(self._worker_pid, signal.SIGTERM)
                    kill_at, longest = monotonic() + GRACE_SECONDS, 0.0
                elif kill_at is None:
                    kill_at, longest = monotonic() + LEAVE_SECONDS, monotonic() + LEAVE_BUSILY_SECONDS
                    self._has_computed()

    def _has_computed(self) -> bool:
        """Tell whether the worker has had a hundredth of a processor's time since this was asked last."""
        from time import clock_gettime

        before, self._computed = self._computed, 0.0
        with suppress(OSError):
            # Where Linux counts that of another process: see clock_getcpuclockid(3), which Python lacks.
            self._computed = clock_gettime(~self._worker_pid << 3 | 2)
        return self._computed - before > LEAVE_SECONDS / 100

    def _read_errors(self) -> bool:
        """Read once what the worker has written to standard error; False at its end."""
        try:
            self._unwritten = os.read(self._errors, _READ_BYTES)
        except BlockingIOError:
            return False
        self._error_tail = (self._error_tail + self._unwritten)[-ERROR_BYTES:]
        return bool(self._unwritten)

    def _write_errors(self) -> None:
        """Write on what was read; called when there is room, so it does not wait."""
        try:
            written = os.write(2, self._unwritten[: self._most])
        except BlockingIOError:
            return  # another worker's guard has taken the room
        except OSError:
            written = len(self._unwritten)  # nobody hears it; its end is kept all the same
        self._unwritten = self._unwritten[written:]

    def _write_last_errors(self) -> None:
        """Read and write all that is left, as long as somebody reads it."""
        is_read = True
        while self._unwritten or self._read_errors():
            is_read = is_read and bool(select.select((), (2,), (), READ_SECONDS)[1])
            if is_read:
                self._write_errors()
            else:
                self._unwritten = b""

    def _end(self) -> None:
        """Kill the worker and all that descends from it, tell how that was, end as the worker ended."""
        status, peak_rss = _end_with_all_children(self._worker_pid)
        self._write_last_errors()
        code = os.waitstatus_to_exitcode(status)
        _write_down(self._crash_fd, b"\0%d\0%d\0" % (code, peak_rss) + self._error_tail)
        if code < 0:
            _die_by(-code)
        os._exit(code)


def _never_wait_for_stderr() -> bool:
    """See to it that a write to standard error never waits for room; False if that cannot be done."""
    from stat import S_ISREG

    if S_ISREG(os.fstat(2).st_mode):
        return True
    # O_NONBLOCK belongs to what is open, and the parent has the same. So it is opened anew.
    try:
        descriptor = os.open("/proc/self/fd/2", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError:  # a socket, or another user's terminal
        return False
    os.dup2(descriptor, 2)
    os.close(descriptor)
    return True


def _end_with_all_children(worker_pid: int) -> tuple[int, int]:
    """Kill the worker and all that descends from it; return its exit status and peak memory in bytes."""
    # The worker by its own number: the list of children may leave out one that ends just now (proc(5)).
    with suppress(PermissionError):  # it has become another user's; we wait until it ends
        os.kill(worker_pid, signal.SIGKILL)
    _, status, usage = os.wait4(worker_pid, 0)
    # As a subreaper we inherit the children of those that we kill, so the list fills again until none
    # is left. A process that ends between the look and the kill is ours to reap, so no other has its pid.
    while children := _children():
        # Trackers come last: they remove shared memory by themselves, as soon as all others are gone.
        mortal = [child for child in children if not _is_resource_tracker(child)]
        if not mortal:
            mortal = children
            _await_end(children, TRACKER_SECONDS)
        for child in mortal:
            with suppress(PermissionError):
                os.kill(child, signal.SIGKILL)
        for child in mortal:
            os.wait4(child, 0)
    return status, usage.ru_maxrss * 1024


def _children() -> list[int]:
    with open(CHILDREN_FILE.format(os.getpid()), "rb") as file:
        return [int(pid) for pid in file.read().split()]


def _is_resource_tracker(pid: int) -> bool:
    ended = os.pidfd_open(pid)
    command = b""
    try:
        for _ in range(100):
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                command = file.read()
            # One that is just being started has none yet, and one that has ended none any more.
            if command or select.select((ended,), (), (), 0.01)[0]:
                break
    except OSError:  # it is another user's, and hidden
        pass
    finally:
        os.close(ended)
    return b"resource_tracker" in command


def _await_end(children: list[int], seconds: float) -> None:
    """Wait until children have ended, or until the time is over."""
    from time import monotonic

    give_up_at = monotonic() + seconds
    for child in children:
        descriptor = os.pidfd_open(child)
        select.select((descriptor,), (), (), max(0.0, give_up_at - monotonic()))
        os.close(descriptor)


def _die_by(number: int) -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # the worker has written its core already
    if number not in (signal.SIGKILL, signal.SIGSTOP):
        signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
