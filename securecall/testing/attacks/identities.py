"""U4, A5: forged and rolled-back identity statements, and devices a server puts on a list."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Protocol

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from securecall.address import parse_address
from securecall.contacts import Contacts
from securecall.devices import Devices
from securecall.errors import Reason, SecurityError
from securecall.keys.device import DeviceKey
from securecall.keys.encoding import build_base64url
from securecall.keys.identity import RootKey
from securecall.keys.omemo_values import DeviceTrust
from securecall.keys.signing import ed25519_public
from securecall.keys.statement import (
    Statement,
    StatementChange,
    build_statement,
    merge,
    parse_statement,
)
from securecall.secret import Secret
from securecall.store.sqlite import Store
from securecall.store.vault import MINIMUM_COST
from securecall.testing.attacks.outcome import Attack, Outcome, control, limit, named, ours

_NOW: Final = 1_764_000_000
_DAY: Final = 86_400
_ALICE: Final = parse_address("sip:alice@a.example")
_PROTECTED: Final = {"alg": "Ed25519", "typ": "securecall-identity+jws"}

Payload = dict[str, object]
Edit = Callable[[Payload], None]


def _made(
    root: RootKey,
    *devices: DeviceKey,
    after: int = 0,
    revoked: Sequence[str] = (),
    not_after: int | None = None,
) -> bytes:
    return build_statement(
        root,
        seq=_NOW * 1000 + after,
        iat=_NOW,
        exp=_NOW + 7 * _DAY,
        addresses=[_ALICE],
        devices=devices,
        revoked=revoked,
        not_after=not_after,
    )


def _read(data: bytes, unix: int = _NOW) -> Statement:
    return parse_statement(data, unix=unix)


def _unpadded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "==")


def _compact(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _signed(payload: bytes, root: RootKey) -> bytes:
    """Any bytes as a statement, with the root's true signature."""
    protected, body = build_base64url(_compact(_PROTECTED)), build_base64url(payload)
    signature = build_base64url(root.sign(f"{protected}.{body}".encode()))
    return _compact(
        {"payload": body, "signatures": [{"protected": protected, "signature": signature}]}
    )


def _payload_of(data: bytes) -> Payload:
    outer = json.loads(data)
    payload: Payload = json.loads(_unpadded(outer["payload"]))
    return payload


def _edited(root: RootKey, edit: Edit) -> bytes:
    payload = _payload_of(_made(root, DeviceKey.generate("phone")))
    edit(payload)
    return _signed(_compact(payload), root)


def _forgeries() -> dict[str, bytes]:
    """Each correctly signed by its root, and wrong in one way."""
    root, mallory, phone = RootKey.generate(), RootKey.generate(), DeviceKey.generate("phone")
    hers = _payload_of(_made(root, phone))["devices"]

    def borrow(payload: Payload) -> None:
        payload["devices"] = hers

    def unprove(payload: Payload) -> None:
        devices = payload["devices"]
        if isinstance(devices, list):
            devices[0]["pop"] = {}

    plain = _compact(_payload_of(_made(root, phone)))
    return {
        "another person's device listed": _edited(mallory, borrow),
        "no proof of possession": _edited(mallory, unprove),
        "one member twice": _signed(plain.replace(b'"v":1', b'"seq":1,"v":1', 1), root),
        "true for 1": _edited(root, lambda p: p.update(v=True)),
        "lives for years": _edited(root, lambda p: p.update(exp=_NOW + 900 * _DAY)),
        "so new that nothing newer ever comes": _edited(root, lambda p: p.update(seq=2**52)),
    }


async def _naive_reader(folder: Path) -> Outcome:  # noqa: ARG001
    """A verifier as one writes it in an hour: parse, check the signature, go."""
    outcome, taken = Outcome(), 0
    for what, data in _forgeries().items():
        outer = json.loads(data)
        payload, first = json.loads(_unpadded(outer["payload"])), outer["signatures"][0]
        key = Ed25519PublicKey.from_public_bytes(_unpadded(payload["root"]["ed25519"]))
        signed = f"{first['protected']}.{outer['payload']}".encode()
        key.verify(_unpadded(first["signature"]), signed)
        outcome.demand(payload["v"] == 1, f"{what}: not taken")
        taken += 1
    outcome.got = f"a verifier of signatures alone takes all {taken} forgeries"
    return outcome


async def _forged(folder: Path) -> Outcome:  # noqa: ARG001
    outcome, refusals = Outcome(), list[str]()
    stripped = json.loads(_made(RootKey.generate(), DeviceKey.generate("phone")))
    stripped["signatures"] = []
    tampered = _made(RootKey.generate(), DeviceKey.generate("phone")).replace(b"A", b"B", 1)
    forgeries = _forgeries() | {"no signature": _compact(stripped), "one letter": tampered}
    for what, data in forgeries.items():
        try:
            _ = _read(data)
            outcome.problems.append(f"{what}: taken")
        except SecurityError as e:
            refusals.append(named(e))
    outcome.refusals = tuple(dict.fromkeys(refusals))
    outcome.got = f"{len(refusals)} of {len(forgeries)} refused"
    return outcome


