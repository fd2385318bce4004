"""The lab server as raw clients meet it, over TLS on loopback."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest

from securecall.errors import UsageError
from securecall.secret import Secret
from securecall.sip.message import Request
from securecall.testing.sip_server import LabServer
from tests.pairs.testing.phone import HANG, Phone, close_all
from tests.sip_scripts import answer, invite, within

PASSWORDS = {"alice": "alice knows 4711", "bob": "bob knows 4712"}


@asynccontextmanager
async def lab_server(folder, **options):
    users = {name: Secret(password) for name, password in PASSWORDS.items()}
    async with LabServer(folder, users, **options) as lab:
        try:
            yield lab
        finally:
            await close_all()


async def phone(lab, user):
    return await Phone.connect(lab, user, PASSWORDS[user])


async def registered(lab, user):
    made = await phone(lab, user)
    await made.register()
    return made


async def settled(condition):
    """Return once what other tasks do has made a condition true."""
    async with asyncio.timeout(HANG):
        while not condition():  # noqa: ASYNC110 - nothing tells of a connection that is gone
            await asyncio.sleep(0)


def test_a_call_goes_both_ways_on_the_connections_the_phones_made(tmp_path):
    async def main():
        async with lab_server(tmp_path) as lab:
            alice, bob = await registered(lab, "alice"), await registered(lab, "bob")
            call = asyncio.create_task(alice.prove(invite(body=b"offer")))
            rung = await bob.next()
            assert (rung.method, rung.body) == ("INVITE", b"offer")
            assert rung.target == "sip:bob@bob.invalid"
            assert "proxy-authorization" not in rung.headers
            bob.send(answer(rung, 180))
            bob.send(answer(rung, 200, ("Contact", "<sip:bob@bob.invalid>"), body=b"answer"))
            sent, ok = await call
            assert (ok.status, ok.body, len(ok.vias)) == (200, b"answer", 1)
            alice.send(within("ACK", ok, caller=True, number=sent.cseq.number))
            ack = await bob.next()
            assert (ack.method, ack.target) == ("ACK", "sip:bob@bob.invalid")
            bob.send(within("BYE", rung, caller=False, number=1, user="bob"))
            bye = await alice.next()
            assert isinstance(bye, Request)
            assert (bye.method, bye.target) == ("BYE", "sip:alice@alice.invalid")
            alice.send(answer(bye, 200))
            assert (await bob.next()).status == 200
            assert lab.count("INVITE") == 2
            assert lab.count("INVITE", 407) == 1

    asyncio.run(main())


def test_a_double_line_end_is_answered_with_one(tmp_path):
    async def main():
        async with lab_server(tmp_path) as lab:
            alice = await phone(lab, "alice")
            alice.connection.send(b"\r\n\r\n")
            async with asyncio.timeout(HANG):
                assert await alice.connection.receive() == b"\r\n"

    asyncio.run(main())


def test_restart_cuts_everybody_and_takes_them_again_on_the_same_port(tmp_path):
    async def main():
        async with lab_server(tmp_path) as lab:
            alice, port = await registered(lab, "alice"), lab.port
            await lab.restart()
            await alice.until_closed()
            assert (lab.bindings("alice"), lab.connections) == ([], 0)
            await registered(lab, "alice")
            assert (len(lab.bindings("alice")), lab.port) == (1, port)

    asyncio.run(main())


def test_only_loopback_is_listened_on_unless_danger_is_asked_for(tmp_path):
    with pytest.raises(UsageError, match="loopback"):
        LabServer(tmp_path, {}, host="0.0.0.0")

    async def main():
        async with LabServer(tmp_path, {}, host="0.0.0.0", danger_lan=True) as lab:
            assert lab.port

    asyncio.run(main())
