"""What comes in is taken out of its wrappings; who said it is whoever may say so."""

from __future__ import annotations

import pytest

from securecall.address import parse_address
from securecall.chat.message import Via
from securecall.xmpp.jid import parse_jid
from securecall.xmpp.unwrap import asked_result, unwrap
from securecall.xmpp.unwrapped import Discarded, Notice, NoticeKind, Unwrapped, Why
from tests.around import AROUND, COVEN, NOBODY_NAMES, NOW, message
from tests.stanzas import stanza

JULIET = parse_address("xmpp:juliet@capulet.example")
ROMEO = parse_address("xmpp:romeo@montague.example")
WITCH = parse_address("xmpp:hag66@shakespeare.example")
BODY = "<body>Hail</body>"


def carbon(kind, inside, **outer):
    wrapped = (
        f"<{kind} xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'>"
        f"{inside}</forwarded></{kind}>"
    )
    return message(wrapped, **{"from_": "romeo@montague.example", **outer})


def inner(inside=BODY, **attributes):
    told = {"from": "juliet@capulet.example/b", "to": "romeo@montague.example", "type": "chat"}
    told |= {name.rstrip("_"): value for name, value in attributes.items()}
    written = " ".join(f"{name}='{value}'" for name, value in told.items() if value)
    return f"<message xmlns='jabber:client' {written}>{inside}</message>"


def result(inside, *, queryid="f27", name="a1", stamp="2001-09-08T00:00:00Z", **outer):
    delay = f"<delay xmlns='urn:xmpp:delay' stamp='{stamp}'/>" if stamp else ""
    wrapped = (
        f"<result xmlns='urn:xmpp:mam:2' queryid='{queryid}' id='{name}'>"
        f"<forwarded xmlns='urn:xmpp:forward:0'>{delay}{inside}</forwarded></result>"
    )
    return message(wrapped, **{"from_": "", "type_": "", **outer})


def said(element, around=AROUND):
    outcome = unwrap(element, around)
    assert isinstance(outcome, Unwrapped), outcome
    return outcome


def why(element, around=AROUND):
    outcome = unwrap(element, around)
    assert isinstance(outcome, Discarded), outcome
    return outcome.why


def test_a_plain_message_is_its_senders():
    outcome = said(message(BODY, id="m1"))
    assert (outcome.conversation, outcome.sender, outcome.id) == (JULIET, JULIET, "m1")
    assert (outcome.via, outcome.own, outcome.room, outcome.error) == (
        Via.LIVE,
        False,
        False,
        False,
    )
    assert (outcome.sent, outcome.delayed) == (NOW, False)
    assert outcome.writer == parse_jid("juliet@capulet.example/balcony")
    assert "Hail" not in repr(outcome)


def test_a_note_to_oneself_is_ones_own():
    for sender in ("romeo@montague.example/phone", ""):
        outcome = said(message(BODY, from_=sender))
        assert (outcome.conversation, outcome.sender, outcome.own) == (ROMEO, ROMEO, True)


def test_a_message_to_a_device_that_left_comes_all_the_same():
    assert said(message(BODY, to="romeo@montague.example/gone")).sender == JULIET


def test_a_copy_of_what_we_got_and_of_what_we_sent():
    got = said(carbon("received", inner(id="m2")))
    assert (got.via, got.sender, got.own, got.id) == (Via.CARBON, JULIET, False, "m2")
    sent = said(
        carbon("sent", inner(from_="romeo@montague.example/x", to="juliet@capulet.example"))
    )
    assert (sent.conversation, sent.sender, sent.own) == (JULIET, ROMEO, True)


def test_a_copy_without_from_is_our_accounts():
    assert said(carbon("received", inner(), from_="")).sender == JULIET


def test_an_archived_message_has_the_archives_name_and_time():
    outcome = said(result(inner(id="m3")))
    assert (outcome.via, outcome.archive_id, outcome.sender) == (Via.ARCHIVE, "a1", JULIET)
    assert (outcome.sent, outcome.delayed) == (999907200.0, True)
    ours = said(result(inner(from_="romeo@montague.example/x", to="juliet@capulet.example/b")))
    assert (ours.conversation, ours.sender, ours.own) == (JULIET, ROMEO, True)


def test_no_time_is_in_the_future():
    assert said(result(inner(), stamp="2030-01-01T00:00:00Z")).sent == NOW
    assert said(result(inner(), stamp="")).sent == NOW


