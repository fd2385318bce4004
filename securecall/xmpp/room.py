"""A small private room: members only, everybody known by their real JID (XEP-0045, XEP-0410).

What is written there is encrypted to the *members*, and to those of them our user knows of. The
room's server can let anybody in; whoever is there without being a member, or became one without
our user's knowledge, is shown and gets nothing.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from securecall.errors import ProtocolError, RoomNotPrivate
from securecall.xmpp.capabilities import Info
from securecall.xmpp.forms import Form
from securecall.xmpp.jid import Jid, parse_jid
from securecall.xmpp.room_grammar import (
    MAX_MEMBERS,
    MUC,
    Affiliation,
    OccupantPresence,
    Role,
    RoomNotice,
    RoomRefusal,
    Status,
)

_RULE: Final = "XEP-0045"
_MAX_OCCUPANTS: Final = 512
_CONFIG: Final = f"{MUC}#roomconfig"
_FIELD: Final = "muc#roomconfig"  # how its fields begin (XEP-0045 15.5.3)
_NOT_PRIVATE: Final = frozenset({Status.NOW_SEMI_ANONYMOUS, Status.NOW_ANONYMOUS})


class RoomState(enum.Enum):
    """Where we are with a room."""

    OUTSIDE = "outside"
    JOINING = "joining"
    UNCONFIGURED = "unconfigured"  # we made it; nobody else can come in yet
    INSIDE = "inside"


class Removal(enum.StrEnum):
    """Why somebody is not in a room any more."""

    LEFT = "left"
    KICKED = "kicked"
    BANNED = "banned"
    NOT_A_MEMBER = "not-a-member"
    SERVICE = "service"  # the service stopped, or lost them
    DESTROYED = "destroyed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Occupant:
    """Somebody who is in a room."""

    nick: str
    jid: Jid
    affiliation: Affiliation
    role: Role


@dataclass(frozen=True, slots=True, kw_only=True)
class Entered:
    """We are in.

    Attributes:
        nick: What we are called.
        created: There was no such room; it has to be configured before anybody can come.
    """

    nick: str
    created: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """We did not get in, or not under that nickname."""

    condition: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OccupantCame:
    """Somebody came in.

    Attributes:
        occupant: Who.
        ghost: They are no member as far as we know: nothing is encrypted to them.
    """

    occupant: Occupant
    ghost: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class OccupantLeft:
    """Somebody went."""

    occupant: Occupant
    why: Removal


@dataclass(frozen=True, slots=True, kw_only=True)
class OccupantRenamed:
    """Somebody is called otherwise now."""

    before: str
    occupant: Occupant


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberAdded:
    """Somebody became a member, as the room says.

    Attributes:
        jid: Who, bare.
        affiliation: As what.
        known: Our user knows of it; others get nothing until `Room.acknowledge`.
    """

    jid: str
    affiliation: Affiliation
    known: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberRemoved:
    """Somebody is no member any more; nothing further is encrypted to them."""

    jid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """We are not in the room any more."""

    why: Removal
    reason: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recheck:
    """The room was configured anew: ask it what it is now, and `require_private`."""


RoomEvent = (
    Entered
    | Refused
    | OccupantCame
    | OccupantLeft
    | OccupantRenamed
    | MemberAdded
    | MemberRemoved
    | Removed
    | Recheck
)


class Room:
    """One room as its own service tells of it.

    Attributes:
        jid: The room's bare JID.
        nick: What we are called in it, or asked to be.
        state: Where we are with it.
        logged: The service keeps what is said there: Prosody's word for the archive that those
            who were away read, other services' for a log on a web page. It is encrypted either way.
    """

    def __init__(
        self, jid: str, *, own: str, nick: str, acknowledged: Iterable[str] | None = None
    ) -> None:
        """Begin outside.

        Args:
            jid: The room's bare JID.
            own: Our bare JID.
            nick: What we want to be called.
            acknowledged: Bare JIDs of the members our user knows of; None when we come for the
                first time: then whoever is on the lists we are shown.
        """
        self.jid, self.nick = jid, nick
        self.state = RoomState.OUTSIDE
        self.logged = False
        self._own = own
        self._occupants: dict[str, Occupant] = {}
        self._members: dict[str, Affiliation] = {}
        self._acknowledged = None if acknowledged is None else {own, *acknowledged}

    # -- who ---------------------------------------------------------------------------------------

    @property
    def occupants(self) -> Mapping[str, Occupant]:
        """Who is in it, by nickname."""
        return MappingProxyType(self._occupants)

    @property
    def members(self) -> Mapping[str, Affiliation]:
        """Who belongs to it, by bare JID, as the room says."""
        return MappingProxyType(self._members)

    @property
    def acknowledged(self) -> frozenset[str]:
        """The members our user knows of; to be kept from one session to the next."""
        return frozenset(self._acknowledged or ())

    @property
    def recipients(self) -> frozenset[str]:
        """To whom messages are encrypted: members our user knows of, ourselves left out."""
        known = self._acknowledged or set()
        return frozenset(jid for jid in self._members if jid in known and jid != self._own)

    @property
    def unacknowledged(self) -> frozenset[str]:
        """Members our user does not know of: to be shown, and acknowledged or removed."""
        return frozenset(self._members) - self.acknowledged - {self._own}

    @property
    def ghosts(self) -> tuple[Occupant, ...]:
        """Who is in the room without being a member our user knows of."""
        return tuple(o for o in self._occupants.values() if self._is_ghost(o))

    def acknowledge(self, jid: str) -> None:
        """Our user knows that this person is, or is to be, a member."""
        self._acknowledged = {self._own, *(self._acknowledged or ()), jid}

    # -- what happens ------------------------------------------------------------------------------

    def begin(self) -> None:
        """A presence that enters is being sent; what was known of occupants is forgotten."""
        self.state = RoomState.JOINING
        self._occupants.clear()

    def lost(self) -> None:
        """The session ended, or a self-ping said so: we are outside."""
        self.state = RoomState.OUTSIDE
        self._occupants.clear()

    def configured(self) -> None:
        """Our configuration was taken: the room is open to its members."""
        if self.state is RoomState.UNCONFIGURED:
            self.state = RoomState.INSIDE

    def accept(self, presence: OccupantPresence | RoomRefusal) -> tuple[RoomEvent, ...]:
        """Take what the room says of an occupant.

        Raises:
            RoomNotPrivate: it is no such room (any more): leave it.
            ProtocolError: it is not of this room, or of more people than it can have.
        """
        if presence.room != self.jid:
            raise ProtocolError("a presence of another room", rule=_RULE)
        if isinstance(presence, RoomRefusal):
            if self.state is RoomState.JOINING:
                self.lost()
            return (Refused(condition=presence.condition),)
        if self.state is RoomState.OUTSIDE:
            return ()  # late words of a room we left
        if not presence.available:
            return self._goes(presence)
        if Status.CREATED in presence.statuses and self.state is RoomState.JOINING:
            # Ours, and as its service makes them; nobody can come before it is configured.
            return self._comes(presence, presence.jid or parse_jid(self._own))
        self._require_private(presence.statuses)
        if presence.jid is None:
            raise RoomNotPrivate(f"{self.jid} does not tell who is in it")
        return self._comes(presence, presence.jid)

    def notice(self, notice: RoomNotice) -> tuple[RoomEvent, ...]:
        """Take what the room says to everybody.

        Raises:
            RoomNotPrivate: it is no private room any more: leave it.
            ProtocolError: it is not of this room, or of more people than it can have.
        """
        if notice.room != self.jid:
            raise ProtocolError("a word of another room", rule=_RULE)
        if self.state is RoomState.OUTSIDE:
            return ()
        self._require_private(notice.statuses)
        events: list[RoomEvent] = []
        for jid, affiliation in notice.affiliations.items():
            events += self._affiliated(jid, affiliation)
        if Status.CONFIGURED in notice.statuses:
            events.append(Recheck())
        return tuple(events)

    def listed(self, lists: Iterable[Mapping[str, Affiliation]]) -> tuple[RoomEvent, ...]:
        """Take the room's lists of owners, admins and members, after every entering.

        Raises:
            ProtocolError: more members than such a room has.
        """
        found = {j: a for one in lists for j, a in one.items() if a.belongs}
        if len(found) > MAX_MEMBERS:
            raise ProtocolError(f"more than {MAX_MEMBERS} members", rule=_RULE)
        if self._acknowledged is None:  # our user chose to come, and is shown who is there
            self._acknowledged = {self._own, *found}
        events: list[RoomEvent] = []
        for jid in [jid for jid in self._members if jid not in found]:
            events += self._affiliated(jid, Affiliation.NONE)
        for jid, affiliation in found.items():
            events += self._affiliated(jid, affiliation)
        return tuple(events)

    def _comes(self, presence: OccupantPresence, jid: Jid) -> tuple[RoomEvent, ...]:
        events: list[RoomEvent] = []
        occupant = Occupant(
            nick=presence.nick, jid=jid, affiliation=presence.affiliation, role=presence.role
        )
        before = self._occupants.get(presence.nick)
        if before is None and len(self._occupants) >= _MAX_OCCUPANTS:
            raise ProtocolError(f"more than {_MAX_OCCUPANTS} people in a room", rule=_RULE)
        self._occupants[presence.nick] = occupant
        if self.state is not RoomState.JOINING:
            events += self._affiliated(jid.bare, presence.affiliation)
        if before is not None and before.jid.bare != jid.bare:
            events.append(OccupantLeft(occupant=before, why=Removal.LEFT))
            before = None
        if Status.SELF in presence.statuses:
            events += self._enters(presence, jid)
        elif before is None and self.state is not RoomState.JOINING:
            events.append(OccupantCame(occupant=occupant, ghost=self._is_ghost(occupant)))
        return tuple(events)

    def _enters(self, presence: OccupantPresence, jid: Jid) -> tuple[RoomEvent, ...]:
        if jid.bare != self._own:
            raise ProtocolError("a room that takes us for somebody else", rule="XEP-0045 7.2.2")
        self.nick = presence.nick
        if self.state is not RoomState.JOINING:
            return ()
        created = Status.CREATED in presence.statuses
        if not created and Status.REAL_JIDS not in presence.statuses:
            raise RoomNotPrivate(f"{self.jid} does not show real addresses to everybody")
        self.state = RoomState.UNCONFIGURED if created else RoomState.INSIDE
        return (Entered(nick=self.nick, created=created),)

    def _goes(self, presence: OccupantPresence) -> tuple[RoomEvent, ...]:
        before = self._occupants.pop(presence.nick, None)
        ourselves = Status.SELF in presence.statuses or presence.nick == self.nick
        if Status.NICKNAME in presence.statuses and before is not None and presence.new_nick:
            renamed = Occupant(
                nick=presence.new_nick,
                jid=before.jid,
                affiliation=before.affiliation,
                role=before.role,
            )
            self._occupants[presence.new_nick] = renamed
            if ourselves:
                self.nick = presence.new_nick
            return (OccupantRenamed(before=presence.nick, occupant=renamed),)
        why = _why(presence)
        if ourselves or presence.destroyed:
            self.lost()
            return (Removed(why=why, reason=presence.reason),)
        if before is None:
            return ()
        events: list[RoomEvent] = [OccupantLeft(occupant=before, why=why)]
        if why in (Removal.BANNED, Removal.NOT_A_MEMBER):
            events += self._affiliated(before.jid.bare, presence.affiliation)
        return tuple(events)

    def _affiliated(self, jid: str, affiliation: Affiliation) -> tuple[RoomEvent, ...]:
        before = self._members.get(jid)
        if not affiliation.belongs:
            if before is None:
                return ()
            del self._members[jid]
            # Who comes back has to be acknowledged again.
            if self._acknowledged is not None and jid != self._own:
                self._acknowledged.discard(jid)
            return (MemberRemoved(jid=jid),)
        if before is None and len(self._members) >= MAX_MEMBERS:
            raise ProtocolError(f"more than {MAX_MEMBERS} members", rule=_RULE)
        self._members[jid] = affiliation
        if before is not None:
            return ()
        known = jid == self._own or jid in (self._acknowledged or ())
        return (MemberAdded(jid=jid, affiliation=affiliation, known=known),)

    def _require_private(self, statuses: frozenset[Status]) -> None:
        self.logged = (self.logged or Status.LOGGED in statuses) and (
            Status.NOT_LOGGED not in statuses
        )
        if not _NOT_PRIVATE.isdisjoint(statuses):
            raise RoomNotPrivate(f"{self.jid} does not tell any more who is in it")

    def _is_ghost(self, occupant: Occupant) -> bool:
        bare = occupant.jid.bare
        if bare == self._own:
            return False
        return bare not in self._members or bare not in (self._acknowledged or ())


class SelfPing(enum.Enum):
    """Whether we are still in a room (XEP-0410 3.2)."""

    INSIDE = enum.auto()
    OUTSIDE = enum.auto()
    UNKNOWN = enum.auto()


def judge_self_ping(condition: str | None) -> SelfPing:
    """Judge the answer to a ping of our own nickname.

    Args:
        condition: Of the error that was answered, "" for a result, None for no answer.
    """
    if condition is None or condition.startswith("remote-server-"):
        return SelfPing.UNKNOWN
    still = ("", "service-unavailable", "feature-not-implemented", "item-not-found")
    return SelfPing.INSIDE if condition in still else SelfPing.OUTSIDE


def configure(form: Form, *, name: str = "") -> Form:
    """Fill in a room's form: private, whatever the service's defaults are.

    Args:
        form: As the room sent it.
        name: What people call the room.

    Raises:
        RoomNotPrivate: the service has no such rooms.
    """
    wanted = {
        f"{_FIELD}_membersonly": "1",
        f"{_FIELD}_whois": "anyone",
        f"{_FIELD}_publicroom": "0",
        f"{_FIELD}_persistentroom": "1",
        f"{_FIELD}_enablelogging": "0",
        f"{_FIELD}_moderatedroom": "0",
        f"{_FIELD}_passwordprotectedroom": "0",
        f"{_FIELD}_allowinvites": "0",
        f"{_FIELD}_changesubject": "0",
        f"{_FIELD}_roomname": name,
        f"{_FIELD}_enablearchiving": "1",  # Prosody's archive for those who were offline
        "mam": "1",  # ejabberd's
        "public_list": "0",
    }
    for required in ("membersonly", "whois", "publicroom"):
        if f"{_FIELD}_{required}" not in form.fields:
            raise RoomNotPrivate("this service has no private rooms")
    return Form(
        kind="submit",
        form_type=_CONFIG,
        fields={key: (value,) for key, value in wanted.items() if key in form.fields},
    )


def require_private(jid: str, info: Info) -> None:
    """Refuse a room that is not what a private room is; asked before entering and at each change.

    Raises:
        RoomNotPrivate: anybody may come, or nobody is told who is there.
    """
    if MUC not in info.features:
        raise RoomNotPrivate(f"{jid} is no room")
    missing = {"muc_membersonly", "muc_nonanonymous"} - info.features
    if missing or {"muc_open", "muc_semianonymous", "muc_public"} & info.features:
        raise RoomNotPrivate(f"{jid} is not for its members only, or hides who they are")


def _why(presence: OccupantPresence) -> Removal:
    if presence.destroyed:
        return Removal.DESTROYED
    for status, why in (
        (Status.BANNED, Removal.BANNED),
        (Status.AFFILIATION_LOST, Removal.NOT_A_MEMBER),
        (Status.MEMBERS_ONLY, Removal.NOT_A_MEMBER),
        (Status.SHUTDOWN, Removal.SERVICE),
        (Status.ERROR, Removal.SERVICE),
        (Status.KICKED, Removal.KICKED),
    ):
        if status in presence.statuses:
            return why
    return Removal.LEFT
