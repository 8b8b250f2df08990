"""A host that reads into a buffer of its own gives views of it: as good as bytes, and nothing of them stays."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ikecore.events import IkeSaEstablished
from ikecore.wire import decode_envelope, decode_message, decode_payloads, layouts, selectors
from tests.rig import Puppet, Rig

KINDS: list[Callable[[bytes], Any]] = [memoryview, bytearray, lambda data: memoryview(bytearray(data))]
IDS = ["view", "bytearray", "view of a bytearray"]


@pytest.fixture(autouse=True)
def nothing_known() -> Iterator[None]:
    forget()
    yield
    forget()


def forget() -> None:
    layouts.LAYOUTS.clear()
    layouts._MET.clear()
    for known in (selectors._known, selectors.known_initiator, selectors.known_responder):
        known.cache_clear()


class Viewing(Puppet):
    """Its messages come to the endpoint in other objects than bytes."""

    kind: Callable[[bytes], Any]

    def give(self, data: bytes) -> list[bytes]:
        return super().give(self.kind(data))


def a_handshake(kind: Callable[[bytes], Any], *, tcp: bool, seed: int) -> None:
    rig = Rig(seed=seed)
    puppet = Viewing(rig, seed=seed)
    puppet.kind = kind
    if tcp:
        puppet.connect()
    puppet.establish()
    rig.one(IkeSaEstablished)


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
@pytest.mark.parametrize("kind", KINDS, ids=IDS)
def test_views_do_as_well_as_bytes_and_disturb_nobody_after_them(kind: Callable[[bytes], Any], tcp: bool) -> None:
    for seed in (1, 2, 3):  # layouts are learnt from what comes more than once
        a_handshake(kind, tcp=tcp, seed=seed)
    for seed in (4, 5, 6):
        a_handshake(bytes, tcp=tcp, seed=seed)


@pytest.mark.parametrize("kind", KINDS, ids=IDS)
def test_messages_are_read_from_views_as_from_bytes(kind: Callable[[bytes], Any]) -> None:
    data = Puppet(Rig()).init_message()
    expected = decode_message(data)
    first = expected[0].next_payload
    forget()
    for _ in range(3):
        assert decode_message(kind(data)) == expected
        assert decode_payloads(first, kind(data), 28, len(data)) == expected[1]
        assert decode_envelope(kind(data)).data == data
        assert type(decode_envelope(kind(data)).data) is bytes
    assert all(type(octets) is bytes for key in layouts.LAYOUTS for octets in key[2:])
    assert all(type(octets) is bytes for layout in layouts.LAYOUTS.values() for octets in layout.fixed)
