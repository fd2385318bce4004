"""The servers of a SIP domain, as DNS names them; and what its silence and its lies lead to."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import Awaitable, Callable

import dns.message
import dns.resolver
import pytest

from securecall.errors import CertificateError, ConnectFailed, NameNotFound
from securecall.transport import resolver as module
from securecall.transport.resolver import Resolver, failing_over
from securecall.transport.srv import MOST_SERVERS, Lookup, Target
from tests.dns_server import Answer, NameServer, serving

FOUR = {("one.example", "A"): ["192.0.2.1"], ("two.example", "A"): ["192.0.2.2"]}
ITSELF = {("a.example", "A"): ["192.0.2.9"], ("a.example", "AAAA"): ["2001:db8::9"]}
NAPTR_ALL = [
    '10 10 "s" "SIP+D2U" "" _sip._udp.a.example.',
    '20 10 "s" "SIP+D2T" "" _sip._tcp.a.example.',
    '30 10 "s" "SIPS+D2T" "" _sips._tcp.elsewhere.example.',
    '5 10 "s" "SIPS+D2W" "" _sips._ws.a.example.',
]
PLAINTEXT = {
    ("_sip._udp.a.example", "SRV"): ["0 0 5060 one.example."],
    ("_sip._tcp.a.example", "SRV"): ["0 0 5060 one.example."],
}


def looked_up(
    table: dict[tuple[str, str], Answer],
    host: str = "a.example",
    *,
    then: Callable[[Resolver, NameServer], Awaitable[None]] | None = None,
    timeout: float = 10,
    **options,
) -> list[tuple[str, int, str, str]]:
    async def main():
        async with serving(table) as server:
            resolver = Resolver(nameservers=[server.address], timeout=timeout)
            targets = await resolver.sip_targets(host, **options)
            if then is not None:
                await then(resolver, server)
            return [(t.host, t.port, t.transport, t.name) for t in targets]

    return asyncio.run(main())


CASES = {
    "priorities": (
        FOUR
        | {("_sips._tcp.a.example", "SRV"): ["20 0 5062 two.example.", "10 0 5061 one.example."]},
        {},
        [("192.0.2.1", 5061, "tls", "one.example"), ("192.0.2.2", 5062, "tls", "two.example")],
    ),
    "naptr leads elsewhere, and plaintext is never chosen": (
        FOUR
        | PLAINTEXT
        | {
            ("a.example", "NAPTR"): NAPTR_ALL,
            ("_sips._tcp.elsewhere.example", "SRV"): ["0 0 443 two.example."],
        },
        {},
        [("192.0.2.2", 443, "tls", "two.example")],
    ),
    "websocket where it is spoken": (
        FOUR
        | {
            ("a.example", "NAPTR"): NAPTR_ALL,
            ("_sips._ws.a.example", "SRV"): ["0 0 443 one.example."],
            ("_sips._tcp.elsewhere.example", "SRV"): ["0 0 5061 two.example."],
        },
        {"websocket": True},
        [("192.0.2.1", 443, "wss", "one.example"), ("192.0.2.2", 5061, "tls", "two.example")],
    ),
    "naptr for plaintext only": (
        ITSELF | PLAINTEXT | {("a.example", "NAPTR"): NAPTR_ALL[:2]},
        {},
        [("2001:db8::9", 5061, "tls", "a.example"), ("192.0.2.9", 5061, "tls", "a.example")],
    ),
    "naptr leads nowhere": (
        FOUR
        | {
            ("a.example", "NAPTR"): NAPTR_ALL,
            ("_sips._tcp.a.example", "SRV"): ["0 0 5061 one.example."],
        },
        {},
        [("192.0.2.1", 5061, "tls", "one.example")],
    ),
    "no srv": (
        ITSELF,
        {},
        [("2001:db8::9", 5061, "tls", "a.example"), ("192.0.2.9", 5061, "tls", "a.example")],
    ),
    "an explicit port": (
        ITSELF | FOUR | {("_sips._tcp.a.example", "SRV"): ["0 0 5061 one.example."]},
        {"port": 5071},
        [("2001:db8::9", 5071, "tls", "a.example"), ("192.0.2.9", 5071, "tls", "a.example")],
    ),
    "aliases": (
        FOUR
        | {
            ("_sips._tcp.a.example", "SRV"): ["CNAME _sips._tcp.b.example."],
            ("_sips._tcp.b.example", "SRV"): ["0 0 5061 alias.example."],
            ("alias.example", "A"): ["CNAME one.example."],
        },
        {},
        [("192.0.2.1", 5061, "tls", "alias.example")],
    ),
    "a server without an address": (
        FOUR
        | {("_sips._tcp.a.example", "SRV"): ["1 0 5061 gone.example.", "2 0 5061 two.example."]},
        {},
        [("192.0.2.2", 5061, "tls", "two.example")],
    ),
    "nonsense beside sense": (
        FOUR
        | {
            ("_sips._tcp.a.example", "SRV"): [
                "0 0 0 one.example.",
                "0 0 5061 .",
                "0 0 5061 o\\032ne.example.",
                "9 0 5061 two.example.",
            ]
        },
        {},
        [("192.0.2.2", 5061, "tls", "two.example")],
    ),
    "a broken NAPTR": (
        FOUR
        | {
            ("a.example", "NAPTR"): "SERVFAIL",
            ("_sips._tcp.a.example", "SRV"): ["0 0 5061 one.example."],
        },
        {},
        [("192.0.2.1", 5061, "tls", "one.example")],
    ),
    "a broken SRV": (
        ITSELF | {("_sips._tcp.a.example", "SRV"): "SERVFAIL"},
        {},
        [("2001:db8::9", 5061, "tls", "a.example"), ("192.0.2.9", 5061, "tls", "a.example")],
    ),
    "a broken AAAA": (
        {("a.example", "A"): ["192.0.2.9"], ("a.example", "AAAA"): "SERVFAIL"},
        {},
        [("192.0.2.9", 5061, "tls", "a.example")],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_records_become_targets(case):
    table, options, expected = CASES[case]
    assert looked_up(table, **options) == expected


@pytest.mark.parametrize("host", ["A.Example", "a.example.", "ä.example"])
def test_a_name_is_asked_for_in_its_one_form(host):
    table = ITSELF | {("xn--4ca.example", "A"): ["192.0.2.9"]}
    assert {t[0] for t in looked_up(table, host)} <= {"192.0.2.9", "2001:db8::9"}


@pytest.mark.parametrize(
    ("host", "address"), [("192.0.2.7", "192.0.2.7"), ("[2001:DB8::7]", "2001:db8::7")]
)
def test_an_address_is_taken_as_it_is_and_nobody_is_asked(host, address):
    async def asked_nothing(resolver, server):
        assert server.asked == []

    table: dict = {}
    assert looked_up(table, host, then=asked_nothing) == [(address, 5061, "tls", "")]
    assert looked_up(table, host, then=asked_nothing, port=5) == [(address, 5, "tls", "")]


def test_only_sips_and_plain_addresses_are_asked_for():
    async def check(resolver, server):
        assert {name for _, name, _ in server.asked} == {
            *("a.example", "_sips._tcp.a.example", "_sips._tcp.elsewhere.example", "two.example")
        }

    table = CASES["naptr leads elsewhere, and plaintext is never chosen"][0]
    looked_up(table, then=check)


# ------------------------------------------------------------------ failures


def other_name(data: bytes) -> bytes:
    """A right answer to another question."""
    response = dns.message.make_response(dns.message.from_wire(data))
    text = f"evil.example. 60 IN {response.question[0].to_text().split()[-1]} 192.0.2.66"
    response.answer = dns.message.from_text(f"id 1\n;ANSWER\n{text}\n").answer
    return response.to_wire()


def cut(data: bytes) -> bytes:
    """A count of records that never come."""
    return dns.message.make_response(dns.message.from_wire(data)).to_wire()[:6] + b"\xff\xff" * 9


def looped(name: str, back: str) -> dict[tuple[str, str], Answer]:
    return {
        (name, "A"): [f"CNAME {back}."],
        (back, "A"): [f"CNAME {name}."],
        (name, "AAAA"): [f"CNAME {back}."],
        (back, "AAAA"): [f"CNAME {name}."],
    }


def broken(answer: Answer) -> dict[tuple[str, str], Answer]:
    names = [("a.example", kind) for kind in ("NAPTR", "A", "AAAA")]
    return dict.fromkeys([*names, ("_sips._tcp.a.example", "SRV")], answer)


FAILURES = {
    "no such name": ({}, NameNotFound, "no host named a.example; check its spelling"),
    "no address": ({("a.example", "MX"): []}, NameNotFound, "no IP address"),
    "no address of any server": (
        {("_sips._tcp.a.example", "SRV"): ["0 0 5061 gone.example."]},
        NameNotFound,
        "no host named gone.example",
    ),
    "not offered": (
        ITSELF | {("_sips._tcp.a.example", "SRV"): ["0 0 0 ."]},
        NameNotFound,
        "offers no SIP over TLS",
    ),
    "not offered by naptr": (
        ITSELF
        | {
            ("a.example", "NAPTR"): NAPTR_ALL,
            ("_sips._tcp.elsewhere.example", "SRV"): ["0 0 0 ."],
        },
        NameNotFound,
        "offers no SIP over TLS",
    ),
    "the server cannot say": (broken("SERVFAIL"), ConnectFailed, "try again later"),
    "the server will not say": (broken("REFUSED"), ConnectFailed, "try again later"),
    "an alias of itself": (looped("a.example", "b.example"), ConnectFailed, "cannot say where"),
    "silence": (broken(None), ConnectFailed, "no name server answers"),
    "an answer to another question": (broken(other_name), ConnectFailed, "a.example"),
    "an answer that is cut": (broken(cut), ConnectFailed, "no name server answers"),
}


@pytest.mark.parametrize("case", FAILURES)
def test_a_failure_is_typed_and_says_what_to_do(case):
    table, error, message = FAILURES[case]
    with pytest.raises(error, match=message) as caught:
        looked_up(table, timeout=0.2 if error is ConnectFailed else 10)
    assert type(caught.value) is error


@pytest.mark.parametrize(
    "host",
    ["", ".", "a..example", "a b.example", "a\0.example", "x" * 64 + ".example", "a/b", "a.b" * 99],
)
def test_what_is_no_host_name_is_said_to_be_none(host):
    with pytest.raises(NameNotFound, match="is no host name"):
        looked_up({}, host)


def test_a_dead_name_server_is_passed_over():
    async def main():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as deaf:
            deaf.bind(("127.0.0.1", 0))
            async with serving(ITSELF) as server:
                both = [deaf.getsockname(), server.address]
                targets = await Resolver(nameservers=both, timeout=3).sip_targets("a.example")
        assert [t.host for t in targets] == ["2001:db8::9", "192.0.2.9"]

    asyncio.run(main())


def test_a_name_server_that_is_not_there_is_a_failed_connection():
    async def main():
        async with serving({}) as server:
            pass
        with pytest.raises(ConnectFailed, match="no name server answers"):
            await Resolver(nameservers=[server.address], timeout=0.2).sip_targets("a.example")

    asyncio.run(main())


def test_a_machine_without_a_name_server_says_so(monkeypatch):
    def none(*args, **options):
        raise dns.resolver.NoResolverConfiguration

    monkeypatch.setattr(dns.asyncresolver, "Resolver", none)
    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(ConnectFailed, match="has no name server"):
        asyncio.run(Resolver().sip_targets("a.example"))


# ------------------------------------------------------------------ floods


def test_a_flood_of_records_comes_by_tcp_and_is_cut():
    flood = [f"{n} 0 5061 h{n % 16}.example." for n in range(1500)]
    table = {("_sips._tcp.a.example", "SRV"): flood}
    table |= {(f"h{n}.example", "A"): [f"192.0.2.{i}" for i in range(1, 250)] for n in range(16)}

    async def check(resolver, server):
        assert ("tcp", "_sips._tcp.a.example", "SRV") in server.asked
        looked_at = {name for _, name, kind in server.asked if kind == "A"}
        assert len(looked_at) == MOST_SERVERS

    targets = looked_up(table, then=check)
    assert len(targets) == 32
    assert max(Counter(t[3] for t in targets).values()) == 8


# ------------------------------------------------------------------ memory


def test_an_answer_is_kept_for_its_time_and_no_longer(monkeypatch):
    async def main():
        now = 1000.0
        monkeypatch.setattr(module.time, "monotonic", lambda: now)
        async with serving(ITSELF, ttl=60) as server:
            resolver = Resolver(nameservers=[server.address], timeout=10)
            counts = []
            for elapsed in (0, 50, 20):
                now += elapsed
                await resolver.sip_targets("a.example", port=1)
                counts.append(len(server.asked))
            assert counts == [2, 2, 4]
            server.ttl = 2**31 - 1
            now += 100
            await resolver.sip_targets("a.example", port=1)
            now += module.MOST_KNOWN_SECONDS + 1
            await resolver.sip_targets("a.example", port=1)
            assert len(server.asked) == 8

    asyncio.run(main())


def test_few_answers_are_kept_and_the_oldest_goes_first(monkeypatch):
    monkeypatch.setattr(module, "MOST_KNOWN", 4)

    async def main():
        async with serving({(f"{n}.example", "A"): ["192.0.2.1"] for n in "abc"}) as server:
            resolver = Resolver(nameservers=[server.address], timeout=10)
            for name in "abac":
                await resolver.sip_targets(f"{name}.example", port=1)
            server.asked.clear()
            await resolver.sip_targets("a.example", port=1)
            assert server.asked == []
            await resolver.sip_targets("b.example", port=1)
            assert len(server.asked) == 2

    asyncio.run(main())


# ------------------------------------------------------------------ the system


def unknown(*args, **options):
    raise socket.gaierror(socket.EAI_NONAME, "unknown")


def test_the_system_knows_localhost_and_dns_is_not_asked():
    async def check(resolver, server):
        assert server.asked == []

    for found in (looked_up({}, "localhost", then=check), looked_up({}, "LOCALHOST.", port=7)):
        assert {t[0] for t in found} <= {"127.0.0.1", "::1"}
        assert found


def test_addresses_come_from_the_system_in_its_order(monkeypatch):
    def known(host, port, *args, **options):
        assert host == "a.example"
        six = (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("2001:db8::9", 0, 0, 0))
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.9", 0)), six]

    monkeypatch.setattr(socket, "getaddrinfo", known)
    targets = asyncio.run(Resolver().sip_targets("a.example", port=9))
    assert [(t.host, t.port) for t in targets] == [("192.0.2.9", 9), ("2001:db8::9", 9)]


@pytest.mark.parametrize(
    ("number", "error"), [(socket.EAI_NONAME, NameNotFound), (socket.EAI_AGAIN, ConnectFailed)]
)
def test_what_the_system_cannot_find_is_typed(monkeypatch, number, error):
    def fail(*args, **options):
        raise socket.gaierror(number, "words")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with pytest.raises(error, match=r"a\.example") as caught:
        asyncio.run(Resolver().sip_targets("a.example", port=9))
    assert type(caught.value) is error


# ------------------------------------------------------------------ one after the other

TARGETS = tuple(
    Target(host=f"192.0.2.{n}", port=5061, transport="tls", name="a.example") for n in (1, 2, 3)
)


def tried(answers: dict[str, Exception | str | None], *, seconds: float = 30) -> tuple[str, list]:
    """What comes of it, and which addresses were tried; None never answers."""
    order: list[str] = []

    async def connect(target: Target) -> str:
        order.append(target.host)
        answer = answers[target.host]
        if answer is None:
            await asyncio.Event().wait()
        if isinstance(answer, Exception):
            raise answer
        return answer

    return asyncio.run(failing_over(TARGETS, connect, seconds=seconds)), order


def test_the_next_server_is_tried_after_silence_and_refusal():
    refused = ConnectFailed("connection refused")
    assert tried({"192.0.2.1": refused, "192.0.2.2": "yes"}) == ("yes", ["192.0.2.1", "192.0.2.2"])
    answers = {"192.0.2.1": None, "192.0.2.2": refused, "192.0.2.3": "yes"}
    assert tried(answers, seconds=0.05)[0] == "yes"


def test_a_wrong_certificate_is_not_passed_over():
    wrong = CertificateError("not a.example")
    with pytest.raises(CertificateError) as caught:
        tried({"192.0.2.1": wrong, "192.0.2.2": "yes"})
    assert caught.value is wrong


def test_the_last_failure_is_told_when_all_fail():
    answers = {f"192.0.2.{n}": ConnectFailed(f"failure {n}") for n in (1, 2, 3)}
    with pytest.raises(
        ConnectFailed, match="none of 3 servers can be reached; the last: failure 3"
    ):
        tried(answers)
    with pytest.raises(ConnectFailed, match=r"a\.example \(192\.0\.2\.3:5061\) did not answer"):
        tried(dict.fromkeys(answers), seconds=0.02)


def test_a_single_failure_is_told_as_it_is_and_no_server_is_one():
    failure = ConnectFailed("refused")

    async def connect(target: Target) -> None:
        raise failure

    with pytest.raises(ConnectFailed) as caught:
        asyncio.run(failing_over(TARGETS[:1], connect))
    assert caught.value is failure
    with pytest.raises(ConnectFailed, match="no server"):
        asyncio.run(failing_over((), connect))


def test_who_watches_learns_every_question_and_its_answer_kept_ones_too():
    async def main():
        table = {("_sips._tcp.a.example", "SRV"): ["1 0 5061 one.example."]} | FOUR
        async with serving(table) as server:
            resolver = Resolver(nameservers=[server.address])
            seen: list[Lookup] = []
            resolver.watcher = seen.append
            for _ in range(2):
                _ = await resolver.sip_targets("a.example")
            with pytest.raises(NameNotFound):
                _ = await resolver.sip_targets("nobody.example")
            return seen

    seen = asyncio.run(main())
    srv = Lookup("_sips._tcp.a.example", "SRV", ("1 0 5061 one.example.",))
    assert seen.count(srv) == 2
    assert seen.count(Lookup("one.example", "A", ("192.0.2.1",))) == 2
    failed = [(x.name, x.kind) for x in seen if "no host named" in x.failure]
    assert ("_sips._tcp.nobody.example", "SRV") in failed
    assert ("nobody.example", "A") in failed


def test_who_watches_learns_what_the_system_says_of_a_host():
    async def main():
        resolver, seen = Resolver(), []
        resolver.watcher = seen.append
        _ = await resolver.sip_targets("localhost", port=1)
        return seen

    (seen,) = asyncio.run(main())
    assert (seen.name, seen.kind, seen.failure) == ("localhost", "address", "")
    assert {"127.0.0.1", "::1"} & set(seen.answers)
