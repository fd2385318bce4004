"""People's addresses in one canonical form: sip, xmpp, tel, and the key itself."""

from __future__ import annotations

import enum
import ipaddress
import re
import unicodedata
from dataclasses import dataclass
from urllib.parse import quote, unquote_to_bytes

from securecall.errors import ProtocolError

_ROOT_FP = re.compile(r"[0-9a-f]{128}")
_E164 = re.compile(r"\+[1-9][0-9]{1,14}")
# RFC 3261 19.1.6: the user part is a telephone number, the host only one way to it
_PHONE = re.compile(r"(?:sips?:)?(?:\+|%2[Bb])([0-9.()\-]+)@([^@;?]+);user=phone", re.IGNORECASE)
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
# unreserved and user-unreserved of RFC 3261 25.1, without ";" and "?": those are read as the
# beginning of parameters and headers too often to stand in a canonical form
_SIP_USER_SAFE = "-_.!~*'()&=+$,/"
_MOST_SHOWN = 64  # characters of a user part, and of a host, that people are shown


class Scheme(enum.StrEnum):
    """The kinds of address a person can have."""

    SIP = "sip"
    XMPP = "xmpp"
    TEL = "tel"
    KEY = "key"


@dataclass(frozen=True, slots=True)
class Address:
    """One canonical address; equal text means equal address.

    `str()` is the wire form used in identity statements (security rules for `addrs`).

    Attributes:
        scheme: Which network.
        user: Local part; the digits for tel, the root fingerprint in hex for key.
        host: Lower-case host, empty for tel and key.
    """

    scheme: Scheme
    user: str
    host: str = ""

    def __str__(self) -> str:
        if self.scheme is Scheme.SIP:
            return f"sip:{quote(self.user, safe=_SIP_USER_SAFE)}@{self.host}"
        if self.scheme is Scheme.XMPP:
            return f"xmpp:{self.user}@{self.host}"
        return f"{self.scheme.value}:{self.user}"

    @property
    def short(self) -> str:
        """A form for people: no scheme, keys cut to their first 16 digits.

        Whoever calls chose it, so one of sip is a visible word with one @, before the end of the
        host; an XMPP server keeps to as much itself (RFC 7622 3.3).
        """
        if self.scheme is Scheme.KEY:
            return f"key:{self.user[:16]}…"
        if self.scheme is not Scheme.SIP:
            return f"{self.user}@{self.host}" if self.host else self.user
        host = self.host if len(self.host) <= _MOST_SHOWN else f"…{self.host[1 - _MOST_SHOWN :]}"
        return f"{_shown(self.user)}@{host}"


def _shown(user: str) -> str:
    """What of it can be seen, and passes neither for another host nor for the end of a line."""
    shown = "".join(c if _is_plain(c) else quote(c, safe="") for c in user)
    return shown if len(shown) <= _MOST_SHOWN else f"{shown[: _MOST_SHOWN - 1]}…"


def _is_plain(character: str) -> bool:
    alike = unicodedata.normalize("NFKC", character)
    return alike.isprintable() and character.isprintable() and not any(c in " @" for c in alike)


ANONYMOUS = Address(Scheme.SIP, "anonymous", "anonymous.invalid")  # RFC 3323 4.1.1.3


