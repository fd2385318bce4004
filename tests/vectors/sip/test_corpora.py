"""Thousands of hostile and odd messages: each meets an answer, and the next caller is served.

Nothing but what is declared may be raised: `Line` hands every message to the agent as the
connection does, which lets anything that is no `ProtocolError` through and so fails the test.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable

import pytest

from tests.vectors.sip import corpora
from tests.vectors.sip.corpora import Case
from tests.vectors.sip.line import Line, alive

CORPORA: dict[str, Callable[[], Iterable[Case]]] = {
    "protos": corpora.protos,
    "protos, secure": lambda: corpora.protos(secure=True),
    "kamailio": lambda: corpora.folder("sip_kamailio"),
    "advisories": lambda: corpora.folder("sip_advisory_messages"),
    "streams": lambda: corpora.folder("sip_php_streams"),
    "flows": corpora.flows,
    "fuzzer's messages": lambda: corpora.seeds("sip"),
    "fuzzer's descriptions": lambda: corpora.seeds("sdp"),
    "fuzzer's URIs": lambda: corpora.seeds("uri"),
    "fuzzer's URLs": lambda: corpora.seeds("url"),
    "descriptions": corpora.descriptions,
}
# Final statuses we give, and what else can become of a message or of the connection.
WORDS = {"200", "400", "405", "406", "415", "416", "420", "481", "482", "488", "501", "505", "513"}
WORDS |= {"603", "drop", "absorbed", "closed", "waits"}

# What the corpora come to, by which cases there are: a change of any verdict is noticed, and
# whoever meant it writes the new line here, from the message of the failed test.
RECORDED: dict[str, dict[str, str]] = {
    "protos": {
        "ba6cf3b309736ab2": "280x400 6x415 1x416 110x488 8x505 35x513 10xclosed 2xwaits "
        "9d1757d77ccff28c",
    },
    "protos, secure": {
        "ba6cf3b309736ab2": "87x200 280x400 6x415 1x416 23x488 8x505 35x513 10xclosed "
        "2xwaits 9bfee79dd2251bb4",
    },
    "kamailio": {
        "5aaeb9acb025cb92": "1x200 18x400 2x405 3x481 3xdrop 19xwaits 6855d63ccc79f580",
    },
    "flows": {
        "f40653cc7c2e7c76": "2x400 3x405 8x488 1x603 65dad105cf857e3c",
    },
    "fuzzer's messages": {
        "11e605082677ec58": "2x405 1x415 1x416 1x488 1xdrop 6xwaits 07a66b2f3b1b6986",
    },
    "fuzzer's descriptions": {
        "0d9ea1baca68ff44": "1x400 1x488 18b76dc5cd6b241d",
    },
    "fuzzer's URIs": {
        "4f846204753a4deb": "2x400 1x488 6b15b6c323b821ef",
    },
    "fuzzer's URLs": {
        "88b89fb88105369f": "3x400 2x416 1x488 b23a89d4a31a217b",
    },
    "descriptions": {
        "ceaf2cacd607b7a0": "6x200 3x400 32x488 1bf7565da1aa7dc3",
    },
}


def digest(words: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(words).encode()).hexdigest()[:16]


@pytest.mark.parametrize("corpus", CORPORA)
def test_every_case_is_answered_as_before_and_the_next_caller_too(corpus):
    verdicts = {}
    for name, messages in CORPORA[corpus]():
        line = Line()
        verdicts[name] = line.hear(messages)
        assert set(verdicts[name].split()) <= WORDS, name
        assert alive(line.agent), name
    counts = Counter(verdict.split()[0] for verdict in verdicts.values())
    found = " ".join([f"{n}x{word}" for word, n in sorted(counts.items())])
    found = f"{found} {digest(verdicts.values())}"
    known = RECORDED.get(corpus, {}).get(digest(verdicts))
    assert known is None or found == known


@pytest.mark.parametrize("corpus", ["protos", "protos, secure", "kamailio"])
def test_a_case_is_answered_alike_byte_by_byte(corpus):
    # every tenth is enough: that pieces do not matter is a property of the stream
    for name, messages in [*CORPORA[corpus]()][::10]:
        data = b"".join(messages)
        if len(data) < 4096:
            pieces = (data[i : i + 1] for i in range(len(data)))
            assert Line().hear(pieces) == Line().hear([data]), name
