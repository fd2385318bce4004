"""Two Profanities speak OMEMO with each other through our servers: what ours has to match."""

from __future__ import annotations

from tests.interop import profanity


def test_two_of_them_say_something_and_send_a_file(server, tmp_path):
    profanity.befriend(server, "erin", "frank")
    with (
        profanity.running(tmp_path / "erin", "erin", server) as erin,
        profanity.running(tmp_path / "frank", "frank", server) as frank,
    ):
        erin.generate()
        frank.generate()
        erin.begin_omemo(frank.jid)
        frank.begin_omemo(erin.jid)
        erin.type("a secret of Erin's")
        line = frank.wait_line("a secret of Erin's")
        assert (line.sender, line.encryption) == (erin.jid, "omemo")
        frank.type("one of Frank's")
        line = erin.wait_line("one of Frank's")
        assert (line.sender, line.encryption) == (frank.jid, "omemo")
        assert erin.known_fingerprint(frank.jid) == frank.fingerprint()
        picture = tmp_path / "picture.bin"
        picture.write_bytes(bytes(range(256)) * 40)
        address = erin.send_file(picture)
        frank.wait_line(address)
        frank.save(address, tmp_path / "saved.bin")
        assert (tmp_path / "saved.bin").read_bytes() == picture.read_bytes()


def test_one_that_trusts_nobody_by_itself_says_nothing_until_it_is_told_to(prosody, tmp_path):
    profanity.befriend(prosody, "erin", "frank")
    with (
        profanity.running(tmp_path / "erin", "erin", prosody, trust="manual") as erin,
        profanity.running(tmp_path / "frank", "frank", prosody) as frank,
    ):
        frank.generate()
        erin.generate()
        erin.begin_omemo(frank.jid, trusted=False)
        erin.type("too early")
        erin.wait_screen("cannot be decrypted for any")
        erin.trust(frank.jid, frank.fingerprint())
        erin.type("in time")
        assert frank.wait_line("in time").encryption == "omemo"
        assert "too early" not in {line.text for line in frank.lines()}
