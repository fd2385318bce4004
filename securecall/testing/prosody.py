"""Prosody as a child process: an XMPP server with all that chat needs, on loopback."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from securecall.errors import LocalError
from securecall.testing.daemon import (
    Daemon,
    Launch,
    Site,
    copied,
    escaped,
    given_to,
    program,
    write_private,
)
from securecall.testing.xmpp_server import XmppOptions, greets

_ORDINARY: Final = XmppOptions()
_HASHED: Final = 'authentication = "internal_hashed"\npassword_hash = '
_AUTHENTICATION: Final = {
    "SHA-256": _HASHED + '"SHA-256"',
    "SHA-1": _HASHED + '"SHA-1"',
    "both": 'authentication = "internal_plain"',
}


async def start_prosody(site: Site, options: XmppOptions = _ORDINARY) -> Daemon:
    """Start Prosody; its ports are "xmpp" (STARTTLS), "xmpps" (direct TLS) and "https" (files).

    Rooms are at `conference.` and files at `upload.` before the domain. Passwords never go over
    the wire: PLAIN is not offered.

    Raises:
        LocalError: it is not installed, or does not start.
    """
    if options.archive_database:
        _require_database()
    ports = options.listening()
    modules, settings = _extras(options)
    configuration = _CONFIGURATION.format(
        domain=site.domain,
        folder=site.folder,
        **ports,
        authentication=_AUTHENTICATION[options.scram],
        resumption=options.resumption_seconds,
        upload=options.upload_bytes,
        web_host=options.web_host,
        more=" ".join(modules),
        settings="\n".join(settings),
    )
    return await run_prosody(site, configuration, ports)


def _require_database() -> None:
    if not any(Path("/usr/lib").glob("*/lua/5.*/dbd/sqlite3.so")):
        raise LocalError(
            "SQLite for Prosody is not installed here. On Debian: apt install lua-dbi-sqlite3"
        )


async def run_prosody(site: Site, configuration: str, ports: Mapping[str, int]) -> Daemon:
    """Start Prosody as it is configured, with the people of a site.

    Args:
        site: The certificate and its key are put into its folder, as chain.pem and key.pem.
        configuration: Its data belongs into `data` in the folder, its log on the console.
        ports: As it is configured; "xmpp" is for STARTTLS.

    Raises:
        LocalError: it is not installed, or does not start.
    """
    path = program("prosody", "prosody prosody-modules lua-unbound")
    folder = site.folder
    accounts = folder / "data" / _encoded(site.domain) / "accounts"
    accounts.mkdir(parents=True, exist_ok=True)
    for name, password in site.users.items():
        # it hashes them when they are used first: quicker than running its command for each
        text = f'return {{ ["password"] = "{escaped(password)}"; }};\n'
        write_private(accounts / f"{_encoded(name)}.dat", text)
    _ = copied(site.certificate, folder)
    # it is root only where its own user could not reach its files
    write_private(folder / "prosody.cfg.lua", f"run_as_root = true\n{configuration}")
    return await Daemon.start(
        "prosody",
        Launch(
            command=[path, "-F", "--config", folder / "prosody.cfg.lua"],
            folder=folder,
            ports=ports,
            user=await given_to("prosody", folder),
            ready=lambda: greets(ports["xmpp"], site.domain),
        ),
    )


def _encoded(name: str) -> str:
    """A file name as Prosody makes it of a node or a domain."""
    return "".join(c if c.isalnum() and c.isascii() else f"%{ord(c):02x}" for c in name)


def _extras(options: XmppOptions) -> tuple[list[str], list[str]]:
    """Modules, and what is said of them."""
    modules, lines = [], []
    if options.turn:
        turn = options.turn
        modules.append('"turn_external",')
        lines += [
            f'turn_external_host = "{turn.host}"',
            f"turn_external_port = {turn.port}",
            f'turn_external_secret = "{escaped(turn.secret)}"',
            "turn_external_tcp = true",
            "turn_external_ttl = 3600",
        ]
    if options.websocket:
        modules.append('"websocket",')
    if options.archive_database:
        lines += [
            'storage = { archive = "sql"; muc_log = "sql" }',
            'sql = { driver = "SQLite3"; database = "archive.sqlite" }',  # in data_path
        ]
    else:
        lines.append('storage = "internal"')
    if options.bytes_per_second:
        rate = f'rate = "{options.bytes_per_second}b/s"; burst = "1s"'
        modules.append('"limits",')
        lines.append(f"limits = {{ c2s = {{ {rate} }} }}")
    return modules, lines


# Two things its documentation does not say: `prosody --version` starts a server, and HTTPS is
# refused for a name (SNI) that is none of its hosts, so an address of a file has the number.
_CONFIGURATION: Final = """
pidfile = "{folder}/prosody.pid"
data_path = "{folder}/data"
log = {{ {{ levels = {{ min = "info" }}, to = "console" }} }}
interfaces = {{ "127.0.0.1" }}
c2s_ports = {{ {xmpp} }}
c2s_direct_tls_ports = {{ {xmpps} }}
http_ports = {{ }}
https_ports = {{ {https} }}
https_interfaces = {{ "127.0.0.1" }}
http_default_host = "{domain}"
http_external_url = "https://{web_host}:{https}/"
local tls = {{
  certificate = "{folder}/chain.pem", key = "{folder}/key.pem", protocol = "tlsv1_2+",
}}
ssl = tls
c2s_direct_tls_ssl = tls
https_ssl = tls
c2s_require_encryption = true
{authentication}
disable_sasl_mechanisms = {{ "PLAIN", "OAUTHBEARER" }}
allow_registration = false
smacks_hibernation_time = {resumption}
archive_expires_after = "never"
default_archive_policy = true
modules_enabled = {{
  "roster", "saslauth", "tls", "disco", "ping", "presence", "message", "iq", "time", "version",
  "carbons", "pep", "bookmarks", "vcard4", "vcard_legacy", "blocklist", "private", "mam", "smacks",
  "csi_simple", "offline", "http", "posix", {more}
}}
modules_disabled = {{ "s2s" }}
{settings}

VirtualHost "{domain}"
  disco_items = {{ {{ "conference.{domain}" }}, {{ "upload.{domain}" }} }}

Component "conference.{domain}" "muc"
  modules_enabled = {{ "muc_mam" }}
  restrict_room_creation = false
  muc_room_default_public = false
  muc_log_by_default = true

Component "upload.{domain}" "http_file_share"
  http_host = "{domain}"
  http_file_share_size_limit = {upload}
  http_file_share_daily_quota = {upload} * 100
  http_file_share_expires_after = 86400
"""
