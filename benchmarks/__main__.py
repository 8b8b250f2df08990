"""All benchmarks, and how their figures stand beside the targets.

    python -m benchmarks [--json FILE] [--markdown FILE] [--plot FILE] [--rounds N] [PART ...]

Prints each table as it is made, then one row per target: what is wanted, the figure, and whether it is met. A figure is
the median of the rounds of a table, mostly a ratio of two of its cases. The exit status is 1 where a target is missed.
docs/benchmarks.md says what is measured and how, and keeps the last full run: `--markdown docs/benchmarks.md` writes it
there, between two marks; into any other file `--markdown` writes nothing but the run.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from itertools import groupby
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import attrs

from benchmarks._harness import ITSELF, ROUNDS, UNITS, Table, Target, quartiles, show_part

PARTS = ("wire", "framing", "handshake", "phases", "handshake_charon", "many", "flood", "adapters", "starting")
"""Modules with a function `tables(rounds)`."""
PACKAGES = ("cryptography", "attrs", "trio", "pvpn", "scapy", "wsproto", "h2", "h11")
BEGIN, END = "<!-- the last full run: begin -->", "<!-- end -->"
WHERE_IT_GOES = "#where-the-time-goes"
"""What a missed target points to in docs/benchmarks.md."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Run all benchmarks.")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; by default all")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"rounds of each case (default: {ROUNDS})")
    parser.add_argument("--json", metavar="FILE", help="write every figure of every round to FILE")
    parser.add_argument("--markdown", metavar="FILE", help="write verdicts and tables to FILE, between its marks")
    parser.add_argument("--plot", metavar="FILE", help="draw figures beside targets, .svg or .png; needs matplotlib")
    arguments = parser.parse_args()
    unknown = [part for part in arguments.parts if part not in PARTS]
    if unknown or arguments.rounds < 1:
        parser.error(f"unknown: {', '.join(unknown)}" if unknown else "--rounds: at least 1")
    print(f"{surroundings()}\n")
    tables = [each for part in arguments.parts or PARTS for each in tables_of(part, arguments.rounds)]
    verdicts = [judge(table, target) for table in tables for target in table.targets]
    print("", *verdicts, sep="\n")
    words = [verdict.word for verdict in verdicts]
    print(f"\n{words.count('met')} of {len(words)} targets met; {words.count('not measured')} not measured")
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:
            json.dump({"surroundings": surroundings(), "tables": [as_json(table) for table in tables]}, file, indent=1)
    if arguments.markdown:
        write_between_marks(Path(arguments.markdown), [f"{surroundings()}.", "", *as_markdown(tables, verdicts)])
    if arguments.plot:
        plot(verdicts, arguments.plot)
    return 1 if "MISSED" in words else 0


def tables_of(part: str, rounds: int) -> list[Table]:
    """Run one part, in a process of its own: none meets the memory and the caches that another one has left."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(show_part, part, rounds).result()


@attrs.frozen
class Verdict:
    """How one figure stands beside its target; *figure* is None where one of the two cases was not there."""

    what: str
    target: Target
    figure: float | None
    spread: tuple[float, float] = (0.0, 0.0)
    unit: str = ""
    """What the figure is in; empty for a ratio."""

    @property
    def word(self) -> str:
        if self.figure is None:
            return "not measured"
        return "met" if self.target.met_by(self.figure) else "MISSED"

    def __str__(self) -> str:
        figure = "" if self.figure is None else f"{self.figure:.2f} {self.unit or 'x'}"
        wanted = f"{self.target} {self.unit}".rstrip()
        return f"{self.word:12}  {wanted:16} {figure:>12}  {self.what}"


def judge(table: Table, target: Target) -> Verdict:
    """Compare."""
    to = target.to or next(iter(table.timings))
    what = table.title if target.case == table.title else f"{table.title}: {target.case}"
    if to != ITSELF:
        what = f"{what} / {to}"
    unit = table.unit if to == ITSELF else ""
    if target.case not in table.timings or to not in (ITSELF, *table.timings):
        return Verdict(what, target, None, unit=unit)
    return Verdict(what, target, table.ratio(target.case, to), quartiles(table.ratios(target.case, to)), unit)


def as_markdown(tables: Sequence[Table], verdicts: Sequence[Verdict]) -> Iterator[str]:
    """Yield lines: the verdicts, then one table for those in a row with the same cases."""
    yield from ("| what | target | figure | quartiles | |", "|---|---|--:|--:|---|")
    for verdict in verdicts:
        figure = "" if verdict.figure is None else f"{verdict.figure:.2f}"
        spread = "" if verdict.figure is None else f"{verdict.spread[0]:.2f} to {verdict.spread[1]:.2f}"
        word = f"[MISSED]({WHERE_IT_GOES})" if verdict.word == "MISSED" else verdict.word
        wanted = f"{verdict.target} {verdict.unit}".rstrip()
        yield f"| {verdict.what} | {wanted} | {figure} | {spread} | {word} |"
    for (unit, first, *others), group in groupby(tables, key=lambda table: (table.unit, *table.timings)):
        yield ""
        yield f"| | {first}, {'microseconds' if unit == 'us' else unit} | {' | '.join(others)} |"
        yield f"|---|--:|{'--:|' * len(others)}"
        notes = []
        for table in group:
            ratios = " | ".join(f"{table.ratio(case):.2f}" for case in others)
            yield f"| {table.title} | {table.median(first) * UNITS[unit]:.2f} | {ratios} |"
            notes.append(table.note)
        yield from (line for note in dict.fromkeys(notes) if note for line in ("", note))


def write_between_marks(file: Path, lines: Sequence[str]) -> None:
    """Put *lines* between the marks of *file*, or make the file of them where it has none."""
    text = "\n".join(lines)
    before = file.read_text(encoding="utf-8") if file.exists() else ""
    if BEGIN in before and END in before:
        head, rest = before.split(BEGIN, 1)
        text = f"{head}{BEGIN}\n\n{text}\n\n{END}{rest.split(END, 1)[1]}"
    else:
        text += "\n"
    file.write_text(text, encoding="utf-8")


def plot(verdicts: Sequence[Verdict], file: str) -> None:
    """Draw each figure as a share of its target, with the middle half of its rounds; up to the line is met."""
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams["svg.hashsalt"] = "ikecore"
    from matplotlib import pyplot

    shown = [each for each in verdicts if each.figure is not None and not each.target.at_least]
    figure, axis = pyplot.subplots(figsize=(10.0, 0.8 + 0.24 * len(shown)))
    for row, verdict in enumerate(shown):
        low, high = (each / verdict.target.limit for each in verdict.spread)
        share = (verdict.figure or 0.0) / verdict.target.limit
        axis.barh(row, share, color="tab:green" if verdict.word == "met" else "tab:red", alpha=0.7)
        axis.plot([low, high], [row, row], color="black", lw=1)
    axis.axvline(1.0, color="black", ls="--", lw=1)
    axis.set_yticks(range(len(shown)), [each.what for each in shown], fontsize=6)
    axis.invert_yaxis()
    axis.set(xlabel="figure as a share of its target; black: the middle half of the rounds", ylim=(len(shown), -1))
    figure.tight_layout()
    figure.savefig(file, metadata={"Date": None} if file.endswith(".svg") else None)


def as_json(table: Table) -> dict[str, Any]:
    """Return a table as JSON values: *figures* are in seconds, octets or counts, one per round."""
    return {
        "title": table.title,
        "unit": table.unit,
        "figures": dict(table.timings),
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
