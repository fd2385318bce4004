"""Our own identity on this device: how its statement and our other devices change.

A device that holds the root signs statements itself. One that does not asks for what it needs
(`request`) and takes what the other signed (`take`); it can do everything else by itself.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

from securecall.errors import (
    IdentityMismatch,
    ProtocolError,
    Reason,
    Revoked,
    SecurityError,
    StatementFull,
    StatementInvalid,
    UsageError,
)
from securecall.events import OwnChange
from securecall.keys.device import DeviceKey
from securecall.keys.enrolment import DeviceRequest, parse_request
from securecall.keys.household import Household, build_household
from securecall.keys.identity import RootKey
from securecall.keys.passport import PassportKey
from securecall.keys.phrase import build_phrase, parse_phrase
from securecall.keys.statement import Statement, next_seq
from securecall.keys.statement import parse_statement as read_statement
from securecall.keys.statement_content import DEVICE_LIFETIME, MAX_AHEAD
from securecall.keys.succession import MAX_CHAIN, ancestors, build_succession
from securecall.own_statement import NEXT_PASSPORT, OwnStatement
from securecall.secret import Secret


class OwnIdentity(OwnStatement):
    """Who we are, and what may change that: a request, a statement from elsewhere, the root."""

    # -- a device without the root ----------------------------------------------------------------

    def request(self) -> bytes:
        """Return what to show to the device that holds the root; public.

        Raises:
            Revoked: this device was withdrawn.
            UsageError: this device holds the root itself.
        """
        self._require_ours()
        if self.holds_root:
            raise UsageError("this device holds the root key: it asks nobody")
        now, this, before = self._now(), self._this_device, None
        enrolled = self._current is not None and this.entry_in(self._current) is not None
        if enrolled and this.rotation_due(unix=now):
            before = this.device
            device = self._store.next_device or DeviceKey.generate(before.id)
            passport = this.passport
            if passport is not None:
                passport = self._kept_passport(NEXT_PASSPORT) or PassportKey.generate()
                self._store.save_setting(NEXT_PASSPORT, passport.scalar.reveal())
            this = replace(this, device=device, since=now, passport=passport)
            self._store.save_next_device(device)
        return this.request(self.root_fp, unix=now, before=before)

    def take(self, raw: bytes) -> bool:
        """Take a statement of ours that another device of ours signed.

        Of an older one only what it withdraws counts: it may have been kept from us, or be of
        after the backup that this device was made of.

        Args:
            raw: From a file, a QR code, or the node of our own account.

        Returns:
            Whether it was news.

        Raises:
            StatementInvalid: it is none, its signatures do not hold, or it lists keys of this
                device under another name; what that withdraws counts all the same.
            IdentityMismatch: it is another person's, or does not list this device.
            SecurityError: ROLLBACK, it is older than the one we have, and withdraws nothing new.
        """
        seen = read_statement(raw, unix=self._now())
        if seen.root_fp != self.root_fp:
            return self._follow(seen)
        current = self._current
        if current is not None and seen.payload_hash == current.payload_hash:
            return False
        if seen.seq < self._store.seq:
            if self._withdraw(seen):
                return True
            raise SecurityError(
                "this statement of ours is older than the one this device has",
                reason=Reason.ROLLBACK,
            )
        if seen.seq == self._store.seq:
            self._fork(seen)
        else:
            self._adopt(seen)
        return True

    def _adopt(self, seen: Statement) -> None:
        before = self._household
        household = before.adopt(seen, here=self.device.id, claimed=self._claimed)
        if self.device.id in household.withdrawn:
            self._keep(seen, household)
        elif not self.holds_root:
            self._take_signed(seen, household)
        elif self._is_said(seen, household):
            self._keep(seen, household)
        else:  # it was made without knowing what this device is now
            try:
                self._sign(household, after=seen.seq)
            except UsageError as e:
                _ = self._withdraw(seen)
                raise StatementInvalid(
                    f"a statement of ours leaves no room for this device: {e}"
                ) from e
        self._tell_withdrawn(before)
        for device in household.devices:  # by whoever else holds our root: our user has to know
            if before.device(device.id) is None:
                self._tell(OwnChange.ENROLLED, device.id)

    def _withdraw(self, seen: Statement) -> bool:
        """Withdraw what a statement of our root did, whatever its number; returns if it is news."""
        before = self._household
        if not set(seen.revoked) - set(before.withdrawn):
            return False
        self._settle(before.without(*seen.revoked))
        self._tell_withdrawn(before)
        return True

    def _settle(self, household: Household) -> None:
        """Keep another household, and sign it where that is possible."""
        if self.holds_root and self.device.id not in household.withdrawn:
            with suppress(StatementFull):  # then it counts here, and `statement` says what to do
                self._sign(household)
                return
        self._store.save_household(build_household(household))
        self._replaced(household, self._current)

    def _tell_withdrawn(self, before: Household) -> None:
        known = frozenset(before.withdrawn)  # there may be thousands
        for gone in self._household.withdrawn:
            if gone not in known:
                here = gone == self.device.id
                change = OwnChange.WITHDRAWN if here else OwnChange.REVOKED
                self._tell(change, gone, before.omemo_of(gone))

    def _fork(self, seen: Statement) -> None:
        """Two statements of ours under one number: what both list stays, with one of our own."""
        before = self._household
        self._settle(before.meet(seen))
        self._tell_withdrawn(before)
        self._tell(OwnChange.FORK)

    def _take_signed(self, seen: Statement, household: Household) -> None:
        own, pending = self._this_device.entry_in(seen), self._store.next_device
        if own is None:
            _ = self._withdraw(seen)
            self._tell(OwnChange.REQUEST_DUE, self.device.id)
            raise IdentityMismatch("this statement does not list this device; ask for it again")
        since = own.not_after - DEVICE_LIFETIME
        if own.public == self.device.public:
            self._keep(seen, household, since=since)
        elif pending is not None and own.public == pending.public:
            passport = self._kept_passport(NEXT_PASSPORT)
            if passport is None or own.p256 != passport.public:
                passport = self._passport
            self._keep(seen, household, device=pending, since=since, passport=passport)
            self._tell(OwnChange.ROTATED, self.device.id)
        else:
            _ = self._withdraw(seen)
            raise IdentityMismatch("this statement lists another key under this device's name")
        self._tell(OwnChange.ENROLLED, self.device.id)

    def _follow(self, seen: Statement) -> bool:
        """Our root was replaced on the device that holds it: this one has to join the new one."""
        if self.root_fp not in ancestors(seen.successions, seen.root_fp):
            raise IdentityMismatch("this statement is somebody else's")
        if self.holds_root:
            raise IdentityMismatch(
                "another root claims to follow the one this device holds; if you did not do that, "
                "somebody else has your root key"
            )
        before = self._household
        household = before.followed().adopt(seen, here=self.device.id, claimed=self._claimed)
        root = RootKey.known(seen.root_public)
        self._store.save_statement(
            seen.raw,
            next_seq(self._store.seq, unix_ms=seen.seq),
            household=build_household(household),
            root=root,
        )
        self._replaced(household, seen)
        self._tell(OwnChange.SUCCEEDED)
        self._tell_withdrawn(before)
        if self.request_due:
            self._tell(OwnChange.REQUEST_DUE, self.device.id)
        return True

    # -- a device with the root -------------------------------------------------------------------

    def phrase(self) -> Secret:
        """Return the 24 words that are our root key; for paper, never for a file or a log.

        Raises:
            NotPrimary: the root is not on this device.
            UsageError: it lies in a token.
        """
        return build_phrase(self._store.root.seed)

    def hold_root(self, phrase: Secret) -> None:
        """Take our root key onto this device, too, from its 24 words.

        Raises:
            PhraseInvalid: the words are none, or those of another root.
            Revoked: this device was withdrawn.
        """
        self._require_ours()
        root = RootKey.from_seed(parse_phrase(phrase))
        if root.fingerprint != self.root_fp:
            raise IdentityMismatch("these words are the key of another identity")
        self._store.save_root(root)
        with suppress(StatementFull):
            self._renew()

    def read_request(self, data: bytes) -> DeviceRequest:
        """Look at the request of another device of ours, to compare its words; changes nothing.

        Raises:
            ProtocolError: it is none, or its signatures do not hold.
            IdentityMismatch: for another root, or under the name of a device with another key.
            Revoked: a device of that name was withdrawn.
            SecurityError: ROLLBACK, an older request than the one that was granted.
            NotPrimary: the root is not on this device.
        """
        _ = self._store.root.require_signer()
        request, now = parse_request(data), self._now()
        device = request.device
        if request.root_fp != self.root_fp:
            raise IdentityMismatch("this device asks to be enrolled under another root")
        if device.id in self._household.withdrawn:
            raise Revoked("a device of this name was withdrawn; join anew under another name")
        if device.id == self.device.id or device.public in (self.device.public, self.root_public):
            raise IdentityMismatch("this request uses the name or the key of this very device")
        listed = self._household.device(device.id)
        if listed is not None:
            request.require_renews(listed)
        if request.iat < self._household.granted.get(device.id, 0):
            raise SecurityError("a newer request was granted before", reason=Reason.ROLLBACK)
        if request.iat > now + MAX_AHEAD or not now < device.not_after <= now + _year_and_a_day():
            raise ProtocolError("this request is not of this time", rule="device request")
        return request

    def enrol(self, data: bytes) -> bytes:
        """Vouch for another device of ours; its words were compared before.

        Returns:
            The new statement, for the other device to take.

        Raises:
            UsageError: there are more devices or addresses than a statement holds.
            ProtocolError, SecurityError: as for `read_request`.
        """
        request = self.read_request(data)
        household = self._household.with_device(request.device, request.addresses, request.iat)
        self._sign(household)
        self._tell(OwnChange.ENROLLED, request.device.id)
        return self.statement

    def revoke(self, device_id: str) -> bytes:
        """Withdraw a device of ours, for ever; takes effect at each contact when it arrives there.

        Returns:
            The new statement.

        Raises:
            NotPrimary: the root is not on this device.
            UsageError: there is no such device, or it is this one.
            StatementFull: too many were withdrawn under this root; `succeed` withdraws it, too.
        """
        _ = self._store.root.require_signer()
        if device_id == self.device.id:
            raise UsageError("a device does not withdraw itself: do it on another one of yours")
        if self._household.device(device_id) is None:
            raise UsageError(f"there is no device of ours named {device_id[:64]!r}")
        before = self._household
        self._sign(before.without(device_id))
        self._tell(OwnChange.REVOKED, device_id, before.omemo_of(device_id))
        return self.statement

    def rotate(self) -> bytes:
        """Give this device a new key now; by itself that happens every eleven months.

        Raises:
            NotPrimary: the root is not on this device; it asks for that by a `request`.
        """
        _ = self._store.root.require_signer()
        self._require_ours()
        self._sign(rotate=True)
        return self.statement

    def succeed(self) -> bytes:
        """Replace our root by a new one, which the old one vouches for; its words are void then.

        Contacts move their pins to it and compare again. Our other devices have to join it.
        Outstanding tickets are void.

        Raises:
            NotPrimary: the root is not on this device.
        """
        self._require_ours()
        old, new, now = self._store.root, RootKey.generate(), self._now()
        _ = old.require_signer()
        step = build_succession(old, new, iat=now)
        successions = (*self._household.successions, step)[-MAX_CHAIN:]
        household = self._household.succeeded(successions)
        for ticket in self._store.tickets():
            self._store.delete_ticket(ticket.id)
        self._sign(household, root=new, rotate=True)
        old.wipe()
        self._tell(OwnChange.SUCCEEDED)
        return self.statement


def _year_and_a_day() -> int:
    return DEVICE_LIFETIME + MAX_AHEAD
