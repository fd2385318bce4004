"""H2 to H6: the identity handshake over a bad network, and with peers that speak it otherwise."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

from securecall.errors import CallFailed, SecurityError
from securecall.keys.device import DeviceKey
from securecall.keys.inner_tls import InnerTls
from securecall.testing.attacks import words
from securecall.testing.attacks.careless import any_certificate, payload, speech
from securecall.testing.attacks.outcome import Attack, Outcome, control, named, ours
from securecall.testing.attacks.stage import stage
from securecall.testing.bare_dtls import (
    NO_EXTENDED_MASTER_SECRET,
    BareLink,
    BarePeer,
    MakeBare,
    bare_links,
)
from securecall.testing.bare_tls import TLS_1_2, BareTls
from securecall.testing.classify import Kind, classify
from securecall.testing.evil_link import Inner
from securecall.testing.evil_provider import Mode
from securecall.transport.suite import ORDINARY

_PROTOCOL: Final = ORDINARY.protocol.encode()

Network = Callable[[bytes, random.Random], tuple[bytes, ...]]


def _flip(datagram: bytes, chance: random.Random) -> tuple[bytes, ...]:
    at = chance.randrange(len(datagram))
    return (bytes((*datagram[:at], datagram[at] ^ 1 << chance.randrange(8), *datagram[at + 1 :])),)


# What the network does to each datagram of DTLS, now and then.
_ROUGH: Final[dict[str, Network]] = {
    "one in five lost": lambda d, c: () if c.random() < 0.2 else (d,),
    "all of them twice": lambda d, _: (d, d),
    "bits flipped in one of four": lambda d, c: _flip(d, c) if c.random() < 0.25 else (d,),
    "cut in half, one of five": lambda d, c: (d[: len(d) // 2],) if c.random() < 0.2 else (d,),
    "noise beside each": lambda d, c: (bytes((22,)) + c.randbytes(60), d, c.randbytes(40)),
}


async def _taken_as_it_comes(folder: Path) -> Outcome:  # noqa: ARG001
    """Plain RTP: what was flipped on its way is heard as it came."""
    sent = speech()[1]
    flipped = bytes((*sent[:-1], sent[-1] ^ 1))
    outcome = Outcome(got="plain RTP takes flipped bits for what was said")
    outcome.demand(payload(flipped) != payload(sent), "nothing changed")
    return outcome


async def _rough(network: Network, folder: Path) -> Outcome:
    """It completes, or ends both ends with a typed error; in either case in time."""
    chance = random.Random(1)  # noqa: S311 - so that a failure comes again
    async with stage(folder, mode=Mode.TAP) as s:

        def meddle(datagram: bytes, _from_caller: bool) -> tuple[bytes, ...]:  # noqa: FBT001
            rough = classify(datagram) is Kind.DTLS
            return tuple(network(datagram, chance)) if rough else (datagram,)

        def arm(sdp: str, _to_callee: bool) -> str:  # noqa: FBT001 - an SdpTamper
            s.mallory.last_media.edit = meddle
            return sdp

        s.mallory.tamper_sdp.append(arm)
        _ = await s.dial(seconds=0.1)
        if s.error is None:
            outcome = s.went_on()
            outcome.got = "complete, end to end"
        else:
            outcome = s.refused()
            typed = isinstance(s.error, SecurityError | CallFailed)
            outcome.demand(typed, f"the error is {s.error!r}")
    return outcome


H2: Final[Attack] = (
    control("a receiver of plain RTP", _taken_as_it_comes),
    *(ours(what, partial(_rough, network)) for what, network in _ROUGH.items()),
)

# -- H3 -------------------------------------------------------------------------------------------


_OTHERWISE: Final[dict[str, partial[BareTls]]] = {
    "X25519 alone": partial(BareTls, groups="X25519"),
    "P-256 with ML-KEM": partial(BareTls, groups="SecP256r1MLKEM768"),
    "another cipher": partial(BareTls, ciphers="TLS_CHACHA20_POLY1305_SHA256"),
    "TLS 1.2": partial(BareTls, version=TLS_1_2, groups="X25519"),
    "no protocol named": partial(BareTls, alpn=""),
    "another protocol": partial(BareTls, alpn="securecall-id/2"),
    "no certificate": partial(BareTls, show=False),
}


async def _two_bare(folder: Path) -> Outcome:  # noqa: ARG001
    """Ends that look at nothing agree on any of these."""
    outcome, agreed = Outcome(), 0
    for what in ("X25519 alone", "TLS 1.2", "another cipher", "another protocol"):
        one, other = _OTHERWISE[what](client=True), _OTHERWISE[what](client=False)
        up, down = one.receive(b""), b""
        for _ in range(6):
            down, up = other.receive(up), b""
            up = one.receive(down)
        outcome.demand(one.done and other.done, f"{what}: not agreed")
        agreed += one.done and other.done
    outcome.got = f"ends that look at nothing agree on {agreed} of these"
    return outcome


async def _less(make: partial[BareTls], folder: Path) -> Outcome:  # noqa: ARG001
    outcome, refusals = Outcome(), list[str]()
    for client in (True, False):
        ours_end = InnerTls(client=client, device=DeviceKey.generate("phone"))
        bare = make(client=not client)
        up, down, error = ours_end.start(), bare.receive(b""), None
        for _ in range(6):
            if down and error is None:
                try:
                    _ = ours_end.receive(down)
                except SecurityError as e:
                    error = e
                up += ours_end.outgoing()
            down, up = (bare.receive(up) if up else b""), b""
        side = "client" if client else "server"
        outcome.demand(not ours_end.established, f"as {side}: established")
        outcome.demand(error or bare.error, f"as {side}: nobody refused")
        if error is not None:
            refusals.append(named(error))
    outcome.refusals = tuple(dict.fromkeys(refusals)) or ("refused by its own TLS",)
    outcome.ended = True
    return outcome


H3: Final[Attack] = (
    control("ends that look at nothing", _two_bare),
    *(ours(what, partial(_less, make)) for what, make in _OTHERWISE.items()),
)

# -- H4 -------------------------------------------------------------------------------------------


class _Babbler(BarePeer):
    """Chooses the identity handshake, and says something else in it."""

    _said = False

    def receive(self, datagram: bytes, now: float = 0.0) -> list[bytes]:
        out = super().receive(datagram, now)
        if self.done and not self._said:
            self._said = True
            out += self.send(bytes(range(1, 200)))
        return out


_GARBAGE: Final[dict[str, MakeBare]] = {
    "another protocol than was offered": partial(BarePeer, answer=b"garbage"),
    "no extended master secret": partial(
        BarePeer, alpn=[_PROTOCOL], options=NO_EXTENDED_MASTER_SECRET
    ),
    "a weaker SRTP under the identity protocol": partial(
        BarePeer, alpn=[_PROTOCOL], srtp=b"SRTP_AES128_CM_SHA1_80"
    ),
    "messages that are none": partial(_Babbler, alpn=[_PROTOCOL], srtp=b"SRTP_AEAD_AES_256_GCM"),
}


async def _garbage(make: MakeBare, folder: Path) -> Outcome:
    async with stage(folder, mode=Mode.SWAP) as s:
        made: list[BareLink] = []
        s.mallory.link = bare_links(made, make)
        _ = await s.dial()
        outcome = s.refused()
        outcome.demand(isinstance(s.error, SecurityError), f"the error is {s.error!r}")
        # one DTLS on each leg: nobody came again asking for less
        outcome.demand(len(made) == 2, f"{len(made)} associations")
    return outcome


H4: Final[Attack] = (
    control("ends that take what comes", any_certificate),
    *(ours(what, partial(_garbage, make)) for what, make in _GARBAGE.items()),
)

# -- H6 -------------------------------------------------------------------------------------------


async def _met(folder: Path, *, acquainted: bool) -> Outcome:
    """She plays the callee with a key of hers; what she gets to see of the caller."""
    async with stage(folder, acquainted=acquainted, mode=Mode.SWAP, inner=Inner.IMPERSONATE) as s:
        _ = await s.dial(seconds=0.1)
        alice = s.alice.client.contacts.root_fp
        seen = [claim for claim in s.mallory.self_.met if claim.root_fp == alice]
        if acquainted:
            outcome = s.refused()
            outcome.demand(not seen, "she saw the caller's statement")
            outcome.got = "she was refused before the caller showed who calls"
        else:
            outcome = s.ended()
            outcome.demand(seen, "not even a stranger's statement is shown to her")
            outcome.got = "whoever takes anybody for the callee shows her who calls"
    return outcome


H6: Final[Attack] = (
    control("a caller who knows no key of the callee", partial(_met, acquainted=False)),
    ours("a caller who does", partial(_met, acquainted=True)),
)

# -- H5 -------------------------------------------------------------------------------------------


async def _steered(folder: Path) -> Outcome:  # noqa: ARG001
    """The early design: both fields are shown openly, and who speaks last has seen all."""
    best = words.best_of(*[words.broken_leg_events(mallory_speaks_last=True)] * 2)
    outcome = Outcome(got=f"she makes the words equal with probability {best}")
    outcome.demand(best == 1, "she does not")
    return outcome


async def _one_guess(folder: Path) -> Outcome:  # noqa: ARG001
    """All orders of messages, all roles, a string of 8 bits: never better than a guess."""
    outcome, orders = Outcome(), 0
    for alice_is_client, bob_is_client in words.ROLE_PAIRS:
        legs = words.legs(alice_is_client=alice_is_client, bob_is_client=bob_is_client)
        for order in words.interleavings(*legs):
            orders += 1
            chance = words.best_chance(order)
            outcome.demand(chance * words.SIZE == 1, f"an order with {chance}")
    outcome.demand(orders == 80, f"{orders} orders")
    outcome.got = f"in {orders} orders exactly one guess of {words.SIZE}; of 2^33 with our words"
    return outcome


H5: Final[Attack] = (
    control("the last speaker chooses after seeing all", _steered),
    ours("every order and role, exhaustively", _one_guess),
)
