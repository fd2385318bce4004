"""Kamailio as registrar and record-routing proxy: TLS and WSS for us, UDP and TCP for others."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from securecall.secret import Secret
from securecall.testing.kamailio import (
    KAMAILIO_HEAD,
    KAMAILIO_MODULES,
    KAMAILIO_TLS,
    kamailio_routes,
    load_modules,
)
from tests.interop.authority import DOMAIN, Certificates
from tests.interop.children import Child, free_port, need

PASSWORDS = {name: f"pw-{name}" for name in ("alice", "bob", "carol")}

_PLAIN = """tcp_accept_no_cl=yes
listen=udp:127.0.0.1:{plain}
listen=tcp:127.0.0.1:{plain}
"""
_WEBSOCKET = """
event_route[xhttp:request] {
    if ($hu == "/sip" && $hdr(Upgrade) =~ "websocket") { if (ws_handle_handshake()) { exit; } }
    xhttp_reply("404", "Not Found", "", "");
}
"""


@dataclass(frozen=True)
class Kamailio:
    """A running proxy, on 127.0.0.1."""

    tls: int
    plain: int  # UDP and TCP
    certificates: Certificates
    child: Child
    domain: str = DOMAIN


@contextmanager
def running(
    folder: Path, certificates: Certificates, *, digest: str = "MD5", also: str = ""
) -> Iterator[Kamailio]:
    """Start a proxy; stop it at the end.

    Args:
        folder: For its files.
        certificates: What it shows.
        digest: Its algorithm, "MD5" or "SHA-256".
        also: One more address to listen at for TLS, by the same port.
    """
    need_module("websocket", "kamailio-websocket-modules")
    tls, plain = free_port(), free_port()
    users = {name: Secret(password) for name, password in PASSWORDS.items()}
    routes = kamailio_routes(DOMAIN, users, digest=digest)
    more = f"listen=tls:{also}:{tls}\n" if also else ""
    config = more + _PLAIN.format(plain=plain) + routes + _WEBSOCKET
    modules = f"{KAMAILIO_MODULES} xhttp websocket"
    with started(folder, certificates, modules, config, port=tls) as child:
        yield Kamailio(tls, plain, certificates, child)


def need_module(name: str, package: str) -> None:
    """Skip the test, naming the package, where a module of Kamailio is not installed."""
    places = (f"lib*/{between}kamailio/modules/{name}.so" for between in ("", "*/"))
    if not any(path for place in places for path in Path("/usr").glob(place)):
        pytest.skip(f"{name}.so is not installed: apt install {package}")


@contextmanager
def started(
    folder: Path, certificates: Certificates, modules: str, config: str, *, port: int
) -> Iterator[Child]:
    """Start Kamailio, wait for its TLS port; stop it at the end.

    Args:
        folder: For its files.
        certificates: What it shows.
        modules: Names with spaces between them.
        config: What follows the usual head of its configuration.
        port: Of its TLS.
    """
    program = need("kamailio", "kamailio kamailio-tls-modules")
    path = folder / "kamailio.cfg"
    head = KAMAILIO_HEAD.format(
        domain=DOMAIN, port=port, folder=folder, modules=load_modules(modules)
    )
    path.write_text(head + config)
    (folder / "tls.cfg").write_text(
        KAMAILIO_TLS.format(
            chain=certificates.chain, key=certificates.key, authorities=certificates.authority
        )
    )
    command = [program, "-f", str(path), "-Y", str(folder)]
    checked = subprocess.run([*command, "-c"], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    # -DD: in the foreground, so that the child is the daemon; -E: log to standard error.
    command += ["-DD", "-E", "-P", str(folder / "kamailio.pid"), "-m", "64", "-M", "8"]
    child = Child(command, log=folder / "kamailio.log")
    try:
        child.wait_port(port)
        yield child
    finally:
        child.stop()
