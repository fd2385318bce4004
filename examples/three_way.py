"""Call two people with their tickets and let all three of you hear each other.

    python three_way.py FOLDER PASSPHRASE_FILE TICKET TICKET SOUND.wav [RECORDING.wav]

Each ticket comes from answer_calls.py on a friend's machine. The sound is mixed here; each call
is encrypted on its own. For a microphone and a speaker put sc.Microphone() and sc.Speaker() in
the place of the files. A friend who hangs up leaves the room, and the others go on.
"""

import sys

import securecall as sc


async def main(
    folder: str, passphrase: str, one: str, other: str, sound: str, heard: str = "heard.wav"
) -> None:
    secret, voice = sc.Secret.from_file(passphrase), sc.FileSource(sound)
    async with (
        sc.open(folder, passphrase=secret, create=True) as me,
        sc.Conference() as room,
        me.call(one) as first,
        me.call(other) as second,
    ):
        for call in (first, second):
            await call.connected()
            room.add(call)
        room.set_gain(second, -3.0)
        room.local(source=voice, sink=sc.Recorder(heard))
        await voice.finished.wait()
        print(*(f"{call.peer} {level.dbfs:.0f} dBFS" for call, level in room.levels().items()))
    print(first.report)  # names the other friend, who heard this call through you


if __name__ == "__main__":
    sys.exit(sc.run(main(*sys.argv[1:])) if len(sys.argv) in (6, 7) else __doc__)
