"""The whole attacker: a provider's proxy gone bad, between two clients that trust it.

She is the positive control of our attack tests and of the demonstration: against media that is
only "encrypted" (DTLS-SRTP whose fingerprints come through her) she hears and records everything;
against the real thing she holds keys for nothing.
"""

from __future__ import annotations

import enum
import logging
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from securecall.address import ANONYMOUS, Address, parse_address
from securecall.clock import unix_now
from securecall.errors import SecurecallError
from securecall.media.description import Description
from securecall.sip.message import Message, Request, Response
from securecall.sip.sdp import parse_description
from securecall.testing.authority import Authority
from securecall.testing.edits import fingerprints, redirect
from securecall.testing.evil_link import (
    ActingLink,
    EvilLink,
    FalseSelf,
    Inner,
    PassingLink,
    is_client,
)
from securecall.testing.evil_media import CALLEE, CALLER, EvilMedia, fresh_nonce
from securecall.testing.mallory_proxy import Dialogue, Proxy, Way
from securecall.transport.tls import PemPair

log = logging.getLogger(__name__)


class Mode(enum.StrEnum):
    """What she does to calls.

    HONEST: forwards, untouched.
    TAP: leads the media through herself and passes every datagram on (or what `edit` makes of it).
    SWAP: puts herself in the middle: her addresses, her certificates, her keys.
    """

    HONEST = "honest"
    TAP = "tap"
    SWAP = "swap"


SdpTamper = Callable[[str, bool], str]
Tamper = Callable[[Message, Dialogue, bool], Message | None]
Event = dict[str, str | int | float | bool]
LinkMaker = Callable[[Description, Description, EvilMedia, bool], EvilLink]


