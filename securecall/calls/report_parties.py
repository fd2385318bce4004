"""Who takes part in a call and what each could have done with what was said, from evidence alone.

`parties_of` is the one place where that is decided. It never says less than the evidence leaves
open: only proof of a known key, in a call without a gateway, clears whoever stands in between.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from securecall.address import ANONYMOUS, Address
from securecall.calls.signaling import SignalingPath
from securecall.keys.trust_record import How, TrustState
from securecall.media.description import Keying, Kind
from securecall.policy import UNSECURED, SecurityLevel, SecurityState
from securecall.transport.endpoint import host_of


class Capability(enum.StrEnum):
    """What a party could have done with the media, strongest first."""

    HELD_KEY = "held the key"
    LET_IN = "could hear it through this device"
    COULD_SUBSTITUTE = "could have substituted a key"
    METADATA = "saw metadata only"
    NOTHING = "nothing"


class Role(enum.StrEnum):
    """What a party is to the call."""

    YOU = "you"
    PEER = "peer"
    CONFERENCE = "conference"
    OWN_PROVIDER = "own-provider"
    PEER_PROVIDER = "peer-provider"
    PROXY = "proxy"
    RELAY = "relay"
    GATEWAY = "gateway"
    ORGANISATION = "organisation"
    DIRECTORY = "directory"
    PAGE = "page"
    TICKET = "ticket-channel"
    FIRST_CALL = "first-call"
    NETWORK = "network"


PHONE_NETWORK = "the phone network"
SERVERS = frozenset({Role.OWN_PROVIDER, Role.PEER_PROVIDER, Role.PROXY})


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportParty:
    """One party and what it could have done.

    Attributes:
        role: What it is to the call.
        name: Who; untrusted where it came off the wire.
        capability: The strongest that applies.
        why: Plain sentences.
    """

    role: Role
    name: str
    capability: Capability
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A stretch of the call at one level, of one medium.

    Attributes:
        since: Seconds from the beginning of the call.
        security: The snapshot that held from then on.
        passed: The gate let the medium through, at least for a while.
        medium: Which.
    """

    since: float
    security: SecurityState = UNSECURED
    passed: bool = False
    medium: Kind = Kind.AUDIO


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """Everything that stood between the ends; with the evidence, all that parties come from.

    Attributes:
        peer: The peer's address for people.
        protocol, transport: Of the signalling, "" if none left this machine.
        direct: Straight to the peer, no server in between.
        server: The name our next hop proved, or its "ip:port" where it had none to prove.
        hops: Other hosts named by Via and Record-Route: claims, not proofs.
        own_domain, peer_domain: Hosts of the two addresses, "" for a key or an anonymous caller.
        ticket: "link" or "qr" for how the ticket of our call travelled, "bearer" where the caller
            brought one of ours, "" without one.
        mixed_with: People of other calls that heard this one in a conference of ours.
        relays: TURN servers that carried the media.
        gateways: What led into the telephone network, or another known focus.
        page: The origin of the web page the peer talked through, "" for a program.
    """

    peer: str
    protocol: str = ""
    transport: str = ""
    direct: bool = False
    server: str = ""
    hops: tuple[str, ...] = ()
    own_domain: str = ""
    peer_domain: str = ""
    ticket: str = ""
    mixed_with: tuple[str, ...] = ()
    relays: tuple[str, ...] = ()
    gateways: tuple[str, ...] = ()
    page: str = ""