def parse_address(text: str) -> Address:
    """Read an address in canonical or near-canonical form; refuse what has no canonical form.

    `user@host` without a scheme is read as sip. IP hosts, ports, parameters and resources are
    refused: they name a machine or a session, not a person. A sip address with `user=phone` is the
    telephone number in it.

    Raises:
        ProtocolError: the text is not such an address.
    """
    phone = _PHONE.fullmatch(text)
    if phone is not None:
        _ = _canonical_host(text, phone[2])
        text = f"tel:+{phone[1]}"
    scheme, colon, rest = text.partition(":")
    if not colon:
        scheme, rest = "sip", text
    scheme = scheme.lower()
    if scheme == "key":
        if not _ROOT_FP.fullmatch(rest):
            raise _refused(text, "key: takes the 128 hex digits of a root fingerprint")
        return Address(Scheme.KEY, rest)
    if scheme == "tel":
        digits = re.sub(r"[-.() ]", "", rest)
        if not _E164.fullmatch(digits):
            raise _refused(text, "tel: takes a global number such as +441632960000")
        return Address(Scheme.TEL, digits)
    if scheme not in ("sip", "sips", "xmpp"):
        raise _refused(text, "known schemes are sip, xmpp, tel and key")
    user, at, host = rest.rpartition("@")
    if not at or not user:
        raise _refused(text, "it must look like user@host")
    host = _canonical_host(text, host)
    if scheme == "xmpp":
        return Address(Scheme.XMPP, _xmpp_user(text, user), host)
    return Address(Scheme.SIP, _sip_user(text, user), host)


def _canonical_host(text: str, host: str) -> str:
    if not host.isascii():
        host = _ascii_host(text, host)
    host = host.lower().removesuffix(".")
    if _is_ip(host.strip("[]")):
        raise _refused(text, "an IP address is not a person's host")
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in host.split(".")):
        raise _refused(text, "the host is not a plain domain name (no port, no parameters)")
    return host


def _is_ip(host: str) -> bool:
    if ":" not in host and not host[-1:].isdigit():
        return False  # as nearly always, and cheaper to see than to be refused
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _ascii_host(text: str, host: str) -> str:
    try:
        encoded = host.encode("idna")
        meant = encoded.decode("idna")
    except UnicodeError as e:
        raise _refused(text, "the host is not a domain name") from e
    if meant != unicodedata.normalize("NFC", host.lower()):
        # IDNA 2003 maps characters that make a domain of their own under IDNA 2008, "ß" to "ss":
        # the owner of one domain would pass for somebody at the other
        raise _refused(text, "the host has a character that is read in more than one way")
    return encoded.decode("ascii")


def _sip_user(text: str, user: str) -> str:
    if ":" in user or any(c <= " " or c in '<>"@;?\x7f' for c in user):
        raise _refused(text, "the user part has a character that no address carries")
    try:
        return unquote_to_bytes(user).decode("utf-8")
    except UnicodeDecodeError as e:
        raise _refused(text, "the user part is not UTF-8") from e


def _xmpp_user(text: str, user: str) -> str:
    # RFC 7622 3.3.1: these are excluded from a localpart
    if any(c <= " " or c in "\"&'/:<>@\x7f" for c in user) or _length(user) > 1023:
        raise _refused(text, "the local part has a character that no address carries")
    if user.isascii():
        return user.lower()
    # UsernameCaseMapped of RFC 8265 3.3. Never `casefold`: it makes one of "ß" and "ss",
    # which are two accounts where a server keeps to the profile.
    user = "".join(map(_narrow, user))
    if any(not _in_identifier(c) for c in user):
        raise _refused(text, "the local part has a character that no address carries")
    return unicodedata.normalize("NFC", user.lower())


def _length(user: str) -> int:
    return len(user.encode("utf-8", "surrogatepass"))


def _narrow(character: str) -> str:
    wide = unicodedata.east_asian_width(character) in "FH"
    return unicodedata.normalize("NFKC", character) if wide else character


def _in_identifier(character: str) -> bool:
    # IdentifierClass of RFC 8264 4.2: letters, digits and marks, and nothing that looks like
    # another character under compatibility (9.17)
    if character.isascii():
        return True
    known = unicodedata.category(character) in ("Ll", "Lu", "Lo", "Nd", "Lm", "Mn", "Mc")
    return known and unicodedata.normalize("NFKC", character) == character


def _refused(text: str, why: str) -> ProtocolError:
    return ProtocolError(f"{text[:80]!r} is not an address: {why}", rule="canonical address")
