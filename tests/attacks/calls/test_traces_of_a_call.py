"""What signalling and media of a real call tell whoever carries them: nothing that is not needed.

The scan looks for what names a machine, a person or a device, and for anything that two calls of
the same people have in common beside what has to be there. Each of its eyes has a planted leak.
"""

from __future__ import annotations

import asyncio
import base64
import getpass
import platform
import re
import socket
import uuid
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from securecall.media.endpoints import SilenceSource, ToneSource
from securecall.testing.attacks.stage import stage
from securecall.testing.classify import Kind, classify
from securecall.testing.mallory import Mode

# What may be the same in two calls: the words of the protocols, the two addresses, and where the
# media is. All else that is longer than a few characters has to be fresh.
NEEDED = frozenset({"alice", "bob", "provider.test", "127.0.0.1"})


@dataclass
class Traces:
    """What the provider saw of one call."""

    signalling: list[str]
    media: list[bytes]


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """Two calls from Alice to Bob: she speaks and falls silent; she is mute and speaks."""

    async def run():
        async with stage(tmp_path_factory.mktemp("traces"), mode=Mode.TAP) as s:
            traces = []

            async def speak(call):
                await s.hear_more(call, 0.3)
                call.source = SilenceSource()
                await s.hear_more(call, 0.2)

            async def be_mute(call):
                call.mute()
                await s.hear_more(call, 0.2)
                call.mute(muted=False)
                call.source = ToneSource(300.0)
                await s.hear_more(call, 0.2)

            for during in (speak, be_mute):
                s.bob.calls.clear()
                await s.dial(during=during)
                assert s.error is None
                media = [c.datagram for c in s.mallory.last_media.captured]
                s.bob.calls.clear()
                s.mallory.mode = Mode.HONEST  # so that every word is the people's own
                before = len(s.mallory.proxy.transcript)
                await s.dial(seconds=0.05)
                assert s.error is None
                s.mallory.mode = Mode.TAP
                told = [d.decode() for _, d in s.mallory.proxy.transcript[before:]]
                traces.append(Traces(told, media))
            secrets = {
                "statement": [p.client.contacts.statement for p in (s.alice, s.bob)],
                "root": [p.client.contacts.root_fp for p in (s.alice, s.bob)],
                "device": [p.client.contacts.device.public for p in (s.alice, s.bob)],
            }
            names = [p.client.contacts.device.id for p in (s.alice, s.bob)]
            return traces, secrets, names

    return asyncio.run(run())


def spellings(data):
    """Texts by which a piece of binary data would be known."""
    text = base64.b64encode(data[:30]).decode()
    return {data[:16].hex(), data[:16].hex().upper(), text, text.translate({43: 45, 47: 95})}


def machine():
    """Names of this machine and of who uses it."""
    found = {socket.gethostname(), getpass.getuser(), platform.node(), str(Path.home())}
    found |= {platform.system(), platform.release(), platform.python_version(), "python"}
    found |= {
        f"{uuid.getnode():012x}",
        ":".join(f"{uuid.getnode():012x}"[i : i + 2] for i in range(0, 12, 2)),
    }
    return {word.lower() for word in found if len(word) > 3}


FORBIDDEN = ("user-agent", "server", "organization", "subject", "p-", "call-info", "date", "x-")
ATTRIBUTES = frozenset(
    [
        "group",
        "mid",
        "rtpmap",
        "fmtp",
        "ptime",
        "sendrecv",
        "fingerprint",
        "setup",
        "rtcp-mux",
        "rtcp-xr",
        "x-securecall-id",
        "ssrc",
        "ice-ufrag",
        "ice-pwd",
        "candidate",
        "ice-options",
        "end-of-candidates",
    ]
)


def faults(texts):
    """Everything in these messages that says more than a call needs."""
    found = []
    for text in texts:
        head, _, body = text.partition("\r\n\r\n")
        fields = [line.partition(":") for line in head.split("\r\n")[1:]]
        for name, _, value in fields:
            low, value = name.strip().lower(), value.strip()
            if low.startswith(FORBIDDEN):
                found.append(f"header {name}")
            if low == "call-id" and "@" in value:
                found.append("Call-ID names a host")
            if low == "contact" and not re.match(
                r"<sip:[0-9a-f]{24}@[0-9a-f]{24}\.invalid[;>]", value
            ):
                found.append("Contact names somebody")
            if low in ("from", "to") and not value.startswith("<"):
                found.append("a display name")
        for line in body.split("\r\n"):
            kind, _, value = line.partition("=")
            if kind == "o" and not re.fullmatch(
                r"- \d+ \d+ IN IP[46] (127\.0\.0\.1|0\.0\.0\.0)", value
            ):
                found.append(f"o={value}")
            if kind == "s" and value != "-":
                found.append(f"s={value}")
            if kind in ("i", "u", "e", "p"):
                found.append(line)
            if kind == "a" and re.split("[: ]", value)[0] not in ATTRIBUTES:
                found.append(f"a={value}")
            if "cname:" in value and not re.search(r"cname:[0-9a-f]{16}$", value):
                found.append("cname")
    whole = "\n".join(texts).lower()
    return found + [f"names {word!r}" for word in machine() if word in whole]


def words(traces):
    """What could be recognised again: every longer piece of every message."""
    pieces = set()
    for text in traces.signalling:
        pieces |= set(re.findall(r"[A-Za-z0-9+/._\-]{8,}", text))
    return pieces


