"""Every peer, every path: demultiplexing, admission, transport decisions, outputs."""

from ..sa import ChildSaView, IkeSaView
from .endpoint import Endpoint

__all__ = ["ChildSaView", "Endpoint", "IkeSaView"]
