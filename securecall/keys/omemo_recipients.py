"""Sorts the devices that were found into those that get a message and those that do not."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from securecall.errors import NoDevices, UntrustedDevices
from securecall.keys.omemo_values import Bundle, Device, DeviceTrust, Recipients


@dataclass(frozen=True, slots=True, kw_only=True)
class LookedUp:
    """What came of looking for one device.

    Attributes:
        device: It, with its proved identity key.
        bundle: To open a session with.
        why: Why there is no device.
        final: No other namespace is to be tried.
        changed: It shows another identity key than before: this one.
    """

    device: Device | None = None
    bundle: Bundle | None = None
    why: str = ""
    final: bool = False
    changed: Device | None = None


class Found:
    """Everybody's devices, sorted."""

    def __init__(self) -> None:
        """Begin with none."""
        self._by_trust: dict[DeviceTrust, list[Device]] = {trust: [] for trust in DeviceTrust}
        self._unreachable: dict[tuple[str, int], str] = {}
        self._changed: list[Device] = []
        self._bundles: dict[tuple[str, str, int], Bundle] = {}

    def add(
        self, jid: str, number: int, found: LookedUp, trust: Callable[[Device], DeviceTrust]
    ) -> None:
        """Sort one in."""
        if found.changed is not None:
            self._changed.append(found.changed)
        if found.device is None:
            self._unreachable[jid, number] = found.why
            return
        self._by_trust[trust(found.device)].append(found.device)
        if found.bundle is not None:
            self._bundles[found.device.namespace, jid, number] = found.bundle

    def require(self, jid: str) -> None:
        """Require that somebody can be written to.

        Raises:
            UntrustedDevices: all of the devices are undecided, distrusted or changed.
            NoDevices: there are none.
        """
        if any(device.jid == jid for device in self._writable()):
            return
        refused = [
            device
            for device in (
                *self._by_trust[DeviceTrust.UNDECIDED],
                *self._by_trust[DeviceTrust.DISTRUSTED],
                *self._changed,
            )
            if device.jid == jid
        ]
        if refused:
            raise UntrustedDevices(
                f"no device of {jid} is trusted",
                devices=tuple((d.jid, d.id, d.fingerprint) for d in refused),
            )
        reasons = {why for (whose, _), why in self._unreachable.items() if whose == jid}
        raise NoDevices(f"{jid} has no device to encrypt for" + "".join(f"; {r}" for r in reasons))

    def recipients(self, jids: Iterable[str]) -> Recipients:
        """The result, if each of these can be written to.

        Raises:
            UntrustedDevices, NoDevices: as `require`.
        """
        for jid in jids:
            self.require(jid)
        return Recipients(
            devices=tuple(self._writable()),
            undecided=tuple(self._by_trust[DeviceTrust.UNDECIDED]),
            distrusted=tuple(self._by_trust[DeviceTrust.DISTRUSTED]),
            changed=tuple(self._changed),
            unreachable=self._unreachable,
            bundles=self._bundles,
        )

    def _writable(self) -> list[Device]:
        return [*self._by_trust[DeviceTrust.TRUSTED], *self._by_trust[DeviceTrust.VERIFIED]]
