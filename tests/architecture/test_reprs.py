"""What a dataclass shows of itself: no bytes and no secrets, but those that everybody may see.

Reprs end up in logs, in exceptions and in bug reports. A new field with bytes in it is either left
out of its repr, or written down here as public.
"""

from __future__ import annotations

import dataclasses
import importlib

from tests.mutants.scope import modules

PUBLIC = """
keys.carriage.Arrival: data records
keys.device.DeviceKey: public
keys.handshake.HandshakeResult: identity_hashes bind
keys.handshake.SendRecord: data
keys.identity.RootKey: public
keys.identity_dialogue.PeerClaim: root_fp bind
keys.identity_dialogue.CallFacts: statement own_root_fp device_key fp_sent fp_received bind
keys.identity_dialogue.CallFacts: countersignature ticket_secret
keys.identity_messages.IdentityMessage: statement fp_sent fp_received bind countersignature
keys.identity_messages.IdentityMessage: ticket_proof
keys.omemo_devices._Known: key forms
keys.omemo_prekeys.SignedPrekey: signature
keys.omemo_prekeys.OwnKeys: _identity
keys.omemo_scheme.Exchange: identity_key ephemeral_key
keys.omemo_session.Session: ours theirs
keys.omemo_trust.DeviceRecord: key
keys.omemo_trust.PersonDevices: devices
keys.omemo_trust.DeviceEvent: key
keys.omemo_values.Device: identity_key
keys.omemo_values.Bundle: identity_key signed_prekey signature prekeys
keys.organisation.OrganisationCode: public
keys.passport.PassportKey: public
keys.passport.Passport: mky
keys.statement_content.OmemoKey: identity_key
keys.statement_content.DeviceEntry: public p256 hpke_sha256
keys.statement_content.Statement: root_public
keys.verification.VerificationCode: own peer
store.lock.Needs: note
store.lock.Seal: magic
policy.IdentityEvidence: root_fp
transport.dtls.SendDatagram: data
transport.dtls.Established: send_key receive_key outer_exporter
transport.dtls.ApplicationData: data
transport.dtls_certificate.CertificateDigest: value
"""
HOLDS = ("bytes", "Secret", "PrivateKey", "Ratchet", "Signer")


def public() -> set[tuple[str, str]]:
    lines = (line.partition(": ") for line in PUBLIC.split("\n") if line)
    return {(name, field) for name, _, fields in lines for field in fields.split()}


def shown(module: str) -> set[tuple[str, str]]:
    found = importlib.import_module(f"securecall.{module}")
    return {
        (f"{module}.{kind.__name__}", field.name)
        for kind in vars(found).values()
        if dataclasses.is_dataclass(kind) and getattr(kind, "__module__", "") == found.__name__
        for field in dataclasses.fields(kind)
        if field.repr and any(word in str(field.type) for word in HOLDS)
    }


def test_nothing_shows_bytes_that_are_not_known_to_be_public():
    assert set().union(*(shown(name) for name, _ in modules())) - public() == set()


def test_the_list_names_nothing_that_is_not_there():
    there = set().union(*(shown(name) for name, _ in modules()))
    assert public() <= there
