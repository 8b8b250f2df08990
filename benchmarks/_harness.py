"""Side by side timings that survive a busy machine.

Every round runs each case once, in turn, so that a slow moment hits all of them. The best round of a case is what
the code costs; the spread, of the median over it, is what the machine added.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping

__all__ = ["run"]


def run(title: str, cases: Mapping[str, Callable[[], object]], rounds: int = 7) -> dict[str, float]:
    """Print and return the seconds of CPU that one call of each of *cases* takes, best of *rounds*.

    A case is repeated within a round until it takes some milliseconds. The last column compares with the first case.
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
    best = {name: min(taken) for name, taken in timings.items()}
    first = next(iter(best.values()))
    print(title)
    for name, seconds in best.items():
        spread = statistics.median(timings[name]) / seconds - 1
        print(f"  {name:32} {seconds * 1e6:12.2f} us  +{spread:4.0%}  {seconds / first:8.2f} x")
    return best


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
