"""`ikecore serve` and `ikecore connect` in two processes, over loopback on free ports."""

from __future__ import annotations

import hashlib
import json
import re
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from ikecore.testing.pki import CertificateAuthority
from ikecore_trio.cli.key_table import read_key_table

SERVE = """
[listen]
hosts = ["127.0.0.1"]
udp = 0
udp_nat = 0
tcp = 0

[connections.shared]
local = { auth = "psk", id = "gateway.example" }
remote = { auth = "psk", id = "*.psk.example" }
children.net = { local_ts = "10.2.0.0/16", remote_ts = "10.1.0.0/16" }

[connections.roaming]
local = { auth = "psk", id = "gateway.example" }
remote = { auth = "psk", id = "*.roaming.example" }
pools = "office"
children.net = { local_ts = "10.2.0.0/16" }

[pools.office]
addrs = "10.3.0.0/24"
dns = "10.2.0.53"

[connections.certified]
local = { auth = "pubkey", id = "gateway.example", certs = "gateway.pem" }
remote = { auth = "pubkey", id = "client.example", cacerts = "ca.pem" }
children.net = { local_ts = "10.2.0.0/16", remote_ts = "10.1.0.0/16" }

[secrets.ike-1]
secret = "swordfish"

[secrets.private-1]
file = "gateway.key"
"""

CONNECT = """
[connections.shared]
remote_addrs = "127.0.0.1"
remote_port = {udp}
transports = {{ udp_nat_port = {udp_nat} }}
local = {{ auth = "psk", id = "client.psk.example" }}
remote = {{ auth = "psk", id = "gateway.example" }}
children.net = {{ local_ts = "10.1.0.0/16", remote_ts = "10.2.0.0/16" }}

[connections.roaming]
remote_addrs = "127.0.0.1"
remote_port = {udp}
transports = {{ udp_nat_port = {udp_nat} }}
vips = "0.0.0.0"
local = {{ auth = "psk", id = "client.roaming.example" }}
remote = {{ auth = "psk", id = "gateway.example" }}
children.net = {{ remote_ts = "10.2.0.0/16" }}

[connections.certified]
local_addrs = "127.0.0.1"
remote_addrs = "127.0.0.1"
remote_port = {udp}
transports = {{ policy = "by-size", udp_nat_port = {udp_nat} }}
local = {{ auth = "pubkey", id = "client.example", certs = "client.pem" }}
remote = {{ auth = "pubkey", id = "gateway.example", cacerts = "ca.pem" }}
children.net = {{ local_ts = "10.1.0.0/16", remote_ts = "10.2.0.0/16" }}

[secrets.ike-1]
secret = "{secret}"

[secrets.private-1]
file = "client.key"
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an authority, and a certificate with its key for each side."""
    path = tmp_path_factory.mktemp("ike")
    root = CertificateAuthority("Root", kind="ml-dsa-65", utc=datetime.now(UTC))
    below = root.intermediate("Below")
    (path / "ca.pem").write_bytes(root.certificate.public_bytes(Encoding.PEM))
    for name in ("client", "gateway"):
        leaf = below.leaf([f"{name}.example"])
        chain = [x509.load_der_x509_certificate(each).public_bytes(Encoding.PEM) for each in leaf.chain]
        (path / f"{name}.pem").write_bytes(b"".join(chain))
        key = leaf.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (path / f"{name}.key").write_bytes(key)
    (path / "serve.toml").write_text(SERVE)
    return path


