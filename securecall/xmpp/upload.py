"""Asking a server for a place to upload a file to (XEP-0363), without I/O."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final
from xml.etree.ElementTree import Element, SubElement

from securecall.errors import ProtocolError
from securecall.transport.web_address import WebAddress, parse_web_address
from securecall.xmpp.stamp import build_stamp

NAMESPACE: Final = "urn:xmpp:http:upload:0"
_PURPOSE: Final = "urn:xmpp:http:upload:purpose:0"
MEDIA_TYPE: Final = "application/octet-stream"
"""Of every file: the server is to learn nothing of what is in it."""

MOST_SERVICES: Final = 20
"""Of a server's services, how many are asked whether they take files."""

NAME_BYTES: Final = 16
_ITEMS: Final = "{http://jabber.org/protocol/disco#items}"
_INFO: Final = "{http://jabber.org/protocol/disco#info}"
_FORM: Final = "{jabber:x:data}"
_UPLOAD: Final = f"{{{NAMESPACE}}}"
# XEP-0363 5: others must be ignored
_ALLOWED: Final = {"authorization": "Authorization", "cookie": "Cookie", "expires": "Expires"}
_MOST_HEADERS: Final = 16
_MOST_VALUE: Final = 4096
_VALUE: Final = re.compile(r"[\t -~]*")
_DIGITS: Final = re.compile("[0-9]{1,18}")
_MOST_JID: Final = 3071


@dataclass(frozen=True, slots=True)
class UploadService:
    """Who takes files.

    Attributes:
        jid: Its address.
        most: Bytes of a file, 0 where it does not say.
        deletes: It can be asked to delete a file in time.
    """

    jid: str
    most: int = 0
    deletes: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """A place for one file.

    Attributes:
        put: Where it is sent to.
        get: Where others get it from.
        headers: Fields that have to be sent along; they may be passwords.
    """

    put: WebAddress
    get: WebAddress
    headers: dict[str, str] = field(default_factory=dict, repr=False)


def build_items_query() -> Element:
    """Ask a server which services it has (XEP-0030 4.1)."""
    return Element(f"{_ITEMS}query")


def build_info_query() -> Element:
    """Ask a service what it does (XEP-0030 3.1)."""
    return Element(f"{_INFO}query")


def parse_items(query: Element | None) -> tuple[str, ...]:
    """Return the services of a server, the likeliest to take files first, at most 20.

    Raises:
        ProtocolError: that is no answer to the question.
    """
    if query is None or query.tag != f"{_ITEMS}query":
        raise ProtocolError("not a list of services", rule="XEP-0030 4.1")
    found = [
        item.get("jid", "")
        for item in query.findall(f"{_ITEMS}item")
        if not item.get("node") and 0 < len(item.get("jid", "")) <= _MOST_JID
    ]
    found.sort(key=lambda jid: not jid.startswith(("upload.", "share.", "httpupload.")))
    return tuple(dict.fromkeys(found))[:MOST_SERVICES]


def parse_service(jid: str, query: Element | None) -> UploadService | None:
    """Return what a service takes; None where it takes no files.

    Raises:
        ProtocolError: that is no answer to the question.
    """
    if query is None or query.tag != f"{_INFO}query":
        raise ProtocolError("not a description of a service", rule="XEP-0030 3.1")
    features = {f.get("var") for f in query.findall(f"{_INFO}feature")}
    if NAMESPACE not in features:
        return None
    deletes = _PURPOSE in features
    for form in query.findall(f"{_FORM}x"):
        fields = {f.get("var"): f.findtext(f"{_FORM}value") for f in form.findall(f"{_FORM}field")}
        if fields.get("FORM_TYPE") == NAMESPACE:
            said = (fields.get("max-file-size") or "").strip()
            if said and not _DIGITS.fullmatch(said):
                raise ProtocolError("an impossible largest size", rule="XEP-0363 3")
            return UploadService(jid, int(said or 0), deletes)
    return UploadService(jid, 0, deletes)


def upload_name(chance: bytes) -> str:
    """Return a name that says nothing, made of 16 random bytes."""
    return f"{chance[:NAME_BYTES].hex()}.bin"


def build_slot_request(name: str, size: int, *, expires: int = 0) -> Element:
    """Ask for a place for `size` bytes (XEP-0363 4), to be deleted by then in Unix seconds."""
    request = Element(
        f"{_UPLOAD}request",
        {"filename": name, "size": str(size), "content-type": MEDIA_TYPE},
    )
    if expires:
        stamp = build_stamp(expires)
        _ = SubElement(request, f"{{{_PURPOSE}}}ephemeral", {"expire-before": stamp})
    return request


def parse_slot(slot: Element | None) -> Slot:
    """Read the place that was given.

    Raises:
        ProtocolError: it is none, or not behind TLS.
    """
    put = slot.find(f"{_UPLOAD}put") if slot is not None else None
    get = slot.find(f"{_UPLOAD}get") if slot is not None else None
    if slot is None or slot.tag != f"{_UPLOAD}slot" or put is None or get is None:
        raise ProtocolError("not a place for a file", rule="XEP-0363 4")
    return Slot(
        put=parse_web_address(put.get("url", "")),
        get=parse_web_address(get.get("url", "")),
        headers=_headers(put),
    )


def _headers(put: Element) -> dict[str, str]:
    entries = put.findall(f"{_UPLOAD}header")
    if len(entries) > _MOST_HEADERS:
        raise ProtocolError("more header fields than any server needs", rule="XEP-0363 5")
    found: dict[str, str] = {}
    for entry in entries:
        # XEP-0363 11: line breaks are stripped, or the server would write the rest of the request
        name, value = (_one_line(text) for text in (entry.get("name", ""), entry.text or ""))
        allowed = _ALLOWED.get(name.lower())
        if allowed is None:
            continue
        if len(value) > _MOST_VALUE or not _VALUE.fullmatch(value):
            raise ProtocolError("a header field that is none", rule="RFC 9110 5.5")
        found[allowed] = f"{found[allowed]}; {value}" if allowed in found else value
    return found


def _one_line(text: str) -> str:
    return text.replace("\r", "").replace("\n", "").strip()
