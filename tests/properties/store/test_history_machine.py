"""The history on disk and the one in memory say the same, whatever is done, undone and reopened."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from securecall.chat.message import Delivery, DeviceTrust, Message, Protection, SharedFile
from securecall.secret import Secret
from securecall.store import history_records as records
from securecall.store import pages
from securecall.store.words import holds, words, words_of
from tests.forge_history import DAY, JULIET, NOW, ROMEO, ROOM, message, open_history, parcel
from tests.memory_history import MemoryHistory

WHERE = st.sampled_from([JULIET, ROMEO, ROOM])
NAMES = st.sampled_from(["", "a", "b", "ü"])
TEXTS = st.sampled_from(["", "one two", "Two three", "thréé", "on", "四 two"])
TIMES = st.integers(0, 20).map(lambda half: NOW + half * DAY / 2)
NUMBERS = st.integers(0, 12)
ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=20)

MESSAGES = st.builds(
    message,
    TEXTS,
    conversation=WHERE,
    sender=WHERE,
    id=NAMES,
    archive_id=NAMES,
    sent=TIMES,
    unread=st.booleans(),
    expires=st.just(0) | TIMES.map(int),
)

FILES = st.builds(
    SharedFile,
    url=ANY_TEXT,
    key=st.binary(min_size=32, max_size=32).map(Secret),
    iv=st.binary(max_size=16),
    cipher=ANY_TEXT,
    name=ANY_TEXT,
    media_type=ANY_TEXT,
    size=st.none() | st.integers(0, 2**64),
    sha256=st.binary(max_size=32),
    seconds=st.floats(0, 1e9),
    expires=st.integers(0, 2**60),
)
FULL_MESSAGES = st.builds(
    Message,
    number=st.integers(1, 2**62),
    conversation=WHERE,
    sender=WHERE,
    own=st.booleans(),
    id=ANY_TEXT,
    archive_id=ANY_TEXT,
    sent=st.floats(allow_nan=False, allow_infinity=False),
    text=ANY_TEXT,
    file=st.none() | FILES,
    reply_to=ANY_TEXT,
    edited=st.floats(allow_nan=False, allow_infinity=False),
    reactions=st.dictionaries(WHERE, st.frozensets(ANY_TEXT, max_size=3), max_size=3),
    delivery=st.sampled_from(Delivery),
    unread=st.booleans(),
    protection=st.sampled_from(Protection),
    device=st.integers(0, 2**32),
    trust=st.sampled_from(DeviceTrust),
    unreadable=ANY_TEXT,
    expires=st.integers(0, 2**60),
)

CHANGES = st.one_of(
    st.tuples(st.just("add"), MESSAGES),
    st.tuples(st.just("replace"), NUMBERS, MESSAGES),
    st.tuples(st.just("remove"), NUMBERS),
    st.tuples(st.just("mark_read"), WHERE, NUMBERS),
    st.tuples(st.just("retain"), WHERE, st.sampled_from([0, 1, DAY, 3 * DAY])),
    st.tuples(st.just("expire"), TIMES),
    st.tuples(st.just("post"), NAMES.map(parcel)),
    st.tuples(st.just("taken"), NUMBERS),
    st.tuples(st.just("set_value"), NAMES, st.none() | st.binary(max_size=9)),
)


class Undone(Exception):
    """Raised inside a transaction on purpose."""


def change(history, act: str, *arguments) -> object:
    if act == "replace":
        number, new = arguments
        known = [each for each in history.after(number - 1, count=1) if each.number == number]
        if not known:
            return None
        arguments = (replace(new, number=number, conversation=known[0].conversation),)
    return getattr(history, act)(*arguments)


class Kept(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.size, pages.SIZE = pages.SIZE, 4  # so that there are some
        self.history = open_history(self.folder)
        self.model = MemoryHistory()

    def teardown(self) -> None:
        self.history.close()
        shutil.rmtree(self.folder)
        pages.SIZE = self.size

    @rule(changes=st.lists(CHANGES, max_size=6), undone=st.booleans(), within=st.booleans())
    def change(self, changes, undone, within):
        for history in (self.history, self.model):
            with contextlib.suppress(Undone), history.transaction():
                if not within:
                    for each in changes:
                        change(history, *each)
                else:
                    half = len(changes) // 2
                    for each in changes[:half]:
                        change(history, *each)
                    with contextlib.suppress(Undone), history.transaction():
                        for each in changes[half:]:
                            change(history, *each)
                        raise Undone
                if undone:
                    raise Undone

    @rule(each=CHANGES)
    def change_at_once(self, each):
        assert change(self.history, *each) == change(self.model, *each)

    @rule()
    def reopen(self):
        self.history.close()
        self.history = open_history(self.folder)

    @rule(where=WHERE, count=st.integers(0, 5), before=NUMBERS)
    def page(self, where, count, before):
        assert self.history.messages(where, count=count, before=before) == self.model.messages(
            where, count=count, before=before
        )
        assert self.history.after(before, count=count) == self.model.after(before, count=count)

    @rule(text=TEXTS, where=st.none() | WHERE, count=st.integers(0, 5))
    def search(self, text, where, count):
        assert self.history.search(text, conversation=where, count=count) == self.model.search(
            text, conversation=where, count=count
        )

    @rule(where=WHERE, sender=WHERE, name=NAMES)
    def find(self, where, sender, name):
        assert self.history.find(where, sender, name) == self.model.find(where, sender, name)
        found = self.history.find_archived(where, name)
        assert found == self.model.find_archived(where, name)

    @invariant()
    def everything_is_the_same(self):
        assert self.history.after(0) == self.model.after(0)
        assert self.history.conversations() == self.model.conversations()
        assert self.history.parcels() == self.model.parcels()
        assert self.history.values("") == self.model.values("")
        for where in (JULIET, ROMEO, ROOM):
            assert self.history.unread(where) == self.model.unread(where)
            assert self.history.retention(where) == self.model.retention(where)


TestKept = Kept.TestCase
TestKept.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)


@given(FULL_MESSAGES)
def test_any_message_is_read_as_it_was_written(one):
    data = records.build_message(one)
    assert len(data) % 64 == 0
    assert records.parse_message(data, number=one.number, unread=one.unread) == one


@given(ANY_TEXT, st.binary())
def test_any_value_and_parcel_is_read_as_it_was_written(name, data):
    assert records.parse_value(records.build_value(name, data)) == (name, data)
    one = parcel(name, stanza=data)
    assert records.parse_parcel(records.build_parcel(one), number=0) == one


@given(st.text(st.characters(exclude_categories=())))
def test_folding_a_text_twice_changes_nothing_more(text):
    once = words(text)
    assert words(" ".join(once)) == once
    for word in once:
        assert word
        assert not set(word) & {" ", "\t", "\n", ","}


@given(
    st.lists(st.tuples(ANY_TEXT, WHERE), max_size=8),
    st.dictionaries(st.integers(1, 8), st.none() | ANY_TEXT, max_size=4),
    ANY_TEXT,
)
def test_a_page_finds_what_its_messages_hold_before_and_after_it_was_amended(texts, changed, text):
    kept = {
        number: message(body, conversation=where, number=number)
        for number, (body, where) in enumerate(texts, start=1)
    }
    names = {JULIET: 17, ROMEO: -3, ROOM: 1}
    changes = {number: body for number, body in changed.items() if number in kept}

    def line(one):
        return one.number, names[one.conversation], words_of(one)

    page = pages.build_page(line(one) for one in kept.values())
    for number, body in changes.items():
        if body is None:
            del kept[number]
        else:
            kept[number] = replace(kept[number], text=body)
    lines = {number: line(kept[number]) if number in kept else None for number in changes}
    amended = pages.amend_page(page, lines)
    assert amended == pages.build_page(line(one) for one in kept.values())
    wanted = words(text)
    for where in (None, JULIET, ROMEO):
        expected = [
            number
            for number, one in sorted(kept.items(), reverse=True)
            if wanted and holds(one, wanted) and where in (None, one.conversation)
        ]
        if wanted:
            assert list(pages.scan(amended, wanted, where and names[where])) == expected
