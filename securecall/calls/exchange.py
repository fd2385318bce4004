"""What both ends of a call agreed on, and the one change of it that is under way, as a value.

Offer and answer in mid-call (RFC 3264 8): a change of ours waits for its answer, or one of the
peer's for candidates of ours. Each step returns the exchange after it, and what is to be done.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from securecall.calls.changes import (
    answer_change,
    propose,
    read_change,
    restarts_ice,
    same_association,
)
from securecall.calls.negotiation import Agreement
from securecall.calls.orders import (
    ChangeRefused,
    CheckAlso,
    Discard,
    Output,
    PeerHolds,
    PicturesAgreed,
    Reconnect,
    Regather,
    Rekey,
    Send,
    SetCompanions,
    SetDirection,
    SetText,
    SetVideo,
    VideoAsked,
)
from securecall.calls.sdes import with_secrets_of
from securecall.calls.signaling import Answered, Offered, Refused, Trickled
from securecall.calls.video_lines import LocalVideo
from securecall.errors import Incompatible, SecurityError, UsageError
from securecall.media.description import Description, Direction, Kind, LocalIce
from securecall.media.sdes import CryptoLine


@dataclass(frozen=True, slots=True)
class Proposal:
    """A change of ours that the peer has not answered.

    Attributes:
        offer: As it was sent.
        hold, add, drop, ice: What it is to change, as of `propose`.
        deferred: It met one of the peer's and is made again; until then theirs is judged.
    """

    offer: Description
    hold: bool | None = None
    add: LocalVideo | None = None
    drop: str = ""
    ice: LocalIce | None = None
    deferred: bool = False


@dataclass(frozen=True, slots=True)
class Exchange:
    """Where offer and answer of one call stand.

    Attributes:
        ours: Our description so far, None before there is an agreement.
        agreed: What both descriptions come to, None before.
        proposal: A change of ours under way.
        moving: An offer of the peer's that waits for what we gather anew.
        found: Candidates of ours that the peer was not told.
        welcome: Pictures that are taken if the peer adds them; none is otherwise.
        fresh: Keys at hand for a gateway that brings new ones.
        holding: We hold the peer: it stays whatever that offers or refuses.
        held: The peer holds us.
    """

    ours: Description | None = None
    agreed: Agreement | None = None
    proposal: Proposal | None = None
    moving: Description | None = None
    found: LocalIce | None = None
    welcome: tuple[LocalVideo, ...] = ()
    fresh: tuple[CryptoLine, ...] = ()
    holding: bool = False
    held: bool = False

    @property
    def changing(self) -> bool:
        """Whether a change waits: one of ours for an answer, or one of theirs for a way of ours."""
        return self.proposal is not None or self.moving is not None

    @property
    def movable(self) -> bool:
        """Whether ICE found the way, which another one can take the place of."""
        return self.agreed is not None and self.agreed.ice and self.agreed.sdes is None

    @property
    def trickles(self) -> bool:
        """Whether the peer takes candidates that are found later."""
        return self.agreed is not None and self.agreed.trickle

    def kept_held(self) -> Exchange:
        """We hold the peer from now on, whatever is under way."""
        proposal = self.proposal
        if proposal is not None and proposal.hold is False:
            proposal = replace(proposal, hold=None)  # it takes nobody back any more
        return replace(self, proposal=proposal, holding=True)

    def begun(self, ours: Description, agreed: Agreement) -> Step:
        """Offer and answer of the beginning are complete."""
        after, holds = replace(self, ours=ours, agreed=agreed).directed(agreed.direction)
        after, told = _told(after)
        return after, (*holds, *told)

    # -- changes of the peer's ------------------------------------------------------------------

    def offered(self, offer: Description, *, answers: bool, movable: bool) -> Step:
        """Answer an offer in mid-call: only what leaves keys and peers untouched is taken.

        A new association would need a new handshake under a closed gate; version 1 refuses the
        change instead, and the conversation stays on the association that was authenticated. An ICE
        restart touches neither (RFC 8445 9): its answer waits for what is gathered anew.

        Args:
            offer: The peer's.
            answers: It is the answer to what we repeated, not an offer.
            movable: Another way can be looked for now.
        """
        agreed = self.agreed
        waits = self.moving is not None or (
            self.proposal is not None and not self.proposal.deferred
        )
        if agreed is None or waits:
            why = "a change while another is under way, or before the call is connected"
            return self, (Send(Refused(491)), ChangeRefused(why))
        if not same_association(agreed, offer):
            why = "the peer's signalling asked to change the media keys or the peer"
            return self, (Send(Refused(488)), ChangeRefused(why))
        return _answer(self, offer, None, answers=answers, movable=movable)

    def regathered(self, ice: LocalIce | None) -> Step:
        """What `Regather` came to: answer the peer that looks for another way.

        Args:
            ice: What was gathered; None where nothing was.
        """
        if self.moving is None:
            return self, (Discard("candidates that nobody waits for"),)
        after = replace(self, moving=None)
        if ice is None:
            return after, (Send(Refused(488)), ChangeRefused("no other way of ours was found"))
        return _answer(after, self.moving, ice)

    def directed(self, direction: Direction) -> Step:
        """The peer wants nothing of us, which is to hold (RFC 3264 8.4); or it does again."""
        held = direction not in (Direction.SENDRECV, Direction.SENDONLY)
        if held is self.held:
            return self, ()
        return replace(self, held=held), (PeerHolds(held),)

    # -- changes of ours ------------------------------------------------------------------------

    def asked(
        self,
        *,
        hold: bool | None = None,
        add: LocalVideo | None = None,
        drop: str = "",
        ice: LocalIce | None = None,
    ) -> Step:
        """Ask the peer for a change, as of `propose`; what is held stays so if it says nothing.

        Raises:
            UsageError: a change is under way already, or there is no room for another picture.
        """
        self._require_unchanging()
        ours, agreed = _base(self)
        wished = _wished(self, hold=hold)
        offer = propose(ours, agreed, hold=wished, add=add, drop=drop, ice=ice)
        after = replace(self, holding=self.holding or bool(hold))
        return after.proposed(Proposal(offer, hold, add, drop, ice))

    def proposed(self, proposal: Proposal) -> Step:
        """Send an offer, and wait for its answer.

        Raises:
            UsageError: a change is under way already.
        """
        self._require_unchanging()
        return replace(self, proposal=proposal), (Send(Offered(proposal.offer)),)

    def _require_unchanging(self) -> None:
        if self.changing:
            raise UsageError("a change is under way already; wait for what comes of it")

    def answered(self, answer: Description) -> Step:
        """Read the peer's answer to our change.

        Raises:
            SecurityError: it would change keys or the peer.
        """
        proposal, (_, agreed) = self.proposal, _base(self)
        if proposal is None:  # invariant: nothing else is answered
            raise UsageError("an answer to nothing")
        after, restart = self.settled(), proposal.ice is not None
        try:
            agreement = read_change(proposal.offer, answer, agreed, restart=restart)
        except Incompatible as e:
            return after, (ChangeRefused(str(e)),)
        holding = self.holding and proposal.hold is not False
        after, outputs = _agreed(replace(after, ours=proposal.offer, holding=holding), agreement)
        after, told = _told(after)
        moved = (Reconnect(agreement),) if restart else ()
        outputs = (*moved, *outputs, *told)
        if proposal.add is not None and proposal.add not in (v.local for v in agreement.video):
            outputs = (*outputs, ChangeRefused("the peer takes no such picture"))
        return after, outputs

    def deferred(self) -> Exchange:
        """Our change met one of the peer's, which comes first."""
        if self.proposal is None:
            return self
        return replace(self, proposal=replace(self.proposal, deferred=True))

    def refused(self) -> Step:
        """The peer takes back its own change, or refuses ours."""
        if self.moving is not None:
            why = "the peer took back its wish for another way"
            return replace(self, moving=None), (ChangeRefused(why),)
        return self.settled(), (ChangeRefused("the peer refused the change"),)

    def settled(self) -> Exchange:
        """No change of ours is under way any more."""
        return replace(self, proposal=None)

    # -- candidates that are found later (RFC 8838) ---------------------------------------------

    def gathered(self, ice: LocalIce) -> Step:
        """More of ours was found, or nothing will be: tell the peer, once it has our description.

        Args:
            ice: All there is so far.
        """
        return _told(replace(self, found=ice))

    def trickled(self, told: Trickled) -> Output:
        """Only who was agreed with tells where it is, and only of the generation in use."""
        agreed = self.agreed
        if agreed is None or not agreed.trickle:
            return Discard("candidates that nobody agreed to take")
        if (told.ice.ufrag, told.ice.pwd) != (agreed.ice_ufrag, agreed.ice_pwd):
            return Discard("candidates of another generation")
        if told.mid != agreed.mid:
            return Discard("candidates of another m-line")
        return CheckAlso(told.ice)


