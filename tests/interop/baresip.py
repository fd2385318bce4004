"""baresip as a headless phone that answers by itself and plays a tone.

Version 1.0 does not verify the server's certificate: it proves nothing about ours.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.interop.children import Child, free_port, need
from tests.interop.kamailio import PASSWORDS, Kamailio
from tests.interop.switch import Switch

_CONFIG = """
poll_method epoll
sip_listen 127.0.0.1:0
sip_cafile {authority}
call_local_timeout 30
call_max_calls 4
audio_buffer 40-160
audio_player aubridge,{user}-sink
audio_alert aubridge,{user}-alert
audio_source ausine,440
ausrc_srate 48000
auplay_srate 48000
ausrc_channels 2
auplay_channels 2
ausrc_format s16
auplay_format s16
auenc_format s16
audec_format s16
rtcp_mux {mux}
rtp_stats yes
jitter_buffer_delay 1-20
net_interface {interface}
module_path /usr/lib/baresip/modules
{modules}
ctrl_tcp_listen 127.0.0.1:{control}
snd_path .
opus_bitrate 28000
"""
_MODULES = (
    "stdio",
    "opus",
    "g722",
    "g711",
    "sndfile",
    "ausine",
    "aubridge",
    "ice",
    "srtp",
    "dtls_srtp",
)
_VIDEO = """
video_source fakevideo,nil
video_display fakevideo,nil
video_size 320x240
video_bitrate 256000
video_fps 10
videnc_format yuv420p
module vp8.so
module fakevideo.so
"""
_APP_MODULES = ("contact", "debug_cmd", "menu", "ctrl_tcp")


class Baresip:
    """A running phone, driven through its control socket (JSON in netstrings)."""

    def __init__(self, user: str, folder: Path, child: Child, control: int) -> None:
        """Connect to its control port."""
        self.user, self.folder, self.child = user, folder, child
        self._socket = socket.create_connection(("127.0.0.1", control), 5)
        self._bytes = b""
        self._events: list[dict[str, object]] = []

    def command(self, name: str, parameters: str = "") -> None:
        """Send a command; what it answers comes as an event with "response" in it."""
        body = json.dumps({"command": name, "params": parameters, "token": "t"}).encode()
        self._socket.sendall(b"%d:%s," % (len(body), body))

    def _receive(self, seconds: float) -> None:
        self._socket.settimeout(max(seconds, 0.01))
        try:
            data = self._socket.recv(65536)
        except TimeoutError:
            return
        assert data, f"baresip closed its control socket:\n{self.child.said()[-2000:]}"
        self._bytes += data
        while b":" in self._bytes:
            size, _, rest = self._bytes.partition(b":")
            if len(rest) <= int(size):
                return
            self._events.append(json.loads(rest[: int(size)]))
            self._bytes = rest[int(size) + 1 :]

    def wait_event(self, kind: str, *, seconds: float = 40.0) -> dict[str, object]:
        """Wait for the next event of a type, e.g. "REGISTER_OK" or "CALL_RTPESTAB"."""
        end = time.monotonic() + seconds
        while True:
            for i, event in enumerate(self._events):
                if event.get("type") == kind:
                    del self._events[: i + 1]
                    return event
            left = end - time.monotonic()
            if left <= 0:
                seen = [event.get("type") or event.get("data") for event in self._events]
                raise AssertionError(f"no {kind}; seen: {seen}\n{self.child.said()[-2000:]}")
            self._receive(left)

    def wait_response(self, *, seconds: float = 40.0) -> str:
        """Wait for the answer to the last command."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for i, event in enumerate(self._events):
                if "response" in event:
                    del self._events[i]
                    return str(event.get("data", ""))
            self._receive(end - time.monotonic())
        raise AssertionError("no answer to the command")

    def wait_registered(self, *, seconds: float = 40.0) -> None:
        """Wait until the registrar accepted it; asked, since the event may be long gone."""
        end = time.monotonic() + seconds
        while True:
            self.command("reginfo")
            if "OK" in (text := self.wait_response()):
                return
            if time.monotonic() > end:
                raise AssertionError(f"not registered: {text}\n{self.child.said()[-2000:]}")
            time.sleep(0.1)

    def close(self) -> None:
        """Let go of the control socket."""
        self._socket.close()


@contextmanager
def running(
    folder: Path,
    user: str,
    proxy: Kamailio | Switch,
    *,
    encryption: str,
    nat: str = "",
    interface: str = "127.0.0.1",
    codecs: str = "",
    mux: str = "yes",
    video: bool = False,
) -> Iterator[Baresip]:
    """Start a phone registered at `proxy` over TLS.

    Args:
        folder: Where its files go; what it hears is recorded there.
        user: One of `PASSWORDS`.
        proxy: Its registrar.
        encryption: baresip's mediaenc: "dtls_srtp", "srtp", "srtp-mand", or "" for none.
        nat: baresip's medianat: "ice" or "".
        interface: Address or name of the interface for its media. For ICE it must not be
            loopback: baresip offers no 127/8 candidates.
        codecs: Its audio codecs, e.g. "opus/48000/2"; "" for all it has.
        mux: "yes" or "no": it multiplexes RTP and RTCP; left alone, it does not.
        video: It has a camera, and VP8.
    """
    program = need("baresip", "baresip-core")
    control = free_port()
    modules = [f"module {name}.so" for name in _MODULES]
    modules += ["module_tmp uuid.so", "module_tmp account.so"]
    modules += [f"module_app {name}.so" for name in _APP_MODULES]
    (folder / "config").write_text(
        _CONFIG.format(
            authority=proxy.certificates.authority,
            user=user,
            interface=interface,
            mux=mux,
            modules="\n".join(modules) + _VIDEO * video,
            control=control,
        )
    )
    options = f";auth_pass={PASSWORDS[user]};answermode=auto;regint=120"
    options += f';outbound="sip:127.0.0.1:{proxy.tls};transport=tls"'
    options += f";mediaenc={encryption}" if encryption else ""
    options += f";medianat={nat}" if nat else ""
    options += f";audio_codecs={codecs}" if codecs else ""
    (folder / "accounts").write_text(f"<sip:{user}@{proxy.domain};transport=tls>{options}\n")
    (folder / "contacts").write_text("")
    child = Child([program, "-f", str(folder), "-v"], log=folder / "baresip.log")
    try:
        child.wait_port(control)
        phone = Baresip(user, folder, child, control)
        try:
            yield phone
        finally:
            phone.close()
    finally:
        child.stop()


@contextmanager
def several(folder: Path, proxy: Kamailio | Switch) -> Iterator[Callable[..., Baresip]]:
    """Start phones as they are asked for, stop all of them at the end."""
    with ExitStack() as phones:

        def start(user: str, **options: str | bool) -> Baresip:
            home = folder / f"baresip-{user}"
            home.mkdir()
            return phones.enter_context(running(home, user, proxy, **options))

        yield start
