"""A deterministic network in virtual time, and what goes with it, for tests of ikecore and of applications around it.

`Pair` puts two endpoints on a `Network`; `BareEndpoint` is a peer without a protocol; `Mangler` changes octets on the
wire, `Insider` those inside messages too; `CheckedEndpoint` tells a host where it breaks the contract; `Recorder` puts
a run on tape, and `replay` runs it again. Certificates come from `ikecore.testing.pki`.
"""

from .bare import BareEndpoint, BareStream, Datagram
from .checked import CheckedEndpoint, HostContractError
from .insider import Insider, Rewrite
from .links import Block, NetworkError, Packet, Split, Tcp, Udp
from .mangler import Change, Mangler, flip, truncate
from .nat import Nat
from .network import Happening, Host, HostFace, Mangle, Network
from .pair import NOON, Pair, Rung, psk_connection
from .recorder import Recorder
from .replaying import ReplayResult, replay
from .streams import Connection, End

__all__ = [
    "BareEndpoint",
    "BareStream",
    "NOON",
    "Block",
    "Change",
    "CheckedEndpoint",
    "Connection",
    "Datagram",
    "End",
    "Happening",
    "Host",
    "HostContractError",
    "HostFace",
    "Insider",
    "Mangle",
    "Mangler",
    "Nat",
    "Network",
    "NetworkError",
    "Pair",
    "Packet",
    "Recorder",
    "ReplayResult",
    "Rewrite",
    "Rung",
    "Split",
    "Tcp",
    "Udp",
    "flip",
    "psk_connection",
    "replay",
    "truncate",
]
