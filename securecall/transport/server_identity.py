"""Whether a certificate proves a SIP domain (RFC 5922 7), and in plain words why it does not.

The chain is OpenSSL's to verify; which name it then proves is decided here, stricter than on the
web: no wildcards, no common names, and a certificate that names SIP domains by URI is good for
these alone.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from typing import Final

from securecall.errors import CertificateError, NameNotFound

WRONG_NAME: Final = 62  # X509_V_ERR_HOSTNAME_MISMATCH, though it is not OpenSSL that finds it
_HOST: Final = re.compile(r"[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*")
_SHOWN: Final = 4  # names of a certificate, in a message
_SHOWN_CHARACTERS: Final = 64

# What OpenSSL found wrong with the chain (X509_V_ERR_*): what that means, and who can do what.
_RENEW: Final = (
    "Its operator has to renew it; if it is valid elsewhere, this machine's clock is wrong"
)
_AUTHORITY: Final = (
    "If you trust its authority, name that authority's certificate with `authorities`; "
    "otherwise the server's operator has to get one from an authority this machine trusts"
)
_REPLACE: Final = "The server's operator has to replace it"
_FAULTS: Final = {
    7: ("it was signed by somebody else than the authority of that name known here", _AUTHORITY),
    9: ("it is not valid yet", _RENEW),
    10: ("it has expired", _RENEW),
    18: ("it is signed by itself, by no authority", _AUTHORITY),
    19: ("its authority is not one that this machine trusts", _AUTHORITY),
    20: ("its authority is unknown, or the server leaves out a certificate in between", _AUTHORITY),
    21: ("its authority is unknown, or the server leaves out a certificate in between", _AUTHORITY),
    24: ("it was issued by somebody who is no authority", _REPLACE),
    25: ("its authority may not have others beneath it", _REPLACE),
    26: ("it is not meant for servers", _REPLACE),
    47: ("its authority may not certify this name", _REPLACE),
    48: ("its authority may not certify this name", _REPLACE),
    62: ("it is for other names", "The server's operator has to install one for this name"),
    66: ("its key is too weak", _REPLACE),
    67: ("the key of its authority is too weak", _REPLACE),
    68: ("its signature is too weak", _REPLACE),
    79: ("it was issued by somebody who is no authority", _REPLACE),
}


def canonical_host(host: str) -> str:
    """An IP address in its one form, or a host name in lower-case A-labels without a last dot.

    Raises:
        NameNotFound: it is neither.
    """
    try:
        return str(ipaddress.ip_address(host.removeprefix("[").removesuffix("]")))
    except ValueError:
        pass
    try:
        name = host.encode("idna").decode("ascii").lower().removesuffix(".")
    except UnicodeError:
        name = ""
    if not is_host(name):
        raise NameNotFound(f"{host[:80]!r} is no host name")
    return name


def is_host(name: str) -> bool:
    """Whether this is a host name in lower-case A-labels, without a last dot."""
    return len(name) <= 253 and _HOST.fullmatch(name) is not None


def is_address(host: str) -> bool:
    """Whether a host is an IP address and no name."""
    try:
        _ = ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def require_name(names: Iterable[tuple[str, str]], name: str) -> None:
    """Refuse a certificate that does not prove the name (RFC 5922 7.1, 7.2).

    A SIP domain is proved by a URI `sip:` with this host and no user. Only where a certificate has
    no such URI for any domain, a dNSName counts. An IP address is proved by an iPAddress alone.

    Args:
        names: The entries of subjectAltName: kind ("URI", "DNS", "IP Address") and value.
        name: From `canonical_host`.

    Raises:
        CertificateError: says which names it proves instead.
    """
    entries = tuple(names)
    proved = _addresses(entries) if is_address(name) else _domains(entries)
    if not name or name not in proved:
        raise CertificateError(f"it is for {_listed(proved, entries)}, not for {name!r}")


def _addresses(entries: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    texts = (value.strip() for kind, value in entries if kind == "IP Address")
    return tuple(str(ipaddress.ip_address(text)) for text in texts if is_address(text))


def _domains(entries: tuple[tuple[str, str], ...]) -> tuple[str, ...]:
    uris = tuple(value for kind, value in entries if kind == "URI")
    sip = tuple(uri[4:] for uri in uris if uri[:4].lower() == "sip:" and "@" not in uri)
    if sip:
        return tuple(re.split("[:;?]", uri, maxsplit=1)[0].lower() for uri in sip)
    return tuple(value.lower() for kind, value in entries if kind == "DNS")


def _listed(proved: tuple[str, ...], entries: tuple[tuple[str, str], ...]) -> str:
    """Names an attacker may have chosen: escaped, and cut to a few."""
    shown = proved or tuple(value for _, value in entries)
    if not shown:
        return "no name (a common name does not count)"
    words = [ascii(text[:_SHOWN_CHARACTERS]) for text in shown[:_SHOWN]]
    more = len(shown) - _SHOWN
    return ", ".join(words) + (f" and {more} more" if more > 0 else "")


def explain_name(fault: str) -> tuple[str, str]:
    """A fault found by `require_name`, and what to do about it."""
    if "'*." in fault:
        fault += " (SIP knows no wildcards, RFC 5922 7.2)"
    return fault, "The server's operator has to install one for this name"


def explain_chain(code: int, message: str) -> tuple[str, str]:
    """What OpenSSL found wrong with a chain, and what to do about it."""
    return _FAULTS.get(code, (message, _REPLACE))
