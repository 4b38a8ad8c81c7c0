"""A report as a page to pass on, and as a trace to look at in ui.perfetto.dev.

One price cannot be read, and one connection fails twice before it holds. The page shows both: in the timeline
of the workers, in the graph, and with all that is known. It does not show the key to the shop.

Prints::

    report.html shows 12 tasks, 2 of them skipped because parse-north failed
    trace.json holds 12 attempts and 7 arrows
"""

import hashlib
import json
import time

from processes import Process, Task, TaskDependency, results_of

REGIONS = ("north", "south", "west")
PRICES = {"north": "2.4O", "south": "1.90", "west": "3.10"}  # the first ends in the letter O
answers = iter([ConnectionError("reset by peer"), ConnectionError("reset by peer"), b"rates"])


def fetch(region, *, api_key):  # noqa: ARG001 - nobody asks for it here
    time.sleep(0.1)  # stands in for a shop that wants the key
    return PRICES[region]


def parse(text):
    return float(text)


def weigh(price):
    digest = hashlib.pbkdf2_hmac("sha256", str(price).encode(), b"salt", 100_000)
    return price * (1 + digest[0] / 256)


def fetch_rates():
    time.sleep(0.05)
    answer = next(answers)
    if isinstance(answer, Exception):
        raise answer
    return answer


tasks = [Task("fetch-rates", fetch_rates, runner="thread", retries=2, retry_delay=0.02)]
for region in REGIONS:
    key = {"api_key": "shop-4711-0815"}
    tasks += [
        Task(f"fetch-{region}", fetch, args=(region,), kwargs=key, runner="thread"),
        Task(f"parse-{region}", parse, dependencies=results_of(f"fetch-{region}")),
        Task(f"weigh-{region}", weigh, dependencies=results_of(f"parse-{region}")),
    ]
tasks += [
    Task("south-and-west", max, dependencies=results_of("weigh-south", "weigh-west")),
    Task("catalogue", max, dependencies=[TaskDependency("fetch-rates"), *results_of("weigh-north")]),
]
report = Process(tasks, name="prices", runner="process").run()

page = report.to_html("report.html")
assert "shop-4711-0815" not in page
(failed,) = report.errored
skipped = f"{len(report.skipped)} of them skipped because {failed} failed"
print(f"report.html shows {len(report.entries)} tasks, {skipped}")

events = json.loads(report.to_chrome_trace("trace.json"))["traceEvents"]
phases = [event["ph"] for event in events]
print(f"trace.json holds {phases.count('X')} attempts and {phases.count('f')} arrows")
