"""Every peer, every path: demultiplexing, admission, transport decisions, outputs."""

from .endpoint import Endpoint

__all__ = ["Endpoint"]
