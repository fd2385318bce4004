"""CPU of signalling alone, client side: `sip_ops register|call|message COUNT`.

One account on one TLS connection, ten requests under way at a time; a call is INVITE, 200, ACK,
BYE, 200, without media. Prints `us` of CPU for each, and how many one core could do in a second.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from securecall.address import parse_address
from securecall.calls.signaling import Answered, Ended, Leg, Route, Signal
from securecall.errors import EndReason
from securecall.media.description import Description
from securecall.sip.connections import SipServer
from securecall.sip.registration import Registration
from securecall.sip.sdp import parse_description
from securecall.sip.signaling import SipSignaling
from tests.bench.measure import answer
from tests.bench.serving import serving

AT_A_TIME = 10
ALICE, BOB = parse_address("sip:alice@bench.example"), parse_address("sip:bob@bench.example")
OFFER: Description = parse_description(
    b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=audio 40002 UDP/TLS/RTP/SAVPF 96 0\r\n"
    b"c=IN IP4 127.0.0.1\r\na=rtpmap:96 opus/48000/2\r\na=rtcp-mux\r\na=setup:actpass\r\n"
    + b"a=fingerprint:sha-256 "
    + b":".join([b"AB"] * 32)
    + b"\r\n"
)


async def establish(signaling: SipSignaling) -> Leg:
    """Set a call up."""
    answered = asyncio.get_running_loop().create_future()
    leg = await signaling.dial(Route(BOB), OFFER)

    def hear(signal: Signal) -> None:
        if isinstance(signal, (Answered, Ended)) and not answered.done():
            answered.set_result(signal)

    leg.listen(hear)
    assert isinstance(await answered, Answered)
    return leg


async def call(signaling: SipSignaling) -> None:
    """Set up and hang up."""
    leg = await establish(signaling)
    leg.send(Ended(EndReason.HUNG_UP))
    await leg.closed()


async def measure(what: str, count: int) -> None:
    """Do it `count` times and say what one cost."""
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder)) as (port, authority):
        signaling = await SipSignaling.open(
            local=ALICE,
            server=SipServer(host="127.0.0.1", port=port, name="bench.example"),
            authorities=authority,
        )
        flow = await signaling.reach()
        fields = Registration(contact="sip:a@b.invalid", instance="", now=0.0).fields()
        acts: dict[str, Callable[[], Awaitable[object]]] = {
            "register": lambda: signaling.register(flow, fields),
            "call": lambda: call(signaling),
            "message": lambda: signaling.danger_send_text(Route(BOB), "Ready when you are."),
        }
        act = acts[what]

        async def work(times: int) -> None:
            for _ in range(times):
                await act()

        await asyncio.gather(*(work(2) for _ in range(AT_A_TIME)))
        cpu = time.process_time()
        each = count // AT_A_TIME
        await asyncio.gather(*(work(each) for _ in range(AT_A_TIME)))
        us = (time.process_time() - cpu) / (each * AT_A_TIME) * 1e6
        answer(stack="securecall", what=what, us=round(us, 1), per_second=round(1e6 / us))
        await signaling.close()


if __name__ == "__main__":
    asyncio.run(measure(sys.argv[1], int(sys.argv[2])))
