"""Whatever an organisation said, and in whatever order it is heard: withdrawn stays withdrawn."""

from __future__ import annotations

import contextlib

from hypothesis import given
from hypothesis import strategies as st

from securecall.errors import SecurityError
from securecall.keys.organisation import weigh
from tests.forge_organisation import parsed
from tests.forge_statement import NOW, root_key

SAID = {
    (person, number, withdrawn): parsed(person=person, number=number, withdrawn=withdrawn)
    for person in (2, 3)
    for number in range(4)
    for withdrawn in (True, False)
}


@given(st.lists(st.sampled_from(sorted(SAID)), max_size=12))
def test_a_withdrawn_root_never_counts_again_and_the_newest_word_decides(heard):
    known, gone = None, set()
    for person, number, withdrawn in heard:
        before = known
        with contextlib.suppress(SecurityError):
            known = weigh(known, SAID[person, number, withdrawn])
        if withdrawn:
            gone.add(person)
        if before is not None:
            assert known.latest.seq >= before.latest.seq
            assert known.withdrawn >= before.withdrawn
        for each in (2, 3):
            vouched = known is not None and known.vouches_for(root_key(each).fingerprint, unix=NOW)
            assert not (vouched and each in gone)
    if known is not None:
        assert known.withdrawn == {root_key(person).fingerprint for person in gone}
