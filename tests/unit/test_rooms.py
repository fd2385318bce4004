from __future__ import annotations

import asyncio
import contextlib

import pytest

from securecall.address import parse_address
from securecall.errors import ConnectFailed, RoomNotPrivate, UsageError, XmppRefused
from securecall.keys.encoding import build_json
from securecall.rooms import RoomFailed, RoomNews, Rooms
from securecall.xmpp.jid import parse_jid
from securecall.xmpp.room import MemberAdded, OccupantCame, Removed, RoomState
from securecall.xmpp.room_grammar import Affiliation, Invitation, build_direct_invitation
from tests.fake_room import FakeRoom
from tests.fake_session import FakeSession
from tests.forge_devices import BOB, EVE, contacts_at
from tests.stanzas import OWN

WARD = parse_address("xmpp:ward@chat.a.example")


class Scene:
    """Alice, her rooms, and a service."""

    def __init__(self, folder) -> None:
        self.contacts = contacts_at(folder)
        self.session = FakeSession()
        self.told: list[object] = []
        self.settled: list[object] = []
        self.rooms = Rooms(
            self.session, self.contacts, tell=self.told.append, settled=self.settled.append
        )
        self.service = FakeRoom(WARD.short, self.session, self.rooms.on_presence)

    def private(self, **affiliations: str) -> None:
        """There is a private room with these people."""
        self.service.exists = True
        self.service.config |= {"membersonly": "1", "whois": "anyone", "publicroom": "0"}
        self.service.affiliations |= affiliations

    def events(self, kind: type) -> list[object]:
        found = [told.event for told in self.told if isinstance(told, RoomNews)]
        return [event for event in found if isinstance(event, kind)]


@pytest.fixture
def scene(tmp_path):
    made = Scene(tmp_path)
    yield made
    made.contacts.store.close()


def run(coroutine):
    return asyncio.run(coroutine)


ALL = {OWN: "member", BOB.short: "owner"}


def test_a_room_is_made_private_before_anybody_is_in_it(scene):
    room = run(scene.rooms.create(WARD, name="Ward 3", members=[BOB]))
    assert scene.service.config == {
        "membersonly": "1",
        "whois": "anyone",
        "publicroom": "0",
        "persistentroom": "1",
    }
    assert scene.service.affiliations == {OWN: "owner", BOB.short: "member"}
    assert (room.state, scene.rooms.members(WARD)) == (RoomState.INSIDE, (BOB,))
    assert scene.session.types()[-1] == ("message", "", BOB.short)  # the invitation


def test_whom_our_user_knows_in_a_room_is_known_outside_and_after_leaving(scene):
    assert scene.rooms.known(BOB) is None
    run(scene.rooms.create(WARD, members=[BOB, EVE]))
    with pytest.raises(XmppRefused):  # the room goes its own way
        scene.session.answers["set", "{http://jabber.org/protocol/muc#admin}query"] = refuse
        run(scene.rooms.remove_member(WARD, EVE))
    assert scene.rooms.known(WARD) == (BOB,)
    later = Rooms(scene.session, scene.contacts, tell=lambda _: None)  # we were started again
    assert (later.members(WARD), later.known(WARD)) == ((), (BOB,))
    run(scene.rooms.leave(WARD))
    assert (scene.rooms.members(WARD), scene.rooms.known(WARD)) == ((), (BOB,))


def refuse(*_):
    raise XmppRefused("forbidden")


@pytest.mark.parametrize("broken", ["membersonly", "whois"])
def test_a_service_that_does_not_do_what_it_is_told_gets_no_room(scene, broken):
    service = scene.service
    configure = service._configure

    def obstinate(payload, to):
        configure(payload, to)
        if payload[0].tag.endswith("}x"):
            service.config[broken] = {"membersonly": "0", "whois": "moderators"}[broken]

    scene.session.answers["set", "{http://jabber.org/protocol/muc#owner}query"] = obstinate
    with pytest.raises(RoomNotPrivate):
        run(scene.rooms.create(WARD, members=[BOB]))
    assert (service.exists, scene.rooms.all()) == (False, ())
    assert all(name != "message" for name, _, _ in scene.session.types())


def test_a_room_that_exists_is_not_made(scene):
    scene.private(**ALL)
    with pytest.raises(XmppRefused) as refused:
        run(scene.rooms.create(WARD))
    assert refused.value.condition == "conflict"
    assert (scene.service.inside, scene.rooms.members(WARD)) == ("", ())


