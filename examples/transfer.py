"""A switchboard: takes a call, sends the caller to a colleague, and says what came of it.

    python transfer.py FOLDER PASSPHRASE_FILE ACCOUNT PASSWORD_FILE COLLEAGUE

The caller's own program asks its person, and calls the colleague anew, under its own policy. For a
server of your own give SERVER=host:port and AUTHORITIES=file.pem, as `securecall lab` prints them.
"""

import asyncio
import os
import sys
from pathlib import Path

import securecall as sc


async def main(folder: str, passphrase: str, account: str, password: str, colleague: str) -> None:
    private = os.environ.get("AUTHORITIES")
    async with sc.open(folder, passphrase=sc.Secret.from_file(passphrase), create=True) as me:
        await me.sign_in(
            account,
            password=sc.Secret.from_file(password),
            server=os.environ.get("SERVER"),
            authorities=Path(private) if private else None,
        )
        print("registered", flush=True)
        ring = await me.next_call()
        async with ring.accept(audio=sc.ToneSource(440)) as call:
            await call.connected()
            try:
                await call.transfer(colleague)  # or another call of ours, for an attended transfer
                print("handed over")
            except sc.NotTransferred as error:  # the call with us goes on
                print("still here:", error.reason.value)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
