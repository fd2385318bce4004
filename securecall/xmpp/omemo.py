"""OMEMO in stanzas and PEP items, both namespaces: read strictly, written plainly (XEP-0384).

Cryptography is in `keys`; here are elements on one side and its values on the other.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Mapping
from typing import Final
from xml.etree.ElementTree import Element, SubElement

from securecall.errors import ProtocolError
from securecall.keys.omemo_values import MAX_ID, OMEMO, OMEMO_LEGACY, Bundle, KeyFor, Sealed
from securecall.xmpp.jid import parse_jid

MAX_KEYS: Final = 1000  # of one message: a room of 200 people with a few devices each
MAX_PEOPLE: Final = 200
MAX_DEVICES: Final = 200  # of one list
MAX_PREKEYS: Final = 500  # of one bundle
CURRENT: Final = "current"  # item id of a device list
_MAX_KEY: Final = 2048  # bytes
_MAX_PAYLOAD: Final = 256 * 1024
_MAX_LABEL: Final = 200
_RULE: Final = "XEP-0384"
_SPACE: Final = re.compile(r"[ \t\r\n]+")
_NUMBER: Final = re.compile(r"[0-9]{1,10}", re.ASCII)
_TRUE: Final = ("true", "1")
_TYPE: Final = b"\x05"  # in front of every public key of the legacy namespace


def devices_node(namespace: str) -> str:
    """The PEP node of device lists."""
    return "urn:xmpp:omemo:2:devices" if namespace == OMEMO else f"{OMEMO_LEGACY}.devicelist"


def bundle_node(namespace: str, device_id: int) -> tuple[str, str]:
    """The PEP node of a device's bundle, and the id of its item there."""
    if namespace == OMEMO:
        return "urn:xmpp:omemo:2:bundles", str(device_id)
    return f"{OMEMO_LEGACY}.bundles:{device_id}", CURRENT


# -- messages -------------------------------------------------------------------------------------


def parse_encrypted(element: Element) -> Sealed:
    """Read an `<encrypted/>` of either namespace.

    Raises:
        ProtocolError: it is none, or too large.
    """
    namespace = _namespace(element, "encrypted")
    header = _only(element, namespace, "header")
    payload = _only_or_none(element, namespace, "payload")
    if namespace == OMEMO:
        keys, iv = _keys_by_person(header), b""
    else:
        keys = tuple(_key(one, "", "prekey") for one in _all(header, namespace, "key", MAX_KEYS))
        iv = _octets(_only(header, namespace, "iv"), most=16)
    return Sealed(
        namespace=namespace,
        sender=_device_id(header.get("sid")),
        keys=keys,
        iv=iv,
        payload=b"" if payload is None else _octets(payload, most=_MAX_PAYLOAD),
    )


def build_encrypted(sealed: Sealed) -> Element:
    """Write an `<encrypted/>`."""
    name = f"{{{sealed.namespace}}}"
    element = Element(f"{name}encrypted")
    header = SubElement(element, f"{name}header", {"sid": str(sealed.sender)})
    if sealed.namespace == OMEMO:
        people: dict[str, Element] = {}
        for key in sealed.keys:
            if key.jid not in people:
                people[key.jid] = SubElement(header, f"{name}keys", {"jid": key.jid})
            _build_key(people[key.jid], name, key, "kex")
    else:
        for key in sealed.keys:
            _build_key(header, name, key, "prekey")
        _build_octets(header, f"{name}iv", sealed.iv)
    if sealed.payload:
        _build_octets(element, f"{name}payload", sealed.payload)
    return element


# -- device lists ---------------------------------------------------------------------------------


def parse_devices(element: Element) -> dict[int, str]:
    """Read a device list of either namespace: id -> label.

    Raises:
        ProtocolError: it is none, or has too many devices.
    """
    namespace = _namespace(element, "devices", "list")
    return {
        _device_id(one.get("id")): one.get("label", "")[:_MAX_LABEL]
        for one in _all(element, namespace, "device", MAX_DEVICES)
    }


def build_devices(namespace: str, devices: Mapping[int, str]) -> Element:
    """Write a device list."""
    name = f"{{{namespace}}}"
    element = Element(f"{name}{'devices' if namespace == OMEMO else 'list'}")
    for number, label in devices.items():
        device = SubElement(element, f"{name}device", {"id": str(number)})
        if label and namespace == OMEMO:
            device.set("label", label)
    return element


# -- bundles --------------------------------------------------------------------------------------


def parse_bundle(element: Element, jid: str, device_id: int) -> Bundle:
    """Read the bundle that was found in somebody's node for a device; nothing in it is verified.

    Raises:
        ProtocolError: it is none, or has too many prekeys.
    """
    namespace = _namespace(element, "bundle")
    names = _TWO if namespace == OMEMO else _LEGACY
    spk, spk_id, spks, ik, pk, pk_id = names
    signed = _only(element, namespace, spk)
    prekeys: dict[int, bytes] = {}
    for one in _all(_only(element, namespace, "prekeys"), namespace, pk, MAX_PREKEYS):
        number = _prekey_id(one.get(pk_id))
        if number in prekeys:
            raise ProtocolError("two prekeys with one id", rule=_RULE)
        prekeys[number] = _public_key(one, namespace)
    return Bundle(
        namespace=namespace,
        jid=jid,
        id=device_id,
        identity_key=_public_key(_only(element, namespace, ik), namespace),
        signed_prekey_id=_prekey_id(signed.get(spk_id)),
        signed_prekey=_public_key(signed, namespace),
        signature=_exactly(_octets(_only(element, namespace, spks), most=64), 64),
        prekeys=prekeys,
    )