def linkable(first, second):
    """What stands in both calls and is not of the protocols."""
    common = words(first) & words(second)
    # hexadecimal, numbers and mixtures; a word or a name in a protocol has no digits within
    odd = {w for w in common if re.search(r"\d", w) and re.search(r"[a-zA-Z]{2}|\d{6}", w)}
    known = re.compile(
        r"127\.0\.0\.1|SIP/2\.0.*|.*UDP/TLS/RTP.*|IN|opus/48000/\d|PCM[UA]/8000|G722/8000"
        r"|telephone-event/\d+|red/48000/\d"
        r"|(?:application|message|multipart)/[a-z0-9.+-]+|sha-256|x-securecall-id|100rel"
        r"|z9hG4bK.{0,4}|audio/.*"
        r"|2130706431"  # the priority of every host address (RFC 8445 5.1.2)
    )
    return {w for w in odd if not known.fullmatch(w) and w not in NEEDED}


def test_the_scan_finds_nothing_in_a_call(seen):
    traces, _, _ = seen
    for call in traces:
        assert len(call.signalling) > 5
        assert faults(call.signalling) == []


def test_no_key_and_no_device_is_named(seen):
    traces, secrets, names = seen
    whole = "".join(text for call in traces for text in call.signalling)
    wire = b"".join(datagram for call in traces for datagram in call.media)
    for kind, values in secrets.items():
        for value in values:
            assert not any(text in whole for text in spellings(value)), kind
            assert value[:16] not in wire, kind
    tokens = set(re.split(r"[^A-Za-z0-9_\-]", whole))
    assert not tokens & (set(names) - NEEDED)
    planted = whole + base64.b64encode(secrets["root"][0]).decode()  # the control
    assert any(text in planted for text in spellings(secrets["root"][0]))


def test_two_calls_have_nothing_in_common_to_be_known_by(seen):
    (first, second), _, _ = seen
    assert linkable(first, second) == set()
    branded = (
        [t + "a=tool:phone-7f3a91c2" for t in first.signalling],
        [t + "a=tool:phone-7f3a91c2" for t in second.signalling],
    )
    assert linkable(*(Traces(texts, []) for texts in branded)) == {"phone-7f3a91c2"}


LEAKS = {
    "user agent": ("\r\nCSeq:", "\r\nUser-Agent: securecall/1.0\r\nCSeq:"),
    "organization": ("\r\nCSeq:", "\r\nOrganization: Clinic\r\nCSeq:"),
    "subject": ("\r\nCSeq:", "\r\nSubject: results\r\nCSeq:"),
    "date, which tells a clock": ("\r\nCSeq:", "\r\nDate: Sat, 13 Nov 2026 23:29:00 GMT\r\nCSeq:"),
    "asserted identity": ("\r\nCSeq:", "\r\nP-Asserted-Identity: <tel:+1>\r\nCSeq:"),
    "host in Call-ID": ("\r\nCSeq:", "\r\nCall-ID: 7@laptop.local\r\nCSeq:"),
    "user in Contact": ("\r\nCSeq:", "\r\nContact: <sip:alice@192.0.2.1>\r\nCSeq:"),
    "display name": ("From: <", 'From: "Alice" <'),
    "user in o=": ("o=- ", "o=alice "),
    "address in o=": ("IN IP4 0.0.0.0\r\ns=", "IN IP4 192.168.1.7\r\ns="),
    "session name": ("s=-", "s=Call of Alice"),
    "audio level header": (
        "a=rtcp-mux",
        "a=extmap:1 urn:ietf:params:xml:ns:ssrc-audio-level\r\na=rtcp-mux",
    ),
    "cname with a host": ("cname:", "cname:alice@laptop"),
    "tool": ("t=0 0", "t=0 0\r\na=tool:libav"),
    "name of the machine or its user": (
        "\r\nCSeq:",
        f"\r\nVia: SIP/2.0/TLS {Path.home()}\r\nCSeq:",
    ),
}


@pytest.mark.parametrize("name", LEAKS)
def test_control_the_scan_sees_a_planted_leak(seen, name):
    (first, _), _, _ = seen
    old, new = LEAKS[name]
    invite = next(t for t in first.signalling if t.startswith("INVITE"))
    assert old in invite
    assert faults([invite.replace(old, new, 1)]) != []


def test_every_packet_of_sound_has_one_size_and_no_header_extension(seen):
    """Speech, silence, a mute microphone and loud sound: one size for each direction's stream."""
    traces, _, _ = seen
    for call in traces:
        sound = [d for d in call.media if classify(d) is Kind.RTP]
        assert not any(extended(d) for d in sound)
        for source in {d[8:12] for d in sound}:
            sizes = [len(d) for d in sound if d[8:12] == source]
            assert len(sizes) > 20
            assert len(Counter(sizes[8:])) == 1  # of eight frames the counter takes no byte
    assert extended(bytes((sound[0][0] | 0x10,)) + sound[0][1:])  # the control


def extended(datagram):
    """Whether RTP carries a header extension, or names contributors."""
    return bool(datagram[0] & 0x1F)


def test_sources_and_numbers_are_fresh_in_every_call(seen):
    traces, _, _ = seen
    sources = [{d[8:12] for d in t.media if classify(d) is Kind.RTP} for t in traces]
    assert all(len(s) == 2 for s in sources)
    assert not sources[0] & sources[1]


def test_no_certificate_names_anybody(seen):
    """DTLS 1.2 shows certificates in clear: they are of this call, and name a random number."""
    traces, _, _ = seen
    shown = []
    for call in traces:
        names = set(re.findall(rb"\x55\x04\x03\x0c\x10([0-9a-f]{16})", b"".join(call.media)))
        shown.append(names)
        assert len(names) == 2
    assert not shown[0] & shown[1]
