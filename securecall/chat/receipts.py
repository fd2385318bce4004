"""Which receipts we owe: noted with the message, settled with the receipt; no crash forgets one."""

from __future__ import annotations

from typing import Final

from securecall.address import Address, parse_address
from securecall.chat.history import History
from securecall.errors import ProtocolError, StoreCorrupt
from securecall.keys.encoding import build_json, parse_json

MOST_OWED: Final = 1000  # of one account; then the oldest are owed no more
_MAX_SIZE: Final = 4 * 1024 * 1024  # bytes


class Receipts:
    """The receipts that one account owes; to be used inside transactions of its history."""

    def __init__(self, history: History, own: Address) -> None:
        """Keep them in this history, for this address of ours."""
        self._history = history
        self._name = f"receipts owed {own.short}"

    def owe(self, conversation: Address, name: str) -> None:
        """Note that a message there, by its id, waits for its receipt."""
        owed = self._read()
        owed.append((conversation.short, name))
        self._write(owed[-MOST_OWED:])

    def owed(self, conversation: Address) -> tuple[str, ...]:
        """The ids of the messages there that wait for one, oldest first."""
        return tuple(name for who, name in self._read() if who == conversation.short)

    def creditors(self) -> tuple[Address, ...]:
        """To whom we owe any."""
        return tuple(
            parse_address(f"xmpp:{who}") for who in dict.fromkeys(who for who, _ in self._read())
        )

    def settle(self, conversation: Address) -> None:
        """Nothing is owed there any more."""
        owed = self._read()
        left = [entry for entry in owed if entry[0] != conversation.short]
        if left != owed:
            self._write(left)

    def _read(self) -> list[tuple[str, str]]:
        data = self._history.value(self._name)
        if data is None:
            return []
        try:
            match parse_json(data, max_size=_MAX_SIZE, max_depth=3):
                case {"owed": list(entries)}:
                    return [_entry(entry) for entry in entries]
                case _:
                    raise StoreCorrupt("which receipts are owed cannot be read")
        except ProtocolError as e:
            raise StoreCorrupt("which receipts are owed cannot be read") from e

    def _write(self, owed: list[tuple[str, str]]) -> None:
        data = build_json({"owed": [list(entry) for entry in owed]}) if owed else None
        self._history.set_value(self._name, data)


def _entry(entry: object) -> tuple[str, str]:
    match entry:
        case [str(who), str(name)]:
            return who, name
        case _:
            raise StoreCorrupt("which receipts are owed cannot be read")
