"""The PASSporTs of one call: ours signed, the peer's held against what its identity says."""

from __future__ import annotations

from securecall.address import Address
from securecall.clock import unix_now
from securecall.contacts import Contacts
from securecall.errors import AddressNotOwned, IdentityMismatch, ProtocolError, SecurityError
from securecall.keys.passport import (
    REQUEST,
    RESPONSE,
    Digest,
    Passport,
    build_passport,
    parse_passport,
)
from securecall.keys.statement import Statement
from securecall.media.description import Description
from securecall.sip.identity import build_identity, passports_of


class CallPassports:
    """Signs what we describe, and refuses a description that its PASSporT contradicts.

    Attributes:
        present: The peer signed what it described; whether rightly, `require_signed_by` says.
    """

    def __init__(self, contacts: Contacts, *, own: Address, peer: Address, outgoing: bool) -> None:
        """Prepare, for a call between two sip addresses."""
        self._contacts = contacts
        self._key = contacts.passport_key()  # from now on our statement lists it
        self._orig, self._dest = (own, peer) if outgoing else (peer, own)
        self._peer = peer
        self._ours, self._theirs = (REQUEST, RESPONSE) if outgoing else (RESPONSE, REQUEST)
        self._passport: Passport | None = None
        self._genuine = False

    @property
    def present(self) -> bool:
        """The peer signed what it described."""
        return self._passport is not None

    def sign(self, description: Description) -> str:
        """Return the value of Identity for a description of ours."""
        token = build_passport(
            self._key,
            kind=self._ours,
            orig=self._orig,
            dest=self._dest,
            digests=_digests(description),
            unix=unix_now(),
        )
        return build_identity(token)

    def receive(self, values: tuple[str, ...], description: Description) -> None:
        """Take the values of Identity that came with a description; none says nothing.

        What is known of the peer may be older than its key: then its statement decides, which the
        identity handshake brings, or the call ends there.

        Raises:
            ProtocolError, SecurityError: it is no PASSporT, or not one of this very message.
        """
        tokens = passports_of(values)
        if not tokens:
            return
        if len(tokens) > 1:
            raise IdentityMismatch("two PASSporTs speak of the keys of this call")
        try:
            passport = parse_passport(tokens[0])
        except ProtocolError as e:
            raise IdentityMismatch(f"the signature on this call cannot be read: {e}") from e
        passport.require_about(
            kind=self._theirs,
            orig=self._orig,
            dest=self._dest,
            digests=_digests(description),
            unix=unix_now(),
        )
        self._passport = passport
        known = self.known_statement()
        if known is not None and _lists(known, passport):
            self.require_signed_by(known)

    def known_statement(self) -> Statement | None:
        """The last statement seen of the key that is bound to the peer's address."""
        binding = self._contacts.book.lookup(self._peer)
        if binding is None:
            return None
        return self._contacts.store.known_statement(binding.root_fp, unix=unix_now())

    def require_signed_by(self, statement: Statement) -> None:
        """Refuse a PASSporT that no device of this statement signed, or one used before.

        Raises:
            AddressNotOwned: somebody else signed it.
            SecurityError: it is older than the statement, or replayed.
        """
        passport = self._passport
        if passport is None:
            return
        passport.require_genuine(_keys(statement))
        if passport.iat < statement.iat:
            raise SecurityError("the PASSporT of this call is older than its signer's statement")
        if not self._genuine:
            self._contacts.replays.require_new(passport, unix=unix_now())
            self._genuine = True


def _keys(statement: Statement) -> list[bytes]:
    unix = unix_now()
    return [
        device.p256
        for device in statement.devices
        if device.p256 and device.id not in statement.revoked and unix <= device.not_after
    ]


def _lists(statement: Statement, passport: Passport) -> bool:
    try:
        passport.require_genuine(_keys(statement))
    except AddressNotOwned:
        return False
    return True


def _digests(description: Description) -> list[Digest]:
    return [(f.algorithm, f.value) for f in description.all_fingerprints]
