"""One IKE SA: states, exchanges, Message ID windows, Child SAs.

It never chooses a transport and never sees a socket.
"""

from .beginning import begin, begin_if_possible, request_expired
from .child_sa import MOST_DRAWS, ChildSa, new_spi
from .create_child_sa import CreateChild
from .exchange import OurExchange
from .expiry import child_expiring, delete_ike
from .fragments import FragmentBudget
from .generation import Generation
from .ike_auth import Responder, begin_auth
from .ike_sa import IkeSa
from .ike_sa_init import InitAttempt, answer_init
from .informational import DeleteChild, DeleteIke, Liveness, UnknownSpi
from .life import retry_wait
from .moving import esp_came_by
from .outgoing import last_words
from .receiving import message_received
from .rekey_ike_sa import RekeyIke
from .request import Message, OutgoingRequest, OutgoingResponse, payload_names
from .selectors import parse_selector
from .services import Services
from .setup import Attempt, Setup
from .states import TABLE, Input, State, Verdict
from .timers import Timer
from .view import ChildSaView, IkeSaView, view_of
from .waking import timer_rang

__all__ = [
    "MOST_DRAWS",
    "TABLE",
    "Attempt",
    "ChildSa",
    "ChildSaView",
    "CreateChild",
    "DeleteChild",
    "DeleteIke",
    "FragmentBudget",
    "Generation",
    "IkeSa",
    "IkeSaView",
    "InitAttempt",
    "Input",
    "Liveness",
    "Message",
    "OurExchange",
    "OutgoingRequest",
    "OutgoingResponse",
    "RekeyIke",
    "Responder",
    "Services",
    "Setup",
    "State",
    "Timer",
    "UnknownSpi",
    "Verdict",
    "answer_init",
    "begin",
    "begin_auth",
    "begin_if_possible",
    "child_expiring",
    "delete_ike",
    "esp_came_by",
    "last_words",
    "message_received",
    "new_spi",
    "parse_selector",
    "payload_names",
    "request_expired",
    "retry_wait",
    "timer_rang",
    "view_of",
]
