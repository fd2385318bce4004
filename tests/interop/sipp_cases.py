"""What we expect of other projects' SIPp scenarios where that is not just what they say.

A difference is a named reason and the edit that writes our answer into the scenario, so that SIPp
itself verifies it: a refusal that does not come fails as any wrong message does.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
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
                step = replace(step, message=tuple(lines.replace(old, new).split("\n")))  # noqa: PLW2901 - the changed one is kept
            steps.append(step)
        return scenario.changed(steps)

    return edit


def absent(text: str) -> Edit:
    """What SIPp looks for must not be there; the jumps that hung on it go."""

    def edit(scenario: Scenario) -> Scenario:
        steps = []
        for step in scenario.steps:
            jumps = step.kind == "nop" and ("test" in step.attributes or "int_cmd" in step.actions)
            actions = re.sub(rf"<ereg[^>]*{re.escape(text)}[^>]*/>", _inverted, step.actions)
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


def hung_up() -> Edit:
    """After all this, we hang up."""

    def edit(scenario: Scenario) -> Scenario:
        fields = ("via", "from", "to", "call-id", "cseq")
        lines = ("SIP/2.0 200 OK", *(f"[last_{name.title()}:]" for name in fields))
        lines = tuple(line.replace("Call-Id", "Call-ID").replace("Cseq", "CSeq") for line in lines)
        steps = [s for s in scenario.steps if s.kind != "pause"]
        bye = Step("recv", {"request": "BYE"})
        return scenario.changed([*steps, bye, Step("send", message=(*lines, "Content-Length: 0"))])

    return edit


def _inverted(check: re.Match[str]) -> str:
    return check[0].replace(' check_it="true"', "").replace("/>", ' check_it_inverse="true"/>')


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
    "uac-norefersub.xml": Difference("no transfer is known, nor its option", (absent("norefer"),)),
    "uas-norefersub.xml": Difference("no transfer is known, nor its option", (absent("norefer"),)),
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
        f"{_ONE_TAG}; an ACK that owes us an answer ends the call",
        (said("[last_To:]", "[last_To:];tag=[call_number]", first=True), hung_up()),
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
# words in a pattern that any SIP message has
_USUAL: Final = frozenset({"branch", "invite", "alnum", "punct", "asterisk"})
_DIRECTION: Final = re.compile(r"a=(?:sendonly|recvonly|inactive|sendrecv|rtcp-mux)")


def why_not(scenario: Scenario) -> str:
    """Why a scenario of Asterisk's test suite says nothing of a user agent; "" if it does.

    The rule: it is about one SIP peer by itself, begins with something that one of both can send,
    and waits for nothing that only Asterisk's dialplan or configuration could have said.
    """
    steps, first = scenario.steps, scenario.first
    if any(step.kind in ("sendCmd", "recvCmd") for step in steps):
        return "one of several SIPps that direct each other (3PCC)"
    if any("<lookup" in step.actions for step in steps):
        return "needs a file of its test bench"
    if first is None or (first.kind == "recv" and first.method not in _BEGINS):
        return f"waits for {first.method if first is not None else 'nothing'}, never sent by us"
    return _why_not_answers(scenario, first) or _why_not_content(steps)


def _why_not_answers(scenario: Scenario, first: Step) -> str:
    for step in scenario.steps:
        if step.kind != "recv" or step.optional:
            continue
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


def _why_not_content(steps: Iterable[Step]) -> str:
    for step in steps:
        for check in re.findall(r"<ereg\b(?:[^>\"]|\"(?:\\.|[^\"])*\")*>", step.actions):
            if 'check_it="true"' not in check:
                continue
            pattern = re.search(r'regexp\s*=\s*"((?:\\.|[^"])*)"', check)
            text = pattern[1] if pattern is not None else ""
            words = {word.lower() for word in re.findall(r"[A-Za-z]{4,}", text)}
            if words - _USUAL and not _DIRECTION.fullmatch(text):
                return "looks for what its dialplan or configuration would say"
    return ""


def asterisk(scenario: Scenario) -> Case:
    """What we expect of a scenario of Asterisk's that `why_not` has nothing against."""
    difference = ASTERISK.get(scenario.name) or _usual_difference(scenario)
    return _case(scenario, difference)


def _usual_difference(scenario: Scenario) -> Difference | None:
    first = scenario.first
    if first is None or first.kind == "recv":
        return None
    method = first.method
    if method not in ("INVITE", "OPTIONS"):
        status = 603 if method == "REFER" else 405
        return Difference(f"no {method} is taken: {status}", (refused(status),))
    if any(line.startswith("a=crypto") for line in first.body):
        return Difference("SDES is refused: 488", (refused(488),))
    refers = [i for i, s in enumerate(scenario.steps) if s.kind == "send" and s.method == "REFER"]
    if refers:
        at = sum(1 for i in _finals(scenario.steps) if i < refers[0])
        return Difference("no transfer is followed: 603", (refused(603, at=at),))
    return None


ASTERISK: Final[dict[str, Difference]] = {}