class Server:
    """A running `ikecore serve --json`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        assert process.stdout is not None
        listening = json.loads(process.stdout.readline())
        assert listening["type"] == "Listening"
        udp, udp_nat, tcp = listening["sockets"]
        assert (udp["kind"], udp["marker"], udp_nat["marker"], tcp["kind"]) == ("udp", False, True, "tcp")
        self.ports = {"udp": udp["port"], "udp_nat": udp_nat["port"]}

    def end(self) -> list[dict[str, Any]]:
        """Wait for its end and return what it told."""
        output, errors = self.process.communicate(timeout=30)
        assert (errors, self.process.returncode) == ("", 0)
        return [json.loads(line) for line in output.splitlines()]


@pytest.fixture
def server(folder: Path, start: Callable[..., subprocess.Popen[str]]) -> Iterator[Server]:
    process = start("serve", folder / "serve.toml", "--json", "--once")
    try:
        yield Server(process)
    finally:
        process.kill()
        process.communicate()


def client(folder: Path, server: Server, secret: str = "swordfish") -> Path:
    path = folder / "connect.toml"
    path.write_text(CONNECT.format(secret=secret, **server.ports))
    return path


def types(events: list[dict[str, Any]]) -> list[str]:
    return [each["type"] for each in events]


@pytest.mark.parametrize(("connection", "transport"), [("shared", "udp"), ("certified", "tcp")])
def test_an_sa_between_two_processes(
    folder: Path, server: Server, script: Any, connection: str, transport: str
) -> None:
    result = script("connect", client(folder, server), connection, "--once", "--json")
    assert (result.stderr, result.returncode) == ("", 0)
    ours = [json.loads(line) for line in result.stdout.splitlines()]
    theirs = server.end()
    (up,) = (each for each in ours if each["type"] == "IkeSaEstablished")
    (theirs_up,) = (each for each in theirs if each["type"] == "IkeSaEstablished")
    assert (up["peer_identity"], up["transport"], up["role"]) == ("fqdn:gateway.example", transport, "initiator")
    assert (theirs_up["connection"], theirs_up["role"]) == (connection, "responder")
    assert (up["spi_i"], up["spi_r"]) == (theirs_up["spi_i"], theirs_up["spi_r"])
    (child,) = (each for each in ours if each["type"] == "ChildSaEstablished")
    (their_child,) = (each for each in theirs if each["type"] == "ChildSaEstablished")
    assert (child["spi_in"], child["remote_ts"]) == (their_child["spi_out"], ["10.2.0.0/16"])
    # Which end of the connection sees its end first is left to the kernel.
    ends = [[each for each in side if each["type"] != "StreamChanged"][-1] for side in (ours, theirs)]
    assert [(each["type"], each["by"]) for each in ends] == [("IkeSaClosed", "us"), ("IkeSaClosed", "peer")]
    assert not any("keys" in each for each in ours + theirs)


def test_limits_of_the_files_are_those_of_the_endpoints(
    folder: Path, script: Any, start: Callable[..., subprocess.Popen[str]]
) -> None:
    """One side admits nobody, and the other has little patience with that."""
    path = folder / "full.toml"
    path.write_text(f"{SERVE}\n[limits]\nhalf_open_udp = 0\nhalf_open_tcp = 0\n")
    process = start("serve", path, "--json")
    try:
        server = Server(process)
        ours = client(folder, server)
        ours.write_text(f"{ours.read_text()}\n[limits]\nestablish_timeout = 0.5\n")
        for connection in ("shared", "certified"):
            result = script("connect", ours, connection, "--once", "--json")
            assert (result.returncode, "PeerUnreachable" in result.stderr) == (1, True), result.stderr
        process.send_signal(signal.SIGINT)
        told = server.end()
    finally:
        process.kill()
        process.communicate()
    assert "IkeSaEstablished" not in types(told)


def test_readable_lines_and_the_key_log(folder: Path, server: Server, script: Any) -> None:
    keys = folder / "keys"
    result = script("connect", client(folder, server), "shared", "--for", "0.1", env={"IKEKEYLOGFILE": str(keys)})
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[-1] == "IKE SA 1 down: we deleted it"
    assert any(line.startswith("IKE SA 1 up: shared, fqdn:gateway.example at 127.0.0.1:") for line in lines)
    assert any(line.startswith("Child SA 1 of IKE SA 1 up: net, 10.1.0.0/16 to 10.2.0.0/16, ") for line in lines)
    assert len(read_key_table(keys.read_text(), "keys")) == 1


def test_assigned_addresses_are_told(folder: Path, server: Server, script: Any) -> None:
    result = script("connect", client(folder, server), "roaming", "--once")
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert "IKE SA 1: we have 10.3.0.1, DNS 10.2.0.53" in lines
    assert any(line.startswith("Child SA 1 of IKE SA 1 up: net, 10.3.0.1 to 10.2.0.0/16, ") for line in lines)
    (told,) = (each for each in server.end() if each["type"] == "AddressesAssigned")
    assert (told["to_peer"], told["lease"]["addresses"]) == (True, ["10.3.0.1"])


def test_domain_names_are_asked_for(folder: Path, script: Any, start: Callable[..., subprocess.Popen[str]]) -> None:
    (folder / "domains.toml").write_text(
        SERVE.replace('dns = "10.2.0.53"', 'dns = "10.2.0.53"\ndomain = ["office.example", "lab.example"]')
    )
    process = start("serve", folder / "domains.toml", "--json", "--once")
    try:
        path = client(folder, Server(process))
        path.write_text(path.read_text().replace('vips = "0.0.0.0"', 'vips = "0.0.0.0"\nrequest = "domain"'))
        result = script("connect", path, "roaming", "--once")
    finally:
        process.kill()
        process.communicate()
    assert result.returncode == 0, result.stderr
    assert "IKE SA 1: we have 10.3.0.1, DNS 10.2.0.53, domains office.example lab.example" in result.stdout.splitlines()


@pytest.fixture
def web(folder: Path) -> Iterator[str]:
    """A web server with both sides' certificates, each by its hash; its URL."""
    found = {}
    for name in ("client", "gateway"):
        for each in x509.load_pem_x509_certificates((folder / f"{name}.pem").read_bytes()):
            der = each.public_bytes(Encoding.DER)
            found[f"/{hashlib.sha1(der).hexdigest()}"] = der

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path in found else 404)
            self.end_headers()
            self.wfile.write(found.get(self.path, b""))

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.requirement("IKE-271")
@pytest.mark.parametrize("allowed", [True, False])
def test_certificates_by_hash_and_url(
    folder: Path, web: str, script: Any, start: Callable[..., subprocess.Popen[str]], allowed: bool
) -> None:
    """Both sides name theirs; each fetches the other's, if the place is one of its own."""

    def by_reference(text: str, fetch_from: str) -> str:
        text = text.replace(' certs = "', f' cert_uri_base = "{web}", certs = "')
        return text.replace('cacerts = "ca.pem"', f'cacerts = "ca.pem", fetch_from = "{fetch_from}"')

    (folder / "web.toml").write_text(by_reference(SERVE, web if allowed else f"{web}elsewhere/"))
    process = start("serve", folder / "web.toml", "--json", *(["--once"] if allowed else []))
    try:
        path = client(folder, Server(process))
        path.write_text(by_reference(path.read_text(), web))
        result = script("connect", path, "certified", "--once", "--json")
        if allowed:
            output, errors = process.communicate(timeout=30)
        else:
            process.send_signal(signal.SIGINT)
            output, errors = process.communicate(timeout=30)
    finally:
        process.kill()
    assert result.returncode == (0 if allowed else 1), result.stderr
    (up,) = (
        (json.loads(line) for line in result.stdout.splitlines() if '"IkeSaEstablished"' in line) if allowed else ({},)
    )
    if allowed:
        assert (errors, up["peer_identity"]) == ("", "fqdn:gateway.example")
        sizes = [
            each["octets"] for each in map(json.loads, result.stdout.splitlines()) if each["type"] == "MessageSent"
        ]
        assert max(sizes) < 2000, "hashes and URLs in place of an ML-DSA chain"
    else:
        assert f"ikecore: certified: {web}" in errors
        assert "is not fetched: it is not below any URL of fetch_from" in errors
        assert "was not fetched" in output


