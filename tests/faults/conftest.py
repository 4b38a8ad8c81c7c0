"""The systems that the tests of faults run on."""

from __future__ import annotations

import pytest

from processes.runners.pool import abilities

pytest.register_assert_rewrite("faulty_runs")


@pytest.fixture(params=["as it is", "without guard", "without guard and token pipe"])
def system(request, monkeypatch):
    """This system, one that has no descriptor for processes, and one whose pipes always wait besides."""
    if request.param != "as it is":
        monkeypatch.setattr(abilities, "CAN_GUARD", False)
    if request.param == "without guard and token pipe":
        monkeypatch.setattr(abilities, "CAN_TAKE_BACK", False)
    return request.param
