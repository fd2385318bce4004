"""The door of pjsua2: callbacks fill a queue, and refuse the calls that would end PJSIP.

A callback that raised would end the process, and one that called back into PJSIP could; so each
only takes down what can be asked nowhere else, whatever thread it runs on. The one exception is a
call that PJSIP must not go on with: later would be too late.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial, wraps
from queue import SimpleQueue
from typing import Final, ParamSpec, Protocol, cast

import pjsua2 as pj

from securecall.logs import logger
from securecall.media.description import Keying
from securecall.media.frames import TICK
from securecall.pjsua import told
from securecall.pjsua.rings import FRAME_BYTES, RATE, Rings
from securecall.sip.grammar import SipError
from securecall.sip.message import Request

log = logger(__name__)

_POINTER: Final = ctypes.sizeof(ctypes.c_void_p)


@dataclass(frozen=True, slots=True)
class Rang:
    """Somebody calls; no INVITE where that is refused already."""

    call: Call
    invite: Request | None


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


@dataclass(frozen=True, slots=True)
class Torn:
    """A message was too long for PJSIP, which reads on in the midst of it."""


Notice = told.Registered | told.Connected | told.Disconnected | Torn | Rang | Moved | Agreed | About
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


class Connections:
    """Connections that there are.

    Attributes:
        all: What PJSIP knows them by.
        torn: Those where what comes may be the rest of a message, which its sender made look like
            another one, in anybody's name.
    """

    def __init__(self, notices: Notices) -> None:
        self._notices = notices
        self.all: dict[int, object] = {}
        self.torn: set[int] = set()

    def end(self, place: int) -> None:
        """One is no more."""
        _ = self.all.pop(place, None)
        self.torn.discard(place)

    def leave(self, endpoint: pj.Endpoint) -> None:
        """Close all of them: at once, or where that cannot be said, when nothing needs them."""
        for place, connection in tuple(self.all.items()):
            if _SHUTDOWN is not None:
                _ = _SHUTDOWN(place, 1)
            else:
                endpoint.transportShutdown(connection)

    def tear(self) -> None:
        """Trust nothing more that comes by those that there are."""
        self.torn |= self.all.keys()
        self._notices.put(Torn())


class Endpoint(pj.Endpoint):  # type: ignore[misc]  # pjsua2 has no types
    """Tells of connections."""

    def __init__(self, notices: Notices, connections: Connections) -> None:
        super().__init__()
        self._notices = notices
        self._connections = connections

    @_guarded
    def onTransportState(self, prm: pj.OnTransportStateParam) -> None:  # noqa: N802  (its name)
        """Take down a connection's state."""
        tls, place = prm.tlsInfo, int(prm.hnd)
        if prm.state == pj.PJSIP_TP_STATE_CONNECTED:
            self._connections.all[place] = prm.hnd
            version = "TLSv1.3" if tls.cipherName.startswith(_OF_TLS13) else "TLSv1.2"
            self._notices.put(told.Connected(tls.remoteAddr, f"{version} {tls.cipherName}"))
        elif prm.state in (pj.PJSIP_TP_STATE_DISCONNECTED, pj.PJSIP_TP_STATE_DESTROY):
            self._connections.end(place)
            fault = "; ".join(tls.verifyMsgs) if tls.verifyStatus else ""
            self._notices.put(told.Disconnected(fault))


_OF_TLS13: Final = ("TLS_AES_", "TLS_CHACHA20_")  # no earlier version has such names


class Log(pj.LogWriter):  # type: ignore[misc]  # as above
    """Takes PJSIP's errors, which hold whole messages with their keys; nothing of them is kept."""

    def __init__(self, connections: Connections) -> None:
        super().__init__()
        self._connections = connections

    @_guarded
    def write(self, entry: pj.LogEntry) -> None:
        """See whether a message was too long: nothing else tells of that."""
        if "PJSIP_ERXOVERFLOW" in entry.msg:
            self._connections.tear()


class _Function(Protocol):
    def __call__(self, *args: int) -> int: ...


def _function(name: str, *kinds: type[ctypes.c_int | ctypes.c_void_p]) -> _Function | None:
    """A function of PJSIP's that the binding does not lead to, None where a build hides it."""
    try:
        library = ctypes.CDLL(pj._pjsua2.__file__)  # noqa: SLF001  (its only name)
        return cast("_Function", ctypes.CFUNCTYPE(ctypes.c_int, *kinds)((name, library)))
    except (AttributeError, OSError):
        return None


LOG_LEVEL: Final = _function("pj_log_set_level", ctypes.c_int)
"""A level that stays when PJSIP ends has its next beginning, on another thread, abort."""

