"""linphone-daemon 5.1 as a headless phone, driven through its pipe, with the sound of PulseAudio.

Unlike baresip it verifies the server's certificate and the name in it, though not an address: it
is told `localhost`. Its media sockets take from every interface, so it is run only where there is
none but loopback: in a network namespace of its own (`own_network.py`).
"""

from __future__ import annotations

import socket
import tempfile
import time
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import securecall as sc
from tests.interop import pulse
from tests.interop.children import Child, need
from tests.interop.kamailio import PASSWORDS, Kamailio
from tests.interop.sound import tone_in, write_wav

HERTZ = 440.0  # what it plays
_RATE = 48_000
_PLAYS_SECONDS = 30

_CONFIG = """
[sip]
sip_port=0
sip_tcp_port=0
sip_tls_port=-1
use_ipv6=0
guess_hostname=0
contact=sip:{user}@127.0.0.1
default_proxy=0
register_only_when_network_is_up=0
auto_net_state_mon=0
media_encryption={encryption}
media_encryption_mandatory=1
root_ca={authority}
verify_server_certs=1
verify_server_cn=1
zrtp_secrets_cache={folder}/zrtp.db
[net]
mtu=1300
dns_srv_enabled=0
{nat}
[rtp]
audio_rtp_port=28000-28099
rtcp_mux={mux}
bundle={video}
[sound]
echocancellation=0
playback_dev_id=PulseAudio Unknown: ear
ringer_dev_id=PulseAudio Unknown: ear
capture_dev_id=PulseAudio Unknown: mouth
[video]
enabled={video}
capture={video}
display=0
automatically_initiate={video}
automatically_accept={video}
device=StaticImage: Static picture
size=qvga
[lime]
enabled=0
[misc]
log_collection=0
max_calls=1
# its tones at the end of a call would hold the speaker when the next one begins
tone_indications=0
[nat_policy_0]
ref=~ice
protocols=ice
[proxy_0]
reg_proxy=<sip:{host}:{port};transport=tls>
reg_route=<sip:{host}:{port};transport=tls>
reg_identity=sip:{user}@{domain}
reg_expires=300
reg_sendregister=1
publish=0
[auth_info_0]
username={user}
passwd={password}
realm={domain}
domain={domain}
"""
_DEVICES = (
    "module-null-sink sink_name=ear sink_properties=device.description=ear",
    "module-null-source source_name=mouth description=mouth",  # silence
)


