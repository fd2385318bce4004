"""The words of SIP: tokens, URIs, name-addrs, Via and CSeq, read in linear time (RFC 3261 25).

Every pattern is built of possessive or mutually exclusive parts, so no input makes one backtrack.
Values are NamedTuples, not dataclasses: they are made for every message, at a third of the cost.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final, NamedTuple

from securecall.errors import ProtocolError

_TOKEN = r"[A-Za-z0-9\-.!%*_+`'~]"  # noqa: S105 - a character class of the grammar
_QUOTED = r'"[^"\\\r\n]*+(?:\\[^\r\n][^"\\\r\n]*+)*+"'
# hostname, IPv4address or IPv6reference; what is inside the brackets is checked apart
_HOST = r"(?:[A-Za-z0-9](?:[A-Za-z0-9\-._]*+)|\[[0-9A-Fa-f:.]++\])"
_ESCAPED = r"%[0-9A-Fa-f]{2}"
_UNRESERVED = r"A-Za-z0-9\-_.!~*'()"

_TOKEN_ONLY: Final = re.compile(rf"{_TOKEN}++")
_SIP_URI: Final = re.compile(
    rf"([Ss][Ii][Pp][Ss]?):"
    rf"(?:((?:[{_UNRESERVED}&=+$,;?/]++|{_ESCAPED})++(?::(?:[{_UNRESERVED}&=+$,]++|{_ESCAPED})*+)?+)@)?+"
    rf"({_HOST})(?::([0-9]{{1,5}}))?+"
    rf"((?:;(?:[{_UNRESERVED}\[\]/:&+$]++|{_ESCAPED})++(?:=(?:[{_UNRESERVED}\[\]/:&+$]++|{_ESCAPED})++)?+)*+)"
    rf"(\?(?:[{_UNRESERVED}\[\]/:&+$?=]|{_ESCAPED})*+)?+"
)
_OTHER_URI: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*+):([!#-;=?-Z\[\]_a-z~]++)")
_PARAMS = (
    rf"(?:[ \t]*+;[ \t]*+{_TOKEN}++"
    rf"(?:[ \t]*+=[ \t]*+(?:[A-Za-z0-9\-.!%*_+`'~\[\]:/]++|{_QUOTED}))?+)*+"
)
_PARAM: Final = re.compile(
    rf"[ \t]*+;[ \t]*+({_TOKEN}++)(?:[ \t]*+=[ \t]*+([A-Za-z0-9\-.!%*_+`'~\[\]:/]++|{_QUOTED}))?+"
)
# Content-Type, Content-Disposition, Session-Expires: a word with parameters
_VALUE: Final = re.compile(rf"[ \t]*+({_TOKEN}++(?:[ \t]*+/[ \t]*+{_TOKEN}++)?+)({_PARAMS})[ \t]*+")
_COMMA: Final = re.compile(r"[ \t]*+(?:,[ \t]*+|$)")
# a display name ends where "<" begins
_NAME_ADDR: Final = re.compile(
    rf"[ \t]*+({_QUOTED}|(?:{_TOKEN}++[ \t]*+)*+)[ \t]*+<([^<>\r\n \t]++)>({_PARAMS})"
)
# the usual case of both at once: a plain sip address within brackets, nothing escaped
_USUAL: Final = re.compile(
    rf"({_QUOTED}|(?:{_TOKEN}++[ \t]*+)*+)[ \t]*+"
    rf"<((sips?):(?:([{_UNRESERVED}&=+$,;?/]++)@)?+([A-Za-z0-9][A-Za-z0-9\-._]*+)"
    rf"(?::([0-9]{{1,5}}))?+((?:;[{_UNRESERVED}/:&+$]++(?:=[{_UNRESERVED}/:&+$]++)?+)*+))>"
    rf"({_PARAMS})"
)
_ADDR_SPEC: Final = re.compile(rf"[ \t]*+([^<>\r\n \t,;?\"]++)({_PARAMS})")
# not IGNORECASE: that takes twice as long, and lets "\u017f" stand for "s"
_VIA: Final = re.compile(
    rf"[ \t]*+[Ss][Ii][Pp][ \t]*+/[ \t]*+2\.0[ \t]*+/[ \t]*+({_TOKEN}++)[ \t]++({_HOST})"
    rf"(?:[ \t]*+:[ \t]*+([0-9]{{1,5}}))?+({_PARAMS})"
)
_CSEQ: Final = re.compile(rf"([0-9]{{1,12}}+)[ \t]++({_TOKEN}++)")
_NUMBER: Final = re.compile(r"[0-9]{1,12}+")
_LARGEST_CSEQ: Final = 2**31 - 1

# A NamedTuple's own constructor costs as much again as the tuple.
_made: Final = tuple.__new__

Params = tuple[tuple[str, str | None], ...]
Fields = tuple[tuple[str, str], ...]  # of a header: name and value


class SipError(ProtocolError):
    """A SIP message breaks a rule.

    Attributes:
        status: What a request that does so is answered with.
        fields: What that answer says besides.
    """

    def __init__(
        self, message: str, *, rule: str = "", status: int = 400, fields: Fields = ()
    ) -> None:
        """Say what was wrong, and how a server answers it."""
        super().__init__(message, rule=rule)
        self.status = status
        self.fields = fields


class Uri(NamedTuple):
    """A Request-URI, an address or a contact.

    Attributes:
        text: As it stood; what is written back.
        scheme: In lower case.
        user: With its escapes, "" if absent; a password stays in it.
        host: In lower case, IPv6 in brackets, "" for schemes other than sip and sips.
        port: 0 if absent.
        params: The URI's own parameters, from the first semicolon.
        headers: From the question mark.
    """

    text: str
    scheme: str
    user: str = ""
    host: str = ""
    port: int = 0
    params: str = ""
    headers: str = ""

    def __str__(self) -> str:
        return self.text

    def param(self, name: str) -> str | None:
        """The value of a URI parameter, "" for one without a value, None if absent."""
        for part in self.params.lower().split(";")[1:]:
            found, _, value = part.partition("=")
            if found == name:
                return value
        return None


class NameAddr(NamedTuple):
    """From, To, Contact, Route, Record-Route: an address with parameters.

    Attributes:
        display: As it stood, quotes and all.
        uri: The address.
        tail: The parameters as they stood, already known to be well formed.
    """

    display: str
    uri: Uri
    tail: str

    @property
    def params(self) -> Params:
        """Names in lower case, values as they stood, None for those without."""
        return parse_params(self.tail)

    @property
    def tag(self) -> str:
        """The tag, "" if absent (RFC 3261 19.3)."""
        return _param(self.tail, "tag", ";tag=")


class Via(NamedTuple):
    """One hop of the way a request took.

    Attributes:
        transport: In upper case.
        host: In lower case.
        port: 0 if absent.
        tail: The parameters as they stood, already known to be well formed.
    """

    transport: str
    host: str
    port: int
    tail: str

    @property
    def params(self) -> Params:
        """Names in lower case, values as they stood, None for those without."""
        return parse_params(self.tail)

    @property
    def branch(self) -> str:
        """The transaction's name, "" from an RFC 2543 sender."""
        return _param(self.tail, "branch", ";branch=")

    @property
    def sent_by(self) -> str:
        """Host and port as written by the sender."""
        return f"{self.host}:{self.port}"


