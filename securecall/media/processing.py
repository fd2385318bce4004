"""The door of pywebrtc-audio (WebRTC's AEC3, NS and AGC2): a voice without echo and noise."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Final, Protocol, cast

from securecall.errors import Unsupported

_NOISE_LEVEL: Final = 2  # of 0 to 3
_MOST_GAIN_DB: Final = 30.0


class Processor(Protocol):
    """Cleans one microphone's sound."""

    def process(self, near: bytes, far: bytes) -> bytes:
        """Return 10 ms of what the microphone heard, cleaned.

        Called on a thread of the sound device, every 10 ms.

        Args:
            near: What it heard, s16le mono.
            far: What the loudspeaker was given, as long; it may be ahead of its echo by up to
                0.4 s, and never behind.
        """
        ...


class Processing(Protocol):
    """What is to be done to a microphone's sound."""

    def begin(self, rate: int) -> Processor:
        """Return what does it at this rate, Hz; a device is opened with a new one each time."""
        ...


class _Samples(Protocol):
    """A NumPy array, as far as it is used."""

    def tobytes(self) -> bytes: ...


class _Numpy(Protocol):
    """What is used of NumPy."""

    def frombuffer(self, pcm: bytes, dtype: str) -> _Samples: ...


class _Engine(Protocol):
    """What is used of the library's processor."""

    def process(self, near: _Samples, far: _Samples | None = None) -> _Samples: ...


class _Library(Protocol):
    """What is used of the library."""

    def AudioProcessor(self, **options: float) -> _Engine: ...  # noqa: N802  (its name)


def _library() -> tuple[_Library, _Numpy]:
    """Import the library, and NumPy, which it needs.

    Raises:
        Unsupported: it is not installed.
    """
    try:
        library = cast("_Library", import_module("pywebrtc_audio"))
        return library, cast("_Numpy", import_module("numpy"))
    except ImportError as e:
        raise Unsupported('cancelling echo and noise needs: pip install "securecall[voice]"') from e


@dataclass(frozen=True, slots=True, kw_only=True)
class VoiceProcessing:
    """What WebRTC does to a voice before it is sent, as browsers do.

    Attributes:
        echo: Take out what the loudspeaker plays (AEC3).
        noise: Take out what goes on evenly, such as a fan.
        gain: Bring the voice to an even loudness (AGC2), by 30 dB at most. It raises what is left
            of an echo with the voice.

    Raises:
        Unsupported: the library is not installed.
    """

    echo: bool = True
    noise: bool = True
    gain: bool = False

    def __post_init__(self) -> None:
        """Fail early, not in the middle of a call."""
        _ = _library()

    def begin(self, rate: int) -> Processor:
        """Return what does it at this rate, 8000 Hz or more."""
        return _WebRtc(self, rate)


class _WebRtc:
    """One voice, from the moment its device is opened."""

    def __init__(self, wish: VoiceProcessing, rate: int) -> None:
        library, self._numpy = _library()
        self._echo = wish.echo
        self._engine = library.AudioProcessor(
            sample_rate=rate,
            echo_cancellation=wish.echo,
            noise_suppression=wish.noise,
            high_pass_filter=True,
            auto_gain_control=wish.gain,
            ns_level=_NOISE_LEVEL,
            agc_max_gain_db=_MOST_GAIN_DB,
        )

    def process(self, near: bytes, far: bytes) -> bytes:
        """Return 10 ms, cleaned."""
        heard = self._numpy.frombuffer(near, "<i2")
        if not self._echo:
            return self._engine.process(heard).tobytes()
        return self._engine.process(heard, self._numpy.frombuffer(far, "<i2")).tobytes()
