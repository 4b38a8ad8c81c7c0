"""What the tests of faults share."""

from __future__ import annotations

import pytest

from processes.runners.pool import abilities


@pytest.fixture(params=["as it is", "without guard and token pipe"])
def system(request, monkeypatch):
    """This system, and one that has no descriptor for processes and no read that never waits."""
    if request.param != "as it is":
        monkeypatch.setattr(abilities, "CAN_GUARD", False)
        monkeypatch.setattr(abilities, "CAN_TAKE_BACK", False)
    return request.param
