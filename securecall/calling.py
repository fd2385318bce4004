"""Who is called how: the way to a ticket, a key or an address, and what the call has to know."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Protocol

from securecall.account import Account, ProviderMode
from securecall.address import ANONYMOUS, Address, Scheme, parse_address
from securecall.calls import orders
from securecall.calls.call import Call
from securecall.calls.carried import Engine
from securecall.calls.context import CallContext
from securecall.calls.link import LinkIdentity
from securecall.calls.signaling import IncomingLeg, Route
from securecall.clock import unix_now
from securecall.contacts import Contact, Contacts
from securecall.errors import PolicyRefused, UsageError
from securecall.expectation import Expectation
from securecall.fips import STANDARD, Approval, require_working
from securecall.keys.handshake import HandshakeResult
from securecall.keys.ticket import Ticket, parse_ticket
from securecall.keys.trust import How
from securecall.media.engine import Clock
from securecall.media.quality import Quality
from securecall.passports import CallPassports
from securecall.policy import IpPrivacy, Policy, SecurityState, floor_for, require_reachable
from securecall.transport.endpoint import host_of
from securecall.transport.turn import IceHelpers, no_helpers

Callee = str | Address | Contact | Ticket


class Observer(Protocol):
    """Who follows the calls."""

    def observe(self, call: Call, expectation: Expectation, output: orders.Output) -> None:
        """Take note of an order of the call's machine, after it was performed."""
        ...

    def sound_failed(self, call: Call, error: Exception) -> None:
        """A source or sink raised and was taken out."""
        ...

    def pressed(self, call: Call, digit: str) -> None:
        """The peer pressed a key of its telephone."""
        ...

    def peer_records(self, call: Call) -> None:
        """Tell that the other end says it records."""
        ...

    def quality(self, call: Call, quality: Quality) -> None:
        """The peer sounds better or worse than it did."""
        ...

    def guess_burned(self, address: Address) -> None:
        """A handshake with this address failed after its nonces."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A call that can be placed.

    Attributes:
        context: What it has to know.
        route: Where to dial.
        account: Ours that it goes through, None for a direct call.
    """

    context: CallContext
    route: Route
    account: Account | None = None


