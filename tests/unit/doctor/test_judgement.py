"""What each observation means, whose turn it is, and what they are told to do."""

from __future__ import annotations

import dataclasses

import pytest

from securecall.doctor.facts import (
    Answer,
    Encryption,
    Facts,
    Knock,
    Machine,
    Names,
    Offer,
    Place,
    Registered,
    Wanted,
)
from securecall.doctor.finding import Diagnosis, Finding, Kind, Step, Verdict
from securecall.doctor.judgement import diagnose
from securecall.sip.registration import Granted
from securecall.transport.certificate import ServerCertificate
from securecall.transport.srv import Lookup, Target

DAY = 86_400.0
NOW = 1_800_000_000.0  # 2027-01-15
MACHINE = Machine(now=NOW, installed=NOW - 30 * DAY)
WANTED = Wanted(
    address="alice@clinic.example",
    domain="clinic.example",
    user="alice",
    host="clinic.example",
    name="clinic.example",
)
CERTIFICATE = ServerCertificate(
    names=(("DNS", "clinic.example"),),
    subject="clinic.example",
    issuer="Honest, R3",
    since=NOW - 30 * DAY,
    until=NOW + 60 * DAY + 1,
)
TARGET = Target(host="192.0.2.1", port=5061, transport="tls", name="sip.clinic.example")
SECOND = Target(host="192.0.2.2", port=5061, transport="tls", name="two.clinic.example")
SIXTH = Target(host="2001:db8::1", port=5061, transport="tls", name="sip.clinic.example")
GOOD = Encryption(version="TLSv1.3", suite="TLS_AES_256_GCM_SHA384", certificate=CERTIFICATE)
NO_TLS = Encryption(failure="does not speak TLS")
SRV = Lookup("_sips._tcp.clinic.example", "SRV", ("10 0 5061 sip.clinic.example.",))
NAMES = Names(lookups=(SRV,), targets=(TARGET,))
OFFERS = (
    Offer(realm="clinic.example", algorithm="SHA-256", qop="auth"),
    Offer(realm="clinic.example", algorithm="MD5", qop="auth"),
)
GRANTED = Granted(seconds=600, outbound=True, gruu="sip:x@clinic.example;gr", routes=("<sip:e>",))
REGISTERED = Registered(
    challenged=True, offers=OFFERS, answered=True, status=200, granted=GRANTED, path=True,
    removed=True,
)  # fmt: skip
ANSWER = Answer(status=200, phrase="OK", product="Kamailio", allow=("INVITE",), date=NOW + 100)


def place(target: Target = TARGET, encryption: Encryption | None = GOOD, knock=Knock.ANSWERED):
    return Place(target=target, knock=knock, encryption=encryption)


def dead(target: Target = TARGET, knock: Knock = Knock.REFUSED) -> Place:
    return place(target, None, knock)


def facts(**changes: object) -> Facts:
    known: dict[str, object] = {
        "wanted": WANTED,
        "machine": MACHINE,
        "names": NAMES,
        "places": (place(),),
        "answer": ANSWER,
        "registered": REGISTERED,
        "password": True,
    }
    return Facts(**(known | changes))  # type: ignore[arg-type] # by name


def refused(code: int, fault: str = "it is bad", **certificate: object) -> dict[str, object]:
    shown = dataclasses.replace(CERTIFICATE, **certificate)  # type: ignore[arg-type] # by name
    encryption = Encryption(code=code, fault=fault, remedy="Replace it", certificate=shown)
    return unreached(places=(place(encryption=encryption),))


def unreached(**changes: object) -> dict[str, object]:
    return {"answer": None, "registered": None, **changes}


def unnamed(*lookups: Lookup, unknown: bool = True, failure: str = "f") -> dict[str, object]:
    names = Names(lookups=lookups, failure=failure, unknown=unknown)
    return unreached(names=names, places=())


def registered(**changes: object) -> dict[str, object]:
    without = {"granted": None, "removed": None} if changes.get("status", 200) != 200 else {}
    return {"registered": dataclasses.replace(REGISTERED, **(without | changes))}


