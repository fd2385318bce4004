"""A person's endpoint: keys, accounts and calls composed; owns every task and connection."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from securecall.account import Account, SignIn, open_account
from securecall.address import ANONYMOUS, Address, Scheme, parse_address
from securecall.calls import orders
from securecall.calls.call import Call, CallContext
from securecall.calls.incoming import IncomingCall as IncomingCall
from securecall.calls.link import LinkIdentity
from securecall.calls.machine import State
from securecall.calls.signaling import Ended, IncomingLeg, Leg, Route, Signaling
from securecall.contacts import Contact, Contacts
from securecall.errors import (
    EndReason,
    SecurecallError,
    UsageError,
)
from securecall.events import (
    CallChangeRefused,
    CallEnded,
    CallMissed,
    CallRinging,
    CallSecured,
    Event,
    GuessesWarning,
    RegistrationChanged,
    SoundFailed,
    TransferRequested,
)
from securecall.expectation import Expectation
from securecall.keys.handshake import HandshakeResult
from securecall.keys.ticket import Ticket, build_ticket, parse_ticket
from securecall.keys.trust import How
from securecall.media.description import Description
from securecall.media.endpoints import AudioSource
from securecall.media.engine import Clock
from securecall.policy import Policy, SecurityLevel, SecurityState, floor_for
from securecall.secret import Secret
from securecall.sip.signaling import SipSignaling
from securecall.store.sqlite import Store
from securecall.transport.route import is_loopback, own_host_towards
from securecall.transport.tls import PemPair

log = logging.getLogger("securecall.client")

TICKET_SECONDS = 7 * 86_400
MOST_RINGING = 5  # calls of strangers at one time
ENOUGH_BURNED_GUESSES = 32  # with one address in 24 hours: the application is warned


def open(  # noqa: A001 - `securecall.open` reads as it should
    path: str | Path,
    *,
    passphrase: Secret,
    create: bool = False,
    policy: Policy | None = None,
) -> Client:
    """Open (or make) a person's endpoint; use it as `async with`.

    Args:
        path: Folder of the encrypted store.
        passphrase: Opens it; nothing else does.
        create: Make a new identity there if the folder holds none.
        policy: Default for every call.
    """
    return Client(Path(path).expanduser(), passphrase, create=create, policy=policy or Policy())


class Client:
    """One person on this machine; several may live in one process.

    Attributes:
        policy: The default for every call.
    """

    def __init__(self, path: Path, passphrase: Secret, *, create: bool, policy: Policy) -> None:
        """Use `securecall.open`."""
        self.policy = policy
        self._path = path
        self._passphrase = passphrase
        self._create = create
        self._store: Store | None = None
        self._contacts: Contacts | None = None
        self._clock: Clock | None = None
        self._accounts: list[Account] = []
        self._listener: SipSignaling | None = None
        self._calls: set[Call] = set()
        self._incoming: asyncio.Queue[IncomingCall] = asyncio.Queue()
        self._event_queues: set[asyncio.Queue[Event]] = set()

    async def __aenter__(self) -> Self:
        """Open the store (a quarter of a second: Argon2id) and the identity in it."""
        how = Store.open_or_create if self._create else Store.open
        self._store = await asyncio.to_thread(how, self._path, self._passphrase)
        try:
            self._contacts = Contacts(self._store)
            self._clock = Clock.running()
        except BaseException:
            self._store.close()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End every call, close every connection, lock the store."""
        try:
            await asyncio.gather(*(call.hang_up() for call in tuple(self._calls)))
            for account in self._accounts:
                await account.signaling.close()
        finally:  # whatever else goes wrong, the keys do not stay open
            self._accounts.clear()
            self._listener = None
            if self._store is not None:
                self._store.close()
                self._store = None

    # -- who we are -------------------------------------------------------------------------------

    @property
    def address(self) -> Address:
        """Our address without any account: the root key itself."""
        return self.contacts.own_key_address

    @property
    def contacts(self) -> Contacts:
        """The people we know.

        Raises:
            UsageError: the client is not open.
        """
        if self._contacts is None:
            raise UsageError("open the client first: async with securecall.open(...) as client")
        return self._contacts

    async def contact(self, address: str | Address) -> Contact:
        """The contact behind an address; unknown addresses make a contact without a key."""
        return self.contacts.find(_address(address))

    # -- where we can be reached ------------------------------------------------------------------

    async def listen(self, host: str = "0.0.0.0", port: int = 0) -> tuple[str, int]:  # noqa: S104 - a phone is there to be called; identity evidence is mandatory on this listener
        """Take direct calls (tickets, or an address known to the caller) on this address.

        Args:
            host: Our address to listen on; the default is every one.
            port: 0 takes the one listened on the last time, which open tickets lead to, or any
                free one at the first time.

        Returns:
            The host and port listened on.

        Raises:
            LocalError: the address cannot be used.
            UsageError: another port is listened on already.
        """
        if self._listener is None:
            wanted = port or self.contacts.last_port
            self._listener = await SipSignaling.open(local=ANONYMOUS, listen=(host, wanted))
            account = Account(ANONYMOUS, self._listener, direct=True)
            self._accounts.append(account)
            self._listener.on_incoming(self._on_leg_of(account))
        listening = self._listener.listening
        if listening is None:  # invariant: opened with listen=
            raise UsageError("the listener is closed")
        if port not in (0, listening[1]):
            raise UsageError(f"this client listens on port {listening[1]} already")
        self.contacts.last_port = listening[1]
        return listening

    async def ticket(
        self, *, host: str = "", port: int = 0, valid_seconds: int = TICKET_SECONDS
    ) -> str:
        """Make a one-time ticket with which one person can call us directly, without any account.

        Args:
            host: Address the caller will connect to; default: this machine's address.
            port: Port to listen on and to put into the ticket; default as for `listen`.
            valid_seconds: Until when it works.

        Returns:
            Text beginning with "securecall:1:". Whoever holds it can call once as the bearer.
        """
        reachable = host or await own_host_towards("")
        bind = host if is_loopback(host) else "0.0.0.0"  # noqa: S104 - see `listen`
        _, bound = await self.listen(bind, port)
        ticket = self.contacts.issue_ticket(
            uris=(f"tls:{_bracketed(reachable)}:{bound}",), valid_seconds=valid_seconds
        )
        return build_ticket(ticket)

    async def sign_in(
        self,
        sip: str,
        *,
        password: Secret | None = None,
        user: str = "",
        realm: str = "",
        server: tuple[str, int] | None = None,
        server_name: str = "",
        authorities: Path | None = None,
        listen: tuple[str, int] | None = None,
        certificate: PemPair | None = None,
        register: bool | None = None,
    ) -> Account:
        """Use a SIP address through its server, over TLS verified by name.

        With a password this registers, so that calls come in by the same connection, and stays
        registered through restarts of the server until `sign_out` or the end of the client.

        Args:
            sip: Our address, e.g. "alice@clinic.example".
            password: For the server alone; only a hash of it leaves this machine.
            user: As the server knows us; default: the address's user part.
            realm: The one realm the password is for; default: the server's own.
            server: Host and port of the server; default: the address's host, port 5061.
            server_name: Name its certificate must prove; default: the address's host.
            authorities: PEM file of certificate authorities to trust instead of the system's.
            listen: Take calls from the server on this host and port.
            certificate: Our listener's certificate, with `listen`.
            register: Register; default: if there is a password.

        Raises:
            ConnectFailed, RegistrationFailed: the server is not there, or cannot do it now.
            LoginRefused, CertificateError: the password or the server is not what it should be.
        """
        address = parse_address(sip)
        account = await open_account(
            SignIn(
                address=address,
                password=password,
                user=user,
                realm=realm,
                server=server,
                server_name=server_name,
                authorities=authorities,
                listen=listen,
                certificate=certificate,
                register=password is not None if register is None else register,
            ),
            instance=self.contacts.sip_instance,
            watcher=lambda state, error: self._tell(RegistrationChanged(address, state, error)),
        )
        self._add(account)
        return account

    async def sign_out(self, account: Account) -> None:
        """Leave a server; calls that go through it end."""
        if account in self._accounts:
            self._accounts.remove(account)
            await account.signaling.close()

    def use(self, address: Address, signaling: Signaling, *, server_host: str = "") -> Account:
        """Call and be called over any signalling adapter, under an address of ours.

        Args:
            address: Ours on that network; claimed in our identity statement from now on.
            signaling: Its adapter; closed with the client.
            server_host: Where its server is, to know which of our addresses faces it.
        """
        account = Account(address, signaling, server_host=server_host)
        self._add(account)
        return account

    def _add(self, account: Account) -> None:
        self.contacts.own_address(account.address)
        self._accounts.append(account)
        account.signaling.on_incoming(self._on_leg_of(account))

    @property
    def accounts(self) -> tuple[Account, ...]:
        """The addresses we are signed in under."""
        return tuple(account for account in self._accounts if not account.direct)

    # -- calls ------------------------------------------------------------------------------------

    def call(
        self,
        who: str | Address | Contact | Ticket,
        *,
        audio: AudioSource | None = None,
        require: SecurityLevel | None = None,
        policy: Policy | None = None,
        scanned: bool = False,
        direct: tuple[str, int] | None = None,
        account: Account | None = None,
    ) -> Call:
        """Call somebody; use it as `async with`, leaving the block hangs up.

        Args:
            who: A ticket, an address, or a contact.
            audio: What to send: a file, a tone, a microphone.
            require: The least level to talk at, above the policy's; never lowers it.
            policy: Instead of the client's.
            scanned: The ticket was scanned as a QR code from the callee's own screen, in person.
            direct: Host and port to connect straight to, for an address that is a key (`key:`);
                by default where a ticket for that key led to before.
            account: Ours to call from; by default one at the callee's own server, else the first.

        Raises:
            UsageError: nothing of ours can reach that address.
            TicketRefused: the ticket has expired.
        """
        policy = policy or self.policy
        if require is not None:
            if require is SecurityLevel.NONE:
                raise UsageError("unencrypted calls are not offered; there is nothing to require")
            if require > SecurityLevel.HOP_BY_HOP:  # which takes an identity, so ours is offered
                policy = replace(policy, danger_plain_dtls=False)
        call = self._call(who, audio, policy, scanned=scanned, direct=direct, account=account)
        call.prepare(audio=None, require=require)
        return call

    def _call(
        self,
        who: str | Address | Contact | Ticket,
        audio: AudioSource | None,
        policy: Policy,
        *,
        scanned: bool,
        direct: tuple[str, int] | None,
        account: Account | None,
    ) -> Call:
        if isinstance(who, str) and _is_ticket(who):
            who = parse_ticket(who, unix=int(time.time()))
        if isinstance(who, Ticket):
            if direct is not None or account is not None:
                raise UsageError("a ticket says itself where it leads to")
            return self._call_ticket(who, audio, policy, how="qr" if scanned else "link")
        if scanned:
            raise UsageError("only a ticket is scanned")
        address = who.address if isinstance(who, Contact) else _address(who)
        if address.scheme is Scheme.KEY:
            if account is not None:
                raise UsageError("a key is called directly, through no account")
            place = direct or self.contacts.place_of(address)
            if place is None:
                raise UsageError(f"where {address.short} listens is not known: give direct=")
            return self._call_key(address, place, audio, policy)
        if direct is not None:
            raise UsageError("only an address that is a key is called directly")
        return self._call_address(address, audio, policy, self._account_for(address, account))

    def _call_ticket(
        self, ticket: Ticket, audio: AudioSource | None, policy: Policy, *, how: str
    ) -> Call:
        way = next((t for t in ticket.targets if t.direct is not None), None)
        if way is None or way.direct is None:
            raise UsageError("this ticket names no direct address; other ways are not built yet")
        target, place = way.address, way.direct
        contacts = self.contacts
        expectation = Expectation(contacts, target, ticket=ticket, how=How(how))
        context = self._context(
            policy,
            expectation,
            contact=target,
            pinned=True,  # the ticket carried the key
            direct=True,
            own=contacts.own_key_address,
            expected=target,
            towards=place[0],
            ticket=ticket,
        )

        def secured(result: HandshakeResult, state: SecurityState) -> None:
            expectation.secured(result, state)
            contacts.remember_place(target, place)

        context = replace(context, ticket=how, secured=secured)
        return self._place(context, Route(target, direct=place), None, audio)

    def _call_key(
        self, key: Address, place: tuple[str, int], audio: AudioSource | None, policy: Policy
    ) -> Call:
        """Call a key where it listens: the address itself says who has to answer."""
        context = self._context(
            policy,
            Expectation(self.contacts, key),
            contact=key,
            pinned=self.contacts.is_pinned(key),
            direct=True,
            own=self.contacts.own_key_address,
            expected=key,
            towards=place[0],
        )
        return self._place(context, Route(key, direct=place), None, audio)

    def _account_for(self, address: Address, wanted: Account | None) -> Account:
        accounts = self.accounts
        if wanted is not None and wanted not in accounts:
            raise UsageError("that account is not signed in here")
        if not accounts or address.scheme is not Scheme.SIP:
            raise UsageError(
                f"nothing here can reach {address.short}: sign in to a SIP account first, or call "
                "with a ticket"
            )
        near = (a for a in accounts if a.address.host == address.host)
        return wanted or next(near, accounts[0])

    def _call_address(
        self, address: Address, audio: AudioSource | None, policy: Policy, account: Account
    ) -> Call:
        context = self._context(
            policy,
            Expectation(self.contacts, address),
            contact=address,
            pinned=self.contacts.is_pinned(address),
            direct=False,
            own=account.address,
            expected=address,
            towards=account.server_host,
        )
        return self._place(context, Route(address), account, audio)

    def _context(
        self,
        policy: Policy,
        expectation: Expectation,
        *,
        contact: Address,
        pinned: bool,
        direct: bool,
        own: Address,
        expected: Address,
        towards: str,
        ticket: Ticket | None = None,
    ) -> CallContext:
        """Compose what a call has to know.

        Args:
            policy: Of the call.
            expectation: What its peer is held to.
            contact: Whose floor applies.
            pinned: A key is known for the peer, or a ticket stands for one.
            direct: No server in between.
            own: The address we claim.
            expected: The address the peer has to have; ANONYMOUS leaves that to its key.
            towards: Host we face, to pick our own address.
            ticket: The one we call with.
        """
        contacts = self.contacts
        anonymous = expected == ANONYMOUS
        identity = LinkIdentity(
            statement=contacts.statement,
            device=contacts.device,
            root_fp=contacts.root_fp,
            own_address=str(own),
            expected_peer="" if anonymous else str(expected),
            judge=expectation.judge,
            ticket_secret=ticket.secret if ticket is not None else None,
        )
        return CallContext(
            policy=policy,
            floor=floor_for(
                policy,
                contact_floor=not anonymous and contacts.has_floor(contact),
                pinned=pinned,
                direct=direct,
            ),
            peer="a caller without an address" if anonymous else contact.short,
            identity=None if policy.danger_plain_dtls else identity,
            evidence=expectation.evidence,
            secured=expectation.secured,
            confirmed=expectation.confirmed,
            guess_burned=lambda: self._guess_burned(contact),
            clock=self._running_clock(),
            towards=towards,
            observe=lambda call, output: self._observe(call, expectation, output),
            sound_failed=lambda call, error: self._tell(SoundFailed(call, error)),
        )

    def _place(
        self,
        context: CallContext,
        route: Route,
        account: Account | None,
        audio: AudioSource | None,
    ) -> Call:
        async def dial(offer: Description) -> Leg:
            signaling = account.signaling if account else await self._direct_signaling()
            return await signaling.dial(route, offer)

        async def begin(call: Call) -> None:
            if len(self._calls) >= context.policy.max_calls:
                raise UsageError(f"{len(self._calls)} calls are in progress, the policy's limit")
            self._calls.add(call)
            await call.begin_outgoing(dial)

        return Call(context, begin, outgoing=True, audio=audio)

    async def _direct_signaling(self) -> Signaling:
        """Where direct calls go out: the listener, or a place of their own."""
        for account in self._accounts:
            if account.direct:
                return account.signaling
        signaling = await SipSignaling.open(local=ANONYMOUS)
        self._accounts.append(Account(ANONYMOUS, signaling, direct=True))
        return signaling

    # -- calls that come in -----------------------------------------------------------------------

    async def incoming(self) -> AsyncIterator[IncomingCall]:
        """Yield calls as they come in, for ever."""
        while True:
            yield await self.next_call()

    async def next_call(self) -> IncomingCall:
        """Wait for the next call that is still ringing."""
        while True:
            ring = await self._incoming.get()
            if not ring.over:
                return ring

    def _on_leg_of(self, account: Account) -> Callable[[IncomingLeg], None]:
        def on_leg(leg: IncomingLeg) -> None:
            try:
                self._on_leg(account, leg)
            except SecurecallError as e:
                log.info("an incoming call was refused: %s", e)
                leg.send(Ended(EndReason.PROTOCOL))

        return on_leg

    def _on_leg(self, account: Account, leg: IncomingLeg) -> None:
        policy, contacts = self.policy, self.contacts
        ringing = sum(1 for call in self._calls if call.state is State.ALERTING)
        if len(self._calls) >= policy.max_calls or ringing >= MOST_RINGING:
            leg.send(Ended(EndReason.BUSY))
            self._tell(CallMissed(leg.remote.short, "too many calls at once"))
            return
        known = leg.remote != ANONYMOUS and contacts.is_pinned(leg.remote)
        context = self._context(
            policy,
            Expectation(contacts, leg.remote, incoming=True, direct=account.direct),
            contact=leg.remote,
            pinned=known or (account.direct and contacts.has_open_tickets()),
            direct=account.direct,
            own=contacts.own_key_address if account.direct else account.address,
            expected=leg.remote,
            towards=_host_of(leg.path.remote),
        )
        call = Call(context, Call.begin_incoming, outgoing=False)
        self._calls.add(call)
        call.attach(leg)
        if call.state is State.ALERTING:
            self._queue(IncomingCall(call, leg.remote, context.floor.minimum, known=known))

    def _queue(self, ring: IncomingCall) -> None:
        """Keep a call for `next_call`, but none that gave up: nobody may be looking for hours."""
        waiting = [self._incoming.get_nowait() for _ in range(self._incoming.qsize())]
        for each in (*(before for before in waiting if not before.over), ring):
            self._incoming.put_nowait(each)

    # -- being told -------------------------------------------------------------------------------

    def events(self) -> AsyncGenerator[Event, None]:
        """Yield everything that happens to calls from now on."""
        queue: asyncio.Queue[Event] = asyncio.Queue(maxsize=1000)
        self._event_queues.add(queue)
        return self._events_of(queue)

    async def _events_of(self, queue: asyncio.Queue[Event]) -> AsyncGenerator[Event, None]:
        try:
            while True:
                yield await queue.get()
        finally:
            self._event_queues.discard(queue)

    def _tell(self, event: Event) -> None:
        for queue in self._event_queues:
            if queue.full():
                queue.get_nowait()  # whoever does not read loses the oldest
            queue.put_nowait(event)

    def _observe(self, call: Call, expectation: Expectation, output: orders.Output) -> None:
        match output:
            case orders.PeerRings():
                self._tell(CallRinging(call))
            case orders.Secured(state=state):
                expectation.settled()
                self._tell(CallSecured(call, state))
            case orders.ChangeRefused(why=why):
                self._tell(CallChangeRefused(call, why))
            case orders.TransferAsked(target=target):
                self._tell(TransferRequested(call, target))
            case orders.Finish(reason=reason, error=error):
                expectation.settled()
                self._calls.discard(call)
                self._tell(CallEnded(call, reason, error))
            case _:
                pass

    def _guess_burned(self, address: Address) -> None:
        failures = self.contacts.count_burned_guess(address)
        if failures >= ENOUGH_BURNED_GUESSES:
            self._tell(GuessesWarning(address.short, failures))

    def _running_clock(self) -> Clock:
        if self._clock is None:
            raise UsageError("open the client first: async with securecall.open(...) as client")
        return self._clock


def _address(text: str | Address) -> Address:
    return text if isinstance(text, Address) else parse_address(text)


def _is_ticket(text: str) -> bool:
    return text.startswith("securecall:") or "#securecall:" in text


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _host_of(place: str) -> str:
    return place.rpartition(":")[0].strip("[]")
