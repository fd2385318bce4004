"""Two ends over a simulated link: DTLS, then the identity handshake, on a virtual clock."""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from securecall.address import parse_address
from securecall.keys.device import DeviceKey
from securecall.keys.handshake import (
    CallRole,
    Complete,
    HandshakeFailed,
    IdentityHandshake,
    PeerClaim,
    SendRecord,
    fingerprint_hash,
)
from securecall.keys.identity import RootKey
from securecall.keys.statement import build_statement
from securecall.secret import Secret
from securecall.transport.dtls import (
    ApplicationData,
    CertificateDigest,
    Closed,
    DtlsCertificate,
    DtlsEndpoint,
    DtlsRole,
    Established,
    Failed,
    SendDatagram,
    SrtpPolicy,
)

NOW = 1_764_000_000


@dataclass(frozen=True, kw_only=True)
class Person:
    """Someone with a root, one device, one address and a statement."""

    root: RootKey
    device: DeviceKey
    address: str
    statement: bytes

    @classmethod
    def named(cls, name: str, **changes) -> Person:
        root, device = RootKey.generate(), DeviceKey.generate(f"{name}-phone")
        address = f"sip:{name}@clinic.example"
        return cls.of(root, device, address, **changes)

    @classmethod
    def of(cls, root, device, address, *, iat=NOW - 60, addresses=None, **changes) -> Person:
        statement = build_statement(
            root,
            seq=iat * 1000,
            iat=iat,
            exp=iat + 86400,
            addresses=[parse_address(a) for a in addresses or [address]],
            devices=[device],
            **changes,
        )
        return cls(root=root, device=device, address=address, statement=statement)

    @property
    def key_address(self) -> str:
        return f"key:{self.root.fingerprint.hex()}"


def accept_all(claim: PeerClaim) -> None:
    """A judge that trusts whom it meets."""


@dataclass
class End:
    """One end: a person's DTLS endpoint and, on it, the identity handshake."""

    dtls: DtlsEndpoint
    client: bool
    role: CallRole
    person: Person
    own_address: str
    expected: str
    sent: tuple[str, ...]
    received: tuple[str, ...]
    nonce: bytes
    judge: Callable[[PeerClaim], None] = accept_all
    ticket: Secret | None = None
    identity: IdentityHandshake | None = None
    established: Established | None = None
    complete: Complete | None = None
    completed_at: float = 0.0
    failed: HandshakeFailed | Failed | None = None
    closed: bool = False
    others: list[bytes] = field(default_factory=list)
    foreign: tuple[int, ...] = ()

    @property
    def over(self) -> bool:
        return self.failed is not None or self.closed

    @property
    def deadline(self) -> float | None:
        ours = [self.dtls.deadline, self.identity.deadline if self.identity else None]
        return min((d for d in ours if d is not None), default=None)

    def start(self, now):
        return self._perform(self.dtls.start(now), now)

    def receive(self, datagram, now):
        return self._perform(self.dtls.receive(datagram, now), now)

    def timeout(self, now):
        sent = []
        if self.dtls.deadline is not None and now >= self.dtls.deadline:
            sent += self._perform(self.dtls.timeout(now), now)
        if self.identity and self.identity.deadline is not None and now >= self.identity.deadline:
            sent += self._perform(self.identity.timeout(now), now)
        return sent

    def close(self, now):
        return self._perform(self.dtls.close(), now)

    def _perform(self, outputs, now) -> list[bytes]:
        sent: list[bytes] = []
        waiting = list(outputs)
        while waiting:
            output = waiting.pop(0)
            match output:
                case SendDatagram(data):
                    sent.append(data)
                case SendRecord(data):
                    records = [data]
                    while waiting and isinstance(waiting[0], SendRecord):
                        records.append(waiting.pop(0).data)
                    waiting[:0] = self.dtls.send(*records)
                case Established():
                    self.established = output
                    if output.alpn == "securecall-id/1":
                        self.identity = self._handshake(output)
                        waiting += self.identity.start(now)
                case ApplicationData(data):
                    if self.identity and data[0] not in self.foreign:
                        waiting += self.identity.receive(data, now)
                    else:
                        self.others.append(data)
                case Complete():
                    self.complete, self.completed_at = output, now
                case HandshakeFailed():
                    self.failed = output
                    waiting += self.dtls.close()
                case Failed():
                    self.failed = self.failed or output
                case Closed():
                    self.closed = True
                    if self.identity:
                        waiting += self.identity.peer_closed(now)
        return sent

    def _handshake(self, established):
        return IdentityHandshake(
            tls_client=self.client,
            call_role=self.role,
            statement=self.person.statement,
            device=self.person.device,
            own_address=self.own_address,
            expected_peer=self.expected,
            fp_sent=fingerprint_hash(self.sent),
            fp_received=fingerprint_hash(self.received),
            outer_exporter=established.outer_exporter,
            ticket_secret=self.ticket,
            judge=self.judge,
            nonce=self.nonce,
            unix=NOW,
            begun=self.dtls.begun,
            foreign=self.foreign,
        )


