"""The lab against others: real phones at its server, scripted phones at the servers it starts."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.interop import baresip, xmpp_person
from tests.interop.children import need
from tests.interop.kamailio import PASSWORDS
from tests.interop.xmpp_person import XmppPerson
from tests.pairs.testing.phone import Phone, close_all
from tests.paths import PROJECT
from tests.sip_scripts import answer, invite, within


@contextmanager
def lab(*arguments):
    """The command, and what it said when it was ready."""
    users = [f"--user={name}:{password}" for name, password in PASSWORDS.items()]
    command = [sys.executable, "-m", "securecall.cli", "lab", "--json", *users, *arguments]
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield SimpleNamespace(**json.loads(process.stdout.readline()), pid=process.pid)
        finally:
            process.terminate()


def test_two_baresips_register_and_call_each_other(tmp_path):
    need("baresip", "baresip-core")
    with lab("--digest", "MD5") as ready:  # it gives up at a first challenge it does not know
        proxy = SimpleNamespace(
            certificates=SimpleNamespace(authority=ready.authorities),
            tls=ready.port,
            domain=ready.domain,
        )
        with baresip.several(tmp_path, proxy) as phones:
            alice = phones("alice", encryption="dtls_srtp")
            bob = phones("bob", encryption="dtls_srtp")
            alice.wait_registered()
            bob.wait_registered()
            alice.command("dial", f"sip:bob@{ready.domain}")
            bob.wait_event("CALL_RTPESTAB")
            alice.wait_event("CALL_RTPESTAB")
            bob.command("hangup")
            alice.wait_event("CALL_CLOSED")


def test_our_scripted_phones_call_each_other_through_kamailio(tmp_path):
    need("kamailio", "kamailio kamailio-tls-modules")

    async def main(ready):
        place = SimpleNamespace(
            host="127.0.0.1",
            port=ready.servers["kamailio"]["sips"],
            domain=ready.domain,
            authorities=Path(ready.authorities),
        )
        alice, bob = [await Phone.connect(place, n, PASSWORDS[n]) for n in ("alice", "bob")]
        await alice.register()
        await bob.register()
        call = asyncio.create_task(alice.prove(invite()))
        rung = await bob.next()
        bob.send(answer(rung, 200, ("Contact", "<sip:bob@bob.invalid>")))
        sent, ok = await call
        assert ok.status == 200
        alice.send(within("ACK", ok, caller=True, number=sent.cseq.number))
        assert (await bob.next()).method == "ACK"
        bye = within("BYE", ok, caller=True, number=90)
        ending = asyncio.create_task(alice.ask(bye))
        bob.send(answer(await bob.next(), 200))
        assert (await ending).status == 200
        await close_all()

    with lab("--kamailio") as ready:
        asyncio.run(main(ready))


def test_prosody_proves_its_name_and_takes_a_password(tmp_path):
    need("prosody", "prosody")

    async def main(ready):
        port, authorities = ready.servers["prosody"]["xmpps"], Path(ready.authorities)
        at = {"domain": ready.domain, "authorities": authorities}
        with pytest.raises(xmpp_person.Refused, match="not-authorized"):
            await XmppPerson.sign_in(port, "alice", "wrong", **at)
        alice = await XmppPerson.sign_in(port, "alice", PASSWORDS["alice"], **at)
        assert alice.mechanisms == ["SCRAM-SHA-256"]
        assert alice.jid.startswith(f"alice@{ready.domain}/")
        await alice.close()

    with lab("--prosody") as ready:
        asyncio.run(main(ready))


@pytest.mark.skipif(not Path("/proc").exists(), reason="looks at /proc")
def test_daemons_end_with_the_lab():
    need("kamailio", "kamailio kamailio-tls-modules")
    need("prosody", "prosody")
    with lab("--kamailio", "--prosody") as ready:
        children = Path(f"/proc/{ready.pid}/task/{ready.pid}/children").read_text().split()
        assert len(children) == 2
    for child in children:
        with pytest.raises(ProcessLookupError):
            os.kill(int(child), 0)
    assert not Path(ready.folder).exists()