class Calling:
    """Finds the way to whom we call, and what whoever answers is held to."""

    def __init__(
        self,
        contacts: Contacts,
        clock: Clock,
        accounts: Callable[[], tuple[Account, ...]],
        observer: Observer,
        helpers: Callable[[], Awaitable[IceHelpers]] = no_helpers,
        approval: Approval = STANDARD,
    ) -> None:
        """Compose calls out of these.

        Args:
            contacts: Who we know, and who we are.
            clock: The process's media clock.
            accounts: Those signed in at this moment.
            observer: Follows every call.
            helpers: Says what helps a call to find a path, at its beginning.
            approval: The profile all calls run under.
        """
        self._helpers = helpers
        self._approval = approval
        self._contacts = contacts
        self._clock = clock
        self._accounts = accounts
        self._observer = observer

    def plan(
        self,
        who: Callee,
        policy: Policy,
        *,
        scanned: bool,
        direct: tuple[str, int] | None,
        account: Account | None,
    ) -> Plan:
        """Find the way to somebody; see `Client.call`.

        Raises:
            UsageError: nothing of ours can reach that address, or not under this policy.
            TicketRefused: the ticket has expired.
            DowngradeError, PolicyRefused: a telephone gateway would be too little for it.
        """
        if isinstance(who, str) and is_ticket(who):
            who = parse_ticket(who, unix=unix_now())
        if isinstance(who, Ticket):
            if direct is not None or account is not None:
                raise UsageError("a ticket says itself where it leads to")
            _require_another("ticket", own=who.root_fp == self._contacts.root_fp)
            return self._by_ticket(who, policy, how="qr" if scanned else "link")
        if scanned:
            raise UsageError("only a ticket is scanned")
        address = address_of(who)
        if address.scheme is Scheme.KEY:
            if account is not None:
                raise UsageError("a key is called directly, through no account")
            _require_another("key", own=address == self._contacts.own_key_address)
            place = direct or self._contacts.place_of(address)
            if place is None:
                raise UsageError(f"where {address.short} listens is not known: give direct=")
            return self._by_key(address, place, policy)
        if direct is not None:
            raise UsageError("only an address that is a key is called directly")
        return self._by_account(address, self.account_for(address, account), policy)

    def account_for(self, address: Address, wanted: Account | None) -> Account:
        """The account to reach an address through: the wanted one, one near it, or the first.

        Near a telephone number is one that leads into its network. To anybody else one does that
        only where the address is of its domain, or nothing else is signed in.

        Raises:
            UsageError: there is none, or the wanted one is not signed in.
        """
        accounts = self._accounts()
        if wanted is not None and wanted not in accounts:
            raise UsageError("that account is not signed in here")
        if not accounts or address.scheme not in (Scheme.SIP, Scheme.TEL):
            raise UsageError(
                f"nothing here can reach {address.short}: sign in to a SIP account first, or call "
                "with a ticket"
            )
        if address.scheme is Scheme.TEL:
            near = (a for a in accounts if a.is_trunk)
        else:  # by what can be end to end, unless the address itself asks for less
            accounts = tuple(sorted(accounts, key=lambda a: a.is_trunk or a.engine is not None))
            near = (a for a in accounts if a.address.host == address.host)
        return wanted or next(near, accounts[0])

    def answering(
        self, leg: IncomingLeg, account: Account, policy: Policy, *, known: bool
    ) -> CallContext:
        """Compose what a call that came in has to know; `known`: a key is bound to its caller."""
        contacts = self._contacts
        passports = self._passports(policy, account, leg.remote, outgoing=False)
        return self._context(
            policy,
            Expectation(
                contacts, leg.remote, incoming=True, direct=account.direct, passports=passports
            ),
            passports=passports,
            peer=leg.remote,
            pinned=known or (account.direct and contacts.has_open_tickets()),
            direct=account.direct,
            own=contacts.own_key_address if account.direct else account.address,
            towards=host_of(leg.path.remote),
            gateway=leg.telephone,
            trunk=account,
            proved=bool(leg.path.verified_name),
            engine=account.engine,
        )

    def _passports(
        self, policy: Policy, account: Account, peer: Address, *, outgoing: bool
    ) -> CallPassports | None:
        """Who signs and checks in signalling: where it is wished, between two sip addresses."""
        own = account.address
        named = all(a.scheme is Scheme.SIP and a != ANONYMOUS for a in (own, peer))
        carried = account.engine is not None
        if not policy.passport or account.direct or carried or not named:
            return None
        return CallPassports(self._contacts, own=own, peer=peer, outgoing=outgoing)

    def _by_ticket(self, ticket: Ticket, policy: Policy, *, how: str) -> Plan:
        way = next((t for t in ticket.targets if t.direct is not None), None)
        if way is None or way.direct is None:
            raise UsageError("this ticket names no direct address; other ways are not built yet")
        target, place = way.address, way.direct
        contacts = self._contacts
        expectation = Expectation(contacts, target, ticket=ticket, how=How(how))
        context = self._context(
            policy,
            expectation,
            peer=target,
            pinned=True,  # the ticket carried the key
            direct=True,
            own=contacts.own_key_address,
            towards=place[0],
            ticket=ticket,
        )

        def secured(result: HandshakeResult, state: SecurityState) -> None:
            expectation.secured(result, state)
            contacts.remember_place(target, place)

        context = replace(context, ticket=how, secured=secured)
        return Plan(context=context, route=Route(target, direct=place))

    def _by_key(self, key: Address, place: tuple[str, int], policy: Policy) -> Plan:
        """Call a key where it listens: the address itself says who has to answer."""
        contacts = self._contacts
        context = self._context(
            policy,
            Expectation(contacts, key),
            peer=key,
            pinned=contacts.is_pinned(key),
            direct=True,
            own=contacts.own_key_address,
            towards=place[0],
        )
        return Plan(context=context, route=Route(key, direct=place))

    def _by_account(self, address: Address, account: Account, policy: Policy) -> Plan:
        contacts = self._contacts
        passports = self._passports(policy, account, address, outgoing=True)
        context = self._context(
            policy,
            Expectation(contacts, address, passports=passports),
            passports=passports,
            peer=address,
            pinned=contacts.is_pinned(address),
            direct=False,
            own=account.address,
            towards=account.towards,
            gateway=address.scheme is Scheme.TEL,
            trunk=account,
            proved=True,  # or nothing is sent; see `SipSignaling.dial`
            engine=account.engine,
        )
        try:
            require_reachable(context.floor)
        except PolicyRefused as e:
            if account.is_trunk or policy.minimum is not None or policy.require_pq:
                raise
            raise PolicyRefused(
                f"{e}. Your provider and the phone network can hear a call to a number; if that "
                'is meant, sign in with provider_mode="gateway" (--provider-mode gateway)',
                reason=e.reason,
            ) from e
        return Plan(context=context, route=Route(address), account=account)

    def _context(
        self,
        policy: Policy,
        expectation: Expectation,
        *,
        peer: Address,
        pinned: bool,
        direct: bool,
        own: Address,
        towards: str,
        ticket: Ticket | None = None,
        passports: CallPassports | None = None,
        gateway: bool = False,
        trunk: Account | None = None,
        proved: bool = False,
        engine: Engine | None = None,
    ) -> CallContext:
        """Compose what a call has to know.

        Args:
            policy: Of the call.
            expectation: What its peer is held to.
            peer: Who has to answer, and whose floor applies; ANONYMOUS leaves that to its key.
            pinned: A key is known for the peer, or a ticket stands for one.
            direct: No server in between.
            own: The address we claim.
            towards: Host we face, to pick our own address.
            ticket: The one we call with.
            passports: Signs and checks in signalling.
            gateway: A telephone gateway takes part, whatever the account.
            trunk: The account, None for a direct call.
            proved: The server that reads our signalling has proved its name.
            engine: Carries the sound, too; None where we do.
        """
        contacts, observer, approval = self._contacts, self._observer, self._approval
        if approval.suite.approved:
            require_working()
            if policy.danger_plain_dtls:
                raise UsageError("the fips profile makes no calls without proof of identity")
        if direct:
            require_direct(policy)
        anonymous = peer == ANONYMOUS
        mode = trunk.provider_mode if trunk is not None else ProviderMode.PROXY
        sdes = proved and not direct and mode is ProviderMode.GATEWAY
        identity = LinkIdentity(
            statement=contacts.statement,
            device=contacts.device,
            root_fp=contacts.root_fp,
            own_address=str(own),
            expected_peer="" if anonymous else str(peer),
            judge=expectation.judge,
            ticket_secret=ticket.secret if ticket is not None else None,
            countersignature=contacts.organisations.own_word(own),
            suite=approval.suite,
        )
        return CallContext(
            policy=policy,
            floor=floor_for(
                policy,
                contact_floor=not anonymous and contacts.has_floor(peer),
                pinned=pinned,
                direct=direct,
                gateway=gateway,
                trunk=mode is not ProviderMode.PROXY,
                sdes=sdes,
            ),
            peer="a caller without an address" if anonymous else peer.short,
            identity=None if policy.danger_plain_dtls else identity,
            evidence=expectation.evidence,
            secured=expectation.secured,
            confirmed=expectation.confirmed,
            guess_burned=lambda: observer.guess_burned(peer),
            clock=self._clock,
            towards=towards,
            observe=lambda call, output: observer.observe(call, expectation, output),
            sound_failed=observer.sound_failed,
            helpers=self._helpers,
            approved=approval.provider and approval.suite.approved,
            voucher=passports,
            unaided=expectation.unaided,
            acquainted=direct or pinned,
            sdes=sdes,
            pressed=observer.pressed,
            engine=engine,
            quality=observer.quality,
            peer_records=observer.peer_records,
        )


