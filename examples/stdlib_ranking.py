"""Which packages of the standard library are hardest to maintain? Some 600 tasks on all processors.

The graph is built in processes/demo/pipeline.py, its functions stand in processes/demo/measures.py; both are
short and meant to be read. `processes demo` runs the same, and compares with a sequential run. Given a
folder, as in `python examples/stdlib_ranking.py src`, it ranks what is in there.
"""

import sys

from processes.demo.pipeline import build

process = build(*sys.argv[1:])
report = process.run(runner="process", progress=True)
report.raise_for_errors()

for place, ranked in enumerate(report.results["ranking"][:10], start=1):
    print(f"{place:2}  {ranked['package']:16} {ranked['score']:.1f}  hardest: {ranked['worst_function']}")
print(f"{len(report.entries)} tasks in {report.elapsed_seconds:.1f} s")
