"""A client that chats with nobody: what the commands of chat are tried against.

A conversation of the real class over a history in memory; the courier keeps what was sent.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from types import SimpleNamespace

from securecall.address import parse_address
from securecall.chat.conversation import Conversation, Recipient
from securecall.chat.message import (
    Delivery,
    DeviceTrust,
    Displayed,
    Message,
    Reaction,
    SharedFile,
    Text,
)
from securecall.contacts import Contact
from securecall.errors import LocalError
from securecall.events import MessageChanged, MessageReceived
from securecall.keys.trust import TrustState
from securecall.people import Person
from securecall.secret import Secret
from securecall.xmpp.jid import parse_jid
from securecall.xmpp.presence import Presence, Show, SubscriptionAsk
from securecall.xmpp.reachability import Network, Reachability
from securecall.xmpp.roster import RosterItem, Subscription
from tests.memory_history import MemoryHistory

ALICE = parse_address("xmpp:alice@clinic.example")
BOB = parse_address("xmpp:bob@clinic.example")
NOON = 1_764_072_000.0  # 2025-11-25 12:00 UTC


def somebody(address=BOB, name="Bob", *, status="", show=Show.AVAILABLE):
    """A person on the roster, who is there."""
    bare = address.short
    return Person(
        address=address,
        item=RosterItem(jid=bare, name=name, subscription=Subscription.BOTH),
        presence=Presence(jid=parse_jid(f"{bare}/phone"), show=show, status=status),
        reachability=Reachability(network=Network.NONE),
        contact=None,
        blocked=False,
    )


class FakeChat:
    """A signed-in client; `say` lets somebody write, `told` is what the other side was told."""

    own = ALICE

    def __init__(self, *, clock=None, pending=False) -> None:
        self.history = MemoryHistory()
        self.told: list[object] = []
        self.written: list[object] = []
        self.acts: list[tuple[object, ...]] = []
        self.asks: dict[str, SubscriptionAsk] = {}
        self.chat_accounts = (SimpleNamespace(people=SimpleNamespace(asks=self.asks)),)
        self.published: list[Recipient] = [device(1)]
        self.everybody = [somebody()]
        self.contact = Contact(address=BOB, addresses=(BOB,))
        self.now = clock or (lambda: NOON)
        self.pending = pending  # the server takes nothing
        self.queues: list[asyncio.Queue[object]] = []
        self.signed_in: dict[str, object] = {}
        self.contacts = SimpleNamespace(
            find=lambda _address: self.contact,
            safety_number=lambda _address: " ".join(f"{n:05d}" for n in range(12)),
            verify=self._verify,
            omemo=(),
        )

    async def __aenter__(self):
        return self

    async def __aexit__(self, *error):
        pass

    def _verify(self, address, how, *, root_fp):
        self.acts.append(("verify", address, root_fp))
        self.contact = replace(self.contact, state=TrustState.VERIFIED)
        return self.contact

    # -- the client ---------------------------------------------------------------------------

    async def sign_in(self, sip="", **how):
        self.signed_in = how

    def conversation(self, address):
        if isinstance(address, str):
            address = parse_address(address if ":" in address else f"xmpp:{address}")
        return Conversation(address, self, self.history)

    def conversations(self):
        return tuple(Conversation(a, self, self.history) for a in self.history.conversations())

    def people(self):
        return tuple(self.everybody)

    @property
    def devices(self):
        """Where decisions about devices go."""
        return self

    def has_written_to(self, address):
        return True

    def trust_device(self, address, identity_key):
        self.acts.append(("trust", address, identity_key))
        self._decide(identity_key, DeviceTrust.TRUSTED)

    def verify_device(self, address, identity_key):
        self.acts.append(("verify device", address, identity_key))
        self._decide(identity_key, DeviceTrust.VERIFIED)

    def distrust_device(self, address, identity_key):
        self.acts.append(("distrust", address, identity_key))
        self._decide(identity_key, DeviceTrust.DISTRUSTED)

    def _decide(self, key, trust):
        self.published = [
            replace(d, trust=trust) if d.identity_key == key else d for d in self.published
        ]

    async def add_contact(self, address, name=""):
        self.acts.append(("add", str(address), name))

    async def accept_contact(self, address):
        self.acts.append(("accept", str(address)))

    async def decline_contact(self, address):
        self.acts.append(("decline", str(address)))

    async def remove_contact(self, address):
        self.acts.append(("remove", str(address)))

    async def block(self, address):
        self.acts.append(("block", str(address)))

    async def unblock(self, address):
        self.acts.append(("unblock", str(address)))

    def events(self):
        queue: asyncio.Queue[object] = asyncio.Queue()
        self.queues.append(queue)

        async def drain():
            while True:
                yield await queue.get()

        return drain()

    def tell_all(self, event):
        for queue in self.queues:
            queue.put_nowait(event)

    # -- the courier --------------------------------------------------------------------------

    async def write(self, to, said, *, plain):
        self.written.append(said)
        if isinstance(said, Reaction):
            message = self._by_id(to, said.to)
            message = replace(message, reactions={**message.reactions, ALICE: said.emojis})
            self.history.replace(message)
        elif isinstance(said, Text) and said.corrects:
            message = replace(self._by_id(to, said.corrects), text=said.body, edited=self.now())
            self.history.replace(message)
        else:
            message = self.history.add(
                Message(
                    conversation=to,
                    sender=ALICE,
                    own=True,
                    id=f"a{len(self.written)}",
                    sent=self.now(),
                    text=said.body,
                    file=said.file,
                    reply_to=said.reply_to,
                    expires=said.expires,
                    delivery=Delivery.PENDING if self.pending else Delivery.SENT,
                )
            )
        self.tell_all(MessageChanged(message))
        return message

    def _by_id(self, to, name):
        return next(m for m in self.history.messages(to, count=9999) if m.id == name)

    async def tell(self, to, said):
        self.told.append(said)

    async def lay_up(self, to, enclosure, *, progress):
        data = enclosure.path.read_bytes()
        for done in range(0, len(data) + 1, max(1, len(data) // 4)):
            progress(done, len(data))
        progress(len(data), len(data))
        return shared(name=enclosure.name, size=len(data), seconds=enclosure.seconds)

    async def fetch(self, file, folder, *, progress):
        if not folder.is_dir():
            raise LocalError(f"there is no folder {folder}")
        progress(file.size, file.size)
        path = folder / file.name
        path.write_bytes(b"x" * file.size)
        return path

    async def recipients(self, to):
        return tuple(self.published)

    async def changed(self):
        await asyncio.Event().wait()

    # -- the other side -----------------------------------------------------------------------

    def say(self, text="", *, sender=BOB, **fields):
        """Let somebody write."""
        fields = {"conversation": sender, "sent": self.now(), "unread": True, **fields}
        fields.setdefault("id", f"b{len(self.history.messages(sender, count=9999))}")
        fields.setdefault("trust", DeviceTrust.TRUSTED)
        message = self.history.add(Message(sender=sender, text=text, **fields))
        self.tell_all(MessageReceived(message))
        return message

    def change(self, message, **fields):
        """Let a message become another."""
        message = replace(self.kept(message.number), **fields)
        self.history.replace(message)
        self.tell_all(MessageChanged(message))
        return message

    def kept(self, number):
        """A message as it is now."""
        return next(m for m in self.history.after(number - 1, count=1))

    @property
    def seen(self):
        return [said.id for said in self.told if isinstance(said, Displayed)]


def device(number, trust=DeviceTrust.TRUSTED, address=BOB):
    key = bytes([number]) * 32
    groups = " ".join(key.hex()[n : n + 8] for n in range(0, 64, 8))
    return Recipient(address=address, id=number, identity_key=key, trust=trust, fingerprint=groups)


def shared(**fields):
    given = {"url": "https://upload.clinic.example/x", "key": Secret(b"k" * 32), "iv": b"i" * 12}
    return SharedFile(**{**given, "media_type": "application/octet-stream", **fields})
