"""Taking over somebody's contacts by a succession of roots.

The control is a succession as one writes it in an hour: signed by the old key, believed for ever.
"""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass, replace

import pytest
from cryptography.hazmat.primitives.asymmetric import mldsa

from securecall.address import Address, Scheme, parse_address
from securecall.errors import (
    IdentityChanged,
    Reason,
    Revoked,
    SecurityError,
    StatementInvalid,
    UsageError,
)
from securecall.keys.encoding import build_base64url, parse_base64url
from securecall.keys.identity import RootKey, root_fingerprint
from securecall.keys.signing import require_ed25519_signature
from securecall.keys.statement import Statement, parse_statement
from securecall.keys.succession import (
    MAX_CHAIN,
    ancestors,
    build_succession,
    parse_chain,
    parse_succession,
)
from securecall.keys.trust import (
    Act,
    How,
    TrustBook,
    TrustEvent,
    TrustState,
    judge_outgoing,
    succeeded,
    succession_events,
    transition,
)
from tests.forge_statement import (
    DAY,
    NOW,
    compact,
    forged,
    parsed,
    root_key,
    statement,
    with_entry,
)

BOB = parse_address("sip:bob@b.example")
OLD, NEW, NEXT, EVE = (root_key(number) for number in (20, 21, 22, 66))
HEADER = b'{"alg":"Ed25519","typ":"securecall-succession+jws"}'


def step(old: RootKey, new: RootKey) -> bytes:
    return build_succession(old, new, iat=NOW)


def shown(root: RootKey, *steps: bytes, unix: int = NOW) -> Statement:
    return parsed(root, addresses=[BOB], successions=steps, unix=unix)


@dataclass(frozen=True)
class Claimed:
    statement: Statement
    own_address: str = str(BOB)


def act(book: TrustBook, what: Act, root: RootKey, how: How, address: Address = BOB) -> TrustBook:
    event = TrustEvent(act=what, address=address, root_fp=root.fingerprint, how=how, unix=NOW)
    return transition(book, event)[0]


def pinned(root: RootKey = OLD, address: Address = BOB) -> TrustBook:
    return act(TrustBook(), Act.PIN, root, How.CONTACT, address)


def verified() -> TrustBook:
    return act(pinned(), Act.VERIFY, OLD, How.QR)


# -- what it is for --------------------------------------------------------------------------------


@pytest.mark.parametrize("book", [pinned(), verified()])
def test_the_pin_moves_to_the_new_root_and_is_no_more_than_a_pin(book):
    after = succeeded(book, shown(NEW, step(OLD, NEW)))
    binding = after.lookup(BOB)
    assert (binding.root_fp, binding.state, binding.how) == (
        NEW.fingerprint,
        TrustState.PINNED,
        How.SUCCESSION,
    )
    assert judge_outgoing(after, BOB, Claimed(shown(NEW))).state is TrustState.PINNED
    with pytest.raises(Revoked):
        judge_outgoing(after, BOB, Claimed(shown(OLD)))


def test_who_was_away_follows_over_several_roots_at_once():
    after = succeeded(pinned(), shown(NEXT, step(OLD, NEW), step(NEW, NEXT)))
    assert after.lookup(BOB).root_fp == NEXT.fingerprint
    assert set(after.barred) == {OLD.fingerprint, NEW.fingerprint}


def test_who_knows_the_key_address_alone_gets_the_new_one_on_the_same_card():
    old, new = (Address(Scheme.KEY, root.fingerprint.hex()) for root in (OLD, NEW))
    after = succeeded(pinned(OLD, old), shown(NEW, step(OLD, NEW)))
    assert after.state(old, OLD.fingerprint) is TrustState.REVOKED
    assert after.state(new, NEW.fingerprint) is TrustState.PINNED
    assert after.contact(new) == after.contact(old)


def test_the_same_statement_again_changes_nothing():
    once = succeeded(pinned(), shown(NEW, step(OLD, NEW)))
    assert succession_events(once, shown(NEW, step(OLD, NEW)), unix=NOW) == ()


# -- forged ----------------------------------------------------------------------------------------


def signed(one: RootKey, other: RootKey, *signers: RootKey, **changes: object) -> bytes:
    """A succession of one root by the other, signed by whoever signs."""
    payload = {
        "v": 1,
        "old": {"ed25519": build_base64url(one.public)},
        "new": {"ed25519": build_base64url(other.public)},
        "iat": NOW,
    } | changes
    body = build_base64url(compact({k: v for k, v in payload.items() if v is not None}))
    protected = build_base64url(HEADER)
    return compact(
        {
            "payload": body,
            "signatures": [
                {
                    "protected": protected,
                    "signature": build_base64url(s.sign(f"{protected}.{body}".encode())),
                }
                for s in signers
            ],
        }
    )


