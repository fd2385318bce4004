"""Who the other end of one call is: what was proved of it, and what both signed in signalling."""

from __future__ import annotations

from dataclasses import replace

from securecall.address import parse_address
from securecall.calls.context import CallContext
from securecall.calls.signaling import Answered, Signal
from securecall.errors import UsageError
from securecall.keys.handshake import HandshakeResult
from securecall.keys.verification import Sas, sas
from securecall.media.description import Description, Keying
from securecall.policy import Facts, SecurityState


class Proof:
    """What is known of the peer's identity, from nothing to the end of the call.

    Attributes:
        peer: The peer's address for people.
        keying: How the keys of the media come about, as agreed.
        result: Of the identity handshake, None before, and where none ran.
    """

    def __init__(self, context: CallContext, *, outgoing: bool) -> None:
        """Begin with what is expected; `outgoing` where we called."""
        self.peer = context.peer
        self.keying = Keying.NONE
        self.result: HandshakeResult | None = None
        self._context = context
        self._outgoing = outgoing
        self._sas: Sas | None = None
        self._vouched = False

    @property
    def sas(self) -> Sas:
        """The words to read to each other.

        Raises:
            UsageError: the identity handshake is not complete, or did not run.
        """
        if self._sas is None:
            raise UsageError("this call has no words to compare (yet)")
        return self._sas

    def facts(self, result: HandshakeResult | None, srtp_profile: str) -> Facts:
        """What there is to judge, now that there are keys; the secrets of the handshake are wiped.

        Raises:
            SecurityError: what we know of the peer's key speaks against it.
        """
        evidence = None
        if result is not None:
            evidence = self._context.evidence(result)
            self.result = result
            if not self._context.identity or not self._context.identity.expected_peer:
                self.peer = parse_address(result.peer.own_address).short  # nameless until now
            self._sas = sas(result.sas_secret.reveal())
            result.wipe()  # SRTP and SFrame have theirs; nobody who keeps this call keeps a key
        else:
            evidence = self._context.unaided()
        engine = self._context.engine
        return Facts(
            keying=self.keying if engine is None else engine.keying,
            engine="" if engine is None else engine.name,
            identity=evidence,
            srtp_profile=srtp_profile,
            sframe=result is not None,
            approved=result is not None and self._context.approved,
        )

    # -- signed in signalling (RFC 8224) --------------------------------------------------------

    def signed(self, signal: Signal) -> Signal:
        """Our answer to the first offer with our name under it; later ones change no keys."""
        voucher = self._context.voucher
        if voucher is None or self._outgoing or self._vouched or not isinstance(signal, Answered):
            return signal
        self._vouched = True
        return replace(signal, identity=(voucher.sign(signal.description),))

    def receive(self, values: tuple[str, ...], description: Description | None) -> None:
        """Take what the peer signed of its first description.

        Raises:
            ProtocolError, SecurityError: it is not what it should be; the call ends.
        """
        if self._context.voucher is not None and description is not None:
            self._context.voucher.receive(values, description)

    # -- for the report -------------------------------------------------------------------------

    @property
    def address(self) -> str:
        """The peer's as it proved it, else as we expected it."""
        if self.result is not None:
            return self.result.peer.own_address
        identity = self._context.identity
        return identity.expected_peer if identity is not None else ""

    @property
    def statements(self) -> tuple[bytes, ...]:
        """The identity statements of both ends, ours first."""
        identity, result = self._context.identity, self.result
        if identity is None:
            return ()
        theirs = () if result is None else (result.peer.statement.raw,)
        return (identity.statement, *theirs)

    def ticket(self, security: SecurityState | None) -> str:
        """How the ticket of this call travelled, "" without one."""
        identity = security.identity if security is not None else None
        if self._outgoing or identity is None:
            return self._context.ticket
        return identity.how if identity.how == "bearer" else ""
