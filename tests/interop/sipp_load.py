"""SIPp as a load: so many calls or questions a second, by the connection to an account's server."""

from __future__ import annotations

import asyncio
import json
import resource
import statistics
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from securecall.address import parse_address
from securecall.calls.negotiation import LocalMedia, build_answer
from securecall.calls.signaling import Answered, IncomingLeg
from securecall.media.description import Fingerprint
from securecall.sip.connections import SipServer
from securecall.sip.signaling import SipSignaling
from tests.interop import relay
from tests.interop.authority import DOMAIN, Certificates
from tests.interop.children import free_port, need
from tests.interop.people import sip
from tests.interop.sipp_scenarios import DIGEST, Scenario, Step

HOLD_MS: Final = 1000
_OWN: Final = Fingerprint("sha-256", bytes(range(32, 64)))
_SDP: Final = (
    "v=0",
    "o=- 1 1 IN IP4 127.0.0.1",
    "s=-",
    "c=IN IP4 127.0.0.1",
    "t=0 0",
    "m=audio 9 UDP/TLS/RTP/SAVP 0 8",
    f"a=fingerprint:sha-256 {DIGEST}",
    "a=setup:actpass",
    "a=rtcp-mux",
)


@dataclass(frozen=True)
class Load:
    """What a load came to.

    Attributes:
        code: SIPp's exit status; 0 says that nothing failed.
        waits: Milliseconds from each request to its 200, as SIPp counted them.
        cpu: Seconds of this process.
    """

    code: int
    waits: tuple[float, ...]
    cpu: float

    @property
    def p95(self) -> float:
        """What 95 of 100 waited at most."""
        return statistics.quantiles(self.waits, n=20)[-1]


def questions() -> Scenario:
    """OPTIONS and its 200."""
    asked = Step("send", {"start_rtd": "1"}, message=_request("OPTIONS", 1))
    return Scenario("options", (asked, _ok(rtd="1")))


def calls() -> Scenario:
    """A call that is held for `HOLD_MS` and hung up."""
    invite = Step("send", {"start_rtd": "1"}, message=_request("INVITE", 1, body=_SDP))
    optional = [Step("recv", {"response": s, "optional": "true"}) for s in ("100", "180")]
    ack = Step("send", message=_request("ACK", 1, tag="[peer_tag_param]"))
    pause = Step("pause", {"milliseconds": str(HOLD_MS)})
    bye = Step("send", message=_request("BYE", 2, tag="[peer_tag_param]"))
    return Scenario("calls", (invite, *optional, _ok(rtd="1"), ack, pause, bye, _ok()))


@asynccontextmanager
async def called(certificates: Certificates) -> AsyncIterator[tuple[SipSignaling, int]]:
    """An account that answers every call, and the port where its calls come from."""
    async with relay.meeting(certificates) as (tls, tcp), account(tls, certificates) as signaling:
        yield signaling, tcp


@asynccontextmanager
async def account(port: int, certificates: Certificates) -> AsyncIterator[SipSignaling]:
    """An account that is connected to its server and answers every call."""
    signaling = await SipSignaling.open(
        local=parse_address(sip("alice")),
        server=SipServer(host="127.0.0.1", port=port, name=DOMAIN),
        authorities=certificates.authority,
    )
    signaling.on_incoming(_answer)
    try:
        _ = await signaling.reach()
        yield signaling
    finally:
        await signaling.close()


async def press(scene: Scenario, port: int, folder: Path, *, rate: int, count: int) -> Load:
    """Let SIPp begin `count` of a scene, `rate` a second."""
    command = _command(scene, port, folder, rate=rate, count=count)
    before = _cpu()
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=folder,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    code = await process.wait()
    cpu = _cpu() - before
    return Load(code, _waits(folder), cpu)


def _command(scene: Scenario, port: int, folder: Path, *, rate: int, count: int) -> list[str]:
    folder.mkdir()
    (folder / "scene.xml").write_text(scene.written(), encoding="ascii")
    command = [need("sipp", "sip-tester"), "-sf", "scene.xml", "-i", "127.0.0.1", "-t", "t1"]
    command += ["-p", str(free_port()), "-r", str(rate), "-m", str(count), "-l", "2000"]
    command += ["-nostdin", "-timer_resol", "1", "-trace_rtt", "-rtt_freq", "1"]
    command += ["-timeout", "120", "-timeout_error", "-trace_err", "-error_file", "errors.log"]
    return [*command, f"127.0.0.1:{port}"]


def _waits(folder: Path) -> tuple[float, ...]:
    rows = (line for file in folder.glob("*_rtt.csv") for line in file.read_text().splitlines()[1:])
    return tuple(float(row.split(";")[1]) for row in rows)


def _answer(leg: IncomingLeg) -> None:
    if leg.offer is None:
        return
    local = LocalMedia(fingerprint=_OWN, host="127.0.0.1", port=9, codecs=("opus", "pcmu"))
    leg.listen(lambda signal: None)
    leg.send(Answered(build_answer(leg.offer, local)[0]))


def _request(
    method: str, number: int, *, tag: str = "", body: tuple[str, ...] = ()
) -> tuple[str, ...]:
    kind = ("Content-Type: application/sdp",) if body else ()
    return (
        f"{method} sip:alice@{DOMAIN} SIP/2.0",
        "Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]",
        "Max-Forwards: 70",
        f"From: <sip:sipp@{DOMAIN}>;tag=[pid]t[call_number]",
        f"To: <sip:alice@{DOMAIN}>{tag}",
        "Call-ID: [call_id]",
        f"CSeq: {number} {method}",
        "Contact: <sip:sipp@[local_ip]:[local_port]>",
        *kind,
        "Content-Length: [len]",
        "",
        *body,
    )


def _ok(**more: str) -> Step:
    return Step("recv", {"response": "200", **more})


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def _relay(files: list[str]) -> None:
    certificates = Certificates(*(Path(name) for name in files))
    async with relay.meeting(certificates) as ports:
        print(json.dumps(ports), flush=True)
        _ = await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":  # as a process of its own, so that its work is not counted as ours
    asyncio.run(_relay(sys.argv[1:]))
