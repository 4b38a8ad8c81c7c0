"""A task that fails now and then is attempted again; one that takes too long is stopped.

Prints::

    ask: 'hello' after 3 attempts
    slow: TimeoutError("Task 'slow' timed out after 0.5s")
"""

import time

from processes import Process, Task

answers = iter([ConnectionError("no route"), TimeoutError("no answer"), "hello"])


def ask():
    """Stand in for a server that answers the third time."""
    answer = next(answers)
    if isinstance(answer, Exception):
        raise answer
    return answer


def too_slow():
    time.sleep(60)


process = Process(
    [
        # Without `retry_on`, errors of connections and time limits are retried; `retry_delay` is in seconds.
        Task("ask", ask, retries=3, retry_delay=0.1),
        # On a worker process the function is stopped for real; a thread can only be left behind.
        Task("slow", too_slow, timeout=0.5, runner="process"),
    ]
)
report = process.run(runner="thread")

ask_entry, slow_entry = report.entries["ask"], report.entries["slow"]
print(f"ask: {ask_entry.result!r} after {ask_entry.attempts} attempts")
print(f"slow: {report.exceptions['slow']!r}")
