"""`ikecore connect` with strongSwan's charon: the configuration file of docs/interop.md, as it stands there."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.interop.charon import Charon

pytest.importorskip("click")

PAGE = (Path(__file__).parents[2] / "docs" / "interop.md").read_text(encoding="utf-8")


def block(language: str) -> str:
    """Return the page's one block of code in *language*."""
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)
    return str(found)


def test_connect_once(charon: Charon, tmp_path: Path) -> None:
    charon.load(block("conf"))
    file = tmp_path / "ikecore.toml"
    file.write_text(block("toml"))
    command = [sys.executable, "-m", "ikecore_trio.cli", "connect", str(file), "--once", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert {"IkeSaEstablished", "ChildSaEstablished", "IkeSaClosed"} <= {str(event.get("type")) for event in events}
    charon.until_said("established with SPIs")
    charon.until_said("received DELETE for IKE_SA")
    charon.until(lambda: charon.list_sas() == [])
