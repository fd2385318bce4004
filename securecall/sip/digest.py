"""Digest authentication, the client's half (RFC 3261 22, RFC 7616, RFC 8760).

A password never leaves; what leaves is a hash over a nonce the challenger chose, and whoever has
that can try passwords at leisure. So challenges are answered for the account's own realm alone,
with the strongest hash offered, and never with a weaker one than was offered before.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from typing import Final

from securecall.errors import LoginRefused, UsageError
from securecall.secret import Secret
from securecall.sip.grammar import SipError, split_tokens
from securecall.sip.limits import MOST_CHALLENGES
from securecall.sip.message import Request, Response

_QUOTED = r'"(?:[^"\\\r\n]|\\[^\r\n])*+"'
_FIELD: Final = re.compile(
    rf"[ \t]*+([A-Za-z0-9\-.!%*_+`'~]++)[ \t]*+=[ \t]*+([A-Za-z0-9\-.!%*_+`'~]++|{_QUOTED})[ \t]*+"
)
_SCHEME: Final = re.compile(r"[ \t]*+digest[ \t]++", re.ASCII | re.IGNORECASE)
_ESCAPE: Final = re.compile(r"\\(.)")
# the strongest first; "" is what RFC 2617 servers leave out, and means MD5
ALGORITHMS: Final = {"SHA-512-256": "sha512_256", "SHA-256": "sha256", "MD5": "md5"}
_STRENGTH: Final = {"SHA-512-256": 2, "SHA-256": 2, "MD5": 1}
_MOST_NONCE: Final = 1024  # what we repeat in every request

# of each kind of challenge: its header, and the header that answers it
_HEADERS: Final = {
    401: ("www-authenticate", "Authorization"),
    407: ("proxy-authenticate", "Proxy-Authorization"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    """One Digest challenge (RFC 7616 3.3).

    Attributes:
        realm: Whose passwords are meant.
        nonce: The challenger's.
        algorithm: A key of `ALGORITHMS`.
        qop: "auth", "auth-int", or "" from an RFC 2069 server.
        opaque: To be given back, None if absent.
    """

    realm: str
    nonce: str
    algorithm: str = "MD5"
    qop: str = ""
    opaque: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """What an account proves itself with.

    Attributes:
        user: As the server knows it; usually the address's user part.
        password: Never sent.
        realms: The realms it may be used for, in lower case. Where none of them is what the
            server says when it challenges our registration, that one is learned.
        learns: Whether a realm may be learned so.
        md5: Whether MD5 will do, where a server knows nothing better.
    """

    user: str
    password: Secret = field(repr=False)
    realms: tuple[str, ...]
    learns: bool = True
    md5: bool = True


class Authenticator:
    """Answers the challenges an account's requests meet; remembers realms, never passwords."""

    def __init__(self, login: Login) -> None:
        """Answer for this login.

        Raises:
            UsageError: the user's name cannot be written.
        """
        if not login.user or any(c < " " or c == "\x7f" for c in login.user):
            raise UsageError("a user's name has no control characters")
        self._login = login
        self._realms = set(login.realms)
        self._learned = not login.learns
        self._registers = False
        self._strongest = (
            _STRENGTH["MD5"] if login.md5 else _STRENGTH["SHA-256"]
        )  # over all realms: the password is the same
        self._counts: dict[str, int] = {}  # how often each recent nonce was used
        self._known: dict[str, Challenge] = {}  # of registrations, to volunteer next time

    def answer(
        self, request: Request, response: Response, *, answered: int, cnonce: str
    ) -> tuple[str, str] | None:
        """The header that answers a 401 or 407, None where nothing in it is ours to answer.

        Args:
            request: What was challenged, as it was sent.
            response: The challenge.
            answered: How many challenges this request met before.
            cnonce: At least 64 fresh random bits, as text.

        Raises:
            LoginRefused: the password was wrong, or the challenge is weaker than one before.
        """
        names = _HEADERS.get(response.status)
        if names is None:
            return None
        challenge = self._choose(challenges_of(response), request.method)
        if challenge is None:
            return None
        # What was volunteered may be of an old nonce; what was answered a moment ago is of a fresh
        # one. So a second challenge says that the password is wrong, or it is not our server's:
        # that would not have passed the request on. A registration goes to nobody else, but may
        # meet a proxy and a registrar.
        again = request.method != "REGISTER" or names[1].lower() in request.headers
        if answered and again:
            raise LoginRefused(
                f"the server does not take this user and password for {challenge.realm[:60]!r}"
            )
        if request.method == "REGISTER":
            self._known[names[1]] = challenge
        return names[1], self._write(challenge, request, cnonce)

    def volunteer(self, request: Request, *, cnonce: str) -> list[tuple[str, str]]:
        """What a registration may show unasked: the answer to the last nonce, counted on.

        No other request does, since proxies may pass on what they did not ask for.
        """
        return [
            (name, self._write(challenge, request, cnonce))
            for name, challenge in self._known.items()
        ]

    def _choose(self, challenges: list[Challenge], method: str) -> Challenge | None:
        """The strongest challenge of a realm that is ours."""
        ours = [c for c in challenges if c.realm.lower() in self._realms]
        if not ours and challenges and method == "REGISTER" and not self._learned:
            # The server was verified for our domain, and a registration goes no further.
            self._learned = True
            self._realms.add(challenges[0].realm.lower())
            ours = [c for c in challenges if c.realm.lower() in self._realms]
        if not ours:
            return None
        chosen = max(ours, key=lambda c: _STRENGTH[c.algorithm])  # the first of equals (RFC 8760)
        strength = _STRENGTH[chosen.algorithm]
        if strength < self._strongest:
            raise LoginRefused(
                f"{chosen.realm[:60]!r} asked for a weaker hash ({chosen.algorithm}) than "
                + (
                    "before; somebody on the way may want one that is easier to guess the "
                    "password from"
                    if self._login.md5
                    else "the fips profile uses"
                )
            )
        # Others than our server can challenge a call, so once a registration was challenged they
        # raise nothing: its next challenge would look weaker than what they pretended.
        if method == "REGISTER" or not self._registers:
            self._strongest = strength
        self._registers |= method == "REGISTER"
        return chosen

    def _write(self, challenge: Challenge, request: Request, cnonce: str) -> str:
        count = self._counts.get(challenge.nonce, 0) + 1
        self._counts = {**self._recent(), challenge.nonce: count}
        return build_credentials(
            challenge,
            user=self._login.user,
            password=self._login.password,
            method=request.method,
            uri=request.target,
            body=request.body,
            cnonce=cnonce,
            count=count,
        )

    def _recent(self) -> dict[str, int]:
        """The counts worth keeping: a server's nonces change, and are not reused once dropped."""
        return dict(tuple(self._counts.items())[-15:])


