from __future__ import annotations

import pytest

from securecall.errors import ProtocolError
from securecall.xmpp.blocking import (
    MAX_BLOCKED,
    BlockChange,
    Blocklist,
    build_block,
    build_blocklist_request,
    build_unblock,
)
from tests.stanzas import OWN, stanza


def element(name: str, *jids: str) -> str:
    items = "".join(f"<item jid='{jid}'/>" for jid in jids)
    return f"<{name} xmlns='urn:xmpp:blocking'>{items}</{name}>"


def filled() -> Blocklist:
    blocked = Blocklist(OWN)
    blocked.accept_result(stanza(element("blocklist", "eve@e.example", "spam.example")))
    return blocked


def test_people_domains_and_connections_are_blocked():
    blocked = filled()
    assert blocked.blocks("eve@e.example/x")
    assert blocked.blocks("anyone@spam.example")
    assert not blocked.blocks("bob@b.example")


def test_pushes_add_take_away_and_clear():
    blocked = filled()
    assert blocked.accept_push(stanza(element("block", "x@x.example")), sender=None) == (
        BlockChange(jid="x@x.example", blocked=True),
    )
    gone = blocked.accept_push(stanza(element("unblock", "eve@e.example")), sender=OWN)
    assert gone == (BlockChange(jid="eve@e.example", blocked=False),)
    assert blocked.accept_push(stanza(element("block", "x@x.example")), sender=OWN) == ()
    assert len(blocked.accept_push(stanza(element("unblock")), sender=OWN)) == 2
    assert blocked.jids == frozenset()


@pytest.mark.parametrize(
    ("text", "sender"),
    [
        (element("block"), OWN),
        (element("blocklist", "a@b.example"), OWN),
        (element("block", "@"), OWN),
        (element("unblock"), "eve@e.example"),
        (element("unblock"), "alice@a.example/other"),
        (element("unblock"), "a.example"),
    ],
)
def test_what_is_no_push_of_ours_changes_nothing(text, sender):
    blocked = filled()
    with pytest.raises(ProtocolError):
        blocked.accept_push(stanza(text), sender=sender)
    assert blocked.jids == {"eve@e.example", "spam.example"}


def test_results_are_lists_and_bounded():
    blocked = Blocklist(OWN)
    for wrong in (None, stanza(element("block", "a@b.example"))):
        with pytest.raises(ProtocolError):
            blocked.accept_result(wrong)
    many = stanza(element("blocklist", *(f"u{n}@x" for n in range(MAX_BLOCKED + 1))))
    with pytest.raises(ProtocolError):
        blocked.accept_result(many)


def test_unblocking_nobody_would_unblock_all_so_it_is_refused():
    assert build_block(["Eve@e.example"])[0].get("jid") == "eve@e.example"
    assert build_unblock(["eve@e.example"])[0].get("jid") == "eve@e.example"
    assert len(build_blocklist_request()) == 0
    for build in (build_block, build_unblock):
        with pytest.raises(ProtocolError):
            build([])
