"""A small XMPP client in this process, to ask servers what they do."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import itertools
import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from xml.etree import ElementTree as ET

from securecall.transport.tls import client_context, connect

CLIENT = "jabber:client"
SASL = "urn:ietf:params:xml:ns:xmpp-sasl"
BIND = "urn:ietf:params:xml:ns:xmpp-bind"
MANAGEMENT = "urn:xmpp:sm:3"
STREAMS = "http://etherx.jabber.org/streams"
_HASHES = {"SCRAM-SHA-256": "sha256", "SCRAM-SHA-1": "sha1"}


class Refused(Exception):
    """The server did not take the password, or resume the stream; its condition."""


class XmppPerson:
    """Somebody signed in; what comes and is no answer waits in `others`."""

    def __init__(self, connection, domain: str) -> None:
        self._connection, self._domain = connection, domain
        self._numbers = itertools.count(1)
        self.mechanisms: list[str] = []
        self.jid = ""
        self.others: list[ET.Element] = []

    @classmethod
    async def sign_in(
        cls,
        port: int,
        name: str,
        password: str,
        *,
        domain: str,
        authorities: Path,
        resume: str = "",
        present: bool = True,
    ):
        """Connect by direct TLS to a port of this machine, prove the password, come online.

        Args:
            resume: The lost stream to go on with, nothing of which had arrived (XEP-0198 5).
            present: Say that they are there, so that messages come.
        """
        connection = await connect(
            "127.0.0.1", port, server_name=domain, context=client_context(authorities)
        )
        person = cls(connection, domain)
        try:
            await person._authenticate(name, password)
            await person._open_stream()
            if resume:
                person.send(ET.Element("resume", xmlns=MANAGEMENT, previd=resume, h="0"))
                ends = {f"{{{MANAGEMENT}}}resumed", f"{{{MANAGEMENT}}}failed"}
                answer = await person.wait(lambda e: e.tag in ends)
                if answer.tag.endswith("failed"):
                    raise Refused(answer[0].tag.partition("}")[2])
                return person
            bound = await person.ask(ET.Element(f"{{{BIND}}}bind"))
            person.jid = bound.findtext(f".//{{{BIND}}}jid", "")
            if present:
                person.send(ET.Element("presence"))
                # until the server saw it: what comes in between may be kept for another time
                _ = await person.ask(ET.Element("ping", xmlns="urn:xmpp:ping"), "get")
        except BaseException:
            await person.close()
            raise
        return person

    async def _open_stream(self) -> ET.Element:
        self._parser = ET.XMLPullParser(["start", "end"])
        self._depth = 0
        self._connection.send(
            f"<stream:stream xmlns='{CLIENT}' xmlns:stream='{STREAMS}' to='{self._domain}'"
            " version='1.0'>".encode()
        )
        return await self.next()

    async def _authenticate(self, name: str, password: str) -> None:
        features = await self._open_stream()
        self.mechanisms = [e.text or "" for e in features.iter(f"{{{SASL}}}mechanism")]
        mechanism = next(m for m in _HASHES if m in self.mechanisms)
        kind = _HASHES[mechanism]
        first = f"n={name},r={secrets.token_urlsafe(12)}"
        self._sasl("auth", "n,," + first, mechanism=mechanism)
        server_first = base64.b64decode((await self._not_refused()).text or "").decode()
        fields = dict(part.split("=", 1) for part in server_first.split(","))
        salted = hashlib.pbkdf2_hmac(
            kind, password.encode(), base64.b64decode(fields["s"]), int(fields["i"])
        )
        client_key = hmac.digest(salted, b"Client Key", kind)
        bare = f"c=biws,r={fields['r']}"
        signed = ",".join((first, server_first, bare)).encode()
        signature = hmac.digest(hashlib.new(kind, client_key).digest(), signed, kind)
        proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
        self._sasl("response", f"{bare},p={base64.b64encode(proof).decode()}")
        assert (await self._not_refused()).tag == f"{{{SASL}}}success"

    def _sasl(self, tag: str, text: str, **attributes: str) -> None:
        element = ET.Element(tag, attributes, xmlns=SASL)
        element.text = base64.b64encode(text.encode()).decode()
        self.send(element)

    async def _not_refused(self) -> ET.Element:
        answer = await self.next()
        if answer.tag == f"{{{SASL}}}failure":
            raise Refused(answer[0].tag.partition("}")[2])
        return answer

    def send(self, element: ET.Element) -> None:
        """Send it as it is."""
        self._connection.send(ET.tostring(element))

    async def next(self, *, seconds: float = 40.0) -> ET.Element:
        """Wait for the next element of the stream, whatever it is."""
        async with asyncio.timeout(seconds):
            while True:
                for event, element in self._parser.read_events():
                    self._depth += 1 if event == "start" else -1
                    if event == "end" and self._depth == 1:
                        return element
                data = await self._connection.receive()
                assert data, "the server closed the stream"
                self._parser.feed(data)

    async def ask(self, payload: ET.Element, kind: str = "set", to: str = "") -> ET.Element:
        """Send an IQ and return the answer, a result or an error."""
        number = f"q{next(self._numbers)}"
        iq = ET.Element("iq", {"type": kind, "id": number, **({"to": to} if to else {})})
        iq.append(payload)
        self.send(iq)
        return await self.wait(lambda e: e.tag == f"{{{CLIENT}}}iq" and e.get("id") == number)

    async def wait(self, wanted: Callable[[ET.Element], bool]) -> ET.Element:
        """Wait for the first that is wanted, among what came before, too."""
        for i, element in enumerate(self.others):
            if wanted(element):
                return self.others.pop(i)
        while not wanted(element := await self.next()):
            self.others.append(element)
        return element

    async def archive(self) -> list[ET.Element]:
        """The last messages that the server keeps of them."""
        page = "<set xmlns='http://jabber.org/protocol/rsm'><max>20</max><before/></set>"
        _ = await self.ask(ET.fromstring(f"<query xmlns='urn:xmpp:mam:2'>{page}</query>"))
        found = [e for e in self.others if e.find("{urn:xmpp:mam:2}result") is not None]
        self.others = [e for e in self.others if e not in found]
        return found

    async def lose(self) -> None:
        """Lose the connection without a goodbye."""
        self._connection.abort()

    async def close(self) -> None:
        """Say goodbye."""
        with suppress(OSError):
            self._connection.send(b"</stream:stream>")
        await self._connection.close()
