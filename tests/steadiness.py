"""How hypothesis draws examples: the same each time, on however slow a machine."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

steadily = settings(
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
