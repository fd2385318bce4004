"""People with OMEMO devices: keys, statements that vouch for them, stores that know them."""

from __future__ import annotations

import time
from pathlib import Path

from securecall.address import parse_address
from securecall.contacts import Contacts
from securecall.keys.signing import ed25519_public
from securecall.keys.statement import OmemoKey, build_statement
from securecall.secret import Secret
from securecall.store.sqlite import Store
from securecall.store.vault import MINIMUM_COST
from tests.forge_statement import DAY, device_key, root_key
from tests.forge_store import passphrase

NS = "urn:xmpp:omemo:2"
BOB = parse_address("xmpp:bob@b.example")
EVE = parse_address("xmpp:eve@e.example")


def identity_key(number: int) -> bytes:
    """The OMEMO identity key of a device, Ed25519 form; the same for the same number."""
    return ed25519_public(Secret(bytes([number]) * 31 + b"O"))


def contacts_at(folder: Path) -> Contacts:
    """A person's contacts in a store that is made or opened."""
    return Contacts(Store.open_or_create(folder, passphrase(), cost=MINIMUM_COST))


def own_statement(
    number: int = 2,
    *,
    omemo: tuple[int, ...] = (),
    address=BOB,
    seq_after: int = 0,
    age: int = 0,
    revoked: tuple[str, ...] = (),
    device: int = 0,
    successions: tuple[bytes, ...] = (),
) -> bytes:
    """A statement of now by root `number` that lists the OMEMO devices with these numbers."""
    unix = int(time.time()) - age
    key = device_key(device or number)
    keys = [OmemoKey(namespace=NS, id=n, identity_key=identity_key(n)) for n in omemo]
    return build_statement(
        root_key(number),
        seq=unix * 1000 + seq_after,
        iat=unix,
        exp=unix + 7 * DAY,
        addresses=[address],
        devices=[key],
        revoked=revoked,
        omemo={key.id: keys},
        successions=successions,
    )