class CSeq(NamedTuple):
    """A request's number and method."""

    number: int
    method: str


def require_token(text: str, what: str, *, rule: str = "RFC 3261 25.1") -> None:
    """Refuse text that is no token."""
    if not _TOKEN_ONLY.fullmatch(text):
        raise SipError(f"{what} is not a token: {text[:40]!r}", rule=rule)


def parse_number(text: str, what: str, *, most: int) -> int:
    """Read decimal digits; ASCII only, no sign, at most `most`."""
    if _NUMBER.fullmatch(text):
        number = int(text)
        if number <= most:
            return number
    raise SipError(f"{what} is not a number up to {most}: {text[:40]!r}", rule="RFC 3261 25.1")


def parse_uri(text: str) -> Uri:
    """Read a whole URI of any scheme.

    Raises:
        SipError: it is none, its IPv6 address is none, or its port is above 65535.
    """
    found = _SIP_URI.fullmatch(text)
    if found is not None:
        scheme, user, host, port, params, headers = found.groups("")
        if host[0] == "[":
            _require_ipv6(host)
        number = _port(port) if port else 0
        return _made(Uri, (text, scheme.lower(), user, host.lower(), number, params, headers))
    other = _OTHER_URI.fullmatch(text)
    if other is None or other[1].lower() in ("sip", "sips"):
        raise SipError(f"not a URI: {text[:60]!r}", rule="RFC 3261 19.1.1")
    return Uri(text, other[1].lower())


def parse_via_list(text: str) -> list[Via]:
    """Read one Via field, which may name several hops."""
    hops = []
    end = 0
    while True:
        found = _VIA.match(text, end)
        if found is None:
            raise SipError(f"Via is malformed: {text[:60]!r}", rule="RFC 3261 20.42")
        transport, host, port, tail = found.groups("")
        if host[0] == "[":
            _require_ipv6(host)
        end = found.end()
        number = _port(port) if port else 0
        hops.append(_made(Via, (transport.upper(), host.lower(), number, tail)))
        if end == len(text):
            return hops
        end, more = _next(text, end, "Via")
        if not more:
            return hops