Step = tuple[Exchange, tuple[Output, ...]]


def _base(exchange: Exchange) -> tuple[Description, Agreement]:
    """What a change begins from."""
    if exchange.ours is None or exchange.agreed is None:  # invariant: a call in progress has both
        raise UsageError("a change of nothing")
    return exchange.ours, exchange.agreed


def _wished(exchange: Exchange, *, hold: bool | None) -> bool | None:
    """What an offer of ours says of holding: whom we hold stays so whatever else changes."""
    return True if hold is None and exchange.holding else hold


def _answer(
    exchange: Exchange,
    offer: Description,
    ice: LocalIce | None,
    *,
    answers: bool = False,
    movable: bool = True,
) -> Step:
    ours, agreed = _base(exchange)
    try:
        answer, agreement = answer_change(
            ours,
            offer,
            agreed,
            pictures=exchange.welcome,
            fresh=exchange.fresh,
            answers=answers,
            ice=ice,
            hold=exchange.holding,
        )
    except (Incompatible, SecurityError) as e:
        return exchange, (Send(Refused(488)), ChangeRefused(str(e)))
    restart = restarts_ice(agreed, offer)
    if restart and ice is None:
        if answers or not movable:
            why = "another way before the first is found"
            return exchange, (Send(Refused(491)), ChangeRefused(why))
        return replace(exchange, moving=offer), (Regather(),)
    before, after = agreed.sdes, agreement.sdes
    spent = before is not None and after is not None and not before.ours.same_key(after.ours)
    exchange = replace(exchange, ours=answer, fresh=() if spent else exchange.fresh)
    exchange, agreed_on = _agreed(exchange, agreement)
    exchange, told = _told(exchange)
    exchange, again = _proposed_anew(exchange, moved=restart)
    moved = (Reconnect(agreement),) if restart else ()
    taken = {video.mid for video in agreement.video}
    asked = tuple(
        VideoAsked(line.content)
        for line in offer.media
        if line.kind is Kind.VIDEO and not line.refused and line.mid not in taken
    )
    return exchange, (Send(Answered(answer)), *moved, *agreed_on, *asked, *told, *again)