def test_the_ladder(folder: Path, server: Server, script: Any) -> None:
    result = script("connect", client(folder, server), "certified", "--once", "--ladder")
    assert result.returncode == 0, result.stderr
    for words in ("IKE_SA_INIT request 0", "IKE_AUTH response 1", " * IKE SA established", "responder\n127.0.0.1:"):
        assert words in result.stdout


def test_the_ladder_of_a_responder(folder: Path, script: Any, start: Callable[..., subprocess.Popen[str]]) -> None:
    process = start("serve", folder / "serve.toml", "--ladder", "--once")
    try:
        assert process.stdout is not None
        udp, udp_nat = (int(part.rpartition(":")[2].split()[0]) for part in process.stdout.readline().split(", ")[:2])
        path = folder / "connect.toml"
        path.write_text(CONNECT.format(secret="swordfish", udp=udp, udp_nat=udp_nat))
        assert script("connect", path, "shared", "--once").returncode == 0
        output, errors = process.communicate(timeout=30)
    finally:
        process.kill()
    assert errors == ""
    titles = dict.fromkeys(re.findall(r"([A-Z_]+ (?:request|response) \d+) .*UDP ", output))
    assert [title.split()[1] for title in titles] == ["request", "response"] * 3
    for above, line in pairwise(output.splitlines()):
        if "─" in line:
            assert ("▶" in line) is (" request " in above)
    assert "IKE_SA_INIT request 0" in output


