"""What a token is asked for, and what is made of its answers, over a token of the test's own.

That real ones take it is shown with SoftHSM, in `interop/test_keepers.py`.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.keywrap import (
    InvalidUnwrap,
    aes_key_unwrap,
    aes_key_wrap,
)

from securecall.errors import (
    LocalError,
    ProtocolError,
    Unsupported,
    UsageError,
    WrongPassphrase,
)
from securecall.keys.signing import require_ed25519_signature
from securecall.secret import Secret
from securecall.store.lock import KeeperKind
from securecall.store.token import Token

p11 = pytest.importorskip("pkcs11", reason="the extra pkcs11")
A, CLASS = p11.Attribute, p11.ObjectClass
PIN, SECRET = "567890", bytes(range(100, 132))


class Thing(dict):
    """An object in a token, by its attributes."""

    def __init__(self, card, attributes):
        super().__init__(attributes)
        self.card = card

    def destroy(self):
        if self.card.stuck:
            raise p11.DeviceError
        self.card.things.remove(self)

    def wrap_key(self, value, *, mechanism):
        assert mechanism is p11.Mechanism.AES_KEY_WRAP
        assert value[A.EXTRACTABLE]
        return aes_key_wrap(self[A.VALUE], value[A.VALUE])

    def unwrap_key(self, kind, key_type, data, *, mechanism, template):
        assert (kind, key_type) == (CLASS.SECRET_KEY, p11.KeyType.AES)
        assert mechanism is p11.Mechanism.AES_KEY_WRAP
        # a token shows a value, and forgets it with the session, only where it is told so
        assert template == {A.TOKEN: False, A.SENSITIVE: False, A.EXTRACTABLE: True}
        try:
            return {A.VALUE: aes_key_unwrap(self[A.VALUE], data)}
        except (InvalidUnwrap, ValueError) as e:
            raise p11.PKCS11Error from e

    def sign(self, data, *, mechanism):
        assert mechanism is p11.Mechanism.EDDSA
        return self[A.VALUE].sign(data + self.card.fault)


class Card:
    """A token, its slot, its session: one that does what it is told and remembers all of it."""

    def __init__(self):
        self.things: list[Thing] = []
        self.opened: list[dict] = []
        self.open_now = 0
        self.failing: Exception | None = None
        self.stuck = False
        self.fault = b""
        self.octets = b""

    def get_token(self, *, token_label):
        if token_label != "ours":
            raise p11.NoSuchToken
        return self

    @contextlib.contextmanager
    def open(self, **how):
        if self.failing is not None:
            raise self.failing
        self.opened.append(how)
        self.open_now += 1
        assert self.open_now == 1, "one login per process and token"
        try:
            yield self
        finally:
            self.open_now -= 1

    def create_object(self, attributes):
        thing = Thing(self, attributes)
        if attributes[A.TOKEN]:
            self.things.append(thing)
        return thing

    def get_objects(self, template):
        return iter([t for t in self.things if template.items() <= t.items()])

    def generate_key(self, key_type, bits, *, label, store, capabilities, template):
        assert store
        self.made = (key_type, bits, capabilities, template)
        kind = {A.CLASS: CLASS.SECRET_KEY, A.LABEL: label, A.TOKEN: True}
        return self.create_object({**kind, A.VALUE: b"k" * (bits // 8), **template})

    def create_domain_parameters(self, key_type, attributes, *, local):
        assert key_type is p11.KeyType.EC_EDWARDS
        assert attributes == {A.EC_PARAMS: b"\x06\x03\x2b\x65\x70"}, "Ed25519 (RFC 8410 3)"
        assert local
        return self

    def generate_keypair(self, *, mechanism, store, label):
        assert mechanism is p11.Mechanism.EC_EDWARDS_KEY_PAIR_GEN
        assert store
        key = Ed25519PrivateKey.generate()
        point = self.octets + key.public_key().public_bytes_raw()
        fixed = {A.LABEL: label, A.TOKEN: True}
        self.create_object({**fixed, A.CLASS: CLASS.PRIVATE_KEY, A.VALUE: key})
        self.create_object({**fixed, A.CLASS: CLASS.PUBLIC_KEY, A.EC_POINT: point})


@pytest.fixture
def card(monkeypatch):
    card = Card()
    monkeypatch.setattr(p11, "lib", lambda name: card)
    return card


@pytest.fixture
def token(card):
    return Token(Path("module.so"), label="ours", pin=Secret(PIN))


def test_a_session_writes_and_logs_in_with_the_pin(card, token):
    token.generation(bytes(8))
    assert card.opened == [{"rw": True, "user_pin": PIN}]
    assert repr(token) == "<Token 'ours'>"
    assert token.kind is KeeperKind.TOKEN


def test_what_is_wrapped_comes_back_and_its_key_does_not(card, token):
    note = token.keep(Secret(SECRET))
    assert len(note) == 8 + 40, "a name, and 32 bytes wrapped (RFC 3394)"
    assert card.made == (
        p11.KeyType.AES,
        256,
        p11.MechanismFlag.WRAP | p11.MechanismFlag.UNWRAP,
        {A.SENSITIVE: True, A.EXTRACTABLE: False},
    )
    (kept,) = card.things
    assert kept[A.LABEL] == f"securecall {note[:8].hex()}"
    assert token.fetch(note) == Secret(SECRET)
    assert token.keep(Secret(SECRET))[:8] != note[:8]


def test_what_was_wrapped_is_not_left_in_the_token(card, token, monkeypatch):
    seen = []
    true = Card.create_object
    monkeypatch.setattr(Card, "create_object", lambda self, a: seen.append(a) or true(self, a))
    token.keep(Secret(SECRET))
    (value,) = [a for a in seen if a.get(A.VALUE) == SECRET]
    assert value == {
        A.CLASS: CLASS.SECRET_KEY,
        A.KEY_TYPE: p11.KeyType.AES,
        A.VALUE: SECRET,
        A.TOKEN: False,
        A.SENSITIVE: False,
        A.EXTRACTABLE: True,
    }


def test_a_key_of_another_length_is_none_of_ours(card, token):
    note = token.keep(Secret(bytes(24)))
    with pytest.raises(LocalError, match="ours holds no key of this key store"):
        token.fetch(note)
    with pytest.raises(LocalError, match="holds no key"):
        token.fetch(bytes(8) + note[8:])
    with pytest.raises(LocalError, match="PKCS11Error"):
        token.fetch(note[:-1] + bytes([note[-1] ^ 1]))


def test_forgetting_destroys_the_key_and_its_number_and_nothing_else(card, token):
    note, other = token.keep(Secret(SECRET)), token.keep(Secret(SECRET))
    for each in (note, other):
        token.keep_generation(each, 7)
    token.make_root("identity")
    assert len(card.things) == 6
    token.forget(note)
    assert len(card.things) == 4
    assert (token.generation(note), token.generation(other)) == (0, 7)
    assert token.fetch(other) == Secret(SECRET)
    with pytest.raises(LocalError):
        token.fetch(note)


def test_the_newest_number_counts_and_the_older_ones_go(card, token):
    note = token.keep(Secret(SECRET))
    assert token.generation(note) == 0
    for number in (3, 2**63, 5):
        token.keep_generation(note, number)
        assert token.generation(note) == number
    kept = [thing for thing in card.things if thing[A.CLASS] is CLASS.DATA]
    assert kept == [
        {
            A.CLASS: CLASS.DATA,
            A.LABEL: f"securecall {note[:8].hex()} generation",
            A.VALUE: (5).to_bytes(8, "big"),
            A.TOKEN: True,
            A.PRIVATE: True,
        }
    ]


def test_a_token_pulled_out_in_between_keeps_the_newer_number(card, token):
    note = token.keep(Secret(SECRET))
    token.keep_generation(note, 3)
    card.stuck = True
    with pytest.raises(LocalError):
        token.keep_generation(note, 4)
    assert token.generation(note) == 4
    card.stuck = False
    token.keep_generation(note, 5)
    assert sum(thing[A.CLASS] is CLASS.DATA for thing in card.things) == 1


@pytest.mark.parametrize("value", [b"", bytes(7), bytes(9)])
def test_a_number_of_another_form_is_not_ours(card, token, value):
    note = token.keep(Secret(SECRET))
    token.keep_generation(note, 3)
    card.things[-1][A.VALUE] = value
    for use in (lambda: token.generation(note), lambda: token.keep_generation(note, 4)):
        with pytest.raises(LocalError, match="no number of ours"):
            use()


@pytest.mark.parametrize("octets", [b"", b"\x04\x20"], ids=["raw", "OCTET STRING"])
def test_a_root_key_signs_whichever_way_its_point_is_written(card, token, octets):
    card.octets = octets
    assert token.has_root("identity") is False
    signer = token.make_root("identity")
    assert token.has_root("identity") is True
    require_ed25519_signature(signer.public, signer.sign(b"data"), b"data")
    assert token.root("identity").public == signer.public
    assert repr(signer) == "<TokenSigner 'identity' in <Token 'ours'>>"
    with pytest.raises(UsageError, match="already"):
        token.make_root("identity")
    assert token.make_root("another").public != signer.public


def test_a_root_key_that_is_not_there_is_named(token):
    token.make_root("identity")
    for use in (token.root, lambda name: token.sign(name, b"data")):
        with pytest.raises(LocalError, match="holds no key 'other'"):
            use("other")


def test_a_point_that_is_no_key_is_refused(card, token):
    token.make_root("identity")
    card.things[-1][A.EC_POINT] = b"\x04\x20\x01" + bytes(31)
    with pytest.raises(ProtocolError):
        token.root("identity")


def test_a_fault_while_signing_gives_no_signature(card, token):
    signer = token.make_root("identity")
    card.fault = b"!"
    with pytest.raises(ProtocolError):
        signer.sign(b"data")


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (p11.PinIncorrect(), WrongPassphrase, "refuses this PIN"),
        (p11.PinLenRange(), WrongPassphrase, "refuses this PIN"),
        (p11.PinInvalid(), WrongPassphrase, "refuses this PIN"),
        (p11.PinLocked(), LocalError, "locked"),
        (p11.NoSuchToken(), LocalError, "put it in"),
        (p11.DeviceRemoved(), LocalError, "DeviceRemoved"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_what_a_token_complains_of_is_told_apart(card, token, error, kind, words):
    card.failing = error
    for use in (
        lambda: token.keep(Secret(SECRET)),
        lambda: token.fetch(bytes(48)),
        lambda: token.forget(bytes(48)),
        lambda: token.generation(bytes(48)),
        lambda: token.keep_generation(bytes(48), 1),
        lambda: token.has_root("identity"),
        lambda: token.make_root("identity"),
    ):
        with pytest.raises(LocalError, match=words) as caught:
            use()
        assert type(caught.value) is kind
        assert PIN not in str(caught.value)
    card.failing = None
    assert token.generation(bytes(48)) == 0, "nothing is left locked"


def test_another_token_in_the_slot_is_not_ours(card):
    with pytest.raises(LocalError, match="no token theirs"):
        Token(Path("module.so"), label="theirs", pin=Secret(PIN)).generation(bytes(8))


def test_threads_take_turns(token):
    note, done = token.keep(Secret(SECRET)), []
    threads = [
        threading.Thread(target=lambda: done.append(token.fetch(note) == Secret(SECRET)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert done == [True] * 8


def test_a_pin_that_is_no_text_is_refused_and_not_shown(card):
    with pytest.raises(UsageError, match="a PIN is text") as caught:
        Token(Path("module.so"), label="ours", pin=Secret(b"\xff12345"))
    assert caught.value.__suppress_context__
    assert caught.value.__cause__ is None


def test_a_module_that_cannot_be_loaded_is_named(monkeypatch):
    def fail(name):
        raise p11.PKCS11Error

    monkeypatch.setattr(p11, "lib", fail)
    with pytest.raises(LocalError, match=r"nothing\.so cannot be loaded"):
        Token(Path("nothing.so"), label="ours", pin=Secret(PIN))


def test_without_the_extra_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pkcs11", None)
    with pytest.raises(Unsupported, match=r"securecall\[pkcs11\]"):
        Token(Path("module.so"), label="ours", pin=Secret(PIN))