def test_a_room_is_entered_and_known_to_unwrap(scene):
    scene.private(**ALL)
    scene.service.occupants = {"bob": f"{BOB.short}/x"}
    run(scene.rooms.join(WARD))
    assert scene.rooms.members(WARD) == (BOB,)
    inside = scene.rooms.inside()[parse_jid(WARD.short)]
    assert inside.nick == "alice"
    assert inside.occupants == {"alice": parse_jid(OWN), "bob": parse_jid(BOB.short)}


def test_a_nickname_that_is_taken_is_made_another(scene):
    scene.private(**ALL)
    scene.service.taken = {"alice", "alice-2"}
    assert run(scene.rooms.join(WARD)).nick == "alice-3"
    scene.service.taken |= {"x", "x-2", "x-3"}
    run(scene.rooms.leave(WARD))
    with pytest.raises(XmppRefused):
        run(scene.rooms.join(WARD, nick="x"))


def test_rooms_that_are_not_private_or_not_there_are_not_entered(scene):
    with pytest.raises(XmppRefused):
        run(scene.rooms.join(WARD))
    scene.service.exists = True
    with pytest.raises(RoomNotPrivate):
        run(scene.rooms.join(WARD))
    scene.private()
    with pytest.raises(XmppRefused):
        run(scene.rooms.join(WARD))  # we are no member
    assert scene.rooms.all() == ()
    assert not scene.service.inside


def test_a_room_that_vanishes_between_question_and_entry_is_not_made_again(scene):
    scene.private(**ALL)
    disco = scene.service._disco

    def gone(payload, to):
        answer = disco(payload, to)
        scene.service.exists = False
        return answer

    scene.session.answers["get", "{http://jabber.org/protocol/disco#info}query"] = gone
    with pytest.raises(RoomNotPrivate):
        run(scene.rooms.join(WARD))
    assert (scene.service.exists, scene.rooms.all()) == (False, ())


def test_who_is_brought_in_by_others_gets_nothing_until_acknowledged(scene):
    scene.private(**ALL)

    async def play() -> None:
        await scene.rooms.join(WARD)
        scene.service.affiliations[EVE.short] = "member"
        scene.service.say("eve", jid=f"{EVE.short}/x")

    run(play())
    assert scene.events(MemberAdded)[-1].known is False
    assert scene.events(OccupantCame)[-1].ghost
    assert scene.rooms.members(WARD) == (BOB,)
    scene.rooms.acknowledge(WARD, EVE)
    assert scene.rooms.members(WARD) == (BOB, EVE)


def test_what_we_know_of_rooms_outlives_the_process(tmp_path):
    scene = Scene(tmp_path)
    scene.private(**ALL)
    run(scene.rooms.join(WARD))
    scene.contacts.store.close()
    again = Scene(tmp_path)
    again.private(**ALL, **{EVE.short: "member"})
    assert again.rooms.all() == (WARD,)
    assert again.rooms.members(WARD) == ()  # nobody, before the room was entered
    run(again.rooms.fresh())
    assert again.rooms.members(WARD) == (BOB,)
    assert again.rooms.room(WARD).unacknowledged == {EVE.short}
    again.contacts.store.close()


def test_a_room_that_does_not_let_us_back_in_is_told_and_tried_again(scene):
    scene.private(**ALL)
    run(scene.rooms.join(WARD))
    scene.service.affiliations[OWN] = "none"
    scene.service.inside = ""
    scene.rooms.lost()
    run(scene.rooms.fresh())
    assert isinstance(scene.told[-1], RoomFailed)
    assert scene.rooms.all() == (WARD,)
    scene.service.affiliations[OWN] = "member"
    run(scene.rooms.fresh())
    assert scene.rooms.room(WARD).state is RoomState.INSIDE


def test_a_room_that_lost_us_without_a_word_is_entered_again(scene):
    scene.private(**ALL)
    run(scene.rooms.join(WARD))
    entries = len(scene.session.sent)
    run(scene.rooms.resumed())
    assert len(scene.session.sent) == entries  # it knows us: nothing to do
    scene.service.inside = ""
    run(scene.rooms.resumed())
    assert scene.service.inside == "alice"
    assert scene.rooms.room(WARD).state is RoomState.INSIDE


