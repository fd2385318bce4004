"""What people say of themselves: each statement is weighed, kept, and told where it is news."""

from __future__ import annotations

from collections.abc import Callable

from securecall.clock import unix_now
from securecall.errors import Reason, SecurityError
from securecall.events import ContactKeysChanged, KeysChange
from securecall.keys.statement import (
    DeviceEntry,
    Statement,
    StatementChange,
    StatementVerdict,
    merge,
)
from securecall.store.sqlite import Store

Watcher = Callable[[ContactKeysChanged], None]


class Statements:
    """The statements of others, over the store; watchers learn what changed."""

    def __init__(self, store: Store) -> None:
        """Begin with what the store holds."""
        self._store = store
        self._watchers: list[Watcher] = []

    def watch(self, watcher: Watcher) -> Callable[[], None]:
        """Call this with every change from now on; returns how to stop that."""
        self._watchers.append(watcher)
        return lambda: self._watchers.remove(watcher)

    def weigh(self, seen: Statement) -> StatementVerdict:
        """Weigh a statement against what is known of its root; writes nothing.

        Raises:
            SecurityError: ROLLBACK; watchers are told, too.
            StatementInvalid: more withdrawals than anybody has.
        """
        try:
            return merge(self.known(seen.root_fp), seen)
        except SecurityError as e:
            if e.reason is Reason.ROLLBACK:
                self._tell(seen.root_fp, KeysChange.ROLLBACK)
            raise

    def shown_by(self, device: DeviceEntry, seen: Statement) -> Statement:
        """Return the statement to go by where a device shows one in a call; writes nothing.

        A device without the root may show an older one than another device of its owner did: then
        the newer one counts, if it lists the very same key. Else it would be shut out until it had
        fetched what its owner signed this minute (docs/decisions/0096).

        Raises:
            Revoked: the device was withdrawn.
            SecurityError: ROLLBACK, it is older, and what came after does not know this device.
            StatementInvalid: more withdrawals than anybody has.
        """
        known = self.known(seen.root_fp)
        if known is None or known.seq <= seen.seq:
            return self.weigh(seen).statement
        if device.id in known.revoked:
            _ = known.device(device.id)  # which says so
        if (device.id, device.public) in {(d.id, d.public) for d in known.devices}:
            return known
        return self.weigh(seen).statement

    def known(self, root_fp: bytes) -> Statement | None:
        """The last statement seen of a root, as narrowed by what came before."""
        return self._store.known_statement(root_fp, unix=unix_now())

    def keep(self, verdict: StatementVerdict, seen: Statement) -> None:
        """Write the result of `weigh` down, and tell what is news.

        Args:
            verdict: What to go by.
            seen: The statement that was weighed, the evidence in case of a fork.
        """
        if verdict.change is StatementChange.SAME:
            return
        before, after = self.known(seen.root_fp), verdict.statement
        forked = seen.raw if verdict.change is StatementChange.FORK else b""
        self._store.save_known_statement(after, forked=forked)
        if before is None:
            return
        keys = {device.id: device.public for device in before.devices}
        left = {d.id: d.public for d in after.devices if d.id not in after.revoked}
        revoked = tuple(device for device in after.revoked if device not in before.revoked)
        added = tuple(name for name in left if name not in keys)
        gone = [d for d in before.devices if d.id not in left]
        if forked:
            change = KeysChange.FORK
        elif revoked:
            change = KeysChange.REVOKED
        elif keys != left:
            change = KeysChange.DEVICES
        else:
            return
        omemo = tuple(sorted({key.id for device in gone for key in device.omemo}))
        self._tell(seen.root_fp, change, added=added, revoked=revoked, omemo=omemo)

    def succeeded(self, root_fp: bytes) -> None:
        """Tell that a root took the place of another one."""
        self._tell(root_fp, KeysChange.SUCCEEDED)

    def barred(self, root_fp: bytes) -> None:
        """Tell that nothing may rest on a root any more."""
        self._tell(root_fp, KeysChange.REVOKED)

    def _tell(
        self,
        root_fp: bytes,
        change: KeysChange,
        *,
        added: tuple[str, ...] = (),
        revoked: tuple[str, ...] = (),
        omemo: tuple[int, ...] = (),
    ) -> None:
        bindings = self._store.book.bindings.values()
        event = ContactKeysChanged(
            addresses=tuple(b.address for b in bindings if b.root_fp == root_fp),
            root_fp=root_fp,
            change=change,
            added=added,
            revoked=revoked,
            omemo=omemo,
        )
        for watcher in tuple(self._watchers):
            watcher(event)
