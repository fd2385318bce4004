"""Other people's servers beside the lab server: Kamailio and Prosody as child processes.

Configured in a folder, listening on loopback alone, ended by their own process id.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from securecall.errors import LocalError
from securecall.secret import Secret
from securecall.transport.tls import PemPair

READY_SECONDS: Final = 15.0
STOP_SECONDS: Final = 5.0
_HOST: Final = "127.0.0.1"
_LAST_WORDS: Final = 400  # characters of the log shown when a daemon ends by itself


@dataclass(frozen=True, slots=True)
class Site:
    """What a daemon serves.

    Attributes:
        folder: For its configuration, log and data; its own.
        domain: Of its people's addresses.
        users: Name -> password.
        certificate: Proves the domain.
        authorities: PEM file of the authority that issued it.
    """

    folder: Path
    domain: str
    users: Mapping[str, Secret]
    certificate: PemPair
    authorities: Path


class Daemon:
    """A running child process. Leave the block to end it.

    Attributes:
        name: For people.
        ports: What it listens on, by purpose.
    """

    def __init__(
        self, name: str, process: asyncio.subprocess.Process, ports: Mapping[str, int], log: Path
    ) -> None:
        """Use `start_kamailio` or `start_prosody`."""
        self.name = name
        self.ports = ports
        self._process = process
        self._log = log

    @classmethod
    async def start(
        cls,
        name: str,
        command: Sequence[str | Path],
        *,
        folder: Path,
        ports: Mapping[str, int],
        user: str | None = None,
    ) -> Self:
        """Start it and wait until it listens.

        Args:
            name: For people.
            command: Program and arguments; it stays in the foreground.
            folder: Its working folder, where its log goes.
            ports: All of them have to accept connections.
            user: Run as this user, None for ourselves.

        Raises:
            LocalError: it ended, or does not listen in time.
        """
        path = folder / f"{name}.log"
        with path.open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=folder,
                start_new_session=True,  # Ctrl-C at the terminal is for us; we stop it
                user=user,
                group=user,
                extra_groups=() if user else None,
            )
        daemon = cls(name, process, ports, path)
        try:
            await daemon._wait_ready()
        except BaseException:
            await daemon.stop()
            raise
        return daemon

    async def __aenter__(self) -> Self:
        """It runs since it was made."""
        return self

    async def __aexit__(self, *error: object) -> None:
        """End it."""
        await self.stop()

    async def stop(self) -> None:
        """Ask it to end, wait, insist."""
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        try:
            async with asyncio.timeout(STOP_SECONDS):
                _ = await self._process.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            _ = await self._process.wait()
        # one that is ended while it starts may leave children; they are in the group it leads
        if os.name == "posix":
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    async def _wait_ready(self) -> None:
        try:
            async with asyncio.timeout(READY_SECONDS):
                for port in self.ports.values():
                    while not await _accepts(port):
                        self._require_alive()
                        await asyncio.sleep(0.05)
        except TimeoutError as e:
            raise LocalError(f"{self.name} does not listen: {self._last_words()}") from e
        self._require_alive()  # a daemon may accept and end right after

    def _require_alive(self) -> None:
        if self._process.returncode is not None:
            raise LocalError(f"{self.name} ended by itself: {self._last_words()}")

    def _last_words(self) -> str:
        text = self._log.read_text(encoding="utf-8", errors="replace").strip()
        return text[-_LAST_WORDS:] or "it said nothing"


async def start_kamailio(site: Site) -> Daemon:
    """Start Kamailio as registrar and record-routing proxy; its port is "sips".

    Raises:
        LocalError: it is not installed, or does not start.
    """
    program = _program("kamailio", "kamailio kamailio-tls-modules")
    port = _free_port()
    folder = site.folder
    folder.mkdir(parents=True, exist_ok=True)
    _write_private(
        folder / "tls.cfg",
        KAMAILIO_TLS.format(
            chain=site.certificate.certificate,
            key=site.certificate.key,
            authorities=site.authorities,
        ),
    )
    passwords = (
        f'    $sht(passwords=>{name}) = "{_escaped(password)}";'
        for name, password in site.users.items()
    )
    _write_private(
        folder / "kamailio.cfg",
        _KAMAILIO.format(
            domain=site.domain,
            port=port,
            folder=folder,
            modules="\n".join(f'loadmodule "{name}.so"' for name in _KAMAILIO_MODULES.split()),
            passwords="\n".join(passwords),
        ),
    )
    # -DD: in the foreground, so that the child is the daemon; -E: log to standard error
    command: list[str | Path] = [program, "-f", folder / "kamailio.cfg", "-Y", folder, "-DD", "-E"]
    command += ["-P", folder / "kamailio.pid", "-m", "64", "-M", "8"]
    return await Daemon.start("kamailio", command, folder=folder, ports={"sips": port})


async def start_prosody(site: Site) -> Daemon:
    """Start Prosody; its ports are "xmpp" (STARTTLS) and "xmpps" (direct TLS).

    Raises:
        LocalError: it is not installed, or does not start.
    """
    program = _program("prosody", "prosody")
    folder = site.folder
    ports = {"xmpp": _free_port(), "xmpps": _free_port()}
    accounts = folder / "data" / _encoded(site.domain) / "accounts"
    accounts.mkdir(parents=True, exist_ok=True)
    for name, password in site.users.items():
        text = f'return {{ ["password"] = "{_escaped(password)}"; }};\n'
        _write_private(accounts / f"{_encoded(name)}.dat", text)
    own = _copied(site.certificate, folder)
    _write_private(
        folder / "prosody.cfg.lua",
        _PROSODY.format(
            domain=site.domain,
            folder=folder,
            chain=own.certificate,
            key=own.key,
            xmpp=ports["xmpp"],
            xmpps=ports["xmpps"],
        ),
    )
    user = None
    if os.name == "posix" and os.geteuid() == 0:
        user = "prosody"  # it refuses to run as root; its package made this user
        await asyncio.to_thread(_give, folder, user)
    command: list[str | Path] = [program, "-F", "--config", folder / "prosody.cfg.lua"]
    return await Daemon.start("prosody", command, folder=folder, ports=ports, user=user)


async def _accepts(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(_HOST, port)
    except OSError:
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True


def _program(name: str, packages: str) -> str:
    # Debian keeps daemons where only root's PATH looks
    path = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    if path is None:
        raise LocalError(f"{name} is not installed here. On Debian: apt install {packages}")
    return path


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        return int(probe.getsockname()[1])


def _write_private(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    _ = path.write_text(text, encoding="utf-8")


def _copied(certificate: PemPair, folder: Path) -> PemPair:
    """Copies in the daemon's own folder, which another user may come to own."""
    own = PemPair(certificate=folder / "chain.pem", key=folder / "key.pem")
    _write_private(own.certificate, certificate.certificate.read_text(encoding="ascii"))
    if own.key is not None and certificate.key is not None:
        _write_private(own.key, certificate.key.read_text(encoding="ascii"))
    return own


