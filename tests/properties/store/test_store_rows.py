"""Rows are what was written last, across any order of writes, failures and reopenings."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from securecall.secret import Secret
from securecall.store.lock import MINIMUM_COST, Lock
from securecall.store.rows import Rows

LOCK = Lock(passphrase=Secret("pass"), cost=MINIMUM_COST)
TABLES = st.sampled_from(["bindings", "contacts"])
KEYS = st.sampled_from(["a", "b", "sip:ä@x.example", ""])
CHANGES = st.lists(st.tuples(TABLES, KEYS, st.none() | st.binary(max_size=50)), max_size=5)


class Written(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.rows = Rows.create(self.folder / "rows", LOCK, [])
        self.model: dict[tuple[str, str], bytes] = {}
        self.reopened = 0

    def teardown(self) -> None:
        self.rows.close()
        shutil.rmtree(self.folder)

    @rule(changes=CHANGES)
    def write(self, changes):
        self.rows.write(changes)
        for table, key, data in changes:
            if data is None:
                self.model.pop((table, key), None)
            else:
                self.model[table, key] = data

    @rule()
    def reopen(self):
        if self.reopened < 3:  # each costs a derivation
            self.reopened += 1
            counter = self.rows.counter
            self.rows.close()
            self.rows = Rows.open(self.folder / "rows", LOCK)
            assert self.rows.counter == counter

    @rule(table=TABLES, key=KEYS)
    def read(self, table, key):
        assert self.rows.read(table, key) == self.model.get((table, key))

    @invariant()
    def all_rows_are_there(self):
        for table in ("bindings", "contacts"):
            expected = {key: data for (known, key), data in self.model.items() if known == table}
            assert self.rows.read_all(table) == expected
            assert self.rows.count(table) == len(expected)


TestWritten = Written.TestCase
TestWritten.settings = settings(max_examples=12, stateful_step_count=15, deadline=None)