def test_a_wrong_secret(folder: Path, server: Server, script: Any) -> None:
    result = script("connect", client(folder, server, "wrong"), "shared")
    assert result.returncode == 1
    assert result.stderr == "ikecore: shared: AuthenticationFailed: the peer did not accept our authentication\n"
    assert "Traceback" not in result.stdout


def test_serve_tells_of_proposals_that_do_not_fit(
    folder: Path, script: Any, start: Callable[..., subprocess.Popen[str]]
) -> None:
    server = start("serve", folder / "serve.toml")
    path = folder / "misfit.toml"
    try:
        assert server.stdout is not None
        udp, udp_nat = (int(part.rpartition(":")[2].split()[0]) for part in server.stdout.readline().split(", ")[:2])
        text = CONNECT.format(secret="swordfish", udp=udp, udp_nat=udp_nat)
        path.write_text(
            text.replace("[connections.shared]", '[connections.shared]\nproposals = "aes128-sha256-modp2048"')
            + "\n[limits]\ninit_error_wait = 0.2\n"
        )
        script("connect", path, "shared", "--for", "0.1")
        assert server.stdout.readline().endswith(": no connection takes any of the proposals offered\n")
    finally:
        server.kill()
        server.communicate()


@pytest.mark.parametrize("way", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_deletes_the_sa(
    folder: Path, server: Server, start: Callable[..., subprocess.Popen[str]], way: signal.Signals
) -> None:
    process = start("connect", client(folder, server), "shared", "--json")
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if json.loads(line)["type"] == "ChildSaEstablished":
                break
        process.send_signal(way)
        output, errors = process.communicate(timeout=30)
    finally:
        process.kill()
    assert (errors, process.returncode) == ("", 0)
    assert json.loads(output.splitlines()[-1])["type"] == "IkeSaClosed"
    assert server.end()[-1]["by"] == "peer"


def test_ctrl_c_before_the_sa_is_up(folder: Path, start: Callable[..., subprocess.Popen[str]]) -> None:
    import socket

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        path = folder / "silent.toml"
        path.write_text(CONNECT.format(secret="x", udp=silent.getsockname()[1], udp_nat=silent.getsockname()[1]))
        process = start("connect", path, "shared", "--json")
        try:
            silent.settimeout(30)
            silent.recv(2000)
            process.send_signal(signal.SIGINT)
            output, errors = process.communicate(timeout=30)
        finally:
            process.kill()
    assert (errors, process.returncode) == ("ikecore: shared: interrupted before the IKE SA was up\n", 1)
    last = json.loads(output.splitlines()[-1])
    assert (last["type"], last["error_type"]) == ("IkeSaFailed", "SaClosed")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
def test_a_key_log_on_a_full_disk(folder: Path, server: Server, script: Any) -> None:
    result = script("connect", client(folder, server), "shared", "--once", env={"IKEKEYLOGFILE": "/dev/full"})
    assert result.returncode == 2
    assert result.stderr == "ikecore: IKEKEYLOGFILE: /dev/full cannot be written: No space left on device\n"


def test_serving_ends_in_time(folder: Path, script: Any) -> None:
    result = script("serve", folder / "serve.toml", "--for", "0.1")
    assert result.returncode == 0
    assert result.stdout.startswith("listening on UDP 127.0.0.1:")


def test_a_port_that_is_taken(folder: Path, server: Server, script: Any) -> None:
    path = folder / "taken.toml"
    path.write_text(SERVE.replace("udp = 0", f"udp = {server.ports['udp']}"))
    result = script("serve", path)
    assert result.returncode == 2
    assert "listen: cannot bind udp 127.0.0.1 port" in result.stderr
    assert "Traceback" not in result.stderr


def test_an_address_that_is_not_ours(folder: Path, script: Any) -> None:
    path = folder / "foreign.toml"
    path.write_text(SERVE.replace("127.0.0.1", "192.0.2.77"))
    result = script("serve", path)
    assert result.returncode == 2
    assert "192.0.2.77" in result.stderr


@pytest.mark.parametrize("command", ["serve", "connect"])
def test_json_and_ladder_exclude_each_other(folder: Path, run: Any, command: str) -> None:
    result = run(command, folder / "serve.toml", "--json", "--ladder")
    assert (result.exit_code, result.stderr) == (2, "ikecore: --json and --ladder exclude each other\n")


@pytest.mark.parametrize("command", ["serve", "connect"])
@pytest.mark.parametrize("seconds", ["nan", "inf", "-inf", "-3"])
def test_spans_of_time_are_finite(folder: Path, run: Any, command: str, seconds: str) -> None:
    result = run(command, folder / "serve.toml", "--for", seconds)
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1].startswith(f"Error: Invalid value for '--for': {seconds}")


