"""Which OMEMO devices messages are encrypted to, and how that came to be believed.

A device is named by its identity key. What is believed of it is *derived*, each time it is asked:
from the identity statement of a pinned root, which vouches for the devices it lists; from what
our user decided; from having been there when we first wrote. The server, which can add devices to
anybody's list, decides nothing: a device nobody vouched for is UNDECIDED and receives nothing.
"""

from __future__ import annotations

import contextlib
import enum
import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final

from securecall.address import Address, Scheme
from securecall.errors import ProtocolError, Reason, SecurityError, UsageError
from securecall.keys.omemo_fingerprint import curve25519_form
from securecall.keys.omemo_values import DeviceTrust
from securecall.keys.statement_content import Statement
from securecall.keys.trust_record import TrustState

MAX_DEVICES: Final = 64  # of one person, over the years; then the oldest that nobody judged go
_KEY_SIZE: Final = 32
_CHOSEN: Final = (DeviceTrust.TRUSTED, DeviceTrust.VERIFIED)


class DeviceAct(enum.StrEnum):
    """What changes what we believe of a device; each is done by our user."""

    FIRST_WRITE = "first-write"  # our user wrote to somebody for the first time
    TRUST = "trust"
    VERIFY = "verify"
    DISTRUST = "distrust"
    RESTORE = "restore"  # undecided again


class DeviceHow(enum.StrEnum):
    """By what evidence. A message that comes in is none."""

    WROTE = "wrote"  # the device was on the list when we first wrote
    DIGITS = "digits"  # two people compared fingerprints
    QR = "qr"
    USER = "user"


