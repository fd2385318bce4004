"""PulseAudio as sound devices without hardware: sinks nobody hears, whose monitors can be read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.interop.children import Child, need


@contextmanager
def running(folder: Path, *modules: str) -> Iterator[dict[str, str]]:
    """Start a server of our own with these modules; yield the environment its clients need.

    ALSA's default device leads there, too.
    """
    program = need("pulseaudio", "pulseaudio")
    socket = folder / "native"
    (folder / "asoundrc").write_text("pcm.!default pulse\nctl.!default pulse\n")
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
