"""What we require and tolerate: security levels, floors, and the limits of patience."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from securecall.errors import DowngradeError, PolicyRefused, Reason, SecurityError, UsageError
from securecall.keys.trust import TrustState
from securecall.media.description import Gate as Gate
from securecall.media.description import Keying


class SecurityLevel(enum.IntEnum):
    """How far a call is protected; ordered, so that policy is a comparison."""

    NONE = 0
    HOP_BY_HOP = 1
    OPPORTUNISTIC = 2
    E2EE = 3
    VERIFIED = 4

    @property
    def is_e2ee(self) -> bool:
        """Nobody but the two ends can listen, as far as the stated evidence goes."""
        return self >= SecurityLevel.E2EE

    @property
    def words(self) -> str:
        """What an application may show for this level."""
        return _WORDS[self]


def require_level(level: object) -> None:
    """Refuse what is no level, such as its name or number.

    Raises:
        UsageError: it is none.
    """
    if not isinstance(level, SecurityLevel):
        raise UsageError("a level is one of HOP_BY_HOP, OPPORTUNISTIC, E2EE, VERIFIED: sc.VERIFIED")


_WORDS = {
    SecurityLevel.NONE: "Not encrypted; anyone on the way can listen",
    SecurityLevel.HOP_BY_HOP: "Encrypted to your provider only; the provider can listen",
    SecurityLevel.OPPORTUNISTIC: (
        "Encrypted with an unverified key; a server in between could listen"
    ),
    SecurityLevel.E2EE: "End-to-end encrypted, not verified",
    SecurityLevel.VERIFIED: "Verified end-to-end encrypted",
}
GATEWAY_WORDS = "Your provider and the phone network can hear this call"
"""Instead of those of HOP_BY_HOP, where a telephone gateway takes part."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityEvidence:
    """What the identity handshake proved about the peer, joined with what we know of that key.

    Attributes:
        root_fp: The peer's root fingerprint.
        device_id: The device that took part.
        trust: State of this root *for the dialled or signalled address*.
        since: Unix seconds since when the key is pinned, 0 if it is not.
        how: How that trust came about ("sas", "qr", "link", "first-call", ...), "" if none.
        stale: The peer's statement has expired; it proves less.
        group: The key exchange group that ran, "" where a signature in signalling is all there is.
        organisation: Domain of the organisation our user trusts for this address, "" for none; it
            vouches for the key where `how` is "organisation".
        passport: A device of the same person signed the call's fingerprints in signalling.
    """

    root_fp: bytes
    device_id: str
    trust: TrustState
    since: int = 0
    how: str = ""
    stale: bool = False
    group: str = ""
    organisation: str = ""
    passport: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Everything the level of a call is computed from; nothing else enters.

    Attributes:
        keying: How the media keys came about.
        identity: The identity evidence, None if the peer gave none.
        sas_confirmed: The user confirmed the words of *this* association.
        sas_denied: The user said that the words of this association differ.
        gateway: A telephone gateway or a known focus stands in the path.
        engine: Name of the engine that carries the sound where we do not; it proves no identity.
        srtp_profile: As negotiated, "" before.
        sframe: Frames are sealed under the identity handshake's keys.
        approved: The fips profile's suite ran, over a FIPS provider that is active.
    """

    keying: Keying
    identity: IdentityEvidence | None = None
    sas_confirmed: bool = False
    sas_denied: bool = False
    gateway: bool = False
    engine: str = ""
    srtp_profile: str = ""
    sframe: bool = False
    approved: bool = False

    @property
    def words(self) -> bool:
        """There are words to compare: the identity handshake ran, and made them."""
        return self.identity is not None and self.identity.group != ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SecurityState:
    """An immutable snapshot of a call's protection.

    Attributes:
        level: The ordered level.
        reason: One sentence why it is this level.
        keying: How media keys were made.
        identity: The evidence, None without.
        srtp_profile: The SRTP suite in use.
        pq: Frame keys stay secret against a later quantum computer.
        sframe: Frames are encrypted end to end inside SRTP.
        sas_confirmed: The words were compared and confirmed in this call.
        gateway: A telephone gateway takes part.
        fips_approved: Sealed under the fips profile, over an active FIPS provider; always False
            with `fips='algorithms-only'`. An indicator, no validation.
        warnings: Things a person should know, each a sentence.
    """

    level: SecurityLevel
    reason: str
    keying: Keying
    identity: IdentityEvidence | None = None
    srtp_profile: str = ""
    pq: bool = False
    sframe: bool = False
    sas_confirmed: bool = False
    fips_approved: bool = False
    warnings: tuple[str, ...] = ()
    gateway: bool = False

    @property
    def words(self) -> str:
        """What an application may show for this state."""
        heard = self.gateway and self.level is SecurityLevel.HOP_BY_HOP
        return GATEWAY_WORDS if heard else self.level.words

    @property
    def is_e2ee(self) -> bool:
        """The level is E2EE or better."""
        return self.level.is_e2ee


UNSECURED = SecurityState(
    level=SecurityLevel.NONE, reason="no keys were agreed yet", keying=Keying.NONE
)

_KNOWN_BY = {
    "link": "the key came with the ticket",
    "bearer": "the caller brought the ticket you made",
    "first-call": "the same key as on your first call",
    "card": "the key of another address of this contact",
    "directory": "the key this address publishes",
    "contact": "the key you put on this contact's card",
    "import": "the key you imported",
    "succession": "a new key, for which the one you knew stands; compare again",
    "organisation": "the key this contact's organisation vouches for",
}
_PQ_GROUPS = frozenset({"X25519MLKEM768", "SecP384r1MLKEM1024"})
# Whoever judges the handshake refuses these; no policy may open for one that slipped through.
_BARRED = {
    TrustState.CHANGED: Reason.IDENTITY_CHANGED,
    TrustState.REVOKED: Reason.REVOKED,
    TrustState.DISTRUSTED: Reason.DISTRUSTED,
}


def security_state(facts: Facts) -> SecurityState:
    """Compute the level from the facts (the table of levels; there is no other way to one)."""
    level, reason = _level(facts)
    identity = facts.identity
    warnings = []
    if facts.engine:
        warnings.append(
            f"{facts.engine} carried this call; it cannot prove who is at the other end, so the "
            "call is encrypted hop by hop at most."
        )
    if identity is not None and identity.stale:
        warnings.append("The peer's identity statement has expired; ask them to go online.")
    if identity is not None and identity.organisation and identity.trust is TrustState.UNKNOWN:
        warnings.append(f"{identity.organisation} does not vouch for this key.")
    return SecurityState(
        level=level,
        reason=reason,
        keying=facts.keying,
        identity=identity,
        srtp_profile=facts.srtp_profile,
        pq=facts.sframe and identity is not None and identity.group in _PQ_GROUPS,
        sframe=facts.sframe,
        sas_confirmed=facts.sas_confirmed,
        fips_approved=facts.approved and facts.sframe,
        warnings=tuple(warnings),
        gateway=facts.gateway,
    )


def _level(facts: Facts) -> tuple[SecurityLevel, str]:
    if facts.keying is Keying.NONE:
        return SecurityLevel.NONE, "no media keys"
    if facts.gateway:
        return SecurityLevel.HOP_BY_HOP, "a telephone gateway takes part in this call"
    if facts.keying is Keying.SDES:
        return SecurityLevel.HOP_BY_HOP, "the media keys passed through every server on the way"
    if facts.engine:
        return (
            SecurityLevel.HOP_BY_HOP,
            f"{facts.engine} carried this call, which proves no identity; its keys came through "
            "signalling only",
        )
    identity = facts.identity
    if identity is None:
        return (
            SecurityLevel.HOP_BY_HOP,
            "the other end gave no proof of identity; its keys came through signalling only",
        )
    return _proven_level(facts, identity)


def _proven_level(facts: Facts, identity: IdentityEvidence) -> tuple[SecurityLevel, str]:
    if facts.sas_denied:
        return SecurityLevel.OPPORTUNISTIC, "you and the other end read different words"
    if identity.trust in _BARRED:
        return SecurityLevel.OPPORTUNISTIC, f"the other end's key is {identity.trust.value}"
    if identity.stale:
        return SecurityLevel.OPPORTUNISTIC, "the other end's identity statement has expired"
    if identity.trust is TrustState.VERIFIED:
        return SecurityLevel.VERIFIED, f"key verified by {identity.how or 'you'}"
    if facts.sas_confirmed:
        return SecurityLevel.VERIFIED, "you compared the words of this call"
    if identity.trust is TrustState.PINNED:
        return SecurityLevel.E2EE, _KNOWN_BY.get(identity.how, "the same key as before")
    return SecurityLevel.OPPORTUNISTIC, "first contact: this key is not known for this address yet"


class IpPrivacy(enum.Enum):
    """Who may learn our IP address; see `Policy.ip_privacy`."""

    OPEN = "open"
    STRANGERS = "strangers"
    RELAY = "relay"


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What a call must reach, and how long we wait.

    Attributes:
        minimum: Lowest level media may flow at. None: E2EE for a contact with a pin,
            OPPORTUNISTIC *with identity evidence* for anyone else.
        require_pq: Refuse key agreement a later quantum computer could break.
        passport: Sign the fingerprints of calls between SIP addresses (PASSporT with `mky`), and
            hold whoever signs theirs to it. It adds to the identity handshake, which needs it not.
        danger_plain_dtls: Accept DTLS-SRTP without proof of identity where `minimum` is None; then
            also from phones that do not multiplex RTCP, which go without it. Never on direct calls
            (tickets, `key:` addresses), where that proof is all there is: a UsageError.
        danger_plaintext_messages: Take text messages of SIP, which every server on the way can
            read, change and invent.
        ring_seconds: How long a call may ring.
        connect_seconds: From answer to media, everything included.
        verifying_seconds: How long people may take to compare the words.
        max_calls: Calls at one time; more are answered busy.
        call_waiting: Others may ring while a call is in progress; otherwise they hear busy.
        ip_privacy: Whether the other end may learn our IP address. RELAY: never; calls go through
            a relay or not at all. STRANGERS: those may not whose key is not pinned, where a relay
            is known (`Client.use_relay`, or one that our XMPP server names). OPEN: it may. Our own
            server and the relay know it always; and calls by ticket or `key:` go straight to the
            other end, so under RELAY they are refused. So are those of the engine pjsua2, which
            hides it from nobody.
        prefer_codecs: Names in order of preference; what is not installed is not offered.
        prefer_video: The same for pictures.
    """

    minimum: SecurityLevel | None = None
    require_pq: bool = False
    passport: bool = False
    danger_plain_dtls: bool = False
    danger_plaintext_messages: bool = False
    ring_seconds: float = 60.0
    connect_seconds: float = 15.0
    verifying_seconds: float = 120.0
    max_calls: int = 64
    call_waiting: bool = True
    prefer_codecs: tuple[str, ...] = ("opus", "G722", "PCMU", "PCMA")
    prefer_video: tuple[str, ...] = ("VP8", "H264")
    opus_bitrate: int = 28_000
    opus_complexity: int = 1
    ice: bool = True
    ip_privacy: IpPrivacy = IpPrivacy.STRANGERS

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if self.minimum is not None:
            require_level(self.minimum)
        if self.minimum is not None and self.minimum < SecurityLevel.OPPORTUNISTIC:
            raise UsageError(
                f"minimum={self.minimum.name} would do without any proof of who answers; "
                "if that is meant, say danger_plain_dtls=True instead"
            )
        if self.danger_plain_dtls and (self.minimum is not None or self.require_pq):
            other = "require_pq" if self.minimum is None else "a minimum"
            raise UsageError(f"danger_plain_dtls and {other} contradict each other; give one")
        if not isinstance(self.ip_privacy, IpPrivacy):  # a word would hide nothing
            raise UsageError("ip_privacy is one of IpPrivacy: OPEN, STRANGERS or RELAY")
        if self.ip_privacy is IpPrivacy.RELAY and not self.ice:
            raise UsageError("without ICE there is no relay that could hide our address")

    @classmethod
    def clinical(cls) -> Policy:
        """VERIFIED and post-quantum, or no more than two minutes in which to compare the words."""
        return cls(minimum=SecurityLevel.VERIFIED, require_pq=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Floor:
    """What one call has to reach, fixed before it begins.

    Attributes:
        minimum: From policy.
        pinned: The contact was reached end-to-end encrypted before and never gets less.
        identity: Evidence of identity is mandatory (direct connection, pin, ticket, statement).
        require_pq: From policy.
        gateway: A telephone gateway takes part: whatever comes, the level is HOP_BY_HOP at most.
        sdes: Its keys may stand in the descriptions.
    """

    minimum: SecurityLevel
    pinned: bool
    identity: bool
    require_pq: bool = False
    gateway: bool = False
    sdes: bool = False


def floor_for(
    policy: Policy,
    *,
    contact_floor: bool,
    pinned: bool,
    direct: bool,
    gateway: bool = False,
    trunk: bool = False,
    sdes: bool = False,
) -> Floor:
    """Fix the floor of a call from its policy and what is known of the contact.

    Args:
        policy: Of this call.
        contact_floor: The contact has the E2EE floor.
        pinned: The address has a pinned or verified root.
        direct: The signalling goes straight to the peer over an unnamed certificate.
        gateway: A telephone gateway takes part.
        trunk: It is one of an account that is there for that (`ProviderMode`): then HOP_BY_HOP
            suffices where neither policy nor contact asks for more.
        sdes: Its keys may stand in the descriptions.
    """
    if policy.danger_plain_dtls:
        minimum = SecurityLevel.HOP_BY_HOP
    elif policy.minimum is not None:
        minimum = policy.minimum
    elif pinned:
        minimum = SecurityLevel.E2EE
    else:
        minimum = SecurityLevel.HOP_BY_HOP if trunk else SecurityLevel.OPPORTUNISTIC
    identity = direct or contact_floor or minimum > SecurityLevel.HOP_BY_HOP
    return Floor(
        minimum=minimum,
        pinned=contact_floor,
        identity=identity,
        require_pq=policy.require_pq,
        gateway=gateway or trunk,
        sdes=sdes and trunk,
    )


def require_reachable(floor: Floor) -> None:
    """Refuse a call through a telephone gateway at once, where its best would not suffice.

    Raises:
        DowngradeError, PolicyRefused: as `decide`.
    """
    if floor.gateway:
        _ = decide(security_state(Facts(keying=Keying.DTLS_SRTP, gateway=True)), floor)


def decide(state: SecurityState, floor: Floor) -> Gate:
    """Say whether media may flow at this state.

    Returns:
        OPEN, or VERIFYING where only the comparison of words is missing.

    Raises:
        DowngradeError: a contact with a floor was offered less.
        PolicyRefused: the level stays below the policy and no comparison of words can mend it.
        SecurityError: the peer's key changed, was withdrawn, or is distrusted.
    """
    if state.identity is not None and state.identity.trust in _BARRED:
        raise SecurityError(
            f"the other end's key is {state.identity.trust.value}",
            reason=_BARRED[state.identity.trust],
        )
    if floor.identity and state.identity is None:
        if floor.pinned:
            raise DowngradeError(
                "this contact was reached end-to-end encrypted before, and now gave no proof of "
                "identity; somebody in between may be answering",
                reason=Reason.DOWNGRADE,
            )
        raise PolicyRefused(
            f"the other end gave no proof of identity; {state.words.lower()}",
            reason=Reason.IDENTITY_MISSING,
        )
    if floor.require_pq and not state.pq:
        raise PolicyRefused("post-quantum key agreement is required and did not run")
    needed = max(floor.minimum, SecurityLevel.E2EE) if floor.pinned else floor.minimum
    if state.level >= needed:
        return Gate.OPEN
    identity = state.identity
    # Words come of the handshake alone, and mend what is missing about the key: not a gateway, or
    # a server that has the media keys.
    comparable = (
        identity is not None
        and not identity.stale
        and identity.group != ""
        and state.level > SecurityLevel.HOP_BY_HOP
    )
    # The key of a contact with a floor is unknown only where the user forgot it (another key ends
    # the call before this): comparing the words is the way back.
    forgotten = floor.pinned and identity is not None and identity.trust is TrustState.UNKNOWN
    if comparable and (needed is SecurityLevel.VERIFIED or forgotten):
        return Gate.VERIFYING
    if floor.pinned and state.level < SecurityLevel.E2EE:
        raise DowngradeError(
            f"this contact never gets less than end-to-end encryption: {state.reason}"
        )
    raise PolicyRefused(
        f"the call reached {state.level.name} ({state.reason}); {floor.minimum.name} is required"
    )
