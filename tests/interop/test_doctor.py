"""The doctor before a real proxy and registrar."""

from __future__ import annotations

import asyncio

import pytest

from securecall.account import SignIn
from securecall.address import parse_address
from securecall.doctor.examination import examine
from securecall.doctor.finding import Kind, Step, Verdict
from securecall.secret import Secret
from tests.interop import kamailio
from tests.interop.people import sip


@pytest.fixture(scope="module", params=["MD5", "SHA-256"])
def registrar(request, tmp_path_factory, certificates):
    folder = tmp_path_factory.mktemp("doctor")
    with kamailio.running(folder, certificates, digest=request.param) as running:
        yield running, request.param


def seen(registrar, server="127.0.0.1:{port}", name="alice", password=None):
    proxy, _ = registrar
    how = SignIn(
        address=parse_address(sip(name)),
        password=Secret(password or kamailio.PASSWORDS["alice"]),
        server=server.format(port=proxy.tls),
        authorities=proxy.certificates.authority,
    )
    return asyncio.run(examine(how))


def texts(diagnosis, step):
    return "\n".join(f.what for f in diagnosis.findings if f.step is step)


@pytest.mark.parametrize("server", ["127.0.0.1:{port}", "wss://127.0.0.1:{port}/sip"])
def test_a_working_account_is_told_to_work(registrar, server):
    diagnosis = seen(registrar, server)
    assert diagnosis.kind is None
    assert "kamailio" in texts(diagnosis, Step.SERVER)
    registration = texts(diagnosis, Step.REGISTRATION)
    assert f"asked for with {registrar[1]}" in registration
    assert "is registered, for" in registration
    assert "removed again" in registration
    # nothing of the last look is left
    assert "beside" not in texts(seen(registrar, server), Step.REGISTRATION)


@pytest.mark.parametrize(("name", "password"), [("alice", "wrong"), ("nobody", None)])
def test_a_wrong_password_and_an_unknown_user_are_told(registrar, name, password):
    diagnosis = seen(registrar, name=name, password=password)
    (fault,) = [f for f in diagnosis.findings if f.verdict is Verdict.FAULT]
    assert (fault.step, fault.kind) == (Step.REGISTRATION, Kind.SECURITY)
    assert f"does not let {name} in" in fault.what
