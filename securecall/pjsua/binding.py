"""The door of pjsua2: what PJSIP calls back is put into a queue, and nothing else is done there.

A callback that raised would end the process, and one that called back into PJSIP could; so each
only takes down what can be asked nowhere else, whatever thread it runs on.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial, wraps
from queue import SimpleQueue
from typing import Final, ParamSpec

import pjsua2 as pj

from securecall.logs import logger
from securecall.media.frames import TICK
from securecall.pjsua import told
from securecall.pjsua.rings import FRAME_BYTES, RATE, Rings

log = logger(__name__)

_POINTER: Final = ctypes.sizeof(ctypes.c_void_p)


@dataclass(frozen=True, slots=True)
class Rang:
    """Somebody calls."""

    call: Call
    message: str


@dataclass(frozen=True, slots=True)
class Moved:
    """A call moved on (`PJSIP_INV_STATE_*`); the last response, and what was said with it."""

    call: Call
    state: int
    status: int
    reason: str


@dataclass(frozen=True, slots=True)
class Agreed:
    """The sound of a call was agreed on anew."""

    call: Call


@dataclass(frozen=True, slots=True)
class About:
    """Something to be told of a call."""

    call: Call
    tell: Callable[[int], told.Told]


Notice = told.Registered | told.Connected | told.Disconnected | Rang | Moved | Agreed | About
Notices = SimpleQueue[Notice]
P = ParamSpec("P")


def _guarded(callback: Callable[P, None]) -> Callable[P, None]:
    """Let nothing out of a callback: the binding ends the process for it."""

    @wraps(callback)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            callback(*args, **kwargs)
        except Exception:  # the outermost loop of PJSIP's threads
            log.exception("a callback of PJSIP failed")

    return guarded


class Endpoint(pj.Endpoint):  # type: ignore[misc]  # pjsua2 has no types
    """Tells of connections."""

    def __init__(self, notices: Notices) -> None:
        super().__init__()
        self._notices = notices

    @_guarded
    def onTransportState(self, prm: pj.OnTransportStateParam) -> None:  # noqa: N802  (its name)
        """Take down a connection's state."""
        tls = prm.tlsInfo
        if prm.state == pj.PJSIP_TP_STATE_CONNECTED:
            cipher = f"{_PROTOCOLS.get(tls.protocol, 'TLS')} {tls.cipherName}"
            self._notices.put(told.Connected(tls.remoteAddr, cipher))
        elif prm.state == pj.PJSIP_TP_STATE_DISCONNECTED:
            fault = "; ".join(tls.verifyMsgs) if tls.verifyStatus else ""
            self._notices.put(told.Disconnected(fault))


_PROTOCOLS: Final = {
    pj.PJ_SSL_SOCK_PROTO_TLS1_2: "TLSv1.2",
    pj.PJ_SSL_SOCK_PROTO_TLS1_3: "TLSv1.3",
}


class Account(pj.Account):  # type: ignore[misc]  # as above
    """Tells of the registration and of calls."""

    def __init__(self, notices: Notices) -> None:
        super().__init__()
        self._notices = notices

    @_guarded
    def onRegState(self, prm: pj.OnRegStateParam) -> None:  # noqa: N802
        """Take down what the registrar said."""
        self._notices.put(told.Registered(prm.code, prm.reason, prm.expiration))

    @_guarded
    def onIncomingCall(self, prm: pj.OnIncomingCallParam) -> None:  # noqa: N802
        """Keep a call: one that nobody holds is hung up."""
        call = Call(self, self._notices, prm.callId)
        call.name = call.getInfo().callIdString
        self._notices.put(Rang(call, prm.rdata.wholeMsg))