class Linphone:
    """A running phone.

    Attributes:
        log: What its library says, SIP messages included.
    """

    def __init__(self, user: str, folder: Path, pipe: Path, environment: dict[str, str]) -> None:
        """Connect to its pipe."""
        self.user, self.folder, self.log = user, folder, folder / "linphone.log"
        self._environment = environment
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(40)
        self._socket.connect(str(pipe))
        self._tone = folder / "tone.wav"
        pcm = sc.ToneSource(HERTZ).read(_RATE * _PLAYS_SECONDS, _RATE)
        write_wav(self._tone, pcm, rate=_RATE, channels=1)

    def command(self, text: str) -> dict[str, str]:
        """Perform a command and return the fields of its answer, which comes in one piece."""
        self._socket.sendall(f"{text}\n".encode())
        answer = self._socket.recv(65536).decode()
        lines = (line.partition(": ") for line in answer.splitlines() if line)
        fields = {name: value for name, _, value in lines}
        assert fields.get("Status") == "Ok", f"{text}: {answer!r}\n{self.said()[-2000:]}"
        return fields

    def said(self) -> str:
        """Everything its library logged so far."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def wait_said(self, text: str, *, seconds: float = 40.0) -> None:
        """Wait until its library logged that; it tells of a call before it writes."""
        end = time.monotonic() + seconds
        while text not in self.said():
            assert time.monotonic() < end, f"never said {text}\n{self.said()[-2000:]}"
            time.sleep(0.05)

    def wait_registered(self, *, seconds: float = 40.0) -> None:
        """Wait until the registrar accepted it."""
        end = time.monotonic() + seconds
        while "RegistrationOk" not in (state := self.registration()):
            assert time.monotonic() < end, f"{state}\n{self.said()[-2000:]}"
            time.sleep(0.1)

    def registration(self) -> str:
        """How it stands with the registrar, e.g. "LinphoneRegistrationOk"."""
        return self.command("register-status ALL").get("State", "")

    def wait_call(self, state: str, *, seconds: float = 40.0) -> str:
        """Wait for a call to become e.g. "StreamsRunning" or "Released"; return its number."""
        end = time.monotonic() + seconds
        seen = []
        while True:
            event = self.command("pop-event")
            if (kind := event.get("Event")) == f"LinphoneCall{state}":
                return event["Id"]
            assert time.monotonic() < end, f"no {state}; {seen}\n{self.said()[-2000:]}"
            seen += [kind] if kind else []
            if kind is None:
                time.sleep(0.05)

    def play(self) -> None:
        """Send its tone into the call that runs; a hold ends it."""
        self.command(f"incall-player-start {self._tone}")

    @contextmanager
    def listening(self, path: Path) -> Iterator[None]:
        """Record its speaker meanwhile, as bare samples; `heard` reads them."""
        command = [need("parecord", "pulseaudio-utils"), "--device=ear.monitor", str(path)]
        command += ["--raw", f"--rate={_RATE}", "--channels=1", "--format=s16le"]
        command += ["--latency-msec=20"]
        recorder = Child(command, log=path.with_suffix(".log"), env=self._environment)
        try:
            recorder.wait_path(path)
            yield
        finally:
            recorder.stop()

    def close(self) -> None:
        """Let go of its pipe."""
        self._socket.close()


def heard(path: Path, hertz: float) -> float:
    """For how long a recording of `listening` has that tone, so far."""
    data = path.read_bytes()
    return tone_in(array("h", data[: len(data) // 2 * 2]), _RATE, hertz)


def wait_heard(path: Path, hertz: float, *, seconds: float = 1.0) -> None:
    """Wait until a recording of `listening` has that tone for so long in all."""
    end = time.monotonic() + 20
    while (found := heard(path, hertz)) <= seconds:
        assert time.monotonic() < end, f"{found} s of the tone"
        time.sleep(0.2)


@contextmanager
def running(
    folder: Path,
    user: str,
    proxy: Kamailio,
    *,
    encryption: str = "dtls",
    mux: bool = True,
    ice: bool = False,
    video: bool = False,
    authority: Path | None = None,
    host: str = "localhost",
) -> Iterator[Linphone]:
    """Start a phone that registers at `proxy` over TLS.

    Args:
        folder: Where its files go.
        user: One of `PASSWORDS`.
        proxy: Its registrar.
        encryption: The only kind it has: "dtls", "srtp" (keys in the signalling) or "zrtp".
        mux: It multiplexes RTP and RTCP; left alone, it does not.
        ice: It speaks ICE, from the address that has the default route.
        video: It shows a still picture of its own, bundled with the sound; it sees nothing.
        authority: Whom it trusts; by default whoever vouches for the proxy.
        host: By which name it knows the proxy.
    """
    program = need("linphone-daemon", "linphone-cli")
    config = folder / "linphonerc"
    config.write_text(
        _CONFIG.format(
            user=user,
            password=PASSWORDS[user],
            domain=proxy.domain,
            host=host,
            port=proxy.tls,
            encryption=encryption,
            mux=int(mux),
            video=int(video),
            nat="nat_policy_ref=~ice" if ice else "bind_address=127.0.0.1\nfirewall_policy=0",
            authority=authority or proxy.certificates.authority,
            folder=folder,
        )
    )
    (folder / ".local/share/linphone").mkdir(parents=True)  # without it, it never registers
    with (
        pulse.running(folder, *_DEVICES) as environment,
        tempfile.TemporaryDirectory(prefix="linphone-") as short,  # as there
    ):
        pipe = Path(short, "pipe")
        # It puts its pipe under /tmp, whatever the name.
        command = [program, "--config", str(config), "--log", str(folder / "linphone.log")]
        command += ["--disable-stats-events", "--pipe", f"..{pipe}", *(["-C"] if video else [])]
        child = Child(command, log=folder / "linphone.out", env=environment)
        try:
            child.wait_path(pipe)
            phone = Linphone(user, folder, pipe, environment)
            try:
                yield phone
            finally:
                phone.close()
        finally:
            child.stop()
