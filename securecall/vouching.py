"""The organisation's side: a key store of its own, and who of its staff it vouches for."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

from securecall.address import Address
from securecall.clock import unix_now
from securecall.errors import UsageError
from securecall.keys.encoding import build_base64url, build_json, parse_base64url
from securecall.keys.organisation import (
    OrganisationCode,
    build_countersignature,
    build_organisation_code,
)
from securecall.keys.statement import next_seq
from securecall.keys.statement_content import MAX_LIFETIME
from securecall.secret import Secret
from securecall.store import records
from securecall.store.sqlite import ORGANISATION, Store
from securecall.store.vault import DEFAULT_COST, Cost

_ISSUED: Final = "issued"
DAY: Final = 86_400  # seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """The last word given out about one address.

    Attributes:
        address: Whose.
        root_fp: Fingerprint of the root it is about.
        seq: Its number.
        exp: Unix seconds until when it holds.
        withdrawn: It took back the word before.
        gone: Every root whose vouching was ever taken back there.
    """

    address: Address
    root_fp: bytes = field(repr=False)
    seq: int
    exp: int
    withdrawn: bool
    gone: tuple[bytes, ...] = field(default=(), repr=False)


class VouchingKey:
    """An organisation's root key, and what it signed; keep it where nobody makes calls.

    Attributes:
        domain: The organisation's; it vouches for addresses there.
    """

    def __init__(self, store: Store, domain: str) -> None:
        """Use `create` or `open`."""
        self._store = store
        self.domain = domain

    def __enter__(self) -> Self:
        """Use it while the block lasts."""
        return self

    def __exit__(self, *error: object) -> None:
        """Lock it."""
        self.close()

    @classmethod
    def create(
        cls, folder: Path, passphrase: Secret, *, domain: str, cost: Cost = DEFAULT_COST
    ) -> Self:
        """Make the key of an organisation, in a folder of its own.

        Raises:
            UsageError: that is no domain in canonical form, or the passphrase is empty.
            LocalError: there is a key store already, or the disk refuses.
        """
        _ = build_organisation_code(OrganisationCode(domain, bytes(32)))
        store = Store.create(folder, passphrase, cost=cost)
        store.save_setting(ORGANISATION, domain.encode())
        return cls(store, domain)

    @classmethod
    def open(cls, folder: Path, passphrase: Secret) -> Self:
        """Open it.

        Raises:
            UsageError: these are a person's keys.
            WrongPassphrase, StoreCorrupt, LocalError: as `Store.open`.
        """
        store = Store.open(folder, passphrase)
        domain = store.setting(ORGANISATION)
        if domain is None:
            store.close()
            raise UsageError("these are the keys of a person, not of an organisation")
        return cls(store, domain.decode())

    def close(self) -> None:
        """Lock it."""
        self._store.close()

    @property
    def code(self) -> str:
        """What people need to trust this organisation; to be printed, or shown as a QR code."""
        return build_organisation_code(OrganisationCode(self.domain, self._store.root.public))

    def vouch(self, address: Address, root_fp: bytes, *, days: int = 14) -> bytes:
        """Say that this root speaks for this address; returns the word to hand to its owner.

        Raises:
            UsageError: another domain's address, more than 14 days, or the root was withdrawn.
        """
        before = self._issued().get(address)
        if before is not None and root_fp in before.gone:
            raise UsageError(
                f"this key of {address.short} was withdrawn for ever; they need a new one"
            )
        return self._sign(before, address, root_fp, seconds=days * DAY, withdrawn=False)

    def withdraw(self, address: Address) -> bytes:
        """Take the word about an address back, for ever; returns what to hand to everybody else.

        Raises:
            UsageError: the organisation vouches for nobody there.
        """
        before = self._issued().get(address)
        if before is None or before.withdrawn:
            raise UsageError(f"{self.domain} vouches for nobody at {address.short}")
        return self._sign(before, address, before.root_fp, seconds=MAX_LIFETIME, withdrawn=True)

    def renew(self) -> tuple[tuple[Address, bytes], ...]:
        """Say everything again, withdrawals too, each for 14 days from now."""
        return tuple(
            (
                one.address,
                self._sign(
                    one, one.address, one.root_fp, seconds=MAX_LIFETIME, withdrawn=one.withdrawn
                ),
            )
            for one in self.issued()
        )

    def issued(self) -> tuple[Issued, ...]:
        """The last word about everybody, by address."""
        return tuple(sorted(self._issued().values(), key=lambda issued: str(issued.address)))

    def _sign(
        self,
        before: Issued | None,
        address: Address,
        root_fp: bytes,
        *,
        seconds: int,
        withdrawn: bool,
    ) -> bytes:
        unix = unix_now()
        seq = next_seq(before.seq if before else 0, unix_ms=int(time.time() * 1000))
        word = build_countersignature(
            self._store.root,
            domain=self.domain,
            root_fp=root_fp,
            address=address,
            seq=seq,
            iat=unix,
            exp=unix + seconds,
            withdrawn=withdrawn,
        )
        gone = before.gone if before else ()
        issued = Issued(
            address=address,
            root_fp=root_fp,
            seq=seq,
            exp=unix + seconds,
            withdrawn=withdrawn,
            gone=tuple(dict.fromkeys((*gone, root_fp))) if withdrawn else gone,
        )
        # written before anybody sees the word: its number must not serve twice
        self._store.save_setting(_ISSUED, _build_issued({**self._issued(), address: issued}))
        return word

    def _issued(self) -> dict[Address, Issued]:
        data = self._store.setting(_ISSUED)
        return {} if data is None else records.read_record(data, _parse_issued)


def _build_issued(issued: dict[Address, Issued]) -> bytes:
    return build_json(
        {
            "issued": [
                {
                    "address": records.build_parts(one.address),
                    "root": build_base64url(one.root_fp),
                    "seq": one.seq,
                    "exp": one.exp,
                    "withdrawn": one.withdrawn,
                    "gone": [build_base64url(root_fp) for root_fp in one.gone],
                }
                for one in issued.values()
            ]
        }
    )


def _parse_issued(record: dict[str, object]) -> dict[Address, Issued]:
    found = (_parse_one(item) for item in records.items(record["issued"]))
    return {one.address: one for one in found}


def _parse_one(item: object) -> Issued:
    if not isinstance(item, dict):
        raise TypeError("an object expected")
    return Issued(
        address=records.parse_parts(item["address"]),
        root_fp=parse_base64url(records.text(item["root"])),
        seq=records.integer(item["seq"]),
        exp=records.integer(item["exp"]),
        withdrawn=item["withdrawn"] is True,
        gone=tuple(parse_base64url(root_fp) for root_fp in records.texts(item["gone"])),
    )
