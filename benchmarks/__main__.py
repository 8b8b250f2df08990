"""All benchmarks, and how their figures stand beside the targets.

    python -m benchmarks [--json FILE] [--markdown FILE] [--rounds N] [wire] [framing] [handshake]

Prints each table as it is made, then one row per target: what is wanted, the figure, and whether it is met. A figure is
a ratio of two cases of one table, the median of its rounds. The exit status is 1 where a target is missed. The file
docs/benchmarks.md says what is measured and how, and keeps the last full run, as `--markdown` writes it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from itertools import groupby
from typing import Any

import attrs

from benchmarks import framing, handshake, wire
from benchmarks._harness import ROUNDS, Table, Target, show

PARTS = {"wire": wire, "framing": framing, "handshake": handshake}
PACKAGES = ("cryptography", "attrs", "pvpn", "scapy", "wsproto", "h2", "h11")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Run all benchmarks.")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; by default all")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"rounds of each case (default: {ROUNDS})")
    parser.add_argument("--json", metavar="FILE", help="write every figure of every round to FILE")
    parser.add_argument("--markdown", metavar="FILE", help="write verdicts and tables to FILE")
    arguments = parser.parse_args()
    unknown = [part for part in arguments.parts if part not in PARTS]
    if unknown or arguments.rounds < 1:
        parser.error(f"unknown: {', '.join(unknown)}" if unknown else "--rounds: at least 1")
    print(f"{surroundings()}\n")
    tables = [each for part in arguments.parts or PARTS for each in show(PARTS[part].tables(arguments.rounds))]
    verdicts = [judge(table, target) for table in tables for target in table.targets]
    print("", *verdicts, sep="\n")
    words = [verdict.word for verdict in verdicts]
    print(f"\n{words.count('met')} of {len(words)} targets met; {words.count('not measured')} not measured")
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:
            json.dump({"surroundings": surroundings(), "tables": [as_json(table) for table in tables]}, file, indent=1)
    if arguments.markdown:
        with open(arguments.markdown, "w", encoding="utf-8") as file:
            file.write("\n".join(as_markdown(tables, verdicts)) + "\n")
    return 1 if "MISSED" in words else 0


@attrs.frozen
class Verdict:
    """How one figure stands beside its target; *figure* is None where one of the two cases was not there."""

    what: str
    target: Target
    figure: float | None

    @property
    def word(self) -> str:
        if self.figure is None:
            return "not measured"
        return "met" if self.target.met_by(self.figure) else "MISSED"

    def __str__(self) -> str:
        figure = "" if self.figure is None else f"{self.figure:.2f} x"
        return f"{self.word:12}  {self.target!s:15} {figure:>10}  {self.what}"


def judge(table: Table, target: Target) -> Verdict:
    """Compare."""
    to = target.to or next(iter(table.timings))
    there = target.case in table.timings and to in table.timings
    return Verdict(f"{table.title}: {target.case} / {to}", target, table.ratio(target.case, to) if there else None)


def as_markdown(tables: Sequence[Table], verdicts: Sequence[Verdict]) -> Iterator[str]:
    """Yield lines: the verdicts, then one table for those in a row with the same cases."""
    yield from ("| what | target | figure | |", "|---|---|--:|---|")
    for verdict in verdicts:
        figure = "" if verdict.figure is None else f"{verdict.figure:.2f}"
        yield f"| {verdict.what} | {verdict.target} | {figure} | {verdict.word} |"
    for (first, *others), group in groupby(tables, key=lambda table: tuple(table.timings)):
        yield ""
        yield f"| | {first}, microseconds | {' | '.join(others)} |"
        yield f"|---|--:|{'--:|' * len(others)}"
        for table in group:
            ratios = " | ".join(f"{table.ratio(case):.2f}" for case in others)
            yield f"| {table.title} | {table.median(first) * 1e6:.2f} | {ratios} |"


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
