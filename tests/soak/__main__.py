"""Run the soak by a command, and say what it came to.

    python -m tests.soak --sas 1000 --days 30 --seed 1

Prints a line per simulated day with the memory of the process, and at the end what happened. Exit status 1 if anything
was wrong.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
import time

import attrs

from .world import Plan, World


def rss() -> float:
    """Return the resident memory of this process in MiB (Linux)."""
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def main() -> int:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__.splitlines()[0])
    parser.add_argument("--sas", type=int, default=1000)
    parser.add_argument("--days", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="the report as JSON")
    given = parser.parse_args()
    began, memory = time.monotonic(), []

    def say(day: int) -> None:
        gc.collect()
        memory.append(rss())
        print(f"day {day:3}  {memory[-1]:8.1f} MiB  {time.monotonic() - began:8.0f} s", file=sys.stderr, flush=True)

    world = World(Plan(sas=given.sas, days=given.days, seed=given.seed), say)
    report = world.run()
    settled = memory[len(memory) // 10 :] or memory
    figures = {
        **attrs.asdict(report),
        "wall_seconds": round(time.monotonic() - began),
        "rss_mib": {"first": settled[0], "last": settled[-1], "least": min(settled), "most": max(settled)},
    }
    if given.json:
        print(json.dumps(figures, indent=2))
    else:
        for name, value in figures.items():
            print(f"{name.replace('_', ' ')}: {value}")
    return 1 if report.faults else 0


if __name__ == "__main__":
    sys.exit(main())
