"""This device as our statement is to list it: signed, asked for, and compared with what is said."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final

from securecall.address import Address, Scheme
from securecall.errors import StatementInvalid, UsageError
from securecall.keys.device import DeviceKey
from securecall.keys.enrolment import build_request
from securecall.keys.household import Household
from securecall.keys.identity import RootKey
from securecall.keys.passport import PassportKey
from securecall.keys.statement import OmemoKey, Statement, build_statement, parse_statement
from securecall.keys.statement_content import DEVICE_LIFETIME, DeviceEntry

STATEMENT_SECONDS: Final = 14 * 86_400
ROTATION_SECONDS: Final = 335 * 86_400  # a month before nobody accepts the key any more
REQUIRED: Final = "id1"
CAPS: Final = ("id1", "sframe5")


@dataclass(frozen=True, slots=True, kw_only=True)
class ThisDevice:
    """What a statement of ours has to say of the device it is made on, or for; immutable.

    Attributes:
        device: Its key.
        since: Unix seconds when that was made, 0 where it was not written down.
        claimed: The addresses it is signed in under.
        omemo: Its OMEMO identity keys.
        passport: Signs its PASSporTs, None where it made none yet.
    """

    device: DeviceKey = field(repr=False)
    since: int
    claimed: tuple[Address, ...]
    omemo: tuple[OmemoKey, ...]
    passport: PassportKey | None = field(repr=False)

    def rotated(self, *, unix: int) -> ThisDevice:
        """Return the same with new keys."""
        return replace(
            self,
            device=DeviceKey.generate(self.device.id),
            since=unix,
            passport=PassportKey.generate() if self.passport is not None else None,
        )

    def rotation_due(self, *, unix: int) -> bool:
        """Its key is old enough to be replaced."""
        return bool(self.since) and unix - self.since > ROTATION_SECONDS

    def entry_in(self, statement: Statement) -> DeviceEntry | None:
        """What a statement says under this device's name."""
        return next((d for d in statement.devices if d.id == self.device.id), None)

    def is_missing_in(self, statement: Statement, *, unix: int) -> bool:
        """A statement that somebody else signed lacks something of it, or is soon over."""
        own = self.entry_in(statement)
        if own is None or statement.exp - unix < STATEMENT_SECONDS // 4:
            return True
        unclaimed = bool(set(self.claimed) - set(statement.addresses))
        unsaid = own.omemo != self.omemo or own.p256 != self._p256 or unclaimed
        return unsaid or self.rotation_due(unix=unix)

    def is_said_in(self, statement: Statement, household: Household, *, unix: int) -> bool:
        """A statement says what is so, of this device and the others, and will for a while."""
        own = self.entry_in(statement)
        if own is None or statement.exp - unix < STATEMENT_SECONDS // 2:
            return False
        if not self.since or self.rotation_due(unix=unix):
            return False
        entry = self.device.entry(
            CAPS, self._not_after(unix), self.omemo, self._p256, successions=household.successions
        )
        return (
            own.raw == entry
            and set(statement.addresses) == set(self._addresses(statement.root_fp, household))
            and {d.raw for d in statement.devices} == {entry, *(d.raw for d in household.devices)}
            and set(statement.revoked) == set(household.revoked)
        )

    def signed(self, root: RootKey, household: Household, *, seq: int, unix: int) -> Statement:
        """Return a new statement about this device and the others.

        Raises:
            StatementFull: it is too much to say.
            UsageError: nobody would take it: two things contradict.
            NotPrimary: the root is not on this device.
        """
        passport = self.passport
        raw = build_statement(
            root,
            seq=seq,
            iat=unix,
            exp=unix + STATEMENT_SECONDS,
            addresses=self._addresses(root.fingerprint, household),
            devices=(self.device,),
            require=(REQUIRED,),
            revoked=household.revoked,
            caps=CAPS,
            not_after=self._not_after(unix),
            omemo={self.device.id: self.omemo},
            passports={self.device.id: passport} if passport else {},
            others=household.devices,
            successions=household.successions,
        )
        try:
            return parse_statement(raw, unix=unix)
        except StatementInvalid as e:  # two devices with one OMEMO key, for one
            raise UsageError(f"nobody would take this statement: {e}") from e

    def request(self, root_fp: bytes, *, unix: int, before: DeviceKey | None) -> bytes:
        """Return what to show to whoever holds the root; `before` is the key it replaces."""
        return build_request(
            root_fp,
            self.device,
            caps=CAPS,
            not_after=self._not_after(unix),
            omemo=self.omemo,
            addresses=self.claimed,
            iat=unix,
            before=before,
            passport=self.passport,
        )

    def _not_after(self, unix: int) -> int:
        return (self.since or unix) + DEVICE_LIFETIME

    @property
    def _p256(self) -> bytes:
        return b"" if self.passport is None else self.passport.public

    def _addresses(self, root_fp: bytes, household: Household) -> tuple[Address, ...]:
        key = Address(Scheme.KEY, root_fp.hex())
        return tuple(dict.fromkeys((key, *self.claimed, *household.addresses)))
