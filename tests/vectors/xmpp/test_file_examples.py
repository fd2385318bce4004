"""The examples of XEP-0363, XEP-0447, XEP-0448 and XEP-0454, as they are printed."""

from __future__ import annotations

import base64

import pytest

from securecall.errors import ProtocolError
from securecall.xmpp.files import SHARING, build_link, parse_link, parse_sharing
from securecall.xmpp.upload import UploadService, parse_items, parse_service, parse_slot
from tests.vectors.xmpp.xep_examples import stanzas


def example(xep, caption):
    return next(found for said, found in stanzas(xep) if said == caption)


def test_a_service_is_found():
    items = example("0363", "Server replies to service discovery request")[0]
    assert parse_items(items) == ("upload.montague.tld", "conference.montague.tld")
    info = example(
        "0363",
        "Upload service replies to service discovery request and reports a maximum file size "
        "of 5MiB",
    )[0]
    assert parse_service("u", info) == UploadService("u", 5242880)


def test_a_slot_is_read():
    slot = parse_slot(example("0363", "The upload service responds with a slot")[0])
    path = "/4a771ac1-f0b2-4a4a-9700-f2a26fa2bb67/tr%C3%A8s%20cool.jpg"
    assert str(slot.put) == f"https://upload.montague.tld{path}"
    assert str(slot.get) == f"https://download.montague.tld{path}"
    assert slot.headers == {
        "Authorization": "Basic Base64String==", "Cookie": "foo=bar; user=romeo"
    }  # fmt: skip


def test_an_encrypted_file_is_read():
    message = example("0448", "Sharing summit.jpg with juliet@shakespeare.lit using encryption")
    shared = parse_sharing(message.find(SHARING))
    assert shared.url.endswith("/encrypted.jpg")
    assert (shared.name, shared.media_type, shared.size) == ("summit.jpg", "image/jpeg", 3032449)
    assert shared.key.reveal() == base64.b64decode("SuRJ2agVm/pQbJQlPq/B23Xt1YOOJCcEGJA5HrcYOGQ=")
    assert shared.iv == base64.b64decode("T8RDMBaiqn6Ci4Nw")
    assert (shared.sha256, shared.cipher_sha256) == (b"", b"")  # it shows SHA-3 and BLAKE2


def test_a_file_that_is_not_encrypted_is_none():
    message = example("0447", "Sharing summit.jpg with juliet@shakespeare.lit")
    with pytest.raises(ProtocolError, match="encrypted"):
        parse_sharing(message.find(SHARING))


# XEP-0454 3, printed as text
URL = "download.montague.tld/4a771ac1-f0b2-4a4a-9700-f2a26fa2bb67/tr%C3%A8s%20cool.jpg"
IV = "8c3d050e9386ec173861778f"
KEY = "68e9af38a97aaf82faa4063b4d0878a61261534410c8a84331eaac851759f587"


@pytest.mark.parametrize("below", ["", "\ndata:image/jpeg,/9j/4AAQSkZJRgABAQEBLAEsAAD"])
def test_a_link_is_read_and_written(below):
    shared = parse_link(f"aesgcm://{URL}#{IV}{KEY}{below}")
    assert (shared.url, shared.name) == (f"https://{URL}", "très cool.jpg")
    assert (shared.iv.hex(), shared.key.reveal().hex()) == (IV, KEY)
    assert build_link(shared) == f"aesgcm://{URL}#{IV}{KEY}"
