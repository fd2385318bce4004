"""SRV order for all records and all lots: nothing lost, nothing invented, shares as written."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from securecall.transport.srv import Naptr, Srv, alternate_families, order_servers, select_services

SMALL = st.integers(0, 0xFFFF)
HOSTS = st.sampled_from(["", "a.example", "b.example", "A b", "x" * 254]) | st.text(max_size=8)
RECORDS = st.lists(st.builds(Srv, SMALL, SMALL, SMALL, HOSTS), max_size=12)
CHANCE = st.floats(0, 1, exclude_max=True)


@given(RECORDS, st.lists(CHANCE, min_size=12, max_size=12))
def test_every_usable_record_comes_once_and_priorities_never_fall(records, chances):
    ordered = order_servers(records, chances)
    assert Counter(ordered) <= Counter(records)
    assert [r.priority for r in ordered] == sorted(r.priority for r in ordered)
    left_out = Counter(records) - Counter(ordered)
    assert all(not r.port or r.host not in {"a.example", "b.example"} for r in left_out)


@given(st.lists(st.integers(0, 20), min_size=1, max_size=6))
def test_over_all_lots_each_server_is_first_as_often_as_its_weight_says(weights):
    records = [Srv(1, weight, 5061, f"h{n}") for n, weight in enumerate(weights)]
    lots = sum(weights) + 1
    first = Counter(
        order_servers(records, [(lot + 0.5) / lots] + [0.0] * len(weights))[0].host
        for lot in range(lots)
    )
    for n, weight in enumerate(weights):
        # the lot of nothing is one more, for a single record
        assert weight <= first[f"h{n}"] <= weight + 1
    assert sum(first.values()) == lots


@given(st.lists(st.builds(Naptr, SMALL, SMALL, *[st.text(max_size=12)] * 4), max_size=8))
def test_no_text_in_a_record_makes_a_service_that_is_not_encrypted(records):
    allowed = {"SIPS+D2T": "tls", "SIPS+D2W": "wss"}
    wanted = {(r.replacement, allowed.get(r.service.upper())) for r in records}
    assert {(s.name, s.transport) for s in select_services(records)} <= wanted


@given(st.lists(st.ip_addresses().map(str), max_size=12))
def test_families_alternate_while_both_are_there(addresses):
    found = alternate_families(addresses)
    assert set(found) <= set(addresses)
    families = [":" in address for address in found]
    fewer = min(families.count(True), families.count(False))
    turns = families[: 2 * fewer]
    assert all(one != other for one, other in pairwise(turns))
