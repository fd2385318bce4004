"""D10, K3: media keys that stand in the signalling stand nowhere else that a program may show."""

from __future__ import annotations

import asyncio
import gc
import logging
import re
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

import securecall as sc
from securecall.calls.machine import CallMachine
from securecall.calls.signaling import Offered
from securecall.errors import NotTransferred, ProtocolError
from securecall.events import TransferRequested
from securecall.logs import redacted
from securecall.media.sdes import CryptoLine
from securecall.sip.message import build_message
from securecall.sip.stream import MessageStream
from securecall.testing.bus import SignalBus
from tests.attacks.calls.test_keys_in_sight import alive, keys, sightings
from tests.guard import spellings
from tests.pairs.calls.test_client import ALICE, people
from tests.pairs.calls.test_gateways import NUMBER, gateway, hear, lab
from tests.pairs.calls.test_transfers import event_of
from tests.pairs.transport.test_ice_restart import until


@asynccontextmanager
async def telephone(folder):
    """Alice, and the phone that a number leads to, at one provider."""
    async with (
        asyncio.timeout(15),
        lab(folder) as server,
        gateway("alice", server, folder) as alice,
        gateway(NUMBER, server, folder) as phone,
    ):
        yield alice, phone


def test_nothing_alive_in_a_telephone_call_shows_its_keys_nor_does_any_log(tmp_path, caplog):
    """That logs show none is held by the guard of every test; here they are looked at as well."""
    caplog.set_level(logging.DEBUG)

    async def main():
        gc.collect()
        before, known = keys(), set(map(id, alive()))
        async with telephone(tmp_path) as (alice, phone):
            async with alice.call(f"tel:{NUMBER}", audio=sc.ToneSource(440)) as call:
                async with (await phone.next_call()).accept(audio=sc.ToneSource(620)) as answer:
                    await call.connected()
                    await hear(call)
                    await answer.hold()
                    await answer.resume()
                    things = [thing for thing in alive() if id(thing) not in known]
                    lines = [thing for thing in things if isinstance(thing, CryptoLine)]
                    written = {line.key.reveal() for line in lines}
                    assert len(written) >= 4  # two of each suite, at least the agreed ones
                    assert written <= keys() - before
                    assert not sightings(things, written)
                    said = caplog.text + repr(call.report) + str(call.report)
                    texts = [text for key in written for text in spellings(key)]
                    assert not any(text in said for text in texts)
                    assert "INVITE" in said

    asyncio.run(main())


def test_control_the_message_itself_carries_the_key(tmp_path):
    """Whoever carries it has it: that is what HOP_BY_HOP says."""
    seen = []

    async def main():
        async with telephone(tmp_path) as (alice, phone):
            async with alice.call(f"tel:{NUMBER}") as call:
                async with (await phone.next_call()).accept():
                    await call.connected()
                    request = call._leg._session.invite
                    seen.append(build_message(request))
                    with pytest.raises(sc.UsageError):
                        request.__reduce_ex__(4)

    asyncio.run(main())
    assert len(re.findall(rb"inline:[A-Za-z0-9+/=]{40}", seen[0])) == 3


def lines_of(description):
    return [line for media in description.media for line in media.crypto]


@pytest.mark.parametrize("how", ["declined", "taken"])
def test_the_keys_of_an_offer_are_gone_with_its_call_whichever_were_taken(tmp_path, how):
    async def main():
        async with telephone(tmp_path) as (alice, phone):
            async with alice.call(f"tel:{NUMBER}") as call:
                ring = await phone.next_call()
                lines = lines_of(ring._call._offer)
                assert len(lines) == 3 and all(line.key.reveal() for line in lines)
                if how == "declined":
                    await ring.decline()
                    with pytest.raises(sc.Declined):
                        await call.ended()
                else:
                    async with ring.accept():
                        await call.connected()
            assert [len(line.key) for line in lines] == [0, 0, 0]

    asyncio.run(main())


def test_the_keys_of_a_refused_change_are_overwritten_at_once(tmp_path, monkeypatch):
    """The buffers are held here: freed with a key in them, they show it to whoever is next."""
    held = []
    receive = CallMachine.receive

    def watched(machine, signal, *, now):
        if isinstance(signal, Offered):
            held.append([line.key._data for line in lines_of(signal.description)])
            assert all(map(any, held[-1]))
        return receive(machine, signal, now=now)

    monkeypatch.setattr(CallMachine, "receive", watched)

    async def main():
        async with telephone(tmp_path) as (alice, phone):
            async with alice.call(f"tel:{NUMBER}", audio=sc.ToneSource(440)):
                async with (await phone.next_call()).accept() as answer:
                    await answer.connected()
                    audio = answer._machine._exchange.ours.audio
                    double = tuple(
                        replace(line, tag=1, key=sc.Secret(bytes(range(1, 1 + line.suite.size))))
                        for line in (audio.crypto * 2)
                    )
                    line = replace(audio, crypto=double)
                    bad = replace(answer._machine._exchange.ours, media=(line,))
                    answer._leg.send(Offered(bad))
                    await until(lambda: held and not any(map(any, held[-1])))
                    assert len(held[-1]) == 2
                    await hear(answer)

    asyncio.run(main())


KEY = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwd"


@pytest.mark.parametrize("cut", range(0, 60, 4))
def test_a_message_framed_wrongly_is_refused_without_a_word_of_its_body(cut):
    """The rest of a description is read as the head of the next message."""
    body = f"v=0\r\nm=audio 1 RTP/SAVP 0\r\na=crypto:1 X inline:{KEY}\r\n\r\n"
    head = f"OPTIONS sip:a@b SIP/2.0\r\nCall-ID: 1\r\nContent-Length: {cut}\r\n\r\n"
    stream = MessageStream()
    said = []
    try:
        for message in stream.feed((head + body).encode()):
            said.append(repr(message))
    except ProtocolError as e:
        said.append(str(e))
    said.append(str(stream.failure))
    assert not any(KEY[cut : cut + 12] in text for text in said for cut in range(0, 28))


def test_the_second_lock_on_logs_cuts_keys_of_descriptions():
    text = f"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|2^31"
    assert KEY[:6] not in redacted(text)


@pytest.mark.parametrize("user", ["0900123456", "+43900123456", "reception"])
def test_nobody_hands_us_over_into_the_telephone_network(tmp_path, user):
    """A number of a gateway's domain need not say that it is one. The control names the account."""

    async def main():
        bus, trunk = SignalBus(), sc.parse_address("sip:alice@phones.example")
        async with people(tmp_path, bus) as (alice, bob):
            account = alice.use(trunk, bus.endpoint(trunk), provider_mode="gateway")
            async with bob.call(ALICE) as call:
                async with (await alice.next_call()).accept() as answer:
                    await call.connected()
                    await answer.connected()
                    events = alice.events()
                    handing = asyncio.create_task(call.transfer(f"{user}@phones.example"))
                    asked = await event_of(events, TransferRequested)
                    with pytest.raises(sc.PolicyRefused, match="gateway"):
                        _ = asked.accept()
                    assert isinstance(asked.accept(account=account), sc.Call)
                    asked.decline()
                    with pytest.raises(NotTransferred):
                        await handing

    asyncio.run(main())
