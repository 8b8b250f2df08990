"""The configuration file: what each word means, and that every mistake is told with key, value and what is allowed."""

from __future__ import annotations

import hashlib
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import attrs
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from ikecore import (
    BySize,
    CertificateCredential,
    ChildConfig,
    Fallback,
    Identity,
    Lifetimes,
    Limits,
    Listen,
    PinnedKeys,
    Pool,
    PskCredential,
    PskTable,
    Race,
    Step,
    TcpOnly,
    TrustedCertificates,
    UdpOnly,
    WholeMission,
)
from ikecore.crypto import DEFAULT_IKE_PROPOSALS, esp_proposals, ike_proposals
from ikecore.sa import parse_selector
from ikecore.testing.pki import CertificateAuthority
from ikecore.wire.numbers import CfgAttribute as A
from ikecore_trio.cli.config_file import Settings, read_settings
from ikecore_trio.cli.problems import UsageProblem

ROOT = CertificateAuthority("Root", utc=datetime.now(UTC))
OTHER_ROOT = CertificateAuthority("Other Root", utc=datetime.now(UTC))
GATEWAY = ROOT.intermediate("Below").leaf(["gateway.example"])

PSK = """
[connections.office]
{connection}
local = {{ auth = "psk", id = "client.example" {local} }}
remote = {{ auth = "psk", id = "gateway.example" {remote} }}
{children}
[secrets.ike-1]
secret = "swordfish"
{rest}
"""


def pem(*certificates: bytes) -> bytes:
    return b"".join(x509.load_der_x509_certificate(each).public_bytes(Encoding.PEM) for each in certificates)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with certificates and keys."""
    (tmp_path / "ca.pem").write_bytes(pem(ROOT.der))
    (tmp_path / "gateway.pem").write_bytes(pem(*GATEWAY.chain))
    (tmp_path / "gateway.der").write_bytes(GATEWAY.chain[0])
    (tmp_path / "public.der").write_bytes(GATEWAY.public_key)
    (tmp_path / "gateway.key").write_bytes(GATEWAY.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    locked = GATEWAY.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"open sesame"))
    (tmp_path / "locked.key").write_bytes(locked)
    (tmp_path / "junk.pem").write_bytes(b"not a certificate")
    return tmp_path


def settings(folder: Path, text: str) -> Settings:
    path = folder / "ike.toml"
    path.write_text(text)
    return read_settings(path)


def psk(connection: str = "", local: str = "", remote: str = "", children: str = "", rest: str = "") -> str:
    return PSK.format(connection=connection, local=local, remote=remote, children=children, rest=rest)


def problems(folder: Path, text: str) -> list[str]:
    with pytest.raises(UsageProblem) as caught:
        settings(folder, text)
    return [line.removeprefix(f"{folder / 'ike.toml'}: ") for line in caught.value.lines]


# --- what is read -----------------------------------------------------------------------------------------------------


GATEWAY_FILE = """
[connections.gw]
local = {{ auth = "pubkey", certs = [{certs}] }}
remote = {{ auth = "pubkey", cacerts = "ca.pem" {remote} }}
[secrets.private-1]
file = "gateway.key"
[secrets.private-2]
file = "other.key"
"""


def gateway(remote: str = "", certs: str = '"gateway.pem"') -> str:
    return GATEWAY_FILE.format(remote=remote, certs=certs)


@pytest.fixture
def other(folder: Path) -> CertificateCredential:
    """A second chain of ours, and lists of revoked certificates."""
    leaf = OTHER_ROOT.intermediate("Between").leaf(["gateway.example"], kind="rsa-2048")
    key = leaf.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "other.key").write_bytes(key)
    (folder / "other.pem").write_bytes(pem(*leaf.chain))
    (folder / "root.crl").write_bytes(ROOT.crl())
    crls = [x509.load_der_x509_crl(der).public_bytes(Encoding.PEM) for der in (ROOT.crl(GATEWAY), ROOT.crl())]
    (folder / "two.pem").write_bytes(b"".join(crls))
    return CertificateCredential(leaf.chain, leaf.key)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ('vips = "0.0.0.0"', None),
        ('vips = "0.0.0.0"\nrequest = []', ()),
        ('vips = "0.0.0.0, ::"\nrequest = "dns"', (A.INTERNAL_IP4_DNS, A.INTERNAL_IP6_DNS)),
        ('vips = "::"\nrequest = "domain"', (A.INTERNAL_DNS_DOMAIN, A.INTERNAL_IP6_DNS)),
        (
            'vips = ["10.3.0.7", "::"]\nrequest = "dns, domain, subnet"',
            (
                A.INTERNAL_IP4_DNS,
                A.INTERNAL_IP6_DNS,
                A.INTERNAL_DNS_DOMAIN,
                A.INTERNAL_IP4_SUBNET,
                A.INTERNAL_IP6_SUBNET,
            ),
        ),
        ('vips = "::"\nrequest = "dhcp, nbns, netmask"', (A.INTERNAL_IP6_DHCP,)),
        (
            'vips = "0.0.0.0"\nrequest = "dhcp, nbns, netmask"',
            (A.INTERNAL_IP4_DHCP, A.INTERNAL_IP4_NBNS, A.INTERNAL_IP4_NETMASK),
        ),
    ],
)
def test_what_is_asked_for_beside_an_address(folder: Path, words: str, expected: tuple[int, ...] | None) -> None:
    assert settings(folder, psk(words)).connections[0].requested_attributes == expected


def test_certificates_by_hash_and_url(folder: Path, other: CertificateCredential) -> None:
    text = gateway(', fetch_from = ["http://pki.example/a/", "https://pki.example/"]', '"gateway.pem", "other.pem"')
    text = text.replace("certs = [", 'cert_uri_base = "http://pki.example/certificates/", certs = [')
    found = settings(folder, text)
    (connection,) = found.connections
    assert connection.hash_and_url
    assert found.fetched_from == {"gw": ("http://pki.example/a/", "https://pki.example/")}
    for each in connection.local_credentials:
        assert isinstance(each, CertificateCredential)
        hashes = [hashlib.sha1(der).hexdigest() for der in each.chain]
        assert each.urls == tuple(f"http://pki.example/certificates/{each}" for each in hashes)
    assert not settings(folder, gateway()).connections[0].hash_and_url
    text = text.replace("http://pki.example/certificates/", "ldap://pki.example/")
    assert 'connections.gw.local.cert_uri_base: "ldap://pki.example/"' in problems(folder, text)[0]


@pytest.mark.parametrize("word", ["relaxed", "ifuri", "strict"])
def test_revocation(folder: Path, other: CertificateCredential, word: str) -> None:
    remote = f', crls = ["root.crl", "two.pem"], revocation = "{word}"'
    trusted = settings(folder, gateway(remote)).connections[0].remote
    assert isinstance(trusted, TrustedCertificates)
    assert len(trusted.crls) == 3
    assert trusted.revocation == {"relaxed": "if-known", "ifuri": "if-uri", "strict": "required"}[word]


def test_several_certificates_of_ours(folder: Path, other: CertificateCredential) -> None:
    certs = '"gateway.pem", "other.pem"'
    (connection,) = settings(folder, gateway(certs=certs)).connections
    chains = [each.chain for each in connection.local_credentials if isinstance(each, CertificateCredential)]
    assert chains == [GATEWAY.chain, other.chain]
    assert str(connection.local_identity) == "CN=gateway.example"


def test_peers_with_secrets_of_their_own(folder: Path) -> None:
    text = """
