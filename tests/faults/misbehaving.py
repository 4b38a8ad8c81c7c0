"""Functions that do harm, for workers that are many, or have little time: they import no pytest with this."""

from __future__ import annotations

import atexit
import ctypes
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

from processes.runners.pool import wire


class Bomb:
    """A value that does something to the process that reads it."""

    def __init__(self, call: Callable[..., object], *args: object) -> None:
        self.reduced = (call, args)

    def __reduce__(self) -> Any:
        return self.reduced


def mark(folder: str | Path, number: int) -> int:
    with Path(folder, str(number)).open("a") as file:
        file.write("x")
    return number


def mark_and_maybe_die(folder: str, number: int, dies: bool) -> int:
    mark(folder, number)
    if dies:
        os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))
    return number


def mark_and_maybe_hang(folder: Path, number: int, hangs: bool) -> int:
    mark(folder, number)
    if hangs:
        sleep_on()
    return number


def sleep_on() -> None:
    time.sleep(3600)


def loop() -> None:
    while True:
        pass


def compute_in_c() -> int:
    return (2**300_000_000) ** 2  # minutes with the GIL held


def ignore_sigterm() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGINT])
    time.sleep(3600)


def start_child_in_another_session(pid_file: str) -> None:
    child = subprocess.Popen(["sleep", "300"], start_new_session=True)
    Path(pid_file).write_text(str(child.pid))
    time.sleep(3600)


def await_text_and_fail(file: str) -> None:
    while not (Path(file).exists() and Path(file).read_text()):
        time.sleep(0.005)
    raise ValueError("seen")


def send_guard_and_exit(number: int) -> None:
    """Send the guard a signal, as soon as it has its handlers, and leave it to tell of our end."""
    guard = os.getppid()
    while not _catches(guard, signal.SIGUSR1):  # the last one
        time.sleep(0.001)
    os.kill(guard, number)
    os._exit(3)


def _catches(pid: int, number: int) -> bool:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (mask,) = [line.split()[1] for line in lines if line.startswith("SigCgt:")]
    return bool(int(mask, 16) >> (number - 1) & 1)


def write_much_and_exit(text: str) -> None:
    os.write(2, text.encode())
    os._exit(3)


def signal_mask() -> set[int]:
    return signal.pthread_sigmask(signal.SIG_BLOCK, ())


def tell_and_ignore_sigterm(pid_file: str) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    Path(pid_file).write_text(str(os.getpid()))
    time.sleep(3600)


def clean_up_on_sigterm(file: str) -> str:
    """Be called again and again until an attempt that was ended has had the time to leave a file."""

    def clean_up(*_: object) -> None:
        time.sleep(0.05)  # what removing some files may take
        Path(file).touch()

    if Path(file).exists():
        return "cleaned up"
    signal.signal(signal.SIGTERM, clean_up)
    time.sleep(3600)
    return "never ended"


def await_end(pid_file: str) -> None:
    import psutil

    while not (Path(pid_file).exists() and (pid := Path(pid_file).read_text())):
        time.sleep(0.01)
    while psutil.pid_exists(int(pid)):
        time.sleep(0.01)


def start_stubborn_family(folder: str) -> None:
    """Start children deaf to SIGTERM: a plain one, one in a session of its own, one without its parent."""
    command = ["sh", "-c", 'trap "" TERM; : > "$0/$$"; exec sleep 60', folder]
    for how in ("plain", "session", "orphan"):
        if how == "orphan":
            if os.fork() == 0:
                subprocess.Popen(command)
                os._exit(0)
        else:
            subprocess.Popen(command, start_new_session=how == "session")
    while len(os.listdir(folder)) < 3:
        time.sleep(0.01)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(3600)


def stop(what: str) -> None:
    os.kill(os.getppid() if what == "guard" else os.getpid(), signal.SIGSTOP)
    time.sleep(3600)


def tell_and_stop(pid_file: Path) -> None:
    pid_file.write_text(str(os.getpid()))
    os.kill(os.getpid(), signal.SIGSTOP)
    time.sleep(3600)


def share(name_file: Path, end: str) -> None:
    from multiprocessing import shared_memory  # in the worker alone: tests of others need a program without

    shared = shared_memory.SharedMemory(create=True, size=1000)
    name_file.write_text(shared.name)
    if end == "killed":
        os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))
    elif end == "exits":
        os._exit(3)
    elif end == "past its limit":
        time.sleep(3600)


def overflow_the_stack() -> None:
    """Let the C library's parser of regular expressions call itself for each parenthesis."""
    libc = ctypes.CDLL(None)
    libc.regcomp(ctypes.create_string_buffer(256), b"(" * 5_000_000, 1)


