"""CPU of signalling in pjsua2, client side: `pjsua2_sip register|call|message COUNT`.

The same server as ours is asked, over TLS, which the wheel (OpenSSL 1.0.2k) does not verify here.
One at a time, since its callbacks come from its one event loop; its calls open an RTP socket and a
media stream each, which ours here do not.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

from tests.bench.measure import absent, answer
from tests.bench.serving import serving

try:
    import pjsua2 as pj
except ImportError:
    absent("pjsua2-python")

WHAT, COUNT = sys.argv[1], int(sys.argv[2])
endpoint = pj.Endpoint()
done = [0]
failed: list[int] = []
confirmed: list[pj.Call] = []
kept: list[pj.Call] = []


class Call(pj.Call):
    """To be hung up once it is answered, and not from inside its callback, which aborts."""

    def onCallState(self, _) -> None:
        info = self.getInfo()
        if info.state == pj.PJSIP_INV_STATE_CONFIRMED:
            confirmed.append(self)
        elif info.state == pj.PJSIP_INV_STATE_DISCONNECTED:
            done[0] += 1
            if info.lastStatusCode >= 300:
                failed.append(info.lastStatusCode)


class Account(pj.Account):
    """Counts what comes of its requests."""

    def onRegState(self, parameters) -> None:
        done[0] += 1
        if parameters.code != 200:
            failed.append(parameters.code)

    def onInstantMessageStatus(self, parameters) -> None:
        done[0] += 1
        if parameters.code != 200:
            failed.append(parameters.code)


def open_account(port: int) -> Account:
    """Start the library with one account at the server."""
    endpoint.libCreate()
    config = pj.EpConfig()
    config.logConfig.level = config.logConfig.consoleLevel = 0
    config.uaConfig.threadCnt, config.uaConfig.mainThreadOnly = 0, True
    config.medConfig.noVad = True
    endpoint.libInit(config)
    transport = pj.TransportConfig()
    transport.boundAddress = "127.0.0.1"
    transport.tlsConfig.verifyServer = False
    identifier = endpoint.transportCreate(pj.PJSIP_TRANSPORT_TLS, transport)
    endpoint.libStart()
    endpoint.audDevManager().setNullDev()
    settings = pj.AccountConfig()
    settings.idUri = "sip:alice@bench.example"
    settings.sipConfig.transportId = identifier
    settings.sipConfig.proxies.append(f"sip:127.0.0.1:{port};transport=tls;lr")
    settings.regConfig.registrarUri = "sip:bench.example"
    settings.regConfig.registerOnAdd = True
    settings.mediaConfig.srtpUse = pj.PJMEDIA_SRTP_DISABLED
    account = Account()
    account.create(settings)
    return account


def wait(count: int) -> None:
    """Let the library work until so many are done."""
    end = time.perf_counter() + 20
    while done[0] < count:
        endpoint.libHandleEvents(10)
        while confirmed:
            confirmed.pop().hangup(pj.CallOpParam())
        if time.perf_counter() > end:
            sys.exit(f"{done[0]} of {count} done, then nothing more; failures {failed[:5]}")


def acts(account: Account):
    """The act to measure."""
    if WHAT == "register":
        return lambda: account.setRegistration(True)
    if WHAT == "call":

        def call() -> None:
            placed, parameters = Call(account), pj.CallOpParam()
            parameters.opt.audioCount, parameters.opt.videoCount = 1, 0
            kept.append(placed)  # the binding frees what Python forgets, in use or not
            placed.makeCall("sip:bob@bench.example", parameters)

        return call
    buddy, settings, text = pj.Buddy(), pj.BuddyConfig(), pj.SendInstantMessageParam()
    settings.uri, settings.subscribe = "sip:bob@bench.example", False
    buddy.create(account, settings)
    text.content = "Ready when you are."
    return lambda: buddy.sendInstantMessage(text)


def main() -> None:
    """Do it and say what one cost."""
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder)) as (port, _):
        account = open_account(port)
        wait(1)  # registered
        act = acts(account)
        for _ in range(10):
            done[0] = 0
            act()
            wait(1)
        cpu = time.process_time()
        for _ in range(COUNT):
            done[0] = 0
            act()
            wait(1)
        us = (time.process_time() - cpu) / COUNT * 1e6
        if failed:
            sys.exit(f"failed: {failed[:5]}")
        answer(stack="pjsua2", what=WHAT, us=round(us, 1), per_second=round(1e6 / us))


if __name__ == "__main__":
    main()
    os._exit(0)  # its destructors abort over calls that are over