def test_how_long_is_said_once(folder: Path, run: Any) -> None:
    result = run("connect", folder / "serve.toml", "--for", "1", "--once")
    assert (result.exit_code, result.stderr) == (2, "ikecore: --for and --once exclude each other\n")


def test_serving_needs_a_socket(folder: Path, run: Any) -> None:
    path = folder / "deaf.toml"
    path.write_text(SERVE.replace(" = 0\n", " = false\n"))
    result = run("serve", path, "--for", "0")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == (
        f"ikecore: {path}: listen: no socket; allowed: a port for one of udp, udp_nat and tcp at least\n"
    )


TWO = "children.other = { local_ts = '10.1.0.0/16', remote_ts = '10.2.0.0/16' }\nchildren.net"


def test_every_child_sa_of_a_connection_is_set_up(folder: Path, server: Server, script: Any) -> None:
    """The first comes with IKE_AUTH, the others afterwards; `--once` waits for them."""
    path = client(folder, server)
    path.write_text(path.read_text().replace("children.net", TWO))
    result = script("connect", path, "shared", "--once", "--json")
    assert (result.stderr, result.returncode) == ("", 0)
    events = [json.loads(line) for line in result.stdout.splitlines()]
    assert [each["name"] for each in events if each["type"] == "ChildSaEstablished"] == ["other", "net"]


@pytest.mark.parametrize("how", ["--once", "--for=0.1"])
@pytest.mark.parametrize("children", ["children.net", TWO.replace("10.1.0.0", "10.9.0.0")])
def test_a_child_sa_that_is_refused(folder: Path, server: Server, script: Any, how: str, children: str) -> None:
    """The IKE SA is up all the same: nothing but the exit code would tell a script."""
    path = client(folder, server)
    text = path.read_text().replace("children.net", children)
    refused = "other" if "other" in children else "net"
    if refused == "net":
        text = text.replace('local_ts = "10.1.0.0/16"', 'local_ts = "10.9.0.0/16"')
    path.write_text(text)
    result = script("connect", path, "shared", how)
    assert "IKE SA 1 up: " in result.stdout
    why = "TsUnacceptable: the peer accepts none of our traffic selectors"
    told = f"ikecore: shared: Child SA {refused} did not come up: {why}\n"
    assert (result.returncode, result.stderr) == (1, told)


def test_a_connection_without_child_sas_is_up_without(folder: Path, server: Server, script: Any) -> None:
    path = client(folder, server)
    path.write_text(re.sub("children.net = .*", "children = {}", path.read_text()))
    result = script("connect", path, "shared", "--once")
    assert (result.returncode, result.stderr) == (0, "")
    assert "Child SA" not in result.stdout


def test_a_peer_that_is_lost_is_told(folder: Path, server: Server, start: Callable[..., subprocess.Popen[str]]) -> None:
    path = client(folder, server)
    impatient = "dpd_delay = 1\ndpd_timeout = 1\nchildren.net"
    path.write_text(path.read_text().replace("children.net", impatient))
    process = start("connect", path, "shared", "--json")
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if json.loads(line)["type"] == "ChildSaEstablished":
                break
        server.process.kill()
        output, errors = process.communicate(timeout=30)
    finally:
        process.kill()
    assert json.loads(output.splitlines()[-1])["by"] == "silence"
    assert process.returncode == 1
    assert errors.startswith("ikecore: shared: the IKE SA was lost: ")
    assert len(errors.splitlines()) == 1
