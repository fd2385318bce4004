"""What one call's peer is held to, by what is known of it; and what the call teaches in turn."""

from __future__ import annotations

from dataclasses import dataclass

from securecall.address import ANONYMOUS, Address, Scheme
from securecall.clock import unix_now
from securecall.contacts import Contacts
from securecall.errors import DowngradeError, Reason, SecurityError, TicketRefused
from securecall.keys.handshake import HandshakeResult, PeerClaim
from securecall.keys.statement import Statement
from securecall.keys.ticket import Ticket
from securecall.keys.trust import (
    Act,
    How,
    Judgement,
    TrustEvent,
    TrustState,
    card_events,
    judge_bearer,
    judge_incoming,
    judge_outgoing,
    judge_ticket,
    require_not_barred,
    succeeded,
)
from securecall.organisations import Heard
from securecall.passports import CallPassports
from securecall.policy import IdentityEvidence, SecurityLevel, SecurityState


@dataclass(frozen=True, slots=True, kw_only=True)
class _MergedClaim:
    """A peer's claim with the statement to go by (withdrawals are for ever)."""

    statement: Statement
    own_address: str


class Expectation:
    """Holds one call's peer to what we know; judging writes nothing, `secured` does."""

    def __init__(
        self,
        contacts: Contacts,
        address: Address,
        *,
        ticket: Ticket | None = None,
        how: How = How.FIRST_CALL,
        incoming: bool = False,
        direct: bool = False,
        passports: CallPassports | None = None,
    ) -> None:
        """Prepare.

        Args:
            contacts: Who we know; asked and, once the call is secured, told.
            address: The address dialled or signalled.
            ticket: The one we call with.
            how: What the ticket rests on: LINK or QR.
            incoming: They call us.
            direct: No server in between; such a caller needs a ticket while tickets are open.
            passports: What the peer signed in signalling is to be held against its identity, too.
        """
        self._contacts = contacts
        self._address = address
        self._ticket = ticket
        self._how = how
        self._incoming = incoming
        self._direct = direct
        self._passports = passports
        self._judgement: Judgement | None = None
        self._heard = Heard()
        self._said = b""
        self._bearer = False
        self._seen: Statement | None = None

    def judge(self, claim: PeerClaim) -> None:
        """Refuse a peer that is not who it has to be; called before our own identity is shown.

        Raises:
            SecurityError: of the kind that fits.
        """
        contacts = self._contacts
        merged = contacts.statements.shown_by(claim.device, claim.statement)
        merged.device(claim.device.id, unix=unix_now())
        if self._passports is not None:
            self._passports.require_signed_by(merged)
        self._require_alone(claim.root_fp, str(self._address).encode())
        self._seen = claim.statement
        held = _MergedClaim(statement=merged, own_address=claim.own_address)
        # Judged as if a succession it proves were written down, which `secured` does.
        book = succeeded(contacts.book, claim.statement)
        if self._incoming:
            if self._direct and claim.ticket_proof:
                self._judgement = judge_bearer(book, self._address, held)
            else:
                vouched = self._hear(claim)
                self._judgement = judge_incoming(book, self._address, held, vouched=vouched)
            if self._direct:
                self._judge_bearer(claim)
        elif self._ticket is not None:
            self._judgement = judge_ticket(book, self._address, self._ticket.root_fp, held)
        else:
            vouched = self._hear(claim)
            self._judgement = judge_outgoing(book, self._address, held, vouched=vouched)

    def _hear(self, claim: PeerClaim) -> bool:
        """Whether the organisation our user trusts for the peer's address vouches for its root."""
        organisations = self._contacts.organisations
        self._said = claim.countersignature
        self._heard = organisations.hear(self._address, claim.root_fp, self._said)
        return self._heard.vouched

    def _require_alone(self, root_fp: bytes, address: bytes) -> None:
        """Let one handshake at a time run with one root or address: more would be more guesses.

        Raises:
            SecurityError: another handshake with this root or address is under way.
        """
        handshakes = self._contacts.handshakes
        names = (root_fp,) if self._address == ANONYMOUS else (root_fp, address)
        if any(handshakes.setdefault(name, self) is not self for name in names):
            raise SecurityError(
                "another call with the same person is being connected; try again in a moment",
                reason=Reason.HANDSHAKE_FAILED,
            )

    def settled(self) -> None:
        """The handshake is over, one way or the other; the next one may begin."""
        handshakes = self._contacts.handshakes
        for name in [name for name, held in handshakes.items() if held is self]:
            del handshakes[name]

    def _judge_bearer(self, claim: PeerClaim) -> None:
        contacts = self._contacts
        if claim.ticket_proof:
            contacts.desk.require_proof(
                claim.ticket_proof,
                bind=claim.bind,
                role=claim.call_role,
                root_fp=claim.root_fp,
                unix=unix_now(),
            )
            self._bearer = True
        elif contacts.has_open_tickets() and self._require_judgement().state is TrustState.UNKNOWN:
            raise TicketRefused("the caller's ticket is not valid")

    def evidence(self, result: HandshakeResult) -> IdentityEvidence:
        """Join the proof with what is known of the key.

        Raises:
            Revoked, SecurityError: the key lost its trust since it was judged.
        """
        judgement = self._require_judgement()
        contacts = self._contacts
        require_not_barred(contacts.book, judgement.root_fp)
        if self._seen is not None:  # a withdrawal may have come in the meantime
            current = contacts.statements.shown_by(result.peer.device, self._seen)
            _ = current.device(result.peer_device_id, unix=unix_now())
        state, since, how = judgement.state, judgement.since, judgement.how
        if self._ticket is not None and self._how is How.QR:
            state, how = TrustState.VERIFIED, How.QR.value
        elif state is TrustState.UNKNOWN and (self._ticket is not None or self._bearer):
            state, how = TrustState.PINNED, (How.BEARER if self._bearer else How.LINK).value
        return IdentityEvidence(
            root_fp=judgement.root_fp,
            device_id=result.peer_device_id,
            trust=state,
            since=since,
            how=how,
            stale=judgement.stale,
            group=result.group,
            organisation=self._heard.domain,
            passport=self._passports is not None and self._passports.present,
        )

    def unaided(self) -> IdentityEvidence | None:
        """The evidence where no identity handshake ran: what a known person signed in signalling.

        Raises:
            DowngradeError: that person's statement requires the handshake.
            SecurityError: the signature is not theirs, or their key is not to be trusted.
        """
        passports = self._passports
        statement = passports.known_statement() if passports is not None else None
        if passports is None or not passports.present or statement is None:
            return None
        if "id1" in statement.require:
            raise DowngradeError(
                "this person always proves who they are within the call, and now did not; somebody "
                "in between may be answering"
            )
        passports.require_signed_by(statement)
        judge = judge_incoming if self._incoming else judge_outgoing
        claim = _MergedClaim(statement=statement, own_address=str(self._address))
        found = judge(self._contacts.book, self._address, claim)
        return IdentityEvidence(
            root_fp=found.root_fp,
            device_id="",
            trust=found.state,
            since=found.since,
            how=found.how,
            stale=found.stale,
            passport=True,
        )

    def secured(self, result: HandshakeResult, state: SecurityState) -> None:
        """The gate is to open: write what this call taught us, and nothing for a stranger's call.

        Raises:
            Revoked, SecurityError: the key lost its trust since it was judged.
        """
        contacts, judgement = self._contacts, self._require_judgement()
        address, root_fp = judgement.address, judgement.root_fp
        require_not_barred(contacts.book, root_fp)
        if self._heard.domain:  # its own word, whoever calls
            relied = judgement.how == How.ORGANISATION.value
            contacts.organisations.learn(address, root_fp, self._said, relied=relied)
        if self._incoming and not self._bearer:
            if judgement.state is not TrustState.UNKNOWN:
                self._remember_statement()
            return
        self._remember_statement()
        events = [*self._superseded(), contacts.event(Act.PIN, address, root_fp, self._pins_by())]
        if not self._incoming and self._ticket is not None and self._how is How.QR:
            events.append(contacts.event(Act.VERIFY, address, root_fp, How.QR))
        if not self._incoming and state.level >= SecurityLevel.E2EE:
            events.append(contacts.event(Act.RAISE_FLOOR, address, b"", How.OUTGOING_CALL))
        contacts.apply(*events)

    def _pins_by(self) -> How:
        if self._bearer:
            return How.BEARER
        by_word = self._require_judgement().how == How.ORGANISATION.value
        return How.ORGANISATION if by_word else self._how

    def _superseded(self) -> list[TrustEvent]:
        """An organisation vouches for another key of its member than before: that one goes."""
        judgement = self._require_judgement()
        binding = self._contacts.book.lookup(judgement.address)
        if binding is None or binding.root_fp == judgement.root_fp:
            return []
        if judgement.how != How.ORGANISATION.value:
            return []
        return [
            self._contacts.event(Act.FORGET, binding.address, binding.root_fp, How.ORGANISATION)
        ]

    def confirmed(self, result: HandshakeResult) -> None:
        """The user compared the words of this call: the key is verified.

        On a call that came in from an address not bound to this key yet, the key itself is verified
        (its `key:` address); whose address it may use is not for a call to say.
        """
        contacts, judgement = self._contacts, self._require_judgement()
        address, root_fp = judgement.address, judgement.root_fp
        events = self._superseded()
        if events or contacts.book.lookup(address) is None:
            if self._incoming:
                address, events = Address(Scheme.KEY, root_fp.hex()), []
            events.append(contacts.event(Act.PIN, address, root_fp, How.CONTACT))
        events.append(contacts.event(Act.VERIFY, address, root_fp, How.SAS))
        contacts.apply(*events)
        self._remember_statement()
        if not self._incoming:
            more = card_events(contacts.book, address, result.peer.statement, unix=unix_now())
            contacts.apply(*more)

    def _remember_statement(self) -> None:
        """Write down what the peer's statement says; a newer one may have come by another way."""
        if self._seen is None:
            return
        _ = self._contacts.follow(self._seen)
        statements, seen = self._contacts.statements, self._seen
        known = statements.known(seen.root_fp)
        if known is None or known.seq <= seen.seq:
            statements.keep(statements.weigh(seen), seen)

    def _require_judgement(self) -> Judgement:
        if self._judgement is None:
            raise SecurityError(
                "the peer was not judged before its keys were used", reason=Reason.IDENTITY_MISSING
            )
        return self._judgement
