"""A stand-in for the module pjsua2: what a build of somebody's own could say, without any."""

from __future__ import annotations

import ctypes
import itertools
import types

_NOWHERE = (ctypes.c_void_p * 2)()  # a std::vector of nothing


class Error(Exception):
    reason, status = "so it is", 1


class Record:
    """Takes any attribute, has any other, and does nothing."""

    def __init__(self, *_: object) -> None:
        pass

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        made = Record()
        setattr(self, name, made)
        return made

    def __call__(self, *_: object) -> Record:
        return Record()


class Listed(list):
    def __init__(self, *_: object) -> None:
        super().__init__()


class Build:
    """What was built in.

    Attributes:
        suites: Of SRTP.
        dtls: DTLS-SRTP.
        dump: What a call says of itself.
        ciphers: Of TLS.
        held: Somebody else has PJSIP.
    """

    def __init__(self, *, suites=("AES_CM_128_HMAC_SHA1_80",), dtls=True, ciphers=(0x1301, 0x2F)):
        self.suites, self.dtls, self.ciphers = suites, dtls, ciphers
        self.dump = ""
        self.held = False
        self.joined: list[tuple[object, object]] = []
        self.dialled: list[str] = []
        self.config = Record()
        self.transport = Record()
        self.account = Record()
        self.ended = 0

    def module(self) -> types.ModuleType:
        """It, to be put into `sys.modules`."""
        build, number = self, itertools.count(1)

        class Endpoint:
            @staticmethod
            def instance():
                if not build.held:
                    raise Error
                return Record()

            def libInit(self, config):
                build.config = config

            def transportCreate(self, kind, config):
                build.transport = config
                return 0

            def srtpCryptoEnum(self):
                return build.suites

            def utilSslGetAvailableCiphers(self):
                return build.ciphers

            def codecEnum2(self):
                return ()

            def libGetState(self):
                return 3

            def libDestroy(self):
                build.ended += 1

            def libHandleEvents(self, _milliseconds):
                return 0

            def __getattr__(self, name):
                return lambda *args: Record()

        class Account:
            def create(self, config):
                build.account = config

            def setRegistration(self, _wanted):
                pass

        class Call:
            def __init__(self, account, number):
                self.account = account

            def makeCall(self, uri, parameters):
                build.dialled.append(uri)
                said = Record()
                said.sdp.wholeSdp = f"m=audio 9 {'UDP/TLS/RTP/SAVP' if build.dtls else 'RTP/AVP'} 0"
                said.remSdp.wholeSdp = ""
                self.onCallSdpCreated(said)

            def getInfo(self):
                info, media = Record(), Record()
                media.type, media.status, media.index, media.dir = "AUDIO", "ACTIVE", 0, "BOTH"
                info.media, info.callIdString = [media], "a"
                return info

            def getAudioMedia(self, _index):
                return Sound()

            def dump(self, *_):
                return build.dump

            def getStreamInfo(self, _place):
                raise Error

        class Sound:
            def startTransmit(self, to):
                build.joined.append((self, to))

            def stopTransmit(self, to):
                build.joined = [pair for pair in build.joined if to not in pair]

            def createPort(self, *_):
                pass

        class ByteVector(bytearray):
            this = ctypes.addressof(_NOWHERE)

        made = types.ModuleType("pjsua2")
        made.__dict__.update(
            Error=Error, Endpoint=Endpoint, Account=Account, Call=Call, AudioMediaPort=Sound,
            LogWriter=type("LogWriter", (), {}), ByteVector=ByteVector,
            PJMEDIA_TYPE_AUDIO="AUDIO", PJSUA_CALL_MEDIA_ACTIVE="ACTIVE",
            PJMEDIA_DIR_ENCODING_DECODING="BOTH", PJSUA_STATE_INIT=2,
            PJ_SSL_SOCK_PROTO_TLS1_2=16, PJ_SSL_SOCK_PROTO_TLS1_3=32,
        )  # fmt: skip

        def missing(name):
            if name.startswith("__"):
                raise AttributeError(name)
            if name.isupper():
                return next(number) + 1000
            return Listed if name.endswith("Vector") else Record

        made.__getattr__ = missing
        return made
