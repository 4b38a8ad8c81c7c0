"""The loop of a worker process: claim a ticket, read its attempt, perform it, send how it ended."""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found]  # see surroundings
import atexit
import faulthandler
import os
import pickle
import sys
import threading
from _socket import socket
from contextlib import suppress
from functools import partial

from ...attempt import Attempt, Finished, Raised, Returned, Worker
from ...clock import monotonic
from ...exceptions import SerializationError
from ...perform import perform
from ...serialization.pickling import ARGUMENTS, begin_run, definitions, load
from ..failures import failure_on_the_way
from . import abilities, wire
from .descriptors import some_are_left
from .fitness import Fitness
from .late_import import import_late
from .outcomes import pack_large, pack_outcome
from .settings import Settings
from .variants import make_variant

TYPE_CHECKING: bool = False  # typing is not imported: it would be the costliest part of a worker's start
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from ...serialization.pickling import Buffer, Pickled
    from .buffers import DataFile
    from .kept import KeptHere
    from .output import TurnedOutput
    from .parcel import Parcel


ORPHAN_MILLISECONDS = 5000
"""How often a worker that has nothing to do looks whether its parent is still there."""

SPARE_MILLISECONDS = 50
"""How long a worker that has nothing to do keeps mappings for its next task."""

EXECUTORS_SECONDS = 0.5
"""For executors that are left open to end: half of what a worker has for its end."""

_ABOVE_LINE = f"{__package__}.above_line"  # imported where a progress line was drawn


def serve(socket_fd: int, token_fd: int, crash_fd: int) -> None:
    """Perform attempts until the parent says that it is enough; never returns. See :func:`.boot.main`."""
    # The parent alone decides what a Ctrl-C means. A handler, not SIG_IGN: programs that tasks start
    # would inherit that.
    signal.signal(signal.SIGINT, lambda *_: None)
    if hasattr(signal, "pthread_sigmask"):
        # A program that waits for signals in a thread has blocked them, and we would not hear the parent's.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, abilities.STACK_SIGNAL})
    if crash_fd >= 0:
        faulthandler.enable(crash_fd)
        if abilities.STACK_SIGNAL is not None:
            faulthandler.register(abilities.STACK_SIGNAL, crash_fd, all_threads=False)
    with suppress(ConnectionError):  # the parent is gone
        _Loop(_parents_socket(socket_fd), token_fd).run()
    _write_out()
    _end_executors()
    # The end of the interpreter would wait for threads that tasks have left behind. So: what users have
    # registered for the end (temporary files go by it), and no more.
    atexit._run_exitfuncs()  # noqa: SLF001 - there is no public way short of the interpreter's end
    if (error := _write_out()) is not None:
        lost = f"Not all that tasks have printed in worker process {os.getpid()} could be written: {error}\n"
        with suppress(OSError):
            os.write(2, lost.encode())
    abilities.flush_c_streams()  # last: a thread that was left behind may have the lock of one
    os._exit(0)


def _end_executors() -> None:
    """Let executors end that tasks have left open, or that libraries keep, as the interpreter would.

    Otherwise what `multiprocessing` has registered for the end would wait for their processes. An executor
    that is at work is not waited for long: what is registered for the end is to come to its turn.
    """
    if exits := getattr(threading, "_threading_atexits", ()):
        thread = threading.Thread(target=lambda: [end() for end in reversed(exits)], daemon=True)
        with suppress(RuntimeError):  # the system has no thread left
            thread.start()
            thread.join(EXECUTORS_SECONDS)


def _write_out() -> OSError | None:
    """Write what has been printed and waits in the buffers of the streams; tell why some stays there."""
    failed = None
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BrokenPipeError:  # nobody reads it, so nobody misses it
            pass
        except OSError as error:
            failed = error
        except Exception:  # noqa: S110 - a task may have closed it, or put anything in its place
            pass
    if (above_line := sys.modules.get(_ABOVE_LINE)) is not None:
        above_line.end_lines()
    return failed


def _parents_socket(socket_fd: int) -> socket:
    if socket_fd >= 0:
        return socket(fileno=socket_fd)
    # Windows: a socket is handed over as data that tells the system which one is meant.
    from socket import fromshare  # type: ignore[attr-defined,unused-ignore]

    shared: socket = fromshare(sys.stdin.buffer.read())
    return shared


