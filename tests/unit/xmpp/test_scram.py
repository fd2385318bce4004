from __future__ import annotations

import base64
import hashlib

import pytest

from securecall.errors import LoginRefused, ProtocolError
from securecall.xmpp.sasl import Offer
from securecall.xmpp.scram import Binding, Mechanism, Scram, choose, saslprep

SHA1 = Mechanism("SHA-1", plus=False)
SHA256 = Mechanism("SHA-256", plus=False)
# RFC 5802 5 and RFC 7677 3
EXAMPLES = [
    (
        SHA1,
        "fyko+d2lbbFgONRv9qkxdawL",
        "r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
        "c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
        "v=rmF9pqV8S7suAoZWja4dJRkFsKQ=",
    ),
    (
        SHA256,
        "rOprNGfwEbeRWgbNEkqO",
        "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
        "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
        "p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
        "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
    ),
]


NONE = Binding()


def login(mechanism=SHA256, nonce="abc", binding=NONE, offered=None, user="user") -> Scram:
    offer = offered or Offer((str(mechanism),), None)
    return Scram(mechanism, user, b"pencil", nonce=nonce, binding=binding, offered=offer)


@pytest.mark.parametrize(("mechanism", "nonce", "challenge", "final", "proof"), EXAMPLES)
def test_the_examples_of_the_standards(mechanism, nonce, challenge, final, proof):
    scram = login(mechanism, nonce)
    assert scram.first() == f"n,,n=user,r={nonce}".encode()
    parsed = scram.parse_challenge(challenge.encode())
    assert scram.final(parsed, scram.salted(parsed)) == final.encode()
    scram.require_proof(proof.encode())
    with pytest.raises(LoginRefused):
        scram.require_proof(proof[:-4].encode() + b"AAA=")


@pytest.mark.parametrize("proof", [b"", b"v=", b"e=other-error", b"v=x", b"v=AAAA", b"\xff", b"v"])
def test_a_server_that_proves_nothing_is_refused(proof):
    with pytest.raises(LoginRefused):
        login().require_proof(proof)  # not even before there is anything to prove


@pytest.mark.parametrize(
    "challenge",
    [
        "",
        "r=abcd",
        "r=abcd,s=AAAA",
        "s=AAAA,r=abcd,i=4096",
        "r=abc,s=AAAA,i=4096",
        "r=xabcd,s=AAAA,i=4096",
        "r=abcd,s=,i=4096",
        "r=abcd,s=A,i=4096",
        "r=abcd,s=AAAA,i=x",
        "r=abcd,s=AAAA,i=-4096",
        "r=abcd,s=AAAA,i=4096,m=x",
        "m=x,r=abcd,s=AAAA,i=4096",
        "r=abcd,s=AAAA,i=4096,long=x",
        "r=abcd,s=AAAA,i=" + "9" * 20,
        "r=abcd,s=AAAA,i=4096,x=" + "y" * 5000,
        "e=unknown-user",
    ],
)
def test_challenges_that_break_a_rule(challenge):
    with pytest.raises(ProtocolError):
        login().parse_challenge(challenge.encode())


@pytest.mark.parametrize("rounds", [0, 1, 4095, 1_000_001])
def test_rounds_are_bounded(rounds):
    with pytest.raises(LoginRefused, match="rounds"):
        login().parse_challenge(f"r=abcd,s=AAAA,i={rounds}".encode())


def signed(offer: Offer) -> bytes:
    text = "\x1e".join(sorted(offer.mechanisms))
    if offer.bindings is not None:
        text += "\x1f" + "\x1e".join(sorted(offer.bindings))
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"r=abcd,s=AAAA,i=4096,h={digest}".encode()


def test_a_signed_offer_has_to_be_what_was_seen():
    offer = Offer(("SCRAM-SHA-256", "SCRAM-SHA-1"), ("tls-exporter",))
    assert login(offered=offer).parse_challenge(signed(offer)).iterations == 4096
    for other in (
        Offer(("SCRAM-SHA-256",), ("tls-exporter",)),
        Offer(offer.mechanisms, None),
        Offer(offer.mechanisms, ()),
    ):
        with pytest.raises(LoginRefused, match="in between"):
            login(offered=other).parse_challenge(signed(offer))


def test_the_example_of_xep_0474():
    offer = Offer(("SCRAM-SHA-1", "SCRAM-SHA-1-PLUS"), ("tls-server-end-point", "tls-exporter"))
    scram = login(SHA1, offered=offer)
    scram.parse_challenge(b"r=abcd,s=QSXCR+Q6sek8bf92,i=4096,h=G6k/rBLDqgOhRRaCuuatSDFkJ08=")


def test_the_first_message_says_what_is_known_of_binding():
    bound = Binding("tls-unique", b"x")
    plus = Mechanism("SHA-256", plus=True)
    both = Offer(("SCRAM-SHA-256", "SCRAM-SHA-256-PLUS"), None)
    assert login(plus, binding=bound, offered=both).first().startswith(b"p=tls-unique,,n=")
    assert login(binding=bound).first().startswith(b"y,,")  # we could, but saw no offer
    assert login().first().startswith(b"n,,")
    assert login(offered=both).first().startswith(b"n,,")  # it offers, we cannot


def test_names_are_escaped_and_prepared():
    assert login(user="a=b,c").first() == b"n,,n=a=3Db=2Cc,r=abc"
    # RFC 4013 3
    assert saslprep("I\u00adX") == "IX"
    assert saslprep("\u00aa") == "a"
    assert saslprep("\u2168") == "IX"
    for bad in ("\u0007", "\u0627\u0031"):
        with pytest.raises(LoginRefused):
            saslprep(bad)


@pytest.mark.parametrize(
    ("offered", "binding", "chosen"),
    [
        (["SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-512"], False, "SCRAM-SHA-512"),
        (["SCRAM-SHA-512", "SCRAM-SHA-1-PLUS"], True, "SCRAM-SHA-1-PLUS"),
        (["SCRAM-SHA-512-PLUS", "SCRAM-SHA-1"], False, "SCRAM-SHA-1"),
        (["PLAIN", "SCRAM-SHA-1"], True, "SCRAM-SHA-1"),
    ],
)
def test_the_best_of_both_is_chosen(offered, binding, chosen):
    assert str(choose(offered, binding=binding)) == chosen


def test_nothing_of_a_login_is_shown():
    scram = login()
    assert "pencil" not in repr(scram)
    assert "secret" not in repr(Binding("tls-unique", b"secret"))
