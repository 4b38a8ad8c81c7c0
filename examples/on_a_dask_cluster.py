"""A graph on a Dask cluster: here one of this machine; an address in its place reaches many.

Needs dask.distributed: ``pip install distributed``.

Prints::

    read-spring: None, it stayed on the cluster
    words-spring: 60000
    read-autumn: None, it stayed on the cluster
    words-autumn: 80000
    longest: 80000
"""

from processes import DaskRunner, Process, Task, results_of


def read(name, lines):
    """Stand in for a large file."""
    return [f"line {number} of {name}" for number in range(lines)]


def count_words(lines):
    return sum(len(line.split()) for line in lines)


def main():
    tasks = []
    for name, lines in (("spring", 15_000), ("autumn", 20_000)):
        tasks += [
            Task(f"read-{name}", read, args=(name, lines), keep_result=False),
            Task(f"words-{name}", count_words, dependencies=results_of(f"read-{name}")),
        ]
    tasks.append(Task("longest", max, dependencies=results_of("words-spring", "words-autumn")))

    with DaskRunner(n_workers=2) as runner:  # or DaskRunner("tcp://scheduler:8786")
        report = Process(tasks).run(runner=runner)
    report.raise_for_errors()
    for name, result in report.results.items():
        print(f"{name}: {result}" + (", it stayed on the cluster" if result is None else ""))


if __name__ == "__main__":  # Dask starts its workers as multiprocessing does
    main()
