"""A switchboard: takes a call, sends the caller to a colleague, and says what came of it.

    python transfer.py FOLDER PASSPHRASE_FILE ACCOUNT PASSWORD_FILE COLLEAGUE

The caller's own program asks its person, and calls the colleague anew, under its own policy.
SERVER and AUTHORITIES are as for server_call.py.
"""

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
        async with (await me.next_call()).accept(audio=sc.ToneSource(440)) as call:
            await call.connected()
            try:  # or hand over another call of ours, for an attended transfer
                await call.transfer(colleague)
                print("handed over")
            except sc.NotTransferred as error:  # the call with us goes on
                print("still here:", error.reason.value)


if __name__ == "__main__":
    sys.exit(sc.run(main(*sys.argv[1:])) if len(sys.argv) == 6 else __doc__)
