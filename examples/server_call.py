"""Sign in at a SIP server with address and password, call somebody there, or wait for a call.

    python server_call.py FOLDER PASSPHRASE_FILE ACCOUNT PASSWORD_FILE [CALLEE]

Without CALLEE it waits for one call. The server is found by the address; for a server of your own
give SERVER=host:port and AUTHORITIES=file.pem, as `securecall lab` prints them.
"""

import asyncio
import os
import sys
from pathlib import Path

import securecall as sc


async def main(folder: str, passphrase: str, account: str, password: str, callee: str = "") -> None:
    private = os.environ.get("AUTHORITIES")
    async with sc.open(folder, passphrase=sc.Secret.from_file(passphrase), create=True) as me:
        await me.sign_in(
            account,
            password=sc.Secret.from_file(password),
            server=os.environ.get("SERVER"),
            authorities=Path(private) if private else None,
        )
        print("registered", flush=True)
        tone = sc.ToneSource(440)
        call = me.call(callee, audio=tone) if callee else (await me.next_call()).accept(audio=tone)
        async with call:  # leaving the block hangs up
            security = await call.connected()
            print(security.level.words, "- words:", *call.sas.words)
            await (asyncio.sleep(2) if callee else call.ended())
        print(call.report)


if __name__ == "__main__":
    sys.exit(sc.run(main(*sys.argv[1:])) if len(sys.argv) in (5, 6) else __doc__)
