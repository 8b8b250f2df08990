"""A set-up that nobody answers is not silent: what is tried is told, every few seconds, on standard error."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from ikecore import IkeSaFailed, OpenStream, Output, PeerUnreachable, SaId, StreamChanged, StreamId
from ikecore.events import MessageReceived, MessageSent
from ikecore_trio.cli.config_file import read_settings
from ikecore_trio.cli.connect import Attempt
from ikecore_trio.cli.problems import CommandFailed
from ikecore_trio.cli.waiting import EVERY, Waiting

OURS, THEIRS = ("192.0.2.1", 500), ("192.0.2.2", 500)
SA, STREAM = SaId(1), StreamId(1)
FILE = """
[connections.office]
remote_addrs = "127.0.0.1"
remote_port = {port}
transports = {{ udp_nat_port = {port} }}
local = {{ auth = "psk", id = "client.example" }}
remote = {{ auth = "psk", id = "vpn.example" }}

[secrets.ike-1]
secret = "swordfish"
"""


def sent(transport: Any = "udp", *, repeat: bool = False) -> MessageSent:
    return MessageSent(SA, "IKE_SA_INIT", 0, False, 400, transport, OURS, THEIRS, repeat, "because", ())


def told(*script: tuple[float, Output]) -> list[str]:
    """Run `Waiting` with outputs at given seconds, until after the last one; return its lines."""
    lines: list[str] = []

    async def main() -> None:
        waiting = Waiting(lines.append)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(waiting.run)
            for when, output in script:
                await trio.sleep_until(start + when)
                waiting(output)

    clock = trio.testing.MockClock(autojump_threshold=0)
    start = clock.current_time()
    trio.run(main, clock=clock)
    return lines


OVER = IkeSaFailed(SA, "c", "initiator", "IKE_SA_INIT", PeerUnreachable("no"), THEIRS)


def test_a_peer_that_answers_is_not_spoken_of() -> None:
    assert told((0.0, sent()), (1.0, OVER)) == []


def test_what_is_tried_how_long_and_how_often() -> None:
    answer = MessageReceived(SA, "IKE_SA_INIT", 0, True, 400, "udp", OURS, THEIRS, False, ())
    lines = told((0.0, sent()), (4.0, sent(repeat=True)), (11.0, answer), (3.5 * EVERY, sent()), (4.5 * EVERY, OVER))
    assert lines == [
        "still trying over UDP: 192.0.2.2:500 has not answered IKE_SA_INIT for 5 s, asked 2 times",
        "still trying over UDP: 192.0.2.2:500 has not answered IKE_SA_INIT for 10 s, asked 2 times",
        "still trying over UDP: 192.0.2.2:500 has not answered IKE_SA_INIT for 2 s",
    ]


def test_two_ways_at_once() -> None:
    opening = OpenStream(STREAM, THEIRS, None)
    lines = told((0.0, sent()), (2.0, opening), (6.0, StreamChanged(STREAM, THEIRS, "closed", "refused")), (11.0, OVER))
    assert lines == [
        "still trying over UDP: 192.0.2.2:500 has not answered IKE_SA_INIT for 5 s",
        "still trying over TCP: 192.0.2.2:500 has not accepted for 3 s",
        "still trying over UDP: 192.0.2.2:500 has not answered IKE_SA_INIT for 10 s",
    ]


def test_a_silent_peer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The whole command, in virtual time, against a socket that says nothing."""
    with socket.socket(type=socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        port = silent.getsockname()[1]
        (tmp_path / "ike.toml").write_text(FILE.format(port=port))
        settings = read_settings(tmp_path / "ike.toml")
        connection = settings.connection(None)
        attempt = Attempt(settings, connection, ("127.0.0.1",), False, False, None, None)
        with pytest.raises(CommandFailed, match="PeerUnreachable"):
            trio.run(attempt.run, strict_exception_groups=True, clock=trio.testing.MockClock(autojump_threshold=0.01))
    lines = capsys.readouterr().err.splitlines()
    words = f"ikecore: office: still trying over UDP: 127.0.0.1:{port} has not answered IKE_SA_INIT for"
    assert all(line.startswith(words) for line in lines)
    assert len(lines) > 20
