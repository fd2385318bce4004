"""Calls that we place: those our user asks for, and those that a transfer leads to."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from securecall.account import Account
from securecall.calling import Callee, Calling, Plan
from securecall.calls.call import Call
from securecall.calls.signaling import Leg, Signaling, TransferRequested
from securecall.errors import PolicyRefused, UsageError
from securecall.media.description import Description
from securecall.media.endpoints import AudioSource
from securecall.policy import Policy, SecurityLevel, require_level

if TYPE_CHECKING:
    from securecall.media.video.endpoints import VideoSource


class Placing:
    """Makes calls of what `calling` plans; they begin when they are entered."""

    def __init__(
        self,
        calling: Calling,
        calls: set[Call],
        *,
        policy: Callable[[], Policy],
        direct: Callable[[], Awaitable[Signaling]],
    ) -> None:
        """Begin with no call.

        Args:
            calling: Finds the way to whom we call.
            calls: Those in progress; a call that begins joins them.
            policy: That of calls for which no other is given.
            direct: Where direct calls go out.
        """
        self._calling = calling
        self._calls = calls
        self._policy = policy
        self._direct = direct

    def call(
        self,
        who: Callee,
        *,
        audio: AudioSource | None,
        video: VideoSource | bool | None,
        text: bool,
        require: SecurityLevel | None,
        policy: Policy | None,
        account: Account | None,
        require_pq: bool = False,
        scanned: bool = False,
        direct: tuple[str, int] | None = None,
        replaces: str = "",
    ) -> Call:
        """Prepare a call; see `Client.call`. One of theirs that it `replaces` ends with it."""
        policy = policy or self._policy()
        if require is not None:
            require_level(require)
            if require is SecurityLevel.NONE:
                raise UsageError("unencrypted calls are not offered; there is nothing to require")
            if require > SecurityLevel.HOP_BY_HOP:  # which takes an identity, so ours is offered
                policy = replace(policy, danger_plain_dtls=False)
        if require_pq:
            policy = replace(policy, require_pq=True, danger_plain_dtls=False)
        plan = self._calling.plan(who, policy, scanned=scanned, direct=direct, account=account)
        plan = replace(plan, route=replace(plan.route, replaces=replaces))
        call = self._place(plan)
        call.prepare(audio=audio, video=video, text=text, require=require)
        return call

    def follow(
        self,
        asked: TransferRequested,
        *,
        audio: AudioSource | None,
        video: VideoSource | bool | None,
        text: bool,
        require: SecurityLevel | None,
        policy: Policy | None,
        account: Account | None,
        by_gateway: bool,
    ) -> Call:
        """Call whom a transfer names; satisfies `transferring.Place`."""
        if asked.address is None:
            raise UsageError("a transfer that names nobody")
        # A number may stand in any address of a gateway's domain, and the other end chose it.
        if not by_gateway and account is None:
            account = self._calling.account_for(asked.address, None)
            if account.is_trunk:
                raise PolicyRefused(
                    f"{asked.address.short} is called through a telephone gateway, and whoever "
                    "asks for that does not; if it is meant, name the account (account=)"
                )
        return self.call(
            asked.address,
            audio=audio,
            video=video,
            text=text,
            require=require,
            policy=policy,
            account=account,
            replaces=asked.replaces,
        )

    def _place(self, plan: Plan) -> Call:
        calls = self._calls

        async def dial(offer: Description) -> Leg:
            account = plan.account
            signaling = account.signaling if account else await self._direct()
            voucher = plan.context.voucher
            identity = voucher.sign(offer) if voucher is not None else ""
            return await signaling.dial(replace(plan.route, identity=identity), offer)

        async def begin(call: Call) -> None:
            if len(calls) >= plan.context.policy.max_calls:
                raise UsageError(f"{len(calls)} calls are in progress, the policy's limit")
            calls.add(call)
            await call.begin_outgoing(dial)

        return Call(plan.context, begin, outgoing=True)
