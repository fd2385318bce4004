"""The envelope of Stanza Content Encryption (XEP-0420): what OMEMO 2 encrypts, and binds.

Inside the encryption stand the elements of the message, and with them who says it, to whom, and
when, so that no server can put the same words into another mouth or another room; and padding.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final
from xml.etree.ElementTree import Element, SubElement

from securecall.errors import EnvelopeMismatch, ProtocolError
from securecall.xmpp.fragment import parse_fragment
from securecall.xmpp.jid import Jid, parse_jid
from securecall.xmpp.stamp import build_stamp, parse_stamp
from securecall.xmpp.xml import serialise

SCE: Final = "urn:xmpp:sce:1"
MAX_PADDING: Final = 200  # characters (XEP-0420 4)
# A message may wait for a connection; a clock may be wrong.
MOST_EARLIER: Final = 30 * 86400.0
MOST_LATER: Final = 86400.0
# The id of a stanza stands outside, for any server to change; what corrections, receipts and
# reactions name is this one, wherever it is there. Other clients pass over it.
NAME: Final = "{urn:securecall:name:0}name"
# In rooms, whose service names messages for those who react or answer: the one that is meant.
OF: Final = "{urn:securecall:name:0}of"
_MAX_SIZE: Final = 256 * 1024
_NAME: Final = f"{{{SCE}}}"
_RULE: Final = "XEP-0420 4"


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """What was inside, not yet compared with the stanza around it.

    Attributes:
        content: The elements of the message.
        sender: Whom it says it is from (bare JID).
        to: Whom it says it is for (bare JID of a person or room), None if it does not say.
        sent: When it says it was encrypted, Unix seconds, None if it does not say.
    """

    content: tuple[Element, ...] = field(repr=False)
    sender: Jid
    to: Jid | None = None
    sent: float | None = None

    def require(self, *, sender: Jid, to: Jid, sent: float, named: bool) -> None:
        """Require that it belongs into the stanza it came in (XEP-0420 4, XEP-0384 5.6).

        Args:
            sender: Who really sent the stanza: the JID whose device sealed it.
            to: Whom the stanza was for: the other person, ourselves, or the room.
            sent: When the stanza was sent, as the server says; now for a live one.
            named: The envelope has to say for whom it is, because several conversations could be
                meant: it was said in a room, or by another device of ours.

        Raises:
            EnvelopeMismatch: it does not.
        """
        if self.sender.bare != sender.bare:
            raise EnvelopeMismatch("somebody else's words came under this sender's name")
        if self.to is None:
            if named:
                raise EnvelopeMismatch(
                    "a message does not say in which conversation it was written"
                )
        elif self.to.bare != to.bare:
            raise EnvelopeMismatch("a message came that was written to somebody else")
        if self.sent is not None and not (sent - MOST_EARLIER <= self.sent <= sent + MOST_LATER):
            raise EnvelopeMismatch("a message came at a time it was not written at")


def build_envelope(
    content: Iterable[Element], *, sender: Jid, to: Jid, unix: float, padding: str
) -> bytes:
    """Write what is to be encrypted.

    Args:
        content: The elements of the message.
        sender: Ourselves.
        to: The other person, or the room.
        unix: Now.
        padding: Random characters, a random number of them up to `MAX_PADDING`.

    Raises:
        UsageError: the content cannot be written as XML.
    """
    envelope = Element(f"{_NAME}envelope")
    SubElement(envelope, f"{_NAME}content").extend(content)
    SubElement(envelope, f"{_NAME}rpad").text = padding
    SubElement(envelope, f"{_NAME}time", {"stamp": build_stamp(unix)})
    SubElement(envelope, f"{_NAME}to", {"jid": str(to.bare)})
    SubElement(envelope, f"{_NAME}from", {"jid": str(sender.bare)})
    return serialise(envelope, within="")


def parse_envelope(data: bytes) -> Envelope:
    """Read what was decrypted; who uses it has to call `Envelope.require`.

    Raises:
        ProtocolError: it is no envelope.
    """
    envelope = parse_fragment(data, most=_MAX_SIZE)
    if envelope.tag != f"{_NAME}envelope":
        raise ProtocolError("not an envelope", rule=_RULE)
    content, sender = _only(envelope, "content"), _only(envelope, "from")
    if content is None or sender is None:
        raise ProtocolError("an envelope without content or sender", rule=_RULE)
    to, time = _only(envelope, "to"), _only(envelope, "time")
    return Envelope(
        content=tuple(content),
        sender=parse_jid(sender.get("jid", "")),
        to=None if to is None else parse_jid(to.get("jid", "")),
        sent=None if time is None else parse_stamp(time.get("stamp", "")),
    )


def _only(envelope: Element, name: str) -> Element | None:
    found = envelope.findall(f"{_NAME}{name}")
    if len(found) > 1:
        raise ProtocolError(f"an envelope with more than one {name}", rule=_RULE)
    return found[0] if found else None
