"""Two whole clients on a signalling bus: real sockets, real keys, no SIP."""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

import securecall as sc
from securecall.calls.report_verify import examine, is_countersigned
from securecall.events import SoundDeviceLost, SoundFailed
from securecall.keys.trust import TrustState
from securecall.media import g722
from securecall.testing.bus import SignalBus
from tests.interop.sound import share

PASSPHRASE = sc.Secret("correct horse battery staple")
ALICE = sc.parse_address("sip:alice@example.com")
BOB = sc.parse_address("sip:bob@example.com")


@asynccontextmanager
async def people(
    folder: Path, bus: SignalBus | None = None
) -> AsyncIterator[tuple[sc.Client, sc.Client]]:
    bus = bus or SignalBus()
    async with AsyncExitStack() as stack:
        found = []
        for address in (ALICE, BOB):
            client = await stack.enter_async_context(
                sc.open(folder / address.user, passphrase=PASSPHRASE, create=True)
            )
            client.use(address, bus.endpoint(address))
            found.append(client)
        yield found[0], found[1]


async def talk(alice: sc.Client, bob: sc.Client, **options: object) -> tuple[sc.Call, sc.Call]:
    """Alice calls Bob, both hear something, Alice hangs up; returns both calls."""
    async with alice.call(BOB, audio=sc.ToneSource(440), **options) as call:  # type: ignore[arg-type] # test-only freedom
        ring = await bob.next_call()
        async with ring.accept(audio=sc.ToneSource(620)) as answer:
            await call.connected()
            await answer.connected()
            for side in (call, answer):
                heard = side.audio
                for _ in range(5):
                    await anext(heard)
            await call.hang_up()
            await answer.ended()
    return call, answer


def test_a_first_call_is_opportunistic_and_the_second_is_end_to_end(tmp_path):
    async def main() -> None:
        async with people(tmp_path) as (alice, bob):
            first, _ = await talk(alice, bob)
            assert first.security.level is sc.SecurityLevel.OPPORTUNISTIC
            assert alice.contacts.find(BOB).state is TrustState.PINNED
            assert bob.contacts.find(ALICE).state is TrustState.UNKNOWN
            second, _ = await talk(alice, bob)
            assert second.security.level is sc.SecurityLevel.E2EE
            assert alice.contacts.find(BOB).floor

    asyncio.run(main())


@pytest.mark.usefixtures("time_to_sign")
def test_both_ends_show_the_same_words_and_sign_the_same_account(tmp_path):
    async def main() -> None:
        async with people(tmp_path) as (alice, bob):
            call, answer = await talk(alice, bob)
            assert call.sas == answer.sas
            for end in (call, answer):
                assert is_countersigned(examine(end.report.to_object()))
            assert call.report.record.record == answer.report.record.record  # type: ignore[union-attr] # required above
            assert "Signed by both ends" in call.report.who_could_have_listened()
            assert call.security.pq
            assert call.security.sframe

    asyncio.run(main())


def test_confirmed_words_verify_the_key_for_every_later_call(tmp_path):
    async def main() -> None:
        async with people(tmp_path) as (alice, bob):
            async with alice.call(BOB, require=sc.VERIFIED) as call:
                async with (await bob.next_call()).accept():
                    state = await call.connected()
                    assert state.level is sc.SecurityLevel.OPPORTUNISTIC
                    await call.confirm_sas()
                    assert call.security.level is sc.SecurityLevel.VERIFIED
            again, _ = await talk(alice, bob)
            assert again.security.level is sc.SecurityLevel.VERIFIED
            assert not again.security.sas_confirmed

    asyncio.run(main())


def test_another_key_behind_a_known_address_ends_the_call(tmp_path):
    async def main() -> None:
        bus = SignalBus()
        async with people(tmp_path, bus) as (alice, bob):
            await talk(alice, bob)
            async with sc.open(tmp_path / "mallory", passphrase=PASSPHRASE, create=True) as mallory:
                mallory.use(BOB, bus.endpoint(BOB))
                async with alice.call(BOB) as call:
                    ring = await mallory.next_call()
                    async with ring.accept() as impostor:
                        with pytest.raises(sc.IdentityChanged):
                            await call.connected()
                        with pytest.raises(sc.SecurityError):
                            await impostor.ended()
                assert call.statistics() is None or not call.statistics().sent_seconds
                assert alice.contacts.find(BOB).state is TrustState.PINNED

    asyncio.run(main())