def challenges_of(response: Response) -> list[Challenge]:
    """Every Digest challenge that can be read and answered; others are passed over."""
    names = _HEADERS.get(response.status)
    found = []
    for text in response.headers.all(names[0])[:MOST_CHALLENGES] if names else ():
        try:
            found.append(parse_challenge(text))
        except SipError:
            continue  # another scheme or algorithm: the next one may be ours
    return found


def parse_challenge(text: str) -> Challenge:
    """Read one WWW-Authenticate or Proxy-Authenticate value.

    Raises:
        SipError: it is malformed, of another scheme, or wants a hash or a protection not known.
    """
    start = _SCHEME.match(text)
    if start is None:
        raise SipError("not a Digest challenge", rule="RFC 7616 3.3")
    fields = parse_fields(text, start.end())
    realm, nonce = fields.get("realm"), fields.get("nonce")
    if realm is None or not nonce or len(nonce) > _MOST_NONCE or len(realm) > _MOST_NONCE:
        raise SipError("a challenge needs a realm and a nonce", rule="RFC 7616 3.3")
    algorithm = (fields.get("algorithm") or "MD5").upper()
    if algorithm not in ALGORITHMS:
        raise SipError(f"the hash {algorithm[:20]!r} is not known", rule="RFC 7616 3.3")
    return Challenge(
        realm=realm,
        nonce=nonce,
        algorithm=algorithm,
        qop=_qop(fields.get("qop")),
        opaque=fields.get("opaque"),
    )


def parse_fields(text: str, start: int) -> dict[str, str]:
    """Read comma-separated `name=value` from an offset; names in lower case, quotes taken off.

    Raises:
        SipError: it is malformed, or a name stands twice.
    """
    fields: dict[str, str] = {}
    end = start
    while True:
        found = _FIELD.match(text, end)
        if found is None:
            raise SipError("a Digest header is malformed", rule="RFC 7616 3.3")
        name, value = found[1].lower(), found[2]
        if name in fields:
            raise SipError(f"{name[:20]} stands twice", rule="RFC 7616 3.3")
        fields[name] = _ESCAPE.sub(r"\1", value[1:-1]) if value[0] == '"' else value
        end = found.end()
        if end == len(text):
            return fields
        if text[end] != ",":
            raise SipError("a Digest header is malformed", rule="RFC 7616 3.3")
        end += 1


def _qop(text: str | None) -> str:
    if text is None:
        return ""
    offered = [token.lower() for token in split_tokens(text, "qop")]
    for known in ("auth", "auth-int"):
        if known in offered:
            return known
    raise SipError("no known quality of protection", rule="RFC 7616 3.3")


def build_credentials(
    challenge: Challenge,
    *,
    user: str,
    password: Secret,
    method: str,
    uri: str,
    body: bytes,
    cnonce: str,
    count: int,
) -> str:
    """Write the value of Authorization or Proxy-Authorization (RFC 7616 3.4).

    Args:
        challenge: Answered.
        user: As the server knows it.
        password: Goes into the hash.
        method: Of the request.
        uri: Its Request-URI.
        body: Its body; counts only for "auth-int".
        cnonce: Ours.
        count: How often this nonce is used, from 1.
    """
    name = ALGORITHMS[challenge.algorithm]

    def hashed(data: bytes) -> str:
        return hashlib.new(name, data, usedforsecurity=False).hexdigest()

    secret = hashed(f"{user}:{challenge.realm}:".encode() + password.reveal())
    act = f"{method}:{uri}"
    if challenge.qop == "auth-int":
        act = f"{act}:{hashed(body)}"
    number = f"{count:08x}"
    middle = challenge.nonce
    if challenge.qop:
        middle = f"{middle}:{number}:{cnonce}:{challenge.qop}"
    response = hashed(f"{secret}:{middle}:{hashed(act.encode())}".encode())
    parts = [
        f"username={_quote(user)}",
        f"realm={_quote(challenge.realm)}",
        f"nonce={_quote(challenge.nonce)}",
        f"uri={_quote(uri)}",
        f'response="{response}"',
        f"algorithm={challenge.algorithm}",
    ]
    if challenge.qop:
        parts += [f'cnonce="{cnonce}"', f"qop={challenge.qop}", f"nc={number}"]
    if challenge.opaque is not None:
        parts.append(f"opaque={_quote(challenge.opaque)}")
    return "Digest " + ", ".join(parts)


def _quote(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
