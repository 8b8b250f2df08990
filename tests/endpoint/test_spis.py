"""SPIs that are taken: none is drawn twice, none is kept for an SA that is gone."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from ikecore.endpoint.spis import ChildSpis, IkeSpis
from ikecore.errors import LocalProtocolError
from ikecore.outputs import SaId

FIRST, SECOND = SaId(1), SaId(2)


def drawing(*draws: bytes) -> Callable[[int], bytes]:
    """A source of random octets that gives these, then fails."""
    left = iter(draws)
    return lambda octets: next(left)[:octets]


def an_sa() -> Any:
    return SimpleNamespace()


@pytest.mark.requirement("TCP-79")
def test_an_ike_spi_is_not_zero_not_in_use_and_no_prefix_of_another_framing() -> None:
    spis = IkeSpis(drawing(bytes(8), b"IKETCP12", bytes(4) + b"1234", b"in use!!", b"good one"), None)
    spis.claim(b"in use!!", an_sa())
    assert spis.new() == b"good one"


def test_an_ike_spi_leads_to_its_sa_until_it_is_released() -> None:
    spis, sa = IkeSpis(drawing(b"the same", b"the same", b"another!", b"the same"), None), an_sa()
    spis.claim(spis.new(), sa)
    assert spis.owners == {b"the same": sa}
    assert spis.new() == b"another!"
    spis.release(b"the same")
    spis.release(b"the same")
    assert spis.owners == {}
    assert spis.new() == b"the same"


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (lambda: b"short", "new_spi: gave 5 octets, not the 8 of an SPI"),
        (lambda: bytes(8), "new_spi: among [0-9]+ SPIs none could be used"),
    ],
    ids=["another length", "always zero"],
)
def test_a_host_whose_source_gives_none_is_told(source: Callable[[], bytes], words: str) -> None:
    with pytest.raises(LocalProtocolError, match=words):
        IkeSpis(drawing(), source).new()


def test_the_host_s_source_comes_before_random_octets() -> None:
    assert IkeSpis(drawing(), lambda: b"its own!").new() == b"its own!"


def test_no_two_child_sas_have_the_same_inbound_spi() -> None:
    spis = ChildSpis(drawing(b"aaaa", b"aaaa", b"bbbb", b"bbbb", b"cccc"))
    assert [spis.new(FIRST), spis.new(SECOND), spis.new(FIRST)] == [b"aaaa", b"bbbb", b"cccc"]
    assert spis.taken == {b"aaaa", b"bbbb", b"cccc"}


def test_a_released_child_spi_may_be_drawn_again() -> None:
    spis = ChildSpis(drawing(b"aaaa", b"bbbb", b"aaaa"))
    spis.new(FIRST)
    spis.new(FIRST)
    spis.release(FIRST, b"aaaa")
    assert spis.taken == {b"bbbb"}
    assert spis.new(SECOND) == b"aaaa"


def test_what_a_gone_sa_released_before_belongs_to_others() -> None:
    spis = ChildSpis(drawing(b"aaaa", b"bbbb", b"aaaa"))
    spis.new(FIRST)
    spis.new(FIRST)
    spis.release(FIRST, b"aaaa")
    spis.new(SECOND)
    spis.release_all(FIRST)
    assert spis.taken == {b"aaaa"}
    spis.release_all(SECOND)
    spis.release_all(SECOND)
    assert spis.taken == frozenset()
