"""A bot that answers each message of the people it knows exactly once, restarts or not.

    python echo_bot.py FOLDER PASSPHRASE_FILE ACCOUNT PASSWORD_FILE FRIEND...

What was answered is known by the answers themselves. SERVER and AUTHORITIES as in chat.py.
"""

import os
import sys
from pathlib import Path

import securecall as sc


async def main(folder: str, secret: str, account: str, password: str, *friends: str) -> None:
    async with sc.open(folder, passphrase=sc.Secret.from_file(secret), create=True) as me:
        await me.sign_in(
            xmpp=account,
            password=sc.Secret.from_file(password),
            server=os.environ.get("SERVER"),
            authorities=Path(os.environ["AUTHORITIES"]) if "AUTHORITIES" in os.environ else None,
        )
        print("ready", flush=True)
        async for message in me.messages(after=0):  # all that is kept, then what comes
            if not message.unread or message.sender.short not in friends:
                continue
            conversation = me.conversation(message.sender)
            kept = conversation.messages(count=1000)
            if message.text and not any(m.own and m.reply_to == message.id for m in kept):
                await conversation.send(f"You said: {message.text}", reply_to=message)
            await conversation.mark_read(message)


if __name__ == "__main__":
    sys.exit(sc.run(main(*sys.argv[1:])) if len(sys.argv) > 5 else __doc__)
