"""Side by side timings that survive a busy machine.

Every round runs each case once, in turn, so that a slow moment hits all of them. What is reported is the median of the
rounds, in CPU time; the best round beside it shows how quiet the machine was. A ratio is the median of the ratios that
the rounds had.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterable, Mapping

import attrs

__all__ = ["ROUNDS", "Table", "Target", "run", "show"]

ROUNDS = 7


@attrs.frozen
class Target:
    """*case* is to take at most *limit* times as long as *to* (by default the first case), or at least that."""

    case: str
    limit: float
    to: str | None = None
    at_least: bool = False

    def met_by(self, figure: float) -> bool:
        return figure >= self.limit if self.at_least else figure <= self.limit

    def __str__(self) -> str:
        return f"{'at least' if self.at_least else 'at most'} {self.limit:g} x"


@attrs.frozen
class Table:
    """The seconds that each case took, one figure per round. Ratios are to the first case unless told otherwise."""

    title: str
    timings: Mapping[str, list[float]]
    targets: tuple[Target, ...] = ()

    @property
    def rounds(self) -> int:
        return min(map(len, self.timings.values()))

    def median(self, case: str) -> float:
        return statistics.median(self.timings[case])

    def ratio(self, case: str, to: str | None = None) -> float:
        """Return how many times as long as *to* the case took."""
        reference = self.timings[next(iter(self.timings)) if to is None else to]
        return statistics.median(a / b for a, b in zip(self.timings[case], reference, strict=True))

    def __str__(self) -> str:
        lines = [self.title]
        for case, timings in self.timings.items():
            micros, best = self.median(case) * 1e6, min(timings) * 1e6
            lines.append(f"  {case:32} {micros:12.2f} us  (best {best:10.2f})  {self.ratio(case):8.2f} x")
        return "\n".join(lines)


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
