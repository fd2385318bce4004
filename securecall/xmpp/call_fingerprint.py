"""DTLS fingerprints of a call over XMPP, proved by OMEMO, as Conversations and Dino do it.

A server that carries a Jingle call can put fingerprints of its own into it (XEP-0320). So each end
encrypts its fingerprint for the one device of the other that takes part, which the callee names
when it answers (XEP-0353). Here is what reads, judges and writes that; the calls themselves are not
built yet. The form is that of "OMEMO Encrypted Fingerprints"; of its `hash` and `setup` nothing is
proved. Who takes part in one call is judged by one `CallFingerprints`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final
from xml.etree.ElementTree import Element, SubElement

from securecall.errors import DowngradeError, IdentityMismatch, ProtocolError, Reason, SecurityError
from securecall.keys.omemo_values import MAX_ID, OMEMO_LEGACY, Device, DeviceTrust, Opened, Sealed
from securecall.media.description import Fingerprint
from securecall.policy import SecurityLevel
from securecall.xmpp.omemo import build_encrypted, parse_encrypted

# "dlts" is how everybody writes it.
NAMESPACE: Final = "http://gultsch.de/xmpp/drafts/omemo/dlts-srtp-verification"
DTLS: Final = "urn:xmpp:jingle:apps:dtls:0"
PROCEED: Final = "{urn:xmpp:jingle-message:0}proceed"
_DEVICE: Final = f"{{{NAMESPACE}}}device"
_PROVED: Final = f"{{{NAMESPACE}}}fingerprint"
_PLAIN: Final = f"{{{DTLS}}}fingerprint"
_ENCRYPTED: Final = f"{{{OMEMO_LEGACY}}}encrypted"
_LENGTHS: Final = {"sha-256": 32, "sha-384": 48, "sha-512": 64}
_SETUPS: Final = frozenset({"actpass", "active", "passive"})
_DIGEST: Final = re.compile(r"[0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2})*+", re.ASCII)
_NUMBER: Final = re.compile(r"[1-9][0-9]{0,9}", re.ASCII)
_LEVELS: Final = {
    DeviceTrust.TRUSTED: SecurityLevel.E2EE,
    DeviceTrust.VERIFIED: SecurityLevel.VERIFIED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CallFingerprint:
    """A fingerprint of the other end's certificate.

    Attributes:
        fingerprint: The digest.
        setup: Who is to begin DTLS, as it was said; never proved.
        device: Whose OMEMO proved it, None where nothing did.
        level: What it is worth by itself: `OPPORTUNISTIC` where nothing proved it.
    """

    fingerprint: Fingerprint
    setup: str
    device: Device | None = None
    level: SecurityLevel = SecurityLevel.OPPORTUNISTIC


class CallFingerprints:
    """The fingerprints of one call, from its proposal to its end; one device of the other's."""

    def __init__(
        self,
        peer: str,
        *,
        devices: Callable[[str], Iterable[Device]],
        trust: Callable[[Device], DeviceTrust],
        seal: Callable[[bytes, Device], Sealed],
        open_sealed: Callable[[Sealed, str], Opened],
        floor: bool,
    ) -> None:
        """Begin a call in which nobody is known yet.

        Args:
            peer: The bare JID that is called, or calls.
            devices: The devices of a bare JID whose keys are known.
            trust: What a device is to us, at the moment it is asked.
            seal: Encrypts for one device alone.
            open_sealed: As `Omemo.open_sealed`.
            floor: With this contact nothing less is accepted than what OMEMO proved.
        """
        self._peer = peer
        self._devices = devices
        self._trust = trust
        self._seal = seal
        self._open = open_sealed
        self._floor = floor
        self._device: Device | None = None

    def answered(self, message: Element) -> Device | None:
        """Learn from a callee's `<proceed/>` which of its devices answers.

        Returns:
            That device, for which `write` encrypts from now on; None where it names none.

        Raises:
            DowngradeError: it names none, and this contact has to.
            SecurityError: DEVICE_UNTRUSTED: it is unknown, or nobody decided to trust it.
            IdentityMismatch: another one answered before.
            ProtocolError: the message is malformed.
        """
        proceed = _only(message.findall(PROCEED), "proceed")
        named = proceed.findall(_DEVICE)
        if not named:
            self._require_none_before()
            return None
        number = _number(_only(named, "device").get("id", ""))
        found = [d for d in self._devices(self._peer) if d.id == number]
        device = next((d for d in found if d.namespace == OMEMO_LEGACY), None)
        if device is None:
            raise _untrusted(f"{self._peer} answers by a device whose keys are unknown")
        _ = self._take(device)
        return device

    def read(self, transport: Element) -> CallFingerprint:
        """Read the fingerprint of a transport that the other end offers or answers with.

        Raises:
            DowngradeError: nothing proves it, and this contact has to, or did before in this call.
            IdentityMismatch: another device of theirs proves it than the one that takes part.
            SecurityError: its device is not trusted; it cannot be decrypted; there is none.
            ProtocolError: the transport is malformed, or has more than one.
        """
        found = [e for e in transport if e.tag in (_PROVED, _PLAIN)]
        if not found:
            raise SecurityError("a transport without a fingerprint", reason=Reason.NO_ENCRYPTION)
        # Who takes the first of two may take the one that the server left beside the other.
        element = _only(found, "fingerprint")
        setup = element.get("setup", "")
        if setup not in _SETUPS:
            raise ProtocolError("a fingerprint without its setup", rule="XEP-0320 2")
        if element.tag == _PLAIN:
            self._require_none_before()
            return CallFingerprint(
                fingerprint=_fingerprint(element, element.text or ""), setup=setup
            )
        sealed = parse_encrypted(_only(element.findall(_ENCRYPTED), "encrypted"))
        opened = self._open(sealed, self._peer)
        level = self._take(opened.device)
        text = (opened.plaintext or b"").decode("ascii", "replace")
        return CallFingerprint(
            fingerprint=_fingerprint(element, text), setup=setup, device=opened.device, level=level
        )

    def write(self, fingerprint: Fingerprint, *, setup: str) -> Element:
        """Write ours: encrypted for the device that takes part, in the clear where none is known.

        Raises:
            DowngradeError: none is, and this contact has to be proved to.
            SecurityError: DEVICE_UNTRUSTED: it is not trusted any more.
        """
        value = fingerprint.value.hex(":").upper()
        attributes = {"hash": fingerprint.algorithm, "setup": setup}
        if self._device is None:
            self._require_none_before()
            plain = Element(_PLAIN, attributes)
            plain.text = value
            return plain
        _ = self._take(self._device)
        sealed = self._seal(value.encode(), self._device)
        if [key.id for key in sealed.keys] != [self._device.id]:
            raise SecurityError("a fingerprint encrypted for others than the one who takes part")
        proved = Element(_PROVED, attributes)
        proved.append(build_encrypted(sealed))
        return proved

    def _take(self, device: Device) -> SecurityLevel:
        """Go on with this device alone; returns what its word is worth now."""
        taken = self._device
        if taken is not None and (taken.id, taken.fingerprint) != (device.id, device.fingerprint):
            raise IdentityMismatch(
                f"{self._peer} answered by one device, and another speaks now",
                reason=Reason.DEVICE_MISMATCH,
            )
        level = _LEVELS.get(self._trust(device))
        if level is None:
            raise _untrusted(f"nobody decided to trust the device of {self._peer} that answers")
        self._device = device
        return level

    def _require_none_before(self) -> None:
        if self._device is not None:
            raise DowngradeError(f"what {self._peer} says is no longer proved by their device")
        if self._floor:
            raise DowngradeError(f"no device of {self._peer} proves that this call is theirs")


def build_proceed(session: str, device_id: int) -> Element:
    """Answer the call of this name (XEP-0353), by this device of ours."""
    proceed = Element(PROCEED, {"id": session})
    SubElement(proceed, _DEVICE, {"id": str(device_id)})
    return proceed


def _fingerprint(element: Element, text: str) -> Fingerprint:
    algorithm = element.get("hash", "").lower()
    length = _LENGTHS.get(algorithm)
    if length is None or len(text) != 3 * length - 1 or _DIGEST.fullmatch(text) is None:
        raise ProtocolError("a fingerprint of another form than its hash has", rule="RFC 8122 5")
    return Fingerprint(algorithm, bytes.fromhex(text.replace(":", "")))


def _only(found: list[Element], what: str) -> Element:
    if len(found) != 1:
        raise ProtocolError(f"{len(found)} of <{what}/> where one belongs", rule="XEP-0320 2")
    return found[0]


def _number(text: str) -> int:
    if _NUMBER.fullmatch(text) is None or int(text) > MAX_ID:
        raise ProtocolError("an impossible device", rule="XEP-0384 4")
    return int(text)


def _untrusted(message: str) -> SecurityError:
    return SecurityError(message, reason=Reason.DEVICE_UNTRUSTED)
