"""What pluto tells: keys in its log (debugging of `base`, `crypt` and `private`), SAs in `whack --showstates`."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tests.interop.peer import EspKeys, Sa, Spis

_DEBUG = re.compile(r"^\w{3} [ \d]\d [\d:.]+: \| (?P<text>.*)$")
_DUMP = re.compile(r"^  (?P<hex>[0-9a-f]{2}(?: {1,2}[0-9a-f]{2}){0,15})(?: {3}.*)?$")
_EXTRACTED = re.compile(
    r"^((?:initiator|responder) salt|chunk_SK_p[ir]|[ae][ir]) (?:extracting all (\d+) bytes of|NULL key has no)"
)
_IKE_SPIS = re.compile(r"^ikev2 ([IR]) 0x([0-9a-f]{16}) 0x([0-9a-f]{16}) ")
_ADD_SA = re.compile(r"^kernel: add_sa\(\) level=0 (inbound|outbound) .*?\[([0-9a-f]{1,8})\]=(?:\w+=)?=>")
_LISTED = re.compile(r'^000 #(\d+): "(?:lab|more)".*? STATE_V2_ESTABLISHED_(IKE|CHILD)_SA .*?(?:IKE SA #(\d+);.*)?$')
_LISTED_SPIS = re.compile(r'^000 #(\d+): "(?:lab|more)".*? esp\.([0-9a-f]{1,8})@\S+ esp\.([0-9a-f]{1,8})@')
_UP = re.compile(r"^pstats #(\d+) ikev2\.ike established$")


def _records(log: str) -> Iterator[tuple[str, bytes]]:
    """Yield the lines of debugging without their heads; octets dumped under a line come with it."""
    texts = [match["text"] for match in map(_DEBUG.match, log.splitlines()) if match]
    position = 0
    while position < len(texts):
        text, data = texts[position], b""
        position += 1
        while position < len(texts) and (dump := _DUMP.match(texts[position])):
            data += bytes.fromhex(dump["hex"])
            position += 1
        yield text, data


def ike_keys(log: str) -> list[dict[str, bytes]]:
    """Return the keys of each IKE SA by name, in the order they came up, its SPIs as "spi_i" and "spi_r" with them.

    SK_d is never logged.
    """
    found: list[dict[str, bytes]] = []
    secrets: dict[str, bytes] = {}
    name, length = "", 0
    for text, data in _records(log):
        if extracted := _EXTRACTED.match(text):
            name, length = extracted[1], int(extracted[2] or 0)
            secrets[name] = b""
        elif text == "unwrapped:" and name:
            secrets[name], name = data[:length], ""
        elif spis := _IKE_SPIS.match(text):
            # This line has keys too, but cut at 32 octets.
            side, whose = ("i", "initiator") if spis[1] == "I" else ("r", "responder")
            if side == "i":
                found.append({"spi_i": bytes.fromhex(spis[2]), "spi_r": bytes.fromhex(spis[3])})
            salt = b"" if secrets[f"a{side}"] else secrets[f"{whose} salt"]
            found[-1][f"sk_e{side}"] = secrets[f"e{side}"] + salt
            found[-1][f"sk_p{side}"] = secrets[f"chunk_SK_p{side}"]
            if secrets[f"a{side}"]:
                found[-1][f"sk_a{side}"] = secrets[f"a{side}"]
    return found


def _spi(digits: str) -> bytes:
    """Return the SPI of a Child SA, which pluto writes without its leading zeros."""
    return bytes.fromhex(digits.zfill(8))


def esp_keys(log: str) -> list[EspKeys]:
    """Return the keys of each Child SA, as they were given to the kernel."""
    found: list[EspKeys] = []
    encr = integ = b""
    outgoing: tuple[bytes, bytes, bytes] | None = None
    for text, data in _records(log):
        if text == "ESP enckey:":
            encr = data
        elif text == "ESP authkey:":
            integ = data
        elif added := _ADD_SA.match(text):
            spi = _spi(added[2])
            if added[1] == "outbound":
                outgoing = spi, encr, integ
            elif outgoing is not None:
                found.append(EspKeys(Spis(spi, outgoing[0]), encr, integ, *outgoing[1:]))
    return found


def sas(listed: str, log: str) -> tuple[Sa, ...]:
    """Return the established IKE SAs of `whack --showstates`; their SPIs are in the log alone."""
    ups = [int(up[1]) for text, _ in _records(log) if (up := _UP.match(text))]
    spis = {number: (keys["spi_i"], keys["spi_r"]) for number, keys in zip(ups, ike_keys(log), strict=False)}
    parents: list[int] = []
    above: dict[int, int] = {}
    children: dict[int, list[Spis]] = {}
    for line in listed.splitlines():
        if state := _LISTED.match(line):
            if state[2] == "IKE":
                parents.append(int(state[1]))
            else:
                above[int(state[1])] = int(state[3])
        elif (pair := _LISTED_SPIS.match(line)) and (parent := above.get(int(pair[1]))) is not None:
            children.setdefault(parent, []).append(Spis(_spi(pair[3]), _spi(pair[2])))
    return tuple(Sa(*spis[number], frozenset(children.get(number, ()))) for number in parents if number in spis)
