"""Functions that log, for workers that are many: they import this, and no pytest."""

from __future__ import annotations

import logging
import pickle
import threading
from pathlib import Path

from processes import Process, Task


def chatty(message: str) -> str:
    logging.getLogger("chatty.app").warning("warned: %s", message)
    logging.getLogger("chatty.app").debug("not heard: %s", message)
    logging.getLogger("chatty.quiet").info("informed: %s", message)
    logging.getLogger("chatty.alone").error("alone: %s", message)
    return message


def chatty_failure(message: str) -> None:
    number = len(message)
    try:
        raise KeyError(number)
    except KeyError:
        logging.getLogger("chatty.app").exception("handled")
    raise ValueError(message)


def pay() -> None:
    logger = logging.getLogger("chatty.pay")
    logger.warning("password is %s", "hunter2")
    logger.warning("noise")
    logger.log(35, "notice")
    logging.getLogger("chatty.disabled").warning("not heard")


def log_from_a_thread() -> None:
    thread = threading.Thread(target=logging.getLogger("chatty.app").warning, args=("from a thread",))
    thread.start()
    thread.join()


class WithCode(Exception):
    """It pickles, and cannot be read back: its arguments are not what it is made of."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(f"{text} {code}")


class Detached:
    def __init__(self) -> None:
        self.lock = threading.Lock()

    def __repr__(self) -> str:
        raise RuntimeError("detached")

    def __str__(self) -> str:
        return "thing"


def log_odd_things() -> int:
    of_its_own = type("OfItsOwn", (), {"__module__": __name__, "__qualname__": "OfItsOwn"})
    globals()["OfItsOwn"] = of_its_own
    odd = {"error": WithCode("x", code=3), "detached": Detached(), "own": of_its_own(), "pair": (1, [2])}
    odd |= {
        "large": bytearray(2_000_000),
        "array": pickle.PickleBuffer(bytes(200_000)),
        "known": {"lock": threading.Lock(), "why": "odd", "where": ["here"]},
    }
    logging.getLogger("chatty.app").warning("odd %s", Detached(), extra=odd)
    return 1


def log_odd_error() -> int:
    try:
        error = ValueError("odd")
        vars(error)[threading.Lock()] = 3
        raise error
    except ValueError:
        logging.getLogger("chatty.app").exception("failed")
    return 1


class Unprintable:
    def __str__(self) -> str:
        raise KeyError("str")

    def __repr__(self) -> str:
        raise KeyError("repr")


def log_unprintable() -> int:
    logging.getLogger("chatty.app").warning(Unprintable())
    logging.getLogger("chatty.app").warning("%s", Unprintable())
    # As a program has it that logs what another one has written as JSON.
    foreign = {"name": "chatty.json", "msg": "failed", "levelno": logging.ERROR, "exc_info": "ValueError: x"}
    logging.getLogger("chatty.json").handle(logging.makeLogRecord(foreign))
    return 1


def log_with_a_name_of_ours() -> None:
    logging.getLogger("chatty.app").warning("counted", extra={"log_files": 3})


def log_with_a_reason() -> None:
    logging.getLogger("chatty.app").warning("rejected %s", "it", extra={"reason": "late"})


def log_and_return(message: str) -> str:
    logging.getLogger("chatty.app").error(message)
    return message


def read_number(text: str) -> int:
    logging.getLogger("chatty.inner").warning("reading")
    return int(text)


def run_what_fails(text: str, log_path: Path | None = None) -> None:
    Process([Task("inner", read_number, log_path, args=(text,))]).run(runner="sequential")
