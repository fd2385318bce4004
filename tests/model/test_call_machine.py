"""No media before acceptance and evidence, no plaintext, no level above the evidence: every order.

The suite walks a part of the configurations to depth 5; `soak` walks all of them, and on until
nothing new is reached (so for orders of any length), and a million random orders of 60.
Each seeded defect is a machine as somebody could have written it: the checker has to find it.
"""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from securecall import policy
from securecall.calls import exchange as exchange_module
from securecall.calls import machine as machine_module
from securecall.calls import negotiation
from securecall.calls.machine import CallMachine, Input, State
from securecall.calls.orders import Discard, SetGate, SetText
from securecall.policy import Gate, SecurityLevel
from tests.model.call_machine import (
    ACTS,
    EVIDENCE,
    KEPT,
    TAKEN,
    Configuration,
    Violation,
    configurations,
    explore,
    explore_all,
    forget,
    mutable_parts,
    random_walk,
    unpruned,
)

EVERY = configurations()


def named(c: Configuration) -> str:
    """A configuration in a test's name."""
    floor = c.floor
    marks = [floor.minimum.name]
    marks += [
        n for n in ("pinned", "identity", "require_pq", "gateway", "sdes") if getattr(floor, n)
    ]
    return "-".join([*marks, "out" if c.outgoing else "in"])


def chosen(*names: str) -> list[Configuration]:
    """Configurations by name."""
    found = {named(c): c for c in EVERY}
    return [found[name] for name in names]


FEW = chosen(
    "OPPORTUNISTIC-identity-out",
    "E2EE-pinned-identity-in",
    "VERIFIED-identity-require_pq-out",
    "HOP_BY_HOP-in",
)
GATEWAYS = chosen(
    "HOP_BY_HOP-gateway-sdes-out", "HOP_BY_HOP-gateway-sdes-in", "HOP_BY_HOP-gateway-out"
)


@pytest.mark.parametrize("configuration", FEW, ids=named)
def test_in_every_order_of_five_events_nothing_opens_that_must_not(configuration):
    walk = explore(configuration, 5)
    assert walk.orders == [len(ACTS) ** n for n in range(6)]


@pytest.mark.parametrize("configuration", GATEWAYS, ids=named)
def test_in_every_order_of_four_events_a_telephone_call_is_hop_by_hop_at_most(configuration):
    walk = explore(configuration, 4)
    assert walk.orders == [len(ACTS) ** n for n in range(5)]


@pytest.mark.soak
@pytest.mark.parametrize("configuration", EVERY, ids=named)
def test_in_every_order_of_six_and_of_any_number_of_events(configuration):
    assert explore(configuration, 6).orders == [len(ACTS) ** n for n in range(7)]
    assert explore_all(configuration, 200_000) > len(State)
    forget()  # or all configurations together take gigabytes


@pytest.mark.soak
@pytest.mark.parametrize("part", range(10))
def test_a_hundred_thousand_random_orders_of_sixty_events(part):
    chance = random.Random(part)
    for _ in range(100_000):
        random_walk(chance.choice(EVERY), chance, 60)


def test_random_orders_of_sixty_events_reach_every_state_and_every_gate():
    chance = random.Random(60)
    ends = [random_walk(chance.choice(EVERY), chance, 60) for _ in range(300)]
    shorter = [random_walk(chance.choice(EVERY), chance, chance.randint(1, 6)) for _ in range(300)]
    assert {run.machine.state for run in (*ends, *shorter)} == set(State)
    assert {run.seen.gate for run in (*ends, *shorter)} == set(Gate)


# -- that pruning by state leaves nothing out ----------------------------------------------------


@pytest.mark.parametrize("configuration", FEW[:1], ids=named)
def test_pruned_and_unpruned_orders_end_in_the_same_states_as_often(configuration):
    assert explore(configuration, 2).ends == unpruned(configuration, 2)


@pytest.mark.soak
@pytest.mark.parametrize("configuration", FEW, ids=named)
def test_pruned_and_unpruned_orders_of_three_end_in_the_same_states_as_often(configuration):
    assert explore(configuration, 3).ends == unpruned(configuration, 3)


def test_a_state_is_all_the_machine_holds_and_none_of_it_can_change():
    chance = random.Random(1)
    for _ in range(50):
        run = random_walk(chance.choice(EVERY), chance, 8)
        assert not hasattr(type(run.machine), "__slots__")  # so `vars` is everything
        assert list(mutable_parts(tuple(vars(run.machine).values()))) == []


def test_control_what_can_change_is_found():
    found = list(mutable_parts((EVIDENCE["evidence: pinned"], [1], ({},))))
    assert found == ["[]: list", "[][]: dict"]


# -- machines with a defect ------------------------------------------------------------------------

DEFECTS = {}


def defect(function):
    """Register a way to get it wrong."""
    DEFECTS[function.__name__] = function
    return function


def wrapped(patch, name, change):
    """Replace a method of the machine by one that is given the true one."""
    true = getattr(CallMachine, name)
    patch.setattr(CallMachine, name, lambda self, *a, **k: change(self, true, *a, **k))


@defect
def the_gate_opens_with_the_answer(patch):
    wrapped(patch, "_connect", lambda s, f, *a, **k: (*f(s, *a, **k), SetGate(Gate.OPEN)))


@defect
def the_level_is_one_too_high(patch):
    def raised(facts):
        state = policy.security_state(facts)
        return replace(state, level=SecurityLevel(min(state.level + 1, SecurityLevel.VERIFIED)))

    patch.setattr(machine_module, "security_state", raised)


@defect
def evidence_is_ignored(patch):
    patch.setattr(machine_module, "decide", lambda state, floor: Gate.OPEN)


