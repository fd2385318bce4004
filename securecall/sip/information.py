"""INFO within a call: candidates found later (RFC 8840), and digits where they are welcome.

Candidates are a package of INFO (RFC 6086), which both ends have to name. For digits
two ways are in use that no RFC describes, `application/dtmf-relay` and `application/dtmf`. What
goes by INFO can be read, changed and made by every server on the way.
"""

from __future__ import annotations

import re
from functools import partial
from typing import Final

from securecall.calls.signaling import DigitAnswered, DigitPressed, Trickled
from securecall.sip.capabilities import NO_PACKAGES
from securecall.sip.fragment import FRAGMENT, PACKAGE, build_fragment, parse_fragment
from securecall.sip.grammar import SipError, parse_value
from securecall.sip.headers import Headers
from securecall.sip.host import Host, SessionState
from securecall.sip.message import Request, Response
from securecall.sip.transaction import ClientTransaction, ServerTransaction

RELAY: Final = "application/dtmf-relay"
PLAIN: Final = "application/dtmf"
_ACCEPT: Final = f"{RELAY}, {PLAIN}"
_MOST: Final = 256  # octets
_SIGNAL: Final = re.compile(rb"(?im)^[ \t]*signal[ \t]*=[ \t]*([0-9a-d*#]{1,2})[ \t]*\r?$")
_DIGIT: Final = re.compile(rb"[ \t\r\n]*([0-9a-dA-D*#]{1,2})[ \t\r\n]*")
# as numbers of events (RFC 4733 3.2), which some send instead of what is on the key
_EVENTS: Final = {"10": "*", "11": "#", "12": "A", "13": "B", "14": "C", "15": "D"}
_USE: Final = "info-package"
_TALKING: Final = (SessionState.ANSWERED, SessionState.CONFIRMED)
_UNKNOWN_KIND: Final = (405, 415, 501)


def read_digit(kind: str, body: bytes) -> str:
    """Read one digit.

    Raises:
        SipError: it is none.
    """
    found = _SIGNAL.search(body) if kind == RELAY else _DIGIT.fullmatch(body)
    if len(body) > _MOST or found is None:
        raise SipError("the INFO brings no digit", status=400)
    signal = found[1].decode().upper()
    digit = _EVENTS.get(signal, signal)
    if len(digit) != 1:
        raise SipError("the INFO brings no digit", status=400)
    return digit


class Information:
    """The digits and candidates of one call that go by INFO.

    Attributes:
        takes: The call model takes digits this way; before it says so, none is.
    """

    def __init__(self, host: Host) -> None:
        """Begin without."""
        self.takes = False
        self._host = host
        self._kind = RELAY
        self._found: Trickled | None = None  # the peer was not told
        self._telling = False  # an INFO of ours waits for what answers it

    def receive(self, server: ServerTransaction, *, now: float) -> None:
        """Take an INFO; an empty one asks whether the call is alive.

        Raises:
            SipError: answered with 469 for a package that was not agreed on (RFC 6086 4.2.2), 415
                for what is no digit, or where none is taken, 400 for malformed candidates.
        """
        request, host = server.request, self._host
        if "info-package" in request.headers:
            for told in self._read_package(request):
                host.tell(told)
            host.respond(server, 200, now=now)
            return
        if request.body:
            takes = self.takes and host.state is SessionState.CONFIRMED
            kind, _ = parse_value(request.headers.first("content-type") or "", "Content-Type")
            if not takes or kind not in (RELAY, PLAIN):
                accept = _ACCEPT if takes else ""
                raise SipError("not taken in INFO", status=415, fields=(("Accept", accept),))
            host.tell(DigitPressed(read_digit(kind, request.body)))
        host.respond(server, 200, now=now)

    def _read_package(self, request: Request) -> tuple[Trickled, ...]:
        """Candidates, in a call that was accepted and whose descriptions both allow them."""
        host, theirs, ours = (
            self._host,
            self._host.descriptions.theirs,
            self._host.descriptions.ours,
        )
        agreed = theirs is not None and theirs.trickle and ours is not None and ours.trickle
        name, _ = parse_value(request.headers.first("info-package") or "-", "Info-Package")
        if name != PACKAGE or not agreed or host.state not in _TALKING:
            raise SipError("no such INFO package was agreed on", status=469, fields=(NO_PACKAGES,))
        kind, _ = parse_value(request.headers.first("content-type") or "-", "Content-Type")
        use = parse_value(
            request.headers.first("content-disposition") or _USE, "Content-Disposition"
        )
        if kind != FRAGMENT or use[0] != _USE or "content-encoding" in request.headers:
            raise SipError("not taken in INFO", status=415, fields=(("Accept", FRAGMENT),))
        return parse_fragment(request.body)

    def trickle(self, found: Trickled, *, now: float) -> None:
        """Tell the peer, as soon as it has the description of what was found: after its ACK.

        One INFO at a time; the last of what is found meanwhile says it all.
        """
        self._found = found
        self.acknowledged(now=now)

    def acknowledged(self, *, now: float) -> None:
        """Nothing of ours waits for an ACK any more, perhaps: say what waited for that."""
        found, host = self._found, self._host
        if found is None or host.dialog is None or self._telling:
            return
        if host.acceptance.waits or host.state is not SessionState.CONFIRMED:
            return
        self._found, self._telling = None, True
        fields = (("Info-Package", PACKAGE), ("Content-Disposition", _USE))
        more = Headers((*fields, ("Content-Type", FRAGMENT)))
        request = host.dialog.request("INFO", via=host.via(), more=more)
        request.body = build_fragment(found)
        _ = host.ask(request, self._told, now=now)

    def _told(self, _client: ClientTransaction, response: Response | None, now: float) -> None:
        """What the peer does not take it goes without, as one that cannot trickle."""
        if response is None or response.status >= 200:
            self._telling = False
            self.acknowledged(now=now)

    def press(self, digit: str, *, milliseconds: int, now: float) -> None:
        """Send one digit; `DigitAnswered` follows."""
        dialog, kind = self._host.dialog, self._kind
        if dialog is None:
            return
        request: Request = dialog.request(
            "INFO", via=self._host.via(), more=Headers((("Content-Type", kind),))
        )
        relay = f"Signal={digit}\r\nDuration={milliseconds}\r\n"
        request.body = (relay if kind == RELAY else digit).encode("ascii")
        then = partial(self._answered, kind, digit, milliseconds)
        _ = self._host.ask(request, then, now=now)

    def _answered(
        self,
        kind: str,
        digit: str,
        milliseconds: int,
        _client: ClientTransaction,
        response: Response | None,
        now: float,
    ) -> None:
        status = 408 if response is None else response.status
        if status < 200 or self._host.state is not SessionState.CONFIRMED:
            return
        if status in _UNKNOWN_KIND and kind == RELAY:
            self._kind = PLAIN
            self.press(digit, milliseconds=milliseconds, now=now)
        else:
            self._host.tell(DigitAnswered(taken=status < 300))
