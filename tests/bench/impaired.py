"""Calls over bad networks, all layers, in virtual time: speech, pictures, and who gives way.

    python -m tests.bench.impaired [--quick] [--only TEXT]

Engine, codecs, SFrame, SRTP, RTCP with real reports, copies of sound, retransmission and rate
control, over `securecall.testing.impairment`. Three public-domain recordings are spoken twice; the
second time is scored, so that what reports bring about is there. PESQ (wide band) and STOI are the
means of eight seeds. Prints a table, then one line of JSON. `tests.bench.pesq` measures the codecs
alone, told the true loss.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import warnings
from dataclasses import dataclass

from securecall.media.codecs import OPUS, red_beside
from securecall.testing.impairment import (
    INTERNATIONAL,
    MODERATE,
    SPIKY_LOSS,
    Bursts,
    Impairment,
    outage,
)
from tests.bench.pesq import CLIPS, score
from tests.impaired_call import ImpairedCall, Speaker
from tests.paths import vectors
from tests.virtual import run_virtual, without_threads

SEEDS = tuple(range(1, 9))
WAY = 0.033  # seconds; ticks of both ends and arrivals do not coincide
LATEST = 1.5  # seconds from mouth to ear that a recording is looked for in
RED = red_beside((OPUS,))[0]
NARROW = Impairment(delay=0.05, rate=300_000)


@dataclass(frozen=True)
class Row:
    """One path, what is measured on it, and what it ought to be (reliability scorecard C)."""

    id: str
    path: object
    measure: str
    target: float
    pictures: bool = False
    seconds: float = 0.0


def _loss(**path):
    return Impairment(delay=WAY, **path)


ROWS = (
    Row("speech 0 %", _loss(), "pesq", 4.30),
    Row("speech 5 %", _loss(loss=0.05), "pesq", 3.60),
    Row("speech 10 %", _loss(loss=0.10), "pesq", 3.20),
    Row("speech 20 %", _loss(loss=0.20), "pesq", 3.00),
    Row("speech 30 %", _loss(loss=0.30), "pesq", 1.80),
    Row("speech 5 % burst 3", _loss(bursts=Bursts.of(0.05, 3)), "pesq", 3.50),
    Row("speech 10 % burst 3", _loss(bursts=Bursts.of(0.10, 3)), "pesq", 3.00),
    Row("speech jitter 25 ms", Impairment(delay=0.1, jitter=0.025), "pesq", 4.00),
    Row("late jitter 25 ms", Impairment(delay=0.1, jitter=0.025), "late", 0.01),
    Row("speech disorder", _loss(reorder=0.05, duplicate=0.02, corrupt=0.01), "pesq", 4.05),
    Row("stoi moderate", MODERATE, "stoi", 0.95),
    Row("stoi international", INTERNATIONAL, "stoi", 0.88),
    Row("spike, seconds to recover", SPIKY_LOSS, "recovery", 2.0),
    Row("ssim 2 %", Impairment(delay=0.05, loss=0.02, rate=2e6), "ssim", 0.90, True, 10.0),
    Row("frozen 2 %", Impairment(delay=0.05, loss=0.02, rate=2e6), "frozen", 0.05, True, 10.0),
    Row(
        "first frame after 2 s",
        outage(Impairment(delay=0.05, rate=2e6), begin=5.0, seconds=2.0),
        "first",
        1.0,
        True,
        9.0,
    ),
    Row("speech, 300 kbit/s", NARROW, "pesq", 3.50, True),
    Row(
        "speech, 300 kbit/s 2 %",
        Impairment(delay=0.05, rate=300_000, loss=0.02),
        "pesq",
        3.50,
        True,
    ),
    Row(
        "speech, 300, short queue",
        Impairment(delay=0.05, rate=300_000, queue=0.2),
        "pesq",
        3.50,
        True,
    ),
    Row(
        "speech, 1000 to 300",
        ((0.0, Impairment(delay=0.05, rate=1e6)), (18.0, NARROW)),
        "pesq",
        3.50,
        True,
    ),
)
QUICK = {"speech 10 %", "speech 10 % burst 3", "ssim 2 %", "first frame after 2 s"}
LOWER_IS_BETTER = {"late", "recovery", "frozen", "first"}


class Speech:
    """The recordings, and how what was heard of them is scored."""

    def __init__(self):
        import numpy as np
        import soundfile
        from scipy.signal import resample_poly

        folder = vectors("audio")
        name = "librivox_sense_and_sensibility_01_austen_64kb-{}.wav"
        self._np, self._resample = np, resample_poly
        self.wave = np.concatenate([soundfile.read(folder / name.format(c))[0] for c in CLIPS])
        wide = np.clip(np.round(resample_poly(self.wave, 3, 1) * 32767), -32768, 32767)
        self.pcm = wide.astype("<i2").tobytes()
        self.seconds = len(self.wave) / 16000

    def heard(self, pcm):
        """Samples at 16 kHz, as long as the recordings and half a second."""
        wave = self._resample(self._np.frombuffer(pcm, "<i2") / 32768, 1, 3)
        return wave[: int((self.seconds + LATEST) * 16000)]

    def pesq(self, pcm):
        """PESQ of the second time."""
        return score(self.wave, self.heard(pcm), 16000, "wb")

    def stoi(self, pcm):
        """STOI of the second time, aligned as for PESQ."""
        from pystoi import stoi

        np, heard = self._np, self.heard(pcm)
        n = 1 << (len(self.wave) + 16000).bit_length()
        cross = np.fft.irfft(np.fft.rfft(heard, n) * np.conj(np.fft.rfft(self.wave, n)))
        heard = heard[int(np.argmax(cross[: int(LATEST * 16000)])) :]
        size = min(len(heard), len(self.wave))
        return stoi(self.wave[:size], heard[:size], 16000)


async def talk(row, speech, seed):
    """One call; returns what `measure` needs."""
    call = ImpairedCall(
        row.path,
        seed=seed,
        pictures=row.pictures,
        red=RED.payload_type,
        receive_codecs=(OPUS, RED),
    )
    call.alice.audio.source = Speaker(speech.pcm * 3)
    source = None
    if row.pictures:
        from tests.video_quality import KeptPattern

        source = KeptPattern(640, 360, 30)
        call.alice.video.show(source)
    seconds = row.seconds or (2 * speech.seconds + 1.0)
    guessed = []
    for _ in range(round(seconds * 10)):
        await asyncio.sleep(0.1)
        counts = call.bob.audio.statistics()
        guessed.append(counts.concealed + counts.recovered)
    sound = call.bob.audio.statistics()
    pictures = call.bob.video.statistics()[0] if row.pictures else None
    call.close()
    return call, source, sound, pictures, guessed, seconds


def _recovery(guessed, begin=20.0):
    """Seconds after the spike until a second of sound has less than one guess in 50."""
    for tenth in range(round(begin * 10), len(guessed) - 10):
        if guessed[tenth + 10] - guessed[tenth] < 2:
            return tenth / 10 - begin
    return float("inf")


def value(row, speech, seed):
    """One run's figure."""
    with without_threads():
        call, source, sound, pictures, guessed, seconds = run_virtual(
            talk(row, speech, seed), seed=seed
        )
    pcm = call.bob.ears.since(call.begun + speech.seconds)
    match row.measure:
        case "pesq":
            return speech.pesq(pcm)
        case "stoi":
            return speech.stoi(pcm)
        case "late":
            return sound.late / sound.packets_received
        case "recovery":
            return _recovery(guessed)
        case "frozen":
            return pictures.frozen_seconds / seconds
        case "first":
            return min(at - call.begun for at, _ in call.bob.eyes.frames if at - call.begun > 7) - 7
        case "ssim":
            from tests.video_quality import similarities

            shown = [frame for _, frame in call.bob.eyes.frames[::5]]
            return statistics.mean(likeness for _, likeness in similarities(source.frames, shown))
    raise ValueError(row.measure)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="four rows only")
    parser.add_argument("--only", default="", metavar="TEXT", help="rows whose id has this in it")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    try:
        import av as _av  # noqa: F401
        import pesq as _pesq  # noqa: F401
        import pystoi as _pystoi  # noqa: F401

        speech = Speech()
    except ImportError as e:
        print(json.dumps({"rows": [], "absent": f"pip install {e.name}"}))
        return 0
    rows = []
    for row in ROWS:
        if args.only not in row.id or (args.quick and row.id not in QUICK):
            continue
        found = [value(row, speech, seed) for seed in SEEDS]
        mean = statistics.mean(found)
        lower = row.measure in LOWER_IS_BETTER
        rows.append(
            {
                "id": f"impaired {row.id}",
                "ours": round(mean, 3),
                "worst": round(max(found) if lower else min(found), 3),
                "target": row.target,
                "lower": lower,
                "ok": bool(mean <= row.target if lower else mean >= row.target),
            }
        )
        sign, verdict = "<=" if lower else ">=", "ok" if rows[-1]["ok"] else "MISSED"
        print(
            f"{row.id:28} {mean:6.3f} (worst {rows[-1]['worst']:.3f})  {sign} {row.target}  "
            f"{verdict}",
            file=sys.stderr,
            flush=True,
        )
    print(json.dumps({"rows": rows}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
