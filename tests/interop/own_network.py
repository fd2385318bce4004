"""Tests in a network namespace of their own: loopback is all there is, nothing can leave.

For peers that offer no loopback candidates, or whose sockets take from every interface.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from securecall.testing.daemons import XmppOptions, start_prosody
from tests.interop import xmpp_servers
from tests.interop.authority import DOMAIN, Certificates
from tests.interop.children import need
from tests.paths import PROJECT

XMPP = 5222  # the port of those who cannot be told another one
_TRUSTED = "/etc/ssl/certs/ca-certificates.crt"
ADDRESS = "192.0.2.77"  # of TEST-NET-1: it exists in these namespaces only


def run(
    tests: str | None, folder: Path, *, seconds: float, mounts: bool = False, only: str = ""
) -> str:
    """Run a file of tests by a pytest inside; skip where nobody may make a namespace.

    Returns what it printed.

    Args:
        tests: The `__file__` of the module.
        folder: For its temporary files.
        seconds: A generous guard against hanging.
        only: Those whose names hold this, as pytest's -k has it; "" for all.
        mounts: The tests may `lay_over` files of this machine, which nobody else sees.
    """
    unshare, ip = need("unshare", "util-linux"), need("ip", "iproute2")
    alone = [unshare, "--net"] if os.geteuid() == 0 else [unshare, "--map-root-user", "--net"]
    alone += ["--mount"] if mounts else []
    if subprocess.run([*alone, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine lets nobody make a network namespace")
    ready = f'{ip} link set lo up && {ip} address add {ADDRESS}/32 dev lo && exec "$@"'
    again = [sys.executable, "-m", "pytest", "-q", "-s", "-p", "no:cacheprovider", "--no-skip"]
    again += [f"--basetemp={folder / 'inside'}", str(tests)]
    again += ["-k", only] if only else []
    done = subprocess.run(
        [*alone, "sh", "-c", ready, "sh", *again],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    return done.stdout


@contextmanager
def default_route() -> Iterator[None]:
    """Inside: have a default route, which leads nowhere, for peers that look no further.

    Not for all tests: where one is, questions to the name server wait for answers.
    """
    route = ["route", "add", "default", "dev", "lo", "src", ADDRESS]
    subprocess.run([need("ip", "iproute2"), *route], check=True)
    try:
        yield
    finally:
        subprocess.run([need("ip", "iproute2"), "route", "del", "default"], check=True)


@contextmanager
def network_card() -> Iterator[None]:
    """Inside: have `ADDRESS` on a network card of its own, whose cable ends in this namespace.

    Browsers answer for their mDNS names on such cards only, and take the default route's first.
    """
    ip = need("ip", "iproute2")

    def run(*words: str) -> None:
        subprocess.run([ip, *words], check=True)

    run("address", "del", f"{ADDRESS}/32", "dev", "lo")
    run("link", "add", "card", "type", "veth", "peer", "name", "end")
    try:
        run("address", "add", f"{ADDRESS}/24", "dev", "card")
        run("link", "set", "end", "up")
        run("link", "set", "card", "up")
        run("route", "add", "default", "dev", "card")
        yield
    finally:
        run("link", "del", "card")
        run("address", "add", f"{ADDRESS}/32", "dev", "lo")


def lay_over(path: str, text: str, folder: Path) -> None:
    """Inside, where there may be mounts: have another text in a file until the namespace ends."""
    kept = folder / Path(path).name
    kept.write_text(text)
    kept.chmod(0o644)
    subprocess.run([need("mount", "mount"), "--bind", kept, path], check=True)


@contextmanager
def xmpp_home(folder: Path, certificates: Certificates) -> Iterator[xmpp_servers.XmppServer]:
    """Inside, where there may be mounts: a Prosody that clients find by themselves, and trust."""
    names = f"127.0.0.1 localhost {DOMAIN} conference.{DOMAIN} upload.{DOMAIN}\n"
    lay_over("/etc/hosts", names, folder)
    lay_over(_TRUSTED, certificates.authority.read_text(), folder)
    options = XmppOptions(scram="both", ports={"xmpp": XMPP}, web_host=DOMAIN, websocket=True)
    with xmpp_servers.running(start_prosody, folder / "prosody", certificates, options) as server:
        yield server
