"""Mixing: every person hears the sum of the others, in levels of their own, never wrapped around.

The arithmetic is done on whole frames: a frame of s16le becomes one long integer with 32 bits for
each sample, lifted by a bias so that no sample is negative. Such integers are added, subtracted
and multiplied by Python in one step, no sample carries into its neighbour, and whether any sum
left the 16 bits is one comparison. What it costs: decision 0032.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final, Generic, TypeVar

from securecall.errors import UsageError
from securecall.media.description import Gate
from securecall.media.frames import rms_dbfs

MOST_VOICES: Final = 8
"""People in one mix, oneself not counted."""

MOST_GAIN_DB: Final = 12.0
LEAST_GAIN_DB: Final = -60.0

_HALF: Final = 0x8000
_SIGN: Final = 0x80000000
_GAIN_BITS: Final = 13  # so that a 16-bit sample times 12 dB stays below 32 bits
_UNITY: Final = 1 << _GAIN_BITS
_PEAK: Final = 32767

_RELEASE: Final = 0.05  # of full gain, regained in each frame
_RAMP_SHARE: Final = 8  # the part of a frame in which the gain changes

_SILENT_DBFS: Final = -96.0
_SPEECH_DBFS: Final = -45.0
_HANGOVER_FRAMES: Final = 15  # 0.3 s: the pauses between words

Name = TypeVar("Name")


@dataclass(frozen=True, slots=True)
class Level:
    """How loud somebody is, before gain and mute.

    Attributes:
        dbfs: Loudness of the last 20 ms: 0.0 is full scale, -96.0 silence.
        speaking: Louder than -45 dBFS at some moment of the last 0.3 s.
    """

    dbfs: float = -96.0
    speaking: bool = False


@dataclass(frozen=True, slots=True)
class Sound:
    """A frame ready to be added: `lanes` holds in each 32 bits a sample plus `bias`."""

    lanes: int = 0
    bias: int = 0

    def __add__(self, other: Sound) -> Sound:
        return Sound(self.lanes + other.lanes, self.bias + other.bias)

    def __sub__(self, other: Sound) -> Sound:
        """Take out what was added before."""
        return Sound(self.lanes - other.lanes, self.bias - other.bias)


SILENCE: Final = Sound()


@cache
def _ones(samples: int) -> int:
    """A one in every lane."""
    return int.from_bytes(b"\1\0\0\0" * samples, "little")


def sound(pcm: bytes, gain: int = _UNITY) -> Sound:
    """Return a frame of s16le mono, times a gain, ready to be added."""
    samples = len(pcm) // 2
    wide = bytearray(4 * samples)
    wide[0::4] = pcm[0::2]
    wide[1::4] = pcm[1::2]
    ones = _ones(samples)
    lanes = int.from_bytes(wide, "little") ^ ones * _HALF  # the sample plus 32768
    if gain == _UNITY:
        return Sound(lanes, _HALF)
    # Shifting drops each lane's fraction into the top of the one below: it is masked away.
    return Sound(
        lanes * gain >> _GAIN_BITS & ones * ((1 << 32 - _GAIN_BITS) - 1),
        _HALF * gain >> _GAIN_BITS,
    )


class Limiter:
    """Turns one listener's sums into s16le; sums too loud for it are turned down, not cut off.

    Exact while no sum leaves the 16 bits. A frame with one that does gets the gain at which its
    peak just fits, reached within 2.5 ms; what is too loud until then is clipped. Afterwards the
    gain comes back by a twentieth with each frame.

    Attributes:
        gain: At the end of the last frame, 0..1.
    """

    __slots__ = ("gain",)

    def __init__(self) -> None:
        """Begin at full gain."""
        self.gain = 1.0

    def frame(self, summed: Sound, samples: int) -> bytes:
        """Return the next frame."""
        ones = _ones(samples)
        lanes = summed.lanes + ones * (_SIGN + _HALF - summed.bias)
        if self.gain < 1.0 or lanes & ones * 0xFFFF0000 != ones * _SIGN:
            lanes -= ones * _HALF
            return self._limit(array("i", (lanes ^ ones * _SIGN).to_bytes(4 * samples, "little")))
        wide = (lanes ^ ones * _HALF).to_bytes(4 * samples, "little")
        pcm = bytearray(2 * samples)
        pcm[0::2] = wide[0::4]
        pcm[1::2] = wide[1::4]
        return bytes(pcm)

    def _limit(self, sums: array[int]) -> bytes:
        peak = max(max(sums), -min(sums), 1)
        before, after = self.gain, min(_PEAK / peak, self.gain + _RELEASE, 1.0)
        self.gain = after
        turn = len(sums) // _RAMP_SHARE
        slope = (after - before) / turn
        ramp = [int(v * (before + slope * i)) for i, v in enumerate(sums[:turn], 1)]
        out = array("h", [max(-_PEAK, min(_PEAK, v)) for v in ramp])
        gain = int(after * 0x10000)  # rounded down: the peak fits
        out.extend([v * gain >> 16 for v in sums[turn:]])
        return out.tobytes()


class Voice:
    """One person in the mix: how loud they are to others, and what they are given themselves.

    Attributes:
        gain_db: -60..+12, of what others hear of them.
        muted: Nobody hears them; their level is still shown.
        level: How loud they are.
    """

    __slots__ = ("_dbfs", "_gain", "_gain_db", "_limiter", "_pause", "muted")

    def __init__(self, gain_db: float = 0.0) -> None:
        """Begin in silence.

        Raises:
            UsageError: the gain is out of range.
        """
        self.gain_db = gain_db
        self.muted = False
        self._limiter = Limiter()
        self._dbfs = _SILENT_DBFS
        self._pause = _HANGOVER_FRAMES

    @property
    def gain_db(self) -> float:
        """Of what others hear of them."""
        return self._gain_db

    @gain_db.setter
    def gain_db(self, gain_db: float) -> None:
        if not LEAST_GAIN_DB <= gain_db <= MOST_GAIN_DB:
            raise UsageError(f"a gain is {LEAST_GAIN_DB:.0f}..+{MOST_GAIN_DB:.0f} dB")
        self._gain_db = gain_db
        self._gain = round(_UNITY * math.pow(10.0, gain_db / 20))

    @property
    def level(self) -> Level:
        """How loud they are."""
        return Level(self._dbfs, self._pause < _HANGOVER_FRAMES)

    def says(self, pcm: bytes | None, samples: int) -> Sound:
        """Meter a frame of theirs and return what others get of it; no frame is silence."""
        if pcm is None or len(pcm) != 2 * samples:
            self._dbfs = _SILENT_DBFS
            self._pause += 1
            return SILENCE
        self._dbfs = rms_dbfs(pcm)
        self._pause = 0 if self._dbfs > _SPEECH_DBFS else self._pause + 1
        return SILENCE if self.muted else sound(pcm, self._gain)

    def hears(self, summed: Sound, samples: int) -> bytes:
        """Return what they get of this sum."""
        return self._limiter.frame(summed, samples)


@dataclass(frozen=True, slots=True)
class Mixed(Generic[Name]):
    """One frame for everybody.

    Attributes:
        to: What each person gets; whoever gets nothing at all is left out.
        local: What we hear ourselves.
    """

    to: Mapping[Name, bytes]
    local: bytes


class Mixer(Generic[Name]):
    """Who hears whom.

    People whose gate is OPEN hear each other and us. Whoever compares words (VERIFYING) is heard
    by us alone, and hears us alone, if our source is one that a person speaks into. Whoever's
    gate is CLOSED neither hears nor is heard.

    Attributes:
        voices: The people.
        local: Ourselves.
    """

    def __init__(self) -> None:
        """Begin with nobody but us."""
        self.voices: dict[Name, Voice] = {}
        self.local = Voice()

    def add(self, name: Name, *, gain_db: float = 0.0) -> None:
        """Take somebody in.

        Raises:
            UsageError: they are here already, the mix is full, or the gain is out of range.
        """
        if name in self.voices:
            raise UsageError("already in the mix")
        if len(self.voices) >= MOST_VOICES:
            raise UsageError(f"a mix holds {MOST_VOICES} people and oneself")
        self.voices[name] = Voice(gain_db)

    def mix(
        self,
        said: Mapping[Name, tuple[Gate, bytes | None]],
        local: bytes | None,
        *,
        live: bool,
        samples: int,
    ) -> Mixed[Name]:
        """Mix one frame.

        Args:
            said: Of each person their gate, and a frame of s16le mono, None where none came.
            local: A frame of ours.
            live: Our source is one that a person speaks into.
            samples: In every frame.
        """
        ours = self.local.says(local, samples)
        everybody, asides = ours, SILENCE
        part: dict[Name, Sound] = {}
        for name, (gate, pcm) in said.items():
            part[name] = self.voices[name].says(pcm if gate is not Gate.CLOSED else None, samples)
            if gate is Gate.OPEN:
                everybody += part[name]
            else:
                asides += part[name]
        to: dict[Name, bytes] = {}
        for name, (gate, _) in said.items():
            if gate is Gate.OPEN:
                to[name] = self.voices[name].hears(everybody - part[name], samples)
            elif gate is Gate.VERIFYING and live:
                to[name] = self.voices[name].hears(ours, samples)
        return Mixed(to, self.local.hears(everybody - ours + asides, samples))
