"""What a cold start is measured by; it imports little, so that the start of what is measured shows."""

from __future__ import annotations

from time import time

from shapes import wide
from subjects import SUBJECTS
from work import depth


def first_result_at(subject: str, workers: int) -> float:
    """Run one node a worker, and tell the time of day at which the results are in hand."""
    with SUBJECTS[subject].open(workers) as run:
        results = run(wide(workers), [depth] * workers)
        now = time()
    if results != [depth()] * workers:
        raise ValueError("the results are wrong")
    return now
