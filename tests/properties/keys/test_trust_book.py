"""Whatever happens in whatever order: what trust never does."""

from __future__ import annotations

import contextlib

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from securecall.address import parse_address
from securecall.errors import SecurityError, UsageError
from securecall.keys.trust import Act, Floor, How, TrustBook, TrustEvent, TrustState, transition
from tests.forge_statement import NOW, root_key

ADDRESSES = [parse_address(f"sip:{name}@x.example") for name in ("bob", "carol", "dan")]
ROOTS = [root_key(number).fingerprint for number in (1, 2, 3)]


class Trust(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.book = TrustBook()
        self.pinned: set[tuple[object, bytes]] = set()
        self.withdrawn: set[bytes] = set()

    @rule(
        act=st.sampled_from(Act),
        how=st.sampled_from(How),
        address=st.sampled_from(ADDRESSES),
        root=st.sampled_from([*ROOTS, b""]),
        card=st.sampled_from(["", *map(str, ADDRESSES)]),
    )
    def apply(self, act, how, address, root, card):
        event = TrustEvent(act=act, how=how, address=address, root_fp=root, unix=NOW, card=card)
        before = self.book
        with contextlib.suppress(SecurityError, UsageError):
            self.book, entry = transition(before, event)
            assert entry.event is event
            if act in (Act.PIN, Act.ACCEPT, Act.SUCCEED):
                self.pinned.add((address, root))
            if act is Act.REVOKE:
                self.withdrawn.add(root)
            if act is not Act.LIFT_FLOOR:
                for other in ADDRESSES:
                    assert before.floor(other) is Floor.NONE or self.book.floor(other) is Floor.E2EE
            changed = {
                other for other in ADDRESSES if before.lookup(other) != self.book.lookup(other)
            }
            assert changed <= {address} or act is Act.RESTORE

    @invariant()
    def every_binding_was_pinned_here(self):
        for address, binding in self.book.bindings.items():
            assert (address, binding.root_fp) in self.pinned
            assert binding.state in (TrustState.PINNED, TrustState.VERIFIED, TrustState.CHANGED)
            assert bool(binding.rival) == (binding.state is TrustState.CHANGED)

    @invariant()
    def withdrawn_roots_stay_withdrawn(self):
        for root in self.withdrawn:
            assert self.book.state(ADDRESSES[0], root) is TrustState.REVOKED

    @invariant()
    def an_address_stands_on_one_card(self):
        listed = [a for contact in self.book.contacts.values() for a in contact.addresses]
        assert len(listed) == len(set(listed))


TestTrust = Trust.TestCase
TestTrust.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
