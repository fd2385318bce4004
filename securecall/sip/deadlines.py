"""Deadlines of many things, the earliest at hand: a heap that forgets what was moved."""

from __future__ import annotations

import heapq
from typing import Final, Generic, TypeVar

T = TypeVar("T")
_SLACK: Final = 64  # a heap this small is not worth tidying


class Deadlines(Generic[T]):
    """When each of its items is due; items compare by identity or hash, never by order.

    Setting costs O(log n), asking O(1). A moved deadline leaves its old entry in the heap; once
    those outnumber the others the heap is made anew, so that moving deadlines costs no memory.
    """

    def __init__(self) -> None:
        """Begin empty."""
        self._when: dict[T, tuple[float, int]] = {}
        self._heap: list[tuple[float, int, T]] = []
        self._count = 0

    def __len__(self) -> int:
        return len(self._when)

    @property
    def entries(self) -> int:
        """How long the heap is, stale entries among them; at most twice the items, and 64."""
        return len(self._heap)

    def set(self, item: T, when: float | None) -> None:
        """Make an item due at `when`, None for never."""
        known = self._when.get(item)
        if when is None:
            if known is not None:
                del self._when[item]
                self._tidy()
            return
        if known is not None and known[0] == when:
            return
        self._count += 1
        self._when[item] = (when, self._count)
        heapq.heappush(self._heap, (when, self._count, item))
        self._tidy()

    @property
    def earliest(self) -> float | None:
        """When the next item is due, None for never."""
        heap = self._heap
        while heap and self._stale(heap[0]):
            _ = heapq.heappop(heap)
        return heap[0][0] if heap else None

    def pop_due(self, now: float) -> list[T]:
        """Take out what is due by now, the earliest first."""
        due = []
        while (when := self.earliest) is not None and when <= now:
            _, _, item = heapq.heappop(self._heap)
            del self._when[item]
            due.append(item)
        return due

    def _stale(self, entry: tuple[float, int, T]) -> bool:
        when, count, item = entry
        return self._when.get(item) != (when, count)

    def _tidy(self) -> None:
        if len(self._heap) <= 2 * len(self._when) + _SLACK:
            return
        self._heap = [(when, count, item) for item, (when, count) in self._when.items()]
        heapq.heapify(self._heap)
