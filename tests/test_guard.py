"""What does not depend on time costs no more than it did: benchmarks/guard.json holds the counts.

A failure here is no bug. Either make the change cheaper, or keep what it costs now, and say why in the commit:
`python -m benchmarks.guard --write`, with each Python from 3.11 on.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import guard

ROOT = Path(__file__).resolve().parents[1]
KEPT = json.loads(guard.FILE.read_text(encoding="utf-8"))

SLOWED = """
from benchmarks import guard
from ikecore.endpoint import reception

kept = guard.measure()
fast = reception.decode_envelope


def slow(data, **more):
    {what}
    return fast(data, **more)


reception.decode_envelope = slow
print(*guard.judge(guard.measure(), kept), sep="\\n")
"""


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Count in a process of its own, which no other test has warmed up and no debugger watches."""
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60)


@pytest.mark.skipif(guard.PYTHON not in KEPT, reason=f"no counts of Python {guard.PYTHON} are kept")
def test_nothing_costs_more_than_it_did() -> None:
    done = run("-m", "benchmarks.guard")
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_python_that_is_served_has_its_counts() -> None:
    assert set(KEPT) >= {"3.11", "3.12", "3.13"}


@pytest.mark.parametrize(
    ("what", "name"),
    [
        ("[octet ^ 1 for octet in data[:128]]", "handshake bytecodes"),
        ("slow.__dict__.setdefault('kept', []).extend(bytes(100 + n) for n in range(5))", "handshake blocks"),
    ],
)
def test_a_slow_change_is_seen(what: str, name: str) -> None:
    """A loop over a part of each IKE_SA_INIT, or something kept of it for good: seen beside the counts without it."""
    done = run("-c", SLOWED.format(what=what))
    assert done.stdout.startswith(f"{name}: "), done.stdout + done.stderr


def test_a_count_may_grow_by_its_room_and_shrink_at_will() -> None:
    kept = {"parse bytecodes": 1000, "parse blocks": 100}
    assert guard.judge({"parse bytecodes": 1030, "parse blocks": 1}, kept) == []
    assert guard.judge({"parse bytecodes": 1031, "parse blocks": 106}, kept) == [
        "parse bytecodes: 1031, which is 3.1% above the 1000 kept; room is 3%",
        "parse blocks: 106, which is 6.0% above the 100 kept; room is 5%",
    ]
