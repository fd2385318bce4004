"""A voice menu: who calls presses 1 for a high tone, 2 for a low one, # to end.

    python ivr.py FOLDER PASSPHRASE_FILE [HOST]

Prints a ticket. Digits come as events of RFC 4733, sealed end to end like the sound.
"""

import sys

import securecall as sc

MENU = {"1": 880, "2": 220}


async def main(folder: str, passphrase_file: str, host: str = "") -> None:
    passphrase = sc.Secret.from_file(passphrase_file)
    async with sc.open(folder, passphrase=passphrase, create=True) as me:
        print(await me.ticket(host=host), flush=True)
        ring = await me.next_call()
        async with ring.accept(audio=sc.ToneSource(440)) as call:
            pressed = call.digits()
            await call.connected()
            async for digit in pressed:
                print("pressed", digit, flush=True)
                if digit == "#":
                    break
                call.source = sc.ToneSource(MENU.get(digit, 440))


if __name__ == "__main__":
    sys.exit(sc.run(main(*sys.argv[1:])) if len(sys.argv) in (3, 4) else __doc__)
