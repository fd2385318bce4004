"""One registration: where its server sends our calls, and when to tell it again (RFC 3261 10.2).

With what a server offers of RFC 5626 (outbound), RFC 5627 (GRUU) and RFC 3608 (Service-Route). A
core: `receive` and `failed` say what came of the last REGISTER, `due` when the next one is to go.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final

from securecall.sip.grammar import NameAddr, SipError, parse_number, parse_uri, split_tokens
from securecall.sip.headers import Headers
from securecall.sip.message import Response

EXPIRES: Final = 600  # seconds asked for; the server decides
_LONGEST: Final = 7 * 86_400
_SHORTEST: Final = 2  # a server that grants less is asked as if it had granted this
_MOST_MIN_EXPIRES: Final = 86_400  # a server that wants more (423) is not served
_FIRST_RETRY: Final = 1.0  # seconds; doubled each time, to at most
_LAST_RETRY: Final = 60.0
_HELD: Final = 30.0  # a connection that broke sooner after it was registered was one more try
_MOST_ROUTES: Final = 8
# Nothing that time mends, at the first time.
_FINAL: Final = frozenset({400, 401, 403, 404, 405, 407, 410, 416, 420, 501, 505, 604, 606})
_AFTER_REFUSAL: Final = 300.0
_MOST_RETRY_AFTER: Final = 3600


class RegistrationState(enum.StrEnum):
    """Where a registration stands; stable names for programs."""

    CONNECTING = "connecting"  # nothing is known yet, or it was lost and is tried again
    REGISTERED = "registered"
    REFUSED = "refused"  # for good: a person has to act
    ENDED = "ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class Granted:
    """What the server's 200 said.

    Attributes:
        seconds: How long the binding lasts.
        routes: Service-Route values, for requests that begin something.
        flow_seconds: Flow-Timer: how often we have to be heard, 0 where the server names none.
        outbound: The server keeps to RFC 5626, so that it answers keep-alives.
        gruu: Our contact that anybody can use, "" where the server makes none.
    """

    seconds: int
    routes: tuple[str, ...] = ()
    flow_seconds: int = 0
    outbound: bool = False
    gruu: str = ""


class Registration:
    """The binding of one address to one connection.

    Attributes:
        state: Where it stands.
        granted: What the server said last, None before it did.
        due: When the next REGISTER is to be sent, None for never or while one is out.
        failures: Tries in a row that came to nothing.
    """

    def __init__(self, *, contact: str, instance: str, now: float) -> None:
        """Be due at once.

        Args:
            contact: The URI that the server sends our calls to.
            instance: `urn:uuid:` of this installation, "" to name none.
            now: Monotonic seconds.
        """
        self.state = RegistrationState.CONNECTING
        self.granted: Granted | None = None
        self.due: float | None = now
        self.failures = 0
        self._contact = contact
        self._instance = instance
        self._expires = EXPIRES
        self._lengthened = False  # since the last success
        self._registered_at = now - _HELD
        self._short = 0  # connections in a row that did not hold

    def fields(self, *, remove: bool = False) -> Headers:
        """The fields of the next REGISTER besides those every request has; it is now out."""
        self.due = None
        # the contact's own parameter, too: some registrars look there alone
        expires = 0 if remove else self._expires
        contact = f"<{self._contact}>;expires={expires}"
        supported = "path, gruu"
        if self._instance:
            contact += f';reg-id=1;+sip.instance="<{self._instance}>"'
            supported += ", outbound"
        return Headers((("Contact", contact), ("Expires", str(expires)), ("Supported", supported)))

    def receive(self, response: Response, *, now: float, chance: float) -> None:
        """Take the final answer to the last REGISTER; challenges were answered before.

        Args:
            response: 200..699.
            now: Monotonic seconds.
            chance: In [0, 1), fresh.
        """
        status = response.status
        if status < 300:
            try:
                self.granted = self._read(response)
            except SipError:
                self._try_again(now=now, chance=chance)
                return
            self.state = RegistrationState.REGISTERED
            self.failures = 0
            self._lengthened = False
            self._registered_at = now
            self.due = now + _refresh_after(self.granted.seconds, chance)
        elif status == 423 and self._lengthen(response) and not self._lengthened:
            self._lengthened = True
            self.due = now
        elif status not in _FINAL:
            self._try_again(now=now, chance=chance, after=_retry_after(response))
        elif self.granted is not None:  # it served us before: its trouble, more likely than ours
            self._try_again(now=now, chance=chance, after=_AFTER_REFUSAL)
        else:
            self.refuse()

    def failed(self, *, now: float, chance: float) -> None:
        """Nobody answered, or there is no connection."""
        self._try_again(now=now, chance=chance)

    def lost(self, *, now: float) -> None:
        """The connection it stands for is gone: it is due at once, or later if none ever holds."""
        if self.state in (RegistrationState.CONNECTING, RegistrationState.REGISTERED):
            self.state = RegistrationState.CONNECTING
            self._short = 0 if now - self._registered_at >= _HELD else self._short + 1
            wait = _FIRST_RETRY * 2.0 ** min(self._short - 2, 10) if self._short > 1 else 0.0
            self.due = now + min(_LAST_RETRY, wait)

    def hurry(self, *, now: float) -> None:
        """Whatever kept us from being registered may be over."""
        if self.state is RegistrationState.CONNECTING and self.due is not None:
            self._short = 0
            self.due = min(self.due, now)

    def refuse(self) -> None:
        """It cannot come to anything without a person."""
        self.state = RegistrationState.REFUSED
        self.due = None

    def end(self) -> None:
        """We sign out."""
        self.state = RegistrationState.ENDED
        self.due = None

    def _read(self, response: Response) -> Granted:
        ours = self._our_contact(response)
        params = dict(ours.params) if ours is not None else {}
        expires = params.get("expires") or response.headers.first("expires")
        seconds = self._expires if expires is None else _seconds(expires, most=_LONGEST)
        required = {t for text in response.headers.all("require") for t in split_tokens(text, "R")}
        flow = response.headers.first("flow-timer")
        return Granted(
            seconds=max(seconds, _SHORTEST),
            routes=tuple(f"<{route.uri.text}>" for route in response.addresses("service-route"))[
                :_MOST_ROUTES
            ],
            flow_seconds=0 if flow is None else _seconds(flow, most=_LONGEST),
            outbound="outbound" in required,
            gruu=_gruu(params.get("pub-gruu")),
        )

    def _our_contact(self, response: Response) -> NameAddr | None:
        """Our binding among all that the address has, found by its URI's user: we drew it."""
        user = self._contact.partition(":")[2].partition("@")[0]
        return next((c for c in response.contacts if c.uri.user == user), None)

    def _lengthen(self, response: Response) -> bool:
        """Take the registrar's Min-Expires; False if that is nonsense (RFC 3261 10.3)."""
        try:
            wanted = _seconds(response.need("min-expires"), most=_MOST_MIN_EXPIRES)
        except SipError:
            return False
        if wanted <= self._expires:
            return False
        self._expires = wanted
        return True

    def _try_again(self, *, now: float, chance: float, after: float = 0.0) -> None:
        self.failures += 1
        wait = min(_LAST_RETRY, _FIRST_RETRY * 2.0 ** min(self.failures - 1, 10))
        # half of it at random, so that a thousand clients do not come back at once (RFC 5626 4.5)
        self.due = now + max(after, wait * (0.5 + chance / 2))
        self.state = RegistrationState.CONNECTING


def _refresh_after(seconds: int, chance: float) -> float:
    """Well before the end, at no common moment: between a half and nine tenths of it."""
    return seconds * (0.5 + 0.4 * chance)


def _gruu(value: str | None) -> str:
    if not value:
        return ""
    uri = parse_uri(value.strip('"'))
    return uri.text if uri.scheme in ("sip", "sips") else ""


def _seconds(text: str, *, most: int) -> int:
    return min(parse_number(text.strip(), "a number of seconds", most=2**32 - 1), most)


def _retry_after(response: Response) -> float:
    value = (response.headers.first("retry-after") or "").partition(";")[0].partition("(")[0]
    try:
        return float(_seconds(value, most=_MOST_RETRY_AFTER)) if value else 0.0
    except SipError:
        return 0.0
