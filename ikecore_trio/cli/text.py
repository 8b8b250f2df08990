"""Words from strangers, and numbers, as one printable line."""

from __future__ import annotations

__all__ = ["address_text", "duration", "printable", "size"]


def printable(text: str | bytes) -> str:
    """Return *text* as one line that a terminal shows as it is: controls, line ends and direction marks are escaped.

    Octets are read as UTF-8 where they are, the others come out as escapes.
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8", "backslashreplace")
    return "".join([c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text])


def address_text(address: tuple[str, int] | None) -> str:
    """Return an IP literal and a port as people write them, IPv6 in brackets."""
    if address is None:
        return "?"
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def size(octets: int) -> str:
    """Return a number of octets with its unit."""
    return f"{octets:,} octet" + ("" if octets == 1 else "s")


def duration(seconds: float) -> str:
    """Return a span of time with a unit that suits it."""
    return f"{seconds * 1000:.1f} ms" if seconds < 1 else f"{seconds:.2f} s"
