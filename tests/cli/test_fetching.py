"""Certificates that peers name by hash and URL: fetched from the configured places, and from nowhere else."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import trio
import trio.testing

from ikecore import CertificateFetchNeeded, QuestionId, SaId
from ikecore_trio.cli import fetching
from ikecore_trio.cli.fetching import HEAD, PATIENCE, Fetcher, is_below

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/pkix-cert\r\n\r\n"
PLACES = ("http://pki.example/certificates/", "https://other.example/")


@pytest.mark.requirement("IKE-271")
@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("http://pki.example/certificates/00ff", True),
        ("http://pki.example/certificates/", True),
        ("https://other.example/a?b=c", True),
        ("http://pki.example/other/00ff", False),
        ("http://pki.example:80/certificates/00ff", False),
        ("http://pki.example.evil.example/certificates/", False),
        ("http://pki.example@evil.example/certificates/", False),
        ("https://pki.example/certificates/00ff", False),
        ("http://169.254.169.254/latest/meta-data", False),
        ("http://pki.example/certificates/../admin", False),
        ("http://pki.example/certificates/%2E%2e/admin", False),
        ("http://pki.example/certificates/..\\admin", False),
    ],
)
def test_only_what_is_below_a_configured_place(url: str, allowed: bool) -> None:
    assert is_below(url, PLACES) is allowed
    assert not is_below(url, ())


class Outcome:
    """What came of one fetch: the octets, the reason, and what the server was asked."""

    def __init__(self) -> None:
        self.octets = b"?"
        self.told: list[str] = []
        self.asked = b""


def fetch(answer: bytes | None, url: str = "/x", most: int = 100, connection: str = "c") -> Outcome:
    """Fetch from a server that answers any request so, or never (None); in virtual time."""
    outcome = Outcome()

    async def serve(stream: trio.SocketStream) -> None:
        outcome.asked = bytes(await stream.receive_some(4096))
        if answer is None:
            await trio.sleep_forever()
        await stream.send_all(answer or b"")
        await stream.aclose()

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
            port = listener.socket.getsockname()[1]
            nursery.start_soon(trio.serve_listeners, serve, [listener])
            place = f"http://127.0.0.1:{port}/"
            fetcher = Fetcher({"c": (place,)}, outcome.told.append)
            question = CertificateFetchNeeded(
                QuestionId(1),
                SaId(1),
                30.0,
                connection,
                "fqdn:who.example",
                ("192.0.2.1", 500),
                place[:-1] + url if url.startswith("/") else url,
                bytes(20),
                False,
                most,
            )
            outcome.octets = await fetcher(question)
            nursery.cancel_scope.cancel()

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0.1))
    return outcome


def test_what_is_there_is_fetched() -> None:
    outcome = fetch(OK + b"\x30\x03abc", "/certificates/00ff?a=b")
    assert (outcome.octets, outcome.told) == (b"\x30\x03abc", [])
    first, *rest = outcome.asked.split(b"\r\n")
    assert first == b"GET /certificates/00ff?a=b HTTP/1.0"
    assert any(line.startswith(b"Host: 127.0.0.1:") for line in rest)


@pytest.mark.parametrize(
    ("how", "words"),
    [
        (lambda: fetch(b"HTTP/1.1 302 Found\r\nLocation: http://evil.example/\r\n\r\n"), "302 Found"),
        (lambda: fetch(b"HTTP/1.1 404 Not Found\r\n\r\n200"), "404 Not Found"),
        (lambda: fetch(b"220 mail.example ESMTP\r\n"), "220 mail.example ESMTP"),
        (lambda: fetch(b""), "the server says ''"),
        (lambda: fetch(OK + bytes(101)), "more than 100 octets"),
        (lambda: fetch(OK + bytes(10 * HEAD)), "more than 100 octets"),
        (lambda: fetch(None), f"no answer within {PATIENCE:g} s"),
        (lambda: fetch(OK, "http://127.0.0.1:1/x"), "it is not below any URL of fetch_from"),
        (lambda: fetch(OK, connection="another"), "it is not below any URL of fetch_from"),
    ],
)
def test_why_nothing_is_fetched_is_told(how: Callable[[], Outcome], words: str) -> None:
    outcome = how()
    assert outcome.octets == b""
    (line,) = outcome.told
    assert " is not fetched: " in line
    assert words in line


def test_nobody_listens_and_no_certificate_of_the_server_is_trusted() -> None:
    async def main() -> None:
        with pytest.raises(OSError):
            await fetching.get("http://127.0.0.1:1/x", 100)
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = listener.socket.getsockname()[1]

        async def no_tls(stream: trio.SocketStream) -> None:
            await stream.send_all(b"this is no TLS at all")
            await stream.aclose()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.serve_listeners, no_tls, [listener])
            with pytest.raises((OSError, trio.BrokenResourceError)):
                await fetching.get(f"https://127.0.0.1:{port}/x", 100)
            nursery.cancel_scope.cancel()

    trio.run(main)
