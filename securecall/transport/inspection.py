"""Looks at the certificate of a server that could not prove its name, to tell why."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence

from securecall.errors import ConnectFailed
from securecall.transport.certificate import ServerCertificate, parse_certificate
from securecall.transport.server_identity import is_address


async def danger_certificate_of(
    host: str, port: int, *, server_name: str, seconds: float
) -> ServerCertificate:
    """What certificate is shown there, verified by nothing and nobody.

    For explaining a refusal that already took place, and for nothing else. Only TLS's own handshake
    is sent, no byte of SIP, and the connection is cut before this returns: nobody can go on with
    it. What is returned may be all lies.

    Args:
        host: An IP address.
        port: TCP port.
        server_name: Named in the handshake, so that the same certificate is shown.
        seconds: For all of it.

    Raises:
        ConnectFailed: no certificate can be had.
        ProtocolError: it cannot be read.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        async with asyncio.timeout(seconds):
            _, writer = await asyncio.open_connection(
                host,
                port,
                ssl=context,
                server_hostname="" if is_address(server_name) else server_name,
            )
    except (OSError, ValueError) as e:  # TimeoutError and ssl's errors are OSErrors
        raise ConnectFailed(f"{host} shows no certificate") from e
    tls: ssl.SSLObject = writer.get_extra_info("ssl_object")
    der = tls.getpeercert(binary_form=True)
    # Python 3.13 can tell what came with it
    chain: Sequence[bytes] = getattr(tls, "get_unverified_chain", list)()
    writer.transport.abort()
    if not der:
        raise ConnectFailed(f"{host} shows no certificate")
    return parse_certificate(der, sent=len(chain))
