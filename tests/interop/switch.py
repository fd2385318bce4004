"""Kamailio as the provider of our own clients: it calls them at fixed places, phones register.

Nobody is asked for a password here: who may speak is the proxy's affair, and the tests of it are
elsewhere. Everything runs on 127.0.0.1.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.interop.authority import DOMAIN, Certificates
from tests.interop.children import Child, free_port
from tests.interop.kamailio import started

PEOPLE = ("alice", "bob", "carol")

_CONFIG = """modparam("htable", "htable", "places=>size=4;")

event_route[htable:mod-init] {{
{places}
}}

request_route {{
    xlog("L_NOTICE", "request $rm $ru from $si\\n");
    if (!mf_process_maxfwd_header("10")) {{ sl_send_reply("483", "Too Many Hops"); exit; }}
    if (!sanity_check("1511", "7")) {{ exit; }}
    # Answers and later requests go back the connection they came by.
    force_rport();
    if (is_method("INVITE|UPDATE")) {{ add_contact_alias(); }}
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
    if (is_method("REGISTER")) {{
        fix_nated_register();
        if (!save("location")) {{ sl_reply_error(); }}
        exit;
    }}
    if (uri != myself) {{ sl_send_reply("403", "Relay Denied"); exit; }}
    record_route();
    if (!lookup("location")) {{
        if ($sht(places=>$rU) == $null) {{ sl_send_reply("404", "Not Found"); exit; }}
        $du = $sht(places=>$rU);
    }}
    t_on_reply("BACK");
    if (!t_relay()) {{ sl_reply_error(); }}
}}

onreply_route[BACK] {{ add_contact_alias(); }}
"""
_MODULES = (
    "tls kex corex tm tmx sl rr pv maxfwd textops siputils sanity usrloc registrar htable "
    "nathelper xlog"
)


@dataclass(frozen=True)
class Switch:
    """A running proxy.

    Attributes:
        tls: Its port.
        places: The port of each of `PEOPLE`, where the proxy expects a client of ours.
    """

    tls: int
    certificates: Certificates
    child: Child
    places: dict[str, int] = field(default_factory=dict)
    domain: str = DOMAIN

    def requests(self, method: str) -> int:
        """How many requests of that method it saw."""
        return self.child.said().count(f"request {method} ")


@contextmanager
def running(folder: Path, certificates: Certificates) -> Iterator[Switch]:
    """Start a proxy that shows these certificates; stop it at the end."""
    tls = free_port()
    places = {name: free_port() for name in PEOPLE}
    table = [
        f'    $sht(places=>{name}) = "sip:127.0.0.1:{port};transport=tls";'
        for name, port in places.items()
    ]
    config = _CONFIG.format(places="\n".join(table))
    with started(folder, certificates, _MODULES, config, port=tls) as child:
        yield Switch(tls, certificates, child, places)
