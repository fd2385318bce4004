"""Calls to pjsua with the answer its authors expect: ours is the same, or differs by decision.

Their offers are plain RTP or SDES, which we never take. So each case is put twice: as it is, when
a label that refuses has to be ours, too; and with DTLS-SRTP in place of the rest, when a label that
accepts, with what it demands of the answer, has to be ours.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import pytest

from securecall.media.description import Candidate
from tests.paths import vectors
from tests.vectors.sip.corpora import SECURE, invite, sized
from tests.vectors.sip.line import LOCAL, Line, alive

PLAIN = "plain RTP or a key that servers see: no call of ours (488)"
# Where a label is another than the policy's 488 for what is accepted there, or than our refusal.
# Two statuses stand where the second is ours once the named extension is there; so it is with 415
# for whatever comes in a multipart body.
OTHERWISE = {
    "001_torture_4475_3_1_1_5.py": ({"501"}, "RFC 4475 3.1.1.5 asks for 501, not 405"),
    "161_err_replaces_dlg_not_found.py": ({"400"}, "RFC 3891 6.1 demands both tags"),
    "170_timer_required.py": ({"420", "488"}, "session timers are not here; then " + PLAIN),
    "174_timer_se_too_small.py": ({"488"}, "its floor of 2000 s is that pjsua's setting; " + PLAIN),
    "500_pres_subscribe_with_bad_event.py": (
        {"405"},
        "489 is for who takes SUBSCRIBE at all (RFC 6665 8.3.2)",
    ),
}
# The same with a secure offer: what of a label that accepts is not ours.
SECURED_OTHERWISE = {
    "125_sdp_with_multi_audio_3.py": ({"488"}, "the first audio decides; no second is tried"),
    "320_srtp_with_unknown_transport_2.py": ({"488"}, "the first audio decides"),
    "170_timer_required.py": ({"420", "200"}, "session timers are not here"),
    "401_fmtp_g7221_with_bitrate_32000.py": ({"488"}, "no such codec"),
    "402_fmtp_g7221_uwb_with_bitrate.py": ({"488"}, "no such codec"),
    "410_fmtp_amrnb_offer_octet_align.py": ({"488"}, "no such codec"),
    "411_fmtp_amrnb_offer_band_eff.py": ({"488"}, "no such codec"),
    "414_fmtp_amrwb_offer_band_eff.py": ({"488"}, "no such codec"),
}
# Whose demands on the answer come from a setting of that pjsua which is not ours.
SET_OTHERWISE = {"331_srtp_prefer_rtp_avp.py": "SRTP is off there, so it takes the second line"}
# What a label demands of an answer and we leave out.
UNSAID = {
    "a=candidate:[0-9a-zA-Z]+ 2 UDP": "RTCP is multiplexed, so there is one component",
    "a=ice-mismatch": "the default address is never used where ICE is, so it is not compared",
    "Session-Expires:": "session timers are not here",
    "a=crypto": "keys come from DTLS",
    "Warning: ": "no refusal says which check failed",
}
ICE = replace(
    LOCAL,
    ice_ufrag="abcd",
    ice_pwd="a" * 22,
    candidates=(Candidate("1", 1, "UDP", 1, "192.0.2.9", 4000, "host"),),
)


def cases() -> list[dict[str, Any]]:
    with vectors("sip_sdp_labelled_pjsua", "pjsua_sendto.jsonl").open() as file:
        return [json.loads(line) for line in file]


def message(case: dict[str, Any], *, secured: bool = False) -> bytes:
    whole = case.get("complete_msg", "")
    if whole:
        whole = re.sub(r"\$[A-Z_]*PORT", "5061", whole)
        head, _, body = re.sub(r"\$[A-Z_]+", "a.example", whole).rstrip("\n").partition("\n\n")
        body = body and f"{body}\n"
    else:
        body = case.get("body") or case["sdp"].lstrip("\n")
        more = case.get("extra_headers", "").strip()
        if "content-type" not in more.lower():
            more += "\nContent-Type: application/sdp"
        head = invite(more=more.strip().encode()).decode().rstrip()
    if secured:
        body = protected(body)
    return sized(f"{head}\n\n{body}".encode())


def protected(body: str) -> str:
    """The same offer with DTLS-SRTP on each RTP line."""
    body = re.sub(r"a=crypto:.*\n", "", body)
    return re.sub(r"(m=\S+ \d+) RTP/S?AVP(.*\n)", r"\1 UDP/TLS/RTP/SAVPF\2" + SECURE.decode(), body)


def answer(case: dict[str, Any], *, secured: bool) -> tuple[str, str]:
    line = Line(local=ICE if "--use-ice" in case.get("pjsua_args", "") else LOCAL)
    verdict = line.hear([message(case, secured=secured)])
    assert alive(line.agent)
    last = line.answers[-1]
    return verdict, last.headers.build() + "\n" + last.body.decode()


def multipart(case: dict[str, Any]) -> set[str]:
    return {"415"} if "multipart/" in case.get("extra_headers", "") else set()


def wanting(case: dict[str, Any], text: str) -> list[str]:
    """What the label demands of the answer and is not so."""
    found: list[str] = []
    if case["file"] in SET_OTHERWISE:
        return found
    for demanded in case.get("resp_inc") or ():
        ours = re.sub(r"\bRTP(/S?AVP)?", "UDP/TLS/RTP/SAVPF", demanded)
        ours = ours.replace("[\\s\\S]+a=crypto", "")
        if not any(unsaid in ours for unsaid in UNSAID) and not re.search(ours, text):
            found.append(demanded)
    return found + [e for e in case.get("resp_exc") or () if re.search(e, text)]


def test_as_they_are_cases_get_their_label_or_the_refusal_of_plain_media():
    wrong = {}
    for case in cases():
        verdict, text = answer(case, secured=False)
        label = str(case["resp_code"])
        expected = {"488"} if label == "200" else {label}
        expected, _ = OTHERWISE.get(case["file"], (expected, PLAIN))
        expected = expected | multipart(case)
        if verdict not in expected or (verdict == label and wanting(case, text)):
            wrong[case["file"]] = (label, verdict, wanting(case, text))
    assert wrong == {}


def test_with_a_secure_offer_cases_get_the_label_that_accepts_them():
    wrong = {}
    accepted = 0
    for case in cases():
        if case["resp_code"] != 200:
            continue
        verdict, text = answer(case, secured=True)
        expected, _ = SECURED_OTHERWISE.get(case["file"], ({"200"}, ""))
        expected = expected | multipart(case)
        if verdict not in expected or (verdict == "200" and wanting(case, text)):
            wrong[case["file"]] = (verdict, wanting(case, text), text)
        accepted += verdict == "200"
    assert wrong == {}
    assert accepted


@pytest.mark.parametrize("part", UNSAID)
def test_what_is_left_out_of_answers_is_demanded_somewhere(part):
    demands = [d for case in cases() for d in case.get("resp_inc") or ()]
    assert any(part in demand for demand in demands)