class Mallory:
    """The attacker, as `async with Mallory(...)`.

    Attributes:
        mode, inner: What she does to calls that begin from now on.
        address: Host and port she listens on, once entered.
        name: The name her certificate proves.
        authority: The certificate authority both victims trust; hers, as it happens.
        tamper_sdp: Functions of (sdp, towards the callee), applied after her own changes.
        tamper: Functions of (message, dialogue, towards the callee), applied last;
            None swallows it.
        link: Makes her end of DTLS on a leg in place of what `inner` says;
            (offer, answer, media, facing the caller).
        media: The relay of each call, by Call-ID.
        on_event: Told what happens.
    """

    def __init__(
        self,
        folder: Path,
        *,
        mode: Mode = Mode.HONEST,
        inner: Inner = Inner.STRIP,
        name: str = "provider.test",
        direct: bool = False,
        host: str = "127.0.0.1",
        port: int = 0,
        on_event: Callable[[Event], None] = lambda event: None,  # noqa: ARG005
    ) -> None:
        """Prepare.

        Args:
            folder: For certificates and recordings.
            mode: What she does.
            inner: What she does about the identity handshake, where she swaps.
            name: The name she is trusted under.
            direct: Listen as a direct peer (tickets), with a certificate nobody verifies.
            host: Address for signalling and media.
            port: Of the signalling.
            on_event: Told what happens.
        """
        self.mode = mode
        self.inner = inner
        self.name = name
        self.address = (host, port)
        self.authority = Authority.make(folder)
        self.tamper_sdp: list[SdpTamper] = []
        self.tamper: list[Tamper] = []
        self.link: LinkMaker | None = None
        self.media: dict[str, EvilMedia] = {}
        self.on_event = on_event
        self.self_ = FalseSelf()
        self._folder = folder
        self._direct = direct
        self._offers: dict[str, Description] = {}
        self._modes: dict[str, Mode] = {}
        self._started: set[str] = set()
        self.proxy = Proxy(self._handle, authorities=self.authority.pem)

    async def __aenter__(self) -> Self:
        """Listen."""
        certificate = None if self._direct else self.certify(self.name, self.address[0])
        self.address = await self.proxy.open(*self.address, certificate)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close everything."""
        await self.proxy.close()
        for media in self.media.values():
            await media.close()

    def certify(self, name: str, *more: str) -> PemPair:
        """Issue a certificate, e.g. for a victim's own listener."""
        return self.authority.issue(name, *more)

    def route(
        self, address: str, host: str, port: int, *, name: str = "", target: str = ""
    ) -> None:
        """Send calls for an address ("*" for all others) to a listener.

        Args:
            address: "sip:user@host".
            host: Where the callee listens.
            port: Where the callee listens.
            name: The name its certificate proves; "" for a direct listener.
            target: Call this SIP URI there in place of the one asked for.
        """
        key = address.partition(":")[2].lower() if address != "*" else "*"
        self.proxy.ways[key] = Way(host=host, port=port, name=name, target=target)

    @property
    def bytes_decrypted(self) -> int:
        """Octets of sound she opened and decoded, in all calls."""
        return sum(media.bytes_decrypted for media in self.media.values())

    @property
    def decryptable(self) -> int:
        """Octets of sound in everything captured that any key she ever held opens."""
        return sum(media.decryptable() for media in self.media.values())

    @property
    def recordings(self) -> tuple[Path, ...]:
        """WAV files with something in them: the caller left, the callee right."""
        return tuple(sorted(p for p in self._folder.glob("heard-*.wav") if p.stat().st_size > 44))

    @property
    def last_call(self) -> Dialogue:
        """The call that came last."""
        return list(self.proxy.dialogues.values())[-1]

    @property
    def last_media(self) -> EvilMedia:
        """The relay that was opened last."""
        return list(self.media.values())[-1]

    # -- messages --------------------------------------------------------------------------------

    async def _handle(
        self,
        message: Message,
        dialogue: Dialogue,
        to_callee: bool,  # noqa: FBT001 - as `Tamper`
    ) -> Message | None:
        call = dialogue.call_id
        if call not in self._modes:
            self._modes[call] = self.mode
            self._say(type="call", caller=_who(dialogue.invite, "from"), mode=self.mode.value)
        if message.body and "sdp" in (message.headers.first("content-type") or "").lower():
            await self._describe(message, dialogue, to_callee=to_callee)
        for tamper in self.tamper:
            altered = tamper(message, dialogue, to_callee)
            if altered is None:
                return None
            message = altered
        match message:
            case Request(method="BYE" | "CANCEL" as method):
                self._say(type="ended", by="caller" if to_callee else "callee", how=method)
                if call in self.media:
                    self.media[call].finish_recording()
            case Response(status=status) if status >= 300:
                self._say(type="refused", by="caller" if to_callee else "callee", status=status)
        return message

    async def _describe(self, message: Message, dialogue: Dialogue, *, to_callee: bool) -> None:
        call = dialogue.call_id
        original = message.body
        if self._modes[call] is not Mode.HONEST:
            media = self.media.get(call)
            if media is None:
                recording = self._folder / f"heard-{len(self.media)}.wav"
                media = await EvilMedia.open(
                    self.address[0],
                    recording=recording if self._modes[call] is Mode.SWAP else None,
                    tell=lambda what, side: self._say(
                        type="media", what=what, side="caller" if side == CALLER else "callee"
                    ),
                )
                self.media[call] = media
            text = message.body.decode()
            # what goes to the callee names the port that faces the callee
            text = redirect(media.host, media.ports[CALLEE if to_callee else CALLER])(text)
            if self._modes[call] is Mode.SWAP:
                digest = media.certificate.digest
                text = fingerprints(f"{digest.algorithm} {digest.value.hex(':').upper()}")(text)
            message.body = text.encode()
        for edit in self.tamper_sdp:
            message.body = edit(message.body.decode(), to_callee).encode()
        self._follow(message, original, dialogue)

    def _follow(self, message: Message, original: bytes, dialogue: Dialogue) -> None:
        """Learn the first offer and answer, and start the relay with them."""
        call = dialogue.call_id
        try:
            description = parse_description(original)
        except SecurecallError as e:
            log.info("a description she cannot read: %s", e)
            return
        if isinstance(message, Request):
            _ = self._offers.setdefault(call, description)
            return
        offer, media = self._offers.get(call), self.media.get(call)
        if offer is None or media is None or call in self._started or message_status(message) < 200:
            return
        self._started.add(call)
        if self._modes[call] is Mode.TAP:
            media.tap(offer, description)
            return
        try:
            links = (
                self._link(offer, description, media, dialogue, side=CALLER),
                self._link(offer, description, media, dialogue, side=CALLEE),
            )
        except SecurecallError as e:
            log.info("no way into this call: %s", e)
            return
        media.terminate(offer, description, links)

    def _link(
        self,
        offer: Description,
        answer: Description,
        media: EvilMedia,
        dialogue: Dialogue,
        *,
        side: int,
    ) -> EvilLink:
        facing_caller = side == CALLER
        if self.link is not None:
            return self.link(offer, answer, media, facing_caller)
        victim = offer if facing_caller else answer
        if self.inner is Inner.RELAY:
            client = is_client(answer, facing_caller=facing_caller)
            return PassingLink(victim, media.certificate, client=client)
        identity = None
        if self.inner is Inner.IMPERSONATE:
            caller = _address_of(dialogue.invite, "from")
            callee = _address_of(dialogue.invite, "to")
            claimed, peer = (callee, caller) if facing_caller else (caller, callee)
            identity = self.self_.identity(claimed=claimed, peer=peer, unix=unix_now())
        return ActingLink(
            victim,
            answer,
            media.certificate,
            identity,
            facing_caller=facing_caller,
            nonce=fresh_nonce(),
            unix=unix_now(),
        )

    def _say(self, **event: str | float | bool) -> None:
        self.on_event(dict(event))


def message_status(message: Message) -> int:
    """A response's status, 0 for a request."""
    return message.status if isinstance(message, Response) else 0


def _who(message: Message, key: str) -> str:
    uri = (message.from_ if key == "from" else message.to).uri
    return f"{uri.user}@{uri.host}"


def _address_of(message: Message, key: str) -> Address:
    try:
        return parse_address(f"sip:{_who(message, key)}")
    except SecurecallError:
        return ANONYMOUS
