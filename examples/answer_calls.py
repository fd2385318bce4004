"""Wait for calls: makes a ticket for a friend and answers whoever calls with it.

    python answer_calls.py FOLDER PASSPHRASE_FILE [HOST]

FOLDER keeps your keys, encrypted. Give the printed ticket to one person; with it,
place_call.py on their machine calls you. No account, no server.
"""

import sys

import securecall as sc


async def main(folder: str, passphrase_file: str, host: str = "") -> None:
    passphrase = sc.Secret.from_file(passphrase_file)
    async with sc.open(folder, passphrase=passphrase, create=True) as me:
        print(await me.ticket(host=host), flush=True)
        async for ring in me.incoming():
            print("a call from", ring.caller.short)
            call = ring.accept(audio=sc.ToneSource(440))
            try:
                async with call:
                    security = await call.connected()
                    print(security.level.words, "- words:", *call.sas.words, flush=True)
                    await call.ended()
            except (sc.CallFailed, sc.SecurityError) as error:
                print("the call ended:", error)
            print(call.report, flush=True)
            if "--once" in sys.argv:
                return


if __name__ == "__main__":
    given = [argument for argument in sys.argv[1:] if argument != "--once"]
    sys.exit(sc.run(main(*given)) if len(given) in (2, 3) else __doc__)
