"""A telephone gateway of other people's making: Kamailio, which sends media through rtpengine.

Towards its phones it speaks plain RTP; towards us SRTP, with keys in the signalling (SDES), or, for
the people in `DTLS`, with keys of DTLS. Whoever dials a number reaches Bob's phone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from securecall.secret import Secret
from securecall.testing.kamailio import KAMAILIO_MODULES, kamailio_routes
from tests.interop.authority import DOMAIN, Certificates
from tests.interop.children import Child, free_port, need
from tests.interop.kamailio import PASSWORDS, Kamailio, need_module, started

NUMBER = "+431234567"
DTLS = "carol"
_FIRST_PORT, _LAST_PORT = 29_000, 29_400
_MEDIA = f"""
route[MEDIA] {{
    if (is_method("BYE|CANCEL")) {{ rtpengine_delete(); return; }}
    if (!is_method("INVITE") || !has_body("application/sdp")) {{ return; }}
    if ($fU != "bob" && !($fU =~ "^[+]")) {{
        rtpengine_offer("RTP/AVP ICE=remove rtcp-mux-demux replace-origin");
    }} else if ($tU == "{DTLS}") {{
        rtpengine_offer("UDP/TLS/RTP/SAVPF ICE=remove SDES-off rtcp-mux-offer replace-origin");
    }} else {{
        rtpengine_offer("RTP/SAVP ICE=remove DTLS=off replace-origin");
    }}
}}
"""


@contextmanager
def running(folder: Path, certificates: Certificates) -> Iterator[Kamailio]:
    """Start both; stop them at the end."""
    need_module("rtpengine", "kamailio")
    program = need("rtpengine", "rtpengine-daemon")
    control, cli, tls = free_port(), free_port(), free_port()
    command = [program, "--table=-1", "--interface=127.0.0.1", f"--listen-ng=127.0.0.1:{control}"]
    command += [f"--listen-cli=127.0.0.1:{cli}", f"--pidfile={folder / 'rtpengine.pid'}"]
    command += [f"--port-min={_FIRST_PORT}", f"--port-max={_LAST_PORT}", "--foreground"]
    command += ["--log-stderr", "--log-level=5", "--num-threads=1", "--delete-delay=0"]
    media = Child(command, log=folder / "rtpengine.log")
    try:
        media.wait_port(cli)
        modules = f"{KAMAILIO_MODULES} rtpengine"
        socket = f'modparam("rtpengine", "rtpengine_sock", "udp:127.0.0.1:{control}")\n'
        users = {name: Secret(password) for name, password in PASSWORDS.items()}
        routes = _through_rtpengine(kamailio_routes(DOMAIN, users, digest="MD5"))
        with started(folder, certificates, modules, socket + routes, port=tls) as child:
            yield Kamailio(tls, 0, certificates, child)
    finally:
        media.stop()


def _through_rtpengine(routes: str) -> str:
    """The usual routes, with the media of each call led through it."""
    for place, put in (
        ('    if (!lookup("location"))', '    if ($rU =~ "^[+]") { $rU = "bob"; }\n'),
        ("    record_route();", "    route(MEDIA);\n"),
        ('t_on_reply("BACK"); t_relay(); exit; }', "route(MEDIA); "),
        (
            "onreply_route[BACK] {",
            'onreply_route[BACK] {\n    if (has_body("application/sdp")) {'
            ' rtpengine_answer("ICE=remove replace-origin"); }\n',
        ),
    ):
        assert routes.count(place) == 1, place
        routes = routes.replace(place, put if put.startswith(place) else put + place)
    return routes + _MEDIA
