"""What we expect of other projects' SIPp scenarios where that is not just what they say.

A difference is a named reason and the edit that writes our answer into the scenario, so that SIPp
itself verifies it: a refusal that does not come fails as any wrong message does.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from tests.interop.authority import DOMAIN
from tests.interop.sipp_person import Plan, plan
from tests.interop.sipp_scenarios import Edit, Scenario, Step


@dataclass(frozen=True)
class Case:
    """One scenario and what we expect of it.

    Attributes:
        scenario: Prepared and edited.
        difference: Why it is not played as it is written, "" where it is.
        plan: Our side.
    """

    scenario: Scenario
    difference: str
    plan: Plan


@dataclass(frozen=True)
class Difference:
    """Where our answer is another than the scenario's.

    Attributes:
        why: One line.
        edits: Applied in order, after `Scenario.prepared`.
        codecs: What our side has, () for everything.
    """

    why: str
    edits: tuple[Edit, ...]
    codecs: tuple[str, ...] = ()


# -- edits --------------------------------------------------------------------------------------


def refused(status: int, *, at: int = 0) -> Edit:
    """The final answer number `at` is this status, and the scenario ends there."""

    def edit(scenario: Scenario) -> Scenario:
        steps = scenario.steps
        i = _finals(steps)[at]
        end = i + 1
        while end < len(steps) and steps[end].kind not in ("send", "recv"):
            end += 1
        ack = steps[end : end + 1] if end < len(steps) and steps[end].method == "ACK" else ()
        return scenario.changed([*steps[:i], _expect(status), *ack])

    return edit


def refused_after(last: Callable[[Step], bool], status: int) -> Edit:
    """The first request of that kind gets this status, and the scenario ends there."""

    def edit(scenario: Scenario) -> Scenario:
        steps = scenario.steps
        i = next(i for i, step in enumerate(steps) if last(step))
        ack = next((s for s in steps[i + 1 :] if s.kind == "send"), None)
        ends = [ack] if ack is not None and ack.method == "ACK" else []
        may = [Step("recv", {"response": "100", "optional": "true"})]
        return scenario.changed([*steps[: i + 1], *may, _expect(status), *ends])

    return edit


def answered(status: int, *, at: int) -> Edit:
    """The final answer number `at` is this status, and the scenario goes on."""

    def edit(scenario: Scenario) -> Scenario:
        steps = list(scenario.steps)
        i = _finals(scenario.steps)[at]
        kept = {k: v for k, v in steps[i].attributes.items() if k != "response"}
        steps[i] = replace(_expect(status, **kept), actions=steps[i].actions)
        return scenario.changed(steps)

    return edit


def said(old: str, new: str, *, first: bool = False) -> Edit:
    """Replace a text in what SIPp sends; only where it stands first, if so wanted."""

    def edit(scenario: Scenario) -> Scenario:
        done, steps = False, []
        for step in scenario.steps:
            lines = "\n".join(step.message)
            if old in lines and not (first and done):
                done = True
                step = replace(step, message=tuple(lines.replace(old, new).split("\n")))
            steps.append(step)
        return scenario.changed(steps)

    return edit


def absent(text: str) -> Edit:
    """What SIPp looks for must not be there; the jumps that hung on it go."""
    return _looking(text, _inverted)


def either(text: str) -> Edit:
    """What SIPp looks for may be there or not; the jumps that hung on it go."""
    return _looking(text, lambda _: "")


def _looking(text: str, change: Callable[[re.Match[str]], str]) -> Edit:
    def edit(scenario: Scenario) -> Scenario:
        steps = []
        for step in scenario.steps:
            jumps = step.kind == "nop" and ("test" in step.attributes or "int_cmd" in step.actions)
            actions = re.sub(rf"<ereg[^>]*{re.escape(text)}[^>]*/>", change, step.actions)
            if not jumps:
                steps.append(replace(step, actions=actions))
        return scenario.changed(steps)

    return edit


def without(unwanted: Callable[[Step], bool], *, following: int = 0) -> Edit:
    """Leave steps out, each with so many that follow it."""

    def edit(scenario: Scenario) -> Scenario:
        steps, skip = [], 0
        for step in scenario.steps:
            if unwanted(step):
                skip = 1 + following
            if skip:
                skip -= 1
            else:
                steps.append(step)
        return scenario.changed(steps)

    return edit


def until(last: Callable[[Step], bool], *, times: int = 1) -> Edit:
    """End the scenario after the step of that kind which is number `times`."""

    def edit(scenario: Scenario) -> Scenario:
        seen = 0
        for i, step in enumerate(scenario.steps):
            seen += last(step)
            if seen == times:
                return scenario.changed(list(scenario.steps[: i + 1]))
        return scenario

    return edit


def waits(status: int, instead: int) -> Edit:
    """SIPp waits for another provisional response."""

    def edit(scenario: Scenario) -> Scenario:
        return scenario.changed(
            [
                replace(s, attributes=s.attributes | {"response": str(instead)})
                if s.kind == "recv" and s.status == status
                else s
                for s in scenario.steps
            ]
        )

    return edit


def silence(*statuses: int) -> Edit:
    """Nothing comes where one of these was waited for."""

    def edit(scenario: Scenario) -> Scenario:
        steps: list[Step] = []
        for step in scenario.steps:
            if step.kind == "recv" and step.status in statuses and not step.optional:
                while steps[-1].kind == "recv" and steps[-1].optional:
                    steps.pop()
                steps.append(Step("pause", {"milliseconds": "300"}))
            else:
                steps.append(step)
        return scenario.changed(steps)

    return edit


def unlooked(scenario: Scenario) -> Scenario:
    """SIPp takes whatever stands where it looked for what only Asterisk's configuration says."""
    steps = []
    for step in scenario.steps:
        actions = _CHECK.sub(lambda found: _unlooked(found[0]), step.actions)
        jumps = step.kind == "nop" and ("<error" in actions or "condexec" in step.attributes)
        if not jumps:
            steps.append(replace(step, actions=actions))
    return scenario.changed(steps)


