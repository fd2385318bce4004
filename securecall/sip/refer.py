"""The words of a transfer: Refer-To, Replaces, and what a NOTIFY says came of it.

(RFC 3515, RFC 3891, RFC 3420, RFC 5589)
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple
from urllib.parse import quote, unquote_to_bytes

from securecall.address import ANONYMOUS, Address, Scheme
from securecall.sip.grammar import NameAddr, SipError, parse_name_addr, parse_value
from securecall.sip.headers import Headers
from securecall.sip.message import Request
from securecall.sip.naming import claimed_address
from securecall.sip.outcome import PHRASES

FRAGMENT: Final = "message/sipfrag"
_MOST_FRAGMENT: Final = 4096
# word ["@" word] (RFC 3261 25.1); nothing in it can end a header field
_CALL_ID: Final = re.compile(r"[A-Za-z0-9\-.!%*_+`'~()<>:\\\"/\[\]?{}@]{1,256}")
_TAG: Final = re.compile(r"[A-Za-z0-9\-.!%*_+`'~]{1,256}")
_STATUS: Final = re.compile(rb"SIP/2\.0 ([1-6][0-9]{2})(?: [^\r\n]{0,200})?(?:\r?\n|\Z)")
# parameters of a URI that say how to reach somebody, and not what to do there
_HARMLESS: Final = frozenset({"transport", "user", "gr", "ob", "lr", "maddr", "ttl"})


class Replaces(NamedTuple):
    """The call whose place another is to take, as the end that is asked to let it knows it.

    Attributes:
        call_id: Its Call-ID.
        to_tag: Of the end that is asked.
        from_tag: Of the other one, who leaves.
        early_only: Only while it rings.
    """

    call_id: str
    to_tag: str
    from_tag: str
    early_only: bool = False

    def __str__(self) -> str:
        early = ";early-only" if self.early_only else ""
        return f"{self.call_id};to-tag={self.to_tag};from-tag={self.from_tag}{early}"


def parse_replaces(text: str) -> Replaces:
    """Read the value of Replaces (RFC 3891 6.1).

    Raises:
        SipError: it is malformed.
    """
    call_id, *parts = (part.strip() for part in text.split(";"))
    found: dict[str, str] = {}
    for part in parts:
        name, _, value = part.partition("=")
        if found.setdefault(name.strip().lower(), value.strip()) != value.strip():
            raise SipError("Replaces names a tag twice", rule="RFC 3891 6.1")
    to_tag, from_tag = found.get("to-tag", ""), found.get("from-tag", "")
    if not (_CALL_ID.fullmatch(call_id) and _TAG.fullmatch(to_tag) and _TAG.fullmatch(from_tag)):
        raise SipError(f"Replaces is malformed: {text[:60]!r}", rule="RFC 3891 6.1")
    return Replaces(call_id, to_tag, from_tag, "early-only" in found)


class ReferTo(NamedTuple):
    """Whom we are asked to call.

    Attributes:
        text: As it stood, cut short; for people.
        address: None where it is nobody's address, or asks for more than a call.
        replaces: The call whose place the new one is to take, "" for none.
    """

    text: str
    address: Address | None
    replaces: str = ""


def read_refer_to(request: Request) -> ReferTo:
    """Read whom a REFER names; of all that a URI can ask for besides, Replaces alone is taken.

    A URI can bring any header field and a method (RFC 3261 19.1.1): whoever follows it blindly says
    in their own name what others wrote. So it has to be a person's plain address.

    Raises:
        SipError: there is not exactly one Refer-To, or it is malformed.
    """
    fields = request.headers.all("refer-to")
    if len(fields) != 1:
        raise SipError("one Refer-To is needed", rule="RFC 3515 2.4.1")
    return whom(parse_name_addr(fields[0], "Refer-To"))


def whom(addr: NameAddr) -> ReferTo:
    """Read whom an address that others chose leads to, as `read_refer_to` does."""
    uri, text = addr.uri, addr.uri.text[:256]
    address = claimed_address(addr)
    names = (part.partition("=")[0] for part in uri.params.lower().split(";")[1:])
    # no telephone numbers either: they cost, and who is sent there talks at HOP_BY_HOP
    person = address.scheme is Scheme.SIP and address != ANONYMOUS
    if not person or any(name not in _HARMLESS for name in names):
        return ReferTo(text, None)
    if not uri.headers:
        return ReferTo(text, address)
    name, _, value = uri.headers[1:].partition("=")
    if name.lower() != "replaces":
        return ReferTo(text, None)
    try:
        replaces = parse_replaces(unquote_to_bytes(value).decode("ascii"))
    except (SipError, UnicodeDecodeError):
        return ReferTo(text, None)  # a second header among it, behind "&"
    return ReferTo(text, address, str(replaces))


def build_refer_to(address: str, replaces: str) -> str:
    """Write Refer-To.

    Args:
        address: A URI without parameters.
        replaces: The value of Replaces that the new INVITE is to carry, "" for none.
    """
    return f"<{address}?Replaces={quote(replaces, safe='')}>" if replaces else f"<{address}>"


def build_fragment(status: int) -> bytes:
    """Write what came of a transfer: a status line alone, nothing of the other call (RFC 3420)."""
    return f"SIP/2.0 {status} {PHRASES.get(status, 'Refused')}\r\n".encode()


def read_fragment(notify: Request) -> int:
    """Read the status that a NOTIFY brings, 0 where it brings none.

    Raises:
        SipError: its body is of another kind, or malformed.
    """
    if not notify.body:
        return 0
    kind, _ = parse_value(notify.headers.first("content-type") or "", "Content-Type")
    if kind != FRAGMENT:
        raise SipError("a transfer is told of in message/sipfrag", status=415)
    found = _STATUS.match(notify.body[:_MOST_FRAGMENT])
    if found is None:
        raise SipError("the fragment begins with no status line", rule="RFC 3515 2.4.5")
    return int(found[1])


def notify_fields(number: int, *, seconds: int) -> Headers:
    """What a NOTIFY of ours says about its subscription; `seconds` 0 ends it."""
    state = f"active;expires={seconds}" if seconds else "terminated;reason=noresource"
    return Headers(
        (
            ("Event", f"refer;id={number}"),
            ("Subscription-State", state),
            ("Content-Type", f"{FRAGMENT};version=2.0"),
        )
    )
