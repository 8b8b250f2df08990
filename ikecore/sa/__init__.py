"""One IKE SA: states, exchanges, Message ID windows, Child SAs.

It never chooses a transport and never sees a socket.
"""

from .base import Answerer, OurExchange, Services
from .child_sa import ChildSa
from .create_child_sa import answer_create_child_sa
from .ike_auth import Responder, begin_auth
from .ike_sa import IkeSa
from .ike_sa_init import InitAttempt, answer_init
from .informational import DeleteChild, DeleteIke, Liveness, answer_informational
from .request import Message, OutgoingRequest, OutgoingResponse, payload_names
from .selectors import parse_selector
from .states import TABLE, Input, State, Verdict
from .timers import Timer
from .view import ChildSaView, IkeSaView, view_of

__all__ = [
    "TABLE",
    "Answerer",
    "ChildSa",
    "ChildSaView",
    "DeleteChild",
    "DeleteIke",
    "IkeSa",
    "IkeSaView",
    "InitAttempt",
    "Input",
    "Liveness",
    "Message",
    "OurExchange",
    "OutgoingRequest",
    "OutgoingResponse",
    "Responder",
    "Services",
    "State",
    "Timer",
    "Verdict",
    "answer_create_child_sa",
    "answer_informational",
    "answer_init",
    "begin_auth",
    "parse_selector",
    "payload_names",
    "view_of",
]