def way_of(
    *,
    peer: str,
    path: SignalingPath | None,
    own: Address | None = None,
    other: Address | None = None,
    ticket: str = "",
    mixed_with: tuple[str, ...] = (),
    relays: tuple[str, ...] = (),
    gateway: bool = False,
) -> Way:
    """Read the way off the path of the signalling.

    Args:
        peer: The peer's address for people.
        path: None if nothing left this machine.
        own: Our address as signalled.
        other: The peer's.
        ticket: As in `Way`.
        mixed_with: As in `Way`.
        relays: As in `Way`.
        gateway: A telephone gateway takes part.
    """
    gateways = (PHONE_NETWORK,) if gateway else ()
    if path is None:
        return Way(
            peer=peer, ticket=ticket, mixed_with=mixed_with, relays=relays, gateways=gateways
        )
    here = host_of(path.remote)  # by its address the next hop again
    hops = (hop.strip("[]") for hop in path.hops)
    return Way(
        peer=peer,
        protocol=path.protocol,
        transport=path.transport,
        direct=path.direct,
        server="" if path.direct else path.verified_name or path.remote,
        hops=tuple(dict.fromkeys(hop for hop in hops if hop != here)),
        own_domain=_domain(own),
        peer_domain=_domain(other),
        ticket=ticket,
        mixed_with=mixed_with,
        relays=relays,
        gateways=gateways,
    )


def _domain(address: Address | None) -> str:
    return "" if address is None or address == ANONYMOUS else address.host


def parties_over(way: Way, intervals: Sequence[Interval]) -> tuple[tuple[ReportParty, ...], ...]:
    """List the parties of every stretch of a call, each judged by the last word on its keys.

    Words that were compared, or differed, tell of the keys since they were made, not only of what
    came after: so a stretch is judged by the last one of its medium with the same keys.
    """
    last = {_keys(interval): interval.security for interval in intervals}
    return tuple(parties_of(way, replace(i, security=last[_keys(i)])) for i in intervals)


def _keys(interval: Interval) -> tuple[object, ...]:
    """What stays the same as long as the keys do; a new association is refused in mid-call."""
    security, identity = interval.security, interval.security.identity
    who = (identity.root_fp, identity.device_id, identity.group) if identity is not None else ()
    return (interval.medium, security.keying, security.srtp_profile, *who)


def parties_of(way: Way, interval: Interval) -> tuple[ReportParty, ...]:
    """List the parties of a stretch of a call and what each could have done, strongest first."""
    security = interval.security if has_keys(interval) else None
    found = [
        *_ends(way, security),
        *_servers(way, security),
        *_media(way, security),
        *_vouching(way, security),
        _network(way, security),
    ]
    order = list(Capability)
    return tuple(sorted(found, key=lambda p: order.index(p.capability)))


def strongest(parties: Iterable[ReportParty]) -> tuple[ReportParty, ...]:
    """Keep of every party the strongest it could have done, strongest first."""
    order = list(Capability)
    kept: dict[tuple[Role, str], ReportParty] = {}
    for party in sorted(parties, key=lambda p: order.index(p.capability)):
        _ = kept.setdefault((party.role, party.name), party)
    return tuple(kept.values())


def has_keys(interval: Interval) -> bool:
    """There were keys, or something passed without any."""
    return interval.passed or interval.security.keying is not Keying.NONE


def is_closed(way: Way, security: SecurityState) -> bool:
    """Nobody in between could have had a key: a known key was proved past all of them.

    The level alone does not say so, nor the evidence alone: both have to.
    """
    identity = security.identity
    if identity is None or identity.stale or way.gateways:
        return False
    known = identity.trust in (TrustState.PINNED, TrustState.VERIFIED) or security.sas_confirmed
    return known and security.keying is Keying.DTLS_SRTP and security.level >= SecurityLevel.E2EE


_NO_KEYS = "No keys were made, and no sound was sent."
_OPEN = "The sound was not locked, so no key was needed to listen."
_RELAY_SAW = "It saw when, how much, and between which addresses."
_WORDS = "Comparing the words of a call rules this out."
_PROVED = {
    SecurityLevel.VERIFIED: "It proved the key that you checked.",
    SecurityLevel.E2EE: "It proved the key that you know for this person.",
    SecurityLevel.OPPORTUNISTIC: "It proved a key, but nobody has checked yet whose key it is.",
}


