"""When to try again, and when silence means that nobody is there."""

from __future__ import annotations

from typing import Final

_FIRST: Final = 2.0  # seconds; doubled each time, to at most
_LAST: Final = 120.0
_HELD: Final = 30.0  # a connection that broke sooner was one more try
_BUSY: Final = 10  # tries within
_BUSY_SECONDS: Final = 60.0

PING_AFTER: Final = 60.0  # seconds without a word from the server
DEAD_AFTER: Final = 20.0  # more without an answer


class Backoff:
    """When the next try is due: at once after a connection broke, later and later if none holds.

    Never more than ten tries in a minute, whatever happens.
    """

    def __init__(self) -> None:
        """Nothing was tried."""
        self._failures = 0
        self._short = 0  # connections in a row that did not hold
        self._tries: list[float] = []

    def trying(self, *, now: float) -> None:
        """A try begins."""
        self._tries = [t for t in self._tries if t > now - _BUSY_SECONDS] + [now]

    def lost(self, *, now: float, since: float) -> None:
        """A connection that was up since then broke."""
        self._short = 0 if now - since >= _HELD else self._short + 1
        self._failures = max(0, self._short - 1)

    def failed(self) -> None:
        """A try came to nothing."""
        self._failures += 1

    def wait(self, *, now: float, chance: float) -> float:
        """Seconds until the next try.

        Args:
            now: Monotonic seconds.
            chance: In [0, 1), fresh: a thousand clients must not come back at once.
        """
        wait = 0.0
        if self._failures:
            longest = min(_LAST, _FIRST * 2.0 ** min(self._failures - 1, 10))
            wait = longest * (0.5 + chance / 2)
        recent = [t for t in self._tries if t > now - _BUSY_SECONDS]
        if len(recent) >= _BUSY:
            wait = max(wait, recent[-_BUSY] + _BUSY_SECONDS - now)
        return wait


class Silence:
    """Whether the server is still there, judged by when it was last heard.

    In a session that was resumed it has to show first that it reads us: hearing it is not enough.
    """

    def __init__(self, *, now: float, unproved: bool = False) -> None:
        """It was heard now; `unproved`: in a resumed session, and asked for its counter."""
        self._asked_at: float | None = None
        self._heard_at = now
        self._proof_due = now + DEAD_AFTER if unproved else None

    def heard(self, at: float) -> None:
        """It was last heard then."""
        if at > self._heard_at:
            self._heard_at = at
            self._asked_at = None

    def asked(self, *, now: float) -> None:
        """Something was asked that it has to answer."""
        if self._asked_at is None:
            self._asked_at = now

    def proved(self) -> None:
        """It told its counter, so it reads us."""
        self._proof_due = None

    @property
    def unproved(self) -> bool:
        """It has not told its counter in the session it resumed."""
        return self._proof_due is not None

    @property
    def due(self) -> float:
        """When to look again."""
        asked = self._asked_at
        due = self._heard_at + PING_AFTER if asked is None else asked + DEAD_AFTER
        return due if self._proof_due is None else min(due, self._proof_due)

    def dead(self, *, now: float) -> bool:
        """It was asked long ago and said nothing since, or not what it had to show."""
        silent = self._asked_at is not None and now >= self._asked_at + DEAD_AFTER
        return silent or (self._proof_due is not None and now >= self._proof_due)
