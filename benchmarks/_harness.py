"""Side by side figures that survive a busy machine.

Every round runs each case once, in turn, so that a slow moment hits all of them. What is reported is the median of the
rounds, with the quartiles around it: where these lie far apart, the machine was busy, and the run is worth little. A
ratio is the median of the ratios that the rounds had.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import import_module

import attrs

__all__ = ["ITSELF", "ROUNDS", "UNITS", "Table", "Target", "run", "show", "show_part"]

ROUNDS = 7
ITSELF = "itself"
"""In place of another case: the target is about the median, in the table's unit, and not about a ratio."""
UNITS = {"us": 1e6, "ms": 1e3, "s": 1.0, "KiB": 1 / 1024, "MiB": 1 / 1024**2, "octets": 1.0, "objects": 1.0}
"""How many of a unit there are in what tables hold: seconds, octets, or a count."""


@attrs.frozen
class Target:
    """*case* is to take at most *limit* times as long as *to* (by default the first case), or at least that.

    With *to* `ITSELF` the limit is so many of the table's unit.
    """

    case: str
    limit: float
    to: str | None = None
    at_least: bool = False

    def met_by(self, figure: float) -> bool:
        return figure >= self.limit if self.at_least else figure <= self.limit

    def __str__(self) -> str:
        return f"{'at least' if self.at_least else 'at most'} {self.limit:g}{'' if self.to == ITSELF else ' x'}"


@attrs.frozen
class Table:
    """What each case took (seconds, octets or a count), one figure per round. Ratios are to the first case by default.

    *unit* is how it is shown, one of `UNITS`; *note* says in a sentence what a reader has to know.
    """

    title: str
    timings: Mapping[str, list[float]]
    targets: tuple[Target, ...] = ()
    unit: str = "us"
    note: str = ""

    @property
    def rounds(self) -> int:
        return min(map(len, self.timings.values()))

    def median(self, case: str) -> float:
        return statistics.median(self.timings[case])

    def ratio(self, case: str, to: str | None = None) -> float:
        """Return how many times as long as *to* the case took."""
        return statistics.median(self.ratios(case, to))

    def ratios(self, case: str, to: str | None = None) -> list[float]:
        """Return that of each round; of `ITSELF`, the figures in the table's unit."""
        if to == ITSELF:
            return [each * UNITS[self.unit] for each in self.timings[case]]
        reference = self.timings[next(iter(self.timings)) if to is None else to]
        return [a / b for a, b in zip(self.timings[case], reference, strict=True)]

    def __str__(self) -> str:
        lines = [self.title]
        for case, timings in self.timings.items():
            scale = UNITS[self.unit]
            low, high = (each * scale for each in quartiles(timings))
            middle = self.median(case) * scale
            lines.append(
                f"  {case:32} {middle:12.2f} {self.unit:6} ({low:10.2f} to {high:10.2f})  {self.ratio(case):8.2f} x"
            )
        return "\n".join([*lines, *([f"  {self.note}"] if self.note else [])])


def quartiles(figures: Sequence[float]) -> tuple[float, float]:
    """Return between which two figures the middle half lies."""
    if len(figures) < 2:
        return figures[0], figures[0]
    low, _, high = statistics.quantiles(figures, n=4, method="inclusive")
    return low, high


def run(title: str, cases: Mapping[str, Callable[[], object]], *targets: Target, rounds: int = ROUNDS) -> Table:
    """Time one call of each of *cases*. A case is repeated within a round until it takes some milliseconds."""
    repeats = {name: _repeats(case) for name, case in cases.items()}
    timings: dict[str, list[float]] = {name: [] for name in cases}
    gc.collect()
    gc.disable()
    try:
        for _ in range(rounds):
            for name, case in cases.items():
                timings[name].append(_time(case, repeats[name]))
    finally:
        gc.enable()
    return Table(title, timings, targets)


def show(tables: Iterable[Table]) -> list[Table]:
    """Print each table as it is made; return them all."""
    shown = []
    for table in tables:
        print(table, flush=True)
        shown.append(table)
    return shown


def show_part(name: str, rounds: int) -> list[Table]:
    """Print and return the tables of the module of that name: what a process for one part has to do."""
    return show(import_module(f"benchmarks.{name}").tables(rounds))


def _time(case: Callable[[], object], repeats: int) -> float:
    start = time.process_time()
    for _ in range(repeats):
        case()
    return (time.process_time() - start) / repeats


def _repeats(case: Callable[[], object]) -> int:
    repeats = 1
    while _time(case, repeats) * repeats < 0.005:
        repeats *= 2
    return repeats
