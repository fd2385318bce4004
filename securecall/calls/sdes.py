"""Offer and answer where descriptions carry the keys (RFC 4568 7): telephone gateways alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from securecall.errors import Incompatible, Reason, SecurityError
from securecall.media.description import Keying, MediaDescription
from securecall.media.sdes import SUITES, CryptoLine

PROTOCOL = "RTP/SAVP"
MOST_RENEWALS = 32  # of the peer's key in one call; no gateway needs as many


@dataclass(frozen=True, slots=True)
class SdesKeys:
    """What both ends put into their descriptions, of one suite.

    Attributes:
        ours: What we send with.
        theirs: What the peer sends with.
        past: What we sent with before in this call: nobody uses it again.
        changes: How often the peer's was another.
    """

    ours: CryptoLine
    theirs: CryptoLine
    past: tuple[CryptoLine, ...] = ()
    changes: int = 0

    @property
    def profile(self) -> str:
        """The SRTP protection profile."""
        return self.ours.suite.profile


def require_lines(media: MediaDescription) -> None:
    """Refuse a line whose keys are not in the description alone, or not of a kind we take.

    Raises:
        SecurityError: answered with 488.
    """
    if media.fingerprints:
        raise SecurityError(
            "the peer gives a media key and a certificate for one line",
            reason=Reason.NO_ENCRYPTION,
        )
    if media.keying is not Keying.SDES or not media.crypto:
        raise SecurityError(
            "the peer gives no media key of a kind that is taken (a=crypto)",
            reason=Reason.WEAK_SUITE,
        )
    tags = [line.tag for line in media.crypto]
    if len(set(tags)) < len(tags):
        raise SecurityError(
            "the peer gives two media keys under one name", reason=Reason.WEAK_SUITE
        )


def choose(theirs: MediaDescription, ours: Sequence[CryptoLine]) -> SdesKeys:
    """Answer an offer: the best suite of both, under the tag it has there.

    Args:
        theirs: The offered line.
        ours: Fresh keys of ours, one for each suite.

    Raises:
        SecurityError: none is taken, or it is our own key.
    """
    keys = _chosen(theirs, ours)
    _require_two(keys)
    return keys


def _chosen(theirs: MediaDescription, ours: Sequence[CryptoLine]) -> SdesKeys:
    require_lines(theirs)
    mine = {line.suite.name: line for line in ours}
    for name in SUITES:
        for line in theirs.crypto:
            if line.suite.name == name and name in mine:
                return SdesKeys(replace(mine[name], tag=line.tag), line)
    raise SecurityError("no media key of ours fits theirs", reason=Reason.WEAK_SUITE)


def taken(
    offered: Sequence[CryptoLine], answer: MediaDescription, agreed: SdesKeys | None = None
) -> SdesKeys:
    """Read which key of ours the answer takes, and with which it goes; `agreed` is what was so far.

    Raises:
        SecurityError: none of those offered, more than one, or our own key.
        Incompatible: the peer has another key too often.
    """
    require_lines(answer)
    if len(answer.crypto) != 1:
        raise SecurityError("the answer takes more than one media key", reason=Reason.WEAK_SUITE)
    theirs = answer.crypto[0]
    for line in offered:
        if line.tag == theirs.tag and line.suite == theirs.suite:
            keys = SdesKeys(line, theirs)
            if agreed is not None:
                changed = not theirs.same_key(agreed.theirs)
                keys = replace(keys, past=agreed.past, changes=agreed.changes + changed)
            _require_in_order(keys)
            return keys
    raise SecurityError("the answer takes a key that was not offered", reason=Reason.WEAK_SUITE)


def kept(agreed: SdesKeys, media: MediaDescription) -> CryptoLine | None:
    """The peer's line among these that says the key it has, None where it has another now."""
    return next((line for line in media.crypto if line.same_key(agreed.theirs)), None)


def renewed(agreed: SdesKeys, theirs: MediaDescription, fresh: Sequence[CryptoLine]) -> SdesKeys:
    """Answer a mid-call offer; another key of theirs gets another of ours (RFC 4568 7.1.4).

    A key that goes on keeps its context, packet index and all; so ours never goes on beside a new
    one of theirs, for which both ends begin to count anew.

    Raises:
        SecurityError: none is taken, or it is our own key.
        Incompatible: another is needed, and none is at hand; or the peer has one too often.
    """
    require_lines(theirs)
    line = kept(agreed, theirs)
    if line is not None:
        return replace(agreed, ours=replace(agreed.ours, tag=line.tag), theirs=line)
    past = (*agreed.past, agreed.ours)
    unused = [line for line in fresh if all(line.key != old.key for old in past)]
    if not unused:
        raise Incompatible("the peer asks for other media keys too early")
    keys = replace(_chosen(theirs, unused), past=past, changes=agreed.changes + 1)
    _require_in_order(keys)
    return keys


def with_secrets_of(agreed: SdesKeys, keys: SdesKeys) -> SdesKeys:
    """The same keys; the peer's in the secret it is in already, which ends with the call."""
    if not keys.theirs.same_key(agreed.theirs):
        return keys
    return replace(keys, theirs=replace(keys.theirs, key=agreed.theirs.key))


def _require_in_order(keys: SdesKeys) -> None:
    _require_two(keys)
    if keys.changes > MOST_RENEWALS:
        raise Incompatible("the peer asks for other media keys too often")


def _require_two(keys: SdesKeys) -> None:
    if any(keys.theirs.key == line.key for line in (keys.ours, *keys.past)):
        raise SecurityError(
            "the peer has our own media key: the call was reflected", reason=Reason.SELF_IDENTITY
        )
