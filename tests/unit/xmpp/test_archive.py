"""Catching up hands out every message once, in order, and knows when it cannot."""

from __future__ import annotations

from dataclasses import replace
from xml.etree.ElementTree import Element, tostring

import pytest

from securecall.errors import ProtocolError, StoreCorrupt, UsageError
from securecall.xmpp.archive import Catchup, Place, Progress
from securecall.xmpp.unwrapped import Why
from tests.archive import MAM, RSM, Archive, around, result
from tests.around import COVEN, OWN
from tests.stanzas import stanza


def turn(catchup, archive):
    """One page: ask, collect, finish."""
    stanzas, fin = archive.answer(catchup.query())
    if stanzas is None:
        catchup.refused("item-not-found")
        return []
    for one in stanzas:
        assert catchup.collect(one, around(catchup)) is None
    page = catchup.finish(fin)
    assert page.discarded == ()
    return [item.message.findtext("{jabber:client}body") for item in page.items]


def all_of(catchup, archive):
    texts = []
    while catchup.progress is Progress.UNDER_WAY:
        texts += turn(catchup, archive)
    return texts


@pytest.mark.parametrize("count", [0, 1, 9, 10, 11, 35])
@pytest.mark.parametrize("page", [3, 10])
def test_everything_comes_once_and_in_order(count, page):
    archive = Archive(count, page=page)
    catchup = Catchup(OWN.account, token="t", page=10)
    assert all_of(catchup, archive) == [f"text {i}" for i in range(count)]
    assert catchup.progress is Progress.COMPLETE
    assert catchup.count == count
    assert catchup.place == (Place(f"id{count - 1}", 999907200.0) if count else None)


def test_the_next_pass_goes_on_where_the_last_one_ended():
    archive = Archive(12)
    place = Place("id6", 1.0)
    assert all_of(Catchup(OWN.account, token="t", place=place, page=3), archive) == [
        f"text {i}" for i in range(7, 12)
    ]


def test_every_page_has_a_name_of_its_own():
    archive = Archive(7)
    all_of(Catchup(OWN.account, token="t", page=2), archive)
    names = [query.get("queryid") for query in archive.queries]
    assert len(set(names)) == len(names) == 4


def test_the_end_of_an_archive_is_enough_for_a_first_time():
    archive = Archive(30)
    catchup = Catchup(OWN.account, token="t", last=5)
    assert all_of(catchup, archive) == [f"text {i}" for i in range(25, 30)]
    assert (catchup.progress, catchup.place.id) == (Progress.COMPLETE, "id29")


def test_a_place_that_the_archive_forgot_is_found_again_by_its_time():
    archive = Archive(5)
    catchup = Catchup(OWN.account, token="t", place=Place("long gone", 999907200.0))
    assert all_of(catchup, archive) == [f"text {i}" for i in range(5)]
    form = tostring(archive.queries[-1], encoding="unicode")
    assert "2001-09-07T23:55:00.000000Z" in form  # five minutes before
    assert archive.queries[-1].find(f"{RSM}set/{RSM}after") is None


def test_a_result_that_is_missing_is_asked_for_again():
    archive = Archive(8)
    catchup = Catchup(OWN.account, token="t", page=4)
    archive.lose = {"id3"}
    assert turn(catchup, archive) == []
    assert catchup.place is None
    archive.lose = set()
    assert all_of(catchup, archive) == [f"text {i}" for i in range(8)]


def test_an_archive_that_never_sends_what_it_names_is_given_up():
    archive = Archive(8)
    archive.lose = {"id0"}
    catchup = Catchup(OWN.account, token="t")
    assert turn(catchup, archive) == turn(catchup, archive) == []
    with pytest.raises(ProtocolError):
        turn(catchup, archive)


def test_an_archive_that_makes_no_headway_is_given_up():
    catchup = Catchup(OWN.account, token="t")
    fin = Element(f"{MAM}fin")
    for _ in range(2):
        catchup.query()
        assert catchup.finish(fin).items == ()
    catchup.query()
    with pytest.raises(ProtocolError):
        catchup.finish(fin)


