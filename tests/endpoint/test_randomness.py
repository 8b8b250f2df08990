"""A source of octets that is broken: what wants an SPI fails with a plain word, and nothing goes on for ever."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ikecore.errors import LocalProtocolError
from ikecore.events import IkeSaFailed, InternalError, RequestCompleted
from ikecore.sa import MOST_DRAWS
from ikecore.wire.numbers import Exchange
from tests.rig import Puppet, Rig

SPIS: list[tuple[Callable[[], bytes], str]] = [
    (lambda: b"short", "new_spi: gave 5 octets, not the 8 of an SPI"),
    (lambda: bytes(9), "new_spi: gave 9 octets, not the 8 of an SPI"),
    (lambda: bytes(8), f"new_spi: among {MOST_DRAWS} SPIs none could be used"),
]


@pytest.mark.parametrize(("new_spi", "words"), SPIS)
def test_without_an_spi_there_is_no_sa(new_spi: Callable[[], bytes], words: str) -> None:
    rig = Rig(raise_bugs=False, new_spi=new_spi)
    sa = rig.initiate()
    failed = rig.one(IkeSaFailed)
    assert (failed.sa, str(failed.error)) == (sa, words)
    puppet = Puppet(rig)
    assert puppet.give(puppet.init_message()) == []
    assert words in rig.last(InternalError).detail
    assert rig.endpoint.idle


class Failing:
    """A source of octets that, once it is *broken*, gives too few or always the same."""

    def __init__(self, broken: Callable[[int], bytes]) -> None:
        self.honest = 0
        self.broken = broken
        self.is_broken = False

    def __call__(self, octets: int) -> bytes:
        self.honest += 1
        return self.broken(octets) if self.is_broken else self.honest.to_bytes(octets, "little")


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (lambda octets: bytes(octets - 1), "random: gave .* octets, not the . of an SPI"),
        (bytes, f"random: among {MOST_DRAWS} SPIs none could be used"),
    ],
)
def test_a_wish_that_finds_no_spi_is_misuse_and_had_no_effect(broken: Callable[[int], bytes], words: str) -> None:
    source = Failing(broken)
    rig = Rig(raise_bugs=False, random_octets=source)
    puppet = Puppet(rig)
    sa = puppet.establish()
    child = rig.endpoint.sa(sa).children[0].id
    before = rig.picture()
    source.is_broken = True
    wishes: list[Callable[[], object]] = [
        lambda: rig.endpoint.rekey(sa, now=rig.now),
        lambda: rig.endpoint.rekey(sa, child=child, now=rig.now),
        lambda: rig.endpoint.create_child(sa, now=rig.now),
    ]
    for wish in wishes:
        with pytest.raises(LocalProtocolError, match=words):
            wish()
    assert rig.drain() == []
    assert rig.picture() == before
    source.is_broken = False
    rig.endpoint.check_liveness(sa, now=rig.now)
    rig.drain()
    puppet.give(puppet.seal(Exchange.INFORMATIONAL, message_id=0, response=True))
    rig.one(RequestCompleted)
