"""The configuration file of `serve` and `connect`: TOML with the words of swanctl.conf.

    [listen]                      sockets of `serve`
    [limits]                      bounds of the endpoint
    [connections.<name>]          one peering: addresses, proposals, transports, and under it
      local, remote               who each side is and how it proves that
      children.<name>             its Child SAs
    [pools.<name>]                addresses that peers may be assigned
    [secrets.ike-<x>]             a pre-shared key and whose it is
    [secrets.private-<x>]         a file with a private key

Files that are named here are relative to the configuration file; they are read here, the core never opens one.
"""

from __future__ import annotations

import base64
import binascii
import json
import tomllib
from collections.abc import Callable, Mapping
from functools import partial
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any, Final

import attrs

from ikecore import (
    ChildConfig,
    Connection,
    Lifetimes,
    Limits,
    Listen,
    LocalProtocolError,
    Pool,
    Transports,
    TrustedCertificates,
)
from ikecore.addressing import AddressRange
from ikecore.config import CHILD_LIFETIMES, IKE_LIFETIMES
from ikecore.crypto import (
    DEFAULT_ESP_PROPOSALS,
    DEFAULT_IKE_PROPOSALS,
    Identity,
    PrivateKey,
    check_url,
    esp_proposals,
    ike_proposals,
)
from ikecore.limits import ALLOWED
from ikecore.sa import parse_selector
from ikecore.transport import LEAST_PACKET
from ikecore.wire import Proposal
from ikecore.wire.numbers import CfgAttribute

from .config_table import Table
from .credential_files import Secrets, local_credential, private_keys, remote_credential
from .policy_words import POLICY_WORDS, policy_of, read_policy
from .problems import UsageProblem
from .text import printable

__all__ = ["Settings", "read_settings"]

DEFAULTS: Final = {"proposals": DEFAULT_IKE_PROPOSALS, "esp_proposals": DEFAULT_ESP_PROPOSALS}
CHILD_MODES: Final = {"tunnel": "tunnel", "transport": "transport"}
FRAGMENTATION: Final = {"yes": "yes", "accept": "accept", "force": "yes", "no": "no"}
"""What "force" adds to "yes" elsewhere is for IKEv1."""
SEND_CERT: Final = {"always": "always", "ifasked": "asked", "never": "never"}

IKE_WORDS: Final = 'proposals such as "aes256gcm16-prfsha384-ecp384" or "aes128-sha256-x25519"'
ESP_WORDS: Final = 'proposals such as "aes256gcm16" or "aes128-sha256-x25519"'
SERVERS: Final = "addresses of servers"
REQUESTS: Final[Mapping[str, tuple[CfgAttribute | None, CfgAttribute | None]]] = {
    "dns": (CfgAttribute.INTERNAL_IP4_DNS, CfgAttribute.INTERNAL_IP6_DNS),
    "domain": (CfgAttribute.INTERNAL_DNS_DOMAIN, CfgAttribute.INTERNAL_DNS_DOMAIN),
    "subnet": (CfgAttribute.INTERNAL_IP4_SUBNET, CfgAttribute.INTERNAL_IP6_SUBNET),
    "dhcp": (CfgAttribute.INTERNAL_IP4_DHCP, CfgAttribute.INTERNAL_IP6_DHCP),
    "nbns": (CfgAttribute.INTERNAL_IP4_NBNS, None),
    "netmask": (CfgAttribute.INTERNAL_IP4_NETMASK, None),
}
"""What can be asked for beside an address, by the words of `pools`: with one of IPv4, and with one of IPv6."""
POOL_WORDS: Final = '"10.3.0.0/16", "10.3.0.5-10.3.0.77" or several of them'
TS_WORDS: Final = '"10.0.0.0/24", "10.0.0.1-10.0.0.9", each with "[protocol/port]" behind it if wanted, or "dynamic"'