def _give(folder: Path, user: str) -> None:
    """Make a folder another user's, and let that user come by."""
    for path in (folder, *folder.rglob("*")):
        shutil.chown(path, user, user)
    parent = folder.parent
    parent.chmod(parent.stat().st_mode | 0o111)


def _escaped(password: Secret) -> str:
    """A password inside double quotes.

    Raises:
        LocalError: it holds what cannot be written there.
    """
    text = password.reveal().decode()
    if not text.isprintable() or set(text) & set('"\\$'):
        raise LocalError('a password for this server cannot hold ", \\ or $')
    return text


def _encoded(name: str) -> str:
    """A file name as Prosody makes it of a node or a domain."""
    return "".join(c if c.isalnum() and c.isascii() else f"%{ord(c):02x}" for c in name)


_KAMAILIO_MODULES: Final = (
    "tls kex corex tm tmx sl rr pv maxfwd textops siputils sanity usrloc registrar auth htable "
    "nathelper"
)
KAMAILIO_TLS: Final = """
[server:default]
method = TLSv1.2+
verify_certificate = no
require_certificate = no
certificate = {chain}
private_key = {key}
[client:default]
method = TLSv1.2+
verify_certificate = yes
ca_list = {authorities}
"""
# of every configuration on loopback; what it serves, and to whom, follows
KAMAILIO_HEAD: Final = """#!KAMAILIO
debug=2
log_stderror=yes
fork=yes
children=1
tcp_children=2
enable_tls=yes
dns=no
rev_dns=no
auto_aliases=no
alias="{domain}"
listen=tls:127.0.0.1:{port}

{modules}
modparam("tls", "config", "{folder}/tls.cfg")
modparam("rr", "enable_full_lr", 1)
modparam("rr", "append_fromtag", 1)
modparam("tm", "fr_timer", 5000)
modparam("usrloc", "db_mode", 0)
modparam("registrar", "received_avp", "$avp(received)")
modparam("nathelper", "received_avp", "$avp(received)")
"""
_KAMAILIO: Final = (
    KAMAILIO_HEAD
    + """
modparam("auth", "qop", "auth")
modparam("auth", "algorithm", "SHA-256")
modparam("htable", "htable", "passwords=>size=4;")

event_route[htable:mod-init] {{
{passwords}
}}

request_route {{
    if (!mf_process_maxfwd_header("10")) {{ sl_send_reply("483", "Too Many Hops"); exit; }}
    if (!sanity_check("1511", "7")) {{ exit; }}
    # clients talk from ephemeral ports; answers and calls go back the same connection
    force_rport();
    if (is_method("REGISTER")) {{ fix_nated_register(); }}
    else if (is_method("INVITE|UPDATE")) {{ add_contact_alias(); }}
    if (is_method("OPTIONS") && uri == myself && $rU == $null) {{
        sl_send_reply("200", "OK"); exit;
    }}
    if (is_method("CANCEL")) {{ if (t_check_trans()) {{ t_relay(); }} exit; }}
    if (has_totag()) {{
        if (loose_route()) {{ handle_ruri_alias(); t_on_reply("BACK"); t_relay(); exit; }}
        if (is_method("ACK")) {{ if (t_check_trans()) {{ t_relay(); }} exit; }}
        sl_send_reply("404", "Not Here"); exit;
    }}
    t_check_trans();
    if (is_method("REGISTER") || from_uri == myself) {{ route(WHO); }}
    if (is_method("REGISTER")) {{ if (!save("location")) {{ sl_reply_error(); }} exit; }}
    if (uri != myself || from_uri != myself) {{ sl_send_reply("403", "Relay Denied"); exit; }}
    record_route();
    if (!lookup("location")) {{ sl_send_reply("480", "Temporarily Unavailable"); exit; }}
    t_on_reply("BACK");
    if (!t_relay()) {{ sl_reply_error(); }}
}}

route[WHO] {{
    $var(password) = $sht(passwords=>$au);
    if ($var(password) == $null) {{ $var(password) = "\\x01"; }}
    if (is_method("REGISTER")) {{
        if (!pv_www_authenticate("{domain}", "$var(password)", "0", "$rm")) {{
            www_challenge("{domain}", "1"); exit;
        }}
        if ($au != $tU) {{ sl_send_reply("403", "Not Your Address"); exit; }}
    }} else {{
        if (!pv_proxy_authenticate("{domain}", "$var(password)", "0")) {{
            proxy_challenge("{domain}", "1"); exit;
        }}
        if ($au != $fU) {{ sl_send_reply("403", "Not Your Address"); exit; }}
    }}
    consume_credentials();
}}

onreply_route[BACK] {{ add_contact_alias(); }}
"""
)
_PROSODY: Final = """
pidfile = "{folder}/prosody.pid"
data_path = "{folder}/data"
log = {{ {{ levels = {{ min = "info" }}, to = "console" }} }}
interfaces = {{ "127.0.0.1" }}
c2s_ports = {{ {xmpp} }}
c2s_direct_tls_ports = {{ {xmpps} }}
http_ports = {{ }}
https_ports = {{ }}
ssl = {{ certificate = "{chain}", key = "{key}" }}
c2s_direct_tls_ssl = {{ certificate = "{chain}", key = "{key}" }}
c2s_require_encryption = true
authentication = "internal_hashed"
password_hash = "SHA-256"
allow_registration = false
storage = "internal"
modules_enabled = {{
  "roster", "saslauth", "tls", "disco", "ping", "presence", "message", "iq", "time", "version",
  "carbons", "pep", "blocklist", "private", "mam", "smacks", "csi_simple", "offline", "posix",
}}
modules_disabled = {{ "s2s" }}

VirtualHost "{domain}"
"""