def edited(edit) -> bytes:
    jws = json.loads(step(OLD, NEW))
    edit(jws)
    return compact(jws)


def other_header(jws: dict) -> None:
    header = build_base64url(b'{"alg":"Ed25519","typ":"securecall-identity+jws"}')
    for item, root in zip(jws["signatures"], (OLD, NEW), strict=True):
        item["protected"] = header
        item["signature"] = build_base64url(root.sign(f"{header}.{jws['payload']}".encode()))


FORGED = {
    "the old root alone": signed(OLD, EVE, OLD),
    "the old root twice": signed(OLD, EVE, OLD, OLD),
    "the new root alone": signed(OLD, EVE, EVE),
    "the new root twice": signed(OLD, EVE, EVE, EVE),
    "in the wrong order": signed(OLD, NEW, NEW, OLD),
    "one signature more": signed(OLD, NEW, OLD, NEW, NEW),
    "nobody": signed(OLD, NEW),
    "for the wrong successor": edited(
        lambda j: j.update(payload=json.loads(signed(OLD, EVE, OLD, EVE))["payload"])
    ),
    "under the header of a statement": edited(other_header),
    "to itself": signed(OLD, OLD, OLD, OLD),
    "another version": signed(OLD, NEW, OLD, NEW, v=2),
    "version true": signed(OLD, NEW, OLD, NEW, v=True),
    "one more member": signed(OLD, NEW, OLD, NEW, exp=NOW),
    "a member missing": signed(OLD, NEW, OLD, NEW, iat=None),
    "in the future": signed(OLD, NEW, OLD, NEW, iat=NOW + 2 * DAY),
    "iat a text": signed(OLD, NEW, OLD, NEW, iat=str(NOW)),
    "an empty root": signed(OLD, NEW, OLD, NEW, new={}),
    "a root of 31 bytes": signed(OLD, NEW, OLD, NEW, new={"ed25519": build_base64url(bytes(31))}),
    "a weak new root": signed(
        OLD, NEW, OLD, NEW, new={"ed25519": build_base64url(b"\x01" + bytes(31))}
    ),
    "a member beside payload": edited(lambda j: j.update(header={})),
    "an unprotected header": edited(lambda j: j["signatures"][0].update(header={})),
    "signatures no list": edited(lambda j: j.update(signatures={})),
    "not JSON": b"{",
    "a member twice": step(OLD, NEW).replace(b'{"payload"', b'{"payload":"","payload"', 1),
}


@pytest.mark.parametrize("data", FORGED.values(), ids=FORGED)
def test_a_forged_succession_is_refused_and_nobody_follows_who_shows_it(data):
    with pytest.raises(StatementInvalid) as caught:
        parse_succession(data, unix=NOW)
    assert caught.value.reason is Reason.STATEMENT_INVALID
    for root in (NEW, EVE):  # whose statement shows it is followed by nobody
        seen = shown(root, data)
        assert seen.successions == ()
        assert succeeded(pinned(), seen) == pinned()
        with pytest.raises(IdentityChanged):
            judge_outgoing(succeeded(pinned(), seen), BOB, Claimed(seen))


def test_control_the_same_helper_signed_by_both_is_taken():
    found = parse_succession(signed(OLD, NEW, OLD, NEW), unix=NOW)
    assert (found.old, found.new) == (OLD.fingerprint, NEW.fingerprint)


def naive_successor(data: bytes) -> bytes:
    """Believes the signature of the old key; returns the new one."""
    jws = json.loads(data)
    payload = json.loads(parse_base64url(jws["payload"]))
    first = jws["signatures"][0]
    require_ed25519_signature(
        parse_base64url(payload["old"]["ed25519"]),
        parse_base64url(first["signature"]),
        f"{first['protected']}.{jws['payload']}".encode(),
    )
    return parse_base64url(payload["new"]["ed25519"])


def test_control_the_old_key_alone_convinces_a_naive_reader():
    # So does one made for another's key, of which its owner knows nothing.
    assert naive_successor(FORGED["the old root alone"]) == EVE.public


# -- replayed, looped, barred ----------------------------------------------------------------------


def test_an_older_succession_shown_again_takes_nobody_back():
    book = succeeded(pinned(), shown(NEXT, step(OLD, NEW), step(NEW, NEXT)))
    for replayed in (shown(NEW, step(OLD, NEW)), shown(OLD), shown(EVE, step(OLD, EVE))):
        assert succession_events(book, replayed, unix=NOW) == ()
        with pytest.raises((Revoked, IdentityChanged)):
            judge_outgoing(book, BOB, Claimed(replayed))
    assert book.lookup(BOB).root_fp == NEXT.fingerprint


