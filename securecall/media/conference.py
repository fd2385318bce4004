"""A conference on this machine: several calls, mixed here, each still encrypted on its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Protocol, Self

from securecall.errors import DeviceLost, UsageError
from securecall.logs import logger
from securecall.media.clock import Clock
from securecall.media.description import Gate
from securecall.media.endpoints import AudioSink, AudioSource
from securecall.media.frames import AudioFrame
from securecall.media.mixer import Level as Level
from securecall.media.mixer import Mixer, Voice
from securecall.media.resample import Resampler, to_mono

log = logger(__name__)


class Mixable(Protocol):
    """What a conference asks of a call; `securecall.Call` is one."""

    peer: str
    source: AudioSource | None

    @property
    def gate(self) -> Gate:
        """Whether media may pass, at this moment."""
        ...

    def add_sink(self, sink: AudioSink) -> None:
        """Give the peer's sound to a sink as well."""
        ...

    def remove_sink(self, sink: AudioSink) -> None:
        """Give it nothing more."""
        ...

    def mixed_with(self, others: Iterable[Mixable]) -> None:
        """Take note of who hears this call's peer, for the report."""
        ...


class Conference:
    """Lets the people of several calls hear each other, and us hear all of them.

    Everything is mixed on this machine, so what one of them says reaches the others through us:
    each call stays end-to-end encrypted, with keys of its own, up to here and from here on. Tell
    people who else is in the room, since no protocol does; our own reports name them.

    People whose gate is open hear all others and us. Whoever still compares words talks with us
    alone, unheard by the others and hearing none of them. A call that ends leaves by itself.
    Driven by the one clock of sound, with no task, thread or queue for a call; a person whose
    packets do not come is silent and delays nobody. It mixes at the highest rate anybody has.

    Use it as `async with`; leaving the block ends the mix, not the calls, which send silence then.
    """

    def __init__(
        self,
        *,
        on_failure: Callable[[Exception], None] | None = None,
        clock: Clock | None = None,
    ) -> None:
        """Make an empty room.

        Args:
            on_failure: Told what the local source or sink raised; it was taken out, but for
                `DeviceLost`.
            clock: What drives it; that of the running loop by default, as the calls' is.
        """
        self._mixer: Mixer[Mixable] = Mixer()
        self._seats: dict[Mixable, _Seat] = {}
        self._source: AudioSource | None = None
        self._sink: AudioSink | None = None
        self._on_failure = on_failure
        self._clock = clock
        self._entered = False
        self._open: tuple[Mixable, ...] = ()
        self._rate = 0
        self._played = 0

    async def __aenter__(self) -> Self:
        """Begin to mix."""
        self._clock = self._clock or Clock.running()
        self._clock.add(self, self._stopped)
        self._entered = True
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Take everybody out, and close the local source and sink."""
        if self._clock is not None:
            self._clock.remove(self)
        self._empty()

    # -- what an application asks -----------------------------------------------------------------

    @property
    def calls(self) -> tuple[Mixable, ...]:
        """Those in the room."""
        return tuple(self._seats)

    def add(self, call: Mixable, *, gain_db: float = 0.0) -> None:
        """Take a call in, connected or not yet; from now on it sends the mix.

        Raises:
            UsageError: it is here, eight are here, the gain is not within -60..+12 dB, or the
                room was not entered.
            CallFailed, SecurityError: the call is over.
        """
        if not self._entered:
            raise UsageError("enter the conference first: async with Conference() as room")
        self._mixer.add(call, gain_db=gain_db)
        seat = _Seat(self, call)
        try:
            call.source = seat
        except BaseException:
            del self._mixer.voices[call]
            raise
        call.add_sink(seat)
        self._seats[call] = seat

    def remove(self, call: Mixable) -> None:
        """Let a call go; it goes on, sending silence until it is given another source.

        Raises:
            UsageError: it is not here.
        """
        seat = self._seats.get(call)
        if seat is None:
            raise UsageError("this call is not in the conference")
        self.forget(call)
        call.remove_sink(seat)
        if call.source is seat:
            call.source = None

    def local(self, *, source: AudioSource | None = None, sink: AudioSink | None = None) -> None:
        """Take part oneself: `source` is heard by all, `sink` hears all.

        Both are closed with the room; what they replace is left open.
        """
        if source is not None:
            source.discard()
        self._source, self._sink = source, sink
        if self._mixer.local.muted:
            self.mute_local()

    def levels(self) -> dict[Mixable, Level]:
        """How loud everybody is, before gain and mute."""
        return {call: self._mixer.voices[call].level for call in self._seats}

    @property
    def local_level(self) -> Level:
        """How loud we are ourselves."""
        return self._mixer.local.level

    def set_gain(self, call: Mixable, gain_db: float) -> None:
        """Make somebody louder or quieter to all others: -60..+12 dB.

        Raises:
            UsageError: they are not here, or the gain is out of range.
        """
        self._voice(call).gain_db = gain_db

    def mute(self, call: Mixable, *, muted: bool = True) -> None:
        """Let nobody hear somebody, or all again; they hear the room either way.

        Raises:
            UsageError: they are not here.
        """
        self._voice(call).muted = muted

    def mute_local(self, *, muted: bool = True) -> None:
        """Let nobody hear us, or all again; a microphone is let go of meanwhile."""
        self._mixer.local.muted = muted
        listen = getattr(self._source, "listen", None)
        if callable(listen):
            listen(on=not muted)

    def _voice(self, call: Mixable) -> Voice:
        voice = self._mixer.voices.get(call)
        if voice is None:
            raise UsageError("this call is not in the conference")
        return voice

    # -- driven by the clock, and by calls that end -----------------------------------------------

    def tick(self, now: float) -> None:
        """Mix what came since the last tick; the calls fetch it on their own."""
        rate = max((seat.rate for seat in self._seats.values()), default=0)
        if not rate:
            return  # nobody was heard or asked for sound yet
        if rate != self._rate:
            self._rate = rate
            for seat in self._seats.values():
                seat.restart()
        samples = rate // 50
        live = bool(getattr(self._source, "live", False))
        ours = self._read(samples, rate)  # first: what it runs may take people in and out
        said = {call: seat.said(rate) for call, seat in self._seats.items()}
        self._note_company(tuple(c for c, (gate, _) in said.items() if gate is Gate.OPEN))
        mixed = self._mixer.mix(said, ours, live=live, samples=samples)
        for call, pcm in mixed.to.items():
            self._seats[call].hears(pcm, rate)
        self._write(mixed.local, rate)

    def skip(self, ticks: int) -> None:
        """Do nothing: what fell out is not mixed later."""

    def forget(self, call: Mixable) -> None:
        """Strike a call that ended; called by its connection, by way of the seat."""
        self._seats.pop(call, None)
        self._mixer.voices.pop(call, None)

    def _note_company(self, present: tuple[Mixable, ...]) -> None:
        if present == self._open:
            return
        self._open = present
        for call in present:
            call.mixed_with(other for other in present if other is not call)

    def _read(self, samples: int, rate: int) -> bytes | None:
        if self._source is None:
            return None
        try:
            return self._source.read(samples, rate)
        except DeviceLost as e:  # it has found another by itself
            self._fail(e)
            return None
        except Exception as e:  # noqa: BLE001  (the application's code; the room goes on)
            self._source = None
            self._fail(e)
            return None

    def _write(self, pcm: bytes, rate: int) -> None:
        if self._sink is None:
            return
        frame = AudioFrame(samples=pcm, sample_rate=rate, timestamp=self._played * (rate // 50))
        self._played += 1
        try:
            self._sink.write(frame)
        except DeviceLost as e:
            self._fail(e)
        except Exception as e:  # noqa: BLE001  (the application's code; the room goes on)
            self._sink = None
            self._fail(e)

    def _fail(self, error: Exception) -> None:
        log.warning("a local part of a conference failed: %s", type(error).__name__)
        if self._on_failure is not None:
            # Not from within the tick: what the application's code raises must not stop the clock.
            asyncio.get_running_loop().call_soon(self._on_failure, error)

    def _stopped(self, error: Exception) -> None:
        """The clock gave us up: let everybody go."""
        self._empty()
        self._fail(error)

    def _empty(self) -> None:
        self._entered = False
        for call in tuple(self._seats):
            self.remove(call)
        for end in (self._source, self._sink):
            try:
                if end is not None:
                    end.close()
            except Exception as e:  # noqa: BLE001  (the application's code; the rest is closed)
                self._fail(e)
        self._source = self._sink = None


class _Seat:
    """One call's place in the room: the sink of its peer's sound, and the source of what it sends.

    Nothing passes from one state of the gate to another: what was said or mixed under one is
    forgotten when the call has come to another.

    Attributes:
        rate: The highest rate this call receives or sends at, Hz; 0 before either.
        live: True: what may be heard while words are compared is the mixer's to say.
    """

    live = True

    def __init__(self, room: Conference, call: Mixable) -> None:
        self._room = room
        self._call = call
        self._gate = call.gate
        self._in_rate = self._out_rate = 0
        self._said: _Flow | None = None
        self._mixed: _Flow | None = None

    @property
    def rate(self) -> int:
        return max(self._in_rate, self._out_rate)

    def restart(self) -> None:
        """Forget all sound on its way."""
        self._said = self._mixed = None

    def _now(self) -> Gate:
        """The gate's state; what came under another is forgotten."""
        gate = self._call.gate
        if gate is not self._gate:
            self._gate = gate
            self.restart()
        return gate

    # -- the room's side

    def said(self, rate: int) -> tuple[Gate, bytes | None]:
        gate = self._now()
        pcm = None
        if self._in_rate:
            self._said = _Flow.between(self._said, self._in_rate, rate)
            pcm = self._said.take()
        return gate, pcm

    def hears(self, pcm: bytes, rate: int) -> None:
        if self._out_rate:
            self._mixed = _Flow.between(self._mixed, rate, self._out_rate)
            self._mixed.put(pcm)

    # -- the call's side

    def write(self, frame: AudioFrame) -> None:
        """Take what the peer said."""
        self._in_rate = frame.sample_rate
        if self._now() is not Gate.CLOSED and self._said is not None:
            self._said.put(to_mono(frame.samples, frame.channels))

    def read(self, samples: int, rate: int) -> bytes | None:
        """Give the peer what the others said."""
        self._out_rate = rate
        if self._now() is Gate.CLOSED or self._mixed is None or self._mixed.target != rate:
            return None
        return self._mixed.take()

    def discard(self) -> None:
        """Forget what is mixed and was not fetched."""
        self._mixed = None

    def close(self) -> None:
        """The call is over."""
        self._room.forget(self._call)


class _Flow:
    """Sound of one rate on its way to frames of another; what nobody fetches is replaced."""

    __slots__ = ("_need", "_pending", "_resampler", "target")

    def __init__(self, source: int, target: int) -> None:
        self._resampler = Resampler(source, target)
        self.target = target
        self._need = target // 50 * 2
        self._pending: bytes | None = None

    @classmethod
    def between(cls, flow: _Flow | None, source: int, target: int) -> _Flow:
        """Return the flow if it is one between these rates, else a new one."""
        if flow is not None and (flow.source, flow.target) == (source, target):
            return flow
        return cls(source, target)

    @property
    def source(self) -> int:
        return self._resampler.source

    def put(self, pcm: bytes) -> None:
        pcm = self._resampler.process(pcm)
        if self._pending is None:
            # The filter holds back its delay once; with it in front all later frames are whole.
            self._pending = pcm.rjust(self._need, b"\0")
        elif len(self._pending) >= self._need:
            self._pending = pcm
        else:
            self._pending += pcm

    def take(self) -> bytes | None:
        pending = self._pending
        if pending is None or len(pending) < self._need:
            return None
        self._pending = pending[self._need :]
        return pending[: self._need]
