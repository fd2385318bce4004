"""Send a sound file as a voice message over XMPP, end-to-end encrypted.

    python voice_message.py FOLDER PASSPHRASE_FILE ACCOUNT PASSWORD_FILE FRIEND SOUND.wav

For a microphone: `await record(sc.Microphone(), stop)` of the same module, until `stop.set()`.
SERVER and AUTHORITIES as in chat.py.
"""

import os
import sys
import tempfile
from pathlib import Path

import securecall as sc
from securecall.chat.voice import VoiceRecorder


async def main(home: str, secret: str, account: str, password: str, friend: str, wav: str) -> None:
    private, source = os.environ.get("AUTHORITIES"), sc.FileSource(wav)
    recorder = VoiceRecorder(source)
    while not (source.finished.is_set() or recorder.full):
        recorder.step()  # 20 ms of sound into Opus
    voice = recorder.finish()
    async with sc.open(home, passphrase=sc.Secret.from_file(secret), create=True) as me:
        await me.sign_in(
            xmpp=account,
            password=sc.Secret.from_file(password),
            server=os.environ.get("SERVER"),
            authorities=Path(private) if private else None,
        )
        with tempfile.NamedTemporaryFile(suffix=".ogg") as file:
            file.write(voice.data)
            file.flush()
            await me.conversation(friend).send_voice(Path(file.name), seconds=voice.seconds)
        print(f"sent {voice.seconds:.1f} s", flush=True)


if __name__ == "__main__":
    sys.exit(sc.run(main(*sys.argv[1:])) if len(sys.argv) == 7 else __doc__)
