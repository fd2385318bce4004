"""Our own server puts what another device of ours wrote to Juliet into another conversation.

OMEMO 2 lets an envelope leave out for whom it is, but in rooms (XEP-0384 4.3); the control reads
such a one, as it was.
"""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from securecall.chat.message import DeviceTrust, Text, Unreadable
from securecall.keys.omemo_values import OMEMO, Device, Opened
from securecall.xmpp.envelope import Envelope
from securecall.xmpp.inbox import Inbox
from securecall.xmpp.unwrap import unwrap
from tests.around import AROUND, NOW, OWN
from tests.memory_history import MemoryHistory
from tests.stanzas import stanza

pytestmark = pytest.mark.attack

ROMEO, JULIET, TYBALT = "romeo@montague.example", "juliet@capulet.example", "tybalt@capulet.example"


def envelope(to: str) -> bytes:
    named = f"<to jid='{to}'/>" if to else ""
    return (
        "<envelope xmlns='urn:xmpp:sce:1'><content><body xmlns='jabber:client'>I love you</body>"
        f"</content><rpad/><from jid='{ROMEO}'/>{named}</envelope>"
    ).encode()


def sent_to(reader: str, to: str):
    """What our server says that we wrote to the reader, and what is inside."""
    found = unwrap(
        stanza(
            f"<message from='{ROMEO}' to='{OWN}'><sent xmlns='urn:xmpp:carbons:2'>"
            "<forwarded xmlns='urn:xmpp:forward:0'>"
            f"<message xmlns='jabber:client' id='1' type='chat' from='{ROMEO}/phone' to='{reader}'>"
            f"<encrypted xmlns='{OMEMO}'><header sid='5'><keys jid='{ROMEO}'>"
            "<key rid='6'>AAAA</key></keys></header><payload>AAAA</payload></encrypted>"
            "</message></forwarded></sent></message>"
        ),
        AROUND,
    )
    device = Device(namespace=OMEMO, jid=ROMEO, id=5, identity_key=bytes(32))
    opened = Opened(plaintext=envelope(to), device=device, established=False)
    omemo = SimpleNamespace(jid=ROMEO, device_id=6, open_sealed=lambda sealed, jid: opened)
    inbox = Inbox(omemo, lambda device: DeviceTrust.VERIFIED, MemoryHistory())
    (arrival,) = inbox.read(found, now=NOW)
    return arrival


@pytest.mark.parametrize("guarded", [True, False])
@pytest.mark.parametrize("to", ["", JULIET])
def test_what_we_wrote_to_juliet_was_not_written_to_tybalt(monkeypatch, guarded, to):
    if not guarded:
        monkeypatch.setattr(Envelope, "require", lambda self, **_: None)
    arrival = sent_to(TYBALT, to)
    assert arrival.own
    assert isinstance(arrival.said, Unreadable if guarded else Text)


def test_what_we_wrote_to_juliet_is_shown_there():
    assert sent_to(JULIET, JULIET).said == Text(body="I love you")
