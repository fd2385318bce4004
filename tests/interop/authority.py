"""A throw-away authority's certificate for every name the servers here use."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from pathlib import Path

from securecall.testing.authority import Authority

DOMAIN = "securecall.test"


@dataclass(frozen=True)
class Certificates:
    """PEM files: the authority to trust, a server's chain, its key."""

    authority: Path
    chain: Path
    key: Path


def make(folder: Path, *, lasting: datetime.timedelta = datetime.timedelta(days=2)) -> Certificates:
    """Write a new authority and one leaf for localhost and the test domain.

    Args:
        folder: Where to.
        lasting: From now; the past makes a leaf that has expired.
    """
    made = Authority.make(folder)
    names = ("localhost", DOMAIN, f"*.{DOMAIN}", "127.0.0.1", "::1")
    leaf = made.issue(*names, lasting=lasting)
    return Certificates(made.pem, leaf.certificate, leaf.key)
