"""An account of PJSIP's with nothing of ours around it: the control of what hostile providers do.

Prints a line for every call that comes in, takes it, and holds it in the end. Under PJSIP's
licence, so a process of its own.
"""

from __future__ import annotations

import contextlib
import sys
import time

import pjsua2 as pj


class Account(pj.Account):
    def __init__(self) -> None:
        super().__init__()
        self.calls: list[pj.Call] = []
        self.ringing: list[pj.Call] = []

    def onIncomingCall(self, prm) -> None:
        call = pj.Call(self, prm.callId)
        self.calls.append(call)
        self.ringing.append(call)
        print("called by", call.getInfo().remoteUri, flush=True)


def main(server: str, address: str, authorities: str, seconds: float) -> None:
    endpoint = pj.Endpoint()
    endpoint.libCreate()
    config = pj.EpConfig()
    config.logConfig.level = config.logConfig.consoleLevel = 0
    config.uaConfig.threadCnt = 0
    endpoint.libInit(config)
    transport = pj.TransportConfig()
    transport.boundAddress = "127.0.0.1"
    transport.tlsConfig.verifyServer = True
    transport.tlsConfig.CaListFile = authorities
    number = endpoint.transportCreate(pj.PJSIP_TRANSPORT_TLS, transport)
    endpoint.libStart()
    endpoint.audDevManager().setNullDev()
    wished = pj.AccountConfig()
    wished.idUri = address
    wished.regConfig.registrarUri = "sip:" + address.rpartition("@")[2]
    wished.sipConfig.transportId = number
    wished.sipConfig.proxies.append(f"sip:{server};transport=tls;lr")
    wished.mediaConfig.srtpUse = pj.PJMEDIA_SRTP_MANDATORY
    wished.mediaConfig.srtpSecureSignaling = 1
    account = Account()
    account.create(wished)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        endpoint.libHandleEvents(10)
        while account.ringing:
            taking = pj.CallOpParam()
            taking.statusCode = 200
            account.ringing.pop().answer(taking)
    for call in account.calls:
        with contextlib.suppress(pj.Error):  # it is over
            call.setHold(pj.CallOpParam(True))
    account.ringing.clear()
    account.calls.clear()
    account.shutdown()
    del account
    endpoint.libDestroy()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], float(sys.argv[4]))
