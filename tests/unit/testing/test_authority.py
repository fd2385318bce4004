"""The throw-away authority makes certificates that prove exactly the names asked for."""

from __future__ import annotations

import asyncio

import pytest

from securecall.errors import CertificateError
from securecall.testing.authority import Authority
from securecall.transport.tls import client_context, connect, listen


@pytest.mark.parametrize(
    ("name", "proven"),
    [("a.test", True), ("127.0.0.1", True), ("b.test", False), ("127.0.0.2", False)],
)
@pytest.mark.parametrize("form", ["a.test", "sip:a.test"])
def test_a_certificate_proves_its_names_and_no_other(tmp_path, form, name, proven):
    authority = Authority.make(tmp_path / "one")

    async def serve(connection):
        await connection.receive()

    async def run():
        listener = await listen(
            "127.0.0.1", 0, serve, certificate=authority.issue(form, "127.0.0.1")
        )
        try:
            context = client_context(authority.pem)
            connection = await connect(*listener.address, server_name=name, context=context)
            await connection.close()
        finally:
            await listener.close()

    if proven:
        asyncio.run(run())
    else:
        with pytest.raises(CertificateError):
            asyncio.run(run())


def test_the_key_is_for_its_owner_only(tmp_path):
    pair = Authority.make(tmp_path).issue("a.test")
    assert pair.key is not None
    assert pair.key.stat().st_mode & 0o077 == 0