@defect
def evidence_counts_before_acceptance(patch):
    early = {
        (state, move): after
        for (state, move), after in machine_module.NEXT.items()
        if state is not State.ALERTING
    }
    early |= {(State.ALERTING, Input.EVIDENCE_OPEN): State.ACTIVE}

    def secured(self, true, facts, *, now):
        if self.state is State.ALERTING:
            self._facts = facts
            return self._evaluate(None)
        return true(self, facts, now=now)

    patch.setattr(machine_module, "NEXT", early | machine_module.NEXT)
    wrapped(patch, "secured", secured)


@defect
def an_early_answer_starts_media(patch):
    def receive(self, true, signal, *, now):
        if hasattr(signal, "final"):
            signal = replace(signal, final=True)
        return true(self, signal, now=now)

    wrapped(patch, "receive", receive)


@defect
def plain_media_are_taken(patch):
    patch.setattr(negotiation, "_require_keys", lambda media, *, gateway: None)


@defect
def keys_through_the_servers_are_taken(patch):
    true = negotiation._require_keys
    patch.setattr(
        negotiation,
        "_require_keys",
        lambda media, *, gateway: None if media.has_crypto else true(media, gateway=gateway),
    )


@defect
def text_of_somebody_else_is_agreed_on(patch):
    true = exchange_module._agreed

    def change(exchange, agreement):
        (after, outputs), text = true(exchange, agreement), agreement.text
        others = (SetText(replace(text, ssrc=666)),) if text is not None else ()
        return after, (*outputs, *others)

    patch.setattr(exchange_module, "_agreed", change)


@defect
def a_changed_association_is_taken(patch):
    patch.setattr(exchange_module, "same_association", lambda agreed, description: True)


@defect
def an_added_key_is_overlooked(patch):
    def same(agreed, description):
        found = set(description.audio.fingerprints if description.audio else ())
        return bool(found & set(agreed.remote_fingerprints))

    patch.setattr(exchange_module, "same_association", same)


@defect
def the_gate_stays_open_at_the_end(patch):
    def end(self, true, *a, **k):
        return tuple(o for o in true(self, *a, **k) if not isinstance(o, SetGate))

    wrapped(patch, "_end", end)
    wrapped(patch, "_peer_ended", end)
    wrapped(patch, "hang_up", end)


@defect
def an_ended_call_can_be_answered(patch):
    again = machine_module.NEXT | {(State.ENDED, Input.ANSWER): State.CONNECTING}
    patch.setattr(machine_module, "NEXT", again)
    wrapped(
        patch,
        "receive",
        lambda s, f, signal, *, now: (
            s._answered(signal.description, now=now)
            if s.state is State.ENDED and getattr(signal, "final", False)
            else f(s, signal, now=now)
        ),
    )


@defect
def different_words_are_no_reason(patch):
    wrapped(patch, "deny_sas", lambda s, f: (Discard("never mind"),))


@defect
def a_second_proof_replaces_the_first(patch):
    def secured(self, true, facts, *, now):
        if self._facts is not None and self.state is State.ACTIVE:
            self.state = State.CONNECTING
        return true(self, facts, now=now)

    wrapped(patch, "secured", secured)


@defect
def nobody_waits_for_the_words_in_vain(patch):
    def expire(self, true, *, now):
        return () if self.state is State.VERIFYING else true(self, now=now)

    wrapped(patch, "expire", expire)


@defect
def a_demand_lowers_the_floor(patch):
    def lower(self, true, minimum):
        true(self, minimum)
        self._floor = replace(self._floor, minimum=minimum)

    wrapped(patch, "raise_minimum", lower)


@defect
def a_distrusted_key_is_a_key(patch):
    patch.setattr(policy, "_BARRED", {})


@defect
def post_quantum_is_a_wish(patch):
    true = policy.decide
    patch.setattr(
        machine_module, "decide", lambda state, floor: true(replace(state, pq=True), floor)
    )


@defect
def a_gateway_is_overlooked(patch):
    wrapped(patch, "through_gateway", lambda s, f: None)
    true = policy.security_state
    patch.setattr(machine_module, "security_state", lambda f: true(replace(f, gateway=False)))


@defect
def sound_goes_on_while_keys_change(patch):
    wrapped(patch, "_rekeyed", lambda s, f, *a: f(s, *a)[1:])


@defect
def a_gateway_may_send_a_certificate_instead(patch):
    patch.setattr(exchange_module, "same_association", lambda agreed, description: True)
    wrapped(patch, "_rekeyed", lambda s, f, *a: ())


@pytest.mark.parametrize("seeded", DEFECTS.values(), ids=DEFECTS)
def test_control_a_defect_is_found(monkeypatch, seeded):
    seeded(monkeypatch)
    with pytest.raises(Violation, match="after: "):
        for configuration in chosen(
            *("VERIFIED-identity-require_pq-out", "OPPORTUNISTIC-identity-in"),
            *("OPPORTUNISTIC-identity-out", "HOP_BY_HOP-out", "HOP_BY_HOP-gateway-sdes-in"),
        ):
            explore(configuration, 4)


def test_control_who_takes_itself_back_from_hold_is_found(monkeypatch):
    (configuration,) = chosen("OPPORTUNISTIC-identity-out")
    true, path = exchange_module.answer_change, ("answer", "evidence: unknown", "we hold", TAKEN)
    for defect in (False, True):
        run = configuration.begin()
        for name in path:
            run.step(name)
        if defect:
            monkeypatch.setattr(
                exchange_module,
                "answer_change",
                lambda *a, **how: true(*a, **how | {"hold": False}),
            )
            with pytest.raises(Violation, match="whom we hold"):
                run.step(KEPT)
        else:
            run.step(KEPT)