def _ends(way: Way, security: SecurityState | None) -> Iterator[ReportParty]:
    could, ours, theirs = Capability.NOTHING, _NO_KEYS, _NO_KEYS
    if security is not None:
        could, ours = Capability.HELD_KEY, "Your device made the keys."
        theirs = _PROVED.get(security.level, "It did not prove who it is.")
        if security.keying is Keying.NONE:
            ours = theirs = _OPEN
    yield ReportParty(role=Role.YOU, name="this device", capability=could, why=ours)
    yield ReportParty(role=Role.PEER, name=way.peer, capability=could, why=theirs)
    for name in way.mixed_with:
        yield ReportParty(
            role=Role.CONFERENCE,
            name=name,
            capability=Capability.LET_IN,
            why="You joined this call with theirs. The report of that call says who else could "
            "hear.",
        )


def _servers(way: Way, security: SecurityState | None) -> Iterator[ReportParty]:
    if way.direct or not (way.server or way.hops or way.protocol):
        return
    could, why = _server(way, security)
    named: dict[str, Role] = {way.server: Role.OWN_PROVIDER} if way.server else {}
    for hop in way.hops:
        _ = named.setdefault(hop, _role_of(hop, way))
    foreign = way.peer_domain not in ("", way.own_domain, way.server)
    if foreign and Role.PEER_PROVIDER not in named.values():
        named[way.peer_domain] = Role.PEER_PROVIDER
    for name, role in named.items():
        both = role is Role.OWN_PROVIDER and way.peer_domain and not foreign
        extra = " It serves both of you." if both else ""
        opens = role is Role.OWN_PROVIDER and way.gateways and _is_locked(security)
        held, said = _TO_PHONES if opens else (could, why)
        yield ReportParty(role=role, name=name, capability=held, why=said + extra)


_TO_PHONES = (
    Capability.HELD_KEY,
    "It leads the call into the phone network, and unlocks the sound for that.",
)


def _is_locked(security: SecurityState | None) -> bool:
    return security is not None and security.keying is not Keying.NONE


def _role_of(hop: str, way: Way) -> Role:
    if _within(hop, way.own_domain):
        return Role.OWN_PROVIDER
    return Role.PEER_PROVIDER if _within(hop, way.peer_domain) else Role.PROXY


def _within(host: str, domain: str) -> bool:
    return bool(domain) and (host == domain or host.endswith("." + domain))


def _server(way: Way, security: SecurityState | None) -> tuple[Capability, str]:
    if security is None:
        return Capability.METADATA, "No keys were made. It saw who called whom."
    if security.keying is Keying.NONE:
        return Capability.HELD_KEY, _OPEN
    if security.keying is Keying.SDES:
        return Capability.HELD_KEY, "The keys passed through it in the open."
    if is_closed(way, security):
        return (
            Capability.METADATA,
            "Both ends proved their keys to each other past it. It saw who called whom, when, and "
            "for how long.",
        )
    if security.identity is None:
        return (
            Capability.COULD_SUBSTITUTE,
            "It carried the only proof of the keys. Nothing else backs that proof.",
        )
    return (
        Capability.COULD_SUBSTITUTE,
        f"It could have put a key of its own in between. {_WORDS}",
    )


def _relay(way: Way, security: SecurityState | None) -> tuple[Capability, str]:
    if security is None:
        return Capability.METADATA, "No sound was sent through it."
    if security.keying is Keying.NONE:
        return Capability.HELD_KEY, _OPEN
    if security.keying is Keying.SDES:  # it carries media alone, and the keys went apart
        return Capability.METADATA, (
            "It passed on locked sound; the keys went by the servers of the call, not by it. "
            f"{_RELAY_SAW}"
        )
    if is_closed(way, security):
        return Capability.METADATA, f"It could pass on locked sound, no more. {_RELAY_SAW}"
    return (
        Capability.COULD_SUBSTITUTE,
        f"With the help of a server it could have put a key of its own in. {_WORDS}",
    )


