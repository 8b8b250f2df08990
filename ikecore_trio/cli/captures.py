"""Files to IKE messages: pcap and pcapng by a library, hexadecimal text, and bare octets.

`packets` reads the captures; it needs a library that the other two do without.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from ikecore.framing import MARKER, PREFIX, EspPacket, Framing, receiver

from .captured import HEADER, Captured, Kind, looks_like_ike, no_bound
from .problems import UsageProblem

__all__ = ["read_captured"]

MAGICS = (b"\xd4\xc3\xb2\xa1", b"\xa1\xb2\xc3\xd4", b"\x4d\x3c\xb2\xa1", b"\xa1\xb2\x3c\x4d", b"\x0a\x0d\x0d\x0a")

HEX_LINE = re.compile(r"(?:0x)?([0-9a-fA-F]{2})(?:[\s:,]*(?:0x)?[0-9a-fA-F]{2})*")
DUMP_LINE = re.compile(
    r"([0-9a-fA-F]{4,8})(?::\s\s?|\s\s)((?:[0-9a-fA-F]{2}){1,2}(?:\s\s?(?:[0-9a-fA-F]{2}){1,2})*)(?:\s.*)?"
)
"""A line of xxd, hexdump -C or Wireshark: offset, octets, and letters that may look like octets."""
LAST_LINE = re.compile(r"[0-9a-fA-F]{7,8}")
"""How hexdump ends: the offset behind the last octet."""
DUMPED = 16
"""Octets in a line of a dump."""


def read_captured(data: bytes, name: str) -> list[Captured]:
    """Find what is in a file. Raises `UsageProblem` for one that is empty or cannot be read as anything."""
    if not data.strip():
        raise UsageProblem(f"{name}: the file is empty")
    if data.startswith(MAGICS):
        from .packets import read_packets

        return read_packets(data, name)
    text = text_of(data)
    if text is None:
        return read_octets([data])
    return read_octets(hex_blocks(text, name))


# --- hexadecimal text and bare octets ---------------------------------------------------------------------------------


def text_of(data: bytes) -> str | None:
    """Return *data* as ASCII text, or None where it is not."""
    try:
        text = data.decode("ascii")
    except UnicodeDecodeError:
        return None
    return text if all(c.isprintable() or c in "\r\n\t" for c in text) else None


def hex_blocks(text: str, name: str) -> list[bytes]:
    """Return the octets of each block of lines; an empty line ends a block, and "#" begins a comment.

    A line is hexadecimal digits in any grouping, or one of a dump with an offset in front and letters behind.
    """
    blocks: list[bytearray] = [bytearray()]
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.partition("#")[0].strip()
        if not line:
            if not raw.strip():
                blocks.append(bytearray())
            continue
        dump = DUMP_LINE.fullmatch(line)
        if dump is not None and int(dump[1], 16) == len(blocks[-1]):
            blocks[-1] += bytes.fromhex(dump[2])[:DUMPED]
        elif blocks[-1] and LAST_LINE.fullmatch(line) and int(line, 16) == len(blocks[-1]):
            continue
        elif HEX_LINE.fullmatch(line):
            blocks[-1] += bytes.fromhex(re.sub(r"0x|[\s:,]", "", line))
        else:
            raise UsageProblem(
                f"{name}: line {number} is not hexadecimal: {line[:40]!r}",
                "Allowed are hexadecimal text (an empty line between messages), bare octets, pcap and pcapng.",
            )
    return [bytes(block) for block in blocks if block]


def read_octets(blocks: list[bytes]) -> list[Captured]:
    """Cut blocks of octets into messages: an RFC 9329 stream by its framing, others by the headers' Length."""
    found: list[Captured] = []

    def add(kind: Kind, data: bytes, note: str = "") -> None:
        found.append(Captured(len(found) + 1, None, "octets", None, None, kind, data, note))

    for block in blocks:
        if block.startswith(PREFIX):
            stream = receiver(Framing.ENCAPSULATED, prefix=True, bound=no_bound)
            for frame in stream.receive(block):
                add(
                    "esp" if isinstance(frame, EspPacket) else "ike",
                    frame.data if isinstance(frame, EspPacket) else frame,
                )
            stream.eof()
            if stream.fault is not None:
                add("fault", b"", str(stream.fault))
        else:
            for message in by_length(block.removeprefix(MARKER)):
                add("ike", message)
    return found


def by_length(data: bytes) -> Iterator[bytes]:
    """Cut messages that follow each other; what does not look like that is one message, for the decoder to judge."""
    while len(data) >= 2 * HEADER:
        length = int.from_bytes(data[24:28], "big")
        if not (HEADER <= length <= len(data) - HEADER and looks_like_ike(data[length:], whole=False)):
            break
        yield data[:length]
        data = data[length:]
    if data:
        yield data
