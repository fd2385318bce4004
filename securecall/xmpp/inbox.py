"""From a message that was taken out of its wrapping to what it says: decrypted, judged, attached.

Local work alone, to be done inside the transaction that keeps the outcome: the ratchet moves on
only together with the message it opened.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final
from xml.etree.ElementTree import Element

from securecall.chat.history import History
from securecall.chat.message import (
    Again,
    Arrival,
    DeviceTrust,
    Protection,
    Said,
    SharedFile,
    Text,
    Typing,
    Unreadable,
    Via,
)
from securecall.errors import AlreadyOpened, CannotOpen, NotForUs, ProtocolError, SecurityError
from securecall.keys.omemo import Omemo
from securecall.keys.omemo_values import Device, Opened, Sealed
from securecall.xmpp.envelope import NAME, parse_envelope
from securecall.xmpp.files import SHARING, is_link, parse_link, parse_sharing
from securecall.xmpp.jid import jid_of, parse_jid
from securecall.xmpp.omemo import parse_encrypted
from securecall.xmpp.said import (
    ENCRYPTED,
    clear_payload,
    legacy_payload,
    parse_bounced,
    parse_said,
    sealed_payload,
)
from securecall.xmpp.unwrap import require_id
from securecall.xmpp.unwrapped import Unwrapped

NOT_FOR_US: Final = "it was not encrypted for this device"


@dataclass(frozen=True, slots=True)
class _Decrypted:
    """What was inside, and who put it there."""

    payload: Sequence[Element]
    protection: Protection
    device: int = 0
    trust: DeviceTrust = DeviceTrust.UNDECIDED
    name: str = ""  # as its sender named it, inside the encryption


class Inbox:
    """Reads the messages of one account."""

    def __init__(
        self, omemo: Omemo, trust: Callable[[Device], DeviceTrust], history: History
    ) -> None:
        """Decrypt with `omemo`; `trust` says what a device is to us.

        `history` remembers what was opened: a ratchet knows only the last few chains it went
        through, and then cannot tell what it opened from what never was for it.
        """
        self._omemo = omemo
        self._trust = trust
        self._history = history

    def read(self, found: Unwrapped, *, now: float) -> tuple[Arrival, ...]:
        """Tell what a message says; a broken one says that it is broken.

        Args:
            found: What `unwrap` made of the stanza.
            now: Unix seconds.
        """
        if found.sender is None and not found.error:
            return ()
        if self._is_double(found):
            return (_arrival(found, Again(), _clear(())),)
        if found.error:
            return (_arrival(found, parse_bounced(found.message, found.id), _clear(())),)
        try:
            inside = self._decrypted(found)
            heard = parse_said(inside.payload, now=now)
            said = [_attached(each, heard.rest, inside.protection) for each in heard.said]
        except AlreadyOpened:
            return (_arrival(found, Again(), _clear(())),)
        except NotForUs:
            if found.own and found.room:  # the room's echo of what we wrote
                return (_arrival(found, Again(), _clear(())),)
            # From before this device was there; or our own, which says little: a server that went
            # down had archived for its sender what it never passed on to the other side.
            if found.via is Via.ARCHIVE:
                return ()
            return (_arrival(found, Unreadable(why=NOT_FOR_US), _method(found)),)
        except (ProtocolError, SecurityError) as e:
            return (_arrival(found, Unreadable(why=_words(e)), _method(found)),)
        arrivals = (_arrival(found, each, inside) for each in said)
        # who wrote last week does not write now
        return tuple(a for a in arrivals if not (found.delayed and isinstance(a.said, Typing)))

    def _is_double(self, found: Unwrapped) -> bool:
        """Whether it came before under its name in the archive, in the clear.

        What our user, or a rule, decided of it then stands, however often archives are read. What
        is encrypted has marks of its own, and is tried again until it can be opened.
        """
        if not found.archive_id or any(found.message.find(tag) is not None for tag in ENCRYPTED):
            return False
        keeper = jid_of(found.conversation).bare if found.room else self._omemo.jid
        name = f"{self._omemo.jid} {keeper} {found.archive_id}"
        mark = hashlib.sha256(b"in the clear: " + name.encode()).digest()
        if self._history.was_opened(mark):
            return True
        self._history.opened(mark)
        return False

    def _decrypted(self, found: Unwrapped) -> _Decrypted:
        """The payload in the best encryption that was meant for us.

        Raises:
            AlreadyOpened: it was read before.
            NotForUs: it is encrypted, and not for this device.
            ProtocolError, SecurityError: it cannot be opened.
        """
        elements = [e for tag in ENCRYPTED for e in found.message.findall(tag)]
        if not elements:
            return _clear(clear_payload(found.message))
        missed: NotForUs | None = None
        silent = True  # it carries keys alone: nothing that anybody wrote is lost with it
        for element in elements:
            sealed = parse_encrypted(element)
            silent = silent and not sealed.payload
            try:
                if found.own and sealed.sender == self._omemo.device_id:
                    # a copy of what an earlier session of ours sent, and the server took late
                    raise AlreadyOpened("this device wrote it", rule="XEP-0280 6.1")
                opened = self._open(sealed, _bare(found))
            except NotForUs as e:
                missed = e
                continue
            except CannotOpen:
                if sealed.payload:
                    raise
                continue
            payload = _payload(found, opened, self_jid=self._omemo.jid)
            sealed_name = opened.device.namespace == Protection.OMEMO
            return _Decrypted(
                payload=payload,
                name=_name(payload) if sealed_name else "",
                protection=Protection(opened.device.namespace),
                device=opened.device.id,
                trust=self._trust(opened.device),
            )
        if silent:
            return _clear(())
        raise missed or NotForUs(NOT_FOR_US)

    def _open(self, sealed: Sealed, jid: str) -> Opened:
        """Open what was sealed by a device of `jid`. Raises as `_decrypted`."""
        ours = self._omemo.device_id
        key = next((key.data for key in sealed.keys if key.id == ours), b"")
        mark = hashlib.sha256(key + sealed.payload).digest()
        try:
            opened = self._omemo.open_sealed(sealed, jid)
        except CannotOpen as e:
            if key and self._history.was_opened(mark):
                raise AlreadyOpened("this message was opened before", rule="XEP-0384") from e
            raise
        self._history.opened(mark)
        return opened


def _payload(found: Unwrapped, opened: Opened, *, self_jid: str) -> Sequence[Element]:
    if opened.device.namespace == Protection.OMEMO_LEGACY:
        return legacy_payload(found.message, _text(opened.plaintext))
    if opened.plaintext is None:
        return ()
    envelope = parse_envelope(opened.plaintext)
    own, conversation = parse_jid(self_jid), jid_of(found.conversation)
    envelope.require(
        sender=jid_of(found.sender or found.conversation),
        to=conversation if found.room or found.own else own,
        sent=found.sent,
        # what another device of ours wrote, our server could move into any conversation
        named=found.room or found.own,
    )
    return sealed_payload(envelope.content)


def _name(payload: Sequence[Element]) -> str:
    names = [element for element in payload if element.tag == NAME]
    if len(names) > 1:
        raise ProtocolError("a message with two names", rule="securecall grammar")
    return require_id(names[0].get("id", "")) if names else ""


def _text(plaintext: bytes | None) -> str | None:
    if plaintext is None:
        return None
    try:
        return plaintext.decode()
    except UnicodeDecodeError as e:
        raise ProtocolError("the text is not UTF-8", rule="XEP-0384 0.3") from e


def _attached(said: Said, rest: Sequence[Element], protection: Protection) -> Said:
    """A text with the file that was shared with it, or that its body links to."""
    if not isinstance(said, Text):
        return said
    sharings = [element for element in rest if element.tag == SHARING]
    if len(sharings) > 1:
        raise ProtocolError("one message shares one file", rule="securecall limits")
    if sharings:
        return replace(said, file=parse_sharing(sharings[0]))
    if protection and is_link(said.body):
        file: SharedFile = parse_link(said.body)
        return replace(said, body="", file=file)
    return said


def _arrival(found: Unwrapped, said: Said, inside: _Decrypted) -> Arrival:
    # invariant: `read` returned before for a message that nobody wrote, unless it is an error,
    # which comes from the conversation itself
    sender = found.sender or found.conversation
    return Arrival(
        conversation=found.conversation,
        sender=sender,
        own=found.own,
        id=inside.name or found.id or found.origin_id,
        archive_id=found.archive_id,
        sent=found.sent,
        via=found.via,
        room=found.room,
        protection=inside.protection,
        device=inside.device,
        trust=inside.trust,
        said=said,
    )


def _clear(payload: Sequence[Element]) -> _Decrypted:
    return _Decrypted(payload=payload, protection=Protection.NONE)


def _method(found: Unwrapped) -> _Decrypted:
    """By its looks: nothing was proved, or it could be read."""
    for tag in ENCRYPTED:
        if found.message.find(tag) is not None:
            return _Decrypted(payload=(), protection=Protection(tag[1:].partition("}")[0]))
    return _clear(())


def _bare(found: Unwrapped) -> str:
    # invariant: nobody's messages were returned before
    return jid_of(found.sender or found.conversation).bare


def _words(error: ProtocolError | SecurityError) -> str:
    """What a person is told; nothing of the message stands in these."""
    return str(error)[:200]