def _require_another(what: str, *, own: bool) -> None:
    """Refuse to call ourselves, which whoever answered would have to be refused for."""
    if own:
        raise UsageError(
            f"this {what} is your own, of this device or another of yours: it is for somebody "
            "else, for calls between the devices of one person are not made"
        )


def require_direct(policy: Policy) -> None:
    """Refuse a policy for direct calls that asks for no proof: no server proves its name there.

    Or that hides our address, which the other end of a direct connection cannot but learn.

    Raises:
        UsageError: it does without proof of identity, or without our address.
    """
    if policy.ip_privacy is IpPrivacy.RELAY:
        raise UsageError(
            "a direct call (a ticket, or an address that is a key) shows both ends each other's IP "
            "address, which this policy hides (ip_privacy)"
        )
    if policy.danger_plain_dtls:
        raise UsageError(
            "a direct call (a ticket, or an address that is a key) rests on the proof of the key "
            "alone: it is not made under danger_plain_dtls; give it a policy= without"
        )


def address_of(who: str | Address | Contact) -> Address:
    """The address of a contact, the address itself, or the one a text names.

    Raises:
        ProtocolError: the text names none.
    """
    if isinstance(who, Contact):
        return who.address
    return who if isinstance(who, Address) else parse_address(who)


def is_ticket(text: str) -> bool:
    """Whether a text is a ticket, or a link that carries one."""
    return text.startswith("securecall:") or "#securecall:" in text
