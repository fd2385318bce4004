"""Signalling inside one process: endpoints on a bus, and a hook that may alter every signal."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import replace

from securecall.address import Address
from securecall.calls.signaling import (
    DigitsWelcome,
    Ended,
    IncomingLeg,
    Offered,
    Route,
    Signal,
    SignalBuffer,
    SignalingPath,
    SignalSink,
    TransferProgress,
    TransferRequested,
)
from securecall.errors import EndReason, Unreachable
from securecall.media.description import Description

Mutation = Callable[[Signal, str], Signal | None]
"""Given a signal and who sent it ("caller" or "callee"): what arrives, or None for nothing."""


def unchanged(signal: Signal, sender: str) -> Signal:  # noqa: ARG001 - a Mutation
    """Pass every signal on as it is."""
    return signal


class BusLeg:
    """One end of a call on the bus."""

    def __init__(
        self,
        bus: SignalBus,
        call_id: str,
        *,
        outgoing: bool,
        local: Address,
        remote: Address,
        offer: Description | None = None,
        identity: tuple[str, ...] = (),
    ) -> None:
        """Made by the bus."""
        self.identity = identity
        self.telephone = False
        self.call_id = call_id
        self.outgoing = outgoing
        self.local = local
        self.remote = remote
        self.offer = offer
        self.other: BusLeg | None = None
        self.over = False
        self.replaced: BusLeg | None = None
        self._bus = bus
        self._buffer = SignalBuffer()

    @property
    def path(self) -> SignalingPath:
        """As configured on the bus."""
        return self._bus.path

    @property
    def replaces(self) -> str:
        """Names the call."""
        return self.call_id

    def listen(self, sink: SignalSink) -> None:
        """Deliver signals to `sink`."""
        self._buffer.listen(sink)

    def send(self, signal: Signal) -> None:
        """Hand a signal to the other end, through the hook, on the next turn of the loop."""
        if self.over or isinstance(signal, DigitsWelcome):  # said to the leg itself
            return
        if isinstance(signal, Ended):
            self.over = True
        asyncio.get_running_loop().call_soon(self._carry, signal)

    def inject(self, signal: Signal) -> None:
        """Deliver a signal to this end as if the other had sent it."""
        self._buffer.deliver(signal)

    async def closed(self) -> None:
        """Return once everything queued was carried."""
        await asyncio.sleep(0)

    def _carry(self, signal: Signal) -> None:
        arriving = self._bus.mutate(signal, "caller" if self.outgoing else "callee")
        if arriving is None or self.other is None or self.other.over:
            return
        if isinstance(arriving, Ended):
            self.other.over = True
        elif isinstance(arriving, TransferRequested):
            arriving = replace(arriving, number=1)  # whoever asks waits
        elif isinstance(arriving, TransferProgress):
            arriving = replace(arriving, number=0)
        self.other.inject(arriving)


class SignalBus:
    """Connects `BusSignaling` endpoints by address.

    Attributes:
        mutate: Every signal passes through it.
        path: What both ends are told of the way.
        legs: Every leg there was, in order of making: caller, callee, caller, ..
    """

    def __init__(self, *, path: SignalingPath | None = None, mutate: Mutation = unchanged) -> None:
        """Begin without endpoints."""
        self.mutate = mutate
        self.path = path or SignalingPath(
            protocol="bus", transport="memory", direct=False, verified_name="bus.example"
        )
        self.legs: list[BusLeg] = []
        self._endpoints: dict[Address, BusSignaling] = {}

    def endpoint(self, address: Address) -> BusSignaling:
        """Make the signalling of one address."""
        self._endpoints[address] = made = BusSignaling(self, address)
        return made

    def connect(self, caller: Address, route: Route, offer: Description) -> BusLeg:
        """Carry an invitation.

        Raises:
            Unreachable: nobody listens at that address.
        """
        callee = self._endpoints.get(route.target)
        if callee is None or callee.sink is None:
            raise Unreachable(f"nobody is at {route.target.short}", reason=EndReason.NOT_FOUND)
        call_id = secrets.token_hex(8)
        ours = BusLeg(self, call_id, outgoing=True, local=caller, remote=route.target)
        arriving = self.mutate(Offered(offer), "caller")
        theirs = BusLeg(
            self,
            call_id,
            outgoing=False,
            local=route.target,
            remote=caller,
            offer=arriving.description if isinstance(arriving, Offered) else None,
            identity=(route.identity,) if route.identity else (),
        )
        ours.other, theirs.other = theirs, ours
        named = (leg for leg in self.legs if route.replaces and leg.call_id == route.replaces)
        theirs.replaced = next((leg for leg in named if leg.local == route.target), None)
        self.legs += [ours, theirs]
        asyncio.get_running_loop().call_soon(callee.sink, theirs)
        return ours


class BusSignaling:
    """One account on the bus."""

    server = None
    listening = None

    def __init__(self, bus: SignalBus, address: Address) -> None:
        """Made by the bus."""
        self.sink: Callable[[IncomingLeg], None] | None = None
        self._bus = bus
        self._address = address

    async def dial(self, route: Route, offer: Description) -> BusLeg:
        """Call another address of the bus."""
        return self._bus.connect(self._address, route, offer)

    def on_incoming(self, sink: Callable[[IncomingLeg], None]) -> None:
        """Deliver calls to `sink`."""
        self.sink = sink

    async def close(self) -> None:
        """Nothing to close."""


__all__ = ["BusLeg", "BusSignaling", "Mutation", "SignalBus", "unchanged"]
