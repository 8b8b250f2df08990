"""Processes that are measured from outside: what the kernel says that they used.

CPU time is that of all threads of a process, user and system, in nanoseconds where the kernel keeps them (schedstat),
else in ticks. Memory is the resident set. Both need Linux's /proc.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

__all__ = ["Server", "cpu", "resident"]

ROOT = Path(__file__).resolve().parents[1]


def cpu(pid: int) -> float:
    """Return the seconds of CPU time that a process used so far."""
    threads = Path(f"/proc/{pid}/task")
    try:
        return sum(int((each / "schedstat").read_text().split()[0]) for each in threads.iterdir()) / 1e9
    except FileNotFoundError:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident(pid: int) -> int:
    """Return the octets of memory that a process holds."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Server:
    """One of the servers of `benchmarks._server` as a child process: started on entry, killed at the exit."""

    def __init__(self, *what: str) -> None:
        self.what = what
        self.ports: dict[str, int] = {}

    def __enter__(self) -> Server:
        command = [sys.executable, "-m", "benchmarks._server", *self.what]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT, text=True)
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            raise RuntimeError(f"{' '.join(self.what)} did not start")
        told: dict[str, Any] = json.loads(line)
        self.ports = told
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.kill()
        self._process.communicate()

    @property
    def pid(self) -> int:
        return self._process.pid
