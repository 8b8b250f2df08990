"""A small soak in every run; `python -m tests.soak` is the large one."""

from __future__ import annotations

import pytest

from .world import Plan, World


@pytest.mark.requirement("IKE-115", "IKE-118", "IKE-131")
def test_fifty_sas_for_three_days() -> None:
    report = World(Plan(sas=50, days=3.0, seed=1, per_client=5, crashes=0.3, gateway_crashes=1)).run()
    assert report.faults == ()
    assert report.child_rekeys > 50 * 3 * 20, "both sides count each of them"
    assert report.ike_rekeys > 50 * 3 * 2
    assert report.happenings["client_crash"]
    assert report.happenings["gateway_crash"] == 1