def test_an_occupant_is_the_person_the_rooms_presence_names():
    room = "coven@chat.shakespeare.example/firstwitch"
    outcome = said(message(BODY, from_=room, type_="groupchat"))
    assert (outcome.room, outcome.sender, outcome.own) == (True, WITCH, False)
    assert outcome.conversation == parse_address("xmpp:coven@chat.shakespeare.example")
    ours = said(message(BODY, from_="coven@chat.shakespeare.example/romeo", type_="groupchat"))
    assert (ours.own, ours.sender) == (True, ROMEO)
    hidden = said(message(BODY, from_="coven@chat.shakespeare.example/third", type_="groupchat"))
    assert hidden.sender is None


def test_in_its_archive_a_room_names_occupants_itself():
    item = (
        "<x xmlns='http://jabber.org/protocol/muc#user'>"
        "<item jid='hag66@shakespeare.example/p'/></x>"
    )
    room = "coven@chat.shakespeare.example"
    archived = inner(BODY + item, from_=f"{room}/anybody", to="", type_="groupchat")
    outcome = said(result(archived, queryid="c12", from_=room))
    assert (outcome.room, outcome.sender, outcome.archive_id) == (True, WITCH, "a1")
    unnamed = inner(BODY, from_=f"{room}/anybody", to="", type_="groupchat")
    assert said(result(unnamed, queryid="c12", from_=room)).sender is None


def test_only_who_announced_to_name_messages_names_them():
    ours = "<stanza-id xmlns='urn:xmpp:sid:0' by='Romeo@montague.example' id='s1'/>"
    assert said(message(BODY + ours)).archive_id == "s1"
    assert said(message(BODY + ours), NOBODY_NAMES).archive_id == ""
    assert said(message(BODY + ours + ours)).archive_id == ""
    forged = "<stanza-id xmlns='urn:xmpp:sid:0' by='juliet@capulet.example' id='s2'/>"
    assert said(message(BODY + forged + ours)).archive_id == "s1"
    room = "<stanza-id xmlns='urn:xmpp:sid:0' by='coven@chat.shakespeare.example' id='s3'/>"
    there = message(BODY + room, from_="coven@chat.shakespeare.example/x", type_="groupchat")
    assert said(there).archive_id == "s3"
    assert said(message(BODY + room)).archive_id == ""


def test_a_delay_counts_from_our_server_and_no_one_else():
    def delay(by):
        return f"<delay xmlns='urn:xmpp:delay' from='{by}' stamp='2001-09-08T00:00:00Z'/>"

    assert said(message(BODY + delay("montague.example"))).sent == 999907200.0
    assert said(message(BODY + delay("romeo@montague.example"))).delayed
    for stranger in ("capulet.example", "juliet@capulet.example", ""):
        assert said(message(BODY + delay(stranger))).sent == NOW
    twice = delay("montague.example") + (
        "<delay xmlns='urn:xmpp:delay' from='montague.example' stamp='2001-09-07T00:00:00Z'/>"
    )
    assert said(message(BODY + twice)).sent == NOW  # one of them is forged


def test_what_comes_back_names_whom_it_was_for():
    outcome = said(message("<error type='cancel'/>", type_="error", id="m9"))
    assert (outcome.error, outcome.conversation, outcome.id, outcome.own) == (
        True,
        JULIET,
        "m9",
        False,
    )
    room = said(message("", from_="coven@chat.shakespeare.example", type_="error", id="m9"))
    assert (room.error, room.room) == (True, True)


def test_our_server_answers_in_our_accounts_name_and_says_nothing_for_us():
    outcome = said(message("<error type='cancel'/>", from_="", type_="error", id="m9"))
    assert (outcome.error, outcome.own) == (True, False)


def test_a_delay_by_what_is_no_address_is_passed_over():
    odd = "<delay xmlns='urn:xmpp:delay' from='@' stamp='2001-09-08T00:00:00Z'/>"
    assert not said(message(BODY + odd)).delayed


def notice(element):
    outcome = unwrap(element, AROUND)
    assert isinstance(outcome, Notice), outcome
    return outcome.kind, str(outcome.source), outcome.own


