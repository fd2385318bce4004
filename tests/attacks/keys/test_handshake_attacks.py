"""Attacks on the identity handshake: no end completes, beside each a control that does."""

import dataclasses
import hmac

import pytest

from securecall.errors import IdentityChanged, Reason, TicketRefused, UsageError
from securecall.keys import handshake, identity_dialogue, ticket
from securecall.keys.device import DeviceKey
from securecall.keys.handshake import CallRole, HandshakeFailed, IdentityHandshake
from securecall.secret import Secret
from securecall.transport.dtls import CertificateDigest
from tests.pairs.keys.link import NOW, Link, Person, line, make_pair

ALICE, BOB, MALLORY = Person.named("alice"), Person.named("bob"), Person.named("mallory")
ROLES = pytest.mark.parametrize("caller_is_client", [True, False])


def reason_of(end):
    return None if end.failed is None else getattr(end.failed.error, "reason", None)


def words_of(*ends):
    return " ".join(str(end.failed.error) for end in ends)


def require_both_ended(*ends, reasons=()):
    """No end completed, each ended within the deadline, one of them for the reason given."""
    for end in ends:
        assert end.complete is None
        assert end.over
        assert end.deadline is None
    if reasons:
        assert {reason_of(end) for end in ends} & set(reasons)


def call(caller_is_client, *, edit=lambda alice, bob: None, **settings):
    alice, bob = make_pair(ALICE, BOB, caller_is_client=caller_is_client, **settings)
    edit(alice, bob)
    link = Link(alice, bob).run()
    assert link.now <= 21.0
    return alice, bob


@ROLES
def test_control_without_an_attack_both_ends_complete(caller_is_client):
    for end in call(caller_is_client):
        assert end.complete
        assert end.failed is None


class Relay:
    """An attacker between two DTLS associations, who passes application data on."""

    def __init__(self, alice, bob, to_alice, to_bob):
        self.legs = [(alice, to_alice), (to_bob, bob)]
        self.ends = (alice, bob)

    def run(self):
        (alice, to_alice), (to_bob, bob) = self.legs
        partner = {id(to_alice): to_bob, id(to_bob): to_alice}
        facing = {
            id(alice): to_alice, id(to_alice): alice, id(bob): to_bob, id(to_bob): bob,
        }  # fmt: skip
        now, queue, held = 0.0, [], []
        for end in (alice, to_alice, to_bob, bob):
            queue += [(facing[id(end)], d) for d in end.start(now)]
        for _ in range(4000):
            while queue:
                target, datagram = queue.pop(0)
                queue += [(facing[id(target)], d) for d in target.receive(datagram, now)]
                for middle in (to_alice, to_bob):
                    held += [(partner[id(middle)], data) for data in middle.others]
                    middle.others.clear()
                ready = [(m, d) for m, d in held if m.established]
                held = [(m, d) for m, d in held if not m.established]
                for middle, data in ready:
                    sent = middle._perform(middle.dtls.send(data), now)
                    queue += [(facing[id(middle)], d) for d in sent]
            moments = [e.deadline for e in (alice, to_alice, to_bob, bob) if e.deadline is not None]
            if not moments or min(moments) > 30:
                return
            now = max(now, min(moments))
            for end in (alice, to_alice, to_bob, bob):
                queue += [(facing[id(end)], d) for d in end.timeout(now)]


def relayed(caller_is_client):
    """Alice and Bob, each in DTLS with Mallory, who told each her own fingerprint."""
    alice, to_alice = make_pair(ALICE, MALLORY, caller_is_client=caller_is_client)
    to_bob, bob = make_pair(MALLORY, BOB, caller_is_client=caller_is_client)
    alice.expected, bob.expected = BOB.address, ALICE.address
    for middle in (to_alice, to_bob):
        middle._handshake = _nothing
    return alice, bob, to_alice, to_bob


class _Nothing:
    deadline = None

    def start(self, now):
        return ()

    def peer_closed(self, now):
        return ()


def _nothing(established):
    return _Nothing()


