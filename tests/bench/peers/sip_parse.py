"""Microseconds to parse an INVITE, read its typed headers, and write it: `sip_parse LIBRARY`.

The headers are those a proxy or a phone needs to route: Via, From, To, CSeq, Contact, Call-ID.
"""

from __future__ import annotations

import sys
from importlib import import_module

from tests.bench.invite import INVITE
from tests.bench.measure import absent, answer, microseconds

LIBRARY = sys.argv[1]
HEADERS = {
    "aiosipua": ("via", "from_addr", "to_addr", "cseq", "contact", "call_id"),
    "sipmessage": ("via", "from_address", "to_address", "cseq", "contact", "call_id"),
}[LIBRARY]

try:
    if LIBRARY == "aiosipua":
        parse = import_module("aiosipua.message").SipMessage.parse
    else:
        parse = import_module("sipmessage").Message.parse
except ImportError:
    absent(LIBRARY)


def once() -> bytes:
    message = parse(INVITE)
    for header in HEADERS:
        getattr(message, header)
    return bytes(message)


assert once().startswith(b"INVITE sip:bob@clinic.example SIP/2.0\r\n")
answer(stack=LIBRARY, bytes=len(INVITE), us=microseconds(once, count=500))
