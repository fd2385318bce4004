"""Text messages of SIP (RFC 3428): plain text that every server on the way can read and change."""

from __future__ import annotations

from typing import Final

from securecall.errors import UsageError
from securecall.sip.grammar import SipError
from securecall.sip.headers import Headers
from securecall.sip.limits import MOST_TEXT_BYTES
from securecall.sip.message import Request

_KIND: Final = "text/plain"


def text_fields() -> Headers:
    """The fields a text message has besides those of every request."""
    return Headers((("Content-Type", f"{_KIND};charset=UTF-8"),))


def build_text(text: str) -> bytes:
    """Write the body.

    Raises:
        UsageError: it is empty, too long, or no text.
    """
    try:
        body = text.encode()
    except UnicodeEncodeError as e:
        raise UsageError("a message is text") from e
    if not 0 < len(body) <= MOST_TEXT_BYTES:
        raise UsageError(f"a message has 1 to {MOST_TEXT_BYTES} bytes")
    return body


def read_text(request: Request) -> str:
    """Read a text message; control characters but line ends and tabs are left out.

    Raises:
        SipError: it is of another kind (415), too long (513), or no UTF-8 (400).
    """
    kind, _, params = (request.headers.first("content-type") or "").partition(";")
    charset = params.lower().replace(" ", "").replace('"', "")
    encoded = request.headers.first("content-encoding") or "identity"
    if kind.strip().lower() != _KIND or encoded.strip().lower() != "identity":
        raise SipError("only plain text is understood", status=415, fields=(("Accept", _KIND),))
    if "charset=" in charset and "charset=utf-8" not in charset and "us-ascii" not in charset:
        raise SipError("only UTF-8 is understood", status=415, fields=(("Accept", _KIND),))
    if len(request.body) > MOST_TEXT_BYTES:
        raise SipError(f"a text above {MOST_TEXT_BYTES} bytes", status=513)
    try:
        text = request.body.decode()
    except UnicodeDecodeError:
        raise SipError("the text is not UTF-8", rule="RFC 3428 7") from None
    return "".join(c for c in text if c in "\n\t" or c.isprintable() or c == "\u200d")
