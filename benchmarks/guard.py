"""A guard against slow changes: counts that are the same on every machine, kept in benchmarks/guard.json.

    python -m benchmarks.guard           compare; the exit status is 1 where something costs more than it did
    python -m benchmarks.guard --write   keep what there is now, for the Python that runs this

Counted are *bytecodes*, the instructions that the interpreter executes, and *blocks*, the pieces of memory held
afterwards, each for one IKE_SA_INIT read, in a layout that came before and afresh, and for one handshake with a
pre-shared key, both sides, without sockets.
Randomness is seeded and time stands still, so that a run does the same as the one before. What is C, as cryptography
is, does not count. Python's minor versions have different instructions, so each has its own counts. There is room for
a few per cent; a change that needs more says so by writing the file anew, and one that makes things cheaper should too.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import sys
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import attrs

from benchmarks.corpus import INIT_OCTETS
from benchmarks.handshake import HOSTS, NOON, Side, psk_scene
from benchmarks.wire import unmet
from ikecore.config import Config, PskCredential
from ikecore.endpoint import Endpoint
from ikecore.limits import Limits
from ikecore.transport import Local
from ikecore.wire import decode_message, match

FILE = Path(__file__).with_name("guard.json")
ROOM = {"bytecodes": 0.03, "blocks": 0.05}
"""So much more than the counts that are kept is not worth a word."""
REPEATS = 20
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"

Counts = dict[str, int]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.guard", description="Count what no clock sees.")
    parser.add_argument("--write", action="store_true", help=f"keep the counts in {FILE.name}")
    arguments = parser.parse_args()
    kept: dict[str, Counts] = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
    found = measure()
    for name, count in found.items():
        before = kept.get(PYTHON, {}).get(name)
        beside = "" if before is None else f"  kept: {before}  ({count / before - 1:+.1%})"
        print(f"{name:28} {count:8}{beside}")
    if arguments.write:
        kept[PYTHON] = found
        FILE.write_text(json.dumps(dict(sorted(kept.items())), indent=1) + "\n", encoding="utf-8")
        return 0
    if PYTHON not in kept:
        print(f"no counts of Python {PYTHON} are kept: python -m benchmarks.guard --write")
        return 0
    objections = judge(found, kept[PYTHON])
    print(*objections, sep="\n")
    if judge(kept[PYTHON], found):
        print("some counts have fallen: --write keeps them, and what rises to the old ones is seen again")
    return 1 if objections else 0


def judge(found: Counts, kept: Counts) -> list[str]:
    """Return a line for each count that has grown by more than its room."""
    lines = []
    for name, before in kept.items():
        count, room = found[name], ROOM[name.rpartition(" ")[2]]
        if count > before * (1 + room):
            lines.append(
                f"{name}: {count}, which is {count / before - 1:.1%} above the {before} kept; room is {room:.0%}"
            )
    return lines


def measure() -> Counts:
    """Count everything."""
    handshake, parse, afresh = Handshake(), Parse(), Afresh()
    found = {}
    for name, work in (("parse", parse), ("parse afresh", afresh), ("handshake", handshake)):
        for _ in range(5):
            work()  # what is kept of earlier ones is kept now
        found[f"{name} bytecodes"] = bytecodes(work)
        found[f"{name} blocks"] = blocks(work)
    return found


class Parse:
    """Reads one IKE_SA_INIT, and keeps it."""

    def __init__(self) -> None:
        self.kept: list[Any] = []

    def __call__(self) -> None:
        header, payloads = decode_message(INIT_OCTETS)
        self.kept.append(match(header.exchange, header.is_response, payloads))


class Afresh(Parse):
    """Reads it in a layout that never came before."""

    def __call__(self) -> None:
        unmet()
        super().__call__()


class Handshake:
    """Sets up one IKE SA with a Child SA, and keeps it on both sides."""

    def __init__(self) -> None:
        scene = attrs.evolve(
            psk_scene(), credentials=(PskCredential(b"a secret"),) * 2, trusted=PskCredential(b"a secret")
        )
        self.sides = [SeededSide(scene, role) for role in (0, 1)]

    def __call__(self) -> None:
        ours, theirs = self.sides
        before = ours.established
        sent = ours.initiate(1.0)
        while sent:
            sent = ours.take(theirs.take(sent, 1.0), 1.0)
        if ours.established != before + 1:
            raise RuntimeError("no handshake")


class SeededSide(Side):
    """A side of a handshake that always draws the same numbers, and begins one at a time."""

    batch = 1

    def __init__(self, scene: Any, role: int) -> None:
        super().__init__(scene, role)
        config = Config(connections=(self.connection,), limits=Limits(half_open_per_source=1000))
        dice = random.Random(role)
        self.endpoint = Endpoint(config, random=dice.randbytes, utc=lambda: NOON, raise_bugs=True)
        self.endpoint.local_added(Local(HOSTS[role]), now=0.0)


def blocks(work: Callable[[], None]) -> int:
    """Return how many blocks of memory one call leaves behind, the mean of several."""
    gc.collect()
    gc.disable()
    try:
        before = sys.getallocatedblocks()
        for _ in range(REPEATS):
            work()
        gc.collect()
        return round((sys.getallocatedblocks() - before) / REPEATS)
    finally:
        gc.enable()


def bytecodes(work: Callable[[], None]) -> int:
    """Return how many instructions one call executes."""
    return (_monitored if sys.version_info >= (3, 12) else _traced)(work)


def _traced(work: Callable[[], None]) -> int:
    count = 0

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal count
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        count += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


def _monitored(work: Callable[[], None]) -> int:
    monitoring: Any = sys.monitoring  # type: ignore[attr-defined,unused-ignore]
    tool = monitoring.PROFILER_ID
    count = 0

    def instruction(_: CodeType, __: int) -> None:
        nonlocal count
        count += 1

    monitoring.use_tool_id(tool, "ikecore guard")
    try:
        monitoring.register_callback(tool, monitoring.events.INSTRUCTION, instruction)
        monitoring.set_events(tool, monitoring.events.INSTRUCTION)
        work()
        monitoring.set_events(tool, 0)
    finally:
        monitoring.free_tool_id(tool)
    return count


if __name__ == "__main__":
    sys.exit(main())
