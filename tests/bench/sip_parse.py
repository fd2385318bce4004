"""Microseconds to parse an INVITE, read its typed headers, and write it, with our parser.

The same headers as in `peers/sip_parse.py`; ours has checked the whole message by
then, as a user agent has to.
"""

from __future__ import annotations

from securecall.sip.message import build_message, parse_message
from tests.bench.invite import INVITE
from tests.bench.measure import answer, microseconds


def once() -> bytes:
    message = parse_message(INVITE)
    for header in ("vias", "from_", "to", "cseq", "contacts", "call_id"):
        getattr(message, header)
    return build_message(message)


assert once().startswith(b"INVITE sip:bob@clinic.example SIP/2.0\r\n")
answer(stack="securecall", bytes=len(INVITE), us=microseconds(once, count=500))
