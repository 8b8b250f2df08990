"""A set-up that nobody answers is not silent: what is tried is told, every few seconds, on standard error."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from ikecore import (
    IkeSaFailed,
    NoProposalChosen,
    OpenStream,
    Output,
    PeerUnreachable,
    RefusalReceived,
    SaId,
    SpisChanged,
    StreamChanged,
    StreamId,
)
from ikecore.events import MessageReceived, MessageSent
from ikecore.wire import Notification, encode_message
from ikecore.wire.numbers import RESPONSE, Exchange, Notify
from ikecore_trio.cli.config_file import Settings, read_settings
from ikecore_trio.cli.connect import Attempt
from ikecore_trio.cli.problems import CommandFailed
from ikecore_trio.cli.reporting import Reporter
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


REFUSAL = RefusalReceived(SA, THEIRS, NoProposalChosen("the peer accepts none of our proposals"), 10.0)
ANSWER = MessageReceived(SA, "IKE_SA_INIT", 0, True, 400, "udp", OURS, THEIRS, False, ())


def test_a_refusal_that_is_not_proved_is_no_silence() -> None:
    """Nor is it the peer's for sure; another one, and repeats of our request, change nothing."""
    lines = told(
        (0.0, sent()),
        (1.0, ANSWER),
        (1.1, REFUSAL),
        (2.0, sent(repeat=True)),
        (6.0, ANSWER),
        (7.0, sent(repeat=True)),
        (11.0, OVER),
    )
    words = (
        "still trying over UDP: 192.0.2.2:500, or somebody in its name, has refused IKE_SA_INIT (NoProposalChosen: the "
        "peer accepts none of our proposals), unproved: waiting for a better answer for"
    )
    assert lines == [f"{words} 4 s", f"{words} 9 s"]


def test_a_better_answer_and_a_new_beginning_end_the_refusal() -> None:
    up = SpisChanged(SA, bytes(7) + b"\1", bytes(7) + b"\2", "IKE_SA_INIT was answered")
    assert told((0.0, sent()), (1.0, ANSWER), (1.1, REFUSAL), (2.0, ANSWER), (2.1, up), (6.0, OVER)) == []
    lines = told((0.0, sent()), (1.0, ANSWER), (1.1, REFUSAL), (2.0, sent()), (6.0, OVER))
    assert lines == ["still trying over UDP: 192.0.2.2:500 has not answered IKE_SA_INIT for 3 s"]


def attempted(settings: Settings) -> Attempt:
    """Return the command's work, to be begun on Trio."""
    reporter = Reporter(as_json=False, ladder=False, keys=None, clock=trio.current_time)
    return Attempt(settings, settings.connection(None), ("127.0.0.1",), reporter, None)


def test_a_forged_refusal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The whole command, in virtual time, against a socket that refuses: as a peer would, or whoever forges it."""
    with socket.socket(type=socket.SOCK_DGRAM) as peer:
        peer.bind(("127.0.0.1", 0))
        port = peer.getsockname()[1]
        (tmp_path / "ike.toml").write_text(FILE.format(port=port))
        settings = read_settings(tmp_path / "ike.toml")

        async def main() -> None:
            attempt = attempted(settings)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(refuse)
                with pytest.raises(CommandFailed, match="NoProposalChosen"):
                    await attempt.run()
                nursery.cancel_scope.cancel()

        async def refuse() -> None:
            await trio.lowlevel.wait_readable(peer)
            data, remote = peer.recvfrom(65535)
            answer = encode_message(
                spi_i=data[:8],
                spi_r=bytes(8),
                exchange=Exchange.IKE_SA_INIT,
                flags=RESPONSE,
                message_id=0,
                payloads=[Notification(Notify.NO_PROPOSAL_CHOSEN)],
            )
            peer.sendto(answer, remote)

        trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0.05))
    captured = capsys.readouterr()
    words = f"127.0.0.1:{port}, or somebody in its name, has refused IKE_SA_INIT (NoProposalChosen: "
    assert f"IKE SA 1: {words}" in captured.out
    assert all(words in line for line in captured.err.splitlines())
    assert 1 <= len(captured.err.splitlines()) <= 2


def test_a_silent_peer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The whole command, in virtual time, against a socket that says nothing."""
    with socket.socket(type=socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        port = silent.getsockname()[1]
        (tmp_path / "ike.toml").write_text(FILE.format(port=port))
        settings = read_settings(tmp_path / "ike.toml")

        async def main() -> None:
            await attempted(settings).run()

        with pytest.raises(CommandFailed, match="PeerUnreachable"):
            trio.run(main, strict_exception_groups=True, clock=trio.testing.MockClock(autojump_threshold=0.01))
    lines = capsys.readouterr().err.splitlines()
    words = f"ikecore: office: still trying over UDP: 127.0.0.1:{port} has not answered IKE_SA_INIT for"
    assert all(line.startswith(words) for line in lines)
    assert len(lines) > 20
