"""strongSwan's charon as a child process: in a directory of its own, on the IKE ports of one address."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

from tests.interop.charon_log import IkeSa, LoggedKeys, ike_sas, keys

PROGRAMS = ("charon-systemd", "swanctl", "cc")
READY_WITHIN = 10.0

_PLUGINS = (
    "random nonce x509 pem pkcs1 pkcs8 pubkey openssl gmp kdf hmac revocation constraints"
    " kernel-netlink socket-default vici"
)

_STRONGSWAN_CONF = """
charon {{
  load = {plugins}
  install_routes = no
  install_virtual_ip = no
  {options}
  filelog {{
    log {{
      path = {log}
      flush_line = yes
      default = 1
      ike = 4
      chd = 4
    }}
  }}
  plugins {{
    vici {{
      socket = unix://{socket}
    }}
  }}
}}
swanctl {{
  load = random nonce x509 pem pkcs1 pkcs8 pubkey openssl
  socket = unix://{socket}
}}
"""

PLAIN = "dos_protection = no"
"""Options of charon for a test that is not about its protection: as many half-open SAs as one likes."""


def missing() -> list[str]:
    """Return the programs that are not on this machine."""
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    return [name for name in PROGRAMS if shutil.which(name, path=path) is None]


def build_shim(directory: Path) -> Path:
    """Compile the stand-in for the kernel's XFRM; return the library to preload."""
    library = directory / "shim.so"
    source = Path(__file__).with_name("shim.c")
    command = ["cc", "-O1", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl", "-lpthread"]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return library


class Charon:
    """One daemon. Use it as a context manager: started on entry, terminated on exit."""

    def __init__(self, directory: Path, shim: Path, *, address: str = "127.0.0.1", options: str = PLAIN) -> None:
        self.directory = directory
        self._shim = shim
        self._log = directory / "charon.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._jobs: list[subprocess.Popen[str]] = []
        for folder in ("x509", "x509ca", "private", "rsa", "ecdsa", "pkcs8", "pubkey"):
            (directory / folder).mkdir(parents=True, exist_ok=True)
        settings = {"plugins": _PLUGINS, "options": options}
        conf = _STRONGSWAN_CONF.format(**settings, log=self._log, socket=directory / "vici")
        (directory / "strongswan.conf").write_text(conf)
        path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
        self._environment = os.environ | {
            "PATH": path,
            "STRONGSWAN_CONF": str(directory / "strongswan.conf"),
            "SWANCTL_DIR": str(directory),
            "CHARON_ADDRESS": address,
        }

    def __enter__(self) -> Charon:
        with (self.directory / "output").open("wb") as output:
            self._process = subprocess.Popen(
                ["charon-systemd"],
                env=self._environment | {"LD_PRELOAD": str(self._shim)},
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        give_up = time.monotonic() + READY_WITHIN
        while True:
            try:
                self.swanctl("--stats")
                return self
            except subprocess.CalledProcessError:
                if self._process.poll() is not None or time.monotonic() > give_up:
                    self.__exit__()
                    raise RuntimeError(f"charon did not start:\n{(self.directory / 'output').read_text()}") from None
                time.sleep(0.01)

    def __exit__(self, *_: object) -> None:
        for job in self._jobs:
            job.kill()
            job.communicate()
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    # --- configuration ---------------------------------------------------------------------------------------------

    def load(self, configuration: str) -> None:
        """Load connections and secrets in swanctl.conf's words, and what `store` put beside them."""
        file = self.directory / "swanctl.conf"
        file.write_text(configuration)
        self.swanctl("--load-all", "--noprompt", "--file", str(file))

    def store(self, folder: str, name: str, content: bytes) -> None:
        """Put a certificate or key (DER or PEM) where `load` finds it: x509, x509ca, private, pubkey."""
        (self.directory / folder / name).write_bytes(content)

    # --- what it knows ---------------------------------------------------------------------------------------------

    @property
    def log(self) -> str:
        """Everything logged so far."""
        return self._log.read_text(errors="replace")

    def keys(self) -> LoggedKeys:
        """Return the keys logged so far."""
        return keys(self.log)

    def list_sas(self) -> list[IkeSa]:
        """Return the IKE SAs it has, with their Child SAs."""
        return ike_sas(self.swanctl("--list-sas", "--raw"))

    # --- control ---------------------------------------------------------------------------------------------------

    def swanctl(self, *arguments: str) -> str:
        """Run swanctl to its end and return what it printed; raises CalledProcessError."""
        done = subprocess.run(
            ["swanctl", *arguments], env=self._environment, capture_output=True, text=True, check=True, timeout=20
        )
        return done.stdout

    def _start(self, *arguments: str) -> subprocess.Popen[str]:
        job = subprocess.Popen(
            ["swanctl", *arguments],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._jobs.append(job)
        return job

    def initiate(self, child: str) -> subprocess.Popen[str]:
        """Begin to set up *child*. The process returned ends, with 0 if it is up, once the peer has answered."""
        return self._start("--initiate", "--child", child)

    def terminate(self, *what: str) -> subprocess.Popen[str]:
        """Begin to delete *what* (--ike or --child, and a name); the process ends once the peer has answered."""
        return self._start("--terminate", *what)