def build_bundle(bundle: Bundle) -> Element:
    """Write a bundle."""
    name = f"{{{bundle.namespace}}}"
    spk, spk_id, spks, ik, pk, pk_id = _TWO if bundle.namespace == OMEMO else _LEGACY
    typed = b"" if bundle.namespace == OMEMO else _TYPE
    element = Element(f"{name}bundle")
    signed = _build_octets(element, f"{name}{spk}", typed + bundle.signed_prekey)
    signed.set(spk_id, str(bundle.signed_prekey_id))
    _build_octets(element, f"{name}{spks}", bundle.signature)
    _build_octets(element, f"{name}{ik}", typed + bundle.identity_key)
    prekeys = SubElement(element, f"{name}prekeys")
    for number, key in bundle.prekeys.items():
        _build_octets(prekeys, f"{name}{pk}", typed + key).set(pk_id, str(number))
    return element


_TWO: Final = ("spk", "id", "spks", "ik", "pk", "id")
_LEGACY: Final = (
    "signedPreKeyPublic", "signedPreKeyId", "signedPreKeySignature", "identityKey",
    "preKeyPublic", "preKeyId",
)  # fmt: skip


# -- what they are made of ------------------------------------------------------------------------


def _keys_by_person(header: Element) -> tuple[KeyFor, ...]:
    keys: list[KeyFor] = []
    for person in _all(header, OMEMO, "keys", MAX_PEOPLE):
        found = _all(person, OMEMO, "key", MAX_KEYS)
        try:
            jid = str(parse_jid(person.get("jid", "")).bare)
        except ProtocolError:
            continue  # whoever that is, it is not us
        keys += (_key(one, jid, "kex") for one in found)
    if len(keys) > MAX_KEYS:
        raise ProtocolError(f"more than {MAX_KEYS} keys", rule=_RULE)
    return tuple(keys)


def _key(element: Element, jid: str, kex: str) -> KeyFor:
    return KeyFor(
        jid=jid,
        id=_device_id(element.get("rid")),
        data=_octets(element, most=_MAX_KEY),
        kex=element.get(kex, "false") in _TRUE,
    )


def _build_key(parent: Element, name: str, key: KeyFor, kex: str) -> None:
    element = _build_octets(parent, f"{name}key", key.data)
    element.set("rid", str(key.id))
    if key.kex:
        element.set(kex, "true")


def _namespace(element: Element, *names: str) -> str:
    for namespace in (OMEMO, OMEMO_LEGACY):
        if element.tag in {f"{{{namespace}}}{name}" for name in names}:
            return namespace
    raise ProtocolError(f"not {' or '.join(names)} of OMEMO", rule=_RULE)


def _all(parent: Element, namespace: str, name: str, most: int) -> Iterable[Element]:
    found = parent.findall(f"{{{namespace}}}{name}")
    if len(found) > most:
        raise ProtocolError(f"more than {most} times {name}", rule=_RULE)
    return found


def _only_or_none(parent: Element, namespace: str, name: str) -> Element | None:
    found = parent.findall(f"{{{namespace}}}{name}")
    if len(found) > 1:
        raise ProtocolError(f"{name} stands twice", rule=_RULE)
    return found[0] if found else None


def _only(parent: Element, namespace: str, name: str) -> Element:
    found = _only_or_none(parent, namespace, name)
    if found is None:
        raise ProtocolError(f"{name} is missing", rule=_RULE)
    return found


def _number(text: str | None, least: int) -> int:
    if text is None or not _NUMBER.fullmatch(text) or not least <= int(text) <= MAX_ID:
        raise ProtocolError(f"an id outside {least}..2^31-1", rule=_RULE)
    return int(text)


def _device_id(text: str | None) -> int:
    return _number(text, 1)


def _prekey_id(text: str | None) -> int:
    return _number(text, 0)


def _octets(element: Element, *, most: int) -> bytes:
    text = element.text or ""
    if len(text) > most * 2 + 200:  # a third more as base64, and line breaks
        raise ProtocolError(f"more than {most} bytes", rule=_RULE)
    if len(element):
        raise ProtocolError("an element where base64 has to be", rule=_RULE)
    try:
        data = base64.b64decode(_SPACE.sub("", text), validate=True)
    except (binascii.Error, ValueError) as e:
        raise ProtocolError("not base64", rule="RFC 4648 4") from e
    if not data or len(data) > most:
        raise ProtocolError(f"not 1 to {most} bytes", rule=_RULE)
    return data


def _exactly(data: bytes, size: int) -> bytes:
    if len(data) != size:
        raise ProtocolError(f"not {size} bytes", rule=_RULE)
    return data


def _public_key(element: Element, namespace: str) -> bytes:
    data = _octets(element, most=33)
    if namespace == OMEMO:
        return _exactly(data, 32)
    if _exactly(data, 33)[:1] != _TYPE:
        raise ProtocolError("not a Curve25519 key", rule=_RULE)
    return data[1:]


def _build_octets(parent: Element, tag: str, data: bytes) -> Element:
    element = SubElement(parent, tag)
    element.text = base64.b64encode(data).decode("ascii")
    return element
