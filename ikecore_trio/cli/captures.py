"""Files to IKE messages: pcap and pcapng by a library, hexadecimal text, and bare octets.

`packets` reads the captures; it needs a library that the other two do without.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal, TypeAlias

from ikecore.framing import MARKER, PREFIX, EspPacket, Framing, receiver
from ikecore.outputs import Address
from ikecore.record import record

from .problems import UsageProblem

__all__ = ["HEADER", "Captured", "Kind", "looks_like_ike", "no_bound", "read_captured"]

Kind: TypeAlias = Literal["ike", "esp", "keepalive", "fault"]

HEADER = 28
MAGICS = (b"\xd4\xc3\xb2\xa1", b"\xa1\xb2\xc3\xd4", b"\x4d\x3c\xb2\xa1", b"\xa1\xb2\x3c\x4d", b"\x0a\x0d\x0d\x0a")

HEX_LINE = re.compile(r"(?:0x)?([0-9a-fA-F]{2})(?:[\s:,]*(?:0x)?[0-9a-fA-F]{2})*")
DUMP_LINE = re.compile(
    r"([0-9a-fA-F]{4,8}):?\s\s?((?:[0-9a-fA-F]{2}){1,2}(?:\s{1,2}(?:[0-9a-fA-F]{2}){1,2})*)(?:\s.*)?"
)


@record
class Captured:
    """One thing found. *data* is an IKE message from its header on, or an ESP packet; for a fault, nothing.

    *number* is the packet that completed it, from 1 on; in files without packets, the message's own number.
    """

    number: int
    time: float | None
    transport: Literal["UDP", "TCP", "octets"]
    source: Address | None
    destination: Address | None
    kind: Kind
    data: bytes
    note: str = ""


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
            blocks[-1] += bytes.fromhex(dump[2])
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


def looks_like_ike(data: bytes, *, whole: bool) -> bool:
    """Tell whether *data* begins like an IKEv2 message; *whole* asks that its Length be that of *data* too."""
    if len(data) < HEADER or data[17] >> 4 != 2 or not any(data[:8]) or not 34 <= data[18] <= 250 or data[19] & 0xC7:
        return False
    length = int.from_bytes(data[24:28], "big")
    return length == len(data) if whole else length >= HEADER


def no_bound(header: object) -> int:
    return 1 << 32