_SHUTDOWN: Final = _function("pjsip_transport_shutdown2", ctypes.c_void_p, ctypes.c_int)


class Account(pj.Account):  # type: ignore[misc]  # as above
    """Tells of the registration and of calls."""

    def __init__(self, connections: Connections, notices: Notices, keying: Keying) -> None:
        super().__init__()
        self._connections = connections
        self._notices = notices
        self._keying = keying

    @_guarded
    def onRegState(self, prm: pj.OnRegStateParam) -> None:  # noqa: N802
        """Take down what the registrar said."""
        self._notices.put(told.Registered(prm.code, prm.reason, prm.expiration))

    @_guarded
    def onIncomingCall(self, prm: pj.OnIncomingCallParam) -> None:  # noqa: N802
        """Keep a call: one that nobody holds is hung up."""
        call = Call(self, self._notices, prm.callId)
        call.name = call.getInfo().callIdString
        invite = None
        try:
            invite = told.invite_of(prm.rdata.wholeMsg, self._keying)
            if self._connections.torn:
                raise SipError("a message in the midst of another", status=503)
        except SipError as e:
            log.info("a call was refused: %s", e)
            refusal = pj.CallOpParam()
            refusal.statusCode = e.status
            call.hangup(refusal)  # at once: PJSIP dies of some offers after this
            invite = None
        self._notices.put(Rang(call, invite))

    @_guarded
    def onIncomingSubscribe(self, prm: pj.OnIncomingSubscribeParam) -> None:  # noqa: N802
        """Tell nobody whether we are there."""
        prm.code = pj.PJSIP_SC_FORBIDDEN


class Call(pj.Call):  # type: ignore[misc]  # as above
    """One call, and what becomes of it.

    Attributes:
        name: Call-ID, "" before there is one.
        described: We said what sound we want.
        unprotected: We once did so without keys.
        asking: We described first, and what the other end has to that is not agreed on yet.
    """

    def __init__(self, account: Account, notices: Notices, number: int | None = None) -> None:
        super().__init__(account, pj.PJSUA_INVALID_ID if number is None else number)
        self._notices = notices
        self.name = ""
        self.described = self.unprotected = self.asking = False

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
        self.asking = False
        self._notices.put(Agreed(self))

    @_guarded
    def onCallRxOffer(self, prm: pj.OnCallRxOfferParam) -> None:  # noqa: N802
        """Refuse a change that PJSIP would not outlive."""
        try:
            told.require_sound(prm.offer.wholeSdp)
        except SipError as e:
            log.info("a change of a call was refused: %s", e)
            prm.statusCode = pj.PJSIP_SC_NOT_ACCEPTABLE_HERE

    @_guarded
    def onCallSdpCreated(self, prm: pj.OnCallSdpCreatedParam) -> None:  # noqa: N802
        """See whether our own description has keys; what they are is not kept."""
        self.described, self.asking = True, not prm.remSdp.wholeSdp
        if "m=audio" in (text := prm.sdp.wholeSdp) and "/SAVP" not in text:
            self.unprotected = True

    @_guarded
    def onCallTsxState(self, prm: pj.OnCallTsxStateParam) -> None:  # noqa: N802
        """Take down how an INVITE was answered for good."""
        body = prm.e.body.tsxState
        tsx, kind = body.tsx, body.type
        if tsx.method != "INVITE" or tsx.statusCode < 200:
            return
        if tsx.role != pj.PJSIP_ROLE_UAC:
            if kind == pj.PJSIP_EVENT_TX_MSG and tsx.statusCode < 300:
                self._about(partial(told.Accepted, message=body.src.tdata.wholeMsg))
        elif kind in _ANSWERING:
            self.asking = False
            message = body.src.rdata.wholeMsg if kind == pj.PJSIP_EVENT_RX_MSG else ""
            self._about(partial(told.Replied, status=tsx.statusCode, message=message))

    @_guarded
    def onDtmfDigit(self, prm: pj.OnDtmfDigitParam) -> None:  # noqa: N802
        """Take down a digit; this is a thread of PJSIP's."""
        self._about(partial(told.Pressed, digit=prm.digit))

    @_guarded
    def onCallTransferRequest(self, prm: pj.OnCallTransferRequestParam) -> None:  # noqa: N802
        """Refuse, and tell: what PJSIP accepts it does at once, and asks nobody."""
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


_ANSWERING: Final = (
    pj.PJSIP_EVENT_RX_MSG,
    pj.PJSIP_EVENT_TIMER,
    pj.PJSIP_EVENT_TRANSPORT_ERROR,
)


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
