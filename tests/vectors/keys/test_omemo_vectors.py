"""XEdDSA and the legacy ratchet against published values; OMEMO 2's wire format against twomemo."""

from __future__ import annotations

import asyncio
import json

import pytest
import xeddsa
from twomemo.twomemo import KeyExchangeImpl

from securecall.keys.omemo_legacy import OmemoLegacy
from securecall.keys.omemo_scheme import Exchange, at_once, derive_keys
from securecall.keys.omemo_two import OmemoTwo
from securecall.keys.omemo_values import OMEMO, OMEMO_LEGACY, Bundle, montgomery
from securecall.testing.omemo_world import ONLY_TWO, World
from tests.paths import vectors


def published() -> dict[str, object]:
    return json.loads(vectors("security", "signal", "omemo-related.json").read_text())


@pytest.mark.parametrize("number", range(5))
def test_xeddsa_signatures_of_other_implementations_verify(number):
    vector = published()["xeddsa"]["vectors"][number]
    public, signature = (
        bytes.fromhex(vector["curve25519_public"]),
        bytes.fromhex(vector["signature"]),
    )
    bundle = Bundle(
        namespace=OMEMO_LEGACY,
        jid="",
        id=1,
        identity_key=public,
        signed_prekey_id=1,
        signed_prekey=bytes(32),
        signature=signature,
        prekeys={},
    )
    key, cleaned = OmemoLegacy().signer(bundle)
    message = vector["message_utf8"].encode()
    assert xeddsa.ed25519_verify(cleaned, key, message)
    assert not xeddsa.ed25519_verify(cleaned, key, message + b"!")
    assert montgomery(key) == public


def test_the_legacy_chain_and_message_keys():
    vector = next(v for k, v in published().items() if k.startswith("signal_v3_chain"))["vector"]
    chain_key = bytes.fromhex(vector["chain_key"])
    made = at_once(OmemoLegacy.chain_kdf.derive(chain_key, b"\x02\x01", 64))
    assert made[:32].hex() == vector["next_chain_key"]
    cipher, mac, iv = derive_keys(made[32:], b"WhisperMessageKeys")
    assert (cipher.hex(), mac.hex(), iv.hex()) == (
        vector["cipher_key"],
        vector["mac_key"],
        vector["iv"],
    )


def test_a_signature_whose_sign_bit_is_set_verifies():
    # As older libsignal makes them: by the Edwards key of sign 1, which the last bit tells.
    scheme = OmemoLegacy()
    for number in range(20):
        private = xeddsa.seed_to_priv(bytes([number]) * 32)
        prekey = bytes([number]) * 32
        signer = xeddsa.priv_force_sign(private, True)
        signature = bytearray(xeddsa.ed25519_priv_sign(signer, scheme.encoded(prekey)))
        signature[63] |= 0x80
        bundle = Bundle(
            namespace=OMEMO_LEGACY,
            jid="",
            id=1,
            identity_key=xeddsa.priv_to_curve25519_pub(private),
            signed_prekey_id=1,
            signed_prekey=prekey,
            signature=bytes(signature),
            prekeys={},
        )
        scheme.require_signed(bundle)


def test_our_legacy_signatures_have_no_sign_bit():
    scheme = OmemoLegacy()
    for number in range(20):
        private = xeddsa.seed_to_priv(bytes([number]) * 32)
        signature = scheme.sign(private, bytes(32))
        assert not signature[63] & 0x80
        key = xeddsa.curve25519_pub_to_ed25519_pub(scheme.identity_in_bundle(private), False)
        assert xeddsa.ed25519_verify(signature, key, scheme.encoded(bytes(32)))


def test_the_conversion_of_identity_keys_agrees_with_libxeddsa():
    for number in range(50):
        public = xeddsa.seed_to_ed25519_pub(bytes([number]) * 32)
        assert montgomery(public) == xeddsa.ed25519_pub_to_curve25519_pub(public)


def test_twomemo_reads_our_key_exchange_and_we_read_it_back():
    async def body():
        world = World()
        alice = await world.person("alice@a.example", namespaces=ONLY_TWO)
        bob = await world.person("bob@b.example", namespaces=ONLY_TWO)
        (sealed,) = await alice.write(b"hello", bob.jid)
        data = sealed.keys[0].data
        theirs, message = KeyExchangeImpl.parse(data)
        ours = OmemoTwo().parse_key(data, kex=True)
        assert ours.exchange == Exchange(
            prekey_id=theirs.pre_key_id,
            signed_prekey_id=theirs.signed_pre_key_id,
            identity_key=theirs.header.identity_key,
            ephemeral_key=theirs.header.ephemeral_key,
        )
        assert message == ours.message.ciphertext
        assert theirs.serialize(message) == data
        assert sealed.namespace == OMEMO

    asyncio.run(body())
