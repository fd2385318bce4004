"""PulseAudio as sound devices without hardware: sinks nobody hears, whose monitors can be read."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.interop.children import Child, need


@contextmanager
def running(
    folder: Path,
    *modules: str,
    devices: Sequence[str] = (),
    remote: Mapping[str, str] | None = None,
) -> Iterator[dict[str, str]]:
    """Start a server of our own; yield the environment its clients need.

    Args:
        folder: Where its files go.
        modules: What it loads.
        devices: ALSA devices: each plays on a sink of that name, and captures what is played there.
            The first is the default.
        remote: Names of other servers' devices, which go away with their server, and where it is;
            what is taken from a server that goes on, that server moves to another of its devices.
    """
    program = need("pulseaudio", "pulseaudio")
    short = tempfile.TemporaryDirectory(prefix="pulse-")  # a socket's path has 107 bytes at most
    socket = Path(short.name, "native")
    lines = [f"pcm.{name} {_ends(name)}\n" for name in devices]
    lines += [f"pcm.{name} {_ends(name, server)}\n" for name, server in (remote or {}).items()]
    lines += [f"pcm.!default {_ends(devices[0]) if devices else 'pulse'}\n", "ctl.!default pulse\n"]
    (folder / "asoundrc").write_text("".join(lines))
    modules += tuple(f"module-null-sink sink_name={name}" for name in devices)
    environment = {
        "HOME": str(folder),
        "XDG_RUNTIME_DIR": str(folder),
        "PULSE_RUNTIME_PATH": str(folder),
        "PULSE_STATE_PATH": str(folder),
        "PULSE_SERVER": f"unix:{socket}",
        "ALSA_CONFIG_PATH": f"/usr/share/alsa/alsa.conf:{folder}/asoundrc",
        "DBUS_SESSION_BUS_ADDRESS": "disabled:",
    }
    command = [program, "-n", "--system=false", "--daemonize=no", "--exit-idle-time=-1"]
    command += ["--use-pid-file=no", "--disallow-exit=yes"]
    for module in modules:
        command += ["-L", module]
    command += ["-L", f"module-native-protocol-unix auth-anonymous=1 socket={socket}"]
    child = Child(command, log=folder / "pulseaudio.log", env=environment)
    try:
        child.wait_path(socket)
        yield environment
    finally:
        child.stop()
        short.cleanup()


def _ends(name: str, server: str = "") -> str:
    """ALSA's words for a sink and its monitor as one device."""
    where = f'server "{server}";' if server else ""
    playback, capture = (
        f"{{ type pulse; {where} device {end} }}" for end in (name, f"{name}.monitor")
    )
    return f"{{ type asym; playback.pcm {playback}; capture.pcm {capture} }}"
