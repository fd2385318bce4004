"""SCRAM, the one way we prove a password (RFC 5802, RFC 7677); the server proves that it knew it.

Nothing that would show the password, or a value that serves in its place, is ever sent.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import stringprep
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from securecall.errors import LoginRefused, ProtocolError
from securecall.xmpp.sasl import Offer

FEWEST_ITERATIONS: Final = 4096  # RFC 7677 4
MOST_ITERATIONS: Final = 1_000_000  # some tenths of a second of this machine's time
_MOST_MESSAGE: Final = 4096
_MOST_SALT: Final = 1024
_HASHES: Final = {"SHA-512": "sha512", "SHA-256": "sha256", "SHA-1": "sha1"}


@dataclass(frozen=True, slots=True)
class Mechanism:
    """One of SCRAM's mechanisms.

    Attributes:
        hash: "SHA-512", "SHA-256" or "SHA-1".
        plus: Bound to the TLS connection beneath.
    """

    hash: str
    plus: bool

    def __str__(self) -> str:
        return f"SCRAM-{self.hash}{'-PLUS' if self.plus else ''}"


# Binding comes first: whoever stands in between cannot use what was proved to him. A server that
# stands in between cannot hide it either: the flag `y` says what we saw (RFC 5802 6).
MECHANISMS: Final = tuple(Mechanism(name, plus) for plus in (True, False) for name in _HASHES)


def choose(offered: Iterable[str], *, binding: bool, least: str = "") -> Mechanism:
    """The best mechanism that both ends have.

    Args:
        offered: By the server.
        binding: We know a channel binding of this connection.
        least: The weakest mechanism to take, "" for any: what the server had before.

    Raises:
        LoginRefused: the server offers none of ours, or only weaker ones than before.
    """
    names = set(offered)
    ranked = [m for m in MECHANISMS if binding or not m.plus]
    for mechanism in ranked:
        if str(mechanism) in names:
            chosen = mechanism
            break
    else:
        raise LoginRefused(
            "the server takes no password in a way that keeps it secret (SCRAM). Nothing was sent. "
            "Ask its operator to turn SCRAM-SHA-256 on"
        )
    if least and _strength(str(chosen)) < _strength(least):
        raise LoginRefused(
            f"the server offers no more than {chosen}, though it once had {least}. Somebody may "
            "stand in between; ask its operator before you allow the weaker one"
        )
    return chosen


def _any_plus(names: Iterable[str]) -> bool:
    return any(name.endswith("-PLUS") for name in names)


def saslprep(text: str) -> str:
    """The one form of a user name or password that both ends compare (RFC 4013).

    Raises:
        LoginRefused: there is none.
    """
    mapped = "".join(
        " " if stringprep.in_table_c12(c) else c for c in text if not stringprep.in_table_b1(c)
    )
    form = unicodedata.normalize("NFKC", mapped)
    if any(table(c) for c in form for table in _PROHIBITED) or not _one_direction(form):
        raise LoginRefused("the user or the password holds a character that no login can carry")
    return form


def _one_direction(text: str) -> bool:
    """RFC 3454 6."""
    if not any(stringprep.in_table_d1(c) for c in text):
        return True
    both = any(stringprep.in_table_d2(c) for c in text)
    return not both and stringprep.in_table_d1(text[0]) and stringprep.in_table_d1(text[-1])


_PROHIBITED: Final = (
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
)


def _strength(name: str) -> int:
    """Of the hash alone: whether binding is possible depends on the version of TLS, too."""
    order = ["SHA-1", "SHA-256", "SHA-512"]
    stem = name.removesuffix("-PLUS").removeprefix("SCRAM-")
    return order.index(stem) if stem in order else -1


@dataclass(frozen=True, slots=True)
class Binding:
    """What both ends of a TLS connection know, and nobody who stands in between.

    Attributes:
        type: e.g. "tls-exporter"; "" for none.
        data: Of this connection.
    """

    type: str = ""
    data: bytes = field(default=b"", repr=False)


class Scram:
    """One login: three messages, the last of which proves the server."""

    def __init__(
        self,
        mechanism: Mechanism,
        user: str,
        password: bytes,
        *,
        nonce: str,
        binding: Binding,
        offered: Offer,
    ) -> None:
        """Prepare one login.

        Args:
            mechanism: From `choose`.
            user: The localpart.
            password: UTF-8.
            nonce: Fresh, of printable ASCII without commas.
            binding: Of the connection, whether it is used or not.
            offered: What the server said it takes.

        Raises:
            LoginRefused: user or password hold what no server can compare.
        """
        self._mechanism = mechanism
        self._hash = _HASHES[mechanism.hash]
        name = saslprep(user).replace("=", "=3D").replace(",", "=2C")
        self._password = saslprep(password.decode(errors="replace")).encode()
        self._nonce = nonce
        self._first_bare = f"n={name},r={nonce}"
        self._bound = binding.data if mechanism.plus else b""
        # "y" says: we could, but saw no offer. A server that made one then knows it was hidden.
        hidden = "y" if binding.type and not _any_plus(offered.mechanisms) else "n"
        self._header = f"p={binding.type},," if mechanism.plus else f"{hidden},,"
        self._offered = offered
        self._server_signature = b""

    def __repr__(self) -> str:
        return f"<Scram {self._mechanism}>"

    def first(self) -> bytes:
        """The client-first-message."""
        return (self._header + self._first_bare).encode()

    def parse_challenge(self, challenge: bytes) -> Challenge:
        """Read the server-first-message.

        Raises:
            ProtocolError: it breaks a rule.
            LoginRefused: it would weaken the password.
        """
        values = _attributes(challenge, "rsi")
        self._require_same_offer(values.get("h", ""))
        nonce = values["r"]
        if not nonce.startswith(self._nonce) or nonce == self._nonce:
            raise ProtocolError("the server's nonce is not made of ours", rule="RFC 5802 5.1")
        salt = _decoded(values["s"])
        count = values["i"]
        number = count.isascii() and count.isdigit() and len(count) < 10
        if not number or not 0 < len(salt) <= _MOST_SALT:
            raise ProtocolError("the challenge cannot be read", rule="RFC 5802 7")
        iterations = int(count)
        if iterations < FEWEST_ITERATIONS:
            raise LoginRefused(
                f"the server asks for {iterations} rounds, which would let whoever listens guess "
                f"the password; at least {FEWEST_ITERATIONS} are needed. Nothing was sent"
            )
        if iterations > MOST_ITERATIONS:
            raise LoginRefused(f"the server asks for {iterations} rounds of work, too many")
        return Challenge(challenge.decode(), nonce, salt, iterations)

    def salted(self, challenge: Challenge) -> bytes:
        """The work of the login: up to some tenths of a second, so away from the event loop."""
        return hashlib.pbkdf2_hmac(self._hash, self._password, challenge.salt, challenge.iterations)

    def final(self, challenge: Challenge, salted: bytes) -> bytes:
        """The client-final-message."""
        bound = base64.b64encode(self._header.encode() + self._bound).decode()
        without_proof = f"c={bound},r={challenge.nonce}"
        said = f"{self._first_bare},{challenge.text},{without_proof}".encode()
        client_key = self._mac(salted, b"Client Key")
        stored_key = hashlib.new(self._hash, client_key).digest()
        signature = self._mac(stored_key, said)
        proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
        self._server_signature = self._mac(self._mac(salted, b"Server Key"), said)
        return f"{without_proof},p={base64.b64encode(proof).decode()}".encode()

    def require_proof(self, final: bytes) -> None:
        """Refuse a server that did not know the password.

        Raises:
            LoginRefused: its signature is wrong or missing.
        """
        try:
            proof = _decoded(_attributes(final, "v")["v"])
        except ProtocolError:
            proof = b""
        known = self._server_signature
        if not known or not hmac.compare_digest(proof, known):
            raise LoginRefused(
                "the server took the login without proving that it knew the password: it is not "
                "the one that holds this account"
            )

    def _require_same_offer(self, seen: str) -> None:
        """What the server offered is what came here, if it says so (XEP-0474 4.2).

        Whoever changes this attribute spoils the signatures, which cover it.
        """
        if not seen:
            return
        text = "\x1e".join(sorted(self._offered.mechanisms, key=str.encode))
        if self._offered.bindings is not None:
            text += "\x1f" + "\x1e".join(sorted(self._offered.bindings, key=str.encode))
        if not hmac.compare_digest(_decoded(seen), hashlib.new(self._hash, text.encode()).digest()):
            raise LoginRefused(
                "somebody in between changed what the server offers, to make the login weaker"
            )

    def _mac(self, key: bytes, message: bytes) -> bytes:
        return hmac.digest(key, message, self._hash)


@dataclass(frozen=True, slots=True)
class Challenge:
    """A server-first-message.

    Attributes:
        text: As it came.
        nonce: Ours and the server's.
        salt: For the password.
        iterations: Of the work.
    """

    text: str
    nonce: str
    salt: bytes
    iterations: int


def _attributes(message: bytes, wanted: str) -> dict[str, str]:
    """The attributes, which have to be these, in this order, first; extensions may follow."""
    if len(message) > _MOST_MESSAGE:
        raise ProtocolError("a message of the login is too long", rule="RFC 5802 7")
    try:
        parts = message.decode().split(",")
    except UnicodeDecodeError as e:
        raise ProtocolError("a message of the login is not UTF-8", rule="RFC 5802 5") from e
    found = [part.partition("=") for part in parts]
    if any(not equals or len(key) != 1 or key == "m" for key, equals, _ in found):
        raise ProtocolError("a message of the login cannot be read", rule="RFC 5802 5.1")
    if "".join(key for key, _, _ in found[: len(wanted)]) != wanted:
        raise ProtocolError("a message of the login has other parts", rule="RFC 5802 7")
    values: dict[str, str] = {}
    for key, _, value in found:
        _ = values.setdefault(key, value)
    return values


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as e:
        raise ProtocolError("a message of the login is not base64", rule="RFC 5802 7") from e
