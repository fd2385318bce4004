"""Whatever an archive loses, adds or forgets: every message once and in order, or an error."""

from __future__ import annotations

import itertools

from hypothesis import example, given
from hypothesis import strategies as st

from securecall.errors import ProtocolError
from securecall.xmpp.archive import Catchup, Place, Progress
from tests.archive import Archive, around, result
from tests.around import OWN


@given(
    count=st.integers(0, 40),
    server_page=st.integers(1, 12),
    page=st.integers(1, 12),
    known=st.integers(-1, 39),
    trouble=st.lists(
        st.sampled_from(["lose", "stranger", "twice", "cut", "forget", "grow"]), max_size=12
    ),
)
@example(count=2, server_page=1, page=1, known=0, trouble=["forget", "forget"])
def test_no_gap_and_no_double(count, server_page, page, known, trouble):
    archive = Archive(count, page=server_page)
    known = min(known, count - 1)
    place = Place(f"id{known}", 1.0) if known >= 0 else None
    texts = [f"text {i}" for i in range(known + 1)]
    forgot = 0
    names = itertools.count()
    for round_ in range(200):
        # a pass: after a cut, another one begins at the place that was kept
        catchup = Catchup(OWN.account, token=f"t{round_}", place=place, page=page)
        cut = False
        while catchup.progress is Progress.UNDER_WAY and not cut:
            what = trouble.pop() if trouble else ""
            if what == "forget":
                gone = len(archive.messages) // 2
                archive.messages = archive.messages[gone:]
                forgot += gone
            if what == "grow":
                new = f"more {next(names)}"
                archive.messages.append((new, new))
            stanzas, fin = archive.answer(catchup.query())
            if stanzas is None:
                catchup.refused("item-not-found")
                continue
            if what == "lose":
                stanzas = stanzas[1:]
            if what == "stranger":
                stanzas.insert(0, result("evil", "evil", catchup.queryid, "tybalt@capulet.example"))
            if what == "twice":
                stanzas += stanzas
            for stanza in stanzas:
                catchup.collect(stanza, around(catchup))
            if what == "cut":
                cut = True
                continue
            try:
                done = catchup.finish(fin)
            except ProtocolError:
                return
            place = done.place
            texts += [item.message.findtext("{jabber:client}body") for item in done.items]
        if not cut:
            break
    assert "evil" not in texts
    if forgot:
        # found again by time: what comes twice is known by its name in the archive
        texts = list(dict.fromkeys(texts))
        assert texts[-len(archive.messages) :] == [body for _, body in archive.messages]
    else:
        assert len(set(texts)) == len(texts)
        assert texts == [body for _, body in archive.messages][: len(texts)]
        assert len(texts) == len(archive.messages)
