"""CPU milliseconds to set up the media of a call, both ends in this process.

`setup_cpu_ms`: what an aiortc peer connection does too (a fresh certificate, offer and answer as
SDP text, ICE over loopback, DTLS with SRTP keys, until media may flow at both ends), and the
identity handshake on top, which no peer has. `plain_cpu_ms`: the same without it, which is what
aiortc does. `keys_cpu_ms`: certificates, DTLS and the identity handshake alone, over a simulated
link. Key stores, SIP and TLS to a server are in none.
"""

from __future__ import annotations

import asyncio
import statistics
import time

from securecall.calls.connection import ConnectionEvents, MediaConnection
from securecall.calls.link import LinkIdentity
from securecall.calls.negotiation import build_answer, build_offer, read_answer
from securecall.errors import SecurecallError
from securecall.media.engine import Clock
from securecall.policy import Gate, Policy
from securecall.sip.sdp import build_description, parse_description
from tests.bench.measure import answer
from tests.pairs.keys.link import Link, Person, accept_all, make_pair

ROUNDS, WARM = 25, 5


class End:
    """One end of a call, from an unbound socket to media."""

    def __init__(self, person: Person, peer: Person, *, outgoing: bool, plain: bool) -> None:
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        events = ConnectionEvents(
            secured=self._secured,
            failed=self._failed,
            guess_burned=lambda: None,
            sound_failed=lambda error: None,
            peer_said=lambda said: None,
        )
        identity = LinkIdentity(
            statement=person.statement,
            device=person.device,
            root_fp=person.root.fingerprint,
            own_address=person.address,
            expected_peer=peer.address,
            judge=accept_all,
        )
        self.connection = MediaConnection(
            events,
            policy=Policy(),
            identity=None if plain else identity,
            strict=not plain,
            clock=Clock.running(),
            towards="127.0.0.1",
            outgoing=outgoing,
        )

    def _secured(self, result: object, profile: str) -> None:
        assert profile == "SRTP_AEAD_AES_256_GCM"
        self.connection.gate = Gate.OPEN
        self.ready.set_result(None)

    def _failed(self, error: SecurecallError) -> None:
        if not self.ready.done():
            self.ready.set_exception(error)


async def whole(alice: Person, bob: Person, *, plain: bool) -> float:
    """Set up one call as a program does, and return the CPU seconds until media may flow."""
    begun = time.process_time()
    ends = (
        End(alice, bob, outgoing=True, plain=plain),
        End(bob, alice, outgoing=False, plain=plain),
    )
    caller, callee = (end.connection for end in ends)
    offer = build_offer(await caller.open(ice=True))
    offered = parse_description(build_description(offer, session_id=1, version=1))
    ours, bobs = build_answer(offered, await callee.open(ice=True))
    answered = parse_description(build_description(ours, session_id=2, version=1))
    alices = read_answer(offer, answered)
    await asyncio.gather(caller.connect(alices), callee.connect(bobs), *(end.ready for end in ends))
    taken = time.process_time() - begun
    for end in ends:
        await end.connection.close()
    return taken


def keys(alice: Person, bob: Person, *, caller_is_client: bool) -> float:
    """Do the cryptographic part alone, and return its CPU seconds."""
    begun = time.process_time()
    ends = make_pair(alice, bob, caller_is_client=caller_is_client)
    Link(*ends).run()
    taken = time.process_time() - begun
    assert all(end.failed is None and end.complete for end in ends)
    return taken


async def main() -> None:
    alice, bob = Person.named("alice"), Person.named("bob")  # of the simulated link's time
    bare = [keys(alice, bob, caller_is_client=n % 2 == 0) for n in range(ROUNDS)]
    issued = int(time.time()) - 60
    alice, bob = Person.named("alice", iat=issued), Person.named("bob", iat=issued)
    full = [await whole(alice, bob, plain=False) for _ in range(ROUNDS)]
    plain = [await whole(alice, bob, plain=True) for _ in range(ROUNDS)]
    answer(
        stack="securecall",
        setup_cpu_ms=1e3 * statistics.median(full[WARM:]),
        plain_cpu_ms=1e3 * statistics.median(plain[WARM:]),
        keys_cpu_ms=1e3 * statistics.median(bare[WARM:]),
    )


asyncio.run(main())