@attrs.frozen
class Settings:
    """What a file says. *remotes* and *sources* are for `connect`: where a connection goes to, and from."""

    name: str
    connections: tuple[Connection, ...]
    listen: Listen
    remotes: Mapping[str, tuple[str, ...]]
    sources: Mapping[str, str]
    names_admitted: Mapping[str, tuple[str, ...]]
    """Host names among remote_addrs, by connection: `connect` resolves them, `serve` cannot tell a peer by one."""
    limits: Limits
    fetched_from: Mapping[str, tuple[str, ...]]
    """Below which URLs certificates may be fetched, by connection."""

    def connection(self, name: str | None) -> Connection:
        """Return the connection called *name*, or the only one. Raises `UsageProblem`."""
        known = ", ".join(each.name for each in self.connections)
        if name is None and len(self.connections) == 1:
            return self.connections[0]
        for each in self.connections:
            if each.name == name:
                return each
        if name is None:
            raise UsageProblem(f"{self.name}: which connection? It has {known}")
        raise UsageProblem(f"{self.name}: there is no connection {name!r}; it has {known}")

    def check_for_serving(self) -> None:
        """Raise `UsageProblem` where a connection tells peers by what a responder cannot check, or nothing listens."""
        problems = [
            f"{self.name}: connections.{name}.remote_addrs: {json.dumps(host)} is not allowed for serving; "
            "allowed: addresses and networks of peers"
            for name, hosts in self.names_admitted.items()
            for host in hosts
        ]
        if not self.listen.locals():
            problems.append(f"{self.name}: listen: no socket; allowed: a port for one of udp, udp_nat and tcp at least")
        if problems:
            raise UsageProblem(*map(printable, problems))

    def hosts_of(self, connection: Connection) -> tuple[str, ...]:
        """Return where to connect to. Raises `UsageProblem` where that is nowhere, or a whole network."""
        hosts = self.remotes[connection.name]
        where = f"{self.name}: connections.{connection.name}.remote_addrs"
        if not hosts:
            raise UsageProblem(f"{where}: missing; allowed: the peer's address or host name")
        for host in hosts:
            if not is_address(host) and is_network(host):
                raise UsageProblem(f"{where}: {host} is not allowed for connecting; allowed: an address or a host name")
        return hosts


