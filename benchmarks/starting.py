"""How long it takes to begin: whole processes, from the fork to the exit, beside a Python that does nothing.

    python -m benchmarks.starting

This is time on the clock, as whoever waits for it sees it; compiled files are there, as after the first run. `import
ikecore` imports what is asked for when it is asked for, so *all of ikecore* stands beside it: every name it has.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from benchmarks._harness import ITSELF, ROUNDS, Table, Target, show

ROOT = Path(__file__).resolve().parents[1]
CASES = {
    "nothing": ("-c", ""),
    "import ikecore": ("-c", "import ikecore"),
    "all of ikecore": ("-c", "from ikecore import *"),
    "ikecore --help": ("-m", "ikecore_trio.cli", "--help"),
}


def tables(rounds: int = ROUNDS) -> Iterator[Table]:
    """Yield one table, in milliseconds, of three times as many rounds."""
    cases = dict(CASES)
    if find_spec("click") is None or find_spec("rich") is None:
        print("not measured: the command line is not installed", file=sys.stderr)
        del cases["ikecore --help"]
    took: dict[str, list[float]] = {name: [] for name in cases}
    for number in range(3 * rounds + 1):
        for name, arguments in cases.items():
            start = time.perf_counter()
            subprocess.run([sys.executable, *arguments], cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
            if number:  # the first one may have to compile
                took[name].append(time.perf_counter() - start)
    targets = Target("import ikecore", 150, to=ITSELF), Target("ikecore --help", 200, to=ITSELF)
    yield Table("beginning, the whole process", took, targets, unit="ms")


if __name__ == "__main__":
    show(tables())
