"""A voice agent: listens until the caller pauses, answers, and stops when it is interrupted.

    python voice_agent.py FOLDER PASSPHRASE_FILE [HOST]

Prints a ticket. A recogniser and a voice take the place of `answer`, which repeats what was said.
"""

import asyncio
import contextlib
import sys

import securecall as sc
from securecall.media.frames import rms_dbfs


async def answer(call: sc.Call, said: list[sc.AudioFrame]) -> None:
    with contextlib.suppress(sc.CallFailed):  # they hung up meanwhile
        for frame in said:
            await call.write(frame)  # waits while a tenth of a second is queued
        print(f"answered {len(said) / 50:.1f} s", flush=True)


async def main(folder: str, passphrase_file: str, host: str = "") -> None:
    secret, answering = sc.Secret.from_file(passphrase_file), asyncio.create_task(asyncio.sleep(0))
    async with sc.open(folder, passphrase=secret, create=True) as me:
        print(await me.ticket(host=host), flush=True)
        async with (await me.next_call()).accept() as call:
            said: list[sc.AudioFrame] = []
            quiet = 0
            async for frame in call.audio:  # 20 ms of 16-bit PCM; ends with the call
                quiet = quiet + 1 if rms_dbfs(frame.samples) < -45 else 0
                said += [frame] if said or not quiet else []
                if not quiet:
                    answering.cancel()
                elif said and quiet == 25:  # half a second
                    said, answering = [], asyncio.create_task(answer(call, said[:-25]))


if __name__ == "__main__":
    sys.exit(sc.run(main(*sys.argv[1:])) if len(sys.argv) in (3, 4) else __doc__)
