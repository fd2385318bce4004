"""The frozen specifications name the constants the code has, and nothing that is not compared."""

from __future__ import annotations

import re

import pytest

from securecall.keys import (
    carriage,
    encoding,
    handshake,
    identity,
    identity_messages,
    inner_tls,
    statement,
    statement_content,
    statement_grammar,
    verification,
)
from securecall.rtp import sframe, srtp
from securecall.transport import dtls
from securecall.transport.suite import ORDINARY
from tests.paths import PROJECT

SPEC = PROJECT / "docs" / "spec"
HANDSHAKE = {
    "ALPN token, outer and inner": {dtls.IDENTITY_PROTOCOL, ORDINARY.protocol},
    "first byte of a carriage record": {carriage.MARK},
    "largest data of a record": {carriage.LARGEST_FRAGMENT},
    "window, bytes": {carriage.WINDOW},
    "largest stream, bytes": {carriage.LARGEST_STREAM},
    "first resend, seconds": {carriage.FIRST_RESEND},
    "slowest resend, seconds": {carriage.SLOWEST_RESEND},
    "limit of the handshake, seconds": {handshake.LIMIT, dtls.HANDSHAKE_LIMIT},
    "lingering, seconds": {handshake.LINGER},
    "largest message body, bytes": {identity_messages.LARGEST_BODY},
    "nonce, bytes": {identity_messages.NONCE},
    "digest, bytes": {identity_messages.DIGEST},
    "largest address, bytes": {identity_messages._LARGEST_ADDRESS},
    "SAS secret, bytes": {verification.SAS_SIZE},
    "SFrame base key, bytes": {32},  # what is asked of the exporter: tests/oracle/test_identity.py
    "SFrame streams of a sender": {handshake.STREAMS},
    "SFrame descriptor byte": {sframe.DESCRIPTOR},
    "SFrame and SRTP replay window": {sframe.WINDOW, srtp.WINDOW},
    "inner group": {ORDINARY.inner_group},
    "inner cipher": {inner_tls.CIPHER},
    "SRTP profile": {*dtls.STRICT.value, dtls._IDENTITY_PROFILE},
    "outer exporter": {dtls.OUTER_EXPORTER},
    "SAS exporter": {handshake._SAS_EXPORTER},
    "SFrame exporter": {handshake._SFRAME_EXPORTER},
}
STATEMENT = {
    "largest statement, payload and entry, bytes": {statement_content.MAX_SIZE},
    "deepest nesting": {statement_content.MAX_DEPTH},
    "most addresses, devices, words, OMEMO keys of a device": {statement_content.MAX_ITEMS},
    "most withdrawn devices in one statement": {statement_content.MAX_REVOKED},
    "most withdrawn devices remembered": {statement.MAX_REMEMBERED},
    "longest life, seconds": {statement_content.MAX_LIFETIME},
    "furthest ahead, seconds": {statement_content.MAX_AHEAD},
    "largest integer": {encoding.MAX_INTEGER},
    "root fingerprint, bytes": {identity.FINGERPRINT_SIZE},
    "HPKE KEM": {statement_grammar._KEM},
    "protected header": {statement_content.PROTECTED.decode()},
    "protected header, second signature": {statement_content.PROTECTED_MLDSA.decode()},
}


def constants(name: str) -> dict[str, object]:
    """The rows of the table under "Constants"."""
    text = (SPEC / name).read_text(encoding="utf-8")
    table = text.partition("## Constants")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| ([^|]+?) \| ([^|]+?) \|$", table, flags=re.MULTILINE)
    return {row: read(value) for row, value in rows if row not in ("name", "---")}


def read(value: str) -> object:
    """`text`, 0xHEX, 1.5 or 15."""
    if value.startswith("`"):
        return value.strip("`")
    return float(value) if "." in value else int(value, 0)


@pytest.mark.parametrize(
    ("name", "ours"),
    [("identity-handshake.md", HANDSHAKE), ("identity-statement.md", STATEMENT)],
    ids=["handshake", "statement"],
)
def test_every_constant_of_a_frozen_document_is_the_codes(name, ours):
    named = constants(name)
    assert named.keys() == ours.keys()
    for row, value in named.items():
        assert ours[row] == {value}, row
        assert {type(v) for v in ours[row]} == {type(value)} or isinstance(value, int), row


@pytest.mark.parametrize("name", ["identity-handshake.md", "identity-statement.md"])
def test_the_documents_say_what_they_are(name):
    text = (SPEC / name).read_text(encoding="utf-8")
    assert "\nStatus: frozen, version 1. Unaudited.\n" in text


def test_the_message_types_are_the_documents():
    text = (SPEC / "identity-handshake.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d) \| ([A-Z]+) \| (C|S|both) \|", text, flags=re.MULTILINE)
    kinds = identity_messages.MessageType
    assert {name: int(number) for number, name, _ in rows} == {k.name: k.value for k in kinds}
