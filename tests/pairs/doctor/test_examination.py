"""The doctor before real TLS servers and a real name server, each with one fault."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import io
import json
import socket

import pytest

from securecall.cli.doctor import doctor
from securecall.cli.options import parser
from securecall.cli.output import JsonOutput, PeopleOutput
from securecall.cli.terminal import Terminal
from securecall.doctor.finding import Diagnosis, Finding, Kind, Step, Verdict
from securecall.secret import Secret
from securecall.sip.headers import Headers
from securecall.sip.message import Request, build_message
from securecall.testing.authority import Authority
from securecall.transport.websocket import listen_websocket
from tests.registrar import DOMAIN, HOST, PASSWORD, Registrar, one_server, reply, silent, site

OUTBOUND = (("Require", "outbound"), ("Service-Route", "<sip:edge.example;lr>"))


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority.make(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def right(authority):
    return authority.issue(DOMAIN, lasting=datetime.timedelta(days=90))


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def seen(
    authority, certificate, *, registrar=None, table=None, trusted=None, patience=8.0, **how
) -> Diagnosis:
    async def main() -> Diagnosis:
        pem = trusted or authority.pem
        async with site(pem, certificate, registrar, table) as there:
            if "server" in how:
                how["server"] = how["server"].format(port=there.port)
            async with asyncio.timeout(50):
                return await there.examine(patience=patience, **how)

    return asyncio.run(main())


def only_fault(diagnosis: Diagnosis) -> Finding:
    (fault,) = [f for f in diagnosis.findings if f.verdict is Verdict.FAULT]
    return fault


def texts(diagnosis: Diagnosis, step: Step) -> str:
    return "\n".join(f.what for f in diagnosis.findings if f.step is step)


def test_a_good_server_is_told_to_be_good_and_nothing_of_the_look_remains(authority, right):
    registrar = Registrar(more=OUTBOUND)
    diagnosis = seen(authority, right, registrar=registrar)
    assert diagnosis.verdict in (Verdict.OK, Verdict.NOTE), [
        f for f in diagnosis.findings if f.verdict is not Verdict.OK
    ]
    assert {f.step for f in diagnosis.findings} == set(Step)
    assert f"SRV _sips._tcp.{DOMAIN}: {HOST} port" in texts(diagnosis, Step.DNS)
    assert "TLS 1.3" in texts(diagnosis, Step.TLS)
    assert "valid for 89 days" in texts(diagnosis, Step.CERTIFICATE)
    assert "200" in texts(diagnosis, Step.SERVER)
    registration = texts(diagnosis, Step.REGISTRATION)
    assert "SHA-256, MD5; qop auth" in registration
    assert "registered, for 300 seconds" in registration
    assert "it has outbound, Service-Route" in registration
    assert "removed again" in registration
    last = registrar.heard[-1]
    assert (last.method, last.headers.first("expires")) == ("REGISTER", "0")
    assert ";expires=0" in last.headers.first("contact")


def test_an_expired_certificate(authority):
    certificate = authority.issue(
        "old.example", DOMAIN, lasting=-datetime.timedelta(days=2, hours=1)
    )
    registrar = Registrar()
    fault = only_fault(seen(authority, certificate, registrar=registrar))
    assert (fault.step, fault.kind) == (Step.CERTIFICATE, Kind.SECURITY)
    assert fault.what == "it expired 2 days ago"
    assert registrar.bytes == b""


def test_a_certificate_that_ends_soon_is_a_warning(authority):
    certificate = authority.issue(
        "soon.example", DOMAIN, lasting=datetime.timedelta(days=5, hours=1)
    )
    (warning,) = [f for f in seen(authority, certificate).findings if f.verdict is Verdict.WARNING]
    assert "expires in 5 days" in warning.what


def test_a_certificate_for_the_host_and_not_for_the_domain(authority):
    fault = only_fault(seen(authority, authority.issue(HOST)))
    assert (fault.step, fault.kind) == (Step.CERTIFICATE, Kind.SECURITY)
    assert fault.what == f"it does not name {DOMAIN}"
    assert HOST in fault.why
    assert f"DNS:{DOMAIN}" in fault.mend


def test_a_server_name_that_is_given_is_what_has_to_be_proved(authority):
    diagnosis = seen(authority, authority.issue(HOST), server_name=HOST)
    assert diagnosis.kind is None
    assert f"it proves {HOST}" in texts(diagnosis, Step.CERTIFICATE)


def test_an_authority_that_is_not_trusted(authority, right, tmp_path):
    other = Authority.make(tmp_path / "other")
    fault = only_fault(seen(authority, right, trusted=other.pem))
    assert (fault.step, fault.kind) == (Step.CERTIFICATE, Kind.SECURITY)
    assert "throw-away authority" in fault.what
    assert "--authorities" in fault.mend


def test_a_closed_port(authority, right):
    port = closed_port()
    fault = only_fault(seen(authority, right, table=lambda _: one_server(port)))
    assert (fault.step, fault.kind) == (Step.CONNECT, Kind.NETWORK)
    assert fault.what == f"{HOST} (127.0.0.1:{port}) refuses connections"


def test_a_domain_that_nobody_knows(authority, right):
    fault = only_fault(seen(authority, right, table=lambda _: {}))
    assert (fault.step, fault.kind) == (Step.DNS, Kind.NETWORK)
    assert fault.what == f"{DOMAIN} is not in DNS"


def test_a_domain_that_has_no_sip_over_tls(authority, right):
    table = {(f"_sips._tcp.{DOMAIN}", "SRV"): ["0 0 0 ."]}
    fault = only_fault(seen(authority, right, table=lambda _: table))
    assert fault.what == f"{DOMAIN} has no server for SIP over TLS"


def test_a_name_server_that_is_broken(authority, right):
    table = {(f"_sips._tcp.{DOMAIN}", "SRV"): "SERVFAIL", (DOMAIN, "NAPTR"): "SERVFAIL"}
    broken = table | {(DOMAIN, "A"): "SERVFAIL", (DOMAIN, "AAAA"): "SERVFAIL"}
    fault = only_fault(seen(authority, right, table=lambda _: broken))
    assert fault.what == f"DNS does not say where {DOMAIN} is"


def test_a_second_server_helps_where_the_first_is_dead(authority, right):
    def table(port: int):
        one, two = f"10 0 {closed_port()} one.example.", f"20 0 {port} two.example."
        hosts = {(f"{n}.example", "A"): ["127.0.0.1"] for n in ("one", "two")}
        return {(f"_sips._tcp.{DOMAIN}", "SRV"): [two, one]} | hosts

    diagnosis = seen(authority, right, table=table)
    assert (diagnosis.verdict, diagnosis.kind) == (Verdict.WARNING, None)
    assert texts(diagnosis, Step.CONNECT).splitlines()[0].startswith("1. one.example")
    assert "registered" in texts(diagnosis, Step.REGISTRATION)


def test_something_that_speaks_no_tls(authority, right):
    async def main() -> Diagnosis:
        async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(OSError):  # the first only knocks
                _ = await reader.read(100)
            writer.write(b"SIP/2.0 400 Bad Request\r\n\r\n")
            writer.close()

        async with await asyncio.start_server(plain, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            async with site(authority.pem, right, table=lambda _: one_server(port)) as there:
                return await there.examine()

    fault = only_fault(asyncio.run(main()))
    assert (fault.step, fault.kind, fault.what) == (Step.TLS, Kind.NETWORK, "no TLS there")
    assert "does not speak TLS" in fault.why


def test_something_that_takes_connections_and_says_nothing(authority, right):
    async def main() -> Diagnosis:
        async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            async with site(authority.pem, right, table=lambda _: one_server(port)) as there:
                return await there.examine(patience=0.5)

    fault = only_fault(asyncio.run(main()))
    assert (fault.step, fault.kind, fault.what) == (Step.TLS, Kind.NETWORK, "no TLS there")


@pytest.mark.parametrize("changes", [{"password": Secret("not this one")}, {"user": "nobody"}])
def test_a_wrong_password_and_an_unknown_user_are_one_answer(authority, right, changes):
    fault = only_fault(seen(authority, right, **changes))
    assert (fault.step, fault.kind) == (Step.REGISTRATION, Kind.SECURITY)
    assert fault.what == f"it does not let {changes.get('user', 'alice')} in"


@pytest.mark.parametrize(
    ("status", "kind", "words"),
    [
        (403, Kind.SECURITY, "forbids alice"),
        (404, Kind.SECURITY, "knows no alice@clinic.example"),
        (503, Kind.NETWORK, "503 Service Unavailable"),
    ],
)
def test_a_refusal_says_who_has_to_act(authority, right, status, kind, words):
    def says(request):
        return build_message(reply(request, status)) if request.method == "REGISTER" else None

    fault = only_fault(seen(authority, right, registrar=Registrar(says=says)))
    assert (fault.step, fault.kind) == (Step.REGISTRATION, kind)
    assert words in fault.what


def test_a_registrar_that_wants_longer_registrations_gets_them(authority, right):
    def says(request):
        if request.method == "REGISTER" and request.headers.first("expires") == "600":
            return build_message(reply(request, 423, ("Min-Expires", "3600")))
        return None

    diagnosis = seen(authority, right, registrar=Registrar(says=says))
    assert diagnosis.kind is None
    assert "registered, for 3600 seconds" in texts(diagnosis, Step.REGISTRATION)


def test_a_call_that_comes_in_meanwhile_is_left_to_the_persons_own_devices(authority, right):
    def says(request):
        if request.method != "REGISTER" or request.headers.first("expires") != "600":
            return None
        fields = ("Via", "SIP/2.0/TLS x.invalid;branch=z9hG4bKx"), ("From", "<sip:b@x>;tag=1")
        more = ("To", "<sip:alice@x>"), ("Call-ID", "c"), ("CSeq", "1 INVITE")
        invite = Request("INVITE", request.contacts[0].uri.text, Headers((*fields, *more)))
        return build_message(invite) + build_message(registrar.answer(request))

    registrar = Registrar(says=says)
    diagnosis = seen(authority, right, registrar=registrar)
    assert diagnosis.kind is None
    assert {answer.status for answer in registrar.answers} == {480}


def test_a_web_server_is_no_sip_server(authority, right):
    def says(_):
        return b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"

    diagnosis = seen(authority, right, registrar=Registrar(says=says), password=None)
    fault = only_fault(diagnosis)
    assert (fault.step, fault.kind) == (Step.SERVER, Kind.PROTOCOL)


def test_without_a_password_nothing_is_registered(authority, right):
    registrar = Registrar()
    diagnosis = seen(authority, right, registrar=registrar, password=None)
    assert diagnosis.kind is None
    assert [r.method for r in registrar.heard] == ["OPTIONS"]
    assert "registration: no password was given" in diagnosis.unseen


def test_weak_hashes_and_strange_realms_are_told(authority, right):
    diagnosis = seen(authority, right, registrar=Registrar(algorithms=("MD5",), realm="asterisk"))
    assert (diagnosis.verdict, diagnosis.kind) == (Verdict.WARNING, None)
    assert "MD5; qop auth" in texts(diagnosis, Step.REGISTRATION)
    assert 'its realm is "asterisk"' in texts(diagnosis, Step.REGISTRATION)


def test_a_server_by_websocket(authority, right):
    async def main() -> Diagnosis:
        registrar = Registrar()
        listener = await listen_websocket("127.0.0.1", 0, registrar.serve, certificate=right)
        try:
            async with site(authority.pem, right) as there:
                return await there.examine(server=f"wss://127.0.0.1:{listener.address[1]}/sip")
        finally:
            await listener.close()

    diagnosis = asyncio.run(main())
    assert diagnosis.kind is None
    assert "registered" in texts(diagnosis, Step.REGISTRATION)


def test_a_websocket_where_there_is_none(authority, right):
    diagnosis = seen(authority, right, server="wss://127.0.0.1:{port}/sip", patience=1.0)
    assert {f.step for f in diagnosis.findings if f.verdict is Verdict.FAULT} == {
        Step.SERVER,
        Step.REGISTRATION,
    }


# -- the command ---------------------------------------------------------------------------------


def command(authority, certificate, password, *arguments, output) -> int:
    async def main() -> int:
        async with site(authority.pem, certificate) as there:
            files = ["--authorities", str(authority.pem), "--password-file", str(password)]
            args = parser().parse_args(["doctor", f"alice@{DOMAIN}", *arguments, *files])
            return await doctor(args, output, resolver=there.resolver)

    return asyncio.run(main())


@pytest.fixture
def password(tmp_path):
    path = tmp_path / "password"
    path.write_text(PASSWORD + "\n")
    return path


@pytest.mark.parametrize(
    ("names", "secret", "code", "verdict"),
    [
        ((DOMAIN,), PASSWORD, 0, {"ok", "note"}),
        ((HOST,), PASSWORD, 5, {"fault"}),
        ((DOMAIN,), "wrong horse battery", 5, {"fault"}),
    ],
)
def test_json_is_one_object_and_the_exit_code_is_that_of_the_gravest_fault(
    authority, tmp_path, names, secret, code, verdict
):
    path, out = tmp_path / "password", io.StringIO()
    path.write_text(secret)
    certificate = authority.issue(*names, lasting=datetime.timedelta(days=90))
    assert command(authority, certificate, path, "--json", output=JsonOutput(out)) == code
    (line,) = out.getvalue().splitlines()
    told = json.loads(line)
    assert (told["type"], told["exit_code"], told["account"]) == (
        "diagnosis",
        code,
        f"alice@{DOMAIN}",
    )
    assert told["verdict"] in verdict
    assert set(told["findings"][0]) == {"step", "verdict", "kind", "what", "why", "mend"}
    assert any("NAT" in text for text in told["not_looked_at"])
    assert secret not in line


def test_people_read_what_is_wrong_and_what_to_do(authority, password):
    out = io.TextIOWrapper(io.BytesIO(), "utf-8")
    terminal = Terminal(out, {})
    certificate = authority.issue(HOST)
    assert command(authority, certificate, password, output=PeopleOutput(terminal)) == 5
    screen = out.buffer.getvalue().decode()
    assert f"✗ it does not name {DOMAIN}" in screen
    checks, wrong = screen.split("What is wrong")
    assert "Not looked at" in checks
    assert "→ The operator of the server has to get a certificate" in wrong
    assert max(map(len, screen.splitlines())) <= terminal.width


def test_the_process_leaves_with_the_code(tmp_path, capsys):
    from securecall.cli.main import run

    where = f"127.0.0.1:{closed_port()}"
    arguments = ["doctor", f"alice@{DOMAIN}", "--no-password", "--server", where, "--json"]
    assert run(arguments) == 3
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["exit_code"] == 3
    assert run(["doctor", "alice@192.0.2.1", "--no-password"]) == 2
    assert run(["doctor", f"alice@{DOMAIN}", "--json"]) == 2
