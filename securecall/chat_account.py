"""One XMPP account, composed: session, encryption, history, people; owns their tasks."""

from __future__ import annotations

import asyncio
import math
import secrets
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Final, Self
from xml.etree.ElementTree import Element

from securecall.address import Address, Scheme
from securecall.chat.committer import Committer
from securecall.chat.history import History
from securecall.chat.ledger import Active, Changed, Ignored, Ledger, News, ReadElsewhere, Received
from securecall.chat.message import Unreadable
from securecall.contacts import Contacts
from securecall.devices import Devices
from securecall.dispatch import Dispatch
from securecall.errors import (
    LocalError,
    NetworkError,
    ProtocolError,
    SecurecallError,
    Unsupported,
    XmppRefused,
)
from securecall.events import (
    ChatStateChanged,
    ContactKeysChanged,
    ContactRequested,
    ConversationRead,
    DevicesTrusted,
    Event,
    KeepingFailed,
    MessageChanged,
    MessageIgnored,
    MessageReceived,
    NewDevice,
    OwnKeysChanged,
    PeopleChanged,
    PresenceChanged,
    RoomChanged,
    TypingChanged,
)
from securecall.intake import Intake, Taken
from securecall.keys.omemo import Omemo
from securecall.keys.omemo_values import NAMESPACES, Device
from securecall.keys.statement import OmemoKey
from securecall.logs import logger
from securecall.messaging import Messaging
from securecall.people import People, PeopleEvent
from securecall.readers import Readers
from securecall.rooms import RoomFailed, RoomNews, Rooms
from securecall.settling import Settling
from securecall.transport.helping import helpers_of
from securecall.transport.https import Https
from securecall.transport.turn import IceHelpers
from securecall.xmpp.archive import MAM, Catchup, Place
from securecall.xmpp.archive import Progress as Reading
from securecall.xmpp.capabilities import QUERY, parse_info
from securecall.xmpp.external_services import (
    build_services_request,
    parse_services,
    stun_servers,
    turn_servers,
)
from securecall.xmpp.inbox import Inbox
from securecall.xmpp.jid import Jid, jid_of, parse_jid
from securecall.xmpp.management import Done
from securecall.xmpp.nodes import Nodes
from securecall.xmpp.omemo import devices_node, parse_devices
from securecall.xmpp.omemo_directory import OmemoDirectory
from securecall.xmpp.presence import Ask, PresenceChange, SubscriptionAsk
from securecall.xmpp.pubsub import EVENT, Whose, parse_event
from securecall.xmpp.room import Entered
from securecall.xmpp.room_grammar import Invitation
from securecall.xmpp.session import Session, SessionState, XmppLogin
from securecall.xmpp.sharing import Sharing
from securecall.xmpp.unwrap import asked_result, unwrap
from securecall.xmpp.unwrapped import Notice, NoticeKind, Surroundings
from securecall.xmpp.upload import build_items_query, parse_items

CARBONS: Final = "urn:xmpp:carbons:2"
STANZA_IDS: Final = "urn:xmpp:sid:0"
RESULT: Final = f"{{{MAM}}}result"
ROOM_USER: Final = "{http://jabber.org/protocol/muc#user}x"
INVITED: Final = "{jabber:x:conference}x"  # by a person, not by way of the room (XEP-0249)
RETRY_SECONDS: Final = 3.0
HELPERS_SECONDS: Final = 3.0  # a call waits for no more
CLOSE_SECONDS: Final = 2.0  # for what is being said when we leave
_FIRST: Final = 50  # messages that a device fetches of the time before it
_TOGETHER: Final = 5.0  # seconds within which messages may be archived in any order
_RATCHETS: Final = "omemo "  # names of OMEMO's values, before our JID
_NODES: Final[Mapping[str, Whose]] = {
    devices_node(namespace): Whose.ANYBODYS for namespace in NAMESPACES
}
_FEATURES: Final = (
    "urn:xmpp:receipts",
    "urn:xmpp:chat-markers:0",
    "urn:xmpp:message-correct:0",
    "urn:xmpp:reply:0",
    "urn:xmpp:reactions:0",
    "http://jabber.org/protocol/chatstates",
    *(f"{node}+notify" for node in _NODES),
)

