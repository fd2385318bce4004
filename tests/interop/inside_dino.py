"""Dino; run by `test_dino.py` inside a network namespace, not by itself.

It connects to port 5222 of the domain itself, so the domain has to be this machine.
"""

from __future__ import annotations

import pytest

from securecall.testing.daemons import XmppOptions, start_prosody
from tests.interop import dino, own_network, profanity, xmpp_servers
from tests.interop.authority import DOMAIN

CA = "/etc/ssl/certs/ca-certificates.crt"


@pytest.fixture(scope="session")
def home(tmp_path_factory, certificates):
    """A server that Dino finds and trusts."""
    folder = tmp_path_factory.mktemp("home")
    names = f"127.0.0.1 localhost {DOMAIN} conference.{DOMAIN} upload.{DOMAIN}\n"
    own_network.lay_over("/etc/hosts", names, folder)
    own_network.lay_over(CA, certificates.authority.read_text(), folder)
    options = XmppOptions(scram="both", ports={"xmpp": dino.PORT}, web_host=DOMAIN)
    with xmpp_servers.running(start_prosody, folder / "prosody", certificates, options) as server:
        yield server


def test_dino_and_profanity_say_something_to_each_other(home, tmp_path):
    profanity.befriend(home, "alice", "bob")
    with (
        profanity.running(tmp_path / "bob", "bob", home) as bob,
        dino.running(tmp_path / "alice", "alice", home, [bob.jid]) as alice,
    ):
        bob.generate()
        bob.begin_omemo(alice.jid)
        alice.wait_knows(bob.jid)
        assert alice.known_fingerprints(bob.jid) == {bob.fingerprint()}
        assert bob.known_fingerprint(alice.jid) == alice.fingerprint()
        bob.type("from a terminal")
        line = alice.wait_line("from a terminal")
        assert (line.other, line.ours, line.encryption) == (bob.jid, False, "omemo")
        alice.type("from a window")
        line = bob.wait_line("from a window")
        assert (line.sender, line.encryption) == (alice.jid, "omemo")
        assert alice.wait_line("from a window").ours
        picture = alice.picture(tmp_path / "seen.png")
        bob.send_file(picture)
        received = alice.wait_file("seen.png")
        assert received.encryption == "omemo"
        assert received.path.read_bytes() == picture.read_bytes()
