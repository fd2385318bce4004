"""Stream management (XEP-0198): what the server took of ours, and what we took of its.

A stanza of the server's counts as taken when whoever handles it says that it is done with it, and
so are all before it: then it is on disk, and the server may forget it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from securecall.errors import ConnectFailed, ProtocolError

NAMESPACE: Final = "urn:xmpp:sm:3"
MOST_UNACKED: Final = 10_000  # stanzas of ours
MOST_UNACKED_BYTES: Final = 16 * 1024 * 1024
_WRAP: Final = 2**32  # XEP-0198 4

Taken = Callable[[], None]
Again = Callable[[], bytes | None]


@dataclass(frozen=True, slots=True)
class Sent:
    """A stanza of ours that the server has not taken yet.

    Attributes:
        data: As it goes out.
        taken: To be called when the server has taken it.
        again: Gives what is to be sent instead over another connection; nothing, if it is None.
    """

    data: bytes
    taken: Taken | None
    again: Again | None = None


@dataclass(frozen=True, slots=True)
class Done:
    """To be called once a stanza of the server's is dealt with.

    Attributes:
        weight: Bytes of memory that it takes until then.
        told: Who counts.
    """

    weight: int
    told: Callable[[], None] = field(repr=False)

    def __call__(self) -> None:
        """Say so; again is no harm."""
        self.told()


class Management:
    """Both counters of one session, over all the connections it lives on.

    Attributes:
        resume_id: The server's name of the session, "" if it cannot be resumed.
        location: Where to resume it, "" for anywhere.
        counted: The server counts, too; otherwise only what was sent is counted here.
        asked: A request for the server's counter is unanswered.
    """

    def __init__(self, *, resume_id: str = "", location: str = "", counted: bool = True) -> None:
        """Begin with the server's <enabled/>."""
        self.resume_id = resume_id
        self.location = location
        self.counted = counted
        self.asked = False
        self._unacked: deque[Sent] = deque()
        self._unacked_bytes = 0
        self._acked = 0  # of ours, taken by the server
        self._arrived = 0
        self._handled = 0
        self._done: set[int] = set()
        self._undone: dict[int, str] = {}
        self._weights: dict[int, int] = {}  # of those that nobody is done with
        self._weight = 0
        self._told = 0
        self._late = False

    @property
    def waiting(self) -> int:
        """How many stanzas of ours the server has not taken."""
        return len(self._unacked)

    @property
    def undone(self) -> int:
        """How many stanzas of the server's are not done with.

        What was done behind one that waits does not count: nothing of it is held any more, and who
        waits may wait for just that, as what comes live waits for the pages of an archive.
        """
        return len(self._undone) - len(self._done)

    @property
    def undone_bytes(self) -> int:
        """What these take of memory, nearly."""
        return self._weight

    @property
    def sent(self) -> int:
        """How many stanzas of ours went out, as the server should count them."""
        return (self._acked + len(self._unacked)) % _WRAP

    @property
    def late(self) -> bool:
        """The server asked while something was not done with, and now all is."""
        return self._late and not self._undone

    @property
    def handled(self) -> int:
        """The `h` to tell."""
        return self._handled % _WRAP

    @property
    def owed(self) -> bool:
        """More has been handled than the server was told."""
        return self._handled > self._told

    def told(self) -> int:
        """The `h` that is told now."""
        self._told = self._handled
        self._late = bool(self._undone)
        return self.handled

    def sending(self, data: bytes, taken: Taken | None, again: Again | None = None) -> None:
        """Keep a stanza until the server has taken it.

        Raises:
            ConnectFailed: too much waits already.
        """
        full = self._unacked_bytes + len(data) > MOST_UNACKED_BYTES
        if full or len(self._unacked) >= MOST_UNACKED:
            raise ConnectFailed("the server takes nothing: too much waits to be sent")
        self._unacked.append(Sent(data, taken, again))
        self._unacked_bytes += len(data)

    def sending_again(self) -> tuple[bytes, ...]:
        """What the server has not taken, in order, as it is to go out over another connection.

        Since it was written the user may have barred somebody who could read it. The server never
        counted any of it, so what is left out now counts for neither side.
        """
        waiting, self._unacked, self._unacked_bytes = self._unacked, deque(), 0
        for sent in waiting:
            data = sent.data if sent.again is None else sent.again()
            if data is not None:
                self._unacked.append(Sent(data, sent.taken, sent.again))
                self._unacked_bytes += len(data)
        return tuple(sent.data for sent in self._unacked)

    def receive_ack(self, h: str | None) -> tuple[Taken, ...]:
        """Take the server's counter.

        Returns:
            What is to be called, in the order the stanzas were sent.

        Raises:
            ProtocolError: it is no counter, or counts what was never sent.
        """
        count = (_number(h) - self._acked) % _WRAP
        if count > len(self._unacked):
            raise ProtocolError(
                f"the server acknowledges {count} stanzas; {len(self._unacked)} wait for it",
                rule="XEP-0198 4",
            )
        taken = [self._unacked.popleft() for _ in range(count)]
        self._unacked_bytes -= sum(len(sent.data) for sent in taken)
        self._acked += count
        return tuple(sent.taken for sent in taken if sent.taken is not None)

    def arrived(self, mark: str, weight: int = 0) -> tuple[int, bool]:
        """A stanza came.

        Args:
            mark: The same for the same stanza, should the server send it again.
            weight: Bytes of memory.

        Returns:
            Its number, for `done`; and whether it is new. What came again after a resumption is
            not: it was handed on before, and will be done, or is already.
        """
        self._arrived += 1
        number = self._arrived
        if number <= self._handled or self._undone.get(number) == mark:
            return number, False
        self._undone[number] = mark
        self._done.discard(number)  # that was another stanza: the server counts otherwise
        self._weight += weight - self._weights.get(number, 0)
        self._weights[number] = weight
        return number, True

    def done(self, number: int) -> None:
        """A stanza is dealt with; counted as soon as all before it are."""
        if number <= self._handled:
            return
        self._done.add(number)
        self._weight -= self._weights.pop(number, 0)
        while self._handled + 1 in self._done:
            self._handled += 1
            self._done.discard(self._handled)
            _ = self._undone.pop(self._handled, None)

    def resuming(self) -> int:
        """A resumption begins with the `h` to ask it with.

        The server sends again, in order, what came after it; `arrived` knows it.
        """
        self._arrived = self._handled
        self.asked = False
        return self.told()


def _number(text: str | None) -> int:
    if text is None or not (text.isascii() and text.isdigit()) or len(text) > 10:
        raise ProtocolError("an acknowledgement without a number", rule="XEP-0198 4")
    number = int(text)
    if number >= _WRAP:
        raise ProtocolError("an acknowledgement beyond 32 bits", rule="XEP-0198 4")
    return number
