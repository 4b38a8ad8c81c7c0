"""A first pipeline: one task gives its result to two others, and a last one joins theirs.

Prints::

    2.8
"""

from processes import Process, Task, results_of

load = Task("load", lambda: [3, 1, 4, 1, 5])
total = Task("total", sum, dependencies=results_of("load"))
count = Task("count", len, dependencies=results_of("load"))
mean = Task("mean", lambda a, b: a / b, dependencies=results_of("total", "count"))

report = Process([load, total, count, mean]).run()
print(report.results["mean"])
