"""`ikecore decode`: read messages out of a file, decrypt them where keys are given, and say what is in them."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs

from ikecore.errors import RemoteProtocolError
from ikecore.wire.describe import Description

from .captured import Captured
from .captures import read_captured
from .decryption import Decryption, Opened
from .drawing import Line, fields, put, show, terminal_width, wrap
from .key_table import KeyRow, read_key_table
from .problems import FAILED, OK, UsageProblem
from .text import address_text, printable, size

__all__ = ["Decoded", "decode_all", "run_decode"]


@attrs.define
class Decoded:
    """One message, or whatever else was found, with all there is to say about it.

    *outer* describes the message; *inner* what was encrypted in it, with offsets into the decrypted octets. *problems*
    are faults of the whole; those of a part are with the part.
    """

    captured: Captured
    title: str
    outer: list[Description]
    inner: list[Description]
    notes: list[str]
    problems: list[str]

    @property
    def faults(self) -> list[str]:
        """Everything that is wrong, with the octet where there is one."""
        return [*faults_of(self.outer, ""), *faults_of(self.inner, "decrypted "), *self.problems]

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON can carry."""
        captured = self.captured
        return {
            "number": captured.number,
            "time": captured.time,
            "transport": captured.transport,
            "source": None if captured.source is None else address_text(captured.source),
            "destination": None if captured.destination is None else address_text(captured.destination),
            "kind": captured.kind,
            "octets": len(captured.data),
            "title": self.title,
            "payloads": [describe_json(each) for each in self.outer],
            "decrypted": [describe_json(each) for each in self.inner],
            "notes": self.notes,
            "faults": self.faults,
        }


def describe_json(part: Description) -> dict[str, Any]:
    """Return one header or payload as JSON values."""
    return {
        "name": part.name,
        "title": part.title,
        "section": part.section,
        "offset": part.offset,
        "length": part.length,
        "fields": [list(pair) for pair in part.fields],
        "error": part.error,
        "octet": part.fault,
    }


