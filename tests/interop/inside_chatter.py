"""A person who writes numbered messages until the process is killed; run as a process of its own.

Says "begun", "online", "kept N" as soon as `send` returned, and "heard N" for how many came.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

import securecall as sc
from securecall.chat.message import Delivery
from tests.interop.chatting import PASSPHRASE
from tests.interop.xmpp_servers import password_of

AHEAD = 40  # messages


def say(*words: object) -> None:
    print(*words, flush=True)


async def main(folder: Path, name: str, other: str, domain: str, port: int, root: Path) -> None:
    async with sc.open(folder, passphrase=sc.Secret(PASSPHRASE)) as client:
        say("begun")
        _ = await client.sign_in(
            xmpp=f"{name}@{domain}",
            password=sc.Secret(password_of(name)),
            server=f"127.0.0.1:{port}",
            authorities=root,
        )
        say("online")
        listening = asyncio.create_task(listen(client))
        conversation = client.conversation(f"{other}@{domain}")
        ours = [m.text for m in conversation.messages(count=100_000) if m.own]
        number = int(ours[-1].split()[1]) + 1 if ours else 0
        while not listening.done():
            ours = [m for m in conversation.messages(count=3 * AHEAD) if m.own][-AHEAD:]
            if len(ours) == AHEAD and ours[0].delivery is Delivery.PENDING:
                await asyncio.sleep(0.02)
                continue
            _ = await conversation.send(f"{name} {number}")
            say("kept", number)
            number += 1
            await asyncio.sleep(0)
        await listening


async def listen(client: sc.Client) -> None:
    heard, began = 0, time.time()
    async for message in client.messages(after=0):
        heard += 1
        say("heard", heard)
        if message.sent > began:
            say("new")


if __name__ == "__main__":
    asyncio.run(
        main(
            Path(sys.argv[1]),
            sys.argv[2],
            sys.argv[3],
            sys.argv[4],
            int(sys.argv[5]),
            Path(sys.argv[6]),
        )
    )