@pytest.mark.parametrize("code", [173, 174])
def test_a_room_that_becomes_anonymous_is_left_and_told(scene, code):
    scene.private(**ALL)
    run(scene.rooms.join(WARD))
    scene.rooms.on_message(scene.service.notice(104, code))
    assert isinstance(scene.told[-1], RoomFailed)
    assert (scene.rooms.members(WARD), scene.service.inside) == ((), "")


def test_a_room_that_opens_itself_is_noticed_by_asking(scene):
    scene.private(**ALL)

    async def play() -> None:
        await scene.rooms.join(WARD)
        scene.service.config["membersonly"] = "0"
        scene.rooms.on_message(scene.service.notice(104))
        for _ in range(5):
            await asyncio.sleep(0)

    run(play())
    assert isinstance(scene.told[-1], RoomFailed)
    assert scene.rooms.members(WARD) == ()


@pytest.mark.parametrize("guarded", [True, False])
def test_a_room_that_is_entered_again_as_our_user_joins_it_is_entered_once(
    scene, guarded, monkeypatch
):
    """Who is inside is not told again that real addresses are shown, and left a private room."""
    if not guarded:
        monkeypatch.setattr(Rooms, "_rejoin", Rooms._rejoin_alone)
    scene.private(**ALL)
    run(scene.rooms.join(WARD))
    asked = scene.session.request

    async def slow(payload, *, to="", kind="get", timeout=30.0):
        await asyncio.sleep(0)
        return await asked(payload, to=to, kind=kind)

    async def play() -> None:
        scene.session.request = slow
        scene.rooms.lost()
        scene.service.inside = ""
        _ = await asyncio.gather(scene.rooms.fresh(), scene.rooms.join(WARD))
        assert scene.rooms.members(WARD) == (BOB,)

    scene.session.sent.clear()
    run(play())
    entered = [s for s in scene.session.sent if s.get("to", "").startswith(f"{WARD.short}/")]
    assert len(entered) == (1 if guarded else 2)


def test_a_room_that_our_user_joins_as_the_session_is_lost_is_entered_in_the_next(scene):
    scene.private(**ALL)
    run(scene.rooms.join(WARD))

    async def play() -> None:
        scene.rooms.lost()
        with monkeypatched(scene.session, "send", lambda *_, **__: None):  # it never answers
            joining = asyncio.create_task(scene.rooms.join(WARD))
            for _ in range(10):
                await asyncio.sleep(0)
            scene.rooms.lost()
            with pytest.raises(ConnectFailed):
                await joining
        scene.service.inside = ""
        await scene.rooms.fresh()
        assert scene.rooms.room(WARD).state is RoomState.INSIDE

    run(play())


@contextlib.contextmanager
def monkeypatched(thing, name, value):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(thing, name, value)
        yield


@pytest.mark.parametrize("guarded", [True, False])
def test_a_room_that_says_that_it_changed_without_end_uses_up_none_of_our_requests(
    scene, guarded, monkeypatch
):
    """The control asks each time: nobody else would be asked anything any more."""
    if not guarded:
        monkeypatch.setattr(Rooms, "_recheck_soon", lambda self, r: self._spawn(self._recheck(r)))
    scene.private(**ALL)
    open_now, most = 0, 0

    async def slow(payload, *, to="", kind="get", timeout=30.0):
        nonlocal open_now, most
        open_now += 1
        most = max(most, open_now)
        await asyncio.sleep(0)
        open_now -= 1
        return await asked(payload, to=to, kind=kind)

    async def play() -> None:
        await scene.rooms.join(WARD)
        scene.session.request = slow
        for _ in range(50):
            scene.rooms.on_message(scene.service.notice(104))
        scene.service.config["membersonly"] = "0"  # and the last time it is true
        for _ in range(200):
            await asyncio.sleep(0)

    asked = scene.session.request
    run(play())
    assert most == (1 if guarded else 50)
    assert scene.rooms.members(WARD) == ()


def test_members_are_taken_out_even_where_the_room_does_not_want_to(scene):
    scene.private(**ALL)
    run(scene.rooms.join(WARD))
    with pytest.raises(XmppRefused):
        run(scene.rooms.remove_member(WARD, BOB))
    assert scene.rooms.members(WARD) == ()


