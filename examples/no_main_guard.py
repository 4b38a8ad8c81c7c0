"""Many processors for one script, without `if __name__ == "__main__"`: workers do not import the script.

Prints::

    9592 primes below 100000
    computed elsewhere: True; still our class: True
"""

import os

from processes import Process, Task, results_of

SIZE = 100_000
PARTS = 8


class Part:
    """A part of the numbers, to show that a script's own classes travel too."""

    def __init__(self, number):
        self.numbers = range(number * SIZE // PARTS, (number + 1) * SIZE // PARTS)
        self.primes = 0
        self.pid = 0


def count_primes(part):
    for number in part.numbers:
        part.primes += number > 1 and all(number % divisor for divisor in range(2, int(number**0.5) + 1))
    part.pid = os.getpid()
    return part


parts = [Task(f"part-{number}", count_primes, args=(Part(number),)) for number in range(PARTS)]
total = Task(
    "total",
    lambda *parts: sum(part.primes for part in parts),
    dependencies=results_of(*parts),
)

report = Process([*parts, total]).run(runner="process")

print(f"{report.results['total']} primes below {SIZE}")
first = report.results["part-0"]
print(f"computed elsewhere: {first.pid != os.getpid()}; still our class: {isinstance(first, Part)}")
