"""One worker as its parent sees it: a process, a socket, a token pipe, and what it was given."""

from __future__ import annotations

import _socket
import os
import signal
import subprocess
import sys
from collections import deque
from contextlib import suppress
from errno import ENOTCONN
from time import sleep
from typing import IO, TYPE_CHECKING

from ...attempt import NOBODY
from ...clock import monotonic
from ...memory import own_memory
from ...perform import CALLERS, format_stack
from ...serialization.pickling import LARGE, load
from ..stacks import places_in, unescape
from . import abilities, wire
from .boot import CLEAR_LINE, ERROR_BYTES, GRACE_SECONDS, LEAVE_BUSILY_SECONDS, LEAVE_SECONDS, MARK
from .death import Death
from .descendants import kill_descendants
from .frozen import inheritable_handle
from .launch import behind_redirector, command, inheritance
from .settings import tell_resource_tracker

if TYPE_CHECKING:
    from ...serialization.pickling import Buffer
    from .family import Family
    from .jobs import Job
    from .kept import Kept
    from .output import WrittenOutput
    from .shipment import Shipment

_CRASH_BYTES = 1 << 16  # of what faulthandler wrote; a stack is seldom over 10 KB
# For a worker to write its stack, which takes a millisecond: so far are looks apart, more on a busy machine.
_STACK_LOOKS = 400
_SERIALIZATION = os.path.dirname(load.__code__.co_filename)
_CALLERS = CALLERS | {
    load.__code__.co_filename,
    os.path.join(_SERIALIZATION, "rebuild.py"),
    os.path.join(_SERIALIZATION, "rebuild_classes.py"),
    os.path.join(os.path.dirname(__file__), "worker.py"),
}
"""The files with the frames of ours that are next to the user's in a worker."""

_OF_AN_IMPORT = '  File "<frozen importlib._bootstrap>"'  # where a stack begins that no user's call is in
_IMPORTING = (
    "The function was not called yet: a new worker first imports what it needs, with the same limit.\n"
    "ProcessPoolRunner(preload=(…)) has modules imported before."
)

MOST_BACKLOG = LARGE + wire.CHUNK
"""Bytes that an idle worker may have still to be sent: the rest of a frame whose attempt was taken back."""

_END_SECONDS = 15.0  # for a process that was told to end now, on a busy machine too