def send_half(how: str) -> None:
    """Send the beginning of a result on the worker's socket, and end."""
    whole = b"".join(wire.frame(wire.RESULT, 1, bytes(20 if how == "small" else 1_000_000)))
    for descriptor in range(3, 256):
        with suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as sock:
            if sock.family == socket.AF_UNIX:
                # At once, or not at all: nobody reads more than a byte from the side channel.
                sock.send(whole[:7] if how == "header" else whole[: len(whole) // 2], socket.MSG_DONTWAIT)
    os._exit(3)


def meet(folder: str, name: str, count: int) -> int:
    """Leave a file, wait until there are so many, and tell the process id."""
    Path(folder, name).write_text(str(os.getpid()))
    while len(os.listdir(folder)) < count:
        time.sleep(0.005)
    return os.getpid()


_SLOW_TO_END = """
import os, sys, time
release, give_up_at = sys.argv[1], time.monotonic() + float(sys.argv[2])
while not os.path.exists(release):
    if time.monotonic() > give_up_at:
        sys.exit()
    time.sleep(0.01)
with open(release, "a") as file:
    file.write("seen ")
"""
_left: list[subprocess.Popen[bytes]] = []


def meet_beside_what_is_slow_to_end(folder: str, name: str, count: int, release: str, seconds: float) -> int:
    """Meet others, and leave a process of a kind that a guard gives the time to end."""
    command = [sys.executable, "-c", _SLOW_TO_END, release, str(seconds), "resource_tracker"]
    _left.append(subprocess.Popen(command))
    return meet(folder, name, count)


def meet_and_wait(folder: str, name: str) -> None:
    meet(folder, name, 0)
    time.sleep(3600)


def kill_other(*pids: int) -> int:
    """Kill the process that is not this one, and tell how many there were."""
    import psutil

    others = [psutil.Process(pid) for pid in pids if pid != os.getpid()]
    for other in others:
        other.kill()
        with suppress(psutil.NoSuchProcess):
            while other.status() != psutil.STATUS_ZOMBIE:
                time.sleep(0.001)
    return len(others)


def add_line(file: str, number: int, dies: bool) -> int:
    with Path(file).open("a") as lines:
        lines.write(f"{number} {os.getpid()}\n")
    if dies:
        os._exit(5)
    return number


def die() -> None:
    os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))


def die_once(path: Path) -> str:
    if path.exists():
        return "lives"
    path.touch()
    os._exit(0)


def note(path: Path, number: int, *_: object) -> int:
    with path.open("a") as file:
        file.write(f"{number}\n")
    return number


def make_and_tell(path: Path) -> np.ndarray:
    import numpy as np

    note(path, os.getpid())
    return np.ones(200_000)


def kill_from(path: Path) -> None:
    os.kill(int(path.read_text()), signal.SIGKILL)


def len_after_an_hour(value: bytes) -> int:
    time.sleep(3600)  # where the worker has received all before it is killed
    return len(value)


def fork_and_die(child_file: str) -> None:
    if os.fork() == 0:
        Path(child_file).write_text(str(os.getpid()))
        time.sleep(60)
        os._exit(0)
    while not Path(child_file).exists() or not Path(child_file).read_text():
        time.sleep(0.005)
    os._exit(7)


def close_everything() -> str:
    os.closerange(3, 1000)
    return "closed"


def kill_my_guard() -> None:
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(3600)


def print_to_stderr() -> None:
    print("and another", file=sys.stderr, flush=True)


def start_child_that_is_waited_for() -> int:
    """Start a child that this process does not leave behind when it ends."""
    import multiprocessing  # in the worker alone

    child = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(3600,))
    child.start()
    return child.pid or 0


KEPT: list[object] = []  # by this process, whatever ends


def leak(megabytes: int) -> int:
    KEPT.append(bytearray(b"x") * (megabytes << 20))
    return os.getpid()


def start_thread(what: str) -> int:
    if what == "loop":
        threading.Thread(target=wait_for_ever).start()
    elif what == "timer":
        threading.Timer(3600, os._exit, args=(1,)).start()
    elif what == "sleep":
        threading.Thread(target=time.sleep, args=(3600,), daemon=True).start()
    elif what == "ended":
        thread = threading.Thread(target=int)
        thread.start()
        thread.join()
    else:
        from concurrent.futures import ThreadPoolExecutor  # most workers need none

        pool = ThreadPoolExecutor(1)
        KEPT.append(pool)
        if what == "pool-at-work":
            pool.submit(wait_for_ever)
        else:
            pool.submit(int).result()
    return os.getpid()


def wait_for_ever() -> None:
    threading.Event().wait()


def act(fault: str, mark: str, number: int, given: object, *values: int) -> Any:
    """Leave a mark, then do what the fault says."""
    with Path(mark).open("a") as file:
        file.write("x")
    if fault == "raises":
        raise ValueError(f"fault of {number}")
    if fault == "leaves":
        raise SystemExit(number)
    if fault == "returns what cannot travel":
        return {"lock": threading.Lock()}
    if fault == "exits":
        os._exit(number)
    if fault == "is killed":
        os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))
    if fault == "returns what ends its reader":
        return Bomb(os._exit, 1)
    if fault == "takes too long":
        time.sleep(3600)
    return number + sum(values)


def take(megabytes: int, seconds: float) -> int:
    block = bytearray(megabytes << 20)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        block[::4096] = b"x" * len(block[::4096])
    return len(block)


def take_and_tell(megabytes: int) -> int:
    take(megabytes, 0)
    return os.getpid()


def read_null() -> None:
    ctypes.string_at(0)


def hang_at_the_end() -> int:
    atexit.register(time.sleep, 3600)
    return os.getpid()


def compute_at_the_end(seconds: float, file: Path) -> None:
    def compute() -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            pass
        file.touch()

    atexit.register(compute)


# What they import, they import themselves: a worker with little time has this module to import.


def log_and_square(number: int) -> int:
    import logging

    for line in range(5):
        logging.getLogger("a.library").warning("line %d of %d", line, number)
    return number**2


def log_and_fail() -> None:
    import logging

    logging.getLogger("a.library").warning("about to fail")
    raise ValueError("failed as it should")


def remove_and_return(log: str) -> str:
    import logging
    import shutil

    logging.getLogger("a.library").warning("before")
    # A worker's records are written by the program, which may make the file anew while it is removed.
    deadline = time.monotonic() + 30
    while "before" not in Path(log).read_text():
        assert time.monotonic() < deadline, "the record has not been written"
        time.sleep(0.001)
    shutil.rmtree(Path(log).parent)
    return "removed"
