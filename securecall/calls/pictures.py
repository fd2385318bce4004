"""The pictures of one call: what we bring to it, and what was agreed, once there are keys."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from securecall.calls.video_lines import LocalVideo, VideoAgreement
from securecall.errors import UsageError
from securecall.media.clock import Clock
from securecall.media.description import Direction, Gate
from securecall.media.endpoints import require_source
from securecall.media.synchrony import HeardAt
from securecall.rtp.rtcp import RtcpPacket
from securecall.rtp.sframe import SframeReceiver, SframeSender
from securecall.rtp.srtp import SrtpSession

if TYPE_CHECKING:  # PyAV is an extra, and takes its time: only a call with a picture needs it
    from securecall.media.video.endpoints import VideoSink, VideoSource
    from securecall.media.video.line import VideoTerms
    from securecall.media.video.session import VideoSession
    from securecall.media.video.statistics import VideoStatistics

CAMERA: Final = ""
SCREEN: Final = "slides"
STREAM_OF: Final = {CAMERA: 1, SCREEN: 2}
"""KIDs of SFrame, by what is shown; 0 is the sound's, 3 the text's (security specification 3.7)."""
_SUCH_AS: Final = "Camera(), VideoFile(path), TestPattern()"


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureKeys:
    """What pictures are sealed with.

    Attributes:
        srtp: Of the path; the sound's, too.
        seal: The end-to-end layer by what is shown, empty for none; each object lives as long as
            the call, for its counter must never begin again.
        opener: That of the peer.
    """

    srtp: SrtpSession
    seal: Mapping[str, SframeSender]
    opener: SframeReceiver | None


class Pictures:
    """What is shown, both ways; nothing of PyAV is loaded before there is a picture.

    Attributes:
        brought: What we could bring, by what is shown.
        offered: What we do bring from the beginning.
    """

    def __init__(
        self,
        clock: Clock,
        send: Callable[[bytes], object],
        *,
        cname: str,
        codecs: tuple[str, ...],
        failed: Callable[[Exception], None],
        heard: HeardAt = lambda _wall, _cname: None,
    ) -> None:
        """Prepare.

        Args:
            clock: What drives them.
            send: Puts a datagram on the path.
            cname: Ours.
            codecs: Names, in order of preference.
            failed: Told what a source, a sink or a codec raised.
            heard: Tells when the sound is heard that was captured with a picture.
        """
        self._heard = heard
        self.brought: dict[str, LocalVideo] = {}
        self.offered: tuple[str, ...] = ()
        self._clock, self._send, self._cname = clock, send, cname
        self._codecs, self._failed = codecs, failed
        self._keys: PictureKeys | None = None
        self._session: VideoSession | None = None
        self._last: tuple[VideoStatistics, ...] = ()
        self._agreed: tuple[VideoAgreement, ...] = ()
        self._gate = Gate.CLOSED
        self._sources: dict[str, VideoSource] = {}
        self._sinks: list[tuple[str, VideoSink]] = []
        self._closed = self._held = False

    def bring(self, name: str) -> LocalVideo:
        """Describe a picture of ours, the same throughout the call.

        Raises:
            Unsupported: nothing here can encode one.
        """
        from securecall.media.video.payloads import usable

        if name not in STREAM_OF:
            raise UsageError("a call shows a camera and a screen, nothing else")
        if name not in self.brought:
            self.brought[name] = LocalVideo(
                usable(self._codecs),
                ssrc=secrets.randbits(32),
                rtx_ssrc=secrets.randbits(32),
                content=name,
            )
        return self.brought[name]

    def secure(self, keys: PictureKeys, agreed: tuple[VideoAgreement, ...]) -> None:
        """There are keys: begin with what was agreed."""
        self._keys = keys
        self.agree(agreed)

    def agree(self, agreed: tuple[VideoAgreement, ...]) -> None:
        """Have these pictures from now on, and no other."""
        self._agreed = agreed
        if self._keys is None or self._closed or not (agreed or self._session):
            return
        session = self._session or self._begin(self._keys)
        still = Direction.INACTIVE
        session.agree({a.mid: (_terms(a), still if self._held else a.direction) for a in agreed})

    def hold(self, *, on: bool) -> None:
        """Send and show nothing, whatever was agreed; or no more."""
        self._held = on
        self.agree(self._agreed)

    def _begin(self, keys: PictureKeys) -> VideoSession:
        from securecall.media.video.session import VideoSession

        session = self._session = VideoSession(
            self._clock,
            self._send,
            keys.srtp,
            cname=self._cname,
            seal=keys.seal.get,
            opener=keys.opener,
            failed=self._failed,
            heard=self._heard,
        )
        session.gate = self._gate
        for name, source in self._sources.items():
            session.show(source, name)
        for name, sink in self._sinks:
            session.add_sink(sink, name)
        return session

    @property
    def shown(self) -> frozenset[str]:
        """What there are pictures of, as agreed."""
        return frozenset(agreed.local.content for agreed in self._agreed)

    def mid_of(self, name: str) -> str:
        """The name of its m-line, "" where there is none."""
        return next((a.mid for a in self._agreed if a.local.content == name), "")

    @property
    def congested(self) -> bool:
        """Whether they met a queue on the path that does not empty."""
        return self._session is not None and self._session.estimator.congested

    @property
    def gate(self) -> Gate:
        """Whether media passes; pictures do only where it is OPEN."""
        return self._gate

    @gate.setter
    def gate(self, gate: Gate) -> None:
        self._gate = gate
        if self._session is not None:
            self._session.gate = gate

    def show(self, source: VideoSource | None, name: str) -> None:
        """Send these pictures, as soon as they may pass; None shows black, then nothing."""
        require_source(source, _SUCH_AS)
        if source is None:
            _ = self._sources.pop(name, None)
        else:
            self._sources[name] = source
        if self._session is not None:
            self._session.show(source, name)

    def source(self, name: str) -> VideoSource | None:
        """What is sent."""
        return self._sources.get(name)

    def add_sink(self, sink: VideoSink, name: str) -> None:
        """Give the peer's pictures to a sink, now or from the moment they come."""
        self._sinks.append((name, sink))
        if self._session is not None:
            self._session.add_sink(sink, name)

    def remove_sink(self, sink: VideoSink) -> bool:
        """Give it nothing more; returns whether it is one."""
        left = [pair for pair in self._sinks if pair[1] is not sink]
        removed, self._sinks = len(left) < len(self._sinks), left
        if self._session is not None:
            self._session.remove_sink(sink)
        return removed

    def takes(self, datagram: bytes) -> bool:
        """Whether this is a packet of a picture."""
        return self._session is not None and self._session.takes(datagram)

    def receive(self, datagram: bytes) -> None:
        """Take such a packet."""
        if self._session is not None:
            self._session.receive(datagram)

    def hear(self, packets: tuple[RtcpPacket, ...]) -> None:
        """Take what came in RTCP."""
        if self._session is not None:
            self._session.hear(packets)

    def statistics(self) -> tuple[VideoStatistics, ...]:
        """What happened so far, for each picture."""
        return self._session.statistics() if self._session is not None else self._last

    def close(self) -> None:
        """Say goodbye and let go, of what the application gave us, too; safe to call again."""
        if self._closed:
            return
        self._closed = True
        if self._session is not None:
            self._last = self._session.statistics()
            self._session.close()
            self._session = None
        closes = [source.close for source in self._sources.values()]
        for close in (*closes, *(sink.close for _, sink in self._sinks)):
            try:
                close()
            except Exception as e:  # noqa: BLE001 - the application's code; the rest is closed
                self._failed(e)
        self._sources.clear()
        self._sinks.clear()


def _terms(agreed: VideoAgreement) -> VideoTerms:
    from securecall.media.video.line import VideoTerms

    named = (agreed.ssrc, agreed.rtx_ssrc)
    return VideoTerms(
        name=agreed.local.content,
        mid=agreed.mid,
        codec=agreed.codec,
        rtx=agreed.rtx,
        receive={codec.payload_type: codec for codec in agreed.receive},
        receive_rtx=dict(agreed.receive_rtx),
        ssrc=agreed.local.ssrc,
        rtx_ssrc=agreed.local.rtx_ssrc,
        peer_ssrcs=frozenset(ssrc for ssrc in named if ssrc is not None),
        nack=agreed.understands("nack"),
        pli=agreed.understands("nack pli"),
        fir=agreed.understands("ccm fir"),
        transport_cc=agreed.transport_cc if agreed.understands("transport-cc") else 0,
        mid_extension=agreed.mid_extension,
        parameter_sets=agreed.parameter_sets,
    )
