"""A session over a scripted server: what is asked, counted, resumed and told."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from xml.etree.ElementTree import Element

import pytest

from securecall.errors import ConnectFailed, ProtocolError, XmppRefused
from securecall.xmpp import reconnecting
from securecall.xmpp.connecting import Connector
from securecall.xmpp.management import Done
from securecall.xmpp.session import Session, SessionState
from securecall.xmpp.stream import Stream
from securecall.xmpp.xml import weight
from tests.xmpp_server import BIND, DOMAIN, SM, Manners, Peer, online, quietly, serving

CLIENT = "{jabber:client}"


def run(work: Callable[[], Awaitable[None]]) -> None:
    async def within() -> None:
        async with asyncio.timeout(20):
            await work()

    asyncio.run(within())


def message(number: int) -> Element:
    made = Element(f"{CLIENT}message", id=str(number))
    Element(f"{CLIENT}body").text = "x"
    return made


@pytest.mark.parametrize("direct", [True, False])
@pytest.mark.parametrize("features", [Manners().features, f"<bind xmlns='{BIND}'/>"])
def test_the_server_says_what_it_took(tmp_path, direct, features):
    async def script(peer: Peer) -> None:
        await peer.login()
        await peer.bind()
        if SM in features:
            await quietly(peer)
        while True:  # no stream management: only pings are answered
            stanza = await peer.next()
            if stanza.tag == f"{CLIENT}iq":
                peer.send(f"<iq type='error' id='{stanza.get('id')}' from='{DOMAIN}'/>")

    async def work():
        manners = Manners(features=features)
        async with serving(script, tmp_path, direct=direct, manners=manners) as server:
            session = await Session.open(server.login)
            assert session.state is SessionState.ONLINE
            order: list[int] = []
            taken = asyncio.Event()
            for number in range(10):
                session.send(message(number), taken=lambda n=number: order.append(n))
            session.send(message(10), taken=taken.set)
            await taken.wait()
            assert order == list(range(10))
            await session.close()
            assert session.state is SessionState.ENDED
            assert len(asyncio.all_tasks()) < 4  # ours, and the server's

    run(work)


def test_nothing_goes_out_where_there_is_no_session(tmp_path):
    async def work():
        async with serving(online, tmp_path) as server:
            session = await Session.open(server.login)
            await session.close()
            with pytest.raises(ConnectFailed):
                session.send(message(1))
            with pytest.raises(ConnectFailed):
                await session.request(Element("{a}b"))

    run(work)


ANSWERS = [
    # whom was asked, who answers, whether that counts
    ("", None, True),
    ("", "alice@{d}", True),
    ("", "{d}", True),
    ("", "alice@{d}/{r}", True),
    ("", "alice@{d}/other", False),
    ("", "bob@{d}", False),
    ("", "other.example", False),
    ("alice@{d}", None, True),
    ("alice@{d}", "alice@{d}", True),
    ("alice@{d}", "alice@{d}/x", False),
    ("{d}", "{d}", True),
    ("{d}", "alice@{d}", False),
    ("bob@{d}", "bob@{d}", True),
    ("bob@{d}", "BOB@{d}", True),
    ("bob@{d}", None, False),
    ("bob@{d}", "bob@{d}/x", False),
    ("bob@{d}", "bob@{d}.other.example", False),
    ("bob@{d}", "bob", False),
    ("bob@{d}/Home", "bob@{d}/Home", True),
    ("bob@{d}/Home", "bob@{d}/home", False),
    ("bob@{d}/Home", "bob@{d}", False),
    ("room@rooms.{d}", "room@rooms.{d}/nick", False),
]


@pytest.mark.parametrize(("asked", "answers", "counts"), ANSWERS)
@pytest.mark.parametrize("kind", ["result", "error"])
def test_only_who_was_asked_can_answer(tmp_path, asked, answers, counts, kind):
    async def script(peer: Peer) -> None:
        await peer.login()
        await peer.bind()
        iq = await peer.next()
        name = (answers or "").format(d=DOMAIN, r="desk")
        whom = f" from='{name}'" if answers else ""
        peer.send(f"<iq type='{kind}' id='{iq.get('id')}'{whom}><forged xmlns='x'/></iq>")
        right = asked.format(d=DOMAIN) or DOMAIN
        peer.send(f"<iq type='result' id='{iq.get('id')}' from='{right}'><true xmlns='x'/></iq>")
        await quietly(peer)

    async def work():
        async with serving(script, tmp_path) as server:
            session = await Session.open(replace(server.login, resource="desk"))
            asking = session.request(Element("{x}question"), to=asked.format(d=DOMAIN))
            if counts and kind == "error":
                with pytest.raises(XmppRefused):
                    await asking
            else:
                answer = await asking
                assert answer is not None
                assert answer.tag == ("{x}forged" if counts else "{x}true")
            await session.close()

    run(work)


def test_a_guessed_id_answers_nothing(tmp_path):
    async def script(peer: Peer) -> None:
        await peer.login()
        await peer.bind()
        for name in ("1", "", "0000000000000000"):
            peer.send(f"<iq type='result' id='{name}'><forged xmlns='x'/></iq>")
        peer.send("<iq type='result'/>")
        iq = await peer.next()
        peer.send(f"<iq type='result' id='{iq.get('id')}'/>")
        await quietly(peer)

    async def work():
        async with serving(script, tmp_path) as server:
            session = await Session.open(server.login)
            assert await session.request(Element("{x}question")) is None
            await session.close()

    run(work)


@pytest.mark.parametrize(
    ("whose", "payload", "answer"),
    [
        (f"from='{DOMAIN}'", "<ping xmlns='urn:xmpp:ping'/>", "result"),
        ("", "<ping xmlns='urn:xmpp:ping'/>", "result"),
        ("from='bob@other.example/x'", "<ping xmlns='urn:xmpp:ping'/>", "service-unavailable"),
        ("from='bob@other.example/x'", "<other xmlns='x'/>", "service-unavailable"),
        ("from='bob@other.example/x'", "", "service-unavailable"),
        ("from='bob@other.example/x'", "<known xmlns='x'/>", "result"),
        ("from='bob@other.example/x'", "<refusing xmlns='x'/>", "forbidden"),
    ],
)
def test_requests_are_answered(tmp_path, whose, payload, answer):
    answered: asyncio.Queue[Element] = asyncio.Queue()

    async def script(peer: Peer) -> None:
        await peer.login()
        await peer.bind()
        peer.send(f"<iq type='get' id='7' {whose}>{payload}</iq>")
        answered.put_nowait(await peer.next())
        await quietly(peer)

    def refuse(_: Element) -> None:
        raise XmppRefused("forbidden")

    def prepare(session: Session) -> None:
        session.on_request("get", "{x}known", lambda _: Element("{x}answer"))
        session.on_request("get", "{x}refusing", refuse)

    async def work():
        async with serving(script, tmp_path) as server:
            session = await Session.open(server.login, prepare=prepare)
            iq = await answered.get()
            assert iq.get("id") == "7"
            if answer == "result":
                assert iq.get("type") == "result"
            else:
                assert iq.find(f"{CLIENT}error")[0].tag.endswith(answer)
            await session.close()

    run(work)


def test_a_stanza_comes_with_what_it_weighs(tmp_path):
    came: asyncio.Queue[tuple[Element, Done]] = asyncio.Queue()

    async def script(peer: Peer) -> None:
        await peer.login()
        await peer.bind()
        peer.send("<message id='1'><body>hello</body></message><presence from='a@b/c'/>")
        await quietly(peer)

    def prepare(session: Session) -> None:
        session.on_message(lambda stanza, done: came.put_nowait((stanza, done)))
        session.on_presence(lambda stanza, done: came.put_nowait((stanza, done)))

    async def work():
        async with serving(script, tmp_path) as server:
            session = await Session.open(server.login, prepare=prepare)
            for _ in range(2):
                stanza, done = await came.get()
                assert done.weight == weight(stanza) > 0
            await session.close()

    asyncio.run(work())


def test_a_stanza_counts_when_it_is_done_with_and_all_before_it(tmp_path):
    dones: list[Callable[[], None]] = []
    told: asyncio.Queue[str] = asyncio.Queue()

    async def script(peer: Peer) -> None:
        await peer.login()
        await peer.bind()
        peer.send("<message id='1'/><message id='2'/><presence/><r xmlns='urn:xmpp:sm:3'/>")
        while True:
            element = await peer.next()
            if element.tag == f"{{{SM}}}a":
                told.put_nowait(element.get("h", ""))

    def prepare(session: Session) -> None:
        session.on_message(lambda _, done: dones.append(done))

    async def work():
        async with serving(script, tmp_path) as server:
            session = await Session.open(server.login, prepare=prepare)
            assert await told.get() == "0"
            dones[1]()
            dones[0]()
            assert await told.get() == "3"  # unasked, for the server was told less
            await session.close()

    run(work)


def test_the_session_goes_on_over_another_connection(tmp_path):
    """What either side had not taken comes again, once to each handler."""
    got: list[str] = []
    dones: list[Callable[[], None]] = []
    heard: list[str] = []

    async def script(peer: Peer) -> None:
        await peer.login()
        if not await peer.bind():
            peer.send("<message id='a'/><message id='b'/><message id='c'/>")
            heard.append((await peer.next()).get("id", ""))
            peer.writer.transport.abort()
            return
        peer.send("<resumed xmlns='urn:xmpp:sm:3' previd='session-1' h='0'/>")
        peer.send("<message id='b'/><message id='c'/><message id='d'/>")
        await peer.expect(f"{{{SM}}}r")  # does it read us at all?
        heard.append((await peer.next()).get("id", ""))
        peer.send("<a xmlns='urn:xmpp:sm:3' h='1'/>")
        await quietly(peer)

    async def work():
        async with serving(script, tmp_path) as server:
            more, resumed, taken = asyncio.Event(), asyncio.Event(), asyncio.Event()

            def arrived(stanza: Element, done: Callable[[], None]) -> None:
                got.append(stanza.get("id", ""))
                dones.append(done)
                if got[-1] in ("c", "d"):
                    more.set()

            async def on_resumed() -> None:
                resumed.set()

            def prepare(session: Session) -> None:
                session.on_message(arrived)
                session.on_resumed(on_resumed)

            session = await Session.open(server.login, prepare=prepare)
            await more.wait()
            dones[0]()
            more.clear()
            session.send(message(1), taken=taken.set)
            await resumed.wait()
            await more.wait()
            await taken.wait()
            assert got == ["a", "b", "c", "d"]
            assert heard == ["1", "1"]
            await session.close()

    run(work)


@pytest.mark.parametrize("takes", [True, False])
def test_a_resumed_session_in_which_the_server_takes_nothing_is_given_up(
    tmp_path, monkeypatch, takes
):
    """Prosody 0.12 goes on to talk, and reads what we say into a stanza that never ends."""
    monkeypatch.setattr(reconnecting, "DEAD_AFTER", 1.0)
    asked: list[bool] = []

    async def script(peer: Peer) -> None:
        await peer.login()
        asked.append(bool(await peer.bind()))
        if len(asked) == 1:
            await peer.next()
            peer.writer.transport.abort()
        elif asked[-1]:
            peer.send("<resumed xmlns='urn:xmpp:sm:3' previd='session-1' h='0'/>")
            await peer.expect(f"{{{SM}}}r")
            if takes:
                peer.send("<a xmlns='urn:xmpp:sm:3' h='0'/>")
            while True:
                peer.send("<message id='a'/>")
                await asyncio.sleep(0.01)
        else:
            await quietly(peer)

    async def work():
        async with serving(script, tmp_path) as server:
            fresh, arrived = asyncio.Event(), asyncio.Semaphore(0)

            async def on_fresh() -> None:
                fresh.set()

            def on_message(_: Element, done: Callable[[], None]) -> None:
                done()
                arrived.release()

            def prepare(session: Session) -> None:
                session.on_fresh(on_fresh)
                session.on_message(on_message)

            session = await Session.open(server.login, prepare=prepare)
            await fresh.wait()
            fresh.clear()
            session.send(message(1))
            if takes:
                for _ in range(200):  # for much longer than it may be silent
                    await arrived.acquire()
            else:
                await fresh.wait()
            assert asked == ([False, True] if takes else [False, True, False])
            await session.close()

    run(work)


def test_a_mistake_of_ours_in_coming_back_does_not_end_the_session(tmp_path, monkeypatch):
    """Where a server led us into it by what it said of the old one, it is not resumed."""

    async def script(peer: Peer) -> None:
        await peer.login()
        _ = await peer.bind()
        if not connections:
            peer.writer.transport.abort()
        connections.append(peer)
        await quietly(peer)

    connections: list[Peer] = []
    connect = Connector.connect

    async def mistaken(connector: Connector, *, first: str = "") -> Stream:
        if connections and not mistakes:
            mistakes.append(first)
            raise ValueError("nobody foresaw this")
        return await connect(connector, first=first)

    mistakes: list[str] = []
    monkeypatch.setattr(Connector, "connect", mistaken)
    monkeypatch.setattr(reconnecting, "_FIRST", 0.01)

    async def work():
        async with asyncio.timeout(30), serving(script, tmp_path) as server:
            fresh: asyncio.Queue[None] = asyncio.Queue()

            async def on_fresh() -> None:
                fresh.put_nowait(None)

            session = await Session.open(
                server.login, prepare=lambda session: session.on_fresh(on_fresh)
            )
            await fresh.get()
            await fresh.get()
            assert len(mistakes) == 1
            assert session.state is SessionState.ONLINE
            await session.close()

    run(work)


def test_a_session_the_server_forgot_begins_anew(tmp_path):
    async def script(peer: Peer) -> None:
        await peer.login()
        if await peer.bind():
            peer.send("<failed xmlns='urn:xmpp:sm:3' h='1'/>")
            peer.manners = replace(peer.manners, features=peer.manners.features)
            iq = await peer.next()
            peer.send(
                f"<iq type='result' id='{iq.get('id')}'><bind xmlns='{BIND}'>"
                f"<jid>alice@{DOMAIN}/2</jid></bind></iq>"
            )
            await peer.next()
            peer.send("<enabled xmlns='urn:xmpp:sm:3' id='session-2' resume='1'/>")
            await quietly(peer)
        await peer.next()
        await peer.next()
        peer.writer.transport.abort()

    async def work():
        async with serving(script, tmp_path) as server:
            fresh: asyncio.Queue[None] = asyncio.Queue()
            taken: list[int] = []

            async def on_fresh() -> None:
                fresh.put_nowait(None)

            session = await Session.open(
                server.login, prepare=lambda session: session.on_fresh(on_fresh)
            )
            await fresh.get()
            session.send(message(1), taken=lambda: taken.append(1))
            session.send(message(2), taken=lambda: taken.append(2))
            asking = asyncio.create_task(session.request(Element("{x}y")))
            await fresh.get()
            assert session.jid.endswith("/2")
            assert taken == [1]  # the other was dropped: whoever sent it hears of the new session
            with pytest.raises(ConnectFailed, match="anew"):
                await asking
            await session.close()

    run(work)


@pytest.mark.parametrize("h", ["1", "4294967295", "-1", "x", "99999999999", ""])
def test_a_server_that_counts_what_was_never_sent_is_left(tmp_path, h):
    async def script(peer: Peer) -> None:
        await peer.login()
        if len(peer.heard) and await peer.bind():
            peer.send("<failed xmlns='urn:xmpp:sm:3'/>")
            return
        await asyncio.sleep(0)
        peer.send(f"<a xmlns='urn:xmpp:sm:3' h='{h}'/>")
        await quietly(peer)

    async def work():
        async with serving(script, tmp_path) as server:
            why: asyncio.Queue[Exception | None] = asyncio.Queue()
            session = await Session.open(
                server.login,
                prepare=lambda session: session.on_state(lambda _, reason: why.put_nowait(reason)),
            )
            assert await why.get() is None
            assert isinstance(await why.get(), ProtocolError)
            await session.close()

    run(work)


@pytest.mark.parametrize("condition", ["conflict", "not-authorized", "host-gone"])
def test_a_server_that_wants_us_no_more_is_not_bothered(tmp_path, condition):
    async def script(peer: Peer) -> None:
        await peer.login()
        await peer.bind()
        await peer.next()
        peer.send(
            f"<stream:error><{condition} xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>"
            "</stream:error></stream:stream>"
        )

    async def work():
        async with serving(script, tmp_path) as server:
            refused = asyncio.Event()

            def on_state(state: SessionState, why: Exception | None) -> None:
                if state is SessionState.REFUSED:
                    assert isinstance(why, XmppRefused)
                    assert why.condition == condition
                    refused.set()

            session = await Session.open(
                server.login, prepare=lambda session: session.on_state(on_state)
            )
            session.send(message(1))
            await refused.wait()
            assert len(server.peers) == 1
            await session.close()

    run(work)


@pytest.mark.parametrize("gave_up", [True, False])
def test_what_we_gave_up_and_came_to_be_late_is_no_other_client(tmp_path, monkeypatch, gave_up):
    """A slow server resumes for a connection that is gone, and ends the one that is there."""
    monkeypatch.setattr(reconnecting, "_FIRST", 0.0)
    asked: list[bool] = []

    async def script(peer: Peer) -> None:
        await peer.login()
        asked.append(bool(await peer.bind()))
        if len(asked) == 1:  # a session
            await peer.next()
            peer.writer.transport.abort()
        elif len(asked) == 2 and gave_up:
            peer.writer.transport.abort()  # before it said that it goes on
        else:
            peer.send("<resumed xmlns='urn:xmpp:sm:3' previd='session-1' h='0'/>")
            await peer.expect(f"{{{SM}}}r")
            peer.send(
                "<stream:error><conflict xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>"
                "</stream:error></stream:stream>"
            )

    async def work():
        async with serving(script, tmp_path) as server:
            refused = asyncio.Event()

            def on_state(state: SessionState, _: Exception | None) -> None:
                if state is SessionState.REFUSED:
                    refused.set()

            session = await Session.open(
                server.login, prepare=lambda session: session.on_state(on_state)
            )
            session.send(message(1))
            await refused.wait()
            # and whoever takes our place again is another one, with whom we do not fight
            assert asked == [False, *[True] * (3 if gave_up else 1)]
            await session.close()

    run(work)


@pytest.mark.parametrize(("limit", "few"), [("MOST_UNDONE", 10), ("MOST_UNDONE_BYTES", 13_000)])
def test_a_server_is_not_read_further_than_we_get_done(tmp_path, monkeypatch, limit, few):
    monkeypatch.setattr(f"securecall.xmpp.session.{limit}", few)
    dones: list[Callable[[], None]] = []

    async def script(peer: Peer) -> None:
        await peer.login()
        await peer.bind()
        for number in range(2000):
            peer.send(f"<message id='{number}'><body>{'x' * 1000}</body></message>")
        await quietly(peer)

    async def work():
        async with serving(script, tmp_path) as server:
            session = await Session.open(
                server.login,
                prepare=lambda session: session.on_message(lambda _, done: dones.append(done)),
            )
            taken = asyncio.Event()
            for _ in range(200):
                await asyncio.sleep(0)
            assert len(dones) < 1500
            done = 0
            while done < 2000:
                if done == len(dones):
                    await asyncio.sleep(0)
                    continue
                dones[done]()
                done += 1
            session.send(message(1), taken=taken.set)
            await taken.wait()
            await session.close()

    run(work)


def test_a_lost_session_is_told_of_before_anything_goes_out_in_the_next(tmp_path):
    async def script(peer):
        await peer.login()
        if not await peer.bind():
            peer.send("</stream:stream>")
            return
        peer.send(f"<failed xmlns='{SM}'/>")
        iq = await peer.next()
        jid = f"alice@{DOMAIN}/two"
        peer.send(
            f"<iq type='result' id='{iq.get('id')}'>"
            f"<bind xmlns='{BIND}'><jid>{jid}</jid></bind></iq>"
        )
        assert (await peer.next()).tag == f"{{{SM}}}enable"
        peer.send(f"<enabled xmlns='{SM}' id='session-2' resume='true'/>")
        await quietly(peer)

    async def work():
        async with serving(script, tmp_path) as server:
            seen = []
            session = await Session.open(server.login)
            fresh = asyncio.Event()

            async def begin():
                seen.append("fresh")
                fresh.set()

            session.on_dropped(lambda: seen.append(f"dropped {session.state.value}"))
            session.on_fresh(begin)
            session.on_state(lambda state, _: seen.append(state.value))
            async with asyncio.timeout(30):
                await fresh.wait()
            online = seen.index("online")
            assert [word for word in seen if word.startswith("dropped")] == ["dropped connecting"]
            assert seen.index("dropped connecting") < online < seen.index("fresh")
            await session.close()

    run(work)
