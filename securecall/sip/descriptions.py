"""What both ends of a call described last, and the version of ours (RFC 3264 8)."""

from __future__ import annotations

from dataclasses import replace

from securecall.media.description import Description, Direction
from securecall.sip.grammar import SipError
from securecall.sip.sdp import build_description


class Descriptions:
    """The two descriptions a call stands on.

    Attributes:
        ours: What we described and the peer accepted, or may still accept.
        theirs: What the peer described and we accepted.
        body: `ours` as it was sent.
    """

    def __init__(self, session_id: int) -> None:
        """Begin with nothing said.

        Args:
            session_id: Random, the same for the whole call.
        """
        self.ours: Description | None = None
        self.theirs: Description | None = None
        self.body = b""
        self._session_id = session_id
        self._version = 0
        self._wish = Direction.SENDRECV  # our own, whatever the peer holds

    def write(self, description: Description) -> bytes:
        """Write a description: as the next version, or as it was if nothing changed.

        Raises:
            SipError: it cannot be written.
        """
        if description == self.ours:
            return self.body
        body = build_description(
            description, session_id=self._session_id, version=self._version + 1
        )
        self._version += 1
        return body

    def keep(self, description: Description, body: bytes, *, offer: bool) -> None:
        """The description stands."""
        self.ours = description
        self.body = body
        if offer and description.audio is not None:
            self._wish = description.audio.direction

    def forget(self) -> None:
        """The call is over: keep nothing of what was said, in which keys may stand."""
        self.ours = self.theirs = None
        self.body = b""

    def again(self) -> Description | None:
        """What we offer when a re-INVITE asks for it: all as it is, in the direction we want.

        A peer that held the call asks so to take it back, too; repeating the direction it had
        left us would keep the call on hold for ever (RFC 6337 5.3).
        """
        if self.ours is None or self.ours.audio is None:
            return None
        audio = self.ours.audio
        media = tuple(
            replace(m, direction=self._wish) if m is audio else m for m in self.ours.media
        )
        return replace(self.ours, media=media)


def glare() -> SipError:
    """Both ends offer at once: the peer waits, and so do we (RFC 3261 14.2)."""
    return SipError("an offer of ours is on its way", rule="RFC 3261 14.2", status=491)


def overlap(seconds: int) -> SipError:
    """The peer offers again before its last offer was answered (RFC 3261 14.2, RFC 3311 5.2).

    Args:
        seconds: Random, 0 to 10: when it may try again.
    """
    return SipError(
        "the last offer is not answered yet",
        rule="RFC 3261 14.2",
        status=500,
        fields=(("Retry-After", str(seconds)),),
    )
