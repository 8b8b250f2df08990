"""What charon tells: keys in its log (level 4 of `ike` and `chd`), SAs in `swanctl --list-sas --raw`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

_LINE = re.compile(r"^\d\d\[[A-Z]{3}\] (?P<text>.*)$")
_PARSED = re.compile(r"^parsed (?:IKE_AUTH|CREATE_CHILD_SA) (request|response) ")
_SECRET = re.compile(r"^(?P<name>.+?) => (?P<length>\d+) bytes? @ \S+$")
_DUMP = re.compile(r"^ *\d+: (?P<hex>(?:[0-9A-F]{2} ){0,15}[0-9A-F]{2})(?: .*)?$")
_ESP_SPI = re.compile(r"^  SPI 0x([0-9a-f]{8}), src ")
_TOKEN = re.compile(
    r"(?P<close>\})|(?P<section>[^\s={}]+) \{|(?P<key>[^\s={}]+)=(?P<value>.*?)(?= [^\s={}]+(?:=| \{)|\})"
)

_IKE_SECRETS = {
    "shared Diffie Hellman secret": "dh",
    "SKEYSEED": "skeyseed",
    **{f"Sk_{name} secret": f"sk_{name}" for name in ("d", "ai", "ar", "ei", "er", "pi", "pr")},
}
_CHILD_SECRETS = {
    "DH secret": "dh",
    "encryption initiator key": "encr_i",
    "encryption responder key": "encr_r",
    "integrity initiator key": "integ_i",
    "integrity responder key": "integ_r",
}


@dataclass
class ChildKeys:
    """KEYMAT of one Child SA: the keys of each direction, named for the exchange's initiator and responder as senders.

    *dh* is the secret of a key exchange of its own (PFS). *spi_in* and *spi_out* (4 octets) are charon's: what it
    expects and what it sends. *initiated*: charon was the exchange's initiator.
    """

    encr_i: bytes = b""
    encr_r: bytes = b""
    integ_i: bytes = b""
    integ_r: bytes = b""
    dh: bytes = b""
    spi_in: bytes = b""
    spi_out: bytes = b""
    initiated: bool = False


@dataclass
class LoggedKeys:
    """Keys in the order of the log: of each IKE SA by name (dh, skeyseed, sk_d ...), and of each Child SA."""

    ike: list[dict[str, bytes]] = field(default_factory=list)
    children: list[ChildKeys] = field(default_factory=list)


def _records(log: str) -> Iterator[tuple[str, bytes]]:
    """Yield the log's lines without their heads; octets dumped under a line come with it."""
    texts = [match["text"] for match in map(_LINE.match, log.splitlines()) if match]
    position = 0
    while position < len(texts):
        text, data = texts[position], b""
        position += 1
        named = _SECRET.match(text)
        if named is None:
            yield text, b""
            continue
        while position < len(texts) and len(data) < int(named["length"]) and (dump := _DUMP.match(texts[position])):
            data += bytes.fromhex(dump["hex"])
            position += 1
        yield named["name"], data


def keys(log: str) -> LoggedKeys:
    """Return the keys in *log*."""
    found = LoggedKeys()
    initiated = False
    for text, data in _records(log):
        if parsed := _PARSED.match(text):
            initiated = parsed[1] == "response"
        elif name := _IKE_SECRETS.get(text):
            if name == "dh" or not found.ike or name in found.ike[-1]:
                found.ike.append({})
            found.ike[-1][name] = data
        elif name := _CHILD_SECRETS.get(text):
            if not found.children or found.children[-1].spi_out or getattr(found.children[-1], name):
                found.children.append(ChildKeys(initiated=initiated))
            setattr(found.children[-1], name, data)
        elif (spi := _ESP_SPI.match(text)) and found.children:
            child = found.children[-1]
            setattr(child, "spi_out" if child.spi_in else "spi_in", bytes.fromhex(spi[1]))
    return found


@dataclass
class ChildSa:
    """A Child SA as charon lists it."""

    name: str
    state: str
    spi_in: bytes
    spi_out: bytes
    facts: dict[str, str]


@dataclass
class IkeSa:
    """An IKE SA as charon lists it."""

    name: str
    state: str
    spi_i: bytes
    spi_r: bytes
    facts: dict[str, str]
    children: list[ChildSa]


@dataclass
class _Section:
    facts: dict[str, str] = field(default_factory=dict)
    sections: dict[str, _Section] = field(default_factory=dict)


def _parse(text: str) -> _Section:
    """Read one raw event: sections in braces, facts as key=value."""
    stack = [_Section()]
    for token in _TOKEN.finditer(text):
        if token["close"]:
            if len(stack) > 1:
                stack.pop()
        elif token["section"]:
            section = _Section()
            stack[-1].sections[token["section"]] = section
            stack.append(section)
        else:
            stack[-1].facts[token["key"]] = token["value"].strip()
    return stack[0]


def ike_sas(raw: str) -> list[IkeSa]:
    """Return the IKE SAs in the output of `swanctl --list-sas --raw`."""
    found = []
    for line in raw.splitlines():
        if not line.startswith("list-sa event "):
            continue
        event = next(iter(_parse(line).sections.values()))
        for name, section in event.sections.items():
            children = section.sections.get("child-sas", _Section()).sections.values()
            found.append(
                IkeSa(
                    name,
                    section.facts["state"],
                    bytes.fromhex(section.facts.get("initiator-spi", "")),
                    bytes.fromhex(section.facts.get("responder-spi", "")),
                    section.facts,
                    [
                        ChildSa(
                            child.facts["name"],
                            child.facts["state"],
                            bytes.fromhex(child.facts.get("spi-in", "")),
                            bytes.fromhex(child.facts.get("spi-out", "")),
                            child.facts,
                        )
                        for child in children
                    ],
                )
            )
    return found
