"""What a log shows of people and keys: nothing that names or opens anything."""

from __future__ import annotations

import importlib
import logging

import pytest

from securecall import logs
from tests.architecture.modules import modules


@pytest.fixture(autouse=True)
def careful(monkeypatch):
    """As in an application; the tests themselves run with everything in clear."""
    monkeypatch.setattr(logs.STATE, "dangerous", False)


@pytest.fixture
def written():
    """What handlers of the application see, at the most talkative level."""
    lines: list[str] = []

    class Handler(logging.Handler):
        def emit(self, record):
            lines.append(logging.Formatter().format(record))

    handler, root = Handler(), logging.getLogger()
    root.addHandler(handler)
    yield lines
    root.removeHandler(handler)


FINGERPRINT = "4A:AD:B9:B1:3F:82:18:3B:54:02:12:DF:3E:5D:49:6B"
SECRETS = {
    "an address": ("call from alice@example.com ended", "alice"),
    "an address with a resource": ("<iq from='alice@example.com/phone'/>", "alice"),
    "a sip address": ("sip:alice@example.com;transport=tls", "alice"),
    "a key address": (f"to key:{'ab' * 64}", "abab"),
    "a number": ("tel:+4930123456 does not answer", "4930123456"),
    "a fingerprint": (f"sha-256 {FINGERPRINT} does not match", FINGERPRINT[6:]),
    "ice credentials": ("a=ice-ufrag:8hhY a=ice-pwd:asd88fgpdd777uzjYhagZg", "8hhY"),
    "an ice password": ("a=ice-ufrag:8hhY a=ice-pwd:asd88fgpdd777uzjYhagZg", "asd88"),
    "keys in signalling": ("inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz|2^20", "X19zZW1"),
    "hexadecimal": (f"key {'0123456789abcdef' * 4} is bad", "89abcdef"),
    "base64": ("token eyJhbGciOiJFUzI1NiIsInR5cCI6InBhc3Nwb3J0In0.e30", "FUzI1NiIs"),
}


@pytest.mark.parametrize("name", SECRETS)
def test_neither_people_nor_keys_are_shown(written, name):
    text, secret = SECRETS[name]
    logs.logger("securecall.test").warning("%s", text)
    logging.getLogger("elsewhere").warning("%s", text)  # the control: not one of ours
    ours, control = written
    assert secret not in ours
    assert secret in control
    logs.logger("securecall.test").warning(text.replace("%", "%%"))  # in the text itself
    assert secret not in written[2]


def test_exceptions_are_rewritten_too(written):
    try:
        raise ValueError("alice@example.com was not found")
    except ValueError:
        logs.logger("securecall.test").exception("it failed")
    assert "alice" not in written[0]
    assert "ValueError" in written[0]


def test_one_person_keeps_one_name_and_shares_it_with_nobody():
    first, again, other = map(logs.redacted, ("a@x.example", "A@X.example", "b@x.example"))
    assert first == again != other


@pytest.mark.parametrize(
    "text",
    [
        "<TlsConnection 192.0.2.1:5061 provider.test> broke a rule: RFC 3261 8.1.1.8",
        "the identity handshake did not complete within 15 seconds",
        "securecall.store.history_schema_of_a_long_name.something",
        "SRTP_AEAD_AES_256_GCM, TLS_AES_256_GCM_SHA384",
    ],
)
def test_what_names_nobody_stays_readable(text):
    assert logs.redacted(text) == text


def test_libraries_are_kept_to_warnings_whatever_an_application_sets(written):
    importlib.import_module("securecall.transport.ice_agent")
    names = ("aioice.ice", "aioice.turn", "omemo.core", "websockets.client")
    for name in names:
        logging.getLogger(name).setLevel(logging.DEBUG)
        logging.getLogger(name).debug("the user name is %s", "8hhY")
        logging.getLogger(name).info("the user name is %s", "8hhY")
    assert written == []
    logging.getLogger("aioice.ice").warning("no answer by %s", "alice@example.com")
    assert "alice" not in written.pop()
    logs.danger_log()
    for name in names:  # the control
        logging.getLogger(name).debug("the user name is %s", "8hhY")
        logging.getLogger(name).setLevel(logging.NOTSET)
    assert len(written) == len(names)


def test_every_logger_of_ours_is_made_here():
    """One that was not would say everything: its records pass no filter of its parents."""
    names = [m.name for m in modules() if "logging.getLogger" in m.path.read_text("utf-8")]
    assert [n for n in names if not n.startswith("securecall.testing.")] == ["securecall.logs"]
