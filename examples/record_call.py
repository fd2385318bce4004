"""Wait for one call, look at it without showing anything, and record sound and pictures.

    python record_call.py FOLDER PASSPHRASE_FILE FILM.webm [HOST]

Needs `pip install "securecall[video]"`. Give the printed ticket to one person, who calls with
video_call.py. Ask before you record: the caller's device is told, and both reports say so.
"""

import sys

import securecall as sc


async def main(folder: str, passphrase_file: str, film: str, host: str = "") -> None:
    recorder = sc.VideoRecorder(film)  # .webm, .mkv or .mp4
    passphrase = sc.Secret.from_file(passphrase_file)
    async with sc.open(folder, passphrase=passphrase, create=True) as me:
        print(await me.ticket(host=host), flush=True)
        ring = await me.next_call()
        print("a call from", ring.caller.short, "with pictures" if ring.shows else "")
        async with ring.accept(audio=sc.SilenceSource(), video=True) as call:
            security = await call.connected()
            print(security.level.words, "- words:", *call.sas.words, flush=True)
            call.note_consent(sc.Consent.GIVEN, by="the caller, asked before the call")
            call.video.add_sink(recorder)
            call.add_sink(recorder.audio)
            await call.ended()
        await recorder.wait_finished()
        print(f"{recorder.seconds:.1f} s in {film}")
        print(call.report)


if __name__ == "__main__":
    sys.exit(sc.run(main(*sys.argv[1:])) if len(sys.argv) in (4, 5) else __doc__)
