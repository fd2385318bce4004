"""Runs one SIPp scenario against our SIP agent, through a relay since SIPp speaks no TLS."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from securecall.account import RegistrationState
from securecall.address import parse_address
from securecall.calls.signaling import Route
from securecall.errors import SecurecallError
from securecall.secret import Secret
from securecall.sip.connections import SipServer
from securecall.sip.digest import Login
from securecall.sip.signaling import SipSignaling
from securecall.transport.tls import PemPair
from tests.interop import relay
from tests.interop.authority import DOMAIN, Certificates
from tests.interop.children import free_port, need
from tests.interop.people import sip
from tests.interop.sipp_cases import Case
from tests.interop.sipp_person import Person, expected_end
from tests.interop.sipp_scenarios import Scenario

_SECONDS: Final = 12  # SIPp gives up
# what test benches give on the command line
_KEYS: Final = {
    "custom_media_port": "6000",
    "dest": "alice",
    "exten": "alice",
    "from_user": "bob",
    "redir_target": "carol",
}
_GRACE: Final = 0.3  # for what it sent last to arrive


@dataclass(frozen=True)
class Outcome:
    """What came of a scenario.

    Attributes:
        code: SIPp's exit status; 0 says that every message it got was the one written down.
        why: What it said first against that, "" for nothing.
        person: Our side.
        error: What our registration or question ended with, None where it went well.
    """

    code: int
    why: str
    person: Person
    error: SecurecallError | None = None

    def against(self, case: Case) -> str:
        """What speaks against its having gone as expected, "" for nothing."""
        if self.code:
            return f"SIPp ended with {self.code}: {self.why}"
        first = case.scenario.first
        if first is None or first.method != "INVITE":
            return ""
        end, ended = expected_end(case.scenario), self.person.end
        if end is not None and (ended is None or ended.reason is not end):
            return f"the call ended with {ended!r}, not {end!r}"
        if case.plan.answer == 200 and not self.person.agreed:
            return f"the call was not agreed on: {self.person.error!r}"
        return ""


async def play_all(
    cases: Sequence[Case], folder: Path, certificates: Certificates, *, at_once: int = 6
) -> dict[str, str]:
    """Play many side by side; returns by name what went otherwise than expected."""
    room = asyncio.Semaphore(at_once)

    async def one(number: int, case: Case) -> tuple[str, str]:
        async with room:
            place = folder / str(number)
            place.mkdir()
            return case.scenario.name, (await play(case, place, certificates)).against(case)

    found = await asyncio.gather(*(one(number, case) for number, case in enumerate(cases)))
    return {name: why for name, why in found if why}


async def play(
    case: Case, folder: Path, certificates: Certificates, *, options: Sequence[str] = ()
) -> Outcome:
    """Let SIPp and a person of ours act a scenario."""
    scenario = case.scenario
    person = Person(case.plan)
    scene = folder / "scene.xml"
    scene.write_text(scenario.written(), encoding="latin-1")
    (folder / "fields.csv").write_text("SEQUENTIAL\nalice;bob;carol;dave;5060\n", encoding="ascii")
    command = [need("sipp", "sip-tester"), "-sf", str(scene), "-i", "127.0.0.1", "-t", "t1"]
    command += ["-m", "1", "-nostdin", "-timeout", str(_SECONDS), "-timeout_error", "-s", "alice"]
    for name, value in _KEYS.items():
        command += ["-key", name, value]
    command += [
        "-p",
        str(free_port()),
        "-inf",
        "fields.csv",
        "-trace_err",
        "-error_file",
        "errors.log",
        *options,
    ]
    first = scenario.first
    if first is not None and first.kind == "recv":
        code, error = await _called(scenario, command, folder, certificates, person)
    else:
        code, error = await _calling(command, folder, certificates, person)
    await person.closed()
    return Outcome(code, _why(folder / "errors.log"), person, error)


async def _calling(
    command: list[str], folder: Path, certificates: Certificates, person: Person
) -> tuple[int, None]:
    """SIPp begins."""
    pair = PemPair(certificate=certificates.chain, key=certificates.key)
    signaling = await SipSignaling.open(
        local=parse_address(sip("alice")), listen=("127.0.0.1", 0), listen_certificate=pair
    )
    signaling.on_incoming(person.rung)  # type: ignore[arg-type] # the adapter's own class
    assert signaling.listening is not None
    try:
        async with relay.to_tls(signaling.listening[1], certificates) as port:
            return await _sipp([*command, f"127.0.0.1:{port}"], folder), None
    finally:
        await signaling.close()


async def _called(
    scenario: Scenario,
    command: list[str],
    folder: Path,
    certificates: Certificates,
    person: Person,
) -> tuple[int, SecurecallError | None]:
    """We begin: by a call, a registration, or a question."""
    port = int(command[command.index("-p") + 1])
    running = asyncio.ensure_future(_sipp([*command, "127.0.0.1:5060"], folder))
    await _listens(port, running)
    error: SecurecallError | None = None
    async with (
        relay.from_tls(port, certificates) as tls,
        _account(scenario, tls, certificates) as (signaling),
    ):
        method = scenario.first.method if scenario.first is not None else ""
        beginning = asyncio.ensure_future(_begin(method, signaling, person))
        if method == "REGISTER":  # and take leave again, as some wait for
            await asyncio.wait([beginning, running], return_when=asyncio.FIRST_COMPLETED)
            await signaling.close()
        code = await running
        await asyncio.sleep(_GRACE)
        if not beginning.done():
            beginning.cancel()
        try:
            await beginning
        except SecurecallError as e:
            error = e
        except asyncio.CancelledError:
            pass
    return code, error


@asynccontextmanager
async def _account(
    scenario: Scenario, port: int, certificates: Certificates
) -> AsyncIterator[SipSignaling]:
    realms = (DOMAIN, *scenario.realms)
    signaling = await SipSignaling.open(
        local=parse_address(sip("alice")),
        server=SipServer(host="127.0.0.1", port=port, name=DOMAIN),
        authorities=certificates.authority,
        login=Login(user="alice", password=Secret("pw-alice"), realms=realms),
    )
    try:
        yield signaling
    finally:
        await signaling.close()


async def _begin(method: str, signaling: SipSignaling, person: Person) -> None:
    if method == "INVITE":
        route = Route(parse_address(sip("bob")))
        person.called(await signaling.dial(route, person.first_offer()))
    elif method == "OPTIONS":
        assert await signaling.options(Route(parse_address(sip("bob")))) == 200
    elif method == "REGISTER":
        await signaling.sign_in(
            instance="urn:uuid:00000000-0000-4000-8000-000000000000", watcher=_ignore
        )


def _ignore(_state: RegistrationState, _error: SecurecallError | None) -> None:
    pass


async def _sipp(command: list[str], folder: Path) -> int:
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=folder,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(_SECONDS + 8):
            return await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _listens(port: int, running: asyncio.Future[int]) -> None:
    while not running.done():
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.02)
        else:
            writer.close()
            await writer.wait_closed()
            return


def _why(errors: Path) -> str:
    if not errors.exists():
        return ""
    lines = errors.read_text(encoding="latin-1").splitlines()
    return next((line.partition(": ")[2] for line in lines if ": " in line), "")[:200]
