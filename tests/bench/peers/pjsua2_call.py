"""CPU of established calls in pjsua2, sound going through Python: `pjsua2_call CALLS SECONDS`.

PCMU with SRTP keyed by SDES (the wheel refuses DTLS-SRTP). Its library holds one state a process,
so caller and callee are two processes; the CPU of both is counted. The wheel refuses a fifth call.
The frame given is prepared once and the frame taken is only counted, which favours it.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time

from tests.bench.measure import absent, answer

try:
    import pjsua2 as pj
    import psutil
except ImportError:
    absent("pjsua2-python")

RATE = 8000
CALLEE = sys.argv[1] == "callee"
ARGUMENTS = sys.argv[2:] if CALLEE else sys.argv[1:]
CALLS, SECONDS = int(ARGUMENTS[0]), float(ARGUMENTS[1])

endpoint = pj.Endpoint()
kept: list[object] = []  # the binding frees what Python forgets, in use or not
counted = [0]


class Port(pj.AudioMediaPort):
    """Sound from and to Python."""

    def __init__(self) -> None:
        super().__init__()
        self._frame = None

    def onFrameRequested(self, frame) -> None:
        frame.type = pj.PJMEDIA_FRAME_TYPE_AUDIO
        if self._frame is None:
            self._frame = pj.ByteVector(bytes([1, 0] * (frame.size // 2)))
        frame.buf = self._frame

    def onFrameReceived(self, frame) -> None:
        counted[0] += 1


class Call(pj.Call):
    """A call whose sound is connected to a Port as soon as there is some."""

    connected = False

    def onCallMediaState(self, _) -> None:
        info = self.getInfo()  # held: its list dies with it
        for media in info.media:
            active = media.status == pj.PJSUA_CALL_MEDIA_ACTIVE
            if media.type == pj.PJMEDIA_TYPE_AUDIO and active and not self.connected:
                sound, port = self.getAudioMedia(media.index), Port()
                form = pj.MediaFormatAudio()
                form.init(pj.PJMEDIA_FORMAT_PCM, RATE, 1, 20000, 16)
                port.createPort("python", form)
                port.startTransmit(sound)
                sound.startTransmit(port)
                kept.extend((sound, port))
                self.connected = True


class Account(pj.Account):
    """Answers everything."""

    def onIncomingCall(self, parameters) -> None:
        call, yes = Call(self, parameters.callId), pj.CallOpParam()
        kept.append(call)
        yes.statusCode = 200
        call.answer(yes)


def open_endpoint() -> tuple[Account, int]:
    """Start the library with one account on a free UDP port."""
    endpoint.libCreate()
    config = pj.EpConfig()
    config.logConfig.level = config.logConfig.consoleLevel = 0
    config.uaConfig.threadCnt, config.uaConfig.mainThreadOnly = 0, True
    media = config.medConfig
    media.clockRate = media.sndClockRate = RATE
    media.noVad, media.ecTailLen, media.threadCnt = True, 0, 1
    endpoint.libInit(config)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    transport = pj.TransportConfig()
    transport.port, transport.boundAddress = port, "127.0.0.1"
    identifier = endpoint.transportCreate(pj.PJSIP_TRANSPORT_UDP, transport)
    endpoint.libStart()
    endpoint.audDevManager().setNullDev()
    for codec in endpoint.codecEnum2():
        endpoint.codecSetPriority(codec.codecId, 255 if codec.codecId.startswith("PCMU/") else 0)
    settings = pj.AccountConfig()
    settings.idUri = f"sip:bench@127.0.0.1:{port}"
    settings.sipConfig.transportId = identifier
    settings.mediaConfig.srtpUse = pj.PJMEDIA_SRTP_MANDATORY
    settings.mediaConfig.srtpSecureSignaling = 0
    keyings = pj.IntVector()
    keyings.append(pj.PJMEDIA_SRTP_KEYING_SDES)
    settings.mediaConfig.srtpOpt.keyings = keyings
    settings.mediaConfig.transportConfig.boundAddress = "127.0.0.1"
    settings.mediaConfig.transportConfig.port = 20000 + port % 1000 * 20
    account = Account()
    account.create(settings)
    return account, port


def poll(seconds: float, until=lambda: False) -> None:
    """Let the library work."""
    end = time.perf_counter() + seconds
    while (left := end - time.perf_counter()) > 0 and not until():
        endpoint.libHandleEvents(int(min(50, left * 1000)) + 1)


def answer_calls() -> None:
    """The callee: work until the caller closes our standard input."""
    kept.append(open_endpoint_and_tell())
    os.set_blocking(0, False)
    while True:
        poll(0.1)
        try:
            if not os.read(0, 1):
                os._exit(0)
        except BlockingIOError:
            continue


def open_endpoint_and_tell() -> Account:
    """Open, and print the port for the caller."""
    account, port = open_endpoint()
    print(json.dumps({"port": port}), flush=True)
    return account


def place_calls() -> None:
    """The caller: set up the calls one by one, then measure both processes."""
    account, _ = open_endpoint()
    command = [sys.executable, "-m", "tests.bench.peers.pjsua2_call", "callee", *ARGUMENTS]
    callee = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    # The library prints a few lines of its own first.
    port = next(json.loads(line)["port"] for line in callee.stdout if line.startswith("{"))
    other = psutil.Process(callee.pid)

    def cpu() -> float:
        used = other.cpu_times()
        return time.process_time() + used.user + used.system

    calls = []
    for _ in range(CALLS):
        call = Call(account)
        call.makeCall(f"sip:bench@127.0.0.1:{port}", pj.CallOpParam(True))
        poll(10, until=lambda call=call: call.connected)
        state = call.getInfo()
        assert call.connected, f"no media: {state.stateText} {state.lastReason}"
        calls.append(call)
    poll(2.0)
    heard, used, begun = counted[0], cpu(), time.perf_counter()
    poll(SECONDS)
    used, wall = cpu() - used, time.perf_counter() - begun
    answer(
        stack="pjsua2",
        version=endpoint.libVersion().full,
        codec="PCMU",
        calls=CALLS,
        cpu_pct_per_endpoint=100 * used / wall / (2 * CALLS),
        # Its port is called every 20 ms, whatever came; the caller's stands for both.
        us_per_frame=1e6 * used / max(1, 2 * (counted[0] - heard)),
        arrived=(counted[0] - heard) / (50 * wall * CALLS),
    )
    callee.stdin.close()
    callee.wait(5)
    os._exit(0)


answer_calls() if CALLEE else place_calls()
