"""A graph on a pool that the program has for other work too: any executor of `concurrent.futures`.

Prints::

    the pool's own work: [1, 4, 9]
    on an executor: 285
    a failure is the same anywhere: ZeroDivisionError: division by zero, with {'number': '0'}
"""

from concurrent.futures import ProcessPoolExecutor

from processes import ExecutorRunner, Process, Task, results_of


def square(number):
    return number * number


def invert(number):
    return 1 / number


def main():
    squares = [Task(f"square-{number}", square, args=(number,)) for number in range(10)]
    total = Task("total", lambda *numbers: sum(numbers), dependencies=results_of(*squares))
    process = Process([*squares, total, Task("invert", invert, args=(0,))])

    with ProcessPoolExecutor(2) as executor:
        report = process.run(runner=ExecutorRunner(executor))
        print("the pool's own work:", list(executor.map(square, [1, 2, 3])))

    print(f"on an {report.runner}:", report.results["total"])
    error = report.errored["invert"].error
    text = error.traceback_str.splitlines()[-1]
    print(f"a failure is the same anywhere: {text}, with {error.traced_vars}")


if __name__ == "__main__":  # ProcessPoolExecutor needs this, where it does not fork
    main()
