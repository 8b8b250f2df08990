"""What an IKE SA costs a responder process, beside strongSwan's charon under the same load.

    python -m benchmarks.handshake_charon

One generator, this process, sets up childless IKE SAs (pre-shared key, x25519, AES-256-GCM, HMAC-SHA2-256) over UDP on
loopback, 20 at once, with three responders in turn: charon, ours on asyncio, ours on Trio. Each is a process of its own
and keeps all SAs until the end. What counts is the CPU time of the responder as the kernel accounts it, all threads,
user and system, and the growth of its resident memory, per SA. The first SAs of each are not counted.

charon gets its best: no logging, no protection against floods, no look at whether identities are unique, large hash
tables, only the plugins that it needs, cryptography from OpenSSL. Ours has the same protections out of the way; a
handler waits for the end of each SA, as in any server on the adapters.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Protocol

from benchmarks._harness import ROUNDS, Table, Target, show
from benchmarks._load import HOST, SocketInitiator, establish
from benchmarks._peering import NAMES, SECRET, SUITE, initiator
from benchmarks._processes import Server, cpu, resident

BATCH = 400
WARM_UP = 200
PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])

STRONGSWAN_CONF = """
charon {{
  port = {port}
  port_nat_t = {port_nat}
  load = random nonce openssl pem pkcs1 x509 pubkey kdf kernel-netlink socket-default vici
  install_routes = no
  install_virtual_ip = no
  dos_protection = no
  ikesa_table_size = 4096
  ikesa_table_segments = 16
  half_open_timeout = 600
  filelog {{ }}
  syslog {{
    daemon {{ default = -1 }}
    auth {{ default = -1 }}
  }}
  plugins {{ vici {{ socket = unix://{directory}/vici }} }}
}}
charon-systemd {{ journal {{ default = -1 }} }}
swanctl {{
  load = random nonce openssl pem pkcs1 x509 pubkey
  socket = unix://{directory}/vici
}}
"""
SWANCTL_CONF = """
connections {{
  lab {{
    version = 2
    local_addrs = {host}
    remote_addrs = {host}
    proposals = {suite}
    mobike = no
    unique = never
    childless = force
    local {{
      auth = psk
      id = {here}
    }}
    remote {{
      auth = psk
      id = {there}
    }}
  }}
}}
secrets {{ ike-1 {{ secret = "{secret}" }} }}
"""


class Responder(Protocol):
    """What is measured."""

    @property
    def pid(self) -> int: ...


class Charon:
    """The daemon, ready for the load."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        ports = [_free_port(), _free_port()]
        self.ports = {"udp": ports[1]}
        conf = STRONGSWAN_CONF.format(port=ports[0], port_nat=ports[1], directory=directory)
        (directory / "strongswan.conf").write_text(conf)
        for folder in ("x509", "x509ca", "private", "rsa", "ecdsa", "pkcs8", "pubkey"):
            (directory / folder).mkdir()
        self._environment = os.environ | {
            "PATH": PATH,
            "STRONGSWAN_CONF": str(directory / "strongswan.conf"),
            "SWANCTL_DIR": str(directory),
        }
        words = {"host": HOST, "suite": SUITE, "here": NAMES[1], "there": NAMES[0], "secret": SECRET}
        (directory / "swanctl.conf").write_text(SWANCTL_CONF.format(**words))
        with (directory / "output").open("wb") as output:
            self._process = subprocess.Popen(["charon-systemd"], env=self._environment, stdout=output, stderr=output)
        self.pid = self._process.pid

    def prepare(self) -> None:
        """Wait until it takes commands, and tell it its connection. Raises RuntimeError with its output."""
        give_up = time.monotonic() + 10
        while self._swanctl("--stats").returncode:
            if self._process.poll() is not None or time.monotonic() > give_up:
                raise RuntimeError(f"charon did not start:\n{(self._directory / 'output').read_text()}")
            time.sleep(0.02)
        loaded = self._swanctl("--load-all", "--noprompt", "--file", str(self._directory / "swanctl.conf"))
        if loaded.returncode:
            raise RuntimeError(f"charon does not take its configuration:\n{loaded.stdout}{loaded.stderr}")

    def version(self) -> str:
        return self._swanctl("--version").stdout.split()[2]

    def end(self) -> None:
        self._process.kill()
        self._process.wait()

    def _swanctl(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["swanctl", *arguments], env=self._environment, capture_output=True, text=True, timeout=20
        )


def missing() -> list[str]:
    """Return the programs of strongSwan that are not on this machine."""
    return [name for name in ("charon-systemd", "swanctl") if shutil.which(name, path=PATH) is None]


@contextmanager
def charon() -> Iterator[Charon]:
    """Run the daemon in a directory of its own."""
    with tempfile.TemporaryDirectory() as directory:
        daemon = Charon(Path(directory))
        try:
            daemon.prepare()
            yield daemon
        finally:
            daemon.end()


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((HOST, 0))
        port: int = sock.getsockname()[1]
        return port


def tables(rounds: int = ROUNDS, batch: int = BATCH, warm_up: int = WARM_UP) -> Iterator[Table]:
    """Yield a table of CPU time and one of memory per SA."""
    with ExitStack() as stack:
        responders: dict[str, tuple[Responder, SocketInitiator]] = {}

        def add(name: str, responder: Responder, ports: dict[str, int]) -> None:
            load = SocketInitiator(initiator(ports))
            stack.callback(load.close)
            establish(load, warm_up)
            responders[name] = responder, load

        if missing():
            print(f"not compared: no {', '.join(missing())}", file=sys.stderr)
        else:
            try:
                daemon = stack.enter_context(charon())
                add(f"charon {daemon.version()}", daemon, daemon.ports)
            except RuntimeError as error:  # it wants privileges, for one
                print(f"not compared: {error}", file=sys.stderr)
        for framework in ("asyncio", "trio"):
            server = stack.enter_context(Server("responder", framework))
            add(f"ikecore on {framework}", server, server.ports)
        used: dict[str, list[float]] = {name: [] for name in responders}
        held: dict[str, list[float]] = {name: [] for name in responders}
        generated: list[float] = []
        for _ in range(rounds):
            for name, (responder, load) in responders.items():
                start, before, here = cpu(responder.pid), resident(responder.pid), time.process_time()
                establish(load, batch)
                used[name].append((cpu(responder.pid) - start) / batch)
                held[name].append((resident(responder.pid) - before) / batch)
                generated.append((time.process_time() - here) / batch)
        to = next((name for name in responders if name.startswith("charon")), "charon")
        targets = (Target("ikecore on asyncio", 0.6, to=to), Target("ikecore on trio", 0.7, to=to))
        mean = sum(generated) / len(generated) * 1e6
        yield Table(
            "CPU time of the responder process per childless IKE SA",
            used,
            targets,
            note=f"The generator used {mean:.0f} microseconds of CPU time per SA, on the other CPU.",
        )
        yield Table("memory of the responder process per childless IKE SA", held, unit="KiB")


if __name__ == "__main__":
    show(tables())