ALLOWED: Final[Mapping[DeviceAct, frozenset[DeviceHow]]] = MappingProxyType(
    {
        DeviceAct.FIRST_WRITE: frozenset({DeviceHow.WROTE}),
        DeviceAct.TRUST: frozenset({DeviceHow.USER}),
        DeviceAct.VERIFY: frozenset({DeviceHow.DIGITS, DeviceHow.QR}),
        DeviceAct.DISTRUST: frozenset({DeviceHow.USER}),
        DeviceAct.RESTORE: frozenset({DeviceHow.USER}),
    }
)
_ANY: Final = tuple(DeviceTrust)
# What is missing is refused: only RESTORE leads out of DISTRUSTED.
NEXT: Final[Mapping[tuple[DeviceTrust, DeviceAct], DeviceTrust]] = MappingProxyType(
    {
        (DeviceTrust.UNDECIDED, DeviceAct.FIRST_WRITE): DeviceTrust.TRUSTED,
        **{
            (state, DeviceAct.TRUST): DeviceTrust.TRUSTED
            for state in (DeviceTrust.UNDECIDED, DeviceTrust.TRUSTED, DeviceTrust.VERIFIED)
        },
        **{
            (state, DeviceAct.VERIFY): DeviceTrust.VERIFIED
            for state in (DeviceTrust.UNDECIDED, DeviceTrust.TRUSTED, DeviceTrust.VERIFIED)
        },
        **{(state, DeviceAct.DISTRUST): DeviceTrust.DISTRUSTED for state in _ANY},
        **{(state, DeviceAct.RESTORE): DeviceTrust.UNDECIDED for state in _ANY},
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceRecord:
    """What is written down about one device.

    Attributes:
        key: Its identity key in Curve25519 form.
        names: Under which (namespace, device id) it was seen.
        seen: Unix seconds of the first time.
        trust: What our user's acts made of it; what holds is `judge_device`'s word.
        how: What that rests on, None where nothing was decided.
        since: Unix seconds of that act, 0 for none.
        entry: Id of the device of the person's statement that listed this key last, "" for none.
    """

    key: bytes
    names: frozenset[tuple[str, int]] = frozenset()
    seen: int
    trust: DeviceTrust = DeviceTrust.UNDECIDED
    how: DeviceHow | None = None
    since: int = 0
    entry: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonDevices:
    """Everything written down about one person's devices; immutable.

    Attributes:
        address: Whose, an `xmpp:` one.
        written: Unix seconds when we first wrote to them, 0 for never yet.
        devices: By key, the one seen first first.
    """

    address: Address
    written: int = 0
    devices: Mapping[bytes, DeviceRecord] = field(default_factory=dict)

    def holder(self, namespace: str, number: int) -> DeviceRecord | None:
        """The device that was last seen under a device id."""
        found = (d for d in self.devices.values() if (namespace, number) in d.names)
        return next(found, None)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceEvent:
    """One act on one device.

    Attributes:
        act: What.
        address: Whose device.
        key: Its identity key in Curve25519 form.
        how: By what evidence.
        unix: When, Unix seconds.
        who: Who decided, "" for the owner of this store.
    """

    act: DeviceAct
    address: Address
    key: bytes
    how: DeviceHow
    unix: int
    who: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceAudit:
    """What an act did: from where to where."""

    event: DeviceEvent
    before: DeviceTrust
    after: DeviceTrust


class Sighting(enum.StrEnum):
    """How a device on somebody's list relates to what was there before."""

    KNOWN = "known"
    NEW = "new"  # worth telling, where we wrote to the person before
    KEY_CHANGED = "key-changed"  # another key under a device id we know: worth a warning


@dataclass(frozen=True, slots=True, kw_only=True)
class BoundRoot:
    """The root bound to an address, and what it says about devices.

    Attributes:
        state: What the root is to us.
        statement: Its statement as narrowed by earlier ones, None where none is known.
        late: On a server's word alone it was pinned, after our user had written to the person. It
            withdraws devices, but decides no other way than that first message did.
    """

    state: TrustState
    statement: Statement | None
    late: bool = False


def transition_device(
    person: PersonDevices, event: DeviceEvent
) -> tuple[PersonDevices, DeviceAudit]:
    """Apply one act; the only way to another decision.

    Raises:
        UsageError: the act does not rest on such evidence, or there is no such person or key.
        SecurityError: our user distrusts the device, and did not restore it.
    """
    if event.how not in ALLOWED[event.act]:
        raise UsageError(f"{event.act.value} does not rest on {event.how.value}")
    if event.address != person.address or event.address.scheme is not Scheme.XMPP:
        raise UsageError("a device belongs to an XMPP address")
    if len(event.key) != _KEY_SIZE:
        raise UsageError("a device is named by a key of 32 bytes")
    if event.act is DeviceAct.FIRST_WRITE and person.written not in (0, event.unix):
        raise UsageError("the first message to this person was written long ago")
    record = person.devices.get(event.key) or DeviceRecord(key=event.key, seen=event.unix)
    after = NEXT.get((record.trust, event.act))
    if after is None:
        if record.trust is DeviceTrust.DISTRUSTED:
            raise SecurityError(
                "you marked this device as not to be trusted", reason=Reason.DISTRUSTED
            )
        raise UsageError(f"{event.act.value} cannot follow on {record.trust.value}")
    changed = replace(
        record,
        trust=after,
        how=None if after is DeviceTrust.UNDECIDED else event.how,
        since=0 if after is DeviceTrust.UNDECIDED else event.unix,
    )
    written = event.unix if event.act is DeviceAct.FIRST_WRITE else person.written
    return (
        _with(replace(person, written=written), changed),
        DeviceAudit(event=event, before=record.trust, after=after),
    )


def first_write(
    person: PersonDevices, keys: Iterable[bytes], bound: BoundRoot | None, *, unix: int
) -> tuple[DeviceEvent, ...]:
    """Return the acts that follow from our user writing to somebody for the first time.

    The devices that are there then are trusted, for there is nothing to compare them with; every
    later one has to be vouched for. Where a root vouches for devices, or our user chose among
    them before, that is better evidence than having been there, and nothing is pinned on the
    server's word.

    Args:
        person: What is written down.
        keys: Of the devices on their list, Curve25519 form.
        bound: To their address, None where no root is.
        unix: Now.
    """
    chosen = any(d.trust in _CHOSEN for d in person.devices.values())
    if person.written or chosen or (bound is not None and _vouches(bound)):
        return ()
    # Not more than can be kept: who lists so many must keep nobody from writing to a room.
    decided = sum(d.trust is not DeviceTrust.UNDECIDED for d in person.devices.values())
    found = (
        DeviceEvent(
            act=DeviceAct.FIRST_WRITE,
            address=person.address,
            key=key,
            how=DeviceHow.WROTE,
            unix=unix,
        )
        for key in dict.fromkeys(keys)
        if key not in person.devices or person.devices[key].trust is DeviceTrust.UNDECIDED
    )
    return tuple(itertools.islice(found, MAX_DEVICES - decided))


def sight(
    person: PersonDevices, namespace: str, number: int, key: bytes, *, unix: int
) -> tuple[PersonDevices, Sighting]:
    """Note that a key stands on a person's list under a device id; changes no trust.

    Where all that is kept was decided about, one more is told of, and forgotten again.
    """
    name = (namespace, number)
    holder = person.holder(namespace, number)
    if holder is not None and holder.key == key:
        return person, Sighting.KNOWN
    if holder is not None:
        person = _with(person, replace(holder, names=holder.names - {name}))
    seen_before = key in person.devices
    if seen_before or len(person.devices) < MAX_DEVICES or _spare(person):
        record = person.devices.get(key) or DeviceRecord(key=key, seen=unix)
        person = _with(person, replace(record, names=record.names | {name}))
    if holder is not None:
        return person, Sighting.KEY_CHANGED
    return person, Sighting.KNOWN if seen_before else Sighting.NEW


def mark_written(person: PersonDevices, *, unix: int) -> PersonDevices:
    """Note that our user wrote to this person: nothing will be trusted for being there first."""
    return person if person.written else replace(person, written=unix)


def note_statement(person: PersonDevices, bound: BoundRoot | None) -> PersonDevices:
    """Keep which device of the statement each known key belongs to.

    So that a key goes with its device when the owner withdraws that, though later statements do
    not list it any more. Changes no decision.
    """
    if bound is None or bound.statement is None:
        return person
    listed: dict[bytes, str] = {}
    for entry in bound.statement.devices:
        for omemo in entry.omemo:
            with contextlib.suppress(ProtocolError):
                listed[curve25519_form(omemo.identity_key)] = entry.id
    devices = {
        key: replace(record, entry=listed.get(key, record.entry))
        for key, record in person.devices.items()
    }
    return person if devices == person.devices else replace(person, devices=devices)


def judge_device(
    person: PersonDevices, key: bytes, bound: BoundRoot | None, *, unix: int
) -> DeviceTrust:
    """Say what a device is to us now.

    Args:
        person: What is written down about the person's devices.
        key: Its identity key in Curve25519 form.
        bound: To their address, None where no root is.
        unix: Now.
    """
    record = person.devices.get(key)
    decided = DeviceTrust.UNDECIDED if record is None else record.trust
    if decided is DeviceTrust.DISTRUSTED:
        return decided
    if bound is None:
        return decided
    if record is not None and record.entry and _withdrawn(bound.statement, record.entry):
        return DeviceTrust.DISTRUSTED  # whoever verified it before, its owner takes it back
    by_hand = record is not None and record.how is not DeviceHow.WROTE
    listed = _lists(bound.statement, key, unix=unix)
    if bound.state in (TrustState.REVOKED, TrustState.DISTRUSTED) and listed:
        return DeviceTrust.DISTRUSTED
    if by_hand and decided is not DeviceTrust.UNDECIDED:
        if decided is DeviceTrust.TRUSTED and listed:
            return max(decided, _inherited(bound), key=_strength)
        return decided
    if bound.state in (TrustState.PINNED, TrustState.VERIFIED):
        if listed and not bound.late:
            return _inherited(bound)
        if bound.late or not _vouches(bound):
            return decided  # its owner uses the root for calls only; it says nothing about chat
    # The root lists other devices, or is in conflict: having been there first counts for nothing.
    return DeviceTrust.UNDECIDED


def promises(bound: BoundRoot, namespace: str, key: bytes) -> bool:
    """Say whether the statement gives the device with this key (Curve25519 form) that OMEMO."""
    for entry in () if bound.statement is None else bound.statement.devices:
        for omemo in entry.omemo:
            with contextlib.suppress(ProtocolError):
                if omemo.namespace == namespace and curve25519_form(omemo.identity_key) == key:
                    return True
    return False


def _inherited(bound: BoundRoot) -> DeviceTrust:
    # An expired statement may hide that a device was withdrawn since.
    fresh = bound.statement is not None and not bound.statement.stale
    if bound.state is TrustState.VERIFIED and fresh:
        return DeviceTrust.VERIFIED
    return DeviceTrust.TRUSTED


def _lists(statement: Statement | None, key: bytes, *, unix: int) -> bool:
    if statement is None:
        return False
    for entry in statement.devices:
        if entry.id not in statement.revoked and unix <= entry.not_after:
            for omemo in entry.omemo:
                with contextlib.suppress(ProtocolError):  # what is no key vouches for nothing
                    if curve25519_form(omemo.identity_key) == key:
                        return True
    return False


def _withdrawn(statement: Statement | None, entry: str) -> bool:
    return statement is not None and entry in statement.revoked


def _vouches(bound: BoundRoot) -> bool:
    statement = bound.statement
    return statement is not None and any(entry.omemo for entry in statement.devices)


def _with(person: PersonDevices, record: DeviceRecord) -> PersonDevices:
    devices = {**person.devices, record.key: record}
    if len(devices) > MAX_DEVICES:
        spare = _spare(person)
        if not spare:
            raise SecurityError(
                "this person has more devices than anybody needs", reason=Reason.BELOW_POLICY
            )
        del devices[spare[0]]
    return replace(person, devices=devices)


def _spare(person: PersonDevices) -> list[bytes]:
    """Whom nobody would miss, the one seen first first."""
    return [d.key for d in person.devices.values() if d.trust is DeviceTrust.UNDECIDED]


def _strength(trust: DeviceTrust) -> int:
    return (DeviceTrust.UNDECIDED, DeviceTrust.TRUSTED, DeviceTrust.VERIFIED).index(trust)
