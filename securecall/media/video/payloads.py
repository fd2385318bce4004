"""The payload formats of pictures, by codec: how frames are cut for RTP, and put together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final, Protocol

from securecall.errors import Unsupported
from securecall.media.video.codecs import encoder_name
from securecall.rtp.frames import FrameFormat
from securecall.rtp.h264 import H264Depacketiser, H264Packetiser
from securecall.rtp.vp8 import Vp8Depacketiser, Vp8Packetiser


class Packetiser(Protocol):
    """Cuts frames into payloads."""

    def packetise(self, frame: bytes) -> tuple[bytes, ...]:
        """Return the payloads of the next frame; the last one's packet bears the marker."""
        ...


_PACKETISERS: Final[dict[str, Callable[[int], Packetiser]]] = {
    "vp8": lambda chance: Vp8Packetiser(picture_id=chance & 0x7FFF),
    "h264": lambda _: H264Packetiser(),
}
_FORMATS: Final[dict[str, Callable[[Sequence[bytes]], FrameFormat]]] = {
    "vp8": lambda _: Vp8Depacketiser(),
    "h264": H264Depacketiser,
}


def packetiser(codec: str, *, chance: int) -> Packetiser:
    """Return a new one for a codec; `chance` is 32 random bits.

    Raises:
        Unsupported: we have no such codec.
    """
    made = _PACKETISERS.get(codec.lower())
    if made is None:
        raise Unsupported(f"no pictures in {codec}")
    return made(chance)


def frame_format(codec: str, parameter_sets: Sequence[bytes] = ()) -> FrameFormat:
    """Return what the frame buffer has to know of a codec; H.264 has parameter sets.

    Raises:
        Unsupported: we have no such codec.
    """
    made = _FORMATS.get(codec.lower())
    if made is None:
        raise Unsupported(f"no pictures in {codec}")
    return made(parameter_sets)


def usable(names: Iterable[str]) -> tuple[str, ...]:
    """Return those of the named codecs that this machine has, in the same order.

    Raises:
        Unsupported: there is none, or PyAV is not installed.
        UsageError: a name means nothing to us.
    """
    found: list[str] = []
    missing: Unsupported | None = None
    for name in names:
        try:
            _ = encoder_name(name)
        except Unsupported as e:
            missing = e
        else:
            if name.lower() in _FORMATS:
                found.append(name)
    if not found:
        raise missing or Unsupported("no codec for pictures is wished for")
    return tuple(found)
