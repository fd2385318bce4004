"""The private rooms of one XMPP account: made, entered, left, and who gets what is said there."""

from __future__ import annotations

import asyncio
import itertools
from collections import defaultdict
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass
from typing import Final
from xml.etree.ElementTree import Element

from securecall.address import Address
from securecall.contacts import Contacts
from securecall.errors import (
    ConnectFailed,
    NetworkError,
    ProtocolError,
    RoomNotPrivate,
    SecurityError,
    UsageError,
    XmppRefused,
)
from securecall.keys.encoding import build_json, parse_json
from securecall.logs import logger
from securecall.xmpp import capabilities
from securecall.xmpp import room_grammar as grammar
from securecall.xmpp.jid import Jid, jid_of, parse_jid
from securecall.xmpp.room import (
    Entered,
    MemberAdded,
    MemberRemoved,
    Occupant,
    Recheck,
    Refused,
    Removal,
    Removed,
    Room,
    RoomEvent,
    RoomState,
    SelfPing,
    configure,
    judge_self_ping,
    require_private,
)
from securecall.xmpp.room_grammar import LISTED, Affiliation, Invitation
from securecall.xmpp.session import Session
from securecall.xmpp.unwrapped import Room as Inside

_SECONDS: Final = 30.0  # for entering
_NICKNAMES: Final = 3  # tried, where one is taken
# Until we try to come back into a room whose service lost us; the last for ever.
_BACK_SECONDS: Final = (5.0, 30.0, 120.0, 600.0)
_NO_ROOM: Final = "there is no such room any more"
_PUT_OUT: Final = {  # the others are no decision of anybody's: we come back
    Removal.BANNED: "you were banned from it",
    Removal.KICKED: "you were put out of it",
    Removal.NOT_A_MEMBER: "you are no member of it any more",
    Removal.DESTROYED: _NO_ROOM,
}
_REFUSED: Final = {  # XEP-0045 7.2; for anything else it is tried again
    "forbidden": _PUT_OUT[Removal.BANNED],
    "registration-required": _PUT_OUT[Removal.NOT_A_MEMBER],
    "not-authorized": "it asks for a password",
    "item-not-found": _NO_ROOM,
    "gone": _NO_ROOM,
    "not-allowed": _NO_ROOM,  # and we may make none
}
_SETTING: Final = "rooms"
_MAX_KEPT: Final = 64 * 1024 * 1024  # bytes
_MAX_LEFT: Final = 1000
_MAX_KNOWN: Final = 64  # of those we left, whose members are kept
_MAX_OF_ALL: Final = 4000
_OF_ALL: Final = "rooms of all accounts"

log = logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomNews:
    """Something happened in a room.

    Attributes:
        room: Which.
        event: What.
    """

    room: Address
    event: RoomEvent


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomFailed:
    """We left a room, or did not come back into it.

    Attributes:
        room: Which.
        error: Why.
    """

    room: Address
    error: NetworkError | ProtocolError | SecurityError