def test_more_than_is_wanted_at_once_is_left_for_another_pass():
    archive = Archive(100)
    catchup = Catchup(OWN.account, token="t", page=10, most=25)
    assert len(all_of(catchup, archive)) == 30
    assert (catchup.progress, catchup.place.id) == (Progress.ENOUGH, "id29")


def test_what_is_not_of_this_page_is_not_held():
    catchup = Catchup(OWN.account, token="t", page=2)
    catchup.query()
    now = around(catchup)
    stranger = result("a", "x", catchup.queryid, sender="tybalt@capulet.example")
    assert catchup.collect(stranger, now).why is Why.RESULT_NOT_ASKED
    old = replace(now, queries={**now.queries, "t-0": OWN.account})
    assert catchup.collect(result("a", "x", "t-0"), old).why is Why.RESULT_NOT_ASKED
    assert catchup.collect(result("a", "x", catchup.queryid), now) is None
    assert catchup.collect(result("a", "x", catchup.queryid), now).detail == "a second time"
    assert catchup.collect(result("b", "x", catchup.queryid), now) is None
    assert catchup.collect(result("c", "x", catchup.queryid), now).detail.startswith("more")


def test_what_was_discarded_is_told_and_counts_as_had():
    catchup = Catchup(COVEN, token="t")
    query = catchup.query()
    one = result("a", "x", query.get("queryid"), sender=str(COVEN))
    assert catchup.collect(one, around(catchup)) is None
    fin = stanza(
        "<fin xmlns='urn:xmpp:mam:2' complete='true'><set xmlns='http://jabber.org/protocol/rsm'>"
        "<first>a</first><last>a</last></set></fin>"
    )
    page = catchup.finish(fin)
    assert [discarded.why for discarded in page.discarded] == [Why.RESULT_OF_OTHERS]
    assert page.place.id == "a"


def test_results_that_may_change_are_not_counted_as_had():
    archive = Archive(2)
    catchup = Catchup(OWN.account, token="t")
    stanzas, fin = archive.answer(catchup.query())
    for one in stanzas:
        catchup.collect(one, around(catchup))
    fin.set("stable", "false")
    assert (len(catchup.finish(fin).items), catchup.place) == (2, None)


def test_other_errors_are_the_callers():
    catchup = Catchup(OWN.account, token="t")
    catchup.query()
    with pytest.raises(ProtocolError):
        catchup.refused("item-not-found")  # nothing was named that could be missing
    catchup = Catchup(OWN.account, token="t", place=Place("a", 1.0))
    catchup.query()
    with pytest.raises(ProtocolError):
        catchup.refused("forbidden")


def test_a_name_that_cannot_be_kept_is_refused():
    catchup = Catchup(OWN.account, token="t")
    catchup.query()
    long = stanza(
        "<fin xmlns='urn:xmpp:mam:2'><set xmlns='http://jabber.org/protocol/rsm'>"
        f"<last>{'x' * 513}</last></set></fin>"
    )
    with pytest.raises(ProtocolError):
        catchup.finish(long)


@pytest.mark.parametrize("fin", [None, Element("fin"), Element("{urn:xmpp:mam:1}fin")])
def test_an_end_that_is_none_is_refused(fin):
    catchup = Catchup(OWN.account, token="t")
    catchup.query()
    with pytest.raises(ProtocolError):
        catchup.finish(fin)


def test_a_pass_is_used_as_it_is_meant():
    with pytest.raises(UsageError):
        Catchup(OWN.account, token="")
    with pytest.raises(UsageError):
        Catchup(OWN.account, token="t", last=51)
    catchup = Catchup(OWN.account, token="t")
    with pytest.raises(UsageError):
        catchup.finish(Element(f"{MAM}fin"))
    all_of(catchup, Archive(0))
    with pytest.raises(UsageError):
        catchup.query()


def test_a_place_outlives_the_process():
    place = Place("id with space", 12.5)
    assert Place.parse(bytes(place)) == place
    for data in (b"", b"x y", b"\xff"):
        with pytest.raises(StoreCorrupt):
            Place.parse(data)
