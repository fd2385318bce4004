"""Real-time text of one call: what is typed leaves as it is typed, under the keys of the call.

As pictures do, text passes only while the gate is OPEN, both ways.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Final

from securecall.calls.text_lines import LocalText, TextAgreement
from securecall.errors import ProtocolError, UsageError
from securecall.media.clock import Clock
from securecall.media.description import Direction, Gate
from securecall.rtp.extensions import build_extensions, with_extensions
from securecall.rtp.packet import HEADER_LENGTH, rtp_header, split_rtp
from securecall.rtp.sframe import SframeError, SframeReceiver, SframeSender, rtp_metadata
from securecall.rtp.srtp import FIRST_SEQUENCES, SrtpError, SrtpSession
from securecall.rtp.t140 import CLOCK, T140Receiver, T140Sender, parse_text, require_text

STREAM: Final = 3
"""The KID of SFrame; 0 is the sound's, 1 and 2 are pictures' (security specification 3.7)."""

STEP: Final = 128
"""Packets are padded to a multiple of so many bytes, so that sizes tell little of what is typed."""

MOST_WAITING: Final = 2000
"""Characters that wait to leave; whoever sends more waits for room."""

MOST_UNREAD: Final = 10_000
"""Characters that an application has not read; of more the oldest are lost, and counted."""


@dataclass(frozen=True, slots=True)
class TextStatistics:
    """What happened to text so far.

    Attributes:
        packets_sent, packets_received: Of RTP.
        characters_sent, characters_received: Received are those that could be shown.
        lost: Packets whose text is missing, copies and all; U+FFFD stands there.
        refused: Packets that the end-to-end layer did not open.
        malformed: Packets that make no sense, though they are authentic.
        gated: Packets that came while text might not pass.
        dropped: Characters that were not read in time.
    """

    packets_sent: int = 0
    packets_received: int = 0
    characters_sent: int = 0
    characters_received: int = 0
    lost: int = 0
    refused: int = 0
    malformed: int = 0
    gated: int = 0
    dropped: int = 0


class CallText:
    """The text of one call: `send` it, and iterate over what comes, piece by piece.

    Pieces hold text, U+0008 that takes back the character before, and U+2028 for the end of a
    line; U+FFFD where text was lost. Other control codes never get here.
    """

    def __init__(
        self,
        clock: Clock,
        send: Callable[[bytes], object],
        *,
        failed: Callable[[Exception], None],
    ) -> None:
        """Made by the call."""
        self._clock, self._transmit, self._failed = clock, send, failed
        self._gate = Gate.CLOSED
        self._local: LocalText | None = None
        self._agreed: TextAgreement | None = None
        self._keys: tuple[SrtpSession, SframeSender | None, SframeReceiver | None] | None = None
        self._sender: T140Sender | None = None
        self._receiver = T140Receiver()
        self._source: int | None = None  # of the peer, where it did not say
        self._sequence = secrets.randbelow(FIRST_SEQUENCES)
        self._timestamp = secrets.randbits(31)
        self._unread = ""
        self._moved = asyncio.Event()  # something left, came or changed
        self._closed = self._held = False
        self._packets_sent = self._packets_received = 0
        self._characters_sent = self._characters_received = 0
        self._lost = self._refused = self._malformed = self._gated = self._dropped = 0

    # -- what an application asks -----------------------------------------------------------------

    @property
    def agreed(self) -> bool:
        """Whether both ends have text in this call."""
        return self._agreed is not None

    async def send(self, text: str) -> None:
        """Send text; returns once it has left, which takes time where it is much.

        It leaves within 300 ms, at no more characters a second than the other end takes (30 by
        default). U+0008 takes back the character before; each end of a line becomes U+2028.

        Raises:
            UsageError: the call has no text, is not in progress or is on hold, now or before all
                of it left; or there are control codes in it.
        """
        text = require_text(text)
        while text:
            sender = self._require_open()
            room = MOST_WAITING - sender.waiting
            sender.push(text[:room])
            text = text[room:]
            if text:
                await self._wait()
        while (sender := self._require_open()).waiting:
            await self._wait()

    def __aiter__(self) -> AsyncIterator[str]:
        return self

    async def __anext__(self) -> str:
        """Return the next piece of the peer's text; ends with the call."""
        while not self._unread:
            if self._closed:
                raise StopAsyncIteration
            await self._wait()
        piece, self._unread = self._unread, ""
        return piece

    def statistics(self) -> TextStatistics:
        """What happened so far."""
        return TextStatistics(
            packets_sent=self._packets_sent,
            packets_received=self._packets_received,
            characters_sent=self._characters_sent,
            characters_received=self._characters_received,
            lost=self._lost + self._receiver.lost,
            refused=self._refused,
            malformed=self._malformed,
            gated=self._gated,
            dropped=self._dropped,
        )

    def _require_open(self) -> T140Sender:
        sender = self._sender
        if self._closed or sender is None:
            raise UsageError("this call has no text: both ends have to ask for it with text=True")
        if self._gate is not Gate.OPEN or not self._sends:
            raise UsageError("text is sent in a call in progress that is not on hold")
        return sender

    async def _wait(self) -> None:
        self._moved.clear()
        _ = await self._moved.wait()

    def _wake(self) -> None:
        self._moved.set()

    # -- what the call asks -----------------------------------------------------------------------

    def begin(self) -> None:
        """Bring text to the call."""
        self._local = self._local or LocalText(secrets.randbits(32))

    @property
    def brought(self) -> LocalText | None:
        """What goes into our description, None for nothing."""
        return self._local

    def secure(
        self,
        srtp: SrtpSession,
        seal: SframeSender | None,
        opener: SframeReceiver | None,
        agreed: TextAgreement | None,
    ) -> None:
        """There are keys: begin with what was agreed.

        Args:
            srtp: Of the path; the sound's, too.
            seal: The end-to-end layer, None for none; it lives as long as the call, for its
                counter must never begin again.
            opener: That of the peer.
            agreed: None for no text.
        """
        self._keys = (srtp, seal, opener)
        self.agree(agreed)

    def agree(self, agreed: TextAgreement | None) -> None:
        """Have text like this from now on, or none."""
        if self._closed or self._keys is None:
            return
        before, self._agreed = self._agreed, agreed
        if agreed is None:
            self._sender = None
            self._clock.remove(self)
        elif before is None:
            redundant = agreed.codec.payload_type != agreed.t140
            self._sender = T140Sender(agreed.t140, redundant=redundant, cps=agreed.cps)
            self._clock.add(self, self._failed)
            self._forget()
        elif self._sender is not None and not self._sends:
            self._sender.clear()
        self._wake()

    def hold(self, *, on: bool) -> None:
        """Send and show nothing, whatever was agreed; or no more."""
        self._held = on
        if on:
            self._forget()
        self._wake()

    @property
    def gate(self) -> Gate:
        """Whether media passes; text does only where it is OPEN."""
        return self._gate

    @gate.setter
    def gate(self, gate: Gate) -> None:
        if (gate is Gate.OPEN) is not (self._gate is Gate.OPEN):
            self._forget()  # nothing of one verdict is sent or shown under another
        self._gate = gate
        self._wake()

    def _forget(self) -> None:
        if self._sender is not None:
            self._sender.clear()
        self._lost += self._receiver.lost
        self._receiver = T140Receiver()
        self._wake()

    @property
    def _sends(self) -> bool:
        agreed = self._agreed
        if agreed is None or self._held:
            return False
        return agreed.direction in (Direction.SENDRECV, Direction.SENDONLY)

    @property
    def _shows(self) -> bool:
        agreed = self._agreed
        if agreed is None or self._held:
            return False
        return agreed.direction in (Direction.SENDRECV, Direction.RECVONLY)

    def takes(self, datagram: bytes) -> bool:
        """Whether this is a packet of text: by its payload type, and its source if it is known."""
        agreed = self._agreed
        if agreed is None or len(datagram) < HEADER_LENGTH:
            return False
        if datagram[1] & 0x7F not in (agreed.receive, agreed.receive_red):
            return False
        return agreed.ssrc in (None, int.from_bytes(datagram[8:12]))

    def receive(self, datagram: bytes) -> None:
        """Take such a packet; never raises for it."""
        agreed, keys = self._agreed, self._keys
        if agreed is None or keys is None:
            return
        srtp, _, opener = keys
        try:
            second, sequence, _, ssrc, payload = split_rtp(srtp.unprotect(datagram))
        except (SrtpError, ProtocolError):
            return  # the first is counted by SRTP
        self._packets_received += 1
        if self._gate is not Gate.OPEN or not self._shows:
            self._gated += 1
            return
        number = second & 0x7F
        try:
            if opener is not None:
                payload = opener.open_rtp(payload, rtp_metadata(number, agreed.mid))
            redundant = number == agreed.receive_red
            parsed = parse_text(payload, t140=agreed.receive, redundant=redundant)
        except SframeError:
            self._refused += 1
            return
        except ProtocolError:
            self._malformed += 1
            return
        if ssrc != self._source:  # where the peer names its sources it has one
            self._source = ssrc
            self._lost += self._receiver.lost
            self._receiver = T140Receiver()
        self._show(self._receiver.receive(sequence, parsed, now=self._clock.now()))

    def _show(self, piece: str) -> None:
        if piece:
            self._characters_received += len(piece)
            unread = self._unread + piece
            self._unread = unread[-MOST_UNREAD:]
            self._dropped += len(unread) - len(self._unread)
            self._wake()

    def tick(self, now: float) -> None:
        """Send what is due, and show what has waited long enough; called by the clock."""
        if self._gate is not Gate.OPEN:
            return
        if self._shows:
            self._show(self._receiver.poll(now=now))
        sender, agreed, keys = self._sender, self._agreed, self._keys
        if sender is None or agreed is None or keys is None or not self._sends:
            return
        waiting = sender.waiting
        packet = sender.poll(now=now)
        if packet is None:
            return
        srtp, seal, _ = keys
        number, payload = agreed.codec.payload_type, packet.payload
        if seal is not None:
            payload = seal.seal_rtp(payload, rtp_metadata(number, agreed.mid))
        timestamp = self._timestamp + round(now * CLOCK) & 0xFFFFFFFF
        header = rtp_header(
            number, self._sequence, timestamp, agreed.local.ssrc, marker=packet.marker
        )
        self._sequence = self._sequence + 1 & 0xFFFF
        payload += (padding := STEP - len(payload) % STEP) * bytes((padding,))
        header = bytes((header[0] | 0x20, *header[1:]))
        if agreed.mid_extension:
            elements = build_extensions({agreed.mid_extension: agreed.mid.encode()})
            header = with_extensions(header, elements)
        self._transmit(srtp.protect(header + payload))
        self._packets_sent += 1
        self._characters_sent += waiting - sender.waiting
        self._wake()

    def skip(self, ticks: int) -> None:
        """Let time pass: text waits."""

    def close(self) -> None:
        """Stop, and let whoever waits go; safe to call again."""
        if self._closed:
            return
        self._closed = True
        self._gate = Gate.CLOSED
        self._clock.remove(self)
        self._sender, self._agreed, self._keys = None, None, None
        self._wake()
