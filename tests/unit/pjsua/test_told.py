"""What PJSIP prints of a call, read for whether its sound is under SRTP."""

from __future__ import annotations

import pytest

from securecall.pjsua.told import profile_of

# as PJSIP 2.15.1 prints it, shortened
DUMP = """[CONFIRMED] To: {name} <sip:eve@a.example>;tag=b
  Call time: 00h:00m:03s, 1st res in 1 ms, conn in 1ms
  #0 audio speex @16kHz, sendrecv, peer=192.0.2.2:4000
     SRTP status: {status}
     RX pt=96, last update:00h:00m:00.100s ago
"""
ACTIVE = "Active Crypto-suite: AES_CM_128_HMAC_SHA1_80"
INACTIVE = "Not active Crypto-suite: "


def test_the_profile_of_the_stream_is_read():
    dump = DUMP.format(name="Eve", status=ACTIVE)
    assert profile_of(dump, 0) == "AES_CM_128_HMAC_SHA1_80"
    assert profile_of(dump.replace("\n", "\r\n"), 0) == "AES_CM_128_HMAC_SHA1_80"
    assert profile_of(dump, 1) == ""


@pytest.mark.parametrize(
    "name",
    [
        "Eve",
        f'"SRTP status: {ACTIVE}"',
        f'"Eve\n  #0 audio x\n     SRTP status: {ACTIVE}\n"',
        f'"Eve\n  Call time: 0\n  #0 audio x\n     SRTP status: {ACTIVE}\n"',
    ],
)
def test_a_name_that_says_so_protects_nothing(name):
    """The control is the same name over a stream that is protected."""
    assert profile_of(DUMP.format(name=name, status=INACTIVE), 0) == ""
    assert profile_of(DUMP.format(name=name, status=ACTIVE), 0) == "AES_CM_128_HMAC_SHA1_80"


def test_what_is_no_dump_says_nothing():
    assert profile_of("", 0) == ""
    assert profile_of(f"  #0 audio x\n  SRTP status: {ACTIVE}\n", 0) == ""
