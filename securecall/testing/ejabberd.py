"""ejabberd as a child process: an XMPP server of another make, on loopback."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

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
_PACKAGE: Final = "ejabberd"
_REGISTERED: Final = "everyone is registered"
_AUTHENTICATION: Final = {
    "SHA-256": {"auth_password_format": "scram", "auth_scram_hash": "sha256"},
    "SHA-1": {"auth_password_format": "scram", "auth_scram_hash": "sha"},
    "both": {"auth_password_format": "plain"},
}


async def start_ejabberd(site: Site, options: XmppOptions = _ORDINARY) -> Daemon:
    """Start ejabberd; its ports are "xmpp" (STARTTLS), "xmpps" (direct TLS) and "https" (files).

    Rooms are at `conference.` and files at `upload.` before the domain. Passwords never go over
    the wire: PLAIN is not offered. It is no node of an Erlang network, so it listens nowhere else,
    starts no `epmd`, and any number of it run side by side.

    Raises:
        LocalError: it is not installed, or does not start.
    """
    ports = options.listening()
    return await run_ejabberd(site, _configuration(site, options, ports), ports)


async def run_ejabberd(site: Site, configuration: str, ports: Mapping[str, int]) -> Daemon:
    """Start ejabberd as it is configured, with the people of a site.

    Args:
        site: The certificate and its key are put into its folder, as chain.pem and key.pem.
        configuration: YAML.
        ports: As it is configured; "xmpp" is for STARTTLS.

    Raises:
        LocalError: it is not installed, or does not start.
    """
    control = program("ejabberdctl", _PACKAGE)
    erlang = program("erl", _PACKAGE)
    folder = site.folder
    folder.mkdir(parents=True, exist_ok=True)
    _ = copied(site.certificate, folder)
    write_private(folder / "ejabberd.yml", configuration)
    write_private(folder / "people.erl", _people(site))
    # Not by ejabberdctl: it makes a node of it, wants its own user, and leaves epmd behind.
    command = [erlang, "-noinput", "-mnesia", "dir", json.dumps(str(folder / "data"))]
    command += ["-s", "ejabberd", "-eval", _EVALUATE]
    environment = {
        "HOME": str(folder),
        **await asyncio.to_thread(_libraries, Path(control)),
        "ERL_CRASH_DUMP_SECONDS": "0",
        "EJABBERD_CONFIG_PATH": str(folder / "ejabberd.yml"),
        "EJABBERD_LOG_PATH": str(folder / "logs" / "ejabberd.log"),
    }

    async def ready() -> bool:
        said = (folder / "ejabberd.log").read_text(encoding="utf-8", errors="replace")
        return _REGISTERED in said and await greets(ports["xmpp"], site.domain)

    return await Daemon.start(
        "ejabberd",
        Launch(
            command=command,
            folder=folder,
            ports=ports,
            user=await given_to("ejabberd", folder),
            environment=environment,
            ready=ready,
        ),
    )


def _libraries(control: Path) -> dict[str, str]:
    """Where its Erlang code is, if that is where Erlang does not look; its start script says."""
    found = re.search(r"^ERL_LIBS='([^']+)'$", control.read_text(errors="replace"), re.MULTILINE)
    return {"ERL_LIBS": found[1]} if found else {}


def _people(site: Site) -> str:
    """Erlang expressions that register everyone, or set the password of who is registered."""
    people = (
        f'    {{<<"{name}"/utf8>>, <<"{escaped(password)}"/utf8>>}}'
        for name, password in site.users.items()
    )
    return _PEOPLE.format(domain=site.domain, people=",\n".join(people), registered=_REGISTERED)


_EVALUATE: Final = (
    'case file:eval("people.erl") of ok -> ok; Why -> io:format("~p~n", [Why]), halt(1) end.'
)
_PEOPLE: Final = """%% coding: utf-8
lists:foreach(fun({{Name, Password}}) ->
    case ejabberd_auth:try_register(Name, <<"{domain}">>, Password) of
        ok -> ok;
        {{error, exists}} -> ok = ejabberd_auth:set_password(Name, <<"{domain}">>, Password)
    end
end, [
{people}
]).
io:format("{registered}~n").
"""


def _configuration(site: Site, options: XmppOptions, ports: dict[str, int]) -> str:
    """Its configuration, which is YAML: JSON is, too, and quotes everything safely."""
    return json.dumps(
        {
            "hosts": [site.domain],
            "loglevel": "info",
            "log_rotate_count": 0,
            "certfiles": [str(site.folder / name) for name in ("chain.pem", "key.pem")],
            "auth_method": "internal",
            **_AUTHENTICATION[options.scram],
            "disable_sasl_mechanisms": ["PLAIN", "DIGEST-MD5", "X-OAUTH2"],
            "default_db": "mnesia",
            "new_sql_schema": False,
            "sql_type": "sqlite",
            "sql_database": str(site.folder / "archive.sqlite"),
            "listen": _listeners(options, ports),
            "shaper": {"client": options.bytes_per_second or 1_000_000},
            "shaper_rules": {"max_user_sessions": 50, "max_user_offline_messages": 5000},
            "access_rules": {"local": {"allow": "all"}},
            "modules": _modules(site, options, ports),
        },
        indent=1,
    )


def _listeners(options: XmppOptions, ports: dict[str, int]) -> list[dict[str, object]]:
    tls = ["no_sslv3", "no_tlsv1", "no_tlsv1_1", "cipher_server_preference", "no_compression"]
    common = {"ip": "127.0.0.1", "protocol_options": tls}
    client = {**common, "module": "ejabberd_c2s", "max_stanza_size": 262144}
    if options.bytes_per_second:
        client["shaper"] = "client"
    files = {"/upload": "mod_http_upload"}
    return [
        {**client, "port": ports["xmpp"], "starttls": True, "starttls_required": True},
        {**client, "port": ports["xmpps"], "tls": True},
        {
            **common,
            "module": "ejabberd_http",
            "port": ports["https"],
            "tls": True,
            "request_handlers": files,
        },
    ]


def _modules(site: Site, options: XmppOptions, ports: dict[str, int]) -> dict[str, object]:
    services = []
    if options.turn:
        turn: dict[str, object] = {"host": options.turn.host, "port": options.turn.port}
        services = [
            {**turn, "type": "turn", "transport": transport, "restricted": True}
            for transport in ("udp", "tcp")
        ]
    discovery: dict[str, object] = {"offer_local_services": False, "services": services}
    if options.turn:
        discovery["secret"] = escaped(options.turn.secret)
    room = {"mam": True, "allow_subscription": False, "public": False, "persistent": False}
    return {
        **{name: {} for name in _PLAIN_MODULES.split()},
        "mod_http_upload": {
            "put_url": f"https://{options.web_host}:{ports['https']}/upload",
            "docroot": str(site.folder / "upload"),
            "max_size": options.upload_bytes,
        },
        # Mnesia's file was full, at 2 GB, after 3,000 messages; SQLite's takes 30 MB for them.
        "mod_mam": {"default": "always", "assume_mam_usage": True, "db_type": "sql"},
        "mod_muc": {"access_create": "all", "default_room_options": room},
        "mod_offline": {"access_max_user_messages": "max_user_offline_messages"},
        "mod_pubsub": {"plugins": ["flat", "pep"], "max_items_node": 1000},
        "mod_roster": {"versioning": True},
        "mod_stream_mgmt": {
            "resume_timeout": options.resumption_seconds,
            "max_resume_timeout": options.resumption_seconds,
            "resend_on_timeout": "if_offline",
        },
        "mod_stun_disco": discovery,
        "mod_vcard": {"search": False},
    }


_PLAIN_MODULES: Final = (
    "mod_adhoc mod_avatar mod_blocking mod_caps mod_carboncopy mod_client_state mod_disco mod_last "
    "mod_ping mod_privacy mod_private mod_vcard_xupdate mod_version"
)
