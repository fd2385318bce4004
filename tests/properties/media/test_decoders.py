"""Any authenticated payload is sound or a ProtocolError; no other way out."""

from __future__ import annotations

import functools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from securecall.errors import DeviceError, ProtocolError
from securecall.media import codecs, g711, g722
from securecall.media.codecs import G722, OPUS, PCMA, PCMU
from securecall.media.files import FileSource
from securecall.media.playout import Playout
from securecall.media.queues import PcmInput
from securecall.media.resample import Resampler
from tests.paths import vectors

PRESENT = [OPUS, PCMU, PCMA] + ([G722] if g722.is_available() else [])


@functools.cache
def opus_packets():
    encoder = codecs.encoder(OPUS)
    encoder.expect_loss(0.05)
    chance = random.Random(3)
    return [encoder.encode(chance.randbytes(1920)) for _ in range(20)]


@given(payload=st.binary(max_size=1500), codec=st.sampled_from(PRESENT))
@settings(max_examples=200)
def test_any_bytes_are_sound_or_a_protocol_error(payload, codec):
    decoder = codecs.decoder(codec)
    for act in (decoder.decode, decoder.recover):
        try:
            pcm = act(payload)
        except ProtocolError:
            continue
        assert 0 < len(pcm) <= 2 * decoder.rate * 120 // 1000
        assert len(pcm) % 2 == 0
    assert decoder.conceal()


@given(st.data())
@settings(max_examples=150)
def test_altered_opus_packets_are_sound_or_a_protocol_error(data):
    packet = bytearray(data.draw(st.sampled_from(opus_packets())))
    for _ in range(data.draw(st.integers(1, 4))):
        packet[
            data.draw(st.integers(0, min(3, len(packet) - 1)) | st.integers(0, len(packet) - 1))
        ] = data.draw(st.integers(0, 255))
    packet = bytes(packet[: data.draw(st.integers(0, len(packet)))])
    decoder = codecs.decoder(OPUS)
    try:
        assert decoder.decode(packet)
    except ProtocolError:
        assert decoder.conceal()


@given(
    st.lists(
        st.tuples(
            st.sampled_from([codec.payload_type for codec in PRESENT]),
            st.binary(max_size=200),
            st.integers(0, 3),
            st.booleans(),
        ),
        max_size=60,
    )
)
@settings(max_examples=60)
def test_a_playout_fed_with_anything_gives_frames_of_20_ms(packets):
    playout = Playout({codec.payload_type: codec for codec in PRESENT})
    for n, (payload_type, payload, gap, other) in enumerate(packets):
        playout.push(1 + other, n * (1 + gap), n * 160, payload_type, payload, n * 0.02)
        pcm = playout.pull(n * 0.02 + 0.01)
        assert pcm is None or len(pcm) == playout.rate // 50 * 2


@given(
    pcm=st.binary(max_size=960).map(lambda b: b[: len(b) & ~1]),
    law=st.sampled_from(["PCMU", "PCMA"]),
)
def test_compressing_twice_changes_nothing_more(pcm, law):
    once = g711.compressor(law)(pcm)
    assert g711.compressor(law)(g711.expander(law)(once)) == once


@given(
    source=st.integers(1000, 96000),
    target=st.sampled_from([8000, 16000, 48000]),
    pieces=st.lists(st.binary(max_size=400).map(lambda b: b[: len(b) & ~1]), max_size=6),
)
@settings(max_examples=15)
def test_any_rate_gives_as_much_as_went_in(source, target, pieces):
    resampler = Resampler(source, target)
    out = sum(len(resampler.process(piece)) for piece in pieces) / 2
    fed = sum(map(len, pieces)) / 2
    assert out <= fed * target / source * 1.01 + 2


@pytest.mark.parametrize("seed", range(3))
def test_altered_wav_files_are_played_or_refused(tmp_path, seed):
    chance = random.Random(seed)
    original = vectors("audio", "librivox_sense_and_sensibility_01_austen_64kb-0880.wav")
    data = original.read_bytes()[:2000]
    for i in range(150):
        changed = bytearray(data)
        for _ in range(chance.randint(1, 5)):
            changed[chance.randrange(60)] = chance.randrange(256)
        path = tmp_path / f"{i}.wav"
        path.write_bytes(bytes(changed))
        try:
            source = FileSource(path)
        except DeviceError:
            continue
        try:
            for _ in range(3):
                pcm = source.read(160, 8000)
                assert pcm is None or len(pcm) == 320
        except DeviceError:
            pass
        source.close()


def test_an_input_never_gives_a_frame_of_another_length():
    source = PcmInput()
    assert source.read(160, 8000) is None
