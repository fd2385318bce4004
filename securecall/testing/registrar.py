"""The lab server's registrar, without I/O (RFC 3261 10.3, RFC 5626 6, RFC 5627 5, RFC 3327 5.3)."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from securecall.sip.capabilities import tokens
from securecall.sip.grammar import NameAddr, SipError, parse_number
from securecall.sip.message import Request, Response
from securecall.testing.authentication import Authenticator, Unproven
from securecall.testing.location import Binding, LocationService, comparable
from securecall.testing.reply import build_reply

EXTENSIONS: Final = frozenset({"path", "outbound", "gruu"})
# it is put into addresses, so nothing that would end one may be in it
_INSTANCE: Final = re.compile(r"[a-z][a-z0-9:._~\-]{0,199}")


@dataclass(slots=True, kw_only=True)
class Terms:
    """What the registrar grants.

    Attributes:
        least, usual, most: Seconds a binding lasts: refused below (423), given to whoever names
            none, and cut to.
        flow_timer: Seconds between keep-alives, told in Flow-Timer (RFC 5626).
        service_route: Value of Service-Route (RFC 3608), "" for none.
        refuse: Status every REGISTER is refused with, 0 for none; for tests.
    """

    least: int = 60
    usual: int = 300
    most: int = 3600
    flow_timer: int = 120
    service_route: str = ""
    refuse: int = 0


class Registrar:
    """Takes REGISTER, asks who it is, keeps the location service.

    Attributes:
        domain: Whose people register here.
        location: What is registered.
        terms: What is granted.
    """

    def __init__(
        self,
        domain: str,
        authenticator: Authenticator,
        location: LocationService,
        *,
        terms: Terms,
        random_token: Callable[[], str],
    ) -> None:
        """Use these."""
        self.domain = domain
        self.location = location
        self.terms = terms
        self._authenticator = authenticator
        self._random_token = random_token

    def receive(self, request: Request, *, flow: int, now: float) -> Response:
        """Answer a valid REGISTER."""
        try:
            return self._accept(request, flow=flow, now=now)
        except Unproven as e:
            fields = tuple(
                ("WWW-Authenticate", challenge)
                for challenge in self._authenticator.challenges(stale=e.stale, now=now)
            )
            return self._reply(request, 401, *fields)
        except SipError as e:
            return self._reply(request, e.status, *e.fields)

    def _accept(self, request: Request, *, flow: int, now: float) -> Response:
        if request.uri.host != self.domain or request.uri.user:
            raise SipError("not the registrar of that domain", rule="RFC 3261 10.3", status=404)
        require_extensions(request, "require")
        user = self._authenticator.require_user(request, "authorization", flow=flow, now=now)
        if self.terms.refuse:
            raise SipError("told to refuse", status=self.terms.refuse)
        to = request.to.uri
        if (to.scheme, to.user, to.host) != ("sip", user, self.domain):
            raise SipError("not your address", rule="RFC 3261 10.3", status=403)
        supported = supported_by(request)
        contacts = request.headers.all("contact")
        if "*" in contacts:
            self._remove_all(request, contacts, user)
        elif contacts:
            self._bind(request, user, supported, flow=flow, now=now)
        return self._granted(request, user, supported, now=now)

    def _remove_all(self, request: Request, contacts: list[str], user: str) -> None:
        if len(contacts) > 1 or request.headers.first("expires") != "0":
            raise SipError('"*" stands alone, with Expires: 0', rule="RFC 3261 10.3")
        self.location.clear(user)

    def _bind(
        self, request: Request, user: str, supported: frozenset[str], *, flow: int, now: float
    ) -> None:
        fresh = [
            self._binding(request, contact, user, supported, flow=flow, now=now)
            for contact in request.contacts
        ]
        lasting = [b for b in fresh if b.expires > now]
        if len(lasting) > 1 and any(b.outbound for b in lasting):
            raise SipError("several contacts, one with reg-id", rule="RFC 5626 6")
        for binding in fresh:
            self.location.require_order(binding, now=now)
        self.location.put(user, fresh, now=now)

    def _binding(
        self,
        request: Request,
        contact: NameAddr,
        user: str,
        supported: frozenset[str],
        *,
        flow: int,
        now: float,
    ) -> Binding:
        if contact.uri.scheme not in ("sip", "sips"):
            raise SipError("a contact is a sip address", rule="RFC 3261 10.2.1")
        params = dict(contact.params)
        instance = (params.get("+sip.instance") or "").strip('"<>').lower()
        if instance and not _INSTANCE.fullmatch(instance):
            raise SipError("the instance is no URN", rule="RFC 5626 4.1")
        key = ("", comparable(contact.uri))
        if "outbound" in supported and instance and params.get("reg-id"):
            number = parse_number(params["reg-id"] or "", "reg-id", most=2**31 - 1)
            self._require_first_hop(request)
            key = (instance, str(number))
        return Binding(
            user=user,
            contact=contact,
            key=key,
            instance=instance,
            flow=flow,
            expires=now + self._seconds(request, params.get("expires")),
            call_id=request.call_id,
            cseq=request.cseq.number,
            path=tuple(f"<{a.uri.text}>" for a in request.addresses("path")),
            gruu="gruu" in supported and bool(instance),
        )

    def _require_first_hop(self, request: Request) -> None:
        """A proxy before us has to know RFC 5626, too, and says so in its Path."""
        path = request.addresses("path")
        if len(request.vias) > 1 and not (path and path[-1].uri.param("ob") is not None):
            raise SipError("the first hop knows no outbound", rule="RFC 5626 6", status=439)

    def _seconds(self, request: Request, param: str | None) -> int:
        text = param if param is not None else request.headers.first("expires")
        terms = self.terms
        # a malformed one is taken for the usual (RFC 3261 20.10)
        asked = int(text) if text and text.isascii() and text.isdigit() else terms.usual
        if 0 < asked < terms.least:
            fields = (("Min-Expires", str(terms.least)),)
            raise SipError("too brief", status=423, fields=fields)
        return min(asked, terms.most)

    def _granted(
        self, request: Request, user: str, supported: frozenset[str], *, now: float
    ) -> Response:
        bindings = self.location.of(user, now=now)
        fields = [("Contact", self._contact(b, supported, now=now)) for b in bindings]
        if any(b.outbound and b.call_id == request.call_id for b in bindings):
            fields.append(("Require", "outbound"))
            fields.append(("Flow-Timer", str(self.terms.flow_timer)))
        fields += [("Path", path) for path in request.headers.all("path")]
        if self.terms.service_route:
            fields.append(("Service-Route", self.terms.service_route))
        fields.append(("Supported", ", ".join(sorted(EXTENSIONS))))
        return self._reply(request, 200, *fields)

    def _contact(self, binding: Binding, supported: frozenset[str], *, now: float) -> str:
        kept = [
            name if value is None else f"{name}={value}"
            for name, value in binding.contact.params
            if name not in ("expires", "pub-gruu", "temp-gruu")
        ]
        kept.append(f"expires={max(0, round(binding.expires - now))}")
        if binding.gruu and "gruu" in supported:
            public = f"sip:{binding.user}@{self.domain};gr={binding.instance}"
            temporary = f"sip:{self.location.temporary(binding)}@{self.domain};gr"
            kept += [f'pub-gruu="{public}"', f'temp-gruu="{temporary}"']
        return f"<{binding.contact.uri.text}>;{';'.join(kept)}"

    def _reply(self, request: Request, status: int, *fields: tuple[str, str]) -> Response:
        return build_reply(request, status, tag=self._random_token(), more=fields)


def supported_by(request: Request) -> frozenset[str]:
    """The option tags of Supported, in lower case."""
    return frozenset(tag.lower() for tag in tokens(request, "supported"))


def require_extensions(request: Request, key: str) -> None:
    """Refuse option tags of "require" or "proxy-require" that are not known here.

    Raises:
        SipError: with 420, naming them in Unsupported.
    """
    unknown = [tag for tag in tokens(request, key) if tag.lower() not in EXTENSIONS]
    if unknown:
        fields = (("Unsupported", ", ".join(unknown)),)
        raise SipError("an extension nobody knows here", status=420, fields=fields)
