"""Session timers: a call whose peer vanished without a word ends (RFC 4028)."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final, NamedTuple

from securecall.sip.capabilities import supports
from securecall.sip.grammar import Fields, SipError, parse_number, parse_value
from securecall.sip.message import Message, Response

INTERVAL: Final = 1800  # what we ask for, seconds
LEAST: Final = 90  # nobody may ask for less (4)
_MOST: Final = 2**32 - 1
_SPARE: Final = 32  # how long before its end a session counts as over, at most (10)


class SessionExpires(NamedTuple):
    """How long a session lasts without a refresh, and who refreshes: "uac", "uas", or ""."""

    seconds: int
    refresher: str


def parse_session_expires(text: str) -> SessionExpires:
    """Read Session-Expires (4).

    Raises:
        SipError: it is malformed.
    """
    value, params = parse_value(text, "Session-Expires")
    refresher = params.get("refresher", "").lower()
    if "refresher" in params and refresher not in ("uac", "uas"):
        raise SipError("the refresher is neither uac nor uas", rule="RFC 4028 4")
    return SessionExpires(parse_number(value, "Session-Expires", most=_MOST), refresher)


def parse_min_se(message: Message) -> int:
    """Read Min-SE; never below 90 (5).

    Raises:
        SipError: it is malformed.
    """
    text = message.headers.first("min-se")
    if text is None:
        return LEAST
    if "min-se" in message.headers.repeated:
        raise SipError("Min-SE stands twice", rule="RFC 4028 5")
    return max(LEAST, parse_number(parse_value(text, "Min-SE")[0], "Min-SE", most=_MOST))


class Due(enum.Enum):
    """What the time asks for."""

    NOTHING = enum.auto()
    REFRESH = enum.auto()
    END = enum.auto()


@dataclass(frozen=True, slots=True)
class Terms:
    """What a 2xx of ours agrees to; what an answer without a timer agrees to is `NO_TIMER`.

    Attributes:
        interval: Seconds, 0 for no timer.
        ours: We refresh.
        fields: Of the 2xx.
    """

    interval: int
    ours: bool = False
    fields: Fields = ()


NO_TIMER: Final = Terms(0)


class SessionTimer:
    """The timer of one session, in both roles.

    Attributes:
        interval: How long the session lasts without a refresh, 0 for ever.
        ours: We refresh.
    """

    def __init__(self) -> None:
        """Begin without a timer."""
        self.interval = 0
        self.ours = False
        self._least = LEAST
        self._ends: float | None = None
        self._refreshes: float | None = None

    @property
    def deadline(self) -> float | None:
        """When `due` has something to say, None for never."""
        return self._ends if self._refreshes is None else self._refreshes

    # -- what we ask --------------------------------------------------------------------------

    def first_fields(self) -> Fields:
        """Of the INVITE that begins a call: who refreshes is left to the callee (7.1)."""
        return (
            ("Session-Expires", str(max(INTERVAL, self._least))),
            ("Min-SE", str(self._least)),
        )

    def fields(self) -> Fields:
        """Of a request within the call: everything stays as it is (7.4)."""
        if not self.interval:
            return ()
        interval = max(self.interval, self._least)
        who = "uac" if self.ours else "uas"
        return (("Session-Expires", f"{interval};refresher={who}"), ("Min-SE", str(self._least)))

    def raise_least(self, response: Response) -> bool:
        """Take the Min-SE of a 422; whether it is worth to ask again (7.3)."""
        try:
            least = parse_min_se(response)
        except SipError:
            return False
        if least <= max(self._least, self.interval or INTERVAL):
            return False  # that is not what we were refused for
        self._least = least
        return True

    def accepted(self, response: Response, *, now: float) -> None:
        """Take the 2xx of a request of ours; one without a readable timer ends it (7.2)."""
        text = response.headers.first("session-expires")
        try:
            found = parse_session_expires(text) if text is not None else None
        except SipError:
            found = None
        if found is None or "session-expires" in response.headers.repeated:
            self.stop()
            return
        # a value below the minimum would have us send a storm of refreshes
        self._start(max(found.seconds, LEAST), ours=found.refresher != "uas", now=now)

    # -- what we are asked --------------------------------------------------------------------

    def terms(self, request: Message) -> Terms:
        """What we would agree to in a 2xx to this INVITE or UPDATE (9).

        Raises:
            SipError: a field is malformed (400), or the interval is too small (422).
        """
        able = supports(request, "timer")
        least = parse_min_se(request)
        text = request.headers.first("session-expires")
        if text is None:
            if not self.interval or not able:
                return NO_TIMER
            return _terms(max(self.interval, least), ours=self.ours, able=able)
        if "session-expires" in request.headers.repeated:
            raise SipError("Session-Expires stands twice", rule="RFC 4028 4")
        seconds, refresher = parse_session_expires(text)
        if seconds < LEAST:
            if able:
                raise SipError(
                    "the session interval is too small",
                    rule="RFC 4028 9",
                    status=422,
                    fields=(("Min-SE", str(LEAST)),),
                )
            return NO_TIMER  # a proxy asks for it, and the caller would not understand a 422
        interval = max(min(seconds, INTERVAL), min(least, seconds))
        return _terms(interval, ours=refresher == "uas" or not able, able=able)

    def agreed(self, terms: Terms, *, now: float) -> None:
        """The 2xx with these terms is out."""
        if terms.interval:
            self._start(terms.interval, ours=terms.ours, now=now)
        else:
            self.stop()

    # -- time ---------------------------------------------------------------------------------

    def due(self, *, now: float) -> Due:
        """What is to be done by now; a refresh is told once, until it succeeds or `failed`."""
        if self._ends is not None and now >= self._ends:
            self.stop()
            return Due.END
        if self._refreshes is not None and now >= self._refreshes:
            self._refreshes = None
            return Due.REFRESH
        return Due.NOTHING

    def failed(self, *, now: float) -> None:
        """A refresh was refused, or had to wait: try again after half of what is left."""
        if self.ours and self._ends is not None and self._ends - now > _SPARE:
            self._refreshes = now + (self._ends - now) / 2

    def stop(self) -> None:
        """The session goes on without a timer, or ends."""
        self.interval = 0
        self._ends = self._refreshes = None

    def _start(self, interval: int, *, ours: bool, now: float) -> None:
        self.interval = interval
        self.ours = ours
        self._ends = now + interval - min(_SPARE, interval / 3)
        self._refreshes = now + interval / 2 if ours else None


def _terms(interval: int, *, ours: bool, able: bool) -> Terms:
    fields: Fields = (("Session-Expires", f"{interval};refresher={'uas' if ours else 'uac'}"),)
    if able:
        fields = (*fields, ("Require", "timer"))
    return Terms(interval, ours, fields)