def _media(way: Way, security: SecurityState | None) -> Iterator[ReportParty]:
    """What carries, opens or makes the media."""
    could, why = _relay(way, security)
    for name in way.relays:
        yield ReportParty(role=Role.RELAY, name=name, capability=could, why=why)
    for name in way.gateways:
        could, why = Capability.METADATA, "No keys were made. It saw who called whom."
        if security is not None:
            could = Capability.HELD_KEY
            why = "It unlocks the sound for the phone network, which can hear it as well."
        yield ReportParty(role=Role.GATEWAY, name=name, capability=could, why=why)
    if way.page:
        could, why = Capability.METADATA, "No keys were made. It saw that the page was opened."
        if security is not None:
            could = Capability.COULD_SUBSTITUTE
            why = (
                "It sends the program that the other side runs in a browser. A changed program "
                "could give the key away."
            )
            if security.keying is Keying.NONE:
                could, why = Capability.HELD_KEY, _OPEN
        yield ReportParty(role=Role.PAGE, name=way.page, capability=could, why=why)


def _vouching(way: Way, security: SecurityState | None) -> Iterator[ReportParty]:
    """On whose word the key is believed, as long as nobody compared anything."""
    identity = security.identity if security is not None else None
    if security is None or security.sas_confirmed or identity is None:
        return
    if identity.trust is TrustState.VERIFIED or security.keying is Keying.NONE:
        return
    how = identity.how if identity.trust is TrustState.PINNED else ""
    ticket = way.ticket if way.ticket in _TICKETS else how
    if ticket in _TICKETS:
        yield ReportParty(
            role=Role.TICKET,
            name="whatever carried the ticket to the caller",
            capability=Capability.COULD_SUBSTITUTE,
            why=f"{_TICKETS[ticket]} {_WORDS}",
        )
    if identity.trust is not TrustState.PINNED or how in _TICKETS or how in _OWN_WORD:
        return
    role, why = _VOUCHERS.get(how, (Role.FIRST_CALL, _FIRST))
    named = identity.organisation if role is Role.ORGANISATION else ""
    yield ReportParty(
        role=role,
        name=_FIRST_NAME if role is Role.FIRST_CALL else named or way.peer_domain or "unknown",
        capability=Capability.COULD_SUBSTITUTE,
        why=f"{why} {_WORDS}",
    )


_TICKETS = {
    How.LINK.value: "Whoever could change the ticket on its way could have put in a key.",
    How.BEARER.value: "Whoever could read the ticket on its way could have used it first.",
}
# The user had the key in hand. Whatever else a key rests on came by way of servers in the end.
_OWN_WORD = frozenset(
    {How.CONTACT.value, How.IMPORT.value, How.QR.value, How.DIGITS.value, How.SAS.value}
)
_FIRST_NAME = "the servers of your first call with this contact"
_FIRST = "They could have put in a key of their own back then, and stayed in between since."
_VOUCHERS = {
    How.FIRST_CALL.value: (Role.FIRST_CALL, _FIRST),
    How.CARD.value: (
        Role.FIRST_CALL,
        "The key is that of another address of this contact, and as good as it was there.",
    ),
    How.DIRECTORY.value: (
        Role.DIRECTORY,
        "You got the key from there. It could have given you a key of its own.",
    ),
    How.ORGANISATION.value: (
        Role.ORGANISATION,
        "You trust its word about whose key this is. It could have named a key of its own.",
    ),
}


def _network(way: Way, security: SecurityState | None) -> ReportParty:
    could = Capability.METADATA
    if security is None:
        why = "No keys were made. They saw who talked to whom."
    elif security.keying is Keying.NONE:
        could, why = Capability.HELD_KEY, _OPEN
    elif is_closed(way, security):
        why = (
            "The sound was locked with keys that only the two ends held. They saw who talked to "
            "whom, when, and for how long."
        )
    elif way.direct:
        could = Capability.COULD_SUBSTITUTE
        why = f"Nothing backs the first connection. {_WORDS}"
    else:
        could = Capability.COULD_SUBSTITUTE
        why = (
            "Your own line to the server was locked. Nobody here knows about the lines after it, "
            "and nothing else backs the keys."
        )
    return ReportParty(
        role=Role.NETWORK,
        name="internet providers and Wi-Fi on the way",
        capability=could,
        why=why,
    )
