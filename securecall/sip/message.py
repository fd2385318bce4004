"""Requests and responses: bytes to message and back (RFC 3261 7, 18.3)."""

from __future__ import annotations

import re
from collections.abc import Callable, Sized
from typing import Final, NoReturn

from securecall.errors import UsageError
from securecall.sip.grammar import (
    CSeq,
    NameAddr,
    SipError,
    Uri,
    Via,
    parse_cseq,
    parse_name_addr,
    parse_name_addr_list,
    parse_number,
    parse_uri,
    parse_via_list,
    require_token,
)
from securecall.sip.headers import Headers, salvage_fields
from securecall.sip.limits import MOST_BODY_BYTES, MOST_HEADER_BYTES, MOST_HOPS

# RFC 3261 20, RFC 3891 3, RFC 3911 3: these may stand once only; From, To, Call-ID and CSeq must
_ONCE: Final = frozenset(
    {"content-length", "content-type", "max-forwards", "expires", "min-expires", "date"}
    | {"from", "to", "call-id", "cseq", "replaces", "join"}
)
_MUST: Final = ("via", "from", "to", "call-id", "cseq")
# Content-Length was read when the message was cut out
_NUMBERS: Final = (("max-forwards", 255), ("expires", 2**32 - 1))
_CALL_ID: Final = re.compile(r"[A-Za-z0-9\-.!%*_+`'~()<>:\\\"/\[\]?{}@]++")
_STATUS: Final = re.compile(r"[1-6][0-9]{2}")


class Message:
    """What requests and responses share; typed headers are read on first use and kept.

    Attributes:
        headers: The fields; whoever changes them after a typed reading makes a new message.
        body: As it stood, at most 64 KiB.
        fault: Why it must be refused, found while it was cut out; the rest is for the answer.
    """

    __slots__ = ("_contact", "_cseq", "_from", "_to", "_vias", "body", "fault", "headers")

    def __init__(self, headers: Headers, body: bytes = b"") -> None:
        """Only subclasses are made."""
        self.headers = headers
        self.body = body
        self.fault: SipError | None = None
        self._vias: list[Via] | None = None
        self._from: NameAddr | None = None
        self._to: NameAddr | None = None
        self._cseq: CSeq | None = None
        self._contact: list[NameAddr] | None = None

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise UsageError("a message may carry keys, and is never serialised or copied")

    @property
    def vias(self) -> list[Via]:
        """Every Via, topmost first; raises `SipError` if there is none."""
        if self._vias is None:
            vias: list[Via] = []
            for text in self.headers.all("via"):
                vias += parse_via_list(text)
                _require_few(vias)
            if not vias:
                raise SipError("Via is missing", rule="RFC 3261 8.1.1")
            self._vias = vias
        return self._vias

    @property
    def via(self) -> Via:
        """The topmost Via."""
        return self.vias[0]

    @property
    def from_(self) -> NameAddr:
        """From."""
        if self._from is None:
            self._from = parse_name_addr(self.need("from"), "From")
        return self._from

    @property
    def to(self) -> NameAddr:
        """To."""
        if self._to is None:
            self._to = parse_name_addr(self.need("to"), "To")
        return self._to

    @property
    def cseq(self) -> CSeq:
        """CSeq."""
        if self._cseq is None:
            self._cseq = parse_cseq(self.need("cseq"))
        return self._cseq

    @property
    def call_id(self) -> str:
        """Call-ID, compared as it stands."""
        return self.need("call-id")

    @property
    def contacts(self) -> list[NameAddr]:
        """Every Contact; none for "*"."""
        if self._contact is None:
            contacts: list[NameAddr] = []
            for text in self.headers.all("contact"):
                if text != "*":
                    contacts += parse_name_addr_list(text, "Contact")
            self._contact = contacts
        return self._contact

    def addresses(self, key: str) -> list[NameAddr]:
        """Every address of a list field such as "record-route"."""
        found: list[NameAddr] = []
        for text in self.headers.all(key):
            found += parse_name_addr_list(text, key)
            _require_few(found)
        return found

    @property
    def hops(self) -> tuple[str, ...]:
        """Hosts named by Via and Record-Route between the next hop and the sender; claims."""
        routes = [a.uri.host for a in self.addresses("record-route")]
        return tuple(dict.fromkeys((*(via.host for via in self.vias[1:-1]), *routes)))

    def need(self, key: str) -> str:
        """A field that must be there.

        Raises:
            SipError: it is absent.
        """
        value = self.headers.first(key)
        if value is None:
            raise SipError(f"{key} is missing", rule="RFC 3261 8.1.1")
        return value

    def start_line(self) -> str:
        """The first line, without its end."""
        raise NotImplementedError

    def require_sound(self) -> None:
        """Refuse a message that has a `fault`, which is raised."""
        if self.fault is not None:
            raise self.fault

    def require_valid(self) -> None:
        """Refuse a message no user agent may act on (RFC 3261 8.1.1, 20).

        Raises:
            SipError: a mandatory field is missing, repeated or malformed.
        """
        self.require_sound()
        headers = self.headers
        twice = headers.repeated.keys() & _ONCE
        if twice:
            raise SipError(f"{min(twice)} stands twice", rule="RFC 3261 7.3.1")
        for key in _MUST:
            if key not in headers:
                raise SipError(f"{key} is missing", rule="RFC 3261 8.1.1")
        self._require_names()
        if "contact" in headers:
            self._require_contacts()
        for key, most in _NUMBERS:
            text = headers.first(key)
            if text is not None:
                _ = parse_number(text, key, most=most)

    def _require_names(self) -> None:
        if not _CALL_ID.fullmatch(self.call_id):
            raise SipError("Call-ID is malformed", rule="RFC 3261 20.8")
        for via in self.vias:
            branch = via.branch
            if len(branch) == len("z9hG4bK") and branch.lower() == "z9hg4bk":
                raise SipError("the branch has a cookie and no name", rule="RFC 3261 8.1.1.7")
        _ = self.from_, self.to, self.cseq

    def _require_contacts(self) -> None:
        for contact in self.contacts:
            if "expires" not in contact.tail.lower():
                continue
            for name, value in contact.params:
                if name == "expires":
                    _ = parse_number(value or "", "expires", most=2**32 - 1)


