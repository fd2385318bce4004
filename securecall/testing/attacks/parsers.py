"""F1 to F3: whatever strangers send is read, or refused with one kind of error, in time."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final
from xml.etree import ElementTree

from securecall.errors import ProtocolError, SecurityError
from securecall.keys.carriage import Carriage
from securecall.keys.device import DeviceKey
from securecall.keys.identity import RootKey
from securecall.keys.identity_messages import FrameReader, parse_identity
from securecall.keys.statement import build_statement, parse_statement
from securecall.keys.ticket import parse_ticket
from securecall.rtp.rtcp import parse_rtcp
from securecall.rtp.sframe import parse_header
from securecall.sip.message import parse_message
from securecall.sip.sdp import parse_description
from securecall.testing.attacks.outcome import Attack, Outcome, control, named, ours
from securecall.xmpp.xml import StreamParser

Parser = Callable[[bytes], object]

_ROUNDS: Final = 400
_PATIENCE: Final = 5.0  # seconds of CPU for all rounds of a parser; a hang guard, not a speed
_UNIX: Final = 1_764_000_000
_INVITE: Final = (
    b"INVITE sip:bob@b.example SIP/2.0\r\nVia: SIP/2.0/TLS a.example;branch=z9hG4bK1\r\n"
    b"From: <sip:alice@a.example>;tag=1\r\nTo: <sip:bob@b.example>\r\nCall-ID: 1@a\r\n"
    b"CSeq: 1 INVITE\r\nMax-Forwards: 70\r\nContact: <sip:alice@a.example>\r\n"
    b"Content-Length: 0\r\n\r\n"
)
_SDP: Final = (
    b"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n"
    b"m=audio 4000 UDP/TLS/RTP/SAVPF 111 0\r\na=rtpmap:111 opus/48000/2\r\n"
    b"a=fingerprint:sha-256 " + b":".join([b"AA"] * 32) + b"\r\na=setup:actpass\r\na=mid:0\r\n"
    b"a=rtcp-mux\r\na=candidate:1 1 udp 2130706431 192.0.2.1 4000 typ host\r\n"
)
_OPEN: Final = (
    b"<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"
)
_STANZA: Final = _OPEN + b"<message from='a@b.example' id='1'><body>Hello</body></message>"
_BOMB: Final = b'<!DOCTYPE x [<!ENTITY a "' + b"a" * 5000 + b'">]><x>' + b"&a;" * 100 + b"</x>"
_DEEP: Final = b"<a>" * 100_000


def mutated(data: bytes, chance: random.Random) -> bytes:
    """The data with one to four things done to it."""
    for _ in range(chance.randint(1, 4)):
        at, size = chance.randrange(len(data) + 1), chance.randint(1, 8)
        match chance.randrange(5):
            case 0:
                data = data[:at] + chance.randbytes(size) + data[at + size :]
            case 1:
                data = data[:at] + data[at + size :]
            case 2:
                data = data[:at] + chance.randbytes(size) + data[at:]
            case 3:
                data = data[:at] + data[at : at + size] * chance.randint(1, 400) + data[at:]
            case _:
                data = data[:at]
    return data


async def _fuzzed(parsers: dict[str, tuple[Parser, bytes]], folder: Path) -> Outcome:  # noqa: ARG001
    outcome, refused, taken = Outcome(), 0, 0
    for what, (parse, sample) in parsers.items():
        chance, begun = random.Random(what), time.process_time()  # noqa: S311 - comes again
        for _ in range(_ROUNDS):
            try:
                _ = parse(mutated(sample, chance))
                taken += 1
            except (ProtocolError, SecurityError):
                refused += 1
            except Exception as e:  # noqa: BLE001 - it is what is looked for
                outcome.problems.append(f"{what}: {type(e).__name__}")
                break
        outcome.demand(time.process_time() - begun < _PATIENCE, f"{what}: takes for ever")
    outcome.demand(refused > _ROUNDS // 4, f"only {refused} were refused")
    outcome.got = f"{refused} refused by name, {taken} harmless, of {len(parsers)} parsers"
    return outcome


async def _written_in_an_hour(folder: Path) -> Outcome:  # noqa: ARG001
    """A parser of headers without rules: untyped errors escape it."""
    chance, escaped = random.Random(1), set[str]()  # noqa: S311 - comes again
    for _ in range(_ROUNDS):
        try:
            head, _, _ = mutated(_INVITE, chance).decode().partition("\r\n\r\n")
            first, *rest = head.split("\r\n")
            _, uri, _ = first.split(" ")
            fields = dict(line.split(": ", 1) for line in rest)
            _ = (uri.split("@")[1], int(fields["CSeq"].split()[0]))
        except Exception as e:  # noqa: BLE001 - it is what is looked for
            escaped.add(type(e).__name__)
    outcome = Outcome(got=f"out of it come {', '.join(sorted(escaped))}")
    outcome.demand(len(escaped) > 1, "nothing escapes it")
    return outcome


async def _bomb_goes_off(folder: Path) -> Outcome:  # noqa: ARG001
    found = ElementTree.fromstring(_BOMB)  # noqa: S314 - the unprotected one
    size = len(found.text or "")
    outcome = Outcome(got=f"a plain parser makes {size:,} characters of {len(_BOMB):,}")
    outcome.demand(size > 50 * len(_BOMB), "it does not go off")
    return outcome


def _read_stream(data: bytes) -> object:
    return StreamParser().feed(data)


async def _bombs(folder: Path) -> Outcome:  # noqa: ARG001
    outcome = Outcome(got="refused, or emptied to nothing")
    for what, data in {"entities": _BOMB, "entities within": _OPEN + _BOMB}.items():
        try:
            _ = _read_stream(data)
            outcome.problems.append(f"{what}: taken")
        except ProtocolError as e:
            outcome.refusals = (type(e).__name__,)
    parser = StreamParser()
    try:
        _ = parser.feed(_OPEN + _DEEP)
        outcome.demand(parser.emptied, "100,000 levels were kept")
    except ProtocolError as e:
        outcome.refusals = (type(e).__name__,)
    return outcome


def _statement() -> bytes:
    return build_statement(
        RootKey.generate(),
        seq=_UNIX * 1000,
        iat=_UNIX,
        exp=_UNIX + 86_400,
        addresses=[],
        devices=[DeviceKey.generate("phone")],
    )


def _read_frames(data: bytes) -> object:
    reader = FrameReader()
    reader.feed(data)
    read = 0
    while reader.next() is not None:
        read += 1
    return read


_SIP: Final[dict[str, tuple[Parser, bytes]]] = {
    "SIP": (parse_message, _INVITE),
    "SDP": (parse_description, _SDP),
}
_XML: Final[dict[str, tuple[Parser, bytes]]] = {"XML": (_read_stream, _STANZA)}


async def _handshake_parsers(folder: Path) -> Outcome:
    return await _fuzzed(
        {
            "statement": (partial(parse_statement, unix=_UNIX), _statement()),
            "messages": (_read_frames, b"\x01\x00\x00\x20" + bytes(range(32))),
            "IDENTITY": (parse_identity, bytes(range(64)) + _statement()),
            "carriage": (lambda d: Carriage().receive(d, 0.0), b"\x5c\x01" + bytes(40)),
            "SFrame": (parse_header, bytes.fromhex("09") + bytes(40)),
            "RTCP": (parse_rtcp, bytes.fromhex("81c90007") + bytes(28)),
            "ticket": (
                lambda d: parse_ticket(d.decode("latin-1"), unix=_UNIX),
                b"securecall:1:" + b"A" * 200,
            ),
        },
        folder,
    )


async def _a_million(folder: Path) -> Outcome:  # noqa: ARG001
    """A million candidates in one description."""
    line = b"a=candidate:1 1 udp 2130706431 192.0.2.1 4000 typ host\r\n"
    begun, outcome = time.process_time(), Outcome()
    try:
        _ = parse_description(_SDP + line * 1_000_000)
        outcome.problems.append("taken")
    except ProtocolError as e:
        outcome.refusals = (named(e),)
    outcome.demand(time.process_time() - begun < _PATIENCE, "it takes for ever")
    outcome.got = "refused before they are read"
    return outcome


F1: Final[Attack] = (
    control("a parser as one writes it in an hour", _written_in_an_hour),
    ours("SIP and SDP, mutated", partial(_fuzzed, _SIP)),
    ours("a million candidates", _a_million),
)
F2: Final[Attack] = (
    control("a plain XML parser", _bomb_goes_off),
    ours("XML, mutated", partial(_fuzzed, _XML)),
    ours("bombs, and 100,000 levels", _bombs),
)
F3: Final[Attack] = (
    control("a parser as one writes it in an hour", _written_in_an_hour),
    ours("handshake, frames, statements, tickets", _handshake_parsers),
)
