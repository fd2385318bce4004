"""Call a telephone number through a provider's gateway, or wait for a call from the phone network.

    python phone_gateway.py FOLDER PASSPHRASE_FILE ACCOUNT PASSWORD_FILE [NUMBER]

NUMBER is one such as +431234567; without it, one call is awaited. The keys of such a call stand in
the signalling: your provider and the phone network can hear it. MODE=gateway-dtls is for providers
whose gateway makes keys by DTLS. SERVER and AUTHORITIES are as for server_call.py.
"""

import asyncio
import os
import sys
from pathlib import Path

import securecall as sc


async def main(folder: str, passphrase: str, account: str, password: str, number: str = "") -> None:
    private = os.environ.get("AUTHORITIES")
    async with sc.open(folder, passphrase=sc.Secret.from_file(passphrase), create=True) as me:
        await me.sign_in(
            account,
            password=sc.Secret.from_file(password),
            server=os.environ.get("SERVER"),
            authorities=Path(private) if private else None,
            provider_mode=os.environ.get("MODE", "gateway"),
        )
        print("registered", flush=True)
        tone = sc.ToneSource(440)
        to = f"tel:{number}"
        call = me.call(to, audio=tone) if number else (await me.next_call()).accept(audio=tone)
        async with call:  # leaving the block hangs up
            print((await call.connected()).words)  # for whoever speaks
            await (asyncio.sleep(2) if number else call.ended())
        print(call.report)


if __name__ == "__main__":
    sys.exit(sc.run(main(*sys.argv[1:])) if len(sys.argv) in (5, 6) else __doc__)
