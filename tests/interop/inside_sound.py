"""Our microphone and speaker in a process of their own; run by `test_devices.py`, not by itself.

Prints one JSON object per line: what happened, and what was heard in the last second.
"""

from __future__ import annotations

import json
import sys
import time
from array import array

from securecall.errors import DeviceLost
from securecall.media.devices import Microphone, Speaker, sound_devices
from securecall.media.endpoints import FileSource, ToneSource
from securecall.media.frames import AudioFrame, rms_dbfs
from securecall.media.processing import VoiceProcessing
from tests.interop.sound import share

RATE = 48000
SAMPLES = RATE // 50
TONES = (440.0, 620.0)


def say(what, **more):
    print(json.dumps({"what": what, **more}), flush=True)


def heard(pcm):
    """How loud it is, and which of the tones it is."""
    samples = array("h", pcm[: 2 * RATE // 5])
    if not samples:
        return {"dbfs": -96.0, "tones": []}
    tones = [tone for tone in TONES if share(samples, RATE, tone) > 0.6]
    return {"dbfs": round(rms_dbfs(pcm), 1), "tones": tones}


class Ends:
    """Both ends, driven as the clock of a call does."""

    def __init__(self, microphone, speaker=None, source=None):
        self.microphone, self.speaker, self.source = microphone, speaker, source

    def run(self, seconds):
        """Drive them; returns what was heard."""
        pcm = b""
        begun = time.monotonic()
        for n in range(round(seconds * 50)):
            try:
                pcm += self.microphone.read(SAMPLES, RATE) or b""
                if self.speaker is not None:
                    frame = self.source.read(SAMPLES, RATE) or bytes(2 * SAMPLES)
                    self.speaker.write(AudioFrame(samples=frame, sample_rate=RATE))
            except DeviceLost as e:
                say("lost", device=e.device)
            time.sleep(max(0.0, begun + n * 0.02 - time.monotonic()))
        return pcm[-2 * RATE :]

    def until(self, wanted, seconds=20):
        """Drive them until something holds of the last 300 ms."""
        found, begun = {}, time.monotonic()
        while time.monotonic() - begun < seconds:
            found = heard(self.run(0.3))
            if wanted(found):
                return found
        return found


def listing(*_):
    say("devices", names=[[d.name, d.inputs, d.outputs] for d in sound_devices()])


def loop(*_):
    ends = Ends(Microphone(), Speaker(), ToneSource(TONES[0], dbfs=-12.0))
    say("heard", **ends.until(lambda found: TONES[0] in found["tones"]))


class Watched:
    """Echo cancellation that keeps the power of what it was given and of what it left."""

    def __init__(self):
        self.powers = []

    def begin(self, rate):
        self._processor = VoiceProcessing(noise=False).begin(rate)
        return self

    def process(self, near, far):
        left = self._processor.process(near, far)
        self.powers.append([sum(s * s for s in array("h", pcm)) for pcm in (near, left)])
        return left


def echo(played):
    speaker, watched = Speaker(), Watched()
    microphone = Microphone(speaker=speaker, processing=watched)
    ends = Ends(microphone, speaker, FileSource(played, loop=True))
    ends.until(lambda found: found["dbfs"] > -60, 10)
    ends.run(3)
    del watched.powers[:]
    ends.run(9)
    seconds = [watched.powers[at : at + 100] for at in range(0, 800, 100)]
    say("echo", powers=[[sum(column) for column in zip(*s, strict=True)] for s in seconds])


def switch(*_):
    ends = Ends(Microphone("table"))
    say("heard", **ends.until(lambda found: TONES[0] in found["tones"]))
    ends.microphone.use("headset")
    say("heard", **ends.until(lambda found: TONES[1] in found["tones"]))
    ends.microphone.use(None)
    say("heard", **ends.until(lambda found: TONES[0] in found["tones"]))


def unplug(*_):
    ends = Ends(Microphone("headset"), Speaker("headset"), ToneSource(1000.0))
    say("heard", **ends.until(lambda found: found["dbfs"] > -60))
    _ = sys.stdin.readline()  # the headset is gone now
    ends.run(1)
    say("heard", **ends.until(lambda found: found["dbfs"] > -60))


def mute(*_):
    ends = Ends(Microphone("table"))
    for on in (True, False, True):
        ends.microphone.listen(on=on)
        ends.until(lambda found: found["dbfs"] > -60, 10) if on else ends.run(0.5)
        say("listens" if on else "muted")
        _ = sys.stdin.readline()
    time.sleep(1.5)  # nobody reads any more
    say("left alone")
    _ = sys.stdin.readline()


if __name__ == "__main__":
    {f.__name__: f for f in (listing, loop, echo, switch, unplug, mute)}[sys.argv[1]](*sys.argv[2:])