async def _rolled_back(folder: Path) -> Outcome:  # noqa: ARG001
    """An older one, one beside it, one that takes a withdrawal back, and one of last week."""
    root, lost, phone = RootKey.generate(), DeviceKey.generate("lost"), DeviceKey.generate("phone")
    thief, outcome, refusals = DeviceKey.generate("thief"), Outcome(), list[str]()
    old, new = _read(_made(root, lost, phone)), _read(_made(root, phone, after=5, revoked=["lost"]))
    known = merge(old, new).statement
    outcome.demand(merge(None, old).statement.device("lost"), "the old one lists no lost device")

    def refused(what: str, reason: Reason, act: Callable[[], object]) -> None:
        try:
            _ = act()
            outcome.problems.append(f"{what}: taken")
        except SecurityError as e:
            refusals.append(named(e))
            outcome.demand(e.reason is reason, f"{what}: {e.reason}")

    refused("rollback", Reason.ROLLBACK, lambda: merge(known, old))
    again = _read(_made(root, lost, phone, after=9))
    refused("withdrawn", Reason.REVOKED, lambda: merge(known, again).statement.device("lost"))
    beside = _read(_made(root, phone, thief, after=5, revoked=["lost"]))
    verdict = merge(known, beside)
    outcome.demand(verdict.change is StatementChange.FORK, f"not a fork: {verdict.change}")
    refused("fork", Reason.IDENTITY_MISMATCH, lambda: verdict.statement.device("thief"))
    late = _read(_made(root, phone, not_after=_NOW + _DAY), unix=_NOW + 8 * _DAY)
    outcome.demand(late.stale, "an expired one is not marked")
    refused("expired", Reason.REVOKED, lambda: late.device("phone"))
    outcome.refusals = tuple(dict.fromkeys(refusals))
    outcome.got = "rollback, withdrawal undone, fork and expiry each by their name"
    return outcome


U4: Final[Attack] = (
    control("a verifier of signatures alone", _naive_reader),
    ours("forged, stripped, altered", _forged),
    ours("rolled back, forked, expired", _rolled_back),
)

# -- A5 -------------------------------------------------------------------------------------------

_BOB: Final = parse_address("xmpp:bob@b.example")
_RECEIVES: Final = {DeviceTrust.TRUSTED, DeviceTrust.VERIFIED}


def _identity_key(number: int) -> bytes:
    return ed25519_public(Secret(bytes([number]) * 31 + b"O"))


_BOBS, _SERVERS = _identity_key(1), _identity_key(66)


class _WrittenTo(Protocol):
    def __call__(self, *listed: bytes) -> list[bytes]: ...


@contextmanager
def _devices(folder: Path) -> Iterator[_WrittenTo]:
    """Which of the devices on a list of Bob's get a message, with the memory of one store."""
    store = Store.open_or_create(folder, Secret("correct horse"), cost=MINIMUM_COST)
    devices = Devices(Contacts(store))

    def written_to(*listed: bytes) -> list[bytes]:
        _ = devices.first_use(_BOB, listed)
        return [key for key in listed if devices.device_trust(_BOB, key) in _RECEIVES]

    try:
        yield written_to
    finally:
        store.close()


async def _forgetful(folder: Path) -> Outcome:
    """A client that takes each list for the first one: blind trust, the default of many."""
    outcome = Outcome(got="the server's device gets the message, too")
    got: list[bytes] = []
    for number, listed in enumerate(((_BOBS,), (_BOBS, _SERVERS))):
        with _devices(folder / f"{number}") as written_to:
            got = written_to(*listed)
    outcome.demand(_SERVERS in got, "it does not")
    return outcome


async def _listed(folder: Path) -> Outcome:
    """The server adds a device after we wrote, and takes Bob's own away."""
    outcome = Outcome(got="to Bob's device alone; the other waits for a decision")
    with _devices(folder / "alice") as written_to:
        outcome.demand(written_to(_BOBS) == [_BOBS], "not even Bob gets it")
        outcome.demand(written_to(_BOBS, _SERVERS) == [_BOBS], "the server's device gets it, too")
        outcome.demand(written_to(_SERVERS) == [], "the server's device gets it in Bob's place")
    with _devices(folder / "alice") as written_to:
        outcome.demand(written_to(_SERVERS) == [], "it does after a restart")
    return outcome


async def _from_the_start(folder: Path) -> Outcome:
    """Nothing is there to compare the first list with, where no identity vouches for devices."""
    outcome = Outcome(got="trusted as the first list; the application is told (DevicesTrusted)")
    with _devices(folder / "alice") as written_to:
        outcome.demand(written_to(_BOBS, _SERVERS) == [_BOBS, _SERVERS], "not trusted")
    return outcome


A5: Final[Attack] = (
    control("blind trust", _forgetful),
    ours("added later, or in his place", _listed),
    limit("there before the first message", _from_the_start),
)
