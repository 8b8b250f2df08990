"""All benchmarks, and how their figures stand beside the targets.

    python -m benchmarks [--json FILE] [--rounds N] [wire] [framing] [handshake]

Prints each table as it is made, then one row per target: what is wanted, the figure, and whether it is met. A figure is
a ratio of two cases of one table, the median of its rounds. The exit status is 1 where a target is missed. docs/
benchmarks.md says what is measured and how, and keeps the last full run.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from benchmarks import framing, handshake, wire
from benchmarks._harness import ROUNDS, Table, Target, show

PARTS = {"wire": wire, "framing": framing, "handshake": handshake}
PACKAGES = ("cryptography", "attrs", "pvpn", "scapy", "wsproto", "h2", "h11")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Run all benchmarks.")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; by default all")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"rounds of each case (default: {ROUNDS})")
    parser.add_argument("--json", metavar="FILE", help="write every figure of every round to FILE")
    arguments = parser.parse_args()
    unknown = [part for part in arguments.parts if part not in PARTS]
    if unknown or arguments.rounds < 1:
        parser.error(f"unknown: {', '.join(unknown)}" if unknown else "--rounds: at least 1")
    print(f"{surroundings()}\n")
    tables = [each for part in arguments.parts or PARTS for each in show(PARTS[part].tables(arguments.rounds))]
    met = [judge(table, target) for table in tables for target in table.targets]
    print(f"\n{met.count(True)} of {len(met)} targets met; {met.count(None)} not measured")
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:
            json.dump({"surroundings": surroundings(), "tables": [as_json(table) for table in tables]}, file, indent=1)
    return 1 if False in met else 0


def judge(table: Table, target: Target) -> bool | None:
    """Print one row. None means that one of the two was not there to be measured."""
    to = target.to or next(iter(table.timings))
    if target.case not in table.timings or to not in table.timings:
        print(f"not measured  {target!s:15}                {table.title}: {target.case} / {to}")
        return None
    figure = table.ratio(target.case, to)
    met = target.met_by(figure)
    print(f"{'met' if met else 'MISSED':12}  {target!s:15}  {figure:8.2f} x    {table.title}: {target.case} / {to}")
    return met


def as_json(table: Table) -> dict[str, Any]:
    return {
        "title": table.title,
        "seconds": dict(table.timings),
        "ratios": {case: table.ratio(case) for case in table.timings},
        "targets": [str(target) for target in table.targets],
    }


def surroundings() -> str:
    """Say on what this runs, in a line."""
    found = ", ".join(_versions())
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return f"{datetime.now(UTC):%Y-%m-%d}, {python}, {os.cpu_count()} CPUs ({platform.machine()}), {found}"


def _versions() -> Iterator[str]:
    for package in PACKAGES:
        try:
            yield f"{package} {version(package)}"
        except PackageNotFoundError:
            yield f"no {package}"


if __name__ == "__main__":
    sys.exit(main())
