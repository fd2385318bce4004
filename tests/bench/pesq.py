"""Speech quality under loss: codec, redundancy, jitter buffer and concealment, in virtual time.

    python -m tests.bench.pesq [--quick] [--jitter]

Three public-domain recordings go through our encoder, a network that loses packets (and, with
--jitter, delays them by a Pareto-distributed time of at most 50 ms), the real jitter buffer and
decoder. PESQ (ITU-T P.862.2 wide band; narrow band for G.711) is the mean over three seeds. The
encoder is told the true loss, as RTCP would tell it. Prints a table, then one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import warnings

from tests.paths import vectors

CLIPS = ("0870", "0880", "0890")
SEEDS = (1, 2, 3)
# id, codec, loss, burst, target (reliability scorecard C)
ROWS = (
    ("opus 0 %", "opus", 0.0, 1, 4.30),
    ("opus 1 %", "opus", 0.01, 1, 4.05),
    ("opus 3 %", "opus", 0.03, 1, 3.80),
    ("opus 5 %", "opus", 0.05, 1, 3.60),
    ("opus 10 %", "opus", 0.10, 1, 3.20),
    ("opus 20 %", "opus", 0.20, 1, 2.30),
    ("opus 30 %", "opus", 0.30, 1, 1.80),
    ("opus 5 % burst 3", "opus", 0.05, 3, 3.00),
    ("opus 10 % burst 3", "opus", 0.10, 3, 2.10),
    ("g722 0 %", "g722", 0.0, 1, 4.10),
    ("g722 5 %", "g722", 0.05, 1, 2.50),
    ("pcmu 0 %", "pcmu", 0.0, 1, 4.00),
    ("pcmu 5 %", "pcmu", 0.05, 1, 3.20),
)
QUICK = {"opus 0 %", "opus 5 %", "opus 10 %", "opus 20 %", "pcmu 5 %"}


def losses(share, burst, seed, count):
    """Which of `count` packets are lost: independent, or a Gilbert process of this mean burst."""
    chance = random.Random(seed)
    if burst == 1:
        return [chance.random() < share for _ in range(count)]
    leave = 1 / burst
    enter = share * leave / (1 - share)
    lost, bad = [], False
    for _ in range(count):
        bad = chance.random() >= leave if bad else chance.random() < enter
        lost.append(bad)
    return lost


def delays(seed, count, spread):
    """A delay for each packet: 10 ms, and a Pareto tail of mean `spread`, 50 ms at most."""
    chance = random.Random(seed + 1000)
    if not spread:
        return [0.010] * count
    return [0.010 + min(0.05, spread * (chance.paretovariate(1.5) - 1) / 2) for _ in range(count)]


def transmit(pcm, codec, lost, delay, told):
    """Return what a listener hears of s16le `pcm` at the codec's rate, and the playout."""
    from securecall.media import codecs
    from securecall.media.playout import Playout

    encoder = codecs.encoder(codec)
    encoder.expect_loss(told)
    playout = Playout({codec.payload_type: codec})
    step = 2 * encoder.samples
    ticks = encoder.samples * codec.clock_rate // encoder.rate
    arrivals, heard = [], []
    count = len(pcm) // step
    for i in range(count):
        if not lost[i]:
            payload = encoder.encode(pcm[i * step : (i + 1) * step])
            arrivals.append((i * 0.02 + delay[i], i, payload))
        else:
            encoder.encode(pcm[i * step : (i + 1) * step])
    arrivals.sort()
    at = 0
    for tick in range(count + 5):
        now = tick * 0.02 + 0.015
        while at < len(arrivals) and arrivals[at][0] <= now:
            when, i, payload = arrivals[at]
            playout.push(1, i & 0xFFFF, i * ticks, codec.payload_type, payload, when)
            at += 1
        frame = playout.pull(now)
        if frame is not None:
            heard.append(frame)
    return b"".join(heard), playout


def score(reference, heard, rate, mode):
    """PESQ of two float arrays, aligned by their cross-correlation over 400 ms."""
    import numpy as np
    from pesq import pesq

    n = 1 << (len(reference) + rate).bit_length()
    cross = np.fft.irfft(np.fft.rfft(heard, n) * np.conj(np.fft.rfft(reference, n)))
    shift = int(np.argmax(cross[: int(0.4 * rate)]))
    heard = heard[shift:]
    size = min(len(reference), len(heard))
    return pesq(rate, reference[:size], heard[:size], mode)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="five rows only")
    parser.add_argument("--jitter", type=float, default=0.0, metavar="SECONDS")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    try:
        import numpy as np
        import pesq as _pesq  # noqa: F401
        import soundfile
        from scipy.signal import resample_poly
    except ImportError as e:
        print(json.dumps({"rows": [], "absent": f"pip install {e.name}"}))
        return 0
    from securecall.media import codecs
    from securecall.media.codecs import G722, OPUS, PCMU

    folder = vectors("audio")
    name = "librivox_sense_and_sensibility_01_austen_64kb-{}.wav"
    speech = np.concatenate([soundfile.read(folder / name.format(c))[0] for c in CLIPS])
    pcm = {}
    for codec, up, down in ((OPUS, 3, 1), (G722, 1, 1), (PCMU, 1, 2)):
        wave = resample_poly(speech, up, down)
        pcm[codec] = np.clip(np.round(wave * 32767), -32768, 32767).astype("<i2")
    rows = []
    for label, which, share, burst, target in ROWS:
        if args.quick and label not in QUICK:
            continue
        codec = {"opus": OPUS, "g722": G722, "pcmu": PCMU}[which]
        scores, counted = [], []
        for seed in SEEDS if share or args.jitter else SEEDS[:1]:
            sound = pcm[codec].tobytes()
            count = len(sound) // (2 * codecs.encoder(codec).samples)
            lost = losses(share, burst, seed, count)
            delay = delays(seed, count, args.jitter)
            raw, playout = transmit(sound, codec, lost, delay, share)
            heard = np.frombuffer(raw, "<i2") / 32768
            if codec is not PCMU:
                heard = resample_poly(heard, 1, 3) if codec is OPUS else heard
                scores.append(score(speech, heard, 16000, "wb"))
            else:
                scores.append(score(pcm[codec] / 32768, heard, 8000, "nb"))
            counted.append((playout.counters, playout.jitter_counters()))
        mean = statistics.mean(scores)
        rows.append(
            {
                "id": f"pesq {label}",
                "ours": round(mean, 2),
                "worst": round(min(scores), 2),
                "target": target,
                "ok": bool(mean >= target),
                "concealed": sum(c.concealed for c, _ in counted),
                "recovered": sum(c.recovered for c, _ in counted),
                "late": sum(j.late for _, j in counted),
                "hurried": sum(j.hurried for _, j in counted),
                "packets": count * len(counted),
            }
        )
        row = rows[-1]
        print(
            f"{row['id']:24} {row['ours']:5.2f} (worst {row['worst']:.2f})  target {target:.2f}  "
            f"{'ok' if row['ok'] else 'MISSED':6}  recovered {row['recovered']} concealed "
            f"{row['concealed']} late {row['late']} hurried {row['hurried']} of {row['packets']}",
            file=sys.stderr,
        )
    print(json.dumps({"rows": rows}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