def run_decode(file: str, keys: Path | None, *, as_json: bool) -> int:
    """Decode a file and print what it has. Returns the exit code."""
    name = "standard input" if file == "-" else printable(file)
    try:
        data = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        table = read_key_table(keys.read_text("utf-8"), printable(str(keys))) if keys is not None else {}
    except OSError as error:
        raise UsageProblem(f"{printable(str(error.filename or name))}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageProblem(f"{printable(str(keys))}: not a text file") from None
    found = read_captured(data, name)
    if not found:
        raise UsageProblem(f"{name}: no IKE message in it")
    faulty = False
    width = max(60, min(terminal_width(), 120))
    for decoded in decode_all(found, table, keys_given=keys is not None):
        faulty = faulty or bool(decoded.faults)
        if as_json:
            put(json.dumps(decoded.to_dict()))
        else:
            show(draw(decoded, width))
    return FAILED if faulty else OK


def decode_all(
    found: Sequence[Captured], keys: dict[tuple[bytes, bytes], KeyRow], *, keys_given: bool = True
) -> Iterator[Decoded]:
    """Decode everything that was found, in order; fragments are joined when the last one is in."""
    decryption = Decryption(keys)
    for captured in found:
        if captured.kind == "ike":
            yield decode_message(captured, decryption, keys_given)
        else:
            yield other(captured)


def other(captured: Captured) -> Decoded:
    """Say what something is that is no IKE message."""
    if captured.kind == "esp":
        data = captured.data
        title = f"ESP packet, SPI {data[:4].hex()}, sequence number {int.from_bytes(data[4:8], 'big')}"
        return Decoded(captured, title, [], [], [], [])
    if captured.kind == "keepalive":
        return Decoded(captured, "NAT keepalive (RFC 3948 section 2.3)", [], [], [], [])
    return Decoded(captured, "cannot be read", [], [], [], [captured.note])


def decode_message(captured: Captured, decryption: Decryption, keys_given: bool) -> Decoded:
    """Decode one IKE message."""
    from ikecore.wire.describe import describe_message

    outer = list(describe_message(captured.data))
    decoded = Decoded(captured, title_of(outer), outer, [], [captured.note] if captured.note else [], [])
    try:
        opened = decryption.open(captured.data)
    except RemoteProtocolError as error:
        if not decoded.faults:
            decoded.problems.append(str(error))
        return decoded
    if opened is not None:
        explain(decoded, opened, keys_given)
    return decoded


def explain(decoded: Decoded, opened: Opened, keys_given: bool) -> None:
    """Add what the decryption brought."""
    if opened.problem:
        where = "" if opened.octet is None else f" (octet {opened.octet})"
        decoded.problems.append(opened.problem + where)
    elif opened.note and (keys_given or not opened.missing_keys):
        decoded.notes.append(opened.note)
    elif opened.missing_keys:
        decoded.notes.append("encrypted; --keys FILE decrypts it")
    decoded.inner = opened.parts
    if opened.shape_problem:
        decoded.problems.append(opened.shape_problem)


def title_of(outer: Sequence[Description]) -> str:
    """Name a message by its header: exchange, direction and Message ID."""
    values = dict(outer[0].fields) if outer else {}
    if "exchange" not in values:
        return "not an IKEv2 message"
    words = values["flags"]
    direction = "response" if "response" in words else "request"
    sender = "original initiator" if "initiator" in words else "original responder"
    return f"{values['exchange']} {direction} {values['Message ID']}, from the {sender}"


def faults_of(parts: Sequence[Description], prefix: str) -> list[str]:
    """Collect what is wrong in some parts."""
    return [
        f"{part.name}: {part.error}" + (f" ({prefix}octet {part.fault})" if part.fault is not None else "")
        for part in parts
        if part.error is not None
    ]


# --- drawing ----------------------------------------------------------------------------------------------------------


def draw(decoded: Decoded, width: int) -> list[Line]:
    """Draw one message as lines of at most *width* columns."""
    captured = decoded.captured
    where = f"#{captured.number}" + ("" if captured.transport == "octets" else f"  {captured.transport}")
    if captured.source is not None:
        where += f"  {address_text(captured.source)} > {address_text(captured.destination)}"
    if captured.data:
        where += f"  {size(len(captured.data))}"
    lines: list[Line] = [((where, "tcp" if captured.transport == "TCP" else "udp"),)]
    lines += [((part, "head"),) for part in wrap(decoded.title, width)]
    for part in decoded.outer:
        lines += draw_part(part, width, 2)
    if decoded.inner:
        lines.append((("  decrypted (offsets count from the first decrypted octet)", "dim"),))
        for part in decoded.inner:
            lines += draw_part(part, width, 4)
    for note in decoded.notes:
        lines += [((f"  {part}", "dim"),) for part in wrap(note, width - 2)]
    for problem in decoded.problems:
        lines += [((f"  {part}", "bad"),) for part in wrap(f"WRONG: {problem}", width - 2)]
    lines.append((("", "note"),))
    return lines


def draw_part(part: Description, width: int, indent: int) -> list[Line]:
    """Draw one header or payload: where it is, what it is, where that is defined, and its fields."""
    octets = f"{part.offset}-{part.offset + part.length - 1}" if part.length else f"{part.offset}"
    head = f"{' ' * indent}{octets.ljust(11)}{part.name}"
    lines: list[Line]
    about = f"  {part.title}, {part.section}"
    if len(head) + len(about) <= width:
        lines = [((head, "head"), (about, "dim"))]
    else:
        lines = [((head, "head"),), ((" " * (indent + 11) + about.strip(), "dim"),)]
    lines += fields(part.fields, width, indent + 11)
    if part.error is not None:
        words = f"WRONG: {part.error}" + ("" if part.fault is None else f" (octet {part.fault})")
        lines += [((" " * (indent + 11) + text, "bad"),) for text in wrap(words, width - indent - 11)]
    return lines
