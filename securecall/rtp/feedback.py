"""RTCP feedback (RFC 4585, RFC 5104): lost packets, lost pictures, arrival times, REMB."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from securecall.errors import ProtocolError, UsageError

RTPFB: Final = 205
"""Packet type of transport layer feedback."""

PSFB: Final = 206
"""Packet type of payload-specific feedback."""

REFERENCE_UNIT: Final = 0.064
"""Seconds in a unit of `TransportFeedback.reference_time`."""

DELTA_UNIT: Final = 0.00025
"""Seconds in a unit of the arrivals in a `TransportFeedback`."""

_NACK, _TRANSPORT, _PLI, _FIR, _APPLICATION = 1, 15, 1, 4, 15
_TWCC: Final = "draft-holmer-rmcat-transport-wide-cc-extensions-01 3.1"
_REMB: Final = "draft-alvestrand-rmcat-remb-03 2.2"
_MISSING, _SMALL, _LARGE = 0, 1, 2
_MAX_RUN: Final = 0x1FFF
_MAX_BITRATE: Final = 2**63


@dataclass(frozen=True, slots=True, kw_only=True)
class GenericNack:
    """RTP packets that did not come (RFC 4585 6.2.1).

    Attributes:
        sender_ssrc: Who misses them.
        media_ssrc: Whose they are.
        sequences: Their sequence numbers, as they stood in the packet; at least one.
    """

    sender_ssrc: int
    media_ssrc: int
    sequences: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureLoss:
    """Pictures of a stream cannot be decoded any more (PLI, RFC 4585 6.3.1)."""

    sender_ssrc: int
    media_ssrc: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FullIntraRequest:
    """Streams of which a keyframe is demanded (FIR, RFC 5104 4.3.1).

    Attributes:
        sender_ssrc: Who demands it.
        requests: Pairs of SSRC and command number (0 to 255; the same number again is a
            repetition); at least one.
    """

    sender_ssrc: int
    requests: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TransportFeedback:
    """When packets of all streams arrived (draft-holmer-rmcat-transport-wide-cc-extensions-01).

    Attributes:
        sender_ssrc: Who received them.
        media_ssrc: Any stream of the transport.
        base_sequence: Transport-wide sequence number of the first packet reported on.
        count: Packets reported on, 1 to 65535; of those not in `arrivals` none came.
        reference_time: In units of 64 ms, 24 bits, on a clock of the receiver's; it wraps.
        number: Of this feedback packet, 8 bits.
        arrivals: For each packet that came its offset from `base_sequence`, ascending, and its
            arrival since `reference_time` in units of 250 us, possibly negative.
    """

    sender_ssrc: int
    media_ssrc: int
    base_sequence: int
    count: int
    reference_time: int
    number: int
    arrivals: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MaximumBitrate:
    """How much the receiver believes to be able to take (draft-alvestrand-rmcat-remb-03).

    Attributes:
        sender_ssrc: The receiver of media.
        bitrate: Bit/s; what is built is rounded down to 18 significant bits.
        sources: The SSRCs it is about, at most 255.
    """

    sender_ssrc: int
    bitrate: int
    sources: tuple[int, ...]


Feedback = GenericNack | PictureLoss | FullIntraRequest | TransportFeedback | MaximumBitrate


def parse_feedback(packet_type: int, message_type: int, body: bytes) -> Feedback | None:
    """Parse what follows the first four bytes of a packet of type RTPFB or PSFB.

    Args:
        packet_type: RTPFB or PSFB.
        message_type: The five bits of the header (FMT).
        body: Without padding.

    Returns:
        None for a kind of feedback that is not ours to understand.

    Raises:
        ProtocolError: a length does not fit, or a reserved value is used.
    """
    if len(body) < 8:
        raise ProtocolError("feedback without its two SSRCs", rule="RFC 4585 6.1")
    sender, media = struct.unpack_from("!II", body)
    if packet_type == RTPFB and message_type == _NACK:
        return GenericNack(sender_ssrc=sender, media_ssrc=media, sequences=_parse_nack(body))
    if packet_type == RTPFB and message_type == _TRANSPORT:
        return _parse_transport(sender, media, body)
    if packet_type == PSFB and message_type == _PLI:
        if len(body) != 8:
            raise ProtocolError("a PLI has no parameters", rule="RFC 4585 6.3.1.2")
        return PictureLoss(sender_ssrc=sender, media_ssrc=media)
    if packet_type == PSFB and message_type == _FIR:
        return FullIntraRequest(sender_ssrc=sender, requests=_parse_fir(body))
    if packet_type == PSFB and message_type == _APPLICATION and body[8:12] == b"REMB":
        return _parse_remb(sender, body)
    return None


def build_feedback(feedback: Feedback) -> tuple[int, int, bytes]:
    """Return packet type, FMT and body, whole words; the inverse of `parse_feedback`.

    Raises:
        UsageError: a field is out of range in a way that `struct` does not notice.
        struct.error: one is in another; the caller turns it into a `UsageError`.
    """
    match feedback:
        case GenericNack():
            head = struct.pack("!II", feedback.sender_ssrc, feedback.media_ssrc)
            return RTPFB, _NACK, head + _build_nack(feedback.sequences)
        case PictureLoss():
            body = struct.pack("!II", feedback.sender_ssrc, feedback.media_ssrc)
            return PSFB, _PLI, body
        case FullIntraRequest():
            if not feedback.requests:
                raise UsageError("a FIR demands at least one keyframe")
            body = struct.pack("!II", feedback.sender_ssrc, 0)
            body += b"".join(struct.pack("!IBxxx", *request) for request in feedback.requests)
            return PSFB, _FIR, body
        case TransportFeedback():
            return RTPFB, _TRANSPORT, _build_transport(feedback)
        case MaximumBitrate():
            return PSFB, _APPLICATION, _build_remb(feedback)


def _parse_nack(body: bytes) -> tuple[int, ...]:
    if len(body) < 12 or len(body) % 4:
        raise ProtocolError("a NACK names at least one packet, in words", rule="RFC 4585 6.2.1")
    sequences: list[int] = []
    for first, mask in struct.iter_unpack("!HH", body[8:]):
        sequences.append(first)
        sequences += [first + 1 + bit & 0xFFFF for bit in range(16) if mask >> bit & 1]
    return tuple(sequences)


def _build_nack(sequences: tuple[int, ...]) -> bytes:
    if not sequences:
        raise UsageError("a NACK names at least one packet")
    parts: list[bytes] = []
    first, mask = sequences[0], 0
    for sequence in sequences[1:]:
        bit = (sequence - first & 0xFFFF) - 1
        # In ascending order only, so that parsing gives back the same numbers in the same order.
        if 0 <= bit < 16 and not mask >> bit:
            mask |= 1 << bit
        else:
            parts.append(struct.pack("!HH", first, mask))
            first, mask = sequence, 0
    parts.append(struct.pack("!HH", first, mask))
    return b"".join(parts)


def _parse_fir(body: bytes) -> tuple[tuple[int, int], ...]:
    if len(body) < 16 or len(body) % 8:
        raise ProtocolError("a FIR has one entry or more, of two words", rule="RFC 5104 4.3.1.1")
    return tuple(struct.iter_unpack("!IBxxx", body[8:]))


def _parse_transport(sender: int, media: int, body: bytes) -> TransportFeedback:
    """Statuses are never unrolled: a run of 8191 missing packets costs its two bytes."""
    if len(body) < 16:
        raise ProtocolError("transport feedback shorter than its header", rule=_TWCC)
    base, count, reference = struct.unpack_from("!HHI", body, 8)
    if not count:
        raise ProtocolError("transport feedback about no packet", rule=_TWCC)
    at = 16
    offset = 0
    came: list[tuple[int, int]] = []  # offset, bytes of its delta
    while offset < count:
        if at + 2 > len(body):
            raise ProtocolError("packet chunk beyond the packet", rule=_TWCC)
        chunk = int.from_bytes(body[at : at + 2])
        at += 2
        offset += _read_chunk(chunk, offset, count, came, limit=len(body))
    arrivals: list[tuple[int, int]] = []
    time = 0
    for where, size in came:
        if at + size > len(body):
            raise ProtocolError("receive delta beyond the packet", rule=_TWCC)
        time += int.from_bytes(body[at : at + size], signed=size == _LARGE)
        at += size
        arrivals.append((where, time))
    if len(body) - at > 3:  # zeros up to a whole word
        raise ProtocolError("transport feedback with something after its deltas", rule=_TWCC)
    return TransportFeedback(
        sender_ssrc=sender,
        media_ssrc=media,
        base_sequence=base,
        count=count,
        reference_time=reference >> 8,
        number=reference & 0xFF,
        arrivals=tuple(arrivals),
    )


def _read_chunk(
    chunk: int, offset: int, count: int, came: list[tuple[int, int]], *, limit: int
) -> int:
    """Add what came to `came`; return how many packets the chunk is about (3.1.3, 3.1.4)."""
    if not chunk >> 15:
        symbol, length = chunk >> 13 & 3, chunk & _MAX_RUN
        if not length:
            raise ProtocolError("run of no packets", rule=_TWCC)
        if symbol:
            length = min(length, count - offset)
            if len(came) + length > limit:
                raise ProtocolError("more packets came than there are deltas", rule=_TWCC)
            symbols = [symbol] * length
        else:
            return length
    elif chunk >> 14 & 1:
        symbols = [chunk >> shift & 3 for shift in range(12, -1, -2)]
    else:
        symbols = [chunk >> shift & 1 for shift in range(13, -1, -1)]
    for index, symbol in enumerate(symbols[: count - offset], start=offset):
        if symbol > _LARGE:
            raise ProtocolError("reserved packet status", rule=_TWCC)
        if symbol:
            came.append((index, symbol))
    return len(symbols)


def _build_transport(feedback: TransportFeedback) -> bytes:
    if not feedback.count or not 0 <= feedback.reference_time < 1 << 24:
        raise UsageError("transport feedback about nothing, or of a time beyond 24 bits")
    symbols = bytearray(feedback.count)
    deltas = bytearray()
    before_offset, before = -1, 0
    for offset, time in feedback.arrivals:
        if not before_offset < offset < feedback.count:
            raise UsageError("arrivals are ascending, and among the packets reported on")
        delta = time - before
        small = 0 <= delta <= 0xFF
        symbols[offset] = _SMALL if small else _LARGE
        deltas += delta.to_bytes(1) if small else delta.to_bytes(2, signed=True)
        before_offset, before = offset, time
    head = struct.pack(
        "!IIHHI",
        feedback.sender_ssrc,
        feedback.media_ssrc,
        feedback.base_sequence,
        feedback.count,
        feedback.reference_time << 8 | feedback.number,
    )
    body = head + _build_chunks(symbols) + deltas
    return body + bytes(-len(body) % 4)


def _build_chunks(symbols: bytearray) -> bytes:
    chunks: list[int] = []
    at, end = 0, len(symbols)
    while at < end:
        symbol = symbols[at]
        run = at + 1
        while run < end and symbols[run] == symbol and run - at < _MAX_RUN:
            run += 1
        following = symbols[at : at + 14]
        width = 7 if _LARGE in following else 14
        if run - at >= width or run == end:
            chunks.append(symbol << 13 | run - at)
            at = run
            continue
        bits = 14 // width
        vector = 0
        for shift in range(width):
            vector = vector << bits | (following[shift] if shift < len(following) else 0)
        chunks.append(0x8000 | (bits - 1) << 14 | vector)
        at += width
    return struct.pack(f"!{len(chunks)}H", *chunks)


def _parse_remb(sender: int, body: bytes) -> MaximumBitrate:
    if len(body) < 16:
        raise ProtocolError("REMB without its bitrate", rule=_REMB)
    number, packed = body[12], int.from_bytes(body[13:16])
    if len(body) != 16 + 4 * number:
        raise ProtocolError(f"REMB of {number} sources in {len(body)} bytes", rule=_REMB)
    bitrate = (packed & 0x3FFFF) << (packed >> 18)
    if bitrate >= _MAX_BITRATE:
        raise ProtocolError("REMB beyond 63 bits", rule=_REMB)
    sources = struct.unpack_from(f"!{number}I", body, 16)
    return MaximumBitrate(sender_ssrc=sender, bitrate=bitrate, sources=sources)


def _build_remb(feedback: MaximumBitrate) -> bytes:
    if not 0 <= feedback.bitrate < _MAX_BITRATE:
        raise UsageError("a bitrate beyond 63 bits")
    exponent = max(0, feedback.bitrate.bit_length() - 18)
    packed = exponent << 18 | feedback.bitrate >> exponent
    head = struct.pack("!II4sB", feedback.sender_ssrc, 0, b"REMB", len(feedback.sources))
    return head + packed.to_bytes(3) + struct.pack(f"!{len(feedback.sources)}I", *feedback.sources)
