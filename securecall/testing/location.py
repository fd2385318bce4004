"""Where people can be reached: the lab server's location service, without I/O.

Every binding belongs to the connection it was registered on and goes with it, whether or not the
client knows RFC 5626: requests for a contact go down that connection and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from securecall.sip.grammar import NameAddr, SipError, Uri

MOST_BINDINGS: Final = 16  # of one user
MOST_TEMPORARY: Final = 16  # temporary GRUUs of one instance; the oldest go

Key = tuple[str, str]


@dataclass(slots=True, kw_only=True)
class Binding:
    """One contact of a user.

    Attributes:
        user: Whose.
        contact: As registered.
        key: (instance, reg-id) with RFC 5626, else ("", the URI in a form that compares).
        instance: The URN of +sip.instance, "" if none was given.
        flow: The connection.
        expires: When it ends, monotonic seconds.
        call_id, cseq: Of the REGISTER, by which an older one is told.
        path: Routes a request has to visit before (RFC 3327).
        gruu: The client asked for GRUUs (RFC 5627).
    """

    user: str
    contact: NameAddr
    key: Key
    instance: str
    flow: int
    expires: float
    call_id: str
    cseq: int
    path: tuple[str, ...] = ()
    gruu: bool = False

    @property
    def outbound(self) -> bool:
        """Whether this is a flow of RFC 5626."""
        return bool(self.key[0])


@dataclass(slots=True)
class _Temporary:
    """The temporary GRUUs of one instance: valid while it registers with one Call-ID."""

    call_id: str
    tokens: list[str] = field(default_factory=list)


class LocationService:
    """Bindings by user, in the order they were registered."""

    def __init__(self, *, random_token: Callable[[], str]) -> None:
        """Begin with nobody there."""
        self._random_token = random_token
        self._bindings: dict[str, dict[Key, Binding]] = {}
        self._temporary: dict[tuple[str, str], _Temporary] = {}
        self._owners: dict[str, tuple[str, str]] = {}

    def of(self, user: str, *, now: float) -> list[Binding]:
        """What is registered for a user now."""
        for key, binding in list(self._bindings.get(user, {}).items()):
            if binding.expires <= now:
                self._drop(user, key)
        return list(self._bindings.get(user, {}).values())

    def everything(self, *, now: float) -> list[Binding]:
        """What is registered for anybody now."""
        return [b for user in tuple(self._bindings) for b in self.of(user, now=now)]

    def require_order(self, binding: Binding, *, now: float) -> None:
        """Refuse a REGISTER older than the one a binding came by (RFC 3261 10.3 step 7).

        Raises:
            SipError: it is; answered with 500.
        """
        _ = self.of(binding.user, now=now)
        known = self._bindings.get(binding.user, {}).get(binding.key)
        if known is not None and (known.call_id == binding.call_id) and binding.cseq <= known.cseq:
            raise SipError("CSeq goes backwards", rule="RFC 3261 10.3", status=500)

    def put(self, user: str, fresh: Iterable[Binding], *, now: float) -> None:
        """Replace and add bindings; one that has ended already is removed.

        Raises:
            SipError: there would be too many; nothing was changed.
        """
        after = {b.key: b for b in self.of(user, now=now)}
        fresh = tuple(fresh)
        for binding in fresh:
            if binding.expires <= now:
                _ = after.pop(binding.key, None)
            else:
                after[binding.key] = binding
        if len(after) > MOST_BINDINGS:
            raise SipError(f"more than {MOST_BINDINGS} contacts", status=503)
        gone = [key for key in self._bindings.get(user, {}) if key not in after]
        self._bindings[user] = after
        for key in gone:
            self._drop(user, key)
        for binding in fresh:
            if binding.gruu and binding.key in after:
                self._renew(binding)

    def clear(self, user: str) -> None:
        """Remove everything of a user."""
        for key in list(self._bindings.get(user, {})):
            self._drop(user, key)

    def lost(self, flow: int) -> None:
        """A connection is gone, and with it what was registered on it."""
        for user, bindings in list(self._bindings.items()):
            for key in [key for key, b in bindings.items() if b.flow == flow]:
                self._drop(user, key)

    def shorten(self, seconds: float, *, now: float) -> None:
        """Let no binding last longer than this from now."""
        for bindings in self._bindings.values():
            for binding in bindings.values():
                binding.expires = min(binding.expires, now + seconds)

    def temporary(self, binding: Binding) -> str:
        """The latest token of a binding's temporary GRUUs."""
        return self._temporary[binding.user, binding.instance].tokens[-1]

    def owner(self, token: str) -> tuple[str, str] | None:
        """(user, instance) of a temporary GRUU's token, None once it is over."""
        return self._owners.get(token)

    def _renew(self, binding: Binding) -> None:
        """Make a fresh temporary GRUU; those of an earlier Call-ID end (RFC 5627 5.3)."""
        place = (binding.user, binding.instance)
        known = self._temporary.setdefault(place, _Temporary(binding.call_id))
        keep = MOST_TEMPORARY - 1 if known.call_id == binding.call_id else 0
        for token in known.tokens[: max(0, len(known.tokens) - keep)]:
            del self._owners[token]
        known.tokens = known.tokens[-keep:] if keep else []
        known.call_id = binding.call_id
        token = self._random_token()
        known.tokens.append(token)
        self._owners[token] = place

    def _drop(self, user: str, key: Key) -> None:
        bindings = self._bindings.get(user, {})
        _ = bindings.pop(key, None)
        left = {b.instance for b in bindings.values()}
        for place in [p for p in self._temporary if p[0] == user and p[1] not in left]:
            for token in self._temporary.pop(place).tokens:
                del self._owners[token]
        if not bindings:
            _ = self._bindings.pop(user, None)


def comparable(uri: Uri) -> str:
    """A URI in a form in which equal ones are equal, nearly as RFC 3261 19.1.4 has it."""
    params = sorted(p for p in uri.params.lower().split(";") if p)
    return f"{uri.scheme}:{uri.user}@{uri.host}:{uri.port};{';'.join(params)}"
