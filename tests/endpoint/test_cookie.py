"""Cookies are stateless, belong to nonce, address and SPI, and age (RFC 7296 section 2.6)."""

from __future__ import annotations

import random
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ikecore.endpoint.cookie import CookieJar
from ikecore.events import CookiesDemanded, IkeSaEstablished, Refused
from ikecore.limits import Limits
from ikecore.wire import Nonce, Notification, decode_message
from ikecore.wire.numbers import Notify
from tests.rig import Puppet, Rig

NONCE, HOST, SPI = b"n" * 32, "192.0.2.1", b"12345678"


def jar(lifetime: float = 30.0, seed: int = 1) -> CookieJar:
    return CookieJar(random.Random(seed).randbytes, lifetime)


@pytest.mark.requirement("IKE-098", "IKE-100")
def test_a_cookie_is_accepted_for_its_request_only() -> None:
    made = jar()
    cookie = made.bake(NONCE, HOST, SPI, 100.0)
    assert 1 <= len(cookie) <= 64
    assert made.accepts(cookie, NONCE, HOST, SPI, 101.0)
    assert not made.accepts(cookie, NONCE[:-1], HOST, SPI, 101.0)
    assert not made.accepts(cookie, NONCE, "192.0.2.2", SPI, 101.0)
    assert not made.accepts(cookie, NONCE, HOST, b"87654321", 101.0)
    assert not jar(seed=2).accepts(cookie, NONCE, HOST, SPI, 101.0)


@pytest.mark.requirement("IKE-102")
@given(st.binary(max_size=70))
def test_other_octets_are_not_accepted(octets: bytes) -> None:
    made = jar()
    made.bake(NONCE, HOST, SPI, 100.0)
    assert not made.accepts(octets, NONCE, HOST, SPI, 100.0)


@pytest.mark.requirement("IKE-101")
@pytest.mark.parametrize(
    ("age", "used_between", "accepted"),
    [
        (0.0, (), True),
        (29.9, (), True),
        (31.0, (), True),
        (59.0, (31.0,), True),
        (61.0, (31.0,), False),
        (1e6, (), False),
    ],
)
def test_a_secret_is_accepted_for_as_long_again(age: float, used_between: tuple[float, ...], accepted: bool) -> None:
    made = jar()
    cookie = made.bake(NONCE, HOST, SPI, 1000.0)
    for moment in used_between:
        made.bake(NONCE, HOST, SPI, 1000.0 + moment)
    assert made.accepts(cookie, NONCE, HOST, SPI, 1000.0 + age) is accepted


@pytest.mark.requirement("IKE-101")
def test_secrets_change() -> None:
    made = jar()
    cookies = {made.bake(NONCE, HOST, SPI, 1000.0 + 31.0 * turn) for turn in range(300)}
    assert len(cookies) == 300


@pytest.mark.requirement("IKE-100")
def test_nothing_is_remembered_of_a_request() -> None:
    """One jar bakes for a million strangers what another one with the same secret accepts."""
    one, other = jar(), jar()
    other.bake(b"x", HOST, SPI, 1.0)
    assert other.accepts(one.bake(NONCE, HOST, SPI, 1.0), NONCE, HOST, SPI, 1.0)


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1"])
def test_either_family(host: str) -> None:
    made = jar()
    assert made.accepts(made.bake(NONCE, host, SPI, 1.0), NONCE, host, SPI, 1.0)


# --- in an endpoint ---------------------------------------------------------------------------------------------------


def crowded(threshold: int = 2, *, trace: bool = False) -> Rig:
    """An endpoint with as many half-open SAs as make it ask for cookies."""
    rig = Rig(limits=Limits(cookie_threshold=threshold), trace=trace)
    for seed in range(threshold):
        stranger = Puppet(rig, address=(f"10.9.{seed // 250}.{seed % 250}", 500), seed=1000 + seed)
        assert len(stranger.give(stranger.init_message())) == 1
    return rig