@ROLES
class TestInnerRelay:
    """H1: the inner handshake passes unchanged through two DTLS associations."""

    def arrange(self, caller_is_client, *, honest_fingerprints):
        alice, bob, to_alice, to_bob = relayed(caller_is_client)
        for middle in (to_alice, to_bob):
            middle.foreign = (0x5C,)  # hands everything to the relay
        if honest_fingerprints:  # even if signalling hashes were equal, `bind` is not
            bob.sent, bob.received = alice.received, alice.sent
        Relay(alice, bob, to_alice, to_bob).run()
        return alice, bob

    @pytest.mark.parametrize("honest_fingerprints", [True, False])
    def test_both_ends_end(self, caller_is_client, honest_fingerprints):
        alice, bob = self.arrange(caller_is_client, honest_fingerprints=honest_fingerprints)
        for end in (alice, bob):
            assert end.complete is None
            assert end.failed is not None
        assert Reason.BINDING_MISMATCH in {reason_of(alice), reason_of(bob)}

    def test_control_without_bind_and_crossed_fingerprints_the_relay_works(
        self, caller_is_client, monkeypatch
    ):
        monkeypatch.setattr(handshake, "binding", lambda exporter: b"same" * 16)
        alice, bob = self.arrange(caller_is_client, honest_fingerprints=True)
        assert alice.complete
        assert bob.complete


@ROLES
class TestSignallingRewritten:
    """A9, U1: fingerprints differ between what one sent and the other received."""

    @pytest.mark.parametrize("where", ["alice.sent", "alice.received", "bob.sent", "bob.received"])
    def test_a_mismatch_in_one_direction_ends_both(self, caller_is_client, where):
        def edit(alice, bob):
            end, field = where.split(".")
            another = line(CertificateDigest("sha-256", b"z" * 32))
            end = {"alice": alice, "bob": bob}[end]
            setattr(end, field, (*getattr(end, field), another))

        ends = call(caller_is_client, edit=edit)
        require_both_ended(*ends, reasons=[Reason.FINGERPRINT_MISMATCH])

    def test_control_order_case_and_repeats_do_not_matter(self, caller_is_client):
        def edit(alice, bob):
            a = alice.sent[0]
            other = line(CertificateDigest("sha-512", b"y" * 64))
            alice.sent = (a, other, a)
            bob.received = (other, "SHA-256 " + a.split(" ")[1].lower())

        for end in call(caller_is_client, edit=edit):
            assert end.complete


@ROLES
class TestSplice:
    """U1: Mallory, a real contact, forwards Alice's call to Bob."""

    def test_bob_answers_as_himself_where_mallory_was_dialled(self, caller_is_client):
        def edit(alice, bob):
            alice.expected = MALLORY.address

        ends = call(caller_is_client, edit=edit)
        require_both_ended(*ends, reasons=[Reason.ADDRESS_NOT_OWNED])

    def test_bob_believes_mallory_is_calling(self, caller_is_client):
        def edit(alice, bob):
            bob.expected = MALLORY.address

        ends = call(caller_is_client, edit=edit)
        require_both_ended(*ends, reasons=[Reason.ADDRESS_NOT_OWNED])

    def test_an_invitation_answered_as_if_it_had_been_placed(self, caller_is_client):
        def edit(alice, bob):
            bob.role = CallRole.CALLER

        require_both_ended(*call(caller_is_client, edit=edit))


@ROLES
class TestAddresses:
    """Who claims what, and towards whom."""

    def test_an_empty_expected_address_is_only_for_anonymous_callers(self, caller_is_client):
        def edit(alice, bob):
            bob.expected = ""

        ends = call(caller_is_client, edit=edit)
        require_both_ended(*ends, reasons=[Reason.ADDRESS_NOT_OWNED])

    def test_control_an_anonymous_caller_claims_its_own_key(self, caller_is_client):
        def edit(alice, bob):
            alice.own_address = ALICE.key_address
            bob.expected = ""

        alice, bob = call(caller_is_client, edit=edit)
        assert alice.complete
        assert bob.complete.result.peer.own_address == ALICE.key_address

    @pytest.mark.parametrize("claimed", [BOB.key_address, MALLORY.key_address, "sip:x@y.example"])
    def test_an_anonymous_caller_claims_nothing_else(self, caller_is_client, claimed):
        def edit(alice, bob):
            alice.own_address = claimed
            bob.expected = ""

        require_both_ended(*call(caller_is_client, edit=edit), reasons=[Reason.ADDRESS_NOT_OWNED])

    def test_a_key_address_of_another_root_is_refused_even_if_dialled(self, caller_is_client):
        def edit(alice, bob):
            alice.expected = bob.own_address = MALLORY.key_address

        require_both_ended(*call(caller_is_client, edit=edit), reasons=[Reason.ADDRESS_NOT_OWNED])