def line(digest: CertificateDigest) -> str:
    return f"{digest.algorithm} {digest.value.hex(':').upper()}"


def make_pair(
    caller: Person,
    callee: Person,
    *,
    caller_is_client: bool,
    srtp: SrtpPolicy = SrtpPolicy.STRICT,
    alpn: tuple[tuple[str, ...], tuple[str, ...]] | None = None,
) -> tuple[End, End]:
    """Caller's and callee's end; signalling was honest unless the test edits the ends."""
    certificates = DtlsCertificate.generate(), DtlsCertificate.generate()
    ends = []
    for mine, theirs, role in ((0, 1, CallRole.CALLER), (1, 0, CallRole.CALLEE)):
        person, peer = (caller, callee) if mine == 0 else (callee, caller)
        client = caller_is_client == (role is CallRole.CALLER)
        protocols = alpn[mine] if alpn else ("securecall-id/1", "webrtc")
        dtls = DtlsEndpoint(
            role=DtlsRole.CLIENT if client else DtlsRole.SERVER,
            certificate=certificates[mine],
            remote_digests=(certificates[theirs].digest,),
            alpn=protocols,
            srtp_profiles=srtp,
        )
        end = End(
            dtls=dtls,
            client=client,
            role=role,
            person=person,
            own_address=person.address,
            expected=peer.address,
            sent=(line(certificates[mine].digest),),
            received=(line(certificates[theirs].digest),),
            nonce=bytes([mine + 1]) * 32,
        )
        ends.append(end)
    return ends[0], ends[1]


@dataclass
class Link:
    """Carries datagrams between two ends; `fate` gives the arrival times of each.

    Attributes:
        delay: One way, seconds.
        fate: (number of the datagram, from the first end?, datagram) -> delays beyond `delay` of
            the copies that arrive; none for a loss.
        change: Rewrites a datagram on the way.
    """

    first: End
    second: End
    delay: float = 0.03
    fate: Callable[[int, bool, bytes], Iterable[float]] = lambda number, up, data: (0.0,)
    change: Callable[[bool, bytes], bytes] = lambda up, data: data
    now: float = 0.0
    sent: list[tuple[float, bool, bytes]] = field(default_factory=list)

    def run(self, until: float = 40.0) -> Link:
        """Play until nothing moves any more, or `until`."""
        queue: list[tuple[float, int, End, bytes]] = []
        counter = itertools.count()

        def send(end: End, datagrams: list[bytes]) -> None:
            up = end is self.first
            for data in datagrams:
                assert len(data) <= 1200
                number = len(self.sent)
                self.sent.append((self.now, up, data))
                target = self.second if up else self.first
                for extra in self.fate(number, up, data):
                    item = (self.now + self.delay + extra, next(counter), target, data)
                    heapq.heappush(queue, item)

        for end in (self.first, self.second):
            send(end, end.start(self.now))
        while self.now <= until:
            moments = [(end.deadline, end) for end in (self.first, self.second)]
            due = min((m for m in moments if m[0] is not None), key=lambda m: m[0], default=None)
            pending = [queue[0][0]] if queue else []
            if min([*pending, *([due[0]] if due else [])], default=0.0) > until:
                break
            if queue and (due is None or queue[0][0] <= due[0]):
                self.now, _, target, data = heapq.heappop(queue)
                up = target is self.second
                send(target, target.receive(self.change(up, data), self.now))
            elif due is not None:
                self.now = max(self.now, due[0])
                send(due[1], due[1].timeout(self.now))
            else:
                break
        return self


def lossy(seed: int, loss: float, *, jitter: float = 0.0) -> Callable[[int, bool, bytes], tuple]:
    """A fate that loses datagrams by chance, from a seed."""
    chance = random.Random(seed)

    def fate(number: int, up: bool, data: bytes) -> tuple[float, ...]:
        if chance.random() < loss:
            return ()
        return (chance.random() * jitter,)

    return fate
