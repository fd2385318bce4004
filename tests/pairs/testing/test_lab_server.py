"""The lab server as raw clients meet it, over TLS on loopback."""

from __future__ import annotations

import asyncio
import re
import socket
from contextlib import asynccontextmanager

import pytest

from securecall.errors import ConnectFailed, UsageError
from securecall.secret import Secret
from securecall.sip.message import Request
from securecall.testing.sip_server import MOST_USERS, LabServer
from tests.pairs.sip.test_hostile_peers import JUNK
from tests.pairs.testing.phone import HANG, Phone, close_all
from tests.sip_scripts import (
    again,
    answer,
    challenge_of,
    credentials,
    invite,
    register,
    request,
    within,
)

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


async def until(lab, condition):
    """Return once the server has come so far."""
    async with asyncio.timeout(HANG):
        await lab.until(condition)


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


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "127.example.com", ""])
def test_only_loopback_is_listened_on_unless_danger_is_asked_for(tmp_path, host):
    with pytest.raises(UsageError, match="loopback"):
        LabServer(tmp_path, {}, host=host)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1", "localhost"])
def test_every_loopback_address_can_be_listened_on(tmp_path, host):
    if ":" in host:
        try:
            socket.create_server((host, 0), family=socket.AF_INET6).close()
        except OSError:
            pytest.skip("no IPv6 here")

    async def main():
        async with lab_server(tmp_path, host=host) as lab:
            alice, bob = await registered(lab, "alice"), await registered(lab, "bob")
            call = asyncio.create_task(alice.prove(invite()))
            rung = await bob.next()
            assert len(rung.addresses("record-route")) == 2
            bob.send(answer(rung, 486))
            assert (await call)[1].status == 486

    asyncio.run(main())


def test_others_are_served_where_danger_is_asked_for(tmp_path):

    async def main():
        async with LabServer(tmp_path, {}, host="0.0.0.0", danger_lan=True) as lab:
            assert lab.port

    asyncio.run(main())


def test_what_was_registered_on_a_connection_goes_when_it_closes(tmp_path):
    async def main():
        async with lab_server(tmp_path) as lab:
            alice, bob = await registered(lab, "alice"), await registered(lab, "bob")
            assert len(lab.bindings("bob")) == 1
            await bob.connection.close()
            await until(lab, lambda: not lab.bindings("bob"))
            assert (await alice.prove(invite()))[1].status == 480

    asyncio.run(main())


def test_a_phone_that_is_cut_finds_out_and_only_that_one(tmp_path):
    async def main():
        async with lab_server(tmp_path) as lab:
            alice, bob = await registered(lab, "alice"), await registered(lab, "bob")
            lab.cut("bob")
            await bob.until_closed()
            await until(lab, lambda: not lab.bindings("bob"))
            assert (await alice.register()).status == 200

    asyncio.run(main())


def test_two_phones_ring_and_the_one_that_is_late_is_told(tmp_path):
    async def main():
        async with lab_server(tmp_path) as lab:
            alice = await registered(lab, "alice")
            one, two = await registered(lab, "bob"), await phone(lab, "bob")
            await two.register("<sip:bob@two.invalid>")
            call = asyncio.create_task(alice.prove(invite()))
            first, second = await one.next(), await two.next()
            two.send(answer(second, 180))
            one.send(answer(first, 200, ("Contact", "<sip:bob@bob.invalid>")))
            assert (await call)[1].status == 200
            assert (await two.next()).method == "CANCEL"

    asyncio.run(main())


def test_faults_are_had_when_told_and_are_over_when_told(tmp_path):
    async def main():
        async with lab_server(tmp_path) as lab:
            alice = await registered(lab, "alice")
            lab.terms.refuse = 503
            assert (await alice.prove(register("alice")))[1].status == 503
            lab.terms.refuse = 0
            lab.shorten(0.0)
            assert lab.bindings("alice") == []
            lab.refuse_calls(486)
            await (await phone(lab, "bob")).register()
            assert (await alice.prove(invite()))[1].status == 486
            lab.refuse_calls(0)
            lab.terms.least = lab.terms.usual = 1
            assert ";expires=1" in (await alice.register()).need("contact")

    asyncio.run(main())


def test_a_nonce_can_be_made_stale(tmp_path):
    async def main():
        async with lab_server(tmp_path) as lab:
            alice = await phone(lab, "alice")
            first = register("alice")
            challenge = challenge_of(await alice.ask(first))
            lab.stale_nonces()
            second = again(first)
            second.headers.add(*credentials(challenge, second, PASSWORDS["alice"]))
            refused = await alice.ask(second)
            assert (refused.status, challenge_of(refused)["stale"]) == (401, "true")

    asyncio.run(main())


def test_a_deaf_server_says_nothing_until_it_hears_again(tmp_path):
    async def main():
        async with lab_server(tmp_path) as lab:
            alice = await phone(lab, "alice")
            lab.faults.deaf = True
            alice.send(request("OPTIONS", "sip:lab.test", ("X", "unheard")))
            bob = await phone(lab, "bob")
            lab.faults.deaf = False
            assert (await bob.ask(request("OPTIONS", "sip:lab.test"))).status == 200
            lab.faults.delay = 0.001
            assert (await bob.ask(request("OPTIONS", "sip:lab.test"))).status == 200

    asyncio.run(main())


def test_a_server_that_is_down_takes_nobody_and_is_back_on_its_port(tmp_path):
    async def main():
        async with lab_server(tmp_path) as lab:
            await lab.go_down()
            with pytest.raises(ConnectFailed):
                await phone(lab, "alice")
            await lab.go_up()
            await registered(lab, "alice")

    asyncio.run(main())


@pytest.mark.parametrize("junk", JUNK)
def test_bytes_that_are_no_sip_end_one_connection_and_no_other(tmp_path, junk):
    async def main():
        async with lab_server(tmp_path) as lab:
            alice, eve = await registered(lab, "alice"), await phone(lab, "bob")
            eve.connection.send(JUNK[junk])
            await eve.until_closed()
            await until(lab, lambda: lab.connections == 1)
            assert (await alice.register()).status == 200

    asyncio.run(main())


def test_nothing_seen_or_logged_holds_a_password_or_what_proves_one(tmp_path, caplog):
    async def main():
        heard = []
        with caplog.at_level("DEBUG"):
            async with lab_server(tmp_path, on_seen=heard.append) as lab:
                alice = await phone(lab, "alice")
                sent, _ = await alice.prove(register("alice"))
                told = repr([lab, lab.seen, lab.bindings("alice"), heard]) + caplog.text
        proof = re.search('response="([0-9a-f]+)"', sent.need("authorization"))[1]
        assert [s.status for s in heard] == [0, 401, 0, 200]
        for secret in (PASSWORDS["alice"], proof):
            assert secret not in told

    asyncio.run(main())


def test_names_and_algorithms_are_looked_at(tmp_path):
    for options in (
        {"algorithms": ("SHA-3",)},
        {"users": {"a b": Secret("x")}},
        {"users": {"": Secret("x")}},
        {"domain": 'a"b'},
        {"domain": "a;b"},
    ):
        with pytest.raises(UsageError):
            LabServer(tmp_path, **({"users": {}} | options))
    with pytest.raises(UsageError):
        LabServer(tmp_path, {f"n{n}": Secret("x") for n in range(MOST_USERS + 1)})
