"""Fetching the certificates that peers name by hash and URL (RFC 7296 section 3.6): from configured places only.

Whoever names a URL has proved nothing yet, so it is nothing but a choice among what is below one of the places: no
redirection is followed, and no more octets are read than a certificate may have. The hash is checked by the core.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import unquote, urlsplit

import trio

from ikecore import CertificateFetchNeeded

from .text import printable

__all__ = ["Fetcher", "is_below"]

PATIENCE: Final = 10.0
"""Seconds for one URL: the peer repeats its request meanwhile, and is answered in the end."""
HEAD: Final = 16_384
"""Octets of a status line with its fields, at most."""
PIECE: Final = 16_384
PORTS: Final = {"http": 80, "https": 443}


def is_below(url: str, places: tuple[str, ...]) -> bool:
    """Tell whether *url* begins with one of *places*, each of which ends in a slash, and does not lead out of it."""
    leads_out = any(mark in unquote(url) for mark in ("..", "\\"))
    return not leads_out and any(url.startswith(place) for place in places)


class Fetcher:
    """Answers `CertificateFetchNeeded`. *places* are those of each connection; *tell* gets why nothing was fetched."""

    def __init__(self, places: Mapping[str, tuple[str, ...]], tell: Callable[[str], None]) -> None:
        self._places = places
        self._tell = tell

    async def __call__(self, question: CertificateFetchNeeded) -> bytes:
        """Return the octets behind the URL, none where it is not allowed or does not answer in time."""
        problem = f"no answer within {PATIENCE:g} s"
        if not is_below(question.url, self._places.get(question.connection, ())):
            problem = "it is not below any URL of fetch_from"
        else:
            with trio.move_on_after(PATIENCE):
                try:
                    return await get(question.url, question.most)
                except (OSError, ValueError, trio.BrokenResourceError) as error:
                    problem = str(error) or type(error).__name__
        self._tell(f"{question.connection}: {printable(question.url)} is not fetched: {printable(problem)}")
        return b""


async def get(url: str, most: int) -> bytes:
    """Return what is at *url*. OSError, ValueError or trio.BrokenResourceError where that cannot be had."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or PORTS[parts.scheme.lower()]
    stream: trio.abc.Stream
    if parts.scheme.lower() == "https":
        stream = await trio.open_ssl_over_tcp_stream(
            host, port, https_compatible=True, ssl_context=ssl.create_default_context()
        )
    else:
        stream = await trio.open_tcp_stream(host, port)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    where = parts.netloc.rpartition("@")[2]
    data = bytearray()
    async with stream:
        # With HTTP/1.0 the body ends with the connection, and comes in one piece.
        await stream.send_all(f"GET {target} HTTP/1.0\r\nHost: {where}\r\nConnection: close\r\n\r\n".encode("ascii"))
        while piece := await stream.receive_some(PIECE):
            data += piece
            if len(data) > HEAD + most:
                raise ValueError(f"more than {most} octets")
    head, _, body = bytes(data).partition(b"\r\n\r\n")
    first = head.partition(b"\r\n")[0]
    if not first.startswith(b"HTTP/1.") or first.split()[1:2] != [b"200"]:
        raise ValueError(f"the server says {first[:80].decode('latin-1')!r}")
    if len(body) > most:
        raise ValueError(f"more than {most} octets")
    return body
