"""The shells together: real clock, real sockets on loopback, sound from file to file."""

from __future__ import annotations

import asyncio

from securecall.media.codecs import PCMU
from securecall.media.endpoints import PcmInput, PcmOutput, ToneSource
from securecall.media.engine import AudioSession, Clock, Gate
from securecall.media.frames import AudioFrame, rms_dbfs
from securecall.rtp.sframe import SframeReceiver, SframeSender
from securecall.secret import Secret
from securecall.transport.udp import UdpPath
from tests.pairs.media.two_sessions import key, srtp


async def connected(codec):
    paths = [await UdpPath.open("127.0.0.1") for _ in range(2)]
    sessions = []
    for me, path in enumerate(paths):
        path.connect(*paths[1 - me].local)
        opener = SframeReceiver()
        opener.add_key(0, Secret(key(f"sframe {1 - me}", 64)))
        session = AudioSession(
            Clock.running(),
            path.send,
            srtp(f"srtp {me}", f"srtp {1 - me}"),
            codec=codec,
            receive_codecs=(codec,),
            ssrc=me + 1,
            sequence=1,
            timestamp=1,
            cname="x",
            sframe_send=SframeSender(Secret(key(f"sframe {me}", 64)), 0),
            sframe_receive=opener,
        )
        path.listen(lambda datagram: None, session.receive)
        session.gate = Gate.OPEN
        session.start()
        sessions.append(session)
    return sessions, paths


async def close(sessions, paths):
    for session in sessions:
        session.close()
    for path in paths:
        await path.close()


def test_what_one_application_writes_the_other_reads():
    async def scenario():
        sessions, paths = await connected(PCMU)
        source, output = PcmInput(), PcmOutput()
        output.open()
        sessions[0].source = source
        sessions[1].add_sink(output)
        tone = ToneSource(440.0, dbfs=-20.0)
        heard = []

        async def write():
            while len(heard) < 15:
                await source.write(AudioFrame(samples=tone.read(160, 8000), sample_rate=8000))

        writer = asyncio.create_task(write())
        async for frame in output:
            if rms_dbfs(frame.samples) > -30:
                heard.append(frame)
            if len(heard) >= 15:
                break
        await close(sessions, paths)
        await asyncio.wait_for(writer, 10)
        assert sessions[1].statistics().forged == 0

    asyncio.run(asyncio.wait_for(scenario(), 30))
