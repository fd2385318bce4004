"""One XMPP account at work: what comes is kept before it is acknowledged, what goes before it is sent.

So nothing is lost by a crash: a server repeats what was not acknowledged, and we repeat what it did
not take. Doubles are told by their names.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable, Iterable
from typing import Final
from xml.etree.ElementTree import Element

from securecall.address import Address
from securecall.chat.committer import Committer
from securecall.chat.history import History, Parcel
from securecall.chat.ledger import Ledger, News, Received
from securecall.chat.message import (
    Arrival,
    Delivered,
    Displayed,
    Message,
    Reaction,
    Said,
    Text,
    Typing,
    Via,
)
from securecall.errors import LocalError, NetworkError, SecurecallError
from securecall.keys.omemo import Omemo
from securecall.keys.omemo_values import Recipients
from securecall.xmpp.inbox import Inbox
from securecall.xmpp.outbox import Outbox, weakest
from securecall.xmpp.session import Session
from securecall.xmpp.unwrap import unwrap
from securecall.xmpp.unwrapped import Discarded, Notice, Unwrapped
from securecall.xmpp.xml import build_element, parse_element

MOST_AT_ONCE: Final = 64  # stanzas in one transaction
RETRY_SECONDS: Final = (1.0, 2.0, 5.0, 15.0, 30.0)  # after the disk refused
log = logging.getLogger(__name__)


class Mail:
    """Takes in what a session delivers and sends what is written, each through the history."""
