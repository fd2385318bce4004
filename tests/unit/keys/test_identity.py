from __future__ import annotations

import hashlib

import pytest

from securecall.errors import NotPrimary, ProtocolError, UsageError
from securecall.keys.device import DeviceKey, device_proof_input
from securecall.keys.encoding import label, length_prefixed, sha512
from securecall.keys.identity import RootKey, require_ed25519_public, root_fingerprint
from securecall.keys.signing import require_ed25519_signature, require_p256_signature
from securecall.secret import Secret
from tests.forge_statement import NOW, device_key, root_key

P = 2**255 - 19
D = -121665 * pow(121666, -1, P) % P


def test_lengths_and_labels_are_as_specified():
    assert length_prefixed(b"ab") == b"\0\0\0\2ab"
    assert label("root") == b"\0\0\0\x14securecall-id/1 root"
    assert sha512(b"") == hashlib.sha512(b"").digest()


def test_a_fingerprint_is_made_as_specified():
    key = bytes(range(32))
    text = b"\0\0\0\x14securecall-id/1 root" + b"\0\0\0\x20" + key + b"\0\0\0\0"
    assert root_fingerprint(key) == hashlib.sha512(text).digest()
    assert root_fingerprint(key, b"pq") != root_fingerprint(key)


def test_a_key_signs_what_its_public_key_verifies():
    root = RootKey.generate()
    require_ed25519_signature(root.public, root.sign(b"data"), b"data")
    for signature, data in ((root.sign(b"data"), b"Data"), (bytes(64), b"data"), (b"", b"data")):
        with pytest.raises(ProtocolError):
            require_ed25519_signature(root.public, signature, data)
    with pytest.raises(ProtocolError):
        require_ed25519_signature(root_key(9).public, root.sign(b"data"), b"data")


def test_generated_keys_differ():
    assert RootKey.generate().public != RootKey.generate().public
    assert DeviceKey.generate("a").public != DeviceKey.generate("a").public


def test_a_device_proves_itself_for_one_root_and_one_entry():
    device, fingerprint = device_key(), root_key().fingerprint
    entry = device.entry(("id1",), NOW)
    proof = device.proof(fingerprint, entry)
    require_ed25519_signature(device.public, proof, device_proof_input(fingerprint, entry))
    for other in (
        device_proof_input(root_key(2).fingerprint, entry),
        device_proof_input(fingerprint, device.entry(("id1",), NOW + 1)),
    ):
        with pytest.raises(ProtocolError):
            require_ed25519_signature(device.public, proof, other)


@pytest.mark.parametrize("name", ["", "a" * 65, "a b", "ä", "a\n", "a/b"])
def test_device_ids_are_plain(name):
    with pytest.raises(UsageError):
        DeviceKey.from_seed(name, Secret(bytes(32)))


def encoded(y: int, sign: int = 0) -> bytes:
    return (y | sign << 255).to_bytes(32, "little")


def added(one: tuple[int, int], other: tuple[int, int]) -> tuple[int, int]:
    (a, b), (c, d) = one, other
    t = D * a * b * c * d
    return ((a * d + b * c) * pow(1 + t, -1, P) % P, (b * d + a * c) * pow(1 - t, -1, P) % P)


def x_of(y: int) -> int:
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if x * x % P != square:
        x = x * pow(2, (P - 1) // 4, P) % P
    assert x * x % P == square
    return x


def torsion() -> set[int]:
    """The y of every point of small order: curve points multiplied by the group order."""
    order = 2**252 + 27742317777372353535851937790883648493
    found: set[int] = set()
    for y in range(2, 60):
        try:
            point = (x_of(y), y)
        except AssertionError:
            continue
        small, bits = (0, 1), order
        while bits:
            if bits & 1:
                small = added(small, point)
            point = added(point, point)
            bits >>= 1
        multiple = (0, 1)
        for _ in range(8):
            multiple = added(multiple, small)
            found.add(multiple[1])
        if len(found) == 5:
            break
    return found


def test_all_points_of_small_order_are_refused_in_every_spelling():
    small = torsion()
    assert len(small) == 5
    for y in small:
        for sign in (0, 1):
            with pytest.raises(ProtocolError):
                require_ed25519_public(encoded(y, sign))
            if y + P < 2**255:
                with pytest.raises(ProtocolError):
                    require_ed25519_public(encoded(y + P, sign))


@pytest.mark.parametrize(
    "raw",
    [b"", bytes(31), bytes(33), b"\xff" * 32, encoded(P), encoded(P + 3), encoded(2), encoded(7)],
)
def test_keys_that_are_no_canonical_points_are_refused(raw):
    with pytest.raises(ProtocolError):
        require_ed25519_public(raw)


def test_a_true_key_is_accepted_with_either_sign():
    for number in range(1, 30):
        require_ed25519_public(root_key(number).public)


def test_p256_forms_are_checked_before_the_library_sees_them():
    for key, signature in ((b"", bytes(64)), (b"\x04" + bytes(64), b""), (b"\x02" * 33, bytes(64))):
        with pytest.raises(ProtocolError):
            require_p256_signature(key, signature, b"")
    with pytest.raises(ProtocolError):
        require_p256_signature(b"\x04" + bytes(64), bytes(64), b"")  # not on the curve


def test_an_entry_names_nothing_that_a_device_does_not_have():
    device = DeviceKey.from_seed("phone", Secret(bytes(range(32))))
    assert b"omemo" not in device.entry(("id1",), 7)


class Token:
    """A signer whose key nothing can read."""

    def __init__(self):
        self._key = root_key()
        self.public = self._key.public

    def sign(self, data):
        return self._key.sign(data)


def test_a_root_in_a_token_signs_and_cannot_be_taken_out():
    root = RootKey.from_signer(Token())
    assert root.held
    assert not root.has_seed
    assert root.fingerprint == root_key().fingerprint
    require_ed25519_signature(root.public, root.sign(b"x"), b"x")
    with pytest.raises(UsageError, match="token"):
        _ = root.seed
    root.wipe()  # nothing of it is here
    require_ed25519_signature(root.public, root.sign(b"x"), b"x")


def test_a_root_that_is_only_known_signs_nothing():
    root = RootKey.known(root_key().public)
    assert not root.held
    assert not root.has_seed
    assert root.fingerprint == root_key().fingerprint
    for act in (lambda: root.sign(b"x"), lambda: root.seed):
        with pytest.raises(NotPrimary):
            act()
    with pytest.raises(ProtocolError):
        RootKey.known(b"\x01" + bytes(31))


def test_a_wiped_root_holds_no_seed_any_more():
    root = root_key()
    assert root.has_seed
    seed = root.seed
    root.wipe()
    with pytest.raises(UsageError, match="wiped"):
        seed.reveal()


def test_a_key_of_another_length_is_none():
    for size in (0, 31, 33):
        with pytest.raises(ProtocolError, match="32 bytes"):
            require_ed25519_public(bytes(size))
