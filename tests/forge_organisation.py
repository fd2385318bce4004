"""Organisations, their words, and words that break one rule at a time under a true signature."""

from __future__ import annotations

from securecall.address import parse_address
from securecall.keys.encoding import build_base64url
from securecall.keys.organisation import (
    PROTECTED,
    Countersignature,
    OrganisationCode,
    build_countersignature,
    build_organisation_code,
    parse_countersignature,
)
from tests.forge_statement import DAY, NOW, Edit, Json, compact, root_key, signed

DOMAIN = "clinic.example"
CLINIC, ANOTHER = root_key(101), root_key(102)
BOB = parse_address("sip:bob@clinic.example")
CODE = build_organisation_code(OrganisationCode(DOMAIN, CLINIC.public))


def word(root=CLINIC, *, person=2, address=BOB, number=0, unix=NOW, days=7, withdrawn=False):
    """What the clinic says of a person's root; `number` orders its words."""
    return build_countersignature(
        root,
        domain=address.host,
        root_fp=root_key(person).fingerprint,
        address=address,
        seq=unix * 1000 + number,
        iat=unix,
        exp=unix + days * DAY,
        withdrawn=withdrawn,
    )


def parsed(unix=NOW, **changes) -> Countersignature:
    return parse_countersignature(word(unix=unix, **changes), unix=unix)


def payload() -> Json:
    return {
        "v": 1,
        "org": DOMAIN,
        "org_root": build_base64url(CLINIC.public),
        "root": build_base64url(root_key(2).fingerprint),
        "addr": str(BOB),
        "seq": NOW * 1000,
        "iat": NOW,
        "exp": NOW + 7 * DAY,
    }


def forged(edit: Edit = lambda payload: None, *, root=CLINIC, header=PROTECTED) -> bytes:
    """A word with an edited payload, signed by `root`, whatever `org_root` says."""
    edited = payload()
    edit(edited)
    return signed(compact(edited), root, header=header)
