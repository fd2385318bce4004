"""OMEMO identity keys as people compare them, and as a QR code carries them (XEP-0384 6)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote, unquote

from securecall.address import Address, Scheme, parse_address
from securecall.errors import ProtocolError
from securecall.keys.omemo_values import montgomery

_P: Final = 2**255 - 19
_SIGN: Final = 1 << 255
_RULE: Final = "OMEMO identity key"
_SID: Final = re.compile(r"omemo-sid-([1-9][0-9]{0,9})")
_FINGERPRINT: Final = re.compile(r"(?:05)?([0-9a-f]{64})")
_MAX_URI: Final = 8192  # characters
_MAX_DEVICES: Final = 64  # in one code


def curve25519_form(identity_key: bytes) -> bytes:
    """Return an identity key, given in Ed25519 form, as the Curve25519 key that it stands for.

    Both signs of an Ed25519 key stand for the same one, and both have the same private key: what
    is kept and compared is this form, so that one device has one name in both versions of OMEMO.

    Raises:
        ProtocolError: it is not 32 bytes, or no such key.
    """
    if len(identity_key) != 32:
        raise ProtocolError("an identity key of another size", rule=_RULE)
    y = int.from_bytes(identity_key, "little") & ~_SIGN
    if y >= _P or y in (0, 1, _P - 1):  # not canonical, or of small order
        raise ProtocolError("a value that no identity key has", rule=_RULE)
    return montgomery(identity_key)


def fingerprint(curve_key: bytes) -> str:
    """Return a Curve25519 key as people compare it: eight groups of eight hex digits."""
    digits = curve_key.hex()
    return " ".join(digits[place : place + 8] for place in range(0, len(digits), 8))


def parse_fingerprint(text: str) -> bytes:
    """Read a fingerprint that somebody typed or pasted, with whatever stands between the groups.

    Raises:
        ProtocolError: it is none.
    """
    found = _FINGERPRINT.fullmatch(re.sub(r"[\s:-]", "", text[:512]).lower())
    if found is None:
        raise ProtocolError("a fingerprint has 64 hex digits", rule=_RULE)
    return bytes.fromhex(found[1])


def build_code(address: Address, devices: Mapping[int, bytes]) -> str:
    """Return what the QR code of a person's devices says: `xmpp:jid?omemo-sid-N=fp;...`.

    Args:
        address: Whose, an `xmpp:` one.
        devices: Device id -> Curve25519 key.
    """
    uri = f"xmpp:{quote(address.user)}@{address.host}"
    sids = ";".join(f"omemo-sid-{number}={key.hex()}" for number, key in sorted(devices.items()))
    return f"{uri}?{sids}" if sids else uri


def parse_code(text: str) -> tuple[Address, Mapping[int, bytes]]:
    """Read such a code, as Conversations and others show it too: whose, device id -> key.

    Raises:
        ProtocolError: it is no such code, names a device twice, or more than anybody has.
    """
    if len(text) > _MAX_URI:
        raise ProtocolError("a code longer than any", rule="XEP-0384")
    uri, _, query = text.strip().partition("?")
    scheme, _, who = uri.partition(":")
    if scheme.lower() != "xmpp":
        raise ProtocolError("a code that names no XMPP address", rule="RFC 5122")
    address = parse_address(f"xmpp:{unquote(who)}")
    if address.scheme is not Scheme.XMPP:
        raise ProtocolError("a code that names no XMPP address", rule="RFC 5122")
    devices: dict[int, bytes] = {}
    for pair in re.split("[;&]", query):
        name, _, value = pair.partition("=")
        sid = _SID.fullmatch(name)
        if sid is None:
            continue  # "message", "body": other words of such URIs
        number = int(sid[1])
        if number in devices or number >= 2**31:
            raise ProtocolError("a code with an impossible device", rule="XEP-0384")
        devices[number] = parse_fingerprint(value)
    if len(devices) > _MAX_DEVICES:
        raise ProtocolError(f"a code with more than {_MAX_DEVICES} devices", rule="XEP-0384")
    return address, devices