def granted(**changes: object) -> dict[str, object]:
    return registered(granted=dataclasses.replace(GRANTED, **changes))


def wanted(**changes: object) -> dict[str, object]:
    return {"wanted": dataclasses.replace(WANTED, **changes)}


N, S, P, L = Kind.NETWORK, Kind.SECURITY, Kind.PROTOCOL, Kind.LOCAL
OK, NOTE, WARNING, FAULT = Verdict.OK, Verdict.NOTE, Verdict.WARNING, Verdict.FAULT
MD5 = (Offer(realm="clinic.example", algorithm="MD5", qop=""),)
ROUTER = dataclasses.replace(SRV, answers=(), failure="no name server answers")
DENIED = dataclasses.replace(SRV, answers=("0 0 0 .",))
NAPTR = Lookup("clinic.example", "NAPTR", ('1 1 "s" "SIP+D2U" "" _sip._udp.clinic.example.',))
BEHIND = dataclasses.replace(MACHINE, now=NOW - 400 * DAY)

# what is different -> the step, verdict, kind, and words of what, why and mend together
CASES = {
    # this machine
    "no libopus": (
        {"machine": dataclasses.replace(MACHINE, opus=False)},
        (Step.MACHINE, FAULT, L, "libopus", "pip install"),
    ),
    "an extra": (
        {"machine": dataclasses.replace(MACHINE, missing=("devices",))},
        (Step.MACHINE, NOTE, None, "devices", 'pip install "securecall[devices]"'),
    ),
    "the extra that is needed": (
        {"machine": dataclasses.replace(MACHINE, missing=("websocket",)), **wanted(websocket=True)},
        (Step.MACHINE, FAULT, L, "WebSocket", 'pip install "securecall[websocket]"'),
    ),
    "a clock before the program": (
        {"machine": BEHIND},
        (Step.MACHINE, WARNING, None, "2025-12-11", "Set the clock"),
    ),
    # DNS
    "no such name": (
        unnamed(),
        (Step.DNS, FAULT, N, "clinic.example is not in DNS", "spelling", "--server"),
    ),
    "a wrong --server": (
        unnamed() | wanted(host="sipp.clinic.example", named=True),
        (Step.DNS, FAULT, N, "sipp.clinic.example is not in DNS", "as you gave it with --server"),
    ),
    "the domain denies the service": (
        unnamed(DENIED),
        (Step.DNS, FAULT, N, "no server for SIP over TLS", "Ask the operator"),
    ),
    "SRV leads to hosts without an address": (
        unnamed(SRV),
        (Step.DNS, FAULT, N, "have no address", "correct the SRV record"),
    ),
    "no name server": (
        unnamed(unknown=False, failure="no name server answers"),
        (Step.DNS, FAULT, N, "does not say where", "connected"),
    ),
    "no SRV": (
        {"names": Names(lookups=(), targets=(TARGET,))},
        (Step.DNS, NOTE, None, "no SRV record _sips._tcp.clinic.example", "port 5061"),
    ),
    "no answer for SRV": (
        {"names": Names(lookups=(ROUTER,), targets=(TARGET,))},
        (Step.DNS, WARNING, None, "no name server answers for the SRV", "routers"),
    ),
    "only plaintext": (
        {"names": Names(lookups=(NAPTR,), targets=(TARGET,))},
        (Step.DNS, NOTE, None, "nothing with TLS", "never used"),
    ),
    "a named port": (
        wanted(port=5062),
        (Step.DNS, OK, None, "you named port 5062"),
    ),
    "an address": (
        wanted(host="192.0.2.1", port=5061),
        (Step.DNS, OK, None, "nothing to look up"),
    ),
    # connection
    "refused": (
        unreached(places=(dead(),)),
        (Step.CONNECT, FAULT, N, "refuses connections", "correct its SRV record"),
    ),
    "refused at the port that was named": (
        unreached(places=(dead(),)) | wanted(port=5061),
        (Step.CONNECT, FAULT, N, "refuses connections", "did you name the right port"),
    ),
    "silent": (
        unreached(places=(dead(knock=Knock.SILENT),)),
        (Step.CONNECT, FAULT, N, "does not answer", "firewall", "another network", "port 5061"),
    ),
    "unreachable": (
        unreached(places=(dead(knock=Knock.UNREACHABLE),)),
        (Step.CONNECT, FAULT, N, "cannot be reached from here", "VPN"),
    ),
    "one of two": (
        {"places": (dead(), place(SECOND))},
        (Step.CONNECT, WARNING, None, "1. sip.clinic.example", "takes longer"),
    ),
    "no IPv6 here": (
        {"places": (dead(SIXTH, Knock.UNREACHABLE), place())},
        (Step.CONNECT, NOTE, None, "[2001:db8::1]:5061"),
    ),
    # TLS and certificate
    "no TLS": (
        unreached(places=(place(encryption=NO_TLS),)),
        (Step.TLS, FAULT, N, "no TLS there", "5060 has no TLS"),
    ),
    "no TLS at one of two": (
        {"places": (place(encryption=NO_TLS), place(SECOND))},
        (Step.TLS, WARNING, None, "1. no TLS there", "by another server"),
    ),
    "TLS 1.2": (
        {"places": (place(encryption=dataclasses.replace(GOOD, version="TLSv1.2")),)},
        (Step.TLS, NOTE, None, "TLS 1.2", "TLS 1.3"),
    ),
    "the group": (
        {"places": (place(encryption=dataclasses.replace(GOOD, group="X25519MLKEM768")),)},
        (Step.TLS, OK, None, "X25519MLKEM768"),
    ),
    "two weeks left": (
        {"places": (place(encryption=dataclasses.replace(
            GOOD, certificate=dataclasses.replace(CERTIFICATE, until=NOW + 14 * DAY + 1))),)},
        (Step.CERTIFICATE, OK, None, "valid for 14 days"),
    ),
    "less": (
        {"places": (place(encryption=dataclasses.replace(
            GOOD, certificate=dataclasses.replace(CERTIFICATE, until=NOW + 14 * DAY - 1))),)},
        (Step.CERTIFICATE, WARNING, None, "expires in 13 days", "renew"),
    ),
    "further names": (
        {"places": (place(encryption=dataclasses.replace(GOOD, certificate=dataclasses.replace(
            CERTIFICATE, names=tuple(("DNS", f"{c}.example") for c in "abcde")))),)},
        (Step.CERTIFICATE, OK, None, "it also names a.example, b.example, c.example and 2 more"),
    ),
    "expired": (
        refused(10, until=NOW - 3 * DAY),
        (Step.CERTIFICATE, FAULT, S, "it expired 3 days ago", "2027-01-12", "renew"),
    ),
    "expired even by a clock that is behind": (
        refused(10, until=NOW - 500 * DAY) | {"machine": BEHIND},
        (Step.CERTIFICATE, FAULT, S, "it expired 100 days ago", "renew"),
    ),
    "not valid yet": (
        refused(9, since=NOW + 400 * DAY),
        (Step.CERTIFICATE, FAULT, S, "not valid before 2028", "that clock is wrong", "Set the"),
    ),
    "another name": (
        refused(62, "it is for 'www.clinic.example', not for 'clinic.example'"),
        (Step.CERTIFICATE, FAULT, S, "does not name clinic.example", "It is for 'www.clinic",
         "DNS:clinic.example", "URI:sip:clinic.example", "may stand in between"),
    ),
    "signed by itself": (
        refused(18),
        (Step.CERTIFICATE, FAULT, S, "signed by itself", "--authorities", "in between"),
    ),
    "a private authority": (
        refused(19),
        (Step.CERTIFICATE, FAULT, S, 'its authority "Honest, R3" is not trusted', "--authorities"),
    ),
    "an unknown authority": (
        refused(20),
        (Step.CERTIFICATE, FAULT, S, "leaves out a certificate in between", "fullchain"),
    ),
    "a lonely certificate": (
        refused(20, sent=1),
        (Step.CERTIFICATE, FAULT, S, 'its authority "Honest, R3" is missing', "fullchain"),
    ),
    "whatever else OpenSSL finds": (
        refused(66, "its key is too weak"),
        (Step.CERTIFICATE, FAULT, S, "its key is too weak", "Replace it", "in between"),
    ),
    "a bad second server": (
        {"places": (place(), place(SECOND, Encryption(code=18, fault="f")))},
        (Step.CERTIFICATE, WARNING, None, "2. it is signed by itself", "would not if that one"),
    ),
    # the server
    "nobody answers OPTIONS, and nothing else": (
        {"answer": Answer(failure="closed the connection"), "registered": None},
        (Step.SERVER, FAULT, N, "does not answer SIP", "closed the connection"),
    ),
    "a web server": (
        {"answer": Answer(failure="said something", broken=True), "registered": None},
        (Step.SERVER, FAULT, P, "no SIP server", "wss://"),
    ),
    "OPTIONS is passed over": (
        {"answer": Answer(failure="did not answer")},
        (Step.SERVER, NOTE, None, "does not answer OPTIONS", "The registration works"),
    ),
    "clocks differ": (
        {"answer": dataclasses.replace(ANSWER, date=NOW - 3600)},
        (Step.SERVER, WARNING, None, "differ by 60 minutes", "Check the clock"),
    ),
    # the registration
    "MD5 alone": (
        registered(offers=MD5),
        (Step.REGISTRATION, WARNING, None, "MD5; no qop", "SHA-256 (RFC 8760)"),
    ),
    "another realm": (
        registered(offers=(dataclasses.replace(OFFERS[0], realm="asterisk"),)),
        (Step.REGISTRATION, NOTE, None, 'its realm is "asterisk", not clinic.example'),
    ),
    "no password asked for": (
        registered(challenged=False, offers=()),
        (Step.REGISTRATION, WARNING, None, "asks for no password", "digest"),
    ),
    "other devices": (
        registered(others=2),
        (Step.REGISTRATION, OK, None, "for 600 seconds beside 2 other devices"),
    ),
    "short": (granted(seconds=30), (Step.REGISTRATION, NOTE, None, "every 30 seconds")),
    "no outbound": (
        granted(outbound=False, flow_seconds=25),
        (Step.REGISTRATION, NOTE, None, "Flow-Timer 25 s", "it has no outbound"),
    ),
    "not removed": (
        registered(removed=False),
        (Step.REGISTRATION, WARNING, None, "could not be removed", "600 seconds"),
    ),
    "wrong password": (
        registered(status=401),
        (Step.REGISTRATION, FAULT, S, "does not let alice in", "--user", "lock the account"),
    ),
    "forbidden": (
        registered(status=403),
        (Step.REGISTRATION, FAULT, S, "forbids alice to register alice@clinic.example"),
    ),
    "no such account": (
        registered(status=404),
        (Step.REGISTRATION, FAULT, S, "knows no alice@clinic.example", "spelling"),
    ),
    "an unknown scheme": (
        registered(status=401, offers=(), answered=False),
        (Step.REGISTRATION, FAULT, P, "in a way that is not known", "digest"),
    ),
    "a realm of somebody else": (
        registered(status=401, answered=False),
        (Step.REGISTRATION, FAULT, S, "in the name of", "nothing was answered"),
    ),
    "a weaker hash": (
        registered(status=401, weaker=True),
        (Step.REGISTRATION, FAULT, S, "weaker hash", "Do not go on"),
    ),
    "not now": (
        registered(status=503),
        (Step.REGISTRATION, FAULT, N, "503 Service Unavailable", "Try again"),
    ),
    "not understood": (registered(status=420), (Step.REGISTRATION, FAULT, P, "420 Bad Extension")),
    "silence": (
        registered(status=0, failure="did not answer within 8 seconds"),
        (Step.REGISTRATION, FAULT, N, "does not answer a registration", "within 8 seconds"),
    ),
}  # fmt: skip


