"""G.722: frames, refusals, what is heard of a tone, and what happens without the package."""

from __future__ import annotations

import math
import struct
import wave

import pytest

from securecall.errors import ProtocolError, Unsupported, UsageError
from securecall.media import codecs, g722
from securecall.media.codecs import G722, PCMU
from securecall.media.endpoints import ToneSource
from securecall.media.frames import rms_dbfs
from securecall.media.playout import Playout
from tests.paths import vectors

pytestmark = pytest.mark.skipif(not g722.is_available(), reason="G722 has no wheel here")

DELAY = 22  # samples, of the two filter banks


def coded(pcm):
    encoder, decoder = codecs.encoder(G722), codecs.decoder(G722)
    frames = [pcm[i : i + 640] for i in range(0, len(pcm) - 639, 640)]
    return b"".join(decoder.decode(encoder.encode(frame)) for frame in frames)


def noise_db(pcm, heard):
    """The signal-to-noise ratio, the codec's delay taken out."""
    sent = struct.unpack(f"<{len(pcm) // 2}h", pcm)
    got = struct.unpack(f"<{len(heard) // 2}h", heard)[DELAY:]
    pairs = list(zip(sent, got, strict=False))
    noise = sum((a - b) ** 2 for a, b in pairs)
    return 10 * math.log10(sum(a * a for a, _ in pairs) / noise)


@pytest.mark.parametrize(("hertz", "least"), [(300, 30), (1000, 30), (3000, 25), (6000, 15)])
def test_a_tone_up_to_7_khz_comes_through(hertz, least):
    pcm = ToneSource(hertz, dbfs=-12.0).read(16000, 16000)
    assert noise_db(pcm, coded(pcm)) > least


def test_speech_comes_through_with_20_db():
    path = vectors("audio", "librivox_sense_and_sensibility_01_austen_64kb-0880.wav")
    with wave.open(str(path)) as file:
        pcm = file.readframes(32000)
    assert noise_db(pcm, coded(pcm)) > 20


def test_a_frame_is_320_samples_and_160_bytes():
    encoder, decoder = codecs.encoder(G722), codecs.decoder(G722)
    assert (encoder.rate, encoder.samples, decoder.rate) == (16000, 320, 16000)
    payload = encoder.encode(bytes(640))
    assert len(payload) == 160
    assert len(decoder.decode(payload)) == 640
    assert rms_dbfs(coded(bytes(64000))) < -80


@pytest.mark.parametrize("size", [0, 320, 638, 642])
def test_a_frame_of_another_length_is_refused(size):
    with pytest.raises(UsageError):
        codecs.encoder(G722).encode(bytes(size))


@pytest.mark.parametrize("payload", [b"", bytes(961)])
def test_a_packet_of_no_plausible_length_is_refused(payload):
    with pytest.raises(ProtocolError):
        codecs.decoder(G722).decode(payload)


def test_it_gives_16_khz_and_nothing_else():
    with pytest.raises(UsageError):
        codecs.decoder(G722, rate=48000)


def test_a_lost_packet_is_bridged_and_the_tone_goes_on():
    encoder, source = codecs.encoder(G722), ToneSource(400.0)
    playout = Playout({9: G722})
    heard = []
    for n in range(50):
        payload = encoder.encode(source.read(320, 16000))
        if n not in (20, 30):
            playout.push(1, n, n * 160, 9, payload, n * 0.02)
        pcm = playout.pull(n * 0.02 + 0.01)
        assert pcm is None or len(pcm) == 640
        heard.append(pcm)
    assert playout.counters.concealed == 2
    assert all(abs(rms_dbfs(pcm) + 20) < 2.5 for pcm in heard[5:])


def test_it_may_alternate_with_g711_whose_clock_it_shares():
    playout = Playout({9: G722, 0: PCMU})
    encoders = {9: codecs.encoder(G722), 0: codecs.encoder(PCMU)}
    source = ToneSource(400.0)
    for n in range(40):
        number = 0 if n % 10 == 9 else 9
        encoder = encoders[number]
        payload = encoder.encode(source.read(encoder.samples, encoder.rate))
        playout.push(1, n, n * 160, number, payload, n * 0.02)
        pcm = playout.pull(n * 0.02 + 0.01)
        assert len(pcm) == playout.rate // 25
    assert playout.counters.restarts == 0


def test_without_the_package_it_is_not_offered(monkeypatch):
    def absent(name):
        raise ImportError(name)

    monkeypatch.setattr(g722, "import_module", absent)
    g722._module.cache_clear()
    try:
        assert codecs.usable(("opus", "G722", "PCMU")) == ("opus", "PCMU")
        for make in (codecs.encoder, codecs.decoder):
            with pytest.raises(Unsupported, match="G722"):
                make(G722)
        with pytest.raises(Unsupported, match="G722"):
            codecs.usable(("G722",))
    finally:
        g722._module.cache_clear()


def test_a_codec_nobody_knows_is_a_mistake():
    with pytest.raises(UsageError, match="G723"):
        codecs.usable(("opus", "G723"))