[connections.clients]
local = { auth = "psk", id = "vpn.example" }
remote = { auth = "psk", id = "*.example" }
[secrets.ike-a]
id = ["vpn.example", "a.example"]
secret = "of a"
[secrets.ike-b]
id = ["b.example", "c.example"]
secret = "of b and c"
[secrets.ike-elsewhere]
id = "d.elsewhere"
secret = "elsewhere"
"""
    everybody = '[secrets.ike-others]\nsecret = "of others"\n'
    ours = '[secrets.ike-ours]\nid = "vpn.example"\nsecret = "with us"\n'
    for more, others in (("", None), (everybody, b"of others"), (everybody + ours, b"with us")):
        (connection,) = settings(folder, text + more).connections
        table = connection.remote
        assert isinstance(table, PskTable)
        assert connection.local == table
        found = [table.secret_for(Identity.parse(f"{name}.example")) for name in "abcd"]
        assert found == [b"of a", b"of b and c", b"of b and c", others]


CERTIFICATE_MISTAKES = [
    (
        ', revocation = "sometimes"',
        'remote.revocation: "sometimes" is not allowed; allowed: "relaxed", "ifuri", "strict"',
    ),
    (', crls = "none.crl"', 'remote.crls: "none.crl" is not allowed; allowed: files with certificate revocation lists'),
    (', crls = "ca.pem"', 'remote.crls: "ca.pem" is not allowed; '),
    (', crls = "gateway.der"', "remote: crls: number 1 is not a certificate revocation list"),
]


@pytest.mark.parametrize(("remote", "problem"), CERTIFICATE_MISTAKES)
def test_mistakes_about_revocation(folder: Path, other: CertificateCredential, remote: str, problem: str) -> None:
    (line,) = problems(folder, gateway(remote))
    assert line.startswith(f"connections.gw.{problem}")


def test_lists_without_authorities(folder: Path, other: CertificateCredential) -> None:
    text = gateway(', crls = "root.crl"').replace('cacerts = "ca.pem"', 'pubkeys = "public.der"')
    assert "nothing here; lists belong to cacerts" in problems(folder, text)[0]


def test_a_certificate_of_ours_that_has_expired(folder: Path, other: CertificateCredential) -> None:
    now = datetime.now(UTC)
    old = ROOT.leaf(["gateway.example"], key=GATEWAY.key, valid=(now - timedelta(days=9), now - timedelta(days=1)))
    (folder / "gateway.pem").write_bytes(pem(*old.chain))
    (line,) = problems(folder, gateway())
    assert "certificates that are valid now (our certificate CN=gateway.example has expired on " in line


def test_the_shortest_file(folder: Path) -> None:
    read = settings(folder, psk())
    (connection,) = read.connections
    assert connection.name == "office"
    assert connection.local_identity == Identity.parse("client.example")
    assert connection.remote_identity == Identity.parse("gateway.example")
    assert connection.local == connection.remote == PskCredential(b"swordfish")
    assert connection.proposals == DEFAULT_IKE_PROPOSALS
    assert len(connection.children) == 1
    assert connection.transports.policy == BySize()
    assert read.listen == Listen(hosts=("127.0.0.1",))


def test_everything_about_a_connection(folder: Path) -> None:
    text = psk(
        connection='version = 2\nlocal_addrs = "192.0.2.1"\nremote_addrs = ["192.0.2.2", "gateway.example"]\n'
        'remote_port = 1500\nproposals = ["aes256gcm16-prfsha384-ecp384", "aes128-sha256-x25519"]\nsend_cert = '
        '"never"\nfragmentation = "accept"\nfragment_size = 1400\n'
        'transports = { policy = "by-size", threshold = 900, udp_nat_port = 14500, tcp_port = 10500, announce_tcp = 0, '
        'half_close = true, udp_start = "nat", keepalive = 50, static_nat = true }\nencap = true\n'
        'rekey_time = "2h"\nover_time = 600\nrand_time = "5m"\nreauth_time = "1d"\ndpd_delay = "30s"\n'
        "dpd_timeout = 90.5\n"
        'dpd_action = "restart"\nunique = "replace"',
        children='[connections.office.children.net]\nlocal_ts = "10.1.0.0/16"\nremote_ts = ["10.2.0.0/16", '
        '"10.3.0.1[tcp/80]"]\nesp_proposals = "aes128gcm16, aes256-sha256"\nmode = "transport"\n'
        'rekey_time = "30m"\nlife_time = 2000\nrand_time = 60\n'
        '[connections.office.children.host]\nlocal_ts = "dynamic"',
    )
    read = settings(folder, text)
    (connection,) = read.connections
    transports = connection.transports
    assert connection.proposals == ike_proposals("aes256gcm16-prfsha384-ecp384", "aes128-sha256-x25519")
    assert connection.send_certificates == "never"
    assert (transports.udp_port, transports.udp_nat_port, transports.tcp_port) == (1500, 14500, 10500)
    assert (transports.announce_tcp, transports.half_close, transports.udp_start) == (0, True, "nat")
    assert (transports.keepalive, transports.static_nat, transports.force_encapsulation) == (50, True, True)
    assert transports.policy == BySize(threshold=900)
    assert (transports.fragmentation, transports.fragment_size) == ("accept", 1400)
    net, host = connection.children
    assert net.local_ts == (parse_selector("10.1.0.0/16"),)
    assert net.remote_ts == (parse_selector("10.2.0.0/16"), parse_selector("10.3.0.1[tcp/80]"))
    assert net.proposals == esp_proposals("aes128gcm16", "aes256-sha256")
    assert connection.lifetimes == Lifetimes(rekey_time=7200.0, over_time=600.0, rand_time=300.0, reauth_time=86_400.0)
    assert (connection.dpd_delay, connection.dpd_timeout, connection.dpd_action) == (30.0, 90.5, "restart")
    assert connection.unique == "replace"
    assert net.lifetimes == Lifetimes(rekey_time=1800.0, over_time=200.0, rand_time=60.0)
    assert host.lifetimes == ChildConfig().lifetimes
    assert (net.mode, host.mode, host.local_ts) == ("transport", "tunnel", None)
    assert read.sources == {"office": "192.0.2.1"}
    assert read.hosts_of(connection) == ("192.0.2.2", "gateway.example")
    assert read.listen.hosts == ("192.0.2.1",)


def test_every_limit_may_be_set_by_its_name(folder: Path) -> None:
    usual = attrs.asdict(Limits())
    given = {name: value + 1 for name, value in usual.items()}
    text = "".join(f"{name} = {value}\n" for name, value in given.items())
    assert settings(folder, psk(rest=f"[limits]\n{text}")).limits == Limits(**given)
    assert settings(folder, psk()).limits == settings(folder, psk(rest="[limits]")).limits == Limits()


def test_a_limit_that_may_be_a_fraction_may_be_whole(folder: Path) -> None:
    text = "[limits]\nstream_idle = 2\nretransmit_factor = 1\nunknown_spi_per_second = 0"
    read = settings(folder, psk(rest=text)).limits
    assert read == Limits(stream_idle=2.0, retransmit_factor=1.0, unknown_spi_per_second=0)
    assert isinstance(read.stream_idle, float)


WRONG_LIMITS = [
    ("sas = -1", "sas: -1 is not allowed; allowed: whole numbers from 0 on"),
    ("sas = 1.5", "sas: 1.5 is not allowed; allowed: whole numbers from 0 on"),
    ("sas = true", "sas: true is not allowed; allowed: whole numbers from 0 on"),
    ('sas = "many"', 'sas: "many" is not allowed; allowed: whole numbers from 0 on'),
    ("sas = 10000000000", "sas: 10000000000 is not allowed; allowed: whole numbers from 0 on, up to 1000000000"),
    ("window = 0", "window: 0 is not allowed; allowed: whole numbers from 1 to 256"),
    ("requests_in_flight = 257", "requests_in_flight: 257 is not allowed; allowed: whole numbers from 1 to 256"),
    ("stream_idle = 0", "stream_idle: 0 is not allowed; allowed: numbers above 0"),
    ("stream_idle = nan", "stream_idle: NaN is not allowed; allowed: numbers above 0"),
    ("stream_idle = inf", "stream_idle: Infinity is not allowed; allowed: numbers above 0, up to 1000000000"),
    ("stream_idle = true", "stream_idle: true is not allowed; allowed: numbers above 0"),
    ('stream_idle = "5s"', 'stream_idle: "5s" is not allowed; allowed: numbers above 0'),
    (f"stream_idle = -1{'0' * 400}", f"stream_idle: -1{'0' * 55}... is not allowed; allowed: numbers above 0"),
    ("retransmit_factor = 0.9", "retransmit_factor: 0.9 is not allowed; allowed: numbers from 1 on"),
]


@pytest.mark.parametrize(("line", "problem"), WRONG_LIMITS, ids=[line[:30] for line, _ in WRONG_LIMITS])
def test_wrong_limits(folder: Path, line: str, problem: str) -> None:
    assert problems(folder, psk(rest=f"[limits]\n{line}")) == [f"limits.{problem}"]


def test_limits_that_there_are_not(folder: Path) -> None:
    (found,) = problems(folder, psk(rest="[limits]\nstream = 5"))
    known = ", ".join(field.name for field in attrs.fields(Limits))
    assert found == f"limits.stream: unknown key; allowed: {known}"
    assert problems(folder, f"limits = 5\n{psk()}") == ["limits: 5 is not allowed; allowed: a table"]


@pytest.mark.parametrize(
    ("word", "policy"),
    [
        ("by-size", BySize()),
        ("udp-only", UdpOnly()),
        ("whole-mission", WholeMission()),
        ("race", Race()),
        ("tcp-only", TcpOnly()),
        ("fallback", Fallback()),
    ],
)
def test_a_policy_in_one_word(folder: Path, word: str, policy: object) -> None:
    assert settings(folder, psk(f'transports = "{word}"')).connections[0].transports.policy == policy


@pytest.mark.requirement("TCP-57")
@pytest.mark.parametrize(
    ("words", "policy"),
    [
        ('policy = "by-size", threshold = 0, open_early = true', BySize(0, open_early=True)),
        ('policy = "race", patience = 1.5, discover = true', Race(1.5, discover=True)),
        ('policy = "race", patience = 4', Race(4.0)),
        ('policy = "fallback", steps = ["tcp 3", "udp"]', Fallback((Step("tcp", 3.0), Step("udp")))),
        ('policy = "fallback", steps = "udp 0.5, tcp"', Fallback((Step("udp", 0.5), Step("tcp")))),
        ('policy = "fallback", steps = "udp 3, fragments 6"', Fallback((Step("udp", 3.0), Step("fragments", 6.0)))),
    ],
)
def test_options_of_policies(folder: Path, words: str, policy: object) -> None:
    assert settings(folder, psk(f"transports = {{ {words} }}")).connections[0].transports.policy == policy


@pytest.mark.parametrize(("word", "meaning"), [("yes", "yes"), ("accept", "accept"), ("force", "yes"), ("no", "no")])
def test_the_words_for_fragmentation(folder: Path, word: str, meaning: str) -> None:
    assert settings(folder, psk(f'fragmentation = "{word}"')).connections[0].transports.fragmentation == meaning


def test_addresses(folder: Path) -> None:
    text = psk(
        connection='vips = "0.0.0.0, ::"\npools = ["office", "guests"]',
        children='[connections.office.children.net]\nmode = "transport"\ntunnel_fallback = false',
        rest='[pools.office]\naddrs = "10.3.0.0/24"\ndns = ["10.1.0.53", "2001:db8::53"]\nnbns = "10.1.0.54"\n'
        'dhcp = "10.1.0.55"\nsubnet = "10.1.0.0/16"\ndomain = "office.example"\nnetmask = "255.255.255.0"\n'
        '[pools.guests]\naddrs = "10.4.0.5-10.4.0.9, 2001:db8:4::/64"',
    )
    (connection,) = settings(folder, text).connections
    assert connection.virtual_addresses == ("0.0.0.0", "::")
    assert connection.pools == (
        Pool(
            name="office",
            addresses=("10.3.0.0/24",),
            dns=("10.1.0.53", "2001:db8::53"),
            nbns=("10.1.0.54",),
            dhcp=("10.1.0.55",),
            subnets=("10.1.0.0/16",),
            domains=("office.example",),
            netmask="255.255.255.0",
        ),
        Pool(name="guests", addresses=("10.4.0.5-10.4.0.9", "2001:db8:4::/64")),
    )
    (child,) = connection.children
    assert (child.mode, child.tunnel_fallback) == ("transport", False)


def test_no_children_at_all(folder: Path) -> None:
    assert settings(folder, psk("children = {}")).connections[0].children == ()


def test_listening(folder: Path) -> None:
    text = psk(rest='[listen]\nhosts = ["192.0.2.1", "2001:db8::1"]\nudp = 0\nudp_nat = false\ntcp = 500')
    assert settings(folder, text).listen == Listen(hosts=("192.0.2.1", "2001:db8::1"), udp=0, udp_nat=None, tcp=500)


@pytest.mark.parametrize(
    ("text", "octets"), [("swordfish", b"swordfish"), ("0x00ff", b"\x00\xff"), ("0sAP8=", b"\x00\xff")]
)
def test_secrets_as_swanctl_writes_them(folder: Path, text: str, octets: bytes) -> None:
    read = settings(folder, psk().replace("swordfish", text))
    assert read.connections[0].local == PskCredential(octets)


def test_the_secret_that_fits_best_is_taken(folder: Path) -> None:
    text = psk(
        rest='[secrets.ike-2]\nid = "gateway.example"\nsecret = "one side"\n'
        '[secrets.ike-3]\nid = ["client.example", "gateway.example"]\nsecret = "both"\n'
        '[secrets.ike-4]\nid = ["other.example"]\nsecret = "neither"'
    )
    assert settings(folder, text).connections[0].local == PskCredential(b"both")
    assert settings(folder, text.replace('"client.example", "gate', '"gate')).connections[0].local == PskCredential(
        b"one side"
    )


CERTIFICATES = """
[connections.office]
local = { auth = "pubkey", certs = ["gateway.pem"] }
remote = { auth = "pubkey", cacerts = "ca.pem" }
[secrets.private-1]
file = "gateway.key"
"""


def test_certificates(folder: Path) -> None:
    (connection,) = settings(folder, CERTIFICATES).connections
    assert isinstance(connection.local, CertificateCredential)
    assert connection.local.chain == GATEWAY.chain
    assert connection.remote == TrustedCertificates(anchors=(ROOT.der,))
    assert str(connection.local_identity) == "CN=gateway.example"
    assert connection.remote_identity is None


@pytest.mark.parametrize("pin", ['certs = "gateway.der"', 'pubkeys = "public.der"'])
def test_pinned_keys(folder: Path, pin: str) -> None:
    (connection,) = settings(folder, CERTIFICATES.replace('cacerts = "ca.pem"', pin)).connections
    assert connection.remote == PinnedKeys(keys=(GATEWAY.public_key,))


def test_a_key_with_a_passphrase(folder: Path) -> None:
    text = CERTIFICATES.replace('"gateway.key"', '"locked.key"\nsecret = "open sesame"')
    assert isinstance(settings(folder, text).connections[0].local, CertificateCredential)


def test_which_connection(folder: Path) -> None:
    second = psk().replace("office", "home").partition("[secrets")[0]
    read = settings(folder, psk() + second)
    assert read.connection("home").name == "home"
    with pytest.raises(UsageProblem, match="which connection\\? It has office, home"):
        read.connection(None)
    with pytest.raises(UsageProblem, match="there is no connection 'work'; it has office, home"):
        read.connection("work")


# --- mistakes ---------------------------------------------------------------------------------------------------------

MISTAKES = [
    (psk('vips = "any"'), 'connections.office.vips: "any" is not allowed; allowed: "0.0.0.0" and "::" for any'),
    (psk('vips = "::"\nrequest = "wins"'), 'connections.office.request: "wins" is not allowed; allowed: dns, domain, '),
    (
        psk('request = "dns"'),
        'connections.office.request: ["dns"] is not allowed; allowed: nothing here; what is asked',
    ),
    (
        psk(local=', cert_uri_base = "http://x/"'),
        'connections.office.local.cert_uri_base: "http://x/" is not allowed; allowed: nothing here; certificates bel',
    ),
    (
        psk(remote=', fetch_from = "http://x/"'),
        'connections.office.remote.fetch_from: ["http://x/"] is not allowed; allowed: nothing here; certificates are',
    ),
    (
        psk(remote=', fetch_from = "http://x"'),
        'connections.office.remote.fetch_from: "http://x" is not allowed; allowed: URLs that end in a slash',
    ),
    (
        psk(remote=', fetch_from = "file:///etc/"'),
        'connections.office.remote.fetch_from: "file:///etc/" is not allowed; allowed: URLs that end in a slash',
    ),
    (psk('pools = "none"'), 'connections.office.pools: "none" is not allowed; allowed: names of [pools]: there are no'),
    (psk('pools = "p"', rest="[pools.p]"), 'pools.p.addrs: missing; allowed: "10.3.0.0/16"'),
    (
        psk(rest='[pools.p]\naddrs = "10.3.0.1/16"'),
        """pools.p.addrs: "10.3.0.1/16" is not allowed; allowed: "10.3.0.0/16", """,
    ),
    (
        psk(rest='[pools.p]\naddrs = "10.3.0.0/16"\ndns = "x"'),
        'pools.p.dns: "x" is not allowed; allowed: addresses of servers',
    ),
    (
        psk(rest='[pools.p]\naddrs = "10.3.0.0/16"\nsubnet = "10.1.0.1/24"'),
        'pools.p.subnet: "10.1.0.1/24" is not allowed; allowed: networks behind this gateway (',
    ),
    (psk(rest='[pools.p]\naddrs = "10.3.0.0/16"\nwins = "x"'), "pools.p.wins: unknown key; allowed: addrs, dns, "),
    (
        psk("fragment_size = 500"),
        "connections.office.fragment_size: 500 is not allowed; allowed: an integer from 576 to",
    ),
    (psk('rekey_time = "4 hours"'), 'connections.office.rekey_time: "4 hours" is not allowed; allowed: seconds'),
    (psk('rekey_time = "9999d"'), 'connections.office.rekey_time: "9999d" is not allowed; allowed: seconds'),
    (psk("dpd_delay = -1"), "connections.office.dpd_delay: -1 is not allowed; allowed: seconds"),
    (psk("rand_time = 20000"), "connections.office: rand_time: 20000 is too much; allowed is less than rekey_time"),
    (psk('unique = "yes"'), 'connections.office.unique: "yes" is not allowed; allowed: '),
    (psk('dpd_action = "trap"'), 'connections.office.dpd_action: "trap" is not allowed; allowed: '),
    (
        psk(children="[connections.office.children.net]\nrekey_time = 600\nlife_time = 500"),
        "connections.office.children.net: life_time: 500 s is over before rekey_time, 600 s",
    ),
    (psk("fragmentation = true"), "connections.office.fragmentation: true is not allowed; allowed: "),
    (psk("version = 1"), "connections.office.version: 1 is not allowed; allowed: 2"),
    (psk("verson = 2"), "connections.office.verson: unknown key; allowed: version, local_addrs, remote_addrs, "),
    (
        psk('proposals = "aes256-wuff"'),
        'connections.office.proposals: "aes256-wuff" is not allowed; allowed: proposals',
    ),
    (psk("proposals = 7"), "connections.office.proposals: 7 is not allowed; allowed: proposals such as"),
    (psk('local_addrs = "home"'), 'connections.office.local_addrs: "home" is not allowed; allowed: addresses of this'),
    (psk("remote_port = 70000"), "connections.office.remote_port: 70000 is not allowed; allowed: an integer from 1 to"),
    (psk("remote_port = true"), "connections.office.remote_port: true is not allowed; allowed: an integer from 1 to"),
    (
        psk('send_cert = "yes"'),
        'connections.office.send_cert: "yes" is not allowed; allowed: "always", "ifasked", "nev',
    ),
    (
        psk('transports = "tcp"'),
        'connections.office.transports: "tcp" is not allowed; allowed: "by-size", "udp-only", ',
    ),
    (
        psk('transports = { policy = "tcp" }'),
        'connections.office.transports.policy: "tcp" is not allowed; allowed: "by-size", "udp-only", "whole-mission"',
    ),
    (
        psk('transports = { policy = "udp-only", threshold = 3 }'),
        "connections.office.transports.threshold: 3 is not allowed; allowed: nothing here; it belongs to policy",
    ),
    (
        psk('transports = { policy = "by-size", discover = true }'),
        "connections.office.transports.discover: true is not allowed; allowed: nothing here; it belongs to policy "
        '"race"',
    ),
    (
        psk('transports = { policy = "race", patience = 0 }'),
        "connections.office.transports.patience: 0 is not allowed; allowed: seconds, above 0 and up to 3600",
    ),
    (
        psk('transports = { policy = "race", patience = inf }'),
        "connections.office.transports.patience: Infinity is not allowed; allowed: seconds",
    ),
    (
        psk('transports = { policy = "fallback", steps = ["udp", "udp 3"] }'),
        'connections.office.transports.steps: ["udp", "udp 3"] is not allowed; allowed: steps "udp", "fragments"',
    ),
    (
        psk('transports = { policy = "fallback", steps = "udp 1e9" }'),
        'connections.office.transports.steps: "udp 1e9" is not allowed; allowed: steps "udp", "fragments" and "tcp"',
    ),
    (
        psk('transports = { policy = "fallback", steps = "sctp" }'),
        'connections.office.transports.steps: "sctp" is not allowed; allowed: steps "udp", "fragments" and "tcp"',
    ),
    (psk("transports = { port = 3 }"), "connections.office.transports.port: unknown key; allowed: policy, "),
    (
        psk(local=', certs = "a.pem"'),
        'connections.office.local.certs: ["a.pem"] is not allowed; allowed: nothing here; ',
    ),
    (psk(local=', secret = "x"'), "connections.office.local.secret: unknown key; allowed: "),
    (
        psk().replace('auth = "psk", id = "client', 'id = "client'),
        'connections.office.local.auth: missing; allowed: "psk"',
    ),
    (
        psk().replace('"psk", id = "client', '"ps", id = "client'),
        'connections.office.local.auth: "ps" is not allowed; all',
    ),
    (
        psk().replace(', id = "client.example"', ""),
        "connections.office.local.id: missing; allowed: who we are: an address",
    ),
    (
        psk().replace('id = "client.example"', "id = 7"),
        "connections.office.local.id: 7 is not allowed; allowed: an addre",
    ),
    (
        psk().replace("remote = {", "remoat = {"),
        'connections.office.remote: missing; allowed: a table with auth = "psk"',
    ),
    (
        psk(children='[connections.office.children.net]\nlocal_ts = "10.1/16"'),
        'connections.office.children.net.local_ts: "10.1/16" is not allowed; allowed: "10.0.0.0/24", "10.0.0.1-10.0.0.',
    ),
    (
        psk(children='[connections.office.children.net]\nmode = "beet"'),
        'connections.office.children.net.mode: "beet" is not allowed; allowed: "tunnel", "transport"',
    ),
    (
        psk(children='[connections.office.children.net]\nesp_proposals = ["aes128"]'),
        'connections.office.children.net.esp_proposals: "aes128" is not allowed; allowed: proposals such as "aes256gcm',
    ),
    (
        psk(rest="[listen]\nudp = -1"),
        "listen.udp: -1 is not allowed; allowed: a port from 0 (any free one) to 65535, or f",
    ),
    (
        psk(rest='[listen]\nhosts = "localhost"'),
        'listen.hosts: "localhost" is not allowed; allowed: addresses of this mac',
    ),
    (
        psk(rest='[listen]\nhosts = "0.0.0.0"'),
        'listen.hosts: "0.0.0.0" is not allowed; allowed: addresses of this machine (the wildcard is',
    ),
    (
        psk(rest='[secrets.eap-1]\nsecret = "x"'),
        "secrets.eap-1: the value (not shown) is not allowed; allowed: tables cal",
    ),
    (psk(rest="[swanctl]\nx = 1"), "swanctl: unknown key; allowed: listen, limits, secrets, connections"),
    ("[connections]", "connections: {} is not allowed; allowed: at least one connection, such as [connections.office]"),
    ("", "connections: missing; allowed: a table of connections, such as [connections.office]"),
    ("connections = 3", "connections: 3 is not allowed; allowed: a table of connections, such as [connections.office]"),
    ("[connections]\noffice = 3", "connections.office: 3 is not allowed; allowed: a table"),
    (
        psk().replace("[secrets.ike-1]", '[secrets.ike-1]\nid = "other.example"'),
        'connections.office.local.auth: "psk" is not allowed; allowed: this only with a key for ',
    ),
    (
        CERTIFICATES.replace("gateway.pem", "nowhere.pem"),
        'connections.office.local.certs: "nowhere.pem" is not allowed; allowed: files with certificates, PEM or DER, '
        "relative to this file (No such file or directory)",
    ),
    (
        CERTIFICATES.replace("ca.pem", "junk.pem"),
        'connections.office.remote.cacerts: "junk.pem" is not allowed; allowed:',
    ),
    (
        CERTIFICATES.replace(', cacerts = "ca.pem"', ""),
        "connections.office.remote.cacerts: missing; allowed: files with certificates, PEM or DER, relative to this fi",
    ),
    (
        CERTIFICATES.replace("gateway.pem", "ca.pem"),
        'connections.office.local.certs: "ca.pem" is not allowed; allowed: a certificate whose private key is in a tab',
    ),
    (
        CERTIFICATES.replace("gateway.key", "locked.key"),
        'secrets.private-1.file: "locked.key" is not allowed; allowed: a file with a private key, PEM or DER, relative',
    ),
    (
        CERTIFICATES.replace('file = "gateway.key"', ""),
        "secrets.private-1.file: missing; allowed: a file with a private",
    ),
]


@pytest.mark.parametrize(("text", "problem"), MISTAKES, ids=[problem[:50] for _, problem in MISTAKES])
def test_a_mistake_is_told_with_key_value_and_what_is_allowed(folder: Path, text: str, problem: str) -> None:
    found = problems(folder, text)
    assert any(line.startswith(problem) for line in found), found
    assert all(line.isprintable() for line in found)


def test_all_mistakes_are_told_at_once(folder: Path) -> None:
    found = problems(folder, psk("version = 3\nremote_port = 0", rest="[listen]\ntcp = 70000"))
    assert [line.partition(":")[0] for line in found] == [
        "connections.office.version",
        "connections.office.remote_port",
        "listen.tcp",
    ]


def only(found: list[str], problem: str) -> None:
    assert len(found) == 1
    assert found[0].startswith(problem)


def test_what_follows_from_a_mistake_is_no_mistake_of_its_own(folder: Path) -> None:
    only(problems(folder, psk().replace('"swordfish"', '"0x7"')), "secrets.ike-1.secret: ")
    without = gateway().replace('"gateway.key"', '"nowhere.key"').partition("[secrets.private-2]")[0]
    only(problems(folder, without), "secrets.private-1.file: ")
    policy = 'transports = { policy = "race", threshold = -1, steps = "sctp" }'
    assert [line.partition(":")[0] for line in problems(folder, psk(policy))] == [
        "connections.office.transports.threshold",
        "connections.office.transports.steps",
    ]


@pytest.mark.parametrize(("word", "seconds"), [('"0"', 0.0), ('"90"', 90.0), ('"2m"', 120.0), ("1.5", 1.5)])
def test_times_as_swanctl_writes_them(folder: Path, word: str, seconds: float) -> None:
    assert settings(folder, psk(f"dpd_delay = {word}")).connections[0].dpd_delay == seconds


@pytest.mark.parametrize(
    "text",
    [
        psk().replace('secret = "swordfish"', "secret = 7777"),
        psk().replace('secret = "swordfish"', 'secret = "0x7777z"'),
        psk(rest='[secrets]\nike-2 = "7777"').replace("[secrets.ike-1]\n", "[x]\n"),
        psk(rest='[secrets.ike-2]\nsecret = ["7777"]'),
    ],
)
def test_a_secret_is_never_shown(folder: Path, text: str) -> None:
    assert not any("7777" in line for line in problems(folder, text))


def test_files_that_are_no_toml(folder: Path) -> None:
    assert problems(folder, "[connections")[0].startswith("not TOML: ")
    with pytest.raises(UsageProblem, match="nowhere: No such file"):
        read_settings(Path("nowhere"))
    with pytest.raises(UsageProblem, match="Is a directory"):
        read_settings(folder)
    (folder / "ike.toml").write_bytes(b"\xff\xfe")  # UTF-16
    with pytest.raises(UsageProblem, match="not TOML"):
        read_settings(folder / "ike.toml")


def test_a_byte_order_mark_is_no_mistake(folder: Path) -> None:
    """Editors of Windows put one in front of UTF-8."""
    (folder / "ike.toml").write_bytes(b"\xef\xbb\xbf" + psk('remote_addrs = "192.0.2.1"').encode())
    assert read_settings(folder / "ike.toml").connections[0].remote_addresses == ("192.0.2.1",)


def test_names_are_for_connecting_and_networks_for_serving(folder: Path) -> None:
    read = settings(folder, psk('remote_addrs = ["gateway.example", "10.0.0.0/8", "%any"]'))
    assert read.connections[0].remote_addresses == ("10.0.0.0/8",)
    with pytest.raises(UsageProblem, match=r'addrs: "gateway.example" is not allowed for serving; allowed: addr'):
        read.check_for_serving()
    with pytest.raises(UsageProblem, match=r"remote_addrs: 10.0.0.0/8 is not allowed for connecting"):
        read.hosts_of(read.connections[0])
    with pytest.raises(UsageProblem, match="remote_addrs: missing"):
        settings(folder, psk()).hosts_of(settings(folder, psk()).connections[0])


def test_the_command_prints_each_mistake_on_a_line(folder: Path, run: Any) -> None:
    (folder / "ike.toml").write_text(psk("version = 3\nremote_port = 0"))
    result = run("serve", folder / "ike.toml")
    assert result.exit_code == 2
    assert [line.startswith(f"ikecore: {folder}{os.sep}ike.toml: conn") for line in result.stderr.splitlines()] == [
        True,
        True,
    ]
