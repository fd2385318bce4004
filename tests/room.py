"""A room with a loudspeaker and a microphone, as numbers: what echo cancellation is measured in.

The impulse response is that of a shoebox by the image method (Allen and Berkley, 1979).
"""

from __future__ import annotations

import functools
import wave

import numpy as np

from securecall.media.resample import Resampler
from tests.paths import vectors

SOUND = 343.0  # m/s
SIZE = (5.2, 4.1, 2.6)  # m: an office
LOUDSPEAKER = (2.0, 1.9, 0.8)
MICROPHONE = (2.4, 2.1, 0.8)  # on the same desk, 45 cm away
FAR, NEAR = "0870", "0890"  # two recordings of one reader; 7.1 and 5.3 s


@functools.cache
def impulse_response(rate, *, reverberation=0.3, size=SIZE, of=LOUDSPEAKER, at=MICROPHONE):
    """Return a room's impulse response at `rate` Hz, `reverberation` seconds long (RT60)."""
    size, of, at = (np.array(p) for p in (size, of, at))
    volume, walls = size.prod(), 2 * (size[0] * size[1] + size[0] * size[2] + size[1] * size[2])
    absorbed = 1 - np.exp(-0.161 * volume / (walls * reverberation))  # Eyring
    reach = reverberation * SOUND
    counts = [np.arange(-n, n + 1) for n in np.ceil(reach / (2 * size)).astype(int)]
    response = np.zeros(int(reverberation * rate) + 1)
    grids = np.meshgrid(*counts, indexing="ij")
    for mirror in np.ndindex(2, 2, 2):
        offsets = [
            (1 - 2 * q) * of[axis] + 2 * grid * size[axis] - at[axis]
            for axis, (q, grid) in enumerate(zip(mirror, grids, strict=True))
        ]
        bounces = sum(np.abs(g - q) + np.abs(g) for q, g in zip(mirror, grids, strict=True))
        distance = np.sqrt(sum(o * o for o in offsets))
        delay = np.rint(distance * rate / SOUND).astype(int)
        gain = (1 - absorbed) ** (bounces / 2) / (4 * np.pi * distance)
        kept = delay < len(response)
        np.add.at(response, delay[kept], gain[kept])
    return response


@functools.cache
def speech(name, rate):
    """Return a recording of speech at `rate` Hz as floats, -26 dBFS where there is speech."""
    path = vectors("audio", f"librivox_sense_and_sensibility_01_austen_64kb-{name}.wav")
    with wave.open(str(path), "rb") as file:
        pcm, source = file.readframes(file.getnframes()), file.getframerate()
    samples = np.frombuffer(Resampler(source, rate).process(pcm), "<i2").astype(float)
    loud = samples[np.abs(samples) > 0.05 * np.abs(samples).max()]
    return samples * (32768 * 10 ** (-26 / 20) / np.sqrt((loud**2).mean()))


def heard(played, rate, *, level=-6.0, delay=0.06, drive=20000.0, response=None):
    """Return what the microphone hears of what the loudspeaker plays.

    Args:
        played: The samples, floats of 16-bit scale.
        rate: Hz.
        level: How loud the echo is beside what is played, dB.
        delay: Seconds that the two devices' buffers take.
        drive: Where the loudspeaker gives way: it is a small one, and not linear.
        response: The room's, `impulse_response` of our office if None.
    """
    room = impulse_response(rate) if response is None else response
    driven = drive * np.tanh(played / drive)
    size = 1 << (len(driven) + len(room)).bit_length()
    # A small loudspeaker gives nothing below; images alone would pile it up.
    low = np.fft.rfftfreq(size, 1 / rate) / 150.0
    spectrum = np.fft.rfft(driven, size) * np.fft.rfft(room, size) * low**2 / np.sqrt(1 + low**4)
    wet = np.fft.irfft(spectrum, size)[: len(played)]
    wet *= 10 ** (level / 20) * np.sqrt((played**2).mean() / (wet**2).mean())
    return np.concatenate((np.zeros(int(delay * rate)), wet))[: len(played)]


def noise(count, *, dbfs, seed=1):
    """Return noise such as a fan makes: more of the low, its power so many dB below full scale."""
    white = np.random.default_rng(seed).standard_normal(count + 64)
    pink = np.convolve(white, 0.9 ** np.arange(64), "valid")[:count]
    return pink * (32768 * 10 ** (dbfs / 20) / np.sqrt((pink**2).mean()))


def to_pcm(samples):
    """Return floats as s16le."""
    return np.clip(np.rint(samples), -32768, 32767).astype("<i2").tobytes()


def from_pcm(pcm):
    """Return s16le as floats."""
    return np.frombuffer(pcm, "<i2").astype(float)


def decibels(numerator, denominator):
    """Return the ratio of two signals' powers in dB."""
    return 10 * np.log10((numerator**2).mean() / max((denominator**2).mean(), 1e-9))


def clean(processor, heard, played, rate):
    """Return what a processor makes of the two, 10 ms at a time, as floats."""
    near, far, step = to_pcm(heard), to_pcm(played), rate // 100 * 2
    whole = range(0, len(near) - step + 1, step)
    return from_pcm(
        b"".join(processor.process(near[i : i + step], far[i : i + step]) for i in whole)
    )


def flow(samples, rate):
    """Return how loud something is along its time, one number for each 20 ms."""
    step = rate // 50
    return np.sqrt((samples[: len(samples) // step * step].reshape(-1, step) ** 2).mean(axis=1))
