"""A11: forged signatures of callers (PASSporTs), and damaged ones."""

from __future__ import annotations

import base64
import hmac
import json
import re
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256

from securecall.address import parse_address
from securecall.client import Client
from securecall.errors import (
    ProtocolError,
    SecurityError,
)
from securecall.keys.passport import (
    REQUEST,
    X5U,
    Digest,
    Passport,
    PassportKey,
    parse_passport,
)
from securecall.keys.signing import require_p256_signature
from securecall.keys.statement import parse_statement
from securecall.policy import Policy
from securecall.sip.message import Message
from securecall.testing.attacks.outcome import Attack, Outcome, control, named, ours
from securecall.testing.attacks.stage import (
    PLAIN,
    stage,
)
from securecall.testing.mallory_proxy import Dialogue

ALICE: Final = parse_address("sip:alice@example.com")
BOB: Final = parse_address("sip:bob@example.com")
MALLORY: Final = parse_address("sip:mallory@example.com")
NOW: Final = 1_790_000_000
ONE: Final[Digest] = ("sha-256", bytes(range(32)))
TWO: Final[Digest] = ("sha-256", bytes(range(1, 33)))
HEADER: Final = {"alg": "ES256", "typ": "passport", "x5u": X5U}
SIGNED: Final = Policy(passport=True)
PLAIN_SIGNED: Final = replace(PLAIN, passport=True)

Sign = Callable[[PassportKey, bytes], bytes]


def digest(value: Digest) -> dict[str, str]:
    """One of `mky`."""
    return {"alg": value[0], "dig": value[1].hex().upper()}


PAYLOAD: Final[dict[str, object]] = {
    "dest": {"uri": [str(BOB)]},
    "iat": NOW,
    "mky": [digest(ONE), digest(TWO)],
    "orig": {"uri": str(ALICE)},
}


