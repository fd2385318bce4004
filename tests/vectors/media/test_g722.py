"""G.722 agrees bit for bit with FFmpeg's, an implementation of its own, both ways."""

from __future__ import annotations

import random
import wave
from array import array

import pytest

from securecall.media import codecs, g722
from securecall.media.codecs import G722
from tests.paths import vectors

av = pytest.importorskip("av", reason="PyAV (with FFmpeg) is not installed")
pytestmark = pytest.mark.skipif(not g722.is_available(), reason="G722 has no wheel here")

FRAME = 640


def speech(loudness=1):
    path = vectors("audio", "librivox_sense_and_sensibility_01_austen_64kb-0880.wav")
    with wave.open(str(path)) as file:
        pcm = file.readframes(file.getnframes())
    pcm = pcm[: len(pcm) // FRAME * FRAME]
    clipped = (max(-32768, min(32767, s * loudness)) for s in array("h", pcm))
    return array("h", clipped).tobytes()


def noise():
    return random.Random(7).randbytes(100 * FRAME)


def ffmpeg_encode(pcm):
    context = av.CodecContext.create("g722", "w")
    context.sample_rate, context.layout, context.format = 16000, "mono", "s16"
    packets = []
    for i in range(0, len(pcm), FRAME):
        frame = av.AudioFrame(format="s16", layout="mono", samples=FRAME // 2)
        frame.sample_rate = 16000
        frame.planes[0].update(pcm[i : i + FRAME])
        packets += context.encode(frame)
    return b"".join(map(bytes, packets + context.encode(None)))


def ffmpeg_decode(payload):
    context = av.CodecContext.create("g722", "r")
    context.sample_rate, context.layout = 16000, "mono"
    frames = []
    for i in range(0, len(payload), 160):
        frames += context.decode(av.Packet(payload[i : i + 160]))
    return b"".join(bytes(f.planes[0])[: 2 * f.samples] for f in frames)


SOUNDS = {"speech": speech, "overdriven speech": lambda: speech(8), "noise": noise}


@pytest.mark.parametrize("sound", SOUNDS)
def test_the_codes_are_those_of_ffmpeg(sound):
    pcm, encoder = SOUNDS[sound](), codecs.encoder(G722)
    ours = b"".join(encoder.encode(pcm[i : i + FRAME]) for i in range(0, len(pcm), FRAME))
    assert ours == ffmpeg_encode(pcm)


@pytest.mark.parametrize("sound", [*SOUNDS, "random codes"])
def test_the_sound_is_that_of_ffmpeg(sound):
    if sound == "random codes":
        payload = random.Random(8).randbytes(16000)
    else:
        payload = ffmpeg_encode(SOUNDS[sound]())
    decoder = codecs.decoder(G722)
    ours = b"".join(decoder.decode(payload[i : i + 160]) for i in range(0, len(payload), 160))
    assert ours == ffmpeg_decode(payload)
