"""P2: the provider reads signalling for where its users are, with relays alone and without."""

from __future__ import annotations

import functools
import hashlib
import ipaddress
import re
from pathlib import Path
from typing import Final

from securecall.errors import ConnectFailed
from securecall.policy import IpPrivacy, Policy
from securecall.testing.attacks.outcome import Attack, Outcome, control, ours
from securecall.testing.attacks.stage import Stage, stage
from securecall.testing.little_relay import LittleRelay

_HIDDEN: Final = Policy(ip_privacy=IpPrivacy.RELAY)
_CANDIDATE: Final = re.compile(rb"a=candidate:(\S+) 1 udp \d+ (\S+) (\d+) typ (\w+)([^\r\n]*)")
_DEFAULT: Final = re.compile(rb"m=audio (\d+) ")
_HOME: Final = "192.168.23.45"


@functools.cache
def _hashes() -> dict[str, str]:
    kinds, hosts = ("host", "srflx", "relay"), ipaddress.IPv4Network("192.168.0.0/16")
    return {_hash(kind, str(host)): str(host) for kind in kinds for host in hosts}


def _hash(kind: str, host: str) -> str:
    return hashlib.md5(f"{kind}|udp|{host}".encode(), usedforsecurity=False).hexdigest()


def guessed(foundation: str) -> str:
    """The private address of which a foundation is the hash, as phones make them; "" for none."""
    return _hashes().get(foundation, "")


async def _tempting(folder: Path) -> Outcome:  # noqa: ARG001 - a trial
    """A phone whose foundations are hashes hides behind a relay, and tells her where it is."""
    outcome = Outcome()
    found = guessed(_hash("srflx", _HOME))
    outcome.demand(found == _HOME, f"found {found!r}")
    outcome.got = f"one hash gave away {found}, by trying all of 192.168.0.0/16"
    return outcome


async def _open(folder: Path) -> Outcome:
    """The same scan of a call that hides nothing: it names their sockets."""
    policy = Policy(ip_privacy=IpPrivacy.OPEN)
    async with LittleRelay() as relay, stage(folder, policy=policy) as s:
        for who in (s.alice, s.bob):
            who.client.use_relay(relay.server)
        _ = await s.dial()
        outcome = s.went_on()
        named = {port for _, _, port, kind in _told(s)[0] if kind == "host"}
        outcome.demand(named and not named & {port for _, port in relay.allocated}, "no address")
    outcome.got = f"{len(named)} addresses of their own machines"
    return outcome


async def _scanned(folder: Path) -> Outcome:
    """All that two who hide say in a whole call, and where media of theirs went."""
    async with LittleRelay() as relay, stage(folder, policy=_HIDDEN) as s:
        for who in (s.alice, s.bob):
            who.client.use_relay(relay.server)
        _ = await s.dial()
        outcome = s.went_on()
        candidates, defaults = _told(s)
        places = {port for _, port in relay.allocated}
        outcome.demand(len(places) == 2, f"{len(places)} places at the relay")
        outcome.demand(relay.relayed > 20, f"only {relay.relayed} datagrams through the relay")
    outcome.demand(len(candidates) >= 2, "no candidates were told")
    for foundation, rest, port, kind in candidates:
        outcome.demand(kind == "relay", f"a candidate of kind {kind}")
        outcome.demand(port in places, f"port {port} is none of the relay")
        outcome.demand("raddr 0.0.0.0 rport 9" in rest, f"related: {rest!r}")
        outcome.demand(len(foundation) < 3 and not guessed(foundation), "a foundation tells")
    # addresses that are told later have no default, and say so by port 9 (RFC 8840)
    outcome.demand(defaults <= {*places, 9}, f"default ports {defaults - places}")
    outcome.got = f"{len(candidates)} addresses, all of the relay"
    return outcome


async def _no_relay(folder: Path) -> Outcome:
    """Without a relay who hides calls nobody: nothing is told at all."""
    async with stage(folder, policy=_HIDDEN) as s:
        _ = await s.dial()
        outcome = s.ended()
        outcome.demand(isinstance(s.error, ConnectFailed), f"the call came to {s.error!r}")
        outcome.demand(not _told(s)[0], "candidates were told")
    outcome.got = "no call, and not a word"
    outcome.ended = None
    return outcome


def _told(s: Stage) -> tuple[list[tuple[str, str, int, str]], set[int]]:
    """Foundation, related address, port and kind of all candidates told, and default ports."""
    said = b"\n".join(data for _, data in s.mallory.proxy.transcript)
    candidates = [
        (m[1].decode(), m[5].decode(), int(m[3]), m[4].decode()) for m in _CANDIDATE.finditer(said)
    ]
    return candidates, {int(m[1]) for m in _DEFAULT.finditer(said)}


P2: Final[Attack] = (
    control("foundations that hash the private address", _tempting),
    control("a call that hides nothing", _open),
    ours("a call of two who hide behind a relay", _scanned),
    ours("they know no relay", _no_relay),
)