def _proposed_anew(exchange: Exchange, *, moved: bool) -> Step:
    """Make our change that waits anew, of what both have now that the peer's came first."""
    proposal = exchange.proposal
    if proposal is None:
        return exchange, ()
    if moved and proposal.ice is not None:  # the peer found another way for both
        return exchange.settled(), (Send(Refused(487)),)
    ours, agreed = _base(exchange)
    # there is room for a picture: whatever the peer adds is refused, but for one of each kind
    offer = propose(
        ours,
        agreed,
        hold=_wished(exchange, hold=proposal.hold),
        add=proposal.add,
        drop=proposal.drop,
        ice=proposal.ice,
    )
    return replace(exchange, proposal=replace(proposal, offer=offer)), (Send(Offered(offer)),)


def _agreed(exchange: Exchange, agreement: Agreement) -> Step:
    """Both agreed on something else: what of it is new is to be obeyed."""
    _, before = _base(exchange)
    outputs: tuple[Output, ...] = ()
    if agreement.sdes is not None and before.sdes is not None:
        old, keys = before.sdes, with_secrets_of(before.sdes, agreement.sdes)
        agreement = replace(agreement, sdes=keys)
        if not (old.ours.same_key(keys.ours) and old.theirs.same_key(keys.theirs)):
            outputs = (Rekey(keys),)
    exchange, holds = replace(exchange, agreed=agreement).directed(agreement.direction)
    outputs = (*outputs, SetDirection(agreement.direction), *holds)
    beside = (agreement.events, agreement.red)
    if (before.events, before.red) != beside:
        outputs = (*outputs, SetCompanions(*beside))
    if before.video != agreement.video:
        outputs = (*outputs, SetVideo(agreement.video))
        pictures = _pictures(agreement)
        if pictures != _pictures(before):
            outputs = (*outputs, pictures)
    if before.text != agreement.text:
        outputs = (*outputs, SetText(agreement.text))
    return exchange, outputs


def _pictures(agreement: Agreement) -> PicturesAgreed:
    takes = (Direction.SENDRECV, Direction.RECVONLY)
    return PicturesAgreed(
        frozenset(v.local.content for v in agreement.video),
        frozenset(v.local.content for v in agreement.video if v.direction in takes),
    )


def _told(exchange: Exchange) -> Step:
    """Tell the peer what was found, if it takes that now."""
    found, agreed = exchange.found, exchange.agreed
    audio = exchange.ours.audio if exchange.ours is not None else None
    if found is None or agreed is None or audio is None:
        return exchange, ()
    if not agreed.trickle or found.ufrag != audio.ice_ufrag:
        return exchange, ()  # the peer takes none, or its answer to this generation is to come
    return replace(exchange, found=None), (Send(Trickled(audio.mid, found)),)
