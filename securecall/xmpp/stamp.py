"""Points in time as stanzas carry them (XEP-0082), and the one at which something disappears."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final
from xml.etree.ElementTree import Element

from securecall.errors import ProtocolError, UsageError

# No standard has a time at which a text or a file is gone; others pass over what they do not know.
EXPIRY: Final = "{urn:securecall:expiry:0}expiry"
_RULE = "XEP-0082 3.2"
_STAMP = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,20}))?(Z|[+-]\d\d:\d\d)", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def parse_stamp(text: str) -> float:
    """Read a DateTime as Unix seconds.

    Raises:
        ProtocolError: it is none, or one before 1970.
    """
    match = _STAMP.fullmatch(text)
    if match is None:
        raise ProtocolError("a time stamp is malformed", rule=_RULE)
    moment, fraction, zone = match.groups()
    try:
        when = datetime.fromisoformat(moment + ("+00:00" if zone == "Z" else zone))
    except ValueError as e:
        raise ProtocolError("a time stamp names no moment", rule=_RULE) from e
    unix = (when - _EPOCH).total_seconds() + float(f"0.{fraction or 0}")
    if unix < 0:
        raise ProtocolError("a time stamp is older than any message", rule=_RULE)
    return unix


def build_stamp(unix: float) -> str:
    """Write Unix seconds as a DateTime, to the microsecond.

    Raises:
        UsageError: beyond the year 9999.
    """
    try:
        when = _EPOCH + timedelta(seconds=unix)
    except OverflowError as e:
        raise UsageError("that is no moment a time stamp can name") from e
    return when.isoformat(timespec="microseconds").replace("+00:00", "Z")


def parse_expiry(element: Element) -> int:
    """Read when something disappears, in Unix seconds; never 0, which means never.

    Raises:
        ProtocolError: it names no moment.
    """
    return max(1, int(parse_stamp(element.get("at", ""))))


def build_expiry(unix: float) -> Element:
    """Write when something disappears.

    Raises:
        UsageError: beyond the year 9999.
    """
    return Element(EXPIRY, {"at": build_stamp(unix)})
