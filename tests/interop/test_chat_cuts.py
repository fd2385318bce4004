"""Nothing is lost, doubled or put out of order, whatever breaks between us and the server."""

from __future__ import annotations

import asyncio
import os
import secrets

import pytest

from tests.interop.soaking import Plan, impatient, soak

SEED = int(os.environ.get("SOAK_SEED", "0")) or secrets.randbits(32)


def run(server, folder, names, plan):
    print(f"SOAK_SEED={plan.seed}")
    with impatient():
        figures = asyncio.run(soak(server, folder, names, plan))
    print(f"{server.name}: {figures}")


@pytest.mark.interop
@pytest.mark.timeout(240)
def test_cuts_and_restarts_lose_nothing(prosody, tmp_path):
    plan = Plan(messages=150, cuts=20, restarts=2, seed=SEED, absences=1)
    run(prosody, tmp_path, ("alice", "bob"), plan)


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_thousands_of_messages_and_hundreds_of_cuts_lose_nothing(server, tmp_path):
    size = float(os.environ.get("SOAK_SIZE", "1"))
    if server.name == "ejabberd":  # its archive takes a tenth of a second for a message
        size /= 5
    plan = Plan(
        messages=int(10_000 * size),
        cuts=int(500 * size),
        restarts=int(20 * size),
        seed=SEED,
        stalls=int(20 * size),
        absences=int(20 * size),
    )
    run(server, tmp_path, ("alice", "bob"), plan)
