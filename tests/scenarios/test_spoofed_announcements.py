"""A responder connects to nobody because a stranger announced a port (the draft, section 2.2)."""

from __future__ import annotations

import pytest

from ikecore import Limits, OpenStream, SendDatagram, Transports
from ikecore.testing import psk_connection
from tests.rig import HERE, Rig


@pytest.mark.requirement("TCP-31", "TCP-32")
def test_ten_thousand_spoofed_announcements_open_no_connection() -> None:
    caller = Rig(tcp=False)
    caller.initiate(psk_connection("initiator", transports=Transports(announce_tcp=8500)), remotes=("10.0.0.9",))
    request = caller.one(SendDatagram).data
    rig = Rig(limits=Limits(cookie_threshold=20_000, half_open_udp=20_000, half_open_per_source=20_000))
    for number in range(10_000):
        source = (f"10.{1 + number // 250}.1.{1 + number % 250}", 500)
        rig.datagram((number + 1).to_bytes(8, "little") + request[8:], remote=source, local=HERE)
    assert len(rig.endpoint.sas) == 10_000
    assert rig.endpoint.sa(rig.endpoint.sas[-1]).peer_tcp_port == 8500
    rig.run_for(200.0)
    assert rig.of(OpenStream) == []
    assert rig.endpoint.sas == ()
