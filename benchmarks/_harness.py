"""Side by side timings that survive a busy machine.

Every round runs each case once, in turn, so that a slow moment hits all of them. What is reported is the median of the
rounds, in CPU time; the best round beside it shows how quiet the machine was. With `--json` as an argument of the
benchmark, a line of JSON per table is printed instead.
"""

from __future__ import annotations

import gc
import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping

__all__ = ["run"]


def run(title: str, cases: Mapping[str, Callable[[], object]], rounds: int = 7) -> dict[str, float]:
    """Print and return the seconds of CPU that one call of each of *cases* takes, the median of *rounds*.

    A case is repeated within a round until it takes some milliseconds. The last column is the ratio to the first case.
    """
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
    median = {name: statistics.median(taken) for name, taken in timings.items()}
    best = {name: min(taken) for name, taken in timings.items()}
    if "--json" in sys.argv:
        rows = {name: {"median": median[name], "best": best[name], "rounds": rounds} for name in cases}
        print(json.dumps({"title": title, "seconds": rows}))
        return median
    first = next(iter(median.values()))
    print(title)
    for name, seconds in median.items():
        print(f"  {name:32} {seconds * 1e6:12.2f} us  (best {best[name] * 1e6:10.2f})  {seconds / first:8.2f} x")
    return median


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