log = logger(__name__)


class _Ratchets:
    """OMEMO's keys among the named values of the history."""

    def __init__(self, history: History, jid: str) -> None:
        self._history = history
        self._prefix = f"{_RATCHETS}{jid} "

    def load(self, key: str) -> bytes | None:
        return self._history.value(self._prefix + key)

    def save(self, changes: Mapping[str, bytes | None]) -> None:
        self._history.set_values({self._prefix + key: data for key, data in changes.items()})


class ChatAccount:
    """An XMPP address under which we chat.

    Attributes:
        address: Ours.
        messaging: What carries its conversations.
        devices: What the OMEMO devices of others are to us.
        people: Who they are, whether they are there, and who may see us.
        rooms: The rooms we are in.
    """

    def __init__(
        self,
        login: XmppLogin,
        session: Session,
        omemo: Omemo,
        sharing: Sharing,
        *,
        history: History,
        committer: Committer,
        contacts: Contacts,
        devices: Devices,
        plaintext: Callable[[Address], bool],
        folder: Path,
        tell: Callable[[Event], None],
    ) -> None:
        """Use `open`."""
        self.address = login.address
        self.devices = devices
        self._session = session
        self._omemo = omemo
        self._tell = tell
        self.people = People(
            session, contacts, Nodes(session), features=_FEATURES, tell=self._people_changed
        )
        self.rooms = Rooms(
            session,
            contacts,
            tell=self._room_changed,
            outside=lambda bare: self._intake.outside(bare),
            settled=lambda room: self._dispatch.entered(room),
        )
        # By archive: no room can keep us from reading ours.
        self._reading: defaultdict[Jid, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._catchups: dict[Jid, Catchup] = {}
        # Of our archive, where the last page began (the first of all: when), and where it ended.
        self._last_page: tuple[Place | float, Place | None] = (0.0, None)
        self._unreadable_since = math.inf  # when the first was sent, of what was not said in a room
        self._names_messages: set[Jid] = set()
        self._setup: asyncio.Task[None] | None = None
        self._online = True
        self._greeted = False  # in this session
        self._entered = False  # our rooms, in this session
        self._running: tuple[asyncio.Task[None], ...] = ()
        self._unwatch = (
            contacts.statements.watch(self._keys_changed),
            contacts.identity.watch(self._own_keys_changed),
        )
        self._tasks: set[asyncio.Task[None]] = set()
        ledger = Ledger(history, self.address)
        readers = Readers(
            self.address,
            omemo,
            devices,
            self.rooms,
            first_used=lambda who, those: tell(DevicesTrusted(who, those)),
            new_device=lambda one: tell(NewDevice(one.address, one)),
        )
        self._dispatch = Dispatch(
            self.address,
            session,
            history,
            readers,
            self.rooms,
            committer=committer,
            ledger=ledger,
            tell=self._announce,
        )
        self.messaging = Messaging(
            self.address,
            history,
            omemo,
            readers,
            self._dispatch,
            self.rooms,
            sharing,
            committer=committer,
            ledger=ledger,
            folder=folder,
        )
        inbox = Inbox(omemo, devices.trust_of, history)
        self._intake = Intake(
            history,
            committer,
            ledger,
            read=lambda found, now: inbox.read(found, now=now),
            surroundings=self._surroundings,
            plaintext=plaintext,
            handle=self._handle,
            disk_failed=lambda error: tell(KeepingFailed(error)),
        )
        self._settling = Settling(self._look_again, pause=self._intake.pause)

    @classmethod
    async def open(
        cls,
        login: XmppLogin,
        *,
        history: History,
        committer: Committer,
        contacts: Contacts,
        devices: Devices,
        plaintext: Callable[[Address], bool],
        folder: Path,
        tell: Callable[[Event], None],
    ) -> Self:
        """Log in, see to our keys, and begin to take in what is there for us.

        Args:
            login: Whose account, and where.
            history: Where everything is kept.
            committer: Of the history.
            contacts: Whom we know.
            devices: What their OMEMO devices are to us.
            plaintext: Whether our user wishes to talk to somebody without encryption.
            folder: A private one, for files on their way.
            tell: Told what happens.

        Raises:
            ConnectFailed: the server cannot be reached.
            LoginRefused, CertificateError: a person has to act.
            ProtocolError, XmppRefused: the server does not keep to the rules, or to ours.
        """
        early: list[tuple[Element, Done]] = []
        session = await Session.open(
            login,
            prepare=lambda fresh: fresh.on_message(
                lambda stanza, done: early.append((stanza, done))
            ),
        )
        try:
            ratchets = _Ratchets(history, session.bare)
            directory = OmemoDirectory(
                Nodes(session),
                # invariant: nobody is owed a message before something came in
                carry=lambda to, stanza: account.messaging.carry(to.address, stanza),
            )
            omemo = await Omemo.open(
                ratchets,
                directory,
                jid=session.bare,
                trust=devices.trust_of,
                chosen=devices.is_chosen,
                promised=devices.is_promised,
                unix=time.time,
                retired=contacts.store.retired_omemo(session.bare),
            )
            contacts.own_address(login.address)
            contacts.own_omemo([_vouched(device) for device in omemo.own.values()])
            account = cls(
                login,
                session,
                omemo,
                Sharing(session, Https(authorities=login.authorities)),
                history=history,
                committer=committer,
                contacts=contacts,
                devices=devices,
                plaintext=plaintext,
                folder=folder,
                tell=tell,
            )
        except BaseException:
            await session.close()
            raise
        account._begin(early)
        return account

    def _begin(self, early: list[tuple[Element, Done]]) -> None:
        session = self._session
        session.on_message(self._arrived)
        session.on_presence(self._there)
        session.on_dropped(self._dropped)
        session.on_fresh(self._fresh)
        session.on_resumed(self._resumed)
        session.on_state(self._state_changed)
        for stanza, done in early:
            self._arrived(stanza, done)
        self._running = (
            asyncio.create_task(self._intake.run()),
            asyncio.create_task(self.people.run()),
        )
        self._set_up()

    async def close(self) -> None:
        """Leave the server; what was written and not yet taken is sent the next time."""
        for unwatch in self._unwatch:
            unwatch()
        self._settling.stop()
        self.rooms.stop()
        if self._tasks and self._session.state is SessionState.ONLINE:
            _ = await asyncio.wait(self._tasks, timeout=CLOSE_SECONDS)  # receipts, for one
        ending = [*self._running, *self._tasks, *((self._setup,) if self._setup else ())]
        for task in ending:
            _ = task.cancel()
        _ = await asyncio.gather(*ending, return_exceptions=True)
        await self._session.close()
        await self._dispatch.close()

    async def create_room(self, name: str, *, members: Iterable[Address]) -> Address:
        """Make a private room at our server; its address tells nothing of its name.

        Raises:
            Unsupported: our server has no rooms.
            RoomNotPrivate, NetworkError: as `Rooms.create`.
        """
        service = await self._room_service()
        address = Jid(secrets.token_hex(8), service.domain).address
        _ = await self.rooms.create(address, name=name, members=members)
        return address

    async def _room_service(self) -> Jid:
        domain = self._session.domain
        for jid in parse_items(await self._session.request(build_items_query(), to=domain)):
            try:
                found = await self._session.request(Element(QUERY), to=jid)
            except NetworkError as e:  # a service that is broken must not hide the others
                log.info("%s does not say what it is: %s", jid, e)
                continue
            if found is not None and parse_info(found).is_a("conference", "text"):
                return parse_jid(jid)
        raise Unsupported(f"{domain} has no service for rooms (XEP-0045)")

    def active(self, *, on: bool) -> None:
        """Tell the server whether a person looks (XEP-0352): what can wait then waits there."""
        self._session.active(on)

    async def helpers(self) -> IceHelpers:
        """Relays and the like that our server has for calls; none, if it does not say in time.

        Those in a private network, or on this machine, count where our server lies there as well.
        """
        try:
            found = await self._session.request(
                build_services_request(), to=self._session.domain, timeout=HELPERS_SECONDS
            )
            services = parse_services(found)
        except (NetworkError, ProtocolError) as e:
            log.info("no relay for calls: %s", e)
            return IceHelpers()
        now = time.time()
        turn, stun = turn_servers(services, unix=now), stun_servers(services, unix=now)
        told = IceHelpers(turn=turn, stun=stun[0] if stun else None)
        return await helpers_of(told, server=self._session.server_address)

    @property
    def state(self) -> SessionState:
        """Where the connection stands."""
        return self._session.state

    # -- a session begins -------------------------------------------------------------------------

    def _state_changed(self, state: SessionState, why: Exception | None) -> None:
        if self._online and state is not SessionState.ONLINE:
            self._dispatch.lost()
        self._online = state is SessionState.ONLINE
        self._tell(ChatStateChanged(self.address, state, why))

    def _dropped(self) -> None:
        """Nothing goes out or is taken in before the archive was read and what waits was sent."""
        self._settling.stop()
        if self._setup is not None:  # what it reads is of the session before
            _ = self._setup.cancel()
        self._dispatch.hold()
        self._intake.hold()

    async def _fresh(self) -> None:
        self._set_up()

    async def _resumed(self) -> None:
        """Read the archives again: servers pass on in any order what came while they changed over.

        ejabberd does: what the old connection did not get any more comes after newer messages.
        """
        self._settling.stop()
        self._intake.hold()
        self._start_preparing()

    def _set_up(self) -> None:
        self._greeted = False
        self.rooms.lost()
        self._dropped()
        self._start_preparing()

    def _start_preparing(self) -> None:
        if self._setup is not None:
            self._setup.cancel()
        self._setup = asyncio.create_task(self._prepare())

    async def _prepare(self) -> None:
        """Until it is done; a connection that breaks meanwhile begins this anew."""
        ready = False
        while not ready:
            try:
                await self._get_ready()
            except SecurecallError as e:
                log.info("preparing the session: %s", e)
                if isinstance(e, LocalError):  # the disk may have room again later
                    self._tell(KeepingFailed(e))
                elif self._session.state is not SessionState.ONLINE:
                    return
                await asyncio.sleep(RETRY_SECONDS)
            except Exception as e:  # noqa: BLE001 - the outermost loop of a session's beginning
                # not its words, which may be a message's
                log.error("preparing the session failed: %s", type(e).__name__)  # noqa: TRY400
                await asyncio.sleep(RETRY_SECONDS)
            else:
                ready = True

    async def _get_ready(self) -> None:
        if not self._greeted:
            await self._greet()
        self._greeted = True
        own = parse_jid(self._session.bare)
        self._omemo.before_history()
        self._settling.looking()
        whole = await self._catch_up(own)
        while whole and self._settling.unheard:
            self._settling.looking()
            whole = await self._catch_up(own, look=True)
        self._intake.release(own.bare, whole=whole)
        if whole:
            self._settling.start()
        else:  # there is none, or none that can be read
            self._settling.end()
        await self._omemo.after_history()
        if not self._dispatch.ready:
            self._release_messaging()
        await self._enter_rooms()

    async def _look_again(self) -> bool:
        """Read our archive once more; returns False where the session has to go on for that."""
        self._settling.looking()
        self._omemo.before_history()
        own, whole = parse_jid(self._session.bare), False
        try:
            whole = await self._catch_up(own, look=True)
        except SecurecallError as e:
            log.info("reading the archive again: %s", e)
            if self._session.state is not SessionState.ONLINE:
                return False
        if not self._settling.unheard:  # others' words wait for no trouble of ours
            self._intake.release(own.bare, whole=whole)
        self._beside(self._omemo.after_history)
        return True

    def _release_messaging(self) -> None:
        self._dispatch.release()
        for creditor in self.messaging.creditors():  # who were owed when we stopped
            self._beside(partial(self.messaging.acknowledge, creditor))
        self._entered = False

    async def _enter_rooms(self) -> None:
        if self._entered:
            for room in await self.rooms.resumed():
                self._beside(partial(self._read_room, room))
        else:
            await self.rooms.fresh()  # each is read as it is entered
        self._entered = True

    async def _greet(self) -> None:
        """Learn who is there, and say that we are; from now on messages come live."""
        await self._learn_abilities(parse_jid(self._session.bare))
        await self.people.fresh()
        try:
            _ = await self._session.request(Element(f"{{{CARBONS}}}enable"), kind="set")
        except XmppRefused as e:
            log.info("no copies between our devices: %s", e)
        self._settling.begin()
        self.people.announce()

    async def _learn_abilities(self, keeper: Jid) -> bool:
        """Whether the keeper of an archive has one; and whether it names messages."""
        found = await self._session.request(Element(QUERY), to=str(keeper))
        features = frozenset() if found is None else parse_info(found).features
        if STANZA_IDS in features or MAM in features:  # the archive names what it keeps
            self._names_messages.add(keeper)
        return MAM in features

    async def _read_room(self, address: Address) -> None:
        """We are in, or still are: what was said before comes first."""
        room, whole = jid_of(address), False
        try:
            whole = await self._learn_abilities(room) and await self._catch_up(room)
        finally:
            self._intake.release(room.bare, whole=whole, room=True)
        if whole and self._unreadable_since < math.inf:
            # the ratchet may have come to it in what was said in the room
            since, self._unreadable_since = self._unreadable_since, math.inf
            _ = await self._catch_up(parse_jid(self._session.bare), look=True, since=since)

    async def _catch_up(self, keeper: Jid, *, look: bool = False, since: float = 0.0) -> bool:
        """Read what an archive has since the last time; returns whether to its end.

        Args:
            keeper: Of the archive.
            look: Leave the place in it where it is: what comes live meanwhile may be archived late,
                and before what was read now, and has to be found if the session is lost.
            since: Unix seconds to begin at, instead of where the last time ended.
        """
        async with self._reading[keeper]:
            try:
                while await self._read_archive(keeper, look, since) is Reading.ENOUGH:
                    log.info("the archive has more")
                    look, since = False, 0.0
            except ProtocolError as e:
                log.warning("an archive cannot be read: %s", e)
                return False
            finally:
                _ = self._catchups.pop(keeper, None)
        return True

    async def _read_archive(self, keeper: Jid, look: bool, since: float) -> Reading:  # noqa: FBT001 - of `_catch_up`
        """One pass, from the place that was kept; or from a page before, where that ended there."""
        kept, token = self._intake.place(keeper.bare), secrets.token_hex(8)
        ours = keeper.bare == self._session.bare
        if ours and not look and (kept is None or kept != self._last_page[1]):
            self._last_page = kept or 0.0, kept
        start = since or (self._last_page[0] if ours else kept)
        place, since = (None, start) if isinstance(start, float) else (start, 0.0)
        self._catchups[keeper] = catchup = Catchup(
            keeper, token=token, place=place, since=since, last=_FIRST
        )
        to = "" if keeper.bare == self._session.bare else keeper.bare
        while catchup.progress is Reading.UNDER_WAY:
            query = catchup.query()
            try:
                fin = await self._session.request(query, to=to, kind="set")
            except XmppRefused as e:
                catchup.refused(e.condition)
                continue
            before, page = catchup.place, catchup.finish(fin)
            if page.items and ours and not look:
                self._last_page = before or page.since - _TOGETHER, page.place
            place = None if look else page.place
            await self._intake.keep((*page.items, *page.discarded), place, keeper.bare)
        return catchup.progress

    # -- what comes -------------------------------------------------------------------------------

    def _arrived(self, stanza: Element, done: Done) -> None:
        if stanza.find(RESULT) is not None:
            around = self._surroundings()
            if asked_result(stanza, around) is not None:
                for catchup in self._catchups.values():
                    _ = catchup.collect(stanza, around)
            done()  # what is left of a pass that was given up is nobody's
            return
        if any(stanza.find(tag) is not None for tag in (ROOM_USER, INVITED)):
            self.rooms.on_message(stanza)
        if stanza.find(EVENT) is not None:
            notice = unwrap(stanza, self._surroundings())
            if isinstance(notice, Notice) and notice.kind is NoticeKind.EVENT:
                self._beside(partial(self._event, notice))  # who writes now needs new devices now
                done()
                return
        self._settling.hear(stanza)
        self._intake.put(
            stanza, done, room=self._room_of(stanza), rooms=self.rooms.inside_of(stanza)
        )

    def _room_of(self, stanza: Element) -> str:
        if stanza.get("type") != "groupchat":
            return ""
        bare = stanza.get("from", "").partition("/")[0]
        return bare if self.rooms.entered(bare) else ""

    def _there(self, stanza: Element, done: Callable[[], None]) -> None:
        if self.rooms.on_presence(stanza):
            done()
        else:
            self.people.on_presence(stanza, done)

    def _people_changed(self, change: PeopleEvent) -> None:
        match change:
            case PresenceChange(bare=bare, best=best):
                address = parse_jid(bare).address
                if best is not None and self.people.is_awaited(address):
                    self._beside(partial(self._learn_of, address))
                self._tell(PresenceChanged(address, best))
            case SubscriptionAsk(bare=bare, ask=Ask.SUBSCRIBE, status=status):
                self._tell(ContactRequested(parse_jid(bare).address, status))
            case _:
                self._tell(PeopleChanged(self.address, change))

    def _keys_changed(self, event: ContactKeysChanged) -> None:
        """Delete our sessions with devices that their owner does not stand by any more."""
        for address in event.addresses:
            if address.scheme is Scheme.XMPP:
                for number in event.omemo:
                    self._omemo.revoke(jid_of(address).bare, number)

    def _own_keys_changed(self, event: OwnKeysChanged) -> None:
        for number in event.omemo:
            self._omemo.revoke(self._session.bare, number)

    async def _learn_of(self, address: Address) -> None:
        _ = await self.people.refresh(address)

    def _room_changed(self, news: RoomNews | RoomFailed | Invitation) -> None:
        if isinstance(news, RoomNews) and isinstance(news.event, Entered):
            self._beside(partial(self._read_room, news.room))
        self._tell(RoomChanged(self.address, news))

    def _surroundings(self) -> Surroundings:
        queries = {c.queryid: c.archive for c in self._catchups.values() if c.queryid}
        return Surroundings(
            own=parse_jid(self._session.jid),
            now=time.time(),
            queries=queries,
            rooms=self.rooms.inside(),
            names_messages=self._names_messages,
        )

    def _handle(self, taken: Taken) -> None:
        """After a transaction: tell, answer, and see to keys."""
        for news in taken.news:
            self._announce(news)
        for arrival in taken.arrivals:
            if isinstance(arrival.said, Unreadable) and not arrival.room:
                self._unreadable_since = min(arrival.sent, self._unreadable_since)
        owed = dict.fromkeys(n.message.conversation for n in taken.news if isinstance(n, Received))
        for conversation in owed:
            self._beside(partial(self.messaging.acknowledge, conversation))
        if taken.messages and not self._catchups and self._omemo.is_due:
            self._beside(self._omemo.maintain)

    def _announce(self, news: News) -> None:
        match news:
            case Received(message):
                self._tell(MessageReceived(message))
            case Changed(message):
                self._tell(MessageChanged(message))
            case Active(conversation, sender, activity):
                self._tell(TypingChanged(conversation, sender, activity))
            case ReadElsewhere(message):
                self._tell(ConversationRead(message))
            case Ignored(conversation, _, why):
                self._tell(MessageIgnored(conversation, why))

    async def _event(self, notice: Notice) -> None:
        self.people.on_event(notice.message)
        event = parse_event(notice.message, own=self._session.bare, nodes=_NODES)
        if event is None or not event.items:
            return
        payload = event.items[-1].payload
        if payload is None:
            return
        for namespace in NAMESPACES:
            if event.node == devices_node(namespace):
                devices = parse_devices(payload)
                await self._omemo.devices_changed(namespace, event.owner, devices)

    def _beside(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do it in its own time; what fails is logged, for nobody waits for it."""

        async def guarded() -> None:
            try:
                await work()
            except SecurecallError as e:
                log.info("%s", e)

        task = asyncio.create_task(guarded())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _vouched(device: Device) -> OmemoKey:
    return OmemoKey(namespace=device.namespace, id=device.id, identity_key=device.identity_key)
