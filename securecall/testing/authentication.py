"""Digest authentication as the lab server asks for it, without I/O (RFC 7616, RFC 8760).

A server's half of its own, so that a client's half can be tested against it.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from securecall.secret import Secret
from securecall.sip.grammar import SipError
from securecall.sip.message import Request

ALGORITHMS: Final = {"SHA-512-256": "sha512_256", "SHA-256": "sha256", "MD5": "md5"}
NONCE_SECONDS: Final = 300.0
MOST_NONCES: Final = 4096
MOST_FAILURES: Final = 5  # wrong answers on one connection; then 403 without a challenge
_PARAM: Final = re.compile(
    r'[ \t]*+([A-Za-z0-9\-]++)[ \t]*+=[ \t]*+(?:"((?:[^"\\]|\\.)*+)"|([^\s",;]++))[ \t]*+(?:,|$)'
)
_COUNT: Final = re.compile(r"[0-9A-Fa-f]{8}")
_MUST: Final = frozenset({"username", "realm", "nonce", "uri", "response"})
_DUMMY: Final = b"nobody has this password"


class Unproven(SipError):
    """Who sent a request was not proven.

    Attributes:
        stale: The password was right, only the nonce is to be replaced.
        failed: An answer was given, and it was wrong.
    """

    def __init__(self, message: str, *, stale: bool = False, failed: bool = False) -> None:
        """Say why, in words that tell nobody whether a user exists."""
        super().__init__(message, rule="RFC 3261 22", status=401)
        self.stale = stale
        self.failed = failed


class Authenticator:
    """Challenges, and the proofs that answer them.

    Attributes:
        realm: The domain.
        users: Name -> password.
        algorithms: Offered, the best first.
        nonce_seconds: How long a nonce is good.
    """

    def __init__(
        self,
        realm: str,
        users: Mapping[str, Secret],
        *,
        random_token: Callable[[], str],
        algorithms: Sequence[str] = ("SHA-256", "MD5"),
        nonce_seconds: float = NONCE_SECONDS,
    ) -> None:
        """Draw nonces from `random_token`, which returns at least 16 unguessable digits."""
        self.realm = realm
        self.users = users
        self.algorithms = tuple(algorithms)
        self.nonce_seconds = nonce_seconds
        self._random_token = random_token
        self._opaque = random_token()
        # nonce -> when it was made, and the highest nonce count seen
        self._nonces: dict[str, tuple[float, int]] = {}
        self._failures: dict[int, int] = {}

    def challenges(self, *, stale: bool, now: float) -> list[str]:
        """Return one challenge for each algorithm, with a fresh nonce."""
        nonce = self._random_token()
        while len(self._nonces) >= MOST_NONCES:
            del self._nonces[next(iter(self._nonces))]
        self._nonces[nonce] = (now, 0)
        return [
            f'Digest realm="{self.realm}", nonce="{nonce}", opaque="{self._opaque}", '
            f'algorithm={algorithm}, qop="auth"{", stale=true" if stale else ""}'
            for algorithm in self.algorithms
        ]

    def forget_nonces(self) -> None:
        """Make every nonce stale."""
        self._nonces.clear()

    def forget_flow(self, flow: int) -> None:
        """A connection is gone."""
        _ = self._failures.pop(flow, None)

    def require_user(self, request: Request, field: str, *, flow: int, now: float) -> str:
        """Return the name of the user who sent a request.

        Args:
            request: What came.
            field: "authorization" or "proxy-authorization".
            flow: The connection; wrong answers are counted by it.
            now: Monotonic seconds.

        Raises:
            Unproven: answer it with `challenges`.
            SipError: the credentials are malformed, for another request, or too many were wrong.
        """
        if self._failures.get(flow, 0) >= MOST_FAILURES:
            raise SipError("too many wrong passwords", rule="RFC 3261 22", status=403)
        for text in request.headers.all(field):
            given = parse_credentials(text)
            if given["realm"] == self.realm:
                break
        else:
            raise Unproven("no credentials for this realm")
        try:
            self._require_answer(given, request)
            self._require_nonce(given, now=now)
        except Unproven as e:
            if e.failed:
                self._failures[flow] = self._failures.get(flow, 0) + 1
            raise
        _ = self._failures.pop(flow, None)
        return given["username"]

    def _require_answer(self, given: Mapping[str, str], request: Request) -> None:
        algorithm = _known(given.get("algorithm", "MD5"))
        if algorithm not in self.algorithms or given.get("qop") != "auth":
            raise Unproven("not what the challenge offered", failed=True)
        if given.get("opaque") != self._opaque:
            raise Unproven("not the opaque of the challenge")
        if given["uri"] != request.target:
            raise SipError("the credentials are for another request", rule="RFC 7616 3.4.6")
        password = self.users.get(given["username"])
        # a user nobody knows takes as long and is answered as one with another password
        answer = digest_answer(
            algorithm,
            user=given["username"],
            realm=self.realm,
            password=password.reveal() if password is not None else _DUMMY,
            method=request.method,
            uri=given["uri"],
            nonce=given["nonce"],
            count=given.get("nc", ""),
            client_nonce=given.get("cnonce", ""),
        )
        right = hmac.compare_digest(answer.encode(), given["response"].lower().encode())
        if password is None or not right:
            raise Unproven("unknown user or wrong password", failed=True)

    def _require_nonce(self, given: Mapping[str, str], *, now: float) -> None:
        nonce, count = given["nonce"], given.get("nc", "")
        if not _COUNT.fullmatch(count) or not given.get("cnonce"):
            raise SipError("nc or cnonce is missing", rule="RFC 7616 3.4")
        made, highest = self._nonces.get(nonce, (-self.nonce_seconds, 0))
        if nonce not in self._nonces or now >= made + self.nonce_seconds:
            _ = self._nonces.pop(nonce, None)
            raise Unproven("the nonce is too old", stale=True)
        if int(count, 16) <= highest:
            raise Unproven("the nonce count was used before", stale=True)
        self._nonces[nonce] = (made, int(count, 16))


def digest_answer(
    algorithm: str,
    *,
    user: str,
    realm: str,
    password: bytes,
    method: str,
    uri: str,
    nonce: str,
    count: str,
    client_nonce: str,
) -> str:
    """Return what proves the password, in hexadecimal, for qop "auth" (RFC 7616 3.4.1)."""

    def hashed(data: bytes) -> str:
        # MD5 proves less than it did; RFC 8760 2.1 lets it stand last
        return hashlib.new(ALGORITHMS[algorithm], data, usedforsecurity=False).hexdigest()

    who = hashed(f"{user}:{realm}:".encode() + password)
    what = hashed(f"{method}:{uri}".encode())
    return hashed(f"{who}:{nonce}:{count}:{client_nonce}:auth:{what}".encode())


def parse_credentials(text: str) -> dict[str, str]:
    """Read Authorization or Proxy-Authorization: names in lower case, quotes taken off.

    Raises:
        SipError: it is malformed, or not of the scheme Digest. It never repeats the text.
    """
    scheme, _, rest = text.strip().partition(" ")
    if scheme.lower() != "digest":
        raise SipError("only Digest is spoken here", rule="RFC 3261 22.4")
    found: dict[str, str] = {}
    end = 0
    while end < len(rest):
        part = _PARAM.match(rest, end)
        if part is None or part[1].lower() in found:
            raise SipError("the credentials are malformed", rule="RFC 7616 3.4")
        quoted = part[2]
        value = part[3] if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
        found[part[1].lower()] = value
        end = part.end()
    if not found.keys() >= _MUST:
        raise SipError("the credentials are not complete", rule="RFC 7616 3.4")
    return found


def _known(algorithm: str) -> str:
    """The usual spelling of an algorithm; it compares without case."""
    return algorithm.upper()