def _unlooked(check: str) -> str:
    return _LOOKS.sub("", check) if _configured(check) else check


def _inverted(check: re.Match[str]) -> str:
    return _LOOKS.sub("", check[0]).replace("/>", ' check_it_inverse="true"/>')


def _finals(steps: tuple[Step, ...]) -> list[int]:
    return [
        i for i, s in enumerate(steps) if s.kind == "recv" and s.status >= 200 and not s.optional
    ]


def _expect(status: int, **more: str) -> Step:
    return Step("recv", {"response": str(status), **more})


def _receives(method: str) -> Callable[[Step], bool]:
    return lambda step: step.kind == "recv" and step.method == method


# -- PJSIP --------------------------------------------------------------------------------------

_NO_NONCE: Final = "its challenge has no nonce and is none (RFC 7616 3.3); it gets one"
_ONE_TAG: Final = "its 200 has no To tag, its requests have one (RFC 3261 12.2.2); it gets that"
_TOO_EARLY: Final = (
    "ringing is reliable where the caller requires that, and describes nothing; so an UPDATE with "
    "an offer is too early: 500 (RFC 3311 5.2). Its BYE counts backwards, and is made to count on"
)
_NO_LOCK: Final = "nothing locks one codec after the answer: no UPDATE follows"
_NO_NOTIFY: Final = "nothing is subscribed to: 405"
_RELIABLE: Final = (
    said("Supported: 100rel, precondition", "Require: 100rel"),
    waits(183, 180),
    said("CSeq: 2 BYE", "CSeq: 4 BYE"),
)
_UNSOLICITED: Final = (
    without(_receives("SUBSCRIBE"), following=1),
    said("sip:[$5]", "sip:alice@[remote_ip]"),
    said("To[$3]", f"To: <sip:alice@{DOMAIN}>"),
    refused(405),
)

