"""As many tasks as there turn out to be: one run finds them, the next one does them, on the same workers.

A graph is known before it runs. Where only a result tells how many tasks there are, that is two graphs.

Prints::

    6 tasks, 6 succeeded: text-0, text-1, text-2, text-3, text-4, total
    1500 words in 5 texts
    the workers of the second run are those of the first: True
"""

from pathlib import Path

from processes import Process, ProcessPoolRunner, Task, results_of


def write_texts():
    """Stand in for a server or a folder of which nobody knows what it has."""
    paths = [Path(f"text-{number}.txt") for number in range(5)]
    for number, path in enumerate(paths):
        path.write_text("word " * 100 * (number + 1))
    return paths


def count_words(path):
    return len(path.read_text().split())


def add_up(*counts):
    return sum(counts)


with ProcessPoolRunner(2) as workers:
    first = Process([Task("find", write_texts)]).run(runner=workers)
    paths = first.results["find"]

    tasks = [Task(path.stem, count_words, args=(path,)) for path in paths]
    tasks.append(Task("total", add_up, dependencies=results_of(*tasks)))
    second = Process(tasks).run(runner=workers)

print(f"{len(second.entries)} tasks, {len(second.successes)} succeeded: {', '.join(second.entries)}")
print(f"{second.results['total']} words in {len(paths)} texts")
before, after = ({one.pid for one in report.metrics.values()} for report in (first, second))
print(f"the workers of the second run are those of the first: {before <= after}")