@ROLES
class TestReflection:
    """U3: one's own identity as the peer."""

    def test_the_same_device_is_refused(self, caller_is_client):
        alice, echo = make_pair(ALICE, ALICE, caller_is_client=caller_is_client)
        Link(alice, echo).run()
        require_both_ended(alice, echo, reasons=[Reason.SELF_IDENTITY])
        assert "came back to this device" in words_of(alice, echo)

    def test_another_device_of_the_same_root_is_refused(self, caller_is_client):
        tablet = DeviceKey.generate("tablet")
        other = Person.of(ALICE.root, tablet, ALICE.address)
        alice, echo = make_pair(ALICE, other, caller_is_client=caller_is_client)
        Link(alice, echo).run()
        require_both_ended(alice, echo, reasons=[Reason.SELF_IDENTITY])
        assert "another device of yours" in words_of(alice, echo)

    def test_control_two_people_at_one_address_are_not_a_reflection(self, caller_is_client):
        another = Person.of(MALLORY.root, MALLORY.device, ALICE.address)
        alice, other = make_pair(ALICE, another, caller_is_client=caller_is_client)
        Link(alice, other).run()
        assert alice.complete
        assert other.complete


@ROLES
class TestStatements:
    """H3, 1.3: the statement and the key in the inner certificate."""

    @pytest.mark.parametrize("forger", ["alice", "bob"])
    def test_a_device_key_that_is_not_in_the_statement_is_refused(self, caller_is_client, forger):
        def edit(alice, bob):
            end = {"alice": alice, "bob": bob}[forger]
            end.person = dataclasses.replace(
                end.person, device=DeviceKey.generate(end.person.device.id)
            )

        ends = call(caller_is_client, edit=edit)
        require_both_ended(*ends, reasons=[Reason.IDENTITY_MISMATCH])

    @pytest.mark.parametrize("forger", ["alice", "bob"])
    def test_another_persons_statement_is_of_no_use(self, caller_is_client, forger):
        def edit(alice, bob):
            end = {"alice": alice, "bob": bob}[forger]
            end.person = dataclasses.replace(
                MALLORY, statement=end.person.statement, address=end.person.address
            )

        require_both_ended(*call(caller_is_client, edit=edit), reasons=[Reason.IDENTITY_MISMATCH])

    def test_a_revoked_device_is_refused(self, caller_is_client):
        def edit(alice, bob):
            spare = DeviceKey.generate("spare")
            root, device = BOB.root, BOB.device
            revoked = Person.of(root, spare, BOB.address, revoked=[device.id])
            bob.person = dataclasses.replace(BOB, statement=revoked.statement)

        require_both_ended(*call(caller_is_client, edit=edit), reasons=[Reason.REVOKED])

    def test_an_expired_statement_is_told_apart_but_not_refused_here(self, caller_is_client):
        old = Person.of(BOB.root, BOB.device, BOB.address, iat=NOW - 10 * 86400)
        alice, bob = make_pair(ALICE, old, caller_is_client=caller_is_client)
        Link(alice, bob).run()
        assert alice.complete.result.peer.statement.stale
        assert not bob.complete.result.peer.statement.stale


@ROLES
class TestJudge:
    """What the judge refuses is refused, before anything that depends on it is said."""

    @pytest.mark.parametrize("judging", ["alice", "bob"])
    def test_a_refusal_ends_both_with_its_own_error(self, caller_is_client, judging):
        def refuse(claim):
            raise IdentityChanged("another key than the one pinned")

        def edit(alice, bob):
            {"alice": alice, "bob": bob}[judging].judge = refuse

        alice, bob = call(caller_is_client, edit=edit)
        require_both_ended(alice, bob)
        end = {"alice": alice, "bob": bob}[judging]
        assert isinstance(end.failed.error, IdentityChanged)

    def test_an_impostor_callee_learns_no_statement_and_no_ticket_proof(self, caller_is_client):
        seen = []

        def refuse(claim):
            raise IdentityChanged("not the pinned root")

        def edit(alice, bob):
            alice.judge, bob.judge = refuse, seen.append
            alice.ticket = Secret(b"t" * 32)

        require_both_ended(*call(caller_is_client, edit=edit))
        assert seen == []

    def test_control_the_true_callee_gets_both(self, caller_is_client):
        seen = []

        def edit(alice, bob):
            bob.judge = seen.append
            alice.ticket = Secret(b"t" * 32)

        call(caller_is_client, edit=edit)
        (claim,) = seen
        assert claim.root_fp == ALICE.root.fingerprint
        assert len(claim.ticket_proof) == 64