def encoded(data: bytes) -> str:
    """base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def written(value: object) -> bytes:
    """JSON without white space, in the order of the value; bytes are taken as they are."""
    return value if isinstance(value, bytes) else json.dumps(value, separators=(",", ":")).encode()


def changed(**members: object) -> dict[str, object]:
    """The payload with other members; None takes one out."""
    return {k: v for k, v in (PAYLOAD | members).items() if v is not None}


def forged(
    key: PassportKey, header: object = None, payload: object = None, sign: Sign | None = None
) -> str:
    """A token of these parts; `sign` makes the signature, as ES256 does by default."""
    parts = [encoded(written(HEADER if header is None else header))]
    parts.append(encoded(written(PAYLOAD if payload is None else payload)))
    signed = ".".join(parts).encode()
    return ".".join((*parts, encoded(sign(key, signed) if sign else key.sign(signed))))


@cache
def _her_rsa() -> RSAPrivateKey:
    return generate_private_key(public_exponent=65537, key_size=2048)


def _by_her_rsa(_key: PassportKey, signed: bytes) -> bytes:
    return _her_rsa().sign(signed, PKCS1v15(), SHA256())


def _by_public_key(key: PassportKey, signed: bytes) -> bytes:
    return hmac.digest(key.public, signed, "sha256")


def _by_nobody(_key: PassportKey, _signed: bytes) -> bytes:
    return b""


Forgery = tuple[object, object, Sign | None]
_TWICE: Final = f'{{"alg":"ES256","alg":"ES256","typ":"passport","x5u":"{X5U}"}}'.encode()
_RESPONSE: Final = {"alg": "ES256", "ppt": "rsp", "typ": "passport", "x5u": X5U}

FORGERIES: Final[dict[str, dict[str, Forgery]]] = {
    "about other keys than the call's": {
        "mky missing": (None, changed(mky=None), None),
        "mky empty": (None, changed(mky=[]), None),
        "mky a subset": (None, changed(mky=[digest(ONE)]), None),
        "mky a superset": (
            None,
            changed(mky=[digest(ONE), digest(TWO), digest(("sha-512", bytes(64)))]),
            None,
        ),
        "mky unsorted": (None, changed(mky=[digest(TWO), digest(ONE)]), None),
        "mky twice the same": (None, changed(mky=[digest(ONE), digest(ONE), digest(TWO)]), None),
        "mky in lower case": (
            None,
            changed(mky=[{"alg": "sha-256", "dig": ONE[1].hex()}, digest(TWO)]),
            None,
        ),
    },
    "by another algorithm": {
        "alg none": (HEADER | {"alg": "none"}, None, _by_nobody),
        "alg none, a signature kept": (HEADER | {"alg": "none"}, None, None),
        "alg HS256 by the public key": (HEADER | {"alg": "HS256"}, None, _by_public_key),
        "alg RS256 by a key of hers": (HEADER | {"alg": "RS256"}, None, _by_her_rsa),
    },
    "spelled in another way": {
        "header members twice": (_TWICE, None, None),
        "payload members twice": (
            None,
            written(PAYLOAD)[:-1] + b',"orig":{"uri":"sip:alice@example.com"}}',
            None,
        ),
        "iat quoted": (None, changed(iat=str(NOW)), None),
        "iat a fraction": (None, written(changed(iat=0)).replace(b":0,", b":%d.0," % NOW), None),
        "members in another order": (None, dict(reversed(PAYLOAD.items())), None),
        "white space": (None, written(PAYLOAD).replace(b",", b", "), None),
        "a claim nobody knows": (None, PAYLOAD | {"z": 1}, None),
        "a header nobody knows": (HEADER | {"zip": "DEF"}, None, None),
    },
    "of another kind, time or people": {
        "an unknown type": (HEADER | {"ppt": "xyz"}, None, None),
        "the type of RFC 8862": (HEADER | {"ppt": "msec"}, None, None),
        "an empty type": ({**_RESPONSE, "ppt": ""}, None, None),
        "an answer in an invitation": (_RESPONSE, None, None),
        "a number instead of an address": (None, changed(orig={"tn": "12155551212"}), None),
        "an address in another form": (None, changed(orig={"uri": "sip:alice@EXAMPLE.com"}), None),
        "another caller": (None, changed(orig={"uri": str(MALLORY)}), None),
        "another callee": (None, changed(dest={"uri": ["sip:carol@example.com"]}), None),
        "a minute old": (None, changed(iat=NOW - 61), None),
        "a minute ahead": (None, changed(iat=NOW + 61), None),
    },
}
ALL: Final = {name: f for family in FORGERIES.values() for name, f in family.items()}


def judged(
    token: str,
    *keys: bytes,
    kind: str = REQUEST,
    digests: Collection[Digest] = (ONE, TWO),
    unix: int = NOW,
) -> Passport:
    """All that is asked of a token.

    Raises:
        ProtocolError, SecurityError: it is refused.
    """
    passport = parse_passport(token)
    passport.require_about(kind=kind, orig=ALICE, dest=BOB, digests=digests, unix=unix)
    passport.require_genuine(keys)
    return passport


def credulous(token: str, keys: Iterable[bytes], digests: Collection[Digest]) -> bool:
    """A verifier as they are written in haste: does what the header says, reads what it likes."""
    first, second, third = token.split(".")
    raw = [base64.urlsafe_b64decode(t + "==") for t in (first, second, third)]
    header, payload = json.loads(raw[0]), json.loads(raw[1])
    signed = f"{first}.{second}".encode()
    if not any(_hastily(header["alg"], key, raw[2], signed) for key in keys):
        return False
    wanted = [(d["alg"], bytes.fromhex(d["dig"])) for d in payload.get("mky", [])]
    return (not wanted or any(d in wanted for d in digests)) and int(payload["iat"]) > 0


def _hastily(algorithm: str, key: bytes, signature: bytes, signed: bytes) -> bool:
    try:
        match algorithm:
            case "none":
                return True
            case "HS256":
                return hmac.digest(key, signed, "sha256") == signature
            case "RS256":  # with the key from where the token itself says
                _her_rsa().public_key().verify(signature, signed, PKCS1v15(), SHA256())
            case _:
                require_p256_signature(key, signature, signed)
    except (InvalidSignature, ProtocolError):
        return False
    return True


async def _hasty(folder: Path) -> Outcome:  # noqa: ARG001
    """A verifier that does what the token's own header asks for."""
    outcome, key, taken = Outcome(), PassportKey.generate(), 0
    for name, forgery in ALL.items():
        good = credulous(forged(key, *forgery), [key.public], (ONE, TWO))
        outcome.demand(good, f"{name}: not taken")
        taken += good
    tampered = forged(key).rpartition(".")[0] + "." + encoded(bytes(64))
    outcome.demand(not credulous(tampered, [key.public], (ONE, TWO)), "it takes anything")
    outcome.got = f"a verifier in haste takes all {taken} forgeries"
    return outcome


