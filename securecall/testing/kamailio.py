"""Kamailio as a child process: a SIP registrar and record-routing proxy on loopback."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from securecall.secret import Secret
from securecall.testing.daemon import (
    Daemon,
    Launch,
    Site,
    escaped,
    free_port,
    program,
    write_private,
)


async def start_kamailio(site: Site) -> Daemon:
    """Start Kamailio as registrar and record-routing proxy; its port is "sips".

    Raises:
        LocalError: it is not installed, or does not start.
    """
    path = program("kamailio", "kamailio kamailio-tls-modules")
    port = free_port()
    folder = site.folder
    folder.mkdir(parents=True, exist_ok=True)
    write_private(
        folder / "tls.cfg",
        KAMAILIO_TLS.format(
            chain=site.certificate.certificate,
            key=site.certificate.key,
            authorities=site.authorities,
        ),
    )
    head = KAMAILIO_HEAD.format(
        domain=site.domain, port=port, folder=folder, modules=load_modules(KAMAILIO_MODULES)
    )
    routes = kamailio_routes(site.domain, site.users, digest="SHA-256")
    write_private(folder / "kamailio.cfg", head + routes)
    # -DD: in the foreground, so that the child is the daemon; -E: log to standard error
    command: list[str | Path] = [path, "-f", folder / "kamailio.cfg", "-Y", folder, "-DD", "-E"]
    command += ["-P", folder / "kamailio.pid", "-m", "64", "-M", "8"]
    return await Daemon.start(
        "kamailio", Launch(command=command, folder=folder, ports={"sips": port})
    )


def load_modules(names: str) -> str:
    """Lines that load these modules, by their names with spaces between them."""
    return "\n".join(f'loadmodule "{name}.so"' for name in names.split())


def kamailio_routes(domain: str, users: Mapping[str, Secret], *, digest: str) -> str:
    """What a configuration says after its head; `users` maps names to passwords."""
    passwords = (
        f'    $sht(passwords=>{name}) = "{escaped(password)}";' for name, password in users.items()
    )
    return _KAMAILIO_ROUTES.format(domain=domain, digest=digest, passwords="\n".join(passwords))


KAMAILIO_MODULES: Final = (
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
# registers and connects the users whose passwords it is given, and nobody else
_KAMAILIO_ROUTES: Final = """
modparam("auth", "qop", "auth")
modparam("auth", "algorithm", "{digest}")
modparam("htable", "htable", "passwords=>size=4;")

event_route[htable:mod-init] {{
{passwords}
}}

request_route {{
    if (!mf_process_maxfwd_header("10")) {{ sl_send_reply("483", "Too Many Hops"); exit; }}
    if (!sanity_check("1511", "7")) {{ exit; }}
    # clients talk from ephemeral ports; answers and calls go back the same connection
    if (proto != UDP) {{
        force_rport();
        if (is_method("REGISTER")) {{ fix_nated_register(); }}
        else if (is_method("INVITE|UPDATE")) {{ add_contact_alias(); }}
    }}
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

onreply_route[BACK] {{ if (proto != UDP) {{ add_contact_alias(); }} }}
"""
