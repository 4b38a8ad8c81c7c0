"""Functions that print, for workers that are many: they import this, and no pytest."""

from __future__ import annotations

import contextlib
import ctypes
import io
import logging
import os
import subprocess
import sys
import threading


def talk():
    print("one", 1)
    logging.getLogger("mine").warning("a record")
    print("two\nthree")
    print("four", file=sys.stderr)
    sys.stdout.writelines(["five\n", "si", "x\n"])
    counts = sys.stdout.buffer.write(b"seven \xff\n"), sys.stdout.write("eight\n")
    print("10 %\r20 %\r30 %")
    print("dos\r")
    print()
    print("no end", end="")
    return sys.stdout.isatty(), counts


def first():
    print("of the first")


def second():
    print("of the second")


def speak():
    print("caf\N{LATIN SMALL LETTER E WITH ACUTE}")
    print("\N{SNOWMAN}", file=sys.stderr)
    print(b"\xff".decode(errors="surrogateescape"))


def encodings():
    return [(stream.encoding, stream.errors) for stream in (sys.stdout, sys.stderr)]


def fail():
    print("before")
    sys.stdout.write("the end")
    raise ValueError("wrong")


async def wait():
    import asyncio  # here, because workers import this module

    print("begins")
    await asyncio.sleep(0)
    await asyncio.to_thread(print, "of a thread of the loop")
    print("ends")


def redirect():
    with contextlib.redirect_stdout(io.StringIO()) as inner:
        print("for itself")
    print("outside")
    return inner.getvalue()


def print_bytes():
    sys.stdout.write(b"bytes")  # type: ignore[arg-type]


def write_everywhere():
    print("Python")
    os.write(1, b"descriptor\n")
    subprocess.run([sys.executable, "-c", "print('child')"], check=True)
    subprocess.run("echo shell>&2", shell=True, check=True)
    ctypes.CDLL("ucrtbase" if sys.platform == "win32" else None).puts(b"C")
    thread = threading.Thread(target=print, args=("thread",))
    thread.start()
    thread.join()


class AllButTwo:
    """Becomes, where it is read, a list of all descriptors that may be had but two."""

    def __reduce__(self):
        return take_all_but_two, ()


def take_all_but_two():
    import resource  # here, because Windows has none

    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, most))  # a system may allow a million
    taken = []
    with contextlib.suppress(OSError):
        while True:
            taken.append(os.dup(0))
    for _ in range(2):
        os.close(taken.pop())
    return taken


def let_go(taken):
    for descriptor in taken:
        os.close(descriptor)
    print("let go")