@ROLES
class TestTicketProof:
    """H7: a proof fits one association and one role."""

    def test_a_proof_is_another_one_in_every_association(self, caller_is_client):
        proofs = []
        for _ in range(2):
            seen = []

            def edit(alice, bob, seen=seen):
                bob.judge = seen.append
                alice.ticket = Secret(b"ticket secret, 32 bytes long....")

            call(caller_is_client, edit=edit)
            proofs.append((seen[0].ticket_proof, seen[0].bind))
        assert proofs[0][0] != proofs[1][0]
        assert proofs[0][1] != proofs[1][1]

    def proof_and_judge(self, caller_is_client, monkeypatch, presented):
        """A call with a ticket, in which `presented` may exchange the proof; the desk judges."""
        secret = Secret(b"ticket secret, 32 bytes long....")
        seen = []

        def judge(claim):
            seen.append(claim.ticket_proof)
            expected = ticket.proof(secret, claim.bind, claim.call_role)
            if not hmac.compare_digest(claim.ticket_proof, expected):
                raise TicketRefused("no such ticket")

        def edit(alice, bob):
            alice.ticket, bob.judge = secret, judge

        honest = identity_dialogue.Dialogue._identity

        def exchange(self):
            message = honest(self)
            if message.ticket_proof:
                message = dataclasses.replace(
                    message, ticket_proof=presented or message.ticket_proof
                )
            return message

        monkeypatch.setattr(identity_dialogue.Dialogue, "_identity", exchange)
        return (*call(caller_is_client, edit=edit), seen[0])

    def test_a_proof_moved_from_another_association_is_refused(self, caller_is_client, monkeypatch):
        alice, bob, proof = self.proof_and_judge(caller_is_client, monkeypatch, b"")
        assert alice.complete  # the control: in its own association it is accepted
        assert bob.complete
        monkeypatch.undo()
        alice, bob, _ = self.proof_and_judge(caller_is_client, monkeypatch, proof)
        require_both_ended(alice, bob, reasons=[Reason.TICKET_REFUSED])

    def test_a_callee_that_sends_one_is_refused(self, caller_is_client, monkeypatch):
        facts = identity_dialogue.Dialogue._identity

        def with_proof(self):
            return dataclasses.replace(facts(self), ticket_proof=b"p" * 64)

        monkeypatch.setattr(identity_dialogue.Dialogue, "_identity", with_proof)
        require_both_ended(*call(caller_is_client), reasons=[Reason.IDENTITY_MISMATCH])


@ROLES
class TestCommitment:
    """H5: the client reveals another nonce than it committed to."""

    def test_it_ends_the_call_and_burns_a_guess(self, caller_is_client, monkeypatch):
        honest = identity_dialogue.Dialogue._body

        def cheat(self, kind):
            if kind.name == "REVEAL":
                return b"chosen after seeing the server's"
            return honest(self, kind)

        monkeypatch.setattr(identity_dialogue.Dialogue, "_body", cheat)
        alice, bob = call(caller_is_client)
        require_both_ended(alice, bob, reasons=[Reason.COMMIT_MISMATCH])
        server = bob if caller_is_client else alice
        assert isinstance(server.failed, HandshakeFailed)
        assert server.failed.guess_burned

    def test_a_failure_before_the_nonces_burns_none(self, caller_is_client):
        def edit(alice, bob):
            alice.expected = MALLORY.address

        alice, bob = call(caller_is_client, edit=edit)
        assert not alice.failed.guess_burned  # she refused the callee before any nonce
        assert bob.failed.guess_burned is caller_is_client  # a server sends it with its IDENTITY


@ROLES
def test_a_close_before_both_dones_is_a_failure(caller_is_client):
    alice, bob = make_pair(ALICE, BOB, caller_is_client=caller_is_client)
    link = Link(alice, bob)
    link.run(until=0.13)
    assert alice.complete is None
    link.fate = lambda number, up, data: (0.0,)
    for datagram in alice.close(link.now):
        bob.receive(datagram, link.now)
    assert bob.closed
    assert bob.complete is None
    assert bob.identity is None or bob.identity.deadline is None


@ROLES
def test_what_the_application_must_not_confuse_is_refused_at_construction(caller_is_client):
    good = {
        "tls_client": caller_is_client,
        "call_role": CallRole.CALLER,
        "statement": ALICE.statement,
        "device": ALICE.device,
        "own_address": ALICE.address,
        "expected_peer": BOB.address,
        "fp_sent": b"s" * 64,
        "fp_received": b"r" * 64,
        "outer_exporter": Secret(b"o" * 64),
        "judge": lambda claim: None,
        "nonce": b"n" * 32,
        "unix": NOW,
    }
    IdentityHandshake(**good)
    for change in (
        {"nonce": b"short"},
        {"expected_peer": ""},
        {"call_role": CallRole.CALLEE, "ticket_secret": Secret(b"t" * 32)},
        {"statement": b"{}"},
    ):
        with pytest.raises(UsageError):
            IdentityHandshake(**(good | change))
