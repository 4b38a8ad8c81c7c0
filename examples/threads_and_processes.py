"""One graph, two kinds of work: what waits runs on threads, what computes runs on processes.

Prints::

    fetch-north ran on a thread
    fingerprint-north ran on a process
    fetch-south ran on a thread
    fingerprint-south ran on a process
    fetch-west ran on a thread
    fingerprint-west ran on a process
    {'fingerprint-north': 'a9e23b01', 'fingerprint-south': 'af330966', 'fingerprint-west': '15d16ec1'}
"""

import hashlib
import threading

from processes import Process, Task, results_of

SERVERS = ("north", "south", "west")
all_connected = threading.Barrier(len(SERVERS))


def fetch(server):
    """Stand in for a download: it waits until all three are under way."""
    all_connected.wait(timeout=30)
    return server.encode() * 1000


def fingerprint(data):
    """Compute for a while."""
    return hashlib.pbkdf2_hmac("sha256", data, b"salt", 200_000).hex()[:8]


tasks = []
for server in SERVERS:
    # A barrier cannot travel to another process; on threads it need not.
    tasks += [
        Task(f"fetch-{server}", fetch, args=(server,), runner="thread"),
        Task(f"fingerprint-{server}", fingerprint, dependencies=results_of(f"fetch-{server}")),
    ]

report = Process(tasks, runner="process").run()

for name in report.results:
    kind, _, _number = report.metrics[name].worker.partition("-")
    print(f"{name} ran on a {kind}")
print({name: text for name, text in report.results.items() if name.startswith("fingerprint")})
