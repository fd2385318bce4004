"""Asking for a place to upload a file to."""

from __future__ import annotations

from xml.etree.ElementTree import Element, fromstring, tostring

import pytest

from securecall.errors import ProtocolError
from securecall.xmpp.upload import (
    UploadService,
    build_slot_request,
    parse_items,
    parse_service,
    parse_slot,
    upload_name,
)

SLOT = """<slot xmlns='urn:xmpp:http:upload:0'>
  <put url='https://u.example/p'>{}</put><get url='https://d.example/g'/></slot>"""
INFO = """<query xmlns='http://jabber.org/protocol/disco#info'>
  <feature var='urn:xmpp:http:upload:0'/>{}</query>"""
FORM = """<x type='result' xmlns='jabber:x:data'>
  <field var='FORM_TYPE' type='hidden'><value>urn:xmpp:http:upload:0</value></field>
  <field var='max-file-size'><value>{}</value></field></x>"""


def test_the_request_says_nothing_but_the_size():
    request = tostring(build_slot_request(upload_name(bytes(16)), 1040), encoding="unicode")
    assert request == (
        '<ns0:request xmlns:ns0="urn:xmpp:http:upload:0" filename="'
        + "0" * 32 + '.bin" size="1040" content-type="application/octet-stream" />'
    )  # fmt: skip


def test_a_server_that_can_is_asked_to_delete_in_time():
    request = build_slot_request("x", 1, expires=1_757_545_705)
    assert request[0].tag == "{urn:xmpp:http:upload:purpose:0}ephemeral"
    assert request[0].get("expire-before") == "2025-09-10T23:08:25.000000Z"


def test_services_are_listed_likeliest_first_and_not_for_ever():
    items = "".join(f"<item jid='s{i}.example'/>" for i in range(50))
    query = fromstring(
        f"<query xmlns='http://jabber.org/protocol/disco#items'>{items}"
        "<item jid='n.example' node='x'/><item/><item jid='upload.example'/></query>"
    )
    found = parse_items(query)
    assert found[0] == "upload.example"
    assert len(found) == 20
    assert "n.example" not in found


@pytest.mark.parametrize("answer", [None, Element("query")])
def test_what_is_no_answer_is_refused(answer):
    for parse in (parse_items, parse_slot, lambda a: parse_service("x", a)):
        with pytest.raises(ProtocolError):
            parse(answer)


def test_a_service_says_what_it_takes():
    form, purpose = FORM.format(5242880), "<feature var='urn:xmpp:http:upload:purpose:0'/>"
    assert parse_service("u", fromstring(INFO.format(form))) == UploadService("u", 5242880)
    assert parse_service("u", fromstring(INFO.format(""))) == UploadService("u", 0)
    assert parse_service("u", fromstring(INFO.format(purpose))) == UploadService(
        "u", 0, deletes=True
    )
    other = INFO.replace("http:upload:0", "other:0").format(form)
    assert parse_service("u", fromstring(other)) is None


@pytest.mark.parametrize("size", ["-1", "1e9", "many", "9" * 30])
def test_an_impossible_largest_size_is_refused(size):
    with pytest.raises(ProtocolError):
        parse_service("u", fromstring(INFO.format(FORM.format(size))))


def test_a_slot_has_two_addresses_and_the_fields_that_are_allowed():
    slot = parse_slot(
        fromstring(
            SLOT.format(
                "<header name='authorization'>Basic x==</header><header name='Cookie'>a=b</header>"
                "<header name='cookie'>c=d</header><header name='Expires'>soon</header>"
                "<header name='Host'>evil</header><header name='X-Other'>x</header>"
                "<header>y</header>"
                "<header name='Transfer-Encoding'>chunked</header>"
            )
        )
    )
    assert (str(slot.put), str(slot.get)) == ("https://u.example/p", "https://d.example/g")
    assert slot.headers == {"Authorization": "Basic x==", "Cookie": "a=b; c=d", "Expires": "soon"}
    assert "Basic" not in repr(slot)


def test_line_breaks_in_a_field_are_taken_out():
    header = "<header name='Coo&#10;kie'>a&#13;&#10;X-Evil: b</header>"
    assert parse_slot(fromstring(SLOT.format(header))).headers == {"Cookie": "aX-Evil: b"}


BROKEN = {
    "http put": ("https://u", "http://u"),
    "http get": ("https://d", "http://d"),
    "user": ("https://u", "https://me@u"),
    "no put": ("put", "pit"),
    "no get": ("get", "got"),
    "no address": ("https://u.example/p", ""),
    "another element": ("slot", "slut"),
}


@pytest.mark.parametrize(("old", "new"), BROKEN.values(), ids=BROKEN)
def test_a_slot_that_breaks_a_rule_is_refused(old, new):
    with pytest.raises(ProtocolError):
        parse_slot(fromstring(SLOT.format("").replace(old, new)))


@pytest.mark.parametrize(
    "header",
    ["<header name='Cookie'>é</header>", f"<header name='Cookie'>{'x' * 5000}</header>",
     "<header name='Cookie'>a</header>" * 17, "<header name='X'/>" * 17],
)  # fmt: skip
def test_fields_that_no_server_needs_are_refused(header):
    with pytest.raises(ProtocolError):
        parse_slot(fromstring(SLOT.format(header)))