def test_rooms_are_destroyed_and_left(scene):
    run(scene.rooms.create(WARD))
    run(scene.rooms.destroy(WARD))
    assert (scene.service.exists, scene.rooms.all()) == (False, ())
    with pytest.raises(UsageError):
        scene.rooms.room(WARD)
    assert scene.rooms.members(BOB) is None


def test_invitations_are_told_and_nothing_else_follows_from_them(scene):
    invitation = build_direct_invitation(WARD.short, OWN)
    invitation.set("from", f"{EVE.short}/x")
    scene.rooms.on_message(invitation)
    assert scene.told == [Invitation(room=WARD.short, by=EVE.short, vouched=True)]
    assert (scene.session.sent, scene.session.asked) == ([], [])


def test_a_room_we_are_removed_from_is_told(scene):
    scene.private(**ALL)
    run(scene.rooms.join(WARD))
    scene.service.say("alice", "unavailable", 110, 307)
    assert scene.events(Removed)[-1].why.value == "kicked"
    assert scene.rooms.room(WARD).state is RoomState.OUTSIDE


def test_a_room_entered_before_the_session_was_prepared_is_not_entered_twice(scene):
    """What was said in it meanwhile would wait for an echo that went to the place before."""

    async def scenario():
        scene.private(**ALL)
        scene.rooms.lost()
        await scene.rooms.join(WARD)
        sent = len(scene.session.sent)
        await scene.rooms.fresh()
        assert scene.rooms.room(WARD).state is RoomState.INSIDE
        assert len(scene.session.sent) == sent

    run(scenario())


def test_a_room_is_not_lost_where_the_session_is_while_it_is_entered_again(scene):
    async def scenario():
        scene.private(**ALL)
        await scene.rooms.join(WARD)
        scene.session.send, send = lambda *_, **__: None, scene.session.send  # it does not answer
        scene.rooms.lost()
        entering = asyncio.create_task(scene.rooms.fresh())
        for _ in range(20):
            await asyncio.sleep(0)
        entering.cancel()
        await asyncio.gather(entering, return_exceptions=True)
        assert scene.rooms.all() == (WARD,)
        scene.session.send = send
        await scene.rooms.fresh()
        assert scene.rooms.room(WARD).state is RoomState.INSIDE

    run(scenario())


def test_who_was_brought_into_a_room_while_we_were_out_of_it_gets_nothing(scene):
    async def scenario():
        scene.private(**ALL)
        await scene.rooms.join(WARD)
        scene.service.say("bob", "", 173, jid=f"{BOB.short}/x")  # it sends us away
        assert scene.rooms.all() == ()
        scene.service.affiliations[EVE.short] = "member"
        await scene.rooms.join(WARD)
        assert scene.rooms.members(WARD) == (BOB,)
        assert scene.events(MemberAdded)[-1] == MemberAdded(
            jid=EVE.short, affiliation=Affiliation.MEMBER, known=False
        )

    run(scenario())


def test_whom_we_knew_in_a_room_that_we_left_outlives_the_process(tmp_path):
    async def leave(scene):
        scene.private(**ALL)
        await scene.rooms.join(WARD)
        await scene.rooms.leave(WARD)

    scene = Scene(tmp_path)
    run(leave(scene))
    scene.contacts.store.close()
    again = Scene(tmp_path)
    again.private(**ALL, **{EVE.short: "member"})
    run(again.rooms.join(WARD))
    assert again.rooms.members(WARD) == (BOB,)
    again.contacts.store.close()


def test_rooms_that_were_left_are_read_as_they_were_kept_before(tmp_path):
    scene = Scene(tmp_path)
    data = build_json({"rooms": {}, "left": [WARD.short]})
    scene.contacts.store.save_setting(f"rooms {OWN}", data)
    assert Rooms(scene.session, scene.contacts, tell=scene.told.append).members(WARD) == ()
    scene.contacts.store.close()


PUT_OUT = [(301, "banned"), (307, "put out"), (321, "no member"), (322, "no member")]


@pytest.mark.parametrize(("code", "why"), PUT_OUT)
def test_a_room_that_puts_us_out_is_closed_until_we_join_it_again(scene, code, why):
    scene.private(**ALL)
    run(scene.rooms.join(WARD))
    assert scene.rooms.closed(WARD) == ""
    scene.settled.clear()
    scene.service.inside = ""
    scene.service.say("alice", "unavailable", 110, code)
    assert why in scene.rooms.closed(WARD)
    assert scene.settled == [WARD]  # what waits for it learns of that
    run(scene.rooms.join(WARD))
    assert scene.rooms.closed(WARD) == ""
    assert scene.rooms.room(WARD).state is RoomState.INSIDE


