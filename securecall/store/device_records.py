"""How what is believed of OMEMO devices is written into rows."""

from __future__ import annotations

from securecall.keys.encoding import build_base64url, build_json, parse_base64url
from securecall.keys.omemo_trust import DeviceAudit, DeviceHow, DeviceRecord, PersonDevices
from securecall.keys.omemo_values import DeviceTrust
from securecall.store.records import build_parts, integer, items, parse_parts, text


def build_person(person: PersonDevices) -> bytes:
    """Write what is known of one person's devices."""
    return build_json(
        {
            "address": build_parts(person.address),
            "written": person.written,
            "devices": [
                [
                    build_base64url(record.key),
                    record.seen,
                    record.trust.value,
                    record.how.value if record.how is not None else "",
                    record.since,
                    record.entry,
                    [f"{number} {namespace}" for namespace, number in sorted(record.names)],
                ]
                for record in person.devices.values()
            ],
        }
    )


def parse_person(record: dict[str, object]) -> PersonDevices:
    """Read what `build_person` wrote."""
    devices = [_device(items(item)) for item in items(record["devices"])]
    return PersonDevices(
        address=parse_parts(record["address"]),
        written=integer(record["written"]),
        devices={device.key: device for device in devices},
    )


def build_device_audit(audit: DeviceAudit) -> bytes:
    """Write what an act on a device did."""
    event = audit.event
    return build_json(
        {
            "unix": event.unix,
            "who": event.who,
            "act": event.act.value,
            "how": event.how.value,
            "address": str(event.address),
            "device": build_base64url(event.key),
            "before": audit.before.value,
            "after": audit.after.value,
        }
    )


def _device(parts: list[object]) -> DeviceRecord:
    key, seen, trust, how, since, entry, names = parts
    return DeviceRecord(
        key=parse_base64url(text(key)),
        seen=integer(seen),
        trust=DeviceTrust(text(trust)),
        how=DeviceHow(text(how)) if how else None,
        since=integer(since),
        entry=text(entry),
        names=frozenset(_name(text(name)) for name in items(names)),
    )


def _name(name: str) -> tuple[str, int]:
    number, _, namespace = name.partition(" ")
    return namespace, int(number)
