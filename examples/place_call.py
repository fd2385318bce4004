"""Call somebody with a ticket, play a sound file to them, and record what they say.

    python place_call.py FOLDER PASSPHRASE_FILE TICKET SOUND.wav [RECORDING.wav]

FOLDER keeps your keys, encrypted. The ticket comes from answer_calls.py, pcm_echo.py or
`securecall ticket` on your friend's machine.
"""

import asyncio
import sys

import securecall as sc


async def main(
    folder: str, passphrase_file: str, ticket: str, sound: str, recording: str = "heard.wav"
) -> None:
    passphrase = sc.Secret.from_file(passphrase_file)
    async with sc.open(folder, passphrase=passphrase, create=True) as me:
        async with me.call(ticket, require=sc.E2EE) as call:  # leaving the block hangs up
            security = await call.connected()  # raises CallFailed or SecurityError
            print(security.level.words, "- words:", *call.sas.words)
            # Both of you read the words aloud. If they are the same: await call.confirm_sas()
            call.record(recording)
            await call.play(sc.FileSource(sound))
        print(call.report)  # who could have listened


if __name__ == "__main__":
    try:
        asyncio.run(main(*sys.argv[1:]))
    except sc.SecurecallError as error:
        sys.exit(f"{type(error).__name__}: {error}")
