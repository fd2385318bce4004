"""The Identity header: a PASSporT in full form, and where its credential is (RFC 8224 4)."""

from __future__ import annotations

import re
from typing import Final

from securecall.errors import ProtocolError
from securecall.keys.passport import OF_OTHERS, REQUEST, X5U, type_of
from securecall.sip.grammar import SipError

MOST_IDENTITIES: Final = 8  # of one message
_RULE: Final = "RFC 8224 4"
_TOKEN: Final = re.compile(r"[A-Za-z0-9_\-.]+")
_PPT_SHAKEN: Final = re.compile(r""";[ \t]*ppt[ \t]*=[ \t]*"?shaken\b""", re.IGNORECASE)
_PARAMETER: Final = re.compile(
    r"[ \t]*;[ \t]*([a-z]+)[ \t]*=[ \t]*(?:<([^<>\"\s]+)>|\"([!-~]+)\"|([A-Za-z0-9.\-]+))", re.ASCII
)


def build_identity(token: str) -> str:
    """Write the value of the header for a token of ours."""
    kind = type_of(token)
    return f"{token};info=<{X5U}>;alg=ES256" + (f';ppt="{kind}"' if kind != REQUEST else "")


def passports_of(values: tuple[str, ...]) -> tuple[str, ...]:
    """The tokens among the values of Identity that may be evidence about media keys.

    Those that vouch for telephone numbers alone are passed over, valid or not.

    Raises:
        SipError: a value is malformed, or says of its token what that does not say itself.
    """
    if len(values) > MOST_IDENTITIES:
        raise SipError("too many Identity headers", rule=_RULE, status=438)
    found = []
    for value in values:
        token, parameters = _read(value)
        try:
            kind = type_of(token)
        except ProtocolError as e:
            raise SipError(str(e), rule=_RULE, status=438) from e
        if parameters.get("ppt", REQUEST) != kind:
            raise SipError("an Identity of another type than its token", rule=_RULE, status=438)
        if kind not in OF_OTHERS:
            if parameters.get("alg", "ES256") != "ES256" or "info" not in parameters:
                raise SipError("an Identity of unknown make", rule=_RULE, status=438)
            found.append(token)
    return tuple(found)


def of_the_telephone_network(values: tuple[str, ...]) -> bool:
    """Whether one of these vouches for a telephone number (SHAKEN, RFC 8588), valid or not.

    It says something about the number, and of the keys of the call that they end at a gateway. One
    that cannot be read says nothing: whoever could damage it could leave it out as well.
    """
    return any(_PPT_SHAKEN.search(value) or _kind(value) == "shaken" for value in values)


def _kind(value: str) -> str:
    try:
        return type_of(value.partition(";")[0].strip(" \t"))
    except ProtocolError:
        return ""


def _read(value: str) -> tuple[str, dict[str, str]]:
    token, semicolon, rest = value.strip(" \t").partition(";")
    token, rest = token.rstrip(" \t"), semicolon + rest
    if not _TOKEN.fullmatch(token):
        raise SipError("Identity is malformed", rule=_RULE, status=438)
    place, parameters = 0, dict[str, str]()
    while place < len(rest):
        found = _PARAMETER.match(rest, place)
        if found is None or found[1] in parameters:
            raise SipError("Identity has malformed parameters", rule=_RULE, status=438)
        parameters[found[1]] = found[2] or found[3] or found[4]
        place = found.end()
    return token, parameters