PJSIP: Final = {
    "alt-pjsua-uac-custom-sdp.xml": Difference(
        "we offer no video, and hang up on an answer that has it", (absent("H263"),)
    ),
    "alt-pjsua-uas-amr-sdp.xml": Difference("AMR is no codec of ours: 488", (refused(488),)),
    "alt-pjsua-uas-custom-sdp.xml": Difference("video is refused by port 0", (absent("H263"),)),
    "uac-message-no-body.xml": Difference("no MESSAGE is taken: 405", (refused(405),)),
    "uas-norefersub-disabled.xml": Difference(
        "we know that option, and nobody switches it off", (either("norefer"),)
    ),
    "uac-prack-sdp-decline.xml": Difference(
        "ringing is reliable where the caller requires that; an offer in its PRACK gets 488, and "
        "the call goes on",
        (*_RELIABLE, answered(488, at=0), answered(200, at=1)),
    ),
    "uac-upd-sdp-decline.xml": Difference(_TOO_EARLY, (*_RELIABLE, answered(500, at=1))),
    "uac-upd-sdp-offer.xml": Difference(_TOO_EARLY, (*_RELIABLE, answered(500, at=1))),
    "uac-reinvite-bad-via-branch.xml": Difference(
        "a second INVITE by the branch of the first is a repetition, absorbed (RFC 6026 7.1)",
        (silence(400),),
    ),
    "uac-srtp-dtls-reinv-sdes.xml": Difference(
        "rtcp-mux is needed, and gets in; a change from DTLS to SDES is refused: 488",
        (said("a=setup:actpass", "a=setup:actpass\na=rtcp-mux"), refused(488, at=1)),
    ),
    "uac-srtp-sdes-reinv-hold.xml": Difference("SDES is refused: 488", (refused(488),)),
    "uac-ticket-1866-reinv-after-failed-nego.xml": Difference(
        "a change to a codec we do not have gets 488, not 500",
        (answered(488, at=1),),
        codecs=("pcmu",),
    ),
    "uas-answer-180-multiple-fmts-support-update.xml": Difference(
        _NO_LOCK, (without(_receives("UPDATE"), following=1),)
    ),
    "uas-answer-200-multiple-fmts-support-update.xml": Difference(
        _NO_LOCK, (without(_receives("UPDATE"), following=1),)
    ),
    "uas-answer-200-without-to-tag.xml": Difference(
        _NO_LOCK, (without(_receives("UPDATE"), following=1),)
    ),
    "uas-auth.xml": Difference(_NO_NONCE, (said('realm="test"', 'realm="test", nonce="1"'),)),
    "uas-register-ip-change.xml": Difference(
        f"{_NO_NONCE}; a second challenge in a row is a refused password, stale or not",
        (
            said('realm="test"', 'realm="test", nonce="1"'),
            until(lambda step: step.kind == "send" and step.status == 401, times=2),
        ),
    ),
    "uas-forked-100rel.xml": Difference(
        "it gives the second branch the tags of both; it gets one tag",
        (said("[last_To:];tag=UA_", f"To: <sip:bob@{DOMAIN}>;tag=UA_"),),
    ),
    "uas-mwi.xml": Difference(_NO_NOTIFY, _UNSOLICITED),
    "uas-subscribe-notify-terminate.xml": Difference(_NO_NOTIFY, _UNSOLICITED),
    "uas-reinv-and-ack-without-sdp.xml": Difference(
        _ONE_TAG, (said("[last_To:]", "[last_To:];tag=[call_number]", first=True),)
    ),
    "uas-reinv-with-less-media.xml": Difference(
        _ONE_TAG, (said("[last_To:]", "[last_To:];tag=[call_number]", first=True),)
    ),
}


def pjsip(scenario: Scenario) -> Case:
    """What we expect of a scenario of PJSIP's."""
    return _case(scenario, PJSIP.get(scenario.name))


