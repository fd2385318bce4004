"""Judges the way to the server: what DNS says, and who answers there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from securecall.doctor.facts import Knock, Names, Place, Wanted
from securecall.doctor.finding import Finding, Kind, Step, Verdict, shown
from securecall.transport.server_identity import is_address
from securecall.transport.srv import Lookup

_SHOWN: Final = 3  # records in one line
_KNOCKS: Final = {
    Knock.REFUSED: (
        "refuses connections",
        "The machine is there, but nothing takes connections at that port.",
        "The operator of the server has to start it, or to switch on TLS at port {port}{found}.",
    ),
    Knock.SILENT: (
        "does not answer",
        "The machine is off, or a firewall on the way swallows what we send.",
        "Try another network, for instance a phone's. If it works there, ask for port {port} "
        "(TCP, outgoing) to be opened here; if not, tell the operator of the server.",
    ),
    Knock.UNREACHABLE: (
        "cannot be reached from here",
        "No way leads from this machine to that address.",
        "Check the network of this machine: cable, Wi-Fi, VPN.",
    ),
}


def judge_names(wanted: Wanted, names: Names) -> Iterator[Finding]:
    """What DNS says of the domain, and what it leads to."""
    host = shown(wanted.host)
    yield from _records(wanted, names)
    if names.targets:
        addresses = dict.fromkeys(t.host for t in names.targets)
        if not is_address(wanted.host):
            hosts = dict.fromkeys(t.name for t in names.targets)
            be = "is" if len(hosts) == 1 else "are"
            yield _ok(f"{_listed(tuple(hosts))} {be} at {_listed(tuple(addresses))}")
        return
    if names.unknown:
        yield _nowhere(wanted, names)
        return
    yield Finding(
        Step.DNS,
        Verdict.FAULT,
        f"DNS does not say where {host} is",
        _sentence(names.failure or "nobody could be asked"),
        "Check that this machine is connected, and that its name server works: do other names "
        "work? If they do, the operator of the domain has to look at its name servers.",
        Kind.NETWORK,
    )


def _nowhere(wanted: Wanted, names: Names) -> Finding:
    """DNS answers, but leads to no server."""
    host = shown(wanted.host)
    records = [a for x in names.lookups if x.kind == "SRV" for a in x.answers]
    mend = (
        f"Check the spelling of {host}. If it is right, its operator has to add it to DNS, or to "
        "tell you the name of the server; give that with --server HOST."
    )
    why = _sentence(names.failure)
    if wanted.named:
        mend = f"Check the spelling of {host}, as you gave it with --server."
    if not records:
        what = f"{host} is not in DNS"
        why = "DNS answers, but knows no server and no address of that name."
    elif all(record.endswith(" .") for record in records):
        what = f"{host} has no server for SIP over TLS"
        why = "Its operator says so in DNS: the SRV record leads to nobody."
        mend = (
            "Ask the operator for the name of a server that takes SIP over TLS, and give it with "
            "--server HOST. Without TLS nothing is ever sent."
        )
    else:
        what = f"the servers that DNS names for {host} have no address"
        mend = (
            f"The operator of {host} has to correct the SRV record, or to add an address (A or "
            "AAAA) for the server it names."
        )
    return Finding(Step.DNS, Verdict.FAULT, what, why, mend, Kind.NETWORK)


def _records(wanted: Wanted, names: Names) -> Iterator[Finding]:
    """NAPTR and SRV."""
    host, lookups = shown(wanted.host), names.lookups
    if is_address(wanted.host):
        yield _ok(f"{host} is an IP address: there is nothing to look up")
        return
    if wanted.port:
        yield _ok(f"you named port {wanted.port} of {host}: SRV records are not asked for")
        return
    naptr = [a for x in lookups if x.kind == "NAPTR" for a in x.answers]
    if naptr and not any("SIPS+D2" in a.upper() for a in naptr):
        yield _note(
            f"the NAPTR records of {host} offer nothing with TLS",
            "They are passed over: SIP without TLS is never used.",
            "The operator of the domain can add one for SIPS+D2T.",
        )
    found = [x for x in lookups if x.kind == "SRV" and x.answers]
    for lookup in found:
        yield _ok(f"SRV {shown(lookup.name)}: {_servers(lookup)}")
    usual = f"_sips._tcp.{host}"
    if found or wanted.host == "localhost":
        return
    silent = next((x for x in lookups if x.kind == "SRV" and x.failure and not names.unknown), None)
    if silent is not None and "no host named" not in silent.failure:
        yield Finding(
            Step.DNS,
            Verdict.WARNING,
            f"no name server answers for the SRV record {usual}",
            "Some home routers lose such questions. The domain itself is tried in its place.",
            "Try another network or name server; or name the server: --server HOST:PORT.",
        )
    elif names.targets:
        yield _note(
            f"no SRV record {usual}: {host} itself is used, at port 5061",
            "That is right if the server is that very machine.",
            f"If it is not, the operator of the domain has to add: {usual} SRV 0 0 5061 SERVER.",
        )


def judge_places(wanted: Wanted, places: tuple[Place, ...]) -> Iterator[Finding]:
    """Who takes a TCP connection, in the order to try."""
    found = ", or to correct its SRV record"
    if wanted.port:
        found = "; did you name the right port? 5061 is usual for SIP over TLS"
    answered = any(p.knock is Knock.ANSWERED for p in places)
    for number, place in enumerate(places, start=1):
        where = shown(
            f"{number}. {place.target}" if len(places) > 1 else str(place.target), most=99
        )
        if place.knock is Knock.ANSWERED:
            yield Finding(Step.CONNECT, Verdict.OK, f"{where} takes connections")
            continue
        words, why, mend = _KNOCKS[place.knock]
        verdict: Verdict = Verdict.FAULT
        kind: Kind | None = Kind.NETWORK
        if answered:
            # a machine without IPv6 is nothing unusual
            harmless = place.knock is Knock.UNREACHABLE and ":" in place.target.host
            verdict, kind = Verdict.NOTE if harmless else Verdict.WARNING, None
            why += " Others do answer, so the account can work, but connecting takes longer."
        yield Finding(
            Step.CONNECT,
            verdict,
            f"{where} {words}",
            why,
            mend.format(port=place.target.port, found=found),
            kind,
        )


def _servers(lookup: Lookup) -> str:
    """SRV records as text: "priority weight port host."."""
    words = [answer.split() for answer in lookup.answers]
    return _listed(
        tuple(
            f"{w[3].removesuffix('.') or 'none'} port {w[2]}" if len(w) == 4 else " ".join(w)
            for w in sorted(words, key=lambda w: int(w[0]) if w and w[0].isdecimal() else 0)
        )
    )


def _listed(texts: tuple[str, ...]) -> str:
    more = len(texts) - _SHOWN
    return ", ".join(shown(t) for t in texts[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:].removesuffix(".") + "." if text else ""


def _ok(what: str) -> Finding:
    return Finding(Step.DNS, Verdict.OK, what)


def _note(what: str, why: str, mend: str) -> Finding:
    return Finding(Step.DNS, Verdict.NOTE, what, why, mend)