def text(finding: Finding) -> str:
    return f"{finding.what} {finding.why} {finding.mend}"


@pytest.mark.parametrize(("changes", "wanted_"), CASES.values(), ids=CASES)
def test_one_difference_is_one_finding(changes, wanted_):
    step, verdict, kind, *words = wanted_
    diagnosis = diagnose(facts(**changes))
    found = [f for f in diagnosis.findings if all(word in text(f) for word in words)]
    assert [(f.step, f.verdict, f.kind) for f in found] == [(step, verdict, kind)]
    if verdict is FAULT:
        assert (found[0].why, found[0].mend) != ("", "")
        assert diagnosis.verdict is FAULT
    assert diagnosis.kind is kind


@pytest.mark.parametrize("changes", [case for case, _ in CASES.values()], ids=CASES)
def test_every_fault_says_why_in_three_sentences_and_what_to_do(changes):
    for finding in diagnose(facts(**changes)).findings:
        assert (finding.kind is not None) == (finding.verdict is FAULT)
        if finding.verdict in (WARNING, FAULT):
            assert finding.why.endswith((".", "?"))
            assert finding.mend
            assert finding.why.count(". ") <= 2


def test_where_nothing_is_wrong_everything_is_fine_except_what_nobody_looked_at():
    diagnosis = diagnose(facts())
    assert {f.verdict for f in diagnosis.findings} == {OK}
    assert (diagnosis.verdict, diagnosis.kind) == (OK, None)
    assert {f.step for f in diagnosis.findings} == set(Step)
    assert any("NAT" in unseen and "ICE" in unseen for unseen in diagnosis.unseen)
    assert not any("NAT" in text(f) or "ICE" in text(f) for f in diagnosis.findings)