is_loading = False
"""Whether a function or arguments are being loaded, and modules imported for them, just now."""


def _loaded(load: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    global is_loading
    is_loading = True
    try:
        return load(*args, **kwargs)
    finally:
        is_loading = False


class _Given(Attempt):
    """An attempt as its frame tells it; the function and the arguments are loaded later."""

    __slots__ = ("flags", "layout", "number", "rest")

    def __init__(self, ticket: int, body: bytes | memoryview) -> None:
        self.number, length, self.flags = wire.ATTEMPT_HEAD.unpack_from(body)
        end = wire.ATTEMPT_HEAD.size + length
        description, self.rest = body[wire.ATTEMPT_HEAD.size : end], body[end:]
        frame_filter: str | None = None
        self.layout: Any = None  # of parcels
        if self.flags & wire.NAME_ONLY:
            task_name = str(description, "utf-8", "surrogatepass")
        else:
            task_name, frame_filter, *self.layout = pickle.loads(description)  # noqa: S301 - our own parent
        Attempt.__init__(self, ticket, task_name, _not_loaded, frame_filter=frame_filter)

    def beside(self, function: Callable[..., Any], *args: Any) -> Attempt:
        """Return the attempt at something else that the same task waits for."""
        return Attempt(self.ticket, self.task_name, function, args, frame_filter=self.frame_filter)


def _not_loaded() -> None:
    """Stand for the function until it is loaded."""


class _Sender:
    """Sends whole frames: the loop has some, threads that a task starts and that log, handlers of signals."""

    def __init__(self, sock: socket) -> None:
        self._socket = sock
        self._lock = threading.RLock()  # guards all below
        self._is_sending = False
        self._unsent: list[Buffer] = []
        self._sent: list[int] = []  # bytes of the first of these, in parts

    def send(self, frame: list[Buffer]) -> None:
        """Send a frame, or leave that to whom this has interrupted."""
        with self._lock:
            self._unsent += frame
            if self._is_sending:
                return  # a signal's handler, or a finalizer, logs: what it has struck sends this too
            self._is_sending = True
            try:
                while self._unsent:
                    if "signal" in sys.modules:
                        self._send_some()
                    else:
                        self._socket.sendall(self._unsent[0], wire.NO_SIGNAL)
                        del self._unsent[0]
            finally:
                self._is_sending = False

    def _send_some(self) -> None:
        """Send some of the next piece; what a signal's handler breaks off by raising can be gone on with."""
        piece = memoryview(self._unsent[0])[sum(self._sent) :]
        # Handlers strike between calls: not between this one and the note of how much it has sent.
        self._sent += map(self._socket.send, (piece,), (wire.NO_SIGNAL,))
        if sum(self._sent) == len(self._unsent[0]):
            del self._unsent[0], self._sent[:]


class _Loop:
    def __init__(self, sock: socket, token_fd: int) -> None:
        self._send = _Sender(sock).send
        self._side_channel = wire.take_side_channel(sock)
        self._token_fd = token_fd
        if token_fd >= 0:
            from select import POLLIN, poll  # not on Windows

            self._token = [bytearray(wire.TICKET.size)]
            self._tokens = poll()
            self._tokens.register(token_fd, POLLIN)
        self._reader = wire.FrameReader(sock)
        self._worker = Worker.here("")
        self._parent_pid = os.getppid()
        self._serialized: dict[int, bytes | memoryview | Parcel] = {}  # functions not yet loaded
        self._functions: dict[int, Any] = {}
        self._ticket = 0
        self._settings = Settings()
        self._fitness = Fitness()
        self._preload: list[str] = []  # modules that are still to be imported
        self._initializer: int | None = None  # the number of a function
        self._is_prepared = False  # whether all that has been done for this run
        self._output: TurnedOutput | None = None  # of the attempt, if it is captured
        self._kept: KeptHere | None = None  # the latest result, if it has been left here
        self._drop_spares: Callable[[], None] | None = None  # mappings of large arguments for the next task

    def run(self) -> None:
        own = {"logging": self._set_up_logging, "logging.config": self._set_up_configurations}
        import_late(self._note_import, {**self._settings.acts(), **own})
        self._send(wire.frame(wire.READY, 0, pickle.dumps(os.getpid())))
        while (attempt := self._next_attempt()) is not None:
            self._ticket, body = attempt
            peak_rss = self._perform(body)
            del attempt, body  # what it brought may be large, and the next may be long in coming
            self._ticket = 0
            if not self._fitness.restore(peak_rss, 0 if self._kept is None else self._kept.size):
                self._write_kept()
                self._send(wire.frame(wire.RETIRED, 0))
                return

    def _next_attempt(self) -> tuple[int, bytes | memoryview] | None:
        """Claim the next ticket and find its frame; None at the end."""
        claimed = self._claim() if self._token_fd >= 0 else None
        if claimed == wire.EXIT:
            return None
        while True:
            while not self._reader.frames:
                if not self._reader.receive():
                    return None
            kind, ticket, body = self._reader.frames.popleft()
            if kind == wire.SETUP:
                self._set_up(pickle.loads(body))  # noqa: S301 - from our own parent
            elif kind == wire.WRITE:
                if ticket == claimed:
                    self._write_kept()
                    return self._next_attempt()
            elif kind == wire.FUNCTION:
                self._serialized[ticket] = body
            elif kind == wire.CLASS:
                (class_id,) = wire.CLASS_ID.unpack_from(body)
                definitions[class_id.decode()] = body[wire.CLASS_ID.size :]
            elif kind == wire.LARGE_FUNCTION:
                self._take_large_function(ticket, memoryview(body))
            elif claimed is None or ticket == claimed:
                return ticket, body
            # Else the parent has taken this one back: tickets are claimed in the order of their frames.
            elif wire.ATTEMPT_HEAD.unpack_from(body)[2] & wire.WITH_FILES:
                wire.skip_descriptors(self._side_channel)

    def _take_large_function(self, number: int, body: memoryview) -> None:
        """Take a function in a parcel; if its files do not arrive, an attempt that needs it asks for it."""
        from .parcel import decode, read_message

        (with_files, layouts), inside = read_message(body)
        files = self._receive_files() if with_files else ()
        if files is not None:
            (self._serialized[number],) = decode(layouts, inside, files, "", "func")

    def _receive_files(self) -> Sequence[DataFile] | None:
        """Receive the files of a frame; None, and they are gone, if they need too many descriptors."""
        from .buffers import DataFile

        files = list(map(DataFile, wire.receive_descriptors(self._side_channel) or ()))
        # To read them may need modules that are not imported yet.
        return files if files and some_are_left(files[-1].descriptor) else None

    def _claim(self) -> int:
        give_up_at = 0.0
        while True:
            try:
                # The parent writes whole tickets, and a pipe gives them whole. Eventlet, which tasks may use,
                # makes of `os.read` one that waits.
                count = os.readv(self._token_fd, self._token)
                break
            except BlockingIOError:
                give_up_at = give_up_at or monotonic() + wire.SPIN_SECONDS
                if monotonic() < give_up_at:
                    os.sched_yield()
                elif not self._await_token():
                    return wire.EXIT
        ticket: int = wire.TICKET.unpack(self._token[0])[0] if count else wire.EXIT
        return ticket

    def _await_token(self) -> bool:
        """Sleep until there is a ticket, which the parent may take back yet; False if the parent is gone."""
        if self._drop_spares is not None and not self._tokens.poll(SPARE_MILLISECONDS):
            self._drop_spares()
        while not self._tokens.poll(ORPHAN_MILLISECONDS):
            if os.getppid() != self._parent_pid:
                # The pipe tells it too, but not while a process lives that the parent has forked.
                return False
        return True

    def _set_up(self, setup: tuple[dict[str, Any], int, int | None, list[str], int | None]) -> None:
        """Begin a run in the state that its caller is in."""
        settings, may_keep, most_attempts, self._preload, self._initializer = setup
        self._is_prepared = False
        self._kept = None
        self._serialized.clear()  # numbers of functions hold for one run
        self._functions.clear()
        begin_run()
        self._fitness.begin_run(may_keep, most_attempts)
        self._settings.take_over(settings)
        self._fitness.note_surroundings()

    def _note_import(self) -> None:
        if is_loading:
            self._fitness.note_import()

    def _set_up_logging(self) -> None:
        """Send the parent what is logged, from its levels on."""
        from ..logs import forward_records

        self._settings.set_up("logging")
        forward_records(self._send_record, lambda: is_loading)

    def _set_up_configurations(self) -> None:
        from ..logs import leave_configurations

        leave_configurations(lambda: is_loading)

    def _perform(self, body: bytes | memoryview) -> int:
        """Perform an attempt and send how it ended; return the peak memory of this process, in bytes."""
        given = _Given(self._ticket, body)
        task_name, may_keep = given.task_name, bool(given.flags & wire.MAY_STAY)
        if not given.flags & wire.WITH_KEPT:
            self._write_kept()
        files = self._receive_files() if given.flags & wire.WITH_FILES else ()
        if files is None:
            return self._ask_again()
        if not self._is_prepared:
            failure = self._prepare(given)
            if failure is not None:
                return self._answer(failure, task_name, may_keep=False)
        elif given.flags & wire.ANNOUNCE:
            self._announce_start()
        try:
            is_loaded = self._load_call(given, files)
        except SerializationError as error:
            finished = self._not_begun(error)
        else:
            if not is_loaded:
                return self._ask_again()
            del files  # none need be open meanwhile
            if given.flags & wire.CAPTURE:
                self._output = self._turn_output()
            finished = perform(given, self._worker, owns_process=True)
            if self._output is not None:
                self._turn_output_back(self._output)
            else:
                _write_out()  # what a later task does to this process is not to cost it
        del given  # its arguments may be large
        try:
            return self._answer(finished, task_name, may_keep=may_keep)
        finally:
            del finished  # an exception's frames lead to this one, which is not to lead back to it

    def _ask_again(self) -> int:
        """Ask for the same attempt without files, since those that it needs have not arrived."""
        self._send(wire.frame(wire.RESEND, self._ticket))
        return 0

    def _load_call(self, given: _Given, files: Sequence[DataFile]) -> bool:
        """Load a function and its arguments; False if files that the function needs have not arrived."""
        number, flags, arguments = given.number, given.flags, given.rest
        pattern, values, bound = number, None, 0
        if flags & wire.VARIANT:
            pattern, length, bound = wire.VARIANT_HEAD.unpack_from(arguments)
            end = wire.VARIANT_HEAD.size + length
            values, arguments = arguments[wire.VARIANT_HEAD.size : end], arguments[end:]
        function = self._functions.get(pattern if bound else number)
        if function is None:
            if pattern not in self._functions and pattern not in self._serialized:
                return False
            function = self._function(pattern, given.task_name)
            if values is not None and not bound:
                function = self._functions[number] = make_variant(function, values)
            if flags & wire.ANNOUNCE:
                self._announce_start()  # anew: what importing its module took is not the call's time
        if flags & wire.NO_ARGUMENTS:
            pass
        elif flags & wire.IN_PARCELS:
            given.args, given.kwargs = self._load_parcels(given, memoryview(arguments), files)
        else:
            given.args, given.kwargs = _loaded(load, arguments, task_name=given.task_name, what=ARGUMENTS)
        if values is not None and bound:
            function = make_variant(function, values, given.args[:bound])
            given.args = given.args[bound:]
        given.func = function
        if self._drop_spares is not None:
            self._drop_spares()
        return True

    def _turn_output(self) -> TurnedOutput | None:
        """Let what the function prints go to a file; None if there is no room for one."""
        from .output import TurnedOutput

        try:
            output = TurnedOutput()
        except OSError:
            return None
        if (shared := output.share(self._side_channel)) is not None:
            self._send(wire.frame(wire.OUTPUT_FILE, self._ticket, shared))
        return output

    def _turn_output_back(self, output: TurnedOutput) -> None:
        self._output = None
        if text := output.close():
            self._send(wire.frame(wire.OUTPUT, self._ticket, text))

    def _prepare(self, given: _Given) -> Finished | None:
        """Do what comes before the first call of a run; tell how this attempt ended if that failed."""
        if self._settings.misplaced is not None:
            return self._not_begun(self._settings.misplaced)
        if self._preload and (failure := self._import_modules(given)) is not None:
            return failure
        if given.flags & wire.ANNOUNCE:
            self._announce_start()
        if (
            self._initializer is not None
            and (failure := self._initialize(given, self._initializer)) is not None
        ):
            return failure
        self._is_prepared = True
        return None

    def _import_modules(self, given: _Given) -> Finished | None:
        """Import what the pool shall have before the first attempt; tell how it ended if it failed."""
        while self._preload:
            attempt = given.beside(__import__, self._preload[0])
            finished: Finished = _loaded(perform, attempt, self._worker, owns_process=True)
            if isinstance(finished.outcome, Raised):
                return finished
            del self._preload[0]
        self._fitness.keep_changes()
        return None

    def _initialize(self, given: _Given, number: int) -> Finished | None:
        """Call the pool's initializer for the first attempt of a run; tell how it ended if it failed."""
        try:
            function = self._function(number, given.task_name, "initializer")
        except SerializationError as error:
            return self._not_begun(error)
        finished = perform(given.beside(function), self._worker, owns_process=True)
        if isinstance(finished.outcome, Raised):
            return finished
        self._settings.keep_filters()
        self._fitness.keep_changes()
        return None

    def _not_begun(self, error: BaseException) -> Finished:
        """Tell the end of an attempt whose function could not be called."""
        return Finished.unmeasured(self._ticket, failure_on_the_way(error), self._worker)

    def _answer(self, finished: Finished, task_name: str, *, may_keep: bool) -> int:
        if self._kept is not None and isinstance(finished.outcome, Raised):
            self._write_kept()  # the report of the failure shows it
        self._kept = None
        keep = partial(self._keep, task_name) if may_keep else None
        how, parts = pack_outcome(finished.outcome, task_name, self._send_files, keep)
        self._fitness.seconds += finished.elapsed_seconds
        self._send(wire.result_frame(self._ticket, finished, how, *parts))
        return finished.peak_rss_bytes

    def _function(self, number: int, task_name: str, what: str = "func") -> Any:
        """Return a function, which is loaded when it is first needed."""
        function = self._functions.get(number)
        if function is None:
            data = self._serialized[number]
            self._fitness.begin_loading()
            if isinstance(data, (bytes, memoryview)):
                function = _loaded(load, data, task_name=task_name, what=what)
            else:
                function = _loaded(data.load, task_name)
            self._functions[number] = function
            del self._serialized[number]
            self._fitness.end_loading()
            self._settings.filter_warnings_anew()
        return function

    def _load_parcels(
        self, given: _Given, inside: memoryview, files: Sequence[DataFile]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Load arguments that are in parcels; mappings of their files may serve the next task too."""
        from .parcel import load_arguments

        kept = None if self._kept is None else self._kept.hand_on()
        loaded: tuple[tuple[Any, ...], dict[str, Any]] = _loaded(
            load_arguments, given.layout, inside, files, given.task_name, kept
        )
        if self._token_fd >= 0:
            from .mappings import drop_spares, keep_spares

            keep_spares()
            self._drop_spares = drop_spares
        return loaded

    def _keep(self, task_name: str, value: Any, pickled: Pickled) -> None:
        from .kept import KeptHere

        self._kept = KeptHere(self._ticket, task_name, value, pickled)

    def _write_kept(self) -> None:
        """Send what is kept, if anything is."""
        if (kept := self._kept) is None:
            return
        self._kept = None
        if kept.pickled is None:  # the function that had it may have changed it
            how, parts = pack_outcome(Returned(kept.value), kept.task_name, self._send_files)
        else:
            how, parts = pack_large(kept.pickled, kept.task_name, self._send_files)
        self._send(wire.frame(wire.WRITTEN, kept.ticket, wire.HOW.pack(how), *parts))

    def _send_files(self, files: list[DataFile]) -> bool:
        return wire.send_descriptors(self._side_channel, [file.descriptor for file in files])

    def _announce_start(self) -> None:
        self._send(wire.frame(wire.STARTED, self._ticket, wire.CLOCK.pack(monotonic())))

    def _send_record(self, record: bytes) -> None:
        # A process that a task forked would write into the middle of what this one writes.
        if self._ticket and os.getpid() == self._worker.pid:
            if (output := self._output) is not None:
                with suppress(OSError):  # a thread that was left behind logs while it is closed
                    self._send(wire.frame(wire.OUTPUT_SO_FAR, self._ticket, wire.LENGTH.pack(output.size())))
            self._send(wire.frame(wire.RECORD, self._ticket, record))