@pytest.mark.parametrize(
    ("condition", "closed"),
    [
        ("forbidden", True),
        ("registration-required", True),
        ("not-authorized", True),
        ("item-not-found", True),
        ("gone", True),
        ("not-allowed", True),
        ("service-unavailable", False),  # it is full
        ("remote-server-timeout", False),
        ("internal-server-error", False),
        ("resource-constraint", False),
    ],
)
@pytest.mark.parametrize("joins", [False, True])
def test_a_room_that_refuses_us_is_closed_and_one_that_cannot_now_is_waited_for(
    scene, condition, closed, joins
):
    scene.private(**ALL)
    run(scene.rooms.join(WARD))
    scene.service.inside = ""
    scene.rooms.lost()
    scene.settled.clear()
    enter, scene.service._enter = (
        scene.service._enter,
        lambda nick: scene.service._error(nick, condition),
    )
    if joins:
        with pytest.raises(XmppRefused):
            run(scene.rooms.join(WARD))
    else:
        run(scene.rooms.fresh())
    assert bool(scene.rooms.closed(WARD)) is closed
    assert scene.settled == [WARD] * closed
    assert scene.rooms.is_outside(WARD)
    assert scene.rooms.all() == (WARD,)  # it is tried again with the next session
    scene.service._enter = enter
    run(scene.rooms.fresh())
    assert scene.rooms.closed(WARD) == ""
    assert not scene.rooms.is_outside(WARD)


def test_a_room_that_is_destroyed_or_gone_or_not_private_any_more_is_closed(scene):
    scene.private(**ALL)
    run(scene.rooms.join(WARD))
    scene.service.inside, scene.service.exists = "", False
    scene.rooms.lost()
    run(scene.rooms.fresh())
    assert "no such room" in scene.rooms.closed(WARD)
    scene.private(**ALL)
    scene.service.config["membersonly"] = "0"
    run(scene.rooms.fresh())
    assert "no private room" in scene.rooms.closed(WARD)


def test_a_room_that_our_user_left_is_closed_and_others_are_not(scene):
    scene.private(**ALL)
    run(scene.rooms.join(WARD))
    scene.settled.clear()
    run(scene.rooms.leave(WARD))
    assert scene.rooms.closed(WARD) == "you left it"
    assert scene.settled == [WARD]
    assert scene.rooms.closed(BOB) == ""


@pytest.mark.parametrize("code", [332, 333, 0])
def test_a_room_whose_service_lost_us_is_entered_again_in_the_same_session(
    scene, code, monkeypatch
):
    monkeypatch.setattr("securecall.rooms._BACK_SECONDS", (0.0,))
    scene.private(**ALL)

    async def scenario():
        await scene.rooms.join(WARD)
        scene.service.inside, scene.service.exists = "", False
        scene.service.say("alice", "unavailable", 110, *([code] if code else []))
        assert scene.rooms.closed(WARD) == ""  # what is written meanwhile waits
        scene.service.exists = True
        for _ in range(20):
            await asyncio.sleep(0)
        assert scene.rooms.room(WARD).state is RoomState.INSIDE

    run(scenario())


def test_a_room_whose_service_lost_us_is_not_asked_for_ever_nor_after_the_session(
    scene, monkeypatch
):
    monkeypatch.setattr("securecall.rooms._BACK_SECONDS", (0.0,))
    scene.private(**ALL)

    async def scenario():
        await scene.rooms.join(WARD)
        for ends in (scene.rooms.stop, scene.rooms.lost, lambda: None):
            scene.service.inside = ""
            scene.service.say("alice", "unavailable", 110, 332)
            ends()
            scene.service.affiliations[OWN] = "none"
            before = len(scene.session.sent)
            for _ in range(20):
                await asyncio.sleep(0)
            asked = len(scene.session.sent) - before
            assert asked == (ends not in (scene.rooms.stop, scene.rooms.lost))
            scene.service.affiliations[OWN] = "member"
            await scene.rooms.join(WARD)

    run(scenario())