def demanded(rig: Rig, puppet: Puppet) -> Notification:
    (answer,) = puppet.give(puppet.init_message())
    header, (cookie,) = decode_message(answer)
    assert header.spi_r == bytes(8)
    assert isinstance(cookie, Notification)
    assert cookie.notify_type == Notify.COOKIE
    return cookie


@pytest.mark.requirement("IKE-097", "IKE-098", "IKE-100", "IKE-235")
def test_from_a_threshold_on_a_cookie_is_wanted_and_nothing_kept() -> None:
    rig = crowded()
    event = rig.one(CookiesDemanded)
    assert (event.active, event.half_open) == (True, 2)
    before = rig.picture()
    puppet = Puppet(rig)
    cookie = demanded(rig, puppet)
    assert rig.picture() == before
    puppet.begin([cookie, *puppet.init_payloads()])
    puppet.authenticate()
    rig.one(IkeSaEstablished)


def test_a_request_read_at_a_glance_and_one_read_in_full_draw_the_same_cookie() -> None:
    """Where messages are traced they are read in full."""
    quick, slow = crowded(), crowded(trace=True)
    assert demanded(quick, Puppet(quick)) == demanded(slow, Puppet(slow))
    assert quick.endpoint.counters["cookie wanted"] == slow.endpoint.counters["cookie wanted"] == 1


def test_an_address_that_may_be_forged_gets_no_more_than_was_sent() -> None:
    rig = crowded()
    puppet = Puppet(rig)
    short = puppet.init_message([Nonce(b"n" * 16)])
    assert puppet.give(short) == []
    assert rig.endpoint.counters["InvalidSyntax"] == 1


def test_no_nonce_of_one_address_ends_in_another_address() -> None:
    made = jar()
    cookie = made.bake(NONCE, "192.0.2.1", SPI, 100.0)
    assert not made.accepts(cookie, NONCE + b"19", "2.0.2.1", SPI, 100.0)
    six = ip_address("2001:db8::c000:201").packed  # whoever has it asks for a cookie of 192.0.2.1
    cookie = made.bake(NONCE, str(ip_address(six)), SPI, 100.0)
    assert not made.accepts(cookie, NONCE + six[:12], str(ip_address(six[12:])), SPI, 100.0)


@pytest.mark.requirement("IKE-100", "TCP-36")
def test_a_cookie_is_for_an_address_not_for_a_port() -> None:
    rig = crowded()
    puppet = Puppet(rig)
    cookie = demanded(rig, puppet)
    puppet.address = (puppet.address[0], 999)
    assert len(decode_message(puppet.give(puppet.init_message([cookie, *puppet.init_payloads()]))[0])[1]) > 1


@pytest.mark.requirement("IKE-102")
@pytest.mark.parametrize("change", ["another cookie", "another address", "another nonce", "another SPI"])
def test_a_wrong_cookie_is_as_good_as_none(change: str) -> None:
    rig = crowded()
    puppet = Puppet(rig)
    cookie = demanded(rig, puppet)
    if change == "another cookie":
        cookie = Notification(Notify.COOKIE, b"guess")
    elif change == "another address":
        puppet.address = ("10.0.0.77", 500)
    elif change == "another nonce":
        puppet.nonce = bytes(32)
    else:
        puppet.spi = b"another!"
    (answer,) = puppet.give(puppet.init_message([cookie, *puppet.init_payloads()]))
    assert [type(each) for each in decode_message(answer)[1]] == [Notification]
    assert len(rig.endpoint.sas) == 2


@pytest.mark.requirement("TCP-36")
def test_over_tcp_no_cookie_is_wanted() -> None:
    rig = crowded()
    puppet = Puppet(rig)
    puppet.connect()
    puppet.establish()
    rig.one(IkeSaEstablished)


@pytest.mark.requirement("IKE-097")
def test_the_crowd_passes() -> None:
    rig = crowded()
    rig.run_for(Limits().half_open_lifetime + 1.0)
    assert [event.active for event in rig.of(CookiesDemanded)] == [True, False]
    puppet = Puppet(rig)
    puppet.establish()
    assert rig.of(Refused) == []