def read_settings(path: Path) -> Settings:
    """Read a file. Raises `UsageProblem` with a line for each mistake, each with key, value and what is allowed."""
    name = printable(str(path))
    try:
        data = tomllib.loads(path.read_text("utf-8-sig"))
    except OSError as error:
        raise UsageProblem(f"{name}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageProblem(f"{name}: not TOML: {error}") from None
    problems: list[str] = []
    settings = Reader(data, name, path.parent, problems).read()
    if problems:
        raise UsageProblem(*(f"{name}: {printable(problem)}" for problem in problems))
    return settings


class Reader:
    """Reads one file."""

    def __init__(self, data: Mapping[str, Any], name: str, folder: Path, problems: list[str]) -> None:
        self._name = name
        self._top = Table(data, "", problems)
        self._folder = folder
        self._remotes: dict[str, tuple[str, ...]] = {}
        self._sources: dict[str, str] = {}
        self._names: dict[str, tuple[str, ...]] = {}
        self._fetched: dict[str, tuple[str, ...]] = {}
        self._pools: dict[str, Pool | None] = {}

    def read(self) -> Settings:
        """Read everything. What is wrong is in the problems; then the result is not to be used."""
        top = self._top
        listen, limits, secrets = top.table("listen"), top.table("limits"), top.table("secrets")
        tables = top.table("connections", required="a table of connections, such as [connections.office]")
        credentials = read_secrets(secrets, self._folder) if secrets is not None else Secrets()
        pools = top.table("pools")
        self._pools = {} if pools is None else {name: read_pool(name, each) for name, each in pools.tables().items()}
        connections = []
        for name, table in (tables.tables() if tables is not None else {}).items():
            connection = self._connection(name, table, credentials)
            if connection is not None:
                connections.append(connection)
        if tables is not None and not len(tables):
            top.problem("connections", {}, "at least one connection, such as [connections.office]")
        result = Settings(
            self._name,
            tuple(connections),
            self._listen(listen),
            self._remotes,
            self._sources,
            self._names,
            Limits() if limits is None else read_limits(limits),
            self._fetched,
        )
        top.finish()
        return result

    def _listen(self, table: Table | None) -> Listen:
        """Read the sockets. Without hosts, it is the local addresses of the connections, or else loopback."""
        hosts = tuple(dict.fromkeys(self._sources.values())) or ("127.0.0.1",)
        if table is None:
            return Listen(hosts=hosts)
        given = table.parsed("hosts", exact_address, "addresses of this machine")
        listen = Listen(
            hosts=given or hosts,
            udp=table.port("udp", 500),
            udp_nat=table.port("udp_nat", 4500),
            tcp=table.port("tcp", None),
        )
        table.finish()
        return listen

    def _connection(self, name: str, table: Table, secrets: Secrets) -> Connection | None:
        """Read one connection, None where too much is missing to make one."""
        table.number("version", 2, 2, 2)
        self._addresses(name, table)
        proposals = read_proposals(table, "proposals", ike_proposals, IKE_WORDS)
        send = table.choice("send_cert", SEND_CERT, "always")
        transports = read_transports(table)
        children = read_children(table)
        vips = table.parsed("vips", plain_address, '"0.0.0.0" and "::" for any, or addresses')
        requested = read_requested(table, vips)
        pools = self._pools_of(table)
        peer = read_peer_words(table)
        local = table.table("local", required='a table with auth = "psk" or "pubkey"')
        remote = table.table("remote", required='a table with auth = "psk" or "pubkey"')
        table.finish()
        if local is None or remote is None:
            return None
        remote_identity = read_identity(remote)
        fallback = self._sources.get(name)
        ours = local_credential(local, read_identity(local), fallback, remote_identity, secrets, self._folder)
        theirs = remote_credential(remote, ours, remote_identity, secrets, self._folder)
        self._fetched[name] = read_places(remote, theirs)
        local.finish()
        remote.finish()
        if ours is None or theirs is None:
            return None
        extra: dict[str, Any] = {}
        if proposals:
            extra["proposals"] = proposals
        if children is not None:
            extra["children"] = children
        addresses = tuple(each for each in self._remotes[name] if each not in self._names[name])
        try:
            return Connection(
                name=name,
                local_identity=ours.identity,
                local=ours.credential,
                remote=theirs,
                remote_identity=remote_identity,
                remote_addresses=addresses,
                transports=transports,
                send_certificates=send,  # type: ignore[arg-type]
                virtual_addresses=vips,
                requested_attributes=requested,
                hash_and_url=bool(self._fetched[name]),
                pools=pools,
                **peer,
                **extra,
            )
        except LocalProtocolError as error:
            table.note(str(error))
            return None

    def _pools_of(self, table: Table) -> tuple[Pool, ...]:
        """Read the names of pools, whose tables are read already; one with a mistake of its own is passed over."""
        found = []
        allowed = f"names of [pools]: {', '.join(self._pools) or 'there are none'}"
        for name in table.texts("pools", allowed):
            if name not in self._pools:
                table.problem("pools", name, allowed)
            pool = self._pools.get(name)
            if pool is not None:
                found.append(pool)
        return tuple(found)

    def _addresses(self, name: str, table: Table) -> None:
        """Read where the connection goes from and to."""
        allowed = "addresses of this machine"
        local = [a for a in table.texts("local_addrs", allowed) if a != "%any"]
        for text in local:
            if not is_address(text):
                table.problem("local_addrs", text, allowed)
        if local and is_address(local[0]):
            self._sources[name] = local[0]
        remotes = tuple(a for a in table.texts("remote_addrs", "addresses, networks or host names") if a != "%any")
        self._remotes[name] = remotes
        self._names[name] = tuple(a for a in remotes if not is_network(a))


def plain_address(text: str) -> str:
    """Return an IP literal in its usual form. Raises ValueError for anything else."""
    return str(ip_address(text))


def exact_address(text: str) -> str:
    """Return an IP literal in its usual form. Raises ValueError for anything else, and for the wildcard."""
    address = ip_address(text)
    if address.is_unspecified:
        raise ValueError("the wildcard is no address, and NAT detection needs the one that a peer sends to")
    return str(address)


def is_address(text: str) -> bool:
    """Tell whether *text* is an IP literal."""
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def is_network(text: str) -> bool:
    """Tell whether *text* is an IP literal or a network."""
    try:
        ip_network(text, strict=False)
    except ValueError:
        return False
    return True


def read_limits(table: Table) -> Limits:
    """Read bounds, each by its name in `Limits`."""
    usual = Limits()
    given: dict[str, Any] = {}
    for field in attrs.fields(Limits):
        name = field.name
        number = table.limit(name, getattr(usual, name), partial(limits_with, name), field.metadata[ALLOWED])
        if number is not None:
            given[name] = number
    table.finish()
    return Limits(**given)


def limits_with(name: str, value: Any) -> Limits:
    """Return the usual limits but for one. Raises LocalProtocolError where it cannot be so."""
    return Limits(**{name: value})


def read_identity(table: Table) -> Identity | None:
    """Read `id`; "%any" is the same as none."""
    allowed = 'an address, a name, an e-mail address, a distinguished name such as "C=CH, CN=gateway", or "%any"'
    text = table.text("id", allowed)
    if text is None or text == "%any":
        return None
    try:
        return Identity.parse(text)
    except LocalProtocolError as error:
        table.problem("id", text, f"{allowed} ({error})")
        return None


def read_transports(connection: Table) -> Transports:
    """Read the policy, as a word or as a table with more, and the port of the peer."""
    port = connection.number("remote_port", 1, 65535, 500)
    extra: dict[str, Any] = {"udp_port": port}
    extra["fragmentation"] = connection.choice("fragmentation", FRAGMENTATION, "yes")
    extra["fragment_size"] = connection.number("fragment_size", LEAST_PACKET, 65535, Transports().fragment_size)
    extra["force_encapsulation"] = connection.flag("encap", False)
    if isinstance(connection.peek("transports"), dict):
        table = connection.table("transports")
        if table is not None:
            extra["policy"] = read_policy(table)
            for key, lowest in (("udp_nat_port", 1), ("tcp_port", 1), ("announce_tcp", 0)):
                value = table.number(key, lowest, 65535, None)
                if value is not None:
                    extra[key] = value
            extra["udp_start"] = table.choice("udp_start", {"ike": "ike", "nat": "nat"}, "ike")
            extra["half_close"] = table.flag("half_close", False)
            extra["static_nat"] = table.flag("static_nat", False)
            extra["keepalive"] = table.number("keepalive", 0, 3600, 20)
            table.finish()
    else:
        words = {word: word for word in POLICY_WORDS}
        extra["policy"] = policy_of(connection.choice("transports", words, "by-size"))
    return Transports(**extra)


def read_requested(table: Table, vips: tuple[str, ...]) -> tuple[int, ...] | None:
    """Read what is asked for beside addresses; None, without the key, is DNS servers.

    Domain names go with servers that know them: whoever asks for names asks for those as well (RFC 8598 section 3.1).
    """
    if "request" not in table:
        return None
    allowed = ", ".join(REQUESTS)
    words = table.texts("request", allowed)
    for word in words:
        if word not in REQUESTS:
            table.problem("request", word, allowed)
    if words and not vips:
        table.problem("request", list(words), "nothing here; what is asked for goes with an address of vips")
    if "domain" in words:
        words = (*words, "dns")
    families = dict.fromkeys(":" in text for text in vips)
    found = [REQUESTS[word][six] for word in words if word in REQUESTS for six in families]
    return tuple(dict.fromkeys(int(each) for each in found if each is not None))


def read_places(remote: Table, credential: object) -> tuple[str, ...]:
    """Read the URLs below which the peer's certificates may be fetched."""
    allowed = 'URLs that end in a slash, such as "http://pki.example/certificates/"'

    def place(text: str) -> str:
        check_url(text)
        if not text.endswith("/"):
            raise ValueError("what is below it would not be told from what only begins alike")
        return text

    places = remote.parsed("fetch_from", place, allowed)
    if places and credential is not None and not isinstance(credential, TrustedCertificates):
        remote.problem(
            "fetch_from", list(places), "nothing here; certificates are fetched where cacerts are to verify them"
        )
    return places


def read_children(connection: Table) -> tuple[ChildConfig, ...] | None:
    """Read the Child SAs: None without the table (one from host to host), none at all for an empty one."""
    children = connection.table("children")
    if children is None:
        return None
    found = []
    for name, table in children.tables().items():
        extra: dict[str, Any] = {}
        for key in ("local_ts", "remote_ts"):
            texts = table.texts(key, TS_WORDS)
            if texts and texts != ("dynamic",):
                extra[key] = table.parsed(key, parse_selector, TS_WORDS) or None
        proposals = read_proposals(table, "esp_proposals", esp_proposals, ESP_WORDS)
        if proposals:
            extra["proposals"] = proposals
        extra["mode"] = table.choice("mode", CHILD_MODES, "tunnel")
        extra["tunnel_fallback"] = table.flag("tunnel_fallback", True)
        lifetimes = read_child_lifetimes(table)
        if lifetimes is not None:
            extra["lifetimes"] = lifetimes
        table.finish()
        try:
            found.append(ChildConfig(name=name, **extra))
        except LocalProtocolError as error:
            table.note(str(error))
    return tuple(found)


def read_peer_words(table: Table) -> dict[str, Any]:
    """Read the life-times of an IKE SA, how a silent peer is met, and what several SAs with one peer mean."""
    words: dict[str, Any] = {
        "dpd_action": table.choice("dpd_action", {"clear": "clear", "restart": "restart"}, "clear"),
        "unique": table.choice("unique", {word: word for word in ("never", "no", "replace", "keep")}, "no"),
    }
    for key in ("dpd_delay", "dpd_timeout"):
        seconds = table.duration(key)
        if seconds is not None:
            words[key] = seconds
    times = {key: table.duration(key) for key in ("rekey_time", "over_time", "rand_time", "reauth_time")}
    lifetimes = made_lifetimes(table, IKE_LIFETIMES, times)
    if lifetimes is not None:
        words["lifetimes"] = lifetimes
    return words


def read_child_lifetimes(table: Table) -> Lifetimes | None:
    """Read the life-times of a Child SA: *life_time* is the hard limit."""
    rekey, life = table.duration("rekey_time"), table.duration("life_time")
    after = CHILD_LIFETIMES.rekey_time if rekey is None else rekey
    if life is not None and after and life <= after:
        table.note(f"life_time: {life:g} s is over before rekey_time, {after:g} s")
        return None
    over = None if life is None else life - after
    return made_lifetimes(
        table, CHILD_LIFETIMES, {"rekey_time": rekey, "over_time": over, "rand_time": table.duration("rand_time")}
    )


def made_lifetimes(table: Table, default: Lifetimes, times: Mapping[str, float | None]) -> Lifetimes | None:
    """Return *default* with what *times* says; None where it says nothing, or nothing that makes sense."""
    given = {key: seconds for key, seconds in times.items() if seconds is not None}
    try:
        return attrs.evolve(default, **given) if given else None
    except LocalProtocolError as error:
        table.note(str(error))
        return None


def read_pool(name: str, table: Table) -> Pool | None:
    """Read one pool, None where it cannot be made."""

    def addresses(text: str) -> str:
        AddressRange.parse(text)
        return text

    if "addrs" not in table:
        table.missing("addrs", POOL_WORDS)
    words: dict[str, Any] = {
        "addresses": table.parsed("addrs", addresses, POOL_WORDS),
        "dns": table.parsed("dns", plain_address, SERVERS),
        "nbns": table.parsed("nbns", plain_address, SERVERS),
        "dhcp": table.parsed("dhcp", plain_address, SERVERS),
        "subnets": table.parsed("subnet", lambda text: str(ip_network(text)), "networks behind this gateway"),
        "domains": table.texts("domain", "names that the DNS servers know"),
        "netmask": table.text("netmask", "a netmask for IPv4 addresses"),
    }
    table.finish()
    if not words["addresses"]:
        return None
    try:
        return Pool(name=name, **words)
    except LocalProtocolError as error:
        table.note(str(error))
        return None


def read_proposals(
    table: Table, key: str, parse: Callable[..., tuple[Proposal, ...]], allowed: str
) -> tuple[Proposal, ...]:
    """Read proposals in order of preference. "default" stands for those that are used without any."""
    found: list[Proposal] = []
    for group in table.parsed(key, lambda text: DEFAULTS[key] if text == "default" else parse(text), allowed):
        found += group
    return tuple(Proposal(at, each.protocol, each.spi, each.transforms) for at, each in enumerate(found, 1))


# --- secrets ----------------------------------------------------------------------------------------------------------


def read_secrets(table: Table, folder: Path) -> Secrets:
    """Read the secrets: pre-shared keys with their owners, and private keys out of their files."""
    shared: list[tuple[tuple[Identity, ...], bytes]] = []
    private: list[PrivateKey] = []
    incomplete = False
    allowed_id = 'identities, such as "gateway.example" or ["10.0.0.1", "10.0.0.2"]'
    for name, entry in table.tables().items():
        if name.startswith("ike"):
            owners = entry.parsed("id", Identity.parse, allowed_id, commas=False)
            secret = read_secret(entry)
            entry.finish()
            if secret is not None:
                shared.append((owners, secret))
            incomplete |= secret is None
        elif name.startswith("private"):
            found = private_keys(entry, folder)
            entry.finish()
            private += found
            incomplete |= not found
        else:
            table.problem(name, {}, "tables called ike-<name> or private-<name>")
    return Secrets(tuple(shared), tuple(private), incomplete)


def read_secret(entry: Table) -> bytes | None:
    """Read a pre-shared key: text, hexadecimal behind 0x or base64 behind 0s."""
    allowed = 'text, or octets as "0x" with hexadecimal or "0s" with base64, of at least one octet'
    text = entry.text("secret", allowed)
    if text is None:
        if "secret" not in entry:
            entry.missing("secret", allowed)
        return None
    try:
        if text.startswith("0x"):
            secret = bytes.fromhex(text[2:])
        elif text.startswith("0s"):
            secret = base64.b64decode(text[2:], validate=True)
        else:
            secret = text.encode("utf-8")
    except (ValueError, binascii.Error):
        secret = b""
    if not secret:
        entry.problem("secret", text, allowed)
        return None
    return secret