class Request(Message):
    """A request.

    Attributes:
        method: As it stood; methods compare with case.
        target: The Request-URI as it stood; `uri` is its reading.
        version: "SIP/2.0".
    """

    __slots__ = ("_uri", "method", "target", "version")

    def __init__(
        self,
        method: str,
        target: str,
        headers: Headers,
        body: bytes = b"",
        *,
        version: str = "SIP/2.0",
    ) -> None:
        """Take the parts."""
        super().__init__(headers, body)
        self.method = method
        self.target = target
        self.version = version
        self._uri: Uri | None = None

    def __repr__(self) -> str:
        return f"<Request {self.method[:20]!r} {len(self.headers)} fields, {len(self.body)} bytes>"

    @property
    def uri(self) -> Uri:
        """The Request-URI; headers after "?" are refused (RFC 3261 19.1.1)."""
        if self._uri is None:
            uri = parse_uri(self.target)
            if uri.headers:
                raise SipError("a Request-URI cannot carry headers", rule="RFC 3261 19.1.1")
            self._uri = uri
        return self._uri

    def start_line(self) -> str:
        """The request line."""
        return f"{self.method} {self.target} {self.version}"

    def require_valid(self) -> None:
        """Refuse what no server may act on; `SipError.status` is the answer it deserves."""
        self.require_sound()
        if self.version != "SIP/2.0" and self.version.upper() != "SIP/2.0":
            if not self.version.upper().startswith("SIP/"):
                raise SipError("not a request line", rule="RFC 3261 7.1")
            raise SipError("only SIP/2.0 is spoken here", rule="RFC 3261 7.1", status=505)
        if not self.method.isalpha() or not self.method.isascii():
            require_token(self.method, "the method")
        _ = self.uri
        super().require_valid()
        if self.cseq.method != self.method:
            raise SipError("CSeq names another method", rule="RFC 3261 8.1.1.5")


