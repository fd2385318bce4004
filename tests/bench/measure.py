"""What every measurement shares: it is a program of its own that prints one line of JSON."""

from __future__ import annotations

import array
import json
import math
import random
import sys
import time
from collections.abc import Callable
from typing import NoReturn

ABSENT = 3  # the exit code that says: this peer is not installed


def answer(**values: object) -> None:
    """Print the result."""
    print(json.dumps(values), flush=True)


def absent(package: str) -> NoReturn:
    """End because a package is not there, naming it."""
    print(json.dumps({"absent": package}), flush=True)
    sys.exit(ABSENT)


def microseconds(act: Callable[[], object], *, count: int = 2000, rounds: int = 15) -> float:
    """CPU microseconds of one act, in the fastest round: others' work only ever makes it slower."""
    for _ in range(count // 10):
        act()
    taken = []
    for _ in range(rounds):
        begun = time.process_time()
        for _ in range(count):
            act()
        taken.append((time.process_time() - begun) / count * 1e6)
    return min(taken)


def speech(rate: int, seconds: float = 5.0) -> bytes:
    """Something like speech, the same each time: s16le, mono, with syllables and pauses.

    Pulses of a voice go through three resonances of a mouth. A codec works on it about as hard as
    on a person; on a tone or on silence it does not.
    """
    chance = random.Random(1)
    length = int(rate * seconds)
    phase, signal = 0.0, [0.0] * length
    for i in range(length):
        t = i / rate
        before = phase
        phase += (120 + 20 * math.sin(4.4 * t)) / rate
        speaking = math.sin(22 * t) > -0.2 and math.sin(2.2 * t) > -0.6
        pulse = 1.0 if int(phase) != int(before) else 0.0
        signal[i] = (pulse + 0.02 * chance.gauss(0, 1)) if speaking else 0.0
    for frequency, width in ((600, 80), (1400, 110), (2600, 160)):
        radius = math.exp(-math.pi * width / rate)
        a1 = 2 * radius * math.cos(2 * math.pi * frequency / rate)
        a2 = radius * radius
        one = two = 0.0
        for i in range(length):
            one, two = signal[i] + a1 * one - a2 * two, one
            signal[i] = one
    loudest = max(map(abs, signal))
    samples = array.array("h", (int(11000 * s / loudest + chance.gauss(0, 15)) for s in signal))
    if sys.byteorder == "big":
        samples.byteswap()
    return samples.tobytes()


def frames(rate: int) -> list[bytes]:
    """`speech` cut into 20 ms."""
    sound, size = speech(rate), rate // 50 * 2
    return [sound[i : i + size] for i in range(0, len(sound) - size + 1, size)]
