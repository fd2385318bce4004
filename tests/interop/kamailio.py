"""Kamailio as registrar and record-routing proxy: TLS and WSS for us, UDP and TCP for others."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from securecall.testing.kamailio import KAMAILIO_HEAD, KAMAILIO_TLS
from tests.interop.authority import DOMAIN, Certificates
from tests.interop.children import Child, free_port, need

PASSWORDS = {name: f"pw-{name}" for name in ("alice", "bob", "carol")}

_CONFIG = """tcp_accept_no_cl=yes
listen=udp:127.0.0.1:{plain}
listen=tcp:127.0.0.1:{plain}
modparam("auth", "qop", "auth")
modparam("auth", "algorithm", "{digest}")
modparam("htable", "htable", "passwords=>size=4;")

event_route[htable:mod-init] {{
{passwords}
}}

request_route {{
    if (!mf_process_maxfwd_header("10")) {{ sl_send_reply("483", "Too Many Hops"); exit; }}
    if (!sanity_check("1511", "7")) {{ exit; }}

    # Phones here talk from ephemeral ports; answers and calls go back the same connection.
    if (proto == TLS || proto == TCP || proto == WSS) {{
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
    if (uri != myself) {{ sl_send_reply("403", "Relay Denied"); exit; }}
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

onreply_route[BACK] {{
    if (proto == TLS || proto == TCP || proto == WSS) {{ add_contact_alias(); }}
}}

event_route[xhttp:request] {{
    if ($hu == "/sip" && $hdr(Upgrade) =~ "websocket") {{ if (ws_handle_handshake()) {{ exit; }} }}
    xhttp_reply("404", "Not Found", "", "");
}}
"""
_MODULES = (
    "tls kex corex tm tmx sl rr pv maxfwd textops siputils sanity usrloc registrar auth htable "
    "nathelper xhttp websocket"
)


@dataclass(frozen=True)
class Kamailio:
    """A running proxy, on 127.0.0.1."""

    tls: int
    plain: int  # UDP and TCP
    certificates: Certificates
    child: Child
    domain: str = DOMAIN


@contextmanager
def running(folder: Path, certificates: Certificates, *, digest: str = "MD5") -> Iterator[Kamailio]:
    """Start a proxy whose digest algorithm is "MD5" or "SHA-256"; stop it at the end."""
    need_module("websocket", "kamailio-websocket-modules")
    tls, plain = free_port(), free_port()
    passwords = [f'    $sht(passwords=>{n}) = "{p}";' for n, p in PASSWORDS.items()]
    config = _CONFIG.format(
        domain=DOMAIN, plain=plain, digest=digest, passwords="\n".join(passwords)
    )
    with started(folder, certificates, _MODULES, config, port=tls) as child:
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
    lines = "\n".join(f'loadmodule "{name}.so"' for name in modules.split())
    head = KAMAILIO_HEAD.format(domain=DOMAIN, port=port, folder=folder, modules=lines)
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
