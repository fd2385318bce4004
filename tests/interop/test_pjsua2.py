"""What is PJSIP's alone: its one endpoint, its TLS, baresip, killed peers, endings, endurance."""

from __future__ import annotations

import os
import subprocess

import pytest

from securecall.media.endpoints import ToneSource
from tests.interop import authority
from tests.interop.engines import ALICE, BOB, Person, Refused, need_pjsua2, over, refused
from tests.interop.kamailio import PASSWORDS
from tests.interop.people import sip
from tests.interop.sound import tone_seconds, write_wav
from tests.paths import PROJECT

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def person(tmp_path):
    """Start people of a test; they have to end in order."""
    made = []

    def start(name, engine="pjsua2", **options):
        made.append(Person(name, engine, tmp_path, **options))
        return made[-1]

    yield start
    codes = {each.name: each.close() for each in made}
    assert set(codes.values()) <= {0, -9}, [each.said() for each in made]


def test_a_second_account_with_it_is_refused_and_the_first_goes_on(person, proxy):
    alice = person("alice")
    alice.sign_in(proxy)
    assert refused_sign_in(alice, proxy, sip=sip("bob"), password="pw-bob") == "UsageError"
    alice.do("sign_out")
    assert alice.sign_in(proxy) == {"state": "registered"}  # the place is free again


def refused_sign_in(person, proxy, **changes):
    with pytest.raises(Refused) as caught:
        person.sign_in(proxy, **changes)
    return caught.value.kind


def test_the_server_has_to_prove_its_name_and_we_our_password(person, proxy, tmp_path):
    alice = person("alice")
    (tmp_path / "other").mkdir()
    other = str(authority.make(tmp_path / "other").authority)
    assert refused_sign_in(alice, proxy, authorities=other) == "CertificateError"
    # proved for localhost, 127.0.0.1 and the domain; this is none of these, and leads there
    alias = f"127.1:{proxy.tls}"
    refusal = refused_sign_in(alice, proxy, server=alias, server_name="127.1")
    assert refusal == "CertificateError"
    assert refused_sign_in(alice, proxy, server_name="") == "Unsupported"  # another name than ours
    assert refused_sign_in(alice, proxy, password="wrong") == "LoginRefused"
    with pytest.raises(Refused, match="PJMEDIA_SRTP_HAS_DTLS"):
        alice.sign_in(proxy, provider_mode="proxy")  # which is DTLS-SRTP
    assert "inline:" not in alice.said() and "pw-alice" not in alice.said()
    assert alice.sign_in(proxy) == {"state": "registered"}


def test_a_policy_that_wants_proof_makes_and_takes_no_call_and_nobody_shows_a_picture(
    person, proxy
):
    alice, bob = person("alice", policy={"minimum": 2}), person("bob")
    alice.sign_in(proxy)
    bob.sign_in(proxy)
    assert refused(alice, "call", who=sip("bob")) == "PolicyRefused"
    b = bob.do("call", who=sip("alice"))["call"]
    assert refused(bob, "connected", call=b) == "Incompatible"  # 488, without ringing
    with pytest.raises(Refused):
        alice.do("next", seconds=0.3)
    assert refused(bob, "call", who=sip("alice"), video=True) == "Unsupported"


@pytest.mark.parametrize("encryption", ["srtp-mand", ""])
def test_baresip_talks_with_keys_in_signalling_and_not_at_all_without(
    person, proxy, phone, encryption
):
    carol = phone("carol", encryption=encryption)
    carol.wait_registered()
    alice = person("alice")
    alice.sign_in(proxy)
    a = alice.do("call", who=sip("carol"), hertz=ALICE)["call"]
    if not encryption:
        assert refused(alice, "connected", call=a) == "Incompatible"
        alice.do("hang_up", call=a)
        carol.command("dial", sip("alice"))
        with pytest.raises(Refused):  # refused before it rings
            alice.do("next", seconds=1.0)
        return
    assert alice.do("connected", call=a)["level"] == "HOP_BY_HOP"
    assert alice.do("hear", call=a, hertz=440.0)["heard"] >= 1.0  # which it plays, too
    carol.command("transfer", sip("bob"))
    assert alice.do("transfers") == {"targets": [sip("bob")]}  # told, and not done
    carol.command("hangup")
    assert over(alice, a) == "hung-up"
    carol.command("dial", sip("alice"))
    ring = alice.do("next")["ring"]
    a = alice.do("accept", ring=ring, hertz=ALICE)["call"]
    assert alice.do("connected", call=a)["level"] == "HOP_BY_HOP"
    assert alice.do("hear", call=a, hertz=440.0)["heard"] >= 1.0
    alice.do("hang_up", call=a)