@pytest.mark.parametrize(
    ("changes", "unseen"),
    [
        (unreached(password=False), "registration: no password"),
        (unnamed(), "connection, encryption, certificate, SIP server, registration, password"),
        (refused(62), "SIP server, registration, password: nothing is told"),
        ({"names": dataclasses.replace(NAMES, targets=(TARGET, SECOND))}, "1 more of the servers"),
        (
            unreached(machine=dataclasses.replace(MACHINE, missing=("websocket",)))
            | wanted(websocket=True),
            "the extra websocket is missing",
        ),
    ],
)
def test_what_could_not_be_looked_at_is_named(changes, unseen):
    assert any(unseen in line for line in diagnose(facts(**changes)).unseen)


def test_places_that_are_alike_are_told_of_once():
    findings = diagnose(facts(places=(place(), place(SECOND)))).findings
    (tls,) = [f for f in findings if f.step is Step.TLS]
    assert tls.what.startswith("1., 2. TLS 1.3")


def test_a_server_that_nobody_can_reach_without_a_right_one_is_not_said_to_be_spared():
    """The first that speaks TLS is refused, so the account does not work by it."""
    bad = Encryption(code=18, fault="f")
    diagnosis = diagnose(facts(**unreached(places=(place(encryption=NO_TLS), place(SECOND, bad)))))
    assert diagnosis.kind is S
    assert not any("by another server" in text(f) for f in diagnosis.findings)


def test_the_gravest_kind_of_fault_decides():
    def fault(kind: Kind) -> Finding:
        return Finding(Step.DNS, FAULT, "x", "y", "z", kind)

    kinds = [N, P, L, S]
    for number in range(1, 5):
        diagnosis = Diagnosis(tuple(fault(kind) for kind in kinds[:number]), ())
        assert diagnosis.kind is kinds[number - 1]


def test_a_finding_holds_no_control_characters_and_one_line_only():
    evil = "a\x1b[2J\r\n\x9b31m\u202e\u2028b" + "x" * 1000
    finding = Finding(Step.SERVER, OK, evil, evil, evil)
    for said in (finding.what, finding.why, finding.mend):
        assert said.isprintable()
        assert len(said) <= 600
