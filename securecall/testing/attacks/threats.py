"""Every threat the library answers, or does not answer yet: who, what, what has to come of it."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final

from securecall.testing.attacks import (
    at_rest,
    borrowed,
    bundles,
    downgrades,
    fingerprints,
    gateways,
    handshakes,
    hidden,
    identities,
    jingle,
    listening,
    parsers,
    passports,
    relays,
    restored,
    signalling_tls,
    splices,
    tickets,
    uploads,
)
from securecall.testing.attacks.outcome import Attack


class Adversary(enum.StrEnum):
    """Who attacks; docs/threat-model.md says what each can and cannot do."""

    LISTENER = "passive network"
    NETWORK = "active network"
    PROVIDER = "malicious SIP provider"
    XMPP_SERVER = "malicious XMPP server"
    RELAY = "malicious media relay"
    SFU = "malicious conference server"
    CONTACT = "malicious contact"
    STRANGER = "stranger"
    THIEF = "whoever holds the device's files"
    FORENSICS = "whoever reads memory and logs"
    FUTURE = "later quantum computer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Threat:
    """One row of the threat model.

    Attributes:
        id: Its name, as "A1".
        title: What she does, in a few words.
        expected: What has to come of it.
        attack: Its trials, run by `securecall attack`; empty where only tests have them, or none.
        tests: Further tests, as paths below tests/.
        lacking: What of it is not there yet, and why; "" where nothing is.
    """

    id: str
    title: str
    adversary: Adversary
    expected: str
    attack: Attack = ()
    tests: tuple[str, ...] = ()
    lacking: str = ""


_JINGLE: Final = "calls over XMPP (Jingle) are not built yet"
_GROUPS: Final = "group calls with keys of their own are not built yet"

THREATS: Final[tuple[Threat, ...]] = (
    Threat(
        id="A1",
        title="swaps the fingerprints both ways and ends DTLS herself",
        adversary=Adversary.PROVIDER,
        expected="no call with her: identity mismatch, changed, or downgrade; the gate stays shut",
        attack=fingerprints.A1,
        tests=("attacks/transport/test_dtls_attacks.py", "attacks/calls/test_passports.py"),
    ),
    Threat(
        id="A2",
        title="takes the OMEMO-verified fingerprint out of a Jingle call",
        adversary=Adversary.XMPP_SERVER,
        expected="downgrade for a contact with a floor, opportunistic for others",
        attack=jingle.A2,
        tests=("unit/xmpp/test_call_fingerprint.py",),
        lacking=_JINGLE,
    ),
    Threat(
        id="A4",
        title="takes the device out of a Jingle proceed",
        adversary=Adversary.XMPP_SERVER,
        expected="as A2; the handshake runs where the statement asks for it",
        attack=jingle.A4,
        lacking=_JINGLE,
    ),
    Threat(
        id="A5",
        title="puts a device of hers on the victim's list",
        adversary=Adversary.XMPP_SERVER,
        expected="nothing is encrypted for it, and the user is told",
        attack=identities.A5 + jingle.A5_CALLS,
        tests=(
            "attacks/keys/test_omemo_devices.py",
            "attacks/chat/test_words_of_listed_devices.py",
        ),
        lacking=_JINGLE,
    ),
    Threat(
        id="A6",
        title="another trusted device of the same person answers",
        adversary=Adversary.XMPP_SERVER,
        expected="device mismatch",
        attack=jingle.A6,
        lacking=_JINGLE,
    ),
    Threat(
        id="A7",
        title="plays the invitation of an earlier call again",
        adversary=Adversary.PROVIDER,
        expected="a duplicate is refused; a new call with old keys fails in DTLS and ends",
        attack=fingerprints.A7,
        tests=(
            "attacks/sip/test_advisories.py",
            "attacks/calls/test_passports.py",
            "attacks/keys/test_a11_passports.py",
        ),
    ),
    Threat(
        id="A9",
        title="gives a wrong certificate in one direction",
        adversary=Adversary.NETWORK,
        expected="an alert, and both ends end",
        attack=fingerprints.A9,
        tests=("attacks/transport/test_dtls_attacks.py", "attacks/keys/test_handshake_attacks.py"),
    ),
    Threat(
        id="A10",
        title="sends weak, malformed, conflicting or forty fingerprints",
        adversary=Adversary.PROVIDER,
        expected="only what RFC 8122 allows is used, all else is a typed error",
        attack=fingerprints.A10,
        tests=("attacks/transport/test_dtls_attacks.py",),
    ),
    Threat(
        id="A11",
        title="forges a signed caller identity",
        adversary=Adversary.PROVIDER,
        expected="refused",
        attack=passports.A11,
        tests=("attacks/keys/test_a11_passports.py", "attacks/calls/test_passports.py"),
    ),
    Threat(
        id="A13",
        title="signs as one contact with the key of another",
        adversary=Adversary.CONTACT,
        expected="address not owned, or the identity handshake shows another key",
        attack=borrowed.A13,
    ),
    Threat(
        id="U1",
        title="leads a call meant for her on to somebody else",
        adversary=Adversary.CONTACT,
        expected="both ends fail, no gate opens",
        attack=splices.U1,
        tests=("attacks/keys/test_handshake_attacks.py",),
    ),
    Threat(
        id="U3",
        title="leads a call back to its caller, or reflects what they sent",
        adversary=Adversary.PROVIDER,
        expected="refused as our own",
        attack=splices.U3,
        tests=(
            "attacks/calls/test_calls_to_oneself.py",
            "attacks/keys/test_handshake_attacks.py",
        ),
    ),
    Threat(
        id="U4",
        title="forges, cuts or rolls back an identity statement",
        adversary=Adversary.PROVIDER,
        expected="rollback, revoked, expired, or refused",
        attack=identities.U4,
        tests=("attacks/keys/test_statement_forgeries.py",),
    ),
    Threat(
        id="U5",
        title="claims another person's address with a verified key",
        adversary=Adversary.CONTACT,
        expected="address not owned; what is known of the other person stays",
        attack=splices.U5,
        tests=("attacks/keys/test_addresses.py",),
    ),
    Threat(
        id="U6",
        title="calls under somebody's name before they ever did",
        adversary=Adversary.STRANGER,
        expected="a first contact that leaves no trace; the real person is not a change",
        attack=splices.U6,
        tests=("attacks/keys/test_addresses.py",),
    ),
    Threat(
        id="H1",
        title="relays the identity handshake over two DTLS associations",
        adversary=Adversary.PROVIDER,
        expected="binding mismatch, both ends end",
        attack=fingerprints.H1,
        tests=("attacks/keys/test_handshake_attacks.py",),
    ),
    Threat(
        id="H2",
        title="flips, cuts, reorders, loses and repeats the handshake's records",
        adversary=Adversary.NETWORK,
        expected="complete or closed, within bounded memory and time",
        attack=handshakes.H2,
        tests=("properties/keys/test_handshake.py", "properties/keys/test_carriage.py"),
    ),
    Threat(
        id="H3",
        title="negotiates less in the inner TLS",
        adversary=Adversary.CONTACT,
        expected="refused",
        attack=handshakes.H3,
        tests=("attacks/keys/test_inner_attacks.py", "attacks/keys/test_handshake_attacks.py"),
    ),
    Threat(
        id="H4",
        title="answers with garbage, unknown messages, another order, trailing bytes",
        adversary=Adversary.CONTACT,
        expected="refused, and no second try with less",
        attack=handshakes.H4,
        tests=("attacks/keys/test_inner_attacks.py", "attacks/transport/test_dtls_attacks.py"),
    ),
    Threat(
        id="H5",
        title="chooses her part of the words after she has seen the other's",
        adversary=Adversary.PROVIDER,
        expected="one guess in 2^33 that fails visibly",
        attack=handshakes.H5,
        tests=("attacks/keys/test_sas_steering.py", "attacks/keys/test_handshake_attacks.py"),
    ),
    Threat(
        id="H6",
        title="sends decoys, another key's certificate, or plays the callee",
        adversary=Adversary.NETWORK,
        expected="refused or survived; an impostor learns neither statement nor ticket proof",
        attack=handshakes.H6,
        tests=("attacks/keys/test_inner_attacks.py", "attacks/transport/test_dtls_attacks.py"),
    ),
    Threat(
        id="H7",
        title="steals, guesses, outlives or diverts a ticket",
        adversary=Adversary.NETWORK,
        expected="only the first bearer's key ever gets through; one answer for all others",
        attack=tickets.H7,
        tests=(
            "attacks/keys/test_tickets.py",
            "attacks/keys/test_handshake_attacks.py",
        ),
    ),
    Threat(
        id="D1",
        title="takes the hint of the identity handshake out of the description",
        adversary=Adversary.PROVIDER,
        expected="the handshake runs all the same",
        attack=downgrades.D1,
    ),
    Threat(
        id="D2",
        title="takes the identity handshake out of DTLS",
        adversary=Adversary.NETWORK,
        expected="downgrade, or no handshake at all",
        attack=downgrades.D2,
        tests=("attacks/transport/test_dtls_attacks.py",),
    ),
    Threat(
        id="D3",
        title="asks for keys in signalling (SDES) without a gateway account",
        adversary=Adversary.PROVIDER,
        expected="488 or an error, even in the danger mode",
        attack=downgrades.D3,
    ),
    Threat(
        id="D4",
        title="asks for no encryption",
        adversary=Adversary.PROVIDER,
        expected="refused; not one datagram of sound",
        attack=downgrades.D4,
        tests=("attacks/calls/test_d_downgrades.py",),
    ),
    Threat(
        id="D5",
        title="negotiates weak DTLS",
        adversary=Adversary.CONTACT,
        expected="refused, even in the danger mode",
        attack=downgrades.D5,
        tests=("attacks/transport/test_dtls_attacks.py",),
    ),
    Threat(
        id="D6",
        title="asks for other keys in mid-call",
        adversary=Adversary.PROVIDER,
        expected="refused; the authenticated call goes on as it was",
        attack=downgrades.D6,
    ),
    Threat(
        id="D8",
        title="renegotiates DTLS with another certificate",
        adversary=Adversary.CONTACT,
        expected="the call ends",
        attack=downgrades.D8,
        tests=("attacks/transport/test_dtls_attacks.py",),
    ),
    Threat(
        id="D9",
        title="stands between a client and its server without its certificate",
        adversary=Adversary.NETWORK,
        expected="the connection is refused before a word of signalling",
        attack=signalling_tls.D9,
        tests=("attacks/transport/test_server_certificates.py", "attacks/xmpp/test_servers.py"),
    ),
    Threat(
        id="D10",
        title="weakens, swaps or asks for the keys of a telephone call",
        adversary=Adversary.PROVIDER,
        expected="488 or an error; what she hears by design, the call says itself",
        attack=gateways.D10,
        tests=("attacks/calls/test_telephone_keys.py",),
    ),
    Threat(
        id="R1",
        title="replays, reorders and plays back earlier sound",
        adversary=Adversary.RELAY,
        expected="dropped and counted; the sound goes on",
        attack=relays.R1,
        tests=("attacks/rtp/test_srtp.py",),
    ),
    Threat(
        id="R2",
        title="alters, moves and invents sound and control packets",
        adversary=Adversary.RELAY,
        expected="dropped and counted; the sound goes on",
        attack=relays.R2,
        tests=(
            "attacks/rtp/test_srtp.py",
            "attacks/rtp/test_sframe.py",
            "attacks/media/test_engine.py",
            "attacks/calls/test_pictures.py",
            "attacks/calls/test_text.py",
        ),
    ),
    *(
        Threat(
            id=f"G{number}",
            title=title,
            adversary=Adversary.SFU,
            expected=expected,
            tests=tests,
            lacking=_GROUPS,
        )
        for number, title, expected, tests in (
            (1, "replays, reorders, swaps senders, relabels keys", "dropped", ()),
            (
                2,
                "puts a ghost into the room",
                "no key for it",
                ("attacks/xmpp/test_room_spoofs.py", "attacks/xmpp/test_room_as_a_person.py"),
            ),
            (3, "lets a removed member go on listening", "it cannot decrypt", ()),
            (4, "gives a joiner what was recorded before", "it cannot decrypt", ()),
            (5, "withholds keys, or splits the list of members", "roster mismatch", ()),
            (6, "has a member forge under another's key", "a documented limit", ()),
            (7, "a real conference server that records", "no plaintext in it", ()),
        )
    ),
    Threat(
        id="K1",
        title="swaps key bundles and prekeys",
        adversary=Adversary.XMPP_SERVER,
        expected="refused and told",
        attack=bundles.K1,
        tests=("attacks/keys/test_omemo.py", "attacks/keys/test_strangers_devices.py"),
    ),
    Threat(
        id="K2",
        title="edits, swaps, cuts or rolls back the files",
        adversary=Adversary.THIEF,
        expected="a typed error, and nothing half loaded",
        attack=at_rest.K2,
        tests=(
            "attacks/store/test_backup_tampering.py",
            "attacks/store/test_store_tampering.py",
            "attacks/store/test_substituted_store.py",
            "attacks/store/test_history_tampering.py",
        ),
    ),
    Threat(
        id="K3",
        title="looks for keys in logs, errors, representations and pickles",
        adversary=Adversary.FORENSICS,
        expected="none found",
        attack=at_rest.K3,
        tests=(
            "attacks/calls/test_keys_in_sight.py",
            "attacks/calls/test_telephone_keys.py",
            "attacks/keys/test_secrets.py",
            "attacks/calls/test_key_remains.py",
        ),
    ),
    Threat(
        id="K4",
        title="goes on with a device that was withdrawn during the call",
        adversary=Adversary.THIEF,
        expected="the call ends",
        tests=(
            "attacks/calls/test_withdrawn_devices.py",
            "attacks/calls/test_changes_of_mind.py",
            "attacks/keys/test_withheld_withdrawals.py",
        ),
    ),
    Threat(
        id="K5",
        title="has an old backup restored",
        adversary=Adversary.THIEF,
        expected="no key of a ratchet is used twice, and no withdrawn device is back",
        attack=restored.K5,
        tests=(
            "attacks/calls/test_restored_backup.py",
            "attacks/keys/test_withheld_withdrawals.py",
            "attacks/store/test_history_tampering.py",
        ),
    ),
    Threat(
        id="Q1",
        title="recorded everything, and breaks the outer keys later",
        adversary=Adversary.FUTURE,
        expected="frames stay sealed",
        attack=listening.Q1,
    ),
    Threat(
        id="Q2",
        title="breaks one half of the hybrid key agreement",
        adversary=Adversary.FUTURE,
        expected="the other half keeps it closed",
        attack=listening.Q2,
    ),
    Threat(
        id="Q3",
        title="offers a peer no post-quantum keys where they are required",
        adversary=Adversary.FUTURE,
        expected="refused before sound",
        attack=listening.Q3,
        tests=("attacks/calls/test_q3_require_pq.py",),
    ),
    Threat(
        id="M1",
        title="changes a file, or lies about it",
        adversary=Adversary.XMPP_SERVER,
        expected="an error, and nothing is released",
        attack=at_rest.M1,
        tests=("attacks/chat/test_m_files.py",),
    ),
    Threat(
        id="M2",
        title="keeps every upload, to learn from it",
        adversary=Adversary.XMPP_SERVER,
        expected="no key, name or type in any request",
        attack=uploads.M2,
        tests=("attacks/xmpp/test_m_upload_servers.py",),
    ),
    Threat(
        id="P1",
        title="measures packets to tell speech from silence",
        adversary=Adversary.LISTENER,
        expected="one size",
        attack=listening.P1,
        tests=("attacks/media/test_engine.py",),
    ),
    Threat(
        id="P2",
        title="reads private addresses out of signalling",
        adversary=Adversary.PROVIDER,
        expected="none where only relays are allowed, and no call where there is none",
        attack=hidden.P2,
        tests=("pairs/calls/test_ip_privacy.py", "interop/test_turn.py"),
    ),
    Threat(
        id="S1",
        title="records a whole call",
        adversary=Adversary.LISTENER,
        expected="no key and no sound in it",
        attack=listening.S1,
    ),
    Threat(
        id="S2",
        title="records signalling, and steals the server's key later",
        adversary=Adversary.LISTENER,
        expected="nothing decrypts",
        attack=signalling_tls.S2,
    ),
    *(
        Threat(
            id=name,
            title=title,
            adversary=Adversary.STRANGER,
            expected="typed errors only, in bounded time and memory",
            attack=attack,
            tests=tests,
        )
        for name, title, attack, tests in (
            (
                "F1",
                "sends malformed SDP and SIP",
                parsers.F1,
                ("properties/sip/test_parsers.py", "properties/sip/test_hostile_sizes.py"),
            ),
            (
                "F2",
                "sends malformed XML, bombs and deep nesting",
                parsers.F2,
                ("attacks/xmpp/test_xml_attacks.py", "properties/xmpp/test_xml.py"),
            ),
            (
                "F3",
                "sends malformed handshakes, frames, statements and candidates",
                parsers.F3,
                (
                    "properties/keys/test_untrusted_input.py",
                    "properties/keys/test_carriage.py",
                    "properties/rtp/test_sframe.py",
                    "properties/transport/test_candidate.py",
                ),
            ),
        )
    ),
)

BY_ID: Final = {threat.id: threat for threat in THREATS}
