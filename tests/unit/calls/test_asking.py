"""What is asked in the course of a call: each is answered once, whatever else happens."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from securecall.calls import orders as o
from securecall.calls.asking import Changes, Transfer
from securecall.calls.signaling import TransferProgress, TransferStep
from securecall.errors import ChangeRefused, EndReason, NotTransferred, UsageError
from securecall.media.description import Direction

OUTPUTS = (o.SetDirection(Direction.SENDONLY),)


def test_a_change_is_agreed_to_refused_or_overtaken_by_the_end():
    async def main():
        machine, performed = SimpleNamespace(changing=True), []
        changes = Changes(machine, performed.append)
        changes.performed(OUTPUTS)  # of the peer's, while nothing was asked
        agreed = changes.ask(OUTPUTS)
        assert performed == [OUTPUTS]
        changes.performed(OUTPUTS)
        assert not agreed.done(), "it waits for its answer yet"
        machine.changing = False
        changes.performed(OUTPUTS)
        assert await agreed is None
        refused = changes.ask(OUTPUTS)
        changes.performed((*OUTPUTS, o.ChangeRefused("not now")))
        with pytest.raises(ChangeRefused, match="not now"):
            await refused
        over = changes.ask(OUTPUTS)
        changes.settle("the call is over")
        changes.settle()
        with pytest.raises(ChangeRefused, match="over"):
            await over

    asyncio.run(main())


def test_a_transfer_ends_where_somebody_answered_or_nobody_did():
    async def main():
        transfer = Transfer(lambda outputs: None)
        transfer.told(TransferProgress(TransferStep.ANSWERED))  # nobody asked
        for step in (TransferStep.ANSWERED, TransferStep.FAILED):
            transfer.require_none()
            asked = asyncio.ensure_future(transfer.ask(OUTPUTS))
            await asyncio.sleep(0)
            with pytest.raises(UsageError, match="under way"):
                transfer.require_none()
            transfer.told(TransferProgress(TransferStep.RINGING))
            await asyncio.sleep(0)
            assert not asked.done()
            transfer.told(TransferProgress(step))
            if step is TransferStep.ANSWERED:
                assert await asked is None
            else:
                with pytest.raises(NotTransferred) as failed:
                    await asked
                assert failed.value.reason is EndReason.DECLINED

    asyncio.run(main())
