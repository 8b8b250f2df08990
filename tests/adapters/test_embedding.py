"""The core embedded without an adapter: the example of the README."""

from __future__ import annotations

import ast
import runpy
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "asyncio_embedding.py"


def test_the_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(EXAMPLE), run_name="__main__")
    said = [line.partition("(")[0] for line in capsys.readouterr().out.splitlines()]
    assert "IkeSaEstablished" in said
    assert "ChildSaEstablished" in said
    assert "keys for ESP: 36 octets outbound" in said
    assert said[-1] == "IkeSaClosed"


def test_it_is_as_short_as_we_say() -> None:
    source = EXAMPLE.read_text(encoding="utf-8")
    [protocol] = [node for node in ast.parse(source).body if isinstance(node, ast.ClassDef)]
    lines = source.splitlines()[protocol.lineno - 1 : protocol.end_lineno]
    assert len([line for line in lines if line.strip()]) <= 20