def test_baresip_is_sent_to_somebody_who_takes_the_call_and_to_one_who_does_not(
    person, proxy, phone
):
    carol = phone("carol", encryption="srtp-mand")
    carol.wait_registered()
    alice, bob = person("alice"), person("bob")
    alice.sign_in(proxy)
    bob.sign_in(proxy)
    a = alice.do("call", who=sip("carol"), hertz=ALICE)["call"]
    _ = alice.do("connected", call=a)
    sending = alice.begin("transfer", call=a, who=sip("bob"))
    bob.do("decline", ring=bob.do("next")["ring"])
    with pytest.raises(Refused) as caught:
        alice.wait(sending)
    assert caught.value.kind == "NotTransferred"
    assert alice.do("hear", call=a, hertz=440.0)["heard"] >= 0.5  # the call goes on
    alice.do("hang_up", call=a)
    a = alice.do("call", who=sip("carol"), hertz=ALICE)["call"]
    _ = alice.do("connected", call=a)
    sending = alice.begin("transfer", call=a, who=sip("bob"))
    b = bob.do("accept", ring=bob.do("next")["ring"], hertz=BOB)["call"]
    alice.wait(sending)
    assert over(alice, a) in ("hung-up", "vanished")
    assert bob.do("connected", call=b)["level"] == "HOP_BY_HOP"
    assert bob.do("hear", call=b, hertz=440.0)["heard"] >= 1.0
    bob.do("hang_up", call=b)


def in_the_middle(alice, bob, carol):
    """Alice calls Bob, and Bob Carol; the calls as each of the four ends names them."""
    dialling = alice.begin("call", who=sip("bob"), hertz=ALICE)
    b = bob.do("accept", ring=bob.do("next")["ring"])["call"]
    a = alice.wait(dialling)["call"]
    alice.do("connected", call=a)
    bob.do("connected", call=b)
    dialling = bob.begin("call", who=sip("carol"))
    c = carol.do("accept", ring=carol.do("next")["ring"])["call"]
    second = bob.wait(dialling)["call"]
    bob.do("connected", call=second)
    carol.do("connected", call=c)
    return a, b, second, c


@pytest.mark.parametrize("middle", ["pjsua2", "native"])
def test_one_call_is_handed_into_another_and_whoever_is_asked_follows_or_not(person, proxy, middle):
    """Bob has both calls; Alice, with PJSIP, is asked to step into his place with Carol."""
    alice, carol = person("alice"), person("carol", "native")
    bob = person("bob", middle)
    for each in (alice, bob, carol):
        each.sign_in(proxy)
    a, b, second, c = in_the_middle(alice, bob, carol)
    # asked by PJSIP or not, she declines as far as Bob is told, and calls whom her person wants
    sending = bob.begin("transfer", call=b, to=second)
    assert alice.do("transfers")["targets"][0].startswith(sip("carol"))
    with pytest.raises(Refused) as caught:
        bob.wait(sending)
    assert caught.value.kind == "NotTransferred"
    following = alice.begin("follow", hertz=ALICE)
    ring = carol.do("next")
    assert ring["replaces"]
    followed = alice.wait(following)
    assert (followed["address"], followed["waits"]) == (sip("carol"), False)
    d = carol.do("accept", ring=ring["ring"], hertz=BOB, replace=True)["call"]
    assert alice.do("connected", call=followed["call"])["level"] == "HOP_BY_HOP"
    assert alice.do("hear", call=followed["call"], hertz=BOB)["heard"] >= 1.0
    assert over(carol, c) == "hung-up"
    carol.do("hang_up", call=d)
    for each, call in ((alice, a), (bob, second)):
        each.do("hang_up", call=call)


def test_a_peer_with_our_own_engine_is_sent_into_another_call_of_pjsip_s(person, proxy):
    bob = person("bob")
    alice, carol = person("alice", "native"), person("carol", "native")
    for each in (alice, bob, carol):
        each.sign_in(proxy)
    _, b, second, _ = in_the_middle(alice, bob, carol)
    sending = bob.begin("transfer", call=b, to=second)
    alice.do("transfers")
    following = alice.begin("follow", hertz=ALICE)
    ring = carol.do("next")
    assert ring["replaces"]
    followed = alice.wait(following)
    assert followed["waits"]
    d = carol.do("accept", ring=ring["ring"], hertz=BOB, replace=True)["call"]
    bob.wait(sending)
    assert (over(bob, b), over(bob, second)) == ("hung-up", "hung-up")
    assert alice.do("hear", call=followed["call"], hertz=BOB)["heard"] >= 1.0
    carol.do("hang_up", call=d)


