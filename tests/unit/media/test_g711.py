"""G.711 agrees with the Recommendation's values and with the old standard library."""

from __future__ import annotations

import struct
import warnings

import pytest

from securecall.errors import ProtocolError, Unsupported, UsageError
from securecall.media import codecs, g711
from securecall.media.description import Codec

EVERY_SAMPLE = b"".join(i.to_bytes(2, "little") for i in range(0x10000))
EVERY_CODE = bytes(range(256))


def values(pcm):
    return struct.unpack(f"<{len(pcm) // 2}h", pcm)


def test_known_values_of_mu_law():
    # ITU-T G.711, tables 2a and 2b, scaled from 14 to 16 bits
    assert values(g711.expander("PCMU")(b"\x80\x8f\x90\xff\x7f\x00")) == (
        32124, 16764, 15996, 0, 0, -32124,
    )  # fmt: skip


def test_known_values_of_a_law():
    assert values(g711.expander("PCMA")(b"\xd5\x55\xaa\x2a\x80")) == (8, -8, 32256, -32256, 5504)


@pytest.mark.parametrize("law", ["PCMU", "PCMA"])
def test_every_code_survives_expansion_and_compression(law):
    back = g711.compressor(law)(g711.expander(law)(EVERY_CODE))
    # mu-law has two zeros; negative zero comes back as the positive one
    expected = bytes(0xFF if law == "PCMU" and c == 0x7F else c for c in EVERY_CODE)
    assert back == expected


@pytest.mark.parametrize("law", ["PCMU", "PCMA"])
def test_the_error_is_at_most_half_a_step_of_the_segment(law):
    for sample, back in zip(
        values(EVERY_SAMPLE),
        values(g711.expander(law)(g711.compressor(law)(EVERY_SAMPLE))),
        strict=True,
    ):
        assert abs(sample - back) <= max(8, abs(sample) / 30 + 8) or abs(sample) > 32124


@pytest.mark.parametrize("law", ["PCMU", "PCMA"])
def test_all_samples_and_codes_agree_with_audioop(law):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        audioop = pytest.importorskip("audioop", reason="left the standard library in 3.13")
    encode, decode = {
        "PCMU": (audioop.lin2ulaw, audioop.ulaw2lin),
        "PCMA": (audioop.lin2alaw, audioop.alaw2lin),
    }[law]
    assert g711.table_compressor(law)(EVERY_SAMPLE) == encode(EVERY_SAMPLE, 2)
    assert g711.table_expander(law)(EVERY_CODE) == decode(EVERY_CODE, 2)


@pytest.mark.parametrize("law", ["PCMU", "PCMA"])
def test_without_audioop_the_tables_do_the_work(law, monkeypatch):
    with_it = g711.compressor(law)(EVERY_SAMPLE), g711.expander(law)(EVERY_CODE)
    monkeypatch.setattr(g711, "audioop", None)
    assert (g711.compressor(law)(EVERY_SAMPLE), g711.expander(law)(EVERY_CODE)) == with_it


@pytest.mark.parametrize("make", [g711.compressor, g711.table_compressor])
@pytest.mark.parametrize("samples", [0, 1, 2, 80, 160, 240])
def test_frames_of_any_length_are_compressed(samples, make):
    assert len(make("PCMU")(bytes(2 * samples))) == samples


@pytest.mark.parametrize("payload", [b"", bytes(961)])
def test_a_packet_of_no_plausible_length_is_refused(payload):
    with pytest.raises(ProtocolError):
        codecs.decoder(codecs.PCMU).decode(payload)


def test_codec_names_are_compared_without_case():
    assert codecs.encoder(Codec(payload_type=8, name="pcma", clock_rate=8000)).samples == 160


def test_a_codec_we_do_not_have_is_unsupported():
    for make in (codecs.encoder, codecs.decoder):
        with pytest.raises(Unsupported, match="G729"):
            make(Codec(payload_type=18, name="G729", clock_rate=8000))


def test_g711_gives_8_khz_and_nothing_else():
    with pytest.raises(UsageError):
        codecs.decoder(codecs.PCMU, rate=48000)
