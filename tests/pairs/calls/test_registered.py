"""Our clients at our own registrar: they come in by their registration, and stay reachable."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest

import securecall as sc
from securecall.calls.report_parties import SERVERS
from securecall.events import RegistrationChanged
from securecall.testing.sip_server import LabServer

PASSPHRASE = sc.Secret("correct horse battery staple")
PASSWORDS = {name: f"pw-{name}" for name in ("alice", "bob", "carol")}
GUARD_SECONDS = 30.0


@asynccontextmanager
async def lab(folder, **options):
    secrets = {name: sc.Secret(password) for name, password in PASSWORDS.items()}
    async with LabServer(folder / "lab", secrets, **options) as server:
        yield server


@asynccontextmanager
async def person(name, server, folder, *, password=None, policy=None, **options):
    async with sc.open(folder / name, passphrase=PASSPHRASE, create=True, policy=policy) as client:
        await client.sign_in(
            f"{name}@{server.domain}",
            password=sc.Secret(password or PASSWORDS[name]),
            server=(server.host, server.port),
            authorities=server.authorities,
            **options,
        )
        yield client


def at(name, server):
    return f"sip:{name}@{server.domain}"


async def talk(caller, callee, address):
    """Call, be answered, hang up; returns both ends."""
    async with caller.call(address) as call:
        async with (await callee.next_call()).accept() as answer:
            await call.connected()
            await answer.connected()
            await call.hang_up()
            assert await answer.ended() is sc.EndReason.HUNG_UP
    return call, answer


def watch(client, *states):
    """Wait until the account went through these states, in order."""

    async def wait():
        wanted = list(states)
        async for event in client.events():
            if isinstance(event, RegistrationChanged) and event.state is wanted[0]:
                wanted.pop(0)
                if not wanted:
                    return event
        raise AssertionError("the events ended")

    return asyncio.ensure_future(wait())


def run(main):
    async def guarded():
        async with asyncio.timeout(GUARD_SECONDS):
            await main()

    asyncio.run(guarded())


@pytest.mark.parametrize("algorithms", [("SHA-256", "MD5"), ("MD5",), ("SHA-512-256", "SHA-256")])
def test_two_people_call_each_other_with_address_and_password(tmp_path, algorithms):
    async def main():
        async with (
            lab(tmp_path, algorithms=algorithms) as server,
            person("alice", server, tmp_path) as alice,
            person("bob", server, tmp_path) as bob,
        ):
            call, answer = await talk(alice, bob, at("bob", server))
            assert call.security.level is sc.OPPORTUNISTIC
            for end in (call, answer):  # one server, by whatever name; and no phone of the two
                servers = [p.name for p in end.report.parties if p.role in SERVERS]
                assert servers == [server.domain]
            call, answer = await talk(bob, alice, at("alice", server))
            call, answer = await talk(alice, bob, at("bob", server))
            assert (call.security.level, answer.security.level) == (sc.E2EE, sc.E2EE)

    run(main)


def test_leaving_takes_the_binding_along(tmp_path):
    async def main():
        async with lab(tmp_path) as server:
            async with person("alice", server, tmp_path):
                assert len(server.bindings("alice")) == 1
                assert server.bindings("alice")[0].instance.startswith("urn:uuid:")
            assert not server.bindings("alice")
            assert (server.count("REGISTER", 200), server.count("REGISTER", 500)) == (2, 0)

    run(main)


def test_the_name_of_an_installation_stays(tmp_path):
    async def main():
        async with lab(tmp_path) as server:
            names = set()
            for _ in range(2):
                async with person("alice", server, tmp_path):
                    names.add(server.bindings("alice")[0].instance)
            assert len(names) == 1

    run(main)


def test_a_registration_is_refreshed_before_it_ends_and_unasked_credentials_save_a_challenge(
    tmp_path,
):
    async def main():
        async with lab(tmp_path) as server:
            server.terms.usual = server.terms.least = server.terms.most = 2
            async with person("alice", server, tmp_path):
                await server.until(lambda: server.count("REGISTER", 200) == 2)
                assert (server.count("REGISTER", 401), server.count("REGISTER", 500)) == (1, 0)

    run(main)


def test_a_server_that_asks_for_longer_gets_it(tmp_path):
    async def main():
        async with lab(tmp_path) as server:
            server.terms.least = server.terms.usual = server.terms.most = 3600
            async with person("alice", server, tmp_path) as alice:
                assert server.count("REGISTER", 423) == 1
                assert alice.accounts[0].state is sc.RegistrationState.REGISTERED

    run(main)


def test_a_restart_of_the_server_is_survived_by_registration_and_call(tmp_path):
    async def main():
        async with (
            lab(tmp_path) as server,
            person("alice", server, tmp_path) as alice,
            person("bob", server, tmp_path) as bob,
        ):
            lost = sc.RegistrationState.CONNECTING, sc.RegistrationState.REGISTERED
            back = [watch(alice, *lost), watch(bob, *lost)]
            async with alice.call(at("bob", server)) as call:
                async with (await bob.next_call()).accept() as answer:
                    await call.connected()
                    await answer.connected()
                    await server.restart()
                    await asyncio.gather(*back)
                    # this server's routes outlive it, and our contact is one it can find again
                    await call.hang_up()
                    assert await answer.ended() is sc.EndReason.HUNG_UP
            await talk(bob, alice, at("alice", server))

    run(main)


def test_a_connection_cut_on_the_way_is_made_again(tmp_path):
    async def main():
        async with lab(tmp_path) as server, person("alice", server, tmp_path) as alice:
            back = watch(alice, sc.RegistrationState.CONNECTING, sc.RegistrationState.REGISTERED)
            await asyncio.sleep(0)
            server.cut("alice")
            assert (await back).error is None
            assert len(server.bindings("alice")) == 1

    run(main)


def test_an_old_nonce_is_no_wrong_password(tmp_path):
    async def main():
        async with lab(tmp_path) as server:
            server.terms.usual = server.terms.least = server.terms.most = 2
            async with person("alice", server, tmp_path) as alice:
                server.stale_nonces()
                await server.until(lambda: server.count("REGISTER", 200) == 2)
                assert server.count("REGISTER", 401) == 2
                assert alice.accounts[0].state is sc.RegistrationState.REGISTERED

    run(main)


def test_a_wrong_password_is_tried_once(tmp_path):
    async def main():
        async with lab(tmp_path) as server:
            with pytest.raises(sc.LoginRefused):
                async with person("alice", server, tmp_path, password="wrong"):
                    pass
            assert server.count("REGISTER") == 2  # without, and with a password
            assert not server.bindings("alice")

    run(main)


def test_a_password_for_one_realm_is_not_shown_to_another(tmp_path):
    async def main():
        async with lab(tmp_path) as server:
            with pytest.raises(sc.LoginRefused):
                async with person("alice", server, tmp_path, realm="elsewhere.example"):
                    pass
            assert server.count("REGISTER") == 1

    run(main)


def test_a_server_that_is_busy_is_named_as_that(tmp_path):
    async def main():
        async with lab(tmp_path) as server:
            server.terms.refuse = 503
            with pytest.raises(sc.RegistrationFailed) as caught:
                async with person("alice", server, tmp_path):
                    pass
            assert caught.value.status == 503

    run(main)


def test_several_accounts_are_called_and_call_each_under_its_own_address(tmp_path):
    async def main():
        async with (
            lab(tmp_path) as server,
            person("alice", server, tmp_path) as alice,
            person("bob", server, tmp_path) as bob,
        ):
            second = await alice.sign_in(
                f"carol@{server.domain}",
                password=sc.Secret(PASSWORDS["carol"]),
                server=(server.host, server.port),
                authorities=server.authorities,
            )
            assert [str(a.address) for a in alice.accounts] == [
                at("alice", server),
                at("carol", server),
            ]
            for name, account in (("alice", None), ("carol", second)):
                async with alice.call(at("bob", server), account=account) as call:
                    ring = await bob.next_call()
                    assert str(ring.caller) == at(name, server)
                    await ring.decline()
                    with pytest.raises(sc.Declined):
                        await call.connected()
            async with bob.call(at("carol", server)):
                assert str((await alice.next_call()).called) == at("carol", server)
            await alice.sign_out(second)
            assert not server.bindings("carol")
            with pytest.raises(sc.UsageError):
                _ = alice.call(at("bob", server), account=second)

    run(main)


def test_a_connection_whose_address_is_gone_is_left_and_made_anew_at_once(tmp_path, monkeypatch):
    async def main():
        async with lab(tmp_path) as server, person("alice", server, tmp_path) as alice:
            assert server.count("REGISTER", 200) == 1
            alice._network_changed()  # the control: the address is still there
            await asyncio.sleep(0.05)
            assert server.count("REGISTER", 200) == 1
            came_back = watch(
                alice, *(sc.RegistrationState(s) for s in ("connecting", "registered"))
            )
            await asyncio.sleep(0)
            with monkeypatch.context() as patch:
                patch.setattr("securecall.sip.connections.is_ours", lambda _address: False)
                alice._network_changed()
            await came_back
            assert server.count("REGISTER", 200) == 2

    run(main)
