"""How a second device comes under a root it does not hold: invitation, request, statement.

All three are public texts, carried by whatever is at hand (a file, a QR code, a message):

    securecall:join:1:<root's Ed25519 key>      from the device that holds the root
    securecall:device:1:<request>               from the new one, compared by eight words
    securecall:statement:1:<statement>          back: signed by the root, lists the new device

A request is a JWS (General JSON Serialisation), protected header
`{"alg":"Ed25519","typ":"securecall-device+jws"}`, payload

    {"v":1, "root":b64u(root_fp), "device":{"entry":b64u(JSON), "pop":{..}}, "addrs":[..], "iat":s}

signed by the key of the entry and, where that replaces an older key of the same device, by the
older one as well. docs/spec/identity-lifecycle.md has the whole text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from securecall.address import Address, Scheme, parse_address
from securecall.errors import IdentityMismatch, ProtocolError
from securecall.keys.device import DeviceKey, device_proof_input
from securecall.keys.encoding import build_base64url, build_json, label, parse_pasted, sha512
from securecall.keys.passport import PassportKey
from securecall.keys.signed_json import (
    exact_bytes,
    integer,
    items,
    open_jws,
    refused,
    require_members,
    signatures_of,
    text,
)
from securecall.keys.signing import require_ed25519_public, require_ed25519_signature
from securecall.keys.statement_content import MAX_ITEMS, MAX_SIZE, DeviceEntry, OmemoKey
from securecall.keys.statement_grammar import parse_listed_device
from securecall.keys.wordlist import words

WORDS: Final = 8  # 88 bits: who wants other words to be equal has to try 2^88 keys
_JOIN: Final = "securecall:join:1:"
_DEVICE: Final = "securecall:device:1:"
_STATEMENT: Final = "securecall:statement:1:"
_PROTECTED: Final = b'{"alg":"Ed25519","typ":"securecall-device+jws"}'
_RULE: Final = "device request"
_DEPTH: Final = 4
_MEMBERS: Final = ("v", "root", "device", "addrs", "iat")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceRequest:
    """What a device asks the holder of the root for; its own signatures were checked.

    Attributes:
        root_fp: Under which root.
        device: Its entry, with proofs for that root.
        addresses: Which addresses it is signed in under.
        iat: Unix seconds of issue.
        words: Eight words, to be compared with those that the device itself shows.
        renewal: The signature by an older key, and what it signs; not checked. None where none is.
    """

    root_fp: bytes = field(repr=False)
    device: DeviceEntry
    addresses: tuple[Address, ...]
    iat: int
    words: tuple[str, ...]
    renewal: tuple[bytes, bytes] | None = field(default=None, repr=False)

    def require_renews(self, listed: DeviceEntry) -> None:
        """Refuse a request that is not made by the device which is listed under its name.

        Raises:
            IdentityMismatch: another key asks, and the listed one did not sign.
        """
        if listed.public == self.device.public:
            return
        another = IdentityMismatch(
            "another device of this name is listed already, and its key did not sign this request"
        )
        if self.renewal is None:
            raise another
        try:
            require_ed25519_signature(listed.public, *self.renewal)
        except ProtocolError as e:
            raise another from e


def build_invitation(root_public: bytes) -> str:
    """Return the text by which a new device learns under which root it is to be."""
    return _JOIN + build_base64url(root_public)


def parse_invitation(text: str) -> bytes:
    """Read an invitation; returns the root's Ed25519 key.

    Raises:
        ProtocolError: it is something else.
    """
    public = _bytes(text, _JOIN, "an invitation for a device", 128)
    require_ed25519_public(public)
    return public


def build_request(
    root_fp: bytes,
    device: DeviceKey,
    *,
    caps: Sequence[str],
    not_after: int,
    omemo: Sequence[OmemoKey],
    addresses: Sequence[Address],
    iat: int,
    before: DeviceKey | None = None,
    passport: PassportKey | None = None,
) -> bytes:
    """Sign what a device asks for.

    Args:
        root_fp: Of the root.
        device: The key that is to be listed.
        caps: What the device can do, for diagnostics.
        not_after: Unix seconds after which the key is not accepted.
        omemo: The OMEMO identity keys of this device.
        addresses: Which addresses it is signed in under.
        iat: Unix seconds of issue.
        before: The key it replaces, which is listed now.
        passport: The key that signs the PASSporTs of this device.
    """
    p256 = b"" if passport is None else passport.public
    entry = device.entry(caps, not_after, omemo, p256)
    proofs = {"ed25519": build_base64url(device.proof(root_fp, entry))}
    if passport is not None:
        proofs["p256"] = build_base64url(passport.sign(device_proof_input(root_fp, entry)))
    payload = build_json(
        {
            "v": 1,
            "root": build_base64url(root_fp),
            "device": {"entry": build_base64url(entry), "pop": proofs},
            "addrs": [str(address) for address in addresses if address.scheme is not Scheme.KEY],
            "iat": iat,
        }
    )
    body, protected = build_base64url(payload), build_base64url(_PROTECTED)
    signed = f"{protected}.{body}".encode("ascii")
    signers = [device] if before is None else [device, before]
    return build_json(
        {
            "payload": body,
            "signatures": [
                {"protected": protected, "signature": build_base64url(key.sign(signed))}
                for key in signers
            ],
        }
    )


def parse_request(data: bytes) -> DeviceRequest:
    """Read a request and check the signature of the key it is about.

    Raises:
        ProtocolError: a rule is broken or a signature does not hold.
    """
    body, _, members, listed = open_jws(data, max_size=MAX_SIZE, max_depth=_DEPTH)
    require_members(members, _MEMBERS)
    # one signature, or two; never none
    headers = (_PROTECTED,) * max(1, len(items(listed, 2)))
    signature, *renewal = signatures_of(listed, body, headers)
    root_fp = exact_bytes(members["root"], 64)
    device = parse_listed_device(members["device"], root_fp)
    require_ed25519_signature(device.public, *signature)
    return DeviceRequest(
        root_fp=root_fp,
        device=device,
        addresses=tuple(_address(item) for item in items(members["addrs"], MAX_ITEMS)),
        iat=integer(members["iat"]),
        words=request_words(data),
        renewal=renewal[0] if renewal else None,
    )


def request_words(data: bytes) -> tuple[str, ...]:
    """Return the eight words of a request, which both devices show."""
    x = int.from_bytes(sha512(label("device-request") + data)[: WORDS * 11 // 8], "big")
    listed = words()
    return tuple(listed[x >> 11 * (WORDS - 1 - place) & 2047] for place in range(WORDS))


def build_request_text(data: bytes) -> str:
    """Return a request as one line of text."""
    return _DEVICE + build_base64url(data)


def parse_request_text(text: str) -> bytes:
    """Read that line.

    Raises:
        ProtocolError: it is something else.
    """
    return _bytes(text, _DEVICE, "a request of a device", MAX_SIZE * 2)


def build_statement_text(statement: bytes) -> str:
    """Return a statement as one line of text."""
    return _STATEMENT + build_base64url(statement)


def parse_statement_text(text: str) -> bytes:
    """Read that line, or the statement itself; it proves nothing yet.

    Raises:
        ProtocolError: it is something else.
    """
    text = text.strip()
    if text.startswith("{") and text.isascii() and len(text) <= MAX_SIZE:
        return text.encode("ascii")
    return _bytes(text, _STATEMENT, "an identity statement", MAX_SIZE * 2)


def _address(value: object) -> Address:
    name = text(value)
    address = parse_address(name)
    if str(address) != name or address.scheme is Scheme.KEY:
        raise refused("an address that is not in canonical form")
    return address


def _bytes(text: str, prefix: str, what: str, most: int) -> bytes:
    text = "".join(text.split())  # mail and terminals break lines
    if len(text) > most or not text.startswith(prefix):
        raise ProtocolError(f"not {what}: it begins with {prefix}", rule=_RULE)
    return parse_pasted(text.removeprefix(prefix), rule=_RULE)
