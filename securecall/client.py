"""A person's endpoint: keys, accounts and calls composed; owns every task and connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self, overload

from securecall.account import Account, EngineName, ProviderMode, SignIn, open_account
from securecall.address import ANONYMOUS, Address, parse_address
from securecall.announcing import Announcer
from securecall.call_history import CallHistory
from securecall.calling import Calling, address_of, require_direct
from securecall.calls.call import Call
from securecall.calls.incoming import IncomingCall as IncomingCall
from securecall.calls.signaling import Ended, IncomingLeg, Route, Signaling
from securecall.chat.conversation import Conversation
from securecall.chat.message import Message
from securecall.chatting import Chatting
from securecall.contacts import Contact, Contacts
from securecall.devices import Devices
from securecall.errors import (
    DowngradeError,
    EndReason,
    SecurecallError,
    Unsupported,
    UsageError,
)
from securecall.events import Event, PlaintextReceived, RegistrationChanged
from securecall.fips import STANDARD, Approval, Fips, Profile, approval, require_working
from securecall.keys.identity import Signer
from securecall.keys.ticket import Ticket, build_ticket, require_host
from securecall.logs import logger
from securecall.media.endpoints import AudioSource
from securecall.media.engine import Clock
from securecall.organisations import Organisations
from securecall.placing import Placing
from securecall.policy import Policy, SecurityLevel
from securecall.ringing import Ringing
from securecall.secret import Secret, require_secret
from securecall.sip.signaling import SipSignaling
from securecall.store.backup import Backup, write_backup
from securecall.store.lock import DEFAULT_COST, Cost, Keeper, Lock, Rounds
from securecall.store.sqlite import Store
from securecall.transport.endpoint import endpoint
from securecall.transport.network import NetworkWatch
from securecall.transport.route import is_loopback, own_host_towards
from securecall.transport.threads import in_thread
from securecall.transport.tls import PemPair
from securecall.transport.turn import IceHelpers, TurnServer

if TYPE_CHECKING:
    from securecall.chat_account import ChatAccount
    from securecall.media.video.endpoints import VideoSource
    from securecall.people import People, Person

log = logger("securecall.client")

TICKET_SECONDS = 7 * 86_400


def open(  # noqa: A001 - `securecall.open` reads as it should
    path: str | Path,
    *,
    passphrase: Secret | None = None,
    keeper: Keeper | None = None,
    root: Signer | None = None,
    create: bool = False,
    cost: Cost | Rounds = DEFAULT_COST,
    policy: Policy | None = None,
    profile: Profile = "standard",
    fips: Fips = "required",
) -> Client:
    """Open (or make) a person's endpoint; use it as `async with`.

    Args:
        path: Folder of the encrypted store.
        passphrase: Opens it; nothing else does, unless there is a keeper.
        keeper: Keeps a part of its key outside of the folder, or with no passphrase all of it:
            `SystemKeyring`, `Token`.
        root: Our root key, where it lies in a token: `Token.root`.
        create: Make a new identity there if the folder holds none.
        cost: Of one try of the passphrase, if a new identity is made.
        policy: Default for every call.
        profile: "fips" uses algorithms that NIST approves, and has no chat (docs/how-to/fips.md).
        fips: "algorithms-only" lets that profile start without an active FIPS provider.

    Raises:
        Unsupported: the fips profile cannot be had here.
        FipsError: one of its self-tests failed, now or earlier in this process.
    """
    return Client(
        Path(path).expanduser(),
        passphrase,
        create=create,
        policy=policy or Policy(),
        approval=approval(profile, fips),
        keeper=keeper,
        root=root,
        cost=cost,
    )


@dataclass(frozen=True, slots=True)
class _Open:
    """What there is only while the client is open."""

    store: Store
    contacts: Contacts
    announcer: Announcer
    calling: Calling
    placing: Placing
    chatting: Chatting
    watch: NetworkWatch


class Client:
    """One person on this machine; several may live in one process, each in one event loop.

    Attributes:
        policy: The default for every call.
        do_not_disturb: Nobody rings; callers hear that we are busy, and `CallMissed` tells of them.
    """

    def __init__(
        self,
        path: Path,
        passphrase: Secret | None,
        *,
        create: bool,
        policy: Policy,
        approval: Approval = STANDARD,
        keeper: Keeper | None = None,
        root: Signer | None = None,
        cost: Cost | Rounds = DEFAULT_COST,
    ) -> None:
        """Use `securecall.open`."""
        self._approval = approval
        self.policy = policy
        self._path = path
        approved = approval.suite.approved
        how = (
            partial(Store.open_or_create, cost=Rounds() if approved else cost)
            if create
            else partial(Store.open, approved=approved)
        )
        self._how = partial(how, path, passphrase, keeper=keeper, root=root)
        self.do_not_disturb = False
        self._helpers = IceHelpers()
        self._opened: _Open | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._accounts: list[Account] = []
        self._listener: SipSignaling | None = None
        self._ringing = Ringing(self)

    async def __aenter__(self) -> Self:
        """Open the store (a quarter of a second: Argon2id) and the identity in it."""
        store = await self._store()
        try:
            contacts = Contacts(store)
            announcer = Announcer(contacts)
            chatting = Chatting(contacts, announcer.tell, self._path)
            calling = Calling(
                contacts,
                Clock.running(),
                lambda: self.accounts,
                announcer,
                partial(self._help, chatting),
                self._approval,
            )
        except BaseException:
            store.close()
            raise
        watch = NetworkWatch(self._network_changed)
        placing = Placing(
            calling,
            announcer.calls,
            policy=lambda: self.policy,
            direct=self._direct_signaling,
        )
        announcer.place = placing.follow
        self._loop = asyncio.get_running_loop()
        self._opened = _Open(store, contacts, announcer, calling, placing, chatting, watch)
        return self

    async def _store(self) -> Store:
        """Open the store, and close it again if nobody waits any more when it is open."""
        opened: list[Store] = []
        try:
            await in_thread(lambda: opened.append(self._how()))
        except asyncio.CancelledError:
            for store in opened:
                store.close()
            raise
        return opened[0]

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End every call, close every connection, lock the store."""
        opened = self._opened
        if opened is None:  # closed before
            return
        await opened.watch.close()
        try:
            await asyncio.gather(*(call.hang_up() for call in tuple(opened.announcer.calls)))
            for account in self._accounts:
                await account.signaling.close()
            await opened.chatting.close()
        finally:  # whatever else goes wrong, the keys do not stay open
            self._accounts.clear()
            self._listener = None
            self._opened = None
            opened.store.close()

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
        return self._open.contacts

    @property
    def organisations(self) -> Organisations:
        """The organisations whose word we take for the keys of their staff, and of us."""
        return self.contacts.organisations

    async def contact(self, address: str | Address) -> Contact:
        """The contact behind an address; unknown addresses make a contact without a key.

        "user@host" is one person on both networks, if we know nothing better: `Client.call` rings
        them at their SIP address, `Contact.send` writes to their XMPP address.
        """
        named = address if isinstance(address, Address) else None
        found = self.contacts.find(named or self.contacts.addresses_for(str(address))[0])
        chatting = self._open.chatting
        try:
            known = chatting.conversation(found if isinstance(address, Address) else address)
        except UsageError:  # somebody with a telephone or a key alone
            return found
        return replace(found, conversation=known)

    async def back_up(self, file: str | Path, *, passphrase: Secret) -> Backup:
        """Write a backup that `securecall.restore` makes a new device of ours of.

        Args:
            file: An older backup there is replaced; any other file is left alone.
            passphrase: Opens the backup; a good one, for the file may lie anywhere.

        Raises:
            LocalError: the disk refuses, or there is a file that is no backup.
        """
        cost = Rounds() if self._approval.suite.approved else DEFAULT_COST
        return await asyncio.to_thread(
            partial(write_backup, self._open.store, file, passphrase, cost=cost)
        )

    async def set_lock(self, lock: Lock) -> None:
        """Let another passphrase or keeper open our keys from now on; see `Store.set_lock`.

        Raises:
            UsageError: nothing would open them.
            LocalError: the disk or the keeper refused; what opened them before still does.
        """
        await asyncio.to_thread(self._open.store.set_lock, lock)

    # -- where we can be reached ------------------------------------------------------------------

    def use_relay(self, *relays: TurnServer | None, stun: tuple[str, int] | None = None) -> None:
        """Use these TURN servers for calls, instead of those that our XMPP server names.

        Args:
            relays: The best first, at most four. One by TLS on port 443 is what strict networks let
                through. None, or nothing, goes back to the server's.
            stun: Host and port of a server that tells our public address; a relay does, too.
        """
        self._helpers = IceHelpers(turn=tuple(r for r in relays if r is not None), stun=stun)

    def _network_changed(self) -> None:
        """Addresses of this machine came or went: signalling first, since calls need it."""
        if self._opened is None:
            return
        for account in self._accounts:
            if isinstance(account.signaling, SipSignaling):
                account.signaling.network_changed()
        for call in tuple(self._opened.announcer.calls):
            call.network_changed()

    async def _help(self, chatting: Chatting) -> IceHelpers:
        own = self._helpers
        return own if own != IceHelpers() else await chatting.helpers()

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
            UsageError: another port is listened on already, or our policy does without proof of
                identity, which is all that a direct call has.
        """
        self._require_own_loop()
        require_direct(self.policy)
        if self._listener is None:
            wanted = port or self.contacts.last_port
            self._listener = await SipSignaling.open(
                local=ANONYMOUS, listen=(host, wanted), approved=self._approval.suite.approved
            )
            account = Account(ANONYMOUS, self._listener, direct=True)
            self._accounts.append(account)
            self._listener.on_incoming(partial(self._on_leg, account))
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

        Raises:
            LocalError, UsageError: as for `listen`; or nobody could connect to that host.
        """
        host = host.lower()
        if host:
            require_host(host)
        reachable = host or await own_host_towards("")
        bind = host if is_loopback(host) else "0.0.0.0"  # noqa: S104 - see `listen`
        _, bound = await self.listen(bind, port)
        ticket = self.contacts.issue_ticket(
            uris=(f"tls:{endpoint(reachable, bound)}",), valid_seconds=valid_seconds
        )
        return build_ticket(ticket)

    @overload
    async def sign_in(
        self,
        sip: str,
        *,
        xmpp: str = "",
        password: Secret | None = None,
        user: str = "",
        realm: str = "",
        server: tuple[str, int] | str | None = None,
        server_name: str = "",
        authorities: Path | None = None,
        listen: tuple[str, int] | None = None,
        certificate: PemPair | None = None,
        register: bool | None = None,
        provider_mode: str = "proxy",
        engine: EngineName = "native",
    ) -> Account: ...

    @overload
    async def sign_in(
        self,
        *,
        xmpp: str,
        password: Secret,
        server: tuple[str, int] | str | None = None,
        server_name: str = "",
        authorities: Path | None = None,
    ) -> ChatAccount: ...

    async def sign_in(
        self,
        sip: str = "",
        *,
        xmpp: str = "",
        password: Secret | None = None,
        user: str = "",
        realm: str = "",
        server: tuple[str, int] | str | None = None,
        server_name: str = "",
        authorities: Path | None = None,
        listen: tuple[str, int] | None = None,
        certificate: PemPair | None = None,
        register: bool | None = None,
        provider_mode: str = "proxy",
        engine: EngineName = "native",
    ) -> Account | ChatAccount:
        """Use an address through its server, over TLS verified by name: SIP, XMPP, or both.

        SIP with a password registers, so that calls come in by the same connection, and stays
        registered through restarts of the server until `sign_out` or the end of the client. XMPP
        stays connected likewise; what was missed is fetched, and what was written is sent.

        Args:
            sip: Our address for calls, e.g. "alice@clinic.example".
            xmpp: Our address for chat, e.g. "alice@clinic.example".
            password: For the server alone; only a hash of it leaves this machine.
            user: As the server knows us; default: the address's user part.
            realm: The one realm the password is for; default: the server's own.
            server: "host", "host:port", (host, port), or "wss://host:port/path" for SIP over
                WebSocket; by default found in DNS by the address's host.
            server_name: Name its certificate must prove; default: the address's host.
            authorities: PEM file of certificate authorities to trust instead of the system's.
            listen: Take calls from the server on this host and port.
            certificate: Our listener's certificate, with `listen`.
            register: Register; default: if there is a password.
            provider_mode: "gateway" for a provider that leads into the telephone network: it, and
                that network, can hear every call of this account; "gateway-dtls" for one that
                makes media keys by DTLS. Default "proxy": keys are made at the ends.
            engine: "pjsua2" has PJSIP speak SIP and carry the sound of this account's calls
                (docs/how-to/pjsip.md): hop by hop at most, one such account in a process.

        Returns:
            The account for calls; the one for chat, if `xmpp` alone was given.

        Raises:
            ConnectFailed, RegistrationFailed: the server is not there, or cannot do it now.
            LoginRefused, CertificateError: the password or the server is not what it should be.
            ProtocolError: what answers there does not keep to the protocol.
            UsageError: an address or a server that cannot be meant.
        """
        self._require_own_loop()
        require_secret(password)
        if xmpp and sip and server is not None:
            raise UsageError("sign in twice to name the server of each network")
        approved = self._approval.suite.approved
        if approved:
            require_working()
        mode = _mode(provider_mode)
        if xmpp:
            if approved:
                raise Unsupported("the fips profile has no chat: OMEMO's algorithms are not NIST's")
            if password is None:
                raise UsageError("an XMPP account needs its password")
            chat = await self._open.chatting.sign_in(
                parse_address(xmpp if ":" in xmpp else f"xmpp:{xmpp}"),
                password,
                server=server,
                server_name=server_name,
                authorities=authorities,
            )
            if not sip:
                return chat
        address, announcer = parse_address(sip), self._open.announcer
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
                approved=approved,
                provider_mode=mode,
                engine=engine,
            ),
            instance=self.contacts.sip_instance,
            watcher=lambda state, error: announcer.tell(RegistrationChanged(address, state, error)),
        )
        self._add(account)
        return account

    async def sign_out(self, account: Account | ChatAccount) -> None:
        """Leave a server; calls that go through it end, and what was written waits."""
        if not isinstance(account, Account):
            await self._open.chatting.sign_out(account)
        elif account in self._accounts:
            self._accounts.remove(account)
            await account.signaling.close()

    def use(
        self,
        address: Address,
        signaling: Signaling,
        *,
        server_host: str = "",
        provider_mode: str = "proxy",
    ) -> Account:
        """Call and be called over any signalling adapter, under an address of ours.

        Args:
            address: Ours on that network; claimed in our identity statement from now on.
            signaling: Its adapter; closed with the client.
            server_host: Where its server is, to know which of our addresses faces it.
            provider_mode: As for `sign_in`.
        """
        mode = _mode(provider_mode)
        account = Account(address, signaling, server_host=server_host, provider_mode=mode)
        self._add(account)
        return account

    def _add(self, account: Account) -> None:
        self.contacts.own_address(account.address)
        self._accounts.append(account)
        account.signaling.on_incoming(partial(self._on_leg, account))
        if self.policy.danger_plaintext_messages and isinstance(account.signaling, SipSignaling):
            tell, own = self._open.announcer.tell, account.address
            account.signaling.danger_on_text(
                lambda sender, text: tell(PlaintextReceived(own, sender, text))
            )

    @property
    def accounts(self) -> tuple[Account, ...]:
        """The addresses we are signed in under."""
        return tuple(account for account in self._accounts if not account.direct)

    # -- conversations ----------------------------------------------------------------------------

    @property
    def chat_accounts(self) -> tuple[ChatAccount, ...]:
        """The XMPP addresses we are signed in under."""
        return tuple(self._open.chatting.accounts)

    @property
    def devices(self) -> Devices:
        """What the OMEMO devices of others are to us, and what we decide about them."""
        return self._open.chatting.devices

    def conversation(
        self, who: str | Address | Contact, *, danger_plaintext_chat: bool = False
    ) -> Conversation:
        """What we and somebody write to each other; readable without a connection.

        Args:
            who: An XMPP address ("bob@clinic.example"), or a contact that has one.
            danger_plaintext_chat: Nothing is encrypted, and what comes in unencrypted is shown:
                every server on the way can read and change it. For this one contact, until it is
                asked for without.

        Raises:
            ProtocolError, UsageError: it is nobody's XMPP address.
            DowngradeError: plaintext, with somebody reached end-to-end encrypted before.
        """
        return self._open.chatting.conversation(who, danger_plaintext_chat=danger_plaintext_chat)

    def conversations(self) -> tuple[Conversation, ...]:
        """Every conversation that has messages, the one with the newest first."""
        return self._open.chatting.conversations()

    def messages(self, *, after: int | None = None) -> AsyncIterator[Message]:
        """Yield what others write, in every conversation, for ever; none is left out.

        Args:
            after: Begin behind this number, that of the last message which was dealt with: so a
                program that was restarted goes on where it was. Default: what comes from now on.
        """
        return self._open.chatting.messages(after=after)

    def search(self, words: str, *, count: int = 50) -> tuple[Message, ...]:
        """Messages of all conversations that hold all these words; newest first."""
        return self._open.chatting.search(words, count=count)

    async def forget_conversations(self) -> None:
        """Give up everything that is kept of conversations, for good: chat begins anew.

        This is the way on where `HistoryCorrupt` says that they cannot be read, and there is no
        backup. Messages are lost, those not yet sent too, and the keys that chat encrypts with: in
        chat this becomes another device of ours, to which nothing sent before opens. Our identity,
        contacts, what we verified, and the calls there were stay. Conversations of before are to be
        asked for again.

        Raises:
            UsageError: an account for chat is signed in.
            LocalError: the disk refused; ask again.
        """
        self._open.chatting.forget()

    # -- people -----------------------------------------------------------------------------------

    def people(self) -> tuple[Person, ...]:
        """Everybody on the rosters of our XMPP accounts, with whether they are there."""
        return tuple(p for account in self.chat_accounts for p in account.people.people())

    async def add_contact(self, who: str | Address | Contact, *, name: str = "") -> None:
        """Put somebody on the roster, ask to see them, and take up the identity they publish.

        Raises:
            IdentityChanged, Revoked, SecurityError: what they publish is not what is known of them.
            NetworkError: no answer, or a refusal.
        """
        people, address = self._people_of(who)
        _ = await people.add(address, name=name)

    async def accept_contact(self, who: str | Address | Contact) -> None:
        """Let somebody who asked see when we are there."""
        people, address = self._people_of(who)
        await people.accept(address)

    async def decline_contact(self, who: str | Address | Contact) -> None:
        """Let somebody who asked, or was let before, not see us."""
        people, address = self._people_of(who)
        people.decline(address)

    async def remove_contact(self, who: str | Address | Contact) -> None:
        """Take somebody off the roster; what was written and believed stays."""
        people, address = self._people_of(who)
        await people.remove(address)

    async def block(self, who: str | Address | Contact) -> None:
        """Hear nothing of somebody any more; their server is not told."""
        people, address = self._people_of(who)
        await people.block(address)

    async def unblock(self, who: str | Address | Contact) -> None:
        """Hear of somebody again."""
        people, address = self._people_of(who)
        await people.unblock(address)

    async def create_room(
        self, name: str, *, members: Iterable[str | Address | Contact] = ()
    ) -> Conversation:
        """Make a small private room: members only, end-to-end encrypted for each of them.

        Args:
            name: What people call it; only members see it.
            members: Who belongs to it, at once.

        Raises:
            Unsupported: our server has no rooms.
            RoomNotPrivate: its rooms cannot be kept private.
            NetworkError: no answer, or a refusal.
        """
        chatting = self._open.chatting
        account = chatting.first
        who = [chatting.address_of(member) for member in members]
        address = await account.create_room(name, members=who)
        return chatting.conversation(address)

    async def join_room(self, room: str | Address) -> Conversation:
        """Enter a room that we are a member of, now and in every later session.

        Raises:
            RoomNotPrivate: it is open to others, or does not tell who is in it.
            NetworkError: no answer, or a refusal.
        """
        chatting = self._open.chatting
        address = chatting.address_of(room)
        account = chatting.account_for(address)
        _ = await account.rooms.join(address)
        return chatting.conversation(address)

    def _people_of(self, who: str | Address | Contact) -> tuple[People, Address]:
        """Whose contact somebody is, and the address they are it by."""
        chatting = self._open.chatting
        address = chatting.address_of(who)
        return chatting.account_for(address).people, address

    # -- calls ------------------------------------------------------------------------------------

    def call(
        self,
        who: str | Address | Contact | Ticket,
        *,
        audio: AudioSource | None = None,
        video: VideoSource | bool | None = None,
        text: bool = False,
        require: SecurityLevel | None = None,
        require_pq: bool = False,
        policy: Policy | None = None,
        scanned: bool = False,
        direct: tuple[str, int] | None = None,
        account: Account | None = None,
    ) -> Call:
        """Call somebody; use it as `async with`, leaving the block hangs up.

        Args:
            who: A ticket, an address, a telephone number ("tel:+431234567"), or a contact.
            audio: What to send: a file, a tone, a microphone.
            video: What to show: a camera, a file; True to be asked for a picture without showing
                one (yet). None for a call without pictures.
            text: Have real-time text if the other end wishes it, too: see `Call.text`.
            require: The least level to talk at, above the policy's; never lowers it. Under VERIFIED
                two people may talk for two minutes to compare the words: docs/levels.md, the gate.
            require_pq: Beside what the policy asks, refuse key agreement that a later quantum
                computer could break.
            policy: Instead of the client's.
            scanned: The ticket was scanned as a QR code from the callee's own screen, in person.
            direct: Host and port to connect straight to, for an address that is a key (`key:`);
                by default where a ticket for that key led to before.
            account: Ours to call from; by default one at the callee's own server, else the first.

        Raises:
            UsageError: nothing of ours can reach that address; or it is a direct call, and the
                policy does without proof of identity (danger_plain_dtls).
            TicketRefused: the ticket has expired.
            DowngradeError, PolicyRefused: it leads into the telephone network, and contact or
                policy ask for more than that can be.
        """
        self._require_own_loop()
        return self._open.placing.call(
            who,
            audio=audio,
            video=video,
            text=text,
            require=require,
            require_pq=require_pq,
            policy=policy,
            scanned=scanned,
            direct=direct,
            account=account,
        )

    async def _direct_signaling(self) -> Signaling:
        """Where direct calls go out: the listener, or a place of their own."""
        for account in self._accounts:
            if account.direct:
                return account.signaling
        signaling = await SipSignaling.open(local=ANONYMOUS, approved=self._approval.suite.approved)
        self._accounts.append(Account(ANONYMOUS, signaling, direct=True))
        return signaling

    @property
    def calls(self) -> tuple[Call, ...]:
        """Every call from its beginning to its end, ringing ones among them."""
        return tuple(self._open.announcer.calls)

    @property
    def call_history(self) -> CallHistory:
        """Which calls there were, missed ones too: `client.call_history.calls()`."""
        return self._open.announcer.history

    async def danger_send_plaintext(
        self, to: str | Address | Contact, text: str, *, account: Account | None = None
    ) -> None:
        """Send a text message of SIP, which every server on the way can read and change.

        Args:
            to: An address, or a contact never yet reached end-to-end encrypted.
            text: At most 8 KiB.
            account: Ours to send from; as for `call`.

        Raises:
            DowngradeError: this contact gets nothing less than end-to-end encryption.
            MessageFailed, ConnectFailed, LoginRefused, CertificateError: it was not taken.
            UsageError: nothing of ours can reach that address.
        """
        address = address_of(to)
        if self.contacts.has_floor(address):
            raise DowngradeError(
                f"{address.short} was reached end-to-end encrypted before; a text that servers can "
                "read is not sent there"
            )
        through = self._open.calling.account_for(address, account)
        if not isinstance(through.signaling, SipSignaling):
            raise UsageError("text messages of SIP go through a SIP account")
        await through.signaling.danger_send_text(Route(address), text)

    # -- calls that come in -----------------------------------------------------------------------

    async def incoming(self) -> AsyncIterator[IncomingCall]:
        """Yield calls as they come in, for ever; raises as `next_call` does."""
        while True:
            yield await self.next_call()

    async def next_call(self) -> IncomingCall:
        """Wait for the next call that is still ringing.

        Raises:
            UsageError: the client is not open.
        """
        _ = self._open
        self._require_own_loop()
        return await self._ringing.next_call()

    def _on_leg(self, account: Account, leg: IncomingLeg) -> None:
        try:
            opened = self._open
            self._ringing.take(
                leg,
                account,
                contacts=opened.contacts,
                calling=opened.calling,
                announcer=opened.announcer,
            )
        except SecurecallError as e:
            log.info("an incoming call was refused: %s", e)
            leg.send(Ended(EndReason.PROTOCOL))

    # -- being told -------------------------------------------------------------------------------

    def events(self) -> AsyncGenerator[Event, None]:
        """Yield everything that happens to calls and accounts from now on."""
        return self._open.announcer.events()

    def _require_own_loop(self) -> None:
        try:
            here = asyncio.get_running_loop()
        except RuntimeError:  # made here, entered there
            return
        if self._opened is not None and here is not self._loop:
            raise UsageError(
                "this client lives in another event loop; reach it from a thread with "
                "asyncio.run_coroutine_threadsafe, or use securecall.sync"
            )

    @property
    def _open(self) -> _Open:
        if self._opened is None:
            raise UsageError("open the client first: async with securecall.open(...) as client")
        return self._opened


def _mode(text: str) -> ProviderMode:
    try:
        return ProviderMode(text)
    except ValueError:
        raise UsageError(f"provider_mode is one of {', '.join(ProviderMode)}") from None
