"""Two ends of the text of a call, without sockets: what one sends is kept, to be given or not."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from securecall.calls.call_text import STREAM, CallText
from securecall.calls.text_lines import LocalText, TextAgreement
from securecall.media.description import Codec, Direction, Gate
from securecall.rtp.sframe import SframeReceiver, SframeSender
from securecall.rtp.srtp import SrtpProfile, SrtpSession
from securecall.secret import Secret

T140, RED, MID = 106, 105, "1"
PROFILE = SrtpProfile.SRTP_AEAD_AES_256_GCM
PATH = {1: bytes([1]) * 44, 2: bytes([2]) * 44}  # SRTP keys, by who sends


@dataclass(eq=False)
class HandClock:
    """Time that goes on when it is told to."""

    time: float = 100.0
    driven: list[object] = field(default_factory=list)

    def now(self):
        return self.time

    def add(self, stream, failed):
        self.driven.append(stream)

    def remove(self, stream):
        if stream in self.driven:
            self.driven.remove(stream)

    def run(self, seconds):
        for _ in range(round(seconds * 50)):
            self.time += 0.02
            for stream in tuple(self.driven):
                stream.tick(self.time)


def agreement(number, *, direction=Direction.SENDRECV, named=True):
    """Of the end of that number."""
    return TextAgreement(
        local=LocalText(number), mid=MID, codec=Codec(RED, "red", 1000), t140=T140, receive=T140,
        receive_red=RED, direction=direction, ssrc=3 - number if named else None,
    )  # fmt: skip


def path(number):
    """The layer of SRTP as that end has it; a relay that has the keys has the same."""
    return SrtpSession(PROFILE, Secret(PATH[number]), Secret(PATH[3 - number]))


def frames(number):
    """The end-to-end key of who sends, for every stream."""
    return Secret(bytes([10 + number]) * 64)


class Typist:
    """One end; `sent` is what it put on the path."""

    def __init__(self, number, clock, *, gate=Gate.OPEN, sframe=True, named=True):
        self.sent: list[bytes] = []
        self.text = CallText(clock, self.sent.append, failed=lambda error: None)
        opener = SframeReceiver()
        for kid in range(8):
            opener.add_key(kid, frames(3 - number))
        seal = SframeSender(frames(number), STREAM)
        self.text.begin()
        self.text.secure(
            path(number), seal if sframe else None, opener if sframe else None,
            agreement(number, named=named),
        )  # fmt: skip
        self.text.gate = gate

    def hear(self, datagrams):
        for datagram in datagrams:
            if self.text.takes(datagram):
                self.text.receive(datagram)

    def read(self):
        """What can be read now."""
        try:
            self.text.__anext__().send(None)
        except StopIteration as piece:
            return piece.value
        except (RuntimeError, StopAsyncIteration):
            pass
        return ""

    def type(self, text):
        """Begin to send it; returns the task."""
        return asyncio.ensure_future(self.text.send(text))
