"""From what is to be said to the stanza that says it, encrypted for every device that may read it.

Local work alone, to be done inside the transaction that keeps the stanza: no ciphertext leaves
before the ratchet that made it is on the disk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final
from xml.etree.ElementTree import Element, fromstring

from securecall.address import Address
from securecall.chat.message import Protection, Reaction, Said, Text
from securecall.keys.omemo import Omemo
from securecall.keys.omemo_values import Recipients
from securecall.xmpp.envelope import NAME, build_envelope
from securecall.xmpp.files import build_link, build_sharing
from securecall.xmpp.jid import jid_of, parse_jid
from securecall.xmpp.omemo import build_encrypted
from securecall.xmpp.said import ENCRYPTED
from securecall.xmpp.saying import Answered, Written, build_said
from securecall.xmpp.xml import serialise

Barred = Callable[[str, int], bool | None]
MESSAGE: Final = "{jabber:client}message"
_ORIGIN_ID: Final = "{urn:xmpp:sid:0}origin-id"


def protections(recipients: Recipients) -> frozenset[Protection]:
    """By which encryptions a message to these devices goes."""
    return frozenset(Protection(device.namespace) for device in recipients.devices)


def weakest(recipients: Recipients) -> Protection:
    """What a message to these devices rests on, as a whole."""
    used = protections(recipients)
    return Protection.OMEMO_LEGACY if Protection.OMEMO_LEGACY in used else Protection.OMEMO


class Outbox:
    """Writes the messages of one account."""

    def __init__(self, omemo: Omemo) -> None:
        """Encrypt with `omemo`."""
        self._omemo = omemo

    def build(
        self,
        to: Address,
        said: Said,
        recipients: Recipients,
        *,
        name: str,
        now: float,
        padding: str,
        room: bool = False,
        answered: Answered | None = None,
    ) -> Element:
        """Encrypt and address it.

        What legacy OMEMO cannot hide (all but words) is sealed for the devices that have OMEMO 2
        alone. For the others of the other side receipts and markers stand beside it in the clear;
        reactions, and everything a person wrote, never do. What our own devices have decides
        nothing of that.

        Args:
            to: The person or the room.
            said: What.
            recipients: From `Omemo.prepare`.
            name: The message's id.
            now: Unix seconds.
            padding: Random characters that hide the length, drawn by the caller.
            room: `to` is one.
            answered: About the message that `Text.reply_to` names.

        Raises:
            Unsupported: a reaction to somebody whose OMEMO cannot hide it.
        """
        readers = recipients if isinstance(said, Text) else recipients.of(Protection.OMEMO)
        used = protections(readers)
        sealed: dict[str, bytes] = {}
        outside: tuple[Element, ...] = ()
        if Protection.OMEMO in used:
            attached = _files(said)
            written = build_said(
                said, protection=Protection.OMEMO, now=now, attached=attached, answered=answered
            )
            sealed[Protection.OMEMO] = build_envelope(
                (*written.inside, Element(NAME, {"id": name})),
                sender=parse_jid(self._omemo.jid),
                to=jid_of(to),
                unix=now,
                padding=padding,
            )
            outside = written.outside
        if Protection.OMEMO_LEGACY in used or self._leaves_out(said, recipients):
            legacy = _legacy(said, now)
            outside = legacy.outside
            if legacy.body:
                sealed[Protection.OMEMO_LEGACY] = legacy.body.encode()
        encrypted = self._omemo.seal(sealed, readers) if sealed else ()
        elements = (*(build_encrypted(each) for each in encrypted), *outside)
        return self._addressed(to, elements, name=name, room=room)

    def _leaves_out(self, said: Said, recipients: Recipients) -> bool:
        """Whether somebody would not learn this from what is sealed for OMEMO 2 alone.

        A signal is for whichever of their devices asked for it; a reaction can wait until they
        look at one that shows it.
        """
        theirs = [d for d in recipients.devices if d.jid != self._omemo.jid] or recipients.devices
        old = [d for d in theirs if d.namespace == Protection.OMEMO_LEGACY]
        if isinstance(said, Reaction):
            return not {d.jid for d in old} <= {d.jid for d in theirs if d not in old}
        return bool(old)

    def danger_build_plain(
        self, to: Address, said: Said, *, name: str, now: float, answered: Answered | None = None
    ) -> Element:
        """Address it as it is: every server on the way can read and change it."""
        attached = _files(said)
        written = build_said(
            said, protection=Protection.NONE, now=now, attached=attached, answered=answered
        )
        return self._addressed(to, written.outside, name=name, room=False)

    def _addressed(
        self, to: Address, elements: Iterable[Element], *, name: str, room: bool
    ) -> Element:
        attributes = {"to": str(jid_of(to)), "type": "groupchat" if room else "chat", "id": name}
        stanza = Element(MESSAGE, attributes)
        stanza.extend(elements)
        stanza.append(Element(_ORIGIN_ID, {"id": name}))
        return stanza


def withhold(stanza: bytes, barred: Barred) -> tuple[bytes, bool]:
    """Take the keys out of a message that waited which somebody may not have any more.

    Args:
        stanza: As `Outbox.build` made it, serialised.
        barred: Given bare JID ("" where the namespace does not say it) and device id: whether that
            device gets nothing now; None for a device of ours, which may.

    Returns:
        The stanza, the same bytes where nothing was taken out, and whether anybody else is left
        who can read it; True for what is not encrypted.
    """
    message = fromstring(stanza)  # noqa: S314 - our own, out of our own sealed file
    taken = left = False
    encrypted = [e for tag in ENCRYPTED for e in message.findall(tag)]
    for element in encrypted:
        namespace = element.tag[1:].partition("}")[0]
        for parent in element.iter():
            for key in parent.findall(f"{{{namespace}}}key"):
                verdict = barred(parent.get("jid", ""), int(key.get("rid", "0")))
                if verdict:
                    parent.remove(key)
                    taken = True
                left = left or verdict is False
    return serialise(message) if taken else stanza, left or not encrypted


def _files(said: Said) -> tuple[Element, ...]:
    if isinstance(said, Text) and said.file is not None:
        return (build_sharing(said.file),)
    return ()


def _legacy(said: Said, now: float) -> Written:
    """A file goes as a link of XEP-0454, which legacy OMEMO encrypts as if it were words."""
    if isinstance(said, Text) and said.file is not None:
        said = Text(body=build_link(said.file), expires=said.expires)
    return build_said(said, protection=Protection.OMEMO_LEGACY, now=now)