async def _forged(family: str, folder: Path) -> Outcome:  # noqa: ARG001
    """Each signed by the right key where its algorithm has one, and wrong in one way."""
    outcome, key, refusals, words = Outcome(), PassportKey.generate(), list[str](), set[str]()
    _ = judged(forged(key), key.public)  # the honest one is taken
    for name, forgery in FORGERIES[family].items():
        try:
            _ = judged(forged(key, *forgery), key.public)
            outcome.problems.append(f"{name}: taken")
        except (ProtocolError, SecurityError) as e:
            refusals.append(named(e))
            words.add(str(e))
    outcome.refusals = tuple(dict.fromkeys(refusals))
    outcome.got = (
        f"{len(refusals)} of {len(FORGERIES[family])} refused (different reasons: {len(words)})"
    )
    return outcome


# -- damaged in a call ----------------------------------------------------------------------------

_DAMAGE: Final[dict[str, Callable[[str], str]]] = {
    "token": lambda value: value.replace(";info", "x;info"),
    "signature": lambda value: re.sub(
        r"\.[A-Za-z0-9_-]{9}([A-Za-z0-9_-]+);", r".AAAAAAAAA\1;", value
    ),
    "whole header": lambda _: "nonsense",
}


async def _damaged(damage: Callable[[str], str], folder: Path, *, offer: bool) -> Outcome:
    """Never ignored, though the identity handshake alone would do."""
    async with stage(folder, policy=SIGNED) as s:
        known_to_each_other(s.alice.client, s.bob.client)
        touched = 0

        def edit(message: Message, _dialogue: Dialogue, to_callee: bool) -> Message:  # noqa: FBT001
            nonlocal touched
            value = message.headers.first("identity")
            if value is None or to_callee != offer:
                return message
            touched += damage(value) != value
            message.headers.remove("identity")
            message.headers.add("identity", damage(value))
            return message

        s.mallory.tamper.append(edit)
        _ = await s.dial()
        outcome = s.refused(silent=False)
        outcome.demand(touched, "there was nothing to damage")
        return outcome


def known_to_each_other(*people: Client) -> None:
    """Everybody has seen the statement of everybody else, with their PASSporT keys."""
    for one in people:
        _ = one.contacts.passport_key()
    for one in people:
        for other in people:
            if one is not other:
                _ = saw(one, other.contacts.statement)


def saw(client: Client, raw: bytes) -> bytes:
    """One has seen this statement; returns whose root it is of."""
    statement = parse_statement(raw, unix=int(time.time()))
    client.contacts.store.save_known_statement(statement)
    return statement.root_fp


A11: Final[Attack] = (
    control("a verifier in haste", _hasty),
    *(ours(family, partial(_forged, family)) for family in FORGERIES),
    *(
        ours(
            f"{name} damaged, {'offer' if offer else 'answer'}",
            partial(_damaged, damage, offer=offer),
        )
        for name, damage in _DAMAGE.items()
        for offer in (True, False)
    ),
)
