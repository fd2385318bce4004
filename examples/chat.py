"""Write to somebody over XMPP, end-to-end encrypted, and read what they answer.

    python chat.py FOLDER PASSPHRASE_FILE ACCOUNT PASSWORD_FILE FRIEND TEXT

Your server and your friend's are found by the addresses; for a server of your own give
SERVER=host:port and AUTHORITIES=file.pem, as `securecall lab` prints them.
"""

import os
import sys
from pathlib import Path

import securecall as sc


async def main(
    folder: str, passphrase_file: str, account: str, password_file: str, friend: str, text: str
) -> None:
    private = os.environ.get("AUTHORITIES")
    async with sc.open(folder, passphrase=sc.Secret.from_file(passphrase_file), create=True) as me:
        await me.sign_in(
            xmpp=account,
            password=sc.Secret.from_file(password_file),
            server=os.environ.get("SERVER"),
            authorities=Path(private) if private else None,
        )
        conversation = me.conversation(friend)
        sent = await conversation.send(text)
        async for message in conversation.incoming(after=sent.number):
            print(f"{message.sender.short} ({message.trust}): {message.text}", flush=True)
            await conversation.mark_read(message)


if __name__ == "__main__":
    sys.exit(sc.run(main(*sys.argv[1:])) if len(sys.argv) == 7 else __doc__)