def _case(scenario: Scenario, difference: Difference | None) -> Case:
    edited = scenario.prepared()
    for edit in difference.edits if difference is not None else ():
        edited = edit(edited)
    ours = plan(edited)
    if difference is not None and difference.codecs:
        ours = replace(ours, codecs=difference.codecs)
    return Case(edited, difference.why if difference is not None else "", ours)


# -- Asterisk -----------------------------------------------------------------------------------

_BEGINS: Final = ("INVITE", "OPTIONS", "REGISTER")  # what we send of our own accord
_IN_CALL: Final = ("INVITE", "ACK", "BYE", "CANCEL", "PRACK")
_CHECK: Final = re.compile(r"<ereg\b(?:[^>\"]|\"(?:\\.|[^\"])*\")*>")
_PATTERN: Final = re.compile(r'regexp\s*=\s*"((?:\\.|[^"])*)"')
_HEADER: Final = re.compile(r'header\s*=\s*"([^":]*)')
# what every message has; a pattern of these fields that names nobody is about SIP
_FIELDS: Final = frozenset({"", "call-id", "contact", "cseq", "expires", "from", "to", "via"})
_NAMES: Final = re.compile(
    r"(?i)(?<![a-z])(?!branch|invite|alnum|punct|sip|tag)[a-z]{3,}|[a-z]+[0-9]|[0-9]{4}"
)
_LOOKS: Final = re.compile(r'\s*check_it(?:_inverse)?\s*=\s*"true"')
_DIRECTION: Final = re.compile(r"a=(?:sendonly|recvonly|inactive|sendrecv|rtcp-mux)")


def why_not(scenario: Scenario) -> str:
    """Why a scenario of Asterisk's test suite says nothing of a user agent; "" if it does.

    The rule: it is about one SIP peer by itself, begins with something that one of both can send,
    and waits for no request and no status that only a dialplan would make.
    """
    steps, first = scenario.steps, scenario.first
    if any(step.kind in ("sendCmd", "recvCmd") for step in steps):
        return "one of several SIPps that direct each other (3PCC)"
    if any("<lookup" in step.actions for step in steps):
        return "needs a file of its test bench"
    if first is None or (first.kind == "recv" and first.method not in _BEGINS):
        return f"waits for {first.method if first is not None else 'nothing'}, never sent by us"
    for step in steps:
        if _refers(step):
            break  # what follows is never reached
        if step.kind == "recv" and not step.optional:
            why = _why_not_step(step, first)
            if why:
                return why
    said_again = "".join(line for step in steps for line in step.message)
    for check in (c for step in steps for c in _CHECK.findall(step.actions) if _configured(c)):
        names = re.findall(r"[\w-]+", (re.search(r'assign_to\s*=\s*"([^"]*)"', check) or [""])[0])
        if any(f"[${name}]" in said_again for name in names[1:]):
            return "goes on with a word that its configuration would have said"
    return ""


def _why_not_step(step: Step, first: Step) -> str:
    if step.status in (401, 407):
        return "asks us for a challenge: our callers need no password"
    if 300 <= step.status < 400:
        return "asks us to redirect: a dialplan's work"
    if step.status in (181, 183):
        return f"asks us for {step.status}: a dialplan's work"
    if step.status == 404 and first.method == "OPTIONS":
        return "asks for an extension that a dialplan lacks"
    if step.method and first.method == "INVITE" and step.method not in _IN_CALL:
        return f"waits for {step.method}, never sent by us"
    return ""


def _configured(check: str) -> bool:
    """Whether a pattern wants what only a dialplan or a configuration would say."""
    if _LOOKS.search(check) is None:
        return False
    header, pattern = _HEADER.search(check), _PATTERN.search(check)
    text = pattern[1] if pattern is not None else ""
    if _DIRECTION.fullmatch(text):
        return False
    if "body" in check:
        return True
    of_sip = (header[1].strip().lower() if header is not None else "") in _FIELDS
    return not of_sip or _NAMES.search(text) is not None


