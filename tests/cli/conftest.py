"""Running the command line: in this process for what it prints, and as a user does, in one of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ikecore_trio.cli.commands import cli

ROOT = Path(__file__).resolve().parents[2]

Run = Callable[..., Result]
Script = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command in this process, 80 columns wide and without a key log."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("IKEKEYLOGFILE", raising=False)

    def invoke(*arguments: str | Path, input: bytes | None = None) -> Result:
        result = CliRunner().invoke(cli, [str(each) for each in arguments], input=input)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return invoke


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment of a process that runs this checkout."""
    values = {key: value for key, value in os.environ.items() if key != "IKEKEYLOGFILE"}
    return {**values, "PYTHONPATH": str(ROOT), "COLUMNS": "80", "PYTHONUTF8": "1", **(extra or {})}


@pytest.fixture
def script() -> Script:
    """Run Python with arguments, by default the command line, in a process of its own."""

    def start(*arguments: str | Path, code: str | None = None, env: Mapping[str, str] | None = None, **options: object):  # type: ignore[no-untyped-def]
        what = ["-m", "ikecore_trio.cli"] if code is None else ["-c", code]
        return subprocess.run(
            [sys.executable, *what, *map(str, arguments)],
            env=environment(env),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            **options,  # type: ignore[call-overload]
        )

    return start


@pytest.fixture
def start() -> Callable[..., subprocess.Popen[str]]:
    """Start the command line in a process of its own and leave it running."""

    def begin(*arguments: str | Path, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "ikecore_trio.cli", *map(str, arguments)],
            env=environment(env),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return begin
