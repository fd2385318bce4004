"""A server, or whoever stands in for one, cannot use the doctor against the one who asks."""

from __future__ import annotations

import asyncio
import io
import json
import re
from collections.abc import Callable

import pytest

from securecall.cli.doctor import exit_code, fields
from securecall.cli.output import JsonOutput, PeopleOutput
from securecall.cli.terminal import Terminal
from securecall.doctor.finding import Diagnosis, Step, Verdict
from securecall.sip.headers import Headers
from securecall.sip.message import Request, build_message
from securecall.sip.stream import MessageStream
from securecall.testing.authority import Authority
from securecall.transport import tls
from securecall.transport.tls import PemPair, TlsConnection
from tests.forge_certificate import PEM, forge, raw_names, server_context
from tests.guard import CANARY
from tests.registrar import DOMAIN, Registrar, credentials, reply, site

EVIL = "\x1b[2J\x1b]0;owned\x07\x9b31m\u202e\u2066"
GUARD = 50.0  # a hang guard, not a claim about speed


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority.make(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def right(authority):
    return authority.issue(DOMAIN)


def examined(pem, certificate, registrar, *, table=None, patience=8.0, **how) -> Diagnosis:
    async def main() -> Diagnosis:
        async with site(pem, certificate, registrar, table) as there, asyncio.timeout(GUARD):
            return await there.examine(patience=patience, **how)

    return asyncio.run(main())


def printed(diagnosis: Diagnosis) -> str:
    """Both forms of the output."""
    screen, lines = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.StringIO()
    told = {"account": "a", "exit_code": exit_code(diagnosis), **fields(diagnosis)}
    PeopleOutput(Terminal(screen, {})).tell("diagnosis", **told)
    JsonOutput(lines).tell("diagnosis", **told)
    read_back = json.dumps(json.loads(lines.getvalue()), ensure_ascii=False)
    return screen.buffer.getvalue().decode() + read_back


def require_harmless(text: str) -> None:
    assert [c for c in text if not c.isprintable() and c != "\n"] == []


# -- what a terminal would obey ------------------------------------------------------------------


def evil_answer(request: Request) -> bytes:
    """As much of it as a message can hold, in everything that is shown of one."""
    what = [(name, f"a{EVIL}b") for name in ("Server", "Allow", "Supported", "Date", "Warning")]
    if request.method == "REGISTER":
        what = [("WWW-Authenticate", f'Digest realm="{EVIL}", nonce="n", qop="auth"')]
    status = 401 if request.method == "REGISTER" else 200
    return build_message(reply(request, status, *what, reason=f"r{EVIL}"))


def test_what_a_server_says_cannot_act_on_a_terminal(authority, right):
    registrar = Registrar(says=evil_answer)
    diagnosis = examined(authority.pem, right, registrar)
    text = printed(diagnosis)
    assert "[2J" in text  # it is shown, without what makes it act
    require_harmless(text)


def test_control_the_servers_bytes_do_hold_what_a_terminal_obeys(authority, right):
    async def main() -> bytes:
        async with site(authority.pem, right, Registrar(says=evil_answer)) as there:
            context = tls.client_context(authority.pem)
            connection = await tls.connect(
                "127.0.0.1", there.port, server_name=DOMAIN, context=context
            )
            names = ("Via", "From", "To", "Call-ID", "CSeq")
            request = Request("OPTIONS", "sip:x", Headers((name, "x") for name in names))
            connection.send(build_message(request))
            said = await connection.receive()
            await connection.close()
            return said

    assert EVIL.encode() in asyncio.run(main())


@pytest.mark.parametrize("trusted", [True, False])
def test_what_a_certificate_says_cannot_act_on_a_terminal(tmp_path, trusted):
    root = forge(common_name=f"root{EVIL}", authority=True)
    names = raw_names(b"a\x1b[2J.example", b"b\x9b.example")
    leaf = forge(root, common_name=EVIL, more=[(names, False)])
    diagnosis = shown_certificate(tmp_path, root if trusted else forge(authority=True), leaf)
    (fault,) = [f for f in diagnosis.findings if f.verdict is Verdict.FAULT]
    assert fault.step is Step.CERTIFICATE
    require_harmless(printed(diagnosis))


def test_an_issuer_of_a_good_certificate_cannot_either(tmp_path):
    root = forge(common_name=f"root{EVIL}", authority=True)
    diagnosis = shown_certificate(tmp_path, root, forge(root, DOMAIN))
    assert diagnosis.verdict is not Verdict.FAULT
    assert "root?[2J" in printed(diagnosis)
    require_harmless(printed(diagnosis))


def shown_certificate(folder, trusted, leaf) -> Diagnosis:
    pem = folder / "trusted.pem"
    pem.write_bytes(trusted.certificate.public_bytes(PEM))
    _ = server_context(folder, leaf)  # writes the file
    chain = PemPair(certificate=folder / f"{leaf.certificate.serial_number}.pem")
    return examined(pem, chain, Registrar())


def test_what_dns_says_cannot_act_on_a_terminal(authority, right):
    name = r"\027[2J\155.example."
    table = {(f"_sips._tcp.{DOMAIN}", "SRV"): [f"1 0 5061 {name}"]}
    diagnosis = examined(authority.pem, right, Registrar(), table=lambda _: table)
    assert diagnosis.verdict is Verdict.FAULT
    require_harmless(printed(diagnosis))


# -- the password --------------------------------------------------------------------------------


def echo(request: Request) -> bytes | None:
    """Repeats what was made of the password wherever a message has room for it."""
    if not credentials(request):
        return None
    value = (request.headers.first("authorization") or "").replace('"', "'")
    names = ("Server", "Warning", "Date", "Path", "Flow-Timer", "Min-Expires", "Reason", "Allow")
    challenge = "WWW-Authenticate", f'Digest realm="{value}", nonce="{value}", qop="auth"'
    return build_message(reply(request, 403, challenge, *((n, value) for n in names), reason=value))


def echo_and_register(request: Request) -> bytes | None:
    """The same in what a registration grants."""
    sent = credentials(request)
    if not sent:
        return None
    response = sent["response"]
    contact = (request.headers.first("contact") or "") + f';pub-gruu="sip:{response}@x"'
    more = [("Service-Route", f"<sip:{response}@x;lr>"), ("Path", f"<sip:{response}@x>")]
    return build_message(reply(request, 200, ("Contact", contact), *more, reason=response))


def echo_challenge(request: Request) -> bytes | None:
    """The same in a second challenge."""
    sent = credentials(request)
    if not sent:
        return None
    value = f'Digest realm="{sent["response"]}", nonce="n", qop="auth", algorithm=SHA-256'
    return build_message(reply(request, 401, ("WWW-Authenticate", value)))


@pytest.mark.parametrize("says", [echo, echo_and_register, echo_challenge])
def test_neither_password_nor_what_was_made_of_it_is_printed_even_if_the_server_repeats_it(
    authority, right, canary, says
):
    registrar = Registrar(says=says, password=CANARY.decode())
    text = printed(examined(authority.pem, right, registrar, password=canary))
    sent = [c for c in map(credentials, registrar.heard) if c]
    assert sent  # the control: there was something to repeat
    for one in sent:
        for secret in (one["response"], one["cnonce"], one["nonce"]):
            assert not re.search(rf"\b{re.escape(secret[:16])}", text)
    assert CANARY.decode() not in text


def test_a_server_that_does_not_prove_the_domain_hears_no_byte(authority):
    """Not by the connection that was refused, nor by the one that looks at its certificate."""
    registrar = Registrar()
    diagnosis = examined(authority.pem, authority.issue("mallory.example"), registrar)
    (fault,) = [f for f in diagnosis.findings if f.verdict is Verdict.FAULT]
    assert "'mallory.example'" in fault.why  # it was looked at
    assert registrar.bytes == b""


def test_control_a_server_that_proves_the_domain_hears_all_of_it(authority, right):
    registrar = Registrar()
    _ = examined(authority.pem, right, registrar)
    assert [bool(credentials(r)) for r in registrar.heard][-1]


def asks_everywhere(realm: str) -> Callable[[Request], bytes]:
    def says(request: Request) -> bytes:
        value = f'Digest realm="{realm}", nonce="evil", qop="auth", algorithm=MD5'
        return build_message(reply(request, 401, ("WWW-Authenticate", value)))

    return says


def test_options_are_answered_to_nobody_who_asks_for_a_password(authority, right):
    registrar = Registrar(says=asks_everywhere(DOMAIN))
    _ = examined(authority.pem, right, registrar)
    answered = {r.method for r in registrar.heard if credentials(r)}
    assert answered == {"REGISTER"}  # the control: that one is


def test_a_realm_that_is_not_the_accounts_is_not_answered(authority, right):
    for realm, times in (("mallory.example", 0), (DOMAIN, 1)):  # the second is the control
        registrar = Registrar(says=asks_everywhere(realm))
        diagnosis = examined(authority.pem, right, registrar, realm=DOMAIN)
        assert sum(1 for r in registrar.heard if credentials(r)) == times
        assert diagnosis.verdict is Verdict.FAULT


def test_a_weaker_hash_after_a_better_one_is_not_answered(authority, right):
    def says(request: Request) -> bytes:
        algorithm = "MD5" if credentials(request) else "SHA-256"
        value = f'Digest realm="{DOMAIN}", nonce="n{algorithm}", qop="auth", algorithm={algorithm}'
        return build_message(reply(request, 401, ("WWW-Authenticate", value)))

    registrar = Registrar(says=says)
    diagnosis = examined(authority.pem, right, registrar)
    assert [c["algorithm"] for c in map(credentials, registrar.heard) if c] == ["SHA-256"]
    assert any("weaker hash" in f.what for f in diagnosis.findings)


# -- time and memory -----------------------------------------------------------------------------


async def says_nothing(connection: TlsConnection) -> None:
    while await connection.receive():
        pass


async def drips(connection: TlsConnection) -> None:
    while not connection.closing:
        connection.send(b"S")
        await asyncio.sleep(0.05)


async def pours(connection: TlsConnection) -> None:
    while not connection.closing:
        connection.send(b"SIP/2.0 200 OK\r\nX: " + b"a" * 8000)
        await asyncio.sleep(0)


async def only_tries(connection: TlsConnection) -> None:
    """Answers with 100 for ever."""
    stream = MessageStream()
    requests = [m for m in stream.feed(await connection.receive()) if isinstance(m, Request)]
    while not connection.closing and requests:
        connection.send(build_message(reply(requests[0], 100)))
        await asyncio.sleep(0)


async def challenges_for_ever(connection: TlsConnection) -> None:
    stream, count = MessageStream(), 0
    while data := await connection.receive():
        for request in stream.feed(data):
            assert isinstance(request, Request)
            count += 1
            value = f'Digest realm="{DOMAIN}", nonce="{count}", qop="auth", stale=true'
            connection.send(build_message(reply(request, 401, ("WWW-Authenticate", value))))


@pytest.mark.parametrize("serve", [says_nothing, drips, pours, only_tries, challenges_for_ever])
def test_a_server_cannot_keep_the_doctor_waiting(authority, right, serve):
    hostile = Registrar()
    hostile.serve = serve
    diagnosis = examined(authority.pem, right, hostile, patience=0.5)
    assert diagnosis.verdict is Verdict.FAULT
    require_harmless(printed(diagnosis))
