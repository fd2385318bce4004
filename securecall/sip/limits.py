"""How much of anything a peer may send or hold open, and the answer to whoever goes beyond it.

Each limit is far above what calls need and far below what would hurt. `docs/SECURITY.md` lists
them with those of other layers; a test compares.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

# -- one message ----------------------------------------------------------------------------------

MOST_HEADER_BYTES: Final = 16 * 1024
"""Start line and header fields of one message; beyond it 513, and the connection closes."""

MOST_FIELDS: Final = 256
"""Header lines of one message, continued ones among them; beyond it 513, and it closes."""

MOST_BODY_BYTES: Final = 64 * 1024
"""What Content-Length may name; beyond it 513, and the connection closes."""

MOST_HOPS: Final = 100
"""Values of Via, and of Record-Route where it is used; beyond it 483."""

MOST_PARTS: Final = 16
"""Parts of a body of several, at all depths together; beyond it 413."""

MOST_DEPTH: Final = 3
"""How deep parts may stand in parts; beyond it 413."""

MOST_TEXT_BYTES: Final = 8 * 1024
"""One text message as UTF-8; beyond it 513."""

MOST_CHALLENGES: Final = 8
"""Challenges of one response that are looked at; more are dropped."""

# -- one session description ----------------------------------------------------------------------

MOST_LINES: Final = 2048
"""Lines of a description; beyond it 513."""

MOST_MEDIA: Final = 32
"""Its m-lines; beyond it 513."""

MOST_FORMATS: Final = 256
"""Formats of one m-line; beyond it 513."""

MOST_CANDIDATES: Final = 128
"""Candidates of one m-line; beyond it 513."""

MOST_FRAGMENT_BYTES: Final = 16 * 1024
"""Candidates that are told later, in one INFO; beyond it 513."""

# -- what is open ---------------------------------------------------------------------------------

MOST_CALLS: Final = 256
"""Calls of one account, and so dialogs; one more is answered with 503."""

MOST_TRANSACTIONS: Final = 4096
"""Requests of peers that one account is not done with; one more is answered with 503."""

MOST_FORKS: Final = 16
"""Answers to one call of ours that are acknowledged; more are dropped."""

MOST_TAKEN: Final = 32
"""Reliable responses acknowledged for one call of ours in one dialog; more are dropped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """What a peer may hold open on one connection.

    Attributes:
        unanswered: Calls that ring at a time; one more is answered with 486.
        transactions: Requests not done with, such as refused calls that were never acknowledged;
            one more is answered with 503, and `Overran` says that the peer floods.
    """

    unanswered: int
    transactions: int


# A caller needs one call on its connection. What all connections of one address may hold together
# (`transport.tls.MOST_OF_ONE_ADDRESS` of these) stays at half of what the account may.
STRANGER: Final = Quota(unanswered=8, transactions=64)
# The account's own server speaks for everybody; half of everything is left to direct callers.
SERVER: Final = Quota(unanswered=128, transactions=2048)