def test_a_peer_that_is_killed_ends_the_call_in_every_state(person, proxy):
    alice = person("alice", policy={"ring_seconds": 2.0})
    alice.sign_in(proxy)
    alice.do("silence", seconds=1.0)
    bobs = [person("bob") for _ in range(4)]
    for bob, when in zip(bobs, ("calling us", "ringing", "talking", "on hold"), strict=True):
        bob.sign_in(proxy)
        if when == "calling us":
            dialling = bob.begin("call", who=sip("alice"))
            ring = alice.do("next")["ring"]
            bob.wait(dialling)
            bob.kill()
            assert alice.do("gone", ring=ring)["gone"]
            continue
        dialling = alice.begin("call", who=sip("bob"), hertz=ALICE)
        ring = bob.do("next")["ring"]
        a = alice.wait(dialling)["call"]
        if when != "ringing":
            b = bob.do("accept", ring=ring)["call"]
            alice.do("connected", call=a)
            bob.do("connected", call=b)
        if when == "on hold":
            bob.do("hold", call=b)
        bob.kill()
        if when == "on hold":  # nothing is expected of a peer that holds us: ended by us
            alice.do("hang_up", call=a)
            continue
        expected = "NoAnswer" if when == "ringing" else "PeerVanished"
        assert refused(alice, "ended", call=a) == expected
        alice.do("hang_up", call=a)
    alice.do("forget")
    assert alice.do("measure")["calls"] == 0


def test_ending_in_the_midst_of_a_call_is_orderly_and_what_is_forgotten_harms_nothing(
    person, proxy
):
    alice, bob = person("alice"), person("bob")
    alice.sign_in(proxy)
    bob.sign_in(proxy)
    dialling = alice.begin("call", who=sip("bob"), hertz=ALICE)
    ring = bob.do("next")["ring"]
    alice.wait(dialling)
    b = bob.do("accept", ring=ring)["call"]
    bob.do("connected", call=b)
    alice.do("forget")  # the application holds nothing any more; the collector runs elsewhere
    assert bob.do("hear", call=b, hertz=ALICE)["heard"] >= 1.0
    again = alice.begin("call", who=sip("bob"))
    bob.do("next")  # rings
    alice.wait(again)
    assert (alice.close(), bob.close()) == (0, 0)


def test_the_loop_may_end_without_a_word(person, proxy):
    """Nobody signs out, and the interpreter ends: PJSIP is let go in order all the same."""
    alice = person("alice")
    alice.sign_in(proxy)
    alice.do("abandon")
    assert alice.process.wait(15) == 0, alice.said()


def test_the_example_places_a_call_with_it(person, proxy, tmp_path):
    bob = person("bob")
    bob.sign_in(proxy)
    for name, text in (("passphrase", "correct horse"), ("password", PASSWORDS["alice"])):
        (tmp_path / name).write_text(text + "\n")
    play(tmp_path / "said.wav", ALICE, seconds=3.0)
    command = [need_pjsua2(), PROJECT / "examples" / "place_call.py", "--engine", "pjsua2"]
    command += ["--authorities", proxy.certificates.authority, tmp_path / "alice"]
    command += [tmp_path / "passphrase", sip("bob"), tmp_path / "said.wav", tmp_path / "heard.wav"]
    command += ["--account", sip("alice"), tmp_path / "password", f"localhost:{proxy.tls}"]
    with (tmp_path / "said").open("wb") as said:
        environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
        example = subprocess.Popen(
            [str(part) for part in command], stdout=said, stderr=said, env=environment
        )
    try:
        calling = bob.begin("next", seconds=30.0)
        b = bob.do("accept", ring=bob.wait(calling, 35)["ring"], hertz=BOB)["call"]
        assert bob.do("hear", call=b, hertz=ALICE)["heard"] >= 1.0
        assert over(bob, b) == "hung-up"
        assert example.wait(20) == 0, (tmp_path / "said").read_text()
    finally:
        example.kill()
        example.wait()
    assert "PJSIP carried this call" in (tmp_path / "said").read_text()
    assert tone_seconds(tmp_path / "heard.wav", BOB) > 1.0


def play(path, hertz, *, seconds):
    source = ToneSource(hertz)
    write_wav(path, source.read(round(16000 * seconds), 16000), rate=16000, channels=1)


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_500_calls_in_a_row(person, proxy):
    alice, bob = person("alice"), person("bob")
    alice.sign_in(proxy)
    bob.sign_in(proxy)
    bob.do("take_all")
    assert alice.do("one_after_the_other", who=sip("bob"), count=50, within=300)["failed"] == []
    before = alice.do("measure"), bob.do("measure")
    assert alice.do("one_after_the_other", who=sip("bob"), count=450, within=1700)["failed"] == []
    after = alice.do("measure"), bob.do("measure")
    for earlier, later in zip(before, after, strict=True):
        assert later["threads"] <= earlier["threads"] + 1
        assert later["rss"] - earlier["rss"] < 8 * 1024, (earlier, later)  # KiB
        assert later["calls"] == 0
