"""The relay that cuts: where it was told to, to the byte, and as it was told to."""

from __future__ import annotations

import asyncio
import itertools
from contextlib import asynccontextmanager, suppress

import pytest

from securecall.testing.cutting import Break, CuttingRelay, Fate, Toward, by_chance, in_turn


class Echo:
    """A server that answers every byte with itself and remembers what it heard."""

    def __init__(self):
        self.heard = []

    async def serve(self, reader, writer):
        heard = bytearray()
        self.heard.append(heard)
        with suppress(OSError):
            while data := await reader.read(65536):
                heard += data
                writer.write(data)
                await writer.drain()
        heard += b"."
        writer.close()


@asynccontextmanager
async def relayed(*fates, echo=None):
    echo = echo or Echo()
    server = await asyncio.start_server(echo.serve, "127.0.0.1", 0)
    try:
        async with CuttingRelay(server.sockets[0].getsockname()[1], in_turn(fates)) as relay:
            yield relay
    finally:
        server.close()


async def dial(relay):
    return await asyncio.open_connection("127.0.0.1", relay.port)


async def said_and_heard(relay, data):
    """Say something and listen until the stream ends, however it does."""
    reader, writer = await dial(relay)
    heard = b""
    with suppress(OSError):
        writer.write(data)
        while more := await reader.read(65536):
            heard += more
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
    return heard


async def until(condition):
    while not condition():  # noqa: ASYNC110 - it becomes true in callbacks of the loop
        await asyncio.sleep(0)


def run(main):
    async def guarded():
        async with asyncio.timeout(20):
            await main()

    asyncio.run(guarded())


def test_what_is_not_cut_passes_whole_both_ways():
    async def main():
        async with relayed() as relay:
            reader, writer = await dial(relay)
            data = bytes(range(256)) * 2000
            writer.write(data)
            writer.write_eof()
            assert await reader.read(-1) == data
            writer.close()
            counts = relay.counts
            assert (counts.to_server, counts.to_client) == (len(data), len(data))
            assert (counts.accepted, sum(counts.broken.values())) == (1, 0)

    run(main)


@pytest.mark.parametrize("after", [1, 7, 99])
def test_it_ends_to_the_byte_for_the_client(after):
    async def main():
        async with relayed(Fate(Break.CLOSE, after, Toward.CLIENT), None) as relay:
            assert await said_and_heard(relay, b"x" * 100) == b"x" * after
            assert relay.counts.to_client == after
            assert relay.counts.broken[Break.CLOSE] == 1

    run(main)


@pytest.mark.parametrize("after", [1, 7, 99])
def test_it_ends_to_the_byte_for_the_server(after):
    echo = Echo()

    async def main():
        async with relayed(Fate(Break.CLOSE, after, Toward.SERVER), echo=echo) as relay:
            await said_and_heard(relay, b"x" * 100)
            await until(lambda: echo.heard and echo.heard[0].endswith(b"."))
            assert echo.heard[0] == b"x" * after + b"."

    run(main)


def test_before_the_first_byte_the_server_hears_of_nothing():
    echo = Echo()

    async def main():
        async with relayed(Fate(Break.RESET, 0), echo=echo) as relay:
            assert await said_and_heard(relay, b"x") == b""
            assert echo.heard == []
            assert relay.counts.to_server == 0

    run(main)


def test_a_reset_is_seen_as_one():
    async def main():
        async with relayed(Fate(Break.RESET, 5, Toward.CLIENT)) as relay:
            reader, writer = await dial(relay)
            writer.write(b"123456789")
            with pytest.raises(ConnectionResetError):
                while await reader.read(100):
                    pass
            writer.close()

    run(main)


def test_half_closed_toward_the_client_the_server_still_hears_it():
    echo = Echo()

    async def main():
        async with relayed(Fate(Break.HALF_CLOSE, 3, Toward.CLIENT), echo=echo) as relay:
            reader, writer = await dial(relay)
            writer.write(b"12345")
            assert await reader.read(-1) == b"123"
            writer.write(b"678")
            await until(lambda: bytes(echo.heard[0]) == b"12345678")
            await until(lambda: relay.counts.dropped == 5)
            assert relay.counts.broken[Break.HALF_CLOSE] == 1
            writer.close()

    run(main)


@pytest.mark.parametrize("after", [0, 3])
def test_half_closed_toward_the_server_the_client_still_hears_it(after):
    async def main():
        async with relayed(Fate(Break.HALF_CLOSE, after, Toward.SERVER)) as relay:
            assert await said_and_heard(relay, b"12345") == b"12345"[:after]
            assert relay.counts.dropped == 5 - after

    run(main)


@pytest.mark.parametrize("after", [0, 3])
def test_a_stalled_connection_says_nothing_until_it_is_released(after):
    async def main():
        async with relayed(Fate(Break.STALL, after, Toward.SERVER)) as relay:
            reader, writer = await dial(relay)
            writer.write(b"12345")
            await until(lambda: relay.counts.broken[Break.STALL])
            assert relay.counts.to_server == after
            relay.release()
            assert await reader.readexactly(5) == b"12345"
            writer.close()

    run(main)


def test_refusing_is_what_a_server_that_is_down_does_and_passes():
    async def main():
        async with relayed() as relay:
            port = relay.port
            async with relay.refusing():
                with pytest.raises(ConnectionRefusedError):
                    await dial(relay)
            assert relay.port == port
            reader, writer = await dial(relay)
            writer.write(b"again")
            assert await reader.readexactly(5) == b"again"
            writer.close()

    run(main)


def test_all_there_are_can_be_cut_at_once():
    async def main():
        async with relayed() as relay:
            connections = [await dial(relay) for _ in range(3)]
            for reader, writer in connections:
                writer.write(b"x")
                await reader.readexactly(1)
            assert relay.cut() == 3
            for reader, writer in connections:
                with pytest.raises(ConnectionResetError):
                    await reader.read(1)
                writer.close()
            assert relay.cut() == 0

    run(main)


def test_a_server_that_is_down_is_down_through_the_relay():
    async def main():
        async with relayed() as relay:
            target = relay.port
        async with CuttingRelay(target) as relay:
            assert await said_and_heard(relay, b"x") == b""
            assert relay.counts.unreachable == 1

    run(main)


def test_the_same_seed_cuts_in_the_same_places():
    def places(seed):
        draw = by_chance(seed, least=5, most=5000)
        return [draw() for _ in range(50)]

    assert places(1) == places(1) != places(2)
    assert {fate.how for fate in places(1)} == {Break.RESET, Break.CLOSE}
    assert all(5 <= fate.after <= 5000 for fate in places(1))


def test_cut_by_chance_again_and_again_nothing_is_made_up():
    sent = bytes(itertools.islice(itertools.cycle(range(251)), 4000))
    echo = Echo()

    async def main():
        server = await asyncio.start_server(echo.serve, "127.0.0.1", 0)
        target = server.sockets[0].getsockname()[1]
        async with CuttingRelay(target, by_chance(7, most=4000)) as relay:
            for _ in range(30):
                assert sent.startswith(await said_and_heard(relay, sent))
            assert sum(relay.counts.broken.values()) == relay.counts.accepted == 30
            assert relay.counts.to_client + relay.counts.to_server <= 30 * 4000
        server.close()

    run(main)
    assert all(sent.startswith(bytes(heard.rstrip(b"."))) for heard in echo.heard)