def test_control_who_does_not_bar_the_old_root_is_taken_back():
    owner = NEXT.public
    for data in (step(OLD, NEW), step(NEW, NEXT), step(OLD, EVE)):
        owner = naive_successor(data)
    assert owner == EVE.public


@pytest.mark.parametrize(
    "steps",
    [
        [step(NEW, OLD), step(OLD, NEW)],
        [step(NEW, NEXT), step(NEXT, OLD), step(OLD, NEW)],
        [step(OLD, NEXT)],
        [step(OLD, NEXT), step(OLD, NEW)],
        [step(NEXT, NEW), step(OLD, NEXT)],
    ],
    ids=["loop", "long loop", "leads elsewhere", "a gap", "out of order"],
)
def test_loops_and_broken_chains_are_followed_by_nobody(steps):
    with pytest.raises(StatementInvalid):
        parse_chain(steps, NEW.fingerprint, unix=NOW)
    assert shown(NEW, *steps).successions == ()
    assert succeeded(pinned(), shown(NEW, *steps)) == pinned()


def test_a_chain_has_a_length():
    roots = [root_key(30 + n) for n in range(MAX_CHAIN + 2)]
    steps = [step(a, b) for a, b in itertools.pairwise(roots)]
    assert len(shown(roots[-1], *steps[1:]).successions) == MAX_CHAIN
    assert shown(roots[-1], *steps).successions == ()


@pytest.mark.parametrize("carried", [None, {}, "x", [1], ["="], [""], [[]], ["AAAA"] * 5])
def test_a_member_of_another_form_is_passed_over(carried):
    """As those pass over it who do not know it: the statement itself is without fault."""
    data = forged(with_entry(lambda entry: entry.update(successions=carried)))
    assert parse_statement(data, unix=NOW).successions == ()


@pytest.mark.parametrize("what", [Act.DISTRUST, Act.REVOKE])
@pytest.mark.parametrize("barred", [OLD, NEW, NEXT])
def test_a_barred_root_neither_hands_on_nor_inherits_nor_stands_between(what, barred):
    book = act(pinned(), what, barred, How.USER)
    seen = shown(NEXT, step(OLD, NEW), step(NEW, NEXT))
    assert succession_events(book, seen, unix=NOW) == ()
    with pytest.raises(SecurityError):
        judge_outgoing(succeeded(book, seen), BOB, Claimed(seen))


def test_a_succession_moves_nothing_of_people_it_is_not_about():
    book = act(pinned(), Act.PIN, EVE, How.CONTACT, parse_address("sip:eve@e.example"))
    stranger = root_key(90)
    assert succession_events(book, shown(NEXT, step(stranger, NEXT)), unix=NOW) == ()
    after = succeeded(book, shown(root_key(91), step(EVE, root_key(91))))
    assert after.lookup(BOB) == book.lookup(BOB)
    assert len(after.barred) == 1


def test_a_conflict_with_somebody_else_stays_our_users_to_decide():
    book = act(pinned(), Act.CHANGE, EVE, How.DIRECTORY)
    after = succeeded(book, shown(NEW, step(OLD, NEW)))
    assert after.lookup(BOB).state is TrustState.CHANGED
    assert after.lookup(BOB).rival == EVE.fingerprint
    # and one with the very successor is answered by it
    answered = succeeded(act(pinned(), Act.CHANGE, NEW, How.DIRECTORY), shown(NEW, step(OLD, NEW)))
    assert answered.lookup(BOB).state is TrustState.PINNED
    event = TrustEvent(
        act=Act.SUCCEED, address=BOB, root_fp=NEW.fingerprint, how=How.SUCCESSION, unix=NOW
    )
    with pytest.raises(UsageError):
        transition(book, event)


def test_a_key_that_an_organisation_vouched_for_hands_on_no_pin_of_its_own():
    told = replace(pinned().lookup(BOB), how=How.ORGANISATION)
    book = replace(pinned(), bindings={BOB: told})
    after = succeeded(book, shown(NEW, step(OLD, NEW)))
    assert after.lookup(BOB) == book.lookup(BOB)
    assert OLD.fingerprint in after.barred


def test_without_the_old_key_there_is_no_way_back():
    """A root that was lost: contacts see another key, and have to ask."""
    with pytest.raises(IdentityChanged):
        judge_outgoing(succeeded(pinned(), shown(NEW)), BOB, Claimed(shown(NEW)))


def test_a_statement_is_of_the_same_form_with_and_without_successions():
    members = [
        json.loads(parse_base64url(json.loads(raw)["payload"])).keys()
        for raw in (statement(), statement(NEW, successions=[step(OLD, NEW)]))
    ]
    assert members[0] == members[1]


