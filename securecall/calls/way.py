"""The way to the peer of one call: gathered, found, lost and found anew, and who could see it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

from securecall.calls.negotiation import Agreement
from securecall.errors import (
    CallFailed,
    ConnectFailed,
    EndReason,
    PeerVanished,
    SecurecallError,
    UsageError,
)
from securecall.media.description import Candidate, LocalIce
from securecall.policy import IpPrivacy, Policy
from securecall.transport.ice import IcePath
from securecall.transport.route import is_loopback, own_hosts
from securecall.transport.turn import IceHelpers
from securecall.transport.udp import UdpPath

RESTART_SECONDS: Final = 15.0
"""How long another way may be looked for once the one in use is gone for good."""

MOST_RELAYS: Final = 64
"""Relays that are named, after which no more of the peer's: a report has room for a hundred."""

_HELP_SECONDS: Final = 0.5  # for news of relays, when another way is looked for


class Way:
    """The socket of one call, and what ICE finds with it.

    Attributes:
        path: The socket, None before `open`.
        relays: Hosts of TURN servers that could have carried the media, ours and the peer's.
    """

    def __init__(
        self,
        policy: Policy,
        *,
        towards: str,
        outgoing: bool,
        acquainted: bool,
        helpers: Callable[[], Awaitable[IceHelpers]],
        heard: Callable[[], int],
        needed: Callable[[], bool],
        failed: Callable[[SecurecallError], None],
        gathered: Callable[[LocalIce], None],
    ) -> None:
        """Prepare; nothing is opened before `open`.

        Args:
            policy: Whether ICE may run, and who may learn our address.
            towards: The host we face, "" for anywhere.
            outgoing: We called.
            acquainted: The peer may know where we are.
            helpers: Says what helps to find a way.
            heard: How many packets came so far.
            needed: The way in use is gone, or seems to be; tells whether another is looked for.
            failed: Told when it is gone for good.
            gathered: Told of more candidates of ours, or that there are all.
        """
        self.path: UdpPath | IcePath | None = None
        self.relays: tuple[str, ...] = ()
        self._policy = policy
        self._towards = towards
        self._outgoing = outgoing
        self._acquainted = acquainted
        self._helpers = helpers
        self._heard = heard
        self._needed = needed
        self._failed = failed
        self._gathered = gathered
        self._hosts: tuple[str, ...] = ()  # ours that were gathered from last
        self._giving_up: asyncio.TimerHandle | None = None
        self._doubts = self._heard_at_doubt = 0
        self._over = False

    async def open(
        self,
        *,
        ice: bool,
        trickle: bool,
        dtls: Callable[[bytes], None],
        media: Callable[[bytes], None],
    ) -> tuple[tuple[str, int], LocalIce]:
        """Bind a socket and gather; returns our address, and what was found for ICE.

        Args:
            ice: Gather candidates. Where our address is hidden, a relay is asked anyway: whoever
                leaves ICE out of an offer would learn it otherwise.
            trickle: Do not wait for all of them; `gathered` is told of the rest.
            dtls: Takes the datagrams of the DTLS association.
            media: Takes those of RTP and RTCP.

        Raises:
            CallFailed: it was closed meanwhile; nothing is left open.
            ConnectFailed: no socket of ours can be bound, or no relay that the policy asks for.
        """
        own = await own_hosts(self._towards)
        helpers = await self._helpers() if self._policy.ice else IceHelpers()
        hidden = self._hidden(helpers)
        self._require_not_over()
        if ice or hidden:  # a relay serves peers without ICE, too
            path = IcePath(
                controlling=self._outgoing,
                stun_server=helpers.stun,
                turn_servers=helpers.turn,
                relay_only=hidden,
                on_lost=self._on_lost,
                on_doubt=self._on_doubt,
                on_gathered=self._on_gathered,
            )
            self.path, self._hosts = path, own
            _ = await path.gather(own, trickle=trickle)
            self.relays = path.relays
            found = path.gathered
        else:
            self.path = await UdpPath.open(own[-1])
            found = LocalIce(ufrag="", pwd="", candidates=())
        if self._over:
            await self.path.close()
        self._require_not_over()
        self.path.listen(dtls=dtls, media=media)
        return self.path.local, found

    def _require_not_over(self) -> None:
        if self._over:
            raise CallFailed("the call is over", reason=EndReason.HUNG_UP)

    def _hidden(self, helpers: IceHelpers) -> bool:
        """Whether the peer may learn the address of a relay alone.

        Raises:
            ConnectFailed: the policy wants that, and there is no relay.
        """
        wish = self._policy.ip_privacy
        if wish is IpPrivacy.RELAY and not helpers.turn:
            raise ConnectFailed(
                "no relay is known, and the policy hides our address (ip_privacy): give one with "
                "Client.use_relay(), or sign in to an XMPP server that names one"
            )
        if wish is IpPrivacy.RELAY:
            return True
        return wish is IpPrivacy.STRANGERS and not self._acquainted and bool(helpers.turn)

    async def connect(self, agreement: Agreement) -> None:
        """Reach the peer.

        Raises:
            ConnectFailed: it cannot be reached.
            ProtocolError: its credentials are malformed.
        """
        path = self.path
        self._note_relays(agreement.candidates)
        if isinstance(path, IcePath) and agreement.ice:
            await path.connect(
                agreement.ice_ufrag,
                agreement.ice_pwd,
                agreement.candidates,
                remote_lite=agreement.ice_lite,
            )
        elif path is not None:
            path.connect_plain(agreement.host, agreement.port)

    def send(self, datagram: bytes) -> None:
        """Send to the peer, once there is a socket."""
        if self.path is not None:
            self.path.send(datagram)

    # -- another way ------------------------------------------------------------------------------

    async def displaced(self) -> bool:
        """Whether our addresses are others than those that were gathered from last.

        While no way leads anywhere they are not: there is nothing that could be offered.
        """
        own = await own_hosts(self._towards)
        return own != self._hosts and (is_loopback(self._towards) or not is_loopback(own[0]))

    def _on_gathered(self, found: LocalIce) -> None:
        """More of ours was found; the report names every relay that has a place for us."""
        self._note_relays()
        self._gathered(found)

    def check_also(self, theirs: LocalIce) -> None:
        """Check further addresses of the peer's."""
        if isinstance(self.path, IcePath) and not self._over:
            self.path.trickled(theirs.ufrag, theirs.pwd, theirs.candidates)
            self._note_relays(theirs.candidates)

    async def regather(self, *, trickle: bool) -> LocalIce:
        """Gather candidates anew; what works goes on.

        Args:
            trickle: As of `open`.

        Raises:
            ConnectFailed: there are none.
            SecurityError: of a relay, as of `open`.
            UsageError: the way was not found by ICE.
        """
        path = self.path
        if not isinstance(path, IcePath) or self._over:
            raise UsageError("there is no way that could be changed")
        own = await own_hosts(self._towards)
        try:  # passwords of relays run out; but who tells may be out of reach now
            async with asyncio.timeout(_HELP_SECONDS):
                helpers = await self._helpers()
        except TimeoutError:
            helpers = IceHelpers()
        gathered = await path.regather(own, turn_servers=helpers.turn or None, trickle=trickle)
        self._hosts = own
        return gathered

    async def reconnect(self, agreement: Agreement) -> None:
        """Find the way that offer and answer describe now, and use it.

        Raises:
            ConnectFailed: none works; what worked before still does.
            ProtocolError: the peer's credentials are malformed.
        """
        path = self.path
        if not isinstance(path, IcePath) or self._over:
            return
        await path.reconnect(
            agreement.ice_ufrag,
            agreement.ice_pwd,
            agreement.candidates,
            remote_lite=agreement.ice_lite,
        )
        self._note_relays(agreement.candidates)
        if self._giving_up is not None:
            self._giving_up.cancel()
            self._giving_up = None

    def _on_lost(self, reason: str) -> None:
        if self._over or self._giving_up is not None:
            return
        error = PeerVanished(f"the way to the peer is gone ({reason})")
        if self._needed():
            later = asyncio.get_running_loop().call_later
            self._giving_up = later(RESTART_SECONDS, self._failed, error)
        else:
            self._failed(error)

    def _on_doubt(self) -> None:
        """A check was not answered: where nothing else was heard either, do not wait for the end.

        The caller begins, so that both do not meet; a callee whose caller cannot comes later.
        """
        heard = self._heard()
        self._doubts = 1 if heard != self._heard_at_doubt else self._doubts + 1
        self._heard_at_doubt = heard
        if self._doubts == (2 if self._outgoing else 4):
            _ = self._needed()

    def _note_relays(self, theirs: Iterable[Candidate] = ()) -> None:
        """Remember ours, and the peer's, who may name ever new ones, while there is room."""
        names = dict.fromkeys(self.relays)
        if isinstance(self.path, IcePath):
            names |= dict.fromkeys(self.path.relays)
        for candidate in theirs:
            if candidate.type == "relay" and len(names) < MOST_RELAYS:
                names[candidate.host] = None
        self.relays = tuple(names)

    def give_up(self) -> None:
        """Look for no other way any more; what is sent still leaves."""
        self._over = True
        if self._giving_up is not None:
            self._giving_up.cancel()

    async def close(self) -> None:
        """Close the socket."""
        if self.path is not None:
            await self.path.close()
