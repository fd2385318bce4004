"""What came of a request to the server, and what of it may be told."""

from __future__ import annotations

import email.utils
from dataclasses import dataclass, field

from securecall.doctor.facts import Answer, Offer, Registered
from securecall.errors import LoginRefused
from securecall.sip.digest import challenges_of
from securecall.sip.message import Response
from securecall.sip.registration import Registration


@dataclass(slots=True)
class Exchange:
    """What came of one request.

    Attributes:
        challenges: The 401 and 407 it met, in order.
        response: The final one.
        refused: A challenge that was not answered, and why.
        failure: Why there is no final response, in words.
        broken: What came was no SIP.
    """

    challenges: list[Response] = field(default_factory=list)
    response: Response | None = None
    refused: LoginRefused | None = None
    failure: str = ""
    broken: bool = False


def answer_of(exchange: Exchange) -> Answer:
    """What came of OPTIONS."""
    response = exchange.response
    if response is None:
        return Answer(failure=exchange.failure, broken=exchange.broken)
    headers = response.headers
    return Answer(
        status=response.status,
        phrase=response.reason,
        product=headers.first("server") or headers.first("user-agent") or "",
        allow=_tokens(headers.all("allow")),
        supported=_tokens(headers.all("supported")),
        date=_unix(headers.first("date") or ""),
    )


def _tokens(values: list[str]) -> tuple[str, ...]:
    words = (word.strip() for value in values for word in value.split(","))
    return tuple(dict.fromkeys(word for word in words if word))


def _unix(date: str) -> float | None:
    try:
        return email.utils.parsedate_to_datetime(date).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None


def registered_of(
    first: Exchange, last: Exchange, registration: Registration, *, removed: bool | None
) -> Registered:
    """What may be told of it: nothing as text that a server said after it saw an answer of ours."""
    challenge = first.challenges[0] if first.challenges else None
    offers = challenges_of(challenge) if challenge is not None else []
    response = last.response
    return Registered(
        challenged=challenge is not None,
        offers=tuple(Offer(realm=c.realm, algorithm=c.algorithm, qop=c.qop) for c in offers),
        answered=len(first.challenges) > 1 or response is not challenge,
        weaker=last.refused is not None and _is_weaker(last.challenges),
        status=response.status if response is not None else 0,
        granted=registration.granted,
        path=response is not None and "path" in response.headers,
        others=max(0, len(response.contacts) - 1) if removed is not None and response else 0,
        removed=removed,
        failure=last.failure,
    )


def _is_weaker(challenges: list[Response]) -> bool:
    """Whether MD5 alone came after something better."""
    offered = [{c.algorithm for c in challenges_of(response)} for response in challenges]
    return len(offered) > 1 and offered[-1] == {"MD5"} and bool(offered[0] - {"MD5"})
