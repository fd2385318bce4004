"""The people of one XMPP account: who they are, whether they are there, and who may see us."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Literal
from xml.etree.ElementTree import Element

from securecall.address import Address
from securecall.contacts import Contact, Contacts
from securecall.directory import Directory, Learned, Published
from securecall.errors import (
    ProtocolError,
    Reason,
    SecurecallError,
    SecurityError,
    XmppRefused,
)
from securecall.logs import logger
from securecall.xmpp import blocking, capabilities
from securecall.xmpp import roster as rosters
from securecall.xmpp.abilities import Abilities
from securecall.xmpp.blocking import BlockChange, Blocklist
from securecall.xmpp.capabilities import OwnCapabilities
from securecall.xmpp.identity import (
    IDENTITY,
    OPTIONS,
    Publication,
    build_identity,
    parse_identity,
)
from securecall.xmpp.jid import jid_of, parse_jid
from securecall.xmpp.nodes import CURRENT, Nodes
from securecall.xmpp.presence import (
    Ask,
    Presence,
    PresenceChange,
    PresenceRefused,
    Presences,
    Show,
    SubscriptionAsk,
    build_presence,
    build_subscription,
    build_unavailable,
    parse_presence,
)
from securecall.xmpp.pubsub import Whose, parse_event
from securecall.xmpp.reachability import Reachability, reachability
from securecall.xmpp.roster import Roster, RosterChange, RosterItem
from securecall.xmpp.session import Session

MOST_ASKS: Final = 256  # of strangers, waiting for our user
_CHECK_SECONDS: Final = 3600.0

log = logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """A snapshot of somebody on the roster.

    Attributes:
        address: Theirs.
        item: What the roster says, with the name our user gave them.
        presence: Of the connection to write to, None when they are not there.
        reachability: Whether and how they can be called.
        contact: Their card and key.
        blocked: Our user does not want to hear of them.
    """

    address: Address
    item: RosterItem
    presence: Presence | None
    reachability: Reachability
    contact: Contact
    blocked: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityNews:
    """Somebody published something about their identity.

    Attributes:
        address: Whose.
        published: What it was to us; FORK and OTHER_KEY deserve a warning.
        error: Why it was refused, None if it was not.
    """

    address: Address
    published: Published | None = None
    error: SecurityError | ProtocolError | None = None


PeopleEvent = (
    RosterChange | PresenceChange | SubscriptionAsk | PresenceRefused | BlockChange | IdentityNews
)


class People:
    """Roster, presence, capabilities, block list and identities of one account, over its session.

    Attributes:
        asks: Who asks to see us and was not answered yet, by bare JID.
        refused: How many stanzas were not what they claimed to be.
    """

    def __init__(
        self,
        session: Session,
        contacts: Contacts,
        nodes: Nodes,
        *,
        features: Iterable[str] = (),
        tell: Callable[[PeopleEvent], None],
    ) -> None:
        """Set the handlers of a session; best from `Session.open(prepare=)`.

        `on_presence` and `on_event` are for whoever sees all presences and events to call.

        Args:
            session: To our server.
            contacts: Who we know, and who we are.
            nodes: Of our account and of others.
            features: What our client can do beside this, with `+notify` for the nodes it reads.
            tell: Told what changes.
        """
        self.asks: dict[str, SubscriptionAsk] = {}
        self.refused = 0
        self._session = session
        self._contacts = contacts
        self._nodes = nodes
        self._tell = tell
        self._directory = Directory(contacts)
        self._own = session.bare
        self._roster = self._kept_roster()
        self._blocked = Blocklist(self._own)
        self._there = Presences()
        self._abilities = Abilities(session)
        self._ours = OwnCapabilities([f"{IDENTITY}+notify", *features])
        self._directed: set[str] = set()
        self._wanted: set[str] = set()  # whom our user added before they published who they are
        self._publication = Publication()
        self._presence: Element | None = None
        session.on_request("set", rosters.QUERY, self._roster_push)
        session.on_request("set", blocking.BLOCK, self._block_push)
        session.on_request("set", blocking.UNBLOCK, self._block_push)
        session.on_request("get", capabilities.QUERY, self._disco)

    # -- who --------------------------------------------------------------------------------------

    def people(self) -> tuple[Person, ...]:
        """Everybody on the roster who is a person, by JID."""
        return tuple(
            self._person(item) for _, item in sorted(self._roster.items.items()) if "@" in item.jid
        )

    def person(self, address: Address) -> Person | None:
        """Somebody on the roster, None where they are not."""
        item = self._roster.items.get(jid_of(address).bare)
        return None if item is None else self._person(item)

    def reachability(self, address: Address) -> Reachability:
        """Whether and how somebody can be called, as far as their clients say."""
        bare = jid_of(address).bare
        there = {f"{bare}/{r}": self._abilities.of(p) for r, p in self._there.of(bare).items()}
        return reachability(self._contacts.find(address).addresses, there)

    def presence(self, address: Address) -> Presence | None:
        """The connection of somebody to write to, None when they are not there."""
        return self._there.best(jid_of(address).bare)

    def _person(self, item: RosterItem) -> Person:
        address = parse_jid(item.jid).address
        return Person(
            address=address,
            item=item,
            presence=self._there.best(item.jid),
            reachability=self.reachability(address),
            contact=self._contacts.find(address),
            blocked=self._blocked.blocks(item.jid),
        )

    # -- what our user does -----------------------------------------------------------------------

    async def add(self, address: Address, *, name: str = "") -> Learned | None:
        """Put somebody on the roster, ask to see them, and learn who they are.

        Returns:
            Their identity, None where they publish none.

        Raises:
            IdentityChanged, AddressNotOwned, Revoked, StatementInvalid, SecurityError: what they
                publish cannot be believed; they are on the roster all the same.
            XmppRefused, ConnectFailed: our server did not do it.
        """
        bare = jid_of(address).bare
        await self._set(rosters.build_roster_set(bare, name=name))
        self._session.send(build_subscription(Ask.SUBSCRIBE, bare))
        learned = await self.refresh(address)
        if learned is None:
            self._wanted.add(bare)  # whoever publishes it only later is who our user meant
        return learned

    def is_awaited(self, address: Address) -> bool:
        """Our user added them, they had published no identity then, and nothing came between.

        Once they have an identity, or our user wrote to them, it is not first contact any more:
        then nobody but our user asks what their server says they are.
        """
        if jid_of(address).bare not in self._wanted:
            return False
        written = self._contacts.store.devices_of(address).written
        return not written and self._contacts.book.lookup(address) is None

    async def refresh(self, address: Address) -> Learned | None:
        """Look at what somebody publishes of themselves; because our user wants it, never else.

        Raises:
            SecurityError: of the kinds `add` names.
            ConnectFailed: no answer came.
        """
        try:
            items = await self._nodes.fetch(jid_of(address).bare, IDENTITY, most=1)
        except XmppRefused:
            return None  # no such account, or one that lets nobody read
        raw = parse_identity(items)
        if not raw:
            return None
        self._wanted.discard(jid_of(address).bare)
        return self._directory.learn(address, raw)

    async def accept(self, address: Address) -> None:
        """Let somebody see us who asked, and ask to see them, too."""
        bare = jid_of(address).bare
        _ = self.asks.pop(bare, None)
        self._session.send(build_subscription(Ask.SUBSCRIBED, bare))
        item = self._roster.items.get(bare)
        if item is None or item.subscription not in (
            rosters.Subscription.TO,
            rosters.Subscription.BOTH,
        ):
            self._session.send(build_subscription(Ask.SUBSCRIBE, bare))

    def decline(self, address: Address) -> None:
        """Do not let somebody see us, or not any more."""
        bare = jid_of(address).bare
        _ = self.asks.pop(bare, None)
        self._session.send(build_subscription(Ask.UNSUBSCRIBED, bare))

    async def remove(self, address: Address) -> None:
        """Take somebody off the roster; neither sees the other any more. Their key stays pinned."""
        await self._set(rosters.build_roster_remove(jid_of(address).bare))

    async def block(self, address: Address) -> None:
        """Hear nothing of somebody any more, and let them see nothing."""
        bare = jid_of(address).bare
        _ = self.asks.pop(bare, None)
        # Not every server says so on our behalf (XEP-0191 3.2), and after the block we cannot.
        self._session.send(build_unavailable(bare))
        await self._set(blocking.build_block([bare]))

    async def unblock(self, address: Address) -> None:
        """Hear of somebody again."""
        bare = jid_of(address).bare
        await self._set(blocking.build_unblock([bare]))
        if self._presence is not None and self._roster.sees_us(bare):
            again = copy.deepcopy(self._presence)
            again.set("to", bare)
            self._session.send(again)

    def announce(self, show: Show = Show.AVAILABLE, status: str = "", priority: int = 0) -> None:
        """Tell those who may see us that we are there; again at every change."""
        self._presence = build_presence(
            show=show, status=status, priority=priority, caps=self._ours.caps
        )
        self._session.send(self._presence)

    def hide(self) -> None:
        """Tell those who see us that we are gone; messages come all the same, later."""
        self._presence = None
        self._session.send(build_unavailable())

    def show_to(self, jid: str) -> None:
        """Be there for somebody who is not on the roster, until the session ends."""
        self._directed.add(parse_jid(jid).bare)
        self._session.send(build_presence(to=jid, caps=self._ours.caps))

    # -- the session ------------------------------------------------------------------------------

    async def fresh(self) -> None:
        """A session begins anew: learn who is on the roster and who is blocked.

        Nothing is announced by this; `announce` is for when messages can be taken.

        Raises:
            ConnectFailed: the session ended meanwhile.
            ProtocolError: our server answered something else.
            XmppRefused: it keeps no roster.
        """
        self._directed.clear()
        self._abilities.clear()
        self._publication = Publication()
        for gone in self._there.clear():
            self._tell(gone)
        request = self._roster.request(versioning=rosters.VERSIONING in self._session.features)
        self._rostered(self._roster.accept_result(await self._session.request(request)))
        try:
            found = await self._session.request(blocking.build_blocklist_request())
        except XmppRefused:
            log.info("the server keeps no block list")
        else:
            for change in self._blocked.accept_result(found):
                self._tell(change)

    async def publish_identity(self) -> None:
        """Publish our statement where it is another one than last time, or a day old.

        First, what other devices of ours published is taken over. A device that does not hold our
        root publishes nothing: what it has may be older than what is there.

        Raises:
            XmppRefused, ConnectFailed, SecurityError: the server did not take it.
        """
        await self._take_own()
        if not self._contacts.identity.holds_root:
            return
        statement, unix = self._contacts.statement, time.time()
        if self._publication.is_due(statement, unix=unix):
            await self._nodes.publish(IDENTITY, CURRENT, build_identity(statement), OPTIONS)
            self._publication.published(statement, unix=unix)

    async def _take_own(self) -> None:
        try:
            items = await self._nodes.fetch(self._own, IDENTITY, most=1)
        except XmppRefused:
            return  # nothing was ever published
        self._take(parse_identity(items))

    def _take(self, raw: bytes) -> None:
        """Take a statement of ours, from where our own devices publish it; a server may show any.

        It can add what our root signed elsewhere, and withdraw; what is older changes nothing.
        """
        if not raw:
            return
        try:
            _ = self._contacts.identity.take(raw)
        except SecurityError as e:
            if e.reason is not Reason.ROLLBACK:
                own = parse_jid(self._own).address
                self._tell(IdentityNews(address=own, error=e))

    async def run(self) -> None:
        """Keep our identity published, for ever; at once where it changes."""
        changed = asyncio.Event()
        forget = self._contacts.identity.on_statement(changed.set)
        try:
            while True:
                changed.clear()
                try:
                    await self.publish_identity()
                except SecurecallError as e:  # a full disk, too: there may be room again later
                    log.warning("our identity could not be published: %s", e)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_CHECK_SECONDS):
                        _ = await changed.wait()
        finally:
            forget()

    def on_presence(self, stanza: Element, done: Callable[[], None]) -> None:
        """Take a presence of a person; those of rooms are not for here."""
        try:
            self._take_presence(stanza)
        except ProtocolError as e:
            self._refuse(e)
        done()

    def on_event(self, stanza: Element) -> None:
        """Take a message that came live and may be an event of a node (XEP-0060 12)."""
        try:
            event = parse_event(stanza, own=self._own, nodes={IDENTITY: Whose.ANYBODYS})
            if event is None or not event.items:
                return
            if event.owner == self._own:
                self._take(parse_identity(event.items))
                return
            raw, address = parse_identity(event.items), parse_jid(event.owner).address
        except ProtocolError as e:
            self._refuse(e)
            return
        try:
            if self.is_awaited(address):
                _ = self._directory.learn(address, raw)
                self._wanted.discard(event.owner)
                published = Published.NEWER
            else:
                published = self._directory.notice(address, raw)
        except (SecurityError, ProtocolError) as e:
            self._tell(IdentityNews(address=address, error=e))
        else:
            if published not in (Published.SAME, Published.STRANGER):
                self._tell(IdentityNews(address=address, published=published))

    def may_see(self, jid: str) -> bool:
        """Our user lets this one know that we are here: our own side, and whom it was shown to."""
        try:
            asking = parse_jid(jid or self._own)
        except ProtocolError:
            return False
        ours = asking.bare in (self._own, self._session.domain, *self._directed)
        return ours or self._roster.sees_us(asking.bare)

    # -- inside -----------------------------------------------------------------------------------

    def _take_presence(self, stanza: Element) -> None:
        found = parse_presence(stanza)
        match found:
            case Presence():
                known = {*self._roster.items, self._own}
                for change in self._there.accept(found, known=known):
                    self._tell(change)
                if not found.available:
                    self._abilities.forget(found)
                # Who may not see us is not shown, by a question, that we are here.
                elif self.may_see(str(found.jid)):
                    self._abilities.ask(found, then=lambda: self._able(found))
            case SubscriptionAsk():
                if self._asked(found):
                    self._tell(found)
            case PresenceRefused():
                self._tell(found)

    def _asked(self, ask: SubscriptionAsk) -> bool:
        if self._blocked.blocks(ask.bare):
            return False
        if not ask.answer_pending:
            return True
        if ask.bare in self.asks or len(self.asks) >= MOST_ASKS:
            return False  # asked before, or a flood: it stays unanswered, and comes again
        self.asks[ask.bare] = ask
        return True

    def _able(self, presence: Presence) -> None:
        if self._there.is_there(str(presence.jid)):
            bare = presence.jid.bare
            self._tell(PresenceChange(bare=bare, best=self._there.best(bare)))

    def _disco(self, iq: Element) -> Element | None:
        if not self.may_see(iq.get("from", "")):
            raise XmppRefused("service-unavailable")
        answer = self._ours.answer(iq[0])
        if answer is None:
            raise XmppRefused("item-not-found")
        return answer

    def _roster_push(self, iq: Element) -> Element | None:
        try:
            changes = self._roster.accept_push(iq[0], sender=iq.get("from"))
        except ProtocolError as e:
            self._refuse(e)
            raise XmppRefused("service-unavailable") from e
        self._rostered(changes)
        return None

    def _block_push(self, iq: Element) -> Element | None:
        try:
            changes = self._blocked.accept_push(iq[0], sender=iq.get("from"))
        except ProtocolError as e:
            self._refuse(e)
            raise XmppRefused("service-unavailable") from e
        for change in changes:
            self._tell(change)
            if change.blocked:
                for gone in self._there.forget(change.jid):
                    self._tell(gone)
        return None

    def _rostered(self, changes: Iterable[RosterChange]) -> None:
        changed = tuple(changes)
        kept = rosters.build_kept(self._roster.version, self._roster.items.values())
        if changed and kept != self._contacts.store.setting(self._setting):
            self._contacts.store.save_setting(self._setting, kept)
        for change in changed:
            self._tell(change)
            if change.after is None and change.before is not None:
                for gone in self._there.forget(change.before.jid):
                    self._tell(gone)

    @property
    def _setting(self) -> str:
        return f"roster {self._own}"

    def _kept_roster(self) -> Roster:
        kept = self._contacts.store.setting(self._setting)
        if kept is None:
            return Roster(self._own)
        try:
            version, items = rosters.parse_kept(kept)
        except ProtocolError:  # of a version of ours that kept it otherwise: the server has it
            return Roster(self._own)
        return Roster(self._own, version=version, items=items)

    def _refuse(self, error: ProtocolError) -> None:
        self.refused += 1
        log.info("refused: %s", error)

    async def _set(self, payload: Element, kind: Literal["set"] = "set") -> None:
        _ = await self._session.request(payload, kind=kind)