def test_a_declined_call_raises_declined(tmp_path):
    async def main() -> None:
        async with people(tmp_path) as (alice, bob):
            async with alice.call(BOB) as call:
                await (await bob.next_call()).decline()
                with pytest.raises(sc.Declined):
                    await call.connected()

    asyncio.run(main())


def test_an_unknown_address_is_unreachable(tmp_path):
    async def main() -> None:
        async with people(tmp_path) as (alice, _):
            with pytest.raises(sc.Unreachable):
                async with alice.call("sip:carol@example.com"):
                    pass

    asyncio.run(main())


class Broken:
    """A microphone that is pulled out."""

    closed = False

    def read(self, samples: int, rate: int) -> bytes | None:
        raise sc.DeviceError("the microphone is gone")

    def discard(self) -> None:
        pass

    def close(self) -> None:
        self.closed = True


def test_a_source_that_fails_is_told_and_the_call_goes_on(tmp_path):
    async def main() -> None:
        async with people(tmp_path) as (alice, bob):
            happened = alice.events()
            source = Broken()
            async with alice.call(BOB, audio=source) as call:
                async with (await bob.next_call()).accept(audio=sc.ToneSource(620)):
                    await call.connected()
                    event = await anext(happened)
                    while not isinstance(event, SoundFailed):
                        event = await anext(happened)
                    assert isinstance(event.error, sc.DeviceError)
                    assert await anext(call.audio)
            await happened.aclose()

    asyncio.run(main())


class Microphone(sc.ToneSource):
    """One that is unplugged at its third frame, and says when it is let go of."""

    def __init__(self) -> None:
        super().__init__(440)
        self.frames = 0
        self.told: list[bool] = []

    def read(self, samples: int, rate: int) -> bytes | None:
        self.frames += 1
        if self.frames == 3:
            raise sc.DeviceLost("the headset is gone", device="headset")
        return super().read(samples, rate)

    def listen(self, *, on: bool) -> None:
        self.told.append(on)


def test_a_device_that_is_lost_is_told_and_what_takes_its_place_is_heard(tmp_path):
    async def main() -> None:
        async with people(tmp_path) as (alice, bob):
            happened = alice.events()
            source = Microphone()
            async with alice.call(BOB, audio=source) as call:
                async with (await bob.next_call()).accept(audio=sc.ToneSource(620)):
                    event = await anext(happened)
                    while not isinstance(event, SoundDeviceLost):
                        event = await anext(happened)
                    assert event.error.device == "headset"
                    assert call.source is source
                    while source.frames < 10:
                        assert await anext(call.audio)
            await happened.aclose()

    asyncio.run(main())


def test_a_microphone_is_let_go_of_while_nothing_of_it_may_leave(tmp_path):
    async def main() -> None:
        async with people(tmp_path) as (alice, bob):
            source, other = Microphone(), Microphone()
            async with alice.call(BOB, audio=source) as call:
                async with (await bob.next_call()).accept():
                    await call.connected()
                    assert source.told == []  # what the application told it stays so
                    call.mute()
                    call.mute()
                    assert source.told == [False]
                    call.source = other
                    assert (source.told, other.told) == ([False, True], [False])
                    await call.hold()
                    call.mute(muted=False)
                    assert other.told == [False]
                    await call.resume()
                    assert other.told == [False, True]

    asyncio.run(main())


def test_levels_say_what_leaves_and_what_is_heard_until_the_call_ends(tmp_path):
    async def main() -> None:
        async with people(tmp_path) as (alice, bob):
            async with alice.call(BOB, audio=sc.ToneSource(440, dbfs=-20)) as call:
                async with (await bob.next_call()).accept(audio=sc.ToneSource(620, dbfs=-30)):
                    readings = call.levels()
                    assert await anext(readings) == sc.Levels(sent=-96.0, received=-96.0)
                    async for levels in readings:
                        if levels.sent > -22 and levels.received > -32:  # not half silence
                            break
                    assert levels.sent == pytest.approx(-20, abs=2)
                    assert levels.received == pytest.approx(-30, abs=2)
                    call.mute()
                    async for levels in readings:  # a busy machine may lose some of what comes
                        if levels.sent < -90 and levels.received > -32:
                            break
                    assert levels.received == pytest.approx(-30, abs=2)
                    await call.hang_up()
                    assert [_ async for _ in readings] == []

    asyncio.run(main())


