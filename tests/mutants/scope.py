"""What the tests have to hold fast, and which tests are asked about which module."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "securecall"
ALL_OF = ("keys", "store")
AND = (
    *("calls.machine", "calls.endings", "calls.exchange", "calls.negotiation", "calls.changes"),
    *("policy", "rtp.srtp", "rtp.sframe"),
    *("calls.sdes", "media.sdes", "sip.identity", "transport.helping"),
    *("transport.dtls", "transport.dtls_certificate"),
)
LEFT_OUT = ("keys.wordlist",)  # a list of words, compared with its source by a hash

_OF_ALL = ("architecture/test_reprs.py", "unit/keys/test_kept_words.py")
_STATEMENT = (
    *("unit/keys/test_statement.py", "attacks/keys/test_statement_forgeries.py"),
    *("oracle/test_statement.py", "properties/keys/test_untrusted_input.py"),
    *("unit/keys/test_identity.py", "attacks/keys/test_secrets.py"),
    *("architecture/test_spec.py", "unit/test_own_identity.py"),
    "attacks/keys/test_withheld_withdrawals.py",
)
_OWN = (
    *("unit/keys/test_household.py", "unit/keys/test_this_device.py"),
    *("unit/test_own_identity.py", "unit/test_restoring.py", "unit/test_statements.py"),
)
_ORGANISATION = ("unit/keys/test_organisation.py", "attacks/keys/test_organisations.py")
_TRUST = (
    *("unit/keys/test_trust.py", "properties/keys/test_trust_book.py"),
    *("attacks/keys/test_succession.py", "attacks/keys/test_addresses.py"),
    *("attacks/keys/test_organisations.py", "attacks/keys/test_strangers_devices.py"),
    "unit/test_contacts.py",
)
_HANDSHAKE = (
    *("unit/keys/test_identity_dialogue.py", "unit/keys/test_identity_messages.py"),
    *("unit/keys/test_carriage.py", "properties/keys/test_identity_messages.py"),
    *("model/test_identity_handshake.py", "oracle/test_identity.py"),
    *("properties/keys/test_carriage.py", "pairs/keys/test_handshake_pairs.py"),
    *("attacks/keys/test_handshake_attacks.py", "attacks/keys/test_inner_attacks.py"),
    *("unit/keys/test_handshake.py", "properties/keys/test_handshake.py"),
    *("unit/keys/test_inner_tls.py", "architecture/test_spec.py"),
)
_OMEMO = (
    *("unit/keys/test_omemo_limits.py", "unit/keys/test_omemo.py", "unit/keys/test_omemo_wire.py"),
    *("unit/keys/test_omemo_fingerprint.py", "vectors/keys/test_omemo_vectors.py"),
    *("properties/keys/test_omemo_parsing.py", "attacks/keys/test_omemo.py"),
    *("attacks/keys/test_omemo_devices.py", "pairs/keys/test_omemo_schedule.py"),
    *("unit/test_devices.py", "unit/xmpp/test_omemo.py", "unit/xmpp/test_inbox.py"),
    "attacks/keys/test_strangers_devices.py",
)
_STORE = (
    *("unit/store/test_rows.py", "unit/store/test_sqlite.py", "unit/store/test_vault.py"),
    *("unit/store/test_lock.py", "unit/store/test_system_keyring.py", "unit/store/test_forms.py"),
    *("properties/store/test_store_rows.py", "attacks/store/test_store_tampering.py"),
    *("attacks/store/test_substituted_store.py", "unit/test_fips.py"),
    "unit/store/test_backup.py",
)
_TABLES = (
    *("unit/store/test_tables.py", "unit/store/test_forms.py", "unit/store/test_sqlite.py"),
    *("unit/test_own_identity.py", "unit/test_restoring.py", "unit/test_devices.py"),
    *("unit/test_contacts.py", "unit/test_statements.py", "attacks/keys/test_organisations.py"),
    *("attacks/store/test_store_tampering.py", "unit/store/test_backup_records.py"),
)
_HISTORY = (
    *("unit/store/test_forms.py", "unit/store/test_history.py", "unit/store/test_history_file.py"),
    *("unit/store/test_history_search.py", "unit/store/test_history_disks.py"),
    *("properties/store/test_history_machine.py", "attacks/store/test_history_tampering.py"),
    "unit/store/test_backup.py",
)
_MACHINE = (
    *("unit/calls/test_machine.py", "unit/calls/test_negotiation.py"),
    *("unit/calls/test_holds.py", "unit/calls/test_trickle.py", "unit/calls/test_restarts.py"),
    "model/test_call_machine.py",
)
_DTLS = (
    *(
        "unit/transport/test_dtls.py",
        "unit/transport/test_dtls_certificate.py",
        "pairs/transport/test_dtls.py",
    ),
    *("attacks/transport/test_dtls_attacks.py", "pairs/calls/test_link.py"),
)
_OF: dict[str, tuple[str, ...]] = {
    "keys.statement": _STATEMENT,
    "keys.signing": (
        *("unit/keys/test_identity.py", "vectors/keys/test_wycheproof.py"),
        *("unit/keys/test_passport.py", *_STATEMENT),
    ),
    "keys.encoding": (*_STATEMENT, *_HANDSHAKE[:4]),
    "keys.device": _STATEMENT,
    "keys.signed_json": _STATEMENT,
    "keys.organisation": _ORGANISATION,
    "keys.enrolment": ("unit/keys/test_enrolment.py", "attacks/keys/test_enrolment.py", *_OWN),
    "keys.household": _OWN,
    "keys.this_device": _OWN,
    "keys.phrase": ("unit/keys/test_phrase.py", "vectors/keys/test_phrase_vectors.py"),
    "keys.succession": ("attacks/keys/test_succession.py", *_OWN),
    "keys.passport": (
        *("unit/keys/test_passport.py", "attacks/keys/test_a11_passports.py"),
        *("vectors/keys/test_passport.py", "properties/keys/test_passport.py"),
    ),
    "keys.identity": ("unit/keys/test_identity.py", *_STATEMENT, *_HANDSHAKE[:2]),
    "keys.identity_": _HANDSHAKE,
    "keys.handshake": _HANDSHAKE[::-1],
    "keys.inner_tls": _HANDSHAKE[::-1],
    "keys.carriage": _HANDSHAKE,
    "keys.ticket": ("unit/keys/test_ticket.py", "attacks/keys/test_tickets.py"),
    "keys.trust": _TRUST,
    "keys.verification": ("unit/keys/test_verification.py", "oracle/test_identity.py"),
    "keys.omemo": _OMEMO,
    "keys.omemo_trust": ("unit/keys/test_omemo_trust.py", *_OMEMO),
    "keys.protobuf": _OMEMO,
    "store.": _STORE,
    "store.lock": ("unit/store/test_lock.py", *_STORE),
    "store.vault": ("unit/store/test_vault.py", *_STORE),
    "store.sqlite": ("unit/store/test_sqlite.py", *_STORE, "unit/store/test_history_file.py"),
    "store.tables": _TABLES,
    "store.records": _TABLES,
    "store.book_rows": (*_TABLES, *_TRUST),
    "store.history": _HISTORY,
    "store.message_rows": _HISTORY,
    "store.words": ("unit/store/test_history_search.py", *_HISTORY),
    "store.pages": ("unit/store/test_history_search.py", *_HISTORY),
    "store.sealing": (
        *("unit/store/test_forms.py", "attacks/store/test_history_tampering.py"),
        "unit/store/test_history_file.py",
    ),
    "store.device_records": (
        *("unit/store/test_tables.py", "unit/store/test_forms.py", "unit/test_devices.py"),
    ),
    "store.disk": (
        *("unit/store/test_disk.py", "unit/store/test_sqlite.py", "unit/store/test_history.py"),
        "unit/store/test_history_file.py",
    ),
    "store.expiry": (
        *("unit/store/test_history.py", "attacks/store/test_history_tampering.py"),
        *("unit/store/test_history_file.py", "properties/store/test_history_machine.py"),
    ),
    "store.backup": (
        *("unit/store/test_backup_records.py", "unit/store/test_backup_file.py"),
        *("unit/store/test_backup.py", "attacks/store/test_backup_tampering.py"),
        "unit/test_restoring.py",
    ),
    "store.backup_file": (
        *("unit/store/test_backup_file.py", "attacks/store/test_backup_tampering.py"),
        "unit/store/test_backup.py",
    ),
    "store.token": ("unit/store/test_token.py", "interop/test_keepers.py"),
    "store.system_keyring": (
        "unit/store/test_system_keyring.py",
        "attacks/store/test_substituted_store.py",
    ),
    "calls.machine": _MACHINE,
    "calls.endings": ("unit/calls/test_endings.py", *_MACHINE),
    "calls.exchange": ("unit/calls/test_exchange.py", *_MACHINE),
    "calls.negotiation": ("unit/calls/test_negotiation.py", *_MACHINE),
    "calls.changes": (
        *("unit/calls/test_changes.py", "unit/calls/test_video_lines.py", *_MACHINE),
    ),
    "calls.sdes": ("unit/calls/test_sdes.py", "unit/media/test_sdes.py", *_MACHINE[2:]),
    "media.sdes": ("unit/media/test_sdes.py", "unit/calls/test_sdes.py"),
    "policy": ("unit/test_policy.py", *_MACHINE),
    "rtp.srtp": ("unit/rtp/test_srtp.py", "oracle/test_srtp.py", "attacks/rtp/test_srtp.py"),
    "rtp.sframe": (
        *("unit/rtp/test_sframe.py", "oracle/test_sframe.py", "attacks/rtp/test_sframe.py"),
        *("vectors/rtp/test_sframe.py", "properties/rtp/test_sframe.py"),
    ),
    "sip.identity": ("unit/sip/test_identity.py", "properties/keys/test_passport.py"),
    "transport.dtls": _DTLS,
    "transport.helping": ("attacks/xmpp/test_named_relays.py",),
}


def modules() -> Iterator[tuple[str, Path]]:
    """Name and file of every module in scope."""
    for package in ALL_OF:
        for path in sorted((PACKAGE / package).glob("*.py")):
            name = f"{package}.{path.stem}"
            if path.stem != "__init__" and name not in LEFT_OUT:
                yield name, path
    for name in AND:
        yield name, PACKAGE / f"{name.replace('.', '/')}.py"


def files_of(name: str) -> list[list[str]]:
    """The test files that answer for a module: first the likeliest, then the others."""
    found = max((key for key in _OF if name.startswith(key)), key=len)
    tests, word = PACKAGE.parent / "tests", name.rpartition(".")[2].rpartition("_")[2]
    files = [f for f in dict.fromkeys((*_OF[found], *_OF_ALL)) if (tests / f).exists()]
    first = [*files[:2], *(f for f in files[2:] if word in f)]
    stages = (first, [f for f in files if f not in first])
    return [[f"tests/{file}" for file in stage] for stage in stages if stage]
