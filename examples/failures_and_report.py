"""A task fails: what depends on it is skipped, all else goes on, and the report tells what happened.

Prints::

    apple: success
    pear: errored
    doubled-apple: success
    basket: skipped

    The exception: could not convert string to float: '0.5O'
    Skipped for it: ['basket']
    The variables there: {'fruit': "'pear'", 'text': "'0.5O'"}
    Raised again, as itself: (ValueError("could not convert string to float: '0.5O'"),)
"""

from processes import Process, Task, results_of

PRICES = {"apple": "0.40", "pear": "0.5O"}  # the second ends in the letter O


def price(fruit):
    text = PRICES[fruit]
    return float(text)


process = Process(
    [
        Task("apple", price, args=("apple",)),
        Task("pear", price, args=("pear",)),
        Task("doubled-apple", lambda each: 2 * each, dependencies=results_of("apple")),
        Task("basket", lambda *prices: sum(prices), dependencies=results_of("apple", "pear")),
    ]
)
report = process.run()

for name, entry in report.entries.items():
    print(f"{name}: {entry.status.value}")

error = report.errored["pear"].error
print("\nThe exception:", error.exception)
print("Skipped for it:", error.downstream_impact)
print("The variables there:", error.traced_vars)

try:
    report.raise_for_errors()
except* ValueError as group:
    print("Raised again, as itself:", group.exceptions)
