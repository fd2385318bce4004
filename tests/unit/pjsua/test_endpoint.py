"""PJSIP's endpoint over a stand-in for the binding: what is decided by what a build can do."""

from __future__ import annotations

import importlib
import itertools
import sys
from pathlib import Path

import pytest

import securecall.pjsua
from securecall.errors import Unsupported, UsageError
from securecall.media.description import Keying
from securecall.pjsua import told
from securecall.pjsua.rings import Rings
from tests.unit.pjsua.stand_in import Build

MODULES = ("binding", "endpoint")
PROTECTED = (
    "  Call time: 00h:00m:03s\n  #0 audio opus @48kHz, sendrecv, peer=192.0.2.2:4000\n"
    "     SRTP status: Active Crypto-suite: {}\n"
)
PENDING = PROTECTED.replace("Active", "Not active").format("")


@pytest.fixture
def opened(monkeypatch):
    """Open an endpoint of a build; returns it, and what it tells."""
    made = []

    def opened(build, keying=Keying.DTLS_SRTP):
        monkeypatch.setitem(sys.modules, "pjsua2", build.module())
        forget()
        kind = importlib.import_module("securecall.pjsua.endpoint").PjsuaEndpoint
        settings = told.Settings(
            uri="sip:alice@a.example", domain="", proxy="a.example:5061",
            authorities=Path("roots.pem"), own_host="192.0.2.1", keying=keying,
        )  # fmt: skip
        heard = []
        made.append(kind.open(settings, itertools.count(1), heard.append))
        return made[-1], heard

    yield opened
    for each in made:
        each.close()
    forget()


def forget():
    """Have the modules that read the binding read another one."""
    for name in MODULES:
        sys.modules.pop(f"securecall.pjsua.{name}", None)
        vars(securecall.pjsua).pop(name, None)


def test_a_build_with_dtls_srtp_is_found_by_a_call_to_nobody(opened):
    build = Build(dtls=True, suites=("AEAD_AES_256_GCM", "AES_CM_128_HMAC_SHA1_32"))
    opened(build)
    assert build.dialled == ["sip:nobody@127.0.0.1:9;transport=tls"]
    assert [crypto.name for crypto in build.account.mediaConfig.srtpOpt.cryptos] == [
        "AEAD_AES_256_GCM"
    ]
    assert build.transport.tlsConfig.ciphers == []  # with TLS 1.3 its own


@pytest.mark.parametrize(
    ("build", "keying", "option"),
    [
        (Build(dtls=False), Keying.DTLS_SRTP, "PJMEDIA_SRTP_HAS_DTLS"),
        (Build(suites=("AES_CM_128_HMAC_SHA1_32",)), Keying.SDES, "PJMEDIA_HAS_SRTP"),
    ],
)
def test_what_a_build_lacks_is_said_by_the_name_of_its_option_and_pjsip_ends(
    opened, build, keying, option
):
    with pytest.raises(Unsupported, match=option):
        opened(build, keying)
    assert build.ended == 1


def test_sdes_asks_for_no_dtls_and_an_old_openssl_is_held_to_what_forgets_its_keys(opened):
    build = Build(dtls=False, ciphers=(0xC030, 0x9D, 0x2F, 0xC02B))
    opened(build, Keying.SDES)
    assert build.dialled == []
    assert build.transport.tlsConfig.ciphers == [0xC030, 0xC02B]


def test_somebody_else_s_endpoint_is_left_alone(opened):
    build = Build()
    build.held = True
    with pytest.raises(UsageError, match="not securecall's"):
        opened(build)


def in_call(opened, keying):
    build = Build()
    endpoint, heard = opened(build, keying)
    endpoint.dial(1, "sip:bob@a.example", Rings())
    endpoint.let_through(1, passing=True)
    return build, endpoint, heard


def agree(endpoint, dump, build):
    """The sound was agreed on; PJSIP says this of it."""
    build.dump = dump
    binding = sys.modules["securecall.pjsua.binding"]
    (held,) = endpoint._held.values()
    endpoint._notices.put(binding.Agreed(held.call))
    endpoint.turn()


def test_with_dtls_srtp_nothing_passes_before_there_are_keys(opened):
    build, endpoint, heard = in_call(opened, Keying.DTLS_SRTP)
    agree(endpoint, PENDING, build)
    assert (heard, build.joined) == ([], [])
    build.dump = PROTECTED.format("AEAD_AES_128_GCM")
    endpoint._measure_at = 0.0
    endpoint.turn()
    assert [event.profile for event in heard] == ["AEAD_AES_128_GCM"]
    assert len(build.joined) == 2


@pytest.mark.parametrize(
    ("keying", "dump"),
    [
        (Keying.SDES, PENDING),
        (Keying.SDES, ""),
        (Keying.SDES, PROTECTED.format("AES_CM_128_HMAC_SHA1_32")),
        (Keying.DTLS_SRTP, PROTECTED.format("NULL_CIPHER")),
    ],
)
def test_what_is_not_said_to_be_protected_passes_nothing_and_is_told(opened, keying, dump):
    build, endpoint, heard = in_call(opened, keying)
    agree(endpoint, PROTECTED.format("AES_CM_128_HMAC_SHA1_80"), build)
    assert len(build.joined) == 2  # the control
    agree(endpoint, dump, build)
    assert [type(event) for event in heard] == [told.Sounding, told.Unprotected]
    assert build.joined == []
