"""From which of our sockets a host can be reached."""

from __future__ import annotations

import pytest

from ikecore.endpoint.sockets import Sockets
from ikecore.outputs import Address
from ikecore.transport import Local

SOCKETS = (
    Local(("192.0.2.1", 500)),
    Local(("192.0.2.1", 4500), marker=True),
    Local(("192.0.2.2", 500)),
    Local(("2001:db8::1", 500)),
    Local(("192.0.2.1", 47057), kind="tcp"),
)


def sockets() -> Sockets:
    found = Sockets()
    for each in SOCKETS:
        found.locals[each.kind, each.address] = each
    return found


@pytest.mark.parametrize(
    ("remote", "marker", "preferred", "address"),
    [
        ("198.51.100.7", False, None, ("192.0.2.1", 500)),
        ("198.51.100.7", True, None, ("192.0.2.1", 4500)),
        ("198.51.100.7", False, "192.0.2.2", ("192.0.2.2", 500)),
        ("198.51.100.7", True, "192.0.2.2", None),
        ("198.51.100.7", False, "192.0.2.9", None),
        ("2001:db8::7", False, None, ("2001:db8::1", 500)),
        ("2001:db8::7", True, None, None),
        ("2001:db8::7", False, "192.0.2.1", None),
    ],
)
def test_a_udp_socket_is_of_the_family_with_the_marker_and_on_the_host_that_is_wanted(
    remote: str, marker: bool, preferred: str | None, address: Address | None
) -> None:
    assert sockets().udp_address(remote, marker, preferred) == address


def test_the_port_of_the_listener_on_a_host() -> None:
    assert sockets().listener_port("192.0.2.1") == 47057
    assert sockets().listener_port("192.0.2.2") is None