def asterisk(scenario: Scenario) -> Case:
    """What we expect of a scenario of Asterisk's that `why_not` has nothing against."""
    difference = ASTERISK.get(scenario.name) or _usual_difference(scenario)
    checks = (c for step in scenario.steps for c in _CHECK.findall(step.actions))
    if any(_configured(check) for check in checks):
        why, edits = _LOOKED_FOR, (unlooked,)
        if difference is not None:
            why, edits = f"{difference.why}; {why}", (unlooked, *difference.edits)
        difference = Difference(why, edits)
    return _case(scenario, difference)


def _usual_difference(scenario: Scenario) -> Difference | None:
    first = scenario.first
    fax = next((step for step in scenario.steps if _offers_fax(step)), None)
    if fax is not None and not fax.body[0]:
        return Difference(
            "a description begins with v= (RFC 8866 5), not with an empty line: 400",
            (refused_after(_offers_fax, 400),),
        )
    if fax is not None:
        return Difference("T.38 is refused: 488", (refused_after(_offers_fax, 488),))
    if any(_refers(step) for step in scenario.steps):
        return Difference("no transfer is followed: 603", (refused_after(_refers, 603),))
    if first is None or first.kind == "recv":
        return None
    method = first.method
    if method not in ("INVITE", "OPTIONS"):
        return Difference(f"no {method} is taken: 405", (refused(405),))
    if any(line.startswith("a=crypto") for line in first.body):
        return Difference("SDES is refused: 488", (refused(488),))
    return None


def _offers_fax(step: Step) -> bool:
    fax = any(line.startswith("m=image") for line in step.body)
    sound = any(re.match(r"m=audio [^0]", line) for line in step.body)
    return step.invites and fax and not sound


def _refers(step: Step) -> bool:
    return step.kind == "send" and step.method == "REFER"


_LOOKED_FOR: Final = "what it looks for is of Asterisk's configuration, and not looked for"
ASTERISK: Final = {
    "channels/pjsip/diversion/diversion_request_drop_options/sipp/user1.xml": Difference(
        "a Contact with a semicolon and no brackets is malformed (RFC 3261 20): 400",
        (refused(400),),
    ),
    "channels/pjsip/headers/no_contact/sipp/no_contact.xml": Difference(
        "of five requests without Contact we take none: 400 for INVITE, 481 for UPDATE and 405, "
        "603, 405 for methods we do not have",
        tuple(answered(status, at=i) for i, status in enumerate((400, 481, 405, 603, 405))),
    ),
    "channels/pjsip/invalid_uris/sipp/invalid_uris.xml": Difference(
        "a Contact that is no sip URI is malformed (RFC 3261 8.1.1.8): 400, not 416",
        (refused(400),),
    ),
    "channels/pjsip/registration/outbound/forbidden_retry/sipp/register-retry.xml": Difference(
        "a password that was refused is not tried again",
        (until(lambda step: step.kind == "send" and step.status == 403),),
    ),
    "channels/pjsip/sdp_offer_answer/incoming/off-nominal/multiple-media-stream/audio-video"
    "/codec-mismatch/sipp/uac-audio-mismatch.xml": Difference(
        "a call without sound is none: 488", (refused(488),)
    ),
    "channels/pjsip/transfers/blind_transfer/caller_refer_only/sipp/alice.xml": Difference(
        "a payload type that is no number (RFC 8866 5): 400", (refused(400, at=1),)
    ),
    "channels/pjsip/transfers/blind_transfer/caller_with_hold_drop_options/sipp"
    "/alice.xml": Difference(
        "a Contact with a semicolon and no brackets is malformed (RFC 3261 20): 400",
        (refused_after(_refers, 400),),
    ),
    "channels/pjsip/transfers/attended_transfer/nominal/callee_local_direct_media/sipp"
    "/wait-for-a-call-then-send-bye.xml": Difference(
        "its answer to a re-INVITE has no Content-Type (RFC 3261 20.15); it gets one",
        (
            said(
                "sip:alice@[local_ip]:[local_port]>",
                "sip:alice@[local_ip]>\nContent-Type: application/sdp",
            ),
        ),
    ),
}
