"""A first pipeline: one task gives its result to two others, and a last one joins theirs.

Prints::

    2.8
"""

from processes import Process, Task, TaskDependency


def result_of(name):
    return TaskDependency(name, use_result_as_additional_args=True)


load = Task("load", lambda: [3, 1, 4, 1, 5])
total = Task("total", sum, dependencies=[result_of("load")])
count = Task("count", len, dependencies=[result_of("load")])
mean = Task("mean", lambda a, b: a / b, dependencies=[result_of("total"), result_of("count")])

report = Process([load, total, count, mean]).run()
print(report.results["mean"])
