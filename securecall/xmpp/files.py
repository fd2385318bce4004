"""Files that were shared: elements of XEP-0446, XEP-0447 and XEP-0448, links of XEP-0454.

Both carry the key, so they stand inside what OMEMO encrypts and nowhere else.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import re
from typing import Final
from urllib.parse import unquote
from xml.etree.ElementTree import Element, SubElement

from securecall.chat.message import SharedFile
from securecall.errors import ProtocolError
from securecall.secret import Secret
from securecall.transport.web_address import parse_web_address
from securecall.xmpp.stamp import EXPIRY, build_expiry, parse_expiry

SHARING: Final = "{urn:xmpp:sfs:0}file-sharing"
"""The element that shares a file, by its qualified name."""

_SFS: Final = "{urn:xmpp:sfs:0}"
_META: Final = "{urn:xmpp:file:metadata:0}"
_ESFS: Final = "{urn:xmpp:esfs:0}"
_HASHES: Final = "{urn:xmpp:hashes:2}"
_URL_DATA: Final = "{http://jabber.org/protocol/url-data}url-data"

_GCM: Final = "urn:xmpp:ciphers:aes-256-gcm-nopadding:0"
_CBC: Final = "urn:xmpp:ciphers:aes-256-cbc-pkcs7:0"
_IVS: Final = {_GCM: (12, 16), _CBC: (16,)}
_KEY: Final = 32
_SHA256: Final = 32

MOST_NAME: Final = 1024
MOST_SIZE: Final = 1 << 32
_MOST_TYPE: Final = 127
_MOST_SOURCES: Final = 16
_MOST_SECONDS: Final = 7 * 86400
_MOST_LINK: Final = 4096
_MOST_THUMBNAIL: Final = 64 * 1024
_DIGITS: Final = re.compile("[0-9]{1,15}")
_MEDIA_TYPE: Final = re.compile(
    r"[\w!#$&^.+-]{1,63}/[\w!#$&^.+-]{1,63}(; ?[\x20-\x7e]*)?", re.ASCII
)
_LINK: Final = re.compile(r"aesgcm(://[^#\s]+)#([0-9A-Fa-f]{88}|[0-9A-Fa-f]{96})")
_THUMBNAIL: Final = re.compile(r"data:image/jpe?g[;,][A-Za-z0-9+/=;,]*")


def build_sharing(shared: SharedFile) -> Element:
    """Return the element that shares an encrypted file (XEP-0448 4.1).

    What was sealed for a link can be shared so, too: for people with both kinds of devices.

    Raises:
        ProtocolError: something XEP-0448 requires is not there.
    """
    cipher = shared.cipher or _GCM
    if shared.size is None or not shared.sha256 or cipher not in _IVS:
        raise ProtocolError("no size, hash or cipher to send", rule="XEP-0448 4.1")
    sharing = Element(SHARING, {"disposition": "inline" if shared.seconds else "attachment"})
    file = SubElement(sharing, f"{_META}file")
    for name, text in (
        ("media-type", shared.media_type),
        ("name", shared.name),
        ("size", str(shared.size)),
        ("length", str(round(shared.seconds * 1000)) if shared.seconds else ""),
    ):
        if text:
            SubElement(file, _META + name).text = text
    _add_hash(file, shared.sha256)
    if shared.expires:
        file.append(build_expiry(shared.expires))
    sources = SubElement(sharing, f"{_SFS}sources")
    encrypted = SubElement(sources, f"{_ESFS}encrypted", {"cipher": cipher})
    SubElement(encrypted, f"{_ESFS}key").text = _base64(shared.key.reveal())
    SubElement(encrypted, f"{_ESFS}iv").text = _base64(shared.iv)
    if shared.cipher_sha256:
        _add_hash(encrypted, shared.cipher_sha256)
    inner = SubElement(encrypted, f"{_SFS}sources")
    _ = SubElement(inner, _URL_DATA, {"target": shared.url})
    return sharing


def parse_sharing(sharing: Element) -> SharedFile:
    """Read the element that shares an encrypted file; the first source that can be used counts.

    Names are as the sender wrote them: `chat.file_name.shown_name` makes them fit to be shown.

    Raises:
        ProtocolError: it has no encrypted source that can be used, or breaks a rule.
    """
    file = sharing.find(f"{_META}file")
    if sharing.tag != SHARING or file is None:
        raise ProtocolError("no description of a file", rule="XEP-0447 3.1")
    size, expiry = _number(file, f"{_META}size", MOST_SIZE), file.find(EXPIRY)
    length = _number(file, f"{_META}length", _MOST_SECONDS * 1000)
    described = SharedFile(
        url="",
        key=Secret(b""),
        iv=b"",
        name=_text(file, f"{_META}name")[:MOST_NAME],
        media_type=_media_type(_text(file, f"{_META}media-type")),
        size=size,
        sha256=_hash(file),
        seconds=(length or 0) / 1000,
        expires=0 if expiry is None else parse_expiry(expiry),
    )
    found = sharing.findall(f"{_SFS}sources/{_ESFS}encrypted")
    refused: ProtocolError | None = None
    for encrypted in found[:_MOST_SOURCES]:
        try:
            return _sourced(described, encrypted)
        except ProtocolError as e:
            refused = refused or e
    raise refused or ProtocolError("a file without an encrypted source", rule="XEP-0448 4.1")


def _sourced(described: SharedFile, encrypted: Element) -> SharedFile:
    cipher = encrypted.get("cipher", "")
    if cipher not in _IVS:
        raise ProtocolError("a cipher unknown here", rule="XEP-0448 5")
    key, iv = _bytes(encrypted, "key"), _bytes(encrypted, "iv")
    if len(key) != _KEY or len(iv) not in _IVS[cipher]:
        raise ProtocolError("key or IV of a wrong length", rule="XEP-0448 5")
    cipher_sha256 = _hash(encrypted)
    if cipher == _CBC and not (cipher_sha256 or described.sha256):
        raise ProtocolError("CBC without a hash known here proves nothing", rule="XEP-0448 4.1")
    places = encrypted.findall(f"{_SFS}sources/{_URL_DATA}")
    refused: ProtocolError | None = None
    for place in places[:_MOST_SOURCES]:
        try:
            url = str(parse_web_address(place.get("target", "")))
        except ProtocolError as e:
            refused = refused or e
            continue
        return dataclasses.replace(
            described,
            url=url,
            key=Secret(key),
            iv=iv,
            cipher=cipher,
            cipher_sha256=cipher_sha256,
        )
    raise refused or ProtocolError("a file that lies nowhere", rule="XEP-0448 4.1")


# -- links (XEP-0454) -----------------------------------------------------------------------------


def build_link(shared: SharedFile) -> str:
    """Return the link for those who take no elements (XEP-0454 3).

    Raises:
        ProtocolError: not what such a link can say.
    """
    if shared.cipher:
        raise ProtocolError("a padded file cannot be sent as a link", rule="XEP-0454 3")
    where = parse_web_address(shared.url)
    secret = (shared.iv + shared.key.reveal()).hex()
    return f"aesgcm{str(where).removeprefix('https')}#{secret}"


def is_link(body: str) -> bool:
    """Whether a text is meant as such a link; a person must not see what it says."""
    return body.lstrip()[:9].lower() == "aesgcm://"


def parse_link(body: str) -> SharedFile:
    """Read a link, or a link and a small picture in the next line, which is left out.

    Raises:
        ProtocolError: it is anything else.
    """
    line, _, thumbnail = body.strip().partition("\n")
    if len(thumbnail) > _MOST_THUMBNAIL or not (not thumbnail or _THUMBNAIL.fullmatch(thumbnail)):
        raise ProtocolError("a link with something else beside it", rule="XEP-0454 5")
    found = _LINK.fullmatch(line) if len(line) <= _MOST_LINK else None
    if found is None:
        raise ProtocolError("not a link to an encrypted file", rule="XEP-0454 3")
    where = parse_web_address(f"https{found[1]}")
    secret = bytes.fromhex(found[2])
    return SharedFile(
        url=str(where),
        key=Secret(secret[-_KEY:]),
        iv=secret[:-_KEY],
        cipher="",
        name=unquote(where.target.partition("?")[0].rpartition("/")[2])[:MOST_NAME],
    )


# -- parts ----------------------------------------------------------------------------------------


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _bytes(parent: Element, name: str) -> bytes:
    return _decoded(_text(parent, _ESFS + name))


def _decoded(text: str) -> bytes:
    packed = "".join(text[:256].split())
    try:
        return base64.b64decode(packed, validate=True)
    except (binascii.Error, ValueError) as e:
        raise ProtocolError("not base64", rule="RFC 4648 4") from e


def _text(parent: Element, tag: str) -> str:
    return (parent.findtext(tag) or "").strip()


def _number(parent: Element, tag: str, most: int) -> int | None:
    text = _text(parent, tag)
    if not text:
        return None
    if not _DIGITS.fullmatch(text) or int(text) > most:
        raise ProtocolError(f"an impossible <{tag.rpartition('}')[2]}/>", rule="XEP-0446 2")
    return int(text)


def _media_type(text: str) -> str:
    """What is none is left out: an unknown type is that of any file."""
    return text if len(text) <= _MOST_TYPE and _MEDIA_TYPE.fullmatch(text) else ""


def _add_hash(parent: Element, sha256: bytes) -> None:
    SubElement(parent, f"{_HASHES}hash", {"algo": "sha-256"}).text = _base64(sha256)


def _hash(parent: Element) -> bytes:
    """The SHA-256 among the hashes (XEP-0300), b"" where there is none."""
    for entry in parent.findall(f"{_HASHES}hash"):
        if entry.get("algo") == "sha-256":
            digest = _decoded(entry.text or "")
            if len(digest) != _SHA256:
                raise ProtocolError("a hash of a wrong length", rule="XEP-0300 4")
            return digest
    return b""