def test_who_waits_to_write_is_told_that_the_call_ended(tmp_path):
    async def main() -> None:
        async with people(tmp_path) as (alice, bob):
            async with alice.call(BOB) as call:
                async with (await bob.next_call()).accept():
                    await call.connected()
                    call.mute()
                    frame = sc.AudioFrame(samples=bytes(2 * 9600), sample_rate=48000)

                    async def flood() -> None:
                        while True:
                            await call.write(frame)

                    flooding = asyncio.create_task(flood())
                    await asyncio.sleep(0.1)
                    await call.hang_up()
                    with pytest.raises(sc.CallFailed):
                        await flooding

    asyncio.run(main())


def test_a_source_is_closed_with_its_call(tmp_path):
    async def main() -> None:
        async with people(tmp_path) as (alice, bob):
            source = Broken()
            async with alice.call(BOB, audio=source) as call:
                await (await bob.next_call()).decline()
                with pytest.raises(sc.Declined):
                    await call.connected()
            assert source.closed

    asyncio.run(main())


def test_words_that_differ_end_the_call_unsigned_and_change_no_trust(tmp_path):
    async def main() -> None:
        async with people(tmp_path) as (alice, bob):
            await talk(alice, bob)
            async with alice.call(BOB) as call:
                async with (await bob.next_call()).accept() as answer:
                    await call.connected()
                    await answer.connected()
                    await call.deny_sas()
                    with pytest.raises(sc.IdentityMismatch):
                        await call.ended()
            assert call.report.record is None
            assert call.security.level is sc.SecurityLevel.OPPORTUNISTIC
            assert alice.contacts.find(BOB).state is TrustState.PINNED

    asyncio.run(main())


def test_a_forgotten_contact_comes_back_by_comparing_words(tmp_path):
    async def main() -> None:
        async with people(tmp_path) as (alice, bob):
            await talk(alice, bob)
            await talk(alice, bob)
            alice.contacts.forget(BOB)
            async with alice.call(BOB) as call:
                async with (await bob.next_call()).accept():
                    assert (await call.connected()).level is sc.SecurityLevel.OPPORTUNISTIC
                    await call.confirm_sas()
                    assert call.security.level is sc.SecurityLevel.VERIFIED
            assert alice.contacts.find(BOB).state is TrustState.VERIFIED

    asyncio.run(main())


@pytest.mark.skipif(not g722.is_available(), reason="G722 has no wheel here")
def test_a_call_with_g722_alone_is_heard_at_16_khz(tmp_path):
    async def main() -> None:
        policy = sc.Policy(prefer_codecs=("G722",))
        async with people(tmp_path) as (alice, bob):
            async with alice.call(BOB, policy=policy, audio=sc.ToneSource(440)):
                async with (await bob.next_call()).accept() as answer:
                    await answer.connected()
                    heard = [await anext(answer.audio) for _ in range(20)]
                    assert {frame.sample_rate for frame in heard} == {16000}
                    pcm = b"".join(frame.samples for frame in heard[-10:])
                    assert share(array("h", pcm), 16000, 440.0) > 0.95

    asyncio.run(main())


def test_files_wait_while_words_are_compared(tmp_path):
    async def loudest(call: sc.Call, frames: int) -> int:
        heard, peak = call.audio, 0
        for _ in range(frames):
            peak = max(peak, *map(abs, array("h", (await anext(heard)).samples)))
        return peak

    async def main() -> None:
        async with people(tmp_path) as (alice, bob):
            async with alice.call(BOB, require=sc.VERIFIED, audio=sc.ToneSource(440)) as call:
                async with (await bob.next_call()).accept() as answer:
                    await call.connected()
                    await answer.connected()
                    assert await loudest(answer, 20) < 100
                    await call.confirm_sas()
                    assert await loudest(answer, 40) > 1000

    asyncio.run(main())


def test_a_call_that_teaches_nothing_new_writes_its_line_of_the_history_and_nothing_else(tmp_path):
    async def main() -> None:
        async with people(tmp_path) as (alice, bob):
            for _ in range(2):
                await talk(alice, bob)
            stores = [alice.contacts.store, bob.contacts.store]
            for lines in (1, 0):
                before = [store.generation for store in stores]
                await talk(alice, bob)
                assert [store.generation for store in stores] == [n + lines for n in before]
                for client in (alice, bob):
                    client.call_history.keep(calls=0, days=0)

    asyncio.run(main())


def test_a_client_opened_again_goes_on_with_its_statement(tmp_path):
    async def statements() -> list[bytes]:
        async with people(tmp_path) as found:
            return [client.contacts.statement for client in found]

    first = asyncio.run(statements())
    assert asyncio.run(statements()) == first
