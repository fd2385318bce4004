"""New homes for an identity that exists: made of its 24 words, or joined from another device.

Each call takes a quarter of a second of computation on purpose (Argon2id) and blocks so long.
"""

from __future__ import annotations

from pathlib import Path

from securecall.clock import unix_now
from securecall.contacts import Contacts
from securecall.errors import IdentityMismatch
from securecall.keys.enrolment import parse_invitation
from securecall.keys.household import Household, build_household
from securecall.keys.identity import RootKey
from securecall.keys.phrase import parse_phrase
from securecall.keys.statement import parse_statement
from securecall.secret import Secret
from securecall.store.lock import DEFAULT_COST, Cost, Keeper, Lock, Rounds
from securecall.store.sqlite import Store


def restore_from_phrase(
    path: str | Path,
    *,
    passphrase: Secret | None,
    phrase: Secret,
    statement: bytes = b"",
    device_id: str = "",
    keeper: Keeper | None = None,
    cost: Cost | Rounds = DEFAULT_COST,
) -> None:
    """Make the home of an identity from its 24 words, with a key of its own for this device.

    Contacts, history and chats are not in the words. Contacts of ours see the same person with
    another device; the devices we had before are not vouched for any more, unless `statement`
    names them.

    Args:
        path: Folder to make it in.
        passphrase: Opens it from then on.
        phrase: The words.
        statement: The latest of ours, where another device still has it: our other devices stay,
            and what was withdrawn stays withdrawn. Never one from a server, which might show an
            older one than there is.
        device_id: Name of this device; "" draws one.
        keeper: As for `Store.create`; the passphrase is None where the keeper alone opens it.
        cost: Of one try of the passphrase.

    Raises:
        PhraseInvalid: these are no such words.
        StatementInvalid, IdentityMismatch: the statement is none, or another person's.
        LocalError: there is a home already, or the disk refuses.
    """
    root = RootKey.from_seed(parse_phrase(phrase))
    _ = _make(
        path, Lock(passphrase=passphrase, keeper=keeper, cost=cost), root, statement, device_id
    )


def join_identity(
    path: str | Path,
    *,
    passphrase: Secret | None,
    invitation: str,
    device_id: str = "",
    keeper: Keeper | None = None,
    cost: Cost | Rounds = DEFAULT_COST,
) -> bytes:
    """Make the home of a second device, under a root that another device of ours holds.

    Args:
        path: Folder to make it in.
        passphrase: Opens it from then on.
        invitation: As the other device shows it ("securecall:join:1:...").
        device_id: Name of this device; "" draws one.
        keeper: As for `Store.create`; the passphrase is None where the keeper alone opens it.
        cost: Of one try of the passphrase.

    Returns:
        The request to show to the other device.

    Raises:
        ProtocolError: it is no invitation.
        LocalError: there is a home already, or the disk refuses.
    """
    root = RootKey.known(parse_invitation(invitation))
    return _make(path, Lock(passphrase=passphrase, keeper=keeper, cost=cost), root, b"", device_id)


def _make(path: str | Path, lock: Lock, root: RootKey, statement: bytes, device_id: str) -> bytes:
    folder = Path(path).expanduser()
    kept = parse_statement(statement, unix=unix_now()) if statement else None
    if kept is not None and kept.root_fp != root.fingerprint:
        raise IdentityMismatch("this statement is of another identity than the words")
    store = Store.create(
        folder,
        lock.passphrase,
        keeper=lock.keeper,
        root=root,
        device_id=device_id,
        cost=lock.cost,
    )
    try:
        if kept is not None:
            household = Household().adopt(kept, here=store.device.id, claimed=())
            store.save_statement(kept.raw, kept.seq, household=build_household(household))
        identity = Contacts(store).identity  # signs a newer one, where the root is held
        return b"" if identity.holds_root else identity.request()
    finally:
        store.close()
