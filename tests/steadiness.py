"""How hypothesis draws examples: the same each time, on however slow a machine, and text at once."""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

steadily = settings(
    max_examples=50,  # they are the same each time: more of them would take the time of each run
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

# The same as by default; but to find what UTF-8 can write takes hypothesis 4 s, once in each clone.
characters = st.characters(exclude_categories=["Cs"])
