"""The cores of the lab server, driven by hand: numbered connections, a clock that is set."""

from __future__ import annotations

import hashlib
import itertools

from securecall.secret import Secret
from securecall.sip.message import Request, Response, build_message, parse_message
from securecall.sip.stream import MessageStream
from securecall.testing.authentication import Authenticator
from securecall.testing.location import LocationService
from securecall.testing.proxy import Proxy
from securecall.testing.registrar import Registrar, Terms
from tests.sip_scripts import DOMAIN, again, challenge_of, credentials, invite, register

PASSWORDS = {"alice": "alice knows 4711", "bob": "bob knows 4712"}
HERE = "127.0.0.1:5061"


class Core:
    """Registrar and proxy without a network.

    Attributes:
        now: The time.
        terms: Of registrations.
    """

    def __init__(self, *, nonce_seconds: float = 300.0, algorithms=("SHA-256", "MD5")) -> None:
        numbers = itertools.count()

        def token() -> str:
            return hashlib.md5(str(next(numbers)).encode()).hexdigest()

        self.now = 1000.0
        self.terms = Terms()
        users = {name: Secret(password) for name, password in PASSWORDS.items()}
        self.authenticator = Authenticator(
            DOMAIN, users, random_token=token, algorithms=algorithms, nonce_seconds=nonce_seconds
        )
        self.location = LocationService(random_token=token)
        registrar = Registrar(
            DOMAIN, self.authenticator, self.location, terms=self.terms, random_token=token
        )
        self.proxy = Proxy(registrar, self.authenticator, here=HERE, random_token=token)

    def say(self, flow: int, message: Request | Response) -> list[tuple[int, Request | Response]]:
        """Hand in a message; return (connection, message) of everything sent."""
        self.proxy.opened(flow)
        (parsed,) = MessageStream().feed(build_message(message))
        return read(self.proxy.receive(parsed, flow=flow, now=self.now))

    def ask(self, flow: int, message: Request) -> Response:
        """Hand in a request that is answered at once; return the answer."""
        ((to, response),) = self.say(flow, message)
        assert to == flow
        assert isinstance(response, Response)
        return response

    def prove(self, flow: int, message: Request, *, user: str = "") -> tuple[Request, list]:
        """Answer the challenge to a request; return what was sent then, and what that caused."""
        who = user or message.from_.uri.user
        challenge = challenge_of(self.ask(flow, message))
        fresh = again(message)
        fresh.headers.add(*credentials(challenge, fresh, PASSWORDS[who], user=who))
        return fresh, self.say(flow, fresh)

    def register(self, flow: int, user: str, contact: str = "", *fields) -> Response:
        """Register; return the 200."""
        _, ((_, response),) = self.prove(flow, register(user, contact, *fields))
        assert response.status == 200, response.start_line()
        return response

    def invite(self, flow: int, callee: str = "bob", *fields, **more) -> tuple[Request, list]:
        """Call somebody; return what was sent, and the copies that went out by connection."""
        sent, out = self.prove(flow, invite(callee, *fields, **more))
        assert out[0][1].start_line() == "SIP/2.0 100 Trying", out[0][1].start_line()
        return sent, out[1:]

    def expire(self) -> list[tuple[int, Request | Response]]:
        """Perform what is due."""
        return read(self.proxy.expire(now=self.now))

    def lose(self, flow: int) -> list[tuple[int, Request | Response]]:
        """Lose a connection."""
        return read(self.proxy.lost(flow, now=self.now))


def read(out) -> list[tuple[int, Request | Response]]:
    """What was sent, as its receiver reads it."""
    return [(send.flow, parse_message(build_message(send.message))) for send in out]


def statuses(out) -> list[tuple[int, int | str]]:
    """(connection, status or method) of everything sent."""
    return [(f, m.status if isinstance(m, Response) else m.method) for f, m in out]
