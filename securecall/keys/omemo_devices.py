"""What is known of somebody's OMEMO devices: which there are, and by which key each is known.

A device id keeps the first identity key it was seen with, whatever a server says later; only a
person's decision replaces it. Both namespaces share ids and identity keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from securecall.errors import DeviceKeyChanged, ProtocolError, StoreCorrupt
from securecall.keys.encoding import build_base64url, build_json, parse_base64url, parse_json
from securecall.keys.omemo_values import MAX_ID, NAMESPACES, Device, montgomery

MAX_DEVICES: Final = 100  # of one person, that we care to remember
_MAX_LABEL: Final = 53  # XEP-0384 5.3.1
_MAX_SIZE: Final = 64 * 1024


@dataclass(slots=True, kw_only=True)
class _Known:
    key: bytes = b""  # Curve25519 form, b"" as long as no bundle was seen
    forms: dict[str, bytes] = field(default_factory=dict)  # namespace -> Ed25519 form
    active: set[str] = field(default_factory=set)  # namespaces whose list names it
    label: str = ""
    repaired: int = 0


class DeviceBook:
    """The devices of one person."""

    def __init__(self, jid: str) -> None:
        """Begin knowing nothing."""
        self.jid = jid
        self._known: dict[int, _Known] = {}

    def update(self, namespace: str, devices: Mapping[int, str]) -> bool:
        """Take over a device list (id -> label); returns whether anything changed.

        Who is no longer listed is remembered, but not written to. Beyond `MAX_DEVICES` those that
        are listed nowhere are forgotten, then the rest of the list is ignored.
        """
        before = self.build()
        for number, known in self._known.items():
            if number not in devices:
                known.active.discard(namespace)
        for number, label in devices.items():
            if number not in self._known and not self._room():
                break
            known = self._known.setdefault(number, _Known())
            known.active.add(namespace)
            known.label = label[:_MAX_LABEL] or known.label
        return self.build() != before

    def active(self, namespace: str) -> dict[int, str]:
        """Ids and labels of the devices its list names."""
        return {
            number: known.label
            for number, known in self._known.items()
            if namespace in known.active
        }

    def is_listed(self, number: int) -> bool:
        """Whether any list names it."""
        known = self._known.get(number)
        return known is not None and bool(known.active)

    def device(self, namespace: str, number: int) -> Device | None:
        """A device, if its identity key is known in that namespace."""
        known = self._known.get(number)
        if known is None or namespace not in known.forms:
            return None
        return Device(
            namespace=namespace,
            jid=self.jid,
            id=number,
            identity_key=known.forms[namespace],
            label=known.label,
        )

    def is_known_by(self, namespace: str, identity_key: bytes) -> bool:
        """Whether a device with this identity key, under any id, has keys in that namespace."""
        key = montgomery(identity_key)
        return any(d.key == key and namespace in d.forms for d in self._known.values())

    def devices(self) -> tuple[Device, ...]:
        """All whose identity key is known, in the best namespace of each."""
        best = []
        for number, known in self._known.items():
            for namespace in NAMESPACES:
                device = self.device(namespace, number)
                if device is not None and (namespace in known.active or not known.active):
                    best.append(device)
                    break
        return tuple(best)

    def learn(self, device: Device) -> bool:
        """Remember the identity key a device showed; returns whether it was new.

        Raises:
            DeviceKeyChanged: it is known by another one.
        """
        key = montgomery(device.identity_key)
        known = self._known.get(device.id)
        if known is not None and known.key and known.key != key:
            raise DeviceKeyChanged(
                f"device {device.id} of {self.jid} shows another identity key than before; "
                "compare it with its owner, then accept it or do not",
                identity_key=device.identity_key,
            )
        if known is not None and known.forms.get(device.namespace) == device.identity_key:
            return False
        if known is None and not self._room():
            raise ProtocolError(f"more than {MAX_DEVICES} devices of {self.jid}")
        known = self._known.setdefault(device.id, _Known())
        known.key = key
        # The sign bit may differ between two lists of the same device; the first one stays.
        return known.forms.setdefault(device.namespace, device.identity_key) == device.identity_key

    def accept(self, device: Device) -> None:
        """Let a device be known by another identity key from now on."""
        known = self._known.setdefault(device.id, _Known())
        known.key = montgomery(device.identity_key)
        known.forms = {device.namespace: device.identity_key}
        known.repaired = 0

    def repair(self, number: int, *, unix: float, pause: float) -> bool:
        """Whether a broken session may be repaired now; if so, not again for `pause` seconds."""
        known = self._known.get(number)
        if known is None or 0 <= unix - known.repaired < pause:
            return False
        known.repaired = int(unix)
        return True

    def build(self) -> bytes:
        """Write it as bytes."""
        return build_json(
            {
                "devices": [
                    {
                        "id": number,
                        "key": build_base64url(known.key),
                        "forms": {name: build_base64url(key) for name, key in known.forms.items()},
                        "active": sorted(known.active),
                        "label": known.label,
                        "repaired": known.repaired,
                    }
                    for number, known in self._known.items()
                ]
            }
        )

    @classmethod
    def parse(cls, data: bytes, jid: str) -> DeviceBook:
        """Read what `build` wrote.

        Raises:
            StoreCorrupt: it was something else.
        """
        book = cls(jid)
        try:
            entries = parse_json(data, max_size=_MAX_SIZE, max_depth=5)["devices"]
            if not isinstance(entries, list):
                raise StoreCorrupt("the list of OMEMO devices cannot be read")
            for entry in entries:
                book._known[_number(entry["id"])] = _Known(
                    key=parse_base64url(str(entry["key"])),
                    forms={str(n): parse_base64url(str(k)) for n, k in entry["forms"].items()},
                    active={str(name) for name in entry["active"]},
                    label=str(entry["label"]),
                    repaired=int(entry["repaired"]),
                )
        except (ProtocolError, KeyError, TypeError, AttributeError) as e:
            raise StoreCorrupt("the list of OMEMO devices cannot be read") from e
        return book

    def _room(self) -> bool:
        if len(self._known) < MAX_DEVICES:
            return True
        for number, known in self._known.items():
            # One with a key stays: forgetting it would forget the key it has to show again.
            if not known.active and not known.key:
                del self._known[number]
                return True
        return False


def _number(value: object) -> int:
    if type(value) is not int or not 1 <= value <= MAX_ID:
        raise StoreCorrupt("the list of OMEMO devices cannot be read")
    return value
