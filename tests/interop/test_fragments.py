"""IKE fragments (RFC 7383) with strongSwan's charon, in both roles: each side cuts and the other puts together."""

from __future__ import annotations

import re

import attrs
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

import ikecore
from ikecore.transport import UdpOnly
from tests.interop.agreement import check_agreement
from tests.interop.charon import Charon
from tests.interop.host import UdpHost
from tests.interop.peering import CHARON, CHARON_ID, OUR_ID, Authorities, Peering

MANY = [f"host-number-{number:03}.example" for number in range(140)]
"""Names in a certificate that make IKE_AUTH about 4,300 octets."""
CIPHERS = {"aead": "aes128gcm16-prfsha256-x25519", "cbc": "aes256-sha256-ecp256"}
each_cipher = pytest.mark.parametrize("ike", CIPHERS.values(), ids=CIPHERS.keys())


def load(charon: Charon, peering: Peering, authorities: Authorities) -> None:
    """Make charon's side, with a large certificate."""
    peering.load_into(charon, authorities)
    leaf = authorities.ecdsa.leaf([CHARON_ID, *MANY])
    charon.store("x509", "leaf.der", leaf.chain[0])
    charon.store("pkcs8", "leaf.der", leaf.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()))
    charon.load((charon.directory / "swanctl.conf").read_text())


def ours(
    peering: Peering, authorities: Authorities, transports: ikecore.Transports | None = None
) -> ikecore.Connection:
    """Return our side, with a large certificate."""
    leaf = authorities.ecdsa.leaf([OUR_ID, *MANY])
    return attrs.evolve(
        peering.connection(authorities),
        local=ikecore.CertificateCredential(leaf.chain, leaf.key),
        transports=transports or ikecore.Transports(policy=UdpOnly()),
    )


def host_for(connection: ikecore.Connection) -> UdpHost:
    return UdpHost(ikecore.Config(connections=(connection,), trace=True))


def fragments(host: UdpHost, kind: type[ikecore.MessageSent] | type[ikecore.MessageReceived]) -> int:
    """In how many fragments the one IKE_AUTH message went or came, however often."""
    [count] = {each.fragments for each in host.of(kind) if each.exchange == "IKE_AUTH"}
    return count


@pytest.mark.requirement("FRAG-12", "FRAG-18", "FRAG-42", "FRAG-05")
@each_cipher
def test_charon_answers_us_in_fragments(charon: Charon, authorities: Authorities, ike: str) -> None:
    peering = Peering(ike=ike, auth="ecdsa", options="fragmentation = yes")
    load(charon, peering, authorities)
    connection = ours(peering, authorities)
    with host_for(connection) as host:
        host.endpoint.initiate(connection, [CHARON], now=host.now)
        host.wait(ikecore.ChildSaEstablished)
        check_agreement(charon, host)
        assert fragments(host, ikecore.MessageSent) >= 4
        assert fragments(host, ikecore.MessageReceived) >= 4
        charon.until_said(re.compile(r"received fragment #\d of \d, reassembled"), host)
        charon.until_said(re.compile(r"splitting IKE message \(\d+ bytes\) into \d+ fragments"), host)


@pytest.mark.requirement("FRAG-12", "FRAG-18", "FRAG-42", "FRAG-10", "FRAG-02", "FRAG-03")
@each_cipher
def test_we_answer_charon_in_fragments(charon: Charon, authorities: Authorities, ike: str) -> None:
    peering = Peering(ike=ike, auth="ecdsa", options="fragmentation = yes")
    load(charon, peering, authorities)
    with host_for(ours(peering, authorities)) as host:
        job = charon.initiate("net")
        charon.until(lambda: job.poll() is not None, host)
        assert job.returncode == 0, charon.log
        check_agreement(charon, host)
        assert fragments(host, ikecore.MessageReceived) >= 4
        assert fragments(host, ikecore.MessageSent) >= 4


@pytest.mark.requirement("FRAG-05")
def test_charon_accepts_fragments_and_sends_none(charon: Charon, authorities: Authorities) -> None:
    peering = Peering(auth="ecdsa", options="fragmentation = accept")
    load(charon, peering, authorities)
    connection = ours(peering, authorities, ikecore.Transports(policy=UdpOnly(), fragment_size=700))
    with host_for(connection) as host:
        host.endpoint.initiate(connection, [CHARON], now=host.now)
        host.wait(ikecore.ChildSaEstablished)
        check_agreement(charon, host)
        assert fragments(host, ikecore.MessageSent) == 7
        assert fragments(host, ikecore.MessageReceived) == 0


@pytest.mark.requirement("FRAG-05")
def test_charon_knows_no_fragments(charon: Charon, authorities: Authorities) -> None:
    peering = Peering(auth="ecdsa", options="fragmentation = no")
    load(charon, peering, authorities)
    connection = ours(peering, authorities)
    with host_for(connection) as host:
        host.endpoint.initiate(connection, [CHARON], now=host.now)
        host.wait(ikecore.ChildSaEstablished)
        check_agreement(charon, host)
        assert fragments(host, ikecore.MessageSent) == fragments(host, ikecore.MessageReceived) == 0


class NarrowHost(UdpHost):
    """A host on a path that takes IP packets of 600 octets; of larger ones only second fragments come through."""

    def flush(self) -> None:
        for output in self.endpoint.outputs():
            if isinstance(output, ikecore.SendDatagram):
                second = output.data[16] == 53 and output.data[32:34] == b"\x00\x02"
                if second or len(output.data) <= 600 - 28:
                    self._sockets[output.local].sendto(output.data, output.remote)
            elif isinstance(output, ikecore.Event):
                self.events.append(output)


@pytest.mark.requirement("FRAG-29", "FRAG-33", "FRAG-40")
def test_charon_takes_smaller_fragments_in_place_of_those_that_were_lost(
    charon: Charon, authorities: Authorities
) -> None:
    peering = Peering(auth="ecdsa", options="fragmentation = yes")
    load(charon, peering, authorities)
    connection = ours(peering, authorities)
    limits = ikecore.Limits(retransmit_first=0.1)
    with NarrowHost(ikecore.Config(connections=(connection,), limits=limits, trace=True)) as host:
        host.endpoint.initiate(connection, [CHARON], now=host.now)
        host.wait(ikecore.ChildSaEstablished)
        check_agreement(charon, host)
        sent = [each.fragments for each in host.of(ikecore.MessageSent) if each.exchange == "IKE_AUTH"]
        assert sent[0] == sent[2] >= 4
        assert sent[3] > 2 * sent[0]
        assert set(sent[3:]) == {sent[3]}
        charon.until_said(f"received fragment #2 of {sent[0]}, waiting for complete IKE message", host)
        charon.until_said(re.compile(rf"received fragment #\d+ of {sent[3]}, reassembled"), host)
