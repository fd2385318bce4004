"""Echo, noise and gain in a simulated room: how much of what must not leave does.

    python -m tests.bench.echo

An office by the image method (RT60 0.3 s, a small loudspeaker that is not linear, 45 cm to the
microphone, 60 ms in buffers, a fan at -75 dBFS), speech at -26 dBFS from the loudspeaker, an echo
6, 12 and 20 dB weaker. ERLE is the power the microphone heard over the power that leaves, over 7 s,
after 7 s to settle. Then a person speaks against it the whole time: PESQ (P.862.2) of their voice
as the microphone heard it, and as it leaves. Prints a table, then one line of JSON.
"""

from __future__ import annotations

import json
import sys
import time

RATE = 48000


def main():
    try:
        import numpy as np
        import pywebrtc_audio as _  # noqa: F401
        from scipy.signal import resample_poly

        from tests.bench.pesq import score
    except ImportError as e:
        print(json.dumps({"rows": [], "absent": f"pip install {e.name}"}))
        return 0
    from securecall.media.processing import VoiceProcessing
    from tests import room

    rows = []

    def row(name, ours, target, unit):
        ok = bool(ours >= target) if target is not None else None
        rows.append(
            {"id": name, "ours": round(float(ours), 2), "target": target, "ok": ok, "unit": unit}
        )
        print(f"{name:26} {ours:6.2f}  {unit}", file=sys.stderr)

    def quality(voice, heard):
        wide = [resample_poly(samples, 1, 3) / 32768 for samples in (voice, heard)]
        return score(*wide, 16000, "wb")

    once = room.speech(room.FAR, RATE)
    voice = room.speech(room.NEAR, RATE)
    played, settled = np.tile(once, 2), len(once)
    fan = room.noise(len(played), dbfs=-75)
    person = np.zeros(len(played))
    person[settled : settled + len(voice)] = voice
    for level in (-6, -12, -20):
        echo = room.heard(played, RATE, level=level) + fan
        for what, wish in (
            ("echo", VoiceProcessing(noise=False)),
            ("echo, noise", VoiceProcessing()),
            ("echo, noise, gain", VoiceProcessing(gain=True)),
        ):
            begun = time.process_time()
            left = room.clean(wish.begin(RATE), echo, played, RATE)
            took = (time.process_time() - begun) / (len(left) / RATE * 100) * 1e6
            erle = room.decibels(echo[settled : len(left)], left[settled:])
            row(f"erle {level} dB, {what}", erle, 25.0 if what == "echo, noise" else None, "dB")
        spoken = echo + person
        left = room.clean(VoiceProcessing().begin(RATE), spoken, played, RATE)
        during = slice(settled, settled + len(voice))
        row(f"both speak {level} dB, raw", quality(voice, spoken[during]), None, "PESQ")
        row(f"both speak {level} dB, left", quality(voice, left[during]), None, "PESQ")
    row("cpu", took, None, "us per 10 ms, all three")
    for level in (-40, -50):
        noise = room.noise(len(played), dbfs=level)
        left = room.clean(VoiceProcessing().begin(RATE), noise + person, played * 0, RATE)
        quiet = slice(settled - 2 * RATE, settled)
        row(f"noise {level} dBFS", room.decibels(noise[quiet], left[quiet]), None, "dB less")
        during = slice(settled, settled + len(voice))
        row(f"noise {level}, raw", quality(voice, (noise + person)[during]), None, "PESQ")
        row(f"noise {level}, left", quality(voice, left[during]), None, "PESQ")
    many = np.tile(voice, 4)
    for level in (-20, -10, 0):
        spoken = many * 10 ** (level / 20)
        left = room.clean(VoiceProcessing(gain=True).begin(RATE), spoken, spoken * 0, RATE)
        last = slice(3 * len(voice), len(left))
        row(f"gain, speech {level - 26} dBFS", room.decibels(left[last], spoken[last]), None, "dB")
    print(json.dumps({"rows": rows}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
