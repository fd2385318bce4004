"""The frozen vectors, the oracles and we agree; and the oracles share no code with us."""

from __future__ import annotations

import ast
import json

import pytest

from securecall.errors import StatementInvalid
from securecall.keys import ticket
from securecall.keys.encoding import label, sha512
from securecall.keys.identity import root_fingerprint
from securecall.keys.identity_dialogue import CallFacts, Dialogue, binding, fingerprint_hash
from securecall.keys.identity_messages import CallRole, FrameReader
from securecall.keys.statement import parse_statement
from securecall.keys.verification import safety_number, sas
from securecall.keys.wordlist import words
from securecall.rtp.sframe import SframeReceiver, SframeSender, rtp_metadata
from securecall.rtp.srtp import SrtpProfile, SrtpSession
from securecall.secret import Secret
from tests.oracle import statement as oracle
from tests.oracle.vectors import FILES, FOLDER, text
from tests.paths import PROJECT


def frozen(name: str) -> dict:
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", FILES)
def test_the_files_are_what_the_oracles_make(name):
    assert (FOLDER / f"{name}.json").read_text(encoding="utf-8") == text(name)


def test_no_oracle_imports_anything_of_ours():
    for path in (PROJECT / "tests" / "oracle").glob("*.py"):
        if path.name.startswith("test_"):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            assert not [n for n in names if n.startswith("securecall")], path.name
            assert not [n for n in names if n.startswith("tests.") and n != "tests.oracle"] or {
                *names
            } <= {"tests.oracle.identity"}, path.name


def test_statements_are_taken_and_refused_alike():
    data = frozen("statements")
    for name, jws in data["accepted"].items():
        ours, theirs = (
            parse_statement(jws.encode(), unix=data["now"]),
            oracle.read(jws.encode(), now=data["now"]),
        )
        assert ours.root_fp == theirs["root_fp"], name
        assert [str(a) for a in ours.addresses] == theirs["addrs"], name
        assert [d.raw for d in ours.devices] == [d["raw"] for d in theirs["devices"]], name
        assert (ours.seq, ours.iat, ours.exp) == tuple(theirs[n] for n in ("seq", "iat", "exp"))
    assert len(data["refused"]) == 18
    for jws in data["refused"].values():
        with pytest.raises(StatementInvalid):
            parse_statement(jws.encode(), unix=data["now"])
        with pytest.raises(oracle.Refused):
            oracle.read(jws.encode(), now=data["now"])


def test_the_devices_of_a_statement_carry_every_member():
    data = frozen("statements")
    (device,) = parse_statement(
        data["accepted"]["bob, with every member"].encode(), unix=data["now"]
    ).devices
    assert device.p256 and device.hpke_sha256 and device.omemo and device.caps


def test_fingerprints_and_safety_numbers():
    data = frozen("statements")
    made = root_fingerprint(bytes.fromhex(data["root_fp"]["ed25519"]))
    assert made.hex() == data["root_fp"]["root_fp"]
    number = data["safety_number"]
    assert safety_number(*map(bytes.fromhex, number["root_fps"])) == number["digits"]


def ends(data: dict, run: dict) -> dict[str, Dialogue]:
    """Our two dialogues for the call of the vectors."""
    found = {}
    statements = frozen("statements")["accepted"]
    jws = {"caller": statements["alice"], "callee": statements["bob, with every member"]}
    for me, peer in (("caller", "callee"), ("callee", "caller")):
        client = run["callee_is_tls_client"] == (me == "callee")
        ours = ("offer", "answer") if me == "caller" else ("answer", "offer")
        lines = data["fingerprint_lines"]
        facts = CallFacts(
            tls_client=client,
            call_role=CallRole.CALLER if me == "caller" else CallRole.CALLEE,
            statement=jws[me].encode(),
            own_root_fp=bytes.fromhex(data[me]["root_fp"]),
            device_id=data[me]["device_id"],
            device_key=bytes.fromhex(data[me]["device_public"]),
            own_address=data[me]["address"],
            expected_peer=data[peer]["address"],
            fp_sent=fingerprint_hash(lines[ours[0]]),
            fp_received=fingerprint_hash(lines[ours[1]]),
            bind=binding(bytes.fromhex(data["outer_exporter"])),
            ticket_secret=Secret(bytes.fromhex(data["ticket_secret"])) if me == "caller" else None,
        )
        found["C" if client else "S"] = Dialogue(
            facts,
            peer_key=bytes.fromhex(data[peer]["device_public"]),
            nonce=bytes.fromhex(data["nonce_client" if client else "nonce_server"]),
            unix=data["now"],
            judge=lambda claim: None,
        )
    return found