class Child:
    """A worker process.

    Parameters
    ----------
    label : str
        Its name in reports, as in ``process-2``.
    program : str
        The interpreter to start it with.
    environment : dict of str to str
        Its environment variables.

    Attributes
    ----------
    held : dict of int to Job
        What it was given and has not answered, by ticket, in the order in which it was given.
    has : set of Shipment
        What it was sent that attempts of this run need.
    who : Worker
        Who it is for the report; `NOBODY` until it has come up.
    busy_since : float
        Since when it has been at the first of what it holds, in seconds on the monotonic clock.
    side_channel : socket or None
        Takes and brings descriptors of files; None where there is none.
    connected : bool
        Whether its socket is open and watched.
    waits_to_send : bool
        Whether its socket is watched for room to send.
    kept : Kept or None
        The result that it keeps and has not written, for the job that it may get or has got.
    output : WrittenOutput or None
        What the attempt that it is at prints, if that is captured.
    inherited : tuple
        What :func:`inheritance` told when it was started.
    """

    def __init__(self, label: str, program: str, environment: dict[str, str]) -> None:
        self.label = label
        self.inherited = inheritance()
        self.held: dict[int, Job] = {}
        self.has: set[Shipment] = set()
        self.who = NOBODY
        self.busy_since = monotonic()
        self.connected = True
        self.waits_to_send = False
        self._exclusive = False  # nothing stands in line behind what it holds
        self._next_rank = 0  # of what may become ready by what it holds, the most urgent's
        self._next_after = 0  # the ticket of that after which it may
        self.kept: Kept | None = None
        self.output: WrittenOutput | None = None
        self._end_at: float | None = None  # when it is killed if it is still there, on the monotonic clock
        self._deaf = False  # it was gone before it got anything of the latest job
        # To be sent, with the ticket of an attempt that may be taken back before, or 0.
        self._frames: deque[tuple[int, list[Buffer]]] = deque()
        self._outbox: list[Buffer] = []  # of frames that are being sent
        self._new_tickets: list[int] = []
        self.exit_fd = self._token_read = self._token_write = -1
        self.side_channel: _socket.socket | None = None
        self._crash_file: IO[bytes] | None = None
        self._family: Family | None = None

        self.socket, theirs = wire.socket_pair()
        try:
            self.reader = wire.FrameReader(self.socket)
            self.side_channel = wire.open_side_channel(self.socket)
            self._start_process(theirs, program, {**environment, MARK: "1"})
            if abilities.CAN_GUARD:
                self.exit_fd = os.pidfd_open(self.process.pid)
        except BaseException:
            if hasattr(self, "process"):
                self.process.kill()
                self.process.wait()
            self._close_descriptors()
            raise
        finally:
            theirs.close()  # our copy would hold the socket open, and its end would never show

    # In a group of its own: a terminal's Ctrl-C is for us, who decide what it means for workers.
    if sys.platform == "win32":

        def _start_process(self, theirs: _socket.socket, program: str, environment: dict[str, str]) -> None:
            from .family import Family

            # Only a process that runs can be given a socket, so it comes by standard input.
            program, variables = behind_redirector(program)
            words, start = command(program, -1, -1, -1, -1)
            handles = [inheritable_handle(start)] if start >= 0 else []
            try:
                self.process = subprocess.Popen(  # noqa: S603
                    words,
                    stdin=subprocess.PIPE,
                    stdout=_outlet(sys.__stdout__),
                    stderr=_outlet(sys.__stderr__),
                    creationflags=subprocess.CREATE_NEW_PROCESS_GROUP,
                    startupinfo=subprocess.STARTUPINFO(lpAttributeList={"handle_list": handles}),
                    env={**environment, **variables},
                )
            except OSError as error:
                error.filename = program  # Windows does not say what it has not found
                raise
            finally:
                if start >= 0:
                    os.close(start)
            with suppress(OSError):
                self._family = Family(int(self.process._handle))  # noqa: SLF001 - there is no public way
            assert self.process.stdin is not None
            self.process.stdin.write(theirs.share(self.process.pid))
            self.process.stdin.close()

    else:

        def _start_process(self, theirs: _socket.socket, program: str, environment: dict[str, str]) -> None:
            if abilities.CAN_TAKE_BACK:
                self._token_read, self._token_write = os.pipe()
                # Neither of the two readers may wait in a read: the other may take what it waits for.
                os.set_blocking(self._token_read, False)
            self._crash_file = _crash_file()
            stderr = _copy_of_stderr()
            tracker, _ = tell_resource_tracker() or (-1, None)
            passed = (theirs.fileno(), self._token_read, self._crash_file.fileno(), stderr)
            start = -1
            try:
                words, start = command(program, *passed)
                self.process = subprocess.Popen(  # noqa: S603
                    words,
                    stdin=subprocess.DEVNULL,
                    stdout=_stdout(),
                    stderr=self._crash_file,  # until it boots, so that the error can tell why it does not
                    process_group=0,
                    pass_fds=[descriptor for descriptor in (*passed, start, tracker) if descriptor >= 0],
                    env=environment,
                )
            finally:
                for descriptor in (stderr, start):
                    if descriptor >= 0:
                        os.close(descriptor)

    # Sending

    def takes(self, job: Job, share: int) -> bool:
        """Tell whether a job can be given to it, when it may hold `share` of them."""
        if not self.held:
            return self.kept is None or not self.kept.is_asked_for
        return (
            not self._exclusive
            and len(self.held) < share
            and (job.attempt.rank < self._next_rank or self._nothing_comes_before(job))
        )

    def _nothing_comes_before(self, job: Job) -> bool:
        """Tell whether a job is more urgent than all that may become ready by what the worker holds."""
        if self._next_after not in self.held:
            self._next_rank, self._next_after = min(
                (held.attempt.next_rank, ticket) for ticket, held in self.held.items()
            )
        return job.attempt.rank < self._next_rank

    def ask_for_kept(self) -> None:
        """Ask, by the next :meth:`flush`, for the result that the worker keeps; it takes no job before."""
        assert self.kept is not None
        self.kept.is_asked_for = True
        self._frames.append((0, wire.frame(wire.WRITE, self.kept.ticket)))
        self._new_tickets.append(self.kept.ticket)

    def give(self, job: Job) -> None:
        """Put a job in line for :meth:`flush`, with its ticket."""
        ticket = job.attempt.ticket
        if not self.held:
            self.busy_since = monotonic()
        if not self.held or job.attempt.next_rank < self._next_rank:
            self._next_rank, self._next_after = job.attempt.next_rank, ticket
        self.held[ticket] = job
        self._exclusive = job.kept is not None
        function = job.function.pattern or job.function
        if function not in self.has:
            self.ship_once(*function.classes, function)
        if job.classes:
            self.ship_once(*job.classes)
        if job.files:
            self._ship(job, ticket)
        else:
            self._frames.append((ticket, job.frame))
        self._new_tickets.append(ticket)

    def ship_once(self, *needed: Shipment) -> None:
        """Ship what the worker does not have yet."""
        for shipment in needed:
            if shipment not in self.has:
                self.has.add(shipment)
                self._ship(shipment)

    def _ship(self, shipment: Shipment, ticket: int = 0) -> None:
        if shipment.files:
            if wire.send_descriptors(self.side_channel, [file.descriptor for file in shipment.files]):
                ticket = 0  # the frame has to follow them
            else:
                shipment.do_without_files()
        self._frames.append((ticket, shipment.frame))

    def flush(self) -> bool:
        """Send what the socket takes, and the tickets; True when nothing is left to send.

        A worker that is gone takes nothing: that shows at its end, not here. One that can be sent no more
        would wait for the rest of a frame, so it is ended.
        """
        reached = False
        try:
            while self._outbox or self._frames:
                if not self._outbox:
                    self._fill_outbox()
                sent = self.socket.send(self._outbox[0], wire.NO_SIGNAL)
                reached = True
                if sent < len(self._outbox[0]):
                    self._outbox[0] = memoryview(self._outbox[0])[sent:]
                else:
                    del self._outbox[0]
        except BlockingIOError:
            pass
        except OSError as error:
            self._outbox.clear()
            self._frames.clear()
            if isinstance(error, ConnectionError) or error.errno == ENOTCONN:
                self._deaf = bool(self._new_tickets) and not reached
            else:
                self._new_tickets.clear()  # whoever would get these jobs next could be sent no more of them
                self.kill()
        # Behind the frames, so that the worker does not wake up for a ticket to wait for its frame.
        if self._new_tickets and self._token_write >= 0:
            os.write(self._token_write, b"".join(map(wire.TICKET.pack, self._new_tickets)))
        self._new_tickets.clear()
        return not (self._outbox or self._frames)

    def _fill_outbox(self) -> None:
        """Take small frames in one piece, or the next one: a system call costs more than a copy."""
        frames = self._frames
        small: list[Buffer] = []
        size = 0
        while frames:
            _, frame = frames[0]
            for piece in frame:
                size += len(piece)
            if size > wire.CHUNK:
                break
            small += frame
            frames.popleft()
        self._outbox = [b"".join(small)] if small else frames.popleft()[1][:]

    @property
    def backlog(self) -> int:
        """How many bytes it has still to be sent."""
        pieces = [*self._outbox, *(piece for _, frame in self._frames for piece in frame)]
        return sum(map(len, pieces))

    def take_back(self) -> list[Job]:
        """Take back the jobs that the worker has not begun; of one that is dead too.

        The pipe gives each ticket to one reader, so what is read here the worker never claims.
        """
        tickets = self._new_tickets[:]
        self._new_tickets.clear()
        if self._token_read >= 0:
            # Two more: it may have been told to write what it keeps, and to end.
            data, count = bytearray(wire.TICKET.size * (len(self.held) + 2)), 0
            with suppress(BlockingIOError):
                count = os.readv(self._token_read, [data])  # eventlet has an os.read that waits
            tickets[:0] = [ticket for (ticket,) in wire.TICKET.iter_unpack(data[:count])]
        elif self._deaf:
            tickets = list(self.held)
        taken = {ticket: self.held.pop(ticket) for ticket in tickets if ticket in self.held}
        if self._frames:
            self._frames = deque(item for item in self._frames if item[0] not in taken)
        return list(taken.values())

    # Ending

    def is_fit(self) -> bool:
        """Tell whether the process lives, and has what it would have if it started now."""
        return self.process.poll() is None and self.inherited == inheritance()

    def leave(self) -> None:
        """Ask the worker to end by itself; its guard, or :meth:`close`, sees to it that it does."""
        if self._end_at is not None:
            return
        guards = LEAVE_BUSILY_SECONDS + _END_SECONDS
        self._end_at = monotonic() + (guards if abilities.CAN_GUARD else LEAVE_SECONDS)
        with suppress(OSError):
            self.socket.shutdown(_socket.SHUT_WR)
        if self._token_write >= 0:
            os.write(self._token_write, wire.TICKET.pack(wire.EXIT))
        self._signal(signal.SIGUSR1 if abilities.CAN_GUARD else None)

    def kill(self) -> None:
        """End the worker and all that it has started, now; without a guard :meth:`has_ended` sees to it."""
        self._kill_descendants()
        self._end_at = monotonic() + (_END_SECONDS if abilities.CAN_GUARD else GRACE_SECONDS)
        self._signal(signal.SIGTERM)

    def has_ended(self) -> bool:
        """Tell whether the process is gone; one that has not heeded :meth:`kill` in time is killed."""
        if self.process.poll() is not None:
            return True
        if self._end_at is not None and monotonic() >= self._end_at:
            self._kill_for_good()
        return False

    def _kill_for_good(self) -> None:
        self._kill_descendants()
        with suppress(PermissionError):
            self.process.kill()

    def _kill_descendants(self) -> None:
        if self._family is not None:
            self._family.kill()
        elif not abilities.CAN_GUARD:
            kill_descendants(self.process.pid)

    def _signal(self, number: signal.Signals | None) -> None:
        with suppress(PermissionError):  # the program has become another user's since the start
            if number is not None:
                self.process.send_signal(number)
            if sys.platform != "win32":
                self.process.send_signal(signal.SIGCONT)  # where somebody has stopped it, it would not hear

    def own_memory(self) -> int:
        """Return the bytes of memory that the worker shares with nobody; 0 if it is gone or not yet up."""
        return 0 if self.who is NOBODY else own_memory(self.who.pid)

    def stack(self) -> str:
        """Ask the worker, which may be in C code, for its Python stack; empty if it does not say."""
        if self._crash_file is None or abilities.STACK_SIGNAL is None or self.who is NOBODY:
            return ""
        descriptor = self._crash_file.fileno()
        before = os.fstat(descriptor).st_size
        with suppress(OSError):
            # Where the worker has just ended, its guard has reaped it, and for as long as we have not seen
            # that end the system is most unlikely to have given its pid to another process.
            os.kill(self.who.pid, abilities.STACK_SIGNAL)
        text = ""
        for _ in range(_STACK_LOOKS):
            sleep(0.001)
            text = unescape(os.pread(descriptor, _CRASH_BYTES, before).decode(errors="replace"))
            if any(file in text for file in _CALLERS):
                break
        stack = format_stack(places_in(text), _CALLERS)  # the most recent call last
        return f"{stack}{_IMPORTING}" if stack.startswith(_OF_AN_IMPORT) else stack

    def close(self) -> Death:
        """Wait until the process is gone and let go of all that belongs to it; return how it ended."""
        left = _END_SECONDS if self._end_at is None else max(0.0, self._end_at - monotonic())
        try:
            try:
                code = self.process.wait(left)
            except subprocess.TimeoutExpired:
                self._kill_for_good()
                code = self.process.wait()
            return self._read_death(code)
        finally:
            self._close_descriptors()

    def leave_to_parent(self) -> None:
        """Let go of it in a process that was forked from the one that has started it."""
        self.process.returncode = 0  # or `subprocess` would complain that it is still running
        self._close_descriptors()

    def _read_death(self, code: int | None) -> Death:
        """Read the crash file; see :func:`processes.runners.pool.boot.main`."""
        pid = self.who.pid or self.process.pid
        if self._crash_file is None:
            return Death(pid, code)
        self._crash_file.seek(0)
        text = self._crash_file.read(_CRASH_BYTES).replace(CLEAR_LINE, b"").decode(errors="replace")
        boot, stack, guards_code, peak_rss, stderr = (text.split("\0", 4) + [""] * 4)[:5]
        if guards_code:  # the system does not tell us, where we ignore SIGCHLD
            code = int(guards_code)
        elif code == 0 and _cares_for_children():
            code = None
        if self.who is NOBODY:
            stack, stderr = "", (boot + stack + stderr)[-ERROR_BYTES:]
        return Death(pid, code, unescape(stack), int(peak_rss) if peak_rss else None, stderr)

    def _close_descriptors(self) -> None:
        self.socket.close()
        if self.side_channel is not None:
            self.side_channel.close()
        for descriptor in (self._token_read, self._token_write, self.exit_fd):
            if descriptor >= 0:
                os.close(descriptor)
        if self._crash_file is not None:
            self._crash_file.close()
        if self._family is not None:
            self._family.close()


