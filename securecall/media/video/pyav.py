"""The door of PyAV (FFmpeg): its names, loaded at the first use of one."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

from securecall.errors import Unsupported

if TYPE_CHECKING:
    from av import AudioFrame as AudioFrame
    from av import AudioResampler as AudioResampler
    from av import AudioStream as AudioStream
    from av import CodecContext as CodecContext
    from av import FFmpegError as FFmpegError
    from av import Packet as Packet
    from av import VideoCodecContext as VideoCodecContext
    from av import VideoFrame as VideoFrame
    from av import VideoStream as VideoStream
    from av import codecs_available as codecs_available
    from av import enumerate_input_devices as enumerate_input_devices
    from av import formats_available as formats_available
    from av import open as open  # noqa: A004  (its name)
    from av.container import InputContainer as InputContainer
    from av.container import OutputContainer as OutputContainer

NAMES: Final = frozenset(
    {"AudioFrame", "AudioResampler", "CodecContext", "FFmpegError", "Packet", "VideoCodecContext"}
    | {"VideoFrame", "codecs_available", "enumerate_input_devices", "formats_available", "open"}
)
KEYFRAME: Final = 1
"""FFmpeg's picture type I, asked for or found."""


def __getattr__(name: str) -> object:
    """Return one of PyAV's names.

    Raises:
        Unsupported: PyAV is not installed, cannot be loaded, or is too old.
        AttributeError: none of those used here.
    """
    if name not in NAMES:
        raise AttributeError(name)
    try:
        av = import_module("av")
    except ImportError as e:
        raise Unsupported('video needs: pip install "securecall[video]"') from e
    found: object = getattr(av, name, None)
    if found is None:
        raise Unsupported(f"PyAV {av.__version__} is too old: it has no {name}")
    globals()[name] = found
    return found


def is_available() -> bool:
    """Say whether PyAV can be loaded here."""
    try:
        __getattr__("open")
    except Unsupported:
        return False
    return True


def require_available() -> None:
    """Refuse early, where the call is made, and not in a thread later.

    Raises:
        Unsupported: PyAV is not installed.
    """
    __getattr__("open")
