"""Half-open SAs: whose request came before, and when cookies are demanded."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from ikecore.endpoint.admission import Admission
from ikecore.endpoint.half_open import HalfOpen
from ikecore.events import CookiesDemanded
from ikecore.limits import Limits
from ikecore.outputs import Output, SaId
from ikecore.transport import DatagramPath

PATH = DatagramPath(("192.0.2.1", 500), ("198.51.100.7", 500), False)
ELSEWHERE = DatagramPath(("192.0.2.1", 500), ("198.51.100.7", 501), False)


def an_sa(number: int = 1) -> Any:
    return SimpleNamespace(id=SaId(number))


def half_open(threshold: int = 100) -> tuple[HalfOpen, list[Output]]:
    told: list[Output] = []
    return HalfOpen(Admission(Limits(cookie_threshold=threshold)), told.append), told


def test_a_request_is_known_by_its_octets_and_its_exact_path() -> None:
    found, _ = half_open()
    sa = an_sa()
    found.opened(sa, b"digest", PATH, proved=False)
    assert found.known(b"digest", PATH) is sa
    assert found.known(b"digest", ELSEWHERE) is None
    assert found.known(b"another", PATH) is None


def test_a_request_is_known_beyond_the_set_up_until_it_is_forgotten() -> None:
    found, _ = half_open()
    sa = an_sa()
    found.opened(sa, b"digest", PATH, proved=False)
    found.settled(sa)
    assert found.known(b"digest", PATH) is sa
    found.forget(an_sa())
    found.forget(an_sa())
    assert found.known(b"digest", PATH) is None


def test_cookies_are_told_of_when_it_gets_crowded_and_when_it_is_no_more() -> None:
    found, told = half_open(threshold=2)
    for number in range(1, 5):
        found.opened(an_sa(number), bytes([number]), PATH, proved=False)
    assert told == [CookiesDemanded(True, 2)]
    for number in range(1, 5):
        found.settled(an_sa(number))
        found.settled(an_sa(number))
    assert told[1:] == [CookiesDemanded(False, 1)]