class Rooms:
    """The rooms we are in, over the session; what is in them is for the conversations."""

    def __init__(
        self,
        session: Session,
        contacts: Contacts,
        *,
        tell: Callable[[RoomNews | RoomFailed | Invitation], None],
        outside: Callable[[str], None] = lambda _: None,
        settled: Callable[[Address], None] = lambda _: None,
    ) -> None:
        """Begin with the rooms that were not left.

        `on_presence` and `on_message` are for whoever sees all stanzas to call.

        Args:
            session: To our server.
            contacts: Whose store keeps which rooms we are in, and whom we know in them.
            tell: Told what happens.
            outside: Told the bare JID of a room that we are not in, or not any more.
            settled: Told a room that we are in, and know who belongs to it; or that is `closed`.
        """
        self._session = session
        self._contacts = contacts
        self._tell = tell
        self._outside = outside
        self._settled = settled
        self._own = session.bare
        # they stay rooms: what they were is nobody's address; with the members our user knew
        self._left: dict[str, frozenset[str]] = {}
        self._rooms = self._kept()
        self._others = self._kept_of_all()  # rooms of our other accounts are nobody's address, too
        self._entering: dict[str, asyncio.Future[Entered]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        # one entering at a time: who is inside already is not told again that it is a private room
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._rechecks: dict[str, bool] = {}  # under way; whether once more after it
        self._closed: dict[str, str] = {}  # who does not let us in, and why
        self._returning: dict[str, asyncio.Task[None]] = {}

    # -- who --------------------------------------------------------------------------------------

    def all(self) -> tuple[Address, ...]:
        """Every room that we entered and did not leave."""
        return tuple(parse_jid(jid).address for jid in self._rooms)

    def room(self, address: Address) -> Room:
        """A room, to look at: state, occupants, members, who is new, ghosts.

        Raises:
            UsageError: it is none of ours.
        """
        found = self._rooms.get(jid_of(address).bare)
        if found is None:
            raise UsageError(f"{address.short} is no room that we are in")
        return found

    def members(self, address: Address) -> tuple[Address, ...] | None:
        """To whom a message to this room is encrypted; None where it never was a room of ours."""
        jid = jid_of(address).bare
        found = self._rooms.get(jid)
        if found is None:
            return () if jid in self._left or jid in self._others else None
        return tuple(parse_jid(jid).address for jid in sorted(found.recipients))

    def known(self, address: Address) -> tuple[Address, ...] | None:
        """Whom our user knows in this room, in it or not; None where it never was a room of ours.

        Who else could read what was written there and waits is somebody who was taken out since.
        """
        jid = jid_of(address).bare
        found = self._rooms.get(jid)
        people = self._left.get(jid) if found is None else found.acknowledged
        if people is None:
            return () if jid in self._others else None
        return tuple(parse_jid(each).address for each in sorted(people) if each != self._own)

    def is_outside(self, address: Address) -> bool:
        """Whether this is a room of ours that would not take what we say, for now."""
        found = self._rooms.get(jid_of(address).bare)
        return found is not None and found.state is not RoomState.INSIDE

    def closed(self, address: Address) -> str:
        """Why a room of ours takes nothing before our user joins it again; "" where it may.

        What waits for a room that is only lost, or does not answer, is sent once we are back.
        """
        jid = jid_of(address).bare
        if jid in self._rooms:
            return self._closed.get(jid, "")
        return "you left it" if jid in self._left else ""

    def entered(self, bare: str) -> bool:
        """Whether this is the bare JID of a room that we are in, or are about to be in."""
        room = self._rooms.get(bare)
        return room is not None and room.state is not RoomState.OUTSIDE

    def inside(self) -> Mapping[Jid, Inside]:
        """Our rooms as `unwrap` wants to know them."""
        return {
            parse_jid(jid): Inside(
                nick=room.nick,
                occupants={nick: parse_jid(o.jid.bare) for nick, o in room.occupants.items()},
            )
            for jid, room in self._rooms.items()
            if room.state is RoomState.INSIDE
        }

    def inside_of(self, stanza: Element) -> Mapping[Jid, Inside]:
        """The room that a message comes from, with who speaks there; nothing, if it is from none.

        As it is now: who said something may leave, or be called otherwise, with the next stanza.
        """
        room = self._room_of(stanza)
        if room is None or room.state is not RoomState.INSIDE:
            return {}
        source = parse_jid(stanza.get("from", ""))
        speaker = room.occupants.get(source.resource)
        known = {} if speaker is None else {source.resource: speaker.jid.account}
        return {source.account: Inside(nick=room.nick, occupants=known)}

    # -- what our user does -----------------------------------------------------------------------

    async def create(
        self, address: Address, *, nick: str = "", name: str = "", members: Iterable[Address] = ()
    ) -> Room:
        """Make a private room and bring people in.

        Args:
            address: Of the room: a name of ours at a service for rooms.
            nick: What we are called in it, "" for our own user name.
            name: What people call the room.
            members: Who belongs to it; each is invited.

        Raises:
            RoomNotPrivate: this service has no such rooms.
            XmppRefused: "conflict" where there is one of that name, or else what was answered.
            ConnectFailed: no answer came.
        """
        jid = jid_of(address).bare
        # Whoever is made a member later becomes known by that: nobody else is.
        room = Room(jid, own=self._own, nick=nick or self._own.partition("@")[0], acknowledged=())
        entered = await self._enter(room)
        if not entered.created:
            self._drop(room)
            raise XmppRefused("conflict", "there is such a room")
        try:
            form = grammar.parse_room_form(
                await self._ask(jid, grammar.build_configuration_request())
            )
            await self._set(jid, grammar.build_configuration(configure(form, name=name)))
            room.configured()
            await self._require_private(jid)
            await self._learn_members(room)
        except (NetworkError, ProtocolError, SecurityError):
            await self._undo(room)
            raise
        self._keep()
        for member in members:
            await self.add_member(address, member)
        return room

    async def join(self, address: Address, *, nick: str = "") -> Room:
        """Enter a private room; whoever is a member at the first time is known to our user by it.

        A service could else send everybody away, and have somebody in before they come back.

        Raises:
            RoomNotPrivate: it is none.
            XmppRefused: it does not exist, or does not let us in.
            ConnectFailed: no answer came.
        """
        jid = jid_of(address).bare
        room = self._rooms.get(jid) or Room(
            jid,
            own=self._own,
            nick=nick or self._own.partition("@")[0],
            acknowledged=self._left.get(jid) or None,
        )
        kept = jid in self._rooms
        try:
            await self._rejoin(room)
        except (NetworkError, ProtocolError, SecurityError) as e:
            if kept:
                self._stay_out(room, e)
            raise
        self._keep()
        return room

    async def leave(self, address: Address) -> None:
        """Leave a room for good; we stay a member, and can come back."""
        self._drop(self.room(address))
        self._keep()
        self._settled(address)

    async def destroy(self, address: Address) -> None:
        """Destroy a room that is ours.

        Raises:
            XmppRefused: it is not.
            ConnectFailed: no answer came.
        """
        room = self.room(address)
        await self._set(room.jid, grammar.build_destruction())
        self._drop(room)
        self._keep()
        self._settled(address)

    async def add_member(self, address: Address, person: Address) -> None:
        """Make somebody a member, who then gets what is written from now on, and invite them.

        Raises:
            XmppRefused: that is not for us to do.
            ConnectFailed: no answer came.
        """
        room, jid = self.room(address), jid_of(person).bare
        await self._set(room.jid, grammar.build_affiliation(jid, Affiliation.MEMBER))
        room.acknowledge(jid)
        self._news(room, room.listed([{**room.members, jid: Affiliation.MEMBER}]))
        self._keep()
        self._session.send(grammar.build_direct_invitation(room.jid, jid))

    async def remove_member(self, address: Address, person: Address) -> None:
        """Take somebody out; nothing further is encrypted to them, whatever the room does.

        Raises:
            XmppRefused: that is not for us to do; they get nothing of ours all the same.
            ConnectFailed: no answer came.
        """
        room, jid = self.room(address), jid_of(person).bare
        self._news(room, room.listed([{j: a for j, a in room.members.items() if j != jid}]))
        self._keep()
        await self._set(room.jid, grammar.build_affiliation(jid, Affiliation.NONE))

    def acknowledge(self, address: Address, person: Address) -> None:
        """Our user knows of a member somebody else brought in: they get what we write, too."""
        self.room(address).acknowledge(jid_of(person).bare)
        self._keep()

    # -- the session ------------------------------------------------------------------------------

    def lost(self) -> None:
        """The session is gone, and with it our places in rooms."""
        self.stop()
        for room in self._rooms.values():
            room.lost()
        for entering in self._entering.values():
            if not entering.done():
                entering.set_exception(ConnectFailed("the session began anew"))

    def stop(self) -> None:
        """Do not try any more to come back into rooms that lost us."""
        for returning in self._returning.values():
            _ = returning.cancel()

    async def fresh(self) -> None:
        """A session began anew: enter the rooms we were in; who does not let us in is told.

        Those that somebody entered in this session already are left alone.
        """
        outside = [room for room in self._rooms.values() if room.state is RoomState.OUTSIDE]
        _ = await asyncio.gather(*(self._come_back(room) for room in outside))

    async def resumed(self) -> tuple[Address, ...]:
        """The session went on: rooms may have lost us meanwhile without a word (XEP-0410).

        Returns:
            The rooms that we were in all the time; the others are entered again.
        """
        inside = [room for room in self._rooms.values() if room.state is RoomState.INSIDE]
        stayed = await asyncio.gather(*(self._check(room) for room in inside))
        kept = zip(inside, stayed, strict=True)
        return tuple(parse_jid(room.jid).address for room, is_in in kept if is_in)

    def on_presence(self, stanza: Element) -> bool:
        """Take a presence that came from a room of ours; False for any other."""
        room = self._room_of(stanza)
        if room is None:
            return False
        try:
            presence = grammar.parse_occupant(stanza)
        except ProtocolError as e:  # of the room itself: ejabberd sends one with its picture
            log.debug("passed over: %s", e)
            return True
        try:
            self._news(room, room.accept(presence))
        except (RoomNotPrivate, ProtocolError) as e:
            self._give_up(room, e)
        return True

    def on_message(self, stanza: Element) -> None:
        """Take what a room says itself, or an invitation, out of a message that came live."""
        try:
            invitation = grammar.parse_invitation(stanza)
            if invitation is not None:
                self._tell(invitation)
                return
            notice = grammar.parse_notice(stanza)
        except ProtocolError as e:
            log.info("refused: %s", e)
            return
        room = self._rooms.get(notice.room) if notice is not None else None
        if notice is None or room is None:
            return
        try:
            self._news(room, room.notice(notice))
        except (RoomNotPrivate, ProtocolError) as e:
            self._give_up(room, e)

    # -- inside -----------------------------------------------------------------------------------

    async def _rejoin(self, room: Room) -> None:
        async with self._turns[room.jid]:
            inside = room.state is RoomState.INSIDE and self._rooms.get(room.jid) is room
            if not inside:
                await self._rejoin_alone(room)

    async def _rejoin_alone(self, room: Room) -> None:
        await self._require_private(room.jid)
        entered = await self._enter(room)
        try:
            if entered.created:  # it was gone in between, and this is another one, without members
                raise RoomNotPrivate(f"there is no room {room.jid}")
            await self._learn_members(room)
        except (NetworkError, ProtocolError, SecurityError):
            if entered.created:
                await self._undo(room)
            else:
                self._drop(room)
            self._keep()
            raise
        self._settled(parse_jid(room.jid).address)

    async def _enter(self, room: Room) -> Entered:
        nick = room.nick
        for attempt in range(_NICKNAMES):
            self._rooms[room.jid] = room
            _ = self._closed.pop(room.jid, None)
            room.nick = nick if attempt == 0 else f"{nick}-{attempt + 1}"
            try:
                return await self._try(room)
            except XmppRefused as e:
                if e.condition != "conflict" or attempt == _NICKNAMES - 1:
                    self._forget(room)
                    raise
            except BaseException:
                self._forget(room)
                raise
        raise XmppRefused("conflict")

    async def _try(self, room: Room) -> Entered:
        entering: asyncio.Future[Entered] = asyncio.get_running_loop().create_future()
        self._entering[room.jid] = entering
        room.begin()
        try:
            self._session.send(grammar.build_join(room.jid, room.nick))
            async with asyncio.timeout(_SECONDS):
                return await entering
        except TimeoutError as e:
            room.lost()
            raise ConnectFailed(f"{room.jid} does not answer") from e
        finally:
            _ = self._entering.pop(room.jid, None)

    async def _learn_members(self, room: Room) -> None:
        lists = []
        for affiliation in LISTED:
            answer = await self._ask(room.jid, grammar.build_list_request(affiliation))
            lists.append(grammar.parse_affiliations(answer))
        self._news(room, room.listed(lists))

    async def _require_private(self, jid: str) -> None:
        answer = await self._ask(jid, Element(capabilities.QUERY))
        if answer is None:
            raise RoomNotPrivate(f"{jid} does not say what it is")
        require_private(jid, capabilities.parse_info(answer))

    async def _come_back(self, room: Room) -> None:
        try:
            await self._rejoin(room)
        except (NetworkError, ProtocolError, SecurityError) as e:
            self._stay_out(room, e)
            self._failed(room, e)
        except BaseException:  # the session is gone, or the disk refused
            self._stay(room)
            raise

    def _stay(self, room: Room) -> None:
        """Keep a room that we did not come back into, to be tried again with the next session."""
        room.lost()
        self._rooms[room.jid] = room
        self._outside(room.jid)

    def _stay_out(self, room: Room, error: NetworkError | ProtocolError | SecurityError) -> None:
        """Likewise; if it does not want us, nothing waits for that."""
        self._stay(room)
        self._keep()
        if isinstance(error, SecurityError | ProtocolError):
            self._close(room, "it is no private room any more")
        elif isinstance(error, XmppRefused) and error.condition in _REFUSED:
            self._close(room, _REFUSED[error.condition])

    def _close(self, room: Room, why: str) -> None:
        self._closed[room.jid] = why
        self._settled(parse_jid(room.jid).address)

    def _put_out(self, room: Room, why: Removal) -> None:
        self._outside(room.jid)
        if why in _PUT_OUT:
            self._close(room, _PUT_OUT[why])
        elif room.jid not in self._returning:
            task = self._returning[room.jid] = self._spawn(self._return(room))
            task.add_done_callback(lambda _: self._returning.pop(room.jid, None))

    async def _return(self, room: Room) -> None:
        """Come back into a room whose service lost us, as one does that is started anew."""
        for pause in itertools.chain(_BACK_SECONDS, itertools.repeat(_BACK_SECONDS[-1])):
            await asyncio.sleep(pause)
            kept = self._rooms.get(room.jid) is room and room.jid not in self._closed
            if not kept or room.state is not RoomState.OUTSIDE:
                return
            await self._come_back(room)

    async def _check(self, room: Room) -> bool:
        """Whether we stayed in it."""
        condition: str | None = ""
        try:
            _ = await self._session.request(
                Element(grammar.PING), to=f"{room.jid}/{room.nick}", timeout=_SECONDS
            )
        except XmppRefused as e:
            condition = e.condition
        except ConnectFailed:
            condition = None
        if judge_self_ping(condition) is not SelfPing.OUTSIDE:
            return True
        room.lost()
        self._outside(room.jid)
        await self._come_back(room)
        return False

    def _recheck_soon(self, room: Room) -> None:
        """However often a room says that it changed, one question at a time is open."""
        if room.jid in self._rechecks:
            self._rechecks[room.jid] = True
        else:
            self._rechecks[room.jid] = False
            _ = self._spawn(self._recheck_until_quiet(room.jid))

    async def _recheck_until_quiet(self, jid: str) -> None:
        try:
            again = True
            while again and (room := self._rooms.get(jid)) is not None:
                self._rechecks[jid] = False
                await self._recheck(room)
                again = self._rechecks[jid]
        finally:
            del self._rechecks[jid]

    async def _recheck(self, room: Room) -> None:
        try:
            await self._require_private(room.jid)
            await self._learn_members(room)
        except (ProtocolError, SecurityError) as e:
            self._give_up(room, e)
        except NetworkError as e:
            log.info("what became of a room is not known: %s", e)

    def _news(self, room: Room, events: Iterable[RoomEvent]) -> None:
        entering = self._entering.get(room.jid)
        address = parse_jid(room.jid).address
        for event in events:
            if isinstance(event, Entered) and entering is not None and not entering.done():
                entering.set_result(event)
            elif isinstance(event, Refused) and entering is not None and not entering.done():
                entering.set_exception(XmppRefused(event.condition))
                continue
            elif isinstance(event, Recheck):
                self._recheck_soon(room)
            elif isinstance(event, MemberAdded | MemberRemoved | Removed):
                self._keep()
            if isinstance(event, Removed):
                self._put_out(room, event.why)
            self._tell(RoomNews(room=address, event=event))

    def _give_up(self, room: Room, error: ProtocolError | SecurityError) -> None:
        self._drop(room)
        self._keep()
        entering = self._entering.get(room.jid)
        if entering is not None and not entering.done():
            entering.set_exception(error)
        else:
            self._settled(parse_jid(room.jid).address)
            self._failed(room, error)

    def _failed(self, room: Room, error: NetworkError | ProtocolError | SecurityError) -> None:
        self._tell(RoomFailed(room=parse_jid(room.jid).address, error=error))

    def _drop(self, room: Room) -> None:
        inside = room.state is not RoomState.OUTSIDE
        room.lost()
        self._forget(room)
        if inside:
            try:
                self._session.send(grammar.build_leave(room.jid, room.nick))
            except ConnectFailed:
                log.info("left a room without a word: there is no session")

    def _forget(self, room: Room) -> None:
        _ = self._rooms.pop(room.jid, None)
        before = self._left.pop(room.jid, frozenset[str]())
        self._left[room.jid] = room.acknowledged or before
        for jid in list(self._left)[:-_MAX_KNOWN]:
            self._left[jid] = frozenset()
        if len(self._left) > _MAX_LEFT:
            del self._left[next(iter(self._left))]
        self._outside(room.jid)

    async def _undo(self, room: Room) -> None:
        """Give up a room that we made just now."""
        try:
            await self._set(room.jid, grammar.build_destruction())
        except (NetworkError, ProtocolError) as e:
            log.info("a room that was given up stays: %s", e)
        self._drop(room)

    def _spawn(self, work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _room_of(self, stanza: Element) -> Room | None:
        try:
            return self._rooms.get(parse_jid(stanza.get("from", "")).bare)
        except ProtocolError:
            return None

    async def _ask(self, jid: str, payload: Element) -> Element | None:
        return await self._session.request(payload, to=jid)

    async def _set(self, jid: str, payload: Element) -> None:
        _ = await self._session.request(payload, to=jid, kind="set")

    # -- what is kept -----------------------------------------------------------------------------

    def _keep(self) -> None:
        data = build_json(
            {
                "rooms": {
                    jid: [room.nick, sorted(room.acknowledged)]
                    for jid, room in sorted(self._rooms.items())
                },
                "left": {
                    jid: sorted(known)
                    for jid, known in self._left.items()
                    if jid not in self._rooms
                },
            }
        )
        if data != self._contacts.store.setting(self._setting):
            self._contacts.store.save_setting(self._setting, data)
        self._keep_of_all()

    def _keep_of_all(self) -> None:
        self._others = self._kept_of_all()
        if not self._others.keys() >= self._rooms.keys():
            self._others |= dict.fromkeys(self._rooms)
            data = build_json({"rooms": list(self._others)[-_MAX_OF_ALL:]})
            self._contacts.store.save_setting(_OF_ALL, data)

    def _kept_of_all(self) -> dict[str, None]:
        data = self._contacts.store.setting(_OF_ALL)
        if data is None:
            return {}
        match parse_json(data, max_size=_MAX_KEPT, max_depth=5):
            case {"rooms": list(rooms)}:
                return dict.fromkeys(jid for jid in rooms if isinstance(jid, str))
            case _:
                raise ProtocolError("rooms that were not kept by us", rule=_SETTING)

    def _kept(self) -> dict[str, Room]:
        data = self._contacts.store.setting(self._setting)
        if data is None:
            return {}
        match parse_json(data, max_size=_MAX_KEPT, max_depth=5):
            case {"rooms": dict(rooms), "left": dict() | list() as left}:
                # a list in stores that are older than what is known of rooms that were left
                known = left if isinstance(left, dict) else dict.fromkeys(_texts(left))
                self._left = {jid: frozenset(_texts(people)) for jid, people in known.items()}
                return {jid: self._kept_room(jid, kept) for jid, kept in rooms.items()}
            case _:
                raise ProtocolError("rooms that were not kept by us", rule=_SETTING)

    def _kept_room(self, jid: str, kept: object) -> Room:
        match kept:
            case [str(nick), list(known)]:
                return Room(jid, own=self._own, nick=nick, acknowledged=_texts(known))
            case _:
                raise ProtocolError("rooms that were not kept by us", rule=_SETTING)

    @property
    def _setting(self) -> str:
        return f"{_SETTING} {self._own}"


def _texts(kept: object) -> list[str]:
    return [one for one in kept if isinstance(one, str)] if isinstance(kept, list) else []


__all__ = ["Invitation", "Occupant", "RoomFailed", "RoomNews", "Rooms"]