def parse_name_addr(text: str, what: str) -> NameAddr:
    """Read From or To: exactly one address."""
    addr, end = _name_addr(text, 0, what)
    if end != len(text) and text[end:].strip(" \t"):
        raise SipError(f"{what} has text after its address", rule="RFC 3261 20.10")
    return addr


def parse_name_addr_list(text: str, what: str) -> list[NameAddr]:
    """Read a field of comma-separated addresses (Contact, Route, Record-Route)."""
    addrs = []
    end = 0
    while True:
        addr, end = _name_addr(text, end, what)
        addrs.append(addr)
        if end == len(text):
            return addrs
        end, more = _next(text, end, what)
        if not more:
            return addrs


def parse_cseq(text: str) -> CSeq:
    """Read CSeq; its number is below 2^31 (RFC 3261 8.1.1.5)."""
    found = _CSEQ.fullmatch(text)
    if found is not None:
        digits, method = found.groups()
        number = int(digits)
        if number <= _LARGEST_CSEQ:
            return _made(CSeq, (number, method))
    raise SipError(f"CSeq is malformed: {text[:60]!r}", rule="RFC 3261 20.16")


def parse_value(text: str, what: str) -> tuple[str, dict[str, str]]:
    """Read a word with parameters, such as a media type, in lower case; quotes are taken off.

    Raises:
        SipError: it is malformed, or a parameter stands twice.
    """
    found = _VALUE.fullmatch(text)
    if found is None:
        raise SipError(f"{what} is malformed: {text[:60]!r}", rule="RFC 3261 25.1")
    params: dict[str, str] = {}
    for name, value in parse_params(found[2]):
        if name in params:
            raise SipError(f"{what} says {name[:20]!r} twice", rule="RFC 3261 7.3.1")
        text = value or ""
        params[name] = re.sub(r"\\(.)", r"\1", text[1:-1]) if text[:1] == '"' else text
    return "".join(found[1].split()).lower(), params


def split_tokens(text: str, what: str) -> list[str]:
    """Read comma-separated tokens (Require, Supported, Allow); empty elements are skipped."""
    tokens = [part.strip(" \t") for part in text.split(",")]
    tokens = [token for token in tokens if token]
    for token in tokens:
        require_token(token, what)
    return tokens


def _name_addr(text: str, start: int, what: str) -> tuple[NameAddr, int]:
    found = _USUAL.match(text, start)
    if found is not None:
        display, whole, scheme, user, host, port, params, tail = found.groups("")
        number = _port(port) if port else 0
        uri = _made(Uri, (whole, scheme, user, host.lower(), number, params, ""))
        name = display.rstrip(" \t") if display else ""
        return _made(NameAddr, (name, uri, tail)), found.end()
    found = _NAME_ADDR.match(text, start)
    if found is not None:
        return NameAddr(found[1].rstrip(" \t"), parse_uri(found[2]), found[3]), found.end()
    found = _ADDR_SPEC.match(text, start)
    if found is None:
        raise SipError(f"{what} is malformed: {text[:60]!r}", rule="RFC 3261 20.10")
    return NameAddr("", parse_uri(found[1]), found[2]), found.end()


def parse_params(tail: str) -> Params:
    """Read well-formed parameters."""
    return tuple((found[1].lower(), found[2]) for found in _PARAM.finditer(tail))


def _param(tail: str, name: str, usual: str) -> str:
    # Most fields have this one parameter, or begin with it; what is quoted needs the whole scan.
    if tail.startswith(usual) and '"' not in tail:
        return tail[len(usual) :].partition(";")[0].rstrip(" \t")
    for found, value in parse_params(tail):
        if found == name:
            return value or ""
    return ""


def _next(text: str, end: int, what: str) -> tuple[int, bool]:
    found = _COMMA.match(text, end)
    if found is None:
        raise SipError(f"{what} is malformed near {text[end : end + 30]!r}", rule="RFC 3261 25.1")
    return found.end(), "," in found[0]


def _port(digits: str) -> int:
    port = int(digits) if digits else 0
    if port > 65535:
        raise SipError(f"port {port} is above 65535", rule="RFC 3261 25.1")
    return port


def _require_ipv6(reference: str) -> None:
    address = reference[1:-1]
    before, three, tail = address.rpartition(":::")
    if three and "." in tail and ":" not in tail:
        # RFC 3261's own grammar derives one colon too many just before an embedded IPv4 address;
        # this, and nothing near it, is to be tolerated (RFC 5118 4.10)
        address = f"{before}::{tail}"
    try:
        _ = ipaddress.IPv6Address(address)
    except ValueError:
        raise SipError(f"not an IPv6 address: {reference[:60]!r}", rule="RFC 3986 3.2.2") from None