def test_a_conflict_with_somebody_else_stays_for_the_user_to_decide():
    conflict = act(pinned(), Act.CHANGE, EVE, How.DIRECTORY)
    after = succeeded(conflict, shown(NEW, step(OLD, NEW)))
    found = after.lookup(BOB)
    assert (found.root_fp, found.rival, found.state) == (
        OLD.fingerprint,
        EVE.fingerprint,
        TrustState.CHANGED,
    )
    assert after.barred == {OLD.fingerprint: TrustState.REVOKED}
    # the control: a conflict with the successor itself is settled by what it shows
    settled = succeeded(
        act(pinned(), Act.CHANGE, NEW, How.DIRECTORY), shown(NEW, step(OLD, NEW))
    ).lookup(BOB)
    assert (settled.root_fp, settled.state) == (NEW.fingerprint, TrustState.PINNED)


def test_a_chain_is_one_and_no_longer_than_any():
    with pytest.raises(UsageError, match="itself"):
        build_succession(OLD, OLD, iat=NOW)
    roots = [root_key(number) for number in range(20, 22 + MAX_CHAIN)]
    steps = list(itertools.starmap(step, itertools.pairwise(roots)))
    assert len(steps) == MAX_CHAIN + 1
    end = roots[-1].fingerprint
    chain = parse_chain(steps[1:], end, unix=NOW)
    with pytest.raises(StatementInvalid, match="more than"):
        parse_chain(steps, end, unix=NOW)
    with pytest.raises(StatementInvalid, match="lead to"):
        parse_chain(steps[1:-1], end, unix=NOW)
    with pytest.raises(StatementInvalid, match="itself"):
        parse_chain([step(OLD, NEW), step(NEW, OLD)], OLD.fingerprint, unix=NOW)
    fingerprints = tuple(root.fingerprint for root in roots)
    assert ancestors(chain, end) == fingerprints[1:-1]
    # another root, and a link that is missing, end the line
    assert ancestors(chain, EVE.fingerprint) == ()
    assert ancestors((chain[0], *chain[2:]), end) == fingerprints[3:-1]


# -- roots with a second key -----------------------------------------------------------------------

HEADER_PQ = b'{"alg":"ML-DSA-65","typ":"securecall-succession+jws"}'
PQ, OTHER_PQ = (mldsa.MLDSA65PrivateKey.from_seed_bytes(bytes([n]) * 32) for n in (5, 6))
Keys = tuple[RootKey, mldsa.MLDSA65PrivateKey | None]


def hybrid(*ends: Keys, left_out: int = -1) -> bytes:
    """A succession of one root by another, signed by each of their keys but one."""
    named = [
        {"ed25519": build_base64url(one.public)}
        | ({"mldsa65": build_base64url(two.public_key().public_bytes_raw())} if two else {})
        for one, two in ends
    ]
    body = build_base64url(compact({"v": 1, "old": named[0], "new": named[1], "iat": NOW}))
    signers = [pair for keys in ends for pair in zip(keys, (HEADER, HEADER_PQ), strict=True)]
    signatures = []
    for key, header in signers:
        if key is not None:
            protected = build_base64url(header)
            signature = build_base64url(key.sign(f"{protected}.{body}".encode()))
            signatures.append({"protected": protected, "signature": signature})
    if left_out >= 0:
        del signatures[left_out]
    return compact({"payload": body, "signatures": signatures})


def fingerprint_of(one: RootKey, two: mldsa.MLDSA65PrivateKey | None) -> bytes:
    return root_fingerprint(one.public, two.public_key().public_bytes_raw() if two else b"")


@pytest.mark.parametrize(
    "ends",
    [((OLD, PQ), (NEW, OTHER_PQ)), ((OLD, None), (NEW, PQ)), ((OLD, PQ), (NEW, None))],
    ids=["both", "gained", "lost"],
)
def test_every_key_of_both_roots_has_to_sign(ends):
    found = parse_succession(hybrid(*ends), unix=NOW)
    assert (found.old, found.new) == tuple(fingerprint_of(*keys) for keys in ends)
    count = len(json.loads(hybrid(*ends))["signatures"])
    for left_out in range(count):
        with pytest.raises(StatementInvalid):
            parse_succession(hybrid(*ends, left_out=left_out), unix=NOW)


@pytest.mark.parametrize(
    "ends", [((OLD, PQ), (NEW, PQ)), ((OLD, PQ), (OLD, OTHER_PQ)), ((OLD, PQ), (OLD, None))]
)
def test_a_root_does_not_take_a_key_of_the_old_one_with_it(ends):
    with pytest.raises(StatementInvalid, match="share a key"):
        parse_succession(hybrid(*ends), unix=NOW)
