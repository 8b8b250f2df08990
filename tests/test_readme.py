"""The README claims only what runs: its examples are run here, as they stand in it."""

from __future__ import annotations

import os
import re
import socket
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from ikecore import Config, Connection, Identity, Listen, PskCredential, Transports

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
HOST = f"127.{os.getpid() // 250 % 250 + 1}.{os.getpid() % 250 + 1}.1" if sys.platform == "linux" else "127.0.0.1"
"""An address of this process, if there is more than one: no other takes a port of it before the example binds it."""
EXAMPLES = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


def test_the_first_example_is_a_handshake_in_twelve_lines(capsys: pytest.CaptureFixture[str]) -> None:
    source = EXAMPLES[0]
    assert len(source.splitlines()) <= 12
    exec(compile(source, "README.md", "exec"), {})
    said = capsys.readouterr().out
    assert said.count("--tcp-->") == 2
    assert said.count("<--tcp--") == 2
    assert "IKE_AUTH response 1" in said
    assert "octets of key" in said


def test_the_second_example_is_the_tested_embedding_in_twenty_lines() -> None:
    shown = EXAMPLES[1].strip()
    code = [line for line in shown.splitlines()[1:] if line]
    assert shown in (ROOT / "docs/examples/asyncio_embedding.py").read_text(encoding="utf-8")
    assert len(code) <= 20


def test_the_third_example_serves_and_connects(capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {}
    exec(compile(EXAMPLES[2], "README.md", "exec"), names)
    secret, us, them = PskCredential(b"for a test"), Identity.parse("client.example"), Identity.parse("vpn.example")
    udp, udp_nat, tcp = free_ports()
    listen = Listen(hosts=(HOST,), udp=udp, udp_nat=udp_nat, tcp=tcp)
    ways = Transports(udp_port=udp, udp_nat_port=udp_nat)
    answering = Config(connections=[Connection(name="in", local_identity=them, local=secret, remote=secret)])
    calling = Connection(name="out", local_identity=us, local=secret, remote=secret, transports=ways)

    async def main() -> None:
        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(names["gateway"], answering, listen)
                await trio.testing.wait_all_tasks_blocked()
                await names["client"](HOST, calling)
                nursery.cancel_scope.cancel()

    trio.run(main)
    said = capsys.readouterr().out
    assert "up: fqdn:client.example over udp" in said
    assert "octets of ESP key" in said


def test_the_two_commands_name_extras_that_exist() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = re.findall(r"pip install -q (?:-e )?'\.\[(\w+)\]'", README)
    assert named == ["cli", "test"]
    assert set(named) <= set(project["optional-dependencies"])


def test_the_extra_that_an_example_needs_is_named_before_it() -> None:
    before, found, _ = README.partition("```python\nimport ikecore_trio\n")
    words = " ".join(before.rpartition("\n## ")[2].split())
    assert found
    assert "This one needs the extra `trio` (`pip install '.[trio]'` here" in words
    assert not re.findall(
        r"^(?:import|from) (?:trio|ikecore_trio|click|rich|dpkt)\b", "".join(EXAMPLES[:2]), re.MULTILINE
    )


def test_every_page_that_the_readme_names_is_there() -> None:
    pages = re.findall(r"\]\(((?!http)[^)#]+)\)", README)
    assert pages
    assert [page for page in pages if not (ROOT / page).exists()] == []


def free_ports() -> tuple[int, int, int]:
    """Three ports of HOST that nobody uses right now."""
    with (
        socket.socket(type=socket.SOCK_DGRAM) as one,
        socket.socket(type=socket.SOCK_DGRAM) as two,
        socket.socket() as three,
    ):
        for each in (one, two, three):
            each.bind((HOST, 0))
        return one.getsockname()[1], two.getsockname()[1], three.getsockname()[1]
