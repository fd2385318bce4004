"""The sound of one call: what we send, who hears the peer, and whether any of it may pass."""

from __future__ import annotations

from collections.abc import Callable

from securecall.errors import UsageError
from securecall.media.carried import CarriedSession
from securecall.media.description import Direction, Gate, held
from securecall.media.endpoints import AudioSink, AudioSource, require_source
from securecall.media.engine import AudioSession, AudioStatistics
from securecall.media.levels import LevelMeter
from securecall.media.synchrony import Heard


class Sound:
    """Sources and sinks, given now or later, over the session that there is once there are keys.

    Attributes:
        receives: Whether the peer is to send, as agreed.
    """

    def __init__(
        self, *, failed: Callable[[Exception], None], digit: Callable[[str], None]
    ) -> None:
        """Begin with silence behind a closed gate.

        Args:
            failed: Told what a source or a sink raised while it was closed.
            digit: Told each key the peer presses while the gate is open and we do not hold it.
        """
        self._failed = failed
        self._digit = digit
        self.receives = True
        self._session: AudioSession | CarriedSession | None = None
        self._last: AudioStatistics | None = None
        self._gate = Gate.CLOSED
        self._direction = Direction.SENDRECV
        self._source: AudioSource | None = None
        self._sinks: list[AudioSink] = []
        self._muted = self._held = False
        self._resting: AudioSource | None = None
        self._meters: tuple[LevelMeter, ...] = ()

    def secure(self, session: AudioSession | CarriedSession, direction: Direction) -> None:
        """There are keys: the session that has them, behind a closed gate, not started yet."""
        self._session = session
        self.set_direction(direction)
        session.source = self._source
        session.meters = self._meters
        self._silence()
        for sink in self._sinks:
            session.add_sink(sink)

    @property
    def secured(self) -> bool:
        """Whether there is a session: there are keys, and the call is not over."""
        return self._session is not None

    @property
    def gate(self) -> Gate:
        """Whether sound passes, both ways."""
        return self._gate

    @gate.setter
    def gate(self, gate: Gate) -> None:
        self._gate = gate
        if self._session is not None:
            self._session.gate = gate
            self._session.source = self._releasable()

    @property
    def source(self) -> AudioSource | None:
        """What is sent."""
        return self._source

    @source.setter
    def source(self, source: AudioSource | None) -> None:
        require_source(source)
        self._source = source
        if self._session is not None:
            self._session.source = self._releasable()
        self._silence()

    def _releasable(self) -> AudioSource | None:
        """What may be sent now: while words are compared only what a person says (`live`)."""
        held = self._gate is Gate.VERIFYING and not getattr(self._source, "live", False)
        return None if held else self._source

    @property
    def muted(self) -> bool:
        """Whether silence is sent instead of sound."""
        return self._muted

    def mute(self, *, muted: bool) -> None:
        """Send silence of the same packet size instead of sound."""
        self._muted = muted
        self._silence()

    def hold(self, *, on: bool) -> None:
        """Send silence alone and play nothing, whatever was agreed; or no more."""
        self._held = on
        if on:
            self._forget_digits()
        self._silence()
        self.set_direction(self._direction)

    @property
    def held(self) -> bool:
        """Whether we hold the peer."""
        return self._held

    def _silence(self) -> None:
        silent = self._muted or self._held
        if self._session is not None:
            self._session.muted = silent
        source = self._source if silent else None
        if self._resting is not source:
            _listen(self._resting, on=True)
            _listen(source, on=False)  # a microphone is let go of meanwhile
            self._resting = source

    @property
    def takes_digits(self) -> bool | None:
        """Whether the peer takes digits within the sound; None before there is any."""
        return self._session.takes_digits if self._session is not None else None

    def press(self, digits: str) -> None:
        """Send digits of the telephone.

        Raises:
            Unsupported: the peer takes none.
            UsageError: there is no sound yet, the peer is on hold, or they are on no keypad.
        """
        if self._session is None or self._gate is not Gate.OPEN or self._held:
            raise UsageError("digits are sent in a call in progress that is not on hold")
        self._session.press(digits)

    def _forget_digits(self) -> None:
        if self._session is not None:
            self._session.forget_digits()

    def digit(self, digit: str) -> None:
        """The peer pressed a key: that is heard once all is proven, not before, nor on hold."""
        if self._gate is Gate.OPEN and not self._held:
            self._digit(digit)

    @property
    def pressing(self) -> bool:
        """Whether digits are on their way."""
        return self._session is not None and self._session.pressing

    def add_sink(self, sink: AudioSink) -> None:
        """Give the peer's sound to a sink as well, now or from the moment media flows."""
        self._sinks.append(sink)
        if self._session is not None:
            self._session.add_sink(sink)

    def remove_sink(self, sink: AudioSink) -> bool:
        """Give the peer's sound to a sink no more; tells whether it was one."""
        before = len(self._sinks)
        self._sinks = [s for s in self._sinks if s is not sink]
        if self._session is not None:
            self._session.remove_sink(sink)
        return len(self._sinks) < before

    def watch(self, meter: LevelMeter, *, on: bool = True) -> None:
        """Let a meter see what is sent and played, from the moment media flows; or no more."""
        others = tuple(m for m in self._meters if m is not meter)
        self._meters = (*others, meter) if on else others
        if self._session is not None:
            self._session.meters = self._meters

    def heard_at(self, wall: float, cname: str) -> Heard | None:
        """When sound was or will be heard that was captured with a picture, see `HeardAt`."""
        session = self._session
        return session.heard(wall, cname) if isinstance(session, AudioSession) else None

    def set_direction(self, direction: Direction) -> None:
        """Obey a hold, or its end; of whom we hold nothing is heard, even if that was refused."""
        self._direction = direction
        self.receives = direction in (Direction.SENDRECV, Direction.RECVONLY)
        if self._session is not None:
            self._session.set_direction(held(direction) if self._held else direction)

    def set_companions(self, *, events: int | None, red: int | None) -> None:
        """Send digits and copies under these numbers of the peer's from now on, or none."""
        if isinstance(self._session, AudioSession):
            self._session.set_companions(events=events, red=red)

    def receive(self, datagram: bytes) -> None:
        """Take a packet of RTP or RTCP."""
        if isinstance(self._session, AudioSession):
            self._session.receive(datagram)

    def rekeyed(self) -> None:
        """What is sent is locked with other keys from now on."""
        if isinstance(self._session, AudioSession):
            self._session.rekeyed()

    @property
    def packets_received(self) -> int:
        """How many authentic packets came."""
        return self._session.statistics().packets_received if self._session is not None else 0

    def statistics(self) -> AudioStatistics | None:
        """Counters, None before there is sound."""
        return self._session.statistics() if self._session is not None else self._last

    def close(self) -> None:
        """Say BYE; what the application gave us stays open until `release`."""
        if self._session is not None:
            self._last = self._session.statistics()
            self._session.close()
            self._session = None

    def release(self) -> None:
        """Close what the application gave us."""
        for end in (self._source, *self._sinks):
            try:
                if end is not None:
                    end.close()
            except Exception as e:  # noqa: BLE001 - the application's code; the rest is closed
                self._failed(e)


def _listen(source: AudioSource | None, *, on: bool) -> None:
    listen = getattr(source, "listen", None)
    if callable(listen):
        listen(on=on)