def _outlet(stream: IO[str] | None) -> int | None:
    """Return where a worker writes what the program would write to a stream: the same, or nowhere.

    One that was closed when the program began is None, as those of a program with windows are on Windows. Its
    number may be anything of ours.
    """
    return subprocess.DEVNULL if stream is None else None


def _stdout() -> int:
    """Return the descriptor of our standard output, whether or not programs inherit it; or nowhere."""
    with suppress(OSError):  # it has been closed since the program began
        if _outlet(sys.__stdout__) is None:
            os.fstat(1)
            return 1
    return subprocess.DEVNULL


def _copy_of_stderr() -> int:
    """Return a descriptor of our standard error; -1 where it is closed."""
    import fcntl

    if _outlet(sys.__stderr__) is not None:
        return -1
    try:
        return fcntl.fcntl(2, fcntl.F_DUPFD_CLOEXEC, 3)  # not below: a closed stream's number may be free
    except OSError:
        return -1


def _crash_file() -> IO[bytes]:
    """Make the file of a worker's last words.

    Without a folder to write in it keeps nothing: what is to be read there helps, and is not needed.
    """
    try:
        descriptor = abilities.anonymous_file("processes-crash")
    except OSError:
        descriptor = os.open(os.devnull, os.O_RDWR)
    return os.fdopen(descriptor, "w+b")


def _cares_for_children() -> bool:
    """Tell whether somebody else may have heard how a worker has ended; `subprocess` makes a zero of that."""
    return sys.platform != "win32" and signal.getsignal(signal.SIGCHLD) != signal.SIG_DFL