def test_events_subjects_invitations_and_headlines_are_for_others_to_read():
    event = "<event xmlns='http://jabber.org/protocol/pubsub#event'/>"
    juliet = "juliet@capulet.example"
    assert notice(message(event, from_=juliet)) == (NoticeKind.EVENT, juliet, False)
    assert notice(message(event, from_="")) == (NoticeKind.EVENT, "romeo@montague.example", True)
    room = "coven@chat.shakespeare.example"
    subject = message("<subject>Fire</subject>", from_=f"{room}/x", type_="groupchat")
    assert notice(subject) == (NoticeKind.SUBJECT, f"{room}/x", False)
    invite = (
        "<x xmlns='http://jabber.org/protocol/muc#user'><invite from='juliet@capulet.example'/></x>"
    )
    assert notice(message(invite, from_=room, type_=""))[0] is NoticeKind.INVITATION
    assert notice(message(BODY, type_="headline"))[0] is NoticeKind.HEADLINE


MUC_USER = "<x xmlns='http://jabber.org/protocol/muc#user'/>"
EVENT = "<event xmlns='http://jabber.org/protocol/pubsub#event'/>"
ROOM = "coven@chat.shakespeare.example"
BAD = [
    (message(BODY, to="juliet@capulet.example"), Why.MISDIRECTED),
    (message(BODY, from_="@"), Why.MALFORMED),
    (message(BODY, to="@"), Why.MALFORMED),
    (message(BODY, id="x" * 513), Why.MALFORMED),
    (message("<a/>" * 129), Why.MALFORMED),
    (stanza("<presence from='juliet@capulet.example'/>"), Why.MALFORMED),
    (stanza("<message xmlns='jabber:server'/>"), Why.MALFORMED),
    (message(BODY, from_="montague.example"), Why.SERVER),
    (carbon("received", ""), Why.MALFORMED),
    (carbon("received", inner() + inner()), Why.MALFORMED),
    (carbon("received", inner() + "<x/>"), Why.MALFORMED),
    (message("<received xmlns='urn:xmpp:carbons:2'/>", from_=""), Why.MALFORMED),
    (carbon("received", inner(to="")), Why.CARBON_OF_OTHERS),
    (carbon("received", inner(type_="groupchat")), Why.NOT_LIVE),
    (carbon("received", inner(type_="headline")), Why.NOT_LIVE),
    (carbon("received", inner(EVENT)), Why.NOT_LIVE),
    (carbon("received", inner(BODY + MUC_USER)), Why.PRIVATE_IN_ROOM),
    (carbon("received", inner(from_=f"{ROOM}/x")), Why.PRIVATE_IN_ROOM),
    (
        carbon("sent", inner(from_="romeo@montague.example/x", to=f"{ROOM}/x")),
        Why.PRIVATE_IN_ROOM,
    ),
    (result(""), Why.NOT_LIVE),
    (result(inner(), name=""), Why.MALFORMED),
    (result(inner(), name="x" * 513), Why.MALFORMED),
    (result(inner(), stamp="yesterday"), Why.MALFORMED),
    (result(inner(type_="groupchat")), Why.STRANGE_ROOM),
    (result(inner(EVENT)), Why.NOT_LIVE),
    (result(inner(), queryid="c12", from_=ROOM), Why.RESULT_OF_OTHERS),
    (message(BODY, from_=ROOM), Why.PRIVATE_IN_ROOM),
    (message(BODY, from_=f"{ROOM}/x"), Why.PRIVATE_IN_ROOM),
    (message(BODY + MUC_USER), Why.PRIVATE_IN_ROOM),
    (message(BODY, from_=ROOM, type_="groupchat"), Why.ROOM_ITSELF),
    (message(BODY, from_="other@chat.shakespeare.example/x", type_="groupchat"), Why.STRANGE_ROOM),
    (message(EVENT), Why.NO_NODES),
    (message(EVENT, from_=ROOM), Why.NO_NODES),
]


@pytest.mark.parametrize(("element", "reason"), BAD)
def test_what_does_not_hold_is_discarded_with_its_reason(element, reason):
    assert why(element) is reason


def test_the_archive_id_is_told_only_of_what_was_asked_for():
    assert asked_result(result(inner()), AROUND) == "a1"
    assert asked_result(result(""), AROUND) == "a1"
    assert asked_result(result(inner(), queryid="f28"), AROUND) is None
    assert asked_result(result(inner(), from_="juliet@capulet.example"), AROUND) is None
    assert asked_result(message(BODY), AROUND) is None
    assert asked_result(result(inner(), queryid="c12", from_=str(COVEN)), AROUND) == "a1"