@pytest.mark.parametrize("number", [0, 1])
def test_our_dialogues_say_the_frames_of_the_vectors_and_take_them(number):
    data = frozen("handshake")
    run = data["runs"][number]
    both = ends(data, run)
    said = {who: dialogue.begin() for who, dialogue in both.items()}
    for line in run["frames"]:
        who, frame = line["from"], bytes.fromhex(line["frame"])
        assert said[who].startswith(frame), "the next thing said"
        said[who] = said[who][len(frame) :]
        reader = FrameReader()
        reader.feed(frame)
        other = "S" if who == "C" else "C"
        message = reader.next()
        assert message is not None
        said[other] += both[other].receive(*message)
    assert said == {"C": b"", "S": b""}
    assert both["C"].complete and both["S"].complete
    for dialogue in both.values():
        assert dialogue.nonces.hex() == data["sas_context"]
        for row in data["sframe_contexts"]:
            shared = label("sframe") + bytes.fromhex(data["outer_exporter"]) + dialogue.nonces
            shared += b"".join(dialogue.identity_hashes) + bytes((row["role"], row["stream"]))
            assert sha512(shared).hex() == row["context"]


def test_binding_fingerprints_and_tickets():
    data = frozen("handshake")
    assert binding(bytes.fromhex(data["outer_exporter"])).hex() == data["bind"]
    for name, lines in data["fingerprint_lines"].items():
        assert fingerprint_hash(lines).hex() == data["fingerprint_hashes"][name]
    secret = Secret(bytes.fromhex(data["ticket_secret"]))
    proof = ticket.proof(secret, bytes.fromhex(data["bind"]), CallRole.CALLER)
    assert proof.hex() == data["ticket_proof"]


def test_words_and_digits():
    for row in frozen("handshake")["sas"]:
        ours = sas(bytes.fromhex(row["secret"]))
        assert ours.words == tuple(words()[n] for n in row["words"])
        assert ours.digits == row["digits"]


def test_frames_and_packets():
    data = frozen("media")
    base = Secret(bytes.fromhex(data["sframe_base_key"]))
    receiver = SframeReceiver()
    for kid in sorted({row["kid"] for row in data["sframe"]}):
        receiver.add_key(kid, base)
    for row in data["sframe"]:
        metadata = rtp_metadata(row["payload_type"], row["mid"])
        plain, carried = bytes.fromhex(row["plain"]), bytes.fromhex(row["rtp_payload"])
        assert receiver.open_rtp(carried, metadata) == plain
        sender = SframeSender(base, row["kid"])
        while sender.sealed < row["counter"]:
            sender.seal(b"")
        assert sender.seal_rtp(plain, metadata) == carried
    sessions = {}
    for row in data["srtp"]:
        key = bytes.fromhex(row["master_key"]) + bytes.fromhex(row["master_salt"])
        there, back = Secret(key), Secret(bytes(len(key)))
        profile = SrtpProfile[row["profile"]]
        alice, bob = sessions.setdefault(
            profile, (SrtpSession(profile, there, back), SrtpSession(profile, back, there))
        )
        rtp, packet = bytes.fromhex(row["rtp"]), bytes.fromhex(row["srtp"])
        assert alice.protect(rtp) == packet
        assert bob.unprotect(packet) == rtp
