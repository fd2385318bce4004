from __future__ import annotations

import pytest

from securecall.errors import ProtocolError
from securecall.xmpp.external_services import (
    Service,
    parse_services,
    stun_servers,
    turn_servers,
)
from tests.stanzas import stanza

NOON = 1_764_072_000.0  # 2025-11-25T12:00:00Z


def services(*inside: str) -> tuple[Service, ...]:
    text = "".join(f"<service {attributes}/>" for attributes in inside)
    return parse_services(stanza(f"<services xmlns='urn:xmpp:extdisco:2'>{text}</services>"))


TURN = (
    "type='turn' host='turn.a.example' port='3479' transport='udp' username='u' "
    "password='watchword-of-turn'"
)


def test_relays_become_what_a_call_takes():
    found = services(
        TURN.replace("transport='udp'", "transport='tcp'"),
        TURN + " expires='2025-11-25T13:00:00Z' restricted='1'",
        TURN.replace("'turn'", "'turns'", 1).replace("transport='udp'", ""),
    )
    udp, tcp, tls = turn_servers(found, unix=NOON)
    assert (udp.host, udp.port, udp.username, udp.transport, udp.tls) == (
        "turn.a.example", 3479, "u", "udp", False,
    )  # fmt: skip
    assert udp.password.reveal() == b"watchword-of-turn"
    assert (tcp.transport, tcp.tls) == ("tcp", False)
    assert (tls.transport, tls.tls) == ("tcp", True)


def test_passwords_that_end_or_are_missing_are_not_used():
    found = services(
        TURN + " expires='2025-11-25T12:00:30Z'",
        "type='turn' host='t.example' restricted='true'",
        "type='turns' host='t.example' transport='udp' username='u' password='watchword-of-turn'",
    )
    assert turn_servers(found, unix=NOON) == ()
    assert [s.needs_credentials for s in found] == [False, True, False]


def test_stun_servers_are_asked_over_udp_only():
    found = services(
        "type='stun' host='STUN.a.example'",
        "type='stun' host='192.0.2.1' port='9' transport='tcp'",
        "type='stun' host='2001:db8::1' port='9'",
        "type='stuns' host='x.example'",
        "type='stun' host='y.example' restricted='1'",
    )
    assert stun_servers(found, unix=NOON) == (("stun.a.example", 3478), ("2001:db8::1", 9))
    assert found[3].port == 5349


def test_other_services_and_removals_are_left_out():
    assert services("type='ftp' host='f.example'", "type='turn' host='t' action='delete'") == ()


@pytest.mark.parametrize(
    "attributes",
    ["type='turn'", "type='turn' host='a b'", "type='turn' host='-x'",
     "type='turn' host='t' port='0'",
     "type='turn' host='t' port='65536'", "type='turn' host='t' port='²'",
     "type='turn' host='t' transport='carrier-pigeon'", "type='turn' host='t' expires='soon'",
     f"type='turn' host='t' username='{'u' * 513}'"],
)  # fmt: skip
def test_what_is_no_service_is_refused(attributes):
    with pytest.raises(ProtocolError):
        services(attributes)


def test_answers_are_lists_and_bounded():
    for wrong in (None, stanza("<services xmlns='urn:xmpp:extdisco:1'/>")):
        with pytest.raises(ProtocolError):
            parse_services(wrong)
    with pytest.raises(ProtocolError):
        services(*["type='stun' host='s.example'"] * 65)


def test_no_password_is_shown():
    (found,) = services(TURN)
    assert "watchword" not in repr(found)
