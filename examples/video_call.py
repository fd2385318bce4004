"""Call somebody with a ticket and show them a camera, the screen, a film or a test picture.

    python video_call.py FOLDER PASSPHRASE_FILE TICKET camera|screen|test|FILM [SECONDS]

Needs `pip install "securecall[video]"`. The ticket comes from record_call.py or from
`securecall answer --ticket --watch` on your friend's machine. What they show is counted here;
your window would take the place of that loop.
"""

import asyncio
import sys

import securecall as sc

SOURCES = {"camera": sc.Camera, "screen": sc.Screen, "test": sc.TestPattern}


async def main(folder: str, passphrase_file: str, ticket: str, what: str, wait: str = "10") -> None:
    source = SOURCES[what]() if what in SOURCES else sc.VideoFile(what)
    passphrase = sc.Secret.from_file(passphrase_file)
    async with sc.open(folder, passphrase=passphrase, create=True) as me:
        async with me.call(ticket, audio=sc.ToneSource(440), video=source) as call:
            security = await call.connected()
            print(security.level.words, "- words:", *call.sas.words, flush=True)
            watching = asyncio.create_task(watch(call))
            await asyncio.sleep(float(wait))  # call.hold() and call.resume() stop both for a while
            watching.cancel()
        print([f"{p.frames_sent} sent, {p.frames_shown} seen" for p in call.video.statistics()])


async def watch(call: sc.Call) -> None:
    async for frame in call.video.frames():
        print(f"{frame.timestamp:.2f} s: {frame.width}x{frame.height}")  # frame.to_image(), …


if __name__ == "__main__":
    sys.exit(sc.run(main(*sys.argv[1:])) if len(sys.argv) in (5, 6) else __doc__)
