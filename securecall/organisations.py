"""The organisations whose word our user takes for the keys of their staff, and what they said."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from securecall.address import Address, Scheme
from securecall.clock import unix_now
from securecall.errors import Revoked, StatementInvalid, UsageError
from securecall.keys.organisation import (
    Countersignature,
    LastWord,
    parse_countersignature,
    parse_organisation_code,
    require_word,
    weigh,
)
from securecall.keys.trust import Act, How, Organisation, TrustEvent
from securecall.store.sqlite import Store

_OWN: Final = "own-word "  # names of settings: what an organisation says of us, by address


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What an organisation's word says about a peer's root.

    Attributes:
        domain: Of the organisation our user trusts for that address, "" for none.
        vouched: Its word holds for the root now.
        news: To be kept by `keep`, None where nothing is new.
    """

    domain: str = ""
    vouched: bool = False
    news: LastWord | None = None


class Organisations:
    """Organisations and their words, kept in the encrypted store.

    An organisation is trusted by our user's act alone; its word then makes the keys of its staff
    PINNED, never VERIFIED, and never another key than one our user knows by other means.
    """

    def __init__(
        self,
        store: Store,
        apply: Callable[[TrustEvent], None],
        own: Callable[[], tuple[Address, ...]],
    ) -> None:
        """Begin with what the store holds.

        Args:
            store: Of our user.
            apply: Changes trust, all or nothing.
            own: Our user's addresses.
        """
        self._store = store
        self._apply = apply
        self._own = own

    def all(self) -> tuple[Organisation, ...]:
        """Those our user trusts, by domain."""
        found = self._store.book.organisations
        return tuple(found[domain] for domain in sorted(found))

    def trust(self, code: str, *, scanned: bool = False) -> Organisation:
        """Our user takes this organisation's word from now on.

        Args:
            code: What it hands out: "securecall:org:1:<domain>:<key>".
            scanned: It was scanned in a place of the organisation, not received.

        Raises:
            ProtocolError: it is no such code.
            IdentityChanged: the organisation is trusted with another key.
            Revoked, SecurityError: our user distrusts that key.
        """
        read = parse_organisation_code(code.strip())
        self._apply(
            _event(
                Act.PIN_ORGANISATION,
                read.domain,
                read.fingerprint,
                How.QR if scanned else How.USER,
            )
        )
        return self._store.book.organisations[read.domain]

    def forget(self, domain: str) -> None:
        """Our user takes this organisation's word no more; what rested on it goes, too.

        Raises:
            UsageError: it is not trusted.
        """
        known = self._store.book.organisations.get(domain)
        if known is None:
            raise UsageError(f"you do not trust an organisation {domain[:60]}")
        self._apply(_event(Act.FORGET_ORGANISATION, domain, known.root_fp, How.USER))

    def take(self, data: bytes) -> Countersignature:
        """Take a word that an organisation gave out as a file.

        One about ourselves is shown in calls from now on, or not any more where it is withdrawn. If
        our user does not trust the organisation, the first that comes is taken, and its root alone
        can replace or withdraw it: compare `organisation_fp`, or `trust` first.
        One about others counts where our user trusts the organisation; a withdrawal takes effect
        at once.

        Raises:
            StatementInvalid: it is not valid.
            IdentityChanged: another root signed it than the organisation's that our user trusts, or
                else the one that signed the word we show.
            UsageError: it is about somebody else, and our user does not trust the organisation.
            SecurityError: it contradicts what is known of the organisation; see `weigh`.
        """
        word = parse_countersignature(data.strip(), unix=unix_now())
        if word.root_fp == self._store.root.fingerprint:
            self._take_own(word)
            return word
        trusted = self._store.book.organisations.get(word.domain)
        if trusted is None:
            raise UsageError(
                f"you do not trust {word.domain}: its word about {word.address.short} says nothing"
            )
        require_word(
            word, domain=trusted.domain, organisation_fp=trusted.root_fp, address=word.address
        )
        self.keep(weigh(self._known(trusted, word.address), word))
        return word

    def own_word(self, address: Address) -> bytes:
        """What an organisation says of us at this address, to be shown; b"" where nothing holds."""
        raw, unix = self._store.setting(f"{_OWN}{address}"), unix_now()
        if raw is None:
            return b""
        try:
            return raw if unix <= parse_countersignature(raw, unix=unix).exp else b""
        except StatementInvalid:  # the clock was set back: to others it says nothing, either
            return b""

    def hear(self, address: Address, root_fp: bytes, said: bytes) -> Heard:
        """Say what the organisation of an address makes of a root; writes nothing.

        Args:
            address: The peer's, as dialled or signalled.
            root_fp: The root it proved.
            said: The countersignature it showed, b"" for none.

        Raises:
            StatementInvalid: that is not valid.
            AddressNotOwned, IdentityMismatch: it is about somebody else.
            IdentityChanged: the organisation signs with another root than the one pinned.
            Revoked: the organisation took its word back.
            SecurityError: ROLLBACK.
        """
        trusted = self._store.book.organisation(address)
        if trusted is None:
            return Heard()  # whatever it is: nobody asked for that organisation's word
        known = word = self._known(trusted, address)
        if said:
            seen = parse_countersignature(said, unix=unix_now())
            require_word(
                seen,
                domain=trusted.domain,
                organisation_fp=trusted.root_fp,
                address=address,
                root_fp=root_fp,
            )
            word = weigh(known, seen)
        if word is None:
            return Heard(domain=trusted.domain)
        word.require_not_withdrawn(root_fp)
        return Heard(
            domain=trusted.domain,
            vouched=word.vouches_for(root_fp, unix=unix_now()),
            news=None if word == known else word,
        )

    def learn(self, address: Address, root_fp: bytes, said: bytes, *, relied: bool) -> None:
        """A call stands: keep what the organisation said there.

        Args:
            address: As for `hear`, which is asked once more.
            root_fp: The same.
            said: The same.
            relied: The call rests on its word.

        Raises:
            Revoked: the call rests on a word that holds no more.
            SecurityError: as `hear`.
        """
        heard = self.hear(address, root_fp, said)
        if relied and not heard.vouched:
            raise Revoked(f"the word of the organisation of {address.short} holds no more")
        if heard.news is not None:
            self.keep(heard.news)

    def holds(self, address: Address, root_fp: bytes) -> bool:
        """Whether the word of an organisation our user trusts holds for this root now."""
        trusted = self._store.book.organisation(address)
        known = None if trusted is None else self._known(trusted, address)
        return known is not None and known.vouches_for(root_fp, unix=unix_now())

    def expects(self, address: Address) -> bool:
        """Whether a word about this address holds now, whose key ever it names."""
        trusted = self._store.book.organisation(address)
        known = None if trusted is None else self._known(trusted, address)
        return known is not None and known.vouches_for(known.latest.root_fp, unix=unix_now())

    def keep(self, word: LastWord) -> None:
        """Write what was said, and drop a key that rested on what is now taken back."""
        self._store.save_word(word)
        address = word.latest.address
        binding = self._store.book.lookup(address)
        if (
            binding is not None
            and binding.how is How.ORGANISATION
            and binding.root_fp in word.withdrawn
        ):
            self._apply(
                TrustEvent(
                    act=Act.FORGET,
                    address=address,
                    root_fp=binding.root_fp,
                    how=How.ORGANISATION,
                    unix=unix_now(),
                    who=word.latest.domain,
                )
            )

    def _take_own(self, word: Countersignature) -> None:
        if word.address not in self._own():
            raise UsageError(
                f"{word.address.short} is no address of yours; claim it first (init --claim)"
            )
        name = f"{_OWN}{word.address}"
        raw = self._store.setting(name)
        kept = None if raw is None else parse_countersignature(raw, unix=unix_now())
        # Anybody can sign in any name: it is that of the root our user trusts, else of the first.
        known = self._store.book.organisations.get(word.domain)
        owner = kept.organisation_fp if kept is not None else word.organisation_fp
        owner = known.root_fp if known is not None else owner
        require_word(word, domain=word.domain, organisation_fp=owner, address=word.address)
        if word.withdrawn:
            self._store.save_setting(name, None)
        elif kept is None or kept.organisation_fp != owner or kept.seq < word.seq:
            self._store.save_setting(name, word.raw)
        else:
            raise UsageError(f"a newer word about {word.address.short} is here already")

    def _known(self, trusted: Organisation, address: Address) -> LastWord | None:
        return self._store.word_about(trusted.root_fp, address, unix=unix_now())


def _event(act: Act, domain: str, root_fp: bytes, how: How) -> TrustEvent:
    return TrustEvent(
        act=act,
        address=Address(Scheme.KEY, root_fp.hex()),
        root_fp=root_fp,
        how=how,
        unix=unix_now(),
        organisation=domain,
    )
