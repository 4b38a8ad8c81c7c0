"""A run that fails on its way goes on where it was; an edited function runs again, with all that is below it.

Prints::

    loading 3 numbers
    The first run ends with: disk full
    The second one took load, squares from the checkpoint and wrote [1, 4, 9]
    The third one took load from the checkpoint and wrote [1, 8, 27]
"""

import tempfile
from pathlib import Path

from processes import Process, Task, results_of


def load(count):
    print(f"loading {count} numbers")
    return list(range(1, count + 1))


def squares(numbers):
    return [number**2 for number in numbers]


def cubes(numbers):
    return [number**3 for number in numbers]


def write(folder, numbers):
    if not (folder / "has room").exists():
        raise OSError("disk full")
    (folder / "numbers.txt").write_text(f"{numbers}")
    return numbers


def pipeline(folder, function):
    return Process(
        [
            Task("load", load, args=(3,)),
            Task("squares", function, dependencies=results_of("load")),
            Task("write", write, args=(folder,), dependencies=results_of("squares")),
        ]
    )


def tell(which, report):
    taken = ", ".join(report.from_checkpoint)
    print(f"The {which} one took {taken} from the checkpoint and wrote {report.results['write']}")


with tempfile.TemporaryDirectory() as name:
    folder = Path(name)
    checkpoint = folder / "run.ckpt"  # a script would call it "run.ckpt", and be started again
    report = pipeline(folder, squares).run(checkpoint=checkpoint)
    print("The first run ends with:", report.exceptions["write"])
    (folder / "has room").touch()
    tell("second", pipeline(folder, squares).run(checkpoint=checkpoint))
    tell("third", pipeline(folder, cubes).run(checkpoint=checkpoint))