class Call(pj.Call):  # type: ignore[misc]  # as above
    """One call, and what becomes of it.

    Attributes:
        name: Call-ID, "" before there is one.
        described: We said what sound we want.
        unprotected: We once did so without keys.
    """

    def __init__(self, account: Account, notices: Notices, number: int | None = None) -> None:
        super().__init__(account, pj.PJSUA_INVALID_ID if number is None else number)
        self._notices = notices
        self.name = ""
        self.described = self.unprotected = False

    def _about(self, tell: Callable[[int], told.Told]) -> None:
        self._notices.put(About(self, tell))

    @_guarded
    def onCallState(self, prm: pj.OnCallStateParam) -> None:  # noqa: N802
        """Take down where the call is."""
        info = self.getInfo()
        self.name = info.callIdString
        self._notices.put(Moved(self, info.state, info.lastStatusCode, info.lastReason))

    @_guarded
    def onCallMediaState(self, prm: pj.OnCallMediaStateParam) -> None:  # noqa: N802
        """Have the sound looked at."""
        self._notices.put(Agreed(self))

    @_guarded
    def onCallSdpCreated(self, prm: pj.OnCallSdpCreatedParam) -> None:  # noqa: N802
        """See whether our own description has keys; what they are is not kept."""
        self.described = True
        if "m=audio" in (text := prm.sdp.wholeSdp) and "/SAVP" not in text:
            self.unprotected = True

    @_guarded
    def onCallTsxState(self, prm: pj.OnCallTsxStateParam) -> None:  # noqa: N802
        """Take down the final answer to an INVITE of ours."""
        body = prm.e.body.tsxState
        tsx, message = body.tsx, ""
        if tsx.method != "INVITE" or tsx.role != pj.PJSIP_ROLE_UAC or tsx.statusCode < 200:
            return
        if body.type == pj.PJSIP_EVENT_RX_MSG:
            message = body.src.rdata.wholeMsg
        elif body.type not in (pj.PJSIP_EVENT_TIMER, pj.PJSIP_EVENT_TRANSPORT_ERROR):
            return
        self._about(partial(told.Replied, status=tsx.statusCode, message=message))

    @_guarded
    def onDtmfDigit(self, prm: pj.OnDtmfDigitParam) -> None:  # noqa: N802
        """Take down a digit; this is a thread of PJSIP's."""
        self._about(partial(told.Pressed, digit=prm.digit))

    @_guarded
    def onCallTransferRequest(self, prm: pj.OnCallTransferRequestParam) -> None:  # noqa: N802
        """Refuse, and tell."""
        prm.statusCode = pj.PJSIP_SC_DECLINE
        self._about(partial(told.Transferred, target=prm.dstUri))

    @_guarded
    def onCallTransferStatus(self, prm: pj.OnCallTransferStatusParam) -> None:  # noqa: N802
        """Take down what the peer says of the call that we asked it for."""
        self._about(partial(told.SentOn, status=prm.statusCode, final=prm.finalNotify))

    @_guarded
    def onCallReplaceRequest(self, prm: pj.OnCallReplaceRequestParam) -> None:  # noqa: N802
        """Refuse: nobody takes the place of whom we talk to."""
        prm.statusCode = pj.PJSIP_SC_DECLINE

    def onCallRedirected(self, prm: pj.OnCallRedirectedParam) -> int:  # noqa: N802
        """Go nowhere else by itself."""
        return int(pj.PJSIP_REDIRECT_STOP)


class Port(pj.AudioMediaPort):  # type: ignore[misc]  # as above
    """Sound between the bridge and the rings of one call, of another call later on.

    Attributes:
        rings: Those of the call.
    """

    def __init__(self) -> None:
        super().__init__()
        self.rings = Rings()
        self._read, self._write = _copiers()
        self._frame = pj.ByteVector(_SILENCE)
        form = pj.MediaFormatAudio()
        form.init(pj.PJMEDIA_FORMAT_PCM, RATE, 1, round(TICK * 1e6), 16)
        self.createPort("securecall", form)

    @_guarded
    def onFrameRequested(self, frame: pj.MediaFrame) -> None:  # noqa: N802
        """Give 20 ms of sound; on the bridge's thread."""
        self._write(self._frame, self.rings.fetch() or _SILENCE)
        frame.type = pj.PJMEDIA_FRAME_TYPE_AUDIO
        frame.buf = self._frame

    @_guarded
    def onFrameReceived(self, frame: pj.MediaFrame) -> None:  # noqa: N802
        """Take 20 ms of sound; on the bridge's thread."""
        if frame.type == pj.PJMEDIA_FRAME_TYPE_AUDIO and len(pcm := self._read(frame.buf)):
            self.rings.keep(pcm)


_SILENCE: Final = bytes(FRAME_BYTES)
_Reader = Callable[[pj.ByteVector], bytes]
_Writer = Callable[[pj.ByteVector, bytes], None]


def _copiers() -> tuple[_Reader, _Writer]:
    """How to copy out of and into a vector of bytes: at once if its memory is as expected.

    Byte by byte, which is all that the binding offers, a frame takes a millisecond.
    """
    probe = bytes(range(256))
    vector = pj.ByteVector(probe)
    first, last = _bounds(vector)
    if last - first == len(probe) and ctypes.string_at(first, len(probe)) == probe:
        return _read_at_once, _write_at_once
    return _read_each, _write_each


def _bounds(vector: pj.ByteVector) -> tuple[int, int]:
    """Where its bytes begin and end: the first two pointers of a std::vector, wherever we know."""
    place = int(vector.this)
    begin, end = (ctypes.c_void_p.from_address(place + i * _POINTER).value or 0 for i in (0, 1))
    return begin, end


def _read_at_once(vector: pj.ByteVector) -> bytes:
    first, last = _bounds(vector)
    return ctypes.string_at(first, last - first)


def _write_at_once(vector: pj.ByteVector, data: bytes) -> None:
    first, last = _bounds(vector)
    _ = ctypes.memmove(first, data, min(len(data), last - first))


def _read_each(vector: pj.ByteVector) -> bytes:
    return bytes(vector)


def _write_each(vector: pj.ByteVector, data: bytes) -> None:
    vector.assign(0, 0)
    for value in data:
        vector.append(value)
