"""Whether somebody can be called, and by which network."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from securecall.address import Address, Scheme
from securecall.xmpp.capabilities import Info
from securecall.xmpp.identity import IDENTITY as IDENTITY

JINGLE: Final = "urn:xmpp:jingle:1"
AUDIO: Final = "urn:xmpp:jingle:apps:rtp:audio"
VIDEO: Final = "urn:xmpp:jingle:apps:rtp:video"
RTP: Final = "urn:xmpp:jingle:apps:rtp:1"
ICE: Final = "urn:xmpp:jingle:transports:ice-udp:1"
DTLS: Final = "urn:xmpp:jingle:apps:dtls:0"
PROPOSALS: Final = "urn:xmpp:jingle-message:0"
_NEEDED: Final = frozenset({JINGLE, RTP, AUDIO, ICE, DTLS})


class Network(enum.StrEnum):
    """By which network a call can be placed."""

    XMPP = "xmpp"
    SIP = "sip"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reachability:
    """How somebody can be called; what their clients say of themselves, so only a hint.

    Attributes:
        network: XMPP where a connection of theirs can take calls now, else SIP where they have
            such an address, else NONE.
        connections: Full JIDs that can take calls, for XMPP.
        sip: Their SIP address, None where the card has none.
        video: One of the connections takes video as well.
        proposals: One rings by Jingle Message Initiation, so all of them may be rung (XEP-0353).
        identity: One knows our identity statements; it says nothing about who they are.
    """

    network: Network
    connections: tuple[str, ...] = ()
    sip: Address | None = None
    video: bool = False
    proposals: bool = False
    identity: bool = False


def reachability(addresses: Iterable[Address], there: Mapping[str, Info | None]) -> Reachability:
    """Join a person's card with what their connections can do.

    Args:
        addresses: On the card.
        there: Full JID -> what that connection can do, None where it is not known (yet).
    """
    sip = next((address for address in addresses if address.scheme is Scheme.SIP), None)
    able = {jid: info for jid, info in there.items() if info is not None}
    callable_ = {jid: info for jid, info in able.items() if info.features >= _NEEDED}
    network = Network.XMPP if callable_ else Network.SIP if sip is not None else Network.NONE
    return Reachability(
        network=network,
        connections=tuple(callable_),
        sip=sip,
        video=any(VIDEO in info.features for info in callable_.values()),
        proposals=any(PROPOSALS in info.features for info in callable_.values()),
        identity=any({IDENTITY, f"{IDENTITY}+notify"} & info.features for info in able.values()),
    )
