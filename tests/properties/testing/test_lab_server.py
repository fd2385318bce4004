"""For all bytes: the lab server answers or drops them, goes on, and lets no stranger through."""

from __future__ import annotations

import contextlib
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from securecall.errors import ProtocolError
from securecall.sip.grammar import SipError
from securecall.sip.message import build_message
from securecall.sip.stream import MessageStream
from securecall.testing.authentication import parse_credentials
from securecall.testing.proxy import MOST_REQUESTS
from tests.properties.sip.test_parsers import mutated
from tests.sip_scripts import again, answer, challenge_of, credentials, invite, register, within
from tests.unit.testing.lab_core import PASSWORDS, Core, read, statuses

ALICE, BOB, EVE = 1, 2, 9
BOBS = ("Contact", "<sip:bob@bob.invalid>")


def conversation() -> tuple[Core, list[bytes]]:
    """A core in the middle of a call, and messages that belong to it and to its beginning."""
    core = Core()
    core.register(BOB, "bob")
    sent, ((_, copy),) = core.invite(ALICE)
    rings, ok = answer(copy, 180), answer(copy, 200, BOBS)
    ((_, passed),) = core.say(BOB, rings)
    proven = register("alice", '<sip:a@a.invalid>;reg-id=1;+sip.instance="<urn:uuid:1>"')
    proven.headers.add("Supported", "outbound, path, gruu")
    fresh = again(proven)
    challenge = challenge_of(core.ask(ALICE, proven))
    fresh.headers.add(*credentials(challenge, fresh, PASSWORDS["alice"]))
    passed.headers.add("Contact", "<sip:bob@bob.invalid>")
    bye = within("BYE", passed, caller=True, number=90)
    cancel = type(sent)("CANCEL", sent.target, sent.headers.copy())
    cancel.headers.replace("CSeq", f"{sent.cseq.number} CANCEL")
    return core, [build_message(m) for m in (fresh, sent, invite(), rings, ok, bye, cancel)]


def rearranged(seeds: list[bytes], number: int, seed: int) -> list[bytes]:
    """Messages with whole lines missing, doubled, or taken from another; most can be read."""
    chance = random.Random(seed)
    lines = [line for data in seeds for line in data.split(b"\r\n")[1:] if line]
    out = []
    for _ in range(number):
        first, *rest = chance.choice(seeds).removesuffix(b"\r\n\r\n").split(b"\r\n")
        for _ in range(chance.randint(0, 2)):
            at = chance.randrange(len(rest))
            kind = chance.randrange(3)
            if kind == 0 and not rest[at].startswith(b"Content-Length"):
                del rest[at]
            elif kind == 1:
                rest.insert(at, chance.choice(lines))
            else:
                rest[at] = chance.choice(lines)
        out.append(b"\r\n".join([first, *rest, b"", b""]))
    return out


def hear(core: Core, flow: int, data: bytes) -> list:
    """What the shell does with bytes, without its connections; what goes on to others is valid."""
    stream, out = MessageStream(), []
    try:
        for message in stream.feed(data):
            out += core.proxy.receive(message, flow=flow, now=core.now, source="127.0.0.1:4000")
    except ProtocolError:
        return []
    for send in out:
        _ = build_message(send.message)  # an answer to nonsense may repeat some of it
    _ = read(send for send in out if send.flow != flow)
    return [(send.flow, send.message) for send in out]


@pytest.mark.parametrize("damaged", [mutated, rearranged])
@pytest.mark.parametrize("seed", range(2))
def test_damaged_messages_break_nothing(damaged, seed):
    core, seeds = conversation()
    for n, data in enumerate(damaged(seeds, 1500, seed)):
        flow = (ALICE, BOB, EVE)[n % 3]
        core.proxy.opened(flow)
        for to, _ in hear(core, flow, data):
            assert to in (ALICE, BOB, EVE)
        if n % 100 == 99:
            core.now += 40
            core.expire()
            core.lose(EVE)
    assert core.proxy.open_requests <= 3 * MOST_REQUESTS
    assert core.register(7, "bob").status == 200


@pytest.mark.parametrize("damaged", [mutated, rearranged])
def test_who_proves_nothing_reaches_nobody(damaged):
    core, _ = conversation()
    core.proxy.opened(EVE)
    strange = [build_message(m) for m in (invite(), invite("alice", user="bob"), register("bob"))]
    for data in damaged(strange, 1500, 7):
        assert {to for to, _ in hear(core, EVE, data)} <= {EVE}
        core.lose(EVE)
        core.proxy.opened(EVE)


def test_the_same_messages_reach_somebody_once_they_are_proven():
    core, _ = conversation()
    assert statuses(core.invite(EVE)[1]) == [(BOB, "INVITE")]


@given(st.text(max_size=100))
def test_credentials_are_read_or_refused(text):
    for given_text in (text, f"Digest {text}"):
        with contextlib.suppress(SipError):
            assert {"username", "response"} <= parse_credentials(given_text).keys()


@given(st.binary(max_size=300), st.integers(0, 300))
def test_line_ends_are_counted_however_they_arrive(noise, cut):
    """As many as stand before and between messages, in one piece or in two."""
    message = b"OPTIONS sip:a SIP/2.0\r\nContent-Length: %d\r\n\r\n%s" % (len(noise), noise)
    data = b"\r\n\r\n" + message + b"\r\n" * 3 + message + b"\r\n"
    stream = MessageStream()
    assert len(stream.feed(data[:cut]) + stream.feed(data[cut:])) == 2
    assert stream.line_ends == 6