class Response(Message):
    """A response.

    Attributes:
        status: 100..699, 0 for one that is not of SIP/2.0, which `require_valid` refuses.
        reason: The phrase for people.
    """

    __slots__ = ("reason", "status")

    def __init__(self, status: int, reason: str, headers: Headers, body: bytes = b"") -> None:
        """Take the parts."""
        super().__init__(headers, body)
        self.status = status
        self.reason = reason

    def __repr__(self) -> str:
        return f"<Response {self.status} {len(self.headers)} fields, {len(self.body)} bytes>"

    def start_line(self) -> str:
        """The status line."""
        return f"SIP/2.0 {self.status} {self.reason}"

    def require_valid(self) -> None:
        """Refuse what no client may act on; such a response is dropped."""
        if not self.status:
            raise SipError("not a status line of SIP/2.0, 100 to 699", rule="RFC 3261 7.2")
        super().require_valid()


def build_message(message: Request | Response) -> bytes:
    """Write a message; Content-Length is set from the body.

    Raises:
        SipError: its start line holds a line break.
    """
    start = message.start_line()
    if "\r" in start or "\n" in start:
        raise SipError("the start line cannot hold a line break", rule="RFC 3261 7.1")
    headers = message.headers
    length = str(len(message.body))
    if headers.first("content-length") != length:
        headers = headers.copy()
        headers.replace("Content-Length", length)
    return f"{start}\r\n{headers.build()}\r\n".encode() + message.body


def parse_message(data: bytes) -> Request | Response:
    """Read one message that fills a datagram, and refuse it unless it is valid.

    Bytes after the length it names are ignored (RFC 3261 18.3). Streams use `MessageStream`.

    Raises:
        SipError: it is malformed.
    """
    message, rest = split_message(data)
    length = content_length(message)
    if length is None:
        length = len(rest)
    if length > MOST_BODY_BYTES:
        raise SipError(f"a body above {MOST_BODY_BYTES} bytes", status=513)
    if length > len(rest):
        raise SipError("the message is shorter than Content-Length says", rule="RFC 3261 18.3")
    message.body = rest[:length]
    message.require_valid()
    return message


def split_message(data: bytes) -> tuple[Request | Response, bytes]:
    """Read a header, and return what stands behind it as well.

    Raises:
        SipError: it is malformed, or has no end.
    """
    end = data.find(b"\r\n\r\n", 0, MOST_HEADER_BYTES + 4)
    if end < 0:
        raise SipError("the header does not end", rule="RFC 3261 7", status=513)
    return parse_head(data[:end]), data[end + 4 :]


def _require_few(values: Sized) -> None:
    if len(values) > MOST_HOPS:
        raise SipError(f"more than {MOST_HOPS} hops", status=483)


def content_length(message: Message) -> int | None:
    """The length a message names, None if it names none.

    Raises:
        SipError: it is no number, or several are named.
    """
    if "content-length" in message.headers.repeated:
        raise SipError("Content-Length stands twice", rule="RFC 3261 20.14")
    value = message.headers.first("content-length")
    return None if value is None else parse_number(value, "Content-Length", most=2**32 - 1)


def parse_head(head: bytes) -> Request | Response:
    """Read start line and header fields, without the empty line; values are not looked into.

    What is not text, and a line that is no field, becomes the `fault` of the message, so that a
    request can still be answered.

    Raises:
        SipError: it is not made of lines, or the first one is no start line.
    """
    fault = None
    try:
        text = head.decode()
    except UnicodeDecodeError:
        fault = SipError("the header is not UTF-8", rule="RFC 3261 7")
        text = head.decode(errors="replace")
    lines = text.split("\r\n")
    # a lone CR or LF is how one message is smuggled inside another
    if text.count("\r") != len(lines) - 1 or text.count("\n") != len(lines) - 1:
        raise SipError("a line ends without CRLF", rule="RFC 3261 7")
    start = lines.pop(0)
    headers = salvage_fields(lines)
    read: Callable[[str, Headers], Request | Response]
    read = _response if start[:4].upper() == "SIP/" else _request
    message = read(start, headers)
    message.fault = headers.fault or fault
    return message


def _request(start: str, headers: Headers) -> Request:
    # read leniently, so that a request with stray spaces can still be answered with 400
    method, _, rest = start.partition(" ")
    target, _, version = rest.rpartition(" ")
    if not method or not target:
        raise SipError("not a request line", rule="RFC 3261 7.1")
    return Request(method, target, headers, version=version)


def _response(start: str, headers: Headers) -> Response:
    version, _, rest = start.partition(" ")
    status, _, reason = rest.partition(" ")
    known = version.upper() == "SIP/2.0" and _STATUS.fullmatch(status)
    return Response(int(status) if known else 0, reason, headers)
