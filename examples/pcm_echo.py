"""Your own sound code: hears the caller frame by frame, and sends every frame back.

    python pcm_echo.py FOLDER PASSPHRASE_FILE [HOST]

Prints a ticket; call it with place_call.py. A speech recogniser or a voice assistant takes the
place of the one line in the middle.
"""

import sys

import securecall as sc


async def main(folder: str, passphrase_file: str, host: str = "") -> None:
    passphrase = sc.Secret.from_file(passphrase_file)
    async with sc.open(folder, passphrase=passphrase, create=True) as me:
        print(await me.ticket(host=host), flush=True)
        ring = await me.next_call()
        async with ring.accept() as call:
            print((await call.connected()).level.words, flush=True)
            async for frame in call.audio:  # 20 ms of 16-bit PCM; ends with the call
                await call.write(frame)
        statistics = call.statistics()
        if statistics is not None:
            print(f"echoed {statistics.received_seconds:.1f} s")


if __name__ == "__main__":
    sys.exit(sc.run(main(*sys.argv[1:])) if len(sys.argv) in (3, 4) else __doc__)
