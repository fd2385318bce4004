"""PJSIP's endpoint with one account, on its own thread: verbs for calls, and what comes of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Final, Self

import pjsua2 as pj

from securecall.errors import (
    LocalError,
    Reason,
    SecurecallError,
    SecurityError,
    Unsupported,
    UsageError,
)
from securecall.logs import logger
from securecall.media.description import Direction, Keying
from securecall.media.statistics import AudioStatistics
from securecall.pjsua import binding, told
from securecall.pjsua.rings import RATE, Rings

log = logger(__name__)

SUITES: Final = ("AEAD_AES_256_GCM", "AEAD_AES_128_GCM", "AES_CM_128_HMAC_SHA1_80")
"""Of SRTP, the best first: those of them that the build has are offered and taken, no other."""

_POLL_MS: Final = 10
_MEASURE_SECONDS: Final = 0.25
_RETRY_SECONDS: Final = 15
_HANDSHAKE_MS: Final = 15_000
_MOST_CALLS: Final = 1000  # the build has a limit of its own, below that (PJSUA_MAX_CALLS)
_TOO_MANY: Final = 70010  # PJ_ETOOMANY
_NOWHERE: Final = "sip:nobody@127.0.0.1:9;transport=tls"
_TLS13: Final = 0x13
# ECDHE with AES-GCM, then with AES-CBC and SHA-2; ECDSA and RSA (RFC 5289)
_FORGETTING: Final = (0xC02C, 0xC030, 0xC02B, 0xC02F, 0xC024, 0xC028, 0xC023, 0xC027)
_KEYINGS: Final = {
    Keying.SDES: pj.PJMEDIA_SRTP_KEYING_SDES,
    Keying.DTLS_SRTP: pj.PJMEDIA_SRTP_KEYING_DTLS_SRTP,
}
_DIRECTIONS: Final = {
    pj.PJMEDIA_DIR_NONE: Direction.INACTIVE,
    pj.PJMEDIA_DIR_ENCODING: Direction.SENDONLY,
    pj.PJMEDIA_DIR_DECODING: Direction.RECVONLY,
    pj.PJMEDIA_DIR_ENCODING_DECODING: Direction.SENDRECV,
}


@dataclass(slots=True, eq=False)
class _Held:
    """A call and what belongs to it."""

    number: int
    call: binding.Call
    port: binding.Port
    place: int = -1  # of the sound among the media
    sound: pj.AudioMedia = None
    keyed: bool = False
    waits: bool = False  # for DTLS, which begins after the answer
    passing: bool = False


class PjsuaEndpoint:
    """Everything of PJSIP; made, used and closed on one thread."""

    def __init__(
        self, settings: told.Settings, numbers: Iterator[int], tell: Callable[[told.Told], None]
    ) -> None:
        """Use `open`."""
        self._settings = settings
        self._next_of = numbers
        self._tell = tell
        self._notices: binding.Notices = SimpleQueue()
        self._held: dict[int, _Held] = {}
        self._numbers: dict[int, int] = {}  # by the identity of the binding's object
        self._free: list[binding.Port] = []
        self._measure_at = 0.0
        self._account: binding.Account
        _require_nobody()
        self._connections = binding.Connections(self._notices)
        self._endpoint: binding.Endpoint = binding.Endpoint(self._notices, self._connections)
        self._log: binding.Log = binding.Log(self._connections)

    @classmethod
    def open(
        cls, settings: told.Settings, numbers: Iterator[int], tell: Callable[[told.Told], None]
    ) -> Self:
        """Start PJSIP with one account, and begin to register it.

        Args:
            settings: Of the account.
            numbers: Of calls that come in.
            tell: Told everything that happens; on this thread.

        Raises:
            LocalError: PJSIP does not start, or cannot use a file or an address.
            Unsupported: the build lacks something.
            UsageError: somebody else in this process has PJSIP's endpoint.
        """
        made = cls(settings, numbers, tell)
        error: SecurecallError | None = None
        try:
            made._start()
        except pj.Error as e:
            error = LocalError(f"PJSIP does not start: {e.reason}")
        except SecurecallError as e:
            error = e.with_traceback(None)  # whose frames hold what has to go before PJSIP ends
        if error is not None:
            made.close()
            raise error
        return made

    def _start(self) -> None:
        endpoint, settings = self._endpoint, self._settings
        endpoint.libCreate()
        config = pj.EpConfig()
        level = 0 if binding.LOG_LEVEL is None else 1  # errors, to us alone: it would print keys
        config.logConfig.level = config.logConfig.consoleLevel = level
        config.logConfig.writer = self._log
        config.uaConfig.threadCnt = 0  # this thread is its only one for signalling
        config.uaConfig.maxCalls = _MOST_CALLS
        config.uaConfig.userAgent = ""
        media = config.medConfig
        media.clockRate = media.sndClockRate = RATE
        media.noVad, media.ecTailLen = True, 0
        endpoint.libInit(config)
        transport = pj.TransportConfig()
        transport.boundAddress = settings.own_host
        tls = transport.tlsConfig
        tls.verifyServer = True
        tls.CaListFile = str(settings.authorities)
        tls.proto = pj.PJ_SSL_SOCK_PROTO_TLS1_2 | pj.PJ_SSL_SOCK_PROTO_TLS1_3
        tls.msecTimeout = _HANDSHAKE_MS
        tls.ciphers = self._ciphers()
        # The only one, and no account is bound to it: PJSIP aborts where an answer names UDP or TCP
        # as the way to whoever gave it, and an account that is bound may not take it.
        _ = endpoint.transportCreate(pj.PJSIP_TRANSPORT_TLS, transport)
        endpoint.libStart()
        endpoint.audDevManager().setNullDev()
        for codec in endpoint.codecEnum2():
            if codec.codecId.startswith("iLBC"):  # aborts where a peer names no mode of it
                endpoint.codecSetPriority(codec.codecId, 0)
        self._account = binding.Account(self._connections, self._notices, settings.keying)
        self._account.create(self._account_config())
        if settings.keying is Keying.DTLS_SRTP:
            self._require_dtls()
        if settings.domain:
            self._account.setRegistration(True)

    def _account_config(self) -> pj.AccountConfig:
        settings, config = self._settings, pj.AccountConfig()
        config.idUri = settings.uri
        config.regConfig.registrarUri = f"sip:{settings.domain}" if settings.domain else ""
        config.regConfig.registerOnAdd = False
        config.regConfig.retryIntervalSec = config.regConfig.firstRetryIntervalSec = _RETRY_SECONDS
        config.sipConfig.proxies.append(f"sip:{settings.proxy};transport=tls;lr")
        if settings.password is not None:
            secret = settings.password.reveal().decode()
            login = pj.AuthCredInfo("digest", settings.realm, settings.user, 0, secret)
            config.sipConfig.authCreds.append(login)
        media = config.mediaConfig
        media.srtpUse = pj.PJMEDIA_SRTP_MANDATORY
        media.srtpSecureSignaling = 1  # never but over TLS
        media.lockCodecEnabled = False
        media.transportConfig.boundAddress = settings.own_host
        keyings, cryptos = pj.IntVector(), pj.SrtpCryptoVector()
        keyings.append(_KEYINGS[settings.keying])
        media.srtpOpt.keyings = keyings
        for name in self._suites():
            crypto = pj.SrtpCrypto()
            crypto.name = name
            cryptos.append(crypto)
        media.srtpOpt.cryptos = cryptos
        return config

    def _ciphers(self) -> pj.IntVector:
        """Of TLS: without 1.3 those that forget their keys, for they protect keys of calls."""
        built, ciphers = self._endpoint.utilSslGetAvailableCiphers(), pj.IntVector()
        if not any(number >> 8 == _TLS13 for number in built):
            for number in _FORGETTING:
                if number in built:
                    ciphers.append(number)
        return ciphers

    def _suites(self) -> tuple[str, ...]:
        built = set(self._endpoint.srtpCryptoEnum())
        if not (usable := tuple(name for name in SUITES if name in built)):
            raise Unsupported(
                "this build of PJSIP has no SRTP that we take (PJMEDIA_HAS_SRTP); "
                f"any of {', '.join(SUITES)} would do"
            )
        return usable

    def _require_dtls(self) -> None:
        """Describe a call that leads nowhere: a build without DTLS-SRTP leaves the keys out.

        Raises:
            Unsupported: it does.
        """
        call = binding.Call(self._account, self._notices)
        try:
            call.makeCall(_NOWHERE, pj.CallOpParam(True))  # noqa: FBT003
        except pj.Error as e:
            log.info("the trial of DTLS-SRTP: %s", e.reason)
        unprotected = call.unprotected or not call.described
        self._endpoint.hangupAllCalls()
        if unprotected:
            raise Unsupported(
                "this build of PJSIP has no DTLS-SRTP (PJMEDIA_SRTP_HAS_DTLS), as the wheel of "
                "pjsua2-python has none; keys through the servers (SDES) have to be asked for: "
                "provider_mode='gateway'"
            )

    # -- verbs; `number` of a call that is over is no error ---------------------------------------

    def dial(self, number: int, uri: str, rings: Rings, replaces: str = "") -> str:
        """Begin a call with this sound; returns its Call-ID.

        Args:
            number: Names it.
            uri: Whom.
            rings: The sound.
            replaces: Value of Replaces (RFC 3891), "" for none.

        Raises:
            Unsupported: the build has room for no more calls.
            UsageError: the address is none for PJSIP.
            SecurityError: it would offer sound without keys.
        """
        held = self._hold_on(number, binding.Call(self._account, self._notices), rings)
        parameters = pj.CallOpParam(True)  # noqa: FBT003
        if replaces:
            header = pj.SipHeader()
            header.hName, header.hValue = "Replaces", replaces
            parameters.txOption.headers.append(header)
        try:
            held.call.makeCall(uri, parameters)
        except pj.Error as e:
            self._forget(held)
            if e.status == _TOO_MANY:
                raise Unsupported(
                    "this build of PJSIP has room for no more calls (PJSUA_MAX_CALLS)"
                ) from e
            raise UsageError(f"PJSIP does not call that address: {e.reason}") from e
        if held.call.unprotected:
            self.hang_up(held.number, 0)
            raise SecurityError(
                "PJSIP offered sound without keys; the call was given up",
                reason=Reason.NO_ENCRYPTION,
            )
        return held.call.name

    def answer(self, number: int, status: int) -> None:
        """Let a call that came in ring (180), or take it (200)."""
        self._perform(number, lambda held: held.call.answer(_parameters(status)))

    def hang_up(self, number: int, status: int) -> None:
        """End a call; `status` refuses one that came in."""
        self._perform(number, lambda held: held.call.hangup(_parameters(status)))

    def change(self, number: int, *, hold: bool) -> None:
        """Ask the peer to be on hold, or no more."""
        held = self._held.get(number)
        if held is None:
            return
        if held.call.asking:  # of the peer's making; PJSIP aborts at a second one
            self._tell(told.Replied(number, pj.PJSIP_SC_REQUEST_PENDING, ""))
            return
        parameters = pj.CallOpParam(True)  # noqa: FBT003
        try:
            if hold:
                held.call.setHold(parameters)
            else:
                parameters.opt.flag = pj.PJSUA_CALL_UNHOLD
                held.call.reinvite(parameters)
        except pj.Error as e:
            log.info("call %d: %s", number, e.reason)
            self._tell(told.Replied(number, pj.PJSIP_SC_REQUEST_PENDING, ""))

    def transfer(self, number: int, uri: str) -> None:
        """Ask the peer to call somebody else."""
        held = self._held.get(number)
        if held is None:
            return
        try:
            held.call.xfer(uri, pj.CallOpParam(True))  # noqa: FBT003
        except pj.Error as e:
            log.info("call %d: %s", number, e.reason)
            self._tell(told.SentOn(number, pj.PJSIP_SC_INTERNAL_SERVER_ERROR, final=True))

    def press(self, number: int, digit: str) -> None:
        """Send a digit (RFC 4733)."""
        self._perform(number, lambda held: held.call.dialDtmf(digit))

    def let_through(self, number: int, *, passing: bool) -> None:
        """Connect the rings of a call with its sound, or part them."""
        held = self._held.get(number)
        if held is not None and held.passing is not passing:
            held.passing = passing
            self._connect(held)

    def _perform(self, number: int, act: Callable[[_Held], None]) -> None:
        held = self._held.get(number)
        if held is None:
            return
        try:
            act(held)
        except pj.Error as e:
            log.info("call %d: %s", number, e.reason)

    # -- what comes of it -------------------------------------------------------------------------

    def turn(self) -> None:
        """Let PJSIP work for some milliseconds, and deal with what came of it."""
        _ = self._endpoint.libHandleEvents(_POLL_MS)
        while True:
            try:
                notice = self._notices.get_nowait()
            except Empty:
                break
            try:
                self._deal_with(notice)
            except pj.Error as e:  # one call that fails must not take the account along
                log.warning("PJSIP: %s", e.reason)
        if time.monotonic() >= self._measure_at:
            self._measure_at = time.monotonic() + _MEASURE_SECONDS
            for held in tuple(self._held.values()):
                if held.waits:
                    self._agreed(held)
                self._measure(held)

    def _deal_with(self, notice: binding.Notice) -> None:
        match notice:
            case binding.Rang():
                call, number, rings = notice.call, next(self._next_of), Rings()
                _ = self._hold_on(number, call, rings)
                if notice.invite is not None:
                    self._tell(told.Rang(number, call.name, rings, notice.invite))
            case binding.Torn():
                self._reconnect()
            case binding.Moved():
                if (found := self._find(notice.call)) is not None:
                    self._moved(found, notice)
            case binding.Agreed():
                if (found := self._find(notice.call)) is not None:
                    self._agreed(found)
            case binding.About():
                if (found := self._find(notice.call)) is not None:
                    self._tell(notice.tell(found.number))
            case _:
                self._tell(notice)

    def _reconnect(self) -> None:
        """Leave connections on which nothing can be read any more; calls go on by another one."""
        log.warning(
            "a message was too long for this build of PJSIP (PJSIP_MAX_PKT_LEN); it reconnects"
        )
        try:
            self._connections.leave(self._endpoint)
            if self._settings.domain:
                self._account.setRegistration(True)
        except pj.Error as e:
            log.warning("PJSIP does not reconnect: %s", e.reason)

    def _moved(self, held: _Held, notice: binding.Moved) -> None:
        if notice.state == pj.PJSIP_INV_STATE_DISCONNECTED:
            self._forget(held)
            self._tell(told.Ended(held.number, notice.status, notice.reason))
        elif notice.state == pj.PJSIP_INV_STATE_EARLY and notice.status > 100:
            self._tell(told.Alerting(held.number))
        elif notice.state == pj.PJSIP_INV_STATE_CONFIRMED:
            self._tell(told.Taken(held.number))

    def _agreed(self, held: _Held) -> None:
        try:
            info = held.call.getInfo()  # whose list dies with it
            sounds = (m for m in info.media if m.type == pj.PJMEDIA_TYPE_AUDIO)
            if (found := next((m for m in sounds if m.status in _THERE), None)) is None:
                if held.place >= 0:  # an answer took it; PJSIP would abort at the next change
                    held.call.hangup(_parameters(0))
                return
            held.place, held.sound = found.index, held.call.getAudioMedia(found.index)
            profile = told.profile_of(held.call.dump(True, ""), found.index)  # noqa: FBT003
            direction = _DIRECTIONS[found.dir]
        except pj.Error as e:  # it ended meanwhile
            log.info("call %d: %s", held.number, e.reason)
            return
        held.keyed = profile in SUITES
        held.waits = not profile and self._settings.keying is Keying.DTLS_SRTP
        self._connect(held)
        if held.keyed:
            self._tell(told.Sounding(held.number, direction, profile))
        elif not held.waits:
            error = SecurityError(
                "PJSIP does not say that the sound of this call is under SRTP",
                reason=Reason.NO_ENCRYPTION,
            )
            self._tell(told.Unprotected(held.number, error))

    def _connect(self, held: _Held) -> None:
        if held.sound is None:
            return
        try:
            if held.passing and held.keyed:
                held.port.startTransmit(held.sound)
                held.sound.startTransmit(held.port)
            else:
                held.port.stopTransmit(held.sound)
                held.sound.stopTransmit(held.port)
        except pj.Error as e:  # it was not connected, or has ended
            log.debug("call %d: %s", held.number, e.reason)

    def _measure(self, held: _Held) -> None:
        if held.place < 0:
            return
        try:
            about = held.call.getStreamInfo(held.place)
            measured = held.call.getStreamStat(held.place)
        except pj.Error:  # no stream, at this moment
            return
        statistics = _statistics(measured, about.codecName)
        self._tell(told.Measured(held.number, statistics, digits=about.audTxEventPt >= 0))

    # -- keeping ----------------------------------------------------------------------------------

    def _hold_on(self, number: int, call: binding.Call, rings: Rings) -> _Held:
        port = self._free.pop() if self._free else binding.Port()
        port.rings = rings
        held = _Held(number, call, port)
        self._held[number] = held
        self._numbers[id(call)] = number
        return held

    def _find(self, call: binding.Call) -> _Held | None:
        return self._held.get(self._numbers.get(id(call), 0))

    def _forget(self, held: _Held) -> None:
        """Let a call go; its port serves the next one, so that none dies under the bridge."""
        held.passing = False
        self._connect(held)
        del self._held[held.number], self._numbers[id(held.call)]
        held.port.rings.clear()
        held.port.rings = Rings()
        self._free.append(held.port)

    def close(self) -> None:
        """Hang up everything, take leave of the registrar, and let go, in the order PJSIP needs."""
        for number in tuple(self._held):
            self._tell(told.Ended(number, 0, ""))
        endpoint = self._endpoint
        try:
            if endpoint.libGetState() >= pj.PJSUA_STATE_INIT:
                endpoint.hangupAllCalls()
                endpoint.audDevManager().setNoDev()  # stops the bridge's thread
            self._held.clear()
            self._numbers.clear()
            self._free.clear()
            _drain(self._notices)
            with suppress(AttributeError):  # where it did not get that far
                del self._account
            if binding.LOG_LEVEL is not None:
                _ = binding.LOG_LEVEL(0)
            endpoint.libDestroy()
        except pj.Error as e:
            log.warning("PJSIP did not end as it should: %s", e.reason)
        del self._endpoint, self._log  # here, not wherever the last of us is let go


_THERE: Final = (
    pj.PJSUA_CALL_MEDIA_ACTIVE,
    pj.PJSUA_CALL_MEDIA_LOCAL_HOLD,
    pj.PJSUA_CALL_MEDIA_REMOTE_HOLD,
)


def _drain(notices: binding.Notices) -> None:
    """Let go of the calls that notices hold; the last of them when this returns."""
    while not notices.empty():
        _ = notices.get_nowait()


def _require_nobody() -> None:
    """Raise where PJSIP is in use already: a second endpoint would end the process."""
    try:
        _ = pj.Endpoint.instance()
    except pj.Error:
        return
    raise UsageError(
        "this process has an endpoint of PJSIP that is not securecall's; PJSIP allows only one"
    )


def _parameters(status: int) -> pj.CallOpParam:
    parameters = pj.CallOpParam()
    parameters.statusCode = status
    return parameters


def _statistics(measured: pj.StreamStat, codec: str) -> AudioStatistics:
    sent, received = measured.rtcp.txStat, measured.rtcp.rxStat
    round_trip = measured.rtcp.rttUsec
    return AudioStatistics(
        packets_sent=sent.pkt,
        bytes_sent=sent.bytes,
        packets_received=received.pkt,
        bytes_received=received.bytes,
        lost=received.loss,
        duplicates=received.dup,
        jitter_ms=received.jitterUsec.last / 1000,
        rtt_ms=round_trip.last / 1000 if round_trip.n else None,
        loss_reported=min(1.0, sent.loss / sent.pkt) if sent.pkt else 0.0,
        delay_ms=float(measured.jbuf.avgDelayMsec),
        codec=codec,
    )
