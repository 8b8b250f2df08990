"""Pools and leases as values: what is read, and which mistakes are named."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address

import pytest

from ikecore.addressing import AddressRange, Lease, Pool, check_disjoint
from ikecore.config import Config
from ikecore.errors import LocalProtocolError
from ikecore.testing import psk_connection


@pytest.mark.parametrize(
    ("text", "first", "last", "prefix_length"),
    [
        ("10.3.0.0/24", "10.3.0.1", "10.3.0.254", 24),
        ("10.3.0.0/30", "10.3.0.1", "10.3.0.2", 30),
        ("10.3.0.0/31", "10.3.0.0", "10.3.0.1", 31),
        ("10.3.0.7", "10.3.0.7", "10.3.0.7", 32),
        ("10.3.0.7 - 10.3.0.9", "10.3.0.7", "10.3.0.9", 32),
        ("10.0.0.0/8", "10.0.0.1", "10.255.255.254", 8),
        ("2001:db8::/64", "2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff", 64),
        ("2001:db8::/127", "2001:db8::", "2001:db8::1", 127),
        ("2001:db8::5-2001:db8::9", "2001:db8::5", "2001:db8::9", 128),
    ],
)
def test_a_range_is_read(text: str, first: str, last: str, prefix_length: int) -> None:
    read = AddressRange.parse(text)
    assert (read.address(read.first), read.address(read.last)) == (ip_address(first), ip_address(last))
    assert read.prefix_length == prefix_length
    assert ip_address(first) in read
    assert ip_address("192.0.2.1") not in read


MISTAKES: dict[str, Callable[[], object]] = {
    "the pool 'p' has none": lambda: Pool(name="p", addresses=()),
    "'nowhere' is no network": lambda: Pool(name="p", addresses=("nowhere",)),
    "has host bits set": lambda: Pool(name="p", addresses=("10.3.0.1/24",)),
    "upwards in one address family": lambda: Pool(name="p", addresses=("10.3.0.9-10.3.0.1",)),
    "addresses: '10.3.0.0/24' does not fit": lambda: Pool(name="p", addresses="10.3.0.0/24"),
    "are also in 'p'": lambda: Pool(name="p", addresses=("10.3.0.0/24", "10.3.0.200-10.3.1.5")),
    "'dns.example' is no IP address": lambda: Pool(name="p", addresses=("10.3.0.0/24",), dns=("dns.example",)),
    "netmask": lambda: Pool(name="p", addresses=("10.3.0.0/24",), netmask="ffff::"),
    "nbns": lambda: Lease(nbns=("2001:db8::1",)),
    "domains": lambda: Lease(domains=("",)),
    "attributes": lambda: Lease(attributes=((40_000, b""),)),
    "prefix_length": lambda: Lease(prefix_length=129),
    "nobody's address": lambda: Lease(addresses=("0.0.0.0",)),
    "no network": lambda: Lease(subnets=("10.0.0.1/8",)),
}


@pytest.mark.parametrize("words", MISTAKES)
def test_mistakes_are_named(words: str) -> None:
    with pytest.raises(LocalProtocolError, match=words):
        MISTAKES[words]()


def test_pools_with_an_address_in_common_are_refused() -> None:
    office = Pool(name="office", addresses=("10.3.0.0/24",))
    with pytest.raises(LocalProtocolError, match="addresses of 'office' are also in 'branch'"):
        check_disjoint([office, Pool(name="branch", addresses=("10.3.0.128-10.3.0.140",))])
    check_disjoint([office, Pool(name="branch", addresses=("10.3.1.0/24", "2001:db8::/64"))])


def test_an_endpoint_has_one_pool_of_a_name() -> None:
    office = Pool(name="office", addresses=("10.3.0.0/24",))
    first = psk_connection("responder", pools=(office,))
    Config(connections=(first, psk_connection("responder", pools=(office,), name="second")))
    other = psk_connection("responder", pools=(Pool(name="office", addresses=("10.4.0.0/24",)),), name="second")
    with pytest.raises(LocalProtocolError, match="two different pools are called 'office'"):
        Config(connections=(first, other))
